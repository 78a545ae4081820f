//! Memory: what a client costs that asked once and is idle now, and what remains after a crowd has left.
//!
//! Resident memory of the process, read when every client has its answer. Each crowd comes twice: what stays after
//! the first wave is used again by the second, unless it leaks.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::common::host::{Target, eventually};
use crate::common::msg;
use crate::common::raw::{Login, Raw};
use crate::contender::{Contender, Kind, Setup};
use crate::process::Process;
use crate::sheet::{Figure, Sheet};
use crate::world::World;

/// Clients that come and go before the first reading, so that servers and buffers of the threads are there already
/// and are not counted as the crowd's.
const WARM_UP: usize = 50;

/// Times the crowd comes.
const WAVES: usize = 2;

/// Descriptors that this process needs besides those of the crowd.
const SPARE_DESCRIPTORS: usize = 200;

/// What each client does before it is idle.
struct Pass {
    name: &'static str,
    request: Vec<u8>,
    crowd: usize,
    /// How they come and ask.
    manner: Manner,
    bouncer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// One after the other.
    InTurn,
    /// All ask at the same moment, so that most have to wait for a server.
    AtOnce,
    /// One after the other, over TLS.
    Tls,
}

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let mut sheet = Sheet::new(
        "idle",
        "Resident memory of the pooler while a crowd is idle, each client having run one query over a pool of 20; \
         relative to the start, before the crowd first came. `left` is what remains when all have left.",
    );
    for pass in passes(world) {
        let setup = Setup { tls: (pass.manner == Manner::Tls).then(|| world.certs.clone()), ..world.setup() };
        let mut kinds = vec![("Pooler", Kind::Pooler)];
        if pass.bouncer {
            kinds.insert(0, ("PgBouncer", Kind::PgBouncer));
        }
        for (name, kind) in kinds {
            let contender = Contender::start(world, name, kind, &setup);
            crowds(world, &mut sheet, &contender, &pass);
        }
    }
    vec![sheet]
}

fn passes(world: &World) -> Vec<Pass> {
    let room = descriptor_limit().saturating_sub(SPARE_DESCRIPTORS);
    let crowd = room.min(world.options.by_size(10_000, 10_000, 60));
    let few = room.min(world.options.by_size(1000, 1000, 20));
    let prepared =
        [msg::parse("s1", "select $1::int4"), msg::bind("", "s1", &[Some("1")]), msg::execute("", 0)];
    let prepared = [prepared.concat(), msg::sync()].concat();
    let plain = msg::query("select 1");
    let bouncer = world.tracks_statements();
    vec![
        Pass { name: "plain", request: plain.clone(), crowd, manner: Manner::InTurn, bouncer: true },
        Pass { name: "all at once", request: plain.clone(), crowd, manner: Manner::AtOnce, bouncer: true },
        Pass { name: "prepared statement", request: prepared, crowd: few, manner: Manner::InTurn, bouncer },
        Pass { name: "TLS", request: plain, crowd: few, manner: Manner::Tls, bouncer: true },
    ]
}

fn crowds(world: &World, sheet: &mut Sheet, contender: &Contender, pass: &Pass) {
    let process = contender.process.as_ref().unwrap();
    let tls = (pass.manner == Manner::Tls).then(|| client_tls(world));
    let people = |count| visit(process, &contender.target, pass, tls.as_ref(), count);
    people(WARM_UP.min(pass.crowd));
    let start = process.resident();
    for wave in 1..=WAVES {
        let (idle, left) = people(pass.crowd);
        let name = format!("{}, {} clients, wave {wave}", pass.name, pass.crowd);
        let grown = difference(idle, start) / f64::from(u32::try_from(pass.crowd).unwrap());
        sheet.add(&name, Figure::BytesPerClient, &contender.name, grown);
        let point = format!("{name}, left");
        sheet.add(&point, Figure::Kilobytes, &contender.name, difference(left, start) / 1024.0);
    }
}

/// A crowd comes, asks, is idle, and leaves: memory while it is idle and after it has left.
fn visit(
    process: &Process,
    target: &Target,
    pass: &Pass,
    tls: Option<&Arc<rustls::ClientConfig>>,
    count: usize,
) -> (u64, u64) {
    let before = process.descriptors();
    let mut clients: Vec<Raw> = (0..count).map(|_| login(target, tls)).collect();
    for client in &mut clients {
        client.welcome = Vec::new();
        client.send(&pass.request);
        if pass.manner != Manner::AtOnce {
            answered(client, pass);
        }
    }
    if pass.manner == Manner::AtOnce {
        for client in &mut clients {
            answered(client, pass);
        }
    }
    let idle = process.resident();
    clients.into_iter().for_each(Raw::terminate);
    // Servers of the pool may have come to stay.
    eventually("the crowd has left", || process.descriptors() < before + WARM_UP);
    (idle, process.resident())
}

fn answered(client: &mut Raw, pass: &Pass) {
    let replies = client.until_ready();
    assert!(replies.iter().any(|reply| reply.first() == "1"), "{}: {replies:?}", pass.name);
}

fn login(target: &Target, tls: Option<&Arc<rustls::ClientConfig>>) -> Raw {
    let raw = Raw::connect(&target.addr()).expect("connect");
    let raw = match tls {
        Some(config) => raw.start_tls(Arc::clone(config)).expect("TLS"),
        None => raw,
    };
    raw.handshake(&Login::plain(target)).unwrap_or_else(|e| panic!("login: {e}"))
}

fn client_tls(world: &World) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&world.certs.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(builder.unwrap().with_root_certificates(roots).with_no_client_auth())
}

#[allow(clippy::cast_precision_loss)]
fn difference(now: u64, start: u64) -> f64 {
    now as f64 - start as f64
}

/// The soft limit on open files of this process, and so of its children.
fn descriptor_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(usize::MAX)
}

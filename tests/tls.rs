//! TLS on both sides (chapter 10; R70 to R72, R103, S4, S39, S42, B1, B2, B34, F65).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::certs::Certs;
use common::cluster::APP;
use common::drivers::run_libpq;
use common::pooler::quoted;
use common::raw::{Login, V3};
use common::{Cluster, ClusterOptions, Lost, Pooler, PoolerConfig, Raw, Target, brief, msg};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

/// A pooler that speaks TLS to clients in this mode, and the directory of its certificates.
struct Encrypted {
    certs: Certs,
    dir: tempfile::TempDir,
    pooler: Pooler,
}

fn text(path: &Path) -> String {
    quoted(path.to_str().unwrap())
}

fn encrypted(mode: &str) -> Encrypted {
    let dir = tempfile::tempdir().unwrap();
    let certs = Certs::generate(dir.path(), "pooler");
    let pooler = PoolerConfig::for_cluster(Cluster::shared(), 2)
        .set("client_tls_sslmode", quoted(mode))
        .set("client_tls_key_file", text(&certs.key))
        .set("client_tls_cert_file", text(&certs.cert))
        .start();
    Encrypted { certs, dir, pooler }
}

/// What a client needs to verify a server of this authority.
fn trusting(ca: &Path) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(ca).unwrap() {
        roots.add(cert.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth())
}

/// Logs in over TLS, verifying the certificate.
fn login(target: &Target, ca: &Path) -> Result<Raw, String> {
    let raw = Raw::connect(&target.addr()).map_err(|e| e.to_string())?;
    raw.start_tls(trusting(ca)).map_err(|e| e.to_string())?.handshake(&Login::plain(target))
}

fn psql(target: &Target, mode: &str, ca: &Path) -> Result<String, String> {
    let conninfo = format!(
        "host=localhost hostaddr=127.0.0.1 port={} user={} dbname={} password={} sslmode={mode} sslrootcert={}",
        target.port,
        target.user,
        target.database,
        target.password,
        ca.display()
    );
    run_libpq(&Cluster::shared().program("psql"), target, &["-X", &conninfo, "-Atc", "select 'through'"])
}

#[test]
fn psql_verifies_the_pooler_and_plain_text_is_refused_where_tls_is_required() {
    let Encrypted { certs, pooler, dir: _dir } = encrypted("require");
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        assert_eq!(psql(&pooler.target(), mode, &certs.ca).unwrap().trim(), "through", "{mode}");
    }
    let plain = psql(&pooler.target(), "disable", &certs.ca).unwrap_err();
    assert!(plain.contains("SSL required") || plain.contains("TLS"), "{plain}");
    let other = tempfile::tempdir().unwrap();
    let stranger = Certs::generate(other.path(), "stranger");
    assert!(psql(&pooler.target(), "verify-full", &stranger.ca).is_err());
    let mut console = login(&pooler.console_target(), &certs.ca).unwrap();
    let shown = format!("{:?}", console.query("SHOW CLIENTS"));
    assert!(shown.contains("TLSv1.3"), "{shown}");
}

#[test]
fn plain_text_and_tls_are_both_served_where_tls_is_allowed() {
    let Encrypted { certs, pooler, dir: _dir } = encrypted("allow");
    for mode in ["disable", "require", "verify-full"] {
        assert_eq!(psql(&pooler.target(), mode, &certs.ca).unwrap().trim(), "through", "{mode}");
    }
}

#[test]
fn everything_works_inside_tls() {
    let Encrypted { certs, pooler, dir: _dir } = encrypted("require");
    let mut raw = login(&pooler.target(), &certs.ca).unwrap();
    let big = raw.query("select repeat('x', 300000) from generate_series(1, 20)");
    assert_eq!(big.iter().filter(|m| m.tag == b'D' && m.body.len() > 300_000).count(), 20);
    let long = format!("select length('{}')", "y".repeat(3_000_000));
    assert_eq!(raw.value(&long), "3000000");
    let pipeline: Vec<u8> =
        (0..200).flat_map(|_| [msg::run("select 1", &[]), msg::sync()].concat()).collect();
    raw.send(&pipeline);
    for _ in 0..200 {
        assert_eq!(brief(&raw.until_ready()), "1 2 D C Z(I)");
    }
    raw.send(&msg::query("select pg_sleep(60)"));
    let sleeps =
        "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(60)'";
    common::eventually("it sleeps", || Cluster::shared().value(sleeps) == "1");
    // A cancel comes in clear from old clients, inside TLS from new ones (R72).
    let mut canceller =
        Raw::connect(&pooler.target().addr()).unwrap().start_tls(trusting(&certs.ca)).unwrap();
    canceller.send(&msg::cancel(&raw.key()));
    assert!(matches!(canceller.next(), Err(Lost::Closed | Lost::Broken(_))));
    assert!(brief(&raw.until_ready()).ends_with("E(57014) Z(I)"));
    pooler.assert_healthy();
}

#[test]
fn certificates_change_on_hup_and_those_connected_stay() {
    let Encrypted { certs, dir, pooler } = encrypted("require");
    let mut before = login(&pooler.target(), &certs.ca).unwrap();
    let old = dir.path().join("old-ca.crt");
    std::fs::copy(&certs.ca, &old).unwrap();
    Certs::generate(dir.path(), "pooler renewed");
    assert!(login(&pooler.target(), &old).is_ok(), "nothing changes before the reload");
    pooler.signal("HUP");
    common::eventually("the new certificate is shown", || login(&pooler.target(), &certs.ca).is_ok());
    assert!(login(&pooler.target(), &old).is_err());
    assert_eq!(before.value("select 1"), "1");
    // A broken file keeps what was.
    std::fs::write(&certs.cert, "not a certificate").unwrap();
    let mut console = login(&pooler.console_target(), &certs.ca).unwrap();
    assert!(brief(&console.query("RELOAD")).starts_with('E'));
    assert!(login(&pooler.target(), &certs.ca).is_ok());
}

#[test]
fn servers_are_verified_and_a_wrong_authority_or_name_is_refused() {
    let cluster = Cluster::start_new(&ClusterOptions { tls: true, ..ClusterOptions::default() });
    let certs = cluster.certs.clone().unwrap();
    let other = tempfile::tempdir().unwrap();
    let stranger = Certs::generate(other.path(), "stranger");
    let pooler = |mode: &str, ca: &Path, host: &str| {
        let entries = [("host", quoted(host)), ("port", cluster.port().to_string()), ("dbname", quoted(APP))];
        PoolerConfig::for_cluster(&cluster, 1)
            .set("server_tls_sslmode", quoted(mode))
            .set("server_tls_ca_file", text(ca))
            .set("client_login_timeout", "3")
            .table(&format!("databases.{APP}"), &entries)
            .start()
    };
    let ssl = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
    for (mode, ca, host) in [
        ("require", &stranger.ca, "localhost"),
        ("verify-ca", &certs.ca, "127.0.0.1"),
        ("verify-full", &certs.ca, "localhost"),
    ] {
        let pooler = pooler(mode, ca, host);
        let mut raw = Raw::login(&pooler.target());
        assert_eq!(raw.value(ssl), "true", "{mode}");
        raw.send(&msg::query("select pg_sleep(60)"));
        common::eventually("it sleeps", || cluster.backends().iter().any(|(_, state)| state == "active"));
        common::raw::cancel(&pooler.target().addr(), &raw.key());
        assert!(brief(&raw.until_ready()).ends_with("E(57014) Z(I)"), "S39");
    }
    for (mode, ca) in [("verify-ca", &stranger.ca), ("verify-full", &stranger.ca)] {
        let pooler = pooler(mode, ca, "localhost");
        assert!(Raw::try_login(&Login::plain(&pooler.target())).is_err(), "{mode} with a strange authority");
    }
    let pooler = pooler("disable", &certs.ca, "localhost");
    assert!(Raw::try_login(&Login::plain(&pooler.target())).is_err(), "the server wants TLS");
}

#[test]
fn a_server_without_tls_is_refused_where_tls_is_required_and_used_where_it_is_preferred() {
    for (mode, works) in [("prefer", true), ("require", false)] {
        let pooler = PoolerConfig::for_cluster(Cluster::shared(), 1)
            .set("server_tls_sslmode", quoted(mode))
            .set("client_login_timeout", "3")
            .start();
        assert_eq!(Raw::try_login(&Login::plain(&pooler.target())).is_ok(), works, "{mode}");
    }
}

/// What a server without TLS or with it says to bytes, up to the end of the connection.
fn raw_bytes(target: &Target, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(target.addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    said
}

fn startup(target: &Target) -> Vec<u8> {
    msg::startup(V3, &[("user", &target.user), ("database", &target.database)])
}

#[test]
fn b1_b2_s4_plain_bytes_behind_a_request_for_encryption_are_never_used() {
    let plain = PoolerConfig::for_cluster(Cluster::shared(), 1).start();
    let target = plain.target();
    for request in [msg::ssl_request(), msg::gss_request()] {
        let said = raw_bytes(&target, &[request, startup(&target)].concat());
        assert_eq!(said.get(..2), Some(&b"NE"[..]), "`N`, then a refusal: {said:?}");
        assert!(String::from_utf8_lossy(&said).contains("C08P01"));
    }
    assert!(plain.show("SERVERS").is_empty(), "somebody was let in");

    let Encrypted { certs, pooler, dir: _dir } = encrypted("allow");
    let target = pooler.target();
    let said = raw_bytes(&target, &[msg::gss_request(), startup(&target)].concat());
    assert_eq!(said.get(..2), Some(&b"NE"[..]), "{said:?}");
    // Behind `S` the refusal comes inside TLS, where nobody in between can have made it.
    let mut raw = Raw::connect(&target.addr()).unwrap();
    raw.send(&[msg::ssl_request(), startup(&target)].concat());
    assert_eq!(raw.byte().unwrap(), b'S');
    if let Ok(mut inside) = raw.wrap_tls(trusting(&certs.ca)) {
        let (said, lost) = inside.drain(Duration::from_secs(20));
        assert_eq!(brief(&said), "E(08P01)");
        assert!(!matches!(lost, Lost::Timeout));
    }
    assert!(pooler.show("SERVERS").is_empty(), "somebody was let in");
}

#[test]
fn b34_a_second_request_inside_or_outside_of_tls_is_refused() {
    let Encrypted { certs, pooler, dir: _dir } = encrypted("allow");
    let mut inside = Raw::connect(&pooler.target().addr()).unwrap().start_tls(trusting(&certs.ca)).unwrap();
    inside.send(&msg::ssl_request());
    let (said, lost) = inside.drain(Duration::from_secs(20));
    assert!(said.iter().all(|m| m.tag == b'E'), "b34b: {said:?}");
    assert!(!matches!(lost, Lost::Timeout));
    // After `S` only a handshake may follow.
    let mut clear = Raw::connect(&pooler.target().addr()).unwrap();
    clear.send(&msg::ssl_request());
    assert_eq!(clear.byte().unwrap(), b'S');
    clear.send(&startup(&pooler.target()));
    let said = clear.bytes_to_end();
    assert!(!said.starts_with(b"R"), "b34c: {said:?}");
    assert!(pooler.show("SERVERS").is_empty(), "nobody was let in");
}

#[test]
fn f65_a_handshake_may_come_byte_by_byte_and_may_be_broken_off_anywhere() {
    let Encrypted { certs, pooler, dir: _dir } = encrypted("require");
    let hello = {
        let name = ServerName::try_from("localhost").unwrap();
        let mut session = rustls::ClientConnection::new(trusting(&certs.ca), name).unwrap();
        let mut bytes = Vec::new();
        session.write_tls(&mut bytes).unwrap();
        bytes
    };
    for cut in (0..hello.len()).step_by(23) {
        let mut raw = Raw::connect(&pooler.target().addr()).unwrap();
        raw.send(&msg::ssl_request());
        assert_eq!(raw.byte().unwrap(), b'S');
        raw.send(&hello[..cut]);
        raw.reset();
    }
    let mut raw = Raw::connect(&pooler.target().addr()).unwrap();
    raw.send(&msg::ssl_request());
    assert_eq!(raw.byte().unwrap(), b'S');
    let every: Vec<usize> = (1..hello.len()).collect();
    raw.send_split(&hello, &every);
    // The server's hello is a handshake record (22), not an alert (21).
    assert_eq!(raw.byte().unwrap(), 22);
    assert!(login(&pooler.target(), &certs.ca).is_ok());
    pooler.assert_healthy();
}

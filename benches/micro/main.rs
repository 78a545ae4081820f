//! Pieces of the core by themselves: following message boundaries, the list of owed replies, the maps of
//! statements, the pool's decisions, and whole transactions through the session. Time and allocations of each.
//!
//! For comparing two versions on one machine; the yardstick is what decides.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../../tests/allocations/rig.rs"]
#[allow(unreachable_pub, dead_code)]
mod rig;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use pooler::proto::FrameHeader;
use pooler::session::{Catalog, ClientStatements, InFlight, Kind, ServerStatements, Why};
use rig::{Rig, words};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

/// Boundaries of the messages of a result.
#[divan::bench(args = [1, 100, 1000])]
fn scan_rows(bencher: Bencher<'_, '_>, rows: usize) {
    let (_, bytes) = words::result(rows);
    bencher.counter(BytesCount::new(bytes.len())).bench(|| {
        let (mut at, mut messages) = (0, 0);
        while let Ok(Some(header)) = FrameHeader::backend(black_box(&bytes[at..])) {
            at += header.wire_len;
            messages += 1;
        }
        messages
    });
}

/// What ten unnamed statements owe, and its settling.
#[divan::bench]
fn owed_pipeline(bencher: Bencher<'_, '_>) {
    let mut owed = InFlight::default();
    bencher.counter(ItemsCount::new(41_usize)).bench_local(|| {
        for _ in 0..10 {
            owed.owe(Kind::Parse, Why::UnnamedParse);
            owed.owe(Kind::Bind, Why::Client);
            owed.owe(Kind::DescribePortal, Why::Client);
            owed.owe(Kind::Execute, Why::Client);
        }
        owed.owe(Kind::Sync, Why::Client);
        for _ in 0..10 {
            for tag in *b"12TDC" {
                black_box(owed.on_reply(tag).is_ok());
            }
        }
        black_box(owed.on_reply(b'Z').is_ok())
    });
}

/// Looking up one of so many names of a client.
#[divan::bench(args = [1, 10, 200])]
fn client_statement(bencher: Bencher<'_, '_>, count: usize) {
    let mut catalog = Catalog::default();
    let mut names = ClientStatements::default();
    for at in 0..count {
        let statement = catalog.intern(format!("select {at}\0\0\0").as_bytes(), b"");
        names.send(format!("s{at}").as_bytes(), Some(statement), 1);
        names.confirm();
    }
    let name = format!("s{}", count / 2);
    bencher.bench_local(|| black_box(names.find(black_box(name.as_bytes()), 2)));
}

/// Whether a server has one of so many statements.
#[divan::bench(args = [1, 10, 200])]
fn server_statement(bencher: Bencher<'_, '_>, count: usize) {
    let mut catalog = Catalog::default();
    let mut statements = ServerStatements::default();
    let all: Vec<_> =
        (0..count).map(|at| catalog.intern(format!("select {at}\0\0\0").as_bytes(), b"")).collect();
    for statement in &all {
        statements.send_parse(std::rc::Rc::clone(statement), 1);
        statements.confirm_parse();
    }
    let wanted = std::rc::Rc::clone(&all[count / 2]);
    bencher.bench_local(|| black_box(statements.find(black_box(&wanted), 2)));
}

/// Finding a text that the pool knows.
#[divan::bench(args = [10, 1000])]
fn catalog(bencher: Bencher<'_, '_>, count: usize) {
    let mut catalog = Catalog::default();
    let all: Vec<_> =
        (0..count).map(|at| catalog.intern(format!("select {at}\0\0\0").as_bytes(), b"")).collect();
    let text = format!("select {}\0\0\0", count / 2);
    bencher.bench_local(|| black_box(catalog.intern(black_box(text.as_bytes()), b"")));
    drop(all);
}

/// Lending an idle server and taking it back.
#[divan::bench]
fn pool_lend_and_release(bencher: Bencher<'_, '_>) {
    let mut rig = Rig::new();
    bencher.bench_local(|| {
        let evidence = rig.evidence();
        rig.lend_and_release(evidence);
    });
}

/// A transaction of each kind through session and pool.
#[divan::bench(args = ["simple", "unnamed", "prepared", "pipeline", "result of 500"])]
fn transaction(bencher: Bencher<'_, '_>, kind: &str) {
    let mut rig = Rig::new();
    let (request, replies) = match kind {
        "simple" => words::simple(),
        "unnamed" => words::unnamed(),
        "pipeline" => words::pipeline(),
        "prepared" => {
            let (request, replies) = words::prepare();
            rig.transaction(&request, &replies);
            words::prepared()
        }
        _ => words::result(500),
    };
    bencher.bench_local(|| rig.transaction(black_box(&request), black_box(&replies)));
}

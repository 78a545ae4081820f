//! Clients and servers that go away at the wrong moment (F1, F2, F5, F16 to F21, T38 to T42, T48 to T54).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::cluster::APP;
use common::{Cluster, ClusterOptions, Lost, Pooler, PoolerConfig, Raw, Target, brief, eventually, msg};

/// T54: the first success comes within this time once PostgreSQL accepts again.
const BACK_AFTER: Duration = Duration::from_secs(1);

fn pair(size: u32) -> (Cluster, Pooler) {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    cluster.sql_in(APP, &format!("create table t (token text); alter table t owner to {APP}"));
    let pooler = PoolerConfig::for_cluster(&cluster, size).start();
    (cluster, pooler)
}

fn rows(cluster: &Cluster) -> String {
    cluster.sql_in(APP, "select count(*) from t").remove(0).remove(0)
}

/// Ends all backends of the application and waits until they are gone.
fn kill_backends(cluster: &Cluster) {
    let kill = format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{APP}'");
    cluster.sql(&kill);
    eventually("the backends are gone", || cluster.backends().is_empty());
}

/// A client of a load: counts what succeeded and what failed, and comes back after each failure.
fn keep_asking(target: &Target, over: &AtomicBool, done: &AtomicUsize, failed: &AtomicUsize) {
    let mut raw = Raw::login(target);
    while !over.load(Ordering::Relaxed) {
        raw.send(&msg::query("select 'x' from pg_sleep(0.002)"));
        let (replies, lost) = answer(&mut raw);
        match (brief(&replies).as_str(), lost) {
            ("T D C Z(I)", None) => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            (said, lost) => {
                let errors = replies.iter().filter(|m| m.tag == b'E').count();
                assert_eq!(errors, 1, "R22: one failure, one error: {said} {lost:?}");
                failed.fetch_add(1, Ordering::Relaxed);
                raw = Raw::login(target);
            }
        }
    }
}

/// Replies up to ReadyForQuery, or to the end of the connection.
fn answer(raw: &mut Raw) -> (Vec<common::Message>, Option<Lost>) {
    let mut seen = Vec::new();
    loop {
        match raw.next() {
            Ok(message) => seen.push(message),
            Err(lost) => return (seen, Some(lost)),
        }
        if seen.last().is_some_and(|m| m.tag == b'Z') {
            return (seen, None);
        }
    }
}

#[test]
fn f5_a_restart_under_load_fails_only_what_was_running() {
    const POOL: usize = 3;
    const RESTARTS: usize = 3;
    let (cluster, pooler) = pair(u32::try_from(POOL).unwrap());
    let target = pooler.target();
    let (over, done, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let mut idle = Raw::login(&target);
    idle.value("select 1");
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| keep_asking(&target, &over, &done, &failed));
        }
        for _ in 0..RESTARTS {
            let before = done.load(Ordering::Relaxed);
            eventually("the load runs", || done.load(Ordering::Relaxed) > before + 100);
            cluster.restart("fast");
            let start = Instant::now();
            assert_eq!(Raw::login(&target).value("select 'back'"), "back");
            assert!(start.elapsed() < BACK_AFTER, "V23: back after {:?}", start.elapsed());
        }
        let before = done.load(Ordering::Relaxed);
        eventually("the load runs again", || done.load(Ordering::Relaxed) > before + 100);
        over.store(true, Ordering::Relaxed);
    });
    let failed = failed.into_inner();
    assert!(failed <= RESTARTS * POOL, "{failed} failures: waiting clients were hit too");
    assert_eq!(idle.value("select 'T52'"), "T52", "an idle client notices nothing");
    pooler.assert_healthy();
}

#[test]
fn t53_t54_a_server_that_is_down_is_waited_for_and_used_at_once_when_it_is_back() {
    let (cluster, pooler) = pair(2);
    let mut known = Raw::login(&pooler.target());
    known.value("select 1");
    cluster.stop("fast");
    known.send(&msg::query("select 'waited'"));
    assert!(matches!(known.next_within(Duration::from_millis(500)), Err(Lost::Timeout)));
    cluster.start();
    let start = Instant::now();
    assert_eq!(known.until_ready()[1].first(), "waited");
    assert!(start.elapsed() < BACK_AFTER, "served {:?} after PostgreSQL accepted", start.elapsed());
    // No error is remembered that is no longer true.
    assert_eq!(Raw::login(&pooler.target()).value("select 'new'"), "new");
}

#[test]
fn f1_t48_t49_a_server_killed_while_idle_is_never_lent() {
    let (cluster, pooler) = pair(3);
    let mut clients: Vec<Raw> = (0..3).map(|_| Raw::login(&pooler.target())).collect();
    for _ in 0..20 {
        for raw in &mut clients {
            raw.query("begin");
        }
        for raw in &mut clients {
            raw.query("commit");
        }
        kill_backends(&cluster);
        for raw in &mut clients {
            assert_eq!(brief(&raw.query("select 1")), "T D C Z(I)");
        }
    }
}

#[test]
fn f2_t50_t51_a_server_killed_under_a_client_is_one_error() {
    let (cluster, pooler) = pair(1);
    for before in ["select 1", "begin"] {
        let mut raw = Raw::login(&pooler.target());
        raw.query(before);
        if before != "begin" {
            raw.send(&msg::query("select pg_sleep(60)"));
            eventually("it sleeps", || cluster.backends().iter().any(|(_, state)| state == "active"));
        }
        kill_backends(&cluster);
        if before == "begin" {
            let _ = raw.try_send(&msg::query("select 2"));
        }
        let (replies, lost) = answer(&mut raw);
        let errors: Vec<String> = replies.iter().filter_map(common::Message::sqlstate).collect();
        assert_eq!(errors, ["57P01"], "{before}: {replies:?} {lost:?}");
        assert_eq!(Raw::login(&pooler.target()).value("select 'next'"), "next");
    }
}

/// Ways of leaving: an orderly end, a close, a reset.
fn leave(raw: Raw, how: usize) {
    match how % 3 {
        0 => raw.terminate(),
        1 => drop(raw),
        _ => raw.reset(),
    }
}

#[test]
fn f17_t38_a_client_that_leaves_in_a_transaction_is_rolled_back() {
    let (cluster, pooler) = pair(1);
    for how in 0..9 {
        let mut raw = Raw::login(&pooler.target());
        raw.query("begin");
        raw.query("insert into t values ('never')");
        match how / 3 {
            0 => {}
            1 => drop(raw.query("savepoint s; select 1/0")),
            _ => raw.send(&msg::query("insert into t select 'half' from pg_sleep(0.01)")),
        }
        leave(raw, how);
        let mut next = Raw::login(&pooler.target());
        assert_eq!(next.value("select count(*) from t"), "0", "way {how}");
        assert_eq!(
            next.value("select count(*) from pg_locks where relation = 't'::regclass and mode like '%Excl%'"),
            "0"
        );
    }
    cluster.at_rest();
    assert_eq!(rows(&cluster), "0");
}

#[test]
fn f19_t40_r34_a_client_that_leaves_in_copy_in_stores_nothing() {
    let (cluster, pooler) = pair(1);
    for how in 0..6 {
        let mut raw = Raw::login(&pooler.target());
        if how < 3 {
            raw.send(&msg::query("copy t from stdin"));
        } else {
            raw.send(&[msg::run("copy t from stdin", &[]), msg::flush()].concat());
        }
        raw.until(b'G');
        raw.send(&msg::copy_data("row\n"));
        leave(raw, how);
        assert_eq!(Raw::login(&pooler.target()).value("select count(*) from t"), "0", "way {how}");
    }
    cluster.at_rest();
}

/// A pool of one whose servers would be held far beyond the patience of any test.
fn patient() -> (Cluster, Pooler) {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    cluster.sql_in(APP, &format!("create table t (token text); alter table t owner to {APP}"));
    let pooler = PoolerConfig::for_cluster(&cluster, 1).set("server_recovery_timeout", "300").start();
    (cluster, pooler)
}

const LOCKS: &str = "select count(*) from pg_locks where relation = 't'::regclass";

/// Seen: what ran in the block was waited for, with its locks and the pool's only place.
#[test]
fn f17_f18_what_runs_in_a_block_is_ended_after_a_goodbye() {
    let (cluster, pooler) = patient();
    let sleep = "select pg_sleep(300)";
    let works = [
        msg::query(sleep),
        [msg::run(sleep, &[]), msg::sync()].concat(),
        [msg::run(sleep, &[]), msg::flush()].concat(),
    ];
    for work in works {
        let mut raw = Raw::login(&pooler.target());
        raw.query("begin");
        raw.query("lock table t");
        let pid = raw.value("select pg_backend_pid()");
        raw.send(&work);
        eventually("it sleeps", || cluster.backends().iter().any(|(_, state)| state == "active"));
        raw.terminate();
        let mut next = Raw::login(&pooler.target());
        assert_eq!(next.value("select pg_backend_pid()"), pid, "the server is reused");
        assert_eq!(cluster.sql_in(APP, LOCKS), [["0"]]);
    }
    cluster.at_rest();
}

/// As with PostgreSQL itself: what was asked for before the goodbye is done.
#[test]
fn f17_f18_a_commit_and_a_statement_outside_of_a_block_are_finished_after_a_goodbye() {
    let (cluster, pooler) = patient();
    // A COMMIT that takes a while, so that a cancel would be in time.
    cluster.sql_in(
        APP,
        "create function nap() returns trigger language plpgsql as
             'begin perform pg_sleep(0.05); return null; end';
         create constraint trigger nap after insert on t deferrable initially deferred
             for each row when (new.token = 'slow') execute function nap()",
    );
    let insert = "insert into t values ('slow')";
    let lone = msg::query("insert into t select 'alone' from pg_sleep(0.5)");
    let whole = msg::query(&format!("begin; {insert}; commit"));
    let commit = [msg::run("commit", &[]), msg::sync()].concat();
    let (none, begun): (&[&str], &[&str]) = (&[], &["begin", insert]);
    let cases = [(none, lone), (none, whole), (begun, msg::query("commit")), (begun, commit)];
    for (number, (before, last)) in cases.iter().enumerate() {
        let mut raw = Raw::login(&pooler.target());
        for sql in *before {
            raw.query(sql);
        }
        raw.send(&[&last[..], &msg::terminate()].concat());
        drop(raw);
        eventually("it is done", || rows(&cluster) == (number + 1).to_string());
    }
    assert_eq!(pooler.show("SERVERS").len(), 1, "one server did it all");
    cluster.at_rest();
}

/// R30: a Sync sent behind the Execute leaves the position in doubt, so the server is closed, and at once.
#[test]
fn r30_f19_a_client_that_leaves_in_copy_in_with_an_early_sync_holds_nothing_up() {
    let (cluster, pooler) = patient();
    let refused = [msg::copy_data("too\tmany\n"), msg::copy_done(), msg::sync()].concat();
    // The last leaves before the server has said that it is ready for data.
    for (number, data) in [msg::copy_data("row\n"), refused, Vec::new()].iter().enumerate() {
        for how in 0..6 {
            let mut raw = Raw::login(&pooler.target());
            if how < 3 {
                raw.query("begin");
            }
            raw.send(&[msg::run("copy t from stdin", &[]), msg::sync()].concat());
            if !data.is_empty() {
                raw.until(b'G');
            }
            raw.send(data);
            leave(raw, how);
            let mut next = Raw::login(&pooler.target());
            assert_eq!(next.value("select count(*) from t"), "0", "data {number}, way {how}");
            assert_eq!(cluster.sql_in(APP, LOCKS), [["0"]], "data {number}, way {how}");
        }
    }
    cluster.at_rest();
}

#[test]
fn f20_r69_a_message_cut_short_anywhere_never_runs() {
    let (cluster, pooler) = pair(1);
    let simple = msg::query("insert into t values ('cut')");
    let batch = [msg::run("insert into t values ($1)", &[Some("cut")]), msg::sync()].concat();
    for whole in [simple, batch] {
        for cut in 0..whole.len() {
            let mut raw = Raw::login(&pooler.target());
            raw.send(&whole[..cut]);
            leave(raw, 1 + cut % 2);
        }
    }
    assert_eq!(Raw::login(&pooler.target()).value("select count(*) from t"), "0");
    cluster.at_rest();
}

/// Seen: the Sync that ended its batch for it also committed it.
#[test]
fn r11_r69_a_client_that_leaves_before_its_sync_has_committed_nothing() {
    let (cluster, pooler) = pair(1);
    for how in 0..3 {
        let mut raw = Raw::login(&pooler.target());
        raw.send(&[msg::run("insert into t values ('unsynced')", &[]), msg::flush()].concat());
        raw.until(b'C');
        leave(raw, how);
        assert_eq!(Raw::login(&pooler.target()).value("select count(*) from t"), "0", "way {how}");
    }
    assert_eq!(pooler.show("SERVERS").len(), 1, "one server did it all");
    cluster.at_rest();
}

#[test]
fn f16_f21_a_client_that_leaves_idle_or_queued_is_forgotten_at_once() {
    let (_cluster, pooler) = pair(1);
    let count = |column: &str| pooler.number("POOLS", ("database", APP), column);
    let mut holder = Raw::login(&pooler.target());
    holder.query("begin");
    for how in 1..3 {
        let mut queued = Raw::login(&pooler.target());
        queued.send(&msg::query("insert into t values ('queued')"));
        let idle = Raw::login(&pooler.target());
        eventually("one waits", || (count("cl_waiting"), count("cl_active")) == (1, 2));
        leave(queued, how);
        leave(idle, how);
        eventually("both are forgotten", || (count("cl_waiting"), count("cl_active")) == (0, 1));
    }
    holder.query("commit");
    assert_eq!(holder.value("select count(*) from t"), "0");
    assert_eq!(pooler.show("SERVERS").len(), 1);
}

/// R8: the slot follows the backend. The query of a client that left is cancelled, and the pool's size holds.
#[test]
fn f18_t39_t41_t42_what_an_absent_client_was_running_is_ended() {
    let (cluster, pooler) = pair(1);
    let works = [
        msg::query("select pg_sleep(60)"),
        [msg::run("select pg_sleep(60)", &[]), msg::sync()].concat(),
        msg::query("copy (select repeat('x', 1000) from generate_series(1, 200000)) to stdout"),
        msg::query("select repeat('x', 1000) from generate_series(1, 200000)"),
        msg::run("select 1", &[]),
    ];
    for (number, work) in works.iter().enumerate() {
        let mut raw = Raw::login(&pooler.target());
        raw.send(work);
        if number == 2 || number == 3 {
            assert!(raw.next().is_ok());
        } else {
            eventually("the server has it", || pooler.number("POOLS", ("database", APP), "sv_active") == 1);
        }
        leave(raw, 1 + number % 2);
        let start = Instant::now();
        let mut next = Raw::login(&pooler.target());
        assert_eq!(next.value("select 'next'"), "next");
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "work {number} was waited for: {:?}",
            start.elapsed()
        );
        assert!(cluster.backends().len() <= 1, "I8: {:?}", cluster.backends());
    }
    cluster.at_rest();
}

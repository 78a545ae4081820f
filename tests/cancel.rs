//! Cancel requests hit the statement they were sent for, or nothing (C4, T43 to T45, F38, F42, F43, S37 to S40).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use common::fake::{Act, FakeServer, Gate, answers};
use common::raw::cancel;
use common::{Cluster, Login, Pooler, PoolerConfig, Raw, brief, eventually, msg};

fn pooler(size: u32) -> Pooler {
    PoolerConfig::for_cluster(Cluster::shared(), size).start()
}

/// Waits until PostgreSQL runs a statement with this text in it.
fn runs(text: &str) {
    let sql = format!(
        "select count(*) from pg_stat_activity where state = 'active' and query like '%{text}%' and pid <> pg_backend_pid()"
    );
    eventually(&format!("{text} runs"), || Cluster::shared().value(&sql) != "0");
}

#[test]
fn t43_a_running_query_is_cancelled_at_once_and_the_session_lives() {
    let pooler = pooler(1);
    let mut raw = Raw::login(&pooler.target());
    raw.send(&msg::query("select pg_sleep(60) /* t43 */"));
    runs("t43");
    let start = Instant::now();
    cancel(&pooler.target().addr(), &raw.key());
    assert_eq!(brief(&raw.until_ready()).trim_start_matches("T "), "E(57014) Z(I)");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(raw.value("select 1"), "1");
}

#[test]
fn t43_a_query_in_a_transaction_is_cancelled_and_the_transaction_fails() {
    let pooler = pooler(1);
    let mut raw = Raw::login(&pooler.target());
    raw.query("begin");
    raw.send(&[msg::run("select pg_sleep(60) /* t43b */", &[]), msg::sync()].concat());
    runs("t43b");
    cancel(&pooler.target().addr(), &raw.key());
    assert_eq!(brief(&raw.until_ready()), "1 2 E(57014) Z(E)");
    assert_eq!(brief(&raw.query("rollback")), "C Z(I)");
}

#[test]
fn in_session_mode_the_key_names_the_backend_and_cancels_on_whichever_worker() {
    let config = PoolerConfig::for_cluster(Cluster::shared(), 2).set("workers", "2");
    let pooler = config.set("pool_mode", "\"session\"").start();
    let pid_of = |raw: &Raw| i32::from_be_bytes(raw.key()[..4].try_into().unwrap());
    let mut clients: Vec<Raw> = (0..2).map(|_| Raw::login(&pooler.target())).collect();
    for raw in &mut clients {
        assert_eq!(raw.value("select pg_backend_pid()"), pid_of(raw).to_string());
        raw.send(&msg::query("select pg_sleep(60) /* real pid */"));
        runs("real pid");
        cancel(&pooler.target().addr(), &raw.key());
        assert_eq!(brief(&raw.until_ready()).trim_start_matches("T "), "E(57014) Z(I)");
    }
    // Both servers are kept: who comes now has a number of ours until it gets one.
    let waits = Raw::login(&pooler.target());
    assert!(clients.iter().all(|raw| pid_of(raw) != pid_of(&waits)));
    let victim = pid_of(&clients[0]);
    assert_eq!(clients[1].value(&format!("select pg_terminate_backend({victim})")), "t");
    assert_eq!(brief(&clients[0].drain(Duration::from_secs(10)).0), "E(57P01)");
}

#[test]
fn t44_f42_a_wrong_key_has_no_effect_and_costs_no_server_connection() {
    let pooler = pooler(1);
    let mut raw = Raw::login(&pooler.target());
    raw.send(&msg::query("select pg_sleep(1) /* t44 */"));
    runs("t44");
    let right = raw.key();
    for n in 0..50_u8 {
        let mut wrong = right.clone();
        let last = wrong.len() - 1;
        wrong[last] = wrong[last].wrapping_add(n + 1);
        cancel(&pooler.target().addr(), &wrong);
    }
    for short in [&right[..4], &right[..0]] {
        cancel(&pooler.target().addr(), short);
    }
    // B16b. Keys of workers that do not exist: they were held until cancel_wait_timeout.
    let start = Instant::now();
    for process_id in [1234_u32, 0x7fff_ffff, u32::MAX] {
        cancel(&pooler.target().addr(), &[process_id.to_be_bytes(), [7; 4]].concat());
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(brief(&raw.until_ready()), "T D C Z(I)");
    assert_eq!(pooler.show("SERVERS").len(), 1);
}

#[test]
fn t45_f43_a_queued_client_is_cancelled_at_once_and_its_place_is_free() {
    let pooler = pooler(1);
    let mut holder = Raw::login(&pooler.target());
    holder.query("begin");
    let mut queued = Raw::login(&pooler.target());
    let mut behind = Raw::login(&pooler.target());
    let waiting = |n: u64| {
        eventually("clients wait", || pooler.number("POOLS", ("database", "app"), "cl_waiting") == n);
    };
    queued.send(&msg::query("select 'queued'"));
    waiting(1);
    behind.send(&msg::query("select 'behind'"));
    waiting(2);
    cancel(&pooler.target().addr(), &queued.key());
    assert_eq!(brief(&queued.until_ready()), "E(57014) Z(I)");
    waiting(1);
    // A batch is answered once, at its Sync.
    queued.send(&[msg::run("select 1", &[]), msg::sync()].concat());
    waiting(2);
    cancel(&pooler.target().addr(), &queued.key());
    assert_eq!(brief(&queued.until_ready()), "E(57014) Z(I)");
    assert_eq!(brief(&holder.query("commit")), "C Z(I)", "the one who holds the server is not hit");
    assert_eq!(brief(&behind.until_ready()), "T D C Z(I)");
    assert_eq!(queued.value("select 'alive'"), "alive");
}

/// F39: the server is busy with our own setting of parameters when the cancel comes. It must not hit that, and the
/// client's query is cancelled as soon as it has been sent.
#[test]
fn f39_a_cancel_during_our_own_exchange_hits_the_query_behind_it() {
    let (own, go) = (Gate::default(), Gate::default());
    let settled =
        [msg::any(b'1', &[]), msg::any(b'2', &[]), answers::complete("SELECT 1"), answers::ready(b'I')];
    let (cancelled, gone_on) = (Gate::default(), Gate::default());
    let server = FakeServer::start(vec![vec![
        Act::Welcome,
        Act::Await(b'S'),
        Act::Open(own.clone()),
        Act::Pass(go.clone()),
        Act::Send(settled.concat()),
        Act::Await(b'Q'),
        Act::Open(gone_on.clone()),
        Act::Pass(cancelled.clone()),
        Act::Send([answers::error("ERROR", "57014", "canceled"), answers::ready(b'I')].concat()),
        Act::Serve,
    ]]);
    let pooler = PoolerConfig::for_port(server.port(), 1).start();
    let target = pooler.target();
    let login = Login { parameters: &[("application_name", "cart")], ..Login::plain(&target) };
    let mut raw = Raw::try_login(&login).unwrap();
    raw.send(&msg::query("select 1"));
    own.wait();
    let (addr, key) = (pooler.target().addr(), raw.key());
    let canceller = std::thread::spawn(move || cancel(&addr, &key));
    eventually("the cancel is on its way", || pooler.number("LISTS", ("list", "login_clients"), "items") > 0);
    assert_eq!(server.cancels(), 0, "our own exchange was cancelled");
    go.open();
    gone_on.wait();
    eventually("the query is cancelled", || server.cancels() == 1);
    cancelled.open();
    canceller.join().unwrap();
    assert_eq!(brief(&raw.until_ready()), "E(57014) Z(I)");
    assert_eq!(raw.value("select 2"), "fake");
    assert_eq!(server.cancels(), 1);
}

#[test]
fn a_cancel_of_an_idle_client_does_nothing() {
    let pooler = pooler(1);
    let mut raw = Raw::login(&pooler.target());
    assert_eq!(raw.value("select 1"), "1");
    for _ in 0..10 {
        cancel(&pooler.target().addr(), &raw.key());
        assert_eq!(raw.value("select 1"), "1");
    }
    raw.query("begin");
    cancel(&pooler.target().addr(), &raw.key());
    assert_eq!(raw.value("select 2"), "2");
}

/// F38: on a pool of one the next client runs on the very server that was to be cancelled.
#[test]
fn f38_s40_the_next_client_is_never_cancelled() {
    let pooler = pooler(1);
    let target = pooler.target();
    let mut first = Raw::login(&target);
    let mut next = Raw::login(&target);
    let (mut hits, mut misses) = (0, 0);
    for round in 0..300_u32 {
        // The query ends about when the cancel arrives: now before it, now after it.
        first.send(&msg::query(&format!("select pg_sleep({})", f64::from(round % 10) / 1000.0)));
        let key = first.key();
        let addr = target.addr();
        let canceller = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(u64::from(round % 7) * 1000));
            cancel(&addr, &key);
        });
        next.send(&msg::query("select 'mine' from pg_sleep(0.005)"));
        let said = next.until_ready();
        assert_eq!(brief(&said), "T D C Z(I)", "round {round}: cancelled for someone else: {said:?}");
        match brief(&first.until_ready()).trim_start_matches("T ") {
            // Hit while it slept, or between its row and its end.
            "E(57014) Z(I)" | "D E(57014) Z(I)" => hits += 1,
            "D C Z(I)" => misses += 1,
            other => panic!("round {round}: {other}"),
        }
        canceller.join().unwrap();
    }
    println!("{hits} hits, {misses} misses");
    assert!(hits > 20 && misses > 20, "{hits} hits and {misses} misses: the race was not run");
}

#[test]
fn s37_keys_are_unique_and_their_process_ids_positive() {
    let pooler = pooler(1);
    let clients: Vec<Raw> = (0..200).map(|_| Raw::login(&pooler.target())).collect();
    let keys: HashSet<Vec<u8>> = clients.iter().map(Raw::key).collect();
    assert_eq!(keys.len(), clients.len());
    for key in &keys {
        let pid = i32::from_be_bytes(key[..4].try_into().unwrap());
        assert!(pid > 0, "{pid}");
    }
    let servers: Vec<String> = Cluster::shared().backends().into_iter().map(|(pid, _)| pid).collect();
    let given = |pid: &String| keys.iter().any(|k| k[..4] == pid.parse::<i32>().unwrap().to_be_bytes());
    assert!(!servers.iter().any(given), "a server's own key was given out");
}

#[test]
fn f41_a_storm_of_cancels_leaves_normal_work_alone() {
    let pooler = pooler(3);
    let target = pooler.target();
    let mut sleepers: Vec<Raw> = (0..30).map(|_| Raw::login(&target)).collect();
    for raw in &mut sleepers {
        raw.send(&msg::query("select pg_sleep(60) /* storm */"));
    }
    runs("storm");
    let keys: Vec<Vec<u8>> = sleepers.iter().map(Raw::key).collect();
    std::thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| cancel(&target.addr(), key));
        }
    });
    for mut raw in sleepers {
        // A client that was lent a server between two cancels is asked again.
        while let Err(common::Lost::Timeout) = raw.next_within(Duration::from_millis(500)) {
            cancel(&target.addr(), &raw.key());
        }
    }
    assert_eq!(Raw::login(&target).value("select 1"), "1");
    pooler.assert_healthy();
}

/// A client that always has the next query on its way never seemed to end a request.
#[test]
fn the_query_timeout_counts_each_query_of_a_pipeline_and_not_their_sum() {
    let pooler = PoolerConfig::for_cluster(Cluster::shared(), 1).set("query_timeout", "2").start();
    let mut raw = Raw::login(&pooler.target());
    let short = msg::query("select pg_sleep(0.5)");
    raw.send(&short);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(4) {
        raw.send(&short);
        assert_eq!(brief(&raw.until_ready()), "T D C Z(I)", "after {:?}", start.elapsed());
    }
    raw.send(
        &[msg::query("select pg_sleep(60)"), msg::query("select pg_sleep(0.2)"), short.clone()].concat(),
    );
    raw.until_ready();
    let start = Instant::now();
    assert_eq!(brief(&raw.until_ready()).trim_start_matches("T "), "E(57014) Z(I)");
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(1500) && waited < Duration::from_secs(10), "{waited:?}");
    // PostgreSQL signals a backend and then its process group: if the backend is quick, the second signal may hit what
    // it runs next. What comes behind that is not in its reach.
    raw.until_ready();
    assert_eq!(brief(&raw.until_ready()), "T D C Z(I)", "the next one has a time of its own");
    assert_eq!(raw.value("select 1"), "1");
}

//! A pool that several workers serve is one pool: its size is exact, its clients wait about equally long, and every
//! command of the console means all of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::cluster::APP;
use common::pooler::quoted;
use common::raw::cancel;
use common::{Cluster, ClusterOptions, Lost, Pooler, PoolerConfig, Raw, Target, brief, eventually, msg};

/// How long clients are let loose.
const STORM: Duration = Duration::from_secs(3);

fn config(cluster: &Cluster, size: u32) -> PoolerConfig {
    PoolerConfig::for_cluster(cluster, size).set("workers", "2").set("pool_split", quoted("always"))
}

/// The worker that serves a client: one byte of its cancel key.
fn worker(raw: &Raw) -> u8 {
    raw.key()[3]
}

/// A client on this worker. New ones go to the worker with fewer, so sooner or later one does.
fn client_on(target: &Target, wanted: u8) -> Raw {
    let mut others = Vec::new();
    for _ in 0..40 {
        let raw = Raw::login(target);
        if worker(&raw) == wanted {
            return raw;
        }
        others.push(raw);
    }
    panic!("no client came to worker {wanted}");
}

/// I7: exactly as many transactions run at once as the pool has servers; the next one waits until one ends. Clients
/// of both workers take part.
fn exactly(size: usize, target: &Target) {
    let mut inside: Vec<Raw> = Vec::new();
    for number in 0..size {
        let mut raw = client_on(target, u8::try_from(number % 2).unwrap());
        raw.query("begin");
        assert_eq!(raw.value(&format!("select {number}")), number.to_string());
        inside.push(raw);
    }
    let mut waiting: Vec<Raw> = (0..2).map(|worker| client_on(target, worker)).collect();
    for raw in &mut waiting {
        raw.send(&msg::query("select 'served'"));
        let early = raw.next_within(Duration::from_millis(300));
        assert!(matches!(early, Err(Lost::Timeout)), "one more than the pool's size ran: {early:?}");
    }
    inside[0].query("commit");
    for raw in &mut waiting {
        assert_eq!(raw.until_ready()[1].first(), "served");
    }
    for mut raw in inside {
        raw.query("rollback");
    }
}

/// Most backends at once while `work` runs.
fn most_backends<R>(cluster: &Cluster, work: impl FnOnce() -> R) -> (usize, R) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(cluster.backends().len());
                std::thread::sleep(Duration::from_millis(10));
            }
            most
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        let most = sampler.join().unwrap();
        (most, done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Asks on this connection until the end; how often, and the longest wait for an answer.
fn ask_on(raw: &mut Raw, id: usize, sql: &str, end: Instant) -> (u32, Duration) {
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let start = Instant::now();
        let token = format!("{id}-{asked}");
        assert_eq!(raw.value(&format!("select '{token}' {sql}")), token);
        longest = longest.max(start.elapsed());
        asked += 1;
    }
    (asked, longest)
}

#[test]
fn i8_forty_clients_of_two_workers_share_five_servers_and_all_are_served() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = config(&cluster, 5).start();
    let mut clients: Vec<Raw> = (0..40).map(|_| Raw::login(&pooler.target())).collect();
    for number in 0..2 {
        let here = clients.iter().filter(|raw| worker(raw) == number).count();
        assert!((15..=25).contains(&here), "{here} clients on worker {number}");
    }
    let end = Instant::now() + STORM;
    let (most, asked) = most_backends(&cluster, || {
        std::thread::scope(|scope| {
            let run = |(id, raw)| scope.spawn(move || ask_on(raw, id, "", end).0);
            let threads: Vec<_> = clients.iter_mut().enumerate().map(run).collect();
            let shown = pooler.show("POOLS");
            let rows: Vec<_> = shown.iter().filter(|row| row["database"] == APP).collect();
            assert_eq!(rows.len(), 1, "{rows:?}");
            let number = |column: &str| rows[0][column].parse::<u32>().unwrap();
            assert_eq!(number("cl_active") + number("cl_waiting"), 40, "{rows:?}");
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    });
    assert!(most <= 5, "{most} backends at once for a pool of 5");
    assert!(asked.iter().all(|&asked| asked > 10), "somebody starved: {asked:?}");
    drop(clients);
    exactly(5, &pooler.target());
    let stats = pooler.number("STATS_TOTALS", ("database", APP), "query_count");
    assert!(stats >= u64::from(asked.iter().sum::<u32>()), "both workers' queries count");
    pooler.assert_healthy();
}

/// Without servers that move, a client alone on its worker would wait for as long as the others keep theirs busy.
/// A third worker has no clients and no servers: it alone was asked to give one.
#[test]
fn c7_a_client_alone_on_its_worker_waits_about_as_long_as_a_crowd_on_the_other() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    for (size, workers) in [(1, "2"), (2, "2"), (1, "3"), (2, "3")] {
        let pooler = config(&cluster, size).set("workers", workers).start();
        let target = pooler.target();
        let mut crowd: Vec<Raw> = (0..10).map(|_| client_on(&target, 0)).collect();
        let mut alone = client_on(&target, 1);
        let end = Instant::now() + STORM;
        let sql = "from pg_sleep(0.01)";
        let (waits, (asked, longest)) = std::thread::scope(|scope| {
            let run = |(id, raw)| scope.spawn(move || ask_on(raw, id, sql, end).1);
            let threads: Vec<_> = crowd.iter_mut().enumerate().map(run).collect();
            let asked = ask_on(&mut alone, 99, sql, end);
            (threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap(), asked)
        });
        // Twice as long as the others, `LAST_LAG`, and what complaints and turns take on a busy machine.
        let bound = waits * 2 + Duration::from_millis(350);
        let pool = format!("pool of {size} on {workers} workers");
        assert!(longest < bound, "{pool}: waited {longest:?}, the crowd {waits:?}");
        assert!(asked > 5, "{pool}: served {asked} times");
    }
}

/// Both workers call their first statements by the same number.
#[test]
fn r52_a_server_that_moves_runs_what_its_new_client_has_prepared() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = config(&cluster, 1).start();
    let mut clients: Vec<Raw> = (0..2).map(|number| client_on(&pooler.target(), number)).collect();
    for (id, raw) in clients.iter_mut().enumerate() {
        for (name, text) in [("own", format!("select 'own {id}'")), ("same", "select 'same'".to_owned())] {
            raw.send(&[msg::parse(name, &text), msg::sync()].concat());
            assert_eq!(brief(&raw.until_ready()), "1 Z(I)");
        }
    }
    let mut pids = BTreeSet::new();
    for round in 0..60 {
        for (id, raw) in clients.iter_mut().enumerate() {
            for (name, expected) in [("own", format!("own {id}")), ("same", "same".to_owned())] {
                raw.send(&[msg::bind("", name, &[]), msg::execute("", 0), msg::sync()].concat());
                let row = raw.until_ready().iter().find(|m| m.tag == b'D').map(common::Message::first);
                assert_eq!(row.as_deref(), Some(&*expected), "round {round}");
            }
            pids.insert(raw.value("select pg_backend_pid()"));
        }
    }
    assert_eq!(pids.len(), 1, "it moved and was not replaced");
}

#[test]
fn the_console_rules_over_all_shares() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = config(&cluster, 4).start();
    let target = pooler.target();
    let pids = |pooler: &Pooler| -> BTreeSet<String> {
        pooler.show("SERVERS").into_iter().map(|row| row["remote_pid"].clone()).collect()
    };
    exactly(4, &target);
    let mut console = pooler.console();
    console.query(&format!("PAUSE {APP}"));
    eventually("all servers are closed", || cluster.backends().is_empty());
    let mut waiting: Vec<Raw> = (0..2).map(|number| client_on(&target, number)).collect();
    for raw in &mut waiting {
        raw.send(&msg::query("select 'resumed'"));
        assert!(matches!(raw.next_within(Duration::from_millis(200)), Err(Lost::Timeout)));
    }
    assert!(pooler.show("POOLS").iter().any(|row| row["database"] == APP && row["cl_waiting"] == "2"));
    console.query(&format!("RESUME {APP}"));
    for raw in &mut waiting {
        assert_eq!(raw.until_ready()[1].first(), "resumed");
    }
    exactly(4, &target);
    let before = pids(&pooler);
    assert_eq!(before.len(), 4);
    console.query(&format!("RECONNECT {APP}"));
    console.query(&format!("WAIT_CLOSE {APP}"));
    exactly(4, &target);
    assert!(pids(&pooler).is_disjoint(&before), "servers from before are left");
    console.query(&format!("KILL {APP}"));
    eventually("all servers are closed", || cluster.backends().is_empty());
    console.query(&format!("RESUME {APP}"));
    exactly(4, &target);
    pooler.assert_healthy();
}

#[test]
fn a_reload_that_changes_the_size_or_ends_the_split_is_exact() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = config(&cluster, 5).start();
    let target = pooler.target();
    exactly(5, &target);
    let mut console = pooler.console();
    for size in [2, 7, 1, 3] {
        // Clients on both workers keep the pool busy meanwhile.
        let mut clients: Vec<Raw> = (0..8).map(|_| Raw::login(&target)).collect();
        let end = Instant::now() + Duration::from_secs(1);
        std::thread::scope(|scope| {
            for (id, raw) in clients.iter_mut().enumerate() {
                scope.spawn(move || ask_on(raw, id, "", end));
            }
            pooler.rewrite(config(&cluster, size));
            console.query("RELOAD");
        });
        let size = usize::try_from(size).unwrap();
        eventually("the pool has shrunk", || cluster.backends().len() <= size);
        exactly(size, &target);
    }
    pooler.rewrite(config(&cluster, 3).set("pool_split", quoted("off")));
    console.query("RELOAD");
    let home = worker(&Raw::login(&target));
    for _ in 0..6 {
        assert_eq!(worker(&Raw::login(&target)), home, "new clients go home");
    }
    eventually("all rights are back", || {
        let mut inside: Vec<Raw> = (0..3).map(|_| Raw::login(&target)).collect();
        for raw in &mut inside {
            raw.send(&msg::query("begin"));
        }
        let all = inside.iter_mut().all(|raw| raw.next_within(Duration::from_millis(500)).is_ok());
        all && cluster.backends().len() == 3
    });
    pooler.assert_healthy();
}

#[test]
fn t43_a_cancel_finds_its_query_on_either_worker() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = config(&cluster, 4).start();
    for number in 0..2 {
        let mut raw = client_on(&pooler.target(), number);
        raw.send(&msg::query(&format!("select pg_sleep(60) /* split {number} */")));
        let sql = format!(
            "select count(*) from pg_stat_activity where state = 'active' and query like '%split {number} %' and pid <> pg_backend_pid()"
        );
        eventually("it runs", || cluster.value(&sql) != "0");
        for _ in 0..2 {
            // Which worker hears the request is not for the client to choose.
            cancel(&pooler.target().addr(), &raw.key());
        }
        assert_eq!(brief(&raw.until_ready()).trim_start_matches("T "), "E(57014) Z(I)");
        assert_eq!(raw.value("select 1"), "1");
    }
}

/// When a pool is split no more, clients of other workers go to its home: their statements and their cancel keys, which
/// name the worker that has let them in, go with them.
#[test]
fn a_client_that_moves_to_another_worker_notices_nothing() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let settings = || config(&cluster, 4).set("log_level", quoted("debug"));
    let pooler = settings().start();
    let target = pooler.target();
    let mut clients: Vec<Raw> = (0..6).map(|number| client_on(&target, number % 2)).collect();
    for (id, raw) in clients.iter_mut().enumerate() {
        raw.query(&format!("set application_name = 'mover {id}'"));
        raw.send(&[msg::parse("own", &format!("select 'own {id}'")), msg::sync()].concat());
        assert_eq!(brief(&raw.until_ready()), "1 Z(I)");
    }
    pooler.rewrite(settings().set("pool_split", quoted("off")));
    pooler.console().query("RELOAD");
    eventually("three clients have moved", || pooler.log().matches("client moves to worker").count() == 3);
    for (id, raw) in clients.iter_mut().enumerate() {
        raw.send(&[msg::bind("", "own", &[]), msg::execute("", 0), msg::sync()].concat());
        let row = raw.until_ready().iter().find(|m| m.tag == b'D').map(common::Message::first);
        assert_eq!(row, Some(format!("own {id}")));
        assert_eq!(raw.value("show application_name"), format!("mover {id}"));
        raw.send(&msg::query(&format!("select pg_sleep(60) /* moved {id} */")));
        let sql = format!(
            "select count(*) from pg_stat_activity where state = 'active' and query like '%moved {id} %' and pid <> pg_backend_pid()"
        );
        eventually("it runs", || cluster.value(&sql) != "0");
        cancel(&target.addr(), &raw.key());
        assert_eq!(brief(&raw.until_ready()).trim_start_matches("T "), "E(57014) Z(I)");
    }
    assert_eq!(pooler.show("CLIENTS").iter().filter(|row| row["database"] == APP).count(), 6);
    let id = pooler.show("CLIENTS").iter().find(|row| row["database"] == APP).map(|row| row["id"].clone());
    pooler.console().query(&format!("KILL_CLIENT {}", id.unwrap()));
    eventually("one is gone", || pooler.number("POOLS", ("database", APP), "cl_active") == 5);
    pooler.console().query(&format!("KILL {APP}"));
    eventually("all are gone", || pooler.number("POOLS", ("database", APP), "cl_active") == 0);
    pooler.assert_healthy();
}

/// Each worker had the whole bound for itself.
#[test]
fn max_pinned_ratio_bounds_the_whole_pool() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = config(&cluster, 4).set("max_pinned_ratio", "0.5").start();
    let mut clients: Vec<Raw> = (0..6).map(|number| client_on(&pooler.target(), number % 2)).collect();
    let pin = |raw: &mut Raw| brief(&raw.query("create temp table kept (n int)"));
    let said: Vec<String> = clients.iter_mut().map(pin).collect();
    let (fine, refused): (Vec<_>, Vec<_>) = said.iter().partition(|said| *said == "C Z(I)");
    assert_eq!((fine.len(), refused.len()), (2, 4), "{said:?}");
    assert!(refused.iter().all(|said| *said == "E(53400) Z(I)"), "{said:?}");
    assert_eq!(brief(&clients[0].query("drop table kept")), "C Z(I)");
    let free = || pooler.show("PINS").len() == 1;
    eventually("there is room again", free);
    assert_eq!(pin(&mut clients[3]), "C Z(I)", "on the other worker");
    assert_eq!(pin(&mut clients[2]), "E(53400) Z(I)");
    drop(clients);
    eventually("who leaves makes room", || pooler.show("PINS").is_empty());
    let mut clients: Vec<Raw> = (0..3).map(|number| client_on(&pooler.target(), number % 2)).collect();
    assert_eq!(clients.iter_mut().map(pin).filter(|said| said == "C Z(I)").count(), 2);
}

/// The number a client shows may be that of its server, so all workers may have to be asked: also for one that has moved.
#[test]
fn a_cancel_finds_a_client_that_has_moved_where_others_show_their_servers() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    cluster.sql(&format!("create database kept owner {APP}"));
    let settings = || {
        let entry = [
            ("host", quoted("127.0.0.1")),
            ("port", cluster.port().to_string()),
            ("pool_mode", quoted("session")),
        ];
        config(&cluster, 4).set("log_level", quoted("debug")).table("databases.kept", &entry)
    };
    let pooler = settings().start();
    let target = pooler.target();
    let mut clients: Vec<Raw> = (0..4).map(|number| client_on(&target, number % 2)).collect();
    clients.extend((0..2).map(|_| Raw::login(&target.with_database("kept"))));
    pooler.rewrite(settings().set("pool_split", quoted("off")));
    pooler.console().query("RELOAD");
    eventually("two clients have moved", || pooler.log().matches("client moves to worker").count() >= 2);
    for (id, raw) in clients.iter_mut().enumerate() {
        raw.send(&msg::query(&format!("select pg_sleep(60) /* found {id} */")));
        let sql = format!(
            "select count(*) from pg_stat_activity where state = 'active' and query like '%found {id} %' and pid <> pg_backend_pid()"
        );
        eventually("it runs", || cluster.value(&sql) != "0");
        cancel(&target.addr(), &raw.key());
        assert_eq!(brief(&raw.until_ready()).trim_start_matches("T "), "E(57014) Z(I)", "client {id}");
        assert_eq!(raw.value("select 1"), "1", "once");
    }
    pooler.assert_healthy();
}

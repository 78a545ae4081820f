//! The worst bug of a pooler is an answer given to someone who did not ask. Many clients on few servers, every
//! statement with a token of its own, every reply compared with what was asked, for a while, at random (C1, I1 to
//! I4, I8, I11, I12).
//!
//! `RIGHT_RECIPIENT_SECONDS` and `RIGHT_RECIPIENT_SEED` change duration and seed.

#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod client;
#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use client::{Client, Tally, deeds};
use common::cluster::APP;
use common::{Cluster, ClusterOptions, Lost, PoolerConfig, Raw, Target, msg};

/// Servers of the pool under test.
const POOL: usize = 3;

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}")))
}

/// Lets `clients` loose on a target; their tallies added up, or the first thing that was wrong.
fn storm(target: &Target, clients: usize, duration: Duration) -> Tally {
    let seed = env("RIGHT_RECIPIENT_SEED", 20_150_722);
    let end = Instant::now() + duration;
    let stop = AtomicBool::new(false);
    let results: Vec<Result<Tally, String>> = std::thread::scope(|scope| {
        let run = |id: usize| {
            let mut client = Client::new(id, seed, target)?;
            while Instant::now() < end && !stop.load(Ordering::Relaxed) {
                if let Err(e) = client.step() {
                    stop.store(true, Ordering::Relaxed);
                    return Err(e);
                }
            }
            Ok(client.tally)
        };
        let threads: Vec<_> = (0..clients).map(|id| scope.spawn(move || run(id))).collect();
        threads.into_iter().map(|t| t.join().expect("a client thread")).collect()
    });
    let faults: Vec<&String> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    results.into_iter().flatten().fold(Tally::default(), add)
}

fn add(mut all: Tally, one: Tally) -> Tally {
    for (name, count) in one.deeds {
        *all.deeds.entry(name).or_default() += count;
    }
    all.hits += one.hits;
    all.kept.extend(one.kept);
    all.given_up.extend(one.given_up);
    all
}

/// Every deed was done, and the table holds what was acknowledged, once, and nothing that was given up (I11).
fn settle(cluster: &Cluster, tally: &Tally) {
    println!("deeds {:?}, cancels that hit {}", tally.deeds, tally.hits);
    for (name, _) in deeds() {
        assert!(tally.deeds.contains_key(name), "{name} never happened: the run proves nothing");
    }
    assert!(
        tally.hits > 0 || !tally.deeds.contains_key("cancelled"),
        "no cancel ever hit: the run proves nothing"
    );
    let rows = cluster.sql_in(APP, "select token, count(*) from seen group by token");
    let seen: BTreeMap<&str, &str> = rows.iter().map(|row| (row[0].as_str(), row[1].as_str())).collect();
    for token in &tally.kept {
        assert_eq!(seen.get(token.as_str()), Some(&"1"), "{token} was acknowledged");
    }
    for token in &tally.given_up {
        assert_eq!(seen.get(token.as_str()), None, "{token} was given up before its end");
    }
    assert_eq!(seen.len(), tally.kept.len());
}

fn cluster() -> Cluster {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    cluster.sql_in(APP, &format!("create table seen (token text); alter table seen owner to {APP}"));
    cluster
}

#[test]
fn the_storm_itself_is_right_straight_at_postgresql() {
    let cluster = cluster();
    let tally = storm(&cluster.target(), 16, Duration::from_secs(4));
    cluster.at_rest();
    settle(&cluster, &tally);
}

#[test]
fn c1_every_client_reads_its_own_answers_and_no_others() {
    everybody_reads_the_right_answers(|config| config);
}

/// Servers move between workers all the time: three for a hundred clients.
#[test]
fn c1_nor_does_anybody_when_two_workers_share_the_pool() {
    everybody_reads_the_right_answers(|config| config.set("workers", "2").set("pool_split", "\"always\""));
}

fn everybody_reads_the_right_answers(change: impl Fn(PoolerConfig) -> PoolerConfig) {
    let cluster = cluster();
    let pooler = change(PoolerConfig::for_cluster(&cluster, u32::try_from(POOL).unwrap())).start();
    let target = pooler.target();
    let duration = Duration::from_secs(env("RIGHT_RECIPIENT_SECONDS", 60));

    let over = AtomicBool::new(false);
    let tally = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(cluster.backends().len());
                std::thread::sleep(Duration::from_millis(20));
            }
            most
        });
        let over_at_the_end = OnDrop(|| over.store(true, Ordering::Relaxed));
        let tally = storm(&target, 100, duration);
        drop(over_at_the_end);
        let most = sampler.join().unwrap();
        assert!(most <= POOL, "I8: {most} backends at once for a pool of {POOL}");
        tally
    });

    cluster.at_rest();
    settle(&cluster, &tally);
    no_slot_is_lost(&target);
    common::eventually("I25: nobody waits, nothing is lent", || {
        let pools = pooler.show("POOLS");
        let app = pools.iter().find(|row| row["database"] == APP).expect("the pool is shown");
        ["cl_waiting", "sv_active", "sv_tested", "sv_login"].iter().all(|column| app[*column] == "0")
    });
    pooler.assert_healthy();
}

/// I7: exactly as many transactions run at once as the pool has servers; the next one waits until one ends.
fn no_slot_is_lost(target: &Target) {
    let mut inside: Vec<Raw> = (0..POOL).map(|_| Raw::login(target)).collect();
    for (number, raw) in inside.iter_mut().enumerate() {
        raw.query("begin");
        assert_eq!(raw.value(&format!("select {number}")), number.to_string());
    }
    let mut waiting = Raw::login(target);
    waiting.send(&msg::query("select 'served'"));
    let early = waiting.next_within(Duration::from_millis(300));
    assert!(matches!(early, Err(Lost::Timeout)), "one more than the pool's size ran: {early:?}");
    inside[0].query("commit");
    assert_eq!(waiting.until_ready()[1].first(), "served");
    for mut raw in inside {
        raw.query("rollback");
    }
}

/// Runs a closure when dropped: the sampler must end even if the storm fails.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

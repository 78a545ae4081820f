//! Scripts drawn at random, played straight at PostgreSQL and through the pooler in transaction mode: the replies must
//! be the same, whatever clients do to their sessions and however they take turns.
//!
//! `SEEDS=n` plays so many scripts, `SEED=x` one. A script that fails is shown with all that can be left out of it
//! left out.

#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../common/mod.rs"]
mod common;
mod draw;
mod exceptions;
mod lane;
mod pinned;
mod pinned_statements;
mod play;
mod scenes;
mod script;
mod unseen;
mod words;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Cluster, ClusterOptions};
use exceptions::{EXCEPTIONS, NOT_DRAWN, agree};
use lane::Lane;
use script::{shown, starves};

/// Seeds that have failed once.
const PINNED: &[u64] = &[];

/// Scripts played at once, each in a database of its own.
const LANES: usize = 2;

/// Scripts drawn unless `SEEDS` tells how many: four minutes.
const DRAWN: u64 = 3000;

/// How long they are played at most.
const TIME: Duration = Duration::from_mins(1);

/// The cluster of all lanes.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start_new(&ClusterOptions { auth: "trust", ..ClusterOptions::default() });
        cluster.sql("create role bob");
        cluster.sql("grant bob to app");
        cluster.sql(&format!("create role {} superuser login", draw::BOSS));
        cluster
    })
}

/// Plays all seeds that `next` gives, in several lanes; panics with what fails.
fn play_all(next: &(dyn Fn() -> Option<u64> + Sync)) -> u64 {
    let played = AtomicU64::new(0);
    let limit = std::env::var("FAILURES").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let lane = |number: usize| {
            let played = &played;
            move || {
                let mut lane = Lane::new(number);
                let mut failures = Vec::new();
                while failures.len() < limit
                    && let Some(seed) = next()
                {
                    failures.extend(lane.check(seed).inspect(|failure| println!("{failure}")));
                    played.fetch_add(1, Ordering::Relaxed);
                }
                failures
            }
        };
        let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(lane(number))).collect();
        let told = lanes.into_iter().flat_map(|lane| {
            lane.join()
                .unwrap_or_else(|_| panic!("a lane ended; PostgreSQL says:\n{}", tail(&cluster().log())))
        });
        failures.extend(told);
    });
    let seeds: Vec<_> = failures.iter().filter_map(|text| text.split(&[' ', ','][..]).nth(1)).collect();
    assert!(failures.is_empty(), "{} scripts differ from PostgreSQL: {}", failures.len(), seeds.join(" "));
    played.into_inner()
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    const LINES: usize = 30;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[test]
fn drawn_scripts_read_the_same_through_the_pooler() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let (one, count, from) = (number("SEED"), number("SEEDS").or(Some(DRAWN)), number("FROM").unwrap_or(1));
    let taken = AtomicU64::new(0);
    let end = Instant::now() + TIME;
    let next = || {
        let nth = usize::try_from(taken.fetch_add(1, Ordering::Relaxed)).unwrap();
        if let Some(seed) = one {
            return (nth == 0).then_some(seed);
        }
        let fresh = (nth as u64).checked_sub(PINNED.len() as u64);
        let more = match count {
            Some(count) => fresh.is_none_or(|fresh| fresh < count),
            None => fresh.is_none() || Instant::now() < end,
        };
        more.then(|| PINNED.get(nth).copied().unwrap_or_else(|| from + fresh.unwrap_or_default()))
    };
    println!("{} scripts played", play_all(&next));
}

#[test]
fn scripts_that_failed_once_read_the_same() {
    let mut lane = Lane::new(LANES);
    for (i, script) in pinned::scripts().into_iter().enumerate() {
        assert!(!starves(&script.steps, script.pool), "pinned script {i} waits for ever");
        let difference = lane.difference(&script);
        assert!(difference.is_none(), "{}{}", shown(&script.steps), difference.unwrap_or_default());
    }
}

#[test]
fn every_exception_has_its_reason() {
    for exception in EXCEPTIONS {
        assert!(exception.direct != exception.pooled && !exception.reason.is_empty());
    }
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, list) = readme.split_once("What does not follow, or shows:").unwrap();
    let (list, _) = list.split_once("\n## ").unwrap();
    let flowed = list.split_whitespace().collect::<Vec<_>>().join(" ");
    let told: Vec<_> = NOT_DRAWN.iter().map(|(what, why)| format!("- {what}: {why}.")).collect();
    assert_eq!(flowed, told.join(" "), "users read what these tests leave out, and nothing else");
    assert!(agree(
        "E(ERROR 26000: prepared statement \"p\" does not exist)",
        "E(ERROR 26000: prepared statement \"pooler_1\" does not exist)"
    ));
    assert!(!agree("E(ERROR 26000: prepared statement \"p\" does not exist)", "D(1)"));
}

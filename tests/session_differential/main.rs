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
mod pinned;
mod play;
mod script;
mod words;

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Cluster, ClusterOptions, Pooler, PoolerConfig, Raw, Target, eventually};
use draw::Script;
use exceptions::{EXCEPTIONS, NOT_DRAWN, agree};
use play::play;
use script::{Step, shown, starves};

/// Seeds that have failed once.
const PINNED: &[u64] = &[695];

/// Scripts played at once, each in a database of its own.
const LANES: usize = 2;

/// Scripts drawn unless `SEEDS` tells how many: four minutes.
const DRAWN: u64 = 3000;

/// How long they are played at most.
const TIME: Duration = Duration::from_mins(1);

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start_new(&ClusterOptions { auth: "trust", ..ClusterOptions::default() });
        cluster.sql("create role bob");
        cluster.sql("grant bob to app");
        cluster
    })
}

/// Tells which seed was played when something else went wrong.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while playing seed {}:\n{}", self.0, shown(&draw::script(self.0).steps));
        }
    }
}

/// One lane: a database and poolers of each size in front of it.
struct Lane {
    direct: Target,
    admin: Raw,
    poolers: BTreeMap<usize, Pooler>,
    /// Seeds played since the poolers are up.
    played: Vec<u64>,
}

impl Lane {
    fn new(number: usize) -> Self {
        let database = format!("lane{number}");
        cluster().sql(&format!("create database {database} owner app"));
        let mut admin = cluster().superuser(&database);
        for sql in [
            "create schema s1",
            "create schema s2",
            "create table t (a int)",
            "create table v (name text)",
            "create table s1.v (name text)",
            "create table s2.v (name text)",
            "insert into v values ('public')",
            "insert into s1.v values ('s1')",
            "insert into s2.v values ('s2')",
            "grant all on t, v, s1.v, s2.v to app, bob",
            "grant all on schema public, s1, s2 to app, bob",
        ] {
            admin.value(sql);
        }
        let direct = cluster().target().with_database(&database);
        Self { direct, admin, poolers: BTreeMap::new(), played: Vec::new() }
    }

    fn pooled(&mut self, size: usize) -> Target {
        let database = self.direct.database.clone();
        let pooler = self.poolers.entry(size).or_insert_with(|| {
            PoolerConfig::for_cluster(cluster(), u32::try_from(size).unwrap())
                .database(&database, cluster().port())
                .set("query_wait_timeout", "\"10s\"")
                .start()
        });
        pooler.assert_healthy();
        pooler.target().with_database(&database)
    }

    /// The first line in which two performances differ.
    fn difference(&mut self, script: &Script) -> Option<String> {
        let pooled = self.pooled(script.pool);
        self.admin.value("delete from t");
        let expected = play(&self.direct, &script.steps);
        self.admin.value("delete from t");
        let seen = play(&pooled, &script.steps);
        let lines = expected.iter().zip(&seen).enumerate();
        let (at, (direct, pooled)) =
            lines.into_iter().find(|(_, (direct, pooled))| !agree(direct, pooled))?;
        Some(format!("  step {at}\n    direct: {direct}\n    pooled: {pooled}"))
    }

    /// The same, on servers that have served nobody.
    fn anew(&mut self, script: &Script) -> Option<String> {
        let others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        let end = format!("select count(pg_terminate_backend(pid)) {others}");
        eventually("servers gone", || self.admin.value(&end) == "0"); // one may just be coming
        self.difference(script)
    }

    /// Leaves out steps and messages as long as the script still fails.
    fn shrink(&mut self, script: Script) -> Script {
        let mut best = script;
        let mut size = best.steps.len() / 2;
        while size > 0 {
            let mut from = 0;
            while from < best.steps.len() {
                let mut steps = best.steps.clone();
                steps.drain(from..(from + size).min(steps.len()));
                if !self.still_fails(&mut best, steps) {
                    from += size;
                }
            }
            size /= 2;
        }
        for at in 0..best.steps.len() {
            let mut message = 0;
            while let Some(Step::Say(who, says)) = best.steps.get(at) {
                if message + 1 >= says.len() {
                    break;
                }
                let (who, mut says) = (*who, says.clone());
                says.remove(message);
                let mut steps = best.steps.clone();
                steps[at] = Step::Say(who, says);
                if !self.still_fails(&mut best, steps) {
                    message += 1;
                }
            }
        }
        best
    }

    fn still_fails(&mut self, best: &mut Script, steps: Vec<Step>) -> bool {
        let less = Script { pool: best.pool, steps };
        let fails = !starves(&less.steps, less.pool) && self.anew(&less).is_some();
        if fails {
            *best = less;
        }
        fails
    }

    /// Plays the script of a seed; what to tell if it fails.
    fn check(&mut self, seed: u64) -> Option<String> {
        let _told = Told(seed);
        let script = draw::script(seed);
        let first = self.difference(&script);
        self.played.push(seed);
        let first = first?;
        let same_pool = self.played.iter().map(|seed| draw::script(*seed)).filter(|s| s.pool == script.pool);
        let before: Vec<Script> = same_pool.collect();
        // Whatever earlier scripts have left on the servers is no part of it, unless it takes that to fail.
        for others in [1, 2, 4, 8] {
            let from = before.len().saturating_sub(others);
            let steps = before[from..].iter().flat_map(|script| script.steps.clone()).collect();
            let longer = Script { pool: script.pool, steps };
            if self.anew(&longer).is_some() {
                let least = self.shrink(longer);
                let difference = self.anew(&least).unwrap_or(first);
                return Some(format!(
                    "seed {seed}, pool of {}:\n{}{difference}",
                    least.pool,
                    shown(&least.steps)
                ));
            }
        }
        Some(format!(
            "seed {seed} fails not again, pool of {}:\n{}{first}",
            script.pool,
            shown(&script.steps)
        ))
    }
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

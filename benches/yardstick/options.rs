//! What to run and how long: read from the environment, so that `make bench ONLY=idle` needs no parser.

use std::path::{Path, PathBuf};

use crate::common::pooler::BINARY;

/// How much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// Every point, long enough to be quoted.
    Full,
    /// The points that matter most, in some minutes.
    Quick,
    /// One point of each workload, to show that it works.
    Smoke,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Options {
    /// How much of everything.
    pub(crate) size: Size,
    /// Names of workloads; all if empty.
    pub(crate) only: Vec<String>,
    /// The binary under test.
    pub(crate) pooler: PathBuf,
    /// What it is compared with.
    pub(crate) pgbouncer: PathBuf,
    /// Turns that each contender gets at each point.
    pub(crate) rounds: usize,
    /// Length of one turn.
    pub(crate) seconds: u64,
    /// The processor that everything is pinned to.
    pub(crate) cpu: usize,
    /// Whether to make the separate runs that count instructions and system calls.
    pub(crate) counts: bool,
}

impl Options {
    /// Reads the environment; anything but a bench is a smoke test.
    pub(crate) fn read(is_bench: bool) -> Self {
        let size = match var("SIZE").as_deref() {
            _ if !is_bench => Size::Smoke,
            Some("smoke") => Size::Smoke,
            Some("quick") => Size::Quick,
            None | Some("full") => Size::Full,
            Some(other) => panic!("SIZE is full, quick or smoke, not {other}"),
        };
        let (rounds, seconds) = match size {
            Size::Full => (5, 4),
            Size::Quick => (3, 1),
            Size::Smoke => (1, 1),
        };
        let only = var("ONLY").unwrap_or_default();
        Self {
            size,
            only: only.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            pooler: pooler(size),
            pgbouncer: var("PGBOUNCER").map_or_else(|| PathBuf::from("/usr/sbin/pgbouncer"), PathBuf::from),
            rounds: number("ROUNDS").map_or(rounds, |n| usize::try_from(n).unwrap()),
            seconds: number("TURN").unwrap_or(seconds),
            cpu: number("CPU").map_or_else(last_cpu, |n| usize::try_from(n).unwrap()),
            counts: var("COUNTS").is_none_or(|word| word != "no"),
        }
    }

    /// One of three, by size.
    pub(crate) const fn by_size<T: Copy>(&self, full: T, quick: T, smoke: T) -> T {
        match self.size {
            Size::Full => full,
            Size::Quick => quick,
            Size::Smoke => smoke,
        }
    }

    /// Where results go; made if it is not there.
    pub(crate) fn results() -> PathBuf {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    var(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")))
}

/// The release binary; a smoke test takes what was built beside it, because its figures count for nothing.
fn pooler(size: Size) -> PathBuf {
    if let Some(path) = var("POOLER") {
        return PathBuf::from(path);
    }
    let release = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/pooler");
    if size == Size::Smoke {
        return PathBuf::from(BINARY);
    }
    assert!(release.exists(), "{} is missing: make build", release.display());
    release
}

/// Processor 0 has most of the interrupts.
fn last_cpu() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) - 1
}

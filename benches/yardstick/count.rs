//! Counting what cannot be timed: instructions by `perf stat` where the machine has counters, instructions of user
//! space by valgrind anywhere, system calls by `perf stat` or `strace`. Always in runs of their own: counting
//! distorts time.

use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::host::signal;
use crate::contender::Contender;
use crate::measure::Length;
use crate::options::Options;
use crate::world::World;

/// Counters of the processor.
const INSTRUCTIONS: &str = "instructions:u,instructions:k";
/// A counter of the kernel that costs little; only root may use it on most systems.
const SYSTEM_CALLS: &str = "raw_syscalls:sys_enter";
/// What hands out memory.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// Time for a tool to attach to all threads.
const ATTACH: Duration = Duration::from_millis(500);

/// What works here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tools {
    instructions: Availability,
    tracepoint: Availability,
    strace: Availability,
    valgrind: Availability,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Availability {
    Here,
    Missing,
}

impl From<bool> for Availability {
    fn from(here: bool) -> Self {
        if here { Self::Here } else { Self::Missing }
    }
}

impl Tools {
    /// Tries each.
    pub(crate) fn find(options: &Options) -> Self {
        let perf = |events: &str| {
            let counted =
                options.counts && runs("perf", &["stat", "-x,", "-e", events, "-o", "/dev/stdout", "true"]);
            (counted && perf_counts(events)).into()
        };
        Self {
            instructions: perf(INSTRUCTIONS),
            tracepoint: perf(SYSTEM_CALLS),
            strace: runs("strace", &["--version"]).into(),
            valgrind: runs("valgrind", &["--version"]).into(),
        }
    }

    /// A sentence for the top of the report.
    pub(crate) fn describe(self) -> String {
        let word =
            |here: Availability, name: &'static str| if here == Availability::Here { name } else { "n/a" };
        format!(
            "instructions by the processor's counters: {}; system calls: {}; instructions of user space: {}",
            word(self.instructions, "perf stat"),
            if self.tracepoint == Availability::Here { "perf stat" } else { word(self.strace, "strace") },
            word(self.valgrind, "callgrind"),
        )
    }
}

fn runs(program: &str, args: &[&str]) -> bool {
    let ran = Command::new(program).args(args).stdin(Stdio::null()).output();
    ran.is_ok_and(|output| output.status.success())
}

fn perf_counts(events: &str) -> bool {
    let args = ["stat", "-x,", "-e", events, "-o", "/dev/stdout", "true"];
    let output = Command::new("perf").args(args).output();
    output.is_ok_and(|output| !counts(&String::from_utf8_lossy(&output.stdout)).is_empty())
}

/// The counts in the output of `perf stat -x,`; none if one of them is not there.
fn counts(text: &str) -> Vec<f64> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let counts: Option<Vec<f64>> = lines.map(|line| line.split(',').next()?.parse().ok()).collect();
    counts.unwrap_or_default()
}

type Work<'a> = &'a dyn Fn() -> f64;

/// Instructions of user space and kernel per unit.
pub(crate) fn instructions(tools: Tools, pid: u32, short: Work<'_>, long: Work<'_>) -> Option<[f64; 2]> {
    if tools.instructions == Availability::Missing {
        return None;
    }
    let (counts, units) = difference(pid, INSTRUCTIONS, short, long);
    Some([counts.first()? / units, counts.get(1)? / units])
}

/// System calls per unit.
pub(crate) fn system_calls(tools: Tools, pid: u32, short: Work<'_>, long: Work<'_>) -> Option<f64> {
    if tools.tracepoint == Availability::Here {
        let (counts, units) = difference(pid, SYSTEM_CALLS, short, long);
        return Some(counts.first()? / units);
    }
    if tools.strace == Availability::Missing {
        return None;
    }
    let (less, short) = strace(pid, short);
    let (more, long) = strace(pid, long);
    Some((more - less) / (long - short))
}

fn difference(pid: u32, events: &str, short: Work<'_>, long: Work<'_>) -> (Vec<f64>, f64) {
    let (less, short) = perf(pid, events, short);
    let (more, long) = perf(pid, events, long);
    (more.iter().zip(less).map(|(more, less)| more - less).collect(), long - short)
}

fn perf(pid: u32, events: &str, work: Work<'_>) -> (Vec<f64>, f64) {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-e", events, "-p", &pid.to_string(), "-o"]);
    let (text, units) = attached(command, work);
    (counts(&text), units)
}

fn strace(pid: u32, work: Work<'_>) -> (f64, f64) {
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-q", "-p", &pid.to_string(), "-o"]);
    let (text, units) = attached(command, work);
    // "% time  seconds  usecs/call  calls  [errors]  syscall"
    let rows = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.first().is_some_and(|share| share.parse::<f64>().is_ok()));
    let calls =
        rows.filter(|row| row.last() != Some(&"total")).filter_map(|row| row.get(3)?.parse::<f64>().ok());
    (calls.sum(), units)
}

/// Does the work while a tool looks on; what the tool wrote, and the units done.
fn attached(mut command: Command, work: Work<'_>) -> (String, f64) {
    let out = Options::results().join("counted");
    let mut tool =
        command.arg(&out).stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("a tool that counts");
    std::thread::sleep(ATTACH);
    let units = work();
    signal(tool.id(), "INT");
    let _ = tool.wait();
    (std::fs::read_to_string(&out).unwrap_or_default(), units)
}

/// Instructions of user space and allocations per unit, by valgrind: exact and the same on every machine, and slow.
/// Two fresh processes do the short and the long work, so that start and end cancel.
pub(crate) fn by_valgrind(
    world: &World<'_>,
    contender: &Contender,
    work: &dyn Fn(&Contender, Length) -> f64,
    [short, long]: [Length; 2],
) -> Option<[f64; 2]> {
    if world.tools.valgrind == Availability::Missing {
        return None;
    }
    let tool = ["valgrind", "--tool=callgrind", "--vgdb=no", "--callgrind-out-file={dir}/callgrind"];
    let count = |length| {
        let twin = contender.twin(world, &tool);
        let units = work(&twin, length);
        let dir = twin.end()?;
        let text = std::fs::read_to_string(dir.path().join("callgrind")).ok()?;
        Some(([total(&text)?, allocations(&text)], units))
    };
    let (less, short) = count(short)?;
    let (more, long) = count(long)?;
    let per_unit = |at: usize| (more[at] - less[at]) / (long - short);
    Some([per_unit(0), per_unit(1)])
}

fn total(profile: &str) -> Option<f64> {
    let line = profile.lines().rev().find_map(|line| line.strip_prefix("totals: "))?;
    line.trim().parse().ok()
}

/// Calls of the allocator. A line `cfn=(7) malloc` names the callee, later ones say `cfn=(7)` only; `calls=` follows.
fn allocations(profile: &str) -> f64 {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut callee, mut calls) = ("", 0.0);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn=")) {
            let (id, rest) = name.split_once(' ').unwrap_or((name, ""));
            if !rest.is_empty() {
                names.insert(id, rest);
            }
            callee = names.get(id).copied().unwrap_or_default();
        } else if let Some(count) = line.strip_prefix("calls=")
            && ALLOCATORS.contains(&callee)
        {
            let count = count.split(' ').next().and_then(|n| n.parse::<f64>().ok());
            calls += count.unwrap_or_default();
        }
    }
    calls
}

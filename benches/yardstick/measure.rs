//! Turns and rounds: every contender does the same work in turn, round after round, and its CPU time is read before
//! and after.
//!
//! Each turn is done twice, short and long, and the difference counts: that cancels start-up and logins.

use crate::contender::Contender;
use crate::count;
use crate::process::Process;
use crate::sheet::{Figure, Sheet};
use crate::world::World;

/// How much work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    /// So much by each client.
    Each(u64),
    /// As much as this time allows.
    Seconds(u64),
}

/// What was done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// Transactions, connections, kilobytes.
    pub(crate) units: f64,
    /// Time without start-up.
    pub(crate) seconds: f64,
    /// Median and 99th percentile of one transaction, in microseconds.
    pub(crate) latency_us: Option<(f64, f64)>,
}

/// One point of a table.
pub(crate) struct Point<'a> {
    /// Its name.
    pub(crate) name: String,
    /// What one unit of work is called.
    pub(crate) unit: Unit,
    /// The work that cancels start-up.
    pub(crate) short: Length,
    /// The work that is timed.
    pub(crate) long: Length,
    /// The work that is counted, beyond `short`; small, because counting is slow.
    pub(crate) counted: Option<Length>,
    /// The work.
    pub(crate) work: &'a dyn Fn(&Contender, Length) -> Outcome,
}

/// What is counted as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A transaction.
    Transaction,
    /// A connection with one query.
    Connection,
    /// A thousand bytes.
    Kilobyte,
}

/// Measures a point for all contenders and enters it.
pub(crate) fn point(world: &World, sheet: &mut Sheet, contenders: &[Contender], point: &Point<'_>) {
    for _ in 0..world.options.rounds {
        for contender in contenders {
            timed(sheet, contender, point);
        }
    }
    if let Some(length) = point.counted.filter(|_| world.options.counts) {
        for contender in contenders.iter().filter(|contender| contender.is_pooler()) {
            counted(world, sheet, contender, point, length);
        }
    }
}

fn timed(sheet: &mut Sheet, contender: &Contender, point: &Point<'_>) {
    let cpu = || contender.process.as_ref().map(Process::cpu_ns);
    let before = cpu();
    let short = (point.work)(contender, point.short);
    let between = cpu();
    let long = (point.work)(contender, point.long);
    let after = cpu();
    let mut add = |figure, value| sheet.add(&point.name, figure, &contender.name, value);
    add(Figure::Rate(point.unit), long.units / long.seconds);
    if let (Some(before), Some(between), Some(after)) = (before, between, after) {
        #[allow(clippy::cast_precision_loss)]
        let spent = (after - between) as f64 - (between - before) as f64;
        add(Figure::Cpu(point.unit), spent / 1000.0 / (long.units - short.units));
    }
    if let Some((p50, p99)) = long.latency_us {
        add(Figure::P50, p50);
        add(Figure::P99, p99);
    }
}

fn counted(world: &World, sheet: &mut Sheet, contender: &Contender, point: &Point<'_>, length: Length) {
    let short = || (point.work)(contender, point.short).units;
    let long = || (point.work)(contender, length).units;
    let mut add = |figure, value| sheet.add(&point.name, figure, &contender.name, value);
    let pid = contender.process.as_ref().map_or(0, Process::pid);
    if let Some([user, kernel]) = count::instructions(world.tools, pid, &short, &long) {
        add(Figure::Instructions(point.unit), user + kernel);
        add(Figure::UserInstructions(point.unit), user);
    }
    if let Some(calls) = count::system_calls(world.tools, pid, &short, &long) {
        add(Figure::SystemCalls(point.unit), calls);
    }
    let work = |contender: &Contender, length| (point.work)(contender, length).units;
    if let Some([user, allocations]) = count::by_valgrind(world, contender, &work, [point.short, length]) {
        add(Figure::ValgrindInstructions(point.unit), user);
        add(Figure::Allocations(point.unit), allocations);
    }
}

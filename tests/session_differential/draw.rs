//! Draws a script from a seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::play::PROBE;
use super::script::{Leave, Say, Step, starves};
use super::words::{literal, parsed, query, startup, statement};

/// A script and the size of the pool that plays it.
#[derive(Debug, Clone)]
pub struct Script {
    pub pool: usize,
    pub steps: Vec<Step>,
}

/// The client that looks, in the end, at what the others have left.
const PROBER: usize = 9;

/// Draws the script of a seed.
pub fn script(seed: u64) -> Script {
    let mut rng = StdRng::seed_from_u64(seed);
    let pool = rng.random_range(1..=3);
    let clients = rng.random_range(1..=4);
    let pins = pool > 1;
    let mut steps = Vec::new();
    for _ in 0..rng.random_range(4..22) {
        let who = rng.random_range(0..clients);
        steps.push(step(&mut rng, who, pins));
        make_room(&mut steps, pool);
    }
    for who in 0..clients {
        steps.push(Step::Leave(who, leave(&mut rng)));
    }
    for _ in 0..2 {
        steps.push(Step::Say(PROBER, vec![Say::Query(PROBE.to_owned())]));
    }
    Script { pool, steps }
}

/// Takes the last step back if it might starve; then those who hold servers end their transactions.
fn make_room(steps: &mut Vec<Step>, pool: usize) {
    if !starves(steps, pool) {
        return;
    }
    let Some(last) = steps.pop() else { return };
    for who in 0..4 {
        for end in ["commit", "rollback"] {
            let mut freed = steps.clone();
            freed.push(Step::Say(who, vec![Say::Query(end.to_owned())]));
            freed.push(last.clone());
            if who != last.who() && !starves(&freed, pool) {
                *steps = freed;
                return;
            }
        }
    }
}

fn leave(rng: &mut StdRng) -> Leave {
    [Leave::Terminate, Leave::Terminate, Leave::Close, Leave::Reset]
        .choose(rng)
        .copied()
        .unwrap_or(Leave::Close)
}

fn step(rng: &mut StdRng, who: usize, pins: bool) -> Step {
    match rng.random_range(0..100) {
        0..6 => Step::Enter(who, startup(rng)),
        6..9 => Step::Leave(who, leave(rng)),
        9..55 => Step::Say(who, vec![Say::Query(query(rng, pins))]),
        55..60 => {
            let count = rng.random_range(2..4);
            let mut texts: Vec<_> = (0..count).map(|_| statement(rng, pins)).collect();
            texts.retain(|text| !resets(text));
            Step::Say(who, vec![Say::Query(texts.join("; "))])
        }
        60..64 => Step::Say(who, copy(rng)),
        64..70 => Step::Flushed(who, flushed(rng, pins)),
        _ => Step::Say(who, pipeline(rng, pins)),
    }
}

/// See [`super::exceptions::NOT_DRAWN`].
fn resets(text: &str) -> bool {
    ["reset", "default", "local"].iter().any(|word| text.contains(word)) && !text.contains("unlisten")
        || text.contains("discard all")
}

fn copy(rng: &mut StdRng) -> Vec<Say> {
    let end = if rng.random_bool(0.7) { Say::CopyDone } else { Say::CopyFail };
    let data = if rng.random_bool(0.8) { "1\n2\n" } else { "x\n" };
    match rng.random_range(0..4) {
        0 => vec![Say::Query("copy (select generate_series(1, 2)) to stdout".to_owned())],
        // Not to be run once more by a batch that has no data for it: see `NOT_DRAWN`.
        1 => [
            run("", "copy t from stdin", None, 0),
            vec![Say::CopyData(data), end, Say::Sync, Say::Parse("", "select 1".to_owned()), Say::Sync],
        ]
        .concat(),
        _ => vec![Say::Query("copy t from stdin".to_owned()), Say::CopyData(data), end],
    }
}

fn run(name: &'static str, sql: &str, value: Option<&'static str>, rows: u32) -> Vec<Say> {
    vec![Say::Parse(name, sql.to_owned()), Say::Bind("", name, value), Say::Execute("", rows)]
}

fn name(rng: &mut StdRng) -> &'static str {
    ["", "", "p1", "p1", "p2", "p3"].choose(rng).copied().unwrap_or_default()
}

fn flushed(rng: &mut StdRng, pins: bool) -> Vec<Say> {
    let (sql, value) = parsed(rng, pins);
    let rows = [0, 0, 1].choose(rng).copied().unwrap_or_default();
    [run(name(rng), &sql, value, rows), vec![Say::Flush]].concat()
}

/// A few segments of the extended protocol.
fn pipeline(rng: &mut StdRng, pins: bool) -> Vec<Say> {
    let mut says = Vec::new();
    for _ in 0..[1, 1, 1, 2, 3].choose(rng).copied().unwrap_or(1) {
        for _ in 0..rng.random_range(1..4) {
            says.extend(piece(rng, pins));
        }
        says.push(Say::Sync);
    }
    says
}

/// A portal that is suspended and goes on in the next segment: see [`super::exceptions::NOT_DRAWN`].
fn resumed(name: &'static str, value: Option<&'static str>, rows: u32) -> Vec<Say> {
    vec![
        Say::ClosePortal("r1"),
        Say::Bind("r1", name, value),
        Say::Execute("r1", 1),
        Say::Sync,
        Say::Execute("r1", rows),
        Say::ClosePortal("r1"),
    ]
}

fn piece(rng: &mut StdRng, pins: bool) -> Vec<Say> {
    let (sql, value) = parsed(rng, pins);
    let name = name(rng);
    let portal = ["", "", "", "c1"].choose(rng).copied().unwrap_or_default();
    let rows = [0, 0, 0, 1, 2].choose(rng).copied().unwrap_or_default();
    let value = if rng.random_bool(0.95) { value } else { Some("1") };
    match rng.random_range(0..26) {
        24 | 25 => [run("lit", &literal(rng), None, 0), vec![Say::CloseStatement("lit")]].concat(),
        0..3 => vec![Say::Parse(name, sql)],
        3..8 => vec![Say::Bind(portal, name, None), Say::Execute(portal, rows)],
        8 => {
            vec![Say::Bind(portal, name, Some("7")), Say::DescribePortal(portal), Say::Execute(portal, rows)]
        }
        9..16 => run(name, &sql, value, rows),
        16 => vec![Say::DescribeStatement(name)],
        17 => vec![Say::DescribePortal(portal)],
        18 => resumed(name, value, rows),
        19 | 20 => vec![Say::CloseStatement(name)],
        21 => vec![Say::ClosePortal(portal)],
        22 => vec![Say::Flush],
        _ => vec![Say::Parse(name, sql), Say::DescribeStatement(name), Say::Flush],
    }
}

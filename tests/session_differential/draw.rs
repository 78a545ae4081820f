//! Draws a script from a seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::common::cluster::APP;
use super::play::PROBE;
use super::scenes::scene;
use super::script::{Leave, Say, Step, starves};
use super::words::{literal, mixed, parsed, query, resets, startup};

/// A script and the pool that plays it.
#[derive(Debug, Clone)]
pub struct Script {
    pub pool: usize,
    /// Whether the pool asks about everything.
    pub verify: bool,
    /// Who all of its clients are: [`APP`], or [`BOSS`], who may become anybody.
    pub user: &'static str,
    pub steps: Vec<Step>,
}

impl Script {
    /// Where it plays, in words.
    pub fn ground(&self) -> String {
        format!("pool of {} for {}{}", self.pool, self.user, if self.verify { " with verify" } else { "" })
    }
}

/// A superuser.
pub const BOSS: &str = "boss";

/// What decides which statements may be drawn.
pub struct Stage {
    pub who: usize,
    pub pool: usize,
    pub verify: bool,
    pub user: &'static str,
    /// Whether the client came with values of its own.
    pub startup: bool,
}

/// The client that looks, in the end, at what the others have left.
const PROBER: usize = 9;

/// Draws the script of a seed.
pub fn script(seed: u64) -> Script {
    let mut rng = StdRng::seed_from_u64(seed);
    let pool = rng.random_range(1..=3);
    let clients = rng.random_range(1..=4);
    let verify = rng.random_bool(0.3);
    let user = if rng.random_bool(0.2) { BOSS } else { APP };
    let mut startup = [false; 4];
    let mut steps = Vec::new();
    for _ in 0..rng.random_range(4..22) {
        let who = rng.random_range(0..clients);
        let stage = Stage { who, pool, verify, user, startup: startup[who] };
        for step in next(&mut rng, &stage, clients) {
            match &step {
                Step::Enter(who, with) => startup[*who] = !with.is_empty(),
                Step::Leave(who, _) => startup[*who] = false,
                Step::Say(..) | Step::Flushed(..) | Step::Hear(_) => {}
            }
            steps.push(step);
            make_room(&mut steps, pool);
        }
    }
    for who in 0..clients {
        steps.push(Step::Leave(who, leave(&mut rng)));
    }
    for _ in 0..2 {
        steps.push(Step::Say(PROBER, vec![Say::Query(PROBE.to_owned())]));
    }
    Script { pool, verify, user, steps }
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

fn next(rng: &mut StdRng, stage: &Stage, clients: usize) -> Vec<Step> {
    let who = stage.who;
    let step = match rng.random_range(0..100) {
        0..6 => Step::Enter(who, startup(rng, stage)),
        6..9 => Step::Leave(who, leave(rng)),
        9..44 => Step::Say(who, vec![Say::Query(query(rng, stage))]),
        44..56 => Step::Say(who, vec![Say::Query(mixed(rng, stage))]),
        56..60 => Step::Say(who, copy(rng)),
        60..65 => Step::Flushed(who, flushed(rng, stage)),
        65..73 => return scene(rng, stage, clients),
        _ => Step::Say(who, pipeline(rng, stage)),
    };
    vec![step]
}

/// The text of a Parse: nothing stands behind a RESET of a client with startup values, see
/// [`super::exceptions::NOT_DRAWN`].
fn prepared(rng: &mut StdRng, stage: &Stage) -> (String, Option<&'static str>) {
    let (sql, value) = parsed(rng, stage);
    if stage.startup && resets(&sql) { ("select 8".to_owned(), None) } else { (sql, value) }
}

fn copy(rng: &mut StdRng) -> Vec<Say> {
    let end = if rng.random_bool(0.7) { Say::CopyDone } else { Say::CopyFail };
    let data = if rng.random_bool(0.8) { "1\n2\n" } else { "x\n" };
    match rng.random_range(0..5) {
        0 => vec![Say::Query("copy (select generate_series(1, 2)) to stdout".to_owned())],
        // Not to be run once more by a batch that has no data for it: see `NOT_DRAWN`.
        1 => [
            run("", "copy t from stdin", None, 0),
            vec![Say::CopyData(data), end, Say::Sync, Say::Parse("", "select 1".to_owned()), Say::Sync],
        ]
        .concat(),
        2 => vec![Say::Query("select 1; copy t from stdin; select 2".to_owned()), Say::CopyData(data), end],
        _ => vec![Say::Query("copy t from stdin".to_owned()), Say::CopyData(data), end],
    }
}

fn run(name: &'static str, sql: &str, value: Option<&'static str>, rows: u32) -> Vec<Say> {
    vec![Say::Parse(name, sql.to_owned()), Say::Bind("", name, value), Say::Execute("", rows)]
}

fn name(rng: &mut StdRng) -> &'static str {
    ["", "", "p1", "p1", "p2", "p3"].choose(rng).copied().unwrap_or_default()
}

fn flushed(rng: &mut StdRng, stage: &Stage) -> Vec<Say> {
    let (sql, value) = prepared(rng, stage);
    let rows = [0, 0, 1].choose(rng).copied().unwrap_or_default();
    [run(name(rng), &sql, value, rows), vec![Say::Flush]].concat()
}

/// A few segments of the extended protocol.
fn pipeline(rng: &mut StdRng, stage: &Stage) -> Vec<Say> {
    let mut says = Vec::new();
    for _ in 0..[1, 1, 1, 2, 3].choose(rng).copied().unwrap_or(1) {
        for _ in 0..rng.random_range(1..4) {
            says.extend(piece(rng, stage));
        }
        says.push(Say::Sync);
        match rng.random_range(0..16) {
            0 | 1 => says.push(Say::Query(query(rng, stage))),
            2 => says.extend(copy(rng)),
            3 => says.push(Say::Query(mixed(rng, stage))),
            _ => {}
        }
    }
    says
}

/// COPY within a batch. Its statement is closed before anybody runs it without data.
fn copy_piece(rng: &mut StdRng) -> Vec<Say> {
    let sql = if rng.random_bool(0.5) {
        "copy t from stdin"
    } else {
        "copy (select generate_series(1, 2)) to stdout"
    };
    let mut says = vec![Say::CloseStatement("cp")];
    says.extend(run("cp", sql, None, 0));
    if sql.ends_with("stdin") {
        says.push(Say::CopyData(if rng.random_bool(0.8) { "1\n2\n" } else { "x\n" }));
        says.push(if rng.random_bool(0.7) { Say::CopyDone } else { Say::CopyFail });
    }
    says.push(Say::CloseStatement("cp"));
    says
}

/// What fails, so that the rest of the segment is skipped.
fn failing(rng: &mut StdRng, portal: &'static str) -> Vec<Say> {
    match rng.random_range(0..5) {
        0 => run("", "select 1/0", None, 0),
        1 => vec![Say::Parse("", "selekt 1".to_owned())],
        2 => vec![Say::Bind(portal, "unknown", None)],
        3 => vec![Say::Execute("unknown", 0)],
        _ => vec![Say::DescribeStatement("unknown")],
    }
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

fn piece(rng: &mut StdRng, stage: &Stage) -> Vec<Say> {
    let (sql, value) = prepared(rng, stage);
    let name = name(rng);
    let portal = ["", "", "", "c1"].choose(rng).copied().unwrap_or_default();
    let rows = [0, 0, 0, 1, 2].choose(rng).copied().unwrap_or_default();
    let value = if rng.random_bool(0.95) { value } else { Some("1") };
    match rng.random_range(0..29) {
        26 => copy_piece(rng),
        27 | 28 => failing(rng, portal),
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

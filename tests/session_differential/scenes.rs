//! Scenes of several steps: portals that go on, tables that change under statements, names that are cut, news.

use rand::Rng;
use rand::rngs::StdRng;

use super::draw::Stage;
use super::script::{Say, Step};
use super::words::one;

/// Longer than PostgreSQL keeps names; and what it keeps of this.
const LONG: &str = "n_long_long_long_long_long_long_long_long_long_long_long_long_long_long";
const CUT: &str = "n_long_long_long_long_long_long_long_long_long_long_long_long_l";

/// What changes a table, and what changes it back.
const CHANGES: [(&str, &str); 7] = [
    ("drop table $T", "create table $T as select 1 as a, text 'b' as b"),
    ("alter table $T rename to gone$WHO", "alter table public.gone$WHO rename to $N"),
    ("alter table $T add column c int default 3", "alter table $T drop column c"),
    ("alter table $T alter column b type varchar(20)", "alter table $T alter column b type text"),
    ("create index i$WHO on $T (a)", "drop index public.i$WHO"),
    ("alter table $T rename column b to bb", "alter table $T rename column bb to b"),
    ("alter table $T drop column b", "alter table $T add column b text"),
];

/// Statements about a table whose rows stay what they are, whatever of the above is done to it.
const ABOUT: [(&str, Option<&str>); 7] = [
    ("select a from $T where a > $1::int", Some("1")),
    ("insert into $T (a) values ($1::int)", Some("7")),
    ("select b || 'x' from $T where a < $1::int", Some("9")),
    ("update $T set a = a + $1::int", Some("1")),
    ("select count(b) from $T", None),
    ("select count(*) from $T", None),
    ("delete from $T where a = $1::int", Some("7")),
];

/// What does no harm to a transaction.
const HARMLESS: [&str; 8] = [
    "select 1",
    "set work_mem = '5MB'",
    "set local timezone = 'Asia/Tokyo'",
    "show work_mem",
    "savepoint a",
    "select public.f_zone('UTC')",
    "reset work_mem",
    "select set_config('search_path', 's1', false)",
];

/// What listens, or does not in the end.
const LISTENS: [&[&str]; 8] = [
    &["listen ch"],
    &["listen ch"],
    &["begin", "listen ch", "commit"],
    &["begin", "listen ch", "rollback"],
    &["begin", "savepoint a", "listen ch", "rollback to a", "commit"],
    &["begin", "listen other", "savepoint a", "listen ch", "release a", "commit"],
    &["select 1; listen ch; select 2"],
    &["begin; listen ch; select 1/0", "rollback"],
];

const NOTIFIES: [&[&str]; 9] = [
    &["notify ch, 'one'"],
    &["notify ch"],
    &["notify other, 'elsewhere'"],
    &["select pg_notify('ch', 'two')"],
    &["notify ch, 'a'; notify ch, 'b'; notify ch, 'a'"],
    &["begin", "notify ch, 'held'", "select 1", "commit"],
    &["begin", "notify ch, 'lost'", "rollback"],
    &[
        "begin",
        "notify ch, 'x'",
        "savepoint a",
        "notify ch, 'y'",
        "rollback to a",
        "notify ch, 'z'",
        "commit",
    ],
    &["notify ch, 'failed'; select 1/0"],
];

const UNLISTENS: [&[&str]; 8] = [
    &["unlisten ch"],
    &["unlisten *"],
    &["unlisten other"],
    &["begin", "unlisten ch", "rollback"],
    &["begin", "unlisten *", "commit"],
    &["begin", "unlisten ch", "listen ch", "commit"],
    &["discard all"],
    &["select 1; unlisten ch; select 1"],
];

/// A few steps of one client, or of two.
pub fn scene(rng: &mut StdRng, stage: &Stage, clients: usize) -> Vec<Step> {
    match rng.random_range(0..10) {
        0..3 => portal(rng, stage),
        3..6 => table(rng, stage, clients),
        6 => long_name(rng, stage.who),
        _ => news(rng, stage.who, clients),
    }
}

fn any_from(rng: &mut StdRng, who: usize, clients: usize) -> usize {
    (who + rng.random_range(0..clients)) % clients
}

fn query(who: usize, sql: &str) -> Step {
    Step::Say(who, vec![Say::Query(sql.to_owned())])
}

fn run(name: &'static str, sql: &str, value: Option<&'static str>) -> Vec<Say> {
    vec![Say::Parse(name, sql.to_owned()), Say::Bind("", name, value), Say::Execute("", 0)]
}

/// A portal of a block that is suspended and goes on between other statements. It must not outlive a failure: see
/// [`super::exceptions::NOT_DRAWN`].
fn portal(rng: &mut StdRng, stage: &Stage) -> Vec<Step> {
    let who = stage.who;
    let sql = one(
        rng,
        &[
            "select generate_series(1, 5)",
            "select a from public.t order by a",
            "select name from public.v, generate_series(1, 3)",
        ],
    );
    let mut steps = vec![query(who, "rollback"), query(who, "begin")];
    let (parse, bind) = (Say::Parse("r2", sql.to_owned()), Say::Bind("r2", "r2", None));
    let declare = Say::Query(format!("declare r2 scroll cursor for {sql}"));
    let made = if rng.random_bool(0.7) { vec![parse, bind] } else { vec![Say::Sync, declare] };
    let begun = vec![Say::DescribePortal("r2"), Say::Execute("r2", rng.random_range(1..3)), Say::Sync];
    steps.push(Step::Say(who, [vec![Say::CloseStatement("r2")], made, begun].concat()));
    for _ in 0..rng.random_range(1..4) {
        let harmless = one(rng, &HARMLESS);
        let harmless = if stage.startup && harmless.starts_with("reset") { "select 2" } else { harmless };
        let more = vec![Say::Execute("r2", rng.random_range(0..3)), Say::Sync];
        match rng.random_range(0..5) {
            0 => steps.push(Step::Say(who, [run("", harmless, None), more].concat())),
            1 => steps.push(Step::Flushed(who, vec![Say::Execute("r2", 1), Say::Flush])),
            2 => steps.push(Step::Say(who, [vec![Say::CloseStatement("r2")], more].concat())),
            _ => {
                steps.push(query(who, harmless));
                steps.push(Step::Say(who, more));
            }
        }
    }
    if rng.random_bool(0.3) {
        steps.push(query(who, one(rng, &["fetch 1 from r2", "move 1 in r2", "close r2", "fetch all r2"])));
    }
    steps.push(query(who, one(rng, &["commit", "rollback", "select 1/0; commit", "commit; select 1"])));
    steps.push(query(who, "rollback"));
    steps
}

/// A table changes between Parse and Bind.
fn table(rng: &mut StdRng, stage: &Stage, clients: usize) -> Vec<Step> {
    let who = stage.who;
    let shared = rng.random_bool(0.4);
    let other = if shared { any_from(rng, who, clients) } else { who };
    let own = format!("public.d{who}");
    let name = if shared { "public.d" } else { &own };
    let bare = name.trim_start_matches("public.");
    let at = |sql: &str| sql.replace("$T", name).replace("$N", bare).replace("$WHO", &who.to_string());
    let (change, back) = CHANGES[rng.random_range(0..CHANGES.len())];
    let (sql, value) = ABOUT[rng.random_range(0..ABOUT.len())];
    let statement = one(rng, &["dd", "", "dd"]);
    let bound = || Step::Say(who, vec![Say::Bind("", statement, value), Say::Execute("", 0), Say::Sync]);
    // Nobody is to have it when its columns change.
    let all = |who| {
        let end = vec![Say::Sync, Say::Parse("", "select 1".to_owned()), Say::Sync];
        Step::Say(who, [run("", &at("select * from $T order by a"), None), end].concat())
    };
    let mut parse = vec![Say::CloseStatement("dd"), Say::Parse(statement, at(sql))];
    if rng.random_bool(0.5) {
        parse.push(Say::DescribeStatement(statement));
    }
    parse.push(Say::Sync);
    let block = !shared && rng.random_bool(0.4);
    // Not to wait for itself.
    let mut steps = vec![query(who, "rollback")];
    if other != who {
        steps.push(query(other, "rollback"));
    }
    steps.push(Step::Say(who, parse));
    if block {
        steps.push(query(who, "begin"));
    }
    if rng.random_bool(0.5) {
        steps.push(bound());
    }
    steps.push(query(other, &at(change)));
    if statement.is_empty() {
        // The query of another client ends no statement of this one.
        if other != who {
            steps.push(bound());
        }
    } else {
        steps.push(bound());
    }
    if !block {
        steps.push(all(who));
    }
    if rng.random_bool(0.3) {
        steps.push(bound());
    }
    if block {
        steps.push(query(who, one(rng, &["commit", "rollback"])));
        steps.push(query(who, "rollback"));
    }
    steps.push(query(other, &at(back)));
    steps.push(bound());
    if rng.random_bool(0.5) {
        steps.push(all(any_from(rng, who, clients)));
    }
    steps
}

/// A name of which PostgreSQL keeps a part. No error is to name it: see [`super::exceptions::NOT_DRAWN`].
fn long_name(rng: &mut StdRng, who: usize) -> Vec<Step> {
    let by_sql = |verb: &str| query(who, &format!("{verb} {CUT}"));
    let mut steps = vec![query(who, "rollback")];
    if rng.random_bool(0.3) {
        steps.push(query(who, "begin"));
    }
    let parse = vec![Say::CloseStatement(LONG), Say::Parse(LONG, "select 'long'".to_owned()), Say::Sync];
    steps.push(Step::Say(who, parse));
    for _ in 0..rng.random_range(1..4) {
        let name = if rng.random_bool(0.5) { LONG } else { CUT };
        let step = match rng.random_range(0..5) {
            0 => by_sql("execute"),
            1 => by_sql("explain (costs off) execute"),
            2 => Step::Say(who, vec![Say::DescribeStatement(name), Say::Sync]),
            _ => Step::Say(who, vec![Say::Bind("", name, None), Say::Execute("", 0), Say::Sync]),
        };
        steps.push(step);
    }
    steps.push(by_sql("deallocate"));
    steps.push(query(who, "commit"));
    steps
}

/// One client listens, it or another one notifies. Nobody listens in the end: news come when they come.
fn news(rng: &mut StdRng, who: usize, clients: usize) -> Vec<Step> {
    let other = any_from(rng, who, clients);
    let mut steps = vec![query(who, "rollback")];
    if other != who {
        steps.push(query(other, "rollback"));
    }
    let all = |rng: &mut StdRng, who: usize, lists: &[&'static [&'static str]]| {
        let list = lists[rng.random_range(0..lists.len())];
        list.iter().map(|sql| query(who, sql)).collect::<Vec<_>>()
    };
    steps.extend(all(rng, who, &LISTENS));
    for _ in 0..rng.random_range(1..4) {
        let waits = other != who && rng.random_bool(0.3);
        if waits {
            steps.extend(["begin", "select 1"].map(|sql| query(who, sql)));
        }
        steps.extend(all(rng, other, &NOTIFIES));
        if waits {
            steps.extend(
                [one(rng, &["select 2", "select 1/0", "show work_mem"]), one(rng, &["commit", "rollback"])]
                    .map(|sql| query(who, sql)),
            );
        }
        steps.push(Step::Hear(who));
        if rng.random_bool(0.4) {
            steps.extend(all(rng, who, &UNLISTENS));
            steps.push(Step::Hear(who));
        }
    }
    steps.push(query(who, "unlisten *"));
    steps
}

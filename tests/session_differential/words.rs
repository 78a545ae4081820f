//! What clients say: statements drawn by weight.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::draw::{BOSS, Stage};
use super::unseen::call;

/// Settings with values that change no other answer's timing.
const SETTINGS: [(&str, &[&str]); 11] = [
    ("work_mem", &["'5MB'", "'6MB'", "7168", "'1'", "'nonsense'"]),
    ("statement_timeout", &["'61s'", "'10min'", "0"]),
    ("search_path", &["s1, public", "s2", "public", "'$user', s1"]),
    ("timezone", &["'UTC'", "'Asia/Tokyo'", "'America/New_York'", "'nowhere'"]),
    ("datestyle", &["'ISO, DMY'", "'German'", "'SQL, MDY'", "'ymd'"]),
    ("application_name", &["'one'", "'two'", "''"]),
    ("intervalstyle", &["'iso_8601'", "'postgres'", "'sql_standard'"]),
    ("extra_float_digits", &["0", "3", "-2"]),
    ("my.custom", &["'x'", "'y z'", "''"]),
    ("default_transaction_isolation", &["'repeatable read'", "'read committed'", "'serializable'"]),
    ("default_transaction_read_only", &["on", "off"]),
];

/// Startup parameters.
const STARTUP: [&[(&str, &str)]; 30] = [
    &[],
    &[],
    &[("application_name", "startapp")],
    &[("extra_float_digits", "2")],
    &[("statement_timeout", "62s"), ("search_path", "s1")],
    &[("TimeZone", "Asia/Tokyo")],
    &[("DateStyle", "German"), ("IntervalStyle", "iso_8601")],
    &[("options", "-c search_path=s2")],
    &[("options", "-c work_mem=7MB -c geqo=off")],
    &[("options", "-c statement_timeout=4min"), ("application_name", "opt")],
    &[("options", "--work-mem=8MB")],
    &[("my.custom", "started")],
    &[("default_transaction_read_only", "on")],
    &[("nosuch", "1")],
    &[("client_encoding", "LATIN1")],
    &[("work_mem", "nonsense")],
    &[],
    &[("role", "bob")],
    &[("options", "-c role=bob -c work_mem=6MB")],
    &[("options", "--search-path=s1 -c timezone=Asia/Tokyo")],
    &[("options", "-csearch_path=s2")],
    &[("options", "-c search_path=s1,\\ public")],
    &[("options", "-c work_mem=6MB -c work_mem=7MB"), ("work_mem", "8MB")],
    &[("options", "-c datestyle=German"), ("DateStyle", "ISO, YMD")],
    &[("options", "--application_name=via\\ options")],
    &[("options", "-c nosuch=1")],
    &[("role", "nosuch")],
    &[("my.custom", "a b"), ("role", "bob"), ("TimeZone", "Asia/Tokyo")],
    &[("search_path", ""), ("options", "")],
    &[("options", "  -c   geqo=off   --work_mem=5MB  ")],
];

/// What reads the session.
const READS: [&str; 17] = [
    "show work_mem",
    "show statement_timeout",
    "show search_path",
    "show timezone",
    "show datestyle",
    "show application_name",
    "show intervalstyle",
    "show extra_float_digits",
    "select coalesce(current_setting('my.custom', true), '')",
    "select current_user, session_user",
    "show role",
    "show default_transaction_isolation",
    "show transaction_isolation",
    "select name from v",
    "select float8 '0.1' + float8 '0.2'",
    "select interval '1 day 2 hours', now()::timestamptz is null",
    "select count(*) from t",
];

/// Texts whose meaning hangs on the session at the time of Parse.
const LITERALS: [&str; 5] = [
    "select date '1/2/2020'",
    "select timestamptz '2020-01-02 03:04'",
    "select timestamptz '2020-01-02 03:04+00'",
    "select interval '1-2'",
    "select extract(day from date '3/4/2021')",
];

/// What needs a server of one's own.
const PINNING: [&str; 22] = [
    "create temp table tt (a int)",
    "create temp table tt (a int) on commit drop",
    "drop table if exists tt",
    "insert into tt values (1)",
    "select count(*) from tt",
    "select 7 as a into temp tt",
    "declare h1 cursor with hold for select generate_series(1, 3)",
    "fetch 1 from h1",
    "fetch all from h1",
    "close h1",
    "close all",
    "select pg_advisory_lock($KEY)",
    "select pg_advisory_unlock($KEY)",
    "select pg_advisory_unlock_all()",
    "do $$ begin perform set_config('work_mem', '9MB', false); end $$",
    "do $$ begin execute 'set timezone = ''Asia/Tokyo'''; end $$",
    "do $$ begin execute 'create temp table tt (a int)'; end $$",
    "do $$ begin raise exception 'no'; end $$",
    "do $$ begin raise notice 'hm'; end $$",
    "discard temp",
    "discard plans",
    "discard sequences",
];

/// SQL's own prepared statements; the protocol's names are among them.
const PREPARING: [&str; 11] = [
    "prepare q1 as select 'q1', current_setting('work_mem')",
    "prepare q1 as select 'other'",
    "prepare q2 (int) as select $1 + 1",
    "execute q1",
    "execute q2 (41)",
    "execute q2 (1/0)",
    "deallocate q1",
    "deallocate q2",
    "explain (costs off) execute q1",
    "execute nosuch",
    "deallocate nosuch",
];

/// SQL that names the protocol's statements.
const BY_SQL: [&str; 16] = [
    "execute p1",
    "execute p2",
    "execute p2 (5)",
    "deallocate p1",
    "deallocate p2",
    "explain (costs off) execute p1",
    "EXECUTE P1",
    "execute \"p1\"",
    "execute \"P1\"",
    "execute p1(1, 2)",
    "execute p2 ('x')",
    "/* why */ execute p1 -- not",
    "deallocate prepare p1",
    "explain (verbose, costs off) execute p2 (1)",
    "DEALLOCATE PREPARE \"p2\" ;",
    "explain execute p3 (null)",
];

const BLOCKS: [&str; 15] = [
    "begin",
    "begin",
    "start transaction isolation level repeatable read -- begin",
    "commit",
    "commit",
    "commit",
    "rollback",
    "rollback",
    "savepoint a",
    "rollback to a",
    "release a",
    "savepoint b",
    "rollback to savepoint b",
    "commit and chain",
    "begin; set transaction isolation level serializable",
];

/// What else there is.
const OTHERS: [&str; 11] = [
    "select 1/0",
    "selekt 1",
    "",
    "-- nothing",
    "insert into t values (1)",
    "select generate_series(1, 3)",
    "discard all",
    "reset all",
    "lock table t in access share mode",
    "select pg_advisory_unlock_all() is null; close all; unlisten *; reset all",
    "select * from nosuch",
];

/// One of a list.
pub fn one<'a>(rng: &mut StdRng, list: &[&'a str]) -> &'a str {
    list.choose(rng).copied().unwrap_or_default()
}

/// Startup parameters of a login.
pub fn startup(rng: &mut StdRng, stage: &Stage) -> Vec<(&'static str, &'static str)> {
    let mut list = STARTUP.choose(rng).map(|list| list.to_vec()).unwrap_or_default();
    if stage.user == BOSS {
        // The server does not report anew what the client was told at its login.
        list.retain(|(name, value)| !name.contains("role") && !value.contains("role"));
    }
    list
}

/// A statement about a setting.
fn setting(rng: &mut StdRng) -> String {
    let (name, values) = SETTINGS.choose(rng).copied().unwrap_or_default();
    let value = one(rng, values);
    let quoted = if value.starts_with('\'') && value.ends_with('\'') && value.matches('\'').count() == 2 {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', ""))
    };
    match rng.random_range(0..20) {
        0..6 => format!("set {name} = {value}"),
        6 => format!("set session {name} to {value}"),
        7 | 8 => format!("set local {name} = {value}"),
        9 => format!("reset {name}"),
        10 => format!("set {name} to default"),
        11 => format!("select set_config('{name}', {quoted}, false)"),
        12 => format!("select set_config('{name}', {quoted}, true)"),
        13 => "set time zone 'America/New_York'".to_owned(),
        14 => one(rng, &["set time zone local", "set time zone 3", "reset time zone"]).to_owned(),
        15 => one(rng, &["set role bob", "set role none", "reset role", "set local role bob"]).to_owned(),
        16 => one(rng, &["set session authorization default", "set session authorization app"]).to_owned(),
        17 => "set session characteristics as transaction isolation level repeatable read".to_owned(),
        18 => one(rng, &["reset session authorization", "set names 'utf8'", "set schema 's1'"]).to_owned(),
        _ => format!("set \"{name}\" = {value}"),
    }
}

/// A text whose meaning hangs on the session at the time of Parse.
pub fn literal(rng: &mut StdRng) -> String {
    one(rng, &LITERALS).to_owned()
}

/// The text of a Query of its own: see [`super::exceptions::NOT_DRAWN`].
pub fn query(rng: &mut StdRng, stage: &Stage) -> String {
    match rng.random_range(0..100) {
        0..6 => one(rng, &BY_SQL).to_owned(),
        9..13 => literal(rng),
        6..9 if stage.pool > 1 => "prepare p1 as select 'by sql'".to_owned(),
        _ => statement(rng, stage),
    }
}

/// A statement; one that pins only if the pool allows.
pub fn statement(rng: &mut StdRng, stage: &Stage) -> String {
    let pins = stage.pool > 1;
    let line = match rng.random_range(0..100) {
        0..30 => return setting(rng),
        30..52 => one(rng, &READS),
        52..68 => one(rng, &BLOCKS),
        68 => "deallocate all",
        69..76 => call(rng, stage),
        76..84 if pins => one(rng, &PINNING),
        84..90 if pins => one(rng, &PREPARING),
        _ => one(rng, &OTHERS),
    };
    line.to_owned()
}

/// What makes several statements of one text go wrong.
const MIXED: [&str; 16] = [
    "reset all",
    "discard all",
    "reset role",
    "reset session authorization",
    "set role bob",
    "set session authorization default",
    "set session authorization app",
    "set session authorization bob",
    "reset timezone",
    "set local role bob",
    "set work_mem to default",
    "begin",
    "commit",
    "rollback",
    "select 1/0",
    "select current_user, session_user",
];

/// Several statements in one text. RESET is the last word of a client with startup values: see
/// [`super::exceptions::NOT_DRAWN`].
pub fn mixed(rng: &mut StdRng, stage: &Stage) -> String {
    let mut text = Vec::new();
    for _ in 0..rng.random_range(2..6) {
        let next = if rng.random_bool(0.5) { one(rng, &MIXED).to_owned() } else { statement(rng, stage) };
        let last = stage.startup && resets(&next);
        text.push(next);
        if last {
            break;
        }
    }
    text.join("; ")
}

/// Whether a text goes back to the values of the startup packet.
pub fn resets(text: &str) -> bool {
    ["reset", "default", "discard all", "time zone local"].iter().any(|word| text.contains(word))
}

/// The text of a Parse, and whether it takes a parameter.
pub fn parsed(rng: &mut StdRng, stage: &Stage) -> (String, Option<&'static str>) {
    match rng.random_range(0..12) {
        0 | 1 => ("select $1::int + 1".to_owned(), Some("41")),
        2 => ("select set_config('work_mem', $1, false)".to_owned(), Some("5MB")),
        3 => ("select set_config($1, 'y', false)".to_owned(), Some("my.custom")),
        4 => ("select name from v where name <> $1".to_owned(), Some("x")),
        5 | 6 => ("select name from v".to_owned(), None),
        7 => ("select generate_series(1, 3)".to_owned(), None),
        8 => (one(rng, &READS).to_owned(), None),
        _ => (statement(rng, stage), None),
    }
}

//! What a client finds on a server that another has left with all there is to leave: a fresh session, whatever the
//! pool mode, what is done about session state, and how the other has gone. The result stands in
//! `docs/session-state.md`; `UPDATE_DOCS=1` writes it.

#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::OnceLock;

use common::pooler::quoted;
use common::{Cluster, ClusterOptions, Message, Pooler, PoolerConfig, Raw, Target, msg};

/// Reads every kind of state of a session: one row each, with its name first.
const PROBE: &str = "select name, setting from pg_settings where setting is distinct from reset_val \
     union all select 'current_user', current_user::text union all select 'session_user', session_user::text \
     union all select 'my.custom', current_setting('my.custom', true) where current_setting('my.custom', true) <> '' \
     union all select 'prepared', name from pg_prepared_statements where from_sql or name !~ '^pooler_' \
     union all select 'cursor', name from pg_cursors where name <> '' \
     union all select 'listen', c from pg_listening_channels() c \
     union all select 'advisory_lock', objid::text from pg_locks \
       where locktype = 'advisory' and pid = pg_backend_pid() \
     union all select 'temp_table', relname::text from pg_class where relnamespace = pg_my_temp_schema()";

/// Settings, in every way to set one. Each is a Query of its own.
const SETTINGS: &[&str] = &[
    "set work_mem = '7MB'",
    "set search_path = pg_catalog, public",
    "set session timezone to 'Asia/Tokyo'",
    "set datestyle = 'German'",
    "set application_name = 'dirty'",
    "select set_config('statement_timeout', '65s', false)",
    "select set_config('my.custom', 'dirty', false)",
    "set session characteristics as transaction isolation level repeatable read",
    "do $$ begin perform set_config('lock_timeout', '66s', false); end $$",
    "set local geqo = off",
    "set session authorization bob",
    "set role carol",
];

/// What else a session can have.
const OTHERS: &[&str] = &[
    "create temp table dirt as select 1 as a",
    "declare dirt cursor with hold for select generate_series(1, 3)",
    "select pg_advisory_lock(77)",
    "listen dirt",
    "prepare dirt as select 1",
];

/// How the first client leaves its server to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Idle,
    AfterCommit,
    AfterRollback,
    AfterError,
    Terminate,
    CommitTerminate,
    TerminateInTransaction,
    FinInTransaction,
    ResetInTransaction,
    FinInFailedTransaction,
    FinInCopy,
    ResetInCopy,
}

impl Way {
    const ALL: [(Self, &'static str); 12] = [
        (Self::Idle, "stays, idle"),
        (Self::AfterCommit, "stays, after COMMIT"),
        (Self::AfterRollback, "stays, after ROLLBACK"),
        (Self::AfterError, "stays, after an error"),
        (Self::Terminate, "Terminate"),
        (Self::CommitTerminate, "COMMIT, Terminate"),
        (Self::TerminateInTransaction, "Terminate in a transaction"),
        (Self::FinInTransaction, "close in a transaction"),
        (Self::ResetInTransaction, "reset in a transaction"),
        (Self::FinInFailedTransaction, "close in a failed transaction"),
        (Self::FinInCopy, "close in COPY IN"),
        (Self::ResetInCopy, "reset in COPY IN"),
    ];

    const fn stays(self) -> bool {
        matches!(self, Self::Idle | Self::AfterCommit | Self::AfterRollback | Self::AfterError)
    }

    /// Whether it dirties its session within a transaction.
    const fn in_block(self) -> bool {
        !matches!(self, Self::Idle | Self::AfterError | Self::Terminate | Self::FinInCopy | Self::ResetInCopy)
    }
}

/// A row of the table: under what, and how.
#[derive(Clone, Copy)]
struct Case {
    mode: &'static str,
    state: &'static str,
    way: Way,
    everything: bool,
}

impl Case {
    /// Whether the first client may keep its server: then the second needs another one.
    fn keeps_server(self) -> bool {
        let pins = match (self.mode, self.state) {
            ("session", _) | (_, "pin") => true,
            (_, "track" | "verify") => self.everything,
            _ => false,
        };
        self.way.stays() && pins
    }
}

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::start_new(&ClusterOptions { auth: "trust", ..ClusterOptions::default() });
        for sql in ["alter role app superuser", "create role bob", "create role carol", "grant carol to bob"]
        {
            cluster.sql(sql);
        }
        cluster.sql_in("app", "create table target (a int)");
        cluster.sql_in("app", "grant all on target to bob, carol");
        cluster
    })
}

/// Leaves dirt, and perhaps the connection; a client that stays is given back.
fn dirty(target: &Target, case: Case) -> Option<Raw> {
    let mut raw = Raw::login(target);
    let mut say = |bytes: &[u8], may_fail: bool| {
        raw.send(bytes);
        let replies = raw.until_ready();
        assert!(may_fail || replies.iter().all(|m| m.tag != b'E'), "{replies:?}");
    };
    if case.everything {
        say(&[msg::parse("dirt2", "select 2"), msg::parse("", "select 3"), msg::sync()].concat(), false);
    }
    if case.way.in_block() {
        say(&msg::query("begin"), false);
    }
    let others = if case.everything { OTHERS } else { &[] };
    for sql in others.iter().chain(SETTINGS) {
        say(&msg::query(sql), false);
    }
    match case.way {
        Way::AfterCommit | Way::CommitTerminate => say(&msg::query("commit"), false),
        Way::AfterRollback => say(&msg::query("rollback"), false),
        Way::AfterError | Way::FinInFailedTransaction => say(&msg::query("select 1/0"), true),
        Way::FinInCopy | Way::ResetInCopy => {
            raw.send(&msg::query("copy target from stdin"));
            let _ = raw.until(b'G');
            raw.send(&msg::copy_data("1\n2"));
        }
        Way::Idle
        | Way::Terminate
        | Way::TerminateInTransaction
        | Way::FinInTransaction
        | Way::ResetInTransaction => {}
    }
    match case.way {
        Way::Idle | Way::AfterCommit | Way::AfterRollback | Way::AfterError => return Some(raw),
        Way::Terminate | Way::CommitTerminate | Way::TerminateInTransaction => raw.terminate(),
        Way::FinInTransaction | Way::FinInFailedTransaction | Way::FinInCopy => drop(raw),
        Way::ResetInTransaction | Way::ResetInCopy => raw.reset(),
    }
    None
}

/// What a new client finds.
fn probe(target: &Target) -> BTreeSet<(String, String)> {
    let replies = Raw::login(target).query(PROBE);
    assert!(replies.iter().all(|m| m.tag != b'E'), "{replies:?}");
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap_or_default()).unwrap();
    let rows = replies.iter().filter(|m| m.tag == b'D').map(Message::row);
    rows.map(|row| row.into_iter().map(text))
        .map(|mut row| (row.next().unwrap(), row.next().unwrap()))
        .collect()
}

/// Names of what the second client finds and a fresh session does not have.
fn leaks(case: Case, fresh: &BTreeSet<(String, String)>) -> Vec<String> {
    let size = if case.keeps_server() { 2 } else { 1 };
    let pooler = pooler(case, size);
    let stays = dirty(&pooler.target(), case);
    let mut found = probe(&pooler.target());
    if stays.is_none() {
        found.extend(probe(&pooler.target())); // and once more: it stays fresh
    }
    drop(stays);
    let names: BTreeSet<_> = found.difference(fresh).map(|(name, _)| name.clone()).collect();
    names.into_iter().collect()
}

fn pooler(case: Case, size: u32) -> Pooler {
    PoolerConfig::for_cluster(cluster(), size)
        .set("pool_mode", quoted(case.mode))
        .set("session_state", quoted(case.state))
        .set("query_wait_timeout", quoted("10s"))
        .start()
}

/// One table: a line for each way to leave. Fails where a session is not fresh that has to be.
fn table(mode: &'static str, state: &'static str, fresh: &BTreeSet<(String, String)>) -> String {
    let mut text = format!(
        "\n## {mode}, {state}\n\n| first client | settings alone | everything |\n| --- | --- | --- |\n"
    );
    for (way, words) in Way::ALL {
        if mode == "statement" && way.in_block() {
            continue; // there are no transactions of several statements
        }
        let cell = |everything| {
            let case = Case { mode, state, way, everything };
            let leaks = leaks(case, fresh);
            let may_leak = state == "pgbouncer" && mode != "session";
            assert!(
                may_leak || leaks.is_empty(),
                "{mode} {state} {words}, everything: {everything}: {leaks:?}"
            );
            let pool = if case.keeps_server() { "fresh (another server)" } else { "fresh" };
            if leaks.is_empty() { pool.to_owned() } else { format!("finds {}", leaks.join(", ")) }
        };
        let _ = writeln!(text, "| {words} | {} | {} |", cell(false), cell(true));
    }
    text
}

/// PostgreSQL reports `search_path` since then; the document is of an earlier one.
const SEARCH_PATH_IS_REPORTED: u32 = 180_000;

const HEAD: &str = "# What is left of a session

One client leaves everything there is in its session, settings alone or all of it: settings by SET, `set_config` and a
DO block, a custom one, the session's role, a temporary table, a cursor WITH HOLD, an advisory lock, LISTEN, PREPARE,
statements of the extended protocol. Then a second client of the same pool looks. The pool has one server, or two where
the first client keeps one. The tables are written by `UPDATE_DOCS=1 cargo test --test state_probe`, and the test
compares them.

`session_state = \"pgbouncer\"` does as PgBouncer does: in transaction and statement mode nothing is done about what is
left, beyond the parameters that PostgreSQL reports.
";

#[test]
fn the_next_client_finds_a_fresh_session() {
    let fresh = probe(&cluster().target());
    let mut text = HEAD.to_owned();
    for mode in ["session", "transaction", "statement"] {
        for state in ["track", "verify", "pin", "clean", "pgbouncer"] {
            let table = table(mode, state, &fresh);
            println!("{table}");
            text.push_str(&table);
        }
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/session-state.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let mut written = std::fs::read_to_string(file).unwrap_or_default();
    let version: u32 = cluster().value("show server_version_num").parse().unwrap();
    if version >= SEARCH_PATH_IS_REPORTED {
        // What is reported follows its client in any case.
        written = written.replace("search_path, ", "");
    }
    assert!(written == text, "docs/session-state.md is not what was found; UPDATE_DOCS=1 writes it:\n{text}");
}

//! PostgreSQL's regression tests. Through the pooler in session mode and in transaction mode; which tests may differ
//! stands in a list for each mode, and a list that is too long fails like one that is too short.
//!
//! In session mode each client gets a server that nobody has used before: `guc`, `temp` and `stats` see what no
//! DISCARD takes from a backend (loaded libraries, its temporary schema, when its statistics were sent).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::common::Cluster;
use crate::common::drivers::run_within;
use crate::common::host::unprivileged;
use crate::{SUPERUSER, cluster, place, pooler, turn};

/// Longest run of the whole suite; a minute where nothing is in its way.
const LONGEST_RUN: Duration = Duration::from_mins(10);
/// Tests at a time, as PostgreSQL's own build has it.
const CONCURRENT: &str = "20";
/// Servers of the pool: more than there are clients at a time.
const POOL: u32 = 40;
/// Lines of the differences of one test that a failure shows.
const SHOWN: usize = 60;
/// In transaction mode a lock may be held by a session that nobody can reach again: not waited for without end.
const LOCK_TIMEOUT: &str = "30s";

const DATABASE: &str = "regression";

/// As pg_regress makes it when it is let.
const SETTINGS: [&str; 6] = [
    "lc_messages to 'C'",
    "lc_monetary to 'C'",
    "lc_numeric to 'C'",
    "lc_time to 'C'",
    "bytea_output to 'hex'",
    "timezone_abbreviations to 'Default'",
];

/// How the tests went.
struct Outcome {
    failed: BTreeSet<String>,
    passed: BTreeSet<String>,
    /// What differed, by test.
    differences: BTreeMap<String, String>,
}

/// Runs the suite at a port.
fn run_suite(cluster: &Cluster, port: u16) -> Outcome {
    let input = cluster.bring(&place("regress"), "regress");
    let bin = cluster.program("");
    let pg_regress = bin.join("../lib/pgxs/src/test/regress/pg_regress");
    let mut command: Command = unprivileged();
    // The server writes below the output directory, too, and it is where pg_regress looks for what it runs.
    command.arg("env").arg("-C").arg(&input).arg(pg_regress);
    command.args(["--use-existing", "--host=127.0.0.1", "--schedule=parallel_schedule"]);
    command
        .arg(format!("--port={port}"))
        .arg(format!("--user={SUPERUSER}"))
        .arg(format!("--dbname={DATABASE}"));
    command.arg(format!("--max-concurrent-tests={CONCURRENT}"));
    for (option, directory) in
        [("inputdir", &input), ("outputdir", &input), ("dlpath", &input), ("bindir", &bin)]
    {
        command.arg(format!("--{option}={}", directory.display()));
    }
    let said = match run_within(LONGEST_RUN, command, "pg_regress") {
        Ok(said) | Err(said) => said,
    };
    let (failed, passed) = verdicts(&said);
    assert!(failed.len() + passed.len() > 150, "pg_regress did not run to its end:\n{said}");
    Outcome { failed, passed, differences: differences(&input.join("regression.diffs")) }
}

/// Reads what pg_regress prints, before PostgreSQL 16 and since.
fn verdicts(said: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut failed, mut passed) = (BTreeSet::new(), BTreeSet::new());
    for line in said.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, ok) = match words[..] {
            ["test", name, "...", verdict, ..] | [name, "...", verdict, ..] => (name, verdict != "FAILED"),
            ["ok", _, "+" | "-", name, ..] => (name, true),
            ["not", "ok", _, "+" | "-", name, ..] => (name, false),
            _ => continue,
        };
        if ok {
            passed.insert(name.to_owned())
        } else {
            failed.insert(name.to_owned())
        };
    }
    (failed, passed)
}

/// Cuts the file of all differences into those of each test.
fn differences(file: &Path) -> BTreeMap<String, String> {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut by_test: BTreeMap<String, String> = BTreeMap::new();
    let mut test = String::new();
    for line in text.lines() {
        if line.starts_with("diff ") {
            let output = Path::new(line.rsplit(' ').next().unwrap_or_default());
            test = output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        let known = by_test.entry(test.clone()).or_default();
        known.push_str(line);
        known.push('\n');
    }
    by_test
}

/// A cluster with the database that pg_regress wants.
fn prepared(more: &[String]) -> Cluster {
    let cluster = cluster();
    cluster.sql(&format!("create database {DATABASE} template template0"));
    for setting in SETTINGS.iter().copied().chain(more.iter().map(String::as_str)) {
        cluster.sql(&format!("alter database {DATABASE} set {setting}"));
    }
    cluster
}

/// What fails without us.
fn straight() -> &'static BTreeSet<String> {
    static FAILED: OnceLock<BTreeSet<String>> = OnceLock::new();
    FAILED.get_or_init(|| {
        let cluster = prepared(&[]);
        run_suite(&cluster, cluster.port()).failed
    })
}

fn pooled(mode: &str) -> Outcome {
    let mut settings = Vec::new();
    if mode == "transaction" {
        settings.push(format!("lock_timeout to '{LOCK_TIMEOUT}'"));
    }
    let cluster = prepared(&settings);
    let mut config = pooler(&cluster, mode, DATABASE, POOL);
    if mode == "session" {
        config = config.set("server_lifetime", "0");
    }
    config = config.set("log_connections", "false").set("log_disconnections", "false");
    let running = config.start();
    let outcome = run_suite(&cluster, running.port());
    running.assert_healthy();
    outcome
}

/// The first word of each line is the name of a test that differs; `#` begins a comment. A `?` behind the name: it
/// differs or not, as its neighbours happen to run.
fn listed(text: &str) -> BTreeMap<&str, bool> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .map(|word| (word.trim_end_matches('?'), word.ends_with('?')))
        .collect()
}

/// What fails through the pooler only and is not listed, and what is listed and passes all the same.
fn misfits(list: &str, outcome: &Outcome, straight: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
    let listed = listed(list);
    let ours = outcome.failed.difference(straight);
    let news = ours.filter(|test| !listed.contains_key(test.as_str())).cloned().collect();
    let passed = outcome.passed.iter();
    (news, passed.filter(|test| listed.get(test.as_str()) == Some(&false)).cloned().collect())
}

/// Compares an outcome with the list of its mode.
fn judge(mode: &str, list: &str, outcome: &Outcome) {
    let (news, progress) = misfits(list, outcome, straight());
    let (passed, failed) = (outcome.passed.len(), outcome.failed.len());
    let straight = straight().len();
    println!(
        "{mode} mode: {passed} of {} tests pass; {straight} fail straight at PostgreSQL",
        passed + failed
    );
    let shown = |test: &String| {
        let all = outcome.differences.get(test).map_or("(no differences were written)", String::as_str);
        all.lines().take(SHOWN).collect::<Vec<_>>().join("\n")
    };
    assert!(
        news.is_empty(),
        "{mode} mode: {} tests fail through the pooler only and are not listed: {news:?}\n{}",
        news.len(),
        news.iter().map(shown).collect::<Vec<_>>().join("\n\n")
    );
    assert!(progress.is_empty(), "{mode} mode: progress, take these off the list: {progress:?}");
}

#[test]
fn session_mode_passes_what_postgresql_passes() {
    let _turn = turn();
    judge("session", include_str!("regress_session_differences.txt"), &pooled("session"));
}

#[test]
fn transaction_mode_fails_what_is_listed_and_nothing_else() {
    let _turn = turn();
    judge("transaction", include_str!("regress_transaction_differences.txt"), &pooled("transaction"));
}

#[test]
fn both_ways_in_which_pg_regress_speaks_are_understood() {
    let old = "test tablespace                   ... ok          463 ms\n     boolean                      ... ok  9 ms\n\
               parallel group (2 tests):  char name\n     name ... FAILED (test process exited with exit code 2) 3 ms\n\
               \x20    random                       ... failed (ignored)      484 ms\n";
    let new = "ok 1         - tablespace   463 ms\n# parallel group (2 tests):  boolean name\nok 2         + boolean   9 ms\n\
               not ok 3     + name  3 ms\nok 4         + random   484 ms\n";
    for said in [old, new] {
        let (failed, passed) = verdicts(said);
        assert_eq!(failed.into_iter().collect::<Vec<_>>(), ["name"]);
        assert_eq!(passed.into_iter().collect::<Vec<_>>(), ["boolean", "random", "tablespace"]);
    }
    assert_eq!(
        listed("# x\na  why\nb? why\n\n").into_iter().collect::<Vec<_>>(),
        [("a", false), ("b", true)]
    );
}

#[test]
fn a_list_that_is_too_short_or_too_long_is_caught() {
    let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    let outcome =
        Outcome { failed: names("a b c"), passed: names("d e f"), differences: BTreeMap::default() };
    let (news, progress) = misfits("# c fails straight\na\nd\ne?\n", &outcome, &names("c"));
    assert_eq!((news, progress), (vec!["b".to_owned()], vec!["d".to_owned()]));
}

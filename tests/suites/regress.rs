//! PostgreSQL's regression tests. Through the pooler in session mode and in transaction mode; which tests may differ
//! stands in a list for each mode, and a list that is too long fails like one that is too short.
//!
//! The suite is that of the system's PostgreSQL. With servers of another version many expected outputs do not hold;
//! then a straight run tells what each test has to print: what that version refuses it refuses both ways. The suite's
//! functions in C are compiled for its own version. Others do without: how they refuse `regress.so` hangs on which
//! libraries a backend has loaded before, that it is not there they all say alike.
//!
//! In session mode each client gets a server that nobody has used before: `guc`, `temp` and `stats` see what no
//! DISCARD takes from a backend (loaded libraries, its temporary schema, when its statistics were sent).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::common::Cluster;
use crate::common::drivers::{run, run_within};
use crate::common::host::unprivileged;
use crate::printed::{Printed, difference, printed};
use crate::{SUPERUSER, cluster, of_the_suites_version, place, pooler, turn};

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
/// Tests that print what the suite expects of its own version at the very least, whatever the servers': with fewer it
/// does not run at all.
const FEWEST: usize = 60;
/// Libraries of PostgreSQL's that the suite loads from the directory of its own.
const LIBRARIES: [&str; 2] = ["refint.so", "autoinc.so"];

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
    printed: Printed,
}

/// What a straight run tells.
enum Straight {
    /// Servers of the suite's version: what fails, though it ought not to.
    Fails(BTreeSet<String>),
    /// Servers of another one: what takes the place of the expected outputs.
    Prints(Printed),
}

/// Runs the suite at a port.
fn run_suite(cluster: &Cluster, port: u16) -> Outcome {
    let input = cluster.bring(&place("regress"), "regress");
    let libraries = cluster.value("select setting from pg_config where name = 'PKGLIBDIR'");
    for library in LIBRARIES {
        let mut copy = unprivileged();
        copy.arg("cp").arg(Path::new(&libraries).join(library)).arg(&input);
        run(copy, library).unwrap();
    }
    if !of_the_suites_version(cluster) {
        std::fs::remove_file(input.join("regress.so")).unwrap();
    }
    // Newer servers come without psql and pg_regress.
    let psql = cluster.program("psql");
    let bin = psql.parent().unwrap();
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
        [("inputdir", &*input), ("outputdir", &input), ("dlpath", &input), ("bindir", bin)]
    {
        command.arg(format!("--{option}={}", directory.display()));
    }
    let said = match run_within(LONGEST_RUN, command, "pg_regress") {
        Ok(said) | Err(said) => said,
    };
    let (failed, passed) = verdicts(&said);
    assert!(failed.len() + passed.len() > 150, "pg_regress did not run to its end:\n{said}");
    let differences = differences(&input.join("regression.diffs"));
    Outcome { failed, passed, differences, printed: printed(&input.join("results"), cluster.dir()) }
}

impl Outcome {
    /// By what a straight run has printed, instead of by the expected outputs.
    fn against(self, straight: &Printed, mode: &str) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("regress-{mode}"));
        let all: BTreeSet<String> = self.failed.into_iter().chain(self.passed).collect();
        let text = |printed: &Printed, test: &str| printed.get(test).cloned().unwrap_or_default();
        let (passed, failed): (BTreeSet<_>, _) = all.into_iter().partition(|test| {
            let seen = text(&self.printed, test);
            !seen.is_empty() && seen == text(straight, test)
        });
        let shown = |test: &String| {
            let (expected, seen) = (text(straight, test), text(&self.printed, test));
            (test.clone(), difference(&directory, test, &expected, &seen))
        };
        Self { differences: failed.iter().map(shown).collect(), failed, passed, printed: self.printed }
    }
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

fn straight() -> &'static Straight {
    static STRAIGHT: OnceLock<Straight> = OnceLock::new();
    STRAIGHT.get_or_init(|| {
        let cluster = prepared(&[]);
        let outcome = run_suite(&cluster, cluster.port());
        assert!(
            outcome.passed.len() >= FEWEST,
            "straight at PostgreSQL only these pass: {:?}",
            outcome.passed
        );
        if of_the_suites_version(&cluster) {
            Straight::Fails(outcome.failed)
        } else {
            Straight::Prints(outcome.printed)
        }
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
fn listed<'t>(lists: &[&'t str]) -> BTreeMap<&'t str, bool> {
    lists
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_whitespace().next())
        .map(|word| (word.trim_end_matches('?'), word.ends_with('?')))
        .collect()
}

/// What fails through the pooler only and is not listed, and what is listed and passes all the same.
fn misfits(lists: &[&str], outcome: &Outcome, straight: &BTreeSet<String>) -> (Vec<String>, Vec<String>) {
    let listed = listed(lists);
    let ours = outcome.failed.difference(straight);
    let news = ours.filter(|test| !listed.contains_key(test.as_str())).cloned().collect();
    let passed = outcome.passed.iter();
    (news, passed.filter(|test| listed.get(test.as_str()) == Some(&false)).cloned().collect())
}

/// Compares an outcome with the list of its mode, and with what servers of another version than the suite's add.
fn judge(mode: &str, list: &str, added: &str, mut outcome: Outcome) {
    let nothing = BTreeSet::new();
    let (lists, fails) = match straight() {
        Straight::Fails(fails) => (vec![list], fails),
        Straight::Prints(prints) => {
            outcome = outcome.against(prints, mode);
            (vec![list, added], &nothing)
        }
    };
    let (news, progress) = misfits(&lists, &outcome, fails);
    let (passed, failed) = (outcome.passed.len(), outcome.failed.len());
    let straight = fails.len();
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
    judge("session", include_str!("regress_session_differences.txt"), "", pooled("session"));
}

#[test]
fn transaction_mode_fails_what_is_listed_and_nothing_else() {
    let _turn = turn();
    let list = include_str!("regress_transaction_differences.txt");
    let added = include_str!("regress_transaction_differences_newer.txt");
    judge("transaction", list, added, pooled("transaction"));
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
        listed(&["# x\na  why\nb? why\n\n", "c?\n"]).into_iter().collect::<Vec<_>>(),
        [("a", false), ("b", true), ("c", true)]
    );
}

#[test]
fn a_list_that_is_too_short_or_too_long_is_caught() {
    let names = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    let outcome = Outcome {
        failed: names("a b c"),
        passed: names("d e f"),
        differences: BTreeMap::default(),
        printed: Printed::default(),
    };
    let (news, progress) = misfits(&["# c fails straight\na\nd\ne?\n"], &outcome, &names("c"));
    assert_eq!((news, progress), (vec!["b".to_owned()], vec!["d".to_owned()]));
    let printed = |text: &str| -> Printed {
        text.split_whitespace().map(|test| (test[..1].to_owned(), test.to_owned())).collect()
    };
    let seen = Outcome { printed: printed("a1 b1 d1 e1"), ..outcome };
    let seen = seen.against(&printed("a1 b2 c1 d1 e2"), "test");
    assert_eq!((seen.failed, seen.passed), (names("b c e f"), names("a d")));
    assert!(seen.differences["b"].contains("-b2") && seen.differences["b"].contains("+b1"));
}

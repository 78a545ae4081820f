//! What the tests of a run have printed, fit to be compared with what those of another run have. Masked is what two
//! runs straight at PostgreSQL differ in, and nothing else:
//!
//! - the cluster's directory, and with it the width of a column that shows it;
//! - `Buffers:` of EXPLAIN ANALYZE, which PostgreSQL 18 shows unasked: they hang on what is cached. With them
//!   `Planning:` above them, the width of the column, and what they add to the count of rows;
//! - `rules`: a table's OID and its oldest transaction;
//! - `indexing`: the order of rows that are alike in what ORDER BY names;
//! - `cluster`: the order of the warnings of CLUSTER without a table, which is that of the rows of `pg_index`: what
//!   runs beside it decides where they stand.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// Text by test.
pub(crate) type Printed = BTreeMap<String, String>;

/// Reads what a run has left in its directory; `home` is the cluster's.
pub(crate) fn printed(results: &Path, home: &Path) -> Printed {
    let files = std::fs::read_dir(results).into_iter().flatten().flatten().map(|entry| entry.path());
    let out = files.filter(|file| file.extension().is_some_and(|e| e == "out"));
    let home = home.display().to_string();
    out.map(|file| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = masked(&name, &String::from_utf8_lossy(&std::fs::read(&file).unwrap()), &home);
        (name, text)
    })
    .collect()
}

fn masked(test: &str, text: &str, home: &str) -> String {
    let text = text.replace(home, "HOME");
    let mut lines: Vec<String> = Vec::new();
    let mut dropped = 0;
    for line in text.lines() {
        if line.trim_start().starts_with("Buffers: ") {
            dropped += 1;
            dropped += usize::from(lines.pop_if(|above| above.trim() == "Planning:").is_some());
        } else if is_rule(line) {
            dropped = 0;
            if let Some(header) = lines.last_mut() {
                *header = header.split_whitespace().collect::<Vec<_>>().join(" ");
            }
            lines.push(line.split('+').map(|_| "-").collect::<Vec<_>>().join("+"));
        } else if let Some(rows) = count(line) {
            lines.push(format!("({} rows)", rows.saturating_sub(std::mem::take(&mut dropped))));
        } else if test == "rules" && line.contains(" | r       | ") {
            lines.push(line.chars().filter(|c| !c.is_ascii_digit() && *c != ' ').collect());
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.chunk_by_mut(|a, b| in_any_order(test, a, b)).for_each(<[String]>::sort);
    lines.join("\n") + "\n"
}

/// Whether it says nothing which of two neighbours comes first.
fn in_any_order(test: &str, a: &str, b: &str) -> bool {
    let both = |mark| a.contains(mark) && b.contains(mark);
    match test {
        "indexing" => both("_not_null ") && a.split('|').next() == b.split('|').next(),
        "cluster" => both("WARNING:  permission denied to cluster "),
        _ => false,
    }
}

/// The line between a table's header and its rows.
fn is_rule(line: &str) -> bool {
    line.contains("---") && line.bytes().all(|byte| matches!(byte, b'-' | b'+'))
}

/// `(5 rows)`
fn count(line: &str) -> Option<usize> {
    line.strip_prefix('(')?.split_once(" row")?.0.parse().ok()
}

/// As `diff` shows it; files of the two are written into a directory.
pub(crate) fn difference(directory: &Path, test: &str, expected: &str, seen: &str) -> String {
    std::fs::create_dir_all(directory).unwrap();
    let [expects, sees] = [("expected", expected), ("seen", seen)].map(|(kind, text)| {
        let file = directory.join(format!("{test}.{kind}"));
        std::fs::write(&file, text).unwrap();
        file
    });
    let output = Command::new("diff").arg("-U3").args([expects, sees]).output().expect("diff");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_two_straight_runs_differ_in_is_masked_and_nothing_else() {
    let plan = |buffers: &str, dashes: &str, rows: u8| {
        format!("  QUERY PLAN\n{dashes}\n Sort (rows=1)\n{buffers} Hash (rows=2)\n({rows} rows)\n")
    };
    let some = plan("   Buffers: shared hit=3\n", "-------", 3);
    let more = plan("   Buffers: shared hit=38\n Planning:\n   Buffers: shared hit=1\n", "------------", 5);
    let bare = "QUERY PLAN\n-\n Sort (rows=1)\n Hash (rows=2)\n(2 rows)\n";
    assert_eq!(masked("a", &some, "/h"), bare);
    assert_eq!(masked("a", &more, "/h"), bare);
    assert_eq!(masked("a", " /tmp/x1/data\n", "/tmp/x1"), " HOME/data\n");
    let ties = " b_not_null | t\n a_not_null | y\n a_not_null | x\n b\n a\n";
    assert_eq!(masked("indexing", ties, "/h"), " b_not_null | t\n a_not_null | x\n a_not_null | y\n b\n a\n");
    assert_eq!(masked("b", ties, "/h"), ties);
    let warned =
        ["b", "a"].map(|table| format!("WARNING:  permission denied to cluster \"{table}\", skipping it\n"));
    let [b, a] = &warned;
    assert_eq!(masked("cluster", &format!("x\n{b}{a}"), "/h"), format!("x\n{a}{b}"));
    let oids = "  30035 | r       |    106\n  7 | 8\n";
    assert_eq!(masked("rules", oids, "/h"), "|r|\n  7 | 8\n");
    assert_eq!(masked("c", oids, "/h"), oids);
}

//! House rules that no compiler checks: layers, what a core room may name, sizes, purpose lines, leftovers.
//!
//! Each rule is a function from one file's path and text to its complaints, and each has a test of its own below:
//! a snippet that breaks it must be caught.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

/// Rooms by level; imports go to lower levels only, or within a room. ARCHITECTURE.md draws the same table.
const LEVELS: &[(&str, u8)] = &[
    ("proto", 1),
    ("config", 1),
    ("metrics", 1),
    ("session", 2),
    ("auth", 2),
    ("pool", 3),
    ("net", 3),
    ("server", 4),
    ("client", 5),
    ("admin", 5),
    ("worker", 6),
    ("control", 7),
    ("cli", 8),
    ("main", 8),
];

/// Imports within a level that stand by decision: who, whom.
const SIDEWAYS: &[(&str, &str)] = &[
    // Snapshots tell a pool's mode in the configuration's own type.
    ("metrics", "config"),
    ("main", "cli"),
];

/// Rooms without I/O: no `async`, no runtime, no clock.
const CORE: &[&str] = &["proto", "session", "auth", "pool", "config", "metrics"];

/// Where production code may name tokio, and how. A path that ends in `/` is a room, otherwise one file.
const TOKIO: &[(&str, &str)] = &[
    ("src/net/", "tokio"),
    ("src/control/", "tokio"),
    ("src/admin/", "tokio"),
    // Channels between threads; they work on any runtime.
    ("src/worker/inbox.rs", "tokio::sync"),
];

/// The one file that reads a clock.
const CLOCK: &str = "src/net/clock.rs";

/// Longest file below `src`, in lines.
const MAX_SOURCE_LINES: usize = 400;
/// Longest file of tests: tables and scripts run longer than code that others call.
const MAX_TEST_LINES: usize = 500;

type Rule = fn(&str, &str) -> Vec<String>;

const RUST_RULES: &[Rule] = &[
    layers,
    core_is_pure,
    tokio_stays_in_the_shell,
    clock_has_one_reader,
    size,
    purpose_line,
    nothing_unfinished,
];

#[test]
fn every_rust_file_keeps_the_house_rules() {
    let complaints: Vec<String> = tracked()
        .iter()
        .filter(|(path, _)| Path::new(path).extension().is_some_and(|e| e == "rs"))
        .flat_map(|(path, text)| RUST_RULES.iter().flat_map(|rule| rule(path, text)).collect::<Vec<_>>())
        .collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn no_tracked_file_names_a_place_of_one_machine() {
    let complaints: Vec<String> =
        tracked().iter().flat_map(|(path, text)| no_machine_paths(path, text)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Path and text of each text file under version control, new files included.
fn tracked() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .expect("git");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let files: Vec<(String, String)> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .filter_map(|path| Some((path.to_owned(), std::fs::read_to_string(root.join(path)).ok()?)))
        .collect();
    assert!(files.iter().any(|(path, _)| path == "src/lib.rs"), "the list of files is wrong");
    files
}

/// The room a file of `src` belongs to; `None` outside `src` and for lib.rs, which only lists the rooms.
fn room(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let room = inner.split('/').next()?;
    let room = room.strip_suffix(".rs").unwrap_or(room);
    (room != "lib").then_some(room)
}

fn level(room: &str) -> Option<u8> {
    LEVELS.iter().find(|(name, _)| *name == room).map(|(_, level)| *level)
}

/// Imports point downward only.
fn layers(path: &str, text: &str) -> Vec<String> {
    let Some(here) = room(path) else { return Vec::new() };
    let Some(mine) = level(here) else {
        return vec![format!("{path}: room {here} is not in the table of levels")];
    };
    let mut complaints = Vec::new();
    for there in imported_rooms(&code_only(text)) {
        let allowed = there == here
            || level(&there).is_none_or(|theirs| theirs < mine)
            || SIDEWAYS.contains(&(here, there.as_str()));
        if !allowed {
            complaints.push(format!("{path}: {here} may not import {there}"));
        }
    }
    complaints
}

/// First path segments after `crate::` (or, for the binary, `pooler::`), groups in braces included.
fn imported_rooms(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for root in ["crate::", "pooler::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let rest = code[at + root.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => rooms.extend(group_heads(group)),
                None => rooms.extend(identifier(rest)),
            }
        }
    }
    rooms
}

/// Heads of the entries of `{a::b, c::{d, e}}`, the opening brace already gone.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut at_head = true;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && depth == 0 && !c.is_whitespace() => {
                heads.extend(identifier(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

/// Core rooms contain no `async` and no runtime, in tests neither.
fn core_is_pure(path: &str, text: &str) -> Vec<String> {
    if !room(path).is_some_and(|room| CORE.contains(&room)) {
        return Vec::new();
    }
    let code = code_only(text);
    ["async", "await", "tokio"]
        .iter()
        .filter(|word| has_word(&code, word))
        .map(|word| format!("{path}: `{word}` in a core room"))
        .collect()
}

/// Only the rooms of [`TOKIO`] name the runtime; tests of the shell may.
fn tokio_stays_in_the_shell(path: &str, text: &str) -> Vec<String> {
    if room(path).is_none() || is_test_file(path) {
        return Vec::new();
    }
    let code = without_inline_tests(&code_only(text));
    let allowed: Vec<&str> = TOKIO
        .iter()
        .filter(|(place, _)| if place.ends_with('/') { path.starts_with(place) } else { path == *place })
        .map(|(_, prefix)| *prefix)
        .collect();
    let named = code.match_indices("tokio").filter(|(at, _)| is_word_at(&code, *at, "tokio"));
    named
        .filter(|(at, _)| !allowed.iter().any(|prefix| code[*at..].starts_with(prefix)))
        .map(|(at, _)| format!("{path}:{}: tokio is named outside the shell", line_of(&code, at)))
        .collect()
}

/// Time is an argument; one file reads it.
fn clock_has_one_reader(path: &str, text: &str) -> Vec<String> {
    if room(path).is_none() || path == CLOCK || is_test_file(path) {
        return Vec::new();
    }
    let code = without_inline_tests(&code_only(text));
    ["Instant::now", "SystemTime::now"]
        .iter()
        .flat_map(|call| code.match_indices(*call).map(move |(at, _)| (at, call)))
        .map(|(at, call)| format!("{path}:{}: {call} outside {CLOCK}", line_of(&code, at)))
        .collect()
}

fn size(path: &str, text: &str) -> Vec<String> {
    let limit = if path.starts_with("src/") { MAX_SOURCE_LINES } else { MAX_TEST_LINES };
    let lines = text.lines().count();
    if lines <= limit { Vec::new() } else { vec![format!("{path}: {lines} lines, the limit is {limit}")] }
}

fn purpose_line(path: &str, text: &str) -> Vec<String> {
    if text.starts_with("//! ") {
        Vec::new()
    } else {
        vec![format!("{path}: does not open with its purpose (`//! `)")]
    }
}

/// Nothing is left for later without saying so in a place where it is tracked.
fn nothing_unfinished(path: &str, text: &str) -> Vec<String> {
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
    ];
    marks
        .iter()
        .flat_map(|mark| text.match_indices(*mark).map(move |(at, _)| (at, mark)))
        .filter(|(at, mark)| is_word_at(text, *at, mark.trim_end_matches("!(")))
        .map(|(at, mark)| format!("{path}:{}: `{mark}`", line_of(text, at)))
        .collect()
}

/// A path that exists on one machine only is of no use to a reader on another.
fn no_machine_paths(path: &str, text: &str) -> Vec<String> {
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp", "/wt")];
    places
        .iter()
        .flat_map(|place| text.match_indices(*place).map(move |(at, _)| (at, place)))
        // `$dir/work/x` and `target/work/x` are not absolute.
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_alphanumeric() || "_.}".contains(c)))
        .map(|(at, place)| format!("{path}:{}: names {place}", line_of(text, at)))
        .collect()
}

fn is_test_file(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "tests.rs" || name == "testing.rs" || name.ends_with("_tests.rs") || path.contains("/tests/")
}

/// The text up to the first inline test module: those stand at the end of a file.
fn without_inline_tests(code: &str) -> String {
    let mut from = 0;
    while let Some(at) = code[from..].find("#[cfg(test)]").map(|at| at + from) {
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        let is_module = rest.starts_with("mod ") || rest.starts_with("pub(crate) mod ");
        if is_module && rest.split([';', '{']).next().is_some_and(|head| rest[head.len()..].starts_with('{'))
        {
            return code[..at].to_owned();
        }
        from = at + 1;
    }
    code.to_owned()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| is_word_at(text, at, word))
}

fn is_word_at(text: &str, at: usize, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part)
}

/// Rust source with comments and the insides of literals blanked out, line breaks kept.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kept, gone) = token(rest, first, &out);
        out.push_str(&rest[..kept]);
        out.extend(rest[kept..gone].chars().filter(|c| *c == '\n'));
        rest = &rest[gone.max(first.len_utf8())..];
    }
    out
}

/// How many bytes of the next token to keep, and where it ends.
fn token(rest: &str, first: char, before: &str) -> (usize, usize) {
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    // `b` in front of a literal belongs to it; any other letter makes `r` part of a word.
    let stem = before.strip_suffix('b').unwrap_or(before);
    if first == 'r' && !stem.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
        let hashes = rest[1..].bytes().take_while(|b| *b == b'#').count();
        let start = hashes + 2;
        if rest[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            return (0, rest[start..].find(&close).map_or(rest.len(), |at| start + at + close.len()));
        }
    }
    if first == '"' {
        return (0, quoted_end(rest, '"'));
    }
    if first == '\'' {
        // A lifetime has no closing quote right behind its first character.
        let mut chars = rest.char_indices().skip(1);
        let (_, second) = chars.next().unwrap_or((0, ' '));
        let closes = chars.next().is_some_and(|(_, third)| third == '\'');
        if second == '\\' || closes {
            return (0, quoted_end(rest, '\''));
        }
    }
    (first.len_utf8(), first.len_utf8())
}

fn quoted_end(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

#[test]
fn upward_and_sideways_imports_are_caught() {
    let caught = |path: &str, text: &str| !layers(path, text).is_empty();
    assert!(caught("src/proto/x.rs", "use crate::session::Phase;"));
    assert!(caught("src/pool/x.rs", "fn f() -> crate::net::Stream {}"));
    assert!(caught("src/server/x.rs", "use crate::{proto::X, client::{a, b}};"));
    assert!(caught("src/client/x.rs", "#[cfg(test)]\nmod tests {\n    use crate::worker::Worker;\n}"));
    assert!(caught("src/cellar/x.rs", ""), "an unknown room");
    assert!(!caught("src/client/x.rs", "use crate::{server::A, pool::{worker, b}, client::C};"));
    assert!(!caught("src/metrics/x.rs", "use crate::config::PoolMode;"));
    assert!(!caught("src/proto/x.rs", "// see crate::session\nconst A: &str = \"crate::session\";"));
    assert!(!caught("src/main.rs", "use pooler::control;\nuse crate::cli;"));
    assert!(!caught("src/net/x.rs", "pub(crate) fn f() {}"));
}

#[test]
fn impure_core_rooms_are_caught() {
    assert_eq!(core_is_pure("src/pool/x.rs", "async fn f() { g().await; tokio::spawn(h) }").len(), 3);
    assert_eq!(
        core_is_pure("src/pool/x.rs", "#[cfg(test)]\nmod tests {\n #[tokio::test]\n fn t() {} }").len(),
        1
    );
    assert!(core_is_pure("src/pool/x.rs", "/// No async here, no tokio.\nfn asynchronous() {}").is_empty());
    assert!(core_is_pure("src/net/x.rs", "async fn f() {}").is_empty());
}

#[test]
fn tokio_outside_its_places_is_caught() {
    let caught = |path: &str, text: &str| tokio_stays_in_the_shell(path, text).len();
    assert_eq!(caught("src/client/relay.rs", "use tokio::io::AsyncRead;\nuse tokio::select;"), 2);
    assert_eq!(caught("src/worker/inbox.rs", "use tokio::sync::mpsc;\nuse tokio::time::sleep;"), 1);
    assert_eq!(caught("src/net/rt.rs", "use tokio::time::sleep;"), 0);
    assert_eq!(
        caught("src/client/relay.rs", "#[cfg(test)]\nmod tests {\n#[tokio::test]\nasync fn t() {}\n}"),
        0
    );
    assert_eq!(caught("src/client/tests.rs", "#[tokio::test]\nasync fn t() {}"), 0);
    assert_eq!(caught("src/client/a.rs", "#[cfg(test)]\nmod tests;\nuse tokio::net;"), 1);
}

#[test]
fn a_second_reader_of_the_clock_is_caught() {
    assert_eq!(
        clock_has_one_reader("src/worker/tick.rs", "let a = Instant::now();\nSystemTime::now();").len(),
        2
    );
    assert!(clock_has_one_reader(CLOCK, "Instant::now()").is_empty());
    assert!(clock_has_one_reader("src/pool/x.rs", "// Instant::now() is forbidden").is_empty());
    assert!(
        clock_has_one_reader("src/pool/x.rs", "#[cfg(test)]\nmod tests { fn t() { Instant::now(); } }")
            .is_empty()
    );
}

#[test]
fn long_files_missing_purposes_and_leftovers_are_caught() {
    let long = "//! x\n".repeat(MAX_SOURCE_LINES + 1);
    assert_eq!(size("src/a/b.rs", &long).len(), 1);
    assert!(size("tests/b.rs", &long).is_empty());
    assert_eq!(size("tests/b.rs", &"\n".repeat(MAX_TEST_LINES + 1)).len(), 1);
    assert_eq!(purpose_line("src/a.rs", "use std;\n//! late").len(), 1);
    assert!(purpose_line("src/a.rs", "//! Purpose.").is_empty());
    let left =
        format!("{}\n// {}\n// {}: later", concat!("to", "do!()"), concat!("FIX", "ME"), concat!("XX", "X"));
    assert_eq!(nothing_unfinished("src/a.rs", &left).len(), 3);
    assert!(nothing_unfinished("src/a.rs", concat!("state XX", "XX and a to", "do list")).is_empty());
}

#[test]
fn paths_of_one_machine_are_caught() {
    assert_eq!(no_machine_paths("README.md", concat!("see /wo", "rk/x and (/ro", "ot/y)")).len(), 2);
    assert!(no_machine_paths("README.md", concat!("$dir/", "a/wo", "rk/x, ${HOME}/wo", "rk/")).is_empty());
}

#[test]
fn comments_and_literals_are_not_code() {
    let text =
        "a /* b /* c */ d */ e \"f \\\" g\" 'h' '\\'' &'i str r#\"j \" k\"# b\"l\" br##\"o\"##; // m\nn";
    assert_eq!(
        code_only(text).split_whitespace().collect::<Vec<_>>(),
        ["a", "e", "&'i", "str", "b", "b;", "n"]
    );
    assert_eq!(code_only("\"a\nb\"\nc"), "\n\nc", "lines keep their numbers");
}

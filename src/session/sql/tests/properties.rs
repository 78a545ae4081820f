//! What holds of any text.

use proptest::prelude::*;

use super::super::lexer::{Kind, Lexer};
use super::super::{judge, plain};
use super::*;

/// Pieces that texts are made of, each a token or several that stay together.
const PIECES: &[&str] = &[
    "select",
    "SELECT",
    "set",
    "SET",
    "x",
    "=",
    "1",
    "to",
    "default",
    "local",
    "session",
    "reset",
    "all",
    "discard",
    "prepare",
    "a",
    "as",
    "execute",
    "explain",
    "analyze",
    "(",
    ")",
    ",",
    "'it''s'",
    "E'\\''",
    "$$;$$",
    "$t$ $$ $t$",
    "\"q\"\"\"",
    "create",
    "temp",
    "temporary",
    "table",
    "function",
    "begin",
    "atomic",
    "end",
    "case",
    ";",
    ";",
    "into",
    "insert",
    "declare",
    "cursor",
    "with",
    "hold",
    "for",
    "set_config",
    "\"set_config\"",
    "setseed",
    "pg_notify",
    "true",
    "pg_temp",
    ".",
    "role",
    "time",
    "zone",
    "authorization",
    "pg_advisory_lock",
    "listen",
    "drop",
    "do",
    "call",
    "load",
    "close",
    "u",
    "&",
    "+",
    "*",
    "<",
    "$1",
    "1.5",
    "é",
    "deallocate",
    "commit",
    "rule",
    "names",
    "from",
    "xml",
    "option",
];

/// What may stand between tokens.
const GAPS: &[&str] =
    &[" ", "\n", "\t ", " /* ; set x = 1 */ ", " -- ' \n", "\r\n", "/**/", " /* /* ' */ $$ */"];

fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
    proptest::collection::vec(proptest::sample::select(PIECES), 0..24)
}

fn readings() -> impl Strategy<Value = Reading> {
    (any::<bool>(), any::<bool>())
        .prop_map(|(standard_strings, ascii_safe)| Reading { standard_strings, ascii_safe })
}

/// What is found without the look at a glance.
fn judged(text: &[u8], reading: Reading) -> Features {
    judge::judge(text, reading).map_or(Features::NOTHING, |found| found.features)
}

/// Whether the text ends within a literal or a comment.
fn breaks_off(text: &[u8], reading: Reading) -> bool {
    let mut lexer = Lexer::new(text, reading);
    loop {
        let kind = lexer.next().kind;
        if matches!(kind, Kind::End | Kind::Broken) {
            return kind == Kind::Broken;
        }
    }
}

/// A digest without the places in its text.
fn placeless(text: &str) -> Option<Digest> {
    let mut found = *digest(text.as_bytes(), USUAL)?;
    if let Some(used) = &mut found.prepared {
        used.span = 0..0;
    }
    Some(found)
}

proptest! {
    #[test]
    fn any_bytes_are_judged_without_a_panic(
        text in proptest::collection::vec(any::<u8>(), 0..200), reading in readings(),
    ) {
        digest(&text, reading);
        sample(&text, reading);
    }

    #[test]
    fn any_marks_are_judged_without_a_panic(text in "[-/*'\"$;aeEuU&_.0\\\\ \n()]{0,60}", reading in readings()) {
        if let Some(found) = digest(text.as_bytes(), reading) {
            prop_assert!(found.prepared.is_none_or(|used| text.get(used.span).is_some()));
        }
        prop_assert!(sample(text.as_bytes(), reading).chars().count() <= sample::MAX_SAMPLE);
    }

    #[test]
    fn what_stands_between_tokens_does_not_matter(
        pieces in pieces(), gaps in proptest::collection::vec(proptest::sample::select(GAPS), 25),
    ) {
        let spread: String = pieces.iter().zip(&gaps).flat_map(|(piece, gap)| [*gap, *piece]).collect();
        prop_assert_eq!(placeless(&pieces.join(" ")), placeless(&spread));
    }

    #[test]
    fn a_text_in_a_literal_or_a_comment_is_plain(text in "[^\0]{0,40}", pieces in pieces()) {
        for text in [text, pieces.join(" ")] {
            let doubled = text.replace('\'', "''");
            for whole in [
                format!("select '{doubled}'"),
                format!("select E'{}'", doubled.replace('\\', "\\\\")),
                format!("select $tag_x$ {} $tag_x$", text.replace("$tag_x", "")),
                format!("select 1 -- {}", text.replace(['\n', '\r'], " ")),
                format!("select /* {} */ 1", text.replace(['*', '/'], " ")),
            ] {
                prop_assert_eq!(digest(whole.as_bytes(), USUAL), None, "{}", whole);
                prop_assert_eq!(judged(whole.as_bytes(), USUAL), Features::NOTHING, "{}", whole);
            }
        }
    }

    #[test]
    fn a_set_after_a_whole_statement_is_noticed(
        start in proptest::sample::select(&[
            "select 1", "begin", "prepare a as select 1", "create function f() begin atomic select 1; end",
            "create rule r as on insert to t do (a; b)", "select 'a'", "explain (costs off) select 1", "drop table t",
            "set y = 1", "declare c cursor for select 1", "", "select set_config('a', 'b', true)", "select 1 -- c\n",
        ][..]),
        gap in proptest::sample::select(GAPS), ends in 1_usize..4,
    ) {
        let text = format!("{start}{gap}{}{gap}set x = 1", ";".repeat(ends));
        let found = digest(text.as_bytes(), USUAL).unwrap();
        prop_assert!(found.features.contains(Features::SET), "{}", text);
        prop_assert!(found.settings.iter().any(|name| **name == *b"x"), "{}", text);
    }

    #[test]
    fn what_looks_plain_is_plain(pieces in pieces(), glued in any::<bool>(), reading in readings()) {
        let text = format!("select {}", pieces.join(if glued { "" } else { " " }));
        for text in [text.as_str(), text.get("select ".len()..).unwrap()] {
            let text = text.as_bytes();
            if plain::is_plain(text) && (reading.ascii_safe || text.is_ascii()) {
                // What does not end is refused by PostgreSQL, and told beside what else the text does; nothing else
                // may go unnoticed.
                let refused = if breaks_off(text, reading) {
                    Features::UNJUDGED | Features::TRANSACTION
                } else {
                    Features::NOTHING
                };
                prop_assert_eq!(judged(text, reading).without(refused), Features::NOTHING);
            }
        }
    }

    #[test]
    fn a_word_that_matters_is_seen_at_any_place(
        before in "[a-z ,]{0,70}", after in "[a-z ,]{0,70}",
        word in proptest::sample::select(&[
            "set_config", "SETSEED", "pg_notify", "PG_advisory_LOCK", "pg_temp.t", "into temp", "INTO TEMPORARY",
            "u&\"x\"", "; set x = 1", "\"set_config\"", "pg_try_advisory_lock", "pg_advisory_unlock_all",
        ][..]),
    ) {
        for text in [format!("select {before} {word} {after}"), format!("with {before},{word}"), format!("select {word}")] {
            prop_assert!(digest(text.as_bytes(), USUAL).is_some(), "{}", text);
        }
    }
}

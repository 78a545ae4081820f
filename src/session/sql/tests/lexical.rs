//! Where literals and comments begin and end, as PostgreSQL's scanner has it.

use super::*;

/// What of these texts PostgreSQL reads as code ends with a SET or does not.
const ENDS_WITH_SET: &[(&str, bool, bool)] = &[
    // text, noticed with standard_conforming_strings on, and off
    ("select 'a'; set x = 1", true, true),
    ("select 'a''; set x = 1 --'", false, false),
    (r"select 'a\'; set x = 1 --'", true, false),
    (r"select E'a\'; set x = 1 --'", false, false),
    (r"select e'a\\'; set x = 1 --'", true, true),
    (r"select N'a\'; set x = 1 --'", true, false),
    (r"select B'0\'; set x = 1 --'", true, true),
    (r"select ue'a\'; set x = 1 --'", true, false),
    ("select E'a'\n'\\'; set x = 1 --'", false, false),
    ("select E'a' -- x\n'\\'; set x = 1 --'", false, false),
    ("select E'a' '\\'; set x = 1 --'", true, false),
    ("select E'a' /* \n */ '\\'; set x = 1 --'", true, false),
    ("select 1 -- ; set x = 1", false, false),
    ("select 1 -- \n; set x = 1", true, true),
    ("select 1 -- \r; set x = 1", true, true),
    ("select 1 --; /* \n; set x = 1 -- */", true, true),
    ("select 1 /* ; set x = 1 */", false, false),
    ("select 1 /* /* */ ; set x = 1 */", false, false),
    ("select 1 /* /* */ */ ; set x = 1", true, true),
    ("select 1 /*/ ; set x = 1 /*/ */ */", false, false),
    ("select 1 /* ' */; set x = 1 -- '", true, true),
    ("select 2*/* ; set x = 1 */ 3", false, false),
    ("select 2 +-- ; set x = 1", false, false),
    ("select 2 <-- ; set x = 1\n 3", false, false),
    ("select 2 - - 3; set x = 1", true, true),
    ("select 2 @/**/ 3; set x = 1", true, true),
    ("select $$ ; set x = 1 $$", false, false),
    ("select $a$ $$ ; set x = 1 $a$", false, false),
    ("select $a$ $b$a$; set x = 1 --$a$", true, true),
    ("select $A$ $a$ ; set x = 1 $A$", false, false),
    ("select $é$ ; set x = 1 $é$", false, false),
    ("select a$$; set x = 1 --$$", true, true),
    ("select $1$$; set x = 1 --$$", false, false),
    ("select a from t where b=$1; set x = 1", true, true),
    ("select 1$$; set x = 1 --$$", false, false),
    ("select 1.5e3$$; set x = 1 --$$", false, false),
    ("select é$$; set x = 1 --$$", true, true),
    ("select \"a\"; set x = 1", true, true),
    ("select \"a; set x = 1 --\"", false, false),
    ("select \"a\"\"; set x = 1 --\"", false, false),
    (r#"select "a\"; set x = 1 --""#, true, true),
    ("select \"'\"; set x = 1 --'", true, true),
    ("select '\"'; set x = 1 --\"", true, true),
    ("select (1; set x = 1)", false, false),
];

#[test]
fn literals_and_comments_end_where_postgresql_ends_them() {
    for (text, standard, escaping) in ENDS_WITH_SET {
        for (reading, expected) in [(USUAL, standard), (ESCAPING, escaping)] {
            let found = digest(text.as_bytes(), reading).is_some_and(|found| found.features == Features::SET);
            assert_eq!(found, *expected, "{text} {reading:?}");
        }
    }
}

#[test]
fn what_cannot_be_read_to_its_end_is_not_judged() {
    for text in ["select 1; select 'a", "drop \"a", "x /* /* */", "select 1; $a$ $b$", "select 1; E'\\'"] {
        assert!(features(text).contains(Features::UNJUDGED), "{text}");
    }
    for text in ["select U&\"\\0061\"", "select u&'x'"] {
        assert_eq!(features(text), Features::UNJUDGED, "{text}");
    }
    assert_eq!(features("select u & 'x'"), Features::NOTHING);
}

#[test]
fn encodings_that_hide_ascii_are_not_judged_unless_plain() {
    let digest = |text: &[u8]| digest(text, UNSAFE);
    assert_eq!(digest(b"select '\x83\x5c'"), None);
    assert_eq!(digest(b"select 1; select 2"), None);
    assert_eq!(digest(b"select '\x83\x5c'; select 1").unwrap().features, Features::UNJUDGED);
    let execute = digest(b"execute \x83\x5c").unwrap();
    assert!(execute.features.contains(Features::EXECUTE | Features::UNJUDGED));
    assert_eq!(execute.prepared, None);
}

#[test]
fn names_fold_in_ascii_only() {
    assert_eq!(settings("set Ä.B = 1"), ["Ä.b"]);
    assert_eq!(features("\u{a0}set x = 1"), Features::UNJUDGED);
}

#[test]
fn what_is_over_with_its_transaction_says_so_as_code() {
    let drops = |text: &str| drops_at_commit(text.as_bytes(), USUAL);
    assert!(drops("create temp table t (a int) ON /* x */ commit\nDrop"));
    assert!(drops("create temp table t on on commit drop as select 1"));
    for text in ["create temp table t (a int)", "create temp table t on commit delete rows", "drop t", ""] {
        assert!(!drops(text), "{text}");
    }
    assert!(!drops("create temp table t as select 'on commit drop' -- on commit drop"));
    assert!(!drops("create temp table t on commit \"drop\""));
}

#[test]
fn a_sample_shows_no_literal_and_one_line() {
    let sample = |text: &str| sample(text.as_bytes(), USUAL);
    assert_eq!(
        sample("select  'secret' ,\n 12.5 -- x\n from t /* y */ where a>=$1;"),
        "select ? , ? from t where a>=$1;"
    );
    assert_eq!(sample("alter role r password $$secret$$"), "alter role r password ?");
    assert_eq!(sample("select E'sec\\'ret', 'unterminated secret"), "select ?, ?");
    assert_eq!(sample("select 0xBEEF, 0o17, 0b11, 1_000.00_5, 5e1_0 from t"), "select ?, ?, ?, ??, ? from t");
    assert_eq!(sample("select \"a\nb\""), "select \"a b\"");
    assert_eq!(sample("SET my.token TO secret, \"s\"; select a = b"), "SET my.token TO ?, ?; select a = b");
    assert_eq!(
        sample("alter role r set my.token = secret; set role r"),
        "alter role r set my.token = ?; set role r"
    );
    assert_eq!(
        sample("create function f() returns int set a.b to secret"),
        "create function f() returns int set a.b to ?"
    );
    assert_eq!(sample("update t set a = b"), "update t set a = b");
    assert_eq!(sample(""), "");
    let long = sample(&"select aé, ".repeat(1000));
    assert!(long.chars().count() <= sample::MAX_SAMPLE && long.ends_with("..."), "{long}");
    let unsafe_encoding = super::sample("select '\u{e9}\\', 'x'".as_bytes(), UNSAFE);
    assert_eq!(unsafe_encoding, "select ?...");
}

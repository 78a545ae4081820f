//! The same messages straight at PostgreSQL and through the pooler, in session and in transaction mode: the replies
//! must be the same (V9). PostgreSQL is the reference; what may differ stands in [`ACCEPTED`], with its reason.
//!
//! In transaction mode the pool has one server, so that the actors of a script must share it; two where one of them
//! keeps a server.

#![allow(unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../common/mod.rs"]
pub(crate) mod common;
mod hostile;
mod login;
mod notify;
mod prepared;
mod protocol;
mod session;
mod startup;

use std::sync::{Mutex, OnceLock};

use common::cluster::APP;
use common::host::lock;
use common::pooler::quoted;
use common::stage::Stage;
use common::{Cluster, ClusterOptions, Pooler, PoolerConfig, Target};

/// A line of a transcript that may read otherwise through the pooler.
struct Accepted {
    script: &'static str,
    direct: &'static str,
    pooled: &'static str,
    /// For the reader; nothing checks it.
    _reason: &'static str,
}

/// Every difference from PostgreSQL that stands by decision. Shrinking this list is progress.
const ACCEPTED: &[Accepted] = &[
    Accepted {
        script: "b12_wrong_lengths_inside_a_bind_are_errors",
        direct: "A: E(ERROR 08P01: bind message supplies 65535 parameters, but prepared statement \"s1\" requires 1) Z(I)",
        pooled: "A: E(ERROR 08P01: bind message supplies 65535 parameters, but prepared statement \"pooler_N\" requires 1) Z(I)",
        _reason: NAME_IN_TEXT,
    },
    Accepted {
        script: "s30_parameters_pass_bit_for_bit",
        direct: "A: E(ERROR 08P01: bind message supplies 1 parameters, but prepared statement \"p\" requires 3) Z(I)",
        pooled: "A: E(ERROR 08P01: bind message supplies 1 parameters, but prepared statement \"pooler_N\" requires 3) Z(I)",
        _reason: NAME_IN_TEXT,
    },
    Accepted {
        script: "r33_r65_nonsense_inside_copy_in_ends_the_connection",
        direct: "X: E(ERROR 08P01: unexpected message type 0x7E during COPY from stdin) E(FATAL 08P01) (end)",
        pooled: "X: E(FATAL 08P01) (end)",
        _reason: JUDGED_HERE,
    },
    Accepted {
        script: "r33_r65_nonsense_inside_copy_in_ends_the_connection",
        direct: "X: E(ERROR 08006: unexpected EOF on client connection with an open transaction) E(FATAL 08P01) (end)",
        pooled: "X: E(FATAL 08P01) (end)",
        _reason: JUDGED_HERE,
    },
    Accepted {
        script: "t26_what_a_function_deallocates_is_an_error_and_can_be_made_anew",
        direct: "A: E(ERROR 26000: prepared statement \"z1\" does not exist) Z(I)",
        pooled: "A: E(ERROR 26000: prepared statement \"pooler_N\" does not exist) Z(I)",
        _reason: NAME_IN_TEXT,
    },
    Accepted {
        script: "t28_a_stale_plan_heals_and_new_statements_see_the_new_type",
        direct: "A: E(ERROR 0A000: cached plan must not change result type) Z(I)",
        pooled: "A: 2 D(1,2) C(SELECT 1) Z(I)",
        _reason: HEALED,
    },
    Accepted {
        script: "t28_whoever_was_promised_the_old_columns_hears_of_it_once",
        direct: "A: E(ERROR 0A000: cached plan must not change result type) Z(I)",
        pooled: "A: 2 D(1,2) C(SELECT 1) Z(I)",
        _reason: HEALED,
    },
    Accepted {
        script: "t28_a_stale_plan_in_a_block_is_an_error_and_heals_after_it",
        direct: "A: E(ERROR 0A000: cached plan must not change result type) Z(I)",
        pooled: "A: 2 D(1,2) C(SELECT 1) Z(I)",
        _reason: HEALED,
    },
];

const NAME_IN_TEXT: &str = "PostgreSQL's own text names the statement as the server knows it";
const HEALED: &str = "a plan made stale by others is made anew, where PostgreSQL would refuse it for ever";
const JUDGED_HERE: &str = "what no frontend may send ends the connection before it reaches a server";

/// Scripts in which PostgreSQL closes without a word and a last FATAL 08P01 is as good (R64).
const LAST_WORD_ALLOWED: &[&str] = &[
    "b3_b4_b5_b6_nonsense_lengths_of_a_first_packet_close",
    "b9_impossible_lengths_close",
    "b10_lengths_above_the_limit_close_at_once",
    "b31b_a_sync_above_ten_thousand_closes",
    "b35b_a_startup_packet_above_the_limit_closes",
    "b33c_a_password_above_its_limit_closes",
];

/// Scripts in which a client keeps a server for what it has there; the others share the second one.
const KEEPS_A_SERVER: &[&str] = &[
    "t17_sql_prepare_belongs_to_the_client_that_said_it",
    "t32_in_a_block_it_hears_at_the_end_of_the_block",
    "t33_an_advisory_lock_is_held_until_its_client_leaves",
    "t34_a_temporary_table_is_its_clients",
    "t35_a_cursor_with_hold_is_its_clients",
];

/// Plays one script three times and compares. One script at a time: a pool of one serves one story.
pub(crate) fn compare(name: &str, script: &dyn Fn(&mut Stage<'_>)) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = lock(&ONE_AT_A_TIME);
    let expected = Stage::play(&cluster().target(), script);
    assert!(!expected.is_empty(), "{name} reads nothing");
    if oracle_only(name, &expected, &|| Stage::play(&cluster().target(), script)) {
        return;
    }
    let size = if KEEPS_A_SERVER.contains(&name) { 2 } else { 1 };
    for (mode, pooler) in [("session", pooled("session", 10)), ("transaction", pooled("transaction", size))] {
        check(name, mode, &expected, &Stage::play(&pooler.target(), script));
        pooler.assert_healthy();
    }
}

/// With `DIFFERENTIAL_ORACLE` set, scripts are played straight at PostgreSQL only, twice, and shown: for those who
/// write scripts. A story that PostgreSQL itself tells in two ways is not fit to compare anything with.
pub(crate) fn oracle_only(name: &str, first: &[String], again: &dyn Fn() -> Vec<String>) -> bool {
    if std::env::var_os("DIFFERENTIAL_ORACLE").is_none() {
        return false;
    }
    println!("{name}\n    {}", first.join("\n    "));
    check(name, "direct", first, &again());
    true
}

/// The same with `pooler_N` for each of the pooler's own statement names.
fn without_numbers(line: &str) -> String {
    let mut parts = line.split("pooler_");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("pooler_N");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

/// Compares two transcripts line by line.
fn check(name: &str, mode: &str, expected: &[String], seen: &[String]) {
    // A line that the list allows may read either way: session mode does not need every entry.
    let accepted = |(i, line): (usize, &String)| {
        let entry = ACCEPTED.iter().find(|a| a.script == name && a.direct == without_fatal_texts(line));
        let reads = seen.get(i).map(|line| without_fatal_texts(&without_last_word(name, line)));
        match (entry, reads) {
            (Some(entry), Some(reads)) if without_numbers(&reads) == entry.pooled => reads,
            _ => line.clone(),
        }
    };
    let expected: Vec<String> = expected.iter().enumerate().map(accepted).collect();
    let expected: Vec<String> = expected.iter().map(|line| without_fatal_texts(line)).collect();
    let seen: Vec<String> =
        seen.iter().map(|line| without_fatal_texts(&without_last_word(name, line))).collect();
    assert!(
        seen == expected,
        "{name} in {mode} mode differs from PostgreSQL\n  direct:\n    {}\n  pooled:\n    {}",
        expected.join("\n    "),
        seen.join("\n    ")
    );
}

/// What ends a connection may say so in words of its own; severity and SQLSTATE must be PostgreSQL's. The texts of
/// errors that a session survives are compared as they are.
fn without_fatal_texts(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("E(FATAL ") {
        let text = at + "E(FATAL 08P01".len();
        out.push_str(&rest[..text]);
        let end = rest[text..].find(") ").or_else(|| rest[text..].rfind(')')).unwrap_or(0);
        rest = &rest[text + end..];
    }
    out + rest
}

fn without_last_word(script: &str, line: &str) -> String {
    if LAST_WORD_ALLOWED.contains(&script)
        && let Some((actor, words)) = line.split_once(": E(FATAL 08P01: ")
        && words.ends_with(") (end)")
    {
        return format!("{actor}: (end)");
    }
    line.to_owned()
}

/// The reference. Trust, so that the first packets can be compared; `login` has clusters with passwords.
pub(crate) fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start_new(&ClusterOptions { auth: "trust", ..version() }))
}

/// The PostgreSQL to compare with: the system's in `differential`, a newer one in `differential_newer`, which
/// consists of the same scripts.
pub(crate) fn version() -> ClusterOptions {
    let newer = env!("CARGO_CRATE_NAME") == "differential_newer";
    ClusterOptions { installation: newer.then(common::drivers::newer_postgres), ..ClusterOptions::default() }
}

pub(crate) fn pooled(mode: &'static str, size: u32) -> &'static Pooler {
    static SESSION: OnceLock<Pooler> = OnceLock::new();
    static TRANSACTION: OnceLock<Pooler> = OnceLock::new();
    static TWO_SERVERS: OnceLock<Pooler> = OnceLock::new();
    let cell = match (mode, size) {
        ("session", _) => &SESSION,
        (_, 1) => &TRANSACTION,
        _ => &TWO_SERVERS,
    };
    Pooler::shared(cell, || PoolerConfig::for_cluster(cluster(), size).set("pool_mode", quoted(mode)))
}

/// Makes tables anew, owned by the application's role.
pub(crate) fn fresh(sql: &str) {
    cluster().sql_in(APP, &format!("set client_min_messages = error; set role {APP}; {sql}"));
}

/// A target of the same machine, for scripts that need another login method.
pub(crate) fn compare_at(
    name: &str,
    direct: &Target,
    pooler: &dyn Fn() -> &'static Pooler,
    script: &dyn Fn(&mut Stage<'_>),
) {
    let expected = Stage::play(direct, script);
    if oracle_only(name, &expected, &|| Stage::play(direct, script)) {
        return;
    }
    let pooler = pooler();
    check(name, "any", &expected, &Stage::play(&pooler.target(), script));
    pooler.assert_healthy();
}

/// Turns a table of scripts into tests of the same names.
macro_rules! scripts {
    ($($(#[doc = $doc:expr])* $name:ident => $script:expr;)*) => {
        $(
            $(#[doc = $doc])*
            #[test]
            fn $name() {
                $crate::compare(stringify!($name), &$script);
            }
        )*
    };
}
pub(crate) use scripts;

#[test]
fn differences_that_nobody_meets_are_not_kept() {
    for accepted in ACCEPTED {
        assert_ne!(accepted.direct, accepted.pooled, "{}", accepted.script);
    }
    let last =
        without_last_word("b9_impossible_lengths_close", "A: E(FATAL 08P01: invalid message length) (end)");
    assert_eq!(last, "A: (end)");
    let other = "A: E(FATAL 57P01: going) (end)";
    assert_eq!(without_fatal_texts(other), "A: E(FATAL 57P01) (end)");
    assert_eq!(
        without_fatal_texts("A: E(ERROR 42601: a) E(FATAL 08P01: b)"),
        "A: E(ERROR 42601: a) E(FATAL 08P01)"
    );
    assert_eq!(without_last_word("b9_impossible_lengths_close", other), other);
}

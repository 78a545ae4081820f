//! Scripts that read otherwise through the pooler once, with all left out that could be left out.

use super::common::cluster::APP;
use super::draw::Script;
use super::pinned_statements;
use super::play::PROBE;
use super::script::Say::{
    Bind, CopyData, CopyDone, CopyFail, DescribeStatement, Execute, Flush, Parse, Query, Sync,
};
use super::script::Step::{Enter, Flushed, Hear, Leave, Say};
use super::script::{self, Step};

pub(super) fn query(who: usize, sql: &str) -> Step {
    Say(who, vec![Query(sql.to_owned())])
}

pub(super) fn parse(name: &'static str, sql: &str) -> script::Say {
    Parse(name, sql.to_owned())
}

/// A script that ends with a look at what its clients have left.
pub(super) fn script(pool: usize, mut steps: Vec<Step>) -> Script {
    steps.push(query(9, PROBE));
    Script { pool, verify: false, user: APP, steps }
}

/// All of them.
pub fn scripts() -> Vec<Script> {
    [
        settings(),
        names_within(),
        resets(),
        startup_values(),
        pinned_statements::scripts(),
        copies(),
        news(),
        verified(),
    ]
    .concat()
}

/// With a server that is asked about everything.
fn verified() -> Vec<Script> {
    let scripts = vec![
        // What is parsed before anything has run is the client's, also when its block fails.
        script(
            2,
            vec![
                Say(
                    1,
                    vec![parse("p2", "discard plans"), Query("begin; set timezone = 'nowhere'".to_owned())],
                ),
                Say(1, vec![DescribeStatement("p2"), Sync]),
            ],
        ),
        // A client that goes on while the server is asked about its last transaction.
        script(
            1,
            vec![query(0, "selekt 1"), query(0, "select public.f_path('s2')"), query(1, "show search_path")],
        ),
    ];
    scripts.into_iter().map(|script| Script { verify: true, ..script }).collect()
}

/// Several COPYs in one write, each with its own end.
fn copies() -> Vec<Script> {
    let text = |sql: &str| Query(sql.to_owned());
    let run = || vec![parse("", "copy t from stdin"), Bind("", "", None), Execute("", 0)];
    let end = || vec![CopyData("1\n"), CopyDone];
    let twice = "copy t from stdin; select 1; copy t from stdin";
    vec![
        script(
            1,
            vec![Say(
                0,
                [vec![text("copy t from stdin")], end(), vec![text(twice)], end(), end(), vec![Sync]]
                    .concat(),
            )],
        ),
        script(
            1,
            vec![Say(0, [vec![text("copy t from stdin"), CopyFail], run(), end(), vec![Sync]].concat())],
        ),
        script(1, vec![Say(0, [run(), end(), run(), end(), vec![Sync], run(), end(), vec![Sync]].concat())]),
        script(1, vec![Say(0, [run(), end(), end(), vec![Sync, text("select count(*) from t")]].concat())]),
    ]
}

fn news() -> Vec<Script> {
    vec![
        // A client whose encoding is not the servers' hears them on a server of its own.
        script(
            2,
            vec![
                Enter(0, vec![("client_encoding", "LATIN1")]),
                query(0, "listen ch"),
                Hear(0),
                query(1, "notify ch, 'other'"),
                Hear(0),
            ],
        ),
    ]
}

/// Custom settings under names that stand somewhere within.
fn names_within() -> Vec<Script> {
    vec![
        script(1, vec![query(0, "select set_config('my.custom'::text, 'x', false)")]),
        script(2, vec![query(0, "do $$ begin set my.custom = 'x'; end $$")]),
        script(
            2,
            vec![
                Say(0, vec![parse("p2", "select set_config($1, 'y', false)"), Sync]),
                query(0, "execute p2('my.custom')"),
                query(0, "select coalesce(current_setting('my.custom', true), '')"),
            ],
        ),
    ]
}

fn settings() -> Vec<Script> {
    let own = "select set_config($1, 'y', false)";
    vec![
        // A custom setting under a name that only a Bind tells.
        script(
            1,
            vec![Say(0, vec![parse("p2", own), Bind("", "p2", Some("my.custom")), Execute("", 0), Sync])],
        ),
        script(
            1,
            vec![Flushed(1, vec![parse("", own), Bind("", "", Some("my.custom")), Execute("", 1), Flush])],
        ),
        // A custom setting, and then something that makes the server be asked for all of them.
        script(1, vec![query(0, "set my.custom = 'x'"), query(0, "selekt 1")]),
        script(
            2,
            vec![
                query(1, "set session my.custom to 'y z'"),
                query(1, "set time zone local"),
                Leave(1, script::Leave::Terminate),
            ],
        ),
        script(
            1,
            vec![
                Enter(0, vec![("TimeZone", "Asia/Tokyo")]),
                query(
                    0,
                    "reset all; select date '1/2/2020'; set default_transaction_isolation = 'serializable'",
                ),
                query(0, "show timezone"),
            ],
        ),
        // What is a transaction's must not be put in force between transactions.
        script(
            2,
            vec![
                query(1, "set session characteristics as transaction isolation level repeatable read"),
                query(1, "set transaction isolation level serializable"),
                query(1, "set time zone local"),
                query(2, "select 1"),
                query(1, "select name from v"),
            ],
        ),
        // An empty search path is another one than the usual.
        script(
            1,
            vec![
                Say(0, vec![parse("p1", "select name from v"), Sync]),
                Enter(1, vec![("search_path", "")]),
                Say(1, vec![parse("p1", "select name from v"), Sync]),
            ],
        ),
        // A literal that two clients read in different ways.
        script(
            1,
            vec![
                query(0, "set timezone = 'Asia/Tokyo'"),
                Say(0, vec![parse("p1", "select timestamptz '2020-01-02 03:04'"), Sync]),
                Say(
                    1,
                    vec![
                        parse("p1", "select timestamptz '2020-01-02 03:04'"),
                        Bind("", "p1", None),
                        Execute("", 0),
                        Sync,
                    ],
                ),
            ],
        ),
    ]
}

fn resets() -> Vec<Script> {
    vec![
        // RESET ALL in a text of several statements.
        script(
            2,
            vec![
                Enter(0, vec![("TimeZone", "Asia/Tokyo")]),
                query(0, "select pg_advisory_unlock_all() is null; close all; unlisten *; reset all"),
                query(0, "show timezone"),
            ],
        ),
        // RESET ALL beside the beginning or the end of a transaction.
        script(
            3,
            vec![
                Enter(0, vec![("client_encoding", "LATIN1")]),
                query(0, "begin; close all; unlisten *; reset all"),
                query(0, "rollback; show client_encoding"),
            ],
        ),
        script(
            2,
            vec![
                Enter(1, vec![("TimeZone", "Asia/Tokyo")]),
                query(1, "set timezone = 'Europe/Oslo'"),
                query(1, "begin"),
                query(1, "reset all; rollback"),
                query(1, "show timezone"),
                query(1, "reset timezone; set timezone = 'Europe/Rome'"),
                query(1, "show timezone"),
            ],
        ),
        // DISCARD ALL holds at once, whatever fails behind it in its batch.
        script(
            1,
            vec![
                Enter(0, vec![("client_encoding", "LATIN1")]),
                Say(
                    0,
                    vec![parse("", "discard all"), Bind("", "", None), Execute("", 1), Execute("", 0), Sync],
                ),
                query(0, "show client_encoding"),
            ],
        ),
        // A literal that is parsed behind a change of what it means, in one batch, and then by somebody else.
        script(
            1,
            vec![
                Say(
                    0,
                    vec![
                        parse("", "set datestyle = 'SQL, DMY'"),
                        Bind("", "", None),
                        Execute("", 0),
                        parse("lit", "select date '1/2/2020'"),
                        Bind("", "lit", None),
                        Execute("", 0),
                        Sync,
                    ],
                ),
                Say(
                    1,
                    vec![parse("lit", "select date '1/2/2020'"), Bind("", "lit", None), Execute("", 0), Sync],
                ),
            ],
        ),
    ]
}

fn startup_values() -> Vec<Script> {
    vec![
        // A role and a custom setting of the startup packet, which PostgreSQL does not list.
        script(
            1,
            vec![
                Enter(0, vec![("options", "-c role=bob -c my.custom=s")]),
                query(0, "set role app; reset role"),
                query(0, "select current_user"),
                query(0, "set my.custom = 'x'; reset my.custom; set work_mem = '5MB'"),
                query(0, "show my.custom"),
                query(1, "select current_user"),
            ],
        ),
        // RESET ALL leaves the role alone, DISCARD ALL does not.
        script(
            1,
            vec![
                Enter(0, vec![("role", "bob"), ("work_mem", "9MB")]),
                query(0, "set role none"),
                query(0, "reset all"),
                query(0, "show role"),
                query(1, "show role"),
                query(0, "set work_mem = '1MB'; reset all; select current_user"),
                query(0, "show role"),
                query(0, "discard all"),
                query(0, "select current_user"),
            ],
        ),
        // In a block, values of the startup packet come back without taking its snapshot.
        script(
            1,
            vec![
                Enter(0, vec![("work_mem", "9MB"), ("search_path", "pg_catalog, public")]),
                query(0, "begin"),
                query(0, "reset all"),
                query(0, "set transaction isolation level serializable"),
                query(0, "reset search_path"),
                query(0, "set transaction read only"),
                query(0, "show work_mem"),
                query(0, "show search_path"),
                query(0, "commit"),
                query(0, "show search_path"),
            ],
        ),
        // A RESET that did not run holds back no report of what the failed block gives up.
        script(
            1,
            vec![
                Enter(0, vec![("TimeZone", "Asia/Tokyo")]),
                query(0, "begin; set local timezone = 'UTC'"),
                query(0, "select 1/0; set role bob; reset role"),
                query(0, "rollback"),
                query(0, "set timezone = 'Asia/Kolkata'"),
                query(0, "begin; set timezone = 'UTC'"),
                query(0, "select 1/0; reset timezone"),
                query(0, "rollback"),
                query(0, "show timezone"),
            ],
        ),
    ]
}

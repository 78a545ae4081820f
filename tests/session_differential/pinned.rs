//! Scripts that read otherwise through the pooler once, with all left out that could be left out.

use super::draw::Script;
use super::play::PROBE;
use super::script::Say::{Bind, CloseStatement, DescribeStatement, Execute, Flush, Parse, Query, Sync};
use super::script::Step::{Enter, Flushed, Leave, Say};
use super::script::{self, Step};

fn query(who: usize, sql: &str) -> Step {
    Say(who, vec![Query(sql.to_owned())])
}

fn parse(name: &'static str, sql: &str) -> script::Say {
    Parse(name, sql.to_owned())
}

/// A script that ends with a look at what its clients have left.
fn script(pool: usize, mut steps: Vec<Step>) -> Script {
    steps.push(query(9, PROBE));
    Script { pool, steps }
}

/// All of them.
pub fn scripts() -> Vec<Script> {
    [settings(), resets(), startup_values(), columns(), long_names(), names(), names_by_sql()].concat()
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
        // RESET ALL in a text of several statements.
        script(
            2,
            vec![
                Enter(0, vec![("TimeZone", "Asia/Tokyo")]),
                query(0, "select pg_advisory_unlock_all() is null; close all; unlisten *; reset all"),
                query(0, "show timezone"),
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
    ]
}

/// Columns that change between Describe and Bind, met on another server, and by another client first.
fn columns() -> Vec<Script> {
    let described = |who| Say(who, vec![parse("p", "select * from d"), DescribeStatement("p"), Sync]);
    let bound = |who| Say(who, vec![Bind("", "p", None), Execute("", 0), Sync]);
    let begin = [query(1, "drop table if exists d; create table d (a int)"), described(0)];
    let end = [query(1, "rollback"), query(1, "drop table d")];
    let of = |pool, middle: Vec<Step>| script(pool, [begin.to_vec(), middle, end.to_vec()].concat());
    vec![
        of(2, vec![query(1, "alter table d add b int"), query(1, "begin"), bound(0)]),
        of(
            1,
            vec![
                query(1, "alter table d add b int"),
                query(1, "begin"),
                Say(1, vec![parse("q", "select * from d"), Bind("", "q", None), Execute("", 0), Sync]),
                query(1, "commit"),
                bound(0),
            ],
        ),
        of(
            2,
            vec![described(1), query(1, "begin"), bound(0), bound(1), query(1, "commit"), bound(0), bound(1)],
        ),
    ]
}

/// Names of which PostgreSQL's tables keep 63 bytes, and its errors all.
fn long_names() -> Vec<Script> {
    const NAME: &str = "a_name_that_is_longer_than_the_sixty_three_bytes_that_count_of_one_at_all";
    let bound = Say(0, vec![Bind("", NAME, None), Execute("", 0), Sync]);
    let parsed = Say(0, vec![parse(NAME, "select 1"), Sync]);
    let by_sql = query(0, &format!("prepare {NAME} as select 2"));
    vec![
        script(1, vec![bound.clone(), parsed.clone(), parsed.clone(), bound.clone()]),
        script(2, vec![by_sql.clone(), bound, parsed, by_sql, query(0, "deallocate all")]),
    ]
}

fn names() -> Vec<Script> {
    vec![
        // A Bind that has too few values: the error names the statement.
        script(
            1,
            vec![Say(0, vec![parse("p1", "select $1::int"), Sync]), Say(0, vec![Bind("", "p1", None), Sync])],
        ),
        // An error within EXECUTE tells where.
        script(
            1,
            vec![
                Say(0, vec![parse("p1", "select $1::int"), Sync]),
                query(0, "execute p1(nope)"),
                query(0, "execute p1"),
            ],
        ),
        // A Parse in a transaction that has failed: of a name in use, and of a text that the server has.
        script(
            3,
            vec![
                query(2, "begin"),
                Say(2, vec![parse("p2", "select 1"), Execute("", 0), Sync, parse("p2", "select 2"), Sync]),
                Say(2, vec![DescribeStatement("p2"), Sync]),
            ],
        ),
        script(
            3,
            vec![
                Say(0, vec![parse("p1", "select 7"), Sync]),
                query(0, "begin"),
                Say(0, vec![CloseStatement("p1"), Execute("", 2), Sync, parse("p3", "select 7"), Sync]),
            ],
        ),
        // A Parse of a name in use, which something in the same segment frees.
        script(
            1,
            vec![
                Say(2, vec![parse("lit", "select 7"), parse("", "discard all"), Sync]),
                Say(2, vec![Bind("c1", "", None), Execute("c1", 0), parse("lit", "select 8"), Sync]),
                Say(2, vec![Bind("", "lit", None), Execute("", 0), Sync]),
            ],
        ),
        // A Parse of a name in use whose text is wrong.
        script(
            1,
            vec![
                Say(0, vec![parse("p1", "select 7"), Sync]),
                Say(0, vec![parse("p1", "selekt 7"), Sync]),
                Say(0, vec![parse("p1", "select 8"), Sync]),
            ],
        ),
        script(
            2,
            vec![
                Say(0, vec![parse("p1", "select 7"), Sync]),
                query(0, "begin"),
                Say(0, vec![Execute("", 1), Sync]),
                query(0, "prepare p1 as select 'by sql'"),
            ],
        ),
    ]
}

/// Names made with PREPARE a moment ago.
fn names_by_sql() -> Vec<Script> {
    vec![
        // A Close of it behind a Parse that the name is taken for.
        script(
            2,
            vec![
                query(0, "prepare p1 as select 'by sql'"),
                Say(0, vec![parse("p1", "select $1::int + 1"), Sync, CloseStatement("p1"), Sync]),
                Say(0, vec![DescribeStatement("p1"), Sync]),
            ],
        ),
        script(
            2,
            vec![
                query(0, "prepare p1 as select 'by sql'"),
                Say(
                    0,
                    vec![
                        parse("", "deallocate all"),
                        Bind("", "", None),
                        Execute("", 0),
                        parse("p1", "set extra_float_digits = 3"),
                        Bind("", "p1", None),
                        Sync,
                    ],
                ),
            ],
        ),
        script(
            3,
            vec![
                query(3, "begin"),
                query(3, "prepare p1 as select 'by sql'"),
                Say(3, vec![Bind("", "p1", None), Sync]),
            ],
        ),
        script(
            2,
            vec![
                query(1, "begin"),
                query(1, "prepare p1 as select 'by sql'"),
                Flushed(1, vec![parse("p1", "select 1"), Bind("", "p1", None), Execute("", 0), Flush]),
            ],
        ),
        script(
            2,
            vec![
                query(1, "prepare p1 as select 'by sql'"),
                Say(1, vec![CloseStatement("p1"), parse("p1", "select float8 '0.1'"), Sync]),
                Say(1, vec![Bind("", "p1", None), Execute("", 0), Sync]),
            ],
        ),
    ]
}

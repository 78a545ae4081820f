//! Pinned scripts about prepared statements: their names, and the columns that clients were told of.

use super::draw::Script;
use super::pinned::{parse, query, script};
use super::script::Say::{Bind, CloseStatement, DescribeStatement, Execute, Flush, Sync};
use super::script::Step;
use super::script::Step::{Flushed, Say};

/// All of them.
pub fn scripts() -> Vec<Script> {
    [columns(), hidden(), long_names(), names(), names_by_sql(), plans()].concat()
}

/// What one client's settings have put into a plan is not for another: constants are folded, ways of going are chosen.
fn plans() -> Vec<Script> {
    let of = |setting: &str, sql: &str| {
        let prepared = |who| Say(who, vec![parse("p", sql), Bind("", "p", None), Execute("", 0), Sync]);
        let again = |who| Say(who, vec![Bind("", "p", None), Execute("", 0), Sync]);
        let plan = |who| query(who, "explain (costs off) execute p");
        let steps = vec![query(0, setting), prepared(0), prepared(1), again(0), again(1), plan(0), plan(1)];
        script(1, steps)
    };
    vec![
        of("set extra_float_digits = 0", "select (float8 '0.1' + float8 '0.2')::text"),
        of("set bytea_output = 'escape'", r"select (bytea '\x0102')::text"),
        of("set quote_all_identifiers = on", "select quote_ident('abc')"),
        of("set timezone_abbreviations = 'Australia'", "select timestamptz '2020-01-01 12:00 EST'"),
        of("set enable_hashagg = off", "select a, count(*) from t group by a"),
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

/// A table that a temporary one hides, on a server that has others of the client's and has prepared the text.
fn hidden() -> Vec<Script> {
    let run = |who, name| {
        let parsed = parse(name, "select * from hidden");
        Say(who, vec![parsed, Bind("", name, None), Execute("", 0), DescribeStatement(name), Sync])
    };
    let steps = vec![
        query(0, "create table hidden (a int)"),
        query(0, "create temp table other (a int)"),
        run(0, "p"),
        query(0, "create temp table hidden (b text)"),
        run(0, "q"),
        query(0, "drop table pg_temp.hidden"),
        run(0, "r"),
        query(0, "drop table other; drop table hidden"),
    ];
    vec![script(2, steps)]
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

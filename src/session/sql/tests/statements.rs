//! Each kind of statement, as written in its ways, and what only looks like it.

use super::*;

type F = Features;

#[test]
fn most_texts_leave_the_session_alone() {
    all_are(
        F::NOTHING,
        &[
            "",
            ";",
            " ;; ",
            "-- nothing",
            "/* nothing */",
            "select 1",
            "SELECT 1;",
            "(select 1)",
            "((select 1)) ;",
            "insert into t values (1)",
            "update t set a = 1",
            "delete from t",
            "with x as (select 1) select * from x",
            "values (1)",
            "table t",
            "merge into t using s on true when matched then delete",
            "copy t from stdin",
            "fetch 1 from c",
            "move 1 in c",
            "begin",
            "START TRANSACTION",
            "commit",
            "end",
            "rollback to s",
            "abort",
            "savepoint s",
            "release s",
            "begin; commit",
            "alter table t drop column c",
            "alter role r set work_mem = 1",
            "alter system set work_mem = 1",
            "grant select on t to r",
            "show work_mem",
            "select pg_advisory_xact_lock(1)",
            "select pg_try_advisory_xact_lock_shared(1)",
            "select temp from t",
            "select temperature, template from pg_class",
            "insert into temp values (1)",
            "explain select 1",
            "explain (analyze, verbose) select 1",
            "explain analyze verbose insert into t values (1)",
            "set transaction isolation level serializable",
            "set local transaction read only",
            "set constraints all deferred",
            "reset transaction isolation level",
            "declare c cursor for select 1",
            "declare c no scroll cursor without hold for select 1",
            "prepare transaction 'x'",
            "commit prepared 'x'",
            "create table t (a int)",
            "create index on t (a)",
            "vacuum t",
            "analyze t",
            "lock table t",
            "select 'set x = 1'; select 'discard all'",
            "select \"into\" from t",
        ],
    );
}

#[test]
fn parameters_are_set_for_the_session_or_for_the_transaction() {
    for (text, expected, names) in [
        ("set work_mem = 1", F::SET, "work_mem"),
        ("SET Work_Mem TO '1MB'", F::SET, "work_mem"),
        ("set session \"Work_Mem\" = 1", F::SET, "work_mem"),
        ("set local work_mem = 1", F::SET_LOCAL, "work_mem"),
        ("set local work_mem to default", F::SET_LOCAL, "work_mem"),
        ("set work_mem to default", F::RESET, "work_mem"),
        ("set work_mem = DEFAULT", F::RESET, "work_mem"),
        ("set work_mem = 'default'", F::SET, "work_mem"),
        ("set work_mem from current", F::SET, "work_mem"),
        ("set my.own . \"Name\" = 'x'", F::SET, "my.own.name"),
        ("set session.x = 1", F::SET, "session.x"),
        ("set local.x = 1", F::SET, "local.x"),
        ("set session characteristics.x = 1", F::SET, "characteristics.x"),
        ("set time = 1", F::SET, "time"),
        ("set role.x = 1", F::SET, "role.x"),
        ("set transaction_isolation = 'serializable'", F::SET, "transaction_isolation"),
        ("set sort_mem = 1", F::SET, "work_mem"),
        ("set names 'utf8'", F::SET, "client_encoding"),
        ("set names", F::RESET, "client_encoding"),
        ("set names default", F::RESET, "client_encoding"),
        ("set schema 'x'", F::SET, "search_path"),
        ("set time zone 'UTC'", F::SET, "timezone"),
        ("set time zone interval '1' hour to minute", F::SET, "timezone"),
        ("set time zone local", F::RESET, "timezone"),
        ("set session time zone default", F::RESET, "timezone"),
        ("set local time zone 1", F::SET_LOCAL, "timezone"),
        ("set xml option document", F::SET, "xmloption"),
        ("set seed = 0.5", F::SET | F::SEED, "seed"),
        ("set seed to 0.5", F::SET | F::SEED, "seed"),
        ("reset work_mem", F::RESET, "work_mem"),
        ("reset time zone", F::RESET, "timezone"),
        ("reset \"all\"", F::RESET, "all"),
        ("reset all", F::RESET_ALL, ""),
        (
            "begin; set a = 1; set local b = 2; reset a",
            F::TRANSACTION | F::SET | F::SET_LOCAL | F::RESET,
            "a b",
        ),
        ("set role x", F::SET | F::IDENTITY, "role"),
        ("set role to x", F::SET | F::IDENTITY, "role"),
        ("set role none", F::SET | F::IDENTITY, "role"),
        ("set session role 'x'", F::SET | F::IDENTITY, "role"),
        ("set local role x", F::SET_LOCAL, "role"),
        ("reset role", F::RESET | F::IDENTITY, "role"),
        ("set session authorization x", F::SET | F::IDENTITY, "role session_authorization"),
        ("set session session authorization x", F::SET | F::IDENTITY, "role session_authorization"),
        ("set local session authorization x", F::SET_LOCAL, "role session_authorization"),
        ("set session authorization default", F::RESET | F::IDENTITY, "role session_authorization"),
        ("reset session authorization", F::RESET | F::IDENTITY, "role session_authorization"),
        ("set session_authorization = x", F::SET | F::IDENTITY, "role session_authorization"),
    ] {
        assert_eq!((features(text), settings(text).join(" ")), (expected, names.into()), "{text}");
    }
    let modes = "set session characteristics as transaction isolation level serializable";
    assert_eq!(features(modes), F::SET);
    assert_eq!(settings(modes).len(), 3);
    assert!(features("set U&\"w\" = 1").contains(F::SET | F::UNJUDGED | F::UNJUDGED_SETTINGS));
}

#[test]
fn set_config_is_found_wherever_it_is_called() {
    for (text, expected, names) in [
        ("select set_config('a.B', 'x', false)", F::SET_CONFIG, "a.b"),
        ("select SET_CONFIG('a', 'x', true)", F::SET_LOCAL, "a"),
        ("select set_config('a', f(1, (2)), true)", F::SET_LOCAL, "a"),
        ("select set_config('a', 'x', $1)", F::SET_CONFIG, "a"),
        ("select set_config('a', 'x', not true)", F::SET_CONFIG, "a"),
        ("select set_config('a', 'x', true and false)", F::SET_CONFIG, "a"),
        ("select set_config('a', 'x', 'true')", F::SET_CONFIG, "a"),
        ("select set_config($$a$$, 'x', false)", F::SET_CONFIG, "a"),
        ("select set_config($t$a$t$, 'x', false)", F::SET_CONFIG, "a"),
        ("select set_config($1, 'x', false)", F::SET_CONFIG | F::UNJUDGED_SETTINGS, ""),
        ("select set_config('a' || 'b', 'x', true)", F::SET_LOCAL | F::UNJUDGED_SETTINGS, ""),
        ("select set_config(E'a', 'x', true)", F::SET_LOCAL | F::UNJUDGED_SETTINGS, ""),
        ("select set_config('a'\n'b', 'x', true)", F::SET_LOCAL | F::UNJUDGED_SETTINGS, ""),
        ("select set_config(is_local => true, 'x', true)", F::SET_LOCAL | F::UNJUDGED_SETTINGS, ""),
        ("select set_config('a', is_local => true, new_value => 'x')", F::SET_CONFIG, "a"),
        ("select pg_catalog.set_config('a', 'x', false)", F::SET_CONFIG, "a"),
        ("select \"set_config\" /* */ ('a', 'x', false)", F::SET_CONFIG, "a"),
        (
            "insert into t select set_config('a', set_config('b', 'x', true), false)",
            F::SET_CONFIG | F::SET_LOCAL,
            "a b",
        ),
        ("select set_config('role', 'x', false)", F::SET_CONFIG | F::IDENTITY, "role"),
        ("select set_config('role', 'x', true)", F::SET_LOCAL, "role"),
        ("copy (select set_config('a', 'x', false)) to stdout", F::SET_CONFIG, "a"),
        ("select f(set_config)", F::SET_CONFIG | F::UNJUDGED_SETTINGS, ""),
        ("select setseed(0.5)", F::SEED, ""),
    ] {
        assert_eq!((features(text), settings(text).join(" ")), (expected, names.into()), "{text}");
    }
    all_are(
        F::NOTHING,
        &["select my_set_config('a', 'x', false)", "select 'set_config(1)'", "select 1 -- set_config("],
    );
}

#[test]
#[allow(clippy::too_many_lines)] // a table
fn each_other_kind_is_told() {
    for (expected, texts) in [
        (F::DISCARD_ALL, &["discard all", "/* x */ DISCARD ALL;"][..]),
        (F::DISCARD_TEMP, &["discard temp", "discard temporary"]),
        (F::DISCARD_OTHER, &["discard plans", "discard sequences"]),
        (
            F::PREPARE,
            &["prepare a as select 1", "prepare transaction as select 1", "prepare a (int) as select $1"],
        ),
        (F::EXECUTE, &["execute a", "explain execute a", "explain analyze verbose execute a(1)"]),
        (F::EXECUTE, &["explain (analyze, buffers off) execute a", "create table t as execute a"]),
        (F::EXECUTE | F::TEMP, &["create temp table t (a) on commit drop as execute a (1) with no data"]),
        (
            F::DEALLOCATE,
            &["deallocate a", "deallocate prepare a", "deallocate prepare", "deallocate \"all\""],
        ),
        (F::DEALLOCATE_ALL, &["deallocate all", "deallocate prepare all"]),
        (F::DECLARE_HOLD, &["declare c cursor with hold for select 1"]),
        (F::DECLARE_HOLD, &["declare cursor binary insensitive no scroll cursor with hold for select 1"]),
        (F::CLOSE, &["close c", "close all"]),
        (F::LISTEN, &["listen c"]),
        (F::UNLISTEN, &["unlisten c", "unlisten *"]),
        (
            F::NOTIFY,
            &[
                "notify c",
                "notify c, 'x'",
                "select pg_notify('c', 'x')",
                "select pg_catalog . pg_notify(a,b)",
            ],
        ),
        (
            F::TEMP,
            &[
                "create temp table t (a int)",
                "create temporary view v as select 1",
                "create local temp table t()",
            ],
        ),
        (F::TEMP, &["create global temporary table t()", "create or replace temp view v as select 1"]),
        (
            F::TEMP,
            &["create temp sequence s", "select 1 into temp t", "select 1 into temporary table t from x"],
        ),
        (
            F::TEMP,
            &["select 1 into local temp t", "with x as (select 1) select * into global temporary t from x"],
        ),
        (
            F::TEMP,
            &[
                "(select 1 into temp t)",
                "explain analyze select 1 into temp t",
                "create table pg_temp.t (a int)",
            ],
        ),
        (
            F::TEMP,
            &[
                "select * from pg_temp.t",
                "create function pg_temp.f() returns int return 1",
                "table pg_temp_3.t",
            ],
        ),
        (F::TEMP, &["select * from \"pg_temp\".t", "explain analyze create temp table t as select 1"]),
        (F::TEMP | F::SET, &["set search_path = pg_temp, public", "set search_path = 'pg_temp'"]),
        (F::ADVISORY_LOCK, &["select pg_advisory_lock(1)", "select pg_advisory_lock_shared(1, 2)"]),
        (F::ADVISORY_LOCK, &["select pg_try_advisory_lock(1)", "select PG_TRY_ADVISORY_LOCK_SHARED(1)"]),
        (F::ADVISORY_UNLOCK, &["select pg_advisory_unlock(1)", "select pg_advisory_unlock_shared(1)"]),
        (F::ADVISORY_UNLOCK, &["select pg_advisory_unlock_all()"]),
        (F::LOAD, &["load 'x'"]),
        (F::DROP, &["drop table t", "DROP INDEX i"]),
        (F::OPAQUE, &["do $$begin end$$", "do language plpgsql 'x'", "call p()"]),
        (F::OPAQUE | F::TRANSACTION, &["begin; call p(); commit"]),
        (F::UNJUDGED, &["frobnicate", "'x'", "explain explain select 1"]),
    ] {
        all_are(expected, texts);
    }
}

#[test]
fn a_prepared_statement_is_told_by_its_name_and_place() {
    let long = "a".repeat(70);
    for (text, verb, name, written) in [
        ("prepare Abc as select 1;", Verb::Prepare, "abc", "Abc"),
        ("  /* x */ execute \"A\"\"b\" (1)", Verb::Execute, "A\"b", "\"A\"\"b\""),
        ("explain (costs off) execute é", Verb::ExplainExecute, "é", "é"),
        ("deallocate prepare a$1;;", Verb::Deallocate, "a$1", "a$1"),
        ("deallocate prepare;", Verb::Deallocate, "prepare", "prepare"),
        (&format!("execute {long}"), Verb::Execute, &long[..63], &long),
    ] {
        let used = digest(text.as_bytes(), USUAL).unwrap().prepared.unwrap();
        assert_eq!((used.verb, &*used.name, &text[used.span]), (verb, name.as_bytes(), written), "{text}");
    }
    for text in
        ["execute a; execute b", "select 1; execute a", "deallocate all", "execute U&\"a\"", "execute"]
    {
        assert_eq!(digest(text.as_bytes(), USUAL).unwrap().prepared, None, "{text}");
    }
    let cut_within_characters = format!("execute {}", "é".repeat(40));
    assert_eq!(features(&cut_within_characters), F::EXECUTE | F::UNJUDGED);
}

#[test]
fn bodies_of_functions_and_rules_are_not_statements_of_the_session() {
    for (text, statements) in [
        ("create function f() returns int as $$ begin; set a = 1; end $$ language sql; drop table t", 2),
        ("create function f() returns int begin atomic select 1; select 2; end; drop table t", 2),
        (
            "create or replace procedure p(a int) begin /* */ atomic insert into t values (1); end; drop table t",
            2,
        ),
        (
            "create function f() returns int begin atomic select case when a then 1 else 2 end; end; drop table t",
            2,
        ),
        ("create function f() returns int begin atomic select begin, 1 as end, 2 case; end; drop table t", 2),
        ("create function f() returns int begin atomic select 1 end; end; drop table t", 2),
        ("create function f() returns int begin atomic end; drop table t", 2),
        (
            "create rule r as on insert to t do also (insert into u values (1); delete from v); drop table t",
            2,
        ),
        ("create table begin (atomic int); drop table t", 2),
        ("begin; drop table t; end", 3),
    ] {
        let found = digest(text.as_bytes(), USUAL).unwrap();
        assert_eq!(
            (found.features.without(F::TRANSACTION), found.statements),
            (F::DROP, statements),
            "{text}"
        );
    }
}

#[test]
fn settings_are_set_in_other_ways_than_by_set() {
    let changed = F::SET_CONFIG | F::UNJUDGED_SETTINGS;
    for text in [
        "update pg_settings set setting = '7MB' where name = 'work_mem'",
        "with x as (update pg_catalog.pg_settings set setting = 1 returning 1) select 1",
    ] {
        assert!(features(text).contains(changed), "{text}");
    }
    assert_eq!(features("select setting from pg_settings"), F::NOTHING);
    assert!(features("select set_config('work_mem', null, false)").contains(F::RESET | F::SET_CONFIG));
    assert!(features("set dynamic_library_path = '/tmp'").contains(F::LOAD), "nobody else may see it again");
}

#[test]
fn an_end_within_parentheses_is_not_judged() {
    for text in ["( ;", "( ; select 1", ";(;set x = 1"] {
        assert!(features(text).contains(F::UNJUDGED), "{text}");
    }
    assert_eq!(features(" ; ;; "), F::NOTHING);
}

#[test]
fn what_is_beyond_the_bounds_is_not_judged() {
    let many = "select 1;".repeat(MAX_STATEMENTS + 1);
    assert_eq!(features(&many), F::UNJUDGED);
    let settings: String = (0..=MAX_SETTINGS).map(|n| format!("set a{n} = 1")).collect::<Vec<_>>().join(";");
    assert_eq!(features(&settings), F::SET | F::UNJUDGED);
    let name = format!("set a.{} = 1", "b.".repeat(MAX_SETTING_NAME) + "c");
    assert_eq!(features(&name), F::SET | F::UNJUDGED_SETTINGS);
}

//! Prepared statements, T17 to T31: what a client named is the client's, whichever server it meets.

use crate::common::msg;
use crate::common::stage::Stage;
use crate::{fresh, scripts};

/// Parse of a named statement and Sync.
fn parse(name: &str, sql: &str) -> Vec<u8> {
    [msg::parse(name, sql), msg::sync()].concat()
}

/// Bind and Execute of a statement without parameters, and Sync.
fn execute(name: &str) -> Vec<u8> {
    [msg::bind("", name, &[]), msg::execute("", 0), msg::sync()].concat()
}

fn describe(name: &str) -> Vec<u8> {
    [msg::describe(b'S', name), msg::sync()].concat()
}

scripts! {
    t17_sql_prepare_belongs_to_the_client_that_said_it => |s: &mut Stage<'_>| {
        s.query("A", "prepare s1 as select 41");
        s.query("B", "execute s1");
        s.query("A", "execute s1");
        s.query("B", "prepare s1 as select 42");
        s.query("B", "execute s1");
        s.query("A", "execute s1");
    };
    t18_the_unnamed_statement_belongs_to_the_client => |s: &mut Stage<'_>| {
        s.ask("A", &parse("", "select 41"));
        s.ask("B", &[msg::run("select 42", &[]), msg::sync()].concat());
        s.ask("A", &execute(""));
    };
    t19_two_clients_may_use_one_name => |s: &mut Stage<'_>| {
        s.ask("A", &parse("p", "select 41"));
        s.ask("B", &parse("p", "select 'forty-two'"));
        s.ask("A", &execute("p"));
        s.ask("B", &execute("p"));
        s.ask("B", &describe("p"));
        s.ask("A", &describe("p"));
    };
    t20_discard_all_of_another_client_takes_nothing => |s: &mut Stage<'_>| {
        s.ask("A", &parse("p1", "select 1 as one"));
        s.query("B", "discard all");
        s.ask("A", &describe("p1"));
        s.ask("A", &execute("p1"));
    };
    t21_an_unknown_name_is_an_error_and_no_end => |s: &mut Stage<'_>| {
        s.ask("A", &execute("nope"));
        s.ask("A", &describe("nope"));
        s.ask("A", &[msg::close(b'S', "nope"), msg::sync()].concat());
        s.ask("A", &[msg::describe(b'P', "nope"), msg::sync()].concat());
        s.lives("A");
    };
    t22_a_name_in_use_is_an_error_and_no_end => |s: &mut Stage<'_>| {
        s.ask("A", &parse("p", "select 1"));
        s.ask("A", &parse("p", "select 2"));
        s.ask("A", &execute("p"));
        s.lives("A");
    };
    t23_a_parse_that_failed_leaves_its_name_free => |s: &mut Stage<'_>| {
        s.ask("A", &parse("p", "selekt 1"));
        s.ask("A", &execute("p"));
        s.ask("A", &parse("p", "select 1"));
        s.ask("A", &execute("p"));
    };
    t24_a_parse_that_was_skipped_leaves_its_name_free => |s: &mut Stage<'_>| {
        s.ask("A", &[msg::run("select 1/0", &[]), msg::parse("k1", "select 7"), msg::sync()].concat());
        s.ask("A", &execute("k1"));
        s.ask("A", &parse("k1", "select 8"));
        s.ask("A", &execute("k1"));
    };
    t25_sql_deallocate_frees_a_parsed_name => |s: &mut Stage<'_>| {
        s.ask("A", &parse("z1", "select 1"));
        s.query("A", "deallocate z1");
        s.ask("A", &execute("z1"));
        s.lives("A");
    };
    t26_deallocate_all_and_discard_all_free_every_name => |s: &mut Stage<'_>| {
        for statement in ["deallocate all", "discard all"] {
            s.ask("A", &parse("z1", "select 1"));
            s.query("A", statement);
            s.ask("A", &parse("z1", "select 2"));
            s.ask("A", &execute("z1"));
            s.query("A", statement);
        }
    };
    t26_discard_plans_and_sequences_free_no_name => |s: &mut Stage<'_>| {
        s.ask("A", &parse("z1", "select 1"));
        for statement in ["discard plans", "discard sequences", "discard temp"] {
            s.query("A", statement);
            s.ask("A", &execute("z1"));
        }
        s.query("A", "deallocate prepare all");
        s.ask("A", &execute("z1"));
    };
    t26_deallocate_all_as_a_statement_of_its_own_frees_every_name => |s: &mut Stage<'_>| {
        s.ask("A", &parse("z1", "select 1"));
        s.ask("A", &[msg::run("deallocate all", &[]), msg::sync()].concat());
        s.ask("A", &execute("z1"));
    };
    t26_what_a_function_deallocates_is_an_error_and_can_be_made_anew => |s: &mut Stage<'_>| {
        s.ask("A", &parse("z1", "select 1"));
        s.ask("A", &parse("z2", "select 2"));
        s.ask("B", &parse("z1", "select 3"));
        s.query("A", "do $$ begin execute 'deallocate all'; end $$");
        s.ask("A", &describe("z1"));
        s.ask("A", &parse("z1", "select 1"));
        s.ask("A", &execute("z1"));
        s.ask("B", &execute("z1"));
    };
    a_large_statement_lives_until_it_is_closed => |s: &mut Stage<'_>| {
        let large = format!("select 41 /* {} */", "x".repeat(300 * 1024));
        s.ask("A", &parse("big", &large));
        s.ask("A", &execute("big"));
        s.ask("A", &[msg::close(b'S', "big"), msg::sync()].concat());
        s.lives("B");
        s.ask("A", &execute("big"));
        s.ask("A", &parse("big", &large));
        s.ask("A", &execute("big"));
        s.query("A", "deallocate all");
        s.lives("B");
        s.ask("A", &parse("", &large));
        s.ask("A", &execute(""));
        s.query("A", "select 1");
        s.lives("B");
        s.ask("A", &parse("big", &large));
        s.leave("A");
        s.lives("B");
    };
    many_local_replies_without_a_sync_are_answered => |s: &mut Stage<'_>| {
        let closes = msg::close(b'S', "none").repeat(10_000);
        s.say("A", &[msg::parse("", "select 1"), closes].concat());
        s.ask("A", &msg::sync());
        s.lives("B");
    };
    t27_deallocate_all_of_another_client_takes_nothing => |s: &mut Stage<'_>| {
        s.ask("A", &parse("z1", "select 1"));
        s.query("B", "deallocate all");
        s.ask("A", &execute("z1"));
    };
    t28_a_stale_plan_heals_and_new_statements_see_the_new_type => |s: &mut Stage<'_>| {
        fresh("drop table if exists t28; create table t28 as select 1 as a");
        s.ask("A", &parse("p", "select * from t28"));
        s.ask("A", &execute("p"));
        s.query("B", "alter table t28 add column b int default 2");
        s.ask("A", &execute("p"));
        s.lives("A");
        s.ask("C", &parse("p", "select * from t28"));
        s.ask("C", &describe("p"));
        s.ask("C", &execute("p"));
    };
    t28_whoever_was_promised_the_old_columns_hears_of_it_once => |s: &mut Stage<'_>| {
        fresh("drop table if exists t28b; create table t28b as select 1 as a");
        s.ask("A", &parse("p", "select * from t28b"));
        s.ask("A", &describe("p"));
        s.query("B", "alter table t28b add column b int default 2");
        s.ask("A", &execute("p"));
        s.lives("A");
        s.ask("A", &execute("p"));
    };
    t28_a_stale_plan_in_a_block_is_an_error_and_heals_after_it => |s: &mut Stage<'_>| {
        fresh("drop table if exists t28c; create table t28c as select 1 as a");
        s.ask("A", &parse("p", "select * from t28c"));
        s.ask("A", &execute("p"));
        s.query("B", "alter table t28c add column b int default 2");
        s.query("A", "begin");
        s.ask("A", &execute("p"));
        s.query("A", "rollback");
        s.ask("A", &execute("p"));
    };
    t28_a_new_client_prepares_what_has_gone_stale => |s: &mut Stage<'_>| {
        fresh("drop table if exists t28e; create table t28e as select 1 as a");
        let text = "select * from t28e";
        let prepare = |name: &str| [msg::parse(name, text), msg::describe(b'S', name)].concat();
        s.ask("B", &parse("h", text));
        s.ask("B", &execute("h"));
        s.query("C", "alter table t28e add column b int default 2");
        s.ask("A", &[prepare("n"), msg::sync()].concat());
        s.ask("A", &execute("n"));
        s.query("C", "alter table t28e add column c int default 3");
        s.say("D", &[prepare("n"), msg::flush()].concat());
        s.until("D", b'T');
        s.ask("D", &execute("n"));
    };
    t28_a_new_client_prepares_in_a_block_what_has_gone_stale => |s: &mut Stage<'_>| {
        fresh("drop table if exists t28f; create table t28f as select 1 as a");
        let text = "select * from t28f";
        let run = |name: &str| {
            let describe = msg::describe(b'S', name);
            [msg::parse(name, text), describe, msg::bind("", name, &[]), msg::execute("", 0)].concat()
        };
        s.ask("B", &parse("h", text));
        s.ask("B", &execute("h"));
        s.query("C", "alter table t28f add column b int default 2");
        s.query("A", "begin");
        s.ask("A", &[run("n"), msg::sync()].concat());
        s.query("A", "alter table t28f add column c int default 3");
        s.ask("A", &[run("m"), msg::sync()].concat());
        s.query("A", "commit");
        s.query("C", "alter table t28f add column d int default 4");
        s.say("D", &[msg::query("begin"), run("n"), msg::sync()].concat());
        s.ready("D", 2);
        s.query("D", "commit");
        s.query("C", "alter table t28f add column e int default 5");
        s.ask("E", &[msg::run("begin", &[]), run("n"), msg::sync()].concat());
        s.query("E", "commit");
        s.query("A", "begin");
        s.query("A", "drop table t28f");
        s.ask("A", &[run("k"), msg::sync()].concat());
        s.query("A", "rollback");
        s.lives("A");
    };
    t28_nothing_is_said_again_behind_what_was_executed => |s: &mut Stage<'_>| {
        fresh("drop table if exists t28d; create table t28d as select 1 as a; \
               drop table if exists t28log; create table t28log (n int)");
        s.ask("A", &parse("p", "select * from t28d"));
        s.ask("A", &parse("i", "insert into t28log values (1)"));
        s.ask("A", &execute("p"));
        s.query("B", "alter table t28d add column b int default 2");
        let run = |name: &str| [msg::bind("", name, &[]), msg::execute("", 0)].concat();
        s.ask("A", &[run("i"), run("p"), msg::sync()].concat());
        s.query("B", "select count(*) from t28log");
    };
    t29_r40_a_function_call_is_answered => |s: &mut Stage<'_>| {
        // 1397 is abs(int4).
        s.ask("A", &msg::function_call(1397, &["-5"]));
        s.ask("A", &msg::function_call(1397, &["five"]));
        s.query("A", "begin");
        s.ask("A", &msg::function_call(1397, &["-6"]));
        s.query("A", "commit");
        s.ask("A", &[msg::function_call(1397, &["-7"]), msg::query("select 8")].concat());
        s.ready("A", 1);
    };
    t30_flush_brings_what_is_ready_before_the_sync => |s: &mut Stage<'_>| {
        s.say("A", &[msg::run("select 1", &[]), msg::flush()].concat());
        s.until("A", b'C');
        s.silence("A");
        s.ask("A", &msg::sync());
        s.lives("B");
    };
    t31_an_error_in_one_segment_leaves_the_next_untouched => |s: &mut Stage<'_>| {
        let segments = ["select 1", "select 1/0", "select 3"];
        let all: Vec<u8> = segments.iter().flat_map(|q| [msg::run(q, &[]), msg::sync()].concat()).collect();
        s.say("A", &all);
        s.ready("A", 3);
        s.silence("A");
    };
    r54_close_of_a_portal_spares_the_statement_of_that_name => |s: &mut Stage<'_>| {
        s.ask("A", &parse("x", "select 1"));
        s.ask("A", &[msg::bind("x", "x", &[]), msg::close(b'P', "x"), msg::sync()].concat());
        s.ask("A", &execute("x"));
    };
    r41_the_unnamed_statement_dies_with_a_query_and_a_failed_parse => |s: &mut Stage<'_>| {
        s.ask("A", &parse("", "select 41"));
        s.query("A", "select 1");
        s.ask("A", &execute(""));
        s.ask("A", &parse("", "select 42"));
        s.ask("A", &parse("", "selekt"));
        s.ask("A", &execute(""));
        s.ask("A", &parse("", "select 43"));
        s.ask("A", &[msg::close(b'S', ""), msg::sync()].concat());
        s.ask("A", &execute(""));
    };
    s30_parameters_pass_bit_for_bit => |s: &mut Stage<'_>| {
        s.ask("A", &parse("p", "select $1::text, $2::text, $3::text is null"));
        let values = [Some("q'u\"o\\te\n"), Some(""), None];
        s.ask("A", &[msg::bind("", "p", &values), msg::execute("", 0), msg::sync()].concat());
        s.ask("A", &[msg::bind("", "p", &[Some("one")]), msg::execute("", 0), msg::sync()].concat());
        s.lives("A");
    };
}

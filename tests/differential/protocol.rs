//! Batches, portals, pipelines, COPY, and the two protocols mixed: T37, T62 to T65, R28, R36 to R39, B25, B26, B36
//! to B38.

use crate::common::stage::Stage;
use crate::common::{Lost, brief, msg};
use crate::{cluster, compare, fresh, scripts};

fn copy(table: &str) -> String {
    format!("copy {table} from stdin")
}

/// Parse, Bind and Execute of a COPY FROM STDIN.
fn copy_by_execute(table: &str) -> Vec<u8> {
    msg::run(&copy(table), &[])
}

/// A table whose COPY a statement trigger stops after the server has asked for data.
fn with_trigger(name: &str) {
    fresh(&format!(
        "drop table if exists {name}; create table {name} (n int);
         create or replace function refuse() returns trigger language plpgsql as
         $$ begin raise exception 'refused by trigger'; end $$;
         create trigger refuse before insert on {name} for each statement execute function refuse()"
    ));
}

fn table(name: &str) {
    fresh(&format!("drop table if exists {name}; create table {name} (n int)"));
}

scripts! {
    t62_one_string_of_statements_stops_at_its_error => |s: &mut Stage<'_>| {
        s.query("A", "select 1; select 2; select 1/0; select 3");
        s.lives("A");
    };
    t63_empty_queries_are_answered => |s: &mut Stage<'_>| {
        for sql in ["", ";", "-- nothing", "/* nothing */"] {
            s.query("A", sql);
        }
        s.ask("A", &[msg::run("", &[]), msg::sync()].concat());
    };
    t65_notices_pass => |s: &mut Stage<'_>| {
        s.query("A", "do $$ begin raise notice 'heard'; end $$");
        s.ask("A", &[msg::run("do $$ begin raise warning 'also'; end $$", &[]), msg::sync()].concat());
    };
    t37_a_transaction_is_one_whatever_happens_in_it => |s: &mut Stage<'_>| {
        s.query("A", "begin");
        s.query("A", "select 1/0");
        s.query("A", "select 2");
        s.ask("A", &[msg::run("select 3", &[]), msg::sync()].concat());
        s.query("A", "commit");
        s.query("A", "begin; select 1; commit; begin; select 2");
        s.query("A", "savepoint x; select 1/0");
        s.query("A", "rollback to x");
        s.query("A", "commit and chain");
        s.query("A", "rollback");
        s.lives("B");
    };
    r36_flush_without_anything_is_silent => |s: &mut Stage<'_>| {
        s.say("A", &msg::flush());
        s.silence("A");
        s.lives("A");
    };
    r37_portals_live_to_the_end_of_their_transaction => |s: &mut Stage<'_>| {
        let three = "select generate_series(1, 3)";
        s.say("A", &[msg::parse("", three), msg::bind("c", "", &[]), msg::execute("c", 2), msg::flush()].concat());
        s.until("A", b's');
        s.ask("A", &[msg::execute("c", 2), msg::sync()].concat());
        s.ask("A", &[msg::execute("c", 2), msg::sync()].concat());
        s.query("A", "begin");
        s.ask("A", &[msg::parse("", three), msg::bind("c", "", &[]), msg::execute("c", 1), msg::sync()].concat());
        s.ask("A", &[msg::execute("c", 1), msg::sync()].concat());
        s.ask("A", &[msg::describe(b'P', "c"), msg::execute("c", 0), msg::sync()].concat());
        s.query("A", "commit");
        s.ask("A", &[msg::execute("c", 1), msg::sync()].concat());
    };
    r38_every_sync_has_its_answer => |s: &mut Stage<'_>| {
        s.ask("A", &msg::sync());
        s.say("A", &msg::sync().repeat(5));
        s.ready("A", 5);
        s.say("A", &[msg::sync(), msg::query("select 1"), msg::sync(), msg::run("select 2", &[]), msg::sync()].concat());
        s.ready("A", 4);
        s.silence("A");
    };
    r39_f45_a_query_inside_an_open_batch => |s: &mut Stage<'_>| {
        s.say("A", &[msg::run("select 1", &[]), msg::query("select 2"), msg::run("select 3", &[]), msg::sync()].concat());
        s.ready("A", 2);
        s.silence("A");
        s.lives("B");
        // In a batch that has failed it is skipped like the rest.
        s.say("A", &[msg::run("select 1/0", &[]), msg::query("select 2"), msg::sync(), msg::query("select 3")].concat());
        s.ready("A", 2);
        s.silence("A");
        // The open portal ends with the query.
        let batch = [msg::parse("q", "select generate_series(1, 3)"), msg::bind("c", "q", &[]), msg::execute("c", 1)];
        s.say("A", &[batch.concat(), msg::query("select 2"), msg::execute("c", 1), msg::sync()].concat());
        s.ready("A", 2);
        s.lives("A");
    };
    r19_r20_after_an_error_all_is_skipped_to_the_sync => |s: &mut Stage<'_>| {
        s.say("A", &[msg::run("select 1/0", &[]), msg::flush()].concat());
        s.until("A", b'E');
        s.say("A", &[msg::run("select 2", &[]), msg::flush(), msg::query("select 3")].concat());
        s.silence("A");
        s.ask("A", &msg::sync());
        s.lives("A");
        s.say("A", &[msg::run("select 1/0", &[]), msg::flush()].concat());
        s.until("A", b'E');
        s.say("A", &msg::any(b'~', &[]));
        s.end("A");
    };
    r21_the_commit_at_sync_can_fail => |s: &mut Stage<'_>| {
        fresh("drop table if exists r21b, r21a; create table r21a (n int primary key);
               create table r21b (n int references r21a deferrable initially deferred)");
        s.ask("A", &[msg::run("insert into r21b values (1)", &[]), msg::sync()].concat());
        s.query("A", "insert into r21b values (1)");
        s.lives("A");
    };
    r28_b25_copy_messages_outside_a_copy_are_ignored => |s: &mut Stage<'_>| {
        for late in [msg::copy_data("A"), msg::copy_done(), msg::copy_fail("a")] {
            s.say("A", &late);
            s.silence("A");
        }
        s.ask("A", &[msg::copy_done(), msg::query("select 1"), msg::copy_data("x"), msg::copy_fail("y")].concat());
        s.ask("A", &[msg::parse("", "select 2"), msg::copy_data("x"), msg::bind("", "", &[]), msg::copy_done(),
            msg::execute("", 0), msg::sync()].concat());
        s.silence("A");
        s.lives("B");
    };
    copy_in_and_out_by_both_protocols => |s: &mut Stage<'_>| {
        table("cio");
        s.say("A", &msg::query(&format!("select 0; {}; select 1", copy("cio"))));
        s.until("A", b'G');
        s.ask("A", &[msg::copy_data("1\n2"), msg::copy_data("\n"), msg::copy_done()].concat());
        s.ask("A", &[copy_by_execute("cio"), msg::copy_data("3\n"), msg::copy_done(), msg::sync()].concat());
        s.query("A", "copy cio to stdout");
        s.ask("A", &[msg::run("copy cio to stdout", &[]), msg::sync()].concat());
        s.query("A", "copy (select 1/(3-n) from cio) to stdout");
        s.lives("B");
    };
    r29_r31_a_copy_in_that_fails => |s: &mut Stage<'_>| {
        table("cf");
        s.say("A", &msg::query(&copy("cf")));
        s.until("A", b'G');
        s.ask("A", &msg::copy_fail("changed my mind"));
        s.say("A", &msg::query(&copy("cf")));
        s.until("A", b'G');
        s.ask("A", &[msg::copy_data("not a number\n"), msg::copy_data("1\n"), msg::copy_done()].concat());
        s.silence("A");
        s.say("A", &[copy_by_execute("cf"), msg::flush()].concat());
        s.until("A", b'G');
        s.ask("A", &[msg::copy_data("x\n"), msg::copy_done(), msg::sync()].concat());
        s.silence("A");
        s.query("B", "select count(*) from cf");
    };
    r32_messages_sent_during_copy_out_are_answered_after_it => |s: &mut Stage<'_>| {
        s.say("A", &[msg::query("copy (select generate_series(1, 3)) to stdout"), msg::copy_data("x"), msg::sync(),
            msg::query("select 1")].concat());
        s.ready("A", 3);
        s.silence("A");
    };
    b36_a_query_inside_copy_in_ends_the_connection => |s: &mut Stage<'_>| {
        table("b36");
        s.say("A", &msg::query(&copy("b36")));
        s.until("A", b'G');
        s.say("A", &msg::query("select 1"));
        s.end("A");
        s.query("B", "select count(*) from b36");
    };
    r33_terminate_inside_copy_in_stores_nothing => |s: &mut Stage<'_>| {
        table("r33");
        s.say("A", &msg::query(&copy("r33")));
        s.until("A", b'G');
        s.say("A", &[msg::copy_data("1\n"), msg::terminate()].concat());
        let (_, lost) = s.actor("A").drain(crate::common::raw::ANSWER);
        let ended = matches!(lost, Lost::Closed | Lost::Broken(_));
        s.note("A", if ended { "ended" } else { "did not end" });
        s.query("B", "select count(*) from r33");
    };
    b37_an_early_sync_is_answered_if_the_copy_had_failed_before_it => |s: &mut Stage<'_>| {
        with_trigger("b37");
        s.say("A", &[copy_by_execute("b37"), msg::sync()].concat());
        s.until("A", b'Z');
        s.say("A", &[msg::copy_data("1\n"), msg::copy_done()].concat());
        s.silence("A");
        s.ask("A", &msg::sync());
        s.silence("A");
        s.lives("B");
    };
    b38_an_early_sync_is_swallowed_by_the_copy => |s: &mut Stage<'_>| {
        table("b38");
        s.say("A", &[copy_by_execute("b38"), msg::sync(), msg::flush()].concat());
        s.until("A", b'G');
        s.silence("A");
        s.say("A", &[msg::copy_data("1\n"), msg::copy_done()].concat());
        s.ask("A", &msg::sync());
        s.silence("A");
        s.lives("B");
        s.query("B", "select count(*) from b38");
    };
    b26_a_hundred_thousand_syncs_unread_are_all_answered => |s: &mut Stage<'_>| {
        s.say("A", &msg::sync().repeat(100_000));
        s.say("A", &msg::flush().repeat(100_000));
        s.lives("B");
        let raw = s.actor("A");
        let answered = (0..100_000).take_while(|_| raw.next().is_ok_and(|m| m.brief() == "Z(I)")).count();
        s.note("A", &format!("{answered} answers"));
        s.silence("A");
        s.lives("A");
    };
}

#[test]
fn t37_a_bare_begin_leaves_one_backend_idle_in_transaction() {
    compare("t37_bare_begin", &|s: &mut Stage<'_>| {
        s.query("A", "begin");
        let states: Vec<_> = cluster().backends().into_iter().filter(|(_, state)| state != "idle").collect();
        let words: Vec<&str> = states.iter().map(|(_, state)| state.as_str()).collect();
        s.note("server", &words.join(" "));
        s.query("A", "rollback");
        let replies = s.actor("A").query("select 1");
        s.note("A", &brief(&replies));
    });
}

//! LISTEN and NOTIFY (T32, R44 to R46): what is heard, when, and by whom.

use crate::common::msg;
use crate::common::stage::Stage;
use crate::scripts;

/// The next notification, which must come; whatever comes with it is part of the story.
fn hears(stage: &mut Stage<'_>, name: &'static str) {
    stage.until(name, b'A');
}

scripts! {
    t32_an_idle_client_hears_at_once => |stage: &mut Stage<'_>| {
        stage.query("A", "listen news");
        for payload in ["first", "", "it''s third"] {
            stage.query("B", &format!("notify news, '{payload}'"));
            hears(stage, "A");
        }
        stage.query("B", "notify other, 'not for A'");
        stage.query("B", "select pg_notify('news', repeat('x', 7999))");
        hears(stage, "A");
        stage.lives("A");
    };
    t32_in_a_block_it_hears_at_the_end_of_the_block => |stage: &mut Stage<'_>| {
        stage.query("A", "listen news");
        for end in ["commit", "rollback", "select 1/0; commit"] {
            stage.query("A", "begin");
            stage.query("B", "notify news, 'in the block'");
            stage.query("B", "notify news, 'of A'");
            stage.silence("A");
            stage.query("A", "notify news, 'own'");
            stage.query("A", "select 1");
            stage.query("A", end);
            stage.query("A", "rollback");
            stage.silence("A");
        }
    };
    own_notifications_come_before_the_end_of_their_transaction => |stage: &mut Stage<'_>| {
        stage.query("A", "listen one");
        stage.query("A", "notify one, 'a'");
        stage.query("A", "select pg_notify('one', 'b')");
        stage.query("A", "notify one, 'c'; notify two, 'd'; notify one, 'e'");
        stage.query("A", "begin; listen two; notify two, 'f'; notify one, 'g'; commit");
        stage.query("A", "notify two, 'h'; notify one, 'i'");
        stage.query("A", "begin; listen three; notify three, 'j'; commit");
        stage.query("A", "notify one, 'k'; select 1/0");
        stage.query("A", "listen one; notify one, 'l'");
        stage.ask("A", &[msg::run("select pg_notify($1, $2)", &[Some("one"), Some("m")]), msg::sync()].concat());
        stage.silence("A");
    };
    duplicates_are_folded_as_postgresql_does => |stage: &mut Stage<'_>| {
        stage.query("A", "listen news");
        stage.query("B", "begin; notify news, 'x'; notify news, 'x'; notify news, 'y'; notify news, 'x'; commit");
        hears(stage, "A");
        hears(stage, "A");
        stage.query("B", "notify news, 'x'");
        hears(stage, "A");
        stage.silence("A");
    };
    what_is_unlistened_to_is_heard_no_more => |stage: &mut Stage<'_>| {
        let story = [
            ("listen a; listen \"B\"; listen \"q\"\"uote\"", "all three"),
            ("unlisten A", "B and q"),
            ("listen a", "all again"),
            ("unlisten b", "B is not b"),
            ("unlisten \"B\"; listen c", "without B"),
            ("begin; unlisten *; rollback", "nothing came of it"),
            ("begin; unlisten a; select 1/0|rollback", "nor of this"),
            ("begin; unlisten a; commit", "without a"),
            ("begin; unlisten *; listen d; commit", "only d"),
            ("begin; listen a; rollback", "still"),
            ("listen a; select 1/0", "still"),
            ("begin; savepoint s; listen a; rollback to s; listen c; commit", "c and d"),
            ("listen e; unlisten e", "as before"),
            ("unlisten never", "as before"),
            ("unlisten *", "nothing"),
            ("listen a", "a"),
            ("discard all", "nothing"),
            ("listen a", "a"),
        ];
        for (sql, meaning) in story {
            stage.note("A", meaning);
            for sql in sql.split('|') {
                stage.query("A", sql);
            }
            for name in ["a", "\"B\"", "\"q\"\"uote\"", "c", "d", "e"] {
                stage.query("B", &format!("notify {name}, '{meaning}'"));
            }
            stage.silence("A");
        }
    };
    in_a_block_unlisten_waits_for_the_commit => |stage: &mut Stage<'_>| {
        for end in ["rollback", "commit", "commit and chain", "rollback"] {
            stage.query("A", "listen a");
            stage.query("A", "begin");
            stage.query("A", "unlisten a");
            stage.query("A", end);
            stage.query("A", "rollback");
            stage.query("B", "notify a");
            stage.silence("A");
        }
    };
    the_extended_protocol_listens_too => |stage: &mut Stage<'_>| {
        let ask = |parts: &[Vec<u8>]| parts.concat();
        stage.ask("A", &ask(&[msg::run("listen a", &[]), msg::sync()]));
        stage.ask("A", &ask(&[msg::parse("l", "listen b"), msg::parse("u", "unlisten a"), msg::sync()]));
        stage.query("B", "notify a; notify b");
        hears(stage, "A");
        stage.ask("A", &ask(&[msg::bind("", "l", &[]), msg::execute("", 0), msg::sync()]));
        stage.query("B", "notify b");
        hears(stage, "A");
        stage.ask("A", &ask(&[msg::bind("", "u", &[]), msg::execute("", 0), msg::sync()]));
        stage.query("B", "notify a; notify b");
        hears(stage, "A");
        stage.silence("A");
    };
    a_pipeline_with_listen_and_notify_is_answered_in_order => |stage: &mut Stage<'_>| {
        let burst = ["listen a", "select 1", "notify a, 'x'", "select 2", "unlisten a", "notify a, 'y'", "select 3"];
        let simple: Vec<u8> = burst.iter().flat_map(|sql| msg::query(sql)).collect();
        stage.say("A", &simple);
        stage.ready("A", burst.len());
        let extended: Vec<u8> =
            burst.iter().flat_map(|sql| [msg::run(sql, &[]), msg::sync()].concat()).collect();
        stage.say("A", &extended);
        stage.ready("A", burst.len());
        stage.silence("A");
    };
    what_a_client_listened_to_goes_with_it => |stage: &mut Stage<'_>| {
        stage.query("A", "listen a");
        stage.leave("A");
        stage.query("B", "select 'in the same place'");
        stage.query("C", "notify a");
        stage.silence("B");
        stage.query("B", "select count(*) from pg_listening_channels()");
    };
}

//! Prepared statements that are too large to keep, too many, or lost behind our back.

use super::*;
use crate::session::extended::MAX_HELD_PARSE;
use crate::session::inflight::MAX_OWED;
use crate::session::names::{MAX_CLIENT_STATEMENT_BYTES, MAX_CLIENT_STATEMENTS};

fn large(name: &str) -> Vec<u8> {
    parse(name, &"x".repeat(MAX_HELD_PARSE))
}

fn tagged(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

/// Prepares each of these in a batch of its own.
fn prepared(talk: &mut Talk, statements: &[(&str, &str)]) {
    for (name, sql) in statements {
        talk.client(&all(&[parse(name, sql), sync()]));
        talk.server(&replies("1Z"));
    }
}

/// A client with a large statement `big`, which the server has.
fn pinned() -> Talk {
    let mut talk = Talk::transaction();
    assert_eq!(talk.client(&all(&[large("big"), sync()])).0, "P(pooler_1) S");
    assert_eq!(talk.server(&replies("1Z")), "1 Z(I)");
    assert!(talk.session.is_pinned() && !talk.at_rest(), "only this server has it");
    talk
}

#[test]
fn a_large_statement_binds_its_client_until_it_is_closed_on_the_server_too() {
    let mut talk = pinned();
    assert_eq!(talk.client(&all(&[bind("big"), execute(), sync()])).0, "B(pooler_1) E S");
    assert_eq!(talk.server(&replies("2DCZ")), "2 D C Z(I)");
    assert_eq!(talk.client(&all(&[close("big"), sync()])).0, "C(pooler_1) S");
    assert_eq!(talk.server(&replies("3Z")), "3 Z(I)");
    assert!(!talk.session.is_pinned() && talk.at_rest());
    assert_eq!((talk.session.statements(), talk.facts.statements.len()), (0, 0));
}

#[test]
fn a_large_statement_that_is_closed_in_its_own_batch_leaves_nothing() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[large("big"), bind("big"), execute(), close("big"), sync()]));
    assert_eq!(talk.server(&replies("12DC3Z")), "1 2 D C 3 Z(I)");
    assert!(talk.at_rest() && talk.facts.statements.is_empty());
}

#[test]
fn a_close_that_is_skipped_leaves_a_large_statement_usable() {
    let mut talk = pinned();
    talk.client(&all(&[bind("none"), close("big"), sync()]));
    assert_eq!(talk.server(&[error(*b"26000"), replies("Z")].concat()), "E(26000) Z(I)");
    assert!(talk.session.is_pinned());
    assert_eq!(talk.client(&all(&[bind("big"), sync()])).0, "B(pooler_1) S");
}

#[test]
fn a_large_statement_that_failed_binds_nobody() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[large("big"), sync()]));
    talk.server(&[error(*b"42601"), replies("Z")].concat());
    assert!(talk.at_rest());
    talk.client(&all(&[parse("", "bad"), large("big"), sync()]));
    talk.server(&[error(*b"42601"), replies("Z")].concat());
    assert!(talk.at_rest(), "skipped");
    assert!(talk.facts.statements.is_empty());
}

#[test]
fn deallocate_all_sets_the_client_of_a_large_statement_free() {
    for tag in ["DEALLOCATE ALL", "DISCARD ALL"] {
        let mut talk = pinned();
        talk.client(&query(tag));
        talk.server(&[tagged(tag), replies("Z")].concat());
        assert!(talk.at_rest() && talk.facts.statements.is_empty(), "{tag}");
    }
    let mut talk = pinned();
    talk.client(&query("discard plans"));
    talk.server(&[tagged("DISCARD PLANS"), replies("Z")].concat());
    assert!(talk.session.is_pinned(), "PostgreSQL only plans anew");
}

#[test]
fn a_large_statement_is_closed_when_its_client_has_gone() {
    let mut talk = pinned();
    let mut own = Outbox::default();
    assert!(matches!(talk.session.leave(&mut talk.facts, 0, 0, &mut own), Leave::Drain { cancel: false }));
    assert_eq!(words(&own.slices(&[]).flatten().copied().collect::<Vec<u8>>()), "C(pooler_1) S");
    assert_eq!(talk.server(&replies("3Z")), "");
    assert!(talk.facts.statements.is_empty());
    assert!(matches!(talk.session.leave(&mut talk.facts, 0, 0, &mut own), Leave::AtRest(_)));
}

#[test]
fn a_large_unnamed_statement_binds_its_client_as_long_as_it_lives() {
    let ends: [(&str, Vec<u8>, Vec<u8>); 5] = [
        ("query", query("select 1"), replies("TDCZ")),
        ("failed query", query("bad"), [error(*b"42601"), replies("Z")].concat()),
        ("close", all(&[close(""), sync()]), replies("3Z")),
        ("the next", all(&[parse("", "select 1"), sync()]), replies("1Z")),
        ("the next, failed", all(&[parse("", "bad"), sync()]), [error(*b"42601"), replies("Z")].concat()),
    ];
    for (what, sent, answer) in ends {
        let mut talk = Talk::transaction();
        talk.client(&all(&[large(""), bind(""), execute(), sync()]));
        talk.server(&replies("12DCZ"));
        assert!(talk.session.is_pinned() && !talk.at_rest(), "it survives Sync (R41)");
        talk.client(&sent);
        talk.server(&answer);
        assert!(talk.at_rest(), "{what}");
    }
}

#[test]
fn a_batch_of_local_replies_beyond_the_limit_asks_for_what_it_waits_for() {
    let mut talk = Talk::transaction();
    let closes = close("s").repeat(MAX_OWED + 10);
    let batch = all(&[parse("", "select 1"), closes]);
    let (server, client, taken) = talk.run(true, &batch);
    assert_eq!((words(&server).as_str(), words(&client).as_str()), ("P() H", ""));
    assert_eq!(taken.halt, Halt::Wait);
    let rest = &batch[taken.consumed..];
    assert_eq!(talk.run(true, rest).0, b"", "asked once");
    assert_eq!(talk.server(&replies("1")).split(' ').filter(|&w| w == "3").count(), MAX_OWED - 1);
    assert_eq!(talk.client(rest).1.split(' ').filter(|&w| w == "3").count(), 11);
    assert!(!talk.at_rest(), "the batch is still open");
    talk.client(&sync());
    talk.server(&replies("Z"));
    assert!(talk.at_rest());
}

#[test]
fn r33_copy_data_passes_whatever_is_owed() {
    let mut talk = Talk::transaction();
    talk.client(&query("copy t from stdin"));
    talk.server(&replies("G"));
    while !talk.session.inflight.is_full() {
        talk.client(&close("s"));
    }
    assert_eq!(talk.client(&all(&[message(b'd', b"1\n"), message(b'c', b"")])).0, "d c");
}

#[test]
fn texts_of_unnamed_statements_on_their_way_are_bounded() {
    let mut talk = Talk::transaction();
    let one = parse("", &"x".repeat(MAX_HELD_PARSE - 100));
    let batch = one.repeat(20);
    let (_, _, taken) = talk.run(true, &batch);
    assert_eq!(taken.halt, Halt::Wait);
    assert!(taken.consumed <= 5 * one.len(), "{}", taken.consumed / one.len());
    talk.server(&replies(&"1".repeat(taken.consumed / one.len())));
    assert!(talk.run(true, &batch[taken.consumed..]).2.consumed > 0, "and goes on with the answers");
}

#[test]
fn r53_r33_eviction_goes_out_where_no_copy_can_begin_and_its_reply_is_swallowed() {
    let mut talk = Talk::new(PoolMode::Transaction, 1);
    prepared(&mut talk, &[("a", "select 1"), ("b", "select 2")]);
    let (server, _) = talk.client(&all(&[bind("b"), execute(), sync()]));
    assert_eq!(server, "C(pooler_1) B(pooler_2) E S");
    assert_eq!(talk.server(&replies("32DCZ")), "2 D C Z(I)");
    assert_eq!(talk.facts.statements.len(), 1);
}

#[test]
fn r33_nothing_is_evicted_behind_an_execute() {
    let mut talk = Talk::new(PoolMode::Transaction, 1);
    prepared(&mut talk, &[("a", "select 1"), ("b", "select 2")]);
    let batch = all(&[parse("", "copy t from stdin"), bind(""), execute(), bind("b"), sync()]);
    assert_eq!(talk.client(&batch).0, "P() B() E B(pooler_2) S");
}

/// Drivers that parse, bind and execute in one batch never begin one with a Bind.
#[test]
fn r53_a_client_that_only_makes_new_statements_leaves_no_more_than_the_limit() {
    let mut talk = Talk::new(PoolMode::Transaction, 2);
    for i in 0..20 {
        let name = format!("s{i}");
        let batch =
            all(&[parse(&name, &format!("select {i}")), bind(&name), execute(), close(&name), sync()]);
        let (server, _) = talk.client(&batch);
        let evicted = if server.starts_with('C') { "3" } else { "" };
        assert_eq!(talk.server(&replies(&format!("{evicted}12DCZ"))), "1 2 D C 3 Z(I)");
    }
    assert!(talk.facts.statements.len() <= 3, "{}", talk.facts.statements.len());
}

/// A Bind waited for the answer to the Close before it, which stood in the server's buffer until the Sync behind it.
#[test]
fn r53_a_statement_evicted_and_wanted_in_one_batch_is_parsed_behind_its_close() {
    let mut talk = Talk::new(PoolMode::Transaction, 1);
    prepared(&mut talk, &[("a", "select 1"), ("b", "select 2")]);
    let (server, _) = talk.client(&all(&[bind("b"), bind("a"), sync()]));
    assert_eq!(server, "C(pooler_1) B(pooler_2) P(pooler_1) B(pooler_1) S");
    assert_eq!(talk.server(&replies("3212Z")), "2 2 Z(I)");
    assert_eq!(talk.facts.statements.len(), 2);
}

#[test]
fn a_statement_lost_on_the_server_costs_one_error_and_is_parsed_anew() {
    let mut talk = Talk::transaction();
    prepared(&mut talk, &[("a", "select 1"), ("b", "select 2")]);
    talk.client(&query("do $$ begin execute 'deallocate all'; end $$"));
    talk.server(&[tagged("DO"), replies("Z")].concat());
    talk.client(&all(&[bind("a"), execute(), sync()]));
    assert_eq!(talk.server(&[error(*b"26000"), replies("Z")].concat()), "E(26000) Z(I)");
    // The Close is no error where nothing is, and makes room where a function raised the code for reasons of its own.
    for (name, server) in [("a", "pooler_1"), ("b", "pooler_2")] {
        let sent = talk.client(&all(&[bind(name), execute(), sync()])).0;
        assert_eq!(sent, format!("C({server}) P({server}) B({server}) E S"));
        assert_eq!(talk.server(&replies("312DCZ")), "2 D C Z(I)");
        assert_eq!(talk.client(&all(&[bind(name), sync()])).0, format!("B({server}) S"));
        talk.server(&replies("2Z"));
    }
}

/// A client that was told that its statement does not exist makes it anew, and was told that it exists.
#[test]
fn a_statement_lost_on_the_server_may_be_made_anew_under_its_name() {
    let mut talk = Talk::transaction();
    prepared(&mut talk, &[("a", "select 1")]);
    talk.client(&all(&[bind("a"), sync()]));
    talk.server(&[error(*b"26000"), replies("Z")].concat());
    assert_eq!(
        talk.client(&all(&[parse("a", "select 2"), bind("a"), sync()])).0,
        "P(pooler_2) B(pooler_2) S"
    );
    assert_eq!(talk.server(&replies("12Z")), "1 2 Z(I)");
    talk.client(&all(&[parse("a", "select 3"), sync()]));
    assert_eq!(talk.server(&[error(*b"42P05"), replies("Z")].concat()), "E(42P05) Z(I)", "once");
}

#[test]
fn a_large_statement_lost_on_the_server_is_gone_and_binds_nobody() {
    let mut talk = pinned();
    talk.client(&all(&[bind("big"), sync()]));
    talk.server(&[error(*b"26000"), replies("Z")].concat());
    assert!(talk.at_rest() && talk.facts.statements.is_empty());
    assert_eq!(talk.client(&all(&[large("big"), sync()])).0, "P(pooler_2) S", "as in PostgreSQL");
}

#[test]
fn a_name_of_ours_that_somebody_took_is_closed_before_the_next_parse() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("a", "select 1"), sync()]));
    assert_eq!(talk.server(&[error(*b"42P05"), replies("Z")].concat()), "E(42P05) Z(I)");
    assert_eq!(talk.client(&all(&[parse("a", "select 1"), sync()])).0, "C(pooler_1) P(pooler_1) S");
    assert_eq!(talk.server(&replies("31Z")), "1 Z(I)");
}

#[test]
fn names_are_bounded_in_number_and_in_bytes_and_the_session_lives() {
    let text = "x".repeat(MAX_HELD_PARSE - 400);
    let fits = MAX_CLIENT_STATEMENT_BYTES / MAX_HELD_PARSE;
    for (text, fits) in [(text.as_str(), fits), ("select 1", MAX_CLIENT_STATEMENTS)] {
        let mut talk = Talk::transaction();
        for i in 0..fits {
            talk.client(&all(&[parse(&format!("s{i}"), text), sync()]));
            talk.server(&replies(if i == 0 { "1Z" } else { "Z" }));
        }
        assert_eq!(talk.session.statements(), fits);
        let (server, _) = talk.client(&all(&[parse("more", text), bind("more"), sync()]));
        assert!(server.starts_with("D(pooler_refused)"), "{server}");
        assert_eq!(talk.server(&[error(*b"26000"), replies("Z")].concat()), "E(54000) Z(I)");
        assert_eq!(talk.client(&all(&[close("s1"), parse("more", text), sync()])).1, "3 1", "room again");
        talk.server(&replies("Z"));
        talk.session.names.clear();
        assert!(
            talk.session.names.limit(b"s", MAX_CLIENT_STATEMENT_BYTES / 2).is_none(),
            "nothing is counted twice"
        );
    }
}

#[test]
fn r2_a_copy_whose_early_sync_was_swallowed_leaves_its_batch_open() {
    for (flush, passed) in [(message(b'H', b""), "d c H"), (Vec::new(), "d c")] {
        let mut talk = Talk::transaction();
        talk.client(&all(&[parse("", "copy t from stdin"), bind(""), execute(), sync()]));
        talk.server(&replies("12G"));
        let (server, _) = talk.client(&all(&[message(b'd', b"1\n"), message(b'c', b""), flush]));
        assert_eq!(server, passed, "r36: the client may wait for what a Flush forces out");
        assert_eq!(talk.server(&replies("C")), "C");
        assert!(!talk.at_rest(), "the implicit transaction is running");
        talk.client(&sync());
        talk.server(&replies("Z"));
        assert!(talk.at_rest());
    }
}

//! Each rule of reuse and reply accounting by an example.

use std::time::Duration;

use super::*;
use crate::proto::TxStatus;

#[test]
fn r2_a_flushed_batch_and_an_open_error_are_not_at_rest() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("", "select 1"), bind(""), execute(), message(b'H', b"")]));
    assert_eq!(talk.server(&replies("12DC")), "1 2 D C");
    assert!(!talk.at_rest(), "the implicit transaction is running");
    talk.client(&sync());
    assert_eq!(talk.server(&replies("Z")), "Z(I)");
    assert!(talk.at_rest());
    talk.client(&all(&[parse("", "bad")]));
    assert_eq!(talk.server(&error(*b"42601")), "E(42601)");
    assert!(!talk.at_rest(), "skipping until a Sync that has not been sent");
    talk.client(&sync());
    talk.server(&replies("Z"));
    assert!(talk.at_rest());
}

#[test]
fn r19_an_error_drops_what_is_owed_up_to_the_sync_and_names_of_skipped_parses() {
    let mut talk = Talk::transaction();
    let batch = all(&[parse("", "select 1/0"), bind(""), execute(), parse("k1", "select 2"), sync()]);
    talk.client(&batch);
    assert_eq!(talk.server(&[replies("12"), error(*b"22012"), replies("Z")].concat()), "1 2 E(22012) Z(I)");
    assert!(talk.at_rest());
    assert_eq!(talk.session.statements(), 0, "t24: a skipped Parse leaves no trace");
    let (server, _) = talk.client(&all(&[parse("k1", "select 2"), bind("k1"), execute(), sync()]));
    assert_eq!(server, "P(pooler_2) B(pooler_2) E S", "sent again, since this server has not got it");
    assert_eq!(talk.server(&replies("12DCZ")), "1 2 D C Z(I)");
}

#[test]
fn r17_local_replies_keep_their_place_among_the_servers() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("a", "select 1"), sync()]));
    talk.server(&replies("1Z"));
    let named = [parse("b", "select 1"), parse("c", "select 1"), close("a")].concat();
    let batch = all(&[parse("", "select 9"), bind(""), execute(), named, sync()]);
    let (server, client) = talk.client(&batch);
    let sent = "P() B() E C(pooler_1) P(pooler_1) S";
    assert_eq!((server.as_str(), client.as_str()), (sent, ""), "nothing is answered out of turn");
    assert_eq!(talk.server(&replies("12DC31Z")), "1 2 D C 1 1 3 Z(I)");
    assert_eq!(talk.session.statements(), 2);
}

#[test]
fn t21_t22_names_unknown_or_in_use_are_answered_as_postgresql_does() {
    let mut talk = Talk::transaction();
    let (server, _) = talk.client(&all(&[bind("nope"), execute(), sync()]));
    assert_eq!(server, "B(pooler_refused) E S", "the server has to fail as well");
    assert_eq!(talk.server(&[error(*b"26000"), replies("Z")].concat()), "E(26000) Z(I)");
    talk.client(&all(&[parse("s", "select 1"), sync()]));
    talk.server(&replies("1Z"));
    let (server, _) = talk.client(&all(&[parse("s", "select 2"), sync()]));
    assert_eq!(server, "P(pooler_1) C(pooler_1) S", "PostgreSQL looks at the text first");
    assert_eq!(talk.server(&[error(*b"42P05"), replies("Z")].concat()), "E(42P05) Z(I)");
    talk.client(&all(&[parse("s", "selekt"), sync()]));
    assert_eq!(talk.server(&[error(*b"42601"), replies("Z")].concat()), "E(42601) Z(I)");
    assert!(talk.at_rest());
}

#[test]
fn t18_t19_names_and_the_unnamed_statement_follow_the_client_to_another_server() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("s", "select 41"), parse("", "select 42"), sync()]));
    talk.server(&replies("11Z"));
    talk.session.unlink();
    talk.facts = ServerFacts { unnamed: Some(999), ..ServerFacts::default() };
    let (server, _) = talk.client(&all(&[bind("s"), bind(""), sync()]));
    assert_eq!(server, "P(pooler_1) B(pooler_1) P() B() S");
    assert_eq!(talk.server(&replies("1212Z")), "2 2 Z(I)", "our own Parses are not the client's");
}

#[test]
fn a_failed_parse_of_our_own_is_the_clients_error_in_the_place_of_its_bind() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("s", "select * from t"), sync()]));
    talk.server(&replies("1Z"));
    talk.facts = ServerFacts::default();
    talk.client(&all(&[bind("s"), execute(), sync()]));
    assert_eq!(talk.server(&[error(*b"42P01"), replies("Z")].concat()), "E(42P01) Z(I)");
    assert_eq!(talk.session.statements(), 1, "the name is still the client's");
    assert!(talk.facts.statements.is_empty());
}

#[test]
fn r52_a_name_whose_parse_may_have_failed_waits_for_the_answer() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("s", "select 1"), sync()]));
    let (_, _, taken) = talk.run(true, &bind("s"));
    assert_eq!(taken, Taken { consumed: 0, halt: Halt::Wait });
    talk.server(&replies("1Z"));
    assert_eq!(talk.client(&bind("s")).0, "B(pooler_1)");
}

#[test]
fn t26_deallocate_all_and_discard_all_forget_names_on_both_sides() {
    for tag in [&b"DEALLOCATE ALL\0"[..], b"DISCARD ALL\0"] {
        let mut talk = Talk::transaction();
        talk.client(&all(&[parse("z", "select 1"), sync()]));
        talk.server(&replies("1Z"));
        talk.client(&query("deallocate all"));
        talk.server(&[message(b'C', tag), replies("Z")].concat());
        assert_eq!((talk.session.statements(), talk.facts.statements.len()), (0, 0));
    }
}

#[test]
fn r38_three_segments_give_three_ready_and_only_the_last_is_rest() {
    let mut talk = Talk::transaction();
    let one = all(&[parse("", "select 1"), bind(""), execute(), sync()]);
    talk.client(&one.repeat(3));
    for _ in 0..2 {
        assert_eq!(talk.server(&replies("12DCZ")), "1 2 D C Z(I)");
        assert!(!talk.at_rest());
    }
    assert_eq!(talk.server(&[replies("12"), error(*b"22012"), replies("Z")].concat()), "1 2 E(22012) Z(I)");
    assert!(talk.at_rest());
}

#[test]
fn r27_r30_early_syncs_in_copy_in_are_voided_by_success_and_doubtful_after_failure() {
    let copy = all(&[parse("", "copy t from stdin"), bind(""), execute(), sync()]);
    let mut talk = Talk::transaction();
    talk.client(&copy);
    talk.server(&replies("12G"));
    talk.client(&all(&[message(b'd', b"1\n"), message(b'c', b""), sync()]));
    assert_eq!(talk.server(&replies("CZ")), "C Z(I)", "b38");
    assert!(talk.at_rest());

    let mut talk = Talk::transaction();
    talk.client(&copy);
    let failed = [replies("12G"), error(*b"P0001"), replies("Z")].concat();
    assert_eq!(talk.server(&failed), "1 2 G E(P0001) Z(I)");
    assert!(talk.at_rest(), "b37: as many Z as Syncs, so none was swallowed");

    let mut talk = Talk::transaction();
    talk.client(&copy);
    talk.client(&message(b'd', b"x\n"));
    assert_eq!(talk.server(&[replies("12G"), error(*b"22P02")].concat()), "1 2 G E(22P02)");
    talk.client(&all(&[message(b'c', b""), sync()]));
    assert_eq!(talk.server(&replies("Z")), "Z(I)");
    assert!(!talk.at_rest(), "one Z for two Syncs: which of them was answered?");
    talk.client(&query("select 1"));
    assert_eq!(talk.server(&replies("TDCZ")), "T D C Z(I)");
    assert!(talk.at_rest(), "a reply other than Z has fixed the position");
}

/// Seen: the end of the second COPY passed as one more end of the first, so that a Sync behind it was taken for one
/// that the second had swallowed, and its answer for one that nobody is owed.
#[test]
fn r27_each_of_several_copies_in_one_write_waits_for_its_own_beginning() {
    let run = || all(&[parse("", "copy t from stdin"), bind(""), execute()]);
    let end = || all(&[message(b'd', b"1\n"), message(b'c', b"")]);
    for second in [query("copy t from stdin"), run()] {
        let mut talk = Talk::transaction();
        talk.client(&query("copy t from stdin"));
        talk.server(&replies("G"));
        talk.client(&all(&[end(), second, message(b'd', b"2\n")]));
        let (_, _, taken) = talk.run(true, &message(b'c', b""));
        assert_eq!(taken.halt, Halt::Wait, "it is not the first COPY that this ends");
        talk.server(&replies("CZ"));
        talk.server(&replies(if talk.session.inflight.copy_is_simple() { "G" } else { "12G" }));
        talk.client(&all(&[message(b'c', b""), sync()]));
        let simple = talk.session.inflight.copy_is_simple();
        assert!(talk.server(&replies(if simple { "CZZ" } else { "CZ" })).ends_with("Z(I)"));
        assert!(talk.at_rest());
    }
    // Two of them in one text.
    let mut talk = Talk::transaction();
    talk.client(&query("copy t from stdin; copy t from stdin"));
    talk.server(&replies("G"));
    talk.client(&end());
    assert_eq!(talk.run(true, &message(b'c', b"")).2.halt, Halt::Wait);
    talk.server(&replies("CG"));
    talk.client(&all(&[message(b'c', b""), sync()]));
    talk.server(&replies("CZZ"));
    assert!(talk.at_rest());
    // One end too many.
    let mut talk = Talk::transaction();
    talk.client(&run());
    talk.server(&replies("12G"));
    talk.client(&all(&[end(), end(), sync()]));
    talk.server(&replies("CZ"));
    assert!(talk.at_rest());
}

#[test]
fn r28_b25_late_copy_messages_go_nowhere_and_need_no_server() {
    let mut talk = Talk::transaction();
    talk.linked = false;
    let late = all(&[message(b'd', b"x"), message(b'c', b""), message(b'f', b"a\0"), message(b'H', b"")]);
    assert_eq!(talk.client(&late), (String::new(), String::new()));
    assert_eq!(talk.client(&sync()), (String::new(), "Z(I)".into()), "r38: a bare Sync gives a Z");
    let (_, _, taken) = talk.run(true, &query("select 1"));
    assert_eq!(taken.halt, Halt::NeedServer);
}

#[test]
fn r16_replies_that_nobody_is_owed_close_the_server() {
    for surplus in ["Z", "C", "D", "1", "T"] {
        let mut talk = Talk::transaction();
        talk.client(&query("select 1"));
        talk.server(&replies("TDCZ"));
        assert!(matches!(talk.server_halt(&replies(surplus)), Halt::End(SessionError::ServerPosition(_))));
    }
    for bad in [&b"Z\0\0\0\x05X"[..], b"Z\0\0\0\x04", b"1\0\0\0\x03"] {
        let mut talk = Talk::transaction();
        talk.client(&query("select 1"));
        assert!(matches!(talk.server_halt(bad), Halt::End(_)), "b21");
    }
}

#[test]
fn r22_a_fatal_reaches_the_client_once_and_ends_everything() {
    let mut fatal = Vec::new();
    PgError::fatal(SqlState::ADMIN_SHUTDOWN, "terminating").put(&mut fatal);
    let mut talk = Talk::transaction();
    talk.client(&query("select 1"));
    let (_, client, taken) = talk.run(false, &fatal);
    assert_eq!(words(&client), "E(57P01)");
    let Halt::End(end) = taken.halt else { panic!("{taken:?}") };
    assert_eq!(end.for_client(), None, "c14d: not a second error of ours");
}

#[test]
fn r39_a_query_inside_an_open_batch_ends_it_but_its_sync_is_still_owed() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("", "select 1"), bind(""), execute(), query("select 2"), sync()]));
    talk.server(&replies("12DCTDCZ"));
    assert!(!talk.at_rest());
    talk.server(&replies("Z"));
    assert!(talk.at_rest());
}

#[test]
fn parameters_that_differ_are_set_first_and_the_client_waits_for_it() {
    let mut talk = Talk::transaction();
    let zone = talk.names.index(b"TimeZone").unwrap();
    let mut wanted = ParamSet::default();
    wanted.set(zone, b"UTC");
    talk.session = Session::new(
        Rules { mode: PoolMode::Transaction, max_prepared: 10, session_state: SessionState::PgBouncer },
        wanted,
    );
    talk.facts.params.set(zone, b"CET");
    let (mut to_server, mut to_client) = (Outbox::default(), Outbox::default());
    talk.session.link(&mut Turn {
        now: talk.now,
        facts: Some(&mut talk.facts),
        catalog: &mut talk.catalog,
        names: &talk.names,
        pins: &talk.pins,
        to_server: &mut to_server,
        to_client: &mut to_client,
    });
    let sent: Vec<u8> = to_server.slices(&[]).flatten().copied().collect();
    assert_eq!(words(&sent), "P() B() E S");
    assert_eq!(talk.run(true, &query("select 1")).2, Taken { consumed: 0, halt: Halt::Wait });
    assert!(!talk.session.is_running(), "f39: a cancel must not hit our own exchange");
    let left = talk.session.leave(&mut talk.facts, 0, 0, &mut Outbox::default());
    assert!(matches!(left, Leave::Drain { cancel: false }), "not even when the client goes");
    let done = [replies("12DC"), message(b'S', b"TimeZone\0UTC\0"), replies("Z")].concat();
    assert_eq!(talk.server(&done), "", "t9: what we set is no news");
    assert_eq!(talk.client(&query("select 1")).0, "Q");
    assert_eq!(talk.facts.params.value(zone), Some(&b"UTC"[..]));
}

#[test]
fn r11_each_position_has_its_way_back() {
    let step = |talk: &mut Talk| {
        let mut own = Outbox::default();
        let leave = talk.session.leave(&mut talk.facts, 0, 0, &mut own);
        (format!("{leave:?}"), words(&own.slices(&[]).flatten().copied().collect::<Vec<u8>>()))
    };
    let mut talk = Talk::transaction();
    assert!(step(&mut talk).0.starts_with("AtRest"));
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    assert_eq!(step(&mut talk), ("Drain { cancel: false }".into(), "Q".into()), "rolled back");
    assert_eq!(talk.server(&replies("CZ")), "", "and nobody hears of it");
    assert!(step(&mut talk).0.starts_with("AtRest"));
    talk.client(&query("select pg_sleep(9)"));
    assert_eq!(step(&mut talk), ("Drain { cancel: true }".into(), String::new()));
    let mut talk = Talk::transaction();
    talk.client(&query("copy t from stdin"));
    talk.server(&replies("G"));
    assert_eq!(step(&mut talk), ("Drain { cancel: false }".into(), "f".into()), "r34: never CopyDone");
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("", "copy t from stdin"), bind(""), execute(), sync()]));
    talk.server(&replies("12G"));
    assert_eq!(step(&mut talk), ("Close".into(), String::new()), "r30: who knows what became of the Sync");
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("", "select 1"), bind("")]));
    assert_eq!(step(&mut talk), ("Drain { cancel: true }".into(), "Q S".into()), "r69: not committed");
    talk.server(&replies("12CZZ"));
    assert!(step(&mut talk).0.starts_with("AtRest"));
    talk.client(&all(&[parse("", "selec"), bind("")]));
    talk.server(&error(*b"42601"));
    assert_eq!(step(&mut talk), ("Drain { cancel: false }".into(), "S".into()), "a Query would be skipped");
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("", "copy t to stdout"), bind(""), execute(), message(b'H', b"")]));
    talk.server(&replies("12Hd"));
    assert_eq!(step(&mut talk), ("Drain { cancel: true }".into(), "Q S".into()), "what is left needs a Sync");
    let mut talk = Talk::transaction();
    talk.client(&query("select 1")[..9]);
    assert_eq!(step(&mut talk).0, "Close", "r10: half a message");
}

#[test]
fn statement_mode_refuses_transaction_blocks() {
    let mut talk = Talk::new(PoolMode::Statement, 10);
    talk.client(&query("begin"));
    assert_eq!(talk.server_halt(&replies("Cz")), Halt::End(SessionError::BlockInStatementMode));
}

#[test]
fn session_mode_changes_no_name_and_keeps_its_server() {
    let mut talk = Talk::new(PoolMode::Session, 10);
    let (server, _) = talk.client(&all(&[parse("s", "select 1"), bind("s"), execute(), close("s"), sync()]));
    assert_eq!(server, "P(s) B(s) E C(s) S");
    talk.server(&replies("12DC3Z"));
    assert!(!talk.at_rest() && talk.session.release_after_end(0, 0).is_some());
}

#[test]
fn r25_a_batch_without_a_server_is_answered_once_and_dropped_to_its_sync() {
    let mut talk = Talk::transaction();
    talk.linked = false;
    let batch = all(&[parse("s", "select 1"), bind("s"), execute()]);
    assert_eq!(talk.run(true, &batch).2, Taken { consumed: 0, halt: Halt::NeedServer });
    let mut out = Outbox::default();
    let header = FrameHeader::frontend(&batch).unwrap().unwrap();
    let error = PgError::error(SqlState::TOO_MANY_CONNECTIONS, "query_wait_timeout");
    assert_eq!(talk.session.refuse_batch(&error, header, batch.len(), &mut out), 0);
    assert_eq!(talk.client(&[batch, sync()].concat()), (String::new(), "Z(I)".into()));
    assert_eq!(talk.session.statements(), 0);
}

#[test]
fn counters_count_requests_and_transactions_as_pgbouncer_does() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[query("begin"), query("select 1")]));
    talk.now += Duration::from_millis(3);
    talk.server(&replies("CzTDCz"));
    talk.client(&query("commit"));
    talk.server(&replies("CZ"));
    let tally = talk.session.take_tally();
    assert_eq!((tally.xacts, tally.queries), (1, 2), "overlapping requests count once");
    assert_eq!((tally.xact_us, tally.query_us), (3000, 3000));
    assert_eq!(talk.session.tx(), TxStatus::Idle);
}

/// A client that pipelines without pause never had its request end, so its first one grew old and was cancelled.
#[test]
fn the_clock_of_a_request_starts_anew_with_each_answer_of_a_pipeline() {
    let mut talk = Talk::transaction();
    let one = all(&[parse("", "select 1"), bind(""), execute(), sync()]);
    talk.client(&one);
    for _ in 0..100 {
        talk.client(&one); // the next is there before the last is answered
        let began = talk.now;
        talk.now += Duration::from_millis(7);
        assert_eq!(talk.session.request_since(), Some(began), "an old request is seen to be old");
        talk.server(&replies("12DCZ"));
        assert_eq!(talk.session.request_since(), Some(talk.now));
    }
    talk.server(&replies("12DCZ"));
    assert_eq!(talk.session.request_since(), None);
    assert_eq!(talk.session.take_tally().query_us, 700_000, "each counted, none twice");
}

#[test]
fn r17_a_reply_made_here_waits_for_the_end_of_the_message_under_way() {
    let mut talk = Talk::transaction();
    talk.client(&all(&[parse("", "select 1"), message(b'D', b"S\0"), message(b'H', b"")]));
    let row = message(b'T', &[7; 60]);
    assert_eq!(talk.run(false, &[replies("1t"), row[..20].to_vec()].concat()).1.len(), 30);
    assert_eq!(talk.client(&close("x")), (String::new(), String::new()), "not into the middle of it");
    let (_, client, _) = talk.run(false, &row[20..]);
    assert_eq!(client, [&row[20..], &replies("3")].concat());
}

//! Batches of our own that fail, and clients that leave while one is under way.

use super::*;

fn canceled() -> Vec<u8> {
    [error(*b"57014"), replies("Z")].concat()
}

/// A client that is linked to a server on which its setting has to be put in force.
fn linking() -> (Talk, Vec<u8>) {
    let mut talk = with_startup(&[("work_mem", "9MB")], &[]);
    let sent = talk.act(Session::link).0;
    assert!(String::from_utf8_lossy(&sent).contains("9MB"));
    (talk, sent)
}

#[test]
fn f39_a_late_cancel_that_hits_our_own_batch_is_for_nobody_and_the_batch_is_sent_again() {
    let (mut talk, sent) = linking();
    for _ in 0..3 {
        let (again, heard, _) = talk.run(false, &canceled());
        assert_eq!((&again, heard.as_slice()), (&sent, &b""[..]));
        assert_eq!(talk.run(true, &query("select 1")).2.halt, Halt::Wait);
    }
    assert_eq!(talk.server(&replies("12DCZ")), "");
    assert_eq!(talk.facts.settings.get(b"work_mem"), Some(&b"9MB"[..]));
    assert_eq!(talk.client(&query("select 1")).0, "Q");
}

#[test]
fn a_batch_that_is_cancelled_again_and_again_is_given_up() {
    let (mut talk, _) = linking();
    for _ in 0..3 {
        talk.run(false, &canceled());
    }
    assert!(matches!(talk.server_halt(&canceled()), Halt::End(SessionError::Parameter(_))));
}

#[test]
fn f39_a_question_that_was_cancelled_is_asked_again() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("do 'begin end'"));
    talk.server(&replies("CZ"));
    let asked = talk.act(Session::ask_survey).0;
    let (again, heard, _) = talk.run(false, &[replies("12D"), canceled()].concat());
    assert_eq!((again, heard), (asked, Vec::new()));
    talk.server(&replies("12CZ"));
    assert!(talk.at_rest(), "nothing was found, and what came before the error does not count");
}

#[test]
fn t8_a_cancel_that_hits_the_restoring_in_a_block_is_the_clients_error() {
    let mut talk = with_startup(&[("work_mem", "9MB")], &[]);
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    talk.client(&query("reset work_mem"));
    let (sent, heard, _) = talk.run(false, &[done("RESET"), replies("z")].concat());
    assert!(String::from_utf8_lossy(&sent).contains("9MB") && words(&heard) == "C");
    assert_eq!(talk.server(&[error(*b"57014"), replies("x")].concat()), "E(57014) Z(E)");
    assert_eq!(talk.client(&query("rollback")).0, "Q");
}

#[test]
fn a_reset_counts_when_it_is_bound_not_when_it_is_parsed() {
    let mut talk = with_startup(&[("work_mem", "9MB")], &[]);
    talk.client(&all(&[parse("", "reset work_mem"), sync()]));
    let (sent, heard, _) = talk.run(false, &replies("1Z"));
    assert_eq!((sent.as_slice(), words(&heard).as_str()), (&b""[..], "1 Z(I)"));
    talk.client(&all(&[bind(""), execute(), sync()]));
    let (sent, heard, _) = talk.run(false, &[replies("2"), done("RESET"), replies("Z")].concat());
    assert!(String::from_utf8_lossy(&sent).contains("9MB") && words(&heard) == "2 C");
}

#[test]
fn t8_in_session_mode_a_prepared_reset_goes_back_to_the_startup_values_each_time_it_is_bound() {
    let startup = with_startup(&[("work_mem", "9MB")], &[]);
    let mut talk = Talk::new(PoolMode::Session, 0);
    talk.session = startup.session;
    talk.session.rules.mode = PoolMode::Session;
    talk.client(&all(&[parse("r", "discard all"), sync()]));
    assert_eq!(talk.server(&replies("1Z")), "1 Z(I)");
    for _ in 0..2 {
        assert_eq!(talk.run(true, &bind("r")[..7]).2.consumed, 0, "its name is not there yet");
        talk.client(&all(&[bind("r"), execute(), sync()]));
        let (sent, heard, _) = talk.run(false, &[replies("2"), done("RESET"), replies("Z")].concat());
        assert!(String::from_utf8_lossy(&sent).contains("9MB") && words(&heard) == "2 C");
        assert_eq!(talk.server(&replies("12DCZ")), "Z(I)");
    }
    talk.client(&all(&[parse("r", "select 1"), sync(), bind("r"), execute(), sync()]));
    assert_eq!(talk.server(&replies("1Z2CZ")), "1 Z(I) 2 C Z(I)", "the name means something else now");
}

#[test]
fn r11_for_a_client_that_has_left_nothing_more_is_begun() {
    let mut talk = with_startup(&[("work_mem", "9MB")], &[]);
    talk.client(&query("reset work_mem"));
    let leave = talk.session.leave(&mut talk.facts, 0, 0, &mut Outbox::default());
    assert!(matches!(leave, Leave::Drain { cancel: true }));
    let (sent, _, _) = talk.run(false, &[done("RESET"), replies("Z")].concat());
    assert_eq!(words(&sent), "", "its startup values are wanted by nobody any more");

    let mut talk = super::talk(SessionState::Clean);
    talk.client(&query("create temp table t ()"));
    talk.server(&replies("CZ"));
    talk.survey();
    let leave = talk.session.leave(&mut talk.facts, 0, 0, &mut Outbox::default());
    assert!(matches!(leave, Leave::Drain { cancel: false }));
    let mut found = replies("12");
    found.extend(message(b'D', b"\0\x03\0\0\0\x04temp\xff\xff\xff\xff\xff\xff\xff\xff"));
    let (sent, _, _) = talk.run(false, &[found, replies("CZ")].concat());
    assert_eq!(words(&sent), "");
    let mut own = Outbox::default();
    let leave = talk.session.leave(&mut talk.facts, 0, 0, &mut own);
    assert!(matches!(leave, Leave::Drain { cancel: false }), "PostgreSQL discards it");
    let sent: Vec<u8> = own.slices(&[]).flatten().copied().collect();
    assert!(String::from_utf8_lossy(&sent).contains("DISCARD ALL"));
}

#[test]
fn c6_a_batch_is_not_said_again_for_a_client_that_has_left() {
    let mut talk = talk(SessionState::Track);
    talk.client(&all(&[parse("p", "select * from t"), sync()]));
    talk.server(&replies("1Z"));
    talk.client(&all(&[bind("p"), execute(), sync()]));
    let stale = message(b'E', b"SERROR\0VERROR\0C0A000\0Mplan\0RRevalidateCachedQuery\0\0");
    talk.run(false, &stale);
    talk.session.leave(&mut talk.facts, 0, 0, &mut Outbox::default());
    let (sent, _, _) = talk.run(false, &replies("Z"));
    assert_eq!(words(&sent), "");
    assert!(talk.session.is_drained());
}

#[test]
fn c6_a_batch_with_a_reset_behind_the_stale_plan_is_said_again_as_a_whole() {
    let mut talk = with_startup(&[("lock_timeout", "9s")], &[]);
    talk.client(&all(&[parse("p", "select * from t"), parse("r", "reset lock_timeout"), sync()]));
    talk.server(&replies("11Z"));
    talk.client(&all(&[bind("p"), execute(), bind("r"), execute(), sync()]));
    let stale = message(b'E', b"SERROR\0VERROR\0C0A000\0Mplan\0RRevalidateCachedQuery\0\0");
    let (sent, heard, _) = talk.run(false, &[stale, replies("Z")].concat());
    assert_eq!(words(&heard), "");
    assert_eq!(words(&sent), "C(pooler_1) P(pooler_1) B(pooler_1) E B(pooler_2) E S");
    let (sent, heard, _) = talk.run(false, &[replies("312DC2"), done("RESET"), replies("Z")].concat());
    assert!(String::from_utf8_lossy(&sent).contains("9s") && words(&heard) == "2 D C 2 C");
    assert_eq!(talk.server(&replies("12DCZ")), "Z(I)");
}

#[test]
fn what_is_created_while_the_search_path_has_the_temporary_schema_is_asked_about_on_every_server() {
    let mut talk = with_startup(&[("search_path", "pg_temp, public")], &[]);
    talk.act(Session::link);
    talk.server(&replies("12DCZ"));
    talk.client(&query("create table t (a int)"));
    talk.server(&replies("CZ"));
    assert!(!talk.at_rest());
    assert!(talk.survey().contains("pg_my_temp_schema"));
    talk.answer(&[["temp", "", ""]]);
    assert_eq!(talk.session.pinned_for(), PinReasons::TEMPORARY);
}

#[test]
fn t30_by_policy_the_server_is_asked_after_every_transaction() {
    let mut talk = talk(SessionState::Verify);
    talk.act(Session::link);
    talk.client(&query("select fills_a_temporary_table()"));
    talk.server(&replies("TDCZ"));
    assert!(!talk.at_rest());
    assert!(talk.survey().contains("pg_my_temp_schema"));
    talk.answer(&[["temp", "", ""]]);
    assert_eq!(talk.session.pinned_for(), PinReasons::TEMPORARY);
    talk.client(&query("select takes_a_lock()"));
    talk.server(&replies("TDCZ"));
    talk.client(&query("drop table t"));
    talk.server(&replies("CZ"));
    assert!(talk.survey().contains("pg_locks"), "before it lets the server go, all is asked");
}

/// What the client says while the server is asked waits for the answer, and runs on that server: nobody links it anew.
#[test]
fn t30_what_waits_for_the_answer_is_a_transaction_to_ask_about_too() {
    let mut talk = talk(SessionState::Verify);
    talk.act(Session::link);
    talk.client(&query("select harmless()"));
    talk.server(&replies("TDCZ"));
    assert!(talk.survey().contains("pg_my_temp_schema"));
    assert_eq!(talk.run(true, &query("select takes_a_lock()")).2.halt, Halt::Wait);
    talk.answer(&[]);
    talk.client(&query("select takes_a_lock()"));
    talk.server(&replies("TDCZ"));
    assert!(!talk.at_rest() && talk.survey().contains("pg_locks"));
}

#[test]
fn who_a_function_has_made_of_the_session_shows_in_its_report() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("select becomes_bob()"));
    talk.server(&[replies("TDC"), status("is_superuser", "off"), replies("Z")].concat());
    assert!(!talk.at_rest(), "it is asked who it is");
    talk.survey();
    talk.answer(&[["set", "role", "bob"]]);
    assert!(talk.at_rest());
    assert!(talk.relink().contains("bob"));
    assert_eq!(talk.server(&[replies("12DC"), status("is_superuser", "off"), replies("Z")].concat()), "");
    assert!(talk.at_rest(), "what our own batch brings about asks nothing");
}

#[test]
fn t8_a_startup_value_that_a_block_of_code_has_reset_is_put_in_force_again_at_once() {
    let mut talk = with_startup(&[("work_mem", "9MB")], &[]);
    talk.client(&query("do 'begin reset work_mem; end'"));
    talk.server(&replies("CZ"));
    talk.survey();
    let (sent, _, _) = talk.run(false, &replies("12CZ"));
    assert!(String::from_utf8_lossy(&sent).contains("9MB"));
    assert_eq!(talk.server(&replies("12DCZ")), "");
    assert!(talk.at_rest());
}

#[test]
fn our_own_statements_do_not_wait_for_a_moment_without_writers() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("set session characteristics as transaction deferrable"));
    talk.server(&replies("CZ"));
    assert!(talk.survey().contains("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE"));
    assert_eq!(talk.server(&replies("12C12CZ")), "");
}

#[test]
fn a_cursor_that_is_closed_as_a_portal_is_asked_about() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("declare c cursor with hold for select 1"));
    talk.server(&replies("CZ"));
    talk.survey();
    talk.answer(&[["cursor", "", ""]]);
    talk.client(&all(&[message(b'C', b"Pc\0"), sync()]));
    talk.server(&replies("3Z"));
    assert!(talk.survey().contains("pg_cursors"));
    talk.answer(&[]);
    assert!(talk.at_rest());
}

#[test]
fn by_policy_a_library_stays_where_all_else_is_cleaned() {
    let mut talk = talk(SessionState::Clean);
    talk.client(&query("load 'auto_explain'"));
    talk.server(&replies("CZ"));
    talk.client(&query("create temp table t ()"));
    talk.server(&replies("CZ"));
    talk.survey();
    talk.answer(&[["temp", "", ""]]);
    assert_eq!(talk.server(&replies("12C12C12DC12CZ")), "");
    assert_eq!(talk.session.pinned_for(), PinReasons::LIBRARY);
    assert!(!talk.at_rest());
}

#[test]
fn by_policy_what_is_being_cleaned_is_no_pin() {
    let mut talk = super::talk(SessionState::Clean);
    talk.client(&query("create temp table t ()"));
    talk.server(&replies("CZ"));
    talk.survey();
    talk.answer(&[["temp", "", ""]]);
    assert!(talk.session.pin_state().is_empty() && !talk.at_rest());
    talk.server(&replies("12C12C12DC12CZ"));
    assert!(talk.at_rest());
}

#[test]
fn t8_in_a_block_startup_values_come_back_without_a_snapshot() {
    let mut talk = with_startup(&[("work_mem", "9MB")], &[]);
    talk.client(&query("begin"));
    talk.server(&[done("BEGIN"), message(b'Z', b"T")].concat());
    talk.client(&query("reset work_mem"));
    let (sent, heard, _) = talk.run(false, &[done("RESET"), message(b'Z', b"T")].concat());
    assert!(String::from_utf8_lossy(&sent).contains(r#"SET "work_mem" TO E'9MB'"#));
    assert_eq!(words(&heard), "C");
    assert_eq!(talk.server(&[replies("12C"), message(b'Z', b"T")].concat()), "Z(T)");
}

#[test]
fn t8_what_a_reset_role_reports_is_told_as_of_the_role_of_the_startup_packet() {
    let on = || status("is_superuser", "on");
    let off = || status("is_superuser", "off");
    let mut talk = with_startup(&[("role", "bob")], &[(8, "off")]);
    talk.client(&query("reset role"));
    let (sent, heard, _) = talk.run(false, &[done("RESET"), on(), replies("Z")].concat());
    assert!(String::from_utf8_lossy(&sent).contains("role") && words(&heard) == "C");
    assert_eq!(talk.server(&[replies("12DC"), off(), replies("Z")].concat()), "Z(I)", "it is bob still");
    talk.survey();
    talk.answer(&[["set", "role", "bob"]]);
    talk.client(&query("set role none"));
    assert!(talk.server(&[done("SET"), on(), replies("Z")].concat()).ends_with("S Z(I)"));
    talk.client(&query("reset role"));
    talk.run(false, &[done("RESET"), replies("Z")].concat());
    assert_eq!(talk.server(&[replies("12DC"), off(), replies("Z")].concat()), "S Z(I)");
}

#[test]
fn startup_values_come_back_whatever_else_is_in_force_there() {
    let mut talk = with_startup(&[("work_mem", "9MB"), ("default_transaction_deferrable", "on")], &[]);
    talk.client(&query("reset work_mem"));
    let (sent, ..) = talk.run(false, &[done("RESET"), replies("Z")].concat());
    let sent = String::from_utf8_lossy(&sent);
    assert!(sent.find("NOT DEFERRABLE").unwrap() < sent.find("9MB").unwrap());
}

#[test]
fn f39_a_named_batch_that_failed_can_be_sent_again_though_its_close_was_skipped() {
    let mut talk = talk(SessionState::Track);
    talk.session.unnamed.send_parse(7, None, 0);
    talk.session.unnamed.confirm();
    talk.client(&query("do 'begin end'"));
    let mut asked = Vec::new();
    talk.session.traces.get_or_insert_default().features |= crate::session::sql::Features::OPAQUE;
    talk.server(&replies("CZ"));
    talk.session.unnamed.send_parse(8, None, 0);
    talk.session.unnamed.confirm();
    asked.extend(talk.act(Session::ask_survey).0);
    assert_eq!(words(&asked), "C(pooler_own) P(pooler_own) B(pooler_own) E C(pooler_own) S");
    let (again, heard, _) = talk.run(false, &[replies("312"), canceled()].concat());
    assert_eq!((again, heard), (asked, Vec::new()));
    assert_eq!(talk.server(&replies("312C3Z")), "");
}

#[test]
fn t8_in_session_mode_statements_that_were_closed_leave_room_for_others_that_reset() {
    let startup = with_startup(&[("work_mem", "9MB")], &[]);
    let mut talk = Talk::new(PoolMode::Session, 0);
    talk.session = startup.session;
    talk.session.rules.mode = PoolMode::Session;
    talk.client(&all(&[parse("r", "discard all"), close("r"), sync()]));
    assert_eq!(talk.server(&replies("13Z")), "1 3 Z(I)");
    talk.client(&all(&[bind("r"), execute(), sync()]));
    assert_eq!(talk.server(&replies("2CZ")), "2 C Z(I)", "nothing is known of the name any more");
}

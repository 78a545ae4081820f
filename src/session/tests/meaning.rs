//! What a text means while settings change, and what RESET goes back to beside other statements.

use super::*;

/// A conversation of another client of the same pool, with the same server.
fn another(talk: &mut Talk) {
    talk.session.unlink();
    talk.session = Session::new(rules(SessionState::Track), ParamSet::default());
}

const LITERAL: &str = "select date '1/2/2020'";

#[test]
fn r55_what_is_parsed_while_its_reading_may_have_changed_is_nobody_elses() {
    for first in [
        "set datestyle = 'German'",
        "set local array_nulls = off",
        "set local extra_float_digits = 0",
        "set local enable_seqscan = off",
        "reset all",
    ] {
        let mut talk = talk(SessionState::Track);
        talk.client(&all(&[query("begin"), query(first), parse("a", LITERAL), sync()]));
        talk.server(&replies("CzCz1z"));
        talk.client(&query("commit"));
        talk.server(&replies("CZ"));
        another(&mut talk);
        let (sent, _) = talk.client(&all(&[parse("a", LITERAL), sync()]));
        assert_eq!(sent, "P(pooler_3) S", "{first}: 2 is the number of the doubt");
    }
}

#[test]
fn r55_what_is_parsed_beside_settings_that_do_not_matter_is_shared() {
    let mut talk = talk(SessionState::Track);
    talk.client(&all(&[query("begin"), query("set local lock_timeout = '1s'"), parse("a", LITERAL), sync()]));
    talk.server(&replies("CzCz1z"));
    talk.client(&query("commit"));
    talk.server(&replies("CZ"));
    another(&mut talk);
    assert_eq!(talk.client(&all(&[parse("a", LITERAL), sync()])).0, "S", "the server has it");
}

#[test]
fn r55_when_all_is_answered_texts_are_shared_again() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    talk.client(&query("set local array_nulls = off"));
    talk.server(&replies("Cz"));
    talk.client(&query("rollback"));
    talk.server(&replies("CZ"));
    talk.client(&all(&[parse("a", LITERAL), sync()]));
    talk.server(&replies("1Z"));
    another(&mut talk);
    assert_eq!(talk.client(&all(&[parse("a", LITERAL), sync()])).0, "S");
}

#[test]
fn what_backslashes_mean_is_not_judged_while_that_may_be_changing() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    talk.client(&all(&[
        query("set local standard_conforming_strings = off"),
        query("select '\\'; set work_mem = 1 --'"),
    ]));
    talk.server(&replies("CzCz"));
    talk.client(&query("commit"));
    talk.server(&replies("CZ"));
    assert!(talk.survey().contains("pg_my_temp_schema"), "everything is asked about");
}

#[test]
fn t8_beside_other_statements_the_server_tells_what_was_reset() {
    let zone = TrackedNames::new(&[]).index(b"TimeZone").unwrap();
    for text in
        ["rollback; reset all", "reset all; set work_mem = '1MB'", "reset timezone; set timezone = 'CET'"]
    {
        let mut talk = with_startup(&[("work_mem", "9MB")], &[(zone, "UTC")]);
        talk.facts.params.set(zone, b"UTC");
        talk.client(&query(text));
        let (sent, heard, _) =
            talk.run(false, &[replies("CC"), status("TimeZone", "CET"), replies("Z")].concat());
        assert_eq!(words(&heard), "C C", "{text}");
        let sent = String::from_utf8_lossy(&sent).into_owned();
        assert!(sent.contains("source OPERATOR(pg_catalog.<>) 'session'") && sent.contains("UTC"), "{sent}");
        let heard = talk.server(&replies("12CZ"));
        assert_eq!(heard, "S Z(I)", "{text}: it was set anew, so the report is news after all");
        assert_eq!(talk.session.params().value(zone), Some(&b"CET"[..]));
    }
}

#[test]
fn t8_an_error_behind_discard_all_leaves_the_startup_values_in_force() {
    let zone = TrackedNames::new(&[]).index(b"TimeZone").unwrap();
    let mut talk = with_startup(&[], &[(zone, "UTC")]);
    talk.facts.params.set(zone, b"UTC");
    talk.client(&all(&[parse("", "discard all"), bind(""), execute(), execute(), sync()]));
    let replies_ =
        [replies("12"), done("DISCARD ALL"), error(*b"34000"), status("TimeZone", "CET"), replies("Z")];
    let (sent, heard, _) = talk.run(false, &replies_.concat());
    assert_eq!(words(&heard), "1 2 C E(34000)");
    assert!(String::from_utf8_lossy(&sent).contains("UTC"));
    assert_eq!(talk.server(&[replies("12DC"), status("TimeZone", "UTC"), replies("Z")].concat()), "Z(I)");
}

#[test]
fn r55_execute_parses_a_text_as_it_is_read_now_and_shares_it_with_those_who_read_it_so() {
    let style = TrackedNames::new(&[]).index(b"DateStyle").unwrap();
    let mut talk = talk(SessionState::Track);
    talk.client(&all(&[parse("a", LITERAL), sync()]));
    talk.server(&replies("1Z"));
    talk.client(&query("set datestyle = 'German'"));
    talk.server(&[done("SET"), status("DateStyle", "German"), replies("Z")].concat());
    talk.survey();
    talk.answer(&[["set", "datestyle", "German"]]);
    talk.session.unlink();
    talk.facts = ServerFacts::default();
    talk.facts.params.set(style, b"German");
    let (sent, _, _) = talk.run(true, &query("execute a"));
    assert!(String::from_utf8_lossy(&sent).contains("execute pooler_2"), "not the name under the old style");
    talk.server(&replies("1ZTDCZ"));
    another(&mut talk);
    assert_eq!(talk.client(&all(&[parse("b", LITERAL), sync()])).0, "P(pooler_1) S", "this one is not there");
}

#[test]
fn r55_a_text_is_another_statement_once_a_temporary_table_may_hide_what_it_names() {
    let mut talk = talk(SessionState::Track);
    talk.client(&all(&[parse("a", LITERAL), sync()]));
    talk.server(&replies("1Z"));
    for create in ["create temp table t (a int)", "create temp table u (a int)"] {
        talk.client(&query(create));
        talk.server(&replies("CZ"));
        assert!(talk.survey().contains("pg_my_temp_schema"));
        talk.answer(&[["temp", "", ""]]);
        talk.client(&query("select 1"));
        talk.server(&replies("CZ"));
        let again = [close("a"), parse("a", LITERAL), sync()].concat();
        let sent = talk.client(&again).0;
        assert!(sent.contains("P(pooler_"), "{create}: what the server had is of another time: {sent}");
        talk.server(&replies("1Z"));
        let sent = talk.client(&again).0;
        assert!(!sent.contains("P("), "{create}: nothing can have changed since: {sent}");
        talk.server(&replies("Z"));
    }
}

#[test]
fn by_policy_a_name_may_be_made_by_a_function_only_where_one_may_have_run() {
    let mut talk = talk(SessionState::Verify);
    talk.act(Session::link);
    assert_eq!(talk.client(&all(&[parse("a", LITERAL), parse("b", LITERAL), sync()])).0, "P(pooler_1) S");
    talk.server(&replies("1Z"));
    talk.survey();
    talk.answer(&[]);
    let (sent, _) =
        talk.client(&all(&[parse("", "select f()"), bind(""), execute(), parse("c", LITERAL), sync()]));
    assert_eq!(sent, "P() B() E P(c) C(c) S", "the function may have taken the name");
}

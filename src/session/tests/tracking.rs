//! Session state by example: what is asked, what follows the client, what keeps its server, what heals.

use super::*;
use crate::proto::put_data_row;

impl Talk {
    /// What the server is asked now; nothing if it is not.
    pub(super) fn survey(&mut self) -> String {
        if !self.session.wants_survey(0, 0) {
            return String::new();
        }
        String::from_utf8_lossy(&self.act(Session::ask_survey).0).into_owned()
    }

    /// The answer to that.
    pub(super) fn answer(&mut self, rows: &[[&str; 3]]) {
        let mut bytes = replies("12");
        for row in rows {
            put_data_row(&mut bytes, row.iter().map(|column| (!column.is_empty()).then_some(*column)));
        }
        bytes.extend(replies("CZ"));
        assert_eq!(self.server(&bytes), "", "it is for nobody else");
    }

    /// The client goes on with a server that has nothing in force; what that is told first.
    pub(super) fn relink(&mut self) -> String {
        self.session.unlink();
        self.facts = ServerFacts::default();
        String::from_utf8_lossy(&self.act(Session::link).0).into_owned()
    }
}

#[test]
fn t1_a_setting_is_read_back_and_follows_the_client() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("set work_mem = '7MB'"));
    assert!(talk.server(&[done("SET"), replies("Z")].concat()).ends_with("Z(I)"));
    assert!(!talk.at_rest(), "what has come of it is not known yet");
    let asked = talk.survey();
    assert!(asked.contains("current_setting") && asked.contains("work_mem"), "{asked}");
    assert!(!asked.contains("pg_settings"), "by name, which costs little: {asked}");
    assert_eq!(talk.run(true, &query("select 1")).2.halt, Halt::Wait);
    talk.answer(&[["set", "work_mem", "7MB"]]);
    assert!(talk.at_rest());
    assert_eq!(talk.facts.settings.get(b"work_mem"), Some(&b"7MB"[..]));
    let told = talk.relink();
    assert!(told.contains("set_config") && told.contains("7MB"), "{told}");
}

#[test]
fn t6_in_a_block_the_end_decides() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    talk.client(&query("set work_mem = '7MB'"));
    talk.server(&replies("Cz"));
    assert_eq!(talk.survey(), "", "not before the end");
    talk.client(&query("rollback"));
    talk.server(&replies("CZ"));
    assert!(talk.survey().contains("pg_settings"), "whether it has held is asked");
    talk.answer(&[["set", "role", "none"]]);
    assert!(talk.at_rest() && talk.relink().is_empty(), "it has not");
}

#[test]
fn t4_to_have_no_role_is_no_default_where_sessions_begin_with_one() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("set role none"));
    talk.server(&replies("CZ"));
    assert!(talk.survey().contains("pg_db_role_setting"));
    talk.answer(&[["set", "role", "none"], ["role", "", ""]]);
    assert_eq!(talk.facts.settings.get(b"role"), Some(&b"none"[..]), "the next client must not keep it");
    assert!(talk.relink().contains("none"), "it follows the client");
}

#[test]
fn an_ordinary_query_asks_nothing() {
    let mut talk = talk(SessionState::Track);
    for sql in ["select 1", "update t set a = 'set x = 1;'", "begin", "set local work_mem = '1MB'", "commit"]
    {
        talk.client(&query(sql));
        talk.server(&replies("CZ"));
        assert!(talk.at_rest(), "{sql}");
    }
    talk.client(&all(&[parse("p", "select $1"), bind("p"), execute(), sync()]));
    talk.server(&replies("12CZ"));
    assert!(talk.at_rest());
}

#[test]
fn t34_what_only_one_server_has_keeps_it_until_it_is_gone() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("create temp table t (a int)"));
    talk.server(&replies("CZ"));
    assert!(talk.survey().contains("pg_my_temp_schema"));
    talk.answer(&[["temp", "", ""]]);
    assert!(!talk.at_rest() && talk.session.pinned_for() == PinReasons::TEMPORARY);
    talk.client(&query("select * from t"));
    talk.server(&replies("TCZ"));
    assert_eq!(talk.survey(), "", "that cannot have changed it");
    talk.client(&query("drop table t"));
    talk.server(&replies("CZ"));
    assert!(talk.survey().contains("pg_my_temp_schema"));
    talk.answer(&[]);
    assert!(talk.at_rest());
}

#[test]
fn r4_a_server_that_does_not_tell_stays_with_its_client() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("do 'begin end'"));
    talk.server(&replies("CZ"));
    assert!(!talk.survey().is_empty());
    assert_eq!(talk.server(&[replies("1"), error(*b"53200"), replies("Z")].concat()), "");
    assert!(!talk.at_rest() && talk.session.pinned_for() == PinReasons::UNKNOWN);
    let mut own = Outbox::default();
    let leave = talk.session.leave(&mut talk.facts, 0, 0, &mut own);
    assert!(matches!(leave, Leave::Drain { cancel: false }));
    let sent: Vec<u8> = own.slices(&[]).flatten().copied().collect();
    assert!(String::from_utf8_lossy(&sent).contains("DISCARD ALL"));
    talk.server(&[done("DISCARD ALL"), replies("Z")].concat());
    let leave = talk.session.leave(&mut talk.facts, 0, 0, &mut Outbox::default());
    assert!(matches!(leave, Leave::AtRest(_)));
}

#[test]
fn r4_a_server_with_a_library_of_its_client_is_closed() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("load 'auto_explain'"));
    talk.server(&replies("CZ"));
    assert!(talk.session.is_pinned());
    let leave = talk.session.leave(&mut talk.facts, 0, 0, &mut Outbox::default());
    assert!(matches!(leave, Leave::Close));
}

#[test]
fn t8_reset_goes_back_to_the_clients_own_startup_value_before_it_hears_of_it() {
    let zone = TrackedNames::new(&[]).index(b"TimeZone").unwrap();
    let mut talk = with_startup(&[("work_mem", "9MB")], &[(zone, "UTC")]);
    talk.facts.params.set(zone, b"UTC");
    talk.client(&query("reset all"));
    assert_eq!(talk.run(true, &query("select 1")).2.halt, Halt::Wait);
    let (sent, heard, _) =
        talk.run(false, &[done("RESET"), status("TimeZone", "CET"), replies("Z")].concat());
    assert_eq!(words(&heard), "C", "neither the default nor the end");
    let sent = String::from_utf8_lossy(&sent).into_owned();
    assert!(sent.contains("9MB") && sent.contains("UTC"), "{sent}");
    let restored = [replies("12DC"), status("TimeZone", "UTC"), replies("Z")].concat();
    assert_eq!(talk.server(&restored), "Z(I)", "the value is the same as before, so no news");
    assert_eq!(talk.client(&query("select 1")).0, "Q");
}

#[test]
fn t8_an_error_before_a_reset_in_a_pipeline_does_not_keep_it_from_the_startup_values() {
    let zone = TrackedNames::new(&[]).index(b"TimeZone").unwrap();
    let mut talk = with_startup(&[("work_mem", "9MB")], &[(zone, "UTC")]);
    talk.facts.params.set(zone, b"UTC");
    talk.client(&all(&[execute(), sync(), query("reset all")]));
    talk.server(&[error(*b"34000"), replies("Z")].concat());
    let (sent, heard, _) =
        talk.run(false, &[done("RESET"), status("TimeZone", "CET"), replies("Z")].concat());
    assert_eq!(words(&heard), "C");
    assert!(String::from_utf8_lossy(&sent).contains("9MB"));
}

#[test]
fn by_policy_settings_keep_the_server_or_end_with_the_transaction() {
    for state in [SessionState::Pin, SessionState::Clean] {
        let mut talk = talk(state);
        talk.client(&query("set work_mem = '7MB'"));
        talk.server(&replies("CZ"));
        talk.survey();
        talk.answer(&[["set", "work_mem", "7MB"]]);
        assert!(!talk.at_rest());
        if state == SessionState::Pin {
            assert_eq!(talk.session.pinned_for(), PinReasons::SETTINGS);
            continue;
        }
        assert_eq!(talk.server(&replies("12DCZ")), "", "it is taken back at once, and nobody hears of it");
        assert!(talk.at_rest() && talk.facts.settings.is_empty() && talk.relink().is_empty());
    }
    let mut talk = talk(SessionState::PgBouncer);
    talk.client(&query("set work_mem = '7MB'"));
    talk.server(&replies("CZ"));
    assert!(talk.at_rest());
}

#[test]
fn r55_a_text_is_another_statement_under_other_settings() {
    for path in [&b"other"[..], b""] {
        let mut talk = talk(SessionState::Track);
        let first = talk.client(&all(&[parse("a", "select x"), sync()])).0;
        talk.server(&replies("1Z"));
        let mut settings = Settings::default();
        settings.set(b"search_path", path);
        talk.session = Session::new(rules(SessionState::Track), ParamSet::default())
            .with_wishes(Rc::new(Startup { reported: Vec::new(), settings }.into()));
        let second = talk.client(&all(&[parse("a", "select x"), sync()])).0;
        assert_ne!(first, second);
    }
}

#[test]
fn s31_what_ends_idle_sessions_does_not_stay_on_a_server_that_may_change_hands() {
    let mut talk = talk(SessionState::Track);
    talk.client(&query("set idle_session_timeout = '1s'; set work_mem = '7MB'"));
    talk.server(&[done("SET"), done("SET"), replies("Z")].concat());
    talk.survey();
    let answer = |talk: &mut Talk, rows: &[[&str; 3]]| {
        let mut bytes = replies("12");
        for row in rows {
            put_data_row(&mut bytes, row.iter().map(|column| Some(*column)));
        }
        bytes.extend(replies("CZ"));
        String::from_utf8_lossy(&talk.run(false, &bytes).0).into_owned()
    };
    let told = answer(&mut talk, &[["set", "idle_session_timeout", "1s"], ["set", "work_mem", "7MB"]]);
    assert!(told.contains("idle_session_timeout") && !told.contains("work_mem"), "{told}");
    assert!(!talk.at_rest(), "the server still has it");
    assert_eq!(answer(&mut talk, &[]), "");
    assert!(talk.at_rest());
    let told = talk.relink();
    assert!(told.contains("7MB") && !told.contains("idle_session_timeout"), "{told}");
}

#[test]
fn s31_names_of_settings_are_looked_for_in_all_that_may_hold_them() {
    let many: Vec<_> = (0..70).map(|i| format!("set_config('my.a{i}', '', false)")).collect();
    let many = format!("select {}, set_config('my.own', '', false)", many.join(", "));
    for sql in [
        "select set_config('my.own'::text, 'x', false)",
        "select set_config(E'my.own', 'x', false)",
        "select set_config(k, v, false) from (values ('my.own', 'x')) t (k, v)",
        "do $$ begin set my.own = 'x'; end $$",
        &*many,
    ] {
        let mut talk = talk(SessionState::Track);
        talk.client(&query(sql));
        talk.server(&replies("DCZ"));
        assert!(talk.survey().contains("my.own"), "{sql}");
    }
    let ways = [
        all(&[message(b'B', b"\0p\0\0\0\0\x01\0\0\0\x0d{\"my.own\": 1}\0\0"), execute(), sync()]),
        query("execute p ('{\"my.own\": 1}')"),
    ];
    for (way, replied) in ways.into_iter().zip(["2DCZ", "DCZ"]) {
        let mut talk = talk(SessionState::Track);
        let sql = "select set_config(k, v, false) from json_each_text($1) j (k, v)";
        talk.client(&all(&[parse("p", sql), sync()]));
        talk.server(&replies("1Z"));
        talk.client(&way);
        talk.server(&replies(replied));
        assert!(talk.survey().contains("my.own"), "{replied}");
    }
}

//! Prepared statements whose plans have gone stale, and names that SQL and the protocol share.

use super::*;

fn flush() -> Vec<u8> {
    message(b'H', b"")
}

fn stale() -> Vec<u8> {
    message(b'E', b"SERROR\0VERROR\0C0A000\0Mplan\0RRevalidateCachedQuery\0\0")
}

/// A client whose statement `p` the server has had for a while.
fn prepared() -> Talk {
    let mut talk = talk(SessionState::Track);
    talk.client(&all(&[parse("p", "select * from t"), sync()]));
    talk.server(&replies("1Z"));
    talk
}

#[test]
fn c6_a_stale_plan_is_made_anew_unseen() {
    let mut talk = prepared();
    talk.client(&all(&[bind("p"), execute(), sync()]));
    let (sent, heard, _) = talk.run(false, &[stale(), replies("Z")].concat());
    assert_eq!(words(&heard), "");
    assert_eq!(words(&sent), "C(pooler_1) P(pooler_1) B(pooler_1) E S");
    assert_eq!(talk.server(&replies("312DCZ")), "2 D C Z(I)");
    assert!(talk.at_rest());
}

#[test]
fn c6_a_plan_that_stays_stale_is_an_error_after_all() {
    let mut talk = prepared();
    talk.client(&all(&[bind("p"), execute(), sync()]));
    talk.run(false, &[stale(), replies("Z")].concat());
    assert_eq!(talk.server(&[replies("31"), stale(), replies("Z")].concat()), "E(0A000) Z(I)");
    assert!(talk.at_rest());
}

#[test]
fn c6_nothing_is_said_again_in_a_block_behind_other_answers_or_to_whom_knows_the_columns() {
    let mut talk = prepared();
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    talk.client(&all(&[bind("p"), execute(), sync()]));
    assert_eq!(talk.server(&[stale(), replies("x")].concat()), "E(0A000) Z(E)", "in a block");

    let mut talk = prepared();
    talk.client(&all(&[bind("p"), execute(), sync(), query("select 1")]));
    let heard = talk.server(&[stale(), replies("ZCZ")].concat());
    assert_eq!(heard, "E(0A000) Z(I) C Z(I)", "something was sent behind it");

    let mut talk = prepared();
    talk.client(&all(&[message(b'D', b"Sp\0"), sync()]));
    talk.server(&replies("tTZ"));
    talk.client(&all(&[bind("p"), execute(), sync()]));
    assert_eq!(talk.server(&[stale(), replies("Z")].concat()), "E(0A000) Z(I)", "it was told the columns");
    assert_eq!(
        talk.client(&all(&[bind("p"), execute(), sync()])).0,
        "C(pooler_1) P(pooler_1) B(pooler_1) E S"
    );

    let mut talk = prepared();
    talk.client(&all(&[parse("", "select 1"), bind("p"), execute(), sync()]));
    let heard = talk.server(&[replies("1"), stale(), replies("Z")].concat());
    assert_eq!(heard.matches("E(0A000)").count(), 1, "{heard}");
}

#[test]
fn t25_deallocate_frees_a_name_of_the_protocol_and_execute_runs_it() {
    let mut talk = prepared();
    let (sent, _, _) = talk.run(true, &query("execute p"));
    assert!(String::from_utf8_lossy(&sent).contains("execute pooler_1"));
    talk.server(&replies("TDCZ"));
    let (sent, _, _) = talk.run(true, &query("deallocate p"));
    assert!(String::from_utf8_lossy(&sent).contains("deallocate pooler_1"));
    assert_eq!(talk.server(&[done("DEALLOCATE"), replies("Z")].concat()), "C Z(I)");
    assert_eq!((talk.session.statements(), talk.facts.statements.len()), (0, 0));
    let mut talk = prepared();
    talk.client(&query("deallocate p"));
    talk.server(&[error(*b"25P02"), replies("Z")].concat());
    assert_eq!((talk.session.statements(), talk.facts.statements.len()), (1, 1), "it has failed");
}

#[test]
fn c6_a_statement_just_prepared_is_described_though_its_plan_on_the_server_is_stale() {
    let mut talk = prepared();
    let (sent, heard) = talk.client(&all(&[parse("q", "select * from t"), message(b'D', b"Sq\0"), flush()]));
    assert_eq!((sent.as_str(), heard.as_str()), ("D(pooler_1) H", "1"));
    let (sent, heard, _) = talk.run(false, &stale());
    assert_eq!((words(&sent).as_str(), words(&heard).as_str()), ("S", ""));
    assert_eq!(talk.run(true, &bind("q")).2.halt, Halt::Wait, "what comes now stands behind it");
    let (sent, heard, _) = talk.run(false, &replies("Z"));
    assert_eq!(
        (words(&sent).as_str(), words(&heard).as_str()),
        ("C(pooler_1) P(pooler_1) D(pooler_1) H", "")
    );
    assert_eq!(talk.server(&replies("31tT")), "t T");
    assert_eq!(talk.client(&all(&[bind("q"), execute(), sync()])).0, "B(pooler_1) E S");
    assert_eq!(talk.server(&replies("2DCZ")), "2 D C Z(I)");
    assert!(talk.at_rest());
}

#[test]
fn c6_whoever_knows_the_old_columns_hears_once_that_they_have_changed() {
    let mut talk = prepared();
    talk.client(&all(&[message(b'D', b"Sp\0"), sync()]));
    talk.server(&replies("tTZ"));
    let Lookup::Found(statement) = talk.session.names.find(b"p", u64::MAX) else { panic!("it is there") };
    statement.age();
    let (sent, _) = talk.client(&all(&[bind("p"), execute(), sync()]));
    assert!(sent.ends_with("B(pooler_refused) E S"), "{sent}");
    let heard = talk.server(&[replies("31"), error(*b"26000"), replies("Z")].concat());
    assert_eq!(heard, "E(0A000) Z(I)");
    assert_eq!(talk.client(&all(&[bind("p"), execute(), sync()])).0, "B(pooler_1) E S");
}

#[test]
fn c6_a_statement_just_prepared_is_described_when_its_parameters_came_before_the_error() {
    let parameters = message(b't', b"\0\x01\0\0\0\x17");
    let stale = [parameters.clone(), stale(), replies("Z")].concat();
    let anew = [replies("31"), parameters, replies("TZ")].concat();
    let cuts = (1..stale.len()).map(|cut| vec![&stale[..cut], &stale[cut..]]);
    for pieces in cuts.chain([vec![&stale[..]], stale.chunks(1).collect()]) {
        let mut talk = prepared();
        let prepare = all(&[parse("q", "select * from t"), message(b'D', b"Sq\0"), sync()]);
        assert_eq!(talk.client(&prepare), ("D(pooler_1) S".to_owned(), "1".to_owned()));
        let (mut input, mut sent) = (Vec::new(), Vec::new());
        for piece in pieces {
            input.extend(piece);
            let (server, heard, taken) = talk.run(false, &input);
            assert_eq!((words(&heard).as_str(), taken.halt), ("", Halt::More));
            input.drain(..taken.consumed);
            sent.extend(server);
        }
        assert_eq!(words(&sent), "C(pooler_1) P(pooler_1) D(pooler_1) S");
        assert_eq!(talk.server(&anew), "t T Z(I)");
        assert!(talk.at_rest());
    }
}

#[test]
fn c6_parameters_that_waited_in_vain_reach_the_client() {
    let prepare = all(&[parse("q", "select * from t"), message(b'D', b"Sq\0"), sync()]);
    let others = [
        (replies("tTZ"), "t T Z(I)"),
        (replies("tnZ"), "t n Z(I)"),
        ([replies("t"), error(*b"57014"), replies("Z")].concat(), "t E(57014) Z(I)"),
        ([replies("t"), error(*b"0A000"), replies("Z")].concat(), "t E(0A000) Z(I)"),
        ([message(b't', &[0].repeat(17_000)), stale(), replies("Z")].concat(), "t E(0A000) Z(I)"),
    ];
    for (answer, heard) in others {
        let mut talk = prepared();
        talk.client(&prepare);
        assert_eq!(talk.server(&answer), heard);
        assert!(talk.at_rest());
    }
    let mut talk = prepared();
    talk.client(&[prepare, query("select 1")].concat());
    let heard = talk.server(&[replies("t"), stale(), replies("ZCZ")].concat());
    assert_eq!(heard, "t E(0A000) Z(I) C Z(I)", "something was sent behind it");
}

#[test]
fn c6_a_parse_where_nothing_can_be_healed_makes_the_statement_anew() {
    let anew = "C(pooler_1) P(pooler_1) B(pooler_1) E S";
    let run = all(&[parse("q", "select * from t"), bind("q"), execute(), sync()]);

    let mut talk = prepared();
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    assert_eq!(talk.client(&run), (anew.to_owned(), String::new()), "in a block");
    assert_eq!(talk.server(&replies("312DCz")), "1 2 D C Z(T)");
    assert_eq!(talk.client(&all(&[bind("p"), execute(), sync()])).0, "B(pooler_1) E S", "it is there");

    let mut talk = prepared();
    let (sent, heard) = talk.client(&[query("begin"), run.clone()].concat());
    assert_eq!((sent, heard.as_str()), (format!("Q {anew}"), ""), "a block may have begun");
    assert_eq!(talk.server(&replies("Cz312DCz")), "C Z(T) 1 2 D C Z(T)");

    let mut talk = prepared();
    let (sent, heard) = talk.client(&[parse("", "begin"), bind(""), execute(), run.clone()].concat());
    assert_eq!((sent, heard.as_str()), (format!("P() B() E {anew}"), ""), "also within a batch");
    assert_eq!(talk.server(&replies("12C312DCz")), "1 2 C 1 2 D C Z(T)");

    let mut talk = prepared();
    let sent =
        talk.client(&[run[..run.len() - 5].to_vec(), parse("r", "select * from t"), sync()].concat()).0;
    assert_eq!(sent, "B(pooler_1) E C(pooler_1) P(pooler_1) S");
    talk.server(&replies("2DC31Z"));
    assert!(talk.at_rest());
}

#[test]
fn c6_a_statement_made_anew_in_a_block_is_made_once_and_its_error_is_the_clients() {
    let mut talk = prepared();
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    let twice = all(&[parse("q", "select * from t"), parse("r", "select * from t"), sync()]);
    assert_eq!(talk.client(&twice).0, "C(pooler_1) P(pooler_1) S");
    assert_eq!(talk.server(&replies("31z")), "1 1 Z(T)");
    assert_eq!(talk.client(&all(&[parse("s", "select * from t"), sync()])).0, "C(pooler_1) P(pooler_1) S");
    assert_eq!(talk.server(&[replies("3"), error(*b"42P01"), replies("x")].concat()), "E(42P01) Z(E)");
    assert_eq!((talk.session.statements(), talk.facts.statements.len()), (3, 0), "p, q and r");
    talk.client(&query("rollback"));
    talk.server(&replies("CZ"));
    assert_eq!(talk.client(&all(&[bind("p"), sync()])).0, "P(pooler_1) B(pooler_1) S");

    let mut talk = prepared();
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    talk.client(&all(&[bind("nope"), parse("q", "select * from t"), sync()]));
    talk.server(&[error(*b"26000"), replies("x")].concat());
    assert_eq!((talk.session.statements(), talk.facts.statements.len()), (1, 1), "all of it was skipped");
}

#[test]
fn c6_a_batch_that_data_of_its_copy_follows_is_not_said_again() {
    let mut talk = talk(SessionState::Track);
    talk.client(&all(&[parse("p", "select * from t"), parse("c", "copy t from stdin"), sync()]));
    talk.server(&replies("11Z"));
    talk.client(&all(&[bind("p"), execute(), bind("c"), execute(), sync(), message(b'd', b"1\n")]));
    let (sent, heard, _) = talk.run(false, &[stale(), replies("Z")].concat());
    assert_eq!((words(&sent).as_str(), words(&heard).as_str()), ("", "E(0A000) Z(I)"));
}

/// What a statement with one column of this name is described as.
fn columns(name: &str) -> Vec<u8> {
    let column = [&[0, 1], name.as_bytes(), &[0; 7], &[0, 0, 0, 23, 0, 4, 255, 255, 255, 255, 0, 0]].concat();
    [replies("t"), message(b'T', &column)].concat()
}

/// A client that was told the columns of its statement `p`.
fn promised() -> Talk {
    let mut talk = prepared();
    talk.client(&all(&[message(b'D', b"Sp\0"), sync()]));
    talk.server(&[columns("a"), replies("Z")].concat());
    talk
}

#[test]
fn c6_where_a_server_lacks_a_statement_that_was_described_its_columns_are_looked_at_first() {
    let mut talk = promised();
    talk.facts = ServerFacts::default();
    let input = all(&[bind("p"), execute(), sync()]);
    let (sent, _, taken) = talk.run(true, &input);
    assert_eq!(
        (words(&sent).as_str(), taken),
        ("P(pooler_1) D(pooler_1) H", Taken { consumed: 0, halt: Halt::Wait })
    );
    assert_eq!(talk.run(true, &input).2.halt, Halt::Wait, "asked before the answer");
    assert_eq!(talk.server(&[replies("1"), columns("a")].concat()), "");
    assert_eq!(talk.client(&input).0, "B(pooler_1) E S");
    assert_eq!(talk.server(&replies("2DCZ")), "2 D C Z(I)");

    talk.facts = ServerFacts::default();
    talk.run(true, &input);
    assert_eq!(talk.server(&[replies("1"), columns("b")].concat()), "");
    talk.client(&input);
    assert_eq!(
        talk.server(&[error(*b"26000"), replies("Z")].concat()),
        "E(0A000) Z(I)",
        "it was told others"
    );
    assert!(talk.at_rest());
    assert_eq!(talk.client(&input).0, "B(pooler_1) E S", "once is enough, and the plan there is not stale");
}

#[test]
fn c6_a_client_that_asks_for_columns_that_have_just_changed_was_told_the_new_ones() {
    let mut talk = promised();
    talk.facts = ServerFacts::default();
    talk.client(&all(&[message(b'C', b"Sp\0"), sync()]));
    talk.server(&replies("Z"));
    let (sent, _) = talk.client(&all(&[parse("p", "select * from t"), message(b'D', b"Sp\0"), sync()]));
    assert_eq!(sent, "P(pooler_1) D(pooler_1) D(pooler_1) S");
    assert_eq!(talk.server(&[replies("1"), columns("b"), columns("b"), replies("Z")].concat()), "1 t T Z(I)");
    assert_eq!(talk.client(&all(&[bind("p"), execute(), sync()])).0, "B(pooler_1) E S");
}

#[test]
fn c6_where_the_look_at_columns_fails_the_client_hears_so_in_place_of_its_bind() {
    let mut talk = promised();
    talk.facts = ServerFacts::default();
    let input = all(&[bind("p"), execute(), sync()]);
    talk.run(true, &input);
    assert_eq!(talk.server(&error(*b"42P01")), "E(42P01)");
    assert_eq!(talk.client(&input).0, "S");
    assert_eq!(talk.server(&replies("Z")), "Z(I)");
    assert!(talk.at_rest() && talk.session.checks == 0);
}

#[test]
fn c6_columns_that_another_client_meets_in_a_block_make_what_this_one_was_told_void() {
    let mut talk = promised();
    let this = std::mem::replace(&mut talk.session, super::talk(SessionState::Track).session);
    talk.client(&query("begin"));
    talk.server(&replies("Cz"));
    let (sent, _) = talk.client(&all(&[parse("q", "select * from t"), bind("q"), execute(), sync()]));
    assert_eq!(sent, "C(pooler_1) P(pooler_1) D(pooler_1) B(pooler_1) E S", "made anew, and looked at");
    let heard = talk.server(&[replies("31"), columns("b"), replies("2DCz")].concat());
    assert_eq!(heard, "1 2 D C Z(T)");
    talk.client(&query("commit"));
    talk.server(&replies("CZ"));
    talk.session = this;
    talk.client(&all(&[bind("p"), execute(), sync()]));
    assert_eq!(talk.server(&[error(*b"26000"), replies("Z")].concat()), "E(0A000) Z(I)");
}

#[test]
fn a_client_with_tables_of_its_own_says_nothing_of_anybody_elses_columns() {
    let mut talk = promised();
    let this = std::mem::replace(&mut talk.session, super::talk(SessionState::Track).session);
    talk.client(&query("create temp table t (b int)"));
    talk.server(&replies("CZ"));
    talk.survey();
    talk.answer(&[["temp", "", ""]]);
    talk.client(&all(&[parse("q", "select * from t"), message(b'D', b"Sq\0"), sync()]));
    talk.server(&[replies("1"), columns("b"), replies("Z")].concat());
    talk.session = this;
    assert_eq!(talk.client(&all(&[bind("p"), execute(), sync()])).0, "B(pooler_1) E S");
}

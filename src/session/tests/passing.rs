//! What passes in runs leaves the same bytes and records behind as what is judged one by one.

use proptest::prelude::*;

use super::*;
use crate::session::passing::Pace;

/// Two conversations that hear the same; the second one judges everything one by one.
struct Both([Talk; 2]);

impl Both {
    fn new(session_state: SessionState) -> Self {
        let mut both = [talk(session_state), talk(session_state)];
        both[1].now = both[0].now;
        both[1].session.pace = Pace::OneByOne;
        Self(both)
    }

    /// Both hear these bytes and say and know the same then. What is left of the bytes, and why.
    fn hear(&mut self, from_client: bool, input: &[u8]) -> Result<Taken, TestCaseError> {
        let [quick, slow] = &mut self.0;
        let (one, other) = (quick.run(from_client, input), slow.run(from_client, input));
        prop_assert_eq!(&one, &other, "{}", words(input));
        slow.session.pace = Pace::InRuns;
        for session in [&mut quick.session, &mut slow.session] {
            session.from_server.pass &= session.from_server.left > 0; // of a message that is over it means nothing
        }
        prop_assert_eq!(format!("{:?}", quick.session), format!("{:?}", slow.session), "{}", words(input));
        slow.session.pace = Pace::OneByOne;
        prop_assert_eq!(format!("{:?}", quick.facts), format!("{:?}", slow.facts));
        prop_assert_eq!(quick.at_rest(), slow.at_rest());
        let later = quick.now + std::time::Duration::from_micros(700);
        (quick.now, slow.now) = (later, later);
        Ok(one.2)
    }
}

/// Something a client may say; with `number`, texts differ.
fn said(what: u8, name: &str, number: usize) -> Vec<u8> {
    match what {
        0 => parse(name, &format!("select {}", number % 3)),
        1 => all(&[bind(name), message(b'D', b"P\0"), execute(), sync()]),
        2 => all(&[bind(name), execute(), bind(name), execute(), execute(), sync(), execute(), sync()]),
        3 => message(b'D', b"P\0"),
        4 => execute(),
        5 => sync(),
        6 => query(&format!("select {number}")),
        7 => query("set work_mem = 1"),
        8 => message(b'D', format!("S{name}\0").as_bytes()),
        9 => close(name),
        10 => message(b'H', b""),
        11 => message(b'd', b"x"),
        12 => message(b'c', b""),
        13 => message(b'S', b"x"),
        14 => message(b'D', b"P"),
        15 => all(&[query("select 1"), query("select 2")]),
        16 => query("copy t from stdin"),
        _ => all(&[parse(name, "select 4"), bind(name), message(b'D', b"P\0"), execute(), sync()]),
    }
}

/// What is owed next, as PostgreSQL may answer it: mostly well.
fn answer(talk: &Talk, how: u8) -> Vec<u8> {
    let Some(owed) = talk.session.inflight.head() else {
        return if how == 0 { status("application_name", "x") } else { Vec::new() };
    };
    let letters = match (owed.kind, how) {
        (_, 0) => return error(*b"22012"),
        (_, 1) => return status("application_name", "y"),
        (Kind::Parse, _) => "1",
        (Kind::Bind, _) => "2",
        (Kind::Close, _) => "3",
        (Kind::DescribeStatement, _) => "tT",
        (Kind::DescribePortal, 2) => "n",
        (Kind::DescribePortal, _) => "T",
        (Kind::Execute, 2) => "I",
        (Kind::Execute, 3) => "DDs",
        (Kind::Execute, 4) => return done("DISCARD ALL"),
        (Kind::Execute, _) => "DC",
        (Kind::Sync | Kind::MaybeSync, 2) => "z",
        (Kind::Sync | Kind::MaybeSync, _) => "Z",
        (Kind::Query | Kind::FunctionCall, 2) => "TDCz",
        (Kind::Query | Kind::FunctionCall, 3) => "G",
        (Kind::Query | Kind::FunctionCall, 4) => "HddcCZ",
        (Kind::Query | Kind::FunctionCall, _) => "TDDCZ",
    };
    replies(letters)
}

proptest! {
    #[test]
    fn what_passes_in_runs_is_what_would_pass_one_by_one(
        script in proptest::collection::vec((0u8..18, 0usize..3, 0u8..12, 0u8..6, any::<u16>()), 1..40),
        tracks in any::<bool>(),
    ) {
        let mut both = Both::new(if tracks { SessionState::Track } else { SessionState::PgBouncer });
        let (mut kept, mut heard) = (Vec::new(), Vec::new());
        for (number, (what, name, how, answers, cut)) in script.into_iter().enumerate() {
            kept.extend(said(what, ["", "a", "b"][name], number));
            // All of it as a rule, else a part now and the rest with what comes next.
            let end = if cut % 4 == 0 { usize::from(cut) % (kept.len() + 1) } else { kept.len() };
            let taken = both.hear(true, &kept[..end])?;
            kept.drain(..taken.consumed);
            if matches!(taken.halt, Halt::End(_)) {
                return Ok(());
            }
            for nth in 0..answers {
                let is_rest = !heard.is_empty();
                if !is_rest {
                    heard.extend(answer(&both.0[0], if nth == 0 { how } else { 5 }));
                }
                let end = if cut % 5 == 0 && !is_rest { usize::from(cut) % (heard.len() + 1) } else { heard.len() };
                let taken = both.hear(false, &heard[..end])?;
                heard.drain(..taken.consumed);
                if matches!(taken.halt, Halt::End(_)) {
                    return Ok(());
                }
            }
        }
    }
}

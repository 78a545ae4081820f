//! LISTEN, UNLISTEN and NOTIFY of a client whose server changes: what is asked of whom, and what the client hears when.

use super::*;
use crate::session::{Ear, Errand, Progress};

/// An answer to the question what is listened to.
fn survey(channels: &[&str]) -> Vec<u8> {
    let mut out = replies("12");
    for name in channels {
        let length = u8::try_from(name.len()).unwrap();
        let body = [b"\0\x03\0\0\0\x06listen\0\0\0", &[length][..], name.as_bytes(), b"\xff\xff\xff\xff"];
        out.extend(message(b'D', &body.concat()));
    }
    out.extend(replies("CZ"));
    out
}

fn notification(channel: &str) -> Vec<u8> {
    message(b'A', format!("\0\0\0\x07{channel}\0\0").as_bytes())
}

fn tagged(tag: &str, status: &str) -> Vec<u8> {
    [message(b'C', format!("{tag}\0").as_bytes()), replies(status)].concat()
}

impl Talk {
    /// The listener is done; what the server and the client get.
    fn done(&mut self, granted: bool) -> (String, String) {
        self.session.ear().unwrap().set_progress(if granted { Progress::Done } else { Progress::Refused });
        let (server, client) = self.act(|session, turn| session.errand_done(turn, granted));
        (words(&server), words(&client))
    }

    fn channels(&self) -> Vec<String> {
        let names = self.session.ear().map(|ear| ear.channels()).unwrap_or_default();
        let mut names: Vec<_> = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort();
        names
    }

    /// Has it listen to these by now.
    fn listens_to(channels: &[&str]) -> Self {
        let mut talk = talk(SessionState::Track);
        talk.client(&query("listen a"));
        assert_eq!(talk.server(&tagged("LISTEN", "Z")), "C", "the end is held back");
        assert_eq!(talk.server(&survey(channels)), "");
        assert_eq!(talk.session.errand(), Some(Errand::Register));
        assert!(!talk.at_rest(), "the server listens still");
        assert_eq!(talk.done(true), ("P() B() E S".to_owned(), String::new()));
        assert_eq!(talk.server(&replies("12CZ")), "Z(I)");
        assert!(talk.at_rest());
        talk
    }

    /// A transaction of one query; what the client gets.
    fn transaction_of(&mut self, sql: &str, answer: &[u8]) -> String {
        self.client(&query(sql));
        self.server(answer)
    }
}

#[test]
fn the_client_hears_that_it_listens_when_the_listener_does() {
    let talk = Talk::listens_to(&["a", "b"]);
    assert_eq!(talk.channels(), ["a", "b"]);
}

#[test]
fn without_a_listener_the_server_is_kept() {
    let mut talk = talk(SessionState::Track);
    talk.transaction_of("listen a", &tagged("LISTEN", "Z"));
    talk.server(&survey(&["a"]));
    assert_eq!(talk.done(false), (String::new(), "Z(I)".to_owned()));
    assert!(!talk.at_rest() && talk.channels().is_empty());
    assert_eq!(talk.server(&notification("a")), "A", "then its notifications are the client's");
}

/// Each LISTEN that found no listener took a server, until the pool had none left.
#[test]
fn without_a_listener_and_without_room_for_a_pin_listen_comes_to_nothing() {
    let mut talk = talk(SessionState::Track);
    talk.pins.set_rules(0, false);
    talk.transaction_of("listen a", &tagged("LISTEN", "Z"));
    talk.server(&survey(&["a"]));
    assert!(talk.session.pin_state().is_empty(), "it is no pin while it may yet go to the listener");
    assert_eq!(talk.done(false), ("P() B() E S".to_owned(), "E(53400)".to_owned()));
    assert_eq!(talk.server(&replies("12CZ")), "Z(I)");
    assert!(talk.at_rest() && talk.channels().is_empty() && !talk.session.awaits_listener());
}

/// It stayed on its server for ever, although the listener was there a moment later.
#[test]
fn what_the_server_listens_to_goes_to_the_listener_as_soon_as_there_is_one() {
    let mut talk = talk(SessionState::Track);
    talk.transaction_of("listen a", &tagged("LISTEN", "Z"));
    talk.server(&survey(&["a"]));
    talk.done(false);
    assert!(talk.session.awaits_listener() && !talk.session.pin_state().is_empty());
    for granted in [false, true] {
        talk.session.listen_again(talk.now, 0, 0);
        assert!(talk.session.traces.is_none(), "not at once");
        talk.now += std::time::Duration::from_secs(5);
        talk.session.listen_again(talk.now, 0, 0);
        assert!(talk.session.wants_survey(0, 0));
        let (server, _) = talk.act(Session::ask_survey);
        assert_eq!(words(&server), "P() B() E S");
        assert_eq!(talk.server(&survey(&["a"])), "", "the client waits for nothing");
        assert_eq!(talk.session.errand(), Some(Errand::Register));
        assert_eq!(talk.server(&notification("a")), "A", "until the listener hears, the server does");
        let sent = if granted { "P() B() E S" } else { "" };
        assert_eq!(talk.done(granted), (sent.to_owned(), String::new()));
        assert_eq!(talk.server(&notification("a")), if granted { "" } else { "A" });
    }
    assert_eq!(talk.server(&replies("12CZ")), "");
    assert!(talk.at_rest() && talk.session.pin_state().is_empty());
    assert!(talk.session.deliver_heard(&mut Outbox::default()), "it is told that something may be missing");
}

#[test]
fn a_listen_that_came_to_nothing_asks_nobody() {
    let mut talk = talk(SessionState::Track);
    assert_eq!(talk.transaction_of("listen a; rollback", &tagged("ROLLBACK", "Z")), "C");
    assert_eq!(talk.server(&survey(&[])), "Z(I)");
    assert!(talk.at_rest() && talk.session.ear().is_none());
}

#[test]
fn what_is_sent_behind_a_listen_waits() {
    let mut talk = talk(SessionState::Track);
    let first = query("listen a");
    let (server, _, taken) = talk.run(true, &[first.clone(), query("select 1")].concat());
    assert_eq!((words(&server), taken), ("Q".into(), Taken { consumed: first.len(), halt: Halt::Wait }));
}

#[test]
fn unlisten_counts_by_its_words_unless_it_was_undone() {
    let mut talk = Talk::listens_to(&["a", "b"]);
    assert_eq!(talk.transaction_of("unlisten A", &tagged("UNLISTEN", "Z")), "C Z(I)", "nobody is asked");
    assert_eq!(talk.channels(), ["b"]);
    talk.transaction_of("begin; unlisten b; rollback", &tagged("ROLLBACK", "Z"));
    talk.transaction_of("unlisten b; select 1/0", &[error(*b"22012"), replies("Z")].concat());
    assert_eq!(talk.channels(), ["b"]);
    talk.transaction_of("begin", &tagged("BEGIN", "z"));
    talk.transaction_of("unlisten *", &tagged("UNLISTEN", "z"));
    assert_eq!(talk.channels(), ["b"], "not yet");
    talk.transaction_of("commit", &tagged("COMMIT", "Z"));
    assert_eq!(talk.channels(), Vec::<String>::new());
}

#[test]
fn r45_what_was_heard_waits_for_the_end_of_the_block() {
    let mut talk = Talk::listens_to(&["a"]);
    talk.transaction_of("begin", &tagged("BEGIN", "z"));
    talk.session.ear().unwrap().hear(b"a", &notification("a"));
    assert!(!talk.session.deliver_heard(&mut Outbox::default()));
    assert_eq!(talk.transaction_of("select", &tagged("INSERT 0 1", "z")), "C Z(T)");
    assert_eq!(talk.transaction_of("commit", &tagged("COMMIT", "Z")), "C A Z(I)");
    talk.session.ear().unwrap().hear(b"a", &notification("a"));
    talk.client(&query("select 1"));
    assert!(!talk.session.deliver_heard(&mut Outbox::default()), "something is owed");
    assert_eq!(talk.server(&tagged("INSERT 0 1", "Z")), "C A Z(I)");
    talk.session.ear().unwrap().hear(b"a", &notification("a"));
    assert!(talk.session.deliver_heard(&mut Outbox::default()), "it is idle");
}

#[test]
fn own_notifications_come_before_the_end() {
    let mut talk = Talk::listens_to(&["a"]);
    assert_eq!(talk.transaction_of("notify a", &tagged("NOTIFY", "Z")), "C");
    assert_eq!(talk.session.errand(), Some(Errand::Barrier));
    talk.session.ear().unwrap().hear(b"a", &notification("a"));
    assert_eq!(talk.done(true), (String::new(), "A Z(I)".to_owned()));
    assert!(talk.at_rest() && talk.session.request_since().is_none());
}

#[test]
fn what_the_listener_passes_on_is_not_passed_on_twice() {
    let mut talk = Talk::listens_to(&["a"]);
    talk.client(&query("listen a; listen c; notify a; notify c"));
    assert_eq!(
        talk.server(&[notification("a"), notification("c")].concat()),
        "A",
        "c is not with the listener yet"
    );
}

#[test]
fn a_listening_client_may_rest() {
    let mut talk = Talk::listens_to(&["a"]);
    talk.session.unlink();
    assert!(talk.session.can_rest());
    let ear: *const Ear = std::rc::Rc::as_ptr(talk.session.ear().unwrap());
    let (rested, spare) = talk.session.rest();
    let session = rested.resume(spare);
    assert_eq!(std::rc::Rc::as_ptr(session.ear().unwrap()), ear);
}

#[test]
fn a_client_that_leaves_while_its_server_listens_leaves_nothing() {
    let mut talk = talk(SessionState::Track);
    talk.transaction_of("listen a", &tagged("LISTEN", "Z"));
    talk.server(&survey(&["a"]));
    let mut out = Outbox::default();
    let left = talk.session.leave(&mut talk.facts, 0, 0, &mut out);
    assert!(matches!(left, Leave::Drain { .. }));
    assert!(out.slices(&[]).any(|slice| slice.windows(11).any(|part| part == b"DISCARD ALL")));
}

//! The books of the listener, without a connection.

use super::*;
use crate::server::channel_books::MAX_BATCH;
use crate::session::Name;

fn ear(channels: &[&str]) -> Rc<Ear> {
    let ear = Rc::new(Ear::default());
    ear.join(channels.iter().map(|name| name.as_bytes().into()));
    ear
}

/// The next queries; the connection is up.
fn next(listener: &Listener) -> Option<(String, Batch)> {
    let batch = listener.next_batch(rt::turn_time())?;
    let mut sent = Vec::new();
    batch.put(&mut sent);
    let texts: Vec<_> =
        String::from_utf8(sent).unwrap().split('Q').map(|query| query.replace('\0', "")).collect();
    Some((texts.join("").chars().filter(|c| !c.is_control()).collect(), batch))
}

/// PostgreSQL answers, with an error to these.
fn answer_but(listener: &Listener, mut batch: Batch, refused: &[&str]) {
    while let Some(ask) = batch.plan.pop_front() {
        let fails = matches!(&ask, Ask::Listen(name) if refused.iter().any(|bad| bad.as_bytes() == &**name));
        listener.settled(&ask, !fails, rt::turn_time());
    }
    listener.answered(batch);
}

fn answer(listener: &Listener, batch: Batch) {
    answer_but(listener, batch, &[]);
}

fn ask(listener: &Listener, ear: &Rc<Ear>) {
    listener.expect(ear);
}

/// They listen by now.
fn listens(listener: &Listener, ear: &Rc<Ear>) {
    ask(listener, ear);
    while let Some((_, batch)) = next(listener) {
        answer(listener, batch);
    }
    assert_eq!(ear.progress(), Progress::Done);
}

#[test]
fn a_channel_is_asked_for_once_and_given_up_with_its_last_client() {
    let listener = Listener::default();
    let (first, second) = (ear(&["a\"b"]), ear(&["a\"b"]));
    ask(&listener, &first);
    let (sql, batch) = next(&listener).unwrap();
    assert_eq!(sql, "LISTEN \"a\"\"b\"");
    ask(&listener, &second);
    answer(&listener, batch);
    assert_eq!((first.progress(), second.progress()), (Progress::Done, Progress::Waiting));
    let (sql, batch) = next(&listener).unwrap();
    assert_eq!(sql, "", "what is in force is not asked for again, but waited for");
    answer(&listener, batch);
    assert_eq!(second.progress(), Progress::Done);
    listener.leave(&first);
    assert!(next(&listener).is_none() && listener.is_wanted());
    listener.leave(&second);
    let (sql, batch) = next(&listener).unwrap();
    assert_eq!(sql, "UNLISTEN \"a\"\"b\"");
    answer(&listener, batch);
    assert!(next(&listener).is_none() && !listener.is_wanted());
    assert_eq!(listener.books.borrow().entries(), [0; 5]);
}

#[test]
fn who_heard_before_a_loss_is_told_when_all_of_its_channels_are_heard_again() {
    let listener = Listener::default();
    let names: Vec<String> = (0..=MAX_BATCH).map(|i| format!("c{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (old, fresh) = (ear(&names), ear(&["c0"]));
    listens(&listener, &old);
    listener.lost(None);
    ask(&listener, &fresh);
    let (_, batch) = next(&listener).unwrap();
    answer(&listener, batch);
    assert!(!old.has_heard(), "one channel is missing");
    let (_, batch) = next(&listener).unwrap();
    answer(&listener, batch);
    assert!(old.has_heard() && !fresh.has_heard());
}

#[test]
fn who_asked_for_what_broke_the_connection_is_refused() {
    let listener = Listener::default();
    let ear = ear(&["a"]);
    ask(&listener, &ear);
    let (_, batch) = next(&listener).unwrap();
    listener.lost(Some(&batch));
    assert_eq!(ear.progress(), Progress::Refused);
}

#[test]
fn the_books_keep_no_client_alive() {
    let listener = Listener::default();
    let ear = ear(&["a"]);
    listener.update(&ear);
    let weak = Rc::downgrade(&ear);
    drop(ear);
    assert!(weak.upgrade().is_none());
    listener.heard(b"a", b"A");
}

/// It was given as long as the client that waits for it, which was ended with a LISTEN that had come out well.
#[test]
fn a_server_that_does_not_answer_is_given_up_long_before_the_client_that_waits() {
    let listener = Listener::default();
    let waiting = ear(&["a"]);
    ask(&listener, &waiting);
    let (_, batch) = next(&listener).unwrap();
    listener.expire(rt::turn_time() + Duration::from_secs(5));
    assert_eq!(listener.renewals.get(), 0);
    listener.expire(rt::turn_time() + Duration::from_secs(15));
    assert_eq!(listener.renewals.get(), 1);
    listener.lost(Some(&batch));
    assert_eq!(waiting.progress(), Progress::Refused, "it keeps its server");
}

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| name.as_bytes().into()).collect()
}

/// All LISTEN of a reconnect went out as one query: a channel that was refused took all others along, and the
/// connection, again and again.
#[test]
fn a_channel_that_is_refused_costs_those_who_want_it_and_nobody_else() {
    let listener = Listener::default();
    let (old, other) = (ear(&["good", "bad"]), ear(&["good"]));
    listens(&listener, &old);
    listens(&listener, &other);
    listener.lost(None);
    let fresh = ear(&["bad", "new"]);
    ask(&listener, &fresh);
    let (_, batch) = next(&listener).unwrap();
    assert_eq!(batch.plan.len(), 3);
    answer_but(&listener, batch, &["bad"]);
    assert_eq!(fresh.progress(), Progress::Refused);
    let mut told = Vec::new();
    other.take_heard(&mut told);
    assert_eq!(told.first(), Some(&b'N'), "it hears again and may have missed something");
    assert!(old.has_heard(), "it does not hear one of its channels");
    old.take_heard(&mut told);
    listener.update(&fresh);
    listener.leave(&fresh);
    let (sql, batch) = next(&listener).unwrap();
    assert_eq!(sql, "UNLISTEN \"new\"");
    answer(&listener, batch);
    assert!(next(&listener).is_none());
    listener.expire(rt::turn_time() + REFUSED_PAUSE);
    let (sql, batch) = next(&listener).unwrap();
    assert_eq!(sql, "LISTEN \"bad\"");
    answer_but(&listener, batch, &["bad"]);
    assert!(!old.has_heard(), "it is told once");
    listener.expire(rt::turn_time() + REFUSED_PAUSE * 2);
    let (_, batch) = next(&listener).unwrap();
    answer(&listener, batch);
    assert!(old.has_heard(), "and when all is well again");
    assert_eq!(listener.books.borrow().entries(), [2, 2, 0, 0, 0]);
}

/// Ears were known by their addresses: an answer for one that was gone came to the next client whose ear had its place.
#[test]
fn an_answer_for_a_client_that_is_gone_is_nobodys() {
    let listener = Listener::default();
    listens(&listener, &ear(&["a"]));
    let gone = ear(&["a"]);
    ask(&listener, &gone);
    let (_, batch) = next(&listener).unwrap();
    let id = gone.id();
    listener.leave(&gone);
    drop(gone);
    let next = ear(&["a"]);
    ask(&listener, &next);
    assert_ne!(next.id(), id);
    answer(&listener, batch);
    assert_eq!(next.progress(), Progress::Waiting);
}

/// Whoever came and went while there was no connection left something behind each time.
#[test]
fn what_nobody_wants_any_more_is_not_remembered() {
    let listener = Listener::default();
    let stays = ear(&["a"]);
    listens(&listener, &stays);
    listener.lost(None);
    for i in 0..100 {
        let guest = ear(&["a", &format!("c{i}")]);
        ask(&listener, &guest);
        if i % 2 == 0 {
            listener.leave(&guest);
        } else {
            guest.forget_all();
            listener.update(&guest);
        }
        stays.join(names(&["b"]).into_iter());
        listener.update(&stays);
        stays.forget(std::iter::once(&b"b"[..]));
        listener.update(&stays);
    }
    assert_eq!(listener.books.borrow().entries(), [1, 1, 1, 0, 0]);
    let (sql, _) = next(&listener).unwrap();
    assert_eq!(sql, "LISTEN \"a\"");
}

/// Those that came first had to wait for as long as others came.
#[test]
fn channels_are_asked_for_in_the_order_in_which_they_were_wanted() {
    let listener = Listener::default();
    let first = ear(&["first"]);
    ask(&listener, &first);
    let many: Vec<String> = (0..2 * MAX_BATCH).map(|i| format!("c{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let second = ear(&many);
    ask(&listener, &second);
    let (_, batch) = next(&listener).unwrap();
    assert_eq!((batch.plan.len(), &batch.plan[0]), (MAX_BATCH, &Ask::Listen(b"first"[..].into())));
    answer(&listener, batch);
    assert_eq!((first.progress(), second.progress()), (Progress::Done, Progress::Waiting));
}

/// A thousand LISTEN of a client that has a thousand channels looked at a million names.
#[test]
fn one_more_channel_costs_the_same_however_many_there_are() {
    let listener = Listener::default();
    let ear = ear(&[]);
    for i in 0..1000 {
        ear.join(names(&[&format!("c{i}")]).into_iter());
        ask(&listener, &ear);
        let (sql, batch) = next(&listener).unwrap();
        assert_eq!(sql, format!("LISTEN \"c{i}\""), "and nothing else");
        answer(&listener, batch);
        assert_eq!(ear.progress(), Progress::Done);
        ear.join(names(&["d"]).into_iter());
        ear.forget(std::iter::once(&b"d"[..]));
        assert_eq!(ear.take_news().len(), 2, "what has changed, and nothing else");
    }
    assert_eq!(ear.count(), 1000);
}

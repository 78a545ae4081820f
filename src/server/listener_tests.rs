//! The books of the listener, without a connection.

use super::*;

fn ear(channels: &[&str]) -> Rc<Ear> {
    let ear = Rc::new(Ear::default());
    ear.want(channels.iter().map(|name| name.as_bytes().into()).collect());
    ear
}

/// The next query; the connection is up.
fn next(listener: &Listener) -> Option<(String, Batch)> {
    let batch = listener.next_batch(rt::turn_time())?;
    Some((String::from_utf8(batch.sql.clone()).unwrap(), batch))
}

fn ask(listener: &Listener, ear: &Rc<Ear>) {
    listener.update(ear);
    listener.books.borrow_mut().waiting.push(key(ear));
    ear.set_progress(Progress::Waiting);
}

#[test]
fn a_channel_is_asked_for_once_and_given_up_with_its_last_client() {
    let listener = Listener::default();
    let (first, second) = (ear(&["a\"b"]), ear(&["a\"b"]));
    ask(&listener, &first);
    let (sql, batch) = next(&listener).unwrap();
    assert_eq!(sql, "LISTEN \"a\"\"b\";");
    ask(&listener, &second);
    listener.answered(batch);
    assert_eq!((first.progress(), second.progress()), (Progress::Done, Progress::Waiting));
    let (sql, batch) = next(&listener).unwrap();
    assert_eq!(sql, "", "what is in force is not asked for again, but waited for");
    listener.answered(batch);
    assert_eq!(second.progress(), Progress::Done);
    listener.leave(&first);
    assert!(next(&listener).is_none() && listener.is_wanted());
    listener.leave(&second);
    let (sql, batch) = next(&listener).unwrap();
    assert_eq!(sql, "UNLISTEN \"a\"\"b\";");
    listener.answered(batch);
    assert!(next(&listener).is_none() && !listener.is_wanted());
    assert!(listener.books.borrow().channels.is_empty());
}

#[test]
fn who_heard_before_a_loss_is_told_when_all_of_its_channels_are_heard_again() {
    let listener = Listener::default();
    let names: Vec<String> = (0..=MAX_BATCH).map(|i| format!("c{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (old, fresh) = (ear(&names), ear(&["c0"]));
    ask(&listener, &old);
    while let Some((_, batch)) = next(&listener) {
        listener.answered(batch);
    }
    assert_eq!(old.progress(), Progress::Done);
    listener.lost(None);
    ask(&listener, &fresh);
    let (_, batch) = next(&listener).unwrap();
    listener.answered(batch);
    assert!(!old.has_heard(), "one channel is missing");
    let (_, batch) = next(&listener).unwrap();
    listener.answered(batch);
    assert!(old.has_heard() && !fresh.has_heard());
}

#[test]
fn who_asked_for_what_broke_the_connection_is_refused() {
    let listener = Listener::default();
    let ear = ear(&["a"]);
    ask(&listener, &ear);
    let (_, batch) = next(&listener).unwrap();
    listener.lost(Some(batch));
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

//! The connection that listens, with a far end that says what a test wants.

use super::super::test_home::Bench;
use super::super::test_net::tcp_pair;
use super::super::tests::plan;
use super::*;
use crate::config::SslMode;
use crate::session::{Ear, Progress};

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

fn done(tag: &str) -> Vec<u8> {
    [message(b'C', format!("{tag}\0").as_bytes()), message(b'Z', b"I")].concat()
}

fn refused(severity: Severity) -> Vec<u8> {
    let mut out = Vec::new();
    PgError { severity, ..PgError::error(crate::proto::SqlState::INTERNAL_ERROR, "no") }.put(&mut out);
    out.extend(message(b'Z', b"I"));
    out
}

fn notification(channel: &str) -> Vec<u8> {
    message(b'A', format!("\0\0\0\x07{channel}\0\0").as_bytes())
}

/// A connection, and clients that listen to one channel each and have asked for it.
async fn line(channels: &[&str]) -> (Line, Vec<Rc<Ear>>) {
    let bench = Bench::new();
    let (stream, _far) = tcp_pair().await;
    let plan = plan(1, SslMode::Disable);
    let mut line = Line::new(&bench.home, Opened { stream, key: None, parameters: Vec::new() }, &plan, 0);
    let ask = |name: &&str| {
        let ear = Rc::new(Ear::default());
        ear.join(std::iter::once(name.as_bytes().into()));
        bench.home.listener.expect(&ear);
        ear
    };
    let ears: Vec<_> = channels.iter().map(ask).collect();
    line.under_way = bench.home.listener.next_batch(rt::turn_time());
    (line, ears)
}

fn tell(line: &mut Line, bytes: &[Vec<u8>]) -> Result<(), End> {
    line.unread.extend(bytes.concat());
    line.understand()
}

fn progress(ears: &[Rc<Ear>]) -> Vec<Progress> {
    ears.iter().map(|ear| ear.progress()).collect()
}

#[tokio::test]
async fn each_answer_is_the_oldest_querys_and_an_error_costs_that_alone() {
    let (mut line, ears) = line(&["a", "b", "c"]).await;
    let answers = [
        done("LISTEN"),
        notification("a"),
        refused(Severity::Error),
        notification("b"),
        done("LISTEN"),
        notification("c"),
    ];
    tell(&mut line, &answers).unwrap();
    assert_eq!(progress(&ears), [Progress::Done, Progress::Refused, Progress::Done]);
    assert!(line.under_way.is_none());
    let heard: Vec<bool> = ears.iter().map(|ear| ear.has_heard()).collect();
    assert_eq!(heard, [false, false, true], "what came before it was all done is nobody's");
    tell(&mut line, &[notification("a"), notification("c")]).unwrap();
    assert!(ears[0].has_heard());
}

#[tokio::test]
async fn a_hundred_notifications_of_one_read_are_all_heard_at_once() {
    let (mut line, ears) = line(&["a"]).await;
    tell(&mut line, &[done("LISTEN")]).unwrap();
    tell(&mut line, &vec![notification("a"); 100]).unwrap();
    let mut heard = Vec::new();
    ears[0].take_heard(&mut heard);
    assert_eq!(heard, notification("a").repeat(100));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_ends_the_connection() {
    let misfits: [&[Vec<u8>]; 6] = [
        &[done("UNLISTEN")],
        &[message(b'Z', b"I")],
        &[message(b'I', b""), message(b'Z', b"I")],
        &[refused(Severity::Fatal)],
        &[done("LISTEN"), message(b'Z', b"I")],
        &[done("LISTEN"), refused(Severity::Error)],
    ];
    for answers in misfits {
        let (mut line, _ears) = line(&["a"]).await;
        assert!(matches!(tell(&mut line, answers), Err(End::Lost(_))), "{answers:?}");
    }
}

/// An order to connect anew that came while the connection was being opened, by settings that were no more, was lost.
#[tokio::test]
async fn who_orders_a_new_connection_while_it_is_opened_gets_another_one() {
    let (line, _ears) = line(&["a"]).await;
    let home = Rc::clone(&line.home);
    let seen = home.listener.renewals.get();
    home.listener.renew();
    let (stream, _far) = tcp_pair().await;
    let plan = plan(1, SslMode::Disable);
    let mut late = Line::new(&home, Opened { stream, key: None, parameters: Vec::new() }, &plan, seen);
    let polled = poll_fn(|cx| Poll::Ready(late.poll(cx))).await;
    assert_eq!(polled, Poll::Ready(End::Ordered));
}

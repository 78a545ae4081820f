//! Short turns come to what rounds come to.

use std::rc::Rc;
use std::task::Poll;

use proptest::prelude::*;

use super::entry::{ClientEntry, ClientState, Pause};
use super::relay::Relay;
use super::test_entry::entry;
use crate::config::Runtime;
use crate::net::{Stream, rt, spawn_local, yield_now};
use crate::proto::FrameHeader;
use crate::server::test_home::{Bench, RULES};
use crate::server::test_net::tcp_pair;
use crate::session::{ParamSet, Session};

/// Turns of the executor in which everything that can happen has happened.
const ENOUGH: usize = 12;

/// What somebody does in a step: which client says what, or how the server answers what it was asked.
type Step = (u8, u8);

/// What each client got, and how it is shown.
type Shown = (Vec<u8>, ClientState, Pause, [bool; 5]);

/// What can be seen after a step: what the server got, the clients, who holds the server, and what was counted.
type Seen = (Vec<u8>, [Shown; 2], u32, [u64; 4]);

fn said(what: u8) -> &'static [u8] {
    const QUERY: &[u8] = b"Q\0\0\0\x06x\0";
    match what {
        0 => QUERY,
        1..=3 => b"Q\0\0\0\x0dselect 1\0",
        4 => b"Q\0\0\0\x0dselect 1\0Q\0\0\0\x06y\0",
        5 => b"Q\0\0",
        6 => b"\0\x06x\0",
        7 | 8 => b"B\0\0\0\x0c\0\0\0\0\0\0\0\0D\0\0\0\x06P\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04",
        9 => b"S\0\0\0\x04",
        10 => b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0",
        11 => b"Q\0\0\0\x06x\0S\0\0",
        12 => b"\0\x04",
        _ => b"X\0\0\0\x04",
    }
}

/// Answers to all that has come, in a block if `in_block`.
fn answers(asked: &mut Vec<u8>, in_block: bool) -> Vec<u8> {
    let mut out = Vec::new();
    while let Ok(Some(header)) = FrameHeader::frontend(asked)
        && header.wire_len <= asked.len()
    {
        let ready: &[u8] = if in_block { b"Z\0\0\0\x05T" } else { b"Z\0\0\0\x05I" };
        match header.tag {
            b'Q' => out.extend([b"T\0\0\0\x04D\0\0\0\x06\0\0C\0\0\0\x06x\0", ready].concat()),
            b'B' => out.extend(b"2\0\0\0\x04"),
            b'D' => out.extend(b"n\0\0\0\x04"),
            b'E' => out.extend(b"D\0\0\0\x06\0\0C\0\0\0\x06x\0"),
            _ => out.extend(ready),
        }
        asked.drain(..header.wire_len);
    }
    out
}

/// What has arrived.
async fn hear(stream: &mut Stream) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let n = std::future::poll_fn(|cx| match stream.poll_read(cx, &mut bytes) {
        Poll::Ready(Ok(n)) => Poll::Ready(n),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(0),
    });
    let n = n.await;
    bytes.truncate(n);
    bytes
}

fn shown(entry: &ClientEntry, got: Vec<u8>) -> Shown {
    let flags = [
        entry.running.get(),
        entry.request_since.get().is_some(),
        entry.server.get().is_some(),
        entry.waiter.get().is_some(),
        entry.pause_since.get() >= entry.request_at.get(),
    ];
    (got, entry.state.get(), entry.pause.get(), flags)
}

/// Two clients with one server between them go through a script.
async fn play(script: Vec<Step>, plods: bool) -> Vec<Seen> {
    let bench = Rc::new(Bench::new());
    let (lease, mut server) = bench.lend().await;
    Bench::put_back(lease);
    let (mut clients, mut entries) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let (ours, client) = tcp_pair().await;
        let entry = entry(&bench.home);
        let session = Session::new(RULES, ParamSet::default());
        let mut relay = Relay::new(ours, session, Rc::clone(&bench.home), Rc::clone(&entry));
        relay.plods = plods;
        spawn_local("relay", async move {
            let ended = relay.run().await;
            relay.finish(&ended)
        });
        clients.push(client);
        entries.push(entry);
    }
    let (mut asked, mut seen) = (Vec::new(), Vec::new());
    for (who, what) in script {
        if who < 4 {
            let _ = clients[usize::from(who % 2)].write_all(said(what)).await;
        } else {
            let reply = answers(&mut asked, what == 0);
            let (now, later) = reply.split_at(if what == 1 { reply.len() / 2 } else { reply.len() });
            let _ = server.write_all(now).await;
            for _ in 0..ENOUGH {
                yield_now().await;
            }
            let _ = server.write_all(later).await;
        }
        for _ in 0..ENOUGH {
            yield_now().await;
        }
        let got = hear(&mut server).await;
        asked.extend(&got);
        let mut all = Vec::new();
        for (client, entry) in clients.iter_mut().zip(&entries) {
            all.push(shown(entry, hear(client).await));
        }
        let counters = bench.home.counters.borrow();
        let counted = [counters.xacts, counters.queries, counters.client_bytes, counters.server_bytes];
        seen.push((got, all.try_into().unwrap(), bench.home.pool.active(), counted));
    }
    seen
}

/// The same on an executor of its own.
fn played(script: &[Step], plods: bool) -> Vec<Seen> {
    let script = script.to_vec();
    let (tell, told) = std::sync::mpsc::channel();
    let work = move || async move { tell.send(play(script, plods).await).unwrap() };
    rt::run_worker("short", Runtime::Reactor, work).unwrap().join().unwrap();
    told.recv().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_short_turn_comes_to_what_rounds_come_to(
        script in proptest::collection::vec((0u8..9, 0u8..14), 1..24),
    ) {
        prop_assert_eq!(played(&script, false), played(&script, true));
    }
}

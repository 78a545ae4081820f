//! Clients between their requests: what stays of an idle one, and how it gets to work again.
//!
//! Owns: who has a [`Relay`]. Does not know: what relays do. An idle client is its socket, its parameters and its
//! statements; everything else is lent by its worker from the moment something happens until the client rests again,
//! memory included. So a worker needs room for the clients that are busy, not for those that are connected.
//!
//! Getting up costs a few hundred instructions. So a client whose turn is over keeps its seat for the next one, unless
//! too many do, or it has been idle for a while: the worker's tick looks after those.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::ended::Ended;
use super::entry::{ClientEntry, Pause};
use super::relay::Relay;
use super::wire::Scratch;
use crate::net::{Stream, rt};
use crate::pool::Lease;
use crate::server::{Home, ServerConn};
use crate::session::{Rested, Session, Spare};

/// Seats kept for clients to come. The busy clients of a worker come and go one by one, so fewer would do.
const MAX_SPARE: usize = 64;

/// Clients that may keep their seats between their requests: more than a worker has busy at a time as a rule, and
/// some 200 kB.
const MAX_KEPT: usize = 256;

/// How long a client must have been idle to be taken for one that stays so.
const KEEP_TIME: Duration = Duration::from_secs(1);

/// A place to work at.
#[derive(Default)]
pub(super) struct Seat {
    relay: Option<Relay>,
    /// Its client is counted among those that keep theirs.
    kept: bool,
    /// Memory for the bytes that wait for a server, and for those that wait for the client; empty.
    carry: Vec<u8>,
    unsent: Vec<u8>,
    session: Spare,
}

/// The seats of a worker that nobody works at.
#[derive(Default)]
pub(super) struct Seats {
    #[allow(clippy::vec_box)] // a seat stays where it is: it is lent, not copied
    spare: Vec<Box<Seat>>,
    /// Clients that keep theirs.
    kept: usize,
}

impl std::fmt::Debug for Seats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seats").field("spare", &self.spare.len()).field("kept", &self.kept).finish()
    }
}

impl Seats {
    fn give_back(&mut self, seat: Box<Seat>) {
        if self.spare.len() < MAX_SPARE {
            self.spare.push(seat);
        }
    }

    /// Counts a client that keeps its seat, if one more may.
    fn keep(&mut self, seat: &mut Seat) -> bool {
        seat.kept = self.kept < MAX_KEPT;
        self.kept += usize::from(seat.kept);
        seat.kept
    }

    /// A client goes on where it sits.
    fn use_again(&mut self, seat: &mut Seat) {
        self.kept -= usize::from(std::mem::take(&mut seat.kept));
    }
}

/// One client's conversation from its welcome to its end, in little room while it is idle.
pub struct Conversation {
    state: State,
    scratch: Rc<RefCell<Scratch>>,
}

/// Whether a client can go to another worker now.
pub enum Leaving {
    /// It can, and this is all of it.
    Fit(Stream, Rested),
    /// It is at work, or about to be: later.
    Busy,
    /// It rests, and has what cannot go along.
    Unfit,
}

enum State {
    /// Not at work yet; the server is to be linked.
    Served(Box<(Stream, Rested, Lease<ServerConn>)>),
    Resting(Stream, Rested),
    Busy(Box<Seat>),
    /// Between the two, or over.
    Gone,
}

impl ClientEntry {
    /// Whether it has a seat that it has not needed for a while: its task should be woken to give it back.
    pub fn keeps_idle_seat(&self, now: Instant) -> bool {
        let idle = self.paused_since(Pause::Idle).filter(|_| self.seated.get());
        idle.is_some_and(|since| now.saturating_duration_since(since) >= KEEP_TIME)
    }
}

impl Conversation {
    /// With a client that has been welcomed, and keeps this server from the start.
    pub fn with_server(
        stream: Stream,
        session: Session,
        scratch: Rc<RefCell<Scratch>>,
        lease: Lease<ServerConn>,
    ) -> Self {
        Self { state: State::Served(Box::new((stream, session.rest().0, lease))), scratch }
    }

    /// With a client that has been welcomed.
    pub fn new(stream: Stream, session: Session, scratch: Rc<RefCell<Scratch>>) -> Self {
        Self { state: State::Resting(stream, session.rest().0), scratch }
    }

    /// Works as long as there is something to do; ready when it is over. To be called again when the task is woken.
    /// `entry` is the client's, in its pool `home`.
    pub fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        entry: &Rc<ClientEntry>,
        home: &Rc<Home>,
    ) -> Poll<Ended> {
        let now = rt::turn_time();
        if !matches!(self.state, State::Busy(_))
            && let Err(ended) = self.take_seat(cx, now, entry, home)
        {
            return Poll::Ready(ended);
        }
        let State::Busy(seat) = &mut self.state else { return Poll::Pending };
        let mut scratch = self.scratch.borrow_mut();
        let was_kept = seat.kept;
        if was_kept {
            scratch.seats.use_again(seat);
        }
        let Some(relay) = &mut seat.relay else { return Poll::Pending };
        let polled = relay.poll_turn(cx, now, &mut scratch);
        if polled.is_pending() && relay.can_rest() {
            let stays_idle = was_kept && entry.keeps_idle_seat(now);
            let keeps = !stays_idle && scratch.seats.keep(seat);
            entry.seated.set(keeps);
            if !keeps {
                drop(scratch);
                self.stand_up();
            }
        }
        polled
    }

    /// Gets to work. The task is one for as long as the conversation lasts, so it is asked for its waker here only.
    fn take_seat(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        entry: &Rc<ClientEntry>,
        home: &Rc<Home>,
    ) -> Result<(), Ended> {
        entry.listen(cx.waker());
        if matches!(self.state, State::Served(_)) {
            return self.sit_down_with_server(cx, now, entry, home);
        }
        self.sit_down(entry, home);
        Ok(())
    }

    fn sit_down_with_server(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        entry: &Rc<ClientEntry>,
        home: &Rc<Home>,
    ) -> Result<(), Ended> {
        let State::Served(served) = std::mem::replace(&mut self.state, State::Gone) else { return Ok(()) };
        let (stream, rested, lease) = *served;
        self.state = State::Resting(stream, rested);
        self.sit_down(entry, home);
        let State::Busy(seat) = &mut self.state else { return Ok(()) };
        let Some(relay) = &mut seat.relay else { return Ok(()) };
        relay.link_to(cx, now, &mut self.scratch.borrow_mut().out, lease, now)
    }

    fn sit_down(&mut self, entry: &Rc<ClientEntry>, home: &Rc<Home>) {
        let State::Resting(stream, rested) = std::mem::replace(&mut self.state, State::Gone) else { return };
        let mut seat = self.scratch.borrow_mut().seats.spare.pop().unwrap_or_default();
        let (home, entry) = (Rc::clone(home), Rc::clone(entry));
        let session = rested.resume(std::mem::take(&mut seat.session));
        let relay = Relay::new(stream, session, home, entry);
        let relay = seat.relay.insert(relay);
        relay.carry = std::mem::take(&mut seat.carry);
        relay.unsent = std::mem::take(&mut seat.unsent);
        self.state = State::Busy(seat);
    }

    fn stand_up(&mut self) {
        let State::Busy(mut seat) = std::mem::replace(&mut self.state, State::Gone) else { return };
        if let Some(Relay { stream, session, carry, unsent, .. }) = seat.relay.take() {
            let (rested, spare) = session.rest();
            (seat.carry, seat.unsent, seat.session) = (carry, unsent, spare);
            self.state = State::Resting(stream, rested);
        }
        self.scratch.borrow_mut().seats.give_back(seat);
    }

    /// With a client that comes from another worker.
    pub const fn resumed(stream: Stream, rested: Rested, scratch: Rc<RefCell<Scratch>>) -> Self {
        Self { state: State::Resting(stream, rested), scratch }
    }

    /// What there is of a client that rests and may move to another worker; the conversation here is over then.
    pub fn take_resting(&mut self) -> Leaving {
        if let State::Busy(seat) = &mut self.state {
            if !seat.relay.as_ref().is_some_and(Relay::can_rest) {
                return Leaving::Busy;
            }
            self.scratch.borrow_mut().seats.use_again(seat);
            self.stand_up();
        }
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Resting(stream, rested) if rested.can_move() && !stream.has_unread() => {
                Leaving::Fit(stream, rested)
            }
            State::Resting(stream, rested) => {
                let is_busy = stream.has_unread();
                self.state = State::Resting(stream, rested);
                if is_busy { Leaving::Busy } else { Leaving::Unfit }
            }
            other @ (State::Served(_) | State::Busy(_) | State::Gone) => {
                self.state = other;
                Leaving::Busy
            }
        }
    }

    /// The end; see `Relay::finish`. `None` only if the conversation has not ended.
    pub fn finish(self, ended: &Ended) -> Option<(Stream, Option<Vec<u8>>)> {
        let State::Busy(mut seat) = self.state else { return None };
        let relay = seat.relay.take()?;
        self.scratch.borrow_mut().seats.give_back(seat);
        Some(relay.finish(ended))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::test_entry::entry;
    use super::*;
    use crate::net::{clock, yield_now};
    use crate::server::test_home::{Bench, RULES};
    use crate::server::test_net::{read_some, soon, tcp_pair};
    use crate::session::ParamSet;

    const QUERY: &[u8] = b"Q\0\0\0\x06x\0";
    const DONE: &[u8] = b"C\0\0\0\x06x\0Z\0\0\0\x05I";

    async fn turn(talk: &mut Conversation, entry: &Rc<ClientEntry>, home: &Rc<Home>) {
        let turn = poll_fn(|cx| Poll::Ready(talk.poll_turn(cx, entry, home))).await;
        assert!(turn.is_pending());
        yield_now().await;
    }

    async fn query(
        talk: &mut Conversation,
        entry: &Rc<ClientEntry>,
        home: &Rc<Home>,
        (client, server): (&mut Stream, &mut Stream),
    ) {
        client.write_all(QUERY).await.unwrap();
        while !entry.running.get() {
            turn(talk, entry, home).await;
        }
        read_some(server, QUERY.len()).await;
        server.write_all(DONE).await.unwrap();
        while entry.pause.get() != Pause::Idle {
            turn(talk, entry, home).await;
        }
        assert_eq!(read_some(client, DONE.len()).await, DONE);
    }

    #[tokio::test]
    async fn an_idle_client_gives_its_seat_back_and_works_on_when_it_asks_again() {
        let work = async {
            let bench = Bench::new();
            let (lease, mut server) = bench.lend().await;
            Bench::put_back(lease);
            let (ours, mut client) = tcp_pair().await;
            let (entry, home) = (entry(&bench.home), &bench.home);
            let scratch = Rc::<RefCell<Scratch>>::default();
            let session = Session::new(RULES, ParamSet::default());
            let mut talk = Conversation::new(ours, session, Rc::clone(&scratch));
            for _ in 0..2 {
                assert!(matches!(talk.state, State::Resting(..)));
                query(&mut talk, &entry, home, (&mut client, &mut server)).await;
                query(&mut talk, &entry, home, (&mut client, &mut server)).await;
                assert_eq!(scratch.borrow().seats.kept, 1, "ready for the next request");
                entry.pause_since.set(clock::now().checked_sub(KEEP_TIME));
                assert!(entry.keeps_idle_seat(clock::now()));
                turn(&mut talk, &entry, home).await;
                let scratch = scratch.borrow();
                assert_eq!((scratch.seats.kept, scratch.seats.spare.len()), (0, 1), "the same one again");
            }
        };
        tokio::task::LocalSet::new().run_until(soon(work)).await;
    }
}

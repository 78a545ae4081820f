//! Clients between their requests: what stays of an idle one, and how it gets to work again.
//!
//! Owns: who has a [`Relay`]. Does not know: what relays do. An idle client is its socket, its parameters and its
//! statements; everything else is lent by its worker from the moment something happens until the client is idle
//! again, memory included. So a worker needs room for the clients that are busy, not for those that are connected.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::ended::Ended;
use super::entry::ClientEntry;
use super::relay::Relay;
use super::wire::Scratch;
use crate::net::Stream;
use crate::server::Home;
use crate::session::{Rested, Session};

/// Seats kept for clients to come; about 50 kB. The busy clients of a worker come and go one by one, so far fewer
/// would do.
const MAX_SPARE_SEATS: usize = 64;

/// A place to work at.
#[derive(Default)]
pub(super) struct Seat {
    relay: Option<Relay>,
    /// Memory for the bytes that wait for a server, and for those that wait for the client; empty.
    carry: Vec<u8>,
    unsent: Vec<u8>,
}

/// Seats that are free.
#[derive(Default)]
#[allow(clippy::vec_box)] // a seat stays where it is: it is lent, not copied
pub(super) struct Seats(Vec<Box<Seat>>);

impl std::fmt::Debug for Seats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Seats").field(&self.0.len()).finish()
    }
}

impl Seats {
    fn give_back(&mut self, seat: Box<Seat>) {
        if self.0.len() < MAX_SPARE_SEATS {
            self.0.push(seat);
        }
    }
}

/// One client's conversation from its welcome to its end, in little room while it is idle.
pub struct Conversation {
    state: State,
    home: Rc<Home>,
    entry: Rc<ClientEntry>,
    scratch: Rc<RefCell<Scratch>>,
}

enum State {
    Resting(Stream, Rested),
    Busy(Box<Seat>),
    /// Between the two, or over.
    Gone,
}

impl Conversation {
    /// With a client that has been welcomed.
    pub fn new(
        stream: Stream,
        session: Session,
        home: Rc<Home>,
        entry: Rc<ClientEntry>,
        scratch: Rc<RefCell<Scratch>>,
    ) -> Self {
        Self { state: State::Resting(stream, session.rest()), home, entry, scratch }
    }

    /// Works as long as there is something to do; ready when it is over. To be called again when the task is woken.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if matches!(self.state, State::Resting(..)) {
            self.sit_down();
        }
        let State::Busy(seat) = &mut self.state else { return Poll::Pending };
        let Some(relay) = &mut seat.relay else { return Poll::Pending };
        let polled = relay.poll_turn(cx);
        if polled.is_pending() && relay.can_rest() {
            self.stand_up();
        }
        polled
    }

    fn sit_down(&mut self) {
        let State::Resting(stream, rested) = std::mem::replace(&mut self.state, State::Gone) else { return };
        let mut seat = self.scratch.borrow_mut().seats.0.pop().unwrap_or_default();
        let (home, entry) = (Rc::clone(&self.home), Rc::clone(&self.entry));
        let relay = Relay::new(stream, rested.resume(), home, entry, Rc::clone(&self.scratch));
        let relay = seat.relay.insert(relay);
        relay.carry = std::mem::take(&mut seat.carry);
        relay.unsent = std::mem::take(&mut seat.unsent);
        self.state = State::Busy(seat);
    }

    fn stand_up(&mut self) {
        let State::Busy(mut seat) = std::mem::replace(&mut self.state, State::Gone) else { return };
        if let Some(Relay { stream, session, carry, unsent, .. }) = seat.relay.take() {
            (seat.carry, seat.unsent) = (carry, unsent);
            self.state = State::Resting(stream, session.rest());
        }
        self.scratch.borrow_mut().seats.give_back(seat);
    }

    /// The end; see `Relay::finish`. `None` only if the conversation has not ended.
    pub fn finish(self, ended: &Ended) -> Option<(Stream, Option<Vec<u8>>)> {
        let State::Busy(mut seat) = self.state else { return None };
        let relay = seat.relay.take()?;
        self.scratch.borrow_mut().seats.give_back(seat);
        Some(relay.finish(ended))
    }
}

//! The relay between one client and whichever server it is linked to.
//!
//! Owns: moving bytes both ways. `linking` beside this file gets and gives back servers, `books` tells the worker.
//! Decides nothing about messages: that is the session's.
//!
//! All progress is in [`Relay`]; a turn may stop at any point and be dropped there. The two directions are
//! independent: being blocked while writing in one never stops the other (C7).

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::ended::Ended;
use super::entry::ClientEntry;
use super::linking::turn;
use super::short::Short;
use super::wire::{Outboxes, Scratch, flush, send};
use crate::net::Stream;
#[cfg(test)]
use crate::net::rt;
use crate::pool::{Checkout, Lease};
use crate::proto::TxStatus;
use crate::server::{Home, ServerConn};
use crate::session::{Halt, Session, Taken};

/// Rounds of one turn before other clients of the worker have theirs; each moves one read buffer at most.
const ROUNDS_PER_TURN: u32 = 16;

/// Bytes read ahead from a client that has to wait, so that its leaving is noticed (F17, F21). Behind more than
/// these the end shows only on the reactor, which is asked on each tick.
pub(super) const READ_AHEAD: usize = 16 * 1024;

/// Replies made here that may wait for a client that does not read; beyond, its requests wait too (B26).
pub(super) const CLIENT_BACKLOG: usize = 256 * 1024;

/// The server in use. Bytes under way are the relay's, not the connection's (R7).
pub(super) struct Link {
    pub(super) lease: Lease<ServerConn>,
    /// Writing failed; what the server said before is still to be read.
    pub(super) mute: bool,
}

/// Why bytes of the client wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stall {
    None,
    Server,
    Replies,
    /// A side that does not read has to take what it was sent before.
    Peer,
}

/// Which sides have told in this round that there is nothing to read, and will wake the task when there is.
#[derive(Clone, Copy, Default)]
pub(super) struct Dry {
    pub(super) client: bool,
    pub(super) server: bool,
}

/// See the module.
pub(super) struct Relay {
    pub(super) stream: Stream,
    pub(super) session: Session,
    pub(super) home: Rc<Home>,
    pub(super) entry: Rc<ClientEntry>,
    /// From the client, not understood yet.
    pub(super) carry: Vec<u8>,
    /// To the client, not taken yet.
    pub(super) unsent: Vec<u8>,
    pub(super) link: Option<Link>,
    /// From the linked server, not understood yet. Without a link there is nothing.
    pub(super) unread: Vec<u8>,
    /// To the linked server, not taken yet. Without a link there is nothing.
    pub(super) unsaid: Vec<u8>,
    pub(super) checkout: Option<Checkout<ServerConn>>,
    pub(super) stall: Stall,
    pub(super) dry: Dry,
    /// What stalled may have changed: look at the carry again.
    pub(super) retry: bool,
    /// All turns are rounds, so that a test can compare.
    #[cfg(test)]
    pub(super) plods: bool,
}

impl Relay {
    /// A relay for a client that has been welcomed.
    pub(super) fn new(stream: Stream, session: Session, home: Rc<Home>, entry: Rc<ClientEntry>) -> Self {
        Self {
            stream,
            session,
            home,
            entry,
            carry: Vec::new(),
            unsent: Vec::new(),
            link: None,
            unread: Vec::new(),
            unsaid: Vec::new(),
            checkout: None,
            stall: Stall::None,
            dry: Dry::default(),
            retry: false,
            #[cfg(test)]
            plods: false,
        }
    }

    /// Whether what is left of it in a [`Conversation`](super::resting::Conversation) at rest is enough.
    #[inline(always)]
    pub(super) fn can_rest(&self) -> bool {
        self.link.is_none() && self.has_nothing_to_do()
    }

    #[inline(always)]
    fn has_nothing_to_do(&self) -> bool {
        self.checkout.is_none()
            && self.carry.is_empty()
            && self.unsent.is_empty()
            && self.stall == Stall::None
            && !self.retry
            && !self.stream.has_unsent()
            && self.session.can_rest()
    }

    /// Works until the conversation is over. Cancel safe: nothing is held by the future.
    #[cfg(test)]
    pub(super) async fn run(&mut self) -> Ended {
        let mut scratch = Scratch::default();
        let turn = |cx: &mut Context<'_>| {
            self.entry.listen(cx.waker());
            self.poll_turn(cx, rt::turn_time(), &mut scratch)
        };
        std::future::poll_fn(turn).await
    }

    /// Works as long as there is something to do; ready when the conversation is over. The client's entry must know the
    /// task's waker.
    pub(super) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Poll<Ended> {
        match self.short_turn(cx, now, scratch) {
            Ok(Short::Unclear) => return self.poll_rounds(cx, now, scratch),
            Ok(Short::Asked) => self.publish_question(now),
            Ok(Short::Answered) => self.publish_answer(now),
            Ok(Short::Done) => self.publish(now, false),
            Err(ended) => {
                self.publish(now, true);
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    }

    #[inline(never)]
    fn poll_rounds(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut Scratch) -> Poll<Ended> {
        for _ in 0..ROUNDS_PER_TURN {
            match self.round(cx, now, scratch) {
                Ok(true) => {}
                Ok(false) => {
                    self.publish(now, false);
                    return Poll::Pending;
                }
                Err(ended) => {
                    self.publish(now, true);
                    return Poll::Ready(ended);
                }
            }
        }
        self.publish(now, false);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One look at both directions; whether anything moved.
    fn round(&mut self, cx: &mut Context<'_>, now: Instant, scratch: &mut Scratch) -> Result<bool, Ended> {
        let mut moved = false;
        self.dry = Dry::default();
        flush(&mut self.stream, cx, &mut self.unsent).map_err(gone)?;
        if let Some(link) = &mut self.link
            && !link.mute
        {
            link.mute = flush(&mut link.lease.stream, cx, &mut self.unsaid).is_err();
        }
        moved |= self.pump_server(cx, now, scratch)?;
        let waits = self.checkout.is_some();
        moved |= self.pump_client(cx, now, scratch)?;
        if waits {
            moved |= self.poll_checkout(cx, now, &mut scratch.out)?;
        }
        if self.session.ear().is_some() {
            moved |= self.mind_channels(cx, now, &mut scratch.out)?;
        }
        // A server that was just lent for what waits in the carry is at rest too, but not done with.
        if self.link.is_some() && !self.retry && !self.session.is_running() {
            self.release_if_possible(cx, now, &mut scratch.out)?;
        }
        if self.entry.is_asked.get() {
            self.obey()?;
        }
        Ok(moved && !self.is_settled(cx))
    }

    /// Whether another look would surely find nothing, and whatever comes next wakes this task.
    #[inline]
    pub(super) fn is_settled(&self, cx: &Context<'_>) -> bool {
        let stalls = match self.stall {
            Stall::None => self.checkout.is_some(),
            Stall::Server => self.checkout.is_none(), // else it was asked in this round
            Stall::Replies | Stall::Peer => true,
        };
        let link_rests = |link: &Link| {
            !link.mute && self.unsaid.is_empty() && (self.dry.server || link.lease.stream.is_dry(cx))
        };
        !self.retry
            && !stalls
            && self.unsent.is_empty()
            && (self.dry.client || self.stream.is_dry(cx))
            && self.link.as_ref().is_none_or(link_rests)
    }

    fn pump_server(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<bool, Ended> {
        if !self.unsent.is_empty() {
            return Ok(false); // back-pressure: the client has not taken what it has
        }
        if self.link.is_none() {
            return Ok(false);
        }
        let Some(n) = self.read_server(cx, &mut scratch.read)? else { return Ok(false) };
        let arrived = scratch.read.get(..n).unwrap_or_default();
        self.server_said(cx, now, &mut scratch.out, (arrived, 0))?;
        Ok(true)
    }

    fn pump_client(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<bool, Ended> {
        let blocked = self.is_blocked();
        if !blocked && (std::mem::take(&mut self.retry) || self.stall == Stall::Peer) {
            self.advance_carry(cx, now, &mut scratch.out)?;
            return Ok(true);
        }
        let waits = blocked || self.stall != Stall::None;
        let full = waits && self.carry.len() >= READ_AHEAD;
        self.entry.read_ahead_full.set(full);
        if full {
            return if self.stream.has_hung_up() { Err(Ended::ClientGone(None)) } else { Ok(false) };
        }
        let Some(n) = self.read_client(cx, &mut scratch.read)? else { return Ok(false) };
        self.entry.heard(now);
        let arrived = scratch.read.get(..n).unwrap_or_default();
        if waits {
            self.carry.extend_from_slice(arrived);
            if self.stall == Stall::None {
                self.stall = Stall::Peer;
            }
        } else {
            self.client_said(cx, now, &mut scratch.out, arrived)?;
        }
        Ok(true)
    }

    /// Gives client bytes to the session, linking a server in between if one is free at once.
    pub(super) fn take_from_client(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
        input: &[u8],
    ) -> Result<usize, Ended> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let certain = self.link.is_none() && self.checkout.is_none() && self.session.needs_server(rest);
            let taken = if certain {
                Taken { consumed: 0, halt: Halt::NeedServer }
            } else {
                let taken = self.ask_session(now, out, rest);
                self.send_both(cx, out, rest)?;
                taken
            };
            consumed += taken.consumed;
            self.stall = match taken.halt {
                Halt::More => Stall::None,
                Halt::Wait => Stall::Replies,
                Halt::End(error) => return Err(Ended::Session(error)),
                Halt::NeedServer if self.checkout.is_some() => Stall::Server,
                Halt::NeedServer => {
                    if let Some(lease) = self.home.pool.lend_now(now) {
                        self.link_to(cx, now, out, lease, now)?;
                        continue;
                    }
                    let mut checkout = self.home.pool.checkout(now).after_a_look();
                    match checkout.poll_at(now, cx) {
                        Poll::Ready(Ok(lease)) => {
                            self.link_to(cx, now, out, lease, now)?;
                            continue;
                        }
                        Poll::Ready(Err(error)) => {
                            let rest = input.get(consumed..).unwrap_or_default();
                            consumed += self.refuse(cx, out, rest, &error)?;
                            continue;
                        }
                        Poll::Pending => {
                            self.checkout = Some(checkout);
                            Stall::Server
                        }
                    }
                }
            };
            return Ok(consumed);
        }
    }

    fn ask_session(&mut self, now: Instant, out: &mut Outboxes, input: &[u8]) -> Taken {
        out.clear();
        let mut catalog = self.home.catalog.borrow_mut();
        let lease = self.link.as_mut().map(|link| &mut link.lease);
        self.session.on_client(&mut turn(now, lease, &mut catalog, &self.home, out), input)
    }

    #[inline]
    pub(super) fn send_both(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outboxes,
        input: &[u8],
    ) -> Result<(), Ended> {
        if let Some(link) = &mut self.link
            && !link.mute
        {
            let sent = send(&mut link.lease.stream, cx, &mut out.to_server, input, &mut self.unsaid);
            link.mute = sent.is_err();
        }
        send(&mut self.stream, cx, &mut out.to_client, input, &mut self.unsent).map_err(gone)
    }

    #[cold]
    fn obey(&mut self) -> Result<(), Ended> {
        let session = &self.session;
        let busy = || session.tx() != TxStatus::Idle || session.request_since().is_some();
        let order = self.entry.take_order(|order| !(order.at_transaction_end && busy()));
        order.map_or(Ok(()), |order| Err(Ended::Ordered(order)))
    }
}

pub(super) fn gone(error: io::Error) -> Ended {
    Ended::ClientGone(Some(error))
}

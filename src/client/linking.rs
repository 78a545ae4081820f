//! How a relay gets its server and gives it back.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::ended::Ended;
use super::relay::{CLIENT_BACKLOG, Link, Relay, Stall, gone};
use super::wire::{Outboxes, consume, send};
use crate::net::{Stream, rt};
use crate::pool::{CheckoutError, Lease, RetireReason};
use crate::proto::{FrameHeader, PgError, Severity, SqlState};
use crate::server::{Home, Left, ServerConn, give_back, wind_down};
use crate::session::{Catalog, ParamSet, Quiescent, Rules, Session, SessionError, Turn};

impl Relay {
    #[inline(never)]
    pub(super) fn poll_checkout(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
    ) -> Result<bool, Ended> {
        let is_over = self.poll_link(cx, now, out)?;
        if is_over && self.link.is_some() {
            self.go_on(cx, now, out)?;
        }
        Ok(is_over)
    }

    /// Whether the wait for a server is over: one is linked, or the client was told that there is none.
    pub(super) fn poll_link(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
    ) -> Result<bool, Ended> {
        let Some(checkout) = &mut self.checkout else { return Ok(false) };
        let since = checkout.since();
        let Poll::Ready(outcome) = checkout.poll_at(since, cx) else { return Ok(false) };
        self.checkout = None;
        self.stall = Stall::None;
        match outcome {
            Ok(lease) => self.link_to(cx, now, out, lease, since)?,
            Err(error) => {
                let mut carry = std::mem::take(&mut self.carry);
                let taken = self.refuse(cx, out, &carry, &error)?;
                consume(&mut carry, taken);
                self.carry = carry;
                self.retry = true;
            }
        }
        Ok(true)
    }

    /// Whether a side has to take what it was sent before the client's bytes go on.
    pub(super) fn is_blocked(&self) -> bool {
        !self.unsaid.is_empty() || self.unsent.len() > CLIENT_BACKLOG
    }

    /// What waited for the server that has just been linked goes on.
    pub(super) fn go_on(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
    ) -> Result<(), Ended> {
        self.retry = self.is_blocked();
        if self.retry { Ok(()) } else { self.advance_carry(cx, now, out) }
    }

    #[inline(always)]
    pub(super) fn link_to(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
        lease: Lease<ServerConn>,
        since: Instant,
    ) -> Result<(), Ended> {
        lease.linked_to(self.entry.id, now);
        self.entry.server.set(Some(Rc::clone(&lease.entry)));
        {
            let mut counters = self.home.counters.borrow_mut();
            counters.assignments += 1;
            if now != since {
                let waited = now.saturating_duration_since(since).as_micros();
                counters.wait_us += u64::try_from(waited).unwrap_or(u64::MAX);
            }
        }
        let link = self.link.insert(Link { lease, mute: false });
        // From here on this task hears it.
        self.dry.server = link.lease.stream.poll_read_ready(cx).is_pending();
        if self.session.link_alike(now, &mut link.lease.facts) {
            Ok(())
        } else {
            self.put_in_force(cx, now, out)
        }
    }

    #[cold]
    fn put_in_force(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut Outboxes) -> Result<(), Ended> {
        out.clear();
        {
            let mut catalog = self.home.catalog.borrow_mut();
            let lease = self.link.as_mut().map(|link| &mut link.lease);
            self.session.put_in_force(&mut turn(now, lease, &mut catalog, &self.home, out));
        }
        self.send_both(cx, out, &[])
    }

    /// No server could be had for the message at the front of `input`: answers its batch once (R25, R97).
    pub(super) fn refuse(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Outboxes,
        input: &[u8],
        error: &CheckoutError,
    ) -> Result<usize, Ended> {
        let told = match error {
            CheckoutError::Canceled => {
                PgError::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
            }
            CheckoutError::Closed(_) | CheckoutError::Failed(_) => {
                return Err(Ended::Refused(error.for_client()));
            }
            CheckoutError::Timeout { .. } | CheckoutError::Refused(_) => {
                self.home.counters.borrow_mut().error(crate::metrics::ErrorClass::WaitTimeout);
                // A server's refusal is fatal to its login; the client's session lives (R97).
                PgError { severity: Severity::Error, ..error.for_client() }
            }
        };
        let Ok(Some(header)) = FrameHeader::frontend(input) else { return Ok(0) };
        out.clear();
        let taken = self.session.refuse_batch(&told, header, input.len(), &mut out.to_client);
        send(&mut self.stream, cx, &mut out.to_client, &[], &mut self.unsent).map_err(gone)?;
        Ok(taken)
    }

    /// Gives the server back if it is at rest and nothing of the client's waits for it.
    #[inline(always)]
    pub(super) fn release_if_possible(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
    ) -> Result<(), Ended> {
        let Some(link) = self.link.as_mut() else { return Ok(()) };
        let unsent = self.unsaid.len() + usize::from(link.lease.stream.has_unsent() || link.mute);
        let unread = self.unread.len() + usize::from(link.lease.stream.has_unread());
        if self.session.awaits_listener() {
            self.seek_listener(now, unsent, unread);
        }
        if self.session.wants_survey(unsent, unread) {
            self.send_survey(cx, now, out)?;
        }
        let Some(evidence) = self.session.try_release(unsent, unread) else { return Ok(()) };
        let Some(Link { mut lease, mute: _ }) = self.link.take() else { return Ok(()) };
        self.session.unlink();
        self.entry.server.set(None);
        let settings = self.home.settings.borrow();
        if lease.entry.cancels.get() > 0 || settings.reset_query.is_some() {
            let rules = settings.rules;
            drop(settings);
            self.give_back_by_task(rules, lease, evidence);
        } else {
            lease.unlinked();
            lease.watch();
            lease.release(evidence, now);
        }
        Ok(())
    }

    #[cold]
    fn send_survey(&mut self, cx: &mut Context<'_>, now: Instant, out: &mut Outboxes) -> Result<(), Ended> {
        out.clear();
        {
            let mut catalog = self.home.catalog.borrow_mut();
            let lease = self.link.as_mut().map(|link| &mut link.lease);
            self.session.ask_survey(&mut turn(now, lease, &mut catalog, &self.home, out));
        }
        self.send_both(cx, out, &[])
    }

    /// Cancels on their way to it, or a reset, keep the server from others for a while.
    #[cold]
    fn give_back_by_task(&self, rules: Rules, lease: Lease<ServerConn>, evidence: Quiescent) {
        let home = Rc::clone(&self.home);
        let fresh = Session::new(rules, ParamSet::default());
        rt::spawn_detached("give back", async move { give_back(&home, lease, fresh, evidence).await });
    }

    /// The end: hands the server to whoever brings it home, and the stream to whoever says goodbye.
    ///
    /// Nothing more may be said to a client that was left in the middle of a message: `None` instead of its buffer.
    pub(super) fn finish(self, ended: &Ended) -> (Stream, Option<Vec<u8>>) {
        let Self { stream, session, home, link, unsent, unread, unsaid, .. } = self;
        let last = (!session.is_mid_reply()).then_some(unsent);
        self.entry.leave();
        if let Some(ear) = session.ear() {
            home.listener.leave(ear);
        }
        if let Some(Link { lease, mute }) = link {
            match ended {
                Ended::ServerLost(_) => lease.retire(RetireReason::Crashed),
                Ended::Session(SessionError::ServerFatal(_)) => lease.retire(RetireReason::ServerClosed),
                Ended::Session(error) if error.is_servers() => lease.retire(RetireReason::UnknownPacket),
                Ended::Session(SessionError::BlockInStatementMode) => {
                    lease.retire(RetireReason::BlockInStatementMode);
                }
                Ended::Session(SessionError::Parameter(_)) => lease.retire(RetireReason::InvalidParameter),
                Ended::Session(_) | Ended::ClientGone(_) | Ended::Ordered(_) | Ended::Refused(_) => {
                    let orderly = matches!(ended, Ended::Session(SessionError::ClientClosed));
                    let unsent = unsaid.len() + usize::from(mute);
                    let reason =
                        if unsent > 0 { RetireReason::ClientGoneUnsent } else { RetireReason::ClientGone };
                    let left = Left { lease, session, unsent, unread, orderly, reason };
                    rt::spawn_detached("wind down", wind_down(home, left));
                }
            }
        }
        (stream, last)
    }
}

/// What the session works with in this turn.
pub(super) fn turn<'a>(
    now: Instant,
    lease: Option<&'a mut Lease<ServerConn>>,
    catalog: &'a mut Catalog,
    home: &'a Home,
    out: &'a mut Outboxes,
) -> Turn<'a> {
    Turn {
        now,
        facts: lease.map(|lease| &mut lease.facts),
        catalog,
        names: &home.names,
        pins: &home.pins.room,
        to_server: &mut out.to_server,
        to_client: &mut out.to_client,
    }
}

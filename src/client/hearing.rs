//! What has arrived from either side of a relay.
//!
//! Owns: the bytes between a read and the session, and what it leaves of them. Decides nothing about messages.

use std::task::{Context, Poll};
use std::time::Instant;

use super::ended::Ended;
use super::linking::turn;
use super::relay::{Relay, Stall};
use super::wire::{Outboxes, consume};
use crate::session::Halt;

impl Relay {
    /// What has arrived from the linked server, if anything has.
    #[inline(always)]
    pub(super) fn read_server(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Result<Option<usize>, Ended> {
        let Some(link) = &mut self.link else { return Ok(None) };
        match link.lease.stream.poll_read(cx, buf) {
            Poll::Pending if link.mute => Err(Ended::ServerLost(None)),
            Poll::Pending => {
                self.dry.server = true;
                Ok(None)
            }
            Poll::Ready(Ok(0)) => Err(Ended::ServerLost(None)),
            Poll::Ready(Ok(n)) => Ok(Some(n)),
            Poll::Ready(Err(error)) => Err(Ended::ServerLost(Some(error))),
        }
    }

    /// Bytes have arrived from the server, of which the session has let the first `passed` pass.
    pub(super) fn server_said(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
        (arrived, passed): (&[u8], usize),
    ) -> Result<(), Ended> {
        let outcome = if self.unread.is_empty() {
            let (taken, outcome) = self.take_from_server(cx, now, out, (arrived, passed));
            let rest = arrived.get(taken..).unwrap_or_default();
            if !rest.is_empty() {
                self.unread.extend_from_slice(rest);
            }
            outcome
        } else {
            let mut unread = std::mem::take(&mut self.unread);
            unread.extend_from_slice(arrived);
            let (taken, outcome) = self.take_from_server(cx, now, out, (&unread, 0));
            consume(&mut unread, taken);
            // Whatever becomes of the client, the server's position is not lost.
            self.unread = unread;
            outcome
        };
        outcome?;
        self.retry |= self.stall == Stall::Replies;
        Ok(())
    }

    fn take_from_server(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
        (input, passed): (&[u8], usize),
    ) -> (usize, Result<(), Ended>) {
        let Some(link) = &mut self.link else { return (0, Ok(())) };
        out.clear();
        let taken = {
            let mut catalog = self.home.catalog.borrow_mut();
            let mut turn = turn(now, Some(&mut link.lease), &mut catalog, &self.home, out);
            self.session.on_server_behind(&mut turn, input, passed)
        };
        let sent = self.send_both(cx, out, input);
        let outcome = match taken.halt {
            Halt::End(error) => Err(Ended::Session(error)),
            Halt::More | Halt::NeedServer | Halt::Wait => sent,
        };
        (taken.consumed, outcome)
    }

    /// What has arrived from the client, if anything has.
    #[inline(always)]
    pub(super) fn read_client(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Result<Option<usize>, Ended> {
        match self.stream.poll_read(cx, buf) {
            Poll::Pending => {
                self.dry.client = true;
                Ok(None)
            }
            Poll::Ready(Ok(0)) => Err(Ended::ClientGone(None)),
            Poll::Ready(Ok(n)) => Ok(Some(n)),
            Poll::Ready(Err(error)) => Err(Ended::ClientGone(Some(error))),
        }
    }

    /// Bytes have arrived from the client, and nothing keeps them from being looked at.
    #[inline]
    pub(super) fn client_said(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
        arrived: &[u8],
    ) -> Result<(), Ended> {
        if !self.carry.is_empty() {
            self.carry.extend_from_slice(arrived);
            return self.advance_carry(cx, now, out);
        }
        let taken = self.take_from_client(cx, now, out, arrived)?;
        let rest = arrived.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            self.carry.extend_from_slice(rest);
        }
        Ok(())
    }

    #[inline(never)]
    pub(super) fn advance_carry(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
    ) -> Result<(), Ended> {
        let mut carry = std::mem::take(&mut self.carry);
        let taken = self.take_from_client(cx, now, out, &carry)?;
        consume(&mut carry, taken);
        self.carry = carry;
        Ok(())
    }
}

//! The commonest turns of a relay, by the shortest way: one side has spoken, and nothing waits anywhere.
//!
//! Owns: nothing. What becomes of the bytes is decided by what every round calls; what falls away are the questions of a
//! round whose answers are known here. Where one of them is not, or is not any more, rounds do the rest.

use std::task::Context;
use std::time::Instant;

use super::ended::Ended;
use super::relay::{Dry, Link, Relay, Stall};
use super::wire::{Scratch, has_unsent};

impl Link {
    /// Whether nothing waits on its way to the server or from it.
    #[inline]
    fn is_clear(&self) -> bool {
        !self.mute && self.unread.is_empty() && !has_unsent(&self.lease.stream, &self.unsent)
    }
}

impl Relay {
    /// One look at the side that has spoken; whether that was all there was to do.
    #[inline]
    pub(super) fn short_turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<bool, Ended> {
        #[cfg(test)]
        if self.plods {
            return Ok(false);
        }
        if self.checkout.is_some() {
            return self.hear_of_server(cx, now, scratch);
        }
        if !self.is_at_ease() {
            return Ok(false);
        }
        match &self.link {
            None => self.hear_client(cx, now, scratch),
            Some(link) if !link.is_clear() => Ok(false),
            Some(link) if link.lease.stream.is_dry(cx) => self.hear_client(cx, now, scratch),
            Some(_) => self.hear_server(cx, now, scratch),
        }
    }

    /// Whether nothing of the client's waits, for whatever reason, and nobody wants anything of it.
    #[inline]
    fn is_at_ease(&self) -> bool {
        self.carry.is_empty() && self.stall == Stall::None && self.checkout.is_none() && self.is_undisturbed()
    }

    /// Whether nothing is to be done but what the side that speaks brings about.
    #[inline]
    fn is_undisturbed(&self) -> bool {
        !has_unsent(&self.stream, &self.unsent)
            && !self.retry
            && !self.entry.is_asked.get()
            && self.session.ear().is_none()
    }

    /// The client waits for a server and has said nothing more.
    #[inline(never)]
    fn hear_of_server(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<bool, Ended> {
        let waits = self.link.is_none() && self.stall == Stall::Server && self.stream.is_dry(cx);
        if !waits || !self.is_undisturbed() {
            return Ok(false);
        }
        self.dry = Dry::default();
        self.poll_checkout(cx, now, &mut scratch.out)?;
        Ok((self.link.is_none() || self.session.is_running()) && self.is_settled(cx))
    }

    /// The client's turn to speak. With a server that is linked, it has said nothing.
    #[inline]
    fn hear_client(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<bool, Ended> {
        self.dry = Dry::default();
        self.entry.read_ahead_full.set(false);
        let Some(n) = self.read_client(cx, &mut scratch.read)? else { return Ok(false) };
        self.entry.heard(now);
        let arrived = scratch.read.get(..n).unwrap_or_default();
        self.client_said(cx, now, &mut scratch.out, arrived)?;
        // A server that is at rest all the same is given back by a round.
        Ok((self.link.is_none() || self.session.is_running()) && self.is_settled(cx))
    }

    /// The server's turn.
    #[inline]
    fn hear_server(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<bool, Ended> {
        self.dry = Dry::default();
        let Some(n) = self.read_server(cx, &mut scratch.read)? else { return Ok(false) };
        let arrived = scratch.read.get(..n).unwrap_or_default();
        self.server_said(cx, now, &mut scratch.out, arrived)?;
        if self.session.is_running() {
            return Ok(self.session.ear().is_none() && self.is_settled(cx));
        }
        // What the client has said meanwhile comes before its server goes.
        if !self.is_at_ease() || !self.stream.is_dry(cx) {
            return Ok(false);
        }
        self.release_if_possible(cx, now, &mut scratch.out)?;
        Ok(self.link.is_none() || self.is_settled(cx))
    }
}

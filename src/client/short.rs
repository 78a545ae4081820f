//! The commonest turns of a relay, by the shortest way: one side has spoken, and nothing waits anywhere.
//!
//! Owns: nothing. What becomes of the bytes is decided by what every round calls; what falls away are the questions of a
//! round whose answers are known here. Where one of them is not, or is not any more, rounds do the rest.

use std::task::Context;
use std::time::Instant;

use super::ended::Ended;
use super::relay::{Dry, Link, Relay, Stall, gone};
use super::wire::{Outboxes, Scratch, consume, has_unsent, send_whole};

/// What a short turn has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Short {
    /// A plain query is on its way.
    Asked,
    /// The client has all its answers, and its server is given back.
    Answered,
    /// Something else, and that is all.
    Done,
    /// There may be more to do.
    Unclear,
}

impl Short {
    #[inline]
    const fn done_if(is_done: bool) -> Self {
        if is_done { Self::Done } else { Self::Unclear }
    }
}

impl Relay {
    /// One look at the side that has spoken.
    #[inline(always)]
    pub(super) fn short_turn(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<Short, Ended> {
        #[cfg(test)]
        if self.plods {
            return Ok(Short::Unclear);
        }
        if self.checkout.is_some() {
            return self.hear_of_server(cx, now, scratch);
        }
        if !self.is_at_ease() {
            return Ok(Short::Unclear);
        }
        let server_speaks = match &self.link {
            None => false,
            Some(link) if self.is_clear(link) => !link.lease.stream.is_dry(cx),
            Some(_) => return Ok(Short::Unclear),
        };
        if server_speaks { self.hear_server(cx, now, scratch) } else { self.hear_client(cx, now, scratch) }
    }

    /// Whether nothing waits on its way to the server or from it.
    #[inline(always)]
    fn is_clear(&self, link: &Link) -> bool {
        !link.mute && self.unread.is_empty() && !has_unsent(&link.lease.stream, &self.unsaid)
    }

    /// Whether nothing of the client's waits, for whatever reason, and nobody wants anything of it.
    #[inline(always)]
    fn is_at_ease(&self) -> bool {
        self.carry.is_empty() && self.stall == Stall::None && self.checkout.is_none() && self.is_undisturbed()
    }

    /// Whether nothing is to be done but what the side that speaks brings about.
    #[inline(always)]
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
    ) -> Result<Short, Ended> {
        let waits = self.link.is_none() && self.stall == Stall::Server && self.stream.is_dry(cx);
        if !waits || !self.is_undisturbed() {
            return Ok(Short::Unclear);
        }
        self.dry = Dry::default();
        self.poll_link(cx, now, &mut scratch.out)?;
        if self.link.is_some() {
            if let Some(query) = self.session.lone_query(&self.carry)
                && self.session.is_plain_query(query)
            {
                let mut query = std::mem::take(&mut self.carry);
                let came = self.send_lone_query(cx, now, &query);
                let len = query.len();
                consume(&mut query, len);
                self.carry = query;
                return Ok(came);
            }
            self.go_on(cx, now, &mut scratch.out)?;
        }
        Ok(Short::done_if((self.link.is_none() || self.session.is_running()) && self.is_settled(cx)))
    }

    /// The client's turn to speak. With a server that is linked, it has said nothing.
    #[inline(always)]
    fn hear_client(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<Short, Ended> {
        self.dry = Dry::default();
        self.entry.read_ahead_full.set(false);
        let Some(n) = self.read_client(cx, &mut scratch.read)? else { return Ok(Short::Unclear) };
        let arrived = scratch.read.get(..n).unwrap_or_default();
        if let Some(query) = self.session.lone_query(arrived)
            && self.link_at_once(cx, now, &mut scratch.out)?
            && self.session.is_plain_query(query)
        {
            return Ok(self.send_lone_query(cx, now, arrived));
        }
        self.entry.heard(now);
        self.client_said(cx, now, &mut scratch.out, arrived)?;
        // A server that is at rest all the same is given back by a round.
        Ok(Short::done_if((self.link.is_none() || self.session.is_running()) && self.is_settled(cx)))
    }

    /// Whether there is a server that can have what the client says first thing.
    #[inline(always)]
    fn link_at_once(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
    ) -> Result<bool, Ended> {
        if self.link.is_none() {
            let Some(lease) = self.home.pool.lend_now(now) else { return Ok(false) };
            self.link_to(cx, now, out, lease, now)?;
        }
        Ok(!self.session.is_preparing())
    }

    /// Sends a plain query to the linked server as it is.
    #[inline(always)]
    fn send_lone_query(&mut self, cx: &mut Context<'_>, now: Instant, query: &[u8]) -> Short {
        let Some(link) = &mut self.link else { return Short::Unclear };
        self.session.send_lone_query(now, &mut link.lease.facts, query);
        link.mute = send_whole(&mut link.lease.stream, cx, query, &mut self.unsaid).is_err();
        // The same as `is_settled`, knowing that nothing of the client's waits.
        let is_settled = !link.mute
            && self.unsaid.is_empty()
            && (self.dry.server || link.lease.stream.is_dry(cx))
            && self.stream.is_dry(cx);
        if is_settled { Short::Asked } else { Short::Unclear }
    }

    /// The server's turn.
    #[inline(always)]
    fn hear_server(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        scratch: &mut Scratch,
    ) -> Result<Short, Ended> {
        self.dry = Dry::default();
        let Some(n) = self.read_server(cx, &mut scratch.read)? else { return Ok(Short::Unclear) };
        let arrived = scratch.read.get(..n).unwrap_or_default();
        let passed = self.session.pass_reply(now, arrived);
        if let Some(passed) = passed {
            self.server_said(cx, now, &mut scratch.out, (arrived, passed))?;
            if self.session.is_running() {
                return Ok(Short::done_if(self.session.ear().is_none() && self.is_settled(cx)));
            }
        } else {
            send_whole(&mut self.stream, cx, arrived, &mut self.unsent).map_err(gone)?;
        }
        // What the client has said meanwhile comes before its server goes.
        if !self.is_at_ease() || !self.stream.is_dry(cx) {
            return Ok(Short::Unclear);
        }
        self.release_if_possible(cx, now, &mut scratch.out)?;
        Ok(match (passed, &self.link) {
            (None, None) => Short::Answered,
            (Some(_), None) => Short::Done,
            (_, Some(_)) => Short::done_if(self.is_settled(cx)),
        })
    }
}

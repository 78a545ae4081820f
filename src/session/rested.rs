//! What a conversation is while nothing happens in it.
//!
//! Owns: which parts of a [`Session`] outlive its requests. Clients that are idle are many, so these are few.

use super::channels::Channels;
use super::conversation::{Gate, Rules, Session};
use super::inflight::InFlight;
use super::names::ClientStatements;
use super::params::ParamSet;
use super::unnamed::{Spare, Text, Unnamed};
use super::wishes::Wishes;
use crate::proto::TxStatus;

/// A conversation at rest, to be gone on with at any time.
#[derive(Debug)]
pub struct Rested {
    pub(super) rules: Rules,
    pub(super) params: ParamSet,
    pub(super) names: ClientStatements,
    pub(super) unnamed: Option<Text>,
    pub(super) wishes: Wishes,
}

impl Session {
    /// Whether nothing is under way in either direction and no server is held: whether [`Session::rest`] loses
    /// nothing. To be asked without a link only.
    #[inline(always)]
    pub fn can_rest(&self) -> bool {
        self.inflight.at_rest(TxStatus::Idle)
            && self.tx == TxStatus::Idle
            && matches!(self.gate, Gate::Open)
            && self.traces.is_none()
            && self.pins.is_none()
            && self.restore.is_none()
            && self.from_client.left == 0
            && self.from_server.left == 0
            && self.request_since.is_none()
            && self.xact_since.is_none()
            && self.names.is_settled()
            && self.unnamed.is_settled()
    }

    /// Keeps what outlives a request, and gives the memory of the rest to whoever works next. What was counted must
    /// have been taken before.
    pub fn rest(self) -> (Rested, Spare) {
        let Self { rules, params, names, unnamed, mut wishes, channels, inflight, .. } = self;
        wishes.keep_ear(channels.ear.as_ref());
        let (unnamed, mut spare) = unnamed.into_text();
        spare.owed = inflight.into_memory();
        (Rested { rules, params, names, unnamed, wishes }, spare)
    }
}

impl Rested {
    /// Goes on. Segments are counted anew: nothing remembers the earlier ones.
    pub fn resume(self, mut spare: Spare) -> Session {
        let Self { rules, params, names, unnamed, wishes } = self;
        let mut session = Session::new(rules, params);
        session.inflight = InFlight::of(std::mem::take(&mut spare.owed));
        session.names = names;
        session.channels = Channels::of(wishes.ear());
        session.wishes = wishes;
        session.unnamed = Unnamed::of(unnamed, spare);
        session
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_kept_of_an_idle_client() {
        assert!(size_of::<Rested>() <= 72);
    }
}

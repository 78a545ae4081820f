//! What a client's texts may do to its session is noted when they are about to run.

use super::conversation::{Gate, Recall, Session};
use super::settings::MAX_SETTINGS;
use super::sql::{self, Digest, Features};
use super::survey::{PinReasons, Survey};
use super::tracking::MAY_PIN;
use super::wishes::Restore;
use crate::config::{PoolMode, SessionState};
use crate::proto::TxStatus;

/// What touches settings for longer than a transaction: names in a text count only beside one of these.
const SETS: Features = Features::SET
    .with(Features::RESET)
    .with(Features::SET_CONFIG)
    .with(Features::IDENTITY)
    .with(Features::OPAQUE)
    .with(Features::UNJUDGED);

impl Session {
    /// Notes what a text that is about to run may do.
    pub(super) fn note(&mut self, digest: &Digest, text: &[u8]) {
        self.note_resets(digest);
        self.note_traces(digest, text);
    }

    /// Notes what a text may do that the server will be asked about.
    pub(super) fn note_traces(&mut self, digest: &Digest, text: &[u8]) {
        if digest.features.intersects(Features::DISCARD_ALL | Features::DEALLOCATE_ALL) {
            self.recall = Recall::InDoubt;
        }
        if self.rules.mode == PoolMode::Session {
            return; // the server stays, and what is left in the end is reset
        }
        self.note_channels(digest);
        let pinned = self.pinned_for();
        let mut features = digest.features;
        if features.intersects(Features::LOAD) {
            let cause = sql::sample(text, self.reading());
            self.pin(PinReasons::LIBRARY, Some(cause.into()));
        }
        if features.intersects(Features::EXECUTE) && pinned.intersects(PinReasons::PREPARED) {
            features |= Features::OPAQUE; // what a statement does was read when it was prepared, and it may do it again
        }
        let names = if features.intersects(SETS) { digest.settings.as_slice() } else { &[] };
        if Survey::of(features, names, true, pinned).is_empty() {
            return;
        }
        let doubtful = self.tx != TxStatus::Idle;
        let blamed = self.rules.session_state == SessionState::Pin || features.intersects(MAY_PIN);
        let unblamed = self.traces.as_ref().is_none_or(|traces| traces.cause.is_none());
        let cause =
            (blamed && unblamed && self.pins.is_none()).then(|| sql::sample(text, self.reading()).into());
        let traces = self.traces.get_or_insert_default();
        traces.features |= features;
        traces.doubtful |= doubtful;
        traces.cause = traces.cause.take().or(cause);
        for name in names {
            if !traces.names.contains(name) {
                traces.names.push(name.clone());
            }
        }
        if traces.names.len() > MAX_SETTINGS {
            traces.names.clear();
            traces.features |= Features::UNJUDGED_SETTINGS;
        }
        self.note_names_within(text);
    }

    /// A portal is closed, which may be a cursor that the client is pinned for.
    pub(super) fn note_closed_portal(&mut self) {
        if self.pinned_for().intersects(PinReasons::CURSOR) {
            self.traces.get_or_insert_default().features |= Features::CLOSE;
        }
    }

    /// In the transaction that it begins on its server the client may do what its texts do not tell: it is asked
    /// afterwards, see [`Session::unseen`].
    #[inline(always)]
    pub(super) fn note_unseen(&mut self) {
        if !self.unseen().is_empty() {
            self.traces.get_or_insert_default();
        }
    }

    /// The server reports who the session is now: if no text said that it would change, a function has changed it, and
    /// perhaps more.
    pub(super) fn note_identity_report(&mut self, name: &[u8]) {
        const TOLD: Features = Features::IDENTITY
            .with(Features::OPAQUE)
            .with(Features::UNJUDGED)
            .with(Features::RESET_ALL)
            .with(Features::DISCARD_ALL)
            .with(Features::UNJUDGED_SETTINGS);
        let is_identity = name == b"is_superuser" || name == b"session_authorization";
        if is_identity && self.rules.mode != PoolMode::Session && self.reads_texts() {
            let traces = self.traces.get_or_insert_default();
            if !traces.features.intersects(TOLD) {
                traces.features |= Features::OPAQUE;
            }
        }
    }

    /// A statement failed: what was noted may not hold.
    pub(super) fn note_error(&mut self) {
        // A RESET is in the last segment sent; an error in an earlier one is none of its business.
        let its_own = usize::from(matches!(self.gate, Gate::Resetting));
        if self.inflight.segments() <= its_own && self.restore.is_some() {
            self.restore = Some(Restore::AsFound); // DISCARD ALL holds at once, whatever fails behind it
        }
        self.channels.undone();
        if let Some(traces) = &mut self.traces {
            traces.doubtful = true;
        }
    }
}

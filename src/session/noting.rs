//! What a client's texts may do to its session is noted when they are about to run.

use super::catalog::{Statement, text_of};
use super::conversation::Session;
use super::settings::MAX_SETTINGS;
use super::sql::{self, Digest, Features};
use super::survey::{PinReasons, Survey};
use super::wishes::Restore;
use crate::config::PoolMode;
use crate::proto::TxStatus;

/// What in the same text may set again what a RESET has reset, or undo the RESET.
const OVERRULES_RESET: Features = Features::SET
    .with(Features::SET_LOCAL)
    .with(Features::SET_CONFIG)
    .with(Features::UNJUDGED_SETTINGS)
    .with(Features::TRANSACTION)
    .with(Features::EXECUTE)
    .with(Features::OPAQUE)
    .with(Features::UNJUDGED);

impl Session {
    /// Notes what a text that is about to run may do.
    pub(super) fn note(&mut self, digest: &Digest) {
        self.note_resets(digest);
        if self.rules.mode == PoolMode::Session {
            return; // the server stays, and what is left in the end is reset
        }
        let pinned = self.pinned_for();
        let mut features = digest.features;
        if features.intersects(Features::LOAD) {
            self.pin(PinReasons::LIBRARY);
        }
        if features.intersects(Features::EXECUTE) && pinned.intersects(PinReasons::PREPARED) {
            features |= Features::OPAQUE; // what a statement does was read when it was prepared, and it may do it again
        }
        if Survey::of(features, &digest.settings, true, pinned).is_empty() {
            return;
        }
        let doubtful = self.tx != TxStatus::Idle;
        let traces = self.traces.get_or_insert_default();
        traces.features |= features;
        traces.doubtful |= doubtful;
        for name in &digest.settings {
            if !traces.names.contains(name) {
                traces.names.push(name.clone());
            }
        }
        if traces.names.len() > MAX_SETTINGS {
            traces.names.clear();
            traces.features |= Features::UNJUDGED_SETTINGS;
        }
    }

    /// Notes what a prepared statement may do that is about to run.
    pub(super) fn note_statement(&mut self, statement: &Statement) {
        if !self.reads_texts() {
            return;
        }
        if statement.is_private() {
            return self.note_unread();
        }
        let reading = self.reading();
        if reading.standard_strings && reading.ascii_safe {
            if let Some(digest) = statement.digest() {
                self.note(digest);
            }
        } else if let Some(digest) = sql::digest(text_of(statement.rest()), reading) {
            self.note(&digest);
        }
    }

    /// Notes what the unnamed statement may do that is about to be parsed.
    pub(super) fn note_unnamed(&mut self, rest: &[u8]) {
        if self.reads_texts() {
            let digest = sql::digest(text_of(rest), self.reading());
            self.unnamed_leaves_traces = digest.is_some();
            if let Some(digest) = digest {
                self.note(&digest);
            }
        }
    }

    /// The unnamed statement is about to run, perhaps long after it was parsed.
    pub(super) fn note_unnamed_again(&mut self) {
        if self.unnamed_leaves_traces && self.reads_texts() {
            let digest = self.unnamed.text().map(|rest| sql::digest(text_of(rest), self.reading()));
            match digest {
                Some(Some(digest)) => self.note(&digest),
                Some(None) => self.unnamed_leaves_traces = false,
                None => self.note_unread(),
            }
        }
    }

    /// A text that cannot be looked at as a whole.
    pub(super) fn note_unread(&mut self) {
        self.note(&Digest { features: Features::UNJUDGED, ..Digest::default() });
    }

    /// RESET goes back to the server's defaults; the client's are those of its startup packet. A text of several
    /// statements is what pools of drivers reset with: asyncpg's ends with RESET ALL.
    fn note_resets(&mut self, digest: &Digest) {
        let resets = Features::RESET | Features::RESET_ALL | Features::DISCARD_ALL;
        let alone = digest.statements == 1 || !digest.features.intersects(OVERRULES_RESET);
        if !alone || !digest.features.intersects(resets) {
            return;
        }
        let Some(startup) = self.wishes.startup() else { return };
        if digest.features.intersects(Features::RESET_ALL | Features::DISCARD_ALL) {
            self.restore = Some(Restore::All);
            return;
        }
        if !startup.is_empty() {
            self.restore = Some(Restore::Named(digest.settings.clone()));
        }
    }

    /// A statement failed: what was noted may not hold.
    pub(super) fn note_error(&mut self) {
        self.restore = None;
        if let Some(traces) = &mut self.traces {
            traces.doubtful = true;
        }
    }
}

//! Texts that are about to run: what they may do is noted, and some of them must not.

use super::catalog::{Statement, text_of};
use super::conversation::{Session, Turn};
use super::meaning::Meaning;
use super::sql::{Digest, Features};
use crate::proto::PgError;

impl Session {
    /// Notes what a prepared statement may do that is about to run; an error if it must not.
    pub(super) fn note_statement(&mut self, turn: &Turn<'_>, statement: &Statement) -> Result<(), PgError> {
        if statement.is_private() {
            self.note_unread();
            return Ok(());
        }
        if self.meaning == Meaning::Known && statement.is_plain() {
            return Ok(());
        }
        let reading = self.reading();
        if reading.standard_strings && reading.ascii_safe && self.meaning == Meaning::Known {
            match statement.digest() {
                Some(digest) => self.admit(turn, digest, text_of(statement.rest())),
                None => Ok(()),
            }
        } else {
            let text = text_of(statement.rest());
            self.digest(text).map_or(Ok(()), |digest| self.admit(turn, &digest, text))
        }
    }

    /// Notes what a text may do that is about to run; an error if it must not.
    pub(super) fn admit(&mut self, turn: &Turn<'_>, digest: &Digest, text: &[u8]) -> Result<(), PgError> {
        self.observe(digest, text);
        if self.reads_texts() {
            if let Some(refusal) = self.refusal_to_pin(turn, digest, text) {
                return Err(refusal);
            }
            self.note_meaning(digest, turn.names);
            self.note(digest, text);
        }
        Ok(())
    }

    /// The unnamed statement is about to be parsed: whether it may do anything is noted, not yet what.
    pub(super) fn note_unnamed(&mut self, rest: &[u8]) {
        let text = text_of(rest);
        let digest = self.digest(text);
        self.unnamed_leaves_traces = digest.is_some();
        if let Some(digest) = digest {
            self.observe(&digest, text);
        }
    }

    /// The unnamed statement is about to run, perhaps long after it was parsed; an error if it must not.
    pub(super) fn note_unnamed_again(&mut self, turn: &Turn<'_>) -> Result<(), PgError> {
        if self.unnamed_leaves_traces && self.reads_texts() {
            let Some(text) = self.unnamed.text().map(text_of) else {
                self.note_unread();
                return Ok(());
            };
            let Some(digest) = self.digest(text) else {
                self.unnamed_leaves_traces = false;
                return Ok(());
            };
            let text = text.to_vec();
            if let Some(refusal) = self.refusal_to_pin(turn, &digest, &text) {
                return Err(refusal);
            }
            self.note_meaning(&digest, turn.names);
            self.note(&digest, &text);
        }
        Ok(())
    }

    /// A text that cannot be looked at as a whole.
    pub(super) fn note_unread(&mut self) {
        let digest = Digest { features: Features::UNJUDGED, ..Digest::default() };
        self.observe(&digest, b"");
        if self.reads_texts() {
            self.doubt_meaning();
            self.note(&digest, b"");
        }
    }
}

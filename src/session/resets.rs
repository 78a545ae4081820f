//! RESET goes back to the server's defaults; a client's are those of its startup packet, and are put in force again.

use super::conversation::{ServerFacts, Session};
use super::extended::MAX_BIND_NAMES;
use super::settings::{ROLE, SESSION_AUTHORIZATION, Settings};
use super::sql::{self, Digest, Features};
use super::tracking::USUAL_READING;
use super::wishes::Restore;
use crate::proto::{BindView, FrameHeader, HEADER_LEN};

/// Prepared statements that reset something, under names of the server's own, of one client; more are forgotten.
const MAX_PREPARED_RESETS: usize = 64;

/// What sets those settings that a text names.
const NAMES_SETTINGS: Features = Features::SET.with(Features::SET_LOCAL).with(Features::SET_CONFIG);

/// What one text does besides resetting settings so that nobody can tell what it amounts to.
const BESIDE_RESETS: Features = Features::UNJUDGED_SETTINGS
    .with(Features::UNJUDGED)
    .with(Features::OPAQUE)
    .with(Features::EXECUTE)
    .with(Features::TRANSACTION);

/// In place of a value: no setting has it, so that the next client puts its own in force.
const NOT_KNOWN: &[u8] = b"\0";

/// Statements that reset something when they are bound, by the names that only the server knows.
#[derive(Debug, Default)]
pub(super) struct PreparedResets(Vec<(Box<[u8]>, Box<Digest>)>);

impl ServerFacts {
    /// A query of the operator's was run between sessions: what it sets is in force no more, as far as its words tell.
    /// `DISCARD ALL` tells by its command tag.
    pub fn was_reset(&mut self, sql: &str) {
        let Some(digest) = sql::digest(sql.as_bytes(), USUAL_READING) else { return };
        if digest.features.intersects(Features::RESET_ALL) {
            // Who the session is stays as it is.
            let kept =
                [ROLE, SESSION_AUTHORIZATION].map(|name| (name, self.settings.get(name).map(<[u8]>::to_vec)));
            self.settings = Settings::default();
            for (name, value) in kept {
                if let Some(value) = value {
                    self.settings.set(name, &value);
                }
            }
        }
        for name in &digest.settings {
            self.settings.set(name, NOT_KNOWN);
        }
    }
}

impl Session {
    /// RESET goes back to the server's defaults; the client's are those of its startup packet.
    pub(super) fn note_resets(&mut self, digest: &Digest) {
        let resets = Features::RESET | Features::RESET_ALL | Features::DISCARD_ALL;
        // Beside an end of the transaction what is put in force afterwards might be too much.
        if !digest.features.intersects(resets) || digest.features.intersects(BESIDE_RESETS) {
            return;
        }
        let Some(startup) = self.wishes.startup() else { return };
        if digest.features.intersects(Features::RESET_ALL | Features::DISCARD_ALL) {
            self.restore = Some(if digest.settings.is_empty() {
                Restore::All
            } else {
                Restore::Except(digest.settings.clone())
            });
            return;
        }
        if !startup.is_empty() && !digest.features.intersects(NAMES_SETTINGS) {
            self.restore = Some(Restore::Named(digest.settings.clone()));
        }
    }

    /// A statement is parsed under a name of the server's own.
    pub(super) fn keep_resets(&mut self, name: &[u8], digest: Option<Box<Digest>>) {
        if let Some(known) = &mut self.prepared_resets {
            known.0.retain(|(known, _)| **known != *name);
        }
        let resets = Features::RESET | Features::RESET_ALL | Features::DISCARD_ALL;
        let Some(digest) = digest.filter(|digest| digest.features.intersects(resets)) else { return };
        if self.wishes.startup().is_none() {
            return; // nothing will have to be put in force again
        }
        let known = &mut self.prepared_resets.get_or_insert_default().0;
        if known.len() < MAX_PREPARED_RESETS {
            known.push((name.into(), digest));
        }
    }

    /// A statement under a name of the server's own is about to run. `false` if its name is not there yet.
    pub(super) fn note_prepared_resets(&mut self, header: FrameHeader, rest: &[u8]) -> bool {
        let Some(known) = self.prepared_resets.take() else { return true };
        let body = rest.get(HEADER_LEN..header.wire_len.min(rest.len())).unwrap_or_default();
        let view = BindView::read(body);
        if let Some(view) = &view
            && let Some((_, digest)) = known.0.iter().find(|(known, _)| **known == *view.statement)
        {
            self.note_resets(digest);
        }
        self.prepared_resets = Some(known);
        view.is_some() || rest.len() >= header.wire_len.min(MAX_BIND_NAMES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(sql: &str) -> ServerFacts {
        let settings = [("work_mem", "9MB"), ("my.own", "1"), ("role", "bob")];
        let settings =
            Settings::from_pairs(settings.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let mut facts = ServerFacts { settings, ..ServerFacts::default() };
        facts.was_reset(sql);
        facts
    }

    #[test]
    fn after_a_reset_query_nobody_takes_settings_to_be_in_force_that_are_not() {
        let told = |wanted: &[(&[u8], &[u8])], facts: &ServerFacts| {
            let wanted = Settings::from_pairs(wanted.iter().copied());
            wanted.differing(&facts.settings).iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>()
        };
        let work_mem: (&[u8], &[u8]) = (b"work_mem", b"9MB");
        let role: (&[u8], &[u8]) = (b"role", b"bob");
        let facts = after("RESET ALL");
        assert_eq!(told(&[work_mem, role], &facts), [b"work_mem"], "the role is as it was");
        let facts = after("RESET work_mem; SET statement_timeout = 0");
        assert_eq!(
            told(&[work_mem, role, (b"my.own", b"1")], &facts),
            [&b"statement_timeout"[..], b"work_mem"]
        );
        let facts = after("SELECT 1");
        assert!(told(&[work_mem, role, (b"my.own", b"1")], &facts).is_empty());
    }
}

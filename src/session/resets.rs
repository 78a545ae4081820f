//! RESET goes back to the server's defaults; a client's are those of its startup packet, and are put in force again.

use super::TrackedNames;
use super::conversation::{ServerFacts, Session, Turn};
use super::extended::MAX_BIND_NAMES;
use super::from_client::whole_body;
use super::owed::Why;
use super::own::{Own, OwnBatch};
use super::set_text::set_text;
use super::settings::{ROLE, SESSION_AUTHORIZATION, Settings};
use super::sql::{self, Digest, Features};
use super::tracking::USUAL_READING;
use super::wishes::Restore;
use crate::proto::{BindView, FrameHeader, HEADER_LEN, TargetView, TxStatus, put_parameter_status};

/// Prepared statements that reset something, under names of the server's own, of one client; beyond, the oldest is
/// forgotten.
const MAX_PREPARED_RESETS: usize = 64;

const RESETS: Features = Features::RESET.with(Features::RESET_ALL).with(Features::DISCARD_ALL);

/// What sets those settings that a text names.
const NAMES_SETTINGS: Features = Features::SET.with(Features::SET_LOCAL).with(Features::SET_CONFIG);

/// What is done besides resetting settings so that only the server can tell what it amounts to.
const BESIDE_RESETS: Features = Features::UNJUDGED_SETTINGS
    .with(Features::UNJUDGED)
    .with(Features::OPAQUE)
    .with(Features::EXECUTE)
    .with(Features::TRANSACTION);

/// What may end a role without naming it.
const TAKES_ROLE: Features = Features::UNJUDGED_SETTINGS
    .with(Features::UNJUDGED)
    .with(Features::OPAQUE)
    .with(Features::EXECUTE)
    .with(Features::DISCARD_ALL);

/// What resets or sets anything, as far as its words tell.
const AT_LARGE: Features =
    Features::UNJUDGED_SETTINGS.with(Features::UNJUDGED).with(Features::OPAQUE).with(Features::SET_CONFIG);

/// In place of a value: no setting has it, so that the next client puts its own in force.
const NOT_KNOWN: &[u8] = b"\0";

/// Statements that reset something when they are bound, by the names that only the server knows.
#[derive(Debug, Default)]
pub(super) struct PreparedResets(Vec<(Box<[u8]>, Box<Digest>)>);

/// Adds a statement that gives those of these settings values that are in force by no SET. Roles and custom settings
/// PostgreSQL does not list: they are taken for reset where they have no value, so that a client never ends up with
/// more rights than it asked for at its login.
fn add_where_reset(batch: &mut OwnBatch, told: &[(&[u8], Option<&[u8]>)]) {
    let places: Vec<_> = (0..told.len())
        .map(|i| format!("(${}::pg_catalog.text,${}::pg_catalog.text)", 2 * i + 1, 2 * i + 2))
        .collect();
    let sql = format!(
        "SELECT pg_catalog.set_config(v.name,v.value,false) FROM (VALUES {}) v(name,value) \
         LEFT JOIN pg_catalog.pg_settings s \
         ON pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) pg_catalog.lower(v.name) \
         WHERE CASE WHEN s.name IS NOT NULL THEN s.source OPERATOR(pg_catalog.<>) 'session' \
         ELSE pg_catalog.current_setting(v.name,true) IS NULL \
         OR pg_catalog.current_setting(v.name,true) OPERATOR(pg_catalog.=) '' \
         OR pg_catalog.current_setting(v.name,true) OPERATOR(pg_catalog.=) 'none' END",
        places.join(",")
    );
    let values: Vec<_> = told.iter().flat_map(|(name, value)| [Some(*name), *value]).collect();
    batch.add(Why::Own, sql, &values);
}

impl ServerFacts {
    /// A query of the operator's was run between sessions: what it sets is in force no more, as far as its words tell.
    /// `DISCARD ALL` tells by its command tag.
    pub fn was_reset(&mut self, sql: &str, names: &TrackedNames) {
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
        // What is reported is known by its reports.
        let is_reported = |name: &[u8]| names.index(name).is_some_and(|at| self.params.value(at).is_some());
        let mut unknown: Vec<_> = digest.settings.iter().filter(|name| !is_reported(name)).cloned().collect();
        if digest.features.intersects(AT_LARGE) {
            unknown.extend(self.settings.iter().map(|(name, _)| name.into()));
        }
        for name in &unknown {
            self.settings.set(name, NOT_KNOWN);
        }
    }
}

impl Session {
    /// Notes what a text resets that is about to run.
    pub(super) fn note_resets(&mut self, digest: &Digest) {
        let features = digest.features;
        let identity = [ROLE, SESSION_AUTHORIZATION];
        let names_identity = digest.settings.iter().any(|name| identity.contains(&&**name));
        let as_found = if names_identity || features.intersects(TAKES_ROLE) {
            Restore::AsFound
        } else {
            Restore::SettingsAsFound
        };
        if let Some(known) = &self.restore
            && features.intersects(NAMES_SETTINGS | BESIDE_RESETS)
        {
            self.restore = Some(known.as_found_with(&as_found)); // it may be set once more behind the RESET
        }
        if !features.intersects(RESETS) || self.wishes.startup().is_none() {
            return;
        }
        let restore = if features.intersects(BESIDE_RESETS | NAMES_SETTINGS) {
            as_found
        } else if features.intersects(Features::DISCARD_ALL) {
            Restore::All
        } else if features.intersects(Features::RESET_ALL) {
            Restore::Settings
        } else {
            Restore::Named(digest.settings.clone())
        };
        self.restore = match self.restore.take() {
            Some(known) if known != restore => Some(known.as_found_with(&restore)),
            Some(_) | None => Some(restore),
        };
    }

    /// After a RESET: puts the client's own startup values in force again, before it hears that it is done. Whether
    /// there are any.
    pub(super) fn begin_restore(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(restore) = self.restore.take() else { return false };
        let Some(startup) = self.wishes.startup() else { return false };
        let mut batch = self.own_batch(Own::Restore);
        let told = startup.chosen(turn.names, &restore);
        let restores = !told.is_empty();
        let as_found = restore.asks();
        let in_block = self.tx == TxStatus::InBlock;
        let said = |told: &(&[u8], Option<&[u8]>)| set_text(told.0, told.1.unwrap_or_default());
        let texts: Option<Vec<_>> = told.iter().map(said).collect();
        if restores && !in_block {
            self.shield(&mut batch, &Why::Own, turn.facts.as_deref(), &[]);
        }
        if let Some(texts) = texts.filter(|_| in_block && !as_found) {
            for sql in texts {
                batch.add(Why::Own, sql, &[]);
            }
        } else {
            // The encoding, which is the first if it is there, decides how the others are read.
            let encodes = |(name, _): &(&[u8], Option<&[u8]>)| name.eq_ignore_ascii_case(b"client_encoding");
            for told in told.split_inclusive(encodes) {
                if as_found {
                    add_where_reset(&mut batch, told);
                } else {
                    batch.add_settings(Why::Own, told, false);
                }
            }
        }
        self.send_own(turn, batch);
        restores
    }

    /// The startup values are in force again, or a block has failed and only its end will tell what of it remains:
    /// reports that were held back for a RESET, and hold after all, are news.
    pub(super) fn restored(&mut self, turn: &mut Turn<'_>) {
        let Some(facts) = turn.facts.as_deref() else { return };
        let Some(startup) = self.wishes.startup() else { return };
        let followed: Vec<_> = startup.reported.iter().map(|(index, _)| *index).collect();
        for index in followed {
            if let Some(value) =
                facts.params.value(index).filter(|value| self.params.value(index) != Some(*value))
            {
                turn.to_client.own(|out| put_parameter_status(out, turn.names.name(index).as_bytes(), value));
                self.params.set(index, value);
            }
        }
    }

    /// A statement is parsed under a name of the server's own.
    pub(super) fn keep_resets(&mut self, name: &[u8], digest: Option<Box<Digest>>) {
        if let Some(known) = &mut self.prepared_resets {
            known.0.retain(|(known, _)| **known != *name);
        }
        let Some(digest) = digest.filter(|digest| digest.features.intersects(RESETS)) else { return };
        if self.wishes.startup().is_none() {
            return; // nothing will have to be put in force again
        }
        let known = &mut self.prepared_resets.get_or_insert_default().0;
        if known.len() >= MAX_PREPARED_RESETS {
            known.remove(0);
        }
        known.push((name.into(), digest));
    }

    /// A statement under a name of the server's own is closed.
    pub(super) fn forget_resets(&mut self, header: FrameHeader, rest: &[u8]) {
        if self.prepared_resets.is_some()
            && let Some(TargetView::Statement(name)) = whole_body(header, rest).and_then(TargetView::read)
        {
            self.keep_resets(name, None);
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
        facts.was_reset(sql, &TrackedNames::new(&[]));
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
        let facts = after("DO 'anything'");
        assert_eq!(
            told(&[work_mem, (b"my.own", b"1")], &facts).len(),
            4,
            "nothing is known, role and session too"
        );
        let mut facts = ServerFacts::default();
        facts.params.set(2, b"UTC");
        facts.was_reset("RESET timezone", &TrackedNames::new(&[]));
        assert!(facts.settings.is_empty(), "what is reported is known");
        let facts = after("SELECT 1");
        assert!(told(&[work_mem, role, (b"my.own", b"1")], &facts).is_empty());
    }
}

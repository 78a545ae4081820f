//! The values of a client's startup packet, tried on a server: PostgreSQL judges them, and spells them.

use super::conversation::{ServerFacts, Session};
use super::outbox::Outbox;
use super::owed::Why;
use super::own::Own;
use super::params::TrackedNames;
use super::settings::{IDLE_TIMEOUT, NOT_OF_SESSION, ROLE};
use super::survey::{Asked, Findings, Survey};
use super::wishes::Startup;
use crate::config::PoolMode;
use crate::proto::PgError;

impl Session {
    /// Sends a server at rest the values, to be in force until its answer ends: nothing of them stays (R51).
    pub fn try_values(
        &mut self,
        values: &[(String, Vec<u8>)],
        facts: &mut ServerFacts,
        to_server: &mut Outbox,
    ) {
        let told: Vec<_> =
            values.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_slice()))).collect();
        let mut names: Vec<Box<[u8]>> = values.iter().map(|(name, _)| name.as_bytes().into()).collect();
        if names.iter().any(|name| name.eq_ignore_ascii_case(ROLE)) {
            names.push(b"is_superuser"[..].into()); // what the role makes of it
        }
        let survey = Survey { settings: Asked::Named, names, ..Survey::default() };
        let asked: Vec<_> = survey.names.iter().map(|name| Some(&**name)).collect();
        let mut batch = self.own_batch(Own::Link);
        // The encoding, if there is one, decides how the others are read.
        for told in told.split_inclusive(|(name, _)| name.eq_ignore_ascii_case(b"client_encoding")) {
            batch.add_settings(Why::Try, told, true);
        }
        batch.add(Why::Ask, survey.sql(), &asked);
        self.post(&batch, facts, to_server);
    }

    /// What the server made of them, once it is drained.
    ///
    /// # Errors
    /// PostgreSQL's own, if it refuses one of them; `None` if it did not answer as it should.
    pub fn take_trial(
        &mut self,
        names: &TrackedNames,
        facts: &ServerFacts,
    ) -> Result<Startup, Option<PgError>> {
        let findings = Findings::of(std::mem::take(&mut self.answer).into_rows()?);
        let mut startup = Startup::default();
        let stays = |name: &[u8]| {
            !NOT_OF_SESSION.contains(&name) && (name != IDLE_TIMEOUT || self.rules.mode == PoolMode::Session)
        };
        for (name, value) in findings.settings.into_iter().filter(|(name, _)| stays(name)) {
            match names.index(&name).filter(|at| facts.params.value(*at).is_some()) {
                Some(index) => startup.reported.push((index, value)),
                None => startup.settings.set(&name, &value),
            }
        }
        Ok(startup)
    }
}

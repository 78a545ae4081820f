//! What a client does to its session, and what is done about it: followed, kept on its server, or as PgBouncer does.
//!
//! The words of a query leave [`Traces`]. Before the server goes to somebody else it is asked what has come of them
//! (`survey`), and the answer decides: settings become the client's wishes, anything else keeps the server with it.

use std::rc::Rc;

use super::answer::Answer;
use super::conversation::{Gate, Own, ServerFacts, Session, Turn};
use super::owed::{Kind, Why};
use super::settings::{NOT_OF_SESSION, ROLE, SESSION_AUTHORIZATION, Settings};
use super::sql::{Features, Reading};
use super::survey::{Asked, Findings, PinReasons, Survey};
use super::wishes::{Wished, Wishes};
use crate::config::SessionState;
use crate::proto::{put_bound_statement, put_query_parts, put_sync};

/// What a conversation has done to its session since its server was asked last.
#[derive(Debug, Default)]
pub(super) struct Traces {
    pub(super) features: Features,
    pub(super) names: Vec<Box<[u8]>>,
    /// In a block, or beside an error: whether it holds is certain only in the end.
    pub(super) doubtful: bool,
    /// A statement was let through that will need the server to stay with the client.
    pub(super) claims_server: bool,
    /// What to blame if it has to: a statement, without its literals.
    pub(super) cause: Option<Rc<str>>,
}

/// What may make a server stay with the client, beyond settings.
pub(super) const MAY_PIN: Features = Features::TEMP
    .with(Features::DECLARE_HOLD)
    .with(Features::ADVISORY_LOCK)
    .with(Features::LISTEN)
    .with(Features::PREPARE)
    .with(Features::OPAQUE)
    .with(Features::UNJUDGED);

/// How the texts of most clients are to be read.
pub(super) const USUAL_READING: Reading = Reading { standard_strings: true, ascii_safe: true };

/// Whether no byte below 0x80 is part of a longer character in an encoding (PostgreSQL's manual, Character Set Support:
/// those that servers cannot have).
fn is_ascii_safe(encoding: &[u8]) -> bool {
    const UNSAFE: [&[u8]; 7] = [b"SJIS", b"BIG5", b"GBK", b"UHC", b"GB18030", b"JOHAB", b"SHIFT_JIS_2004"];
    !UNSAFE.iter().any(|name| encoding.eq_ignore_ascii_case(name))
}

/// The statement that gives settings values, name and value bound (S34); `None` gives one its default.
fn set_config_sql(count: usize, local: bool) -> String {
    let calls: Vec<String> =
        (0..count).map(|i| format!("pg_catalog.set_config(${},${},{local})", 2 * i + 1, 2 * i + 2)).collect();
    format!("SELECT {}", calls.join(","))
}

/// Appends a statement that gives settings values; a Sync has to follow.
pub(super) fn put_settings(out: &mut Vec<u8>, own: &[u8], told: &[(&[u8], Option<&[u8]>)], local: bool) {
    let values: Vec<_> = told.iter().flat_map(|(name, value)| [Some(*name), *value]).collect();
    put_bound_statement(out, own, &set_config_sql(told.len(), local), &values);
}

impl Session {
    /// The same, for a client with these startup values.
    #[must_use]
    pub fn with_wishes(mut self, wished: Rc<Wished>) -> Self {
        self.wishes = Wishes::new(wished);
        self
    }

    /// Whether the words of queries are looked at.
    pub(super) const fn reads_texts(&self) -> bool {
        !matches!(self.rules.session_state, SessionState::PgBouncer)
    }

    /// How the client's texts are to be read.
    pub(super) fn reading(&self) -> Reading {
        let value = |index| self.params.value(index);
        Reading {
            standard_strings: value(super::TrackedNames::STANDARD_STRINGS) != Some(b"off"),
            ascii_safe: value(super::TrackedNames::CLIENT_ENCODING).is_none_or(is_ascii_safe),
        }
    }

    /// Whether the linked server is at rest and has to be asked before anything else becomes of it, or the client told.
    pub fn wants_survey(&self, unsent: usize, unread: usize) -> bool {
        (self.traces.is_some() || self.owes_pin_notice()) && self.is_at_rest(unsent, unread)
    }

    /// Asks the server what has come of what was noted (own messages at rest, R51).
    pub fn ask_survey(&mut self, turn: &mut Turn<'_>) {
        self.give_pin_notice(turn);
        let Some(traces) = &self.traces else { return };
        let mut survey = Survey::of(traces.features, &traces.names, traces.doubtful, self.pinned_for());
        survey.ask_also_for(&self.wishes.settings());
        if let Some(facts) = turn.facts.as_deref() {
            survey.ask_also_for(&facts.settings);
        }
        if survey.is_empty() {
            self.traces = None;
            return;
        }
        let own = self.own_name();
        let names: Vec<_> = survey.names.iter().map(|name| Some(&**name)).collect();
        turn.to_server.own(|out| {
            put_bound_statement(out, own, &survey.sql(), &names);
            put_sync(out);
        });
        self.owe_own(1, Why::Ask);
        self.answer = Answer::default();
        self.gate = Gate::Preparing(Own::Survey(Box::new(survey)));
        if let Some(facts) = turn.facts.as_deref_mut().filter(|_| own.is_empty()) {
            facts.unnamed = None;
        }
    }

    /// The name of a statement of our own for the time it runs: none, unless the client's unnamed one is only there.
    pub(super) const fn own_name(&self) -> &'static [u8] {
        if self.unnamed.is_pinned() { b"pooler_own" } else { b"" }
    }

    /// Notes bound statements of our own, and the Sync behind them.
    pub(super) fn owe_own(&mut self, statements: usize, why: Why) {
        for _ in 0..statements {
            self.owe_statement(&why);
        }
        self.inflight.owe(Kind::Sync, why);
    }

    /// Notes one bound statement of our own.
    pub(super) fn owe_statement(&mut self, why: &Why) {
        for kind in [Kind::Parse, Kind::Bind, Kind::Execute] {
            self.inflight.owe(kind, why.clone());
        }
        if !self.own_name().is_empty() {
            self.inflight.owe(Kind::Close, why.clone());
        }
    }

    /// The answer has come.
    pub(super) fn settle_survey(&mut self, survey: &Survey, turn: &mut Turn<'_>) {
        let cause = self.traces.take().and_then(|traces| traces.cause);
        let Ok(rows) = std::mem::take(&mut self.answer).into_rows() else {
            return self.pin(PinReasons::UNKNOWN, cause);
        };
        let findings = Findings::of(rows);
        self.adopt_channels(&findings);
        let Some(facts) = turn.facts.as_deref_mut() else { return };
        let asked = survey.reasons.with(PinReasons::UNKNOWN);
        let mut reasons = self.pinned_for().without(asked).with(findings.reasons);
        if survey.settings != Asked::Nothing {
            let stays = self.adopt_settings(survey, &findings, turn.names, facts);
            reasons = reasons.without(PinReasons::SETTINGS).with(stays);
        }
        if self.rules.session_state == SessionState::Clean {
            self.clean(&findings, turn);
        }
        let prepared = match self.pins.as_mut() {
            Some(pins) if !survey.reasons.intersects(PinReasons::PREPARED) => {
                std::mem::take(&mut pins.prepared)
            }
            Some(_) | None => findings.prepared,
        };
        self.hold(reasons, prepared, cause);
    }

    /// Ends what was found, by the policy: it was for one transaction.
    fn clean(&mut self, findings: &Findings, turn: &mut Turn<'_>) {
        self.put_in_force(turn);
        if findings.reasons.is_empty() {
            return;
        }
        let sql = findings.cleaning();
        turn.to_server.own(|out| put_query_parts(out, &[&sql]));
        self.inflight.owe(Kind::Query, Why::Own);
        self.gate = Gate::Preparing(Own::Clean);
    }

    /// What was found in force is what is in force there, and by the policy also what the client wants, or a reason to
    /// keep the server with it.
    fn adopt_settings(
        &mut self,
        survey: &Survey,
        findings: &Findings,
        names: &super::TrackedNames,
        facts: &mut ServerFacts,
    ) -> PinReasons {
        let is_reported = |name: &[u8]| names.index(name).is_some_and(|at| facts.params.value(at).is_some());
        let mut found =
            if survey.settings == Asked::Named { facts.settings.clone() } else { Settings::default() };
        let follows = |name: &[u8]| !is_reported(name) && !NOT_OF_SESSION.contains(&name);
        for (name, value) in findings.settings.iter().filter(|(name, _)| follows(name)) {
            let is_default = match &**name {
                ROLE => **value == *b"none",
                SESSION_AUTHORIZATION => *value == facts.login,
                _ => false,
            };
            if is_default {
                found.remove(name);
            } else {
                found.set(name, value);
            }
        }
        facts.settings = found.clone();
        let startup = self.wishes.startup().map(|startup| startup.settings.clone()).unwrap_or_default();
        match self.rules.session_state {
            SessionState::Track | SessionState::PgBouncer => {}
            SessionState::Clean => return PinReasons::default(),
            SessionState::Pin if found == startup => return PinReasons::default(),
            SessionState::Pin => return PinReasons::SETTINGS,
        }
        if survey.settings == Asked::All {
            for (name, value) in startup.iter() {
                if found.get(name).is_none() {
                    found.set(name, value);
                }
            }
        }
        self.wishes.set_settings(found);
        PinReasons::default()
    }

    /// After a RESET: puts the client's own startup values in force again, before it hears that it is done. Whether
    /// there are any.
    pub(super) fn begin_restore(&mut self, turn: &mut Turn<'_>) -> bool {
        let own = self.own_name();
        let Some(restore) = self.restore.take() else { return false };
        let Some(startup) = self.wishes.startup() else { return false };
        let told = startup.chosen(turn.names, &restore);
        if told.is_empty() {
            return false;
        }
        turn.to_server.own(|out| {
            put_settings(out, own, &told, false);
            put_sync(out);
        });
        self.owe_own(1, Why::Own);
        self.gate = Gate::Preparing(Own::Restore);
        if let Some(facts) = turn.facts.as_deref_mut().filter(|_| own.is_empty()) {
            facts.unnamed = None;
        }
        true
    }

    /// Puts in force what differs between the server and the client (own messages at rest, R51).
    pub(super) fn put_in_force(&mut self, turn: &mut Turn<'_>) {
        let Some(facts) = turn.facts.as_deref_mut() else { return };
        let wanted = self.wishes.settings();
        let params = self.params.differing(&facts.params);
        let reported: Vec<_> =
            params.map(|(index, value)| (turn.names.name(index).as_bytes(), Some(value))).collect();
        let others = wanted.differing(&facts.settings);
        if reported.is_empty() && others.is_empty() {
            facts.params.share(&self.params); // the next look at them is one at a pointer
            facts.settings.share(&wanted);
            return;
        }
        // The encoding decides how the values of all others are read: it has a statement of its own.
        let encodes = |(name, _): &&(&[u8], Option<&[u8]>)| {
            *name == turn.names.name(super::TrackedNames::CLIENT_ENCODING).as_bytes()
        };
        let encoding = usize::from(reported.first().as_ref().is_some_and(encodes));
        let (first, rest) = reported.split_at(encoding);
        let rest: Vec<_> = rest.iter().copied().chain(others.iter().copied()).collect();
        let statements = [first, rest.as_slice()].into_iter().filter(|told| !told.is_empty());
        let own = self.own_name();
        let mut count = 0;
        turn.to_server.own(|out| {
            for told in statements {
                put_settings(out, own, told, false);
                count += 1;
            }
            put_sync(out);
        });
        self.owe_own(count, Why::Own);
        facts.unnamed = None;
        self.gate = Gate::Preparing(Own::Link);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s34_values_are_bound_and_names_are_qualified() {
        assert_eq!(
            set_config_sql(2, false),
            "SELECT pg_catalog.set_config($1,$2,false),pg_catalog.set_config($3,$4,false)"
        );
    }
}

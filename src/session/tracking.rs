//! What a client does to its session, and what is done about it: followed, kept on its server, or as PgBouncer does.
//!
//! The words of a query leave [`Traces`]. Before the server goes to somebody else it is asked what has come of them
//! (`survey`), and the answer decides: settings become the client's wishes, anything else keeps the server with it.

use std::rc::Rc;

use super::TrackedNames;
use super::conversation::{Gate, ServerFacts, Session, Turn};
use super::owed::Why;
use super::own::{Own, OwnBatch};
use super::settings::{IDLE_TIMEOUT, NOT_OF_SESSION, ROLE, SEARCH_PATH, SESSION_AUTHORIZATION, Settings};
use super::sql::{self, Features, Reading};
use super::survey::{Asked, Findings, PinReasons, Survey};
use super::wishes::{Wished, Wishes};
use crate::config::{PoolMode, SessionState};

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
            standard_strings: value(TrackedNames::STANDARD_STRINGS) != Some(b"off"),
            ascii_safe: value(TrackedNames::CLIENT_ENCODING).is_none_or(is_ascii_safe),
        }
    }

    /// Whether the linked server is at rest and has to be asked before anything else becomes of it, or the client told.
    #[inline(always)]
    pub fn wants_survey(&self, unsent: usize, unread: usize) -> bool {
        (self.traces.is_some() || self.owes_pin_notice()) && self.is_at_rest(unsent, unread)
    }

    /// Asks the server what has come of what was noted (own messages at rest, R51).
    pub fn ask_survey(&mut self, turn: &mut Turn<'_>) {
        self.give_pin_notice(turn);
        let unseen = self.unseen();
        if let Some(traces) = &mut self.traces
            && traces.names.iter().any(|name| **name == *SESSION_AUTHORIZATION)
            && !traces.names.iter().any(|name| **name == *ROLE)
        {
            traces.names.push(ROLE.into()); // which it has ended
        }
        let Some(traces) = &self.traces else { return };
        let features = traces.features | unseen;
        let mut survey = Survey::of(features, &traces.names, traces.doubtful, self.pinned_for());
        survey.ask_also_for(&self.wishes.settings());
        survey.expects_role =
            self.wishes.get(ROLE).is_some() && !traces.names.iter().any(|name| **name == *ROLE);
        if let Some(facts) = turn.facts.as_deref() {
            survey.ask_also_for(&facts.settings);
        }
        if survey.is_empty() {
            self.traces = None;
            return;
        }
        let (sql, names) = (survey.sql(), survey.names.clone());
        let names: Vec<_> = names.iter().map(|name| Some(&**name)).collect();
        let mut batch = self.own_batch(Own::Survey(Box::new(survey)));
        self.shield(&mut batch, &Why::Ask, turn.facts.as_deref(), &traces.names);
        batch.add(Why::Ask, &sql, &names);
        self.send_own(turn, batch);
    }

    /// What the client may do that its texts do not tell.
    #[inline(always)]
    pub(super) fn unseen(&self) -> Features {
        if self.rules.mode == PoolMode::Session {
            Features::NOTHING
        } else if self.rules.session_state == SessionState::Verify {
            Features::OPAQUE
        } else if self.creates_temporarily() && self.reads_texts() {
            Features::TEMP
        } else {
            Features::NOTHING
        }
    }

    /// Whether what the client creates may be temporary without saying so: its search path has that schema.
    #[inline]
    fn creates_temporarily(&self) -> bool {
        let path = self.wishes.get(SEARCH_PATH).or_else(|| self.params.value(TrackedNames::SEARCH_PATH));
        path.is_some_and(sql::names_temp)
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
            if matches!(self.gate, Gate::Preparing(_)) {
                reasons = reasons.both(PinReasons::LIBRARY); // the rest is gone before anybody can have the server
            }
        }
        let prepared = match self.pins.as_mut() {
            Some(pins) if !survey.reasons.intersects(PinReasons::PREPARED) => {
                std::mem::take(&mut pins.prepared)
            }
            Some(_) | None => findings.prepared,
        };
        self.hold(reasons, prepared, cause);
        if let Some(pins) = self.pins.as_mut()
            && survey.reasons.intersects(PinReasons::TEMPORARY)
        {
            pins.reading = None; // there may be another table by now
        }
        self.settle_passage(turn);
        if self.rules.follows() && matches!(self.gate, Gate::Open) {
            self.put_in_force(turn); // startup values that something has reset unseen, and what must not stay
        }
    }

    /// What was found in force is what is in force there, and by the policy also what the client wants, or a reason to
    /// keep the server with it.
    fn adopt_settings(
        &mut self,
        survey: &Survey,
        findings: &Findings,
        names: &TrackedNames,
        facts: &mut ServerFacts,
    ) -> PinReasons {
        let is_reported = |name: &[u8]| names.index(name).is_some_and(|at| facts.params.value(at).is_some());
        let mut found =
            if survey.settings == Asked::Named { facts.settings.clone() } else { Settings::default() };
        let follows = |name: &[u8]| !is_reported(name) && !NOT_OF_SESSION.contains(&name);
        for (name, value) in findings.settings.iter().filter(|(name, _)| follows(name)) {
            let is_default = match &**name {
                ROLE => **value == *b"none" && !findings.has_default_role,
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
            SessionState::Track | SessionState::Verify | SessionState::PgBouncer => {}
            SessionState::Clean => return PinReasons::default(),
            SessionState::Pin if found == startup => return PinReasons::default(),
            SessionState::Pin => return PinReasons::SETTINGS,
        }
        if survey.settings == Asked::All {
            for (name, value) in startup.iter() {
                if found.get(name).is_none() && (name != ROLE || survey.expects_role) {
                    found.set(name, value);
                }
            }
        }
        found.remove(IDLE_TIMEOUT);
        self.wishes.set_settings(found);
        PinReasons::default()
    }

    /// Our own statements run in the client's session: they must not wait for a moment without writers, nor end at once,
    /// because it has set so. `fresh`: names that were set just now.
    pub(super) fn shield(
        &self,
        batch: &mut OwnBatch,
        why: &Why,
        facts: Option<&ServerFacts>,
        fresh: &[Box<[u8]>],
    ) {
        let any = |name: &[u8], matters: fn(&[u8]) -> bool| {
            let in_force = facts.and_then(|facts| facts.settings.get(name));
            fresh.iter().any(|known| **known == *name)
                || [self.wishes.get(name), in_force].into_iter().flatten().any(matters)
        };
        if any(b"default_transaction_deferrable", |value| value == b"on") {
            batch.add(why.clone(), "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE", &[]);
        }
        // A question must not do that: it would be told this value.
        if *why == Why::Own && any(b"statement_timeout", |value| value.ends_with(b"ms")) {
            batch.add(why.clone(), "SET LOCAL statement_timeout TO 0", &[]);
        }
    }

    /// Puts in force what differs between the server and the client (own messages at rest, R51).
    pub fn put_in_force(&mut self, turn: &mut Turn<'_>) {
        let mut batch = self.own_batch(Own::Link);
        self.add_difference(&mut batch, turn);
        self.send_own(turn, batch);
    }

    /// Adds what differs between the server and the client.
    pub(super) fn add_difference(&self, batch: &mut OwnBatch, turn: &mut Turn<'_>) {
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
            *name == turn.names.name(TrackedNames::CLIENT_ENCODING).as_bytes()
        };
        let encoding = usize::from(reported.first().as_ref().is_some_and(encodes));
        self.shield(batch, &Why::Own, Some(facts), &[]);
        let (first, rest) = reported.split_at(encoding);
        let rest: Vec<_> = rest.iter().copied().chain(others.iter().copied()).collect();
        for told in [first, rest.as_slice()].into_iter().filter(|told| !told.is_empty()) {
            batch.add_settings(Why::Own, told, false);
        }
    }
}

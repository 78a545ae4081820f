//! Batches of our own: what a linked server is told or asked between the client's messages, while the client waits.
//!
//! One is under way at a time. A cancel that was meant for the client's last query may arrive late and hit one, or a
//! short `statement_timeout` that is in force there. Nothing of it has happened then, and it is sent again.

use super::answer::Answer;
use super::conversation::{Gate, Presence, ServerFacts, Session, Turn};
use super::outbox::Outbox;
use super::owed::{Kind, Owed, Why};
use super::survey::{Findings, Survey};
use crate::proto::{SqlState, TxStatus, put_bound_statement, put_close_statement, put_sync};

/// How often a batch is sent again. A client's cancels and timeouts that hit more of them in a row are not late.
const MAX_REPEATS: u8 = 3;

/// What a batch of our own is for.
#[derive(Debug)]
pub(super) enum Own {
    /// It puts in force what the client wants on a server it has just got.
    Link,
    /// It puts the client's startup values in force again; the answer to its request follows.
    Restore,
    /// It asks what the client has done to its session.
    Survey(Box<Survey>),
    /// It ends what the client has left there, and puts in force what it wants.
    Clean,
    /// It ends its listening there: the pool's listener has taken over.
    Unlisten,
}

/// A batch of bound statements with a Sync behind them.
#[derive(Debug)]
pub(super) struct OwnBatch {
    pub(super) what: Own,
    /// The name of each statement for the time it runs.
    name: &'static [u8],
    bytes: Vec<u8>,
    /// What the replies of each statement are for.
    statements: Vec<Why>,
    repeats_left: u8,
    /// It was cancelled; its Sync is still to be answered.
    hit: bool,
}

impl OwnBatch {
    /// One without statements.
    pub(super) const fn new(what: Own, name: &'static [u8]) -> Self {
        Self { what, name, bytes: Vec::new(), statements: Vec::new(), repeats_left: MAX_REPEATS, hit: false }
    }

    /// Whether there is nothing to send.
    pub(super) const fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// One more statement, with text parameters.
    pub(super) fn add(&mut self, why: Why, sql: impl AsRef<[u8]>, values: &[Option<&[u8]>]) {
        if !self.name.is_empty() {
            // One that failed before has skipped its Close; to close what does not exist is no error.
            put_close_statement(&mut self.bytes, self.name);
        }
        put_bound_statement(&mut self.bytes, self.name, sql, values);
        self.statements.push(why);
    }

    /// One more statement: it gives settings values, name and value bound (S34); `None` gives one its default.
    pub(super) fn add_settings(&mut self, why: Why, told: &[(&[u8], Option<&[u8]>)], local: bool) {
        let values: Vec<_> = told.iter().flat_map(|(name, value)| [Some(*name), *value]).collect();
        self.add(why, set_config_sql(told.len(), local), &values);
    }
}

fn set_config_sql(count: usize, local: bool) -> String {
    let calls: Vec<String> =
        (0..count).map(|i| format!("pg_catalog.set_config(${},${},{local})", 2 * i + 1, 2 * i + 2)).collect();
    format!("SELECT {}", calls.join(","))
}

impl Session {
    /// A batch for the linked server; its statements have no name unless the client's unnamed one is only there.
    pub(super) const fn own_batch(&self, what: Own) -> OwnBatch {
        OwnBatch::new(what, if self.unnamed.is_pinned() { b"pooler_own" } else { b"" })
    }

    /// Sends a batch to a linked server at rest; the client waits for its end (R51). Nothing, for a client that has left.
    pub(super) fn send_own(&mut self, turn: &mut Turn<'_>, batch: OwnBatch) {
        let Some(facts) =
            turn.facts.as_deref_mut().filter(|_| self.presence == Presence::Here && !batch.is_empty())
        else {
            return;
        };
        self.post(&batch, facts, turn.to_server);
        self.gate = Gate::Preparing(Box::new(batch));
    }

    /// Sends a batch, and notes what it is answered with.
    pub(super) fn post(&mut self, batch: &OwnBatch, facts: &mut ServerFacts, to_server: &mut Outbox) {
        self.answer = Answer::default();
        to_server.own(|out| {
            out.extend_from_slice(&batch.bytes);
            put_sync(out);
        });
        for why in &batch.statements {
            if !batch.name.is_empty() {
                self.inflight.owe(Kind::Close, why.clone());
            }
            for kind in [Kind::Parse, Kind::Bind, Kind::Execute] {
                self.inflight.owe(kind, why.clone());
            }
            if !batch.name.is_empty() {
                self.inflight.owe(Kind::Close, why.clone());
            }
        }
        self.inflight.owe(Kind::Sync, batch.statements.last().cloned().unwrap_or(Why::Own));
        if batch.name.is_empty() {
            facts.unnamed = None;
        }
    }

    /// An error has come in place of a reply: whether it is for nobody, because the batch is sent again.
    pub(super) fn repeats_own(&mut self, head: &Owed, code: SqlState) -> bool {
        let Gate::Preparing(batch) = &mut self.gate else { return false };
        let hit = matches!(head.why, Why::Own | Why::Ask)
            && code == SqlState::QUERY_CANCELED
            && self.tx == TxStatus::Idle
            && batch.repeats_left > 0
            && self.presence == Presence::Here;
        batch.hit |= hit;
        hit
    }

    /// Whether an error of our own batch is the client's to hear: it has failed in the client's transaction block.
    pub(super) const fn fails_in_block(&self) -> bool {
        matches!(self.gate, Gate::Preparing(_)) && !matches!(self.tx, TxStatus::Idle)
    }

    /// The batch under way has been answered, or is sent again: `None`.
    pub(super) fn own_answered(&mut self, turn: &mut Turn<'_>, batch: OwnBatch) -> Option<Own> {
        if !batch.hit {
            return Some(batch.what);
        }
        let repeats_left = batch.repeats_left.saturating_sub(1);
        self.send_own(turn, OwnBatch { repeats_left, hit: false, ..batch });
        None
    }

    /// What it was for is done.
    pub(super) fn own_done(&mut self, own: &Own, turn: &mut Turn<'_>) {
        match own {
            Own::Link | Own::Clean => self.wishes_are_in_force(turn),
            Own::Survey(survey) => self.settle_survey(survey, turn),
            Own::Unlisten => self.unlistened(),
            Own::Restore => self.restored(turn),
        }
    }

    fn wishes_are_in_force(&self, turn: &mut Turn<'_>) {
        if let Some(facts) = turn.facts.as_deref_mut() {
            facts.settings = self.wishes.settings();
        }
    }

    /// Ends what was found, by the policy: it was for one transaction.
    pub(super) fn clean(&mut self, findings: &Findings, turn: &mut Turn<'_>) {
        let mut batch = self.own_batch(Own::Clean);
        self.add_difference(&mut batch, turn);
        if !findings.reasons.is_empty() {
            if batch.is_empty() {
                self.shield(&mut batch, &Why::Own, turn.facts.as_deref(), &[]);
            }
            for sql in findings.cleaning() {
                batch.add(Why::Own, &sql, &[]);
            }
        }
        self.send_own(turn, batch);
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

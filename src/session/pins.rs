//! What keeps a client on its server, and how many clients of a pool may be kept so.
//!
//! A pin takes a server away from all other clients, so their number is bounded: a statement whose words tell that it
//! would bring one about is refused when the pool has no room for another. What only turns out afterwards is let be.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::conversation::{Session, Turn};
use super::names::cut;
use super::sql::{self, Digest, Features};
use super::survey::PinReasons;
use super::tracking::Traces;
use crate::config::{PoolMode, SessionState};
use crate::proto::{PgError, SqlState, TxStatus};

/// What keeps a client on its server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pins {
    /// Why.
    pub reasons: PinReasons,
    /// Statements made with PREPARE.
    pub(super) prepared: Vec<Box<[u8]>>,
    /// What its texts mean is its own while it has temporary tables: this number makes it so, once it is needed.
    pub(super) reading: Option<u64>,
    /// The statement that brought it about, without its literals.
    text: Rc<str>,
    /// The client has not been told.
    untold: bool,
}

/// How many clients of a pool are pinned and how many may be: what the pool tells its conversations. The bound is the
/// pool's, also where several workers serve it: they count into one number, which is touched when a client is pinned or
/// is not any more.
#[derive(Debug)]
pub struct PinRoom {
    /// Of the whole pool.
    all: Arc<AtomicU32>,
    /// Of these, on this worker.
    taken: Cell<u32>,
    /// Some of them took room in this turn and have not been counted.
    is_ahead: Cell<bool>,
    most: Cell<u32>,
    notice: Cell<bool>,
}

impl Default for PinRoom {
    fn default() -> Self {
        Self::of(Arc::default())
    }
}

impl Drop for PinRoom {
    fn drop(&mut self) {
        self.set_taken(0);
    }
}

impl PinRoom {
    /// Part of the pool that counts its pinned clients here.
    pub fn of(all: Arc<AtomicU32>) -> Self {
        let (taken, most) = (Cell::new(0), Cell::new(u32::MAX));
        Self { all, taken, is_ahead: Cell::new(false), most, notice: Cell::new(false) }
    }

    /// Puts a bound in force, and whether clients are told.
    pub fn set_rules(&self, most: u32, notice: bool) {
        self.most.set(most);
        self.notice.set(notice);
    }

    /// Notes how many clients of this worker are pinned or about to be.
    pub fn set_taken(&self, taken: usize) {
        let taken = u32::try_from(taken).unwrap_or(u32::MAX);
        let before = self.taken.replace(taken);
        self.is_ahead.set(false);
        // Modulo 2^32 where it falls, which comes to the same.
        self.all.fetch_add(taken.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Whether there are more than there should be.
    pub fn is_exceeded(&self) -> bool {
        self.all.load(Ordering::Relaxed) > self.most.get()
    }

    /// Whether room was taken for a client that has not been counted: it may have given it up in the same turn.
    pub const fn is_ahead(&self) -> bool {
        self.is_ahead.get()
    }

    /// Takes room for one more, if there is any: it counts until all are counted again, at the end of the turn.
    pub(super) fn take(&self) -> bool {
        let most = self.most.get();
        let one_more = |all: u32| (all < most).then(|| all + 1);
        let is_taken = self.all.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        self.taken.set(self.taken.get() + u32::from(is_taken));
        self.is_ahead.set(is_taken || self.is_ahead.get());
        is_taken
    }
}

/// What surely pins a client if it succeeds, where session state is dealt with so.
const fn pinning(policy: SessionState) -> Features {
    const ALWAYS: Features = Features::TEMP
        .with(Features::DECLARE_HOLD)
        .with(Features::ADVISORY_LOCK)
        .with(Features::LOAD)
        .with(Features::PREPARE);
    match policy {
        SessionState::Track | SessionState::Verify => ALWAYS,
        SessionState::Pin => ALWAYS.with(Features::LISTEN),
        SessionState::Clean | SessionState::PgBouncer => Features::NOTHING,
    }
}

fn no_room() -> PgError {
    // 53400, not 53300: PostgreSQL's own code where a setting bounds what statements may take (temp_file_limit), and
    // drivers do not take it for a lost connection.
    let text = "too many servers of this pool are kept by the session state of clients";
    PgError::error(SqlState::CONFIGURATION_LIMIT_EXCEEDED, text).with_hint(
        "Keep the state within a transaction (CREATE TEMP TABLE ... ON COMMIT DROP, pg_advisory_xact_lock), use a \
         database in session mode, or raise max_pinned_ratio. SHOW PINS on the pooler's console lists the clients.",
    )
}

/// What a client hears whose LISTEN has been carried out when it turns out that it would keep a server.
pub(super) fn no_room_to_listen() -> PgError {
    let text =
        "LISTEN has come to nothing: too many servers of this pool are kept by the session state of clients";
    PgError::error(SqlState::CONFIGURATION_LIMIT_EXCEEDED, text).with_hint(
        "The transaction is committed otherwise. The pooler's connection that listens cannot have these channels at \
         present, so that a server would have to: try again later, or raise max_pinned_ratio. SHOW PINS on the pooler's \
         console lists the clients that keep theirs.",
    )
}

impl Session {
    /// Why only the linked server can serve this client, as far as session state goes.
    pub fn pinned_for(&self) -> PinReasons {
        self.pins.as_ref().map(|pins| pins.reasons).unwrap_or_default()
    }

    /// Why only the linked server can serve this client, for reports: whatever it is, and also that a statement has
    /// been let through which will need it.
    #[inline]
    pub fn pin_state(&self) -> PinReasons {
        if self.traces.is_none() && !self.is_pinned() { PinReasons::default() } else { self.any_pin_state() }
    }

    #[cold]
    fn any_pin_state(&self) -> PinReasons {
        let large = self.unnamed.is_pinned() || self.names.names_private();
        let intends = self.traces.as_ref().is_some_and(|traces| traces.claims_server);
        let reasons = self.pinned_for();
        let passes = self.channels.may_leave_server();
        let reasons = if passes { reasons.without(PinReasons::LISTEN) } else { reasons };
        let reasons = if large { reasons.with(PinReasons::LARGE_STATEMENT) } else { reasons };
        if intends { reasons.with(PinReasons::INTENDED) } else { reasons }
    }

    /// Whether it keeps its server whatever becomes of the channels.
    pub(super) fn is_pinned_beside_listen(&self) -> bool {
        let others = self.pinned_for().without(PinReasons::LISTEN);
        self.unnamed.is_pinned() || self.names.names_private() || !others.is_empty()
    }

    /// The statement that brought the pin about, without its literals; empty if that cannot be told.
    pub fn pin_text(&self) -> Rc<str> {
        self.pins.as_ref().map(|pins| Rc::clone(&pins.text)).unwrap_or_default()
    }

    /// One more reason.
    pub(super) fn pin(&mut self, reasons: PinReasons, cause: Option<Rc<str>>) {
        let prepared = self.pins.as_mut().map(|pins| std::mem::take(&mut pins.prepared));
        self.hold(self.pinned_for().with(reasons), prepared.unwrap_or_default(), cause);
    }

    /// From now on it is pinned for just these reasons. `cause`: what to blame if it was not before.
    pub(super) fn hold(&mut self, reasons: PinReasons, prepared: Vec<Box<[u8]>>, cause: Option<Rc<str>>) {
        let (text, untold, reading) = self.pins.take().map_or_else(
            || (cause.unwrap_or_default(), true, None),
            |pins| (pins.text, pins.untold, pins.reading),
        );
        let pins = || Box::new(Pins { reasons, prepared, reading, text, untold });
        self.pins = (!reasons.is_empty()).then(pins);
    }

    /// Whether a name belongs to a statement the client has made with PREPARE on its server.
    pub(super) fn is_prepared_by_sql(&self, name: &[u8]) -> bool {
        self.pins.as_ref().is_some_and(|pins| pins.prepared.iter().any(|known| **known == *cut(name)))
    }

    /// What the client hears instead, if this text would pin it and there is no room for that. Otherwise it takes
    /// the room.
    pub(super) fn refusal_to_pin(
        &mut self,
        turn: &Turn<'_>,
        digest: &Digest,
        text: &[u8],
    ) -> Option<PgError> {
        let features = digest.features.both(pinning(self.rules.session_state));
        if features.is_empty() || self.rules.mode == PoolMode::Session || self.tx == TxStatus::Failed {
            return None;
        }
        let claims = |traces: &Traces| traces.claims_server;
        if self.is_pinned() || self.traces.as_deref().is_some_and(claims) {
            return None;
        }
        if features == Features::TEMP && sql::drops_at_commit(text, self.reading()) {
            return None;
        }
        if !turn.pins.take() {
            return Some(no_room());
        }
        self.traces.get_or_insert_default().claims_server = true;
        None
    }

    /// Whether the client has not been told that it is pinned.
    pub(super) fn owes_pin_notice(&self) -> bool {
        self.pins.as_ref().is_some_and(|pins| pins.untold)
    }

    /// Tells it, if that is wanted: once, outside any reply, since its server is at rest.
    pub(super) fn give_pin_notice(&mut self, turn: &mut Turn<'_>) {
        let Some(pins) = self.pins.as_mut().filter(|pins| pins.untold) else { return };
        pins.untold = false;
        if turn.pins.notice.get() {
            let text = format!("this session keeps its server from now on ({})", pins.reasons);
            let notice = PgError::notice(text).with_hint(advice(pins.reasons));
            turn.to_client.own(|out| notice.put(out));
        }
    }
}

/// How a client can do without its server, by the first reason.
const fn advice(reasons: PinReasons) -> &'static str {
    if reasons.intersects(PinReasons::TEMPORARY) {
        "Create temporary tables with ON COMMIT DROP, or drop them, so that the server can serve others."
    } else if reasons.intersects(PinReasons::ADVISORY_LOCK) {
        "Use pg_advisory_xact_lock, or unlock, so that the server can serve others."
    } else if reasons.intersects(PinReasons::CURSOR) {
        "Close cursors declared WITH HOLD, so that the server can serve others."
    } else if reasons.intersects(PinReasons::PREPARED) {
        "Prepare statements through the protocol, or DEALLOCATE them, so that the server can serve others."
    } else if reasons.intersects(PinReasons::LISTEN) {
        "Use a connection of its own for LISTEN, or UNLISTEN, so that the server can serve others."
    } else if reasons.intersects(PinReasons::SETTINGS) {
        "Use SET LOCAL, or RESET, so that the server can serve others."
    } else {
        "The server serves others when this connection ends."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two workers that look at the same time must not both find room for the last one.
    #[test]
    fn room_is_taken_when_it_is_found_and_given_back_if_it_was_not_needed() {
        let all = Arc::<AtomicU32>::default();
        let rooms = [(); 2].map(|()| PinRoom::of(Arc::clone(&all)));
        for room in &rooms {
            room.set_rules(1, false);
        }
        assert!(rooms[0].take() && !rooms[1].take() && !rooms[0].take());
        assert!(rooms[0].is_ahead() && !rooms[1].is_ahead());
        rooms[0].set_taken(0);
        assert!(!rooms[0].is_ahead() && rooms[1].take());
        rooms[1].set_taken(1);
        assert!(!rooms[0].take() && !rooms[0].is_exceeded());
    }
}

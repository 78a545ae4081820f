//! One server's place in a pool, from the moment it is promised to the moment its socket is gone.

use std::fmt;
use std::time::{Duration, Instant};

use super::slab::Key;

/// Process-wide number of a server connection, given by the worker; never reused. It names a server in reports
/// and events and never stands for ownership (R6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub u64);

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a server stands.
///
/// ```text
///  permit                     .---Lend----v            .--Reset--> Resetting -------.
///    |                        |           |            |                            |
///    v                        |           |            +--Check--> Checking --------+ Resume
/// Connecting --Connected--> Idle        Leased <--+    |                            | (all three)
///    |   |                    ^           |  |    '----+--Hold---> BeingCanceled ---'
///    |   |                    '--Release--'  '-------->'                |
///    |   |                    (also from the three on the right) <------'
///    |   '------- Retire (from anywhere) -------> Closing --gone--> (place is free)
///    '-- failed --> (place is free)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// Promised by a permit: being dialled or logged in.
    Connecting,
    /// Usable at once.
    Idle,
    /// Held by a client.
    Leased,
    /// Held while a reset or a rollback runs.
    Resetting,
    /// Held while it is probed.
    Checking,
    /// Held back until cancel requests aimed at it are done.
    BeingCanceled,
    /// Leaves the pool; the place counts until the backend is gone (R8).
    Closing,
}

/// What can happen to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotEvent {
    /// The login succeeded.
    Connected,
    /// It is handed to somebody.
    Lend,
    /// It came back with evidence.
    Release,
    /// Its holder resets it.
    Reset,
    /// Its holder probes it.
    Check,
    /// Its holder waits for cancel requests.
    Hold,
    /// Its holder uses it again.
    Resume,
    /// It must leave.
    Retire,
}

impl SlotState {
    /// Number of states.
    pub(super) const COUNT: usize = 7;

    /// Where the event leads; `None` is a bug in the caller, not an event to survive.
    pub(super) const fn next(self, event: SlotEvent) -> Option<Self> {
        use SlotEvent as E;
        Some(match (self, event) {
            (Self::Connecting, E::Connected) => Self::Idle,
            (Self::Idle, E::Lend) => Self::Leased,
            (held, E::Release) if held.is_held() => Self::Idle,
            (held, E::Reset) if held.is_held() => Self::Resetting,
            (held, E::Check) if held.is_held() => Self::Checking,
            (held, E::Hold) if held.is_held() => Self::BeingCanceled,
            (held, E::Resume) if held.is_held() => Self::Leased,
            (Self::Closing, E::Retire) => return None,
            (_, E::Retire) => Self::Closing,
            _ => return None,
        })
    }

    /// Whether somebody holds a lease on it.
    pub const fn is_held(self) -> bool {
        matches!(self, Self::Leased | Self::Resetting | Self::Checking | Self::BeingCanceled)
    }

    /// Whether PostgreSQL has accepted it and it is not on its way out.
    pub const fn is_connected(self) -> bool {
        self.is_held() || matches!(self, Self::Idle)
    }

    /// The event by which a holder shows this state; `None` for states a holder cannot choose.
    pub(super) const fn shown_by(self) -> Option<SlotEvent> {
        match self {
            Self::Leased => Some(SlotEvent::Resume),
            Self::Resetting => Some(SlotEvent::Reset),
            Self::Checking => Some(SlotEvent::Check),
            Self::BeingCanceled => Some(SlotEvent::Hold),
            Self::Connecting | Self::Idle | Self::Closing => None,
        }
    }
}

/// A server's place. The connection itself lies here only while nobody holds it.
pub(super) struct Slot<C> {
    pub(super) state: SlotState,
    /// Given at connect; 0 before.
    pub(super) id: ServerId,
    /// In a box, because it moves with every loan. Present while idle, while delivered to a waiter that has not looked yet, and while queued as retired.
    pub(super) conn: Option<Box<C>>,
    /// When the permit was issued, then when the login succeeded.
    pub(super) connected_at: Instant,
    /// From when on its age speaks against lending it again, by the limits in force: `connected_at` and the lifetime.
    /// Asked at each release, so it is not worked out each time.
    pub(super) fresh_until: Option<Instant>,
    /// When it last became idle.
    pub(super) idle_since: Instant,
    /// Marked for closing (RECONNECT, changed settings).
    pub(super) close_needed: bool,
}

impl<C> Slot<C> {
    /// Notes since when it is connected, and how old it may become.
    pub(super) fn set_age(&mut self, connected_at: Instant, lifetime: Option<Duration>) {
        self.connected_at = connected_at;
        self.fresh_until = lifetime.and_then(|lifetime| connected_at.checked_add(lifetime));
    }

    /// A promised place.
    pub(super) const fn promised(now: Instant) -> Self {
        Self {
            state: SlotState::Connecting,
            id: ServerId(0),
            conn: None,
            connected_at: now,
            fresh_until: None,
            idle_since: now,
            close_needed: false,
        }
    }
}

/// Names a slot. Held by exactly one guard at a time (permit, lease, slot guard), or by one of the pool's lists.
pub(super) type SlotKey = Key;

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [SlotState; SlotState::COUNT] = [
        SlotState::Connecting,
        SlotState::Idle,
        SlotState::Leased,
        SlotState::Resetting,
        SlotState::Checking,
        SlotState::BeingCanceled,
        SlotState::Closing,
    ];

    #[test]
    fn nothing_leads_out_of_closing() {
        use SlotEvent as E;
        for event in [E::Connected, E::Lend, E::Release, E::Reset, E::Check, E::Hold, E::Resume, E::Retire] {
            assert_eq!(SlotState::Closing.next(event), None, "{event:?}");
        }
    }

    #[test]
    fn r6_only_an_idle_server_can_be_lent() {
        for state in STATES {
            let expected = (state == SlotState::Idle).then_some(SlotState::Leased);
            assert_eq!(state.next(SlotEvent::Lend), expected, "{state:?}");
        }
    }

    #[test]
    fn only_a_held_server_can_be_released() {
        for state in STATES {
            assert_eq!(state.next(SlotEvent::Release).is_some(), state.is_held(), "{state:?}");
        }
    }

    #[test]
    fn a_holder_can_show_what_it_does_and_nothing_else() {
        for state in STATES {
            let shown = state.shown_by().and_then(|event| SlotState::Leased.next(event));
            assert_eq!(shown, state.is_held().then_some(state));
        }
    }
}

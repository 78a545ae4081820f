//! What the rest of a worker may see of a client, and what it may ask of it.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Instant, SystemTime};

use crate::config::CONSOLE_NAMES;
use crate::metrics::ErrorClass;
use crate::net::clock::Moment;
use crate::net::{Ends, TlsInfo};
use crate::pool::WaiterId;
use crate::proto::PgError;
use crate::server::{Home, ServerEntry};
use crate::session::{ParamSet, PinReasons};

/// State of a client, in PgBouncer's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientState {
    /// Its login waits for the first server of its pool.
    Login,
    /// Logged in, no server.
    Idle,
    /// Has a request, waits for a server.
    Waiting,
    /// Has a server.
    Active,
}

impl ClientState {
    /// The console's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login | Self::Waiting => "waiting",
            Self::Idle => "idle",
            Self::Active => "active",
        }
    }
}

/// Why a client is to be ended from outside.
#[derive(Debug, Clone)]
pub struct EndOrder {
    /// What it is told.
    pub tell: Option<PgError>,
    /// How the end is counted.
    pub class: Option<ErrorClass>,
    /// Wait until it is outside a transaction.
    pub at_transaction_end: bool,
}

/// Cancels what runs on the server it is given.
pub type HeldCancel = Box<dyn FnOnce(&Rc<ServerEntry>)>;

/// Why nothing of a client's moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It does, or waits for a server.
    None,
    /// It is idle outside a transaction.
    Idle,
    /// It is idle inside one.
    IdleInTransaction,
    /// Its server runs messages of our own, before the client's: a cancel must not hit them.
    Preparing,
}

/// Whether a client is to go to another worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Move {
    /// Nobody has asked it to.
    #[default]
    Unasked,
    /// To this one, as soon as it rests.
    To(u8),
    /// It was asked to and rests, but cannot: it listens, or has what cannot go along. Others are asked first.
    Unmovable,
}

/// One logged-in client, shared between its task and its worker. There are many, most of them idle: what is shown
/// of them is made when it is asked for, and what is rare is not here.
pub struct ClientEntry {
    /// Process-wide number.
    pub id: u64,
    /// The pair it shows to cancel.
    pub key: (i32, i32),
    /// Login name; that of the pool is shared.
    pub user: Rc<str>,
    /// Its pool; `None` on the console.
    pub home: Option<Rc<Home>>,
    /// Which of the console's names it asked for, if it is there.
    pub console: u8,
    /// Its address, and our own.
    pub ends: Ends,
    /// TLS version and cipher; `None` without TLS.
    pub tls: Option<TlsInfo>,
    /// When it was accepted.
    pub connected_at: Moment,
    /// When the last request began, if there was one.
    pub request_at: Cell<Option<Instant>>,
    /// Since when a request is open.
    pub request_since: Cell<Option<Instant>>,
    /// Its query was cancelled because it ran too long.
    pub overran: Cell<bool>,
    /// See [`Pause`], and since when.
    pub pause: Cell<Pause>,
    /// See `pause`.
    pub pause_since: Cell<Option<Instant>>,
    /// See [`ClientState`].
    pub state: Cell<ClientState>,
    /// The server it is linked to.
    pub server: Shared<Option<Rc<ServerEntry>>>,
    /// Something of the client's runs on that server: what a cancel would hit.
    pub running: Cell<bool>,
    /// As much was read ahead as may be: its end shows only to who asks for it.
    pub read_ahead_full: Cell<bool>,
    /// It keeps what it needs at work although it is idle.
    pub seated: Cell<bool>,
    /// Whether it is to go to another worker.
    pub moving: Cell<Move>,
    /// Why it keeps its server; what else there is to tell of that, its pool knows.
    pub pins: Cell<PinReasons>,
    /// Its place in the queue.
    pub waiter: Cell<Option<WaiterId>>,
    /// Statement names in use.
    pub statements: Cell<u32>,
    /// Followed parameters in force.
    pub params: Shared<ParamSet>,
    /// What was asked of it from outside.
    pub asked: Cell<Option<Box<Asked>>>,
    /// Whether anything was: asked at each turn, so it has to be seen without taking it out.
    pub is_asked: Cell<bool>,
    /// Wakes its task.
    pub waker: Shared<Option<Waker>>,
}

/// Something that can be looked at by taking a clone, in no more room than it has itself.
#[derive(Default)]
pub struct Shared<T>(Cell<T>);

impl<T: Clone + Default> Shared<T> {
    /// A clone of it.
    pub fn get(&self) -> T {
        self.with(T::clone)
    }

    /// Puts another in its place.
    pub fn set(&self, value: T) {
        self.0.set(value);
    }

    /// A look at it, during which it seems to be empty.
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        let value = self.0.take();
        let seen = look(&value);
        self.0.set(value);
        seen
    }
}

/// What was asked of a client from outside and could not be done yet.
#[derive(Default)]
pub struct Asked {
    /// An order to end.
    order: Option<EndOrder>,
    /// A cancel that came while its server ran messages of our own (F39).
    cancel: Option<HeldCancel>,
}

impl ClientEntry {
    /// A client of whom nothing is known but when it came, and between which ends.
    pub fn blank(connected_at: SystemTime, ends: Ends) -> Self {
        Self {
            id: 0,
            key: (0, 0),
            user: Rc::default(),
            home: None,
            console: 0,
            ends,
            tls: None,
            connected_at: connected_at.into(),
            request_at: Cell::default(),
            request_since: Cell::default(),
            overran: Cell::default(),
            pause: Cell::new(Pause::None),
            pause_since: Cell::default(),
            state: Cell::new(ClientState::Login),
            server: Shared::default(),
            running: Cell::default(),
            read_ahead_full: Cell::default(),
            seated: Cell::default(),
            moving: Cell::default(),
            pins: Cell::default(),
            waiter: Cell::default(),
            statements: Cell::default(),
            params: Shared::default(),
            asked: Cell::default(),
            is_asked: Cell::default(),
            waker: Shared::default(),
        }
    }

    /// Database as it asked for it.
    pub fn database(&self) -> &str {
        match &self.home {
            Some(home) => &home.pool.key().database,
            None => CONSOLE_NAMES.get(usize::from(self.console)).copied().unwrap_or_default(),
        }
    }

    /// Asks the client's task to end the client; the first order stands, but one that waits gives way.
    pub fn end(&self, order: EndOrder) {
        self.with_asked(|asked| {
            let standing = &mut asked.get_or_insert_default().order;
            if standing.as_ref().is_none_or(|known| known.at_transaction_end) {
                *standing = Some(order);
            }
        });
        self.wake();
    }

    /// Whether it was asked to end.
    pub fn is_ordered(&self) -> bool {
        self.with_asked(|asked| asked.as_ref().is_some_and(|asked| asked.order.is_some()))
    }

    /// Takes the order to end, if there is one and it can be obeyed now.
    pub fn take_order(&self, now: impl FnOnce(&EndOrder) -> bool) -> Option<EndOrder> {
        if !self.is_asked.get() {
            return None;
        }
        self.with_asked(|asked| asked.as_mut()?.order.take_if(|order| now(order)))
    }

    /// A look at what was asked, during which nothing seems to be.
    fn with_asked<R>(&self, look: impl FnOnce(&mut Option<Box<Asked>>) -> R) -> R {
        let mut asked = self.asked.take();
        let seen = look(&mut asked);
        self.is_asked.set(asked.is_some());
        self.asked.set(asked);
        seen
    }

    /// The client's task, which `wake` wakes.
    pub fn listen(&self, waker: &Waker) {
        let known = self.waker.with(|known| known.as_ref().is_some_and(|known| known.will_wake(waker)));
        if !known {
            self.waker.set(Some(waker.clone()));
        }
    }

    /// Wakes the client's task.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake();
        }
    }

    /// Notes that a request is open since then, or none.
    pub(super) fn set_request(&self, since: Option<Instant>) {
        let known = self.request_since.get();
        if since != known {
            if known.is_none() {
                self.request_at.set(since);
            }
            self.request_since.set(since);
            self.overran.set(false);
        }
    }

    /// Notes what holds from `now` on, unless it held before.
    pub(super) fn set_pause(&self, pause: Pause, now: Instant) {
        if pause != self.pause.replace(pause) {
            self.pause_since.set(Some(now));
        }
    }

    /// Notes that the client has said something: also what is answered at once, as a lone Sync, ends its idleness.
    pub(super) fn heard(&self, now: Instant) {
        if self.pause.get() == Pause::Idle {
            self.pause_since.set(Some(now));
        }
    }

    /// Since when it pauses in this way.
    pub fn paused_since(&self, pause: Pause) -> Option<Instant> {
        self.pause_since.get().filter(|_| self.pause.get() == pause)
    }

    /// Keeps a cancel until the client's own request runs; forgotten when that request ends. One is enough: a
    /// second one could only hit what the first has hit already.
    pub fn hold_cancel(&self, cancel: HeldCancel) {
        self.with_asked(|asked| {
            asked.get_or_insert_default().cancel.get_or_insert(cancel);
        });
    }

    /// Whether a cancel is kept.
    pub(super) fn holds_cancel(&self) -> bool {
        self.is_asked.get()
            && self.with_asked(|asked| asked.as_ref().is_some_and(|asked| asked.cancel.is_some()))
    }

    fn take_cancel(&self) -> Option<HeldCancel> {
        self.with_asked(|asked| asked.as_mut()?.cancel.take())
    }

    /// What was asked for while it could not be done yet is done now or, with `over`, forgotten.
    pub(super) fn settle_cancel(&self, over: bool) {
        if !self.holds_cancel() {
            return;
        }
        if let Some(server) = self.cancelable_server() {
            if let Some(cancel) = self.take_cancel() {
                cancel(&server);
            }
        } else if over {
            self.take_cancel();
        }
    }

    /// Notes that its conversation is over.
    pub(super) fn leave(&self) {
        self.server.set(None);
        self.running.set(false);
        self.pause.set(Pause::None);
        self.take_cancel();
        self.unpin();
    }

    /// Notes that it keeps no server.
    pub fn unpin(&self) {
        if let Some(home) = self.home.as_ref().filter(|_| !self.pins.take().is_empty()) {
            home.pins.forget(self.id);
        }
    }

    /// Whether the server it is linked to runs something of its own.
    pub fn cancelable_server(&self) -> Option<Rc<ServerEntry>> {
        if self.running.get() { self.server.get() } else { None }
    }
}

//! What the rest of a worker may see of a client, and what it may ask of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Instant, SystemTime};

use crate::metrics::ErrorClass;
use crate::pool::WaiterId;
use crate::proto::PgError;
use crate::server::{Home, ServerEntry};

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

/// One logged-in client, shared between its task and its worker.
pub struct ClientEntry {
    /// Process-wide number.
    pub id: u64,
    /// The pair it shows to cancel.
    pub key: (i32, i32),
    /// Login name.
    pub user: String,
    /// Database as it asked for it.
    pub database: String,
    /// Its pool; `None` on the console.
    pub home: Option<Rc<Home>>,
    /// Its address and port, and our own.
    pub addr: (String, u16, String, u16),
    /// Process at the other end of a Unix socket.
    pub peer_pid: i32,
    /// TLS version and cipher; empty without TLS.
    pub tls: String,
    /// When it was accepted.
    pub connected_at: SystemTime,
    /// When the last request began.
    pub request_at: Cell<SystemTime>,
    /// Since when a request is open.
    pub request_since: Cell<Option<Instant>>,
    /// Since when it is idle inside a transaction.
    pub idle_in_xact_since: Cell<Option<Instant>>,
    /// Since when it is idle outside one.
    pub idle_since: Cell<Option<Instant>>,
    /// See [`ClientState`].
    pub state: Cell<ClientState>,
    /// The server it is linked to.
    pub server: RefCell<Option<Rc<ServerEntry>>>,
    /// Something of the client's runs on that server: what a cancel would hit.
    pub running: Cell<bool>,
    /// Since when that server runs messages of our own, before the client's: a cancel must not hit them.
    pub preparing_since: Cell<Option<Instant>>,
    /// A cancel that came meanwhile (F39).
    pub held_cancel: RefCell<Option<HeldCancel>>,
    /// As much was read ahead as may be: its end shows only to who asks for it.
    pub read_ahead_full: Cell<bool>,
    /// Its place in the queue.
    pub waiter: Cell<Option<WaiterId>>,
    /// Statement names in use.
    pub statements: Cell<usize>,
    /// `application_name` in force.
    pub application_name: RefCell<String>,
    /// Start of the request whose query was cancelled because it ran too long.
    pub cancelled_request: Cell<Option<Instant>>,
    /// An order to end.
    pub order: RefCell<Option<EndOrder>>,
    /// Wakes its task.
    pub waker: RefCell<Option<Waker>>,
}

impl ClientEntry {
    /// A client of whom nothing is known but when it came.
    pub fn blank(connected_at: SystemTime) -> Self {
        Self {
            id: 0,
            key: (0, 0),
            user: String::new(),
            database: String::new(),
            home: None,
            addr: (String::new(), 0, String::new(), 0),
            peer_pid: 0,
            tls: String::new(),
            connected_at,
            request_at: Cell::new(connected_at),
            request_since: Cell::default(),
            idle_in_xact_since: Cell::default(),
            idle_since: Cell::default(),
            state: Cell::new(ClientState::Login),
            server: RefCell::default(),
            running: Cell::default(),
            preparing_since: Cell::default(),
            held_cancel: RefCell::default(),
            read_ahead_full: Cell::default(),
            waiter: Cell::default(),
            statements: Cell::default(),
            application_name: RefCell::default(),
            cancelled_request: Cell::default(),
            order: RefCell::default(),
            waker: RefCell::default(),
        }
    }

    /// Asks the client's task to end the client; the first order stands, but one that waits gives way.
    pub fn end(&self, order: EndOrder) {
        {
            let mut standing = self.order.borrow_mut();
            if standing.as_ref().is_none_or(|known| known.at_transaction_end) {
                *standing = Some(order);
            }
        }
        self.wake();
    }

    /// The client's task, which `wake` wakes.
    pub fn listen(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Wakes the client's task.
    pub fn wake(&self) {
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Keeps a cancel until the client's own request runs; forgotten when that request ends. One is enough: a
    /// second one could only hit what the first has hit already.
    pub fn hold_cancel(&self, cancel: HeldCancel) {
        self.held_cancel.borrow_mut().get_or_insert(cancel);
    }

    /// What was asked for while it could not be done yet is done now or, with `over`, forgotten.
    pub(super) fn settle_cancel(&self, over: bool) {
        if self.held_cancel.borrow().is_none() {
            return;
        }
        if let Some(server) = self.cancelable_server() {
            let cancel = self.held_cancel.take();
            if let Some(cancel) = cancel {
                cancel(&server);
            }
        } else if over {
            self.held_cancel.take();
        }
    }

    /// Whether the server it is linked to runs something of its own.
    pub fn cancelable_server(&self) -> Option<Rc<ServerEntry>> {
        if self.running.get() { self.server.borrow().clone() } else { None }
    }
}

//! One connection to PostgreSQL as the pool lends it.
//!
//! Owns: the stream and what is true of the backend beyond a lease. Bytes of a session never live here (R7).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Instant, SystemTime};

use super::cancel::CancelTarget;
use crate::net::{Quiet, Stream};
use crate::pool::{Pooled, ServerId};
use crate::session::ServerFacts;

/// What the console shows of a server, and what a cancel needs: shared between the connection and its pool.
#[derive(Debug)]
pub struct ServerEntry {
    /// Process-wide number.
    pub id: u64,
    /// Backend pid; 0 if the server did not tell.
    pub backend_pid: i32,
    /// Address and port of the server, and our own.
    pub addr: (String, u16, String, u16),
    /// TLS version and cipher; empty without TLS.
    pub tls: String,
    /// When it was connected.
    pub connected_at: SystemTime,
    /// When the last request began.
    pub request_at: Cell<Instant>,
    /// State word of the console.
    pub state: Cell<&'static str>,
    /// Number of the client it works for.
    pub client: Cell<Option<u64>>,
    /// Prepared statements it has.
    pub statements: Cell<usize>,
    /// `application_name` in force, brought up to date when it is given back.
    pub application_name: RefCell<String>,
    /// Where cancels go; `None` if the server gave no key.
    pub cancel: Option<Rc<CancelTarget>>,
    /// Cancels on their way to it: while there are any it is given to nobody else (R9).
    pub cancels: Cell<u32>,
}

/// Numbers of idle servers that spoke or closed, until the worker looks.
///
/// It crosses the reactor as a `Waker`, so it must be `Send`; only one thread ever touches it.
#[derive(Debug, Default)]
pub struct Alarms {
    spoke: Mutex<Vec<ServerId>>,
    listener: Mutex<Option<Waker>>,
}

impl Alarms {
    /// Who is woken when a server speaks.
    pub fn listen(&self, waker: &Waker) {
        let mut listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if !listener.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *listener = Some(waker.clone());
        }
    }

    /// The servers that spoke since the last call; at most one entry per wake-up of the reactor.
    pub fn take(&self) -> Vec<ServerId> {
        std::mem::take(&mut *self.spoke.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn ring(&self, server: ServerId) {
        let mut spoke = self.spoke.lock().unwrap_or_else(PoisonError::into_inner);
        if !spoke.contains(&server) {
            spoke.push(server);
        }
        drop(spoke);
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = listener {
            waker.wake();
        }
    }
}

struct Alarm {
    server: ServerId,
    alarms: Arc<Alarms>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.alarms.ring(self.server);
    }
}

/// See the module.
#[derive(Debug)]
pub struct ServerConn {
    /// The socket.
    pub stream: Stream,
    /// Parameters and statements of the backend.
    pub facts: ServerFacts,
    /// See [`ServerEntry`].
    pub entry: Rc<ServerEntry>,
    alarm: Waker,
}

impl ServerConn {
    /// A connection that has just logged in.
    pub fn new(stream: Stream, facts: ServerFacts, entry: Rc<ServerEntry>, alarms: &Arc<Alarms>) -> Self {
        let alarm = Alarm { server: ServerId(entry.id), alarms: Arc::clone(alarms) };
        let alarm = Waker::from(Arc::new(alarm));
        stream.set_alarm(&alarm);
        Self { stream, facts, entry, alarm }
    }

    /// Lets the worker know if it speaks while nobody reads it, or has spoken already. Call it before the lease is
    /// released.
    #[inline(always)]
    pub fn watch(&mut self) -> Quiet {
        if self.stream.rings_alarm() {
            return Quiet::Silent;
        }
        let quiet = self.stream.poll_quiet(&self.alarm);
        if quiet != Quiet::Silent {
            self.alarm.wake_by_ref();
        }
        quiet
    }

    /// Notes that it works for a client from now on.
    pub fn linked_to(&self, client: u64, at: Instant) {
        self.entry.client.set(Some(client));
        self.entry.state.set("active");
        self.entry.request_at.set(at);
    }

    /// Notes that it works for nobody.
    pub fn unlinked(&self) {
        self.entry.client.set(None);
        self.entry.state.set("idle");
        self.entry.statements.set(self.facts.statements.len());
    }

    /// Age at `now`, for the line that tells its end.
    pub fn age_secs(&self, wall: SystemTime) -> u64 {
        wall.duration_since(self.entry.connected_at).unwrap_or_default().as_secs()
    }
}

impl Pooled for ServerConn {
    /// R5: asks the reactor, which knows without a system call; buffers of TLS count too.
    #[inline(always)]
    fn is_quiet(&mut self) -> bool {
        !self.stream.has_unread() && !self.stream.has_unsent() && self.watch() == Quiet::Silent
    }
}

/// How long a request has been open, for the console.
pub fn open_for(since: Option<Instant>, now: Instant) -> std::time::Duration {
    since.map_or_else(Default::default, |since| now.saturating_duration_since(since))
}

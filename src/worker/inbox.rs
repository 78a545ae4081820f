//! The only way into a worker from another thread.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(super) use tokio::sync::{mpsc, oneshot};

use super::state::ProcessCount;
use crate::client::Authenticated;
use crate::config::Config;
use crate::metrics::WorkerSnapshot;
use crate::net::{Detached, TlsContext, TlsInfo};
use crate::pool::{Rights, ShareId};
use crate::server::{ProvenSecrets, Traveller};
use crate::session::PackedClient;

/// Messages that may wait for one worker. Senders wait when it is full, so accepting slows down by itself.
pub const INBOX_BOUND: usize = 1024;

/// Makes work that is to be done on a worker's thread.
pub type Errand = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What other threads may ask of a worker. Commands that take time answer on their `done` channel; a dropped
/// channel means the worker has ended.
pub enum ToWorker {
    /// A new connection, straight from a listener. The worker does TLS, login and everything after it.
    Accept(Detached),
    /// Work of the control plane's that is cheapest on this thread. It ends with the worker at the latest.
    Host(Errand),
    /// A client that has logged in on another worker; its pool is at home here.
    Adopt(Box<Migrant>),
    /// A cancel request whose key was given out by this worker.
    Cancel {
        /// First half of the key.
        process_id: i32,
        /// Second half.
        secret: i32,
        /// Whether it goes on to where the client has moved; one that all workers are sent does not, or it would come
        /// twice, and the second time hit what runs by then.
        follow: bool,
        /// Answers when the server has dealt with it; the client waits for that.
        done: oneshot::Sender<()>,
    },
    /// New settings; clients of databases that vanished end with "database removed".
    Configure(Arc<Config>, Arc<TlsContext>),
    /// Answers with everything the console and the metrics show.
    Snapshot(oneshot::Sender<WorkerSnapshot>),
    /// Answers, to show that the worker turns.
    Ping(oneshot::Sender<()>),
    /// Stops lending servers of one database, or of all; answers when none is lent any more.
    Pause(Option<String>, oneshot::Sender<()>),
    /// Ends a pause.
    Resume(Option<String>),
    /// Pauses, and closes all clients and servers of one database, or of all, at once.
    Kill(Option<String>, oneshot::Sender<()>),
    /// Closes one client; answers whether this worker had it.
    KillClient(u64, oneshot::Sender<bool>),
    /// Marks the servers of one database, or of all, for closing on release.
    Reconnect(Option<String>),
    /// Answers when no server of one database, or of any, is marked for closing.
    WaitClose(Option<String>, oneshot::Sender<()>),
    /// Refuses (`true`) or accepts (`false`) new logins to a database.
    Disable(String, bool),
    /// No new logins from now on.
    Drain(Drain, oneshot::Sender<()>),
    /// A client at rest that another worker has had until now.
    Settle(Box<MovedClient>),
    /// To the worker that gave out a cancel key: its client is on this worker now, or (`false`) not any more.
    Whereabouts {
        /// First half of the key.
        process_id: i32,
        /// The worker that says so.
        worker: usize,
        /// Whether it is there.
        here: bool,
    },
    /// A word from another worker that serves the same pool.
    Share(Box<ShareWord>),
    /// Ends every connection at once, telling clients 57P01, and then the worker.
    Stop,
}

/// A client at rest between two workers.
pub struct MovedClient {
    pub(super) socket: Detached,
    pub(super) client: PackedClient,
    pub(super) id: u64,
    pub(super) key: (i32, i32),
    pub(super) login: String,
    /// Its pool: database and server user.
    pub(super) pool: (String, String),
    pub(super) tls: Option<TlsInfo>,
    pub(super) connected_at: SystemTime,
    pub(super) request_at: Option<Instant>,
    pub(super) idle_since: Option<Instant>,
    /// What clients of its pool have proven, for servers that its new worker opens.
    pub(super) proven: Option<ProvenSecrets>,
    /// How often its worker had been told to end clients at once.
    pub(super) kills: u64,
    pub(super) counted: ProcessCount,
}

/// What workers that serve one pool tell each other about it.
pub struct ShareWord {
    /// The pool's database, as clients know it.
    pub(super) database: String,
    /// The pool's server user.
    pub(super) user: String,
    /// How often its worker had been told that servers are outdated, or rights void.
    pub(super) epoch: u64,
    pub(super) matter: ShareMatter,
}

/// See [`ShareWord`].
pub(super) enum ShareMatter {
    /// To the home share: servers are missing at `from`, where somebody has waited so long.
    Short { from: ShareId, waited: Duration, count: u32 },
    /// From the home share: give `to` so many servers, unless somebody has waited here about as long; `None` to give
    /// them in any case, with rights of these kinds.
    Give { to: ShareId, waited: Option<Duration>, wants: Rights },
    /// Rights, and perhaps the idle server that one of them stands for.
    Rights(Rights, Option<Box<Moved>>),
    /// From the home share: whether clients of this pool stay where they log in.
    Split(bool),
}

/// A server between two shares.
pub(super) struct Moved {
    pub(super) server: Traveller,
    pub(super) connected_at: Instant,
    /// It was marked for closing before it left.
    pub(super) outdated: bool,
}

/// A logged-in client between two workers.
pub struct Migrant {
    /// Its socket.
    pub socket: Detached,
    /// Who it is.
    pub authenticated: Authenticated,
    /// When it came.
    pub arrival: Arrival,
    /// Its place among the clients of the process.
    pub(super) counted: ProcessCount,
}

/// When a client came, and until when its login must be over (R107).
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When it was accepted.
    pub connected_at: SystemTime,
    /// The same moment for every wait of the login, that for the first server of its pool included.
    pub deadline: Option<Instant>,
}

/// How a worker empties itself. It answers on the channel that came along when it is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Each client ends with 57P01 when it is outside a transaction (SIGTERM).
    Transactions,
    /// Servers are released as their pool mode has it, clients that want one are told; then all end (SIGINT,
    /// `SHUTDOWN WAIT_FOR_SERVERS`).
    Servers,
    /// Clients leave by themselves (`SHUTDOWN WAIT_FOR_CLIENTS`).
    Clients,
}

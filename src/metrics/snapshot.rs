//! What a worker tells about itself when asked: plain data that crosses threads.

use std::time::{Duration, SystemTime};

use super::{Counters, PIN_REASONS};
use crate::config::PoolMode;

/// One worker at one instant.
#[derive(Debug, Clone, Default)]
pub struct WorkerSnapshot {
    /// Number of the worker, from 0.
    pub worker: usize,
    /// Its pools.
    pub pools: Vec<PoolSnapshot>,
    /// Its logged-in clients.
    pub clients: Vec<ConnSnapshot>,
    /// Its server connections, those being opened included.
    pub servers: Vec<ConnSnapshot>,
    /// Which features of sessions its clients have used.
    pub uses: Vec<UseSnapshot>,
    /// Clients that have not finished their login.
    pub clients_in_login: u32,
    /// Logins that failed before a pool was known.
    pub failed_logins: u64,
    /// Consoles that were given a command, ended ones included.
    pub consoles_used: u64,
}

/// One pool, or one worker's share of it.
#[derive(Debug, Clone)]
pub struct PoolSnapshot {
    /// Database name as clients know it.
    pub database: String,
    /// Server user.
    pub user: String,
    /// Pool mode in force.
    pub mode: PoolMode,
    /// Clients linked or idle.
    pub cl_active: u32,
    /// Clients waiting for a server.
    pub cl_waiting: u32,
    /// Cancel requests on their way to a server.
    pub cl_active_cancel_req: u32,
    /// Cancel requests not yet on their way.
    pub cl_waiting_cancel_req: u32,
    /// Servers linked to a client.
    pub sv_active: u32,
    /// Connections that carry a cancel request.
    pub sv_active_cancel: u32,
    /// Servers held back until cancels aimed at them are done.
    pub sv_being_canceled: u32,
    /// Servers usable at once.
    pub sv_idle: u32,
    /// Servers that must be probed before use.
    pub sv_used: u32,
    /// Servers running a reset, a rollback or a probe.
    pub sv_tested: u32,
    /// Servers connecting or logging in.
    pub sv_login: u32,
    /// Connections that listen for the clients, outside of the pool's size.
    pub sv_listen: u32,
    /// Clients they listen for.
    pub cl_listening: u32,
    /// Age of the oldest waiter's request.
    pub maxwait: Duration,
    /// Size limit in force, of all shares together; 0 for none.
    pub pool_size: u32,
    /// Clients that keep their servers, by [`PIN_REASONS`].
    pub pinned: [u32; PIN_REASONS.len()],
    /// Paused by an operator.
    pub paused: bool,
    /// What was counted.
    pub counters: Counters,
}

/// Which side a connection is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnKind {
    /// Application to pooler.
    Client,
    /// Pooler to PostgreSQL.
    Server,
}

/// One connection, with what SHOW CLIENTS and SHOW SERVERS tell.
#[derive(Debug, Clone)]
pub struct ConnSnapshot {
    /// Client or server.
    pub kind: ConnKind,
    /// Process-wide number, never reused.
    pub id: u64,
    /// Login name, or server role.
    pub user: String,
    /// Database name as clients know it.
    pub database: String,
    /// State word as PgBouncer has it (`active`, `idle`, `waiting`, `used`, `tested`, `new`, ...).
    pub state: &'static str,
    /// Address of the peer; `unix` for a Unix socket.
    pub addr: String,
    /// Port of the peer; the listening port for a Unix socket.
    pub port: u16,
    /// Our own address.
    pub local_addr: String,
    /// Our own port.
    pub local_port: u16,
    /// When the connection was made.
    pub connected_at: SystemTime,
    /// When the peer last started a request.
    pub request_at: SystemTime,
    /// Age of the request that is open, if one is.
    pub wait: Duration,
    /// Marked for closing.
    pub close_needed: bool,
    /// `id` of the connection on the other side, if linked.
    pub link: Option<u64>,
    /// Backend pid, or pid of the peer of a Unix socket; 0 if not known.
    pub remote_pid: i32,
    /// TLS version and cipher; empty without TLS.
    pub tls: String,
    /// `application_name` in force.
    pub application_name: String,
    /// Tracked prepared statements.
    pub prepared_statements: usize,
    /// Why it keeps its server, if it does.
    pub pin: Option<PinSnapshot>,
}

/// Why a client keeps its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinSnapshot {
    /// Words of [`PIN_REASONS`] with commas between them.
    pub reasons: String,
    /// Since when.
    pub since: SystemTime,
    /// For how long.
    pub age: Duration,
    /// Process of the server.
    pub backend_pid: i32,
    /// The statement that brought it about, without its literals.
    pub text: String,
}

/// How often the clients of one user and application have used a feature of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UseSnapshot {
    /// Database name as clients know it.
    pub database: String,
    /// Login name; `other` for all beyond those that are told apart.
    pub user: String,
    /// `application_name` in force; likewise.
    pub application_name: String,
    /// The feature.
    pub feature: &'static str,
    /// The parameter, if it is about one.
    pub name: String,
    /// What becomes of it in the present mode.
    pub outcome: &'static str,
    /// What becomes of it in transaction mode.
    pub in_transaction: &'static str,
    /// How often.
    pub count: u64,
    /// When for the first time.
    pub first: SystemTime,
    /// When for the last time.
    pub last: SystemTime,
    /// A text that used it, without its literals.
    pub sample: String,
}

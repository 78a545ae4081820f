//! Settings after every check.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::Secret;

/// Everything that was configured. Durations of `None` mean "no limit".
#[derive(Debug, Clone)]
pub struct Config {
    /// Listening, threads, logs: what is fixed at start.
    pub process: Process,
    /// Who may use the console.
    pub console: ConsoleRights,
    /// How clients prove who they are.
    pub auth_type: AuthType,
    /// Most client connections of the process.
    pub max_client_conn: u32,
    /// Timeouts of clients and of waiting.
    pub pacing: Pacing,
    /// What a database or user entry may override.
    pub defaults: ServerDefaults,
    /// TLS towards clients.
    pub client_tls: TlsSettings,
    /// TLS towards servers.
    pub server_tls: TlsSettings,
    /// Options of every TCP socket, both sides.
    pub sockets: SocketOptions,
    /// Parameters followed per client beyond the built-in ones, as configured (`IntervalStyle` by default).
    pub track_extra_parameters: Vec<String>,
    /// Startup parameters that are accepted and dropped; lower case. `options` drops unknown ones inside it.
    pub ignore_startup_parameters: Vec<String>,
    /// Databases by the name clients ask for. `*` is the fallback.
    pub databases: BTreeMap<String, Database>,
    /// Users: the union of `auth_file`, `[users]`, and forced users.
    pub users: BTreeMap<String, User>,
    /// Key, value, default and "changeable" of each global setting, for SHOW CONFIG; secrets absent.
    pub shown: Vec<ShownSetting>,
}

/// One row of SHOW CONFIG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownSetting {
    /// The key.
    pub key: &'static str,
    /// Its value as PgBouncer prints it; `None` prints NULL.
    pub value: Option<String>,
    /// Its default, likewise.
    pub default: Option<String>,
    /// Whether RELOAD can change it.
    pub changeable: bool,
}

/// What is fixed when the process starts.
#[derive(Debug, Clone)]
pub struct Process {
    /// `listen_addr`: host names or addresses, `*` for all; empty for no TCP.
    pub listen_addr: Vec<String>,
    /// `listen_port`.
    pub listen_port: u16,
    /// `listen_backlog`.
    pub listen_backlog: u32,
    /// `unix_socket_dir`; `None` for no Unix socket.
    pub unix_socket_dir: Option<PathBuf>,
    /// `unix_socket_mode`: permission bits of the socket file.
    pub unix_socket_mode: u32,
    /// `unix_socket_group`: name or number.
    pub unix_socket_group: Option<String>,
    /// `workers`: data threads; `None` takes one per core.
    pub workers: Option<NonZeroUsize>,
    /// `runtime`: what runs the data threads.
    pub runtime: Runtime,
    /// `metrics_listen`: address of the Prometheus endpoint; `None` for off.
    pub metrics_listen: Option<SocketAddr>,
    /// `log_format`.
    pub log_format: LogFormat,
    /// `log_level`: a `tracing` filter directive such as `info` or `pooler=debug`.
    pub log_level: String,
    /// `log_connections`: one line for each login and each new server connection.
    pub log_connections: bool,
    /// `log_disconnections`: one line for each end of a connection.
    pub log_disconnections: bool,
}

/// `runtime`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// The executor of this house.
    Reactor,
    /// Tokio's current-thread runtime.
    Tokio,
}

/// `log_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for humans.
    Text,
    /// One JSON object a line.
    Json,
}

/// Users of the console.
#[derive(Debug, Clone, Default)]
pub struct ConsoleRights {
    /// `admin_users`: every command.
    pub admin_users: Vec<String>,
    /// `stats_users`: SHOW only.
    pub stats_users: Vec<String>,
}

/// `auth_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthType {
    /// No password; the user must be known.
    Trust,
    /// Password as clear text.
    Plain,
    /// MD5; a user whose secret is a SCRAM verifier gets SCRAM instead.
    Md5,
    /// SCRAM-SHA-256.
    ScramSha256,
}

/// `pool_split`: whether a pool may be served by several workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolSplit {
    /// While one worker is too busy with it.
    Auto,
    /// Never.
    Off,
    /// From the start.
    Always,
}

/// When a server is given to a client and taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolMode {
    /// Until the client leaves.
    Session,
    /// Until the transaction ends.
    Transaction,
    /// Until the statement ends; transaction blocks are refused.
    Statement,
}

impl PoolMode {
    /// The word of the configuration and of the console.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Transaction => "transaction",
            Self::Statement => "statement",
        }
    }
}

/// What is done about what a client does to its session in transaction and statement mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// Settings follow the client; whatever else it has on a server keeps that server with it.
    Track,
    /// The same, and the server is asked after every transaction, not only after those whose words call for it.
    Verify,
    /// Settings that servers do not report keep the server with the client, too.
    Pin,
    /// It ends with the transaction.
    Clean,
    /// Nothing: it stays on the server, for whoever comes next. Reported parameters follow the client, as in PgBouncer.
    PgBouncer,
}

/// A part of a whole, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(pub u32);

impl Ratio {
    /// The whole.
    pub const WHOLE: Self = Self(1000);

    /// This part of `whole`, rounded down.
    pub fn of(self, whole: u32) -> u32 {
        let part = u64::from(whole) * u64::from(self.0) / u64::from(Self::WHOLE.0);
        u32::try_from(part).unwrap_or(u32::MAX)
    }
}

/// What becomes of a pin beyond `max_pinned_ratio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinOverflow {
    /// The statement that would bring it about is refused.
    Error,
    /// It may take a place of the pool's reserve, as long as there is one.
    Reserve,
}

/// Time limits of clients, of waiting, and of the whole process.
#[derive(Debug, Clone)]
pub struct Pacing {
    /// `client_login_timeout`: one absolute deadline for the whole login (R107).
    pub client_login_timeout: Option<Duration>,
    /// `query_wait_timeout`: longest wait for a server.
    pub query_wait_timeout: Option<Duration>,
    /// `client_idle_timeout`: outside a transaction.
    pub client_idle_timeout: Option<Duration>,
    /// `cancel_wait_timeout`: longest life of a cancel request.
    pub cancel_wait_timeout: Option<Duration>,
    /// `server_recovery_timeout`: longest time a server may take to come to rest when its client has gone.
    pub server_recovery_timeout: Duration,
    /// `server_connect_timeout`: connect and login together.
    pub server_connect_timeout: Option<Duration>,
    /// `server_login_retry`: longest pause after failed logins of a kind that retrying cannot mend.
    pub server_login_retry: Duration,
    /// `server_idle_timeout`: an unused server is closed after this.
    pub server_idle_timeout: Option<Duration>,
    /// `shutdown_timeout`: how long SIGTERM lets transactions finish.
    pub shutdown_timeout: Option<Duration>,
    /// `stats_period`: window of the averages.
    pub stats_period: Duration,
}

/// What a database or user entry may override.
#[derive(Debug, Clone)]
pub struct ServerDefaults {
    /// `pool_mode`.
    pub pool_mode: PoolMode,
    /// `default_pool_size`; 0 for no limit.
    pub pool_size: u32,
    /// `min_pool_size`.
    pub min_pool_size: u32,
    /// `reserve_pool_size`.
    pub reserve_pool_size: u32,
    /// `reserve_pool_timeout`; `None` disables the reserve.
    pub reserve_pool_timeout: Option<Duration>,
    /// `pool_split`.
    pub pool_split: PoolSplit,
    /// `server_lifetime`; zero uses each server once, `None` keeps it as long as it lives (no file says so).
    pub server_lifetime: Option<Duration>,
    /// `server_reset_query`: run when a session ends; empty for none.
    pub server_reset_query: String,
    /// `server_reset_query_always`: run it in every pool mode.
    pub server_reset_query_always: bool,
    /// `idle_transaction_timeout`.
    pub idle_transaction_timeout: Option<Duration>,
    /// `query_timeout`: longest running query; it is cancelled on the server.
    pub query_timeout: Option<Duration>,
    /// `session_state`.
    pub session_state: SessionState,
    /// `max_pinned_ratio`: servers of a pool that may be kept by clients' session state; the whole is no bound.
    pub max_pinned_ratio: Ratio,
    /// `pin_overflow`.
    pub pin_overflow: PinOverflow,
    /// `pin_notice`: a client is told when it is pinned.
    pub pin_notice: bool,
    /// `max_prepared_statements` per server connection; 0 turns tracking off.
    pub max_prepared_statements: u32,
}

/// `*_tls_sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the other side insists.
    Allow,
    /// TLS if the other side can.
    Prefer,
    /// TLS or nothing; certificates are not verified.
    Require,
    /// TLS, and the certificate chain is verified.
    VerifyCa,
    /// TLS, the chain and (towards servers) the host name are verified.
    VerifyFull,
}

/// One side's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// `*_tls_sslmode`.
    pub mode: SslMode,
    /// `*_tls_key_file`, PEM.
    pub key_file: Option<PathBuf>,
    /// `*_tls_cert_file`, PEM.
    pub cert_file: Option<PathBuf>,
    /// `*_tls_ca_file`, PEM.
    pub ca_file: Option<PathBuf>,
}

/// TCP options; TCP_NODELAY is always on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// `tcp_keepalive`.
    pub keepalive: bool,
    /// `tcp_keepidle`; `None` leaves the system's value.
    pub keepidle: Option<Duration>,
    /// `tcp_keepintvl`; likewise.
    pub keepintvl: Option<Duration>,
    /// `tcp_keepcnt`; likewise.
    pub keepcnt: Option<u32>,
    /// `tcp_user_timeout`; `None` leaves the system's value.
    pub user_timeout: Option<Duration>,
}

/// One entry of `[databases]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Name on the server; `None` takes the name the client asked for.
    pub dbname: Option<String>,
    /// Where the server is; a directory (leading `/`) is a Unix socket.
    pub host: String,
    /// Port, also in the name of a Unix socket.
    pub port: u16,
    /// Forced server user: all clients share one pool under this role.
    pub user: Option<String>,
    /// Password of the forced user.
    pub password: Option<SecretEq>,
    /// Overrides of the defaults.
    pub pool_mode: Option<PoolMode>,
    /// Likewise.
    pub session_state: Option<SessionState>,
    /// Likewise.
    pub max_pinned_ratio: Option<Ratio>,
    /// Likewise.
    pub pool_size: Option<u32>,
    /// Likewise.
    pub min_pool_size: Option<u32>,
    /// Likewise.
    pub reserve_pool_size: Option<u32>,
    /// Likewise.
    pub pool_split: Option<PoolSplit>,
    /// Likewise.
    pub server_lifetime: Option<Duration>,
    /// Sent in the server's startup packet: name and value of `client_encoding`, `datestyle`, `timezone`,
    /// `application_name` as far as configured.
    pub startup: Vec<(String, String)>,
}

/// A secret inside a structure that reload compares: equal only if the texts are.
///
/// The comparison is between two configuration files of the same owner, never with anything a peer sent.
#[derive(Debug, Clone)]
pub struct SecretEq(pub Secret);

impl PartialEq for SecretEq {
    fn eq(&self, other: &Self) -> bool {
        self.0.reveal() == other.0.reveal()
    }
}

/// One user, from `auth_file`, `[users]` or both.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct User {
    /// Plain text, `md5…` or `SCRAM-SHA-256$…`; `None` never matches a password.
    pub secret: Option<SecretEq>,
    /// Overrides by server user.
    pub pool_mode: Option<PoolMode>,
    /// Likewise.
    pub pool_size: Option<u32>,
    /// Likewise.
    pub reserve_pool_size: Option<u32>,
    /// Likewise.
    pub idle_transaction_timeout: Option<Duration>,
    /// Likewise.
    pub query_timeout: Option<Duration>,
    /// Override by login user.
    pub client_idle_timeout: Option<Duration>,
}

/// Names of the console's database and of its built-in user.
pub const CONSOLE_NAMES: [&str; 2] = ["pooler", "pgbouncer"];

impl Config {
    /// The entry for a database name, falling back to `*`; `None` if clients may not use this name. The console's
    /// names are not databases.
    pub fn database(&self, name: &str) -> Option<&Database> {
        if CONSOLE_NAMES.contains(&name) || name == "*" {
            return None;
        }
        self.databases.get(name).or_else(|| self.databases.get("*"))
    }
}

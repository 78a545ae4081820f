//! The table of `[pooler]`: every global setting once, with default, kind, place and meaning.
//!
//! Owns: names and defaults. Reading, SHOW CONFIG, suggestions and the test of the example file come from here.

use std::num::NonZeroUsize;

use super::draft::Draft;
use super::kind::Kind as K;
use super::setting::Fallback::{Is, Unset};
use super::setting::{Fallback, Setting};

/// More connections than one process can have: Linux' default of `fs.nr_open`.
pub(super) const MOST_CONNECTIONS: u32 = 1_048_576;
/// More threads than a machine has cores.
const MOST_WORKERS: u32 = 1024;
/// The kernel keeps the backlog in 16 bits.
const MOST_BACKLOG: u32 = 65_535;
/// Linux' own limit of TCP_KEEPCNT.
const MOST_PROBES: u32 = 127;
/// More statements than any server's memory would bear.
const MOST_STATEMENTS: u32 = 1_000_000;

const fn row(name: &'static str, default: Fallback, kind: K<Draft>) -> Setting<Draft> {
    Setting::row(name, default, kind)
}

fn set_workers(draft: &mut Draft, workers: u32) {
    draft.config.process.workers = usize::try_from(workers).ok().and_then(NonZeroUsize::new);
}

fn set_ignored(draft: &mut Draft, mut names: Vec<String>) {
    for name in &mut names {
        name.make_ascii_lowercase();
    }
    draft.config.ignore_startup_parameters = names;
}

/// Every setting of `[pooler]`, in the order of the example file.
pub static SETTINGS: &[Setting<Draft>] = &[
    // Where clients connect
    row("listen_addr", Is("127.0.0.1"), K::Hosts(|d, v| d.config.process.listen_addr = v))
        .means("TCP addresses or names to listen on; \"*\" for all, \"\" for none")
        .fixed(),
    row("listen_port", Is("6432"), K::Port(|d, v| d.config.process.listen_port = v))
        .means("TCP port, also in the Unix socket's name")
        .fixed(),
    row("listen_backlog", Is("128"), K::Count(1, MOST_BACKLOG, |d, v| d.config.process.listen_backlog = v))
        .means("Connections that may wait to be accepted")
        .fixed(),
    row("unix_socket_dir", Is("/tmp"), K::Directory(|d, v| d.config.process.unix_socket_dir = v))
        .means("Directory of the Unix socket; \"\" for none")
        .fixed(),
    row("unix_socket_mode", Is("0777"), K::Octal(|d, v| d.config.process.unix_socket_mode = v))
        .means("Permission bits of the Unix socket")
        .fixed(),
    row("unix_socket_group", Is(""), K::OptionalText(|d, v| d.config.process.unix_socket_group = v))
        .means("Group of the Unix socket, name or number")
        .fixed(),
    // Process and logs
    row("workers", Is("0"), K::Count(0, MOST_WORKERS, set_workers))
        .means("Data threads; 0 takes one per core")
        .fixed(),
    row("runtime", Is("reactor"), K::Runtime(|d, v| d.config.process.runtime = v))
        .means("What runs the data threads: Pooler's own reactor, or tokio to compare with")
        .fixed(),
    row("metrics_listen", Unset, K::Address(|d, v| d.config.process.metrics_listen = v))
        .means("Where Prometheus reads the metrics; \"\" for off")
        .fixed(),
    row("log_format", Is("text"), K::LogFormat(|d, v| d.config.process.log_format = v))
        .means("Log lines for humans, or one JSON object per line")
        .fixed(),
    row("log_level", Is("info"), K::LogLevel(|d, v| d.config.process.log_level = v))
        .means("What is worth a log line"),
    row("log_connections", Is("1"), K::Bool(|d, v| d.config.process.log_connections = v))
        .means("One line for each login and each new server connection"),
    row("log_disconnections", Is("1"), K::Bool(|d, v| d.config.process.log_disconnections = v))
        .means("One line for each end of a connection, with its reason"),
    row("stats_period", Is("60"), K::Time(1000, |d, v| d.config.pacing.stats_period = v))
        .means("Window of the averages in SHOW STATS"),
    // Console
    row("admin_users", Is(""), K::List(|d, v| d.config.console.admin_users = v))
        .means("Users who may run every console command"),
    row("stats_users", Is(""), K::List(|d, v| d.config.console.stats_users = v))
        .means("Users who may run SHOW on the console"),
    // Pools
    row("pool_mode", Is("transaction"), K::PoolMode(|d, v| d.config.defaults.pool_mode = v))
        .means("When a server goes back to its pool"),
    row("max_client_conn", Is("1000"), K::Count(1, MOST_CONNECTIONS, |d, v| d.config.max_client_conn = v))
        .means("Most client connections of the process"),
    row("default_pool_size", Is("20"), K::Count(0, MOST_CONNECTIONS, |d, v| d.config.defaults.pool_size = v))
        .means("Most servers of one pool (database and user); 0 for no limit"),
    row("min_pool_size", Is("0"), K::Count(0, MOST_CONNECTIONS, |d, v| d.config.defaults.min_pool_size = v))
        .means("Servers kept open per pool in use"),
    row(
        "reserve_pool_size",
        Is("0"),
        K::Count(0, MOST_CONNECTIONS, |d, v| d.config.defaults.reserve_pool_size = v),
    )
    .means("Extra servers of a pool whose clients wait too long"),
    row("reserve_pool_timeout", Is("5"), K::Limit(|d, v| d.config.defaults.reserve_pool_timeout = v))
        .means("Wait after which the reserve is used; 0 never uses it"),
    row("pool_split", Is("off"), K::PoolSplit(|d, v| d.config.defaults.pool_split = v))
        .means("Whether several workers serve one pool: those too busy for one, none, or all"),
    // Sessions
    row("session_state", Is("track"), K::SessionState(|d, v| d.config.defaults.session_state = v))
        .means("What is done about SET, temporary tables and the like outside session mode"),
    row("max_pinned_ratio", Is("0.5"), K::Ratio(|d, v| d.config.defaults.max_pinned_ratio = v))
        .means("Part of a pool's servers that clients may keep by temporary tables and the like; 0 for none, 1 for any"),
    row("pin_overflow", Is("error"), K::PinOverflow(|d, v| d.config.defaults.pin_overflow = v))
        .means("What becomes of statements beyond max_pinned_ratio"),
    row("pin_notice", Is("0"), K::Bool(|d, v| d.config.defaults.pin_notice = v))
        .means("Whether a client gets a notice when its session state begins to keep its server"),
    row("track_extra_parameters", Is("IntervalStyle"), K::List(|d, v| d.config.track_extra_parameters = v))
        .means("Parameters followed per client besides the built-in ones")
        .fixed(),
    row("ignore_startup_parameters", Is(""), K::List(set_ignored))
        .means("Startup parameters that are accepted and dropped"),
    row(
        "max_prepared_statements",
        Is("200"),
        K::Count(0, MOST_STATEMENTS, |d, v| d.config.defaults.max_prepared_statements = v),
    )
    .means("Prepared statements kept per server; 0 does not track them"),
    row("server_reset_query", Is("DISCARD ALL"), K::Text(|d, v| d.config.defaults.server_reset_query = v))
        .means("Run when a session ends, before the next one; \"\" for none"),
    row(
        "server_reset_query_always",
        Is("0"),
        K::Bool(|d, v| d.config.defaults.server_reset_query_always = v),
    )
    .means("Run it in transaction and statement mode too"),
    // Login
    row("auth_type", Is("scram-sha-256"), K::AuthType(|d, v| d.config.auth_type = v))
        .means("How clients prove who they are"),
    row("auth_file", Unset, K::File(|d, v| d.auth_file = v))
        .means("User list in PgBouncer's format, besides [users]; \"\" for none"),
    // Servers over time
    row("server_lifetime", Is("3600"), K::Time(0, |d, v| d.config.defaults.server_lifetime = Some(v)))
        .means("Age at which an unused server is closed; 0 uses each once"),
    row("server_idle_timeout", Is("600"), K::Limit(|d, v| d.config.pacing.server_idle_timeout = v))
        .means("A server unused for so long is closed; 0 never"),
    row("server_connect_timeout", Is("15"), K::Limit(|d, v| d.config.pacing.server_connect_timeout = v))
        .means("Longest connect and login to a server; 0 for no limit"),
    row("server_login_retry", Is("15"), K::Time(1, |d, v| d.config.pacing.server_login_retry = v))
        .means("Longest pause after a server refused a login"),
    // Clients over time
    row("client_login_timeout", Is("60"), K::Limit(|d, v| d.config.pacing.client_login_timeout = v))
        .means("Longest login of a client, all steps together; 0 for no limit"),
    row("client_idle_timeout", Is("0"), K::Limit(|d, v| d.config.pacing.client_idle_timeout = v))
        .means("Longest silence outside a transaction; 0 for no limit"),
    row("idle_transaction_timeout", Is("0"), K::Limit(|d, v| d.config.defaults.idle_transaction_timeout = v))
        .means("Longest silence inside a transaction; 0 for no limit"),
    row("query_timeout", Is("0"), K::Limit(|d, v| d.config.defaults.query_timeout = v))
        .means("Longest running query, cancelled after it; 0 for no limit"),
    row("query_wait_timeout", Is("120"), K::Limit(|d, v| d.config.pacing.query_wait_timeout = v))
        .means("Longest wait for a server; 0 for no limit"),
    row("cancel_wait_timeout", Is("10"), K::Limit(|d, v| d.config.pacing.cancel_wait_timeout = v))
        .means("Longest life of a cancel request; 0 for no limit"),
    row("server_recovery_timeout", Is("5"), K::Time(100, |d, v| d.config.pacing.server_recovery_timeout = v))
        .means("Longest time a server may take to come to rest when its client has gone, or it is closed"),
    row("shutdown_timeout", Is("60"), K::Limit(|d, v| d.config.pacing.shutdown_timeout = v))
        .means("How long SIGTERM lets transactions finish; 0 for no limit"),
    // TLS towards clients
    row("client_tls_sslmode", Is("disable"), K::SslMode(|d, v| d.config.client_tls.mode = v))
        .means("Whether clients may or must use TLS"),
    row("client_tls_key_file", Is(""), K::File(|d, v| d.config.client_tls.key_file = v))
        .means("Private key of the pooler, PEM"),
    row("client_tls_cert_file", Is(""), K::File(|d, v| d.config.client_tls.cert_file = v))
        .means("Certificate of the pooler, PEM"),
    row("client_tls_ca_file", Is(""), K::File(|d, v| d.config.client_tls.ca_file = v))
        .means("Authorities that sign client certificates, PEM"),
    // TLS towards servers
    row("server_tls_sslmode", Is("prefer"), K::SslMode(|d, v| d.config.server_tls.mode = v))
        .means("Whether servers may or must use TLS"),
    row("server_tls_key_file", Is(""), K::File(|d, v| d.config.server_tls.key_file = v))
        .means("Private key shown to servers, PEM"),
    row("server_tls_cert_file", Is(""), K::File(|d, v| d.config.server_tls.cert_file = v))
        .means("Certificate shown to servers, PEM"),
    row("server_tls_ca_file", Is(""), K::File(|d, v| d.config.server_tls.ca_file = v))
        .means("Authorities that sign server certificates, PEM"),
    // TCP, both sides
    row("tcp_keepalive", Is("1"), K::Bool(|d, v| d.config.sockets.keepalive = v))
        .means("Ask silent peers whether they still live"),
    row("tcp_keepidle", Is("30"), K::KernelSeconds(|d, v| d.config.sockets.keepidle = v))
        .means("Silence before the first question; 0 for the system's value"),
    row("tcp_keepintvl", Is("10"), K::KernelSeconds(|d, v| d.config.sockets.keepintvl = v))
        .means("Pause between questions; 0 for the system's value"),
    row(
        "tcp_keepcnt",
        Is("3"),
        K::Count(0, MOST_PROBES, |d, v| d.config.sockets.keepcnt = (v > 0).then_some(v)),
    )
    .means("Unanswered questions before the end; 0 for the system's value"),
    row("tcp_user_timeout", Is("10000"), K::LimitMillis(|d, v| d.config.sockets.user_timeout = v))
        .means("Longest unacknowledged sending; 0 for the system's value"),
];

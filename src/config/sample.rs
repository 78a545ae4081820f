//! Settings for the tests of other rooms: what matters to a test, it says itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    AuthType, Config, ConsoleRights, Database, LogFormat, Pacing, PinOverflow, PoolMode, PoolSplit, Process,
    Ratio, Runtime, ServerDefaults, SessionState, SocketOptions, SslMode, TlsSettings,
};

/// No databases, no users, no limits in time, no TLS.
pub(crate) fn config() -> Config {
    let tls = TlsSettings { mode: SslMode::Disable, key_file: None, cert_file: None, ca_file: None };
    Config {
        process: process(),
        console: ConsoleRights::default(),
        auth_type: AuthType::ScramSha256,
        max_client_conn: 100,
        pacing: pacing(),
        defaults: defaults(),
        client_tls: tls.clone(),
        server_tls: tls,
        sockets: SocketOptions {
            keepalive: true,
            keepidle: None,
            keepintvl: None,
            keepcnt: None,
            user_timeout: None,
        },
        track_extra_parameters: Vec::new(),
        ignore_startup_parameters: Vec::new(),
        databases: BTreeMap::new(),
        users: BTreeMap::new(),
        shown: Vec::new(),
    }
}

/// The server on this machine, under the client's own names.
pub(crate) fn database() -> Database {
    Database {
        dbname: None,
        host: "127.0.0.1".into(),
        port: 5432,
        user: None,
        password: None,
        pool_mode: None,
        session_state: None,
        max_pinned_ratio: None,
        pool_size: None,
        min_pool_size: None,
        reserve_pool_size: None,
        pool_split: None,
        server_lifetime: None,
        startup: Vec::new(),
    }
}

fn process() -> Process {
    Process {
        listen_addr: Vec::new(),
        listen_port: 6432,
        listen_backlog: 128,
        unix_socket_dir: None,
        unix_socket_mode: 0o777,
        unix_socket_group: None,
        workers: None,
        runtime: Runtime::Reactor,
        metrics_listen: None,
        log_format: LogFormat::Text,
        log_level: "info".into(),
        log_connections: true,
        log_disconnections: true,
    }
}

fn pacing() -> Pacing {
    Pacing {
        client_login_timeout: None,
        query_wait_timeout: None,
        client_idle_timeout: None,
        cancel_wait_timeout: None,
        server_recovery_timeout: Duration::from_secs(5),
        server_connect_timeout: None,
        server_login_retry: Duration::from_secs(15),
        server_idle_timeout: None,
        shutdown_timeout: None,
        stats_period: Duration::from_mins(1),
    }
}

fn defaults() -> ServerDefaults {
    ServerDefaults {
        pool_mode: PoolMode::Transaction,
        session_state: SessionState::Track,
        max_pinned_ratio: Ratio::WHOLE,
        pin_overflow: PinOverflow::Error,
        pin_notice: false,
        pool_size: 20,
        min_pool_size: 0,
        reserve_pool_size: 0,
        reserve_pool_timeout: None,
        pool_split: PoolSplit::Off,
        server_lifetime: None,
        server_reset_query: String::new(),
        server_reset_query_always: false,
        idle_transaction_timeout: None,
        query_timeout: None,
        max_prepared_statements: 0,
    }
}

//! A configuration for tests of this room.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{
    AuthType, Config, ConsoleRights, Database, LogFormat, Pacing, PoolMode, Process, Runtime, Secret,
    SecretEq, ServerDefaults, SslMode, TlsSettings, User,
};

/// SCRAM for everybody; users `bob` (password `secret`), `ann` (MD5 of `secret`), `eve` (no password), `admin` and
/// `stats` (password `secret`); databases `app` and `shop`.
pub(super) fn config() -> Config {
    let tls = TlsSettings { mode: SslMode::Disable, key_file: None, cert_file: None, ca_file: None };
    Config {
        process: process(),
        console: ConsoleRights { admin_users: vec!["admin".into()], stats_users: vec!["stats".into()] },
        auth_type: AuthType::ScramSha256,
        max_client_conn: 100,
        pacing: pacing(),
        defaults: defaults(),
        client_tls: tls.clone(),
        server_tls: tls,
        sockets: crate::server::test_net::sockets(),
        track_extra_parameters: Vec::new(),
        ignore_startup_parameters: Vec::new(),
        databases: ["app", "shop"].map(|name| (name.to_owned(), database())).into(),
        users: users(),
        shown: Vec::new(),
    }
}

fn users() -> BTreeMap<String, User> {
    let user = |secret: Option<&str>| User {
        secret: secret.map(|text| SecretEq(Secret::new(text))),
        ..User::default()
    };
    let md5 = "md59d792a3a8853c2411afb9163d088c036";
    BTreeMap::from([
        ("bob".to_owned(), user(Some("secret"))),
        ("ann".to_owned(), user(Some(md5))),
        ("eve".to_owned(), user(None)),
        ("admin".to_owned(), user(Some("secret"))),
        ("stats".to_owned(), user(Some("secret"))),
        ("pooler".to_owned(), user(Some("secret"))),
    ])
}

fn database() -> Database {
    Database {
        dbname: None,
        host: "127.0.0.1".into(),
        port: 5432,
        user: None,
        password: None,
        pool_mode: None,
        pool_size: None,
        min_pool_size: None,
        reserve_pool_size: None,
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
        pool_size: 20,
        min_pool_size: 0,
        reserve_pool_size: 0,
        reserve_pool_timeout: None,
        server_lifetime: None,
        server_reset_query: String::new(),
        server_reset_query_always: false,
        idle_transaction_timeout: None,
        query_timeout: None,
        max_prepared_statements: 0,
    }
}

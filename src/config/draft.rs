//! A configuration in the making.
//!
//! Owns: the blank structures that the tables of settings fill, and the rows of SHOW CONFIG. Does not know: TOML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::pooler_keys::SETTINGS;
use super::problem::Fault;
use super::raw::Raw;
use super::setting::Setting;
use super::{
    AuthType, Config, ConsoleRights, Database, LogFormat, Pacing, PinOverflow, PoolMode, PoolSplit, Process,
    Ratio, Runtime, ServerDefaults, SessionState, ShownSetting, SocketOptions, SslMode, TlsSettings,
};

/// What the rows of `[pooler]` fill: the configuration, and what is needed only while reading it.
#[derive(Debug)]
pub struct Draft {
    pub(super) config: Config,
    /// `auth_file`.
    pub(super) auth_file: Option<PathBuf>,
}

impl Draft {
    /// A draft in which every setting has its default.
    ///
    /// # Errors
    /// Never: a test reads every default.
    pub(super) fn with_defaults() -> Result<Self, Fault> {
        let mut draft = Self { config: blank_config(), auth_file: None };
        for setting in SETTINGS {
            let value = setting.apply_default(&mut draft)?;
            let shown = ShownSetting {
                key: setting.name,
                value,
                default: setting.shown_default(),
                changeable: setting.changeable,
            };
            draft.config.shown.push(shown);
        }
        draft.config.shown.sort_by_key(|shown| shown.key);
        Ok(draft)
    }

    /// Gives one global setting a value.
    ///
    /// # Errors
    /// What could stand there instead; the draft is then as it was.
    pub(super) fn set(&mut self, setting: &Setting<Self>, raw: &Raw, base: &Path) -> Result<(), Fault> {
        let value = setting.apply(raw, base, self)?;
        if let Some(shown) = self.config.shown.iter_mut().find(|shown| shown.key == setting.name) {
            shown.value = value;
        }
        Ok(())
    }
}

/// A database entry before its settings.
pub(super) const fn blank_database() -> Database {
    Database {
        dbname: None,
        host: String::new(),
        port: 0,
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

/// A configuration before its settings: the table of `[pooler]` overwrites every field.
const fn blank_config() -> Config {
    Config {
        process: blank_process(),
        console: ConsoleRights { admin_users: Vec::new(), stats_users: Vec::new() },
        auth_type: AuthType::ScramSha256,
        max_client_conn: 0,
        pacing: blank_pacing(),
        defaults: blank_defaults(),
        client_tls: blank_tls(),
        server_tls: blank_tls(),
        sockets: SocketOptions {
            keepalive: false,
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

const fn blank_process() -> Process {
    Process {
        listen_addr: Vec::new(),
        listen_port: 0,
        listen_backlog: 0,
        unix_socket_dir: None,
        unix_socket_mode: 0,
        unix_socket_group: None,
        workers: None,
        runtime: Runtime::Reactor,
        metrics_listen: None,
        log_format: LogFormat::Text,
        log_level: String::new(),
        log_connections: false,
        log_disconnections: false,
    }
}

const fn blank_pacing() -> Pacing {
    Pacing {
        client_login_timeout: None,
        query_wait_timeout: None,
        client_idle_timeout: None,
        cancel_wait_timeout: None,
        server_recovery_timeout: Duration::from_secs(5),
        server_connect_timeout: None,
        server_login_retry: Duration::ZERO,
        server_idle_timeout: None,
        shutdown_timeout: None,
        stats_period: Duration::ZERO,
    }
}

const fn blank_defaults() -> ServerDefaults {
    ServerDefaults {
        pool_mode: PoolMode::Session,
        session_state: SessionState::Track,
        max_pinned_ratio: Ratio::WHOLE,
        pin_overflow: PinOverflow::Error,
        pin_notice: false,
        pool_size: 0,
        min_pool_size: 0,
        reserve_pool_size: 0,
        reserve_pool_timeout: None,
        pool_split: PoolSplit::Auto,
        server_lifetime: None,
        server_reset_query: String::new(),
        server_reset_query_always: false,
        idle_transaction_timeout: None,
        query_timeout: None,
        max_prepared_statements: 0,
    }
}

const fn blank_tls() -> TlsSettings {
    TlsSettings { mode: SslMode::Disable, key_file: None, cert_file: None, ca_file: None }
}

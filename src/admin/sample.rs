//! An overview for tests: two workers, three pools, secrets with a marker in every place that holds one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::request::{Overview, RunState};
use crate::config::{
    AuthType, Config, Database, PoolMode, Secret, SecretEq, ServerDefaults, SessionState, ShownSetting, User,
    sample,
};
use crate::metrics::{
    ConnKind, ConnSnapshot, Counters, PinSnapshot, PoolSnapshot, UseSnapshot, Window, WorkerSnapshot,
};

/// Stands in every secret of the sample and must stand in no output (S44).
pub(super) const MARKER: &str = "M4RKER";

pub(super) fn overview() -> Overview {
    let counters = Counters {
        assignments: 5,
        xacts: 5,
        queries: 6,
        client_bytes: 204,
        server_bytes: 400,
        xact_us: 87_698,
        query_us: 87_690,
        wait_us: 70,
        client_parses: 2,
        server_parses: 1,
        binds: 2,
        ..Counters::default()
    };
    let window = Window { counters, over: Duration::from_secs(5), total: counters };
    Overview {
        config: Arc::new(config()),
        workers: vec![
            WorkerSnapshot {
                worker: 0,
                pools: vec![pool("shop", "svc", counters), pool("auto", "web", Counters::default())],
                clients: vec![
                    client(3, "web", "shop", "active"),
                    client(9, "web", "shop", "waiting"),
                    client(1, "boss", "pgbouncer", "active"),
                ],
                servers: vec![server(4, "svc", "shop", "active")],
                uses: vec![used(2, 48)],
                clients_in_login: 1,
                failed_logins: 2,
                consoles_used: 0,
            },
            WorkerSnapshot {
                worker: 1,
                pools: vec![pool("shop", "svc", Counters::default())],
                clients: vec![client(8, "web", "shop", "idle")],
                servers: vec![server(7, "svc", "shop", "idle"), server(10, "svc", "shop", "active_cancel")],
                uses: vec![used(3, 49)],
                ..WorkerSnapshot::default()
            },
        ],
        averages: BTreeMap::from([("shop".to_owned(), window), ("gone".to_owned(), window)]),
        state: RunState::Active,
        paused: vec!["shop".to_owned()],
        disabled: vec!["sock".to_owned()],
        uptime: Duration::from_mins(1),
    }
}

fn pool(database: &str, user: &str, counters: Counters) -> PoolSnapshot {
    PoolSnapshot {
        database: database.into(),
        user: user.into(),
        mode: PoolMode::Transaction,
        cl_active: 1,
        cl_waiting: 2,
        cl_active_cancel_req: 3,
        cl_waiting_cancel_req: 4,
        sv_active: 5,
        sv_active_cancel: 6,
        sv_being_canceled: 7,
        sv_idle: 8,
        sv_used: 9,
        sv_tested: 10,
        sv_login: 11,
        sv_listen: 0,
        cl_listening: 0,
        maxwait: Duration::from_micros(1_500_007),
        pool_size: 10,
        pinned: [12, 0, 0, 0, 0, 0, 0, 0, 0],
        paused: false,
        counters,
    }
}

/// So many seconds after the minute of the sample.
fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_322_700 + second)
}

fn used(count: u64, second: u64) -> UseSnapshot {
    UseSnapshot {
        database: "shop".into(),
        user: "web".into(),
        application_name: "cart".into(),
        feature: "set",
        name: "work_mem".into(),
        outcome: "kept",
        in_transaction: "followed",
        count,
        first: at(second),
        last: at(second),
        sample: "SET work_mem = ?".into(),
    }
}

fn client(id: u64, user: &str, database: &str, state: &'static str) -> ConnSnapshot {
    let linked = state == "active" && database == "shop";
    ConnSnapshot {
        kind: ConnKind::Client,
        id,
        user: user.into(),
        database: database.into(),
        state,
        addr: "10.0.0.5".into(),
        port: 38034,
        local_addr: "10.0.0.9".into(),
        local_port: 6432,
        connected_at: at(48),
        request_at: at(49),
        wait: if linked { Duration::from_micros(2_929_978) } else { Duration::ZERO },
        close_needed: false,
        link: linked.then_some(4),
        remote_pid: 0,
        tls: "TLSv1.3/TLS_AES_256_GCM_SHA384".into(),
        application_name: "cart".into(),
        prepared_statements: 2,
        pin: linked.then(|| PinSnapshot {
            reasons: "temp,listen".into(),
            since: at(48),
            age: Duration::from_millis(61_500),
            backend_pid: 18495,
            text: "create temp table t as select ?".into(),
        }),
    }
}

fn server(id: u64, user: &str, database: &str, state: &'static str) -> ConnSnapshot {
    ConnSnapshot {
        kind: ConnKind::Server,
        addr: "10.0.0.7".into(),
        port: 5432,
        local_port: 35268,
        wait: Duration::ZERO,
        close_needed: true,
        link: (state == "active").then_some(3),
        remote_pid: 18495,
        tls: String::new(),
        pin: None,
        ..client(id, user, database, state)
    }
}

fn secret(text: &str) -> SecretEq {
    SecretEq(Secret::new(format!("{text}{MARKER}")))
}

fn config() -> Config {
    let database = |host: &str, user: Option<&str>| Database {
        host: host.into(),
        user: user.map(str::to_owned),
        password: Some(secret("server")),
        ..sample::database()
    };
    let shop = Database {
        dbname: Some("shop_v2".into()),
        pool_mode: Some(PoolMode::Session),
        pool_size: Some(5),
        server_lifetime: Some(Duration::from_mins(1)),
        ..database("10.0.0.7", Some("svc"))
    };
    let web = User {
        secret: Some(secret("md5")),
        pool_size: Some(7),
        pool_mode: Some(PoolMode::Session),
        ..User::default()
    };
    let setting = |key, value: Option<&str>, changeable| ShownSetting {
        key,
        value: value.map(str::to_owned),
        default: Some("0".into()),
        changeable,
    };
    let plain = sample::config();
    Config {
        auth_type: AuthType::Md5,
        defaults: ServerDefaults {
            min_pool_size: 1,
            reserve_pool_size: 2,
            server_lifetime: Some(Duration::from_hours(1)),
            session_state: SessionState::Track,
            max_prepared_statements: 200,
            ..plain.defaults
        },
        databases: BTreeMap::from([
            ("*".to_owned(), database("10.0.0.8", None)),
            ("shop".to_owned(), shop),
            ("sock".to_owned(), database("/run/postgresql", None)),
        ]),
        users: BTreeMap::from([("web".to_owned(), web)]),
        shown: vec![setting("query_timeout", Some("0.5"), true), setting("auth_file", None, false)],
        ..plain
    }
}

//! Promises of the whole room: text in, configuration or problems out.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod faults;
mod reload;

fn env(name: &str) -> Option<String> {
    let value = match name {
        "PORT" => "7000",
        "TIMEOUT" => "1.5m",
        "FLAG" => "false",
        "SECRET" => "marker",
        _ => return None,
    };
    Some(value.to_owned())
}

/// Files of an imagined disk, all in `/etc/pooler`.
fn read_file(path: &Path) -> io::Result<String> {
    match path.to_str() {
        Some("/etc/pooler/users.txt") => Ok("\"app\" \"from file\"\n\"eve\" \"e\"\n".to_owned()),
        Some("/etc/pooler/broken.txt") => Ok("\"app\" \"marker\"\n\"eve\" marker\n".to_owned()),
        Some("/etc/pooler/tls.pem" | "/abs/tls.pem") => Ok("-----BEGIN THING-----\n".to_owned()),
        Some("/etc/pooler/empty.pem") => Ok(String::new()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn parse_text(text: &str) -> Result<Loaded, Problems> {
    parse(text, Path::new("/etc/pooler/pooler.toml"), &env, &read_file)
}

fn config(text: &str) -> Config {
    parse_text(text).unwrap_or_else(|problems| panic!("{problems}")).config
}

/// The problems of a text, without the directory.
fn problems(text: &str) -> Vec<String> {
    let problems = parse_text(text).map(|loaded| panic!("no problem in {text:?}: {:?}", loaded.warnings));
    let Problems(problems) = problems.unwrap_or_else(|problems| problems);
    problems.iter().map(|problem| problem.to_string().replace("/etc/pooler/", "")).collect()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    let config = config("");
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let Process { listen_addr, unix_socket_dir, workers, metrics_listen, .. } = &config.process;
    assert_eq!(listen_addr, &["127.0.0.1"]);
    assert_eq!(unix_socket_dir.as_deref(), Some(Path::new("/tmp")));
    assert_eq!((workers, metrics_listen, config.process.listen_port), (&None, &None, 6432));
    assert_eq!((config.process.listen_backlog, config.process.unix_socket_mode), (128, 0o777));
    assert_eq!((config.process.log_format, config.process.log_level.as_str()), (LogFormat::Text, "info"));
    assert!(config.process.log_connections && config.process.log_disconnections);
    assert_eq!((config.auth_type, config.max_client_conn), (AuthType::ScramSha256, 1000));
    let p = &config.pacing;
    assert_eq!((p.client_login_timeout, p.query_wait_timeout), (seconds(60), seconds(120)));
    assert_eq!((p.client_idle_timeout, p.cancel_wait_timeout), (None, seconds(10)));
    assert_eq!((p.server_connect_timeout, p.server_idle_timeout), (seconds(15), seconds(600)));
    assert_eq!((Some(p.server_login_retry), Some(p.stats_period)), (seconds(15), seconds(60)));
    assert_eq!(p.shutdown_timeout, seconds(60));
    let d = &config.defaults;
    assert_eq!((d.pool_mode, d.pool_size, d.min_pool_size), (PoolMode::Transaction, 20, 0));
    assert_eq!((d.reserve_pool_size, d.reserve_pool_timeout), (0, seconds(5)));
    assert_eq!((d.server_lifetime, d.max_prepared_statements), (seconds(3600), 200));
    assert_eq!((d.server_reset_query.as_str(), d.server_reset_query_always), ("DISCARD ALL", false));
    assert_eq!((d.idle_transaction_timeout, d.query_timeout), (None, None));
    assert_eq!((config.client_tls.mode, config.server_tls.mode), (SslMode::Disable, SslMode::Prefer));
    let expected = SocketOptions {
        keepalive: true,
        keepidle: seconds(30),
        keepintvl: seconds(10),
        keepcnt: Some(3),
        user_timeout: seconds(10),
    };
    assert_eq!(config.sockets, expected);
    assert_eq!(config.track_extra_parameters, ["IntervalStyle"]);
    assert_eq!(config.ignore_startup_parameters, Vec::<String>::new());
}

#[test]
fn every_setting_has_a_name_of_its_own_a_meaning_and_a_default_that_can_be_read() {
    let mut names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SETTINGS.len());
    assert!(SETTINGS.iter().all(|setting| !setting.meaning.is_empty()));
    assert!(DATABASE_SETTINGS.iter().all(|setting| !setting.meaning.is_empty()));
    assert!(USER_SETTINGS.iter().all(|setting| !setting.meaning.is_empty()));
    let inherited = |default: Fallback| match default {
        Fallback::Inherits(key) => names.contains(&key),
        Fallback::Is(_) | Fallback::Unset => true,
    };
    assert!(DATABASE_SETTINGS.iter().all(|setting| inherited(setting.default)));
    assert!(USER_SETTINGS.iter().all(|setting| inherited(setting.default)));
    for shown in config("").shown {
        // PgBouncer shows this value in decimal and its default in octal.
        if shown.key != "unix_socket_mode" {
            assert_eq!(shown.value, shown.default, "{}", shown.key);
        }
    }
}

#[test]
fn show_config_is_sorted_and_prints_as_pgbouncer_does() {
    let text = "[pooler]\nquery_timeout = \"500ms\"\ntcp_keepalive = false\nadmin_users = [\"a\", \"b\"]\n\
                tcp_user_timeout = \"5s\"\nunix_socket_mode = \"0700\"\nlog_format = \"JSON\"\n\
                metrics_listen = \"127.0.0.1:9127\"\n";
    let shown = config(text).shown;
    assert!(shown.is_sorted_by_key(|row| row.key));
    assert_eq!(shown.len(), SETTINGS.len());
    let value = |key: &str| shown.iter().find(|row| row.key == key).unwrap().value.as_deref();
    assert_eq!(value("query_timeout"), Some("0.5"));
    assert_eq!(value("server_lifetime"), Some("3600"));
    assert_eq!((value("tcp_keepalive"), value("log_connections")), (Some("0"), Some("1")));
    assert_eq!(value("admin_users"), Some("a,b"));
    assert_eq!((value("tcp_user_timeout"), value("unix_socket_mode")), (Some("5000"), Some("448")));
    assert_eq!((value("log_format"), value("metrics_listen")), (Some("json"), Some("127.0.0.1:9127")));
    assert_eq!((value("auth_file"), value("client_tls_key_file")), (None, Some("")));
    let listen_port = shown.iter().find(|row| row.key == "listen_port").unwrap();
    assert_eq!((listen_port.default.as_deref(), listen_port.changeable), (Some("6432"), false));
}

#[test]
fn values_come_in_each_of_their_forms() {
    let config = config(
        "[pooler]\nlisten_addr = \"10.0.0.1, ::1\"\nlisten_port = \"${PORT}\"\nquery_timeout = \"${TIMEOUT}\"\n\
         log_connections = \"${FLAG}\"\nlog_disconnections = 0\nclient_idle_timeout = 0.5\n\
         server_lifetime = 0\nmax_client_conn = 1_000\ndefault_pool_size = 0x10\nunix_socket_mode = 0o770\n\
         unix_socket_dir = \"\"\nworkers = 2\ntcp_keepcnt = 0\ntcp_keepidle = \"1m\"\ntcp_user_timeout = 250\n\
         reserve_pool_timeout = 0\nignore_startup_parameters = [\"Extra_Float_Digits\", \"options\"]\n",
    );
    assert_eq!(config.process.listen_addr, ["10.0.0.1", "::1"]);
    assert_eq!((config.process.listen_port, config.process.unix_socket_mode), (7000, 0o770));
    assert_eq!(config.defaults.query_timeout, Some(Duration::from_secs(90)));
    assert!(!config.process.log_connections && !config.process.log_disconnections);
    assert_eq!(config.pacing.client_idle_timeout, Some(Duration::from_millis(500)));
    // As in PgBouncer: each server is used once.
    assert_eq!(config.defaults.server_lifetime, Some(Duration::ZERO));
    assert_eq!((config.max_client_conn, config.defaults.pool_size), (1000, 16));
    assert_eq!((config.process.unix_socket_dir, config.defaults.reserve_pool_timeout), (None, None));
    assert_eq!(config.process.workers.map(usize::from), Some(2));
    assert_eq!((config.sockets.keepcnt, config.sockets.keepidle), (None, Some(Duration::from_mins(1))));
    assert_eq!(config.sockets.user_timeout, Some(Duration::from_millis(250)));
    assert_eq!(config.ignore_startup_parameters, ["extra_float_digits", "options"]);
}

#[test]
fn databases_and_users_are_read() {
    let config = config(
        "[databases.shop]\nhost = \"/run/pg\"\nport = 5433\ndbname = \"s\"\nuser = \"role\"\npassword = \"p$$w\"\n\
         pool_mode = \"session\"\npool_size = 0\nmin_pool_size = 2\nreserve_pool_size = 1\nserver_lifetime = \"1h\"\n\
         timezone = \"UTC\"\nclient_encoding = \"UTF8\"\n[databases.\"*\"]\nserver_lifetime = 0\n\
         [users.\"app user\"]\npassword = \"${SECRET}\"\nquery_timeout = 5\nclient_idle_timeout = 0\n",
    );
    let shop = &config.databases["shop"];
    assert_eq!((shop.host.as_str(), shop.port, shop.dbname.as_deref()), ("/run/pg", 5433, Some("s")));
    assert_eq!(shop.password, Some(SecretEq(Secret::new("p$w"))));
    assert_eq!((shop.pool_size, shop.min_pool_size, shop.reserve_pool_size), (Some(0), Some(2), Some(1)));
    assert_eq!(
        (shop.pool_mode, shop.server_lifetime),
        (Some(PoolMode::Session), Some(Duration::from_hours(1)))
    );
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(shop.startup, [pair("client_encoding", "UTF8"), pair("timezone", "UTC")]);
    let fallback = config.database("anything").unwrap();
    assert_eq!((fallback.host.as_str(), fallback.port, fallback.server_lifetime), ("127.0.0.1", 5432, None));
    let user = &config.users["app user"];
    assert_eq!(user.secret, Some(SecretEq(Secret::new("marker"))));
    assert_eq!((user.query_timeout, user.client_idle_timeout), (Some(Duration::from_secs(5)), None));
    assert_eq!(config.users["role"], User::default(), "a forced user is known, without a secret");
}

#[test]
fn load_reads_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pooler.toml");
    let missing = load(&path, &env).map(drop).unwrap_err().to_string();
    assert!(missing.contains("found no configuration"), "{missing}");
    std::fs::write(&path, "[pooler]\nauth_file = \"list\"\n[databases.shop]\n").unwrap();
    std::fs::write(dir.path().join("list"), "\"app\" \"x\"\n").unwrap();
    assert!(load(&path, &env).unwrap().config.users.contains_key("app"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".*") {
        let _ = parse_text(&text);
        let _ = from_url(&text);
        let _ = from_url(&format!("postgres://{text}"));
    }

    #[test]
    fn no_value_of_any_key_makes_the_parser_panic(
        key in 0..SETTINGS.len(),
        value in prop_oneof![
            "\"[^\"\\\\\n\r]*\"",
            "-?[0-9]{1,20}(\\.[0-9]{1,20})?(e[0-9]{1,3})?",
            "(true|false|nan|inf|\\[\\]|\\{\\}|\"\\$\\{[A-Z]*\\}\")",
        ],
    ) {
        let _ = parse_text(&format!("[pooler]\n{} = {value}\n[databases.a]\nport = {value}\n", SETTINGS[key].name));
    }

    #[test]
    fn no_list_of_users_makes_the_parser_panic(text in "([\"; a]|\n|.)*") {
        let read = |_: &Path| Ok(text.clone());
        let _ = parse("[pooler]\nauth_file = \"f\"\n", Path::new("p"), &env, &read);
    }
}

//! Promises about what is refused, and how it is told.

use super::*;

/// A configuration without warnings.
const CALM: &str = "[databases.shop]\n[users.app]\npassword = \"x\"\n";

fn warnings(text: &str) -> Vec<String> {
    let loaded = parse_text(text).unwrap_or_else(|problems| panic!("{problems}"));
    loaded.warnings.iter().map(|warning| warning.to_string().replace("/etc/pooler/", "")).collect()
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_lines() {
    let told = problems(
        "[pooler]\npool_mode = \"transactional\"\nlisten_prot = 1\nquery_timeout = \"5w\"\nlog_connections = \"on\"\n\
         auth_file = \"none.txt\"\nlisten_port = 70000\n[databases.pgbouncer]\n[databases.shop]\nprot = 1\n\
         host = \"db:5432\"\n[users.app]\npassword = 5\npool_mode = 5\n[user.x]\n",
    );
    let expected = [
        "pooler.toml:2: pooler.pool_mode: found \"transactional\", expected one of session, transaction, \
         statement (did you mean \"transaction\"?)",
        "pooler.toml:3: pooler.listen_prot: found an unknown key, expected a key of [pooler] \
         (did you mean \"listen_port\"?)",
        "pooler.toml:4: pooler.query_timeout: found \"5w\", expected seconds such as 30 or 0.5, or a text such as \
         \"500ms\", \"30s\", \"5m\", \"2h\", \"1d\"",
        "pooler.toml:5: pooler.log_connections: found \"on\", expected true or false (write true)",
        "pooler.toml:6: pooler.auth_file: found \"none.txt\", expected a file that can be read (entity not found)",
        "pooler.toml:7: pooler.listen_port: found 70000, expected an integer from 1 to 65535",
        "pooler.toml:8: databases.pgbouncer: found a reserved name, expected another name (the console has this one)",
        "pooler.toml:10: databases.shop.prot: found an unknown key, expected a key of [databases.shop] \
         (did you mean \"port\"?)",
        "pooler.toml:11: databases.shop.host: found \"db:5432\", expected one host name, IP address, or /directory \
         of a Unix socket (the port has its own key)",
        "pooler.toml:13: users.app.password: found ***, expected a text (write it in quotes)",
        "pooler.toml:14: users.app.pool_mode: found 5, expected one of session, transaction, statement",
        "pooler.toml:15: user: found an unknown section, expected [pooler], [databases.NAME] or [users.NAME] \
         (did you mean \"users\"?)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn each_wrong_value_is_told_on_its_line() {
    for wrong in [
        "listen_addr = 5",
        "listen_addr = [1]",
        "listen_addr = \"127.0.0.1:6432\"",
        "listen_backlog = 0",
        "unix_socket_dir = \"relative\"",
        "unix_socket_mode = \"0999\"",
        "unix_socket_mode = 755",
        "workers = -1",
        "workers = 99999999999999999999",
        "metrics_listen = \"9127\"",
        "log_format = \"xml\"",
        "log_level = \"inof\"",
        "log_connections = 2",
        "stats_period = 0",
        "server_login_retry = 0",
        "query_timeout = -1",
        "query_timeout = nan",
        "query_timeout = inf",
        "query_timeout = true",
        "query_timeout = 1979-05-27",
        "tcp_keepidle = 0.5",
        "tcp_keepidle = 40000",
        "auth_type = \"pam\"",
        "server_reset_query = \"a\\u0000b\"",
        "admin_users = { a = 1 }",
        "admin_users = [\"a,b\"]",
        "default_pool_size = \"${NONE}\"",
        "default_pool_size = \"${SECRET}\"",
    ] {
        let told = problems(&format!("[pooler]\n\n{wrong}\n"));
        let key = wrong.split(' ').next().unwrap();
        assert!(told[0].starts_with(&format!("pooler.toml:3: pooler.{key}: found ")), "{wrong}: {told:?}");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!told[0].contains("marker"), "the environment is not told: {told:?}");
    }
}

#[test]
fn what_is_wrong_in_a_list_is_told() {
    for (wrong, found) in [("[1, 2]", "1"), ("[\"a\", true]", "true"), ("[[\"a\"]]", "[\"a\"]")] {
        let told = problems(&format!("[pooler]\nadmin_users = {wrong}\n"));
        let line =
            format!("pooler.toml:2: pooler.admin_users: found {found} in a list, expected a list of texts");
        assert_eq!(told, [line]);
    }
}

#[test]
fn wrong_shapes_are_told_without_their_content() {
    for (text, start) in [
        (
            "listen_port = 1\n",
            "pooler.toml:1: listen_port: found a key outside all sections, expected [pooler]",
        ),
        (
            "[pgbouncer]\n",
            "pooler.toml:1: pgbouncer: found an unknown section, expected [pooler], [databases.NAME] or \
           [users.NAME] (did you mean \"[pooler]\"?)",
        ),
        (
            "[databases]\nshop = \"password=marker\"\n",
            "pooler.toml:2: databases.shop: found a value, expected a section \
           [databases.shop]",
        ),
        (
            "[users]\npassword = \"marker\"\n",
            "pooler.toml:2: users.password: found a value, expected a section \
           [users.NAME] around this key",
        ),
        ("[[databases]]\n", "pooler.toml:1: databases: found a list, expected [pooler]"),
        ("users = \"marker\"\n", "pooler.toml:1: users: found a value, expected [pooler]"),
        ("[users.\"*\"]\n", "pooler.toml:1: users.\"*\": found \"*\", expected a user's name"),
        (
            "[databases.\"\"]\n",
            "pooler.toml:1: databases.\"\": found a name of 0 bytes, expected a name of 1 to 63 bytes",
        ),
        ("[pooler]\npool_mode = marker\n", "pooler.toml:2: found a syntax error, expected TOML ("),
        (
            "[pooler]\nworkers = 1\nworkers = 2\n",
            "pooler.toml:3: found a syntax error, expected TOML (duplicate key",
        ),
    ] {
        let told = problems(text);
        assert!(told[0].starts_with(start), "{text}: {told:?}");
        assert!(!told[0].contains("marker"), "{told:?}");
    }
}

#[test]
fn r76_names_above_63_bytes_are_refused() {
    let long = "n".repeat(64);
    let told = problems(&format!(
        "[databases.{long}]\n[databases.a]\nuser = \"{long}\"\ndbname = \"{long}\"\n[users.{long}]\n"
    ));
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn auth_file_and_users_are_merged_and_the_password_of_users_wins() {
    let text =
        "[pooler]\nauth_file = \"users.txt\"\n[users.app]\npassword = \"own\"\n[users.eve]\npool_size = 1\n";
    let users = config(text).users;
    assert_eq!(users["app"].secret, Some(SecretEq(Secret::new("own"))));
    assert_eq!(users["eve"].secret, Some(SecretEq(Secret::new("e"))));
    assert_eq!(users["eve"].pool_size, Some(1));
    let told = problems("[pooler]\nauth_file = \"broken.txt\"\nworkers = -1\n");
    assert_eq!(told[0], "broken.txt:2: found no secret in double quotes, expected \"name\" \"secret\"");
    assert_eq!(told.len(), 2, "problems of both files are told: {told:?}");
}

#[test]
fn tls_files_are_demanded_where_the_mode_needs_them_and_must_be_readable() {
    let key = |text: &str| -> Vec<String> {
        problems(text).iter().filter_map(|told| told.split(": ").nth(1)).map(str::to_owned).collect()
    };
    assert_eq!(
        key("[pooler]\nclient_tls_sslmode = \"require\"\n"),
        ["pooler.client_tls_key_file", "pooler.client_tls_cert_file"]
    );
    assert_eq!(key("[pooler]\nserver_tls_sslmode = \"verify-ca\"\n"), ["pooler.server_tls_ca_file"]);
    for cause in [
        "client_tls_sslmode = \"require\"",
        "server_tls_sslmode = \"verify-ca\"",
        "server_tls_key_file = \"tls.pem\"",
        "server_tls_cert_file = \"tls.pem\"",
    ] {
        let told = problems(&format!("[pooler]\n\n{cause}\n"));
        let on_its_line = |told: &String| told.starts_with("pooler.toml:3: pooler.");
        assert!(!told.is_empty() && told.iter().all(on_its_line), "{cause}: {told:?}");
    }
    assert_eq!(key("[pooler]\nserver_tls_key_file = \"tls.pem\"\n"), ["pooler.server_tls_cert_file"]);
    assert_eq!(key("[pooler]\nserver_tls_ca_file = \"none.pem\"\n"), ["pooler.server_tls_ca_file"]);
    assert_eq!(key("[pooler]\nserver_tls_ca_file = \"empty.pem\"\n"), ["pooler.server_tls_ca_file"]);
    let config = config(
        "[pooler]\nclient_tls_sslmode = \"verify-full\"\nclient_tls_key_file = \"tls.pem\"\n\
         client_tls_cert_file = \"/abs/tls.pem\"\nclient_tls_ca_file = \"tls.pem\"\n",
    );
    assert_eq!(config.client_tls.key_file, Some(PathBuf::from("/etc/pooler/tls.pem")));
    assert_eq!(config.client_tls.cert_file, Some(PathBuf::from("/abs/tls.pem")));
}

#[test]
fn settings_that_contradict_each_other_are_told() {
    let told = problems(
        "[pooler]\nlisten_addr = \"\"\nunix_socket_dir = \"\"\nmin_pool_size = 21\n[databases.a]\npool_size = 5\n\
         [databases.b]\nmin_pool_size = 22\n[databases.c]\npool_size = 0\n[databases.d]\nport = 1\n",
    );
    let starts = [
        "pooler.toml:2: pooler.listen_addr: found neither address nor socket directory",
        "pooler.toml:4: pooler.min_pool_size: found 21, expected at most default_pool_size, which is 20",
        "pooler.toml:6: databases.a.pool_size: found a minimum of 21 with a size of 5",
        "pooler.toml:8: databases.b.min_pool_size: found a minimum of 22 with a size of 20",
    ];
    assert_eq!(told.len(), starts.len(), "{told:?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start), "{told}");
    }
    let long = format!("/{}", "d".repeat(100));
    let told =
        problems(&format!("[pooler]\nunix_socket_dir = \"{long}\"\n[databases.a]\nhost = \"{long}\"\n"));
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn what_looks_like_a_mistake_is_a_warning() {
    assert_eq!(warnings(CALM), Vec::<String>::new());
    let md5 = format!("md5{}", "a".repeat(32));
    let told = warnings(&format!(
        "[pooler]\nadmin_users = [\"root\", \"app\", \"pgbouncer\"]\nstats_users = \"nobody\"\n\
         [databases.a]\nuser = \"role\"\n[databases.b]\npassword = \"marker\"\n\
         [users.app]\npassword = \"{md5}\"\n[users.bad]\npassword = \"SCRAM-SHA-256$marker\"\n"
    ));
    let starts = [
        "pooler.toml:2: pooler.admin_users: found \"root\"",
        "pooler.toml:3: pooler.stats_users: found \"nobody\"",
        "pooler.toml:5: databases.a.user: found \"role\" without a password",
        "pooler.toml:7: databases.b.password: found a password without a user",
        "pooler.toml:8: users.app: found an md5 hash",
        "pooler.toml:10: users.bad: found a secret that only begins like a hash",
    ];
    assert_eq!(told.len(), starts.len(), "{told:?}");
    for (told, start) in told.iter().zip(starts) {
        assert!(told.starts_with(start) && !told.contains("marker"), "{told}");
    }
    assert_eq!(warnings("").len(), 2, "no database, nobody who can log in");
    assert_eq!(warnings("[pooler]\nauth_type = \"trust\"\n[databases.a]\n"), Vec::<String>::new());
}

#[test]
fn s44_no_secret_is_in_any_debug_text() {
    let text = "[databases.a]\nuser = \"r\"\npassword = \"marker\"\n[users.app]\npassword = \"marker\"\n";
    let loaded = parse_text(text).unwrap();
    assert!(!format!("{loaded:?}").contains("marker"));
    for wrong in ["password = [\"marker\"]", "password = { a = \"marker\" }", "password = \"marker${NONE}\""]
    {
        let problems = parse_text(&format!("[users.app]\n{wrong}\n")).map(drop).unwrap_err();
        assert!(!format!("{problems} {problems:?}").contains("marker"), "{problems}");
    }
}

//! Who gets in, how, and what those hear who do not (chapter 8; R78, R83, R84, S3, S14, S15).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::time::{Duration, Instant};

use common::cluster::{APP, PASSWORD};
use common::pooler::quoted;
use common::raw::V3;
use common::{Cluster, ClusterOptions, Login, Pooler, PoolerConfig, Raw, Target, brief, eventually, msg};

/// A pooler with this method towards clients, whose servers ask for `server`.
fn pair(client: &str, server: &'static str) -> (Cluster, Pooler) {
    let cluster = Cluster::start_new(&ClusterOptions { auth: server, ..ClusterOptions::default() });
    let pooler = PoolerConfig::for_cluster(&cluster, 2).set("auth_type", quoted(client)).start();
    (cluster, pooler)
}

fn refusal(target: &Target) -> String {
    Raw::try_login(&Login::plain(target)).err().unwrap_or_else(|| panic!("{target:?} got in"))
}

/// S15: in each cell the right password gets in, and the wrong one does not although a server of that user is open.
#[test]
fn s15_every_method_with_every_method_of_the_server() {
    for server in ["trust", "password", "md5", "scram-sha-256"] {
        let cluster = Cluster::start_new(&ClusterOptions { auth: server, ..ClusterOptions::default() });
        for (client, asks) in [("trust", 0), ("plain", 3), ("md5", 5), ("scram-sha-256", 10)] {
            let pooler = PoolerConfig::for_cluster(&cluster, 2).set("auth_type", quoted(client)).start();
            let mut raw = Raw::login(&pooler.target());
            assert_eq!(raw.value("select current_user"), APP, "{client} to {server}");
            assert_eq!(raw.welcome[0].body[..4], [0, 0, 0, asks], "{client}");
            if client != "trust" {
                for wrong in ["", "wrong", &format!("{PASSWORD}x"), &PASSWORD[1..]] {
                    let said = refusal(&pooler.target().with_user(APP, wrong));
                    assert!(said.starts_with("E(FATAL 28P01"), "{client} to {server} with {wrong:?}: {said}");
                }
            }
            pooler.assert_healthy();
        }
    }
}

/// What somebody hears who is not let in, message by message.
fn heard(target: &Target) -> String {
    let mut raw = Raw::connect(&target.addr()).unwrap();
    raw.send(&msg::startup(V3, &[("user", &target.user), ("database", &target.database)]));
    let said = raw.answer_authentication(&target.user, &target.password).unwrap_err();
    let code = said.split(':').next().unwrap().to_owned();
    let text = said.replace(&target.user, "NAME").replace(&target.database, "BASE");
    format!("{code} | {text}")
}

#[test]
fn r84_s14_an_unknown_user_an_unknown_database_and_a_wrong_password_sound_alike() {
    for method in ["plain", "md5", "scram-sha-256"] {
        let (_cluster, pooler) = pair(method, "trust");
        Raw::login(&pooler.target()).value("select 1");
        let wrong = heard(&pooler.target().with_user(APP, "wrong"));
        let nobody = heard(&pooler.target().with_user("nobody", "wrong"));
        let nowhere = heard(&pooler.target().with_user(APP, "wrong").with_database("nowhere"));
        let neither = heard(&pooler.target().with_user("nobody", "wrong").with_database("nowhere"));
        assert!(wrong.contains("28P01"), "{method}: {wrong}");
        assert_eq!((&nobody, &nowhere, &neither), (&wrong, &wrong, &wrong), "{method}");
        // The true cause may be named to those who have proven who they are (T60).
        let known = heard(&pooler.target().with_database("nowhere"));
        assert!(known.contains("3D000"), "{method}: {known}");
    }
}

/// Each line about the end of a client tells who it was, also where the line of its login is off.
#[test]
fn the_log_tells_from_where_a_client_came_that_was_not_let_in_or_left() {
    let cluster = Cluster::shared();
    let config = PoolerConfig::for_cluster(cluster, 1).set("auth_type", quoted("scram-sha-256"));
    let pooler = config.set("log_connections", "0").start();
    let told = |end: &str, who: &str| {
        eventually(&format!("{end} of {who}"), || {
            pooler.log().lines().any(|line| line.contains(end) && line.contains(who))
        });
    };
    let names = |target: &Target| format!("user={:?} database={:?}", target.user, target.database);
    let target = pooler.target();
    let from = |raw: &Raw| raw.local_addr().unwrap();

    let mut odd = Raw::connect(&target.addr()).unwrap();
    let who = from(&odd);
    odd.send(&[0, 0, 0, 8, 0, 99, 0, 0]);
    told("login failed", &format!("peer={who}"));
    for (target, end) in [
        (target.with_user(APP, "wrong"), "login failed"),
        (target.with_database("nowhere"), "login failed"),
        (target.clone(), "closing because"),
    ] {
        let raw = Raw::connect(&target.addr()).unwrap();
        let who = from(&raw);
        drop(raw.handshake(&Login::plain(&target)));
        told(end, &format!("peer={who} {}", names(&target)));
    }
    let console = pooler.console();
    let who = from(&console);
    drop(console);
    told("console closed", &format!("peer={who} {}", names(&pooler.console_target())));
}

/// The same salt and number of rounds each time somebody unknown asks, as for somebody known.
#[test]
fn s14_an_unknown_users_salt_is_his_own_and_stays() {
    let (_cluster, pooler) = pair("scram-sha-256", "trust");
    let salt = |user: &str| {
        let mut raw = Raw::connect(&pooler.target().addr()).unwrap();
        raw.send(&msg::startup(V3, &[("user", user), ("database", APP)]));
        raw.until(b'R');
        let first = b"SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc";
        raw.send(&msg::any(b'p', first));
        let said = raw.until(b'R').remove(0);
        let text = String::from_utf8(said.body[4..].to_vec()).unwrap();
        text.split(',').skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(salt("nobody"), salt("nobody"));
    assert_ne!(salt("nobody")[0], salt("somebody")[0]);
    assert_eq!(salt("nobody")[1], salt(APP)[1], "as many rounds");
    assert_eq!(salt("nobody")[0].len(), salt(APP)[0].len(), "salts of one length");
}

/// The pooler knows verifiers only: clients prove themselves against them, and the keys that their proof reveals
/// open the server.
#[test]
fn scram_passes_through_with_a_verifier_and_no_password() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let verifier = cluster.value(&format!("select rolpassword from pg_authid where rolname = '{APP}'"));
    assert!(verifier.starts_with("SCRAM-SHA-256$"), "{verifier}");
    let file = cluster.dir().join("users.txt");
    cluster.write("users.txt", &format!("; users of this cluster\n\n\"{APP}\" \"{verifier}\"\n"));
    let pooler = PoolerConfig::empty()
        .set("pool_mode", quoted("transaction"))
        .set("auth_type", quoted("scram-sha-256"))
        .set("auth_file", quoted(file.to_str().unwrap()))
        .set("default_pool_size", "2")
        .database(APP, cluster.port())
        .start();
    let said = refusal(&pooler.target().with_user(APP, "wrong"));
    assert!(said.starts_with("E(FATAL 28P01"), "{said}");
    let mut raw = Raw::login(&pooler.target());
    assert_eq!(raw.value("select current_user"), APP);
    // A server opened later, with the client long since logged in.
    cluster.sql(&format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{APP}'"));
    common::eventually("the backends are gone", || cluster.backends().is_empty());
    assert_eq!(raw.value("select 'again'"), "again");
}

#[test]
fn the_user_list_takes_plain_md5_and_scram_secrets() {
    let cluster = Cluster::start_new(&ClusterOptions { auth: "trust", ..ClusterOptions::default() });
    cluster.sql(
        "create role \"od\"\"d\"; create role hashed; alter role hashed login; alter role \"od\"\"d\" login",
    );
    let hash = cluster.value(&format!("select 'md5' || md5('{PASSWORD}' || 'hashed')"));
    cluster.write(
        "users.txt",
        &format!("\"{APP}\" \"{PASSWORD}\"\n\"hashed\" \"{hash}\"\n\"od\"\"d\" \"quo\"\"te\"\n"),
    );
    let file = cluster.dir().join("users.txt");
    let pooler = PoolerConfig::empty()
        .set("pool_mode", quoted("transaction"))
        .set("auth_type", quoted("md5"))
        .set("auth_file", quoted(file.to_str().unwrap()))
        .database(APP, cluster.port())
        .start();
    let target = pooler.target();
    for (user, password) in [(APP, PASSWORD), ("hashed", PASSWORD), ("od\"d", "quo\"te")] {
        assert_eq!(Raw::login(&target.with_user(user, password)).value("select current_user"), user);
        assert!(refusal(&target.with_user(user, "wrong")).starts_with("E(FATAL 28P01"));
    }
    assert!(
        refusal(&target.with_user("hashed", &hash)).starts_with("E(FATAL 28P01"),
        "a hash is no password"
    );
}

#[test]
fn f8_a_password_that_the_server_refuses_is_told_to_the_client_and_soon_mended() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = PoolerConfig::for_cluster(&cluster, 2).set("server_login_retry", "1").start();
    cluster.sql(&format!("alter role {APP} password 'another'"));
    let start = Instant::now();
    let said = refusal(&pooler.target());
    assert!(said.contains("28P01"), "{said}");
    assert!(start.elapsed().as_secs() < 10, "told after {:?}", start.elapsed());
    cluster.sql(&format!("alter role {APP} password '{PASSWORD}'"));
    common::eventually("the login works again", || Raw::try_login(&Login::plain(&pooler.target())).is_ok());
}

#[test]
fn s8_b8b_nothing_of_a_startup_packet_reaches_a_server_before_the_login() {
    let cluster = Cluster::start_new(&ClusterOptions {
        settings: vec![("log_statement", "all".to_owned()), ("log_connections", "on".to_owned())],
        ..ClusterOptions::default()
    });
    let pooler = PoolerConfig::for_cluster(&cluster, 1).set("auth_type", quoted("scram-sha-256")).start();
    let wrong = pooler.target().with_user(APP, "wrong");
    let evil = [("search_path", "evil"), ("application_name", "evil"), ("options", "-c search_path=evil")];
    for parameters in [&evil[..1], &evil[1..2], &evil[2..]] {
        let login = Login { parameters, ..Login::plain(&wrong) };
        assert!(Raw::try_login(&login).is_err());
    }
    assert!(!cluster.log().contains("evil"), "{}", cluster.log());
    assert!(pooler.show("SERVERS").is_empty(), "R110: no server for somebody unknown");
}

#[test]
fn many_clients_log_in_at_once() {
    let (_cluster, pooler) = pair("scram-sha-256", "scram-sha-256");
    let target = pooler.target();
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                let mut raw = Raw::login(&target);
                assert_eq!(brief(&raw.query("select 1")), "T D C Z(I)");
            });
        }
    });
}

/// Seen: connections that had said nothing yet counted against `max_client_conn`, so strangers could use it up.
#[test]
fn r108_f26_strangers_take_no_place_of_those_who_log_in() {
    let pooler = PoolerConfig::for_cluster(Cluster::shared(), 1).set("max_client_conn", "2").start();
    let target = pooler.target();
    let _strangers: Vec<Raw> = (0..20).map(|_| Raw::connect(&target.addr()).unwrap()).collect();
    eventually("all stand before the door", || {
        pooler.number("LISTS", ("list", "login_clients"), "items") >= 20
    });
    let mut inside = [Raw::login(&target), Raw::login(&target)];
    assert!(refusal(&target).starts_with("E(FATAL 53300"));
    assert_eq!(inside[1].value("select 1"), "1");
    drop(inside);
    eventually("there is room again", || Raw::try_login(&Login::plain(&target)).is_ok());
}

/// Seen: the limit was taken from the user of the pool, so that it had no effect where a database has a user of its own.
#[test]
fn the_idle_limit_of_a_user_holds_for_who_logs_in_as_it() {
    let cluster = Cluster::shared();
    let secret = |text: &str| ("password", quoted(text));
    let database = [
        ("host", quoted("127.0.0.1")),
        ("port", cluster.port().to_string()),
        ("user", quoted(APP)),
        secret(PASSWORD),
    ];
    let pooler = PoolerConfig::for_cluster(cluster, 1)
        .table(&format!("databases.{APP}"), &database)
        .table("users.hasty", &[secret("x"), ("client_idle_timeout", quoted("500ms"))])
        .start();
    let mut patient = Raw::login(&pooler.target());
    let mut hasty = Raw::login(&pooler.target().with_user("hasty", "x"));
    assert_eq!(hasty.value("select 1"), "1");
    assert_eq!(brief(&hasty.drain(Duration::from_secs(10)).0), "E(57P05)");
    assert_eq!(patient.value("select 1"), "1", "others have no limit");
}

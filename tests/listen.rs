//! Clients that listen, in transaction mode: one server connection of the pool's hears for all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use common::cluster::APP;
use common::pooler::quoted;
use common::{Cluster, ClusterOptions, Lost, Message, Pooler, PoolerConfig, Raw, eventually};

/// How long nothing must come before a client is said to have heard nothing.
const QUIET: Duration = Duration::from_millis(300);

fn pair(size: u32) -> (Cluster, Pooler) {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = PoolerConfig::for_cluster(&cluster, size).start();
    (cluster, pooler)
}

/// The pids of the connections that listen for a pool.
fn listeners(pooler: &Pooler) -> Vec<String> {
    let servers = pooler.show("servers").into_iter();
    servers.filter(|server| server["state"] == "listen").map(|server| server["remote_pid"].clone()).collect()
}

fn asks(raw: &mut Raw, sql: &str) -> String {
    raw.query(sql).iter().map(Message::full).collect::<Vec<_>>().join(" ")
}

/// What comes until a notification does.
fn hears(raw: &mut Raw) -> String {
    raw.until(b'A').iter().map(Message::full).collect::<Vec<_>>().join(" ")
}

fn hears_nothing(raw: &mut Raw) {
    let (seen, _) = raw.drain(QUIET);
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn many_clients_that_listen_use_one_server() {
    const CLIENTS: usize = 400;
    let (cluster, pooler) = pair(1);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Raw::login(&pooler.target())).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        assert_eq!(asks(client, &format!("listen own_{i}; listen all_of_us")), "C(LISTEN) C(LISTEN) Z(I)");
    }
    assert_eq!(listeners(&pooler).len(), 1);
    assert_eq!(cluster.backends().len(), 2, "the pool's one and the listener: {:?}", cluster.backends());
    let mut sender = Raw::login(&pooler.target());
    let pid: i32 = sender.value("select pg_backend_pid()").parse().unwrap();
    sender.query("notify all_of_us, 'hello'");
    sender.query("notify own_7, 'you alone'");
    for (i, client) in clients.iter_mut().enumerate() {
        let heard = client.next().unwrap();
        assert_eq!(heard.full(), "A(all_of_us hello )", "client {i}");
        assert_eq!(heard.body[..4], pid.to_be_bytes(), "the pid is the sender's");
    }
    assert_eq!(hears(&mut clients[7]), "A(own_7 you alone )");
    hears_nothing(&mut clients[8]);
    for client in clients {
        client.terminate();
    }
    eventually("nobody listens, and nothing does", || listeners(&pooler).is_empty());
    eventually("its backend is gone", || cluster.backends().len() == 1);
    pooler.assert_healthy();
}

#[test]
fn a_lost_listener_comes_back_and_says_so() {
    let (cluster, pooler) = pair(2);
    let mut client = Raw::login(&pooler.target());
    let mut in_block = Raw::login(&pooler.target());
    client.query("listen news");
    in_block.query("listen news");
    in_block.query("begin");
    let lost = listeners(&pooler).remove(0);
    cluster.sql(&format!("select pg_terminate_backend({lost})"));
    let notice = client.next().unwrap();
    assert_eq!(notice.tag, b'N', "{notice:?}");
    assert!(notice.field(b'M').starts_with("notifications may have been lost"), "{notice:?}");
    cluster.sql_in(APP, "notify news, 'again'");
    assert_eq!(hears(&mut client), "A(news again )");
    hears_nothing(&mut in_block);
    let end = asks(&mut in_block, "commit");
    assert!(end.starts_with("C(COMMIT) N(NOTICE 00000: notifications may have been lost"), "{end}");
    assert!(end.ends_with(" A(news again ) Z(I)"), "{end}");
    pooler.assert_healthy();
}

#[test]
fn a_restart_of_postgresql_is_survived_by_those_who_listen() {
    let (cluster, pooler) = pair(1);
    let mut client = Raw::login(&pooler.target());
    client.query("listen news");
    cluster.restart("fast");
    assert_eq!(client.next().unwrap().tag, b'N');
    let mut sender = Raw::login(&pooler.target());
    sender.query("notify news, 'back'");
    assert_eq!(hears(&mut client), "A(news back )");
}

#[test]
fn s35_databases_do_not_hear_one_another() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    cluster.sql(&format!("create database other owner {APP}"));
    let pooler = PoolerConfig::for_cluster(&cluster, 1).database("other", cluster.port()).start();
    let mut here = Raw::login(&pooler.target());
    let mut there = Raw::login(&pooler.target().with_database("other"));
    here.query("listen news");
    there.query("listen news");
    assert_eq!(listeners(&pooler).len(), 2);
    Raw::login(&pooler.target()).query("notify news, 'here'");
    assert_eq!(hears(&mut here), "A(news here )");
    Raw::login(&pooler.target().with_database("other")).query("notify news, 'there'");
    assert_eq!(hears(&mut there), "A(news there )");
    hears_nothing(&mut here);
}

#[test]
fn where_no_listener_can_be_had_the_client_keeps_its_server() {
    let (cluster, pooler) = pair(1);
    cluster.sql(&format!("alter role {APP} connection limit 1"));
    let mut client = Raw::login(&pooler.target());
    assert_eq!(asks(&mut client, "listen news"), "C(LISTEN) Z(I)");
    cluster.sql_in(APP, "notify news, 'kept'");
    assert_eq!(hears(&mut client), "A(news kept )");
    assert!(listeners(&pooler).is_empty());
    assert_eq!(asks(&mut client, "unlisten *"), "C(UNLISTEN) Z(I)");
    let mut other = Raw::login(&pooler.target());
    assert_eq!(other.value("select count(*) from pg_listening_channels()"), "0");
}

/// Two LISTEN that found no listener took both servers, for ever: nobody else had one again.
#[test]
fn where_no_listener_can_be_had_a_pool_keeps_servers_for_others_and_tries_again() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = PoolerConfig::for_cluster(&cluster, 2).set("max_pinned_ratio", "0.5").start();
    let mut clients = [(); 2].map(|()| Raw::login(&pooler.target()));
    for client in &mut clients {
        client.query("begin; select 1");
    }
    for client in &mut clients {
        client.query("commit");
    }
    cluster.sql(&format!("alter role {APP} connection limit 2"));
    let [first, second] = &mut clients;
    assert_eq!(asks(first, "listen news"), "C(LISTEN) Z(I)");
    let said = asks(second, "listen news");
    assert!(said.starts_with("C(LISTEN) E(ERROR 53400: LISTEN has come to nothing"), "{said}");
    assert_eq!(second.value("select count(*) from pg_listening_channels()"), "0");
    cluster.sql_in(APP, "notify news, 'kept'");
    assert_eq!(hears(first), "A(news kept )");
    cluster.sql(&format!("alter role {APP} connection limit -1"));
    let notice = first.next().unwrap();
    assert!(notice.tag == b'N' && notice.field(b'M').starts_with("notifications may have been lost"));
    assert_eq!(listeners(&pooler).len(), 1);
    eventually("nobody is pinned", || pooler.show("PINS").is_empty());
    assert_eq!(asks(second, "listen news"), "C(LISTEN) Z(I)");
    cluster.sql_in(APP, "notify news, 'moved'");
    for client in &mut clients {
        assert_eq!(hears(client), "A(news moved )");
    }
    for client in clients {
        client.terminate();
    }
    eventually("nobody listens, and nothing does", || listeners(&pooler).is_empty());
    pooler.assert_healthy();
}

#[test]
fn by_the_policy_pin_listen_keeps_the_server() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    let pooler = PoolerConfig::for_cluster(&cluster, 1).set("session_state", quoted("pin")).start();
    let mut client = Raw::login(&pooler.target());
    client.query("listen news");
    client.query("notify news, 'own'");
    cluster.sql_in(APP, "notify news, 'other'");
    assert_eq!(hears(&mut client), "A(news other )");
    assert!(listeners(&pooler).is_empty());
}

#[test]
fn what_one_client_may_leave_waiting_is_bounded() {
    let (cluster, pooler) = pair(2);
    let mut client = Raw::login(&pooler.target());
    client.query("listen news");
    client.query("begin");
    for _ in 0..6 {
        cluster
            .sql_in(APP, "select pg_notify('news', i || repeat('x', 7900)) from generate_series(10, 19) i");
    }
    let mut second = Raw::login(&pooler.target());
    second.query("listen news");
    second.query("notify news, 'last'"); // whoever listens has been given all before this one
    let seen = client.query("commit");
    let heard = seen.iter().filter(|message| message.tag == b'A').count();
    assert!((20..60).contains(&heard), "{heard}");
    let told = &seen[seen.len() - 2];
    assert!(told.tag == b'N' && told.field(b'M').starts_with("notifications were lost"), "{told:?}");
    second.query("notify news, 'next'");
    assert_eq!(hears(&mut client), "A(news next )");
}

#[test]
fn pause_and_reconnect_take_the_listener_along() {
    let (_cluster, pooler) = pair(1);
    let mut client = Raw::login(&pooler.target());
    client.query("listen news");
    let first = listeners(&pooler);
    let mut console = pooler.console();
    console.query("pause");
    assert!(listeners(&pooler).is_empty());
    console.query("resume");
    assert_eq!(client.next().unwrap().tag, b'N');
    let second = listeners(&pooler);
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    console.query("reconnect");
    assert_eq!(client.next().unwrap().tag, b'N');
    assert_ne!(listeners(&pooler), second);
    client.query("notify news, 'still'");
    pooler.assert_healthy();
}

#[test]
fn a_client_that_listens_keeps_its_server_for_other_reasons_as_ever() {
    let (_cluster, pooler) = pair(1);
    let mut client = Raw::login(&pooler.target());
    client.query("create temp table t (i int)");
    client.query("listen news");
    assert!(asks(&mut client, "notify news, 'with a table'").contains("A(news with a table )"));
    assert_eq!(client.value("select count(*) from t"), "0");
    client.query("drop table t");
    let mut other = Raw::login(&pooler.target());
    assert_eq!(other.value("select count(*) from pg_listening_channels()"), "0");
}

/// What comes to a client that is ended: its last words.
fn last_words(raw: &mut Raw) -> Vec<String> {
    let (said, lost) = raw.drain(common::host::PATIENCE);
    assert!(!matches!(lost, Lost::Timeout), "still connected after {said:?}");
    said.iter().map(Message::full).collect()
}

fn is_ended(raw: &mut Raw, text: &str) {
    let said = last_words(raw);
    assert!(said.len() == 1 && said[0].starts_with("E(FATAL 57P01") && said[0].contains(text), "{said:?}");
}

#[test]
fn kill_ends_those_who_listen_and_the_listener() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    cluster.sql(&format!("create database other owner {APP}"));
    let pooler = PoolerConfig::for_cluster(&cluster, 1).database("other", cluster.port()).start();
    let mut client = Raw::login(&pooler.target());
    let mut there = Raw::login(&pooler.target().with_database("other"));
    client.query("listen news");
    there.query("listen news");
    let mut console = pooler.console();
    console.query(&format!("kill {APP}"));
    is_ended(&mut client, "database removed");
    let left = cluster.backends();
    assert!(left.len() <= 2, "KILL is answered when nothing of the database is left: {left:?}");
    assert_eq!(listeners(&pooler).len(), 1);
    cluster.sql_in("other", "notify news, 'still here'");
    assert_eq!(hears(&mut there), "A(news still here )");
    console.query(&format!("resume {APP}"));
    let mut client = Raw::login(&pooler.target());
    assert_eq!(asks(&mut client, "listen news"), "C(LISTEN) Z(I)");
    cluster.sql_in(APP, "notify news, 'anew'");
    assert_eq!(hears(&mut client), "A(news anew )");
    pooler.assert_healthy();
}

#[test]
fn a_reload_without_the_database_ends_its_listener_and_no_other() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    cluster.sql(&format!("create database other owner {APP}"));
    let config = || PoolerConfig::for_cluster(&cluster, 1);
    let pooler = config().database("other", cluster.port()).start();
    let mut here = Raw::login(&pooler.target());
    let mut there = Raw::login(&pooler.target().with_database("other"));
    here.query("listen news");
    there.query("listen news");
    let kept = listeners(&pooler);
    assert_eq!(kept.len(), 2);
    pooler.rewrite(config());
    let mut console = pooler.console();
    console.query("reload");
    is_ended(&mut there, "database removed");
    eventually("its listener is gone", || listeners(&pooler).len() == 1);
    let left = "select count(*) from pg_stat_activity where datname = 'other'";
    eventually("and its backend", || cluster.value(left) == "0");
    assert!(kept.contains(&listeners(&pooler)[0]), "the other one goes on");
    cluster.sql_in(APP, "notify news, 'here'");
    assert_eq!(hears(&mut here), "A(news here )");
    pooler.rewrite(config().database("other", cluster.port()));
    console.query("reload");
    let mut there = Raw::login(&pooler.target().with_database("other"));
    there.query("listen news");
    cluster.sql_in("other", "notify news, 'there again'");
    assert_eq!(hears(&mut there), "A(news there again )");
}

#[test]
fn a_reload_with_another_address_moves_the_listener_and_says_so() {
    let clusters = [(); 2].map(|()| Cluster::start_new(&ClusterOptions::default()));
    let config = |number: usize| PoolerConfig::for_cluster(&clusters[number], 2);
    let pooler = config(0).start();
    let mut client = Raw::login(&pooler.target());
    let mut in_block = Raw::login(&pooler.target());
    client.query("listen news");
    in_block.query("listen news");
    in_block.query("begin");
    pooler.rewrite(config(1));
    pooler.console().query("reload");
    let notice = client.next().unwrap();
    assert!(notice.tag == b'N' && notice.field(b'M').starts_with("notifications may have been lost"));
    clusters[0].sql_in(APP, "notify news, 'old'");
    clusters[1].sql_in(APP, "notify news, 'new'");
    assert_eq!(hears(&mut client), "A(news new )");
    let end = asks(&mut in_block, "commit");
    assert!(end.starts_with("C(COMMIT) N(") && end.ends_with(" A(news new ) Z(I)"), "{end}");
    eventually("nothing is left at the old address", || clusters[0].backends().is_empty());
    pooler.assert_healthy();
}

#[test]
fn a_shutdown_lets_a_transaction_end_with_what_it_is_owed() {
    let (cluster, mut pooler) = pair(2);
    let mut idle = Raw::login(&pooler.target());
    let mut in_block = Raw::login(&pooler.target());
    idle.query("listen news");
    in_block.query("listen news");
    in_block.query("begin");
    pooler.signal("TERM");
    is_ended(&mut idle, "administrator command");
    in_block.query("notify news, 'own'");
    assert_eq!(asks(&mut in_block, "commit"), "C(COMMIT) A(news own ) Z(I)");
    is_ended(&mut in_block, "administrator command");
    assert_eq!(pooler.wait_exit(common::host::PATIENCE).code(), Some(0));
    eventually("no backend is left", || cluster.backends().is_empty());
}

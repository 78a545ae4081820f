//! Clients that listen, in transaction mode: one server connection of the pool's hears for all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use common::cluster::APP;
use common::pooler::quoted;
use common::{Cluster, ClusterOptions, Message, Pooler, PoolerConfig, Raw, eventually};

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

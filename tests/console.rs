//! The console as operators and their scripts use it: through psql and through plain messages (chapters 14 to 16 of
//! what a replacement of PgBouncer must do; R96, S13, S45).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::time::Duration;

use common::cluster::{APP, PASSWORD};
use common::drivers::run_libpq;
use common::pooler::quoted;
use common::{Cluster, Lost, Pooler, PoolerConfig, Raw, Target, brief, eventually, msg};

/// Columns of every view, in order.
const VIEWS: &[(&str, &str)] = &[
    ("CLIENTS", CONNECTIONS),
    ("SERVERS", CONNECTIONS),
    ("SOCKETS", SOCKETS),
    ("ACTIVE_SOCKETS", SOCKETS),
    (
        "POOLS",
        "database,user,cl_active,cl_waiting,cl_active_cancel_req,cl_waiting_cancel_req,sv_active,sv_active_cancel,sv_being_canceled,sv_idle,sv_used,sv_tested,sv_login,maxwait,maxwait_us,pool_mode,load_balance_hosts",
    ),
    (
        "DATABASES",
        "name,host,port,database,force_user,pool_size,min_pool_size,reserve_pool_size,server_lifetime,pool_mode,load_balance_hosts,max_connections,current_connections,max_client_connections,current_client_connections,paused,disabled",
    ),
    (
        "USERS",
        "name,pool_size,reserve_pool_size,pool_mode,max_user_connections,current_connections,max_user_client_connections,current_client_connections",
    ),
    ("PEERS", "peer_id,host,port,pool_size"),
    ("PEER_POOLS", "peer_id,cl_active_cancel_req,cl_waiting_cancel_req,sv_active_cancel,sv_login"),
    (
        "STATS",
        "database,total_server_assignment_count,total_xact_count,total_query_count,total_received,total_sent,total_xact_time,total_query_time,total_wait_time,total_client_parse_count,total_server_parse_count,total_bind_count,avg_server_assignment_count,avg_xact_count,avg_query_count,avg_recv,avg_sent,avg_xact_time,avg_query_time,avg_wait_time,avg_client_parse_count,avg_server_parse_count,avg_bind_count",
    ),
    (
        "STATS_TOTALS",
        "database,server_assignment_count,xact_count,query_count,bytes_received,bytes_sent,xact_time,query_time,wait_time,client_parse_count,server_parse_count,bind_count",
    ),
    (
        "STATS_AVERAGES",
        "database,server_assignment_count,xact_count,query_count,bytes_received,bytes_sent,xact_time,query_time,wait_time,avg_client_parse_count,avg_server_parse_count,avg_bind_count",
    ),
    ("TOTALS", "name,value"),
    ("LISTS", "list,items"),
    ("CONFIG", "key,value,default,changeable"),
    ("VERSION", "version"),
    ("STATE", "key,value"),
    ("MEM", "name,size,used,free,memtotal"),
    ("PINS", "id,ptr,database,user,application_name,addr,port,server_pid,link,reasons,since,age,query"),
    ("COMPAT", "database,user,application_name,feature,name,outcome,in_transaction,count,first,last,query"),
    ("DNS_HOSTS", "hostname,ttl,addrs"),
    ("DNS_ZONES", "zonename,serial,count"),
];
const CONNECTIONS: &str = "type,user,database,replication,state,addr,port,local_addr,local_port,connect_time,request_time,wait,wait_us,close_needed,ptr,link,remote_pid,tls,application_name,prepared_statements,id";
const SOCKETS: &str = "type,user,database,replication,state,addr,port,local_addr,local_port,connect_time,request_time,wait,wait_us,close_needed,ptr,link,remote_pid,tls,application_name,prepared_statements,id,recv_pos,pkt_pos,pkt_remain,send_pos,send_remain,pkt_avail,send_avail";

fn pooler(size: u32) -> Pooler {
    PoolerConfig::for_cluster(Cluster::shared(), size)
        .set("stats_users", "[\"watcher\"]")
        .table("users.watcher", &[("password", quoted(PASSWORD))])
        .start()
}

fn psql(target: &Target, args: &[&str]) -> Result<String, String> {
    let args: Vec<&str> = ["-X", "--pset", "pager=off"].iter().copied().chain(args.iter().copied()).collect();
    run_libpq(&Cluster::shared().program("psql"), target, &args)
}

/// Asks the console; the compact form of its answer.
fn order(console: &mut Raw, sql: &str) -> String {
    let said = console.query(sql);
    said.iter().filter(|m| m.tag != b'N').map(common::Message::full).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_view_has_its_columns_in_psql_under_both_names() {
    let pooler = pooler(2);
    let mut holder = Raw::login(&pooler.target());
    holder.query("begin");
    for database in ["pooler", "pgbouncer"] {
        let console = pooler.console_target().with_database(database);
        for (view, columns) in VIEWS {
            let csv = psql(&console, &["--csv", "-c", &format!("show {view}")]).unwrap();
            assert_eq!(csv.lines().next().unwrap_or_default(), *columns, "SHOW {view}");
            psql(&console, &["-c", &format!("SHOW {view};")]).unwrap();
            psql(&console, &["-x", "-c", &format!("  show   \"{}\" ;", view.to_lowercase())]).unwrap();
        }
        psql(&console, &["-c", "SHOW HELP"]).unwrap();
        let version = psql(&console, &["-Atc", "SHOW VERSION"]).unwrap();
        assert!(version.starts_with("Pooler ") || version.starts_with("PgBouncer "), "{version}");
    }
    holder.query("commit");
    pooler.assert_healthy();
}

#[test]
fn the_views_tell_what_is() {
    let pooler = pooler(2);
    let mut holder = Raw::login(&pooler.target());
    holder.query("begin");
    let mut idle = Raw::login(&pooler.target());
    idle.value("select 1");
    let pools = pooler.show("POOLS");
    let pool = pools.iter().find(|row| row["database"] == APP).unwrap();
    assert_eq!((&*pool["cl_active"], &*pool["sv_active"], &*pool["sv_idle"]), ("2", "1", "1"), "{pool:?}");
    let clients = pooler.show("CLIENTS");
    let states: Vec<&str> = clients.iter().filter(|c| c["database"] == APP).map(|c| &*c["state"]).collect();
    assert_eq!(states.iter().filter(|s| **s == "active").count(), 1, "{states:?}");
    let servers = pooler.show("SERVERS");
    let pids: Vec<&str> = servers.iter().map(|row| &*row["remote_pid"]).collect();
    let backends = Cluster::shared().backends();
    assert!(pids.iter().all(|pid| backends.iter().any(|(p, _)| p == pid)), "{pids:?} of {backends:?}");
    let linked = servers.iter().find(|row| row["state"] == "active").unwrap();
    assert!(clients.iter().any(|row| row["ptr"] == linked["link"] && row["link"] == linked["ptr"]));
    let databases = pooler.show("DATABASES");
    let app = databases.iter().find(|row| row["name"] == APP).unwrap();
    assert_eq!((&*app["pool_size"], &*app["current_connections"]), ("2", "2"));
    let config = pooler.show("CONFIG");
    let value = |key: &str| config.iter().find(|row| row["key"] == key).map(|row| row["value"].clone());
    assert_eq!(value("pool_mode").as_deref(), Some("transaction"));
    assert!(!format!("{config:?}").contains(PASSWORD), "S44");
}

/// As in PgBouncer: the first command of each console counts as a transaction, the others do not.
#[test]
fn consoles_are_counted_as_a_database_of_their_own() {
    let pooler = pooler(1);
    let _silent = pooler.console();
    let mut talks = pooler.console();
    for _ in 0..3 {
        order(&mut talks, "show version");
    }
    for count in ["2", "3"] {
        let stats = pooler.show("STATS"); // over a console of its own
        let console = stats.iter().find(|row| row["database"] == "pgbouncer").unwrap();
        assert_eq!((&*console["total_xact_count"], &*console["total_query_count"]), (count, count));
    }
}

#[test]
fn what_is_no_command_is_an_error_and_the_session_lives() {
    let pooler = pooler(1);
    let mut console = pooler.console();
    // What psql asks for \d, and other things people type.
    for text in [
        "select c.oid from pg_catalog.pg_class c",
        "SHOW",
        "show nonsense",
        "",
        ";",
        ";;;;;",
        "PAUSE nosuch",
        "KILL_CLIENT",
        "KILL_CLIENT 999999",
        "DISABLE",
        "\"unclosed",
        "set a",
        "show stats; show stats",
    ] {
        let said = order(&mut console, text);
        assert!(said.starts_with("E(ERROR") && said.ends_with("Z(I)"), "{text:?}: {said}");
        assert!(order(&mut console, "show version").starts_with("T(version:25) D("), "after {text:?}");
    }
    let refused = psql(&pooler.console_target(), &["-c", "\\d"]).unwrap_err();
    assert!(refused.contains("ERROR"), "{refused}");
    let big = "x".repeat(1_000_000);
    console.send(&msg::query(&big));
    let (said, _) = console.drain(Duration::from_secs(2));
    assert_eq!(said.first().map(|m| m.tag), Some(b'E'));
    // The extended protocol is refused; whether the console lives on is its own affair.
    let mut console = pooler.console();
    console.send(&[msg::run("show version", &[]), msg::sync()].concat());
    let (said, _) = console.drain(Duration::from_millis(300));
    assert!(said.iter().any(|m| m.tag == b'E') || brief(&said).ends_with("Z(I)"), "{said:?}");
    assert!(order(&mut pooler.console(), "show version").ends_with("Z(I)"));
    pooler.assert_healthy();
}

#[test]
fn pause_lets_transactions_end_and_holds_the_next_until_resume() {
    let pooler = pooler(2);
    for database in ["", APP] {
        let mut holder = Raw::login(&pooler.target());
        holder.query("begin");
        let mut console = pooler.console();
        console.send(&msg::query(&format!("PAUSE {database}")));
        let early = console.next_within(Duration::from_millis(200));
        assert!(matches!(early, Err(Lost::Timeout)), "PAUSE before the transaction's end: {early:?}");
        holder.query("commit");
        assert_eq!(brief(&console.until_ready()), "C Z(I)");
        holder.send(&msg::query("select 'held'"));
        assert!(matches!(holder.next_within(Duration::from_millis(200)), Err(Lost::Timeout)));
        eventually("all servers are closed", || pooler.show("SERVERS").is_empty());
        assert_eq!(order(&mut pooler.console(), &format!("RESUME {database}")), "C(RESUME) Z(I)");
        assert_eq!(holder.until_ready()[1].first(), "held");
    }
    let again = order(&mut pooler.console(), "RESUME");
    assert!(again.starts_with("E(ERROR"), "{again}");
}

#[test]
fn disable_kill_and_reconnect_do_what_they_say() {
    let pooler = pooler(2);
    let mut console = pooler.console();
    let mut client = Raw::login(&pooler.target());
    assert_eq!(client.value("select 1"), "1");

    assert_eq!(order(&mut console, "DISABLE app"), "C(DISABLE) Z(I)");
    assert!(Raw::try_login(&common::Login::plain(&pooler.target())).is_err());
    assert_eq!(client.value("select 2"), "2", "those inside go on");
    assert_eq!(order(&mut console, "ENABLE app"), "C(ENABLE) Z(I)");
    drop(Raw::login(&pooler.target()));

    let pid = client.value("select pg_backend_pid()");
    assert_eq!(order(&mut console, "RECONNECT app"), "C(RECONNECT) Z(I)");
    assert_eq!(order(&mut console, "WAIT_CLOSE app"), "C(WAIT_CLOSE) Z(I)");
    assert_ne!(client.value("select pg_backend_pid()"), pid);

    let clients = pooler.show("CLIENTS");
    let id = clients.iter().find(|row| row["database"] == APP).unwrap()["id"].clone();
    assert_eq!(order(&mut console, &format!("KILL_CLIENT {id}")), "C(KILL_CLIENT) Z(I)");
    let (said, lost) = client.drain(common::raw::ANSWER);
    assert!(!matches!(lost, Lost::Timeout), "{said:?}");

    let mut client = Raw::login(&pooler.target());
    client.query("begin");
    assert_eq!(order(&mut console, "KILL app"), "C(KILL) Z(I)");
    let (_, lost) = client.drain(common::raw::ANSWER);
    assert!(!matches!(lost, Lost::Timeout));
    Cluster::shared().at_rest();
    assert_eq!(order(&mut console, "RESUME app"), "C(RESUME) Z(I)");
    assert_eq!(Raw::login(&pooler.target()).value("select 3"), "3");
}

#[test]
fn f66_f67_reload_takes_what_is_right_and_keeps_what_was_if_anything_is_wrong() {
    let pooler = pooler(1);
    let base = PoolerConfig::for_cluster(Cluster::shared(), 1);
    let mut console = pooler.console();
    let size =
        || pooler.show("DATABASES").iter().find(|row| row["name"] == APP).unwrap()["pool_size"].clone();
    let mut client = Raw::login(&pooler.target());
    pooler.rewrite(base.clone().set("default_pool_size", "4"));
    assert_eq!(order(&mut console, "RELOAD"), "C(RELOAD) Z(I)");
    assert_eq!(size(), "4");
    pooler.rewrite(base.clone().set("default_pool_size", "7").set("pool_mode", quoted("nonsense")));
    let refused = order(&mut console, "RELOAD");
    assert!(refused.starts_with("E(ERROR"), "{refused}");
    assert_eq!(size(), "4", "all or nothing");
    assert_eq!(client.value("select 1"), "1");
    pooler.rewrite(base);
    for _ in 0..50 {
        assert_eq!(order(&mut console, "RELOAD"), "C(RELOAD) Z(I)");
        assert_eq!(client.value("select 1"), "1");
    }
    assert_eq!(size(), "1");
}

#[test]
fn s13_f76_only_admins_give_orders_and_only_those_named_may_look() {
    let pooler = pooler(1);
    let mut watcher = Raw::login(&pooler.console_target().with_user("watcher", PASSWORD));
    assert!(order(&mut watcher, "SHOW POOLS").ends_with("Z(I)"));
    for text in [
        "RELOAD",
        "PAUSE",
        "RESUME",
        "SUSPEND",
        "KILL",
        "KILL app",
        "KILL_CLIENT 1",
        "RECONNECT",
        "WAIT_CLOSE",
        "DISABLE app",
        "ENABLE app",
        "SHUTDOWN",
        "SHUTDOWN WAIT_FOR_CLIENTS",
        "SET pool_mode = 'session'",
        "SHOW FDS",
    ] {
        let said = order(&mut watcher, text);
        assert!(said.starts_with("E(ERROR") && said.ends_with("Z(I)"), "{text}: {said}");
    }
    assert!(
        Raw::try_login(&common::Login::plain(&pooler.console_target().with_user(APP, PASSWORD))).is_err()
    );
    assert_eq!(Raw::login(&pooler.target()).value("select 1"), "1");
}

#[test]
fn shutdown_in_its_three_forms() {
    for (order, ends_by_itself) in
        [("SHUTDOWN", true), ("SHUTDOWN WAIT_FOR_SERVERS", true), ("SHUTDOWN WAIT_FOR_CLIENTS", false)]
    {
        let mut pooler = pooler(1);
        let mut client = Raw::login(&pooler.target());
        client.value("select 1");
        let mut console = pooler.console();
        console.send(&msg::query(order));
        if ends_by_itself {
            assert!(pooler.wait_exit(Duration::from_secs(10)).success(), "{order}");
        } else {
            eventually("no new logins", || Raw::try_login(&common::Login::plain(&pooler.target())).is_err());
            assert_eq!(client.value("select 2"), "2", "clients leave by themselves");
            console.terminate();
            client.terminate();
            assert!(pooler.wait_exit(Duration::from_secs(10)).success(), "{order}");
        }
    }
}

//! Clients that keep their servers: who they are, how many may be, what they are told; and which features of sessions
//! clients use, before anybody decides on a mode.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::cluster::APP;
use common::pooler::quoted;
use common::{Cluster, Login, Message, Pooler, PoolerConfig, Raw, brief, eventually, msg};

const V3: u32 = 196_608;

/// With the bound that is the default.
fn config(size: u32) -> PoolerConfig {
    PoolerConfig::for_cluster(Cluster::shared(), size).set("max_pinned_ratio", "0.5")
}

fn pins(pooler: &Pooler, count: usize) -> Vec<BTreeMap<String, String>> {
    let mut rows = Vec::new();
    eventually("clients are pinned", || {
        rows = pooler.show("PINS");
        rows.len() == count
    });
    rows
}

/// The code of the error among these messages, if there is one.
fn code(said: &[Message]) -> Option<String> {
    said.iter().find(|m| m.tag == b'E').and_then(Message::sqlstate)
}

fn is_refused(said: &[Message]) -> bool {
    let error = said.iter().find(|m| m.tag == b'E');
    error.is_some_and(|e| {
        e.sqlstate().as_deref() == Some("53400") && e.field(b'H').contains("max_pinned_ratio")
    })
}

#[test]
fn show_pins_tells_why_and_forgets() {
    let pooler = config(4).start();
    let target = pooler.target();
    let login = Login { target: &target, parameters: &[("application_name", "cart")], version: V3 };
    let mut client = Raw::try_login(&login).unwrap();
    assert!(pooler.show("PINS").is_empty());
    client.query("create temp table t as select 'secret' as s, 4711 as n");
    let row = pins(&pooler, 1).remove(0);
    let clients = pooler.show("CLIENTS");
    let shown = clients.iter().find(|c| c["ptr"] == row["ptr"]).unwrap();
    assert_eq!((&shown["id"], &shown["link"], &shown["port"]), (&row["id"], &row["link"], &row["port"]));
    assert_eq!(row["server_pid"], client.value("select pg_backend_pid()"));
    let said = ["database", "user", "application_name", "reasons", "query"].map(|column| &*row[column]);
    assert_eq!(said, [APP, APP, "cart", "temp", "create temp table t as select ? as s, ? as n"]);
    assert!(row["age"].parse::<u32>().unwrap() < 60 && row["since"].contains(':'), "{row:?}");
    client.query("declare c cursor with hold for select 1");
    eventually("the second reason shows", || pooler.show("PINS")[0]["reasons"] == "temp,hold_cursor");
    client.query("close c");
    client.query("drop table t");
    pins(&pooler, 0);
    client.query("select pg_advisory_lock(1)");
    assert_eq!(pins(&pooler, 1)[0]["query"], "select pg_advisory_lock(?)");
    drop(client);
    pins(&pooler, 0);
}

#[test]
fn a_pin_too_many_is_refused_and_the_session_lives() {
    let pooler = config(4).start();
    let mut pinned: Vec<Raw> = (0..2).map(|_| Raw::login(&pooler.target())).collect();
    for client in &mut pinned {
        assert_eq!(code(&client.query("create temp table t (a int)")), None);
    }
    pins(&pooler, 2);
    let mut late = Raw::login(&pooler.target());
    for sql in [
        "create temp table t (a int)",
        "select pg_advisory_lock(7)",
        "prepare p as select 1",
        "begin; declare c cursor with hold for select 1; commit",
        "load 'plpgsql'",
    ] {
        let said = late.query(sql);
        assert!(is_refused(&said), "{sql}: {}", brief(&said));
        assert_eq!(said.last().unwrap().body, b"I", "{sql}");
    }
    assert_eq!(late.value("select count(*) from pg_locks where locktype = 'advisory'"), "0", "nothing ran");
    // Within a transaction it is an error as any other.
    late.query("begin");
    assert!(is_refused(&late.query("create temp table t (a int)")));
    assert_eq!(code(&late.query("select 1")).as_deref(), Some("25P02"));
    late.query("rollback");
    // What is over with its transaction takes no server from anybody.
    late.query("begin");
    assert_eq!(code(&late.query("create temp table t (a int) on commit drop")), None);
    assert_eq!(code(&late.query("commit")), None);
    // Through the extended protocol, named and unnamed.
    for name in ["", "named"] {
        let batch = [msg::parse(name, "create temp table x (a int)"), msg::bind("", name, &[])];
        late.send(&[batch.concat(), msg::execute("", 0), msg::sync()].concat());
        let said = late.until_ready();
        assert!(is_refused(&said), "{name:?}: {}", brief(&said));
    }
    assert!(is_refused(&late.query("execute named")), "by its name in SQL");
    // Those that are pinned may go on, and when one is not any more there is room.
    assert_eq!(code(&pinned[0].query("create temp table more (a int)")), None);
    pinned[1].query("drop table t");
    pins(&pooler, 1);
    assert_eq!(code(&late.query("create temp table t (a int)")), None);
    pins(&pooler, 2);
    let mut next = Raw::login(&pooler.target());
    assert!(is_refused(&next.query("create temp table t (a int)")));
    drop(pinned);
    pins(&pooler, 1);
    assert_eq!(code(&next.query("create temp table t (a int)")), None, "who leaves makes room");
}

#[test]
fn a_pin_in_the_making_takes_room_until_it_is_settled() {
    let pooler = config(2).start();
    let (mut first, mut second) = (Raw::login(&pooler.target()), Raw::login(&pooler.target()));
    first.query("begin");
    assert_eq!(code(&first.query("create temp table t (a int)")), None);
    assert!(pooler.show("PINS").is_empty(), "it may still be rolled back");
    assert!(is_refused(&second.query("create temp table t (a int)")));
    first.query("rollback");
    first.query("select 1");
    assert_eq!(code(&second.query("create temp table t (a int)")), None, "there is room again");
}

#[test]
fn the_bound_can_be_set() {
    let ratio = |value: &str| config(3).set("max_pinned_ratio", value);
    for (config, most) in [
        (config(1), 1),
        (ratio("0"), 0),
        (ratio("0.7"), 2),
        (ratio("1"), 3),
        (ratio("0.4").set("reserve_pool_size", "1").set("pin_overflow", quoted("reserve")), 2),
    ] {
        let pooler = config.start();
        let mut clients = Vec::new();
        for _ in 0..most {
            let mut client = Raw::login(&pooler.target());
            assert_eq!(code(&client.query("create temp table t (a int)")), None, "{most}");
            clients.push(client);
            pins(&pooler, clients.len());
        }
        if most == 0 || most == 2 {
            assert!(is_refused(&Raw::login(&pooler.target()).query("create temp table t (a int)")), "{most}");
        }
    }
}

#[test]
fn what_words_do_not_tell_is_let_be_and_logged() {
    let pooler = config(3).set("max_pinned_ratio", "0.4").start();
    let mut clients: Vec<Raw> = (0..3).map(|_| Raw::login(&pooler.target())).collect();
    for (number, client) in clients.iter_mut().take(2).enumerate() {
        let said = client.query("do $$ begin create temp table hidden (a int); end $$");
        assert_eq!(code(&said), None);
        assert_eq!(pins(&pooler, number + 1)[number]["query"], "do ?");
    }
    assert!(is_refused(&clients[2].query("create temp table t (a int)")));
    eventually("a line tells of it", || pooler.log().contains("max_pinned_ratio"));
}

#[test]
fn a_pinned_client_is_told_once_if_that_is_wanted() {
    let pooler = config(4).set("pin_notice", "true").start();
    let mut client = Raw::login(&pooler.target());
    for (sql, word) in [("create temp table t (a int)", "(temp)"), ("load 'plpgsql'", "(load)")] {
        let said = client.query(sql);
        assert_eq!(said.last().unwrap().tag, b'Z');
        let notice = client.next_within(Duration::from_secs(20)).unwrap();
        assert_eq!(notice.tag, b'N');
        assert!(notice.field(b'M').contains(word) && !notice.field(b'H').is_empty(), "{}", notice.full());
        assert!(client.query("select 1").iter().all(|m| m.tag != b'N'), "once");
        client.query("drop table if exists t");
        client.query("select 1");
        client = Raw::login(&pooler.target());
    }
    let quiet = config(4).start();
    let mut client = Raw::login(&quiet.target());
    client.query("create temp table t (a int)");
    pins(&quiet, 1);
    assert!(client.query("select 1").iter().all(|m| m.tag != b'N'));
}

/// What functions leave behind shows in no words: with this policy the server is asked all the same.
#[test]
fn t30_with_verify_nobody_meets_what_functions_leave_behind() {
    let mut admin = Cluster::shared().superuser(APP);
    for (name, body) in [
        ("leaves_a_table", "create temp table left_behind (a int)"),
        ("leaves_a_lock", "perform pg_advisory_lock(4712)"),
        ("leaves_a_setting", "perform set_config('work_mem', '17MB', false)"),
        ("leaves_a_channel", "execute 'listen left_behind'"),
    ] {
        admin.value(&format!(
            "create or replace function {name}() returns void language plpgsql as $$ begin {body}; end $$"
        ));
    }
    let pooler = config(2).set("session_state", quoted("verify")).set("max_pinned_ratio", "1").start();
    for (leaves, looks, fresh, pinned) in [
        ("leaves_a_table", "select count(*) from pg_class where relname = 'left_behind'", "0", true),
        ("leaves_a_lock", "select pg_try_advisory_lock(4712)", "t", true),
        ("leaves_a_setting", "show work_mem", "4MB", false),
        ("leaves_a_channel", "select count(*) from pg_listening_channels()", "0", false),
    ] {
        let mut one = Raw::login(&pooler.target());
        one.query(&format!("select {leaves}()"));
        eventually(leaves, || pooler.show("PINS").len() == usize::from(pinned));
        one.terminate();
        eventually("its server is clean", || {
            let left = "select (select count(*) from pg_class where relname = 'left_behind') \
                        + (select count(*) from pg_locks where locktype = 'advisory' and objid = 4712)";
            pooler.show("PINS").is_empty() && admin.value(left) == "0"
        });
        for _ in 0..4 {
            let mut other = Raw::login(&pooler.target());
            assert_eq!(other.value(looks), fresh, "{leaves}");
            other.query("select pg_advisory_unlock_all()");
            other.terminate();
        }
    }
}

#[test]
fn show_compat_tells_which_startup_parameters_logins_fail_for() {
    let pooler = config(4).start();
    let target = pooler.target();
    for parameter in [("no_such_parameter", "1"), ("work_mem", "nonsense")] {
        let parameters = [("application_name", "cart"), parameter];
        assert!(Raw::try_login(&Login { target: &target, parameters: &parameters, version: V3 }).is_err());
    }
    let rows = pooler.show("COMPAT");
    let told: Vec<_> = rows.iter().map(|row| [&*row["feature"], &*row["name"], &*row["outcome"]]).collect();
    let expected = ["no_such_parameter", "work_mem"].map(|name| ["startup_refused", name, "refused"]);
    assert_eq!(told, expected);
    assert!(rows.iter().all(|row| row["application_name"] == "cart" && row["in_transaction"] == "refused"));
}

#[test]
fn show_compat_tells_what_clients_use_in_every_mode() {
    for (key, value, expected) in [
        ("pool_mode", "transaction", ["followed", "pinned", "followed", "asked", "restored"]),
        ("pool_mode", "session", ["kept"; 5]),
        ("session_state", "pgbouncer", ["leaks", "leaks", "followed", "leaks", "leaks"]),
        ("session_state", "clean", ["cleaned", "cleaned", "followed", "asked", "restored"]),
    ] {
        let pooler = config(4).set(key, quoted(value)).start();
        let target = pooler.target();
        let parameters = [("application_name", "cart"), ("DateStyle", "ISO")];
        let mut client =
            Raw::try_login(&Login { target: &target, parameters: &parameters, version: V3 }).unwrap();
        client.query("select 1");
        client.query("set work_mem = '17MB'");
        client.query("set work_mem = '18MB'");
        client.send(&[msg::run("select pg_try_advisory_lock(4711)", &[]), msg::sync()].concat());
        client.until_ready();
        client.query("do $$ begin perform 'secret'; end $$");
        client.query("discard all");
        let rows = pooler.show("COMPAT");
        let row = |feature: &str, name: &str| {
            let is = |row: &&BTreeMap<String, String>| row["feature"] == feature && row["name"] == name;
            rows.iter().find(is).unwrap_or_else(|| panic!("{value}: no {feature} {name} in {rows:?}"))
        };
        let seen = [
            row("set", "work_mem"),
            row("advisory_lock", ""),
            row("startup", "DateStyle"),
            row("do_call", ""),
            row("discard", ""),
        ];
        assert_eq!(seen.map(|row| &*row["outcome"]), expected, "{value}");
        let then = if value == "session" {
            ["followed", "pinned", "followed", "asked", "restored"]
        } else {
            expected
        };
        assert_eq!(seen.map(|row| &*row["in_transaction"]), then, "{value}");
        assert_eq!(seen.map(|row| &*row["count"]), ["2", "1", "1", "1", "1"], "{value}");
        assert!(seen.iter().all(|row| row["application_name"] == "cart" && row["user"] == APP), "{seen:?}");
        assert_eq!(seen[0]["query"], "set work_mem = ?");
        assert_eq!(seen[1]["query"], "select pg_try_advisory_lock(?)");
        assert_eq!(seen[3]["query"], "do ?");
        assert_eq!(rows.iter().filter(|row| row["feature"] != "startup").count(), 4, "{rows:?}");
    }
}

//! Password messages that are wrong: R80 to R87, B8a, B13 to B15, B33. Each method has a cluster of its own.

use std::sync::OnceLock;

use crate::common::msg;
use crate::common::pooler::quoted;
use crate::common::raw::V3;
use crate::common::stage::Stage;
use crate::common::wire::unhex;
use crate::common::{Cluster, ClusterOptions, Pooler, PoolerConfig};
use crate::{compare_at, version};

fn plain(name: &str, script: &dyn Fn(&mut Stage<'_>)) {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static POOLER: OnceLock<Pooler> = OnceLock::new();
    let cluster =
        CLUSTER.get_or_init(|| Cluster::start_new(&ClusterOptions { auth: "password", ..version() }));
    let make = || PoolerConfig::for_cluster(cluster, 1).set("auth_type", quoted("plain"));
    compare_at(name, &cluster.target(), &|| Pooler::shared(&POOLER, make), script);
}

fn scram(name: &str, script: &dyn Fn(&mut Stage<'_>)) {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    static POOLER: OnceLock<Pooler> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| Cluster::start_new(&version()));
    let make = || PoolerConfig::for_cluster(cluster, 1).set("auth_type", quoted("scram-sha-256"));
    compare_at(name, &cluster.target(), &|| Pooler::shared(&POOLER, make), script);
}

/// Says a startup packet, waits until a password is asked for, answers with these bytes and reads to the end.
fn answers(s: &mut Stage<'_>, bytes: &[u8]) {
    let target = s.target();
    let startup = msg::startup(V3, &[("user", &target.user), ("database", &target.database)]);
    s.first("X", &startup);
    s.until("X", b'R');
    s.say("X", bytes);
    s.end("X");
}

#[test]
fn b33ab_r80_r82_r83_passwords_that_are_none() {
    plain("b33ab_r80_r82_r83_passwords_that_are_none", &|s| {
        answers(s, &unhex("70000000067077"));
        answers(s, &unhex("700000000500"));
        answers(s, &msg::password("wrong"));
        answers(s, &msg::query("select 1"));
        answers(s, &msg::any(b'p', b"two\0parts\0"));
    });
}

#[test]
fn b33c_a_password_above_its_limit_closes() {
    plain("b33c_a_password_above_its_limit_closes", &|s| {
        answers(s, &msg::any(b'p', &vec![b'x'; 65_532]));
    });
}

#[test]
fn b8a_a_user_with_a_line_feed_fails_like_any_other() {
    let script = |s: &mut Stage<'_>| {
        s.first("X", &msg::startup(V3, &[("user", "a\nFATAL x"), ("database", "app")]));
        s.until("X", b'R');
        s.say("X", &msg::password("x"));
        s.end("X");
    };
    plain("b8a_a_user_with_a_line_feed_fails_like_any_other", &script);
}

#[test]
fn b13_b14_b15b_r81_r86_sasl_answers_that_are_none() {
    scram("b13_b14_b15b_r81_r86_sasl_answers_that_are_none", &|s| {
        let mechanism = "7000000021534352414d2d5348412d32353600";
        answers(s, &unhex(&format!("{mechanism} 7fffffff 6e2c2c6e3d2c723d616263")));
        answers(s, &unhex(&format!("{mechanism} fffffffe 6e2c2c6e3d2c723d616263")));
        answers(s, &msg::query("select 1"));
        let plus =
            [b"SCRAM-SHA-256-PLUS\0\0\0\0\x20".as_slice(), b"p=tls-server-end-point,,n=,r=abc"].concat();
        answers(s, &msg::any(b'p', &plus));
        answers(s, &msg::any(b'p', b"SCRAM-SHA-1\0\xff\xff\xff\xff"));
    });
}

#[test]
fn b33d_a_sasl_answer_above_its_limit_fails() {
    scram("b33d_a_sasl_answer_above_its_limit_fails", &|s| {
        answers(s, &msg::any(b'p', &[b'x'; 1_021]));
    });
}

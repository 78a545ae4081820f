//! What signals do to a pooler that works (C12, F70, I22, R100).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::time::{Duration, Instant};

use common::cluster::APP;
use common::{Cluster, Login, Lost, Pooler, PoolerConfig, Raw, brief, eventually, msg};

/// Longest time an end may take that waits for nobody.
const PROMPT: Duration = Duration::from_secs(5);

fn pooler() -> Pooler {
    PoolerConfig::for_cluster(Cluster::shared(), 3).start()
}

/// SQLSTATEs that came before the end of the connection, which must come.
fn last_words(raw: &mut Raw) -> Vec<String> {
    let (said, lost) = raw.drain(PROMPT);
    assert!(!matches!(lost, Lost::Timeout), "still connected after {said:?}");
    said.iter().filter_map(common::Message::sqlstate).collect()
}

#[test]
fn i22_term_lets_transactions_commit_and_turns_everybody_else_away() {
    let cluster = Cluster::shared();
    cluster.sql_in(APP, &format!("create table drained (n int); alter table drained owner to {APP}"));
    let mut pooler = pooler();
    let mut inside: Vec<Raw> = (0..3).map(|_| Raw::login(&pooler.target())).collect();
    for raw in &mut inside {
        raw.query("begin");
        raw.query("insert into drained values (1)");
    }
    let mut idle = Raw::login(&pooler.target());
    pooler.signal("TERM");
    assert_eq!(last_words(&mut idle), ["57P01"]);
    eventually("new logins are refused", || Raw::try_login(&Login::plain(&pooler.target())).is_err());
    for raw in &mut inside {
        assert_eq!(brief(&raw.query("insert into drained values (2)")), "C Z(T)", "nothing is cut");
        assert_eq!(brief(&raw.query("commit")), "C Z(I)");
        assert_eq!(last_words(raw), ["57P01"], "and then the client is told");
    }
    assert_eq!(pooler.wait_exit(PROMPT).code(), Some(0));
    assert_eq!(cluster.sql_in(APP, "select count(*) from drained"), [["6"]]);
    pooler.assert_healthy();
}

#[test]
fn a_second_term_ends_it_at_once() {
    let mut pooler = pooler();
    let mut raw = Raw::login(&pooler.target());
    raw.query("begin");
    pooler.signal("TERM");
    pooler.logged("SIGTERM");
    assert_eq!(brief(&raw.query("select 1")), "T D C Z(T)");
    let start = Instant::now();
    pooler.signal("TERM");
    assert_eq!(pooler.wait_exit(PROMPT).code(), Some(0));
    assert!(start.elapsed() < PROMPT);
    assert_eq!(last_words(&mut raw), ["57P01"], "R100: clients are told");
    Cluster::shared().at_rest();
}

#[test]
fn quit_ends_it_at_once() {
    let mut pooler = pooler();
    let mut inside = Raw::login(&pooler.target());
    inside.query("begin");
    pooler.signal("QUIT");
    assert_eq!(pooler.wait_exit(PROMPT).code(), Some(0));
    assert_eq!(last_words(&mut inside), ["57P01"]);
    Cluster::shared().at_rest();
}

#[test]
fn int_waits_for_the_servers_that_are_lent() {
    let mut pooler = pooler();
    let mut inside = Raw::login(&pooler.target());
    inside.query("begin");
    let mut other = Raw::login(&pooler.target());
    pooler.signal("INT");
    pooler.logged("SIGINT");
    other.send(&msg::query("select 'too late'"));
    let refused = last_words(&mut other);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(brief(&inside.query("select 1")), "T D C Z(T)");
    assert!(!pooler.has_exited());
    assert_eq!(brief(&inside.query("commit")), "C Z(I)");
    assert_eq!(pooler.wait_exit(PROMPT).code(), Some(0));
}

#[test]
fn hup_reads_the_file_again_and_a_storm_of_it_disturbs_nobody() {
    let pooler = pooler();
    let base = PoolerConfig::for_cluster(Cluster::shared(), 3);
    let size =
        || pooler.show("DATABASES").iter().find(|row| row["name"] == APP).unwrap()["pool_size"].clone();
    let mut raw = Raw::login(&pooler.target());
    raw.query("begin");
    pooler.rewrite(base.clone().set("default_pool_size", "9"));
    pooler.signal("HUP");
    eventually("the new size counts", || size() == "9");
    pooler.rewrite(base.set("default_pool_size", "5"));
    for _ in 0..100 {
        pooler.signal("HUP");
    }
    eventually("the last size counts", || size() == "5");
    assert_eq!(brief(&raw.query("commit")), "C Z(I)");
    pooler.assert_healthy();
}

#[test]
fn usr1_pauses_and_usr2_resumes() {
    let pooler = pooler();
    let mut raw = Raw::login(&pooler.target());
    raw.value("select 1");
    pooler.signal("USR1");
    pooler.logged("SIGUSR1");
    eventually("all servers are closed", || pooler.show("SERVERS").is_empty());
    raw.send(&msg::query("select 'held'"));
    assert!(matches!(raw.next_within(Duration::from_millis(200)), Err(Lost::Timeout)));
    pooler.signal("USR2");
    assert_eq!(raw.until_ready()[1].first(), "held");
}

#[test]
fn f32_a_stopped_process_goes_on_where_it_was() {
    let pooler = pooler();
    let mut inside = Raw::login(&pooler.target());
    inside.query("begin");
    let mut idle = Raw::login(&pooler.target());
    pooler.signal("STOP");
    std::thread::sleep(Duration::from_secs(3));
    pooler.signal("CONT");
    assert_eq!(brief(&inside.query("commit")), "C Z(I)");
    assert_eq!(idle.value("select 1"), "1");
}

//! The tests' own tools, tried against PostgreSQL itself: an oracle that is wrong would prove anything.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{BufRead, BufReader};
use std::time::Duration;

use common::cluster::APP;
use common::fake::{Act, FakeServer, Gate, answers};
use common::stage::Stage;
use common::{Cluster, ClusterOptions, Login, Lost, Raw, brief, msg};

#[test]
fn a_cluster_serves_the_application_role_by_scram() {
    let target = Cluster::shared().target();
    let mut raw = Raw::login(&target);
    assert!(brief(&raw.welcome).starts_with("R R R R S"), "{:?}", raw.welcome);
    assert_eq!(raw.value("select current_user"), APP);
    assert_eq!(raw.parameter("server_encoding").as_deref(), Some("UTF8"));
    assert_eq!(raw.key().len(), 8);
    let wrong = Raw::try_login(&Login::plain(&target.with_user(APP, "wrong"))).err().unwrap();
    assert!(wrong.starts_with("E(FATAL 28P01"), "{wrong}");
}

#[test]
fn each_authentication_method_can_be_had() {
    for (auth, asked) in [("trust", 0), ("password", 3), ("md5", 5)] {
        let cluster = Cluster::start_new(&ClusterOptions { auth, ..ClusterOptions::default() });
        let raw = Raw::login(&cluster.target());
        assert_eq!(raw.welcome[0].body[..4], [0, 0, 0, asked], "{auth}");
    }
}

#[test]
fn a_cluster_survives_stop_and_restart_and_leaves_nothing_behind() {
    let cluster = Cluster::start_new(&ClusterOptions::default());
    cluster.sql_in(APP, "create table kept as select 1 as n");
    cluster.stop("immediate");
    assert!(Raw::connect(&cluster.target().addr()).is_err());
    cluster.start();
    assert_eq!(cluster.sql_in(APP, "select n from kept"), [["1"]]);
    let dir = cluster.dir().to_owned();
    let port = cluster.port();
    drop(cluster);
    assert!(!dir.exists());
    assert!(Raw::connect(&format!("127.0.0.1:{port}")).is_err());
}

#[test]
fn a_cluster_can_require_tls() {
    let cluster = Cluster::start_new(&ClusterOptions { tls: true, ..ClusterOptions::default() });
    let refused = Raw::try_login(&Login::plain(&cluster.target())).err().unwrap();
    assert!(refused.starts_with("E(FATAL 28000"), "{refused}");
    let psql = common::drivers::run_libpq(
        &cluster.program("psql"),
        &common::Target { host: "localhost".to_owned(), ..cluster.target() },
        &["-XAtc", "select ssl from pg_stat_ssl where pid = pg_backend_pid()"],
    );
    assert_eq!(psql.unwrap().trim(), "t");
}

#[test]
fn replies_are_read_in_compact_form() {
    let mut raw = Raw::login(&Cluster::shared().target());
    raw.send(&[msg::run("select $1::int4, null", &[Some("7")]), msg::sync()].concat());
    assert_eq!(brief(&raw.until_ready()), "1 2 D C Z(I)");
    let replies = raw.query("select 1 as a, 'x' as b");
    assert_eq!(format!("{replies:?}"), "[T(a:23,b:25), D(1,x), C(SELECT 1), Z(I)]");
    raw.send_split(&[msg::bind("", "nope", &[]), msg::sync()].concat(), &[1, 4, 5, 9]);
    assert_eq!(brief(&raw.until_ready()), "E(26000) Z(I)");
    assert!(matches!(raw.next_within(Duration::from_millis(20)), Err(Lost::Timeout)));
    raw.send(&msg::terminate());
    assert!(matches!(raw.next(), Err(Lost::Closed)));
}

#[test]
fn a_reset_and_a_half_close_are_told_apart() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap().to_string();
    let mut half = Raw::connect(&addr).unwrap();
    let (mut peer, _) = server.accept().unwrap();
    half.half_close();
    assert_eq!(std::io::Read::read(&mut peer, &mut [0]).unwrap(), 0);
    std::io::Write::write_all(&mut peer, &answers::ready(b'I')).unwrap();
    assert_eq!(brief(&half.until_ready()), "Z(I)");

    let reset = Raw::connect(&addr).unwrap();
    let (mut peer, _) = server.accept().unwrap();
    reset.reset();
    let error = std::io::Read::read(&mut peer, &mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_stage_tells_the_same_story_twice() {
    let target = Cluster::shared().target();
    let script = |s: &mut Stage<'_>| {
        s.query("A", "begin");
        s.query("B", "select 1/0");
        s.silence("A");
        s.say("A", &msg::any(b'~', &[]));
        s.end("A");
    };
    let story = Stage::play(&target, &script);
    assert_eq!(story, Stage::play(&target, &script));
    assert_eq!(story[0], "A: C(BEGIN) Z(T)");
    assert_eq!(story[1], "B: E(ERROR 22012: division by zero) Z(I)");
    assert_eq!(story[2], "A: (silence)");
    assert_eq!(story[3], "A: E(FATAL 08P01: invalid frontend message type 126) (end)");
}

#[test]
fn a_fake_server_plays_its_script() {
    let gate = Gate::default();
    let server = FakeServer::start(vec![
        vec![Act::Welcome, Act::ServeUntil(b'E'), Act::Send(answers::one_row("scripted")), Act::Close],
        vec![Act::Welcome, Act::Await(b'Q'), Act::Pass(gate.clone()), Act::Reset],
        vec![Act::Welcome, Act::Serve],
    ]);
    let mut target = Cluster::shared().target();
    target.port = server.port();
    let mut first = Raw::login(&target);
    first.send(&[msg::run("select 1", &[]), msg::sync()].concat());
    let (said, lost) = first.drain(Duration::from_secs(5));
    assert_eq!(brief(&said), "1 2 T D C", "{lost:?}");
    let mut second = Raw::login(&target);
    second.send(&msg::query("select 2"));
    assert!(matches!(second.next_within(Duration::from_millis(30)), Err(Lost::Timeout)));
    gate.open();
    assert!(matches!(second.next(), Err(Lost::Broken(_))));
    assert_eq!(Raw::login(&target).value("select 3"), "fake");
    common::raw::cancel(&target.addr(), &[0; 8]);
    common::eventually("the cancel is counted", || server.cancels() == 1);
    assert_eq!((server.accepted(), server.seen(b'Q').len()), (3, 2));
}

#[test]
fn a_cluster_ends_with_the_process_that_made_it_even_if_that_is_killed() {
    const NAME: &str = "a_cluster_ends_with_the_process_that_made_it_even_if_that_is_killed";
    if std::env::var_os("HOLD_A_CLUSTER").is_some() {
        let cluster = Cluster::start_new(&ClusterOptions::default());
        println!("\nheld {} {}", cluster.dir().display(), cluster.value("select pg_backend_pid()"));
        std::thread::sleep(Duration::from_mins(2));
    }
    let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env("HOLD_A_CLUSTER", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(holder.stdout.take().unwrap());
    let held = said.lines().map_while(Result::ok).find(|line| line.starts_with("held ")).unwrap();
    let [dir, pid] = held[5..].split(' ').collect::<Vec<_>>()[..] else { panic!("{held}") };
    assert!(std::path::Path::new(dir).exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    let pid = pid.parse().unwrap();
    common::eventually("PostgreSQL and its files are gone", || {
        !std::path::Path::new(dir).exists() && !common::host::alive(pid)
    });
}

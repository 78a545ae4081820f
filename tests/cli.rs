//! The command line: what it prints, what it refuses, and with which status it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::process::{Command, Output};
use std::time::Duration;

use common::pooler::{BINARY, quoted};
use common::{Cluster, Login, Pooler, PoolerConfig, Raw};

fn pooler(args: &[&str]) -> Output {
    Command::new(BINARY).args(args).env_remove("POOLER_URL").output().unwrap()
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

/// Writes a file into a directory of its own.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pooler.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn help_and_version_go_to_standard_output() {
    for flag in ["--help", "-h"] {
        let help = pooler(&[flag]);
        assert_eq!(help.status.code(), Some(0));
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.contains("check") && text.contains("postgres://"), "{text}");
    }
    for flag in ["--version", "-V"] {
        let version = pooler(&[flag]);
        assert_eq!(version.status.code(), Some(0));
        assert!(String::from_utf8(version.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn wrong_command_lines_end_with_two_and_say_what_would_be_right() {
    for args in [&[][..], &["--nonsense"], &["a.toml", "b.toml"], &["check"]] {
        let output = pooler(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", both(&output));
        assert!(output.stdout.is_empty());
        assert!(both(&output).contains("--help"), "{args:?}: {}", both(&output));
    }
}

#[test]
fn check_says_everything_that_is_wrong_and_ends_with_one() {
    let (_dir, path) = file(
        "[pooler]\npool_mode = \"transction\"\nlisten_port = 99999\ndefault_pool_sise = 3\n\n\
         [databases.app]\nhost = \"127.0.0.1\"\npool_size = -1\n",
    );
    let output = pooler(&["check", &path]);
    assert_eq!(output.status.code(), Some(1));
    let said = both(&output);
    for key in ["pool_mode", "listen_port", "default_pool_sise", "pool_size"] {
        assert!(said.contains(key), "{key} is not named:\n{said}");
    }
    let started = pooler(&[&path]);
    assert_eq!(started.status.code(), Some(1), "and it does not start");
}

#[test]
fn check_is_content_with_a_good_file_and_names_a_missing_one() {
    let (_dir, path) = file(&PoolerConfig::empty().database("app", 5432).text());
    let output = pooler(&["check", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let missing = pooler(&["check", "/nonexistent/pooler.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(both(&missing).contains("/nonexistent/pooler.toml"));
}

#[test]
fn a_port_that_is_taken_is_a_clear_failure() {
    let holder = PoolerConfig::empty().database("app", 5432).start();
    let (_dir, path) = file(
        &PoolerConfig::empty().set("listen_port", holder.port().to_string()).database("app", 5432).text(),
    );
    let output = pooler(&[&path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(both(&output).contains(&holder.port().to_string()), "{}", both(&output));
}

#[test]
fn a_unix_socket_is_made_served_and_removed() {
    let cluster = Cluster::shared();
    let dir = tempfile::Builder::new().prefix("ps-").tempdir_in("/tmp").unwrap();
    let config =
        PoolerConfig::for_cluster(cluster, 1).set("unix_socket_dir", quoted(dir.path().to_str().unwrap()));
    let mut pooler = config.start();
    let socket = dir.path().join(format!(".s.PGSQL.{}", pooler.port()));
    let raw = Raw::connect_unix(&socket).unwrap().handshake(&Login::plain(&pooler.target()));
    assert_eq!(raw.unwrap().value("select 1"), "1");
    pooler.signal("TERM");
    assert_eq!(pooler.wait_exit(Duration::from_secs(10)).code(), Some(0));
    assert!(!socket.exists());
}

/// A URL is enough: clients prove themselves by SCRAM with the password of the URL. It listens on 6432, so that port
/// must be free on this machine.
#[test]
fn a_url_is_enough_to_start() {
    let cluster = Cluster::shared();
    let dir = tempfile::Builder::new().prefix("pooler-run-").tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.env("POOLER_URL", cluster.target().url());
    let pooler = Pooler::launch(command, dir, 6432);
    let target = pooler.target();
    let mut raw = Raw::login(&target);
    assert_eq!(raw.welcome[0].body[..4], [0, 0, 0, 10], "SCRAM is asked for");
    assert_eq!(raw.value("select 1"), "1");
    let refused = Raw::try_login(&Login::plain(&target.with_user(&target.user, "wrong"))).err().unwrap();
    assert!(refused.starts_with("E(FATAL 28P01"), "{refused}");
    assert!(Raw::try_login(&Login::plain(&target.with_database("other"))).is_err());
    pooler.assert_healthy();
}

#[test]
fn a_url_that_is_wrong_is_refused_without_its_password() {
    for url in [
        "postgres://app:s3cretword@host:notaport/db",
        "mysql://app:s3cretword@host/db",
        "postgres://:s3cretword@/?x=1",
    ] {
        let output = pooler(&[url]);
        assert_ne!(output.status.code(), Some(0));
        assert!(!both(&output).contains("s3cretword"), "{}", both(&output));
    }
}

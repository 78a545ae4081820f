//! libpq_pipeline, PostgreSQL's test of pipelining in libpq: everything succeeds, and the messages on the wire are
//! those of PostgreSQL, byte counts included. With the system's libpq, and with a newer one that asks for more.
//! The traces of the source are those of its own version; servers of another one are compared with themselves only.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::drivers::{newer_postgres, run};
use crate::common::{Cluster, Target};
use crate::{SUPERUSER, cluster, of_the_suites_version, place, pooler, turn};

/// Rows of the large tests, as PostgreSQL's own build has it.
const ROWS: &str = "700";
/// Servers of the pool: fewer than one for each connection would do, since these come one after the other.
const POOL: u32 = 5;
const DATABASE: &str = "postgres";

/// What one test said on the wire; nothing for those whose messages hang on timing.
type Trace = (String, Option<String>);

/// Runs all tests at a port, the cluster's or a pooler's in front of it, and returns their traces.
fn traces(cluster: &Cluster, port: u16, library: Option<&Path>, options: &str) -> Vec<Trace> {
    let out = out(cluster);
    std::fs::create_dir_all(&out).unwrap();
    let program = place(if of_the_suites_version(cluster) {
        "pipeline/libpq_pipeline"
    } else {
        "pipeline/libpq_pipeline_newer"
    });
    let start = || {
        let mut command = Command::new(&program);
        if let Some(library) = library {
            command.env("LD_LIBRARY_PATH", library);
        }
        command
    };
    let mut list = start();
    list.arg("tests");
    let names = run(list, "libpq_pipeline tests").unwrap();
    assert!(names.lines().count() > 5, "{names}");
    let address = format!("host=127.0.0.1 port={port} user={SUPERUSER} dbname={DATABASE} {options}");
    let one = |name: &str| {
        let mut command = start();
        command.args(["-r", ROWS]);
        let trace = expected(name).is_some().then(|| out.join(name));
        if let Some(trace) = &trace {
            command.arg("-t").arg(trace);
        }
        command.args([name, &address]);
        run(command, &format!("libpq_pipeline {name}")).unwrap_or_else(|e| panic!("{e}"));
        (name.to_owned(), trace.map(|file| std::fs::read_to_string(file).unwrap()))
    };
    names.lines().map(one).collect()
}

/// The trace that PostgreSQL's source expects of a test.
fn expected(name: &str) -> Option<String> {
    std::fs::read_to_string(place("pipeline/traces").join(format!("{name}.trace"))).ok()
}

/// With the system's library, with which the program is compiled, the source knows what has to come of it.
fn straight(library: Option<&Path>, options: &str) -> Vec<Trace> {
    let cluster = cluster();
    let traces = traces(&cluster, cluster.port(), library, options);
    if library.is_none() && of_the_suites_version(&cluster) {
        for (name, trace) in &traces {
            assert_eq!(*trace, expected(name), "{name} straight at PostgreSQL");
        }
    }
    traces
}

fn pooled(mode: &str, library: Option<&Path>, options: &str) -> Vec<Trace> {
    let cluster = cluster();
    let running = pooler(&cluster, mode, DATABASE, POOL).start();
    let traces = traces(&cluster, running.port(), library, options);
    running.assert_healthy();
    traces
}

/// The programs run as the account of the test, which need not be the cluster's.
fn out(cluster: &Cluster) -> PathBuf {
    let Target { port, .. } = cluster.target();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pipeline-{port}"))
}

/// Both modes against a straight run with the same library.
fn compare(library: Option<&Path>, options: &str) {
    let reference = straight(library, options);
    for mode in ["session", "transaction"] {
        for (seen, expected) in pooled(mode, library, options).iter().zip(&reference) {
            assert_eq!(seen, expected, "in {mode} mode");
        }
    }
}

#[test]
fn the_traces_of_libpq_pipeline_are_those_of_postgresql() {
    let _turn = turn();
    compare(None, "");
}

#[test]
fn a_newer_libpq_that_asks_for_protocol_3_2_pipelines_too() {
    let _turn = turn();
    compare(Some(&newer_postgres().join("lib")), "max_protocol_version=3.2");
}

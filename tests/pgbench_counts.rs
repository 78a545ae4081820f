//! What pgbench says it did is what the console says it carried (I24).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use common::cluster::APP;
use common::drivers::run_libpq;
use common::{Cluster, PoolerConfig};

/// Clients of pgbench, and servers of the pool.
const CLIENTS: u64 = 200;
const POOL: u32 = 10;
/// Simple queries with which pgbench itself looks at its tables before it starts: the scale, the partitions.
const PREAMBLE: u64 = 2;

#[test]
fn i24_the_counters_equal_what_pgbench_did() {
    let cluster = Cluster::shared();
    let pgbench = cluster.program("pgbench");
    run_libpq(&pgbench, &cluster.target(), &["-q", "-i", "-s", "1"]).unwrap();
    // A server that moves between workers is given its statements anew, under the names of the other share.
    let pooler = PoolerConfig::for_cluster(cluster, POOL).set("pool_split", "\"off\"").start();

    let clients = CLIENTS.to_string();
    let args = ["-n", "-S", "-M", "prepared", "-c", &clients, "-j", "2", "-T", "10"];
    let said = run_libpq(&pgbench, &pooler.target(), &args).unwrap();
    let processed = number_after(&said, "number of transactions actually processed: ");
    assert!(said.contains("number of failed transactions: 0 (0.000%)"), "{said}");
    assert!(processed > CLIENTS, "too few to prove anything: {said}");

    let count = |column: &str| pooler.number("STATS_TOTALS", ("database", APP), column);
    // Each client prepares its one statement (Parse, Sync) before its first transaction.
    let requests = processed + CLIENTS + PREAMBLE;
    assert_eq!(count("bind_count"), processed);
    assert_eq!(count("client_parse_count"), CLIENTS);
    assert_eq!(count("query_count"), requests);
    assert_eq!(count("xact_count"), requests);
    let parses = count("server_parse_count");
    assert!(
        (1..=u64::from(POOL)).contains(&parses),
        "{parses} Parse messages for {POOL} servers and one text"
    );
    // A Parse of a text that a server has already needs no server.
    let assignments = count("server_assignment_count");
    assert!((processed + PREAMBLE..=requests).contains(&assignments), "{assignments} of {requests}");
    assert!(count("wait_time") > 0, "{CLIENTS} clients on {POOL} servers waited");
    pooler.assert_healthy();
}

#[test]
fn i24_bytes_are_counted_to_the_last_one() {
    let cluster = Cluster::shared();
    let pooler = PoolerConfig::for_cluster(cluster, 1).start();
    let mut raw = common::Raw::login(&pooler.target());
    let count = |column: &str| pooler.number("STATS_TOTALS", ("database", APP), column);
    raw.value("select 1");
    let before = (count("bytes_received"), count("bytes_sent"));
    let asked = common::msg::query("select 'x' from generate_series(1, 100)");
    raw.send(&asked);
    let answered: u64 = raw.until_ready().iter().map(|m| m.body.len() as u64 + 5).sum();
    let after = (count("bytes_received"), count("bytes_sent"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (asked.len() as u64, answered));
}

fn number_after(text: &str, label: &str) -> u64 {
    let rest = text.split(label).nth(1).unwrap_or_else(|| panic!("no {label:?} in {text}"));
    rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

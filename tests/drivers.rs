//! Drivers and tools as they come, in transaction mode, two hundred clients on five servers: not one error. Each is
//! first tried straight at PostgreSQL, where it must succeed too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::path::Path;
use std::sync::{Mutex, OnceLock};

use common::drivers::{run_libpq, run_script};
use common::host::lock;
use common::{Cluster, Pooler, PoolerConfig, Target, eventually};

/// Clients of the pooled run, and of the direct one.
const MANY: usize = 200;
const FEW: usize = 10;
/// Clients of the pooled run if each does a lot.
const SOME: usize = 40;
/// Servers of the pool.
const POOL: u32 = 5;

/// Runs something straight with few clients and pooled with many; one at a time, so that each has the pool alone.
fn straight_and_pooled(name: &str, run: &dyn Fn(&Target, usize) -> Result<String, String>) {
    static TURN: Mutex<()> = Mutex::new(());
    static POOLER: OnceLock<Pooler> = OnceLock::new();
    let _turn = lock(&TURN);
    let cluster = Cluster::shared();
    run(&cluster.target(), FEW).unwrap_or_else(|e| panic!("straight at PostgreSQL: {name}: {e}"));
    let pooler = Pooler::shared(&POOLER, || PoolerConfig::for_cluster(cluster, POOL));
    let outcome = run(&pooler.target(), MANY);
    outcome.unwrap_or_else(|e| panic!("pooled: {name}: {e}\n--- the pooler says ---\n{}", pooler.log()));
    cluster.at_rest();
    // A pool's connection for LISTEN stays a moment longer than its last client.
    eventually("no backends beyond the pool", || cluster.backends().len() <= POOL as usize);
    pooler.assert_healthy();
}

fn script(name: &str, more: &[&str]) {
    straight_and_pooled(name, &|target, clients| {
        let clients = clients.to_string();
        let args: Vec<&str> = std::iter::once(clients.as_str()).chain(more.iter().copied()).collect();
        run_script(name, target, &args)
    });
}

/// Runs something straight and pooled that prints what its clients saw: the same in both places.
fn same_printed(name: &str, run: &dyn Fn(&Target, usize) -> Result<String, String>) -> String {
    let printed: Mutex<Vec<String>> = Mutex::default();
    straight_and_pooled(name, &|target, clients| {
        let said = run(target, clients)?;
        lock(&printed).push(said.clone());
        Ok(said)
    });
    let mut printed = printed.into_inner().unwrap();
    let pooled = printed.pop().unwrap();
    assert_eq!(printed, [&*pooled], "{name}: straight, and pooled");
    pooled
}

/// A script whose clients all tell what they see of the state of their sessions.
fn same_told(name: &str, more: &[&str]) {
    let said = same_printed(name, &|target, clients| {
        let clients = clients.min(SOME).to_string();
        let args: Vec<&str> = std::iter::once(clients.as_str()).chain(more.iter().copied()).collect();
        run_script(name, target, &args)
    });
    assert!(said.lines().count() > 10, "{name} tells hardly anything: {said}");
}

#[test]
fn psycopg() {
    script("psycopg_script.py", &[]);
}

#[test]
fn psycopg2() {
    script("psycopg2_script.py", &[]);
}

#[test]
fn asyncpg() {
    script("asyncpg_script.py", &[]);
}

#[test]
fn sqlalchemy_on_psycopg() {
    script("sqlalchemy_script.py", &["psycopg"]);
}

#[test]
fn sqlalchemy_on_asyncpg() {
    script("sqlalchemy_script.py", &["asyncpg"]);
}

#[test]
fn node_postgres() {
    script("node_script.mjs", &[]);
}

#[test]
fn listen_with_psycopg() {
    script("psycopg_listen.py", &[]);
}

#[test]
fn listen_with_asyncpg() {
    script("asyncpg_listen.py", &[]);
}

#[test]
fn listen_with_node_postgres() {
    script("node_listen.mjs", &[]);
}

#[test]
fn django() {
    same_told("django_script.py", &[]);
}

#[test]
fn sessions_of_psycopg() {
    same_told("psycopg_session.py", &[]);
}

#[test]
fn sessions_of_asyncpg() {
    same_told("asyncpg_session.py", &[]);
}

#[test]
fn sessions_of_sqlalchemy() {
    same_told("sqlalchemy_session.py", &["psycopg"]);
    same_told("sqlalchemy_session.py", &["asyncpg"]);
}

#[test]
fn sessions_of_node_postgres() {
    same_told("node_session.mjs", &[]);
}

#[test]
fn pgbench_in_all_three_modes() {
    let cluster = Cluster::shared();
    let pgbench = cluster.program("pgbench");
    let init = ["-q", "-i", "-s", "1"];
    run_libpq(&pgbench, &cluster.target(), &init).unwrap();
    for mode in ["simple", "extended", "prepared"] {
        straight_and_pooled(&format!("pgbench -M {mode}"), &|target, clients| {
            let clients = clients.to_string();
            // pgbench prepares without letting its thread do anything else, transactions of other clients of that
            // thread included: only a thread for each client keeps it from waiting for itself.
            let threads = if mode == "prepared" { &*clients } else { "2" };
            let args = ["-n", "-M", mode, "-c", &clients, "-j", threads, "-t", "10"];
            let said = run_libpq(&pgbench, target, &args)?;
            let fine = said.contains("number of failed transactions: 0 (0.000%)");
            if fine { Ok(said) } else { Err(said) }
        });
    }
    let money = "select sum(abalance) = sum(delta) from (select sum(abalance) abalance from pgbench_accounts) a, \
                 (select sum(delta) delta from pgbench_history) h";
    assert_eq!(cluster.sql_in(common::cluster::APP, money), [["t"]], "I11: money was made or lost");
    // A connection for each transaction.
    straight_and_pooled("pgbench -C", &|target, clients| {
        let clients = (clients / 10).to_string();
        run_libpq(&pgbench, target, &["-n", "-S", "-C", "-c", &clients, "-j", "2", "-t", "10"])
    });
}

#[test]
fn psql_prints_the_same() {
    let cluster = Cluster::shared();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/psql_script.sql");
    let printed = same_printed("psql", &|target, _| {
        let mut psql = std::process::Command::new(cluster.program("psql"));
        target.libpq_env(&mut psql);
        psql.args(["-X", "-a", "-f"]).arg(&file);
        psql.args(["-v", "VERBOSITY=terse"]);
        common::drivers::run(psql, "psql")
    });
    assert!(printed.contains("knife"), "{printed}");
}

/// The Rust driver: prepared statements, pipelining, transactions, COPY, cancel.
#[test]
fn tokio_postgres() {
    straight_and_pooled("tokio-postgres", &|target, clients| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tasks: Vec<_> = (0..clients).map(|n| tokio::spawn(rust_client(target.clone(), n))).collect();
            for task in tasks {
                task.await.unwrap()?;
            }
            Ok(String::new())
        })
    });
}

async fn rust_client(target: Target, number: usize) -> Result<(), String> {
    let told = |e: tokio_postgres::Error| format!("client {number}: {e:?}");
    let (mut client, connection) =
        tokio_postgres::connect(&target.keywords(), tokio_postgres::NoTls).await.map_err(told)?;
    let driver = tokio::spawn(connection);
    let me = format!("client-{number}");
    let statement = client.prepare("select $1::text, $2::int4 + 1").await.map_err(told)?;
    for n in 0..10_i32 {
        let row = client.query_one(&statement, &[&me, &n]).await.map_err(told)?;
        let seen: (&str, i32) = (row.get(0), row.get(1));
        if seen != (&*me, n + 1) {
            return Err(format!("{me} {n}: got {seen:?}"));
        }
    }
    let own = i32::try_from(number).unwrap();
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&own];
    let one = client.query_one("select 1::int4 + $1", &parameters);
    let two = client.query_one("select 2::int4 + $1", &parameters);
    let three = client.simple_query("select 3; select 4");
    let (one, two, three) = tokio::try_join!(one, two, three).map_err(told)?;
    let pipelined: (i32, i32, usize) = (one.get(0), two.get(0), three.len());
    if (pipelined.0, pipelined.1) != (own + 1, own + 2) {
        return Err(format!("{me}: pipelined {pipelined:?}"));
    }
    let failed = client.query_one("select 1 / $1::int4", &[&0_i32]).await.err();
    if failed.as_ref().and_then(|e| e.code()) != Some(&tokio_postgres::error::SqlState::DIVISION_BY_ZERO) {
        return Err(format!("{me}: {failed:?}"));
    }
    let transaction = client.transaction().await.map_err(told)?;
    transaction.batch_execute("create temp table scratch (n int4) on commit drop").await.map_err(told)?;
    let rows =
        transaction.execute("insert into scratch select generate_series(1, 10)", &[]).await.map_err(told)?;
    let portal = transaction.bind("select n from scratch", &[]).await.map_err(told)?;
    let piece = transaction.query_portal(&portal, 4).await.map_err(told)?;
    transaction.commit().await.map_err(told)?;
    if (rows, piece.len()) != (10, 4) {
        return Err(format!("{me}: {rows} rows, a piece of {}", piece.len()));
    }
    drop((statement, client));
    driver.await.map_err(|e| e.to_string())?.map_err(told)
}

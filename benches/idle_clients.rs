//! How much memory an idle client costs: resident memory of a release-built pooler before, with, and after a crowd.
//!
//! Run by `make bench`. Prints a table and judges nothing: the numbers depend on the machine and its allocator.
//! Each pass has a pooler of its own, and its crowd comes twice: what stays after the first wave is used again by
//! the second, unless it leaks. Run without `--bench` (as `cargo test --all-targets` does) the crowd is small.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/common/mod.rs"]
mod common;

use common::cluster::APP;
use common::{Cluster, ClusterOptions, Pooler, PoolerConfig, Raw, eventually, msg};

/// Clients of a crowd.
const CLIENTS: usize = 2_000;

/// Clients of a crowd when this only has to show that it works.
const FEW_CLIENTS: usize = 50;

/// Clients that come and go before the first reading, so that servers, worker buffers and the console's code are
/// there already and are not counted as the crowd's.
const WARM_UP: usize = 20;

/// Servers of the pool: few, so that the crowd has to share them.
const POOL_SIZE: u32 = 10;

/// Times the crowd comes.
const WAVES: usize = 2;

/// What each client does before it is idle.
struct Pass {
    name: &'static str,
    request: Vec<u8>,
}

/// Resident memory in bytes at the moments that count.
struct Readings {
    /// Nobody there.
    before: u64,
    /// All have their answers; the console has not been asked.
    answered: u64,
    /// The console has told that all are idle; its report, a row per client, has been made by then.
    idle: u64,
    /// All have left.
    left: u64,
}

fn main() {
    let crowd = if std::env::args().any(|arg| arg == "--bench") { CLIENTS } else { FEW_CLIENTS };
    let cluster = Cluster::start_new(&ClusterOptions::default());
    println!("\nIdle clients: resident memory (VmRSS) of the pooler, bytes per client");
    println!("{}\n{}", machine(), jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %Z"));
    println!(
        "\n{:<20} {:>4} {:>8} {:>8} {:>11} {:>9} {:>9} {:>9} {:>11}",
        "pass", "wave", "clients", "workers", "before, kB", "answered", "idle", "left", "left, kB"
    );
    for pass in passes() {
        let pooler = config(&cluster, crowd).start();
        visit(&pooler, WARM_UP, &pass);
        let base = resident(&pooler);
        for wave in 1..=WAVES {
            let readings = visit(&pooler, crowd, &pass);
            print_row(&pooler, pass.name, (wave, crowd), &readings, base);
        }
    }
    println!(
        "\nanswered  each client has its answer: what an idle client costs\n\
         idle      the same after the console has shown that no client is linked or waits\n\
         left      what remains after all have left; all three are relative to `before` of wave 1"
    );
}

fn passes() -> [Pass; 2] {
    let prepared =
        [msg::parse("s1", "select $1::int4"), msg::bind("", "s1", &[Some("1")]), msg::execute("", 0)];
    [
        Pass { name: "plain", request: msg::query("select 1") },
        Pass { name: "prepared statement", request: [prepared.concat(), msg::sync()].concat() },
    ]
}

fn config(cluster: &Cluster, crowd: usize) -> PoolerConfig {
    // A few places more for the console.
    PoolerConfig::for_cluster(cluster, POOL_SIZE).set("max_client_conn", (crowd + 10).to_string())
}

/// A crowd comes, asks all at once, is idle, and leaves.
fn visit(pooler: &Pooler, crowd: usize, pass: &Pass) -> Readings {
    let before = resident(pooler);
    let target = pooler.target();
    let mut clients: Vec<Raw> = (0..crowd).map(|_| Raw::login(&target)).collect();
    for client in &mut clients {
        client.send(&pass.request);
    }
    for client in &mut clients {
        let replies = client.until_ready();
        let has_row = replies.iter().any(|reply| reply.first() == "1");
        assert!(has_row, "{}: {replies:?}", pass.name);
    }
    let answered = resident(pooler);
    wait_for_rest(pooler, crowd);
    let idle = resident(pooler);
    clients.into_iter().for_each(Raw::terminate);
    wait_for_rest(pooler, 0);
    Readings { before, answered, idle, left: resident(pooler) }
}

/// Waits until so many clients are there, and none of them has a server or waits for one.
fn wait_for_rest(pooler: &Pooler, clients: usize) {
    eventually("every client idle", || {
        let pools = pooler.show("POOLS");
        let sum = |column: &str| -> usize {
            let rows = pools.iter().filter(|pool| pool["database"] == APP);
            rows.map(|pool| pool[column].parse::<usize>().unwrap()).sum()
        };
        sum("cl_active") == clients && sum("cl_waiting") == 0 && sum("sv_active") == 0
    });
}

fn print_row(pooler: &Pooler, pass: &str, (wave, crowd): (usize, usize), readings: &Readings, base: u64) {
    let each = |bytes: u64| {
        let grown = i64::try_from(bytes).unwrap() - i64::try_from(base).unwrap();
        grown / i64::try_from(crowd).unwrap()
    };
    let Readings { before, answered, idle, left } = readings;
    println!(
        "{pass:<20} {wave:>4} {crowd:>8} {:>8} {:>11} {:>9} {:>9} {:>9} {:>11}",
        workers(pooler),
        before / 1024,
        each(*answered),
        each(*idle),
        each(*left),
        left / 1024
    );
}

/// Resident memory of the pooler, in bytes.
fn resident(pooler: &Pooler) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pooler.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kilobytes * 1024
}

/// Data threads of the pooler, by their names.
fn workers(pooler: &Pooler) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pooler.pid())).unwrap();
    let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| is_worker(name.trim())).count()
}

fn is_worker(thread: &str) -> bool {
    let number = thread.strip_prefix("worker-");
    number.is_some_and(|number| number.parse::<usize>().is_ok())
}

/// Kernel, processor, cores.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("Linux {}, {}, {cores} cores", kernel.trim(), model.unwrap_or("unknown processor"))
}

//! pgbench as a client: one run of it, its count, its rate, its latencies.

use std::path::PathBuf;

use crate::common::drivers::run;
use crate::contender::Contender;
use crate::load::Ask;
use crate::measure::{Length, Outcome};
use crate::options::Options;
use crate::program::percentile;
use crate::world::World;

/// What each transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// One row of pgbench_accounts by its key, pgbench's own `-S`.
    Select,
    /// `SELECT 1`.
    One,
}

/// A run to make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pgbench<'a> {
    /// Role that logs in.
    pub(crate) user: &'a str,
    /// The transaction.
    pub(crate) script: Script,
    /// The protocol.
    pub(crate) ask: Ask,
    /// Connections at once.
    pub(crate) clients: usize,
    /// Whether each transaction has a connection of its own.
    pub(crate) reconnect: bool,
}

impl Pgbench<'_> {
    /// Runs it against a contender.
    pub(crate) fn run(&self, world: &World, contender: &Contender, length: Length) -> Outcome {
        let logs = tempfile::tempdir_in(Options::results()).unwrap();
        let mut command = contender.cpus().command(&world.cluster.program("pgbench"));
        contender.target.with_user(self.user, &contender.target.password).libpq_env(&mut command);
        command.env("PGSSLMODE", contender.sslmode()).env("PGGSSENCMODE", "disable");
        // Connecting blocks a thread of pgbench: connections at once need as many.
        let threads = if self.reconnect { self.clients } else { 1 };
        command.args([
            "-n",
            "-j",
            &threads.to_string(),
            "-M",
            self.ask.name(),
            "-c",
            &self.clients.to_string(),
        ]);
        command.args(["-l", "--log-prefix"]).arg(logs.path().join("log"));
        match self.script {
            Script::Select => command.arg("-S"),
            Script::One => {
                let script = logs.path().join("script");
                std::fs::write(&script, "SELECT 1;\n").unwrap();
                command.arg("-f").arg(script)
            }
        };
        if self.reconnect {
            command.arg("-C");
        }
        match length {
            Length::Each(n) => command.args(["-t", &n.to_string()]),
            Length::Seconds(n) => command.args(["-T", &n.to_string()]),
        };
        let said = run(command, "pgbench").unwrap_or_else(|e| panic!("{}: {e}", contender.name));
        let units = number_after(&said, "number of transactions actually processed: ");
        let tps = number_after(&said, "tps = ");
        let mut times = latencies(logs.path().to_path_buf());
        times.sort_unstable();
        #[allow(clippy::cast_precision_loss)]
        let us = |share: f64| percentile(&times, share) as f64;
        // With a connection per transaction, pgbench starts its clock after the login.
        let latency_us = (!self.reconnect).then(|| (us(0.5), us(0.99)));
        Outcome { units, seconds: units / tps, latency_us }
    }
}

/// Microseconds of each transaction: the third column of pgbench's log.
fn latencies(dir: PathBuf) -> Vec<u64> {
    let files = std::fs::read_dir(dir).unwrap().flatten();
    let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("log"));
    let texts: Vec<String> = logs.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect();
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split(' ').nth(2)?.parse().ok())
        .collect()
}

fn number_after(text: &str, words: &str) -> f64 {
    let at = text.find(words).unwrap_or_else(|| panic!("no {words:?} in {text}")) + words.len();
    let digits: String = text[at..].chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().unwrap()
}

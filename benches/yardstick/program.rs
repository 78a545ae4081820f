//! This binary run as one of its own programs.

use std::process::Command;

use crate::common::drivers::run;
use crate::process::Cpus;

/// A command that runs one of the programs of `main`.
pub(crate) fn command(cpus: Cpus, name: &str, args: &[&str]) -> Command {
    let mut command = cpus.command(&std::env::current_exe().unwrap());
    command.arg(name).args(args);
    command
}

/// Runs one to its end; what it printed, as words `name=value`.
pub(crate) fn report(cpus: Cpus, name: &str, args: &[&str]) -> Report {
    Report(run(command(cpus, name, args), name).unwrap_or_else(|e| panic!("{e}")))
}

/// What a program reported.
pub(crate) struct Report(String);

impl Report {
    /// The number of that name.
    pub(crate) fn number(&self, name: &str) -> f64 {
        let words = self.0.split_whitespace().filter_map(|word| word.split_once('='));
        let value = words.filter(|(n, _)| *n == name).map(|(_, value)| value).next_back();
        value.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }
}

/// The value at this share of a sorted list.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}

//! Facts that a reader needs beside the numbers: the machine, the versions, how it was run.

use std::path::Path;
use std::process::Command;

use crate::contender::version;
use crate::count::Tools;
use crate::options::Options;

/// The top of the report, as a Markdown list.
pub(crate) fn describe(options: &Options) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let is_virtual = info.lines().any(|line| line.starts_with("flags") && line.contains(" hypervisor"));
    let governor = read(&format!("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", options.cpu));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let facts = [
        format!("{}, {:?} run", jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %Z"), options.size),
        format!(
            "{}, {cores} cores{}, governor {}, Linux {}",
            model.unwrap_or("unknown processor"),
            if is_virtual { " (virtual machine)" } else { "" },
            if governor.is_empty() { "unknown" } else { &governor },
            read("/proc/sys/kernel/osrelease")
        ),
        format!("load average at the start {}", read("/proc/loadavg")),
        format!("{} ({})", said(&options.pooler, "--version"), options.pooler.display()),
        format!("{}, {}", version(options).0, said(Path::new("pgbench"), "--version")),
        format!("{} rounds of {} s, contenders in turn in each round", options.rounds, options.seconds),
        format!(
            "pinned to processor {}: poolers, clients and servers together, except where a table says otherwise",
            options.cpu
        ),
        Tools::find(options).describe(),
    ];
    facts.map(|fact| format!("- {fact}")).join("\n")
}

fn said(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map_or_else(
        |e| format!("{}: {e}", program.display()),
        |output| String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned(),
    )
}

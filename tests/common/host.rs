//! Small things about this machine: ports, users, bounded waiting, and the address of a server under test.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long [`eventually`] waits: far above what a loaded machine needs, so that only a real hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Where a test sends its statements: PostgreSQL itself or Pooler. Scripts take it as an argument, so that the
/// direct run can serve as the oracle for the pooled one.
#[derive(Debug, Clone)]
pub struct Target {
    /// Numeric address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database to ask for.
    pub database: String,
    /// Login name.
    pub user: String,
    /// Password; empty for none.
    pub password: String,
}

impl Target {
    /// `postgres://user:password@host:port/database`; names and passwords of tests need no escaping.
    pub fn url(&self) -> String {
        let Self { host, port, database, user, password } = self;
        format!("postgres://{user}:{password}@{host}:{port}/{database}")
    }

    /// The same as libpq keywords.
    pub fn keywords(&self) -> String {
        let Self { host, port, database, user, password } = self;
        format!("host={host} port={port} dbname={database} user={user} password={password}")
    }

    /// `host:port`.
    pub fn addr(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The same server, another database.
    pub fn with_database(&self, database: &str) -> Self {
        Self { database: database.to_owned(), ..self.clone() }
    }

    /// The same server, another login.
    pub fn with_user(&self, user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned(), ..self.clone() }
    }

    /// Sets libpq's environment, so that `psql` and `pgbench` need no arguments for it.
    pub fn libpq_env(&self, command: &mut Command) {
        command
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGDATABASE", &self.database)
            .env("PGUSER", &self.user)
            .env("PGPASSWORD", &self.password)
            .env("PGCONNECT_TIMEOUT", "20");
    }
}

/// Whether this process is root: PostgreSQL must then run under another account.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A command prefix that runs the rest as the account PostgreSQL may run under.
pub fn unprivileged() -> Command {
    if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
        command
    } else {
        Command::new("env")
    }
}

/// A TCP port nobody listens on. From below the range of outgoing connections, so that none of these can take it
/// between now and the moment it is used; never given to two tests, in this process or in another: the name of an
/// abstract socket stands for the port and is held as long as this process lives.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let mut held = lock(&HELD);
    let start = u16::try_from(std::process::id() % 1_500).unwrap() * 13;
    for step in 0..20_000_u16 {
        let port = 12_000 + (start + step) % 20_000;
        let name = SocketAddr::from_abstract_name(format!("pooler-test-port-{port}")).unwrap();
        let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            held.push(claim);
            return port;
        }
    }
    panic!("no free port between 12000 and 32000");
}

/// Waits until `check` holds, asking often, for at most [`PATIENCE`]; panics with `what` otherwise.
pub fn eventually(what: &str, check: impl FnMut() -> bool) {
    within(PATIENCE, what, check);
}

/// [`eventually`] with a bound that is itself the promise under test.
pub fn within(bound: Duration, what: &str, mut check: impl FnMut() -> bool) {
    let end = Instant::now() + bound;
    while !check() {
        assert!(Instant::now() < end, "not within {bound:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Locks, also after a panic elsewhere: the failing test has spoken already.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a signal by name (`TERM`, `INT`, …) to one process.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.is_ok_and(|s| s.success()), "kill -{name} {pid} failed");
}

/// Whether a process exists.
pub fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

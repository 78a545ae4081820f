//! The pooler as a child process: its configuration, its start, its log, its end.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use super::cluster::{APP, Cluster, PASSWORD};
use super::guard::Guard;
use super::host::{PATIENCE, Target, eventually, free_port, lock, signal};
use super::raw::Raw;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_pooler");

/// Lines of log that a failing test shows.
const LOG_TAIL: usize = 60;

/// A configuration in the making.
#[derive(Debug, Clone)]
pub struct PoolerConfig {
    pooler: Vec<(String, String)>,
    tables: Vec<(String, Vec<(String, String)>)>,
}

/// A TOML string.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl PoolerConfig {
    /// Nothing but an address: for tests that write the rest themselves.
    pub fn empty() -> Self {
        let bare = Self { pooler: Vec::new(), tables: Vec::new() };
        bare.set("listen_addr", quoted("127.0.0.1")).set("unix_socket_dir", quoted(""))
    }

    /// Transaction mode in front of a cluster: database and user [`APP`] with the cluster's password, trust towards
    /// clients, the console open to `admin`, a pool of `size`, any part of which may be pinned: pools here are tiny.
    pub fn for_cluster(cluster: &Cluster, size: u32) -> Self {
        Self::for_port(cluster.port(), size)
    }

    /// The same in front of whatever listens on this port.
    pub fn for_port(port: u16, size: u32) -> Self {
        Self::empty()
            .set("pool_mode", quoted("transaction"))
            .set("auth_type", quoted("trust"))
            .set("admin_users", "[\"admin\"]")
            .set("max_client_conn", "2000")
            .set("default_pool_size", size.to_string())
            .set("max_pinned_ratio", "1")
            .table("users.admin", &[("password", quoted(PASSWORD))])
            .table(&format!("users.{APP}"), &[("password", quoted(PASSWORD))])
            .database(APP, port)
    }

    /// Sets a key of `[pooler]`; the value is TOML as it stands.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.pooler.retain(|(k, _)| k != key);
        self.pooler.push((key.to_owned(), value.into()));
        self
    }

    /// Sets a whole table such as `users.bob`, in place of an earlier one of that name.
    #[must_use]
    pub fn table(mut self, name: &str, entries: &[(&str, String)]) -> Self {
        self.tables.retain(|(n, _)| n != name);
        let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        self.tables.push((name.to_owned(), entries));
        self
    }

    /// A database entry of this name on a local port; `dbname` as the name.
    #[must_use]
    pub fn database(self, name: &str, port: u16) -> Self {
        let entries = [("host", quoted("127.0.0.1")), ("port", port.to_string()), ("dbname", quoted(name))];
        self.table(&format!("databases.{name}"), &entries)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::from("[pooler]\n");
        for (key, value) in &self.pooler {
            let _ = writeln!(text, "{key} = {value}");
        }
        for (name, entries) in &self.tables {
            let _ = writeln!(text, "\n[{name}]");
            for (key, value) in entries {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }

    /// Starts a pooler with this configuration and waits until it listens.
    pub fn start(self) -> Pooler {
        Pooler::start(self)
    }
}

/// A running pooler. Dropping it kills the process, and fails the test if the log tells of a panic.
pub struct Pooler {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
    guard: Option<Guard>,
}

impl Pooler {
    /// A pooler of [`PoolerConfig::for_cluster`] that all tests of a binary share, kept in a static of the caller.
    pub fn shared(cell: &'static OnceLock<Self>, make: impl FnOnce() -> PoolerConfig) -> &'static Self {
        cell.get_or_init(|| make().start())
    }

    /// Writes the file, starts the binary, waits for its word that it is up.
    pub fn start(config: PoolerConfig) -> Self {
        let port = free_port();
        let config = config.set("listen_port", port.to_string());
        let dir = tempfile::Builder::new().prefix("pooler-run-").tempdir().unwrap();
        let file = dir.path().join("pooler.toml");
        std::fs::write(&file, config.text()).unwrap();
        let mut command = Command::new(BINARY);
        command.arg(&file);
        Self::launch(command, dir, port)
    }

    /// Starts any command line of the binary that will listen on `port`.
    pub fn launch(mut command: Command, dir: tempfile::TempDir, port: u16) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{BINARY}: {e}"));
        let pid = child.id().to_string();
        let place = dir.path().to_str().unwrap();
        let guard = Guard::new(Command::new("env"), "kill -KILL \"$1\"\nrm -rf \"$2\"", &[&pid, place]);
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (up_sender, up) = mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains("process up") {
                    let _ = up_sender.send(());
                }
                lock(&kept).push(line);
            }
        });
        let pooler = Self { child, dir, port, log, guard: Some(guard) };
        let is_up = up.recv_timeout(PATIENCE).is_ok();
        assert!(is_up, "the pooler did not come up; it said:\n{}", pooler.log());
        pooler
    }

    /// Where clients log in: database and role [`APP`].
    pub fn target(&self) -> Target {
        Target {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            database: APP.to_owned(),
            user: APP.to_owned(),
            password: PASSWORD.to_owned(),
        }
    }

    /// The console: database `pooler`, user `admin`.
    pub fn console_target(&self) -> Target {
        self.target().with_database("pooler").with_user("admin", PASSWORD)
    }

    /// A console connection.
    pub fn console(&self) -> Raw {
        Raw::login(&self.console_target())
    }

    /// A console report as maps from column to value.
    pub fn show(&self, view: &str) -> Vec<std::collections::BTreeMap<String, String>> {
        let replies = self.console().query(&format!("SHOW {view}"));
        let columns = replies.iter().find(|m| m.tag == b'T').map_or_else(Vec::new, super::Message::columns);
        let names: Vec<&str> = columns.iter().map(|c| c.split(':').next().unwrap()).collect();
        let rows = replies.iter().filter(|m| m.tag == b'D').map(super::Message::row);
        rows.map(|row| {
            let values = row.into_iter().map(|v| String::from_utf8(v.unwrap_or_default()).unwrap());
            names.iter().map(|&n| n.to_owned()).zip(values).collect()
        })
        .collect()
    }

    /// One number of a report: the first row whose `key` column is `name`; 0 without such a row.
    pub fn number(&self, view: &str, key: (&str, &str), column: &str) -> u64 {
        let rows = self.show(view);
        let row = rows.iter().find(|row| row.get(key.0).is_some_and(|v| v == key.1));
        row.map_or(0, |row| row[column].parse().unwrap_or_else(|_| panic!("{view}.{column}: {row:?}")))
    }

    /// The TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The directory of its configuration file; tests may put files of their own there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("pooler.toml")
    }

    /// Replaces the configuration file (keeping the port); a reload makes it count.
    pub fn rewrite(&self, config: PoolerConfig) {
        let text = config.set("listen_port", self.port.to_string()).text();
        std::fs::write(self.config_file(), text).unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// All that it has logged.
    pub fn log(&self) -> String {
        lock(&self.log).join("\n")
    }

    /// Waits until the log contains a text.
    pub fn logged(&self, text: &str) {
        eventually(&format!("log line {text:?}"), || self.log().contains(text));
    }

    /// Waits for the process to end by itself.
    pub fn wait_exit(&mut self, bound: Duration) -> ExitStatus {
        let end = Instant::now() + bound;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running after {bound:?}; it said:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has ended.
    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Fails if the log tells of a panic or of a broken invariant, or carries the tests' password.
    pub fn assert_healthy(&self) {
        let log = self.log();
        assert!(!log.contains("panicked at"), "the pooler panicked:\n{log}");
        assert!(!log.contains(PASSWORD), "a secret is in the log:\n{log}");
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(guard) = self.guard.take() {
            guard.disarm();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(LOG_TAIL);
            eprintln!(
                "--- the last of {} lines of the pooler's log ---\n{}",
                lines.len(),
                lines[last..].join("\n")
            );
        } else {
            self.assert_healthy();
        }
    }
}

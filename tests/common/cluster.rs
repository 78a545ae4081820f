//! PostgreSQL clusters of a test's own: made by initdb in a private directory, gone with the test process.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use super::certs::Certs;
use super::guard::Guard;
use super::host::{Target, alive, eventually, free_port, is_root, lock, unprivileged};
use super::raw::{Login, Raw};

/// Name of the database, of the role that tests use, and that role's password.
pub const APP: &str = "app";
/// Password of every role the cluster makes; a marker that must never turn up in a log.
pub const PASSWORD: &str = "Zq7-marker-secret";

/// Names an installation for every cluster that does not ask for one: any test can be tried with another version.
const INSTALLATION: &str = "TEST_POSTGRES";

/// How a cluster differs from the default one.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Method in pg_hba.conf for TCP: `trust`, `md5`, `scram-sha-256`, `password`.
    pub auth: &'static str,
    /// Serve TLS, with certificates of its own.
    pub tls: bool,
    /// Further lines of postgresql.conf.
    pub settings: Vec<(&'static str, String)>,
    /// An installation other than the newest of the system: the directory with its `bin`, `lib` and `share`.
    pub installation: Option<PathBuf>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self { auth: "scram-sha-256", tls: false, settings: Vec::new(), installation: None }
    }
}

/// A running PostgreSQL with the database [`APP`], owned by the role [`APP`].
pub struct Cluster {
    dir: PathBuf,
    bin: PathBuf,
    port: u16,
    /// TLS files, if it serves TLS.
    pub certs: Option<Certs>,
    admin: Mutex<Option<Raw>>,
    _guard: Guard,
}

impl Cluster {
    /// The cluster that tests of one binary share, with default options. It lives as long as the test process:
    /// its guard, not a `Drop`, ends it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_new(&ClusterOptions::default()))
    }

    /// Makes and starts a cluster.
    pub fn start_new(options: &ClusterOptions) -> Self {
        static SEQUENCE: AtomicU32 = AtomicU32::new(0);
        remove_leftovers();
        let number = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        // Short, because the path of a Unix socket has about a hundred bytes; and readable by another account.
        let dir = PathBuf::from(format!("/tmp/pooler-test-{}-{number}", std::process::id()));
        run(unprivileged().arg("mkdir").arg("-m").arg("0755").arg(&dir), "mkdir");
        let from_outside = std::env::var_os(INSTALLATION).map(PathBuf::from);
        let bin = options.installation.as_ref().or(from_outside.as_ref()).map_or_else(newest_bin, |from| {
            // A copy, because the account PostgreSQL runs under need not be able to read where it comes from.
            bring(from, &dir.join("installation"));
            dir.join("installation/bin")
        });
        let stop = "while [ -f \"$1/data/postmaster.pid\" ]; do \"$2/pg_ctl\" -D \"$1/data\" -m immediate stop || sleep 0.2; done\nrm -rf \"$1\"";
        let guard = Guard::new(unprivileged(), stop, &[path(&dir), path(&bin)]);
        let mut cluster =
            Self { dir, bin, port: free_port(), certs: None, admin: Mutex::new(None), _guard: guard };
        cluster.initialise(options);
        cluster.start();
        cluster.sql(&format!("create role {APP} login password '{PASSWORD}' valid until 'infinity'"));
        cluster.sql(&format!("create database {APP} owner {APP}"));
        cluster
    }

    fn initialise(&mut self, options: &ClusterOptions) {
        let mut initdb = unprivileged();
        initdb.arg(self.bin.join("initdb")).args(["-D", path(&self.data()), "-U", "postgres", "-A", "trust"]);
        run(initdb.args(["-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"]), "initdb");
        let encryption = if options.auth == "md5" { "md5" } else { "scram-sha-256" };
        let mut conf = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nmax_connections = 300\n\
             fsync = off\nfull_page_writes = off\nshared_buffers = '32MB'\n\
             password_encryption = '{encryption}'\nlog_line_prefix = '%m [%p] %u@%d '\n",
            self.port,
            self.dir.display()
        );
        for (name, value) in &options.settings {
            let _ = writeln!(conf, "{name} = '{value}'");
        }
        let mut host = "host";
        if options.tls {
            self.certs = Some(Certs::generate(&self.dir, "postgres"));
            let files = ["ca.crt", "server.crt", "server.key"].map(|f| self.dir.join(f));
            if is_root() {
                run(Command::new("chown").arg("postgres:postgres").args(&files), "chown");
            }
            let [_, cert, key] = &files;
            let _ = writeln!(
                conf,
                "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'",
                cert.display(),
                key.display()
            );
            host = "hostssl";
        }
        self.write("data/postgresql.auto.conf", &conf);
        let auth = options.auth;
        self.write(
            "data/pg_hba.conf",
            &format!(
                "local all all trust\n{host} all all 127.0.0.1/32 {auth}\n{host} replication all 127.0.0.1/32 {auth}\n"
            ),
        );
    }

    /// Writes a file that PostgreSQL reads; `name` is relative to the cluster's directory.
    pub fn write(&self, name: &str, text: &str) {
        let file = self.dir.join(name);
        std::fs::write(&file, text).unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres:postgres").arg(&file), "chown");
        }
    }

    /// Copies a directory into the cluster's, for PostgreSQL to read and write; returns where it is.
    pub fn bring(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.dir.join(name);
        bring(from, &to);
        to
    }

    /// Starts a stopped cluster and waits until it accepts.
    pub fn start(&self) {
        let log = self.dir.join("log");
        self.pg_ctl(&["-l", path(&log), "-w", "-t", "60", "start"]);
    }

    /// Stops it: `fast` or `immediate`.
    pub fn stop(&self, mode: &str) {
        *lock(&self.admin) = None;
        self.pg_ctl(&["-m", mode, "-w", "stop"]);
    }

    /// Stop and start.
    pub fn restart(&self, mode: &str) {
        self.stop(mode);
        self.start();
    }

    /// Makes it read its files again.
    pub fn reload(&self) {
        self.pg_ctl(&["reload"]);
    }

    fn pg_ctl(&self, args: &[&str]) {
        let mut command = unprivileged();
        command.arg(self.bin.join("pg_ctl")).args(["-s", "-D", path(&self.data())]).args(args);
        // A daemon that keeps the test's standard output open would make `cargo test` wait for it.
        command.stdout(std::process::Stdio::null());
        let done = command.status().expect("pg_ctl");
        assert!(done.success(), "pg_ctl {args:?} failed; PostgreSQL says:\n{}", self.log());
    }

    /// All that the server has logged.
    pub fn log(&self) -> String {
        std::fs::read(self.dir.join("log"))
            .map_or_else(|e| e.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The cluster's directory; tests may put files of their own there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// A program such as `psql`: of this PostgreSQL's version, or, if its installation lacks it, of the system's.
    pub fn program(&self, name: &str) -> PathBuf {
        let own = self.bin.join(name);
        if own.exists() { own } else { newest_bin().join(name) }
    }

    /// The application's way in: role and database [`APP`].
    pub fn target(&self) -> Target {
        Target {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            database: APP.to_owned(),
            user: APP.to_owned(),
            password: PASSWORD.to_owned(),
        }
    }

    /// Runs SQL as the superuser in the `postgres` database, over one kept connection; rows as text.
    pub fn sql(&self, sql: &str) -> Vec<Vec<String>> {
        let mut admin = lock(&self.admin);
        rows(admin.get_or_insert_with(|| self.superuser("postgres")), sql)
    }

    /// The same in another database, over a connection of its own.
    pub fn sql_in(&self, database: &str, sql: &str) -> Vec<Vec<String>> {
        rows(&mut self.superuser(database), sql)
    }

    /// First value of a query by the superuser.
    pub fn value(&self, sql: &str) -> String {
        self.sql(sql).into_iter().flatten().next().unwrap_or_default()
    }

    /// A superuser connection over the Unix socket.
    pub fn superuser(&self, database: &str) -> Raw {
        let target = self.target().with_database(database).with_user("postgres", "");
        Raw::connect_unix(&self.dir.join(format!(".s.PGSQL.{}", self.port)))
            .map_err(|e| e.to_string())
            .and_then(|raw| raw.handshake(&Login::plain(&target)))
            .unwrap_or_else(|e| panic!("superuser login: {e}; PostgreSQL says:\n{}", self.log()))
    }

    /// Backends of the application role, as (pid, state).
    pub fn backends(&self) -> Vec<(String, String)> {
        self.sql(&format!(
            "select pid, coalesce(state, '') from pg_stat_activity where usename = '{APP}' order by pid"
        ))
        .into_iter()
        .map(|mut row| (row.remove(0), row.remove(0)))
        .collect()
    }

    /// Waits until no backend of the application role is in a transaction or runs anything.
    pub fn at_rest(&self) {
        eventually("every backend idle", || self.backends().iter().all(|(_, state)| state == "idle"));
    }
}

fn rows(raw: &mut Raw, sql: &str) -> Vec<Vec<String>> {
    let replies = raw.query(sql);
    assert!(replies.iter().all(|m| m.tag != b'E'), "{sql}: {replies:?}");
    let text = |value: Option<Vec<u8>>| String::from_utf8_lossy(&value.unwrap_or_default()).into_owned();
    replies.iter().filter(|m| m.tag == b'D').map(|m| m.row().into_iter().map(text).collect()).collect()
}

fn run(command: &mut Command, what: &str) {
    let output = command.output().unwrap_or_else(|e| panic!("{what}: {e}; run `make test`"));
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

fn bring(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-r").arg(from).arg(to), "cp");
    if is_root() {
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(to), "chown");
    }
}

fn path(p: &Path) -> &str {
    p.to_str().unwrap()
}

/// The newest installed PostgreSQL.
fn newest_bin() -> PathBuf {
    let root = Path::new("/usr/lib/postgresql");
    let installed = std::fs::read_dir(root).into_iter().flatten().flatten();
    installed
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|major| root.join(format!("{major}/bin/initdb")).exists())
        .max()
        .map(|major| root.join(format!("{major}/bin")))
        .expect("no PostgreSQL under /usr/lib/postgresql; run `make test`, which installs it")
}

/// Removes directories of test processes that are gone together with their guards (a machine that was switched
/// off, for instance).
fn remove_leftovers() {
    for entry in std::fs::read_dir("/tmp").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|n| n.strip_prefix("pooler-test-")).and_then(|n| n.split('-').next());
        let Some(owner) = owner.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !alive(owner) && !entry.path().join("data/postmaster.pid").exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

//! The contenders: one and the same setup said in PgBouncer's words, in Pooler's, and not at all.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::certs::Certs;
use crate::common::cluster::{APP, PASSWORD};
use crate::common::host::{Target, free_port, unprivileged, within};
use crate::options::Options;
use crate::process::{Cpus, Process};
use crate::world::World;

/// Clients that either pooler lets in.
const MAX_CLIENTS: u32 = 12_000;

/// Longest start: under a tool that counts, OpenSSL alone takes half a minute on a busy machine.
const START: Duration = Duration::from_mins(3);

/// What stands behind the pooler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// PostgreSQL over TCP.
    Postgres,
    /// PostgreSQL over its Unix socket.
    Socket,
    /// A server on this port that answers at once.
    Fake(u16),
}

/// How both poolers are set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Servers of the pool.
    pub(crate) pool: u32,
    /// Session mode for PgBouncer, which then passes statement names through.
    pub(crate) session: bool,
    /// How clients prove who they are, in the words of both.
    pub(crate) auth: &'static str,
    /// TLS towards clients.
    pub(crate) tls: Option<Certs>,
    /// What stands behind.
    pub(crate) backend: Backend,
    /// PgBouncer's buffer size, if it is not its default.
    pub(crate) pkt_buf: Option<u32>,
    /// Data threads of Pooler.
    pub(crate) workers: u32,
    /// Whether its workers share the pool.
    pub(crate) split: bool,
    /// Where it runs.
    pub(crate) cpus: Cpus,
    /// A program that runs the pooler and counts.
    pub(crate) tool: Vec<String>,
}

/// Who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody: clients go to the server itself.
    None,
    /// PgBouncer.
    PgBouncer,
    /// Pooler.
    Pooler,
}

/// One that takes part.
pub(crate) struct Contender {
    /// Its name in tables.
    pub(crate) name: String,
    /// The pooler; there may be none.
    pub(crate) process: Option<Process>,
    /// Where clients go.
    pub(crate) target: Target,
    kind: Kind,
    setup: Setup,
    dir: Option<tempfile::TempDir>,
}

impl Contender {
    /// Starts one.
    pub(crate) fn start(world: &World, name: &str, kind: Kind, setup: &Setup) -> Self {
        let mut target = world.cluster.target();
        let mut contender = |process, dir, port| {
            target.port = port;
            let (name, setup) = (name.to_owned(), setup.clone());
            Self { name, process, target: target.clone(), kind, setup, dir }
        };
        if kind == Kind::None {
            let port = match setup.backend {
                Backend::Postgres | Backend::Socket => world.cluster.port(),
                Backend::Fake(port) => port,
            };
            return contender(None, None, port);
        }
        let port = free_port();
        let dir = tempfile::Builder::new().prefix("pooler-bench-").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let command = match kind {
            Kind::PgBouncer => setup.pgbouncer(world, dir.path(), port),
            Kind::Pooler | Kind::None => setup.pooler(world, dir.path(), port),
        };
        let log = dir.path().join("log");
        let mut process = Process::start(command, &log);
        within(START, "the pooler listens", || {
            let says = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(!process.has_ended(), "{name} did not start:\n{}", says());
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        contender(Some(process), Some(dir), port)
    }

    /// Another one of the same setup, run by a tool that counts; `{dir}` in its words is a directory of its own.
    pub(crate) fn twin(&self, world: &World, tool: &[&str]) -> Self {
        let tool = tool.iter().map(|&word| word.to_owned()).collect();
        Self::start(world, &self.name, self.kind, &Setup { tool, ..self.setup.clone() })
    }

    /// Ends the process in good order; the directory with what it has left behind.
    pub(crate) fn end(self) -> Option<tempfile::TempDir> {
        let Self { process, dir, .. } = self;
        process?.end();
        dir
    }

    /// Whether there is a process to measure.
    pub(crate) const fn is_pooler(&self) -> bool {
        self.process.is_some()
    }

    /// Where its clients run: beside it.
    pub(crate) const fn cpus(&self) -> Cpus {
        self.setup.cpus
    }

    /// The word for libpq whether to use TLS.
    pub(crate) const fn sslmode(&self) -> &'static str {
        if self.setup.tls.is_some() { "require" } else { "disable" }
    }
}

impl Setup {
    fn pgbouncer(&self, world: &World, dir: &Path, port: u16) -> Command {
        let (host, server_port) = self.server(world);
        let mode = if self.session { "session" } else { "transaction" };
        let mut ini = format!(
            "[databases]\n{APP} = host={host} port={server_port} dbname={APP} user={APP}\n\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = {}\n\
             auth_file = {}\npool_mode = {mode}\ndefault_pool_size = {}\nmax_client_conn = {MAX_CLIENTS}\n\
             log_connections = 0\nlog_disconnections = 0\nlog_pooler_errors = 0\nlog_stats = 0\n\
             ignore_startup_parameters = extra_float_digits\nserver_tls_sslmode = disable\n",
            self.auth,
            dir.join("users").display(),
            self.pool,
        );
        if let Some(size) = self.pkt_buf {
            let _ = writeln!(ini, "pkt_buf = {size}");
        }
        if world.tracks_statements() && !self.session {
            ini.push_str("max_prepared_statements = 200\n");
        }
        if let Some(certs) = &self.tls {
            let _ = writeln!(
                ini,
                "client_tls_sslmode = require\nclient_tls_key_file = {}\nclient_tls_cert_file = {}",
                certs.key.display(),
                certs.cert.display()
            );
        }
        let users: String = world
            .users
            .iter()
            .fold(String::new(), |all, (name, secret)| all + &format!("\"{name}\" \"{secret}\"\n"));
        write(&dir.join("users"), &users);
        let file = dir.join("pgbouncer.ini");
        write(&file, &ini);
        // It refuses to run as root.
        self.command(unprivileged(), &world.options.pgbouncer, &file)
    }

    fn pooler(&self, world: &World, dir: &Path, port: u16) -> Command {
        let (host, server_port) = self.server(world);
        let mut toml = format!(
            "[pooler]\nlisten_addr = \"127.0.0.1\"\nlisten_port = {port}\nunix_socket_dir = \"\"\n\
             auth_type = \"{}\"\npool_mode = \"transaction\"\ndefault_pool_size = {}\n\
             max_client_conn = {MAX_CLIENTS}\nlog_connections = false\nlog_disconnections = false\n\
             log_level = \"error\"\nserver_tls_sslmode = \"disable\"\nworkers = {}\n\
             ignore_startup_parameters = [\"extra_float_digits\"]\n",
            self.auth, self.pool, self.workers,
        );
        if self.split {
            toml.push_str("pool_split = \"always\"\n");
        }
        if let Some(certs) = &self.tls {
            let _ = writeln!(
                toml,
                "client_tls_sslmode = \"require\"\nclient_tls_key_file = \"{}\"\nclient_tls_cert_file = \"{}\"",
                certs.key.display(),
                certs.cert.display()
            );
        }
        let _ = write!(
            toml,
            "\n[databases.{APP}]\nhost = \"{host}\"\nport = {server_port}\nuser = \"{APP}\"\npassword = \"{PASSWORD}\"\n"
        );
        for (name, secret) in &world.users {
            let _ = write!(toml, "\n[users.{name}]\npassword = \"{}\"\n", secret.replace('$', "$$"));
        }
        let file = dir.join("pooler.toml");
        write(&file, &toml);
        self.command(Command::new("env"), &world.options.pooler, &file)
    }

    fn command(&self, mut command: Command, program: &Path, file: &Path) -> Command {
        let dir = file.parent().unwrap().to_str().unwrap();
        command.args(self.cpus.prefix());
        command.args(self.tool.iter().map(|word| word.replace("{dir}", dir)));
        command.arg(program).arg(file);
        command
    }

    fn server(&self, world: &World) -> (String, u16) {
        match self.backend {
            Backend::Postgres => ("127.0.0.1".to_owned(), world.cluster.port()),
            Backend::Socket => (world.cluster.dir().display().to_string(), world.cluster.port()),
            Backend::Fake(port) => ("127.0.0.1".to_owned(), port),
        }
    }
}

fn write(file: &PathBuf, text: &str) {
    std::fs::write(file, text).unwrap();
}

/// Major and minor version that `program --version` tells.
pub(crate) fn version(options: &Options) -> (String, (u32, u32)) {
    let said = Command::new(&options.pgbouncer).arg("--version").output().unwrap_or_else(|e| {
        panic!("{}: {e}; `make bench` installs it, PGBOUNCER names another", options.pgbouncer.display())
    });
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = said.lines().next().unwrap_or_default().to_owned();
    let mut numbers = line.rsplit(' ').next().unwrap_or_default().split('.').map(|n| n.parse().unwrap_or(0));
    let pair = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (line, pair)
}

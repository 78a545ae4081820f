//! What all workloads share: the PostgreSQL of this run, the users, the certificates, the tools that work here.

use std::os::unix::fs::PermissionsExt;

use crate::common::certs::Certs;
use crate::common::cluster::{APP, PASSWORD};
use crate::common::drivers::run_libpq;
use crate::common::{Cluster, ClusterOptions};
use crate::contender::{Backend, Contender, Kind, Setup, version};
use crate::count::Tools;
use crate::options::Options;
use crate::process::Cpus;

/// The role whose logins ask for a password everywhere; servers are always [`APP`]'s.
pub(crate) const SCRAM_USER: &str = "app_scram";

/// First PgBouncer that follows prepared statements.
const TRACKING_SINCE: (u32, u32) = (1, 21);

/// See the module.
pub(crate) struct World<'a> {
    /// What to run.
    pub(crate) options: &'a Options,
    /// PostgreSQL, pinned.
    pub(crate) cluster: Cluster,
    /// Names and SCRAM verifiers, the same in both poolers.
    pub(crate) users: Vec<(String, String)>,
    /// For TLS towards clients.
    pub(crate) certs: Certs,
    /// What can be counted here.
    pub(crate) tools: Tools,
    bouncer: (u32, u32),
    _dir: tempfile::TempDir,
}

impl<'a> World<'a> {
    /// Makes the cluster, its tables and users.
    pub(crate) fn start(options: &'a Options) -> Self {
        let settings = vec![
            ("max_connections", "800".to_owned()),
            ("shared_buffers", "128MB".to_owned()),
            ("autovacuum", "off".to_owned()),
        ];
        let cluster = Cluster::start_new(&ClusterOptions {
            auth: "trust",
            tls: true,
            settings,
            ..ClusterOptions::default()
        });
        cluster.write(
            "data/pg_hba.conf",
            &format!(
                "local all all trust\nhost all {SCRAM_USER} 127.0.0.1/32 scram-sha-256\n\
                 host all all 127.0.0.1/32 trust\n"
            ),
        );
        cluster.reload();
        let postmaster = std::fs::read_to_string(cluster.dir().join("data/postmaster.pid")).unwrap();
        Cpus::One(options.cpu).hold(postmaster.lines().next().unwrap().parse().unwrap());
        cluster.sql(&format!("create role {SCRAM_USER} login password '{PASSWORD}' in role {APP}"));
        let rows = cluster.sql(&format!(
            "select rolname, rolpassword from pg_authid where rolname in ('{APP}', '{SCRAM_USER}')"
        ));
        let users = rows.into_iter().map(|mut row| (row.remove(0), row.remove(0))).collect();
        let target = cluster.target();
        run_libpq(&cluster.program("pgbench"), &target, &["-q", "-i", "-s", "1"]).unwrap();
        cluster.sql_in(
            APP,
            &format!(
                "create unlogged table bulk (a int, b int, c int, filler text); grant all on bulk to {APP}; \
                 grant select on pgbench_accounts to {SCRAM_USER}"
            ),
        );
        let dir = tempfile::Builder::new().prefix("pooler-bench-").tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let certs = Certs::generate(dir.path(), "pooler");
        for file in [&certs.ca, &certs.cert, &certs.key] {
            // PgBouncer may run as another account.
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let bouncer = version(options).1;
        Self { options, cluster, users, certs, tools: Tools::find(options), bouncer, _dir: dir }
    }

    /// Whether this PgBouncer follows prepared statements.
    pub(crate) fn tracks_statements(&self) -> bool {
        self.bouncer >= TRACKING_SINCE
    }

    /// Where things run in tables of one core.
    pub(crate) const fn cpus(&self) -> Cpus {
        Cpus::One(self.options.cpu)
    }

    /// The setup that most tables use.
    pub(crate) const fn setup(&self) -> Setup {
        Setup {
            pool: 20,
            session: false,
            auth: "trust",
            tls: None,
            backend: Backend::Postgres,
            pkt_buf: None,
            workers: 1,
            split: false,
            cpus: self.cpus(),
            tool: Vec::new(),
        }
    }

    /// No pooler, PgBouncer and Pooler.
    pub(crate) fn contenders(&self, setup: &Setup) -> Vec<Contender> {
        vec![
            Contender::start(self, "no pooler", Kind::None, setup),
            Contender::start(self, "PgBouncer", Kind::PgBouncer, setup),
            Contender::start(self, "Pooler", Kind::Pooler, setup),
        ]
    }
}

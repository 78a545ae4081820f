//! The list of workloads, by the names that `ONLY` takes.

mod bulk;
mod fake;
mod pipeline;
mod queries;
mod socket;
mod storm;
mod tls;
mod workers;

use crate::options::Options;
use crate::sheet::Sheet;
use crate::world::World;

/// One group of tables.
pub(crate) struct Workload {
    /// Its name.
    pub(crate) name: &'static str,
    /// Runs it.
    pub(crate) run: fn(&World) -> Vec<Sheet>,
}

const ALL: [Workload; 9] = [
    Workload { name: "queries", run: queries::run },
    Workload { name: "fake", run: fake::run },
    Workload { name: "pipeline", run: pipeline::run },
    Workload { name: "tls", run: tls::run },
    Workload { name: "socket", run: socket::run },
    Workload { name: "storm", run: storm::run },
    Workload { name: "bulk", run: bulk::run },
    Workload { name: "idle", run: crate::idle::run },
    Workload { name: "workers", run: workers::run },
];

/// Those that were asked for, in the order above.
pub(crate) fn chosen(options: &Options) -> Vec<Workload> {
    for name in &options.only {
        let known = ALL.iter().map(|workload| workload.name).collect::<Vec<_>>();
        assert!(known.contains(&name.as_str()), "ONLY={name}: there are {}", known.join(", "));
    }
    let wanted =
        |workload: &Workload| options.only.is_empty() || options.only.iter().any(|n| n == workload.name);
    ALL.into_iter().filter(wanted).collect()
}

//! Questions to the workers that change nothing.
//!
//! Owns: reports for the console, the averages' tick, the proof of life for systemd. Does not know: what the
//! numbers mean.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};

use super::super::systemd;
use super::{Done, Operator};
use crate::admin::Overview;
use crate::metrics::{WorkerSnapshot, database_totals, stats_line};
use crate::net::clock;
use crate::worker::ToWorker;

/// How long a report waits for a worker. A worker that is busy with something else for so long is ill.
const REPORT_BOUND: Duration = Duration::from_secs(5);

/// Shortest time between two rounds of averages, whatever was configured: each costs a snapshot of every worker.
const SHORTEST_PERIOD: Duration = Duration::from_secs(1);

impl Operator {
    /// Asks every worker for a snapshot.
    pub(super) fn report(&mut self, to: oneshot::Sender<Overview>) {
        let answers = self.fleet.ask(ToWorker::Snapshot);
        self.tasks.spawn(async move {
            let (workers, silent) = answers.within(REPORT_BOUND).await;
            Done::Reported(to, workers, silent)
        });
    }

    /// Answers with the snapshots and the standing of the process.
    pub(super) fn tell_report(
        &mut self,
        to: oneshot::Sender<Overview>,
        workers: Vec<WorkerSnapshot>,
        silent: usize,
    ) {
        if silent > 0 {
            warn!("{silent} workers are missing in a report: they did not answer within {REPORT_BOUND:?}");
        }
        let now = clock::now();
        let overview = Overview {
            config: Arc::clone(&self.config),
            averages: self.averages.windows(now, &database_totals(&workers)),
            workers,
            state: self.standing.run_state(self.phase),
            paused: self.standing.paused.iter().cloned().collect(),
            disabled: self.standing.disabled.iter().cloned().collect(),
            uptime: now.duration_since(self.started),
        };
        let _ = to.send(overview);
    }

    /// Ends a period of the averages and says how it was.
    pub(super) fn end_period(&mut self, workers: &[WorkerSnapshot]) {
        let (now, totals) = (clock::now(), database_totals(workers));
        self.averages.tick(now, &totals);
        let line = stats_line(&self.averages.windows(now, &totals));
        info!("{line}");
        systemd::status(&line);
    }

    /// Takes the numbers of one more period of the averages.
    pub(super) fn count(&mut self) {
        let period = self.config.pacing.stats_period.max(SHORTEST_PERIOD);
        self.next_stats = clock::now() + period;
        let answers = self.fleet.ask(ToWorker::Snapshot);
        self.tasks.spawn(async move {
            let (snapshots, silent) = answers.within(REPORT_BOUND.min(period)).await;
            Done::Counted(snapshots, silent)
        });
    }

    /// Lets every worker show that it turns, and tells systemd only then.
    pub(super) fn prove_life(&mut self) {
        self.next_watchdog = systemd::watchdog_period().map(|period| clock::now() + period);
        let answers = self.fleet.ask(ToWorker::Ping);
        self.tasks.spawn(async move { Done::Alive(answers.within(REPORT_BOUND).await.1 == 0) });
    }
}

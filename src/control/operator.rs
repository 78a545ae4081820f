//! The task that owns the standing of the process.
//!
//! Owns: one loop over signals, console requests, finished waits and time; the order of everything that changes
//! the whole process. Does not know: how consoles speak, how workers obey.
//!
//! Invariant: nothing in the loop waits for a worker; waits are tasks whose ends come back as [`Done`].
//!
//! Parts: `orders` (the console's commands), `reports` (questions that watch), `reloading`.

mod orders;
mod reloading;
mod reports;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::{error, info, warn};

use super::fleet::{Fleet, Stuck};
use super::logging::Dial;
use super::reload::{Fresh, Origin, Refused};
use super::signals::{self, Action, Phase, Signal};
use super::standing::{self, Standing};
use super::systemd;
use crate::admin::{AdminRequest, Command, Overview};
use crate::config::{Config, SocketOptions};
use crate::metrics::{Averages, WorkerSnapshot};
use crate::net::clock;
use crate::proto::{PgError, SqlState};
use crate::worker::{Drain, ToWorker};

/// Commands and reports in the works at the same time. Operators and monitoring are few; this is room for a burst.
const COMMANDS_BOUND: usize = 256;

/// How long the workers may take to close everything at the end. Closing needs no network round trip.
const STOP_BOUND: Duration = Duration::from_secs(3);

/// Where the outcome of a command goes.
pub(super) type Reply = oneshot::Sender<Result<(), PgError>>;

/// Every worker has ended although nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WorkersLost;

/// A wait that is over.
enum Done {
    /// The wait has told its asker by itself.
    Told,
    /// No server of this database, or of any, is lent any more. The number is the round of the order.
    Paused(Option<String>, u64, Reply, Result<(), Stuck>),
    /// Nobody waits for this round of pausing all any more.
    PauseGivenUp(u64),
    /// Snapshots for a report, and how many workers did not send one.
    Reported(oneshot::Sender<Overview>, Vec<WorkerSnapshot>, usize),
    /// File and TLS material were read.
    Read(Result<Fresh, Refused>),
    /// What the workers have counted, and how many did not say.
    Counted(Vec<WorkerSnapshot>, usize),
    /// Whether all workers have answered.
    Alive(bool),
    /// The workers are empty, or cannot be asked.
    Drained(Drain),
    /// A worker's thread is gone.
    WorkerEnded(usize),
}

/// The standing of the process and the means to change it.
pub(super) struct Operator {
    fleet: Fleet,
    origin: Origin,
    log: Dial,
    config: Arc<Config>,
    started: Instant,
    phase: Phase,
    standing: Standing,
    averages: Averages,
    reloads: reloading::Reloads,
    tasks: JoinSet<Done>,
    /// Turns true when listeners are to close.
    closing: watch::Sender<bool>,
    /// Options of the connections that clients make.
    sockets: watch::Sender<SocketOptions>,
    /// When a drain is cut short.
    deadline: Option<Instant>,
    next_stats: Instant,
    next_watchdog: Option<Instant>,
}

impl Operator {
    /// The operator of a process that has just started.
    pub(super) fn new(
        fleet: Fleet,
        origin: Origin,
        config: Arc<Config>,
        closing: watch::Sender<bool>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        for number in 0..fleet.len() {
            let fleet = fleet.clone();
            tasks.spawn(async move {
                fleet.member_ended(number).await;
                Done::WorkerEnded(number)
            });
        }
        let now = clock::now();
        Self {
            next_stats: now + config.pacing.stats_period,
            next_watchdog: systemd::watchdog_period().map(|period| now + period),
            fleet,
            origin,
            log: Dial::default(),
            sockets: watch::Sender::new(config.sockets.clone()),
            config,
            started: now,
            phase: Phase::Running,
            standing: Standing::default(),
            averages: Averages::new(now),
            reloads: reloading::Reloads::default(),
            tasks,
            closing,
            deadline: None,
        }
    }

    /// The same with a log whose level follows the settings.
    pub(super) fn with_log(self, log: Dial) -> Self {
        Self { log, ..self }
    }

    /// The same with listeners whose options follow the settings.
    pub(super) fn with_sockets(self, sockets: watch::Sender<SocketOptions>) -> Self {
        Self { sockets, ..self }
    }

    /// Serves until the process is to end, then ends the workers.
    ///
    /// # Errors
    /// All workers were lost before anybody asked for the end.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<AdminRequest>,
        mut signals: mpsc::Receiver<Signal>,
    ) -> Result<(), WorkersLost> {
        while self.phase != Phase::Stopping {
            tokio::select! {
                biased;
                Some(signal) = signals.recv() => self.on_signal(signal),
                Some(done) = self.tasks.join_next() => {
                    if let Ok(done) = done {
                        self.on_done(done)?;
                    }
                }
                () = at(self.deadline) => self.cut_short(),
                () = sleep_until(self.next_stats.into()) => self.count(),
                () = at(self.next_watchdog) => self.prove_life(),
                Some(request) = requests.recv() => self.on_request(request),
            }
        }
        let _ = self.fleet.tell(|| ToWorker::Stop);
        if timeout(STOP_BOUND, self.fleet.ended()).await.is_err() {
            warn!("workers did not end within {STOP_BOUND:?}, exiting without them");
        }
        Ok(())
    }

    fn on_signal(&mut self, signal: Signal) {
        let (action, line) = signals::decide(self.phase, self.standing.all_paused, signal);
        info!("{line}");
        match action {
            Action::Drain(how) => self.drain(how),
            Action::Stop => self.stop(),
            Action::Reload => self.request_reload(None),
            Action::Pause => {
                self.standing.apply(&Command::Pause(None));
                self.pause_unasked(None);
            }
            Action::Resume => {
                self.resume_all();
            }
            Action::Ignore => {}
        }
    }

    fn on_request(&mut self, request: AdminRequest) {
        match request {
            AdminRequest::Overview(to) if self.is_busy() => drop(to),
            AdminRequest::Overview(to) => self.report(to),
            AdminRequest::Execute(command, reply) => {
                let verdict = if self.is_busy() && !matches!(command, Command::Shutdown(_)) {
                    Err(busy())
                } else {
                    self.standing.judge(&command, &self.config, self.phase)
                };
                match verdict {
                    Ok(()) => self.execute(command, reply),
                    Err(refusal) => drop(reply.send(Err(refusal))),
                }
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.tasks.len() + self.reloads.asked() >= COMMANDS_BOUND + self.fleet.len()
    }

    fn on_done(&mut self, done: Done) -> Result<(), WorkersLost> {
        match done {
            Done::Paused(database, round, reply, outcome) => {
                let outcome = outcome.map_err(|Stuck| silent());
                // A PAUSE that another console has ended must not be reported as one that holds.
                let holds = self.standing.is_paused(database.as_deref(), round);
                let ended = || standing::refusal("the pause was ended by RESUME");
                let _ = reply.send(outcome.and_then(|()| if holds { Ok(()) } else { Err(ended()) }));
            }
            Done::PauseGivenUp(round) if self.standing.is_paused(None, round) => {
                info!("nobody waits for PAUSE any more, doing RESUME");
                self.resume_all();
            }
            Done::Told | Done::PauseGivenUp(_) => {}
            Done::Reported(to, workers, silent) => self.tell_report(to, workers, silent),
            Done::Read(outcome) => self.on_read(outcome),
            Done::Counted(snapshots, 0) => self.end_period(&snapshots),
            Done::Counted(_, silent) => {
                warn!("{silent} of {} workers did not report, no averages this time", self.fleet.len());
            }
            Done::Alive(true) => systemd::watchdog(),
            Done::Alive(false) => warn!("a worker does not answer, the watchdog is not told of life"),
            Done::Drained(how) => {
                match how {
                    Drain::Servers => info!("server connections dropped, exiting"),
                    Drain::Transactions | Drain::Clients => info!("client connections dropped, exiting"),
                }
                self.stop();
            }
            Done::WorkerEnded(_) if self.phase != Phase::Running => {
                if self.fleet.is_gone() {
                    self.stop();
                }
            }
            Done::WorkerEnded(number) => {
                error!("worker {number} ended unexpectedly");
                if self.fleet.is_gone() {
                    return Err(WorkersLost);
                }
            }
        }
        Ok(())
    }

    fn resume_all(&mut self) {
        self.standing.apply(&Command::Resume(None));
        if self.fleet.tell(|| ToWorker::Resume(None)).is_err() {
            error!("{}", silent().message);
        }
    }

    fn drain(&mut self, how: Drain) {
        self.begin_end(Phase::Draining(how));
        self.deadline = match how {
            Drain::Transactions => self.config.pacing.shutdown_timeout.map(|limit| clock::now() + limit),
            Drain::Servers | Drain::Clients => None,
        };
        let answers = self.fleet.ask(|done| ToWorker::Drain(how, done));
        self.tasks.spawn(async move {
            if answers.all().await.is_err() {
                error!("{}", silent().message);
            }
            Done::Drained(how)
        });
    }

    fn cut_short(&mut self) {
        warn!("shutdown_timeout is over, closing what is left");
        self.stop();
    }

    fn stop(&mut self) {
        self.begin_end(Phase::Stopping);
    }

    fn begin_end(&mut self, phase: Phase) {
        if self.phase == Phase::Running {
            systemd::stopping();
        }
        self.phase = phase;
        self.closing.send_replace(true);
    }
}

/// Resolves at this time; never without one.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn silent() -> PgError {
    PgError::error(SqlState::INTERNAL_ERROR, "a worker does not take orders")
}

fn busy() -> PgError {
    PgError::error(SqlState::PROGRAM_LIMIT_EXCEEDED, "too many console commands in progress")
}

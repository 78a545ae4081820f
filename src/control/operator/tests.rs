//! The operator with fake workers: the test holds the inboxes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::super::reload::Origin;
use super::super::signals::Signal;
use super::super::testing::{Crew, config_with, crew};
use super::{COMMANDS_BOUND, Operator, WorkersLost};
use crate::admin::{AdminRequest, Command, Overview, RunState, Shutdown};
use crate::metrics::WorkerSnapshot;
use crate::proto::{PgError, SqlState};
use crate::worker::{Drain, ToWorker};

/// An operator that runs, and everything around it.
struct Scene {
    requests: mpsc::Sender<AdminRequest>,
    signals: mpsc::Sender<Signal>,
    inboxes: Vec<mpsc::Receiver<ToWorker>>,
    closed: watch::Receiver<bool>,
    task: JoinHandle<Result<(), WorkersLost>>,
}

fn scene(workers: usize, databases: &[&str]) -> Scene {
    scene_from(workers, databases, Origin::Url, |_| {})
}

fn scene_from(
    workers: usize,
    databases: &[&str],
    origin: Origin,
    adjust: impl FnOnce(&mut crate::config::Config),
) -> Scene {
    let Crew { fleet, inboxes, .. } = crew(workers, 16);
    let mut config = config_with(databases);
    config.pacing.stats_period = Duration::from_hours(1);
    adjust(&mut config);
    let (closing, closed) = watch::channel(false);
    let (requests, request_inbox) = mpsc::channel(16);
    let (signals, signal_inbox) = mpsc::channel(16);
    let operator = Operator::new(fleet, origin, Arc::new(config), closing);
    let task = tokio::spawn(operator.run(request_inbox, signal_inbox));
    Scene { requests, signals, inboxes, closed, task }
}

impl Scene {
    async fn ask(&self, command: Command) -> oneshot::Receiver<Result<(), PgError>> {
        let (tx, rx) = oneshot::channel();
        self.requests.send(AdminRequest::Execute(command, tx)).await.unwrap();
        rx
    }

    async fn refusal(&self, command: Command) -> PgError {
        self.ask(command).await.await.unwrap().unwrap_err()
    }

    async fn overview(&mut self) -> Overview {
        let (tx, rx) = oneshot::channel();
        self.requests.send(AdminRequest::Overview(tx)).await.unwrap();
        for (number, inbox) in self.inboxes.iter_mut().enumerate() {
            match inbox.recv().await {
                Some(ToWorker::Snapshot(to)) => {
                    to.send(WorkerSnapshot { worker: number, ..WorkerSnapshot::default() }).unwrap();
                }
                _ => panic!("expected Snapshot"),
            }
        }
        rx.await.unwrap()
    }

    /// Every worker gets the Stop that follows, and ends.
    async fn workers_stop(mut self) -> Result<(), WorkersLost> {
        for inbox in &mut self.inboxes {
            while !matches!(inbox.recv().await, Some(ToWorker::Stop)) {}
        }
        self.inboxes.clear();
        self.task.await.unwrap()
    }
}

macro_rules! expect {
    ($inbox:expr, $pattern:pat => $value:expr) => {
        match $inbox.recv().await {
            Some($pattern) => $value,
            _ => panic!("expected {}", stringify!($pattern)),
        }
    };
}

#[tokio::test]
async fn a_report_holds_every_worker_and_the_standing() {
    let mut scene = scene(3, &["shop"]);
    let paused = scene.ask(Command::Pause(Some("shop".into()))).await;
    for inbox in &mut scene.inboxes {
        expect!(inbox, ToWorker::Pause(_, done) => done.send(()).unwrap());
    }
    assert_eq!(paused.await.unwrap(), Ok(()));
    let overview = scene.overview().await;
    assert_eq!(overview.workers.iter().map(|worker| worker.worker).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(overview.state, RunState::Active, "pausing single databases does not show");
    assert_eq!(overview.paused, ["shop"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_worker_does_not_hold_back_the_report() {
    let mut scene = scene(2, &["shop"]);
    let (tx, rx) = oneshot::channel();
    scene.requests.send(AdminRequest::Overview(tx)).await.unwrap();
    expect!(scene.inboxes[1], ToWorker::Snapshot(to) => to.send(WorkerSnapshot::default()).unwrap());
    assert_eq!(rx.await.unwrap().workers.len(), 1);
}

#[tokio::test]
async fn f69_a_waiting_pause_blocks_no_other_command() {
    let mut scene = scene(2, &["shop"]);
    let pause = scene.ask(Command::Pause(None)).await;
    let mut waits = Vec::new();
    for inbox in &mut scene.inboxes {
        expect!(inbox, ToWorker::Pause(None, done) => waits.push(done));
    }
    assert_eq!(scene.refusal(Command::Pause(None)).await.message, "already suspended/paused");
    assert_eq!(scene.overview().await.state, RunState::Paused);
    for done in waits {
        done.send(()).unwrap();
    }
    assert_eq!(pause.await.unwrap(), Ok(()));
    let resume = scene.ask(Command::Resume(None)).await;
    assert_eq!(resume.await.unwrap(), Ok(()));
    assert_eq!(scene.refusal(Command::Resume(None)).await.message, "pooler is not paused/suspended");
}

#[tokio::test]
async fn a_pause_that_was_ended_meanwhile_is_not_reported_as_one_that_holds() {
    let mut scene = scene(1, &["shop"]);
    let pause = scene.ask(Command::Pause(None)).await;
    let wait = expect!(scene.inboxes[0], ToWorker::Pause(None, done) => done);
    assert_eq!(scene.ask(Command::Resume(None)).await.await.unwrap(), Ok(()));
    drop(wait);
    assert_eq!(pause.await.unwrap().unwrap_err().message, "the pause was ended by RESUME");
}

#[tokio::test]
async fn a_pause_of_all_ends_when_nobody_waits_for_it_any_more() {
    let mut scene = scene(1, &["shop"]);
    let first = scene.ask(Command::Pause(None)).await;
    let _wait = expect!(scene.inboxes[0], ToWorker::Pause(None, done) => done);
    drop(first);
    expect!(scene.inboxes[0], ToWorker::Resume(None) => ());
    assert_eq!(scene.overview().await.state, RunState::Active);
}

#[tokio::test]
async fn a_pause_given_up_late_does_not_end_the_pause_of_another_console() {
    let mut scene = scene(1, &["shop"]);
    let first = scene.ask(Command::Pause(None)).await;
    let _first_wait = expect!(scene.inboxes[0], ToWorker::Pause(None, done) => done);
    assert_eq!(scene.ask(Command::Resume(None)).await.await.unwrap(), Ok(()));
    expect!(scene.inboxes[0], ToWorker::Resume(None) => ());
    let second = scene.ask(Command::Pause(None)).await;
    let second_wait = expect!(scene.inboxes[0], ToWorker::Pause(None, done) => done);
    drop(first);
    second_wait.send(()).unwrap();
    assert_eq!(second.await.unwrap(), Ok(()));
    assert_eq!(scene.overview().await.state, RunState::Paused);
}

#[tokio::test]
async fn commands_reach_every_worker_as_what_they_are() {
    let mut scene = scene(2, &["shop"]);
    let mut replies = Vec::new();
    for command in [
        Command::Reconnect(Some("shop".into())),
        Command::Disable("shop".into()),
        Command::Enable("shop".into()),
        Command::WaitClose(None),
        Command::Kill(Some("shop".into())),
        Command::Resume(Some("shop".into())),
    ] {
        replies.push(scene.ask(command).await);
    }
    for inbox in &mut scene.inboxes {
        expect!(inbox, ToWorker::Reconnect(name) => assert_eq!(name, Some("shop".into())));
        expect!(inbox, ToWorker::Disable(_, off) => assert!(off));
        expect!(inbox, ToWorker::Disable(_, off) => assert!(!off));
        expect!(inbox, ToWorker::WaitClose(None, done) => done.send(()).unwrap());
        expect!(inbox, ToWorker::Kill(name, done) => { assert_eq!(name, Some("shop".into())); done.send(()).unwrap(); });
        expect!(inbox, ToWorker::Resume(name) => assert_eq!(name, Some("shop".into())));
    }
    for reply in replies {
        assert_eq!(reply.await.unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn kill_client_finds_the_client_on_whichever_worker_has_it() {
    let mut scene = scene(2, &["shop"]);
    for (answers, expected) in [([false, true], Ok(())), ([false, false], Err("client not found"))] {
        let reply = scene.ask(Command::KillClient(17)).await;
        for (inbox, had) in scene.inboxes.iter_mut().zip(answers) {
            expect!(inbox, ToWorker::KillClient(17, done) => done.send(had).unwrap());
        }
        let outcome = reply.await.unwrap();
        assert_eq!(outcome.as_ref().map_err(|error| &*error.message).copied(), expected);
    }
}

#[tokio::test]
async fn commands_in_the_works_are_bounded() {
    let mut scene = scene(1, &["shop"]);
    let mut open = Vec::new();
    let mut drain = Vec::new();
    for _ in 0..COMMANDS_BOUND {
        open.push(scene.ask(Command::WaitClose(None)).await);
        drain.push(scene.inboxes[0].recv().await);
    }
    let refusal = scene.refusal(Command::WaitClose(None)).await;
    assert_eq!(refusal.code, SqlState::PROGRAM_LIMIT_EXCEEDED);
    assert_eq!(
        scene.ask(Command::Shutdown(Shutdown::Now)).await.await.unwrap(),
        Ok(()),
        "the end is always possible"
    );
    drop(drain);
    assert_eq!(scene.workers_stop().await, Ok(()));
}

#[tokio::test]
async fn f66_a_broken_file_changes_nothing_and_the_reply_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pooler.toml");
    std::fs::write(&path, "[broken").unwrap();
    let mut scene = scene_from(1, &["shop"], Origin::File(path), |_| {});
    let refusal = scene.refusal(Command::Reload).await;
    assert_eq!(refusal.code, SqlState::CONFIG_FILE_ERROR);
    assert_eq!(refusal.message, "RELOAD failed, see logs for additional details");
    assert!(refusal.detail.is_some_and(|detail| detail.contains("pooler.toml:1")));
    assert!(scene.overview().await.config.databases.contains_key("shop"), "and no Configure came before");
}

#[tokio::test]
async fn f67_reloads_asked_for_at_once_all_get_an_answer() {
    let mut scene = scene(1, &["shop"]);
    let replies = [
        scene.ask(Command::Reload).await,
        scene.ask(Command::Reload).await,
        scene.ask(Command::Reload).await,
    ];
    scene.signals.send(Signal::Hangup).await.unwrap();
    for reply in replies {
        assert_eq!(reply.await.unwrap(), Ok(()));
    }
    expect!(scene.inboxes[0], ToWorker::Configure(config, _) => assert!(config.databases.contains_key("shop")));
}

#[tokio::test]
async fn a_pause_of_all_is_repeated_after_a_reload() {
    let mut scene = scene(1, &["shop"]);
    scene.signals.send(Signal::User1).await.unwrap();
    expect!(scene.inboxes[0], ToWorker::Pause(None, done) => done.send(()).unwrap());
    scene.signals.send(Signal::Hangup).await.unwrap();
    expect!(scene.inboxes[0], ToWorker::Configure(..) => ());
    expect!(scene.inboxes[0], ToWorker::Pause(None, _) => ());
    scene.signals.send(Signal::User2).await.unwrap();
    expect!(scene.inboxes[0], ToWorker::Resume(None) => ());
}

#[tokio::test]
async fn f70_sigterm_closes_the_listeners_lets_transactions_finish_and_ends() {
    let mut scene = scene(2, &["shop"]);
    scene.signals.send(Signal::Terminate).await.unwrap();
    for inbox in &mut scene.inboxes {
        expect!(inbox, ToWorker::Drain(Drain::Transactions, done) => done.send(()).unwrap());
    }
    assert!(*scene.closed.borrow_and_update());
    assert_eq!(scene.workers_stop().await, Ok(()));
}

#[tokio::test]
async fn f70_a_second_sigterm_ends_at_once() {
    let mut scene = scene(1, &["shop"]);
    scene.signals.send(Signal::Terminate).await.unwrap();
    let wait = expect!(scene.inboxes[0], ToWorker::Drain(_, done) => done);
    scene.signals.send(Signal::Terminate).await.unwrap();
    expect!(scene.inboxes[0], ToWorker::Stop => ());
    drop(wait);
    scene.inboxes.clear();
    assert_eq!(scene.task.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn f70_shutdown_timeout_ends_what_does_not_end_by_itself() {
    let limit = Duration::from_secs(30);
    let mut scene =
        scene_from(1, &["shop"], Origin::Url, |config| config.pacing.shutdown_timeout = Some(limit));
    let start = tokio::time::Instant::now();
    scene.signals.send(Signal::Terminate).await.unwrap();
    let _wait = expect!(scene.inboxes[0], ToWorker::Drain(_, done) => done);
    expect!(scene.inboxes[0], ToWorker::Stop => ());
    assert!(start.elapsed() >= limit);
    // The worker never ends: the process ends without it.
    assert_eq!(scene.task.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn the_consoles_shutdown_is_answered_before_it_takes_effect() {
    for (how, drain) in
        [(Shutdown::WaitForServers, Drain::Servers), (Shutdown::WaitForClients, Drain::Clients)]
    {
        let mut scene = scene(1, &["shop"]);
        assert_eq!(scene.ask(Command::Shutdown(how)).await.await.unwrap(), Ok(()));
        let wait =
            expect!(scene.inboxes[0], ToWorker::Drain(mode, done) => { assert_eq!(mode, drain); done });
        assert_eq!(scene.overview().await.state, RunState::ShuttingDown);
        assert_eq!(scene.refusal(Command::Resume(None)).await.message, "pooler is shutting down");
        wait.send(()).unwrap();
        assert_eq!(scene.workers_stop().await, Ok(()));
    }
}

#[tokio::test]
async fn without_any_worker_left_the_process_fails_but_one_lost_is_survived() {
    let mut scene = scene(2, &["shop"]);
    drop(scene.inboxes.remove(0));
    let reply = scene.ask(Command::WaitClose(None)).await;
    expect!(scene.inboxes[0], ToWorker::WaitClose(None, done) => done.send(()).unwrap());
    assert_eq!(reply.await.unwrap(), Ok(()));
    scene.inboxes.clear();
    assert_eq!(scene.task.await.unwrap(), Err(WorkersLost));
}

#[tokio::test(start_paused = true)]
async fn the_averages_tick_once_a_period() {
    let period = Duration::from_mins(1);
    let mut scene = scene_from(1, &["shop"], Origin::Url, |config| config.pacing.stats_period = period);
    let start = tokio::time::Instant::now();
    for round in 1..4 {
        expect!(scene.inboxes[0], ToWorker::Snapshot(to) => to.send(WorkerSnapshot::default()).unwrap());
        assert_eq!(start.elapsed().as_secs(), 60 * round);
    }
}

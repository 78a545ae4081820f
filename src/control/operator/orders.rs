//! How the console's commands are carried out.
//!
//! Owns: one arm per command. Does not know: which commands are legal when (`standing` has judged already).

use super::super::fleet::{Answers, Stuck};
use super::{Done, Operator, Reply, silent};
use crate::admin::{Command, Shutdown};
use crate::proto::{PgError, SqlState};
use crate::worker::{Drain, ToWorker};

impl Operator {
    /// Carries out a command that was found legal.
    pub(super) fn execute(&mut self, command: Command, reply: Reply) {
        self.standing.apply(&command);
        let fleet = self.fleet.clone();
        match command {
            Command::Reload => self.request_reload(Some(reply)),
            Command::Shutdown(how) => {
                let _ = reply.send(Ok(()));
                match how {
                    Shutdown::Now => self.stop(),
                    Shutdown::WaitForServers => self.drain(Drain::Servers),
                    Shutdown::WaitForClients => self.drain(Drain::Clients),
                }
            }
            Command::Pause(database) => {
                let answers = fleet.ask(|done| ToWorker::Pause(database.clone(), done));
                self.tasks.spawn(wait_for_pause(answers, database, self.standing.round, reply));
            }
            Command::Kill(database) => {
                let answers = fleet.ask(|done| ToWorker::Kill(database.clone(), done));
                self.answer_later(answers, reply, |_| Ok(()));
            }
            Command::WaitClose(database) => {
                let answers = fleet.ask(|done| ToWorker::WaitClose(database.clone(), done));
                self.answer_later(answers, reply, |_| Ok(()));
            }
            Command::KillClient(id) => {
                let answers = fleet.ask(|done| ToWorker::KillClient(id, done));
                self.answer_later(answers, reply, |had| {
                    if had.contains(&true) { Ok(()) } else { Err(no_such_client()) }
                });
            }
            Command::Resume(database) => answer_now(fleet.tell(|| ToWorker::Resume(database.clone())), reply),
            Command::Reconnect(database) => {
                answer_now(fleet.tell(|| ToWorker::Reconnect(database.clone())), reply);
            }
            Command::Disable(database) => {
                answer_now(fleet.tell(|| ToWorker::Disable(database.clone(), true)), reply);
            }
            Command::Enable(database) => {
                answer_now(fleet.tell(|| ToWorker::Disable(database.clone(), false)), reply);
            }
        }
    }

    /// Replies when every worker has answered; gives up when nobody waits any more.
    fn answer_later<T: Send + 'static>(
        &mut self,
        answers: Answers<T>,
        reply: Reply,
        verdict: impl FnOnce(Vec<T>) -> Result<(), PgError> + Send + 'static,
    ) {
        let mut reply = reply;
        self.tasks.spawn(async move {
            tokio::select! {
                answers = answers.all() => {
                    let _ = reply.send(answers.map_err(|Stuck| silent()).and_then(verdict));
                }
                () = reply.closed() => {}
            }
            Done::Told
        });
    }

    /// Pauses without anybody who waits for it.
    pub(super) fn pause_unasked(&mut self, database: Option<&str>) {
        let answers = self.fleet.ask(|done| ToWorker::Pause(database.map(str::to_owned), done));
        self.tasks.spawn(async move {
            let _ = answers.all().await;
            Done::Told
        });
    }
}

/// Waits until nothing is lent any more, or until the console is gone: then a pause of all is to end, as PgBouncer
/// has it, and a pause of one database stays.
async fn wait_for_pause(
    answers: Answers<()>,
    database: Option<String>,
    round: u64,
    mut reply: Reply,
) -> Done {
    tokio::select! {
        outcome = answers.all() => Done::Paused(database, round, reply, outcome.map(drop)),
        () = reply.closed() => match database {
            None => Done::PauseGivenUp(round),
            Some(_) => Done::Told,
        },
    }
}

/// Replies at once.
fn answer_now(outcome: Result<(), Stuck>, reply: Reply) {
    let _ = reply.send(outcome.map_err(|Stuck| silent()));
}

fn no_such_client() -> PgError {
    PgError::error(SqlState::UNDEFINED_OBJECT, "client not found")
}

//! What the console asks of the control plane, and the channel it asks through.
//!
//! Owns: the list of commands, their words, the shape of an overview. Does not know: who answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::{CONSOLE_NAMES, Config};
use crate::metrics::{Window, WorkerSnapshot};
use crate::proto::{PgError, SqlState};

/// Requests that may wait for the control plane. Consoles are few and send one request at a time, so this is more
/// than the operators at work; when it is full the next console waits its turn.
const REQUESTS_BOUND: usize = 32;

/// What an operator may order. A name is a database; none means all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration again.
    Reload,
    /// Stop lending servers; answered when none is lent any more.
    Pause(Option<String>),
    /// End a pause.
    Resume(Option<String>),
    /// Pause and close all clients and servers at once.
    Kill(Option<String>),
    /// Close one client, by its number in SHOW CLIENTS.
    KillClient(u64),
    /// Close servers as soon as they are released.
    Reconnect(Option<String>),
    /// Answered when no server is marked for closing.
    WaitClose(Option<String>),
    /// Refuse new logins to a database.
    Disable(String),
    /// Accept them again.
    Enable(String),
    /// End the process.
    Shutdown(Shutdown),
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// At once.
    Now,
    /// When no server is lent any more.
    WaitForServers,
    /// When the last client has left.
    WaitForClients,
}

impl Command {
    /// The word of the command, which is also the tag of its reply.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Reload => "RELOAD",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Kill(_) => "KILL",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::Reconnect(_) => "RECONNECT",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::Shutdown(_) => "SHUTDOWN",
        }
    }

    /// Whether the answer may take as long as a client's transaction, so that the operator may leave meanwhile.
    pub(super) const fn waits(&self) -> bool {
        match self {
            Self::Pause(_) | Self::WaitClose(_) => true,
            Self::Reload
            | Self::Resume(_)
            | Self::Kill(_)
            | Self::KillClient(_)
            | Self::Reconnect(_)
            | Self::Disable(_)
            | Self::Enable(_)
            | Self::Shutdown(_) => false,
        }
    }

    /// The line for the log, `PAUSE 'shop' command issued`. Control characters of the name are escaped (S46).
    pub(super) fn issued(&self) -> String {
        match self {
            Self::Pause(Some(name))
            | Self::Resume(Some(name))
            | Self::Kill(Some(name))
            | Self::Reconnect(Some(name))
            | Self::WaitClose(Some(name))
            | Self::Disable(name)
            | Self::Enable(name) => format!("{} '{}' command issued", self.word(), name.escape_debug()),
            Self::KillClient(id) => format!("KILL_CLIENT {id} command issued"),
            Self::Shutdown(Shutdown::WaitForServers) => "SHUTDOWN WAIT_FOR_SERVERS command issued".into(),
            Self::Shutdown(Shutdown::WaitForClients) => "SHUTDOWN WAIT_FOR_CLIENTS command issued".into(),
            Self::Reload
            | Self::Pause(None)
            | Self::Resume(None)
            | Self::Kill(None)
            | Self::Reconnect(None)
            | Self::WaitClose(None)
            | Self::Shutdown(Shutdown::Now) => format!("{} command issued", self.word()),
        }
    }

    /// Refuses commands aimed at the console itself, which has no servers to pause or close.
    pub(super) fn refuse_console(&self) -> Result<(), PgError> {
        let (verb, name) = match self {
            Self::Pause(Some(name)) => ("pause", name),
            Self::Kill(Some(name)) => ("kill", name),
            Self::Reconnect(Some(name)) => ("reconnect", name),
            Self::WaitClose(Some(name)) => ("wait in", name),
            Self::Disable(name) => ("disable", name),
            Self::Enable(name) => ("enable", name),
            Self::Resume(Some(name)) if CONSOLE_NAMES.contains(&name.as_str()) => {
                return Err(refusal(format!("database {name} is not paused")));
            }
            Self::Reload
            | Self::Pause(None)
            | Self::Resume(_)
            | Self::Kill(None)
            | Self::KillClient(_)
            | Self::Reconnect(None)
            | Self::WaitClose(None)
            | Self::Shutdown(_) => return Ok(()),
        };
        if CONSOLE_NAMES.contains(&name.as_str()) {
            return Err(refusal(format!("cannot {verb} admin db: {name}")));
        }
        Ok(())
    }
}

/// An ERROR of the console: its SQLSTATE is always 08P01, as scripts know it from PgBouncer.
pub(super) fn refusal(message: impl Into<std::borrow::Cow<'static, str>>) -> PgError {
    PgError::error(SqlState::PROTOCOL_VIOLATION, message)
}

/// A question to the control plane. The answer comes on the channel inside; when the asker is gone, that channel
/// is closed.
#[derive(Debug)]
pub enum AdminRequest {
    /// Tell everything the reports show.
    Overview(oneshot::Sender<Overview>),
    /// Do this and say how it went. For commands that wait, a closed channel means that nobody waits any more.
    Execute(Command, oneshot::Sender<Result<(), PgError>>),
}

/// The whole process at one instant, as reports need it.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Settings in force.
    pub config: Arc<Config>,
    /// What each worker tells of itself.
    pub workers: Vec<WorkerSnapshot>,
    /// Per database: what was counted lately, and since start.
    pub averages: BTreeMap<String, Window>,
    /// Whether the pooler as a whole works.
    pub state: RunState,
    /// Databases paused one by one.
    pub paused: Vec<String>,
    /// Databases that refuse logins.
    pub disabled: Vec<String>,
    /// Time since start.
    pub uptime: Duration,
}

/// Whether the pooler as a whole works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// It lends servers.
    Active,
    /// PAUSE without a name is in force.
    Paused,
    /// It is going down.
    ShuttingDown,
}

/// The console's line to the control plane; clones share it.
#[derive(Debug, Clone)]
pub struct AdminHandle {
    requests: mpsc::Sender<AdminRequest>,
}

impl AdminHandle {
    /// A handle, and the end where the control plane listens.
    pub fn channel() -> (Self, mpsc::Receiver<AdminRequest>) {
        let (requests, receiver) = mpsc::channel(REQUESTS_BOUND);
        (Self { requests }, receiver)
    }

    /// Asks for an overview; `None` when the control plane has ended or dropped the request.
    ///
    /// Cancel safe: a dropped call costs the control plane one answer that nobody reads.
    pub async fn overview(&self) -> Option<Overview> {
        let (answer, overview) = oneshot::channel();
        self.requests.send(AdminRequest::Overview(answer)).await.ok()?;
        overview.await.ok()
    }

    /// Has a command executed and waits for its end.
    ///
    /// Cancel safe: dropped before the request was taken, nothing happens; dropped later, the command goes on and
    /// the control plane sees the answer channel closed.
    ///
    /// # Errors
    /// What the control plane refuses; 57014 when it let go of the command, 57P01 when it has ended.
    pub async fn execute(&self, command: Command) -> Result<(), PgError> {
        let (answer, outcome) = oneshot::channel();
        if self.requests.send(AdminRequest::Execute(command, answer)).await.is_err() {
            return Err(ended());
        }
        outcome.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// What a console hears instead of an answer: the process ends, or the request was dropped.
    pub(super) fn unanswered(&self) -> PgError {
        if self.requests.is_closed() { ended() } else { let_go() }
    }
}

/// What a console hears when the control plane no longer answers.
fn ended() -> PgError {
    PgError::fatal(SqlState::ADMIN_SHUTDOWN, "pooler is shutting down")
}

/// What a console hears when the control plane gave a request up without saying why.
fn let_go() -> PgError {
    PgError::error(SqlState::QUERY_CANCELED, "the request was given up")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_aimed_at_the_console_are_refused() {
        let name = || "pgbouncer".to_owned();
        let cases = [
            (Command::Pause(Some(name())), "cannot pause admin db: pgbouncer"),
            (Command::Kill(Some(name())), "cannot kill admin db: pgbouncer"),
            (Command::Reconnect(Some(name())), "cannot reconnect admin db: pgbouncer"),
            (Command::WaitClose(Some(name())), "cannot wait in admin db: pgbouncer"),
            (Command::Disable(name()), "cannot disable admin db: pgbouncer"),
            (Command::Enable(name()), "cannot enable admin db: pgbouncer"),
            (Command::Resume(Some(name())), "database pgbouncer is not paused"),
            (Command::Pause(Some("pooler".into())), "cannot pause admin db: pooler"),
        ];
        for (command, text) in cases {
            assert_eq!(command.refuse_console(), Err(refusal(text)));
        }
        for command in [Command::Pause(None), Command::Resume(None), Command::Kill(Some("shop".into()))] {
            assert_eq!(command.refuse_console(), Ok(()));
        }
    }

    #[test]
    fn s46_a_name_with_control_characters_stays_on_its_log_line() {
        assert_eq!(Command::Disable("a\nb".into()).issued(), r"DISABLE 'a\nb' command issued");
        assert_eq!(Command::Pause(None).issued(), "PAUSE command issued");
        assert_eq!(
            Command::Shutdown(Shutdown::WaitForClients).issued(),
            "SHUTDOWN WAIT_FOR_CLIENTS command issued"
        );
    }

    #[tokio::test]
    async fn a_control_plane_that_has_ended_is_an_answer_too() {
        let (handle, requests) = AdminHandle::channel();
        drop(requests);
        assert!(handle.overview().await.is_none());
        assert_eq!(handle.execute(Command::Reload).await, Err(ended()));
    }

    #[tokio::test]
    async fn a_request_dropped_unanswered_does_not_leave_the_asker_waiting() {
        let (handle, mut requests) = AdminHandle::channel();
        let asked = tokio::spawn(async move { handle.execute(Command::Pause(None)).await });
        drop(requests.recv().await);
        assert_eq!(asked.await.unwrap(), Err(let_go()));
    }
}

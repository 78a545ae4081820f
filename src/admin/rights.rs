//! Who may say what to the console.
//!
//! Owns: the right that each statement needs, in one exhaustive match: a new command without one does not compile
//! (S13). Does not know: how somebody came to his rights.

use super::grammar::{Rejection, Statement};
use super::request::{Command, refusal};
use super::words::View;
use crate::proto::PgError;

/// What a console user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// `admin_users`: everything.
    Admin,
    /// `stats_users`: look.
    Stats,
}

impl Rights {
    /// Whether these rights cover a statement.
    ///
    /// # Errors
    /// `admin access needed`.
    pub fn allow(self, statement: &Statement) -> Result<(), PgError> {
        match (self, needed(statement)) {
            (Self::Admin, _) | (Self::Stats, Self::Stats) => Ok(()),
            (Self::Stats, Self::Admin) => Err(access_needed()),
        }
    }

    /// The answer to a text that is no statement. Who may not send a command does not hear what it lacks.
    pub(super) fn answer_rejection(self, rejection: &Rejection) -> PgError {
        match (self, rejection) {
            (Self::Stats, Rejection::DatabaseRequired | Rejection::InvalidClient) => access_needed(),
            (Self::Stats | Self::Admin, _) => rejection.for_client(),
        }
    }
}

fn access_needed() -> PgError {
    refusal("admin access needed")
}

/// The least rights for each statement. No arm may be a wildcard.
const fn needed(statement: &Statement) -> Rights {
    match statement {
        Statement::Show(view) => match view {
            View::Fds => Rights::Admin,
            View::ActiveSockets
            | View::Clients
            | View::Compat
            | View::Config
            | View::Databases
            | View::DnsHosts
            | View::DnsZones
            | View::Help
            | View::Lists
            | View::Mem
            | View::PeerPools
            | View::Peers
            | View::Pins
            | View::Pools
            | View::Servers
            | View::Sockets
            | View::State
            | View::Stats
            | View::StatsAverages
            | View::StatsTotals
            | View::Totals
            | View::Users
            | View::Version => Rights::Stats,
        },
        Statement::ShowVariable(_) | Statement::SetVariable(_) => Rights::Stats,
        Statement::SetSetting(_) | Statement::Suspend => Rights::Admin,
        Statement::Run(command) => match command {
            Command::Reload
            | Command::Pause(_)
            | Command::Resume(_)
            | Command::Kill(_)
            | Command::KillClient(_)
            | Command::Reconnect(_)
            | Command::WaitClose(_)
            | Command::Disable(_)
            | Command::Enable(_)
            | Command::Shutdown(_) => Rights::Admin,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::grammar::parse;
    use super::*;

    const ADMIN_ONLY: [&str; 22] = [
        "SHOW FDS",
        "SET pool_mode = session",
        "RELOAD",
        "PAUSE",
        "PAUSE shop",
        "RESUME",
        "RESUME shop",
        "SUSPEND",
        "DISABLE shop",
        "ENABLE shop",
        "DISABLE",
        "ENABLE",
        "KILL",
        "KILL shop",
        "KILL_CLIENT 1",
        "KILL_CLIENT",
        "RECONNECT",
        "RECONNECT shop",
        "WAIT_CLOSE",
        "SHUTDOWN",
        "SHUTDOWN WAIT_FOR_SERVERS",
        "SHUTDOWN WAIT_FOR_CLIENTS",
    ];

    fn verdict(rights: Rights, text: &str) -> Result<(), PgError> {
        match parse(text.as_bytes()) {
            Ok(statement) => rights.allow(&statement),
            Err(rejection) => Err(rights.answer_rejection(&rejection)),
        }
    }

    #[test]
    fn s13_f76_stats_users_are_refused_every_command() {
        for text in ADMIN_ONLY {
            assert_eq!(verdict(Rights::Stats, text), Err(access_needed()), "{text}");
            assert_ne!(verdict(Rights::Admin, text), Err(access_needed()), "{text}");
        }
    }

    #[test]
    fn s13_stats_users_may_see_all_views_but_descriptors() {
        for view in View::ALL.into_iter().filter(|&view| view != View::Fds) {
            let text = format!("SHOW {}", view.as_str());
            assert_eq!(verdict(Rights::Stats, &text), Ok(()), "{text}");
            assert_eq!(verdict(Rights::Admin, &text), Ok(()), "{text}");
        }
        for text in ["SHOW timezone", "SET datestyle TO iso"] {
            assert_eq!(verdict(Rights::Stats, text), Ok(()), "{text}");
        }
    }
}

//! What operators have ordered, and which order is legal when.
//!
//! Owns: the pauses and disabled databases of the process, and the refusals that depend on them. Does not know:
//! workers, channels, time, who may give orders.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::signals::Phase;
use crate::admin::{Command, RunState, Shutdown};
use crate::config::Config;
use crate::proto::{PgError, SqlState};

/// What is paused and disabled by order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// All databases are paused.
    pub(super) all_paused: bool,
    /// Number of the latest order to pause all, so that one that was given up does not undo a later one.
    pub(super) round: u64,
    /// Databases paused one by one, by PAUSE or KILL.
    pub(super) paused: BTreeSet<String>,
    /// Databases that refuse logins.
    pub(super) disabled: BTreeSet<String>,
}

impl Standing {
    /// Whether the command may be carried out now; otherwise what the operator is told.
    pub(super) fn judge(&self, command: &Command, config: &Config, phase: Phase) -> Result<(), PgError> {
        let down = phase != Phase::Running;
        match command {
            Command::Pause(_) | Command::Kill(_) if self.all_paused => {
                return Err(refusal("already suspended/paused"));
            }
            Command::Resume(_)
            | Command::Pause(_)
            | Command::Kill(_)
            | Command::Reload
            | Command::Shutdown(Shutdown::WaitForClients | Shutdown::WaitForServers)
                if down =>
            {
                return Err(refusal("pooler is shutting down"));
            }
            Command::Resume(None) if !self.all_paused => {
                return Err(refusal("pooler is not paused/suspended"));
            }
            Command::Reload
            | Command::Pause(_)
            | Command::Resume(_)
            | Command::Kill(_)
            | Command::KillClient(_)
            | Command::Reconnect(_)
            | Command::WaitClose(_)
            | Command::Disable(_)
            | Command::Enable(_)
            | Command::Shutdown(_) => {}
        }
        let Some(database) = named_database(command) else { return Ok(()) };
        let is_resume = matches!(command, Command::Resume(_));
        // What was paused or disabled can be undone even if a reload has removed its entry since.
        if is_resume && self.paused.contains(database)
            || matches!(command, Command::Enable(_)) && self.disabled.contains(database)
        {
            return Ok(());
        }
        if config.database(database).is_none() {
            return Err(refusal(format!("no such database: {database}")));
        }
        if is_resume {
            return Err(refusal(format!("database {database} is not paused")));
        }
        Ok(())
    }

    /// Remembers a command that was found legal.
    pub(super) fn apply(&mut self, command: &Command) {
        match command {
            Command::Pause(None) | Command::Kill(None) => {
                self.all_paused = true;
                self.round += 1;
            }
            Command::Pause(Some(database)) | Command::Kill(Some(database)) => {
                self.paused.insert(database.clone());
            }
            Command::Resume(None) => self.all_paused = false,
            Command::Resume(Some(database)) => {
                self.paused.remove(database);
            }
            Command::Disable(database) => {
                self.disabled.insert(database.clone());
            }
            Command::Enable(database) => {
                self.disabled.remove(database);
            }
            Command::Reload
            | Command::KillClient(_)
            | Command::Reconnect(_)
            | Command::WaitClose(_)
            | Command::Shutdown(_) => {}
        }
    }

    /// Whether this database is paused, or all are by the order of this round.
    pub(super) fn is_paused(&self, database: Option<&str>, round: u64) -> bool {
        match database {
            None => self.all_paused && self.round == round,
            Some(database) => self.paused.contains(database),
        }
    }

    /// What SHOW STATE tells.
    pub(super) fn run_state(&self, phase: Phase) -> RunState {
        match phase {
            Phase::Draining(_) | Phase::Stopping => RunState::ShuttingDown,
            Phase::Running if self.all_paused => RunState::Paused,
            Phase::Running => RunState::Active,
        }
    }
}

/// The database a command names.
fn named_database(command: &Command) -> Option<&str> {
    match command {
        Command::Pause(database)
        | Command::Resume(database)
        | Command::Kill(database)
        | Command::Reconnect(database)
        | Command::WaitClose(database) => database.as_deref(),
        Command::Disable(database) | Command::Enable(database) => Some(database),
        Command::Reload | Command::KillClient(_) | Command::Shutdown(_) => None,
    }
}

/// A command that is not carried out. Its SQLSTATE is always 08P01, as scripts know it from PgBouncer.
pub(super) fn refusal(message: impl Into<Cow<'static, str>>) -> PgError {
    PgError::error(SqlState::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use super::super::testing::config_with;
    use super::*;
    use crate::worker::Drain;

    fn text(standing: &Standing, command: &Command, phase: Phase) -> Result<(), String> {
        let verdict = standing.judge(command, &config_with(&["shop"]), phase);
        verdict.map_err(|error| error.message.into_owned())
    }

    fn paused_all() -> Standing {
        Standing { all_paused: true, ..Standing::default() }
    }

    #[test]
    fn refusals_carry_the_words_operators_script_against() {
        use Command as C;
        let running = Standing::default();
        let table = [
            (&running, C::Pause(None), Ok(())),
            (&running, C::Pause(Some("shop".into())), Ok(())),
            (&running, C::Pause(Some("none".into())), Err("no such database: none")),
            (&running, C::Resume(None), Err("pooler is not paused/suspended")),
            (&running, C::Resume(Some("shop".into())), Err("database shop is not paused")),
            (&running, C::Resume(Some("none".into())), Err("no such database: none")),
            (&running, C::Kill(None), Ok(())),
            (&running, C::Kill(Some("none".into())), Err("no such database: none")),
            (&running, C::Reconnect(Some("none".into())), Err("no such database: none")),
            (&running, C::Disable("none".into()), Err("no such database: none")),
            (&running, C::Enable("shop".into()), Ok(())),
            (&running, C::Reload, Ok(())),
            (&running, C::KillClient(1), Ok(())),
        ];
        for (standing, command, expected) in table {
            assert_eq!(
                text(standing, &command, Phase::Running),
                expected.map_err(str::to_owned),
                "{command:?}"
            );
        }
        let paused = paused_all();
        for command in
            [C::Pause(None), C::Pause(Some("shop".into())), C::Kill(None), C::Kill(Some("shop".into()))]
        {
            assert_eq!(text(&paused, &command, Phase::Running), Err("already suspended/paused".into()));
        }
        assert_eq!(text(&paused, &C::Resume(None), Phase::Running), Ok(()));
    }

    #[test]
    fn a_process_that_goes_down_takes_only_what_speeds_it_up() {
        use Command as C;
        let draining = Phase::Draining(Drain::Clients);
        for command in [
            C::Resume(None),
            C::Resume(Some("shop".into())),
            C::Pause(None),
            C::Kill(None),
            C::Reload,
            C::Shutdown(Shutdown::WaitForClients),
            C::Shutdown(Shutdown::WaitForServers),
        ] {
            let verdict = text(&Standing::default(), &command, draining);
            assert_eq!(verdict, Err("pooler is shutting down".into()), "{command:?}");
        }
        for command in [C::Shutdown(Shutdown::Now), C::KillClient(3)] {
            assert_eq!(text(&Standing::default(), &command, draining), Ok(()), "{command:?}");
        }
    }

    #[test]
    fn with_a_fallback_entry_every_name_is_a_database() {
        let config = config_with(&["*"]);
        let verdict = Standing::default().judge(&Command::Pause(Some("any".into())), &config, Phase::Running);
        assert!(verdict.is_ok());
    }

    #[test]
    fn f69_orders_are_remembered_until_they_are_undone() {
        let mut standing = Standing::default();
        standing.apply(&Command::Pause(Some("shop".into())));
        standing.apply(&Command::Pause(None));
        standing.apply(&Command::Disable("shop".into()));
        assert_eq!(standing.run_state(Phase::Running), RunState::Paused);
        standing.apply(&Command::Resume(None));
        assert!(standing.is_paused(Some("shop"), 1) && !standing.is_paused(None, 1));
        assert_eq!(standing.run_state(Phase::Running), RunState::Active);
        standing.apply(&Command::Resume(Some("shop".into())));
        standing.apply(&Command::Enable("shop".into()));
        assert_eq!(standing, Standing { round: 1, ..Standing::default() });
        standing.apply(&Command::Kill(Some("shop".into())));
        assert!(standing.is_paused(Some("shop"), 1), "KILL pauses");
    }

    #[test]
    fn what_was_ordered_can_be_undone_after_the_entry_is_gone() {
        let mut standing = Standing::default();
        standing.apply(&Command::Pause(Some("gone".into())));
        standing.apply(&Command::Disable("gone".into()));
        assert_eq!(text(&standing, &Command::Resume(Some("gone".into())), Phase::Running), Ok(()));
        assert_eq!(text(&standing, &Command::Enable("gone".into()), Phase::Running), Ok(()));
    }
}

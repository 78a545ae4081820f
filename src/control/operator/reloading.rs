//! How new settings take effect.
//!
//! Owns: the sequence of reloads and what follows from one. Does not know: where settings come from.
//!
//! Invariant: reloads happen one after another; one asked for during another starts after it and reads the file
//! anew, so that whoever asks gets the file as it stands when asking, or newer.

use std::sync::Arc;

use tracing::{error, info, warn};

use super::super::fleet::Stuck;
use super::super::reload::{self, Fresh, Refused};
use super::super::systemd;
use super::{Done, Operator, Reply, silent};
use crate::proto::{PgError, SqlState};
use crate::worker::ToWorker;

/// Who waits for which reload. `Some` with nobody in it is a reload by signal.
#[derive(Default)]
pub(super) struct Reloads {
    running: Option<Vec<Reply>>,
    waiting: Option<Vec<Reply>>,
}

impl Reloads {
    /// Consoles that wait for a reload.
    pub(super) fn asked(&self) -> usize {
        [&self.running, &self.waiting].into_iter().flatten().map(Vec::len).sum()
    }
}

impl Operator {
    /// Reads the settings again, after the reload that is under way, if one is.
    pub(super) fn request_reload(&mut self, reply: Option<Reply>) {
        if self.reloads.running.is_some() {
            self.reloads.waiting.get_or_insert_default().extend(reply);
        } else {
            self.begin_reload(reply.into_iter().collect());
        }
    }

    fn begin_reload(&mut self, replies: Vec<Reply>) {
        self.reloads.running = Some(replies);
        systemd::reloading();
        let (origin, config) = (self.origin.clone(), Arc::clone(&self.config));
        self.tasks.spawn(async move {
            let read = tokio::task::spawn_blocking(move || reload::read(&origin, &config)).await;
            Done::Read(
                read.unwrap_or_else(|_| Err(Refused(vec!["reading the configuration panicked".into()]))),
            )
        });
    }

    /// Takes over what was read, tells those who asked, and begins the next reload if one was asked for.
    pub(super) fn on_read(&mut self, outcome: Result<Fresh, Refused>) {
        let outcome = match outcome {
            Ok(fresh) => self.take_over(fresh),
            Err(Refused(problems)) => {
                for problem in &problems {
                    error!("{problem}");
                }
                error!("RELOAD Failed, see logs for more details");
                Err(PgError::error(
                    SqlState::CONFIG_FILE_ERROR,
                    "RELOAD failed, see logs for additional details",
                )
                .with_detail(problems.join("\n")))
            }
        };
        systemd::ready();
        for reply in self.reloads.running.take().into_iter().flatten() {
            let _ = reply.send(outcome.clone());
        }
        if let Some(replies) = self.reloads.waiting.take() {
            self.begin_reload(replies);
        }
    }

    /// Gives the new settings to every worker, and repeats the orders that concern what is new in them.
    fn take_over(&mut self, fresh: Fresh) -> Result<(), PgError> {
        for remark in &fresh.remarks {
            warn!("{remark}");
        }
        let old = std::mem::replace(&mut self.config, fresh.config);
        self.sockets.send_replace(self.config.sockets.clone());
        if let Err(error) = self.log.set(&self.config.process.log_level) {
            error!("{error}");
        }
        let (config, tls) = (Arc::clone(&self.config), fresh.tls);
        let mut outcome = self.fleet.tell(|| ToWorker::Configure(Arc::clone(&config), Arc::clone(&tls)));
        if self.standing.all_paused {
            self.pause_unasked(None);
        }
        let is_new =
            |name: &&String| config.databases.contains_key(*name) && !old.databases.contains_key(*name);
        for database in self.standing.paused.iter().filter(is_new).cloned().collect::<Vec<_>>() {
            self.pause_unasked(Some(&database));
        }
        for database in self.standing.disabled.iter().filter(is_new) {
            outcome = outcome.and(self.fleet.tell(|| ToWorker::Disable(database.clone(), true)));
        }
        info!("configuration reloaded");
        outcome.map_err(|Stuck| silent())
    }
}

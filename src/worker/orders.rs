//! What other threads ask of a worker.

use std::rc::Rc;
use std::time::Duration;

use super::inbox::{Drain, ToWorker, mpsc, oneshot};
use super::state::{Standing, Worker};
use crate::client::EndOrder;
use crate::metrics::ErrorClass;
use crate::net::{clock, rt};
use crate::pool::PoolEnd;
use crate::proto::{PgError, SqlState};
use crate::server::Home;

/// How often a waiting command looks whether it is done.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Worker {
    /// Serves the inbox until `Stop` or until every sender is gone.
    pub(super) async fn serve_inbox(self: Rc<Self>, mut inbox: mpsc::Receiver<ToWorker>) {
        while let Some(message) = inbox.recv().await {
            if let ToWorker::Stop = message {
                break;
            }
            self.obey(message);
        }
        self.stop().await;
    }

    fn obey(self: &Rc<Self>, message: ToWorker) {
        let now = clock::now();
        match message {
            ToWorker::Accept(socket) => self.accept(socket),
            ToWorker::Adopt(migrant) => self.adopt(*migrant),
            ToWorker::Host(errand) => rt::spawn_detached("hosted", errand()),
            ToWorker::Cancel { process_id, secret, follow, done } => {
                self.cancel((process_id, secret), follow, done);
            }
            ToWorker::Configure(config, tls) => {
                self.configure(&config, &tls, now);
                self.hear_early_words(now);
                rt::spawn_local("verifiers", Rc::clone(self).warm());
            }
            ToWorker::Snapshot(reply) => {
                let _ = reply.send(self.snapshot());
            }
            ToWorker::Ping(reply) => {
                let _ = reply.send(());
            }
            ToWorker::Pause(database, done) => {
                self.note_pause(database.as_deref());
                for home in self.homes_of(database.as_deref()) {
                    home.pause();
                }
                self.answer_when(database, done, Home::is_drained);
            }
            ToWorker::Resume(database) => {
                self.note_resume(database.as_deref());
                for home in self.homes_of(database.as_deref()) {
                    if !self.paused.borrow().holds(&home.pool.key().database) {
                        home.pool.resume(now);
                        home.listener.nudge();
                    }
                }
            }
            ToWorker::Kill(database, done) => self.kill(database, done),
            ToWorker::KillClient(id, reply) => {
                let client = self.client(id);
                let _ = reply.send(client.is_some());
                if let Some(client) = client {
                    client.end(admin_order("admin forced disconnect"));
                }
            }
            ToWorker::Settle(client) => self.settle_client(*client),
            ToWorker::Whereabouts { process_id, worker, here } => {
                self.moving.note(process_id, worker, here, self.index);
            }
            ToWorker::Share(word) => self.hear_share(*word, now),
            ToWorker::Reconnect(database) => {
                self.sharing.epochs.next();
                for home in self.homes_of(database.as_deref()) {
                    home.outdate(now);
                }
                self.hear_early_words(now);
            }
            ToWorker::WaitClose(database, done) => {
                self.answer_when(database, done, |home| home.pool.marked() == 0);
            }
            ToWorker::Disable(database, on) => {
                let mut paused = self.paused.borrow_mut();
                paused.disabled.retain(|known| *known != database);
                if on {
                    paused.disabled.push(database);
                }
            }
            ToWorker::Drain(how, done) => self.drain(how, done),
            ToWorker::Stop => {}
        }
    }

    fn note_pause(&self, database: Option<&str>) {
        let mut paused = self.paused.borrow_mut();
        match database {
            None => paused.all = true,
            Some(name) if !paused.databases.iter().any(|known| known == name) => {
                paused.databases.push(name.to_owned());
            }
            Some(_) => {}
        }
    }

    fn note_resume(&self, database: Option<&str>) {
        let mut paused = self.paused.borrow_mut();
        match database {
            None => {
                paused.all = false;
            }
            Some(name) => paused.databases.retain(|known| known != name),
        }
    }

    /// Answers once `done` holds for all pools of a database, or gives up when nobody waits for it any more.
    fn answer_when(
        self: &Rc<Self>,
        database: Option<String>,
        mut reply: oneshot::Sender<()>,
        done: impl Fn(&Home) -> bool + 'static,
    ) {
        let worker = Rc::clone(self);
        rt::spawn_local("wait for pools", async move {
            while !worker.homes_of(database.as_deref()).iter().all(|home| done(home)) {
                let next = clock::now() + LOOK_AGAIN;
                if rt::timeout_at(next, reply.closed()).await.is_ok() {
                    return;
                }
            }
            let _ = reply.send(());
        });
    }

    fn kill(self: &Rc<Self>, database: Option<String>, done: oneshot::Sender<()>) {
        self.note_pause(database.as_deref());
        self.moving.kills.borrow_mut().note(database.as_deref());
        for home in self.homes_of(database.as_deref()) {
            home.pause();
        }
        let order = admin_order("database removed");
        self.end_clients(&order, |client| {
            client.home.is_some() && database.as_deref().is_none_or(|name| client.database() == name)
        });
        self.answer_when(database, done, Home::is_drained);
    }

    fn drain(self: &Rc<Self>, how: Drain, mut done: oneshot::Sender<()>) {
        self.standing.set(Standing::Draining(how));
        self.go_on_draining();
        let worker = Rc::clone(self);
        rt::spawn_local("drain", async move {
            while !worker.is_empty(how) {
                if rt::timeout_at(clock::now() + LOOK_AGAIN, done.closed()).await.is_ok() {
                    return;
                }
            }
            let _ = done.send(());
        });
    }

    /// Tells the clients what the drain means for them; repeated, because logins may have been under way.
    pub(super) fn go_on_draining(&self) {
        let Standing::Draining(how) = self.standing.get() else { return };
        match how {
            Drain::Transactions => {
                let text = "terminating connection due to administrator command";
                let tell = Some(PgError::fatal(SqlState::ADMIN_SHUTDOWN, text));
                let order = EndOrder { tell, class: None, at_transaction_end: true };
                self.end_clients(&order, |client| client.home.is_some() && !client.is_ordered());
            }
            Drain::Servers => {
                for home in self.homes_of(None) {
                    home.pause();
                    home.pool
                        .fail_all_waiters(PgError::fatal(SqlState::ADMIN_SHUTDOWN, "server shutting down"));
                }
            }
            Drain::Clients => {}
        }
    }

    fn is_empty(&self, how: Drain) -> bool {
        match how {
            Drain::Transactions => self.clients.borrow().values().all(|client| client.home.is_none()),
            Drain::Clients => self.clients.borrow().is_empty(),
            Drain::Servers => self.homes_of(None).iter().all(|home| home.is_drained()),
        }
    }

    /// Ends every client at once, telling it so, and gives their last words a moment.
    async fn stop(self: Rc<Self>) {
        /// For 57P01 to leave, and for cancels and goodbyes to servers.
        const LAST_WORDS: Duration = Duration::from_millis(500);
        self.standing.set(Standing::Draining(Drain::Transactions));
        let text = "terminating connection due to administrator command";
        let tell = Some(PgError::fatal(SqlState::ADMIN_SHUTDOWN, text));
        self.end_clients(&EndOrder { tell, class: None, at_transaction_end: false }, |_| true);
        let mut homes = self.homes_of(None);
        homes.extend(self.leaving.borrow().iter().cloned());
        for home in &homes {
            home.pool.close(PoolEnd::Shutdown, clock::now());
            home.listener.nudge();
        }
        self.sweep();
        let deadline = clock::now() + LAST_WORDS;
        while clock::now() < deadline {
            let servers: usize = homes.iter().map(|home| home.servers.borrow().len()).sum();
            if self.clients.borrow().is_empty() && servers == 0 {
                return;
            }
            rt::sleep_until(clock::now() + LOOK_AGAIN / 10).await;
        }
    }
}

pub(super) fn admin_order(text: &'static str) -> EndOrder {
    EndOrder {
        tell: Some(PgError::fatal(SqlState::ADMIN_SHUTDOWN, text)),
        class: Some(ErrorClass::Admin),
        at_transaction_end: false,
    }
}

//! Cancel requests of clients: from a key to the server that runs what is meant, if anything does.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::inbox::{ToWorker, oneshot};
use super::keys::read_secret;
use super::state::Worker;
use crate::client::Pause;
use crate::net::{clock, rt};
use crate::server::{Home, ServerEntry, cancel_server};

/// For configurations without `cancel_wait_timeout`: a cancel that takes longer helps nobody.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

impl Worker {
    /// A cancel request goes to the worker that gave out its key, and on to where the client has moved; an unknown key
    /// is dropped without a word (S38). Only if nothing came of that, and the number may be that of a client's server,
    /// which tells nothing about the worker, all others are asked.
    pub(super) async fn route_cancel(self: &Rc<Self>, process_id: i32, secret: &[u8]) {
        let Some(secret) = read_secret(&self.seed, process_id, secret) else { return };
        let limit = self.config.borrow().pacing.cancel_wait_timeout.unwrap_or(LONGEST_WAIT);
        let deadline = clock::now() + limit;
        let owner = Self::owner_of_key(process_id);
        let asked = self.ask_to_cancel(owner, (process_id, secret), true).await;
        if let Some(finished) = asked
            && !matches!(rt::timeout_at(deadline, finished).await, Ok(Err(_)))
        {
            return;
        }
        if !self.shared.has_backend_keys.load(Ordering::Relaxed) {
            return;
        }
        let mut waits = Vec::new();
        for worker in (0..self.shared.inboxes.len()).filter(|&worker| worker != owner) {
            waits.extend(self.ask_to_cancel(worker, (process_id, secret), false).await);
        }
        for finished in waits {
            let _ = rt::timeout_at(deadline, finished).await;
        }
    }

    /// Asks one worker; `None` if there is no such worker. The answer fails if nothing was to be cancelled there.
    async fn ask_to_cancel(
        self: &Rc<Self>,
        worker: usize,
        (process_id, secret): (i32, i32),
        follow: bool,
    ) -> Option<oneshot::Receiver<()>> {
        let inbox = self.shared.inboxes.get(worker)?;
        let (done, finished) = oneshot::channel();
        if worker == self.index {
            self.cancel((process_id, secret), follow, done);
        } else {
            let _ = inbox.send(ToWorker::Cancel { process_id, secret, follow, done }).await;
        }
        Some(finished)
    }

    /// Cancels what the client with this key waits for or runs; a client that does neither is left alone. While its
    /// server runs messages of our own ahead of its request, the cancel waits for that request (F39).
    pub(super) fn cancel(
        self: &Rc<Self>,
        (process_id, secret): (i32, i32),
        follow: bool,
        done: oneshot::Sender<()>,
    ) {
        let shown = process_id;
        let process_id = self.aliases.find(process_id, secret).unwrap_or(process_id);
        let client = self.clients.borrow().get(&process_id).filter(|client| client.key.1 == secret).cloned();
        let Some((client, home)) = client.and_then(|client| client.home.clone().map(|home| (client, home)))
        else {
            if let Some(worker) = self.moving.whereabouts(shown).filter(|_| follow) {
                self.send_on(worker, ToWorker::Cancel { process_id: shown, secret, follow: false, done });
            }
            return;
        };
        if let Some(waiter) = client.waiter.get() {
            home.pool.cancel_waiter(waiter);
            let _ = done.send(());
        } else if let Some(server) = client.cancelable_server() {
            begin_cancel(&home, &server, done);
        } else if client.paused_since(Pause::Preparing).is_some() {
            client.hold_cancel(Box::new(move |server| begin_cancel(&home, server, done)));
        }
    }
}

/// One cancel at a time and server: a second one could only hit what the first has hit already.
fn begin_cancel(home: &Rc<Home>, server: &Rc<ServerEntry>, done: oneshot::Sender<()>) {
    if server.cancels.get() > 0 || done.is_closed() {
        return;
    }
    let cancel = cancel_server(home, server);
    rt::spawn_local("cancel", async move {
        cancel.await;
        let _ = done.send(());
    });
}

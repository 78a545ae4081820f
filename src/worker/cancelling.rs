//! Cancel requests of clients: from a key to the server that runs what is meant, if anything does.

use std::rc::Rc;
use std::time::Duration;

use super::inbox::{ToWorker, oneshot};
use super::state::Worker;
use crate::client::Pause;
use crate::net::{clock, rt};
use crate::server::{Home, ServerEntry, cancel_server};

/// For configurations without `cancel_wait_timeout`: a cancel that takes longer helps nobody.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

impl Worker {
    /// A cancel request goes to the worker that gave out its key; an unknown key is dropped without a word (S38).
    pub(super) async fn route_cancel(self: &Rc<Self>, process_id: i32, secret: &[u8]) {
        let Ok(secret) = <[u8; 4]>::try_from(secret) else { return };
        let secret = i32::from_be_bytes(secret);
        let owner = Self::owner_of_key(process_id);
        let (done, finished) = oneshot::channel();
        if owner == self.index {
            self.cancel(process_id, secret, done);
        } else if let Some(inbox) = self.shared.inboxes.get(owner) {
            let _ = inbox.send(ToWorker::Cancel { process_id, secret, done }).await;
        } else {
            return; // made up: no worker gives out such keys
        }
        let limit = self.config.borrow().pacing.cancel_wait_timeout.unwrap_or(LONGEST_WAIT);
        let _ = rt::timeout_at(clock::now() + limit, finished).await;
    }

    /// Cancels what the client with this key waits for or runs; a client that does neither is left alone. While its
    /// server runs messages of our own ahead of its request, the cancel waits for that request (F39).
    pub(super) fn cancel(self: &Rc<Self>, process_id: i32, secret: i32, done: oneshot::Sender<()>) {
        if let Some(worker) = self.moving.whereabouts(process_id) {
            let inbox = self.shared.inboxes.get(worker);
            let _ = inbox.map(|inbox| inbox.try_send(ToWorker::Cancel { process_id, secret, done }));
            return;
        }
        let client = self.clients.borrow().get(&process_id).filter(|client| client.key.1 == secret).cloned();
        let Some((client, home)) = client.and_then(|client| client.home.clone().map(|home| (client, home)))
        else {
            return;
        };
        if let Some(waiter) = client.waiter.get() {
            home.pool.cancel_waiter(waiter);
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

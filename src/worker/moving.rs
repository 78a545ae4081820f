//! Clients that move from one worker to another while they rest.
//!
//! Owns: which clients move, and where those have gone whose cancel keys were given out here. Does not know: when a
//! pool is spread over workers (`load`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::homes::split_of;
use super::inbox::{MovedClient, ToWorker, mpsc};
use super::kills::Kills;
use super::life::{OnBoard, Registered};
use super::orders::admin_order;
use super::state::{Standing, Worker};
use super::task::{Aboard, Life};
use crate::client::{ClientEntry, ClientState, Conversation, Move, Pause};
use crate::config::PoolSplit;
use crate::net::{Stream, clock, rt};
use crate::server::Home;
use crate::session::Rested;

/// Clients that a worker asks to move on one tick: a thousand are spread in ten seconds, and no tick is long.
const MOVES_PER_TICK: usize = 32;

/// Two workers whose numbers of clients differ by less are even enough.
const EVEN: usize = 4;

/// See the module.
#[derive(Default)]
pub(super) struct Moving {
    /// Workers of clients whose keys were given out here, by the first half of the key; none of this worker's own.
    elsewhere: RefCell<HashMap<i32, usize>>,
    /// Orders to end clients at once.
    pub(super) kills: RefCell<Kills>,
}

impl Moving {
    /// Whether a key is one of a client that has moved.
    pub(super) fn knows(&self, process_id: i32) -> bool {
        self.elsewhere.borrow().contains_key(&process_id)
    }

    /// The worker of a client that has moved.
    pub(super) fn whereabouts(&self, process_id: i32) -> Option<usize> {
        self.elsewhere.borrow().get(&process_id).copied()
    }

    /// A worker has a client, or has it no more; `own` is this worker.
    pub(super) fn note(&self, process_id: i32, worker: usize, here: bool, own: usize) {
        let mut elsewhere = self.elsewhere.borrow_mut();
        if here && worker != own {
            elsewhere.insert(process_id, worker);
        } else if here || elsewhere.get(&process_id) == Some(&worker) {
            elsewhere.remove(&process_id);
        }
    }
}

/// Which clients are asked to move, where so many should in all: those that were asked and are at work will still. Those
/// that could not the last time are asked when no others are left; something may have changed.
fn chosen(moves: &[Move], wanted: usize, at_most: usize) -> Vec<usize> {
    let under_way = moves.iter().filter(|known| matches!(known, Move::To(_))).count();
    let which = |state| (0..moves.len()).filter(move |&at| moves.get(at) == Some(&state));
    which(Move::Unasked)
        .chain(which(Move::Unmovable))
        .take(wanted.saturating_sub(under_way).min(at_most))
        .collect()
}

impl Worker {
    /// Asks clients at rest to move, a few at a time: to the worker with the fewest where a busy pool is spread, home
    /// where one is not any more.
    pub(super) fn spread_clients(&self, homes: &[Rc<Home>]) {
        let loads: Vec<usize> = self.shared.loads.iter().map(|load| load.load(Ordering::Relaxed)).collect();
        let own = loads.get(self.index).copied().unwrap_or(0);
        let Some((freest, fewest)) = loads.into_iter().enumerate().min_by_key(|(_, load)| *load) else {
            return;
        };
        if self.standing.get() != Standing::Open {
            return;
        }
        let mut left = MOVES_PER_TICK;
        for home in homes.iter().filter(|home| home.pool.rights().is_some()) {
            let (to, wanted) = match (self.spreads(home), self.is_split_now(home)) {
                (true, _) if own >= fewest + EVEN => (freest, (own - fewest) / 2),
                (_, true) => (self.index, 0),
                (_, false) => (usize::from(self.home_share(home.pool.key()).0), usize::MAX),
            };
            let Ok(target) = u8::try_from(to) else { continue };
            let is_its = |client: &&Rc<ClientEntry>| {
                client.state.get() != ClientState::Login
                    && client.home.as_ref().is_some_and(|its| its.pool.is_same(&home.pool))
            };
            let clients: Vec<_> = self.clients.borrow().values().filter(is_its).cloned().collect();
            let moves: Vec<_> = clients.iter().map(|client| client.moving.get()).collect();
            if to == self.index || wanted == 0 {
                clients.iter().filter(|client| matches!(client.moving.get(), Move::To(_))).for_each(
                    |client| {
                        client.moving.set(Move::Unasked); // what was wanted is not any more
                    },
                );
                continue;
            }
            for client in chosen(&moves, wanted, left).into_iter().filter_map(|at| clients.get(at)) {
                client.moving.set(Move::To(target));
                client.wake();
                left -= 1;
            }
        }
    }

    /// Whether clients of this pool are spread anew. Where a pool is always split they were when they logged in.
    fn spreads(&self, home: &Home) -> bool {
        let config = self.config();
        let entry = config.database(&home.pool.key().database);
        entry.is_some_and(|entry| split_of(&config, entry) == PoolSplit::Auto) && self.is_split_now(home)
    }

    /// Tells the worker that gave out a client's key whether the client is here.
    pub(super) fn tell_whereabouts(&self, process_id: i32, here: bool) {
        let owner = Self::owner_of_key(process_id);
        let word = ToWorker::Whereabouts { process_id, worker: self.index, here };
        if owner == self.index {
            return self.moving.note(process_id, self.index, here, self.index);
        }
        self.send_on(owner, word);
    }

    /// Sends a word that must arrive, when there is room for it.
    pub(super) fn send_on(&self, worker: usize, word: ToWorker) {
        let Some(inbox) = self.shared.inboxes.get(worker).cloned() else { return };
        if let Err(mpsc::error::TrySendError::Full(word)) = inbox.try_send(word) {
            rt::spawn_detached("word", async move {
                let _ = inbox.send(word).await;
            });
        }
    }

    /// A client that was another worker's goes on here.
    pub(super) fn settle_client(self: &Rc<Self>, moved: MovedClient) {
        let on_board = OnBoard::new(self);
        let killed = self.moving.kills.borrow().has_missed(moved.kills, &moved.pool.0);
        let MovedClient { socket, client, id, key, login, pool, counted, .. } = moved;
        let home = self.home(&pool.0, &pool.1, clock::now());
        let stream = socket.attach();
        let (Some(home), Ok(stream)) = (home, stream) else {
            tracing::warn!(client = id, database = pool.0, "client lost between workers");
            return self.tell_whereabouts(key.0, false);
        };
        if home.proven.borrow().is_none()
            && let Some(proven) = moved.proven
        {
            self.learn_secrets(&home, proven);
        }
        let rested = client.unpack(&mut home.catalog.borrow_mut());
        let entry = Rc::new(ClientEntry {
            id,
            key,
            user: login.into(),
            home: Some(Rc::clone(&home)),
            tls: moved.tls,
            ..ClientEntry::blank(moved.connected_at, stream.ends().clone())
        });
        entry.state.set(ClientState::Idle);
        entry.request_at.set(moved.request_at);
        entry.pause.set(Pause::Idle);
        entry.pause_since.set(moved.idle_since);
        self.clients.borrow_mut().insert(key.0, Rc::clone(&entry));
        let registered = Registered { worker: Rc::clone(self), entry: Rc::clone(&entry) };
        self.tell_whereabouts(key.0, true);
        let present = home.pool.client_present();
        let conversation = Conversation::resumed(stream, rested, Rc::clone(&self.scratch));
        let aboard = Aboard { registered, _on_board: on_board, counted, _present: present };
        rt::spawn_detached("client", Life::Talking(conversation, aboard));
        if killed {
            entry.end(admin_order("database removed"));
        }
    }
}

/// A client at rest leaves for another worker; for its own, if that cannot take it now.
pub(super) fn move_away((stream, rested): (Stream, Rested), aboard: Aboard, to: u8) {
    let Aboard { registered, counted, .. } = aboard;
    let (worker, entry) = (Rc::clone(&registered.worker), Rc::clone(&registered.entry));
    let Some(home) = &entry.home else { return };
    drop(registered);
    let socket = match stream.detach() {
        Ok(socket) => socket,
        Err(error) => return tracing::warn!(%error, client = entry.id, "client lost between workers"),
    };
    let key = home.pool.key();
    let moved = Box::new(MovedClient {
        socket,
        client: rested.pack(home.names.len()),
        id: entry.id,
        key: entry.key,
        login: entry.user.to_string(),
        pool: (key.database.to_string(), key.user.to_string()),
        tls: entry.tls,
        connected_at: entry.connected_at.into(),
        request_at: entry.request_at.get(),
        idle_since: entry.pause_since.get(),
        proven: home.proven.borrow().clone(),
        kills: worker.moving.kills.borrow().count(),
        counted,
    });
    tracing::debug!(client = entry.id, "client moves to worker {to}");
    // Before it can ask for anything there: its key may be used from then on.
    if Worker::owner_of_key(entry.key.0) == worker.index {
        worker.moving.note(entry.key.0, usize::from(to), true, worker.index);
    }
    let Some(inbox) = worker.shared.inboxes.get(usize::from(to)) else { return };
    if let Err(refused) = inbox.try_send(ToWorker::Settle(moved))
        && let ToWorker::Settle(moved) = refused.into_inner()
    {
        worker.settle_client(*moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same clients were asked on each tick: if they could not move, others that could never were.
    #[test]
    fn clients_that_cannot_move_do_not_stand_before_those_that_can() {
        let mut moves = vec![Move::Unmovable; 40];
        moves.extend([Move::Unasked; 3]);
        assert_eq!(chosen(&moves, 2, MOVES_PER_TICK), [40, 41]);
        assert_eq!(chosen(&moves, 4, MOVES_PER_TICK), [40, 41, 42, 0], "they may be able to by now");
        assert_eq!(chosen(&moves, usize::MAX, 2), [40, 41]);
        moves[40] = Move::To(1);
        assert_eq!(chosen(&moves, 2, MOVES_PER_TICK), [41], "one will move when it rests");
        assert_eq!(chosen(&moves, 1, MOVES_PER_TICK), [0; 0]);
    }
}

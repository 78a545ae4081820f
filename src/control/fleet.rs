//! The workers, seen from the control plane.
//!
//! Owns: the ways into the workers, the choice of one for a new connection, questions to all of them. Does not
//! know: what the messages mean.
//!
//! Invariants:
//! - Orders reach one worker in the sequence in which they were given, whatever else is under way.
//! - An order is in the inbox before the next connection unless the inbox is full: who is told that a command was
//!   carried out, and then connects, finds it so.
//! - Giving an order never waits: a worker that does not read its inbox delays nobody but those who want its answer.
//! - A worker that has ended is skipped: it has no clients and no servers any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use crate::net::clock;
use crate::worker::{ToWorker, WorkerHandle};

/// Orders that may wait for one worker beside its inbox. Commands and reports come from a few consoles and
/// scrapers, and a reload repeats what is paused; a worker that is this far behind is stuck.
const ORDERS_BOUND: usize = 1024;

/// One worker.
struct Member {
    /// Where connections go; a full inbox holds back the listeners.
    inbox: mpsc::Sender<ToWorker>,
    /// Where everything else goes when the inbox is full: a task passes it on in order.
    orders: mpsc::Sender<ToWorker>,
    /// Orders that have not reached the inbox yet.
    behind: Arc<AtomicUsize>,
    /// Clients of the worker, those in login included.
    load: Arc<AtomicUsize>,
}

/// All workers. Clones mean the same workers.
#[derive(Clone)]
pub(super) struct Fleet(Arc<[Member]>);

/// Not every worker took an order: one of them does not read its inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stuck;

impl Fleet {
    /// The workers behind these handles. Must be called inside the control runtime.
    pub(super) fn new(handles: &[WorkerHandle]) -> Self {
        Self::from_parts(handles.iter().map(|handle| (handle.inbox.clone(), Arc::clone(&handle.load))))
    }

    /// The same from inboxes and loads.
    pub(super) fn from_parts(
        parts: impl IntoIterator<Item = (mpsc::Sender<ToWorker>, Arc<AtomicUsize>)>,
    ) -> Self {
        let member = |(inbox, load): (mpsc::Sender<ToWorker>, _)| {
            let (orders, from) = mpsc::channel(ORDERS_BOUND);
            let behind = Arc::default();
            tokio::spawn(pass_on(from, inbox.clone(), Arc::clone(&behind)));
            Member { inbox, orders, behind, load }
        };
        Self(parts.into_iter().map(member).collect())
    }

    /// Number of workers, ended ones included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no worker is left.
    pub(super) fn is_gone(&self) -> bool {
        self.0.iter().all(|member| member.inbox.is_closed())
    }

    /// As [`hand_over`](Self::hand_over), one after the other. `false` if no worker is left; those that nobody has
    /// taken are closed then.
    pub(super) async fn hand_over_all(&self, connections: impl Iterator<Item = ToWorker>) -> bool {
        for connection in connections {
            if !self.hand_over(connection).await {
                return false;
            }
        }
        true
    }

    /// Hands a connection to the worker with the fewest clients; if its inbox is full, to the next; if all are
    /// full, waits for the first (back-pressure). `false` if no worker is left; the connection is closed then.
    ///
    /// Not cancel safe: a connection in hand is closed when the future is dropped.
    pub(super) async fn hand_over(&self, connection: ToWorker) -> bool {
        let mut connection = connection;
        if let [only] = &*self.0 {
            let Some(back) = only.offer(connection) else { return true };
            connection = back;
        }
        for member in self.by_load() {
            let Some(back) = member.offer(connection) else { return true };
            connection = back;
        }
        while let Some(member) = self.by_load().first().copied() {
            let Ok(place) = member.inbox.reserve().await else { continue };
            member.load.fetch_add(1, Ordering::Relaxed);
            place.send(connection);
            return true;
        }
        false
    }

    /// Living workers, the one with the fewest clients first; equals in their own order.
    fn by_load(&self) -> Vec<&Member> {
        let mut members: Vec<_> =
            self.0.iter().filter(|member| !member.inbox.is_closed()).map(|m| (m.clients(), m)).collect();
        members.sort_by_key(|(clients, _)| *clients);
        members.into_iter().map(|(_, member)| member).collect()
    }

    /// Gives every worker an order.
    pub(super) fn tell(&self, mut order: impl FnMut() -> ToWorker) -> Result<(), Stuck> {
        let mut outcome = Ok(());
        for member in &*self.0 {
            if let Err(TrySendError::Full(_)) = member.order(order()) {
                outcome = Err(Stuck);
            }
        }
        outcome
    }

    /// Gives the first worker an order.
    pub(super) fn tell_one(&self, order: ToWorker) -> Result<(), Stuck> {
        let Some(member) = self.0.first() else { return Err(Stuck) };
        member.order(order).map_err(|_| Stuck)
    }

    /// Asks every worker.
    pub(super) fn ask<T>(&self, mut question: impl FnMut(oneshot::Sender<T>) -> ToWorker) -> Answers<T> {
        let mut answers = Answers { waits: Vec::with_capacity(self.len()), stuck: 0 };
        for member in &*self.0 {
            let (tx, rx) = oneshot::channel();
            match member.order(question(tx)) {
                Ok(()) => answers.waits.push(rx),
                Err(TrySendError::Full(_)) => answers.stuck += 1,
                Err(TrySendError::Closed(_)) => {}
            }
        }
        answers
    }

    /// Resolves when every worker has ended.
    pub(super) async fn ended(&self) {
        for member in &*self.0 {
            member.inbox.closed().await;
        }
    }

    /// Resolves when the worker of this number has ended.
    pub(super) async fn member_ended(&self, number: usize) {
        if let Some(member) = self.0.get(number) {
            member.inbox.closed().await;
        }
    }
}

impl Member {
    fn clients(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Gives an order without waiting: into the inbox, or behind the orders that wait for a place there.
    fn order(&self, order: ToWorker) -> Result<(), TrySendError<ToWorker>> {
        let mut order = order;
        if self.behind.load(Ordering::Acquire) == 0 {
            match self.inbox.try_send(order) {
                Err(TrySendError::Full(back)) => order = back,
                done => return done,
            }
        }
        self.behind.fetch_add(1, Ordering::AcqRel);
        let queued = self.orders.try_send(order);
        if queued.is_err() {
            self.behind.fetch_sub(1, Ordering::AcqRel);
        }
        queued
    }

    /// Hands over without waiting; gives the connection back if the worker cannot take it. The load counts from here on, so that a burst spreads; the worker takes the
    /// client off again when it ends.
    fn offer(&self, connection: ToWorker) -> Option<ToWorker> {
        self.load.fetch_add(1, Ordering::Relaxed);
        let refused = self.inbox.try_send(connection).err()?;
        self.load.fetch_sub(1, Ordering::Relaxed);
        Some(refused.into_inner())
    }
}

async fn pass_on(
    mut orders: mpsc::Receiver<ToWorker>,
    inbox: mpsc::Sender<ToWorker>,
    behind: Arc<AtomicUsize>,
) {
    while let Some(order) = orders.recv().await {
        if inbox.send(order).await.is_err() {
            return;
        }
        behind.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Answers that are still to come.
pub(super) struct Answers<T> {
    waits: Vec<oneshot::Receiver<T>>,
    stuck: usize,
}

impl<T> Answers<T> {
    /// All answers, however long they take. A worker that ended has none. `Err` if a worker did not even take the
    /// question.
    pub(super) async fn all(self) -> Result<Vec<T>, Stuck> {
        let mut answers = Vec::with_capacity(self.waits.len());
        for wait in self.waits {
            answers.extend(wait.await);
        }
        if self.stuck == 0 { Ok(answers) } else { Err(Stuck) }
    }

    /// The answers that come in time, and how many workers gave none although they took the question, or did not
    /// take it.
    pub(super) async fn within(self, bound: Duration) -> (Vec<T>, usize) {
        let deadline = clock::now() + bound;
        let mut answers = Vec::with_capacity(self.waits.len());
        let mut silent = self.stuck;
        for wait in self.waits {
            match timeout_at(deadline.into(), wait).await {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(_)) | Err(_) => silent += 1,
            }
        }
        (answers, silent)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Crew, crew};
    use super::*;

    /// Something to hand over: the choice does not look inside.
    fn connection() -> ToWorker {
        ToWorker::Resume(None)
    }

    #[tokio::test]
    async fn the_worker_with_the_fewest_clients_gets_the_connection() {
        let Crew { fleet, loads, mut inboxes } = crew(3, 8);
        loads[0].store(5, Ordering::Relaxed);
        loads[1].store(2, Ordering::Relaxed);
        loads[2].store(9, Ordering::Relaxed);
        assert!(fleet.hand_over(connection()).await);
        assert!(inboxes[1].try_recv().is_ok());
        assert_eq!(loads[1].load(Ordering::Relaxed), 3);
        assert!(inboxes[0].try_recv().is_err() && inboxes[2].try_recv().is_err());
    }

    #[tokio::test]
    async fn a_burst_spreads_although_no_worker_has_looked_yet() {
        let Crew { fleet, loads, inboxes: _open } = crew(4, 8);
        for _ in 0..8 {
            assert!(fleet.hand_over(connection()).await);
        }
        assert!(loads.iter().all(|load| load.load(Ordering::Relaxed) == 2));
    }

    #[tokio::test]
    async fn a_full_inbox_passes_the_connection_on_and_all_full_hold_it_back() {
        let Crew { fleet, loads, mut inboxes } = crew(2, 1);
        loads[1].store(7, Ordering::Relaxed);
        assert!(fleet.hand_over(connection()).await);
        assert!(fleet.hand_over(connection()).await, "the first is full, the second takes it");
        let mut third = Box::pin(fleet.hand_over(connection()));
        assert!(futures_pending(&mut third).await, "both are full");
        assert!(inboxes[0].recv().await.is_some());
        assert!(third.await);
        assert_eq!(loads[0].load(Ordering::Relaxed), 2);
        assert_eq!(loads[1].load(Ordering::Relaxed), 8);
    }

    /// Polls once.
    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
        })
        .await
    }

    #[tokio::test]
    async fn a_worker_that_ended_is_skipped_and_none_left_is_said() {
        let Crew { fleet, loads, mut inboxes } = crew(2, 4);
        drop(inboxes.remove(0));
        assert!(fleet.hand_over(connection()).await);
        assert_eq!(loads[0].load(Ordering::Relaxed), 0);
        assert!(inboxes[0].try_recv().is_ok());
        inboxes.clear();
        assert!(!fleet.hand_over(connection()).await);
        assert!(fleet.is_gone());
    }

    #[tokio::test]
    async fn orders_keep_their_sequence_and_never_wait() {
        let Crew { fleet, mut inboxes, .. } = crew(1, 1);
        let name = |i: usize| Some(i.to_string());
        // One has room in the inbox.
        for i in 0..=ORDERS_BOUND {
            assert_eq!(fleet.tell(|| ToWorker::Resume(name(i))), Ok(()));
        }
        assert_eq!(fleet.tell(|| ToWorker::Resume(None)), Err(Stuck), "the bound is reached");
        for i in 0..=ORDERS_BOUND {
            let order = inboxes[0].recv().await;
            assert!(matches!(order, Some(ToWorker::Resume(n)) if n == name(i)), "order {i}");
        }
    }

    /// DISABLE and ENABLE were answered while the order was still on its way: who logged in at once was refused.
    #[tokio::test]
    async fn an_order_comes_before_the_next_connection() {
        let Crew { fleet, mut inboxes, .. } = crew(1, 8);
        for _ in 0..3 {
            assert_eq!(fleet.tell(|| ToWorker::Reconnect(None)), Ok(()));
            assert!(fleet.hand_over(connection()).await);
        }
        for _ in 0..3 {
            assert!(matches!(inboxes[0].try_recv(), Ok(ToWorker::Reconnect(None))));
            assert!(matches!(inboxes[0].try_recv(), Ok(ToWorker::Resume(None))));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_worker_costs_its_own_answer_only() {
        let Crew { fleet, mut inboxes, .. } = crew(2, 4);
        let answers = fleet.ask(|done| ToWorker::KillClient(7, done));
        match inboxes[0].recv().await {
            Some(ToWorker::KillClient(7, done)) => done.send(true).unwrap(),
            _ => panic!("expected KillClient"),
        }
        assert_eq!(answers.within(Duration::from_secs(5)).await, (vec![true], 1));
    }
}

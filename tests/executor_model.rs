//! The interleavings of the executor's mailbox, checked by loom up to a bound: a wake-up that was posted is never slept through.
//!
//! The file under test is the one that is shipped; loom's locks and atomics take the place of the standard ones.

#![allow(clippy::unwrap_used)]

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};
    pub(crate) use loom::sync::{Arc, Mutex};

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }
}

#[path = "../src/net/exec/mailbox.rs"]
mod mailbox;

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};
use mailbox::{Mailbox, Postable};
use sync::AtomicBool;

struct Task {
    posted: AtomicBool,
    polled: AtomicUsize,
}

impl Postable for Task {
    fn posted(&self) -> &AtomicBool {
        &self.posted
    }
}

struct Worker {
    mailbox: Mailbox<Task>,
    /// The bell: like an eventfd it stays rung until it is heard.
    bell: Notify,
}

fn post(worker: &Worker, task: &Arc<Task>, ready: &AtomicUsize) {
    ready.fetch_add(1, Ordering::SeqCst);
    if worker.mailbox.post(task) {
        worker.bell.notify();
    }
}

/// The owner's loop: it sleeps until the bell rings, collects, polls. A lost wake-up is a deadlock, which loom
/// reports.
fn sleep_until_seen(worker: &Worker, ready: &AtomicUsize, wanted: usize) {
    let mut seen = 0;
    while seen < wanted {
        worker.bell.wait(); // may also return for no reason
        worker.mailbox.collect(|task| {
            task.polled.fetch_add(1, Ordering::SeqCst);
            // Polling looks at the state that the wake-up was about.
            seen = ready.load(Ordering::SeqCst);
        });
    }
}

/// Context switches at most that a thread does not ask for. Loom's documentation recommends two or three; without a
/// bound this model did not end within ten minutes.
const PREEMPTIONS: usize = 2;

fn model(tasks: usize, threads: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let worker = Arc::new(Worker { mailbox: Mailbox::default(), bell: Notify::new() });
        let ready = Arc::new(AtomicUsize::new(0));
        let all: Vec<_> = (0..tasks)
            .map(|_| Arc::new(Task { posted: AtomicBool::new(false), polled: AtomicUsize::new(0) }))
            .collect();
        let wakers: Vec<_> = (0..threads)
            .map(|number| {
                let (worker, ready) = (Arc::clone(&worker), Arc::clone(&ready));
                let task = Arc::clone(&all[number % tasks]);
                loom::thread::spawn(move || post(&worker, &task, &ready))
            })
            .collect();
        sleep_until_seen(&worker, &ready, threads);
        for waker in wakers {
            waker.join().unwrap();
        }
        let polled: usize = all.iter().map(|task| task.polled.load(Ordering::SeqCst)).sum();
        assert!(polled <= threads, "no wake-up polls twice");
    });
}

#[test]
fn one_task_woken_by_two_threads_is_seen() {
    model(1, 2);
}

#[test]
fn two_tasks_woken_by_two_threads_are_both_seen() {
    model(2, 2);
}

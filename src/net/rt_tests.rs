//! Promises of the runtime seam.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::testing::run;
use super::{Elapsed, clock, offload, run_worker, sleep_until, spawn_local, timeout_at, yield_now};
use crate::config::Runtime;

#[test]
fn a_worker_is_one_named_thread_and_ends_with_its_future() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let worker = run_worker("worker-7", Runtime::Reactor, move || {
        // The future is made on the thread, so it may hold what cannot be sent.
        let count = Rc::new(Cell::new(0));
        async move {
            let counted = Rc::clone(&count);
            spawn_local("add", async move { counted.set(counted.get() + 1) }).await.unwrap();
            let name = std::thread::current().name().map(str::to_owned);
            sender.send((count.get(), name)).unwrap();
        }
    });
    worker.unwrap().join().unwrap();
    assert_eq!(receiver.recv().unwrap(), (1, Some("worker-7".to_owned())));
}

#[test]
fn a_panic_ends_one_task_and_drops_what_it_held_at_once() {
    run(|| async {
        let held = Rc::new(());
        let weak = Rc::downgrade(&held);
        let doomed = spawn_local("doomed", async move {
            yield_now().await;
            assert!(Rc::strong_count(&held) > 1, "as arranged");
        });
        let sibling = spawn_local("sibling", async { 3 });
        assert_eq!(doomed.await, None::<()>);
        assert!(weak.upgrade().is_none(), "what the task held must not outlive it");
        assert_eq!(sibling.await, Some(3));
    });
}

#[test]
fn a_task_outlives_its_handle_unless_aborted() {
    run(|| async {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        drop(spawn_local("free", async move {
            yield_now().await;
            sender.send(5).unwrap();
        }));
        assert_eq!(receiver.await, Ok(5));

        let aborted = spawn_local("aborted", std::future::pending::<()>());
        aborted.abort();
        assert_eq!(aborted.await, None);
    });
}

#[test]
fn a_deadline_ends_what_waits_and_spares_what_is_ready() {
    run(|| async {
        let past = clock::now();
        assert_eq!(timeout_at(past, async { 1 }).await, Ok(1));
        assert_eq!(timeout_at(past, std::future::pending::<()>()).await, Err(Elapsed));
        let soon = clock::now() + Duration::from_millis(2);
        sleep_until(soon).await;
        assert!(clock::now() >= soon);
        assert!(clock::wall() > std::time::UNIX_EPOCH);
        assert_eq!(std::io::Error::from(Elapsed).kind(), std::io::ErrorKind::TimedOut);
    });
}

#[test]
fn slow_work_runs_beside_the_worker_and_its_panic_comes_back() {
    run(|| async {
        let here = std::thread::current().id();
        assert_ne!(offload(|| std::thread::current().id()).await, here);
        let task = spawn_local("offloads", offload(|| panic!("in the helper")));
        assert_eq!(task.await, None::<()>);
    });
}

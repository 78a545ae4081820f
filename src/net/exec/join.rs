//! The result of a task, for whoever started it.
//!
//! Owns: one result on its way. Does not know: what runs the task.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::tasks::TaskId;
use super::{Executor, current};

struct Cell<T> {
    result: Option<T>,
    ended: bool,
    waiting: Option<Waker>,
}

/// A running task's other end; see [`Task`](crate::net::Task).
pub(in crate::net) struct Join<T> {
    cell: Rc<RefCell<Cell<T>>>,
    id: TaskId,
}

/// Marks the cell as ended when the task's future is gone, in whatever way.
struct Ending<T>(Rc<RefCell<Cell<T>>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut cell = self.0.borrow_mut();
            cell.ended = true;
            cell.waiting.take()
        };
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl<T: 'static> Join<T> {
    pub(in crate::net) fn spawn(
        executor: &Executor,
        name: &'static str,
        future: impl Future<Output = T> + 'static,
    ) -> Self {
        let cell = Rc::new(RefCell::new(Cell { result: None, ended: false, waiting: None }));
        let ending = Ending(Rc::clone(&cell));
        let id = executor.spawn(name, async move {
            let ending = ending;
            let result = future.await;
            ending.0.borrow_mut().result = Some(result);
        });
        Self { cell, id }
    }
}

impl<T> Join<T> {
    pub(in crate::net) fn abort(&self) {
        if let Some(executor) = current() {
            executor.abort(self.id);
        }
    }

    pub(in crate::net) fn is_finished(&self) -> bool {
        self.cell.borrow().ended
    }

    /// The result once the task has ended; `None` if it panicked or was aborted.
    pub(in crate::net) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut cell = self.cell.borrow_mut();
        if cell.ended {
            return Poll::Ready(cell.result.take());
        }
        cell.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Unpin for Join<T> {}

impl<T> Future for Join<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        Self::poll(&mut self, cx)
    }
}

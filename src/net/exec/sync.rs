//! What `mailbox` is made of, so that a model checker can put its own in place.

pub(super) use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use std::sync::{Arc, Mutex};
use std::sync::{MutexGuard, PoisonError};

/// Locks for the moment of a push or a take; a panic in between leaves nothing half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! One thread's world: its clients, pools, servers, tick and inbox.
mod inbox;
pub use inbox::{Drain, INBOX_BOUND, ToWorker};

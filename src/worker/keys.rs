//! What a client shows to cancel: a process number and a secret.
//!
//! In session mode the number is that of the server the client keeps, so that `pg_terminate_backend`, the pids of
//! notifications and what monitors by pid mean what they say; in other modes it is one of ours. The secret is always
//! ours (S37). Clients that speak protocol 3.2 get a longer one, whose tail is worked out from the rest.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::state::Worker;
use crate::auth::{AuthSeed, CANCEL_TAIL};
use crate::client::ClientEntry;
use crate::server::ServerEntry;

/// The first minor version of the protocol whose secrets may be longer than four bytes.
const LONG_SECRETS: u16 = 2;

/// Set in the secrets of clients that have a longer one: four bytes are not enough to cancel them.
const LONG: i32 = 1;

/// Clients known by the process numbers of their servers: by their secrets, with the number of ours.
#[derive(Debug, Default)]
pub(super) struct Aliases(RefCell<HashMap<i32, (i32, i32)>>);

impl Aliases {
    /// Our number of the client that shows this.
    pub(super) fn find(&self, process_id: i32, secret: i32) -> Option<i32> {
        let known = self.0.borrow().get(&secret).copied();
        known.filter(|(shown, _)| *shown == process_id).map(|(_, own)| own)
    }

    /// Forgets what a client showed.
    pub(super) fn forget(&self, (own, secret): (i32, i32)) {
        let mut known = self.0.borrow_mut();
        if known.get(&secret).is_some_and(|(_, theirs)| *theirs == own) {
            known.remove(&secret);
        }
    }
}

/// Marks a secret as one that has a tail, or has none.
pub(super) const fn marked(secret: i32, minor: u16) -> i32 {
    if minor >= LONG_SECRETS { secret | LONG } else { secret & !LONG }
}

/// Bytes of a secret as a client gets it.
pub(super) fn shown_secret(seed: &AuthSeed, process_id: i32, secret: i32) -> Vec<u8> {
    let mut shown = secret.to_be_bytes().to_vec();
    if secret & LONG != 0 {
        shown.extend(seed.cancel_tail(process_id, secret));
    }
    shown
}

/// The secret behind what somebody shows; `None` if it is surely no client's.
pub(super) fn read_secret(seed: &AuthSeed, process_id: i32, shown: &[u8]) -> Option<i32> {
    let (front, tail) = shown.split_first_chunk::<4>()?;
    let secret = i32::from_be_bytes(*front);
    let fits = if secret & LONG == 0 {
        tail.is_empty()
    } else {
        <&[u8; CANCEL_TAIL]>::try_from(tail).is_ok_and(|tail| seed.is_cancel_tail(process_id, secret, tail))
    };
    fits.then_some(secret)
}

impl Worker {
    /// The process number a client is shown that keeps this server.
    pub(super) fn show_backend(&self, entry: &ClientEntry, server: &Rc<ServerEntry>) -> i32 {
        let (own, secret) = entry.key;
        let mut known = self.aliases.0.borrow_mut();
        if server.backend_pid <= 0 || known.contains_key(&secret) {
            return own;
        }
        known.insert(secret, (server.backend_pid, own));
        self.shared.has_backend_keys.store(true, Ordering::Relaxed);
        server.backend_pid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_secret_is_taken_whole_or_not_at_all() {
        let seed = AuthSeed::new([7; 32]);
        let (short, long) = (marked(0x1234_5679, 0), marked(0x1234_5678, 2));
        assert_eq!((short, long), (0x1234_5678, 0x1234_5679));
        let shown = shown_secret(&seed, 17, short);
        assert_eq!((shown.len(), read_secret(&seed, 17, &shown)), (4, Some(short)));
        let shown = shown_secret(&seed, 17, long);
        assert_eq!((shown.len(), read_secret(&seed, 17, &shown)), (4 + CANCEL_TAIL, Some(long)));
        assert_eq!(read_secret(&seed, 18, &shown), None, "of another number");
        assert_eq!(read_secret(&seed, 17, &shown[..4]), None, "cut");
        let mut other = shown;
        other[20] ^= 1;
        assert_eq!(read_secret(&seed, 17, &other), None);
        assert_eq!(read_secret(&seed, 17, b"abc"), None);
    }
}

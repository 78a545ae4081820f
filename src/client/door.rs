//! Who may stand before the door: limits of connections that have not logged in yet (R108, R109, R112).
//!
//! Owns: how many logins are in progress, in total and by address, how many failed within the second, and how many
//! may do what costs a core some milliseconds. Does not know: sockets, users, why a login failed. The limits are those
//! of the process: workers share one book, which a login touches twice.
//!
//! Invariants:
//! - `total` is the sum of the logins in progress of all addresses, and of the places that were handed out.
//! - The table holds at most [`MAX_LOGINS`] + [`MAX_FAILING`] addresses.
//! - Nobody waits to be let in: a login is let in or refused at once, so a refusal holds neither task nor slot.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::net::{Endpoint, Turnstile};
use crate::proto::{PgError, SqlState};

/// Logins in progress at a time. A login costs a startup packet and TLS state, at worst some 50 kB: 400 MB.
pub const MAX_LOGINS: usize = 8192;

/// Logins in progress at a time from one address: half of all, since a whole fleet may stand behind one address
/// and start at once, but never all of them.
pub const MAX_LOGINS_PER_ADDRESS: usize = 4096;

/// Failed logins of one address within one second; the next ones of that second are refused unheard. A person
/// who mistypes stays far below; guessing becomes slow (S21).
pub const MAX_FAILURES_PER_SECOND: u32 = 100;

/// Addresses remembered only for their failures. More than these within one second are not remembered.
pub const MAX_FAILING: usize = 8192;

/// TLS handshakes in flight. With a round trip of 100 ms to the clients these are some 5,000 a second, more than a
/// core can sign; their memory stays below 50 MB.
pub const MAX_HANDSHAKES: usize = 1024;

/// PBKDF2 runs for clients in flight. Each takes a core about 2 ms: four are 2,000 logins a second, and leave the
/// cores to queries. After a user's first login there is nothing to derive.
pub const MAX_DERIVATIONS: usize = 4;

const WINDOW: Duration = Duration::from_secs(1);

/// Whose connections are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A Unix socket: this machine.
    Local,
    /// An IPv4 address, or the /64 network of an IPv6 address, which one host can choose from freely.
    Address(IpAddr),
}

/// One word goes into the hash instead of five, twice in each login. The hash stays keyed, so nobody can choose addresses
/// that fall together.
impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(match self {
            Self::Local => 0,
            Self::Address(IpAddr::V4(v4)) => v4.to_bits().into(),
            Self::Address(IpAddr::V6(v6)) => v6.to_bits().wrapping_shr(64).try_into().unwrap_or(u64::MAX),
        });
    }
}

impl From<&Endpoint> for Origin {
    fn from(endpoint: &Endpoint) -> Self {
        match endpoint {
            Endpoint::Unix { .. } => Self::Local,
            Endpoint::Tcp(addr) => Self::Address(match addr.ip().to_canonical() {
                v4 @ IpAddr::V4(_) => v4,
                IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            }),
        }
    }
}

/// Why nobody more is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// [`MAX_LOGINS`] is reached.
    #[error("too many logins in progress")]
    Full,
    /// [`MAX_LOGINS_PER_ADDRESS`] is reached.
    #[error("too many logins in progress from one address")]
    AddressFull,
    /// [`MAX_FAILURES_PER_SECOND`] is reached.
    #[error("too many failed logins from one address")]
    TooManyFailures,
}

impl Refusal {
    /// The text for the client, the same for all reasons.
    pub fn for_client(self) -> PgError {
        PgError::fatal(SqlState::TOO_MANY_CONNECTIONS, "too many logins in progress")
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    logins: usize,
    failures: u32,
    window: Instant,
}

impl Entry {
    fn failures_at(&self, now: Instant) -> u32 {
        if now.saturating_duration_since(self.window) < WINDOW { self.failures } else { 0 }
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.logins == 0 && self.failures_at(now) == 0
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct DoorBook {
    total: usize,
    origins: HashMap<Origin, Entry>,
    swept: Option<Instant>,
}

impl DoorBook {
    /// Lets one login in, or says why not.
    ///
    /// # Errors
    /// A limit is reached; nothing was counted.
    pub fn enter(&mut self, origin: Origin, now: Instant) -> Result<(), Refusal> {
        if self.total >= MAX_LOGINS {
            return Err(Refusal::Full);
        }
        let entry = self.origins.entry(origin).or_insert(Entry { logins: 0, failures: 0, window: now });
        if entry.logins >= MAX_LOGINS_PER_ADDRESS {
            return Err(Refusal::AddressFull);
        }
        if entry.failures_at(now) >= MAX_FAILURES_PER_SECOND {
            return Err(Refusal::TooManyFailures);
        }
        entry.logins += 1;
        self.total += 1;
        Ok(())
    }

    /// A login that was let in has ended, in whatever way.
    pub fn leave(&mut self, origin: Origin) {
        let Slot::Occupied(mut slot) = self.origins.entry(origin) else { return };
        let entry = slot.get_mut();
        entry.logins = entry.logins.saturating_sub(1);
        self.total = self.total.saturating_sub(1);
        if entry.logins == 0 && entry.failures == 0 {
            slot.remove();
        }
    }

    /// A login in progress turned out to be wrong.
    pub fn fail(&mut self, origin: Origin, now: Instant) {
        self.sweep(now);
        let remembered = self.origins.len() - self.origins_with_logins_at_most();
        let Some(entry) = self.origins.get_mut(&origin) else { return };
        if entry.failures_at(now) > 0 {
            entry.failures = entry.failures.saturating_add(1);
        } else if remembered < MAX_FAILING {
            (entry.failures, entry.window) = (1, now);
        }
    }

    /// Logins in progress.
    pub fn logins(&self) -> usize {
        self.total
    }

    /// No more addresses than logins have a login in progress; the rest is remembered for failures only.
    fn origins_with_logins_at_most(&self) -> usize {
        self.total.min(self.origins.len())
    }

    /// Forgets failures of past seconds, at most once a second: the table is walked once for many failures.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < WINDOW) {
            return;
        }
        self.swept = Some(now);
        self.origins.retain(|_, entry| !entry.is_forgotten(now));
    }
}

/// What all doors of a process share. Clones are the same.
#[derive(Debug, Clone)]
pub struct Gatehouse {
    book: Arc<Mutex<DoorBook>>,
    /// For TLS handshakes.
    pub handshakes: Turnstile,
    /// For PBKDF2.
    pub derivations: Turnstile,
}

impl Default for Gatehouse {
    fn default() -> Self {
        Self {
            book: Arc::default(),
            handshakes: Turnstile::new(MAX_HANDSHAKES),
            derivations: Turnstile::new(MAX_DERIVATIONS),
        }
    }
}

/// The book is whole after every call, so a panic elsewhere while it was open spoils nothing.
fn open(book: &Mutex<DoorBook>) -> MutexGuard<'_, DoorBook> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A worker's door, shared by its clients.
#[derive(Debug, Clone, Default)]
pub struct Door {
    gatehouse: Gatehouse,
    here: Rc<Cell<u32>>,
}

impl Door {
    /// A door of this gatehouse.
    pub fn new(gatehouse: Gatehouse) -> Self {
        Self { gatehouse, here: Rc::default() }
    }

    /// Lets one login in.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn enter(&self, origin: Origin, now: Instant) -> Result<Place, Refusal> {
        open(&self.gatehouse.book).enter(origin, now)?;
        self.here.set(self.here.get() + 1);
        let (book, here) = (Arc::clone(&self.gatehouse.book), Rc::clone(&self.here));
        Ok(Place { book, here, origin })
    }

    /// Logins in progress at this door, not at others.
    pub fn logins(&self) -> u32 {
        self.here.get()
    }

    /// What it shares with the others.
    pub const fn gatehouse(&self) -> &Gatehouse {
        &self.gatehouse
    }
}

/// One login in progress. Dropping it gives the place back: after a login just as after a failure, a panic or a
/// dropped future.
#[derive(Debug)]
#[must_use = "dropping it at once counts nothing"]
pub struct Place {
    book: Arc<Mutex<DoorBook>>,
    here: Rc<Cell<u32>>,
    origin: Origin,
}

impl Place {
    /// Remembers that this login failed for a wrong name or secret.
    pub fn fail(&self, now: Instant) {
        open(&self.book).fail(self.origin, now);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.here.set(self.here.get().saturating_sub(1));
        open(&self.book).leave(self.origin);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn address(n: u32) -> Origin {
        Origin::Address(IpAddr::V4(n.into()))
    }

    #[test]
    fn r108_no_address_takes_every_place_and_all_are_given_back() {
        let (door, now) = (Door::default(), clock::now());
        let crowd: Vec<_> =
            (0..MAX_LOGINS_PER_ADDRESS).map(|_| door.enter(address(1), now).unwrap()).collect();
        assert_eq!(door.enter(address(1), now).unwrap_err(), Refusal::AddressFull);
        let other = door.enter(address(2), now).unwrap();
        let rest: Vec<_> = (3..).map_while(|n| door.enter(address(n), now).ok()).collect();
        assert_eq!(open(&door.gatehouse.book).logins(), MAX_LOGINS);
        assert_eq!(door.enter(address(2), now).unwrap_err(), Refusal::Full);
        drop((crowd, other, rest));
        assert_eq!((door.logins(), open(&door.gatehouse.book).origins.len()), (0, 0));
    }

    /// Seen: each worker had limits of its own, so an address could take as many places as there are workers.
    #[test]
    fn r108_r112_the_doors_of_all_workers_share_their_limits() {
        let (gatehouse, now) = (Gatehouse::default(), clock::now());
        let doors = [Door::new(gatehouse.clone()), Door::new(gatehouse)];
        let crowd: Vec<_> =
            (0..MAX_LOGINS_PER_ADDRESS).map(|n| doors[n % 2].enter(address(1), now).unwrap()).collect();
        for door in &doors {
            assert_eq!(door.enter(address(1), now).unwrap_err(), Refusal::AddressFull);
            assert_eq!(door.logins() as usize, MAX_LOGINS_PER_ADDRESS / 2, "each reports its own");
        }
        crowd.iter().take(MAX_FAILURES_PER_SECOND as usize).for_each(|place| place.fail(now));
        drop(crowd);
        assert_eq!(doors[1].enter(address(1), now).unwrap_err(), Refusal::TooManyFailures);
    }

    #[test]
    fn r112_failures_are_counted_per_address_and_second() {
        let (door, now) = (Door::default(), clock::now());
        for _ in 0..MAX_FAILURES_PER_SECOND {
            door.enter(address(1), now).unwrap().fail(now);
        }
        assert_eq!(door.enter(address(1), now).unwrap_err(), Refusal::TooManyFailures);
        let _other = door.enter(address(2), now).unwrap();
        let _later = door.enter(address(1), now + WINDOW).unwrap();
        assert_eq!(
            Refusal::TooManyFailures.for_client(),
            Refusal::Full.for_client(),
            "nothing to learn from"
        );
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let (door, now) = (Door::default(), clock::now());
        for n in 0..20_000 {
            door.enter(address(n), now).unwrap().fail(now);
        }
        assert!(open(&door.gatehouse.book).origins.len() <= MAX_FAILING);
        door.enter(address(1), now + WINDOW).unwrap().fail(now + WINDOW);
        assert_eq!(open(&door.gatehouse.book).origins.len(), 1);
    }

    #[test]
    fn ipv6_is_counted_by_network_and_mapped_ipv4_as_ipv4() {
        let origin = |text: &str| Origin::from(&Endpoint::Tcp(text.parse().unwrap()));
        assert_eq!(origin("[2001:db8::1]:1"), origin("[2001:db8::ffff:2]:2"));
        assert_ne!(origin("[2001:db8::1]:1"), origin("[2001:db8:0:1::1]:1"));
        assert_eq!(origin("[::ffff:10.0.0.1]:1"), origin("10.0.0.1:9"));
    }
}

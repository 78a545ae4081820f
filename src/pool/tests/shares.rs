//! Shares of one pool: whatever is asked, promised, lost or resized, and in whatever order words arrive, the rights
//! of all add up, and there are never more servers than rights.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Shares of the pool; the first is at home.
const SHARES: usize = 3;

pub(super) fn sized(size: u32, reserve: u32) -> PoolLimits {
    PoolLimits { size, reserve, reserve_timeout: Some(Duration::from_millis(20)), ..limits() }
}

#[derive(Debug, Clone)]
enum Op {
    Checkout(usize),
    DropCheckout(usize),
    Take(usize),
    Release(usize),
    Retire(usize),
    Connect(usize),
    Refuse(usize),
    Gone(usize),
    Give { from: usize, to: usize, count: u32, waited: Option<u64> },
    Reserve { from: usize, to: usize },
    Deliver(usize),
    Refused(usize),
    Pause(usize),
    Resume(usize),
    Mark(usize),
    Resize(u32, u32),
    Advance(u64),
    Expire(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let share = || 0..SHARES;
    let at = || any::<usize>();
    let waited = prop_oneof![Just(None), (0..200_u64).prop_map(Some)];
    prop_oneof![
        8 => share().prop_map(Op::Checkout),
        2 => at().prop_map(Op::DropCheckout),
        6 => at().prop_map(Op::Take),
        8 => at().prop_map(Op::Release),
        1 => at().prop_map(Op::Retire),
        8 => at().prop_map(Op::Connect),
        1 => at().prop_map(Op::Refuse),
        3 => at().prop_map(Op::Gone),
        6 => (share(), share(), 0..4_u32, waited)
            .prop_map(|(from, to, count, waited)| Op::Give { from, to, count, waited }),
        1 => (share(), share()).prop_map(|(from, to)| Op::Reserve { from, to }),
        8 => at().prop_map(Op::Deliver),
        1 => at().prop_map(Op::Refused),
        1 => share().prop_map(Op::Pause),
        2 => share().prop_map(Op::Resume),
        1 => share().prop_map(Op::Mark),
        1 => (1..8_u32, 0..3_u32).prop_map(|(size, reserve)| Op::Resize(size, reserve)),
        4 => (0..30_u64).prop_map(Op::Advance),
        3 => share().prop_map(Op::Expire),
    ]
}

/// What travels: rights, and perhaps a server.
struct Parcel {
    from: usize,
    to: usize,
    rights: Rights,
    server: Option<(Conn, Instant)>,
}

struct Group {
    now: Instant,
    pools: Vec<Pool<Conn>>,
    limits: Rights,
    checkouts: Vec<Checkout<Conn>>,
    leases: Vec<Lease<Conn>>,
    permits: Vec<ConnectPermit<Conn>>,
    guards: Vec<SlotGuard<Conn>>,
    parcels: VecDeque<Parcel>,
    next: u64,
}

fn pick<T>(from: &mut Vec<T>, at: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(at % from.len()))
}

impl Group {
    fn new(size: u32, reserve: u32) -> Self {
        let pool = |share: usize| {
            let pool = Pool::new(PoolKey::new("app", "app"), sized(size, reserve), share as u64 + 1);
            if share == 0 {
                pool.divide();
            } else {
                pool.depend();
            }
            pool
        };
        Self {
            now: start(),
            pools: (0..SHARES).map(pool).collect(),
            limits: Rights { size, reserve },
            checkouts: Vec::new(),
            leases: Vec::new(),
            permits: Vec::new(),
            guards: Vec::new(),
            parcels: VecDeque::new(),
            next: 0,
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Checkout(share) => {
                let mut checkout = self.pools[share].checkout(self.now);
                match checkout.try_now(self.now) {
                    Some(Ok(lease)) => self.leases.push(lease),
                    Some(Err(_)) => {}
                    None => self.checkouts.push(checkout),
                }
            }
            Op::DropCheckout(at) => drop(pick(&mut self.checkouts, at)),
            Op::Take(at) => {
                let Some(mut checkout) = pick(&mut self.checkouts, at) else { return };
                match checkout.try_now(self.now) {
                    Some(Ok(lease)) => self.leases.push(lease),
                    Some(Err(_)) => {}
                    None => self.checkouts.push(checkout),
                }
            }
            Op::Release(at) => {
                if let Some(lease) = pick(&mut self.leases, at) {
                    lease.release(Quiescent::for_test(), self.now);
                }
            }
            Op::Retire(at) => drop(pick(&mut self.leases, at)),
            Op::Connect(at) => {
                if let Some(permit) = pick(&mut self.permits, at) {
                    self.next += 1;
                    permit.connected(ServerId(self.next), Conn::new(self.next), self.now);
                }
            }
            Op::Refuse(at) => {
                if let Some(permit) = pick(&mut self.permits, at) {
                    permit.failed(ConnectFailure::unreachable(None), self.now);
                }
            }
            Op::Gone(at) => drop(pick(&mut self.guards, at)),
            Op::Give { from, to, count, waited } => self.give(from, to, count, waited),
            Op::Reserve { from, to } => {
                let rights = self.pools[from].give_reserve(1);
                self.parcels.push_back(Parcel { from, to, rights, server: None });
            }
            Op::Deliver(at) => self.deliver(at, false),
            Op::Refused(at) => self.deliver(at, true),
            Op::Pause(share) => self.pools[share].pause(),
            Op::Resume(share) => self.pools[share].resume(self.now),
            Op::Mark(share) => self.pools[share].mark_all_for_closing(self.now),
            Op::Resize(size, reserve) => {
                self.limits = Rights { size, reserve };
                for pool in &self.pools {
                    pool.set_limits(sized(size, reserve), self.now);
                }
            }
            Op::Advance(ms) => self.now += Duration::from_millis(ms),
            Op::Expire(share) => self.pools[share].expire(self.now),
        }
        self.janitor();
        self.verify();
    }

    fn give(&mut self, from: usize, to: usize, count: u32, waited: Option<u64>) {
        let share = ShareId(u8::try_from(to).unwrap());
        if from == to {
            return;
        }
        let wants = Rights { size: count - count / 2, reserve: count / 2 };
        let (servers, rights) = self.pools[from].give_spare(share, wants, waited.is_some());
        self.parcels.push_back(Parcel { from, to, rights, server: None });
        let missing = wants.minus(servers).minus(rights);
        let until = self.now + Duration::from_millis(40);
        let for_whom = (share, waited.map(Duration::from_millis));
        self.pools[from].promise_to(for_whom, missing, (self.now, until));
    }

    /// Words of different senders overtake each other; one that cannot be delivered stays with its sender.
    fn deliver(&mut self, at: usize, refused: bool) {
        let parcels = self.parcels.len();
        let Some(parcel) = self.parcels.remove(at % parcels.max(1)) else { return };
        let pool = &self.pools[if refused { parcel.from } else { parcel.to }];
        let rights = parcel.rights;
        match parcel.server {
            None => pool.grant(rights),
            Some((conn, connected_at)) => {
                let with = Departure { connected_at, rights, outdated: at.is_multiple_of(5) };
                pool.admit(ServerId(conn.id), conn, with, self.now);
            }
        }
    }

    fn janitor(&mut self) {
        for (from, pool) in self.pools.iter().enumerate() {
            while let Some(Retired { conn, reason, slot }) = pool.next_retired() {
                let RetireReason::Moved(to) = reason else {
                    self.guards.push(slot);
                    continue;
                };
                match slot.hand_over() {
                    Ok(Departure { connected_at, rights, .. }) => self.parcels.push_back(Parcel {
                        from,
                        to: usize::from(to.0),
                        rights,
                        server: Some((conn, connected_at)),
                    }),
                    Err(slot) => self.guards.push(slot),
                }
            }
            while let Some(permit) = pool.wanted_connects(self.now) {
                self.permits.push(permit);
            }
        }
    }

    fn open(&self) -> u32 {
        let open = |pool: &Pool<Conn>| pool.read(super::super::state::PoolState::open);
        let moving = self.parcels.iter().filter(|parcel| parcel.server.is_some()).count();
        self.pools.iter().map(open).sum::<u32>() + u32::try_from(moving).unwrap()
    }

    fn verify(&self) {
        let held = self.pools.iter().filter_map(Pool::rights);
        let moving = self.parcels.iter().map(|parcel| parcel.rights);
        let sum = held.chain(moving).fold((0, 0), |sum, r| (sum.0 + r.size, sum.1 + r.reserve));
        let owed = self.pools[0].owed();
        assert_eq!(
            sum,
            (self.limits.size + owed.size, self.limits.reserve + owed.reserve),
            "rights are conserved"
        );
        for pool in &self.pools {
            assert_eq!(pool.audit(), None);
        }
        let open = self.open();
        // A share that has not heard of a lowered limit yet uses the rights it has.
        let limit = self.limits.sum() + owed.sum();
        assert!(open <= limit, "I8: {open} servers, {limit} allowed");
    }

    /// What a share owes to a lowered limit comes home in the end, and with it the number of servers.
    fn settle(&mut self) {
        for pool in &self.pools {
            pool.resume(self.now);
        }
        for _ in 0..3 {
            for from in 1..SHARES {
                self.give(from, 0, 100, None);
                let reserve = self.pools[from].give_reserve(100);
                self.parcels.push_back(Parcel { from, to: 0, rights: reserve, server: None });
            }
            self.checkouts.clear();
            while let Some(lease) = self.leases.pop() {
                lease.release(Quiescent::for_test(), self.now);
            }
            self.permits.clear();
            self.janitor();
            self.guards.clear();
            while !self.parcels.is_empty() {
                self.deliver(1, false);
            }
            self.janitor();
            self.guards.clear();
            self.now += Duration::from_mins(1);
            self.pools[0].expire(self.now);
            self.janitor();
            self.guards.clear();
        }
        self.verify();
        assert_eq!(self.pools[0].owed(), Rights::default());
        assert_eq!(self.pools[0].rights(), Some(self.limits), "all rights are home");
        assert!(self.open() <= self.limits.sum());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn i8_rights_are_conserved_whatever_happens(
        size in 1..8_u32,
        reserve in 0..3_u32,
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let mut group = Group::new(size, reserve);
        for op in &ops {
            group.step(op);
        }
        group.settle();
    }
}

pub(super) const ONE: Rights = Rights::sized(1);

pub(super) fn share_of(size: u32) -> (Pool<Conn>, Instant) {
    share_with(size, 0)
}

pub(super) fn share_with(size: u32, reserve: u32) -> (Pool<Conn>, Instant) {
    let pool = Pool::new(PoolKey::new("app", "app"), sized(size, reserve), 1);
    pool.divide();
    (pool, start())
}

pub(super) fn connect(pool: &Pool<Conn>, id: u64, now: Instant) {
    pool.wanted_connects(now).unwrap().connected(ServerId(id), Conn::new(id), now);
}

#[test]
fn c7_a_released_server_goes_to_whoever_has_waited_much_longer_elsewhere() {
    let (pool, now) = share_of(2);
    let mut first = pool.checkout(now);
    assert!(first.try_now(now).is_none());
    connect(&pool, 1, now);
    let lease = first.try_now(now).unwrap().unwrap();
    let mut second = pool.checkout(now);
    assert!(second.try_now(now).is_none());
    connect(&pool, 2, now);
    let another = second.try_now(now).unwrap().unwrap();
    let mut waiting = pool.checkout(now);
    assert!(waiting.try_now(now).is_none());
    let later = now + Duration::from_millis(10);
    let until = later + Duration::from_secs(1);
    pool.promise_to((ShareId(1), Some(Duration::from_millis(21))), ONE, (later, until));
    lease.release(Quiescent::for_test(), later);
    let lease = waiting.try_now(later).unwrap().unwrap();
    assert!(pool.next_retired().is_none(), "not more than twice as long, and LAG");
    let mut waiting = pool.checkout(later);
    assert!(waiting.try_now(later).is_none());
    pool.promise_to((ShareId(1), Some(Duration::from_millis(2))), ONE, (later, until));
    lease.release(Quiescent::for_test(), later);
    let gone = pool.next_retired().unwrap();
    assert_eq!(gone.reason, RetireReason::Moved(ShareId(1)));
    assert!(gone.slot.hand_over().is_ok());
    another.release(Quiescent::for_test(), later);
    assert!(waiting.try_now(later).unwrap().is_ok(), "one promise, one server");
    assert_eq!(pool.rights(), Some(Rights { size: 1, reserve: 0 }));
}

#[test]
fn the_last_server_of_a_share_goes_only_to_one_that_has_waited_long() {
    let (pool, now) = share_of(1);
    let mut checkout = pool.checkout(now);
    assert!(checkout.try_now(now).is_none());
    connect(&pool, 1, now);
    let mut lease = checkout.try_now(now).unwrap().unwrap();
    let until = now + Duration::from_secs(1);
    for waited in [LAG * 2, LAST_LAG] {
        pool.promise_to((ShareId(1), Some(waited)), ONE, (now, until));
        lease.release(Quiescent::for_test(), now);
        assert!(pool.next_retired().is_none());
        lease = pool.checkout(now).try_now(now).unwrap().unwrap();
    }
    pool.promise_to((ShareId(1), Some(LAST_LAG * 2)), ONE, (now, until));
    lease.release(Quiescent::for_test(), until);
    assert!(pool.next_retired().is_none(), "the promise is void by now");
    let lease = pool.checkout(now).try_now(until).unwrap().unwrap();
    pool.promise_to((ShareId(1), Some(LAST_LAG * 2)), ONE, (until, until + Duration::from_secs(1)));
    lease.release(Quiescent::for_test(), until);
    assert!(pool.next_retired().is_some());
}

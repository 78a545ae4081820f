//! One worker's share of a pool that several workers serve.
//!
//! Owns: the rights to have servers that are here, and what is owed to other shares. Does not know: workers, inboxes;
//! a share is a number. Rights move by message, alone or with the server they stand for, and belong to nobody on
//! their way; so the limit holds without anything that two threads could touch.
//!
//! Invariants, over all shares of a pool (tests/shares.rs): the rights here and there and on their way, less what the
//! home share owes to a lowered limit, are the pool's limits; each share has no more servers than rights. So a lowered
//! limit is kept as soon as what is owed is paid, and a raised one at once.
//!
//! Bound of fairness: when a server is released here, nobody elsewhere has waited more than twice as long as the
//! oldest here and [`LAG`] (for the last server [`LAST_LAG`]), except for what complaints take to arrive: their period
//! and two messages, and one release for each server that is missing.

use std::time::{Duration, Instant};

use super::handle::Pool;
use super::limits::PoolLimits;
use super::reason::RetireReason;
use super::rights::Rights;
use super::slot::{ServerId, SlotKey, SlotState};
use super::state::{Mode, PoolState};

/// Somebody elsewhere gets a server of this share who has waited more than twice as long as anybody here, and this
/// much. A server that moves costs two threads some ten microseconds each; a wait of a few transactions is not worth
/// that. Twice, so that a server that has moved does not move back at once.
pub const LAG: Duration = Duration::from_millis(1);

/// The same for the last right of a share, which a client here will want back: a round of begging each time.
pub const LAST_LAG: Duration = Duration::from_millis(50);

/// Names a share of a pool: the number of its worker, which has one byte (`MAX_WORKERS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShareId(pub u8);

/// Whether somebody has waited so much longer than another that a server should move for it.
pub(super) fn is_older(theirs: Duration, ours: Duration, lag: Duration) -> bool {
    theirs > ours.saturating_mul(2).saturating_add(lag)
}

/// Servers promised to another share.
#[derive(Debug, Clone, Copy)]
struct Debt {
    to: ShareId,
    /// How long somebody there had waited when the promise was asked for; `None` to give whoever waits here.
    waited: Option<Duration>,
    /// Since when, for that.
    since: Option<Instant>,
    left: Rights,
    /// It is void from here on: whoever still needs something asks again.
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) rights: Rights,
    /// Rights that a lowered limit has taken back and that servers here or elsewhere still stand for: void as soon as
    /// they are here and free.
    owed: Rights,
    /// Whether changed limits are this share's to carry out.
    is_home: bool,
    debt: Option<Debt>,
    /// Of the servers that leave next, so many take a right of the reserve along.
    reserve_leaving: u32,
    /// Somebody looks every few milliseconds whether it is short.
    watched: bool,
}

/// What goes with a server that moves to another share.
#[derive(Debug, Clone, Copy)]
pub struct Departure {
    /// When it was connected.
    pub connected_at: Instant,
    /// The right that it stands for.
    pub rights: Rights,
    /// It is not to be lent any more.
    pub outdated: bool,
}

const fn rights_of(limits: &PoolLimits) -> Rights {
    Rights { size: limits.size, reserve: limits.reserve }
}

impl<C> PoolState<C> {
    // --- limits ----------------------------------------------------------------------------------------------

    /// Servers this share may open without its reserve; `None` for no limit.
    pub(super) fn most(&self) -> Option<u32> {
        match &self.share {
            Some(share) => Some(share.rights.minus(share.owed).size),
            None => (self.limits.size > 0).then_some(self.limits.size),
        }
    }

    /// The same with the reserve.
    pub(super) fn room(&self) -> Option<u32> {
        match &self.share {
            Some(share) => Some(share.rights.minus(share.owed).sum()),
            None => self.limits.ceiling(),
        }
    }

    /// Servers this share may have, with those that are to go because a limit was lowered.
    pub(super) fn ceiling(&self) -> Option<u32> {
        match &self.share {
            Some(share) => Some(share.rights.sum()),
            None => self.limits.ceiling(),
        }
    }

    /// Servers to keep open here. Rounded up, so that the shares together keep as many as the pool should.
    pub(super) fn least(&self) -> u32 {
        match &self.share {
            Some(share) if self.limits.size > 0 => {
                let part = u64::from(self.limits.min) * u64::from(share.rights.size);
                let part = part.div_ceil(u64::from(self.limits.size));
                u32::try_from(part).unwrap_or(u32::MAX).min(share.rights.size)
            }
            Some(_) | None => self.limits.min,
        }
    }

    /// New limits: the home share gains or loses what all of them gain or lose.
    pub(super) fn resize_share(&mut self, new: &PoolLimits) {
        if new.size == 0 {
            self.share = None; // without a limit nobody needs a right
        } else if self.is_away && self.share.is_none() {
            self.share = Some(Box::default());
        }
        let Some(share) = self.share.as_mut().filter(|share| share.is_home) else { return };
        let (old, new) = (rights_of(&self.limits), rights_of(new));
        share.rights = share.rights.plus(new.minus(old));
        share.owed = share.owed.plus(old.minus(new));
        self.pay_back();
    }

    /// Pays what a lowered limit has taken back with rights that no server stands for.
    pub(super) fn pay_back(&mut self) {
        let open = self.open();
        let Some(share) = self.share.as_mut().filter(|share| !share.owed.is_none()) else { return };
        let free = share.rights.sum().saturating_sub(open);
        let size = share.owed.size.min(share.rights.size).min(free);
        let reserve = share.owed.reserve.min(share.rights.reserve).min(free - size);
        let paid = Rights { size, reserve };
        share.rights = share.rights.minus(paid);
        share.owed = share.owed.minus(paid);
    }

    // --- who needs, who has ----------------------------------------------------------------------------------

    /// Whether somebody waits here whom no server of this share, nor one on its way, will serve before a release.
    pub(super) fn is_short(&self) -> bool {
        let Some(share) = &self.share else { return false };
        self.mode == Mode::Open
            && self.waiters.waiting() > self.count(SlotState::Connecting)
            && self.open() >= share.rights.size
    }

    /// Whether somebody should be told that it is short.
    pub(super) fn calls_for_help(&self) -> bool {
        self.may_call_for_help() && self.is_short()
    }

    /// Whether somebody is to be told once it is short. A share that is watched and has rights is looked at in time.
    pub(super) fn may_call_for_help(&self) -> bool {
        self.share.as_ref().is_some_and(|share| !share.watched || share.rights.size == 0)
    }

    /// Whether something is promised to another share: then a release takes the long way.
    pub(super) fn owes(&self) -> bool {
        self.share.as_ref().is_some_and(|share| share.debt.is_some())
    }

    /// Whom a server that has become free belongs to, if to another share: one promise is kept then.
    pub(super) fn pay_creditor(&mut self, now: Instant) -> Option<ShareId> {
        self.share.as_ref()?.debt?; // asked at each release, and nearly always the answer
        let ours = self.waiters.oldest_since();
        let leaving = self.leaving();
        let share = self.share.as_mut()?;
        let debt = share.debt.as_mut()?;
        if now >= debt.until || debt.left.is_none() {
            share.debt = None;
            return None;
        }
        let left = share.rights.sum().saturating_sub(leaving);
        let lag = if left > 1 { LAG } else { LAST_LAG };
        let ours = ours.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if left == 0 || !debt.waited.is_none_or(|theirs| is_older(theirs, ours, lag)) {
            return None;
        }
        let paid = debt.left.first(1);
        debt.left = debt.left.minus(paid);
        share.reserve_leaving += paid.reserve;
        Some(debt.to)
    }

    /// Servers that are on their way to another share and have not been fetched.
    fn leaving(&self) -> u32 {
        let moved = self.retired.iter().filter(|(_, reason)| matches!(reason, RetireReason::Moved(_)));
        u32::try_from(moved.count()).unwrap_or(u32::MAX)
    }

    /// Gives up to `wants` of what nobody here needs to another share: idle servers, to be fetched as retired ones,
    /// and rights without a server, which are the caller's from now on. The last right stays with `keep`.
    pub(super) fn give_spare(&mut self, to: ShareId, wants: Rights, keep: bool) -> (Rights, Rights) {
        let open = self.open();
        let leaving = self.leaving();
        let idle = u32::try_from(self.idle.len()).unwrap_or(u32::MAX);
        let Some(share) = self.share.as_mut() else { return <(Rights, Rights)>::default() };
        if self.waiters.waiting() > 0 || self.mode != Mode::Open {
            return <(Rights, Rights)>::default();
        }
        let here = share.rights.sum().saturating_sub(leaving);
        let wants = wants.first(here.saturating_sub(u32::from(keep)));
        let servers = wants.first(idle);
        let unused = wants.minus(servers).size.min(share.rights.size.saturating_sub(open));
        share.rights.size -= unused;
        share.reserve_leaving += servers.reserve;
        for _ in 0..servers.sum() {
            // The one used last: it will be used next, there as here.
            self.retire_idle(self.idle.len() - 1, RetireReason::Moved(to));
        }
        (servers, Rights::sized(unused))
    }

    /// Gives a right to a server of the reserve that is not in use here.
    pub(super) fn give_reserve(&mut self, count: u32) -> Rights {
        let open = self.open();
        let Some(share) = self.share.as_mut() else { return Rights::default() };
        let free = share.rights.sum().saturating_sub(open).min(share.rights.reserve);
        let reserve = free.min(count);
        share.rights.reserve -= reserve;
        Rights { size: 0, reserve }
    }
}

impl<C> Pool<C> {
    /// Makes this pool a share that has all rights there are: others may get some from now on. No effect on a share,
    /// and on a pool without limit.
    pub fn divide(&self) {
        self.apply(|state, _| {
            if state.share.is_none() && state.limits.size > 0 {
                let rights = rights_of(&state.limits);
                state.share = Some(Box::new(Share { rights, is_home: true, ..Share::default() }));
            }
        });
    }

    /// Makes this pool, which must be new, a share that has no rights yet.
    pub fn depend(&self) {
        self.apply(|state, _| {
            state.is_away = true;
            state.share = (state.limits.size > 0).then(Box::default);
        });
    }

    /// Makes the home share a whole pool again, if all rights are back.
    pub fn reunite(&self) {
        self.apply(|state, _| {
            let whole = rights_of(&state.limits);
            let complete =
                |share: &Share| share.is_home && share.rights == whole && share.owed == Rights::default();
            if state.share.as_deref().is_some_and(complete) {
                state.share = None;
            }
        });
    }

    /// The rights that are here; `None` if the pool is whole.
    pub fn rights(&self) -> Option<Rights> {
        self.read(|state| state.share.as_ref().map(|share| share.rights))
    }

    /// Rights that a lowered limit has taken back and that are still elsewhere.
    pub fn owed(&self) -> Rights {
        self.read(|state| state.share.as_ref().map_or_else(Rights::default, |share| share.owed))
    }

    /// Whether somebody looks by himself whether this share is short: then it calls for help only without any right.
    pub fn set_watched(&self, watched: bool) {
        self.apply(|state, _| {
            if let Some(share) = state.share.as_mut() {
                share.watched = watched;
            }
        });
    }

    /// Since when the oldest waits, and how many do, if only another share can help.
    pub fn plight(&self) -> Option<(Instant, u32)> {
        self.read(|state| {
            let missing = state.waiters.waiting().saturating_sub(state.count(SlotState::Connecting));
            state.waiters.oldest_since().filter(|_| state.is_short()).map(|since| (since, missing))
        })
    }

    /// Gives another share up to `wants` of what nobody here needs: idle servers, which come as
    /// [`Retired`](super::Retired) ones, and rights without a server, which are the caller's to pass on. Answers the
    /// rights that go with servers, and the others. With `keep` the last right stays.
    #[must_use = "rights that are dropped are lost"]
    pub fn give_spare(&self, to: ShareId, wants: Rights, keep: bool) -> (Rights, Rights) {
        self.apply(|state, _| state.give_spare(to, wants, keep))
    }

    /// Gives up to `count` rights of the reserve that are not in use.
    #[must_use = "rights that are dropped are lost"]
    pub fn give_reserve(&self, count: u32) -> Rights {
        self.apply(|state, _| state.give_reserve(count))
    }

    /// Promises another share the next servers that are released before `until`, with these rights, unless somebody here has
    /// waited about as long by then as somebody there has now (`waited`; `None` to give in any case). It takes the place
    /// of an older one to the same share, of one that is void, and of one for somebody who has not waited longer.
    pub fn promise_to(
        &self,
        (to, waited): (ShareId, Option<Duration>),
        left: Rights,
        (now, until): (Instant, Instant),
    ) {
        self.apply_quietly(|state| {
            let Some(share) = state.share.as_mut() else { return };
            let since = waited.and_then(|waited| now.checked_sub(waited));
            let stands = |debt: &Debt| debt.to != to && !debt.left.is_none() && now < debt.until;
            let kept =
                share.debt.take().filter(|debt| stands(debt) && (left.is_none() || debt.since <= since));
            share.debt =
                kept.or_else(|| (!left.is_none()).then_some(Debt { to, waited, since, left, until }));
        });
    }

    /// Rights come from another share.
    pub fn grant(&self, rights: Rights) {
        self.apply(|state, _| {
            state.gain(rights);
            state.pay_back();
        });
    }

    /// A server comes from another share, at rest, with its right. It goes to the oldest waiter, is idle, or is closed
    /// if this share does not want it, or if it is outdated.
    pub fn admit(&self, id: ServerId, conn: C, with: Departure, now: Instant) {
        self.apply(|state, wakes| {
            state.gain(with.rights);
            let now = state.at(now);
            let key = state.promise(now);
            if let Some(slot) = state.slots.get_mut(key) {
                slot.close_needed = with.outdated;
            }
            state.arrived(key, id, conn, with.connected_at, wakes);
            state.pay_back(); // the right that came along may be one that is owed
        });
    }

    /// Whether nobody has used or wanted a server of this share since then.
    pub fn is_unused_since(&self, then: Instant) -> bool {
        self.read(|state| {
            let idle = state.idle.iter().filter_map(|&key| state.slots.get(key));
            state.held() == 0
                && state.waiters.waiting() == 0
                && state.count(SlotState::Connecting) == 0
                && idle.into_iter().all(|slot| slot.idle_since <= then)
        })
    }
}

impl<C> PoolState<C> {
    fn gain(&mut self, rights: Rights) {
        if let Some(share) = self.share.as_mut() {
            share.rights = share.rights.plus(rights);
        }
    }

    pub(super) fn depart(&mut self, key: SlotKey) -> Option<Departure> {
        let slot = self.slots.get(key)?;
        let (connected_at, outdated) = (slot.connected_at, slot.close_needed);
        let share = self.share.as_mut()?;
        let wants_reserve = share.reserve_leaving > 0 && share.rights.reserve > 0;
        let rights = if wants_reserve { Rights { size: 0, reserve: 1 } } else { share.rights.first(1) };
        if rights.is_none() {
            return None;
        }
        share.reserve_leaving = share.reserve_leaving.saturating_sub(rights.reserve);
        share.rights = share.rights.minus(rights);
        self.vacate(key);
        Some(Departure { connected_at, rights, outdated })
    }
}

//! The pool against a reference model, over random sequences of everything that can happen to it.
//!
//! The model is naive on purpose: plain lists, no slots, no cells, no guards. After each step both must agree on
//! who holds what, who waits in which order, who was woken, and what is to be closed and why; and the pool's own
//! audit must find nothing (I7, I8, I18, I19).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::world::{Expected, IDLE, MIN, RESERVE, WAIT, Wait, World};
use super::{Bell, Conn};
use crate::pool::*;
use crate::proto::{PgError, SqlState};
use crate::session::Quiescent;

#[derive(Debug, Clone)]
enum Op {
    Checkout,
    Look(usize),
    DropCheckout(usize),
    Cancel(usize),
    EndLease(usize, LeaseEnd),
    Soil(usize),
    TakeIdle(usize),
    Janitor,
    EndPermit(usize, PermitEnd),
    DropGuard(usize),
    Advance(u64),
    Expire,
    Pause,
    Resume,
    Resize(u32, u32),
    MarkAll,
    FailAll,
}

#[derive(Debug, Clone, Copy)]
enum LeaseEnd {
    Release,
    Retire,
    Drop,
}

#[derive(Debug, Clone, Copy)]
enum PermitEnd {
    Connected,
    Unreachable,
    Refused,
    Drop,
}

fn op() -> impl Strategy<Value = Op> {
    let at = || any::<usize>();
    prop_oneof![
        8 => Just(Op::Checkout),
        6 => at().prop_map(Op::Look),
        3 => at().prop_map(Op::DropCheckout),
        2 => at().prop_map(Op::Cancel),
        8 => at().prop_map(|at| Op::EndLease(at, LeaseEnd::Release)),
        2 => at().prop_map(|at| Op::EndLease(at, LeaseEnd::Retire)),
        2 => at().prop_map(|at| Op::EndLease(at, LeaseEnd::Drop)),
        2 => at().prop_map(Op::Soil),
        1 => at().prop_map(Op::TakeIdle),
        6 => Just(Op::Janitor),
        8 => at().prop_map(|at| Op::EndPermit(at, PermitEnd::Connected)),
        1 => at().prop_map(|at| Op::EndPermit(at, PermitEnd::Unreachable)),
        1 => at().prop_map(|at| Op::EndPermit(at, PermitEnd::Refused)),
        1 => at().prop_map(|at| Op::EndPermit(at, PermitEnd::Drop)),
        3 => at().prop_map(Op::DropGuard),
        4 => (0..600_u64).prop_map(Op::Advance),
        3 => Just(Op::Expire),
        1 => Just(Op::Pause),
        2 => Just(Op::Resume),
        1 => (0..5_u32, 0..3_u32).prop_map(|(size, reserve)| Op::Resize(size, reserve)),
        1 => Just(Op::MarkAll),
        1 => Just(Op::FailAll),
    ]
}

/// Takes one out, if there is any.
fn pick<T>(from: &mut Vec<T>, at: usize) -> Option<T> {
    (!from.is_empty()).then(|| from.remove(at % from.len()))
}

impl World {
    // --- steps -----------------------------------------------------------------------------------------------

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Checkout => self.checkout(),
            Op::Look(at) => self.look(at),
            Op::DropCheckout(at) => self.drop_checkout(at),
            Op::Cancel(at) => self.cancel(at),
            Op::EndLease(at, end) => self.end_lease(at, end),
            Op::Soil(at) => self.soil(at),
            Op::TakeIdle(at) => self.take_idle(at),
            Op::Janitor => self.janitor(),
            Op::EndPermit(at, end) => self.end_permit(at, end),
            Op::DropGuard(at) => drop(pick(&mut self.guards, at)),
            Op::Advance(ms) => self.now += Duration::from_millis(ms),
            Op::Expire => self.expire(),
            Op::Pause => {
                self.pool.pause();
                self.paused = true;
                self.retire_all_idle(RetireReason::Pause);
            }
            Op::Resume => {
                self.pool.resume(self.now);
                self.paused = false;
            }
            Op::Resize(size, reserve) => {
                (self.size, self.reserve) = (size, reserve);
                self.pool.set_limits(Self::limits(size, reserve), self.now);
                self.most_allowed = self.open();
                self.trim();
            }
            Op::MarkAll => {
                self.pool.mark_all_for_closing(self.now);
                self.marked.extend(self.leases.iter().map(|lease| lease.id));
                self.marked.extend(self.delivered());
                self.permits.iter_mut().for_each(|permit| permit.1 = true);
                self.retire_all_idle(RetireReason::ConfigChanged);
            }
            Op::FailAll => {
                self.pool.fail_all_waiters(PgError::fatal(SqlState::ADMIN_SHUTDOWN, "bye"));
                for at in self.queue() {
                    self.waits[at].expected = Expected::Failed;
                }
            }
        }
        self.verify();
    }

    fn soil(&mut self, at: usize) {
        let mut known: Vec<u64> = self.idle.iter().map(|idle| idle.0).chain(self.delivered()).collect();
        if let Some(id) = pick(&mut known, at) {
            Conn::soil(id);
            self.soiled.push(id);
        }
    }

    fn take_idle(&mut self, at: usize) {
        if let Some((id, _)) = pick(&mut self.idle, at) {
            self.leases.push(self.pool.take_idle(ServerId(id)).unwrap());
            assert!(self.pool.take_idle(ServerId(id)).is_none());
        }
    }

    fn checkout(&mut self) {
        let mut checkout = self.pool.checkout(self.now);
        let answer = checkout.try_now(self.now);
        let quiet = self.take_quiet();
        match (answer, quiet) {
            (Some(Ok(lease)), Some(id)) => {
                assert_eq!(lease.id, id, "LIFO");
                self.leases.push(lease);
            }
            (Some(Err(CheckoutError::Refused(_))), None) => {
                assert!(self.failing == Some(true) && !self.usable() && !self.paused);
            }
            (None, None) => {
                self.next += 1;
                let (tag, since, expected) = (self.next, self.now, Expected::Waiting);
                assert_eq!(checkout.since(), since);
                self.waits.push(Wait { tag, checkout, since, expected, bell: None });
            }
            (answer, quiet) => panic!("{answer:?} instead of {quiet:?}"),
        }
    }

    fn look(&mut self, at: usize) {
        let Some(mut wait) = pick(&mut self.waits, at) else { return };
        let bell = Bell::new();
        let polled =
            Pin::new(&mut wait.checkout).poll(&mut Context::from_waker(&Waker::from(Arc::clone(&bell))));
        let mut expected = wait.expected.clone();
        if let Expected::Served(id) = expected
            && self.soiled.contains(&id)
        {
            self.retired.push_back((id, RetireReason::Dirty));
            expected = self.take_quiet().map_or(Expected::Waiting, Expected::Served);
        }
        match (polled, expected) {
            (Poll::Pending, Expected::Waiting) => {
                self.waits.push(Wait { expected: Expected::Waiting, bell: Some(bell), ..wait });
                return;
            }
            (Poll::Ready(Ok(lease)), Expected::Served(id)) => {
                assert_eq!(lease.id, id, "I19");
                self.leases.push(lease);
            }
            (Poll::Ready(Err(CheckoutError::Refused(_))), Expected::Waiting) => {
                // Its server was dead, there is no other, and logins are refused.
                assert!(self.failing == Some(true) && !self.usable());
            }
            (Poll::Ready(Err(CheckoutError::Timeout { .. })), Expected::Timeout)
            | (Poll::Ready(Err(CheckoutError::Refused(_))), Expected::Refused)
            | (Poll::Ready(Err(CheckoutError::Canceled)), Expected::Canceled)
            | (Poll::Ready(Err(CheckoutError::Failed(_))), Expected::Failed) => {}
            (polled, expected) => panic!("{polled:?} instead of {expected:?}"),
        }
        assert!(matches!(wait.checkout.try_now(self.now), Some(Err(CheckoutError::Canceled))), "one outcome");
    }

    fn drop_checkout(&mut self, at: usize) {
        if let Some(wait) = pick(&mut self.waits, at) {
            drop(wait.checkout);
            if let Expected::Served(id) = wait.expected {
                self.comes_back(id);
            }
        }
    }

    fn cancel(&mut self, at: usize) {
        if self.waits.is_empty() {
            return;
        }
        let at = at % self.waits.len();
        let id = self.waits[at].checkout.waiter_id().unwrap();
        let canceled = self.pool.cancel_waiter(id);
        let open = matches!(self.waits[at].expected, Expected::Waiting | Expected::Served(_));
        assert_eq!(canceled, open);
        if open {
            let before = std::mem::replace(&mut self.waits[at].expected, Expected::Canceled);
            if let Expected::Served(id) = before {
                self.comes_back(id);
            }
        }
    }

    fn end_lease(&mut self, at: usize, end: LeaseEnd) {
        let Some(lease) = pick(&mut self.leases, at) else { return };
        let id = lease.id;
        match end {
            LeaseEnd::Release => {
                lease.release(Quiescent::for_test(), self.now);
                self.comes_back(id);
            }
            LeaseEnd::Retire => {
                lease.mark(SlotState::Resetting);
                lease.retire(RetireReason::ResetQueryFailed);
                self.retired.push_back((id, RetireReason::ResetQueryFailed));
            }
            LeaseEnd::Drop => {
                drop(lease);
                self.retired.push_back((id, RetireReason::Abandoned));
            }
        }
    }

    fn janitor(&mut self) {
        self.janitor.take();
        while let Some(Retired { conn, reason, slot }) = self.pool.next_retired() {
            assert_eq!(self.retired.pop_front(), Some((conn.id, reason)));
            self.guards.push(slot);
        }
        assert!(self.retired.is_empty());
        loop {
            let place = self.wants_place();
            let oldest = self.queue().next().map(|at| self.waits[at].since);
            match self.pool.wanted_connects(self.now) {
                Some(permit) if permit.from_reserve() => {
                    assert!(!place && self.open() >= self.size as usize);
                    assert!(oldest.is_some_and(|since| since + RESERVE <= self.now));
                    self.permits.push((permit, false));
                }
                Some(permit) => {
                    assert!(place);
                    self.permits.push((permit, false));
                }
                None => {
                    assert!(!place || self.failing.is_some(), "I18: room, need, and no permit");
                    return;
                }
            }
            assert!(self.open() <= self.ceiling(), "I8");
        }
    }

    fn end_permit(&mut self, at: usize, end: PermitEnd) {
        let Some((permit, marked)) = pick(&mut self.permits, at) else { return };
        assert_eq!(permit.is_wanted(), !marked && !self.paused);
        let refusal = PgError::fatal(SqlState::INVALID_PASSWORD, "no");
        match end {
            PermitEnd::Connected => self.connected_one(permit, marked),
            PermitEnd::Unreachable => permit.failed(ConnectFailure::unreachable(None), self.now),
            PermitEnd::Refused => permit.failed(ConnectFailure::refused(refusal), self.now),
            PermitEnd::Drop => drop(permit),
        }
        if self.paused {
            return;
        }
        match end {
            PermitEnd::Connected => {}
            PermitEnd::Unreachable => self.failing = Some(false),
            PermitEnd::Refused => self.refused_one(),
            PermitEnd::Drop => self.failing = self.failing.or(Some(false)),
        }
    }

    fn connected_one(&mut self, permit: ConnectPermit<Conn>, marked: bool) {
        self.next += 1;
        let id = self.next;
        // The permit is no longer among the model's; the server takes its place.
        let surplus = self.staying() + 1 > self.ceiling();
        permit.connected(ServerId(id), Conn::new(id), self.now);
        self.failing = None;
        if marked {
            self.retired.push_back((id, RetireReason::ConnectStringChanged));
        } else if self.paused {
            self.retired.push_back((id, RetireReason::Pause));
        } else if surplus {
            self.retired.push_back((id, RetireReason::Surplus));
        } else {
            self.give(id);
        }
    }

    fn refused_one(&mut self) {
        self.failing = Some(true);
        if !self.usable() {
            for at in self.queue() {
                self.waits[at].expected = Expected::Refused;
            }
        }
    }

    fn expire(&mut self) {
        self.pool.expire(self.now);
        for at in self.queue() {
            if self.waits[at].since + WAIT <= self.now {
                self.waits[at].expected = Expected::Timeout;
            }
        }
        self.trim();
        let mut at = 0;
        while let Some(&(id, since)) = self.idle.get(at) {
            if since + IDLE <= self.now && self.connected() > MIN {
                self.idle.remove(at);
                self.retired.push_back((id, RetireReason::IdleTimeout));
            } else {
                at += 1;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn i7_i8_i18_i19_c7_f63_the_pool_does_what_the_model_says(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        world.end();
    }
}

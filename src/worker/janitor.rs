//! Opens servers that pools want, closes those they have given up, and listens to idle ones that speak.
//!
//! One task per worker, woken by its pools and by the alarms of idle servers.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::state::Worker;
use crate::metrics::ErrorClass;
use crate::net::{clock, rt};
use crate::pool::{ConnectFailure, ConnectPermit, FailureKind, Lease, Pool, Pooled, RetireReason, ServerId};
use crate::server::{Home, OpenKind, ServerConn, open, retire};
use crate::session::{Halt, ParamSet, Session};

impl Worker {
    /// Works as long as the worker lives. Cancel safe: it holds nothing.
    pub(super) async fn keep_house(self: Rc<Self>) {
        poll_fn(|cx| {
            self.take_watch(cx.waker());
            self.sweep();
            Poll::<()>::Pending
        })
        .await;
    }

    fn take_watch(&self, waker: &Waker) {
        self.alarms.listen(waker);
        let known = self.janitor.borrow().as_ref().is_some_and(|known| known.will_wake(waker));
        if !known {
            self.janitor.replace(Some(waker.clone()));
            for home in self.homes_of(None) {
                home.pool.set_waker(waker.clone());
            }
        }
    }

    /// Lets a new pool call the janitor.
    pub(super) fn watch_pool(&self, pool: &Pool<ServerConn>) {
        let waker = self.janitor.borrow().clone();
        if let Some(waker) = waker {
            pool.set_waker(waker);
        }
    }

    /// Does what there is to do now.
    pub(super) fn sweep(self: &Rc<Self>) {
        let now = clock::now();
        for server in self.alarms.take() {
            self.hear_out(server);
        }
        let mut homes = self.homes_of(None);
        homes.extend(self.leaving.borrow().iter().cloned());
        for home in homes {
            if home.pool.plight().is_some() {
                home.pool.set_watched(true);
                self.sharing.ring();
            }
            while let Some(retired) = home.pool.next_retired() {
                if let RetireReason::Moved(to) = retired.reason {
                    self.send_away(&home, retired, to);
                    continue;
                }
                rt::spawn_detached("close server", retire(Rc::clone(&home), retired));
            }
            while let Some(permit) = home.pool.wanted_connects(now) {
                rt::spawn_detached("open server", Rc::clone(self).dial(Rc::clone(&home), permit));
            }
        }
        self.leaving.borrow_mut().retain(|home| !home.servers.borrow().is_empty());
    }

    async fn dial(self: Rc<Self>, home: Rc<Home>, permit: ConnectPermit<ServerConn>) {
        if permit.from_reserve() {
            tracing::warn!(pool = %home.pool.key(), "taking connection from reserve_pool");
        }
        let plan = home.plan.borrow().clone();
        let deadline = home.settings.borrow().connect_timeout.map(|limit| clock::now() + limit);
        match open(&plan, deadline).await {
            Ok(opened) => {
                let id = self.shared.next_id();
                let conn = home.adopt(id, opened, &plan);
                if home.settings.borrow().log_connections {
                    let (_, _, from, port) = &conn.entry.addr;
                    let tls = if conn.entry.tls.is_empty() { "no" } else { &conn.entry.tls };
                    tracing::info!(
                        server = id, pool = %home.pool.key(),
                        "new connection to server (from {from}:{port}, tls={tls})"
                    );
                }
                permit.connected(ServerId(id), conn, clock::now());
            }
            Err(error) => {
                tracing::warn!(pool = %home.pool.key(), "server login failed: {error}");
                home.counters.borrow_mut().error(ErrorClass::Server);
                let kind = match error.kind {
                    OpenKind::Unreachable => FailureKind::Unreachable,
                    OpenKind::Refused => FailureKind::Refused,
                };
                permit.failed(ConnectFailure { error: error.for_client, kind }, clock::now());
            }
        }
    }

    /// An idle server has spoken: parameter changes are noted, notices logged; anything else closes it (R46 to R48).
    fn hear_out(&self, server: ServerId) {
        let found =
            self.homes_of(None).into_iter().find(|home| home.servers.borrow().contains_key(&server.0));
        let Some(home) = found else { return };
        let Some(mut lease) = home.pool.take_idle(server) else { return };
        let before = lease.facts.params.clone();
        let heard = self.read_idle(&home, &mut lease);
        // Half a message, or half a TLS record, is not rest.
        let evidence = heard.filter(|_| lease.is_quiet());
        home.refresh_welcome(&before, &lease.facts.params);
        match evidence {
            Some(evidence) => lease.release(evidence, clock::now()),
            None => lease.retire(RetireReason::Crashed),
        }
    }

    fn read_idle(&self, home: &Home, lease: &mut Lease<ServerConn>) -> Option<crate::session::Quiescent> {
        let mut session = Session::new(home.settings.borrow().rules, ParamSet::default());
        let mut scratch = self.scratch.borrow_mut();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let n = match lease.stream.poll_read(&mut cx, &mut scratch.read) {
                Poll::Pending => return session.release_after_end(0, 0),
                Poll::Ready(Ok(n)) if n > 0 => n,
                Poll::Ready(_) => return None,
            };
            let taken = home.hear(&mut session, &mut lease.facts, scratch.read.get(..n)?);
            if taken.consumed != n || taken.halt != Halt::More {
                tracing::info!(server = lease.entry.id, "an idle server sent what nobody asked for");
                return None;
            }
        }
    }
}

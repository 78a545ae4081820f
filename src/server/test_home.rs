//! A pool whose servers are small fakes on this very thread, for tests of what happens to servers.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::conn::ServerConn;
use super::home::{Home, HomeSettings};
use super::open::{Opened, ServerKey, ServerPlan};
use super::pins::PinBook;
use super::test_net::read_some;
use super::tests::{listen, plan};
use super::wind_down::retire;
use crate::config::{PoolMode, SessionState, SslMode};
use crate::net::{Listener, Stream, clock, connect, rt};
use crate::pool::{Lease, Pool, PoolKey, PoolLimits, ServerId};
use crate::session::{ParamSet, Rules, Session, TrackedNames};

/// Statement tracking off, servers shared by transaction.
pub(crate) const RULES: Rules =
    Rules { mode: PoolMode::Transaction, max_prepared: 0, session_state: SessionState::PgBouncer };

/// A pool of one server at most, and the place where its servers and cancel requests arrive.
pub(crate) struct Bench {
    pub(crate) home: Rc<Home>,
    listener: Listener,
    plan: ServerPlan,
    /// Cancel requests that were dealt with.
    pub(crate) cancelled: Cell<u32>,
}

/// What a fake server has been through.
#[derive(Debug, Default)]
pub(crate) struct Backend {
    /// Its queries, answered or not.
    pub(crate) queries: RefCell<Vec<String>>,
    /// A transaction is open, or a query not answered.
    pub(crate) busy: Cell<bool>,
    /// The connection has ended.
    pub(crate) gone: Cell<bool>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with_reset(None)
    }

    pub(crate) fn with_reset(reset_query: Option<&str>) -> Self {
        let (listener, port) = listen();
        let plan = plan(port, SslMode::Disable);
        let limits = PoolLimits {
            size: 1,
            min: 0,
            reserve: 0,
            reserve_timeout: None,
            lifetime: None,
            idle_timeout: None,
            wait_timeout: None,
            login_retry: Duration::ZERO,
        };
        let home = Rc::new(Home {
            pool: Pool::new(PoolKey::new("shop", "web"), limits, 1),
            catalog: RefCell::default(),
            counters: RefCell::default(),
            welcome: RefCell::default(),
            usual: RefCell::default(),
            startups: RefCell::default(),
            plan: RefCell::new(plan.clone()),
            settings: RefCell::new(Rc::new(settings(reset_query))),
            names: Rc::new(TrackedNames::new(&[])),
            servers: RefCell::new(HashMap::new()),
            pins: PinBook::default(),
            uses: RefCell::default(),
            cancels: Cell::new(0),
            proven: RefCell::default(),
            listener: super::Listener::default(),
            next_id: Box::new(|| 0),
            alarms: Arc::default(),
        });
        Self { home, listener, plan, cancelled: Cell::new(0) }
    }

    /// A server has logged in, as far as the pool knows; the far end is PostgreSQL's.
    pub(crate) async fn lend(&self) -> (Lease<ServerConn>, Stream) {
        let (now, pool) = (clock::now(), &self.home.pool);
        let mut checkout = pool.checkout(now);
        assert!(checkout.try_now(now).is_none(), "there is a server already");
        let far = self.dial().await.unwrap();
        (checkout.try_now(now).unwrap().unwrap(), far)
    }

    /// Opens the server that the pool wants, if it wants one.
    pub(crate) async fn dial(&self) -> Option<Stream> {
        let now = clock::now();
        let permit = self.home.pool.wanted_connects(now)?;
        let stream = connect(&self.plan.target, &self.plan.sockets, None).await.unwrap();
        let far = self.listener.accept().await.unwrap().attach().unwrap();
        let key = Some(ServerKey { process_id: 42, secret: vec![0, 0, 0, 7] });
        let parameters = vec![(b"application_name".to_vec(), Vec::new())];
        let conn = self.home.adopt(1, Opened { stream, key, parameters }, &self.plan);
        permit.connected(ServerId(1), conn, now);
        Some(far)
    }

    /// The same with a fake that answers every query, except those that sleep: these end when they are cancelled.
    /// From now on cancel requests are answered.
    pub(crate) async fn lend_fake(self: &Rc<Self>) -> (Lease<ServerConn>, Rc<Backend>) {
        let (lease, far) = self.lend().await;
        let backend = Rc::new(Backend::default());
        rt::spawn_local("fake", serve(far, Rc::clone(self), Rc::clone(&backend)));
        self.answer_cancels();
        (lease, backend)
    }

    /// Puts a server that was never used back.
    pub(crate) fn put_back(lease: Lease<ServerConn>) {
        let session = Session::new(RULES, ParamSet::default());
        lease.release(session.release_after_end(0, 0).unwrap(), clock::now());
    }

    /// From now on.
    pub(crate) fn answer_cancels(self: &Rc<Self>) {
        rt::spawn_local("cancels", take_cancels(Rc::clone(self)));
    }

    /// Closes what the pool has given up, until no slot is on its way anywhere; says how many idle servers are left.
    pub(crate) async fn settle(&self) -> u32 {
        loop {
            while let Some(retired) = self.home.pool.next_retired() {
                rt::spawn_local("close server", retire(Rc::clone(&self.home), retired));
            }
            assert_eq!(self.home.pool.audit(), None);
            let counts = self.home.pool.counts();
            let moving = counts.active + counts.resetting + counts.being_canceled + counts.retiring;
            if moving == 0 {
                assert_eq!(self.home.servers.borrow().len(), counts.idle as usize);
                assert_eq!(self.home.cancels.get(), 0, "a cancel is counted for ever");
                return counts.idle;
            }
            rt::yield_now().await;
        }
    }
}

fn settings(reset_query: Option<&str>) -> HomeSettings {
    HomeSettings {
        rules: RULES,
        reset_query: reset_query.map(str::to_owned),
        query_timeout: None,
        idle_transaction_timeout: None,
        cancel_wait_timeout: None,
        recovery_timeout: Duration::from_secs(5),
        connect_timeout: None,
        log_connections: false,
        log_disconnections: false,
    }
}

async fn take_cancels(bench: Rc<Bench>) {
    loop {
        let mut stream = bench.listener.accept().await.unwrap().attach().unwrap();
        if stream.read_exact(&mut [0; 16]).await.is_ok() {
            bench.cancelled.set(bench.cancelled.get() + 1);
        }
    }
}

async fn serve(mut stream: Stream, bench: Rc<Bench>, backend: Rc<Backend>) {
    let mut status = b'I';
    loop {
        let mut header = [0; 5];
        if stream.read_exact(&mut header).await.is_err() || header[0] != b'Q' {
            return backend.gone.set(true);
        }
        backend.busy.set(true);
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let body = read_some(&mut stream, length - 4).await;
        let sql = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
        backend.queries.borrow_mut().push(sql.clone());
        let before = bench.cancelled.get();
        while sql == "sleep" && bench.cancelled.get() == before {
            rt::yield_now().await;
        }
        status = match sql.as_str() {
            "BEGIN" => b'T',
            "COMMIT" | "ROLLBACK" => b'I',
            _ => status,
        };
        let done = [&b"C\0\0\0\x09DONE\0Z\0\0\0\x05"[..], &[status]].concat();
        backend.busy.set(status != b'I');
        if stream.write_all(&done).await.is_err() {
            return backend.gone.set(true);
        }
    }
}

//! A pool of one server at the other end of a socket, for tests of what clients and servers do to each other.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::test_net::{soon, tcp_pair};
use super::{Home, HomeSettings, Opened};
use crate::config::{PoolMode, SessionState, SslMode};
use crate::net::{Stream, clock};
use crate::pool::{Lease, Pool, PoolKey, PoolLimits, ServerId};
use crate::session::{Quiescent, Rules, TrackedNames};

/// Settings of a pool in this mode, with this query between sessions.
pub(crate) fn settings(mode: PoolMode, reset: Option<&str>) -> Rc<HomeSettings> {
    Rc::new(HomeSettings {
        rules: Rules { mode, max_prepared: 10, session_state: SessionState::PgBouncer },
        reset_query: reset.map(ToOwned::to_owned),
        query_timeout: None,
        idle_transaction_timeout: None,
        cancel_wait_timeout: None,
        connect_timeout: None,
        log_connections: false,
        log_disconnections: false,
    })
}

/// A pool without servers.
pub(crate) fn home(mode: PoolMode, reset: Option<&str>) -> Rc<Home> {
    let limits = PoolLimits {
        size: 1,
        min: 0,
        reserve: 0,
        reserve_timeout: None,
        lifetime: None,
        idle_timeout: None,
        wait_timeout: None,
        login_retry: Duration::from_secs(1),
    };
    Rc::new(Home {
        pool: Pool::new(PoolKey::new("shop", "web"), limits, 1),
        catalog: RefCell::default(),
        counters: RefCell::default(),
        welcome: RefCell::default(),
        usual: RefCell::default(),
        startups: RefCell::default(),
        plan: RefCell::new(super::tests::plan(1, SslMode::Disable)),
        settings: RefCell::new(settings(mode, reset)),
        names: Rc::new(TrackedNames::new(&[])),
        servers: RefCell::new(HashMap::new()),
        cancels: Cell::new(0),
        proven: RefCell::default(),
        alarms: Arc::default(),
    })
}

/// Gives the pool its server, which reported these parameters, and takes it out; the second is its other end.
pub(crate) async fn lent(home: &Home, parameters: &[(&str, &str)]) -> (Lease<super::ServerConn>, Stream) {
    let (stream, peer) = tcp_pair().await;
    let now = clock::now();
    let mut checkout = home.pool.checkout(now);
    assert!(checkout.try_now(now).is_none(), "it queues");
    let permit = home.pool.wanted_connects(now).unwrap();
    let pairs = parameters.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
    let opened = Opened { stream, parameters: pairs.collect(), key: None };
    let plan = home.plan.borrow().clone();
    let conn = home.adopt(1, opened, &plan);
    permit.connected(ServerId(1), conn, now);
    (soon(checkout).await.unwrap(), peer)
}

/// The same, lying idle in the pool.
pub(crate) async fn idle(home: &Home) -> Stream {
    let (lease, peer) = lent(home, &[]).await;
    lease.release(Quiescent::for_test(), clock::now());
    peer
}

//! What the passing of time brings about, three times a second as in PgBouncer. No timer is armed per query.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::state::{Standing, Worker};
use crate::client::{ClientEntry, EndOrder, Pause};
use crate::metrics::ErrorClass;
use crate::net::{clock, rt};
use crate::proto::{PgError, SqlState};
use crate::server::{HomeSettings, cancel_server};
use crate::session::PinReasons;

/// Length of a tick.
const TICK: Duration = Duration::from_millis(333);

/// How long a server may take to put a client's parameters in force, which takes it no work at all (R12, R14).
const PREPARE_TIME: Duration = Duration::from_secs(30);

/// How long a cancelled query may take to end before its client is ended.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

impl Worker {
    /// Works as long as the worker lives. Cancel safe: it holds nothing.
    pub(super) async fn keep_time(self: Rc<Self>) {
        loop {
            rt::sleep_until(clock::now() + TICK).await;
            let now = clock::now();
            for home in self.homes_of(None) {
                home.pool.expire(now);
                home.listener.expire(now);
            }
            self.tick_shares(now);
            self.sweep();
            self.expire_clients(now);
            if matches!(self.standing.get(), Standing::Draining(_)) {
                self.go_on_draining();
            }
        }
    }

    fn expire_clients(&self, now: Instant) {
        let config = self.config();
        let own: BTreeMap<&str, Duration> = (config.users.iter())
            .filter_map(|(name, user)| Some((name.as_str(), user.client_idle_timeout?)))
            .collect();
        let clients: Vec<_> = self.clients.borrow().values().cloned().collect();
        for client in clients {
            let Some(home) = client.home.clone() else { continue };
            // The end would lie behind what is not read, so the client looks for it by itself; as for the listener, where
            // its server listens for it.
            let listens = client.pins.get().intersects(PinReasons::LISTEN);
            if listens || client.read_ahead_full.get() || client.keeps_idle_seat(now) {
                client.wake();
            }
            let settings = home.settings();
            // By the login, which is not the pool's user where the database has one of its own.
            let idle_limit = own.get(&*client.user).copied().or(config.pacing.client_idle_timeout);
            if let Some(order) = overdue(&client, &settings, idle_limit, now) {
                client.end(order);
            } else if query_overdue(&client, &settings, now)
                && let Some(server) = client.cancelable_server()
            {
                client.overran.set(true);
                home.counters.borrow_mut().error(ErrorClass::Timeout);
                rt::spawn_local("cancel", cancel_server(&home, &server));
            }
        }
    }
}

fn passed(since: Option<Instant>, limit: Option<Duration>, now: Instant) -> bool {
    matches!((since, limit), (Some(since), Some(limit)) if now.saturating_duration_since(since) >= limit)
}

/// A query that has run too long and has not been cancelled for it yet: the server cancels it, the session lives.
fn query_overdue(client: &ClientEntry, settings: &HomeSettings, now: Instant) -> bool {
    let since = client.request_since.get();
    client.running.get() && !client.overran.get() && passed(since, settings.query_timeout, now)
}

fn overdue(
    client: &ClientEntry,
    settings: &HomeSettings,
    idle_limit: Option<Duration>,
    now: Instant,
) -> Option<EndOrder> {
    let fatal = |code, text: &'static str| {
        let tell = Some(PgError::fatal(code, text));
        Some(EndOrder { tell, class: Some(ErrorClass::Timeout), at_transaction_end: false })
    };
    if passed(client.paused_since(Pause::IdleInTransaction), settings.idle_transaction_timeout, now) {
        return fatal(SqlState::IDLE_IN_TRANSACTION_TIMEOUT, "idle transaction timeout");
    }
    if passed(client.paused_since(Pause::Idle), idle_limit, now) {
        return fatal(SqlState::IDLE_SESSION_TIMEOUT, "client_idle_timeout");
    }
    if passed(client.paused_since(Pause::Preparing), Some(PREPARE_TIME), now) {
        return fatal(SqlState::CONNECTION_FAILURE, "the database server does not answer");
    }
    let grace = settings.query_timeout.map(|limit| limit + CANCEL_GRACE);
    let ignored_cancel = client.overran.get() && passed(client.request_since.get(), grace, now);
    if ignored_cancel {
        return fatal(SqlState::QUERY_CANCELED, "query timeout");
    }
    None
}

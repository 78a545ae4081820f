//! Pools made from the configuration, and brought up to date with it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::state::Worker;
use crate::auth::{ServerCredentials, ServerSecret, StoredSecret};
use crate::client::EndOrder;
use crate::config::{Config, Database, PinOverflow, PoolMode, PoolSplit, User};
use crate::metrics::ErrorClass;
use crate::net::Target;
use crate::pool::{Pool, PoolEnd, PoolKey, PoolLimits};
use crate::proto::{PgError, SqlState};
use crate::server::{Home, HomeSettings, Listener, PinBook, PinBounds, ProvenSecrets, ServerPlan};
use crate::session::{Catalog, Rules};

impl Worker {
    /// The pool of a database and server user, made if it is new. `None` if the database is not configured.
    pub(super) fn home(&self, database: &str, server_user: &str, now: Instant) -> Option<Rc<Home>> {
        if let Some(home) = self.known_home(database, server_user) {
            return Some(home);
        }
        let key = PoolKey::new(database, server_user);
        let config = self.config();
        let entry = config.database(database)?;
        let shared = Arc::clone(&self.shared);
        let seed = getrandom::u64().unwrap_or(1);
        let at_home = self.home_of(database, server_user) == self.index;
        let number = u16::try_from(self.index + 1).unwrap_or(u16::MAX);
        let home = Rc::new(Home {
            pool: Pool::new(key.clone(), limits_of(&config, entry, server_user), seed),
            catalog: RefCell::new(Catalog::of_share(if at_home { 0 } else { number })),
            counters: RefCell::default(),
            welcome: RefCell::default(),
            usual: RefCell::default(),
            startups: RefCell::default(),
            plan: RefCell::new(self.plan_of(&config, entry, &key, None)),
            settings: RefCell::new(Rc::new(settings_of(&config, entry, server_user))),
            names: Rc::clone(&self.names),
            servers: RefCell::new(HashMap::new()),
            pins: PinBook::shared(self.shared.pins_of(database, server_user)),
            uses: RefCell::default(),
            cancels: Cell::new(0),
            proven: RefCell::default(),
            listener: Listener::default(),
            next_id: Box::new(move || shared.next_id()),
            alarms: Arc::clone(&self.alarms),
        });
        if !at_home {
            home.pool.depend();
        } else if self.is_split(home.pool.key(), entry) {
            home.pool.divide();
        }
        bound_pins(&home, &config, entry);
        home.pool.set_keep_minimum(entry.user.is_some());
        if self.paused.borrow().holds(database) {
            home.pool.pause();
        }
        home.pool.expire(now);
        self.watch_pool(&home.pool);
        self.homes.borrow_mut().insert(key, Rc::clone(&home));
        Some(home)
    }

    /// The pool of a database and server user, if there is one. Looked up at each login, and a few pools are sooner looked
    /// through than hashed.
    fn known_home(&self, database: &str, server_user: &str) -> Option<Rc<Home>> {
        const FEW: usize = 4;
        let homes = self.homes.borrow();
        let found = if homes.len() <= FEW {
            let is_it = |key: &PoolKey| *key.database == *database && *key.user == *server_user;
            homes.iter().find(|(key, _)| is_it(key)).map(|(_, home)| home)
        } else {
            homes.get(&PoolKey::new(database, server_user))
        };
        found.cloned()
    }

    /// How servers of a pool are opened.
    fn plan_of(
        &self,
        config: &Config,
        entry: &Database,
        key: &PoolKey,
        proven: Option<&ProvenSecrets>,
    ) -> ServerPlan {
        ServerPlan {
            target: Target { host: entry.host.clone(), port: entry.port },
            database: entry.dbname.clone().unwrap_or_else(|| key.database.to_string()),
            user: key.user.to_string(),
            credentials: credentials_of(config, entry, &key.user, proven),
            startup: entry.startup.clone(),
            tls: self.tls(),
            sockets: config.sockets.clone(),
        }
    }

    /// A client has proven secrets that servers may ask for.
    pub(super) fn learn_secrets(&self, home: &Home, proven: ProvenSecrets) {
        let config = self.config();
        let key = home.pool.key();
        if let Some(entry) = config.database(&key.database) {
            home.plan.replace(self.plan_of(&config, entry, key, Some(&proven)));
            home.proven.replace(Some(proven));
        }
    }

    /// Makes the pools that are kept filled without any client: those of forced users with a minimum.
    pub(super) fn make_standing_pools(&self, now: Instant) {
        let config = self.config();
        for (name, entry) in &config.databases {
            let Some(user) = &entry.user else { continue };
            let minimum = entry.min_pool_size.unwrap_or(config.defaults.min_pool_size);
            if minimum > 0 && name != "*" && self.home_of(name, user) == self.index {
                self.home(name, user, now);
            }
        }
    }

    /// A reload: pools get their new settings; servers whose way of connecting changed close on release; databases
    /// that vanished end with their clients.
    pub(super) fn configure(&self, config: &Arc<Config>, tls: &Arc<crate::net::TlsContext>, now: Instant) {
        let tls_changed = !self.tls.borrow().same_server_settings(tls);
        self.sharing.epochs.next();
        let before = self.config.replace(Arc::clone(config));
        for database in before.databases.keys().filter(|name| config.database(name).is_none()) {
            self.sharing.epochs.remove(database);
        }
        self.tls.replace(Arc::clone(tls));
        for home in self.homes_of(None) {
            let key = home.pool.key().clone();
            let Some(entry) = config.database(&key.database) else {
                self.remove_home(&home, now);
                continue;
            };
            let old = home.plan.borrow().clone();
            let new = self.plan_of(config, entry, &key, home.proven.borrow().as_ref());
            let moved = old.target != new.target
                || old.database != new.database
                || old.startup != new.startup
                || tls_changed;
            home.plan.replace(new);
            home.settings.replace(Rc::new(settings_of(config, entry, &key.user)));
            home.pool.set_limits(limits_of(config, entry, &key.user), now);
            bound_pins(&home, config, entry);
            if moved {
                home.outdate(now);
            }
        }
        self.make_standing_pools(now);
    }

    fn remove_home(&self, home: &Rc<Home>, now: Instant) {
        let key = home.pool.key().clone();
        let order = EndOrder {
            tell: Some(PgError::fatal(SqlState::ADMIN_SHUTDOWN, "database removed")),
            class: Some(ErrorClass::Admin),
            at_transaction_end: false,
        };
        self.end_clients(&order, |client| client.database() == &*key.database);
        home.pool.close(PoolEnd::Removed, now);
        home.listener.nudge();
        self.homes.borrow_mut().remove(&key);
        self.sharing.forget(&key);
        self.sharing.epochs.remove(&key.database);
        self.leaving.borrow_mut().push(Rc::clone(home));
    }
}

/// The server user of a client: the forced one, or its own name.
pub(super) fn server_user<'a>(entry: &'a Database, login: &'a str) -> &'a str {
    entry.user.as_deref().unwrap_or(login)
}

fn credentials_of(
    config: &Config,
    entry: &Database,
    user: &str,
    proven: Option<&ProvenSecrets>,
) -> ServerCredentials {
    let forced = entry.user.as_ref().and(entry.password.as_ref());
    let stored = || config.users.get(user).and_then(|known| known.secret.as_ref());
    let secret = forced.or_else(stored).map(|secret| &secret.0);
    let stored = secret.and_then(StoredSecret::parse);
    let keys = proven.and_then(|proven| proven.keys.as_ref());
    let mut credentials = ServerCredentials::from_stored(user, stored.as_ref(), keys);
    let is_plain = matches!(credentials.secret, ServerSecret::Password(_));
    if let Some(password) = proven.and_then(|proven| proven.password.clone()).filter(|_| !is_plain) {
        credentials.secret = ServerSecret::Password(password);
    }
    credentials
}

pub(super) fn limits_of(config: &Config, entry: &Database, user: &str) -> PoolLimits {
    let unset = User::default();
    let user = config.users.get(user).unwrap_or(&unset);
    let defaults = &config.defaults;
    PoolLimits {
        size: user.pool_size.or(entry.pool_size).unwrap_or(defaults.pool_size),
        min: entry.min_pool_size.unwrap_or(defaults.min_pool_size),
        reserve: user.reserve_pool_size.or(entry.reserve_pool_size).unwrap_or(defaults.reserve_pool_size),
        reserve_timeout: defaults.reserve_pool_timeout,
        lifetime: entry.server_lifetime.or(defaults.server_lifetime),
        idle_timeout: config.pacing.server_idle_timeout,
        wait_timeout: config.pacing.query_wait_timeout,
        login_retry: config.pacing.server_login_retry,
    }
}

/// Puts the bound of a pool's pinned clients in force; its limits must be.
fn bound_pins(home: &Home, config: &Config, entry: &Database) {
    let defaults = &config.defaults;
    let bounds = PinBounds {
        ratio: entry.max_pinned_ratio.unwrap_or(defaults.max_pinned_ratio),
        may_use_reserve: defaults.pin_overflow == PinOverflow::Reserve,
    };
    home.pins.room.set_rules(bounds.most(&home.pool.limits()), defaults.pin_notice);
}

fn settings_of(config: &Config, entry: &Database, user: &str) -> HomeSettings {
    let unset = User::default();
    let user = config.users.get(user).unwrap_or(&unset);
    let defaults = &config.defaults;
    let mode = user.pool_mode.or(entry.pool_mode).unwrap_or(defaults.pool_mode);
    let wants_reset = mode == PoolMode::Session || defaults.server_reset_query_always;
    let reset_query = wants_reset && !defaults.server_reset_query.is_empty();
    HomeSettings {
        rules: Rules {
            mode,
            max_prepared: defaults.max_prepared_statements as usize,
            session_state: entry.session_state.unwrap_or(defaults.session_state),
        },
        reset_query: reset_query.then(|| defaults.server_reset_query.clone()),
        query_timeout: user.query_timeout.or(defaults.query_timeout),
        idle_transaction_timeout: user.idle_transaction_timeout.or(defaults.idle_transaction_timeout),
        cancel_wait_timeout: config.pacing.cancel_wait_timeout,
        recovery_timeout: config.pacing.server_recovery_timeout,
        connect_timeout: config.pacing.server_connect_timeout,
        log_connections: config.process.log_connections,
        log_disconnections: config.process.log_disconnections,
    }
}

/// Whether several workers may serve the pools of a database.
pub(super) fn split_of(config: &Config, entry: &Database) -> PoolSplit {
    entry.pool_split.unwrap_or(config.defaults.pool_split)
}

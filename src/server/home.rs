//! A pool with everything that clients of one (database, server user) share on its home worker.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cancel::CancelTarget;
use super::conn::{Alarms, ServerConn, ServerEntry};
use super::listener::Listener;
use super::open::{Opened, ServerPlan};
use super::pins::PinBook;
use super::uses::UseBook;
use super::welcome::{Usual, Welcome};
use crate::auth::ScramKeys;
use crate::config::Secret;
use crate::metrics::Counters;
use crate::net::clock;
use crate::pool::Pool;
use crate::session::{
    Catalog, Outbox, ParamSet, Rules, ServerFacts, Session, Startup, Taken, TrackedNames, Turn, Wished,
};

/// What clients asked for at their login, and what PostgreSQL made of it.
#[derive(Debug, Default)]
pub struct Startups {
    tried: HashMap<Vec<(String, Vec<u8>)>, Rc<Startup>>,
    /// What the last clients came to wish, the latest first.
    recent: VecDeque<Rc<Wished>>,
}

impl Startups {
    /// What became of the same values earlier.
    pub fn get(&self, values: &[(String, Vec<u8>)]) -> Option<Rc<Startup>> {
        self.tried.get(values).cloned()
    }

    /// Remembers what became of some values.
    pub fn learn(&mut self, values: Vec<(String, Vec<u8>)>, startup: &Rc<Startup>) {
        /// Applications of one pool differ in a few of these; a thousand kinds are one kind with a counter in it.
        const MAX_TRIED: usize = 1000;
        if self.tried.len() >= MAX_TRIED {
            self.tried.clear();
        }
        self.tried.insert(values, Rc::clone(startup));
    }

    /// The same values, in one place with those of a client before if they are equal.
    pub fn share(&mut self, startup: Startup) -> Rc<Wished> {
        /// Applications of one pool whose clients come by turns.
        const MAX_RECENT: usize = 8;
        let known = self.recent.iter().position(|wished| *wished.startup() == startup);
        let wished = known.and_then(|at| self.recent.remove(at)).unwrap_or_else(|| Rc::new(startup.into()));
        self.recent.truncate(MAX_RECENT - 1);
        self.recent.push_front(Rc::clone(&wished));
        wished
    }
}

/// Settings of one pool that a reload may change.
#[derive(Debug, Clone)]
pub struct HomeSettings {
    /// Pool mode and statement limit.
    pub rules: Rules,
    /// Run when a server is given back, as far as this is wanted in this pool's mode.
    pub reset_query: Option<String>,
    /// Longest running query.
    pub query_timeout: Option<Duration>,
    /// Longest idle time inside a transaction.
    pub idle_transaction_timeout: Option<Duration>,
    /// Longest life of a cancel request.
    pub cancel_wait_timeout: Option<Duration>,
    /// Longest time a server may take to come to rest when its client has gone.
    pub recovery_timeout: Duration,
    /// Connect and login together.
    pub connect_timeout: Option<Duration>,
    /// Lines for new server connections.
    pub log_connections: bool,
    /// Lines for ended connections.
    pub log_disconnections: bool,
}

/// What a client proved at its login and a server may ask for.
#[derive(Debug, Clone, Default)]
pub struct ProvenSecrets {
    /// Keys of its SCRAM exchange.
    pub keys: Option<ScramKeys>,
    /// Its password in clear text.
    pub password: Option<Secret>,
}

/// See the module.
pub struct Home {
    /// Who holds and who waits.
    pub pool: Pool<ServerConn>,
    /// Statement texts of this pool.
    pub catalog: RefCell<Catalog>,
    /// What is counted here.
    pub counters: RefCell<Counters>,
    /// What new clients are told; `None` until a server has logged in.
    pub welcome: RefCell<Option<Rc<Welcome>>>,
    /// What the last client that logged in was told.
    pub usual: RefCell<Usual>,
    /// Startup values that PostgreSQL has accepted, as it spelled them, by what clients had asked for.
    pub startups: RefCell<Startups>,
    /// How servers are opened.
    pub plan: RefCell<ServerPlan>,
    /// Settings in force.
    pub settings: RefCell<Rc<HomeSettings>>,
    /// Followed parameters.
    pub names: Rc<TrackedNames>,
    /// Servers of this pool, as the console shows them.
    pub servers: RefCell<HashMap<u64, Rc<ServerEntry>>>,
    /// Clients that keep their servers.
    pub pins: PinBook,
    /// Which features of sessions clients have used.
    pub uses: RefCell<UseBook>,
    /// Cancel requests on their way.
    pub cancels: Cell<u32>,
    /// What clients of this pool proved at their login, for servers that ask for it.
    pub proven: RefCell<Option<ProvenSecrets>>,
    /// Its connection for LISTEN.
    pub listener: Listener,
    /// Gives connections their process-wide numbers.
    pub next_id: Box<dyn Fn() -> u64>,
    /// Servers that spoke while idle.
    pub alarms: Arc<Alarms>,
}

impl Home {
    /// A server has logged in: makes the connection the pool lends, and remembers the welcome.
    pub fn adopt(&self, id: u64, opened: Opened, plan: &ServerPlan) -> ServerConn {
        let mut facts = ServerFacts::default();
        let login = opened.parameters.iter().find(|(name, _)| name == b"session_authorization");
        facts.login = login.map(|(_, value)| value.as_slice().into()).unwrap_or_default();
        let welcome = Welcome::new(opened.parameters, &self.names);
        facts.params.clone_from(welcome.followed());
        self.welcome.replace(Some(Rc::new(welcome)));
        let stream = opened.stream;
        let backend_pid = opened.key.as_ref().map_or(0, |key| key.process_id);
        let cancel = opened.key.map(|key| Rc::new(CancelTarget::new(&stream, plan, key)));
        let (remote, local) = (stream.endpoint(), stream.local_endpoint());
        let port = plan.target.port;
        let entry = Rc::new(ServerEntry {
            id,
            backend_pid,
            addr: (remote.addr_text(), remote.port(port), local.addr_text(), local.port(port)),
            tls: stream.tls_info().map(|info| info.to_string()).unwrap_or_default(),
            connected_at: clock::wall(),
            request_at: Cell::new(clock::now()),
            state: Cell::new("idle"),
            client: Cell::new(None),
            statements: Cell::new(0),
            application_name: RefCell::default(),
            cancel,
            cancels: Cell::new(0),
        });
        self.servers.borrow_mut().insert(id, Rc::clone(&entry));
        ServerConn::new(stream, facts, entry, &self.alarms)
    }

    /// An idle server has reported followed parameters anew: what changed since `before` is what the next client
    /// will be told (R46). What a client has set on that server stays its own.
    pub fn refresh_welcome(&self, before: &ParamSet, after: &ParamSet) {
        let Some(known) = self.welcome.borrow().clone() else { return };
        if before != after {
            self.welcome.replace(Some(Rc::new(known.changed(&self.names, before, after))));
        }
    }

    /// What its servers are like is not known any more: none of them is lent again, and what they told or made of
    /// startup values is forgotten.
    pub fn outdate(&self, now: Instant) {
        self.welcome.replace(None);
        self.startups.replace(Startups::default());
        self.pool.mark_all_for_closing(now);
        self.listener.renew();
    }

    /// Gives bytes of a server without a client to the conversation that knows its position; what that would say is
    /// for nobody.
    pub fn hear(&self, session: &mut Session, facts: &mut ServerFacts, input: &[u8]) -> Taken {
        let mut turn = Turn {
            now: clock::now(),
            facts: Some(facts),
            catalog: &mut self.catalog.borrow_mut(),
            names: &self.names,
            pins: &self.pins.room,
            to_server: &mut Outbox::default(),
            to_client: &mut Outbox::default(),
        };
        session.on_server(&mut turn, input)
    }

    /// What a server without a client has to be told so that what this conversation wants is in force.
    pub fn link(&self, session: &mut Session, facts: &mut ServerFacts) -> Outbox {
        let mut to_server = Outbox::default();
        session.link(&mut Turn {
            now: clock::now(),
            facts: Some(facts),
            catalog: &mut self.catalog.borrow_mut(),
            names: &self.names,
            pins: &self.pins.room,
            to_server: &mut to_server,
            to_client: &mut Outbox::default(),
        });
        to_server
    }

    /// Lends no more servers until it is resumed, and listens no more.
    pub fn pause(&self) {
        self.pool.pause();
        self.listener.nudge();
    }

    /// Whether nobody works on a paused or closed pool any more, and nothing listens.
    pub fn is_drained(&self) -> bool {
        self.pool.is_drained() && !self.listener.is_up()
    }

    /// A server is gone for good.
    pub fn forget(&self, id: u64) {
        self.servers.borrow_mut().remove(&id);
    }

    /// Settings in force.
    pub fn settings(&self) -> Rc<HomeSettings> {
        Rc::clone(&self.settings.borrow())
    }

    /// Until when a server whose client goes now has to be at rest.
    pub fn recovery_deadline(&self) -> Instant {
        clock::now() + self.settings.borrow().recovery_timeout
    }

    /// Until when a cancel request that begins now may live.
    pub fn cancel_deadline(&self, now: Instant) -> Instant {
        /// For configurations without a limit: a cancel that takes longer helps nobody.
        const LONGEST: Duration = Duration::from_mins(1);
        now + self.settings.borrow().cancel_wait_timeout.unwrap_or(LONGEST)
    }
}

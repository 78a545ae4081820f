//! A conversation without sockets: one client's session, one pool with one server, and the bytes both sides say.
//! It does what the relay does at each turn, by the library's own interface.

use std::time::{Duration, Instant};

use pooler::config::{PoolMode, SessionState};
use pooler::pool::{Pool, PoolKey, PoolLimits, Pooled, ServerId};
use pooler::session::{
    Catalog, Halt, Outbox, ParamSet, PinRoom, Quiescent, Rules, ServerFacts, Session, TrackedNames, Turn,
};

/// What an outbox keeps of its capacity from turn to turn, as in the relay.
const KEEP: usize = 64 * 1024;

/// A server as far as the pool and the session know one.
pub struct Server {
    facts: ServerFacts,
}

impl Pooled for Server {
    fn is_quiet(&mut self) -> bool {
        true
    }
}

/// See the module.
pub struct Rig {
    session: Session,
    catalog: Catalog,
    names: TrackedNames,
    pins: PinRoom,
    pool: Pool<Server>,
    to_client: Outbox,
    to_server: Outbox,
    now: Instant,
}

impl Rig {
    /// A client that has logged in, and a pool with one idle server.
    pub fn new() -> Self {
        let now = Instant::now();
        let limits = PoolLimits {
            size: 1,
            min: 1,
            reserve: 0,
            reserve_timeout: None,
            lifetime: None,
            idle_timeout: None,
            wait_timeout: Some(Duration::from_mins(2)),
            login_retry: Duration::from_secs(15),
        };
        let pool = Pool::new(PoolKey::new("app", "app"), limits, 1);
        pool.set_keep_minimum(true);
        let permit = pool.wanted_connects(now).expect("the pool wants its minimum");
        permit.connected(ServerId(1), Server { facts: ServerFacts::default() }, now);
        let rules =
            Rules { mode: PoolMode::Transaction, max_prepared: 200, session_state: SessionState::Track };
        Self {
            session: Session::new(rules, ParamSet::default()),
            catalog: Catalog::default(),
            names: TrackedNames::new(&[]),
            pins: PinRoom::default(),
            pool,
            to_client: Outbox::default(),
            to_server: Outbox::default(),
            now,
        }
    }

    /// One transaction from the first byte to the server's release; how many bytes left on both sides.
    pub fn transaction(&mut self, request: &[u8], replies: &[u8]) -> usize {
        let taken = self.on_client(None, request);
        assert_eq!(taken, (0, Halt::NeedServer), "without a server nothing passes");
        let mut lease =
            self.pool.checkout(self.now).try_now(self.now).expect("an idle server").expect("a server");
        let facts = &mut lease.facts;
        self.link(facts);
        assert_eq!(self.on_client(Some(facts), request), (request.len(), Halt::More));
        let mut sent = self.to_server.len();
        sent += self.on_server(facts, replies);
        let evidence = self.session.try_release(0, 0).expect("at rest after its replies");
        self.session.unlink();
        std::hint::black_box(self.session.take_tally());
        lease.release(evidence, self.now);
        sent
    }

    /// Only what the pool does for a transaction.
    pub fn lend_and_release(&mut self, evidence: Quiescent) {
        let lease =
            self.pool.checkout(self.now).try_now(self.now).expect("an idle server").expect("a server");
        lease.release(evidence, self.now);
    }

    /// Evidence of a session at rest.
    pub fn evidence(&self) -> Quiescent {
        self.session.try_release(0, 0).expect("a session without a server is at rest")
    }

    /// Bytes from the client.
    fn on_client(&mut self, facts: Option<&mut ServerFacts>, input: &[u8]) -> (usize, Halt) {
        self.clear();
        let Self { session, catalog, names, pins, to_client, to_server, now, .. } = self;
        let mut turn = Turn { now: *now, facts, catalog, names, pins, to_server, to_client };
        let taken = session.on_client(&mut turn, input);
        (taken.consumed, taken.halt)
    }

    /// Bytes from the server; how many of them the client gets.
    fn on_server(&mut self, facts: &mut ServerFacts, input: &[u8]) -> usize {
        self.clear();
        let Self { session, catalog, names, pins, to_client, to_server, now, .. } = self;
        let mut turn = Turn { now: *now, facts: Some(facts), catalog, names, pins, to_server, to_client };
        let taken = session.on_server(&mut turn, input);
        assert_eq!((taken.consumed, taken.halt), (input.len(), Halt::More));
        self.to_client.len()
    }

    fn link(&mut self, facts: &mut ServerFacts) {
        self.clear();
        let Self { session, catalog, names, pins, to_client, to_server, now, .. } = self;
        session.link(&mut Turn { now: *now, facts: Some(facts), catalog, names, pins, to_server, to_client });
        assert!(self.to_server.is_empty(), "no parameter differs");
    }

    fn clear(&mut self) {
        self.to_client.clear(KEEP);
        self.to_server.clear(KEEP);
    }
}

/// What a client says and what a server answers.
pub mod words {
    /// Any message.
    pub fn any(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).expect("a short message").to_be_bytes();
        [&[tag], length.as_slice(), body].concat()
    }

    /// A simple query, and one row.
    pub fn simple() -> (Vec<u8>, Vec<u8>) {
        (any(b'Q', b"select 1\0"), [rows(), ready()].concat())
    }

    /// The unnamed statement, as drivers send it, and one row.
    pub fn unnamed() -> (Vec<u8>, Vec<u8>) {
        let request = [any(b'P', b"\0select 1\0\0\0"), run(""), any(b'S', b"")].concat();
        (request, [any(b'1', b""), any(b'2', b""), rows(), ready()].concat())
    }

    /// Preparing a named statement.
    pub fn prepare() -> (Vec<u8>, Vec<u8>) {
        let request = [any(b'P', b"s1\0select 1\0\0\0"), any(b'S', b"")].concat();
        (request, [any(b'1', b""), ready()].concat())
    }

    /// Running it, and one row.
    pub fn prepared() -> (Vec<u8>, Vec<u8>) {
        ([run("s1"), any(b'S', b"")].concat(), [any(b'2', b""), rows(), ready()].concat())
    }

    /// What a server answers to a Parse.
    pub fn parsed() -> Vec<u8> {
        any(b'1', b"")
    }

    /// Preparing a statement, running and closing it, of a text that the server has.
    pub fn prepared_for_once() -> (Vec<u8>, Vec<u8>) {
        let (parse, close) = (any(b'P', b"s1\0select 1\0\0\0"), any(b'C', b"Ss1\0"));
        let request = [parse, run("s1"), close, any(b'S', b"")];
        (request.concat(), [any(b'2', b""), rows(), ready()].concat())
    }

    /// Ten unnamed statements and one Sync.
    pub fn pipeline() -> (Vec<u8>, Vec<u8>) {
        let one = [any(b'P', b"\0select 1\0\0\0"), run("")].concat();
        let answer = [any(b'1', b""), any(b'2', b""), rows()].concat();
        ([one.repeat(10), any(b'S', b"")].concat(), [answer.repeat(10), ready()].concat())
    }

    /// A result of so many rows.
    pub fn result(count: usize) -> (Vec<u8>, Vec<u8>) {
        let row = any(b'D', b"\0\x01\0\0\0\x20abcdefghijklmnopqrstuvwxyzabcdef");
        let answer = [description(), row.repeat(count), any(b'C', b"SELECT 1\0"), ready()].concat();
        (any(b'Q', b"select 1\0"), answer)
    }

    fn run(statement: &str) -> Vec<u8> {
        let bind = [b"\0", statement.as_bytes(), &[0; 7]].concat();
        [any(b'B', &bind), any(b'D', b"P\0"), any(b'E', &[0; 5])].concat()
    }

    fn rows() -> Vec<u8> {
        [description(), any(b'D', b"\0\x01\0\0\0\x011"), any(b'C', b"SELECT 1\0")].concat()
    }

    fn description() -> Vec<u8> {
        any(
            b'T',
            &[b"\0\x01c\0".as_slice(), &[0, 0, 0, 0, 0, 0, 0, 0, 0, 23, 0, 4], &[255; 4], &[0; 2]].concat(),
        )
    }

    fn ready() -> Vec<u8> {
        any(b'Z', b"I")
    }
}

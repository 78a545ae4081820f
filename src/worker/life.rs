//! A client's life, from its socket to its welcome.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use super::first::{Unserved, first_server, judge_startup, kept_server, refuse_unfollowable};
use super::homes::server_user;
use super::inbox::{Arrival, Migrant, ToWorker};
use super::keys::shown_secret;
use super::state::{ProcessCount, Standing, Worker};
use super::task::{Aboard, Life, Settled};
use super::words::{put_welcome, say_goodbye};
use crate::client::{
    Authenticated, ClientEntry, ClientState, Conversation, Gatehouse, GreetEnv, Greeting, Identity, LoginEnd,
    LoginEnv, Origin, authenticate, greet,
};
use crate::config::CONSOLE_NAMES;
use crate::net::{Detached, Endpoint, Stream, clock, rt};
use crate::pool::PoolKey;
use crate::proto::{PgError, SqlState, StartupMessage};
use crate::server::{Home, ProvenSecrets};
use crate::session::Session;

/// Takes a client off the worker's load, however its task ends.
pub(super) struct OnBoard(Rc<Worker>);

impl OnBoard {
    /// Counts a client that comes from another worker.
    pub(super) fn new(worker: &Rc<Worker>) -> Self {
        worker.load.fetch_add(1, Ordering::Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for OnBoard {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a client out of the worker's books, however its task ends.
pub(super) struct Registered {
    pub(super) worker: Rc<Worker>,
    pub(super) entry: Rc<ClientEntry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(&self.entry.key.0);
        self.worker.aliases.forget(self.entry.key);
        self.worker.tell_whereabouts(self.entry.key.0, false);
        self.entry.unpin();
    }
}

impl Authenticated {
    /// The line about one who is who it says and still is not let in.
    fn log_refusal(&self, peer: &Endpoint, refusal: &PgError) {
        tracing::info!(%peer, user = self.user, database = self.database, "login refused: {refusal}");
    }
}

impl Worker {
    /// A new connection, put on the reactor at once: what it has said shows when the reactor is asked next. The acceptor
    /// has counted it for this worker.
    pub(super) fn accept(self: &Rc<Self>, socket: Detached) {
        let on_board = OnBoard(Rc::clone(self));
        if let Ok(stream) = socket.attach() {
            rt::spawn_detached("client", Life::Arriving(Box::pin(Rc::clone(self).greet(stream, on_board))));
        }
    }

    async fn greet(self: Rc<Self>, mut stream: Stream, on_board: OnBoard) -> Option<Settled> {
        let connected_at = clock::wall();
        let peer = stream.endpoint();
        let now = rt::turn_time();
        let place = match self.door.enter(Origin::from(&peer), now) {
            Ok(place) => place,
            Err(refusal) => {
                Box::pin(say_goodbye(&mut stream, Vec::new(), Some(refusal.for_client()))).await;
                return None;
            }
        };
        let config = self.config();
        let deadline = config.pacing.client_login_timeout.map(|limit| now + limit);
        let tls = self.tls();
        let Gatehouse { handshakes, derivations, .. } = self.door.gatehouse();
        let (mut stream, message) = match greet(stream, &GreetEnv { tls: &tls, handshakes, deadline }).await {
            Ok(Greeting::Login { stream, message }) => (stream, message),
            Ok(Greeting::Cancel { stream, process_id, secret }) => {
                Box::pin(self.route_cancel(process_id, &secret)).await;
                drop(stream); // its end tells the client that the request was dealt with
                return None;
            }
            Err(end) => {
                Box::pin(self.end_login(&peer, None, end, None)).await;
                return None;
            }
        };
        let (verifiers, seed, own_uid) = (&self.verifiers, &self.seed, self.own_uid);
        let env = LoginEnv { config: &config, verifiers, derivations, seed, own_uid, deadline };
        let authenticated = match authenticate(&mut stream, &message, &env).await {
            Ok(authenticated) => authenticated,
            Err(end) => {
                if end.class == crate::client::EndClass::Unproven {
                    place.fail(clock::now());
                }
                Box::pin(self.end_login(&peer, Some(stream), end, Some(&message))).await;
                return None;
            }
        };
        drop(place);
        self.admit(stream, authenticated, Arrival { connected_at, deadline }, on_board).await
    }

    /// One who has proved who it is, on its way to where it will live.
    async fn admit(
        self: Rc<Self>,
        mut stream: Stream,
        authenticated: Authenticated,
        arrival: Arrival,
        on_board: OnBoard,
    ) -> Option<Settled> {
        // Only now: those who have not proved who they are have limits of their own (R108).
        let counted = ProcessCount::new(&self.shared);
        if let Some(refusal) = self.not_admitted(&authenticated) {
            authenticated.log_refusal(&stream.endpoint(), &refusal);
            Box::pin(say_goodbye(&mut stream, authenticated.accepted, Some(refusal))).await;
            return None;
        }
        if let Identity::Console(rights) = authenticated.identity {
            drop(counted);
            // In a box: few come here, and all others should not carry the room for it.
            Box::pin(self.serve_console(stream, authenticated, rights, arrival.connected_at)).await;
            drop(on_board);
            return None;
        }
        let home_worker = self.worker_for(&authenticated);
        if home_worker == self.index {
            return self.serve_client(stream, authenticated, arrival, (on_board, counted)).await;
        }
        let socket = stream.detach().ok()?;
        let inbox = self.shared.inboxes.get(home_worker)?.clone();
        let migrant = Migrant { socket, authenticated, arrival, counted };
        let _ = inbox.send(ToWorker::Adopt(Box::new(migrant))).await;
        None
    }

    /// A client that logged in elsewhere and lives here from now on.
    pub(super) fn adopt(self: &Rc<Self>, migrant: Migrant) {
        let on_board = OnBoard::new(self);
        let Migrant { socket, authenticated, arrival, counted } = migrant;
        let peer = socket.endpoint();
        match socket.attach() {
            Ok(stream) => {
                let serve = Rc::clone(self).serve_client(stream, authenticated, arrival, (on_board, counted));
                rt::spawn_detached("client", Life::Arriving(Box::pin(serve)));
            }
            Err(error) => {
                let Authenticated { user, database, .. } = authenticated;
                tracing::warn!(%error, %peer, user, database, "client lost between workers");
            }
        }
    }

    fn worker_for(&self, authenticated: &Authenticated) -> usize {
        if self.shared.inboxes.len() == 1 {
            return self.index;
        }
        let config = self.config();
        let entry = config.database(&authenticated.database);
        let user = entry.map_or(&*authenticated.user, |entry| server_user(entry, &authenticated.user));
        let split =
            entry.is_some_and(|entry| self.is_split(&PoolKey::new(&*authenticated.database, user), entry));
        if split { self.index } else { self.home_of(&authenticated.database, user) }
    }

    /// Limits that hold for authenticated clients; the console is exempt.
    fn not_admitted(&self, authenticated: &Authenticated) -> Option<PgError> {
        if matches!(authenticated.identity, Identity::Console(_)) {
            return None;
        }
        if self.standing.get() != Standing::Open {
            return Some(PgError::fatal(SqlState::ADMIN_SHUTDOWN, "pooler is shutting down"));
        }
        if self.shared.clients.load(Ordering::Relaxed) > self.config.borrow().max_client_conn {
            let text = "no more connections allowed (max_client_conn)";
            return Some(PgError::fatal(SqlState::TOO_MANY_CONNECTIONS, text));
        }
        let disabled = self.paused.borrow().disabled.contains(&authenticated.database);
        disabled.then(|| {
            let text = format!("database \"{}\" is disabled", authenticated.database);
            PgError::fatal(SqlState::CANNOT_CONNECT_NOW, text)
        })
    }

    async fn end_login(
        &self,
        peer: &Endpoint,
        stream: Option<Stream>,
        end: LoginEnd,
        message: Option<&StartupMessage>,
    ) {
        self.failed_logins.set(self.failed_logins.get() + u64::from(end.class.counted().is_some()));
        let user = message.map(|message| &*message.user);
        let database = message.map(|message| &*message.database);
        tracing::info!(%peer, user, database, "login failed: {}", end.reason);
        if let Some(mut stream) = stream {
            say_goodbye(&mut stream, Vec::new(), end.tell).await;
        }
    }

    async fn serve_client(
        self: Rc<Self>,
        stream: Stream,
        authenticated: Authenticated,
        arrival: Arrival,
        counts: (OnBoard, ProcessCount),
    ) -> Option<Settled> {
        let now = rt::turn_time();
        let config = self.config();
        let (database, login) = (authenticated.database.clone(), authenticated.user.clone());
        let server = config.database(&database).map(|entry| server_user(entry, &login).to_owned());
        let home = server.and_then(|user| self.home(&database, &user, now));
        let (Some(home), Ok(key)) = (home, self.fresh_key(authenticated.minor)) else {
            let mut stream = stream;
            let gone = PgError::fatal(SqlState::ADMIN_SHUTDOWN, "database removed");
            authenticated.log_refusal(&stream.ends().peer(), &gone);
            Box::pin(say_goodbye(&mut stream, authenticated.accepted, Some(gone))).await;
            return None;
        };
        if config.database(&database).is_some_and(|entry| entry.user.is_none()) {
            let proven = ProvenSecrets {
                keys: authenticated.scram_keys.clone(),
                password: authenticated.password.clone(),
            };
            if proven.keys.is_some() || proven.password.is_some() {
                self.learn_secrets(&home, proven);
            }
        }
        let connected_at = arrival.connected_at;
        let registered = self.register(&stream, &authenticated, key, connected_at, Some(Rc::clone(&home)));
        self.converse(stream, authenticated, (registered, counts), arrival.deadline).await
    }

    pub(super) fn register(
        self: &Rc<Self>,
        stream: &Stream,
        authenticated: &Authenticated,
        key: (i32, i32),
        connected_at: SystemTime,
        home: Option<Rc<Home>>,
    ) -> Registered {
        let name = home.as_ref().map(|home| &home.pool.key().user);
        let user = match name.filter(|name| ***name == *authenticated.user) {
            Some(same) => Rc::clone(same),
            None => authenticated.user.as_str().into(),
        };
        let console = CONSOLE_NAMES.iter().position(|name| *name == authenticated.database);
        let entry = Rc::new(ClientEntry {
            id: self.shared.next_id(),
            key,
            user,
            home,
            console: console.and_then(|place| u8::try_from(place).ok()).unwrap_or(u8::MAX),
            tls: stream.tls_info(),
            ..ClientEntry::blank(connected_at, stream.ends().clone())
        });
        self.clients.borrow_mut().insert(key.0, Rc::clone(&entry));
        Registered { worker: Rc::clone(self), entry }
    }

    /// Welcome, and the start of the conversation.
    async fn converse(
        &self,
        mut stream: Stream,
        authenticated: Authenticated,
        books: (Registered, (OnBoard, ProcessCount)),
        deadline: Option<Instant>,
    ) -> Option<Settled> {
        let entry = Rc::clone(&books.0.entry);
        let home = entry.home.clone()?;
        let present = home.pool.client_present();
        let served = if home.welcome.borrow().is_some() {
            Ok(())
        } else {
            Box::pin(first_server(&home, &mut stream, &entry, &self.scratch, deadline)).await
        };
        let served = served.and_then(|()| refuse_unfollowable(&home, &authenticated.parameters));
        let judged = match served {
            Ok(()) => {
                let wanted = (deadline, &*authenticated.parameters);
                judge_startup(&home, &mut stream, &entry, &self.scratch, wanted).await
            }
            Err(unserved) => Err(unserved),
        };
        let wished = match judged {
            Ok(wished) => wished,
            Err(unserved) => {
                if let Unserved::Refused(error) = &unserved {
                    home.note_refused(&entry.user, &authenticated.parameters, error, clock::now());
                }
                Box::pin(unserved.tell(&home, (stream, &entry), authenticated.accepted)).await;
                return None;
            }
        };
        let lease = match kept_server(&home, &mut stream, &entry, &self.scratch, deadline).await {
            Ok(lease) => lease,
            Err(unserved) => {
                Box::pin(unserved.tell(&home, (stream, &entry), authenticated.accepted)).await;
                return None;
            }
        };
        let process_id = lease.as_ref().map_or(entry.key.0, |lease| self.show_backend(&entry, &lease.entry));
        let secret = shown_secret(&self.seed, process_id, entry.key.1);
        let mut welcome = authenticated.accepted;
        let params = put_welcome(&mut welcome, &home, &wished, (process_id, &secret));
        home.counters.borrow_mut().logins += 1;
        home.note_startup(&entry.user, &authenticated.parameters, clock::now());
        let log = home.settings();
        if log.log_connections {
            let tls = entry.tls.map_or_else(|| "no".to_owned(), |tls| tls.to_string());
            let peer = entry.ends.peer();
            let port = peer.port(self.config.borrow().process.listen_port);
            tracing::info!(
                client = entry.id,
                user = &*entry.user,
                database = entry.database(),
                "login from {}:{port} tls={tls}",
                peer.addr_text()
            );
        }
        stream.write_all(&welcome).await.ok()?;
        entry.state.set(ClientState::Idle);
        let session = Session::new(log.rules, params).with_wishes(wished);
        let scratch = Rc::clone(&self.scratch);
        let conversation = match lease {
            Some(lease) => Conversation::with_server(stream, session, scratch, lease),
            None => Conversation::new(stream, session, scratch),
        };
        let (registered, (on_board, counted)) = books;
        let aboard = Aboard { registered, _on_board: on_board, counted, _present: present };
        Some((conversation, aboard))
    }
}

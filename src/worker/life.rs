//! A client's life, from its socket to the one line that tells its end.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use super::first::{first_server, refuse_unfollowable};
use super::homes::server_user;
use super::inbox::{Arrival, Migrant, ToWorker};
use super::state::{ProcessCount, Standing, Worker};
use super::words::{client_params, put_welcome, say_goodbye};
use crate::admin::{self, ConsoleIdentity};
use crate::client::{
    Authenticated, ClientEntry, ClientState, Gatehouse, GreetEnv, Greeting, Identity, LoginEnd, LoginEnv,
    Origin, Relay, Rights, authenticate, greet,
};
use crate::net::{Detached, Endpoint, Stream, clock, rt};
use crate::proto::{PgError, SqlState};
use crate::server::{Home, ProvenSecrets};
use crate::session::Session;

/// Takes a client off the worker's load, however its task ends.
struct OnBoard(Rc<Worker>);

impl Drop for OnBoard {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a client out of the worker's books, however its task ends.
struct Registered {
    worker: Rc<Worker>,
    entry: Rc<ClientEntry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(&self.entry.id);
        self.worker.keys.borrow_mut().remove(&self.entry.key);
    }
}

impl Worker {
    /// A new connection. The acceptor has counted it for this worker.
    pub(super) async fn serve_socket(self: Rc<Self>, socket: Detached) {
        let connected_at = clock::wall();
        let on_board = OnBoard(Rc::clone(&self));
        let origin = Origin::from(socket.endpoint());
        let now = clock::now();
        let Ok(mut stream) = socket.attach() else { return };
        let place = match self.door.enter(origin, now) {
            Ok(place) => place,
            Err(refusal) => return say_goodbye(&mut stream, Vec::new(), Some(refusal.for_client())).await,
        };
        let config = self.config();
        let deadline = config.pacing.client_login_timeout.map(|limit| now + limit);
        let tls = self.tls();
        let Gatehouse { handshakes, derivations, .. } = self.door.gatehouse();
        let (mut stream, message) = match greet(stream, &GreetEnv { tls: &tls, handshakes, deadline }).await {
            Ok(Greeting::Login { stream, message }) => (stream, message),
            Ok(Greeting::Cancel { stream, process_id, secret }) => {
                self.route_cancel(process_id, &secret).await;
                return drop(stream); // its end tells the client that the request was dealt with
            }
            Err(end) => return self.end_login(None, end, None).await,
        };
        let (verifiers, seed, own_uid) = (&self.verifiers, &self.seed, self.own_uid);
        let env = LoginEnv { config: &config, verifiers, derivations, seed, own_uid, deadline };
        let authenticated = match authenticate(&mut stream, &message, &env).await {
            Ok(authenticated) => authenticated,
            Err(end) => {
                if end.class == crate::client::EndClass::Unproven {
                    place.fail(clock::now());
                }
                return self.end_login(Some(stream), end, Some(&message.user)).await;
            }
        };
        drop(place);
        // Only now: those who have not proved who they are have limits of their own (R108).
        let counted = ProcessCount::new(&self.shared);
        if let Some(refusal) = self.not_admitted(&authenticated) {
            tracing::info!(
                user = authenticated.user,
                database = authenticated.database,
                "login refused: {refusal}"
            );
            return say_goodbye(&mut stream, authenticated.accepted, Some(refusal)).await;
        }
        if let Identity::Console(rights) = authenticated.identity {
            drop(counted);
            return self.serve_console(stream, authenticated, rights, connected_at).await;
        }
        let home_worker = self.worker_for(&authenticated);
        let arrival = Arrival { connected_at, deadline };
        if home_worker == self.index {
            return self.serve_client(stream, authenticated, arrival, (on_board, counted)).await;
        }
        let Ok(socket) = stream.detach() else { return };
        let Some(inbox) = self.shared.inboxes.get(home_worker).cloned() else { return };
        let migrant = Migrant { socket, authenticated, arrival, counted };
        let _ = inbox.send(ToWorker::Adopt(Box::new(migrant))).await;
    }

    /// A client that logged in elsewhere and lives here from now on.
    pub(super) async fn adopt(self: Rc<Self>, migrant: Migrant) {
        self.load.fetch_add(1, Ordering::Relaxed);
        let on_board = OnBoard(Rc::clone(&self));
        let Migrant { socket, authenticated, arrival, counted } = migrant;
        match socket.attach() {
            Ok(stream) => self.serve_client(stream, authenticated, arrival, (on_board, counted)).await,
            Err(error) => tracing::warn!(%error, "client lost between workers"),
        }
    }

    fn worker_for(&self, authenticated: &Authenticated) -> usize {
        let config = self.config();
        let entry = config.database(&authenticated.database);
        let user = entry.map_or(&*authenticated.user, |entry| server_user(entry, &authenticated.user));
        self.home_of(&authenticated.database, user)
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

    async fn end_login(&self, stream: Option<Stream>, end: LoginEnd, user: Option<&str>) {
        self.failed_logins.set(self.failed_logins.get() + u64::from(end.class.counted().is_some()));
        tracing::info!(user, "login failed: {}", end.reason);
        if let Some(mut stream) = stream {
            say_goodbye(&mut stream, Vec::new(), end.tell).await;
        }
    }

    async fn serve_console(
        self: &Rc<Self>,
        mut stream: Stream,
        authenticated: Authenticated,
        rights: Rights,
        connected_at: SystemTime,
    ) {
        let Ok(key) = self.fresh_key() else { return };
        let entry = self.register(&stream, &authenticated, key, connected_at, None);
        let log = self.config.borrow().process.log_connections;
        if log {
            tracing::info!(client = entry.entry.id, user = authenticated.user, "console login");
        }
        if stream.write_all(&authenticated.accepted).await.is_err() {
            return;
        }
        entry.entry.state.set(ClientState::Active);
        let identity = ConsoleIdentity { key };
        let handle = self.shared.admin.clone();
        let rights = match rights {
            Rights::Admin => admin::Rights::Admin,
            Rights::Stats => admin::Rights::Stats,
        };
        let end = admin::serve(&mut stream, rights, Vec::new(), identity, handle).await;
        if log {
            tracing::info!(client = entry.entry.id, user = authenticated.user, "console closed: {end}");
        }
    }

    async fn serve_client(
        self: Rc<Self>,
        stream: Stream,
        authenticated: Authenticated,
        arrival: Arrival,
        counts: (OnBoard, ProcessCount),
    ) {
        let now = clock::now();
        let config = self.config();
        let (database, login) = (authenticated.database.clone(), authenticated.user.clone());
        let server = config.database(&database).map(|entry| server_user(entry, &login).to_owned());
        let home = server.and_then(|user| self.home(&database, &user, now));
        let (Some(home), Ok(key)) = (home, self.fresh_key()) else {
            let mut stream = stream;
            let gone = PgError::fatal(SqlState::ADMIN_SHUTDOWN, "database removed");
            return say_goodbye(&mut stream, authenticated.accepted, Some(gone)).await;
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
        self.converse(stream, authenticated, (registered, counts), arrival.deadline).await;
    }

    fn register(
        self: &Rc<Self>,
        stream: &Stream,
        authenticated: &Authenticated,
        key: (i32, i32),
        connected_at: SystemTime,
        home: Option<Rc<Home>>,
    ) -> Registered {
        let id = self.shared.next_id();
        let port = self.config.borrow().process.listen_port;
        let (remote, local) = (stream.endpoint(), stream.local_endpoint());
        let peer_pid = match remote {
            Endpoint::Unix { peer_pid, .. } => peer_pid.unwrap_or(0),
            Endpoint::Tcp(_) => 0,
        };
        let entry = Rc::new(ClientEntry {
            id,
            key,
            user: authenticated.user.clone(),
            database: authenticated.database.clone(),
            home,
            addr: (remote.addr_text(), remote.port(port), local.addr_text(), local.port(port)),
            peer_pid,
            tls: stream.tls_info().unwrap_or_default().to_owned(),
            ..ClientEntry::blank(connected_at)
        });
        self.clients.borrow_mut().insert(id, Rc::clone(&entry));
        self.keys.borrow_mut().insert(key, id);
        Registered { worker: Rc::clone(self), entry }
    }

    /// Welcome, and the start of the conversation.
    async fn converse(
        &self,
        mut stream: Stream,
        authenticated: Authenticated,
        books: (Registered, (OnBoard, ProcessCount)),
        deadline: Option<Instant>,
    ) {
        let entry = Rc::clone(&books.0.entry);
        let Some(home) = entry.home.clone() else { return };
        let began = clock::now();
        let present = home.pool.client_present();
        let served = first_server(&home, &mut stream, &entry, &self.scratch, deadline).await;
        let served = served.and_then(|()| {
            let ignored = &self.config().ignore_startup_parameters;
            refuse_unfollowable(&home, &authenticated.parameters, ignored)
        });
        if let Err(unserved) = served {
            tracing::info!(
                client = entry.id,
                user = entry.user,
                database = entry.database,
                "login failed: {unserved}"
            );
            if let Some(class) = unserved.class() {
                home.counters.borrow_mut().error(class);
            }
            if let Some(tell) = unserved.for_client() {
                say_goodbye(&mut stream, authenticated.accepted, Some(tell)).await;
            }
            return;
        }
        let params = client_params(&home, &authenticated.parameters);
        let mut welcome = authenticated.accepted;
        put_welcome(&mut welcome, &home, &params, entry.key);
        home.counters.borrow_mut().logins += 1;
        let log = home.settings();
        if log.log_connections {
            let tls = if entry.tls.is_empty() { "no" } else { &entry.tls };
            tracing::info!(
                client = entry.id,
                user = entry.user,
                database = entry.database,
                "login from {}:{} tls={tls}",
                entry.addr.0,
                entry.addr.1
            );
        }
        if stream.write_all(&welcome).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        entry.state.set(ClientState::Idle);
        let session = Session::new(log.rules, params);
        let scratch = Rc::clone(&self.scratch);
        let relay = Box::new(Relay::new(stream, session, Rc::clone(&home), Rc::clone(&entry), scratch));
        // A task of its own: what logging in needed, several kB, is not carried through the client's idle hours.
        rt::spawn_detached("client", async move {
            let _books = (books, present);
            talk(relay, &home, &entry, began).await;
        });
    }
}

/// The conversation, and the one line at its end.
async fn talk(mut relay: Box<Relay>, home: &Rc<Home>, entry: &ClientEntry, began: Instant) {
    let ended = relay.run().await;
    let (mut stream, unsent) = relay.finish(&ended);
    if let Some(class) = ended.class() {
        home.counters.borrow_mut().error(class);
    }
    let log = home.settings.borrow().log_disconnections;
    if log {
        let age = clock::now().saturating_duration_since(began).as_secs();
        tracing::info!(
            client = entry.id,
            user = entry.user,
            database = entry.database,
            "closing because: {ended} (age={age}s)"
        );
    }
    let Some(unsent) = unsent else { return };
    if ended.is_parting() && unsent.is_empty() && !stream.has_unsent() {
        return; // it went by itself and has everything
    }
    say_goodbye(&mut stream, unsent, ended.for_client()).await;
}

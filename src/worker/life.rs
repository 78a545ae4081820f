//! A client's life, from its socket to the one line that tells its end.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use super::first::{Unserved, first_server, judge_startup, refuse_unfollowable};
use super::homes::server_user;
use super::inbox::{Arrival, Migrant, ToWorker};
use super::state::{ProcessCount, Standing, Worker};
use super::words::{client_params, put_welcome, say_goodbye};
use crate::client::{
    Authenticated, ClientEntry, ClientState, Conversation, Ended, Gatehouse, GreetEnv, Greeting, Identity,
    LoginEnd, LoginEnv, Origin, authenticate, greet,
};
use crate::config::CONSOLE_NAMES;
use crate::net::{Detached, Endpoint, Stream, clock, rt};
use crate::pool::ClientPresence;
use crate::proto::{PgError, SqlState, StartupMessage};
use crate::server::{Home, ProvenSecrets, ServerConn};
use crate::session::Session;

/// Takes a client off the worker's load, however its task ends.
struct OnBoard(Rc<Worker>);

impl Drop for OnBoard {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a client out of the worker's books, however its task ends.
pub(super) struct Registered {
    worker: Rc<Worker>,
    pub(super) entry: Rc<ClientEntry>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(&self.entry.key.0);
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
    /// A new connection. The acceptor has counted it for this worker.
    pub(super) async fn serve_socket(self: Rc<Self>, socket: Detached) {
        let connected_at = clock::wall();
        let on_board = OnBoard(Rc::clone(&self));
        let peer = socket.endpoint();
        let origin = Origin::from(&peer);
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
            Err(end) => return self.end_login(&peer, None, end, None).await,
        };
        let (verifiers, seed, own_uid) = (&self.verifiers, &self.seed, self.own_uid);
        let env = LoginEnv { config: &config, verifiers, derivations, seed, own_uid, deadline };
        let authenticated = match authenticate(&mut stream, &message, &env).await {
            Ok(authenticated) => authenticated,
            Err(end) => {
                if end.class == crate::client::EndClass::Unproven {
                    place.fail(clock::now());
                }
                return self.end_login(&peer, Some(stream), end, Some(&message)).await;
            }
        };
        drop(place);
        // Only now: those who have not proved who they are have limits of their own (R108).
        let counted = ProcessCount::new(&self.shared);
        if let Some(refusal) = self.not_admitted(&authenticated) {
            authenticated.log_refusal(&peer, &refusal);
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
        let peer = socket.endpoint();
        match socket.attach() {
            Ok(stream) => self.serve_client(stream, authenticated, arrival, (on_board, counted)).await,
            Err(error) => {
                let Authenticated { user, database, .. } = authenticated;
                tracing::warn!(%error, %peer, user, database, "client lost between workers");
            }
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
    ) {
        let now = clock::now();
        let config = self.config();
        let (database, login) = (authenticated.database.clone(), authenticated.user.clone());
        let server = config.database(&database).map(|entry| server_user(entry, &login).to_owned());
        let home = server.and_then(|user| self.home(&database, &user, now));
        let (Some(home), Ok(key)) = (home, self.fresh_key()) else {
            let mut stream = stream;
            let gone = PgError::fatal(SqlState::ADMIN_SHUTDOWN, "database removed");
            authenticated.log_refusal(&stream.ends().peer(), &gone);
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

    /// A client that cannot be served hears why.
    async fn turn_away(
        &self,
        home: &Home,
        (mut stream, entry): (Stream, Rc<ClientEntry>),
        accepted: Vec<u8>,
        unserved: Unserved,
    ) {
        tracing::info!(
            client = entry.id,
            peer = %entry.ends.peer(),
            user = &*entry.user,
            database = entry.database(),
            "login failed: {unserved}"
        );
        if let Some(class) = unserved.class() {
            home.counters.borrow_mut().error(class);
        }
        if let Some(tell) = unserved.for_client() {
            say_goodbye(&mut stream, accepted, Some(tell)).await;
        }
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
        let present = home.pool.client_present();
        let served = first_server(&home, &mut stream, &entry, &self.scratch, deadline).await;
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
                return self.turn_away(&home, (stream, entry), authenticated.accepted, unserved).await;
            }
        };
        let params = client_params(&home, wished.startup());
        let mut welcome = authenticated.accepted;
        put_welcome(&mut welcome, &home, &params, entry.key);
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
        if stream.write_all(&welcome).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        entry.state.set(ClientState::Idle);
        let session = Session::new(log.rules, params).with_wishes(wished);
        let scratch = Rc::clone(&self.scratch);
        let conversation = Conversation::new(stream, session, scratch);
        let (registered, (on_board, counted)) = books;
        let aboard = Aboard { registered, _on_board: on_board, _counted: counted, _present: present };
        // A task of its own: what logging in needed, several kB, is not carried through the client's idle hours.
        rt::spawn_detached("client", Life::Talking(conversation, aboard));
    }
}

/// What takes a client out of all books, however its task ends.
struct Aboard {
    registered: Registered,
    _on_board: OnBoard,
    _counted: ProcessCount,
    _present: ClientPresence<ServerConn>,
}

/// A client's task. There is one for each client, idle or not, so it is written out: an `async fn` would hold the
/// conversation twice, and the room for its end all the time.
enum Life {
    Talking(Conversation, Aboard),
    Parting(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

impl Future for Life {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Talking(conversation, aboard) = &mut *self {
            let entry = &aboard.registered.entry;
            let Some(home) = &entry.home else { return Poll::Ready(()) };
            let ended = ready!(conversation.poll_turn(cx, entry, home));
            if let Self::Talking(conversation, aboard) = std::mem::replace(&mut *self, Self::Over) {
                *self = Self::Parting(Box::pin(part(conversation, ended, aboard)));
            }
        }
        match &mut *self {
            Self::Parting(end) => end.as_mut().poll(cx),
            Self::Talking(..) | Self::Over => Poll::Ready(()),
        }
    }
}

/// The one line at the end of a conversation, and the last words.
async fn part(conversation: Conversation, ended: Ended, aboard: Aboard) {
    let Some((mut stream, unsent)) = conversation.finish(&ended) else { return };
    let entry = &aboard.registered.entry;
    let Some(home) = &entry.home else { return };
    if let Some(class) = ended.class() {
        home.counters.borrow_mut().error(class);
    }
    let log = home.settings.borrow().log_disconnections;
    if log {
        let age = clock::wall().duration_since(entry.connected_at.into()).unwrap_or_default().as_secs();
        tracing::info!(
            client = entry.id,
            peer = %entry.ends.peer(),
            user = &*entry.user,
            database = entry.database(),
            "closing because: {ended} (age={age}s)"
        );
    }
    let Some(unsent) = unsent else { return };
    if ended.is_parting() && unsent.is_empty() && !stream.has_unsent() {
        return; // it went by itself and has everything
    }
    say_goodbye(&mut stream, unsent, ended.for_client()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Stream;
    use crate::session::Rested;

    /// Ten thousand idle clients are to cost 7 MB.
    #[test]
    fn a_logged_in_client_is_small() {
        assert!(size_of::<Stream>() <= 56, "stream: {}", size_of::<Stream>());
        assert!(size_of::<Rested>() <= 72, "session: {}", size_of::<Rested>());
        assert!(size_of::<ClientEntry>() <= 200, "entry: {}", size_of::<ClientEntry>());
        assert!(size_of::<Life>() <= 176, "task: {}", size_of::<Life>());
    }
}

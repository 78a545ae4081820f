//! A client that says exactly what a test wants, byte by byte, and reads every answer under a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use super::host::Target;
use super::wire::{Message, brief, cut_message, msg};

/// Longest wait for an answer that has to come. Far above any honest delay: reaching it is a finding.
pub const ANSWER: Duration = Duration::from_secs(20);

/// Protocol 3.0.
pub const V3: u32 = 0x0003_0000;

/// Why no further message came.
#[derive(Debug)]
pub enum Lost {
    /// Nothing came in time; the connection stands.
    Timeout,
    /// The server closed, between two messages.
    Closed,
    /// The server closed or reset in the middle of a message, or reset between two.
    Broken(io::Error),
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

/// What a login says.
pub struct Login<'a> {
    /// Where to, as whom.
    pub target: &'a Target,
    /// Startup parameters besides user and database.
    pub parameters: &'a [(&'a str, &'a str)],
    /// Protocol version.
    pub version: u32,
}

impl<'a> Login<'a> {
    /// Protocol 3.0, nothing but user and database.
    pub fn plain(target: &'a Target) -> Self {
        Self { target, parameters: &[], version: V3 }
    }
}

/// One connection. Dropping it closes the socket without a Terminate.
pub struct Raw {
    wire: Wire,
    received: Vec<u8>,
    /// What came between the startup packet and the first ReadyForQuery.
    pub welcome: Vec<Message>,
}

impl Raw {
    /// A TCP connection on which nothing has been said.
    pub fn connect(addr: &str) -> io::Result<Self> {
        let tcp = TcpStream::connect(addr)?;
        tcp.set_nodelay(true)?;
        tcp.set_write_timeout(Some(ANSWER))?;
        Ok(Self::over(Wire::Tcp(tcp)))
    }

    /// The same over a Unix socket.
    pub fn connect_unix(socket: &Path) -> io::Result<Self> {
        let unix = UnixStream::connect(socket)?;
        unix.set_write_timeout(Some(ANSWER))?;
        Ok(Self::over(Wire::Unix(unix)))
    }

    const fn over(wire: Wire) -> Self {
        Self { wire, received: Vec::new(), welcome: Vec::new() }
    }

    /// Our own address, by which the other side knows us; `None` over a Unix socket or TLS.
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        match &self.wire {
            Wire::Tcp(tcp) => tcp.local_addr().ok(),
            Wire::Unix(_) | Wire::Tls(_) => None,
        }
    }

    /// Logs in with protocol 3.0; panics with the server's words if that fails.
    pub fn login(target: &Target) -> Self {
        Self::try_login(&Login::plain(target)).unwrap_or_else(|e| panic!("login at {target:?}: {e}"))
    }

    /// Logs in with any parameters; on failure, what the server said in full.
    pub fn try_login(login: &Login<'_>) -> Result<Self, String> {
        let raw = Self::connect(&login.target.addr()).map_err(|e| format!("connect: {e}"))?;
        raw.handshake(login)
    }

    /// The login on a connection that stands, over whatever carries it.
    pub fn handshake(mut self, login: &Login<'_>) -> Result<Self, String> {
        let mut parameters = vec![("user", &*login.target.user), ("database", &*login.target.database)];
        parameters.extend_from_slice(login.parameters);
        self.try_send(&msg::startup(login.version, &parameters)).map_err(|e| format!("startup: {e}"))?;
        self.answer_authentication(&login.target.user, &login.target.password)?;
        Ok(self)
    }

    /// Answers every request for a password until ReadyForQuery.
    pub fn answer_authentication(&mut self, user: &str, password: &str) -> Result<(), String> {
        let mut scram = ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported());
        let mut seen = Vec::new();
        loop {
            let message = match self.next() {
                Ok(message) => message,
                Err(lost) => return Err(format!("{} then {lost:?}", brief(&seen))),
            };
            let answer = match (message.tag, message.body.get(..4)) {
                (b'R', Some([0, 0, 0, 3])) => msg::password(password),
                (b'R', Some([0, 0, 0, 5])) => {
                    let salt = message.body[4..8].try_into().unwrap();
                    msg::password(&md5_hash(user.as_bytes(), password.as_bytes(), salt))
                }
                (b'R', Some([0, 0, 0, 10])) => sasl_initial(&scram),
                (b'R', Some([0, 0, 0, 11])) => {
                    scram.update(&message.body[4..]).map_err(|e| format!("SCRAM: {e}"))?;
                    msg::any(b'p', scram.message())
                }
                (b'R', Some([0, 0, 0, 12])) => {
                    scram.finish(&message.body[4..]).map_err(|e| format!("SCRAM: {e}"))?;
                    Vec::new()
                }
                (b'E', _) => return Err(message.full()),
                _ => Vec::new(),
            };
            let ready = message.tag == b'Z';
            seen.push(message);
            if ready {
                self.welcome = seen;
                return Ok(());
            }
            self.try_send(&answer).map_err(|e| format!("{} then {e}", brief(&seen)))?;
        }
    }

    /// Asks for TLS and does the handshake; the certificate must fit `localhost` under the given roots.
    pub fn start_tls(mut self, config: std::sync::Arc<rustls::ClientConfig>) -> io::Result<Self> {
        self.try_send(&msg::ssl_request())?;
        let answer = self.byte().map_err(|e| io::Error::other(format!("{e:?}")))?;
        if answer != b'S' {
            return Err(io::Error::other(format!("TLS refused with {:?}", char::from(answer))));
        }
        self.wrap_tls(config)
    }

    /// The handshake alone, after an `S` that the caller has read.
    pub fn wrap_tls(self, config: std::sync::Arc<rustls::ClientConfig>) -> io::Result<Self> {
        let Wire::Tcp(tcp) = self.wire else { return Err(io::Error::other("TLS runs over TCP here")) };
        tcp.set_read_timeout(Some(ANSWER))?;
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let session = rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = rustls::StreamOwned::new(session, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self::over(Wire::Tls(Box::new(stream))))
    }

    /// Sends, or says why not.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writer: &mut dyn Write = match &mut self.wire {
            Wire::Tcp(s) => s,
            Wire::Unix(s) => s,
            Wire::Tls(s) => s,
        };
        writer.write_all(bytes)?;
        writer.flush()
    }

    /// Sends; the other side must take it.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("send");
    }

    /// Sends in pieces that end at the given offsets, each as its own segment as far as TCP lets us.
    pub fn send_split(&mut self, bytes: &[u8], cuts: &[usize]) {
        let mut from = 0;
        for &to in cuts.iter().chain([&bytes.len()]) {
            self.send(&bytes[from..to]);
            std::thread::sleep(Duration::from_millis(1));
            from = to;
        }
    }

    /// The next message, waiting at most [`ANSWER`].
    pub fn next(&mut self) -> Result<Message, Lost> {
        self.next_within(ANSWER)
    }

    /// The next message, waiting at most so long.
    pub fn next_within(&mut self, wait: Duration) -> Result<Message, Lost> {
        let end = Instant::now() + wait;
        loop {
            if let Some(message) = cut_message(&mut self.received) {
                return Ok(message);
            }
            self.fill(end)?;
        }
    }

    /// One bare byte: the answer to a request for encryption.
    pub fn byte(&mut self) -> Result<u8, Lost> {
        let end = Instant::now() + ANSWER;
        while self.received.is_empty() {
            self.fill(end)?;
        }
        Ok(self.received.remove(0))
    }

    /// Everything up to the end of the connection, as it stands.
    pub fn bytes_to_end(&mut self) -> Vec<u8> {
        let end = Instant::now() + ANSWER;
        while self.fill(end).is_ok() {}
        std::mem::take(&mut self.received)
    }

    /// Bytes that have come and are not yet read as messages.
    pub fn pending(&self) -> usize {
        self.received.len()
    }

    fn fill(&mut self, end: Instant) -> Result<(), Lost> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Lost::Timeout);
        }
        let mut piece = [0; 16 * 1024];
        let read = match &mut self.wire {
            Wire::Tcp(s) => s.set_read_timeout(Some(left)).and_then(|()| s.read(&mut piece)),
            Wire::Unix(s) => s.set_read_timeout(Some(left)).and_then(|()| s.read(&mut piece)),
            Wire::Tls(s) => s.sock.set_read_timeout(Some(left)).and_then(|()| s.read(&mut piece)),
        };
        match read {
            Ok(0) if self.received.is_empty() => Err(Lost::Closed),
            Ok(0) => Err(Lost::Broken(ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
                self.received.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Lost::Timeout),
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(Lost::Broken(e)),
        }
    }

    /// Messages up to and including the next ReadyForQuery; panics with what came if it does not come.
    pub fn until_ready(&mut self) -> Vec<Message> {
        self.until(b'Z')
    }

    /// Messages up to and including the next of this type.
    pub fn until(&mut self, tag: u8) -> Vec<Message> {
        let mut seen = Vec::new();
        loop {
            match self.next() {
                Ok(message) => seen.push(message),
                Err(lost) => panic!("{lost:?} after {seen:?}, waiting for {:?}", char::from(tag)),
            }
            if seen.last().is_some_and(|m| m.tag == tag) {
                return seen;
            }
        }
    }

    /// Whatever comes until the connection ends or nothing came for `quiet`; and how it stopped.
    pub fn drain(&mut self, quiet: Duration) -> (Vec<Message>, Lost) {
        let mut seen = Vec::new();
        loop {
            match self.next_within(quiet) {
                Ok(message) => seen.push(message),
                Err(lost) => return (seen, lost),
            }
        }
    }

    /// A simple query: all its replies up to ReadyForQuery.
    pub fn query(&mut self, sql: &str) -> Vec<Message> {
        self.send(&msg::query(sql));
        self.until_ready()
    }

    /// First value of the first row of a query that has to succeed; empty if there is no row.
    pub fn value(&mut self, sql: &str) -> String {
        let replies = self.query(sql);
        assert!(replies.iter().all(|m| m.tag != b'E'), "{sql}: {replies:?}");
        replies.iter().find(|m| m.tag == b'D').map_or_else(String::new, Message::first)
    }

    /// The key for a cancel request, as it came at login.
    pub fn key(&self) -> Vec<u8> {
        self.welcome.iter().find(|m| m.tag == b'K').map_or_else(Vec::new, |m| m.body.clone())
    }

    /// A parameter as reported at login.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let start = format!("S({name}=");
        let line = self.welcome.iter().map(Message::full).find(|line| line.starts_with(&start))?;
        Some(line[start.len()..line.len() - 1].to_owned())
    }

    /// Sends Terminate and waits for the other side to close.
    pub fn terminate(mut self) {
        let _ = self.try_send(&msg::terminate());
        let _ = self.drain(ANSWER);
    }

    /// Ends the connection with a reset instead of an orderly close.
    pub fn reset(self) {
        if let Wire::Tcp(tcp) = &self.wire {
            socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO)).expect("linger");
        }
    }

    /// Says that nothing more will be sent; answers can still be read.
    pub fn half_close(&mut self) {
        let _ = match &self.wire {
            Wire::Tcp(s) => s.shutdown(Shutdown::Write),
            Wire::Unix(s) => s.shutdown(Shutdown::Write),
            Wire::Tls(s) => s.sock.shutdown(Shutdown::Write),
        };
    }
}

fn sasl_initial(scram: &ScramSha256) -> Vec<u8> {
    let first = scram.message();
    let mut body = [SCRAM_SHA_256.as_bytes(), &[0]].concat();
    body.extend(u32::try_from(first.len()).unwrap().to_be_bytes());
    body.extend(first);
    msg::any(b'p', &body)
}

/// Sends a cancel request and waits until the other side has closed the connection.
pub fn cancel(addr: &str, key: &[u8]) {
    let mut raw = Raw::connect(addr).expect("connect to cancel");
    raw.send(&msg::cancel(key));
    let (said, _) = raw.drain(ANSWER);
    assert!(said.is_empty(), "a cancel request was answered: {said:?}");
}

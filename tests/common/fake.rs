//! A server that plays PostgreSQL and misbehaves on cue.
//!
//! Each accepted connection plays the next script (the last one again and again). Cancel requests are counted, not
//! played.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::host::{free_port, lock};
use super::wire::msg;

/// A door that scripts stand behind until the test opens it.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Opens it, for ever.
    pub fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    /// Waits until somebody has opened it.
    pub fn wait(&self) {
        let mut open = lock(&self.0.0);
        while !*open {
            let woken = self.0.1.wait_timeout(open, Duration::from_mins(1));
            open = woken.expect("gate").0;
        }
    }
}

/// One step of a script.
#[derive(Clone)]
pub enum Act {
    /// Login without a password: parameters, key, ReadyForQuery.
    Welcome,
    /// Reads until a message of this type has come.
    Await(u8),
    /// Answers requests as a server that knows only [`answers`], until a message of this type has come; that one is
    /// left unanswered.
    ServeUntil(u8),
    /// The same without end; the connection closes when the client leaves.
    Serve,
    /// Sends these bytes as they stand.
    Send(Vec<u8>),
    /// Waits for the test.
    Pass(Gate),
    /// Tells the test that the script has come this far.
    Open(Gate),
    /// Closes in good order.
    Close,
    /// Closes with a reset.
    Reset,
}

/// Type and body of every message that came, over all connections.
type Heard = Arc<Mutex<Vec<(u8, Vec<u8>)>>>;

/// A running scripted server; its threads end with the test process.
pub struct FakeServer {
    port: u16,
    accepted: Arc<AtomicUsize>,
    cancels: Arc<AtomicUsize>,
    seen: Heard,
}

impl FakeServer {
    /// Starts one with a script for each connection in turn.
    pub fn start(scripts: Vec<Vec<Act>>) -> Self {
        assert!(!scripts.is_empty(), "a server needs at least one script");
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let server = Self { port, accepted: Arc::default(), cancels: Arc::default(), seen: Arc::default() };
        let (accepted, cancels) = (Arc::clone(&server.accepted), Arc::clone(&server.cancels));
        let seen = Arc::clone(&server.seen);
        std::thread::spawn(move || {
            let mut next = 0;
            for stream in listener.incoming().flatten() {
                // As PostgreSQL does: a second small message must not wait for the first one's ACK.
                let _ = stream.set_nodelay(true);
                let mut player = Player { stream, seen: Arc::clone(&seen) };
                match player.first_packet() {
                    Some(80_877_102) => {
                        cancels.fetch_add(1, Ordering::SeqCst);
                    }
                    Some(_) => {
                        accepted.fetch_add(1, Ordering::SeqCst);
                        let script = scripts[next.min(scripts.len() - 1)].clone();
                        next += 1;
                        std::thread::spawn(move || player.play(script));
                    }
                    None => {}
                }
            }
        });
        server
    }

    /// Its TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Connections that sent a startup packet.
    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Cancel requests.
    pub fn cancels(&self) -> usize {
        self.cancels.load(Ordering::SeqCst)
    }

    /// Messages of this type that have come, over all connections: their bodies.
    pub fn seen(&self, tag: u8) -> Vec<Vec<u8>> {
        lock(&self.seen).iter().filter(|(t, _)| *t == tag).map(|(_, body)| body.clone()).collect()
    }
}

/// Messages for [`Act::Send`].
pub mod answers {
    use super::msg;

    /// An error with severity, SQLSTATE and text.
    pub fn error(severity: &str, sqlstate: &str, text: &str) -> Vec<u8> {
        msg::any(b'E', format!("S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0\0").as_bytes())
    }

    /// CommandComplete.
    pub fn complete(tag: &str) -> Vec<u8> {
        msg::any(b'C', format!("{tag}\0").as_bytes())
    }

    /// ReadyForQuery.
    pub fn ready(status: u8) -> Vec<u8> {
        msg::any(b'Z', &[status])
    }

    /// One text column `c`, one row, and its completion.
    pub fn one_row(value: &str) -> Vec<u8> {
        let mut description = b"\0\x01c\0".to_vec();
        description.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0]);
        let mut row = vec![0, 1];
        row.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        row.extend(value.as_bytes());
        [msg::any(b'T', &description), msg::any(b'D', &row), complete("SELECT 1")].concat()
    }

    /// ParameterStatus.
    pub fn parameter(name: &str, value: &str) -> Vec<u8> {
        msg::any(b'S', format!("{name}\0{value}\0").as_bytes())
    }
}

struct Player {
    stream: TcpStream,
    seen: Heard,
}

impl Player {
    /// Code of the first packet, after refusing encryption.
    fn first_packet(&mut self) -> Option<u32> {
        loop {
            let mut head = [0; 8];
            self.stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            self.stream.read_exact(&mut head).ok()?;
            let len = u32::from_be_bytes(head[..4].try_into().ok()?) as usize;
            let code = u32::from_be_bytes(head[4..].try_into().ok()?);
            self.stream.read_exact(&mut vec![0; len.checked_sub(8)?]).ok()?;
            self.stream.set_read_timeout(None).ok()?;
            if code != 80_877_103 && code != 80_877_104 {
                return Some(code);
            }
            self.stream.write_all(b"N").ok()?;
        }
    }

    fn play(mut self, script: Vec<Act>) {
        for act in script {
            let going_on = match act {
                Act::Welcome => self.send(&welcome()),
                Act::Await(tag) => self.read_until(tag, false),
                Act::ServeUntil(tag) => self.read_until(tag, true),
                Act::Serve => self.read_until(b'X', true),
                Act::Send(bytes) => self.send(&bytes),
                Act::Pass(gate) => {
                    gate.wait();
                    Some(())
                }
                Act::Open(gate) => {
                    gate.open();
                    Some(())
                }
                Act::Close => self.close(),
                Act::Reset => {
                    let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                    None
                }
            };
            if going_on.is_none() {
                return;
            }
        }
    }

    /// Closing with bytes unread would reset; so say the end first and read what is still on its way.
    fn close(&mut self) -> Option<()> {
        self.stream.shutdown(std::net::Shutdown::Write).ok()?;
        self.stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        while self.stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
        None
    }

    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    fn read_until(&mut self, tag: u8, answering: bool) -> Option<()> {
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).ok()?;
            let len = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
            let mut body = vec![0; len.checked_sub(4)?];
            self.stream.read_exact(&mut body).ok()?;
            lock(&self.seen).push((head[0], body));
            if head[0] == tag {
                return Some(());
            }
            if answering {
                self.send(&answer_to(head[0]))?;
            }
        }
    }
}

fn welcome() -> Vec<u8> {
    let parameters = BTreeMap::from([
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "UTC"),
        ("application_name", ""),
        ("client_encoding", "UTF8"),
        ("integer_datetimes", "on"),
        ("server_encoding", "UTF8"),
        ("server_version", "15.0"),
        ("standard_conforming_strings", "on"),
    ]);
    let mut out = msg::any(b'R', &[0, 0, 0, 0]);
    for (name, value) in parameters {
        out.extend(answers::parameter(name, value));
    }
    out.extend(msg::any(b'K', &[0, 0, 0x12, 0x34, 1, 2, 3, 4]));
    out.extend(answers::ready(b'I'));
    out
}

/// The row `fake` for each query, an empty success for the rest.
fn answer_to(tag: u8) -> Vec<u8> {
    match tag {
        b'Q' => [answers::one_row("fake"), answers::ready(b'I')].concat(),
        b'P' => msg::any(b'1', &[]),
        b'B' => msg::any(b'2', &[]),
        b'C' => msg::any(b'3', &[]),
        b'D' => msg::any(b'n', &[]),
        b'E' => answers::complete("SELECT 0"),
        b'S' => answers::ready(b'I'),
        _ => Vec::new(),
    }
}

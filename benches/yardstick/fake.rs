//! A server that answers at once: it knows the login and one row, and spends next to nothing on either, so that the
//! pooler in front of it is the bottleneck. One thread, edge-triggered, one read and one write per request.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::common::fake::answers;
use crate::common::host::{eventually, free_port};
use crate::common::msg;
use crate::options::Options;
use crate::process::{Cpus, Process};
use crate::program::command;

/// Token of the listener; connections count from 1.
const DOOR: Token = Token(0);

/// Largest read at once.
const CHUNK: usize = 64 * 1024;

/// Answers, made once.
struct Canned {
    welcome: Vec<u8>,
    query: Vec<u8>,
    describe: Vec<u8>,
    execute: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    greeted: bool,
}

/// Starts this server as a process; also its port.
pub(crate) fn start(cpus: Cpus) -> (Process, u16) {
    let port = free_port();
    let log = Options::results().join("fake-server.log");
    let process = Process::start(command(cpus, "fake", &[&port.to_string()]), &log);
    eventually("the fake server listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    (process, port)
}

/// Serves on a local port until killed.
pub(crate) fn main(args: &[String]) {
    let port: u16 = args.first().and_then(|p| p.parse().ok()).expect("a port");
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into()).unwrap();
    let mut poll = Poll::new().unwrap();
    poll.registry().register(&mut listener, DOOR, Interest::READABLE).unwrap();
    let canned = canned();
    let mut connections: HashMap<Token, Connection> = HashMap::new();
    let mut events = Events::with_capacity(1024);
    let mut chunk = vec![0; CHUNK];
    let mut next = 1;
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            if event.token() == DOOR {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_nodelay(true);
                    let token = Token(next);
                    next += 1;
                    poll.registry().register(&mut stream, token, Interest::READABLE).unwrap();
                    let connection = Connection { stream, received: Vec::new(), greeted: false };
                    connections.insert(token, connection);
                }
                continue;
            }
            let Some(connection) = connections.get_mut(&event.token()) else { continue };
            if connection.turn(&canned, &mut chunk).is_none() {
                connections.remove(&event.token());
            }
        }
    }
}

impl Connection {
    /// Reads what is there and answers it; `None` at the end.
    fn turn(&mut self, canned: &Canned, chunk: &mut [u8]) -> Option<()> {
        loop {
            let n = match self.stream.read(chunk) {
                Ok(0) => return None,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Some(()),
                Err(_) => return None,
            };
            let mut out = Vec::new();
            if self.received.is_empty() {
                let taken = self.answer(canned, &chunk[..n], &mut out)?;
                self.received.extend_from_slice(&chunk[taken..n]);
            } else {
                let mut all = std::mem::take(&mut self.received);
                all.extend_from_slice(&chunk[..n]);
                let taken = self.answer(canned, &all, &mut out)?;
                self.received = all.split_off(taken);
            }
            self.send(&out)?;
            if n < chunk.len() {
                return Some(());
            }
        }
    }

    /// Answers are small and their readers fast: a full socket is worth waiting for.
    fn send(&mut self, mut out: &[u8]) -> Option<()> {
        while !out.is_empty() {
            match self.stream.write(out) {
                Ok(n) => out = &out[n..],
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// Answers the whole messages of `bytes`; how many bytes those are.
    fn answer(&mut self, canned: &Canned, bytes: &[u8], out: &mut Vec<u8>) -> Option<usize> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let before_length = usize::from(self.greeted);
            let Some(word) = rest.get(before_length..before_length + 4) else { return Some(at) };
            let len = u32::from_be_bytes(word.try_into().unwrap()) as usize + before_length;
            let Some(message) = rest.get(..len) else { return Some(at) };
            at += len;
            if self.greeted {
                out.extend_from_slice(canned.answer_to(message[0])?);
            } else {
                match message.get(4..8)? {
                    [0x04, 0xd2, 0x16, 0x2f | 0x30] => out.push(b'N'),
                    [0x04, 0xd2, ..] => return None,
                    _ => {
                        self.greeted = true;
                        out.extend_from_slice(&canned.welcome);
                    }
                }
            }
        }
    }
}

impl Canned {
    fn answer_to(&self, tag: u8) -> Option<&[u8]> {
        Some(match tag {
            b'Q' => &self.query,
            b'P' => &[b'1', 0, 0, 0, 4],
            b'B' => &[b'2', 0, 0, 0, 4],
            b'C' => &[b'3', 0, 0, 0, 4],
            b'D' => &self.describe,
            b'E' => &self.execute,
            b'S' => &[b'Z', 0, 0, 0, 5, b'I'],
            b'X' => return None,
            _ => &[],
        })
    }
}

fn canned() -> Canned {
    let parameters = [
        ("application_name", ""),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("integer_datetimes", "on"),
        ("IntervalStyle", "postgres"),
        ("server_encoding", "UTF8"),
        ("server_version", "15.0"),
        ("standard_conforming_strings", "on"),
        ("TimeZone", "UTC"),
    ];
    let mut welcome = msg::any(b'R', &[0; 4]);
    for (name, value) in parameters {
        welcome.extend(answers::parameter(name, value));
    }
    welcome.extend(msg::any(b'K', &[0, 0, 0x12, 0x34, 1, 2, 3, 4]));
    welcome.extend(answers::ready(b'I'));
    let row = answers::one_row("1");
    let description = u32::from_be_bytes(row[1..5].try_into().unwrap()) as usize + 1;
    let (describe, execute) = (row[..description].to_vec(), row[description..].to_vec());
    Canned { welcome, query: [row, answers::ready(b'I')].concat(), describe, execute }
}

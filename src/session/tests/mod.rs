//! The conversation by example and by property: scripts of both sides, cut everywhere.

use std::rc::Rc;
use std::time::Instant;

mod healing;
mod listening;
mod meaning;
mod own;
mod passing;
mod properties;
mod rules;
mod statements;
mod tracking;

use super::*;
use crate::config::{PoolMode, SessionState};
use crate::proto::{FrameHeader, PgError, SqlState};

/// The one moment the tests are counted from.
#[allow(clippy::disallowed_methods)] // core code takes time as an argument; somebody has to begin
fn start() -> Instant {
    Instant::now()
}

/// One conversation with its server and pool.
struct Talk {
    session: Session,
    facts: ServerFacts,
    catalog: Catalog,
    names: TrackedNames,
    pins: PinRoom,
    linked: bool,
    now: Instant,
}

impl Talk {
    fn new(mode: PoolMode, max_prepared: usize) -> Self {
        Self {
            session: Session::new(
                Rules { mode, max_prepared, session_state: SessionState::PgBouncer },
                ParamSet::default(),
            ),
            facts: ServerFacts::default(),
            catalog: Catalog::default(),
            names: TrackedNames::new(&[]),
            pins: PinRoom::default(),
            linked: true,
            now: start(),
        }
    }

    fn transaction() -> Self {
        Self::new(PoolMode::Transaction, 100)
    }

    fn run(&mut self, from_client: bool, input: &[u8]) -> (Vec<u8>, Vec<u8>, Taken) {
        self.act_on(input, |session, turn| {
            if from_client { session.on_client(turn, input) } else { session.on_server(turn, input) }
        })
    }

    /// Something happens to the conversation, with these bytes at hand; what the server and the client get.
    fn act_on<R>(
        &mut self,
        input: &[u8],
        act: impl FnOnce(&mut Session, &mut Turn<'_>) -> R,
    ) -> (Vec<u8>, Vec<u8>, R) {
        let (mut to_server, mut to_client) = (Outbox::default(), Outbox::default());
        let mut turn = Turn {
            now: self.now,
            facts: self.linked.then_some(&mut self.facts),
            catalog: &mut self.catalog,
            names: &self.names,
            pins: &self.pins,
            to_server: &mut to_server,
            to_client: &mut to_client,
        };
        let result = act(&mut self.session, &mut turn);
        let collect = |out: &Outbox| out.slices(input).flatten().copied().collect::<Vec<u8>>();
        (collect(&to_server), collect(&to_client), result)
    }

    /// The client sends; what the server and the client get, as words.
    fn client(&mut self, input: &[u8]) -> (String, String) {
        let (server, client, taken) = self.run(true, input);
        assert_eq!(taken, Taken { consumed: input.len(), halt: Halt::More }, "{:?}", words(input));
        (words(&server), words(&client))
    }

    /// The server sends; what the client gets, as words.
    fn server(&mut self, input: &[u8]) -> String {
        let (_, client, taken) = self.run(false, input);
        assert_eq!(taken, Taken { consumed: input.len(), halt: Halt::More }, "{:?}", words(input));
        words(&client)
    }

    /// Something else happens to the conversation; what the server and the client get.
    fn act(&mut self, act: impl FnOnce(&mut Session, &mut Turn<'_>)) -> (Vec<u8>, Vec<u8>) {
        let (server, client, ()) = self.act_on(&[], act);
        (server, client)
    }

    fn server_halt(&mut self, input: &[u8]) -> Halt {
        self.run(false, input).2.halt
    }

    fn at_rest(&self) -> bool {
        self.session.try_release(0, 0).is_some()
    }
}

/// Type bytes, with the status of `Z`, the code of `E` and the names of P, B, D and C.
fn words(mut bytes: &[u8]) -> String {
    let mut out = Vec::new();
    while let Ok(Some(header)) = FrameHeader::backend(bytes) {
        let body = &bytes[5..header.wire_len.min(bytes.len())];
        let tag = char::from(header.tag);
        out.push(match header.tag {
            b'Z' => format!("Z({})", char::from(body[0])),
            b'E' if body.first() == Some(&b'S') => format!("E({})", PgError::parse(body).code),
            b'P' => format!("P({})", String::from_utf8_lossy(body.split(|&b| b == 0).next().unwrap())),
            b'B' => format!("B({})", String::from_utf8_lossy(body.split(|&b| b == 0).nth(1).unwrap())),
            b'D' | b'C' if body.first() == Some(&b'S') && body.len() > 1 => {
                format!("{tag}({})", String::from_utf8_lossy(&body[1..body.len() - 1]))
            }
            _ => tag.to_string(),
        });
        bytes = &bytes[header.wire_len.min(bytes.len())..];
    }
    out.join(" ")
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(body);
    out
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{sql}\0\0\0").as_bytes())
}

fn bind(name: &str) -> Vec<u8> {
    message(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes())
}

fn execute() -> Vec<u8> {
    message(b'E', b"\0\0\0\0\0")
}

fn query(sql: &str) -> Vec<u8> {
    message(b'Q', format!("{sql}\0").as_bytes())
}

fn sync() -> Vec<u8> {
    message(b'S', b"")
}

fn close(name: &str) -> Vec<u8> {
    message(b'C', format!("S{name}\0").as_bytes())
}

fn error(code: [u8; 5]) -> Vec<u8> {
    let mut out = Vec::new();
    PgError::error(SqlState::from_wire(&code).unwrap(), "no").put(&mut out);
    out
}

/// Replies by their letters: `1 2 3 D C Z T n s I G H c d t`; `Z` is idle, `z` in a block, `x` failed.
fn replies(letters: &str) -> Vec<u8> {
    let one = |letter: char| match letter {
        'Z' => message(b'Z', b"I"),
        'z' => message(b'Z', b"T"),
        'x' => message(b'Z', b"E"),
        'C' => message(b'C', b"INSERT 0 1\0"),
        'D' => message(b'D', b"\0\x01\0\0\0\x0242"),
        other => message(u8::try_from(other).unwrap(), b""),
    };
    letters.chars().filter(|c| *c != ' ').flat_map(one).collect()
}

fn all(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

fn rules(session_state: SessionState) -> Rules {
    Rules { mode: PoolMode::Transaction, max_prepared: 10, session_state }
}

fn talk(session_state: SessionState) -> Talk {
    let mut talk = Talk::transaction();
    talk.session = Session::new(rules(session_state), ParamSet::default());
    talk
}

fn with_startup(settings: &[(&str, &str)], reported: &[(usize, &str)]) -> Talk {
    let mut talk = Talk::transaction();
    let settings = Settings::from_pairs(settings.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())));
    let reported = reported.iter().map(|(at, value)| (*at, value.as_bytes().into())).collect();
    let startup = Startup { reported, settings };
    let mut params = ParamSet::default();
    startup.over(&mut params);
    talk.session = Session::new(rules(SessionState::Track), params).with_wishes(Rc::new(startup.into()));
    talk
}

fn status(name: &str, value: &str) -> Vec<u8> {
    message(b'S', format!("{name}\0{value}\0").as_bytes())
}

fn done(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

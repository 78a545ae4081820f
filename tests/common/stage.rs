//! Scripts of raw messages that are played twice, straight at PostgreSQL and through the pooler, and their replies
//! in a form that can be compared.

use std::collections::BTreeMap;
use std::time::Duration;

use super::host::Target;
use super::raw::{ANSWER, Login, Lost, Raw, V3};
use super::wire::{Message, msg};

/// How long nothing must come before a script calls it silence.
const QUIET: Duration = Duration::from_millis(250);

/// One performance of a script: its connections by name, and the transcript of what came back.
pub struct Stage<'a> {
    target: &'a Target,
    actors: BTreeMap<&'static str, Raw>,
    transcript: Vec<String>,
}

impl<'a> Stage<'a> {
    /// An empty stage in front of a target.
    pub const fn new(target: &'a Target) -> Self {
        Self { target, actors: BTreeMap::new(), transcript: Vec::new() }
    }

    /// Plays a script and returns its transcript, one line for each thing read.
    pub fn play(target: &'a Target, script: &dyn Fn(&mut Stage<'_>)) -> Vec<String> {
        let mut stage = Stage::new(target);
        script(&mut stage);
        stage.transcript
    }

    /// Where this performance takes place.
    pub const fn target(&self) -> &Target {
        self.target
    }

    /// The connection of that name; the first mention logs in.
    pub fn actor(&mut self, name: &'static str) -> &mut Raw {
        let target = self.target;
        self.actors.entry(name).or_insert_with(|| Raw::login(target))
    }

    /// A login with parameters and a protocol version of its own; notes refusals and what `v` said.
    pub fn enter(&mut self, name: &'static str, version: u32, parameters: &[(&str, &str)]) {
        match Raw::try_login(&Login { target: self.target, parameters, version }) {
            Ok(raw) => {
                let negotiated: Vec<String> =
                    raw.welcome.iter().filter(|m| m.tag == b'v').map(refused_options).collect();
                self.note(name, &format!("logged in {}", negotiated.join(" ")));
                self.actors.insert(name, raw);
            }
            Err(e) => self.note(name, &e),
        }
    }

    /// A connection that has not logged in and has said these bytes.
    pub fn first(&mut self, name: &'static str, bytes: &[u8]) {
        let mut raw = Raw::connect(&self.target.addr()).expect("connect");
        let _ = raw.try_send(bytes);
        self.actors.insert(name, raw);
    }

    /// Says these bytes.
    pub fn say(&mut self, name: &'static str, bytes: &[u8]) {
        // The other side may have hung up already; that shows in what is read next.
        let _ = self.actor(name).try_send(bytes);
    }

    /// Reads up to the next `count` ReadyForQuery.
    pub fn ready(&mut self, name: &'static str, count: usize) {
        for _ in 0..count {
            let mut seen = Vec::new();
            let stopped = loop {
                match self.actor(name).next() {
                    Ok(message) => seen.push(message),
                    Err(lost) => break Some(lost),
                }
                if seen.last().is_some_and(|m| m.tag == b'Z') {
                    break None;
                }
            };
            let end = stopped.map_or("", |lost| ending(&lost));
            self.read(name, &seen, end);
        }
    }

    /// Says bytes and reads to ReadyForQuery.
    pub fn ask(&mut self, name: &'static str, bytes: &[u8]) {
        self.say(name, bytes);
        self.ready(name, 1);
    }

    /// A simple query and its answer.
    pub fn query(&mut self, name: &'static str, sql: &str) {
        self.ask(name, &msg::query(sql));
    }

    /// Reads until nothing comes for a while: what is there must be all there is.
    pub fn silence(&mut self, name: &'static str) {
        let (seen, lost) = self.actor(name).drain(QUIET);
        self.read(name, &seen, ending(&lost));
    }

    /// Reads to the end of the connection, which must come.
    pub fn end(&mut self, name: &'static str) {
        let (seen, lost) = self.actor(name).drain(ANSWER);
        self.read(name, &seen, ending(&lost));
    }

    /// Reads messages until one of this type.
    pub fn until(&mut self, name: &'static str, tag: u8) {
        let seen = self.actor(name).until(tag);
        self.read(name, &seen, "");
    }

    /// Reads bytes, not messages, to the end of the connection: for answers in another format.
    pub fn bytes_to_end(&mut self, name: &'static str) -> String {
        String::from_utf8_lossy(&self.actor(name).bytes_to_end()).into_owned()
    }

    /// The single byte that answers a request for encryption.
    pub fn byte(&mut self, name: &'static str) {
        let byte =
            self.actor(name).byte().map_or_else(|l| ending(&l).to_owned(), |b| char::from(b).to_string());
        self.note(name, &byte);
    }

    /// Shows that the session lives: a query is answered.
    pub fn lives(&mut self, name: &'static str) {
        self.query(name, "select 'alive'");
    }

    /// Lets an actor leave in good order.
    pub fn leave(&mut self, name: &'static str) {
        if let Some(raw) = self.actors.remove(name) {
            raw.terminate();
        }
    }

    /// Lets an actor leave without a word, by a close or by a reset.
    pub fn leave_rudely(&mut self, name: &'static str, by_reset: bool) {
        match self.actors.remove(name) {
            Some(raw) if by_reset => raw.reset(),
            left => drop(left),
        }
    }

    fn read(&mut self, name: &str, seen: &[Message], end: &str) {
        let mut words: Vec<String> = seen.iter().filter(|m| m.tag != b'S').map(Message::full).collect();
        if !end.is_empty() {
            words.push(end.to_owned());
        }
        self.note(name, &words.join(" "));
    }

    /// Writes a line into the transcript.
    pub fn note(&mut self, name: &str, line: &str) {
        self.transcript.push(format!("{name}: {line}"));
    }
}

/// What a NegotiateProtocolVersion refuses. The minor version in it is the server's own affair.
fn refused_options(message: &Message) -> String {
    let names = message.body.get(8..).unwrap_or_default();
    format!("v[{}]", String::from_utf8_lossy(names).trim_end_matches('\0').replace('\0', ","))
}

fn ending(lost: &Lost) -> &'static str {
    match lost {
        Lost::Timeout => "(silence)",
        // A peer that closes with our bytes unread resets; which of the two is a matter of timing.
        Lost::Closed | Lost::Broken(_) => "(end)",
    }
}

/// Protocol 3.0, for [`Stage::enter`].
pub const PROTOCOL_3: u32 = V3;

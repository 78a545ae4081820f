//! Performs a script and writes down what came back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::script::{Leave, Say, Step};
use crate::common::raw::V3;
use crate::common::{Login, Lost, Message, Raw, Target};

/// A connection with what its client knows of the parameters.
struct Actor {
    raw: Raw,
    parameters: BTreeMap<String, String>,
    /// Notifications that have come. When they come, beside other messages, is a matter of chance.
    heard: Vec<String>,
}

/// One performance.
struct Play<'a> {
    target: &'a Target,
    actors: BTreeMap<usize, Actor>,
    key: u64,
}

/// Plays a script; one line for each step. Whoever is still there in the end leaves in good order.
pub fn play(target: &Target, steps: &[Step]) -> Vec<String> {
    static KEYS: AtomicU64 = AtomicU64::new(1);
    let mut play = Play { target, actors: BTreeMap::new(), key: KEYS.fetch_add(1, Ordering::Relaxed) };
    let lines = steps.iter().map(|step| play.step(step)).collect();
    for (_, actor) in play.actors {
        actor.raw.terminate();
    }
    lines
}

impl Play<'_> {
    fn step(&mut self, step: &Step) -> String {
        let who = step.who();
        match step {
            Step::Enter(_, parameters) => {
                if let Some(actor) = self.actors.remove(&who) {
                    actor.raw.terminate();
                }
                self.enter(who, parameters)
            }
            Step::Leave(_, how) => {
                if let Some(actor) = self.actors.remove(&who) {
                    match how {
                        Leave::Terminate => actor.raw.terminate(),
                        Leave::Close => drop(actor),
                        Leave::Reset => actor.raw.reset(),
                    }
                }
                String::new()
            }
            Step::Say(_, says) => {
                let ends = says.iter().filter(|say| matches!(say, Say::Query(_) | Say::Sync)).count();
                self.say(who, says);
                (0..ends).map(|_| self.read(who, |m| m.tag == b'Z')).collect::<Vec<_>>().join(" ")
            }
            Step::Hear(_) => {
                self.say(who, &[Say::Query("notify ch, 'last'".to_owned())]);
                let line = self.read(who, |m| m.tag == b'Z');
                let heard = self.actors.get_mut(&who).map(|actor| std::mem::take(&mut actor.heard));
                format!("{line} heard {}", heard.unwrap_or_default().join(" "))
            }
            Step::Flushed(_, says) => {
                self.say(who, says);
                let first = self.read(who, |m| matches!(m.tag, b'C' | b'E' | b's' | b'I'));
                self.say(who, &[Say::Sync]);
                format!("{first} | {}", self.read(who, |m| m.tag == b'Z'))
            }
        }
    }

    fn enter(&mut self, who: usize, parameters: &[(&str, &str)]) -> String {
        match Raw::try_login(&Login { target: self.target, parameters, version: V3 }) {
            Ok(raw) => {
                let mut actor = Actor { raw, parameters: BTreeMap::new(), heard: Vec::new() };
                let welcome = std::mem::take(&mut actor.raw.welcome);
                let words = welcome.iter().filter_map(|m| actor.parameter(m)).collect::<Vec<_>>();
                self.actors.insert(who, actor);
                let mut words = words;
                words.sort();
                format!("in {}", words.join(" "))
            }
            // Its text may be the pooler's own.
            Err(refused) => refused.chars().take("E(FATAL 22023".len()).collect(),
        }
    }

    fn say(&mut self, who: usize, says: &[Say]) {
        if !self.actors.contains_key(&who) {
            let _ = self.enter(who, &[]);
        }
        let bytes: Vec<u8> = says.iter().flat_map(|say| say.bytes(self.key, who)).collect();
        if let Some(actor) = self.actors.get_mut(&who) {
            // If the other side has hung up, that shows in what is read next.
            let _ = actor.raw.try_send(&bytes);
        }
    }

    fn read(&mut self, who: usize, is_last: impl Fn(&Message) -> bool) -> String {
        let Some(actor) = self.actors.get_mut(&who) else { return "(gone)".to_owned() };
        let (mut words, mut news) = (Vec::new(), Vec::new());
        loop {
            match actor.raw.next() {
                Ok(message) => {
                    let last = is_last(&message);
                    if message.tag == b'A' {
                        actor.heard.push(message.full());
                    } else if message.tag == b'S' {
                        news.extend(actor.parameter(&message));
                    } else if last {
                        // When a parameter is reported within a segment is the server's affair.
                        news.sort();
                        words.append(&mut news);
                        words.push(shown(&message));
                    } else {
                        words.push(shown(&message));
                    }
                    if last {
                        return words.join(" ");
                    }
                }
                Err(lost) => {
                    self.actors.remove(&who);
                    words.push(if matches!(lost, Lost::Timeout) { "(silence)" } else { "(end)" }.to_owned());
                    return words.join(" ");
                }
            }
        }
    }
}

impl Actor {
    /// What a report tells that the client did not know.
    fn parameter(&mut self, message: &Message) -> Option<String> {
        if message.tag != b'S' {
            return None;
        }
        let line = message.full();
        let (name, value) = line.get(2..line.len() - 1)?.split_once('=')?;
        let old = self.parameters.insert(name.to_owned(), value.to_owned());
        (old.as_deref() != Some(value)).then_some(line)
    }
}

/// A message with all that a client may see, but for names of ours within texts of the server.
fn shown(message: &Message) -> String {
    if !matches!(message.tag, b'E' | b'N') {
        return message.full();
    }
    let more: Vec<String> = [b'D', b'H', b'P']
        .into_iter()
        .map(|code| message.field(code))
        .filter(|text| !text.is_empty())
        .collect();
    format!("{}[{}]", message.full(), more.join("; "))
}

/// Asks a fresh session for everything that a session can have.
pub const PROBE: &str = "select 'set', name, setting from pg_settings where setting is distinct from reset_val \
     union all select 'user', current_user::text, session_user::text \
     union all select 'custom', nullif(current_setting('my.custom', true), ''), null \
     union all select 'prepared', name, null from pg_prepared_statements where from_sql or name !~ '^pooler_' \
     union all select 'cursor', name, null from pg_cursors where name <> '' \
     union all select 'listen', c, null from pg_listening_channels() c \
     union all select 'lock', classid::text, objid::text from pg_locks \
       where locktype = 'advisory' and pid = pg_backend_pid() \
     union all select 'temp', relname::text, null from pg_class where relnamespace = pg_my_temp_schema() \
     order by 1, 2, 3";

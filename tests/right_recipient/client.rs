//! One client of the storm: says something at random, knows exactly what must come back, and compares all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::common::raw::cancel;
use super::common::{Login, Raw, Target, msg};

/// A name, and what a client does under it.
pub type Deed = (&'static str, fn(&mut Client) -> Outcome);

/// What a client may do; each name is counted, and a run in which one never happened proves nothing.
const DEEDS: &[Deed] = &[
    ("simple", Client::simple),
    ("several", Client::several),
    ("failing", Client::failing),
    ("unnamed", Client::unnamed),
    ("prepare", Client::prepare),
    ("execute", Client::execute),
    ("execute", Client::execute),
    ("pipeline", Client::pipeline),
    ("transaction", Client::transaction),
    ("copy_in", Client::copy_in),
    ("copy_out", Client::copy_out),
    ("large", Client::large),
    ("cancelled", Client::cancelled),
    ("abandon", Client::abandon),
];

/// All deeds, or those that `RIGHT_RECIPIENT_DEEDS` names: to find out which of them a fault needs.
pub fn deeds() -> Vec<Deed> {
    let wanted = std::env::var("RIGHT_RECIPIENT_DEEDS").ok();
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|list| list.split(',').any(|w| w == name));
    DEEDS.iter().copied().filter(|(name, _)| is_wanted(name)).collect()
}

/// What went wrong, for a human.
type Outcome = Result<(), String>;

/// What a client has done and seen.
#[derive(Default)]
pub struct Tally {
    /// Deeds by name.
    pub deeds: BTreeMap<&'static str, u64>,
    /// Cancels that hit.
    pub hits: u64,
    /// Tokens whose insertion was acknowledged.
    pub kept: Vec<String>,
    /// Tokens whose insertion was given up before its end.
    pub given_up: Vec<String>,
}

/// One client; its tokens carry its number.
pub struct Client {
    id: usize,
    seq: u64,
    rng: StdRng,
    target: Target,
    raw: Raw,
    prepared: BTreeMap<String, String>,
    deeds: Vec<Deed>,
    /// What it has done so far.
    pub tally: Tally,
}

fn shown(token: &str) -> Vec<String> {
    ["T(token:25)".to_owned(), format!("D({token})"), "C(SELECT 1)".to_owned()].into()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|w| (*w).to_owned()).collect()
}

impl Client {
    /// Logs in. The same seed gives the same deeds in the same order.
    pub fn new(id: usize, seed: u64, target: &Target) -> Result<Self, String> {
        Ok(Self {
            id,
            seq: 0,
            rng: StdRng::seed_from_u64(seed.wrapping_add(id as u64)),
            target: target.clone(),
            raw: login(target)?,
            prepared: BTreeMap::new(),
            deeds: deeds(),
            tally: Tally::default(),
        })
    }

    /// Does one thing at random.
    pub fn step(&mut self) -> Outcome {
        let (name, deed) = self.deeds[self.rng.random_range(0..self.deeds.len())];
        deed(self).map_err(|e| format!("client {} statement {} ({name}): {e}", self.id, self.seq))?;
        *self.tally.deeds.entry(name).or_default() += 1;
        Ok(())
    }

    fn token(&mut self) -> String {
        self.seq += 1;
        format!("t{}x{}", self.id, self.seq)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Sends, now and then in two pieces.
    fn say(&mut self, bytes: &[u8]) -> Outcome {
        if self.chance(5) {
            let cut = self.rng.random_range(0..bytes.len());
            self.raw.try_send(&bytes[..cut]).map_err(|e| e.to_string())?;
            std::thread::sleep(Duration::from_millis(1));
            self.raw.try_send(&bytes[cut..]).map_err(|e| e.to_string())
        } else {
            self.raw.try_send(bytes).map_err(|e| e.to_string())
        }
    }

    /// Reads as many replies as are expected, notices and parameter reports left out.
    fn replies(&mut self, count: usize) -> Result<Vec<String>, String> {
        let mut seen: Vec<String> = Vec::new();
        while seen.len() < count {
            match self.raw.next() {
                Ok(message) if matches!(message.tag, b'S' | b'N') => {}
                Ok(message) => {
                    seen.push(message.full());
                    // An early end shows as a mismatch at once instead of as a wait.
                    if message.tag == b'E' && message.field(b'S') == "FATAL" {
                        break;
                    }
                }
                Err(lost) => return Err(format!("{lost:?} after {seen:?}")),
            }
        }
        Ok(seen)
    }

    /// Reads replies that must be exactly these.
    fn expect(&mut self, expected: &[String]) -> Outcome {
        let seen = self.replies(expected.len())?;
        if seen == expected {
            return Ok(());
        }
        let at = seen.iter().zip(expected).take_while(|(a, b)| a == b).count();
        Err(format!(
            "reply {at} of {}: expected {:?}, got {:?}",
            expected.len(),
            expected.get(at),
            seen.get(at)
        ))
    }

    fn ask(&mut self, bytes: &[u8], expected: &[String]) -> Outcome {
        self.say(bytes)?;
        self.expect(expected)?;
        if self.raw.pending() == 0 { Ok(()) } else { Err("more than was asked for has come".to_owned()) }
    }

    fn simple(&mut self) -> Outcome {
        let t = self.token();
        let sql = format!("select '{t}' as token /* {t} */");
        self.ask(&msg::query(&sql), &[shown(&t), words(&["Z(I)"])].concat())
    }

    fn several(&mut self) -> Outcome {
        let (a, b) = (self.token(), self.token());
        let sql = format!("select '{a}' as token; select '{b}' as token;");
        self.ask(&msg::query(&sql), &[shown(&a), shown(&b), words(&["Z(I)"])].concat())
    }

    fn failing(&mut self) -> Outcome {
        let t = self.token();
        let error = vec![unknown_column(&t), "Z(I)".to_owned()];
        self.ask(&msg::query(&format!("select {t}")), &error)
    }

    fn unnamed(&mut self) -> Outcome {
        let t = self.token();
        let bytes = [
            msg::parse("", "select $1::text as token"),
            msg::bind("", "", &[Some(&t)]),
            msg::describe(b'P', ""),
            msg::execute("", 0),
            msg::sync(),
        ]
        .concat();
        self.ask(&bytes, &[words(&["1", "2"]), shown(&t), words(&["Z(I)"])].concat())
    }

    /// Gives one of a few names a new text, closing the old statement first.
    fn prepare(&mut self) -> Outcome {
        let t = self.token();
        let name = format!("s{}", self.rng.random_range(0..4));
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        if self.prepared.contains_key(&name) {
            bytes.extend(msg::close(b'S', &name));
            expected.push("3".to_owned());
        }
        bytes.extend(msg::parse(&name, &format!("select '{t}' || $1::text as token")));
        bytes.extend([msg::describe(b'S', &name), msg::sync()].concat());
        expected.extend(words(&["1", "t(000100000019)", "T(token:25)", "Z(I)"]));
        self.prepared.insert(name, t);
        self.ask(&bytes, &expected)
    }

    /// Runs what a name was last given.
    fn execute(&mut self) -> Outcome {
        let name = format!("s{}", self.rng.random_range(0..4));
        let own = self.token();
        let run = [msg::bind("", &name, &[Some(&own)]), msg::execute("", 0), msg::sync()].concat();
        let expected = match self.prepared.get(&name) {
            Some(text) => vec!["2".to_owned(), format!("D({text}{own})"), "C(SELECT 1)".to_owned()],
            None => vec![format!("E(ERROR 26000: prepared statement \"{name}\" does not exist)")],
        };
        self.ask(&run, &[expected, words(&["Z(I)"])].concat())
    }

    /// Several segments in one go, some of which fail, some simple.
    fn pipeline(&mut self) -> Outcome {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..self.rng.random_range(2..8) {
            let t = self.token();
            match self.rng.random_range(0..4) {
                0 => {
                    bytes.extend([msg::run(&format!("select {t}"), &[]), msg::sync()].concat());
                    expected.push(unknown_column(&t));
                }
                1 => {
                    bytes.extend(msg::query(&format!("select '{t}' as token")));
                    expected.extend(shown(&t));
                }
                _ => {
                    bytes.extend([msg::run("select $1::text as token", &[Some(&t)]), msg::sync()].concat());
                    expected.extend(["1", "2"].map(str::to_owned));
                    expected.extend([format!("D({t})"), "C(SELECT 1)".to_owned()]);
                }
            }
            expected.push("Z(I)".to_owned());
        }
        self.ask(&bytes, &expected)
    }

    fn transaction(&mut self) -> Outcome {
        let (a, b) = (self.token(), self.token());
        let fails = self.chance(30);
        let commits = self.chance(60);
        self.ask(&msg::query("begin"), &words(&["C(BEGIN)", "Z(T)"]))?;
        let insert = msg::query(&format!("insert into seen values ('{a}')"));
        self.ask(&insert, &words(&["C(INSERT 0 1)", "Z(T)"]))?;
        let read = [msg::run("select $1::text as token", &[Some(&b)]), msg::sync()].concat();
        let row = [format!("D({b})"), "C(SELECT 1)".to_owned(), "Z(T)".to_owned()];
        self.ask(&read, &[words(&["1", "2"]), row.to_vec()].concat())?;
        if fails {
            self.ask(&msg::query(&format!("select {b}")), &[unknown_column(&b), "Z(E)".to_owned()])?;
        }
        let tag = if commits && !fails { "C(COMMIT)" } else { "C(ROLLBACK)" };
        if tag == "C(COMMIT)" {
            self.tally.kept.push(a);
        } else {
            self.tally.given_up.push(a);
        }
        self.ask(&msg::query(if commits { "commit" } else { "rollback" }), &words(&[tag, "Z(I)"]))
    }

    fn copy_in(&mut self) -> Outcome {
        let t = self.token();
        self.ask(&msg::query("copy seen from stdin"), &words(&["G(0000010000)"]))?;
        if self.chance(30) {
            self.tally.given_up.push(t.clone());
            let gives_up = [msg::copy_data(&format!("{t}\n")), msg::copy_fail(&t)].concat();
            let error = format!("E(ERROR 57014: COPY from stdin failed: {t})");
            return self.ask(&gives_up, &[error, "Z(I)".to_owned()]);
        }
        let rows = [msg::copy_data(&t), msg::copy_data("\n"), msg::copy_done()].concat();
        self.tally.kept.push(t);
        self.ask(&rows, &words(&["C(COPY 1)", "Z(I)"]))
    }

    fn copy_out(&mut self) -> Outcome {
        let t = self.token();
        let rows = self.rng.random_range(0..50);
        let sql = format!("copy (select '{t}' from generate_series(1, {rows})) to stdout");
        let mut expected = words(&["H(0000010000)"]);
        expected.extend((0..rows).map(|_| format!("d({t}\n)")));
        expected.extend(["c".to_owned(), format!("C(COPY {rows})"), "Z(I)".to_owned()]);
        self.ask(&msg::query(&sql), &expected)
    }

    /// Rows far larger than any buffer.
    fn large(&mut self) -> Outcome {
        let t = self.token();
        let width = self.rng.random_range(20_000..90_000);
        let row = format!("D({t}{})", "-".repeat(width));
        let run = [
            msg::run(
                "select $1::text || repeat('-', $2::int) from generate_series(1, 8)",
                &[Some(&t), Some(&width.to_string())],
            ),
            msg::sync(),
        ]
        .concat();
        let mut expected = words(&["1", "2"]);
        expected.extend((0..8).map(|_| row.clone()));
        expected.extend(words(&["C(SELECT 8)", "Z(I)"]));
        self.ask(&run, &expected)
    }

    /// Cancels its own statement, running or queued. Either it is hit or it was too late; never anything else, and
    /// (as the other deeds show) never anyone else.
    fn cancelled(&mut self) -> Outcome {
        let t = self.token();
        self.say(&msg::query(&format!("select '{t}' as token from pg_sleep(0.2)")))?;
        std::thread::sleep(Duration::from_micros(self.rng.random_range(0..20_000)));
        cancel(&self.target.addr(), &self.raw.key());
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| last != "Z(I)") {
            seen.extend(self.replies(1)?);
        }
        let hit = "E(ERROR 57014: canceling statement due to user request)";
        if seen == [hit, "Z(I)"] || seen == ["T(token:25)", hit, "Z(I)"] {
            self.tally.hits += 1;
            return Ok(());
        }
        let done = [shown(&t), words(&["Z(I)"])].concat();
        if seen == done { Ok(()) } else { Err(format!("expected {done:?} or a cancel, got {seen:?}")) }
    }

    /// Leaves in the middle of something, by a close or by a reset, and comes back as somebody new.
    fn abandon(&mut self) -> Outcome {
        let t = self.token();
        let insert = msg::query(&format!("insert into seen values ('{t}')"));
        match self.rng.random_range(0..7) {
            0 => {
                let cut = self.rng.random_range(1..insert.len());
                self.say(&insert[..cut])?;
            }
            1 => {
                self.ask(&msg::query("begin"), &words(&["C(BEGIN)", "Z(T)"]))?;
                self.ask(&insert, &words(&["C(INSERT 0 1)", "Z(T)"]))?;
            }
            2 => self.say(&[msg::query("begin"), insert].concat())?,
            3 => self.say(&msg::query(&format!("select '{t}' from pg_sleep(0.02)")))?,
            4 => self.say(&msg::query(&format!(
                "select '{t}', repeat('-', 90000) from generate_series(1, 100)"
            )))?,
            5 => self.say(&msg::run(&format!("insert into seen values ('{t}')"), &[]))?,
            _ => {
                self.ask(&msg::query("copy seen from stdin"), &words(&["G(0000010000)"]))?;
                self.say(&msg::copy_data(&format!("{t}\n")))?;
            }
        }
        self.tally.given_up.push(t);
        let new = login(&self.target)?;
        let old = std::mem::replace(&mut self.raw, new);
        self.prepared.clear();
        if self.chance(50) {
            old.reset();
        } else {
            drop(old);
        }
        Ok(())
    }
}

fn unknown_column(token: &str) -> String {
    format!("E(ERROR 42703: column \"{token}\" does not exist)")
}

fn login(target: &Target) -> Result<Raw, String> {
    Raw::try_login(&Login::plain(target)).map_err(|e| format!("login: {e}"))
}

//! Which features of sessions the clients of one pool have used.

use std::collections::HashMap;
use std::time::Instant;

use super::home::Home;
use crate::config::PoolMode;
use crate::metrics::UseSnapshot;
use crate::net::clock;
use crate::proto::PgError;
use crate::session::{Feature, Rules, Use};

/// Combinations of user, application, feature and parameter that are told apart in one pool. Applications use some
/// dozens; more than these would only come from names that are made up as they go.
const MAX_ROWS: usize = 200;

/// Characters of a name that are kept.
const MAX_NAME: usize = 64;

/// Stands for all that is not told apart.
const OTHER: &str = "other";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    user: Box<str>,
    application_name: Box<str>,
    feature: Feature,
    name: Box<str>,
}

#[derive(Debug)]
struct Row {
    count: u64,
    first: Instant,
    last: Instant,
    sample: Box<str>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct UseBook(HashMap<Key, Row>);

impl UseBook {
    /// Counts one use.
    pub fn note(&mut self, user: &str, application_name: &[u8], used: &Use, now: Instant) {
        let mut key = Key {
            user: user.into(),
            application_name: shown(application_name),
            feature: used.feature,
            name: shown(&used.name),
        };
        if self.0.len() >= MAX_ROWS && !self.0.contains_key(&key) {
            // Features are few, so these rows are, too.
            key = Key { user: OTHER.into(), application_name: OTHER.into(), name: "".into(), ..key };
        }
        let fresh = || Row { count: 0, first: now, last: now, sample: (&*used.text).into() };
        let row = self.0.entry(key).or_insert_with(fresh);
        row.count += 1;
        row.last = now;
    }

    fn rows(&self, database: &str, rules: Rules, reported: impl Fn(&str) -> bool) -> Vec<UseSnapshot> {
        let now = clock::now();
        let in_transaction = Rules { mode: PoolMode::Transaction, ..rules };
        let row = |(key, row): (&Key, &Row)| UseSnapshot {
            database: database.to_owned(),
            user: key.user.to_string(),
            application_name: key.application_name.to_string(),
            feature: key.feature.as_str(),
            name: key.name.to_string(),
            outcome: key.feature.outcome(rules, reported(&key.name)),
            in_transaction: key.feature.outcome(in_transaction, reported(&key.name)),
            count: row.count,
            first: clock::wall_of(row.first, now),
            last: clock::wall_of(row.last, now),
            sample: row.sample.to_string(),
        };
        self.0.iter().map(row).collect()
    }
}

/// A name for the eyes.
fn shown(name: &[u8]) -> Box<str> {
    let name = String::from_utf8_lossy(name);
    name.chars().take(MAX_NAME).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().into()
}

fn application_name(parameters: &[(String, Vec<u8>)]) -> &[u8] {
    let named = parameters.iter().find(|(name, _)| name == "application_name");
    named.map(|(_, value)| value.as_slice()).unwrap_or_default()
}

impl Home {
    /// Counts the parameters of a client's startup packet.
    pub fn note_startup(&self, user: &str, parameters: &[(String, Vec<u8>)], now: Instant) {
        let application_name = application_name(parameters);
        for (name, _) in parameters {
            let used = Use { feature: Feature::Startup, name: name.as_bytes().into(), text: "".into() };
            self.uses.borrow_mut().note(user, application_name, &used, now);
        }
    }

    /// Counts what a login failed for: a parameter that PostgreSQL does not know, or with a value that it does not
    /// take. Its error names it.
    pub fn note_refused(&self, user: &str, parameters: &[(String, Vec<u8>)], error: &PgError, now: Instant) {
        let names = parameters.iter().map(|(name, _)| name);
        for name in names.filter(|name| error.message.contains(&format!("\"{name}\""))) {
            let used =
                Use { feature: Feature::RefusedStartup, name: name.as_bytes().into(), text: "".into() };
            self.uses.borrow_mut().note(user, application_name(parameters), &used, now);
        }
    }

    /// What its clients have used, and what becomes of it now and in transaction mode.
    pub fn uses(&self) -> Vec<UseSnapshot> {
        let rules = self.settings.borrow().rules;
        let welcome = self.welcome.borrow().clone().unwrap_or_default();
        let reported = |name: &str| {
            self.names.index(name.as_bytes()).is_some_and(|at| welcome.followed().value(at).is_some())
        };
        self.uses.borrow().rows(&self.pool.key().database, rules, reported)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_told_apart_is_counted_together() {
        let mut book = UseBook::default();
        let now = clock::now();
        let used =
            Use { feature: Feature::Set, name: b"work_mem"[..].into(), text: "SET work_mem = ?".into() };
        for application in 0..MAX_ROWS + 5 {
            book.note("app", application.to_string().as_bytes(), &used, now);
        }
        book.note("app", b"0", &used, now);
        let other = book.0.iter().find(|(key, _)| &*key.user == OTHER).unwrap();
        assert_eq!((other.1.count, book.0.len()), (5, MAX_ROWS + 1));
        assert_eq!(book.0.values().map(|row| row.count).sum::<u64>(), MAX_ROWS as u64 + 6);
    }
}

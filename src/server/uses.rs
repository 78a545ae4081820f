//! Which features of sessions the clients of one pool have used.

use std::borrow::Cow;
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

#[derive(Debug)]
struct Key {
    user: Box<str>,
    application_name: Box<str>,
    feature: Feature,
    name: Box<str>,
}

impl Key {
    fn is(&self, user: &str, application_name: &str, feature: Feature, name: &str) -> bool {
        self.feature == feature
            && *self.name == *name
            && *self.user == *user
            && *self.application_name == *application_name
    }
}

#[derive(Debug)]
struct Row {
    count: u64,
    first: Instant,
    last: Instant,
    sample: Box<str>,
}

/// See the module. Few rows, looked through from the front: each login counts its startup parameters here, and those are
/// the same ones again and again.
#[derive(Debug, Default)]
pub struct UseBook(Vec<(Key, Row)>);

impl UseBook {
    /// Counts one use.
    pub fn note(&mut self, user: &str, application_name: &[u8], used: &Use, now: Instant) {
        self.count((user, application_name), (used.feature, &used.name, &used.text), now);
    }

    /// Nothing is allocated for a use that is known.
    fn count(
        &mut self,
        (mut user, application_name): (&str, &[u8]),
        (feature, name, text): (Feature, &[u8], &str),
        now: Instant,
    ) {
        let (mut application_name, mut name) = (shown(application_name), shown(name));
        let mut known = self.find(|key| key.is(user, &application_name, feature, &name));
        if known.is_none() && self.0.len() >= MAX_ROWS {
            // Features are few, so these rows are, too.
            (user, application_name, name) = (OTHER, OTHER.into(), "".into());
            known = self.find(|key| key.is(OTHER, OTHER, feature, ""));
        }
        if let Some(row) = known.and_then(|at| self.0.get_mut(at)) {
            row.1.count += 1;
            row.1.last = now;
            return;
        }
        let (user, application_name, name) = (user.into(), application_name.into(), name.into());
        let row = Row { count: 1, first: now, last: now, sample: text.into() };
        self.0.push((Key { user, application_name, feature, name }, row));
    }

    /// The place of a row. What is asked for often comes to stand at the front.
    fn find(&mut self, is_it: impl Fn(&Key) -> bool) -> Option<usize> {
        let at = self.0.iter().position(|(key, _)| is_it(key))?;
        let before = at.saturating_sub(1);
        self.0.swap(before, at);
        Some(before)
    }

    fn rows(&self, database: &str, rules: Rules, reported: impl Fn(&str) -> bool) -> Vec<UseSnapshot> {
        let now = clock::now();
        let in_transaction = Rules { mode: PoolMode::Transaction, ..rules };
        let row = |(key, row): &(Key, Row)| UseSnapshot {
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
fn shown(name: &[u8]) -> Cow<'_, str> {
    let name = String::from_utf8_lossy(name);
    if name.len() <= MAX_NAME && name.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return name;
    }
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
            let used = (Feature::Startup, name.as_bytes(), "");
            self.uses.borrow_mut().count((user, application_name), used, now);
        }
    }

    /// Counts what a login failed for: a parameter that PostgreSQL does not know, or with a value that it does not
    /// take. Its error names it.
    pub fn note_refused(&self, user: &str, parameters: &[(String, Vec<u8>)], error: &PgError, now: Instant) {
        let names = parameters.iter().map(|(name, _)| name);
        for name in names.filter(|name| error.message.contains(&format!("\"{name}\""))) {
            let used = (Feature::RefusedStartup, name.as_bytes(), "");
            self.uses.borrow_mut().count((user, application_name(parameters)), used, now);
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
        assert_eq!(book.0.iter().map(|(_, row)| row.count).sum::<u64>(), MAX_ROWS as u64 + 6);
    }

    #[test]
    fn names_are_kept_as_they_are_shown_and_found_again_by_what_was_said() {
        let mut book = UseBook::default();
        let (first, later) = (clock::now(), clock::now() + std::time::Duration::from_secs(1));
        let long = "x".repeat(MAX_NAME + 1);
        let said: [(&[u8], &str); 4] = [
            (b"plain name", "plain name"),
            (b"a\tb", "a b"),
            (b"B\xfcro", "B\u{fffd}ro"),
            (long.as_bytes(), &long[1..]),
        ];
        for now in [first, later] {
            for (name, _) in said {
                book.count(("app", name), (Feature::Startup, b"TimeZone", ""), now);
            }
        }
        for (_, shown) in said {
            let (_, row) = book.0.iter().find(|(key, _)| *key.application_name == *shown).unwrap();
            assert_eq!((row.count, row.first, row.last), (2, first, later), "{shown}");
        }
        assert_eq!(book.0.len(), said.len());
    }
}

//! Orders to end clients at once, for clients that are between two workers when one comes.
//!
//! Owns: when the clients of a database were last to be ended. Does not know: who carries that out. All workers get
//! these orders in the same sequence (`control::fleet`), so their numbers mean the same everywhere: a client takes along
//! how many its worker had heard, and the one it comes to looks whether it has missed one that means it.

use std::collections::HashMap;

/// Databases whose last order is remembered. A client is on its way for milliseconds: the limit only says that this does
/// not grow for ever where databases have any name (`*`).
const MAX_DATABASES: usize = 1000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kills {
    count: u64,
    /// Number of the last order that meant all databases, or of one that is not remembered.
    all: u64,
    /// Numbers of the last orders by what they meant.
    databases: HashMap<String, u64>,
}

impl Kills {
    /// How many there were.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Clients of one database, or all, are to be ended.
    pub(super) fn note(&mut self, database: Option<&str>) {
        self.count += 1;
        let Some(database) = database else {
            self.databases.clear();
            self.all = self.count;
            return;
        };
        self.databases.insert(database.to_owned(), self.count);
        if self.databases.len() > MAX_DATABASES {
            let oldest = self.databases.values().copied().min().unwrap_or(0);
            self.databases.retain(|_, number| *number != oldest);
            self.all = self.all.max(oldest); // whoever has been under way for so long cannot be told apart
        }
    }

    /// Whether a client of a database that left when there had been `heard` orders has missed one that means it.
    pub(super) fn has_missed(&self, heard: u64, database: &str) -> bool {
        self.all.max(self.databases.get(database).copied().unwrap_or(0)) > heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only the last order was remembered: of two databases whose clients were to be ended while one of each was between
    /// two workers, one kept its client.
    #[test]
    fn a_client_between_two_workers_is_found_by_every_order_that_means_it() {
        let mut kills = Kills::default();
        kills.note(Some("before"));
        let heard = kills.count();
        for database in ["one", "two"] {
            kills.note(Some(database));
        }
        assert_eq!(
            ["before", "one", "two", "other"].map(|name| kills.has_missed(heard, name)),
            [false, true, true, false]
        );
        assert!(!kills.has_missed(kills.count(), "two"), "it left afterwards");
        kills.note(None);
        kills.note(Some("one"));
        assert!(kills.has_missed(heard, "other"), "an order for all that is not the last");
        assert!(!kills.has_missed(kills.count() - 1, "other"));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_not_ends_rather_than_spares() {
        let mut kills = Kills::default();
        for number in 0..=MAX_DATABASES {
            kills.note(Some(&number.to_string()));
        }
        assert_eq!(kills.databases.len(), MAX_DATABASES);
        assert!(kills.has_missed(0, "0"), "forgotten by name");
        assert!(!kills.has_missed(1, "0"));
    }
}

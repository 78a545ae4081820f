//! What a query text may do to the state of a session: a small set.

use std::ops::{BitOr, BitOrAssign};

/// A set of things that a text may do.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Features(u32);

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident = $bit:literal;)*) => {
        impl Features {
            $($(#[$doc])* pub(crate) const $name: Self = Self(1 << $bit);)*

            /// Each feature with its name, for reports.
            const ALL: &[(Self, &'static str)] = &[$((Self::$name, stringify!($name))),*];
        }
    };
}

features! {
    /// SET of a parameter for the session.
    SET = 0;
    /// SET LOCAL, or set_config() whose third argument is the word `true`: over with the transaction.
    SET_LOCAL = 1;
    /// RESET of one parameter, SET ... TO DEFAULT.
    RESET = 2;
    /// RESET ALL.
    RESET_ALL = 3;
    /// set_config() that may reach beyond the transaction.
    SET_CONFIG = 4;
    /// Some parameter is touched whose name the text does not tell.
    UNJUDGED_SETTINGS = 5;
    /// The current or the session's role may change.
    IDENTITY = 6;
    /// The seed of random() is set.
    SEED = 7;
    /// DISCARD ALL.
    DISCARD_ALL = 8;
    /// DISCARD TEMP.
    DISCARD_TEMP = 9;
    /// DISCARD of something else: plans, sequences.
    DISCARD_OTHER = 10;
    /// PREPARE of a statement.
    PREPARE = 11;
    /// EXECUTE, also within EXPLAIN or CREATE TABLE ... AS.
    EXECUTE = 12;
    /// DEALLOCATE of one statement.
    DEALLOCATE = 13;
    /// DEALLOCATE ALL.
    DEALLOCATE_ALL = 14;
    /// DECLARE ... WITH HOLD.
    DECLARE_HOLD = 15;
    /// CLOSE of a cursor or all.
    CLOSE = 16;
    /// LISTEN.
    LISTEN = 17;
    /// UNLISTEN.
    UNLISTEN = 18;
    /// NOTIFY or pg_notify().
    NOTIFY = 19;
    /// Something temporary is made, or the temporary schema named.
    TEMP = 20;
    /// An advisory lock of the session is taken.
    ADVISORY_LOCK = 21;
    /// Advisory locks of the session are given back.
    ADVISORY_UNLOCK = 22;
    /// LOAD of a library.
    LOAD = 23;
    /// DROP of anything.
    DROP = 24;
    /// DO or CALL: may do anything.
    OPAQUE = 25;
    /// A transaction is begun or ended, beside something else: never alone.
    TRANSACTION = 26;
    /// The text, or a part of it, cannot be read safely: it may do anything.
    UNJUDGED = 27;
}

impl Features {
    /// Nothing.
    pub(crate) const NOTHING: Self = Self(0);

    /// Whether this set has something of `other`.
    pub(crate) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether this set has all of `other`.
    pub(crate) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether this set has nothing.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What this set and `other` have in common.
    #[must_use]
    pub(crate) const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// This set and `other`.
    #[must_use]
    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Features {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl BitOrAssign for Features {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.with(other);
    }
}

impl std::fmt::Debug for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = Self::ALL.iter().filter(|(feature, _)| self.contains(*feature)).map(|(_, name)| *name);
        f.write_str(&names.collect::<Vec<_>>().join("|"))
    }
}

//! What a server is asked about its session before it goes to somebody else, and what the answer means.
//!
//! The words of a client's queries tell only that there may be something to ask about. What is there after errors,
//! rollbacks, savepoints and functions, PostgreSQL itself tells (C3).

use super::answer::Row;
use super::settings::{Pair, ROLE, SESSION_AUTHORIZATION, Settings};
use super::sql::Features;
use crate::metrics::PIN_REASONS;
use crate::proto::put_identifier;

/// Why a client keeps its server: what it has there, and only there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PinReasons(u16);

impl PinReasons {
    /// Temporary tables, functions, types or whatever else.
    pub const TEMPORARY: Self = Self(1);
    /// Cursors WITH HOLD.
    pub const CURSOR: Self = Self(1 << 1);
    /// Session-level advisory locks.
    pub const ADVISORY_LOCK: Self = Self(1 << 2);
    /// LISTEN.
    pub const LISTEN: Self = Self(1 << 3);
    /// Statements made with PREPARE.
    pub const PREPARED: Self = Self(1 << 4);
    /// LOAD.
    pub const LIBRARY: Self = Self(1 << 5);
    /// The server did not tell.
    pub const UNKNOWN: Self = Self(1 << 6);
    /// Settings, where the policy is to keep the server for them.
    pub const SETTINGS: Self = Self(1 << 7);

    /// A statement too large to keep a copy of.
    pub const LARGE_STATEMENT: Self = Self(1 << 8);
    /// Nothing yet: a statement that will bring a reason about has been let through.
    pub const INTENDED: Self = Self(1 << 15);

    /// All that can be asked for.
    const ASKABLE: Self =
        Self(Self::TEMPORARY.0 | Self::CURSOR.0 | Self::ADVISORY_LOCK.0 | Self::LISTEN.0 | Self::PREPARED.0);

    const WORDS: [(Self, &'static str); PIN_REASONS.len()] = [
        (Self::TEMPORARY, PIN_REASONS[0]),
        (Self::CURSOR, PIN_REASONS[1]),
        (Self::ADVISORY_LOCK, PIN_REASONS[2]),
        (Self::LISTEN, PIN_REASONS[3]),
        (Self::PREPARED, PIN_REASONS[4]),
        (Self::LIBRARY, PIN_REASONS[5]),
        (Self::UNKNOWN, PIN_REASONS[6]),
        (Self::SETTINGS, PIN_REASONS[7]),
        (Self::LARGE_STATEMENT, PIN_REASONS[8]),
    ];

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `self` and `other` have one in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those of either.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The words of the console and of the metrics, one for each.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.into_iter().filter(move |(reason, _)| self.intersects(*reason)).map(|(_, word)| word)
    }

    /// Whether each word of [`PIN_REASONS`] is among them.
    pub fn flags(self) -> [bool; PIN_REASONS.len()] {
        Self::WORDS.map(|(reason, _)| self.intersects(reason))
    }
}

impl std::fmt::Display for PinReasons {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, word) in self.words().enumerate() {
            write!(f, "{}{word}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// Which settings are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Asked {
    /// None.
    #[default]
    Nothing,
    /// Those that were set just now, and surely were.
    Named,
    /// All that are not at their defaults.
    All,
}

/// A question.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) settings: Asked,
    /// The names asked for one by one: those set, and those PostgreSQL lists nowhere.
    pub(super) names: Vec<Box<[u8]>>,
    /// What else is asked for.
    pub(super) reasons: PinReasons,
    /// The client has a role and has not said that it wants another: if there is none, something has reset it unseen.
    pub(super) expects_role: bool,
}

impl Survey {
    /// What `features`, seen since the last question, and the names they touched call for. `pinned`: what was found
    /// then. `doubtful`: whether the statements have held is not certain.
    pub(super) fn of(features: Features, names: &[Box<[u8]>], doubtful: bool, pinned: PinReasons) -> Self {
        // What a question before this one was about is not known: this one is about all there is.
        let features =
            if pinned.intersects(PinReasons::UNKNOWN) { features.with(Features::UNJUDGED) } else { features };
        let settings = if features.intersects(SETTINGS_AT_LARGE) || doubtful && !names.is_empty() {
            Asked::All
        } else if names.is_empty() {
            Asked::Nothing
        } else {
            Asked::Named
        };
        let unlisted = |name: &[u8]| settings == Asked::Named || name.contains(&b'.');
        let mut asked: Vec<_> = names.iter().filter(|name| unlisted(name)).cloned().collect();
        if settings == Asked::All {
            asked.extend([ROLE.into(), SESSION_AUTHORIZATION.into()]);
        }
        Self { settings, names: asked, reasons: reasons_to_ask(features, pinned), expects_role: false }
    }

    /// Where all settings are asked for: also for those in force that PostgreSQL lists nowhere.
    pub(super) fn ask_also_for(&mut self, settings: &Settings) {
        if self.settings == Asked::All {
            let unlisted = settings.iter().map(|(name, _)| name).filter(|name| name.contains(&b'.'));
            for name in unlisted {
                if !self.names.iter().any(|known| **known == *name) {
                    self.names.push(name.into());
                }
            }
        }
    }

    /// Whether there is nothing to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.settings == Asked::Nothing && self.reasons.is_empty()
    }

    /// The question; the names are its parameters. Rows: what it is about, a name, a value. Every name in it is
    /// qualified, since the search path is the client's (S8).
    pub(super) fn sql(&self) -> String {
        let mut parts = Vec::new();
        if self.settings == Asked::All {
            parts.push(String::from(
                "SELECT 'set', name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings \
                 WHERE source OPERATOR(pg_catalog.=) 'session'",
            ));
        }
        if !self.names.is_empty() {
            let places: Vec<_> = (1..=self.names.len()).map(|i| format!("(${i}::pg_catalog.text)")).collect();
            let places = places.join(",");
            parts.push(format!(
                "SELECT 'set', n, pg_catalog.current_setting(n, true) FROM (VALUES {places}) v(n)"
            ));
        }
        if self.names.iter().any(|name| **name == *ROLE) {
            parts.push(DEFAULT_ROLE.to_owned());
        }
        for (reason, sql) in PROBES {
            if self.reasons.intersects(reason) {
                parts.push(sql.to_owned());
            }
        }
        parts.join(" UNION ALL ")
    }
}

/// What may touch settings whose names it does not tell.
const SETTINGS_AT_LARGE: Features = Features::RESET
    .with(Features::RESET_ALL)
    .with(Features::DISCARD_ALL)
    .with(Features::UNJUDGED_SETTINGS)
    .with(Features::OPAQUE)
    .with(Features::UNJUDGED);

/// Whether sessions begin with a role of their own (`ALTER ROLE ... SET role`), so that to have none is not the default.
/// A session under another authorization has none by that, whatever its login's is.
const DEFAULT_ROLE: &str = "SELECT 'role', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_db_role_setting, \
     pg_catalog.unnest(setconfig) c WHERE c OPERATOR(pg_catalog.~~*) 'role=%' \
     AND (setrole OPERATOR(pg_catalog.=) 0 OR setrole OPERATOR(pg_catalog.=) \
     (SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) SESSION_USER)) \
     AND (setdatabase OPERATOR(pg_catalog.=) 0 OR setdatabase OPERATOR(pg_catalog.=) \
     (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) \
     pg_catalog.current_database())))";

/// How each reason shows on the server.
const PROBES: [(PinReasons, &str); 5] = [
    (
        PinReasons::TEMPORARY,
        // Whatever stands in a schema depends on it: relations, functions, types, operators, text search things.
        "SELECT 'temp', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_depend \
         WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
         AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())",
    ),
    (
        PinReasons::CURSOR,
        "SELECT 'cursor', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)",
    ),
    (
        PinReasons::ADVISORY_LOCK,
        "SELECT 'lock', NULL, NULL WHERE EXISTS (SELECT FROM pg_catalog.pg_locks \
         WHERE locktype OPERATOR(pg_catalog.=) 'advisory' \
         AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())",
    ),
    (PinReasons::LISTEN, "SELECT 'listen', c, NULL FROM pg_catalog.pg_listening_channels() l(c)"),
    (
        PinReasons::PREPARED,
        "SELECT 'prepare', name, NULL FROM pg_catalog.pg_prepared_statements WHERE from_sql",
    ),
];

fn reasons_to_ask(features: Features, pinned: PinReasons) -> PinReasons {
    if features.intersects(Features::OPAQUE | Features::UNJUDGED) {
        return PinReasons::ASKABLE;
    }
    let mut reasons = PinReasons::default();
    // What makes something is asked about always, what ends something only if there is something.
    for (reason, makes, ends) in [
        (
            PinReasons::TEMPORARY,
            Features::TEMP,
            Features::DROP | Features::DISCARD_TEMP | Features::DISCARD_ALL,
        ),
        (PinReasons::CURSOR, Features::DECLARE_HOLD, Features::CLOSE | Features::DISCARD_ALL),
        (
            PinReasons::ADVISORY_LOCK,
            Features::ADVISORY_LOCK,
            Features::ADVISORY_UNLOCK | Features::DISCARD_ALL,
        ),
        (PinReasons::LISTEN, Features::LISTEN, Features::UNLISTEN | Features::DISCARD_ALL),
        (
            PinReasons::PREPARED,
            Features::PREPARE,
            Features::DEALLOCATE | Features::DEALLOCATE_ALL | Features::DISCARD_ALL,
        ),
    ] {
        if features.intersects(makes) || pinned.intersects(reason) && features.intersects(ends) {
            reasons = reasons.with(reason);
        }
    }
    reasons
}

/// What the server told.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Settings with their values.
    pub(super) settings: Vec<Pair>,
    /// Sessions of this login begin with a role, as a rule another than the login.
    pub(super) has_default_role: bool,
    /// What is there and only there.
    pub(super) reasons: PinReasons,
    /// Names of statements made with PREPARE.
    pub(super) prepared: Vec<Box<[u8]>>,
    /// Channels that are listened to.
    pub(super) channels: Vec<Box<[u8]>>,
}

impl Findings {
    pub(super) fn of(rows: Vec<Row>) -> Self {
        let mut findings = Self::default();
        for row in rows {
            let mut columns = row.into_iter();
            let about = columns.next().flatten().unwrap_or_default();
            let (name, value) = (columns.next().flatten(), columns.next().flatten());
            match (&*about, name, value) {
                (b"set", Some(name), Some(value)) => {
                    findings.settings.push((name.to_ascii_lowercase().into(), value));
                }
                (b"prepare", Some(name), _) => {
                    findings.reasons = findings.reasons.with(PinReasons::PREPARED);
                    findings.prepared.push(name);
                }
                (b"role", ..) => findings.has_default_role = true,
                (b"temp", ..) => findings.reasons = findings.reasons.with(PinReasons::TEMPORARY),
                (b"cursor", ..) => findings.reasons = findings.reasons.with(PinReasons::CURSOR),
                (b"lock", ..) => findings.reasons = findings.reasons.with(PinReasons::ADVISORY_LOCK),
                (b"listen", Some(name), _) => {
                    findings.reasons = findings.reasons.with(PinReasons::LISTEN);
                    findings.channels.push(name);
                }
                _ => {}
            }
        }
        findings
    }

    /// What ends all of it, statement by statement.
    pub(super) fn cleaning(&self) -> Vec<Vec<u8>> {
        let fixed = ["CLOSE ALL", "UNLISTEN *", "SELECT pg_catalog.pg_advisory_unlock_all()", "DISCARD TEMP"];
        let mut statements: Vec<_> = fixed.map(|sql| sql.as_bytes().to_vec()).into();
        for name in &self.prepared {
            let mut sql = b"DEALLOCATE ".to_vec();
            put_identifier(&mut sql, name);
            statements.push(sql);
        }
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s34_names_that_are_not_ours_are_quoted() {
        let findings = Findings { prepared: vec![b"a\"b; drop".as_slice().into()], ..Findings::default() };
        assert_eq!(findings.cleaning().last().unwrap(), b"DEALLOCATE \"a\"\"b; drop\"");
    }

    #[test]
    fn what_was_set_for_certain_is_asked_for_by_name_and_the_rest_at_large() {
        let names: [Box<[u8]>; 2] = [b"work_mem".as_slice().into(), b"my.own".as_slice().into()];
        let none = PinReasons::default();
        let survey = Survey::of(Features::SET, &names, false, none);
        assert_eq!((survey.settings, survey.names.len()), (Asked::Named, 2));
        let survey = Survey::of(Features::SET, &names, true, none);
        assert_eq!((survey.settings, survey.names.len()), (Asked::All, 3), "those that no list has, by name");
        assert!(Survey::of(Features::DROP, &[], true, none).is_empty(), "there is nothing that it could end");
        assert!(!Survey::of(Features::DROP, &[], true, PinReasons::TEMPORARY).is_empty());
        assert!(Survey::of(Features::TEMP, &[], false, none).sql().contains("pg_my_temp_schema"));
    }

    #[test]
    fn s8_every_name_in_a_question_is_qualified() {
        let names = [b"work_mem".as_slice().into()];
        let sql = Survey::of(Features::OPAQUE, &names, true, PinReasons::default()).sql();
        assert!(
            !sql.contains(" = ") && !sql.contains(" FROM pg_settings") && !sql.contains(" current_setting")
        );
    }
}

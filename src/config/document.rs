//! From the text of `pooler.toml` to a draft.
//!
//! Owns: which sections there are, and on which line everything stands. Does not know: what the values mean to
//! each other. Each key is read by its row in a table of settings; keys without a row are refused.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::draft::{Draft, blank_database};
use super::entry_keys::{DATABASE_SETTINGS, USER_SETTINGS};
use super::pooler_keys::SETTINGS;
use super::problem::{Fault, Problem, Problems, Report, did_you_mean, nearest};
use super::raw::{Env, Raw, shown};
use super::setting::Setting;
use super::units::check_name;
use super::{CONSOLE_NAMES, Database, User};

/// Name of the fallback database.
pub(super) const FALLBACK: &str = "*";

type Value<'a> = Spanned<DeValue<'a>>;

/// Reads a whole file into a draft. Faults of values go into the report, so that all are told at once.
///
/// # Errors
/// A fault of syntax, after which nothing can be said about the rest.
pub(super) fn read_document(text: &str, file: &Path, env: Env<'_>) -> Result<(Draft, Report), Problems> {
    let mut reader = Reader {
        line_starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
        base: file.parent().unwrap_or(Path::new("")),
        env,
        report: Report::about(file),
    };
    let document = DeTable::parse(text).map_err(|error| reader.syntax_error(file, &error))?;
    let mut draft = Draft::with_defaults().map_err(|fault| reader.broken_default(fault))?;
    for (key, value) in document.get_ref() {
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("pooler", DeValue::Table(table)) => reader.read_pooler(table, &mut draft),
            ("databases", DeValue::Table(table)) => {
                draft.config.databases = reader.read_entries("databases", table, Reader::read_database);
            }
            ("users", DeValue::Table(table)) => {
                draft.config.users = reader.read_entries("users", table, Reader::read_user);
            }
            (name, value) => reader.refuse_section(name, key.span(), value),
        }
    }
    Ok((draft, reader.report))
}

struct Reader<'a> {
    line_starts: Vec<usize>,
    base: &'a Path,
    env: Env<'a>,
    report: Report,
}

impl Reader<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.line_starts.partition_point(|start| *start <= span.start)
    }

    /// The parser's own words hold no text of the file, unlike its `Display`, so no secret either.
    fn syntax_error(&self, file: &Path, error: &toml::de::Error) -> Problems {
        Problems(vec![Problem {
            file: file.display().to_string(),
            line: error.span().map(|span| self.line(&span)),
            key: String::new(),
            found: "a syntax error".to_owned(),
            expected: "TOML".to_owned(),
            hint: Some(error.message().to_owned()),
        }])
    }

    fn broken_default(&mut self, fault: Fault) -> Problems {
        self.report.problem("pooler", "a broken default", fault);
        Problems(std::mem::take(&mut self.report.problems))
    }

    fn refuse_section(&mut self, name: &str, span: Range<usize>, value: &DeValue<'_>) {
        const SECTIONS: [&str; 3] = ["pooler", "databases", "users"];
        self.report.place(name.to_owned(), self.line(&span));
        let fault = Fault::expected("[pooler], [databases.NAME] or [users.NAME]");
        if SECTIONS.contains(&name) {
            let found = if value.is_array() { "a list" } else { "a value" };
            return self.report.problem(name, found, fault);
        }
        let fault = if name == "pgbouncer" {
            fault.hint(did_you_mean("[pooler]"))
        } else if SETTINGS.iter().any(|setting| setting.name == name) {
            fault.hint("this key belongs below [pooler]")
        } else if let Some(near) = nearest(name, &SECTIONS) {
            fault.hint(did_you_mean(near))
        } else {
            fault
        };
        let found = if value.is_table() { "an unknown section" } else { "a key outside all sections" };
        self.report.problem(name, found, fault);
    }

    fn read_pooler(&mut self, table: &DeTable<'_>, draft: &mut Draft) {
        self.read_keys("pooler", table, SETTINGS, |setting, raw, base| draft.set(setting, raw, base));
    }

    fn read_entries<E>(
        &mut self,
        section: &str,
        table: &DeTable<'_>,
        mut read: impl FnMut(&mut Self, &str, &str, &DeTable<'_>) -> E,
    ) -> BTreeMap<String, E> {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let path = entry_path(section, name);
            self.report.place(path.clone(), self.line(&key.span()));
            let DeValue::Table(keys) = value.get_ref() else {
                self.refuse_entry(section, name, &path, value.get_ref());
                continue;
            };
            if let Err(fault) = check_name(name) {
                self.report.problem(&path, format!("a name of {} bytes", name.len()), fault);
            }
            entries.insert(name.to_owned(), read(self, name, &path, keys));
        }
        entries
    }

    /// A value where an entry should be. It is not shown: in PgBouncer's form it holds a password.
    fn refuse_entry(&mut self, section: &str, name: &str, path: &str, value: &DeValue<'_>) {
        let is_key = match section {
            "databases" => DATABASE_SETTINGS.iter().any(|setting| setting.name == name),
            _ => USER_SETTINGS.iter().any(|setting| setting.name == name),
        };
        let fault = if is_key {
            Fault::expected(format!("a section [{section}.NAME] around this key"))
        } else {
            Fault::expected(format!("a section [{path}] with one key per line"))
        };
        let found = if value.is_array() { "a list" } else { "a value" };
        self.report.problem(path, found, fault);
    }

    fn read_database(&mut self, name: &str, path: &str, table: &DeTable<'_>) -> Database {
        if CONSOLE_NAMES.contains(&name) {
            let fault = Fault::expected("another name").hint("the console has this one");
            self.report.problem(path, "a reserved name", fault);
        }
        let mut database = blank_database();
        self.read_entry(path, table, DATABASE_SETTINGS, &mut database);
        database
    }

    fn read_user(&mut self, name: &str, path: &str, table: &DeTable<'_>) -> User {
        if name == FALLBACK {
            let fault = Fault::expected("a user's name").hint("only databases have a fallback");
            self.report.problem(path, "\"*\"", fault);
        }
        let mut user = User::default();
        self.read_entry(path, table, USER_SETTINGS, &mut user);
        user
    }

    fn read_entry<T>(&mut self, path: &str, table: &DeTable<'_>, settings: &[Setting<T>], target: &mut T) {
        for setting in settings {
            if let Err(fault) = setting.apply_default(target) {
                self.report.problem(path, "a broken default", fault);
            }
        }
        self.read_keys(path, table, settings, |setting, raw, base| {
            setting.apply(raw, base, target).map(drop)
        });
    }

    fn read_keys<T>(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        settings: &[Setting<T>],
        mut set: impl FnMut(&Setting<T>, &Raw, &Path) -> Result<(), Fault>,
    ) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            let place = entry_path(path, name);
            self.report.place(place.clone(), self.line(&key.span()));
            let Some(setting) = settings.iter().find(|setting| setting.name == name) else {
                self.refuse_key(path, &place, name, settings);
                continue;
            };
            self.check_value(setting, &place, value, |raw, base| set(setting, raw, base));
        }
    }

    fn check_value<T>(
        &mut self,
        setting: &Setting<T>,
        place: &str,
        value: &Value<'_>,
        set: impl FnOnce(&Raw, &Path) -> Result<(), Fault>,
    ) {
        let secret = setting.is_secret();
        let read = Raw::read(value.get_ref(), self.env, secret).and_then(|raw| set(&raw, self.base));
        if let Err(fault) = read {
            self.report.problem(place, shown(value.get_ref(), secret), fault);
        }
    }

    fn refuse_key<T>(&mut self, path: &str, place: &str, name: &str, settings: &[Setting<T>]) {
        let fault = Fault::expected(format!("a key of [{path}]"));
        let names: Vec<&str> = settings.iter().map(|setting| setting.name).collect();
        let fault = match nearest(name, &names) {
            Some(near) => fault.hint(did_you_mean(near)),
            None => fault,
        };
        self.report.problem(place, "an unknown key", fault);
    }
}

/// The path of an entry or key, quoted where TOML quotes it.
pub(super) fn entry_path(section: &str, name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-');
    if bare { format!("{section}.{name}") } else { format!("{section}.{name:?}") }
}

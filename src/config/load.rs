//! From the file to the checked configuration.
//!
//! Owns: the order of the steps. Does not know: any single setting.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::check::{ReadFile, check, unreadable};
use super::document::read_document;
use super::draft::Draft;
use super::problem::{Problem, Problems, Report, quoted};
use super::raw::Env;
use super::userlist::merge_userlist;
use super::{Config, User};

/// A configuration that may be used, and what its author may want to know.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What may be meant but looks like a mistake; one line of the log each.
    pub warnings: Vec<Problem>,
}

/// Reads the file at `path` and the files it names. `env` answers for `${NAME}`.
///
/// # Errors
/// Every problem found; nothing of a faulty file is used.
pub fn load(path: &Path, env: Env<'_>) -> Result<Loaded, Problems> {
    let read_file = |path: &Path| std::fs::read_to_string(path);
    match read_file(path).map(Zeroizing::new) {
        Ok(text) => parse(&text, path, env, &read_file),
        Err(error) => {
            let mut report = Report::about(path);
            report.problem("", "no configuration", unreadable(&error));
            Err(Problems(report.problems))
        }
    }
}

/// The same from the text of a file. Relative paths inside start at the directory of `file`; `read_file` is asked
/// for `auth_file` and for the files of TLS.
///
/// # Errors
/// Every problem found, in the order of lines; only a fault of syntax hides the rest.
pub fn parse(text: &str, file: &Path, env: Env<'_>, read_file: ReadFile<'_>) -> Result<Loaded, Problems> {
    let (Draft { mut config, auth_file }, mut report) = read_document(text, file, env)?;
    if let Some(path) = auth_file {
        read_auth_file(&path, &mut config.users, read_file, &mut report);
    }
    add_forced_users(&mut config);
    check(&config, read_file, &mut report);
    report.problems.sort_by(in_order);
    report.warnings.sort_by(in_order);
    if report.problems.is_empty() {
        Ok(Loaded { config, warnings: report.warnings })
    } else {
        Err(Problems(report.problems))
    }
}

/// By file, then by line; what has no line comes first.
fn in_order(a: &Problem, b: &Problem) -> std::cmp::Ordering {
    (&a.file, a.line).cmp(&(&b.file, b.line))
}

fn read_auth_file(
    path: &Path,
    users: &mut BTreeMap<String, User>,
    read_file: ReadFile<'_>,
    report: &mut Report,
) {
    match read_file(path).map(Zeroizing::new) {
        Ok(text) => merge_userlist(&text, path, users, report),
        Err(error) => {
            report.problem("pooler.auth_file", quoted(&path.display().to_string()), unreadable(&error));
        }
    }
}

/// A forced user is a user too, so that its overrides have a place; without a secret it matches no password.
fn add_forced_users(config: &mut Config) {
    for user in config.databases.values().filter_map(|database| database.user.as_ref()) {
        config.users.entry(user.clone()).or_default();
    }
}

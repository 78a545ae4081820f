//! PgBouncer's list of users: `auth_file`.
//!
//! Owns: its syntax. Does not know: what the secrets are for. A broken line is told, never skipped.

use std::collections::BTreeMap;
use std::path::Path;

use super::problem::{Fault, Report};
use super::units::check_name;
use super::{Secret, SecretEq};

/// Most bytes of a secret, PgBouncer's own limit (MAX_PASSWORD 2048 with its NUL); cloud tokens are that long.
const MAX_SECRET_BYTES: usize = 2047;

/// Reads lines of `"name" "secret"`. Blank lines and lines that begin with `;` are skipped, the rest of a line after
/// the secret is ignored, a quote inside is doubled. Answers each name with its secret, `None` for an empty one.
///
/// Faults and warnings go into `report`; with any fault the result must not be used.
pub(super) fn read_userlist(text: &str, report: &mut Report) -> BTreeMap<String, Option<SecretEq>> {
    let mut users = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        match read_line(line) {
            Ok((name, secret)) => {
                report.place(name.clone(), number);
                let secret = (!secret.reveal().is_empty()).then_some(SecretEq(secret));
                if users.insert(name.clone(), secret).is_some() {
                    let fault = Fault::expected("each name once").hint("the last line counts");
                    report.warn(&name, "a second line for this user", fault);
                }
            }
            Err((found, fault)) => {
                report.place(String::new(), number);
                report.problem("", found, fault);
            }
        }
    }
    users
}

/// Nothing of the line is told but its fault: any part may be the secret.
fn read_line(line: &str) -> Result<(String, Secret), (&'static str, Fault)> {
    let form = || Fault::expected("\"name\" \"secret\"");
    let comment = if line.starts_with('#') { form().hint("comments begin with ;") } else { form() };
    let (name, rest) = read_quoted(line).ok_or(("no name in double quotes", comment))?;
    check_name(&name).map_err(|fault| ("a name that is empty or too long", fault))?;
    let (secret, _) = read_quoted(rest.trim_start()).ok_or(("no secret in double quotes", form()))?;
    if secret.len() > MAX_SECRET_BYTES || secret.contains('\0') {
        let fault = Fault::expected(format!("a secret of at most {MAX_SECRET_BYTES} bytes without NUL"));
        return Err(("a secret that cannot be", fault));
    }
    Ok((name, Secret::new(secret)))
}

/// Reads a text in double quotes; `None` if there is no quote at the start or no second one.
fn read_quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut out = String::new();
    loop {
        let (piece, after) = rest.split_once('"')?;
        out.push_str(piece);
        match after.strip_prefix('"') {
            Some(more) => {
                out.push('"');
                rest = more;
            }
            None => return Some((out, after)),
        }
    }
}

/// Reads the list out of `file`, whose faults join those of the main file.
pub(super) fn merge_userlist(
    text: &str,
    file: &Path,
    users: &mut BTreeMap<String, super::User>,
    report: &mut Report,
) {
    let mut own = Report::about(file);
    let listed = read_userlist(text, &mut own);
    if own.problems.is_empty() {
        for (name, secret) in listed {
            let user = users.entry(name).or_default();
            user.secret = user.secret.take().or(secret);
        }
    }
    report.absorb(own);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (BTreeMap<String, Option<SecretEq>>, Report) {
        let mut report = Report::about(Path::new("users.txt"));
        let users = read_userlist(text, &mut report);
        (users, report)
    }

    fn secret_of<'a>(users: &'a BTreeMap<String, Option<SecretEq>>, name: &str) -> Option<&'a str> {
        users.get(name)?.as_ref().map(|secret| secret.0.reveal())
    }

    #[test]
    fn pgbouncers_format_is_read() {
        let (users, report) = read(
            "; a comment\n\n\"app\" \"secret\" ignored\r\n  \"we\"\"ird\"\t\"a\"\"b\"\n\"none\" \"\"\n\"q\" \"\"\"\"\n",
        );
        assert_eq!(report.problems, []);
        assert_eq!(secret_of(&users, "app"), Some("secret"));
        assert_eq!(secret_of(&users, "we\"ird"), Some("a\"b"));
        assert_eq!(secret_of(&users, "q"), Some("\""));
        assert!(users.contains_key("none") && secret_of(&users, "none").is_none());
        assert_eq!(users.len(), 4);
    }

    #[test]
    fn every_broken_line_is_told_with_its_number_and_without_its_secret() {
        let long = "n".repeat(64);
        let text = format!(
            "\"ok\" \"marker\"\n\"app\" marker\napp marker\n\"open\n\"x\" \"marker\n# marker\n\"{long}\" \"m\"\n\"y\" \"{}\"\n",
            "m".repeat(2048)
        );
        let (_, report) = read(&text);
        let lines: Vec<_> = report.problems.iter().filter_map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8]);
        let told = format!("{:?}", report.problems);
        assert!(!told.contains("marker"), "{told}");
        assert!(report.problems[4].to_string().contains("comments begin with ;"));
    }

    #[test]
    fn a_name_given_twice_is_a_warning_and_the_last_counts() {
        let (users, report) = read("\"a\" \"1\"\n\"a\" \"2\"\n");
        assert_eq!(secret_of(&users, "a"), Some("2"));
        assert_eq!(report.warnings.len(), 1);
        assert_eq!(report.warnings[0].line, Some(2));
    }
}

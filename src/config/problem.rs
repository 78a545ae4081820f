//! What is wrong with a configuration, said so that the reader can mend it.
//!
//! Owns: the form of every complaint, and the collector of them. Does not know: which settings exist.
//! No text built here holds a secret (S44): callers mask what they pass in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// One fault of a configuration file, or one thing worth a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named.
    pub file: String,
    /// Line, from 1; `None` if no single line is at fault.
    pub line: Option<usize>,
    /// Where in the file, such as `pooler.pool_mode`; empty for a fault of syntax.
    pub key: String,
    /// What stands there; `***` for a secret.
    pub found: String,
    /// What could stand there.
    pub expected: String,
    /// A remark, such as the nearest known name.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": found {}, expected {}", self.found, self.expected)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

impl std::error::Error for Problem {}

/// Everything that is wrong with a configuration; never empty. Displays one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if nth == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A fault of one value, before anybody says where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// What could stand there.
    pub(super) expected: String,
    /// A remark.
    pub(super) hint: Option<String>,
}

impl Fault {
    /// A fault without a remark.
    pub(super) fn expected(what: impl Into<String>) -> Self {
        Self { expected: what.into(), hint: None }
    }

    /// The same fault with a remark.
    pub(super) fn hint(self, remark: impl Into<String>) -> Self {
        Self { hint: Some(remark.into()), ..self }
    }

    /// A word that is not one of `words`, with the nearest of them.
    pub(super) fn none_of(word: &str, words: &[&str]) -> Self {
        let fault = Self::expected(format!("one of {}", words.join(", ")));
        match nearest(word, words) {
            Some(near) => fault.hint(did_you_mean(near)),
            None => fault,
        }
    }
}

/// Collects problems and warnings of one file, and remembers on which line each key stands.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    places: BTreeMap<String, usize>,
    /// What forbids using the file.
    pub(super) problems: Vec<Problem>,
    /// What may be meant but is worth a line in the log.
    pub(super) warnings: Vec<Problem>,
}

impl Report {
    /// A clean report about `file`.
    pub(super) fn about(file: &Path) -> Self {
        Self {
            file: file.display().to_string(),
            places: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Remembers where `key` stands.
    pub(super) fn place(&mut self, key: String, line: usize) {
        self.places.insert(key, line);
    }

    /// Lets `key`, which stands nowhere, be told on the line of `cause`.
    pub(super) fn lend_place(&mut self, key: &str, cause: &str) {
        if let Some(line) = self.places.get(cause).copied() {
            self.places.entry(key.to_owned()).or_insert(line);
        }
    }

    /// Takes over what was said about another file.
    pub(super) fn absorb(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.warnings.extend(other.warnings);
    }

    /// Adds a problem of `key`.
    pub(super) fn problem(&mut self, key: &str, found: impl Into<String>, fault: Fault) {
        let problem = self.say(key, found.into(), fault);
        self.problems.push(problem);
    }

    /// Adds a warning about `key`.
    pub(super) fn warn(&mut self, key: &str, found: impl Into<String>, fault: Fault) {
        let warning = self.say(key, found.into(), fault);
        self.warnings.push(warning);
    }

    fn say(&self, key: &str, found: String, Fault { expected, hint }: Fault) -> Problem {
        let line = self.places.get(key).copied();
        Problem { file: self.file.clone(), line, key: key.to_owned(), found, expected, hint }
    }
}

/// The candidate that `word` most likely means; `None` if none is near.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    if word.len() >= 3
        && let Some(longer) = candidates.iter().find(|candidate| candidate.starts_with(&word))
    {
        return Some(longer);
    }
    let (distance, near) = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), *candidate))
        .min_by_key(|(distance, _)| *distance)?;
    // A third of the letters may differ: enough for "transactional", too little for a random word.
    (distance <= (near.len() / 3).max(1)).then_some(near)
}

/// The remark that names a near word.
pub(super) fn did_you_mean(word: &str) -> String {
    format!("did you mean \"{word}\"?")
}

/// A text as it may appear in a problem: quoted, control characters escaped, cut, and hidden if it looks like a
/// URL with a password inside.
pub(super) fn quoted(text: &str) -> String {
    /// Enough to recognise any sensible value; one line of a terminal.
    const LONGEST_SHOWN: usize = 60;
    if text.contains(':') && text.contains('@') {
        return "***".to_owned();
    }
    if text.chars().count() <= LONGEST_SHOWN {
        return format!("{text:?}");
    }
    format!("{:?}...", text.chars().take(LONGEST_SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_file_line_key_found_expected_and_hint() {
        let words = ["session", "transaction", "statement"];
        let mut report = Report::about(Path::new("pooler.toml"));
        report.place("pooler.pool_mode".to_owned(), 12);
        let fault = Fault::none_of("transactional", &words);
        report.problem("pooler.pool_mode", quoted("transactional"), fault);
        report.problem("pooler.x", "nothing", Fault::expected("something"));
        assert_eq!(
            Problems(report.problems).to_string(),
            "pooler.toml:12: pooler.pool_mode: found \"transactional\", expected one of session, transaction, \
             statement (did you mean \"transaction\"?)\n\
             pooler.toml: pooler.x: found nothing, expected something"
        );
    }

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["listen_port", "listen_addr", "pool_mode"];
        assert_eq!(nearest("listen_prot", &names), Some("listen_port"));
        assert_eq!(nearest("Pool_Mode", &names), Some("pool_mode"));
        assert_eq!(nearest("listen_a", &names), Some("listen_addr"));
        assert_eq!(nearest("colour", &names), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn s44_a_url_with_a_password_is_not_quoted() {
        assert_eq!(quoted("postgres://app:marker@db/shop"), "***");
        assert_eq!(quoted("app:marker@db"), "***");
        assert_eq!(quoted("a\n\"b"), "\"a\\n\\\"b\"");
        assert!(quoted(&"é".repeat(500)).len() < 140);
    }
}

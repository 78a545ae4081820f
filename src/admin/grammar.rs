//! The console's language: text to statements.
//!
//! Owns: words, quotes, which command takes what. Does not know: what commands do, who may send them. A pure
//! function over bytes that cannot panic (S45).
//!
//! ```text
//! WORD [WORD] [;]
//! SET WORD (= | TO) (WORD | STRING) [;]
//! ```

use super::request::{Command, Shutdown, refusal};
use super::words::{Variable, View};
use crate::proto::PgError;

/// Longest first word, in bytes; PgBouncer's limit.
const MAX_COMMAND: usize = 15;
/// Longest second word, in bytes; PgBouncer's limit.
const MAX_ARGUMENT: usize = 63;
/// Longest value of SET, in bytes; PgBouncer's limit.
const MAX_VALUE: usize = 255;
/// Characters of a refused text that the answer repeats: enough to recognise it, short enough for one line.
const MAX_ECHO: usize = 60;
/// Tokens of the longest statement, `SET key = value ;`, and one more that proves a text too long.
const MAX_TOKENS: usize = 6;

/// First words of the language, to tell a mistyped command from SQL. `select` stands for `show` but is SQL's word.
const COMMAND_WORDS: [&str; 14] = [
    "show",
    "set",
    "reload",
    "pause",
    "resume",
    "suspend",
    "kill",
    "kill_client",
    "reconnect",
    "wait_close",
    "disable",
    "enable",
    "shutdown",
    "help",
];

/// One statement of the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `SHOW view` or `SELECT view`.
    Show(View),
    /// `SHOW` of a variable that drivers ask for.
    ShowVariable(Variable),
    /// `SET` of such a variable; the value does not matter.
    SetVariable(Variable),
    /// `SET` of a setting.
    SetSetting(String),
    /// `SUSPEND`.
    Suspend,
    /// A command for the control plane.
    Run(Command),
}

/// Why a text is no statement. Its `Display` goes to the log and does not repeat what was typed, which may be SQL
/// with a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// No such command or view, or not the shape of a statement.
    #[error("invalid command")]
    Invalid {
        /// What was typed, shortened.
        text: String,
        /// Whether it looks like SQL for a database.
        foreign: bool,
    },
    /// A word is too long or not UTF-8.
    #[error("bad arguments")]
    BadArguments,
    /// DISABLE or ENABLE without a name.
    #[error("a database is required")]
    DatabaseRequired,
    /// KILL_CLIENT without a number.
    #[error("invalid client pointer supplied")]
    InvalidClient,
}

impl Rejection {
    /// The answer to the client.
    pub fn for_client(&self) -> PgError {
        match self {
            Self::Invalid { text, foreign } => {
                let error = refusal(format!("invalid command '{text}', use SHOW HELP;"));
                if *foreign {
                    return error.with_hint(
                        "This is the pooler's console, not a database. Connect to a database to run SQL.",
                    );
                }
                error
            }
            Self::BadArguments | Self::DatabaseRequired | Self::InvalidClient => refusal(self.to_string()),
        }
    }
}

/// Reads one statement. Time and memory are linear in the text, whatever it holds.
///
/// # Errors
/// Whatever is not a statement of the console.
pub fn parse(text: &[u8]) -> Result<Statement, Rejection> {
    let invalid = || Rejection::Invalid { text: shorten(text), foreign: is_foreign(text) };
    let tokens = tokenize(text).ok_or_else(invalid)?;
    let tokens = match tokens.as_slice() {
        [front @ .., Token { kind: Kind::Semicolon, .. }] => front,
        all => all,
    };
    match tokens {
        [command] if command.is_word() => {
            let word = command.text(MAX_COMMAND)?;
            read_command(&word, None)?.ok_or_else(invalid)
        }
        [command, argument] if command.is_word() && argument.is_word() && argument.spaced => {
            let word = command.text(MAX_COMMAND)?;
            read_command(&word, Some(argument.text(MAX_ARGUMENT)?))?.ok_or_else(invalid)
        }
        [set, key, to, value]
            if set.is_bare("set")
                && key.is_word()
                && key.spaced
                && (to.kind == Kind::Equals || to.is_bare("to"))
                && (value.is_word() || value.kind == Kind::String) =>
        {
            let key = key.text(MAX_ARGUMENT)?;
            value.text(MAX_VALUE)?;
            Ok(Variable::named(&key).map_or(Statement::SetSetting(key), Statement::SetVariable))
        }
        _ => Err(invalid()),
    }
}

/// `None`: no such command, or not with this argument.
fn read_command(word: &str, argument: Option<String>) -> Result<Option<Statement>, Rejection> {
    let word = word.to_ascii_lowercase();
    Ok(Some(Statement::Run(match (word.as_str(), argument) {
        ("show" | "select", Some(name)) => return Ok(read_show(&name)),
        ("suspend", None) => return Ok(Some(Statement::Suspend)),
        ("reload", None) => Command::Reload,
        ("pause", name) => Command::Pause(name),
        ("resume", name) => Command::Resume(name),
        ("kill", name) => Command::Kill(name),
        ("reconnect", name) => Command::Reconnect(name),
        ("wait_close", name) => Command::WaitClose(name),
        ("disable", Some(name)) => Command::Disable(name),
        ("enable", Some(name)) => Command::Enable(name),
        ("disable" | "enable", None) => return Err(Rejection::DatabaseRequired),
        ("kill_client", id) => match id.as_deref().map(str::parse) {
            Some(Ok(id)) => Command::KillClient(id),
            Some(Err(_)) | None => return Err(Rejection::InvalidClient),
        },
        ("shutdown", None) => Command::Shutdown(Shutdown::Now),
        ("shutdown", Some(how)) if how.eq_ignore_ascii_case("wait_for_servers") => {
            Command::Shutdown(Shutdown::WaitForServers)
        }
        ("shutdown", Some(how)) if how.eq_ignore_ascii_case("wait_for_clients") => {
            Command::Shutdown(Shutdown::WaitForClients)
        }
        _ => return Ok(None),
    })))
}

fn read_show(name: &str) -> Option<Statement> {
    if let Some(variable) = Variable::named(name) {
        return Some(Statement::ShowVariable(variable));
    }
    View::ALL.into_iter().find(|view| name.eq_ignore_ascii_case(view.as_str())).map(Statement::Show)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bare,
    Quoted,
    String,
    Equals,
    Semicolon,
}

/// A token, without its quotes.
struct Token<'a> {
    kind: Kind,
    bytes: &'a [u8],
    /// Whether blanks stand before it.
    spaced: bool,
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        matches!(self.kind, Kind::Bare | Kind::Quoted)
    }

    fn is_bare(&self, word: &str) -> bool {
        self.kind == Kind::Bare && self.bytes.eq_ignore_ascii_case(word.as_bytes())
    }

    /// The text meant; in a STRING two quotes stand for one.
    fn text(&self, limit: usize) -> Result<String, Rejection> {
        let text = std::str::from_utf8(self.bytes).map_err(|_| Rejection::BadArguments)?;
        let text = if self.kind == Kind::String { text.replace("''", "'") } else { text.to_owned() };
        if text.len() > limit { Err(Rejection::BadArguments) } else { Ok(text) }
    }
}

/// Cuts a text into tokens; `None` for anything that is none, and for more of them than a statement has.
fn tokenize(text: &[u8]) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let blanks = count(rest, is_blank);
        rest = rest.get(blanks..)?;
        let Some(&first) = rest.first() else { return Some(tokens) };
        if tokens.len() == MAX_TOKENS {
            return None;
        }
        let (kind, length, quotes) = match first {
            b'=' => (Kind::Equals, 1, 0),
            b';' => (Kind::Semicolon, 1, 0),
            b'"' => match count(rest.get(1..)?, |b| b != b'"') {
                0 => return None,
                inside => (Kind::Quoted, inside, 1),
            },
            b'\'' => (Kind::String, string_length(rest.get(1..)?)?, 1),
            _ => match count(rest, |b| b.is_ascii_alphanumeric() || b == b'_') {
                0 => return None,
                length => (Kind::Bare, length, 0),
            },
        };
        let bytes = rest.get(quotes..quotes + length)?;
        rest = rest.get(length + 2 * quotes..)?; // none left: the closing quote is missing
        tokens.push(Token { kind, bytes, spaced: blanks > 0 });
    }
}

/// Length of a STRING behind its opening quote, doubled quotes included; `None` if it does not end.
fn string_length(text: &[u8]) -> Option<usize> {
    let mut length = 0;
    loop {
        length += count(text.get(length..)?, |b| b != b'\'');
        match (text.get(length), text.get(length + 1)) {
            (Some(_), Some(b'\'')) => length += 2,
            (Some(_), _) => return Some(length),
            (None, _) => return None,
        }
    }
}

fn count(text: &[u8], wanted: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|&&b| wanted(b)).count()
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The front of a text, readable.
fn shorten(text: &[u8]) -> String {
    // No character has more than four bytes, so this prefix holds all that is shown.
    let front = text.get(..4 * (MAX_ECHO + 1)).unwrap_or(text);
    let front = String::from_utf8_lossy(front);
    match front.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => format!("{}…", front.get(..end).unwrap_or_default()),
        None => front.into_owned(),
    }
}

/// Whether a text starts with something else than a command of the console.
fn is_foreign(text: &[u8]) -> bool {
    let start = text.get(count(text, |b| is_blank(b) || b == b';')..).unwrap_or_default();
    let word = start.get(..count(start, |b| b.is_ascii_alphanumeric() || b == b'_')).unwrap_or_default();
    !start.is_empty() && !COMMAND_WORDS.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;

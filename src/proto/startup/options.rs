//! The startup parameter `options`: a command line for the server.
//!
//! Owns: the splitting, the switches, and which setting each stands for. Does not know: which settings are welcome.

use super::{PgError, SqlState};

/// A switch and what it stands for.
enum Switch {
    /// `-c name=value` and `--name=value`.
    Long,
    /// A setting that takes the switch's argument.
    Sets(&'static str),
    /// A setting with its value.
    Fixed(&'static str, &'static str),
    /// How much is told for debugging: several settings.
    Debug,
    /// A kind of plan that is avoided.
    Avoid,
    /// A part of the server whose statistics are logged.
    Statistics,
    /// Nothing, after login.
    Ignored,
    /// Nothing, with its argument.
    IgnoredWithArgument,
}

impl Switch {
    /// `None` for letters that PostgreSQL does not know.
    const fn of(letter: u8) -> Option<Self> {
        Some(match letter {
            b'c' | b'-' => Self::Long,
            b'B' => Self::Sets("shared_buffers"),
            b'h' => Self::Sets("listen_addresses"),
            b'k' => Self::Sets("unix_socket_directories"),
            b'N' => Self::Sets("max_connections"),
            b'p' => Self::Sets("port"),
            b'S' => Self::Sets("work_mem"),
            b'W' => Self::Sets("post_auth_delay"),
            b'e' => Self::Fixed("datestyle", "euro"),
            b'F' => Self::Fixed("fsync", "false"),
            b'i' => Self::Fixed("listen_addresses", "*"),
            b'l' => Self::Fixed("ssl", "true"),
            b'O' => Self::Fixed("allow_system_table_mods", "true"),
            b'P' => Self::Fixed("ignore_system_indexes", "true"),
            b's' => Self::Fixed("log_statement_stats", "true"),
            b'd' => Self::Debug,
            b'f' => Self::Avoid,
            b't' => Self::Statistics,
            b'b' | b'E' | b'j' | b'n' | b'T' => Self::Ignored,
            b'C' | b'D' | b'r' | b'v' => Self::IgnoredWithArgument,
            _ => return None,
        })
    }

    const fn takes_argument(&self) -> bool {
        match self {
            Self::Long
            | Self::Sets(_)
            | Self::Debug
            | Self::Avoid
            | Self::Statistics
            | Self::IgnoredWithArgument => true,
            Self::Fixed(..) | Self::Ignored => false,
        }
    }
}

/// Reads settings as PostgreSQL's `pg_split_opts` and `process_postgres_switches` do: blanks separate, a backslash takes
/// the next byte as it is, `-` in a name means `_`, and `+` is an ordinary byte (R79). A blank at the end is nothing
/// special.
///
/// # Errors
/// FATAL, in PostgreSQL's words: a word that is no switch, a switch that it does not know, a setting without a value.
pub fn parse_options(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, PgError> {
    let words = split_words(text);
    let mut settings = Vec::new();
    let mut stray = None;
    let mut before: &[u8] = b"postgres";
    let mut words = words.iter().map(Vec::as_slice);
    while let Some(word) = words.next() {
        match word {
            b"--" => {
                stray = stray.or_else(|| words.next());
                break;
            }
            [b'-', letters @ ..] if !letters.is_empty() => {
                before = switches([before, word], letters, &mut words, &mut settings)?;
            }
            _ => stray = stray.or(Some(word)), // complained about behind all switches
        }
    }
    stray.map_or(Ok(settings), |word| Err(invalid(word)))
}

/// Reads one word of switches: letters, the last of which may have an argument. Returns the last word that was read.
fn switches<'a>(
    [before, word]: [&'a [u8]; 2],
    letters: &'a [u8],
    words: &mut impl Iterator<Item = &'a [u8]>,
    settings: &mut Vec<(String, Vec<u8>)>,
) -> Result<&'a [u8], PgError> {
    for (at, letter) in letters.iter().enumerate() {
        // PostgreSQL complains about the word before the one that getopt is about to read.
        let read = if at + 1 == letters.len() { word } else { before };
        let switch = Switch::of(*letter).ok_or_else(|| invalid(read))?;
        if !switch.takes_argument() {
            if let Switch::Fixed(name, value) = switch {
                settings.push((name.to_owned(), value.into()));
            }
            continue;
        }
        let behind = letters.get(at + 1..).filter(|rest| !rest.is_empty());
        let argument = behind.or_else(|| words.next()).ok_or_else(|| invalid(word))?;
        let complains = || invalid(behind.map_or(argument, |_| word));
        match switch {
            Switch::Long => settings.push(split_setting(*letter, argument)?),
            Switch::Sets(name) => settings.push((name.to_owned(), argument.to_vec())),
            Switch::Debug => debug(argument, settings),
            Switch::Avoid => fixed(avoided(argument).ok_or_else(complains)?, "false", settings),
            Switch::Statistics => fixed(logged(argument).ok_or_else(complains)?, "true", settings),
            Switch::Fixed(..) | Switch::Ignored | Switch::IgnoredWithArgument => {}
        }
        return Ok(behind.map_or(argument, |_| word));
    }
    Ok(word)
}

fn fixed(name: &str, value: &str, settings: &mut Vec<(String, Vec<u8>)>) {
    settings.push((name.to_owned(), value.into()));
}

/// `-d`: PostgreSQL's `set_debug_options`, for a session.
fn debug(argument: &[u8], settings: &mut Vec<(String, Vec<u8>)>) {
    let digits: Vec<u8> = argument.iter().copied().take_while(u8::is_ascii_digit).collect();
    let level: u32 = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let messages = if level > 0 { format!("debug{level}") } else { "notice".to_owned() };
    settings.push(("log_min_messages".to_owned(), messages.into_bytes()));
    let more = [
        (2, "log_statement", "all"),
        (3, "debug_print_parse", "true"),
        (4, "debug_print_plan", "true"),
        (5, "debug_print_rewritten", "true"),
    ];
    for (_, name, value) in more.into_iter().filter(|(from, ..)| level >= *from) {
        fixed(name, value, settings);
    }
}

/// `-f`: PostgreSQL's `set_plan_disabling_options`.
fn avoided(argument: &[u8]) -> Option<&'static str> {
    Some(match argument.first()? {
        b's' => "enable_seqscan",
        b'i' => "enable_indexscan",
        b'o' => "enable_indexonlyscan",
        b'b' => "enable_bitmapscan",
        b't' => "enable_tidscan",
        b'n' => "enable_nestloop",
        b'm' => "enable_mergejoin",
        b'h' => "enable_hashjoin",
        _ => return None,
    })
}

/// `-t`: PostgreSQL's `get_stats_option_name`.
fn logged(argument: &[u8]) -> Option<&'static str> {
    match argument {
        [b'p', b'a', ..] => Some("log_parser_stats"),
        [b'p', b'l', ..] => Some("log_planner_stats"),
        [b'e', ..] => Some("log_executor_stats"),
        _ => None,
    }
}

fn split_setting(switch: u8, setting: &[u8]) -> Result<(String, Vec<u8>), PgError> {
    let equals = setting.iter().position(|&b| b == b'=');
    let (name, value) = setting.split_at(equals.unwrap_or(setting.len()));
    let name = String::from_utf8_lossy(name).replace('-', "_"); // one that is no UTF-8 is known to nobody
    let Some((_, value)) = value.split_first() else {
        let switch = if switch == b'-' { "--" } else { "-c " };
        let text = format!("{switch}{} requires a value", String::from_utf8_lossy(setting));
        return Err(PgError::fatal(SqlState::SYNTAX_ERROR, text));
    };
    Ok((name, value.to_vec()))
}

fn invalid(word: &[u8]) -> PgError {
    let word = String::from_utf8_lossy(word);
    PgError::fatal(
        SqlState::SYNTAX_ERROR,
        format!("invalid command-line argument for server process: {word}"),
    )
    .with_hint("Try \"postgres --help\" for more information.")
}

fn split_words(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => words.extend(word.take()),
            b'\\' => {
                // At the very end a backslash stands for nothing, but it still began a word.
                word.get_or_insert_default().extend(bytes.next());
            }
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

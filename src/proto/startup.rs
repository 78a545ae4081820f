//! The packets a fresh connection may say before it has a type byte to say anything else with.
//!
//! Owns: the length limit of startup packets, their four kinds, the parameters inside a login. Does not know:
//! sockets, TLS, which users or parameters are welcome. Judges exactly as PostgreSQL's `ProcessStartupPacket`
//! does, except where a comment says otherwise.

mod options;
#[cfg(test)]
mod tests;

pub use options::parse_options;

use super::{PgError, SqlState};

/// Bytes of the length word.
pub const LENGTH_WORD: usize = 4;

/// Smallest legal length word: the word and a protocol number.
const MIN_STARTUP_WORD: usize = 8;

/// Largest legal length word: `MAX_STARTUP_PACKET_LENGTH` of PostgreSQL plus the word itself (R57, R106).
pub const MAX_STARTUP_WORD: usize = 10_004;

/// Longest name of a user or database in bytes: `NAMEDATALEN` of PostgreSQL without its NUL (R76).
pub const NAME_LIMIT: usize = 63;

/// Secret bytes of a cancel key: four until protocol 3.1, up to 256 since (R58).
const CANCEL_SECRET: std::ops::RangeInclusive<usize> = 4..=256;

/// The newest minor version of protocol 3 that is spoken.
pub const NEWEST_MINOR: u16 = 2;

const SPECIAL_MAJOR: u16 = 1234;
const CANCEL_CODE: u16 = 5678;
const SSL_CODE: u16 = 5679;
const GSSENC_CODE: u16 = 5680;

/// What a fresh client may say.
#[derive(Clone, PartialEq, Eq)]
pub enum StartupPacket {
    /// May we speak TLS?
    Ssl,
    /// May we speak GSSAPI encryption?
    GssEnc,
    /// Stop what the holder of this key is running.
    Cancel {
        /// First half of the key.
        process_id: i32,
        /// Second half of the key: 4 to 256 bytes.
        secret: Vec<u8>,
    },
    /// A login.
    Login(StartupMessage),
    /// A major version other than 3, with its minor version.
    UnsupportedMajor(u16, u16),
}

/// Hides the secret of a cancel key.
impl std::fmt::Debug for StartupPacket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ssl => f.write_str("Ssl"),
            Self::GssEnc => f.write_str("GssEnc"),
            Self::Cancel { process_id, .. } => {
                f.debug_struct("Cancel").field("process_id", process_id).finish_non_exhaustive()
            }
            Self::Login(message) => f.debug_tuple("Login").field(message).finish(),
            Self::UnsupportedMajor(major, minor) => write!(f, "UnsupportedMajor({major}.{minor})"),
        }
    }
}

/// A login as the client asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartupMessage {
    /// Minor version of protocol 3.
    pub minor: u16,
    /// Who logs in; never empty, at most [`NAME_LIMIT`] bytes.
    pub user: String,
    /// The database asked for, the user's name if none was; at most [`NAME_LIMIT`] bytes.
    pub database: String,
    /// The text of `options`, see [`parse_options`].
    pub options: Option<Vec<u8>>,
    /// Every other parameter, in the order received, values without their NUL.
    pub parameters: Vec<(String, Vec<u8>)>,
    /// Whether this is to be a replication connection.
    pub replication: Replication,
    /// Names of protocol options (`_pq_.…`); none of them is known.
    pub refused_options: Vec<Vec<u8>>,
}

impl StartupMessage {
    /// Whether the client must be told, once, what of its protocol is not spoken (R74).
    pub fn needs_negotiation(&self) -> bool {
        self.minor > NEWEST_MINOR || !self.refused_options.is_empty()
    }

    /// The minor version that is spoken: the client's own, or the newest known. A client takes a newer one than it has
    /// asked for as an error.
    pub fn spoken_minor(&self) -> u16 {
        self.minor.min(NEWEST_MINOR)
    }
}

/// The parameter `replication`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replication {
    /// An ordinary connection.
    #[default]
    None,
    /// `true`: a WAL sender without database.
    Physical,
    /// `database`: a WAL sender connected to one.
    Logical,
}

/// Why a startup packet is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// A length word below 8 or above [`MAX_STARTUP_WORD`] (R57).
    #[error("invalid length of startup packet: {0}")]
    Length(i32),
    /// An encryption or cancel request of a length it cannot have (R58).
    #[error("invalid length of a request before login: {0}")]
    RequestLength(usize),
    /// Names and values do not end where the packet ends (R75).
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// No user, or an empty one.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// A name that is no UTF-8. PostgreSQL would carry it on; here names are text, and none can match.
    #[error("invalid byte sequence for encoding \"UTF8\" in startup packet")]
    Encoding,
    /// A value of `replication` that is neither boolean nor `database` (R77).
    #[error("invalid value for parameter \"replication\": \"{0}\"")]
    Replication(String),
}

impl StartupError {
    /// What the client is told; `None` where PostgreSQL closes without a word.
    pub fn for_client(&self) -> Option<PgError> {
        let code = match self {
            Self::Length(_) | Self::RequestLength(_) => return None,
            Self::Layout | Self::Encoding => SqlState::PROTOCOL_VIOLATION,
            Self::NoUser => SqlState::INVALID_AUTHORIZATION,
            Self::Replication(_) => {
                return Some(
                    PgError::fatal(SqlState::INVALID_PARAMETER_VALUE, self.to_string())
                        .with_hint("Valid values are: \"false\", 0, \"true\", 1, \"database\"."),
                );
            }
        };
        Some(PgError::fatal(code, self.to_string()))
    }
}

/// Judges the length word, as a signed number, before anybody reserves memory for what it claims.
///
/// Returns the bytes of the whole packet, the word included.
///
/// # Errors
/// A length that no startup packet has.
pub fn startup_length(word: [u8; LENGTH_WORD]) -> Result<usize, StartupError> {
    let word = i32::from_be_bytes(word);
    match usize::try_from(word) {
        Ok(length) if (MIN_STARTUP_WORD..=MAX_STARTUP_WORD).contains(&length) => Ok(length),
        _ => Err(StartupError::Length(word)),
    }
}

/// Cuts a name where PostgreSQL does: at [`NAME_LIMIT`] bytes, never inside a character (R76).
pub fn clip_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_LIMIT)]
}

/// Appends the refusal of a major version, in the format that version understands (R73).
pub fn put_unsupported_major(out: &mut Vec<u8>, major: u16, minor: u16) {
    let text =
        format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{NEWEST_MINOR}");
    if major < 3 {
        // These clients show the text as it comes: severity and line feed belong to it.
        out.push(b'E');
        out.extend(format!("FATAL:  {text}\n\0").as_bytes());
    } else {
        PgError::fatal(SqlState::FEATURE_NOT_SUPPORTED, text).put(out);
    }
}

impl StartupPacket {
    /// Reads one whole packet, its length word included.
    ///
    /// # Errors
    /// See [`StartupError`]; nothing was understood then, and the connection must end.
    pub fn parse(packet: &[u8]) -> Result<Self, StartupError> {
        let (&word, rest) = packet.split_first_chunk::<LENGTH_WORD>().ok_or(StartupError::Layout)?;
        if startup_length(word)? != packet.len() {
            return Err(StartupError::Layout);
        }
        let (&[a, b, c, d], body) = rest.split_first_chunk::<4>().ok_or(StartupError::Layout)?;
        let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match (major, minor) {
            (SPECIAL_MAJOR, SSL_CODE) => Self::request(Self::Ssl, body),
            (SPECIAL_MAJOR, GSSENC_CODE) => Self::request(Self::GssEnc, body),
            (SPECIAL_MAJOR, CANCEL_CODE) => Self::cancel(body),
            (3, minor) => StartupMessage::parse(minor, body).map(Self::Login),
            (major, minor) => Ok(Self::UnsupportedMajor(major, minor)),
        }
    }

    fn request(request: Self, body: &[u8]) -> Result<Self, StartupError> {
        if body.is_empty() { Ok(request) } else { Err(StartupError::RequestLength(8 + body.len())) }
    }

    fn cancel(body: &[u8]) -> Result<Self, StartupError> {
        match body.split_first_chunk::<4>() {
            Some((&process_id, secret)) if CANCEL_SECRET.contains(&secret.len()) => {
                Ok(Self::Cancel { process_id: i32::from_be_bytes(process_id), secret: secret.to_vec() })
            }
            _ => Err(StartupError::RequestLength(8 + body.len())),
        }
    }
}

impl StartupMessage {
    fn parse(minor: u16, body: &[u8]) -> Result<Self, StartupError> {
        let mut message = Self { minor, ..Self::default() };
        let mut rest = body;
        loop {
            let (name, behind) = split_string(rest)?;
            if name.is_empty() {
                rest = behind;
                break;
            }
            let (value, behind) = split_string(behind)?;
            message.take(name, value)?;
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(StartupError::Layout);
        }
        if message.user.is_empty() {
            return Err(StartupError::NoUser);
        }
        if message.database.is_empty() {
            message.database.clone_from(&message.user);
        }
        Ok(message)
    }

    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), StartupError> {
        match name {
            b"user" => clip_name(text(value)?).clone_into(&mut self.user),
            b"database" => clip_name(text(value)?).clone_into(&mut self.database),
            b"options" => self.options = Some(value.to_vec()),
            b"replication" => self.replication = Replication::parse(value)?,
            _ if name.starts_with(b"_pq_.") => self.refused_options.push(name.to_vec()),
            _ => self.parameters.push((text(name)?.to_owned(), value.to_vec())),
        }
        Ok(())
    }
}

impl Replication {
    fn parse(value: &[u8]) -> Result<Self, StartupError> {
        if value == b"database" {
            return Ok(Self::Logical);
        }
        match parse_bool(value) {
            Some(true) => Ok(Self::Physical),
            Some(false) => Ok(Self::None),
            None => Err(StartupError::Replication(String::from_utf8_lossy(value).into_owned())),
        }
    }
}

/// PostgreSQL's `parse_bool`: any unambiguous beginning of the words, in any case.
fn parse_bool(value: &[u8]) -> Option<bool> {
    let lower = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| lower.len() >= least && word.as_bytes().starts_with(&lower);
    if begins("true", 1) || begins("yes", 1) || begins("on", 2) || lower == b"1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || lower == b"0" {
        Some(false)
    } else {
        None
    }
}

fn split_string(bytes: &[u8]) -> Result<(&[u8], &[u8]), StartupError> {
    let end = bytes.iter().position(|&b| b == 0).ok_or(StartupError::Layout)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

fn text(bytes: &[u8]) -> Result<&str, StartupError> {
    std::str::from_utf8(bytes).map_err(|_| StartupError::Encoding)
}

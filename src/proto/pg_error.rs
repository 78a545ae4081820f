//! Errors and notices in the form a PostgreSQL client understands.
//!
//! Every text written here reaches clients: it holds no address, no secret and nothing of the inside (R102).

use std::borrow::Cow;

use super::backend::put_framed;

/// A five-character error code (PostgreSQL documentation, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// 00000: not an error; used by notices.
    pub const SUCCESSFUL_COMPLETION: Self = Self(*b"00000");
    /// 08000: something about the connection.
    pub const CONNECTION_EXCEPTION: Self = Self(*b"08000");
    /// 08006: the server connection was lost.
    pub const CONNECTION_FAILURE: Self = Self(*b"08006");
    /// 08P01: a message that the protocol does not allow.
    pub const PROTOCOL_VIOLATION: Self = Self(*b"08P01");
    /// 0A000: legal, but not offered.
    pub const FEATURE_NOT_SUPPORTED: Self = Self(*b"0A000");
    /// 22023: a parameter's value is not acceptable.
    pub const INVALID_PARAMETER_VALUE: Self = Self(*b"22023");
    /// 26000: no such prepared statement.
    pub const UNDEFINED_PSTATEMENT: Self = Self(*b"26000");
    /// 28000: this login is not allowed.
    pub const INVALID_AUTHORIZATION: Self = Self(*b"28000");
    /// 28P01: wrong password.
    pub const INVALID_PASSWORD: Self = Self(*b"28P01");
    /// 3D000: no such database.
    pub const UNDEFINED_DATABASE: Self = Self(*b"3D000");
    /// 42601: the console does not understand.
    pub const SYNTAX_ERROR: Self = Self(*b"42601");
    /// 42501: not allowed to.
    pub const INSUFFICIENT_PRIVILEGE: Self = Self(*b"42501");
    /// 42704: no such parameter.
    pub const UNDEFINED_OBJECT: Self = Self(*b"42704");
    /// 42P05: a prepared statement of this name exists.
    pub const DUPLICATE_PSTATEMENT: Self = Self(*b"42P05");
    /// 53300: no connection is free.
    pub const TOO_MANY_CONNECTIONS: Self = Self(*b"53300");
    /// 53400: a limit of the configuration is reached.
    pub const CONFIGURATION_LIMIT_EXCEEDED: Self = Self(*b"53400");
    /// 54000: a named limit of the pooler is reached.
    pub const PROGRAM_LIMIT_EXCEEDED: Self = Self(*b"54000");
    /// 55000: not now.
    pub const OBJECT_NOT_IN_PREREQUISITE_STATE: Self = Self(*b"55000");
    /// 57014: cancelled on request.
    pub const QUERY_CANCELED: Self = Self(*b"57014");
    /// 57P01: the pooler is going down, or an operator ended the connection.
    pub const ADMIN_SHUTDOWN: Self = Self(*b"57P01");
    /// 57P03: cannot connect now.
    pub const CANNOT_CONNECT_NOW: Self = Self(*b"57P03");
    /// 57P05: idle for too long.
    pub const IDLE_SESSION_TIMEOUT: Self = Self(*b"57P05");
    /// 25P02: the transaction has failed.
    pub const IN_FAILED_TRANSACTION: Self = Self(*b"25P02");
    /// 25P03: idle in a transaction for too long.
    pub const IDLE_IN_TRANSACTION_TIMEOUT: Self = Self(*b"25P03");
    /// F0000: the configuration file is at fault.
    pub const CONFIG_FILE_ERROR: Self = Self(*b"F0000");
    /// XX000: a fault of our own.
    pub const INTERNAL_ERROR: Self = Self(*b"XX000");

    /// A code as received; anything but five ASCII letters or digits gives `None`.
    pub fn from_wire(code: &[u8]) -> Option<Self> {
        let code: [u8; 5] = code.try_into().ok()?;
        code.iter().all(u8::is_ascii_alphanumeric).then_some(Self(code))
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }

    /// The first two characters, which name the class of the error.
    pub fn class(&self) -> &str {
        self.as_str().get(..2).unwrap_or("XX")
    }
}

impl std::fmt::Debug for SqlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Display for SqlState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad it is. `Fatal` and `Panic` end the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Information beside a result; sent as NoticeResponse.
    Notice,
    /// The statement failed, the session lives.
    Error,
    /// The session ends.
    Fatal,
    /// The whole server ends.
    Panic,
}

impl Severity {
    /// The word of the `S` and `V` fields.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "NOTICE",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
        }
    }
}

/// An error or notice fit for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgError {
    /// How bad it is.
    pub severity: Severity,
    /// The five-character code.
    pub code: SqlState,
    /// One line of text.
    pub message: Cow<'static, str>,
    /// More text, if any.
    pub detail: Option<Cow<'static, str>>,
    /// What the reader may do about it, if anything.
    pub hint: Option<Cow<'static, str>>,
    /// It is about a plan that is stale: drivers know that by the function of PostgreSQL that finds it.
    pub stale_plan: bool,
}

impl PgError {
    /// An ERROR: the statement failed, the session lives.
    pub fn error(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            detail: None,
            hint: None,
            stale_plan: false,
        }
    }

    /// A FATAL: the session ends.
    pub fn fatal(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Fatal, ..Self::error(code, message) }
    }

    /// A NOTICE.
    pub fn notice(message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Notice, ..Self::error(SqlState::SUCCESSFUL_COMPLETION, message) }
    }

    /// The same with a detail line.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same with a hint line.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, ending the session.
    #[must_use]
    pub fn into_fatal(mut self) -> Self {
        self.severity = Severity::Fatal;
        self
    }

    /// Appends the ErrorResponse, or the NoticeResponse for a notice.
    pub fn put(&self, out: &mut Vec<u8>) {
        let tag = if self.severity == Severity::Notice { b'N' } else { b'E' };
        put_framed(out, tag, |out| {
            let mut field = |kind: u8, text: &str| {
                out.push(kind);
                // A NUL inside would end the field early and shift all that follows.
                out.extend(text.bytes().filter(|&b| b != 0));
                out.push(0);
            };
            field(b'S', self.severity.as_str());
            field(b'V', self.severity.as_str());
            field(b'C', self.code.as_str());
            field(b'M', &self.message);
            if let Some(detail) = &self.detail {
                field(b'D', detail);
            }
            if let Some(hint) = &self.hint {
                field(b'H', hint);
            }
            if self.stale_plan {
                field(b'R', "RevalidateCachedQuery");
            }
            out.push(0);
        });
    }

    /// Reads the body of an ErrorResponse. Every field is optional (S12): what is missing becomes an ERROR XX000
    /// with a generic text. A severity that we do not know is taken for FATAL. Invalid UTF-8 is replaced.
    pub fn parse(body: &[u8]) -> Self {
        let mut parsed = Self::error(SqlState::INTERNAL_ERROR, "the server sent an error without a text");
        let text = |bytes: &[u8]| Cow::Owned(String::from_utf8_lossy(bytes).into_owned());
        let (mut localized, mut plain, mut unknown) = (None, None, Severity::Error);
        for field in body.split(|&b| b == 0) {
            let Some((&kind, value)) = field.split_first() else { break };
            if matches!(kind, b'S' | b'V') {
                unknown = Severity::Fatal;
            }
            match kind {
                b'S' => localized = severity_of(value),
                b'V' => plain = severity_of(value),
                b'C' => parsed.code = SqlState::from_wire(value).unwrap_or(SqlState::INTERNAL_ERROR),
                b'M' => parsed.message = text(value),
                b'D' => parsed.detail = Some(text(value)),
                b'H' => parsed.hint = Some(text(value)),
                _ => {}
            }
        }
        parsed.severity = plain.or(localized).unwrap_or(unknown);
        parsed
    }
}

impl PgError {
    /// Whether the body of an ErrorResponse, or its front, has what clients rely on: a severity, a code, a text.
    pub fn is_complete(body: &[u8]) -> bool {
        let (mut severity, mut code, mut message) = (false, false, false);
        for field in body.split(|&b| b == 0) {
            let Some((&kind, value)) = field.split_first() else { break };
            match kind {
                b'S' | b'V' => severity = true,
                b'C' => code = SqlState::from_wire(value).is_some(),
                b'M' => message = true,
                _ => {}
            }
        }
        severity && code && message
    }
}

impl std::fmt::Display for PgError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.severity.as_str(), self.code, self.message)
    }
}

fn severity_of(word: &[u8]) -> Option<Severity> {
    match word {
        b"ERROR" => Some(Severity::Error),
        b"FATAL" => Some(Severity::Fatal),
        b"PANIC" => Some(Severity::Panic),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let error = PgError::error(SqlState::QUERY_CANCELED, "canceled").with_detail("d").with_hint("h");
        let mut out = Vec::new();
        error.put(&mut out);
        assert_eq!(out[0], b'E');
        assert_eq!(PgError::parse(&out[5..]), error);
    }

    #[test]
    fn s12_b19_every_field_may_be_missing() {
        for body in [&b"\0"[..], b"", b"SERROR", b"SERROR\0Moops\0\0", b"M\xff\xfe\0\0", b"C12\0\0"] {
            assert_eq!(PgError::parse(body).code, SqlState::INTERNAL_ERROR);
        }
        assert_eq!(PgError::parse(b"SERROR\0Moops\0\0").message, "oops");
        let severity = |body: &[u8]| PgError::parse(body).severity;
        assert_eq!(severity(b"\0"), Severity::Error, "none at all says nothing of an end");
        assert_eq!(severity(b"SFATALE\0C57P01\0Mfine\0\0"), Severity::Fatal, "an unknown one may");
    }

    #[test]
    fn s12_clients_rely_on_a_severity_a_code_and_a_text() {
        for body in [&b"VERROR\0C42601\0Mno\0\0"[..], b"SX\0C42601\0M", b"SX\0C42601\0M\0D\0\0"] {
            assert!(PgError::is_complete(body), "{body:?}");
        }
        for body in [&b"\0"[..], b"", b"SERROR", b"SERROR\0Moops\0\0", b"SX\0C42601\0\0", b"C42601\0Mno\0\0"]
        {
            assert!(!PgError::is_complete(body), "{body:?}");
        }
    }
}

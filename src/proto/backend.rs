//! Writers of the backend messages that the pooler sends itself: login, console, synthesised replies.

use super::TxStatus;

/// Largest length word of any message; PostgreSQL refuses more (`PQ_LARGE_MESSAGE_LIMIT`, `pqformat.c`).
pub(super) const MAX_LENGTH_WORD: usize = 0x3fff_fffe;

/// Appends one message: type byte, length word, whatever `body` appends.
///
/// A body above [`MAX_LENGTH_WORD`] is taken back and nothing is written (S25): a length is never truncated.
pub(super) fn put_framed(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([tag, 0, 0, 0, 0]);
    body(out);
    let word = out.len() - start - 1;
    let fits = i32::try_from(word).ok().filter(|_| word <= MAX_LENGTH_WORD);
    if let Some(length) = fits {
        out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
    } else {
        out.truncate(start);
    }
}

/// Appends an ErrorResponse of fields that are written already, their end included.
pub fn put_error_fields(out: &mut Vec<u8>, fields: &[u8]) {
    put_framed(out, b'E', |out| out.extend_from_slice(fields));
}

/// The authentication requests a client may get (protocol chapter, Authentication*).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthRequest {
    /// The login is accepted.
    Ok,
    /// Send the password as it is.
    CleartextPassword,
    /// Send `md5(md5(password + user) + salt)`.
    Md5Password([u8; 4]),
    /// Choose one of these SASL mechanisms.
    Sasl(Vec<&'static str>),
    /// The next step of the chosen mechanism.
    SaslContinue(Vec<u8>),
    /// The last word of the chosen mechanism.
    SaslFinal(Vec<u8>),
}

impl AuthRequest {
    /// Appends the message.
    pub fn put(&self, out: &mut Vec<u8>) {
        put_framed(out, b'R', |out| match self {
            Self::Ok => out.extend(0i32.to_be_bytes()),
            Self::CleartextPassword => out.extend(3i32.to_be_bytes()),
            Self::Md5Password(salt) => {
                out.extend(5i32.to_be_bytes());
                out.extend(salt);
            }
            Self::Sasl(mechanisms) => {
                out.extend(10i32.to_be_bytes());
                for name in mechanisms {
                    out.extend(name.as_bytes());
                    out.push(0);
                }
                out.push(0);
            }
            Self::SaslContinue(data) => {
                out.extend(11i32.to_be_bytes());
                out.extend(data);
            }
            Self::SaslFinal(data) => {
                out.extend(12i32.to_be_bytes());
                out.extend(data);
            }
        });
    }
}

/// Appends a ReadyForQuery.
pub fn put_ready(out: &mut Vec<u8>, status: TxStatus) {
    out.extend([b'Z', 0, 0, 0, 5, status.byte()]);
}

/// Appends a ParameterStatus.
pub fn put_parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put_framed(out, b'S', |out| {
        out.extend(name);
        out.push(0);
        out.extend(value);
        out.push(0);
    });
}

/// Appends a BackendKeyData.
pub fn put_backend_key(out: &mut Vec<u8>, process_id: i32, secret: &[u8]) {
    put_framed(out, b'K', |out| {
        out.extend(process_id.to_be_bytes());
        out.extend(secret);
    });
}

/// Appends a NegotiateProtocolVersion: newest minor version spoken, options that are not known (R74).
pub fn put_negotiate_protocol(out: &mut Vec<u8>, newest_minor: u16, refused: &[&[u8]]) {
    put_framed(out, b'v', |out| {
        out.extend((0x0003_0000 | i32::from(newest_minor)).to_be_bytes());
        out.extend(i32::try_from(refused.len()).unwrap_or(i32::MAX).to_be_bytes());
        for option in refused {
            out.extend(*option);
            out.push(0);
        }
    });
}

/// Type of a result column made by the pooler: the few the console uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `text`, OID 25.
    Text,
    /// `int4`, OID 23.
    Int4,
    /// `int8`, OID 20.
    Int8,
    /// `numeric`, OID 1700.
    Numeric,
    /// `bytea`, OID 17.
    Bytea,
}

impl ColumnType {
    /// OID of the type.
    pub const fn oid(self) -> i32 {
        match self {
            Self::Text => 25,
            Self::Int4 => 23,
            Self::Int8 => 20,
            Self::Numeric => 1700,
            Self::Bytea => 17,
        }
    }

    /// Size in bytes as `pg_type.typlen` has it.
    pub const fn size(self) -> i16 {
        match self {
            Self::Int4 => 4,
            Self::Int8 => 8,
            Self::Text | Self::Numeric | Self::Bytea => -1,
        }
    }
}

/// Name and type of a result column made by the pooler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Name as shown.
    pub name: &'static str,
    /// Type as announced.
    pub kind: ColumnType,
}

/// Appends a RowDescription in text format, without table or column numbers.
pub fn put_row_description(out: &mut Vec<u8>, columns: &[Column]) {
    put_framed(out, b'T', |out| {
        out.extend(i16::try_from(columns.len()).unwrap_or(i16::MAX).to_be_bytes());
        for column in columns {
            out.extend(column.name.as_bytes());
            out.push(0);
            out.extend(0i32.to_be_bytes());
            out.extend(0i16.to_be_bytes());
            out.extend(column.kind.oid().to_be_bytes());
            out.extend(column.kind.size().to_be_bytes());
            out.extend((-1i32).to_be_bytes());
            out.extend(0i16.to_be_bytes());
        }
    });
}

/// Appends a DataRow of text values; `None` is NULL.
pub fn put_data_row<'a>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = Option<&'a str>>) {
    put_framed(out, b'D', |out| {
        out.extend(i16::try_from(values.len()).unwrap_or(i16::MAX).to_be_bytes());
        for value in values {
            match value {
                Some(text) => {
                    out.extend(i32::try_from(text.len()).unwrap_or(i32::MAX).to_be_bytes());
                    out.extend(text.as_bytes());
                }
                None => out.extend((-1i32).to_be_bytes()),
            }
        }
    });
}

/// Appends a CommandComplete.
pub fn put_command_complete(out: &mut Vec<u8>, tag: &str) {
    put_framed(out, b'C', |out| {
        out.extend(tag.as_bytes());
        out.push(0);
    });
}

//! One owed reply: what was sent, what the reply is for, and which messages it may consist of (R15).

use super::renaming::Renamed;
use crate::proto::PgError;

/// What was sent: decides which replies fit (R15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Parse: `1`.
    Parse,
    /// Bind: `2`.
    Bind,
    /// Describe of a statement: `t`, then `T` or `n`.
    DescribeStatement,
    /// Describe of a portal: `T` or `n`.
    DescribePortal,
    /// Execute: rows or COPY, then `C`, `I` or `s`.
    Execute,
    /// Close: `3`.
    Close,
    /// Sync: `Z`.
    Sync,
    /// Sync sent where COPY IN may swallow it (R30); several in a row are one entry.
    MaybeSync,
    /// Query: anything, then `Z`.
    Query,
    /// FunctionCall: `V`, then `Z`.
    FunctionCall,
}

/// Whom a reply is for, and what its arrival proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The client asked; pass the reply on.
    Client,
    /// The client's Bind or Describe of the statement with this number.
    Named(u64),
    /// The client's simple query, which also ends the unnamed statement.
    ClientQuery,
    /// The client's simple query that runs a statement by its name, likewise.
    ClientExecute(Box<Renamed>),
    /// The client's DEALLOCATE of the statement with this number; a simple query.
    ClientDeallocate(u64),
    /// The client's Parse of a named statement, sent under the pooler's name.
    NamedParse,
    /// The client's Parse of the unnamed statement.
    UnnamedParse,
    /// The client's Close of the unnamed statement.
    UnnamedClose,
    /// A Parse the server has already: the reply is made here when its turn comes (R17).
    LocalParse,
    /// A Parse of a text the server has, judged once more.
    ParseAgain,
    /// A Close of a named statement, which only forgets the name: likewise made here.
    LocalClose,
    /// Our own Parse of a named statement this server lacks; its reply is swallowed, its error is the client's.
    Prepare,
    /// Likewise for a Query that names it; an error is nobody's, because the Query will fail, too.
    PrepareApart,
    /// Our own Parse of the client's unnamed statement; likewise.
    PrepareUnnamed,
    /// Our own question what columns the statement with this number has; likewise.
    Check(u64),
    /// The client's Close of a statement whose text was not kept, with this number, sent under the pooler's name.
    PrivateClose(u64),
    /// Our own Close of the statement with this number: the server has too many, or its plan had gone stale.
    Evict(u64),
    /// Our own message; the reply is swallowed and an error closes the server (R18).
    Own,
    /// Our own message; the reply is swallowed, and an error is part of the answer to the question behind it.
    Try,
    /// The client's Sync behind a batch that is said again.
    Heal,
    /// Our own question; rows and an error are its answer.
    Ask,
    /// A Query made to fail; this error takes the place of its error, and its `Z` is the client's.
    RefuseQuery(Box<PgError>),
    /// A Parse with a name in use: unless PostgreSQL finds more to say, the answer is this error.
    RefuseTaken(Box<PgError>),
    /// A message made to fail, so that the server skips as the client expects; this error takes its place.
    Refuse(Box<PgError>),
}

impl Why {
    /// Whether replies reach the client.
    pub(super) const fn forwards(&self) -> bool {
        match self {
            Self::Client
            | Self::Named(_)
            | Self::ClientQuery
            | Self::ClientExecute(_)
            | Self::ClientDeallocate(_)
            | Self::NamedParse
            | Self::UnnamedParse
            | Self::ParseAgain
            | Self::RefuseTaken(_)
            | Self::UnnamedClose
            | Self::PrivateClose(_) => true,
            Self::LocalParse
            | Self::LocalClose
            | Self::Prepare
            | Self::PrepareApart
            | Self::PrepareUnnamed
            | Self::Check(_)
            | Self::Evict(_)
            | Self::Own
            | Self::Try
            | Self::Heal
            | Self::Ask
            | Self::RefuseQuery(_)
            | Self::Refuse(_) => false,
        }
    }

    /// Whether replies reach the client, and what they prove changes no record.
    pub(super) const fn proves_nothing(&self) -> bool {
        matches!(self, Self::Client | Self::Named(_))
    }

    pub(super) const fn is_local(&self) -> bool {
        matches!(self, Self::LocalParse | Self::LocalClose)
    }
}

/// One owed reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// What was sent.
    pub kind: Kind,
    /// For whom.
    pub why: Why,
}

impl Owed {
    /// Whether it is executed, and so might start COPY IN.
    pub(super) const fn may_copy(&self) -> bool {
        matches!(self.kind, Kind::Execute | Kind::Query)
    }

    /// Whether it is a Sync, swallowed or not.
    pub(super) const fn is_sync(&self) -> bool {
        matches!(self.kind, Kind::Sync | Kind::MaybeSync)
    }

    /// Whether it is what a `Z` answers.
    pub(super) const fn ends_segment(&self) -> bool {
        matches!(self.kind, Kind::Sync | Kind::MaybeSync | Kind::Query | Kind::FunctionCall)
    }
}

/// COPY as the server has announced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CopyState {
    /// No COPY.
    #[default]
    None,
    /// `G` came; the client sends data.
    In {
        /// CopyDone or CopyFail was sent: Syncs behind it are ordinary ones again.
        ended: bool,
    },
    /// `H` came; the server sends data.
    Out,
}

impl CopyState {
    /// Whether the server reads COPY data.
    pub const fn is_in(self) -> bool {
        matches!(self, Self::In { .. })
    }
}

/// Which messages pass without being judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainParts {
    /// None.
    None,
    /// None but what completes the reply.
    Nothing,
    /// Rows.
    Rows,
    /// Rows, their descriptions, command completions: a simple query outside COPY.
    Results,
    /// Rows and the data of COPY OUT.
    Data,
}

impl PlainParts {
    /// Whether a message of this type passes.
    pub const fn has(self, tag: u8) -> bool {
        match tag {
            b'D' => !matches!(self, Self::None | Self::Nothing),
            b'T' | b'C' => matches!(self, Self::Results),
            b'd' => matches!(self, Self::Data),
            _ => false,
        }
    }
}

/// Whether a reply completes an entry.
pub(super) enum Progress {
    Part,
    Done,
}

/// Which reply completes which entry.
#[inline]
pub(super) const fn completes(kind: Kind, tag: u8) -> bool {
    match kind {
        Kind::Parse => tag == b'1',
        Kind::Bind => tag == b'2',
        Kind::Close => tag == b'3',
        Kind::DescribeStatement | Kind::DescribePortal => matches!(tag, b'T' | b'n'),
        Kind::Execute => matches!(tag, b'C' | b'I' | b's'),
        Kind::Sync | Kind::MaybeSync | Kind::Query | Kind::FunctionCall => tag == b'Z',
    }
}

/// The table of R15: whether a reply fits an entry, and whether it completes it.
#[inline]
pub(super) fn step(kind: Kind, tag: u8, copy: CopyState) -> Option<Progress> {
    use Progress::{Done, Part};
    if completes(kind, tag) {
        return Some(Done);
    }
    match (kind, tag) {
        (Kind::DescribeStatement, b't')
        | (Kind::Execute, b'D' | b'G' | b'H')
        | (Kind::Query, b'T' | b'D' | b'C' | b'I' | b'G' | b'H')
        | (Kind::FunctionCall, b'V') => Some(Part),
        (Kind::Execute | Kind::Query, b'd' | b'c') => (copy == CopyState::Out).then_some(Part),
        _ => None,
    }
}

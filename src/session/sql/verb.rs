//! The first word of a statement: what kind it is.

/// Letters of the longest word that begins a statement, and more.
const MAX_WORD: usize = 16;

/// What a statement is, as far as its first word tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Leaves the session as it is, but for the functions it calls and what SELECT INTO makes.
    Plain,
    /// Begins or ends a transaction or a part of one.
    Transaction,
    Set,
    Reset,
    Discard,
    Prepare,
    Execute,
    Explain,
    Deallocate,
    Declare,
    Close,
    Listen,
    Unlisten,
    Notify,
    Create,
    Load,
    Drop,
    Opaque,
    /// No statement that is known.
    Unknown,
}

/// What a statement is that starts with this word.
pub(super) fn start(word: &[u8]) -> Start {
    if word.len() > MAX_WORD {
        return Start::Unknown;
    }
    let packed = packed(word);
    WORDS.iter().find(|(known, _)| *known == packed).map_or(Start::Unknown, |(_, start)| *start)
}

/// A short word as a number, in small letters: cheap to compare.
const fn packed(word: &[u8]) -> u128 {
    let mut out = 0;
    let mut rest = word;
    while let [byte, more @ ..] = rest {
        out = out << u8::BITS | byte.to_ascii_lowercase() as u128;
        rest = more;
    }
    out
}

/// All words that begin a statement, the common ones first.
const WORDS: &[(u128, Start)] = &[
    (packed(b"select"), Start::Plain),
    (packed(b"insert"), Start::Plain),
    (packed(b"update"), Start::Plain),
    (packed(b"delete"), Start::Plain),
    (packed(b"begin"), Start::Transaction),
    (packed(b"commit"), Start::Transaction),
    (packed(b"rollback"), Start::Transaction),
    (packed(b"end"), Start::Transaction),
    (packed(b"set"), Start::Set),
    (packed(b"with"), Start::Plain),
    (packed(b"values"), Start::Plain),
    (packed(b"table"), Start::Plain),
    (packed(b"merge"), Start::Plain),
    (packed(b"copy"), Start::Plain),
    (packed(b"fetch"), Start::Plain),
    (packed(b"move"), Start::Plain),
    (packed(b"alter"), Start::Plain),
    (packed(b"grant"), Start::Plain),
    (packed(b"revoke"), Start::Plain),
    (packed(b"show"), Start::Plain),
    (packed(b"lock"), Start::Plain),
    (packed(b"truncate"), Start::Plain),
    (packed(b"vacuum"), Start::Plain),
    (packed(b"analyze"), Start::Plain),
    (packed(b"analyse"), Start::Plain),
    (packed(b"cluster"), Start::Plain),
    (packed(b"reindex"), Start::Plain),
    (packed(b"comment"), Start::Plain),
    (packed(b"checkpoint"), Start::Plain),
    (packed(b"refresh"), Start::Plain),
    (packed(b"import"), Start::Plain),
    (packed(b"reassign"), Start::Plain),
    (packed(b"security"), Start::Plain),
    (packed(b"start"), Start::Transaction),
    (packed(b"abort"), Start::Transaction),
    (packed(b"savepoint"), Start::Transaction),
    (packed(b"release"), Start::Transaction),
    (packed(b"reset"), Start::Reset),
    (packed(b"discard"), Start::Discard),
    (packed(b"prepare"), Start::Prepare),
    (packed(b"execute"), Start::Execute),
    (packed(b"explain"), Start::Explain),
    (packed(b"deallocate"), Start::Deallocate),
    (packed(b"declare"), Start::Declare),
    (packed(b"close"), Start::Close),
    (packed(b"listen"), Start::Listen),
    (packed(b"unlisten"), Start::Unlisten),
    (packed(b"notify"), Start::Notify),
    (packed(b"create"), Start::Create),
    (packed(b"load"), Start::Load),
    (packed(b"drop"), Start::Drop),
    (packed(b"do"), Start::Opaque),
    (packed(b"call"), Start::Opaque),
];

//! The first word of a statement: what kind it is.

use super::name::{MAX_KEYWORD, folded};

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
    match folded(word, &mut [0; MAX_KEYWORD]) {
        b"select" | b"insert" | b"update" | b"delete" | b"with" | b"values" | b"table" | b"merge"
        | b"copy" | b"fetch" | b"move" | b"alter" | b"grant" | b"revoke" | b"show" | b"lock"
        | b"truncate" | b"vacuum" | b"analyze" | b"analyse" | b"cluster" | b"reindex" | b"comment"
        | b"checkpoint" | b"refresh" | b"import" | b"reassign" | b"security" => Start::Plain,
        b"begin" | b"start" | b"commit" | b"end" | b"rollback" | b"abort" | b"savepoint" | b"release" => {
            Start::Transaction
        }
        b"set" => Start::Set,
        b"reset" => Start::Reset,
        b"discard" => Start::Discard,
        b"prepare" => Start::Prepare,
        b"execute" => Start::Execute,
        b"explain" => Start::Explain,
        b"deallocate" => Start::Deallocate,
        b"declare" => Start::Declare,
        b"close" => Start::Close,
        b"listen" => Start::Listen,
        b"unlisten" => Start::Unlisten,
        b"notify" => Start::Notify,
        b"create" => Start::Create,
        b"load" => Start::Load,
        b"drop" => Start::Drop,
        b"do" | b"call" => Start::Opaque,
        _ => Start::Unknown,
    }
}

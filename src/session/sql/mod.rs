//! What a query text may do to the state of a session, judged from its tokens.
//!
//! Not a parser: it tells statements apart, reads the few that matter word by word, and notices the functions that
//! matter wherever their names stand as code. What it says too much costs a question to the server; it must not say
//! too little. Texts that PostgreSQL refuses to parse do nothing, whatever is said of them. What functions of the
//! database do within cannot be seen from here.
//!
//! `plain` tells most texts apart at a glance; `judge` reads the others on `lexer`'s tokens.

mod call;
mod features;
mod judge;
mod lexer;
mod name;
mod plain;
mod sample;
mod set;
#[cfg(test)]
mod tests;
mod verb;

pub(crate) use call::names_temp;
pub(crate) use features::Features;
pub(crate) use sample::{drops_at_commit, sample};

use std::ops::Range;

/// Statements in one text that are read; more are not judged.
const MAX_STATEMENTS: usize = 10_000;

/// Parameters of one text that are told by name.
const MAX_SETTINGS: usize = 64;

/// Bytes of the name of a parameter that is told; PostgreSQL's own are far shorter.
pub(crate) const MAX_SETTING_NAME: usize = 128;

/// How a client's texts are to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// standard_conforming_strings: a backslash in an ordinary string is a backslash.
    pub(crate) standard_strings: bool,
    /// No byte below 0x80 is part of a longer character in the client's encoding. Not so in SJIS, BIG5, GBK, UHC,
    /// GB18030, JOHAB and SHIFT_JIS_2004.
    pub(crate) ascii_safe: bool,
}

/// What a text may do to its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    /// All that it may do.
    pub(crate) features: Features,
    /// Statements that are not empty.
    pub(crate) statements: usize,
    /// Names of the parameters that SET, SET LOCAL, RESET or set_config() touch, in small letters, each once.
    pub(crate) settings: Vec<Box<[u8]>>,
    /// Channels that UNLISTEN names, in order; `None` for all.
    pub(crate) unlistened: Vec<Option<Box<[u8]>>>,
    /// The prepared statement that is spoken of, if the whole text is this one statement.
    pub(crate) prepared: Option<PreparedUse>,
}

/// A prepared statement spoken of in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PreparedUse {
    /// What is done with it.
    pub(crate) verb: Verb,
    /// Its name as PostgreSQL reads it: folded or without its quotes, cut where PostgreSQL cuts.
    pub(crate) name: Box<[u8]>,
    /// Where the name stands in the text, its quotes included.
    pub(crate) span: Range<usize>,
}

/// What is done with a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// PREPARE name AS ...
    Prepare,
    /// EXECUTE name
    Execute,
    /// EXPLAIN ... EXECUTE name
    ExplainExecute,
    /// DEALLOCATE name
    Deallocate,
}

/// Whether `text` surely does nothing to its session, told at a glance. `false` may mean either.
pub(crate) fn is_plain(text: &[u8]) -> bool {
    plain::is_plain(text)
}

/// What `text` may do to its session; `None` if surely nothing.
pub(crate) fn digest(text: &[u8], reading: Reading) -> Option<Box<Digest>> {
    if plain::is_plain(text) { None } else { judge::judge(text, reading) }
}

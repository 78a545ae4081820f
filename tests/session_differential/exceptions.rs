//! Differences from PostgreSQL that stand, with their reasons.

/// A difference in one line of a transcript.
pub struct Exception {
    /// Part of the line that PostgreSQL gives.
    pub direct: &'static str,
    /// Part of the line that the pooler gives.
    pub pooled: &'static str,
    /// Why it stands.
    pub reason: &'static str,
}

/// All of them. Shrinking this list is progress.
pub const EXCEPTIONS: &[Exception] = &[Exception {
    direct: "prepared statement \"",
    pooled: "prepared statement \"pooler_",
    reason: "PostgreSQL's own text names the statement as the server knows it",
}];

/// What scripts do not do, because it reads otherwise through the pooler for good reasons.
pub const NOT_DRAWN: &[(&str, &str)] = &[
    (
        "Execute of a portal of a transaction that has failed since",
        "PostgreSQL 15.18 itself ends with a segmentation fault, and all its sessions with it",
    ),
    (
        "EXECUTE, DEALLOCATE or PREPARE of a name that a Parse has given, in a text of several statements or in a Parse",
        "names in a text are the server's own; they are exchanged only where a Query is this one statement",
    ),
    (
        "whether a custom setting is unknown or empty",
        "PostgreSQL keeps the name of a custom setting until the backend ends; RESET leaves it empty",
    ),
    (
        "settings set by functions of the database, or custom ones under names put together within a statement",
        "a text does not show them, and PostgreSQL does not list custom settings",
    ),
    (
        "a Parse with a literal whose meaning changes before it is executed: 'now', or a date and a change of DateStyle",
        "PostgreSQL reads it at Parse; another server, or one that has the statement, has read it at another time",
    ),
    (
        "a Parse of a text that the server has, after something that the text names has gone",
        "such a Parse is answered without the server; the error comes with the Bind",
    ),
    (
        "RESET before another statement of one text",
        "what a startup packet set is put in force again behind the text",
    ),
];

/// Whether two lines are the same, or differ in a way that stands.
pub fn agree(direct: &str, pooled: &str) -> bool {
    let stands = |e: &&Exception| direct.contains(e.direct) && pooled.contains(e.pooled);
    direct == pooled
        || EXCEPTIONS.iter().any(|e| stands(&e) && without(direct, e.direct) == without(pooled, e.direct))
}

/// A line without the names that follow this text.
fn without(line: &str, text: &str) -> String {
    let mut parts = line.split(text);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(text);
        out.push_str(part.split_once('"').map_or(part, |(_name, rest)| rest));
    }
    out
}

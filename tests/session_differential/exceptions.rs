//! Differences from PostgreSQL that stand, with their reasons.

/// A difference in one line of a transcript.
pub struct Exception {
    /// Part of the line that PostgreSQL gives.
    pub direct: &'static str,
    /// Part of the line that the pooler gives.
    pub pooled: &'static str,
    /// What ends it in both.
    pub until: char,
    /// Why it stands.
    pub reason: &'static str,
}

/// All of them. Shrinking this list is progress.
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        direct: "prepared statement \"",
        pooled: "prepared statement \"pooler_",
        until: '"',
        reason: "of a statement that has several names PostgreSQL's own text tells the one the server knows",
    },
    Exception {
        direct: "E(ERROR 08P01: bind message supplies ",
        pooled: "E(ERROR 25P02: current transaction is aborted",
        until: ')',
        reason: "in a transaction that has failed, a server that lacks the statement says so before it looks at the Bind",
    },
];

/// What reads otherwise through the pooler, and why: scripts do not do it. The README has just this list.
pub const NOT_DRAWN: &[(&str, &str)] = &[
    (
        "`currval` and `lastval` in a later transaction than the `nextval` they are about",
        "the number is known only to the server that gave it, which tells it to whoever asks there",
    ),
    ("`setseed`", "nobody can read the seed that a server has"),
    (
        "What functions and triggers do to a session, and SQL that functions such as `query_to_xml` are given as text",
        "words do not show it; it stays on the server until something else makes Pooler ask, or always with `session_state = \"verify\"`, custom settings under unknown names excepted",
    ),
    (
        "A custom setting (`my.setting`) whose name stands nowhere as a whole, neither in a text nor in a value \
         (`set_config('my.' || $1, ...)`)",
        "PostgreSQL lists no such names; it stays on the server",
    ),
    (
        "Startup parameters that only take effect at a server's own start (`ignore_system_indexes` or `-P`, and a few \
         like it)",
        "they are refused with PostgreSQL's own error",
    ),
    (
        "Other statements behind a RESET in one text of a client with startup values",
        "they see the server's values; the client's own are in force again when the text is done",
    ),
    (
        "EXECUTE, DEALLOCATE or PREPARE of a name that a Parse has given, in a text of several statements or itself in a Parse",
        "names are exchanged only where a query is this one statement",
    ),
    (
        "Whether a custom setting (`my.setting`) is unknown or empty",
        "PostgreSQL keeps the name of a custom setting until the backend ends; RESET leaves it empty",
    ),
    (
        "A Parse with a literal whose meaning changes before it is executed: `'now'`, or a date and a change of DateStyle",
        "PostgreSQL reads it at Parse; another server has read it at another time",
    ),
    (
        "A Parse of a text that the server has, after something that the text names has gone",
        "it is answered without the server; the error comes with the Bind",
    ),
    (
        "A Bind of a statement that was described before DDL, behind an Execute in one batch on a server that lacks it, \
         or if the description has more than 16 kB",
        "the new columns come without PostgreSQL's one error",
    ),
    (
        "A Bind or Describe outside a transaction block, after DDL has changed the columns of a statement that was not described",
        "it is parsed anew unseen, where PostgreSQL gives an error until the client does that itself",
    ),
    (
        "A Parse of a known text outside a transaction block that is first bound within one, after DDL",
        "it was answered without the server; the Bind fails with 0A000 once",
    ),
    (
        "A text that itself begins a transaction block, still running when its client says goodbye",
        "it is finished as if outside a block, or ends with `server_recovery_timeout`",
    ),
    (
        "A Parse of a known text or a Close, sent in one batch behind COPY FROM STDIN against the protocol",
        "PostgreSQL ends the session for it; Pooler answers it itself, and COPY goes on waiting for data",
    ),
    (
        "Execute of a portal of a transaction that has failed since",
        "PostgreSQL 15 itself ends with a segmentation fault, so nobody has seen what it would say",
    ),
    (
        "The name of a statement in errors, if it has several names for one text",
        "the server knows it by one of Pooler's own, which `pg_prepared_statements` shows in any case",
    ),
    (
        "`temp_buffers` for a client on a server where temporary tables have been used",
        "PostgreSQL refuses to change it there, and the client is told so",
    ),
    (
        "A setting that has become invalid since: a role that was dropped, or may not be taken any more",
        "the client is told so with FATAL when its next transaction gets a server",
    ),
    (
        "RESET in a transaction block, before SET TRANSACTION or what others commit, by a client with startup values \
         that are not ASCII or a search path in a spelling of its own",
        "putting them in force again takes the block's snapshot",
    ),
    (
        "SET TRANSACTION behind a Describe of a statement in the same transaction",
        "where the server lacks the statement it is parsed, which takes the transaction's snapshot",
    ),
    (
        "`set_config(name, $1, ...)` with NULL, RESET within DO, and statements behind a RESET in one batch",
        "the startup value is in force again only with the next transaction or message",
    ),
    (
        "`session_preload_libraries` and `local_preload_libraries` in a startup packet",
        "nothing is loaded, since the server has started before; `temp_tablespaces` that do not exist are refused, \
         not passed over",
    ),
    (
        "Names beyond 63 bytes that a Parse has given",
        "EXECUTE and DEALLOCATE of one are not told that it is cut (42622), and errors show no more than 255 bytes of it",
    ),
    ("`CREATE TABLE ... AS EXECUTE` of a name that a Parse has given", "the name is the server's own there"),
    ("`pg_listening_channels()` of a client that listens", "its channels are with the pool's own connection"),
    (
        "Notifications for a client that changes its encoding after LISTEN",
        "they come in the encoding that it had when it listened",
    ),
    (
        "`idle_session_timeout` outside session mode",
        "a client that is idle has no server that could end it; it reads as not set. With `session_state = \"pin\"` \
         SET of it holds; `client_idle_timeout` is Pooler's own",
    ),
    (
        "Defaults that ALTER ROLE or ALTER DATABASE gives to settings",
        "a client gets those that its server found when it logged in: new ones come with new servers, at once with RECONNECT",
    ),
    (
        "Notices and warnings of a Parse of a text that the server has (a name that is cut, a backslash in a string)",
        "it is answered without the server",
    ),
    (
        "Constants within functions of PL/pgSQL, folded under another client's settings (`extra_float_digits`, `bytea_output`)",
        "the plans of a function are the server's",
    ),
    (
        "Notifications that are sent between a LISTEN in a transaction block and its COMMIT, to a client that listened to something before",
        "the pool's connection listens from the COMMIT on",
    ),
    (
        "A Parse of a text that the server has, after DDL that changes the types of its parameters, or makes a function that fits better",
        "it is answered without the server, as of when that server read it, until the server is replaced, at once with RECONNECT",
    ),
    (
        "A statement that was described before DDL changed the types of its parameters, on a server that lacks it",
        "it is parsed with the new types there, and values in binary format may be refused",
    ),
    (
        "A statement that a batch has prepared from a text that the server has, after DDL, if more was sent behind the batch",
        "it was answered without the server, and a batch is not said again then; the Bind fails with 0A000 once",
    ),
    (
        "Queries that are not answered yet when their client says goodbye",
        "their answers are not sent, and those that have not begun are not run",
    ),
    (
        "The order of a client's own notifications, if it begins to listen in the transaction that sends them, and those that DO sends",
        "they come by two connections; those of DO may come behind ReadyForQuery",
    ),
    (
        "The process number of a session in session mode, if all servers were taken when it logged in",
        "it is one of Pooler's own, as in the other modes",
    ),
    (
        "Texts of the extended protocol with `max_prepared_statements = 0`",
        "they are counted, but not followed, as with PgBouncer",
    ),
];

/// Whether two lines are the same, or differ in a way that stands.
pub fn agree(direct: &str, pooled: &str) -> bool {
    let stands = |e: &&Exception| direct.contains(e.direct) && pooled.contains(e.pooled);
    direct == pooled || EXCEPTIONS.iter().any(|e| stands(&e) && without(direct, e) == without(pooled, e))
}

/// A line without what an exception is about, however often it is in it.
fn without(line: &str, exception: &Exception) -> String {
    let begins = |rest: &&str| rest.starts_with(exception.direct) || rest.starts_with(exception.pooled);
    let (mut out, mut rest) = (String::new(), line);
    while let Some(next) = rest.chars().next() {
        if begins(&rest) {
            out.push('~');
            let begun = if rest.starts_with(exception.direct) { exception.direct } else { exception.pooled };
            rest = rest[begun.len()..].split_once(exception.until).map_or("", |(_, behind)| behind);
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

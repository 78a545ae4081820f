//! Counters of one pool on one worker: plain integers, one writer.

/// Whose fault an error was, as the metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorClass {
    /// A login that failed.
    Login,
    /// A client broke the protocol or left in the middle of something.
    Client,
    /// A server was lost, broke the protocol, or refused a login.
    Server,
    /// A wait for a server was over.
    WaitTimeout,
    /// Another time limit struck.
    Timeout,
    /// An operator ended it.
    Admin,
}

impl ErrorClass {
    /// All classes, in the order of [`Counters::errors`].
    pub const ALL: [Self; 6] =
        [Self::Login, Self::Client, Self::Server, Self::WaitTimeout, Self::Timeout, Self::Admin];

    /// The metric label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Client => "client",
            Self::Server => "server",
            Self::WaitTimeout => "wait_timeout",
            Self::Timeout => "timeout",
            Self::Admin => "admin",
        }
    }
}

/// Why a client may keep its server, in the words of the console and of the metrics.
pub const PIN_REASONS: [&str; 9] = [
    "temp",
    "hold_cursor",
    "advisory_lock",
    "listen",
    "prepare",
    "load",
    "unknown",
    "set",
    "large_statement",
];

/// What PgBouncer's SHOW STATS counts, per pool. Times in microseconds. Values only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times a client was linked to a server.
    pub assignments: u64,
    /// Transactions: first message outside one, to ReadyForQuery `I`.
    pub xacts: u64,
    /// Requests: first message while none is open, to ReadyForQuery with nothing owed.
    pub queries: u64,
    /// Bytes of messages received from logged-in clients.
    pub client_bytes: u64,
    /// Bytes of messages received from servers after their login.
    pub server_bytes: u64,
    /// Time in transactions, waiting for a server excluded.
    pub xact_us: u64,
    /// Time in requests, waiting for a server excluded.
    pub query_us: u64,
    /// Time clients waited for a server.
    pub wait_us: u64,
    /// Named Parse messages of clients.
    pub client_parses: u64,
    /// Parse messages sent to servers for tracked statements.
    pub server_parses: u64,
    /// Binds of tracked statements.
    pub binds: u64,
    /// Client logins that succeeded.
    pub logins: u64,
    /// Errors, by [`ErrorClass`] in the order of [`ErrorClass::ALL`].
    pub errors: [u64; ErrorClass::ALL.len()],
    /// Times a client began to keep its server, by [`PIN_REASONS`].
    pub pins: [u64; PIN_REASONS.len()],
}

impl Counters {
    /// Counts one error.
    pub fn error(&mut self, class: ErrorClass) {
        if let Some(count) =
            ErrorClass::ALL.iter().position(|&c| c == class).and_then(|i| self.errors.get_mut(i))
        {
            *count += 1;
        }
    }

    /// Adds another pool's numbers.
    pub fn add(&mut self, other: &Self) {
        self.assignments += other.assignments;
        self.xacts += other.xacts;
        self.queries += other.queries;
        self.client_bytes += other.client_bytes;
        self.server_bytes += other.server_bytes;
        self.xact_us += other.xact_us;
        self.query_us += other.query_us;
        self.wait_us += other.wait_us;
        self.client_parses += other.client_parses;
        self.server_parses += other.server_parses;
        self.binds += other.binds;
        self.logins += other.logins;
        for (mine, theirs) in self.errors.iter_mut().zip(other.errors) {
            *mine += theirs;
        }
        for (mine, theirs) in self.pins.iter_mut().zip(other.pins) {
            *mine += theirs;
        }
    }

    /// What was counted since `earlier`; a number that is lower than it was counts as nothing, not as 2^64.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    /// The higher of both, number by number.
    #[must_use]
    pub fn highest(&self, other: &Self) -> Self {
        self.zip(other, u64::max)
    }

    /// Combines two sets number by number. Written without `..` so that a new counter is not forgotten here.
    fn zip(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let mut errors = self.errors;
        for (mine, theirs) in errors.iter_mut().zip(other.errors) {
            *mine = combine(*mine, theirs);
        }
        let mut pins = self.pins;
        for (mine, theirs) in pins.iter_mut().zip(other.pins) {
            *mine = combine(*mine, theirs);
        }
        Self {
            assignments: combine(self.assignments, other.assignments),
            xacts: combine(self.xacts, other.xacts),
            queries: combine(self.queries, other.queries),
            client_bytes: combine(self.client_bytes, other.client_bytes),
            server_bytes: combine(self.server_bytes, other.server_bytes),
            xact_us: combine(self.xact_us, other.xact_us),
            query_us: combine(self.query_us, other.query_us),
            wait_us: combine(self.wait_us, other.wait_us),
            client_parses: combine(self.client_parses, other.client_parses),
            server_parses: combine(self.server_parses, other.server_parses),
            binds: combine(self.binds, other.binds),
            logins: combine(self.logins, other.logins),
            errors,
            pins,
        }
    }
}

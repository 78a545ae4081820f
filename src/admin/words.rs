//! What SHOW and SET can name.
//!
//! Owns: the words of views and of driver variables, and the fixed answers of the latter. Does not know: reports.

/// What SHOW can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each is the view of that name
pub enum View {
    ActiveSockets,
    Clients,
    Compat,
    Config,
    Databases,
    DnsHosts,
    DnsZones,
    Fds,
    Help,
    Lists,
    Mem,
    PeerPools,
    Peers,
    Pins,
    Pools,
    Servers,
    Sockets,
    State,
    Stats,
    StatsAverages,
    StatsTotals,
    Totals,
    Users,
    Version,
}

impl View {
    /// Every view.
    pub const ALL: [Self; 24] = [
        Self::ActiveSockets,
        Self::Clients,
        Self::Compat,
        Self::Config,
        Self::Databases,
        Self::DnsHosts,
        Self::DnsZones,
        Self::Fds,
        Self::Help,
        Self::Lists,
        Self::Mem,
        Self::PeerPools,
        Self::Peers,
        Self::Pins,
        Self::Pools,
        Self::Servers,
        Self::Sockets,
        Self::State,
        Self::Stats,
        Self::StatsAverages,
        Self::StatsTotals,
        Self::Totals,
        Self::Users,
        Self::Version,
    ];

    /// The word behind SHOW.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActiveSockets => "active_sockets",
            Self::Clients => "clients",
            Self::Compat => "compat",
            Self::Config => "config",
            Self::Databases => "databases",
            Self::DnsHosts => "dns_hosts",
            Self::DnsZones => "dns_zones",
            Self::Fds => "fds",
            Self::Help => "help",
            Self::Lists => "lists",
            Self::Mem => "mem",
            Self::PeerPools => "peer_pools",
            Self::Peers => "peers",
            Self::Pins => "pins",
            Self::Pools => "pools",
            Self::Servers => "servers",
            Self::Sockets => "sockets",
            Self::State => "state",
            Self::Stats => "stats",
            Self::StatsAverages => "stats_averages",
            Self::StatsTotals => "stats_totals",
            Self::Totals => "totals",
            Self::Users => "users",
            Self::Version => "version",
        }
    }
}

/// Variables that drivers read and set right after login; their answers are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each is the variable of that name
pub enum Variable {
    ClientEncoding,
    DefaultTransactionIsolation,
    StandardConformingStrings,
    DateStyle,
    TimeZone,
}

impl Variable {
    /// Every variable.
    pub const ALL: [Self; 5] = [
        Self::ClientEncoding,
        Self::DefaultTransactionIsolation,
        Self::StandardConformingStrings,
        Self::DateStyle,
        Self::TimeZone,
    ];

    /// Its name, which is also the column of the answer.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientEncoding => "client_encoding",
            Self::DefaultTransactionIsolation => "default_transaction_isolation",
            Self::StandardConformingStrings => "standard_conforming_strings",
            Self::DateStyle => "datestyle",
            Self::TimeZone => "timezone",
        }
    }

    /// The fixed answer.
    pub const fn value(self) -> &'static str {
        match self {
            Self::ClientEncoding => "UTF-8",
            Self::DefaultTransactionIsolation => "read committed",
            Self::StandardConformingStrings => "on",
            Self::DateStyle => "ISO",
            Self::TimeZone => "GMT",
        }
    }

    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variable| word.eq_ignore_ascii_case(variable.as_str()))
    }
}

//! SHOW: overview in, table out.
//!
//! Owns: PgBouncer 1.25's columns, their order and types, one file per report or small group. Does not know: who
//! asks, sockets. Each report is a pure function; columns are exactly PgBouncer's, because programs read them by
//! position and type; `sessions` has what only we show.

mod absent;
mod config;
mod connections;
mod databases;
mod help;
mod inventory;
mod pools;
mod sessions;
mod stats;
mod table;
mod users;

use jiff::tz::TimeZone;

pub use table::Table;

use super::request::Overview;
use super::words::{Variable, View};
use crate::proto::PgError;

/// What SHOW answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Rows.
    Table(Table),
    /// A text beside no rows: SHOW HELP.
    Notice(PgError),
}

/// Makes a report. Times of day are shown in `zone`.
///
/// # Errors
/// A view that is not offered.
pub fn answer(view: View, overview: &Overview, zone: &TimeZone) -> Result<Answer, PgError> {
    Ok(Answer::Table(match view {
        View::Help => return Ok(Answer::Notice(help::usage())),
        View::Fds => return Err(absent::fds()),
        View::Clients => connections::clients(overview, zone),
        View::Servers => connections::servers(overview, zone),
        View::Sockets => connections::sockets(overview, zone),
        View::ActiveSockets => connections::active_sockets(overview, zone),
        View::Pools => pools::pools(overview),
        View::Pins => sessions::pins(overview, zone),
        View::Compat => sessions::compat(overview, zone),
        View::Databases => databases::databases(overview),
        View::Users => users::users(overview),
        View::Stats => stats::stats(overview),
        View::StatsTotals => stats::stats_totals(overview),
        View::StatsAverages => stats::stats_averages(overview),
        View::Totals => stats::totals(overview),
        View::Lists => inventory::lists(overview),
        View::Mem => inventory::mem(overview),
        View::Config => config::config(overview),
        View::State => config::state(overview),
        View::Version => config::version(),
        View::Peers => absent::peers(),
        View::PeerPools => absent::peer_pools(),
        View::DnsHosts => absent::dns_hosts(),
        View::DnsZones => absent::dns_zones(),
    }))
}

/// The fixed answer to SHOW of a driver variable.
pub(super) fn variable(variable: Variable) -> Table {
    config::variable(variable)
}

#[cfg(test)]
mod tests;

//! SHOW HELP: a notice, no rows.

use crate::proto::PgError;

/// One line each, in PgBouncer's words. What is known only to be refused is not here.
const LINES: [&str; 17] = [
    "SHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION",
    "SHOW PEERS|PEER_POOLS",
    "SHOW PINS|COMPAT",
    "SHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE",
    "SHOW DNS_HOSTS|DNS_ZONES",
    "SHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS",
    "RELOAD",
    "PAUSE [<db>]",
    "RESUME [<db>]",
    "DISABLE <db>",
    "ENABLE <db>",
    "RECONNECT [<db>]",
    "KILL [<db>]",
    "KILL_CLIENT <client_id>",
    "SHUTDOWN",
    "SHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS",
    "WAIT_CLOSE [<db>]",
];

/// The notice: its detail starts with a line break and lists one command a line, behind a tab.
pub(super) fn usage() -> PgError {
    let mut detail = String::new();
    for line in LINES {
        detail.push_str("\n\t");
        detail.push_str(line);
    }
    PgError::notice("Console usage").with_detail(detail)
}

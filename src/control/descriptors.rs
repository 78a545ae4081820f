//! How many files the process may open.
//!
//! Owns: reading the limit and saying early that it is too small. Does not know: what the descriptors are for.

use crate::config::Config;

/// Soft and hard limit of open files; `None` for unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit {
    soft: Option<u64>,
    hard: Option<u64>,
}

/// Descriptors that are neither clients nor servers: listeners, logs, reactors, the metrics endpoint.
const OWN_USE: u64 = 64;

/// Logs the limit beside what the settings ask for, and warns if it is below.
pub(super) fn report(config: &Config) {
    let Some(limit) = std::fs::read_to_string("/proc/self/limits").ok().and_then(|text| parse(&text)) else {
        return;
    };
    let wanted = expected(config);
    let text = |n: Option<u64>| n.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
    tracing::info!(
        "kernel file descriptor limit: {} (hard: {}); max_client_conn: {}, max expected fd use: {wanted}",
        text(limit.soft),
        text(limit.hard),
        config.max_client_conn,
    );
    if limit.soft.is_some_and(|soft| soft < wanted) {
        tracing::warn!(
            "the limit of open files is below what the settings can ask for: raise it (ulimit -n, LimitNOFILE)"
        );
    }
}

/// Clients plus one full pool per database plus our own use. Databases without a forced user have one pool per
/// user, so the true use may be higher, as it may be with PgBouncer's estimate.
fn expected(config: &Config) -> u64 {
    let pools = config.databases.values().map(|database| {
        let size = database.pool_size.unwrap_or(config.defaults.pool_size);
        let reserve = database.reserve_pool_size.unwrap_or(config.defaults.reserve_pool_size);
        u64::from(size) + u64::from(reserve)
    });
    u64::from(config.max_client_conn) + pools.sum::<u64>() + OWN_USE
}

/// Reads the table of `/proc/self/limits`.
fn parse(table: &str) -> Option<Limit> {
    let mut columns = table.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace();
    let mut number = || match columns.next()? {
        "unlimited" => Some(None),
        digits => digits.parse().ok().map(Some),
    };
    Some(Limit { soft: number()?, hard: number()? })
}

#[cfg(test)]
mod tests {
    use super::super::testing::config_with;
    use super::*;

    #[test]
    fn the_kernels_table_is_understood() {
        let table = "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max processes             63411                63411                processes \n\
                     Max open files            1024                 524288               files     \n";
        assert_eq!(parse(table), Some(Limit { soft: Some(1024), hard: Some(524_288) }));
        assert_eq!(parse("Max open files unlimited unlimited files"), Some(Limit { soft: None, hard: None }));
        assert_eq!(parse("Max open files soon never"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn the_estimate_counts_clients_and_pools() {
        let mut config = config_with(&["a", "b"]);
        config.max_client_conn = 100;
        config.defaults.pool_size = 20;
        config.defaults.reserve_pool_size = 5;
        for database in config.databases.values_mut() {
            database.pool_size = None;
            database.reserve_pool_size = None;
        }
        assert_eq!(expected(&config), 100 + 2 * 25 + OWN_USE);
    }
}

//! Views of things that the pooler does not have: the columns stand, the rows are missing.
//!
//! There are no peers; names are resolved by the system's resolver, whose cache nobody sees; file descriptors are
//! not handed to another process.

use super::super::request::refusal;
use super::table::{Table, int4, int8, text};
use crate::proto::{Column, PgError};

const PEERS: [Column; 4] = [int4("peer_id"), text("host"), int4("port"), int4("pool_size")];
const PEER_POOLS: [Column; 5] = [
    int4("peer_id"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active_cancel"),
    int4("sv_login"),
];
const DNS_HOSTS: [Column; 3] = [text("hostname"), int8("ttl"), text("addrs")];
const DNS_ZONES: [Column; 3] = [text("zonename"), int8("serial"), int4("count")];

/// SHOW PEERS.
pub(super) const fn peers() -> Table {
    Table::empty(&PEERS)
}

/// SHOW PEER_POOLS.
pub(super) const fn peer_pools() -> Table {
    Table::empty(&PEER_POOLS)
}

/// SHOW DNS_HOSTS.
pub(super) const fn dns_hosts() -> Table {
    Table::empty(&DNS_HOSTS)
}

/// SHOW DNS_ZONES.
pub(super) const fn dns_zones() -> Table {
    Table::empty(&DNS_ZONES)
}

/// SHOW FDS: never, it would show secrets.
pub(super) fn fds() -> PgError {
    refusal("SHOW FDS is not offered: file descriptors are not handed over")
        .with_hint("Start another process, then end this one with SHUTDOWN WAIT_FOR_CLIENTS.")
}

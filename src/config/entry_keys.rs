//! The tables of `[databases.NAME]` and `[users.NAME]`.
//!
//! Owns: names and defaults of the keys of one entry. Does not know: global settings beyond their names.

use super::kind::Kind as K;
use super::pooler_keys::MOST_CONNECTIONS;
use super::setting::Fallback::{Inherits, Is, Unset};
use super::setting::{Fallback, Setting};
use super::{Database, User};

const fn database(name: &'static str, default: Fallback, kind: K<Database>) -> Setting<Database> {
    Setting::row(name, default, kind)
}

const fn user(name: &'static str, default: Fallback, kind: K<User>) -> Setting<User> {
    Setting::row(name, default, kind)
}

fn add_startup(database: &mut Database, name: &str, value: Option<String>) {
    database.startup.extend(value.map(|value| (name.to_owned(), value)));
}

/// Every setting of a database, in the order of the example file.
pub static DATABASE_SETTINGS: &[Setting<Database>] = &[
    database("host", Is("127.0.0.1"), K::Host(|d, v| d.host = v))
        .means("Name or address of the server, or the /directory of its Unix socket"),
    database("port", Is("5432"), K::Port(|d, v| d.port = v)).means("Port, also in the Unix socket's name"),
    database("dbname", Unset, K::OptionalText(|d, v| d.dbname = v))
        .means("Name on the server; \"\" is the name the client asked for"),
    database("user", Unset, K::OptionalText(|d, v| d.user = v))
        .means("Role of all servers, so that clients share one pool; \"\" is each client's own"),
    database("password", Unset, K::Secret(|d, v| d.password = v)).means("Password of that role"),
    database("pool_mode", Inherits("pool_mode"), K::PoolMode(|d, v| d.pool_mode = Some(v)))
        .means("As in [pooler], for this database"),
    database("session_state", Inherits("session_state"), K::SessionState(|d, v| d.session_state = Some(v)))
        .means("As in [pooler], for this database"),
    database("max_pinned_ratio", Inherits("max_pinned_ratio"), K::Ratio(|d, v| d.max_pinned_ratio = Some(v)))
        .means("As in [pooler], for this database"),
    database(
        "pool_size",
        Inherits("default_pool_size"),
        K::Count(0, MOST_CONNECTIONS, |d, v| d.pool_size = Some(v)),
    )
    .means("Instead of default_pool_size; 0 for no limit"),
    database(
        "min_pool_size",
        Inherits("min_pool_size"),
        K::Count(0, MOST_CONNECTIONS, |d, v| d.min_pool_size = Some(v)),
    )
    .means("As in [pooler], for this database"),
    database(
        "reserve_pool_size",
        Inherits("reserve_pool_size"),
        K::Count(0, MOST_CONNECTIONS, |d, v| d.reserve_pool_size = Some(v)),
    )
    .means("As in [pooler], for this database"),
    database("pool_split", Inherits("pool_split"), K::PoolSplit(|d, v| d.pool_split = Some(v)))
        .means("As in [pooler], for this database"),
    database("server_lifetime", Inherits("server_lifetime"), K::Limit(|d, v| d.server_lifetime = v))
        .means("As in [pooler], for this database; 0 takes the value of [pooler]"),
    database("client_encoding", Unset, K::OptionalText(|d, v| add_startup(d, "client_encoding", v)))
        .means("Sent to the server at login; \"\" sends none"),
    database("datestyle", Unset, K::OptionalText(|d, v| add_startup(d, "datestyle", v)))
        .means("Sent to the server at login; \"\" sends none"),
    database("timezone", Unset, K::OptionalText(|d, v| add_startup(d, "timezone", v)))
        .means("Sent to the server at login; \"\" sends none"),
    database("application_name", Unset, K::OptionalText(|d, v| add_startup(d, "application_name", v)))
        .means("Sent to the server at login; \"\" sends none"),
];

/// Every setting of a user, in the order of the example file.
pub static USER_SETTINGS: &[Setting<User>] = &[
    user("password", Unset, K::Secret(|u, v| u.secret = v))
        .means("Plain text, md5 hash or SCRAM-SHA-256 verifier; \"\" never matches"),
    user("pool_mode", Inherits("pool_mode"), K::PoolMode(|u, v| u.pool_mode = Some(v)))
        .means("As in [pooler], for pools of this server user; wins over the database"),
    user(
        "pool_size",
        Inherits("default_pool_size"),
        K::Count(0, MOST_CONNECTIONS, |u, v| u.pool_size = Some(v)),
    )
    .means("Instead of default_pool_size, for pools of this server user"),
    user(
        "reserve_pool_size",
        Inherits("reserve_pool_size"),
        K::Count(0, MOST_CONNECTIONS, |u, v| u.reserve_pool_size = Some(v)),
    )
    .means("As in [pooler], for pools of this server user"),
    user(
        "idle_transaction_timeout",
        Inherits("idle_transaction_timeout"),
        K::Limit(|u, v| u.idle_transaction_timeout = v),
    )
    .means("As in [pooler], for pools of this server user; 0 takes the value of [pooler]"),
    user("query_timeout", Inherits("query_timeout"), K::Limit(|u, v| u.query_timeout = v))
        .means("As in [pooler], for pools of this server user; 0 takes the value of [pooler]"),
    user("client_idle_timeout", Inherits("client_idle_timeout"), K::Limit(|u, v| u.client_idle_timeout = v))
        .means("As in [pooler], for clients that log in as this user; 0 takes the value of [pooler]"),
];

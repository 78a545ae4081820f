//! The meaning of each setting.
//!
//! Owns: files, units, checks, defaults. Does not know: anything that runs. Files are read once and become
//! [`Config`], whose types cannot hold nonsense; after that nobody checks again.
//!
//! The way of a value: `document` finds its row in a table (`pooler_keys`, `entry_keys`), `raw` replaces variables,
//! `kind` and `read` check it and put it into its place, `check` compares it with others.

mod check;
mod diff;
mod document;
mod draft;
mod entry_keys;
mod kind;
mod load;
mod pooler_keys;
mod problem;
mod raw;
mod read;
#[cfg(test)]
pub(crate) mod sample;
mod secret;
mod setting;
mod settings;
#[cfg(test)]
mod tests;
mod units;
mod url;
mod userlist;

pub use check::ReadFile;
pub use diff::{Changes, Fate, Postponed, diff, fate, keep_fixed};
pub use draft::Draft;
pub use entry_keys::{DATABASE_SETTINGS, USER_SETTINGS};
pub use load::{Loaded, load, parse};
pub use pooler_keys::SETTINGS;
pub use problem::{Problem, Problems};
pub use raw::Env;
pub use secret::Secret;
pub use setting::{Fallback, Setting};
pub use settings::{
    AuthType, CONSOLE_NAMES, Config, ConsoleRights, Database, LogFormat, Pacing, PinOverflow, PoolMode,
    PoolSplit, Process, Ratio, Runtime, SecretEq, ServerDefaults, SessionState, ShownSetting, SocketOptions,
    SslMode, TlsSettings, User,
};
pub use url::from_url;

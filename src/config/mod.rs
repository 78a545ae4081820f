//! The meaning of each setting.
//!
//! Owns: files, units, checks, defaults. Does not know: anything that runs. Files are read once and become
//! [`Config`], whose types cannot hold nonsense; after that nobody checks again.

mod secret;
mod settings;

pub use secret::Secret;
pub use settings::{
    AuthType, CONSOLE_NAMES, Config, ConsoleRights, Database, LogFormat, Pacing, PoolMode, Process, SecretEq,
    ServerDefaults, ShownSetting, SocketOptions, SslMode, TlsSettings, User,
};

//! The kinds of value a setting can have, and where each goes.
//!
//! Owns: from a raw value through its check into the structure that holds it. Does not know: which keys exist.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Fault;
use super::raw::Raw;
use super::read::{self, Read};
use super::units::{self, TimeUnit};
use super::{
    AuthType, LogFormat, PinOverflow, PoolMode, PoolSplit, Ratio, Runtime, SecretEq, SessionState, SslMode,
};

/// What a setting's value is, with the place in a `T` where it goes.
pub(super) enum Kind<T> {
    /// true or false, 1 or 0.
    Bool(fn(&mut T, bool)),
    /// A whole number between two bounds.
    Count(u32, u32, fn(&mut T, u32)),
    /// A part of a whole.
    Ratio(fn(&mut T, Ratio)),
    /// A TCP port.
    Port(fn(&mut T, u16)),
    /// Permission bits of a file.
    Octal(fn(&mut T, u32)),
    /// A time limit; 0 for none.
    Limit(fn(&mut T, Option<Duration>)),
    /// A time limit in milliseconds; 0 for none.
    LimitMillis(fn(&mut T, Option<Duration>)),
    /// A time in whole seconds, as the kernel counts it; 0 leaves the system's value.
    KernelSeconds(fn(&mut T, Option<Duration>)),
    /// A time that is not shorter than so many milliseconds.
    Time(u64, fn(&mut T, Duration)),
    /// Any text.
    Text(fn(&mut T, String)),
    /// Any text; empty for none.
    OptionalText(fn(&mut T, Option<String>)),
    /// A password or verifier; empty for none.
    Secret(fn(&mut T, Option<SecretEq>)),
    /// A file, relative to the configuration file; empty for none.
    File(fn(&mut T, Option<PathBuf>)),
    /// A directory with its full path; empty for none.
    Directory(fn(&mut T, Option<PathBuf>)),
    /// Texts: an array, or one text with commas.
    List(fn(&mut T, Vec<String>)),
    /// Host names, addresses or `*`, likewise.
    Hosts(fn(&mut T, Vec<String>)),
    /// One host name, address or socket directory.
    Host(fn(&mut T, String)),
    /// An address with a port; empty for none.
    Address(fn(&mut T, Option<SocketAddr>)),
    /// A filter of log lines.
    LogLevel(fn(&mut T, String)),
    /// One of the formats.
    LogFormat(fn(&mut T, LogFormat)),
    /// One of the runtimes.
    Runtime(fn(&mut T, Runtime)),
    /// One of the pool modes.
    PoolMode(fn(&mut T, PoolMode)),
    /// One of the ways to deal with session state.
    SessionState(fn(&mut T, SessionState)),
    /// One of the ways to spread a pool.
    PoolSplit(fn(&mut T, PoolSplit)),
    /// What becomes of a pin too many.
    PinOverflow(fn(&mut T, PinOverflow)),
    /// One of the ways to prove who one is.
    AuthType(fn(&mut T, AuthType)),
    /// One of the TLS modes.
    SslMode(fn(&mut T, SslMode)),
}

impl<T> Kind<T> {
    /// Whether the value must never be shown.
    pub(super) const fn is_secret(&self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// The unit or form of the value, for humans.
    pub(super) fn unit(&self) -> String {
        match self {
            Self::Bool(_) => "true or false".to_owned(),
            Self::Count(..) => "number".to_owned(),
            Self::Ratio(_) => "fraction".to_owned(),
            Self::Port(_) => "port".to_owned(),
            Self::Octal(_) => "octal in quotes".to_owned(),
            Self::Limit(_) | Self::KernelSeconds(_) | Self::Time(..) => "seconds".to_owned(),
            Self::LimitMillis(_) => "milliseconds".to_owned(),
            Self::Text(_) | Self::OptionalText(_) => "text".to_owned(),
            Self::Secret(_) => "secret".to_owned(),
            Self::File(_) => "file".to_owned(),
            Self::Directory(_) => "directory".to_owned(),
            Self::List(_) | Self::Hosts(_) => "list".to_owned(),
            Self::Host(_) => "host".to_owned(),
            Self::Address(_) => "address:port".to_owned(),
            Self::LogLevel(_) => "off, error, warn, info, debug, trace, or room=level".to_owned(),
            Self::LogFormat(_) => units::words::<LogFormat>().join(", "),
            Self::Runtime(_) => units::words::<Runtime>().join(", "),
            Self::PoolMode(_) => units::words::<PoolMode>().join(", "),
            Self::SessionState(_) => units::words::<SessionState>().join(", "),
            Self::PoolSplit(_) => units::words::<PoolSplit>().join(", "),
            Self::PinOverflow(_) => units::words::<PinOverflow>().join(", "),
            Self::AuthType(_) => units::words::<AuthType>().join(", "),
            Self::SslMode(_) => units::words::<SslMode>().join(", "),
        }
    }

    /// Checks `raw`, puts it where it belongs, and answers how the console shows it; `None` for "not set".
    ///
    /// # Errors
    /// What could stand there instead; `target` is then as it was.
    pub(super) fn apply(&self, raw: &Raw, base: &Path, target: &mut T) -> Result<Option<String>, Fault> {
        match self {
            Self::Bool(set) => put(target, *set, read::flag(raw)),
            Self::Count(min, max, set) => put(target, *set, read::count(raw, *min, *max)),
            Self::Ratio(set) => put(target, *set, read::ratio(raw)),
            Self::Port(set) => put(target, *set, read::port(raw)),
            Self::Octal(set) => put(target, *set, read::octal(raw)),
            Self::Limit(set) => put(target, *set, read::limit(raw, TimeUnit::Seconds)),
            Self::LimitMillis(set) => put(target, *set, read::limit(raw, TimeUnit::Milliseconds)),
            Self::KernelSeconds(set) => put(target, *set, read::kernel_seconds(raw)),
            Self::Time(min_millis, set) => put(target, *set, read::time(raw, *min_millis)),
            Self::Text(set) => put(target, *set, read::text(raw)),
            Self::OptionalText(set) => put(target, *set, read::optional_text(raw)),
            Self::Secret(set) => put(target, *set, read::secret(raw)),
            Self::File(set) => put(target, *set, read::file(raw, base)),
            Self::Directory(set) => put(target, *set, read::directory(raw)),
            Self::List(set) => put(target, *set, read::list(raw)),
            Self::Hosts(set) => put(target, *set, read::hosts(raw)),
            Self::Host(set) => put(target, *set, read::host(raw)),
            Self::Address(set) => put(target, *set, read::address(raw)),
            Self::LogLevel(set) => put(target, *set, read::log_level(raw)),
            Self::LogFormat(set) => put(target, *set, read::word(raw)),
            Self::Runtime(set) => put(target, *set, read::word(raw)),
            Self::PoolMode(set) => put(target, *set, read::word(raw)),
            Self::SessionState(set) => put(target, *set, read::word(raw)),
            Self::PoolSplit(set) => put(target, *set, read::word(raw)),
            Self::PinOverflow(set) => put(target, *set, read::word(raw)),
            Self::AuthType(set) => put(target, *set, read::word(raw)),
            Self::SslMode(set) => put(target, *set, read::word(raw)),
        }
    }
}

fn put<T, V>(target: &mut T, set: fn(&mut T, V), read: Read<V>) -> Result<Option<String>, Fault> {
    let (value, shown) = read?;
    set(target, value);
    Ok(shown)
}

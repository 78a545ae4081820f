//! From a raw value to a checked one, together with the way the console shows it.
//!
//! Owns: which forms (text, number, list) each kind of value accepts. Does not know: keys, structures.
//! A number or boolean may also come as a text, because that is what the environment gives.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Fault;
use super::raw::Raw;
use super::units::{self, TimeUnit, Word};
use super::{Ratio, Secret, SecretEq};

/// A value and how the console shows it; `None` for "not set".
pub(super) type Read<V> = Result<(V, Option<String>), Fault>;

pub(super) fn flag(raw: &Raw) -> Read<bool> {
    let flag = units::read_bool(&scalar(raw, "true or false")?)?;
    Ok((flag, Some(u8::from(flag).to_string())))
}

pub(super) fn count(raw: &Raw, min: u32, max: u32) -> Read<u32> {
    let number = units::read_count(&scalar(raw, "an integer")?, min, max)?;
    Ok((number, Some(number.to_string())))
}

pub(super) fn ratio(raw: &Raw) -> Read<Ratio> {
    let share = units::read_ratio(&scalar(raw, "a fraction")?)?;
    Ok((share, Some(units::print_ratio(share))))
}

pub(super) fn port(raw: &Raw) -> Read<u16> {
    let (number, shown) = count(raw, 1, u32::from(u16::MAX))?;
    Ok((u16::try_from(number).unwrap_or(u16::MAX), shown))
}

/// A text is octal, as in PgBouncer's files; a number of TOML carries its own base (0o777). Only file permission
/// bits fit, so that 755 written without quotes is refused and not taken as decimal.
pub(super) fn octal(raw: &Raw) -> Read<u32> {
    const PERMISSIONS: u32 = 0o777;
    let bits = match raw {
        Raw::Text(text) => u32::from_str_radix(text.trim_start_matches("0o"), 8).ok(),
        Raw::Number(text) => text.parse().ok(),
        Raw::Bool(_) | Raw::List(_) => None,
    };
    let fault = || Fault::expected("permission bits in octal such as \"0777\"");
    let bits = bits.filter(|bits| *bits <= PERMISSIONS).ok_or_else(fault)?;
    Ok((bits, Some(bits.to_string())))
}

pub(super) fn limit(raw: &Raw, unit: TimeUnit) -> Read<Option<Duration>> {
    let time = unit.read(&scalar(raw, "a time")?)?;
    Ok((none_if_zero(time), Some(unit.print(time))))
}

pub(super) fn kernel_seconds(raw: &Raw) -> Read<Option<Duration>> {
    /// Linux' own limits of TCP_KEEPIDLE and TCP_KEEPINTVL.
    const MOST: u64 = 32767;
    let time = TimeUnit::Seconds.read(&scalar(raw, "a time")?)?;
    if time.subsec_nanos() != 0 || time.as_secs() > MOST {
        return Err(Fault::expected(format!("whole seconds from 0 to {MOST}")));
    }
    Ok((none_if_zero(time), Some(TimeUnit::Seconds.print(time))))
}

pub(super) fn time(raw: &Raw, min_millis: u64) -> Read<Duration> {
    let time = TimeUnit::Seconds.read(&scalar(raw, "a time")?)?;
    let shortest = Duration::from_millis(min_millis);
    if time < shortest {
        let shortest = TimeUnit::Seconds.print(shortest);
        return Err(Fault::expected(format!("a time of at least {shortest} s")));
    }
    Ok((time, Some(TimeUnit::Seconds.print(time))))
}

pub(super) fn text(raw: &Raw) -> Read<String> {
    let text = only_text(raw, "a text")?;
    Ok((text.to_owned(), Some(text.to_owned())))
}

pub(super) fn optional_text(raw: &Raw) -> Read<Option<String>> {
    let text = only_text(raw, "a text")?;
    let shown = text.to_owned();
    Ok(((!text.is_empty()).then(|| text.to_owned()), Some(shown)))
}

pub(super) fn secret(raw: &Raw) -> Read<Option<SecretEq>> {
    let text = only_text(raw, "a text")?;
    Ok(((!text.is_empty()).then(|| SecretEq(Secret::new(text))), None))
}

pub(super) fn file(raw: &Raw, base: &Path) -> Read<Option<PathBuf>> {
    let text = only_text(raw, "the name of a file")?;
    Ok(((!text.is_empty()).then(|| base.join(text)), Some(text.to_owned())))
}

pub(super) fn directory(raw: &Raw) -> Read<Option<PathBuf>> {
    let fault = || Fault::expected("a directory that begins with /, or \"\" for none");
    let text = only_text(raw, "the name of a directory")?;
    if !text.is_empty() && !text.starts_with('/') {
        return Err(fault());
    }
    Ok(((!text.is_empty()).then(|| PathBuf::from(text)), Some(text.to_owned())))
}

pub(super) fn list(raw: &Raw) -> Read<Vec<String>> {
    let items: Vec<String> = match raw {
        Raw::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
        Raw::List(items) => items.iter().map(|item| item.trim().to_owned()).collect(),
        Raw::Number(_) | Raw::Bool(_) => return Err(Fault::expected("a list of texts")),
    };
    let items: Vec<String> = items.into_iter().filter(|item| !item.is_empty()).collect();
    // A comma inside an item would make SHOW CONFIG lie; no user or parameter has one.
    if items.iter().any(|item| item.contains(['\0', ','])) {
        return Err(Fault::expected("a list of texts without commas"));
    }
    let shown = items.join(",");
    Ok((items, Some(shown)))
}

pub(super) fn hosts(raw: &Raw) -> Read<Vec<String>> {
    let (items, shown) = list(raw)?;
    items.iter().try_for_each(|item| units::check_listen_addr(item))?;
    Ok((items, shown))
}

pub(super) fn host(raw: &Raw) -> Read<String> {
    let (host, shown) = text(raw)?;
    units::check_host(&host)?;
    Ok((host, shown))
}

pub(super) fn address(raw: &Raw) -> Read<Option<SocketAddr>> {
    let text = only_text(raw, "an address with a port")?;
    if text.is_empty() {
        return Ok((None, None));
    }
    let fault = |_| Fault::expected("an IP address with a port such as \"127.0.0.1:9127\"");
    let address: SocketAddr = text.parse().map_err(fault)?;
    Ok((Some(address), Some(address.to_string())))
}

pub(super) fn log_level(raw: &Raw) -> Read<String> {
    let (filter, shown) = text(raw)?;
    units::check_log_level(&filter)?;
    Ok((filter, shown))
}

pub(super) fn word<W: Word>(raw: &Raw) -> Read<W> {
    let fault = || Fault::expected(format!("one of {}", units::words::<W>().join(", ")));
    let Raw::Text(text) = raw else { return Err(fault()) };
    let (value, word) = units::read_word(text)?;
    Ok((value, Some(word.to_owned())))
}

/// The text of a number, boolean or text.
fn scalar(raw: &Raw, expected: &str) -> Result<String, Fault> {
    match raw {
        Raw::Text(text) | Raw::Number(text) => Ok(text.clone()),
        Raw::Bool(flag) => Ok(flag.to_string()),
        Raw::List(_) => Err(Fault::expected(expected)),
    }
}

/// The text of a text. No setting may hold a NUL: each ends up in a path or in a message where NUL is the end.
fn only_text<'a>(raw: &'a Raw, expected: &str) -> Result<&'a str, Fault> {
    match raw {
        Raw::Text(text) if text.contains('\0') => Err(Fault::expected("a text without NUL")),
        Raw::Text(text) => Ok(text),
        Raw::Number(_) | Raw::Bool(_) => Err(Fault::expected(expected).hint("write it in quotes")),
        Raw::List(_) => Err(Fault::expected(expected)),
    }
}

fn none_if_zero(time: Duration) -> Option<Duration> {
    (!time.is_zero()).then_some(time)
}

//! How single values are written: numbers, booleans, times, words, names.
//!
//! Owns: text to value and back. Does not know: keys, files, sections.

use std::time::Duration;

use super::problem::Fault;
use super::{AuthType, LogFormat, PinOverflow, PoolMode, PoolSplit, Ratio, Runtime, SessionState, SslMode};

/// Longest time that may be configured: what PgBouncer's 32-bit seconds can say (68 years), and short enough that
/// adding it to any instant cannot overflow.
const LONGEST: Duration = Duration::from_secs(i32::MAX as u64);

/// Most bytes in the name of a database or user; PostgreSQL cuts longer ones, here they are refused (R76).
pub(super) const MAX_NAME_BYTES: usize = 63;

/// A setting whose value is one of a few words.
pub(super) trait Word: Copy + 'static {
    /// Every word with its meaning.
    const WORDS: &'static [(&'static str, Self)];
}

impl Word for PoolMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Self::Session.as_str(), Self::Session),
        (Self::Transaction.as_str(), Self::Transaction),
        (Self::Statement.as_str(), Self::Statement),
    ];
}

impl Word for SessionState {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("track", Self::Track),
        ("verify", Self::Verify),
        ("pin", Self::Pin),
        ("clean", Self::Clean),
        ("pgbouncer", Self::PgBouncer),
    ];
}

impl Word for PoolSplit {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("off", Self::Off), ("always", Self::Always)];
}

impl Word for PinOverflow {
    const WORDS: &'static [(&'static str, Self)] = &[("error", Self::Error), ("reserve", Self::Reserve)];
}

impl Word for AuthType {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("trust", Self::Trust),
        ("plain", Self::Plain),
        ("md5", Self::Md5),
        ("scram-sha-256", Self::ScramSha256),
    ];
}

impl Word for SslMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("disable", Self::Disable),
        ("allow", Self::Allow),
        ("prefer", Self::Prefer),
        ("require", Self::Require),
        ("verify-ca", Self::VerifyCa),
        ("verify-full", Self::VerifyFull),
    ];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Word for Runtime {
    const WORDS: &'static [(&'static str, Self)] = &[("reactor", Self::Reactor), ("tokio", Self::Tokio)];
}

/// The words of `W`, in order.
pub(super) fn words<W: Word>() -> Vec<&'static str> {
    W::WORDS.iter().map(|(word, _)| *word).collect()
}

/// Reads a word, in any case; answers with its canonical spelling too.
pub(super) fn read_word<W: Word>(text: &str) -> Result<(W, &'static str), Fault> {
    W::WORDS
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
        .map(|(word, value)| (*value, *word))
        .ok_or_else(|| Fault::none_of(text, &words::<W>()))
}

/// Reads a boolean: true, false, 1, 0.
pub(super) fn read_bool(text: &str) -> Result<bool, Fault> {
    let fault = || Fault::expected("true or false");
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        "on" | "yes" => Err(fault().hint("write true")),
        "off" | "no" => Err(fault().hint("write false")),
        _ => Err(fault()),
    }
}

/// Reads a whole number between two bounds.
pub(super) fn read_count(text: &str, min: u32, max: u32) -> Result<u32, Fault> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let fits = number.ok().filter(|number| (min..=max).contains(number));
    fits.ok_or_else(|| Fault::expected(format!("an integer from {min} to {max}")))
}

/// Reads a fraction from 0 to 1.
pub(super) fn read_ratio(text: &str) -> Result<Ratio, Fault> {
    let fault = || Fault::expected("a fraction from 0 to 1 such as 0.5");
    let fraction: f64 = text.parse().map_err(|_| fault())?;
    if !(0.0..=1.0).contains(&fraction) {
        return Err(fault());
    }
    let thousandths = (fraction * f64::from(Ratio::WHOLE.0)).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // from 0 to 1000
    Ok(Ratio(thousandths as u32))
}

/// How a fraction is shown.
pub(super) fn print_ratio(ratio: Ratio) -> String {
    (f64::from(ratio.0) / f64::from(Ratio::WHOLE.0)).to_string()
}

/// The base unit of a time setting: what a number without a unit means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUnit {
    /// PgBouncer's rule.
    Seconds,
    /// PgBouncer's exception, `tcp_user_timeout`.
    Milliseconds,
}

impl TimeUnit {
    fn fault(self) -> Fault {
        Fault::expected(match self {
            Self::Seconds => {
                "seconds such as 30 or 0.5, or a text such as \"500ms\", \"30s\", \"5m\", \"2h\", \"1d\""
            }
            Self::Milliseconds => "milliseconds such as 500, or a text such as \"500ms\", \"30s\", \"5m\"",
        })
    }

    /// Reads a time: a number of this unit, or a number with `ms`, `s`, `m`, `h` or `d` behind it.
    pub(super) fn read(self, text: &str) -> Result<Duration, Fault> {
        let text = text.trim();
        let number_ends = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(number_ends);
        let seconds_each = match (unit.trim_start(), self) {
            ("ms", _) | ("", Self::Milliseconds) => 0.001,
            ("s", _) | ("", Self::Seconds) => 1.0,
            ("m" | "min", _) => 60.0,
            ("h", _) => 3600.0,
            ("d", _) => 86_400.0,
            _ => return Err(self.fault()),
        };
        let number: f64 = number.parse().map_err(|_| self.fault())?;
        let time = Duration::try_from_secs_f64(number * seconds_each).map_err(|_| self.fault())?;
        if time > LONGEST {
            return Err(self.fault().hint("the longest time is 68 years"));
        }
        // Microseconds are finer than any clock used for limits; rounding keeps 0.1 printing as 0.1.
        let micros = (time.as_nanos() + 500) / 1000;
        Ok(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// The time as a plain number of this unit, the way PgBouncer prints it.
    pub(super) fn print(self, time: Duration) -> String {
        let (whole, rest, digits) = match self {
            Self::Seconds => (u128::from(time.as_secs()), time.subsec_micros(), 6),
            Self::Milliseconds => (time.as_millis(), time.subsec_micros() % 1000, 3),
        };
        if rest == 0 {
            return whole.to_string();
        }
        format!("{whole}.{rest:0digits$}").trim_end_matches('0').to_owned()
    }
}

/// Checks a host: a name, an address, or a directory for a Unix socket.
pub(super) fn check_host(host: &str) -> Result<(), Fault> {
    let fault = || Fault::expected("one host name, IP address, or /directory of a Unix socket");
    if host.starts_with('/') {
        return if host.contains('\0') { Err(fault()) } else { Ok(()) };
    }
    if host.contains(',') {
        return Err(fault().hint("lists of hosts are not supported"));
    }
    check_name_or_address(host).map_err(|hint| Fault { hint: hint.hint, ..fault() })
}

/// Checks what one item of `listen_addr` may be.
pub(super) fn check_listen_addr(addr: &str) -> Result<(), Fault> {
    if addr == "*" { Ok(()) } else { check_name_or_address(addr) }
}

fn check_name_or_address(host: &str) -> Result<(), Fault> {
    let fault = Fault::expected("host names, IP addresses or *");
    let a_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_');
    if host.parse::<std::net::IpAddr>().is_ok() || (!host.is_empty() && host.bytes().all(a_name)) {
        return Ok(());
    }
    Err(match host.rsplit_once(':') {
        Some((_, port)) if port.bytes().all(|c| c.is_ascii_digit()) => fault.hint("the port has its own key"),
        _ if host.starts_with('[') => fault.hint("write the address without brackets"),
        _ => fault,
    })
}

/// Checks a filter of log lines: a level, `target=level`, or several with commas.
pub(super) fn check_log_level(filter: &str) -> Result<(), Fault> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for item in filter.split(',') {
        let level = item.rsplit_once('=').map_or(item, |(_, level)| level).trim();
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            let fault = Fault::none_of(level, &LEVELS);
            let expected = format!("{}, or room=level such as pooler::net=debug", fault.expected);
            return Err(Fault { expected, ..fault });
        }
    }
    Ok(())
}

/// Checks the name of a database or user.
pub(super) fn check_name(name: &str) -> Result<(), Fault> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains('\0') {
        return Err(Fault::expected(format!("a name of 1 to {MAX_NAME_BYTES} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<f64> {
        TimeUnit::Seconds.read(text).ok().map(|time| time.as_secs_f64())
    }

    #[test]
    fn times_are_seconds_or_carry_a_unit() {
        for (text, expected) in [
            ("30", 30.0),
            ("0.5", 0.5),
            ("0", 0.0),
            ("500ms", 0.5),
            ("30s", 30.0),
            ("5m", 300.0),
            ("5 min", 300.0),
            ("2h", 7200.0),
            ("1d", 86_400.0),
            ("1.5h", 5400.0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        for text in ["", "s", "-1", "1w", "1.2.3", "nan", "inf", "1e9", "30 s x", "9999999999", "99999d"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert_eq!(TimeUnit::Milliseconds.read("250"), Ok(Duration::from_millis(250)));
        assert_eq!(TimeUnit::Milliseconds.read("10s"), Ok(Duration::from_secs(10)));
    }

    #[test]
    fn times_print_as_plain_numbers() {
        for text in ["0", "0.5", "3600", "0.1", "0.000001"] {
            assert_eq!(TimeUnit::Seconds.print(TimeUnit::Seconds.read(text).unwrap()), text);
        }
        assert_eq!(TimeUnit::Seconds.print(Duration::from_millis(1500)), "1.5");
        assert_eq!(TimeUnit::Milliseconds.print(Duration::from_secs(10)), "10000");
        assert_eq!(TimeUnit::Milliseconds.print(Duration::from_micros(1500)), "1.5");
    }

    #[test]
    fn counts_booleans_and_words_are_read_strictly() {
        assert_eq!(read_count("0x10", 0, 100), Ok(16));
        assert!(read_count("101", 0, 100).is_err());
        assert!(read_count("-1", 0, 100).is_err());
        assert_eq!((read_bool("TRUE"), read_bool("0")), (Ok(true), Ok(false)));
        assert_eq!(read_bool("on").unwrap_err().hint.as_deref(), Some("write true"));
        assert_eq!(read_word::<SslMode>("Verify-CA"), Ok((SslMode::VerifyCa, "verify-ca")));
        let fault = read_word::<AuthType>("scram").unwrap_err();
        assert_eq!(fault.expected, "one of trust, plain, md5, scram-sha-256");
    }

    #[test]
    fn hosts_and_filters_are_checked() {
        for host in ["localhost", "10.0.0.1", "::1", "db_1.example", "/var/run/postgresql"] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
        for host in ["", "a b", "db:5432", "a,b", "[::1]", "app@db", "@abstract"] {
            assert!(check_host(host).is_err(), "{host}");
        }
        assert_eq!(check_listen_addr("*"), Ok(()));
        let fault = check_listen_addr("127.0.0.1:6432").unwrap_err();
        assert_eq!(fault.hint.as_deref(), Some("the port has its own key"));
        assert_eq!(check_log_level("info,pooler::net=debug"), Ok(()));
        let fault = check_log_level("inof").unwrap_err();
        assert_eq!(fault.hint.as_deref(), Some("did you mean \"info\"?"));
        assert_eq!(
            fault.expected,
            "one of off, error, warn, info, debug, trace, or room=level such as pooler::net=debug"
        );
    }

    #[test]
    fn r76_names_have_at_most_63_bytes() {
        assert_eq!(check_name(&"n".repeat(63)), Ok(()));
        assert!(check_name(&"n".repeat(64)).is_err());
        assert!(check_name("").is_err());
        assert!(check_name("a\0b").is_err());
    }
}

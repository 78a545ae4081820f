//! What settings mean to each other.
//!
//! Owns: every rule that looks at more than one value, or at a file. Does not know: TOML. All faults are told; what
//! may be meant is a warning.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::document::entry_path;
use super::problem::{Fault, Report, quoted};
use super::units::check_name;
use super::{AuthType, CONSOLE_NAMES, Config, Database, SslMode, TlsSettings};

/// A source of files.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<String>;

/// Longest path of a Unix socket: `sun_path` of Linux without its NUL.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Checks a whole configuration.
pub(super) fn check(config: &Config, read_file: ReadFile<'_>, report: &mut Report) {
    check_listening(config, report);
    check_global_sizes(config, report);
    for (name, database) in &config.databases {
        check_database(name, database, config, report);
    }
    check_tls("client", &config.client_tls, report);
    check_tls("server", &config.server_tls, report);
    check_files("client", &config.client_tls, read_file, report);
    check_files("server", &config.server_tls, read_file, report);
    check_console(config, report);
    check_logins(config, report);
}

fn check_listening(config: &Config, report: &mut Report) {
    let process = &config.process;
    if process.listen_addr.is_empty() && process.unix_socket_dir.is_none() {
        let fault = Fault::expected("listen_addr or unix_socket_dir, or both").hint("nowhere to listen on");
        report.problem("pooler.listen_addr", "neither address nor socket directory", fault);
    }
    if let Some(dir) = &process.unix_socket_dir {
        check_socket_dir("pooler.unix_socket_dir", dir, process.listen_port, report);
    }
}

fn check_socket_dir(key: &str, dir: &Path, port: u16, report: &mut Report) {
    let path = dir.join(format!(".s.PGSQL.{port}"));
    let bytes = path.as_os_str().len();
    if bytes > MAX_SOCKET_PATH_BYTES {
        let fault = Fault::expected(format!("at most {MAX_SOCKET_PATH_BYTES} with the socket's name"));
        report.problem(key, format!("a path of {bytes} bytes"), fault);
    }
}

fn check_global_sizes(config: &Config, report: &mut Report) {
    let defaults = &config.defaults;
    if exceeds(defaults.min_pool_size, defaults.pool_size) {
        let fault = Fault::expected(format!("at most default_pool_size, which is {}", defaults.pool_size));
        report.problem("pooler.min_pool_size", defaults.min_pool_size.to_string(), fault);
    }
}

/// Whether a minimum is above a size, of which 0 is no limit.
const fn exceeds(min: u32, size: u32) -> bool {
    size != 0 && min > size
}

fn check_database(name: &str, database: &Database, config: &Config, report: &mut Report) {
    let place = entry_path("databases", name);
    let defaults = &config.defaults;
    let overrides = database.min_pool_size.is_some() || database.pool_size.is_some();
    let min = database.min_pool_size.unwrap_or(defaults.min_pool_size);
    let size = database.pool_size.unwrap_or(defaults.pool_size);
    if overrides && exceeds(min, size) {
        let key = if database.min_pool_size.is_some() { "min_pool_size" } else { "pool_size" };
        let fault = Fault::expected("min_pool_size not above pool_size");
        report.problem(&format!("{place}.{key}"), format!("a minimum of {min} with a size of {size}"), fault);
    }
    if database.host.starts_with('/') {
        check_socket_dir(&format!("{place}.host"), Path::new(&database.host), database.port, report);
    }
    for (key, value) in [("user", &database.user), ("dbname", &database.dbname)] {
        if let Some(Err(fault)) = value.as_deref().map(check_name) {
            report.problem(&format!("{place}.{key}"), "a name that is too long", fault);
        }
    }
    check_forced_user(&place, database, config, report);
}

fn check_forced_user(place: &str, database: &Database, config: &Config, report: &mut Report) {
    let Some(user) = &database.user else {
        if database.password.is_some() {
            let fault = Fault::expected("user beside it").hint("without it the password is not used");
            report.warn(&format!("{place}.password"), "a password without a user", fault);
        }
        return;
    };
    let listed = config.users.get(user).is_some_and(|user| user.secret.is_some());
    if database.password.is_none() && !listed {
        let fault = Fault::expected("a password here or for this user")
            .hint("the server must let it in without a password");
        report.warn(&format!("{place}.user"), format!("{} without a password", quoted(user)), fault);
    }
}

/// Checks that the files a mode needs are named.
pub(super) fn check_tls(side: &str, tls: &TlsSettings, report: &mut Report) {
    let key = |what: &str| format!("pooler.{side}_tls_{what}");
    // The key at fault stands nowhere, so the line is that of the key that makes it needed.
    let missing = |report: &mut Report, what: &str, cause: &str, why: String| {
        report.lend_place(&key(what), &key(cause));
        report.problem(&key(what), "nothing", Fault::expected(format!("a PEM file, because {why}")));
    };
    if tls.mode >= SslMode::VerifyCa && tls.ca_file.is_none() {
        missing(report, "ca_file", "sslmode", format!("{side}_tls_sslmode verifies certificates"));
    }
    let needed = side == "client" && tls.mode != SslMode::Disable;
    if tls.key_file.is_none() && (needed || tls.cert_file.is_some()) {
        let (cause, why) = if needed {
            ("sslmode", "clients may use TLS")
        } else {
            ("cert_file", "the certificate needs its key")
        };
        missing(report, "key_file", cause, why.to_owned());
    }
    if tls.cert_file.is_none() && (needed || tls.key_file.is_some()) {
        let (cause, why) = if needed {
            ("sslmode", "clients may use TLS")
        } else {
            ("key_file", "the key needs its certificate")
        };
        missing(report, "cert_file", cause, why.to_owned());
    }
}

fn check_files(side: &str, tls: &TlsSettings, read_file: ReadFile<'_>, report: &mut Report) {
    for (what, file) in [("key", &tls.key_file), ("cert", &tls.cert_file), ("ca", &tls.ca_file)] {
        let Some(path) = file else { continue };
        let key = format!("pooler.{side}_tls_{what}_file");
        match read_file(path).map(Zeroizing::new) {
            Ok(text) if text.contains("-----BEGIN ") => {}
            Ok(_) => report.problem(&key, quoted(&path.display().to_string()), Fault::expected("a PEM file")),
            Err(error) => report.problem(&key, quoted(&path.display().to_string()), unreadable(&error)),
        }
    }
}

/// The fault of a file that cannot be read.
pub(super) fn unreadable(error: &io::Error) -> Fault {
    Fault::expected("a file that can be read").hint(error.to_string())
}

fn check_console(config: &Config, report: &mut Report) {
    let console = &config.console;
    for (key, names) in [("admin_users", &console.admin_users), ("stats_users", &console.stats_users)] {
        for name in names {
            if !config.users.contains_key(name) && !CONSOLE_NAMES.contains(&name.as_str()) {
                let fault = Fault::expected("a user of [users] or auth_file").hint("nobody can log in so");
                report.warn(&format!("pooler.{key}"), quoted(name), fault);
            }
        }
    }
}

fn check_logins(config: &Config, report: &mut Report) {
    if config.databases.is_empty() {
        let fault = Fault::expected("at least one [databases.NAME]").hint("only the console can be reached");
        report.warn("databases", "none", fault);
    }
    let secrets = || {
        let secret = |user: &super::User| user.secret.as_ref().map(|secret| kind_of(secret.0.reveal()));
        config.users.iter().filter_map(move |(name, user)| Some((name, secret(user)?)))
    };
    if config.auth_type != AuthType::Trust && secrets().next().is_none() {
        let fault =
            Fault::expected("users with a password in [users] or auth_file").hint("nobody can log in");
        report.warn("users", "none with a password", fault);
    }
    for (name, kind) in secrets() {
        let place = entry_path("users", name);
        match kind {
            SecretKind::Md5 if config.auth_type == AuthType::ScramSha256 => {
                let fault = Fault::expected("plain text or a SCRAM-SHA-256 verifier")
                    .hint("with auth_type scram-sha-256 this user cannot log in");
                report.warn(&place, "an md5 hash", fault);
            }
            SecretKind::Broken => {
                let fault = Fault::expected("md5 and 32 hex digits, or a whole SCRAM-SHA-256 verifier")
                    .hint("it is taken as plain text");
                report.warn(&place, "a secret that only begins like a hash", fault);
            }
            SecretKind::Md5 | SecretKind::Scram | SecretKind::Plain => {}
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecretKind {
    Plain,
    Md5,
    Scram,
    /// Begins like a verifier but is none.
    Broken,
}

fn kind_of(secret: &str) -> SecretKind {
    if let Some(verifier) = secret.strip_prefix("SCRAM-SHA-256$") {
        let parts: Vec<&str> = verifier.split([':', '$']).collect();
        let whole =
            parts.len() == 4 && parts[0].parse::<u32>().is_ok() && parts.iter().all(|p| !p.is_empty());
        return if whole { SecretKind::Scram } else { SecretKind::Broken };
    }
    match secret.strip_prefix("md5") {
        Some(digits) if digits.len() == 32 && digits.bytes().all(|c| c.is_ascii_hexdigit()) => {
            SecretKind::Md5
        }
        // A short one is a password that happens to begin so; 32 letters are a hash with a typo.
        Some(digits) if digits.len() == 32 => SecretKind::Broken,
        Some(_) | None => SecretKind::Plain,
    }
}

//! A configuration from one URL: `postgres://app:secret@db.example:5432/shop`.
//!
//! Owns: which parts and parameters a URL may have. Does not know: files. No part of the URL before the last `@`
//! ever reaches an error (S44), nor anything that could be a part of a badly written password.

use std::path::Path;

use percent_encoding::percent_decode_str;

use super::draft::{Draft, blank_database};
use super::entry_keys::DATABASE_SETTINGS;
use super::pooler_keys::SETTINGS;
use super::problem::{Fault, Problem, Report, did_you_mean, nearest, quoted};
use super::raw::Raw;
use super::setting::Setting;
use super::units::check_name;
use super::{CONSOLE_NAMES, Config, Database, Secret, SecretEq, User};

const FORM: &str = "postgres://user:password@host:port/database";

/// Parameters of the query, with the key of `[pooler]` or of a database that each sets.
const PARAMETERS: [(&str, Target); 8] = [
    ("sslmode", Target::Pooler("server_tls_sslmode")),
    ("sslrootcert", Target::Pooler("server_tls_ca_file")),
    ("sslcert", Target::Pooler("server_tls_cert_file")),
    ("sslkey", Target::Pooler("server_tls_key_file")),
    ("host", Target::Database("host")),
    ("port", Target::Database("port")),
    ("application_name", Target::Database("application_name")),
    ("client_encoding", Target::Database("client_encoding")),
];

#[derive(Debug, Clone, Copy)]
enum Target {
    Pooler(&'static str),
    Database(&'static str),
}

/// Makes a configuration of one database and one user out of a URL, everything else at its default but for the
/// Unix socket, which is off: the pooler listens on 127.0.0.1:6432 only. Clients prove with SCRAM that they know
/// the password of the URL, and servers are logged in to with it.
///
/// # Errors
/// The first part of the URL that is missing or wrong; no error contains the password.
#[expect(clippy::result_large_err, reason = "called once in the life of a process")]
pub fn from_url(url: &str) -> Result<Config, Problem> {
    build(url).map_err(|Wrong { part, found, fault: Fault { expected, hint } }| Problem {
        file: "URL".to_owned(),
        line: None,
        key: part.to_owned(),
        found,
        expected,
        hint,
    })
}

/// What is wrong with which part of a URL.
struct Wrong {
    part: &'static str,
    found: String,
    fault: Fault,
}

fn wrong(part: &'static str, found: impl Into<String>, fault: Fault) -> Wrong {
    Wrong { part, found: found.into(), fault }
}

/// The parts of a URL, still percent-encoded.
struct Parts<'a> {
    user: &'a str,
    password: &'a str,
    host: &'a str,
    port: Option<&'a str>,
    dbname: &'a str,
    query: &'a str,
}

fn split(url: &str) -> Result<Parts<'_>, Wrong> {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| wrong("scheme", "another beginning", Fault::expected(FORM)))?;
    let authority_ends = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_ends);
    if tail.contains('@') {
        let fault =
            Fault::expected("/, ? and @ written as %2F, %3F and %40 in user, password and parameters");
        return Err(wrong("password", "***", fault));
    }
    let (userinfo, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    let (host, port) = split_address(address)?;
    Ok(Parts { user, password, host, port, dbname: path.strip_prefix('/').unwrap_or(path), query })
}

fn split_address(address: &str) -> Result<(&str, Option<&str>), Wrong> {
    let (host, after) = if let Some(bracketed) = address.strip_prefix('[') {
        let fault = || wrong("host", "a bracket that is not closed", Fault::expected("[address]"));
        bracketed.split_once(']').ok_or_else(fault)?
    } else {
        address.split_at(address.find(':').unwrap_or(address.len()))
    };
    match after.strip_prefix(':') {
        None if after.is_empty() => Ok((host, None)),
        None => Err(wrong("port", "something else behind the host", Fault::expected(":port"))),
        Some("") => Ok((host, None)),
        Some(port) => Ok((host, Some(port))),
    }
}

/// Replaces each `%xx`. The text is not shown when it is wrong: it may be the password.
fn decode(part: &'static str, text: &str) -> Result<String, Wrong> {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    if (0..bytes.len()).any(|at| bytes[at] == b'%' && !(hex(at + 1) && hex(at + 2))) {
        let fault = Fault::expected("two hex digits behind each %").hint("% itself is written %25");
        return Err(wrong(part, "***", fault));
    }
    let decoded = percent_decode_str(text).decode_utf8().ok().filter(|text| !text.contains('\0'));
    let fault = || wrong(part, "***", Fault::expected("UTF-8 without NUL"));
    decoded.map(std::borrow::Cow::into_owned).ok_or_else(fault)
}

/// Decodes the name of a user or database.
fn decode_name(part: &'static str, text: &str) -> Result<String, Wrong> {
    let name = decode(part, text)?;
    check_name(&name).map_err(|fault| wrong(part, format!("a name of {} bytes", name.len()), fault))?;
    Ok(name)
}

fn build(url: &str) -> Result<Config, Wrong> {
    let parts = split(url)?;
    let missing = |part| wrong(part, "nothing", Fault::expected(FORM));
    if parts.user.is_empty() {
        return Err(missing("user"));
    }
    if parts.password.is_empty() {
        let fault = Fault::expected(FORM).hint("without passwords, use a file with auth_type = \"trust\"");
        return Err(wrong("password", "nothing", fault));
    }
    let user = decode_name("user", parts.user)?;
    let password = decode("password", parts.password)?;
    let name = if parts.dbname.is_empty() { user.clone() } else { decode_name("database", parts.dbname)? };
    if CONSOLE_NAMES.contains(&name.as_str()) || name == super::document::FALLBACK {
        return Err(wrong(
            "database",
            quoted(&name),
            Fault::expected("another name").hint("this one is reserved"),
        ));
    }

    let mut draft = Draft::with_defaults().map_err(|fault| wrong("defaults", "a broken one", fault))?;
    set_pooler(&mut draft, "defaults", "unix_socket_dir", "")?;
    let mut database = blank_database();
    for setting in DATABASE_SETTINGS {
        setting.apply_default(&mut database).map_err(|fault| wrong("defaults", "a broken one", fault))?;
    }
    database.host.clear();
    if !parts.host.is_empty() {
        set_database(&mut database, "host", "host", &decode("host", parts.host)?)?;
    }
    if let Some(port) = parts.port {
        set_database(&mut database, "port", "port", port)?;
    }
    apply_query(parts.query, &mut draft, &mut database)?;
    if database.host.is_empty() {
        return Err(missing("host"));
    }
    let secret = Some(SecretEq(Secret::new(password)));
    draft.config.users.insert(user, User { secret, ..User::default() });
    draft.config.databases.insert(name, database);
    check_tls_files(&draft.config)?;
    Ok(draft.config)
}

fn apply_query(query: &str, draft: &mut Draft, database: &mut Database) -> Result<(), Wrong> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some((part, target)) = PARAMETERS.iter().find(|(known, _)| *known == name) else {
            return Err(unknown_parameter(name));
        };
        let value = decode("parameter", value)?;
        match target {
            Target::Pooler(key) => set_pooler(draft, part, key, &value)?,
            Target::Database(key) => set_database(database, part, key, &value)?,
        }
    }
    Ok(())
}

fn unknown_parameter(name: &str) -> Wrong {
    let known = PARAMETERS.map(|(known, _)| known);
    let fault = Fault::expected(format!("one of {}", known.join(", ")));
    let fault = match nearest(name, &known) {
        _ if ["user", "password", "dbname"].contains(&name) => fault.hint(format!("write {FORM}")),
        Some(near) => fault.hint(did_you_mean(near)),
        None => fault,
    };
    wrong("parameter", quoted(name), fault)
}

fn set_pooler(draft: &mut Draft, part: &'static str, key: &str, value: &str) -> Result<(), Wrong> {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) else { return Ok(()) };
    let raw = Raw::Text(value.to_owned());
    draft.set(setting, &raw, Path::new("")).map_err(|fault| wrong(part, quoted(value), fault))
}

/// The value is not shown: what looks like host and port may be the start of a password with a slash in it.
fn set_database(database: &mut Database, part: &'static str, key: &str, value: &str) -> Result<(), Wrong> {
    let setting: Option<&Setting<Database>> = DATABASE_SETTINGS.iter().find(|setting| setting.name == key);
    let Some(setting) = setting else { return Ok(()) };
    let raw = Raw::Text(value.to_owned());
    setting
        .apply(&raw, Path::new(""), database)
        .map(drop)
        .map_err(|fault| wrong(part, "something else", fault))
}

fn check_tls_files(config: &Config) -> Result<(), Wrong> {
    let mut report = Report::about(Path::new("URL"));
    super::check::check_tls("server", &config.server_tls, &mut report);
    match report.problems.pop() {
        None => Ok(()),
        Some(problem) => {
            let Problem { found, expected, hint, .. } = problem;
            let part = if config.server_tls.ca_file.is_none() { "sslrootcert" } else { "sslcert, sslkey" };
            Err(wrong(part, found, Fault { expected, hint }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SslMode;
    use super::*;

    fn problem(url: &str) -> String {
        from_url(url).map_or_else(|problem| problem.to_string(), |config| format!("no problem: {config:?}"))
    }

    #[test]
    fn a_url_is_one_database_and_one_user() {
        let config = from_url("postgres://app:s%40cret@db.example:5433/shop?sslmode=require").unwrap();
        assert_eq!(config.databases.keys().collect::<Vec<_>>(), ["shop"]);
        let shop = &config.databases["shop"];
        assert_eq!((shop.host.as_str(), shop.port, &shop.user), ("db.example", 5433, &None));
        assert_eq!(config.users["app"].secret.as_ref().map(|secret| secret.0.reveal()), Some("s@cret"));
        assert_eq!(config.server_tls.mode, SslMode::Require);
        assert_eq!(config.process.listen_addr, ["127.0.0.1"]);
        assert_eq!((config.process.listen_port, &config.process.unix_socket_dir), (6432, &None));
        let shown = config.shown.iter().find(|shown| shown.key == "server_tls_sslmode").unwrap();
        assert_eq!(shown.value.as_deref(), Some("require"));
    }

    #[test]
    fn the_forms_of_libpq_are_understood() {
        for (url, name, host, port) in [
            ("postgresql://app:x@db", "app", "db", 5432),
            ("postgres://app:x@db/", "app", "db", 5432),
            ("postgres://app:x@db:/shop", "shop", "db", 5432),
            ("postgres://app:x@[::1]:5433/shop", "shop", "::1", 5433),
            ("postgres://app:x@%2Frun%2Fpg/shop", "shop", "/run/pg", 5432),
            ("postgres://app:x@/shop?host=/run/pg&port=5433", "shop", "/run/pg", 5433),
            ("postgres://app:x@y@db/my%20shop", "my shop", "db", 5432),
        ] {
            let config = from_url(url).unwrap_or_else(|problem| panic!("{url}: {problem}"));
            let database = &config.databases[name];
            assert_eq!((database.host.as_str(), database.port), (host, port), "{url}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (url, part) in [
            ("mysql://app:x@db/shop", "URL: scheme: "),
            ("postgres://db/shop", "URL: user: "),
            ("postgres://app@db/shop", "URL: password: "),
            ("postgres://app:x@/shop", "URL: host: "),
            ("postgres://app:x@db:0/shop", "URL: port: "),
            ("postgres://app:x@a,b/shop", "URL: host: "),
            ("postgres://app:x@[::1/shop", "URL: host: "),
            ("postgres://app:x@db/pooler", "URL: database: "),
            ("postgres://app:x@db/shop?sslmode=sometimes", "URL: sslmode: "),
            ("postgres://app:x@db/shop?sslmode=verify-full", "URL: sslrootcert: "),
            ("postgres://app:x@db/%zz", "URL: database: "),
        ] {
            assert!(problem(url).starts_with(part), "{url}: {}", problem(url));
        }
        let told = problem("postgres://app:x@db/shop?sslmod=require");
        assert!(told.ends_with("(did you mean \"sslmode\"?)"), "{told}");
    }

    #[test]
    fn s44_no_error_of_a_url_tells_the_password() {
        for url in [
            "postgres://app:marker/marker@db/shop",
            "postgres://app:marker?marker@db/shop",
            "postgres://app:marker%zz@db/shop",
            "postgres://app:marker%00@db/shop",
            "postgres://app:marker@/shop",
            "postgres://app:marker",
            "postgres://:marker@db/shop",
            "mysql://app:marker@db/shop",
            "app:marker@db/shop",
            "postgres://app:marker@db/shop?password=marker&marker=1",
            "postgres://app:marker@db:x/shop",
        ] {
            let told = from_url(url).map_err(|problem| format!("{problem} {problem:?}")).unwrap_err();
            assert!(!told.contains("marker"), "{url}: {told}");
        }
        let config = from_url("postgres://app:marker@db/shop").unwrap();
        assert!(!format!("{config:?}").contains("marker"));
    }
}

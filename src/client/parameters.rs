//! What a client asks for in its startup packet beyond user and database.
//!
//! Owns: which startup parameters are dropped, and which of two counts. Does not know: what is done with them. Asked
//! only after authentication: nothing of it reaches a server before (R78, S8).

use crate::config::Config;
use crate::proto::{PgError, StartupMessage, parse_options};

/// Parameters that are followed for every client, in PostgreSQL's spelling.
const TRACKED: [&str; 8] = [
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "standard_conforming_strings",
    "application_name",
    "IntervalStyle",
    "search_path",
    "default_transaction_read_only",
];

/// A parameter's name with the value a client wants for it.
pub type Wanted = (String, Vec<u8>);

/// The values this client wants, each parameter once. What stands directly in the packet wins over what stands in
/// `options`, as in PostgreSQL, which judges them later.
///
/// # Errors
/// FATAL for a text in `options` that PostgreSQL would not read.
pub fn choose_parameters(message: &StartupMessage, config: &Config) -> Result<Vec<Wanted>, PgError> {
    let mut chosen = Vec::new();
    let options = match &message.options {
        Some(text) => parse_options(text)?,
        None => Vec::new(),
    };
    let drops_options = is_ignored("options", config);
    for (name, value) in &options {
        let unfollowed = spelling(name, config).is_none();
        if !(is_ignored(name, config) || drops_options && unfollowed) {
            choose(&mut chosen, name, value, config);
        }
    }
    for (name, value) in &message.parameters {
        if !is_ignored(name, config) {
            choose(&mut chosen, name, value, config);
        }
    }
    Ok(chosen)
}

/// How a followed parameter is spelled.
fn spelling<'a>(name: &str, config: &'a Config) -> Option<&'a str> {
    let extra = config.track_extra_parameters.iter().map(String::as_str);
    TRACKED.into_iter().chain(extra).find(|known| known.eq_ignore_ascii_case(name))
}

fn is_ignored(name: &str, config: &Config) -> bool {
    // Who logs in says the packet's `user`; PostgreSQL passes over this.
    name.eq_ignore_ascii_case("session_authorization")
        || config.ignore_startup_parameters.iter().any(|ignored| ignored.eq_ignore_ascii_case(name))
}

fn choose(chosen: &mut Vec<Wanted>, name: &str, value: &[u8], config: &Config) {
    let name = spelling(name, config).unwrap_or(name);
    let value = if name == "application_name" && !value.is_ascii() {
        question_marks(value) // a name for humans, perhaps in another encoding: as PostgreSQL shows it
    } else {
        value.to_owned()
    };
    chosen.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    chosen.push((name.to_owned(), value));
}

fn question_marks(value: &[u8]) -> Vec<u8> {
    value.iter().map(|&b| if b.is_ascii() { b } else { b'?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::test_config::config;
    use crate::proto::{SqlState, StartupPacket};

    fn chosen(pairs: &[(&str, &[u8])]) -> Result<Vec<Wanted>, PgError> {
        let mut body = b"\0\0\0\0\0\x03\0\0user\0bob\0".to_vec();
        for (name, value) in pairs {
            body.extend([name.as_bytes(), b"\0", value, b"\0"].concat());
        }
        body.push(0);
        let length = u32::try_from(body.len()).unwrap();
        body[..4].copy_from_slice(&length.to_be_bytes());
        let Ok(StartupPacket::Login(message)) = StartupPacket::parse(&body) else { panic!() };
        let mut config = config();
        config.track_extra_parameters = vec!["lc_Messages".into()];
        config.ignore_startup_parameters = vec!["extra_float_digits".into()];
        choose_parameters(&message, &config)
    }

    fn pairs(chosen: Result<Vec<Wanted>, PgError>) -> Vec<String> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        chosen.unwrap().into_iter().map(|(name, value)| format!("{name}={}", text(&value))).collect()
    }

    #[test]
    fn each_parameter_is_wanted_once_and_followed_ones_in_their_own_spelling() {
        let got = chosen(&[
            ("DATESTYLE", b"ISO"),
            ("LC_MESSAGES", b"C"),
            ("timezone", b"UTC"),
            ("datestyle", b"German"),
            ("Extra_Float_Digits", b"3"),
            ("my.setting", b"x"),
        ]);
        assert_eq!(pairs(got), ["lc_Messages=C", "TimeZone=UTC", "DateStyle=German", "my.setting=x"]);
    }

    #[test]
    fn t10_t15_others_are_for_postgresql_to_judge() {
        assert_eq!(
            pairs(chosen(&[("statement_timeout", b"5"), ("nonsense", b"1")])),
            ["statement_timeout=5", "nonsense=1"]
        );
        assert_eq!(chosen(&[("options", b"-x")]).unwrap_err().code, SqlState::SYNTAX_ERROR);
    }

    #[test]
    fn t13_r79_options_set_what_the_packet_does_not() {
        let got = chosen(&[
            ("search_path", b"mine"),
            ("options", br"-c search_path=theirs --TimeZone=Etc/UTC -cdatestyle=ISO,\ MDY -c geqo=off"),
        ]);
        assert_eq!(pairs(got), ["TimeZone=Etc/UTC", "DateStyle=ISO, MDY", "geqo=off", "search_path=mine"]);
    }

    #[test]
    fn a_name_for_humans_may_be_in_any_encoding() {
        assert_eq!(pairs(chosen(&[("application_name", b"B\xfcro")])), ["application_name=B?ro"]);
    }
}

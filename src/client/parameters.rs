//! What a client asks for in its startup packet beyond user and database.
//!
//! Owns: which startup parameters are followed, dropped, or refused. Does not know: what is done with them. Asked
//! only after authentication: nothing of it reaches a server before (R78, S8).

use crate::config::Config;
use crate::proto::{PgError, SqlState, StartupMessage, clip_name, parse_options};

/// Parameters that are followed for every client, in PostgreSQL's spelling.
const TRACKED: [&str; 7] = [
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "standard_conforming_strings",
    "application_name",
    "IntervalStyle",
    "search_path",
];

/// The values this client wants for the parameters that are followed, each once, spelled as it is followed. What
/// stands directly in the packet wins over what stands in `options`, as in PostgreSQL.
///
/// # Errors
/// FATAL for a parameter that is neither followed nor to be ignored, for a text in `options` that is no list of
/// settings, and for a value that is no text.
pub fn choose_parameters(
    message: &StartupMessage,
    config: &Config,
) -> Result<Vec<(String, String)>, PgError> {
    let mut chosen = Vec::new();
    let options = match &message.options {
        Some(text) => parse_options(text)
            .map_err(|error| PgError::fatal(SqlState::PROTOCOL_VIOLATION, error.to_string()))?,
        None => Vec::new(),
    };
    let drops_options = is_ignored("options", config);
    for (name, value) in &options {
        match judge(name, config) {
            Verdict::Track(spelling) => choose(&mut chosen, spelling, value)?,
            Verdict::Drop => {}
            Verdict::Refuse if drops_options => {}
            Verdict::Refuse => return Err(unsupported("unsupported startup parameter in options", name)),
        }
    }
    for (name, value) in &message.parameters {
        match judge(name, config) {
            Verdict::Track(spelling) => choose(&mut chosen, spelling, value)?,
            Verdict::Drop => {}
            Verdict::Refuse => return Err(unsupported("unsupported startup parameter", name)),
        }
    }
    Ok(chosen)
}

enum Verdict<'a> {
    Track(&'a str),
    Drop,
    Refuse,
}

fn judge<'a>(name: &str, config: &'a Config) -> Verdict<'a> {
    let extra = config.track_extra_parameters.iter().map(String::as_str);
    if let Some(spelling) = TRACKED.into_iter().chain(extra).find(|known| known.eq_ignore_ascii_case(name)) {
        return Verdict::Track(spelling);
    }
    // A name with a dot is a custom setting, which PostgreSQL accepts whatever it is (R78).
    if name.contains('.') || is_ignored(name, config) { Verdict::Drop } else { Verdict::Refuse }
}

fn is_ignored(name: &str, config: &Config) -> bool {
    config.ignore_startup_parameters.iter().any(|ignored| ignored.eq_ignore_ascii_case(name))
}

fn unsupported(what: &str, name: &str) -> PgError {
    PgError::fatal(SqlState::FEATURE_NOT_SUPPORTED, format!("{what}: {}", clip_name(name)))
}

fn choose(chosen: &mut Vec<(String, String)>, name: &str, value: &[u8]) -> Result<(), PgError> {
    let value = match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        // A name for humans, perhaps in another encoding: PostgreSQL shows what it cannot show as `?`, too.
        Err(_) if name == "application_name" => question_marks(value),
        Err(_) => {
            let text = format!("invalid value for parameter \"{}\"", clip_name(name));
            return Err(PgError::fatal(SqlState::INVALID_PARAMETER_VALUE, text));
        }
    };
    chosen.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    chosen.push((name.to_owned(), value));
    Ok(())
}

fn question_marks(value: &[u8]) -> String {
    value.iter().map(|&b| if b.is_ascii() { char::from(b) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::test_config::config;
    use crate::proto::StartupPacket;

    fn chosen(pairs: &[(&str, &[u8])]) -> Result<Vec<(String, String)>, PgError> {
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

    fn pairs(chosen: Result<Vec<(String, String)>, PgError>) -> Vec<String> {
        chosen.unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn followed_parameters_come_back_in_their_own_spelling_once_each() {
        let got = chosen(&[
            ("DATESTYLE", b"ISO"),
            ("LC_MESSAGES", b"C"),
            ("timezone", b"UTC"),
            ("datestyle", b"German"),
            ("Extra_Float_Digits", b"3"),
            ("my.setting", b"x"),
        ]);
        assert_eq!(pairs(got), ["lc_Messages=C", "TimeZone=UTC", "DateStyle=German"]);
    }

    #[test]
    fn r78_other_parameters_are_refused_by_name() {
        let error = chosen(&[("statement_timeout", b"5")]).unwrap_err();
        assert_eq!(error.code, SqlState::FEATURE_NOT_SUPPORTED);
        assert_eq!(error.message, "unsupported startup parameter: statement_timeout");
        let error = chosen(&[("options", b"-c statement_timeout=5")]).unwrap_err();
        assert_eq!(error.message, "unsupported startup parameter in options: statement_timeout");
        assert_eq!(chosen(&[("options", b"-d 5")]).unwrap_err().code, SqlState::PROTOCOL_VIOLATION);
    }

    #[test]
    fn r79_options_set_what_the_packet_does_not() {
        let got = chosen(&[
            ("search_path", b"mine"),
            ("options", br"-c search_path=theirs --TimeZone=Etc/UTC -cdatestyle=ISO,\ MDY "),
        ]);
        assert_eq!(pairs(got), ["TimeZone=Etc/UTC", "DateStyle=ISO, MDY", "search_path=mine"]);
    }

    #[test]
    fn a_name_for_humans_may_be_in_any_encoding_and_other_values_may_not() {
        assert_eq!(pairs(chosen(&[("application_name", b"B\xfcro")])), ["application_name=B?ro"]);
        let error = chosen(&[("search_path", b"B\xfcro")]).unwrap_err();
        assert_eq!(error.code, SqlState::INVALID_PARAMETER_VALUE);
    }
}

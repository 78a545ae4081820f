//! One value of the file before anybody knows which kind it should be.
//!
//! Owns: `${NAME}` from the environment, TOML value to text, and how a value may be quoted in a problem.
//! Does not know: keys and their kinds.

use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Fault, quoted};

/// A source of environment variables.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value as it was written, variables replaced.
#[derive(Clone)]
pub(super) enum Raw {
    /// A quoted text.
    Text(String),
    /// An integer or float, in decimal.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
    /// An array of texts.
    List(Vec<String>),
}

impl Raw {
    /// Reads a value of the file.
    ///
    /// # Errors
    /// A variable that is not set, or a kind of value that no setting has.
    pub(super) fn read(value: &DeValue<'_>, env: Env<'_>, secret: bool) -> Result<Self, Fault> {
        Ok(match value {
            DeValue::String(text) => Self::Text(expand(text, env, secret)?),
            DeValue::Integer(integer) => {
                Self::Number(match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(number) => number.to_string(),
                    Err(_) => integer.as_str().to_owned(),
                })
            }
            DeValue::Float(float) => Self::Number(match float.as_str().parse::<f64>() {
                Ok(number) => number.to_string(),
                Err(_) => float.as_str().to_owned(),
            }),
            DeValue::Boolean(flag) => Self::Bool(*flag),
            DeValue::Array(items) => Self::List(
                items.iter().map(|item| read_item(item, env, secret)).collect::<Result<Vec<_>, _>>()?,
            ),
            DeValue::Datetime(_) | DeValue::Table(_) => {
                return Err(Fault::expected("a text, number, boolean or list"));
            }
        })
    }
}

fn read_item(item: &Spanned<DeValue<'_>>, env: Env<'_>, secret: bool) -> Result<String, Fault> {
    match item.get_ref() {
        DeValue::String(text) => expand(text, env, secret),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_)
        | DeValue::Table(_) => Err(Fault::expected("a list of texts")),
    }
}

/// A value as it may stand in a problem: as written, before variables are replaced, so that what the environment
/// holds is never shown.
pub(super) fn shown(value: &DeValue<'_>, secret: bool) -> String {
    if secret {
        return "***".to_owned();
    }
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => float.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(items) if items.iter().all(|item| item.get_ref().is_str()) => {
            let items: Vec<String> =
                items.iter().filter_map(|item| item.get_ref().as_str()).map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Array(items) => match items.iter().find(|item| !item.get_ref().is_str()) {
            Some(item) => format!("{} in a list", shown(item.get_ref(), false)),
            None => "a list".to_owned(),
        },
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Replaces `${NAME}` by the variable and `$$` by `$`; any other `$` stands for itself, as in SCRAM verifiers.
fn expand(text: &str, env: Env<'_>, secret: bool) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = tail.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(after) = tail.strip_prefix("${") {
            let (name, after) = variable(text, after, secret)?;
            let Some(value) = env(name) else {
                let name = if shows_only_a_name(text, secret) { name } else { "in it" };
                return Err(
                    Fault::expected("variables that are set").hint(format!("variable {name} is not set"))
                );
            };
            out.push_str(&value);
            rest = after;
        } else {
            out.push('$');
            rest = &tail[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn variable<'a>(text: &str, after: &'a str, secret: bool) -> Result<(&'a str, &'a str), Fault> {
    let fault = Fault::expected("${NAME} with a name of letters, digits and _").hint("$$ stands for one $");
    let a_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
    };
    match after.split_once('}') {
        Some((name, after)) if a_name(name) => Ok((name, after)),
        Some((name, _)) if name.contains(":-") && shows_only_a_name(text, secret) => {
            Err(fault.hint("defaults inside ${} are not supported"))
        }
        Some(_) | None => Err(fault),
    }
}

/// Whether a variable's name may be told: in a secret only if nothing else stands beside it, because then it may
/// be a part of the secret that merely looks like a variable.
fn shows_only_a_name(text: &str, secret: bool) -> bool {
    !secret || (text.starts_with("${") && text.find('}') == Some(text.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "PORT").then(|| "6000".to_owned())
    }

    #[test]
    fn variables_are_replaced_and_other_dollars_stay() {
        for (text, expected) in [
            ("${PORT}", "6000"),
            ("a${PORT}b${PORT}", "a6000b6000"),
            ("$$", "$"),
            ("$${PORT}", "${PORT}"),
            ("SCRAM-SHA-256$4096:c2FsdA==$a:b", "SCRAM-SHA-256$4096:c2FsdA==$a:b"),
            ("costs 5$", "costs 5$"),
        ] {
            assert_eq!(expand(text, &env, false).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${NONE}", "${", "${PORT", "${}", "${PORT:-1}", "${1}"] {
            assert!(expand(text, &env, false).is_err(), "{text}");
        }
        assert_eq!(
            expand("${NONE}", &env, true).unwrap_err().hint.as_deref(),
            Some("variable NONE is not set")
        );
    }

    #[test]
    fn s44_a_secret_with_a_dollar_brace_in_it_is_not_told() {
        for text in ["x${marker}y", "${marker", "marker${:-marker}"] {
            let fault = expand(text, &env, true).unwrap_err();
            assert!(!format!("{fault:?}").contains("marker"), "{fault:?}");
        }
    }
}

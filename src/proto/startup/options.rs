//! The startup parameter `options`: a command line for the server, of which only settings are taken.
//!
//! Owns: the splitting and the three ways to write a setting. Does not know: which settings are welcome.

/// Why the text is not a list of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A switch that sets nothing, or a setting without `=`.
    #[error("unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed")]
    NotASetting,
}

/// Reads `-c name=value`, `-cname=value` and `--name=value`, as PostgreSQL's `pg_split_opts` and
/// `process_postgres_switches` do: blanks separate, a backslash takes the next byte as it is, `-` in a name means
/// `_`, and `+` is an ordinary byte (R79). A blank at the end is nothing special.
///
/// # Errors
/// Anything else, and names that are not UTF-8.
pub fn parse_options(text: &[u8]) -> Result<Vec<(String, Vec<u8>)>, OptionsError> {
    let mut settings = Vec::new();
    let mut words = split_words(text).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.as_slice() {
            b"-c" => words.next().ok_or(OptionsError::NotASetting)?,
            [b'-', b'c' | b'-', setting @ ..] => setting.to_vec(),
            _ => return Err(OptionsError::NotASetting),
        };
        settings.push(split_setting(&setting)?);
    }
    Ok(settings)
}

fn split_setting(setting: &[u8]) -> Result<(String, Vec<u8>), OptionsError> {
    let equals = setting.iter().position(|&b| b == b'=').filter(|&at| at > 0);
    let (name, value) = setting.split_at(equals.ok_or(OptionsError::NotASetting)?);
    let name = std::str::from_utf8(name).map_err(|_| OptionsError::NotASetting)?;
    Ok((name.replace('-', "_"), value[1..].to_vec()))
}

fn split_words(text: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r' => words.extend(word.take()),
            b'\\' => {
                // At the very end a backslash stands for nothing, but it still began a word.
                word.get_or_insert_default().extend(bytes.next());
            }
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

//! Texts and what they may do to their session: by table here, by property beside.

mod lexical;
mod properties;
mod statements;

use super::*;

/// As most clients are.
const USUAL: Reading = Reading { standard_strings: true, ascii_safe: true };
/// With standard_conforming_strings off.
const ESCAPING: Reading = Reading { standard_strings: false, ascii_safe: true };
/// In an encoding in which bytes below 0x80 can be part of a longer character.
const UNSAFE: Reading = Reading { standard_strings: true, ascii_safe: false };

fn features(text: &str) -> Features {
    digest(text.as_bytes(), USUAL).map_or(Features::NOTHING, |digest| digest.features)
}

fn settings(text: &str) -> Vec<String> {
    let digest = digest(text.as_bytes(), USUAL).unwrap_or_default();
    digest.settings.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Fails unless each text has exactly these features.
#[track_caller]
fn all_are(expected: Features, texts: &[&str]) {
    for text in texts {
        assert_eq!(features(text), expected, "{text}");
    }
}

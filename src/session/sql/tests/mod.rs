//! Texts and what they may do to their session.

use super::*;

/// As most clients are.
const USUAL: Reading = Reading { standard_strings: true, ascii_safe: true };

fn features(text: &str) -> Features {
    digest(text.as_bytes(), USUAL).map_or(Features::NONE, |digest| digest.features)
}

#[test]
fn a_first_look() {
    assert_eq!(features("select 1"), Features::NONE);
    assert_eq!(features("set x = 1"), Features::SET);
}

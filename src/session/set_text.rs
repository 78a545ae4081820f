//! SET with its value written out: unlike `set_config`, it takes no snapshot, so that in a transaction block what only
//! may come first, or see what others commit meanwhile, still may.

use super::settings::SEARCH_PATH;
use crate::proto::put_identifier;

/// Settings besides the search path whose values are lists of names: written out, they would be one name.
const LISTS: [&[u8]; 4] = [
    b"temp_tablespaces",
    b"local_preload_libraries",
    b"session_preload_libraries",
    b"shared_preload_libraries",
];

/// The statement that gives a setting a value, or `None` if it cannot be written out such that it is read as this
/// value in any encoding, and shown as it is.
pub(super) fn set_text(name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let is_plain = |text: &[u8]| text.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_plain(name) || !is_plain(value) || LISTS.iter().any(|list| name.eq_ignore_ascii_case(list)) {
        return None;
    }
    let mut sql = b"SET ".to_vec();
    // A custom setting has a name of several words.
    for (i, word) in name.split(|&byte| byte == b'.').enumerate() {
        sql.extend((i > 0).then_some(b'.'));
        put_identifier(&mut sql, word);
    }
    sql.extend(b" TO ");
    if name.eq_ignore_ascii_case(SEARCH_PATH) {
        for (i, schema) in schemas(value)?.enumerate() {
            sql.extend(if i > 0 { &b", "[..] } else { b"" });
            put_identifier(&mut sql, schema);
        }
    } else {
        put_string(&mut sql, value);
    }
    Some(sql)
}

/// A string constant that is read alike whatever `standard_conforming_strings` is.
fn put_string(sql: &mut Vec<u8>, value: &[u8]) {
    sql.extend(b"E'");
    for &byte in value {
        sql.extend(std::iter::repeat_n(byte, if matches!(byte, b'\'' | b'\\') { 2 } else { 1 }));
    }
    sql.push(b'\'');
}

/// The schemas of a search path that is written as PostgreSQL writes one; of any other `None`.
fn schemas(value: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let bare = |word: &[u8]| {
        matches!(word.first(), Some(b'a'..=b'z' | b'_'))
            && word.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    let schema = move |word: &'_ [u8]| -> bool { word == b"\"$user\"" || bare(word) };
    let words = || {
        value
            .split(|&byte| byte == b',')
            .enumerate()
            .map(|(i, word)| if i == 0 { Some(word) } else { word.strip_prefix(b" ") })
    };
    words().all(|word| word.is_some_and(schema)).then(|| {
        words()
            .flatten()
            .map(|word| word.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\"")).unwrap_or(word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(name: &str, value: &str) -> Option<String> {
        set_text(name.as_bytes(), value.as_bytes()).map(|sql| String::from_utf8(sql).unwrap())
    }

    #[test]
    fn s34_values_and_names_cannot_leave_their_quotes() {
        assert_eq!(said("work_mem", "7MB").unwrap(), r#"SET "work_mem" TO E'7MB'"#);
        assert_eq!(said("my.own", r"it's \' ok").unwrap(), r#"SET "my"."own" TO E'it''s \\'' ok'"#);
        assert_eq!(said(r#"a" TO 1; --"#, "x").unwrap(), r#"SET "a"" TO 1; --" TO E'x'"#);
    }

    #[test]
    fn a_list_of_names_is_written_as_one_or_not_at_all() {
        assert_eq!(said("search_path", "mine").unwrap(), r#"SET "search_path" TO "mine""#);
        assert_eq!(
            said("search_path", r#""$user", public"#).unwrap(),
            r#"SET "search_path" TO "$user", "public""#
        );
        for other in ["mine,public", "", r#""A b""#, "Mine", r#""a"", "b""#, "'x'"] {
            assert_eq!(said("search_path", other), None, "{other}");
        }
        assert_eq!(said("temp_tablespaces", "a, b"), None);
    }

    #[test]
    fn what_encodings_read_differently_is_not_written_out() {
        assert_eq!(said("application_name", "Bü"), None);
        assert_eq!(said("application_name", "a\nb"), None);
    }
}

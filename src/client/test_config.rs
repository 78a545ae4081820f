//! A configuration for tests of this room.

use std::collections::BTreeMap;

use crate::config::{Config, ConsoleRights, Secret, SecretEq, User, sample};

/// SCRAM for everybody; users `bob` (password `secret`), `ann` (MD5 of `secret`), `eve` (no password), `admin` and
/// `stats` (password `secret`); databases `app` and `shop`.
pub(super) fn config() -> Config {
    Config {
        console: ConsoleRights { admin_users: vec!["admin".into()], stats_users: vec!["stats".into()] },
        databases: ["app", "shop"].map(|name| (name.to_owned(), sample::database())).into(),
        users: users(),
        ..sample::config()
    }
}

fn users() -> BTreeMap<String, User> {
    let user = |secret: Option<&str>| User {
        secret: secret.map(|text| SecretEq(Secret::new(text))),
        ..User::default()
    };
    let md5 = "md59d792a3a8853c2411afb9163d088c036";
    BTreeMap::from([
        ("bob".to_owned(), user(Some("secret"))),
        ("ann".to_owned(), user(Some(md5))),
        ("eve".to_owned(), user(None)),
        ("admin".to_owned(), user(Some("secret"))),
        ("stats".to_owned(), user(Some("secret"))),
        ("pooler".to_owned(), user(Some("secret"))),
    ])
}

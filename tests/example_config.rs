//! `pooler.toml.example` is the reference of every setting: complete, true and loadable.
//!
//! In it `#key = value` is a setting at its default, `# text` and `## text` are words for humans.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::io;
use std::path::Path;

use pooler::config::{DATABASE_SETTINGS, Fallback, Loaded, SETTINGS, Setting, USER_SETTINGS, parse};

const EXAMPLE: &str = include_str!("../pooler.toml.example");

fn load(text: &str) -> Loaded {
    let no_file = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let loaded = parse(text, Path::new("pooler.toml.example"), &|_| None, &no_file);
    loaded.unwrap_or_else(|problems| panic!("{problems}"))
}

/// The example with every setting in force.
fn uncommented() -> String {
    let is_setting = |line: &str| line.starts_with(|c: char| c.is_ascii_lowercase()) && line.contains(" = ");
    let line = |line: &'static str| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line);
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The lines of one section.
fn section(header: &str) -> Vec<&'static str> {
    let lines = EXAMPLE.lines().skip_while(|line| *line != header).skip(1);
    lines.take_while(|line| !line.starts_with('[')).collect()
}

/// Every setting stands exactly once in its section, below its line of meaning and unit.
fn assert_explained<T>(header: &str, settings: &[Setting<T>]) {
    let lines = section(header);
    for setting in settings {
        let assignment = format!("{} = ", setting.name);
        let places: Vec<usize> = (0..lines.len())
            .filter(|at| lines[*at].strip_prefix('#').unwrap_or(lines[*at]).starts_with(&assignment))
            .collect();
        assert_eq!(places.len(), 1, "{header} {} stands there {} times", setting.name, places.len());
        let words: Vec<&str> =
            lines[..places[0]].iter().rev().take_while(|line| line.starts_with("# ")).copied().collect();
        let meaning = format!("# {} [{}]", setting.meaning, setting.unit());
        assert_eq!(words.last(), Some(&meaning.as_str()), "{header} {}", setting.name);
    }
}

#[test]
fn the_example_loads_without_a_warning() {
    let Loaded { config, warnings } = load(EXAMPLE);
    assert_eq!(warnings, []);
    assert_eq!((config.databases.len(), config.users.len()), (1, 1));
    assert!(config.database("shop").is_some() && config.users["app"].secret.is_some());
}

#[test]
fn every_setting_stands_there_once_with_its_meaning() {
    assert_explained("[pooler]", SETTINGS);
    assert_explained("[databases.shop]", DATABASE_SETTINGS);
    assert_explained("[users.app]", USER_SETTINGS);
}

#[test]
fn every_global_setting_stands_there_with_its_true_default() {
    let text = uncommented();
    let table: toml::Table = text.parse().unwrap();
    assert_eq!(table["pooler"].as_table().unwrap().len(), SETTINGS.len());
    assert_eq!(load(&text).config.shown, load("").config.shown);
}

#[test]
fn every_setting_of_an_entry_stands_there_with_its_true_default() {
    let table: toml::Table = uncommented().parse().unwrap();
    let is_true = |name: &str, default: Fallback, value: &toml::Value| match default {
        Fallback::Is(text) => value.as_str().map_or_else(|| value.to_string(), str::to_owned) == text,
        Fallback::Unset => value.as_str() == Some("") || name == "password",
        Fallback::Inherits(key) => *value == table["pooler"][key],
    };
    let database = table["databases"]["shop"].as_table().unwrap();
    for setting in DATABASE_SETTINGS {
        assert!(is_true(setting.name, setting.default, &database[setting.name]), "{setting:?}");
    }
    assert_eq!(database.len(), DATABASE_SETTINGS.len());
    let user = table["users"]["app"].as_table().unwrap();
    for setting in USER_SETTINGS {
        assert!(is_true(setting.name, setting.default, &user[setting.name]), "{setting:?}");
    }
    assert_eq!(user.len(), USER_SETTINGS.len());
}

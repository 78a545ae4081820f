//! The exported page, read back by the rules of the text format.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::config::PoolMode;

const BUILD: BuildInfo = BuildInfo { version: "9.8.7" };

fn pool(database: &str, user: &str, xacts: u64) -> PoolSnapshot {
    PoolSnapshot {
        database: database.into(),
        user: user.into(),
        mode: PoolMode::Transaction,
        cl_active: 3,
        cl_waiting: 2,
        cl_active_cancel_req: 0,
        cl_waiting_cancel_req: 0,
        sv_active: 1,
        sv_active_cancel: 0,
        sv_being_canceled: 0,
        sv_idle: 4,
        sv_used: 0,
        sv_tested: 0,
        sv_login: 0,
        maxwait: Duration::from_millis(1500),
        pool_size: 20,
        paused: false,
        counters: Counters { xacts, wait_us: 2_500_000, errors: [1, 2, 3, 4, 5, 6], ..Counters::default() },
    }
}

fn worker(worker: usize, pools: Vec<PoolSnapshot>) -> WorkerSnapshot {
    WorkerSnapshot { worker, pools, clients_in_login: 1, failed_logins: 5, ..WorkerSnapshot::default() }
}

/// Series and values, after checking what promtool checks: HELP and TYPE before samples, each family once, no
/// series twice, legal names, `_total` exactly on counters.
fn read(page: &str) -> BTreeMap<String, f64> {
    let mut kinds = BTreeMap::new();
    let mut helped = BTreeSet::new();
    let mut series = BTreeMap::new();
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a help text");
            assert!(!text.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(helped.contains(name), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
        } else {
            let (labels, value) = line.rsplit_once(' ').expect("a value");
            let name = labels.split('{').next().expect("a name");
            assert!(name.starts_with("pooler_"), "{line}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            assert!(kinds.contains_key(name), "{line}");
            check_labels(labels.strip_prefix(name).expect("the rest"));
            let value: f64 = value.parse().expect("a number");
            assert!(value >= 0.0 && series.insert(labels.to_owned(), value).is_none(), "{line}");
        }
    }
    series
}

/// `{a="b",c="d"}` with `\\`, `\"` and `\n` as the only escapes.
fn check_labels(labels: &str) {
    let mut rest = labels.strip_prefix('{').expect("labels").strip_suffix('}').expect("an end");
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"").expect("a label");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{labels}");
        let mut chars = behind.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (_, '\\') => assert!(matches!(chars.next(), Some((_, '\\' | '"' | 'n'))), "{labels}"),
                (end, '"') => break end,
                (_, char) => assert_ne!(char, '\n'),
            }
        };
        rest = &behind[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[test]
fn the_page_is_valid_and_parts_of_a_pool_are_one_series() {
    let workers = [
        worker(0, vec![pool("shop", "web", 10)]),
        worker(1, vec![pool("shop", "web", 5), pool("a", "b", 1)]),
    ];
    let page = render(&workers, BUILD).unwrap();
    let series = read(&page);
    let web = r#"database="shop",user="web""#;
    for (name, value) in [
        (r#"pooler_build_info{version="9.8.7"}"#.to_owned(), 1.0),
        (format!("pooler_transactions_total{{{web}}}"), 15.0),
        (r#"pooler_clients{database="shop",state="waiting",user="web"}"#.to_owned(), 4.0),
        (r#"pooler_servers{database="shop",state="idle",user="web"}"#.to_owned(), 8.0),
        (format!("pooler_longest_wait_seconds{{{web}}}"), 1.5),
        (format!("pooler_wait_seconds_total{{{web}}}"), 5.0),
        (format!("pooler_pool_size{{{web}}}"), 20.0),
        (format!("pooler_pool_paused{{{web}}}"), 0.0),
        (format!("pooler_errors_total{{class=\"wait_timeout\",{web}}}"), 8.0),
        (r#"pooler_worker_failed_logins_total{worker="1"}"#.to_owned(), 5.0),
        (r#"pooler_worker_clients_in_login{worker="0"}"#.to_owned(), 1.0),
    ] {
        assert_eq!(series.get(&name), Some(&value), "{name} in\n{page}");
    }
}

#[test]
fn s47_f75_names_cannot_inject_lines_or_labels() {
    let names = ["a\"} 1\npooler_fake_total 9", "back\\slash", "comma\",user=\"x", "tab\tnul\0", "ä{}", ""];
    let pools = names.iter().map(|name| pool(name, name, 1)).collect();
    let page = render(&[worker(0, pools)], BUILD).unwrap();
    let series = read(&page);
    assert!(!series.keys().any(|key| key.starts_with("pooler_fake")));
    assert_eq!(series.keys().filter(|key| key.starts_with("pooler_transactions_total")).count(), names.len());
}

#[test]
fn s47_the_number_of_label_sets_is_bounded_and_nothing_is_lost() {
    let pools: Vec<_> = (0..MAX_POOLS as u64 + 500).map(|i| pool(&format!("db{i}"), "u", i)).collect();
    let sum: u64 = pools.iter().map(|pool| pool.counters.xacts).sum();
    let series = read(&render(&[worker(0, pools)], BUILD).unwrap());
    let xacts: Vec<_> =
        series.iter().filter(|(key, _)| key.starts_with("pooler_transactions_total")).collect();
    assert_eq!(xacts.len(), MAX_POOLS + 1);
    assert_eq!(xacts.iter().map(|(_, value)| **value).sum::<f64>().to_string(), sum.to_string());
    assert!(series.contains_key(r#"pooler_transactions_total{database="other",user="other"}"#));
    assert!(
        series.contains_key(r#"pooler_transactions_total{database="db1499",user="u"}"#),
        "busy ones stay"
    );
}

#[test]
fn nothing_running_is_a_valid_page() {
    assert_eq!(read(&render(&[], BUILD).unwrap()).len(), 1);
}

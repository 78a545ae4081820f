//! The scripts of `differential` once more, with a newer PostgreSQL as the reference and behind the pooler. It speaks
//! protocol 3.2, reports more parameters and words some errors anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../differential/main.rs"]
mod differential;

use differential::common::pooler::quoted;
use differential::common::raw::cancel;
use differential::common::{Login, PoolerConfig, Raw, Target, brief, eventually, msg};
use differential::*;

/// Protocol 3.2, where the server speaks it and the pooler does not.
const V3_2: u32 = 0x0003_0002;
/// Bytes of a cancel key, process number included: since 3.2 the secret is longer, here as long as PostgreSQL makes it.
const LONG_KEY: usize = 36;
const SHORT_KEY: usize = 8;

#[test]
fn the_reference_is_newer() {
    let number: u32 = cluster().value("show server_version_num").parse().unwrap();
    assert!(number >= 180_000, "{number}");
}

/// A client that asks for 3.2 gets it from PostgreSQL, with a long cancel key. Through the pooler it is told that 3.0
/// is spoken, and the key of that version works.
#[test]
fn a_client_that_asks_for_protocol_3_2_is_told_of_3_0_and_can_cancel() {
    if oracle_only("3.2", &[], &Vec::new) {
        return;
    }
    let enter = |target: &Target| Raw::try_login(&Login { target, parameters: &[], version: V3_2 }).unwrap();
    let negotiated = |raw: &Raw| raw.welcome.iter().find(|m| m.tag == b'v').map(|m| m.body.clone());
    let straight = enter(&cluster().target());
    assert_eq!((negotiated(&straight), straight.key().len()), (None, LONG_KEY));
    for mode in ["session", "transaction"] {
        let pooler = PoolerConfig::for_cluster(cluster(), 1).set("pool_mode", quoted(mode)).start();
        let target = pooler.target();
        let mut raw = enter(&target);
        assert_eq!(
            negotiated(&raw).as_deref(),
            Some(&[0, 3, 0, 0, 0, 0, 0, 0][..]),
            "3.0, and no options to refuse"
        );
        assert_eq!(raw.key().len(), SHORT_KEY);
        raw.send(&msg::query(&format!("select pg_sleep(60) /* v32 {mode} */")));
        let runs = format!(
            "select count(*) from pg_stat_activity where state = 'active' and query like '%v32 {mode} *%' and \
             pid <> pg_backend_pid()"
        );
        eventually("the query runs", || cluster().value(&runs) != "0");
        cancel(&target.addr(), &raw.key());
        assert_eq!(brief(&raw.until_ready()).trim_start_matches("T "), "E(57014) Z(I)", "{mode}");
        raw.terminate();
    }
}

//! In the steady state neither a message nor a transaction allocates: counted, not believed.
//!
//! What is driven is the core, by the interface that the relay uses: the session's two directions, the link to a
//! server and its release, the pool's checkout. The first transactions of a conversation may allocate: buffers and
//! lists get their capacity then.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[allow(unreachable_pub, dead_code)]
mod rig;

use rig::{Rig, words};

/// Transactions before anything is counted.
const WARM_UP: usize = 10;

/// Transactions that are counted.
const COUNTED: usize = 1000;

/// Allocations of [`COUNTED`] transactions.
fn allocations(rig: &mut Rig, (request, replies): &(Vec<u8>, Vec<u8>)) -> u64 {
    for _ in 0..WARM_UP {
        rig.transaction(request, replies);
    }
    let counted = allocation_counter::measure(|| {
        for _ in 0..COUNTED {
            rig.transaction(request, replies);
        }
    });
    counted.count_total
}

#[test]
fn a_simple_query_allocates_nothing() {
    assert_eq!(allocations(&mut Rig::new(), &words::simple()), 0);
}

#[test]
fn an_unnamed_statement_allocates_nothing() {
    assert_eq!(allocations(&mut Rig::new(), &words::unnamed()), 0);
}

#[test]
fn a_prepared_statement_allocates_nothing() {
    let mut rig = Rig::new();
    let (request, replies) = words::prepare();
    rig.transaction(&request, &replies);
    assert_eq!(allocations(&mut rig, &words::prepared()), 0);
}

#[test]
fn a_statement_prepared_run_and_closed_each_time_allocates_nothing_if_its_text_is_known() {
    let mut rig = Rig::new();
    let (request, replies) = words::prepared_for_once();
    rig.transaction(&request, &[words::parsed(), replies.clone()].concat());
    assert_eq!(allocations(&mut rig, &(request, replies)), 0);
}

#[test]
fn a_pipeline_allocates_nothing() {
    assert_eq!(allocations(&mut Rig::new(), &words::pipeline()), 0);
}

#[test]
fn the_rows_of_a_large_result_allocate_nothing() {
    assert_eq!(allocations(&mut Rig::new(), &words::result(500)), 0);
}

#[test]
fn lending_a_server_and_taking_it_back_allocates_nothing() {
    let mut rig = Rig::new();
    let counted = allocation_counter::measure(|| {
        for _ in 0..COUNTED {
            let evidence = rig.evidence();
            rig.lend_and_release(evidence);
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 100])));
    assert_eq!(counted.count_total, 1);
}

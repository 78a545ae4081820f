//! The averages' rule of one to two periods, and totals that never go down.

#![allow(clippy::disallowed_methods)] // tests need some instant to count from

use proptest::prelude::*;

use super::*;

const PERIOD: Duration = Duration::from_mins(1);

fn counted(xacts: u64) -> Counters {
    Counters {
        xacts,
        xact_us: xacts * 500,
        queries: 2 * xacts,
        client_bytes: 100 * xacts,
        ..Counters::default()
    }
}

fn totals<const N: usize>(rows: [(&str, Counters); N]) -> BTreeMap<String, Counters> {
    rows.into_iter().map(|(name, counters)| (name.to_owned(), counters)).collect()
}

#[test]
fn the_first_window_is_the_time_since_start_plus_one_second() {
    let start = Instant::now();
    let mut averages = Averages::new(start);
    let now = start + Duration::from_secs(9);
    let window = averages.windows(now, &totals([("shop", counted(100))]))["shop"];
    assert_eq!(window.over, Duration::from_secs(10));
    assert_eq!(window.averages().xacts, 10);
    assert_eq!(window.averages().queries, 20);
    assert_eq!(window.averages().xact_us, 500);
    assert_eq!(window.averages().wait_us, 0, "nothing was assigned");
    assert_eq!(window.total, counted(100));
}

#[test]
fn later_windows_are_one_to_two_periods_long() {
    let start = Instant::now();
    let mut averages = Averages::new(start);
    averages.tick(start + PERIOD, &totals([("shop", counted(600))]));
    let window = averages.windows(start + PERIOD, &totals([("shop", counted(600))]))["shop"];
    assert_eq!((window.over, window.counters), (PERIOD, counted(600)));

    averages.tick(start + 2 * PERIOD, &totals([("shop", counted(1800))]));
    let line = stats_line(&averages.windows(start + 2 * PERIOD, &totals([("shop", counted(1800))])));
    assert_eq!(
        line,
        "stats: 20 xacts/s, 40 queries/s, 0 client parses/s, 0 server parses/s, 0 binds/s, in 2000 B/s, out 0 B/s, \
         xact 500 us, query 0 us, wait 0 us"
    );
    let window = averages.windows(start + 3 * PERIOD, &totals([("shop", counted(1801))]))["shop"];
    assert_eq!((window.over, window.counters), (2 * PERIOD, counted(1201)));
}

#[test]
fn a_window_without_time_has_no_rates() {
    let window = Window { counters: counted(5), ..Window::default() };
    assert_eq!(window.averages().xacts, 0);
    assert_eq!(window.averages().xact_us, 500);
    let huge =
        Window { counters: counted(u64::MAX / 1000), over: Duration::from_micros(1), ..Window::default() };
    assert_eq!(huge.averages().client_bytes, u64::MAX);
}

#[test]
fn i27_totals_survive_the_pools_that_made_them() {
    let start = Instant::now();
    let mut averages = Averages::new(start);
    let told = averages.windows(start, &totals([("shop", counted(100))]))["shop"].total;
    assert_eq!(averages.windows(start, &totals([]))["shop"].total, told, "gone, and told before");
    averages.tick(start + PERIOD, &totals([]));
    assert_eq!(averages.windows(start + PERIOD, &totals([]))["shop"].total, told);
    // The pool comes back and counts from zero.
    averages.tick(start + 2 * PERIOD, &totals([("shop", counted(7))]));
    let window = averages.windows(start + 2 * PERIOD, &totals([("shop", counted(8))]))["shop"];
    assert_eq!((window.total, window.counters), (counted(108), counted(8)));
}

#[test]
fn i27_a_worker_missing_from_one_report_is_not_counted_twice() {
    let start = Instant::now();
    let mut averages = Averages::new(start);
    averages.tick(start + PERIOD, &totals([("shop", counted(100))]));
    assert_eq!(averages.windows(start + PERIOD, &totals([]))["shop"].total, counted(100));
    assert_eq!(
        averages.windows(start + PERIOD, &totals([("shop", counted(101))]))["shop"].total,
        counted(101)
    );
}

#[test]
fn names_that_come_and_go_are_remembered_up_to_a_limit_and_their_sum_beyond_it() {
    let start = Instant::now();
    let mut averages = Averages::new(start);
    let mut sum = Counters::default();
    for round in 0..MAX_GONE + 50 {
        averages.tick(start, &totals([(&format!("db{round}"), counted(3))]));
        sum.add(&counted(3));
    }
    let windows = averages.windows(start, &totals([]));
    assert_eq!(windows.len(), MAX_GONE + 2, "the last one, the limit, and the forgotten");
    let mut all = Window::default();
    for window in windows.values() {
        all.add(window);
    }
    assert_eq!(all.total, sum);
    assert!(!windows.contains_key("db0"), "the longest gone is forgotten first");
}

proptest! {
    #[test]
    fn i27_no_total_ever_goes_down(
        steps in proptest::collection::vec((any::<bool>(), proptest::option::of(0u64..1000)), 1..60)
    ) {
        let start = Instant::now();
        let mut averages = Averages::new(start);
        let mut highest = Counters::default();
        for (tick, count) in steps {
            let totals = match count {
                Some(count) => totals([("shop", counted(count))]),
                None => totals([]),
            };
            if tick {
                averages.tick(start, &totals);
            }
            if let Some(window) = averages.windows(start, &totals).get("shop") {
                prop_assert_eq!(window.total.highest(&highest), window.total);
                highest = window.total;
            }
        }
    }
}

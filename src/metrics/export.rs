//! Numbers as text for Prometheus.
//!
//! Owns: names, help texts and labels of the exported metrics. Does not know: HTTP, who scrapes. Each scrape fills
//! a fresh registry from snapshots, so a series lives exactly as long as what it describes. Label values are
//! escaped by the encoder, and their number is bounded (S47).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use prometheus::core::{Atomic, Collector, GenericCounterVec, GenericGaugeVec, Number};
use prometheus::{CounterVec, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

use super::merge::absorb;
use super::{Counters, ErrorClass, PIN_REASONS, PoolName, PoolSnapshot, WorkerSnapshot, merge_pools};

/// Pools with series of their own. Names come from clients where a fallback entry lets them, so there is a limit:
/// at about 55 series a pool this is a page of some 5 MB, which a scraper still takes. The busiest keep their
/// names, the others add up under [`OTHER`].
const MAX_POOLS: usize = 1_000;
/// Database and user of the pools beyond [`MAX_POOLS`].
const OTHER: &str = "other";

/// What was built.
#[derive(Debug, Clone, Copy)]
pub struct BuildInfo {
    /// Version of the pooler.
    pub version: &'static str,
}

/// The metrics library refused a name or a label: a fault of this file, which the scraper hears as an error.
#[derive(Debug, thiserror::Error)]
#[error("cannot render metrics: {0}")]
pub struct ExportError(#[from] prometheus::Error);

/// All metrics in Prometheus' text format.
///
/// # Errors
/// When the metrics library refuses what this file describes.
pub fn render(workers: &[WorkerSnapshot], build: BuildInfo) -> Result<String, ExportError> {
    let page = Page { registry: Registry::new(), pools: bound_pools(merge_pools(workers)) };
    put_process(&page, workers, build)?;
    put_states(&page)?;
    put_counts(&page)?;
    put_times(&page)?;
    Ok(TextEncoder::new().encode_to_string(&page.registry.gather())?)
}

fn put_process(page: &Page, workers: &[WorkerSnapshot], build: BuildInfo) -> Result<(), ExportError> {
    page.gauges(
        ("pooler_build_info", "What is running; always 1."),
        &["version"],
        [(vec![build.version.to_owned()], 1)],
    )?;
    let by_worker = |count: fn(&WorkerSnapshot) -> usize| {
        workers.iter().map(move |w| (vec![w.worker.to_string()], i64::try_from(count(w)).unwrap_or(i64::MAX)))
    };
    page.gauges(
        ("pooler_worker_clients", "Logged-in clients of each worker thread."),
        &["worker"],
        by_worker(|w| w.clients.len()),
    )?;
    page.gauges(
        ("pooler_worker_servers", "Server connections of each worker thread."),
        &["worker"],
        by_worker(|w| w.servers.len()),
    )?;
    page.gauges(
        (
            "pooler_worker_clients_in_login",
            "Clients of each worker thread that have not finished their login.",
        ),
        &["worker"],
        by_worker(|w| usize::try_from(w.clients_in_login).unwrap_or(usize::MAX)),
    )?;
    page.counters(
        ("pooler_worker_failed_logins_total", "Logins that failed before their pool was known."),
        &["worker"],
        workers.iter().map(|w| (vec![w.worker.to_string()], w.failed_logins)),
    )
}

fn put_states(page: &Page) -> Result<(), ExportError> {
    let clients = |pool: &PoolSnapshot| {
        [
            ("active", pool.cl_active),
            ("waiting", pool.cl_waiting),
            ("active_cancel_req", pool.cl_active_cancel_req),
            ("waiting_cancel_req", pool.cl_waiting_cancel_req),
        ]
    };
    page.gauges(
        ("pooler_clients", "Clients by state; active are linked or idle ones."),
        &["database", "user", "state"],
        page.by_pool(|pool| clients(pool).map(|(state, count)| (Some(state), i64::from(count)))),
    )?;
    let servers = |pool: &PoolSnapshot| {
        [
            ("active", pool.sv_active),
            ("idle", pool.sv_idle),
            ("used", pool.sv_used),
            ("tested", pool.sv_tested),
            ("login", pool.sv_login),
            ("listen", pool.sv_listen),
            ("active_cancel", pool.sv_active_cancel),
            ("being_canceled", pool.sv_being_canceled),
        ]
    };
    page.gauges(
        ("pooler_servers", "Server connections by state."),
        &["database", "user", "state"],
        page.by_pool(|pool| servers(pool).map(|(state, count)| (Some(state), i64::from(count)))),
    )?;
    page.gauges(
        (
            "pooler_pinned_clients",
            "Clients that keep their servers, by what they have there; some for several reasons.",
        ),
        &["database", "user", "reason"],
        page.by_pool(|pool| {
            PIN_REASONS.into_iter().zip(pool.pinned).map(|(reason, n)| (Some(reason), i64::from(n)))
        }),
    )?;
    page.gauges(
        ("pooler_listening_clients", "Clients whose LISTEN the pool's own connection has taken over."),
        POOL,
        page.by_pool(|pool| [(None, i64::from(pool.cl_listening))]),
    )?;
    page.gauges(
        ("pooler_pool_size", "Most server connections of a pool; 0 for no limit."),
        POOL,
        page.by_pool(|pool| [(None, i64::from(pool.pool_size))]),
    )?;
    page.gauges(
        ("pooler_pool_paused", "1 while an operator holds the pool."),
        POOL,
        page.by_pool(|pool| [(None, i64::from(pool.paused))]),
    )?;
    page.gauges_of_seconds(
        ("pooler_longest_wait_seconds", "How long the oldest waiting client has waited."),
        POOL,
        page.by_pool(|pool| [(None, pool.maxwait.as_secs_f64())]),
    )
}

type Count = fn(&Counters) -> u64;

fn put_counts(page: &Page) -> Result<(), ExportError> {
    let counts: [(&str, &str, Count); 9] = [
        ("pooler_assignments_total", "Times a client was linked to a server.", |c| c.assignments),
        ("pooler_transactions_total", "Transactions.", |c| c.xacts),
        ("pooler_queries_total", "Requests of clients.", |c| c.queries),
        ("pooler_client_bytes_total", "Bytes received from clients.", |c| c.client_bytes),
        ("pooler_server_bytes_total", "Bytes received from servers.", |c| c.server_bytes),
        ("pooler_client_parses_total", "Named Parse messages of clients.", |c| c.client_parses),
        ("pooler_server_parses_total", "Parse messages sent to servers for tracked statements.", |c| {
            c.server_parses
        }),
        ("pooler_binds_total", "Binds of tracked statements.", |c| c.binds),
        ("pooler_logins_total", "Client logins that succeeded.", |c| c.logins),
    ];
    for (name, help, count) in counts {
        page.counters((name, help), POOL, page.by_pool(|pool| [(None, count(&pool.counters))]))?;
    }
    page.counters(
        ("pooler_pins_total", "Times a client began to keep its server, by what it has there."),
        &["database", "user", "reason"],
        page.by_pool(|pool| {
            PIN_REASONS.into_iter().zip(pool.counters.pins).map(|(reason, n)| (Some(reason), n))
        }),
    )?;
    page.counters(
        ("pooler_errors_total", "Errors, by whose fault they were."),
        &["database", "user", "class"],
        page.by_pool(|pool| {
            ErrorClass::ALL.into_iter().zip(pool.counters.errors).map(|(class, n)| (Some(class.as_str()), n))
        }),
    )
}

fn put_times(page: &Page) -> Result<(), ExportError> {
    let times: [(&str, &str, Count); 3] = [
        ("pooler_wait_seconds_total", "Time clients waited for a server.", |c| c.wait_us),
        ("pooler_query_seconds_total", "Time in requests, waiting excluded.", |c| c.query_us),
        ("pooler_transaction_seconds_total", "Time in transactions, waiting excluded.", |c| c.xact_us),
    ];
    for (name, help, micros) in times {
        let seconds =
            |pool: &PoolSnapshot| std::time::Duration::from_micros(micros(&pool.counters)).as_secs_f64();
        page.counters_of_seconds((name, help), POOL, page.by_pool(|pool| [(None, seconds(pool))]))?;
    }
    Ok(())
}

const POOL: &[&str] = &["database", "user"];

/// The page being filled.
struct Page {
    registry: Registry,
    pools: BTreeMap<PoolName, PoolSnapshot>,
}

type NameAndHelp<'a> = (&'a str, &'a str);

impl Page {
    /// Series of every pool: database and user, one more label if given, and the value.
    fn by_pool<V, I>(&self, values: impl Fn(&PoolSnapshot) -> I) -> impl Iterator<Item = (Vec<String>, V)>
    where
        I: IntoIterator<Item = (Option<&'static str>, V)>,
    {
        self.pools.iter().flat_map(move |((database, user), pool)| {
            values(pool).into_iter().map(move |(label, value)| {
                let mut labels = vec![database.clone(), user.clone()];
                labels.extend(label.map(str::to_owned));
                (labels, value)
            })
        })
    }

    fn gauges(
        &self,
        about: NameAndHelp<'_>,
        labels: &[&str],
        series: impl IntoIterator<Item = (Vec<String>, i64)>,
    ) -> Result<(), ExportError> {
        self.fill_gauge(&IntGaugeVec::new(Opts::new(about.0, about.1), labels)?, series)
    }

    fn gauges_of_seconds(
        &self,
        about: NameAndHelp<'_>,
        labels: &[&str],
        series: impl IntoIterator<Item = (Vec<String>, f64)>,
    ) -> Result<(), ExportError> {
        self.fill_gauge(&GaugeVec::new(Opts::new(about.0, about.1), labels)?, series)
    }

    fn counters(
        &self,
        about: NameAndHelp<'_>,
        labels: &[&str],
        series: impl IntoIterator<Item = (Vec<String>, u64)>,
    ) -> Result<(), ExportError> {
        self.fill_counter(&IntCounterVec::new(Opts::new(about.0, about.1), labels)?, series)
    }

    fn counters_of_seconds(
        &self,
        about: NameAndHelp<'_>,
        labels: &[&str],
        series: impl IntoIterator<Item = (Vec<String>, f64)>,
    ) -> Result<(), ExportError> {
        self.fill_counter(&CounterVec::new(Opts::new(about.0, about.1), labels)?, series)
    }

    fn fill_gauge<P>(
        &self,
        family: &GenericGaugeVec<P>,
        series: impl IntoIterator<Item = (Vec<String>, P::T)>,
    ) -> Result<(), ExportError>
    where
        P: Atomic + 'static,
        GenericGaugeVec<P>: Collector + Clone,
    {
        for (labels, value) in series {
            family.get_metric_with_label_values(&labels)?.set(value);
        }
        Ok(self.registry.register(Box::new(family.clone()))?)
    }

    fn fill_counter<P>(
        &self,
        family: &GenericCounterVec<P>,
        series: impl IntoIterator<Item = (Vec<String>, P::T)>,
    ) -> Result<(), ExportError>
    where
        P: Atomic + 'static,
        P::T: Number,
        GenericCounterVec<P>: Collector + Clone,
    {
        for (labels, value) in series {
            family.get_metric_with_label_values(&labels)?.inc_by(value);
        }
        Ok(self.registry.register(Box::new(family.clone()))?)
    }
}

/// Folds all but the busiest pools into one.
fn bound_pools(pools: BTreeMap<PoolName, PoolSnapshot>) -> BTreeMap<PoolName, PoolSnapshot> {
    if pools.len() <= MAX_POOLS {
        return pools;
    }
    let mut ranked: Vec<_> = pools.into_iter().collect();
    ranked.sort_by_key(|(_, pool)| Reverse(pool.counters.xacts)); // stable: by name among equals
    let folded = ranked.split_off(MAX_POOLS);
    let mut kept: BTreeMap<_, _> = ranked.into_iter().collect();
    for (_, pool) in folded {
        kept.entry((OTHER.to_owned(), OTHER.to_owned())).and_modify(|sum| absorb(sum, &pool)).or_insert(pool);
    }
    kept
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;

//! What was counted per database over the last one to two periods, and since start.
//!
//! Owns: the saved counters of the last two ticks, and the rule that a total never goes down while the process
//! lives (I27), even when the pool that counted is gone. Does not know: who asks, how long a period is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Counters;

/// The first period counts as one second longer than it was, as in PgBouncer, so that nothing is divided by zero.
const FIRST_PERIOD_GRACE: Duration = Duration::from_secs(1);
/// Databases without a pool that are remembered one by one. Names come from clients where a fallback entry lets
/// them, so there is a limit; the longest gone beyond it are summed up under [`FORGOTTEN`].
const MAX_GONE: usize = 1_000;
/// The name under which databases beyond [`MAX_GONE`] live on, so that sums over all stay right. No database has
/// an empty name.
const FORGOTTEN: &str = "";

/// What one database did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Counted inside the window.
    pub counters: Counters,
    /// Length of the window.
    pub over: Duration,
    /// Counted since the process started. Never goes down.
    pub total: Counters,
}

impl Window {
    /// Averages as SHOW STATS has them. Counts and bytes are per second, rounded down; `xact_us`, `query_us` and
    /// `wait_us` are per transaction, query and assignment; 0 where nothing happened. Logins, errors and pins are not
    /// averaged and stay 0.
    pub fn averages(&self) -> Counters {
        let counted = &self.counters;
        let per_second = |count: u64| {
            let rate = u128::from(count) * 1_000_000 / self.over.as_micros().max(1);
            if self.over.is_zero() { 0 } else { u64::try_from(rate).unwrap_or(u64::MAX) }
        };
        let mean = |time: u64, count: u64| time.checked_div(count).unwrap_or(0);
        Counters {
            assignments: per_second(counted.assignments),
            xacts: per_second(counted.xacts),
            queries: per_second(counted.queries),
            client_bytes: per_second(counted.client_bytes),
            server_bytes: per_second(counted.server_bytes),
            xact_us: mean(counted.xact_us, counted.xacts),
            query_us: mean(counted.query_us, counted.queries),
            wait_us: mean(counted.wait_us, counted.assignments),
            client_parses: per_second(counted.client_parses),
            server_parses: per_second(counted.server_parses),
            binds: per_second(counted.binds),
            logins: 0,
            errors: [0; _],
            pins: [0; _],
        }
    }

    /// Adds another database of the same window.
    pub fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        self.total.add(&other.total);
        self.over = self.over.max(other.over);
    }
}

/// Saved counters, by database.
#[derive(Debug, Clone)]
pub struct Averages {
    accounts: BTreeMap<String, Account>,
    /// When the older counters were saved: where windows begin.
    older_at: Instant,
    newer_at: Instant,
    /// What the window counts as longer than it is.
    grace: Duration,
}

/// One database.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// Counted by pools that are gone.
    base: Counters,
    /// The highest totals that were told or saved.
    told: Counters,
    /// Totals at the last tick.
    newer: Counters,
    /// Totals at the tick before.
    older: Counters,
    /// Ticks since it last had a pool.
    gone_for: u64,
}

impl Account {
    /// The totals, given what the pools of now have counted.
    fn total(&mut self, counted: &Counters) -> Counters {
        let mut total = self.base;
        total.add(counted);
        self.told = self.told.highest(&total);
        self.told
    }
}

impl Averages {
    /// Starts at zero.
    pub fn new(now: Instant) -> Self {
        Self { accounts: BTreeMap::new(), older_at: now, newer_at: now, grace: FIRST_PERIOD_GRACE }
    }

    /// Ends a period. `totals` must be complete, with every worker in it: what is missing counts as gone.
    pub fn tick(&mut self, now: Instant, totals: &BTreeMap<String, Counters>) {
        self.older_at = self.newer_at;
        self.newer_at = now;
        self.grace = Duration::ZERO;
        self.open_accounts(totals);
        for (name, account) in &mut self.accounts {
            let counted = totals.get(name);
            account.gone_for = if counted.is_some() { 0 } else { account.gone_for.saturating_add(1) };
            let counted = counted.copied().unwrap_or_default();
            let total = account.total(&counted);
            account.base = account.base.highest(&total.since(&counted));
            account.older = account.newer;
            account.newer = total;
        }
        self.forget_longest_gone();
    }

    /// The windows that end now: one to two periods long, in the first period since start. Databases that are gone
    /// are among them, so that sums over all never go down. `totals` may lack a worker; its numbers then stand
    /// still.
    pub fn windows(&mut self, now: Instant, totals: &BTreeMap<String, Counters>) -> BTreeMap<String, Window> {
        self.open_accounts(totals);
        let over = now.saturating_duration_since(self.older_at) + self.grace;
        let window = |(name, account): (&String, &mut Account)| {
            let total = account.total(&totals.get(name).copied().unwrap_or_default());
            (name.clone(), Window { counters: total.since(&account.older), over, total })
        };
        self.accounts.iter_mut().map(window).collect()
    }

    fn open_accounts(&mut self, totals: &BTreeMap<String, Counters>) {
        for name in totals.keys() {
            if !self.accounts.contains_key(name) {
                self.accounts.insert(name.clone(), Account::default());
            }
        }
    }

    fn forget_longest_gone(&mut self) {
        let gone = |(name, account): &(&String, &Account)| account.gone_for > 0 && name.as_str() != FORGOTTEN;
        let mut names: Vec<_> = self
            .accounts
            .iter()
            .filter(gone)
            .map(|(name, account)| (account.gone_for, name.clone()))
            .collect();
        names.sort_unstable();
        let excess = names.len().saturating_sub(MAX_GONE);
        let mut forgotten = Account::default();
        for (_, name) in names.into_iter().rev().take(excess) {
            let Some(account) = self.accounts.remove(&name) else { continue };
            forgotten.base.add(&account.told);
            forgotten.newer.add(&account.newer);
            forgotten.older.add(&account.older);
        }
        if excess > 0 {
            let sum = self.accounts.entry(FORGOTTEN.to_owned()).or_default();
            sum.base.add(&forgotten.base);
            sum.told = sum.base;
            sum.newer.add(&forgotten.newer);
            sum.older.add(&forgotten.older);
        }
    }
}

/// The line that is logged each period, summed over all databases.
pub fn stats_line(windows: &BTreeMap<String, Window>) -> String {
    let mut all = Window::default();
    for window in windows.values() {
        all.add(window);
    }
    let avg = all.averages();
    format!(
        "stats: {} xacts/s, {} queries/s, {} client parses/s, {} server parses/s, {} binds/s, in {} B/s, out {} \
         B/s, xact {} us, query {} us, wait {} us",
        avg.xacts,
        avg.queries,
        avg.client_parses,
        avg.server_parses,
        avg.binds,
        avg.client_bytes,
        avg.server_bytes,
        avg.xact_us,
        avg.query_us,
        avg.wait_us
    )
}

#[cfg(test)]
#[path = "averages_tests.rs"]
mod tests;

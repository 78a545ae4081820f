//! One lane: a database and poolers in front of it, in which scripts are played, compared and shortened.

use std::collections::BTreeMap;

use super::cluster;
use super::common::cluster::PASSWORD;
use super::common::pooler::quoted;
use super::common::{Pooler, PoolerConfig, Raw, Target, eventually};
use super::draw::{self, BOSS, Script};
use super::exceptions::agree;
use super::play::play;
use super::script::{Step, ends_copies, shown, starves};
use super::unseen::SETUP;

/// Tells which seed was played when something else went wrong.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while playing seed {}:\n{}", self.0, shown(&draw::script(self.0).steps));
        }
    }
}

/// One lane: a database and poolers of each size in front of it.
pub struct Lane {
    direct: Target,
    admin: Raw,
    /// By their size, and whether they ask about everything.
    poolers: BTreeMap<(usize, bool), Pooler>,
    /// Seeds played since the poolers are up.
    played: Vec<u64>,
}

impl Lane {
    /// A new database.
    pub fn new(number: usize) -> Self {
        let database = format!("lane{number}");
        cluster().sql(&format!("create database {database} owner app"));
        let mut admin = cluster().superuser(&database);
        for sql in [
            "create schema s1",
            "create schema s2",
            "create table t (a int)",
            "create table v (name text)",
            "create table s1.v (name text)",
            "create table s2.v (name text)",
            "insert into v values ('public')",
            "insert into s1.v values ('s1')",
            "insert into s2.v values ('s2')",
            "grant all on t, v, s1.v, s2.v to app, bob",
            "grant all on schema public, s1, s2 to app, bob",
        ] {
            admin.value(sql);
        }
        for sql in SETUP {
            admin.value(sql);
        }
        admin.value("grant all on g, h to app, bob");
        // Scripts take turns step by step: a lock that is not there will not come.
        admin.value(&format!("alter database {database} set lock_timeout = '300ms'"));
        admin.value("set lock_timeout = 0");
        let direct = cluster().target().with_database(&database);
        Self { direct, admin, poolers: BTreeMap::new(), played: Vec::new() }
    }

    fn pooled(&mut self, size: usize, verify: bool) -> Target {
        let database = self.direct.database.clone();
        let pooler = self.poolers.entry((size, verify)).or_insert_with(|| {
            PoolerConfig::for_cluster(cluster(), u32::try_from(size).unwrap())
                .database(&database, cluster().port())
                .table(&format!("users.{BOSS}"), &[("password", quoted(PASSWORD))])
                .set("query_wait_timeout", "\"10s\"")
                .set("session_state", if verify { "\"verify\"" } else { "\"track\"" })
                .start()
        });
        pooler.assert_healthy();
        pooler.target().with_database(&database)
    }

    /// Tables as every performance finds them.
    fn set_out(&mut self, script: &Script) {
        self.admin.value("delete from t");
        if script.steps.iter().any(|step| step.mentions("public.d")) {
            for table in ["d", "d0", "d1", "d2", "d3"] {
                self.admin.value(&format!("drop table if exists {table}, {}", table.replace('d', "gone")));
                self.admin.value(&format!("create table {table} as select 1 as a, text 'b' as b"));
                self.admin.value(&format!("alter table {table} owner to app"));
                self.admin.value(&format!("grant all on {table} to bob"));
            }
        }
    }

    /// The first line in which two performances differ.
    pub fn difference(&mut self, script: &Script) -> Option<String> {
        let of_user = |target: &Target| target.with_user(script.user, &target.password);
        let pooled = of_user(&self.pooled(script.pool, script.verify));
        let direct = of_user(&self.direct);
        self.set_out(script);
        let expected = play(&direct, &script.steps);
        self.set_out(script);
        let seen = play(&pooled, &script.steps);
        if std::env::var_os("SHOW").is_some() {
            for (step, line) in script.steps.iter().zip(&expected) {
                println!("{step:?}\n      {line}");
            }
        }
        let lines = expected.iter().zip(&seen).enumerate();
        let (at, (direct, pooled)) =
            lines.into_iter().find(|(_, (direct, pooled))| !agree(direct, pooled))?;
        Some(format!("  step {at}\n    direct: {direct}\n    pooled: {pooled}"))
    }

    /// The same, on servers that have served nobody.
    fn anew(&mut self, script: &Script) -> Option<String> {
        let others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        let end = format!("select count(pg_terminate_backend(pid)) {others}");
        eventually("servers gone", || self.admin.value(&end) == "0"); // one may just be coming
        self.difference(script)
    }

    /// Leaves out steps and messages as long as the script still fails.
    fn shrink(&mut self, script: Script) -> Script {
        let mut best = script;
        let mut size = best.steps.len() / 2;
        while size > 0 {
            let mut from = 0;
            while from < best.steps.len() {
                let mut steps = best.steps.clone();
                steps.drain(from..(from + size).min(steps.len()));
                if !self.still_fails(&mut best, steps) {
                    from += size;
                }
            }
            size /= 2;
        }
        for at in 0..best.steps.len() {
            let mut message = 0;
            while let Some(Step::Say(who, says)) = best.steps.get(at) {
                if message + 1 >= says.len() {
                    break;
                }
                let (who, mut says) = (*who, says.clone());
                says.remove(message);
                let mut steps = best.steps.clone();
                steps[at] = Step::Say(who, says);
                if !self.still_fails(&mut best, steps) {
                    message += 1;
                }
            }
        }
        best
    }

    fn still_fails(&mut self, best: &mut Script, steps: Vec<Step>) -> bool {
        let less = Script { steps, ..*best };
        let sound = ends_copies(&less.steps) && !starves(&less.steps, less.pool);
        let fails = sound && self.anew(&less).is_some();
        if fails {
            *best = less;
        }
        fails
    }

    /// Plays the script of a seed; what to tell if it fails.
    pub fn check(&mut self, seed: u64) -> Option<String> {
        let _told = Told(seed);
        let script = draw::script(seed);
        let first = self.difference(&script);
        self.played.push(seed);
        let first = first?;
        let played = self.played.iter().map(|seed| draw::script(*seed));
        let same_pool =
            played.filter(|s| (s.pool, s.verify, s.user) == (script.pool, script.verify, script.user));
        let before: Vec<Script> = same_pool.collect();
        // Whatever earlier scripts have left on the servers is no part of it, unless it takes that to fail.
        for others in [1, 2, 4, 8] {
            let from = before.len().saturating_sub(others);
            let steps = before[from..].iter().flat_map(|script| script.steps.clone()).collect();
            let longer = Script { steps, ..script };
            if self.anew(&longer).is_some() {
                let least = self.shrink(longer);
                let difference = self.anew(&least).unwrap_or(first);
                return Some(format!(
                    "seed {seed}, {}:\n{}{difference}",
                    least.ground(),
                    shown(&least.steps)
                ));
            }
        }
        Some(format!("seed {seed} fails not again, {}:\n{}{first}", script.ground(), shown(&script.steps)))
    }
}

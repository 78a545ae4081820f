//! The yardstick: Pooler, PgBouncer and no pooler, compared in one run on one machine. `docs/benchmarking.md` tells
//! how to run and read it.
//!
//! This binary is also the programs the comparison needs: a server that answers at once, a client that asks as fast
//! as it can, and one that moves bulk. Each runs as a process of its own, so that it can be pinned.
//! Without `--bench` (as `cargo test --all-targets` runs it) every workload is as small as can be: that shows that
//! the bench works, and measures nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

#[path = "../../tests/common/mod.rs"]
mod common;

mod bulk;
mod contender;
mod count;
mod fake;
mod frames;
mod idle;
mod load;
mod machine;
mod measure;
mod options;
mod pgbench;
mod process;
mod program;
mod sheet;
mod workloads;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use options::Options;
use world::World;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("fake") => fake::main(rest),
        Some("load") => load::main(rest),
        Some("bulk") => bulk::main(rest),
        _ => compare(&Options::read(args.iter().any(|arg| arg == "--bench"))),
    }
}

fn compare(options: &Options) {
    let chosen = workloads::chosen(options);
    println!("# Pooler and PgBouncer, side by side\n\n{}", machine::describe(options));
    let world = World::start(options);
    let mut sheets = Vec::new();
    let file = sheet::new_file();
    let mut failed = Vec::new();
    for workload in chosen {
        // What was measured so far must not be lost with one workload that fails.
        match catch_unwind(AssertUnwindSafe(|| (workload.run)(&world))) {
            Ok(done) => {
                for sheet in &done {
                    println!("{}", sheet.markdown());
                }
                sheets.extend(done);
                sheet::write_json(options, &sheets, &file);
            }
            Err(_) => failed.push(workload.name),
        }
    }
    println!("All samples: {}", file.display());
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}

//! Connection storms: each transaction has a connection of its own.

use crate::common::cluster::APP;
use crate::contender::Setup;
use crate::load::Ask;
use crate::measure::{Length, Point, Unit, point};
use crate::pgbench::{Pgbench, Script};
use crate::sheet::Sheet;
use crate::world::{SCRAM_USER, World};

/// Connections at once.
const CLIENTS: usize = 8;

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let mut sheet = Sheet::new(
        "storm",
        "pgbench -C: connect, log in, `SELECT 1`, leave; 8 at once, pool of 20, one processor for all. Both poolers \
         know the same SCRAM verifier.",
    );
    let trust = world.setup();
    let scram = Setup { auth: "scram-sha-256", ..world.setup() };
    let tls = Setup { tls: Some(world.certs.clone()), ..world.setup() };
    for (name, user, setup) in [("trust", APP, trust), ("SCRAM", SCRAM_USER, scram), ("trust, TLS", APP, tls)]
    {
        let contenders = world.contenders(&setup);
        let bench =
            Pgbench { user, script: Script::One, ask: Ask::Simple, clients: CLIENTS, reconnect: true };
        let is_counted = world.options.by_size(true, true, false);
        let this = Point {
            name: name.to_owned(),
            unit: Unit::Connection,
            short: Length::Each(1),
            long: Length::Seconds(world.options.seconds),
            counted: is_counted.then_some(Length::Each(20)),
            work: &|contender, length| bench.run(world, contender, length),
        };
        point(world, &mut sheet, &contenders, &this);
    }
    vec![sheet]
}

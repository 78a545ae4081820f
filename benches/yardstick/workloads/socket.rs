//! Small transactions with PostgreSQL's Unix socket behind the pooler.

use crate::common::cluster::APP;
use crate::contender::{Backend, Setup};
use crate::load::Ask;
use crate::measure::{Length, Point, Unit, point};
use crate::pgbench::{Pgbench, Script};
use crate::sheet::Sheet;
use crate::world::World;

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let mut sheet = Sheet::new(
        "socket",
        "pgbench -S, PostgreSQL's Unix socket behind both poolers; without a pooler, clients use TCP.",
    );
    let contenders = world.contenders(&Setup { backend: Backend::Socket, ..world.setup() });
    for &clients in world.options.by_size::<&[usize]>(&[1, 16, 64], &[16], &[4]) {
        let bench =
            Pgbench { user: APP, script: Script::Select, ask: Ask::Simple, clients, reconnect: false };
        let is_counted = world.options.by_size(true, false, false);
        let this = Point {
            name: format!("simple, {clients} clients"),
            unit: Unit::Transaction,
            short: Length::Each(1),
            long: Length::Seconds(world.options.seconds),
            counted: is_counted.then_some(Length::Each(200)),
            work: &|contender, length| bench.run(world, contender, length),
        };
        point(world, &mut sheet, &contenders, &this);
    }
    vec![sheet]
}

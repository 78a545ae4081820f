//! Small transactions over TLS towards clients.

use crate::common::cluster::APP;
use crate::contender::{Contender, Kind, Setup};
use crate::load::Ask;
use crate::measure::{Length, Point, Unit, point};
use crate::pgbench::{Pgbench, Script};
use crate::sheet::Sheet;
use crate::world::World;

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let mut sheet =
        Sheet::new("tls", "pgbench -S over TLS towards clients, 16 clients, PostgreSQL behind without TLS.");
    let setup = Setup { tls: Some(world.certs.clone()), ..world.setup() };
    let mut bouncer = setup.clone();
    if !world.tracks_statements() {
        sheet.note("Prepared: PgBouncer in session mode, as in the table of queries.");
        bouncer.session = true;
    }
    let plain = world.contenders(&setup);
    let passing = vec![
        Contender::start(world, "no pooler", Kind::None, &setup),
        Contender::start(world, "PgBouncer", Kind::PgBouncer, &bouncer),
        Contender::start(world, "Pooler", Kind::Pooler, &setup),
    ];
    let protocols: &[Ask] =
        world.options.by_size(&[Ask::Prepared, Ask::Simple], &[Ask::Prepared], &[Ask::Prepared]);
    for &ask in protocols {
        let clients = 16;
        let bench = Pgbench { user: APP, script: Script::Select, ask, clients, reconnect: false };
        let is_counted = world.options.by_size(true, true, false);
        let this = Point {
            name: format!("{}, {clients} clients", ask.name()),
            unit: Unit::Transaction,
            short: Length::Each(1),
            long: Length::Seconds(world.options.seconds),
            counted: is_counted.then_some(Length::Each(100)),
            work: &|contender, length| bench.run(world, contender, length),
        };
        point(world, &mut sheet, if ask == Ask::Prepared { &passing } else { &plain }, &this);
    }
    vec![sheet]
}

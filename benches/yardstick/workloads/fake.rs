//! Small transactions against a server that answers at once: the pooler is the bottleneck.

use crate::contender::{Backend, Contender, Setup};
use crate::fake;
use crate::load::{Ask, run as load};
use crate::measure::{Length, Point, Unit, point};
use crate::sheet::Sheet;
use crate::world::World;

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let mut sheet = Sheet::new(
        "fake",
        "A server that answers at once, a client that asks at once, pool of 20, one processor for all.",
    );
    let (_server, port) = fake::start(world.cpus());
    let setup = Setup { backend: Backend::Fake(port), ..world.setup() };
    let contenders = world.contenders(&setup);
    if !world.tracks_statements() {
        sheet.note(
            "Prepared: this PgBouncer does not follow prepared statements and passes them through to whichever server; \
             this server does not mind, a real one would.",
        );
    }
    let protocols: &[Ask] = world.options.by_size(&Ask::PROTOCOLS, &Ask::PROTOCOLS, &[Ask::Prepared]);
    for &ask in protocols {
        for &clients in world.options.by_size::<&[usize]>(&[1, 16, 64, 256], &[1, 64], &[4]) {
            transactions(world, &mut sheet, &contenders, ask, clients);
        }
    }
    vec![sheet]
}

/// One point of this client, whatever stands behind.
pub(super) fn transactions(
    world: &World,
    sheet: &mut Sheet,
    contenders: &[Contender],
    ask: Ask,
    clients: usize,
) {
    let is_counted = world.options.by_size(true, true, false);
    let this = Point {
        name: format!("{}, {clients} clients", ask.name()),
        unit: Unit::Transaction,
        short: Length::Each(1),
        long: Length::Seconds(world.options.seconds),
        counted: is_counted.then_some(Length::Each(200)),
        work: &|contender, length| load(contender.cpus(), contender.target.port, ask, clients, length),
    };
    point(world, sheet, contenders, &this);
}

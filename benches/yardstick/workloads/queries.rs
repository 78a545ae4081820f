//! Small transactions against PostgreSQL: scripts, protocols, numbers of clients.

use crate::common::cluster::APP;
use crate::contender::{Contender, Kind, Setup};
use crate::load::Ask;
use crate::measure::{Length, Point, Unit, point};
use crate::pgbench::{Pgbench, Script};
use crate::sheet::Sheet;
use crate::world::World;

/// Servers of PgBouncer's pool where it has to give each client its own.
const SESSION_POOL: u32 = 300;

/// Points that are counted too: the others cost time and tell little more.
const COUNTED: [usize; 2] = [16, 64];

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let scripts: &[Script] =
        world.options.by_size(&[Script::Select, Script::One], &[Script::Select], &[Script::Select]);
    scripts.iter().map(|&script| sheet(world, script)).collect()
}

fn sheet(world: &World, script: Script) -> Sheet {
    let (name, what) = match script {
        Script::Select => ("queries: pgbench -S", "pgbench -S"),
        Script::One => ("queries: SELECT 1", "pgbench with `SELECT 1;`"),
    };
    let mut sheet =
        Sheet::new(name, &format!("{what}, PostgreSQL behind it, pool of 20, one processor for all."));
    let contenders = world.contenders(&world.setup());
    let passing = prepared(world, &mut sheet);
    let protocols: &[Ask] = world.options.by_size(&Ask::PROTOCOLS, &Ask::PROTOCOLS, &[Ask::Simple]);
    for &ask in protocols {
        let contenders =
            if ask == Ask::Prepared { passing.as_ref().unwrap_or(&contenders) } else { &contenders };
        for &clients in world.options.by_size::<&[usize]>(&[1, 16, 64, 256], &[1, 16, 64], &[4]) {
            let bench = Pgbench { user: APP, script, ask, clients, reconnect: false };
            let each = world.options.by_size(200, 200, 20);
            let counted = COUNTED.contains(&clients) || world.options.by_size(true, false, true);
            let this = Point {
                name: format!("{}, {clients} clients", ask.name()),
                unit: Unit::Transaction,
                short: Length::Each(1),
                long: Length::Seconds(world.options.seconds),
                counted: counted.then_some(Length::Each(each)),
                work: &|contender, length| bench.run(world, contender, length),
            };
            point(world, &mut sheet, contenders, &this);
        }
    }
    sheet
}

/// Contenders for the prepared protocol, if PgBouncer needs a mode of its own for it.
fn prepared(world: &World, sheet: &mut Sheet) -> Option<Vec<Contender>> {
    if world.tracks_statements() {
        return None;
    }
    sheet.note(format!(
        "Prepared: this PgBouncer does not follow prepared statements. It runs in session mode there, with a server \
         for each client (pool of {SESSION_POOL}), and passes them through; Pooler follows them over its 20 servers."
    ));
    let setup = world.setup();
    let session = Setup { session: true, pool: SESSION_POOL, ..world.setup() };
    Some(vec![
        Contender::start(world, "no pooler", Kind::None, &setup),
        Contender::start(world, "PgBouncer", Kind::PgBouncer, &session),
        Contender::start(world, "Pooler", Kind::Pooler, &setup),
    ])
}

//! One worker and two, on all processors: what a second core brings to one hot pool.

use crate::contender::{Backend, Contender, Kind, Setup};
use crate::fake;
use crate::load::Ask;
use crate::process::Cpus;
use crate::sheet::Sheet;
use crate::workloads::fake::transactions;
use crate::world::World;

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let mut sheet = Sheet::new(
        "workers",
        "One pool of 20, a server that answers at once; nothing is pinned, so that client and server share all \
         processors with the pooler. PgBouncer has one thread.",
    );
    let (_server, port) = fake::start(Cpus::All);
    let setup = Setup { backend: Backend::Fake(port), cpus: Cpus::All, ..world.setup() };
    let two = Setup { workers: 2, split: true, ..setup.clone() };
    let contenders = [
        Contender::start(world, "PgBouncer", Kind::PgBouncer, &setup),
        Contender::start(world, "Pooler", Kind::Pooler, &setup),
        Contender::start(world, "Pooler, 2 workers", Kind::Pooler, &two),
    ];
    sheet.ratio("Pooler, 2 workers", "Pooler");
    for &clients in world.options.by_size::<&[usize]>(&[16, 64, 256], &[64], &[4]) {
        transactions(world, &mut sheet, &contenders, Ask::Simple, clients);
    }
    vec![sheet]
}

//! Batches: ten statements and one Sync.

use crate::load::Ask;
use crate::sheet::Sheet;
use crate::workloads::fake::transactions;
use crate::world::World;

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let mut sheet = Sheet::new(
        "pipeline",
        "Ten times Parse, Bind, Describe, Execute, and one Sync; a transaction is the whole batch. PostgreSQL behind \
         it, pool of 20, one processor for all.",
    );
    let contenders = world.contenders(&world.setup());
    for &clients in world.options.by_size::<&[usize]>(&[1, 16, 64], &[16], &[4]) {
        transactions(world, &mut sheet, &contenders, Ask::Pipeline, clients);
    }
    vec![sheet]
}

//! Much at once: a large result, COPY out and COPY in.

use crate::bulk::{Way, run as bulk};
use crate::common::cluster::APP;
use crate::contender::{Contender, Kind, Setup};
use crate::measure::{Length, Outcome, Point, Unit, point};
use crate::sheet::Sheet;
use crate::world::World;

/// PgBouncer's buffer, where it is made larger than its default of 4096.
const LARGE_BUFFER: u32 = 16_384;

pub(crate) fn run(world: &World) -> Vec<Sheet> {
    let megabytes = world.options.by_size(50, 20, 2);
    let mut sheet = Sheet::new(
        "bulk",
        &format!(
            "{megabytes} MB in rows of about 100 bytes, one client, PostgreSQL behind it, one processor for all."
        ),
    );
    let large = format!("PgBouncer, pkt_buf = {LARGE_BUFFER}");
    sheet.ratio("Pooler", &large);
    let setup = world.setup();
    let mut contenders = world.contenders(&setup);
    let wide = Setup { pkt_buf: Some(LARGE_BUFFER), ..setup };
    contenders.insert(2, Contender::start(world, &large, Kind::PgBouncer, &wide));
    let is_counted = world.options.by_size(true, true, false);
    for way in Way::ALL {
        let work = |contender: &Contender, length| -> Outcome {
            if way == Way::CopyIn {
                world.cluster.sql_in(APP, "truncate bulk");
            }
            bulk(contender.cpus(), contender.target.port, way, length)
        };
        let this = Point {
            name: way.name().to_owned(),
            unit: Unit::Kilobyte,
            short: Length::Each(1),
            long: Length::Each(megabytes),
            counted: is_counted.then_some(Length::Each(6)),
            work: &work,
        };
        point(world, &mut sheet, &contenders, &this);
    }
    vec![sheet]
}

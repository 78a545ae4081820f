//! A client that moves bulk: a large result, COPY out, COPY in. It looks at message boundaries only.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::common::msg;
use crate::common::raw::V3;
use crate::frames::Frames;
use crate::load::exchange;
use crate::measure::{Length, Outcome};
use crate::process::Cpus;
use crate::program::report;

/// Bytes of one row as COPY writes it: as long as one of pgbench_accounts.
const ROW: usize = 96;

/// Bytes that the client writes at once.
const CHUNK: usize = 64 * 1024;

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Rows of a query.
    Select,
    /// COPY TO STDOUT.
    CopyOut,
    /// COPY FROM STDIN.
    CopyIn,
}

impl Way {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Select, Self::CopyOut, Self::CopyIn];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::CopyOut => "copy-out",
            Self::CopyIn => "copy-in",
        }
    }
}

/// Moves so many megabytes, as a process; a unit is a kilobyte on the wire.
pub(crate) fn run(cpus: Cpus, port: u16, way: Way, length: Length) -> Outcome {
    let Length::Each(megabytes) = length else { panic!("bulk is measured by its size") };
    let words = [port.to_string(), megabytes.to_string()];
    let report = report(cpus, "bulk", &[&words[0], way.name(), &words[1]]);
    Outcome { units: report.number("kilobytes"), seconds: report.number("seconds"), latency_us: None }
}

/// Arguments: port, way, megabytes.
pub(crate) fn main(args: &[String]) {
    let port: u16 = args[0].parse().unwrap();
    let way = Way::ALL.into_iter().find(|way| way.name() == args[1]).expect("which way");
    let rows = args[2].parse::<usize>().unwrap() * 1_000_000 / ROW;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    exchange(&mut stream, &msg::startup(V3, &[("user", "app"), ("database", "app")]));
    let query =
        format!("select i, 1, 0, repeat('x', 80) from generate_series(1000000, {}) i", 999_999 + rows);
    let start = Instant::now();
    let bytes = match way {
        Way::Select => receive(&mut stream, &query),
        Way::CopyOut => receive(&mut stream, &format!("copy ({query}) to stdout")),
        Way::CopyIn => send(&mut stream, rows),
    };
    let seconds = start.elapsed().as_secs_f64();
    let _ = stream.write_all(&msg::terminate());
    println!("kilobytes={} seconds={seconds}", bytes / 1000);
}

fn receive(stream: &mut TcpStream, query: &str) -> usize {
    stream.write_all(&msg::query(query)).unwrap();
    let mut frames = Frames::default();
    let mut chunk = vec![0; CHUNK];
    let (mut bytes, mut done) = (0, false);
    while !(done && frames.at_boundary()) {
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the server closed");
        bytes += n;
        frames.take(&chunk[..n], |tag| {
            assert!(tag != b'E', "an error in place of rows");
            done |= tag == b'Z';
        });
    }
    bytes
}

fn send(stream: &mut TcpStream, rows: usize) -> usize {
    stream.write_all(&msg::query("copy bulk from stdin")).unwrap();
    let mut head = [0; 1];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head, *b"G", "COPY was refused");
    // The rest of CopyInResponse: its length says how much, four columns are told of.
    let mut rest = [0; 4];
    stream.read_exact(&mut rest).unwrap();
    stream.read_exact(&mut vec![0; u32::from_be_bytes(rest) as usize - 4]).unwrap();
    let row = msg::copy_data(&format!("1000000\t1\t0\t{}\n", "x".repeat(80)));
    let batch = row.repeat(CHUNK / row.len());
    let (mut bytes, total) = (0, rows * row.len());
    while bytes < total {
        let here = batch.len().min(total - bytes);
        stream.write_all(&batch[..here]).unwrap();
        bytes += here;
    }
    exchange(stream, &msg::copy_done());
    bytes
}

//! A client that asks as fast as it is answered, over many connections on one thread, and times each answer. It
//! spends far less than pgbench does, and can send what pgbench cannot: batches.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::common::msg;
use crate::common::raw::V3;
use crate::frames::Frames;
use crate::measure::{Length, Outcome};
use crate::process::Cpus;
use crate::program::{percentile, report};

/// Statements of one pipeline.
const PIPELINE: usize = 10;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A simple query.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync of the unnamed statement, as pgbench sends it.
    Extended,
    /// The same without the Parse, of a statement prepared at first.
    Prepared,
    /// Ten unnamed statements and one Sync.
    Pipeline,
}

impl Ask {
    /// The protocols, by the names pgbench gives them.
    pub(crate) const PROTOCOLS: [Self; 3] = [Self::Simple, Self::Extended, Self::Prepared];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
            Self::Pipeline => "pipeline",
        }
    }

    fn preparation(self) -> Vec<u8> {
        if self == Self::Prepared { [msg::parse("s1", "select 1"), msg::sync()].concat() } else { Vec::new() }
    }

    fn request(self) -> Vec<u8> {
        let run = |statement: &str| {
            [msg::bind("", statement, &[]), msg::describe(b'P', ""), msg::execute("", 0)].concat()
        };
        let unnamed = [msg::parse("", "select 1"), run("")].concat();
        match self {
            Self::Simple => msg::query("select 1"),
            Self::Extended => [unnamed, msg::sync()].concat(),
            Self::Prepared => [run("s1"), msg::sync()].concat(),
            Self::Pipeline => [unnamed.repeat(PIPELINE), msg::sync()].concat(),
        }
    }
}

/// Runs this client as a process against a local port.
pub(crate) fn run(cpus: Cpus, port: u16, ask: Ask, clients: usize, length: Length) -> Outcome {
    let (unit, amount) = match length {
        Length::Each(n) => ("each", n),
        Length::Seconds(n) => ("seconds", n),
    };
    let words = [port.to_string(), clients.to_string(), amount.to_string()];
    let report = report(cpus, "load", &[&words[0], ask.name(), &words[1], unit, &words[2]]);
    Outcome {
        units: report.number("requests"),
        seconds: report.number("seconds"),
        latency_us: Some((report.number("p50"), report.number("p99"))),
    }
}

struct Asker {
    stream: mio::net::TcpStream,
    frames: Frames,
    asked: Instant,
    left: u64,
    busy: bool,
}

/// Arguments: port, what to ask, clients, `each` or `seconds`, how many.
pub(crate) fn main(args: &[String]) {
    let number = |at: usize| args[at].parse::<u64>().unwrap();
    let port = u16::try_from(number(0)).unwrap();
    let all = [Ask::Simple, Ask::Extended, Ask::Prepared, Ask::Pipeline];
    let ask = all.into_iter().find(|ask| ask.name() == args[1]).expect("what to ask");
    let clients = usize::try_from(number(2)).unwrap();
    let timed = args[3] == "seconds";
    let each = if timed { u64::MAX } else { number(4) };

    let poll = Poll::new().unwrap();
    let mut askers: Vec<Asker> = (0..clients).map(|_| login(port, ask, each)).collect();
    for (at, asker) in askers.iter_mut().enumerate() {
        poll.registry().register(&mut asker.stream, Token(at), Interest::READABLE).unwrap();
    }
    let start = Instant::now();
    let end = timed.then(|| start + Duration::from_secs(number(4)));
    let mut times = work(poll, &mut askers, &ask.request(), end);
    let seconds = start.elapsed().as_secs_f64();
    for asker in &mut askers {
        let _ = asker.stream.write_all(&msg::terminate());
    }
    times.sort_unstable();
    let us = |share: f64| Duration::from_nanos(percentile(&times, share)).as_secs_f64() * 1e6;
    println!("requests={} seconds={seconds} p50={} p99={}", times.len(), us(0.5), us(0.99));
}

/// Asks until all have asked enough or the time is over; what each answer took, in nanoseconds.
fn work(mut poll: Poll, askers: &mut [Asker], request: &[u8], end: Option<Instant>) -> Vec<u64> {
    let mut times = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut events = Events::with_capacity(1024);
    for asker in &mut *askers {
        asker.ask(request);
    }
    let mut busy = askers.len();
    while busy > 0 {
        poll.poll(&mut events, None).unwrap();
        let now = Instant::now();
        let is_over = end.is_some_and(|end| now >= end);
        for event in &events {
            let asker = &mut askers[event.token().0];
            if !asker.busy || !asker.is_answered(&mut chunk) {
                continue;
            }
            times.push(u64::try_from(asker.asked.elapsed().as_nanos()).unwrap());
            if is_over || asker.left == 0 {
                asker.busy = false;
                busy -= 1;
            } else {
                asker.ask(request);
            }
        }
    }
    times
}

impl Asker {
    /// Requests are small and one at a time: the socket always takes them.
    fn ask(&mut self, request: &[u8]) {
        self.left -= 1;
        self.busy = true;
        self.asked = Instant::now();
        self.stream.write_all(request).expect("send");
    }

    /// Reads what is there; whether the answer is complete.
    fn is_answered(&mut self, chunk: &mut [u8]) -> bool {
        let mut done = false;
        loop {
            let n = match self.stream.read(chunk) {
                Ok(0) => panic!("the server closed"),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return done,
                Err(e) => panic!("read: {e}"),
            };
            self.frames.take(&chunk[..n], |tag| {
                assert!(tag != b'E', "an error in place of an answer");
                done |= tag == b'Z';
            });
            if n < chunk.len() {
                return done && self.frames.at_boundary();
            }
        }
    }
}

fn login(port: u16, ask: Ask, left: u64) -> Asker {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let parameters = [("user", "app"), ("database", "app")];
    exchange(&mut stream, &msg::startup(V3, &parameters));
    let preparation = ask.preparation();
    if !preparation.is_empty() {
        exchange(&mut stream, &preparation);
    }
    stream.set_nonblocking(true).unwrap();
    let stream = mio::net::TcpStream::from_std(stream);
    Asker { stream, frames: Frames::default(), asked: Instant::now(), left, busy: false }
}

/// Says something and reads to ReadyForQuery.
pub(crate) fn exchange(stream: &mut TcpStream, words: &[u8]) {
    stream.write_all(words).unwrap();
    let mut frames = Frames::default();
    let mut done = false;
    let mut chunk = vec![0; 64 * 1024];
    while !(done && frames.at_boundary()) {
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "the server closed");
        frames.take(&chunk[..n], |tag| {
            assert!(tag != b'E', "the server answered with an error");
            done |= tag == b'Z';
        });
    }
}

//! The metrics endpoint, asked as a scraper would and as nobody should (S47, S48, F74, F75, I24).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::cluster::PASSWORD;
use common::pooler::quoted;
use common::{Cluster, Login, Pooler, PoolerConfig, Raw, free_port};

struct Endpoint {
    pooler: Pooler,
    port: u16,
}

impl Endpoint {
    fn start() -> Self {
        let port = free_port();
        let config = PoolerConfig::for_cluster(Cluster::shared(), 2);
        let pooler = config.set("metrics_listen", quoted(&format!("127.0.0.1:{port}"))).start();
        Self { pooler, port }
    }

    /// Sends bytes and reads to the end of the connection.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(&self, path: &str) -> String {
        self.say(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
    }

    /// Sum of a metric over its labels.
    fn total(&self, name: &str) -> f64 {
        let page = self.get("/metrics");
        let series =
            |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
        let values =
            page.lines().filter(series).map(|line| line.rsplit(' ').next().unwrap().trim().parse::<f64>());
        values.map(|v| v.unwrap_or_else(|e| panic!("{name}: {e}"))).sum()
    }
}

#[test]
fn a_scrape_is_prometheus_text_and_lines_are_well_formed() {
    let endpoint = Endpoint::start();
    Raw::login(&endpoint.pooler.target()).value("select 1");
    let page = endpoint.get("/metrics");
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain"), "{head}");
    let mut series = 0;
    for line in body.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let value = line.rsplit(' ').next().unwrap();
        if value.parse::<f64>().is_ok() {
            assert!(line.starts_with("pooler_"), "{line}");
            series += 1;
        }
    }
    assert!(series > 20, "{body}");
    assert!(!page.contains(PASSWORD), "S44");
}

#[test]
fn i24_the_endpoint_and_the_console_count_alike() {
    let endpoint = Endpoint::start();
    let mut raw = Raw::login(&endpoint.pooler.target());
    for _ in 0..25 {
        raw.value("select 1");
    }
    raw.query("begin");
    raw.query("select 1");
    raw.query("commit");
    let shown = |column| endpoint.pooler.number("STATS_TOTALS", ("database", "app"), column);
    assert_eq!((shown("xact_count"), shown("query_count")), (26, 28));
    let page = endpoint.get("/metrics");
    for count in ["26", "28"] {
        let found =
            page.lines().any(|line| line.starts_with("pooler_") && line.ends_with(&format!(" {count}")));
        assert!(found, "no series says {count}:\n{page}");
    }
    assert!(endpoint.total("pooler_worker_clients") >= 1.0, "{page}");
}

#[test]
fn s48_f74_bad_requests_are_refused_and_disturb_nobody() {
    let endpoint = Endpoint::start();
    let huge = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    let bad: [(&str, &[u8]); 5] = [
        ("POST", b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        ("no such page", b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        ("garbage", b"\x00\x01\x02\xff\r\n\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("huge header", huge.as_bytes()),
    ];
    for (name, request) in bad {
        let answer = endpoint.say(request);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"),
            "{name}: {answer}"
        );
    }
    // Its own cap stops it from accepting more; the kernel then lets the rest wait.
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], endpoint.port));
    let patience = Duration::from_millis(200);
    let slow: Vec<TcpStream> =
        (0..300).map_while(|_| TcpStream::connect_timeout(&addr, patience).ok()).collect();
    assert!(slow.len() > 10, "{}", slow.len());
    for mut stream in &slow {
        let _ = stream.write_all(b"GET /met");
    }
    assert_eq!(Raw::login(&endpoint.pooler.target()).value("select 1"), "1");
    drop(slow);
    common::eventually("scrapes work again", || endpoint.get("/metrics").starts_with("HTTP/1.1 200"));
    endpoint.pooler.assert_healthy();
}

#[test]
fn s47_f75_names_from_clients_make_no_labels_of_their_own() {
    let endpoint = Endpoint::start();
    let before = endpoint.get("/metrics").lines().count();
    for n in 0..50 {
        let name = format!("evil\"}} 1\npooler_fake{{n=\"{n}");
        let target = endpoint.pooler.target();
        let login = Login { parameters: &[("application_name", &name)], ..Login::plain(&target) };
        drop(Raw::try_login(&login));
        drop(Raw::try_login(&Login::plain(&target.with_database(&name))));
        drop(Raw::try_login(&Login::plain(&target.with_user(&name, "x"))));
    }
    let page = endpoint.get("/metrics");
    assert!(!page.contains("pooler_fake"), "{page}");
    assert!(page.lines().count() < before + 150, "{before} lines before, then\n{page}");
}

#[test]
fn the_log_tells_the_port_that_the_system_has_chosen() {
    let config = PoolerConfig::for_cluster(Cluster::shared(), 1);
    let pooler = config.set("metrics_listen", quoted("127.0.0.1:0")).start();
    pooler.logged("metrics on http://127.0.0.1:");
    let log = pooler.log();
    let port = log.split("metrics on http://127.0.0.1:").nth(1).and_then(|rest| rest.split('/').next());
    let endpoint = Endpoint { port: port.unwrap().parse().unwrap(), pooler };
    assert!(endpoint.get("/healthz").starts_with("HTTP/1.1 200"));
}

#[test]
fn health_is_told_apart() {
    let endpoint = Endpoint::start();
    let healthy = endpoint.get("/healthz");
    assert!(healthy.starts_with("HTTP/1.1 200"), "{healthy}");
}

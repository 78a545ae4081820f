//! The endpoint over real loopback connections, with fake workers behind it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::super::testing::{Crew, crew};
use super::*;

struct Endpoint {
    address: SocketAddr,
    closing: watch::Sender<bool>,
    /// Inboxes of workers that nobody serves.
    deaf: Vec<mpsc::Receiver<ToWorker>>,
}

/// The endpoint of so many workers that answer and so many that do not.
async fn endpoint(answering: usize, deaf: usize) -> Endpoint {
    let Crew { fleet, mut inboxes, .. } = crew(answering + deaf, 64);
    let deaf = inboxes.split_off(answering);
    for mut inbox in inboxes {
        tokio::spawn(async move {
            while let Some(message) = inbox.recv().await {
                if let ToWorker::Snapshot(to) = message {
                    let _ = to.send(WorkerSnapshot::default());
                } else if let ToWorker::Ping(to) = message {
                    let _ = to.send(());
                }
            }
        });
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (closing, closed) = watch::channel(false);
    tokio::spawn(serve(listener, fleet, closed));
    Endpoint { address, closing, deaf }
}

impl Endpoint {
    /// Sends these bytes and reads until the end.
    async fn tell(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The endpoint may hang up while it is still being talked to.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, path: &str) -> String {
        self.tell(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
    }
}

#[tokio::test]
async fn metrics_come_as_prometheus_text() {
    let endpoint = endpoint(2, 0).await;
    let answer = endpoint.get("/metrics").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.split_once("\r\n\r\n").is_some_and(|(_, body)| body.contains("pooler")), "{answer}");
}

#[tokio::test]
async fn health_is_that_of_the_workers_and_ends_with_the_shutdown() {
    let endpoint = endpoint(2, 0).await;
    for path in ["/health", "/healthz"] {
        assert!(endpoint.get(path).await.starts_with("HTTP/1.1 200"));
    }
    endpoint.closing.send(true).unwrap();
    assert!(endpoint.get("/healthz").await.starts_with("HTTP/1.1 503"));
    assert!(endpoint.get("/metrics").await.starts_with("HTTP/1.1 200"), "numbers are wanted to the end");
}

/// A check of health must stay cheap: a snapshot walks over every connection of a worker.
#[tokio::test]
async fn health_takes_no_snapshot() {
    let mut endpoint = endpoint(0, 1).await;
    let mut inbox = endpoint.deaf.remove(0);
    let worker = async {
        let Some(ToWorker::Ping(to)) = inbox.recv().await else { panic!("not a ping") };
        to.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(endpoint.get("/healthz"), worker);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_worker_that_does_not_answer_makes_it_503() {
    let endpoint = endpoint(1, 1).await;
    tokio::time::pause();
    assert!(endpoint.get("/healthz").await.starts_with("HTTP/1.1 503"));
    assert!(endpoint.get("/metrics").await.starts_with("HTTP/1.1 503"), "a partial sum would mislead");
    assert!(!endpoint.deaf.is_empty());
}

#[tokio::test]
async fn f74_wrong_methods_and_paths_are_told_so() {
    let endpoint = endpoint(1, 0).await;
    for method in ["POST", "PUT", "DELETE", "BREW"] {
        let answer = endpoint.tell(format!("{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
        assert!(answer.contains("allow: GET, HEAD"), "{answer}");
    }
    assert!(endpoint.get("/").await.starts_with("HTTP/1.1 404"));
    assert!(endpoint.get("/metrics/../etc").await.starts_with("HTTP/1.1 404"));
    let head = endpoint.tell(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn f74_junk_and_huge_heads_are_turned_away() {
    let endpoint = endpoint(1, 0).await;
    let mut huge = b"GET /metrics HTTP/1.1\r\nX: ".to_vec();
    huge.resize(4 * HEAD_BYTES, b'a');
    let answer = endpoint.tell(&huge).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS + 1));
    assert!(endpoint.tell(many.as_bytes()).await.starts_with("HTTP/1.1 431"));
    for junk in
        [&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n\r\nHELLO\r\n\r\n"]
    {
        let answer = endpoint.tell(junk).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(endpoint.get("/healthz").await.starts_with("HTTP/1.1 200"), "and it still serves");
}

#[tokio::test]
async fn f74_a_slow_client_is_sent_away_in_time() {
    let endpoint = endpoint(1, 0).await;
    let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
    stream.write_all(b"GET /met").await.unwrap();
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(start.elapsed() <= CONNECTION_LIFE);
}

#[tokio::test]
async fn f74_slow_clients_take_at_most_their_places() {
    let endpoint = endpoint(1, 0).await;
    let mut slow = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
        stream.write_all(b"GET /").await.unwrap();
        slow.push(stream);
    }
    // No place is left: this one waits in the kernel's queue until a slow client goes.
    let mut waiting = Box::pin(endpoint.get("/healthz"));
    let bound = Duration::from_millis(100);
    assert!(timeout(bound, &mut waiting).await.is_err());
    drop(slow.pop());
    assert!(waiting.await.starts_with("HTTP/1.1 200"));
}

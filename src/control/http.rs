//! Metrics and health over HTTP.
//!
//! Owns: a small HTTP/1.1 server with limits of its own (S48). Does not know: what the numbers mean.
//!
//! Invariant: whatever comes in here, at most [`CONNECTIONS`] connections of at most [`CONNECTION_LIFE`] exist, and
//! at most one of them asks the workers for their numbers at a time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::VERSION;
use super::fleet::Fleet;
use crate::metrics::{self, BuildInfo, WorkerSnapshot};
use crate::worker::ToWorker;

/// Connections at the same time: a few scrapers and probes. More wait in the kernel's queue.
const CONNECTIONS: usize = 32;

/// Bytes of a request's head. Scrapers send a few hundred; hyper needs at least 8 KiB.
const HEAD_BYTES: usize = 8 * 1024;

/// Headers of a request.
const HEADERS: usize = 64;

/// Time for the head of a request, so that a client that drips bytes gives its place back.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Time for a whole connection: one request and its answer, also to a slow reader.
const CONNECTION_LIFE: Duration = Duration::from_secs(20);

/// How long the workers may take to answer before the answer is 503.
const WORKER_BOUND: Duration = Duration::from_secs(2);

/// Rest after a failed accept.
const ACCEPT_REST: Duration = Duration::from_millis(200);

/// The content type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the endpoint answers from.
struct Source {
    fleet: Fleet,
    /// True as soon as the process shuts down.
    closing: watch::Receiver<bool>,
    /// Held while the workers are asked for their numbers.
    turn: Mutex<()>,
}

/// Serves for as long as the control runtime lives.
pub(super) async fn serve(listener: TcpListener, fleet: Fleet, closing: watch::Receiver<bool>) {
    let source = Arc::new(Source { fleet, closing, turn: Mutex::new(()) });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, Arc::clone(&source), place))),
            Err(error) => {
                debug!("accept() on the metrics endpoint failed: {error}");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// One connection: one request, one answer.
async fn converse(stream: TcpStream, source: Arc<Source>, _place: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let source = Arc::clone(&source);
        async move { Ok::<_, Infallible>(source.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("metrics endpoint: {error}"),
        Err(_) => debug!("metrics endpoint: a connection took longer than {CONNECTION_LIFE:?}"),
    }
}

impl Source {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let reading = matches!(*request.method(), Method::GET | Method::HEAD);
        match request.uri().path() {
            "/metrics" | "/health" | "/healthz" if !reading => {
                let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
                refusal.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
                refusal
            }
            "/metrics" => self.metrics().await,
            "/health" | "/healthz" => self.health().await,
            _ => plain(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        // A partial sum would look as if counters had gone back.
        let Some(snapshots) = self.snapshots().await else {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "a worker does not answer\n");
        };
        match metrics::render(&snapshots, BuildInfo { version: VERSION }) {
            Ok(text) => typed(StatusCode::OK, PROMETHEUS_TEXT, text),
            Err(error) => {
                warn!("metrics cannot be rendered: {error}");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be rendered\n")
            }
        }
    }

    async fn health(&self) -> Response<Full<Bytes>> {
        if *self.closing.borrow() {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
        }
        let (answers, _) = self.fleet.ask(ToWorker::Ping).within(WORKER_BOUND).await;
        if answers.len() == self.fleet.len() {
            plain(StatusCode::OK, "ok\n")
        } else {
            plain(StatusCode::SERVICE_UNAVAILABLE, "a worker does not answer\n")
        }
    }

    /// A snapshot of every worker, if all answer in time.
    async fn snapshots(&self) -> Option<Vec<WorkerSnapshot>> {
        let _turn = self.turn.lock().await;
        let (snapshots, _) = self.fleet.ask(ToWorker::Snapshot).within(WORKER_BOUND).await;
        (snapshots.len() == self.fleet.len()).then_some(snapshots)
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn typed(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;

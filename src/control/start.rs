//! From settings to a running process, and to its end.
//!
//! Owns: the order in which the parts come up and go down. Does not know: what they do.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::fleet::Fleet;
use super::logging::Dial;
use super::operator::Operator;
use super::{Origin, VERSION, accept, descriptors, http, signals, systemd};
use crate::admin::AdminHandle;
use crate::config::Config;
use crate::net::{BindError, Listener, TlsContext, TlsProblem};
use crate::worker::{self, WorkerHandle};

/// Threads of the control plane beside the main thread: one for what takes its time (reports, reload), one so that
/// accepting goes on meanwhile.
const CONTROL_THREADS: usize = 2;

/// Why the process could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates or keys are unusable.
    #[error("TLS setup failed: {0}")]
    Tls(#[from] TlsProblem),
    /// No address could be bound, or a Unix socket could not be made.
    #[error("{0}")]
    Listen(#[from] BindError),
    /// What systemd has passed is no listening socket.
    #[error("cannot use a socket passed by systemd: {0}")]
    Passed(std::io::Error),
    /// The address for metrics could not be bound.
    #[error("metrics_listen: cannot listen on {0}: {1}")]
    Metrics(std::net::SocketAddr, std::io::Error),
    /// The system refused threads, signals or the like.
    #[error("cannot start {0}: {1}")]
    System(&'static str, std::io::Error),
    /// All worker threads have ended unexpectedly.
    #[error("all workers ended unexpectedly")]
    WorkersLost,
}

/// Runs the process until it is told to end. Blocks. The log must be set up, and no other thread may run yet.
///
/// # Errors
/// See [`StartError`].
pub fn run(origin: Origin, config: Config, log: Dial) -> Result<(), StartError> {
    let passed = systemd::take_sockets();
    let tls = TlsContext::load(&config.client_tls, &config.server_tls)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("pooler-control")
        .enable_all()
        .build()
        .map_err(|error| StartError::System("the control runtime", error))?;
    let outcome = runtime.block_on(serve(origin, Arc::new(config), Arc::new(tls), passed, log));
    runtime.shutdown_background();
    outcome
}

async fn serve(
    origin: Origin,
    config: Arc<Config>,
    tls: Arc<TlsContext>,
    passed: listenfd::ListenFd,
    log: Dial,
) -> Result<(), StartError> {
    let signals = signals::listen().map_err(|error| StartError::System("signal handling", error))?;
    descriptors::report(&config);
    let listeners = listen(&config, passed)?;
    for listener in &listeners {
        let address = listener.local_addr_text();
        let kind = if address.starts_with(['/', '@']) { "unix:" } else { "" };
        info!("listening on {kind}{address}");
    }
    let metrics = listen_for_metrics(&config).await?;

    let (admin, requests) = AdminHandle::channel();
    let handles = worker::start(worker_count(config.process.workers), &config, &tls, &admin)
        .map_err(|error| StartError::System("the workers", error))?;
    // The workers hold what they need: when they end, so do their requests.
    drop(admin);
    let fleet = Fleet::new(&handles);
    let (closing, closed) = watch::channel(false);
    let (sockets, options) = watch::channel(config.sockets.clone());
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept::serve(listener, fleet.clone(), closed.clone(), options.clone()));
    }
    if let Some(listener) = metrics {
        tokio::spawn(http::serve(listener, fleet.clone(), closed));
    }
    info!("process up: Pooler {VERSION}, {} workers", handles.len());
    systemd::ready();

    let operator = Operator::new(fleet, origin, config, closing).with_log(log).with_sockets(sockets);
    let outcome = operator.run(requests, signals).await.map_err(|_| StartError::WorkersLost);
    accepting.shutdown().await;
    join_ended(handles);
    outcome
}

fn listen(config: &Config, passed: listenfd::ListenFd) -> Result<Vec<Listener>, StartError> {
    if passed.len() == 0 {
        return Ok(Listener::bind_all(&config.process, &config.sockets)?);
    }
    warn!("sockets passed by systemd replace listen_addr and unix_socket_dir");
    systemd::adopt(passed, &config.sockets).map_err(StartError::Passed)
}

async fn listen_for_metrics(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.process.metrics_listen else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|error| StartError::Metrics(address, error))?;
    // With port 0 the system has chosen one.
    let bound = listener.local_addr().unwrap_or(address);
    info!("metrics on http://{bound}/metrics");
    Ok(Some(listener))
}

/// As configured, or one worker per core that this process may use.
fn worker_count(configured: Option<NonZeroUsize>) -> usize {
    configured.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// Waits for the threads that have ended; one that has not is left to the end of the process.
fn join_ended(handles: Vec<WorkerHandle>) {
    for (number, handle) in handles.into_iter().enumerate() {
        if handle.join.is_finished() && handle.join.join().is_err() {
            error!("worker {number} ended by a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_workers_is_the_configured_one_or_that_of_the_cores() {
        assert_eq!(worker_count(NonZeroUsize::new(3)), 3);
        assert!(worker_count(None) >= 1);
    }
}

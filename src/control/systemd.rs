//! What systemd is told, and the sockets it hands over.
//!
//! Owns: notifications (`NOTIFY_SOCKET`), the watchdog's period, socket activation (`LISTEN_FDS`). Does not know:
//! when any of it is due. Without systemd everything here does nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::debug;

use crate::config::SocketOptions;
use crate::net::Listener;

/// Start is over, or a reload is.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The end begins.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// One line for `systemctl status`.
pub(super) fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The process is alive.
pub(super) fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often the watchdog wants to hear from us, if it does: half of its patience.
pub(super) fn watchdog_period() -> Option<Duration> {
    let mut micros = 0;
    sd_notify::watchdog_enabled(false, &mut micros).then(|| Duration::from_micros(micros) / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        debug!("cannot notify systemd: {error}");
    }
}

/// The listeners that systemd passed, if any.
///
/// Must run before any thread is started: the variables that announce the sockets are removed from the environment,
/// so that they are not taken for those of a child.
pub(super) fn take_sockets() -> ListenFd {
    ListenFd::from_env()
}

/// Makes listeners of the passed sockets.
///
/// # Errors
/// A passed descriptor is no listening stream socket.
pub(super) fn adopt(mut passed: ListenFd, options: &SocketOptions) -> io::Result<Vec<Listener>> {
    (0..passed.len())
        .filter_map(|index| {
            let tcp = passed.take_tcp_listener(index).map(|socket| socket.map(OwnedFd::from));
            let socket =
                tcp.or_else(|_| passed.take_unix_listener(index).map(|socket| socket.map(OwnedFd::from)));
            socket.transpose()
        })
        .map(|socket| Listener::from_std(socket?, options))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_systemd_nothing_is_passed_and_telling_is_harmless() {
        assert_eq!(take_sockets().len(), 0);
        ready();
        reloading();
        status("fine");
        watchdog();
        stopping();
    }
}

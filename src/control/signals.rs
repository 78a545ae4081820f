//! What a signal means, and where signals come from.
//!
//! Owns: the life of the process as a state machine without I/O ([`Phase`], [`decide`]), and the stream of signals.
//! Does not know: how anything is carried out.
//!
//! ```text
//! Running --TERM, INT, SHUTDOWN WAIT_FOR_*--> Draining --drained, time over, TERM or INT again--> Stopping
//!    '------------------QUIT, SHUTDOWN--------------------------------------------------------------^
//! ```

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;

use crate::worker::Drain;

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Serving.
    Running,
    /// Listeners closed, connections ending.
    Draining(Drain),
    /// Everything was told to stop.
    Stopping,
}

/// The signals that mean something here. SIGPIPE is ignored by the runtime library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Terminate,
    Interrupt,
    Quit,
    Hangup,
    User1,
    User2,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Close the listeners and empty the workers.
    Drain(Drain),
    /// End everything at once.
    Stop,
    /// Read the configuration again.
    Reload,
    /// Pause all databases.
    Pause,
    /// End the pause of all databases.
    Resume,
    /// Nothing.
    Ignore,
}

/// What a signal means now, and the line that goes to the log.
pub(super) const fn decide(phase: Phase, paused: bool, signal: Signal) -> (Action, &'static str) {
    match (phase, signal) {
        (Phase::Stopping, _) => (Action::Ignore, "got a signal while stopping, ignoring"),
        (_, Signal::Quit) => (Action::Stop, "got SIGQUIT, fast exit"),
        (Phase::Running, Signal::Terminate) => (
            Action::Drain(Drain::Transactions),
            "got SIGTERM, shutting down, waiting for all clients disconnect",
        ),
        (Phase::Running, Signal::Interrupt) => (
            Action::Drain(Drain::Servers),
            "got SIGINT, shutting down, waiting for all servers connections to be released",
        ),
        (Phase::Draining(_), Signal::Terminate) => {
            (Action::Stop, "got SIGTERM while shutting down, fast exit")
        }
        (Phase::Draining(_), Signal::Interrupt) => {
            (Action::Stop, "got SIGINT while shutting down, fast exit")
        }
        (Phase::Running, Signal::Hangup) => (Action::Reload, "got SIGHUP, re-reading config"),
        (Phase::Draining(_), Signal::Hangup) => (Action::Ignore, "got SIGHUP while shutting down, ignoring"),
        (Phase::Running, Signal::User1) if paused => {
            (Action::Ignore, "got SIGUSR1, but already paused/suspended")
        }
        (Phase::Running, Signal::User1) => (Action::Pause, "got SIGUSR1, pausing all activity"),
        (Phase::Draining(_), Signal::User1) => (Action::Ignore, "got SIGUSR1 while shutting down, ignoring"),
        (Phase::Running, Signal::User2) if paused => (Action::Resume, "got SIGUSR2, continuing from PAUSE"),
        (Phase::Running, Signal::User2) => (Action::Ignore, "got SIGUSR2, but not paused/suspended"),
        (Phase::Draining(_), Signal::User2) => (Action::Ignore, "got SIGUSR2 while shutting down, ignoring"),
    }
}

/// Signals that may wait to be acted upon. The system folds equal ones together, so more than one of each kind is
/// already a storm.
const SIGNALS_BOUND: usize = 8;

/// The signals of this process from now on. Must be called inside the control runtime.
pub(super) fn listen() -> io::Result<mpsc::Receiver<Signal>> {
    let mut signals = Signals::new()?;
    let (to, from) = mpsc::channel(SIGNALS_BOUND);
    tokio::spawn(async move { while to.send(signals.next().await).await.is_ok() {} });
    Ok(from)
}

struct Signals {
    terminate: Stream,
    interrupt: Stream,
    quit: Stream,
    hangup: Stream,
    user1: Stream,
    user2: Stream,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// The next signal; those that end the process go first.
    async fn next(&mut self) -> Signal {
        tokio::select! {
            biased;
            Some(()) = self.quit.recv() => Signal::Quit,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.hangup.recv() => Signal::Hangup,
            Some(()) = self.user1.recv() => Signal::User1,
            Some(()) = self.user2.recv() => Signal::User2,
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// f70: the whole table, so that a new state or signal cannot slip in unjudged.
    #[test]
    fn f70_every_signal_has_one_meaning_in_every_state() {
        use Action as A;
        use Signal as S;
        let running = [
            (S::Terminate, A::Drain(Drain::Transactions), A::Drain(Drain::Transactions)),
            (S::Interrupt, A::Drain(Drain::Servers), A::Drain(Drain::Servers)),
            (S::Quit, A::Stop, A::Stop),
            (S::Hangup, A::Reload, A::Reload),
            (S::User1, A::Pause, A::Ignore),
            (S::User2, A::Ignore, A::Resume),
        ];
        for (signal, unpaused, paused) in running {
            assert_eq!(decide(Phase::Running, false, signal).0, unpaused, "{signal:?}");
            assert_eq!(decide(Phase::Running, true, signal).0, paused, "{signal:?} while paused");
        }
        for drain in [Drain::Transactions, Drain::Servers, Drain::Clients] {
            for paused in [false, true] {
                for signal in [S::Terminate, S::Interrupt, S::Quit] {
                    assert_eq!(decide(Phase::Draining(drain), paused, signal).0, A::Stop);
                }
                for signal in [S::Hangup, S::User1, S::User2] {
                    assert_eq!(decide(Phase::Draining(drain), paused, signal).0, A::Ignore);
                }
            }
        }
        for (signal, ..) in running {
            assert_eq!(decide(Phase::Stopping, false, signal).0, A::Ignore);
            assert_eq!(decide(Phase::Stopping, true, signal).0, A::Ignore);
        }
    }

    #[test]
    fn log_lines_are_those_that_monitoring_knows() {
        let line = |phase, paused, signal| decide(phase, paused, signal).1;
        let draining = Phase::Draining(Drain::Servers);
        assert_eq!(
            line(Phase::Running, false, Signal::Terminate),
            "got SIGTERM, shutting down, waiting for all clients disconnect"
        );
        assert_eq!(
            line(Phase::Running, false, Signal::Interrupt),
            "got SIGINT, shutting down, waiting for all servers connections to be released"
        );
        assert_eq!(line(draining, false, Signal::Terminate), "got SIGTERM while shutting down, fast exit");
        assert_eq!(line(draining, false, Signal::Interrupt), "got SIGINT while shutting down, fast exit");
        assert_eq!(line(draining, false, Signal::Quit), "got SIGQUIT, fast exit");
        assert_eq!(line(Phase::Running, false, Signal::Hangup), "got SIGHUP, re-reading config");
        assert_eq!(line(Phase::Running, false, Signal::User1), "got SIGUSR1, pausing all activity");
        assert_eq!(line(Phase::Running, true, Signal::User1), "got SIGUSR1, but already paused/suspended");
        assert_eq!(line(Phase::Running, true, Signal::User2), "got SIGUSR2, continuing from PAUSE");
        assert_eq!(line(Phase::Running, false, Signal::User2), "got SIGUSR2, but not paused/suspended");
        assert_eq!(line(draining, true, Signal::User2), "got SIGUSR2 while shutting down, ignoring");
    }
}

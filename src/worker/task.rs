//! A client's task, from its arrival to the one line that tells its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::life::{OnBoard, Registered};
use super::moving::move_away;
use super::state::ProcessCount;
use super::words::say_goodbye;
use crate::client::{Conversation, Ended, Leaving, Move};
use crate::net::{Stream, clock};
use crate::pool::ClientPresence;
use crate::proto::PgError;
use crate::server::ServerConn;
use crate::session::Rested;

/// A client that has been welcomed.
pub(super) type Settled = (Conversation, Aboard);

/// What takes a client out of all books, however its task ends.
pub(super) struct Aboard {
    pub(super) registered: Registered,
    pub(super) _on_board: OnBoard,
    pub(super) counted: ProcessCount,
    pub(super) _present: ClientPresence<ServerConn>,
}

/// A client's task. There is one for each client, idle or not, so it is written out: an `async fn` would hold the
/// conversation twice, and the room for its beginning and its end all the time. What logging in needs, several kB, is
/// not carried through the client's idle hours.
pub(super) enum Life {
    Arriving(Pin<Box<dyn Future<Output = Option<Settled>>>>),
    Talking(Conversation, Aboard),
    Parting(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

impl Life {
    /// Before the conversation, and after it.
    #[cold]
    fn poll_aside(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Arriving(arrival) = self {
            let settled = ready!(arrival.as_mut().poll(cx));
            *self = settled.map_or(Self::Over, |(conversation, aboard)| Self::Talking(conversation, aboard));
        }
        match self {
            Self::Talking(..) => Pin::new(self).poll(cx),
            Self::Parting(end) => end.as_mut().poll(cx),
            Self::Arriving(_) | Self::Over => Poll::Ready(()),
        }
    }

    #[cold]
    fn end(&mut self, ended: &Ended) {
        if let Self::Talking(conversation, aboard) = std::mem::replace(self, Self::Over) {
            let last_words = part(conversation, ended, &aboard);
            *self = last_words.map_or(Self::Over, |words| Self::Parting(Box::pin(words.say(aboard))));
        }
    }

    /// Goes to another worker, if the client is fit for it now.
    #[cold]
    fn move_to(&mut self, to: u8) -> Poll<()> {
        let Self::Talking(conversation, aboard) = self else { return Poll::Pending };
        match conversation.take_resting() {
            Leaving::Fit(stream, rested) => {
                self.leave((stream, rested), to);
                return Poll::Ready(());
            }
            Leaving::Unfit => aboard.registered.entry.moving.set(Move::Unmovable),
            Leaving::Busy => {}
        }
        Poll::Pending
    }

    /// Goes to another worker with all that is left of a client that rests.
    fn leave(&mut self, resting: (Stream, Rested), to: u8) {
        if let Self::Talking(_, aboard) = std::mem::replace(self, Self::Over) {
            move_away(resting, aboard, to);
        }
    }
}

impl Future for Life {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Talking(conversation, aboard) = &mut *self else { return self.poll_aside(cx) };
        let entry = &aboard.registered.entry;
        let Some(home) = &entry.home else { return Poll::Ready(()) };
        match conversation.poll_turn(cx, entry, home) {
            Poll::Pending => match entry.moving.get() {
                Move::To(to) => self.move_to(to),
                Move::Unasked | Move::Unmovable => Poll::Pending,
            },
            Poll::Ready(ended) => {
                self.end(&ended);
                self.poll_aside(cx)
            }
        }
    }
}

/// What a client is still to be told.
struct LastWords {
    stream: Stream,
    unsent: Vec<u8>,
    error: Option<PgError>,
}

impl LastWords {
    /// It is in all books until it has heard them.
    async fn say(mut self, aboard: Aboard) {
        say_goodbye(&mut self.stream, self.unsent, self.error).await;
        drop(aboard);
    }
}

/// The one line at the end of a conversation, and the last words, if there are any: most clients go by themselves.
fn part(conversation: Conversation, ended: &Ended, aboard: &Aboard) -> Option<LastWords> {
    let (stream, unsent) = conversation.finish(ended)?;
    let entry = &aboard.registered.entry;
    let home = entry.home.as_ref()?;
    if let Some(class) = ended.class() {
        home.counters.borrow_mut().error(class);
    }
    let log = home.settings.borrow().log_disconnections;
    if log {
        let age = clock::wall().duration_since(entry.connected_at.into()).unwrap_or_default().as_secs();
        tracing::info!(
            client = entry.id,
            peer = %entry.ends.peer(),
            user = &*entry.user,
            database = entry.database(),
            "closing because: {ended} (age={age}s)"
        );
    }
    let unsent = unsent?;
    if ended.is_parting() && unsent.is_empty() && !stream.has_unsent() {
        return None; // it went by itself and has everything
    }
    Some(LastWords { stream, unsent, error: ended.for_client() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientEntry;

    /// Ten thousand idle clients are to cost 7 MB.
    #[test]
    fn a_logged_in_client_is_small() {
        assert!(size_of::<Stream>() <= 56, "stream: {}", size_of::<Stream>());
        assert!(size_of::<Rested>() <= 72, "session: {}", size_of::<Rested>());
        assert!(size_of::<ClientEntry>() <= 200, "entry: {}", size_of::<ClientEntry>());
        assert!(size_of::<Life>() <= 176, "task: {}", size_of::<Life>());
    }
}

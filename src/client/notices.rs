//! Notifications for a client, heard by its pool's listener.

use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use super::ended::Ended;
use super::linking::turn;
use super::relay::{Relay, Stall, gone};
use super::wire::{Outboxes, send};
use crate::server::Listener;
use crate::session::{Ear, Errand, Progress, TrackedNames};

impl Relay {
    /// Has the listener do what the conversation waits for, and gives the client what was heard for it; whether
    /// anything moved.
    pub(super) fn mind_channels(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        out: &mut Outboxes,
    ) -> Result<bool, Ended> {
        let Some(ear) = self.session.ear().cloned() else { return Ok(false) };
        ear.listen(cx.waker());
        let mut moved = false;
        while let Some(granted) = self.session.errand().and_then(|errand| self.run_errand(&ear, errand)) {
            out.clear();
            {
                let mut catalog = self.home.catalog.borrow_mut();
                let lease = self.link.as_mut().map(|link| &mut link.lease);
                self.session.errand_done(&mut turn(now, lease, &mut catalog, &self.home, out), granted);
            }
            self.send_both(cx, out, &[])?;
            self.retry |= self.stall == Stall::Replies;
            moved = true;
        }
        self.home.listener.update(&ear);
        if ear.is_deaf() && self.session.errand().is_none() {
            self.home.listener.leave(&ear);
            self.session.stop_listening();
        }
        // What does not read gets no more than its queue holds.
        if self.unsent.is_empty() {
            out.clear();
            if self.session.deliver_heard(&mut out.to_client) {
                send(&mut self.stream, cx, &mut out.to_client, &[], &mut self.unsent).map_err(gone)?;
                moved = true;
            }
        }
        Ok(moved)
    }

    /// `Some` once it is over: whether it was done.
    fn run_errand(&self, ear: &Rc<Ear>, errand: Errand) -> Option<bool> {
        if ear.progress() == Progress::None {
            // A client that hears its server need not wait until the listener is there.
            let waits = !self.session.is_moving_channels() || self.home.listener.is_up();
            if errand == Errand::Register && !(waits && self.is_understood()) {
                ear.set_progress(Progress::Refused); // what the server has to say of it is for the client
            } else {
                Listener::ask(&self.home, ear, errand);
            }
        }
        match ear.progress() {
            Progress::Waiting | Progress::None => None,
            over @ (Progress::Done | Progress::Refused) => {
                ear.set_progress(Progress::None);
                Some(over == Progress::Done)
            }
        }
    }

    /// The client keeps its server for want of the listener: sees to it that there is one, and once there is, that it
    /// gets the channels. The tick wakes a client that is idle.
    #[cold]
    pub(super) fn seek_listener(&mut self, now: Instant, unsent: usize, unread: usize) {
        if !self.is_understood() {
            return;
        }
        if self.home.listener.is_up() {
            self.session.listen_again(now, unsent, unread);
        } else {
            Listener::seek(&self.home, now);
        }
    }

    /// Whether the client reads texts as the listener does, which has the encoding of a fresh server.
    fn is_understood(&self) -> bool {
        let encoding = TrackedNames::CLIENT_ENCODING;
        let welcome = self.home.welcome.borrow();
        let usual = welcome.as_ref().and_then(|welcome| welcome.followed().value(encoding));
        usual == self.session.params().value(encoding)
    }
}

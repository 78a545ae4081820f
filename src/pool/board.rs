//! Which shares of a pool are to help one that is short of servers.
//!
//! Owns: who complained lately, and since when somebody waits there. The home share has it, and all complaints come
//! to it; what it knows may be a few milliseconds old, so whoever is asked looks again before giving.

use std::time::{Duration, Instant};

use super::share::{LAG, ShareId, is_older};

/// A complaint is true for so long: twice the time after which it is repeated.
const FRESH: Duration = Duration::from_millis(10);

/// Who is asked for servers, and for how many each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plea {
    /// The share that should give.
    pub donor: ShareId,
    /// At most so many.
    pub count: u32,
}

/// What a share has said of itself.
#[derive(Debug, Clone, Copy)]
struct Complaint {
    from: ShareId,
    waited: Duration,
    at: Instant,
    /// Whoever waits longest there had complained before: what was asked then has not helped.
    again: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Board {
    /// One for each share at most.
    complaints: Vec<Complaint>,
}

impl Board {
    /// At `now`, the share `from` is short: somebody there has waited so long.
    pub fn note(&mut self, from: ShareId, waited: Duration, now: Instant) {
        let known = self.complaints.iter().position(|known| known.from == from);
        let known = known.map(|at| self.complaints.swap_remove(at));
        let again = known.is_some_and(|known| now.saturating_duration_since(known.at) <= waited);
        self.complaints.push(Complaint { from, waited, at: now, again });
    }

    /// Who among `shares` should help `to`, where somebody has waited so long and `count` servers are missing. First
    /// those that have not complained lately: they may have something to spare. If there are none, or they had nothing
    /// the last time, also the one whose clients have waited shortest, if that is shorter by enough.
    pub fn pleas(
        &self,
        (to, waited): (ShareId, Duration),
        count: u32,
        shares: &[ShareId],
        now: Instant,
    ) -> Vec<Plea> {
        let fresh = |known: &&Complaint| now.saturating_duration_since(known.at) < FRESH;
        let complaint =
            |share: ShareId| self.complaints.iter().filter(fresh).find(|known| known.from == share);
        let others = || shares.iter().copied().filter(|&share| share != to);
        let content: Vec<_> = others().filter(|&share| complaint(share).is_none()).collect();
        let donors = u32::try_from(content.len().max(1)).unwrap_or(u32::MAX);
        let each = count.div_ceil(donors);
        let insists = content.is_empty() || complaint(to).is_some_and(|known| known.again);
        let youngest = others().filter_map(complaint).min_by_key(|known| known.waited);
        let donor = youngest.filter(|known| insists && is_older(waited, known.waited, LAG));
        let spare = content.into_iter().map(|donor| Plea { donor, count: each });
        spare.chain(donor.map(|known| Plea { donor: known.from, count: 1 })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::tests::start;

    const SHARES: [ShareId; 3] = [ShareId(0), ShareId(1), ShareId(2)];

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn those_with_nobody_waiting_are_asked_first() {
        let (mut board, now) = (Board::default(), start());
        board.note(ShareId(0), ms(3), now);
        board.note(ShareId(1), ms(3), now);
        let pleas = board.pleas((ShareId(0), ms(3)), 5, &SHARES, now);
        assert_eq!(pleas, [Plea { donor: ShareId(2), count: 5 }]);
        let now = now + FRESH;
        board.note(ShareId(0), ms(3), now);
        let pleas = board.pleas((ShareId(0), ms(3)), 5, &SHARES, now);
        assert_eq!(pleas.iter().map(|plea| plea.donor.0).collect::<Vec<_>>(), [1, 2], "it is content again");
        assert!(pleas.iter().all(|plea| plea.count == 3));
    }

    #[test]
    fn among_the_short_only_one_whose_clients_wait_less_than_half_as_long_is_asked() {
        let (mut board, now) = (Board::default(), start());
        board.note(ShareId(0), ms(20), now);
        board.note(ShareId(1), ms(10), now);
        board.note(ShareId(2), ms(12), now);
        assert_eq!(board.pleas((ShareId(0), ms(20)), 1, &SHARES, now), [], "all have waited about as long");
        board.note(ShareId(1), ms(9), now);
        let pleas = board.pleas((ShareId(0), ms(20)), 9, &SHARES, now);
        assert_eq!(pleas, [Plea { donor: ShareId(1), count: 1 }]);
        assert_eq!(board.pleas((ShareId(1), ms(9)), 9, &SHARES, now), []);
    }

    /// A worker without any client of the pool, and without any right, does not complain: it alone was asked, again and
    /// again, while a third one had all the servers and a crowd to use them.
    #[test]
    fn those_that_have_nothing_to_spare_do_not_stand_before_those_that_have() {
        let (mut board, now) = (Board::default(), start());
        let donors = |board: &Board, waited, now| {
            let pleas = board.pleas((ShareId(1), waited), 1, &SHARES, now);
            pleas.iter().map(|plea| plea.donor.0).collect::<Vec<_>>()
        };
        board.note(ShareId(0), ms(2), now);
        board.note(ShareId(1), ms(20), now);
        assert_eq!(donors(&board, ms(20), now), [2], "it may have something");
        let now = now + ms(5);
        board.note(ShareId(0), ms(2), now);
        board.note(ShareId(1), ms(25), now);
        assert_eq!(donors(&board, ms(25), now), [2, 0], "it had nothing");
        board.note(ShareId(1), ms(4), now + ms(5));
        assert_eq!(donors(&board, ms(4), now + ms(5)), [2], "that one was helped, this is another one");
        // However long a busy worker takes to repeat itself.
        let now = now + ms(300);
        board.note(ShareId(0), ms(2), now);
        board.note(ShareId(1), ms(310), now);
        assert_eq!(donors(&board, ms(310), now), [2, 0]);
    }
}

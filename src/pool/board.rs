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
        self.complaints.retain(|known| known.from != from && now.duration_since(known.at) < FRESH);
        self.complaints.push(Complaint { from, waited, at: now });
    }

    /// Who among `shares` should help `to`, where somebody has waited so long and `count` servers are missing. First
    /// those that have not complained: they may have something to spare. If there are none, the one whose clients
    /// have waited shortest, if that is shorter by enough.
    pub fn pleas(&self, to: ShareId, waited: Duration, count: u32, shares: &[ShareId]) -> Vec<Plea> {
        let complaint = |share: ShareId| self.complaints.iter().find(|known| known.from == share);
        let others = || shares.iter().copied().filter(|&share| share != to);
        let content: Vec<_> = others().filter(|&share| complaint(share).is_none()).collect();
        if !content.is_empty() {
            let donors = u32::try_from(content.len()).unwrap_or(u32::MAX);
            let each = count.div_ceil(donors);
            return content.into_iter().map(|donor| Plea { donor, count: each }).collect();
        }
        let youngest = others().filter_map(complaint).min_by_key(|known| known.waited);
        let donor = youngest.filter(|known| is_older(waited, known.waited, LAG));
        donor.map(|known| Plea { donor: known.from, count: 1 }).into_iter().collect()
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
        let pleas = board.pleas(ShareId(0), ms(3), 5, &SHARES);
        assert_eq!(pleas, [Plea { donor: ShareId(2), count: 5 }]);
        board.note(ShareId(0), ms(3), now + FRESH);
        let pleas = board.pleas(ShareId(0), ms(3), 5, &SHARES);
        assert_eq!(pleas.iter().map(|plea| plea.donor.0).collect::<Vec<_>>(), [1, 2], "it is content again");
        assert!(pleas.iter().all(|plea| plea.count == 3));
    }

    #[test]
    fn among_the_short_only_one_whose_clients_wait_less_than_half_as_long_is_asked() {
        let (mut board, now) = (Board::default(), start());
        board.note(ShareId(0), ms(20), now);
        board.note(ShareId(1), ms(10), now);
        board.note(ShareId(2), ms(12), now);
        assert_eq!(board.pleas(ShareId(0), ms(20), 1, &SHARES), [], "all have waited about as long");
        board.note(ShareId(1), ms(9), now);
        let pleas = board.pleas(ShareId(0), ms(20), 9, &SHARES);
        assert_eq!(pleas, [Plea { donor: ShareId(1), count: 1 }]);
        assert_eq!(board.pleas(ShareId(1), ms(9), 9, &SHARES), []);
    }
}

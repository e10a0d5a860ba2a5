//! How long a proposer's request for a header may take. Pure.

use std::time::Duration;

use earnest_protocol::Slot;
use earnest_protocol::window::{Fraction, Timing};

/// What is kept of the caller's allowance for the answer's way back.
const MARGIN: Duration = Duration::from_millis(50);

/// The limits of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Our own hard limit.
    pub hard: Duration,
    /// The caller's `X-Timeout-Ms`, if it sent one.
    pub caller_ms: Option<u64>,
    /// Last moment for a header, as a part of the slot after its start.
    pub latest: Fraction,
}

impl Allowance {
    /// Time left for the sources, at `now_ms`. None if the slot's last moment for a header has passed. Without `timing`
    /// (no beacon node was reached yet) only the hard limit and the caller's count.
    #[must_use]
    pub fn time_left(&self, slot: Slot, now_ms: u64, timing: Option<&Timing>) -> Option<Duration> {
        let mut left = self.hard;
        if let Some(caller_ms) = self.caller_ms {
            let caller = Duration::from_millis(caller_ms);
            // An allowance shorter than twice the margin is split in half.
            left = left.min(caller.saturating_sub(MARGIN).max(caller.checked_div(2).unwrap_or(caller)));
        }
        if let Some(timing) = timing {
            let last = timing.slot_start(slot).saturating_add(self.latest.of(timing.slot_ms));
            left = left.min(Duration::from_millis(last.checked_sub(now_ms)?));
        }
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_limit_counts() {
        let timing = Timing::new(0, 12_000, 32);
        let of = |caller_ms, now_ms| {
            Allowance { hard: Duration::from_millis(900), caller_ms, latest: Fraction(1, 4) }
                .time_left(Slot(10), now_ms, Some(&timing))
                .map(|left| left.as_millis())
        };
        let start = 120_000;
        assert_eq!(of(None, start), Some(900));
        assert_eq!(of(Some(1_000), start), Some(900));
        assert_eq!(of(Some(500), start), Some(450));
        assert_eq!(of(Some(60), start), Some(30));
        assert_eq!(of(Some(0), start), None);
        assert_eq!(of(Some(u64::MAX), start), Some(900));
        assert_eq!(of(None, start + 2_500), Some(500));
        assert_eq!(of(None, start + 3_000), None);
        assert_eq!(of(None, start + 3_001), None);
        assert_eq!(of(None, start - 5_000), Some(900));
    }

    #[test]
    fn without_a_clock_the_hard_limit_holds() {
        let allowance =
            Allowance { hard: Duration::from_millis(900), caller_ms: None, latest: Fraction(1, 4) };
        assert_eq!(allowance.time_left(Slot(10), u64::MAX, None), Some(Duration::from_millis(900)));
    }
}

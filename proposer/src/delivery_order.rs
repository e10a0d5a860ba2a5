//! Whom a signed block is sent to, and when (design §6). Pure: no clock, no socket.
//!
//! Everyone who offered the block is asked at once: which of them has its payload, and which only copied the offer, shows when the
//! block is there or not. The remaining sources are asked once all of those failed, or are silent for [`PATIENCE`]: hardly any of them
//! has the payload.

use std::time::Duration;

use crate::slot_state::SourceIndex;

/// How long those who offered the block may be silent before everyone else is asked too.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// One signed block on its way.
#[derive(Debug)]
pub struct DeliveryOrder {
    booked: Vec<SourceIndex>,
    remaining: Vec<SourceIndex>,
    asked: usize,
}

impl DeliveryOrder {
    /// The order for a block that `booked` offered, where `all` could be asked.
    #[must_use]
    pub fn new(booked: Vec<SourceIndex>, all: &[SourceIndex]) -> Self {
        let remaining = all.iter().filter(|source| !booked.contains(source)).copied().collect();
        Self { booked, remaining, asked: 0 }
    }

    /// Whom to ask at once: all who offered the block; everyone, if nobody is known to have.
    pub fn start(&mut self) -> Vec<SourceIndex> {
        let booked = std::mem::take(&mut self.booked);
        if booked.is_empty() { self.ask_remaining() } else { self.ask(booked) }
    }

    /// Whom to ask once [`PATIENCE`] is over.
    pub fn patience_over(&mut self) -> Vec<SourceIndex> {
        self.ask_remaining()
    }

    /// Whom to ask after one that was asked has failed. Nobody is left to wait for once [`Self::is_over`].
    pub fn failed(&mut self) -> Vec<SourceIndex> {
        self.asked = self.asked.saturating_sub(1);
        if self.asked == 0 { self.ask_remaining() } else { Vec::new() }
    }

    /// One that has failed is asked once more.
    pub const fn again(&mut self) {
        self.asked = self.asked.saturating_add(1);
    }

    /// Whether everyone was asked and has failed.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.asked == 0 && self.booked.is_empty() && self.remaining.is_empty()
    }

    fn ask_remaining(&mut self) -> Vec<SourceIndex> {
        let remaining = std::mem::take(&mut self.remaining);
        self.ask(remaining)
    }

    fn ask(&mut self, sources: Vec<SourceIndex>) -> Vec<SourceIndex> {
        self.asked = self.asked.saturating_add(sources.len());
        sources
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [SourceIndex; 4] = [0, 1, 2, 3];

    #[test]
    fn everyone_who_offered_it_is_asked_at_once_and_the_rest_when_all_of_them_failed() {
        let mut order = DeliveryOrder::new(vec![2, 0, 1], &ALL);
        assert_eq!(order.start(), [2, 0, 1]);
        assert!(order.failed().is_empty() && order.failed().is_empty());
        assert_eq!(order.failed(), [3]);
        assert!(!order.is_over());
        assert!(order.failed().is_empty() && order.is_over());
    }

    #[test]
    fn silence_brings_in_the_rest() {
        let mut order = DeliveryOrder::new(vec![2, 0], &ALL);
        assert_eq!(order.start(), [2, 0]);
        assert_eq!(order.patience_over(), [1, 3]);
        assert!(order.patience_over().is_empty());
        for _ in 0..4 {
            assert!(!order.is_over() && order.failed().is_empty());
        }
        assert!(order.is_over());
    }

    #[test]
    fn one_that_is_asked_again_keeps_no_other_back() {
        let mut order = DeliveryOrder::new(vec![2], &[0, 2]);
        assert_eq!(order.start(), [2]);
        assert_eq!(order.failed(), [0]);
        order.again();
        assert!(order.failed().is_empty() && !order.is_over());
        assert!(order.failed().is_empty() && order.is_over());
    }

    #[test]
    fn a_block_nobody_is_known_to_have_offered_goes_to_everyone() {
        let mut order = DeliveryOrder::new(Vec::new(), &ALL);
        assert_eq!(order.start(), ALL);
        assert!(DeliveryOrder::new(Vec::new(), &[]).is_over());
    }

    proptest! {
        #[test]
        fn everyone_is_asked_once(
            booked in Just(ALL.to_vec()).prop_shuffle(),
            count in 0usize..=4,
            patience_after in 0usize..6,
        ) {
            let booked = booked[..count].to_vec();
            let mut order = DeliveryOrder::new(booked, &ALL);
            let mut asked = order.start();
            let mut failures = 0;
            while !order.is_over() {
                if failures == patience_after {
                    asked.extend(order.patience_over());
                }
                failures += 1;
                asked.extend(order.failed());
                prop_assert!(failures <= ALL.len());
            }
            prop_assert_eq!(failures, ALL.len());
            asked.sort_unstable();
            prop_assert_eq!(asked, ALL);
        }
    }
}

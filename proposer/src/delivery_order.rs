//! Whom a signed block is sent to, and when (design §6). Pure: no clock, no socket.
//!
//! The source whose offer was served is asked first. Everyone else who offered the block is asked as soon as one asked before
//! failed, or is silent for [`PATIENCE`]. The remaining sources are asked only once everyone who offered the block has failed:
//! hardly any of them has its payload.

use std::time::Duration;

use crate::slot_state::SourceIndex;

/// How long the first source may be silent before the others who offered the block are asked too.
pub const PATIENCE: Duration = Duration::from_millis(500);

/// One signed block on its way.
#[derive(Debug)]
pub struct DeliveryOrder {
    booked: Vec<SourceIndex>,
    remaining: Vec<SourceIndex>,
    asked: usize,
}

impl DeliveryOrder {
    /// The order for a block that `booked` offered, the first of them first, where `all` could be asked.
    #[must_use]
    pub fn new(booked: Vec<SourceIndex>, all: &[SourceIndex]) -> Self {
        let remaining = all.iter().filter(|source| !booked.contains(source)).copied().collect();
        Self { booked, remaining, asked: 0 }
    }

    /// Whom to ask at once: the first who offered the block; everyone, if nobody is known to have.
    pub fn start(&mut self) -> Vec<SourceIndex> {
        let rest = self.booked.split_off(self.booked.len().min(1));
        let first = std::mem::replace(&mut self.booked, rest);
        if first.is_empty() { self.ask_remaining() } else { self.ask(first) }
    }

    /// Whom to ask once [`PATIENCE`] is over.
    pub fn patience_over(&mut self) -> Vec<SourceIndex> {
        let booked = std::mem::take(&mut self.booked);
        self.ask(booked)
    }

    /// Whom to ask after one that was asked has failed. Nobody is left to wait for once [`Self::is_over`].
    pub fn failed(&mut self) -> Vec<SourceIndex> {
        self.asked = self.asked.saturating_sub(1);
        let booked = self.patience_over();
        if booked.is_empty() && self.asked == 0 { self.ask_remaining() } else { booked }
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
    fn the_first_failure_brings_in_the_others_and_the_last_one_the_rest() {
        let mut order = DeliveryOrder::new(vec![2, 0, 1], &ALL);
        assert_eq!(order.start(), [2]);
        assert_eq!(order.failed(), [0, 1]);
        assert!(order.patience_over().is_empty());
        assert!(order.failed().is_empty());
        assert_eq!(order.failed(), [3]);
        assert!(!order.is_over());
        assert!(order.failed().is_empty());
        assert!(order.is_over());
    }

    #[test]
    fn silence_brings_in_the_others_but_not_the_rest() {
        let mut order = DeliveryOrder::new(vec![2, 0], &ALL);
        assert_eq!(order.start(), [2]);
        assert_eq!(order.patience_over(), [0]);
        assert!(order.failed().is_empty());
        assert_eq!(order.failed(), [1, 3]);
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
        fn everyone_is_asked_once_and_the_rest_only_after_all_booked_failed(
            booked in Just(ALL.to_vec()).prop_shuffle(),
            count in 0usize..=4,
            patience_after in 0usize..6,
        ) {
            let booked = booked[..count].to_vec();
            let mut order = DeliveryOrder::new(booked.clone(), &ALL);
            let mut asked = order.start();
            let mut failures = 0;
            while !order.is_over() {
                if failures == patience_after {
                    asked.extend(order.patience_over());
                }
                failures += 1;
                let next = order.failed();
                if next.iter().any(|source| !booked.contains(source)) {
                    prop_assert_eq!(failures, count);
                }
                asked.extend(next);
                prop_assert!(failures <= ALL.len());
            }
            prop_assert_eq!(failures, ALL.len());
            prop_assert_eq!(asked.first(), booked.first().or(ALL.first()));
            asked.sort_unstable();
            prop_assert_eq!(asked, ALL);
        }
    }
}

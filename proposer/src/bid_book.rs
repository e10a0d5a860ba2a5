//! Which source offered which block, so that the signed block goes back to it. Pure.

use std::collections::VecDeque;

use alloy_primitives::B256;

use crate::slot_state::SourceIndex;

/// Offers remembered; a proposer asks for a handful a slot, so this is many slots.
const MAX_OFFERS: usize = 1024;

/// The offers of the recent past.
#[derive(Debug, Default)]
pub struct BidBook {
    offers: VecDeque<(B256, SourceIndex)>,
}

impl BidBook {
    /// Remembers that `source` offered the block. The oldest offer is forgotten for it, if there are too many.
    pub fn offered(&mut self, block_hash: B256, source: SourceIndex) {
        let offer = (block_hash, source);
        if self.offers.contains(&offer) {
            return;
        }
        if self.offers.len() >= MAX_OFFERS {
            self.offers.pop_front();
        }
        self.offers.push_back(offer);
    }

    /// Everyone who offered the block; nobody if it is not known, as after a restart.
    #[must_use]
    pub fn sources_of(&self, block_hash: B256) -> Vec<SourceIndex> {
        self.offers.iter().filter(|(hash, _)| *hash == block_hash).map(|(_, source)| *source).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_of_a_block_is_known_until_too_many_came_after() {
        let hash = |number: usize| B256::from(alloy_primitives::U256::from(number));
        let mut book = BidBook::default();
        for (number, source) in [(1, 0), (1, 2), (1, 0), (2, 1)] {
            book.offered(hash(number), source);
        }
        assert_eq!(book.sources_of(hash(1)), [0, 2]);
        assert_eq!(book.sources_of(hash(2)), [1]);
        assert!(book.sources_of(hash(3)).is_empty());
        for number in 10..10 + MAX_OFFERS {
            book.offered(hash(number), 0);
        }
        assert!(book.sources_of(hash(1)).is_empty());
        assert_eq!(book.sources_of(hash(9 + MAX_OFFERS)), [0]);
    }
}

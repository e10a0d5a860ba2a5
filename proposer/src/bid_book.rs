//! Which sources offered which block, so that the signed block goes back to all of them, and for whom it was served. Pure.

use std::collections::VecDeque;

use alloy_primitives::B256;
use earnest_builder_types::BlsPublicKey;

use crate::slot_state::SourceIndex;

/// Blocks remembered; a proposer asks for a handful of headers a slot, so this is many slots.
const MAX_BLOCKS: usize = 1024;

/// The offers of the recent past.
#[derive(Debug, Default)]
pub struct BidBook {
    offers: VecDeque<Offered>,
}

#[derive(Debug)]
struct Offered {
    block_hash: B256,
    sources: Vec<SourceIndex>,
    served: Option<(u64, BlsPublicKey)>,
}

impl BidBook {
    /// Remembers that `source` offered the block. The oldest block is forgotten for it, if there are too many.
    pub fn offered(&mut self, block_hash: B256, source: SourceIndex) {
        if let Some(offered) = self.entry(block_hash)
            && !offered.sources.contains(&source)
        {
            offered.sources.push(source);
        }
    }

    /// Remembers that the offer of `source` went to the proposer of a slot.
    pub fn served(&mut self, block_hash: B256, source: SourceIndex, slot: u64, proposer: BlsPublicKey) {
        if let Some(offered) = self.entry(block_hash) {
            offered.sources.retain(|other| *other != source);
            offered.sources.insert(0, source);
            offered.served = Some((slot, proposer));
        }
    }

    /// Everyone who offered the block, the one whose offer was served first; nobody if it is not known, as after a restart.
    #[must_use]
    pub fn sources_of(&self, block_hash: B256) -> Vec<SourceIndex> {
        self.find(block_hash).map(|offered| offered.sources.clone()).unwrap_or_default()
    }

    /// The proposer whom the block was served for in `slot`.
    #[must_use]
    pub fn proposer_of(&self, block_hash: B256, slot: u64) -> Option<BlsPublicKey> {
        let (served_in, proposer) = self.find(block_hash)?.served?;
        (served_in == slot).then_some(proposer)
    }

    fn find(&self, block_hash: B256) -> Option<&Offered> {
        // The newest is the likeliest.
        self.offers.iter().rev().find(|offered| offered.block_hash == block_hash)
    }

    fn entry(&mut self, block_hash: B256) -> Option<&mut Offered> {
        let position = self.offers.iter().rposition(|offered| offered.block_hash == block_hash);
        let Some(position) = position else {
            if self.offers.len() >= MAX_BLOCKS {
                self.offers.pop_front();
            }
            self.offers.push_back(Offered { block_hash, sources: Vec::new(), served: None });
            return self.offers.back_mut();
        };
        self.offers.get_mut(position)
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
        for number in 10..10 + MAX_BLOCKS {
            book.offered(hash(number), 0);
        }
        assert!(book.sources_of(hash(1)).is_empty());
        assert_eq!(book.sources_of(hash(9 + MAX_BLOCKS)), [0]);
    }

    #[test]
    fn the_source_whose_offer_was_served_last_comes_first() {
        let mut book = BidBook::default();
        book.offered(B256::ZERO, 0);
        book.offered(B256::ZERO, 1);
        let key = BlsPublicKey::repeat_byte(1);
        assert_eq!(book.proposer_of(B256::ZERO, 7), None);
        book.served(B256::ZERO, 1, 7, key);
        assert_eq!(book.sources_of(B256::ZERO), [1, 0]);
        book.offered(B256::ZERO, 0);
        book.served(B256::ZERO, 2, 7, key);
        assert_eq!(book.sources_of(B256::ZERO), [2, 1, 0]);
        assert_eq!(book.proposer_of(B256::ZERO, 7), Some(key));
        assert_eq!(book.proposer_of(B256::ZERO, 8), None, "of another slot");
    }
}

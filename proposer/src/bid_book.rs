//! Which sources offered which block, so that the signed block goes back to all of them. Pure.

use std::collections::VecDeque;

use alloy_primitives::B256;

use crate::slot_state::SourceIndex;

/// Blocks remembered; a proposer asks for a handful of headers a slot, so this is many slots.
const MAX_BLOCKS: usize = 1024;

/// The offers of the recent past.
#[derive(Debug, Default)]
pub struct BidBook {
    offers: VecDeque<(B256, Vec<SourceIndex>)>,
}

impl BidBook {
    /// Remembers that `source` offered the block. The oldest block is forgotten for it, if there are too many.
    pub fn offered(&mut self, block_hash: B256, source: SourceIndex) {
        let sources = self.entry(block_hash);
        if let Some(sources) = sources
            && !sources.contains(&source)
        {
            sources.push(source);
        }
    }

    /// Remembers that the offer of `source` went to the proposer: the signed block goes there first.
    pub fn served(&mut self, block_hash: B256, source: SourceIndex) {
        if let Some(sources) = self.entry(block_hash) {
            sources.retain(|other| *other != source);
            sources.insert(0, source);
        }
    }

    /// Everyone who offered the block, the one whose offer was served first; nobody if it is not known, as after a restart.
    #[must_use]
    pub fn sources_of(&self, block_hash: B256) -> Vec<SourceIndex> {
        let known = self.offers.iter().find(|(hash, _)| *hash == block_hash);
        known.map(|(_, sources)| sources.clone()).unwrap_or_default()
    }

    fn entry(&mut self, block_hash: B256) -> Option<&mut Vec<SourceIndex>> {
        let position = self.offers.iter().position(|(hash, _)| *hash == block_hash);
        if position.is_none() {
            if self.offers.len() >= MAX_BLOCKS {
                self.offers.pop_front();
            }
            self.offers.push_back((block_hash, Vec::new()));
        }
        let entry = match position {
            Some(position) => self.offers.get_mut(position),
            None => self.offers.back_mut(),
        };
        entry.map(|(_, sources)| sources)
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
        book.served(B256::ZERO, 1);
        assert_eq!(book.sources_of(B256::ZERO), [1, 0]);
        book.offered(B256::ZERO, 0);
        book.served(B256::ZERO, 2);
        assert_eq!(book.sources_of(B256::ZERO), [2, 1, 0]);
    }
}

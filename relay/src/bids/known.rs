//! Blocks on offer, and those that proposers may have headers of: in memory while there is room, in files throughout. Pure.

use super::{candidate::Candidate, contest::Limits};
use crate::spool::Filed;
use alloy_primitives::B256;
use earnest_builder_types::BlsPublicKey;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// What a block is found by: its slot and its hash.
pub(super) type Id = (u64, B256);

/// Where a block is.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// In memory.
    Here(Arc<Candidate>),
    /// In its file alone.
    Filed {
        /// To whom it was offered.
        proposer: BlsPublicKey,
    },
}

#[derive(Debug)]
enum Block {
    /// In memory, and in its file too, if that could be written.
    Here {
        candidate: Arc<Candidate>,
        filed: Option<Filed>,
        order: u64,
    },
    Filed {
        file: Filed,
        proposer: BlsPublicKey,
    },
}

/// The blocks. The first under a hash stays: a proposer may have signed for just that.
#[derive(Debug, Default)]
pub(super) struct KnownBlocks {
    blocks: HashMap<Id, Block>,
    order: u64,
}

impl KnownBlocks {
    pub(super) fn contains(&self, id: &Id) -> bool {
        self.blocks.contains_key(id)
    }

    pub(super) fn get(&self, id: &Id) -> Option<Known> {
        Some(match self.blocks.get(id)? {
            Block::Here { candidate, .. } => Known::Here(Arc::clone(candidate)),
            Block::Filed { proposer, .. } => Known::Filed { proposer: *proposer },
        })
    }

    /// The file of a block that is not in memory.
    pub(super) fn file(&self, id: &Id) -> Option<Filed> {
        match self.blocks.get(id)? {
            Block::Filed { file, .. } => Some(*file),
            Block::Here { .. } => None,
        }
    }

    /// Takes in a block that is offered.
    pub(super) fn insert(&mut self, candidate: &Arc<Candidate>, filed: Option<Filed>) {
        self.order = self.order.saturating_add(1);
        let block = Block::Here { candidate: Arc::clone(candidate), filed, order: self.order };
        self.blocks.entry(candidate.id()).or_insert(block);
    }

    /// Takes in a block that was offered before a restart.
    pub(super) fn insert_filed(&mut self, id: Id, file: Filed, proposer: BlsPublicKey) {
        self.blocks.entry(id).or_insert(Block::Filed { file, proposer });
    }

    pub(super) fn remove(&mut self, id: &Id) {
        self.blocks.remove(id);
    }

    pub(super) fn prune(&mut self, slot: u64) {
        self.blocks.retain(|(of, _), _| *of >= slot);
    }

    /// Makes room for one more block to be offered, in place of `leaving`: of those that have files and are not `on_offer`
    /// the oldest leave memory. Whether there is room.
    pub(super) fn make_room(
        &mut self,
        next: &Candidate,
        leaving: Option<Id>,
        on_offer: &HashSet<Id>,
        limits: &Limits,
    ) -> bool {
        let (mut known, mut count, mut bytes) = (1_usize, 1_usize, next.bytes);
        let mut movable = Vec::new();
        for (id, block) in &self.blocks {
            if id.0 != next.trace.slot || *id == next.id() || Some(*id) == leaving {
                continue;
            }
            known = known.saturating_add(1);
            let Block::Here { candidate, filed, order } = block else { continue };
            count = count.saturating_add(1);
            bytes = bytes.saturating_add(candidate.bytes);
            if let Some(file) = filed.filter(|_| !on_offer.contains(id)) {
                movable.push((*order, *id, file, candidate.trace.proposer_pubkey, candidate.bytes));
            }
        }
        movable.sort_unstable_by_key(|(order, ..)| *order);
        let mut movable = movable.into_iter();
        let mut moving = Vec::new();
        while count > limits.offered || bytes > limits.bytes {
            let Some((_, id, file, proposer, freed)) = movable.next() else { return false };
            count = count.saturating_sub(1);
            bytes = bytes.saturating_sub(freed);
            moving.push((id, Block::Filed { file, proposer }));
        }
        if known > limits.given {
            return false;
        }
        self.blocks.extend(moving);
        true
    }

    /// Blocks in memory.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> usize {
        self.blocks.values().filter(|block| matches!(block, Block::Here { .. })).count()
    }
}

//! What the beacon chain says of the slots ahead: who proposes, and what payloads must be built with. Pure.

use alloy_primitives::B256;
use earnest_builder_types::{BlsPublicKey, engine::PayloadAttributes};
use earnest_chain::{Lookahead, Proposer, beacon::PayloadAttributesEvent};
use std::collections::{BTreeMap, HashMap};

/// Parents held for one slot.
const MAX_PARENTS: usize = 16;

/// What a payload on one parent must be built with.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    /// As the engine is told them.
    pub(crate) attributes: PayloadAttributes,
    /// Number of the parent, where the node says it.
    pub(crate) parent_number: Option<u64>,
}

/// Proposers and payload attributes, as beacon nodes told them.
#[derive(Debug)]
pub(crate) struct Duties {
    /// Proposers by slot.
    pub(crate) lookahead: Lookahead,
    attributes: BTreeMap<u64, HashMap<B256, Attributes>>,
    /// The parent told last, by slot.
    newest: BTreeMap<u64, B256>,
}

impl Duties {
    /// Nothing known yet.
    pub(crate) fn new(slots_per_epoch: u64) -> Self {
        Self {
            lookahead: Lookahead::new(slots_per_epoch),
            attributes: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }

    /// The proposer of a slot.
    pub(crate) fn proposer(&self, slot: u64) -> Option<Proposer> {
        self.lookahead.proposer(slot).copied()
    }

    /// Whether `key` proposes `slot`; none if that is not known.
    pub(crate) fn proposes(&self, slot: u64, key: &BlsPublicKey) -> Option<bool> {
        self.proposer(slot).map(|proposer| proposer.pubkey == *key)
    }

    /// What a payload of `slot` on `parent` must be built with.
    pub(crate) fn attributes(&self, slot: u64, parent: &B256) -> Option<&Attributes> {
        self.attributes.get(&slot)?.get(parent)
    }

    /// The execution block that a block of `slot` would stand on, as it was told last.
    pub(crate) fn newest_parent(&self, slot: u64) -> Option<B256> {
        self.newest.get(&slot).copied()
    }

    /// Takes what a node told.
    pub(crate) fn learn(&mut self, event: PayloadAttributesEvent) {
        let data = event.data;
        self.newest.insert(data.proposal_slot, data.parent_block_hash);
        let parents = self.attributes.entry(data.proposal_slot).or_default();
        if parents.len() < MAX_PARENTS || parents.contains_key(&data.parent_block_hash) {
            let (attributes, parent_number) = (data.payload_attributes, data.parent_block_number);
            parents.insert(data.parent_block_hash, Attributes { attributes, parent_number });
        }
    }

    /// Forgets what lies before `slot`.
    pub(crate) fn prune(&mut self, slot: u64) {
        self.attributes = self.attributes.split_off(&slot);
        self.newest = self.newest.split_off(&slot);
    }
}

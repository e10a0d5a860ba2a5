//! The beacon chain as a state machine of slots, blocks and duties. Pure: no clock, no socket, no BLS.
//!
//! A block is imported after [`ChainState::check_gossip`], [`ChainState::check_contents`], [`ChainState::claim`] and the
//! execution client have let it pass. Each import and each reorg says what it did to the head and to finality; the
//! shell makes calls and events of it.
//!
//! Rules of this chain, where they are simpler than Ethereum's:
//! - the head is the block of the highest slot; of two of the same slot the first that came;
//! - a block may come late: any slot that is not final is good enough;
//! - the block at the start of epoch E−1 is justified and that of E−2 final once the head lies in epoch E;
//! - proposers are drawn from the block that decides the epoch ([`super::duties`]), on each branch;
//! - the state is the randomness, and its root a hash ([`state_root_after`]).

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Display,
};

use alloy_primitives::{B256, keccak256};
use earnest_builder_types::{BeaconBlockHeader, BlsSignature, TreeHash};
use earnest_chain::SlotClock;
use sha2::{Digest, Sha256};

use super::{
    block_error::BlockError,
    duties::{decisive_slot, proposer_index},
    engine::ExecutionBlock,
};

/// A block of the chain, as far as the rules need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Root of the block.
    pub root: B256,
    /// Slot, proposer, parent, state and body.
    pub header: BeaconBlockHeader,
    /// The proposer's signature.
    pub signature: BlsSignature,
    /// Its execution block.
    pub execution: ExecutionBlock,
    /// The randomness after it, which the next payload carries as `prev_randao`.
    pub randao_mix: B256,
}

/// What the rules read of a block that asks to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Slot, proposer, parent, state and body.
    pub header: BeaconBlockHeader,
    /// The proposer's signature over the header.
    pub signature: BlsSignature,
    /// The proposer's signature over the epoch.
    pub randao_reveal: BlsSignature,
    /// Its execution block.
    pub execution: ExecutionBlock,
    /// Hash of the parent execution block.
    pub parent_hash: B256,
    /// The randomness the payload was built with.
    pub prev_randao: B256,
    /// Number of withdrawals in the payload.
    pub withdrawals: usize,
}

impl Candidate {
    /// Root of the block.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.header.tree_hash_root()
    }
}

/// An epoch and the block it begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The epoch.
    pub epoch: u64,
    /// Root of its first block, or of the last one before it.
    pub root: B256,
}

/// What an import or a reorg did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadChange {
    /// Root of the head before.
    pub old: B256,
    /// Root of the head now.
    pub new: B256,
    /// Blocks that are no longer on the chain.
    pub orphaned: u64,
    /// Whether the head lies in another epoch than before.
    pub epoch_transition: bool,
    /// A later final checkpoint.
    pub finalized: Option<Checkpoint>,
}

/// Everything a payload for a slot must be built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposalFacts {
    /// The slot.
    pub slot: u64,
    /// Who proposes it.
    pub proposer_index: u64,
    /// Unix seconds of the payload.
    pub timestamp: u64,
    /// Randomness of the payload.
    pub prev_randao: B256,
    /// The block to build upon.
    pub parent: Block,
}

/// Blocks, head, finality and duties.
#[derive(Debug)]
pub struct ChainState {
    clock: SlotClock,
    validators: u64,
    blocks: HashMap<B256, Block>,
    canonical: BTreeMap<u64, B256>,
    signed: HashMap<(u64, u64), B256>,
    genesis: B256,
    head: Block,
    justified: Checkpoint,
    finalized: Checkpoint,
}

/// The root of the reduced state after a block: a hash over the parent's state root and what the block adds.
#[must_use]
pub fn state_root_after(
    parent_state_root: B256,
    slot: u64,
    proposer_index: u64,
    randao_reveal: &BlsSignature,
    block_hash: B256,
) -> B256 {
    let parts = [
        b"earnest devnet state".as_slice(),
        parent_state_root.as_slice(),
        &slot.to_le_bytes(),
        &proposer_index.to_le_bytes(),
        randao_reveal.as_slice(),
        block_hash.as_slice(),
    ];
    keccak256(parts.concat())
}

/// The randomness after a block: `mix XOR sha256(randao_reveal)`.
#[must_use]
pub fn mix_randao(mix: B256, randao_reveal: &BlsSignature) -> B256 {
    mix ^ B256::from_slice(&Sha256::digest(randao_reveal))
}

impl ChainState {
    /// A chain whose slot 0 is a genesis block upon `execution`, with `validators` validators.
    #[must_use]
    pub fn new(
        clock: SlotClock,
        validators: u64,
        genesis_validators_root: B256,
        execution: ExecutionBlock,
    ) -> Self {
        let state_root = keccak256([genesis_validators_root.as_slice(), execution.hash.as_slice()].concat());
        let header = BeaconBlockHeader {
            slot: 0,
            proposer_index: 0,
            parent_root: B256::ZERO,
            state_root,
            body_root: B256::ZERO,
        };
        let root = header.tree_hash_root();
        let genesis =
            Block { root, header, signature: BlsSignature::ZERO, execution, randao_mix: execution.hash };
        let checkpoint = Checkpoint { epoch: 0, root };
        Self {
            clock,
            validators,
            blocks: HashMap::from([(root, genesis.clone())]),
            canonical: BTreeMap::from([(0, root)]),
            signed: HashMap::new(),
            genesis: root,
            head: genesis,
            justified: checkpoint,
            finalized: checkpoint,
        }
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> &Block {
        &self.head
    }

    /// Root of the genesis block.
    #[must_use]
    pub fn genesis_root(&self) -> B256 {
        self.genesis
    }

    /// The justified checkpoint.
    #[must_use]
    pub fn justified(&self) -> Checkpoint {
        self.justified
    }

    /// The final checkpoint.
    #[must_use]
    pub fn finalized(&self) -> Checkpoint {
        self.finalized
    }

    /// A block by its root, on the chain or off it.
    #[must_use]
    pub fn block(&self, root: B256) -> Option<&Block> {
        self.blocks.get(&root)
    }

    /// A block by the root of the state after it.
    #[must_use]
    pub fn block_with_state(&self, state_root: B256) -> Option<&Block> {
        self.blocks.values().find(|block| block.header.state_root == state_root)
    }

    /// The block of a slot, on the chain of the head.
    #[must_use]
    pub fn block_at(&self, slot: u64) -> Option<&Block> {
        self.block(*self.canonical.get(&slot)?)
    }

    /// The last block at `slot` or before it, on the chain of the head.
    #[must_use]
    pub fn block_at_or_before(&self, slot: u64) -> Option<&Block> {
        let (_, root) = self.canonical.range(..=slot).next_back()?;
        self.block(*root)
    }

    /// The blocks on the chain of the head, oldest first.
    pub fn chain(&self) -> impl Iterator<Item = &Block> {
        self.canonical.values().filter_map(|root| self.block(*root))
    }

    /// Whether the block is on the chain of the head.
    #[must_use]
    pub fn is_canonical(&self, block: &Block) -> bool {
        self.canonical.get(&block.header.slot) == Some(&block.root)
    }

    /// The block that decides the duties of `epoch` on the branch that ends with `branch`.
    #[must_use]
    pub fn decided_by(&self, branch: &Block, epoch: u64) -> B256 {
        let slot = decisive_slot(epoch, self.clock.slots_per_epoch());
        self.ancestor(branch, slot).map_or(self.genesis, |block| block.root)
    }

    /// Who proposes `slot` on the branch that ends with `branch`.
    #[must_use]
    pub fn proposer(&self, branch: &Block, slot: u64) -> u64 {
        proposer_index(self.decided_by(branch, self.clock.epoch_of(slot)), slot, self.validators)
    }

    /// Who proposes the slots of `epoch` on the branch that ends with `branch`, in order.
    #[must_use]
    pub fn proposers(&self, branch: &Block, epoch: u64) -> Vec<u64> {
        let decided_by = self.decided_by(branch, epoch);
        self.clock.slots_of(epoch).map(|slot| proposer_index(decided_by, slot, self.validators)).collect()
    }

    /// What a payload for `slot` upon the head must be built with; `None` if the head is not before `slot`.
    #[must_use]
    pub fn facts_for(&self, slot: u64) -> Option<ProposalFacts> {
        if self.head.header.slot >= slot {
            return None;
        }
        Some(ProposalFacts {
            slot,
            proposer_index: self.proposer(&self.head, slot),
            timestamp: self.timestamp(slot, &self.head),
            prev_randao: self.head.randao_mix,
            parent: self.head.clone(),
        })
    }

    /// Whether a block may be gossiped: its time, its parent and its proposer. No signatures.
    ///
    /// # Errors
    /// [`BlockError`] with the first rule it breaks.
    pub fn check_gossip(&self, candidate: &Candidate, current_slot: u64) -> Result<(), BlockError> {
        let header = &candidate.header;
        let slot = header.slot;
        if slot > current_slot {
            return Err(BlockError::Early { slot, current: current_slot });
        }
        if slot <= self.final_slot() {
            return Err(BlockError::Final(slot));
        }
        let parent = self.parent(candidate)?;
        if slot <= parent.header.slot {
            return Err(BlockError::NotAfterParent { slot, parent: parent.header.slot });
        }
        let due = self.proposer(parent, slot);
        if header.proposer_index != due {
            return Err(BlockError::Proposer { slot, got: header.proposer_index, due });
        }
        Ok(())
    }

    /// Whether payload and state root are those of this place in the chain.
    ///
    /// # Errors
    /// [`BlockError`] with the first rule it breaks.
    pub fn check_contents(&self, candidate: &Candidate) -> Result<(), BlockError> {
        let parent = self.parent(candidate)?;
        let header = &candidate.header;
        same("parent_hash", candidate.parent_hash, parent.execution.hash)?;
        same("block_number", candidate.execution.number, parent.execution.number.saturating_add(1))?;
        same("timestamp", candidate.execution.timestamp, self.timestamp(header.slot, parent))?;
        same("prev_randao", candidate.prev_randao, parent.randao_mix)?;
        same("withdrawals", candidate.withdrawals, 0)?;
        let due = state_root_after(
            parent.header.state_root,
            header.slot,
            header.proposer_index,
            &candidate.randao_reveal,
            candidate.execution.hash,
        );
        if header.state_root != due {
            return Err(BlockError::StateRoot { got: header.state_root, due });
        }
        Ok(())
    }

    /// Records that the proposer signed this block for its slot. Call it once the signature is verified.
    ///
    /// # Errors
    /// [`BlockError::Equivocation`] if it signed another one.
    pub fn claim(&mut self, candidate: &Candidate) -> Result<(), BlockError> {
        let header = &candidate.header;
        let root = candidate.root();
        let known = *self.signed.entry((header.slot, header.proposer_index)).or_insert(root);
        if known == root { Ok(()) } else { Err(BlockError::Equivocation { slot: header.slot, known }) }
    }

    /// Adds a block that has passed every check. `None` if the head stays what it is.
    ///
    /// # Errors
    /// [`BlockError::UnknownParent`] if its parent is not there.
    pub fn import(&mut self, candidate: Candidate) -> Result<Option<HeadChange>, BlockError> {
        let root = candidate.root();
        if self.blocks.contains_key(&root) {
            return Ok(None);
        }
        let mix = self.parent(&candidate)?.randao_mix;
        let block = Block {
            root,
            header: candidate.header,
            signature: candidate.signature,
            execution: candidate.execution,
            randao_mix: mix_randao(mix, &candidate.randao_reveal),
        };
        self.blocks.insert(root, block.clone());
        let wins = block.header.slot > self.head.header.slot;
        Ok(wins.then(|| self.set_head(block)))
    }

    /// Takes the last `depth` blocks off the chain. `None` if that would undo what is final, or nothing.
    pub fn reorg(&mut self, depth: u64) -> Option<HeadChange> {
        let mut target = self.head.clone();
        for _ in 0..depth {
            if target.root == self.finalized.root {
                return None;
            }
            target = self.block(target.header.parent_root)?.clone();
        }
        (target.root != self.head.root).then(|| self.set_head(target))
    }

    /// How many blocks [`Self::reorg`] has to take off for the duties of the epoch after `epoch` to change:
    /// all from the block that decided them on. `None` if that would undo what is final.
    #[must_use]
    pub fn depth_to_change_duties(&self, epoch: u64) -> Option<u64> {
        let decisive = self.decided_by(&self.head, epoch.saturating_add(1));
        let first = self.block(decisive)?.header.slot;
        let taken = self.canonical.range(first..).count();
        (first > self.final_slot()).then(|| u64::try_from(taken).unwrap_or(u64::MAX))
    }

    /// Makes a known block the head again, whatever its slot. `None` if it is not known or is the head.
    pub fn adopt(&mut self, root: B256) -> Option<HeadChange> {
        let block = self.block(root)?.clone();
        (root != self.head.root).then(|| self.set_head(block))
    }

    fn final_slot(&self) -> u64 {
        self.block(self.finalized.root).map_or(0, |block| block.header.slot)
    }

    fn parent(&self, candidate: &Candidate) -> Result<&Block, BlockError> {
        let root = candidate.header.parent_root;
        self.block(root).ok_or(BlockError::UnknownParent(root))
    }

    /// Payload timestamps rise even where the chain began upon an execution block later than genesis.
    fn timestamp(&self, slot: u64, parent: &Block) -> u64 {
        self.clock.payload_timestamp(slot).max(parent.execution.timestamp.saturating_add(1))
    }

    fn set_head(&mut self, block: Block) -> HeadChange {
        let old = std::mem::replace(&mut self.head, block.clone());
        let mut added = vec![(block.header.slot, block.root)];
        let mut at = block;
        while !self.is_canonical(&at) {
            let Some(parent) = self.block(at.header.parent_root).cloned() else { break };
            added.push((parent.header.slot, parent.root));
            at = parent;
        }
        let kept = at.header.slot;
        let orphaned = self.canonical.range(kept.saturating_add(1)..).count();
        self.canonical.retain(|slot, _| *slot <= kept);
        self.canonical.extend(added);
        HeadChange {
            old: old.root,
            new: self.head.root,
            orphaned: u64::try_from(orphaned).unwrap_or(u64::MAX),
            epoch_transition: self.clock.epoch_of(old.header.slot)
                != self.clock.epoch_of(self.head.header.slot),
            finalized: self.update_finality(),
        }
    }

    fn update_finality(&mut self) -> Option<Checkpoint> {
        let epoch = self.clock.epoch_of(self.head.header.slot);
        self.justified = self.checkpoint(epoch.saturating_sub(1)).unwrap_or(self.justified);
        let finalized = self.checkpoint(epoch.saturating_sub(2))?;
        if finalized.epoch <= self.finalized.epoch {
            return None;
        }
        self.finalized = finalized;
        // Blocks of final slots are refused as such, so nobody can equivocate there any more.
        let final_slot = self.final_slot();
        self.signed.retain(|(slot, _), _| *slot > final_slot);
        Some(finalized)
    }

    fn checkpoint(&self, epoch: u64) -> Option<Checkpoint> {
        let block = self.block_at_or_before(self.clock.first_slot(epoch))?;
        Some(Checkpoint { epoch, root: block.root })
    }

    /// The last block at `slot` or before it on the branch that ends with `branch`.
    fn ancestor<'a>(&'a self, branch: &'a Block, slot: u64) -> Option<&'a Block> {
        let mut at = branch;
        while at.header.slot > slot {
            if self.is_canonical(at) {
                return self.block_at_or_before(slot);
            }
            at = self.block(at.header.parent_root)?;
        }
        Some(at)
    }
}

fn same<T: PartialEq + Display + Copy>(field: &'static str, got: T, due: T) -> Result<(), BlockError> {
    if got == due {
        Ok(())
    } else {
        Err(BlockError::Payload { field, got: got.to_string(), due: due.to_string() })
    }
}

#[cfg(test)]
#[path = "chain_state_tests.rs"]
mod tests;

//! Blocks for slots that are past: a chain that begins with some of its life behind it.
//!
//! What takes tens of slots to come into force is in force when the first proposer is at work, and nobody had to wait for it.

use std::time::Duration;

use alloy_primitives::B256;
use earnest_builder_types::bls::SecretKey;
use earnest_chain::BroadcastValidation;

use super::{
    BeaconNode,
    block::randao_signing_root,
    outcome::{ProduceError, PublishError},
};

/// Why a past slot got no block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// No block could be made.
    #[error(transparent)]
    Produce(#[from] ProduceError),
    /// It was not taken.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The proposer's key is not among those given.
    #[error("there is no key of validator {0}")]
    NoKey(u64),
}

impl BeaconNode {
    /// Proposes a local block in the slot after the head's, signed by its proposer; `keys` are the validators', by index. The
    /// execution client has `build` to fill it. Returns the slot, or none if it is not past yet: then it is its proposer's.
    ///
    /// # Errors
    /// [`HistoryError`]; the chain is as before.
    pub async fn grow(&self, keys: &[SecretKey], build: Duration) -> Result<Option<u64>, HistoryError> {
        let node = &self.node;
        let slot = self.head().header.slot.saturating_add(1);
        if slot >= node.current_slot() {
            return Ok(None);
        }
        let proposer = self.chain(|chain| chain.facts_for(slot)).map_or(0, |facts| facts.proposer_index);
        let key = usize::try_from(proposer).ok().and_then(|index| keys.get(index));
        let key = key.ok_or(HistoryError::NoKey(proposer))?;
        let domains = self.proposer_domains();
        let reveal = key.sign(randao_signing_root(self.clock().epoch_of(slot), domains.randao));
        if !build.is_zero() {
            node.prepare_for(slot).await;
            tokio::time::sleep(build).await;
        }
        let produced = node.produce(slot, reveal, B256::ZERO).await?;
        let block = produced.contents.sign(key, domains.block);
        node.publish(block, BroadcastValidation::ConsensusAndEquivocation).await?;
        Ok(Some(slot))
    }
}

//! What a searcher holds, and its check by anyone, offline (design §4).

use crate::{
    BlsPublicKey, RollupId, Slot,
    delegation::{DelegationError, Holding, TrustRoots, valid_delegation},
    integer, merkle,
    objects::{Authority, CommitmentKind, ObjectError, OrderingCommitment, SignedCommitment},
    ordering::Draft,
    signing::SigningError,
};
use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A transaction's signed place in the order, with all that is needed to check it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreconfReceipt {
    /// The rollup.
    pub rollup_id: RollupId,
    /// The sequencing slot.
    pub slot: Slot,
    /// The segment within the window.
    #[serde(with = "integer")]
    pub segment: u16,
    /// Position in the segment.
    #[serde(with = "integer")]
    pub index: u32,
    /// `keccak256` of the raw transaction.
    pub tx_hash: B256,
    /// Siblings from the transaction's leaf to the commitment's root, lowest first.
    pub path: Vec<B256>,
    /// The committer's word.
    pub commitment: SignedCommitment,
    /// What makes the committer the holder.
    pub authority: Arc<Authority>,
}

/// What a receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The commitment that holds the transaction.
    pub commitment: OrderingCommitment,
    /// Who is bound by it.
    pub committer: Address,
    /// The slot's proposer, as the relay has it.
    pub proposer: BlsPublicKey,
    /// The right by which the committer orders.
    pub holding: Holding,
}

/// Why a receipt proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The commitment is not an ordering.
    #[error("commitment is not an ordering: {0}")]
    NotAnOrdering(ObjectError),
    /// The commitment is a seal.
    #[error("commitment is a seal, which holds no transactions")]
    Seal,
    /// The commitment is for another rollup.
    #[error("commitment for rollup {0}")]
    Rollup(RollupId),
    /// The commitment is for another slot.
    #[error("commitment for slot {0}")]
    Slot(Slot),
    /// The commitment is in another segment.
    #[error("commitment in segment {0}")]
    Segment(u16),
    /// The index is not among the commitment's.
    #[error("index {index} is not among the {tx_count} from {first_index}")]
    Index {
        /// The receipt's index.
        index: u32,
        /// The commitment's first.
        first_index: u32,
        /// How many it has.
        tx_count: u32,
    },
    /// The path does not lead from the transaction at this index to the commitment's root.
    #[error("path does not lead to the commitment's root")]
    Path,
    /// The delegation is not valid.
    #[error(transparent)]
    Delegation(#[from] DelegationError),
    /// The commitment's signature is malformed.
    #[error("commitment's signature: {0}")]
    Signature(SigningError),
    /// Signed by another than the delegation names for this rollup.
    #[error("signed by {found}, but {expected} holds the window")]
    Committer {
        /// The entry's committer.
        expected: Address,
        /// Who signed.
        found: Address,
    },
}

impl PreconfReceipt {
    /// The receipt of the transaction at `position` of a draft that is durable and signed.
    ///
    /// `None` if there is no such transaction.
    #[must_use]
    pub fn of(
        draft: &Draft,
        position: usize,
        commitment: SignedCommitment,
        authority: Arc<Authority>,
    ) -> Option<Self> {
        let place = draft.place(position)?;
        Some(Self {
            rollup_id: draft.commitment.rollup_id,
            slot: place.slot,
            segment: place.segment,
            index: place.index,
            tx_hash: draft.txs.get(position)?.hash,
            path: draft.tree.path(position)?,
            commitment,
            authority,
        })
    }

    /// Checks the receipt offline.
    ///
    /// # Errors
    /// The first [`ReceiptError`] found; signatures last.
    pub fn verify(&self, roots: &TrustRoots) -> Result<Verified, ReceiptError> {
        let ordering = self.commitment.commitment.ordering().map_err(ReceiptError::NotAnOrdering)?;
        self.check_place(&ordering)?;
        let holding = valid_delegation(&self.authority, self.rollup_id, self.slot, roots)?;
        let committer = self.commitment.committer(&roots.network).map_err(ReceiptError::Signature)?;
        if committer != holding.entry.committer {
            return Err(ReceiptError::Committer { expected: holding.entry.committer, found: committer });
        }
        let proposer = self.authority.delegation.message.proposer;
        Ok(Verified { commitment: ordering, committer, proposer, holding })
    }

    fn check_place(&self, ordering: &OrderingCommitment) -> Result<(), ReceiptError> {
        let OrderingCommitment { first_index, tx_count, tx_root, .. } = *ordering;
        if ordering.kind != CommitmentKind::Microblock {
            return Err(ReceiptError::Seal);
        }
        if ordering.rollup_id != self.rollup_id {
            return Err(ReceiptError::Rollup(ordering.rollup_id));
        }
        if ordering.slot != self.slot {
            return Err(ReceiptError::Slot(ordering.slot));
        }
        if ordering.segment != self.segment {
            return Err(ReceiptError::Segment(ordering.segment));
        }
        let position = self.index.checked_sub(first_index).filter(|position| *position < tx_count);
        let position = position.ok_or(ReceiptError::Index { index: self.index, first_index, tx_count })?;
        let leaf = merkle::leaf(u64::from(self.index), &self.tx_hash);
        if merkle::verify(&leaf, position, tx_count, &self.path, &tx_root) {
            Ok(())
        } else {
            Err(ReceiptError::Path)
        }
    }
}

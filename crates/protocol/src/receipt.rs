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
    /// The commitment names another slasher than the one that counts, which would judge it.
    #[error("the commitment names the slasher {found}, not {expected}")]
    Slasher {
        /// The one that counts.
        expected: Address,
        /// The one named.
        found: Address,
    },
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
        let found = self.commitment.commitment.slasher;
        if let Some(expected) = roots.other_slasher(found) {
            return Err(ReceiptError::Slasher { expected, found });
        }
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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::{
        fixtures::*,
        objects::{Commitment, Delegation, SlotAllocation},
        ordering::{Limits, WindowEngine},
        signing::Signed,
    };
    use alloy_primitives::Bytes;

    /// Receipts of a window's second microblock, of five transactions.
    fn receipts() -> Vec<PreconfReceipt> {
        let mut engine = WindowEngine::open(config(Limits::default()), Arc::default());
        let mut push = |ids: std::ops::Range<u32>| {
            for id in ids {
                engine.push(opaque_tx(id, 50)).unwrap();
            }
            engine.draft(START_MS).unwrap();
            engine.committed().unwrap()
        };
        push(0..3);
        let draft = push(3..8);
        let (signed, authority) = (signed(&draft), Arc::new(authority()));
        (0..5)
            .map(|position| {
                PreconfReceipt::of(&draft, position, signed.clone(), Arc::clone(&authority)).unwrap()
            })
            .collect()
    }

    fn receipt() -> PreconfReceipt {
        receipts().swap_remove(2)
    }

    /// Signs the receipt's ordering again after a change.
    fn with_ordering(change: impl FnOnce(&mut OrderingCommitment)) -> PreconfReceipt {
        let mut receipt = receipt();
        let mut ordering = receipt.commitment.commitment.ordering().unwrap();
        change(&mut ordering);
        let commitment = Commitment::of_ordering(&ordering, Address::ZERO);
        receipt.commitment = SignedCommitment::sign(commitment, &committer(), &NETWORK).unwrap();
        receipt
    }

    fn with_authority(authority: Authority) -> PreconfReceipt {
        PreconfReceipt { authority: Arc::new(authority), ..receipt() }
    }

    fn with_allocation(change: impl FnOnce(&mut SlotAllocation)) -> PreconfReceipt {
        let mut allocation = allocation();
        change(&mut allocation);
        with_authority(authority_of(delegation(&allocation), START_MS - 1))
    }

    fn error(receipt: &PreconfReceipt) -> ReceiptError {
        receipt.verify(&roots()).unwrap_err()
    }

    fn delegation_error(receipt: &PreconfReceipt) -> DelegationError {
        let ReceiptError::Delegation(error) = error(receipt) else { panic!("another error") };
        error
    }

    #[test]
    fn every_receipt_verifies_offline_also_from_json() {
        for (position, receipt) in (3..).zip(receipts()) {
            assert_eq!(receipt.index, position);
            let json = serde_json::to_string(&receipt).unwrap();
            let read: PreconfReceipt = serde_json::from_str(&json).unwrap();
            assert_eq!(read, receipt);
            let verified = read.verify(&roots()).unwrap();
            assert_eq!(verified.committer, committer().address());
            assert_eq!(verified.proposer, proposer().public_key());
            assert_eq!(verified.commitment.number, 1);
            let without_proposer = TrustRoots { proposer: None, ..roots() };
            assert!(read.verify(&without_proposer).is_ok());
        }
    }

    #[test]
    fn another_place_or_transaction_is_refused() {
        let [a, b] = &receipts()[..2] else { panic!("five receipts") };
        assert_eq!(error(&PreconfReceipt { index: b.index, ..a.clone() }), ReceiptError::Path);
        assert_eq!(error(&PreconfReceipt { tx_hash: b.tx_hash, ..a.clone() }), ReceiptError::Path);
        assert_eq!(error(&PreconfReceipt { path: b.path.clone(), ..a.clone() }), ReceiptError::Path);
        for index in [0, 2, 8, u32::MAX] {
            let expected = ReceiptError::Index { index, first_index: 3, tx_count: 5 };
            assert_eq!(error(&PreconfReceipt { index, ..a.clone() }), expected);
        }
        let rollup = RollupId(7_000);
        assert_eq!(error(&PreconfReceipt { rollup_id: rollup, ..a.clone() }), ReceiptError::Rollup(ROLLUP));
        assert_eq!(error(&PreconfReceipt { slot: Slot(101), ..a.clone() }), ReceiptError::Slot(SLOT));
        assert_eq!(error(&PreconfReceipt { segment: 1, ..a.clone() }), ReceiptError::Segment(0));
    }

    #[test]
    fn another_commitment_is_refused() {
        let seal = with_ordering(|ordering| ordering.kind = CommitmentKind::WindowSeal);
        assert_eq!(error(&seal), ReceiptError::Seal);
        assert_eq!(error(&with_ordering(|ordering| ordering.tx_root.0[0] ^= 1)), ReceiptError::Path);

        let mut receipt = receipt();
        receipt.commitment.commitment.commitment_type = 1;
        assert_eq!(error(&receipt), ReceiptError::NotAnOrdering(ObjectError::Field("commitmentType")));
        receipt.commitment.commitment.commitment_type = 0x11;
        let mut longer = receipt.commitment.commitment.payload.to_vec();
        longer.push(0);
        receipt.commitment.commitment.payload = Bytes::from(longer);
        assert_eq!(error(&receipt), ReceiptError::NotAnOrdering(ObjectError::NotCanonical));
    }

    #[test]
    fn only_the_entrys_committer_binds() {
        let mut other = receipt();
        let commitment = other.commitment.commitment.clone();
        other.commitment = SignedCommitment::sign(commitment, &ecdsa_secret(9), &NETWORK).unwrap();
        let (expected, found) = (committer().address(), ecdsa_secret(9).address());
        assert_eq!(error(&other), ReceiptError::Committer { expected, found });

        other.commitment.signature[64] = 29;
        assert_eq!(error(&other), ReceiptError::Signature(SigningError::BadV(29)));

        let moved = with_allocation(|allocation| allocation.entries[1].committer = ecdsa_secret(9).address());
        let (expected, found) = (found, committer().address());
        assert_eq!(error(&moved), ReceiptError::Committer { expected, found });

        let elsewhere = TrustRoots { network: crate::signing::Network { chain_id: 1, ..NETWORK }, ..roots() };
        assert!(receipt().verify(&elsewhere).is_err());
    }

    #[test]
    fn only_a_valid_delegation_counts() {
        use DelegationError as E;
        let late = |at| with_authority(authority_of(delegation(&allocation()), at));
        assert!(late(START_MS - 1).verify(&roots()).is_ok());
        let expected = E::TooLate { received_at_ms: START_MS, start_ms: START_MS };
        assert_eq!(delegation_error(&late(START_MS)), expected);

        let none = with_allocation(|allocation| allocation.entries.retain(|entry| entry.rollup_id != ROLLUP));
        assert_eq!(delegation_error(&none), E::NoEntry(ROLLUP));
        let slot = with_allocation(|allocation| allocation.slot = Slot(99));
        assert_eq!(delegation_error(&slot), E::AllocationSlot(Slot(99)));

        let bare = Delegation { metadata: Bytes::new(), ..delegation(&allocation()) };
        assert!(matches!(delegation_error(&with_authority(authority_of(bare, 1))), E::NoAllocation(_)));
        let moved = Delegation { slot: Slot(99), ..delegation(&allocation()) };
        assert_eq!(delegation_error(&with_authority(authority_of(moved, 1))), E::WrongSlot(Slot(99)));

        let stranger = TrustRoots { proposer: Some(bls_secret(7).public_key()), ..roots() };
        assert_eq!(receipt().verify(&stranger), Err(E::WrongProposer.into()));
        let other = TrustRoots { slasher: Some(Address::repeat_byte(0x52)), ..roots() };
        let named = receipt().commitment.commitment.slasher;
        let refused = ReceiptError::Slasher { expected: Address::repeat_byte(0x52), found: named };
        assert_eq!(receipt().verify(&other).map(drop), Err(refused));
        assert!(receipt().verify(&TrustRoots { slasher: Some(named), ..roots() }).is_ok());
        let stranger = TrustRoots { relay: ecdsa_secret(7).address(), ..roots() };
        assert_eq!(receipt().verify(&stranger), Err(E::RelaySignature(SigningError::WrongSigner).into()));
    }

    #[test]
    fn the_receipt_is_of_this_delegation_and_both_are_signed() {
        use DelegationError as E;
        let mut authority = authority();
        authority.receipt.message.slot = Slot(99);
        assert_eq!(delegation_error(&with_authority(authority.clone())), E::ReceiptSlot(Slot(99)));
        authority.receipt.message.slot = SLOT;
        authority.receipt.message.delegation_hash.0[0] ^= 1;
        assert_eq!(delegation_error(&with_authority(authority.clone())), E::ReceiptHash);
        authority.receipt.message.delegation_hash.0[0] ^= 1;
        authority.receipt.message.received_at_ms -= 1;
        let expected = E::RelaySignature(SigningError::WrongSigner);
        assert_eq!(delegation_error(&with_authority(authority.clone())), expected);

        authority = crate::fixtures::authority();
        let message = authority.delegation.message.clone();
        authority.delegation =
            Signed::<_, crate::BlsSignature>::sign(message, &bls_secret(7), &NETWORK).unwrap();
        let expected = E::ProposerSignature(SigningError::WrongSigner);
        assert_eq!(delegation_error(&with_authority(authority)), expected);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

        #[test]
        fn no_byte_of_a_receipt_can_be_changed(at: proptest::sample::Index, to in b'0'..=b'f') {
            let receipt = receipt();
            let mut json = serde_json::to_vec(&receipt).unwrap();
            let at = at.index(json.len());
            json[at] = to;
            if let Ok(changed) = serde_json::from_slice::<PreconfReceipt>(&json) {
                proptest::prop_assert!(changed == receipt || changed.verify(&roots()).is_err());
            }
        }
    }
}

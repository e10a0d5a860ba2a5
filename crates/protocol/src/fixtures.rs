//! A network with one proposer, one relay and one gateway, for unit tests.

use crate::{
    RollupId, Slot, Wei,
    delegation::TrustRoots,
    objects::Policy,
    objects::{
        AllocationEntry, Authority, Commitment, Delegation, DelegationReceipt, SignedCommitment,
        SlotAllocation,
    },
    ordering::{Draft, Limits, WindowConfig},
    signing::{EcdsaSecret, Network, Signed},
    tx::{TxRules, ValidatedTx, validate},
};
use alloy_primitives::{Address, B256, Bytes, U256};
use earnest_builder_types::bls;
use std::sync::Arc;

pub(crate) const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 0, 0x38], chain_id: 3_151_908 };
pub(crate) const ROLLUP: RollupId = RollupId(7_001);
pub(crate) const SLOT: Slot = Slot(100);
pub(crate) const START_MS: u64 = 1_700_000_000_000;

pub(crate) fn bls_secret(seed: u8) -> bls::SecretKey {
    bls::SecretKey::from_bytes(&[seed; 32]).unwrap()
}

pub(crate) fn ecdsa_secret(seed: u8) -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[seed; 32]).unwrap()
}

pub(crate) fn proposer() -> bls::SecretKey {
    bls_secret(1)
}

pub(crate) fn relay() -> EcdsaSecret {
    ecdsa_secret(2)
}

pub(crate) fn committer() -> EcdsaSecret {
    ecdsa_secret(3)
}

pub(crate) fn roots() -> TrustRoots {
    let proposer = Some(proposer().public_key());
    TrustRoots { network: NETWORK, relay: relay().address(), proposer, slasher: None }
}

pub(crate) fn entry(rollup_id: RollupId) -> AllocationEntry {
    AllocationEntry {
        rollup_id,
        bid_hash: B256::repeat_byte(9),
        account: Address::repeat_byte(8),
        committer: committer().address(),
        delegate: bls_secret(4).public_key(),
        price_wei: Wei(U256::from(5)),
        url: "http://gateway.example".into(),
    }
}

pub(crate) fn allocation() -> SlotAllocation {
    let entries = vec![entry(RollupId(7_000)), entry(ROLLUP)];
    SlotAllocation { slot: SLOT, start_ms: START_MS, auction_root: B256::ZERO, entries }
}

pub(crate) fn delegation(allocation: &SlotAllocation) -> Delegation {
    Delegation {
        proposer: proposer().public_key(),
        delegate: bls_secret(4).public_key(),
        committer: committer().address(),
        slot: SLOT,
        metadata: allocation.to_metadata(),
    }
}

pub(crate) fn authority_of(message: Delegation, received_at_ms: u64) -> Authority {
    let receipt = DelegationReceipt::of(&message, received_at_ms).unwrap();
    Authority {
        delegation: Signed::<_, crate::BlsSignature>::sign(message, &proposer(), &NETWORK).unwrap(),
        receipt: Signed::<_, crate::signing::EcdsaSignature>::sign(receipt, &relay(), &NETWORK).unwrap(),
    }
}

pub(crate) fn authority() -> Authority {
    authority_of(delegation(&allocation()), START_MS - 1)
}

pub(crate) const OPAQUE: TxRules =
    TxRules { chain_id: 7_001, max_bytes: 1 << 20, max_gas: 1_000_000, opaque: true };

/// An opaque transaction of `size` bytes, told from others by `id`.
pub(crate) fn opaque_tx(id: u32, size: usize) -> Arc<ValidatedTx> {
    let mut raw = id.to_be_bytes().to_vec();
    raw.resize(size.max(4), 0xaa);
    Arc::new(validate(Bytes::from(raw), &OPAQUE).unwrap())
}

pub(crate) fn config(limits: Limits) -> WindowConfig {
    WindowConfig { rollup_id: ROLLUP, slot: SLOT, forced_inclusion_head: 3, policy: Policy::Fcfs, limits }
}

pub(crate) fn signed(draft: &Draft) -> SignedCommitment {
    let commitment = Commitment::of_encoded_ordering(draft.payload.clone(), Address::repeat_byte(0x51));
    SignedCommitment::sign(commitment, &committer(), &NETWORK).unwrap()
}

//! One value of every object, with no two fields alike.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use earnest_builder_types::bls::SecretKey;
use earnest_protocol::{
    RollupId, Slot, Wei,
    objects::{
        AllocationEntry, AuctionResult, Authority, BidAck, BundleCommitment, Commitment, CommitmentKind,
        Constraint, ConstraintReceipt, ConstraintStatus, ConstraintsMessage, Delegation, DelegationReceipt,
        InclusionPayload, Leg, OrderingBid, OrderingCommitment, Policy, Registration, RollupRegistration,
        SlotAllocation,
    },
    signing::{EcdsaSecret, Network, Signed},
};

pub(crate) const NETWORKS: [Network; 2] = [
    Network { genesis_fork_version: [0x10, 0x00, 0x09, 0x10], chain_id: 560_048 },
    Network { genesis_fork_version: [0x20, 0x00, 0x00, 0x89], chain_id: 7_014_190_335 },
];

pub(crate) fn hash(text: &str) -> B256 {
    keccak256(text)
}

pub(crate) fn address(text: &str) -> Address {
    Address::from_word(hash(text))
}

pub(crate) fn proposer() -> SecretKey {
    SecretKey::from_bytes(&[0x11; 32]).unwrap()
}

pub(crate) fn delegate() -> SecretKey {
    SecretKey::from_bytes(&[0x22; 32]).unwrap()
}

pub(crate) fn committer() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x33; 32]).unwrap()
}

pub(crate) fn relay() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x44; 32]).unwrap()
}

pub(crate) fn ordering(kind: CommitmentKind) -> OrderingCommitment {
    let seal = kind.is_seal();
    OrderingCommitment {
        rollup_id: RollupId(4242),
        slot: Slot(9_000_001),
        segment: 2,
        number: 5,
        parent: hash("parent"),
        first_index: 17,
        tx_count: if seal { 0 } else { 3 },
        tx_root: hash("root"),
        timestamp_ms: 1_764_000_000_123,
        forced_inclusion_head: 6,
        kind,
    }
}

pub(crate) fn bundle() -> BundleCommitment {
    let leg = |n: u16| Leg {
        rollup_id: RollupId(100 + u64::from(n)),
        slot: Slot(9_000_001),
        segment: n,
        index: 1000 + u32::from(n),
        tx_hash: hash(&format!("leg {n}")),
    };
    BundleCommitment { bundle_hash: hash("bundle"), legs: vec![leg(0), leg(1), leg(2)] }
}

pub(crate) fn inclusion() -> InclusionPayload {
    InclusionPayload {
        slot: Slot(9_000_001),
        signed_tx: Bytes::from_static(b"a signed transaction, of no round length"),
    }
}

pub(crate) fn commitment(commitment_type: u64, payload: Vec<u8>) -> Commitment {
    Commitment {
        commitment_type,
        payload: payload.into(),
        request_hash: hash("request"),
        slasher: address("slasher"),
    }
}

pub(crate) fn allocation() -> SlotAllocation {
    let entry = |rollup: u64, url: &str| AllocationEntry {
        rollup_id: RollupId(rollup),
        bid_hash: hash(url),
        account: address("account"),
        committer: committer().address(),
        delegate: delegate().public_key(),
        price_wei: Wei(U256::from(10).pow(U256::from(18))),
        url: url.into(),
    };
    SlotAllocation {
        slot: Slot(9_000_001),
        start_ms: 1_764_000_000_000,
        auction_root: hash("auction"),
        entries: vec![entry(4242, "https://gateway.example/"), entry(4243, "")],
    }
}

pub(crate) fn delegation() -> Delegation {
    Delegation {
        proposer: proposer().public_key(),
        delegate: delegate().public_key(),
        committer: committer().address(),
        slot: Slot(9_000_001),
        metadata: allocation().to_metadata(),
    }
}

pub(crate) fn delegation_receipt() -> DelegationReceipt {
    DelegationReceipt::of(&delegation(), 1_763_999_999_000).unwrap()
}

pub(crate) fn authority(network: &Network) -> Authority {
    Authority {
        delegation: Signed::<_, earnest_protocol::BlsSignature>::sign(delegation(), &proposer(), network)
            .unwrap(),
        receipt: Signed::<_, earnest_protocol::signing::EcdsaSignature>::sign(
            delegation_receipt(),
            &relay(),
            network,
        )
        .unwrap(),
    }
}

pub(crate) fn constraints() -> ConstraintsMessage {
    ConstraintsMessage {
        proposer: proposer().public_key(),
        delegate: delegate().public_key(),
        slot: Slot(9_000_001),
        constraints: vec![
            Constraint::inclusion(Slot(9_000_001), Bytes::from_static(b"first")),
            Constraint { constraint_type: 0x77, payload: Bytes::new() },
        ],
        receivers: vec![proposer().public_key()],
    }
}

pub(crate) fn constraint_receipt() -> ConstraintReceipt {
    ConstraintReceipt {
        slot: Slot(9_000_001),
        constraints_hash: constraints().hash().unwrap(),
        received_at_ms: 1_764_000_000_456,
        status: ConstraintStatus::Dropped,
    }
}

pub(crate) fn registration() -> Registration {
    Registration { owner: address("owner") }
}

pub(crate) fn bid() -> OrderingBid {
    OrderingBid {
        slot: Slot(9_000_001),
        rollup_ids: vec![RollupId(4242), RollupId(4243)],
        amount_wei: Wei(U256::from(123_456_789)),
        account: address("account"),
        registration_root: hash("registration"),
        committer: committer().address(),
        relay: relay().address(),
        delegate: delegate().public_key(),
        url: "https://gateway.example/".into(),
        matches: hash("matched"),
        nonce: 8,
        expiry: 1_764_000_999,
    }
}

pub(crate) fn bid_ack() -> BidAck {
    BidAck { bid_hash: hash("bid"), received_at_ms: 1_763_999_000_000 }
}

pub(crate) fn auction_result() -> AuctionResult {
    AuctionResult {
        slot: Slot(9_000_001),
        auction_root: hash("auction"),
        winners: vec![hash("winner 0"), hash("winner 1")],
        allocation_hash: hash("allocation"),
        closed_at_ms: 1_763_999_500_000,
    }
}

pub(crate) fn rollup_registration() -> RollupRegistration {
    RollupRegistration {
        rollup_id: RollupId(4242),
        reserve_wei: Wei(U256::from(77)),
        reserve_committer: address("reserve"),
        revenue_recipient: address("revenue"),
        inclusion_share_bps: 2500,
        max_batch_bytes: 120 * 1024,
        max_tx_gas: 30_000_000,
        policy: Policy::PriorityFee,
        required_level: 4,
        opaque: true,
        active: false,
        relay: relay().address(),
        uri: "https://rollup.example/about".into(),
    }
}

//! What is measured on: a builder's block of 1 MB without blobs, made of the transactions of a mainnet block.
#![allow(dead_code, reason = "each bench uses its part")]

use std::path::PathBuf;

use alloy_primitives::{B256, Bytes, U256};
use earnest_builder_types::{
    BidSubmission, BidTrace, BuilderBid, ExecutionPayload, ExecutionPayloadElectra, ExecutionRequests,
    ForkCodec, ForkName, PayloadAndBlobs, SignedBeaconBlock, SignedBlindedBeaconBlock, SignedBuilderBid,
    Transactions, bls::SecretKey, domain::builder_domain, sign_bid_trace,
};

/// The network's builder domain.
pub(crate) fn domain() -> B256 {
    builder_domain([0x10, 0, 0, 0x38])
}

/// The key of this number.
pub(crate) fn key(number: u8) -> SecretKey {
    SecretKey::from_bytes(&[number; 32]).unwrap()
}

fn vector(path: &str) -> Vec<u8> {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "tests", "vectors"].iter().collect();
    std::fs::read(root.join(path)).unwrap()
}

/// Transactions of mainnet block 9877287 (slot), repeated to a megabyte.
pub(crate) fn transactions() -> Vec<Bytes> {
    let block = vector("proofs/mainnet_signed_beacon_block_9877287.ssz");
    let block = SignedBeaconBlock::from_ssz(ForkName::Deneb, &block).unwrap();
    let real = block.message().body().execution_payload().transactions().to_vec();
    let mut bytes = 0;
    let megabyte = real.into_iter().cycle().take_while(|raw| {
        bytes += raw.len();
        bytes < 1_000_000
    });
    // Copies, as a decoder makes them.
    megabyte.map(|raw| Bytes::copy_from_slice(&raw)).collect()
}

/// A payload of those.
pub(crate) fn payload() -> ExecutionPayload {
    let mut payload = ExecutionPayloadElectra {
        parent_hash: B256::repeat_byte(5),
        fee_recipient: Default::default(),
        state_root: B256::repeat_byte(6),
        receipts_root: B256::repeat_byte(7),
        logs_bloom: Default::default(),
        prev_randao: B256::repeat_byte(3),
        block_number: 5,
        gas_limit: 36_000_000,
        gas_used: 35_000_000,
        timestamp: 1_700_000_000,
        extra_data: vec![1; 20].try_into().unwrap(),
        base_fee_per_gas: U256::from(1_000_000_000),
        block_hash: B256::ZERO,
        transactions: Transactions::new(transactions()).unwrap(),
        withdrawals: vec![alloy_eips::eip4895::Withdrawal::default().into(); 16].try_into().unwrap(),
        blob_gas_used: 0,
        excess_blob_gas: 0,
    };
    let requests = ExecutionRequests::default();
    payload.block_hash = ExecutionPayload::Electra(payload.clone())
        .computed_block_hash(Some(B256::repeat_byte(4)), Some(&requests))
        .unwrap();
    ExecutionPayload::Electra(payload)
}

/// The whole submission.
pub(crate) fn submission() -> BidSubmission {
    let payload = payload();
    let trace = BidTrace {
        slot: 10,
        parent_hash: payload.parent_hash(),
        block_hash: payload.block_hash(),
        builder_pubkey: key(1).public_key(),
        proposer_pubkey: key(2).public_key(),
        proposer_fee_recipient: Default::default(),
        gas_limit: payload.gas_limit(),
        gas_used: payload.gas_used(),
        value: U256::from(1),
    };
    let signed = sign_bid_trace(trace, &key(1), domain());
    let both = PayloadAndBlobs::new(payload, None).unwrap();
    BidSubmission::new(signed.message, signed.signature, both, ExecutionRequests::default()).unwrap()
}

/// The bid that a relay makes of it.
pub(crate) fn bid() -> BuilderBid {
    let header = payload().to_header();
    let requests = ExecutionRequests::default();
    BuilderBid::new(header, Default::default(), requests, U256::from(1), key(3).public_key()).unwrap()
}

/// The same, signed.
pub(crate) fn signed_bid() -> SignedBuilderBid {
    bid().sign(&key(3), domain())
}

/// The blinded block of the specification's examples.
pub(crate) fn blinded_block() -> SignedBlindedBeaconBlock {
    let ssz = vector("builder-specs/electra/signed_blinded_beacon_block.ssz");
    SignedBlindedBeaconBlock::from_ssz(ForkName::Electra, &ssz).unwrap()
}

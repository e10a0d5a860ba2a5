//! Bids with proofs, there and back.

use alloy_primitives::{Address, B256, Bytes, FixedBytes, U256};
use earnest_builder_types::bls::SecretKey;
use earnest_builder_types::{
    BuilderBid, ExecutionPayloadHeader, ExecutionPayloadHeaderDeneb, ExecutionRequests, KzgCommitments,
    SignedBuilderBid,
};
use earnest_client::{HeaderWithProofs, HeaderWithProofsError};
use earnest_protocol::objects::InclusionProof;

fn bid() -> SignedBuilderBid {
    let key = SecretKey::from_bytes(&[1; 32]).unwrap();
    let header = ExecutionPayloadHeader::Deneb(ExecutionPayloadHeaderDeneb {
        parent_hash: B256::ZERO,
        fee_recipient: Address::ZERO,
        state_root: B256::ZERO,
        receipts_root: B256::ZERO,
        logs_bloom: FixedBytes::ZERO,
        prev_randao: B256::ZERO,
        block_number: 1,
        gas_limit: 1,
        gas_used: 1,
        timestamp: 1,
        extra_data: Default::default(),
        base_fee_per_gas: U256::from(1),
        block_hash: B256::ZERO,
        transactions_root: B256::ZERO,
        withdrawals_root: B256::ZERO,
        blob_gas_used: 0,
        excess_blob_gas: 0,
    });
    let (commitments, requests) = (KzgCommitments::default(), ExecutionRequests::default());
    BuilderBid::new(header, commitments, requests, U256::from(1), key.public_key())
        .unwrap()
        .sign(&key, B256::ZERO)
}

fn proofs() -> Vec<InclusionProof> {
    (0..3)
        .map(|index| InclusionProof {
            signed_tx: Bytes::from(vec![2, index]),
            index: u64::from(index),
            branch: vec![B256::repeat_byte(index); 21],
        })
        .collect()
}

#[test]
fn what_is_written_reads_back() {
    for proofs in [Vec::new(), proofs()] {
        let written = HeaderWithProofs::new(bid(), &proofs);
        let read = HeaderWithProofs::from_json(&written.to_json().unwrap()).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.inclusions().unwrap(), proofs);
    }
}

#[test]
fn the_form_is_that_of_the_constraints_specs() {
    let json = HeaderWithProofs::new(bid(), &proofs()).to_json().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["version"], "deneb");
    let keys: Vec<_> = json["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["message", "proofs", "signature"]);
    assert_eq!(json["data"]["proofs"]["payloads"].as_array().unwrap().len(), 3);
    assert_eq!(json["data"]["proofs"]["constraintTypes"].as_array().unwrap().len(), 3);
}

#[test]
fn proofs_that_cannot_be_checked_are_errors() {
    let mut uneven = HeaderWithProofs::new(bid(), &proofs());
    uneven.proofs.payloads.pop();
    assert!(matches!(uneven.inclusions(), Err(HeaderWithProofsError::Uneven { types: 3, payloads: 2 })));
    let mut unknown = HeaderWithProofs::new(bid(), &proofs());
    unknown.proofs.constraint_types[1] = 9;
    assert!(matches!(unknown.inclusions(), Err(HeaderWithProofsError::UnknownType(9))));
    let one = proofs().remove(0);
    let many = |count| HeaderWithProofs::new(bid(), &vec![one.clone(); count]).inclusions();
    assert_eq!(many(256).unwrap().len(), 256);
    assert!(matches!(many(257), Err(HeaderWithProofsError::TooMany(257))));
    let mut short = HeaderWithProofs::new(bid(), &proofs());
    short.proofs.payloads[1] = Bytes::from_static(&[1]);
    assert!(matches!(short.inclusions(), Err(HeaderWithProofsError::Payload(_))));
}

#[test]
fn arbitrary_bytes_and_damaged_answers_are_errors_or_themselves() {
    let whole = HeaderWithProofs::new(bid(), &proofs()).to_json().unwrap();
    bolero::check!().with_iterations(1_000).with_type::<(Vec<u8>, u16, u8)>().for_each(
        |(bytes, at, byte)| {
            let _ = HeaderWithProofs::from_json(bytes);
            let mut damaged = whole.clone();
            let position = usize::from(*at) % damaged.len();
            damaged[position] = *byte;
            if let Ok(read) = HeaderWithProofs::from_json(&damaged) {
                let _ = read.inclusions();
                assert_eq!(HeaderWithProofs::from_json(&read.to_json().unwrap()).unwrap(), read);
            }
        },
    );
}

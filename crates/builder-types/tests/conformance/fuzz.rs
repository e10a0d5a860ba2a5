//! Each decoder on arbitrary bytes, and on examples damaged at random: never a panic, and what is
//! accepted encodes back to what was read.

use bolero::check;
use earnest_builder_types::{
    BeaconBlock, BidSubmission, BlindedBeaconBlock, BlobsBundle, BlockContents, BuilderBid, ExecutionPayload,
    ExecutionPayloadHeader, ExecutionRequests, ForkCodec, ForkName, PayloadAndBlobs, SignedBeaconBlock,
    SignedBlindedBeaconBlock, SignedBlockContents, SignedBuilderBid, SignedValidatorRegistration,
    TopBidUpdate, Versioned, bls, gloas, proofs, registrations_from_ssz, registrations_to_ssz,
};

use crate::vectors::bytes;

const ROUNDS: usize = 400;

fn judge<T: ForkCodec + PartialEq + std::fmt::Debug>(fork: ForkName, input: &[u8]) {
    if let Ok(value) = T::from_ssz(fork, input) {
        assert_eq!(value.to_ssz(), input);
        let json = value.to_json().unwrap();
        assert_eq!(T::from_json(fork, &json).unwrap(), value);
    }
    let _ = T::from_json(fork, input);
    let _ = Versioned::<T>::from_json(input);
}

macro_rules! decoders {
    ($($test:ident: $type:ty),+ $(,)?) => {$(
        #[test]
        fn $test() {
            check!().with_iterations(ROUNDS).for_each(|input: &[u8]| {
                for fork in ForkName::ALL {
                    judge::<$type>(fork, input);
                }
            });
        }
    )+};
}

decoders! {
    header: ExecutionPayloadHeader,
    bid: BuilderBid,
    signed_bid: SignedBuilderBid,
    payload: ExecutionPayload,
    blobs: BlobsBundle,
    payload_and_blobs: PayloadAndBlobs,
    blinded_block: BlindedBeaconBlock,
    signed_blinded_block: SignedBlindedBeaconBlock,
    block: BeaconBlock,
    signed_block: SignedBeaconBlock,
    block_contents: BlockContents,
    signed_block_contents: SignedBlockContents,
    submission: BidSubmission,
}

/// Overwrites, cuts and extends `seed` as `input` says.
fn damaged(seed: &[u8], input: &[(u16, u8)], length: u16) -> Vec<u8> {
    let mut damaged = seed.to_vec();
    for (at, byte) in input {
        let at = usize::from(*at) % seed.len();
        damaged[at] = *byte;
    }
    damaged.resize(seed.len() + usize::from(length % 64) - 32, 0);
    damaged
}

#[test]
fn damaged_examples() {
    let bid = bytes("builder-specs/electra/signed_builder_bid.ssz");
    let bid_json = bytes("commit-boost/get_header_fulu.json");
    let block = bytes("builder-specs/electra/signed_blinded_beacon_block.ssz");
    let payload = bytes("builder-specs/capella/execution_payload.ssz");
    check!().with_iterations(ROUNDS).with_type::<(Vec<(u16, u8)>, u16)>().for_each(|(changes, length)| {
        judge::<SignedBuilderBid>(ForkName::Electra, &damaged(&bid, changes, *length));
        judge::<SignedBuilderBid>(ForkName::Fulu, &damaged(&bid_json, changes, *length));
        judge::<SignedBlindedBeaconBlock>(ForkName::Electra, &damaged(&block, changes, *length));
        judge::<ExecutionPayload>(ForkName::Capella, &damaged(&payload, changes, *length));
    });
}

#[test]
fn registrations() {
    check!().with_iterations(ROUNDS).for_each(|input: &[u8]| {
        if let Ok(read) = registrations_from_ssz(input) {
            assert_eq!(registrations_to_ssz(&read), input);
        }
        let _ = serde_json::from_slice::<Vec<SignedValidatorRegistration>>(input);
    });
}

#[test]
fn top_bid_updates() {
    check!().with_iterations(ROUNDS).for_each(|input: &[u8]| {
        if let Ok(read) = TopBidUpdate::from_ssz(input) {
            assert_eq!(read.to_ssz(), input);
        }
    });
}

#[test]
fn gloas_requests() {
    check!().with_iterations(ROUNDS).for_each(|input: &[u8]| {
        if let Ok(read) = <gloas::BuilderPreferencesRequest as ssz::Decode>::from_ssz_bytes(input) {
            assert_eq!(ssz::Encode::as_ssz_bytes(&read), input);
        }
        let _ = serde_json::from_slice::<gloas::BuilderPreferencesRequest>(input);
    });
}

#[test]
fn execution_requests_of_the_engine() {
    check!().with_iterations(ROUNDS).with_type::<Vec<Vec<u8>>>().for_each(|input| {
        let input: Vec<_> = input.iter().cloned().map(Into::into).collect();
        if let Ok(read) = ExecutionRequests::from_engine(&input) {
            assert_eq!(read.to_engine().to_vec(), input);
        }
    });
}

#[test]
fn points() {
    check!().with_iterations(ROUNDS).with_type::<([u8; 32], [u8; 16])>().for_each(|(a, b)| {
        let half = [&a[..], &b[..]].concat();
        let key = half.as_slice().try_into().unwrap();
        let _ = bls::validate_public_key(&key);
        let signature = half.repeat(2).as_slice().try_into().unwrap();
        let _ = bls::verify(&key, (*a).into(), &signature);
        let _ = bls::pubkey_from_g1_words(&[(*a).into(); 4]);
        let _ = bls::signature_from_g2_words(&[(*a).into(); 8]);
        assert!(bls::aggregate(&[signature]).is_err() || bls::verify(&key, (*a).into(), &signature).is_err());
    });
}

#[test]
fn multiproofs() {
    type Input = (Vec<u64>, Vec<[u8; 32]>, Vec<[u8; 32]>);
    check!().with_iterations(ROUNDS).with_type::<Input>().for_each(|(indexes, leaves, proof)| {
        let leaves: Vec<_> = leaves.iter().map(Into::into).collect();
        let proof: Vec<_> = proof.iter().map(Into::into).collect();
        assert!(!proofs::verify_multiproof(indexes, &leaves, &proof, alloy_primitives::B256::ZERO));
    });
}

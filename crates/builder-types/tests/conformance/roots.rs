use alloy_primitives::B256;
use earnest_builder_types::{
    ExecutionPayload, ForkCodec, ForkName, PayloadAndBlobs, SignedBeaconBlock, SignedBlindedBeaconBlock,
    SignedBuilderBid, TreeHash, registrations_from_ssz,
};

use crate::vectors::{bytes, json};

#[test]
fn roots_are_those_of_the_executable_specification() {
    let roots = json("consensus-specs/roots.json");
    for fork in [ForkName::Bellatrix, ForkName::Capella, ForkName::Deneb, ForkName::Electra, ForkName::Fulu] {
        let root = |name: &str| roots[fork.as_str()][name].as_str().unwrap().parse::<B256>().unwrap();
        let read = |file: &str| bytes(&format!("builder-specs/{fork}/{file}.ssz"));

        let block = SignedBlindedBeaconBlock::from_ssz(fork, &read("signed_blinded_beacon_block")).unwrap();
        assert_eq!(block.message().tree_hash_root(), root("blinded_block"));
        assert_eq!(block.message().body().tree_hash_root(), root("blinded_block_body"));

        let bid = SignedBuilderBid::from_ssz(fork, &read("signed_builder_bid")).unwrap();
        assert_eq!(bid.message().tree_hash_root(), root("builder_bid"));
        assert_eq!(bid.header().tree_hash_root(), root("header"));

        let payload = if fork.has_blobs() {
            let both = PayloadAndBlobs::from_ssz(fork, &read("execution_payload_and_blobs_bundle")).unwrap();
            both.payload().to_owned()
        } else {
            ExecutionPayload::from_ssz(fork, &read("execution_payload")).unwrap()
        };
        assert_eq!(payload.tree_hash_root(), root("payload"));
        assert_eq!(payload.to_header().tree_hash_root(), root("payload"));
    }
}

#[test]
fn roots_of_other_objects() {
    let roots = json("consensus-specs/roots.json");
    let root = |pointer: &str| roots.pointer(pointer).unwrap().as_str().unwrap().parse::<B256>().unwrap();

    let registrations =
        registrations_from_ssz(&bytes("builder-specs/bellatrix/signed_validator_registrations.ssz")).unwrap();
    assert_eq!(registrations[0].message.tree_hash_root(), root("/bellatrix/registration"));

    let block = bytes("commit-boost/signed-blinded-beacon-block-electra-2.ssz");
    let block = SignedBlindedBeaconBlock::from_ssz(ForkName::Electra, &block).unwrap();
    assert_eq!(block.message().tree_hash_root(), root("/commit-boost/electra-2"));

    let block = bytes("proofs/mainnet_signed_beacon_block_9877287.ssz");
    let block = SignedBeaconBlock::from_ssz(ForkName::Deneb, &block).unwrap();
    assert_eq!(block.message().tree_hash_root(), root("/mainnet/block_9877287"));
}

use earnest_builder_types::{ForkCodec, ForkName, SignedBlindedBeaconBlock, SignedBuilderBid, Versioned};
use serde_json::Value;

use crate::vectors::{assert_same, bytes, json};

#[test]
fn header_response() {
    let ssz = bytes("commit-boost/get-header-response.ssz");
    let json = json("commit-boost/get-header-response.json");
    assert_same::<SignedBuilderBid>(ForkName::Electra, &json, &ssz);
}

#[test]
fn header_of_fulu() {
    let json = json("commit-boost/get_header_fulu.json");
    let bid = Versioned::<SignedBuilderBid>::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!(bid.version, ForkName::Fulu);
    assert_eq!(serde_json::from_slice::<Value>(&bid.to_json().unwrap()).unwrap(), json);
    let ssz = bid.data.to_ssz();
    assert_eq!(SignedBuilderBid::from_ssz(ForkName::Fulu, &ssz).unwrap(), bid.data);
}

#[test]
fn blinded_blocks_of_electra() {
    assert_same::<SignedBlindedBeaconBlock>(
        ForkName::Electra,
        &json("commit-boost/signed-blinded-beacon-block-electra-2.json"),
        &bytes("commit-boost/signed-blinded-beacon-block-electra-2.ssz"),
    );

    let json = json("commit-boost/signed-blinded-beacon-block-electra.json");
    let block = SignedBlindedBeaconBlock::from_json(ForkName::Electra, json.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&block.to_json().unwrap()).unwrap(), json);
    assert_eq!(SignedBlindedBeaconBlock::from_ssz(ForkName::Electra, &block.to_ssz()).unwrap(), block);
}

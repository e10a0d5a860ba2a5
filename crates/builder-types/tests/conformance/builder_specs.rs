use earnest_builder_types::{
    ExecutionPayload, ForkCodec, ForkName, PayloadAndBlobs, SignedBlindedBeaconBlock, SignedBuilderBid,
    SignedValidatorRegistration, TreeHash, Versioned, gloas, registrations_from_ssz, registrations_to_ssz,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::vectors::{assert_same, bytes, example};

const LIVE: [ForkName; 5] =
    [ForkName::Bellatrix, ForkName::Capella, ForkName::Deneb, ForkName::Electra, ForkName::Fulu];

#[test]
fn bids_of_every_fork() {
    for fork in LIVE {
        let path = format!("builder-specs/{fork}/signed_builder_bid");
        let json = example(&format!("{path}.json"));
        assert_same::<SignedBuilderBid>(fork, &json["data"], &bytes(&format!("{path}.ssz")));

        let bid = Versioned::<SignedBuilderBid>::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(bid.version, fork);
        assert_eq!(serde_json::to_value(&bid).unwrap(), json);
        let header = bid.data.header();
        assert_eq!(header.tree_hash_root(), header.to_owned().tree_hash_root());
        assert_eq!(header.withdrawals_root().is_ok(), fork >= ForkName::Capella);
        assert_eq!(header.blob_gas_used().is_ok(), fork >= ForkName::Deneb);
        assert_eq!(bid.data.blob_kzg_commitments().len(), usize::from(fork >= ForkName::Deneb));
        assert_eq!(bid.data.execution_requests().deposits.len(), usize::from(fork >= ForkName::Electra));
    }
}

#[test]
fn blinded_blocks_of_every_fork() {
    for fork in LIVE {
        let path = format!("builder-specs/{fork}/signed_blinded_beacon_block");
        let json = example(&format!("{path}.json"));
        let ssz = bytes(&format!("{path}.ssz"));
        assert_same::<SignedBlindedBeaconBlock>(fork, &json, &ssz);

        let block = SignedBlindedBeaconBlock::from_ssz(fork, &ssz).unwrap();
        let message = block.message();
        assert_eq!(message.slot(), 1);
        assert_eq!(message.tree_hash_root(), message.block_header().tree_hash_root());
    }
}

#[test]
fn payloads_before_blobs() {
    for fork in [ForkName::Bellatrix, ForkName::Capella] {
        let path = format!("builder-specs/{fork}/execution_payload");
        let json = example(&format!("{path}.json"));
        let ssz = bytes(&format!("{path}.ssz"));
        assert_same::<ExecutionPayload>(fork, &json["data"], &ssz);

        let payload = ExecutionPayload::from_ssz(fork, &ssz).unwrap();
        let engine = payload.to_engine();
        assert_eq!(ExecutionPayload::from_engine(fork, engine).unwrap(), payload);
    }
}

#[test]
fn payloads_with_blobs() {
    for fork in [ForkName::Deneb, ForkName::Electra, ForkName::Fulu] {
        let ssz = bytes(&format!("builder-specs/{fork}/execution_payload_and_blobs_bundle.ssz"));
        let both = PayloadAndBlobs::from_ssz(fork, &ssz).unwrap();
        assert_eq!(both.to_ssz(), ssz);
        let json = both.to_json().unwrap();
        assert_eq!(PayloadAndBlobs::from_json(fork, &json).unwrap(), both);
        assert_eq!(both.commitments().len(), 1);

        let payload = both.payload().to_owned();
        let engine = payload.to_engine();
        assert_eq!(ExecutionPayload::from_engine(fork, engine).unwrap(), payload);
        assert_eq!(payload.to_header().fork(), fork);
    }
}

#[test]
fn registrations() {
    let json = example("builder-specs/bellatrix/signed_validator_registrations.json");
    let ssz = bytes("builder-specs/bellatrix/signed_validator_registrations.ssz");
    let read: Vec<SignedValidatorRegistration> = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(registrations_from_ssz(&ssz).unwrap(), read);
    assert_eq!(registrations_to_ssz(&read), ssz);
    assert_eq!(serde_json::to_value(&read).unwrap(), json);
}

fn assert_gloas<T>(name: &str)
where
    T: Serialize + DeserializeOwned + ssz::Encode + ssz::Decode + PartialEq + std::fmt::Debug,
{
    let json = example(&format!("builder-specs/gloas/{name}.json"));
    let ssz = bytes(&format!("builder-specs/gloas/{name}.ssz"));
    let read: T = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(T::from_ssz_bytes(&ssz).unwrap(), read);
    assert_eq!(read.as_ssz_bytes(), ssz);
    assert_eq!(serde_json::to_value(&read).unwrap(), json);
}

#[test]
fn gloas_requests() {
    assert_gloas::<gloas::BuilderPreferences>("builder_preferences");
    assert_gloas::<gloas::SignedRequestAuth>("signed_request_auth");
    assert_gloas::<gloas::BuilderPreferencesRequest>("builder_preferences_request");
}

//! Roots and signatures that other implementations assert (`tests/vectors/signing`).
//!
//! Not asserted: `bolt_inclusion_digest`, `mevcommit_bid_hash` and `mevcommit_preconf_hash`, which are digests of
//! forms that Earnest does not have.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use alloy_primitives::{Address, B256, Bytes, hex, keccak256};
use earnest_builder_types::{bls, domain};
use earnest_protocol::{
    BlsPublicKey, BlsSignature, Slot,
    objects::{
        Commitment, CommitmentRequest, ConstraintsMessage, Delegation, InclusionPayload, Object, Registration,
    },
    signing::{EARNEST_SIGNING_ID, Message, Network, Signed, info_root},
};
use serde_json::Value;
use std::path::Path;

const HOODI: Network = Network { genesis_fork_version: hex!("10000910"), chain_id: 560_048 };

fn vectors(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/signing").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn get<T: serde::de::DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}"))
}

fn input(case: &Value) -> &Value {
    &case["input"]
}

#[test]
fn our_signing_id_is_the_hash_of_our_name() {
    assert_eq!(EARNEST_SIGNING_ID, keccak256("earnest.v1"));
}

#[test]
fn roots_asserted_upstream() {
    let file = vectors("commitment_roots.json");
    let mut checked = Vec::new();
    for case in file["asserted_upstream_and_rederived"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let expected: B256 = get(case, "expected");
        let empty = Commitment {
            commitment_type: 1,
            payload: Bytes::new(),
            request_hash: B256::ZERO,
            slasher: Address::ZERO,
        };
        let found = match name {
            "commitment_request_hash" => get::<CommitmentRequest>(case, "input").abi_hash(),
            "commitment_abi_keccak_no_prefix" => empty.abi_hash(),
            "commitment_object_root" => get::<Commitment>(case, "input").object_root().unwrap(),
            "delegation_object_root" => get::<Delegation>(case, "input").object_root().unwrap(),
            "constraints_object_root" => get::<ConstraintsMessage>(case, "input").object_root().unwrap(),
            "inclusion_payload_abi_keccak" => get::<InclusionPayload>(case, "input").abi_hash(),
            "builder_domain_mainnet" => domain::builder_domain([0, 0, 0, 0]),
            "builder_domain_holesky" => domain::builder_domain(hex!("01017000")),
            "builder_domain_helder" => domain::builder_domain(hex!("10000000")),
            "builder_domain_kurtosis" => domain::builder_domain(hex!("10000038")),
            "cb_signing_root_plain_holesky" => {
                let domain = domain::commit_boost_domain(hex!("01017000"));
                domain::signing_root(get(input(case), "object_root"), domain)
            }
            "cb_signing_root_propcommit_hoodi" => {
                let case = input(case);
                HOODI.signing_root(get(case, "data"), get(case, "module_signing_id"), get(case, "nonce"))
            }
            "bolt_inclusion_digest" | "mevcommit_bid_hash" | "mevcommit_preconf_hash" => continue,
            other => panic!("vector {other} has no check"),
        };
        assert_eq!(found, expected, "{name}");
        checked.push(name);
    }
    assert_eq!(checked.len(), 12);
}

#[test]
fn commit_boost_domains() {
    let file = vectors("commitment_roots.json");
    let domains = file["commit_boost_domains"].as_object().unwrap();
    for (name, version) in [
        ("mainnet", hex!("00000000")),
        ("holesky", hex!("01017000")),
        ("sepolia", hex!("90000069")),
        ("hoodi", hex!("10000910")),
        ("helder", hex!("10000000")),
        ("kurtosis", hex!("10000038")),
    ] {
        let network = Network { genesis_fork_version: version, chain_id: 1 };
        assert_eq!(Value::from(network.domain().to_string()), domains[name], "{name}");
    }
    assert_eq!(domains.len(), 6);
}

#[test]
fn builder_domains() {
    let file = vectors("builder_domains.json");
    for network in file["networks"].as_object().unwrap().values() {
        let version: alloy_primitives::FixedBytes<4> = get(network, "genesis_fork_version");
        assert_eq!(domain::builder_domain(version.0), get::<B256>(network, "domain"));
    }
}

#[test]
fn derived_signing_root_of_a_delegation() {
    let file = vectors("commitment_roots.json");
    let case = &file["derived_only"]["delegation_full_signing_root_mainnet"];
    let network = Network { genesis_fork_version: [0; 4], chain_id: get(case, "chain_id") };
    let found =
        network.signing_root(get(case, "object_root"), get(case, "module_signing_id"), get(case, "nonce"));
    assert_eq!(found, get::<B256>(case, "signing_root"));
}

#[test]
fn commit_boost_signing_roots() {
    let file = vectors("signing_roots.json");
    let [hoodi, holesky] = &file["cases"].as_array().unwrap()[..] else { panic!("two cases") };
    let found =
        HOODI.signing_root(get(hoodi, "object_root"), get(hoodi, "module_signing_id"), get(hoodi, "nonce"));
    assert_eq!(found, get::<B256>(hoodi, "signing_root"));
    let domain = domain::commit_boost_domain(hex!("01017000"));
    let found = domain::signing_root(get(holesky, "object_root"), domain);
    assert_eq!(found, get::<B256>(holesky, "signing_root"));
}

#[test]
fn commit_boost_signature_on_hoodi() {
    let case = vectors("signer_request_hoodi.json");
    assert_eq!(HOODI.domain(), get::<B256>(&case, "domain"));
    let (object_root, id, nonce) =
        (get(&case, "object_root"), get(&case, "module_signing_id"), get(&case, "nonce"));
    assert_eq!(
        info_root(object_root, id, nonce, HOODI.chain_id),
        get::<B256>(&case, "prop_commit_signing_info_root")
    );
    let (key, signature): (BlsPublicKey, BlsSignature) = (get(&case, "pubkey"), get(&case, "signature"));
    assert_eq!(bls::verify(&key, HOODI.signing_root(object_root, id, nonce), &signature), Ok(()));
    assert!(bls::verify(&key, HOODI.signing_root(object_root, id, nonce + 1), &signature).is_err());
}

#[test]
fn registration_that_the_registry_accepts() {
    let case = vectors("urc_signing_domain_bls.json");
    let signed = Signed {
        message: Registration { owner: get(&case, "owner") },
        nonce: get(&case, "nonce"),
        signing_id: get(&case, "signing_id"),
        signature: get::<BlsSignature>(&case, "signature"),
    };
    assert_eq!(signed.message.object_root().unwrap(), get::<B256>(&case, "object_root"));
    assert_eq!(signed.signing_root(&HOODI).unwrap(), get::<B256>(&case, "signing_root"));
    let key: BlsPublicKey = get(&case, "pk");
    assert_eq!(signed.verify(&HOODI, &key), Ok(()));
    let secret = bls::SecretKey::from_bytes(&get::<B256>(&case, "sk").0).unwrap();
    assert_eq!(secret.public_key(), key);
    assert_eq!(secret.sign(signed.signing_root(&HOODI).unwrap()), signed.signature);
    let other = Signed { message: Registration { owner: Address::ZERO }, ..signed };
    assert!(other.verify(&HOODI, &key).is_err());
}

#[test]
fn delegation_json_is_that_of_the_specs() {
    let text = r#"{"message":{"proposer":"0xaf6e96c0eccd8d4ae868be9299af737855a1b08d57bccb565ea7e69311a30baeebe08d493c3fea97077e8337e95ac5a6","delegate":"0xaf53b192a82ec1229e8fce4f99cb60287ce33896192b6063ac332b36fbe87ba1b2936bbc849ec68a0132362ab11a7754","committer":"0x1111111111111111111111111111111111111111","slot":"5","metadata":"0x00"},"nonce":"0","signing_id":"0x1111111111111111111111111111111111111111111111111111111111111111","signature":"0x91a73191d1aeeba0380fb3489333e7291941604cc8d1a211ce51390faa90c7c6db41cc8514204face1c443d12d999d2d18caa3ca6a327fd357759c0c83e619f4613b549ac688b5bbc4fffaa99aa33a8dbe5e5cd20e6d11c1f5ba70f33d84ed1e"}"#;
    let signed: earnest_protocol::objects::SignedDelegation = serde_json::from_str(text).unwrap();
    assert_eq!(signed.message.slot, Slot(5));
    assert_eq!(serde_json::to_string(&signed).unwrap(), text);
    let loose = text.replace("\"slot\":\"5\"", "\"slot\":5").replace("\"nonce\":\"0\"", "\"nonce\":0");
    assert_eq!(serde_json::from_str::<earnest_protocol::objects::SignedDelegation>(&loose).unwrap(), signed);
}

use alloy_primitives::{B256, FixedBytes};
use earnest_builder_types::{
    BlsPublicKey, BlsSignature,
    bls::{
        self, SecretKey, pubkey_from_g1_words, pubkey_to_g1_words, signature_from_g2_words,
        signature_to_g2_words,
    },
    domain,
};
use serde::Deserialize;
use serde_json::Value;

use crate::vectors::json;

fn field<T: for<'a> Deserialize<'a>>(value: &Value, name: &str) -> T {
    serde_json::from_value(value[name].clone()).unwrap()
}

#[test]
fn builder_domains() {
    let file = json("signing/builder_domains.json");
    for network in file["networks"].as_object().unwrap().values() {
        let version: FixedBytes<4> = field(network, "genesis_fork_version");
        assert_eq!(domain::builder_domain(version.0), field::<B256>(network, "domain"));
    }
    let versions = &file["networks"];
    let commit_boost = &json("signing/commitment_roots.json")["commit_boost_domains"];
    for (name, network) in versions.as_object().unwrap() {
        let version: FixedBytes<4> = field(network, "genesis_fork_version");
        assert_eq!(domain::commit_boost_domain(version.0), field::<B256>(commit_boost, name));
    }
}

#[test]
fn commitment_signature_of_hoodi() {
    let file = json("signing/signer_request_hoodi.json");
    let version: FixedBytes<4> = field(&file, "genesis_fork_version");
    let domain = domain::commit_boost_domain(version.0);
    assert_eq!(domain, field::<B256>(&file, "domain"));
    let root = domain::signing_root(field(&file, "prop_commit_signing_info_root"), domain);
    let key: BlsPublicKey = field(&file, "pubkey");
    let signature: BlsSignature = field(&file, "signature");
    assert_eq!(bls::verify(&key, root, &signature), Ok(()));
    assert_eq!(bls::verify(&key, B256::ZERO, &signature), Err(bls::BlsError::Signature));
}

#[test]
fn plain_signing_root_of_holesky() {
    let cases = json("signing/signing_roots.json");
    let case = &cases["cases"][1];
    let domain = domain::commit_boost_domain([1, 1, 0x70, 0]);
    assert_eq!(domain::signing_root(field(case, "object_root"), domain), field::<B256>(case, "signing_root"));
}

#[test]
fn signature_that_the_registry_accepts() {
    let file = json("signing/urc_signing_domain_bls.json");
    let key = SecretKey::from_bytes(field::<B256>(&file, "sk").as_slice()).unwrap();
    assert_eq!(key.public_key(), field::<BlsPublicKey>(&file, "pk"));
    let signature = key.sign(field(&file, "signing_root"));
    assert_eq!(signature, field::<BlsSignature>(&file, "signature"));

    let g1 = pubkey_to_g1_words(&key.public_key()).unwrap();
    assert_eq!(pubkey_from_g1_words(&g1), Ok(key.public_key()));
    let g2 = signature_to_g2_words(&signature).unwrap();
    assert_eq!(signature_from_g2_words(&g2), Ok(signature));
}

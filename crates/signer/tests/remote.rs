//! Signers elsewhere, against stand-ins that follow their published APIs.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod stand_ins;

use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes};
use earnest_builder_types::bls::{self, SecretKey};
use earnest_protocol::Slot;
use earnest_protocol::objects::Delegation;
use earnest_protocol::signing::{EcdsaSecret, Network, recover};
use earnest_signer::remote::{
    CommitBoost, CommitBoostConfig, JoinedBls, RemoteError, Web3Signer, Web3SignerConfig,
};
use earnest_signer::{BlsSigner, EcdsaSigner, LocalBls, SignerError, SigningRequest};
use stand_ins::{Fault, StandIn};
use tempfile::TempDir;

const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 9, 0x10], chain_id: 560_048 };

fn delegation(proposer: &SecretKey) -> SigningRequest {
    let delegation = Delegation {
        proposer: proposer.public_key(),
        delegate: proposer.public_key(),
        committer: Address::repeat_byte(1),
        slot: Slot(7),
        metadata: Bytes::new(),
    };
    SigningRequest::message(&delegation, &NETWORK).unwrap()
}

fn secret_file(directory: &TempDir, secret: &str) -> PathBuf {
    let path = directory.path().join("jwt");
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    path
}

fn commit_boost(stand_in: &StandIn, secret: &str) -> CommitBoost {
    let directory = TempDir::new().unwrap();
    CommitBoost::new(&CommitBoostConfig {
        url: stand_in.url.clone(),
        module: "EARNEST".to_owned(),
        jwt_secret_file: secret_file(&directory, secret),
        ca_file: None,
        timeout_ms: 1_000,
    })
    .unwrap()
}

fn web3signer(stand_in: &StandIn) -> Web3Signer {
    let config = Web3SignerConfig { url: stand_in.url.clone(), ca_file: None, timeout_ms: 1_000 };
    Web3Signer::new(&config).unwrap()
}

async fn stand_in() -> StandIn {
    StandIn::commit_boost(NETWORK.chain_id, NETWORK.genesis_fork_version).await
}

fn cause<T>(signed: Result<T, SignerError>) -> RemoteError {
    match signed {
        Err(SignerError::Remote { cause, .. }) => cause,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("signed"),
    }
}

#[tokio::test]
async fn commit_boost_signs_with_consensus_keys_and_ecdsa_proxies() {
    let (stand_in, key, proxy) = (stand_in().await, SecretKey::random().unwrap(), EcdsaSecret::random());
    let address = proxy.address();
    stand_in.holds(key.clone()).holds_proxy(proxy);
    let signer = commit_boost(&stand_in, &stand_in.held.secret);
    assert!(signer.public_keys().is_empty(), "nothing was asked yet");
    signer.refresh().await.unwrap();
    assert_eq!(signer.public_keys(), [key.public_key()]);
    assert_eq!(signer.addresses(), [address]);

    let request = delegation(&key);
    let signature = BlsSigner::sign(&signer, &key.public_key(), request).await.unwrap();
    bls::verify(&key.public_key(), request.signing_root(), &signature).unwrap();
    assert_eq!(LocalBls::new([key.clone()]).sign(&key.public_key(), request).await.unwrap(), signature);
    let signature = EcdsaSigner::sign(&signer, address, request).await.unwrap();
    assert_eq!(recover(request.signing_root(), &signature), Ok(address));
}

#[tokio::test]
async fn web3signer_signs_the_info_root() {
    let stand_in = StandIn::web3signer(NETWORK.chain_id, NETWORK.genesis_fork_version).await;
    let key = SecretKey::random().unwrap();
    stand_in.holds(key.clone());
    let signer = web3signer(&stand_in);
    signer.refresh().await.unwrap();
    assert_eq!(signer.public_keys(), [key.public_key()]);
    let request = delegation(&key);
    let signature = signer.sign(&key.public_key(), request).await.unwrap();
    bls::verify(&key.public_key(), request.signing_root(), &signature).unwrap();
}

#[tokio::test]
async fn a_signature_of_another_key_or_root_is_refused() {
    let (key, proxy) = (SecretKey::random().unwrap(), EcdsaSecret::random());
    let (address, public) = (proxy.address(), key.public_key());
    let boost = stand_in().await;
    boost.holds(key.clone()).holds_proxy(proxy);
    let web3 = StandIn::web3signer(NETWORK.chain_id, NETWORK.genesis_fork_version).await;
    web3.holds(key.clone());
    let (boost_client, web3_client) = (commit_boost(&boost, &boost.held.secret), web3signer(&web3));
    for fault in [Fault::OtherKey, Fault::OtherRoot] {
        boost.fails(Some(fault.clone()));
        web3.fails(Some(fault));
        let request = delegation(&key);
        let refused = cause(BlsSigner::sign(&boost_client, &public, request).await);
        assert!(matches!(&refused, RemoteError::Foreign(key) if *key == public.to_string()), "{refused}");
        let refused = cause(EcdsaSigner::sign(&boost_client, address, request).await);
        assert!(matches!(&refused, RemoteError::Foreign(key) if *key == address.to_string()), "{refused}");
        let refused = cause(web3_client.sign(&public, request).await);
        assert!(matches!(refused, RemoteError::Foreign(_)), "{refused}");
    }
}

#[tokio::test]
async fn a_signer_set_up_for_something_else_is_told_apart() {
    let key = SecretKey::random().unwrap();
    let stand_in = stand_in().await;
    stand_in.holds(key.clone());
    let client = commit_boost(&stand_in, &stand_in.held.secret);
    *stand_in.held.signing_id.lock() = B256::repeat_byte(9);
    let refused = cause(BlsSigner::sign(&client, &key.public_key(), delegation(&key)).await);
    assert!(matches!(refused, RemoteError::SigningId { .. }), "{refused}");
    assert!(refused.to_string().contains(&stand_ins::SIGNING_ID.to_string()), "says what to set");

    let mainnet = StandIn::commit_boost(1, [0; 4]).await;
    mainnet.holds(key.clone());
    let client = commit_boost(&mainnet, &mainnet.held.secret);
    let refused = cause(BlsSigner::sign(&client, &key.public_key(), delegation(&key)).await);
    assert!(matches!(refused, RemoteError::Chain { ours: 560_048, .. }), "{refused}");
    // Web3Signer does not say for which chain it signs: there only the signature shows it.
    let mainnet = StandIn::web3signer(1, [0; 4]).await;
    mainnet.holds(key.clone());
    let refused = cause(web3signer(&mainnet).sign(&key.public_key(), delegation(&key)).await);
    assert!(matches!(refused, RemoteError::Foreign(_)), "{refused}");
}

#[tokio::test]
async fn a_refused_secret_is_not_tried_again_and_again() {
    let key = SecretKey::random().unwrap();
    let stand_in = stand_in().await;
    stand_in.holds(key.clone());
    let client = commit_boost(&stand_in, "wrong");
    let refused = cause(client.refresh().await);
    assert!(matches!(refused, RemoteError::Refused { status: 401, .. }), "{refused}");
    for _ in 0..5 {
        let refused = cause(BlsSigner::sign(&client, &key.public_key(), delegation(&key)).await);
        assert!(matches!(refused, RemoteError::LockedOut(1..=60)), "{refused}");
        assert!(!refused.to_string().contains("wrong"));
    }
    assert_eq!(stand_in.refused(), 1);
}

#[tokio::test]
async fn whatever_a_signer_answers_it_is_an_error_and_in_time() {
    let key = SecretKey::random().unwrap();
    let boost = stand_in().await;
    let web3 = StandIn::web3signer(NETWORK.chain_id, NETWORK.genesis_fork_version).await;
    let says = |status, body: &str| Fault::Says(status, body.as_bytes().to_vec());
    let faults = [
        Fault::Silence,
        says(200, ""),
        says(200, "{}"),
        says(200, "\"0x00\""),
        says(200, "[1]"),
        says(404, "unknown consensus signer"),
        says(500, "internal error"),
        says(302, ""),
        Fault::Says(200, vec![b' '; 17 << 20]),
    ];
    for fault in faults {
        boost.fails(Some(fault.clone()));
        web3.fails(Some(fault.clone()));
        let client = commit_boost(&boost, &boost.held.secret);
        for refused in [
            cause(client.refresh().await),
            cause(BlsSigner::sign(&client, &key.public_key(), delegation(&key)).await),
            cause(EcdsaSigner::sign(&client, Address::ZERO, delegation(&key)).await),
            cause(web3signer(&web3).refresh().await),
            cause(web3signer(&web3).sign(&key.public_key(), delegation(&key)).await),
        ] {
            assert!(refused.to_string().len() < 400, "{fault:?}: {refused}");
        }
    }
}

#[tokio::test]
async fn what_is_no_commitment_is_not_even_asked_for() {
    let key = SecretKey::random().unwrap();
    let stand_in = stand_in().await;
    stand_in.holds(key.clone());
    let client = commit_boost(&stand_in, &stand_in.held.secret);
    for request in [
        SigningRequest::Digest(B256::ZERO),
        SigningRequest::Domain { object_root: B256::ZERO, domain: B256::ZERO },
    ] {
        let refused = cause(BlsSigner::sign(&client, &key.public_key(), request).await);
        assert!(matches!(refused, RemoteError::Unsupported(_)), "{refused}");
        let refused = cause(web3signer(&stand_in).sign(&key.public_key(), request).await);
        assert!(matches!(refused, RemoteError::Unsupported(_)), "{refused}");
    }
    assert!(stand_in.requests().is_empty());
}

#[tokio::test]
async fn joined_signers_sign_each_with_its_own_keys() {
    let keys = [0; 3].map(|_| SecretKey::random().unwrap());
    let boost = stand_in().await;
    let web3 = StandIn::web3signer(NETWORK.chain_id, NETWORK.genesis_fork_version).await;
    boost.holds(keys[1].clone());
    web3.holds(keys[2].clone());
    let joined = JoinedBls::new(vec![
        Arc::new(LocalBls::new([keys[0].clone()])),
        Arc::new(commit_boost(&boost, &boost.held.secret)),
        Arc::new(web3signer(&web3)),
    ]);
    assert_eq!(joined.public_keys().len(), 1);
    joined.refresh().await.unwrap();
    assert_eq!(joined.public_keys().len(), 3);
    for key in &keys {
        let request = delegation(key);
        let signature = joined.sign(&key.public_key(), request).await.unwrap();
        bls::verify(&key.public_key(), request.signing_root(), &signature).unwrap();
    }
    assert_eq!((boost.requests().len(), web3.requests().len()), (1, 1));
    // One that is down takes nothing from the others, and its keys stay known.
    boost.fails(Some(Fault::Says(500, Vec::new())));
    assert!(joined.refresh().await.is_err());
    assert_eq!(joined.public_keys().len(), 3);
}

#[test]
fn a_secret_that_is_not_there_is_named() {
    let directory = TempDir::new().unwrap();
    let config = |path: PathBuf| CommitBoostConfig {
        url: "http://127.0.0.1:1".parse().unwrap(),
        module: "EARNEST".to_owned(),
        jwt_secret_file: path,
        ca_file: None,
        timeout_ms: 1,
    };
    for path in [directory.path().join("none"), secret_file(&directory, "")] {
        let refused = CommitBoost::new(&config(path.clone())).unwrap_err();
        assert!(refused.to_string().contains(&path.display().to_string()), "{refused}");
    }
    let client = CommitBoost::new(&config(secret_file(&directory, "hunter2"))).unwrap();
    assert!(!format!("{client:?}").contains("hunter2"));
}

//! A place is signed once, whatever happens in between.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use alloy_primitives::{Address, B256};
use earnest_builder_types::BlsPublicKey;
use earnest_builder_types::bls::{self, SecretKey};
use earnest_journal::{AppendError, Batch, Journal, Log, Options, ReadError};
use earnest_protocol::signing::{EcdsaSecret, recover};
use earnest_signer::{
    BlsSigner, ClaimKey, EcdsaSigner, LocalBls, LocalEcdsa, SignOnce, SignerError, SignerId, Signing,
    SigningRequest,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const OPTIONS: Options = Options { free_space_floor: 0, cache_bytes: 1 << 20, recent_bytes: 1 << 16 };

fn journal(path: &Path) -> Arc<Journal> {
    Arc::new(Journal::open(path, OPTIONS).unwrap())
}

fn request(byte: u8) -> SigningRequest {
    SigningRequest::Digest(B256::repeat_byte(byte))
}

/// Counts what reaches the keys.
struct Counted(LocalBls, AtomicU32);

impl BlsSigner for Counted {
    fn public_keys(&self) -> Vec<BlsPublicKey> {
        self.0.public_keys()
    }

    fn sign<'a>(
        &'a self,
        key: &'a BlsPublicKey,
        request: SigningRequest,
    ) -> Signing<'a, earnest_builder_types::BlsSignature> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sign(key, request)
    }
}

#[tokio::test]
async fn another_root_for_the_same_place_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let secret = SecretKey::random().unwrap();
    let key = secret.public_key();
    let signer = || Counted(LocalBls::new([secret.clone()]), AtomicU32::new(0));
    let place = ClaimKey::slot("delegation", key, 42);

    let log = journal(directory.path());
    let once = SignOnce::new(signer(), log.clone());
    let first = once.sign_bls(&place, &key, request(1)).await.unwrap();
    bls::verify(&key, B256::repeat_byte(1), &first).unwrap();
    assert_eq!(once.sign_bls(&place, &key, request(1)).await.unwrap(), first, "the same again");
    let refused = once.sign_bls(&place, &key, request(2)).await.unwrap_err();
    assert!(matches!(refused, SignerError::SignedBefore { existing } if existing == B256::repeat_byte(1)));
    assert_eq!(once.signer().1.load(Ordering::SeqCst), 2, "what is refused never reaches the key");
    once.sign_bls(&ClaimKey::slot("delegation", key, 43), &key, request(2)).await.unwrap();
    log.close();

    let log = journal(directory.path());
    let once = SignOnce::new(signer(), log.clone());
    assert!(matches!(once.sign_bls(&place, &key, request(2)).await, Err(SignerError::SignedBefore { .. })));
    assert_eq!(once.sign_bls(&place, &key, request(1)).await.unwrap(), first, "after a restart too");
    let held = log.claims(&ClaimKey::prefix("delegation", key)).unwrap();
    let slots: Vec<_> = held.iter().map(|claim| ClaimKey::from_bytes(&claim.key).unwrap().place).collect();
    assert_eq!(slots, [42_u64.to_be_bytes(), 43_u64.to_be_bytes()]);
}

#[tokio::test]
async fn below_the_floor_only_what_was_signed_before_is_signed_again() {
    let directory = tempfile::tempdir().unwrap();
    let secret = SecretKey::random().unwrap();
    let key = secret.public_key();
    let log = journal(directory.path());
    let once = SignOnce::new(LocalBls::new([secret]), log.clone());
    let at = |slot| ClaimKey::slot("delegation", key, slot);
    once.sign_bls(&at(10), &key, request(1)).await.unwrap();
    assert_eq!(ClaimKey::floor_of(&*log, "delegation", key).unwrap(), None);
    for floor in [20, 30, 25] {
        log.append_next(Batch {
            records: Vec::new(),
            claims: vec![ClaimKey::floor("delegation", key, floor)],
        })
        .unwrap();
    }
    assert_eq!(ClaimKey::floor_of(&*log, "delegation", key).unwrap(), Some(30), "it never falls");
    once.sign_bls(&at(10), &key, request(1)).await.unwrap();
    assert!(matches!(once.sign_bls(&at(10), &key, request(2)).await, Err(SignerError::SignedBefore { .. })));
    for slot in [0, 9, 29, 30] {
        let refused = once.sign_bls(&at(slot), &key, request(1)).await;
        assert!(matches!(refused, Err(SignerError::BelowFloor { floor: 30 })), "{slot}");
        assert_eq!(log.claimed(&at(slot).to_bytes()).unwrap(), None);
    }
    once.sign_bls(&at(31), &key, request(1)).await.unwrap();
    let all = ClaimKey::floor("delegation", SignerId::from(key).anyone(), 40);
    log.append_next(Batch { records: Vec::new(), claims: vec![all] }).unwrap();
    let refused = once.sign_bls(&at(40), &key, request(1)).await;
    assert!(matches!(refused, Err(SignerError::BelowFloor { floor: 40 })));
    let other = ClaimKey::slot("something else", key, 5);
    once.sign_bls(&other, &key, request(1)).await.unwrap();
    let delegations = log.claims(&ClaimKey::prefix("delegation", key)).unwrap();
    assert_eq!(delegations.len(), 2, "floors are not among them");
}

#[tokio::test]
async fn nothing_is_signed_that_is_not_durable() {
    let directory = tempfile::tempdir().unwrap();
    let secret = SecretKey::random().unwrap();
    let key = secret.public_key();
    let full = Options { free_space_floor: u64::MAX, ..OPTIONS };
    let log = Arc::new(Journal::open(directory.path(), full).unwrap());
    let once = SignOnce::new(Counted(LocalBls::new([secret]), AtomicU32::new(0)), log.clone());
    let place = ClaimKey::slot("delegation", key, 1);
    let refused = once.sign_bls(&place, &key, request(1)).await;
    assert!(matches!(refused, Err(SignerError::Journal(AppendError::NoSpace { .. }))));
    log.close();
    let refused = once.sign_bls(&place, &key, request(1)).await;
    assert!(matches!(refused, Err(SignerError::Unreadable(ReadError::Closed))));
    assert_eq!(once.signer().1.load(Ordering::SeqCst), 0);
}

/// Many at once for one place: one root wins, and only that one is ever signed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_root_wins() {
    let directory = tempfile::tempdir().unwrap();
    let secret = EcdsaSecret::random();
    let address = secret.address();
    let once = Arc::new(SignOnce::new(LocalEcdsa::new([secret]), journal(directory.path())));
    let attempts = (0..16u8).map(|byte| {
        let once = Arc::clone(&once);
        tokio::spawn(async move {
            let place = ClaimKey::slot("commitment", address, 7);
            (byte, once.sign_ecdsa(&place, address, request(byte)).await)
        })
    });
    let mut signed = Vec::new();
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            (byte, Ok(signature)) => signed.push((byte, signature)),
            (_, Err(SignerError::SignedBefore { .. })) => {}
            (_, Err(error)) => panic!("{error}"),
        }
    }
    let [(byte, signature)] = signed.as_slice() else { panic!("{} signatures", signed.len()) };
    assert_eq!(recover(B256::repeat_byte(*byte), signature).unwrap(), address);
}

#[tokio::test]
async fn keys_not_held_are_named() {
    let bls = LocalBls::new([SecretKey::random().unwrap()]);
    let other = SecretKey::random().unwrap().public_key();
    let refused = bls.sign(&other, request(1)).await.unwrap_err();
    assert!(refused.to_string().contains(&other.to_string()));
    let ecdsa = LocalEcdsa::new([EcdsaSecret::random()]);
    assert_eq!(ecdsa.addresses().len(), 1);
    let refused = ecdsa.sign(Address::ZERO, request(1)).await;
    assert!(matches!(refused, Err(SignerError::UnknownKey(_))));
}

#[test]
fn claim_keys_are_read_back_and_never_confused() {
    let bls = SignerId::Bls(BlsPublicKey::repeat_byte(3));
    let ecdsa = SignerId::Ecdsa(Address::repeat_byte(3));
    let mut seen = std::collections::BTreeSet::new();
    for purpose in ["delegation", "", "a"] {
        for signer in [bls, ecdsa] {
            for place in [vec![], vec![0], vec![0, 0], 5_u64.to_be_bytes().to_vec()] {
                let key = ClaimKey { purpose: purpose.to_owned(), signer, place };
                assert_eq!(ClaimKey::from_bytes(&key.to_bytes()), Some(key.clone()));
                assert!(seen.insert(key.to_bytes()), "{key:?}");
            }
        }
    }
    bolero::check!().with_iterations(2_000).for_each(|bytes: &[u8]| {
        if let Some(key) = ClaimKey::from_bytes(bytes) {
            assert_eq!(key.to_bytes(), bytes);
        }
    });
}

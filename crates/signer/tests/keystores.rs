//! Keystores of others are read, and ours are read by the same rules.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use earnest_builder_types::bls::SecretKey;
use earnest_protocol::signing::EcdsaSecret;
use earnest_signer::bls_keystore::BlsKeystore;
use earnest_signer::ecdsa_keystore::EcdsaKeystore;
use earnest_signer::kdf::Strength;
use earnest_signer::keyring::{self, Scheme};
use earnest_signer::layout::{self, Layout};
use earnest_signer::{KeystoreError, Password, PasswordSource};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const EIP_PASSWORD: &str = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑";
const WEB3_SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
const EIP_SECRET: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/keystores")
}

fn expected_keys() -> BTreeSet<String> {
    serde_json::from_slice(&std::fs::read(vectors().join("pubkeys.json")).unwrap()).unwrap()
}

fn names(keys: &[SecretKey]) -> BTreeSet<String> {
    keys.iter().map(|key| key.public_key().to_string()).collect()
}

#[test]
fn the_standards_own_pair_decrypts() {
    for kdf in ["pbkdf2", "scrypt"] {
        let file = vectors().join(format!("eip2335/voting-keystore-{kdf}.json"));
        let secret = keyring::load_bls(&file, &Password::new(EIP_PASSWORD)).unwrap();
        assert_eq!(hex::encode(secret.to_bytes().as_slice()), EIP_SECRET);
        let wrong = keyring::load_bls(&file, &Password::new("testpassword"));
        assert!(matches!(wrong, Err(KeystoreError::WrongPassword)));
    }
}

#[test]
fn web3_secret_storage_decrypts() {
    for kdf in ["pbkdf2", "scrypt"] {
        let file = vectors().join(format!("web3/{kdf}.json"));
        let secret = keyring::load_ecdsa(&file, &Password::new("testpassword")).unwrap();
        assert_eq!(hex::encode(secret.to_bytes().as_slice()), WEB3_SECRET);
        let wrong = keyring::load_ecdsa(&file, &Password::new("x"));
        assert!(matches!(wrong, Err(KeystoreError::WrongPassword)));
    }
}

/// Puts the two keys of the vectors into another layout.
fn lay_out(directory: &Path, keystore: impl Fn(&str) -> String, password: impl Fn(&str) -> String) {
    for key in expected_keys() {
        for (from, to) in [
            (format!("keys/{key}/voting-keystore.json"), keystore(&key)),
            (format!("secrets/{key}"), password(&key)),
        ] {
            let to = directory.join(to);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(vectors().join(from), to).unwrap();
        }
    }
}

#[test]
fn the_layouts_of_the_clients_load() {
    let loaded =
        layout::load(Layout::Lighthouse, &vectors().join("keys"), &vectors().join("secrets")).unwrap();
    assert_eq!(names(&loaded.keys), expected_keys());
    assert!(loaded.failures.is_empty());

    let directory = tempfile::tempdir().unwrap();
    let no_password = directory.path().join("empty");
    std::fs::write(&no_password, "").unwrap();
    let loaded = layout::load(Layout::Prysm, &vectors().join("prysm"), &no_password).unwrap();
    assert_eq!(names(&loaded.keys), expected_keys());

    let directory = tempfile::tempdir().unwrap();
    let (keys, secrets) = (directory.path().join("keys"), directory.path().join("secrets"));
    lay_out(directory.path(), |key| format!("keys/{key}/keystore.json"), |key| format!("secrets/{key}"));
    let loaded = layout::load(Layout::Nimbus, &keys, &secrets).unwrap();
    assert_eq!(names(&loaded.keys), expected_keys());

    let directory = tempfile::tempdir().unwrap();
    let (keys, secrets) = (directory.path().join("keys"), directory.path().join("secrets"));
    lay_out(directory.path(), |key| format!("keys/{key}.json"), |key| format!("secrets/{key}.txt"));
    std::fs::write(keys.join("notes.md"), "not a key").unwrap();
    let loaded = layout::load(Layout::Teku, &keys, &secrets).unwrap();
    assert_eq!(names(&loaded.keys), expected_keys());

    // Lodestar has one password for all, here that of the first key: the second fails, and is named.
    let first = expected_keys().into_iter().next().unwrap();
    let loaded = layout::load(Layout::Lodestar, &keys, &secrets.join(format!("{first}.txt"))).unwrap();
    assert_eq!(names(&loaded.keys), BTreeSet::from([first]));
    assert!(matches!(loaded.failures.as_slice(), [(_, KeystoreError::WrongPassword)]));
}

#[test]
fn a_directory_that_names_another_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let keys: Vec<String> = expected_keys().into_iter().collect();
    let swapped = |key: &str| keys.iter().find(|other| *other != key).unwrap().clone();
    lay_out(
        directory.path(),
        |key| format!("keys/{}/voting-keystore.json", swapped(key)),
        |key| format!("secrets/{}", swapped(key)),
    );
    let loaded =
        layout::load(Layout::Lighthouse, &directory.path().join("keys"), &directory.path().join("secrets"))
            .unwrap();
    assert!(loaded.keys.is_empty());
    assert_eq!(loaded.failures.len(), 2);
    assert!(loaded.failures.iter().all(|(_, error)| matches!(error, KeystoreError::WrongKey { .. })));
}

#[test]
fn missing_directories_and_passwords_are_named() {
    let nowhere = Path::new("/nonexistent/keys");
    for layout in [Layout::Lighthouse, Layout::Teku, Layout::Nimbus, Layout::Lodestar, Layout::Prysm] {
        let error = layout::load(layout, nowhere, nowhere).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/keys"), "{error}");
        assert_eq!(layout.to_string().parse::<Layout>().unwrap(), layout);
    }
    assert!("grandine".parse::<Layout>().is_err());
    let loaded = layout::load(Layout::Lighthouse, &vectors().join("keys"), nowhere).unwrap();
    assert!(loaded.keys.is_empty());
    assert!(matches!(loaded.failures[0].1, KeystoreError::Password(_)));
}

#[test]
fn keys_are_made_listed_and_loaded() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let password_file = directory.path().join("password");
    std::fs::write(&password_file, "correct horse\n").unwrap();
    let password = PasswordSource::File(password_file).read().unwrap();
    let bls = keyring::create(Scheme::Bls, &keys, &password, Strength::Light).unwrap();
    let ecdsa = keyring::create(Scheme::Ecdsa, &keys, &password, Strength::Light).unwrap();
    for key in [&bls, &ecdsa] {
        assert_eq!(std::fs::metadata(&key.file).unwrap().permissions().mode() & 0o777, 0o600);
        let content = std::fs::read_to_string(&key.file).unwrap();
        assert!(!content.contains("correct horse"));
    }
    assert_eq!(keyring::load_bls(&bls.file, &password).unwrap().public_key().to_string(), bls.public);
    let loaded = keyring::load_ecdsa(&ecdsa.file, &password).unwrap();
    assert_eq!(loaded.address().to_string().to_lowercase(), ecdsa.public);
    std::fs::write(keys.join("broken.json"), "{}").unwrap();
    let listing = keyring::list(&keys).unwrap();
    let mut expected = vec![bls, ecdsa];
    expected.sort_by(|a, b| a.file.cmp(&b.file));
    assert_eq!(listing.keys, expected);
    assert_eq!(listing.failures.len(), 1);
}

#[test]
fn keys_are_imported_once_and_encrypted_anew() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    let bare = directory.path().join("secret");
    std::fs::write(&bare, format!("0x{EIP_SECRET}\n")).unwrap();
    let (theirs, ours) = (Password::new(""), Password::new("ours"));
    let imported = keyring::import(Scheme::Bls, &bare, &theirs, &keys, &ours, Strength::Light).unwrap();
    assert!(
        imported.public.starts_with("0x9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27")
    );
    let again = keyring::import(Scheme::Bls, &bare, &theirs, &keys, &ours, Strength::Light);
    assert!(matches!(again, Err(KeystoreError::Exists(_))));
    assert_eq!(
        hex::encode(keyring::load_bls(&imported.file, &ours).unwrap().to_bytes().as_slice()),
        EIP_SECRET
    );

    let foreign = vectors().join("web3/scrypt.json");
    let theirs = Password::new("testpassword");
    let imported = keyring::import(Scheme::Ecdsa, &foreign, &theirs, &keys, &ours, Strength::Light).unwrap();
    assert!(keyring::load_ecdsa(&imported.file, &theirs).is_err());
    keyring::load_ecdsa(&imported.file, &ours).unwrap();
    for (scheme, file) in
        [(Scheme::Bls, foreign), (Scheme::Ecdsa, vectors().join("eip2335/voting-keystore-scrypt.json"))]
    {
        let refused = keyring::import(scheme, &file, &theirs, &keys, &ours, Strength::Light);
        assert!(
            matches!(refused, Err(KeystoreError::Malformed(_) | KeystoreError::Unsupported(_))),
            "{refused:?}"
        );
    }
}

/// Each field of a keystore changed in turn: an error of its own, never another key.
#[test]
fn a_changed_field_is_an_error() {
    let secret = SecretKey::from_bytes(&hex::decode(EIP_SECRET).unwrap()).unwrap();
    let password = Password::new("p");
    let json = BlsKeystore::encrypt(&secret, &password, Strength::Light, "m/12381/3600/0/0/0")
        .unwrap()
        .to_json()
        .unwrap();
    let whole: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let decrypt = |value: &serde_json::Value| {
        BlsKeystore::from_json(value.to_string().as_bytes()).and_then(|keystore| keystore.decrypt(&password))
    };
    assert_eq!(decrypt(&whole).unwrap().public_key(), secret.public_key());
    let other = SecretKey::random().unwrap().public_key();
    for (pointer, value) in [
        ("/version", serde_json::json!(3)),
        ("/version", serde_json::json!("4")),
        ("/pubkey", serde_json::json!(hex::encode(other))),
        ("/pubkey", serde_json::json!("12")),
        ("/crypto/kdf/function", serde_json::json!("argon2")),
        ("/crypto/kdf/params/salt", serde_json::json!("00")),
        ("/crypto/kdf/params/salt", serde_json::json!("zz")),
        ("/crypto/kdf/params/n", serde_json::json!(8192)),
        ("/crypto/kdf/params/n", serde_json::json!(-1)),
        ("/crypto/kdf/params/n", serde_json::json!(1_u64 << 40)),
        ("/crypto/checksum/function", serde_json::json!("md5")),
        ("/crypto/checksum/message", serde_json::json!("")),
        ("/crypto/cipher/function", serde_json::json!("aes-256-ctr")),
        ("/crypto/cipher/params/iv", serde_json::json!("00")),
        ("/crypto/cipher/params/iv", serde_json::json!("00".repeat(16))),
        ("/crypto/cipher/message", serde_json::json!("")),
        ("/crypto/cipher/message", serde_json::json!("00".repeat(32))),
    ] {
        let mut changed = whole.clone();
        *changed.pointer_mut(pointer).unwrap() = value.clone();
        assert!(decrypt(&changed).is_err(), "{pointer} = {value}");
    }
    for field in ["/crypto/kdf", "/crypto/cipher", "/crypto/checksum", "/crypto/kdf/params"] {
        let mut changed = whole.clone();
        *changed.pointer_mut(field).unwrap() = serde_json::Value::Null;
        assert!(decrypt(&changed).is_err(), "{field}");
    }
}

#[test]
fn no_secret_is_shown() {
    let secret = SecretKey::from_bytes(&hex::decode(EIP_SECRET).unwrap()).unwrap();
    let ecdsa =
        keyring::load_ecdsa(&vectors().join("web3/scrypt.json"), &Password::new("testpassword")).unwrap();
    let shown = format!("{secret:?} {ecdsa:?} {:?}", Password::new("hunter2"));
    for hidden in [EIP_SECRET.trim_start_matches('0'), &hex::encode(ecdsa.to_bytes().as_slice()), "hunter2"] {
        assert!(!shown.contains(hidden), "{shown}");
    }
}

#[test]
fn a_file_too_large_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("large.json");
    std::fs::write(&file, vec![b' '; 70_000]).unwrap();
    assert!(matches!(BlsKeystore::from_file(&file), Err(KeystoreError::TooLarge { .. })));
    assert!(matches!(EcdsaKeystore::from_file(&file), Err(KeystoreError::TooLarge { .. })));
}

/// Arbitrary bytes, and keystores with bytes changed: an error or the same key, in bounded time.
#[test]
fn arbitrary_keystores_do_no_harm() {
    let password = Password::new("");
    let secret = EcdsaSecret::random();
    let address = secret.address();
    let ecdsa = EcdsaKeystore::encrypt(&secret, &password, Strength::Light).unwrap().to_json().unwrap();
    bolero::check!()
        .with_test_time(std::time::Duration::from_secs(2))
        .with_type::<(Vec<u8>, Vec<(u16, u8)>)>()
        .for_each(|(bytes, changes)| {
            let _ = BlsKeystore::from_json(bytes);
            let _ = EcdsaKeystore::from_json(bytes);
            let mut changed = ecdsa.clone();
            for (at, byte) in changes {
                let at = usize::from(*at).checked_rem(changed.len()).unwrap_or_default();
                // Parameters of more than one digit are allowed to cost as much as the bounds say.
                if !byte.is_ascii_digit() {
                    changed[at] = *byte;
                }
            }
            if let Ok(secret) =
                EcdsaKeystore::from_json(&changed).and_then(|keystore| keystore.decrypt(&password))
            {
                assert_eq!(secret.address(), address);
            }
            let mut nested = br#"{"version":4,"crypto":"#.to_vec();
            nested.extend(bytes);
            let _ = BlsKeystore::from_json(&nested);
        });
}

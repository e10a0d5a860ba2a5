//! What `earnest keys` does: new keys, keys from elsewhere, and which ones are there.
//!
//! A key lies in `<directory>/0x<public name>.json`, encrypted, readable by its owner alone. That is
//! also the layout of Teku and Lodestar, so a directory of BLS keys can be given to either.

use crate::bls_keystore::{self, BlsKeystore};
use crate::ecdsa_keystore::EcdsaKeystore;
use crate::kdf::Strength;
use crate::{KeystoreError, Password, file};
use earnest_builder_types::bls::{BlsError, SecretKey};
use earnest_protocol::signing::EcdsaSecret;
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Which curve a key is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// BLS12-381: validators, delegates, relays.
    Bls,
    /// secp256k1: committers, relays' receipts, L1 accounts.
    Ecdsa,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bls => "bls",
            Self::Ecdsa => "ecdsa",
        })
    }
}

/// A key in a directory, by its public name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyInfo {
    /// Its curve.
    pub scheme: Scheme,
    /// BLS public key, or address, with `0x`.
    pub public: String,
    /// Its keystore.
    pub file: PathBuf,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub struct Listing {
    /// The keys, in the order of their files' names.
    pub keys: Vec<KeyInfo>,
    /// JSON files that are not keystores, and why.
    pub failures: Vec<(PathBuf, KeystoreError)>,
}

/// Makes a key.
///
/// # Errors
/// If there is no randomness, or the file cannot be written.
pub fn create(
    scheme: Scheme,
    directory: &Path,
    password: &Password,
    strength: Strength,
) -> Result<KeyInfo, KeystoreError> {
    let secret = match scheme {
        Scheme::Bls => Secret::Bls(SecretKey::random().map_err(no_randomness)?),
        Scheme::Ecdsa => {
            Secret::Ecdsa(EcdsaSecret::from_bytes(&*random_scalar()?).map_err(|_| KeystoreError::BadKey)?)
        }
    };
    secret.store(directory, password, strength)
}

/// Takes a key into a directory: from a keystore of either kind, or from a file that holds the bare
/// secret as 64 hex digits. It is encrypted anew, under `password`.
///
/// # Errors
/// If the source is neither, its password is wrong, or the key is there already.
pub fn import(
    scheme: Scheme,
    source: &Path,
    source_password: &Password,
    directory: &Path,
    password: &Password,
    strength: Strength,
) -> Result<KeyInfo, KeystoreError> {
    let content = file::read_keystore(source, bls_keystore::MAX_FILE_BYTES)?;
    let secret = match (scheme, bare_secret(&content)) {
        (Scheme::Bls, Some(bytes)) => {
            Secret::Bls(SecretKey::from_bytes(bytes.as_slice()).map_err(|_| KeystoreError::BadKey)?)
        }
        (Scheme::Ecdsa, Some(bytes)) => {
            Secret::Ecdsa(EcdsaSecret::from_bytes(&bytes).map_err(|_| KeystoreError::BadKey)?)
        }
        (Scheme::Bls, None) => Secret::Bls(BlsKeystore::from_json(&content)?.decrypt(source_password)?),
        (Scheme::Ecdsa, None) => Secret::Ecdsa(EcdsaKeystore::from_json(&content)?.decrypt(source_password)?),
    };
    secret.store(directory, password, strength)
}

/// Lists the keys of a directory, without decrypting them.
///
/// # Errors
/// If the directory cannot be read.
pub fn list(directory: &Path) -> Result<Listing, KeystoreError> {
    let failed = |source| KeystoreError::Io { path: directory.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    let mut listing = Listing::default();
    for path in files {
        match describe(&path) {
            Ok(info) => listing.keys.push(info),
            Err(error) => listing.failures.push((path, error)),
        }
    }
    Ok(listing)
}

/// Loads one BLS key from its ERC-2335 keystore.
///
/// # Errors
/// As [`BlsKeystore::from_file`] and [`BlsKeystore::decrypt`].
pub fn load_bls(file: &Path, password: &Password) -> Result<SecretKey, KeystoreError> {
    BlsKeystore::from_file(file)?.decrypt(password)
}

/// Loads one ECDSA key from its Web3 secret storage file.
///
/// # Errors
/// As [`EcdsaKeystore::from_file`] and [`EcdsaKeystore::decrypt`].
pub fn load_ecdsa(file: &Path, password: &Password) -> Result<EcdsaSecret, KeystoreError> {
    EcdsaKeystore::from_file(file)?.decrypt(password)
}

enum Secret {
    Bls(SecretKey),
    Ecdsa(EcdsaSecret),
}

impl Secret {
    fn store(
        &self,
        directory: &Path,
        password: &Password,
        strength: Strength,
    ) -> Result<KeyInfo, KeystoreError> {
        let (scheme, public) = match self {
            Self::Bls(secret) => (Scheme::Bls, secret.public_key().to_string()),
            Self::Ecdsa(secret) => (Scheme::Ecdsa, format!("0x{}", hex::encode(secret.address()))),
        };
        let path = directory.join(format!("{public}.json"));
        if path.exists() {
            return Err(KeystoreError::Exists(path));
        }
        let json = match self {
            Self::Bls(secret) => BlsKeystore::encrypt(secret, password, strength, "")?.to_json()?,
            Self::Ecdsa(secret) => EcdsaKeystore::encrypt(secret, password, strength)?.to_json()?,
        };
        file::write_secret(&path, &json)?;
        Ok(KeyInfo { scheme, public, file: path })
    }
}

fn describe(path: &Path) -> Result<KeyInfo, KeystoreError> {
    let json = file::read_keystore(path, bls_keystore::MAX_FILE_BYTES)?;
    let (scheme, public) = match EcdsaKeystore::from_json(&json) {
        Ok(keystore) => {
            let address = keystore.address()?;
            let address = address.ok_or_else(|| KeystoreError::Malformed("no address".to_owned()))?;
            (Scheme::Ecdsa, format!("0x{}", hex::encode(address)))
        }
        Err(_) => (Scheme::Bls, BlsKeystore::from_json(&json)?.public_key()?.to_string()),
    };
    Ok(KeyInfo { scheme, public, file: path.to_path_buf() })
}

fn bare_secret(content: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let text = std::str::from_utf8(content).ok()?.trim();
    let mut bytes = Zeroizing::new([0u8; 32]);
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), bytes.as_mut_slice()).ok()?;
    Some(bytes)
}

/// A random secp256k1 secret: all but one in 2¹²⁸ of 32 random bytes are one.
fn random_scalar() -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    Ok(Zeroizing::new(crate::kdf::random::<32>()?))
}

fn no_randomness(error: BlsError) -> KeystoreError {
    KeystoreError::Io { path: "system randomness".into(), source: std::io::Error::other(error) }
}

//! ERC-2335 keystores: one BLS secret, encrypted under a password.

use crate::kdf::{self, Kdf, Pbkdf2, Scrypt, Strength, decode_hex};
use crate::{KeystoreError, Password, file};
use aes::Aes128;
use alloy_primitives::FixedBytes;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use earnest_builder_types::{BlsPublicKey, bls::SecretKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;
use zeroize::Zeroizing;

/// Largest keystore file, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A keystore as it lies in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlsKeystore {
    crypto: Crypto,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    pubkey: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    uuid: String,
    version: u64,
}

/// The encrypted part, which Prysm's file shares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Crypto {
    kdf: KdfModule,
    checksum: Checksum,
    cipher: Cipher,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "lowercase")]
enum KdfModule {
    Scrypt {
        params: Scrypt,
        #[serde(default)]
        message: String,
    },
    Pbkdf2 {
        params: Pbkdf2,
        #[serde(default)]
        message: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Checksum {
    function: String,
    #[serde(default)]
    params: Empty,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Cipher {
    function: String,
    params: CipherParams,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Empty {}

impl BlsKeystore {
    /// Reads a keystore.
    ///
    /// # Errors
    /// [`KeystoreError::Malformed`] if it is none, [`KeystoreError::Unsupported`] if not of version 4.
    pub fn from_json(json: &[u8]) -> Result<Self, KeystoreError> {
        let keystore: Self =
            serde_json::from_slice(json).map_err(|error| KeystoreError::Malformed(error.to_string()))?;
        if keystore.version != 4 {
            return Err(KeystoreError::Unsupported(format!("version {}", keystore.version)));
        }
        Ok(keystore)
    }

    /// Reads a keystore file.
    ///
    /// # Errors
    /// As [`Self::from_json`], and if the file cannot be read or is too large.
    pub fn from_file(path: &Path) -> Result<Self, KeystoreError> {
        Self::from_json(&file::read_keystore(path, MAX_FILE_BYTES)?)
    }

    /// Encrypts a key. `path` is its derivation path, empty if it has none.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn encrypt(
        secret: &SecretKey,
        password: &Password,
        strength: Strength,
        path: &str,
    ) -> Result<Self, KeystoreError> {
        let crypto = Crypto::encrypt(secret.to_bytes().as_slice(), password, strength)?;
        Ok(Self {
            crypto,
            description: Some(String::new()),
            pubkey: hex::encode(secret.public_key()),
            path: path.to_owned(),
            uuid: uuid::Uuid::new_v4().to_string(),
            version: 4,
        })
    }

    /// The public key that the file names; the key inside is only known after decryption.
    ///
    /// # Errors
    /// [`KeystoreError::Malformed`] if it names none, as the standard allows.
    pub fn public_key(&self) -> Result<BlsPublicKey, KeystoreError> {
        let bytes = decode_hex("pubkey", &self.pubkey)?;
        FixedBytes::try_from(bytes.as_slice())
            .map_err(|_| KeystoreError::Malformed("pubkey is not 48 bytes".to_owned()))
    }

    /// Decrypts the key, and checks that it is the one the file names.
    ///
    /// # Errors
    /// [`KeystoreError::WrongPassword`], [`KeystoreError::WrongKey`], or what is wrong with the file.
    pub fn decrypt(&self, password: &Password) -> Result<SecretKey, KeystoreError> {
        let bytes = self.crypto.decrypt(password)?;
        let secret = SecretKey::from_bytes(&bytes).map_err(|_| KeystoreError::BadKey)?;
        if !self.pubkey.is_empty() {
            let (named, held) = (self.public_key()?, secret.public_key());
            if named != held {
                return Err(KeystoreError::WrongKey { named: named.to_string(), held: held.to_string() });
            }
        }
        Ok(secret)
    }

    /// The file's content.
    ///
    /// # Errors
    /// Never in practice: every field is text or a number.
    pub fn to_json(&self) -> Result<Vec<u8>, KeystoreError> {
        serde_json::to_vec_pretty(self).map_err(|error| KeystoreError::Malformed(error.to_string()))
    }
}

impl Crypto {
    pub(crate) fn encrypt(
        secret: &[u8],
        password: &Password,
        strength: Strength,
    ) -> Result<Self, KeystoreError> {
        let kdf = Kdf::new(strength)?;
        let key = kdf.derive(&password.normalised())?;
        let iv = kdf::random::<16>()?;
        let message = apply_cipher(key.as_slice(), &iv, secret)?;
        let message = hex::encode(message.as_slice());
        let checksum = hex::encode(checksum(key.as_slice(), &decode_hex("cipher", &message)?)?);
        Ok(Self {
            kdf: match kdf {
                Kdf::Scrypt(params) => KdfModule::Scrypt { params, message: String::new() },
                Kdf::Pbkdf2(params) => KdfModule::Pbkdf2 { params, message: String::new() },
            },
            checksum: Checksum { function: "sha256".to_owned(), params: Empty {}, message: checksum },
            cipher: Cipher {
                function: "aes-128-ctr".to_owned(),
                params: CipherParams { iv: hex::encode(iv) },
                message,
            },
        })
    }

    pub(crate) fn decrypt(&self, password: &Password) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
        if self.checksum.function != "sha256" {
            return Err(KeystoreError::Unsupported(format!("checksum {:.32}", self.checksum.function)));
        }
        if self.cipher.function != "aes-128-ctr" {
            return Err(KeystoreError::Unsupported(format!("cipher {:.32}", self.cipher.function)));
        }
        let iv = decode_hex("iv", &self.cipher.params.iv)?;
        let message = decode_hex("cipher message", &self.cipher.message)?;
        let expected = decode_hex("checksum", &self.checksum.message)?;
        let kdf = match &self.kdf {
            KdfModule::Scrypt { params, .. } => Kdf::Scrypt(params.clone()),
            KdfModule::Pbkdf2 { params, .. } => Kdf::Pbkdf2(params.clone()),
        };
        let key = kdf.derive(&password.normalised())?;
        if checksum(key.as_slice(), &message)?.as_slice() != expected {
            return Err(KeystoreError::WrongPassword);
        }
        apply_cipher(key.as_slice(), &iv, &message)
    }
}

/// AES-128 in counter mode, under the first half of the derived key. Both ways are the same.
pub(crate) fn apply_cipher(
    key: &[u8],
    iv: &[u8],
    message: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let bad = || KeystoreError::Malformed("iv is not 16 bytes".to_owned());
    let (cipher_key, _) = key.split_at_checked(16).ok_or_else(bad)?;
    let mut cipher = Ctr128BE::<Aes128>::new_from_slices(cipher_key, iv).map_err(|_| bad())?;
    let mut bytes = Zeroizing::new(message.to_vec());
    cipher.apply_keystream(&mut bytes);
    Ok(bytes)
}

fn checksum(key: &[u8], message: &[u8]) -> Result<[u8; 32], KeystoreError> {
    let (_, second) = key.split_at_checked(16).ok_or(KeystoreError::BadKey)?;
    Ok(Sha256::new().chain_update(second).chain_update(message).finalize().into())
}

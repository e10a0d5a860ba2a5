//! Web3 secret storage, version 3: one secp256k1 secret, encrypted under a password, as geth and most
//! wallets keep it.

use crate::bls_keystore::apply_cipher;
use crate::kdf::{self, Kdf, Pbkdf2, Scrypt, Strength, decode_hex};
use crate::{KeystoreError, Password, file};
use alloy_primitives::{Address, Keccak256};
use earnest_protocol::signing::EcdsaSecret;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Largest keystore file, in bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A keystore as it lies in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EcdsaKeystore {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    #[serde(default)]
    id: String,
    version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: String,
    #[serde(flatten)]
    kdf: KdfModule,
    mac: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CipherParams {
    iv: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kdf", content = "kdfparams", rename_all = "lowercase")]
enum KdfModule {
    Scrypt(Scrypt),
    Pbkdf2(Pbkdf2),
}

impl EcdsaKeystore {
    /// Reads a keystore.
    ///
    /// # Errors
    /// [`KeystoreError::Malformed`] if it is none, [`KeystoreError::Unsupported`] if not of version 3.
    pub fn from_json(json: &[u8]) -> Result<Self, KeystoreError> {
        let keystore: Self =
            serde_json::from_slice(json).map_err(|error| KeystoreError::Malformed(error.to_string()))?;
        if keystore.version != 3 {
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

    /// Encrypts a key.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn encrypt(
        secret: &EcdsaSecret,
        password: &Password,
        strength: Strength,
    ) -> Result<Self, KeystoreError> {
        let kdf = Kdf::new(strength)?;
        let key = kdf.derive(password.plain())?;
        let iv = kdf::random::<16>()?;
        let ciphertext = apply_cipher(key.as_slice(), &iv, secret.to_bytes().as_slice())?;
        Ok(Self {
            address: Some(hex::encode(secret.address())),
            crypto: Crypto {
                cipher: "aes-128-ctr".to_owned(),
                cipherparams: CipherParams { iv: hex::encode(iv) },
                mac: hex::encode(mac(key.as_slice(), &ciphertext)?),
                ciphertext: hex::encode(ciphertext.as_slice()),
                kdf: match kdf {
                    Kdf::Scrypt(params) => KdfModule::Scrypt(params),
                    Kdf::Pbkdf2(params) => KdfModule::Pbkdf2(params),
                },
            },
            id: uuid::Uuid::new_v4().to_string(),
            version: 3,
        })
    }

    /// The address that the file names, if it names one.
    ///
    /// # Errors
    /// [`KeystoreError::Malformed`] if it names something else.
    pub fn address(&self) -> Result<Option<Address>, KeystoreError> {
        let Some(address) = &self.address else { return Ok(None) };
        let bytes = decode_hex("address", address)?;
        Address::try_from(bytes.as_slice())
            .map(Some)
            .map_err(|_| KeystoreError::Malformed("address is not 20 bytes".to_owned()))
    }

    /// Decrypts the key, and checks that it is the one the file names.
    ///
    /// # Errors
    /// [`KeystoreError::WrongPassword`], [`KeystoreError::WrongKey`], or what is wrong with the file.
    pub fn decrypt(&self, password: &Password) -> Result<EcdsaSecret, KeystoreError> {
        let Crypto { cipher, cipherparams, ciphertext, kdf, mac: expected } = &self.crypto;
        if cipher != "aes-128-ctr" {
            return Err(KeystoreError::Unsupported(format!("cipher {cipher:.32}")));
        }
        let iv = decode_hex("iv", &cipherparams.iv)?;
        let ciphertext = decode_hex("ciphertext", ciphertext)?;
        let expected = decode_hex("mac", expected)?;
        let kdf = match kdf {
            KdfModule::Scrypt(params) => Kdf::Scrypt(params.clone()),
            KdfModule::Pbkdf2(params) => Kdf::Pbkdf2(params.clone()),
        };
        let key = kdf.derive(password.plain())?;
        if mac(key.as_slice(), &ciphertext)?.as_slice() != expected {
            return Err(KeystoreError::WrongPassword);
        }
        let bytes = apply_cipher(key.as_slice(), &iv, &ciphertext)?;
        let bytes: &[u8; 32] = bytes.as_slice().try_into().map_err(|_| KeystoreError::BadKey)?;
        let secret = EcdsaSecret::from_bytes(bytes).map_err(|_| KeystoreError::BadKey)?;
        match self.address()? {
            Some(named) if named != secret.address() => {
                Err(KeystoreError::WrongKey { named: named.to_string(), held: secret.address().to_string() })
            }
            Some(_) | None => Ok(secret),
        }
    }

    /// The file's content.
    ///
    /// # Errors
    /// Never in practice: every field is text or a number.
    pub fn to_json(&self) -> Result<Vec<u8>, KeystoreError> {
        serde_json::to_vec_pretty(self).map_err(|error| KeystoreError::Malformed(error.to_string()))
    }
}

fn mac(key: &[u8], ciphertext: &[u8]) -> Result<[u8; 32], KeystoreError> {
    let (_, second) = key.split_at_checked(16).ok_or(KeystoreError::BadKey)?;
    let mut hasher = Keccak256::new();
    hasher.update(second);
    hasher.update(ciphertext);
    Ok(hasher.finalize().0)
}

//! The relay's two keys.

use crate::config::KeyFile;
use alloy_primitives::hex;
use earnest_builder_types::bls::SecretKey;
use earnest_protocol::signing::EcdsaSecret;
use earnest_signer::{KeystoreError, Password, PasswordError, keyring};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The keystore.
    #[error("{}: {source}", path.display())]
    Keystore {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: KeystoreError,
    },
    /// The password file.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Not 32 bytes of hexadecimal, or not a key.
    #[error("{}: not a secret key in hexadecimal", .0.display())]
    Hex(PathBuf),
}

/// Loads the key that signs bids. Blocks: keystores are slow on purpose.
pub(crate) fn bls(key: &KeyFile) -> Result<SecretKey, KeyError> {
    match &key.password_file {
        Some(password) => keyring::load_bls(&key.file, &Password::from_file(password)?)
            .map_err(|source| KeyError::Keystore { path: key.file.clone(), source }),
        None => SecretKey::from_bytes(read_hex(&key.file)?.as_slice())
            .map_err(|_| KeyError::Hex(key.file.clone())),
    }
}

/// Loads the key that signs receipts. Blocks.
pub(crate) fn ecdsa(key: &KeyFile) -> Result<EcdsaSecret, KeyError> {
    match &key.password_file {
        Some(password) => keyring::load_ecdsa(&key.file, &Password::from_file(password)?)
            .map_err(|source| KeyError::Keystore { path: key.file.clone(), source }),
        None => EcdsaSecret::from_bytes(&*read_hex(&key.file)?).map_err(|_| KeyError::Hex(key.file.clone())),
    }
}

fn read_hex(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|source| KeyError::Io { path: path.to_path_buf(), source })?;
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut *bytes).map_err(|_| KeyError::Hex(path.to_path_buf()))?;
    Ok(bytes)
}

//! A role's own keys, as its configuration names them.

use crate::{KeystoreError, Password, PasswordError, file::read_limited, keyring};
use alloy_primitives::hex;
use earnest_builder_types::bls::SecretKey;
use earnest_protocol::signing::EcdsaSecret;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest file of a bare key: 32 bytes in hexadecimal, with room for white space.
const MAX_HEX_BYTES: u64 = 256;

/// Where a key is: a keystore with its password file, or 32 bytes in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The keystore, or the file with the bare key.
    pub file: PathBuf,
    /// File with the keystore's password; none for a bare key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// Why a key cannot be had. Never says what a file holds.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
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
    #[error("{}: not a secret key of 32 bytes in hexadecimal; for a keystore, name its password_file too", .0.display())]
    Hex(PathBuf),
}

impl KeyFile {
    /// A bare key in a file.
    #[must_use]
    pub fn bare(file: impl Into<PathBuf>) -> Self {
        Self { file: file.into(), password_file: None }
    }

    /// Loads a BLS key. Blocks: keystores are slow on purpose.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn bls(&self) -> Result<SecretKey, KeyFileError> {
        match &self.password_file {
            Some(password) => keyring::load_bls(&self.file, &Password::from_file(password)?)
                .map_err(|source| KeyFileError::Keystore { path: self.file.clone(), source }),
            None => SecretKey::from_bytes(read_hex(&self.file)?.as_slice())
                .map_err(|_| KeyFileError::Hex(self.file.clone())),
        }
    }

    /// Loads a secp256k1 key. Blocks, as [`Self::bls`].
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn ecdsa(&self) -> Result<EcdsaSecret, KeyFileError> {
        match &self.password_file {
            Some(password) => keyring::load_ecdsa(&self.file, &Password::from_file(password)?)
                .map_err(|source| KeyFileError::Keystore { path: self.file.clone(), source }),
            None => EcdsaSecret::from_bytes(&*read_hex(&self.file)?)
                .map_err(|_| KeyFileError::Hex(self.file.clone())),
        }
    }
}

fn read_hex(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let text = read_limited(path, MAX_HEX_BYTES).map_err(|source| match source.kind() {
        // Most likely a keystore.
        std::io::ErrorKind::FileTooLarge => KeyFileError::Hex(path.to_path_buf()),
        _ => KeyFileError::Io { path: path.to_path_buf(), source },
    })?;
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim_ascii(), &mut *bytes)
        .map_err(|_| KeyFileError::Hex(path.to_path_buf()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bare_keys_and_says_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            KeyFile::bare(&path).ecdsa().map(|key| *key.to_bytes())
        };
        let mut one = [0; 32];
        one[31] = 1;
        assert_eq!(read(&format!("0x{}\n", hex::encode(one))).unwrap(), one);
        assert_eq!(read(&hex::encode(one)).unwrap(), one);
        for bad in [String::new(), "00".into(), "0".repeat(64), "g".repeat(64), "1".repeat(300)] {
            let error = read(&bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(&bad), "{error}");
        }
        assert!(matches!(KeyFile::bare(folder.path().join("no")).bls(), Err(KeyFileError::Io { .. })));
    }
}

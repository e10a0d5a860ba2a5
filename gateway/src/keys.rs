//! Secrets from files.

use std::path::{Path, PathBuf};

use earnest_builder_types::bls;
use earnest_protocol::signing::EcdsaSecret;
use zeroize::Zeroizing;

/// Largest key file read: 32 bytes in hex, with room for white space.
const MAX_BYTES: u64 = 256;

/// Why a key file gives no key. Never says what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("key file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file does not hold a key.
    #[error("key file {} does not hold a secret key: 32 bytes in hex", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
}

/// Reads a secp256k1 key in hex.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn ecdsa(path: &Path) -> Result<EcdsaSecret, KeyFileError> {
    let bytes = read(path)?;
    EcdsaSecret::from_bytes(&bytes).map_err(|_| KeyFileError::NotAKey { path: path.to_owned() })
}

/// Reads a BLS key in hex.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn bls(path: &Path) -> Result<bls::SecretKey, KeyFileError> {
    let bytes = read(path)?;
    bls::SecretKey::from_bytes(bytes.as_ref()).map_err(|_| KeyFileError::NotAKey { path: path.to_owned() })
}

fn read(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let unreadable = |source| KeyFileError::Unreadable { path: path.to_owned(), source };
    let not_a_key = || KeyFileError::NotAKey { path: path.to_owned() };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(not_a_key());
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
    let digits = text.trim().trim_start_matches("0x");
    let mut bytes = Zeroizing::new([0_u8; 32]);
    alloy_primitives::hex::decode_to_slice(digits, bytes.as_mut()).map_err(|_| not_a_key())?;
    Ok(bytes)
}

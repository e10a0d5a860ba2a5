//! Keys: where they come from, what holds them, and the record that keeps one from signing twice.
//!
//! - [`BlsSigner`] and [`EcdsaSigner`] are what the roles sign with. [`LocalBls`] and [`LocalEcdsa`]
//!   hold the keys in memory; [`remote`] has those of signers elsewhere.
//! - [`SignOnce`] puts the journal before a signer: the claim of a place is durable before the
//!   signature exists, and a second, different root for that place is refused.
//! - [`bls_keystore`] reads and writes ERC-2335 files, [`ecdsa_keystore`] Web3 secret storage files,
//!   [`layout`] whole directories as the common validator clients keep them.
//! - [`keyring`] is what `earnest keys` does.
//!
//! Secrets are wiped when dropped, never shown by `Debug`, and never logged. Decryption takes a second
//! or more of processor time by design: asynchronous callers move it to a blocking thread.

pub mod bls_keystore;
pub mod ecdsa_keystore;
mod file;
pub mod kdf;
mod key_file;
pub mod keyring;
pub mod layout;
mod local;
mod password;
pub mod remote;
mod sign_once;
mod signer;
mod transaction;

pub use key_file::{KeyFile, KeyFileError};
pub use local::{LocalBls, LocalEcdsa};
pub use password::{Password, PasswordError, PasswordSource};
pub use sign_once::{ClaimKey, SignOnce, SignerId};
pub use signer::{BlsSigner, EcdsaSigner, SignerError, Signing, SigningRequest};
pub use transaction::sign_transaction;

use std::io;

/// Why a keystore is not read, or not written.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// Not a keystore of the expected form.
    #[error("not a keystore: {0}")]
    Malformed(String),
    /// A keystore of a version, cipher or key derivation that is not supported.
    #[error("unsupported keystore: {0}")]
    Unsupported(String),
    /// Its key derivation asks for more memory or time than is given to any file.
    #[error("key derivation out of bounds: {0}")]
    OutOfBounds(String),
    /// The password is not the keystore's.
    #[error("wrong password")]
    WrongPassword,
    /// The key inside is not the one the file names.
    #[error("the keystore names {named}, but holds {held}")]
    WrongKey {
        /// Public key or address in the file.
        named: String,
        /// Public key or address of the key inside.
        held: String,
    },
    /// The decrypted bytes are not a key.
    #[error("the keystore holds no valid key")]
    BadKey,
    /// The password cannot be had.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A file of this name is already there; keys are never overwritten.
    #[error("{} is already there", .0.display())]
    Exists(std::path::PathBuf),
    /// The file is larger than any keystore.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: std::path::PathBuf,
        /// Bytes at most.
        limit: u64,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

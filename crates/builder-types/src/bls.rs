//! BLS12-381 signatures as Ethereum uses them: public keys in G1, signatures in G2, proof of
//! possession scheme.
//!
//! Every point that comes from outside is checked to be on the curve, in the subgroup, and not at
//! infinity.

mod batch;
mod eip2537;

use std::fmt;

use alloy_primitives::{B256, FixedBytes};
use blst::{BLST_ERROR, min_pk};
use rand::TryRngCore as _;
use thiserror::Error;
use zeroize::Zeroizing;

pub use batch::verify_batch;
pub use eip2537::{pubkey_from_g1_words, pubkey_to_g1_words, signature_from_g2_words, signature_to_g2_words};

use crate::{BlsPublicKey, BlsSignature};

/// Domain separation tag of every signature on Ethereum's consensus layer.
pub const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// Why a key or a signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BlsError {
    /// Not a scalar between 1 and the group order.
    #[error("invalid secret key")]
    SecretKey,
    /// Not a point of G1, not in its subgroup, or the point at infinity.
    #[error("invalid public key")]
    PublicKey,
    /// Not a point of G2, not in its subgroup, or the point at infinity.
    #[error("invalid signature encoding")]
    SignatureEncoding,
    /// A well-formed signature that was not made by this key over this root.
    #[error("signature does not verify")]
    Signature,
    /// Nothing to aggregate.
    #[error("no signatures to aggregate")]
    Empty,
    /// The system has no randomness to give.
    #[error("no system randomness")]
    Randomness,
}

/// A secret key. Its memory is wiped on drop; it is never shown.
#[derive(Clone)]
pub struct SecretKey(min_pk::SecretKey);

impl SecretKey {
    /// Reads the 32 big-endian bytes of a scalar.
    ///
    /// # Errors
    /// [`BlsError::SecretKey`] if it is zero or not below the group order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BlsError> {
        min_pk::SecretKey::from_bytes(bytes).map(Self).map_err(|_| BlsError::SecretKey)
    }

    /// Makes a key from system randomness.
    ///
    /// # Errors
    /// [`BlsError::Randomness`] if the system gives none.
    pub fn random() -> Result<Self, BlsError> {
        let mut material = Zeroizing::new([0_u8; 32]);
        rand::rngs::OsRng.try_fill_bytes(material.as_mut_slice()).map_err(|_| BlsError::Randomness)?;
        min_pk::SecretKey::key_gen(material.as_slice(), &[]).map(Self).map_err(|_| BlsError::SecretKey)
    }

    /// The 32 big-endian bytes of the scalar, wiped on drop.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    pub fn public_key(&self) -> BlsPublicKey {
        FixedBytes(self.0.sk_to_pk().to_bytes())
    }

    /// Signs a signing root. Deterministic.
    pub fn sign(&self, signing_root: B256) -> BlsSignature {
        FixedBytes(self.0.sign(signing_root.as_slice(), DST, &[]).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

fn point_of_key(key: &BlsPublicKey) -> Result<min_pk::PublicKey, BlsError> {
    min_pk::PublicKey::key_validate(key.as_slice()).map_err(|_| BlsError::PublicKey)
}

fn point_of_signature(signature: &BlsSignature) -> Result<min_pk::Signature, BlsError> {
    min_pk::Signature::sig_validate(signature.as_slice(), true).map_err(|_| BlsError::SignatureEncoding)
}

/// Checks that `key` is a usable public key.
///
/// # Errors
/// [`BlsError::PublicKey`] if it is off the curve, off the subgroup, or at infinity.
pub fn validate_public_key(key: &BlsPublicKey) -> Result<(), BlsError> {
    point_of_key(key).map(drop)
}

/// Verifies one signature over a signing root.
///
/// # Errors
/// Which part is wrong: the key, the encoding of the signature, or the signature itself.
pub fn verify(key: &BlsPublicKey, signing_root: B256, signature: &BlsSignature) -> Result<(), BlsError> {
    VerifyingKey::new(key)?.verify(signing_root, signature)
}

/// A public key that was checked once, for who verifies many signatures by it.
#[derive(Debug, Clone, Copy)]
pub struct VerifyingKey {
    bytes: BlsPublicKey,
    point: min_pk::PublicKey,
}

impl VerifyingKey {
    /// Checks `key`, as [`validate_public_key`] does.
    ///
    /// # Errors
    /// [`BlsError::PublicKey`].
    pub fn new(key: &BlsPublicKey) -> Result<Self, BlsError> {
        Ok(Self { bytes: *key, point: point_of_key(key)? })
    }

    /// The key, compressed.
    #[must_use]
    pub const fn bytes(&self) -> BlsPublicKey {
        self.bytes
    }

    /// Verifies one signature over a signing root.
    ///
    /// # Errors
    /// Which part is wrong: the encoding of the signature, or the signature itself.
    pub fn verify(&self, signing_root: B256, signature: &BlsSignature) -> Result<(), BlsError> {
        let signature = point_of_signature(signature)?;
        match signature.verify(false, signing_root.as_slice(), DST, &[], &self.point, false) {
            BLST_ERROR::BLST_SUCCESS => Ok(()),
            _ => Err(BlsError::Signature),
        }
    }
}

/// Aggregates signatures into one.
///
/// # Errors
/// [`BlsError::Empty`] for none, [`BlsError::SignatureEncoding`] if any is not a valid point.
pub fn aggregate(signatures: &[BlsSignature]) -> Result<BlsSignature, BlsError> {
    if signatures.is_empty() {
        return Err(BlsError::Empty);
    }
    let points = signatures.iter().map(point_of_signature).collect::<Result<Vec<min_pk::Signature>, _>>()?;
    let points: Vec<&min_pk::Signature> = points.iter().collect();
    min_pk::AggregateSignature::aggregate(&points, false)
        .map(|sum| FixedBytes(sum.to_signature().to_bytes()))
        .map_err(|_| BlsError::SignatureEncoding)
}

/// Verifies an aggregate of signatures by `keys` over the same signing root.
///
/// The keys must have proven possession, as every deposited validator has.
///
/// # Errors
/// As [`verify`]; [`BlsError::Empty`] without keys.
pub fn verify_aggregate(
    keys: &[BlsPublicKey],
    signing_root: B256,
    signature: &BlsSignature,
) -> Result<(), BlsError> {
    if keys.is_empty() {
        return Err(BlsError::Empty);
    }
    let keys = keys.iter().map(point_of_key).collect::<Result<Vec<min_pk::PublicKey>, _>>()?;
    let keys: Vec<&min_pk::PublicKey> = keys.iter().collect();
    let signature = point_of_signature(signature)?;
    match signature.fast_aggregate_verify(false, signing_root.as_slice(), DST, &keys) {
        BLST_ERROR::BLST_SUCCESS => Ok(()),
        _ => Err(BlsError::Signature),
    }
}

#[cfg(test)]
mod tests;

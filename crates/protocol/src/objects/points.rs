//! Compressed BLS keys and signatures to and from the EIP-2537 points of the schema (design §3).

use crate::sol::{G1Point, G2Point};
use earnest_builder_types::{BlsPublicKey, BlsSignature, bls};

/// Why bytes or words are not a BLS point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// A public key that is not a point of the right subgroup, or infinity.
    #[error("bad BLS public key")]
    PublicKey,
    /// A signature that is not a point of the right subgroup, or infinity.
    #[error("bad BLS signature")]
    Signature,
}

/// The point of a compressed public key.
///
/// # Errors
/// [`PointError::PublicKey`] if the key is not valid.
pub fn pubkey_to_sol(key: &BlsPublicKey) -> Result<G1Point, PointError> {
    let [x_a, x_b, y_a, y_b] = bls::pubkey_to_g1_words(key).map_err(|_| PointError::PublicKey)?;
    Ok(G1Point { x_a, x_b, y_a, y_b })
}

/// The compressed public key of a point.
///
/// # Errors
/// [`PointError::PublicKey`] unless the point is a valid key.
pub fn pubkey_from_sol(point: &G1Point) -> Result<BlsPublicKey, PointError> {
    let words = [point.x_a, point.x_b, point.y_a, point.y_b];
    bls::pubkey_from_g1_words(&words).map_err(|_| PointError::PublicKey)
}

/// The point of a compressed signature.
///
/// # Errors
/// [`PointError::Signature`] if the signature is not a valid point.
pub fn signature_to_sol(signature: &BlsSignature) -> Result<G2Point, PointError> {
    let [x_c0_a, x_c0_b, x_c1_a, x_c1_b, y_c0_a, y_c0_b, y_c1_a, y_c1_b] =
        bls::signature_to_g2_words(signature).map_err(|_| PointError::Signature)?;
    Ok(G2Point { x_c0_a, x_c0_b, x_c1_a, x_c1_b, y_c0_a, y_c0_b, y_c1_a, y_c1_b })
}

/// The compressed signature of a point.
///
/// # Errors
/// [`PointError::Signature`] unless the point is valid.
pub fn signature_from_sol(point: &G2Point) -> Result<BlsSignature, PointError> {
    let words = [
        point.x_c0_a,
        point.x_c0_b,
        point.x_c1_a,
        point.x_c1_b,
        point.y_c0_a,
        point.y_c0_b,
        point.y_c1_a,
        point.y_c1_b,
    ];
    bls::signature_from_g2_words(&words).map_err(|_| PointError::Signature)
}

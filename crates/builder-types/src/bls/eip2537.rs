//! Points as the precompiles of EIP-2537 take them: each coordinate as 64 big-endian bytes, that
//! is, two words.

use alloy_primitives::{B256, FixedBytes};
use blst::min_pk;

use super::{BlsError, point_of_key, point_of_signature};
use crate::{BlsPublicKey, BlsSignature};

/// Bytes of a field element.
const FIELD: usize = 48;

/// One field element as two words, the first one padded with 16 zero bytes.
fn to_words(field: &[u8]) -> Option<[B256; 2]> {
    let (high, low) = field.split_at_checked(16)?;
    Some([B256::left_padding_from(high), B256::try_from(low).ok()?])
}

fn from_words(words: &[B256]) -> Option<Vec<u8>> {
    let [high, low] = words else { return None };
    let (padding, high) = high.split_at_checked(16)?;
    if padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    Some([high, low.as_slice()].concat())
}

/// A public key as (x, y), four words.
///
/// # Errors
/// [`BlsError::PublicKey`] if it is not a usable key.
pub fn pubkey_to_g1_words(key: &BlsPublicKey) -> Result<[B256; 4], BlsError> {
    let point = point_of_key(key)?.serialize();
    let (x, y) = point.split_at_checked(FIELD).ok_or(BlsError::PublicKey)?;
    match (to_words(x), to_words(y)) {
        (Some([a, b]), Some([c, d])) => Ok([a, b, c, d]),
        _ => Err(BlsError::PublicKey),
    }
}

/// Reads a public key from (x, y), four words.
///
/// # Errors
/// [`BlsError::PublicKey`] if the words are not a usable key.
pub fn pubkey_from_g1_words(words: &[B256; 4]) -> Result<BlsPublicKey, BlsError> {
    let (x, y) = words.split_at(2);
    let (Some(x), Some(y)) = (from_words(x), from_words(y)) else {
        return Err(BlsError::PublicKey);
    };
    let key = min_pk::PublicKey::deserialize(&[x, y].concat()).map_err(|_| BlsError::PublicKey)?;
    key.validate().map_err(|_| BlsError::PublicKey)?;
    Ok(FixedBytes(key.to_bytes()))
}

/// A signature as (x.c0, x.c1, y.c0, y.c1), eight words.
///
/// # Errors
/// [`BlsError::SignatureEncoding`] if it is not a valid point.
pub fn signature_to_g2_words(signature: &BlsSignature) -> Result<[B256; 8], BlsError> {
    let point = point_of_signature(signature)?.serialize();
    let mut fields = point.chunks_exact(FIELD).map(to_words);
    let mut next = || fields.next().flatten().ok_or(BlsError::SignatureEncoding);
    let ([a, b], [c, d], [e, f], [g, h]) = (next()?, next()?, next()?, next()?);
    Ok([c, d, a, b, g, h, e, f])
}

/// Reads a signature from (x.c0, x.c1, y.c0, y.c1), eight words.
///
/// # Errors
/// [`BlsError::SignatureEncoding`] if the words are not a valid point.
pub fn signature_from_g2_words(words: &[B256; 8]) -> Result<BlsSignature, BlsError> {
    let mut fields = words.chunks_exact(2).map(from_words);
    let mut next = || fields.next().flatten().ok_or(BlsError::SignatureEncoding);
    let (x0, x1, y0, y1) = (next()?, next()?, next()?, next()?);
    let signature = min_pk::Signature::deserialize(&[x1, x0, y1, y0].concat())
        .map_err(|_| BlsError::SignatureEncoding)?;
    signature.validate(true).map_err(|_| BlsError::SignatureEncoding)?;
    Ok(FixedBytes(signature.to_bytes()))
}

//! The well-known deterministic keys of test networks.

use alloy_primitives::{U256, uint};
use earnest_builder_types::bls::{BlsError, SecretKey};
use sha2::{Digest, Sha256};

/// Order of the groups of BLS12-381.
const ORDER: U256 = uint!(0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001_U256);

/// The interop key of a validator: `sha256` of its index as 32 little-endian bytes, read as a little-endian
/// number, modulo the group order. Worth nothing outside of a test network.
///
/// # Errors
/// Never in practice: no index is known whose hash is a multiple of the order.
pub fn interop_key(index: u64) -> Result<SecretKey, BlsError> {
    let hash = Sha256::digest(U256::from(index).to_le_bytes::<32>());
    let scalar = U256::from_le_slice(&hash).checked_rem(ORDER).unwrap_or_default();
    SecretKey::from_bytes(&scalar.to_be_bytes::<32>())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::hex;

    use super::*;

    #[test]
    fn keys_are_those_of_the_interop_document() {
        let first = interop_key(0).unwrap();
        assert_eq!(
            hex::encode(first.to_bytes()),
            "25295f0d1d592a90b333e26e85149708208e9f8e8bc18f6c77bd62f8ad7a6866"
        );
        assert_eq!(
            hex::encode(first.public_key()),
            "a99a76ed7796f7be22d5b7e85deeb7c5677e88e511e0b337618f8c4eb61349b4bf2d153f649f7b53359fe8b94a38e44c"
        );
        assert_ne!(interop_key(1).unwrap().public_key(), first.public_key());
    }
}

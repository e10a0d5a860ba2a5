//! ECDSA over raw 32-byte roots (design §3): RFC 6979, low s, 65 bytes r‖s‖v with v 27 or 28.

use super::SigningError;
use alloy_consensus::crypto::SECP256K1N_HALF;
use alloy_primitives::{Address, B256, FixedBytes, U256, keccak256};
use secp256k1::{
    Message, PublicKey, SECP256K1, SecretKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use std::fmt;
use zeroize::Zeroizing;

/// 65 bytes r‖s‖v.
pub type EcdsaSignature = FixedBytes<65>;

/// A secp256k1 secret, erased when dropped.
pub struct EcdsaSecret {
    secret: SecretKey,
    address: Address,
}

impl EcdsaSecret {
    /// The secret of 32 big-endian bytes.
    ///
    /// # Errors
    /// [`SigningError::BadSecret`] if they are zero or not below the order.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, SigningError> {
        let secret = SecretKey::from_byte_array(bytes).map_err(|_| SigningError::BadSecret)?;
        Ok(Self { secret, address: address_of(&secret.public_key(SECP256K1)) })
    }

    /// A new secret from the operating system's randomness; aborts if the system has none.
    #[must_use]
    pub fn random() -> Self {
        let secret = SecretKey::new(&mut secp256k1::rand::rngs::OsRng);
        Self { secret, address: address_of(&secret.public_key(SECP256K1)) }
    }

    /// The 32 big-endian bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.secret_bytes())
    }

    /// The address that signatures recover to.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs `root`. Deterministic.
    ///
    /// # Errors
    /// [`SigningError::Malformed`] if the recovery id has no v, which takes an r above the order (about 2⁻¹²⁷).
    pub fn sign(&self, root: B256) -> Result<EcdsaSignature, SigningError> {
        let signature = SECP256K1.sign_ecdsa_recoverable(&Message::from_digest(root.0), &self.secret);
        let (recovery, compact) = signature.serialize_compact();
        let v = match recovery {
            RecoveryId::Zero => 27,
            RecoveryId::One => 28,
            RecoveryId::Two | RecoveryId::Three => return Err(SigningError::Malformed),
        };
        let mut bytes = EcdsaSignature::ZERO;
        for (to, from) in bytes.iter_mut().zip(compact.iter().chain([&v])) {
            *to = *from;
        }
        Ok(bytes)
    }
}

impl Drop for EcdsaSecret {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

impl fmt::Debug for EcdsaSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EcdsaSecret").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Who signed `root`.
///
/// # Errors
/// [`SigningError`] if v is not 27 or 28, s is high, or nobody could have signed it.
pub fn recover(root: B256, signature: &EcdsaSignature) -> Result<Address, SigningError> {
    let (compact, v) = signature.split_last_chunk::<1>().ok_or(SigningError::Malformed)?;
    let recovery = match v {
        [27] => RecoveryId::Zero,
        [28] => RecoveryId::One,
        [v] => return Err(SigningError::BadV(*v)),
    };
    let (_, s) = compact.split_last_chunk::<32>().ok_or(SigningError::Malformed)?;
    if U256::from_be_bytes(*s) > SECP256K1N_HALF {
        return Err(SigningError::HighS);
    }
    let signature =
        RecoverableSignature::from_compact(compact, recovery).map_err(|_| SigningError::Malformed)?;
    let key = SECP256K1
        .recover_ecdsa(&Message::from_digest(root.0), &signature)
        .map_err(|_| SigningError::Malformed)?;
    Ok(address_of(&key))
}

fn address_of(key: &PublicKey) -> Address {
    let uncompressed = key.serialize_uncompressed();
    let (_, point) = uncompressed.split_at(1);
    Address::from_word(keccak256(point))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use alloy_primitives::{address, b256, hex};
    use proptest::prelude::*;

    const ORDER: U256 =
        U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));

    fn secret(byte: u8) -> EcdsaSecret {
        EcdsaSecret::from_bytes(&[byte; 32]).unwrap()
    }

    #[test]
    fn first_account_of_the_development_mnemonic() {
        let bytes = hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
        let secret = EcdsaSecret::from_bytes(&bytes).unwrap();
        assert_eq!(secret.address(), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        assert_eq!(*secret.to_bytes(), bytes);
        assert!(!format!("{secret:?}").contains("ac0974"));
    }

    #[test]
    fn no_secret_out_of_range() {
        assert_eq!(EcdsaSecret::from_bytes(&[0; 32]).err(), Some(SigningError::BadSecret));
        assert_eq!(EcdsaSecret::from_bytes(&ORDER.to_be_bytes()).err(), Some(SigningError::BadSecret));
    }

    #[test]
    fn the_other_half_and_other_vs_are_refused() {
        let root = b256!("0202020202020202020202020202020202020202020202020202020202020202");
        let signature = secret(1).sign(root).unwrap();
        let s = U256::from_be_slice(&signature[32..64]);
        let mut high = signature;
        high[32..64].copy_from_slice(&(ORDER - s).to_be_bytes::<32>());
        high[64] = 55 - signature[64];
        assert_eq!(recover(root, &high), Err(SigningError::HighS));
        for v in [0, 1, 26, 29, 35, 255] {
            let mut other = signature;
            other[64] = v;
            assert_eq!(recover(root, &other), Err(SigningError::BadV(v)));
        }
        let mut zero = signature;
        zero[..32].fill(0);
        assert_eq!(recover(root, &zero), Err(SigningError::Malformed));
    }

    proptest! {
        #[test]
        fn what_is_signed_recovers_to_its_signer_alone(root: [u8; 32], key in 1u8..255, bit in 0usize..512) {
            let (root, secret) = (B256::from(root), secret(key));
            let signature = secret.sign(root).unwrap();
            prop_assert_eq!(signature, secret.sign(root).unwrap());
            prop_assert_eq!(recover(root, &signature), Ok(secret.address()));
            let mut wrong = signature;
            wrong[bit / 8] ^= 1 << (bit % 8);
            prop_assert_ne!(recover(root, &wrong), Ok(secret.address()));
        }
    }
}

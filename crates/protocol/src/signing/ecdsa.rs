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

    /// A new secret from the operating system's randomness.
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

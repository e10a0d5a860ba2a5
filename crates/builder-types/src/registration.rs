//! Validator registrations.

use alloy_primitives::Address;
use alloy_rpc_types_beacon::relay as alloy;
use serde::{Deserialize, Serialize};
use serde_with::As;
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};
use tree_hash_derive::TreeHash;

use crate::{BlsPublicKey, BlsSignature, CodecError, decimal::Decimal};

/// What a validator wants of the blocks built for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct ValidatorRegistration {
    /// Who gets the fees.
    pub fee_recipient: Address,
    /// Gas limit aimed at.
    #[serde(with = "As::<Decimal>")]
    pub gas_limit: u64,
    /// When it was signed, seconds since 1970. The latest counts.
    #[serde(with = "As::<Decimal>")]
    pub timestamp: u64,
    /// The validator's key.
    pub pubkey: BlsPublicKey,
}

/// A signed registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct SignedValidatorRegistration {
    /// The registration.
    pub message: ValidatorRegistration,
    /// By the validator, in the builder domain.
    pub signature: BlsSignature,
}

/// Bytes of one registration in SSZ.
pub const REGISTRATION_SSZ_BYTES: usize = 180;

/// Reads the SSZ body of `registerValidators`, `List[SignedValidatorRegistrationV1, 2⁴⁰]`.
///
/// # Errors
/// If the length is not a whole number of registrations.
pub fn registrations_from_ssz(bytes: &[u8]) -> Result<Vec<SignedValidatorRegistration>, CodecError> {
    Ok(Vec::from_ssz_bytes(bytes)?)
}

/// Writes the SSZ body of `registerValidators`.
pub fn registrations_to_ssz(registrations: &[SignedValidatorRegistration]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(registrations.len().saturating_mul(REGISTRATION_SSZ_BYTES));
    for registration in registrations {
        registration.ssz_append(&mut bytes);
    }
    bytes
}

impl From<alloy::ValidatorRegistration> for SignedValidatorRegistration {
    fn from(from: alloy::ValidatorRegistration) -> Self {
        let alloy::ValidatorRegistration { message, signature } = from;
        let alloy::ValidatorRegistrationMessage { fee_recipient, gas_limit, timestamp, pubkey } = message;
        let message = ValidatorRegistration { fee_recipient, gas_limit, timestamp, pubkey };
        Self { message, signature }
    }
}

impl From<SignedValidatorRegistration> for alloy::ValidatorRegistration {
    fn from(from: SignedValidatorRegistration) -> Self {
        let SignedValidatorRegistration { message, signature } = from;
        let ValidatorRegistration { fee_recipient, gas_limit, timestamp, pubkey } = message;
        let message = alloy::ValidatorRegistrationMessage { fee_recipient, gas_limit, timestamp, pubkey };
        Self { message, signature }
    }
}

//! Delegations, and the relay's word on when it had them (design §2, §3).

use super::{
    ObjectError, SlotAllocation, mirror, pubkey_from_sol, pubkey_to_sol, signature_from_sol, signature_to_sol,
};
use crate::{
    Slot, integer,
    signing::{EcdsaSignature, Message, MessageType, Signed, SigningError, sol_root},
    sol,
};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolValue;
use earnest_builder_types::{BlsPublicKey, BlsSignature};
use serde::{Deserialize, Serialize};

/// A proposer's word on who acts for it in one slot. One per (proposer, slot).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// The registered validator key that signs.
    pub proposer: BlsPublicKey,
    /// The gateway's key, which signs constraints.
    pub delegate: BlsPublicKey,
    /// The gateway's address, which signs L1 inclusion commitments.
    pub committer: Address,
    /// The L1 slot.
    pub slot: Slot,
    /// Empty, or `abi.encode(uint8 1, SlotAllocation)`: see [`SlotAllocation::from_metadata`].
    pub metadata: Bytes,
}

impl Delegation {
    /// `keccak256(abi.encode(Delegation))`: what a [`DelegationReceipt`] names.
    ///
    /// # Errors
    /// [`ObjectError::Point`] if a key is not a valid point.
    pub fn hash(&self) -> Result<B256, ObjectError> {
        Ok(keccak256(self.to_sol()?.abi_encode()))
    }

    /// The market's outcome that the metadata carries.
    ///
    /// # Errors
    /// [`ObjectError`] if the metadata holds none, or one for another slot.
    pub fn allocation(&self) -> Result<SlotAllocation, ObjectError> {
        let allocation = SlotAllocation::from_metadata(&self.metadata)?;
        if allocation.slot == self.slot { Ok(allocation) } else { Err(ObjectError::Field("slot")) }
    }

    /// The schema struct, keys as points.
    ///
    /// # Errors
    /// [`ObjectError::Point`] if a key is not a valid point.
    pub fn to_sol(&self) -> Result<sol::Delegation, ObjectError> {
        Ok(sol::Delegation {
            proposer: pubkey_to_sol(&self.proposer)?,
            delegate: pubkey_to_sol(&self.delegate)?,
            committer: self.committer,
            slot: self.slot.0,
            metadata: self.metadata.clone(),
        })
    }
}

impl TryFrom<sol::Delegation> for Delegation {
    type Error = ObjectError;

    fn try_from(value: sol::Delegation) -> Result<Self, ObjectError> {
        Ok(Self {
            proposer: pubkey_from_sol(&value.proposer)?,
            delegate: pubkey_from_sol(&value.delegate)?,
            committer: value.committer,
            slot: Slot(value.slot),
            metadata: value.metadata,
        })
    }
}

impl Message for Delegation {
    const TYPE: MessageType = MessageType::Delegation;

    fn object_root(&self) -> Result<B256, SigningError> {
        Ok(sol_root(Self::TYPE, &self.to_sol()?))
    }
}

/// A delegation with the proposer's BLS signature.
pub type SignedDelegation = Signed<Delegation, BlsSignature>;

/// A relay's word that it had a delegation, signed by the slot's proposer, at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationReceipt {
    /// The delegation's slot.
    pub slot: Slot,
    /// [`Delegation::hash`].
    pub delegation_hash: B256,
    /// When the relay had it, Unix milliseconds.
    #[serde(with = "integer")]
    pub received_at_ms: u64,
}
mirror!(DelegationReceipt { slot = slot, delegation_hash = delegationHash, received_at_ms = receivedAtMs });

impl Message for DelegationReceipt {
    const TYPE: MessageType = MessageType::DelegationReceipt;

    fn object_root(&self) -> Result<B256, SigningError> {
        Ok(sol_root(Self::TYPE, &sol::DelegationReceipt::from(self)))
    }
}

/// A delegation receipt with the relay's ECDSA signature.
pub type SignedDelegationReceipt = Signed<DelegationReceipt, EcdsaSignature>;

/// What makes a committer the holder of a window: a delegation, and the receipt that makes it valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The proposer's delegation.
    pub delegation: SignedDelegation,
    /// The market relay's receipt of it.
    pub receipt: SignedDelegationReceipt,
}

impl Authority {
    /// The schema structs, keys and BLS signature as points.
    ///
    /// # Errors
    /// [`ObjectError::Point`] if a key or signature is not a valid point.
    pub fn to_sol(&self) -> Result<(sol::SignedDelegation, sol::SignedDelegationReceipt), ObjectError> {
        let delegation = sol::SignedDelegation {
            delegation: self.delegation.message.to_sol()?,
            nonce: self.delegation.nonce,
            signingId: self.delegation.signing_id,
            signature: signature_to_sol(&self.delegation.signature)?,
        };
        let receipt = sol::SignedDelegationReceipt {
            receipt: (&self.receipt.message).into(),
            nonce: self.receipt.nonce,
            signingId: self.receipt.signing_id,
            signature: self.receipt.signature.into(),
        };
        Ok((delegation, receipt))
    }

    /// `abi.encode(SignedDelegation, SignedDelegationReceipt)`, as the window's first batch carries it.
    ///
    /// # Errors
    /// As [`Self::to_sol`].
    pub fn abi_encode(&self) -> Result<Vec<u8>, ObjectError> {
        Ok(self.to_sol()?.abi_encode_params())
    }

    /// Reads what [`Self::abi_encode`] writes. Signatures are not judged here.
    ///
    /// # Errors
    /// [`ObjectError`] unless the bytes are canonical and every key and BLS signature is a valid point.
    pub fn abi_decode(bytes: &[u8]) -> Result<Self, ObjectError> {
        let pair =
            <(sol::SignedDelegation, sol::SignedDelegationReceipt)>::abi_decode_params_validate(bytes)?;
        if pair.abi_encode_params() != bytes {
            return Err(ObjectError::NotCanonical);
        }
        pair.try_into()
    }
}

impl TryFrom<(sol::SignedDelegation, sol::SignedDelegationReceipt)> for Authority {
    type Error = ObjectError;

    fn try_from(
        (delegation, receipt): (sol::SignedDelegation, sol::SignedDelegationReceipt),
    ) -> Result<Self, ObjectError> {
        let signature = receipt.signature.as_ref();
        Ok(Self {
            delegation: Signed {
                signature: signature_from_sol(&delegation.signature)?,
                message: delegation.delegation.try_into()?,
                nonce: delegation.nonce,
                signing_id: delegation.signingId,
            },
            receipt: Signed {
                message: receipt.receipt.try_into()?,
                nonce: receipt.nonce,
                signing_id: receipt.signingId,
                signature: signature.try_into().map_err(|_| ObjectError::Field("signature"))?,
            },
        })
    }
}

impl DelegationReceipt {
    /// The receipt of `delegation`, had at `received_at_ms`.
    ///
    /// # Errors
    /// [`ObjectError::Point`] if a key of the delegation is not a valid point.
    pub fn of(delegation: &Delegation, received_at_ms: u64) -> Result<Self, ObjectError> {
        Ok(Self { slot: delegation.slot, delegation_hash: delegation.hash()?, received_at_ms })
    }
}

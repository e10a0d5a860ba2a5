//! Constraints on an L1 block, and the relay's word on whether it holds them (design §4, §5).

use super::{
    CommitmentType, InclusionPayload, Object, ObjectError, closed_set, mirror, named_in_json,
    pubkey_from_sol, pubkey_to_sol,
};
use crate::{
    Slot, integer,
    signing::{EcdsaSignature, Message, MessageType, Signed, SigningError, sol_root},
    sol,
};
use alloy_primitives::{B256, Bytes, keccak256};
use alloy_sol_types::SolValue;
use earnest_builder_types::{BlsPublicKey, BlsSignature};
use serde::{Deserialize, Serialize};

/// One typed instruction to block builders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Constraint {
    /// The payload's type; 1 is L1 inclusion.
    #[serde(with = "integer::hex", alias = "constraint_type")]
    pub constraint_type: u64,
    /// The payload, as the type has it.
    pub payload: Bytes,
}
mirror!(Constraint { constraint_type = constraintType, payload = payload });

impl Constraint {
    /// A type-1 constraint: `signed_tx` in the block of `slot`.
    #[must_use]
    pub fn inclusion(slot: Slot, signed_tx: Bytes) -> Self {
        Self {
            constraint_type: CommitmentType::Inclusion.into(),
            payload: InclusionPayload { slot, signed_tx }.abi_encode().into(),
        }
    }

    /// The payload of a type-1 constraint.
    ///
    /// # Errors
    /// [`ObjectError`] if the type is another or the payload is not canonical.
    pub fn as_inclusion(&self) -> Result<InclusionPayload, ObjectError> {
        if self.constraint_type != u64::from(CommitmentType::Inclusion) {
            return Err(ObjectError::Field("constraintType"));
        }
        InclusionPayload::abi_decode(&self.payload)
    }
}

/// A delegate's constraints for one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConstraintsMessage {
    /// The slot's proposer.
    pub proposer: BlsPublicKey,
    /// The key that signs, named by the proposer's delegation or an entry of its allocation.
    pub delegate: BlsPublicKey,
    /// The L1 slot.
    pub slot: Slot,
    /// The constraints, in order.
    pub constraints: Vec<Constraint>,
    /// Who may read them; everyone if empty.
    pub receivers: Vec<BlsPublicKey>,
}

impl ConstraintsMessage {
    /// `keccak256(abi.encode(ConstraintsMessage))`: what a [`ConstraintReceipt`] names.
    ///
    /// # Errors
    /// [`ObjectError::Point`] if a key is not a valid point.
    pub fn hash(&self) -> Result<B256, ObjectError> {
        Ok(keccak256(self.to_sol()?.abi_encode()))
    }

    /// The schema struct, keys as points.
    ///
    /// # Errors
    /// [`ObjectError::Point`] if a key is not a valid point.
    pub fn to_sol(&self) -> Result<sol::ConstraintsMessage, ObjectError> {
        Ok(sol::ConstraintsMessage {
            proposer: pubkey_to_sol(&self.proposer)?,
            delegate: pubkey_to_sol(&self.delegate)?,
            slot: self.slot.0,
            constraints: self.constraints.iter().map(Into::into).collect(),
            receivers: self.receivers.iter().map(pubkey_to_sol).collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<sol::ConstraintsMessage> for ConstraintsMessage {
    type Error = ObjectError;

    fn try_from(value: sol::ConstraintsMessage) -> Result<Self, ObjectError> {
        Ok(Self {
            proposer: pubkey_from_sol(&value.proposer)?,
            delegate: pubkey_from_sol(&value.delegate)?,
            slot: Slot(value.slot),
            constraints: value.constraints.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            receivers: value.receivers.iter().map(pubkey_from_sol).collect::<Result<_, _>>()?,
        })
    }
}

impl Message for ConstraintsMessage {
    const TYPE: MessageType = MessageType::Constraints;

    fn object_root(&self) -> Result<B256, SigningError> {
        Ok(sol_root(Self::TYPE, &self.to_sol()?))
    }
}

/// Constraints with the delegate's BLS signature.
pub type SignedConstraints = Signed<ConstraintsMessage, BlsSignature>;

closed_set! {
    /// What became of constraints at the relay.
    ConstraintStatus: u8 {
        /// The slot serves only blocks that hold them.
        Held = 0,
        /// They cannot be included, and bind nobody.
        Dropped = 1,
    }
}

named_in_json!(ConstraintStatus { Held = "held", Dropped = "dropped" });

/// A relay's word on constraints that it had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConstraintReceipt {
    /// The constraints' slot.
    pub slot: Slot,
    /// [`ConstraintsMessage::hash`].
    pub constraints_hash: B256,
    /// When the relay had them, Unix milliseconds.
    #[serde(with = "integer")]
    pub received_at_ms: u64,
    /// Held or dropped.
    pub status: ConstraintStatus,
}
mirror!(ConstraintReceipt {
    slot = slot, constraints_hash = constraintsHash, received_at_ms = receivedAtMs, status = status,
});

impl Message for ConstraintReceipt {
    const TYPE: MessageType = MessageType::ConstraintReceipt;

    fn object_root(&self) -> Result<B256, SigningError> {
        Ok(sol_root(Self::TYPE, &sol::ConstraintReceipt::from(self)))
    }
}

/// A constraint receipt with the relay's ECDSA signature.
pub type SignedConstraintReceipt = Signed<ConstraintReceipt, EcdsaSignature>;

/// Payload of a type-1 proof: where the block carries the constraint's transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// The transaction in the block: the constraint's, or another of the same sender and nonce.
    pub signed_tx: Bytes,
    /// Its index in the block.
    #[serde(with = "integer")]
    pub index: u64,
    /// Siblings from its leaf to the header's `transactions_root`, lowest first.
    pub branch: Vec<B256>,
}
mirror!(InclusionProof { signed_tx = signedTx, index = index, branch = branch });

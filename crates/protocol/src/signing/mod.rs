//! Commit-Boost's signing form (design §3):
//!
//! ```text
//! object_root  = keccak256(abi.encode(uint256 messageType, Struct))
//! info_root    = hash_tree_root(PropCommitSigningInfo{data: object_root, module_signing_id, nonce, chain_id})
//! signing_root = hash_tree_root(SigningData{info_root, domain})
//! ```

pub mod ecdsa;
mod signed;

pub use ecdsa::{EcdsaSecret, EcdsaSignature, recover};
pub use signed::Signed;

use crate::objects::ObjectError;
use alloy_primitives::{B256, Keccak256, U256, b256};
use alloy_sol_types::{SolType, SolValue};
use earnest_builder_types::domain;
use serde::{Deserialize, Serialize};
use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

/// `keccak256("earnest.v1")`: the module signing id of every message of ours.
pub const EARNEST_SIGNING_ID: B256 =
    b256!("5fe88909aef8d96581bd9fcd099f1411adcbfe58f8f5687345f07935cac815c4");

pub(crate) const fn earnest_signing_id() -> B256 {
    EARNEST_SIGNING_ID
}

/// Why a message cannot be signed, or a signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The object cannot be put in its signed form.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The ECDSA signature's `s` is in the upper half of the order.
    #[error("signature with high s")]
    HighS,
    /// The ECDSA signature's `v` is neither 27 nor 28.
    #[error("signature with v {0}, not 27 or 28")]
    BadV(u8),
    /// The bytes are no signature, or one that recovers to nobody.
    #[error("malformed signature")]
    Malformed,
    /// The signature is of another signer, or of another message.
    #[error("signature of another signer")]
    WrongSigner,
    /// The secret is not a valid key.
    #[error("bad secret key")]
    BadSecret,
}

impl From<crate::objects::PointError> for SigningError {
    fn from(error: crate::objects::PointError) -> Self {
        Self::Object(error.into())
    }
}

/// What an object root is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum MessageType {
    /// A validator key's registration.
    Registration = 1,
    /// A delegation.
    Delegation = 2,
    /// A commitment.
    Commitment = 3,
    /// Constraints.
    Constraints = 4,
    /// A bid acknowledgement.
    BidAck = 0x101,
    /// An auction result.
    AuctionResult = 0x102,
    /// A delegation receipt.
    DelegationReceipt = 0x103,
    /// A constraint receipt.
    ConstraintReceipt = 0x104,
}

/// A message that is signed in the form of this module.
pub trait Message {
    /// Its type.
    const TYPE: MessageType;

    /// `keccak256(abi.encode(uint256 messageType, Struct))`.
    ///
    /// # Errors
    /// [`SigningError::Object`] if a BLS key in it is not a valid point.
    fn object_root(&self) -> Result<B256, SigningError>;
}

/// The object root of a schema struct.
#[must_use]
pub fn sol_root<S: SolValue>(message_type: MessageType, object: &S) -> B256 {
    let encoded = object.abi_encode();
    let mut hasher = Keccak256::new();
    hasher.update(B256::from(U256::from(message_type as u16)));
    if <S::SolType as SolType>::DYNAMIC {
        // After the type comes an offset of two words, where the struct alone would have one of one word.
        hasher.update(B256::with_last_byte(0x40));
        hasher.update(encoded.get(32..).unwrap_or_default());
    } else {
        hasher.update(encoded);
    }
    hasher.finalize()
}

#[derive(TreeHash)]
struct PropCommitSigningInfo {
    data: B256,
    module_signing_id: B256,
    nonce: u64,
    chain_id: U256,
}

/// The info root of an object root. A signer that wants a bare object root (Web3Signer) is given this.
#[must_use]
pub fn info_root(object_root: B256, signing_id: B256, nonce: u64, chain_id: u64) -> B256 {
    let chain_id = U256::from(chain_id);
    PropCommitSigningInfo { data: object_root, module_signing_id: signing_id, nonce, chain_id }
        .tree_hash_root()
}

/// The L1 network that signatures are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The consensus layer's genesis fork version.
    #[serde(with = "fork_version")]
    pub genesis_fork_version: [u8; 4],
    /// The execution layer's chain id.
    #[serde(with = "crate::integer")]
    pub chain_id: u64,
}

impl Network {
    /// `0x6d6d6f43 ‖ hash_tree_root(ForkData{genesis_fork_version, 0})[0..28]`.
    #[must_use]
    pub fn domain(&self) -> B256 {
        domain::commit_boost_domain(self.genesis_fork_version)
    }

    /// The signing root of an object root.
    #[must_use]
    pub fn signing_root(&self, object_root: B256, signing_id: B256, nonce: u64) -> B256 {
        domain::signing_root(info_root(object_root, signing_id, nonce, self.chain_id), self.domain())
    }

    /// The signing root of a message in our form: signing id `earnest.v1`, nonce 0.
    ///
    /// # Errors
    /// As [`Message::object_root`].
    pub fn message_root<M: Message>(&self, message: &M) -> Result<B256, SigningError> {
        Ok(self.signing_root(message.object_root()?, EARNEST_SIGNING_ID, 0))
    }
}

mod fork_version {
    use alloy_primitives::FixedBytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(version: &[u8; 4], serializer: S) -> Result<S::Ok, S::Error> {
        FixedBytes(*version).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 4], D::Error> {
        FixedBytes::<4>::deserialize(deserializer).map(|version| version.0)
    }
}

//! Commitments: the eth-fabric envelope, and what Earnest puts in it (design §4).

use super::{Object, ObjectError, closed_set, mirror};
use crate::{
    RollupId, Slot, integer,
    signing::{
        EARNEST_SIGNING_ID, EcdsaSecret, EcdsaSignature, Message, MessageType, Network, SigningError, ecdsa,
        sol_root,
    },
    sol,
};
use alloy_primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};

closed_set! {
    /// What a commitment's payload holds.
    CommitmentType: u64 {
        /// L1 inclusion: [`InclusionPayload`].
        Inclusion = 1,
        /// An ordering: [`OrderingCommitment`].
        Ordering = 0x11,
        /// A bundle: [`BundleCommitment`].
        Bundle = 0x12,
    }
}

/// The eth-fabric commitment: a typed payload bound to a slasher. Signed with [`MessageType::Commitment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Commitment {
    /// The payload's type, see [`CommitmentType`].
    #[serde(with = "integer", alias = "commitment_type")]
    pub commitment_type: u64,
    /// The ABI-encoded payload.
    pub payload: Bytes,
    /// Hash of the request it answers; zero for orderings.
    #[serde(alias = "request_hash")]
    pub request_hash: B256,
    /// The contract that judges it.
    pub slasher: Address,
}
mirror!(Commitment { commitment_type = commitmentType, payload = payload, request_hash = requestHash, slasher = slasher });

impl Commitment {
    /// The commitment that carries `ordering`.
    #[must_use]
    pub fn of_ordering(ordering: &OrderingCommitment, slasher: Address) -> Self {
        Self::of_encoded_ordering(ordering.abi_encode().into(), slasher)
    }

    /// The commitment that carries an ordering already encoded.
    #[must_use]
    pub fn of_encoded_ordering(payload: Bytes, slasher: Address) -> Self {
        Self { commitment_type: CommitmentType::Ordering.into(), payload, request_hash: B256::ZERO, slasher }
    }

    /// The ordering that the payload holds. As on L1, the request hash binds nobody and may be anything.
    ///
    /// # Errors
    /// [`ObjectError`] if the type is another or the payload is not canonical.
    pub fn ordering(&self) -> Result<OrderingCommitment, ObjectError> {
        if self.commitment_type != u64::from(CommitmentType::Ordering) {
            return Err(ObjectError::Field("commitmentType"));
        }
        OrderingCommitment::abi_decode(&self.payload)
    }
}

impl Message for Commitment {
    const TYPE: MessageType = MessageType::Commitment;

    fn object_root(&self) -> Result<B256, SigningError> {
        Ok(sol_root(Self::TYPE, &sol::Commitment::from(self)))
    }
}

/// What a searcher asks of a commitments API; a commitment may name its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitmentRequest {
    /// The type asked for, see [`CommitmentType`].
    #[serde(with = "integer", alias = "commitment_type")]
    pub commitment_type: u64,
    /// The ABI-encoded payload.
    pub payload: Bytes,
    /// The contract that would judge it.
    pub slasher: Address,
}
mirror!(CommitmentRequest { commitment_type = commitmentType, payload = payload, slasher = slasher });

/// A commitment with its committer's ECDSA signature (design §3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedCommitment {
    /// What is promised.
    #[serde(alias = "message")]
    pub commitment: Commitment,
    /// Nonce of the signing form.
    #[serde(with = "integer", default)]
    pub nonce: u64,
    /// Module signing id of the signing form.
    #[serde(default = "crate::signing::earnest_signing_id", alias = "signingId")]
    pub signing_id: B256,
    /// 65 bytes r‖s‖v over the signing root.
    pub signature: EcdsaSignature,
}

impl SignedCommitment {
    /// Puts a signature over the commitment's default signing root (ours: nonce 0, `earnest.v1`) to it.
    #[must_use]
    pub const fn new(commitment: Commitment, signature: EcdsaSignature) -> Self {
        Self { commitment, nonce: 0, signing_id: EARNEST_SIGNING_ID, signature }
    }

    /// Signs `commitment`. Deterministic: the same commitment gives the same bytes.
    ///
    /// # Errors
    /// As [`EcdsaSecret::sign`].
    pub fn sign(
        commitment: Commitment,
        secret: &EcdsaSecret,
        network: &Network,
    ) -> Result<Self, SigningError> {
        let signature = secret.sign(network.message_root(&commitment)?)?;
        Ok(Self::new(commitment, signature))
    }

    /// The root that the signature is over.
    ///
    /// # Errors
    /// None for a commitment; the form is shared with objects that hold BLS keys.
    pub fn signing_root(&self, network: &Network) -> Result<B256, SigningError> {
        Ok(network.signing_root(self.commitment.object_root()?, self.signing_id, self.nonce))
    }

    /// Who signed.
    ///
    /// # Errors
    /// [`SigningError`] if the signature is not canonical or recovers to nobody.
    pub fn committer(&self, network: &Network) -> Result<Address, SigningError> {
        ecdsa::recover(self.signing_root(network)?, &self.signature)
    }

    /// Checks that `committer` signed.
    ///
    /// # Errors
    /// [`SigningError`] if not.
    pub fn verify(&self, network: &Network, committer: Address) -> Result<(), SigningError> {
        if self.committer(network)? == committer { Ok(()) } else { Err(SigningError::WrongSigner) }
    }
}

impl From<&SignedCommitment> for sol::SignedCommitment {
    fn from(value: &SignedCommitment) -> Self {
        Self {
            commitment: (&value.commitment).into(),
            nonce: value.nonce,
            signingId: value.signing_id,
            signature: value.signature.into(),
        }
    }
}

impl TryFrom<sol::SignedCommitment> for SignedCommitment {
    type Error = ObjectError;

    fn try_from(value: sol::SignedCommitment) -> Result<Self, ObjectError> {
        Ok(Self {
            commitment: value.commitment.try_into()?,
            nonce: value.nonce,
            signing_id: value.signingId,
            signature: value.signature.as_ref().try_into().map_err(|_| ObjectError::Field("signature"))?,
        })
    }
}

impl Object for SignedCommitment {
    type Sol = sol::SignedCommitment;
}

closed_set! {
    /// What an [`OrderingCommitment`] is.
    CommitmentKind: u8 {
        /// Orders transactions.
        Microblock = 0,
        /// Ends its segment; the window goes on in the next.
        SegmentSeal = 1,
        /// Ends the window.
        WindowSeal = 2,
    }
}

impl CommitmentKind {
    /// Whether this ends its segment.
    #[must_use]
    pub const fn is_seal(self) -> bool {
        matches!(self, Self::SegmentSeal | Self::WindowSeal)
    }
}

impl Serialize for CommitmentKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        integer::serialize(&u8::from(*self), serializer)
    }
}

impl<'de> Deserialize<'de> for CommitmentKind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number: u8 = integer::deserialize(deserializer)?;
        Self::try_from(number).map_err(serde::de::Error::custom)
    }
}

/// One link of a segment's signed order (design §4): a microblock, or the seal that ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderingCommitment {
    /// The rollup.
    pub rollup_id: RollupId,
    /// The sequencing slot that the window ends with.
    pub slot: Slot,
    /// The segment within the window, from 0.
    #[serde(with = "integer")]
    pub segment: u16,
    /// The link's number within the segment, from 0 without gaps.
    #[serde(with = "integer")]
    pub number: u32,
    /// Hash of the link before it in the segment; zero for number 0.
    pub parent: B256,
    /// Position in the segment of the first transaction; of a seal, the segment's count.
    #[serde(with = "integer")]
    pub first_index: u32,
    /// How many transactions it orders; 0 of a seal.
    #[serde(with = "integer")]
    pub tx_count: u32,
    /// Merkle root of its transactions; of a seal, of the whole segment's.
    pub tx_root: B256,
    /// When it was made, Unix milliseconds. Never goes back within a window.
    #[serde(with = "integer")]
    pub timestamp_ms: u64,
    /// Head of the forced-inclusion queue, fixed by the window's first link.
    #[serde(with = "integer")]
    pub forced_inclusion_head: u64,
    /// What it is.
    pub kind: CommitmentKind,
}
mirror!(OrderingCommitment {
    rollup_id = rollupId, slot = slot, segment = segment, number = number, parent = parent,
    first_index = firstIndex, tx_count = txCount, tx_root = txRoot, timestamp_ms = timestampMs,
    forced_inclusion_head = forcedInclusionHead, kind = kind,
});

impl OrderingCommitment {
    /// `keccak256(abi.encode(OrderingCommitment))`: what the next link names as its parent.
    #[must_use]
    pub fn hash(&self) -> B256 {
        self.abi_hash()
    }
}

/// One place of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The rollup.
    pub rollup_id: RollupId,
    /// The sequencing slot.
    pub slot: Slot,
    /// The segment within the window.
    #[serde(with = "integer")]
    pub segment: u16,
    /// Position in the segment.
    #[serde(with = "integer")]
    pub index: u32,
    /// The transaction there.
    pub tx_hash: B256,
}
mirror!(Leg { rollup_id = rollupId, slot = slot, segment = segment, index = index, tx_hash = txHash });

/// The promise that all legs are ordered and included, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleCommitment {
    /// Hash of the bundle asked for.
    pub bundle_hash: B256,
    /// The places given.
    pub legs: Vec<Leg>,
}

impl From<&BundleCommitment> for sol::BundleCommitment {
    fn from(value: &BundleCommitment) -> Self {
        Self { bundleHash: value.bundle_hash, legs: value.legs.iter().map(Into::into).collect() }
    }
}

impl TryFrom<sol::BundleCommitment> for BundleCommitment {
    type Error = ObjectError;

    fn try_from(value: sol::BundleCommitment) -> Result<Self, ObjectError> {
        let legs = value.legs.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { bundle_hash: value.bundleHash, legs })
    }
}

impl Object for BundleCommitment {
    type Sol = sol::BundleCommitment;
}

/// Payload of a type-1 commitment or constraint: a transaction that the block of `slot` carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionPayload {
    /// The L1 slot.
    pub slot: Slot,
    /// The signed L1 transaction, EIP-2718.
    #[serde(alias = "signedTx")]
    pub signed_tx: Bytes,
}
mirror!(InclusionPayload { slot = slot, signed_tx = signedTx });

//! Bids: what a relay offers a proposer.

#![allow(missing_docs)] // Accessors that superstruct derives carry no text of their own.

use alloy_primitives::{B256, FixedBytes, U256};
use serde::{Deserialize, Serialize};
use serde_with::As;
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, typenum::U4096};
use superstruct::superstruct;
use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

use crate::{
    BlsPublicKey, BlsSignature, ExecutionPayloadHeader, ExecutionPayloadHeaderBellatrix,
    ExecutionPayloadHeaderCapella, ExecutionPayloadHeaderDeneb, ExecutionPayloadHeaderElectra,
    ExecutionPayloadHeaderFulu, ExecutionPayloadHeaderRef, ExecutionRequests, ForkError,
    bls::{BlsError, SecretKey, verify},
    codec::{fork_codec, map_forks},
    decimal::Decimal,
    domain::signing_root,
};

/// A KZG commitment to a blob.
pub type KzgCommitment = FixedBytes<48>;
/// The commitments of a block, at most 4096.
pub type KzgCommitments = VariableList<KzgCommitment, U4096>;

/// A relay's bid for a slot: the header, what the beacon block carries with it, and its worth.
#[superstruct(
    variants(Bellatrix, Capella, Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields)
    ),
    ref_attributes(derive(Debug, PartialEq, TreeHash), tree_hash(enum_behaviour = "transparent")),
    cast_error(ty = "ForkError", expr = "ForkError"),
    partial_getter_error(ty = "ForkError", expr = "ForkError")
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TreeHash)]
#[serde(untagged)]
#[tree_hash(enum_behaviour = "transparent")]
pub struct BuilderBid {
    /// The header on offer.
    #[superstruct(flatten)]
    pub header: ExecutionPayloadHeader,
    /// Commitments of its blobs.
    #[superstruct(only(Deneb, Electra, Fulu))]
    pub blob_kzg_commitments: KzgCommitments,
    /// Its execution requests.
    #[superstruct(only(Electra, Fulu))]
    pub execution_requests: ExecutionRequests,
    /// What the proposer gets, in wei.
    #[superstruct(getter(copy))]
    #[serde(with = "As::<Decimal>")]
    pub value: U256,
    /// The relay's key.
    pub pubkey: BlsPublicKey,
}

fork_codec!(BuilderBid { Bellatrix, Capella, Deneb, Electra, Fulu });

impl BuilderBid {
    /// Makes a bid of the header's fork.
    ///
    /// Before Deneb the commitments, before Electra the requests must be empty.
    ///
    /// # Errors
    /// If the header's fork cannot carry what is given.
    pub fn new(
        header: ExecutionPayloadHeader,
        blob_kzg_commitments: KzgCommitments,
        execution_requests: ExecutionRequests,
        value: U256,
        pubkey: BlsPublicKey,
    ) -> Result<Self, ForkError> {
        let fork = crate::ForkCodec::fork(&header);
        if (!fork.has_blobs() && !blob_kzg_commitments.is_empty())
            || (!fork.has_requests() && execution_requests != ExecutionRequests::default())
        {
            return Err(ForkError);
        }
        Ok(match header {
            ExecutionPayloadHeader::Bellatrix(header) => {
                Self::Bellatrix(BuilderBidBellatrix { header, value, pubkey })
            }
            ExecutionPayloadHeader::Capella(header) => {
                Self::Capella(BuilderBidCapella { header, value, pubkey })
            }
            ExecutionPayloadHeader::Deneb(header) => {
                Self::Deneb(BuilderBidDeneb { header, blob_kzg_commitments, value, pubkey })
            }
            ExecutionPayloadHeader::Electra(header) => Self::Electra(BuilderBidElectra {
                header,
                blob_kzg_commitments,
                execution_requests,
                value,
                pubkey,
            }),
            ExecutionPayloadHeader::Fulu(header) => {
                Self::Fulu(BuilderBidFulu { header, blob_kzg_commitments, execution_requests, value, pubkey })
            }
        })
    }

    /// The header on offer.
    pub fn header(&self) -> ExecutionPayloadHeaderRef<'_> {
        map_forks!(self, Self => ExecutionPayloadHeaderRef, |bid| &bid.header)
    }

    /// Signs the bid with the relay's key, in the builder domain.
    pub fn sign(self, key: &SecretKey, builder_domain: B256) -> SignedBuilderBid {
        let signature = key.sign(signing_root(self.tree_hash_root(), builder_domain));
        map_forks!(self, Self => SignedBuilderBid, |message| (message, signature).into())
    }
}

impl BuilderBidRef<'_> {
    /// The header on offer.
    pub fn header(&self) -> ExecutionPayloadHeaderRef<'_> {
        map_forks!(self, Self => ExecutionPayloadHeaderRef, |bid| &bid.header)
    }
}

/// A signed bid: the answer of `getHeader`.
#[superstruct(
    variants(Bellatrix, Capella, Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash),
        serde(deny_unknown_fields)
    ),
    cast_error(ty = "ForkError", expr = "ForkError"),
    partial_getter_error(ty = "ForkError", expr = "ForkError")
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, TreeHash)]
#[serde(untagged)]
#[tree_hash(enum_behaviour = "transparent")]
pub struct SignedBuilderBid {
    /// The bid.
    #[superstruct(flatten)]
    pub message: BuilderBid,
    /// By the relay, in the builder domain.
    pub signature: BlsSignature,
}

fork_codec!(SignedBuilderBid { Bellatrix, Capella, Deneb, Electra, Fulu });

macro_rules! signed_bid {
    ($($bid:ident => $signed:ident),+ $(,)?) => {$(
        impl From<($bid, BlsSignature)> for $signed {
            fn from((message, signature): ($bid, BlsSignature)) -> Self {
                Self { message, signature }
            }
        }
    )+};
}

signed_bid!(
    BuilderBidBellatrix => SignedBuilderBidBellatrix,
    BuilderBidCapella => SignedBuilderBidCapella,
    BuilderBidDeneb => SignedBuilderBidDeneb,
    BuilderBidElectra => SignedBuilderBidElectra,
    BuilderBidFulu => SignedBuilderBidFulu,
);

impl SignedBuilderBid {
    /// The bid.
    pub fn message(&self) -> BuilderBidRef<'_> {
        map_forks!(self, Self => BuilderBidRef, |signed| &signed.message)
    }

    /// The header on offer.
    pub fn header(&self) -> ExecutionPayloadHeaderRef<'_> {
        map_forks!(self, Self => ExecutionPayloadHeaderRef, |signed| &signed.message.header)
    }

    /// What the proposer gets, in wei.
    pub fn value(&self) -> U256 {
        self.message().value()
    }

    /// The key that the bid says it is signed with.
    pub fn pubkey(&self) -> BlsPublicKey {
        *self.message().pubkey()
    }

    /// Commitments of its blobs; none before Deneb.
    pub fn blob_kzg_commitments(&self) -> KzgCommitments {
        self.message().blob_kzg_commitments().cloned().unwrap_or_default()
    }

    /// Its execution requests; none before Electra.
    pub fn execution_requests(&self) -> ExecutionRequests {
        self.message().execution_requests().cloned().unwrap_or_default()
    }

    /// Verifies the signature with the key in the bid. Whether that key is the expected relay's
    /// is for the caller to check.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(&self, builder_domain: B256) -> Result<(), BlsError> {
        verify(&self.pubkey(), self.signing_root(builder_domain), self.signature())
    }

    /// What the relay signs.
    #[must_use]
    pub fn signing_root(&self, builder_domain: B256) -> B256 {
        signing_root(self.message().tree_hash_root(), builder_domain)
    }
}

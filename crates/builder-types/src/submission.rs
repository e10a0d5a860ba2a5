//! Blocks as builders submit them to a relay.

#![allow(missing_docs)] // Accessors that superstruct derives carry no text of their own.

use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_beacon::relay::BidTrace;
use serde::{Deserialize, Deserializer, Serialize};
use serde_with::As;
use ssz_derive::{Decode, Encode};
use superstruct::superstruct;
use tree_hash::TreeHash as _;

use crate::{
    BlobsBundleDeneb, BlobsBundleElectra, BlobsBundleFulu, BlsPublicKey, BlsSignature,
    ExecutionPayloadCapella, ExecutionPayloadDeneb, ExecutionPayloadElectra, ExecutionPayloadFulu,
    ExecutionPayloadRef, ExecutionRequests, ForkCodec as _, ForkError, KzgCommitments, PayloadAndBlobs,
    bls::{BlsError, verify},
    codec::fork_codec,
    decimal::Decimal,
    domain::signing_root,
};

/// A builder's block for a slot, as posted to `/relay/v1/builder/blocks`. On the wire it is
/// alloy's `SignedBidSubmission` V2 (Capella) to V5 (Fulu), read strictly and within the bounds
/// of the consensus specification. (alloy holds each blob by value and moves it over the stack.)
#[superstruct(
    variants(Capella, Deneb, Electra, Fulu),
    variant_attributes(
        derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode),
        serde(deny_unknown_fields)
    ),
    cast_error(ty = "ForkError", expr = "ForkError"),
    partial_getter_error(ty = "ForkError", expr = "ForkError")
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub struct BidSubmission {
    /// What the builder signs.
    #[serde(deserialize_with = "trace")]
    pub message: BidTrace,
    /// The payload.
    #[superstruct(flatten)]
    pub execution_payload: ExecutionPayload,
    /// Its blobs.
    #[superstruct(flatten(Deneb, Electra, Fulu))]
    pub blobs_bundle: BlobsBundle,
    /// Its execution requests.
    #[superstruct(only(Electra, Fulu))]
    pub execution_requests: ExecutionRequests,
    /// By the builder, in the builder domain.
    pub signature: BlsSignature,
}

fork_codec!(BidSubmission { Capella, Deneb, Electra, Fulu });

impl BidSubmission {
    /// Puts a submission together.
    ///
    /// # Errors
    /// If payload and blobs are of different forks, or requests are given before Electra.
    pub fn new(
        message: BidTrace,
        signature: BlsSignature,
        payload: PayloadAndBlobs,
        execution_requests: ExecutionRequests,
    ) -> Result<Self, ForkError> {
        if !payload.fork().has_requests() && execution_requests != ExecutionRequests::default() {
            return Err(ForkError);
        }
        Ok(match payload {
            PayloadAndBlobs::Capella(execution_payload) => {
                Self::Capella(BidSubmissionCapella { message, execution_payload, signature })
            }
            PayloadAndBlobs::Deneb(both) => Self::Deneb(BidSubmissionDeneb {
                message,
                execution_payload: both.execution_payload,
                blobs_bundle: both.blobs_bundle,
                signature,
            }),
            PayloadAndBlobs::Electra(both) => Self::Electra(BidSubmissionElectra {
                message,
                execution_payload: both.execution_payload,
                blobs_bundle: both.blobs_bundle,
                execution_requests,
                signature,
            }),
            PayloadAndBlobs::Fulu(both) => Self::Fulu(BidSubmissionFulu {
                message,
                execution_payload: both.execution_payload,
                blobs_bundle: both.blobs_bundle,
                execution_requests,
                signature,
            }),
        })
    }

    /// The payload.
    pub const fn payload(&self) -> ExecutionPayloadRef<'_> {
        match self {
            Self::Capella(bid) => ExecutionPayloadRef::Capella(&bid.execution_payload),
            Self::Deneb(bid) => ExecutionPayloadRef::Deneb(&bid.execution_payload),
            Self::Electra(bid) => ExecutionPayloadRef::Electra(&bid.execution_payload),
            Self::Fulu(bid) => ExecutionPayloadRef::Fulu(&bid.execution_payload),
        }
    }

    /// Commitments of the blobs; none before Deneb.
    pub fn blob_kzg_commitments(&self) -> KzgCommitments {
        match self {
            Self::Capella(_) => KzgCommitments::default(),
            Self::Deneb(bid) => bid.blobs_bundle.commitments.clone(),
            Self::Electra(bid) => bid.blobs_bundle.commitments.clone(),
            Self::Fulu(bid) => bid.blobs_bundle.commitments.clone(),
        }
    }

    /// The payload and blobs, as they are handed over for a signed blinded block.
    pub fn into_payload_and_blobs(self) -> PayloadAndBlobs {
        match self {
            Self::Capella(bid) => PayloadAndBlobs::Capella(bid.execution_payload),
            Self::Deneb(bid) => PayloadAndBlobs::Deneb(crate::ExecutionPayloadAndBlobsBundleDeneb {
                execution_payload: bid.execution_payload,
                blobs_bundle: bid.blobs_bundle,
            }),
            Self::Electra(bid) => PayloadAndBlobs::Electra(crate::ExecutionPayloadAndBlobsBundleElectra {
                execution_payload: bid.execution_payload,
                blobs_bundle: bid.blobs_bundle,
            }),
            Self::Fulu(bid) => PayloadAndBlobs::Fulu(crate::ExecutionPayloadAndBlobsBundleFulu {
                execution_payload: bid.execution_payload,
                blobs_bundle: bid.blobs_bundle,
            }),
        }
    }

    /// Verifies the signature with the builder's key in the trace.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(&self, builder_domain: B256) -> Result<(), BlsError> {
        let trace = self.message();
        let root = signing_root(trace.tree_hash_root(), builder_domain);
        verify(&trace.builder_pubkey, root, self.signature())
    }
}

/// Reads a trace: alloy's own reading takes integers in more forms than the APIs have. Fields beside a trace's are passed
/// over, as other relays do.
fn trace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BidTrace, D::Error> {
    #[derive(Deserialize)]
    struct Trace {
        #[serde(with = "As::<Decimal>")]
        slot: u64,
        parent_hash: B256,
        block_hash: B256,
        builder_pubkey: BlsPublicKey,
        proposer_pubkey: BlsPublicKey,
        proposer_fee_recipient: Address,
        #[serde(with = "As::<Decimal>")]
        gas_limit: u64,
        #[serde(with = "As::<Decimal>")]
        gas_used: u64,
        #[serde(with = "As::<Decimal>")]
        value: U256,
    }
    let Trace {
        slot,
        parent_hash,
        block_hash,
        builder_pubkey,
        proposer_pubkey,
        proposer_fee_recipient,
        gas_limit,
        gas_used,
        value,
    } = Trace::deserialize(deserializer)?;
    Ok(BidTrace {
        slot,
        parent_hash,
        block_hash,
        builder_pubkey,
        proposer_pubkey,
        proposer_fee_recipient,
        gas_limit,
        gas_used,
        value,
    })
}

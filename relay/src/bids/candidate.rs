//! A builder's block, and the bid that proposers get of it.

use crate::{
    held::{BlockIndex, Required},
    spool::Filed,
};
use alloy_primitives::B256;
use bytes::Bytes;
use earnest_builder_types::{
    BidSubmission, BidTrace, BlsPublicKey, BlsSignature, BuilderBid, CodecError, ExecutionPayloadHeader,
    ExecutionRequests, ForkCodec, ForkError, ForkName, KzgCommitments, PayloadAndBlobs, Versioned,
    bls::SecretKey,
};
use earnest_client::{HeaderWithProofs, HeaderWithProofsError};
use earnest_protocol::objects::InclusionProof;
use std::sync::{Arc, atomic::AtomicBool};

/// Bytes of a blob, with its proofs about.
const BLOB_BYTES: usize = 140 << 10;

/// What a proposer asks for, and what bids compete for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BidKey {
    pub(crate) slot: u64,
    pub(crate) parent_hash: B256,
    pub(crate) proposer: BlsPublicKey,
}

impl BidKey {
    /// What a trace competes for.
    pub(crate) const fn of(trace: &BidTrace) -> Self {
        Self { slot: trace.slot, parent_hash: trace.parent_hash, proposer: trace.proposer_pubkey }
    }
}

/// A builder's block that passed every check.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) trace: BidTrace,
    pub(crate) signature: BlsSignature,
    pub(crate) header: ExecutionPayloadHeader,
    pub(crate) commitments: KzgCommitments,
    pub(crate) requests: ExecutionRequests,
    pub(crate) payload: Arc<PayloadAndBlobs>,
    /// Bytes of what weighs in it: transactions and blobs.
    pub(crate) bytes: usize,
    index: BlockIndex,
}

impl Candidate {
    /// Hashes the payload's lists and takes the submission apart.
    pub(crate) fn new(submission: BidSubmission) -> Self {
        let header = submission.payload().to_header();
        Self::with_header(submission, header)
    }

    /// Takes a submission apart whose payload has this header.
    pub(crate) fn with_header(submission: BidSubmission, header: ExecutionPayloadHeader) -> Self {
        let commitments = submission.blob_kzg_commitments();
        let blobs = commitments.len().saturating_mul(BLOB_BYTES);
        let bytes =
            submission.payload().transactions().iter().map(|tx| tx.len()).fold(blobs, usize::saturating_add);
        Self {
            bytes,
            index: BlockIndex::default(),
            trace: submission.message().clone(),
            signature: *submission.signature(),
            header,
            commitments,
            requests: submission.execution_requests().cloned().unwrap_or_default(),
            payload: Arc::new(submission.into_payload_and_blobs()),
        }
    }

    /// Proofs that the block holds everything that is required; none if it does not.
    pub(crate) fn prove(&self, required: &[Required]) -> Option<Vec<InclusionProof>> {
        self.index.prove(self.payload.payload().transactions(), required)
    }

    /// Whether it holds, in the place of one of these, a transaction of the same sender that does something else.
    pub(crate) fn undoes(&self, required: &[Required]) -> bool {
        self.index.undoes(self.payload.payload().transactions(), required)
    }

    /// What the block is found by.
    pub(super) const fn id(&self) -> (u64, B256) {
        (self.trace.slot, self.trace.block_hash)
    }

    /// The file of the submission that it was made of.
    pub(super) fn file(&self) -> Filed {
        Filed {
            slot: self.trace.slot,
            fork: self.payload.payload().fork(),
            block_hash: self.trace.block_hash,
        }
    }

    /// The SSZ of the submission that it was made of.
    pub(super) fn to_ssz(&self) -> Result<Vec<u8>, ForkError> {
        let payload = PayloadAndBlobs::clone(&self.payload);
        let submission =
            BidSubmission::new(self.trace.clone(), self.signature, payload, self.requests.clone())?;
        Ok(submission.to_ssz())
    }
}

/// A bid that proposers get, in every form that they may ask for.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) fork: ForkName,
    pub(crate) candidate: Arc<Candidate>,
    pub(crate) json: Bytes,
    pub(crate) ssz: Bytes,
    pub(crate) with_proofs: Bytes,
    pub(super) proofs: Arc<[InclusionProof]>,
    /// Whether a proposer may have it: then its block must stay.
    pub(super) given: AtomicBool,
}

/// Why a bid cannot be put into the form that proposers get.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error(transparent)]
    Fork(#[from] ForkError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Proofs(#[from] HeaderWithProofsError),
}

/// Signs bids.
#[derive(Debug)]
pub(crate) struct Sealer {
    key: SecretKey,
    /// Its public key.
    pub(super) pubkey: BlsPublicKey,
    builder_domain: B256,
}

impl Sealer {
    /// Signs with this key in this domain.
    pub(crate) fn new(key: SecretKey, builder_domain: B256) -> Self {
        Self { pubkey: key.public_key(), key, builder_domain }
    }

    pub(super) fn seal(
        &self,
        candidate: &Arc<Candidate>,
        proofs: &Arc<[InclusionProof]>,
    ) -> Result<Served, SealError> {
        let bid = BuilderBid::new(
            candidate.header.clone(),
            candidate.commitments.clone(),
            candidate.requests.clone(),
            candidate.trace.value,
            self.pubkey,
        )?;
        let signed = bid.sign(&self.key, self.builder_domain);
        let fork = signed.fork();
        let ssz = signed.to_ssz().into();
        let with_proofs = HeaderWithProofs::new(signed.clone(), proofs).to_json()?.into();
        let json = Versioned::new(signed).to_json()?.into();
        let (candidate, proofs) = (Arc::clone(candidate), Arc::clone(proofs));
        Ok(Served { fork, candidate, json, ssz, with_proofs, proofs, given: AtomicBool::new(false) })
    }
}

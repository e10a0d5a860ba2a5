//! The answer of `header_with_proofs`: a bid, and the proof of every constraint that its block keeps (design §5).

use earnest_builder_types::proofs::TransactionProof;
use earnest_builder_types::{BlsSignature, CodecError, ForkCodec, ForkName, SignedBuilderBid, Versioned};
use earnest_protocol::messages::ConstraintProofs;
use earnest_protocol::objects::{CommitmentType, InclusionProof, Object, ObjectError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Proofs read from one answer.
pub const MAX_PROOFS: usize = 256;

/// A bid with proofs, as constraints-specs has it: `{version, data: {message, proofs, signature}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct HeaderWithProofs {
    /// The bid.
    pub bid: SignedBuilderBid,
    /// One proof for each held constraint.
    pub proofs: ConstraintProofs,
}

/// Why an answer is not a bid with proofs.
#[derive(Debug, thiserror::Error)]
pub enum HeaderWithProofsError {
    /// Not the JSON it should be.
    #[error("invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Not a bid of the fork it names.
    #[error(transparent)]
    Bid(#[from] CodecError),
    /// There is not one payload for each type.
    #[error("{types} proof types, but {payloads} payloads")]
    Uneven {
        /// How many types.
        types: usize,
        /// How many payloads.
        payloads: usize,
    },
    /// More proofs than a slot can hold constraints.
    #[error("{0} proofs, more than 256")]
    TooMany(usize),
    /// A proof of a type that cannot be checked here.
    #[error("unknown proof type {0}")]
    UnknownType(u64),
    /// A payload is not what its type says.
    #[error("bad proof: {0}")]
    Payload(#[from] ObjectError),
}

#[derive(Deserialize)]
struct Read<'a> {
    version: String,
    #[serde(borrow)]
    data: ReadData<'a>,
}

#[derive(Deserialize)]
struct ReadData<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
    proofs: ConstraintProofs,
    signature: BlsSignature,
}

#[derive(Serialize)]
struct Bid<'a> {
    message: &'a RawValue,
    signature: &'a BlsSignature,
}

impl HeaderWithProofs {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`HeaderWithProofsError`] unless the bid is one of the fork named; proofs are read by [`Self::inclusions`].
    pub fn from_json(json: &[u8]) -> Result<Self, HeaderWithProofsError> {
        let Read { version, data } = serde_json::from_slice(json)?;
        let fork: ForkName = version.parse().map_err(CodecError::from)?;
        let bid = serde_json::to_vec(&Bid { message: data.message, signature: &data.signature })?;
        Ok(Self { bid: SignedBuilderBid::from_json(fork, &bid)?, proofs: data.proofs })
    }

    /// Writes the JSON form.
    ///
    /// # Errors
    /// Never in practice: no part has a map key or number that JSON lacks.
    pub fn to_json(&self) -> Result<Vec<u8>, HeaderWithProofsError> {
        let mut data = serde_json::to_value(&self.bid)?;
        if let Some(fields) = data.as_object_mut() {
            fields.insert("proofs".to_owned(), serde_json::to_value(&self.proofs)?);
        }
        Ok(serde_json::to_vec(&Versioned { version: self.bid.fork(), data })?)
    }

    /// A bid with the proofs that its block holds these transactions.
    #[must_use]
    pub fn new(bid: SignedBuilderBid, inclusions: &[InclusionProof]) -> Self {
        let inclusion = u64::from(CommitmentType::Inclusion);
        let proofs = ConstraintProofs {
            constraint_types: vec![inclusion; inclusions.len()],
            payloads: inclusions.iter().map(|proof| proof.abi_encode().into()).collect(),
        };
        Self { bid, proofs }
    }

    /// The proofs of inclusion.
    ///
    /// # Errors
    /// [`HeaderWithProofsError`] if there are more than [`MAX_PROOFS`], or any is of another type, or malformed.
    pub fn inclusions(&self) -> Result<Vec<InclusionProof>, HeaderWithProofsError> {
        inclusions(&self.proofs)
    }
}

/// The proofs of inclusion among proofs of constraints.
///
/// # Errors
/// [`HeaderWithProofsError`] if there are more than [`MAX_PROOFS`], or any is of another type, or malformed.
pub fn inclusions(proofs: &ConstraintProofs) -> Result<Vec<InclusionProof>, HeaderWithProofsError> {
    let ConstraintProofs { constraint_types, payloads } = proofs;
    if constraint_types.len() != payloads.len() {
        return Err(HeaderWithProofsError::Uneven {
            types: constraint_types.len(),
            payloads: payloads.len(),
        });
    }
    if payloads.len() > MAX_PROOFS {
        return Err(HeaderWithProofsError::TooMany(payloads.len()));
    }
    let inclusion = u64::from(CommitmentType::Inclusion);
    if let Some(other) = constraint_types.iter().find(|kind| **kind != inclusion) {
        return Err(HeaderWithProofsError::UnknownType(*other));
    }
    payloads.iter().map(|payload| InclusionProof::abi_decode(payload).map_err(Into::into)).collect()
}

/// The branch of an inclusion proof, in the form that is checked.
#[must_use]
pub fn transaction_proof(proof: &InclusionProof) -> TransactionProof {
    TransactionProof { index: proof.index, proof: proof.branch.clone() }
}

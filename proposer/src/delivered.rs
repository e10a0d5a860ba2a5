//! Whether a source's answer to a signed block means that it was delivered. Pure.

use alloy_primitives::B256;
use earnest_builder_types::{ForkCodec, ForkName, PayloadAndBlobs, SignedBlindedBeaconBlock, Versioned};
use earnest_client::Answer;
use earnest_client::transport::CONSENSUS_VERSION;
use http::StatusCode;
use tree_hash::TreeHash;

/// Version of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The source publishes the block and answers with its payload.
    V1,
    /// The source publishes the block and answers that it will.
    V2,
}

/// Why an answer is no delivery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// Another status than the one that means a delivery.
    #[error("status {0}")]
    Status(u16),
    /// A body that is no payload.
    #[error("payload: {0}")]
    Garbage(String),
    /// The payload of another block, whatever hash it names.
    #[error("the payload is that of another block, which it names {0}")]
    OtherBlock(B256),
    /// The payload as another fork has it, so that the beacon node could not read it.
    #[error("the payload is of fork {0}")]
    OtherFork(ForkName),
    /// Other blobs than the block commits to.
    #[error("the blobs are not those that the block commits to")]
    OtherBlobs,
}

/// The block that was signed, with what its payload must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The block.
    pub block: SignedBlindedBeaconBlock,
    /// Whether the beacon node said of which fork it is. Blinded blocks of Electra and of Fulu look the same.
    pub fork_is_stated: bool,
}

impl Expected {
    /// The hash of the payload's block.
    #[must_use]
    pub fn block_hash(&self) -> B256 {
        self.block.message().body().execution_payload_header().block_hash()
    }

    /// Every field of a payload counts, not only the hash that it names: the beacon node would not take another's.
    fn is_payload(&self, payload: &PayloadAndBlobs) -> Result<(), NotDelivered> {
        let body = self.block.message().body();
        if self.fork_is_stated && payload.fork() != self.block.fork() {
            return Err(NotDelivered::OtherFork(payload.fork()));
        }
        let header = payload.payload().to_header();
        if header.tree_hash_root() != body.execution_payload_header().tree_hash_root() {
            return Err(NotDelivered::OtherBlock(payload.payload().block_hash()));
        }
        let committed = body.blob_kzg_commitments().map(|all| &**all).unwrap_or_default();
        if committed == payload.commitments() { Ok(()) } else { Err(NotDelivered::OtherBlobs) }
    }
}

/// Judges an answer and gives the payload in it, if there must be one. `expected` is none for a block that cannot be read here:
/// then any body will do, and the beacon node, which made the block, judges it.
///
/// # Errors
/// [`NotDelivered`] unless version 1 is answered with 200 and the block's payload (JSON or SSZ), version 2 with 200 or 202.
pub fn judge(
    version: Version,
    expected: Option<&Expected>,
    answer: &Answer,
) -> Result<Option<PayloadAndBlobs>, NotDelivered> {
    match (version, answer.status) {
        (Version::V2, StatusCode::OK | StatusCode::ACCEPTED) => return Ok(None),
        (Version::V1, StatusCode::OK) => {}
        (_, status) => return Err(NotDelivered::Status(status.as_u16())),
    }
    let Some(expected) = expected else {
        let empty = || NotDelivered::Garbage("empty".to_owned());
        return if answer.body.is_empty() { Err(empty()) } else { Ok(None) };
    };
    let payload = payload(answer, expected.block.fork())?;
    expected.is_payload(&payload)?;
    Ok(Some(payload))
}

fn payload(answer: &Answer, fork: ForkName) -> Result<PayloadAndBlobs, NotDelivered> {
    let payload = if answer.is_octets() {
        let stated =
            answer.headers.get(CONSENSUS_VERSION).and_then(|value| value.to_str().ok()?.parse().ok());
        PayloadAndBlobs::from_ssz(stated.unwrap_or(fork), &answer.body)
    } else {
        Versioned::<PayloadAndBlobs>::from_json(&answer.body).map(|versioned| versioned.data)
    };
    payload.map_err(|cause| NotDelivered::Garbage(cause.to_string()))
}

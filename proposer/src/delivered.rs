//! Whether a source's answer to a signed block means that it was delivered. Pure.

use alloy_primitives::B256;
use earnest_builder_types::{ForkCodec, ForkName, PayloadAndBlobs, Versioned};
use earnest_client::Answer;
use earnest_client::transport::CONSENSUS_VERSION;
use http::StatusCode;

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
    /// The payload of another block.
    #[error("the payload is that of block {0}")]
    OtherBlock(B256),
}

/// What the signed block says of its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The block's fork.
    pub fork: ForkName,
    /// Its execution block hash.
    pub block_hash: B256,
}

/// Judges an answer. `expected` is none for a block that cannot be read here: then any body will do, and the beacon node,
/// which made the block, judges it.
///
/// # Errors
/// [`NotDelivered`] unless version 1 is answered with 200 and the block's payload (JSON or SSZ), version 2 with 200 or 202.
pub fn judge(version: Version, expected: Option<&Expected>, answer: &Answer) -> Result<(), NotDelivered> {
    match (version, answer.status) {
        (Version::V2, StatusCode::OK | StatusCode::ACCEPTED) => return Ok(()),
        (Version::V1, StatusCode::OK) => {}
        (_, status) => return Err(NotDelivered::Status(status.as_u16())),
    }
    let Some(expected) = expected else {
        let empty = || NotDelivered::Garbage("empty".to_owned());
        return if answer.body.is_empty() { Err(empty()) } else { Ok(()) };
    };
    let block_hash = payload(answer, expected.fork)?.payload().block_hash();
    if block_hash == expected.block_hash { Ok(()) } else { Err(NotDelivered::OtherBlock(block_hash)) }
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

//! Publishing signed blocks, full and blinded.

use axum::{
    body::{Body, Bytes},
    extract::{Query, State},
};
use earnest_builder_types::{ForkCodec, ForkName, SignedBlindedBeaconBlock, SignedBlockContents};
use earnest_chain::{BroadcastValidation, Published};
use earnest_http::{ApiError, BodyLimits, Media, content_type, read_body};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{super::outcome::PublishError, Served};

/// The longest block that is read: payload and blobs of the largest blocks fit.
const MAX_BLOCK_BYTES: usize = 32 << 20;

/// The query of the second version.
#[derive(Debug, Deserialize)]
pub(super) struct PublishQuery {
    broadcast_validation: Option<String>,
}

impl PublishQuery {
    fn validation(&self) -> Result<BroadcastValidation, ApiError> {
        match self.broadcast_validation.as_deref() {
            None | Some("gossip") => Ok(BroadcastValidation::Gossip),
            Some("consensus") => Ok(BroadcastValidation::Consensus),
            Some("consensus_and_equivocation") => Ok(BroadcastValidation::ConsensusAndEquivocation),
            Some(other) => Err(ApiError::bad_request(format!("no such broadcast validation: {other}"))),
        }
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Engine(_) => Self::unavailable(error.to_string()),
            _ => Self::bad_request(error.to_string()),
        }
    }
}

/// `POST /eth/v1/beacon/blocks`
pub(super) async fn block_v1(
    State(served): State<Served>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let contents: SignedBlockContents = read(&headers, body, Some(served.node.settings.fork)).await?;
    Ok(status(served.node.publish(contents, BroadcastValidation::Gossip).await?))
}

/// `POST /eth/v2/beacon/blocks`
pub(super) async fn block_v2(
    State(served): State<Served>,
    Query(query): Query<PublishQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let validation = query.validation()?;
    let contents: SignedBlockContents = read(&headers, body, None).await?;
    Ok(status(served.node.publish(contents, validation).await?))
}

/// `POST /eth/v1/beacon/blinded_blocks`
pub(super) async fn blinded_v1(
    State(served): State<Served>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let blinded: SignedBlindedBeaconBlock = read(&headers, body, Some(served.node.settings.fork)).await?;
    Ok(status(served.node.publish_blinded(blinded, BroadcastValidation::Gossip).await?))
}

/// `POST /eth/v2/beacon/blinded_blocks`: for blocks whose payload this node built.
pub(super) async fn blinded_v2(
    State(served): State<Served>,
    Query(query): Query<PublishQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let validation = query.validation()?;
    let blinded: SignedBlindedBeaconBlock = read(&headers, body, None).await?;
    Ok(status(served.node.publish_blinded(blinded, validation).await?))
}

fn status(published: Published) -> StatusCode {
    match published {
        Published::Imported => StatusCode::OK,
        Published::BroadcastNotImported => StatusCode::ACCEPTED,
    }
}

/// Reads a block of the fork that the header names; the first version of the endpoints may leave it out.
async fn read<T: ForkCodec>(
    headers: &HeaderMap,
    body: Body,
    otherwise: Option<ForkName>,
) -> Result<T, ApiError> {
    let media = content_type(headers, &[Media::Json, Media::Ssz])?;
    let body: Bytes = read_body(headers, body, BodyLimits::of(MAX_BLOCK_BYTES)).await?;
    let named = headers.get("eth-consensus-version").and_then(|value| value.to_str().ok());
    let fork = match named {
        Some(name) => name.parse().map_err(|_| ApiError::bad_request(format!("no such fork: {name}")))?,
        None => otherwise.ok_or_else(|| ApiError::bad_request("Eth-Consensus-Version is missing"))?,
    };
    let block = match media {
        Media::Ssz => T::from_ssz(fork, &body),
        _ => T::from_json(fork, &body),
    };
    block.map_err(|error| ApiError::bad_request(error.to_string()))
}

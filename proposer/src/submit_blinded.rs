//! `POST /eth/v1/builder/blinded_blocks` and `/eth/v2/builder/blinded_blocks`: the signed block goes back to whoever offered
//! its payload, and the answer back to the beacon node.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use earnest_builder_types::{ForkCodec, ForkName, SignedBlindedBeaconBlock};
use earnest_client::Answer;
use earnest_client::transport::CONSENSUS_VERSION;
use earnest_http::{ApiError, BodyLimits, Media, read_body};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tree_hash::TreeHash;

use crate::delivered::{Expected, Version};
use crate::delivery::{Delivery, Undelivered};
use crate::sidecar::Sidecar;

/// Largest signed blinded block read, in bytes; it holds no payload and no blobs.
const MAX_BLOCK: usize = 8 << 20;

/// Version 1: the answer holds the payload.
///
/// # Errors
/// The relay's own refusal, or 502 if none delivers in time.
pub(crate) async fn submit_blinded_v1(
    state: State<Arc<Sidecar>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    submit(state.0, Version::V1, headers, body).await
}

/// Version 2: the relay publishes and answers 202.
///
/// # Errors
/// As [`submit_blinded_v1`].
pub(crate) async fn submit_blinded_v2(
    state: State<Arc<Sidecar>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    submit(state.0, Version::V2, headers, body).await
}

async fn submit(
    sidecar: Arc<Sidecar>,
    version: Version,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let deadline = Instant::now().checked_add(sidecar.config.payload_limit());
    let deadline = deadline.ok_or_else(|| ApiError::unavailable("payload_limit_ms is too long"))?;
    let limits = BodyLimits {
        max_bytes: sidecar.config.max_body.min(MAX_BLOCK),
        max_time: sidecar.config.payload_limit().min(Duration::from_secs(10)),
    };
    let body = read_body(&headers, body, limits).await?;
    let block = read_block(&headers, &body);
    let expected = block.as_ref().map(expected);
    let booked = expected.map(|block| sidecar.book.lock().sources_of(block.block_hash)).unwrap_or_default();
    let breaker = Arc::clone(&sidecar);
    let delivery = Delivery { sidecar, version, headers, body, expected, deadline };
    // A task of its own: the block is delivered even if the beacon node hangs up.
    let delivered = tokio::spawn(async move {
        let Some(block) = block else { return delivery.run(booked).await };
        let slot = block.message().slot();
        // Beside the delivery, for hashing a large block takes a while.
        let root = tokio::task::spawn_blocking(move || block.message().tree_hash_root());
        let delivered = delivery.run(booked).await;
        match (&delivered, root.await) {
            (Ok(_), Ok(root)) => breaker.breaker.lock().taken(slot, root),
            (Ok(_), Err(_)) => {}
            (Err(_), _) => breaker.breaker.lock().undelivered(slot),
        }
        delivered
    });
    match delivered.await {
        Ok(Ok(answer)) => Ok(pass_back(answer, expected.as_ref())),
        Ok(Err(Undelivered::Refused(answer))) => Ok(pass_back(answer, None)),
        Ok(Err(Undelivered::Failed(cause))) => Err(ApiError::status(StatusCode::BAD_GATEWAY, cause)),
        Err(_) => Err(ApiError::status(StatusCode::BAD_GATEWAY, "the delivery broke off")),
    }
}

/// The answer as it came, with the headers it should have come with.
fn pass_back(answer: Answer, delivered: Option<&Expected>) -> Response {
    let media = if answer.is_octets() { Media::Ssz } else { Media::Json };
    let mut response = (answer.status, [media.header()], answer.body).into_response();
    if let Some(block) = delivered {
        response.headers_mut().insert(CONSENSUS_VERSION, HeaderValue::from_static(block.fork.as_str()));
    }
    for name in [header::CONTENT_TYPE, CONSENSUS_VERSION, header::RETRY_AFTER] {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// The payload that a signed blinded block commits to.
fn expected(block: &SignedBlindedBeaconBlock) -> Expected {
    Expected {
        fork: block.fork(),
        block_hash: block.message().body().execution_payload_header().block_hash(),
    }
}

/// None if the block cannot be read, which is for the relays to judge: here it only means that all of them are asked.
fn read_block(headers: &HeaderMap, body: &[u8]) -> Option<SignedBlindedBeaconBlock> {
    let media = earnest_http::content_type(headers, &[Media::Json, Media::Ssz]).ok()?;
    let stated = headers.get(CONSENSUS_VERSION).and_then(fork_name);
    let forks = stated.map_or_else(|| ForkName::ALL.iter().rev().copied().collect(), |fork| vec![fork]);
    forks.into_iter().find_map(|fork| match media {
        Media::Ssz => SignedBlindedBeaconBlock::from_ssz(fork, body).ok(),
        _ => SignedBlindedBeaconBlock::from_json(fork, body).ok(),
    })
}

fn fork_name(value: &HeaderValue) -> Option<ForkName> {
    value.to_str().ok()?.trim().parse().ok()
}

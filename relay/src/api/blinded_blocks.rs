//! `POST /eth/v1/builder/blinded_blocks` (200 with the payload) and `POST /eth/v2/builder/blinded_blocks` (202)

use crate::{
    api::{blocking, check_fork, fork_header, read, slot_in_json, slot_in_ssz, stated_fork},
    delivery,
    relay::Relay,
};
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use earnest_builder_types::{ForkCodec, ForkName, PayloadAndBlobs, SignedBlindedBeaconBlock};
use earnest_http::{ApiError, BodyLease, Media, accept, content_type};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use std::sync::Arc;

/// A payload under its fork.
#[derive(Serialize)]
struct Answer<'a> {
    version: ForkName,
    data: &'a PayloadAndBlobs,
}

pub(crate) async fn post_v1(State(relay): State<Arc<Relay>>, request: Request) -> Result<Response, ApiError> {
    let media = accept(request.headers(), &[Media::Json, Media::Ssz])?;
    let (block, _lease) = decode(&relay, request).await?;
    let fork = block.fork();
    let payload = delivery::deliver(relay, block, delivery::Answer::Payload).await?;
    let body = match media {
        Media::Ssz => payload.to_ssz(),
        _ => {
            serde_json::to_vec(&Answer { version: fork, data: &payload }).map_err(|_| ApiError::internal())?
        }
    };
    Ok(([media.header(), fork_header(fork)], body).into_response())
}

pub(crate) async fn post_v2(
    State(relay): State<Arc<Relay>>,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let (block, _lease) = decode(&relay, request).await?;
    delivery::deliver(relay, block, delivery::Answer::Accepted).await?;
    Ok(StatusCode::ACCEPTED)
}

/// The block, and the lease of its body's bytes. It is read off the threads that serve: forged ones cost no header its time.
async fn decode(
    relay: &Arc<Relay>,
    request: Request,
) -> Result<(SignedBlindedBeaconBlock, BodyLease), ApiError> {
    let media = content_type(request.headers(), &[Media::Json, Media::Ssz])?;
    let (parts, body) = read(request, relay.blinded_body()).await?;
    let (body, lease) = body.into_parts();
    let reader = Arc::clone(relay);
    let block = blocking(move || block(&reader, media, &parts.headers, &body)).await??;
    Ok((block, lease))
}

fn block(
    relay: &Relay,
    media: Media,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<SignedBlindedBeaconBlock, ApiError> {
    let fork = fork_of(relay, media, headers, body)?;
    let decoded = match media {
        Media::Ssz => SignedBlindedBeaconBlock::from_ssz(fork, body),
        _ => SignedBlindedBeaconBlock::from_json(fork, body),
    };
    let block = decoded.map_err(|error| {
        let slot = if media == Media::Ssz { slot_in_ssz(body) } else { slot_in_json(body).ok() };
        slot.and_then(|slot| check_fork(relay, slot, fork).err())
            .unwrap_or_else(|| ApiError::bad_request(format!("not a {fork} blinded block: {error}")))
    })?;
    check_fork(relay, block.message().slot(), fork)?;
    Ok(block)
}

/// SSZ has to come with its fork; of JSON the slot tells it.
fn fork_of(relay: &Relay, media: Media, headers: &HeaderMap, body: &[u8]) -> Result<ForkName, ApiError> {
    if let Some(fork) = stated_fork(headers)? {
        return Ok(fork);
    }
    if media == Media::Ssz {
        return Err(ApiError::bad_request("SSZ needs Eth-Consensus-Version"));
    }
    let slot = slot_in_json(body).map_err(|error| {
        ApiError::bad_request(format!("not a blinded block, and no Eth-Consensus-Version: {error}"))
    })?;
    relay.fork_at(slot).ok_or_else(|| ApiError::bad_request(format!("slot {slot} is of no known fork")))
}

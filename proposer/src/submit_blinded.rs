//! `POST /eth/v1/builder/blinded_blocks` and `/eth/v2/builder/blinded_blocks`: the signed block goes back to whoever offered
//! its payload, and the answer back to the beacon node.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use earnest_builder_types::{ForkCodec, ForkName, SignedBlindedBeaconBlock, Versioned};
use earnest_client::Answer;
use earnest_client::transport::CONSENSUS_VERSION;
use earnest_http::{ApiError, BodyLimits, Media, PeerAddr, read_leased_body};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::time::Instant;
use tree_hash::TreeHash;

use crate::delivered::{Expected, Version};
use crate::delivery::{Delivered, Delivery, Undelivered};
use crate::sidecar::Sidecar;
use crate::slot_state::SourceIndex;

/// Largest signed blinded block read, in bytes; it holds no payload and no blobs.
const MAX_BLOCK: usize = 8 << 20;

/// How long an answer waits for the circuit breaker to be told.
const TELL_TIME: Duration = Duration::from_millis(200);

type Peer = Option<Extension<PeerAddr>>;

/// Version 1: the answer holds the payload.
///
/// # Errors
/// The relay's own refusal, or 502 if none delivers in time.
pub(crate) async fn submit_blinded_v1(
    state: State<Arc<Sidecar>>,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    submit(state.0, Version::V1, peer, headers, body).await
}

/// Version 2: the relay publishes and answers 202.
///
/// # Errors
/// As [`submit_blinded_v1`].
pub(crate) async fn submit_blinded_v2(
    state: State<Arc<Sidecar>>,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    submit(state.0, Version::V2, peer, headers, body).await
}

async fn submit(
    sidecar: Arc<Sidecar>,
    version: Version,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let deadline = Instant::now().checked_add(sidecar.config.payload_limit());
    let deadline = deadline.ok_or_else(|| ApiError::unavailable("payload_limit_ms is too long"))?;
    let limits = BodyLimits {
        max_bytes: sidecar.config.max_body.min(MAX_BLOCK),
        max_time: sidecar.config.payload_limit().min(Duration::from_secs(10)),
    };
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Extension(PeerAddr(peer))| peer.ip());
    let body = read_leased_body(&headers, body, limits, sidecar.blocks.lease(peer)).await?;
    let (body, lease) = body.into_parts();
    let accept = headers.clone();
    // A task of its own: the block is delivered even if the beacon node hangs up.
    let delivered = tokio::spawn(async move {
        let _lease = lease;
        let expected = read_block(headers.clone(), body.clone()).await.map(Arc::new);
        let fork = expected.as_ref().map(|block| block.block.fork());
        let booked = expected.as_ref().map(|block| sidecar.book.lock().sources_of(block.block_hash()));
        let booked = booked.unwrap_or_default();
        let ours = expected.clone().map(|block| Ours { sidecar: Arc::clone(&sidecar), block });
        // Beside the delivery, for verifying and hashing a large block takes a while.
        let root = ours.as_ref().map(Ours::root);
        let delivery = Delivery { sidecar, version, headers, body, expected, deadline };
        let delivered = delivery.run(booked.clone()).await;
        if let (Some(ours), Some(root)) = (ours, root) {
            let taken_by = delivered.as_ref().ok().map(|delivered| delivered.source);
            let telling = tokio::spawn(async move { ours.tell(root.await, &booked, taken_by) });
            // Done long before, but for a machine that has no thread for it.
            drop(tokio::time::timeout(TELL_TIME, telling).await);
        }
        delivered.map(|delivered| (delivered, fork))
    });
    match delivered.await {
        Ok(Ok((delivered, fork))) => Ok(hand_over(delivered, fork, &accept)),
        Ok(Err(Undelivered::Refused(answer))) => Ok(as_it_came(answer, None)),
        Ok(Err(Undelivered::Failed(cause))) => Err(ApiError::status(StatusCode::BAD_GATEWAY, cause)),
        Err(_) => Err(ApiError::status(StatusCode::BAD_GATEWAY, "the delivery broke off")),
    }
}

/// A block that the circuit breaker may learn from.
struct Ours {
    sidecar: Arc<Sidecar>,
    block: Arc<Expected>,
}

impl Ours {
    /// The block's root, if its header was served here and the proposer signed it. Whoever else can reach the port may send any block,
    /// and what becomes of it says nothing of the sources.
    fn root(&self) -> impl Future<Output = Option<B256>> + use<> {
        let slot = self.block.block.message().slot();
        let proposer = self.sidecar.book.lock().proposer_of(self.block.block_hash(), slot);
        let clock = self.sidecar.clock.get();
        let domain = clock.and_then(|clock| clock.forks.proposer_domain(clock.slots.epoch_of(slot)));
        let block = Arc::clone(&self.block);
        let root = tokio::task::spawn_blocking(move || {
            block.block.verify(&proposer?, domain?).ok()?;
            Some(block.block.message().tree_hash_root())
        });
        async { root.await.ok().flatten() }
    }

    fn tell(&self, root: Option<B256>, booked: &[SourceIndex], taken_by: Option<SourceIndex>) {
        let Some(root) = root else { return };
        let slot = self.block.block.message().slot();
        let mut breaker = self.sidecar.breaker.lock();
        match taken_by {
            Some(source) => breaker.taken(slot, root, source),
            None => breaker.undelivered(slot, booked),
        }
    }
}

/// The payload with the headers it must have, whatever the source sent with it; written anew if it came in a form that the beacon node
/// does not take.
fn hand_over(delivered: Delivered, fork: Option<ForkName>, headers: &HeaderMap) -> Response {
    let Delivered { answer, payload, .. } = delivered;
    if payload.is_none() {
        return as_it_came(answer, fork);
    }
    let came_as = if answer.is_octets() { Media::Ssz } else { Media::Json };
    let wanted = earnest_http::accept(headers, &[came_as])
        .map_or_else(|_| if came_as == Media::Ssz { Media::Json } else { Media::Ssz }, |_| came_as);
    let fork = payload.as_ref().map(ForkCodec::fork).or(fork);
    let body = match (payload, wanted) {
        (Some(payload), Media::Json) if came_as != Media::Json => {
            Versioned::new(payload).to_json().map_or_else(|_| answer.body.clone(), Bytes::from)
        }
        (Some(payload), Media::Ssz) if came_as != Media::Ssz => payload.to_ssz().into(),
        _ => answer.body,
    };
    let mut response = (answer.status, [wanted.header()], body).into_response();
    if let Some(fork) = fork {
        response.headers_mut().insert(CONSENSUS_VERSION, HeaderValue::from_static(fork.as_str()));
    }
    response
}

/// A refusal, or what takes a block without a payload that could be judged, with the headers it came with; `fork` where it has none.
fn as_it_came(answer: Answer, fork: Option<ForkName>) -> Response {
    let media = if answer.is_octets() { Media::Ssz } else { Media::Json };
    let mut response = (answer.status, [media.header()], answer.body).into_response();
    if let Some(fork) = fork {
        response.headers_mut().insert(CONSENSUS_VERSION, HeaderValue::from_static(fork.as_str()));
    }
    for name in [header::CONTENT_TYPE, CONSENSUS_VERSION, header::RETRY_AFTER] {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// None if the block cannot be read, which is for the relays to judge: here it only means that all of them are asked. A large block
/// takes a while, and a body that is none may be tried as every fork's.
async fn read_block(headers: HeaderMap, body: Bytes) -> Option<Expected> {
    let read = move || {
        let media = earnest_http::content_type(&headers, &[Media::Json, Media::Ssz]).ok()?;
        let stated = headers.get(CONSENSUS_VERSION).and_then(fork_name);
        let forks = stated.map_or_else(|| ForkName::ALL.iter().rev().copied().collect(), |fork| vec![fork]);
        let block = forks.into_iter().find_map(|fork| match media {
            Media::Ssz => SignedBlindedBeaconBlock::from_ssz(fork, &body).ok(),
            _ => SignedBlindedBeaconBlock::from_json(fork, &body).ok(),
        })?;
        Some(Expected { block, fork_is_stated: stated.is_some() })
    };
    tokio::task::spawn_blocking(read).await.ok().flatten()
}

fn fork_name(value: &HeaderValue) -> Option<ForkName> {
    value.to_str().ok()?.trim().parse().ok()
}

//! `POST /eth/v1/builder/blinded_blocks` and `/eth/v2/builder/blinded_blocks`: the signed block goes back to whoever offered
//! its payload, and the answer back to the beacon node.

use std::sync::Arc;

use alloy_primitives::B256;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use earnest_builder_types::{ForkCodec, ForkName, SignedBlindedBeaconBlock};
use earnest_client::transport::CONSENSUS_VERSION;
use earnest_client::{Answer, ClientError};
use earnest_http::{ApiError, BodyLimits, Media, read_body};
use futures::stream::{FuturesUnordered, StreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::task::JoinHandle;

use crate::sidecar::Sidecar;
use crate::slot_state::SourceIndex;

/// Version 1: the answer holds the payload.
///
/// # Errors
/// The relay's own refusal, or 502 if none can be reached.
pub(crate) async fn submit_blinded_v1(
    state: State<Arc<Sidecar>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    submit(state.0, "eth/v1/builder/blinded_blocks", headers, body).await
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
    submit(state.0, "eth/v2/builder/blinded_blocks", headers, body).await
}

async fn submit(
    sidecar: Arc<Sidecar>,
    path: &'static str,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(&headers, body, BodyLimits::of(sidecar.config.max_body)).await?;
    let block_hash = block_hash(&headers, &body);
    let known = block_hash.map(|hash| sidecar.book.lock().sources_of(hash)).unwrap_or_default();
    let others: Vec<SourceIndex> =
        sidecar.sources.indices().into_iter().filter(|index| !known.contains(index)).collect();
    let mut last = None;
    for group in [known, others] {
        if group.is_empty() {
            continue;
        }
        match first_success(&sidecar, &group, path, &headers, &body).await {
            Ok(answer) => return Ok(pass_back(answer)),
            Err(failure) => last = last.or(failure),
        }
        // Whoever offered the block has understood it and said no: nobody else has its payload.
        if matches!(&last, Some(Ok(answer)) if answer.status.is_client_error()) {
            break;
        }
    }
    match last {
        Some(Ok(answer)) => Ok(pass_back(answer)),
        Some(Err(error)) => Err(ApiError::status(StatusCode::BAD_GATEWAY, error.to_string())),
        None => Err(ApiError::status(StatusCode::BAD_GATEWAY, "no relay is reachable")),
    }
}

type Outcome = Result<Answer, ClientError>;

/// Sends to a group of sources at once. The first success counts; the others are left to end by themselves, since a block
/// cannot be published by too many. Fails with what the last of them said.
async fn first_success(
    sidecar: &Arc<Sidecar>,
    group: &[SourceIndex],
    path: &'static str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, Option<Outcome>> {
    let mut asked: FuturesUnordered<JoinHandle<(SourceIndex, Outcome)>> = group
        .iter()
        .map(|index| tokio::spawn(send(Arc::clone(sidecar), *index, path, headers.clone(), body.clone())))
        .collect();
    let mut failure: Option<Outcome> = None;
    while let Some(joined) = asked.next().await {
        let Ok((index, outcome)) = joined else { continue };
        match outcome {
            Ok(answer) if answer.status.is_success() => {
                tracing::info!(
                    source = sidecar.sources.name(index),
                    status = answer.status.as_u16(),
                    "block taken"
                );
                return Ok(answer);
            }
            other => {
                let cause = match &other {
                    Ok(answer) => answer.status.to_string(),
                    Err(error) => error.to_string(),
                };
                tracing::warn!(source = sidecar.sources.name(index), cause, "block not taken");
                // A refusal that was read says more than a connection that was not made.
                if other.is_ok() || failure.is_none() {
                    failure = Some(other);
                }
            }
        }
    }
    Err(failure)
}

async fn send(
    sidecar: Arc<Sidecar>,
    index: SourceIndex,
    path: &'static str,
    headers: HeaderMap,
    body: Bytes,
) -> (SourceIndex, Outcome) {
    let Some(source) = sidecar.sources.get(index) else {
        return (index, Err(ClientError::Setup("no such source".to_owned())));
    };
    let transport = source.client.transport();
    let outcome = async {
        let mut request = transport.request(Method::POST, path)?.body(body);
        for name in [header::CONTENT_TYPE, header::ACCEPT, CONSENSUS_VERSION] {
            if let Some(value) = headers.get(&name) {
                request = request.header(name, value.clone());
            }
        }
        transport.send_within(request, sidecar.config.payload_limit()).await
    };
    let outcome = outcome.await;
    (index, outcome)
}

fn pass_back(answer: Answer) -> Response {
    let mut response = (answer.status, answer.body).into_response();
    response.headers_mut().remove(header::CONTENT_TYPE);
    for name in [header::CONTENT_TYPE, CONSENSUS_VERSION, header::RETRY_AFTER] {
        if let Some(value) = answer.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

/// The block hash that a signed blinded block commits to. None if the block cannot be read, which is for the relays to judge:
/// here it only means that all of them are asked.
fn block_hash(headers: &HeaderMap, body: &[u8]) -> Option<B256> {
    let media = earnest_http::content_type(headers, &[Media::Json, Media::Ssz]).ok()?;
    let stated = headers.get(CONSENSUS_VERSION).and_then(fork_name);
    let forks = stated.map_or_else(|| ForkName::ALL.iter().rev().copied().collect(), |fork| vec![fork]);
    forks.into_iter().find_map(|fork| {
        let block = match media {
            Media::Ssz => SignedBlindedBeaconBlock::from_ssz(fork, body).ok()?,
            _ => SignedBlindedBeaconBlock::from_json(fork, body).ok()?,
        };
        Some(block.message().body().execution_payload_header().block_hash())
    })
}

fn fork_name(value: &HeaderValue) -> Option<ForkName> {
    value.to_str().ok()?.trim().parse().ok()
}

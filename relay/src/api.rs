//! The endpoints, one file each, and the router that is their table of contents.

mod blinded_blocks;
mod blocks_with_proofs;
mod builder_blocks;
mod builder_validators;
mod constraints;
mod constraints_stream;
mod data;
mod delegate;
mod delegations;
mod events;
mod get_constraints;
mod header;
mod header_with_proofs;
mod market_auction;
mod market_bids;
mod market_match;
mod openapi;
mod register;
mod rollups;
mod schedule;
mod status;
mod status_page;
mod top_bid;

pub(crate) use status_page::StatusPage;

use crate::relay::Relay;
use alloy_primitives::FixedBytes;
use axum::{
    Router,
    extract::{Path, Request, rejection::PathRejection},
    routing::{get, post},
};
use earnest_builder_types::ForkName;
use earnest_http::{
    ApiError, BodyBudget, BodyLimits, LeasedBody, LimitConfig, PeerAddr, limit::client_address,
    read_leased_body,
};
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// Names the fork of a body.
pub(crate) const CONSENSUS_VERSION: HeaderName = HeaderName::from_static("eth-consensus-version");

/// A path's parameters, or why they are none.
pub(crate) type Params<T> = Result<Path<T>, PathRejection>;

/// Every route of the relay that counts towards a client's limit.
pub(crate) fn router(relay: Arc<Relay>) -> Router {
    let (router, document) = OpenApiRouter::with_openapi(openapi::document())
        .route("/", get(status_page::get))
        // Builder API, for proposers.
        .route("/eth/v1/builder/status", get(status::get))
        .route("/eth/v1/builder/validators", post(register::post))
        .route("/eth/v1/builder/header/{slot}/{parent_hash}/{pubkey}", get(header::get))
        // Relay API, for builders and everyone.
        .route("/relay/v1/builder/validators", get(builder_validators::get))
        .route("/relay/v1/builder/blocks", post(builder_blocks::post))
        .routes(routes!(top_bid::get))
        .route("/ws/v1/top_bid", get(top_bid::get))
        .route(
            "/relay/v1/data/bidtraces/proposer_payload_delivered",
            get(data::proposer_payload_delivered::get),
        )
        .route("/relay/v1/data/bidtraces/builder_blocks_received", get(data::builder_blocks_received::get))
        .route("/relay/v1/data/validator_registration", get(data::validator_registration::get))
        // Constraints API.
        .routes(routes!(delegate::post))
        .routes(routes!(constraints::post))
        .routes(routes!(constraints::capabilities))
        .routes(routes!(header_with_proofs::get))
        .routes(routes!(delegations::get))
        .routes(routes!(get_constraints::get))
        .routes(routes!(constraints_stream::get))
        .routes(routes!(blocks_with_proofs::post))
        // Ours.
        .routes(routes!(delegations::get_with_receipts))
        .routes(routes!(get_constraints::get_with_receipts))
        .routes(routes!(schedule::get))
        .routes(routes!(rollups::get))
        .routes(routes!(market_bids::post))
        .routes(routes!(market_auction::get))
        .routes(routes!(market_match::post))
        .routes(routes!(events::get))
        .split_for_parts();
    router.merge(openapi::router(document)).with_state(relay)
}

/// The routes that are never limited: a proposer that is turned away there loses its slot.
pub(crate) fn unlimited(relay: Arc<Relay>) -> Router {
    Router::new()
        .route("/eth/v1/builder/blinded_blocks", post(blinded_blocks::post_v1))
        .route("/eth/v2/builder/blinded_blocks", post(blinded_blocks::post_v2))
        .with_state(relay)
}

/// What a body may cost, and whose it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) limits: BodyLimits,
    pub(crate) budget: &'a BodyBudget,
    pub(crate) clients: &'a LimitConfig,
}

/// Head and whole body of a request. Its bytes count in the budget until what is returned, or its lease, is dropped.
pub(crate) async fn read(request: Request, terms: Terms<'_>) -> Result<(Parts, LeasedBody), ApiError> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<PeerAddr>();
    let peer = peer.map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let client = client_address(peer, &parts.headers, &terms.clients.trusted_proxies);
    let body = read_leased_body(&parts.headers, body, terms.limits, terms.budget.lease(client)).await?;
    Ok((parts, body))
}

/// The path's parameters.
pub(crate) fn params<T>(params: Params<T>) -> Result<T, ApiError> {
    params.map(|Path(params)| params).map_err(|error| ApiError::bad_request(error.body_text()))
}

/// A number of decimal digits alone: no sign, no spaces.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// The number that a parameter is.
pub(crate) fn number(what: &str, text: &str) -> Result<u64, ApiError> {
    decimal(text).ok_or_else(|| ApiError::bad_request(format!("{what} must be a decimal number below 2^64")))
}

/// The hash or the key that a parameter is.
pub(crate) fn hex<const N: usize>(what: &str, text: &str) -> Result<FixedBytes<N>, ApiError> {
    text.parse().map_err(|_| {
        let digits = N.saturating_mul(2);
        ApiError::bad_request(format!("{what} must be 0x and {digits} hexadecimal digits"))
    })
}

/// The fork that the request names.
pub(crate) fn stated_fork(headers: &HeaderMap) -> Result<Option<ForkName>, ApiError> {
    let Some(value) = headers.get(CONSENSUS_VERSION) else { return Ok(None) };
    let fork = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    fork.map(Some).ok_or_else(|| ApiError::bad_request("Eth-Consensus-Version names no known fork"))
}

/// The header line that names a fork.
pub(crate) fn fork_header(fork: ForkName) -> (HeaderName, HeaderValue) {
    (CONSENSUS_VERSION, HeaderValue::from_static(fork.as_str()))
}

/// Refuses what is stated to be of another fork than its slot.
pub(crate) fn check_fork(relay: &Relay, slot: u64, stated: ForkName) -> Result<(), ApiError> {
    match relay.fork_at(slot) {
        Some(fork) if fork == stated => Ok(()),
        Some(fork) => Err(ApiError::bad_request(format!("slot {slot} is {fork}, not {stated}"))),
        None => Err(ApiError::bad_request(format!("slot {slot} is not {stated}"))),
    }
}

/// The slot in `message` of a JSON body, for bodies that come without their fork.
pub(crate) fn slot_in_json(body: &[u8]) -> Result<u64, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Signed {
        message: Message,
    }
    #[derive(serde::Deserialize)]
    struct Message {
        #[serde(with = "earnest_protocol::integer")]
        slot: u64,
    }
    serde_json::from_slice::<Signed>(body).map(|signed| signed.message.slot)
}

/// The slot with which `message` of an SSZ body begins, in every fork: after its own offset and the signature.
pub(crate) fn slot_in_ssz(body: &[u8]) -> Option<u64> {
    const MESSAGE: u32 = 4 + 96;
    let (offset, signed) = body.split_first_chunk()?;
    let message = signed.get(96..).filter(|_| u32::from_le_bytes(*offset) == MESSAGE)?;
    message.first_chunk().copied().map(u64::from_le_bytes)
}

/// Runs what keeps a processor busy off the threads that serve.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::internal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slot_of_ssz_stands_behind_the_signature() {
        let body =
            |offset: u32| [&offset.to_le_bytes()[..], &[9; 96], &77_u64.to_le_bytes(), b"rest"].concat();
        assert_eq!(slot_in_ssz(&body(100)), Some(77));
        assert_eq!(slot_in_ssz(&body(99)), None);
        assert_eq!(slot_in_ssz(body(100).get(..107).unwrap()), None);
        assert_eq!(slot_in_ssz(&[]), None);
    }

    #[test]
    fn any_parameter_is_read_or_refused() {
        bolero::check!().with_iterations(1000).with_type::<String>().for_each(|text| {
            if let Ok(slot) = number("slot", text) {
                assert_eq!(text.trim_start_matches('0'), slot.to_string().trim_start_matches('0'));
            }
            let _ = (hex::<32>("hash", text), hex::<48>("key", text));
        });
    }

    #[test]
    fn any_bytes_have_a_slot_or_none() {
        bolero::check!().with_iterations(1000).for_each(|bytes: &[u8]| {
            let _ = slot_in_json(bytes);
            if let Some(slot) = slot_in_ssz(bytes) {
                assert_eq!(bytes.get(100..108), Some(slot.to_le_bytes().as_slice()));
            }
        });
    }

    #[test]
    fn any_header_names_a_fork_or_none() {
        bolero::check!().with_iterations(1000).for_each(|bytes: &[u8]| {
            let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
            let headers = HeaderMap::from_iter([(CONSENSUS_VERSION, value)]);
            if let Ok(fork) = stated_fork(&headers) {
                let text = String::from_utf8_lossy(bytes).trim().to_lowercase();
                assert_eq!(fork.map(ForkName::as_str), Some(text.as_str()));
            }
        });
    }
}

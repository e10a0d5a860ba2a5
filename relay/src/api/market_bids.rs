//! `POST /ordering/v1/market/bids`

use crate::{
    api::{openapi::schemas, read},
    market::{MarketRefusal, take_bid},
    relay::Relay,
};
use axum::{
    Json,
    extract::{Request, State},
};
use earnest_http::{ApiError, Media, accept, content_type};
use earnest_protocol::objects::{SignedBid, SignedBidAck};
use std::sync::Arc;

/// Largest bid, in bytes of JSON: sixteen rollups and the longest URL, thrice over.
const MAX_BID: usize = 8 << 10;

#[utoipa::path(
    post,
    path = "/ordering/v1/market/bids",
    tag = "ordering",
    request_body = schemas::SignedBid,
    responses(
        (status = 200, description = "The relay's word that it has the bid; the same one for the same bid", body = schemas::SignedBidAck),
        (
            status = 400,
            description = "`unknown_slot`, `not_sequencing`, `nothing_for_sale`, `auction_closed`, `bad_bid`, `wrong_relay`, \
                           `not_for_sale`, `amount_too_large`, `below_reserve`, `expires_early`, `bad_matches`, \
                           `unknown_operator`, `not_owner`, `wrong_committer`, `bad_delegate`, `bad_signature`, \
                           `escrow_too_low`, `too_many_bids`; 400 for what is no signed bid",
            body = schemas::Problem,
        ),
        (status = 404, description = "`no_market`: this relay holds no auctions", body = schemas::Problem),
        (status = 406, description = "JSON is not accepted", body = schemas::Problem),
        (status = 408, description = "The body came too slowly", body = schemas::Problem),
        (status = 409, description = "`nonce_used`: another bid of the account and slot has this nonce", body = schemas::Problem),
        (status = 413, description = "The body is too large", body = schemas::Problem),
        (status = 415, description = "Not JSON", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
        (
            status = 503,
            description = "`busy`, `not_ready`, `auction_full`; 503 if the relay cannot write its journal",
            body = schemas::Problem,
        ),
    ),
)]
/// A sealed bid for ordering rights. It is durable before it is acknowledged, and nobody is shown it before its auction
/// closes.
pub(crate) async fn post(
    State(relay): State<Arc<Relay>>,
    request: Request,
) -> Result<Json<SignedBidAck>, ApiError> {
    let bid = signed_bid(&relay, request).await?;
    take_bid(&relay, bid).await.map(Json)
}

/// The bid that a request carries.
pub(super) async fn signed_bid(relay: &Relay, request: Request) -> Result<SignedBid, ApiError> {
    accept(request.headers(), &[Media::Json])?;
    content_type(request.headers(), &[Media::Json])?;
    let (_, body) = read(request, relay.body(MAX_BID.min(relay.config.bounds.body_bytes))).await?;
    if !relay.has_market() {
        return Err(MarketRefusal::NoMarket.into());
    }
    serde_json::from_slice(&body).map_err(|error| ApiError::bad_request(format!("not a signed bid: {error}")))
}

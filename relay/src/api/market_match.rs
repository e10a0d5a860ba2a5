//! `POST /ordering/v1/market/auctions/{slot}/match`: first refusal.

use crate::{
    api::{Params, market_bids::signed_bid, number, openapi::schemas, params},
    market::take_match,
    relay::Relay,
};
use axum::{
    Json,
    extract::{Request, State},
};
use earnest_http::ApiError;
use earnest_protocol::{Slot, objects::SignedBidAck};
use std::sync::Arc;

#[utoipa::path(
    post,
    path = "/ordering/v1/market/auctions/{slot}/match",
    tag = "ordering",
    params(("slot" = String, Path, description = "The slot, decimal")),
    request_body = schemas::SignedBid,
    responses(
        (status = 200, description = "The relay's word that it has the match; the same one for the same match", body = schemas::SignedBidAck),
        (
            status = 400,
            description = "`auction_open`, `first_refusal_over`, `not_proposer`, `no_winner`, `other_rollups`, `other_amount`, \
                           `wrong_slot`, and what is wrong with any bid; 400 for what is no signed bid",
            body = schemas::Problem,
        ),
        (status = 404, description = "`no_market`: this relay holds no auctions", body = schemas::Problem),
        (status = 406, description = "JSON is not accepted", body = schemas::Problem),
        (status = 408, description = "The body came too slowly", body = schemas::Problem),
        (status = 409, description = "`already_matched`, `nonce_used`", body = schemas::Problem),
        (status = 413, description = "The body is too large", body = schemas::Problem),
        (status = 415, description = "Not JSON", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
        (status = 503, description = "`busy`, `not_ready`; 503 if the relay cannot write its journal", body = schemas::Problem),
    ),
)]
/// A bid of the operator of the slot's proposer that names a winner in `matches`, for the same rollups and amount: it takes
/// the winner's place. Taken from close until an eighth of a slot after it.
pub(crate) async fn post(
    State(relay): State<Arc<Relay>>,
    slot: Params<String>,
    request: Request,
) -> Result<Json<SignedBidAck>, ApiError> {
    let slot = Slot(number("slot", &params(slot)?)?);
    let bid = signed_bid(&relay, request).await?;
    take_match(&relay, slot, bid).await.map(Json)
}

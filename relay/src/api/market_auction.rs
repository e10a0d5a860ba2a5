//! `GET /ordering/v1/market/auctions/{slot}`: sealed until close, then everything.

use crate::{
    api::{Params, blocking, number, openapi::schemas, params},
    market::record,
    relay::Relay,
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use earnest_http::ApiError;
use earnest_protocol::{Slot, auction::AuctionRecord};
use http::StatusCode;
use std::sync::Arc;

#[utoipa::path(
    get,
    path = "/ordering/v1/market/auctions/{slot}",
    tag = "ordering",
    params(("slot" = String, Path, description = "The slot, decimal")),
    responses(
        (
            status = 200,
            description = "Before close its times and how many bids there are; from then on every bid, the winners, and after \
                           first refusal the allocation and the signed result",
            body = schemas::AuctionRecord,
        ),
        (status = 400, description = "The slot is no number", body = schemas::Problem),
        (
            status = 404,
            description = "`no_market`, `unknown_slot`, `not_sequencing`, `nothing_for_sale`: no auction of this slot is held here",
            body = schemas::Problem,
        ),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
        (status = 503, description = "`not_ready`", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(State(relay): State<Arc<Relay>>, slot: Params<String>) -> Result<Response, ApiError> {
    let slot = Slot(number("slot", &params(slot)?)?);
    // A thousand bids are much to write: not on a thread that serves.
    let shown =
        blocking(move || record(&relay, slot).map(|record: AuctionRecord| Json(record).into_response()));
    shown.await?.map_err(|mut error| {
        if error.status == StatusCode::BAD_REQUEST {
            error.status = StatusCode::NOT_FOUND;
        }
        error
    })
}

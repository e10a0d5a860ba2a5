//! `GET /ordering/v1/rollups`: what sells at this relay, and what bids are signed for.

use crate::{
    api::{number, openapi::schemas},
    relay::Relay,
};
use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use earnest_http::ApiError;
use earnest_protocol::{Slot, auction::MarketRollups};
use serde::Deserialize;
use std::sync::Arc;

/// What may stand behind the question mark.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Options {
    slot: Option<String>,
}

#[utoipa::path(
    get,
    path = "/ordering/v1/rollups",
    tag = "ordering",
    params(("slot" = Option<String>, Query, description = "The slot at which they are in force; this one if it is left out")),
    responses(
        (status = 200, description = "The rollups that name this relay, and the contract that bids are signed for; zero if no auctions are held", body = schemas::MarketRollups),
        (status = 400, description = "The slot is no number", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    options: Result<Query<Options>, QueryRejection>,
) -> Result<Json<MarketRollups>, ApiError> {
    let Query(options) = options.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let slot = options.slot.map(|slot| number("slot", &slot)).transpose()?;
    let slot = Slot(slot.unwrap_or_else(|| relay.current_slot()));
    Ok(Json(MarketRollups {
        slot,
        relay: relay.ecdsa.address(),
        network: relay.config.network,
        market: relay.config.market.contract,
        rollups: relay.rollups(slot),
    }))
}

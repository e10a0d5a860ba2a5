//! `GET /constraints/v0/relay/constraints/{slot}`
//!
//! Constraints that name receivers are for those alone; this relay cannot tell readers apart yet, and shows them to
//! nobody.

use crate::{
    api::{Params, openapi::schemas, params, parse},
    relay::Relay,
};
use axum::{Json, extract::State};
use earnest_http::ApiError;
use earnest_protocol::objects::SignedConstraints;
use std::sync::Arc;

#[utoipa::path(
    get,
    path = "/constraints/v0/relay/constraints/{slot}",
    tag = "constraints",
    params(("slot" = String, Path, description = "The slot, decimal")),
    responses(
        (status = 200, description = "Constraints held that everyone may read, in the order they came", body = Vec<schemas::SignedConstraints>),
        (status = 400, description = "The slot is no number", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    slot: Params<String>,
) -> Result<Json<Vec<SignedConstraints>>, ApiError> {
    let slot = parse("slot", &params(slot)?)?;
    let held = relay.ledger.views().constraints(slot);
    let open =
        held.iter().map(|held| &held.taken).filter(|taken| taken.constraints.message.receivers.is_empty());
    Ok(Json(open.map(|taken| taken.constraints.clone()).collect()))
}

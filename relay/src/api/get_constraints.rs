//! `GET /constraints/v0/relay/constraints/{slot}`
//!
//! Constraints that name receivers are for those alone; this relay cannot tell readers apart yet, and shows them to
//! nobody.

use crate::{
    api::{Params, params, parse},
    relay::Relay,
};
use axum::{Json, extract::State};
use earnest_http::ApiError;
use earnest_protocol::objects::SignedConstraints;
use std::sync::Arc;

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

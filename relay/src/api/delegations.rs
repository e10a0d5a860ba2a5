//! `GET /constraints/v0/relay/delegations/{slot}` and `GET /ordering/v1/delegations/{slot}`
//!
//! The second gives the relay's receipts too: with both, anyone can judge who holds a window (design §2). A delegation
//! whose signer no longer proposes the slot, after a reorg, is not shown.

use crate::{
    api::{Params, number, openapi::schemas, params},
    events::DelegationTaken,
    relay::Relay,
};
use axum::{Json, extract::State};
use earnest_http::ApiError;
use earnest_protocol::objects::{Authority, SignedDelegation};
use std::sync::Arc;

#[utoipa::path(
    get,
    path = "/constraints/v0/relay/delegations/{slot}",
    tag = "constraints",
    params(("slot" = String, Path, description = "The slot, decimal")),
    responses(
        (status = 200, description = "The slot's delegations whose signer proposes it, in the order they came", body = Vec<schemas::SignedDelegation>),
        (status = 400, description = "The slot is no number", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    slot: Params<String>,
) -> Result<Json<Vec<SignedDelegation>>, ApiError> {
    let slot = number("slot", &params(slot)?)?;
    Ok(Json(supported(&relay, slot).iter().map(|taken| taken.delegation.clone()).collect()))
}

#[utoipa::path(
    get,
    path = "/ordering/v1/delegations/{slot}",
    tag = "ordering",
    params(("slot" = String, Path, description = "The slot, decimal")),
    responses(
        (status = 200, description = "The same with the relay's receipts", body = Vec<schemas::Authority>),
        (status = 400, description = "The slot is no number", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn get_with_receipts(
    State(relay): State<Arc<Relay>>,
    slot: Params<String>,
) -> Result<Json<Vec<Authority>>, ApiError> {
    let slot = number("slot", &params(slot)?)?;
    let authority = |taken: &Arc<DelegationTaken>| {
        Ok(Authority { receipt: relay.delegation_receipt(taken)?, delegation: taken.delegation.clone() })
    };
    supported(&relay, slot).iter().map(authority).collect::<Result<_, ApiError>>().map(Json)
}

/// The slot's delegations that the lookahead supports, as far as it is known.
fn supported(relay: &Relay, slot: u64) -> Vec<Arc<DelegationTaken>> {
    let duties = relay.duties.read();
    let mut held = relay.ledger.views().delegations(slot);
    held.retain(|taken| duties.proposes(slot, &taken.delegation.message.proposer) != Some(false));
    held
}

//! `GET /relay/v1/data/validator_registration`: the newest registration of a validator.

use super::{Arguments, RawQuery};
use crate::relay::Relay;
use axum::{Json, extract::State};
use earnest_builder_types::{BlsPublicKey, SignedValidatorRegistration};
use earnest_http::ApiError;
use std::sync::Arc;

pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    query: RawQuery,
) -> Result<Json<SignedValidatorRegistration>, ApiError> {
    let key: BlsPublicKey = Arguments::read(query)?
        .key("pubkey")?
        .ok_or_else(|| ApiError::bad_request("missing pubkey argument"))?;
    let registration = relay.ledger.views().registrations().get(&key);
    // relay-specs has no 404 here.
    registration
        .map(Json)
        .ok_or_else(|| ApiError::bad_request(format!("no registration found for validator {key}")))
}

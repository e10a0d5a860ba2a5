//! `GET /constraints/v0/relay/constraints/{slot}` and `GET /ordering/v1/constraints/{slot}`
//!
//! Constraints that name receivers are shown to those alone, to the slot's proposer and to the delegate, by the
//! `X-Receiver` headers of constraints-specs. The first leaves out what was dropped; the second gives every message with
//! the relay's receipt, and why a dropped one binds nobody.

use crate::{
    api::{Params, blocking, constraints::receipt, number, openapi::schemas, params},
    relay::Relay,
    views::HeldConstraints,
};
use axum::{Json, extract::State};
use earnest_builder_types::BlsPublicKey;
use earnest_http::ApiError;
use earnest_protocol::{
    Slot,
    messages::ReceiptedConstraints,
    objects::SignedConstraints,
    receiver::{Receiver, ReceiverError, may_read},
};
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

#[utoipa::path(
    get,
    path = "/constraints/v0/relay/constraints/{slot}",
    tag = "constraints",
    params(
        ("slot" = String, Path, description = "The slot, decimal"),
        ("x-receiver-publickey" = Option<String>, Header, description = "The reader's BLS key"),
        ("x-receiver-signature" = Option<String>, Header, description = "Its signature over the slot"),
        ("x-receiver-nonce" = Option<String>, Header, description = "Nonce of the signing form; 0 if absent"),
        ("x-receiver-signingid" = Option<String>, Header, description = "Module signing id; that of earnest.v1 if absent"),
    ),
    responses(
        (status = 200, description = "Constraints that bind the slot and that the reader may see, in the order they came", body = Vec<schemas::SignedConstraints>),
        (status = 400, description = "Slot or headers are malformed", body = schemas::Problem),
        (status = 401, description = "`bad_receiver_signature`", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(
    State(relay): State<Arc<Relay>>,
    slot: Params<String>,
    headers: HeaderMap,
) -> Result<Json<Vec<SignedConstraints>>, ApiError> {
    let slot = Slot(number("slot", &params(slot)?)?);
    let readable = readable(&relay, slot, &headers).await?;
    let views = relay.ledger.views();
    let bind = readable.iter().filter(|held| views.dropped(held).is_none());
    Ok(Json(bind.map(|held| held.taken.constraints.clone()).collect()))
}

#[utoipa::path(
    get,
    path = "/ordering/v1/constraints/{slot}",
    tag = "constraints",
    params(
        ("slot" = String, Path, description = "The slot, decimal"),
        ("x-receiver-publickey" = Option<String>, Header, description = "The reader's BLS key"),
        ("x-receiver-signature" = Option<String>, Header, description = "Its signature over the slot"),
        ("x-receiver-nonce" = Option<String>, Header, description = "Nonce of the signing form; 0 if absent"),
        ("x-receiver-signingid" = Option<String>, Header, description = "Module signing id; that of earnest.v1 if absent"),
    ),
    responses(
        (status = 200, description = "Constraints of the slot that the reader may see, each with the relay's receipt", body = Vec<schemas::ReceiptedConstraints>),
        (status = 400, description = "Slot or headers are malformed", body = schemas::Problem),
        (status = 401, description = "`bad_receiver_signature`", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn get_with_receipts(
    State(relay): State<Arc<Relay>>,
    slot: Params<String>,
    headers: HeaderMap,
) -> Result<Json<Vec<ReceiptedConstraints>>, ApiError> {
    let slot = Slot(number("slot", &params(slot)?)?);
    let readable = readable(&relay, slot, &headers).await?;
    let receipted = move || {
        let receipted = readable.iter().map(|held| {
            Ok(ReceiptedConstraints {
                constraints: held.taken.constraints.clone(),
                receipt: receipt(&relay, held)?,
                dropped: relay.ledger.views().dropped(held),
            })
        });
        receipted.collect::<Result<_, ApiError>>()
    };
    blocking(receipted).await?.map(Json)
}

async fn readable(
    relay: &Relay,
    slot: Slot,
    headers: &HeaderMap,
) -> Result<Vec<Arc<HeldConstraints>>, ApiError> {
    let reader = reader(relay, slot, headers).await?;
    let mut held = relay.ledger.views().constraints(slot.0);
    let duties = relay.duties.read();
    held.retain(|held| {
        let message = &held.taken.constraints.message;
        // After a reorg they may be for a validator that no longer proposes the slot.
        duties.proposes(slot.0, &message.proposer) != Some(false) && may_read(message, reader.as_ref())
    });
    Ok(held)
}

/// The reader's key, if one is shown.
///
/// # Errors
/// 400 for headers that cannot be read, 401 `bad_receiver_signature` for a signature that does not verify.
pub(super) async fn reader(
    relay: &Relay,
    slot: Slot,
    headers: &HeaderMap,
) -> Result<Option<BlsPublicKey>, ApiError> {
    let header = |name| headers.get(name).map(|value| value.to_str().unwrap_or("\u{fffd}"));
    let Some(receiver) = Receiver::from_headers(header).map_err(|error| refused(&error))? else {
        return Ok(None);
    };
    let network = relay.config.network;
    blocking(move || receiver.verify(slot, &network)).await?.map_err(|error| refused(&error))?;
    Ok(Some(receiver.public_key))
}

fn refused(error: &ReceiverError) -> ApiError {
    match error {
        ReceiverError::BadSignature => {
            ApiError::named(StatusCode::UNAUTHORIZED, "bad_receiver_signature", error.to_string())
        }
        ReceiverError::Incomplete | ReceiverError::Malformed(_) => ApiError::bad_request(error.to_string()),
    }
}

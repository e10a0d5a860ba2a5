//! `POST /constraints/v0/builder/constraints` and `GET /constraints/v0/builder/capabilities`

use crate::{
    api::{blocking, read},
    events::{ConstraintsTaken, Event},
    relay::Relay,
    rules::{ConstraintContext, Refusal, check_constraints},
};
use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use earnest_http::{ApiError, Media, accept, content_type};
use earnest_protocol::{
    messages::{ConstraintCapabilities, ConstraintsBody},
    objects::{
        ConstraintReceipt, ConstraintStatus, ConstraintsMessage, SignedConstraintReceipt, SignedConstraints,
    },
};
use std::sync::Arc;

/// Types of constraints that this relay enforces: inclusion of one transaction.
const TYPES: [u64; 1] = [1];

/// A message, or a list of them; a list is answered by a list. Each is held or refused by itself: those before one that
/// is refused stay held, and posting them again gives their receipts again.
pub(crate) async fn post(State(relay): State<Arc<Relay>>, request: Request) -> Result<Response, ApiError> {
    accept(request.headers(), &[Media::Json])?;
    content_type(request.headers(), &[Media::Json])?;
    let (_, body) = read(request, relay.body(relay.config.bounds.body_bytes)).await?;
    let body: ConstraintsBody = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("not signed constraints: {error}")))?;
    match body {
        ConstraintsBody::One(signed) => Ok(Json(hold(&relay, *signed).await?).into_response()),
        ConstraintsBody::Many(many) => {
            let mut receipts = Vec::with_capacity(many.len());
            for signed in many {
                receipts.push(hold(&relay, signed).await?);
            }
            Ok(Json(receipts).into_response())
        }
    }
}

pub(crate) async fn capabilities() -> Json<ConstraintCapabilities> {
    Json(ConstraintCapabilities { constraint_types: TYPES.to_vec() })
}

async fn hold(relay: &Arc<Relay>, signed: SignedConstraints) -> Result<SignedConstraintReceipt, ApiError> {
    let slot = signed.message.slot;
    if let Some(held) = find(relay, &signed.message) {
        return receipt(relay, &held);
    }
    let deciding = relay.ledger.deciding().await;
    if let Some(held) = find(relay, &signed.message) {
        return receipt(relay, &held);
    }
    let checker = Arc::clone(relay);
    let signed = blocking(move || check(&checker, &signed).map(|()| signed)).await??;
    let taken = ConstraintsTaken { received_at_ms: relay.now_ms(), constraints: signed };
    if taken.received_at_ms >= relay.cutoff_ms(slot.0) {
        return Err(Refusal::Late(slot).into());
    }
    relay.ledger.write(Event::Constraints(taken.clone()), vec![]).await?;
    drop(deciding);
    // From here on no block without them is offered; only then the receipt says so.
    let judge = Arc::clone(relay);
    let judged = blocking(move || judge.book.require(slot.0, || judge.required(slot.0))).await?;
    if let Err(error) = judged {
        tracing::error!(%slot, %error, "a bid cannot be offered");
    }
    tracing::info!(%slot, count = taken.constraints.message.constraints.len(), "hold constraints");
    metrics::counter!("earnest_relay_constraints_total").increment(1);
    receipt(relay, &taken)
}

fn find(relay: &Relay, message: &ConstraintsMessage) -> Option<Arc<ConstraintsTaken>> {
    let held = relay.ledger.views().constraints(message.slot.0);
    held.into_iter().find(|taken| taken.constraints.message == *message)
}

fn check(relay: &Relay, signed: &SignedConstraints) -> Result<(), Refusal> {
    let slot = signed.message.slot.0;
    let proposer = relay.duties.read().proposer(slot);
    let views = relay.ledger.views();
    let delegation = proposer.and_then(|proposer| views.delegation(slot, &proposer.pubkey));
    let held = views.constraints(slot).iter().map(|taken| taken.constraints.message.constraints.len()).sum();
    drop(views);
    let context = ConstraintContext {
        network: &relay.config.network,
        delegation: delegation.as_ref().map(|taken| &taken.delegation.message),
        inbox: relay.config.inbox,
        cutoff_ms: relay.cutoff_ms(slot),
        now_ms: relay.now_ms(),
        held,
        max: relay.config.bounds.constraints_per_slot,
    };
    check_constraints(signed, &context).map(drop)
}

fn receipt(relay: &Relay, taken: &ConstraintsTaken) -> Result<SignedConstraintReceipt, ApiError> {
    let message = &taken.constraints.message;
    let receipt = ConstraintReceipt {
        slot: message.slot,
        constraints_hash: message.hash().map_err(|_| ApiError::internal())?,
        received_at_ms: taken.received_at_ms,
        status: ConstraintStatus::Held,
    };
    SignedConstraintReceipt::sign(receipt, &relay.ecdsa, &relay.config.network)
        .map_err(|_| ApiError::internal())
}

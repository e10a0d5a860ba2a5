//! `POST /constraints/v0/builder/constraints` and `GET /constraints/v0/builder/capabilities`

use crate::{
    api::{blocking, openapi::schemas, read},
    events::{ConstraintsTaken, Event},
    held::Required,
    relay::Relay,
    rules::{ConstraintContext, Refusal, check_again, check_constraints},
    views::HeldConstraints,
};
use alloy_primitives::Bytes;
use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use earnest_http::{ApiError, Media, accept, content_type};
use earnest_protocol::{
    messages::{ConstraintCapabilities, ConstraintsBody, OrderingEvent},
    objects::{
        ConstraintReceipt, ConstraintStatus, ConstraintsMessage, SignedConstraintReceipt, SignedConstraints,
    },
};
use std::{collections::HashMap, sync::Arc};

/// Messages in one list.
const MAX_MESSAGES: usize = 64;
/// Types of constraints that this relay enforces: inclusion of one transaction.
const TYPES: [u64; 1] = [1];

#[utoipa::path(
    post,
    path = "/constraints/v0/builder/constraints",
    tag = "constraints",
    request_body = schemas::ConstraintsBody,
    responses(
        (status = 200, description = "The receipt of each message", body = schemas::ConstraintReceipts),
        (
            status = 400,
            description = "`constraint_late`, `no_delegation`, `not_delegate`, `bad_signature`, `no_constraints`, \
                           `too_many_constraints`, `unknown_constraint_type`, `bad_constraint`, `constraint_not_allowed`, \
                           `constraint_conflict`, `too_many_receivers`, `gas_share_exceeded`; 400 for what are no signed constraints",
            body = schemas::Problem,
        ),
        (status = 406, description = "JSON is not accepted", body = schemas::Problem),
        (status = 408, description = "The body came too slowly", body = schemas::Problem),
        (status = 413, description = "The body is too large", body = schemas::Problem),
        (status = 415, description = "Not JSON", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
        (status = 503, description = "`busy`, `not_ready`; 503 if the relay cannot write its journal", body = schemas::Problem),
    ),
)]
/// A message, or a list of them; a list is answered by a list. Each is held or refused by itself: those before one that
/// is refused stay held, and posting them again gives their receipts again.
pub(crate) async fn post(State(relay): State<Arc<Relay>>, request: Request) -> Result<Response, ApiError> {
    accept(request.headers(), &[Media::Json])?;
    content_type(request.headers(), &[Media::Json])?;
    let (_, body) = read(request, relay.body(relay.config.bounds.body_bytes)).await?;
    let body =
        decode(&body).map_err(|error| ApiError::bad_request(format!("not signed constraints: {error}")))?;
    match body {
        ConstraintsBody::One(signed) => Ok(Json(hold(&relay, *signed).await?).into_response()),
        ConstraintsBody::Many(many) if many.len() > MAX_MESSAGES => Err(ApiError::bad_request(format!(
            "more than {MAX_MESSAGES} messages at once: send several lists"
        ))),
        ConstraintsBody::Many(many) => {
            let mut receipts = Vec::with_capacity(many.len());
            for signed in many {
                receipts.push(hold(&relay, signed).await?);
            }
            Ok(Json(receipts).into_response())
        }
    }
}

#[utoipa::path(
    get,
    path = "/constraints/v0/builder/capabilities",
    tag = "constraints",
    responses(
        (status = 200, description = "The types of constraints that this relay enforces", body = schemas::Capabilities),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn capabilities() -> Json<ConstraintCapabilities> {
    Json(ConstraintCapabilities { constraint_types: TYPES.to_vec() })
}

/// Reads a list or one message, told apart by how the body begins: so an error says what is wrong in which.
fn decode(body: &[u8]) -> Result<ConstraintsBody, serde_json::Error> {
    if body.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(body).map(ConstraintsBody::Many)
    } else {
        serde_json::from_slice(body).map(ConstraintsBody::One)
    }
}

/// What costs is checked first; from then on everything is done to the end, also if the one who asked goes away.
async fn hold(relay: &Arc<Relay>, signed: SignedConstraints) -> Result<SignedConstraintReceipt, ApiError> {
    if let Some(held) = find(relay, &signed.message) {
        return required(relay, held).await;
    }
    let checker = Arc::clone(relay);
    let (signed, needed) = blocking(move || {
        judge(&checker, &signed, |context| check_constraints(&signed, context)).map(|needed| (signed, needed))
    })
    .await??;
    let holder = Arc::clone(relay);
    let held = relay.tasks.detach(async move { hold_checked(&holder, signed, &needed).await });
    held.await.map_err(|_| ApiError::internal())?
}

async fn hold_checked(
    relay: &Arc<Relay>,
    signed: SignedConstraints,
    needed: &[Required],
) -> Result<SignedConstraintReceipt, ApiError> {
    let slot = signed.message.slot;
    let deciding = relay.ledger.deciding().await;
    let held = match find(relay, &signed.message) {
        Some(held) => held,
        None => {
            judge(relay, &signed, |context| check_again(&signed, needed, context))?;
            let taken = ConstraintsTaken { received_at_ms: relay.now_ms(), constraints: signed };
            if taken.received_at_ms >= relay.cutoff_ms(slot.0) {
                return Err(Refusal::Late(slot).into());
            }
            let message = taken.constraints.message.clone();
            relay.ledger.write(Event::Constraints(taken), vec![]).await?;
            tracing::info!(%slot, count = message.constraints.len(), "hold constraints");
            metrics::counter!("earnest_relay_constraints_total").increment(1);
            let held = find(relay, &message).ok_or_else(ApiError::internal)?;
            relay.feed.held(&held);
            let count = message.constraints.len() as u64;
            relay.news.tell(&OrderingEvent::Constraints { slot, count });
            held
        }
    };
    drop(deciding);
    required(relay, held).await
}

/// The receipt of constraints that are durable, once they are required of every block.
async fn required(
    relay: &Arc<Relay>,
    held: Arc<HeldConstraints>,
) -> Result<SignedConstraintReceipt, ApiError> {
    let slot = held.taken.constraints.message.slot;
    // From here on no block without them is offered; only then a receipt says so, the first one or another.
    let (requiring, new) = (Arc::clone(relay), Arc::clone(&held));
    let required = move || {
        // Recovers the senders before any lock is taken.
        new.required(requiring.config.network.chain_id);
        requiring.book.require(slot.0, |key| requiring.required(key))
    };
    if let Err(error) = blocking(required).await? {
        tracing::error!(%slot, %error, "a bid cannot be offered");
    }
    receipt(relay, &held)
}

fn find(relay: &Relay, message: &ConstraintsMessage) -> Option<Arc<HeldConstraints>> {
    let held = relay.ledger.views().constraints(message.slot.0);
    held.into_iter().find(|held| held.taken.constraints.message == *message)
}

fn judge<T>(
    relay: &Relay,
    signed: &SignedConstraints,
    check: impl FnOnce(&ConstraintContext<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let slot = signed.message.slot.0;
    let proposer = relay.duties.read().proposer(slot);
    if proposer.is_none() && !relay.knows_proposers() {
        return Err(Refusal::NotReady);
    }
    let views = relay.ledger.views();
    let delegation = proposer.and_then(|proposer| views.delegation(slot, &proposer.pubkey));
    let mut messages = views.constraints(slot);
    // What binds nobody takes nothing from anyone.
    messages.retain(|held| {
        let message = &held.taken.constraints.message;
        views.dropped(held).is_none() && message.proposer == signed.message.proposer
    });
    drop(views);
    let chain_id = relay.config.network.chain_id;
    let all = messages.iter().flat_map(|held| held.required(chain_id));
    let calls: HashMap<_, _> = all.map(|required| (required.place(), required.call)).collect();
    let own =
        messages.iter().filter(|held| held.taken.constraints.message.delegate == signed.message.delegate);
    let held = own.flat_map(|held| held.required(chain_id));
    let held: HashMap<&Bytes, u64> = held.map(|required| (&required.raw, required.gas_limit)).collect();
    let context = ConstraintContext {
        network: &relay.config.network,
        delegation: delegation.as_ref().map(|taken| &taken.delegation.message),
        inbox: relay.config.inbox,
        cutoff_ms: relay.cutoff_ms(slot),
        now_ms: relay.now_ms(),
        max: relay.config.bounds.constraints_per_slot,
        gas_limit: relay.registered_gas_limit(&signed.message.proposer),
        held: &held,
        calls: &calls,
    };
    check(&context)
}

/// The relay's word on constraints that are durable by now.
pub(super) fn receipt(relay: &Relay, held: &HeldConstraints) -> Result<SignedConstraintReceipt, ApiError> {
    let message = &held.taken.constraints.message;
    let dropped = relay.ledger.views().dropped(held);
    let [as_held, as_dropped] = &held.receipts;
    let (status, name, signed) = match dropped {
        Some(_) => (ConstraintStatus::Dropped, "dropped", as_dropped),
        None => (ConstraintStatus::Held, "held", as_held),
    };
    // Anyone may ask, as often as they like: what was signed once is not signed again.
    if let Some(receipt) = signed.get() {
        return Ok(receipt.clone());
    }
    let receipt = ConstraintReceipt {
        slot: message.slot,
        constraints_hash: held.hash,
        received_at_ms: held.taken.received_at_ms,
        status,
    };
    metrics::counter!("earnest_relay_constraint_receipts_total", "status" => name).increment(1);
    let receipt = SignedConstraintReceipt::sign(receipt, &relay.ecdsa, &relay.config.network)
        .map_err(|_| ApiError::internal())?;
    Ok(signed.get_or_init(|| receipt).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bls, damaged, tx};
    use earnest_protocol::{Slot, objects::Constraint, signing::Network};

    #[test]
    fn any_bytes_are_constraints_or_an_error() {
        let message = ConstraintsMessage {
            proposer: bls(1).public_key(),
            delegate: bls(2).public_key(),
            slot: Slot(7),
            constraints: vec![Constraint::inclusion(Slot(7), tx(1, 0, 1))],
            receivers: vec![bls(3).public_key()],
        };
        let network = Network { genesis_fork_version: [1; 4], chain_id: 1337 };
        let signed = SignedConstraints::sign(message, &bls(2), &network).unwrap();
        let good = serde_json::to_vec(&[&signed, &signed]).unwrap();
        assert_eq!(decode(&good).unwrap(), ConstraintsBody::Many(vec![signed.clone(); 2]));
        let one = serde_json::to_vec(&signed).unwrap();
        assert_eq!(decode(&one).unwrap(), ConstraintsBody::One(Box::new(signed)));
        bolero::check!().with_iterations(1000).with_type::<(Vec<u8>, Vec<(u16, u8)>, u16)>().for_each(
            |(bytes, changes, length)| {
                for body in [bytes.clone(), damaged(&good, changes, *length)] {
                    let Ok(body) = decode(&body) else { continue };
                    for signed in Vec::from(body) {
                        let constraints = signed.message.constraints.iter();
                        let _ = (signed.message.hash(), constraints.map(Constraint::as_inclusion).count());
                    }
                }
            },
        );
    }
}

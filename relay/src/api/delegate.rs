//! `POST /constraints/v0/builder/delegate`

use crate::{
    api::{blocking, openapi::schemas, read},
    events::{DelegationTaken, Event},
    ledger::WriteError,
    market::result_of,
    relay::Relay,
    rules::{Allowed, DelegationContext, Refusal, check_delegation},
};
use axum::{
    Json,
    extract::{Request, State},
};
use earnest_http::{ApiError, Media, accept, content_type};
use earnest_journal::Claim;
use earnest_protocol::{
    messages::OrderingEvent,
    objects::{Authority, Delegation, SignedDelegation, SignedDelegationReceipt},
};
use std::sync::Arc;

#[utoipa::path(
    post,
    path = "/constraints/v0/builder/delegate",
    tag = "constraints",
    request_body = schemas::SignedDelegation,
    responses(
        (status = 200, description = "The receipt; the same one for the same delegation", body = schemas::SignedDelegationReceipt),
        (
            status = 400,
            description = "`unknown_slot`, `slot_begun`, `not_proposer`, `not_opted_in`, `bad_metadata`, \
                           `allocation_not_result`, `bad_signature`; 400 for what is no signed delegation",
            body = schemas::Problem,
        ),
        (status = 406, description = "JSON is not accepted", body = schemas::Problem),
        (status = 408, description = "The body came too slowly", body = schemas::Problem),
        (status = 409, description = "`already_delegated`: another one was taken for the slot", body = schemas::Problem),
        (status = 413, description = "The body is too large", body = schemas::Problem),
        (status = 415, description = "Not JSON", body = schemas::Problem),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
        (status = 503, description = "`busy`; 503 if the relay cannot write its journal", body = schemas::Problem),
    ),
)]
pub(crate) async fn post(
    State(relay): State<Arc<Relay>>,
    request: Request,
) -> Result<Json<SignedDelegationReceipt>, ApiError> {
    accept(request.headers(), &[Media::Json])?;
    content_type(request.headers(), &[Media::Json])?;
    let (_, body) = read(request, relay.body(relay.config.bounds.body_bytes)).await?;
    let delegation: SignedDelegation = serde_json::from_slice(&body)
        .map_err(|error| ApiError::bad_request(format!("not a signed delegation: {error}")))?;
    let taken = take(&relay, delegation).await?;
    relay.delegation_receipt(&taken).map(Json)
}

async fn take(relay: &Arc<Relay>, delegation: SignedDelegation) -> Result<Arc<DelegationTaken>, ApiError> {
    let (slot, proposer) = (delegation.message.slot, delegation.message.proposer);
    let held = relay.ledger.views().delegation(slot.0, &proposer);
    if let Some(held) = held {
        return same(held, &delegation);
    }
    let checker = Arc::clone(relay);
    let delegation = blocking(move || check(&checker, &delegation).map(|()| delegation)).await??;
    let deciding = relay.ledger.deciding().await;
    let held = relay.ledger.views().delegation(slot.0, &proposer);
    if let Some(held) = held {
        return same(held, &delegation);
    }
    let hash = delegation.message.hash().map_err(|error| Refusal::BadMetadata(error.to_string()))?;
    let taken = DelegationTaken { received_at_ms: relay.now_ms(), delegation };
    let claim = Claim { key: claim_key(&taken.delegation.message), value: hash };
    let written = relay.ledger.write(Event::Delegation(taken.clone()), vec![claim]).await;
    drop(deciding);
    written.map_err(|error| match error {
        WriteError::Claimed => Refusal::AlreadyDelegated(slot).into(),
        error => ApiError::from(error),
    })?;
    tracing::info!(%slot, %proposer, committer = %taken.delegation.message.committer, "took a delegation");
    metrics::counter!("earnest_relay_delegations_total").increment(1);
    let (delegation, receipt) = (taken.delegation.clone(), relay.delegation_receipt(&taken)?);
    relay.news.tell(&OrderingEvent::Delegation(Box::new(Authority { delegation, receipt })));
    Ok(Arc::new(taken))
}

fn check(relay: &Relay, delegation: &SignedDelegation) -> Result<(), Refusal> {
    let slot = delegation.message.slot.0;
    let proposer = relay.duties.read().proposer(slot).map(|proposer| proposer.pubkey);
    if proposer.is_none() && !relay.knows_proposers() {
        return Err(Refusal::NotReady);
    }
    // By the lookahead it may be a sequencing slot: whether it is shows when its reference block is known.
    let opted_in = proposer.map(|key| relay.l1.is_opted_in(delegation.message.slot, &key));
    if opted_in == Some(None) {
        return Err(Refusal::NotReady);
    }
    let context = DelegationContext {
        network: &relay.config.network,
        proposer,
        opted_in: opted_in.flatten().unwrap_or(false),
        allowed: if relay.has_market() {
            Allowed::Result(result_of(relay, delegation.message.slot))
        } else {
            Allowed::Any
        },
        slot_ms: relay.clock.start_of(slot),
        now_ms: relay.now_ms(),
    };
    check_delegation(delegation, &context)
}

/// The same delegation again has the receipt it had; another one has none.
fn same(held: Arc<DelegationTaken>, delegation: &SignedDelegation) -> Result<Arc<DelegationTaken>, ApiError> {
    if held.delegation.message == delegation.message {
        Ok(held)
    } else {
        Err(Refusal::AlreadyDelegated(delegation.message.slot).into())
    }
}

/// One delegation for a slot and its proposer.
fn claim_key(message: &Delegation) -> Vec<u8> {
    [b"delegate/".as_slice(), &message.slot.0.to_be_bytes(), message.proposer.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bls, damaged};
    use alloy_primitives::{Address, Bytes};
    use earnest_protocol::{Slot, signing::Network};

    #[test]
    fn any_bytes_are_a_delegation_or_an_error() {
        let message = Delegation {
            proposer: bls(1).public_key(),
            delegate: bls(2).public_key(),
            committer: Address::repeat_byte(3),
            slot: Slot(7),
            metadata: Bytes::from_static(&[1, 2, 3]),
        };
        let network = Network { genesis_fork_version: [1; 4], chain_id: 1337 };
        let signed = SignedDelegation::sign(message, &bls(1), &network).unwrap();
        let good = serde_json::to_vec(&signed).unwrap();
        bolero::check!().with_iterations(1000).with_type::<(Vec<u8>, Vec<(u16, u8)>, u16)>().for_each(
            |(bytes, changes, length)| {
                for body in [bytes.clone(), damaged(&good, changes, *length)] {
                    let Ok(read) = serde_json::from_slice::<SignedDelegation>(&body) else { continue };
                    let _ = (claim_key(&read.message), read.message.hash(), read.message.allocation());
                    if read != signed {
                        read.verify(&network, &read.message.proposer).unwrap_err();
                    }
                }
            },
        );
    }
}

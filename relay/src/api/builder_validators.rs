//! `GET /relay/v1/builder/validators`

use crate::relay::Relay;
use axum::{Json, extract::State};
use earnest_builder_types::SignedValidatorRegistration;
use serde::Serialize;
use std::sync::Arc;

/// A registered validator and the slot that it proposes.
#[derive(Debug, Serialize)]
pub(crate) struct Duty {
    #[serde(with = "earnest_protocol::integer")]
    slot: u64,
    #[serde(with = "earnest_protocol::integer")]
    validator_index: u64,
    entry: SignedValidatorRegistration,
}

/// The registered proposers of this epoch and the next.
pub(crate) async fn get(State(relay): State<Arc<Relay>>) -> Json<Vec<Duty>> {
    let first = relay.clock.first_slot(relay.clock.epoch_of(relay.current_slot()));
    let end = first.saturating_add(relay.clock.slots_per_epoch().saturating_mul(2));
    let duties = relay.duties.read();
    let views = relay.ledger.views();
    let proposers = duties.lookahead.from_slot(first).take_while(|proposer| proposer.slot < end);
    let registered = proposers.filter_map(|proposer| {
        let entry = views.registrations().get(&proposer.pubkey)?;
        Some(Duty { slot: proposer.slot, validator_index: proposer.validator_index, entry })
    });
    Json(registered.collect())
}

//! `GET /ordering/v1/schedule`: the slots that the lookahead shows from the current one on.

use crate::{api::openapi::schemas, relay::Relay};
use alloy_primitives::Address;
use axum::{Json, extract::State};
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::{Slot, objects::SlotAllocation, window::Window};
use serde::Serialize;
use std::sync::Arc;

/// The relay's view of time and rights.
#[derive(Debug, Serialize)]
pub(crate) struct Schedule {
    /// Address that signs receipts.
    relay: Address,
    /// Key that signs bids.
    pubkey: BlsPublicKey,
    /// The slot that runs now.
    #[serde(with = "earnest_protocol::integer")]
    current_slot: u64,
    /// The slots known.
    slots: Vec<ScheduledSlot>,
}

/// One slot of the lookahead.
#[derive(Debug, Serialize)]
pub(crate) struct ScheduledSlot {
    slot: Slot,
    /// When it starts, Unix milliseconds.
    #[serde(with = "earnest_protocol::integer")]
    start_ms: u64,
    proposer: BlsPublicKey,
    #[serde(with = "earnest_protocol::integer")]
    validator_index: u64,
    /// Whether it is a sequencing slot.
    opted_in: bool,
    /// Times of the window that ends with it; of sequencing slots only.
    window: Option<Window>,
    delegation: Option<DelegationState>,
    /// Constraints held.
    constraints: usize,
}

/// Who acts in a slot.
#[derive(Debug, Serialize)]
pub(crate) struct DelegationState {
    committer: Address,
    delegate: BlsPublicKey,
    #[serde(with = "earnest_protocol::integer")]
    received_at_ms: u64,
    /// The rollups' holders, if the delegation carries an allocation.
    allocation: Option<SlotAllocation>,
}

#[utoipa::path(
    get,
    path = "/ordering/v1/schedule",
    tag = "ordering",
    responses(
        (status = 200, description = "Slots, proposers, windows and delegations, from the current slot on", body = schemas::Schedule),
        (status = 429, description = "`busy`: too many requests of this client", body = schemas::Problem),
    ),
)]
pub(crate) async fn get(State(relay): State<Arc<Relay>>) -> Json<Schedule> {
    let current_slot = relay.current_slot();
    let first = current_slot.saturating_sub(relay.timing.max_window_slots);
    let proposers: Vec<_> = relay.duties.read().lookahead.from_slot(first).copied().collect();
    let views = relay.ledger.views();
    let mut previous = None;
    let mut slots = Vec::with_capacity(proposers.len());
    for proposer in proposers {
        let slot = Slot(proposer.slot);
        let opted_in = relay.l1.is_opted_in(slot, &proposer.pubkey);
        let window = if opted_in { relay.timing.window(slot, previous) } else { None };
        if opted_in {
            previous = Some(slot);
        }
        if proposer.slot < current_slot {
            continue;
        }
        let taken = views.delegation(slot.0, &proposer.pubkey);
        let delegation = taken.map(|taken| DelegationState {
            committer: taken.delegation.message.committer,
            delegate: taken.delegation.message.delegate,
            received_at_ms: taken.received_at_ms,
            allocation: taken.delegation.message.allocation().ok(),
        });
        slots.push(ScheduledSlot {
            slot,
            start_ms: relay.clock.start_of(slot.0),
            proposer: proposer.pubkey,
            validator_index: proposer.validator_index,
            opted_in,
            window,
            delegation,
            constraints: views.constraints(slot.0).len(),
        });
    }
    Json(Schedule { relay: relay.ecdsa.address(), pubkey: relay.book.pubkey(), current_slot, slots })
}

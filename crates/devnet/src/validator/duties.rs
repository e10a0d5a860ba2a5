//! Whose slot it is, and when.

use std::sync::Arc;

use earnest_chain::{BeaconEvent, EventTopic, Proposer};
use futures::StreamExt;
use tokio_util::task::TaskTracker;

use super::{Shared, now_ms, proposal, stopping};

/// Keeps the latest payload attributes.
pub(super) async fn follow_attributes(shared: Arc<Shared>) {
    let mut events = shared.beacon.events(&[EventTopic::PayloadAttributes]);
    while let Some(event) = events.next().await {
        if let BeaconEvent::PayloadAttributes(attributes) = event {
            shared.attributes.send_replace(Some(attributes));
        }
    }
}

/// Looks up the proposer of each slot ¼ slot before it begins, and has it proposed if it is ours.
pub(super) async fn run(shared: Arc<Shared>, tasks: TaskTracker) {
    let clock = shared.clock;
    let mut slot = clock.next_slot(now_ms()).max(1);
    loop {
        shared.sleep_until(clock.before(slot, 1, 4)).await;
        if let Some(proposer) = proposer_of(&shared, slot).await
            && let Some(key) = shared.indices.get(&proposer.validator_index)
        {
            tasks.spawn(stopping(&shared, proposal::run(shared.clone(), proposer, key.clone())));
        }
        slot = clock.next_slot(now_ms()).max(slot.saturating_add(1));
    }
}

async fn proposer_of(shared: &Shared, slot: u64) -> Option<Proposer> {
    match shared.beacon.proposer_duties(shared.clock.epoch_of(slot)).await {
        Ok(duties) => duties.proposers.into_iter().find(|proposer| proposer.slot == slot),
        Err(error) => {
            tracing::error!(slot, %error, "nobody knows whose slot this is");
            None
        }
    }
}

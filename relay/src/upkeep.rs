//! Keeping up with the chain.

use crate::{cutoff_task, relay::Relay};
use earnest_chain::{BeaconEvent, EventTopic, LookaheadChange};
use earnest_http::health::Part;
use futures::StreamExt;
use std::{convert::Infallible, sync::Arc, time::Duration};

/// Slots that stay behind the current one.
const KEPT_SLOTS: u64 = 2;

/// Follows the beacon nodes' events until shutdown.
pub(crate) async fn follow(relay: Arc<Relay>, beacon: Part) -> Result<(), Infallible> {
    let topics = [EventTopic::Head, EventTopic::PayloadAttributes, EventTopic::ChainReorg];
    let mut events = relay.beacon.events(&topics);
    let shutdown = relay.tasks.token();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            event = events.next() => event,
        };
        match event {
            Some(BeaconEvent::PayloadAttributes(event)) => {
                let (slot, parent) = (event.data.proposal_slot, event.data.parent_block_hash);
                let new = relay.duties.read().newest_parent(slot) != Some(parent);
                relay.duties.write().learn(event);
                if new {
                    let judging = Arc::clone(&relay);
                    relay
                        .tasks
                        .detach(async move { cutoff_task::parent_changed(&judging, slot, parent).await });
                }
            }
            Some(BeaconEvent::Head(head)) => {
                if !relay.duties.read().lookahead.stale_epochs(&head).is_empty() {
                    refresh(&relay, &beacon).await;
                }
            }
            Some(BeaconEvent::Connected { node }) => {
                tracing::info!(node, "listening to a beacon node");
                refresh(&relay, &beacon).await;
            }
            Some(BeaconEvent::ChainReorg(_)) => refresh(&relay, &beacon).await,
            Some(BeaconEvent::Disconnected { node, reason }) => {
                tracing::warn!(node, %reason, "lost the events of a beacon node");
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

/// At each slot's start: drops what is past, and asks again for proposers that are still unknown.
pub(crate) async fn tick(relay: Arc<Relay>, beacon: Part) -> Result<(), Infallible> {
    let shutdown = relay.tasks.token();
    loop {
        let now_ms = relay.now_ms();
        let next = relay.clock.start_of(relay.clock.next_slot(now_ms.saturating_add(1)));
        let pause = Duration::from_millis(next.saturating_sub(now_ms));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        let slot = relay.current_slot();
        survey(&relay, &beacon, slot).await;
        let pruned = Arc::clone(&relay);
        // Files are removed, and a block that is written may be waited for.
        let pruning = tokio::task::spawn_blocking(move || pruned.book.prune(slot.saturating_sub(KEPT_SLOTS)));
        if pruning.await.is_err() {
            tracing::error!(slot, "what is past was not dropped");
        }
        relay.duties.write().prune(slot.saturating_sub(KEPT_SLOTS));
        // Events may have been lost.
        let needed = relay.duties.read().lookahead.needs_recheck(relay.clock.epoch_of(slot));
        if needed {
            refresh(&relay, &beacon).await;
        }
    }
}

/// Looks at every beacon node: what is wrong with one is logged, and the relay is ready while one is well.
pub(crate) async fn survey(relay: &Relay, beacon: &Part, slot: u64) {
    let survey = relay.beacon.survey(slot).await;
    for node in &survey.nodes {
        let usable = if node.standing.is_usable() { 1.0 } else { 0.0 };
        metrics::gauge!("earnest_relay_beacon_node_usable", "node" => node.node.clone()).set(usable);
    }
    let without = u32::try_from(survey.slots_without_block()).unwrap_or(u32::MAX);
    metrics::gauge!("earnest_relay_slots_without_block").set(f64::from(without));
    if !survey.usable() {
        beacon.not_ready("no beacon node is in order");
    } else if knows_proposers(relay, relay.clock.epoch_of(slot)) {
        beacon.ready();
    }
}

/// Whether the proposers of an epoch are known. Of its last slot: some nodes tell none for slot 0, which has no block.
fn knows_proposers(relay: &Relay, epoch: u64) -> bool {
    let last = relay.clock.first_slot(epoch.saturating_add(1)).saturating_sub(1);
    relay.duties.read().proposer(last).is_some()
}

/// Asks for the proposers of this epoch and the next.
pub(crate) async fn refresh(relay: &Relay, beacon: &Part) {
    let epoch = relay.clock.epoch_of(relay.current_slot());
    let epochs = match relay.beacon.proposer_lookahead(epoch, relay.clock.slots_per_epoch()).await {
        Ok(epochs) => epochs,
        Err(error) => {
            tracing::warn!(epoch, %error, "no beacon node told the proposers");
            beacon.not_ready(error.to_string());
            return;
        }
    };
    for duties in epochs {
        let applied = relay.duties.write().lookahead.apply(duties);
        match applied {
            Ok(Some(change)) if change.takes_back() => report(relay, &change),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "duties that make no sense"),
        }
    }
    relay.duties.write().lookahead.checked(epoch);
    if knows_proposers(relay, epoch) {
        beacon.ready();
    }
}

/// Says which delegations no longer have the slot's proposer behind them. They are not shown any more.
fn report(relay: &Relay, change: &LookaheadChange) {
    for proposer in &change.dropped {
        let delegated = relay.ledger.views().delegation(proposer.slot, &proposer.pubkey).is_some();
        tracing::warn!(
            slot = proposer.slot,
            proposer = %proposer.pubkey,
            delegated,
            root = %change.new_root,
            "the proposer of a slot changed"
        );
    }
}

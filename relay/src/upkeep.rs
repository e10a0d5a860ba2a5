//! Keeping up with the chain.

use crate::{cutoff_task, relay::Relay, undone};
use earnest_chain::{BeaconEvent, EventTopic, LookaheadChange};
use earnest_http::health::Part;
use futures::StreamExt;
use std::{convert::Infallible, sync::Arc, time::Duration};

/// Slots that stay behind the current one.
const KEPT_SLOTS: u64 = 2;

/// Rounds in which no beacon node was in order, one after the other, until the relay is not ready.
const BAD_ROUNDS: u32 = 2;

/// Follows the beacon nodes' events until shutdown.
pub(crate) async fn follow(relay: Arc<Relay>) -> Result<(), Infallible> {
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
                    relay.tasks.detach(undone::look_at(Arc::clone(&relay), parent));
                    let judging = Arc::clone(&relay);
                    relay
                        .tasks
                        .detach(async move { cutoff_task::parent_changed(&judging, slot, parent).await });
                }
            }
            Some(BeaconEvent::Head(head)) => {
                if !relay.duties.read().lookahead.stale_epochs(&head).is_empty() {
                    relay.ask_proposers.notify_one();
                }
            }
            Some(BeaconEvent::Connected { node }) => {
                tracing::info!(node, "listening to a beacon node");
                relay.ask_proposers.notify_one();
            }
            Some(BeaconEvent::ChainReorg(_)) => relay.ask_proposers.notify_one(),
            Some(BeaconEvent::Disconnected { node, reason }) => {
                tracing::warn!(node, %reason, "lost the events of a beacon node");
            }
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

/// Asks for proposers whenever that is needed, apart from the events that must not wait for it, until shutdown.
pub(crate) async fn proposers(relay: Arc<Relay>, beacon: Part) -> Result<(), Infallible> {
    let shutdown = relay.tasks.token();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = relay.ask_proposers.notified() => refresh(&relay, &beacon).await,
        }
    }
}

/// At each slot's start: drops what is past, and asks again for proposers that are still unknown.
pub(crate) async fn tick(relay: Arc<Relay>, beacon: Part) -> Result<(), Infallible> {
    let shutdown = relay.tasks.token();
    let mut bad_rounds = 0_u32;
    loop {
        let now_ms = relay.now_ms();
        let next = relay.clock.start_of(relay.clock.next_slot(now_ms.saturating_add(1)));
        let pause = Duration::from_millis(next.saturating_sub(now_ms));
        tokio::select! {
            () = shutdown.cancelled() => {
                relay.health.drain();
                return Ok(());
            }
            () = tokio::time::sleep(pause) => {}
        }
        let slot = relay.current_slot();
        // Events may have been lost.
        if relay.duties.read().lookahead.needs_recheck(relay.clock.epoch_of(slot)) {
            relay.ask_proposers.notify_one();
        }
        relay.duties.write().prune(slot.saturating_sub(KEPT_SLOTS));
        let pruner = Arc::clone(&relay);
        let pruned = tokio::task::spawn_blocking(move || pruner.book.prune(slot.saturating_sub(KEPT_SLOTS)));
        if let Err(error) = pruned.await {
            tracing::error!(%error, "what is past was not dropped");
        }
        bad_rounds = if survey(&relay, slot).await { 0 } else { bad_rounds.saturating_add(1) };
        // A slot's start is when beacon nodes are busiest: one round says little.
        if bad_rounds >= BAD_ROUNDS {
            beacon.not_ready("no beacon node is in order");
        } else if relay.knows_proposers() {
            beacon.ready();
        }
    }
}

/// Looks at every beacon node; what is wrong with one is logged. Whether one at least is in order.
pub(crate) async fn survey(relay: &Relay, slot: u64) -> bool {
    let survey = relay.beacon.survey(slot).await;
    for node in &survey.nodes {
        let usable = if node.standing.is_usable() { 1.0 } else { 0.0 };
        metrics::gauge!("earnest_relay_beacon_node_usable", "node" => node.node.clone()).set(usable);
    }
    let without = u32::try_from(survey.slots_without_block()).unwrap_or(u32::MAX);
    metrics::gauge!("earnest_relay_slots_without_block").set(f64::from(without));
    survey.usable()
}

/// Asks for the proposers of this epoch and the next.
pub(crate) async fn refresh(relay: &Relay, beacon: &Part) {
    let epoch = relay.clock.epoch_of(relay.current_slot());
    let epochs = match relay.beacon.proposer_lookahead(epoch, relay.clock.slots_per_epoch()).await {
        Ok(epochs) => epochs,
        Err(error) => {
            tracing::warn!(epoch, %error, "no beacon node told the proposers");
            if !relay.knows_proposers() {
                beacon.not_ready(error.to_string());
            }
            return;
        }
    };
    for duties in epochs {
        let applied = relay.duties.write().lookahead.apply(duties);
        match applied {
            Ok(Some(change)) => {
                if change.takes_back() {
                    report(relay, &change);
                }
                relay.lookahead_changed.notify_one();
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "duties that make no sense"),
        }
    }
    relay.duties.write().lookahead.checked(epoch);
    if relay.knows_proposers() {
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

//! A block on its way to the beacon nodes, until one took it or its time is over.

use super::verdict::{Tally, Verdict};
use crate::{
    events::{Event, Published},
    relay::Relay,
};
use alloy_primitives::B256;
use earnest_builder_types::SignedBlockContents;
use earnest_chain::{BroadcastValidation, NodeWord};
use futures::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The part of a slot after which a node that took no block is asked again.
const PAUSE: (u64, u64) = (1, 48);

/// A block to publish.
#[derive(Debug)]
pub(super) struct Unpublished {
    pub(super) slot: u64,
    pub(super) root: B256,
    pub(super) contents: SignedBlockContents,
}

/// Publishes in the background; gives what becomes of it.
pub(super) fn start(relay: &Arc<Relay>, block: Unpublished) -> watch::Receiver<Verdict> {
    let (told, verdict) = watch::channel(Verdict::Pending);
    let publisher = Arc::clone(relay);
    relay.tasks.detach(async move { publish(&publisher, &block, &told).await });
    verdict
}

/// Publishes to every node by itself. One that is busy or out of reach is asked again until the time for the slot's
/// payload is over; those at work then are still heard.
async fn publish(relay: &Relay, block: &Unpublished, told: &watch::Sender<Verdict>) {
    let (slot, block_root) = (block.slot, block.root);
    let validation = BroadcastValidation::ConsensusAndEquivocation;
    let mut publication = relay.beacon.publication(&block.contents, validation);
    let mut tally = Tally::new(publication.ranking());
    let mut log = Log { started: Instant::now(), measured: false, failed: BTreeSet::new() };
    let mut pausing = FuturesUnordered::new();
    let (part, of) = PAUSE;
    let pause = Duration::from_millis(relay.clock.fraction_ms(part, of));
    loop {
        tokio::select! {
            Some(word) = publication.next() => {
                log.word(slot, &word);
                let before = tally.verdict();
                tally.hear(&word);
                let verdict = tally.verdict();
                if verdict != before {
                    log.verdict(slot, block_root, verdict);
                    if let Verdict::Broadcast { imported } = verdict {
                        remember(relay, Published { slot, block_root, imported }).await;
                    }
                    told.send_replace(verdict);
                }
                if tally.wants(word.place) {
                    pausing.push(async move {
                        tokio::time::sleep(pause).await;
                        word.place
                    });
                }
            }
            Some(place) = pausing.next() => {
                if tally.wants(place) && relay.now_ms() <= relay.payload_until_ms(slot) {
                    publication.ask(place);
                }
            }
            else => break,
        }
    }
    log.end(slot, block_root, tally.verdict());
}

/// The block is out; whether this is remembered decides only if it is sent again when asked again.
pub(super) async fn remember(relay: &Relay, published: Published) {
    let slot = published.slot;
    if let Err(error) = relay.ledger.write_owed(Event::Published(published), vec![]).await {
        tracing::error!(slot, %error, "the published block is not in the journal");
    }
}

/// Says what comes of a block, each thing once.
struct Log {
    started: Instant,
    measured: bool,
    failed: BTreeSet<usize>,
}

impl Log {
    fn word(&mut self, slot: u64, word: &NodeWord) {
        let (node, standing) = (&word.node, word.standing);
        match &word.outcome {
            Ok(published) => tracing::debug!(slot, node, ?published, "a beacon node took the block"),
            Err(error) if self.failed.insert(word.place) => {
                tracing::warn!(slot, node, %standing, %error, "a beacon node did not take the block");
            }
            Err(error) => {
                tracing::debug!(slot, node, %standing, %error, "a beacon node did not take the block again");
            }
        }
    }

    fn verdict(&mut self, slot: u64, block_root: B256, verdict: Verdict) {
        match verdict {
            Verdict::Broadcast { imported } => {
                tracing::info!(slot, %block_root, imported, "published");
                self.measure(verdict);
            }
            Verdict::Refused => {
                tracing::error!(slot, %block_root, "a beacon node refused the block");
                self.measure(verdict);
            }
            _ => {}
        }
    }

    fn end(&mut self, slot: u64, block_root: B256, verdict: Verdict) {
        if !matches!(verdict, Verdict::Broadcast { .. }) {
            tracing::error!(slot, %block_root, ?verdict, "no beacon node took the block");
        }
        self.measure(verdict);
    }

    fn measure(&mut self, verdict: Verdict) {
        if !self.measured {
            self.measured = true;
            metrics::histogram!("earnest_relay_publish_seconds", "outcome" => verdict.name())
                .record(self.started.elapsed().as_secs_f64());
        }
    }
}

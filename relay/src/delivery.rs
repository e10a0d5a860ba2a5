//! From a signed blinded block to a published one (design §5): checks, then the durable record that this is the
//! slot's one block, then the payload.

use crate::{
    bids::{Candidate, Known},
    events::{Event, Published, Unblinded},
    ledger::WriteError,
    relay::Relay,
};
use alloy_primitives::{B256, U256};
use earnest_builder_types::{
    BlsPublicKey, PayloadAndBlobs, SignedBlindedBeaconBlock, SignedBlockContents, TreeHash, unblind,
};
use earnest_chain::{BroadcastValidation, ChainError, PublishReport, SlotClock};
use earnest_http::ApiError;
use earnest_journal::Claim;
use http::StatusCode;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The part of a slot that an answer waits for beacon nodes to take the block; publishing goes on behind it.
const PUBLISH_WAIT: (u64, u64) = (1, 8);

/// What the proposer is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The payload: it can publish by itself.
    Payload,
    /// That the relay published.
    Accepted,
}

/// Delivers to the end, also if the one who asked goes away meanwhile.
pub(crate) async fn deliver(
    relay: Arc<Relay>,
    block: SignedBlindedBeaconBlock,
    answer: Answer,
) -> Result<Arc<PayloadAndBlobs>, ApiError> {
    let slot = block.message().slot();
    let started = Instant::now();
    let tasks = relay.tasks.clone();
    let delivered = tasks.detach(async move { delivery(&relay, block, answer).await });
    let delivered = delivered.await.map_err(|_| ApiError::internal())?;
    let outcome = if delivered.is_ok() { "delivered" } else { "refused" };
    metrics::counter!("earnest_relay_payloads_total", "outcome" => outcome).increment(1);
    metrics::histogram!("earnest_relay_payload_seconds").record(started.elapsed().as_secs_f64());
    if let Err(error) = &delivered {
        tracing::warn!(slot, error = error.message, "refused a blinded block");
    }
    delivered
}

async fn delivery(
    relay: &Arc<Relay>,
    block: SignedBlindedBeaconBlock,
    answer: Answer,
) -> Result<Arc<PayloadAndBlobs>, ApiError> {
    let slot = block.message().slot();
    let candidate = offered(relay, &block).await?;
    let proposer = proposer(relay, &block, &candidate)?;
    metrics::histogram!("earnest_relay_payload_slot_seconds")
        .record(relay.seconds_into(slot, relay.now_ms()));
    let wait = in_time(relay, slot)?;
    let checker = Arc::clone(relay);
    let payload = Arc::clone(&candidate.payload);
    let (block_root, contents) =
        crate::api::blocking(move || check(&checker, block, &payload, &proposer)).await??;
    tokio::time::sleep(wait).await;
    let repeated = relay.ledger.views().is_published(slot, block_root);
    record(relay, &candidate, &proposer, block_root).await?;
    if !repeated {
        metrics::counter!("earnest_relay_delivered_gwei_total").increment(gwei(candidate.trace.value));
    }
    tracing::info!(slot, %block_root, block_hash = %candidate.trace.block_hash, value = %candidate.trace.value, "unblinded");
    if !repeated {
        publish_for(relay, slot, block_root, contents, answer).await?;
    }
    Ok(Arc::clone(&candidate.payload))
}

/// The block that we offered under this header. What is not ours ends here, before anything costs; one that has to be read
/// from the disk is so only for its proposer.
async fn offered(relay: &Arc<Relay>, block: &SignedBlindedBeaconBlock) -> Result<Arc<Candidate>, ApiError> {
    let message = block.message();
    let header = message.body().execution_payload_header();
    let (slot, block_hash) = (message.slot(), header.block_hash());
    let known = relay.book.known(slot, block_hash);
    let known =
        known.ok_or_else(|| ApiError::bad_request("the header is not one that this relay offered"))?;
    let candidate = match known {
        Known::Here(candidate) => candidate,
        Known::Filed { proposer } => {
            let (reader, block) = (Arc::clone(relay), block.clone());
            let read = crate::api::blocking(move || {
                verify(&reader, &block, &proposer)?;
                reader.book.recall(slot, block_hash).map_err(|error| {
                    tracing::error!(slot, %block_hash, %error, "a payload cannot be read back");
                    ApiError::internal()
                })
            });
            read.await??.ok_or_else(|| ApiError::bad_request(format!("slot {slot} is past")))?
        }
    };
    if header.tree_hash_root() == candidate.header.tree_hash_root() {
        Ok(candidate)
    } else {
        Err(ApiError::bad_request("the header is not the one that this relay offered"))
    }
}

/// The key that must have signed: the proposer whom the block was offered to, also if a reorg has since given the slot to
/// another or the proposers are not known after a restart.
fn proposer(
    relay: &Relay,
    block: &SignedBlindedBeaconBlock,
    candidate: &Candidate,
) -> Result<BlsPublicKey, ApiError> {
    let (slot, index) = (block.message().slot(), block.message().proposer_index());
    let key = candidate.trace.proposer_pubkey;
    let duty = relay.duties.read().proposer(slot);
    if duty.is_some_and(|duty| duty.pubkey == key && duty.validator_index != index) {
        return Err(ApiError::bad_request(format!("validator {index} does not propose this slot")));
    }
    Ok(key)
}

/// How long it is until the slot's start; refuses what is late, or more than a slot early.
fn in_time(relay: &Relay, slot: u64) -> Result<Duration, ApiError> {
    let now_ms = relay.now_ms();
    if now_ms > relay.payload_until_ms(slot) {
        return Err(ApiError::bad_request(format!("too late for slot {slot}")));
    }
    let wait = SlotClock::until(now_ms, relay.clock.start_of(slot));
    if wait > relay.clock.slot_duration() {
        return Err(ApiError::bad_request(format!("too early for slot {slot}")));
    }
    Ok(wait)
}

fn verify(relay: &Relay, block: &SignedBlindedBeaconBlock, proposer: &BlsPublicKey) -> Result<(), ApiError> {
    let domain = relay.proposer_domain(block.message().slot()).ok_or_else(ApiError::internal)?;
    block
        .verify(proposer, domain)
        .map_err(|error| ApiError::bad_request(format!("proposer's signature: {error}")))
}

fn check(
    relay: &Relay,
    block: SignedBlindedBeaconBlock,
    payload: &PayloadAndBlobs,
    proposer: &BlsPublicKey,
) -> Result<(B256, SignedBlockContents), ApiError> {
    verify(relay, &block, proposer)?;
    let block_root = block.message().tree_hash_root();
    let contents =
        unblind(block, payload.clone()).map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok((block_root, contents))
}

/// Makes durable that this is the slot's one block. After this, and only after this, the payload may be given out.
async fn record(
    relay: &Relay,
    candidate: &Candidate,
    proposer: &BlsPublicKey,
    block_root: B256,
) -> Result<(), ApiError> {
    let payload = candidate.payload.payload();
    let event = Event::Unblinded(Unblinded {
        trace: candidate.trace.clone(),
        block_root,
        block_number: payload.block_number(),
        transactions: payload.transactions().len() as u64,
    });
    let claim = Claim { key: claim_key(candidate.trace.slot, proposer), value: block_root };
    relay.ledger.write_owed(event, vec![claim]).await.map_err(|error| match error {
        WriteError::Claimed => ApiError::bad_request("another block of this slot was unblinded before"),
        error => error.into(),
    })
}

/// Whole gwei of a value in wei.
fn gwei(value: U256) -> u64 {
    value.checked_div(U256::from(1_000_000_000)).and_then(|gwei| u64::try_from(gwei).ok()).unwrap_or(u64::MAX)
}

/// One block for a slot and its proposer.
fn claim_key(slot: u64, proposer: &BlsPublicKey) -> Vec<u8> {
    [b"unblind/".as_slice(), &slot.to_be_bytes(), proposer.as_slice()].concat()
}

/// What the beacon nodes made of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// One at least spread it.
    Broadcast,
    /// One judged it and said no, as it does for a second block of a slot.
    Refused,
    /// None could be asked.
    Unreachable,
    /// One answered, but not on the block: it is busy, or behind.
    Unsure,
}

impl Verdict {
    fn of(report: &PublishReport) -> Self {
        if report.broadcast() {
            return Self::Broadcast;
        }
        let errors = report.nodes.iter().filter_map(|node| node.outcome.as_ref().err());
        let statuses: Vec<u16> = errors.filter_map(ChainError::status).collect();
        match statuses.as_slice() {
            [] => Self::Unreachable,
            statuses if statuses.contains(&400) => Self::Refused,
            _ => Self::Unsure,
        }
    }

    /// As metrics name it.
    const fn name(self, imported: bool) -> &'static str {
        match self {
            Self::Broadcast if imported => "imported",
            Self::Broadcast => "broadcast",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Unsure => "unsure",
        }
    }
}

/// Publishes, and says whether `answer` may be given. A node that hangs may not cost the proposer its slot, so this does
/// not wait for it. A payload that no node spread is given out only if none was there to judge the block: else a
/// proposer could have it for a block that no one takes.
async fn publish_for(
    relay: &Arc<Relay>,
    slot: u64,
    block_root: B256,
    contents: SignedBlockContents,
    answer: Answer,
) -> Result<(), ApiError> {
    let (told, mut verdict) = watch::channel(None);
    let publisher = Arc::clone(relay);
    relay.tasks.detach(async move { publish(&publisher, slot, block_root, &contents, &told).await });
    let (part, of) = PUBLISH_WAIT;
    let patience = Duration::from_millis(relay.clock.fraction_ms(part, of));
    let enough = |verdict: &Option<Verdict>| {
        matches!(verdict, Some(verdict) if *verdict != Verdict::Unsure)
            && (answer == Answer::Payload || *verdict != Some(Verdict::Unreachable))
    };
    let decided = tokio::time::timeout(patience, verdict.wait_for(enough)).await.is_ok();
    let last = *verdict.borrow();
    match (last, answer) {
        (Some(Verdict::Broadcast), _) | (Some(Verdict::Unreachable), Answer::Payload) => Ok(()),
        (None, _) if !decided => {
            tracing::warn!(slot, %block_root, "still publishing");
            Ok(())
        }
        _ => Err(ApiError::status(StatusCode::BAD_GATEWAY, "no beacon node took the block")),
    }
}

/// Publishes to all nodes, again and again while none judged the block and its slot lasts.
async fn publish(
    relay: &Relay,
    slot: u64,
    block_root: B256,
    contents: &SignedBlockContents,
    told: &watch::Sender<Option<Verdict>>,
) {
    loop {
        let started = Instant::now();
        let report =
            relay.beacon.publish_block(contents, BroadcastValidation::ConsensusAndEquivocation).await;
        let mut verdict = Verdict::of(&report);
        let mut imported = report.imported();
        // A block that is on the chain already is refused as a second one of its slot.
        if verdict == Verdict::Refused && relay.beacon.header(&block_root.to_string()).await.is_ok() {
            (verdict, imported) = (Verdict::Broadcast, true);
        }
        metrics::histogram!("earnest_relay_publish_seconds", "outcome" => verdict.name(imported))
            .record(started.elapsed().as_secs_f64());
        match verdict {
            Verdict::Broadcast => {
                tracing::info!(slot, %block_root, imported, "published");
                let published = Published { slot, block_root, imported };
                // The block is out; whether this is remembered decides only if it is sent again when asked again.
                if let Err(error) = relay.ledger.write(Event::Published(published), vec![]).await {
                    tracing::error!(slot, %error, "the published block is not in the journal");
                }
                told.send_replace(Some(verdict));
                return;
            }
            Verdict::Refused => {
                tracing::error!(slot, %block_root, "a beacon node refused the block");
                told.send_replace(Some(verdict));
                return;
            }
            Verdict::Unreachable | Verdict::Unsure => {
                tracing::error!(slot, %block_root, ?verdict, "no beacon node took the block");
                told.send_replace(Some(verdict));
                let pause = Duration::from_millis(relay.clock.fraction_ms(1, 48));
                if relay.now_ms() > relay.payload_until_ms(slot) {
                    return;
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_chain::{NodeOutcome, Published as Taken};

    #[test]
    fn only_a_400_is_a_judgement_of_the_block() {
        let status =
            |status| Err(ChainError::Status { endpoint: String::new(), status, message: String::new() });
        let gone = || Err(ChainError::Unreachable { endpoint: String::new(), reason: String::new() });
        let cases: Vec<(Vec<Result<Taken, ChainError>>, Verdict)> = vec![
            (vec![status(400), Ok(Taken::BroadcastNotImported)], Verdict::Broadcast),
            (vec![gone(), status(400)], Verdict::Refused),
            (vec![status(503), status(400)], Verdict::Refused),
            (vec![gone(), status(429)], Verdict::Unsure),
            (vec![status(404)], Verdict::Unsure),
            (vec![status(500)], Verdict::Unsure),
            (vec![gone(), gone()], Verdict::Unreachable),
        ];
        for (outcomes, expected) in cases {
            let nodes = outcomes.into_iter().map(|outcome| NodeOutcome { node: String::new(), outcome });
            let report = PublishReport { nodes: nodes.collect() };
            assert_eq!(Verdict::of(&report), expected, "{report:?}");
        }
    }
}

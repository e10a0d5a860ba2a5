//! From a signed blinded block to a published one (design §5): checks, then the durable record that this is the
//! slot's one block, then the payload.

use crate::{
    bids::Candidate,
    events::{Event, Published, Unblinded},
    ledger::WriteError,
    relay::Relay,
};
use alloy_primitives::B256;
use earnest_builder_types::{
    BlsPublicKey, PayloadAndBlobs, SignedBlindedBeaconBlock, SignedBlockContents, TreeHash, unblind,
};
use earnest_chain::{BroadcastValidation, PublishReport, SlotClock};
use earnest_http::ApiError;
use earnest_journal::Claim;
use http::StatusCode;
use std::{sync::Arc, time::Duration};

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
    let tasks = relay.tasks.clone();
    let delivered = tasks.detach(async move { delivery(&relay, block, answer).await });
    let delivered = delivered.await.map_err(|_| ApiError::internal())?;
    let outcome = if delivered.is_ok() { "delivered" } else { "refused" };
    metrics::counter!("earnest_relay_payloads_total", "outcome" => outcome).increment(1);
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
    let candidate = offered(relay, &block)?;
    let proposer = proposer(relay, &block, &candidate)?;
    in_time(relay, slot).await?;
    let checker = Arc::clone(relay);
    let payload = Arc::clone(&candidate.payload);
    let (block_root, contents) =
        crate::api::blocking(move || check(&checker, block, &payload, &proposer)).await??;
    let repeated = relay.ledger.views().is_published(slot, block_root);
    record(relay, &candidate, &proposer, block_root).await?;
    tracing::info!(slot, %block_root, block_hash = %candidate.trace.block_hash, value = %candidate.trace.value, "unblinded");
    if !repeated {
        let publisher = Arc::clone(relay);
        let publishing =
            relay.tasks.detach(async move { publish(&publisher, slot, block_root, &contents, answer).await });
        // A node that hangs may not cost the proposer its slot.
        let (part, of) = PUBLISH_WAIT;
        let patience = Duration::from_millis(relay.clock.fraction_ms(part, of));
        match tokio::time::timeout(patience, publishing).await {
            Ok(published) => published.map_err(|_| ApiError::internal())??,
            Err(_) => tracing::warn!(slot, %block_root, "still publishing"),
        }
    }
    Ok(Arc::clone(&candidate.payload))
}

/// The block that we offered under this header. What is not ours ends here, before anything costs.
fn offered(relay: &Relay, block: &SignedBlindedBeaconBlock) -> Result<Arc<Candidate>, ApiError> {
    let message = block.message();
    let header = message.body().execution_payload_header();
    let known = relay.book.known(message.slot(), header.block_hash());
    let candidate =
        known.ok_or_else(|| ApiError::bad_request("the header is not one that this relay offered"))?;
    if header.tree_hash_root() == candidate.header.tree_hash_root() {
        Ok(candidate)
    } else {
        Err(ApiError::bad_request("the header is not the one that this relay offered"))
    }
}

fn proposer(
    relay: &Relay,
    block: &SignedBlindedBeaconBlock,
    candidate: &Candidate,
) -> Result<BlsPublicKey, ApiError> {
    let message = block.message();
    let duty = relay.duties.read().proposer(message.slot());
    let duty =
        duty.ok_or_else(|| ApiError::unavailable("the slot's proposer is not known yet").retry_after(1))?;
    if message.proposer_index() != duty.validator_index || candidate.trace.proposer_pubkey != duty.pubkey {
        let index = message.proposer_index();
        return Err(ApiError::bad_request(format!("validator {index} does not propose this slot")));
    }
    Ok(duty.pubkey)
}

/// Waits for the slot's start if that is near; refuses what is late.
async fn in_time(relay: &Relay, slot: u64) -> Result<(), ApiError> {
    let now_ms = relay.now_ms();
    if now_ms > relay.payload_until_ms(slot) {
        return Err(ApiError::bad_request(format!("too late for slot {slot}")));
    }
    let wait = SlotClock::until(now_ms, relay.clock.start_of(slot));
    if wait > relay.clock.slot_duration() {
        return Err(ApiError::bad_request(format!("too early for slot {slot}")));
    }
    if wait > Duration::ZERO {
        tokio::time::sleep(wait).await;
    }
    Ok(())
}

fn check(
    relay: &Relay,
    block: SignedBlindedBeaconBlock,
    payload: &PayloadAndBlobs,
    proposer: &BlsPublicKey,
) -> Result<(B256, SignedBlockContents), ApiError> {
    let domain = relay.proposer_domain(block.message().slot()).ok_or_else(ApiError::internal)?;
    block
        .verify(proposer, domain)
        .map_err(|error| ApiError::bad_request(format!("proposer's signature: {error}")))?;
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
    relay.ledger.write(event, vec![claim]).await.map_err(|error| match error {
        WriteError::Claimed => ApiError::bad_request("another block of this slot was unblinded before"),
        error => error.into(),
    })
}

/// One block for a slot and its proposer.
fn claim_key(slot: u64, proposer: &BlsPublicKey) -> Vec<u8> {
    [b"unblind/".as_slice(), &slot.to_be_bytes(), proposer.as_slice()].concat()
}

async fn publish(
    relay: &Relay,
    slot: u64,
    block_root: B256,
    contents: &SignedBlockContents,
    answer: Answer,
) -> Result<(), ApiError> {
    let report = relay.beacon.publish_block(contents, BroadcastValidation::ConsensusAndEquivocation).await;
    if report.broadcast() {
        let imported = report.imported();
        tracing::info!(slot, %block_root, imported, "published");
        let published = Published { slot, block_root, imported };
        // The block is out; whether this is remembered decides only if it is sent again when asked again.
        if let Err(error) = relay.ledger.write(Event::Published(published), vec![]).await {
            tracing::error!(slot, %error, "the published block is not in the journal");
        }
        return Ok(());
    }
    tracing::error!(slot, %block_root, "no beacon node took the block");
    if answer == Answer::Payload && !refused(&report) {
        // No node could be asked: the proposer can still publish.
        return Ok(());
    }
    Err(ApiError::status(StatusCode::BAD_GATEWAY, "no beacon node took the block"))
}

/// Whether a node judged the block and said no, as it does for a second block of a slot.
fn refused(report: &PublishReport) -> bool {
    let mut errors = report.nodes.iter().filter_map(|node| node.outcome.as_ref().err());
    errors.any(|error| error.status().is_some_and(|status| (400..500).contains(&status)))
}

//! From a signed blinded block to a published one (design §5): checks, then the durable record that this is the
//! slot's one block, then the payload.

mod publishing;
mod verdict;

use crate::{
    bids::{BidKey, Candidate, Known},
    events::{BlindedSsz, Event, Published, Unblinded},
    ledger::WriteError,
    relay::Relay,
    undone,
};
use alloy_primitives::{B256, U256};
use earnest_builder_types::{
    BlsPublicKey, ForkCodec, PayloadAndBlobs, SignedBlindedBeaconBlock, SignedBlockContents, TreeHash,
    unblind,
};
use earnest_chain::SlotClock;
use earnest_http::ApiError;
use earnest_journal::Claim;
use http::StatusCode;
use publishing::Unpublished;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use verdict::Verdict;

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
    let checked = Arc::clone(&candidate);
    let Checked { block_root, blinded, contents, undone } =
        crate::api::blocking(move || check(&checker, block, &checked, &proposer)).await??;
    tokio::time::sleep(wait).await;
    let repeated = relay.ledger.views().is_published(slot, block_root);
    let recorded = relay.ledger.views().is_unblinded(slot, block_root);
    if !recorded {
        record(relay, &candidate, &proposer, block_root, blinded).await?;
    }
    undone::note(relay, slot, candidate.trace.block_hash, undone).await;
    if !repeated {
        metrics::counter!("earnest_relay_delivered_gwei_total").increment(gwei(candidate.trace.value));
    }
    tracing::info!(slot, %block_root, block_hash = %candidate.trace.block_hash, value = %candidate.trace.value, "unblinded");
    if !repeated {
        publish_for(relay, Unpublished { slot, root: block_root, contents }, answer).await?;
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

/// A block that may be recorded.
struct Checked {
    block_root: B256,
    blinded: BlindedSsz,
    contents: SignedBlockContents,
    /// Messages of constraints that it undoes.
    undone: Vec<B256>,
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
    candidate: &Candidate,
    proposer: &BlsPublicKey,
) -> Result<Checked, ApiError> {
    // Its header may have been given out before the slot was constrained.
    if candidate.prove(&relay.required(&BidKey::of(&candidate.trace))).is_none() {
        let message =
            "the block does not hold the constraints of its slot: ask for the header after the cut-off";
        return Err(ApiError::named(StatusCode::BAD_REQUEST, "constraints_not_kept", message));
    }
    verify(relay, &block, proposer)?;
    let block_root = block.message().tree_hash_root();
    let blinded = BlindedSsz { fork: block.fork(), ssz: block.to_ssz().into() };
    let contents = unblind(block, PayloadAndBlobs::clone(&candidate.payload))
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(Checked { block_root, blinded, contents, undone: undone::by_candidate(relay, candidate) })
}

/// Makes durable that this is the slot's one block, with what it takes to publish it after a crash. After this, and only
/// after this, the payload may be given out.
async fn record(
    relay: &Relay,
    candidate: &Candidate,
    proposer: &BlsPublicKey,
    block_root: B256,
    blinded: BlindedSsz,
) -> Result<(), ApiError> {
    let payload = candidate.payload.payload();
    let event = Event::Unblinded(Unblinded {
        trace: candidate.trace.clone(),
        block_root,
        block_number: payload.block_number(),
        transactions: payload.transactions().len() as u64,
        block: Some(blinded),
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

/// Publishes, and says whether `answer` may be given. What no node took is published on behind the answer.
async fn publish_for(relay: &Arc<Relay>, block: Unpublished, answer: Answer) -> Result<(), ApiError> {
    let (slot, block_root) = (block.slot, block.root);
    let mut verdict = publishing::start(relay, block);
    let (part, of) = PUBLISH_WAIT;
    let patience = Duration::from_millis(relay.clock.fraction_ms(part, of));
    let decided = verdict.wait_for(|verdict| verdict.permits(answer).is_some());
    // Out of time, or the publishing ended: what is known by then decides.
    let _ = tokio::time::timeout(patience, decided).await;
    let last = *verdict.borrow();
    if !last.permits_at_last(answer) {
        return Err(ApiError::status(StatusCode::BAD_GATEWAY, "no beacon node took the block"));
    }
    if last == Verdict::Pending {
        tracing::warn!(slot, %block_root, "still publishing");
    }
    Ok(())
}

/// Publishes what was unblinded before a restart, if no node is known to have taken it and its time is not over. What is late
/// may be on the chain all the same: then it was delivered.
pub(crate) fn resume(relay: &Arc<Relay>) {
    let now_ms = relay.now_ms();
    for unblinded in relay.ledger.views().owed() {
        let relay = Arc::clone(relay);
        let late = now_ms > relay.payload_until_ms(unblinded.trace.slot);
        relay.tasks.clone().detach(async move {
            if late {
                look_up(&relay, &unblinded).await;
            } else {
                publish_again(&relay, unblinded).await;
            }
        });
    }
}

async fn publish_again(relay: &Arc<Relay>, unblinded: Arc<Unblinded>) {
    let (slot, root) = (unblinded.trace.slot, unblinded.block_root);
    let source = Arc::clone(relay);
    match crate::api::blocking(move || whole(&source, &unblinded)).await.and_then(|whole| whole) {
        Ok(contents) => {
            tracing::info!(slot, block_root = %root, "publishing what was unblinded before the restart");
            publishing::start(relay, Unpublished { slot, root, contents });
        }
        Err(error) => {
            let reason = error.message;
            tracing::error!(slot, block_root = %root, reason, "a block is lost that was unblinded before the restart");
        }
    }
}

async fn look_up(relay: &Relay, unblinded: &Unblinded) {
    let (slot, block_root) = (unblinded.trace.slot, unblinded.block_root);
    match relay.beacon.header(&block_root.to_string()).await {
        Ok(_) => {
            tracing::info!(slot, %block_root, "a block that was unblinded before the restart is on the chain");
            publishing::remember(relay, Published { slot, block_root, imported: true }).await;
        }
        Err(error) => tracing::warn!(slot, %block_root, %error, "no beacon node has the slot's block"),
    }
}

/// The whole block of a record, with the payload that was on offer.
fn whole(relay: &Relay, unblinded: &Unblinded) -> Result<SignedBlockContents, ApiError> {
    let recorded = unblinded.block.as_ref().ok_or_else(ApiError::internal)?;
    let unreadable = |error: &dyn std::fmt::Display| ApiError::bad_request(error.to_string());
    let held = relay.book.recall(unblinded.trace.slot, unblinded.trace.block_hash);
    let candidate = held
        .map_err(|error| unreadable(&error))?
        .ok_or_else(|| ApiError::bad_request("its payload is not held"))?;
    let block = SignedBlindedBeaconBlock::from_ssz(recorded.fork, &recorded.ssz)
        .map_err(|error| unreadable(&error))?;
    unblind(block, PayloadAndBlobs::clone(&candidate.payload)).map_err(|error| unreadable(&error))
}

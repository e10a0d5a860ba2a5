//! The attempts for one slot: build, sign, offer.

use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_engine::ForkchoiceState;
use earnest_builder_types::{
    BidSubmission, BidTrace, PayloadAndBlobs, SignedValidatorRegistration, Transactions, sign_bid_trace,
};
use earnest_chain::{PayloadAttributesEvent, SlotClock};
use earnest_client::RelayClient;
use futures::future::join_all;

use super::{Report, Shared};
use crate::beacon::BuiltPayload;

/// Makes every attempt in its time, until the slot starts.
pub(super) async fn run(shared: &Shared, event: PayloadAttributesEvent) {
    let slot = event.data.proposal_slot;
    let mut offered = None;
    let attempts = shared.options.attempts.iter().enumerate();
    for (number, (numerator, denominator)) in attempts {
        let at = shared.clock.before(slot, *numerator, *denominator);
        tokio::time::sleep(SlotClock::until(now_ms(), at)).await;
        if now_ms() >= shared.clock.start_of(slot) {
            return;
        }
        let last = number.saturating_add(1) == shared.options.attempts.len();
        if let Err(reason) = attempt(shared, &event, number, last, &mut offered).await {
            shared.report(Report::Failed { slot, reason });
        }
    }
}

/// Builds a block and offers it to every relay that has the proposer's registration, unless it is no better
/// than what was offered before.
async fn attempt(
    shared: &Shared,
    event: &PayloadAttributesEvent,
    number: usize,
    last: bool,
    offered: &mut Option<(U256, Transactions)>,
) -> Result<(), String> {
    let slot = event.data.proposal_slot;
    let duties = join_all(shared.relays.iter().map(|relay| registration(relay, slot))).await;
    let Some(first) = duties.iter().flatten().next() else {
        return Err("no relay has a registration of the proposer".to_owned());
    };
    let fee_recipient = if last { first.message.fee_recipient } else { own_address(shared, number) };
    let built = build(shared, event, fee_recipient).await?;
    let transactions = built.payload.transactions();
    let value = if last { built.value } else { U256::ZERO };
    if offered.as_ref().is_some_and(|(before, same)| *before >= value && same == transactions) {
        return Ok(());
    }
    *offered = Some((value, transactions.clone()));
    let offers = shared.relays.iter().zip(&duties).filter_map(|(relay, duty)| Some((relay, duty.as_ref()?)));
    join_all(offers.map(|(relay, duty)| offer(shared, slot, relay, duty, &built, value))).await;
    Ok(())
}

/// The builder's address for an early attempt; each attempt has another.
fn own_address(shared: &Shared, number: usize) -> Address {
    let mut address = shared.options.coinbase;
    if let Some(byte) = address.last_mut() {
        *byte = byte.wrapping_add(u8::try_from(number).unwrap_or(u8::MAX));
    }
    address
}

/// The proposer's registration, if the relay has it.
async fn registration(relay: &RelayClient, slot: u64) -> Option<SignedValidatorRegistration> {
    match relay.duties().await {
        Ok(duties) => duties.into_iter().find(|duty| duty.slot == slot).map(|duty| duty.entry.into()),
        Err(error) => {
            tracing::warn!(slot, %error, "a relay does not tell who proposes");
            None
        }
    }
}

async fn build(
    shared: &Shared,
    event: &PayloadAttributesEvent,
    fee_recipient: Address,
) -> Result<BuiltPayload, String> {
    let engine = &shared.options.engine;
    let mut attributes = event.data.payload_attributes.clone();
    attributes.suggested_fee_recipient = fee_recipient;
    // The head is the one the client was just told; what is safe and final stays as it is.
    let head = ForkchoiceState {
        head_block_hash: event.data.parent_block_hash,
        safe_block_hash: B256::ZERO,
        finalized_block_hash: B256::ZERO,
    };
    let answer = engine.forkchoice_updated(event.version, head, Some(attributes)).await;
    let id = answer.map_err(|error| error.to_string())?.payload_id;
    let id = id.ok_or_else(|| "the execution client builds nothing upon this parent".to_owned())?;
    let (numerator, denominator) = shared.options.build_time;
    let time = shared.clock.fraction_ms(numerator, denominator);
    tokio::time::sleep(std::time::Duration::from_millis(time)).await;
    engine.get_payload(event.version, id).await.map_err(|error| error.to_string())
}

async fn offer(
    shared: &Shared,
    slot: u64,
    relay: &RelayClient,
    duty: &SignedValidatorRegistration,
    built: &BuiltPayload,
    value: U256,
) {
    let payload = &built.payload;
    let trace = BidTrace {
        slot,
        parent_hash: payload.parent_hash(),
        block_hash: payload.block_hash(),
        builder_pubkey: shared.pubkey,
        proposer_pubkey: duty.message.pubkey,
        proposer_fee_recipient: duty.message.fee_recipient,
        gas_limit: payload.gas_limit(),
        gas_used: payload.gas_used(),
        value,
    };
    let signed = sign_bid_trace(trace, &shared.options.key, shared.domain);
    let submission = PayloadAndBlobs::new(payload.clone(), built.blobs_bundle.clone()).and_then(|both| {
        BidSubmission::new(signed.message, signed.signature, both, built.execution_requests.clone())
    });
    let taken = match submission {
        Ok(submission) => relay.submit_block(&submission).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    shared.report(Report::Submitted {
        slot,
        block_hash: payload.block_hash(),
        value,
        transactions: payload.transactions().len(),
        relay: relay.transport().host(),
        taken,
    });
}

/// Unix time in milliseconds.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

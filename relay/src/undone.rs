//! Constraints whose own sender kept them out of their slot's block (design §5).
//!
//! A block keeps a constraint also by another transaction of the same sender and nonce, for it can hold no other: else a
//! sender could cost the proposer every block. If that transaction does something else, the promise is void by the sender's
//! own doing. Then the relay's last word on the message is `dropped`, which rebuts an answer that stands on its first
//! (design §8, MissedWindow).

use crate::{
    bids::Candidate,
    events::{Event, Undone},
    held::BlockIndex,
    relay::Relay,
    views::HeldConstraints,
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bytes};
use earnest_chain::{ChainError, ExecutionClient};
use std::{sync::Arc, time::Duration};

/// Slots behind the current one of which blocks are looked at.
const LOOKED_AT: u64 = 4;
/// How often a block is asked for that the execution client does not have yet.
const ATTEMPTS: u32 = 3;

/// Messages that a block on offer here would undo. Recovers senders.
pub(crate) fn by_candidate(relay: &Relay, candidate: &Candidate) -> Vec<B256> {
    let (slot, proposer) = (candidate.trace.slot, &candidate.trace.proposer_pubkey);
    let held = relay.ledger.views().not_undone(slot, Some(proposer));
    let chain_id = relay.config.network.chain_id;
    let undone = held.iter().filter(|held| candidate.undoes(held.required(chain_id)));
    undone.map(|held| held.hash).collect()
}

/// Makes durable that a block undid these. Without its record the earlier word stands.
pub(crate) async fn note(relay: &Relay, slot: u64, block_hash: B256, messages: Vec<B256>) {
    if messages.is_empty() {
        return;
    }
    for hash in &messages {
        tracing::warn!(slot, %hash, %block_hash, "constraints were undone by their own sender");
        metrics::counter!("earnest_relay_constraints_undone_total").increment(1);
    }
    let event = Event::Undone(Undone { slot, block_hash, messages });
    if let Err(error) = relay.ledger.write_owed(event, vec![]).await {
        tracing::error!(slot, %error, "undone constraints are not in the journal");
    }
}

/// Looks whether a block that is on the chain, whoever made it, undid constraints of its slot.
pub(crate) async fn look_at(relay: Arc<Relay>, block_hash: B256) {
    let from = relay.current_slot().saturating_sub(LOOKED_AT);
    if relay.execution.is_empty() || relay.ledger.views().constraints_from(from).is_empty() {
        return;
    }
    let pause = Duration::from_millis(relay.clock.fraction_ms(1, 4));
    for attempt in 1..=ATTEMPTS {
        match judge(&relay, block_hash).await {
            Ok(()) => return,
            Err(error) if attempt == ATTEMPTS => {
                tracing::warn!(%block_hash, %error, "it is not known whether a block undid its constraints");
            }
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

async fn judge(relay: &Arc<Relay>, block_hash: B256) -> Result<(), ChainError> {
    let mut failure = ChainError::Config("no execution client is configured".to_owned());
    for client in &relay.execution {
        match judge_by(relay, client, block_hash).await {
            Ok(()) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn judge_by(relay: &Arc<Relay>, client: &ExecutionClient, block_hash: B256) -> Result<(), ChainError> {
    let missing = || ChainError::Config(format!("the execution client does not have block {block_hash}"));
    let header = client.block_by_hash(block_hash).await?.ok_or_else(missing)?.header;
    let Some(slot) = relay.clock.slot_at(header.timestamp.saturating_mul(1000)) else { return Ok(()) };
    let held = relay.ledger.views().not_undone(slot, None);
    if held.is_empty() {
        return Ok(());
    }
    let block = client.full_block(header.number.into()).await?.ok_or_else(missing)?;
    if block.header.hash != block_hash {
        return Err(missing());
    }
    let transactions: Vec<Bytes> =
        block.transactions.into_transactions().map(|tx| tx.inner.inner().encoded_2718().into()).collect();
    let chain_id = relay.config.network.chain_id;
    let undone = tokio::task::spawn_blocking(move || undone(&held, &transactions, chain_id));
    note(relay, slot, block_hash, undone.await.unwrap_or_default()).await;
    Ok(())
}

fn undone(held: &[Arc<HeldConstraints>], transactions: &[Bytes], chain_id: u64) -> Vec<B256> {
    let index = BlockIndex::default();
    let undone = held.iter().filter(|held| index.undoes(transactions, held.required(chain_id)));
    undone.map(|held| held.hash).collect()
}

//! At the cut-off of each slot: its constraints are judged on the state of the parent that its block will have, and again
//! when the parent changes after that (design §5).

use crate::{
    cutoff::{Account, Cause, Parent, judge},
    events::{Event, Judged},
    held::Required,
    relay::Relay,
    views::HeldConstraints,
};
use alloy_eips::{BlockId, BlockNumberOrTag, eip1559::BaseFeeParams};
use alloy_primitives::{Address, B256};
use earnest_chain::{ChainError, ExecutionClient, SlotClock};
use futures::future::join_all;
use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

/// The part of a slot that the judgement may take; then the constraints stay held as they are.
const JUDGING: (u64, u64) = (1, 12);

/// Slots behind the one judged last that are remembered.
const KEPT_SLOTS: u64 = 8;

/// Judges every slot at its cut-off, until shutdown; the one that runs at the start, too.
pub(crate) async fn run(relay: Arc<Relay>) -> Result<(), Infallible> {
    let shutdown = relay.tasks.token();
    let mut slot = relay.current_slot();
    loop {
        let pause = SlotClock::until(relay.now_ms(), relay.cutoff_ms(slot));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        // What came in time and is being written is folded in first; what comes after this is late.
        drop(relay.ledger.deciding().await);
        let parent = relay.duties.read().newest_parent(slot);
        settle(&relay, slot, parent).await;
        require(&relay, slot).await;
        let mut judged = relay.judged.lock();
        judged.insert(slot);
        *judged = judged.split_off(&slot.saturating_sub(KEPT_SLOTS));
        drop(judged);
        slot = slot.saturating_add(1).max(relay.current_slot());
    }
}

/// Judges a slot whose cut-off is past on a parent that was told just now.
pub(crate) async fn parent_changed(relay: &Arc<Relay>, slot: u64, parent: B256) {
    if relay.is_settled(slot) && relay.now_ms() <= relay.header_until_ms(slot) {
        settle(relay, slot, Some(parent)).await;
        require(relay, slot).await;
    }
}

/// Offers only what holds what is required now.
async fn require(relay: &Arc<Relay>, slot: u64) {
    let requiring = Arc::clone(relay);
    let required =
        tokio::task::spawn_blocking(move || requiring.book.require(slot, |key| requiring.required(key)));
    if let Ok(Err(error)) = required.await {
        tracing::error!(slot, %error, "a bid cannot be offered");
    }
}

/// Drops what can be in no block of the slot upon this parent. What cannot be judged stays held: the promise is kept rather
/// than the bid.
async fn settle(relay: &Arc<Relay>, slot: u64, parent: Option<B256>) {
    let Some(proposer) = relay.duties.read().proposer(slot) else { return };
    let mut held = relay.ledger.views().constraints(slot);
    held.retain(|held| held.taken.constraints.message.proposer == proposer.pubkey);
    if held.is_empty() || relay.execution.is_empty() {
        return;
    }
    let Some(parent_hash) = parent else {
        tracing::warn!(slot, "constraints stay held unseen: no beacon node told the slot's parent");
        return;
    };
    let (part, of) = JUDGING;
    let limit = Duration::from_millis(relay.clock.fraction_ms(part, of));
    match tokio::time::timeout(limit, verdicts(relay, &held, parent_hash)).await {
        Ok(Ok(verdicts)) => record(relay, slot, parent_hash, &held, &verdicts).await,
        Ok(Err(error)) => {
            tracing::warn!(slot, %error, "constraints stay held unseen: no execution client told the parent's state");
        }
        Err(_) => {
            tracing::warn!(
                slot,
                ?limit,
                "constraints stay held unseen: no execution client answered in time"
            );
        }
    }
}

async fn verdicts(
    relay: &Relay,
    held: &[Arc<HeldConstraints>],
    parent_hash: B256,
) -> Result<Vec<Option<Cause>>, ChainError> {
    let chain_id = relay.config.network.chain_id;
    let messages: Vec<&[Required]> = held.iter().map(|held| held.required(chain_id)).collect();
    let mut failure = ChainError::Config("no execution client is configured".to_owned());
    for client in &relay.execution {
        match state_of(client, parent_hash, &messages).await {
            Ok(parent) => return judged(held.to_vec(), chain_id, parent).await,
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Off the threads that serve: an order made for it takes as many passes as there are messages.
async fn judged(
    held: Vec<Arc<HeldConstraints>>,
    chain_id: u64,
    parent: Parent,
) -> Result<Vec<Option<Cause>>, ChainError> {
    let judging = tokio::task::spawn_blocking(move || {
        let messages: Vec<&[Required]> = held.iter().map(|held| held.required(chain_id)).collect();
        judge(&messages, &parent)
    });
    judging.await.map_err(|error| ChainError::Config(format!("constraints were not judged: {error}")))
}

/// What the constraints' senders have after the block `parent_hash`.
async fn state_of(
    client: &ExecutionClient,
    parent_hash: B256,
    messages: &[&[Required]],
) -> Result<Parent, ChainError> {
    let block = client.block_by_hash(parent_hash).await?.ok_or_else(|| {
        ChainError::Config(format!("the execution client does not have block {parent_hash}"))
    })?;
    let header = block.header;
    let base_fee = header.base_fee_per_gas.map_or(0, |base_fee| {
        BaseFeeParams::ethereum().next_block_base_fee(header.gas_used, header.gas_limit, base_fee)
    });
    let all = || messages.iter().copied().flatten();
    let senders: BTreeSet<Address> = all().map(|required| required.sender).collect();
    let senders: Vec<Address> = senders.into_iter().collect();
    let states = client.account_states(&senders, BlockId::from(parent_hash)).await?;
    let mut accounts: HashMap<Address, Account> = senders
        .into_iter()
        .zip(states)
        .map(|(sender, state)| {
            let (nonce, balance) = (state.nonce, state.balance);
            (sender, Account { nonce, pending_nonce: nonce, balance })
        })
        .collect();
    // Only where something lies between is it of use what the pool has.
    let gapped = accounts.iter().filter(|(sender, account)| {
        all().any(|required| required.sender == **sender && required.nonce > account.nonce)
    });
    let gapped: Vec<Address> = gapped.map(|(sender, _)| *sender).collect();
    let asked = gapped.iter().map(|sender| client.nonce(*sender, BlockNumberOrTag::Pending));
    for (sender, pending) in gapped.iter().zip(join_all(asked).await) {
        if let (Some(account), Ok(pending)) = (accounts.get_mut(sender), pending) {
            account.pending_nonce = pending;
        }
    }
    Ok(Parent { base_fee, gas_limit: header.gas_limit, accounts })
}

/// Makes a judgement durable, if it drops anything or takes the place of another.
async fn record(
    relay: &Arc<Relay>,
    slot: u64,
    parent_hash: B256,
    held: &[Arc<HeldConstraints>],
    verdicts: &[Option<Cause>],
) {
    let mut dropped = Vec::new();
    for (held, cause) in held.iter().zip(verdicts) {
        let Some(cause) = cause else { continue };
        let (delegate, hash) = (held.taken.constraints.message.delegate, held.hash);
        tracing::warn!(slot, %delegate, %hash, %parent_hash, %cause, "constraints dropped");
        metrics::counter!("earnest_relay_constraints_dropped_total").increment(1);
        dropped.push((hash, cause.to_string()));
    }
    let before = relay.ledger.views().last_judgement(slot).cloned();
    let judged = Judged { slot, parent_hash, dropped };
    if before.as_ref() == Some(&judged) || (before.is_none() && judged.dropped.is_empty()) {
        return;
    }
    // Without its record the promise stands, and the slot is served as if all could be kept.
    match relay.ledger.write_owed(Event::Judged(judged.clone()), vec![]).await {
        Ok(()) => relay.feed.judged(&judged),
        Err(error) => {
            tracing::error!(slot, %error, "dropped constraints are not in the journal and stay held");
        }
    }
}

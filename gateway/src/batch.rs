//! Carries sealed segments to L1: each as one signed transaction to the Inbox, sent to the public pool at once and
//! to the relay as a constraint of the window's slot.
//!
//! A batch is journaled before it is sent, and sent again until the Inbox has its record.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::{BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind};
use alloy_rpc_types_eth::{BlockId, TransactionInput, TransactionRequest};
use alloy_sol_types::SolCall;
use earnest_bindings::Inbox;
use earnest_builder_types::bls;
use earnest_chain::{ChainError, ExecutionClient};
use earnest_client::{ClientError, RelayClient};
use earnest_protocol::{
    BlsPublicKey, RollupId, Slot, inbox,
    objects::{CommitmentKind, Constraint, ConstraintsMessage, ObjectError, SignedConstraints},
    signing::{EcdsaSecret, Network, SigningError},
    window::Timing,
};
use tokio::{
    sync::mpsc,
    time::{Duration, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    board::Signed,
    clock::now_ms,
    queue::{Queue, QueueError},
    records::{BatchBody, Event, HeldBody},
};

/// Gas beyond calldata: the call's fixed work, and the work for each transaction.
const FIXED_GAS: u64 = 300_000;
const GAS_PER_TRANSACTION: u64 = 2_500;
/// EIP-7623: the most that one byte of calldata costs.
const GAS_PER_BYTE: u64 = 40;
/// Slots after a window's own within which its batch still counts (design §4).
const CHASE_SLOTS: u64 = 64;
/// Pause before a constraint is offered again.
const RETRY: Duration = Duration::from_millis(100);

/// A sealed segment.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub(crate) seal: Arc<Signed>,
    pub(crate) transactions: Vec<Bytes>,
}

/// Which batch of which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchKey {
    pub(crate) slot: Slot,
    pub(crate) rollup: RollupId,
    pub(crate) segment: u16,
}

/// A signed batch on its way.
#[derive(Clone, Debug)]
pub(crate) struct OnItsWay {
    pub(crate) raw: Bytes,
}

/// Why a batch could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("execution client: {0}")]
    Chain(#[from] ChainError),
    #[error("calldata: {0}")]
    Object(#[from] ObjectError),
    #[error("signing: {0}")]
    Signing(#[from] SigningError),
    #[error("journal: {0}")]
    Queue(#[from] QueueError),
    #[error("relay: {0}")]
    Relay(#[from] ClientError),
    #[error("the execution client has no latest block")]
    NoBlock,
}

/// Posts batches. One task; the only user of its L1 account.
pub(crate) struct Poster {
    pub(crate) execution: ExecutionClient,
    pub(crate) relay: RelayClient,
    pub(crate) inbox: Address,
    pub(crate) chain_id: u64,
    pub(crate) network: Network,
    pub(crate) timing: Timing,
    pub(crate) account: EcdsaSecret,
    pub(crate) delegate: bls::SecretKey,
    pub(crate) committer: Address,
    pub(crate) tip: u64,
    pub(crate) queue: Queue,
    pub(crate) sealed: mpsc::UnboundedReceiver<Sealed>,
    /// Batches that the Inbox may not have yet.
    pub(crate) on_their_way: BTreeMap<BatchKey, OnItsWay>,
    /// Nonce after the highest ever signed, from the journal.
    pub(crate) next_nonce: u64,
}

impl Poster {
    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut ticks = interval(Duration::from_millis(self.timing.slot_ms.max(200)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => self.chase().await,
                sealed = self.sealed.recv() => {
                    let Some(sealed) = sealed else {
                        shutdown.cancelled().await;
                        return Ok(());
                    };
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(()),
                        () = self.carry(&sealed) => {}
                    }
                }
            }
        }
    }

    /// Takes one sealed segment as far as it goes now; what fails is tried again by [`Self::chase`].
    async fn carry(&mut self, sealed: &Sealed) {
        let ordering = &sealed.seal.ordering;
        let key = BatchKey { slot: ordering.slot, rollup: ordering.rollup_id, segment: ordering.segment };
        let deadline =
            self.timing.slot_start(key.slot).saturating_add(self.timing.slot_ms.saturating_mul(CHASE_SLOTS));
        while !self.on_their_way.contains_key(&key) {
            match self.sign(key, sealed).await {
                Ok(raw) => {
                    self.send(key, &raw).await;
                    self.on_their_way.insert(key, OnItsWay { raw });
                }
                // The seal is in the journal: the next start carries it on.
                Err(BatchError::Queue(QueueError::Stopped)) => return,
                Err(error) if now_ms() < deadline => {
                    tracing::warn!(rollup = %key.rollup, slot = %key.slot, segment = key.segment, %error, "batch not signed yet");
                    sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(rollup = %key.rollup, slot = %key.slot, %error, "batch not signed in time");
                    return;
                }
            }
        }
        if ordering.kind == CommitmentKind::WindowSeal && now_ms() < self.cutoff(key.slot) {
            self.constrain(key, &sealed.seal).await;
        }
    }

    /// Until when the relay takes constraints for a slot.
    fn cutoff(&self, slot: Slot) -> u64 {
        self.timing.slot_start(slot).saturating_sub(self.timing.constraint_cutoff.of(self.timing.slot_ms))
    }

    /// Signs the L1 transaction of a segment and makes it durable.
    async fn sign(&mut self, key: BatchKey, sealed: &Sealed) -> Result<Bytes, BatchError> {
        let authority = (key.segment == 0).then_some(&*sealed.seal.authority);
        let input = inbox::encode_submit(&sealed.transactions, &sealed.seal.commitment, authority)?;
        let (head, used) = tokio::try_join!(
            self.execution.block(BlockNumberOrTag::Latest),
            self.execution.nonce(self.account.address(), BlockNumberOrTag::Latest)
        )?;
        let base_fee =
            u128::from(head.ok_or(BatchError::NoBlock)?.header.base_fee_per_gas.unwrap_or_default());
        let nonce = self.next_nonce.max(used);
        let bytes = u64::try_from(input.len()).unwrap_or(u64::MAX);
        let count = u64::try_from(sealed.transactions.len()).unwrap_or(u64::MAX);
        let gas_limit = FIXED_GAS
            .saturating_add(bytes.saturating_mul(GAS_PER_BYTE))
            .saturating_add(count.saturating_mul(GAS_PER_TRANSACTION));
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit,
            // Twice the base fee outlives six full blocks.
            max_fee_per_gas: base_fee.saturating_mul(2).saturating_add(u128::from(self.tip)),
            max_priority_fee_per_gas: u128::from(self.tip),
            to: TxKind::Call(self.inbox),
            input,
            ..TxEip1559::default()
        };
        let raw = sign_transaction(transaction, &self.account)?;
        let body = BatchBody {
            rollupId: key.rollup.0,
            slot: key.slot.0,
            segment: key.segment,
            nonce,
            transaction: raw.clone(),
        };
        self.queue.record(Event::BatchSigned(body)).await?;
        self.next_nonce = nonce.saturating_add(1);
        Ok(raw)
    }

    async fn send(&self, key: BatchKey, raw: &Bytes) {
        match self.execution.send_raw_transaction(raw).await {
            Ok(hash) => {
                tracing::info!(rollup = %key.rollup, slot = %key.slot, segment = key.segment, %hash, "batch sent");
            }
            // A pool that has it already says so in words of its own.
            Err(error) => tracing::debug!(slot = %key.slot, %error, "the pool did not take the batch"),
        }
    }

    /// Binds the window's slot to every batch of the window that L1 does not have yet.
    async fn constrain(&self, key: BatchKey, seal: &Signed) {
        let constraints: Vec<Constraint> = self
            .on_their_way
            .range(BatchKey { segment: 0, ..key }..=key)
            .filter(|(other, _)| other.rollup == key.rollup)
            .map(|(_, batch)| Constraint::inclusion(key.slot, batch.raw.clone()))
            .collect();
        let proposer = seal.authority.delegation.message.proposer;
        let signed = match sign_constraints(key.slot, proposer, constraints, &self.delegate, &self.network) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::error!(slot = %key.slot, %error, "constraints not signed");
                return;
            }
        };
        let cutoff = self.cutoff(key.slot);
        loop {
            match self.relay.post_constraints(&signed).await {
                Ok(receipt) => {
                    tracing::info!(slot = %key.slot, status = ?receipt.message.status, "constraints at the relay");
                    let held = HeldBody { constraints: signed, receipt };
                    if let Err(error) = self.queue.record(Event::ConstraintsHeld(Box::new(held))).await {
                        tracing::error!(slot = %key.slot, %error, "constraint receipt not kept");
                    }
                    return;
                }
                Err(error) if error.is_transient() && now_ms() < cutoff => {
                    tracing::warn!(slot = %key.slot, %error, "constraints not at the relay yet");
                    sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(slot = %key.slot, %error, "the relay did not take the constraints; the batch is in the public pool only");
                    return;
                }
            }
        }
    }

    /// Forgets batches that the Inbox has, sends the others again, gives up those that no longer count.
    async fn chase(&mut self) {
        let now = now_ms();
        let mut landed = Vec::new();
        for (key, batch) in &self.on_their_way {
            match self.recorded(*key).await {
                Ok(true) => {
                    tracing::info!(rollup = %key.rollup, slot = %key.slot, segment = key.segment, "batch recorded on L1");
                    metrics::counter!("earnest_gateway_batches_recorded_total").increment(1);
                    landed.push(*key);
                }
                Ok(false) => {
                    let late = self.timing.slot_ms.saturating_mul(CHASE_SLOTS);
                    if now > self.timing.slot_start(key.slot).saturating_add(late) {
                        tracing::error!(rollup = %key.rollup, slot = %key.slot, segment = key.segment, "batch never landed");
                        metrics::counter!("earnest_gateway_batches_missed_total").increment(1);
                        landed.push(*key);
                    } else {
                        self.send(*key, &batch.raw).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the execution client does not answer");
                    break;
                }
            }
        }
        for key in landed {
            self.on_their_way.remove(&key);
        }
    }

    async fn recorded(&self, key: BatchKey) -> Result<bool, ChainError> {
        let call = Inbox::recordCall {
            rollupId: key.rollup.0,
            slot: key.slot.0,
            segment: key.segment,
            committer: self.committer,
        };
        let request = TransactionRequest {
            to: Some(self.inbox.into()),
            input: TransactionInput::new(call.abi_encode().into()),
            ..TransactionRequest::default()
        };
        let answer = self.execution.call(&request, BlockId::latest()).await?;
        Ok(Inbox::recordCall::abi_decode_returns(&answer).is_ok_and(|record| record.time != 0))
    }
}

fn sign_constraints(
    slot: Slot,
    proposer: BlsPublicKey,
    constraints: Vec<Constraint>,
    delegate: &bls::SecretKey,
    network: &Network,
) -> Result<SignedConstraints, SigningError> {
    let message = ConstraintsMessage {
        proposer,
        delegate: delegate.public_key(),
        slot,
        constraints,
        receivers: vec![],
    };
    SignedConstraints::sign(message, delegate, network)
}

/// Signs an L1 transaction.
fn sign_transaction(transaction: TxEip1559, account: &EcdsaSecret) -> Result<Bytes, SigningError> {
    let hash: B256 = transaction.signature_hash();
    let bytes = account.sign(hash)?;
    let signature = Signature::from_raw_array(bytes.as_ref()).map_err(|_| SigningError::WrongSigner)?;
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    Ok(envelope.encoded_2718().into())
}

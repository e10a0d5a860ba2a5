//! Carries sealed segments to L1: each as one signed transaction to the Inbox, sent to the public pool at once and
//! to the relay as a constraint of the window's slot.
//!
//! A batch is journaled before it is sent, and sent again until the Inbox has its record.

use std::{collections::BTreeMap, sync::Arc};

use alloy_consensus::{Transaction, TxEip1559, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::{BlockNumberOrTag, eip2718::Decodable2718};
use alloy_primitives::{Address, Bytes, TxKind};
use alloy_rpc_types_eth::{BlockId, TransactionInput, TransactionRequest};
use alloy_sol_types::SolCall;
use earnest_bindings::Inbox;
use earnest_builder_types::bls;
use earnest_chain::{ChainError, ExecutionClient};
use earnest_client::RelayClient;
use earnest_protocol::{
    BlsPublicKey, RollupId, Slot, inbox,
    objects::{
        CommitmentKind, Constraint, ConstraintStatus, ConstraintsMessage, ObjectError,
        SignedConstraintReceipt, SignedConstraints,
    },
    signing::{EcdsaSecret, Network, SigningError},
    window::Timing,
};
use earnest_signer::sign_transaction;
use tokio::{
    sync::mpsc,
    task::JoinSet,
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

/// Gas limit of a batch of `bytes` calldata.
fn batch_gas(bytes: u64) -> u64 {
    // A transaction of the batch takes at least 64 bytes of it.
    FIXED_GAS
        .saturating_add(bytes.saturating_mul(GAS_PER_BYTE))
        .saturating_add((bytes / 64).saturating_mul(GAS_PER_TRANSACTION))
}

/// How many full segments of each of `rollups` rollups, with batches of `batch_bytes`, three quarters of an L1 block of
/// `gas_limit` hold: more must not be promised for one slot. At least one.
pub(crate) fn segments_per_block(gas_limit: u64, rollups: usize, batch_bytes: u32) -> u16 {
    let share = (gas_limit / 4)
        .saturating_mul(3)
        .checked_div(u64::try_from(rollups).unwrap_or(u64::MAX))
        .unwrap_or(0);
    let segments = share.checked_div(batch_gas(u64::from(batch_bytes))).unwrap_or(0);
    u16::try_from(segments).unwrap_or(u16::MAX).max(1)
}

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

impl Sealed {
    /// Whether its seal ends the window.
    pub(crate) fn ends_window(&self) -> bool {
        self.seal.ordering.kind == CommitmentKind::WindowSeal
    }
}

/// A signed batch on its way.
#[derive(Clone, Debug)]
pub(crate) struct OnItsWay {
    pub(crate) raw: Bytes,
    pub(crate) nonce: u64,
    max_fee: u128,
    input: Bytes,
    /// Whether the Inbox was seen to have it. It is watched on, since L1 may reorganise.
    recorded: bool,
}

impl OnItsWay {
    /// Reads a signed batch back. `None` if `account` did not sign it: its nonce says nothing then.
    pub(crate) fn read(raw: Bytes, account: Address) -> Option<Self> {
        let transaction = TxEnvelope::decode_2718_exact(&raw).ok()?;
        if transaction.recover_signer().ok()? != account {
            return None;
        }
        Some(Self {
            nonce: transaction.nonce(),
            max_fee: transaction.max_fee_per_gas(),
            input: transaction.input().clone(),
            recorded: false,
            raw,
        })
    }
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
    #[error("the execution client has no latest block")]
    NoBlock,
}

/// Posts batches. One task; the only user of its L1 account.
pub(crate) struct Poster {
    pub(crate) execution: ExecutionClient,
    pub(crate) inbox: Address,
    pub(crate) chain_id: u64,
    pub(crate) timing: Timing,
    pub(crate) account: EcdsaSecret,
    pub(crate) committer: Address,
    pub(crate) tip: u64,
    pub(crate) queue: Queue,
    pub(crate) sealed: mpsc::UnboundedReceiver<Sealed>,
    /// Batches that the Inbox may not have yet.
    pub(crate) on_their_way: BTreeMap<BatchKey, OnItsWay>,
    /// Nonce after the highest ever signed, from the journal.
    pub(crate) next_nonce: u64,
    pub(crate) constrainer: Arc<Constrainer>,
    /// Constraints on their way to the relay, at most one for each rollup's window.
    pub(crate) constraining: JoinSet<()>,
}

/// What a batch's transaction offers.
struct Fees {
    base: u128,
    tip: u128,
}

impl Fees {
    /// Twice the base fee outlives six full blocks.
    const fn max(&self) -> u128 {
        self.base.saturating_mul(2).saturating_add(self.tip)
    }
}

impl Poster {
    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut ticks = interval(Duration::from_millis(self.timing.slot_ms.max(200)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let work = async {
                tokio::select! {
                    biased;
                    sealed = self.sealed.recv() => match sealed {
                        Some(sealed) => self.carry(&sealed).await,
                        None => std::future::pending().await,
                    },
                    _ = ticks.tick() => self.chase().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = work => {}
            }
            while self.constraining.try_join_next().is_some() {}
        }
    }

    /// Takes one sealed segment as far as it goes now.
    async fn carry(&mut self, sealed: &Sealed) {
        let ordering = &sealed.seal.ordering;
        let key = BatchKey { slot: ordering.slot, rollup: ordering.rollup_id, segment: ordering.segment };
        let (rollup, slot, segment) = (key.rollup, key.slot, key.segment);
        while !self.on_their_way.contains_key(&key) {
            if self.is_late(slot) {
                tracing::error!(%rollup, %slot, segment, "batch not signed in time");
                return;
            }
            match self.first_signing(key, sealed).await {
                Ok(Some(batch)) => {
                    self.send(key, &batch.raw).await;
                    self.on_their_way.insert(key, batch);
                }
                // The Inbox has it; or the seal is in the journal, and the next start carries it on.
                Ok(None) | Err(BatchError::Queue(QueueError::Stopped)) => return,
                Err(error) => {
                    tracing::warn!(%rollup, %slot, segment, %error, "batch not signed yet");
                    sleep(RETRY).await;
                }
            }
        }
        if sealed.ends_window() && now_ms() < self.constrainer.cutoff(slot) {
            let constraints = self.constraints(key);
            let proposer = sealed.seal.authority.delegation.message.proposer;
            self.constraining.spawn(Arc::clone(&self.constrainer).send(rollup, slot, proposer, constraints));
        }
    }

    /// Whether a window's batches no longer count.
    fn is_late(&self, slot: Slot) -> bool {
        let reach = self.timing.slot_ms.saturating_mul(CHASE_SLOTS);
        now_ms() > self.timing.slot_start(slot).saturating_add(reach)
    }

    /// Signs a segment's batch, unless the Inbox has it.
    async fn first_signing(
        &mut self,
        key: BatchKey,
        sealed: &Sealed,
    ) -> Result<Option<OnItsWay>, BatchError> {
        if self.recorded(key).await? {
            return Ok(None);
        }
        let authority = (key.segment == 0).then_some(&*sealed.seal.authority);
        let input = inbox::encode_submit(&sealed.transactions, &sealed.seal.commitment, authority)?;
        let (fees, used) = self.l1().await?;
        self.sign(key, input, self.next_nonce.max(used), &fees).await.map(Some)
    }

    /// The fees of now, and how many nonces of the account are used.
    async fn l1(&self) -> Result<(Fees, u64), BatchError> {
        let (head, used) = tokio::try_join!(
            self.execution.block(BlockNumberOrTag::Latest),
            self.execution.nonce(self.account.address(), BlockNumberOrTag::Latest)
        )?;
        let base = u128::from(head.ok_or(BatchError::NoBlock)?.header.base_fee_per_gas.unwrap_or_default());
        Ok((Fees { base, tip: u128::from(self.tip) }, used))
    }

    /// Signs an L1 transaction for a segment and makes it durable.
    async fn sign(
        &mut self,
        key: BatchKey,
        input: Bytes,
        nonce: u64,
        fees: &Fees,
    ) -> Result<OnItsWay, BatchError> {
        let bytes = u64::try_from(input.len()).unwrap_or(u64::MAX);
        let transaction = TxEip1559 {
            chain_id: self.chain_id,
            nonce,
            gas_limit: batch_gas(bytes),
            max_fee_per_gas: fees.max(),
            max_priority_fee_per_gas: fees.tip,
            to: TxKind::Call(self.inbox),
            input: input.clone(),
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
        self.next_nonce = self.next_nonce.max(nonce.saturating_add(1));
        Ok(OnItsWay { raw, nonce, max_fee: fees.max(), input, recorded: false })
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

    /// A constraint for every batch of the window that L1 was not seen to have.
    fn constraints(&self, last: BatchKey) -> Vec<Constraint> {
        let window = self.on_their_way.range(BatchKey { segment: 0, ..last }..=last);
        window
            .filter(|(other, batch)| other.rollup == last.rollup && !batch.recorded)
            .map(|(_, batch)| Constraint::inclusion(last.slot, batch.raw.clone()))
            .collect()
    }

    /// Looks at what L1 has of the batches. One that it lacks is sent again, with a higher fee where the base fee has
    /// outgrown it and under a new nonce where its own was used. None is forgotten before its nonce is used, since
    /// every later batch waits for that.
    async fn chase(&mut self) {
        let (fees, used) = match self.l1().await {
            Ok(l1) => l1,
            Err(error) => {
                tracing::warn!(%error, "the execution client does not answer");
                return;
            }
        };
        let keys: Vec<BatchKey> = self.on_their_way.keys().copied().collect();
        for key in keys {
            // A new seal goes first.
            if !self.sealed.is_empty() {
                return;
            }
            if let Err(error) = self.chase_one(key, &fees, used).await {
                tracing::warn!(rollup = %key.rollup, slot = %key.slot, %error, "batch not looked after");
                return;
            }
        }
    }

    async fn chase_one(&mut self, key: BatchKey, fees: &Fees, used: u64) -> Result<(), BatchError> {
        let (rollup, slot, segment) = (key.rollup, key.slot, key.segment);
        let recorded = self.recorded(key).await?;
        let late = self.is_late(slot);
        let Some(batch) = self.on_their_way.get_mut(&key) else { return Ok(()) };
        if recorded && !batch.recorded {
            tracing::info!(%rollup, %slot, segment, "batch recorded on L1");
            metrics::counter!("earnest_gateway_batches_recorded_total").increment(1);
        } else if !recorded && batch.recorded {
            tracing::warn!(%rollup, %slot, segment, "a reorganisation of L1 took the batch back");
        }
        batch.recorded = recorded;
        let spent = batch.nonce < used;
        if late && spent {
            if !recorded {
                tracing::error!(%rollup, %slot, segment, "batch never landed");
                metrics::counter!("earnest_gateway_batches_missed_total").increment(1);
            }
            self.on_their_way.remove(&key);
            return Ok(());
        }
        if recorded {
            return Ok(());
        }
        let (input, nonce) = (batch.input.clone(), batch.nonce);
        let renewed = if spent {
            Some(self.sign(key, input, self.next_nonce.max(used), fees).await?)
        } else if batch.max_fee < fees.base.saturating_add(fees.tip) {
            // Pools replace a transaction for a tenth more, of the tip too.
            let raised = Fees { base: fees.base.max(batch.max_fee), tip: fees.tip.saturating_mul(2) };
            Some(self.sign(key, input, nonce, &raised).await?)
        } else {
            None
        };
        if let Some(renewed) = renewed {
            self.on_their_way.insert(key, renewed);
        }
        if let Some(batch) = self.on_their_way.get(&key) {
            self.send(key, &batch.raw).await;
        }
        Ok(())
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

/// Sends constraints to the relay, and keeps its receipts.
pub(crate) struct Constrainer {
    pub(crate) relay: RelayClient,
    pub(crate) relay_address: Address,
    pub(crate) delegate: bls::SecretKey,
    pub(crate) network: Network,
    pub(crate) timing: Timing,
    pub(crate) queue: Queue,
}

impl Constrainer {
    /// Until when the relay takes constraints for a slot.
    fn cutoff(&self, slot: Slot) -> u64 {
        self.timing.slot_start(slot).saturating_sub(self.timing.constraint_cutoff.of(self.timing.slot_ms))
    }

    /// Binds a window's slot to its batches, until the relay's cut-off: in the order of their nonces, each by a message of
    /// its own. An answer to an accusation has the whole message in an L1 transaction, which holds one full batch.
    async fn send(
        self: Arc<Self>,
        rollup: RollupId,
        slot: Slot,
        proposer: BlsPublicKey,
        constraints: Vec<Constraint>,
    ) {
        let delegate = self.delegate.public_key();
        for constraint in constraints {
            let constraints = vec![constraint];
            let message = ConstraintsMessage { proposer, delegate, slot, constraints, receivers: vec![] };
            self.send_one(rollup, slot, message).await;
        }
    }

    async fn send_one(&self, rollup: RollupId, slot: Slot, message: ConstraintsMessage) {
        let signed = match SignedConstraints::sign(message, &self.delegate, &self.network) {
            Ok(signed) => signed,
            Err(error) => {
                tracing::error!(%rollup, %slot, %error, "constraints not signed");
                return;
            }
        };
        while now_ms() < self.cutoff(slot) {
            match self.relay.post_constraints(&signed).await {
                Ok(receipt) => return self.keep(rollup, slot, signed, receipt).await,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%rollup, %slot, %error, "constraints not at the relay yet");
                    sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(%rollup, %slot, %error, "the relay refused the constraints; the batch is in the public pool only");
                    return;
                }
            }
        }
        tracing::error!(%rollup, %slot, "no constraints at the relay by its cut-off; the batch is in the public pool only");
    }

    /// Keeps a receipt that holds: it is the defence against an accusation of a missed window.
    async fn keep(
        &self,
        rollup: RollupId,
        slot: Slot,
        constraints: SignedConstraints,
        receipt: SignedConstraintReceipt,
    ) {
        if let Err(reason) = self.judge(&constraints, &receipt) {
            tracing::error!(%rollup, %slot, reason, "the relay's receipt for the constraints does not hold");
            return;
        }
        tracing::info!(%rollup, %slot, "constraints held by the relay");
        let held = HeldBody { rollup_id: rollup.0, constraints, receipt };
        if let Err(error) = self.queue.record(Event::ConstraintsHeld(Box::new(held))).await {
            tracing::error!(%rollup, %slot, %error, "constraint receipt not kept");
        }
    }

    fn judge(
        &self,
        constraints: &SignedConstraints,
        receipt: &SignedConstraintReceipt,
    ) -> Result<(), &'static str> {
        let said = &receipt.message;
        if said.status != ConstraintStatus::Held {
            return Err("the relay dropped the constraints");
        }
        if said.slot != constraints.message.slot
            || constraints.message.hash().ok() != Some(said.constraints_hash)
        {
            return Err("it is for other constraints");
        }
        receipt.verify(&self.network, self.relay_address).map_err(|_| "it is not signed by the relay")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a held batch would not clear the gateway of a missed window.
    #[test]
    fn a_batch_carries_the_gas_that_the_slasher_asks_for() {
        for bytes in [0, 1, 836, 50_000, 120 * 1024, 10 << 20] {
            let least = inbox::least_gas(usize::try_from(bytes).unwrap());
            assert!(batch_gas(bytes) >= least, "{bytes}");
        }
    }

    #[test]
    fn no_more_is_promised_than_a_block_holds() {
        let full = batch_gas(120 * 1024);
        for (gas_limit, rollups) in [(30_000_000, 1), (30_000_000, 2), (60_000_000, 1), (60_000_000, 3)] {
            let segments = segments_per_block(gas_limit, rollups, 120 * 1024);
            assert!(
                u64::from(segments) * full * u64::try_from(rollups).unwrap() <= gas_limit,
                "{gas_limit} {rollups}"
            );
        }
        assert_eq!(segments_per_block(1_000_000, 4, 120 * 1024), 1);
    }
}

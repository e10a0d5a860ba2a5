//! Bids, matches and looks back: a bid is durable before it is posted, so that a restart posts the same one again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{B256, U256};
use earnest_client::ClientError;
use earnest_protocol::auction::{AuctionRecord, AuctionStatus, Sale};
use earnest_protocol::objects::{OrderingBid, SignedBid, SignedBidAck};
use earnest_protocol::signing::SigningError;
use earnest_protocol::window::Window;
use earnest_protocol::{Slot, Wei};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::allotment::{Market, has_no_auction};
use super::audit::Verdict;
use super::policy::{OpenSlot, PlannedBid};
use crate::delegation_plan::Duty;
use crate::delegation_record;
use crate::protected_signer::SignError;
use crate::sidecar::{Sidecar, now_ms};

/// How often the windows are looked at; first refusal is an eighth of a slot long.
const PAUSE: Duration = Duration::from_millis(250);
/// Bids of one slot in the order of their nonces; a match comes after them.
const NONCES_PER_SLOT: u32 = 16;

/// The task that bids.
#[derive(Debug)]
pub struct MarketTask {
    /// What it shares with the endpoints.
    pub sidecar: Arc<Sidecar>,
    /// The market.
    pub market: Arc<Market>,
    /// Our duties.
    pub duties: watch::Receiver<Vec<Duty>>,
    /// Every sequencing slot with its proposer and window.
    pub sequencing: watch::Receiver<Vec<Duty>>,
}

#[derive(Debug, thiserror::Error)]
enum BidError {
    #[error("relay: {0}")]
    Relay(#[from] ClientError),
    #[error(transparent)]
    Record(#[from] SignError),
    #[error("the bid cannot be signed: {0}")]
    Signing(#[from] SigningError),
    #[error("the relay is another than configured: it has {what} {theirs}")]
    OtherRelay { what: &'static str, theirs: String },
    #[error("the relay's acknowledgement is not its word on this bid")]
    BadAcknowledgement,
}

impl BidError {
    /// Whether the same again is of no use.
    fn is_final(&self) -> bool {
        match self {
            Self::Relay(error) => !error.is_transient(),
            Self::Record(_) | Self::Signing(_) => false,
            Self::OtherRelay { .. } | Self::BadAcknowledgement => true,
        }
    }
}

#[derive(Debug, Default)]
struct Done {
    considered: BTreeSet<Slot>,
    matched: BTreeSet<Slot>,
    looked_back: BTreeSet<Slot>,
    refused: BTreeSet<B256>,
}

impl MarketTask {
    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// Never; what fails is tried again while it can still count.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Infallible> {
        let mut done = Done::default();
        let follow = async {
            loop {
                self.round(&mut done).await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow => {}
        }
        Ok(())
    }

    async fn round(&self, done: &mut Done) {
        let Some(clock) = self.sidecar.clock.get().copied() else { return };
        let (own, all) = (self.duties.borrow().clone(), self.sequencing.borrow().clone());
        let now = now_ms();
        for duty in &all {
            let slot = duty.window.slot;
            if now < duty.window.close_ms {
                let is_own = own.iter().any(|ours| ours.place() == duty.place());
                let epoch = clock.slots.slots_of(clock.slots.epoch_of(slot.0));
                let outcome = self.bid(&duty.window, is_own, &epoch, done).await;
                Self::report(slot, "bid", outcome, &mut done.considered);
            }
        }
        for duty in &own {
            let slot = duty.window.slot;
            if duty.window.close_ms <= now
                && now < duty.window.first_refusal_ms
                && !done.matched.contains(&slot)
            {
                let epoch = clock.slots.slots_of(clock.slots.epoch_of(slot.0));
                let outcome = self.first_refusal(duty, &epoch).await;
                Self::report(slot, "match", outcome, &mut done.matched);
            }
        }
        let current = Slot(clock.slots.slot_at(now).unwrap_or(0));
        let decided = self.market.book.lock().decided_before(current);
        for slot in decided {
            if done.looked_back.insert(slot) {
                self.look_back(slot).await;
            }
        }
    }

    fn report(slot: Slot, what: &str, outcome: Result<bool, BidError>, done: &mut BTreeSet<Slot>) {
        match outcome {
            Ok(true) => {
                done.insert(slot);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%slot, what, %error, "market");
                metrics::counter!("earnest_proposer_market_failures_total", "step" => what.to_owned())
                    .increment(1);
                if error.is_final() {
                    done.insert(slot);
                }
            }
        }
    }

    /// Bids for a slot once; what the relay did not acknowledge is posted again. True once nothing is left to do.
    async fn bid(
        &self,
        window: &Window,
        own: bool,
        epoch: &std::ops::Range<u64>,
        done: &mut Done,
    ) -> Result<bool, BidError> {
        let slot = window.slot;
        let unacknowledged = self.market.book.lock().unacknowledged(slot);
        for bid in unacknowledged {
            let hash = bid.message.hash(&self.market.domain());
            if !done.refused.contains(&hash)
                && let Err(error) = self.post(&bid).await
            {
                if error.is_final() {
                    done.refused.insert(hash);
                }
                return Err(error);
            }
        }
        if done.considered.contains(&slot) || self.market.book.lock().bids(slot).next().is_some() {
            return Ok(true);
        }
        let sale = match self.sale(slot).await {
            Ok(sale) => sale,
            Err(BidError::Relay(error)) if has_no_auction(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        let left = self.left(epoch);
        let planned = self.market.policy.bids(&OpenSlot { slot, own, sale: &sale }, left);
        let mut left = left;
        for (index, planned) in (0..NONCES_PER_SLOT).zip(planned) {
            let Some(after) = left.checked_sub(planned.amount_wei) else { break };
            left = after;
            self.place(window, &planned, B256::ZERO, index).await?;
        }
        Ok(true)
    }

    /// Takes the place of winners in a slot of ours. True once nothing is left to do.
    async fn first_refusal(&self, duty: &Duty, epoch: &std::ops::Range<u64>) -> Result<bool, BidError> {
        let slot = duty.window.slot;
        let record: AuctionRecord = match self.market.relay.auction(slot.0).await {
            Ok(record) => record,
            Err(error) if has_no_auction(&error) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let Some(outcome) = record.outcome.filter(|_| record.status == AuctionStatus::Closed) else {
            return Ok(record.status != AuctionStatus::Open);
        };
        let account = self.market.account.address();
        let winners = outcome.bids.iter().filter(|bid| outcome.winners.contains(&bid.hash));
        for (index, winner) in (NONCES_PER_SLOT..).zip(winners) {
            let message = &winner.bid.message;
            let amount_wei = u128::try_from(message.amount_wei.0).unwrap_or(u128::MAX);
            let planned = PlannedBid { rollup_ids: message.rollup_ids.clone(), amount_wei };
            if message.account != account && self.market.policy.matches(&planned, self.left(epoch)) {
                self.place(&duty.window, &planned, winner.hash, index).await?;
            }
        }
        Ok(true)
    }

    /// Whether the relay still shows the result that it showed before.
    async fn look_back(&self, slot: Slot) {
        let duty = self.sequencing.borrow().iter().find(|duty| duty.window.slot == slot).copied();
        let (Some(duty), Ok(record)) = (duty, self.market.relay.auction(slot.0).await) else { return };
        if let Verdict::Wrong(findings) = self.market.judge(&record, &duty) {
            self.market.accuse(&record, &findings).await;
        }
    }

    /// What the budget of an epoch leaves, wei.
    fn left(&self, epoch: &std::ops::Range<u64>) -> u128 {
        let budget = u128::try_from(self.market.config.budget_wei.0).unwrap_or(u128::MAX);
        budget.saturating_sub(self.market.book.lock().at_stake(Slot(epoch.start), Slot(epoch.end)))
    }

    async fn sale(&self, slot: Slot) -> Result<Sale, BidError> {
        let rollups = self.market.relay.rollups(slot.0).await?;
        let relay = self.market.relay_address();
        let other = |what, theirs| Err(BidError::OtherRelay { what, theirs });
        if rollups.relay != relay {
            return other("address", rollups.relay.to_string());
        }
        if rollups.market != self.market.config.contract {
            return other("OrderingMarket", rollups.market.to_string());
        }
        if rollups.network != self.market.network {
            return other("chain id", rollups.network.chain_id.to_string());
        }
        Ok(Sale::of(&rollups.rollups, relay))
    }

    async fn place(
        &self,
        window: &Window,
        planned: &PlannedBid,
        matches: B256,
        index: u32,
    ) -> Result<(), BidError> {
        let (slot, wei) = (window.slot, planned.amount_wei);
        let what = if matches == B256::ZERO { "bid" } else { "match" };
        if self.market.config.dry_run {
            tracing::info!(%slot, what, rollups = ?planned.rollup_ids, wei, "dry run: would be made");
            return Ok(());
        }
        let gateway = &self.market.gateway;
        let bid = OrderingBid {
            slot,
            rollup_ids: planned.rollup_ids.clone(),
            amount_wei: Wei(U256::from(wei)),
            account: self.market.account.address(),
            registration_root: self.market.config.registration_root,
            committer: gateway.committer,
            relay: gateway.relay_address,
            delegate: gateway.delegate,
            url: gateway.url.clone(),
            matches,
            nonce: (slot.0 << 16) | u64::from(index),
            expiry: window.slot_ms.div_ceil(1000),
        };
        let signed = SignedBid::sign(bid, &self.market.account, &self.market.domain())?;
        let durable = signed.clone();
        self.market.record.write(move |log| delegation_record::keep_bid(log, &durable)).await?;
        self.market.book.lock().booked(signed.clone());
        tracing::info!(%slot, what, rollups = ?planned.rollup_ids, wei, "made");
        self.post(&signed).await
    }

    async fn post(&self, bid: &SignedBid) -> Result<(), BidError> {
        let is_match = bid.message.matches != B256::ZERO;
        let relay = &self.market.relay;
        let ack: SignedBidAck =
            if is_match { relay.post_match(bid).await? } else { relay.post_bid(bid).await? };
        let of_this = ack.message.bid_hash == bid.message.hash(&self.market.domain());
        if !of_this || ack.verify(&self.market.network, self.market.relay_address()).is_err() {
            return Err(BidError::BadAcknowledgement);
        }
        let (slot, durable) = (bid.message.slot, ack.clone());
        self.market.record.write(move |log| delegation_record::keep_ack(log, slot, &durable)).await?;
        self.market.book.lock().acknowledged(slot, ack);
        metrics::counter!("earnest_proposer_bids_total").increment(1);
        Ok(())
    }
}

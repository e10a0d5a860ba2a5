//! Bids, matches and looks back: a bid is durable before it is posted, so that a restart posts the same one again.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use earnest_client::ClientError;
use earnest_protocol::auction::{AuctionOutcome, AuctionStatus, Sale};
use earnest_protocol::objects::{OrderingBid, SignedBid, SignedBidAck};
use earnest_protocol::signing::SigningError;
use earnest_protocol::window::Window;
use earnest_protocol::{Slot, Wei};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::allotment::{Market, has_no_auction};
use super::audit::Verdict;
use super::l1::Behind;
use super::policy::{BiddingPolicy, OpenSlot, PlannedBid};
use crate::delegation_plan::Duty;
use crate::delegation_record;
use crate::protected_signer::SignError;
use crate::sidecar::{NetworkClock, Sidecar, now_ms};

/// How often the windows are looked at, apart from the closes of our own slots.
const PAUSE: Duration = Duration::from_millis(250);
/// How soon a match that did not succeed is tried again: first refusal is an eighth of a slot long.
const MATCH_PAUSE: Duration = Duration::from_millis(50);
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
    #[error("the relay's terms are not those that our view of L1 has")]
    OtherTerms,
    #[error("our view of L1: {0}")]
    Behind(#[from] Behind),
    #[error("the relay's acknowledgement is not its word on this bid")]
    BadAcknowledgement,
}

impl BidError {
    /// Whether the same again is of no use.
    fn is_final(&self) -> bool {
        match self {
            Self::Relay(error) => !error.is_transient() && !may_be_behind(error),
            Self::Record(_) | Self::Signing(_) | Self::OtherTerms | Self::Behind(_) => false,
            Self::OtherRelay { .. } | Self::BadAcknowledgement => true,
        }
    }
}

/// Codes of a relay whose lookahead, or view of L1, may be behind ours: at the start of an epoch it takes it a moment.
const BEHIND: [&str; 3] = ["unknown_slot", "not_sequencing", "nothing_for_sale"];

/// Whether a refusal may be another one a moment later.
fn may_be_behind(error: &ClientError) -> bool {
    error.refusal().is_some_and(|refusal| BEHIND.contains(&refusal.code.as_str()))
}

#[derive(Debug, Default)]
struct Done {
    considered: BTreeSet<Slot>,
    matched: BTreeSet<Slot>,
    looked_back: BTreeSet<Slot>,
    refused: BTreeSet<(Slot, B256)>,
}

impl Done {
    /// Forgets what can count no more: slots before `current`, and of those looked back at the ones that no record has.
    fn forget(&mut self, current: Slot, decided: &[Slot]) {
        for slots in [&mut self.considered, &mut self.matched] {
            *slots = slots.split_off(&current);
        }
        self.refused = self.refused.split_off(&(current, B256::ZERO));
        self.looked_back.retain(|slot| decided.contains(slot));
    }
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
                let pause = pause(&self.duties.borrow(), &done.matched, now_ms());
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = follow => {}
        }
        Ok(())
    }

    async fn round(&self, done: &mut Done) {
        let Some(clock) = self.sidecar.clock.get().cloned() else { return };
        let (own, all) = (self.duties.borrow().clone(), self.sequencing.borrow().clone());
        let now = now_ms();
        // An eighth of a slot is left for these, so they go first.
        for duty in &own {
            let slot = duty.window.slot;
            if duty.window.close_ms <= now
                && now < duty.window.first_refusal_ms
                && !done.matched.contains(&slot)
            {
                let epoch = clock.slots.slots_of(clock.slots.epoch_of(slot.0));
                let outcome = self.first_refusal(duty, &clock, &epoch, done).await;
                Self::report(slot, "match", outcome, &mut done.matched);
            }
        }
        for duty in &all {
            let slot = duty.window.slot;
            // Bids for many slots take longer than first refusal of one; they have until their closes.
            if is_due(&own, &done.matched, now_ms()) {
                return;
            }
            if now < duty.window.close_ms {
                let is_own = own.iter().any(|ours| ours.place() == duty.place());
                let epoch = clock.slots.slots_of(clock.slots.epoch_of(slot.0));
                let outcome = self.bid(duty, is_own, &clock, &epoch, done).await;
                Self::report(slot, "bid", outcome, &mut done.considered);
            }
        }
        let current = Slot(clock.slots.slot_at(now).unwrap_or(0));
        let decided = self.market.book.lock().decided_before(current);
        done.forget(current, &decided);
        for slot in decided {
            if done.looked_back.insert(slot) {
                self.look_back(slot, &clock).await;
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
        duty: &Duty,
        own: bool,
        clock: &NetworkClock,
        epoch: &std::ops::Range<u64>,
        done: &mut Done,
    ) -> Result<bool, BidError> {
        let (window, slot) = (&duty.window, duty.window.slot);
        let is_new = self.market.book.lock().bids(slot).next().is_none();
        if is_new && !done.considered.contains(&slot) {
            let sale = match self.sale(duty, clock).await {
                Ok(sale) => sale,
                Err(BidError::Relay(error)) if has_no_auction(&error) => return Ok(true),
                Err(error) => return Err(error),
            };
            let left = self.left(epoch);
            let planned = self.market.policy.bids(&OpenSlot { slot, own, sale: &sale }, left);
            let affordable = within(left, planned.into_iter().map(|planned| (planned, B256::ZERO)));
            self.book(window, "bid", 0, &affordable).await?;
        }
        self.post_all(slot, &mut done.refused).await
    }

    /// Takes the place of winners in a slot of ours. True once nothing is left to do.
    async fn first_refusal(
        &self,
        duty: &Duty,
        clock: &NetworkClock,
        epoch: &std::ops::Range<u64>,
        done: &mut Done,
    ) -> Result<bool, BidError> {
        let slot = duty.window.slot;
        let is_new = !self.market.book.lock().bids(slot).any(|(_, booked)| booked.is_match());
        if is_new {
            let record = match self.market.auction(slot).await {
                Ok(record) => record,
                Err(error) if has_no_auction(&error) => return Ok(true),
                Err(error) => return Err(error.into()),
            };
            let Some(outcome) = record.outcome.as_ref().filter(|_| record.status == AuctionStatus::Closed)
            else {
                return Ok(record.status != AuctionStatus::Open);
            };
            // Winners that are none would have us pay what nobody bid.
            let facts = self.market.facts(duty, clock)?;
            let findings = self.market.findings(&record, duty, facts).await;
            if !findings.is_empty() {
                self.market.accuse(slot, Some(&record), &findings).await;
                return Ok(true);
            }
            let policy = &*self.market.policy;
            let matches = wanted(policy, outcome, self.market.account.address(), self.left(epoch));
            self.book(&duty.window, "match", NONCES_PER_SLOT, &matches).await?;
        }
        self.post_all(slot, &mut done.refused).await
    }

    /// Whether the relay still shows the result that it showed before.
    async fn look_back(&self, slot: Slot, clock: &NetworkClock) {
        let duty = self.sequencing.borrow().iter().find(|duty| duty.window.slot == slot).copied();
        let (Some(duty), Ok(record)) = (duty, self.market.auction(slot).await) else { return };
        // What L1 said at that time may be forgotten by now; what was signed was judged by it.
        let facts = self.market.facts(&duty, clock).unwrap_or_default();
        if let Verdict::Wrong(findings) = self.market.judge(&record, &duty, facts).await {
            self.market.accuse(slot, Some(&record), &findings).await;
        }
    }

    /// What the budget of an epoch leaves, wei.
    fn left(&self, epoch: &std::ops::Range<u64>) -> u128 {
        let budget = u128::try_from(self.market.config.budget_wei.0).unwrap_or(u128::MAX);
        budget.saturating_sub(self.market.book.lock().at_stake(Slot(epoch.start), Slot(epoch.end)))
    }

    async fn sale(&self, duty: &Duty, clock: &NetworkClock) -> Result<Sale, BidError> {
        let rollups = self.market.relay.rollups(duty.window.slot.0).await?;
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
        let theirs = Sale::of(&rollups.rollups, relay);
        match self.market.facts(duty, clock)?.sale(relay) {
            Some(ours) if ours != theirs => Err(BidError::OtherTerms),
            _ => Ok(theirs),
        }
    }

    /// Makes bids durable, all or none, to be posted afterwards.
    async fn book(
        &self,
        window: &Window,
        what: &str,
        first_nonce: u32,
        planned: &[(PlannedBid, B256)],
    ) -> Result<(), BidError> {
        let slot = window.slot;
        let made = if self.market.config.dry_run { "dry run: would be made" } else { "made" };
        for (planned, _) in planned {
            tracing::info!(%slot, what, rollups = ?planned.rollup_ids, wei = planned.amount_wei, "{made}");
        }
        if self.market.config.dry_run || planned.is_empty() {
            return Ok(());
        }
        let nonces = first_nonce..first_nonce.saturating_add(NONCES_PER_SLOT);
        let sign = |(nonce, (planned, matches)): (u32, &(PlannedBid, B256))| {
            let bid = self.ordering_bid(window, planned, *matches, nonce);
            SignedBid::sign(bid, &self.market.account, &self.market.domain())
        };
        let bids: Vec<SignedBid> = nonces.zip(planned).map(sign).collect::<Result<_, SigningError>>()?;
        let durable = bids.clone();
        self.market.record.write(move |log| delegation_record::keep_bids(log, &durable)).await?;
        let mut book = self.market.book.lock();
        bids.into_iter().for_each(|bid| book.booked(bid));
        Ok(())
    }

    fn ordering_bid(&self, window: &Window, planned: &PlannedBid, matches: B256, nonce: u32) -> OrderingBid {
        let gateway = &self.market.gateway;
        OrderingBid {
            slot: window.slot,
            rollup_ids: planned.rollup_ids.clone(),
            amount_wei: Wei(U256::from(planned.amount_wei)),
            account: self.market.account.address(),
            registration_root: self.market.config.registration_root,
            committer: gateway.committer,
            relay: gateway.relay_address,
            delegate: gateway.delegate,
            url: gateway.url.clone(),
            matches,
            nonce: (window.slot.0 << 16) | u64::from(nonce),
            expiry: window.slot_ms.div_ceil(1000),
        }
    }

    /// Posts what the relay has not acknowledged; one that it refuses does not keep the others back. True once nothing is left.
    async fn post_all(&self, slot: Slot, refused: &mut BTreeSet<(Slot, B256)>) -> Result<bool, BidError> {
        let unacknowledged = self.market.book.lock().unacknowledged(slot);
        let mut failed = None;
        for bid in unacknowledged {
            let hash = bid.message.hash(&self.market.domain());
            if refused.contains(&(slot, hash)) {
                continue;
            }
            if let Err(error) = self.post(&bid).await {
                if error.is_final() {
                    tracing::warn!(%slot, bid = %hash, %error, "bid refused");
                    refused.insert((slot, hash));
                } else {
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(true), Err)
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

/// The first of these that `left` wei pay for.
fn within(left: u128, planned: impl Iterator<Item = (PlannedBid, B256)>) -> Vec<(PlannedBid, B256)> {
    let mut left = left;
    planned
        .map_while(|planned| {
            left = left.checked_sub(planned.0.amount_wei)?;
            Some(planned)
        })
        .collect()
}

/// The winners whose place to take, each with its hash: those of others that the policy wants.
fn wanted(
    policy: &dyn BiddingPolicy,
    outcome: &AuctionOutcome,
    account: Address,
    left_wei: u128,
) -> Vec<(PlannedBid, B256)> {
    let mut left = left_wei;
    let winners = outcome.bids.iter().filter(|bid| outcome.winners.contains(&bid.hash));
    let of_others = winners.filter(|bid| bid.bid.message.account != account);
    of_others
        .filter_map(|winner| {
            let message = &winner.bid.message;
            let amount_wei = u128::try_from(message.amount_wei.0).ok()?;
            let planned = PlannedBid { rollup_ids: message.rollup_ids.clone(), amount_wei };
            let after = left.checked_sub(amount_wei)?;
            policy.matches(&planned, left).then(|| {
                left = after;
                (planned, winner.hash)
            })
        })
        .collect()
}

/// Whether first refusal of a slot of ours runs that was not made use of.
fn is_due(own: &[Duty], matched: &BTreeSet<Slot>, now: u64) -> bool {
    let to_match = own.iter().map(|duty| duty.window).filter(|window| !matched.contains(&window.slot));
    to_match.into_iter().any(|window| window.close_ms <= now && now < window.first_refusal_ms)
}

/// How long nothing need be looked at: never beyond the close of a slot of ours.
fn pause(own: &[Duty], matched: &BTreeSet<Slot>, now: u64) -> Duration {
    if is_due(own, matched, now) {
        return MATCH_PAUSE;
    }
    let closes = own.iter().map(|duty| duty.window.close_ms).filter(|close_ms| *close_ms > now);
    let next = closes.min().map(|close_ms| Duration::from_millis(close_ms.saturating_sub(now)));
    next.map_or(PAUSE, |next| next.min(PAUSE))
}

#[cfg(test)]
mod tests {
    use alloy_primitives::FixedBytes;
    use earnest_protocol::RollupId;
    use earnest_protocol::auction::PublishedBid;
    use earnest_protocol::objects::BidAck;
    use earnest_protocol::signing::Signed;

    use super::*;

    /// Wants whatever it can pay.
    #[derive(Debug)]
    struct Everything;

    impl BiddingPolicy for Everything {
        fn bids(&self, _: &OpenSlot<'_>, _: u128) -> Vec<PlannedBid> {
            Vec::new()
        }

        fn matches(&self, winner: &PlannedBid, left_wei: u128) -> bool {
            winner.amount_wei <= left_wei
        }
    }

    fn published(account: u8, rollup: u64, wei: u64) -> PublishedBid {
        let message = OrderingBid {
            slot: Slot(9),
            rollup_ids: vec![RollupId(rollup)],
            amount_wei: Wei(U256::from(wei)),
            account: Address::repeat_byte(account),
            registration_root: B256::ZERO,
            committer: Address::ZERO,
            relay: Address::ZERO,
            delegate: FixedBytes::ZERO,
            url: String::new(),
            matches: B256::ZERO,
            nonce: 0,
            expiry: 0,
        };
        let hash = B256::from(U256::from(rollup * 1_000 + wei));
        let ack = Signed::new(BidAck { bid_hash: hash, received_at_ms: 0 }, FixedBytes::ZERO);
        PublishedBid { hash, bid: SignedBid { message, signature: FixedBytes::ZERO }, ack, excluded: None }
    }

    #[test]
    fn a_relay_that_is_behind_is_asked_again() {
        let refused = |status, code: &str| {
            let body = format!(r#"{{"code":"{code}","message":""}}"#);
            let refusal = earnest_client::Refusal::read(status, None, body.as_bytes());
            BidError::Relay(ClientError::Refused(Box::new(refusal))).is_final()
        };
        for code in BEHIND {
            assert!(!refused(400, code), "{code}");
        }
        assert!(refused(400, "bad_signature") && !refused(503, "not_ready"));
    }

    #[test]
    fn no_first_refusal_is_slept_through() {
        let duty = |slot: u64, close_ms: u64| Duty {
            key: FixedBytes::ZERO,
            window: Window {
                slot: Slot(slot),
                close_ms,
                first_refusal_ms: close_ms + 250,
                start_ms: close_ms + 4_000,
                seal_ms: close_ms + 6_000,
                constraint_cutoff_ms: close_ms + 6_300,
                slot_ms: close_ms + 7_000,
            },
        };
        let own = [duty(8, 1_000), duty(9, 3_000)];
        let none = BTreeSet::new();
        for (now, ms) in
            [(0, 250), (749, 250), (900, 100), (1_000, 50), (1_249, 50), (1_250, 250), (2_999, 1)]
        {
            assert_eq!(pause(&own, &none, now), Duration::from_millis(ms), "{now}");
        }
        assert_eq!(pause(&own, &BTreeSet::from([Slot(8)]), 1_000), PAUSE, "it was matched");
        assert_eq!(pause(&[], &none, 1_000), PAUSE);
    }

    #[test]
    fn winners_of_others_are_matched_as_far_as_the_budget_goes() {
        let bids = vec![published(1, 1, 50), published(2, 2, 60), published(2, 3, 30), published(2, 4, 1)];
        let winners = bids.iter().take(3).map(|bid| bid.hash).collect();
        let outcome = AuctionOutcome {
            rollups: Vec::new(),
            operators: Vec::new(),
            proposer_operator: None,
            bids,
            auction_root: B256::ZERO,
            winners,
            matches: Vec::new(),
            allocation: None,
            result: None,
        };
        let of = |account: u8, left: u128| -> Vec<u64> {
            let matches = wanted(&Everything, &outcome, Address::repeat_byte(account), left);
            matches.iter().map(|(planned, _)| planned.rollup_ids[0].0).collect()
        };
        assert_eq!(of(9, 200), [1, 2, 3], "not the loser");
        assert_eq!(of(1, 200), [2, 3], "not our own");
        assert_eq!(of(9, 80), [1, 3], "what can still be paid");
        assert!(of(9, 29).is_empty());
    }

    #[test]
    fn bids_end_where_the_budget_does() {
        let planned = |wei| (PlannedBid { rollup_ids: vec![RollupId(1)], amount_wei: wei }, B256::ZERO);
        let taken = within(10, [planned(6), planned(5), planned(1)].into_iter());
        assert_eq!(taken, [planned(6)]);
    }
}

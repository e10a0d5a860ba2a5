//! What was promised on a devnet, and whether it was kept: a fold over what a searcher and a follower saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use alloy_primitives::{Address, B256, U256};
use earnest_client::{Finding, Settled, follower::FollowerConfig, inclusion::InclusionFinding};
use earnest_protocol::{
    RollupId, Slot,
    auction::{AuctionRecord, AuctionStatus},
    objects::{Object, SlotAllocation},
    receipt::PreconfReceipt,
    stream::Accepted,
};

/// Something that a part of the devnet saw.
#[derive(Debug)]
pub enum Seen {
    /// A receipt that verifies offline.
    Receipt {
        /// The rollup.
        rollup: RollupId,
        /// The receipt.
        receipt: Box<PreconfReceipt>,
        /// From request to answer.
        latency: Duration,
    },
    /// A receipt that does not verify: a broken promise.
    BadReceipt {
        /// The rollup.
        rollup: RollupId,
        /// Why not.
        error: String,
    },
    /// The gateway gave no receipt, and said why.
    Refused {
        /// The rollup.
        rollup: RollupId,
        /// Its code.
        code: String,
    },
    /// What a follower found.
    Found {
        /// The rollup.
        rollup: RollupId,
        /// What.
        finding: Box<Finding>,
    },
    /// An auction that has its result, or has none for good.
    Auction(Box<AuctionRecord>),
    /// An auction that was computed again when its slot was past.
    Verified {
        /// The slot.
        slot: Slot,
        /// What is wrong.
        findings: Vec<String>,
        /// No delegation carries the result, so that nobody holds anything.
        void: bool,
    },
    /// A won bid that was settled.
    Settled(Box<SettledBid>),
    /// A won bid that could not be settled.
    NotSettled {
        /// The slot.
        slot: Slot,
        /// Whose bid.
        account: Address,
        /// Why not.
        error: String,
    },
}

/// A won bid that was settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledBid {
    /// The slot.
    pub slot: Slot,
    /// Whose bid.
    pub account: Address,
    /// What L1 says.
    pub settled: Settled,
    /// Whether that is what the rules foresee.
    pub as_foreseen: bool,
}

/// One segment of a window.
type Segment = (RollupId, Slot, u16);

/// The promises of a devnet.
#[derive(Debug, Default)]
pub struct Promises {
    receipts: BTreeMap<Segment, u64>,
    included: BTreeMap<Segment, u32>,
    broken: Vec<String>,
    latencies: Vec<Duration>,
    refusals: BTreeMap<String, u64>,
    market: Market,
}

/// What was promised and paid in auctions.
#[derive(Debug, Default)]
struct Market {
    /// What each result allocates.
    results: BTreeMap<Slot, SlotAllocation>,
    /// What receipts stand on: the rollup, and the hash of the allocation that names their signer.
    stands_on: BTreeMap<Slot, BTreeSet<(RollupId, B256)>>,
    /// What each result's winners are to pay, until they did.
    owed: BTreeMap<(Slot, B256), U256>,
    charged: BTreeMap<Address, U256>,
    credited: BTreeMap<Address, U256>,
    proposers_wei: U256,
    sold: usize,
    settled: usize,
    void: usize,
}

impl Promises {
    /// Takes in what was seen.
    pub fn on(&mut self, seen: &Seen) {
        match seen {
            Seen::Receipt { rollup, receipt, latency } => {
                let count = self.receipts.entry((*rollup, receipt.slot, receipt.segment)).or_default();
                *count = count.saturating_add(1);
                self.latencies.push(*latency);
                let allocation = receipt.authority.delegation.message.allocation();
                if let Ok(allocation) = allocation {
                    let stands_on = self.market.stands_on.entry(receipt.slot).or_default();
                    stands_on.insert((*rollup, allocation.abi_hash()));
                }
            }
            Seen::BadReceipt { rollup, error } => {
                self.broken.push(format!("rollup {rollup}: a receipt does not verify: {error}"));
            }
            Seen::Refused { code, .. } => {
                let count = self.refusals.entry(code.clone()).or_default();
                *count = count.saturating_add(1);
            }
            Seen::Found { rollup, finding } => self.found(*rollup, finding),
            Seen::Auction(record) => self.auction(record),
            Seen::Verified { slot, findings, void } => {
                self.broken
                    .extend(findings.iter().map(|finding| format!("auction of slot {slot}: {finding}")));
                if *void {
                    self.market.void = self.market.void.saturating_add(1);
                    self.market.owed.retain(|(owed, _), _| owed != slot);
                }
            }
            Seen::Settled(bid) => self.settled(bid),
            Seen::NotSettled { slot, account, error } => {
                self.broken.push(format!("slot {slot}: the bid of {account} is not settled: {error}"));
                self.market.owed.retain(|(owed, _), _| owed != slot);
            }
        }
    }

    fn auction(&mut self, record: &AuctionRecord) {
        let outcome = record.outcome.as_ref().filter(|_| record.status == AuctionStatus::Final);
        let Some(allocation) = outcome.and_then(|outcome| outcome.allocation.clone()) else { return };
        let market = &mut self.market;
        market.sold = market.sold.saturating_add(allocation.entries.len());
        for entry in &allocation.entries {
            let owed = market.owed.entry((record.slot, entry.bid_hash)).or_default();
            *owed = owed.saturating_add(entry.price_wei.0);
        }
        market.results.insert(record.slot, allocation);
    }

    fn settled(&mut self, bid: &SettledBid) {
        let SettledBid { slot, account, settled, as_foreseen } = bid;
        let market = &mut self.market;
        let owed = market.owed.remove(&(*slot, settled.bid_hash));
        if owed != Some(settled.charged_wei) || !as_foreseen {
            let (charged, owed) = (settled.charged_wei, owed.unwrap_or_default());
            self.broken
                .push(format!("slot {slot}: {account} was charged {charged} wei for a bid of {owed} wei"));
        }
        market.settled = market.settled.saturating_add(settled.rights.len());
        let add = |sum: &mut U256, wei: U256| *sum = sum.saturating_add(wei);
        add(market.charged.entry(*account).or_default(), settled.charged_wei);
        for right in &settled.rights {
            add(market.credited.entry(right.revenue_recipient).or_default(), right.revenue_wei);
            add(&mut market.proposers_wei, right.proposer_wei);
        }
    }

    /// Won bids of slots up to `last` that are not settled yet.
    #[must_use]
    pub fn unsettled(&self, last: Slot) -> usize {
        self.market.owed.keys().filter(|(slot, _)| *slot <= last).count()
    }

    /// What accounts were charged, and what was credited to whom, wei: what L1's books must show.
    #[must_use]
    pub fn paid(&self) -> (BTreeMap<Address, U256>, BTreeMap<Address, U256>) {
        (self.market.charged.clone(), self.market.credited.clone())
    }

    /// Notes a promise that was found broken elsewhere.
    pub fn break_with(&mut self, what: String) {
        self.broken.push(what);
    }

    fn found(&mut self, rollup: RollupId, finding: &Finding) {
        match finding {
            Finding::Inclusion(InclusionFinding::Included(record)) => {
                self.included.insert((rollup, record.slot, record.segment), record.count);
            }
            Finding::Inclusion(InclusionFinding::Lost { record }) => {
                self.included.remove(&(rollup, record.slot, record.segment));
            }
            Finding::Inclusion(InclusionFinding::Missed { seal }) => {
                self.broken.push(format!(
                    "rollup {rollup}: slot {}, segment {} is not on L1 in time",
                    seal.slot, seal.segment
                ));
            }
            Finding::Inclusion(InclusionFinding::Differs { seal, .. }) => {
                self.broken.push(format!(
                    "rollup {rollup}: slot {}, segment {} is another on L1",
                    seal.slot, seal.segment
                ));
            }
            Finding::Violation { violation, .. } => self.broken.push(format!("rollup {rollup}: {violation}")),
            Finding::Accepted { .. } => {}
        }
    }

    /// Receipts of windows up to `last` whose segment is not on L1 yet.
    #[must_use]
    pub fn open(&self, last: Slot) -> u64 {
        let open = self.receipts.iter().filter(|(segment, _)| segment.1 <= last);
        open.filter(|(segment, _)| !self.included.contains_key(segment)).map(|(_, count)| count).sum()
    }

    /// Ends the count: what is still open up to `last` is broken; and with a market, what stands on another delegation than
    /// that of its auction's result.
    #[must_use]
    pub fn verdict(mut self, last: Slot, has_market: bool) -> Verdict {
        if has_market {
            self.check_rights(last);
        }
        for ((rollup, slot, segment), count) in &self.receipts {
            if *slot <= last && !self.included.contains_key(&(*rollup, *slot, *segment)) {
                self.broken.push(format!(
                    "rollup {rollup}: {count} receipts of slot {slot}, segment {segment} are not on L1"
                ));
            }
        }
        self.latencies.sort_unstable();
        Verdict {
            receipts: self.receipts.values().sum(),
            batches: self.included.len(),
            refusals: self.refusals,
            median: self.latencies.get(self.latencies.len() / 2).copied(),
            market: has_market.then(|| MarketVerdict {
                auctions: self.market.results.len(),
                sold: self.market.sold,
                void: self.market.void,
                settled: self.market.settled,
                charged_wei: self
                    .market
                    .charged
                    .values()
                    .fold(U256::ZERO, |sum, wei| sum.saturating_add(*wei)),
                proposers_wei: self.market.proposers_wei,
            }),
            broken: self.broken,
        }
    }

    /// Each receipt's window must have been sold to its signer, by the result that its delegation carries.
    fn check_rights(&mut self, last: Slot) {
        for (slot, rights) in self.market.stands_on.range(..=last) {
            let result = self.market.results.get(slot);
            for (rollup, hash) in rights {
                let sold = result.filter(|allocation| allocation.abi_hash() == *hash);
                if sold.and_then(|allocation| allocation.entry(*rollup)).is_none() {
                    let what = "receipts stand on no result of the slot's auction";
                    self.broken.push(format!("rollup {rollup}, slot {slot}: {what}"));
                }
            }
        }
        for (slot, hash) in self.market.owed.keys().filter(|(slot, _)| *slot <= last) {
            self.broken.push(format!("slot {slot}: the winning bid {hash} is not settled"));
        }
    }
}

/// How a devnet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Receipts given, all of them verified.
    pub receipts: u64,
    /// Segments recorded on L1 as they were sealed.
    pub batches: usize,
    /// Refusals by code.
    pub refusals: BTreeMap<String, u64>,
    /// Median time from request to receipt.
    pub median: Option<Duration>,
    /// What the market came to, if there is one.
    pub market: Option<MarketVerdict>,
    /// Promises that were not kept, one sentence each.
    pub broken: Vec<String>,
}

/// What the market of a devnet came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketVerdict {
    /// Auctions with a result.
    pub auctions: usize,
    /// Rights over one rollup's window that they sold.
    pub sold: usize,
    /// Results that no delegation carries.
    pub void: usize,
    /// Rights that were settled.
    pub settled: usize,
    /// What the winners were charged, wei.
    pub charged_wei: U256,
    /// What of it the proposers were credited, wei.
    pub proposers_wei: U256,
}

/// Follows one rollup and tells what it finds, until nobody listens.
pub async fn follow(
    gateway: earnest_client::GatewayClient,
    config: FollowerConfig,
    seen: tokio::sync::mpsc::UnboundedSender<Seen>,
) {
    let rollup = config.rollup;
    let mut follower = earnest_client::Follower::new(&gateway, config);
    loop {
        match follower.next().await {
            Ok(finding) => {
                if seen.send(Seen::Found { rollup, finding: Box::new(finding) }).is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(%rollup, %error, "the stream cannot be followed");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// The window that a finding opened or sealed, for display.
#[must_use]
pub fn sealed_by(finding: &Finding) -> Option<(Slot, u32)> {
    match finding {
        Finding::Accepted { accepted, .. } => match &**accepted {
            Accepted::Seal(seal) => Some((seal.slot, seal.first_index)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use earnest_protocol::settlement::Right;

    use super::*;

    fn settled(charged: u64, as_foreseen: bool) -> Seen {
        let right = Right {
            rollup_id: RollupId(7),
            revenue_recipient: Address::repeat_byte(2),
            revenue_wei: U256::from(27),
            proposer_wei: U256::from(3),
            in_time: true,
        };
        let settled = Settled { bid_hash: B256::ZERO, charged_wei: U256::from(charged), rights: vec![right] };
        let account = Address::repeat_byte(1);
        Seen::Settled(Box::new(SettledBid { slot: Slot(9), account, settled, as_foreseen }))
    }

    fn won() -> Promises {
        let mut promises = Promises::default();
        promises.market.owed.insert((Slot(9), B256::ZERO), U256::from(30));
        promises.market.stands_on.entry(Slot(9)).or_default().insert((RollupId(7), B256::ZERO));
        promises.market.results.insert(
            Slot(9),
            SlotAllocation { slot: Slot(9), start_ms: 0, auction_root: B256::ZERO, entries: vec![] },
        );
        promises
    }

    #[test]
    fn a_winner_pays_what_it_bid_and_as_the_rules_foresee() {
        for (charged, as_foreseen, kept) in [(30, true, true), (29, true, false), (30, false, false)] {
            let mut promises = won();
            promises.market.stands_on.clear();
            assert_eq!((promises.unsettled(Slot(8)), promises.unsettled(Slot(9))), (0, 1));
            promises.on(&settled(charged, as_foreseen));
            assert_eq!(promises.unsettled(Slot(9)), 0);
            let (paid, credited) = promises.paid();
            assert_eq!(paid[&Address::repeat_byte(1)], U256::from(charged));
            assert_eq!(credited[&Address::repeat_byte(2)], U256::from(27));
            let verdict = promises.verdict(Slot(9), true);
            assert_eq!(verdict.broken.is_empty(), kept, "{:?}", verdict.broken);
            let market = verdict.market.unwrap();
            assert_eq!((market.settled, market.proposers_wei), (1, U256::from(3)));
        }
    }

    #[test]
    fn what_is_unpaid_or_stands_on_no_result_is_broken_once_its_slot_counts() {
        assert!(won().verdict(Slot(8), true).broken.is_empty(), "not yet");
        assert!(won().verdict(Slot(9), false).broken.is_empty(), "there is no market");
        let broken = won().verdict(Slot(9), true).broken;
        assert!(broken.len() == 2 && broken[0].contains("stand on no result"), "{broken:?}");
        assert!(broken[1].contains("is not settled"), "{broken:?}");
        // No delegation carries it: nobody holds anything, and nobody owes anything.
        let mut void = won();
        void.market.stands_on.clear();
        void.on(&Seen::Verified { slot: Slot(9), findings: vec![], void: true });
        let verdict = void.verdict(Slot(9), true);
        assert_eq!((verdict.broken, verdict.market.unwrap().void), (vec![], 1));
        let mut wrong = Promises::default();
        let findings = vec!["bid is left out".to_owned()];
        wrong.on(&Seen::Verified { slot: Slot(9), findings, void: false });
        assert_eq!(wrong.verdict(Slot(0), true).broken, ["auction of slot 9: bid is left out"]);
    }
}

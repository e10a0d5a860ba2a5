//! Bids and auctions, folded from the journal. Pure.

use crate::events::{AuctionClosed, AuctionDecided, BidTaken};
use alloy_primitives::{Address, B256, U256};
use earnest_protocol::{
    Slot,
    auction::NamedBid,
    objects::{OrderingBid, SignedBidAck},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
};

/// Bids held in memory; beyond, those of the oldest closed auctions are no longer shown.
const KEPT_BIDS: usize = 50_000;
/// Slots of which anything is held.
const KEPT_SLOTS: usize = 50_000;

/// A bid or a match that was taken.
#[derive(Debug)]
pub(crate) struct HeldBid {
    pub(crate) taken: BidTaken,
    /// The acknowledgement, once it was signed.
    pub(crate) ack: OnceLock<SignedBidAck>,
}

impl HeldBid {
    pub(crate) const fn message(&self) -> &OrderingBid {
        &self.taken.bid.message
    }

    pub(crate) const fn named(&self) -> NamedBid<'_> {
        NamedBid { hash: self.taken.hash, bid: self.message() }
    }
}

/// What is held of one slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlotMarket {
    /// Bids, in the order they came.
    pub(crate) bids: Vec<Arc<HeldBid>>,
    /// Matches, in the order they came.
    pub(crate) matches: Vec<Arc<HeldBid>>,
    pub(crate) closed: Option<Arc<AuctionClosed>>,
    pub(crate) decided: Option<Arc<AuctionDecided>>,
    /// Its bids are no longer held.
    pub(crate) pruned: bool,
    /// What the winners owe.
    owed: Vec<Owed>,
    /// Delegations that came for the slot after its result: when, Unix milliseconds, and the hash of the allocation.
    delegated: Vec<(u64, B256)>,
}

/// What a winner owes.
#[derive(Debug, Clone, Copy)]
struct Owed {
    account: Address,
    wei: U256,
    /// The hash of its bid, by which L1 has it as settled.
    bid: B256,
}

impl Owed {
    fn by(held: &HeldBid) -> Self {
        let bid = held.message();
        Self { account: bid.account, wei: bid.amount_wei.0, bid: held.taken.hash }
    }
}

impl SlotMarket {
    /// The bid or match of this hash.
    pub(crate) fn held(&self, hash: B256) -> Option<&Arc<HeldBid>> {
        self.bids.iter().chain(&self.matches).find(|held| held.taken.hash == hash)
    }

    /// Bids and matches of an account.
    pub(crate) fn of_account(&self, account: Address) -> impl Iterator<Item = &Arc<HeldBid>> {
        self.bids.iter().chain(&self.matches).filter(move |held| held.message().account == account)
    }

    /// What an account's bids take up of its escrow, wei.
    fn taken_up(&self, account: Address, slot: Slot, clock: &impl Clock) -> U256 {
        let sum = |owed: &mut dyn Iterator<Item = Owed>| {
            let own = owed.filter(|owed| owed.account == account);
            own.fold(U256::ZERO, |sum, owed| sum.saturating_add(owed.wei))
        };
        let all = |held: &[Arc<HeldBid>]| held.iter().map(|held| Owed::by(held)).collect();
        match (&self.closed, &self.decided) {
            (None, _) if clock.is_past(slot) => U256::ZERO,
            (None, _) => {
                let all: Vec<Owed> = all(&self.bids);
                sum(&mut all.into_iter())
            }
            (Some(closed), None) if clock.is_started(closed.window.start_ms) => U256::ZERO,
            (Some(_), None) => {
                let matches: Vec<Owed> = all(&self.matches);
                sum(&mut self.owed.iter().copied().chain(matches))
            }
            (Some(closed), Some(decided)) => {
                let (hash, start_ms) = (decided.result.allocation_hash, closed.window.start_ms);
                let holds = |(at_ms, of): &(u64, B256)| *at_ms < start_ms && *of == hash;
                // Past the start without such a delegation the winners hold nothing.
                let void = clock.is_started(start_ms) && !self.delegated.iter().any(holds);
                if void || clock.is_unsettleable(slot) {
                    return U256::ZERO;
                }
                let owed = self.owed.iter().copied();
                sum(&mut owed.filter(|owed| owed.account != account || !clock.is_settled(slot, &owed.bid)))
            }
        }
    }
}

/// What of bids depends on more than the bids.
pub(crate) trait Clock {
    /// Whether the slot has begun: an auction that did not close by then never will.
    fn is_past(&self, slot: Slot) -> bool;
    /// Whether this time has come, after which no result is signed any more.
    fn is_started(&self, start_ms: u64) -> bool;
    /// Whether it is too late to settle.
    fn is_unsettleable(&self, slot: Slot) -> bool;
    /// Whether L1 has this bid as settled.
    fn is_settled(&self, slot: Slot, bid: &B256) -> bool;
}

/// Every auction held.
#[derive(Debug, Default)]
pub(crate) struct MarketView {
    slots: BTreeMap<u64, SlotMarket>,
    by_account: HashMap<Address, BTreeSet<u64>>,
    bids: usize,
}

impl MarketView {
    /// Folds a bid or match in.
    pub(crate) fn take(&mut self, taken: BidTaken) {
        let (slot, account) = (taken.bid.message.slot.0, taken.bid.message.account);
        let market = self.slots.entry(slot).or_default();
        if market.held(taken.hash).is_some() {
            return;
        }
        let is_match = taken.bid.message.matches != B256::ZERO;
        let held = Arc::new(HeldBid { taken, ack: OnceLock::new() });
        let list = if is_match { &mut market.matches } else { &mut market.bids };
        list.push(held);
        self.by_account.entry(account).or_default().insert(slot);
        self.bids = self.bids.saturating_add(1);
    }

    /// Folds a close in.
    pub(crate) fn close(&mut self, closed: AuctionClosed) {
        let market = self.slots.entry(closed.slot.0).or_default();
        if market.closed.is_none() {
            let owed = |hash: &B256| market.held(*hash).map(|held| Owed::by(held));
            market.owed = closed.winners.iter().filter_map(owed).collect();
            market.closed = Some(Arc::new(closed));
        }
        self.prune();
    }

    /// Folds in that a delegation came, by an allocation of this hash. It counts for as long as its bids can be settled,
    /// which is longer than the delegation itself is held.
    pub(crate) fn delegate(&mut self, slot: Slot, received_at_ms: u64, allocation_hash: B256) {
        if let Some(market) = self.slots.get_mut(&slot.0).filter(|market| market.decided.is_some()) {
            market.delegated.push((received_at_ms, allocation_hash));
        }
    }

    /// Folds a result in.
    pub(crate) fn decide(&mut self, decided: AuctionDecided) {
        let market = self.slots.entry(decided.result.slot.0).or_default();
        if market.decided.is_none() {
            let owed = |hash: &B256| market.held(*hash).map(|held| Owed::by(held));
            market.owed = decided.result.winners.iter().filter_map(owed).collect();
            market.decided = Some(Arc::new(decided));
        }
    }

    fn prune(&mut self) {
        let newest = self.slots.iter().rev().find(|(_, market)| market.closed.is_some());
        let newest = newest.map_or(0, |(slot, _)| *slot);
        let mut older = self.slots.range_mut(..newest);
        while self.bids > KEPT_BIDS {
            let Some((_, market)) = older.next() else { break };
            let shown = market.bids.len().saturating_add(market.matches.len());
            self.bids = self.bids.saturating_sub(shown);
            (market.bids, market.matches, market.pruned) = (Vec::new(), Vec::new(), true);
        }
        while self.slots.len() > KEPT_SLOTS {
            let Some((slot, _)) = self.slots.pop_first() else { break };
            self.by_account.retain(|_, slots| {
                slots.remove(&slot);
                !slots.is_empty()
            });
        }
    }

    /// What is held of a slot.
    pub(crate) fn slot(&self, slot: Slot) -> Option<&SlotMarket> {
        self.slots.get(&slot.0)
    }

    /// What an account's live and unsettled bids take up of its escrow together, wei.
    pub(crate) fn taken_up(&self, account: Address, clock: &impl Clock) -> U256 {
        let slots = self.by_account.get(&account).into_iter().flatten();
        let live = slots.rev().take_while(|slot| !clock.is_unsettleable(Slot(**slot)));
        let markets = live.filter_map(|slot| Some((Slot(*slot), self.slots.get(slot)?)));
        markets
            .fold(U256::ZERO, |sum, (slot, market)| sum.saturating_add(market.taken_up(account, slot, clock)))
    }

    /// Auctions that closed and have no result.
    pub(crate) fn undecided(&self) -> Vec<Arc<AuctionClosed>> {
        let newest = self.slots.values().rev().take(256);
        let undecided = newest.filter(|market| market.decided.is_none());
        undecided.filter_map(|market| market.closed.clone()).collect()
    }

    /// Bids that are sealed.
    pub(crate) fn sealed(&self) -> usize {
        let newest = self.slots.values().rev().take(256);
        newest.filter(|market| market.closed.is_none()).map(|market| market.bids.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::bls;
    use earnest_protocol::{
        RollupId, Wei,
        objects::{AuctionResult, SignedBid, SlotAllocation},
        signing::{EcdsaSecret, EcdsaSignature},
        window::Timing,
    };

    const TIMING: Timing = Timing::new(0, 12_000, 32);

    fn taken(slot: u64, by: u8, nonce: u64, wei: u64, matches: B256) -> BidTaken {
        let account = EcdsaSecret::from_bytes(&[by; 32]).unwrap().address();
        let message = OrderingBid {
            slot: Slot(slot),
            rollup_ids: vec![RollupId(nonce)],
            amount_wei: Wei(U256::from(wei)),
            account,
            registration_root: B256::ZERO,
            committer: Address::ZERO,
            relay: Address::ZERO,
            delegate: bls(1).public_key(),
            url: String::new(),
            matches,
            nonce,
            expiry: 0,
        };
        let hash = alloy_primitives::keccak256([slot.to_be_bytes(), nonce.to_be_bytes()].concat());
        let bid = SignedBid { message, signature: EcdsaSignature::ZERO };
        BidTaken { received_at_ms: 0, hash, bid }
    }

    fn closed(slot: u64, winners: &[B256]) -> AuctionClosed {
        AuctionClosed {
            slot: Slot(slot),
            window: TIMING.window(Slot(slot), None).unwrap(),
            previous: None,
            proposer: bls(1).public_key(),
            rollups: vec![],
            operators: vec![],
            proposer_operator: None,
            excluded: vec![],
            auction_root: B256::ZERO,
            winners: winners.to_vec(),
        }
    }

    fn decided(slot: u64, winners: &[B256]) -> AuctionDecided {
        let (slot, auction_root, allocation_hash) = (Slot(slot), B256::ZERO, B256::repeat_byte(7));
        let winners = winners.to_vec();
        let result = AuctionResult { slot, auction_root, winners, allocation_hash, closed_at_ms: 0 };
        let allocation = SlotAllocation { slot, start_ms: 0, auction_root, entries: vec![] };
        AuctionDecided { result, allocation }
    }

    #[derive(Default)]
    struct At {
        past: bool,
        started: bool,
        unsettleable: bool,
        settled: bool,
    }

    impl Clock for At {
        fn is_past(&self, _: Slot) -> bool {
            self.past
        }
        fn is_started(&self, _: u64) -> bool {
            self.started
        }
        fn is_unsettleable(&self, _: Slot) -> bool {
            self.unsettleable
        }
        fn is_settled(&self, _: Slot, _: &B256) -> bool {
            self.settled
        }
    }

    #[test]
    fn escrow_is_taken_up_by_what_lives_and_what_is_unsettled() {
        let mut view = MarketView::default();
        let [first, second, other] = [
            taken(100, 1, 1, 5, B256::ZERO),
            taken(100, 1, 2, 7, B256::ZERO),
            taken(100, 2, 3, 90, B256::ZERO),
        ];
        let account = first.bid.message.account;
        for bid in [&first, &second, &other, &first] {
            view.take(bid.clone());
        }
        view.take(taken(101, 1, 1, 100, B256::ZERO));
        let wei = |view: &MarketView, at: At| view.taken_up(account, &at).to::<u64>();
        assert_eq!(wei(&view, At::default()), 112, "all that live, each once");
        assert_eq!(wei(&view, At { past: true, ..At::default() }), 0, "what never closed lives no more");

        view.close(closed(100, &[first.hash, other.hash]));
        view.close(closed(100, &[second.hash]));
        assert_eq!(wei(&view, At::default()), 105, "losers are free, and a second close is none");
        let matching = taken(100, 1, 4, 90, other.hash);
        view.take(matching.clone());
        assert_eq!(wei(&view, At::default()), 195);
        assert_eq!(wei(&view, At { started: true, ..At::default() }), 100, "no result came in time");

        view.delegate(Slot(100), 0, B256::repeat_byte(7));
        view.decide(decided(100, &[first.hash, matching.hash]));
        assert_eq!(wei(&view, At::default()), 195);
        let started = || At { started: true, ..At::default() };
        let start_ms = TIMING.window(Slot(100), None).unwrap().start_ms;
        let allocation = B256::repeat_byte(7);
        for (at_ms, hash, void) in [
            (start_ms, allocation, true),
            (start_ms - 1, B256::ZERO, true),
            (start_ms - 1, allocation, false),
            (start_ms + 1, B256::ZERO, false),
        ] {
            view.delegate(Slot(100), at_ms, hash);
            assert_eq!(wei(&view, started()), if void { 100 } else { 195 }, "{at_ms} {hash}");
        }
        assert_eq!(wei(&view, At { settled: true, ..started() }), 100);
        assert_eq!(wei(&view, At { unsettleable: true, ..started() }), 0);
        assert!(view.undecided().is_empty());
        assert_eq!(view.sealed(), 1);
    }

    #[test]
    fn old_bids_are_dropped_and_what_winners_owe_is_not() {
        let mut view = MarketView::default();
        let bids = KEPT_BIDS as u64 / 10;
        for slot in 100..112 {
            (0..bids).for_each(|nonce| view.take(taken(slot, 1, nonce, 1, B256::ZERO)));
            let winner = view.slot(Slot(slot)).unwrap().bids[0].taken.hash;
            view.close(closed(slot, &[winner]));
            view.decide(decided(slot, &[winner]));
        }
        let held = |slot| view.slot(Slot(slot)).map(|market| (market.bids.len() as u64, market.pruned));
        assert_eq!(
            [100, 101, 102, 111].map(held),
            [Some((0, true)), Some((0, true)), Some((bids, false)), Some((bids, false))]
        );
        let account = EcdsaSecret::from_bytes(&[1; 32]).unwrap().address();
        assert_eq!(view.taken_up(account, &At::default()), U256::from(12));
    }
}

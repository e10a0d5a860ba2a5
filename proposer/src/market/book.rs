//! What we bid, what the relay acknowledged, and the results it signed. Pure: a fold over the records of [`crate::delegation_record`].

use std::collections::BTreeMap;

use alloy_primitives::B256;
use earnest_protocol::Slot;
use earnest_protocol::auction::HeldAck;
use earnest_protocol::objects::{MarketDomain, SignedAuctionResult, SignedBid, SignedBidAck};

/// Slots behind the newest that are still remembered.
const REMEMBERED: u64 = 256;

/// One bid of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The bid, as it was or will be posted.
    pub bid: SignedBid,
    /// The relay's word that it has it.
    pub ack: Option<SignedBidAck>,
}

impl Booked {
    /// Whether it takes a winner's place.
    #[must_use]
    pub fn is_match(&self) -> bool {
        self.bid.message.matches != B256::ZERO
    }
}

/// What is known of one slot's auction.
#[derive(Debug, Clone, Default)]
pub struct SlotBook {
    bids: BTreeMap<B256, Booked>,
    /// The results that the relay signed, as they were seen: one, if it is honest.
    pub results: Vec<SignedAuctionResult>,
}

/// All auctions that we took part in or signed for.
#[derive(Debug)]
pub struct MarketBook {
    domain: MarketDomain,
    slots: BTreeMap<Slot, SlotBook>,
}

impl MarketBook {
    /// Nothing yet. Bids are named by their hashes in `domain`.
    #[must_use]
    pub const fn new(domain: MarketDomain) -> Self {
        Self { domain, slots: BTreeMap::new() }
    }

    /// Takes up a bid that is durable.
    pub fn booked(&mut self, bid: SignedBid) {
        let hash = bid.message.hash(&self.domain);
        let slot = self.slot_mut(bid.message.slot);
        slot.bids.entry(hash).or_insert(Booked { bid, ack: None });
    }

    /// Takes up the relay's word on a bid.
    pub fn acknowledged(&mut self, slot: Slot, ack: SignedBidAck) {
        if let Some(booked) = self.slot_mut(slot).bids.get_mut(&ack.message.bid_hash) {
            booked.ack.get_or_insert(ack);
        }
    }

    /// Takes up a result that the relay signed.
    pub fn result(&mut self, result: SignedAuctionResult) {
        let results = &mut self.slot_mut(result.message.slot).results;
        if !results.iter().any(|known| known.message == result.message) {
            results.push(result);
        }
    }

    /// The bids of a slot, by hash.
    pub fn bids(&self, slot: Slot) -> impl Iterator<Item = (&B256, &Booked)> {
        self.slots.get(&slot).into_iter().flat_map(|slot| &slot.bids)
    }

    /// The acknowledgements we hold for a slot.
    #[must_use]
    pub fn held(&self, slot: Slot) -> Vec<HeldAck> {
        let held = |(_, booked): (_, &Booked)| {
            booked.ack.clone().map(|ack| HeldAck { bid: booked.bid.clone(), ack })
        };
        self.bids(slot).filter_map(held).collect()
    }

    /// The results seen for a slot.
    #[must_use]
    pub fn results(&self, slot: Slot) -> &[SignedAuctionResult] {
        self.slots.get(&slot).map(|slot| slot.results.as_slice()).unwrap_or_default()
    }

    /// Slots with a result before `slot`, which the relay may be asked about once more.
    #[must_use]
    pub fn decided_before(&self, slot: Slot) -> Vec<Slot> {
        let decided = self.slots.range(..slot).filter(|(_, book)| !book.results.is_empty());
        decided.map(|(slot, _)| *slot).collect()
    }

    /// The bids of a slot that were not acknowledged yet.
    #[must_use]
    pub fn unacknowledged(&self, slot: Slot) -> Vec<SignedBid> {
        self.bids(slot)
            .filter(|(_, booked)| booked.ack.is_none())
            .map(|(_, booked)| booked.bid.clone())
            .collect()
    }

    /// What is at stake in slots `from..until`, wei: every bid until its auction is decided, then those that won.
    #[must_use]
    pub fn at_stake(&self, from: Slot, until: Slot) -> u128 {
        let slots = self.slots.range(from..until);
        slots.fold(0, |sum, (_, book)| sum.saturating_add(book.at_stake()))
    }

    fn slot_mut(&mut self, slot: Slot) -> &mut SlotBook {
        let newest = self.slots.last_key_value().map_or(slot, |(newest, _)| (*newest).max(slot));
        self.slots = self.slots.split_off(&Slot(newest.0.saturating_sub(REMEMBERED)));
        self.slots.entry(slot).or_default()
    }
}

impl SlotBook {
    fn at_stake(&self) -> u128 {
        let counts = |hash: &B256| {
            self.results.is_empty() || self.results.iter().any(|result| result.message.winners.contains(hash))
        };
        let bids = self.bids.iter().filter(|(hash, _)| counts(hash));
        bids.fold(0_u128, |sum, (_, booked)| {
            sum.saturating_add(u128::try_from(booked.bid.message.amount_wei.0).unwrap_or(u128::MAX))
        })
    }
}

//! Bids received, found by what the data API filters by. Pure.

use alloy_primitives::B256;
use earnest_builder_types::{BidTrace, BlsPublicKey};
use ssz_derive::{Decode, Encode};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A builder's bid that passed every check, whatever came of it then.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct ReceivedBid {
    /// As the builder signed it.
    pub(crate) trace: BidTrace,
    /// Number of the execution block.
    pub(crate) block_number: u64,
    /// Transactions in it.
    pub(crate) num_tx: u64,
    /// When the submission came, Unix milliseconds.
    pub(crate) received_at_ms: u64,
}

/// What is asked for; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReceivedFilter {
    pub(crate) slot: Option<u64>,
    pub(crate) block_hash: Option<B256>,
    pub(crate) block_number: Option<u64>,
    pub(crate) builder_pubkey: Option<BlsPublicKey>,
}

impl ReceivedFilter {
    fn takes(&self, bid: &ReceivedBid) -> bool {
        self.slot.is_none_or(|slot| slot == bid.trace.slot)
            && self.block_hash.is_none_or(|hash| hash == bid.trace.block_hash)
            && self.block_number.is_none_or(|number| number == bid.block_number)
            && self.builder_pubkey.is_none_or(|key| key == bid.trace.builder_pubkey)
    }
}

/// How many bids are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    /// In all; those of the oldest slots go first.
    pub(crate) bids: usize,
    /// Of one slot; what comes later is not kept.
    pub(crate) per_slot: usize,
}

/// Where a bid stands: its slot, then the order in which bids came.
type Place = (u64, u64);

/// The newest bids, in order of slot and arrival, and where they are by hash, number and builder.
#[derive(Debug)]
pub(crate) struct ReceivedBids {
    room: Room,
    arrivals: u64,
    bids: BTreeMap<Place, ReceivedBid>,
    of_slot: HashMap<u64, usize>,
    by_hash: BTreeSet<(B256, Place)>,
    by_number: BTreeSet<(u64, Place)>,
    by_builder: BTreeSet<(BlsPublicKey, Place)>,
}

impl ReceivedBids {
    /// No bids yet.
    pub(crate) fn new(room: Room) -> Self {
        let (bids, of_slot, by_hash, by_number, by_builder) = Default::default();
        Self { room, arrivals: 0, bids, of_slot, by_hash, by_number, by_builder }
    }

    /// How many bids there are.
    pub(crate) fn len(&self) -> usize {
        self.bids.len()
    }

    /// How many builders have a bid for `slot` or a later one.
    pub(crate) fn builders_from(&self, slot: u64) -> usize {
        let bids = self.bids.range((slot, 0)..).map(|(_, bid)| bid.trace.builder_pubkey);
        bids.collect::<HashSet<_>>().len()
    }

    /// Takes one bid in; others go for it, or it is not kept itself, as [`Room`] says.
    pub(crate) fn insert(&mut self, bid: ReceivedBid) {
        let of_slot = self.of_slot.get(&bid.trace.slot).copied().unwrap_or_default();
        if of_slot >= self.room.per_slot {
            return;
        }
        self.of_slot.insert(bid.trace.slot, of_slot.saturating_add(1));
        self.arrivals = self.arrivals.saturating_add(1);
        let place = (bid.trace.slot, self.arrivals);
        self.by_hash.insert((bid.trace.block_hash, place));
        self.by_number.insert((bid.block_number, place));
        self.by_builder.insert((bid.trace.builder_pubkey, place));
        self.bids.insert(place, bid);
        while self.bids.len() > self.room.bids {
            self.remove_oldest();
        }
    }

    fn remove_oldest(&mut self) {
        let Some((place, bid)) = self.bids.pop_first() else { return };
        self.by_hash.remove(&(bid.trace.block_hash, place));
        self.by_number.remove(&(bid.block_number, place));
        self.by_builder.remove(&(bid.trace.builder_pubkey, place));
        if let Some(of_slot) = self.of_slot.get_mut(&place.0) {
            *of_slot = of_slot.saturating_sub(1);
            if *of_slot == 0 {
                self.of_slot.remove(&place.0);
            }
        }
    }

    /// At most `limit` bids that the filter takes, those of the newest slot first, and of a slot the newest. Looks only
    /// at those under one of the filter's values: the hash, else the slot, the number, the builder.
    pub(crate) fn find(&self, filter: &ReceivedFilter, limit: usize) -> Vec<ReceivedBid> {
        if let Some(hash) = filter.block_hash {
            self.collect(range(&self.by_hash, hash), filter, limit)
        } else if let Some(slot) = filter.slot {
            let places = self.bids.range((slot, 0)..=(slot, u64::MAX)).rev().map(|(place, _)| *place);
            self.collect(places, filter, limit)
        } else if let Some(number) = filter.block_number {
            self.collect(range(&self.by_number, number), filter, limit)
        } else if let Some(builder) = filter.builder_pubkey {
            self.collect(range(&self.by_builder, builder), filter, limit)
        } else {
            self.collect(self.bids.keys().rev().copied(), filter, limit)
        }
    }

    fn collect(
        &self,
        places: impl Iterator<Item = Place>,
        filter: &ReceivedFilter,
        limit: usize,
    ) -> Vec<ReceivedBid> {
        let bids = places.filter_map(|place| self.bids.get(&place));
        bids.filter(|bid| filter.takes(bid)).take(limit).cloned().collect()
    }
}

/// The places under one value, the newest first.
fn range<T: Ord + Copy>(index: &BTreeSet<(T, Place)>, value: T) -> impl Iterator<Item = Place> {
    index.range((value, (0, 0))..=(value, (u64::MAX, u64::MAX))).rev().map(|(_, place)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOM: Room = Room { bids: 1_000, per_slot: 1_000 };

    fn bid(slot: u64, hash: u8, number: u64, builder: u8, at: u64) -> ReceivedBid {
        let trace = BidTrace {
            slot,
            block_hash: B256::repeat_byte(hash),
            builder_pubkey: BlsPublicKey::repeat_byte(builder),
            ..BidTrace::default()
        };
        ReceivedBid { trace, block_number: number, num_tx: 0, received_at_ms: at }
    }

    prop_compose! {
        /// Few values, so that filters meet bids.
        fn any_bid()(slot in 0..4u64, hash in 0..4u8, number in 0..4u64, builder in 0..3u8, at: u64) -> ReceivedBid {
            bid(slot, hash, number, builder, at)
        }
    }

    fn any_filter() -> impl Strategy<Value = ReceivedFilter> {
        let some = proptest::option::of::<std::ops::Range<u8>>;
        (some(0..4), some(0..4), some(0..4), some(0..3)).prop_map(|(slot, hash, number, builder)| {
            ReceivedFilter {
                slot: slot.map(u64::from),
                block_hash: hash.map(B256::repeat_byte),
                block_number: number.map(u64::from),
                builder_pubkey: builder.map(BlsPublicKey::repeat_byte),
            }
        })
    }

    proptest! {
        /// Whatever index is used, the answer is that of a walk over all bids.
        #[test]
        fn an_index_changes_no_answer(
            all in proptest::collection::vec(any_bid(), 0..60),
            filter in any_filter(),
            limit in 0..70usize,
        ) {
            let mut bids = ReceivedBids::new(ROOM);
            all.iter().cloned().for_each(|bid| bids.insert(bid));
            let mut expected: Vec<_> = all.into_iter().rev().filter(|bid| filter.takes(bid)).collect();
            expected.sort_by_key(|bid| std::cmp::Reverse(bid.trace.slot));
            expected.truncate(limit);
            prop_assert_eq!(bids.find(&filter, limit), expected);
        }

        /// Nothing is left of what went.
        #[test]
        fn memory_is_bounded(all in proptest::collection::vec(any_bid(), 0..60), most in 0..20usize, per_slot in 0..9usize) {
            let mut bids = ReceivedBids::new(Room { bids: most, per_slot });
            for bid in all {
                bids.insert(bid);
                prop_assert!(bids.len() <= most);
            }
            for index in [bids.by_hash.len(), bids.by_number.len(), bids.by_builder.len()] {
                prop_assert_eq!(index, bids.len());
            }
            let counted: usize = bids.of_slot.values().sum();
            prop_assert_eq!(counted, bids.len());
            prop_assert!(bids.of_slot.values().all(|count| (1..=per_slot).contains(count)));
        }
    }

    #[test]
    fn the_oldest_slot_goes_first_and_a_full_slot_takes_no_more() {
        let mut bids = ReceivedBids::new(Room { bids: 3, per_slot: 2 });
        for (slot, at) in [(5, 1), (7, 2), (7, 3), (7, 4), (6, 5), (4, 6)] {
            bids.insert(bid(slot, 0, 0, 0, at));
        }
        let times: Vec<u64> =
            bids.find(&ReceivedFilter::default(), 9).iter().map(|bid| bid.received_at_ms).collect();
        assert_eq!(times, [3, 2, 5], "newest slot first, and of it the newest");
    }
}

//! Winner determination: exact, by dynamic programming over sets of rollups.
//!
//! A set is a mask of at most 16 bits. `best[S]` is the most that the rollups of S bring, each sold by one of disjoint
//! bids or left at its reserve. The lowest rollup of S is either unsold or in one bid, so sets whose lowest bit is i follow
//! from sets without bits up to i, and a bid whose lowest rollup is i is tried with every set of higher rollups beside
//! it: 2^(16 − i − |bid|) additions.
//!
//! **Worst case.** Of bids on the same set one can win, so the distinct sets bound the work, not the bids: all of them
//! together need Σ 3^(15 − i) ≈ 21.5 million additions, 1,000 of them at most 4.2 million (those of few rollups, low ones).
//! The table takes 1 MiB. A bid that brings no more than its own rollups bring apart is passed over.
//!
//! **Ties** cost nothing: the number of rollups sold is the low bits of every sum, and the least list of hashes is read off
//! the table: by ascending hash, a bid is in it if the rest brings what is missing to the best (the least hash in any best
//! set is the first of the least list; then again among the sets with it). Of two best lists none is the beginning of the
//! other, for that would sell fewer rollups.

use super::MAX_ROLLUPS;
use alloy_primitives::B256;
use std::collections::{HashMap, hash_map::Entry};

/// Bits below the wei of a sum, which count the rollups sold.
const COUNT_BITS: u32 = 5;

/// A bid as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    /// Its rollups, not none.
    pub(super) mask: usize,
    /// At most [`MAX_WEI`](super::MAX_WEI).
    pub(super) wei: u128,
    pub(super) hash: B256,
}

impl Offer {
    /// What it adds to a sum.
    fn value(&self) -> u128 {
        value(self.wei, self.mask.count_ones())
    }
}

/// Wei and rollups sold in one number: sums of disjoint ones compare by wei first, and no sum of 16 overflows.
fn value(wei: u128, sold: u32) -> u128 {
    wei << COUNT_BITS | u128::from(sold)
}

/// The hashes of the winners, ascending, and what all rollups bring together, the unsold at their reserve. `reserves` are
/// of at most 16 rollups, in the order of the masks' bits; offers of others are passed over.
pub(super) fn solve(reserves: &[u128], offers: &[Offer]) -> (Vec<B256>, u128) {
    let full = (1_usize << reserves.len().min(MAX_ROLLUPS)).saturating_sub(1);
    let offers = best_of_each_set(offers, full);
    let best = Table::fill(reserves, &offers, full);
    let mut by_hash = offers;
    by_hash.sort_unstable_by_key(|offer| offer.hash);
    let mut rest = full;
    let mut winners = Vec::new();
    for offer in by_hash {
        let without = rest & !offer.mask;
        if offer.mask & rest == offer.mask && offer.value().saturating_add(best.of(without)) == best.of(rest)
        {
            winners.push(offer.hash);
            rest = without;
        }
    }
    (winners, best.of(full) >> COUNT_BITS)
}

/// Of bids on the same rollups the highest, and of those the one with the least hash: no other can win.
fn best_of_each_set(offers: &[Offer], full: usize) -> Vec<Offer> {
    let mut best: HashMap<usize, Offer> = HashMap::new();
    for offer in offers.iter().filter(|offer| offer.mask != 0 && offer.mask & !full == 0) {
        match best.entry(offer.mask) {
            Entry::Vacant(vacant) => {
                vacant.insert(*offer);
            }
            Entry::Occupied(mut held) => {
                let other = held.get();
                if offer.wei > other.wei || (offer.wei == other.wei && offer.hash < other.hash) {
                    held.insert(*offer);
                }
            }
        }
    }
    best.into_values().collect()
}

/// The best value of each set.
struct Table(Vec<u128>);

impl Table {
    fn fill(reserves: &[u128], offers: &[Offer], full: usize) -> Self {
        let mut table = Self(vec![0; full.saturating_add(1)]);
        let mut offers = offers.to_vec();
        // Small sets first: they tell which larger ones bring nothing.
        offers.sort_unstable_by_key(|offer| (offer.mask.count_ones(), offer.mask));
        let lots = reserves.iter().take(MAX_ROLLUPS).enumerate().rev();
        for (lowest, reserve) in lots {
            let bit = 1_usize << lowest;
            let above = full & !(bit | bit.saturating_sub(1));
            let unsold = value(*reserve, 0);
            for rest in subsets(above) {
                table.raise(bit | rest, unsold.saturating_add(table.of(rest)));
            }
            for offer in offers.iter().filter(|offer| offer.mask.trailing_zeros() as usize == lowest) {
                let offered = offer.value();
                if offered <= table.of(offer.mask) {
                    continue;
                }
                for rest in subsets(above & !offer.mask) {
                    table.raise(offer.mask | rest, offered.saturating_add(table.of(rest)));
                }
            }
        }
        table
    }

    fn of(&self, mask: usize) -> u128 {
        self.0.get(mask).copied().unwrap_or_default()
    }

    fn raise(&mut self, mask: usize, value: u128) {
        if let Some(held) = self.0.get_mut(mask)
            && value > *held
        {
            *held = value;
        }
    }
}

/// Every subset of `mask`, itself and the empty one too.
fn subsets(mask: usize) -> impl Iterator<Item = usize> {
    let mut next = Some(mask);
    std::iter::from_fn(move || {
        let subset = next?;
        next = subset.checked_sub(1).map(|less| less & mask);
        Some(subset)
    })
}

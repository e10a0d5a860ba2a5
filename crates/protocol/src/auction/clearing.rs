//! From bids to an allocation.

use super::{
    Lot, MAX_WEI, Operator, Sale,
    price::split,
    solve::{Offer, solve},
};
use crate::{
    RollupId, Slot, Wei,
    objects::{AllocationEntry, AuctionResult, Object, OrderingBid, SlotAllocation},
    window::Window,
};
use alloy_primitives::B256;
use std::collections::HashMap;

/// A bid with its [hash](OrderingBid::hash).
#[derive(Debug, Clone, Copy)]
pub struct NamedBid<'a> {
    /// The hash.
    pub hash: B256,
    /// The bid.
    pub bid: &'a OrderingBid,
}

/// A bid that won.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Won {
    /// Its hash.
    pub hash: B256,
    /// The bid.
    pub bid: OrderingBid,
    /// What each of its rollups is paid, in their order.
    pub prices: Vec<Wei>,
}

/// Who won.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clearing {
    /// The winners, by ascending hash; their rollups are disjoint.
    pub winners: Vec<Won>,
    /// What all rollups bring, those that are not sold counted at their reserve, wei.
    pub total_wei: u128,
}

/// Determines the winners (design §2): the disjoint bids that bring most, each rollup's reserve being a bid of its own; of
/// equal sets the one that sells more rollups, then the one whose sorted list of hashes is least. A winner pays its bid,
/// each of its rollups getting a part by the larger of its reserve and the best bid on it alone; so none gets less than
/// that. Exact; the order of the bids does not matter. Bids on what is not for sale, or above [`MAX_WEI`], are passed over.
#[must_use]
pub fn clear(sale: &Sale, bids: &[NamedBid<'_>]) -> Clearing {
    let ledger = Ledger::new(sale, bids);
    let reserves: Vec<u128> = sale.lots().iter().map(|lot| lot.reserve_wei).collect();
    let offers: Vec<Offer> = ledger.offers.iter().map(|(offer, _)| *offer).collect();
    let (winners, total_wei) = solve(&reserves, &offers);
    Clearing { winners: ledger.award(&winners), total_wei }
}

/// What the bids named by `hashes` pay as winners, whether or not they should be; unknown ones are left out.
#[must_use]
pub fn award(sale: &Sale, bids: &[NamedBid<'_>], hashes: &[B256]) -> Clearing {
    let winners = Ledger::new(sale, bids).award(hashes);
    let sold = |lot: &&Lot| winners.iter().all(|won| !won.bid.rollup_ids.contains(&lot.rollup_id));
    let unsold = sale.lots().iter().filter(sold).map(|lot| lot.reserve_wei);
    let bids = winners.iter().map(|won| u128::try_from(won.bid.amount_wei.0).unwrap_or(u128::MAX));
    let total_wei = bids.chain(unsold).fold(0, u128::saturating_add);
    Clearing { winners, total_wei }
}

/// The bids on what is for sale.
struct Ledger<'a> {
    sale: &'a Sale,
    offers: Vec<(Offer, &'a OrderingBid)>,
    /// The best bid on a rollup alone, wei, by its mask.
    alone: HashMap<usize, u128>,
}

impl<'a> Ledger<'a> {
    fn new(sale: &'a Sale, bids: &[NamedBid<'a>]) -> Self {
        let offer = |named: &NamedBid<'a>| {
            let wei = u128::try_from(named.bid.amount_wei.0).ok().filter(|wei| *wei <= MAX_WEI)?;
            let mask = sale.mask(&named.bid.rollup_ids).filter(|mask| *mask != 0)?;
            Some((Offer { mask, wei, hash: named.hash }, named.bid))
        };
        let offers: Vec<_> = bids.iter().filter_map(offer).collect();
        let mut alone: HashMap<usize, u128> = HashMap::new();
        for (offer, _) in offers.iter().filter(|(offer, _)| offer.mask.is_power_of_two()) {
            let best = alone.entry(offer.mask).or_default();
            *best = offer.wei.max(*best);
        }
        Self { sale, offers, alone }
    }

    fn award(&self, hashes: &[B256]) -> Vec<Won> {
        let won = |hash: &B256| {
            let (offer, bid) = self.offers.iter().find(|(offer, _)| offer.hash == *hash)?;
            let worths: Vec<u128> = bid.rollup_ids.iter().filter_map(|id| self.worth(*id)).collect();
            Some(Won { hash: *hash, bid: (*bid).clone(), prices: split(offer.wei, &worths) })
        };
        hashes.iter().filter_map(won).collect()
    }

    /// The larger of a rollup's reserve and the best bid on it alone.
    fn worth(&self, rollup: RollupId) -> Option<u128> {
        let best = self.alone.get(&self.sale.mask(&[rollup])?).copied().unwrap_or_default();
        Some(best.max(self.sale.lot(rollup)?.reserve_wei))
    }
}

/// Why a bid does not match a winner by first refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MatchFault {
    /// Not of the operator whose validator proposes the slot.
    #[error("only the operator of the slot's proposer may match")]
    NotProposer,
    /// It names no winner.
    #[error("{0} is no winner")]
    NoWinner(B256),
    /// Not the winner's rollups.
    #[error("a match is for the winner's rollups")]
    Rollups,
    /// Not the winner's amount.
    #[error("a match is of the winner's amount, {0} wei")]
    Amount(Wei),
}

impl MatchFault {
    /// Its name, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotProposer => "not_proposer",
            Self::NoWinner(_) => "no_winner",
            Self::Rollups => "other_rollups",
            Self::Amount(_) => "other_amount",
        }
    }
}

/// Judges whether `bid`, which may take part as such, takes the place of the winner that it names.
///
/// # Errors
/// The first [`MatchFault`] found.
pub fn check_match(
    winners: &[Won],
    bid: &OrderingBid,
    proposer: Option<&Operator>,
) -> Result<(), MatchFault> {
    let is_proposers = |operator: &Operator| {
        operator.registration_root == bid.registration_root && operator.owner == bid.account
    };
    if !proposer.is_some_and(is_proposers) {
        return Err(MatchFault::NotProposer);
    }
    let winner = winners.iter().find(|won| won.hash == bid.matches);
    let winner = winner.ok_or(MatchFault::NoWinner(bid.matches))?;
    if winner.bid.rollup_ids != bid.rollup_ids {
        return Err(MatchFault::Rollups);
    }
    if winner.bid.amount_wei != bid.amount_wei {
        return Err(MatchFault::Amount(winner.bid.amount_wei));
    }
    Ok(())
}

impl Clearing {
    /// After first refusal: each match stands in the place of the winner that it names, at the same prices. Of several
    /// that name one, the first.
    #[must_use]
    pub fn refused(&self, matches: &[NamedBid<'_>]) -> Self {
        let after = |won: &Won| {
            let mut taking = matches.iter().filter(|named| named.bid.matches == won.hash);
            taking.next().map_or_else(
                || won.clone(),
                |named| Won { hash: named.hash, bid: named.bid.clone(), prices: won.prices.clone() },
            )
        };
        let mut winners: Vec<Won> = self.winners.iter().map(after).collect();
        winners.sort_unstable_by_key(|won| won.hash);
        Self { winners, total_wei: self.total_wei }
    }

    /// The hashes of the winners, ascending.
    #[must_use]
    pub fn hashes(&self) -> Vec<B256> {
        self.winners.iter().map(|won| won.hash).collect()
    }

    /// Who holds which rollup in `window`, by ascending rollup.
    #[must_use]
    pub fn allocation(&self, window: &Window, auction_root: B256) -> SlotAllocation {
        let entries = self.winners.iter().flat_map(|won| {
            won.bid.rollup_ids.iter().zip(&won.prices).map(|(rollup_id, price_wei)| AllocationEntry {
                rollup_id: *rollup_id,
                bid_hash: won.hash,
                account: won.bid.account,
                committer: won.bid.committer,
                delegate: won.bid.delegate,
                price_wei: *price_wei,
                url: won.bid.url.clone(),
            })
        });
        let mut entries: Vec<AllocationEntry> = entries.collect();
        entries.sort_by_key(|entry| entry.rollup_id);
        SlotAllocation { slot: window.slot, start_ms: window.start_ms, auction_root, entries }
    }

    /// What the relay signs of the auction of `slot` that closed at `closed_at_ms`.
    #[must_use]
    pub fn result(&self, slot: Slot, closed_at_ms: u64, allocation: &SlotAllocation) -> AuctionResult {
        AuctionResult {
            slot,
            auction_root: allocation.auction_root,
            winners: self.hashes(),
            allocation_hash: allocation.abi_hash(),
            closed_at_ms,
        }
    }
}

//! What to bid, and what to match. Pure. An operator with a policy of its own implements [`BiddingPolicy`].

use std::collections::BTreeMap;
use std::fmt::Debug;

use earnest_protocol::auction::{MAX_WEI, Sale};
use earnest_protocol::{RollupId, Slot};

use super::{FirstRefusal, MarketConfig, Slots};

/// A slot whose auction is open.
#[derive(Debug, Clone, Copy)]
pub struct OpenSlot<'a> {
    /// The slot.
    pub slot: Slot,
    /// Whether a validator of ours proposes it.
    pub own: bool,
    /// What is for sale.
    pub sale: &'a Sale,
}

/// A bid to be made: all of these rollups for this amount, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBid {
    /// The rollups, ascending, each once, all for sale.
    pub rollup_ids: Vec<RollupId>,
    /// What is paid, in wei.
    pub amount_wei: u128,
}

/// Decides for an operator. Called with what the budget leaves; what would exceed it is not done.
pub trait BiddingPolicy: Debug + Send + Sync + 'static {
    /// The bids for a slot, the most wanted first. `left_wei` is what the budget of the slot's epoch leaves for all of them together.
    fn bids(&self, open: &OpenSlot<'_>, left_wei: u128) -> Vec<PlannedBid>;

    /// Whether to take a winner's place in a slot of ours, for the same rollups and amount.
    fn matches(&self, winner: &PlannedBid, left_wei: u128) -> bool;
}

/// The policy of the configuration: each rollup alone for its value, and each set with a bonus for its values and the bonus.
#[derive(Debug, Clone)]
pub struct ConfiguredPolicy {
    slots: Slots,
    first_refusal: FirstRefusal,
    values: BTreeMap<RollupId, u128>,
    bonuses: BTreeMap<Vec<RollupId>, u128>,
}

impl ConfiguredPolicy {
    /// The policy of a configuration that was checked.
    #[must_use]
    pub fn new(config: &MarketConfig) -> Self {
        let wei = |wei: earnest_protocol::Wei| u128::try_from(wei.0).unwrap_or(u128::MAX);
        let sorted = |rollups: &[RollupId]| {
            let mut rollups = rollups.to_vec();
            rollups.sort_unstable();
            rollups
        };
        Self {
            slots: config.slots,
            first_refusal: config.first_refusal,
            values: config.values.iter().map(|value| (value.rollup, wei(value.value_wei))).collect(),
            bonuses: config.bonuses.iter().map(|set| (sorted(&set.rollups), wei(set.bonus_wei))).collect(),
        }
    }

    /// What exactly these rollups are worth together, wei; none if one is worth nothing to us.
    fn worth(&self, rollups: &[RollupId]) -> Option<u128> {
        let alone =
            rollups.iter().try_fold(0_u128, |sum, id| Some(sum.saturating_add(*self.values.get(id)?)))?;
        Some(alone.saturating_add(self.bonuses.get(rollups).copied().unwrap_or(0)))
    }
}

impl BiddingPolicy for ConfiguredPolicy {
    fn bids(&self, open: &OpenSlot<'_>, left_wei: u128) -> Vec<PlannedBid> {
        if self.slots == Slots::Own && !open.own {
            return Vec::new();
        }
        let sets = self.bonuses.keys().cloned();
        let singles = self.values.keys().map(|rollup| vec![*rollup]);
        let mut wanted: Vec<(u128, PlannedBid)> = sets
            .chain(singles)
            .filter_map(|rollup_ids| {
                let reserve = open.sale.reserve_of(&rollup_ids)?;
                let amount_wei = self.worth(&rollup_ids)?;
                let can_win = amount_wei >= reserve && amount_wei > 0 && amount_wei <= MAX_WEI;
                let gain = amount_wei.saturating_sub(reserve);
                can_win.then_some((gain, PlannedBid { rollup_ids, amount_wei }))
            })
            .collect();
        // What lies furthest above its reserve first; of equals the smaller set, then the lower ids.
        wanted.sort_by(|(gain, one), (other_gain, other)| {
            let size = one.rollup_ids.len().cmp(&other.rollup_ids.len());
            other_gain.cmp(gain).then(size).then_with(|| one.rollup_ids.cmp(&other.rollup_ids))
        });
        let mut left = left_wei;
        let affordable = |(_, bid): (u128, PlannedBid)| {
            left = left.checked_sub(bid.amount_wei)?;
            Some(bid)
        };
        wanted.into_iter().map_while(affordable).collect()
    }

    fn matches(&self, winner: &PlannedBid, left_wei: u128) -> bool {
        let worth = self.worth(&winner.rollup_ids).unwrap_or(0);
        self.first_refusal == FirstRefusal::IfWorth
            && worth >= winner.amount_wei
            && left_wei >= winner.amount_wei
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, B256, U256};
    use earnest_protocol::Wei;
    use earnest_protocol::objects::{Policy, RollupRegistration};
    use earnest_signer::KeyFile;
    use proptest::prelude::*;

    use super::*;
    use crate::market::{RollupValue, SetBonus};

    fn wei(wei: u64) -> Wei {
        Wei(U256::from(wei))
    }

    fn config(values: &[(u64, u64)], bonuses: &[(&[u64], u64)]) -> MarketConfig {
        MarketConfig {
            contract: Address::ZERO,
            relay: String::new(),
            registration_root: B256::ZERO,
            account_key: KeyFile::bare("key"),
            dry_run: false,
            slots: Slots::All,
            first_refusal: FirstRefusal::IfWorth,
            budget_wei: wei(1_000),
            values: values
                .iter()
                .map(|(rollup, value)| RollupValue { rollup: RollupId(*rollup), value_wei: wei(*value) })
                .collect(),
            bonuses: bonuses
                .iter()
                .map(|(rollups, bonus)| SetBonus {
                    rollups: rollups.iter().copied().map(RollupId).collect(),
                    bonus_wei: wei(*bonus),
                })
                .collect(),
        }
    }

    fn sale(reserves: &[(u64, u64)]) -> Sale {
        let registration = |(rollup, reserve): &(u64, u64)| RollupRegistration {
            rollup_id: RollupId(*rollup),
            reserve_wei: wei(*reserve),
            reserve_committer: Address::ZERO,
            revenue_recipient: Address::ZERO,
            inclusion_share_bps: 0,
            max_batch_bytes: 1 << 17,
            max_tx_gas: 1 << 24,
            policy: Policy::Fcfs,
            required_level: 1,
            opaque: false,
            active: true,
            relay: Address::ZERO,
            uri: String::new(),
        };
        Sale::of(&reserves.iter().map(registration).collect::<Vec<_>>(), Address::ZERO)
    }

    fn planned(bids: &[(&[u64], u128)]) -> Vec<PlannedBid> {
        let planned = |(rollups, amount_wei): &(&[u64], u128)| PlannedBid {
            rollup_ids: rollups.iter().copied().map(RollupId).collect(),
            amount_wei: *amount_wei,
        };
        bids.iter().map(planned).collect()
    }

    #[test]
    fn each_rollup_and_each_set_is_bid_for_the_one_furthest_above_its_reserve_first() {
        let policy = ConfiguredPolicy::new(&config(&[(1, 50), (2, 30), (3, 99)], &[(&[2, 1], 7)]));
        let sale = sale(&[(1, 10), (2, 25), (4, 1)]);
        let open = OpenSlot { slot: Slot(9), own: false, sale: &sale };
        // 87 - 35 = 52 above the reserves, 50 - 10 = 40, 30 - 25 = 5; rollup 3 is not for sale, 4 worth nothing to us.
        let all = planned(&[(&[1, 2], 87), (&[1], 50), (&[2], 30)]);
        assert_eq!(policy.bids(&open, 1_000), all);
        assert_eq!(policy.bids(&open, 167), all);
        assert_eq!(policy.bids(&open, 166), all[..2], "the budget ends it");
        assert!(policy.bids(&open, 86).is_empty(), "what is wanted most comes first or nothing");
    }

    #[test]
    fn what_cannot_win_and_what_is_worth_nothing_is_not_bid_for() {
        let policy = ConfiguredPolicy::new(&config(&[(1, 9), (2, 0)], &[]));
        let sale = sale(&[(1, 10), (2, 0)]);
        assert!(policy.bids(&OpenSlot { slot: Slot(9), own: true, sale: &sale }, 1_000).is_empty());
    }

    #[test]
    fn slots_of_others_are_left_alone_unless_all_are_wanted() {
        let sale = sale(&[(1, 1)]);
        let config = MarketConfig { slots: Slots::Own, ..config(&[(1, 5)], &[]) };
        let policy = ConfiguredPolicy::new(&config);
        let of = |own| policy.bids(&OpenSlot { slot: Slot(9), own, sale: &sale }, 100).len();
        assert_eq!((of(true), of(false)), (1, 0));
    }

    #[test]
    fn a_winner_is_matched_if_it_is_worth_its_amount_and_can_be_paid() {
        let policy = ConfiguredPolicy::new(&config(&[(1, 50), (2, 30)], &[(&[1, 2], 7)]));
        for (rollups, amount, left, matched) in [
            (&[1][..], 50, 50, true),
            (&[1], 51, 100, false),
            (&[1], 50, 49, false),
            (&[1, 2], 87, 100, true),
            (&[1, 2], 88, 100, false),
            (&[1, 3], 1, 100, false),
        ] {
            assert_eq!(policy.matches(&planned(&[(rollups, amount)])[0], left), matched, "{rollups:?}");
        }
        let never = MarketConfig { first_refusal: FirstRefusal::Never, ..config(&[(1, 50)], &[]) };
        assert!(!ConfiguredPolicy::new(&never).matches(&planned(&[(&[1], 1)])[0], 100));
    }

    proptest! {
        #[test]
        fn bids_never_exceed_the_budget_and_are_all_admissible(
            values in proptest::collection::btree_map(0u64..6, 0u64..100, 0..6),
            reserves in proptest::collection::btree_map(0u64..6, 0u64..100, 0..6),
            bonus in 0u64..50,
            left in 0u128..400,
        ) {
            let values: Vec<_> = values.into_iter().collect();
            let set: Vec<u64> = values.iter().map(|(id, _)| *id).collect();
            let bonuses: &[(&[u64], u64)] = if set.len() > 1 { &[(&set, bonus)] } else { &[] };
            let policy = ConfiguredPolicy::new(&config(&values, bonuses));
            let sale = sale(&reserves.into_iter().collect::<Vec<_>>());
            let bids = policy.bids(&OpenSlot { slot: Slot(9), own: true, sale: &sale }, left);
            prop_assert!(bids.iter().map(|bid| bid.amount_wei).sum::<u128>() <= left);
            for bid in &bids {
                prop_assert!(bid.rollup_ids.is_sorted_by(|a, b| a < b) && !bid.rollup_ids.is_empty());
                prop_assert!(sale.reserve_of(&bid.rollup_ids).unwrap() <= bid.amount_wei);
                prop_assert!(policy.matches(bid, bid.amount_wei));
            }
            prop_assert_eq!(policy.bids(&OpenSlot { slot: Slot(9), own: true, sale: &sale }, left), bids);
        }
    }
}

//! Who wins and what each pays, by table and against brute force.

use super::{bid, named, registration, relay, sale, with_hashes};
use crate::{
    RollupId, Wei,
    auction::{Clearing, MAX_WEI, Sale, Won, clear},
    objects::OrderingBid,
};
use alloy_primitives::{Address, B256, U256, keccak256};
use proptest::prelude::*;
use std::cmp::Reverse;

fn winners(reserves: &[u128], bids: &[(&[u64], u128)]) -> (Vec<u8>, u128) {
    let bids = with_hashes(bids);
    let clearing = clear(&sale(reserves), &named(&bids));
    (clearing.winners.iter().map(|won| won.hash.0[31]).collect(), clearing.total_wei)
}

#[test]
fn the_disjoint_bids_that_bring_most_win() {
    assert_eq!(winners(&[], &[]), (vec![], 0));
    assert_eq!(winners(&[5, 7], &[]), (vec![], 12), "unsold");
    assert_eq!(winners(&[5], &[(&[1], 4)]), (vec![], 5), "below the reserve");
    assert_eq!(winners(&[5], &[(&[1], 5)]), (vec![1], 5), "at the reserve: sold rather than not");
    assert_eq!(winners(&[0, 0], &[(&[1], 4), (&[2], 5), (&[1, 2], 8)]), (vec![1, 2], 9));
    assert_eq!(winners(&[0, 0], &[(&[1], 4), (&[2], 5), (&[1, 2], 10)]), (vec![3], 10));
    assert_eq!(winners(&[3, 0], &[(&[2], 5), (&[1, 2], 7)]), (vec![1], 8), "an unsold rollup counts");
    assert_eq!(winners(&[0, 0, 0], &[(&[1, 2], 9), (&[2, 3], 9), (&[1], 3), (&[3], 3)]), (vec![1, 4], 12));
    assert_eq!(winners(&[0], &[(&[2], 9), (&[1, 2], 9)]), (vec![], 0), "not for sale");
}

#[test]
fn ties_go_to_more_rollups_and_then_to_the_least_hashes() {
    assert_eq!(winners(&[0], &[(&[1], 7), (&[1], 7)]), (vec![1], 7));
    assert_eq!(winners(&[5, 0], &[(&[2], 5), (&[1, 2], 10)]), (vec![2], 10), "two sold rather than one");
    assert_eq!(winners(&[0, 0], &[(&[1, 2], 9), (&[1], 4), (&[2], 5)]), (vec![1], 9));
    assert_eq!(winners(&[0, 0], &[(&[1], 4), (&[1, 2], 9), (&[2], 5)]), (vec![1, 3], 9));
    assert_eq!(winners(&[0, 0], &[(&[2], 5), (&[1, 2], 9), (&[1], 4)]), (vec![1, 3], 9));
    assert_eq!(winners(&[0], &[(&[1], 0)]), (vec![1], 0), "for nothing rather than not");
}

#[test]
fn what_is_for_sale() {
    let mut registrations: Vec<_> = (1..=20).rev().map(|id| registration(id, 1)).collect();
    registrations[19].active = false; // 1
    registrations[18].relay = Address::ZERO; // 2
    registrations[17].reserve_wei = Wei(U256::from(MAX_WEI) + U256::from(1)); // 3
    registrations[16].reserve_wei = Wei(U256::from(MAX_WEI)); // 4
    registrations.push(registration(5, 9));
    let sale = Sale::of(&registrations, relay());
    let ids: Vec<u64> = sale.lots().iter().map(|lot| lot.rollup_id.0).collect();
    assert_eq!(ids, (4..20).collect::<Vec<_>>(), "the sixteen lowest that sell");
    assert_eq!(sale.lot(RollupId(4)).map(|lot| lot.reserve_wei), Some(MAX_WEI));
    assert_eq!(sale.reserve_of(&[RollupId(5), RollupId(6)]), Some(2), "the first of two of an id");
    assert_eq!(sale.reserve_of(&[RollupId(5), RollupId(20)]), None);
    assert!(Sale::of(&registrations, Address::ZERO).lots().len() == 1);
}

fn prices(reserves: &[u128], bids: &[(&[u64], u128)]) -> Vec<Vec<u64>> {
    let bids = with_hashes(bids);
    let clearing = clear(&sale(reserves), &named(&bids));
    clearing.winners.iter().map(|won| won.prices.iter().map(|price| price.0.to::<u64>()).collect()).collect()
}

#[test]
fn a_bid_is_split_by_what_its_rollups_are_worth_alone() {
    assert_eq!(prices(&[1, 1], &[(&[1, 2], 10)]), [[5, 5]]);
    assert_eq!(prices(&[1, 2], &[(&[1, 2], 10)]), [[4, 6]], "floors, the rest to the lowest id");
    assert_eq!(prices(&[1, 1, 1], &[(&[1, 2, 3], 11)]), [[5, 3, 3]]);
    assert_eq!(prices(&[0, 0, 0], &[(&[1, 2, 3], 11)]), [[5, 3, 3]], "worth nothing: in equal parts");
    assert_eq!(prices(&[0, 0], &[(&[1, 2], 0)]), [[0, 0]]);
    assert_eq!(prices(&[1, 1], &[(&[1, 2], 12), (&[1], 2), (&[1], 3)]), [[9, 3]], "the best bid alone");
    assert_eq!(prices(&[0, 0], &[(&[1, 2], 12), (&[2], 4)]), [[0, 12]]);
    assert_eq!(prices(&[4], &[(&[1], 9), (&[1], 3)]), [[9]]);
    let most = [MAX_WEI; 16];
    let all: Vec<u64> = (1..=16).collect();
    let bids = with_hashes(&[(&all, MAX_WEI)]);
    let clearing = clear(&sale(&most), &named(&bids));
    assert_eq!((clearing.winners.len(), clearing.total_wei), (0, MAX_WEI * 16));
    let singles: Vec<(&[u64], u128)> = all.chunks(1).map(|one| (one, MAX_WEI)).collect();
    let bids = with_hashes(&singles);
    let clearing = clear(&sale(&most), &named(&bids));
    assert_eq!((clearing.winners.len(), clearing.total_wei), (16, MAX_WEI * 16));
}

/// Everything by trying every set of bids.
fn by_brute_force(sale: &Sale, bids: &[(B256, OrderingBid)]) -> (Vec<B256>, u128) {
    let reserve = |id: &RollupId| sale.lot(*id).unwrap().reserve_wei;
    let unsold: u128 = sale.lots().iter().map(|lot| lot.reserve_wei).sum();
    let sets = (0_u32..1 << bids.len()).filter_map(|set| {
        let chosen: Vec<_> = bids.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).collect();
        let mut sold: Vec<RollupId> =
            chosen.iter().flat_map(|(_, (_, bid))| bid.rollup_ids.clone()).collect();
        let count = sold.len();
        sold.sort_unstable();
        sold.dedup();
        let wei: u128 = chosen.iter().map(|(_, (_, bid))| bid.amount_wei.0.to::<u128>()).sum();
        let total = unsold - sold.iter().map(reserve).sum::<u128>() + wei;
        let mut hashes: Vec<B256> = chosen.iter().map(|(_, (hash, _))| *hash).collect();
        hashes.sort_unstable();
        (sold.len() == count).then_some((total, count, Reverse(hashes)))
    });
    let (total, _, Reverse(hashes)) = sets.max().unwrap();
    (hashes, total)
}

/// Up to five rollups and twelve bids, with many ties.
fn markets() -> impl Strategy<Value = (Vec<u128>, Vec<(B256, OrderingBid)>)> {
    let amounts = prop_oneof![0_u128..6, 0_u128..1_000, Just(MAX_WEI)];
    let reserves = proptest::collection::vec(prop_oneof![Just(0_u128), 0_u128..4, 0_u128..500], 1..=5);
    let bids = proptest::collection::vec((1_u64..32, amounts), 0..=12);
    (reserves, bids, any::<u64>()).prop_map(|(reserves, bids, salt)| {
        let rollups = |mask: u64| -> Vec<u64> {
            (1..=reserves.len() as u64).filter(|id| mask >> (id - 1) & 1 == 1).collect()
        };
        let bids = bids.into_iter().enumerate().filter_map(|(at, (mask, wei))| {
            let rollups = rollups(mask);
            let hash = keccak256([salt.to_be_bytes(), (at as u64).to_be_bytes()].concat());
            (!rollups.is_empty()).then(|| (hash, bid(10, &rollups, wei)))
        });
        let bids = bids.collect();
        (reserves, bids)
    })
}

fn check_conserved(sale: &Sale, clearing: &Clearing) {
    for Won { bid, prices, .. } in &clearing.winners {
        let paid: U256 = prices.iter().map(|price| price.0).sum();
        assert_eq!(paid, bid.amount_wei.0, "wei are conserved");
        for (id, price) in bid.rollup_ids.iter().zip(prices) {
            assert!(price.0 >= U256::from(sale.lot(*id).unwrap().reserve_wei), "below the reserve");
        }
        assert_eq!(prices.len(), bid.rollup_ids.len());
    }
}

proptest! {
    #[test]
    fn winners_are_those_of_brute_force((reserves, bids) in markets()) {
        let sale = sale(&reserves);
        let clearing = clear(&sale, &named(&bids));
        prop_assert_eq!((clearing.hashes(), clearing.total_wei), by_brute_force(&sale, &bids));
        check_conserved(&sale, &clearing);
        for won in &clearing.winners {
            for (id, price) in won.bid.rollup_ids.iter().zip(&won.prices) {
                let alone = bids.iter().filter(|(_, bid)| bid.rollup_ids == [*id]);
                let best = alone.map(|(_, bid)| bid.amount_wei).max().unwrap_or_default();
                prop_assert!(*price >= best, "less than a bid on the rollup alone");
            }
        }
    }

    #[test]
    fn neither_order_nor_repetition_matters((reserves, bids) in markets(), seed: prop::sample::Index) {
        let sale = sale(&reserves);
        let clearing = clear(&sale, &named(&bids));
        prop_assert_eq!(&clear(&sale, &named(&bids)), &clearing);
        let mut turned = bids;
        turned.reverse();
        if !turned.is_empty() {
            let at = seed.index(turned.len());
            turned.rotate_left(at);
            turned.push(turned[at].clone());
        }
        prop_assert_eq!(clear(&sale, &named(&turned)), clearing);
    }

    #[test]
    fn another_bid_never_lowers_the_total((reserves, bids) in markets()) {
        let sale = sale(&reserves);
        let mut least = clear(&sale, &[]).total_wei;
        for count in 1..=bids.len() {
            let total = clear(&sale, &named(&bids[..count])).total_wei;
            prop_assert!(total >= least);
            least = total;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Sixteen rollups are too many for brute force: sums, reserves and disjointness hold all the same.
    #[test]
    fn sixteen_rollups(bids in proptest::collection::vec((1_u64..1 << 16, 0_u128..100), 0..200)) {
        let sale = sale(&[3; 16]);
        let rollups = |mask: u64| -> Vec<u64> { (1..=16).filter(|id| mask >> (id - 1) & 1 == 1).collect() };
        let bids: Vec<_> = bids
            .iter()
            .enumerate()
            .map(|(at, (mask, wei))| (keccak256(at.to_be_bytes()), bid(10, &rollups(*mask), *wei)))
            .collect();
        let clearing = clear(&sale, &named(&bids));
        check_conserved(&sale, &clearing);
        let mut sold: Vec<_> = clearing.winners.iter().flat_map(|won| won.bid.rollup_ids.clone()).collect();
        let wei: U256 = clearing.winners.iter().map(|won| won.bid.amount_wei.0).sum();
        let count = sold.len();
        sold.sort_unstable();
        sold.dedup();
        prop_assert_eq!(sold.len(), count);
        prop_assert_eq!(wei + U256::from(3 * (16 - count)), U256::from(clearing.total_wei));
    }
}

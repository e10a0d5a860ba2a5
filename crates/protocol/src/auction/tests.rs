//! The market's rules against brute force, and by table.

use super::{
    AuctionOutcome, AuctionRecord, AuctionStatus, BidFault, BidKind, BidTerms, Clearing, Exclusion, Finding,
    HeldAck, MAX_WEI, MatchFault, NamedBid, Operator, Public, PublishedBid, Sale, Unshown, Verdict, Won,
    admit, admit_signed, award, check_match, clear, verify_auction,
};
use crate::{
    RollupId, Slot, Wei,
    fixtures::{NETWORK, SLOT, bls_secret, ecdsa_secret},
    objects::{
        Authority, BidAck, Delegation, DelegationReceipt, MarketDomain, Object, OrderingBid, Policy,
        RollupRegistration, SignedAuctionResult, SignedBid, SignedBidAck, auction_root,
    },
    signing::{EcdsaSignature, Signed},
    window::{Timing, Window},
};
use alloy_primitives::{Address, B256, U256, keccak256};
use proptest::prelude::*;
use std::cmp::Reverse;

const DOMAIN: MarketDomain = MarketDomain { chain_id: NETWORK.chain_id, market: Address::repeat_byte(0x3a) };
const RELAY: u8 = 2;

fn relay() -> Address {
    ecdsa_secret(RELAY).address()
}

fn registration(id: u64, reserve_wei: u128) -> RollupRegistration {
    RollupRegistration {
        rollup_id: RollupId(id),
        reserve_wei: Wei(U256::from(reserve_wei)),
        reserve_committer: Address::ZERO,
        revenue_recipient: Address::repeat_byte(1),
        inclusion_share_bps: 1_000,
        max_batch_bytes: 120 << 10,
        max_tx_gas: 30_000_000,
        policy: Policy::Fcfs,
        required_level: 1,
        opaque: false,
        active: true,
        relay: relay(),
        uri: String::new(),
    }
}

/// Rollups 1, 2, … with these reserves.
fn sale(reserves: &[u128]) -> Sale {
    let registrations: Vec<_> = (1..).zip(reserves).map(|(id, wei)| registration(id, *wei)).collect();
    Sale::of(&registrations, relay())
}

fn operator(number: u8) -> Operator {
    Operator {
        registration_root: B256::repeat_byte(number),
        owner: ecdsa_secret(number).address(),
        committer: ecdsa_secret(number + 100).address(),
    }
}

/// A bid of an operator.
fn bid(by: u8, rollups: &[u64], wei: u128) -> OrderingBid {
    let operator = operator(by);
    OrderingBid {
        slot: SLOT,
        rollup_ids: rollups.iter().copied().map(RollupId).collect(),
        amount_wei: Wei(U256::from(wei)),
        account: operator.owner,
        registration_root: operator.registration_root,
        committer: operator.committer,
        relay: relay(),
        delegate: bls_secret(by).public_key(),
        url: format!("http://gateway-{by}.example"),
        matches: B256::ZERO,
        nonce: 0,
        expiry: 2_000_000_000,
    }
}

fn named(bids: &[(B256, OrderingBid)]) -> Vec<NamedBid<'_>> {
    bids.iter().map(|(hash, bid)| NamedBid { hash: *hash, bid }).collect()
}

/// Bids with small hashes that say which they are.
fn with_hashes(bids: &[(&[u64], u128)]) -> Vec<(B256, OrderingBid)> {
    let hashed = |(number, (rollups, wei)): (u8, &(&[u64], u128))| {
        (B256::with_last_byte(number), bid(10, rollups, *wei))
    };
    (1..).zip(bids).map(hashed).collect()
}

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

fn window() -> Window {
    Timing::new(1_700_000_000_000, 12_000, 32).window(SLOT, Some(Slot(SLOT.0 - 10))).unwrap()
}

#[test]
fn bids_that_may_not_take_part() {
    let (window, sale, by) = (window(), sale(&[5, 6]), operator(10));
    let terms = BidTerms {
        window: &window,
        received_at_ms: window.close_ms - 1,
        relay: relay(),
        sale: &sale,
        operator: Some(&by),
        kind: BidKind::Sealed,
    };
    let matching = BidTerms { received_at_ms: window.close_ms, kind: BidKind::FirstRefusal, ..terms };
    let changed = |change: &dyn Fn(&mut OrderingBid)| {
        let mut bid = bid(10, &[1, 2], 11);
        change(&mut bid);
        bid
    };
    let other = operator(11);
    let at_close = window.close_ms.div_ceil(1_000);
    type Change<'a> = &'a dyn Fn(&mut OrderingBid);
    let cases: [(&str, Change<'_>, BidTerms<'_>); 24] = [
        ("ok", &|_| {}, terms),
        ("ok", &|bid| bid.expiry = at_close, terms),
        ("expires_early", &|bid| bid.expiry = at_close - 1, terms),
        ("bad_bid", &|bid| bid.rollup_ids.reverse(), terms),
        ("bad_bid", &|bid| bid.rollup_ids.clear(), terms),
        ("bad_bid", &|bid| bid.rollup_ids = vec![RollupId(1); 2], terms),
        ("bad_bid", &|bid| bid.url = "x".repeat(257), terms),
        ("wrong_slot", &|bid| bid.slot.0 += 1, terms),
        ("out_of_time", &|_| {}, BidTerms { received_at_ms: window.close_ms, ..terms }),
        ("wrong_relay", &|bid| bid.relay = Address::ZERO, terms),
        ("not_for_sale", &|bid| bid.rollup_ids.push(RollupId(3)), terms),
        ("amount_too_large", &|bid| bid.amount_wei = Wei(U256::from(MAX_WEI) + U256::from(1)), terms),
        ("ok", &|bid| bid.amount_wei = Wei(U256::from(MAX_WEI)), terms),
        ("below_reserve", &|bid| bid.amount_wei = Wei(U256::from(10)), terms),
        ("unknown_operator", &|_| {}, BidTerms { operator: None, ..terms }),
        ("unknown_operator", &|_| {}, BidTerms { operator: Some(&other), ..terms }),
        ("not_owner", &|bid| bid.account = other.owner, terms),
        ("wrong_committer", &|bid| bid.committer = other.committer, terms),
        ("bad_delegate", &|bid| bid.delegate = Default::default(), terms),
        ("bad_matches", &|bid| bid.matches = B256::repeat_byte(1), terms),
        ("bad_matches", &|_| {}, matching),
        ("ok", &|bid| bid.matches = B256::repeat_byte(1), matching),
        (
            "out_of_time",
            &|bid| bid.matches = B256::repeat_byte(1),
            BidTerms { received_at_ms: window.first_refusal_ms, ..matching },
        ),
        (
            "out_of_time",
            &|bid| bid.matches = B256::repeat_byte(1),
            BidTerms { received_at_ms: window.close_ms - 1, ..matching },
        ),
    ];
    for (number, (expected, change, terms)) in cases.into_iter().enumerate() {
        let judged = admit(&changed(change), &terms);
        let code = judged.as_ref().map_or_else(BidFault::code, |()| "ok");
        assert_eq!(code, expected, "case {number}: {judged:?}");
    }
    let signed = SignedBid::sign(changed(&|_| {}), &ecdsa_secret(10), &DOMAIN).unwrap();
    assert_eq!(admit_signed(&signed, &terms, &DOMAIN), Ok(()));
    let forged = SignedBid::sign(changed(&|_| {}), &ecdsa_secret(11), &DOMAIN).unwrap();
    assert_eq!(admit_signed(&forged, &terms, &DOMAIN).unwrap_err().code(), "bad_signature");
    let elsewhere = MarketDomain { chain_id: 1, ..DOMAIN };
    assert_eq!(admit_signed(&signed, &terms, &elsewhere).unwrap_err().code(), "bad_signature");
}

#[test]
fn first_refusal() {
    let bids: Vec<_> = [bid(10, &[1], 9), bid(11, &[2, 3], 20), bid(12, &[1], 8)]
        .into_iter()
        .map(|bid| (bid.hash(&DOMAIN), bid))
        .collect();
    let sale = sale(&[1, 2, 4]);
    let clearing = clear(&sale, &named(&bids));
    assert_eq!(clearing.winners.len(), 2);
    let by_proposer = |of: usize| OrderingBid { matches: bids[of].0, ..bid(20, &[1], 9) };
    let proposer = operator(20);
    let judge = |bid: &OrderingBid| check_match(&clearing.winners, bid, Some(&proposer));
    let good = by_proposer(0);
    assert_eq!(judge(&good), Ok(()));
    assert_eq!(check_match(&clearing.winners, &good, None), Err(MatchFault::NotProposer));
    assert_eq!(check_match(&clearing.winners, &good, Some(&operator(10))), Err(MatchFault::NotProposer));
    for half in [
        OrderingBid { account: operator(10).owner, ..good.clone() },
        OrderingBid { registration_root: operator(10).registration_root, ..good.clone() },
    ] {
        assert_eq!(judge(&half), Err(MatchFault::NotProposer));
    }
    assert_eq!(judge(&by_proposer(2)), Err(MatchFault::NoWinner(bids[2].0)));
    assert_eq!(judge(&by_proposer(1)), Err(MatchFault::Rollups));
    for wei in [8_u64, 10] {
        let other = OrderingBid { amount_wei: Wei(U256::from(wei)), ..good.clone() };
        assert_eq!(judge(&other), Err(MatchFault::Amount(Wei(U256::from(9)))));
    }

    let (first, again) = (good.clone(), OrderingBid { nonce: 1, ..good });
    let matches: Vec<_> = [first, again].into_iter().map(|bid| (bid.hash(&DOMAIN), bid)).collect();
    let after = clearing.refused(&named(&matches));
    assert!(after.hashes().is_sorted());
    let allocation = after.allocation(&window(), B256::repeat_byte(7));
    let rows: Vec<_> = allocation
        .entries
        .iter()
        .map(|entry| (entry.rollup_id.0, entry.bid_hash, entry.account, entry.price_wei.0.to::<u64>()))
        .collect();
    let (of_proposer, other) = (operator(20).owner, operator(11).owner);
    // 20 by 2 : 4 is 6 and 13, and one over for the lower id.
    let expected = [(1, matches[0].0, of_proposer, 9), (2, bids[1].0, other, 7), (3, bids[1].0, other, 13)];
    assert_eq!(rows, expected);
    let result = after.result(SLOT, 5, &allocation);
    assert_eq!(result.allocation_hash, allocation.abi_hash());
    assert_eq!((result.winners, result.closed_at_ms), (after.hashes(), 5));
    assert_eq!(clearing.refused(&[]), clearing);
}

/// A whole auction as an honest relay publishes it, with its delegation.
struct Auction {
    record: AuctionRecord,
    authorities: Vec<Authority>,
    held: Vec<HeldAck>,
    results: Vec<SignedAuctionResult>,
}

fn ack(hash: B256, received_at_ms: u64) -> SignedBidAck {
    Signed::<_, EcdsaSignature>::sign(
        BidAck { bid_hash: hash, received_at_ms },
        &ecdsa_secret(RELAY),
        &NETWORK,
    )
    .unwrap()
}

fn publish(by: u8, bid: OrderingBid, received_at_ms: u64) -> PublishedBid {
    let bid = SignedBid::sign(bid, &ecdsa_secret(by), &DOMAIN).unwrap();
    let hash = bid.message.hash(&DOMAIN);
    PublishedBid { hash, bid, ack: ack(hash, received_at_ms), excluded: None }
}

impl Auction {
    fn honest() -> Self {
        let window = window();
        let before = window.close_ms - 10;
        let rollups = vec![registration(1, 5), registration(2, 6), registration(3, 0)];
        let mut bids = vec![
            publish(10, bid(10, &[1, 2], 30), before),
            publish(11, bid(11, &[1], 12), before),
            publish(11, bid(11, &[3], 4), before),
            publish(12, bid(12, &[2, 3], 25), before),
            publish(13, bid(13, &[3], 9), before),
        ];
        bids[4].excluded = Some(Exclusion::from(&BidFault::Escrow));
        bids.sort_by_key(|bid| bid.hash);
        let mut auction = Self {
            record: AuctionRecord {
                slot: SLOT,
                relay: relay(),
                network: NETWORK,
                market: DOMAIN.market,
                proposer: bls_secret(1).public_key(),
                previous: Some(Slot(SLOT.0 - 10)),
                window,
                status: AuctionStatus::Final,
                bid_count: bids.len() as u64,
                outcome: Some(AuctionOutcome {
                    rollups,
                    // Of those who bid: the proposer, who did not, matches all the same.
                    operators: [10, 11, 12, 13].map(operator).to_vec(),
                    proposer_operator: Some(operator(20)),
                    bids,
                    auction_root: B256::ZERO,
                    winners: vec![],
                    matches: vec![],
                    allocation: None,
                    result: None,
                }),
            },
            authorities: vec![],
            held: vec![],
            results: vec![],
        };
        auction.close();
        let winner = auction.outcome().winners[0];
        let matched = &auction.outcome().bids.iter().find(|bid| bid.hash == winner).unwrap().bid.message;
        let taking = OrderingBid {
            matches: winner,
            amount_wei: matched.amount_wei,
            rollup_ids: matched.rollup_ids.clone(),
            ..bid(20, &[1], 0)
        };
        auction.outcome().matches.push(publish(20, taking, window.close_ms + 3));
        auction.settle();
        auction.delegate();
        auction
    }

    fn outcome(&mut self) -> &mut AuctionOutcome {
        self.record.outcome.as_mut().unwrap()
    }

    fn clearing(&mut self) -> Clearing {
        let outcome = self.outcome();
        let counted: Vec<_> = outcome.bids.iter().filter(|bid| bid.excluded.is_none()).collect();
        let named: Vec<_> =
            counted.iter().map(|one| NamedBid { hash: one.hash, bid: &one.bid.message }).collect();
        clear(&Sale::of(&outcome.rollups, relay()), &named)
    }

    fn close(&mut self) {
        let winners = self.clearing().hashes();
        let outcome = self.outcome();
        outcome.winners = winners;
        outcome.auction_root = auction_root(&outcome.bids.iter().map(|bid| bid.hash).collect::<Vec<_>>());
    }

    fn settle(&mut self) {
        let (clearing, window) = (self.clearing(), self.record.window);
        let outcome = self.outcome();
        let matches: Vec<_> =
            outcome.matches.iter().map(|one| NamedBid { hash: one.hash, bid: &one.bid.message }).collect();
        let after = clearing.refused(&matches);
        let allocation = after.allocation(&window, outcome.auction_root);
        let result = after.result(SLOT, window.close_ms, &allocation);
        let signed = Signed::<_, EcdsaSignature>::sign(result, &ecdsa_secret(RELAY), &NETWORK);
        (outcome.allocation, outcome.result) = (Some(allocation), Some(signed.unwrap()));
    }

    fn sign_again(&mut self, change: impl FnOnce(&mut crate::objects::AuctionResult)) {
        let mut message = self.outcome().result.clone().unwrap().message;
        change(&mut message);
        let signed = Signed::<_, EcdsaSignature>::sign(message, &ecdsa_secret(RELAY), &NETWORK);
        self.outcome().result = Some(signed.unwrap());
    }

    fn delegate(&mut self) {
        let metadata = self.outcome().allocation.as_ref().unwrap().to_metadata();
        let message = Delegation {
            proposer: bls_secret(1).public_key(),
            delegate: bls_secret(4).public_key(),
            committer: operator(20).committer,
            slot: SLOT,
            metadata,
        };
        let receipt = DelegationReceipt::of(&message, self.record.window.start_ms - 1).unwrap();
        self.authorities = vec![Authority {
            delegation: Signed::<_, crate::BlsSignature>::sign(message, &bls_secret(1), &NETWORK).unwrap(),
            receipt: Signed::<_, EcdsaSignature>::sign(receipt, &ecdsa_secret(RELAY), &NETWORK).unwrap(),
        }];
    }

    fn public(&self) -> Public<'_> {
        Public {
            network: NETWORK,
            market: DOMAIN.market,
            relay: relay(),
            slot: SLOT,
            record: &self.record,
            held: &self.held,
            results: &self.results,
            authorities: &self.authorities,
            window: None,
            proposer: None,
            rollups: None,
            operators: None,
            proposer_operator: None,
            now_ms: None,
        }
    }

    fn verify(&self) -> Verdict {
        verify_auction(&self.public()).unwrap()
    }

    fn hash_by(&self, by: u8, rollups: &[u64]) -> B256 {
        let bids = &self.record.outcome.as_ref().unwrap().bids;
        let ids: Vec<_> = rollups.iter().copied().map(RollupId).collect();
        let of = |bid: &&PublishedBid| {
            bid.bid.message.account == operator(by).owner && bid.bid.message.rollup_ids == ids
        };
        bids.iter().find(of).unwrap().hash
    }
}

#[test]
fn an_honest_auction_holds_and_says_what_it_cannot_show() {
    let auction = Auction::honest();
    let verdict = auction.verify();
    assert_eq!(verdict.findings, []);
    assert_eq!(verdict.counted, 4);
    // 12 for 1 and 25 for 2 and 3 beat 30 for 1 and 2 with 4 for 3.
    assert_eq!(verdict.clearing.total_wei, 37);
    let escrow = Unshown::Escrow(auction.hash_by(13, &[3]));
    let relays_word = [
        Unshown::Window,
        Unshown::Proposer,
        Unshown::Rollups,
        Unshown::Operators,
        Unshown::FirstRefusal,
        escrow,
    ];
    assert_eq!(verdict.unshown, relays_word);
    assert!(auction.record.outcome.as_ref().unwrap().allocation.as_ref().unwrap().entries.len() == 3);
    // The same facts from elsewhere: nothing of them is the relay's word.
    let outcome = auction.record.outcome.as_ref().unwrap();
    let operators = [10, 11, 12, 13, 20].map(operator);
    let public = Public {
        window: Some(&auction.record.window),
        proposer: Some(auction.record.proposer),
        rollups: Some(&outcome.rollups),
        operators: Some(&operators),
        proposer_operator: Some(outcome.proposer_operator),
        now_ms: Some(u64::MAX),
        ..auction.public()
    };
    let verdict = verify_auction(&public).unwrap();
    assert_eq!((verdict.findings, verdict.unshown), (vec![], vec![escrow]));
    // What L1 has otherwise is shown, whatever the relay lists.
    let (elsewhere, others) = (
        [operator(10), operator(11), operator(12)].map(|one| Operator { committer: Address::ZERO, ..one }),
        [operator(11), operator(12), operator(13), operator(20)],
    );
    let owners = [10, 11, 12, 13, 20].map(|number| Operator { owner: Address::ZERO, ..operator(number) });
    type Expected = fn(&Finding) -> bool;
    let cases: [(&[Operator], Expected); 3] = [
        (&elsewhere, |it| matches!(it, Finding::Counted { fault: BidFault::WrongCommitter(_), .. })),
        (&others, |it| matches!(it, Finding::Counted { fault: BidFault::UnknownOperator(_), .. })),
        (&owners, |it| matches!(it, Finding::Counted { fault: BidFault::NotOwner(_), .. })),
    ];
    for (operators, expected) in cases {
        let findings = verify_auction(&Public { operators: Some(operators), ..public }).unwrap().findings;
        assert!(findings.iter().any(expected), "{findings:#?}");
    }
    for of_proposer in [None, Some(operator(10))] {
        let public = Public { proposer_operator: Some(of_proposer), ..public };
        let findings = verify_auction(&public).unwrap().findings;
        let differs = |it: &Finding| matches!(it, Finding::Differs { what: "the proposer's operator", .. });
        assert!(findings.iter().any(differs), "{findings:#?}");
        assert!(
            findings.iter().any(|it| matches!(it, Finding::Match { fault: MatchFault::NotProposer, .. }))
        );
    }
    let rollups = [registration(1, 7), registration(2, 6), registration(3, 0)];
    let findings = verify_auction(&Public { rollups: Some(&rollups), ..public }).unwrap().findings;
    assert!(findings.iter().any(|it| matches!(it, Finding::Differs { what: "what is for sale", .. })));
    // And as JSON.
    let text = serde_json::to_string(&auction.record).unwrap();
    assert_eq!(serde_json::from_str::<AuctionRecord>(&text).unwrap(), auction.record);
}

#[test]
fn before_close_there_is_nothing_to_verify() {
    let mut auction = Auction::honest();
    auction.record.outcome = None;
    let sealed = verify_auction(&auction.public()).unwrap_err();
    assert_eq!(sealed.close_ms, window().close_ms);
}

/// A relay that shows nothing at all hides no acknowledged bid by it.
#[test]
fn an_auction_that_is_withheld_is_wrong_once_it_is_over() {
    let mut auction = Auction::honest();
    let bids = auction.outcome().bids.clone();
    let held = |one: &PublishedBid| HeldAck { bid: one.bid.clone(), ack: one.ack.clone() };
    auction.record.outcome = None;
    auction.record.status = AuctionStatus::Lapsed;
    let at = |auction: &Auction, now_ms| {
        verify_auction(&Public { now_ms: Some(now_ms), ..auction.public() }).map(|verdict| verdict.findings)
    };
    let (over_ms, start_ms, close_ms) = (window().first_refusal_ms, window().start_ms, window().close_ms);
    let withheld = Finding::Withheld { close_ms, bid_count: 5 };
    assert!(at(&auction, start_ms - 1).is_err());
    assert_eq!(at(&auction, start_ms).unwrap(), std::slice::from_ref(&withheld));
    auction.held = vec![held(&bids[0])];
    let left_out = Finding::LeftOut { hash: bids[0].hash, received_at_ms: close_ms - 10 };
    assert!(at(&auction, over_ms - 1).is_err());
    assert_eq!(at(&auction, over_ms).unwrap(), std::slice::from_ref(&left_out));
    assert_eq!(at(&auction, start_ms).unwrap(), [left_out.clone(), withheld]);
    // Also if it says that there was none.
    auction.record.bid_count = 0;
    assert_eq!(at(&auction, start_ms).unwrap(), [left_out]);
    auction.held[0].ack = ack(bids[1].hash, close_ms - 10);
    assert!(at(&auction, start_ms).is_err(), "of another bid");
}

#[test]
fn a_result_or_a_receipt_that_does_not_come_in_time_is_told() {
    let mut auction = Auction::honest();
    let start_ms = auction.record.window.start_ms;
    let proposer = auction.record.proposer;
    let message = auction.authorities[0].delegation.message.clone();
    let late = DelegationReceipt::of(&message, start_ms).unwrap();
    auction.authorities[0].receipt =
        Signed::<_, EcdsaSignature>::sign(late, &ecdsa_secret(RELAY), &NETWORK).unwrap();
    let verdict = auction.verify();
    assert_eq!(verdict.findings, []);
    assert!(verdict.unshown.contains(&Unshown::Late(proposer)));
    // A relay that goes on saying that first refusal is not over.
    auction.record.status = AuctionStatus::Closed;
    (auction.outcome().result, auction.outcome().allocation) = (None, None);
    auction.authorities.clear();
    let at = |now_ms| verify_auction(&Public { now_ms, ..auction.public() }).unwrap().findings;
    assert_eq!(at(None), []);
    assert_eq!(at(Some(start_ms - 1)), []);
    assert_eq!(at(Some(start_ms)), [Finding::NoResult]);
}

#[test]
fn an_acknowledged_bid_left_out_is_shown() {
    let mut auction = Auction::honest();
    let bids = auction.outcome().bids.clone();
    auction.held = bids.iter().map(|one| HeldAck { bid: one.bid.clone(), ack: one.ack.clone() }).collect();
    assert_eq!(auction.verify().findings, []);
    let gone = auction.outcome().bids.remove(0);
    auction.close();
    auction.outcome().matches.clear();
    auction.settle();
    auction.delegate();
    let left_out = Finding::LeftOut { hash: gone.hash, received_at_ms: gone.ack.message.received_at_ms };
    assert_eq!(auction.verify().findings, [left_out]);
    // What is not this relay's, or not of this slot, shows nothing.
    let mut forged = auction.held.iter().find(|held| held.ack.message.bid_hash == gone.hash).unwrap().clone();
    forged.ack.message.received_at_ms -= 1;
    auction.held = vec![forged];
    let verdict = auction.verify();
    assert_eq!(verdict.findings, []);
    assert!(verdict.unshown.contains(&Unshown::Held(gone.hash)));
}

#[test]
fn wrong_winners_are_shown_with_the_better_set() {
    let mut auction = Auction::honest();
    let (best, all) = (auction.outcome().winners.clone(), auction.clearing());
    auction.outcome().matches.clear();
    let worse = {
        let mut worse = vec![auction.hash_by(10, &[1, 2]), auction.hash_by(11, &[3])];
        worse.sort_unstable();
        worse
    };
    auction.outcome().winners = worse.clone();
    // Consistent in all that follows: another set, and prices as for that set.
    let bids = auction.outcome().bids.clone();
    let named: Vec<_> = bids
        .iter()
        .filter(|one| one.excluded.is_none())
        .map(|one| NamedBid { hash: one.hash, bid: &one.bid.message })
        .collect();
    let sale = Sale::of(&auction.outcome().rollups, relay());
    let cleared = award(&sale, &named, &worse);
    assert_eq!(cleared.total_wei, 34);
    let root = auction.outcome().auction_root;
    let allocation = cleared.allocation(&window(), root);
    let result = cleared.result(SLOT, window().close_ms, &allocation);
    auction.outcome().allocation = Some(allocation);
    auction.sign_again(|message| *message = result);
    auction.delegate();
    let finding = Finding::Winners {
        stated: worse.clone(),
        stated_wei: Some(34),
        best: best.clone(),
        best_wei: all.total_wei,
    };
    let verdict = auction.verify();
    assert_eq!(verdict.findings, std::slice::from_ref(&finding));
    let said = finding.to_string();
    assert!(
        said.contains("34 wei") && said.contains("37 wei") && said.contains(&best[0].to_string()),
        "{said}"
    );
    // Overlapping, or none of the bids: told as that.
    for stated in [vec![worse[0], auction.hash_by(11, &[1]), worse[1]], vec![B256::repeat_byte(9)]] {
        auction.outcome().winners = stated.clone();
        let findings = auction.verify().findings;
        assert!(findings.iter().any(|finding| matches!(finding, Finding::Winners { stated_wei: None, .. })));
    }
}

#[test]
fn a_long_list_of_winners_is_wrong_and_no_work() {
    let mut auction = Auction::honest();
    let winners = auction.outcome().winners.clone();
    auction.outcome().winners.extend((0..20_000_u32).map(|at| keccak256(at.to_be_bytes())));
    let findings = auction.verify().findings;
    assert!(
        matches!(&findings[..], [Finding::Winners { stated_wei: None, best, .. }] if *best == winners),
        "{} findings",
        findings.len()
    );
}

/// One change to an honest auction, and what it shows.
type Case = (&'static str, fn(&mut Auction), fn(&Finding) -> bool);

#[test]
fn every_deviation_is_shown() {
    let cases: [Case; 34] = [
        (
            "relay",
            |it| it.record.relay = Address::ZERO,
            |found| matches!(found, Finding::Differs { what: "the relay", .. }),
        ),
        (
            "slot",
            |it| it.record.slot.0 += 1,
            |found| matches!(found, Finding::Differs { what: "the slot", .. }),
        ),
        (
            "market",
            |it| it.record.market = Address::ZERO,
            |found| matches!(found, Finding::Differs { what: "the market", .. }),
        ),
        (
            "twice",
            |it| {
                let one = it.outcome().bids[0].clone();
                it.outcome().bids.push(one);
            },
            |found| matches!(found, Finding::Twice(_)),
        ),
        (
            "hash",
            |it| it.outcome().bids[0].hash = B256::ZERO,
            |found| matches!(found, Finding::BidHash { .. }),
        ),
        (
            "ack of another",
            |it| {
                let ack = it.outcome().bids[1].ack.clone();
                it.outcome().bids[0].ack = ack;
            },
            |found| matches!(found, Finding::AcknowledgementOfAnother { .. }),
        ),
        (
            "ack forged",
            |it| it.outcome().bids[0].ack.message.received_at_ms -= 1,
            |found| matches!(found, Finding::Acknowledgement { .. }),
        ),
        (
            "late",
            |it| {
                let one = &mut it.outcome().bids[0];
                one.ack = ack(one.hash, window().close_ms);
            },
            |found| matches!(found, Finding::Counted { fault: BidFault::OutOfTime { .. }, .. }),
        ),
        (
            "unsigned",
            |it| it.outcome().bids[0].bid.signature = EcdsaSignature::ZERO,
            |found| matches!(found, Finding::Counted { fault: BidFault::Signature(_), .. }),
        ),
        (
            "unknown operator",
            |it| it.outcome().operators.clear(),
            |found| matches!(found, Finding::Counted { fault: BidFault::UnknownOperator(_), .. }),
        ),
        (
            "inactive",
            |it| it.outcome().rollups[0].active = false,
            |found| matches!(found, Finding::Counted { fault: BidFault::NotForSale(_), .. }),
        ),
        (
            "reserve",
            |it| it.outcome().rollups[0].reserve_wei = Wei(U256::from(40)),
            |found| matches!(found, Finding::Counted { fault: BidFault::BelowReserve(40), .. }),
        ),
        (
            "not counted",
            |it| it.outcome().bids[0].excluded = Some(Exclusion::from(&BidFault::Matches)),
            |found| matches!(found, Finding::NotCounted { .. }),
        ),
        (
            "escrow brought back",
            |it| {
                for bid in &mut it.outcome().bids {
                    bid.excluded = None;
                }
                it.close();
            },
            |found| {
                matches!(
                    found,
                    Finding::Match { fault: MatchFault::NoWinner(_), .. } | Finding::ResultWinners { .. }
                )
            },
        ),
        ("root", |it| it.outcome().auction_root = B256::ZERO, |found| matches!(found, Finding::Root { .. })),
        ("nobody", |it| it.outcome().winners.clear(), |found| matches!(found, Finding::Winners { .. })),
        (
            "match of a stranger",
            |it| {
                it.outcome().operators.push(operator(20));
                it.outcome().proposer_operator = Some(operator(10));
            },
            |found| matches!(found, Finding::Match { fault: MatchFault::NotProposer, .. }),
        ),
        (
            "match too late",
            |it| {
                let one = &mut it.outcome().matches[0];
                one.ack = ack(one.hash, window().first_refusal_ms);
            },
            |found| matches!(found, Finding::Counted { fault: BidFault::OutOfTime { .. }, .. }),
        ),
        (
            "match passed over",
            |it| it.outcome().matches.clear(),
            |found| matches!(found, Finding::ResultWinners { .. }),
        ),
        ("no result", |it| it.outcome().result = None, |found| matches!(found, Finding::NoResult)),
        (
            "result by another",
            |it| it.outcome().result.as_mut().unwrap().message.closed_at_ms += 1,
            |found| matches!(found, Finding::ResultSignature(_)),
        ),
        (
            "unsigned result",
            |it| it.outcome().result.as_mut().unwrap().signature = EcdsaSignature::ZERO,
            |found| matches!(found, Finding::ResultSignature(_)),
        ),
        (
            "closed later",
            |it| it.sign_again(|message| message.closed_at_ms += 1),
            |found| matches!(found, Finding::Differs { what: "the result's time of close", .. }),
        ),
        (
            "result of another slot",
            |it| it.sign_again(|message| message.slot.0 += 1),
            |found| matches!(found, Finding::Differs { what: "the result's slot", .. }),
        ),
        (
            "result's root",
            |it| it.sign_again(|message| message.auction_root = B256::ZERO),
            |found| matches!(found, Finding::Root { .. }),
        ),
        (
            "result's winners",
            |it| it.sign_again(|message| message.winners.reverse()),
            |found| matches!(found, Finding::ResultWinners { .. }),
        ),
        (
            "result's hash",
            |it| it.sign_again(|message| message.allocation_hash = B256::ZERO),
            |found| matches!(found, Finding::AllocationHash { .. }),
        ),
        (
            "price",
            |it| it.outcome().allocation.as_mut().unwrap().entries[0].price_wei = Wei(U256::from(1)),
            |found| matches!(found, Finding::Price { rollup: RollupId(1), .. }),
        ),
        (
            "entry missing",
            |it| {
                it.outcome().allocation.as_mut().unwrap().entries.remove(0);
            },
            |found| matches!(found, Finding::EntryMissing(RollupId(1))),
        ),
        (
            "entry more",
            |it| it.outcome().allocation.as_mut().unwrap().entries[0].rollup_id = RollupId(9),
            |found| matches!(found, Finding::EntryUnsold(RollupId(9))),
        ),
        (
            "entry's committer",
            |it| it.outcome().allocation.as_mut().unwrap().entries[0].committer = Address::ZERO,
            |found| matches!(found, Finding::Entry { field: "committer", .. }),
        ),
        (
            "order",
            |it| it.outcome().allocation.as_mut().unwrap().entries.reverse(),
            |found| matches!(found, Finding::EntryOrder),
        ),
        (
            "start",
            |it| it.outcome().allocation.as_mut().unwrap().start_ms += 1,
            |found| matches!(found, Finding::Differs { what: "the allocation's start", .. }),
        ),
        (
            "delegation forged",
            |it| it.authorities[0].delegation.message.committer = Address::ZERO,
            |found| matches!(found, Finding::Delegation { .. }),
        ),
    ];
    for (name, change, expected) in cases {
        let mut auction = Auction::honest();
        change(&mut auction);
        let findings = auction.verify().findings;
        assert!(findings.iter().any(expected), "{name}: {findings:#?}");
        assert!(findings.iter().all(|finding| !finding.to_string().is_empty()));
    }
}

#[test]
fn two_results_are_shown() {
    let mut auction = Auction::honest();
    let first = auction.outcome().result.clone().unwrap();
    auction.results = vec![first.clone()];
    assert_eq!(auction.verify().findings, [], "the same one twice is one");
    let mut other = first.message.clone();
    other.allocation_hash = B256::repeat_byte(1);
    let signed =
        |by: u8| Signed::<_, EcdsaSignature>::sign(other.clone(), &ecdsa_secret(by), &NETWORK).unwrap();
    auction.results = vec![signed(RELAY)];
    let two = Finding::TwoResults { first: first.message.allocation_hash, second: other.allocation_hash };
    assert_eq!(auction.verify().findings, std::slice::from_ref(&two));
    auction.results = vec![signed(7)];
    let verdict = auction.verify();
    assert_eq!(verdict.findings, [], "of another signer");
    assert!(verdict.unshown.contains(&Unshown::Result(other.allocation_hash)));
    // Also if the relay publishes none of them.
    auction.outcome().result = None;
    auction.record.status = AuctionStatus::Closed;
    auction.authorities.clear();
    auction.results = vec![first, signed(RELAY)];
    assert_eq!(auction.verify().findings, [two]);
}

#[test]
fn a_delegation_by_another_allocation_is_shown() {
    let mut auction = Auction::honest();
    let honest = auction.outcome().allocation.clone();
    auction.outcome().allocation.as_mut().unwrap().entries.pop();
    auction.delegate();
    auction.outcome().allocation = honest.clone();
    let findings = auction.verify().findings;
    let result = honest.map(|allocation| allocation.abi_hash());
    assert!(
        matches!(&findings[..], [Finding::Misallocated { result: of, .. }] if *of == result),
        "{findings:#?}"
    );
    // Without entries it is always allowed.
    auction.outcome().allocation.as_mut().unwrap().entries.clear();
    auction.delegate();
    auction.settle();
    assert_eq!(auction.verify().findings, []);
}

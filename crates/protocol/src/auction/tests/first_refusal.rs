//! The proposer in the place of a winner that it matched.

use super::{DOMAIN, bid, named, operator, sale, window};
use crate::{
    Wei,
    auction::{MatchFault, check_match, clear},
    fixtures::SLOT,
    objects::{Object, OrderingBid},
};
use alloy_primitives::{B256, U256};

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

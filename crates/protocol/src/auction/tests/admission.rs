//! Which bids may take part.

use super::{DOMAIN, bid, operator, relay, sale, window};
use crate::{
    RollupId, Wei,
    auction::{BidFault, BidKind, BidTerms, MAX_WEI, admit, admit_signed},
    fixtures::ecdsa_secret,
    objects::{MarketDomain, OrderingBid, SignedBid},
};
use alloy_primitives::{Address, B256, U256};

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

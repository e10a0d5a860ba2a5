//! What a published auction shows, and what it cannot.

use super::{
    RELAY, operator,
    published::{Auction, ack},
    registration, relay, window,
};
use crate::{
    auction::{
        AuctionRecord, AuctionStatus, BidFault, Finding, HeldAck, MatchFault, NamedBid, Operator, Public,
        PublishedBid, Sale, Unshown, award, verify_auction,
    },
    fixtures::{NETWORK, SLOT, ecdsa_secret},
    objects::{DelegationReceipt, Object},
    signing::{EcdsaSignature, Signed},
};
use alloy_primitives::{Address, B256, keccak256};

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

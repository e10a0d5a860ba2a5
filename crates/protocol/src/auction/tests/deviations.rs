//! A relay's deviations, one change each to an honest auction.

use super::{
    operator,
    published::{Auction, ack},
    window,
};
use crate::{
    RollupId, Wei,
    auction::{BidFault, Exclusion, Finding, MatchFault},
    signing::EcdsaSignature,
};
use alloy_primitives::{Address, B256, U256};

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

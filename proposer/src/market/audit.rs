//! Whether the result of an auction may be signed into a delegation. Pure.

use alloy_primitives::Address;
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::auction::{AuctionRecord, AuctionStatus, Finding, HeldAck, Public, verify_auction};
use earnest_protocol::objects::{SignedAuctionResult, SlotAllocation};
use earnest_protocol::signing::Network;
use earnest_protocol::window::Window;

use super::l1::Facts;

/// What we know of an auction, apart from what the relay publishes.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The L1 network.
    pub network: Network,
    /// The OrderingMarket.
    pub market: Address,
    /// The relay's address.
    pub relay: Address,
    /// The slot's times, by our beacon node's lookahead and the opt-ins.
    pub window: &'a Window,
    /// The key of ours that proposes it.
    pub proposer: BlsPublicKey,
    /// Acknowledgements that we hold.
    pub held: &'a [HeldAck],
    /// Results that the relay showed before.
    pub results: &'a [SignedAuctionResult],
    /// What L1 says by our own view.
    pub facts: &'a Facts,
}

/// What is to be done about an auction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// There is no result yet.
    NotYet,
    /// There will be none.
    NoResult,
    /// The result holds, and this is what it allocates.
    Holds(Box<(SlotAllocation, SignedAuctionResult)>),
    /// It does not hold: nothing is signed.
    Wrong(Vec<Finding>),
}

/// Computes the auction again and judges what the relay published.
#[must_use]
pub fn judge(record: &AuctionRecord, known: &Known<'_>) -> Verdict {
    match record.status {
        AuctionStatus::Lapsed => return Verdict::NoResult,
        AuctionStatus::Open | AuctionStatus::Closed => return Verdict::NotYet,
        AuctionStatus::Final => {}
    }
    let findings = findings(record, known);
    if !findings.is_empty() {
        return Verdict::Wrong(findings);
    }
    let outcome = record.outcome.as_ref();
    let allocation = outcome.and_then(|outcome| outcome.allocation.clone());
    match allocation.zip(outcome.and_then(|outcome| outcome.result.clone())) {
        Some(holds) => Verdict::Holds(Box::new(holds)),
        None => Verdict::Wrong(vec![Finding::NoResult]),
    }
}

/// What is wrong with an auction whose bids are public; nothing before that.
#[must_use]
pub fn findings(record: &AuctionRecord, known: &Known<'_>) -> Vec<Finding> {
    let operators = known.facts.operators.as_ref();
    let public = Public {
        network: known.network,
        market: known.market,
        relay: known.relay,
        slot: known.window.slot,
        record,
        held: known.held,
        results: known.results,
        authorities: &[],
        window: Some(known.window),
        proposer: Some(known.proposer),
        rollups: known.facts.rollups.as_deref(),
        operators: operators.map(|(all, _)| all.as_slice()),
        // Who has the first refusal is judged by what the relay says of the proposer, so that must be so.
        proposer_operator: operators.map(|(_, expected)| *expected),
        now_ms: None,
    };
    verify_auction(&public).map(|verdict| verdict.findings).unwrap_or_default()
}

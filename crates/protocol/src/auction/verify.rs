//! Whether what a relay published of an auction is what its bids amount to.

use super::{
    AuctionOutcome, AuctionRecord, AuctionStatus, BidFault, BidKind, BidTerms, Clearing, Finding, HeldAck,
    MAX_ROLLUPS, NamedBid, Operator, PublishedBid, Sale, Won, admit, award, check_match, clear,
};
use crate::{
    BlsPublicKey, RollupId, Slot,
    delegation::{DelegationError, TrustRoots, valid_allocation},
    objects::{
        Authority, MarketDomain, Object, RollupRegistration, SignedAuctionResult, SlotAllocation,
        auction_root,
    },
    signing::Network,
    window::Window,
};
use alloy_primitives::{Address, B256};
use std::collections::{BTreeMap, BTreeSet};

/// What is public of an auction, and what the one who verifies knows from elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Public<'a> {
    /// The L1 network.
    pub network: Network,
    /// The OrderingMarket that bids are signed for.
    pub market: Address,
    /// The relay whose signatures count.
    pub relay: Address,
    /// The sequencing slot.
    pub slot: Slot,
    /// What the relay publishes, after close.
    pub record: &'a AuctionRecord,
    /// Acknowledgements that bidders hold.
    pub held: &'a [HeldAck],
    /// Results that were seen elsewhere.
    pub results: &'a [SignedAuctionResult],
    /// The slot's delegations with their receipts.
    pub authorities: &'a [Authority],
    /// The slot's window, if it is known from a beacon node.
    pub window: Option<&'a Window>,
    /// The slot's proposer, if it is known from a beacon node.
    pub proposer: Option<BlsPublicKey>,
    /// The registrations of rollups that name the relay, in force at the slot, if they are known from L1.
    pub rollups: Option<&'a [RollupRegistration]>,
    /// The operators that are opted in by the slot's reference block, if they are known from L1.
    pub operators: Option<&'a [Operator]>,
    /// The operator of the slot's proposer, who has the first refusal, or that there is none, if it is known from L1.
    pub proposer_operator: Option<Option<Operator>>,
    /// Now, Unix milliseconds, if the clock may be asked: shows what is withheld.
    pub now_ms: Option<u64>,
}

/// What could not be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unshown {
    /// The window is the relay's word.
    #[error("that the window follows from the lookahead and the opt-ins (the relay's word)")]
    Window,
    /// The proposer is the relay's word.
    #[error("that the validator proposes the slot (the relay's word)")]
    Proposer,
    /// The rollups' terms are the relay's word.
    #[error("that the rollups' terms are those of the RollupRegistry (the relay's word)")]
    Rollups,
    /// The operators are the relay's word.
    #[error("that owners and committers are those of the Registry (the relay's word)")]
    Operators,
    /// Who has the first refusal is the relay's word.
    #[error("that the operator who has the first refusal is the proposer's (the relay's word)")]
    FirstRefusal,
    /// Whether an escrow was too low is the relay's word.
    #[error("that the escrow did not cover bid {0} (the relay's word)")]
    Escrow(B256),
    /// By the relay's receipt a delegation came when the window had begun: then nobody holds by it.
    #[error("that the delegation of {0} came too late to make anyone a holder (the relay's word)")]
    Late(BlsPublicKey),
    /// An acknowledgement that is of something else, or of another signer.
    #[error("anything by the acknowledgement of {0}: it is not this relay's, or not of this slot")]
    Held(B256),
    /// A result that is of something else, or of another signer.
    #[error("anything by a result with allocation {0}: it is not this relay's, or not of this slot")]
    Result(B256),
}

/// The bids are sealed: nothing can be verified before close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bids are sealed until {close_ms} ms")]
pub struct Sealed {
    /// When the auction closes, Unix milliseconds.
    pub close_ms: u64,
}

/// What came of verifying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What is wrong; nothing if it is empty.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    pub unshown: Vec<Unshown>,
    /// Winners and prices as computed from the bids, after first refusal.
    pub clearing: Clearing,
    /// Bids that count.
    pub counted: usize,
}

/// Computes an auction again from what is public, and lists what is wrong with what the relay published.
///
/// # Errors
/// `Sealed` while nothing is shown, and nothing shows that it should be.
pub fn verify_auction(public: &Public<'_>) -> Result<Verdict, Sealed> {
    let record = public.record;
    let Some(outcome) = &record.outcome else { return withheld(public) };
    let mut audit = Audit::new(public, outcome);
    audit.frame();
    let bids = audit.bids();
    audit.held();
    let sale = audit.sale.clone();
    let best = audit.winners(&sale, &bids);
    // More than there are rollups cannot win, and are told; a long list is no work.
    let few = outcome.winners.get(..MAX_ROLLUPS).unwrap_or(&outcome.winners);
    let stated = award(&sale, &bids, few);
    let matches = audit.matches(&stated.winners);
    audit.result(&stated.refused(&matches));
    audit.other_results();
    audit.delegations();
    Ok(Verdict {
        findings: audit.findings,
        unshown: audit.unshown,
        clearing: best.refused(&matches),
        counted: bids.len(),
    })
}

/// What an auction that is not shown amounts to. Once first refusal is over a relay has no reason to hide an acknowledged bid,
/// and once the window has begun none to hide any.
fn withheld(public: &Public<'_>) -> Result<Verdict, Sealed> {
    let record = public.record;
    let window = public.window.unwrap_or(&record.window);
    let is_past = |at_ms: u64| public.now_ms.is_some_and(|now_ms| now_ms >= at_ms);
    let (mut findings, mut unshown) = (Vec::new(), Vec::new());
    if is_past(window.first_refusal_ms) {
        for held in public.held {
            match acknowledged(public, held) {
                Some((hash, received_at_ms)) => findings.push(Finding::LeftOut { hash, received_at_ms }),
                None => unshown.push(Unshown::Held(held.ack.message.bid_hash)),
            }
        }
    }
    let (close_ms, bid_count) = (window.close_ms, record.bid_count);
    if is_past(window.start_ms) && bid_count > 0 {
        findings.push(Finding::Withheld { close_ms, bid_count });
    }
    if findings.is_empty() {
        return Err(Sealed { close_ms: record.window.close_ms });
    }
    let clearing = Clearing { winners: Vec::new(), total_wei: 0 };
    Ok(Verdict { findings, unshown, clearing, counted: 0 })
}

/// Hash and time of a bid for this slot that this relay acknowledged.
fn acknowledged(public: &Public<'_>, HeldAck { bid, ack }: &HeldAck) -> Option<(B256, u64)> {
    let hash = bid.message.hash(&MarketDomain { chain_id: public.network.chain_id, market: public.market });
    let holds = bid.message.slot == public.slot
        && ack.message.bid_hash == hash
        && ack.verify(&public.network, public.relay).is_ok();
    holds.then_some((hash, ack.message.received_at_ms))
}

struct Audit<'a> {
    public: &'a Public<'a>,
    record: &'a AuctionRecord,
    outcome: &'a AuctionOutcome,
    domain: MarketDomain,
    window: &'a Window,
    sale: Sale,
    operators: BTreeMap<B256, &'a Operator>,
    findings: Vec<Finding>,
    unshown: Vec<Unshown>,
}

impl<'a> Audit<'a> {
    fn new(public: &'a Public<'a>, outcome: &'a AuctionOutcome) -> Self {
        Self {
            public,
            record: public.record,
            outcome,
            domain: MarketDomain { chain_id: public.network.chain_id, market: public.market },
            window: public.window.unwrap_or(&public.record.window),
            sale: Sale::of(public.rollups.unwrap_or(&outcome.rollups), public.relay),
            // The proposer's operator may match a winner without a bid of its own.
            operators: outcome
                .proposer_operator
                .iter()
                .filter(|_| public.operators.is_none())
                .chain(public.operators.unwrap_or(&outcome.operators))
                .map(|operator| (operator.registration_root, operator))
                .collect(),
            findings: Vec::new(),
            unshown: Vec::new(),
        }
    }

    fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, what: &'static str, stated: &T, expected: &T) {
        if stated != expected {
            let (stated, expected) = (format!("{stated:?}"), format!("{expected:?}"));
            self.find(Finding::Differs { what, stated, expected });
        }
    }

    /// Whether the record is of the right relay and slot, and stands on the right facts.
    fn frame(&mut self) {
        let (public, record) = (self.public, self.record);
        self.same("the relay", &record.relay, &public.relay);
        self.same("the network", &record.network, &public.network);
        self.same("the market", &record.market, &public.market);
        self.same("the slot", &record.slot, &public.slot);
        self.same("the window's slot", &record.window.slot, &public.slot);
        match public.window {
            Some(window) => self.same("the window", &record.window, window),
            None => self.unshown.push(Unshown::Window),
        }
        match &public.proposer {
            Some(proposer) => self.same("the proposer", &record.proposer, proposer),
            None => self.unshown.push(Unshown::Proposer),
        }
        match public.rollups {
            Some(rollups) => {
                let stated = Sale::of(&self.outcome.rollups, public.relay);
                let expected = Sale::of(rollups, public.relay);
                self.same("what is for sale", &stated, &expected);
            }
            None => self.unshown.push(Unshown::Rollups),
        }
        if public.operators.is_none() {
            self.unshown.push(Unshown::Operators);
        }
        match &public.proposer_operator {
            Some(operator) => self.same("the proposer's operator", &self.outcome.proposer_operator, operator),
            // Where nobody matched it makes no difference.
            None if self.outcome.matches.is_empty() => {}
            None => self.unshown.push(Unshown::FirstRefusal),
        }
    }

    fn operator(&self, root: B256) -> Option<&'a Operator> {
        self.operators.get(&root).copied()
    }

    fn terms(&self, published: &PublishedBid, kind: BidKind) -> BidTerms<'_> {
        BidTerms {
            window: self.window,
            received_at_ms: published.ack.message.received_at_ms,
            relay: self.public.relay,
            sale: &self.sale,
            operator: self.operator(published.bid.message.registration_root),
            kind,
        }
    }

    /// Hash, signatures and acknowledgement of a bid; none if it is no bid at all.
    fn form(&mut self, published: &PublishedBid) -> Option<B256> {
        let computed = published.bid.message.hash(&self.domain);
        if computed != published.hash {
            self.find(Finding::BidHash { stated: published.hash, computed });
        }
        let of = published.ack.message.bid_hash;
        if of != computed {
            self.find(Finding::AcknowledgementOfAnother { hash: computed, of });
        }
        if let Err(error) = published.ack.verify(&self.public.network, self.public.relay) {
            self.find(Finding::Acknowledgement { hash: computed, error });
        }
        match published.bid.verify(&self.domain) {
            Ok(()) => Some(computed),
            Err(error) => {
                if published.excluded.is_none() {
                    self.find(Finding::Counted { hash: computed, fault: BidFault::Signature(error) });
                }
                None
            }
        }
    }

    /// The bids that count, as the rules have it.
    fn bids(&mut self) -> Vec<NamedBid<'a>> {
        let outcome = self.outcome;
        let mut seen = BTreeSet::new();
        let mut bids = Vec::new();
        for published in &outcome.bids {
            let Some(hash) = self.form(published) else { continue };
            if !seen.insert(hash) {
                self.find(Finding::Twice(hash));
                continue;
            }
            let admitted = admit(&published.bid.message, &self.terms(published, BidKind::Sealed));
            match (admitted, &published.excluded) {
                (Ok(()), None) => bids.push(NamedBid { hash, bid: &published.bid.message }),
                (Ok(()), Some(stated)) if stated.code == BidFault::Escrow.code() => {
                    self.unshown.push(Unshown::Escrow(hash));
                }
                (Ok(()), Some(stated)) => {
                    self.find(Finding::NotCounted { hash, stated: stated.message.clone() });
                    bids.push(NamedBid { hash, bid: &published.bid.message });
                }
                (Err(fault), None) => self.find(Finding::Counted { hash, fault }),
                (Err(_), Some(_)) => {}
            }
        }
        let hashes: Vec<B256> = seen.into_iter().collect();
        let computed = auction_root(&hashes);
        if outcome.auction_root != computed {
            self.find(Finding::Root { stated: outcome.auction_root, computed });
        }
        bids
    }

    /// Bids that somebody has an acknowledgement of, and that are not listed.
    fn held(&mut self) {
        let published = self.outcome.bids.iter().chain(&self.outcome.matches);
        let listed: BTreeSet<B256> =
            published.map(|published| published.bid.message.hash(&self.domain)).collect();
        for held in self.public.held {
            match acknowledged(self.public, held) {
                None => self.unshown.push(Unshown::Held(held.ack.message.bid_hash)),
                Some((hash, _)) if listed.contains(&hash) => {}
                Some((hash, received_at_ms)) => self.find(Finding::LeftOut { hash, received_at_ms }),
            }
        }
    }

    fn winners(&mut self, sale: &Sale, bids: &[NamedBid<'_>]) -> Clearing {
        let best = clear(sale, bids);
        if best.hashes() != self.outcome.winners {
            let stated = self.outcome.winners.clone();
            let stated_wei = brings(sale, bids, &stated);
            let (best, best_wei) = (best.hashes(), best.total_wei);
            self.find(Finding::Winners { stated, stated_wei, best, best_wei });
        }
        best
    }

    /// The matches that count, the winners being these.
    fn matches(&mut self, winners: &[Won]) -> Vec<NamedBid<'a>> {
        let outcome = self.outcome;
        let proposer = self.public.proposer_operator.unwrap_or(outcome.proposer_operator);
        let mut matches = Vec::new();
        for published in &outcome.matches {
            let Some(hash) = self.form(published) else { continue };
            let (bid, terms) = (&published.bid.message, self.terms(published, BidKind::FirstRefusal));
            if let Err(fault) = admit(bid, &terms) {
                self.find(Finding::Counted { hash, fault });
            } else if let Err(fault) = check_match(winners, bid, proposer.as_ref()) {
                self.find(Finding::Match { hash, fault });
            } else {
                matches.push(NamedBid { hash, bid });
            }
        }
        matches
    }

    fn result(&mut self, clearing: &Clearing) {
        let outcome = self.outcome;
        if let Some(allocation) = &outcome.allocation {
            self.allocation(allocation, clearing);
        }
        let Some(result) = &outcome.result else {
            let over = self.public.now_ms.is_some_and(|now_ms| now_ms >= self.window.start_ms);
            if over || matches!(self.record.status, AuctionStatus::Final | AuctionStatus::Lapsed) {
                self.find(Finding::NoResult);
            }
            return;
        };
        if let Err(error) = result.verify(&self.public.network, self.public.relay) {
            self.find(Finding::ResultSignature(error));
        }
        let (message, window) = (&result.message, self.window);
        self.same("the result's slot", &message.slot, &self.public.slot);
        self.same("the result's time of close", &message.closed_at_ms, &window.close_ms);
        if message.auction_root != outcome.auction_root {
            let (stated, computed) = (message.auction_root, outcome.auction_root);
            self.find(Finding::Root { stated, computed });
        }
        let computed = clearing.hashes();
        if message.winners != computed {
            self.find(Finding::ResultWinners { stated: message.winners.clone(), computed });
        }
        let follows = clearing.allocation(window, outcome.auction_root).abi_hash();
        let published = outcome.allocation.as_ref().map_or(follows, Object::abi_hash);
        if message.allocation_hash != published {
            self.find(Finding::AllocationHash { stated: message.allocation_hash, computed: published });
        }
    }

    fn allocation(&mut self, stated: &SlotAllocation, clearing: &Clearing) {
        let expected = clearing.allocation(self.window, self.outcome.auction_root);
        self.same("the allocation's slot", &stated.slot, &expected.slot);
        self.same("the allocation's start", &stated.start_ms, &expected.start_ms);
        self.same("the allocation's root", &stated.auction_root, &expected.auction_root);
        if !stated.entries.is_sorted_by(|a, b| a.rollup_id < b.rollup_id) {
            self.find(Finding::EntryOrder);
        }
        let mut entries: BTreeMap<RollupId, _> =
            expected.entries.iter().map(|entry| (entry.rollup_id, entry)).collect();
        for entry in &stated.entries {
            let rollup = entry.rollup_id;
            let Some(expected) = entries.remove(&rollup) else {
                self.find(Finding::EntryUnsold(rollup));
                continue;
            };
            if entry.price_wei != expected.price_wei {
                let (stated, computed) = (entry.price_wei, expected.price_wei);
                self.find(Finding::Price { rollup, stated, computed });
            }
            let fields = [
                ("bid", entry.bid_hash == expected.bid_hash),
                ("account", entry.account == expected.account),
                ("committer", entry.committer == expected.committer),
                ("delegate", entry.delegate == expected.delegate),
                ("url", entry.url == expected.url),
            ];
            for (field, _) in fields.into_iter().filter(|(_, same)| !same) {
                self.find(Finding::Entry { rollup, field });
            }
        }
        for rollup in entries.into_keys() {
            self.find(Finding::EntryMissing(rollup));
        }
    }

    fn other_results(&mut self) {
        let published = self.outcome.result.as_ref().map(|result| &result.message);
        let mut first = published;
        for other in self.public.results {
            let holds = other.message.slot == self.public.slot
                && other.verify(&self.public.network, self.public.relay).is_ok();
            if !holds {
                self.unshown.push(Unshown::Result(other.message.allocation_hash));
                continue;
            }
            let first = *first.get_or_insert(&other.message);
            if *first != other.message {
                let (first, second) = (first.allocation_hash, other.message.allocation_hash);
                self.find(Finding::TwoResults { first, second });
            }
        }
    }

    fn delegations(&mut self) {
        let public = self.public;
        let (network, relay, proposer) = (public.network, public.relay, public.proposer);
        let roots = TrustRoots { network, relay, proposer, slasher: None };
        let result = self.outcome.result.as_ref().map(|result| result.message.allocation_hash);
        for authority in public.authorities {
            let message = &authority.delegation.message;
            let proposer = message.proposer;
            // Without an allocation a delegation is always allowed.
            if message.metadata.is_empty() {
                continue;
            }
            match valid_allocation(authority, public.slot, &roots) {
                Ok(allocation) if allocation.entries.is_empty() => {}
                Err(DelegationError::TooLate { .. }) => self.unshown.push(Unshown::Late(proposer)),
                Ok(allocation) => {
                    let stated = allocation.abi_hash();
                    if result != Some(stated) {
                        self.find(Finding::Misallocated { proposer, stated, result });
                    }
                }
                Err(error) => self.find(Finding::Delegation { proposer, error }),
            }
        }
    }
}

/// What disjoint bids bring with the reserves of the rest, wei; none if they overlap, or one is none of `bids`.
fn brings(sale: &Sale, bids: &[NamedBid<'_>], hashes: &[B256]) -> Option<u128> {
    let mut unsold: BTreeMap<RollupId, u128> =
        sale.lots().iter().map(|lot| (lot.rollup_id, lot.reserve_wei)).collect();
    let mut wei = 0_u128;
    for hash in hashes {
        let bid = bids.iter().find(|named| named.hash == *hash)?.bid;
        for id in &bid.rollup_ids {
            unsold.remove(id)?;
        }
        wei = wei.saturating_add(u128::try_from(bid.amount_wei.0).ok()?);
    }
    Some(unsold.into_values().fold(wei, u128::saturating_add))
}

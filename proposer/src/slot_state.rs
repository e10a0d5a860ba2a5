//! Which header, if any, a proposer may be given for one slot. Pure: no clock, no socket, no disk.
//!
//! A [`HeaderRound`] is one `getHeader` request. The shell asks every source at once and feeds what comes back; the round
//! says when to stop waiting and what to answer. Its rules (design §6):
//!
//! | slot | held constraints | answer |
//! |---|---|---|
//! | unconstrained | not asked | the offer of highest value, as it came |
//! | constrained | not known from every Earnest relay | nothing |
//! | constrained | known, none, and no relay proves any | the offer of highest value, as it came |
//! | constrained | known, some | the offer of highest value whose proofs show them all |
//!
//! Whatever goes wrong, the answer is "nothing", and the beacon node builds its own block.

use std::collections::HashSet;

use alloy_primitives::{B256, U256};
use earnest_builder_types::ForkName;

use crate::breaker::Cause;
use crate::proof_check::{self, Accounts, Held, ProofFault, ProvenTransaction};

/// Position of a source in the configuration.
pub type SourceIndex = usize;

/// Why an answer of a source does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No whole answer before the deadline.
    #[error("late")]
    Late,
    /// The source cannot be reached, or broke off.
    #[error("{0}")]
    Unreachable(String),
    /// The source answered with an error status.
    #[error("refused with status {0}")]
    Refused(u16),
    /// The answer is not what the API promises.
    #[error("garbage: {0}")]
    Garbage(String),
    /// The bid builds on another block than the one asked for.
    #[error("bid for another parent")]
    WrongParent,
    /// The bid's timestamp is not that of the slot.
    #[error("bid for another slot")]
    WrongSlot,
    /// The bid is of another fork than the slot.
    #[error("bid of another fork: {0}")]
    WrongFork(ForkName),
    /// The bid says that it pays more than there is.
    #[error("bid of {0} wei, which nobody has")]
    Absurd(U256),
    /// The bid is signed by another key than the relay's.
    #[error("bid of another relay")]
    WrongRelay,
    /// The relay's signature does not verify.
    #[error("bad signature on the bid")]
    BadSignature,
    /// The bid is worth less than the validator takes.
    #[error("bid of {0} wei, below the least that is taken")]
    BelowMinBid(U256),
    /// A held constraint is not shown to be in the block.
    #[error(transparent)]
    Proof(#[from] ProofFault),
}

/// A bid a proposer may take. `A` is the answer to pass on, which the rules never look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<A> {
    /// What the proposer is paid, in wei.
    pub value: U256,
    /// The block it is for.
    pub block_hash: B256,
    /// The answer to pass on.
    pub answer: A,
}

/// A bid with the transactions that the relay proves to be in its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenOffer<A> {
    /// The bid.
    pub offer: Offer<A>,
    /// `transactions_root` of its header.
    pub transactions_root: B256,
    /// The proven transactions; not yet checked.
    pub proven: Vec<ProvenTransaction>,
}

/// What a source said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<T> {
    /// An offer.
    Offer(T),
    /// It has nothing (204).
    Nothing,
    /// Its answer does not count.
    Fault(Fault),
}

/// Something that happened in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<A> {
    /// A source answered `header`.
    Plain(SourceIndex, Reply<Offer<A>>),
    /// An Earnest relay answered `header_with_proofs`.
    Proven(SourceIndex, Reply<ProvenOffer<A>>),
    /// An Earnest relay said what constraints it holds for the slot, or could not.
    Constraints(SourceIndex, Result<Vec<Held>, Fault>),
    /// Time is up.
    Deadline,
}

impl<A> Event<A> {
    /// Who offers which block, if that is what happened.
    #[must_use]
    pub const fn offered(&self) -> Option<(SourceIndex, B256)> {
        match self {
            Self::Plain(source, Reply::Offer(offer)) => Some((*source, offer.block_hash)),
            Self::Proven(source, Reply::Offer(proven)) => Some((*source, proven.offer.block_hash)),
            _ => None,
        }
    }
}

/// Why a proposer is given no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoHeader {
    /// No source offered a usable bid.
    #[error("no source offered a usable bid")]
    NoOffer,
    /// The slot is constrained, and an Earnest relay does not say by what.
    #[error("constraints unavailable from source {0}: {1}")]
    ConstraintsUnavailable(SourceIndex, Fault),
    /// The slot is constrained, and no bid was shown to keep its constraints.
    #[error("no bid was shown to hold the {0} constraints of this slot")]
    NoProvenOffer(usize),
    /// The slot is constrained, and the relay that may hold its constraints is not configured.
    #[error("somebody may hold a delegation of this slot whose constraints cannot be known here")]
    RelayGone,
    /// The slot is constrained, and its bids could not be judged in time.
    #[error("the bids could not be judged in time")]
    NotJudged,
    /// Blocks are not taken of relays now.
    #[error("circuit breaker open: {0}")]
    BreakerOpen(Cause),
    /// Too many requests at once.
    #[error("too many requests for headers at once")]
    Busy,
    /// Something broke that must not.
    #[error("a defect of the sidecar; the log has its panic")]
    Defect,
    /// The round began after the last moment for a header.
    #[error("asked too late in the slot")]
    TooLate,
}

/// What to do after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<A> {
    /// Go on waiting.
    Wait,
    /// Answer with this offer.
    Serve {
        /// Who made it.
        source: SourceIndex,
        /// The offer.
        offer: Offer<A>,
        /// How many held constraints were proven to be in the block.
        kept: usize,
    },
    /// Answer that there is nothing.
    Nothing(NoHeader),
}

/// One `getHeader` request. Feed it until it decides; then it is spent.
#[derive(Debug)]
pub struct HeaderRound<A> {
    constrained: bool,
    nobody_knows: bool,
    min_bid: U256,
    waiting_plain: Vec<SourceIndex>,
    waiting_proven: Vec<SourceIndex>,
    waiting_constraints: Vec<SourceIndex>,
    plain: Option<(SourceIndex, Offer<A>)>,
    proven: Vec<(SourceIndex, ProvenOffer<A>)>,
    held: Vec<Held>,
    accounts: Accounts,
    faults: Vec<(SourceIndex, Fault)>,
}

impl<A> HeaderRound<A> {
    /// A round for a slot for which this proposer signed nothing: `sources` are asked for plain headers.
    #[must_use]
    pub fn unconstrained(sources: &[SourceIndex]) -> Self {
        Self {
            constrained: false,
            nobody_knows: false,
            min_bid: U256::ZERO,
            waiting_plain: sources.to_vec(),
            waiting_proven: Vec::new(),
            waiting_constraints: Vec::new(),
            plain: None,
            proven: Vec::new(),
            held: Vec::new(),
            accounts: Accounts::default(),
            faults: Vec::new(),
        }
    }

    /// A round for a slot with a delegation of ours: every one of `earnest` is also asked for its constraints and for a
    /// header with proofs. Without any of them there is nobody to ask, and the answer is nothing.
    #[must_use]
    pub fn constrained(sources: &[SourceIndex], earnest: &[SourceIndex]) -> Self {
        Self {
            constrained: true,
            nobody_knows: earnest.is_empty(),
            waiting_proven: earnest.to_vec(),
            waiting_constraints: earnest.to_vec(),
            ..Self::unconstrained(sources)
        }
    }

    /// The same round for a validator that takes no bid worth less than `min_bid` wei.
    #[must_use]
    pub fn with_min_bid(self, min_bid: U256) -> Self {
        Self { min_bid, ..self }
    }

    /// Takes an event.
    pub fn take(&mut self, event: Event<A>) -> Decision<A> {
        match event {
            Event::Plain(source, reply) => {
                if remove(&mut self.waiting_plain, source) {
                    match reply {
                        Reply::Offer(offer) => self.take_plain(source, offer),
                        Reply::Nothing => {}
                        Reply::Fault(fault) => self.faults.push((source, fault)),
                    }
                }
                self.decide(false)
            }
            Event::Proven(source, reply) => {
                if remove(&mut self.waiting_proven, source) {
                    match reply {
                        Reply::Offer(offer) => self.proven.push((source, offer)),
                        Reply::Nothing => {}
                        Reply::Fault(fault) => self.faults.push((source, fault)),
                    }
                }
                self.decide(false)
            }
            Event::Constraints(source, Ok(held)) => {
                if remove(&mut self.waiting_constraints, source) {
                    self.hold(held);
                }
                self.decide(false)
            }
            Event::Constraints(source, Err(fault)) => {
                Decision::Nothing(NoHeader::ConstraintsUnavailable(source, fault))
            }
            Event::Deadline => self.decide(true),
        }
    }

    /// Whether taking an event may have to judge proofs, which takes too long for a task that others wait on.
    #[must_use]
    pub const fn is_constrained(&self) -> bool {
        self.constrained
    }

    /// The answers that did not count, for the log.
    pub fn faults(&self) -> &[(SourceIndex, Fault)] {
        &self.faults
    }

    fn hold(&mut self, held: Vec<Held>) {
        let mut seen: HashSet<Held> = self.held.iter().cloned().collect();
        self.held.extend(held.into_iter().filter(|held| seen.insert(held.clone())));
    }

    fn take_plain(&mut self, source: SourceIndex, offer: Offer<A>) {
        if offer.value.is_zero() {
            return;
        }
        if offer.value < self.min_bid {
            self.faults.push((source, Fault::BelowMinBid(offer.value)));
            return;
        }
        if self.plain.as_ref().is_none_or(|(index, best)| better(source, offer.value, *index, best.value)) {
            self.plain = Some((source, offer));
        }
    }

    fn decide(&mut self, time_is_up: bool) -> Decision<A> {
        if self.constrained {
            if self.nobody_knows {
                return Decision::Nothing(NoHeader::RelayGone);
            }
            if let Some(source) = self.waiting_constraints.first() {
                return if time_is_up {
                    Decision::Nothing(NoHeader::ConstraintsUnavailable(*source, Fault::Late))
                } else {
                    Decision::Wait
                };
            }
            if !self.waiting_proven.is_empty() && !time_is_up {
                return Decision::Wait;
            }
            if self.held.is_empty() {
                // A relay may hold what it does not show to everyone; its proofs give that away.
                let proven = self.proven.iter().flat_map(|(_, offer)| &offer.proven);
                let shown: Vec<Held> = proven.map(|proven| Held::new(proven.transaction.clone())).collect();
                self.hold(shown);
            }
            if !self.held.is_empty() {
                return self.best_proven();
            }
        }
        if !self.waiting_plain.is_empty() && !time_is_up {
            return Decision::Wait;
        }
        self.plain.take().map_or(Decision::Nothing(NoHeader::NoOffer), |(source, offer)| Decision::Serve {
            source,
            offer,
            kept: 0,
        })
    }

    fn best_proven(&mut self) -> Decision<A> {
        let mut best: Option<(SourceIndex, Offer<A>)> = None;
        for (source, proven) in std::mem::take(&mut self.proven) {
            let root = proven.transactions_root;
            if let Err(fault) = proof_check::all_held(&self.held, &proven.proven, root, &mut self.accounts) {
                self.faults.push((source, Fault::Proof(fault)));
                continue;
            }
            if proven.offer.value < self.min_bid {
                self.faults.push((source, Fault::BelowMinBid(proven.offer.value)));
                continue;
            }
            if best
                .as_ref()
                .is_none_or(|(index, held)| better(source, proven.offer.value, *index, held.value))
            {
                best = Some((source, proven.offer));
            }
        }
        let kept = self.held.len();
        best.map_or(Decision::Nothing(NoHeader::NoProvenOffer(kept)), |(source, offer)| Decision::Serve {
            source,
            offer,
            kept,
        })
    }
}

/// Higher value wins; at equal value the source named first in the configuration.
fn better(source: SourceIndex, value: U256, best: SourceIndex, best_value: U256) -> bool {
    value > best_value || (value == best_value && source < best)
}

fn remove(waiting: &mut Vec<SourceIndex>, source: SourceIndex) -> bool {
    let before = waiting.len();
    waiting.retain(|waiting| *waiting != source);
    waiting.len() < before
}

#[cfg(test)]
mod tests;

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

use alloy_primitives::{B256, U256};

use crate::proof_check::{self, Held, ProofFault, ProvenTransaction};

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
    /// The bid is signed by another key than the relay's.
    #[error("bid of another relay")]
    WrongRelay,
    /// The relay's signature does not verify.
    #[error("bad signature on the bid")]
    BadSignature,
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
    #[error("the relay that holds this slot's delegation is not configured")]
    RelayGone,
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
    waiting_plain: Vec<SourceIndex>,
    waiting_proven: Vec<SourceIndex>,
    waiting_constraints: Vec<SourceIndex>,
    plain: Option<(SourceIndex, Offer<A>)>,
    proven: Vec<(SourceIndex, ProvenOffer<A>)>,
    held: Vec<Held>,
    faults: Vec<(SourceIndex, Fault)>,
}

impl<A> HeaderRound<A> {
    /// A round for a slot for which this proposer signed nothing: `sources` are asked for plain headers.
    #[must_use]
    pub fn unconstrained(sources: &[SourceIndex]) -> Self {
        Self {
            constrained: false,
            nobody_knows: false,
            waiting_plain: sources.to_vec(),
            waiting_proven: Vec::new(),
            waiting_constraints: Vec::new(),
            plain: None,
            proven: Vec::new(),
            held: Vec::new(),
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
                    self.held.extend(held);
                }
                self.decide(false)
            }
            Event::Constraints(source, Err(fault)) => {
                Decision::Nothing(NoHeader::ConstraintsUnavailable(source, fault))
            }
            Event::Deadline => self.decide(true),
        }
    }

    /// The answers that did not count, for the log.
    pub fn faults(&self) -> &[(SourceIndex, Fault)] {
        &self.faults
    }

    fn take_plain(&mut self, source: SourceIndex, offer: Offer<A>) {
        if offer.value.is_zero() {
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
                self.held = proven.map(|proven| Held::new(proven.transaction.clone())).collect();
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
            if let Err(fault) = proof_check::all_held(&self.held, &proven.proven, proven.transactions_root) {
                self.faults.push((source, Fault::Proof(fault)));
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
mod tests {
    use alloy_primitives::Bytes;
    use earnest_builder_types::proofs::{TransactionTree, transactions_root};
    use proptest::prelude::*;

    use super::*;

    fn offer(value: u64) -> Offer<u64> {
        Offer { value: U256::from(value), block_hash: B256::from(U256::from(value)), answer: value }
    }

    fn plain(source: SourceIndex, value: u64) -> Event<u64> {
        Event::Plain(source, Reply::Offer(offer(value)))
    }

    fn block() -> Vec<Bytes> {
        (0u8..5).map(|byte| Bytes::from(vec![0x02, byte, byte])).collect()
    }

    fn held(positions: &[usize]) -> Vec<Held> {
        positions.iter().map(|position| Held::new(block()[*position].clone())).collect()
    }

    fn proven(value: u64, positions: &[usize]) -> ProvenOffer<u64> {
        let block = block();
        let tree = TransactionTree::new(&block).unwrap();
        let proven = positions
            .iter()
            .map(|position| ProvenTransaction {
                transaction: block[*position].clone(),
                proof: tree.prove(*position).unwrap(),
            })
            .collect();
        ProvenOffer { offer: offer(value), transactions_root: transactions_root(&block), proven }
    }

    fn served(decision: &Decision<u64>) -> Option<(SourceIndex, u64)> {
        match decision {
            Decision::Serve { source, offer, .. } => Some((*source, offer.answer)),
            _ => None,
        }
    }

    #[test]
    fn the_best_of_all_sources_once_all_have_answered() {
        let mut round = HeaderRound::unconstrained(&[0, 1, 2]);
        assert_eq!(round.take(plain(0, 5)), Decision::Wait);
        assert_eq!(round.take(plain(1, 9)), Decision::Wait);
        assert_eq!(served(&round.take(Event::Plain(2, Reply::Fault(Fault::Refused(500))))), Some((1, 9)));
        assert_eq!(round.faults(), [(2, Fault::Refused(500))]);
    }

    #[test]
    fn the_deadline_serves_what_there_is() {
        let mut round = HeaderRound::unconstrained(&[0, 1]);
        assert_eq!(round.take(plain(1, 3)), Decision::Wait);
        assert_eq!(served(&round.take(Event::Deadline)), Some((1, 3)));
        let mut round = HeaderRound::<u64>::unconstrained(&[0]);
        assert_eq!(round.take(Event::Deadline), Decision::Nothing(NoHeader::NoOffer));
    }

    #[test]
    fn equal_values_go_to_the_first_source_and_worthless_bids_to_nobody() {
        let mut round = HeaderRound::unconstrained(&[0, 1]);
        round.take(plain(1, 7));
        assert_eq!(served(&round.take(plain(0, 7))), Some((0, 7)));
        let mut round = HeaderRound::unconstrained(&[0]);
        assert_eq!(round.take(plain(0, 0)), Decision::Nothing(NoHeader::NoOffer));
    }

    #[test]
    fn a_constrained_slot_without_anyone_to_ask_gets_nothing() {
        let mut round = HeaderRound::constrained(&[0], &[]);
        assert_eq!(round.take(plain(0, 9)), Decision::Nothing(NoHeader::RelayGone));
    }

    #[test]
    fn a_source_speaks_once() {
        let mut round = HeaderRound::unconstrained(&[0, 1]);
        round.take(plain(0, 1));
        assert_eq!(round.take(plain(0, 100)), Decision::Wait);
        assert_eq!(served(&round.take(plain(1, 2))), Some((1, 2)));
    }

    #[test]
    fn a_higher_bid_without_proof_never_wins_a_constrained_slot() {
        let mut round = HeaderRound::constrained(&[0, 1], &[0]);
        assert_eq!(round.take(plain(1, 1_000_000)), Decision::Wait);
        assert_eq!(round.take(plain(0, 5)), Decision::Wait);
        assert_eq!(round.take(Event::Constraints(0, Ok(held(&[2])))), Decision::Wait);
        let decision = round.take(Event::Proven(0, Reply::Offer(proven(5, &[2]))));
        assert!(matches!(decision, Decision::Serve { source: 0, kept: 1, .. }), "{decision:?}");
    }

    #[test]
    fn constraints_that_are_not_known_end_in_nothing() {
        for fault in
            [Fault::Late, Fault::Refused(500), Fault::Garbage("x".into()), Fault::Unreachable("y".into())]
        {
            let mut round = HeaderRound::constrained(&[0, 1], &[0]);
            round.take(plain(1, 9));
            assert_eq!(
                round.take(Event::Constraints(0, Err(fault.clone()))),
                Decision::Nothing(NoHeader::ConstraintsUnavailable(0, fault))
            );
        }
        let mut round = HeaderRound::constrained(&[0, 1], &[0]);
        round.take(plain(0, 9));
        round.take(Event::Proven(0, Reply::Offer(proven(5, &[2]))));
        assert_eq!(
            round.take(Event::Deadline),
            Decision::Nothing(NoHeader::ConstraintsUnavailable(0, Fault::Late))
        );
    }

    #[test]
    fn a_constrained_slot_without_constraints_passes_through() {
        for last in [Reply::Nothing, Reply::Offer(proven(4, &[])), Reply::Fault(Fault::Late)] {
            let mut round = HeaderRound::constrained(&[0, 1], &[0]);
            round.take(Event::Constraints(0, Ok(Vec::new())));
            round.take(plain(0, 4));
            assert_eq!(round.take(plain(1, 6)), Decision::Wait);
            assert_eq!(served(&round.take(Event::Proven(0, last))), Some((1, 6)));
        }
        let mut round = HeaderRound::constrained(&[0, 1], &[0]);
        round.take(Event::Constraints(0, Ok(Vec::new())));
        round.take(plain(1, 6));
        assert_eq!(served(&round.take(Event::Deadline)), Some((1, 6)));
    }

    #[test]
    fn constraints_that_only_the_proofs_show_are_kept_too() {
        let mut round = HeaderRound::constrained(&[0, 1], &[0]);
        round.take(Event::Constraints(0, Ok(Vec::new())));
        round.take(plain(1, 6));
        let decision = round.take(Event::Proven(0, Reply::Offer(proven(4, &[2]))));
        assert!(matches!(decision, Decision::Serve { source: 0, kept: 1, .. }), "{decision:?}");
    }

    #[test]
    fn a_swapped_node_a_missing_proof_and_another_transaction_are_refused() {
        let good = proven(5, &[1, 3]);
        let mut swapped = good.clone();
        swapped.proven[0].proof.proof[4] = B256::repeat_byte(7);
        let mut missing = good.clone();
        missing.proven.pop();
        let mut moved = good.clone();
        moved.proven[0].proof.index = 2;
        let mut other = good.clone();
        other.proven[1].transaction = Bytes::from_static(&[2, 9, 9]);
        let mut root = good.clone();
        root.transactions_root = B256::ZERO;
        for bad in [swapped, missing, moved, other, root] {
            let mut round = HeaderRound::constrained(&[0], &[0]);
            round.take(Event::Constraints(0, Ok(held(&[1, 3]))));
            assert_eq!(
                round.take(Event::Proven(0, Reply::Offer(bad))),
                Decision::Nothing(NoHeader::NoProvenOffer(2))
            );
            assert!(matches!(round.faults(), [(0, Fault::Proof(_))]));
        }
        let mut round = HeaderRound::constrained(&[0], &[0]);
        round.take(Event::Constraints(0, Ok(held(&[1, 3]))));
        assert_eq!(served(&round.take(Event::Proven(0, Reply::Offer(good)))), Some((0, 5)));
    }

    #[test]
    fn constraints_of_all_earnest_relays_count_together() {
        let mut round = HeaderRound::constrained(&[0, 1], &[0, 1]);
        round.take(Event::Constraints(0, Ok(held(&[1]))));
        round.take(Event::Constraints(1, Ok(held(&[3]))));
        round.take(Event::Proven(0, Reply::Offer(proven(100, &[1]))));
        let decision = round.take(Event::Proven(1, Reply::Offer(proven(5, &[1, 3]))));
        assert_eq!(served(&decision), Some((1, 5)));
    }

    fn events() -> impl Strategy<Value = Vec<Event<u64>>> {
        let reply = |source: SourceIndex| {
            prop_oneof![
                (1u64..9).prop_map(move |value| Event::Plain(source, Reply::Offer(offer(value)))),
                Just(Event::Plain(source, Reply::Nothing)),
                Just(Event::Plain(source, Reply::Fault(Fault::Refused(500)))),
                (1u64..9, proptest::sample::subsequence(vec![0usize, 1, 2], 0..=3))
                    .prop_map(move |(value, at)| Event::Proven(source, Reply::Offer(proven(value, &at)))),
                Just(Event::Proven(source, Reply::Fault(Fault::Late))),
                proptest::sample::subsequence(vec![0usize, 1, 2], 0..=3)
                    .prop_map(move |at| Event::Constraints(source, Ok(held(&at)))),
                Just(Event::Constraints(source, Err(Fault::Late))),
            ]
        };
        proptest::collection::vec((0usize..2).prop_flat_map(reply), 0..12)
    }

    proptest! {
        /// Whatever sources say and in whatever order: a constrained slot is served a plain bid only if no relay said or
        /// showed that it holds anything, and a proven one only if it shows everything held.
        #[test]
        fn a_promise_is_never_broken_by_what_sources_say(events in events()) {
            let mut round = HeaderRound::constrained(&[0, 1], &[0, 1]);
            let mut said: [Option<Vec<Held>>; 2] = [None, None];
            let mut shown: [Option<Option<ProvenOffer<u64>>>; 2] = [None, None];
            for event in events.into_iter().chain([Event::Deadline]) {
                match &event {
                    Event::Constraints(source, Ok(held)) => { said[*source].get_or_insert_with(|| held.clone()); }
                    Event::Proven(source, Reply::Offer(offer)) => {
                        shown[*source].get_or_insert_with(|| Some(offer.clone()));
                    }
                    Event::Proven(source, _) => { shown[*source].get_or_insert(None); }
                    _ => {}
                }
                match round.take(event) {
                    Decision::Wait => continue,
                    Decision::Nothing(_) => {}
                    Decision::Serve { source, offer, kept } => {
                        prop_assert!(said.iter().all(Option::is_some));
                        let mut held: Vec<Held> = said.iter().flatten().flatten().cloned().collect();
                        if held.is_empty() {
                            let hidden = shown.iter().flatten().flatten().flat_map(|offer| &offer.proven);
                            held.extend(hidden.map(|proven| Held::new(proven.transaction.clone())));
                        }
                        prop_assert_eq!(kept, held.len());
                        if !held.is_empty() {
                            let by = shown[source].clone().flatten();
                            let by = by.filter(|by| by.offer == offer);
                            let all = by.is_some_and(|by| {
                                proof_check::all_held(&held, &by.proven, by.transactions_root).is_ok()
                            });
                            prop_assert!(all);
                        }
                    }
                }
                break;
            }
        }
    }
}

//! A follower's check of a gateway's stream for one rollup (design §4, §8): pure, event by event.
//!
//! A violation that names two commitments is evidence: both carry the same signer's signature.

use crate::{
    RollupId, Slot,
    delegation::{DelegationError, Holding, TrustRoots, valid_delegation},
    messages::{Microblock, StreamEvent},
    objects::{Authority, CommitmentKind, ObjectError, OrderingCommitment, Policy, SignedCommitment},
    ordering::{ChainError, WindowChain, keeps_policy},
    signing::SigningError,
    tx::{TxRules, validate},
};
use alloy_primitives::{Address, B256, Bytes};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

/// Windows that are remembered, to tell a repetition from an equivocation.
const WINDOWS_KEPT: usize = 4;

/// What an event was, if nothing is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// A window opened, by right.
    Window {
        /// The sequencing slot.
        slot: Slot,
        /// The right.
        holding: Holding,
    },
    /// Transactions took their places.
    Microblock(OrderingCommitment),
    /// A segment, or the window, ended.
    Seal(OrderingCommitment),
    /// Seen before, the same.
    Repeated,
}

/// What is wrong with an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The authority does not make anyone the holder.
    #[error("window of slot {slot}: {error}")]
    Authority {
        /// The slot it claims.
        slot: Slot,
        /// Why not.
        error: DelegationError,
    },
    /// A second, different delegation for a slot.
    #[error("two delegations for slot {slot}")]
    AllocationEquivocation {
        /// The slot.
        slot: Slot,
        /// The one first seen.
        first: Arc<Authority>,
        /// The other.
        second: Arc<Authority>,
    },
    /// A commitment that is not an ordering of this rollup, or whose payload is malformed.
    #[error("malformed commitment: {0}")]
    Malformed(ObjectError),
    /// A commitment for a slot whose window was not opened.
    #[error("no window is open for slot {0}")]
    NoWindow(Slot),
    /// A signature that is not one.
    #[error("bad signature: {0}")]
    BadSignature(SigningError),
    /// Signed by another than the window's holder.
    #[error("signed by {found}, but {expected} holds the window")]
    Unauthorized {
        /// The holder.
        expected: Address,
        /// Who signed.
        found: Address,
        /// What was signed.
        commitment: Box<SignedCommitment>,
    },
    /// Two different commitments for one position.
    #[error("two commitments for segment {segment} number {number}")]
    Equivocation {
        /// The segment.
        segment: u16,
        /// The number.
        number: u32,
        /// The one first seen.
        first: Box<SignedCommitment>,
        /// The other.
        second: Box<SignedCommitment>,
    },
    /// A link that does not follow the one before it.
    #[error("broken chain: {error}")]
    BrokenChain {
        /// In what.
        error: ChainError,
        /// The link before, unless this is number 0.
        before: Option<Box<SignedCommitment>>,
        /// The link.
        link: Box<SignedCommitment>,
    },
    /// A link after a seal.
    #[error("after a seal: {error}")]
    PostSeal {
        /// Where.
        error: ChainError,
        /// The seal.
        seal: Box<SignedCommitment>,
        /// What came after.
        link: Box<SignedCommitment>,
    },
    /// The stream does not match what is signed: links are missing, or the transactions are others.
    #[error("stream does not match: {0}")]
    Stream(ChainError),
    /// The transactions are not in the order of the rollup's policy.
    #[error("segment {segment} number {number} breaks the policy")]
    PolicyBroken {
        /// The segment.
        segment: u16,
        /// The number.
        number: u32,
    },
    /// The event's name and the commitment's kind differ.
    #[error("the event is not what the commitment is")]
    WrongEvent,
}

/// How the rollup orders, for a follower that checks the policy.
#[derive(Debug, Clone, Copy)]
pub struct PolicyRules {
    /// The policy.
    pub policy: Policy,
    /// What its transactions are.
    pub rules: TxRules,
}

/// One window as far as it was seen.
#[derive(Debug)]
struct Followed {
    authority: Arc<Authority>,
    committer: Address,
    chain: WindowChain,
    seen: BTreeMap<(u16, u32), (B256, SignedCommitment)>,
}

/// Checks one rollup's stream.
#[derive(Debug)]
pub struct StreamChecker {
    rollup: RollupId,
    roots: TrustRoots,
    policy: Option<PolicyRules>,
    windows: BTreeMap<Slot, Followed>,
}

impl StreamChecker {
    /// A checker of `rollup`'s stream. Without `policy` the order within a microblock is not judged.
    #[must_use]
    pub const fn new(rollup: RollupId, roots: TrustRoots, policy: Option<PolicyRules>) -> Self {
        Self { rollup, roots, policy, windows: BTreeMap::new() }
    }

    /// The order of a window as far as it was seen and is sound.
    #[must_use]
    pub fn window(&self, slot: Slot) -> Option<&WindowChain> {
        self.windows.get(&slot).map(|followed| &followed.chain)
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// [`Violation`]; the state stays as it was before the event.
    pub fn on(&mut self, event: &StreamEvent) -> Result<Accepted, Violation> {
        match event {
            StreamEvent::Window(authority) => self.open(authority),
            StreamEvent::Microblock(Microblock { commitment, transactions }) => {
                self.link(commitment, Some(transactions))
            }
            StreamEvent::Seal(commitment) => self.link(commitment, None),
        }
    }

    fn open(&mut self, authority: &Arc<Authority>) -> Result<Accepted, Violation> {
        let slot = authority.delegation.message.slot;
        let holding = valid_delegation(authority, self.rollup, slot, &self.roots)
            .map_err(|error| Violation::Authority { slot, error })?;
        match self.windows.entry(slot) {
            Entry::Occupied(known) => {
                let first = &known.get().authority;
                if first.delegation.message == authority.delegation.message {
                    return Ok(Accepted::Repeated);
                }
                let (first, second) = (Arc::clone(first), Arc::clone(authority));
                return Err(Violation::AllocationEquivocation { slot, first, second });
            }
            Entry::Vacant(place) => {
                place.insert(Followed {
                    authority: Arc::clone(authority),
                    committer: holding.entry.committer,
                    chain: WindowChain::new(self.rollup, slot),
                    seen: BTreeMap::new(),
                });
            }
        }
        while self.windows.len() > WINDOWS_KEPT {
            self.windows.pop_first();
        }
        Ok(Accepted::Window { slot, holding })
    }

    /// Takes a microblock with its transactions, or a seal without.
    fn link(&mut self, signed: &SignedCommitment, txs: Option<&[Bytes]>) -> Result<Accepted, Violation> {
        let link = signed.commitment.ordering().map_err(Violation::Malformed)?;
        if link.rollup_id != self.rollup {
            return Err(Violation::Malformed(ObjectError::Field("rollupId")));
        }
        if txs.is_some() != (link.kind == CommitmentKind::Microblock) {
            return Err(Violation::WrongEvent);
        }
        let window = self.windows.get_mut(&link.slot).ok_or(Violation::NoWindow(link.slot))?;
        let found = signed.committer(&self.roots.network).map_err(Violation::BadSignature)?;
        if found != window.committer {
            let commitment = Box::new(signed.clone());
            return Err(Violation::Unauthorized { expected: window.committer, found, commitment });
        }
        let txs = txs.unwrap_or_default();
        if self.policy.is_some_and(|policy| !keeps(&policy, txs)) {
            return Err(Violation::PolicyBroken { segment: link.segment, number: link.number });
        }
        window.append(&link, signed, txs)
    }
}

impl Followed {
    fn append(
        &mut self,
        link: &OrderingCommitment,
        signed: &SignedCommitment,
        txs: &[Bytes],
    ) -> Result<Accepted, Violation> {
        let position = (link.segment, link.number);
        let hash = link.hash();
        if let Some((known, first)) = self.seen.get(&position) {
            if *known == hash {
                return Ok(Accepted::Repeated);
            }
            let (segment, number) = position;
            let (first, second) = (Box::new(first.clone()), Box::new(signed.clone()));
            return Err(Violation::Equivocation { segment, number, first, second });
        }
        self.chain.append(link, txs).map_err(|error| self.violation(error, position, signed))?;
        self.seen.insert(position, (hash, signed.clone()));
        if link.kind.is_seal() {
            Ok(Accepted::Seal(link.clone()))
        } else {
            Ok(Accepted::Microblock(link.clone()))
        }
    }

    fn violation(&self, error: ChainError, position: (u16, u32), signed: &SignedCommitment) -> Violation {
        let link = Box::new(signed.clone());
        // The highest link below this position: its predecessor, or the seal that it comes after.
        let before =
            self.seen.range(..position).next_back().map(|(at, (_, signed))| (at.0, Box::new(signed.clone())));
        match (error, before) {
            (ChainError::PostSeal { .. }, Some((_, seal))) => Violation::PostSeal { error, seal, link },
            (
                ChainError::Parent
                | ChainError::FirstIndex { .. }
                | ChainError::SealWithTxs
                | ChainError::Time
                | ChainError::ForcedHead,
                before,
            ) => {
                let before = before.filter(|(segment, _)| *segment == position.0).map(|(_, before)| before);
                Violation::BrokenChain { error, before, link }
            }
            _ => Violation::Stream(error),
        }
    }
}

/// Whether transactions are in the policy's order. One that is not a transaction at all keeps no order.
fn keeps(policy: &PolicyRules, txs: &[Bytes]) -> bool {
    if policy.policy == Policy::Fcfs {
        return true;
    }
    let txs: Result<Vec<_>, _> = txs.iter().map(|raw| validate(raw.clone(), &policy.rules)).collect();
    txs.is_ok_and(|txs| keeps_policy(policy.policy, &txs))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::{
        fixtures::*,
        objects::Commitment,
        ordering::{Limits, WindowEngine},
        signing::EcdsaSecret,
    };

    fn resign(ordering: &OrderingCommitment, secret: &EcdsaSecret) -> SignedCommitment {
        let commitment = Commitment::of_ordering(ordering, Address::ZERO);
        SignedCommitment::sign(commitment, secret, &NETWORK).unwrap()
    }

    /// A window of two segments: (0: two microblocks, seal), (1: one microblock, window's seal).
    fn stream() -> Vec<StreamEvent> {
        let limits = Limits { max_batch_bytes: 20_000, ..Limits::default() };
        let mut engine = WindowEngine::open(config(limits), Arc::default());
        let mut events = vec![StreamEvent::Window(Arc::new(authority()))];
        let mut next = |engine: &mut WindowEngine, now| {
            let draft = engine.draft(now).unwrap();
            engine.committed().unwrap();
            let commitment = signed(&draft);
            let transactions = draft.txs.iter().map(|tx| tx.raw.clone()).collect();
            events.push(match draft.commitment.kind {
                CommitmentKind::Microblock => {
                    StreamEvent::Microblock(Microblock { commitment, transactions })
                }
                _ => StreamEvent::Seal(commitment),
            });
        };
        for id in 0..2 {
            engine.push(opaque_tx(id, 100)).unwrap();
            next(&mut engine, START_MS + u64::from(id));
        }
        engine.push(opaque_tx(9, 7_000)).unwrap();
        next(&mut engine, START_MS + 3);
        next(&mut engine, START_MS + 4);
        engine.close();
        next(&mut engine, START_MS + 5);
        events
    }

    fn ordering(event: &StreamEvent) -> OrderingCommitment {
        match event {
            StreamEvent::Microblock(Microblock { commitment, .. }) | StreamEvent::Seal(commitment) => {
                commitment.commitment.ordering().unwrap()
            }
            StreamEvent::Window(_) => panic!("a window"),
        }
    }

    /// The same event under a changed ordering.
    fn changed(
        event: &StreamEvent,
        secret: &EcdsaSecret,
        change: impl FnOnce(&mut OrderingCommitment),
    ) -> StreamEvent {
        let mut ordering = ordering(event);
        change(&mut ordering);
        let commitment = resign(&ordering, secret);
        match event {
            StreamEvent::Microblock(Microblock { transactions, .. }) => {
                StreamEvent::Microblock(Microblock { commitment, transactions: transactions.clone() })
            }
            _ => StreamEvent::Seal(commitment),
        }
    }

    fn checker() -> StreamChecker {
        StreamChecker::new(ROLLUP, roots(), Some(PolicyRules { policy: Policy::PriorityFee, rules: OPAQUE }))
    }

    /// A checker that has taken `events`.
    fn after(events: &[StreamEvent]) -> StreamChecker {
        let mut checker = checker();
        for event in events {
            checker.on(event).unwrap();
        }
        checker
    }

    #[test]
    fn a_sound_stream_is_taken_and_repetitions_do_no_harm() {
        let events = stream();
        let mut checker = after(&events);
        let window = checker.window(SLOT).unwrap();
        assert!(window.ended());
        assert_eq!((window.segment(), window.places().len()), (1, 3));
        for event in &events {
            assert_eq!(checker.on(event), Ok(Accepted::Repeated));
        }
    }

    #[test]
    fn events_survive_json() {
        for event in stream() {
            assert_eq!(StreamEvent::parse(event.name(), &event.data().unwrap()).unwrap(), Some(event));
        }
        assert_eq!(StreamEvent::parse("other", "{}").unwrap(), None);
        assert!(StreamEvent::parse("seal", "{}").is_err());
    }

    #[test]
    fn equivocation_is_told_with_both_words() {
        let events = stream();
        for (at, event) in events.iter().enumerate().skip(1) {
            let other = changed(event, &committer(), |ordering| ordering.timestamp_ms += 1);
            let violation = after(&events).on(&other).unwrap_err();
            let Violation::Equivocation { segment, number, first, second } = violation else {
                panic!("{at}: {violation}")
            };
            for signed in [&first, &second] {
                let ordering = signed.commitment.ordering().unwrap();
                assert_eq!((ordering.segment, ordering.number), (segment, number));
                assert_eq!(signed.verify(&NETWORK, committer().address()), Ok(()));
            }
            assert_ne!(first, second);
        }
    }

    #[test]
    fn a_chain_that_breaks_is_told_with_the_link_before() {
        let events = stream();
        let broken = |change: fn(&mut OrderingCommitment)| {
            let event = changed(&events[2], &committer(), change);
            let Violation::BrokenChain { error, before, .. } = after(&events[..2]).on(&event).unwrap_err()
            else {
                panic!("another violation")
            };
            assert_eq!(before.unwrap().commitment.ordering().unwrap(), ordering(&events[1]));
            error
        };
        assert_eq!(broken(|ordering| ordering.parent.0[0] ^= 1), ChainError::Parent);
        assert_eq!(
            broken(|ordering| ordering.first_index += 1),
            ChainError::FirstIndex { expected: 1, found: 2 }
        );
        assert_eq!(broken(|ordering| ordering.timestamp_ms -= 2), ChainError::Time);
        assert_eq!(broken(|ordering| ordering.forced_inclusion_head += 1), ChainError::ForcedHead);

        let first = changed(&events[1], &committer(), |ordering| ordering.parent = B256::repeat_byte(1));
        let violation = after(&events[..1]).on(&first).unwrap_err();
        assert!(matches!(violation, Violation::BrokenChain { before: None, error: ChainError::Parent, .. }));
        let seal = changed(&events[3], &committer(), |ordering| ordering.tx_count = 2);
        let violation = after(&events[..3]).on(&seal).unwrap_err();
        assert!(matches!(violation, Violation::BrokenChain { error: ChainError::SealWithTxs, .. }));
    }

    #[test]
    fn what_comes_after_a_seal_is_told_with_the_seal() {
        let events = stream();
        let in_segment = changed(&events[2], &committer(), |ordering| ordering.number = 7);
        let higher_segment = changed(&events[4], &committer(), |ordering| ordering.segment = 2);
        let in_last = changed(&events[4], &committer(), |ordering| ordering.number = 9);
        for (event, kind) in [
            (in_segment, CommitmentKind::SegmentSeal),
            (higher_segment, CommitmentKind::WindowSeal),
            (in_last, CommitmentKind::WindowSeal),
        ] {
            let Violation::PostSeal { seal, .. } = after(&events).on(&event).unwrap_err() else {
                panic!("another violation")
            };
            assert_eq!(seal.commitment.ordering().unwrap().kind, kind);
        }
    }

    #[test]
    fn a_stream_that_is_not_what_is_signed_is_told() {
        let events = stream();
        let StreamEvent::Microblock(microblock) = &events[2] else { panic!("a microblock") };
        let told = |transactions: Vec<Bytes>| {
            let commitment = microblock.commitment.clone();
            let event = StreamEvent::Microblock(Microblock { commitment, transactions });
            after(&events[..2]).on(&event).unwrap_err()
        };
        assert_eq!(told(vec![Bytes::from_static(b"other")]), Violation::Stream(ChainError::Root));
        assert_eq!(told(vec![]), Violation::Stream(ChainError::Count { stated: 1, found: 0 }));
        let gap = after(&events[..2]).on(&events[3]).unwrap_err();
        assert_eq!(gap, Violation::Stream(ChainError::Gap { segment: 0, number: 2 }));
        let as_seal = StreamEvent::Seal(microblock.commitment.clone());
        assert_eq!(after(&events[..2]).on(&as_seal), Err(Violation::WrongEvent));
    }

    #[test]
    fn who_may_not_order_is_told() {
        let events = stream();
        assert_eq!(checker().on(&events[1]), Err(Violation::NoWindow(SLOT)));
        let stranger = ecdsa_secret(9);
        let violation = after(&events[..1]).on(&changed(&events[1], &stranger, |_| ())).unwrap_err();
        assert!(matches!(violation, Violation::Unauthorized { found, .. } if found == stranger.address()));

        let late = Arc::new(authority_of(delegation(&allocation()), START_MS));
        let violation = checker().on(&StreamEvent::Window(late)).unwrap_err();
        assert!(matches!(violation, Violation::Authority { error: DelegationError::TooLate { .. }, .. }));

        let mut other = allocation();
        other.start_ms += 1;
        let second = Arc::new(authority_of(delegation(&other), START_MS - 1));
        let violation = after(&events).on(&StreamEvent::Window(second)).unwrap_err();
        assert!(matches!(violation, Violation::AllocationEquivocation { slot: SLOT, .. }));

        let elsewhere = changed(&events[1], &committer(), |ordering| ordering.rollup_id = RollupId(1));
        assert!(matches!(after(&events[..1]).on(&elsewhere), Err(Violation::Malformed(_))));
    }
}

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
    /// The holder's commitment names another slasher than the one that counts: whatever it breaks later costs it nothing.
    #[error("segment {segment} number {number} names the slasher {found}, not {expected}")]
    Slasher {
        /// The segment.
        segment: u16,
        /// The number.
        number: u32,
        /// The one that counts.
        expected: Address,
        /// The one named.
        found: Address,
        /// What was signed.
        commitment: Box<SignedCommitment>,
    },
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
    /// No evidence, but no sound order either: links are missing, the transactions are not those that were signed,
    /// or time or the forced-inclusion head change as they may not.
    #[error("unsound: {0}")]
    Unsound(ChainError),
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
        window.append(&link, signed, txs, self.roots.other_slasher(signed.commitment.slasher))
    }
}

impl Followed {
    fn append(
        &mut self,
        link: &OrderingCommitment,
        signed: &SignedCommitment,
        txs: &[Bytes],
        instead_of: Option<Address>,
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
        // After the equivocation, which is evidence whatever slasher the second commitment names.
        if let Some(expected) = instead_of {
            let ((segment, number), found) = (position, signed.commitment.slasher);
            return Err(Violation::Slasher {
                segment,
                number,
                expected,
                found,
                commitment: Box::new(signed.clone()),
            });
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
            (ChainError::Parent | ChainError::FirstIndex { .. } | ChainError::SealWithTxs, before) => {
                let before = before.filter(|(segment, _)| *segment == position.0).map(|(_, before)| before);
                Violation::BrokenChain { error, before, link }
            }
            _ => Violation::Unsound(error),
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
mod tests;

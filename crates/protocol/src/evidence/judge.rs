//! Faults that are shown at once, and the end of an accusation: what `slash` finds.
//!
//! The order of checks is the contracts': evidence decodes, fault known, the judged commitment's slasher, payload,
//! leg and signer, time; then of each commitment in the evidence slasher, payload, signer; then places; then the fault.

use super::{Charge, Conviction, Facts, Fault, Judge, Penalty, Reason, Verdict, charge::Detail, require};
use crate::{
    RollupId, Slot, merkle,
    objects::{BundleCommitment, CommitmentKind, CommitmentType, Leg, Object, OrderingCommitment},
    signing::{MessageType, ecdsa, sol_root},
    sol,
};
use alloy_primitives::{Address, B256};

/// What a judged commitment promises, as far as the fault asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Promised {
    Ordering(OrderingCommitment),
    Leg(Leg),
}

impl Promised {
    /// The segment that it is a promise for.
    pub(super) const fn place(&self) -> (RollupId, Slot, u16) {
        match self {
            Self::Ordering(ordering) => (ordering.rollup_id, ordering.slot, ordering.segment),
            Self::Leg(leg) => (leg.rollup_id, leg.slot, leg.segment),
        }
    }
}

impl Judge {
    /// Judges a charge: what the registry's call of `slash` would find now. A fault that begins with an accusation
    /// is shown by [`Facts::accusation`], if that stands unanswered.
    #[must_use]
    pub fn judge(&self, charge: &Charge, facts: &Facts) -> Verdict {
        match charge {
            Charge::Commitment { committer, commitment, evidence } => {
                self.judge_commitment(*committer, commitment, evidence, facts)
            }
            Charge::Delegation { delegation, evidence } => self.judge_delegation(delegation, evidence, facts),
            Charge::Delegations { one, other } => self.judge_delegations(one, other),
        }
        .into()
    }

    fn judge_commitment(
        &self,
        committer: Address,
        commitment: &sol::SignedCommitment,
        evidence: &[u8],
        facts: &Facts,
    ) -> Result<Conviction, Reason> {
        let detail = Detail::decode(evidence, false)?;
        let promised = self.promised(&commitment.commitment, &detail)?;
        if self.signer(commitment) != Some(committer) {
            return Err(Reason::UnauthorizedCommitment);
        }
        let (rollup_id, slot, segment) = promised.place();
        let guilty = |fault, penalty| Ok(Conviction { fault, signer: committer, rollup_id, slot, penalty });
        let fault = match (&detail, &promised) {
            (Detail::MissedWindow(_), _) => {
                let penalty = self.conclude_missed_window(committer, (rollup_id, slot, segment), facts)?;
                return guilty(Fault::MissedWindow, penalty);
            }
            (Detail::UnauthorizedSequencing, _) => {
                self.conclude_unauthorized(committer, rollup_id, slot, facts)?;
                Fault::UnauthorizedSequencing
            }
            (detail, promised) => {
                self.in_time(slot, facts.now)?;
                self.shown_at_once(detail, promised, committer, facts)?
            }
        };
        guilty(fault, Penalty::Safety)
    }

    /// The faults that two commitments, or one and the queue, show.
    fn shown_at_once(
        &self,
        detail: &Detail,
        promised: &Promised,
        signer: Address,
        facts: &Facts,
    ) -> Result<Fault, Reason> {
        match (detail, promised) {
            (Detail::Equivocation(detail), Promised::Ordering(judged)) => {
                equivocation(judged, &self.ordering_of(&detail.other, signer)?)?;
                Ok(Fault::Equivocation)
            }
            (Detail::BrokenChain(detail), Promised::Ordering(judged)) => {
                let previous = match detail.previous.as_slice() {
                    [] => None,
                    [previous] => Some(self.ordering_of(previous, signer)?),
                    _ => return Err(Reason::MalformedEvidence),
                };
                broken_chain(judged, previous.as_ref())?;
                Ok(Fault::BrokenChain)
            }
            (Detail::PostSeal(detail), Promised::Ordering(judged)) => {
                post_seal(judged, &self.ordering_of(&detail.seal, signer)?)?;
                Ok(Fault::PostSeal)
            }
            (Detail::Omission(detail), Promised::Ordering(judged)) => {
                omission(judged, &self.ordering_of(&detail.seal, signer)?, detail)?;
                Ok(Fault::Omission)
            }
            (Detail::AtomicityBreak(detail), Promised::Leg(leg)) => {
                atomicity_break(leg, &self.ordering_of(&detail.shown, signer)?, detail)?;
                Ok(Fault::AtomicityBreak)
            }
            (Detail::ForcedInclusionSkipped, Promised::Ordering(judged)) => {
                forced_inclusion_skipped(judged, facts.forced_head)?;
                Ok(Fault::ForcedInclusionSkipped)
            }
            // The other faults are not shown at once, and `promised` gives each its own kind of promise.
            _ => Err(Reason::MalformedEvidence),
        }
    }

    /// Whether evidence for `slot` still counts at `now`, Unix seconds.
    pub(super) fn in_time(&self, slot: Slot, now: u64) -> Result<(), Reason> {
        let until = self.clock.start_seconds(slot).saturating_add(self.times.evidence_seconds);
        if now > until { Err(Reason::TooLate(until)) } else { Ok(()) }
    }

    /// The judged commitment's slasher, its payload as the fault takes it, and the leg.
    pub(super) fn promised(&self, commitment: &sol::Commitment, detail: &Detail) -> Result<Promised, Reason> {
        self.names_us(commitment)?;
        let is_bundle = commitment.commitmentType == u64::from(CommitmentType::Bundle);
        let leg = match detail {
            Detail::AtomicityBreak(detail) => Some(detail.leg),
            Detail::MissedWindow(detail) if is_bundle => Some(detail.leg),
            _ => None,
        };
        let Some(leg) = leg else {
            let ordering = ordering(commitment)?;
            return match detail {
                Detail::MissedWindow(detail) if detail.leg != 0 => Err(Reason::NoSuchLeg),
                _ => Ok(Promised::Ordering(ordering)),
            };
        };
        if !is_bundle {
            return Err(Reason::NotABundle);
        }
        let bundle = BundleCommitment::abi_decode(&commitment.payload).map_err(|_| Reason::NotABundle)?;
        bundle.legs.get(usize::from(leg)).cloned().map(Promised::Leg).ok_or(Reason::NoSuchLeg)
    }

    /// A commitment in the evidence: an ordering, and of the judged one's signer. It may name any slasher: the Inbox takes
    /// a seal for any, so one that names none could else reorder what was promised under this one.
    fn ordering_of(
        &self,
        signed: &sol::SignedCommitment,
        signer: Address,
    ) -> Result<OrderingCommitment, Reason> {
        let ordering = ordering(&signed.commitment)?;
        match self.signer(signed) {
            Some(found) if found == signer => Ok(ordering),
            found => Err(Reason::OtherSigner(found.unwrap_or_default())),
        }
    }

    fn names_us(&self, commitment: &sol::Commitment) -> Result<(), Reason> {
        if commitment.slasher == self.slasher {
            Ok(())
        } else {
            Err(Reason::OtherSlasher(commitment.slasher))
        }
    }

    /// Who signed; nobody if the signature is not 65 bytes r‖s‖v with low s and v 27 or 28.
    pub(super) fn signer(&self, signed: &sol::SignedCommitment) -> Option<Address> {
        let root = sol_root(MessageType::Commitment, &signed.commitment);
        self.recover(root, signed.signingId, signed.nonce, &signed.signature)
    }

    /// Who signed an object root in the form of design §3.
    pub(super) fn recover(
        &self,
        object_root: B256,
        signing_id: B256,
        nonce: u64,
        signature: &[u8],
    ) -> Option<Address> {
        let root = self.network.signing_root(object_root, signing_id, nonce);
        ecdsa::recover(root, &signature.try_into().ok()?).ok()
    }
}

fn ordering(commitment: &sol::Commitment) -> Result<OrderingCommitment, Reason> {
    if commitment.commitmentType != u64::from(CommitmentType::Ordering) {
        return Err(Reason::NotAnOrdering);
    }
    OrderingCommitment::abi_decode(&commitment.payload).map_err(|_| Reason::NotAnOrdering)
}

const fn segment(ordering: &OrderingCommitment) -> (RollupId, Slot, u16) {
    (ordering.rollup_id, ordering.slot, ordering.segment)
}

fn equivocation(judged: &OrderingCommitment, other: &OrderingCommitment) -> Result<(), Reason> {
    let same_place = segment(judged) == segment(other) && judged.number == other.number;
    require(same_place, Reason::OtherPlace)?;
    require(judged != other, Reason::SameCommitment)
}

fn broken_chain(judged: &OrderingCommitment, previous: Option<&OrderingCommitment>) -> Result<(), Reason> {
    let Some(previous) = previous else {
        let bad_start = judged.number == 0 && (!judged.parent.is_zero() || judged.first_index != 0);
        let bad_seal = judged.kind.is_seal() && judged.tx_count != 0;
        return require(bad_start || bad_seal, Reason::ChainHolds);
    };
    let follows =
        segment(judged) == segment(previous) && previous.number.checked_add(1) == Some(judged.number);
    require(follows, Reason::OtherPlace)?;
    // A microblock that counts past the last index has no successor.
    let next_index = previous.first_index.checked_add(previous.tx_count);
    let holds = judged.parent == previous.hash() && next_index == Some(judged.first_index);
    require(!holds, Reason::ChainHolds)
}

fn post_seal(judged: &OrderingCommitment, seal: &OrderingCommitment) -> Result<(), Reason> {
    require((judged.rollup_id, judged.slot) == (seal.rollup_id, seal.slot), Reason::OtherPlace)?;
    require(seal.kind.is_seal(), Reason::NotASeal)?;
    let in_segment = judged.segment == seal.segment && judged.number > seal.number;
    let after_window = seal.kind == CommitmentKind::WindowSeal && judged.segment > seal.segment;
    require(in_segment || after_window, Reason::OtherPlace)
}

fn omission(
    judged: &OrderingCommitment,
    seal: &OrderingCommitment,
    detail: &sol::OmissionEvidence,
) -> Result<(), Reason> {
    require(segment(judged) == segment(seal), Reason::OtherPlace)?;
    require(seal.kind.is_seal(), Reason::NotASeal)?;
    require(!judged.kind.is_seal(), Reason::IndexOutside)?;
    in_microblock(judged, detail.index, &detail.txHash, &detail.path)?;
    if in_seal(seal, detail.index, &detail.sealedTxHash, &detail.sealedPath)? {
        require(detail.txHash != detail.sealedTxHash, Reason::SameTransaction)?;
    }
    Ok(())
}

fn atomicity_break(
    leg: &Leg,
    shown: &OrderingCommitment,
    detail: &sol::AtomicityEvidence,
) -> Result<(), Reason> {
    require((leg.rollup_id, leg.slot, leg.segment) == segment(shown), Reason::OtherPlace)?;
    let has_index = if shown.kind.is_seal() {
        in_seal(shown, leg.index, &detail.shownTxHash, &detail.path)?
    } else {
        in_microblock(shown, leg.index, &detail.shownTxHash, &detail.path)?;
        true
    };
    require(!has_index || detail.shownTxHash != leg.tx_hash, Reason::SameTransaction)
}

/// Checks that a microblock holds the transaction at `index`.
fn in_microblock(
    microblock: &OrderingCommitment,
    index: u32,
    tx_hash: &B256,
    path: &[B256],
) -> Result<(), Reason> {
    let OrderingCommitment { first_index, tx_count, ref tx_root, .. } = *microblock;
    let position = index.checked_sub(first_index).filter(|position| *position < tx_count);
    let position = position.ok_or(Reason::IndexOutside)?;
    let leaf = merkle::leaf(u64::from(index), tx_hash);
    require(merkle::verify(&leaf, position, tx_count, path, tx_root), Reason::BadPath)
}

/// Whether a seal counts `index`, and then checks that it holds the transaction there. Where it does not, the
/// evidence has neither transaction nor path.
fn in_seal(seal: &OrderingCommitment, index: u32, tx_hash: &B256, path: &[B256]) -> Result<bool, Reason> {
    let count = seal.first_index;
    if index >= count {
        require(tx_hash.is_zero() && path.is_empty(), Reason::BadPath)?;
        return Ok(false);
    }
    let leaf = merkle::leaf(u64::from(index), tx_hash);
    require(merkle::verify(&leaf, index, count, path, &seal.tx_root), Reason::BadPath)?;
    Ok(true)
}

fn forced_inclusion_skipped(judged: &OrderingCommitment, due: u64) -> Result<(), Reason> {
    require(judged.forced_inclusion_head < due, Reason::NothingSkipped)
}

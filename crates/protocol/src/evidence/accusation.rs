//! Accusations that the accused may answer (design §8): MissedWindow, UnauthorizedSequencing, Misallocation.
//!
//! accuse → answer → (rebut →) conclude, each a pure function of the accusation so far and the facts. A delegation's
//! and a result's answer close the accusation; an answer to MissedWindow can be rebutted by the same relay's word
//! that it dropped the constraints, for as long again.

use super::{
    AnswerFault, Charge, Facts, Fault, Judge, Penalty, RECORD_SLOTS, Reason,
    charge::{Detail, decode, decode_params},
};
use crate::{
    RollupId, Slot,
    delegation::{DelegationError, TrustRoots, valid_delegation},
    inbox,
    objects::{Authority, ConstraintStatus, InclusionPayload, Object},
    signing::{MessageType, SigningError, sol_root},
    sol,
};
use alloy_consensus::{Transaction, TxEnvelope};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue;
use std::fmt;

/// Where an accusation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It can be answered until its deadline, and concluded after it.
    Open,
    /// It is answered, and the answer can be rebutted until its deadline.
    Answered,
    /// It is answered for good.
    Closed,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Answered => "answered",
            Self::Closed => "closed",
        })
    }
}

/// An accusation, as far as judging it goes. Bond, accuser and answerer are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accusation {
    /// The fault.
    pub fault: Fault,
    /// The accused committer; of Misallocation, [`super::proposer_id`] of the proposer's key.
    pub signer: Address,
    /// The rollup; 0 for Misallocation.
    pub rollup_id: RollupId,
    /// The slot.
    pub slot: Slot,
    /// The segment missed; else 0.
    pub segment: u16,
    /// Hash of the judged ordering or bundle, or of the delegation.
    pub judged: B256,
    /// Where it stands.
    pub status: Status,
    /// Until when it can be answered, Unix seconds; after a rebuttal not before that.
    pub answerable_until: u64,
    /// Until when the answer can be rebutted, Unix seconds.
    pub rebuttable_until: u64,
    /// The constraints that the answer stands on.
    pub constraints_hash: B256,
}

/// Names an accusation against a committer: `keccak256(abi.encode(fault, signer, rollupId, slot))`, for
/// MissedWindow with the segment after that.
#[must_use]
pub fn accusation_id(fault: Fault, signer: Address, rollup: RollupId, slot: Slot, segment: u16) -> B256 {
    let fault_word = u16::from(u8::from(fault));
    if fault == Fault::MissedWindow {
        keccak256((fault_word, signer, rollup.0, slot.0, segment).abi_encode())
    } else {
        keccak256((fault_word, signer, rollup.0, slot.0).abi_encode())
    }
}

/// Names an accusation of Misallocation: `keccak256(abi.encode(fault, delegationHash))`.
#[must_use]
pub fn delegation_accusation_id(delegation_hash: B256) -> B256 {
    keccak256((u16::from(u8::from(Fault::Misallocation)), delegation_hash).abi_encode())
}

type Answer = (sol::SignedDelegation, sol::SignedAuctionResult);

impl Judge {
    /// Judges an accusation as it is brought.
    ///
    /// # Errors
    /// The [`Reason`] that it is refused for.
    pub fn accuse(&self, charge: &Charge, facts: &Facts) -> Result<Accusation, Reason> {
        let (committer, commitment, evidence) = match charge {
            Charge::Commitment { committer, commitment, evidence } => (committer, commitment, evidence),
            Charge::Delegation { delegation, evidence } => {
                Detail::decode(evidence, true)?;
                return self.accuse_delegation(delegation, facts);
            }
            Charge::Delegations { .. } => {
                return Err(Reason::UnknownFault(Fault::AllocationEquivocation.into()));
            }
        };
        let detail = Detail::decode(evidence, false)?;
        let fault = match detail {
            Detail::MissedWindow(_) => Fault::MissedWindow,
            Detail::UnauthorizedSequencing => Fault::UnauthorizedSequencing,
            _ => return Err(Reason::UnknownFault(evidence.get(31).copied().unwrap_or_default())),
        };
        let promised = self.promised(&commitment.commitment, &detail)?;
        if self.signer(commitment) != Some(*committer) {
            return Err(Reason::NotOperator);
        }
        let (rollup_id, slot, segment) = promised.place();
        let start = self.clock.start_seconds(slot);
        let missed = fault == Fault::MissedWindow;
        if missed && facts.now <= start {
            return Err(Reason::TooEarly(start));
        }
        self.in_time(slot, facts.now)?;
        if missed && facts.record_time != 0 && facts.record_time <= start {
            return Err(Reason::RecordedInTime);
        }
        if !missed && facts.reserve_committer == *committer {
            return Err(Reason::ReserveCommitter);
        }
        let segment = if missed { segment } else { 0 };
        let judged = keccak256(&commitment.commitment.payload);
        Ok(self.opened(fault, *committer, (rollup_id, slot, segment), judged, facts.now))
    }

    pub(super) fn opened(
        &self,
        fault: Fault,
        signer: Address,
        (rollup_id, slot, segment): (RollupId, Slot, u16),
        judged: B256,
        now: u64,
    ) -> Accusation {
        Accusation {
            fault,
            signer,
            rollup_id,
            slot,
            segment,
            judged,
            status: Status::Open,
            answerable_until: now.saturating_add(self.times.answer_seconds),
            rebuttable_until: 0,
            constraints_hash: B256::ZERO,
        }
    }

    /// Judges an answer: `abi.encode(ConstraintAnswer)` to MissedWindow,
    /// `abi.encode(SignedDelegation, SignedDelegationReceipt)` to UnauthorizedSequencing,
    /// `abi.encode(SignedDelegation, SignedAuctionResult)` to Misallocation.
    ///
    /// # Errors
    /// The [`Reason`] that it is refused for; the accusation stands then.
    pub fn answer(
        &self,
        accusation: &Accusation,
        answer: &[u8],
        facts: &Facts,
    ) -> Result<Accusation, Reason> {
        if accusation.status != Status::Open {
            return Err(Reason::WrongStatus(accusation.status));
        }
        if facts.now > accusation.answerable_until {
            return Err(Reason::TooLate(accusation.answerable_until));
        }
        let bad = Reason::BadAnswer;
        match accusation.fault {
            Fault::MissedWindow => {
                let constraints_hash = self.answered_by_constraint(accusation, answer, facts).map_err(bad)?;
                let rebuttable_until = facts.now.saturating_add(self.times.answer_seconds);
                Ok(Accusation { status: Status::Answered, constraints_hash, rebuttable_until, ..*accusation })
            }
            Fault::UnauthorizedSequencing => {
                self.answered_by_delegation(accusation, answer, facts).map_err(bad)?;
                Ok(Accusation { status: Status::Closed, ..*accusation })
            }
            _ => {
                let (delegation, result) =
                    decode_params::<Answer>(answer).ok_or(Reason::BadAnswer(AnswerFault::Malformed))?;
                self.answered_by_result(accusation, &delegation, &result, facts).map_err(bad)?;
                Ok(Accusation { status: Status::Closed, ..*accusation })
            }
        }
    }

    /// The relay held, from before its cut-off, the constraint that carries the segment's batch.
    fn answered_by_constraint(
        &self,
        accusation: &Accusation,
        answer: &[u8],
        facts: &Facts,
    ) -> Result<B256, AnswerFault> {
        let sol::ConstraintAnswer { message, index, receipt } =
            decode(answer).ok_or(AnswerFault::Malformed)?;
        let slot = accusation.slot;
        if message.slot != slot.0 {
            return Err(AnswerFault::Slot);
        }
        let index = usize::try_from(index).map_err(|_| AnswerFault::Index)?;
        let constraint = message.constraints.get(index).ok_or(AnswerFault::Index)?;
        if constraint.constraintType != 1 {
            return Err(AnswerFault::Constraint);
        }
        let inclusion =
            InclusionPayload::abi_decode(&constraint.payload).map_err(|_| AnswerFault::Constraint)?;
        if inclusion.slot != slot {
            return Err(AnswerFault::Slot);
        }
        self.carries_batch(&inclusion.signed_tx, accusation)?;
        let constraints_hash = keccak256(message.abi_encode());
        let word = self.relay_word(accusation, &receipt, constraints_hash, facts)?;
        if word != u8::from(ConstraintStatus::Held) {
            return Err(AnswerFault::Status);
        }
        let cutoff = self.clock.start_ms(slot).saturating_sub(self.times.constraint_cutoff_ms.into());
        if u128::from(receipt.receipt.receivedAtMs) >= cutoff {
            return Err(AnswerFault::Late);
        }
        Ok(constraints_hash)
    }

    /// Whether an L1 transaction is one with which the Inbox records the segment for the accused.
    fn carries_batch(&self, raw: &[u8], accusation: &Accusation) -> Result<(), AnswerFault> {
        let tx = TxEnvelope::decode_2718_exact(raw).map_err(|_| AnswerFault::Transaction)?;
        let to_inbox = tx.is_eip1559()
            && tx.chain_id() == Some(self.network.chain_id)
            && tx.to() == Some(self.inbox)
            && tx.value().is_zero();
        if !to_inbox {
            return Err(AnswerFault::Transaction);
        }
        let batch = inbox::decode_submit(tx.input(), &self.network).map_err(|_| AnswerFault::Batch)?;
        let place = (batch.seal.rollup_id, batch.seal.slot, batch.seal.segment);
        if place != (accusation.rollup_id, accusation.slot, accusation.segment) {
            return Err(AnswerFault::Place);
        }
        if batch.signed.commitment.slasher != self.slasher {
            return Err(AnswerFault::Slasher);
        }
        if batch.committer == accusation.signer { Ok(()) } else { Err(AnswerFault::Committer) }
    }

    /// What the rollup's relay says of the constraints.
    fn relay_word(
        &self,
        accusation: &Accusation,
        signed: &sol::SignedConstraintReceipt,
        constraints_hash: B256,
        facts: &Facts,
    ) -> Result<u8, AnswerFault> {
        let receipt = &signed.receipt;
        if receipt.slot != accusation.slot.0 {
            return Err(AnswerFault::Slot);
        }
        if receipt.constraintsHash != constraints_hash {
            return Err(AnswerFault::Hash);
        }
        let root = sol_root(MessageType::ConstraintReceipt, receipt);
        let relay = self.recover(root, signed.signingId, signed.nonce, &signed.signature);
        if relay == Some(facts.relay_of(accusation.rollup_id)) {
            Ok(receipt.status)
        } else {
            Err(AnswerFault::Relay)
        }
    }

    /// A valid delegation names the accused for the rollup.
    fn answered_by_delegation(
        &self,
        accusation: &Accusation,
        answer: &[u8],
        facts: &Facts,
    ) -> Result<(), AnswerFault> {
        let authority = Authority::abi_decode(answer).map_err(|_| AnswerFault::Malformed)?;
        let relay = facts.relay_of(accusation.rollup_id);
        let roots = TrustRoots { network: self.network, relay, proposer: None };
        let holding = valid_delegation(&authority, accusation.rollup_id, accusation.slot, &roots)
            .map_err(|error| answer_fault(&error))?;
        if holding.entry.committer == accusation.signer { Ok(()) } else { Err(AnswerFault::Entry) }
    }

    /// Judges a rebuttal, `abi.encode(SignedConstraintReceipt)`: the relay dropped what the answer stands on.
    ///
    /// # Errors
    /// The [`Reason`] that it is refused for; the answer stands then.
    pub fn rebut(
        &self,
        accusation: &Accusation,
        rebuttal: &[u8],
        facts: &Facts,
    ) -> Result<Accusation, Reason> {
        if accusation.status != Status::Answered {
            return Err(Reason::WrongStatus(accusation.status));
        }
        if facts.now > accusation.rebuttable_until {
            return Err(Reason::TooLate(accusation.rebuttable_until));
        }
        let bad = Reason::BadAnswer;
        let dropped: sol::SignedConstraintReceipt = decode(rebuttal).ok_or(bad(AnswerFault::Malformed))?;
        let word = self.relay_word(accusation, &dropped, accusation.constraints_hash, facts).map_err(bad)?;
        if word != u8::from(ConstraintStatus::Dropped) {
            return Err(bad(AnswerFault::Status));
        }
        Ok(Accusation {
            status: Status::Open,
            // A late rebuttal leaves as much time to conclude as an accusation that was never answered has.
            answerable_until: accusation.answerable_until.max(facts.now),
            rebuttable_until: 0,
            constraints_hash: B256::ZERO,
            ..*accusation
        })
    }

    /// Ends an accusation of MissedWindow: not before the batch could no longer count.
    pub(super) fn conclude_missed_window(
        &self,
        signer: Address,
        (rollup_id, slot, segment): (RollupId, Slot, u16),
        facts: &Facts,
    ) -> Result<Penalty, Reason> {
        let accusation = self.standing(Fault::MissedWindow, signer, (rollup_id, slot, segment), facts)?;
        let last = self.clock.start_seconds(Slot(slot.0.saturating_add(RECORD_SLOTS)));
        if facts.now <= last {
            return Err(Reason::TooEarly(last));
        }
        self.not_lapsed(accusation.answerable_until.max(last), facts.now)?;
        let late = facts.record_time != 0 && facts.record_time <= last;
        Ok(if late { Penalty::Liveness } else { Penalty::Safety })
    }

    /// Ends an accusation of UnauthorizedSequencing.
    pub(super) fn conclude_unauthorized(
        &self,
        signer: Address,
        rollup_id: RollupId,
        slot: Slot,
        facts: &Facts,
    ) -> Result<(), Reason> {
        let accusation = self.standing(Fault::UnauthorizedSequencing, signer, (rollup_id, slot, 0), facts)?;
        self.not_lapsed(accusation.answerable_until, facts.now)
    }

    /// The accusation of this, if it stands unanswered and can no longer be answered.
    pub(super) fn standing<'a>(
        &self,
        fault: Fault,
        signer: Address,
        place: (RollupId, Slot, u16),
        facts: &'a Facts,
    ) -> Result<&'a Accusation, Reason> {
        let of_this = |found: &&Accusation| {
            (found.fault, found.signer, (found.rollup_id, found.slot, found.segment))
                == (fault, signer, place)
        };
        let standing =
            |found: &&Accusation| found.status == Status::Open && facts.now > found.answerable_until;
        facts.accusation.as_ref().filter(of_this).filter(standing).ok_or(Reason::NotAccused)
    }

    /// Whether an accusation that was ripe at `ripe` can still be concluded.
    pub(super) fn not_lapsed(&self, ripe: u64, now: u64) -> Result<(), Reason> {
        let until = ripe.saturating_add(self.times.conclude_seconds);
        if now > until { Err(Reason::TooLate(until)) } else { Ok(()) }
    }
}

const fn answer_fault(error: &DelegationError) -> AnswerFault {
    match error {
        DelegationError::WrongSlot(_) | DelegationError::ReceiptSlot(_) => AnswerFault::Slot,
        DelegationError::NoAllocation(_) | DelegationError::AllocationSlot(_) => AnswerFault::Allocation,
        DelegationError::NoEntry(_) => AnswerFault::Entry,
        DelegationError::ReceiptHash => AnswerFault::Hash,
        DelegationError::TooLate { .. } => AnswerFault::Late,
        DelegationError::RelaySignature(SigningError::Object(_)) => AnswerFault::Malformed,
        DelegationError::RelaySignature(_) => AnswerFault::Relay,
        DelegationError::WrongProposer | DelegationError::ProposerSignature(_) => AnswerFault::Proposer,
    }
}

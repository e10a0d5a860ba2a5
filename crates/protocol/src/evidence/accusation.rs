//! Accusations that the accused may answer (design §8): MissedWindow, UnauthorizedSequencing, Misallocation.
//!
//! accuse → answer → (rebut →) conclude, each a pure function of the accusation so far and the facts. A delegation's
//! and a result's answer close the accusation; an answer to MissedWindow can be rebutted by the same relay's word
//! that it dropped the constraints, for as long again.

use super::{
    AnswerFault, Charge, Facts, Fault, Judge, Penalty, RECORD_SLOTS, Reason,
    charge::{Detail, decode, decode_params},
    require,
};
use crate::{
    RollupId, Slot,
    delegation::{DelegationError, TrustRoots, valid_delegation},
    inbox,
    objects::{Authority, CommitmentType, ConstraintStatus, InclusionPayload, Object, pubkey_from_sol},
    signing::{EcdsaSignature, MessageType, sol_root},
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accusation {
    /// The fault.
    pub fault: Fault,
    /// The accused: the committer, or [`super::proposer_id`].
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
    /// Until when it can be answered, Unix seconds; if not, it can be concluded after that.
    pub answerable_until: u64,
    /// Until when the answer can be rebutted, Unix seconds.
    pub rebuttable_until: u64,
    /// The constraints that answers stand on, the last one given last.
    pub standing: Vec<B256>,
    /// Constraints that answers stood on until they were rebutted.
    pub dropped: Vec<B256>,
}

/// Names an accusation against a committer: `keccak256(abi.encode(fault, signer, rollupId, slot))`, for
/// MissedWindow with the segment after that.
#[must_use]
pub fn accusation_id(fault: Fault, committer: Address, rollup: RollupId, slot: Slot, segment: u16) -> B256 {
    let fault_word = u16::from(u8::from(fault));
    if fault == Fault::MissedWindow {
        keccak256((fault_word, committer, rollup.0, slot.0, segment).abi_encode())
    } else {
        keccak256((fault_word, committer, rollup.0, slot.0).abi_encode())
    }
}

/// Names an accusation of Misallocation: `keccak256(abi.encode(fault, delegationHash, registrationRoot))`, for each
/// operator that registered the proposer's key.
#[must_use]
pub fn delegation_accusation_id(delegation_hash: B256, registration_root: B256) -> B256 {
    let fault_word = u16::from(u8::from(Fault::Misallocation));
    keccak256((fault_word, delegation_hash, registration_root).abi_encode())
}

type DelegationAnswer = (sol::SignedDelegation, sol::SignedDelegationReceipt);
type ResultAnswer = (sol::SignedDelegation, sol::SignedAuctionResult);

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
        let fault = detail.fault();
        require(fault.needs_accusation(), Reason::UnknownFault(fault.into()))?;
        let promised = self.promised(&commitment.commitment, &detail)?;
        require(self.signer(commitment) == Some(*committer), Reason::NotOperator)?;
        let (rollup_id, slot, segment) = promised.place();
        let missed = fault == Fault::MissedWindow;
        let start = self.clock.start_seconds(slot);
        require(!missed || facts.now > start, Reason::TooEarly(start))?;
        self.in_time(slot, facts.now)?;
        if missed {
            require(facts.record_time == 0 || facts.record_time > start, Reason::RecordedInTime)?;
        } else {
            require(facts.reserve_committer != *committer, Reason::ReserveCommitter)?;
        }
        let place = (rollup_id, slot, if missed { segment } else { 0 });
        let judged = keccak256(&commitment.commitment.payload);
        Ok(self.opened(fault, *committer, place, judged, facts.now))
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
            standing: Vec::new(),
            dropped: Vec::new(),
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
        // It can be answered again, with other constraints: a stranger's answer that falls must not have kept the accused
        // from giving a better one.
        require(accusation.status != Status::Closed, Reason::WrongStatus(accusation.status))?;
        let until = accusation.answerable_until;
        require(facts.now <= until, Reason::TooLate(until))?;
        let bad = Reason::BadAnswer;
        let closed = Accusation { status: Status::Closed, ..accusation.clone() };
        match accusation.fault {
            Fault::MissedWindow => {
                let constraints_hash = self.answered_by_constraint(accusation, answer, facts).map_err(bad)?;
                let given = accusation.standing.contains(&constraints_hash);
                require(!given, Reason::WrongStatus(accusation.status))?;
                let standing = accusation.standing.iter().copied().chain([constraints_hash]).collect();
                let rebuttable_until = facts.now.saturating_add(self.times.answer_seconds);
                Ok(Accusation { status: Status::Answered, standing, rebuttable_until, ..closed })
            }
            Fault::UnauthorizedSequencing => {
                self.answered_by_delegation(accusation, answer, facts).map_err(bad)?;
                Ok(closed)
            }
            _ => {
                let (delegation, result) =
                    decode_params::<ResultAnswer>(answer).ok_or(bad(AnswerFault::Malformed))?;
                self.answered_by_result(accusation, &delegation, &result, facts).map_err(bad)?;
                Ok(closed)
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
        require(message.slot == slot.0, AnswerFault::Slot)?;
        let index = usize::try_from(index).map_err(|_| AnswerFault::Index)?;
        let constraint = message.constraints.get(index).ok_or(AnswerFault::Index)?;
        let is_inclusion = constraint.constraintType == u64::from(CommitmentType::Inclusion);
        require(is_inclusion, AnswerFault::Constraint)?;
        let inclusion =
            InclusionPayload::abi_decode(&constraint.payload).map_err(|_| AnswerFault::Constraint)?;
        require(inclusion.slot == slot, AnswerFault::Slot)?;
        self.carries_batch(&inclusion.signed_tx, accusation)?;
        let constraints_hash = keccak256(message.abi_encode());
        self.is_relays(accusation, &receipt, constraints_hash, facts)?;
        require(receipt.receipt.status == u8::from(ConstraintStatus::Held), AnswerFault::Status)?;
        let cutoff = self.clock.start_ms(slot).saturating_sub(self.times.constraint_cutoff_ms.into());
        require(u128::from(receipt.receipt.receivedAtMs) < cutoff, AnswerFault::Late)?;
        require(!accusation.dropped.contains(&constraints_hash), AnswerFault::Dropped)?;
        Ok(constraints_hash)
    }

    /// Whether an L1 transaction is one with which the Inbox records the segment for the accused.
    fn carries_batch(&self, raw: &[u8], accusation: &Accusation) -> Result<(), AnswerFault> {
        let tx = TxEnvelope::decode_2718_exact(raw).map_err(|_| AnswerFault::Transaction)?;
        let is_call = tx.is_eip1559()
            && tx.chain_id() == Some(self.network.chain_id)
            && tx.to() == Some(self.inbox)
            && tx.value().is_zero()
            && tx.access_list().is_none_or(|list| list.is_empty());
        require(is_call, AnswerFault::Transaction)?;
        require(tx.gas_limit() >= inbox::least_gas(tx.input().len()), AnswerFault::Gas)?;
        let batch = inbox::decode_submit(tx.input(), &self.network).map_err(|_| AnswerFault::Batch)?;
        require(batch.signed.commitment.slasher == self.slasher, AnswerFault::Slasher)?;
        let place = (batch.seal.rollup_id, batch.seal.slot, batch.seal.segment);
        let accused = (accusation.rollup_id, accusation.slot, accusation.segment);
        require(place == accused, AnswerFault::Place)?;
        require(batch.committer == accusation.signer, AnswerFault::Committer)
    }

    /// Whether this is the rollup's relay's word on these constraints for the slot, whatever it says.
    fn is_relays(
        &self,
        accusation: &Accusation,
        signed: &sol::SignedConstraintReceipt,
        constraints_hash: B256,
        facts: &Facts,
    ) -> Result<(), AnswerFault> {
        let receipt = &signed.receipt;
        require(receipt.slot == accusation.slot.0, AnswerFault::Slot)?;
        require(receipt.constraintsHash == constraints_hash, AnswerFault::Hash)?;
        let root = sol_root(MessageType::ConstraintReceipt, receipt);
        let relay = self.recover(root, signed.signingId, signed.nonce, &signed.signature);
        require(relay == Some(facts.relay_of(accusation.rollup_id)), AnswerFault::Relay)
    }

    /// A valid delegation names the accused for the rollup.
    fn answered_by_delegation(
        &self,
        accusation: &Accusation,
        answer: &[u8],
        facts: &Facts,
    ) -> Result<(), AnswerFault> {
        let (delegation, mut receipt) =
            decode_params::<DelegationAnswer>(answer).ok_or(AnswerFault::Malformed)?;
        // A signature of another length is nobody's, as one of zeros is.
        if receipt.signature.len() != EcdsaSignature::len_bytes() {
            receipt.signature = EcdsaSignature::ZERO.into();
        }
        require(pubkey_from_sol(&delegation.delegation.delegate).is_ok(), AnswerFault::Delegate)?;
        // What is left that is no point is the proposer's.
        let authority =
            Authority::try_from((delegation, receipt)).map_err(|_| AnswerFault::ProposerSignature)?;
        let relay = facts.relay_of(accusation.rollup_id);
        let roots = TrustRoots { network: self.network, relay, proposer: None, slasher: None };
        let holding = valid_delegation(&authority, accusation.rollup_id, accusation.slot, &roots)
            .map_err(|error| answer_fault(&error))?;
        require(holding.entry.committer == accusation.signer, AnswerFault::Entry)
    }

    /// Judges a rebuttal, `abi.encode(SignedConstraintReceipt)`: the relay dropped what the last answer stands on. Then the
    /// one before it stands, or none.
    ///
    /// # Errors
    /// The [`Reason`] that it is refused for; the answer stands then.
    pub fn rebut(
        &self,
        accusation: &Accusation,
        rebuttal: &[u8],
        facts: &Facts,
    ) -> Result<Accusation, Reason> {
        require(accusation.status == Status::Answered, Reason::WrongStatus(accusation.status))?;
        let until = accusation.rebuttable_until;
        require(facts.now <= until, Reason::TooLate(until))?;
        let bad = Reason::BadAnswer;
        let dropped: sol::SignedConstraintReceipt = decode(rebuttal).ok_or(bad(AnswerFault::Malformed))?;
        let (hash, below) = accusation.standing.split_last().ok_or(Reason::WrongStatus(accusation.status))?;
        self.is_relays(accusation, &dropped, *hash, facts).map_err(bad)?;
        let is_dropped = dropped.receipt.status == u8::from(ConstraintStatus::Dropped);
        require(is_dropped, bad(AnswerFault::Status))?;
        let rebutted = Accusation {
            standing: below.to_vec(),
            dropped: accusation.dropped.iter().copied().chain([*hash]).collect(),
            ..accusation.clone()
        };
        if !below.is_empty() {
            return Ok(rebutted);
        }
        Ok(Accusation {
            status: Status::Open,
            // What is left of the time to answer is left; if it is over, the accusation is ripe from now on.
            answerable_until: accusation.answerable_until.max(facts.now.saturating_sub(1)),
            rebuttable_until: 0,
            ..rebutted
        })
    }

    /// Ends an accusation of MissedWindow: not before the batch could no longer count.
    pub(super) fn conclude_missed_window(
        &self,
        signer: Address,
        (rollup_id, slot, segment): (RollupId, Slot, u16),
        facts: &Facts,
    ) -> Result<Penalty, Reason> {
        let accusation = standing(Fault::MissedWindow, signer, (rollup_id, slot, segment), facts)?;
        let last = self.clock.start_seconds(Slot(slot.0.saturating_add(RECORD_SLOTS)));
        require(facts.now > last, Reason::TooEarly(last))?;
        self.not_lapsed(accusation.answerable_until.max(last), facts.now)?;
        let late = facts.record_time != 0 && facts.record_time <= last;
        Ok(if late { Penalty::Liveness } else { Penalty::Safety })
    }

    /// Ends an accusation of UnauthorizedSequencing.
    pub(super) fn conclude_unauthorized(
        &self,
        committer: Address,
        rollup_id: RollupId,
        slot: Slot,
        facts: &Facts,
    ) -> Result<(), Reason> {
        // The terms of a slot that was far ahead may have come after the accusation.
        require(facts.reserve_committer != committer, Reason::ReserveCommitter)?;
        let accusation = standing(Fault::UnauthorizedSequencing, committer, (rollup_id, slot, 0), facts)?;
        self.not_lapsed(accusation.answerable_until, facts.now)
    }

    /// Whether an accusation that was ripe after `ripe` (Unix seconds) can still be concluded.
    pub(super) fn not_lapsed(&self, ripe: u64, now: u64) -> Result<(), Reason> {
        let until = ripe.saturating_add(self.times.conclude_seconds);
        require(now <= until, Reason::TooLate(until))
    }
}

/// The accusation of this, if it stands unanswered and can no longer be answered.
pub(super) fn standing(
    fault: Fault,
    signer: Address,
    place: (RollupId, Slot, u16),
    facts: &Facts,
) -> Result<&Accusation, Reason> {
    let of_this = |found: &&Accusation| {
        let found_place = (found.rollup_id, found.slot, found.segment);
        (found.fault, found.signer, found_place) == (fault, signer, place)
    };
    let unanswered = |found: &&Accusation| found.status == Status::Open && facts.now > found.answerable_until;
    facts.accusation.as_ref().filter(of_this).filter(unanswered).ok_or(Reason::NotAccused)
}

const fn answer_fault(error: &DelegationError) -> AnswerFault {
    match error {
        DelegationError::WrongSlot(_) => AnswerFault::DelegationSlot,
        DelegationError::NoAllocation(_) => AnswerFault::Metadata,
        DelegationError::AllocationSlot(_) => AnswerFault::AllocationSlot,
        DelegationError::NoEntry(_) => AnswerFault::Entry,
        DelegationError::ReceiptSlot(_) => AnswerFault::ReceiptSlot,
        DelegationError::ReceiptHash => AnswerFault::ReceiptHash,
        DelegationError::TooLate { .. } => AnswerFault::ReceivedLate,
        DelegationError::RelaySignature(_) => AnswerFault::RelaySignature,
        DelegationError::WrongProposer | DelegationError::ProposerSignature(_) => {
            AnswerFault::ProposerSignature
        }
    }
}

//! Faults of proposers: two delegations for one slot, and a delegation that carries another outcome than the market's.

use super::{
    Accusation, AnswerFault, Conviction, Facts, Fault, Judge, Penalty, Reason, Signer, accusation::standing,
    charge::Detail,
};
use crate::{
    RollupId, Slot,
    objects::{Object, SlotAllocation, pubkey_from_sol, signature_from_sol},
    signing::{MessageType, sol_root},
    sol,
};
use alloy_primitives::{B256, keccak256};
use alloy_sol_types::SolValue;
use earnest_builder_types::{BlsPublicKey, bls};

impl Judge {
    /// As the registry judges: over whole delegations, whatever else is signed with them.
    pub(super) fn judge_delegations(
        &self,
        one: &sol::SignedDelegation,
        other: &sol::SignedDelegation,
    ) -> Result<Conviction, Reason> {
        if one.delegation == other.delegation {
            return Err(Reason::DelegationsAreSame);
        }
        if one.delegation.slot != other.delegation.slot {
            return Err(Reason::DifferentSlots);
        }
        if one.delegation.proposer != other.delegation.proposer {
            return Err(Reason::InvalidProof);
        }
        let proposer = self.proposer(one)?;
        self.proposer(other)?;
        Ok(Conviction {
            fault: Fault::AllocationEquivocation,
            signer: Signer::Proposer(proposer),
            rollup_id: RollupId(0),
            slot: Slot(one.delegation.slot),
            penalty: Penalty::Safety,
        })
    }

    pub(super) fn judge_delegation(
        &self,
        delegation: &sol::SignedDelegation,
        evidence: &[u8],
        facts: &Facts,
    ) -> Result<Conviction, Reason> {
        let signer = Signer::Proposer(self.proposer(delegation)?);
        Detail::decode(evidence, true)?;
        let (rollup_id, slot) = (RollupId(0), Slot(delegation.delegation.slot));
        let of_this = |found: &&Accusation| found.judged == delegation_hash(&delegation.delegation);
        let accusation = standing(Fault::Misallocation, signer, (rollup_id, slot, 0), facts)?;
        let accusation = Some(accusation).filter(of_this).ok_or(Reason::NotAccused)?;
        self.concludable(accusation.answerable_until, facts.now)?;
        Ok(Conviction { fault: Fault::Misallocation, signer, rollup_id, slot, penalty: Penalty::Safety })
    }

    pub(super) fn accuse_delegation(
        &self,
        delegation: &sol::SignedDelegation,
        facts: &Facts,
    ) -> Result<Accusation, Reason> {
        let signer = Signer::Proposer(self.proposer(delegation)?);
        let slot = Slot(delegation.delegation.slot);
        self.in_time(slot, facts.now)?;
        if allocation(&delegation.delegation).is_none_or(|allocation| allocation.entries.is_empty()) {
            return Err(Reason::NoEntries);
        }
        let judged = delegation_hash(&delegation.delegation);
        Ok(self.opened(Fault::Misallocation, signer, (RollupId(0), slot, 0), judged, facts.now))
    }

    /// The relay of every entry's rollup signed the result that the delegation carries.
    pub(super) fn answered_by_result(
        &self,
        accusation: &Accusation,
        delegation: &sol::SignedDelegation,
        signed: &sol::SignedAuctionResult,
        facts: &Facts,
    ) -> Result<(), AnswerFault> {
        if delegation_hash(&delegation.delegation) != accusation.judged {
            return Err(AnswerFault::Delegation);
        }
        let allocation = allocation(&delegation.delegation).ok_or(AnswerFault::Metadata)?;
        if signed.result.slot != accusation.slot.0 {
            return Err(AnswerFault::ResultSlot);
        }
        if signed.result.allocationHash != allocation.abi_hash() {
            return Err(AnswerFault::ResultHash);
        }
        let mut relays = allocation.entries.iter().map(|entry| facts.relay_of(entry.rollup_id));
        let relay = relays.next().ok_or(AnswerFault::Metadata)?;
        if relays.any(|other| other != relay) {
            return Err(AnswerFault::RelaysDiffer);
        }
        let root = sol_root(MessageType::AuctionResult, &signed.result);
        if self.recover(root, signed.signingId, signed.nonce, &signed.signature) == Some(relay) {
            Ok(())
        } else {
            Err(AnswerFault::RelaySignature)
        }
    }

    /// The delegation's proposer, who must have signed it.
    fn proposer(&self, signed: &sol::SignedDelegation) -> Result<BlsPublicKey, Reason> {
        let holds = || {
            let proposer = pubkey_from_sol(&signed.delegation.proposer).ok()?;
            let signature = signature_from_sol(&signed.signature).ok()?;
            let root = sol_root(MessageType::Delegation, &signed.delegation);
            let root = self.network.signing_root(root, signed.signingId, signed.nonce);
            bls::verify(&proposer, root, &signature).ok().map(|()| proposer)
        };
        holds().ok_or(Reason::DelegationSignatureInvalid)
    }
}

fn delegation_hash(delegation: &sol::Delegation) -> B256 {
    keccak256(delegation.abi_encode())
}

/// The allocation that it carries, whatever slot that is for.
fn allocation(delegation: &sol::Delegation) -> Option<SlotAllocation> {
    SlotAllocation::from_metadata(&delegation.metadata).ok()
}

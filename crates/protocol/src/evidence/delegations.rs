//! Faults of proposers: two delegations for one slot, and a delegation that carries another outcome than the market's.

use super::{
    Accusation, AnswerFault, Conviction, Facts, Fault, Judge, Penalty, Reason, accusation::standing,
    charge::Detail, require,
};
use crate::{
    RollupId, Slot,
    objects::{AllocationEntry, Object, SlotAllocation, pubkey_from_sol, signature_from_sol},
    signing::{MessageType, sol_root},
    sol,
};
use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue;
use earnest_builder_types::bls;

/// Who a fault of a proposer is counted for: the first twenty bytes of `keccak256(abi.encode(G1Point))`.
#[must_use]
pub fn proposer_id(proposer: &sol::G1Point) -> Address {
    Address::from(keccak256(proposer.abi_encode()).0.first_chunk().copied().unwrap_or_default())
}

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
        self.is_signed(one)?;
        self.is_signed(other)?;
        Ok(Conviction {
            fault: Fault::AllocationEquivocation,
            signer: proposer_id(&one.delegation.proposer),
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
        self.is_signed(delegation)?;
        let signer = proposer_id(&delegation.delegation.proposer);
        Detail::decode(evidence, true)?;
        let (rollup_id, slot) = (RollupId(0), Slot(delegation.delegation.slot));
        let of_this = |found: &&Accusation| found.judged == delegation_hash(&delegation.delegation);
        let accusation = standing(Fault::Misallocation, signer, (rollup_id, slot, 0), facts)?;
        let accusation = Some(accusation).filter(of_this).ok_or(Reason::NotAccused)?;
        self.not_lapsed(accusation.answerable_until, facts.now)?;
        Ok(Conviction { fault: Fault::Misallocation, signer, rollup_id, slot, penalty: Penalty::Safety })
    }

    pub(super) fn accuse_delegation(
        &self,
        delegation: &sol::SignedDelegation,
        facts: &Facts,
    ) -> Result<Accusation, Reason> {
        self.is_signed(delegation)?;
        let signer = proposer_id(&delegation.delegation.proposer);
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
            return Err(AnswerFault::Slot);
        }
        if signed.result.allocationHash != allocation.abi_hash() {
            return Err(AnswerFault::Hash);
        }
        let root = sol_root(MessageType::AuctionResult, &signed.result);
        let relay = self.recover(root, signed.signingId, signed.nonce, &signed.signature);
        let is_relay = |entry: &AllocationEntry| relay == Some(facts.relay_of(entry.rollup_id));
        require(allocation.entries.iter().all(is_relay), AnswerFault::Relay)
    }

    /// Whether the delegation's proposer signed it.
    fn is_signed(&self, signed: &sol::SignedDelegation) -> Result<(), Reason> {
        let holds = || {
            let proposer = pubkey_from_sol(&signed.delegation.proposer).ok()?;
            let signature = signature_from_sol(&signed.signature).ok()?;
            let root = sol_root(MessageType::Delegation, &signed.delegation);
            let root = self.network.signing_root(root, signed.signingId, signed.nonce);
            bls::verify(&proposer, root, &signature).ok()
        };
        holds().ok_or(Reason::DelegationSignatureInvalid)
    }
}

fn delegation_hash(delegation: &sol::Delegation) -> B256 {
    keccak256(delegation.abi_encode())
}

/// The allocation for its own slot that it carries.
fn allocation(delegation: &sol::Delegation) -> Option<SlotAllocation> {
    let allocation = SlotAllocation::from_metadata(&delegation.metadata).ok()?;
    (allocation.slot.0 == delegation.slot).then_some(allocation)
}

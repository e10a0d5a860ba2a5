//! What is brought before the judge, in the words of the calls on L1.

use super::{Fault, Reason};
use crate::{objects::ObjectError, sol};
use alloy_primitives::{Address, Bytes};
use alloy_sol_types::{SolType, SolValue, abi::TokenSeq, sol_data};

/// A charge: what is judged, and the evidence beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one at a time is judged")]
pub enum Charge {
    /// Against a committer: `Registry.slashCommitment(registrationRoot, commitment, evidence)`, or
    /// `OrderingSlasher.accuse` with the same.
    Commitment {
        /// The committer that the operator opted in with.
        committer: Address,
        /// What is judged.
        commitment: sol::SignedCommitment,
        /// `abi.encode(uint8 fault, bytes detail)`.
        evidence: Bytes,
    },
    /// Against a proposer: `Registry.slashDelegation`, or `OrderingSlasher.accuseDelegation`.
    Delegation {
        /// What is judged.
        delegation: sol::SignedDelegation,
        /// `abi.encode(uint8 fault, bytes detail)`.
        evidence: Bytes,
    },
    /// Against a proposer: `Registry.slashEquivocation`.
    Delegations {
        /// The first.
        one: sol::SignedDelegation,
        /// The second.
        other: sol::SignedDelegation,
    },
}

impl Charge {
    /// A charge against a committer from its calldata form.
    ///
    /// # Errors
    /// [`ObjectError`] unless `commitment` is the canonical `abi.encode(SignedCommitment)`. What the evidence is worth
    /// is for the judge to say.
    pub fn against_committer(
        committer: Address,
        commitment: &[u8],
        evidence: Bytes,
    ) -> Result<Self, ObjectError> {
        let commitment = decode(commitment).ok_or(ObjectError::NotCanonical)?;
        Ok(Self::Commitment { committer, commitment, evidence })
    }

    /// A charge against a proposer from its calldata form.
    ///
    /// # Errors
    /// [`ObjectError`] unless `delegation` is the canonical `abi.encode(SignedDelegation)`.
    pub fn against_proposer(delegation: &[u8], evidence: Bytes) -> Result<Self, ObjectError> {
        let delegation = decode(delegation).ok_or(ObjectError::NotCanonical)?;
        Ok(Self::Delegation { delegation, evidence })
    }

    /// A charge of AllocationEquivocation from its calldata form.
    ///
    /// # Errors
    /// [`ObjectError`] unless both are the canonical `abi.encode(SignedDelegation)`.
    pub fn of_two_delegations(one: &[u8], other: &[u8]) -> Result<Self, ObjectError> {
        let (one, other) = decode(one).zip(decode(other)).ok_or(ObjectError::NotCanonical)?;
        Ok(Self::Delegations { one, other })
    }

    /// `abi.encode(SignedCommitment)` or `abi.encode(SignedDelegation)`: what is judged.
    #[must_use]
    pub fn judged_bytes(&self) -> Bytes {
        match self {
            Self::Commitment { commitment, .. } => commitment.abi_encode().into(),
            Self::Delegation { delegation, .. } | Self::Delegations { one: delegation, .. } => {
                delegation.abi_encode().into()
            }
        }
    }

    /// `abi.encode(uint8 fault, bytes detail)`; of AllocationEquivocation, `abi.encode(SignedDelegation)`, the other.
    #[must_use]
    pub fn evidence_bytes(&self) -> Bytes {
        match self {
            Self::Commitment { evidence, .. } | Self::Delegation { evidence, .. } => evidence.clone(),
            Self::Delegations { other, .. } => other.abi_encode().into(),
        }
    }
}

/// The evidence of a charge, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Detail {
    Equivocation(sol::EquivocationEvidence),
    BrokenChain(sol::BrokenChainEvidence),
    PostSeal(sol::PostSealEvidence),
    Omission(sol::OmissionEvidence),
    AtomicityBreak(sol::AtomicityEvidence),
    MissedWindow(sol::MissedWindowEvidence),
    ForcedInclusionSkipped,
    UnauthorizedSequencing,
    Misallocation,
}

type Envelope = (sol_data::Uint<8>, sol_data::Bytes);

/// `abi.encode(uint8 fault, bytes detail)`.
pub(super) fn encode_evidence(fault: Fault, detail: Vec<u8>) -> Bytes {
    Envelope::abi_encode_params(&(u8::from(fault), detail)).into()
}

/// Reads a struct, or a tuple of them, that stands alone in its bytes, in its canonical encoding.
pub(super) fn decode<T>(bytes: &[u8]) -> Option<T>
where
    T: SolValue + From<<T::SolType as SolType>::RustType>,
{
    let value = T::abi_decode_validate(bytes).ok()?;
    (value.abi_encode() == bytes).then_some(value)
}

/// Reads several values, encoded as a function's parameters, in their canonical encoding.
pub(super) fn decode_params<T>(bytes: &[u8]) -> Option<T>
where
    T: SolValue + From<<T::SolType as SolType>::RustType>,
    for<'a> <T::SolType as SolType>::Token<'a>: TokenSeq<'a>,
{
    let value = T::abi_decode_params_validate(bytes).ok()?;
    (value.abi_encode_params() == bytes).then_some(value)
}

impl Detail {
    pub(super) const fn fault(&self) -> Fault {
        match self {
            Self::Equivocation(_) => Fault::Equivocation,
            Self::BrokenChain(_) => Fault::BrokenChain,
            Self::PostSeal(_) => Fault::PostSeal,
            Self::Omission(_) => Fault::Omission,
            Self::AtomicityBreak(_) => Fault::AtomicityBreak,
            Self::MissedWindow(_) => Fault::MissedWindow,
            Self::ForcedInclusionSkipped => Fault::ForcedInclusionSkipped,
            Self::UnauthorizedSequencing => Fault::UnauthorizedSequencing,
            Self::Misallocation => Fault::Misallocation,
        }
    }

    /// Reads the evidence of a charge against a commitment, or a delegation.
    pub(super) fn decode(evidence: &[u8], against_delegation: bool) -> Result<Self, Reason> {
        let (fault, detail) =
            Envelope::abi_decode_params_validate(evidence).map_err(|_| Reason::MalformedEvidence)?;
        if Envelope::abi_encode_params(&(fault, detail.clone())) != evidence {
            return Err(Reason::MalformedEvidence);
        }
        let unknown = Reason::UnknownFault(fault);
        let fault = Fault::try_from(fault).map_err(|_| unknown)?;
        if against_delegation != matches!(fault, Fault::Misallocation) {
            return Err(unknown);
        }
        let none = |found| if detail.is_empty() { Some(found) } else { None };
        let found = match fault {
            Fault::Equivocation => decode(&detail).map(Self::Equivocation),
            Fault::BrokenChain => decode(&detail).map(Self::BrokenChain),
            Fault::PostSeal => decode(&detail).map(Self::PostSeal),
            Fault::Omission => decode(&detail).map(Self::Omission),
            Fault::AtomicityBreak => decode(&detail).map(Self::AtomicityBreak),
            Fault::MissedWindow => decode(&detail).map(Self::MissedWindow),
            Fault::ForcedInclusionSkipped => none(Self::ForcedInclusionSkipped),
            Fault::UnauthorizedSequencing => none(Self::UnauthorizedSequencing),
            Fault::Misallocation => none(Self::Misallocation),
            // The registry judges it, from the two delegations themselves.
            Fault::AllocationEquivocation => return Err(unknown),
        };
        found.ok_or(Reason::MalformedEvidence)
    }
}

//! Evidence as a file: one JSON document that holds all that the judge needs, but for what only L1's state can tell.
//!
//! One type for each fault, with the commitments' payloads readable; [`Charge`] is the same in the words of the calls.

use super::{
    Charge, Clock, Fault, Judge, Times,
    charge::{Detail, encode_evidence},
};
use crate::{
    integer,
    objects::{
        BundleCommitment, Commitment, CommitmentType, Delegation, Object, ObjectError, OrderingCommitment,
        SignedDelegation, signature_from_sol, signature_to_sol,
    },
    signing::{EcdsaSignature, Network, Signed},
    sol,
};
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

/// A payload that a signed commitment can carry.
pub trait Payload: Object {
    /// The commitment's type.
    const TYPE: CommitmentType;
}

impl Payload for OrderingCommitment {
    const TYPE: CommitmentType = CommitmentType::Ordering;
}

impl Payload for BundleCommitment {
    const TYPE: CommitmentType = CommitmentType::Bundle;
}

/// A signed commitment with its payload in readable form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedPayload<P> {
    /// What is promised.
    pub payload: P,
    /// The commitment's request hash.
    #[serde(default)]
    pub request_hash: B256,
    /// The contract that judges it.
    pub slasher: Address,
    /// Nonce of the signing form.
    #[serde(with = "integer", default)]
    pub nonce: u64,
    /// Module signing id of the signing form.
    #[serde(default = "crate::signing::earnest_signing_id")]
    pub signing_id: B256,
    /// 65 bytes r‖s‖v.
    pub signature: EcdsaSignature,
}

impl<P: Payload> From<&SignedPayload<P>> for sol::SignedCommitment {
    fn from(value: &SignedPayload<P>) -> Self {
        let commitment = Commitment {
            commitment_type: P::TYPE.into(),
            payload: value.payload.abi_encode().into(),
            request_hash: value.request_hash,
            slasher: value.slasher,
        };
        Self {
            commitment: (&commitment).into(),
            nonce: value.nonce,
            signingId: value.signing_id,
            signature: value.signature.into(),
        }
    }
}

impl<P: Payload> TryFrom<sol::SignedCommitment> for SignedPayload<P> {
    type Error = ObjectError;

    fn try_from(value: sol::SignedCommitment) -> Result<Self, ObjectError> {
        if value.commitment.commitmentType != u64::from(P::TYPE) {
            return Err(ObjectError::Field("commitmentType"));
        }
        Ok(Self {
            payload: P::abi_decode(&value.commitment.payload)?,
            request_hash: value.commitment.requestHash,
            slasher: value.commitment.slasher,
            nonce: value.nonce,
            signing_id: value.signingId,
            signature: value.signature.as_ref().try_into().map_err(|_| ObjectError::Field("signature"))?,
        })
    }
}

/// A signed commitment of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Promise {
    /// A microblock or a seal.
    Ordering(SignedPayload<OrderingCommitment>),
    /// A bundle.
    Bundle(SignedPayload<BundleCommitment>),
}

impl From<&Promise> for sol::SignedCommitment {
    fn from(value: &Promise) -> Self {
        match value {
            Promise::Ordering(ordering) => ordering.into(),
            Promise::Bundle(bundle) => bundle.into(),
        }
    }
}

impl TryFrom<sol::SignedCommitment> for Promise {
    type Error = ObjectError;

    fn try_from(value: sol::SignedCommitment) -> Result<Self, ObjectError> {
        if value.commitment.commitmentType == u64::from(CommitmentType::Bundle) {
            value.try_into().map(Self::Bundle)
        } else {
            value.try_into().map(Self::Ordering)
        }
    }
}

type SignedOrdering = SignedPayload<OrderingCommitment>;

/// [`Fault::Equivocation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Equivocation {
    /// What is judged.
    pub commitment: SignedOrdering,
    /// Another for the same rollup, slot, segment and number.
    pub other: SignedOrdering,
}

/// [`Fault::BrokenChain`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenChain {
    /// The later one, or the one that cannot stand by itself.
    pub commitment: SignedOrdering,
    /// The one with the number before; none if the judged one cannot stand by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<SignedOrdering>,
}

/// [`Fault::PostSeal`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostSeal {
    /// What comes after the seal.
    pub commitment: SignedOrdering,
    /// The seal of its segment with a lower number, or the window's in a lower segment.
    pub seal: SignedOrdering,
}

/// [`Fault::Omission`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Omission {
    /// The microblock that promised the place.
    pub commitment: SignedOrdering,
    /// Position in the segment.
    #[serde(with = "integer")]
    pub index: u32,
    /// The transaction promised there.
    pub tx_hash: B256,
    /// From its leaf to the microblock's root, lowest first.
    pub path: Vec<B256>,
    /// The segment's seal.
    pub seal: SignedOrdering,
    /// The transaction that the seal has there; zero, without a path, if it counts no such index.
    pub sealed_tx_hash: B256,
    /// From its leaf to the seal's root.
    pub sealed_path: Vec<B256>,
}

/// [`Fault::AtomicityBreak`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtomicityBreak {
    /// The bundle.
    pub commitment: SignedPayload<BundleCommitment>,
    /// Which leg.
    #[serde(with = "integer")]
    pub leg: u16,
    /// A microblock or a seal of the leg's segment.
    pub shown: SignedOrdering,
    /// The transaction that it has at the leg's index; zero, without a path, if it is a seal that counts none there.
    pub shown_tx_hash: B256,
    /// From its leaf to the root.
    pub path: Vec<B256>,
}

/// [`Fault::MissedWindow`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissedWindow {
    /// A commitment of the segment, or a bundle with a leg in it.
    pub commitment: Promise,
    /// Which leg of a bundle; else 0.
    #[serde(with = "integer", default)]
    pub leg: u16,
}

/// [`Fault::ForcedInclusionSkipped`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForcedInclusionSkipped {
    /// A window's first.
    pub commitment: SignedOrdering,
}

/// [`Fault::UnauthorizedSequencing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnauthorizedSequencing {
    /// Any of the window.
    pub commitment: SignedOrdering,
}

/// [`Fault::AllocationEquivocation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllocationEquivocation {
    /// What is judged.
    pub delegation: SignedDelegation,
    /// Another of the same proposer and slot.
    pub other: SignedDelegation,
}

/// [`Fault::Misallocation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Misallocation {
    /// A delegation with entries.
    pub delegation: SignedDelegation,
}

/// A fault and what shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the type of each says it")]
pub enum Evidence {
    Equivocation(Equivocation),
    BrokenChain(BrokenChain),
    PostSeal(PostSeal),
    Omission(Omission),
    AtomicityBreak(AtomicityBreak),
    MissedWindow(MissedWindow),
    ForcedInclusionSkipped(ForcedInclusionSkipped),
    UnauthorizedSequencing(UnauthorizedSequencing),
    AllocationEquivocation(AllocationEquivocation),
    Misallocation(Misallocation),
}

impl Evidence {
    /// The fault.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Equivocation(_) => Fault::Equivocation,
            Self::BrokenChain(_) => Fault::BrokenChain,
            Self::PostSeal(_) => Fault::PostSeal,
            Self::Omission(_) => Fault::Omission,
            Self::AtomicityBreak(_) => Fault::AtomicityBreak,
            Self::MissedWindow(_) => Fault::MissedWindow,
            Self::ForcedInclusionSkipped(_) => Fault::ForcedInclusionSkipped,
            Self::UnauthorizedSequencing(_) => Fault::UnauthorizedSequencing,
            Self::AllocationEquivocation(_) => Fault::AllocationEquivocation,
            Self::Misallocation(_) => Fault::Misallocation,
        }
    }

    /// The judged commitment, and `detail`; `None` for a fault of delegations.
    fn against_committer(&self) -> Option<(sol::SignedCommitment, Vec<u8>)> {
        Some(match self {
            Self::Equivocation(evidence) => {
                let detail = sol::EquivocationEvidence { other: (&evidence.other).into() };
                ((&evidence.commitment).into(), detail.abi_encode())
            }
            Self::BrokenChain(evidence) => {
                let previous = evidence.previous.iter().map(Into::into).collect();
                ((&evidence.commitment).into(), sol::BrokenChainEvidence { previous }.abi_encode())
            }
            Self::PostSeal(evidence) => {
                let detail = sol::PostSealEvidence { seal: (&evidence.seal).into() };
                ((&evidence.commitment).into(), detail.abi_encode())
            }
            Self::Omission(evidence) => {
                let detail = sol::OmissionEvidence {
                    index: evidence.index,
                    txHash: evidence.tx_hash,
                    path: evidence.path.clone(),
                    seal: (&evidence.seal).into(),
                    sealedTxHash: evidence.sealed_tx_hash,
                    sealedPath: evidence.sealed_path.clone(),
                };
                ((&evidence.commitment).into(), detail.abi_encode())
            }
            Self::AtomicityBreak(evidence) => {
                let detail = sol::AtomicityEvidence {
                    leg: evidence.leg,
                    shown: (&evidence.shown).into(),
                    shownTxHash: evidence.shown_tx_hash,
                    path: evidence.path.clone(),
                };
                ((&evidence.commitment).into(), detail.abi_encode())
            }
            Self::MissedWindow(evidence) => {
                let detail = sol::MissedWindowEvidence { leg: evidence.leg };
                ((&evidence.commitment).into(), detail.abi_encode())
            }
            Self::ForcedInclusionSkipped(evidence) => ((&evidence.commitment).into(), Vec::new()),
            Self::UnauthorizedSequencing(evidence) => ((&evidence.commitment).into(), Vec::new()),
            Self::AllocationEquivocation(_) | Self::Misallocation(_) => return None,
        })
    }

    fn of_commitment(commitment: sol::SignedCommitment, detail: Detail) -> Result<Self, ObjectError> {
        Ok(match detail {
            Detail::Equivocation(detail) => Self::Equivocation(Equivocation {
                commitment: commitment.try_into()?,
                other: detail.other.try_into()?,
            }),
            Detail::BrokenChain(detail) => {
                let mut previous = detail.previous.into_iter();
                let evidence = BrokenChain {
                    commitment: commitment.try_into()?,
                    previous: previous.next().map(TryInto::try_into).transpose()?,
                };
                if previous.next().is_some() {
                    return Err(ObjectError::Field("previous"));
                }
                Self::BrokenChain(evidence)
            }
            Detail::PostSeal(detail) => {
                Self::PostSeal(PostSeal { commitment: commitment.try_into()?, seal: detail.seal.try_into()? })
            }
            Detail::Omission(detail) => Self::Omission(Omission {
                commitment: commitment.try_into()?,
                index: detail.index,
                tx_hash: detail.txHash,
                path: detail.path,
                seal: detail.seal.try_into()?,
                sealed_tx_hash: detail.sealedTxHash,
                sealed_path: detail.sealedPath,
            }),
            Detail::AtomicityBreak(detail) => Self::AtomicityBreak(AtomicityBreak {
                commitment: commitment.try_into()?,
                leg: detail.leg,
                shown: detail.shown.try_into()?,
                shown_tx_hash: detail.shownTxHash,
                path: detail.path,
            }),
            Detail::MissedWindow(detail) => {
                Self::MissedWindow(MissedWindow { commitment: commitment.try_into()?, leg: detail.leg })
            }
            Detail::ForcedInclusionSkipped => {
                Self::ForcedInclusionSkipped(ForcedInclusionSkipped { commitment: commitment.try_into()? })
            }
            Detail::UnauthorizedSequencing => {
                Self::UnauthorizedSequencing(UnauthorizedSequencing { commitment: commitment.try_into()? })
            }
            Detail::Misallocation => return Err(ObjectError::Field("fault")),
        })
    }
}

/// Evidence with the network, the slots and the contracts that it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceFile {
    /// The L1 network.
    pub network: Network,
    /// Its slots.
    pub clock: Clock,
    /// The OrderingSlasher.
    pub slasher: Address,
    /// The Inbox.
    pub inbox: Address,
    /// The committer that the accused operator opted in with; none for a fault of delegations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committer: Option<Address>,
    /// The fault and what shows it.
    pub evidence: Evidence,
}

impl EvidenceFile {
    /// The words of the calls.
    ///
    /// # Errors
    /// [`ObjectError::Field`] if the committer is missing, or there is one in a fault of delegations;
    /// [`ObjectError::Point`] if a key or BLS signature is not a valid point.
    pub fn charge(&self) -> Result<Charge, ObjectError> {
        let missing = ObjectError::Field("committer");
        if let Some((commitment, detail)) = self.evidence.against_committer() {
            let evidence = encode_evidence(self.evidence.fault(), detail);
            return Ok(Charge::Commitment {
                committer: self.committer.ok_or(missing)?,
                commitment,
                evidence,
            });
        }
        if self.committer.is_some() {
            return Err(missing);
        }
        match &self.evidence {
            Evidence::AllocationEquivocation(evidence) => Ok(Charge::Delegations {
                one: delegation_to_sol(&evidence.delegation)?,
                other: delegation_to_sol(&evidence.other)?,
            }),
            Evidence::Misallocation(evidence) => Ok(Charge::Delegation {
                delegation: delegation_to_sol(&evidence.delegation)?,
                evidence: encode_evidence(Fault::Misallocation, Vec::new()),
            }),
            _ => Err(missing),
        }
    }

    /// The file of a charge that `judge` can judge.
    ///
    /// # Errors
    /// [`ObjectError`] if the charge holds what a file cannot show: evidence or payloads that are not canonical,
    /// commitments of other types, signatures of another length, points that are none.
    pub fn of(judge: &Judge, charge: Charge) -> Result<Self, ObjectError> {
        let malformed = |_| ObjectError::NotCanonical;
        let (committer, evidence) = match charge {
            Charge::Commitment { committer, commitment, evidence } => {
                let detail = Detail::decode(&evidence, false).map_err(malformed)?;
                (Some(committer), Evidence::of_commitment(commitment, detail)?)
            }
            Charge::Delegation { delegation, evidence } => {
                Detail::decode(&evidence, true).map_err(malformed)?;
                let delegation = delegation_from_sol(delegation)?;
                (None, Evidence::Misallocation(Misallocation { delegation }))
            }
            Charge::Delegations { one, other } => {
                let (delegation, other) = (delegation_from_sol(one)?, delegation_from_sol(other)?);
                (None, Evidence::AllocationEquivocation(AllocationEquivocation { delegation, other }))
            }
        };
        let Judge { network, clock, slasher, inbox, times: _ } = *judge;
        Ok(Self { network, clock, slasher, inbox, committer, evidence })
    }

    /// The judge of this file, by these times.
    #[must_use]
    pub const fn judge(&self, times: Times) -> Judge {
        let Self { network, clock, slasher, inbox, .. } = *self;
        Judge { network, clock, slasher, inbox, times }
    }
}

fn delegation_to_sol(signed: &SignedDelegation) -> Result<sol::SignedDelegation, ObjectError> {
    Ok(sol::SignedDelegation {
        delegation: signed.message.to_sol()?,
        nonce: signed.nonce,
        signingId: signed.signing_id,
        signature: signature_to_sol(&signed.signature)?,
    })
}

fn delegation_from_sol(signed: sol::SignedDelegation) -> Result<SignedDelegation, ObjectError> {
    Ok(Signed {
        signature: signature_from_sol(&signed.signature)?,
        message: Delegation::try_from(signed.delegation)?,
        nonce: signed.nonce,
        signing_id: signed.signingId,
    })
}

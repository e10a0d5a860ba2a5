//! Why the judge finds nobody guilty, by the names of the Solidity errors.

use super::Status;
use alloy_primitives::Address;

/// Why evidence, an accusation, an answer or a rebuttal does not hold.
///
/// The names are those of the errors in `IOrderingSlasher.sol` and, for what the registry checks before it asks the
/// slasher, `IRegistry.sol`. Errors that only come of the contracts' own bookkeeping (a fault judged before, a
/// wrong bond) have no place here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The evidence is not the canonical encoding of the fault's struct.
    #[error("the evidence is not the canonical encoding of the fault's struct")]
    MalformedEvidence,
    /// No fault of this number is judged in this way.
    #[error("no fault {0} is judged in this way")]
    UnknownFault(u8),
    /// The judged commitment names another slasher.
    #[error("a commitment names the slasher {0}")]
    OtherSlasher(Address),
    /// Not an ordering commitment with a canonical payload.
    #[error("a commitment is no ordering")]
    NotAnOrdering,
    /// Not a bundle commitment with a canonical payload.
    #[error("the commitment is no bundle")]
    NotABundle,
    /// The bundle has no such leg; or a leg is named, and no bundle is judged.
    #[error("no such leg")]
    NoSuchLeg,
    /// The commitment is not signed by the operator's committer.
    #[error("the commitment is not signed by the operator's committer")]
    UnauthorizedCommitment,
    /// The accused is not who signed.
    #[error("the accused operator did not sign")]
    NotOperator,
    /// The evidence counts only after this time, Unix seconds.
    #[error("counts only after {0}")]
    TooEarly(u64),
    /// The evidence counted until this time, Unix seconds.
    #[error("counted until {0}")]
    TooLate(u64),
    /// A commitment in the evidence is another's; zero if the signature is nobody's.
    #[error("a commitment in the evidence is signed by {0}")]
    OtherSigner(Address),
    /// Not of the same rollup, slot or segment, or not of the numbers that the fault takes.
    #[error("the commitments are not of the places that the fault takes")]
    OtherPlace,
    /// One commitment, twice.
    #[error("both are the same commitment")]
    SameCommitment,
    /// The chain holds.
    #[error("parent and first index match: the chain holds")]
    ChainHolds,
    /// The commitment said to be a seal is none.
    #[error("the commitment is no seal")]
    NotASeal,
    /// The index is not among those that the commitment holds.
    #[error("the commitment holds no such index")]
    IndexOutside,
    /// The path does not lead from the transaction at its index to the root, or is of another length.
    #[error("the path does not lead to the root")]
    BadPath,
    /// The same transaction stands in both.
    #[error("both show the same transaction")]
    SameTransaction,
    /// No due item is passed over.
    #[error("no forced transaction that is due is passed over")]
    NothingSkipped,
    /// The batch was on L1 in time.
    #[error("the batch was on L1 in time")]
    RecordedInTime,
    /// The signer is the rollup's reserve committer.
    #[error("the signer is the rollup's reserve committer")]
    ReserveCommitter,
    /// The delegation allocates nothing.
    #[error("the delegation allocates nothing")]
    NoEntries,
    /// There is no accusation that stands unanswered.
    #[error("no accusation stands unanswered")]
    NotAccused,
    /// The accusation is not in the state that the call needs.
    #[error("the accusation is {0}")]
    WrongStatus(Status),
    /// The answer, or the rebuttal, does not hold.
    #[error("the answer does not hold: {0}")]
    BadAnswer(AnswerFault),
    /// The two delegations are one.
    #[error("both are the same delegation")]
    DelegationsAreSame,
    /// The two delegations are for different slots.
    #[error("the delegations are for different slots")]
    DifferentSlots,
    /// The delegation is another proposer's.
    #[error("the delegation is of another proposer")]
    InvalidProof,
    /// The proposer did not sign the delegation.
    #[error("the proposer did not sign the delegation")]
    DelegationSignatureInvalid,
}

impl Reason {
    /// The Solidity error's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MalformedEvidence => "MalformedEvidence",
            Self::UnknownFault(_) => "UnknownFault",
            Self::OtherSlasher(_) => "OtherSlasher",
            Self::NotAnOrdering => "NotAnOrdering",
            Self::NotABundle => "NotABundle",
            Self::NoSuchLeg => "NoSuchLeg",
            Self::UnauthorizedCommitment => "UnauthorizedCommitment",
            Self::NotOperator => "NotOperator",
            Self::TooEarly(_) => "TooEarly",
            Self::TooLate(_) => "TooLate",
            Self::OtherSigner(_) => "OtherSigner",
            Self::OtherPlace => "OtherPlace",
            Self::SameCommitment => "SameCommitment",
            Self::ChainHolds => "ChainHolds",
            Self::NotASeal => "NotASeal",
            Self::IndexOutside => "IndexOutside",
            Self::BadPath => "BadPath",
            Self::SameTransaction => "SameTransaction",
            Self::NothingSkipped => "NothingSkipped",
            Self::RecordedInTime => "RecordedInTime",
            Self::ReserveCommitter => "ReserveCommitter",
            Self::NoEntries => "NoEntries",
            Self::NotAccused => "NotAccused",
            Self::WrongStatus(_) => "WrongStatus",
            Self::BadAnswer(_) => "BadAnswer",
            Self::DelegationsAreSame => "DelegationsAreSame",
            Self::DifferentSlots => "DifferentSlots",
            Self::InvalidProof => "InvalidProof",
            Self::DelegationSignatureInvalid => "DelegationSignatureInvalid",
        }
    }
}

/// Where an answer or a rebuttal fails: the string of `BadAnswer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    /// The bytes are not the canonical encoding of an answer: no call that the contract takes.
    #[error("malformed")]
    Malformed,

    // ---- To MissedWindow, and of its rebuttal.
    /// The message, the constraint, the receipt or the result is for another slot.
    #[error("slot")]
    Slot,
    /// The message has no such constraint.
    #[error("index")]
    Index,
    /// The constraint is not of type 1, or its payload is not canonical.
    #[error("constraint")]
    Constraint,
    /// Not an EIP-1559 transaction of this chain to the Inbox, without ether and without an access list.
    #[error("transaction")]
    Transaction,
    /// The transaction may run out of gas: see [`crate::inbox::least_gas`].
    #[error("gas")]
    Gas,
    /// The transaction's input is no batch that the Inbox would record.
    #[error("batch")]
    Batch,
    /// The batch's seal names another slasher.
    #[error("slasher")]
    Slasher,
    /// The batch's seal is of another rollup, slot or segment.
    #[error("place")]
    Place,
    /// The batch's seal is another committer's.
    #[error("committer")]
    Committer,
    /// The receipt or the result is of something else.
    #[error("hash")]
    Hash,
    /// Not signed by the relay that the rollups' terms name.
    #[error("relay")]
    Relay,
    /// The receipt says otherwise: dropped for held, or held for dropped.
    #[error("status")]
    Status,
    /// The relay had the constraints too late.
    #[error("late")]
    Late,
    /// The relay is known to have dropped these constraints.
    #[error("dropped")]
    Dropped,

    // ---- To UnauthorizedSequencing: why the delegation is not valid, and whom it names.
    /// The delegation is for another slot.
    #[error("delegation's slot")]
    DelegationSlot,
    /// The delegation carries no allocation.
    #[error("metadata")]
    Metadata,
    /// The allocation is for another slot.
    #[error("allocation's slot")]
    AllocationSlot,
    /// The receipt is for another slot.
    #[error("receipt's slot")]
    ReceiptSlot,
    /// The receipt is of another delegation.
    #[error("receipt's hash")]
    ReceiptHash,
    /// The relay had the delegation too late.
    #[error("received late")]
    ReceivedLate,
    /// The delegate's key is no point of the curve.
    #[error("delegate")]
    Delegate,
    /// The receipt is not the relay's.
    #[error("relay's signature")]
    RelaySignature,
    /// The proposer did not sign the delegation.
    #[error("proposer's signature")]
    ProposerSignature,
    /// The allocation has no entry that names the accused for the rollup.
    #[error("entry")]
    Entry,

    // ---- To Misallocation.
    /// The delegation is not the one accused of.
    #[error("delegation")]
    Delegation,
}

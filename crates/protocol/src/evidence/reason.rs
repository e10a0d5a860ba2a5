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
    /// The commitment, or one in the evidence, names another slasher.
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
    /// The evidence counts only from this time on, Unix seconds.
    #[error("counts only from {0} on")]
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
    /// Not the first commitment of a window.
    #[error("not the first commitment of a window")]
    NotWindowStart,
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
            Self::NotWindowStart => "NotWindowStart",
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

    /// The receipt of constraints says otherwise: dropped for held, or held for dropped.
    #[error("receipt status")]
    ReceiptStatus,
    /// The receipt is for another slot.
    #[error("receipt slot")]
    ReceiptSlot,
    /// The receipt is of something else.
    #[error("receipt hash")]
    ReceiptHash,
    /// The relay had it too late.
    #[error("received late")]
    ReceivedLate,
    /// Not signed by the relay that the rollup's terms name.
    #[error("relay signature")]
    RelaySignature,

    /// The constraints are for another slot.
    #[error("message slot")]
    MessageSlot,
    /// The message has no such constraint.
    #[error("index")]
    Index,
    /// The constraint is not of type 1.
    #[error("constraint type")]
    ConstraintType,
    /// The constraint's payload is not canonical.
    #[error("payload")]
    Payload,
    /// The constraint is for another slot.
    #[error("payload slot")]
    PayloadSlot,
    /// Not an EIP-1559 transaction to an address.
    #[error("transaction")]
    Transaction,
    /// The transaction is for another chain.
    #[error("chain id")]
    ChainId,
    /// The transaction is not to the Inbox.
    #[error("recipient")]
    Recipient,
    /// The transaction carries ether, so the call would fail.
    #[error("value")]
    Value,
    /// The transaction has an access list, which takes gas.
    #[error("access list")]
    AccessList,
    /// The transaction may run out of gas: see [`crate::inbox::least_gas`].
    #[error("gas limit")]
    GasLimit,
    /// The transaction's input is no call of `submit`.
    #[error("call")]
    Call,
    /// The Inbox would not record the batch.
    #[error("batch")]
    Batch,
    /// The batch's seal names another slasher.
    #[error("seal slasher")]
    SealSlasher,
    /// The batch's seal is of another rollup, slot or segment.
    #[error("seal place")]
    SealPlace,
    /// The batch's seal is another committer's.
    #[error("seal signer")]
    SealSigner,
    /// The relay is known to have dropped these constraints.
    #[error("dropped")]
    Dropped,

    /// The delegation is for another slot.
    #[error("delegation slot")]
    DelegationSlot,
    /// The delegation carries no allocation.
    #[error("metadata")]
    Metadata,
    /// The allocation is for another slot.
    #[error("allocation slot")]
    AllocationSlot,
    /// The allocation has no entry for the rollup.
    #[error("no entry")]
    NoEntry,
    /// The entry names another committer.
    #[error("entry committer")]
    EntryCommitter,
    /// The proposer did not sign the delegation.
    #[error("proposer signature")]
    ProposerSignature,

    /// The delegation is not the one accused of.
    #[error("delegation")]
    Delegation,
    /// The result is for another slot.
    #[error("result slot")]
    ResultSlot,
    /// The result is of another allocation.
    #[error("result hash")]
    ResultHash,
    /// The terms of the entries' rollups name different relays.
    #[error("relays differ")]
    RelaysDiffer,
}

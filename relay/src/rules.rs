//! Who may delegate, and who may constrain what (design §2, §5). Pure.

use crate::held::{self, Required, TxError};
use alloy_consensus::Transaction;
use alloy_primitives::Address;
use earnest_builder_types::BlsPublicKey;
use earnest_http::ApiError;
use earnest_protocol::{
    Slot,
    inbox::decode_submit,
    objects::{AllocationEntry, Delegation, SignedConstraints, SignedDelegation, SlotAllocation},
    signing::Network,
};
use http::StatusCode;

/// Most entries of an allocation: rollups of one slot.
const MAX_ENTRIES: usize = 16;
/// Longest metadata of a delegation, in bytes.
const MAX_METADATA: usize = 16 << 10;

/// Why a delegation or constraints are refused. Each has its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the proposer of slot {0} is not known")]
    UnknownSlot(Slot),
    #[error("slot {0} has begun")]
    SlotBegun(Slot),
    #[error("{0} does not propose this slot")]
    NotProposer(BlsPublicKey),
    #[error("{0} is not opted in")]
    NotOptedIn(BlsPublicKey),
    #[error("metadata: {0}")]
    BadMetadata(String),
    #[error("signature does not verify")]
    BadSignature,
    #[error("another delegation of this proposer for slot {0} was taken before")]
    AlreadyDelegated(Slot),
    #[error("no delegation for slot {0}")]
    NoDelegation(Slot),
    #[error("{0} is no delegate of this slot")]
    NotDelegate(BlsPublicKey),
    #[error("constraints for slot {0} are taken until its cut-off only")]
    Late(Slot),
    #[error("a message holds at least one constraint")]
    Empty,
    #[error("more than {0} constraints for one slot")]
    TooMany(usize),
    #[error("constraint type {0} is not supported")]
    UnknownType(u64),
    #[error("constraint {index}: {cause}")]
    BadConstraint { index: usize, cause: String },
    #[error("constraint {0}: a delegate of an allocation entry may only send its own batch to the Inbox")]
    NotAllowed(usize),
}

impl Refusal {
    /// The code of the answer.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::UnknownSlot(_) => "unknown_slot",
            Self::SlotBegun(_) => "slot_begun",
            Self::NotProposer(_) => "not_proposer",
            Self::NotOptedIn(_) => "not_opted_in",
            Self::BadMetadata(_) => "bad_metadata",
            Self::BadSignature => "bad_signature",
            Self::AlreadyDelegated(_) => "already_delegated",
            Self::NoDelegation(_) => "no_delegation",
            Self::NotDelegate(_) => "not_delegate",
            Self::Late(_) => "constraint_late",
            Self::Empty => "no_constraints",
            Self::TooMany(_) => "too_many_constraints",
            Self::UnknownType(_) => "unknown_constraint_type",
            Self::BadConstraint { .. } => "bad_constraint",
            Self::NotAllowed(_) => "constraint_not_allowed",
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::AlreadyDelegated(_) => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::named(status, refusal.code(), refusal.to_string())
    }
}

/// What is known of a delegation's slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DelegationContext<'a> {
    /// The network.
    pub(crate) network: &'a Network,
    /// The slot's proposer.
    pub(crate) proposer: Option<BlsPublicKey>,
    /// Whether it is opted in.
    pub(crate) opted_in: bool,
    /// When the slot starts, Unix milliseconds.
    pub(crate) slot_ms: u64,
    /// Now, Unix milliseconds.
    pub(crate) now_ms: u64,
}

/// Checks a delegation; signature last, for it costs most.
pub(crate) fn check_delegation(
    delegation: &SignedDelegation,
    context: &DelegationContext<'_>,
) -> Result<(), Refusal> {
    let message = &delegation.message;
    if context.now_ms >= context.slot_ms {
        return Err(Refusal::SlotBegun(message.slot));
    }
    let proposer = context.proposer.ok_or(Refusal::UnknownSlot(message.slot))?;
    if message.proposer != proposer {
        return Err(Refusal::NotProposer(message.proposer));
    }
    if !context.opted_in {
        return Err(Refusal::NotOptedIn(message.proposer));
    }
    check_metadata(message)?;
    delegation.verify(context.network, &proposer).map_err(|_| Refusal::BadSignature)
}

fn check_metadata(message: &Delegation) -> Result<(), Refusal> {
    if message.metadata.is_empty() {
        return Ok(());
    }
    if message.metadata.len() > MAX_METADATA {
        return Err(Refusal::BadMetadata(format!("longer than {MAX_METADATA} bytes")));
    }
    let allocation = message.allocation().map_err(|error| Refusal::BadMetadata(error.to_string()))?;
    if allocation.entries.len() > MAX_ENTRIES {
        return Err(Refusal::BadMetadata(format!("more than {MAX_ENTRIES} entries")));
    }
    Ok(())
}

/// What is known of the slot that constraints are for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConstraintContext<'a> {
    /// The network.
    pub(crate) network: &'a Network,
    /// The delegation that is in force.
    pub(crate) delegation: Option<&'a Delegation>,
    /// The Inbox.
    pub(crate) inbox: Address,
    /// The cut-off, Unix milliseconds.
    pub(crate) cutoff_ms: u64,
    /// Now, Unix milliseconds.
    pub(crate) now_ms: u64,
    /// Constraints that the slot holds already.
    pub(crate) held: usize,
    /// Constraints that a slot may hold.
    pub(crate) max: usize,
}

/// Checks constraints and gives what a block must hold to keep them; signature last.
pub(crate) fn check_constraints(
    signed: &SignedConstraints,
    context: &ConstraintContext<'_>,
) -> Result<Vec<Required>, Refusal> {
    let message = &signed.message;
    if context.now_ms >= context.cutoff_ms {
        return Err(Refusal::Late(message.slot));
    }
    let delegation = context.delegation.ok_or(Refusal::NoDelegation(message.slot))?;
    if message.proposer != delegation.proposer {
        return Err(Refusal::NotProposer(message.proposer));
    }
    let entries = entries_of(delegation, &message.delegate);
    let own = message.delegate == delegation.delegate;
    if !own && entries.is_empty() {
        return Err(Refusal::NotDelegate(message.delegate));
    }
    if message.constraints.is_empty() {
        return Err(Refusal::Empty);
    }
    if context.held.saturating_add(message.constraints.len()) > context.max {
        return Err(Refusal::TooMany(context.max));
    }
    let mut required = Vec::with_capacity(message.constraints.len());
    for (index, constraint) in message.constraints.iter().enumerate() {
        let bad = |cause: String| Refusal::BadConstraint { index, cause };
        if constraint.constraint_type != 1 {
            return Err(Refusal::UnknownType(constraint.constraint_type));
        }
        let inclusion = constraint.as_inclusion().map_err(|error| bad(error.to_string()))?;
        if inclusion.slot != message.slot {
            return Err(bad(format!("for slot {}", inclusion.slot)));
        }
        let tx_error = |error: TxError| bad(error.to_string());
        if !own {
            let tx = held::read(&inclusion.signed_tx, context.network.chain_id).map_err(tx_error)?;
            if tx.to() != Some(context.inbox)
                || !entries.iter().any(|entry| is_own_batch(tx.input(), entry, message.slot, context.network))
            {
                return Err(Refusal::NotAllowed(index));
            }
        }
        required.push(Required::new(inclusion.signed_tx, context.network.chain_id).map_err(tx_error)?);
    }
    signed.verify(context.network, &message.delegate).map_err(|_| Refusal::BadSignature)?;
    Ok(required)
}

/// The entries whose delegate is `key`.
fn entries_of(delegation: &Delegation, key: &BlsPublicKey) -> Vec<AllocationEntry> {
    let allocation = SlotAllocation::from_metadata(&delegation.metadata);
    let entries = allocation.map(|allocation| allocation.entries).unwrap_or_default();
    entries.into_iter().filter(|entry| entry.delegate == *key).collect()
}

fn is_own_batch(calldata: &[u8], entry: &AllocationEntry, slot: Slot, network: &Network) -> bool {
    decode_submit(calldata, network).is_ok_and(|batch| {
        batch.seal.rollup_id == entry.rollup_id
            && batch.seal.slot == slot
            && batch.committer == entry.committer
    })
}

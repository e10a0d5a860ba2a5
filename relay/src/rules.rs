//! Who may delegate, and who may constrain what (design §2, §5). Pure.

use crate::held::{self, Required, TxError};
use alloy_consensus::Transaction;
use alloy_primitives::{Address, B256, Bytes};
use earnest_builder_types::BlsPublicKey;
use earnest_http::ApiError;
use earnest_protocol::{
    Slot,
    inbox::decode_submit,
    objects::{AllocationEntry, Delegation, Object, SignedConstraints, SignedDelegation, SlotAllocation},
    signing::{Network, SigningError},
};
use http::StatusCode;
use std::collections::HashMap;

/// Most entries of an allocation: rollups of one slot.
const MAX_ENTRIES: usize = 16;
/// Most keys that constraints name as their readers.
const MAX_RECEIVERS: usize = 64;
/// Longest metadata of a delegation, in bytes.
const MAX_METADATA: usize = 16 << 10;

/// Why a delegation or constraints are refused. Each has its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this relay does not know yet who proposes, or who is opted in: try again")]
    NotReady,
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
    #[error("the allocation is not that of the slot's auction result")]
    NotTheResult,
    #[error("signature does not verify: {0}")]
    BadSignature(SigningError),
    #[error("another delegation of this proposer for slot {0} was taken before")]
    AlreadyDelegated(Slot),
    #[error("no delegation for slot {0}")]
    NoDelegation(Slot),
    #[error("{0} is no delegate of this slot")]
    NotDelegate(BlsPublicKey),
    #[error("constraints for slot {0} are taken until its cut-off only")]
    Late(Slot),
    #[error("more than {MAX_RECEIVERS} receivers")]
    Receivers,
    #[error("a message holds at least one constraint")]
    Empty,
    #[error("this delegate may bind the slot to {0} transactions")]
    TooMany(usize),
    #[error("constraint type {0} is not supported")]
    UnknownType(u64),
    #[error("constraint {index}: {cause}")]
    BadConstraint { index: usize, cause: String },
    #[error(
        "constraints of this delegate may use {share} gas of slot {slot}, and these bring it to {wanted}"
    )]
    GasShare { slot: Slot, share: u64, wanted: u64 },
    #[error("constraint {0}: a delegate of an allocation entry may only send its own batch to the Inbox")]
    NotAllowed(usize),
    #[error(
        "constraint {0}: its sender has another transaction of this nonce among the slot's constraints, which does something \
         else: one can be included"
    )]
    Conflict(usize),
}

impl Refusal {
    /// The code of the answer.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::UnknownSlot(_) => "unknown_slot",
            Self::SlotBegun(_) => "slot_begun",
            Self::NotProposer(_) => "not_proposer",
            Self::NotOptedIn(_) => "not_opted_in",
            Self::BadMetadata(_) => "bad_metadata",
            Self::NotTheResult => "allocation_not_result",
            Self::BadSignature(_) => "bad_signature",
            Self::AlreadyDelegated(_) => "already_delegated",
            Self::NoDelegation(_) => "no_delegation",
            Self::NotDelegate(_) => "not_delegate",
            Self::Late(_) => "constraint_late",
            Self::Receivers => "too_many_receivers",
            Self::Empty => "no_constraints",
            Self::TooMany(_) => "too_many_constraints",
            Self::UnknownType(_) => "unknown_constraint_type",
            Self::BadConstraint { .. } => "bad_constraint",
            Self::GasShare { .. } => "gas_share_exceeded",
            Self::NotAllowed(_) => "constraint_not_allowed",
            Self::Conflict(_) => "constraint_conflict",
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::AlreadyDelegated(_) => StatusCode::CONFLICT,
            Refusal::NotReady => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        let error = Self::named(status, refusal.code(), refusal.to_string());
        if refusal == Refusal::NotReady { error.retry_after(1) } else { error }
    }
}

/// What allocation a delegation may carry. One without entries is always allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Any: this relay holds no auctions.
    Any,
    /// That of the slot's result, by its hash, if there is one.
    Result(Option<B256>),
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
    /// What allocation it may carry.
    pub(crate) allowed: Allowed,
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
    check_metadata(message, context.allowed)?;
    delegation.verify(context.network, &proposer).map_err(Refusal::BadSignature)
}

fn check_metadata(message: &Delegation, allowed: Allowed) -> Result<(), Refusal> {
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
    match allowed {
        Allowed::Result(result)
            if !allocation.entries.is_empty() && result != Some(allocation.abi_hash()) =>
        {
            Err(Refusal::NotTheResult)
        }
        Allowed::Any | Allowed::Result(_) => Ok(()),
    }
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
    /// Transactions that a slot may be bound to.
    pub(crate) max: usize,
    /// The gas limit that the proposer registered.
    pub(crate) gas_limit: u64,
    /// Transactions that the delegate bound the slot to before, and the gas of each.
    pub(crate) held: &'a HashMap<&'a Bytes, u64>,
    /// What the slot's constraints do, of all its delegates, by sender and nonce.
    pub(crate) calls: &'a HashMap<(Address, u64), B256>,
}

/// How much of a slot one delegate may bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    transactions: usize,
    gas: u64,
}

impl ConstraintContext<'_> {
    /// Three quarters of everything are for the allocation's entries, in equal parts, and the last quarter for the proposer's own
    /// delegate, so that nobody pushes out another; without entries its delegate has the three quarters. A delegate of several
    /// has the sum.
    fn share(&self, delegation: &Delegation, delegate: &BlsPublicKey) -> Share {
        let entries = SlotAllocation::from_metadata(&delegation.metadata)
            .map(|allocation| allocation.entries)
            .unwrap_or_default();
        let own = *delegate == delegation.delegate;
        let of_one = entries.iter().filter(|entry| entry.delegate == *delegate).count();
        let quarter = Share { transactions: self.max / 4, gas: self.gas_limit / 4 };
        let entry = Share {
            transactions: quarter
                .transactions
                .saturating_mul(3)
                .checked_div(entries.len())
                .unwrap_or(0)
                .max(1),
            gas: quarter.gas.saturating_mul(3).checked_div(entries.len() as u64).unwrap_or(0),
        };
        if entries.is_empty() {
            let transactions = if own { self.max } else { 0 };
            return Share { transactions, gas: quarter.gas.saturating_mul(if own { 3 } else { 0 }) };
        }
        let own = if own { quarter } else { Share { transactions: 0, gas: 0 } };
        Share {
            transactions: entry.transactions.saturating_mul(of_one).saturating_add(own.transactions),
            gas: entry.gas.saturating_mul(of_one as u64).saturating_add(own.gas),
        }
    }
}

/// Checks everything of constraints, and gives what they require; the signature before what costs more.
pub(crate) fn check_constraints(
    signed: &SignedConstraints,
    context: &ConstraintContext<'_>,
) -> Result<Vec<Required>, Refusal> {
    check_right(signed, context)?;
    signed.verify(context.network, &signed.message.delegate).map_err(Refusal::BadSignature)?;
    let required = read_contents(signed, context)?;
    check_room(signed, &required, context)?;
    Ok(required)
}

/// Checks again what can have changed since [`check_constraints`]: times, rights, and what others took meanwhile.
pub(crate) fn check_again(
    signed: &SignedConstraints,
    required: &[Required],
    context: &ConstraintContext<'_>,
) -> Result<(), Refusal> {
    check_right(signed, context)?;
    check_room(signed, required, context)
}

/// Checks who may constrain the slot and until when.
fn check_right(signed: &SignedConstraints, context: &ConstraintContext<'_>) -> Result<(), Refusal> {
    let message = &signed.message;
    if context.now_ms >= context.cutoff_ms {
        return Err(Refusal::Late(message.slot));
    }
    let delegation = context.delegation.ok_or(Refusal::NoDelegation(message.slot))?;
    if message.proposer != delegation.proposer {
        return Err(Refusal::NotProposer(message.proposer));
    }
    if message.delegate != delegation.delegate && entries_of(delegation, &message.delegate).is_empty() {
        return Err(Refusal::NotDelegate(message.delegate));
    }
    if message.receivers.len() > MAX_RECEIVERS {
        return Err(Refusal::Receivers);
    }
    if message.constraints.is_empty() {
        return Err(Refusal::Empty);
    }
    let share = context.share(delegation, &message.delegate);
    if message.constraints.len() > share.transactions {
        return Err(Refusal::TooMany(share.transactions));
    }
    Ok(())
}

/// What the constraints require, each being one that its delegate may ask for.
fn read_contents(
    signed: &SignedConstraints,
    context: &ConstraintContext<'_>,
) -> Result<Vec<Required>, Refusal> {
    let message = &signed.message;
    let delegation = context.delegation.ok_or(Refusal::NoDelegation(message.slot))?;
    let entries = entries_of(delegation, &message.delegate);
    let own = message.delegate == delegation.delegate;
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
    Ok(required)
}

/// Checks what the slot's other constraints bear on: that no nonce is to be used for two things, and the delegate's share.
fn check_room(
    signed: &SignedConstraints,
    required: &[Required],
    context: &ConstraintContext<'_>,
) -> Result<(), Refusal> {
    let message = &signed.message;
    let delegation = context.delegation.ok_or(Refusal::NoDelegation(message.slot))?;
    let mut calls: HashMap<(Address, u64), B256> = HashMap::new();
    for (index, one) in required.iter().enumerate() {
        let known = context.calls.get(&one.place()).copied();
        let call = *calls.entry(one.place()).or_insert_with(|| known.unwrap_or(one.call));
        if call != one.call {
            return Err(Refusal::Conflict(index));
        }
    }
    let mut bound = context.held.clone();
    bound.extend(required.iter().map(|required| (&required.raw, required.gas_limit)));
    let share = context.share(delegation, &message.delegate);
    if bound.len() > share.transactions {
        return Err(Refusal::TooMany(share.transactions));
    }
    let gas = bound.values().copied().fold(0, u64::saturating_add);
    if gas > share.gas {
        return Err(Refusal::GasShare { slot: message.slot, share: share.gas, wanted: gas });
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FORK_VERSION, PROPOSER, SENDER_GAS, bls, call, tx};
    use alloy_primitives::{Bytes, U256};
    use earnest_protocol::{
        RollupId, Wei,
        inbox::encode_submit,
        merkle,
        objects::{
            Commitment, CommitmentKind, Constraint, ConstraintsMessage, OrderingCommitment, SignedCommitment,
        },
        signing::EcdsaSecret,
    };

    const NETWORK: Network = Network { genesis_fork_version: FORK_VERSION, chain_id: 1337 };
    const SLOT: Slot = Slot(10);
    const SLOT_MS: u64 = 100_000;
    const INBOX: Address = Address::repeat_byte(0xaa);
    /// Key of the proposer's own gateway, and of the holder of rollup 7.
    const OWN: u8 = 50;
    const HOLDER: u8 = 51;

    fn committer(number: u8) -> EcdsaSecret {
        EcdsaSecret::from_bytes(&[number; 32]).unwrap()
    }

    fn allocation(slot: Slot) -> SlotAllocation {
        let entry = AllocationEntry {
            rollup_id: RollupId(7),
            bid_hash: B256::ZERO,
            account: Address::ZERO,
            committer: committer(HOLDER).address(),
            delegate: bls(HOLDER).public_key(),
            price_wei: Wei::default(),
            url: String::new(),
        };
        SlotAllocation { slot, start_ms: 50_000, auction_root: B256::ZERO, entries: vec![entry] }
    }

    fn delegation() -> Delegation {
        Delegation {
            proposer: bls(PROPOSER).public_key(),
            delegate: bls(OWN).public_key(),
            committer: committer(OWN).address(),
            slot: SLOT,
            metadata: allocation(SLOT).to_metadata(),
        }
    }

    fn signed(message: Delegation) -> SignedDelegation {
        SignedDelegation::sign(message, &bls(PROPOSER), &NETWORK).unwrap()
    }

    fn context() -> DelegationContext<'static> {
        DelegationContext {
            network: &NETWORK,
            proposer: Some(bls(PROPOSER).public_key()),
            opted_in: true,
            allowed: Allowed::Any,
            slot_ms: SLOT_MS,
            now_ms: 1_000,
        }
    }

    fn code(refused: Result<(), Refusal>) -> String {
        let Err(refusal) = refused else { return "ok".to_owned() };
        let error = ApiError::from(refusal);
        assert!(!error.message.is_empty());
        error.body()["code"].as_str().unwrap().to_owned()
    }

    #[test]
    fn delegations_by_table() {
        let other_key = Delegation { proposer: bls(1).public_key(), ..delegation() };
        let without = Delegation { metadata: Bytes::new(), ..delegation() };
        let other_slot = Delegation { metadata: allocation(Slot(11)).to_metadata(), ..delegation() };
        let junk = Delegation { metadata: Bytes::from_static(b"junk"), ..delegation() };
        let long = Delegation { metadata: vec![0; MAX_METADATA + 1].into(), ..delegation() };
        let mut many = allocation(SLOT);
        let entry = many.entries[0].clone();
        many.entries =
            (0..17).map(|id| AllocationEntry { rollup_id: RollupId(id), ..entry.clone() }).collect();
        let many = Delegation { metadata: many.to_metadata(), ..delegation() };
        let mut forged = signed(delegation());
        forged.message.committer = Address::ZERO;
        let by_another = SignedDelegation::sign(delegation(), &bls(1), &NETWORK).unwrap();
        let elsewhere = Network { chain_id: 1, ..NETWORK };
        let elsewhere = SignedDelegation::sign(delegation(), &bls(PROPOSER), &elsewhere).unwrap();
        let of_result = Allowed::Result(Some(allocation(SLOT).abi_hash()));
        let of_another = Allowed::Result(Some(B256::repeat_byte(1)));
        let sold = |allowed| DelegationContext { allowed, ..context() };
        let unsold = SlotAllocation { entries: vec![], ..allocation(SLOT) };
        let unsold = Delegation { metadata: unsold.to_metadata(), ..delegation() };
        let cases = [
            ("ok", signed(delegation()), context()),
            ("ok", signed(without.clone()), context()),
            ("ok", signed(delegation()), sold(of_result)),
            ("allocation_not_result", signed(delegation()), sold(of_another)),
            ("allocation_not_result", signed(delegation()), sold(Allowed::Result(None))),
            ("ok", signed(without), sold(Allowed::Result(None))),
            ("ok", signed(unsold), sold(of_another)),
            ("slot_begun", signed(delegation()), DelegationContext { now_ms: SLOT_MS, ..context() }),
            ("ok", signed(delegation()), DelegationContext { now_ms: SLOT_MS - 1, ..context() }),
            ("unknown_slot", signed(delegation()), DelegationContext { proposer: None, ..context() }),
            ("not_proposer", signed(other_key), context()),
            ("not_opted_in", signed(delegation()), DelegationContext { opted_in: false, ..context() }),
            ("bad_metadata", signed(other_slot), context()),
            ("bad_metadata", signed(junk), context()),
            ("bad_metadata", signed(long), context()),
            ("bad_metadata", signed(many), context()),
            ("bad_signature", forged, context()),
            ("bad_signature", by_another, context()),
            ("bad_signature", elsewhere, context()),
        ];
        for (index, (expected, delegation, context)) in cases.into_iter().enumerate() {
            assert_eq!(code(check_delegation(&delegation, &context)), expected, "case {index}");
        }
    }

    /// Calldata of a batch of one transaction, sealed for a rollup and slot by a committer.
    fn batch(rollup: u64, slot: Slot, by: u8) -> Bytes {
        let transactions = vec![Bytes::from_static(b"anything")];
        let hashes: Vec<B256> = transactions.iter().map(alloy_primitives::keccak256).collect();
        let seal = OrderingCommitment {
            rollup_id: RollupId(rollup),
            slot,
            segment: 0,
            number: 1,
            parent: B256::repeat_byte(1),
            first_index: 1,
            tx_count: 0,
            tx_root: merkle::root(0, &hashes),
            timestamp_ms: 60_000,
            forced_inclusion_head: 0,
            kind: CommitmentKind::WindowSeal,
        };
        let commitment = Commitment::of_ordering(&seal, Address::ZERO);
        let signed = SignedCommitment::sign(commitment, &committer(by), &NETWORK).unwrap();
        encode_submit(&transactions, &signed, None).unwrap()
    }

    fn constraints(key: u8, transactions: &[Bytes]) -> ConstraintsMessage {
        ConstraintsMessage {
            proposer: bls(PROPOSER).public_key(),
            delegate: bls(key).public_key(),
            slot: SLOT,
            constraints: transactions.iter().map(|tx| Constraint::inclusion(SLOT, tx.clone())).collect(),
            receivers: vec![],
        }
    }

    fn by(key: u8, message: ConstraintsMessage) -> SignedConstraints {
        SignedConstraints::sign(message, &bls(key), &NETWORK).unwrap()
    }

    #[test]
    fn constraints_by_table() {
        let delegation = delegation();
        let raw = [tx(1, 0, 1), Bytes::from_static(b"a"), Bytes::from_static(b"b")];
        let [none, one, two, same, little, half, more, twice, too_much] = [
            vec![],
            vec![(&raw[1], 0)],
            vec![(&raw[1], 0), (&raw[2], 0)],
            vec![(&raw[0], SENDER_GAS), (&raw[1], 0)],
            vec![(&raw[1], 1)],
            vec![(&raw[1], SENDER_GAS / 2)],
            vec![(&raw[1], SENDER_GAS / 2 + 1)],
            vec![(&raw[1], 2 * SENDER_GAS)],
            vec![(&raw[1], 2 * SENDER_GAS + 1)],
        ]
        .map(HashMap::from_iter);
        let placed = |raw: &Bytes| {
            let required = Required::new(raw.clone(), NETWORK.chain_id).unwrap();
            HashMap::from([(required.place(), required.call)])
        };
        let free = HashMap::new();
        // Of sender 1 and nonce 0: the same, the same for a higher fee, and something else.
        let raised =
            crate::testing::changed_tx(|tx| (tx.value, tx.max_fee_per_gas) = (U256::from(1), 9 << 40));
        let [equal, dearer, other] = [&tx(1, 0, 1), &raised, &tx(1, 0, 2)].map(placed);
        let pair = |transactions: &[Bytes]| by(OWN, constraints(OWN, transactions));
        let context = ConstraintContext {
            network: &NETWORK,
            delegation: Some(&delegation),
            inbox: INBOX,
            cutoff_ms: 90_000,
            now_ms: 70_000,
            max: 8,
            gas_limit: 4 * SENDER_GAS,
            held: &none,
            calls: &free,
        };
        let with_two = {
            let mut allocation = allocation(SLOT);
            allocation.entries.push(AllocationEntry {
                rollup_id: RollupId(8),
                delegate: bls(HOLDER + 1).public_key(),
                ..allocation.entries[0].clone()
            });
            Delegation { metadata: allocation.to_metadata(), ..delegation.clone() }
        };
        let wide = ConstraintContext { max: 64, gas_limit: 100 * SENDER_GAS, ..context };
        let shared = ConstraintContext { delegation: Some(&with_two), ..context };
        let own = by(OWN, constraints(OWN, &[tx(1, 0, 1)]));
        let sent =
            |to: Address, calldata: Bytes| by(HOLDER, constraints(HOLDER, &[call(1, 0, 0, to, calldata)]));
        let changed = |change: fn(&mut ConstraintsMessage)| {
            let mut message = constraints(OWN, &[tx(1, 0, 1)]);
            change(&mut message);
            by(OWN, message)
        };
        let mut forged = own.clone();
        forged.message.constraints.push(Constraint::inclusion(SLOT, tx(1, 1, 1)));
        let mut junk = own.clone();
        junk.message.constraints[0].payload = Bytes::new();
        let cases = [
            ("ok", own.clone(), context),
            ("ok", own.clone(), ConstraintContext { now_ms: 89_999, ..context }),
            ("constraint_late", own.clone(), ConstraintContext { now_ms: 90_000, ..context }),
            ("no_delegation", own.clone(), ConstraintContext { delegation: None, ..context }),
            ("not_proposer", changed(|message| message.proposer = bls(1).public_key()), context),
            ("not_delegate", by(1, constraints(1, &[tx(1, 0, 1)])), context),
            ("ok", changed(|message| message.receivers.push(bls(1).public_key())), context),
            (
                "too_many_receivers",
                changed(|message| message.receivers = vec![bls(1).public_key(); MAX_RECEIVERS + 1]),
                context,
            ),
            ("no_constraints", changed(|message| message.constraints.clear()), context),
            ("ok", own.clone(), ConstraintContext { held: &one, ..context }),
            ("too_many_constraints", own.clone(), ConstraintContext { held: &two, ..context }),
            // What is bound already is bound once.
            ("ok", own.clone(), ConstraintContext { held: &same, ..context }),
            ("gas_share_exceeded", own.clone(), ConstraintContext { held: &little, ..context }),
            (
                "unknown_constraint_type",
                changed(|message| message.constraints[0].constraint_type = 2),
                context,
            ),
            ("bad_constraint", changed(|message| message.constraints[0].payload = Bytes::new()), context),
            (
                "bad_constraint",
                changed(|message| message.constraints[0] = Constraint::inclusion(Slot(11), tx(1, 0, 1))),
                context,
            ),
            (
                "bad_constraint",
                changed(|message| {
                    message.constraints[0] = Constraint::inclusion(SLOT, Bytes::from_static(b"x"));
                }),
                context,
            ),
            // Before the transactions are looked at.
            ("bad_signature", junk, context),
            ("bad_signature", forged, context),
            ("bad_signature", by(1, constraints(OWN, &[tx(1, 0, 1)])), context),
            // One nonce, one call, whoever had the other one constrained.
            ("ok", own.clone(), ConstraintContext { calls: &equal, ..context }),
            ("ok", own.clone(), ConstraintContext { calls: &dearer, ..context }),
            ("constraint_conflict", own, ConstraintContext { calls: &other, ..context }),
            ("constraint_conflict", pair(&[tx(1, 0, 1), tx(2, 0, 1), tx(1, 0, 2)]), wide),
            ("ok", pair(&[tx(1, 0, 1), raised, tx(1, 1, 2), tx(2, 0, 2)]), wide),
            // The holder of rollup 7: its own batch to the Inbox, and nothing else.
            ("ok", sent(INBOX, batch(7, SLOT, HOLDER)), context),
            ("constraint_not_allowed", sent(Address::ZERO, batch(7, SLOT, HOLDER)), context),
            ("constraint_not_allowed", sent(INBOX, batch(8, SLOT, HOLDER)), context),
            ("constraint_not_allowed", sent(INBOX, batch(7, Slot(11), HOLDER)), context),
            ("constraint_not_allowed", sent(INBOX, batch(7, SLOT, OWN)), context),
            ("constraint_not_allowed", sent(INBOX, Bytes::from_static(b"call")), context),
            // One entry has three quarters of the gas, one of two the half of that; the own delegate a quarter.
            ("ok", sent(INBOX, batch(7, SLOT, HOLDER)), ConstraintContext { held: &twice, ..context }),
            (
                "gas_share_exceeded",
                sent(INBOX, batch(7, SLOT, HOLDER)),
                ConstraintContext { held: &too_much, ..context },
            ),
            ("ok", sent(INBOX, batch(7, SLOT, HOLDER)), ConstraintContext { held: &half, ..shared }),
            (
                "gas_share_exceeded",
                sent(INBOX, batch(7, SLOT, HOLDER)),
                ConstraintContext { held: &more, ..shared },
            ),
        ];
        for (index, (expected, constraints, context)) in cases.into_iter().enumerate() {
            let checked = check_constraints(&constraints, &context);
            if let Ok(required) = &checked {
                assert_eq!(required.len(), constraints.message.constraints.len());
            }
            assert_eq!(code(checked.map(drop)), expected, "case {index}");
        }
    }

    #[test]
    fn what_others_took_meanwhile_counts() {
        let delegation = delegation();
        let (none, free) = (HashMap::new(), HashMap::new());
        let context = ConstraintContext {
            network: &NETWORK,
            delegation: Some(&delegation),
            inbox: INBOX,
            cutoff_ms: 90_000,
            now_ms: 70_000,
            max: 8,
            gas_limit: 4 * SENDER_GAS,
            held: &none,
            calls: &free,
        };
        let own = by(OWN, constraints(OWN, &[tx(1, 0, 1)]));
        let required = check_constraints(&own, &context).unwrap();
        let other = Bytes::from_static(b"a");
        let (taken, calls) =
            (HashMap::from([(&other, SENDER_GAS)]), HashMap::from([(required[0].place(), B256::ZERO)]));
        for (expected, context) in [
            ("ok", context),
            ("constraint_late", ConstraintContext { now_ms: 90_000, ..context }),
            ("gas_share_exceeded", ConstraintContext { held: &taken, ..context }),
            ("constraint_conflict", ConstraintContext { calls: &calls, ..context }),
            ("no_delegation", ConstraintContext { delegation: None, ..context }),
        ] {
            assert_eq!(code(check_again(&own, &required, &context)), expected);
        }
    }
}

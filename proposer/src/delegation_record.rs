//! The protection record: one delegation for each key and slot, for ever (design §6).
//!
//! A delegation is recorded with a claim on its place before it is signed, so that whatever happens in between, a second,
//! different one for the same place is refused by the journal itself, and the same one gives the same signature again.

use alloy_primitives::{B256, keccak256};
use earnest_builder_types::BlsPublicKey;
use earnest_journal::{AppendError, Batch, Claim, Entry, KIND_CLAIMS, Log, ReadError, Record};
use earnest_protocol::Slot;
use earnest_protocol::objects::{
    Delegation, MarketDomain, SignedAuctionResult, SignedBid, SignedBidAck, SignedDelegation,
    SignedDelegationReceipt,
};
use earnest_protocol::signing::{Network, SigningError};
use earnest_signer::SignerError;
use serde::{Deserialize, Serialize};

use crate::delegation_plan::{AlreadyDelegated, DelegationPlan};
use crate::market::book::MarketBook;
use crate::protection;
use crate::slot_state::SourceIndex;
use crate::validator_keys::claim_key;

const CLAIMED: u16 = 1;
const SIGNED: u16 = 2;
const RECEIVED: u16 = 3;
const FOREIGN: u16 = 4;
const BID: u16 = 5;
const ACKNOWLEDGED: u16 = 6;
const RESULT: u16 = 7;

const READ_RECORDS: usize = 256;
const READ_BYTES: usize = 4 << 20;

/// Why something could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Another delegation holds the place.
    #[error(transparent)]
    AlreadyDelegated(#[from] AlreadyDelegated),
    /// The signer's own refusal: the place is taken, or lies at or below the floor.
    #[error(transparent)]
    Refused(SignerError),
    /// The delegation has no root, because a key in it is not a valid point.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The journal did not take it.
    #[error("journal: {0}")]
    Append(#[from] AppendError),
    /// The journal cannot be read.
    #[error("journal: {0}")]
    Read(#[from] ReadError),
    /// An entry is not what its kind says.
    #[error("entry {position} does not decode: {cause}")]
    Malformed {
        /// Its position.
        position: u64,
        /// Why not.
        cause: String,
    },
    /// A later version wrote this journal.
    #[error(
        "entry {position} has kind {kind}, which this version does not know: run the version that wrote it"
    )]
    UnknownKind {
        /// Its position.
        position: u64,
        /// Its kind.
        kind: u16,
    },
    /// A delegation cannot be written as JSON.
    #[error("cannot write a record: {0}")]
    Encode(#[from] serde_json::Error),
}

/// A relay's receipt, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Received {
    /// The delegation's proposer.
    pub proposer: BlsPublicKey,
    /// The relay's BLS key: what it is, wherever it is reached.
    pub relay: BlsPublicKey,
    /// Its receipt.
    pub receipt: SignedDelegationReceipt,
}

/// A place that somebody signed for with a key of ours, and all that is known of it is the root: it came with an interchange
/// file that had no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// The slot.
    pub slot: Slot,
    /// The key.
    pub pubkey: BlsPublicKey,
    /// What was signed.
    pub signing_root: B256,
}

/// Makes a delegation durable, and its place taken by its signing root. Doing so again with the same one is fine. Blocks.
///
/// # Errors
/// [`RecordError::AlreadyDelegated`] if the place holds another one, or the journal's own refusal.
pub fn claim(log: &dyn Log, message: &Delegation, network: &Network) -> Result<(), RecordError> {
    let place = (message.slot, message.proposer);
    let value = network.message_root(message)?;
    let key = claim_key(place);
    match key.admit(log, value) {
        Ok(()) => {}
        Err(SignerError::SignedBefore { .. }) => return Err(AlreadyDelegated(place).into()),
        Err(refused) => return Err(RecordError::Refused(refused)),
    }
    let key = key.to_bytes();
    if log.claimed(&key)? == Some(value) {
        return Ok(());
    }
    let record = Record { kind: CLAIMED, body: serde_json::to_vec(message)?.into() };
    let batch = Batch { records: vec![record], claims: vec![Claim { key, value }] };
    match log.append_next(batch) {
        Ok(_) => Ok(()),
        Err(AppendError::Refused { .. }) => Err(AlreadyDelegated(place).into()),
        Err(error) => Err(error.into()),
    }
}

/// A relay's word on a bid, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Acknowledged {
    slot: Slot,
    ack: SignedBidAck,
}

/// Keeps bids, all or none, before they are posted. Blocks.
///
/// # Errors
/// The journal's refusal.
pub fn keep_bids(log: &dyn Log, bids: &[SignedBid]) -> Result<(), RecordError> {
    let record = |bid: &SignedBid| Ok(Record { kind: BID, body: serde_json::to_vec(bid)?.into() });
    let records = bids.iter().map(record).collect::<Result<_, serde_json::Error>>()?;
    log.append_next(Batch { records, claims: Vec::new() })?;
    Ok(())
}

/// Keeps the relay's word on a bid. Blocks.
///
/// # Errors
/// The journal's refusal.
pub fn keep_ack(log: &dyn Log, slot: Slot, ack: &SignedBidAck) -> Result<(), RecordError> {
    let kept = Acknowledged { slot, ack: ack.clone() };
    log.append_next(Batch::record(ACKNOWLEDGED, serde_json::to_vec(&kept)?))?;
    Ok(())
}

/// Keeps the result that a delegation carries, or that must not be signed. Blocks.
///
/// # Errors
/// The journal's refusal.
pub fn keep_result(log: &dyn Log, result: &SignedAuctionResult) -> Result<(), RecordError> {
    log.append_next(Batch::record(RESULT, serde_json::to_vec(result)?))?;
    Ok(())
}

/// Reads what was bid and promised. Blocks.
///
/// # Errors
/// [`RecordError`] if the journal cannot be read.
pub fn restore_market(log: &dyn Log, domain: MarketDomain) -> Result<MarketBook, RecordError> {
    let mut book = MarketBook::new(domain);
    let mut next = 0;
    loop {
        let entries = log.read(next, READ_RECORDS, READ_BYTES)?;
        let Some(last) = entries.last() else { return Ok(book) };
        next = last.position.saturating_add(1);
        for entry in &entries {
            let position = entry.position;
            let malformed =
                |cause: serde_json::Error| RecordError::Malformed { position, cause: cause.to_string() };
            match entry.kind {
                BID => book.booked(serde_json::from_slice(&entry.body).map_err(malformed)?),
                ACKNOWLEDGED => {
                    let kept: Acknowledged = serde_json::from_slice(&entry.body).map_err(malformed)?;
                    book.acknowledged(kept.slot, kept.ack);
                }
                RESULT => book.result(serde_json::from_slice(&entry.body).map_err(malformed)?),
                _ => {}
            }
        }
    }
}

/// What an import adds for one place.
///
/// # Errors
/// [`RecordError::Encode`].
pub(crate) fn imported(place: Foreign, message: Option<&Delegation>) -> Result<Record, RecordError> {
    Ok(match message {
        Some(message) => Record { kind: CLAIMED, body: serde_json::to_vec(message)?.into() },
        None => Record { kind: FOREIGN, body: serde_json::to_vec(&place)?.into() },
    })
}

/// The delegation in a record, if it is one that claims a place.
///
/// # Errors
/// [`RecordError::Malformed`].
pub(crate) fn claimed_in(entry: &Entry) -> Result<Option<Delegation>, RecordError> {
    let malformed = |cause: serde_json::Error| RecordError::Malformed {
        position: entry.position,
        cause: cause.to_string(),
    };
    (entry.kind == CLAIMED).then(|| serde_json::from_slice(&entry.body).map_err(malformed)).transpose()
}

/// Keeps a signature. Blocks.
///
/// # Errors
/// The journal's refusal.
pub fn keep_signed(log: &dyn Log, signed: &SignedDelegation) -> Result<(), RecordError> {
    log.append_next(Batch::record(SIGNED, serde_json::to_vec(signed)?))?;
    Ok(())
}

/// Keeps a relay's receipt. Blocks.
///
/// # Errors
/// The journal's refusal.
pub fn keep_receipt(log: &dyn Log, received: &Received) -> Result<(), RecordError> {
    log.append_next(Batch::record(RECEIVED, serde_json::to_vec(received)?))?;
    Ok(())
}

/// Reads the whole record into a plan. `relays` are the Earnest relays by key. Blocks.
///
/// # Errors
/// [`RecordError`] if the journal cannot be read or holds what this version does not know: the sidecar must not sign then.
pub fn restore(log: &dyn Log, relays: &[(SourceIndex, BlsPublicKey)]) -> Result<DelegationPlan, RecordError> {
    let mut plan = DelegationPlan::new(relays.iter().map(|(index, _)| *index).collect());
    let mut next = 0;
    loop {
        let entries = log.read(next, READ_RECORDS, READ_BYTES)?;
        let Some(last) = entries.last() else {
            plan.set_floors(protection::floors(log)?);
            return Ok(plan);
        };
        next = last.position.saturating_add(1);
        for entry in &entries {
            apply(&mut plan, entry, relays)?;
        }
    }
}

fn apply(
    plan: &mut DelegationPlan,
    entry: &Entry,
    relays: &[(SourceIndex, BlsPublicKey)],
) -> Result<(), RecordError> {
    let position = entry.position;
    let malformed = |cause: serde_json::Error| RecordError::Malformed { position, cause: cause.to_string() };
    match entry.kind {
        KIND_CLAIMS | BID | ACKNOWLEDGED | RESULT => {}
        CLAIMED => plan.claimed(serde_json::from_slice(&entry.body).map_err(malformed)?)?,
        SIGNED => plan.signed(serde_json::from_slice(&entry.body).map_err(malformed)?)?,
        RECEIVED => {
            let received: Received = serde_json::from_slice(&entry.body).map_err(malformed)?;
            let place = (received.receipt.message.slot, received.proposer);
            match relays.iter().find(|(_, key)| *key == received.relay) {
                Some((index, _)) => plan.delivered(place, *index),
                None => plan.delivered_elsewhere(place),
            }
        }
        FOREIGN => {
            let foreign: Foreign = serde_json::from_slice(&entry.body).map_err(malformed)?;
            plan.foreign((foreign.slot, foreign.pubkey));
        }
        kind => return Err(RecordError::UnknownKind { position, kind }),
    }
    Ok(())
}

/// A digest of the record for the log: two hosts that print the same share it.
#[must_use]
pub fn digest(plan: &DelegationPlan) -> B256 {
    let mut bytes = Vec::new();
    for ((slot, key), hash) in plan.record() {
        bytes.extend_from_slice(&slot.0.to_be_bytes());
        bytes.extend_from_slice(key.as_slice());
        bytes.extend_from_slice(hash.unwrap_or_default().as_slice());
    }
    keccak256(bytes)
}

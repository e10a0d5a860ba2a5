//! What the relay's journal holds. Views are folds over these (design §10).

use alloy_primitives::B256;
use bytes::Bytes;
use earnest_builder_types::{
    BidTrace, BlsPublicKey, CodecError, ForkName, SignedValidatorRegistration, registrations_from_ssz,
    registrations_to_ssz,
};
use earnest_journal::Record;
use earnest_protocol::{
    Slot,
    auction::{Exclusion, Operator},
    objects::{
        AuctionResult, RollupRegistration, SignedBid, SignedConstraints, SignedDelegation, SlotAllocation,
    },
    window::Window,
};
use serde::{Deserialize, Serialize};

const REGISTRATIONS: u16 = 1;
const DELEGATION: u16 = 2;
const CONSTRAINTS: u16 = 3;
const UNBLINDED: u16 = 4;
const PUBLISHED: u16 = 5;
const JUDGED: u16 = 6;
const DEMOTED: u16 = 7;
const BID: u16 = 8;
const AUCTION_CLOSED: u16 = 9;
const AUCTION_DECIDED: u16 = 10;
const UNDONE: u16 = 11;

/// One event of a relay's life.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// Validators registered.
    Registrations(Vec<SignedValidatorRegistration>),
    /// A delegation was taken; its receipt may be signed.
    Delegation(DelegationTaken),
    /// Constraints are held; their receipt may be signed.
    Constraints(ConstraintsTaken),
    /// The slot's one block is fixed; its payload may be given out.
    Unblinded(Unblinded),
    /// At least one beacon node spread the block.
    Published(Published),
    /// Constraints were judged on a parent: what can be in no block upon it binds none.
    Judged(Judged),
    /// A builder's block failed.
    Demoted(Demoted),
    /// A bid or a match was taken; its acknowledgement may be signed.
    Bid(BidTaken),
    /// An auction closed; its bids may be shown.
    AuctionClosed(AuctionClosed),
    /// First refusal is over; the slot's one result may be signed.
    AuctionDecided(AuctionDecided),
    /// A block had other transactions in the place of constraints, of the same senders and nonces.
    Undone(Undone),
}

/// A bid, and when it came; a match, if it names a winner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BidTaken {
    /// Unix milliseconds, as the acknowledgement says.
    pub(crate) received_at_ms: u64,
    /// The bid's hash.
    pub(crate) hash: B256,
    /// The bid.
    pub(crate) bid: SignedBid,
}

/// What an auction was decided by, and how, before first refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuctionClosed {
    /// The sequencing slot.
    pub(crate) slot: Slot,
    /// Its times.
    pub(crate) window: Window,
    /// The sequencing slot before it.
    pub(crate) previous: Option<Slot>,
    /// Its proposer.
    pub(crate) proposer: BlsPublicKey,
    /// The rollups that name this relay.
    pub(crate) rollups: Vec<RollupRegistration>,
    /// The operators of the bids.
    pub(crate) operators: Vec<Operator>,
    /// The proposer's operator.
    pub(crate) proposer_operator: Option<Operator>,
    /// Bids that did not count, and why.
    pub(crate) excluded: Vec<(B256, Exclusion)>,
    /// Root over all bids taken.
    pub(crate) auction_root: B256,
    /// The winners, ascending.
    pub(crate) winners: Vec<B256>,
}

/// The end of an auction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuctionDecided {
    /// What the relay signs.
    pub(crate) result: AuctionResult,
    /// What it is of.
    pub(crate) allocation: SlotAllocation,
}

/// A delegation, and when it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DelegationTaken {
    /// Unix milliseconds, as the receipt says.
    pub(crate) received_at_ms: u64,
    /// The delegation.
    pub(crate) delegation: SignedDelegation,
}

/// Constraints, and when they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConstraintsTaken {
    /// Unix milliseconds, as the receipt says.
    pub(crate) received_at_ms: u64,
    /// The constraints.
    pub(crate) constraints: SignedConstraints,
}

/// The block that a proposer signed over our payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unblinded {
    /// The builder's bid.
    pub(crate) trace: BidTrace,
    /// Root of the blinded block, which is the full block's.
    pub(crate) block_root: B256,
    /// Number of the execution block.
    pub(crate) block_number: u64,
    /// Transactions in it.
    pub(crate) transactions: u64,
    /// What the proposer signed, to publish it after a crash. Older records are without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) block: Option<BlindedSsz>,
}

/// A signed blinded block as bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlindedSsz {
    /// Its fork.
    pub(crate) fork: ForkName,
    /// Its SSZ; hex in JSON.
    pub(crate) ssz: alloy_primitives::Bytes,
}

/// A block that a beacon node took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Published {
    /// The slot.
    pub(crate) slot: u64,
    /// Root of the block.
    pub(crate) block_root: B256,
    /// Whether a node imported it, too; else it was only spread.
    pub(crate) imported: bool,
}

/// What of a slot's constraints can be in no block upon one parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judged {
    /// The slot.
    pub(crate) slot: u64,
    /// The parent, an execution block.
    pub(crate) parent_hash: B256,
    /// Hash of each message that is dropped there, and what keeps it out.
    pub(crate) dropped: Vec<(B256, String)>,
}

/// Constraints whose own senders kept them out of the slot's block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Undone {
    /// The slot.
    pub(crate) slot: u64,
    /// The execution block.
    pub(crate) block_hash: B256,
    /// Hash of each message.
    pub(crate) messages: Vec<B256>,
}

/// A builder whose block failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Demoted {
    /// The builder.
    pub(crate) builder: BlsPublicKey,
    /// Slot of its block.
    pub(crate) slot: u64,
    /// The execution block.
    pub(crate) block_hash: B256,
    /// What was wrong with it.
    pub(crate) reason: String,
}

/// A record that is not the event its kind says.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Not its JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Not its SSZ.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Event {
    /// The event as the journal takes it.
    pub(crate) fn record(&self) -> Result<Record, EventError> {
        let (kind, body) = match self {
            Self::Registrations(registrations) => (REGISTRATIONS, registrations_to_ssz(registrations)),
            Self::Delegation(taken) => (DELEGATION, serde_json::to_vec(taken)?),
            Self::Constraints(taken) => (CONSTRAINTS, serde_json::to_vec(taken)?),
            Self::Unblinded(unblinded) => (UNBLINDED, serde_json::to_vec(unblinded)?),
            Self::Published(published) => (PUBLISHED, serde_json::to_vec(published)?),
            Self::Judged(judged) => (JUDGED, serde_json::to_vec(judged)?),
            Self::Demoted(demoted) => (DEMOTED, serde_json::to_vec(demoted)?),
            Self::Bid(taken) => (BID, serde_json::to_vec(taken)?),
            Self::AuctionClosed(closed) => (AUCTION_CLOSED, serde_json::to_vec(closed)?),
            Self::AuctionDecided(decided) => (AUCTION_DECIDED, serde_json::to_vec(decided)?),
            Self::Undone(undone) => (UNDONE, serde_json::to_vec(undone)?),
        };
        Ok(Record { kind, body: Bytes::from(body) })
    }

    /// Reads a record back; none if its kind is unknown.
    pub(crate) fn read(kind: u16, body: &[u8]) -> Result<Option<Self>, EventError> {
        Ok(Some(match kind {
            REGISTRATIONS => Self::Registrations(registrations_from_ssz(body)?),
            DELEGATION => Self::Delegation(serde_json::from_slice(body)?),
            CONSTRAINTS => Self::Constraints(serde_json::from_slice(body)?),
            UNBLINDED => Self::Unblinded(serde_json::from_slice(body)?),
            PUBLISHED => Self::Published(serde_json::from_slice(body)?),
            JUDGED => Self::Judged(serde_json::from_slice(body)?),
            DEMOTED => Self::Demoted(serde_json::from_slice(body)?),
            BID => Self::Bid(serde_json::from_slice(body)?),
            AUCTION_CLOSED => Self::AuctionClosed(serde_json::from_slice(body)?),
            AUCTION_DECIDED => Self::AuctionDecided(serde_json::from_slice(body)?),
            UNDONE => Self::Undone(serde_json::from_slice(body)?),
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_back() {
        let events = [
            Event::Registrations(vec![]),
            Event::Unblinded(Unblinded {
                trace: BidTrace { slot: 7, value: "1".parse().unwrap(), ..BidTrace::default() },
                block_root: B256::repeat_byte(1),
                block_number: 9,
                transactions: 3,
                block: Some(BlindedSsz { fork: ForkName::Fulu, ssz: vec![1, 2, 255].into() }),
            }),
            Event::Published(Published { slot: 7, block_root: B256::repeat_byte(1), imported: true }),
            Event::Judged(Judged {
                slot: 7,
                parent_hash: B256::repeat_byte(2),
                dropped: vec![(B256::repeat_byte(3), "its nonce is used".to_owned())],
            }),
            Event::Undone(Undone {
                slot: 7,
                block_hash: B256::repeat_byte(5),
                messages: vec![B256::repeat_byte(3)],
            }),
            Event::Demoted(Demoted {
                builder: BlsPublicKey::repeat_byte(4),
                slot: 7,
                block_hash: B256::repeat_byte(5),
                reason: "no".to_owned(),
            }),
        ];
        for event in events {
            let record = event.record().unwrap();
            assert_eq!(Event::read(record.kind, &record.body).unwrap(), Some(event));
        }
        assert_eq!(Event::read(999, b"later").unwrap(), None);
    }

    #[test]
    fn an_unblinded_block_of_an_older_journal_is_read() {
        let unblinded = Unblinded {
            trace: BidTrace { slot: 7, ..BidTrace::default() },
            block_root: B256::repeat_byte(1),
            block_number: 9,
            transactions: 3,
            block: None,
        };
        let record = Event::Unblinded(unblinded.clone()).record().unwrap();
        assert!(!record.body.windows(8).any(|bytes| bytes == b"\"block\":"), "as it was written then");
        assert_eq!(Event::read(record.kind, &record.body).unwrap(), Some(Event::Unblinded(unblinded)));
    }

    #[test]
    fn any_bytes_are_an_event_or_an_error() {
        bolero::check!().with_iterations(1000).with_type::<(u8, Vec<u8>)>().for_each(|(kind, body)| {
            let _ = Event::read(u16::from(*kind % 12), body);
        });
    }
}

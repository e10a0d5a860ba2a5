//! What the gateway's journal holds. Everything the gateway knows after a restart is a fold over these.

use alloy_primitives::Address;
use alloy_sol_types::{SolValue, sol};
use earnest_journal::{Claim, Entry, Record};
use earnest_protocol::{
    objects::{
        Authority, Commitment, Object, ObjectError, OrderingCommitment, SignedConstraintReceipt,
        SignedConstraints,
    },
    ordering::Draft,
    signing::Network,
};

sol! {
    /// One ordering commitment as it was made durable, with the transactions it places.
    #[derive(Debug, PartialEq, Eq)]
    struct OrderedBody { bytes commitment; bytes[] transactions; }

    /// A signed L1 transaction that carries one segment to the Inbox.
    #[derive(Debug, PartialEq, Eq)]
    struct BatchBody { uint64 rollupId; uint64 slot; uint16 segment; uint64 nonce; bytes transaction; }
}

/// One event of the gateway's journal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The right to order a rollup's window was taken up.
    WindowOpened(Box<WindowOpened>),
    /// A microblock or a seal: the exact encoded commitment, and its transactions in order.
    Ordered(OrderedBody),
    /// A batch was signed; from here on it must reach L1.
    BatchSigned(BatchBody),
    /// The relay's receipt for the constraints of a window: the defence against an accusation of having missed it.
    ConstraintsHeld(Box<HeldBody>),
    /// Windows that began before this instant (Unix milliseconds) are never ordered: the journal may not know all
    /// that was promised in them.
    SitOut(u64),
}

/// Constraints as sent, and the relay's receipt for them.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct HeldBody {
    /// The rollup whose batches they are.
    pub(crate) rollup_id: u64,
    /// What was sent.
    pub(crate) constraints: SignedConstraints,
    /// What the relay answered.
    pub(crate) receipt: SignedConstraintReceipt,
}

/// The authority for one window.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct WindowOpened {
    /// Chain id of the rollup.
    pub(crate) rollup_id: u64,
    /// L1 slot whose proposer delegated.
    pub(crate) slot: u64,
    /// Start of the window, milliseconds since the Unix epoch.
    pub(crate) start_ms: u64,
    /// End of the window, milliseconds since the Unix epoch.
    pub(crate) seal_ms: u64,
    /// What its signatures are for.
    pub(crate) network: Network,
    /// Head of the rollup's forced-inclusion queue, fixed for the window.
    pub(crate) forced_inclusion_head: u64,
    /// The delegation and the relay's receipt for it.
    pub(crate) authority: Authority,
}

const WINDOW_OPENED: u16 = 1;
const ORDERED: u16 = 2;
const BATCH_SIGNED: u16 = 3;
const CONSTRAINTS_HELD: u16 = 4;
const SIT_OUT: u16 = 5;

/// A journal entry this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A kind of record that this version does not know: the journal was written by a later one.
    #[error(
        "entry {position} has kind {kind}, which this version does not know: run the version that wrote it"
    )]
    UnknownKind {
        /// Position in the journal.
        position: u64,
        /// Kind found there.
        kind: u16,
    },
    /// A body that does not decode.
    #[error("entry {position} does not decode: {reason}")]
    Malformed {
        /// Position in the journal.
        position: u64,
        /// What the decoder said.
        reason: String,
    },
}

impl Event {
    /// The record to append.
    ///
    /// # Errors
    /// When a delegation cannot be written as JSON.
    pub(crate) fn to_record(&self) -> Result<Record, serde_json::Error> {
        let (kind, body) = match self {
            Self::WindowOpened(opened) => (WINDOW_OPENED, serde_json::to_vec(opened)?),
            Self::Ordered(body) => return Ok(body.to_record()),
            Self::BatchSigned(body) => (BATCH_SIGNED, body.abi_encode()),
            Self::ConstraintsHeld(body) => (CONSTRAINTS_HELD, serde_json::to_vec(body)?),
            Self::SitOut(before_ms) => (SIT_OUT, before_ms.to_be_bytes().to_vec()),
        };
        Ok(Record { kind, body: body.into() })
    }

    /// The event of a journal entry.
    ///
    /// # Errors
    /// When the kind is unknown or the body does not decode.
    pub(crate) fn from_entry(entry: &Entry) -> Result<Self, RecordError> {
        let position = entry.position;
        let abi = |e: alloy_sol_types::Error| RecordError::Malformed { position, reason: e.to_string() };
        let json = |e: serde_json::Error| RecordError::Malformed { position, reason: e.to_string() };
        match entry.kind {
            WINDOW_OPENED => serde_json::from_slice(&entry.body).map(Self::WindowOpened).map_err(json),
            ORDERED => OrderedBody::abi_decode(&entry.body).map(Self::Ordered).map_err(abi),
            BATCH_SIGNED => BatchBody::abi_decode(&entry.body).map(Self::BatchSigned).map_err(abi),
            CONSTRAINTS_HELD => serde_json::from_slice(&entry.body).map(Self::ConstraintsHeld).map_err(json),
            SIT_OUT => entry
                .body
                .as_ref()
                .try_into()
                .map(u64::from_be_bytes)
                .map(Self::SitOut)
                .map_err(|_| RecordError::Malformed { position, reason: "not eight bytes".to_owned() }),
            kind => Err(RecordError::UnknownKind { position, kind }),
        }
    }
}

impl OrderedBody {
    /// The body of a draft.
    #[must_use]
    pub(crate) fn of(draft: &Draft, slasher: Address) -> Self {
        let commitment = Commitment::of_encoded_ordering(draft.payload.clone(), slasher).abi_encode().into();
        let transactions = draft.txs.iter().map(|tx| tx.raw.clone()).collect();
        Self { commitment, transactions }
    }

    /// The exact commitment to sign.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub(crate) fn commitment(&self) -> Result<Commitment, ObjectError> {
        Commitment::abi_decode(&self.commitment)
    }

    /// The record to append.
    #[must_use]
    pub(crate) fn to_record(&self) -> Record {
        Record { kind: ORDERED, body: self.abi_encode().into() }
    }

    /// The commitment.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub(crate) fn ordering(&self) -> Result<OrderingCommitment, ObjectError> {
        self.commitment()?.ordering()
    }
}

/// The sign-once claim of a commitment's position: a second, different commitment there is refused by the journal.
#[must_use]
pub(crate) fn position_claim(draft: &Draft) -> Claim {
    let link = &draft.commitment;
    let place = (link.rollup_id.0, link.slot.0, link.segment, link.number);
    Claim { key: place.abi_encode(), value: draft.hash }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;
    use bytes::Bytes;

    fn entry(kind: u16, body: &[u8]) -> Entry {
        Entry { position: 7, kind, at_ms: 0, body: Bytes::copy_from_slice(body), hash: B256::ZERO }
    }

    #[test]
    fn no_bytes_break_the_reader() {
        bolero::check!().with_type::<(u8, Vec<u8>)>().with_iterations(4_000).for_each(|(kind, body)| {
            let read = Event::from_entry(&entry(u16::from(*kind % 8), body));
            // What is read is written back as it was.
            if let Ok(event @ (Event::Ordered(_) | Event::BatchSigned(_) | Event::SitOut(_))) = read {
                let again = Event::from_entry(&entry(u16::from(*kind % 8), &event.to_record().unwrap().body));
                assert_eq!(again.unwrap(), event);
            }
        });
    }

    #[test]
    fn events_survive_the_journal() {
        let batch = BatchBody { rollupId: 1, slot: 2, segment: 3, nonce: 4, transaction: vec![5; 40].into() };
        for event in [Event::BatchSigned(batch), Event::SitOut(9)] {
            let record = event.to_record().unwrap();
            assert_eq!(Event::from_entry(&entry(record.kind, &record.body)).unwrap(), event);
        }
        let unknown = Event::from_entry(&entry(99, &[])).unwrap_err();
        assert!(matches!(unknown, RecordError::UnknownKind { position: 7, kind: 99 }));
    }
}

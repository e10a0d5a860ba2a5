use alloy_primitives::B256;
use bytes::{Buf, BufMut, Bytes};
use sha2::{Digest, Sha256};

/// Kind of the record that the log itself writes for a batch of claims without records. Its body is
/// empty; readers skip it as they skip every kind they do not know.
pub const KIND_CLAIMS: u16 = u16::MAX;
/// Largest body of a record, in bytes.
pub const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Longest key of a claim, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Most claims in one batch.
pub const MAX_CLAIMS: usize = 4096;

const ROW_FORMAT: u8 = 1;
const HASH_BYTES: usize = 32;
/// Format, kind, time, hash, number of claims.
const ROW_HEADER_BYTES: usize = 1 + 2 + 8 + HASH_BYTES + 2;

/// What is appended: a kind its writer chooses, and bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Says how to read the body. [`KIND_CLAIMS`] is the log's own.
    pub kind: u16,
    /// The event, as its writer encoded it.
    pub body: Bytes,
}

/// A key bound to one value for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who signs, and for which place.
    pub key: Vec<u8>,
    /// What is signed there.
    pub value: B256,
}

/// Records and claims that become durable together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Appended in this order.
    pub records: Vec<Record>,
    /// Made with the records, or refused with them.
    pub claims: Vec<Claim>,
}

impl Batch {
    /// A batch of one record.
    #[must_use]
    pub fn record(kind: u16, body: impl Into<Bytes>) -> Self {
        Self { records: vec![Record { kind, body: body.into() }], claims: Vec::new() }
    }

    /// A batch of one claim.
    #[must_use]
    pub fn claim(key: impl Into<Vec<u8>>, value: B256) -> Self {
        Self { records: Vec::new(), claims: vec![Claim { key: key.into(), value }] }
    }
}

/// A record as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 0, without gaps.
    pub position: u64,
    /// The record's kind.
    pub kind: u16,
    /// When it was appended, in milliseconds since the Unix epoch; never less than the one before.
    pub at_ms: u64,
    /// The record's body.
    pub body: Bytes,
    /// Chained hash: it stands for this entry and all before it.
    pub hash: B256,
}

/// An entry with the claims that were made with it, as it lies in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) entry: Entry,
    pub(crate) claims: Vec<Claim>,
}

/// The value that position 0 of a log is chained to.
pub(crate) fn genesis_hash(log_id: &[u8; 16]) -> B256 {
    let mut hasher = Sha256::new();
    hasher.update(b"earnest.journal.v1");
    hasher.update(log_id);
    B256::new(hasher.finalize().into())
}

impl Row {
    /// Chains a record with its claims to the hash before it.
    pub(crate) fn chain(parent: B256, position: u64, at_ms: u64, record: Record, claims: Vec<Claim>) -> Self {
        let Record { kind, body } = record;
        let hash = chained_hash(parent, position, kind, at_ms, &claims, &body);
        Self { entry: Entry { position, kind, at_ms, body, hash }, claims }
    }

    /// Whether the row is chained to `parent`.
    pub(crate) fn follows(&self, parent: B256) -> bool {
        let Entry { position, kind, at_ms, body, hash } = &self.entry;
        chained_hash(parent, *position, *kind, *at_ms, &self.claims, body) == *hash
    }

    /// Bytes of the row in the database.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let claims: usize =
            self.claims.iter().map(|claim| claim.key.len().saturating_add(2 + HASH_BYTES)).sum();
        let mut row =
            Vec::with_capacity(ROW_HEADER_BYTES.saturating_add(claims).saturating_add(self.entry.body.len()));
        row.put_u8(ROW_FORMAT);
        row.put_u16(self.entry.kind);
        row.put_u64(self.entry.at_ms);
        row.put_slice(self.entry.hash.as_slice());
        put_claims(&mut row, &self.claims);
        row.put_slice(&self.entry.body);
        row
    }

    /// Reads a row back. `None` if the bytes are not one.
    pub(crate) fn decode(position: u64, mut row: &[u8]) -> Option<Self> {
        if row.try_get_u8().ok()? != ROW_FORMAT {
            return None;
        }
        let kind = row.try_get_u16().ok()?;
        let at_ms = row.try_get_u64().ok()?;
        let hash = take_hash(&mut row)?;
        let count = usize::from(row.try_get_u16().ok()?);
        if count > MAX_CLAIMS {
            return None;
        }
        let mut claims = Vec::new();
        for _ in 0..count {
            let length = usize::from(row.try_get_u16().ok()?);
            if length > MAX_KEY_BYTES {
                return None;
            }
            let (key, rest) = row.split_at_checked(length)?;
            row = rest;
            claims.push(Claim { key: key.to_vec(), value: take_hash(&mut row)? });
        }
        Some(Self { entry: Entry { position, kind, at_ms, body: Bytes::copy_from_slice(row), hash }, claims })
    }
}

fn take_hash(row: &mut &[u8]) -> Option<B256> {
    let (hash, rest) = row.split_first_chunk::<HASH_BYTES>()?;
    *row = rest;
    Some(B256::new(*hash))
}

/// The lengths fit because [`crate::store`] takes no larger batch.
fn put_claims(out: &mut impl BufMut, claims: &[Claim]) {
    out.put_u16(u16::try_from(claims.len()).unwrap_or(u16::MAX));
    for claim in claims {
        out.put_u16(u16::try_from(claim.key.len()).unwrap_or(u16::MAX));
        out.put_slice(&claim.key);
        out.put_slice(claim.value.as_slice());
    }
}

/// Claims and body enter by their digests, so that a retention rule may one day drop a body and
/// leave a chain that can still be checked.
fn chained_hash(parent: B256, position: u64, kind: u16, at_ms: u64, claims: &[Claim], body: &[u8]) -> B256 {
    let mut encoded = Vec::new();
    put_claims(&mut encoded, claims);
    let mut hasher = Sha256::new();
    hasher.update(parent);
    hasher.update(position.to_be_bytes());
    hasher.update(kind.to_be_bytes());
    hasher.update(at_ms.to_be_bytes());
    hasher.update(Sha256::digest(&encoded));
    hasher.update(Sha256::digest(body));
    B256::new(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(body: &'static [u8], claims: Vec<Claim>) -> Row {
        Row::chain(B256::ZERO, 7, 99, Record { kind: 3, body: Bytes::from_static(body) }, claims)
    }

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        let claims = vec![
            Claim { key: b"a".to_vec(), value: B256::repeat_byte(1) },
            Claim { key: Vec::new(), value: B256::repeat_byte(2) },
        ];
        for claims in [Vec::new(), claims] {
            for body in [b"".as_slice(), b"event"] {
                let row = row(body, claims.clone());
                assert_eq!(Row::decode(7, &row.encode()), Some(row));
            }
        }
    }

    #[test]
    fn every_field_enters_the_hash() {
        let whole = row(b"event", vec![Claim { key: b"k".to_vec(), value: B256::ZERO }]);
        assert!(whole.follows(B256::ZERO));
        assert!(!whole.follows(B256::repeat_byte(1)));
        let mut changed = vec![whole; 6];
        changed[0].entry.position = 8;
        changed[1].entry.kind = 4;
        changed[2].entry.at_ms = 98;
        changed[3].entry.body = Bytes::from_static(b"evenT");
        changed[4].claims[0].key = b"K".to_vec();
        changed[5].claims[0].value = B256::repeat_byte(9);
        for row in changed {
            assert!(!row.follows(B256::ZERO), "{row:?}");
        }
    }

    #[test]
    fn arbitrary_bytes_decode_to_nothing_or_to_themselves() {
        bolero::check!().with_iterations(5_000).for_each(|bytes: &[u8]| {
            if let Some(row) = Row::decode(0, bytes) {
                assert_eq!(row.encode(), bytes);
            }
        });
    }
}

//! The L1 batch: calldata of `Inbox.submit`, its size, and what is derived from it (design §4).

use crate::{
    merkle,
    objects::{Authority, ObjectError, OrderingCommitment, SignedCommitment},
    signing::{Network, SigningError},
    sol,
};
use alloy_primitives::{Address, B256, Bytes, keccak256};
use alloy_sol_types::SolCall;

/// Bytes kept free in a batch for all that is not transactions; a transaction larger than the batch limit
/// less this is refused (design §4).
pub const RESERVED_BYTES: u64 = 16 * 1024;

/// More than an EIP-1559 transaction adds to its calldata: type, list and string headers, chain id, nonce, two
/// fees, gas, address, value, empty access list, signature.
const ENVELOPE_BYTES: u64 = 256;
/// Most that the authority takes: a delegation with entries for 16 rollups, and its receipt.
const AUTHORITY_BYTES: u64 = 12 * 1024;
const WORD: u64 = 32;
/// Selector; offsets of the three arguments; length of `txs`; the signed seal (4 words of head, 4 of the
/// commitment's head, payload of 1 + 11 words, signature of 1 + 3 words); length of `authority`.
const FIXED_BYTES: u64 = 4 + WORD * (3 + 1 + 4 + 4 + 12 + 4 + 1);

/// Bytes of L1 transaction that one rollup transaction of `len` bytes takes: offset, length, padded data.
#[must_use]
pub fn tx_bytes(len: usize) -> u64 {
    padded(len).saturating_add(2 * WORD)
}

/// Bytes of L1 transaction that a batch takes beside its transactions. The window's first carries the authority.
#[must_use]
pub const fn overhead_bytes(segment: u16) -> u64 {
    if segment == 0 { ENVELOPE_BYTES + FIXED_BYTES + AUTHORITY_BYTES } else { ENVELOPE_BYTES + FIXED_BYTES }
}

/// Exact size of the calldata of a batch.
#[must_use]
pub fn calldata_bytes(tx_lens: impl IntoIterator<Item = usize>, authority_len: usize) -> u64 {
    let txs = tx_lens.into_iter().map(tx_bytes).fold(0, u64::saturating_add);
    FIXED_BYTES.saturating_add(txs).saturating_add(padded(authority_len))
}

/// Largest transaction that a rollup takes whose batches have at most `max_batch_bytes`.
#[must_use]
pub fn max_tx_bytes(max_batch_bytes: u32) -> usize {
    usize::try_from(u64::from(max_batch_bytes).saturating_sub(RESERVED_BYTES)).unwrap_or(usize::MAX)
}

/// Least gas limit of an L1 transaction whose input is a batch of `len` bytes. With less it may be included and run out of
/// gas, so that the batch is on L1 and yet not recorded; such a transaction clears nobody of a missed window
/// (`contracts/src/judge`). EIP-7623 asks 40 gas a byte where the work itself takes less.
#[must_use]
pub fn least_gas(len: usize) -> u64 {
    const BATCH_GAS: u64 = 150_000;
    const BATCH_GAS_PER_BYTE: u64 = 40;
    let bytes = u64::try_from(len).unwrap_or(u64::MAX);
    bytes.saturating_mul(BATCH_GAS_PER_BYTE).saturating_add(BATCH_GAS)
}

fn padded(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX).checked_next_multiple_of(WORD).unwrap_or(u64::MAX)
}

/// Calldata of `Inbox.submit` for one segment.
///
/// # Errors
/// [`ObjectError::Point`] if the authority holds a key or signature that is not a valid point.
pub fn encode_submit(
    txs: &[Bytes],
    seal: &SignedCommitment,
    authority: Option<&Authority>,
) -> Result<Bytes, ObjectError> {
    let authority = authority.map(Authority::abi_encode).transpose()?.unwrap_or_default().into();
    Ok(sol::submitCall { txs: txs.to_vec(), seal: seal.into(), authority }.abi_encode().into())
}

/// Why calldata is no batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not the encoding of a call of `submit`.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The commitment is not a seal.
    #[error("the commitment is not a seal")]
    NotASeal,
    /// The seal's count is not the number of transactions.
    #[error("{found} transactions under a seal of {sealed}")]
    Count {
        /// What the seal says.
        sealed: u32,
        /// What is there.
        found: usize,
    },
    /// The seal's root is not that of the transactions.
    #[error("root of the transactions is not the seal's")]
    Root,
    /// The seal's signature does not hold.
    #[error(transparent)]
    Signature(#[from] SigningError),
}

/// One segment as L1 has it, checked against its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The segment's transactions, in order.
    pub txs: Vec<Bytes>,
    /// Who signed the seal. Whether it had the right is for the window's authority to say.
    pub committer: Address,
    /// What was sealed.
    pub seal: OrderingCommitment,
    /// The seal as signed.
    pub signed: SignedCommitment,
    /// The authority, if it is carried. Its signatures are judged by [`crate::delegation::valid_delegation`].
    pub authority: Option<Authority>,
}

/// Reads and checks a batch: canonical calldata, a seal, its count, root and signature.
///
/// # Errors
/// [`BatchError`], as the Inbox refuses it. An authority that does not decode is taken as absent, since the
/// Inbox does not judge it.
pub fn decode_submit(calldata: &[u8], network: &Network) -> Result<Batch, BatchError> {
    let call = sol::submitCall::abi_decode_validate(calldata).map_err(ObjectError::from)?;
    if call.abi_encode() != calldata {
        return Err(ObjectError::NotCanonical.into());
    }
    let signed = SignedCommitment::try_from(call.seal)?;
    let seal = signed.commitment.ordering()?;
    check_seal(&seal, &call.txs)?;
    let committer = signed.committer(network)?;
    let authority = Authority::abi_decode(&call.authority).ok();
    Ok(Batch { txs: call.txs, committer, seal, signed, authority })
}

/// Checks that `seal` is the seal of exactly `txs`.
///
/// # Errors
/// [`BatchError::NotASeal`], [`BatchError::Count`] or [`BatchError::Root`].
pub fn check_seal(seal: &OrderingCommitment, txs: &[Bytes]) -> Result<(), BatchError> {
    if !seal.kind.is_seal() || seal.tx_count != 0 {
        return Err(BatchError::NotASeal);
    }
    if u32::try_from(txs.len()) != Ok(seal.first_index) {
        return Err(BatchError::Count { sealed: seal.first_index, found: txs.len() });
    }
    let hashes: Vec<B256> = txs.iter().map(keccak256).collect();
    if merkle::root(0, &hashes) == seal.tx_root { Ok(()) } else { Err(BatchError::Root) }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::{
        RollupId,
        fixtures::{
            NETWORK, ROLLUP, SLOT, allocation, authority, authority_of, committer, delegation, entry,
        },
        objects::{Commitment, CommitmentKind},
    };
    use proptest::prelude::*;

    fn seal_of(txs: &[Bytes]) -> OrderingCommitment {
        let hashes: Vec<B256> = txs.iter().map(keccak256).collect();
        OrderingCommitment {
            rollup_id: ROLLUP,
            slot: SLOT,
            segment: 0,
            number: 4,
            parent: B256::repeat_byte(3),
            first_index: u32::try_from(txs.len()).unwrap(),
            tx_count: 0,
            tx_root: merkle::root(0, &hashes),
            timestamp_ms: 12,
            forced_inclusion_head: 0,
            kind: CommitmentKind::WindowSeal,
        }
    }

    fn sign(ordering: &OrderingCommitment) -> SignedCommitment {
        let commitment = Commitment::of_ordering(ordering, Address::repeat_byte(0x51));
        SignedCommitment::sign(commitment, &committer(), &NETWORK).unwrap()
    }

    fn txs(lens: &[usize]) -> Vec<Bytes> {
        lens.iter().enumerate().map(|(i, len)| vec![u8::try_from(i).unwrap(); *len].into()).collect()
    }

    #[test]
    fn a_batch_is_derived_as_it_was_sent() {
        let (txs, authority) = (txs(&[1, 32, 33, 500]), authority());
        let signed = sign(&seal_of(&txs));
        let calldata = encode_submit(&txs, &signed, Some(&authority)).unwrap();
        let batch = decode_submit(&calldata, &NETWORK).unwrap();
        assert_eq!(batch.committer, committer().address());
        assert_eq!((batch.txs, batch.seal), (txs.clone(), seal_of(&txs)));
        assert_eq!((batch.signed, batch.authority), (signed.clone(), Some(authority)));
        let bare = decode_submit(&encode_submit(&txs, &signed, None).unwrap(), &NETWORK).unwrap();
        assert_eq!(bare.authority, None);
    }

    #[test]
    fn an_empty_window_has_a_batch_too() {
        let calldata = encode_submit(&[], &sign(&seal_of(&[])), None).unwrap();
        assert_eq!(decode_submit(&calldata, &NETWORK).unwrap().txs, Vec::<Bytes>::new());
        assert_eq!(u64::try_from(calldata.len()).unwrap(), FIXED_BYTES);
    }

    #[test]
    fn what_the_seal_does_not_say_is_refused() {
        let txs = txs(&[5, 6]);
        let refused = |ordering: OrderingCommitment, txs: &[Bytes]| {
            let calldata = encode_submit(txs, &sign(&ordering), None).unwrap();
            decode_submit(&calldata, &NETWORK).unwrap_err()
        };
        let seal = seal_of(&txs);
        let microblock = OrderingCommitment { kind: CommitmentKind::Microblock, ..seal_of(&txs) };
        assert_eq!(refused(microblock, &txs), BatchError::NotASeal);
        assert_eq!(refused(OrderingCommitment { tx_count: 2, ..seal_of(&txs) }, &txs), BatchError::NotASeal);
        assert_eq!(refused(seal.clone(), &txs[..1]), BatchError::Count { sealed: 2, found: 1 });
        assert_eq!(refused(seal.clone(), &[txs[1].clone(), txs[0].clone()]), BatchError::Root);

        let mut signed = sign(&seal);
        signed.signature[64] = 0;
        let calldata = encode_submit(&txs, &signed, None).unwrap();
        assert_eq!(decode_submit(&calldata, &NETWORK), Err(SigningError::BadV(0).into()));
        signed.commitment.commitment_type = 1;
        let calldata = encode_submit(&txs, &signed, None).unwrap();
        assert_eq!(decode_submit(&calldata, &NETWORK), Err(ObjectError::Field("commitmentType").into()));
    }

    #[test]
    fn only_the_canonical_encoding_is_a_batch() {
        let txs = txs(&[5, 6]);
        let calldata = encode_submit(&txs, &sign(&seal_of(&txs)), None).unwrap();
        let mut trailing = calldata.to_vec();
        trailing.extend_from_slice(&[0; 32]);
        assert!(decode_submit(&trailing, &NETWORK).is_err());
        let mut dirty = calldata.to_vec();
        // The last byte of the last transaction's padding.
        let end = dirty.len() - usize::try_from(FIXED_BYTES).unwrap() + 4 + 32 * 4 - 1;
        assert_eq!(dirty[end], 0);
        dirty[end] = 1;
        assert!(decode_submit(&dirty, &NETWORK).is_err());
        assert!(decode_submit(&calldata[..calldata.len() - 1], &NETWORK).is_err());
        assert!(decode_submit(&[], &NETWORK).is_err());
    }

    #[test]
    fn the_largest_authority_fits_its_allowance() {
        let mut full = allocation();
        full.entries = (0..16).map(|id| entry(RollupId(id))).collect();
        for entry in &mut full.entries {
            entry.url = "u".repeat(256);
        }
        let authority = authority_of(delegation(&full), 1);
        let encoded = authority.abi_encode().unwrap();
        assert!(u64::try_from(encoded.len()).unwrap() <= AUTHORITY_BYTES, "{}", encoded.len());
        assert_eq!(Authority::abi_decode(&encoded), Ok(authority));
    }

    #[test]
    fn the_largest_transaction_fits_any_segment() {
        let max = max_tx_bytes(122_880);
        assert_eq!(max, 104 * 1024);
        assert!(overhead_bytes(0) + tx_bytes(max) <= 122_880);
        assert_eq!(max_tx_bytes(0), 0);
    }

    proptest! {
        #[test]
        fn sizes_are_exact(lens in proptest::collection::vec(0usize..200, 0..20), carries: bool) {
            let (txs, authority) = (txs(&lens), carries.then(authority));
            let calldata = encode_submit(&txs, &sign(&seal_of(&txs)), authority.as_ref()).unwrap();
            let authority_len = authority.map_or(0, |authority| authority.abi_encode().unwrap().len());
            prop_assert_eq!(calldata_bytes(lens, authority_len), u64::try_from(calldata.len()).unwrap());
        }
    }
}

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

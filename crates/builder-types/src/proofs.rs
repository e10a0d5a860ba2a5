//! SSZ proofs of transactions against a header's `transactions_root`.
//!
//! A transaction's leaf is the tree hash root of its bytes as `ByteList[2³⁰]`; a blob
//! transaction counts without its sidecar. Its generalized index in the list's tree is
//! 2²¹ + position: twenty levels of transactions, and one that mixes in their number.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use alloy_primitives::{B256, Bytes};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_with::As;
use sha2::compress256;
use thiserror::Error;

use crate::{MAX_TRANSACTION_BYTES, MAX_TRANSACTIONS, decimal::Decimal};

/// Levels of the tree of transactions.
const LIST_DEPTH: usize = 20;
/// Levels of the tree of one transaction's 32-byte chunks.
const BYTES_DEPTH: usize = 25;
/// Leaves that one thread hashes in one go: some hundred microseconds.
const LEAVES_AT_ONCE: usize = 64;
/// State that SHA-256 starts with (FIPS 180-4 §5.3.3).
const SHA256_START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
/// The block that ends a message of 64 bytes: a one bit, zeros, and the length of 512 bits (FIPS 180-4 §5.1.1).
const PADDING_OF_64_BYTES: [u8; 64] = {
    let mut block = [0; 64];
    block[0] = 0x80;
    block[62] = 2;
    block
};
/// Hashes in a proof of one transaction: the siblings, then the number of transactions.
pub const PROOF_LENGTH: usize = LIST_DEPTH + 1;
/// Generalized index of the first transaction.
pub const FIRST_GENERALIZED_INDEX: u64 = 1 << PROOF_LENGTH;

/// Why no proof can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProofError {
    /// There is no transaction at this position.
    #[error("no transaction at position {0}")]
    Position(usize),
    /// There are more transactions than a payload can hold.
    #[error("more transactions than a payload can hold")]
    TooMany,
    /// A multiproof of nothing.
    #[error("no positions to prove")]
    Empty,
}

/// The branch that leads from one transaction to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionProof {
    /// Position of the transaction in the payload.
    #[serde(with = "As::<Decimal>")]
    pub index: u64,
    /// Siblings from the leaf up, [`PROOF_LENGTH`] of them.
    pub proof: Vec<B256>,
}

/// One proof for several transactions: the helper hashes that the leaves do not give, in
/// descending order of generalized index, as in the consensus specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionsMultiproof {
    /// Generalized indices of the transactions, in the order of the leaves.
    pub generalized_indexes: Vec<u64>,
    /// Leaves: the tree hash root of each transaction.
    pub transaction_hashes: Vec<B256>,
    /// Helper hashes, by descending generalized index.
    pub merkle_hashes: Vec<B256>,
}

/// SHA-256 of 64 bytes.
fn hash(bytes: &[u8; 64]) -> B256 {
    let mut state = SHA256_START;
    compress256(&mut state, &[(*bytes).into(), PADDING_OF_64_BYTES.into()]);
    let mut hash = B256::ZERO;
    for (to, word) in hash.chunks_exact_mut(4).zip(state) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    hash
}

fn pair(left: B256, right: B256) -> B256 {
    let mut both = [0_u8; 64];
    let (first, second) = both.split_at_mut(32);
    first.copy_from_slice(left.as_slice());
    second.copy_from_slice(right.as_slice());
    hash(&both)
}

fn length_chunk(length: usize) -> B256 {
    let mut chunk = B256::ZERO;
    for (to, from) in chunk.iter_mut().zip(length.to_le_bytes()) {
        *to = from;
    }
    chunk
}

/// Roots of empty subtrees by height, from a leaf's 0 up.
static ZERO_ROOTS: LazyLock<Vec<B256>> = LazyLock::new(|| {
    std::iter::successors(Some(B256::ZERO), |below| Some(pair(*below, *below)))
        .take(BYTES_DEPTH + 1)
        .collect()
});

fn zero_root(height: usize) -> B256 {
    ZERO_ROOTS.get(height).copied().unwrap_or_default()
}

/// The level above; `zero` stands where this one ends with a left child.
fn level_above(level: &[B256], zero: B256) -> Vec<B256> {
    let parents = level.chunks(2).map(|children| match children {
        [left, right] => pair(*left, *right),
        [left] => pair(*left, zero),
        _ => zero,
    });
    parents.collect()
}

/// Every level of the tree over `leaves`, `depth` levels above them, without the empty parts.
fn levels(leaves: Vec<B256>, depth: usize) -> Vec<Vec<B256>> {
    let mut levels = Vec::with_capacity(depth.saturating_add(1));
    let mut level = leaves;
    for zero in ZERO_ROOTS.iter().take(depth) {
        let above = level_above(&level, *zero);
        levels.push(std::mem::replace(&mut level, above));
    }
    levels.push(level);
    levels
}

/// Root of the least tree that holds these nodes, which are at `height`; and its own height, at most `depth`.
fn least_root(nodes: Vec<B256>, height: usize, depth: usize) -> (B256, usize) {
    let (mut level, mut height) = (nodes, height);
    while level.len() > 1 && height < depth {
        level = level_above(&level, zero_root(height));
        height = height.saturating_add(1);
    }
    match level.first() {
        Some(root) => (*root, height),
        None => (B256::ZERO, 0),
    }
}

/// Root of the tree over `leaves` with `depth` levels above them.
fn root_of(leaves: Vec<B256>, depth: usize) -> B256 {
    let (root, height) = least_root(leaves, 0, depth);
    ZERO_ROOTS.iter().take(depth).skip(height).fold(root, |node, zero| pair(node, *zero))
}

/// Root of the least tree that holds a transaction's bytes, and its height above the 32-byte chunks.
fn least_root_of_bytes(transaction: &[u8]) -> (B256, usize) {
    let (whole, rest) = transaction.as_chunks::<64>();
    let mut pairs = Vec::with_capacity(whole.len().saturating_add(1));
    pairs.extend(whole.iter().map(hash));
    if !rest.is_empty() {
        let mut padded = [0_u8; 64];
        for (to, from) in padded.iter_mut().zip(rest) {
            *to = *from;
        }
        pairs.push(hash(&padded));
    }
    least_root(pairs, 1, BYTES_DEPTH)
}

/// The leaf of a transaction: the tree hash root of its bytes as `ByteList[2³⁰]`.
pub fn transaction_leaf(transaction: &[u8]) -> B256 {
    let (root, height) = least_root_of_bytes(transaction);
    let root = ZERO_ROOTS.iter().take(BYTES_DEPTH).skip(height).fold(root, |node, zero| pair(node, *zero));
    pair(root, length_chunk(transaction.len()))
}

/// Leaves of some transactions, which grow together: most of the work is their empty upper levels, where each hash waits for
/// the one before, but not for those of other transactions.
fn leaves_of(transactions: &[Bytes]) -> Vec<B256> {
    let mut roots: Vec<(B256, usize)> = transactions.iter().map(|tx| least_root_of_bytes(tx)).collect();
    for (height, zero) in ZERO_ROOTS.iter().take(BYTES_DEPTH).enumerate() {
        for (root, from) in &mut roots {
            if *from <= height {
                *root = pair(*root, *zero);
            }
        }
    }
    roots.into_iter().zip(transactions).map(|((root, _), tx)| pair(root, length_chunk(tx.len()))).collect()
}

/// Leaves of a list of transactions. On a thread of a rayon pool, all of the pool's threads take part; on any other thread
/// nothing waits for a pool that may be busy with something else.
fn leaves(transactions: &[Bytes]) -> Vec<B256> {
    if rayon::current_thread_index().is_none() {
        return leaves_of(transactions);
    }
    transactions.par_chunks(LEAVES_AT_ONCE).flat_map_iter(leaves_of).collect()
}

/// The `transactions_root` of a payload with these transactions. Called on a thread of a rayon pool, it is hashed by all of
/// that pool's threads.
pub fn transactions_root(transactions: &[Bytes]) -> B256 {
    pair(root_of(leaves(transactions), LIST_DEPTH), length_chunk(transactions.len()))
}

/// The tree of a payload's transactions, for making proofs.
#[derive(Debug, Clone)]
pub struct TransactionTree {
    levels: Vec<Vec<B256>>,
    count: usize,
}

impl TransactionTree {
    /// Hashes the transactions of a payload.
    ///
    /// # Errors
    /// [`ProofError::TooMany`] for more than a payload can hold.
    pub fn new(transactions: &[Bytes]) -> Result<Self, ProofError> {
        if transactions.len() > MAX_TRANSACTIONS {
            return Err(ProofError::TooMany);
        }
        Ok(Self { levels: levels(leaves(transactions), LIST_DEPTH), count: transactions.len() })
    }

    /// The `transactions_root`.
    pub fn root(&self) -> B256 {
        self.node(1)
    }

    /// The node with this generalized index; zero for index 0 and for leaves that hold nothing.
    fn node(&self, generalized_index: u64) -> B256 {
        let Some(depth) = generalized_index.checked_ilog2() else { return B256::ZERO };
        let depth = depth as usize;
        if depth == 0 {
            return pair(self.node(2), length_chunk(self.count));
        }
        if generalized_index == 3 {
            return length_chunk(self.count);
        }
        let Some(height) = PROOF_LENGTH.checked_sub(depth) else { return B256::ZERO };
        let width = 1_u64.checked_shl(u32::try_from(depth).unwrap_or(u32::MAX)).unwrap_or(0);
        let position = usize::try_from(generalized_index.wrapping_sub(width)).ok();
        let filled =
            position.and_then(|position| self.levels.get(height).and_then(|level| level.get(position)));
        filled.copied().unwrap_or_else(|| zero_root(height))
    }

    /// Proves the transaction at one position.
    ///
    /// # Errors
    /// [`ProofError::Position`] if there is none.
    pub fn prove(&self, position: usize) -> Result<TransactionProof, ProofError> {
        let start = self.generalized_index(position)?;
        let path = std::iter::successors(Some(start), |index| Some(index >> 1));
        let proof = path.take_while(|index| *index > 1).map(|index| self.node(index ^ 1)).collect();
        let index = u64::try_from(position).map_err(|_| ProofError::Position(position))?;
        Ok(TransactionProof { index, proof })
    }

    /// Proves the transactions at several positions at once. Repeated positions count once; the
    /// leaves come in ascending order of position.
    ///
    /// # Errors
    /// [`ProofError::Position`] if one does not exist, [`ProofError::Empty`] for none.
    pub fn prove_many(&self, positions: &[usize]) -> Result<TransactionsMultiproof, ProofError> {
        if positions.is_empty() {
            return Err(ProofError::Empty);
        }
        let wanted = positions
            .iter()
            .map(|position| self.generalized_index(*position))
            .collect::<Result<BTreeSet<u64>, _>>()?;
        let generalized_indexes: Vec<u64> = wanted.iter().copied().collect();
        Ok(TransactionsMultiproof {
            transaction_hashes: generalized_indexes.iter().map(|i| self.node(*i)).collect(),
            merkle_hashes: helper_indexes(&wanted).into_iter().map(|i| self.node(i)).collect(),
            generalized_indexes,
        })
    }

    fn generalized_index(&self, position: usize) -> Result<u64, ProofError> {
        if position >= self.count {
            return Err(ProofError::Position(position));
        }
        generalized_index(position).ok_or(ProofError::Position(position))
    }
}

/// The generalized index of the transaction at a position; `None` beyond the list's limit.
pub fn generalized_index(position: usize) -> Option<u64> {
    if position >= MAX_TRANSACTIONS {
        return None;
    }
    u64::try_from(position).ok()?.checked_add(FIRST_GENERALIZED_INDEX)
}

/// `get_helper_indices`: what a verifier needs beside the leaves, in descending order.
fn helper_indexes(leaves: &BTreeSet<u64>) -> Vec<u64> {
    let on_path: BTreeSet<u64> = leaves
        .iter()
        .flat_map(|leaf| std::iter::successors(Some(*leaf), |index| Some(index >> 1)).take(64))
        .filter(|index| *index > 0)
        .collect();
    let helpers: BTreeSet<u64> = on_path
        .iter()
        .filter(|index| **index > 1)
        .map(|index| index ^ 1)
        .filter(|sibling| !on_path.contains(sibling))
        .collect();
    helpers.into_iter().rev().collect()
}

/// Proves the transactions at `positions`, one branch each.
///
/// # Errors
/// If a position does not exist.
pub fn prove_transactions(
    transactions: &[Bytes],
    positions: &[usize],
) -> Result<Vec<TransactionProof>, ProofError> {
    let tree = TransactionTree::new(transactions)?;
    positions.iter().map(|position| tree.prove(*position)).collect()
}

/// Whether `transaction` stands at position `index` of the payload with this
/// `transactions_root`.
pub fn verify_transaction(transaction: &[u8], index: u64, proof: &[B256], transactions_root: B256) -> bool {
    if transaction.len() > MAX_TRANSACTION_BYTES || proof.len() != PROOF_LENGTH {
        return false;
    }
    let generalized = usize::try_from(index).ok().and_then(generalized_index);
    let Some(mut generalized) = generalized else { return false };
    let mut node = transaction_leaf(transaction);
    for sibling in proof {
        node = if generalized & 1 == 0 { pair(node, *sibling) } else { pair(*sibling, node) };
        generalized >>= 1;
    }
    node == transactions_root
}

/// Whether nodes with these generalized indices have these hashes under `root`, by
/// `calculate_multi_merkle_root` of the consensus specification.
///
/// Every index must stand once and none above another, and the helpers must be exactly those
/// needed, in descending order of generalized index.
pub fn verify_multiproof(generalized_indexes: &[u64], leaves: &[B256], helpers: &[B256], root: B256) -> bool {
    let wanted: BTreeSet<u64> = generalized_indexes.iter().copied().collect();
    if wanted.is_empty()
        || wanted.contains(&0)
        || wanted.len() != generalized_indexes.len()
        || wanted.len() != leaves.len()
    {
        return false;
    }
    let needed = helper_indexes(&wanted);
    if needed.len() != helpers.len() {
        return false;
    }
    let given = generalized_indexes.iter().zip(leaves).chain(needed.iter().zip(helpers));
    let mut nodes: BTreeMap<u64, B256> = given.map(|(index, hash)| (*index, *hash)).collect();
    // The greatest index is among the lowest nodes and a right child: both children leave, their
    // parent enters.
    while let Some((index, right)) = nodes.pop_last() {
        if index == 1 {
            return nodes.is_empty() && right == root;
        }
        let Some(left) = nodes.remove(&(index ^ 1)) else { return false };
        if nodes.insert(index >> 1, pair(left, right)).is_some() {
            return false;
        }
    }
    false
}

impl TransactionsMultiproof {
    /// Whether the leaves stand at their generalized indices under this `transactions_root`.
    ///
    /// Every index must be a transaction's, each once, and the helpers exactly those needed.
    pub fn verify(&self, transactions_root: B256) -> bool {
        let wanted: BTreeSet<u64> = self.generalized_indexes.iter().copied().collect();
        let end = FIRST_GENERALIZED_INDEX.saturating_add(MAX_TRANSACTIONS as u64);
        if wanted.is_empty() || wanted.iter().any(|index| !(FIRST_GENERALIZED_INDEX..end).contains(index)) {
            return false;
        }
        verify_multiproof(
            &self.generalized_indexes,
            &self.transaction_hashes,
            &self.merkle_hashes,
            transactions_root,
        )
    }

    /// Whether `transactions`, in the order of the generalized indices, are the proven ones.
    pub fn verify_transactions<'a>(
        &self,
        transactions: impl IntoIterator<Item = &'a [u8]>,
        transactions_root: B256,
    ) -> bool {
        let leaves = transactions.into_iter().map(transaction_leaf);
        leaves.eq(self.transaction_hashes.iter().copied()) && self.verify(transactions_root)
    }
}

//! The Merkle rule of design §4.
//!
//! `leaf = keccak256(0x00 ‖ u64be index ‖ hash)`, `node = keccak256(0x01 ‖ left ‖ right)`, leaves padded with
//! zero to a power of two; the root of no leaves is zero.

use alloy_primitives::{B256, Keccak256};

/// The leaf of the item with `hash` at `index`.
#[must_use]
pub fn leaf(index: u64, hash: &B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([0]);
    hasher.update(index.to_be_bytes());
    hasher.update(hash);
    hasher.finalize()
}

/// The parent of two nodes.
#[must_use]
pub fn node(left: &B256, right: &B256) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize()
}

/// A tree with all its nodes, to give many paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MerkleTree {
    /// Leaves first, root last; every level but the root's of even length.
    levels: Vec<Vec<B256>>,
}

impl MerkleTree {
    /// The tree over `hashes`, the first of which has index `first_index`.
    #[must_use]
    pub fn over(first_index: u64, hashes: &[B256]) -> Self {
        let leaves = (first_index..).zip(hashes).map(|(index, hash)| leaf(index, hash)).collect();
        Self::of_leaves(leaves)
    }

    /// The tree of `leaves`.
    #[must_use]
    pub fn of_leaves(leaves: Vec<B256>) -> Self {
        let width = leaves.len().next_power_of_two();
        let mut level = leaves;
        if !level.is_empty() {
            level.resize(width, B256::ZERO);
        }
        let mut levels = Vec::new();
        while level.len() > 1 {
            let (pairs, _) = level.as_chunks::<2>();
            let above = pairs.iter().map(|[left, right]| node(left, right)).collect();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Self { levels }
    }

    /// The root; zero if there are no leaves.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or_default()
    }

    /// The siblings of the leaf at `position`, lowest first; none if there is no such place in the tree.
    #[must_use]
    pub fn path(&self, position: usize) -> Option<Vec<B256>> {
        self.levels.first()?.get(position)?;
        let (_, below) = self.levels.split_last()?;
        below.iter().enumerate().map(|(height, level)| level.get((position >> height) ^ 1).copied()).collect()
    }
}

/// The root over `hashes`, the first of which has index `first_index`.
#[must_use]
pub fn root(first_index: u64, hashes: &[B256]) -> B256 {
    MerkleTree::over(first_index, hashes).root()
}

/// How long a path is in a tree of `count` leaves.
#[must_use]
pub fn path_len(count: u32) -> usize {
    u64::from(count).next_power_of_two().trailing_zeros() as usize
}

/// Whether `leaf` stands at `position` of a tree of `count` leaves with this `root`.
#[must_use]
pub fn verify(leaf: &B256, position: u32, count: u32, path: &[B256], root: &B256) -> bool {
    if position >= count || path.len() != path_len(count) {
        return false;
    }
    let climbed = path.iter().enumerate().fold(*leaf, |below, (height, sibling)| {
        if (u64::from(position) >> height) & 1 == 0 { node(&below, sibling) } else { node(sibling, &below) }
    });
    climbed == *root
}

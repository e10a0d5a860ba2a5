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

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;
    use proptest::prelude::*;

    #[test]
    fn leaf_and_node_are_as_the_design_has_them() {
        let hash = B256::repeat_byte(7);
        let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 1, 2];
        bytes.extend_from_slice(hash.as_slice());
        assert_eq!(leaf(0x0102, &hash), keccak256(&bytes));
        let mut bytes = vec![1];
        bytes.extend_from_slice(hash.as_slice());
        bytes.extend_from_slice(B256::ZERO.as_slice());
        assert_eq!(node(&hash, &B256::ZERO), keccak256(&bytes));
    }

    #[test]
    fn small_trees() {
        let hash = |byte| B256::repeat_byte(byte);
        assert_eq!(root(0, &[]), B256::ZERO);
        assert_eq!(root(5, &[hash(1)]), leaf(5, &hash(1)));
        let three = [leaf(0, &hash(1)), leaf(1, &hash(2)), leaf(2, &hash(3))];
        let expected = node(&node(&three[0], &three[1]), &node(&three[2], &B256::ZERO));
        assert_eq!(root(0, &[hash(1), hash(2), hash(3)]), expected);
        assert_eq!(MerkleTree::of_leaves(vec![]).path(0), None);
        assert_eq!(MerkleTree::of_leaves(vec![hash(1)]).path(0), Some(vec![]));
        assert_eq!(MerkleTree::of_leaves(vec![hash(1)]).path(1), None);
    }

    proptest! {
        #[test]
        fn every_item_proves_its_place_and_no_other(first in 0u64..1_000, count in 1u32..40, at: prop::sample::Index) {
            let hashes: Vec<B256> = (0..count).map(|i| keccak256(i.to_be_bytes())).collect();
            let tree = MerkleTree::over(first, &hashes);
            let position = at.index(hashes.len());
            let path = tree.path(position).unwrap();
            let leaf = leaf(first + position as u64, &hashes[position]);
            let position = u32::try_from(position).unwrap();
            prop_assert!(verify(&leaf, position, count, &path, &tree.root()));
            for other in 0..64 {
                if other != position {
                    prop_assert!(!verify(&leaf, other, count, &path, &tree.root()));
                }
            }
            let mut longer = path.clone();
            longer.push(B256::ZERO);
            prop_assert!(!verify(&leaf, position, count, &longer, &tree.root()));
            for step in 0..path.len() {
                let mut wrong = path.clone();
                wrong[step].0[0] ^= 1;
                prop_assert!(!verify(&leaf, position, count, &wrong, &tree.root()));
            }
        }

        #[test]
        fn padding_proves_nothing(count in 1u32..40) {
            let hashes: Vec<B256> = (0..count).map(|i| keccak256(i.to_be_bytes())).collect();
            let tree = MerkleTree::over(0, &hashes);
            for pad in count..count.next_power_of_two() {
                let path = tree.path(usize::try_from(pad).unwrap()).unwrap();
                prop_assert!(!verify(&B256::ZERO, pad, count, &path, &tree.root()));
            }
        }
    }
}

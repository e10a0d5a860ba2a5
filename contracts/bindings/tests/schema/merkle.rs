//! Leaves, roots and paths of trees of every shape.

use crate::{assert_vectors, examples};
use alloy_primitives::B256;
use earnest_protocol::merkle::{self, MerkleTree};
use serde_json::{Value, json};

#[test]
fn merkle_trees() {
    let case = |first_index: u64, count: u64| -> Value {
        let hashes: Vec<B256> = (0..count).map(|n| examples::hash(&format!("transaction {n}"))).collect();
        let leaves: Vec<B256> =
            (first_index..).zip(&hashes).map(|(index, hash)| merkle::leaf(index, hash)).collect();
        let tree = MerkleTree::of_leaves(leaves.clone());
        let mut positions = vec![0, count / 2, count.saturating_sub(1)];
        positions.retain(|position| *position < count);
        positions.dedup();
        let paths: Vec<Value> = positions
            .iter()
            .map(|position| json!({ "position": position, "path": tree.path(usize::try_from(*position).unwrap()).unwrap() }))
            .collect();
        json!({ "firstIndex": first_index, "hashes": hashes, "leaves": leaves, "root": tree.root(), "paths": paths })
    };
    let shapes = [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 3),
        (0, 4),
        (0, 5),
        (0, 7),
        (0, 8),
        (0, 9),
        (0, 33),
        (17, 1),
        (17, 6),
        (1 << 32, 3),
    ];
    let trees: Vec<Value> = shapes.into_iter().map(|(first_index, count)| case(first_index, count)).collect();
    assert_vectors("schema/merkle.json", &json!({ "trees": trees }));
}

//! Rust and Solidity have one schema: the same structs, bytes, hashes and signing roots for all that both handle.
//!
//! The Rust side makes `tests/vectors/schema/*.json` and `tests/vectors/evidence/*.json` at the root of the repository, and this test asserts that they are what it makes;
//! `contracts/tests` asserts the same files in Solidity. After a change of the schema:
//! `EARNEST_WRITE_VECTORS=1 cargo test -p earnest-bindings`, then `contracts/test`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod batches;
mod evidence;
mod examples;
mod merkle;
mod objects;
mod registry;
mod settlement;
mod structs;

use serde_json::Value;
use std::path::Path;

/// As [`assert_vectors`], for `tests/vectors/<folder>`.
fn assert_vectors_in(folder: &str, name: &str, made: &Value) {
    assert_vectors(Path::new(folder).join(name), made);
}

/// Asserts that the vector file `name`, a path below `tests/vectors`, holds `made`, or writes it if the environment
/// asks for that.
fn assert_vectors(name: impl AsRef<Path>, made: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(name);
    if std::env::var_os("EARNEST_WRITE_VECTORS").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(made).unwrap() + "\n").unwrap();
    }
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(&committed == made, "{} is not what the schema gives", path.display());
}

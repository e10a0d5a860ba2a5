use std::path::PathBuf;

use earnest_builder_types::{ForkCodec, ForkName};
use serde_json::Value;

pub(crate) fn bytes(path: &str) -> Vec<u8> {
    let root: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "tests", "vectors"].iter().collect();
    let file = root.join(path);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

pub(crate) fn json(path: &str) -> Value {
    serde_json::from_slice(&bytes(path)).unwrap()
}

/// The example of a builder-specs file, without the file's own wrapping.
pub(crate) fn example(path: &str) -> Value {
    json(path)["value"].clone()
}

/// JSON and SSZ of one object: equal, and each written back as it was read.
pub(crate) fn assert_same<T>(fork: ForkName, json: &Value, ssz: &[u8])
where
    T: ForkCodec + PartialEq + std::fmt::Debug,
{
    let from_json = T::from_json(fork, json.to_string().as_bytes()).unwrap();
    let from_ssz = T::from_ssz(fork, ssz).unwrap();
    assert_eq!(from_json, from_ssz);
    assert_eq!(from_json.fork(), fork);
    assert_eq!(from_json.to_ssz(), ssz);
    assert_eq!(serde_json::from_slice::<Value>(&from_ssz.to_json().unwrap()).unwrap(), *json);
}

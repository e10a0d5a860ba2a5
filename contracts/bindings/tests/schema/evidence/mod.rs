//! Cases of every fault that Rust and Solidity must judge alike (design §8): `tests/vectors/evidence`.
//!
//! Each case is judged here by the Rust judge on every run; `contracts/tests` judges the same files in Solidity.

mod cases;
mod delegations;
mod missed_window;
mod orderings;
mod pen;
mod positions;
mod unauthorized;

pub(crate) use cases::Case;
pub(crate) use pen::Pen;

use crate::examples::address;
use alloy_primitives::Address;
use earnest_protocol::{
    RollupId, Slot,
    evidence::{Clock, Fault, Judge, Times},
    signing::{EcdsaSecret, Network},
};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path};

pub(crate) const NETWORK: Network =
    Network { genesis_fork_version: [0x20, 0x00, 0x00, 0x89], chain_id: 3_151_908 };
pub(crate) const CLOCK: Clock = Clock { genesis_ms: 1_764_000_000_000, slot_ms: 12_000 };
pub(crate) const ROLLUP: RollupId = RollupId(4242);
pub(crate) const SLOT: Slot = Slot(10_000);
/// When the slot starts, Unix seconds.
pub(crate) const START: u64 = 1_764_120_000;
/// A time at which all evidence counts.
pub(crate) const NOW: u64 = START + 3_600;
pub(crate) const DAY: u64 = 86_400;

pub(crate) fn judge() -> Judge {
    Judge {
        network: NETWORK,
        clock: CLOCK,
        slasher: address("ordering slasher"),
        inbox: address("inbox"),
        times: Times::of_design(CLOCK.slot_ms),
    }
}

/// The accused.
pub(crate) fn committer() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x33; 32]).unwrap()
}

pub(crate) fn committer_address() -> Address {
    committer().address()
}

#[test]
fn the_clock_is_as_the_cases_have_it() {
    assert_eq!(CLOCK.start_seconds(SLOT), START);
}

/// Errors that come of the contract's own bookkeeping or its caller, which no case has.
const BOOKKEEPING: [&str; 9] = [
    "BadConfig",
    "NotRegistry",
    "DelegationNotEmpty",
    "AlreadyAccused",
    "WrongBond",
    "AlreadyJudged",
    "NoCredit",
    "EthTransferFailed",
    "BadClock",
];

/// The errors that an interface declares.
fn errors(source: &str) -> BTreeSet<&str> {
    let declared = source.lines().filter_map(|line| line.trim().strip_prefix("error "));
    declared.filter_map(|rest| rest.split('(').next()).collect()
}

/// The names of reasons are the contracts', and each of the slasher's is some case's.
#[test]
fn reasons_are_named_as_the_errors_are() {
    if std::env::var_os("EARNEST_WRITE_VECTORS").is_some() {
        // Other tests are writing the files.
        return;
    }
    let slasher = errors(include_str!("../../../../src/interfaces/IOrderingSlasher.sol"));
    let registry = errors(include_str!("../../../../src/interfaces/IRegistry.sol"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/evidence");
    let mut reasons = BTreeSet::new();
    for fault in Fault::ALL {
        let path = folder.join(cases::file_name(fault));
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            reasons.insert(case["reason"].as_str().unwrap().to_owned());
        }
    }
    reasons.remove("");
    for reason in &reasons {
        assert!(slasher.contains(reason.as_str()) || registry.contains(reason.as_str()), "{reason}");
    }
    let unshown: Vec<_> =
        slasher.iter().filter(|error| !reasons.contains(**error) && !BOOKKEEPING.contains(error)).collect();
    assert!(unshown.is_empty(), "no case of {unshown:?}");
}

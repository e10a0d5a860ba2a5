//! The sidecar as a beacon node sees it: real sockets on both sides, sources that misbehave.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

mod attacks;
mod beacon_stand_in;
mod blocks;
mod breaker;
mod delegations;
mod deliveries;
mod execution_stand_in;
mod headers;
mod market;
mod network;
mod relay_stand_in;
#[path = "../../../crates/signer/tests/stand_ins/mod.rs"]
mod signer_stand_ins;
mod signers;

//! Conformance: what other projects' tests assert about the same wire types. The data is under
//! `tests/vectors` at the root of the repository, with its origin.

// Tests may panic: that is how they fail.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod bad_input;
mod builder_specs;
mod commit_boost;
mod construction;
mod events;
mod fuzz;
mod mainnet_block;
mod registrations;
mod roots;
mod signing;
mod vectors;

//! What the tests of the whole system share. They use it as its users do: over HTTP, on ports of the system's
//! choice, and by the `earnest` binary. They wait by asking for what they wait for, with a deadline.

// A test fails by panic.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod account;
pub mod binary;
pub mod disk;
pub mod e2e;
pub mod ledger;
pub mod lodestar;
pub mod patience;
pub mod relay_rig;

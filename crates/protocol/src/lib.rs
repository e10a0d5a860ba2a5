//! Earnest's protocol: objects, signing forms, Merkle rules, windows, the market, ordering, receipts (design §2–§4).
//!
//! Pure: no I/O, no clock, no async. Shells feed it bytes and times and act on what it answers.

pub mod auction;
pub mod delegation;
#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::unwrap_used)]
mod fixtures;
mod ids;
pub mod inbox;
pub mod integer;
pub mod merkle;
pub mod messages;
pub mod objects;
pub mod ordering;
pub mod receipt;
pub mod receiver;
pub mod signing;
pub mod sol;
pub mod stream;
pub mod tx;
pub mod window;

pub use earnest_builder_types::{BlsPublicKey, BlsSignature};
pub use ids::{Epoch, ParseIdError, RollupId, Slot, Wei};

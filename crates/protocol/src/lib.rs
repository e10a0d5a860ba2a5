//! Earnest's protocol: objects, signing forms, Merkle rules, windows, the market, ordering, receipts, evidence (design §2–§4,
//! §8).
//!
//! Pure: no I/O, no clock, no async. Shells feed it bytes and times and act on what it answers.

pub mod auction;
pub mod delegation;
pub mod evidence;
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
pub mod registry;
pub mod settlement;
pub mod signing;
pub mod sol;
pub mod stream;
pub mod tx;
pub mod window;

pub use earnest_builder_types::{BlsPublicKey, BlsSignature};
pub use ids::{Epoch, ParseIdError, RollupId, Slot, Wei};

//! The relay (design §5): MEV-Boost relay for proposers and builders, Constraints API, and the relay's word on
//! delegations.
//!
//! What must outlive a crash is an event in the [journal](earnest_journal): registrations, delegations, constraints, and
//! the one block unblinded in a slot. It is durable before anything is signed or answered on its strength. The state in
//! memory is a fold over it; blocks on offer are files beside it.
//!
//! | task | what it does |
//! |---|---|
//! | `server` | answers requests; one file for each endpoint under `api` |
//! | `beacon-events` | heads, reorgs and payload attributes, from the beacon nodes' event stream |
//! | `slots` | at each slot's start: lookahead, and what is past is dropped |
//! | `journal` | tells each second whether the journal takes writes, and ends the relay if it takes nothing more |
//! | `received` | writes the bids that came, some times a second, for the data API |
//! | `meters` | once a second, the gauges of what is held |
//!
//! A builder's block is checked in all that needs no execution, and its worth is the builder's claim: a simulation
//! endpoint is not asked yet, nor is the parent state at the cut-off of constraints.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod api;
mod bids;
mod builders;
mod config;
mod cutoff;
mod cutoff_task;
mod delivery;
mod duties;
mod events;
mod feed;
mod held;
mod ledger;
mod meters;
mod opt_in;
mod received;
mod registrations;
mod relay;
mod rules;
mod simulation;
mod spool;
mod start;
mod streams;
mod submission;
#[cfg(test)]
mod testing;
mod top_bids;
mod upkeep;
mod views;

pub use builders::BuildersConfig;
pub use config::{Bounds, Config, SimulationConfig, TimingConfig};
pub use earnest_signer::{KeyFile, KeyFileError};
pub use events::EventError;
pub use ledger::LedgerError;
pub use start::{Running, StartError, start};

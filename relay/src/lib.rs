//! The relay (design §2, §5): MEV-Boost relay for proposers and builders, Constraints API, the relay's word on
//! delegations, and the ordering market.
//!
//! What must outlive a crash is an event in the [journal](earnest_journal): registrations, delegations, constraints,
//! bids, auctions, and the one block unblinded in a slot. It is durable before anything is signed or answered on its
//! strength. The state in memory is a fold over it; blocks on offer are files beside it.
//!
//! | task | what it does |
//! |---|---|
//! | `server` | answers requests; one file for each endpoint under `api` |
//! | `beacon-events` | heads, reorgs and payload attributes, from the event streams of all beacon nodes |
//! | `proposers` | asks for proposers when a head, a reorg or the clock says so |
//! | `slots` | at each slot's start: which beacon nodes are in order, and what is past is dropped |
//! | `auctions` | closes auctions, and fixes their results after first refusal |
//! | `cutoffs` | at each slot's cut-off: what of its constraints can be included |
//! | `registry` | follows the Registry on L1, where one is configured: who is opted in |
//! | `registry-health` | readiness waits until that has caught up once |
//! | `journal` | ends the relay if the journal takes nothing more |
//! | `writable` | five times a second, whether the journal takes writes |
//! | `received` | writes the bids that came, some times a second, for the data API |
//! | `meters` | once a second, the gauges of what is held |
//!
//! A builder's block is checked in all that needs no execution; its worth is the builder's claim unless a simulation
//! endpoint is configured. What constraints can still be included is told by an execution client, where one is.
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
mod l1;
mod ledger;
mod market;
mod meters;
mod received;
mod registrations;
mod relay;
mod rules;
mod simulation;
mod spool;
mod sse;
mod start;
mod streams;
mod submission;
#[cfg(test)]
mod testing;
mod top_bids;
mod turns;
mod undone;
mod upkeep;
mod views;
mod writable;

pub use builders::BuildersConfig;
pub use config::{Bounds, Config, SimulationConfig, TimingConfig};
pub use earnest_signer::{KeyFile, KeyFileError};
pub use events::EventError;
pub use ledger::LedgerError;
pub use market::{ListedEscrow, ListedOperator, MarketConfig};
pub use start::{Running, StartError, start};

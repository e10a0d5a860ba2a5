//! The proposer sidecar: sits where the beacon node expects mev-boost, lets through the best header of its sources, and in
//! slots whose ordering it signed away only one that is shown to keep the promises made for it (design §6).
//!
//! | task | does | wakes on |
//! |---|---|---|
//! | `server` | the Builder API | requests of the beacon node |
//! | `lookahead` | follows the beacon node's duties and the Registry, works out our windows | head events, epochs, L1 blocks |
//! | `keys` | asks signers elsewhere which keys they hold | every minute |
//! | `breaker` | follows the chain's heads and looks up where our blocks are | head events, twice a second |
//! | `market` | bids, matches, and looks whether results stay what they were | four times a second, and at the closes of our own slots |
//! | `delegation` | records, signs and delivers one delegation for each of our slots | duties, window times |
//!
//! The rules are pure: [`slot_state`] (which header), [`proof_check`] (what a proof shows), [`delegation_plan`] (what to sign
//! and when), [`delivery_order`] and [`delivered`] (a signed block's way), [`header_deadline`], [`bid_book`], [`allocation`], [`wishes`],
//! [`registrations`], [`breaker`] (when no relay is to be trusted with a block), [`forks`], [`header_turns`],
//! [`protection`] (the record as a file).
//! Whatever goes wrong, the beacon node gets 204 in time and builds its own block.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

pub mod allocation;
pub mod bid_book;
pub mod breaker;
pub mod breaker_task;
pub mod config;
pub mod delegation_plan;
pub mod delegation_record;
pub mod delegation_task;
pub mod delivered;
mod delivery;
pub mod delivery_order;
pub mod forks;
pub mod found_delegations;
mod get_header;
pub mod header_deadline;
pub mod header_turns;
pub mod held_constraints;
pub mod keys_task;
pub mod lookahead_task;
pub mod market;
pub mod opt_in;
pub mod proof_check;
pub mod protected_signer;
pub mod protection;
mod register_validators;
pub mod registrations;
mod router;
mod sidecar;
pub mod slot_state;
pub mod sources;
mod start;
mod status;
mod submit_blinded;
pub mod validator_keys;
pub mod wishes;

pub use config::{Config, ConfigError, GatewayConfig, KeysConfig, SourceConfig, ValidatorConfig};
pub use start::{Running, StartError, start, start_with, start_with_signer};

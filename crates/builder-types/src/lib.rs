//! Wire types of the Builder, relay and beacon APIs, from Bellatrix to Fulu: SSZ, JSON and tree
//! hash through one definition for all forks, the BLS signatures and domains over them, and SSZ
//! proofs of transactions.
//!
//! A value of a forked type carries its fork. It is read with [`ForkCodec::from_json`] or
//! [`ForkCodec::from_ssz`], which accept exactly the fields of the fork that is asked for: a
//! missing or a foreign field is an error, never a silent loss.
//!
//! What alloy has whole is taken from there ([`beacon`], [`engine`]): bid traces, events, duties,
//! data API rows, validation requests. What it lacks (bounds, tree hash, forks) is defined here,
//! with conversions both ways.

pub mod bls;
pub mod domain;
pub mod gloas;
pub mod proofs;

mod bid;
mod blobs;
mod block;
mod codec;
mod contents;
mod decimal;
mod fork;
mod header;
mod operations;
mod payload;
mod proposal;
mod registration;
mod requests;
mod signing;
mod submission;
mod top_bid;
mod transactions;
mod unblind;

pub use alloy_rpc_types_beacon as beacon;
pub use alloy_rpc_types_beacon::{BlsPublicKey, BlsSignature, relay::BidTrace};
pub use alloy_rpc_types_engine as engine;
pub use bid::*;
pub use blobs::*;
pub use block::*;
pub use codec::{CodecError, ForkCodec, Versioned};
pub use contents::*;
pub use fork::{ForkError, ForkName, UnknownFork};
pub use header::*;
pub use operations::*;
pub use payload::*;
pub use proposal::ProposalContext;
pub use registration::{
    REGISTRATION_SSZ_BYTES, SignedValidatorRegistration, ValidatorRegistration, registrations_from_ssz,
    registrations_to_ssz,
};
pub use requests::{
    ConsolidationRequest, DepositRequest, ExecutionRequests, RequestsError, WithdrawalRequest,
};
pub use signing::sign_bid_trace;
pub use ssz_types::{BitList, BitVector, VariableList};
pub use submission::*;
pub use top_bid::{TOP_BID_UPDATE_SSZ_BYTES, TopBidUpdate};
pub use transactions::{MAX_TRANSACTION_BYTES, MAX_TRANSACTIONS, Transactions};
pub use tree_hash::TreeHash;
pub use unblind::{UnblindError, unblind};

//! What a user of the devnet needs to know, as the ready file has it.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use earnest_builder_types::{BlsPublicKey, bls};
use earnest_protocol::{RollupId, Slot, Wei, signing::Network as Signing};
use serde::Serialize;
use url::Url;

use super::{Gateway, roles::Operator};
use crate::contracts::{COLLATERAL, ESCROW};

/// What a user of the devnet needs, as the ready file has it.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// Unix seconds of slot 0.
    pub genesis_time: u64,
    /// Length of a slot.
    pub seconds_per_slot: f64,
    /// Beacon API.
    pub beacon: Url,
    /// L1's JSON-RPC.
    pub execution: Url,
    /// Relay.
    pub relay: Url,
    /// The relay's BLS key.
    pub relay_pubkey: BlsPublicKey,
    /// The relay's ECDSA address, whose receipts make delegations valid.
    pub relay_address: Address,
    /// The first operator's gateway.
    pub gateway: Url,
    /// Who signs that gateway's commitments.
    pub committer: Address,
    /// What signatures are for.
    pub network: Signing,
    /// Validators, with the sidecar each is behind.
    pub proposers: Vec<ReadyProposer>,
    /// Rollups, with their execution RPC where there is one.
    pub rollups: Vec<ReadyRollup>,
    /// Contracts on L1 by name.
    pub contracts: BTreeMap<&'static str, Address>,
    /// The operators that registered the opted-in validators, if there are any.
    pub operators: Vec<ReadyOperator>,
    /// The slot in which all of it was up.
    pub first_slot: Slot,
    /// The first slot at which the rollups' terms are in force.
    pub terms_from: Slot,
    /// Whether the relay holds auctions.
    pub market: bool,
    /// Epochs from the reference block's, at whose end the Registry is read, to the one before the proposers' own.
    pub optin_delay: u64,
    /// Funded accounts, on L1 and on the rollups. Worthless keys.
    pub accounts: Vec<ReadyAccount>,
}

/// An operator of opted-in validators.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyOperator {
    /// Its registration root.
    pub registration_root: B256,
    /// Its account.
    pub owner: Address,
    /// Who signs its commitments.
    pub committer: Address,
    /// What it put up, wei.
    pub collateral_wei: Wei,
    /// What it deposited to bid with, wei.
    pub escrow_wei: Wei,
    /// How many validators it has.
    pub validators: usize,
    /// Its gateway.
    pub gateway: Url,
    /// Its sidecar.
    pub sidecar: Url,
}

/// A validator.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyProposer {
    /// Its sidecar's Builder API.
    pub url: Url,
    /// Its key.
    pub pubkey: BlsPublicKey,
    /// Whether it is opted in.
    pub opted_in: bool,
}

/// A rollup.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyRollup {
    /// Chain id.
    pub id: RollupId,
    /// Execution RPC.
    pub rpc: Option<Url>,
}

/// An account with funds.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyAccount {
    /// Address.
    pub address: Address,
    /// Its key.
    pub private_key: B256,
}

pub(super) fn ready_proposers(operator: &Operator, sidecar: &Url) -> Vec<ReadyProposer> {
    let opted_in: Vec<BlsPublicKey> = operator.opted_in.iter().map(bls::SecretKey::public_key).collect();
    let of = |pubkey: BlsPublicKey| ReadyProposer {
        url: sidecar.clone(),
        pubkey,
        opted_in: opted_in.contains(&pubkey),
    };
    operator.validators.iter().map(|key| of(key.public_key())).collect()
}

pub(super) fn ready_operator(operator: &Operator, gateway: &Gateway, sidecar: &Url) -> Option<ReadyOperator> {
    Some(ReadyOperator {
        registration_root: operator.registrations.as_ref()?.root(),
        owner: operator.owner.address(),
        committer: operator.committer.address(),
        collateral_wei: Wei(U256::from(COLLATERAL)),
        escrow_wei: Wei(U256::from(ESCROW)),
        validators: operator.opted_in.len(),
        gateway: gateway.url.clone(),
        sidecar: sidecar.clone(),
    })
}

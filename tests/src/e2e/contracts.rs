//! The contracts on the network's own L1, with one operator and its validators.

use std::{sync::Arc, time::Duration};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, TxKind, U256};
use earnest_bindings::deploy::{Addresses, Plan, plan};
use earnest_chain::{ExecutionClient, SlotClock};
use earnest_client::{Call, L1Account, operator::Act};
use earnest_devnet::{
    contracts::{self, COLLATERAL},
    validator::interop_key,
};
use earnest_protocol::{RollupId, registry::RegistrationTree, signing::EcdsaSecret};
use url::Url;

use super::genesis::{NETWORK, SLOTS_PER_EPOCH, VALIDATORS};
use crate::account::Account;

/// Epochs from the reference block to the one before the proposers' own, and the first epoch that the Registry decides.
pub const OPTIN_DELAY: u64 = 1;
/// The first epoch whose reference block is not before genesis.
pub const DECIDED_FROM: u64 = OPTIN_DELAY + 1;

/// What a role is told of the Registry.
#[derive(Debug, Clone)]
pub struct RegistrySection {
    /// The execution client.
    pub execution: Url,
    /// The contracts.
    pub addresses: Addresses,
}

impl RegistrySection {
    /// The section of its TOML file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Addresses { registry, ordering_slasher, .. } = self.addresses;
        format!(
            "[registry]
execution = \"{}\"
registry = \"{registry}\"
slasher = \"{ordering_slasher}\"
optin_delay = {OPTIN_DELAY}
poll_ms = 500
",
            self.execution
        )
    }
}

/// Who deploys, and who owns the operator.
#[must_use]
pub fn accounts() -> [Address; 2] {
    [deployer().address(), operator().address()]
}

fn deployer() -> Account {
    Account::of(&[0x57; 32], RollupId(NETWORK.chain_id))
}

fn operator() -> Account {
    Account::of(&[0x58; 32], RollupId(NETWORK.chain_id))
}

/// Whether a validator is of the operator: the Registry knows no other.
#[must_use]
pub const fn is_registered(validator: u64) -> bool {
    !validator.is_multiple_of(8)
}

/// The contracts of this network, and where they will be.
///
/// # Panics
/// Never: the parameters are good ones.
#[must_use]
pub fn planned(genesis_ms: u64, slot_ms: u64) -> Plan {
    let clock = SlotClock::new(genesis_ms, slot_ms, SLOTS_PER_EPOCH).unwrap();
    plan(&contracts::parameters(NETWORK, clock, deployer().address())).unwrap()
}

/// Puts the contracts onto L1, registers the operator's validators and opts them in with `committer`. Each transaction goes
/// to all of `pools`, so that whoever builds the block has it.
///
/// # Panics
/// If a transaction is refused, reverts, or is in no block within `limit`.
pub async fn deploy(pools: &[ExecutionClient], plan: &Plan, committer: Address, limit: Duration) {
    let (owner, tree) = (operator().address(), registrations());
    let root = tree.root();
    let call = |act: Act| contracts::call(&act, plan).unwrap();
    let register = call(Act::Register { tree, owner, collateral: U256::from(COLLATERAL) });
    send(pools, &deployer(), contracts::creations(plan).chain([register]), limit).await;
    send(pools, &operator(), [call(Act::OptIn { root, committer })], limit).await;
}

fn registrations() -> Arc<RegistrationTree> {
    let registered = (0..VALIDATORS).filter(|validator| is_registered(*validator));
    let keys: Vec<_> = registered.map(|validator| interop_key(validator).unwrap()).collect();
    contracts::registrations(operator().address(), &keys, &NETWORK)
        .unwrap()
        .expect("validators are registered")
}

/// Sends an account's first calls, and waits until all are in blocks.
async fn send(
    pools: &[ExecutionClient],
    account: &Account,
    calls: impl IntoIterator<Item = (Call, u64)>,
    limit: Duration,
) {
    let mut sent: Vec<B256> = Vec::new();
    for (nonce, (Call { to, value, input }, gas_limit)) in (0..).zip(calls) {
        let transaction = account.sign(TxEip1559 {
            chain_id: NETWORK.chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: 10_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(to),
            value,
            input,
            ..TxEip1559::default()
        });
        for pool in pools {
            pool.send_raw_transaction(&transaction).await.unwrap();
        }
        sent.push(alloy_primitives::keccak256(&transaction));
    }
    let waiting = L1Account::new(pools[0].clone(), EcdsaSecret::random(), NETWORK.chain_id);
    for hash in sent {
        waiting.included(hash, limit).await.unwrap_or_else(|error| panic!("{error}"));
    }
}

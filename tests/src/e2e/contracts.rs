//! The contracts on the network's own L1, with one operator and its validators.

use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::{SolCall, SolValue};
use earnest_bindings::{
    Registry,
    deploy::{
        Addresses, FACTORY, MarketParameters, Parameters, Plan, RegistryParameters, SlasherParameters, plan,
    },
};
use earnest_chain::ExecutionClient;
use earnest_client::L1Account;
use earnest_devnet::validator::interop_key;
use earnest_protocol::{
    RollupId,
    registry::{RegistrationTree, SignedRegistration},
    signing::{EARNEST_SIGNING_ID, EcdsaSecret},
};
use url::Url;

use super::genesis::{NETWORK, VALIDATORS};
use crate::account::Account;

const ETHER: u128 = 1_000_000_000_000_000_000;
/// Gas of what registers, for each key and besides; and of any other call.
const KEY_GAS: u64 = 30_000;
const CALL_GAS: u64 = 500_000;
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
    let parameters = Parameters {
        genesis_fork_version: NETWORK.genesis_fork_version.into(),
        chain_id: NETWORK.chain_id,
        genesis_ms,
        slot_ms,
        slots_per_epoch: 32,
        registrar: deployer().address(),
        notice_slots: 96,
        registry: RegistryParameters {
            min_collateral_wei: 2 * ETHER,
            fraud_proof_window: 1,
            unregistration_delay: 3_600,
            slash_window: 3_600,
            opt_in_delay: 60,
        },
        slasher: SlasherParameters {
            safety_wei: ETHER,
            liveness_wei: ETHER / 100,
            bond_wei: ETHER / 100,
            answer_seconds: 60,
            conclude_seconds: 600,
            evidence_seconds: 3_600,
            constraint_cutoff_ms: u32::try_from(slot_ms / 3).unwrap(),
        },
        market: MarketParameters { horizon_seconds: 3_600, withdrawal_delay_seconds: 7_200 },
    };
    plan(&parameters).unwrap()
}

/// Puts the contracts onto L1, registers the operator's validators and opts them in with `committer`. Each transaction goes
/// to all of `pools`, so that whoever builds the block has it.
///
/// # Panics
/// If a transaction is refused, reverts, or is in no block within `limit`.
pub async fn deploy(pools: &[ExecutionClient], plan: &Plan, committer: Address, limit: Duration) {
    let tree = registrations();
    let mut calls: Vec<(Address, U256, Bytes, u64)> = plan
        .contracts
        .iter()
        .map(|contract| (FACTORY, U256::ZERO, contract.factory_input(), contract.gas_limit()))
        .collect();
    let registrations = tree.registrations().iter();
    let register = Registry::registerCall {
        registrations: registrations
            .map(|one| Registry::SignedRegistration::abi_decode(&one.abi_encode()).unwrap())
            .collect(),
        owner: operator().address(),
        signingId: EARNEST_SIGNING_ID,
    };
    let gas = KEY_GAS * tree.registrations().len() as u64 + CALL_GAS;
    calls.push((plan.addresses.registry, U256::from(4 * ETHER), register.abi_encode().into(), gas));
    send(pools, &deployer(), calls, limit).await;

    let opt_in = Registry::optInToSlasherCall {
        registrationRoot: tree.root(),
        slasher: plan.addresses.ordering_slasher,
        committer,
    };
    let call = (plan.addresses.registry, U256::ZERO, opt_in.abi_encode().into(), CALL_GAS);
    send(pools, &operator(), vec![call], limit).await;
}

fn registrations() -> RegistrationTree {
    let owner = operator().address();
    let signed: Vec<_> = (0..VALIDATORS)
        .filter(|validator| is_registered(*validator))
        .map(|validator| SignedRegistration::sign(owner, &interop_key(validator).unwrap(), &NETWORK).unwrap())
        .collect();
    RegistrationTree::of_signed(&signed, owner).unwrap().expect("validators are registered")
}

/// Sends an account's first calls, and waits until all are in blocks.
async fn send(
    pools: &[ExecutionClient],
    account: &Account,
    calls: Vec<(Address, U256, Bytes, u64)>,
    limit: Duration,
) {
    let mut sent: Vec<B256> = Vec::new();
    for (nonce, (to, value, input, gas_limit)) in (0..).zip(calls) {
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

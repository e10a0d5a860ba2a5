//! The contracts on the network's own L1, with its operators and their validators.

use std::{sync::Arc, time::Duration};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, TxKind, U256};
use alloy_rpc_types_eth::TransactionReceipt;
use earnest_bindings::deploy::{Addresses, Plan, plan};
use earnest_chain::{ExecutionClient, SlotClock};
use earnest_client::{Call, L1Account, operator::Act};
use earnest_devnet::contracts::{self, COLLATERAL, ESCROW, HORIZON_SECONDS};
use earnest_protocol::{RollupId, Wei, objects::RollupRegistration, signing::EcdsaSecret};
use earnest_relay::{ListedEscrow, MarketConfig};
use futures::future::join_all;
use url::Url;

use super::{
    earnest_gateway::ROLLUPS,
    genesis::{NETWORK, SLOTS_PER_EPOCH},
    operators::Operator,
};
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
    /// Whether the market's are followed, too: the rollups' terms, escrow, and the relays that operators name. Terms are in force
    /// only after their notice; until then the roles are told what they will be.
    pub with_market: bool,
}

impl RegistrySection {
    /// The section of its TOML file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Addresses { registry, ordering_slasher, ordering_market, rollup_registry, .. } = self.addresses;
        let market = if self.with_market {
            format!("market = \"{ordering_market}\"\nrollups = \"{rollup_registry}\"\n")
        } else {
            String::new()
        };
        format!(
            "[registry]
execution = \"{}\"
registry = \"{registry}\"
slasher = \"{ordering_slasher}\"
{market}optin_delay = {OPTIN_DELAY}
poll_ms = 500
",
            self.execution
        )
    }
}

/// The market as a relay is told of it until it reads L1: what operators and rollups are about to put there.
#[must_use]
pub fn listed_market(contract: Address, relay: Address, committer: Address) -> MarketConfig {
    let operators = operators(committer);
    let escrow = |one: &Operator| ListedEscrow { account: one.owner(), wei: Wei(U256::from(ESCROW)) };
    MarketConfig {
        contract,
        horizon_secs: HORIZON_SECONDS.into(),
        rollups: ROLLUPS.map(|rollup| terms(rollup, relay, committer)).into(),
        escrow: operators.iter().map(escrow).collect(),
        operators: operators.iter().map(Operator::listed).collect(),
        ..MarketConfig::default()
    }
}

/// A rollup's terms.
fn terms(rollup: RollupId, relay: Address, reserve_committer: Address) -> RollupRegistration {
    contracts::terms(rollup, deployer().address(), relay, reserve_committer)
}

/// Who deploys, and who owns the operators.
#[must_use]
pub fn accounts() -> [Address; 3] {
    let [ours, rival] = operators(Address::ZERO).map(|operator| operator.owner());
    [deployer().address(), ours, rival]
}

fn deployer() -> Account {
    Account::of(&[0x57; 32], RollupId(NETWORK.chain_id))
}

fn operators(committer: Address) -> [Operator; 2] {
    [Operator::ours(committer), Operator::rival()]
}

/// The contracts of this network, and where they will be.
///
/// # Panics
/// Never: the parameters are good ones.
#[must_use]
pub fn planned(genesis_ms: u64, slot_ms: u64) -> Plan {
    let clock = SlotClock::new(genesis_ms, slot_ms, SLOTS_PER_EPOCH).unwrap();
    let parameters = contracts::parameters(NETWORK, clock, deployer().address());
    plan(&parameters).unwrap()
}

/// Puts the contracts onto L1, registers the operators' validators and the rollups' terms, which name `relay`. Then each operator, ours
/// with `committer`, opts in, names the relay and deposits to bid there. Each transaction goes to all of `pools`, so that whoever
/// builds the block has it. Gives the first slot at which all terms are in force.
///
/// # Panics
/// If a transaction is refused, reverts, or is in no block within `limit`.
pub async fn deploy(
    pools: &[ExecutionClient],
    plan: &Plan,
    (committer, relay): (Address, Address),
    limit: Duration,
) -> u64 {
    let operators = operators(committer).map(|operator| (operator, operator.registrations()));
    let call = |act: &Act| contracts::call(act, plan).unwrap();
    let mut calls: Vec<(Call, u64)> = contracts::creations(plan).collect();
    for (operator, tree) in &operators {
        let (tree, owner) = (Arc::clone(tree), operator.owner());
        calls.push(call(&Act::Register { tree, owner, collateral: U256::from(COLLATERAL) }));
    }
    for rollup in ROLLUPS {
        let terms = terms(rollup, relay, committer);
        calls.extend(contracts::listing(&terms, deployer().address(), plan).unwrap());
    }
    let receipts = send(pools, &deployer(), calls, limit).await;
    let in_force = contracts::in_force(&receipts).0;
    assert!(in_force > 0, "the rollups have terms");

    let join = operators.iter().map(async |(operator, tree)| {
        let acts = contracts::joining(tree.root(), operator.owner(), operator.committer, relay);
        send(pools, &operator.account(), acts.iter().map(call).collect(), limit).await;
    });
    join_all(join).await;
    in_force
}

/// Sends an account's first calls, and waits until all are in blocks.
async fn send(
    pools: &[ExecutionClient],
    account: &Account,
    calls: Vec<(Call, u64)>,
    limit: Duration,
) -> Vec<TransactionReceipt> {
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
    let mut receipts = Vec::with_capacity(sent.len());
    for hash in sent {
        receipts.push(waiting.included(hash, limit).await.unwrap_or_else(|error| panic!("{error}")));
    }
    receipts
}

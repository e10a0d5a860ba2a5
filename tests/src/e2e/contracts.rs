//! The contracts on the network's own L1, with its operators and their validators.

use std::time::Duration;

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::TransactionReceipt;
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use earnest_bindings::{
    OrderingMarket, Registry, RollupRegistry,
    deploy::{
        Addresses, FACTORY, MarketParameters, Parameters, Plan, RegistryParameters, SlasherParameters, plan,
    },
};
use earnest_chain::ExecutionClient;
use earnest_client::L1Account;
use earnest_protocol::{
    RollupId, Wei,
    objects::{Object, Policy, RollupRegistration},
    signing::{EARNEST_SIGNING_ID, EcdsaSecret},
};
use earnest_relay::{ListedEscrow, MarketConfig};
use futures::future::join_all;
use url::Url;

use super::{
    earnest_gateway::ROLLUPS,
    genesis::{NETWORK, SLOTS_PER_EPOCH},
    operators::Operator,
};
use crate::account::Account;

const ETHER: u128 = 1_000_000_000_000_000_000;
/// Gas of what registers, for each key and besides; and of any other call.
const KEY_GAS: u64 = 30_000;
const CALL_GAS: u64 = 500_000;
/// What each operator can bid with, wei.
const ESCROW: u128 = 10 * ETHER;
/// How long after its slot a bid can be settled.
const HORIZON_SECONDS: u32 = 3_600;
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
fn terms(rollup_id: RollupId, relay: Address, reserve_committer: Address) -> RollupRegistration {
    RollupRegistration {
        rollup_id,
        reserve_wei: Wei(U256::from(1_000_000_000_u64)),
        reserve_committer,
        revenue_recipient: deployer().address(),
        inclusion_share_bps: 1_000,
        max_batch_bytes: 120 << 10,
        max_tx_gas: 30_000_000,
        policy: Policy::Fcfs,
        required_level: 1,
        opaque: false,
        active: true,
        relay,
        uri: String::new(),
    }
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
    let parameters = Parameters {
        genesis_fork_version: NETWORK.genesis_fork_version.into(),
        chain_id: NETWORK.chain_id,
        genesis_ms,
        slot_ms,
        slots_per_epoch: SLOTS_PER_EPOCH,
        registrar: deployer().address(),
        // The shortest that there may be.
        notice_slots: 2 * SLOTS_PER_EPOCH + 2,
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
        market: MarketParameters { horizon_seconds: HORIZON_SECONDS, withdrawal_delay_seconds: 7_200 },
    };
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
    let mut calls: Vec<(Address, U256, Bytes, u64)> = plan
        .contracts
        .iter()
        .map(|contract| (FACTORY, U256::ZERO, contract.factory_input(), contract.gas_limit()))
        .collect();
    for (operator, tree) in &operators {
        let registrations = tree.registrations().iter();
        let register = Registry::registerCall {
            registrations: registrations
                .map(|one| Registry::SignedRegistration::abi_decode(&one.abi_encode()).unwrap())
                .collect(),
            owner: operator.owner(),
            signingId: EARNEST_SIGNING_ID,
        };
        let gas = KEY_GAS * tree.registrations().len() as u64 + CALL_GAS;
        calls.push((plan.addresses.registry, U256::from(4 * ETHER), register.abi_encode().into(), gas));
    }
    for rollup in ROLLUPS {
        let to = plan.addresses.rollup_registry;
        let grant = RollupRegistry::grantCall { rollupId: rollup.0, owner: deployer().address() };
        calls.push((to, U256::ZERO, grant.abi_encode().into(), CALL_GAS));
        let terms = terms(rollup, relay, committer).abi_encode();
        let registration = RollupRegistry::RollupRegistration::abi_decode(&terms).unwrap();
        let update = RollupRegistry::updateCall { registration };
        calls.push((to, U256::ZERO, update.abi_encode().into(), CALL_GAS));
    }
    let receipts = send(pools, &deployer(), calls, limit).await;
    let logs = receipts.iter().flat_map(|receipt| receipt.inner.logs());
    let updates = logs.filter_map(|log| RollupRegistry::RollupUpdated::decode_log(&log.inner).ok());
    let in_force = updates.map(|update| update.fromSlot).max().expect("the rollups have terms");

    let join = operators.iter().map(async |(operator, tree)| {
        let opt_in = Registry::optInToSlasherCall {
            registrationRoot: tree.root(),
            slasher: plan.addresses.ordering_slasher,
            committer: operator.committer,
        };
        let name_relay = OrderingMarket::nameRelayCall { registrationRoot: tree.root(), relay };
        let deposit = OrderingMarket::depositCall { account: operator.owner(), relay };
        let market = plan.addresses.ordering_market;
        let calls = vec![
            (plan.addresses.registry, U256::ZERO, opt_in.abi_encode().into(), CALL_GAS),
            (market, U256::ZERO, name_relay.abi_encode().into(), CALL_GAS),
            (market, U256::from(ESCROW), deposit.abi_encode().into(), CALL_GAS),
        ];
        send(pools, &operator.account(), calls, limit).await;
    });
    join_all(join).await;
    in_force
}

/// Sends an account's first calls, and waits until all are in blocks.
async fn send(
    pools: &[ExecutionClient],
    account: &Account,
    calls: Vec<(Address, U256, Bytes, u64)>,
    limit: Duration,
) -> Vec<TransactionReceipt> {
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
    let mut receipts = Vec::with_capacity(sent.len());
    for hash in sent {
        receipts.push(waiting.included(hash, limit).await.unwrap_or_else(|error| panic!("{error}")));
    }
    receipts
}

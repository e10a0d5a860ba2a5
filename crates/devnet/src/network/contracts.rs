//! The contracts onto L1, with the devnet's operator and its rollups.
//!
//! First the deployer: the contracts, the registrations of the opted-in validators, the rollups. Once that is in a block each
//! operator: its opt-in to the slasher, its relay, its escrow. Either it waits for the validators' blocks, or it makes those
//! of slots that are past.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::TransactionReceipt;
use alloy_sol_types::{SolEvent, SolValue};
use earnest_bindings::{
    OrderingMarket, Registry, RollupRegistry,
    deploy::{
        FACTORY, MarketParameters, Parameters, Plan as ContractsPlan, RegistryParameters, SlasherParameters,
    },
};
use earnest_chain::SlotClock;
use earnest_client::{Call, L1Account};
use earnest_protocol::{
    RollupId, Slot, Wei,
    objects::{Object, Policy, RollupRegistration},
    registry::RegistrationTree,
    signing::{EARNEST_SIGNING_ID, EcdsaSecret, Network as Signing},
};

use super::{
    NetworkError,
    roles::{Keys, Operator},
};
use crate::{beacon::BeaconNode, execution::ExecutionNode};

/// Most validators of an operator: those that one transaction can register.
pub const MAX_OPTED_IN: u64 = 256;
/// What an operator puts up, wei: four ether.
pub(super) const COLLATERAL: u128 = 4_000_000_000_000_000_000;
/// What an operator can bid with, wei: ten ether.
pub(super) const ESCROW: u128 = 10_000_000_000_000_000_000;
/// How long after its slot a bid can be settled.
pub(super) const HORIZON_SECONDS: u32 = 3_600;
/// What the execution client has to fill a block of a past slot that something is to be in.
const BUILD: Duration = Duration::from_millis(200);
/// Slots that a transaction may take to get into a block on a busy machine.
const SLOTS: u64 = 12;
/// Gas limits: of what registers, for each key beside the first; and of any other call.
const KEY_GAS: u64 = 30_000;
const CALL_GAS: u64 = 500_000;
/// Largest L1 batch of the rollups, bytes, and largest gas limit of a transaction.
const MAX_BATCH_BYTES: u32 = 120 << 10;
const MAX_TX_GAS: u64 = 30_000_000;

/// The shortest notice of rollups' terms that there may be: two epochs, and two slots for the change to be seen by all.
pub(super) const fn notice_slots(slots_per_epoch: u64) -> u64 {
    slots_per_epoch.saturating_mul(2).saturating_add(2)
}

/// A devnet's contracts: penalties that an operator can pay twice, and times that a test can wait for.
pub(super) fn parameters(network: Signing, clock: SlotClock, registrar: Address) -> Parameters {
    const ETHER: u128 = 1_000_000_000_000_000_000;
    let (genesis_ms, slot_ms) = (clock.genesis_time_ms(), clock.slot_ms());
    Parameters {
        genesis_fork_version: network.genesis_fork_version.into(),
        chain_id: network.chain_id,
        genesis_ms,
        slot_ms,
        slots_per_epoch: clock.slots_per_epoch(),
        registrar,
        notice_slots: notice_slots(clock.slots_per_epoch()),
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
            constraint_cutoff_ms: u32::try_from(slot_ms / 3).unwrap_or(u32::MAX),
        },
        market: MarketParameters { horizon_seconds: HORIZON_SECONDS, withdrawal_delay_seconds: 7_200 },
    }
}

/// The account of a key on L1.
pub(super) fn account(
    execution: &ExecutionNode,
    secret: &EcdsaSecret,
    network: &Signing,
) -> Result<L1Account, NetworkError> {
    let secret =
        EcdsaSecret::from_bytes(&secret.to_bytes()).map_err(|error| NetworkError::Key(error.to_string()))?;
    Ok(L1Account::new(execution.rpc().clone(), secret, network.chain_id))
}

/// What is put onto L1, and by whom.
pub(super) struct Deployment<'a> {
    pub(super) execution: &'a ExecutionNode,
    pub(super) keys: &'a Keys,
    pub(super) network: Signing,
    pub(super) clock: SlotClock,
    pub(super) contracts: &'a ContractsPlan,
    pub(super) rollups: Vec<u64>,
    /// The chain whose past slots get the blocks that it takes; none where validators propose.
    pub(super) history: Option<&'a BeaconNode>,
}

impl Deployment<'_> {
    /// Puts everything onto L1. Returns the first slot at which all rollups' terms are in force.
    pub(super) async fn run(&self) -> Result<Slot, NetworkError> {
        let deployer = self.account(&self.keys.deployer)?;
        let mut sent = Vec::new();
        for (call, gas) in self.deployers_calls()? {
            let nonce = u64::try_from(sent.len()).unwrap_or(u64::MAX);
            sent.push(deployer.send(&call, nonce, gas).await?);
        }
        let receipts = self.all_included(&deployer, &sent).await?;
        let logs = receipts.iter().flat_map(|receipt| receipt.inner.logs());
        let updates = logs.filter_map(|log| RollupRegistry::RollupUpdated::decode_log(&log.inner).ok());
        let in_force = Slot(updates.map(|update| update.fromSlot).max().unwrap_or_default());

        for (operator, registrations) in self.registered() {
            let account = self.account(&operator.owner)?;
            let mut sent = Vec::new();
            for call in self.operators_calls(operator, registrations.root()) {
                let nonce = u64::try_from(sent.len()).unwrap_or(u64::MAX);
                sent.push(account.send(&call, nonce, CALL_GAS).await?);
            }
            self.all_included(&account, &sent).await?;
        }
        Ok(in_force)
    }

    /// The operators that have validators to register.
    fn registered(&self) -> impl Iterator<Item = (&Operator, &RegistrationTree)> {
        let operators = self.keys.operators.iter();
        operators.filter_map(|operator| Some((operator, operator.registrations.as_ref()?)))
    }

    fn account(&self, secret: &EcdsaSecret) -> Result<L1Account, NetworkError> {
        account(self.execution, secret, &self.network)
    }

    /// Waits until all of these are in blocks.
    async fn all_included(
        &self,
        account: &L1Account,
        sent: &[B256],
    ) -> Result<Vec<TransactionReceipt>, NetworkError> {
        let slots = u32::try_from(SLOTS).unwrap_or(u32::MAX);
        let mut receipts = Vec::with_capacity(sent.len());
        for hash in sent {
            while let Some(beacon) = self.history
                && !matches!(self.execution.rpc().receipt(*hash).await, Ok(Some(_)))
                && beacon.grow(&self.keys.validators, BUILD).await?.is_some()
            {}
            receipts.push(account.included(*hash, self.clock.slot_duration().saturating_mul(slots)).await?);
        }
        Ok(receipts)
    }

    /// In one order, by one account: each stands on what is before it.
    fn deployers_calls(&self) -> Result<Vec<(Call, u64)>, NetworkError> {
        let mut calls: Vec<(Call, u64)> = self
            .contracts
            .contracts
            .iter()
            .map(|contract| {
                let call = Call { to: FACTORY, value: U256::ZERO, input: contract.factory_input() };
                (call, contract.gas_limit())
            })
            .collect();
        let addresses = &self.contracts.addresses;
        for (operator, tree) in self.registered() {
            let registrations: Result<Vec<Registry::SignedRegistration>, _> = tree
                .registrations()
                .iter()
                .map(|one| Registry::SignedRegistration::abi_decode(&one.abi_encode()))
                .collect();
            let register = Registry::registerCall {
                registrations: registrations.map_err(|error| NetworkError::Key(error.to_string()))?,
                owner: operator.owner.address(),
                signingId: EARNEST_SIGNING_ID,
            };
            let keys = u64::try_from(tree.registrations().len()).unwrap_or(u64::MAX);
            let gas = KEY_GAS.saturating_mul(keys).saturating_add(CALL_GAS);
            calls.push((Call::new(addresses.registry, &register).paying(U256::from(COLLATERAL)), gas));
        }
        let owner = self.keys.deployer.address();
        for rollup in &self.rollups {
            let grant = RollupRegistry::grantCall { rollupId: *rollup, owner };
            calls.push((Call::new(addresses.rollup_registry, &grant), CALL_GAS));
            let terms = self.terms(RollupId(*rollup)).abi_encode();
            let registration = RollupRegistry::RollupRegistration::abi_decode(&terms)
                .map_err(|error| NetworkError::Key(error.to_string()))?;
            let update = RollupRegistry::updateCall { registration };
            calls.push((Call::new(addresses.rollup_registry, &update), CALL_GAS));
        }
        Ok(calls)
    }

    fn operators_calls(&self, operator: &Operator, root: B256) -> Vec<Call> {
        let addresses = &self.contracts.addresses;
        let relay = self.keys.relay.address();
        let opt_in = Registry::optInToSlasherCall {
            registrationRoot: root,
            slasher: addresses.ordering_slasher,
            committer: operator.committer.address(),
        };
        let name_relay = OrderingMarket::nameRelayCall { registrationRoot: root, relay };
        let deposit = OrderingMarket::depositCall { account: operator.owner.address(), relay };
        vec![
            Call::new(addresses.registry, &opt_in),
            Call::new(addresses.ordering_market, &name_relay),
            Call::new(addresses.ordering_market, &deposit).paying(U256::from(ESCROW)),
        ]
    }

    fn terms(&self, rollup: RollupId) -> RollupRegistration {
        let owner = self.keys.deployer.address();
        let first = self.keys.operators.first();
        RollupRegistration {
            rollup_id: rollup,
            reserve_wei: Wei(U256::from(1_000_000_000_u64)),
            reserve_committer: first.map_or(owner, |operator| operator.committer.address()),
            revenue_recipient: owner,
            inclusion_share_bps: 1_000,
            max_batch_bytes: MAX_BATCH_BYTES,
            max_tx_gas: MAX_TX_GAS,
            policy: Policy::Fcfs,
            required_level: 1,
            opaque: false,
            active: true,
            relay: self.keys.relay.address(),
            uri: String::new(),
        }
    }
}

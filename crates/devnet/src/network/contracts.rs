//! The contracts onto L1, with the devnet's operator and its rollups.
//!
//! All of it is sent before the first block. First the deployer: the contracts, the registration of the opted-in validators,
//! the rollups. Once that is in a block the operator: its opt-in to the slasher, its relay, its escrow.

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolValue;
use earnest_bindings::{
    OrderingMarket, Registry, RollupRegistry,
    deploy::{
        FACTORY, MarketParameters, Parameters, Plan as ContractsPlan, RegistryParameters, SlasherParameters,
    },
};
use earnest_builder_types::bls;
use earnest_chain::SlotClock;
use earnest_client::{Call, L1Account, L1Error};
use earnest_protocol::{
    RollupId, Wei,
    objects::{Object, Policy, RollupRegistration},
    registry::{RegistrationTree, SignedRegistration},
    signing::{EARNEST_SIGNING_ID, EcdsaSecret, Network as Signing},
};
use serde::Serialize;

use super::{NetworkError, roles::Keys};
use crate::execution::ExecutionNode;

/// Most validators of the operator: those that one transaction can register.
pub const MAX_OPTED_IN: u64 = 256;
/// What the operator puts up, wei: four ether.
const COLLATERAL: u128 = 4_000_000_000_000_000_000;
/// What the operator can bid with, wei: ten ether.
const ESCROW: u128 = 10_000_000_000_000_000_000;
/// Slots that a transaction may take to get into a block on a busy machine.
const SLOTS: u64 = 12;
/// Gas limits: of what registers, for each key beside the first; and of any other call.
const KEY_GAS: u64 = 30_000;
const CALL_GAS: u64 = 500_000;
/// Largest L1 batch of the rollups, bytes, and largest gas limit of a transaction.
const MAX_BATCH_BYTES: u32 = 120 << 10;
const MAX_TX_GAS: u64 = 30_000_000;

/// The operator of the opted-in validators.
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
    /// How many validators it has.
    pub validators: usize,
}

/// A devnet's contracts: penalties that an operator can pay twice, and times that a test can wait for.
pub(super) fn parameters(network: Signing, clock: (u64, u64), registrar: Address) -> Parameters {
    const ETHER: u128 = 1_000_000_000_000_000_000;
    let (genesis_ms, slot_ms) = clock;
    Parameters {
        genesis_fork_version: network.genesis_fork_version.into(),
        chain_id: network.chain_id,
        genesis_ms,
        slot_ms,
        registrar,
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
        market: MarketParameters { horizon_seconds: 3_600, withdrawal_delay_seconds: 7_200 },
    }
}

/// What is put onto L1, and by whom.
pub(super) struct Deployment<'a> {
    pub(super) execution: &'a ExecutionNode,
    pub(super) keys: &'a Keys,
    pub(super) network: Signing,
    pub(super) clock: SlotClock,
    pub(super) contracts: &'a ContractsPlan,
    /// The opted-in validators' keys.
    pub(super) validators: Vec<bls::SecretKey>,
    pub(super) rollups: Vec<u64>,
}

impl Deployment<'_> {
    /// Puts everything onto L1. Without validators there is no operator.
    pub(super) async fn run(&self) -> Result<Option<ReadyOperator>, NetworkError> {
        let deployer = self.account(&self.keys.deployer)?;
        let tree = self.registrations()?;
        let limit = self.clock.slot_duration().saturating_mul(u32::try_from(SLOTS).unwrap_or(u32::MAX));
        let mut sent = Vec::new();
        for (call, gas) in self.deployers_calls(tree.as_ref())? {
            let nonce = u64::try_from(sent.len()).unwrap_or(u64::MAX);
            sent.push(deployer.send(&call, nonce, gas).await?);
        }
        self.all_included(&deployer, &sent, limit).await?;

        let Some(tree) = tree else { return Ok(None) };
        let operator = self.account(&self.keys.operator)?;
        let mut sent = Vec::new();
        for call in self.operators_calls(tree.root()) {
            let nonce = u64::try_from(sent.len()).unwrap_or(u64::MAX);
            sent.push(operator.send(&call, nonce, CALL_GAS).await?);
        }
        self.all_included(&operator, &sent, limit).await?;
        Ok(Some(ReadyOperator {
            registration_root: tree.root(),
            owner: operator.address(),
            committer: self.keys.committer.address(),
            collateral_wei: Wei(U256::from(COLLATERAL)),
            validators: tree.registrations().len(),
        }))
    }

    fn account(&self, secret: &EcdsaSecret) -> Result<L1Account, NetworkError> {
        let secret = EcdsaSecret::from_bytes(&secret.to_bytes())
            .map_err(|error| NetworkError::Key(error.to_string()))?;
        Ok(L1Account::new(self.execution.rpc().clone(), secret, self.network.chain_id))
    }

    async fn all_included(&self, account: &L1Account, sent: &[B256], limit: Duration) -> Result<(), L1Error> {
        for hash in sent {
            account.included(*hash, limit).await?;
        }
        Ok(())
    }

    /// Each validator's consent, signed by its own key.
    fn registrations(&self) -> Result<Option<RegistrationTree>, NetworkError> {
        let owner = self.keys.operator.address();
        let wrong = |error: &dyn std::fmt::Display| NetworkError::Key(error.to_string());
        let signed: Result<Vec<_>, _> = self
            .validators
            .iter()
            .map(|key| SignedRegistration::sign(owner, key, &self.network).map_err(|error| wrong(&error)))
            .collect();
        RegistrationTree::of_signed(&signed?, owner).map_err(|error| wrong(&error))
    }

    /// In one order, by one account: each stands on what is before it.
    fn deployers_calls(&self, tree: Option<&RegistrationTree>) -> Result<Vec<(Call, u64)>, NetworkError> {
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
        if let Some(tree) = tree {
            let registrations: Result<Vec<Registry::SignedRegistration>, _> = tree
                .registrations()
                .iter()
                .map(|one| Registry::SignedRegistration::abi_decode(&one.abi_encode()))
                .collect();
            let register = Registry::registerCall {
                registrations: registrations.map_err(|error| NetworkError::Key(error.to_string()))?,
                owner: self.keys.operator.address(),
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

    fn operators_calls(&self, root: B256) -> Vec<Call> {
        let addresses = &self.contracts.addresses;
        let relay = self.keys.relay.address();
        let opt_in = Registry::optInToSlasherCall {
            registrationRoot: root,
            slasher: addresses.ordering_slasher,
            committer: self.keys.committer.address(),
        };
        let name_relay = OrderingMarket::nameRelayCall { registrationRoot: root, relay };
        let deposit = OrderingMarket::depositCall { account: self.keys.operator.address(), relay };
        vec![
            Call::new(addresses.registry, &opt_in),
            Call::new(addresses.ordering_market, &name_relay),
            Call::new(addresses.ordering_market, &deposit).paying(U256::from(ESCROW)),
        ]
    }

    fn terms(&self, rollup: RollupId) -> RollupRegistration {
        let owner = self.keys.deployer.address();
        RollupRegistration {
            rollup_id: rollup,
            reserve_wei: Wei(U256::from(1_000_000_000_u64)),
            reserve_committer: self.keys.committer.address(),
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

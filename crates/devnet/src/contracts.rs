//! The contracts as a network of tests has them, and an operator's first calls of them.
//!
//! Each call comes with a gas limit: what stands on something that is in no block yet cannot be estimated.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::TransactionReceipt;
use alloy_sol_types::{SolEvent, SolValue};
use earnest_bindings::RollupRegistry;
use earnest_bindings::deploy::{
    MarketParameters, Parameters, Plan, RegistryParameters, SlasherParameters, shortest_notice,
};
use earnest_builder_types::bls;
use earnest_chain::SlotClock;
use earnest_client::{
    Call,
    operator::{Act, ActError, Contracts},
};
use earnest_protocol::{
    RollupId, Slot, Wei,
    objects::{Object, PointError, Policy, RollupRegistration},
    registry::{RegistrationTree, SignedRegistration},
    signing::{Network, SigningError},
};

const ETHER: u128 = 1_000_000_000_000_000_000;
/// What an operator puts up, wei: four ether.
pub const COLLATERAL: u128 = 4 * ETHER;
/// What an operator can bid with, wei: ten ether.
pub const ESCROW: u128 = 10 * ETHER;
/// How long after its slot a bid can be settled, seconds.
pub const HORIZON_SECONDS: u32 = 3_600;
/// Gas limit of any call but those that make contracts; of one that registers, this much more for each key.
const CALL_GAS: u64 = 500_000;
const KEY_GAS: u64 = 30_000;

/// Why an operator's keys cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// A key does not sign.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// What it signed is no point.
    #[error(transparent)]
    Point(#[from] PointError),
}

/// A test network's contracts: penalties that an operator can pay twice, and times that a test can wait for.
#[must_use]
pub fn parameters(network: Network, clock: SlotClock, registrar: Address) -> Parameters {
    let (genesis_ms, slot_ms) = (clock.genesis_time_ms(), clock.slot_ms());
    Parameters {
        genesis_fork_version: network.genesis_fork_version.into(),
        chain_id: network.chain_id,
        genesis_ms,
        slot_ms,
        slots_per_epoch: clock.slots_per_epoch(),
        registrar,
        notice_slots: shortest_notice(clock.slots_per_epoch()),
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

/// Consents of an operator's keys, each signed by its own key; none if there are no keys, or more than the Registry takes.
///
/// # Errors
/// [`RegistrationError`].
pub fn registrations(
    owner: Address,
    keys: &[bls::SecretKey],
    network: &Network,
) -> Result<Option<Arc<RegistrationTree>>, RegistrationError> {
    let signed: Vec<_> =
        keys.iter().map(|key| SignedRegistration::sign(owner, key, network)).collect::<Result<_, _>>()?;
    Ok(RegistrationTree::of_signed(&signed, owner)?.map(Arc::new))
}

/// The calls that make the contracts, in order, each with its gas limit.
pub fn creations(plan: &Plan) -> impl Iterator<Item = (Call, u64)> {
    plan.contracts.iter().map(|contract| (Call::creation(contract), contract.gas_limit()))
}

/// A rollup that sells its slots at `relay`; time that nobody holds is `reserve_committer`'s.
#[must_use]
pub fn terms(
    rollup_id: RollupId,
    owner: Address,
    relay: Address,
    reserve_committer: Address,
) -> RollupRegistration {
    RollupRegistration {
        rollup_id,
        reserve_wei: Wei(U256::from(1_000_000_000_u64)),
        reserve_committer,
        revenue_recipient: owner,
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

/// The registrar's calls that put a rollup's terms onto L1, where it is the rollup's owner too, each with its gas limit.
///
/// # Errors
/// [`ActError::Encoding`].
pub fn listing(
    terms: &RollupRegistration,
    owner: Address,
    plan: &Plan,
) -> Result<[(Call, u64); 2], ActError> {
    let registry = plan.addresses.rollup_registry;
    let grant = RollupRegistry::grantCall { rollupId: terms.rollup_id.0, owner };
    // Two bindings of one struct.
    let registration = RollupRegistry::RollupRegistration::abi_decode(&terms.abi_encode())
        .map_err(|error| ActError::Encoding(error.to_string()))?;
    let update = RollupRegistry::updateCall { registration };
    Ok([Call::new(registry, &grant), Call::new(registry, &update)].map(|call| (call, CALL_GAS)))
}

/// The first slot at which all terms are in force that these transactions put onto L1; 0 if they put none there.
#[must_use]
pub fn in_force(receipts: &[TransactionReceipt]) -> Slot {
    let logs = receipts.iter().flat_map(|receipt| receipt.inner.logs());
    let updates = logs.filter_map(|log| RollupRegistry::RollupUpdated::decode_log(&log.inner).ok());
    Slot(updates.map(|update| update.fromSlot).max().unwrap_or_default())
}

/// What an operator does once it is registered: opts in, names the relay of its market, and deposits what it bids with there.
#[must_use]
pub fn joining(root: B256, account: Address, committer: Address, relay: Address) -> [Act; 3] {
    [
        Act::OptIn { root, committer },
        Act::NameRelay { root, relay },
        Act::Deposit { account, relay, amount: U256::from(ESCROW) },
    ]
}

/// The call of an act, and its gas limit.
///
/// # Errors
/// [`ActError`].
pub fn call(act: &Act, plan: &Plan) -> Result<(Call, u64), ActError> {
    let keys = match act {
        Act::Register { tree, .. } => u64::try_from(tree.registrations().len()).unwrap_or(u64::MAX),
        _ => 0,
    };
    let gas = KEY_GAS.saturating_mul(keys).saturating_add(CALL_GAS);
    Ok((act.call(&Contracts::from(&plan.addresses))?, gas))
}

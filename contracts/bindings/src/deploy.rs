//! The contracts' deployment (design §9): parameters → creation code → addresses, the same for everybody who deploys
//! with the same parameters. Pure; `contracts/script/Deploy.s.sol` does the same in Forge.
//!
//! Each contract is made by CREATE2 through the deterministic deployment factory that most networks have at
//! [`FACTORY`], with one fixed salt.

use alloy_primitives::{
    Address, B256, Bytes, FixedBytes, U256, address, aliases::U80, b256, bytes, keccak256,
};
use alloy_sol_types::SolConstructor;
use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as};
use sha2::{Digest, Sha256};

use crate::{Inbox, OrderingMarket, OrderingSlasher, Registry, RollupRegistry};

/// The deterministic deployment factory. Called with `salt ‖ creation code`, it makes the contract by CREATE2.
pub const FACTORY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// The factory's code, for a genesis that should have it.
pub const FACTORY_CODE: Bytes = bytes!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// `keccak256("earnest.v1")`.
pub const SALT: B256 = b256!("5fe88909aef8d96581bd9fcd099f1411adcbfe58f8f5687345f07935cac815c4");

/// Most slots between a bid and its slot, as the market counts them.
const BID_AHEAD_SLOTS: u64 = 64;
/// Slots that a change of a rollup's terms is on L1 before the auctions that it bears on may open, so that all have seen its
/// block and the common reorgs, of a block or two, are over.
const SETTLE_SLOTS: u64 = 2;
/// Slots after which a batch is late for good, as the slasher counts them.
const LATE_SLOTS: u64 = 64;
/// Seconds that a lock of collateral holds at most.
const MAX_LOCK: u64 = 30 * 24 * 3600;

/// What the contracts of a network are deployed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// The consensus layer's genesis fork version.
    pub genesis_fork_version: FixedBytes<4>,
    /// The execution layer's chain id.
    pub chain_id: u64,
    /// When slot 0 starts, Unix milliseconds.
    pub genesis_ms: u64,
    /// Length of a slot, milliseconds.
    pub slot_ms: u64,
    /// Slots of an epoch. No contract has it: what must not be shorter than two epochs is held against it.
    pub slots_per_epoch: u64,
    /// Who grants rollups to their owners.
    pub registrar: Address,
    /// Slots between a change of a rollup's terms and the first slot that it applies to.
    pub notice_slots: u64,
    /// The Registry's.
    pub registry: RegistryParameters,
    /// The OrderingSlasher's.
    pub slasher: SlasherParameters,
    /// The OrderingMarket's.
    pub market: MarketParameters,
}

/// What the Registry is deployed with. Times in seconds.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryParameters {
    /// Least collateral of an operator, wei.
    #[serde_as(as = "DisplayFromStr")]
    pub min_collateral_wei: u128,
    /// How long a forged signature can be shown after registration.
    pub fraud_proof_window: u32,
    /// Time between unregistering and claiming.
    pub unregistration_delay: u32,
    /// Time after the first slash, or an opt-out, in which further slashes are possible.
    pub slash_window: u32,
    /// Least time between opt-in and opt-out.
    pub opt_in_delay: u32,
}

/// What the OrderingSlasher is deployed with. Times in seconds but for the last.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlasherParameters {
    /// What a safety fault costs, wei.
    #[serde_as(as = "DisplayFromStr")]
    pub safety_wei: u128,
    /// What a liveness fault costs, wei.
    #[serde_as(as = "DisplayFromStr")]
    pub liveness_wei: u128,
    /// Bond of an accusation, wei.
    #[serde_as(as = "DisplayFromStr")]
    pub bond_wei: u128,
    /// How long the accused has to answer.
    pub answer_seconds: u32,
    /// How long after that the accusation can be ended by a slash.
    pub conclude_seconds: u32,
    /// How long after its slot evidence counts.
    pub evidence_seconds: u32,
    /// How long before its slot the relay takes no more constraints, milliseconds.
    pub constraint_cutoff_ms: u32,
}

/// What the OrderingMarket is deployed with. Times in seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarketParameters {
    /// How long after its slot a bid can be settled.
    pub horizon_seconds: u32,
    /// How long a withdrawal waits; longer than bids stay unsettled.
    pub withdrawal_delay_seconds: u32,
}

/// Parameters that a constructor would refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParameterError(&'static str);

/// One contract of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub name: &'static str,
    /// Creation code with the constructor's arguments.
    pub init_code: Bytes,
    /// Where it will be.
    pub address: Address,
}

impl Deployment {
    fn new(name: &'static str, bytecode: &Bytes, arguments: &[u8]) -> Self {
        let init_code: Bytes = [bytecode.as_ref(), arguments].concat().into();
        let address = FACTORY.create2(SALT, keccak256(&init_code));
        Self { name, init_code, address }
    }

    /// The input of the transaction to [`FACTORY`] that makes it.
    #[must_use]
    pub fn factory_input(&self) -> Bytes {
        [SALT.as_slice(), &self.init_code].concat().into()
    }

    /// Enough gas for that transaction: where it stands before the contracts that its constructor asks are there, an
    /// estimate cannot be had. The contracts take up to 214 for each byte, most of it to store the code.
    #[must_use]
    pub fn gas_limit(&self) -> u64 {
        u64::try_from(self.init_code.len()).unwrap_or(u64::MAX).saturating_mul(240).saturating_add(60_000)
    }
}

/// Where a network's contracts are; the addresses file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Addresses {
    /// The Inbox.
    pub inbox: Address,
    /// The Registry.
    pub registry: Address,
    /// The RollupRegistry.
    pub rollup_registry: Address,
    /// The OrderingSlasher.
    pub ordering_slasher: Address,
    /// The OrderingMarket.
    pub ordering_market: Address,
}

impl Addresses {
    /// Each contract's name and address, in the order of their deployment.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, Address); 5] {
        [
            ("Inbox", self.inbox),
            ("Registry", self.registry),
            ("RollupRegistry", self.rollup_registry),
            ("OrderingSlasher", self.ordering_slasher),
            ("OrderingMarket", self.ordering_market),
        ]
    }
}

/// All contracts of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they must be made: a constructor asks those before it.
    pub contracts: [Deployment; 5],
    /// Where they will be.
    pub addresses: Addresses,
}

/// The plan of a network's deployment.
///
/// # Errors
/// [`ParameterError`] if a constructor would refuse the parameters.
pub fn plan(parameters: &Parameters) -> Result<Plan, ParameterError> {
    check(parameters)?;
    let Parameters { genesis_fork_version, chain_id, genesis_ms, slot_ms, registrar, .. } = *parameters;
    let inbox = Deployment::new(
        "Inbox",
        &Inbox::BYTECODE,
        &Inbox::constructorCall { genesisForkVersion: genesis_fork_version }.abi_encode(),
    );
    let terms = &parameters.registry;
    let config = Registry::Config {
        minCollateralWei: wei(terms.min_collateral_wei)?,
        fraudProofWindow: terms.fraud_proof_window,
        unregistrationDelay: terms.unregistration_delay,
        slashWindow: terms.slash_window,
        optInDelay: terms.opt_in_delay,
        signingDomain: signing_domain(genesis_fork_version),
        chainId: U256::from(chain_id).to_le_bytes().into(),
    };
    let registry =
        Deployment::new("Registry", &Registry::BYTECODE, &Registry::constructorCall { config }.abi_encode());
    let rollups = Deployment::new(
        "RollupRegistry",
        &RollupRegistry::BYTECODE,
        &RollupRegistry::constructorCall {
            registrar,
            genesisMs: genesis_ms,
            slotMs: slot_ms,
            noticeSlots: parameters.notice_slots,
        }
        .abi_encode(),
    );
    let judge = &parameters.slasher;
    let config = OrderingSlasher::Config {
        safetyWei: wei(judge.safety_wei)?,
        livenessWei: wei(judge.liveness_wei)?,
        bondWei: wei(judge.bond_wei)?,
        answerSeconds: judge.answer_seconds,
        concludeSeconds: judge.conclude_seconds,
        evidenceSeconds: judge.evidence_seconds,
        constraintCutoffMs: judge.constraint_cutoff_ms,
    };
    let slasher = Deployment::new(
        "OrderingSlasher",
        &OrderingSlasher::BYTECODE,
        &OrderingSlasher::constructorCall {
            registry: registry.address,
            rollupRegistry: rollups.address,
            inbox: inbox.address,
            genesisForkVersion: genesis_fork_version,
            genesisMs: genesis_ms,
            slotMs: slot_ms,
            config,
        }
        .abi_encode(),
    );
    let market = Deployment::new(
        "OrderingMarket",
        &OrderingMarket::BYTECODE,
        &OrderingMarket::constructorCall {
            registry: registry.address,
            rollupRegistry: rollups.address,
            inbox: inbox.address,
            genesisForkVersion: genesis_fork_version,
            genesisMs: genesis_ms,
            slotMs: slot_ms,
            horizonSeconds: parameters.market.horizon_seconds,
            withdrawalDelaySeconds: parameters.market.withdrawal_delay_seconds,
        }
        .abi_encode(),
    );
    let addresses = Addresses {
        inbox: inbox.address,
        registry: registry.address,
        rollup_registry: rollups.address,
        ordering_slasher: slasher.address,
        ordering_market: market.address,
    };
    Ok(Plan { contracts: [inbox, registry, rollups, slasher, market], addresses })
}

/// The shortest notice of rollups' terms that there may be, slots: two epochs, and what it takes for all to see the change.
#[must_use]
pub const fn shortest_notice(slots_per_epoch: u64) -> u64 {
    slots_per_epoch.saturating_mul(2).saturating_add(SETTLE_SLOTS)
}

/// What the constructors check, said before anything is paid for.
fn check(parameters: &Parameters) -> Result<(), ParameterError> {
    let Parameters { registry, slasher, market, slot_ms, slots_per_epoch, notice_slots, .. } = parameters;
    let longest = u64::from(slasher.answer_seconds)
        .saturating_mul(2)
        .saturating_add(slasher.conclude_seconds.into())
        .saturating_add(LATE_SLOTS.saturating_mul(*slot_ms) / 1_000);
    let unsettled_ms = u64::from(market.horizon_seconds)
        .saturating_mul(1_000)
        .saturating_add(BID_AHEAD_SLOTS.saturating_mul(*slot_ms));
    let withdrawal_ms = u64::from(market.withdrawal_delay_seconds).saturating_mul(1_000);
    let rules = [
        (*slot_ms > 0, "slot_ms is zero"),
        (*slots_per_epoch > 0, "slots_per_epoch is zero"),
        (!parameters.registrar.is_zero(), "the registrar is nobody"),
        (
            *notice_slots >= shortest_notice(*slots_per_epoch),
            "notice_slots is shorter than two epochs and two slots, so terms would change after bids were made on them",
        ),
        (registry.min_collateral_wei > 0, "registry: min_collateral_wei is zero"),
        (
            registry.slash_window >= registry.unregistration_delay,
            "registry: slash_window is shorter than unregistration_delay, so a slash would be a way out",
        ),
        (
            registry.slash_window >= slasher.evidence_seconds
                && registry.unregistration_delay >= slasher.evidence_seconds,
            "registry: slash_window or unregistration_delay is shorter than the slasher's evidence_seconds",
        ),
        (slasher.liveness_wei > 0 && slasher.bond_wei > 0, "slasher: liveness_wei or bond_wei is zero"),
        (slasher.safety_wei >= slasher.liveness_wei, "slasher: safety_wei is below liveness_wei"),
        (
            registry.min_collateral_wei / 2 >= slasher.safety_wei,
            "registry: min_collateral_wei is below twice the slasher's safety_wei, so slashing oneself would cost less",
        ),
        (
            slasher.answer_seconds > 0 && slasher.conclude_seconds > 0 && slasher.evidence_seconds > 0,
            "slasher: answer_seconds, conclude_seconds or evidence_seconds is zero",
        ),
        (longest < MAX_LOCK, "slasher: an accusation would outlast the lock of the collateral"),
        (market.horizon_seconds > 0, "market: horizon_seconds is zero"),
        (
            withdrawal_ms > unsettled_ms,
            "market: withdrawal_delay_seconds is not longer than bids can be settled",
        ),
    ];
    rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(ParameterError(broken)))
}

fn wei(amount: u128) -> Result<U80, ParameterError> {
    U80::try_from(amount).map_err(|_| ParameterError("an amount is more than 80 bits of wei"))
}

/// `0x6d6d6f43 ‖ hash_tree_root(ForkData{genesis_fork_version, 0})[0..28]` (design §3).
fn signing_domain(genesis_fork_version: FixedBytes<4>) -> B256 {
    let mut fork_data = [0_u8; 64];
    for (place, byte) in fork_data.iter_mut().zip(genesis_fork_version) {
        *place = byte;
    }
    let root = Sha256::digest(fork_data);
    let domain = [0x6d, 0x6d, 0x6f, 0x43].into_iter().chain(root);
    domain.take(32).collect::<Vec<u8>>().as_slice().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Parameters {
        serde_json::from_str(include_str!("../../script/parameters.json")).unwrap()
    }

    #[test]
    fn the_plan_depends_on_every_parameter_that_a_contract_has() {
        let first = plan(&parameters()).unwrap();
        assert_eq!(first, plan(&parameters()).unwrap());
        let changed = |change: fn(&mut Parameters)| {
            let mut parameters = parameters();
            change(&mut parameters);
            let second = plan(&parameters).unwrap();
            let named = first.addresses.named().into_iter().zip(second.addresses.named());
            named.filter(|(one, other)| one != other).map(|(one, _)| one.0).collect::<Vec<_>>()
        };
        let all = ["Inbox", "Registry", "RollupRegistry", "OrderingSlasher", "OrderingMarket"];
        let rollups = ["RollupRegistry", "OrderingSlasher", "OrderingMarket"];
        assert_eq!(changed(|it| it.genesis_fork_version = [9; 4].into()), [all[0], all[1], all[3], all[4]]);
        assert_eq!(changed(|it| it.chain_id = 9), [all[1], all[3], all[4]]);
        assert_eq!(changed(|it| it.genesis_ms = 9), rollups);
        assert_eq!(changed(|it| it.registrar = Address::repeat_byte(9)), rollups);
        assert_eq!(changed(|it| it.notice_slots = 66), rollups);
        assert!(changed(|it| it.slots_per_epoch = 8).is_empty());
        assert_eq!(changed(|it| it.registry.fraud_proof_window += 1), [all[1], all[3], all[4]]);
        assert_eq!(changed(|it| it.slasher.safety_wei -= 1), ["OrderingSlasher"]);
        assert_eq!(changed(|it| it.market.horizon_seconds -= 1), ["OrderingMarket"]);
    }

    #[test]
    fn what_a_constructor_would_refuse_is_refused_with_its_reason() {
        let refused = |change: fn(&mut Parameters)| {
            let mut parameters = parameters();
            change(&mut parameters);
            plan(&parameters).unwrap_err().to_string()
        };
        type Change = fn(&mut Parameters);
        let cases: [(Change, &str); 13] = [
            (|it| it.slot_ms = 0, "slot_ms"),
            (|it| it.slots_per_epoch = 0, "slots_per_epoch"),
            (|it| it.notice_slots = 65, "two epochs"),
            (|it| it.registrar = Address::ZERO, "registrar"),
            (|it| it.registry.min_collateral_wei = 0, "min_collateral_wei"),
            (|it| it.registry.slash_window = 0, "way out"),
            (|it| it.slasher.evidence_seconds = u32::MAX, "evidence_seconds"),
            (|it| it.slasher.safety_wei = 1, "below liveness_wei"),
            (|it| it.slasher.safety_wei = it.registry.min_collateral_wei / 2 + 1, "slashing oneself"),
            (|it| it.slasher.answer_seconds = 1_400_000, "outlast"),
            (|it| it.market.withdrawal_delay_seconds = 1, "withdrawal_delay_seconds"),
            // Two epochs ahead of its slot a bid is made, and covered.
            (
                |it| it.market.withdrawal_delay_seconds = it.market.horizon_seconds + 64 * 12,
                "withdrawal_delay_seconds",
            ),
            (|it| it.registry.min_collateral_wei = 1 << 80, "80 bits"),
        ];
        for (change, said) in cases {
            let reason = refused(change);
            assert!(reason.contains(said), "{reason}, not {said}");
        }
    }

    #[test]
    fn the_domain_is_that_of_signatures_and_the_salt_that_of_our_name() {
        let network =
            earnest_protocol::signing::Network { genesis_fork_version: [0x10, 0, 9, 0x10], chain_id: 1 };
        assert_eq!(signing_domain(network.genesis_fork_version.into()), network.domain());
        assert_eq!(SALT, keccak256("earnest.v1"));
    }

    #[test]
    fn addresses_are_a_file_with_the_contracts_names() {
        let addresses = plan(&parameters()).unwrap().addresses;
        let json = serde_json::to_value(addresses).unwrap();
        for (name, address) in addresses.named() {
            assert_eq!(json[name], serde_json::to_value(address).unwrap());
        }
        assert_eq!(serde_json::from_value::<Addresses>(json).unwrap(), addresses);
    }
}

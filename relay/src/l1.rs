//! What the relay needs to know of L1's registries (design §2).

use crate::config::Config;
use alloy_primitives::{Address, B256, U256};
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::{RollupId, Slot, auction::Operator, objects::RollupRegistration};
use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
};

/// Answers what stands in Registry, RollupRegistry and OrderingMarket. Opt-ins, operators and registrations are those that
/// count for the slot (the registry's state at its reference block), whenever that is asked.
pub(crate) trait L1: Debug + Send + Sync {
    /// Whether the validator counts as opted in for this slot: then it may delegate, and the slot is a sequencing slot.
    fn is_opted_in(&self, slot: Slot, validator: &BlsPublicKey) -> bool;

    /// The market relay that the validator's operator names.
    fn relay_of(&self, slot: Slot, validator: &BlsPublicKey) -> Option<Address>;

    /// The opted-in operator that the validator's key is registered for.
    fn operator_of(&self, slot: Slot, validator: &BlsPublicKey) -> Option<Operator>;

    /// The operator that is opted in under a registration.
    fn operator(&self, slot: Slot, registration_root: B256) -> Option<Operator>;

    /// The rollups' terms in force at the slot.
    fn rollups(&self, slot: Slot) -> Vec<RollupRegistration>;

    /// What an account deposited towards this relay, less what it asked to withdraw, wei.
    fn escrow(&self, account: Address) -> U256;

    /// Whether the right to this rollup in this slot was paid for: then the escrow is less by it.
    fn is_settled(&self, slot: Slot, rollup: RollupId) -> bool;
}

/// What the operator lists, for every slot; nothing is ever settled.
#[derive(Debug)]
pub(crate) struct Listed {
    relay: Address,
    opted_in: HashSet<BlsPublicKey>,
    operators: HashMap<B256, Operator>,
    of_validator: HashMap<BlsPublicKey, B256>,
    rollups: Vec<RollupRegistration>,
    escrow: HashMap<Address, U256>,
}

impl Listed {
    /// What this configuration lists, for the relay of this address.
    pub(crate) fn new(config: &Config, relay: Address) -> Self {
        let operators = &config.market.operators;
        let keys = |listed: &crate::market::ListedOperator| {
            let root = listed.registration_root;
            listed.validators.iter().map(move |key| (*key, root)).collect::<Vec<_>>()
        };
        let of_validator: HashMap<_, _> = operators.iter().flat_map(keys).collect();
        Self {
            relay,
            opted_in: config.opted_in.iter().chain(of_validator.keys()).copied().collect(),
            operators: operators.iter().map(|one| (one.registration_root, one.operator())).collect(),
            of_validator,
            rollups: config.market.rollups.clone(),
            escrow: config.market.escrow.iter().map(|one| (one.account, one.wei.0)).collect(),
        }
    }
}

impl L1 for Listed {
    fn is_opted_in(&self, _: Slot, validator: &BlsPublicKey) -> bool {
        self.opted_in.contains(validator)
    }

    fn relay_of(&self, slot: Slot, validator: &BlsPublicKey) -> Option<Address> {
        self.is_opted_in(slot, validator).then_some(self.relay)
    }

    fn operator_of(&self, slot: Slot, validator: &BlsPublicKey) -> Option<Operator> {
        self.operator(slot, *self.of_validator.get(validator)?)
    }

    fn operator(&self, _: Slot, registration_root: B256) -> Option<Operator> {
        self.operators.get(&registration_root).copied()
    }

    fn rollups(&self, _: Slot) -> Vec<RollupRegistration> {
        self.rollups.clone()
    }

    fn escrow(&self, account: Address) -> U256 {
        self.escrow.get(&account).copied().unwrap_or_default()
    }

    fn is_settled(&self, _: Slot, _: RollupId) -> bool {
        false
    }
}

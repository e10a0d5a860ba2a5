//! What the relay needs to know of L1's registries (design §2).

use crate::config::Config;
use alloy_primitives::{Address, B256, U256};
use earnest_builder_types::BlsPublicKey;
use earnest_chain::{
    RegistryView,
    registry::{Figures, OptedIn, OptedInOperator, State},
};
use earnest_protocol::{Slot, auction::Operator, objects::RollupRegistration, window::Timing};
use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    sync::Arc,
};

/// Answers what stands in Registry, RollupRegistry and OrderingMarket. Opt-ins, operators and registrations are those that
/// count for the slot (the registry's state at its reference block), whenever that is asked.
pub(crate) trait L1: Debug + Send + Sync {
    /// Whether the validator counts as opted in for this slot: then it may delegate, and the slot is a sequencing slot. None
    /// while that is not known.
    fn is_opted_in(&self, slot: Slot, validator: &BlsPublicKey) -> Option<bool>;

    /// The market relay that the validator's operator names.
    fn relay_of(&self, slot: Slot, validator: &BlsPublicKey) -> Option<Address>;

    /// The opted-in operator that the validator's key is registered for.
    fn operator_of(&self, slot: Slot, validator: &BlsPublicKey) -> Option<Operator>;

    /// The operator that is opted in under a registration.
    fn operator(&self, slot: Slot, registration_root: B256) -> Option<Operator>;

    /// The rollups' terms in force at the slot.
    fn rollups(&self, slot: Slot) -> Vec<RollupRegistration>;

    /// What accounts deposited and were charged, all as of one block.
    fn accounts(&self) -> Accounts<'_>;

    /// How the follower of the contracts is doing; nothing but zeros where none is.
    fn figures(&self) -> Figures {
        Figures::default()
    }
}

/// Deposits and charges as of one block: a charge and the deposit that it lessens are seen both or neither.
#[derive(Debug)]
pub(crate) enum Accounts<'a> {
    /// As the operator lists them; nothing is ever settled.
    Listed(&'a HashMap<Address, U256>),
    /// As L1 has them.
    Followed {
        /// The contracts' state.
        state: Arc<State>,
        /// Towards this relay.
        relay: Address,
    },
}

impl Accounts<'_> {
    /// What an account deposited towards this relay, less what it asked to withdraw, wei.
    pub(crate) fn escrow(&self, account: Address) -> U256 {
        match self {
            Self::Listed(listed) => listed.get(&account).copied().unwrap_or_default(),
            Self::Followed { state, relay } => {
                let escrow = state.escrow(account, *relay);
                escrow.amount.saturating_sub(escrow.withdrawal.map_or(U256::ZERO, |(asked, _)| asked))
            }
        }
    }

    /// Whether this bid for this slot was charged: then the escrow is less by it.
    pub(crate) fn is_settled(&self, slot: Slot, bid: &B256) -> bool {
        match self {
            Self::Listed(_) => false,
            Self::Followed { state, .. } => state.is_settled(slot, bid),
        }
    }
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
    fn is_opted_in(&self, _: Slot, validator: &BlsPublicKey) -> Option<bool> {
        Some(self.opted_in.contains(validator))
    }

    fn relay_of(&self, _: Slot, validator: &BlsPublicKey) -> Option<Address> {
        self.opted_in.contains(validator).then_some(self.relay)
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

    fn accounts(&self) -> Accounts<'_> {
        Accounts::Listed(&self.escrow)
    }
}

/// What the contracts say, operators by the reference-block rule; of the network's first epochs, of which the Registry cannot
/// say anything, and of contracts that are not followed, what the configuration lists.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) view: RegistryView,
    pub(crate) timing: Timing,
    pub(crate) listed: Listed,
    /// Whether the OrderingMarket is followed.
    pub(crate) has_market: bool,
    /// Whether the RollupRegistry is followed.
    pub(crate) has_rollups: bool,
}

impl Registered {
    /// Who is opted in for the slot, if the Registry says it.
    fn set(&self, slot: Slot) -> Option<Arc<OptedIn>> {
        self.view.opted_in(self.timing.epoch_of(slot))
    }

    fn is_first(&self, slot: Slot) -> bool {
        self.view.is_before_reference(self.timing.epoch_of(slot))
    }
}

const fn operator(found: &OptedInOperator) -> Operator {
    Operator { registration_root: found.root, owner: found.owner, committer: found.committer }
}

impl L1 for Registered {
    fn is_opted_in(&self, slot: Slot, validator: &BlsPublicKey) -> Option<bool> {
        if self.is_first(slot) {
            return self.listed.is_opted_in(slot, validator);
        }
        self.set(slot).map(|set| set.contains(validator))
    }

    fn relay_of(&self, slot: Slot, validator: &BlsPublicKey) -> Option<Address> {
        if self.is_first(slot) {
            return self.listed.relay_of(slot, validator);
        }
        let set = self.set(slot)?;
        let operator = set.operator_of(validator)?;
        if self.has_market { operator.relay } else { Some(self.listed.relay) }
    }

    fn operator_of(&self, slot: Slot, validator: &BlsPublicKey) -> Option<Operator> {
        if self.is_first(slot) {
            return self.listed.operator_of(slot, validator);
        }
        self.set(slot)?.operator_of(validator).map(operator)
    }

    fn operator(&self, slot: Slot, registration_root: B256) -> Option<Operator> {
        if self.is_first(slot) {
            return self.listed.operator(slot, registration_root);
        }
        self.set(slot)?.operator(&registration_root).map(operator)
    }

    fn rollups(&self, slot: Slot) -> Vec<RollupRegistration> {
        if !self.has_rollups {
            return self.listed.rollups(slot);
        }
        self.view.state().rollups().filter_map(|(_, rollup)| rollup.terms_at(slot).cloned()).collect()
    }

    fn accounts(&self) -> Accounts<'_> {
        if !self.has_market {
            return self.listed.accounts();
        }
        Accounts::Followed { state: self.view.state(), relay: self.listed.relay }
    }

    fn figures(&self) -> Figures {
        self.view.figures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_chain::{RegistryConfig, registry::Follower};
    use earnest_protocol::signing::Network;

    #[tokio::test]
    async fn of_the_first_epochs_the_list_says_it_and_later_the_registry_once_it_knows() {
        let config = RegistryConfig {
            execution: "http://127.0.0.1:1".parse().unwrap(),
            registry: Default::default(),
            slasher: Default::default(),
            market: None,
            rollups: None,
            from_block: 0,
            optin_delay: 2,
            poll_ms: 10,
            logs_range: 10,
        };
        let network = Network { genesis_fork_version: [0; 4], chain_id: 1 };
        let (_follower, view) = Follower::new(config, network, None).unwrap();
        let key = BlsPublicKey::repeat_byte(1);
        let relay = Address::repeat_byte(9);
        let listed = Listed {
            relay,
            opted_in: [key].into(),
            operators: HashMap::new(),
            of_validator: HashMap::new(),
            rollups: Vec::new(),
            escrow: [(Address::ZERO, U256::from(5))].into(),
        };
        let timing = Timing::new(0, 1_000, 8);
        let l1 = Registered { view, timing, listed, has_market: false, has_rollups: false };
        assert_eq!(l1.is_opted_in(Slot(23), &key), Some(true));
        assert_eq!(l1.relay_of(Slot(23), &key), Some(relay));
        assert_eq!(l1.is_opted_in(Slot(23), &BlsPublicKey::repeat_byte(2)), Some(false));
        assert_eq!(l1.is_opted_in(Slot(24), &key), None);
        assert_eq!(l1.relay_of(Slot(24), &key), None);
        assert_eq!(l1.operator(Slot(24), B256::ZERO), None);
        assert_eq!(l1.accounts().escrow(Address::ZERO), U256::from(5));
    }
}

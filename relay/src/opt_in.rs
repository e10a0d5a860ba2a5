//! Which proposers are opted in.

use earnest_builder_types::BlsPublicKey;
use earnest_chain::RegistryView;
use earnest_protocol::{Slot, window::Timing};
use std::{collections::HashSet, fmt::Debug};

/// Answers which proposers may delegate (design §2).
pub(crate) trait OptIn: Debug + Send + Sync {
    /// Whether the validator counts as opted in for this slot; none while that is not known.
    fn is_opted_in(&self, slot: Slot, validator: &BlsPublicKey) -> Option<bool>;
}

/// The validators that the operator lists, for every slot.
#[derive(Debug)]
pub(crate) struct Listed(HashSet<BlsPublicKey>);

impl Listed {
    /// These validators and no others.
    pub(crate) fn new(validators: &[BlsPublicKey]) -> Self {
        Self(validators.iter().copied().collect())
    }
}

impl OptIn for Listed {
    fn is_opted_in(&self, _: Slot, validator: &BlsPublicKey) -> Option<bool> {
        Some(self.0.contains(validator))
    }
}

/// The validators of the operators that the Registry has, by the reference-block rule; of the network's first epochs, of
/// which it cannot say anything, those listed.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) view: RegistryView,
    pub(crate) timing: Timing,
    pub(crate) first: Listed,
}

impl OptIn for Registered {
    fn is_opted_in(&self, slot: Slot, validator: &BlsPublicKey) -> Option<bool> {
        let epoch = self.timing.epoch_of(slot);
        if self.view.is_before_reference(epoch) {
            return self.first.is_opted_in(slot, validator);
        }
        self.view.opted_in(epoch).map(|set| set.contains(validator))
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
        let timing = Timing::new(0, 1_000, 8);
        let opt_in = Registered { view, timing, first: Listed::new(&[key]) };
        assert_eq!(opt_in.is_opted_in(Slot(23), &key), Some(true));
        assert_eq!(opt_in.is_opted_in(Slot(23), &BlsPublicKey::repeat_byte(2)), Some(false));
        assert_eq!(opt_in.is_opted_in(Slot(24), &key), None);
    }
}

//! Whose keys make sequencing slots (design §2).

use std::collections::BTreeSet;

use earnest_builder_types::BlsPublicKey;
use earnest_chain::RegistryView;
use earnest_protocol::Epoch;

/// Answers which proposers are opted in.
#[derive(Debug, Clone)]
pub struct OptIn {
    listed: BTreeSet<BlsPublicKey>,
    registry: Option<RegistryView>,
}

impl OptIn {
    /// By the Registry if there is one, else those listed, for every epoch; if none are listed, our own. With a Registry those
    /// are the ones of the network's first epochs, of which it cannot say anything.
    #[must_use]
    pub const fn new(listed: BTreeSet<BlsPublicKey>, registry: Option<RegistryView>) -> Self {
        Self { listed, registry }
    }

    /// Whether a key that proposes in `epoch` makes a sequencing slot, `own` being our keys. While that is not known, it does not.
    #[must_use]
    pub fn is_opted_in(&self, epoch: Epoch, key: &BlsPublicKey, own: &BTreeSet<BlsPublicKey>) -> bool {
        match &self.registry {
            Some(registry) if !registry.is_before_reference(epoch) => {
                registry.opted_in(epoch).is_some_and(|set| set.contains(key))
            }
            _ if self.listed.is_empty() => own.contains(key),
            _ => self.listed.contains(key),
        }
    }

    /// Waits until an answer may be another. For ever, if it never will be.
    pub async fn changed(&mut self) {
        let gone = match &mut self.registry {
            Some(registry) => !registry.changed().await,
            None => true,
        };
        if gone {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use earnest_chain::RegistryConfig;
    use earnest_chain::registry::Follower;
    use earnest_protocol::signing::Network;

    use super::*;

    const KEY: BlsPublicKey = BlsPublicKey::repeat_byte(1);

    #[tokio::test]
    async fn a_registry_that_says_nothing_yet_opts_nobody_in_but_in_the_first_epochs() {
        let config = RegistryConfig {
            execution: "http://127.0.0.1:1".parse().unwrap(),
            registry: Default::default(),
            slasher: Default::default(),
            market: None,
            rollups: None,
            from_block: 0,
            optin_delay: 1,
            poll_ms: 10,
            logs_range: 10,
        };
        let network = Network { genesis_fork_version: [0; 4], chain_id: 1 };
        let (_follower, view) = Follower::new(config, network, None).unwrap();
        let listed = BTreeSet::from([KEY]);
        let (none, other) = (BTreeSet::new(), BlsPublicKey::repeat_byte(2));
        let by_registry = OptIn::new(listed.clone(), Some(view));
        assert!(
            by_registry.is_opted_in(Epoch(0), &KEY, &none) && by_registry.is_opted_in(Epoch(1), &KEY, &none)
        );
        assert!(!by_registry.is_opted_in(Epoch(2), &KEY, &listed));
        let by_list = OptIn::new(listed.clone(), None);
        assert!(by_list.is_opted_in(Epoch(2), &KEY, &none));
        assert!(!by_list.is_opted_in(Epoch(0), &other, &BTreeSet::from([other])));
        let by_ours = OptIn::new(none.clone(), None);
        assert!(by_ours.is_opted_in(Epoch(2), &KEY, &listed) && !by_ours.is_opted_in(Epoch(2), &KEY, &none));
    }
}

//! The network's forks, and what is signed and read by them. Pure.

use alloy_primitives::B256;
use earnest_builder_types::{ForkName, domain};
use earnest_chain::Spec;

/// Forks in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forks {
    /// First epoch, fork and version, ascending.
    all: Vec<(u64, ForkName, Option<[u8; 4]>)>,
    genesis_validators_root: B256,
}

impl Forks {
    /// The forks of a beacon node's configuration.
    #[must_use]
    pub fn new(spec: &Spec, genesis_validators_root: B256) -> Self {
        let all = ForkName::ALL
            .into_iter()
            .filter_map(|fork| Some((spec.fork_epoch(fork)?, fork, spec.fork_version(fork))))
            .collect();
        Self { all, genesis_validators_root }
    }

    /// The fork in force in an epoch; none if the beacon node does not say.
    #[must_use]
    pub fn at(&self, epoch: u64) -> Option<ForkName> {
        self.find(epoch).map(|(_, fork, _)| *fork)
    }

    /// The domain that blocks of an epoch are signed in; none if the beacon node does not say.
    #[must_use]
    pub fn proposer_domain(&self, epoch: u64) -> Option<B256> {
        let (_, _, version) = self.find(epoch)?;
        Some(domain::beacon_proposer_domain((*version)?, self.genesis_validators_root))
    }

    fn find(&self, epoch: u64) -> Option<&(u64, ForkName, Option<[u8; 4]>)> {
        self.all.iter().rev().find(|(first, _, _)| *first <= epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_fork_that_began_counts() {
        let spec: Spec = serde_json::from_str(
            r#"{"CAPELLA_FORK_EPOCH":"1","CAPELLA_FORK_VERSION":"0x03000000","DENEB_FORK_EPOCH":"4"}"#,
        )
        .unwrap();
        let forks = Forks::new(&spec, B256::ZERO);
        assert_eq!(
            [0, 1, 3, 4].map(|epoch| forks.at(epoch)),
            [None, Some(ForkName::Capella), Some(ForkName::Capella), Some(ForkName::Deneb)]
        );
        let capella = domain::beacon_proposer_domain([3, 0, 0, 0], B256::ZERO);
        assert_eq!(forks.proposer_domain(2), Some(capella));
        assert_eq!(forks.proposer_domain(4), None, "its version is not known");
    }
}

//! Genesis and the chain's configuration.

use std::collections::BTreeMap;

use alloy_primitives::hex;
pub use alloy_rpc_types_beacon::genesis::GenesisData as Genesis;
use alloy_rpc_types_beacon::genesis::GenesisResponse;
use earnest_builder_types::ForkName;
use serde::Deserialize;
use serde_json::Value;

use super::BeaconClient;
use crate::{
    error::ChainError,
    slot_clock::{ClockError, SlotClock},
};

/// Forks in the order they come into force, with the keys of their entries in the specification.
const FORKS: [(ForkName, &str); 6] = [
    (ForkName::Bellatrix, "BELLATRIX"),
    (ForkName::Capella, "CAPELLA"),
    (ForkName::Deneb, "DENEB"),
    (ForkName::Electra, "ELECTRA"),
    (ForkName::Fulu, "FULU"),
    (ForkName::Gloas, "GLOAS"),
];

/// The configuration a node runs with, `/eth/v1/config/spec`. Unknown entries are kept.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Spec {
    entries: BTreeMap<String, Value>,
}

impl Spec {
    /// The entry `key` as a number. Nodes quote numbers; plain ones are read too.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.entries.get(key)? {
            Value::String(text) => text.parse().ok(),
            Value::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    /// The entry `key` as four bytes of a fork version.
    #[must_use]
    pub fn version(&self, key: &str) -> Option<[u8; 4]> {
        let text = self.entries.get(key)?.as_str()?;
        hex::decode(text).ok()?.try_into().ok()
    }

    /// The length of a slot in milliseconds: `SLOT_DURATION_MS` where the node has it, else `SECONDS_PER_SLOT`.
    #[must_use]
    pub fn slot_ms(&self) -> Option<u64> {
        self.number("SLOT_DURATION_MS").or_else(|| self.number("SECONDS_PER_SLOT")?.checked_mul(1000))
    }

    /// Slots in an epoch.
    #[must_use]
    pub fn slots_per_epoch(&self) -> Option<u64> {
        self.number("SLOTS_PER_EPOCH")
    }

    /// The chain id of the execution chain.
    #[must_use]
    pub fn chain_id(&self) -> Option<u64> {
        self.number("DEPOSIT_CHAIN_ID")
    }

    /// The fork version of genesis.
    #[must_use]
    pub fn genesis_fork_version(&self) -> Option<[u8; 4]> {
        self.version("GENESIS_FORK_VERSION")
    }

    /// The version of a fork.
    #[must_use]
    pub fn fork_version(&self, fork: ForkName) -> Option<[u8; 4]> {
        let (_, key) = FORKS.into_iter().find(|(name, _)| *name == fork)?;
        self.version(&format!("{key}_FORK_VERSION"))
    }

    /// The first epoch of a fork, if it is scheduled.
    #[must_use]
    pub fn fork_epoch(&self, fork: ForkName) -> Option<u64> {
        let (_, key) = FORKS.into_iter().find(|(name, _)| *name == fork)?;
        self.number(&format!("{key}_FORK_EPOCH")).filter(|epoch| *epoch != u64::MAX)
    }

    /// The fork in force at `epoch`; none before Bellatrix.
    #[must_use]
    pub fn fork_at(&self, epoch: u64) -> Option<ForkName> {
        let mut forks = FORKS.into_iter().rev().map(|(fork, _)| fork);
        forks.find(|fork| self.fork_epoch(*fork).is_some_and(|first| first <= epoch))
    }

    /// A clock for the chain that `genesis` began.
    ///
    /// # Errors
    /// [`ClockError::Zero`] if the lengths of slots and epochs are absent or zero.
    pub fn slot_clock(&self, genesis: &Genesis) -> Result<SlotClock, ClockError> {
        SlotClock::new(
            genesis.genesis_time.saturating_mul(1000),
            self.slot_ms().unwrap_or(0),
            self.slots_per_epoch().unwrap_or(0),
        )
    }
}

impl BeaconClient {
    /// Genesis time, validators root and fork version: `/eth/v1/beacon/genesis`.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn genesis(&self) -> Result<Genesis, ChainError> {
        let answer: GenesisResponse =
            self.ask(|node| async move { node.get_json("/eth/v1/beacon/genesis").await }).await?;
        Ok(answer.data)
    }

    /// The configuration: `/eth/v1/config/spec`.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn spec(&self) -> Result<Spec, ChainError> {
        #[derive(Deserialize)]
        struct SpecResponse {
            data: Spec,
        }
        let answer: SpecResponse =
            self.ask(|node| async move { node.get_json("/eth/v1/config/spec").await }).await?;
        Ok(answer.data)
    }

    /// The clock of the chain, from its genesis and its configuration.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer, or one that makes no clock.
    pub async fn slot_clock(&self) -> Result<SlotClock, ChainError> {
        let (genesis, spec) = (self.genesis().await?, self.spec().await?);
        spec.slot_clock(&genesis).map_err(|error| ChainError::Config(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Spec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn numbers_are_read_quoted_and_plain() {
        let spec =
            spec(r#"{"SECONDS_PER_SLOT":"12","SLOTS_PER_EPOCH":32,"BLOB_SCHEDULE":[{"EPOCH":"1"}],"X":"y"}"#);
        assert_eq!(spec.slot_ms(), Some(12_000));
        assert_eq!(spec.slots_per_epoch(), Some(32));
        assert_eq!(spec.number("X"), None);
        assert_eq!(spec.number("BLOB_SCHEDULE"), None);
    }

    #[test]
    fn milliseconds_win_over_seconds() {
        assert_eq!(spec(r#"{"SECONDS_PER_SLOT":"1","SLOT_DURATION_MS":"250"}"#).slot_ms(), Some(250));
        assert_eq!(spec(r#"{"SECONDS_PER_SLOT":"18446744073709551615"}"#).slot_ms(), None);
        assert_eq!(spec("{}").slot_ms(), None);
    }

    #[test]
    fn the_fork_in_force_is_the_last_that_began() {
        let spec = spec(
            r#"{"CAPELLA_FORK_EPOCH":"0","DENEB_FORK_EPOCH":"0","ELECTRA_FORK_EPOCH":"5","ELECTRA_FORK_VERSION":"0x05000001",
                "FULU_FORK_EPOCH":"18446744073709551615"}"#,
        );
        assert_eq!(spec.fork_at(0), Some(ForkName::Deneb));
        assert_eq!(spec.fork_at(5), Some(ForkName::Electra));
        assert_eq!(spec.fork_at(u64::MAX), Some(ForkName::Electra));
        assert_eq!(spec.fork_version(ForkName::Electra), Some([5, 0, 0, 1]));
        assert_eq!(spec.fork_version(ForkName::Fulu), None);
        assert_eq!(spec.fork_epoch(ForkName::Fulu), None);
    }

    #[test]
    fn any_bytes_are_a_spec_or_an_error() {
        bolero::check!().with_iterations(1000).for_each(|bytes: &[u8]| {
            if let Ok(spec) = serde_json::from_slice::<Spec>(bytes) {
                let _ = (spec.slot_ms(), spec.fork_at(7));
            }
        });
    }
}

//! What an operator sets. `config/gateway.toml` shows every key with its default.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use alloy_primitives::Address;
use earnest_http::LimitConfig;
use earnest_protocol::{objects::Policy, window::Fraction};
use earnest_signer::KeyFile;
use serde::{Deserialize, Serialize};
use url::Url;

/// Configuration of the gateway role.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the searchers' API listens.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Folder of the journal. One gateway process per folder.
    pub data_dir: PathBuf,
    /// Base URL of the market relay: delegations are read there, constraints sent there.
    pub relay: Url,
    /// ECDSA address of that relay; only its receipts make a delegation valid.
    pub relay_address: Address,
    /// Beacon nodes, for the slot clock.
    pub beacon: Vec<Url>,
    /// Execution client of L1, for the batches.
    pub execution: Url,
    /// The Inbox on L1.
    pub inbox: Address,
    /// Slasher named in every commitment.
    #[serde(default)]
    pub slasher: Address,
    /// The secp256k1 key that signs commitments.
    pub committer_key: KeyFile,
    /// The BLS key that signs constraints.
    pub delegate_key: KeyFile,
    /// The secp256k1 key of the L1 account that posts batches.
    pub batch_key: KeyFile,
    /// Rollups this gateway orders.
    pub rollups: Vec<RollupConfig>,
    /// Transactions that may wait for the next microblock, all rollups together; more get 503 `busy`.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// Transactions one microblock may hold.
    #[serde(default = "default_microblock")]
    pub microblock_transactions: usize,
    /// Bytes of free disk below which nothing more is promised.
    #[serde(default = "default_free_space")]
    pub free_space_floor: u64,
    /// Streams open at once; more get 503 `too_many_streams`.
    #[serde(default = "default_streams")]
    pub streams: usize,
    /// Streams that one client's address may have open; more get 429 `too_many_streams`.
    #[serde(default = "default_streams_per_client")]
    pub streams_per_client: usize,
    /// How many requests one client may make.
    #[serde(default)]
    pub clients: LimitConfig,
    /// How often the relay is asked for new delegations.
    #[serde(default = "default_poll_ms")]
    pub delegation_poll_ms: u64,
    /// Tip offered for a batch, wei per gas.
    #[serde(default = "default_tip")]
    pub batch_tip_wei: u64,
    /// Set once after restoring a backup: windows that are open then are sat out, since the backup may lack
    /// promises made in them.
    #[serde(default)]
    pub restored_from_backup: bool,
    /// How long before the slot its window ends, as a fraction of a slot (design §2).
    #[serde(default = "default_seal")]
    pub seal: Fraction,
    /// How long before the slot the relay takes its last constraint, as a fraction of a slot (design §2).
    #[serde(default = "default_constraint_cutoff")]
    pub constraint_cutoff: Fraction,
}

/// One rollup.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollupConfig {
    /// Chain id.
    pub id: u64,
    /// Execution RPC of the rollup; with it, nonce and balance are checked.
    #[serde(default)]
    pub rpc: Option<Url>,
    /// Bytes of one whole encoded L1 transaction (one segment).
    #[serde(default = "default_batch_bytes")]
    pub max_batch_bytes: u32,
    /// Segments of one window, at most 8. Fewer where L1's blocks would not hold the batches of a full window.
    #[serde(default = "default_segments")]
    pub max_segments: u16,
    /// Gas limit cap of one transaction.
    #[serde(default = "default_tx_gas")]
    pub max_tx_gas: u64,
    /// Order within a microblock.
    #[serde(default = "default_policy")]
    pub policy: Policy,
    /// Whether the rollup's transactions are bytes that the gateway does not look into.
    #[serde(default)]
    pub opaque: bool,
}

impl RollupConfig {
    /// A rollup with the defaults.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self {
            id,
            rpc: None,
            max_batch_bytes: default_batch_bytes(),
            max_segments: default_segments(),
            max_tx_gas: default_tx_gas(),
            policy: default_policy(),
            opaque: false,
        }
    }
}

/// A value with which the gateway does not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A number out of its bounds.
    #[error("{key} = {found} in the configuration: it has to be from {min} to {max}")]
    OutOfBounds {
        /// The key in the file.
        key: &'static str,
        /// What stands there.
        found: u64,
        /// Smallest value allowed.
        min: u64,
        /// Largest value allowed.
        max: u64,
    },
    /// There is nothing to order.
    #[error("the configuration names no rollup: give at least one [[rollups]]")]
    NoRollup,
    /// A rollup stands twice.
    #[error("the configuration has rollup {0} twice")]
    RollupTwice(u64),
}

/// What is allowed for each number.
const BOUNDS: [(&str, u64, u64); 6] = [
    ("delegation_poll_ms", 10, 60_000),
    ("streams", 0, 100_000),
    ("streams_per_client", 1, 100_000),
    ("queue", 1, 1_000_000),
    ("microblock_transactions", 1, 1_000_000),
    // The journal's records have at most 32 MiB.
    ("rollups.max_batch_bytes", 32 << 10, 16 << 20),
];

fn within(key: &'static str, found: u64) -> Result<(), ConfigError> {
    match BOUNDS.iter().find(|(name, ..)| *name == key) {
        Some(&(key, min, max)) if !(min..=max).contains(&found) => {
            Err(ConfigError::OutOfBounds { key, found, min, max })
        }
        _ => Ok(()),
    }
}

impl Config {
    /// Whether the gateway can work with these values.
    ///
    /// # Errors
    /// The first that it cannot work with.
    pub fn check(&self) -> Result<(), ConfigError> {
        let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        within("delegation_poll_ms", self.delegation_poll_ms)?;
        within("streams", number(self.streams))?;
        within("streams_per_client", number(self.streams_per_client))?;
        within("queue", number(self.queue))?;
        within("microblock_transactions", number(self.microblock_transactions))?;
        if self.rollups.is_empty() {
            return Err(ConfigError::NoRollup);
        }
        let mut seen = BTreeSet::new();
        for rollup in &self.rollups {
            within("rollups.max_batch_bytes", u64::from(rollup.max_batch_bytes))?;
            if !seen.insert(rollup.id) {
                return Err(ConfigError::RollupTwice(rollup.id));
            }
        }
        Ok(())
    }

    /// How often the relay is asked for delegations.
    #[must_use]
    pub const fn delegation_poll(&self) -> Duration {
        Duration::from_millis(self.delegation_poll_ms)
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 18560))
}
const fn default_queue() -> usize {
    16_384
}
const fn default_microblock() -> usize {
    4_096
}
const fn default_free_space() -> u64 {
    256 << 20
}
const fn default_streams() -> usize {
    1_024
}
const fn default_streams_per_client() -> usize {
    16
}
const fn default_poll_ms() -> u64 {
    250
}
const fn default_tip() -> u64 {
    2_000_000_000
}
const fn default_batch_bytes() -> u32 {
    120 * 1024
}
const fn default_segments() -> u16 {
    earnest_protocol::ordering::MAX_SEGMENTS
}
const fn default_tx_gas() -> u64 {
    30_000_000
}
const fn default_seal() -> Fraction {
    Fraction(1, 2)
}
const fn default_constraint_cutoff() -> Fraction {
    Fraction(1, 3)
}
const fn default_policy() -> Policy {
    Policy::Fcfs
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn config(key: &str, value: Value) -> Config {
        let zero = Address::ZERO;
        let mut config = json!({
            "data_dir": "/data", "relay": "http://relay", "relay_address": zero, "beacon": ["http://beacon"],
            "execution": "http://execution", "inbox": zero, "committer_key": { "file": "/a" },
            "delegate_key": { "file": "/b" }, "batch_key": { "file": "/c" }, "rollups": [{ "id": 1 }],
        });
        config[key] = value;
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn what_cannot_work_is_named() {
        assert_eq!(config("queue", json!(1)).check(), Ok(()));
        let two = json!([{ "id": 1, "max_batch_bytes": 32 << 10 }, { "id": 2, "max_batch_bytes": 16 << 20 }]);
        assert_eq!(config("rollups", two).check(), Ok(()));
        let cases = [
            ("delegation_poll_ms", json!(9), "delegation_poll_ms = 9 "),
            ("streams", json!(100_001), "streams = 100001 "),
            ("streams_per_client", json!(0), "streams_per_client = 0 "),
            ("queue", json!(0), "queue = 0 "),
            ("queue", json!(1_000_001), "from 1 to 1000000"),
            ("microblock_transactions", json!(0), "microblock_transactions = 0 "),
            ("rollups", json!([{ "id": 1, "max_batch_bytes": (32 << 10) - 1 }]), "from 32768 to 16777216"),
            (
                "rollups",
                json!([{ "id": 1, "max_batch_bytes": (16 << 20) + 1 }]),
                "max_batch_bytes = 16777217 ",
            ),
            ("rollups", json!([]), "no rollup"),
            ("rollups", json!([{ "id": 4 }, { "id": 4 }]), "rollup 4 twice"),
        ];
        for (key, value, said) in cases {
            let error = config(key, value.clone()).check().unwrap_err().to_string();
            assert!(error.contains(said), "{key} = {value}: {error}");
        }
    }
}

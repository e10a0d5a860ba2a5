//! What an operator sets. `config/gateway.toml` shows every key with its default.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

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

impl Config {
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

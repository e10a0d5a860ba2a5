//! What an operator sets.

use crate::{builders::BuildersConfig, market::MarketConfig};
use alloy_primitives::Address;
use earnest_builder_types::BlsPublicKey;
use earnest_chain::RegistryConfig;
use earnest_http::LimitConfig;
use earnest_protocol::{signing::Network, window::Fraction};
use earnest_signer::KeyFile;
use serde::{Deserialize, Serialize};
use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
};
use url::Url;

/// The relay's configuration, one TOML file; `config/relay.toml` shows every key. Keys without a default must be given,
/// unknown ones are refused.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen. Default `127.0.0.1:18551`; port 0 takes any free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Directory of the journal and of payloads on offer. One process at a time.
    pub data_dir: PathBuf,
    /// Beacon nodes of one network. Reads go to one that answers, blocks to all.
    pub beacon: Vec<Url>,
    /// The network. Beacon nodes of another one are refused at the start.
    pub network: Network,
    /// Key that signs bids (BLS). Its public key is what validators put into the relay's URL.
    pub bls_key: KeyFile,
    /// Key that signs receipts (ECDSA). Its address is what rollups, bids and validators name as `relay`.
    pub ecdsa_key: KeyFile,
    /// The Inbox contract: the only recipient that a delegate of an allocation entry may constrain.
    pub inbox: Address,
    /// Execution clients of the network, asked in turn. Default none: then constraints are held without a look at the
    /// parent's state, and one that can be in no block leaves its slot without a header.
    #[serde(default)]
    pub execution: Vec<Url>,
    /// Validators whose delegations are taken beside those of `market.operators`, without `registry`; with it, those of the
    /// network's first epochs, whose reference block would lie before genesis. Default none.
    #[serde(default)]
    pub opted_in: Vec<BlsPublicKey>,
    /// The Registry, which says whose delegations are taken. Default none: `opted_in` says so.
    #[serde(default)]
    pub registry: Option<RegistryConfig>,
    /// Whose blocks are taken.
    #[serde(default)]
    pub builders: BuildersConfig,
    /// Who executes builders' blocks before they are offered.
    #[serde(default)]
    pub simulation: SimulationConfig,
    /// The ordering market.
    #[serde(default)]
    pub market: MarketConfig,
    /// Cut-offs, as parts of a slot.
    #[serde(default)]
    pub timing: TimingConfig,
    /// Bounds of what is taken.
    #[serde(default)]
    pub bounds: Bounds,
    /// Requests per client, 200 a second by default. Blinded blocks do not count: a proposer's is never turned away.
    #[serde(default)]
    pub clients: LimitConfig,
    /// Seconds to wait for a beacon node at the start. Default 60.
    #[serde(default = "default_beacon_wait")]
    pub beacon_wait_secs: u64,
    /// Bytes that must stay free on the disk of `data_dir`: below, nothing new is taken (503), and below half of it no header is
    /// given out. Default 256 MiB.
    #[serde(default = "default_floor")]
    pub free_space_floor: u64,
}

/// Cut-offs of design §2, as parts of a slot: `[1, 3]` is a third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// Windows are sealed this long before their slot. Default `[1, 2]`.
    pub seal: Fraction,
    /// Constraints are taken until this long before their slot. Default `[1, 3]`.
    pub constraint_cutoff: Fraction,
    /// The slot's proposer may match a winner until this long after its auction closed. Default `[1, 8]`.
    pub first_refusal: Fraction,
    /// Headers are served until this long after the slot's start. Default `[1, 4]`.
    pub header: Fraction,
    /// Payloads are unblinded until this long after the slot's start. Default `[1, 3]`.
    pub payload: Fraction,
}

impl Default for TimingConfig {
    fn default() -> Self {
        Self {
            seal: Fraction(1, 2),
            constraint_cutoff: Fraction(1, 3),
            first_refusal: Fraction(1, 8),
            header: Fraction(1, 4),
            payload: Fraction(1, 3),
        }
    }
}

/// Endpoints that execute a block and say whether it is valid and pays what it bids
/// (`flashbots_validateBuilderSubmissionV2` to `V5`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimulationConfig {
    /// The endpoints, used in turn. Default none: then a block's worth is its builder's claim.
    pub endpoints: Vec<Url>,
    /// Milliseconds for one block; one that takes longer is not offered. Default 2,000.
    pub timeout_ms: u64,
    /// Blocks simulated at once. Default 4.
    pub parallel: usize,
    /// Blocks that wait at most; more are refused. Default 256.
    pub waiting: usize,
}

impl Default for SimulationConfig {
    fn default() -> Self {
        Self { endpoints: Vec::new(), timeout_ms: 2_000, parallel: 4, waiting: 256 }
    }
}

/// Bounds of what is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Bytes of a builder's submission, as sent and decompressed. Default 32 MiB.
    pub submission_bytes: usize,
    /// Bytes of a list of registrations. Default 32 MiB.
    pub registration_bytes: usize,
    /// Bytes of any other body. Default 2 MiB.
    pub body_bytes: usize,
    /// Milliseconds for a body to arrive. Default 5,000.
    pub body_ms: u64,
    /// Bytes of bodies held at once, from their first byte until the work on them is done; what is made of a body may take
    /// as many again. Beyond, 503. Default 1 GiB.
    pub body_budget_bytes: usize,
    /// Of them, those of one client; beyond, 429. At least twice the largest body. Default 128 MiB.
    pub body_budget_per_client: usize,
    /// Bytes of blinded blocks held at once, beside the other bodies; an eighth of them of one client. Default 256 MiB.
    pub blinded_budget_bytes: usize,
    /// Submissions that are decoded, checked or put on offer at once; others wait for a second, then 503. Default 0: twice
    /// the cores, and at least 4.
    pub submissions_at_once: usize,
    /// Registrations held. Default 1,500,000.
    pub registrations: usize,
    /// Bids held for one slot: one for each builder, parent and proposer. Those of least use go first. Default 256.
    pub bids_per_slot: usize,
    /// Blocks of one slot in memory that are or were on offer. When there are more, those whose header a proposer has had
    /// for longest are kept in files alone. Default 64.
    pub offered_per_slot: usize,
    /// Blocks of one slot in files that are or were on offer: those whose header a proposer has stay until the slot is
    /// past. When there are so many, what is on offer remains. Default 4,096.
    pub given_per_slot: usize,
    /// Bytes of the blocks that bid for one slot, and of those in memory that are or were on offer. Default 512 MiB each.
    pub bytes_per_slot: usize,
    /// Transactions that one slot may be bound to. Default 256.
    pub constraints_per_slot: usize,
    /// Bids received that the data API shows; those of the oldest slots go first. About 0.8 KiB of memory each, and 0.3
    /// KiB on the disk. Default 100,000.
    pub received_bids: usize,
    /// Of them, those of one slot: later ones are not shown. Default 5,000.
    pub received_per_slot: usize,
    /// Connections at once; fewer if the process may open too few files. Default 4,096.
    pub connections: usize,
    /// Streams open at once, a third of them of each kind: top bids, constraints, events. At most half of the connections.
    /// Default 512.
    pub streams: usize,
    /// Of them, those of one client. Default 8.
    pub streams_per_client: usize,
    /// Milliseconds after which a stream's reader that answers no ping, or takes nothing, is dropped. Default 30,000.
    pub stream_idle_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            submission_bytes: 32 << 20,
            registration_bytes: 32 << 20,
            body_bytes: 2 << 20,
            body_ms: 5_000,
            body_budget_bytes: 1 << 30,
            body_budget_per_client: 128 << 20,
            blinded_budget_bytes: 256 << 20,
            submissions_at_once: 0,
            registrations: 1_500_000,
            bids_per_slot: 256,
            offered_per_slot: 64,
            given_per_slot: 4096,
            bytes_per_slot: 512 << 20,
            constraints_per_slot: 256,
            received_bids: 100_000,
            received_per_slot: 5_000,
            connections: 4096,
            streams: 512,
            streams_per_client: 8,
            stream_idle_ms: 30_000,
        }
    }
}

fn default_listen() -> SocketAddr {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 18551).into()
}

const fn default_beacon_wait() -> u64 {
    60
}

const fn default_floor() -> u64 {
    256 << 20
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"
        data_dir = "relay-data"
        beacon = ["http://127.0.0.1:5052"]
        network = { genesis_fork_version = "0x10000910", chain_id = 560048 }
        bls_key = { file = "bls.json", password_file = "bls.txt" }
        ecdsa_key = { file = "ecdsa.hex" }
        inbox = "0x00000000000000000000000000000000000000aa"
    "#;

    #[test]
    fn the_rest_has_defaults() {
        let config: Config = toml::from_str(LEAST).unwrap();
        assert_eq!(config.listen.port(), 18551);
        assert_eq!(config.timing.constraint_cutoff, Fraction(1, 3));
        assert_eq!(config.network.chain_id, 560_048);
        assert_eq!(config.ecdsa_key.password_file, None);
        let with = format!("{LEAST}\n[timing]\nheader = [1, 8]\n");
        assert_eq!(toml::from_str::<Config>(&with).unwrap().timing.header, Fraction(1, 8));
    }

    #[test]
    fn the_shipped_file_shows_every_key_with_its_default() {
        let text = include_str!("../../config/relay.toml");
        let shipped: Config = toml::from_str(text).unwrap();
        let least: Config = toml::from_str(LEAST).unwrap();
        let value = |config: &Config| serde_json::to_value(config).unwrap();
        let shown = serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap();
        let required = ["data_dir", "beacon", "network", "bls_key", "ecdsa_key", "inbox", "registry"];
        for (key, default) in value(&least).as_object().unwrap() {
            assert!(shown.get(key).is_some(), "{key} is not shown");
            if !required.contains(&key.as_str()) {
                assert_eq!(&value(&shipped)[key], default, "{key} is shown with another value");
            }
            if let Some(table) = default.as_object().filter(|_| !key.ends_with("_key")) {
                assert!(
                    table.keys().all(|inner| shown[key].get(inner).is_some()),
                    "a key of {key} is not shown"
                );
            }
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        for extra in ["lisen = \"x\"", "[timing]\nhedder = [1, 4]", "[bounds]\nbody = 1"] {
            assert!(toml::from_str::<Config>(&format!("{LEAST}\n{extra}\n")).is_err(), "{extra}");
        }
    }
}

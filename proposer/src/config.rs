//! What an operator sets. `config/proposer.toml` shows every key with its default.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use alloy_primitives::Address;
use earnest_builder_types::BlsPublicKey;
use earnest_chain::RegistryConfig;
use earnest_protocol::signing::Network;
use earnest_protocol::window::Fraction;
use earnest_protocol::{RollupId, Wei};
use earnest_signer::layout::Layout;
use earnest_signer::remote::{CommitBoostConfig, Web3SignerConfig};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::breaker::BreakerConfig;
use crate::market::{MarketConfig, MarketError};

/// Configuration of the proposer sidecar.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the beacon node expects mev-boost.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Folder of the protection record: every delegation ever signed. A second host must share it.
    pub data_dir: PathBuf,
    /// Beacon nodes, asked in turn.
    pub beacon: Vec<Url>,
    /// The L1 network that signatures are for.
    pub network: Network,
    /// Where headers come from, mev-boost or relays, the preferred one first.
    #[serde(rename = "relays")]
    pub sources: Vec<SourceConfig>,
    /// Whom slots are delegated to. Without it nothing is signed, and the sidecar only passes through.
    #[serde(default)]
    pub gateway: Option<GatewayConfig>,
    /// The ordering market. Without it our slots' rollups go to `gateway` unbought, and nothing is bid.
    #[serde(default)]
    pub market: Option<MarketConfig>,
    /// The validator keys that sign delegations. Without it, and without a signer elsewhere, nothing is signed.
    #[serde(default)]
    pub keys: Option<KeysConfig>,
    /// A Commit-Boost signer that holds validator keys.
    #[serde(default)]
    pub commit_boost: Option<CommitBoostConfig>,
    /// A Web3Signer that holds validator keys.
    #[serde(default)]
    pub web3signer: Option<Web3SignerConfig>,
    /// Every key that is opted in, ours and others': they make the sequencing slots. Empty: our own keys. With `registry`,
    /// those of the network's first epochs, whose reference block would lie before genesis.
    #[serde(default)]
    pub opted_in: Vec<BlsPublicKey>,
    /// The Registry, which says who is opted in. Default none: `opted_in` says so.
    #[serde(default)]
    pub registry: Option<RegistryConfig>,
    /// Validators that want something else of their bids than the others.
    #[serde(default)]
    pub validators: Vec<ValidatorConfig>,
    /// Least value of a bid, in wei: below it the beacon node is left to build its own block.
    #[serde(default)]
    pub min_bid_wei: Wei,
    /// When no blocks are taken of relays for a while.
    #[serde(default)]
    pub breaker: BreakerConfig,
    /// How long before its slot a window is sealed, as a part of a slot. All parts of a network must agree on it.
    #[serde(default = "default_seal")]
    pub seal: Fraction,
    /// Our own limit for a header, in milliseconds; the caller's `X-Timeout-Ms` can only shorten it.
    #[serde(default = "default_header_limit_ms")]
    pub header_limit_ms: u64,
    /// Last moment for a header, as a part of the slot after its start.
    #[serde(default = "default_header_latest")]
    pub header_latest: Fraction,
    /// Limit for a payload, in milliseconds.
    #[serde(default = "default_payload_limit_ms")]
    pub payload_limit_ms: u64,
    /// Largest body read from the beacon node or a source, in bytes.
    #[serde(default = "default_max_body")]
    pub max_body: usize,
    /// Bytes of free disk below which no delegation is signed.
    #[serde(default = "default_free_space")]
    pub free_space_floor: u64,
}

/// One source of headers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Base URL.
    pub url: Url,
    /// What `validators` call it. Host and port of the URL, if it is left out.
    #[serde(default)]
    pub name: Option<String>,
    /// The relay's BLS key: then its signature on every bid is verified here. Leave it out for mev-boost, which verifies
    /// signatures itself; needed for an Earnest relay.
    #[serde(default)]
    pub pubkey: Option<BlsPublicKey>,
    /// Whether it is an Earnest relay: delegations go there, and constrained slots take headers only from there.
    #[serde(default)]
    pub earnest: bool,
}

/// What some validators want of their bids.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorConfig {
    /// Whose wishes these are.
    pub pubkeys: Vec<BlsPublicKey>,
    /// Whom their blocks must pay: a registration that names anyone else goes to no source.
    #[serde(default)]
    pub fee_recipient: Option<Address>,
    /// Least value of a bid for them, in wei, in place of the one for all.
    #[serde(default)]
    pub min_bid_wei: Option<Wei>,
    /// Names of the sources that may know them. Empty: all.
    #[serde(default)]
    pub relays: Vec<String>,
}

/// The gateway that holds our slots.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayConfig {
    /// Address that signs its orderings.
    pub committer: Address,
    /// BLS key that signs its constraints.
    pub delegate: BlsPublicKey,
    /// Where searchers reach it, at most 256 bytes.
    pub url: String,
    /// Rollups it orders in our slots.
    pub rollups: Vec<RollupId>,
    /// ECDSA address of the market relay, whose receipts count.
    pub relay_address: Address,
    /// The operator's account, named in the allocation.
    #[serde(default)]
    pub account: Address,
}

/// Where the validator keys are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysConfig {
    /// Folder of ERC-2335 keystores.
    pub dir: PathBuf,
    /// Folder of their passwords.
    pub passwords: PathBuf,
    /// How the folders are laid out: `lighthouse`, `nimbus`, `teku`, `lodestar` or `prysm`.
    #[serde(default = "default_layout")]
    pub layout: Layout,
}

/// Why a configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Headers have to come from somewhere.
    #[error("`relays` is empty: name at least one relay or mev-boost")]
    NoSources,
    /// Duties have to come from somewhere.
    #[error("`beacon` is empty: name at least one beacon node")]
    NoBeacon,
    /// An Earnest relay's bids must be verified.
    #[error("relay {0} is an Earnest relay: give its `pubkey`")]
    NoRelayKey(String),
    /// Delegations have to go somewhere.
    #[error("`gateway` is set, but no relay has `earnest = true`")]
    NoEarnestRelay,
    /// A validator's relay may be either of two.
    #[error("`validators` name relay {0}, and two relays are called so: give one of them another `name`")]
    NameTwice(String),
    /// A validator's relay is not there.
    #[error("`validators` name relay {0}, which is not among `relays`")]
    UnknownRelay(String),
    /// A validator has one set of wishes.
    #[error("validator {0} is named twice in `validators`")]
    ValidatorTwice(BlsPublicKey),
    /// A source that is asked twice is a source that is believed twice.
    #[error("relay {0} is named twice in `relays`")]
    SourceTwice(Url),
    /// Bidding cannot work.
    #[error(transparent)]
    Market(#[from] MarketError),
    /// An allocation would not encode.
    #[error("gateway url is longer than 256 bytes")]
    LongUrl,
    /// The Registry's section cannot work.
    #[error("{0}")]
    Registry(String),
    /// Each rollup has one holder.
    #[error("rollup {0} is named twice")]
    RollupTwice(RollupId),
}

impl Config {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.sources.is_empty() {
            return Err(ConfigError::NoSources);
        }
        if self.beacon.is_empty() {
            return Err(ConfigError::NoBeacon);
        }
        if let Some(source) = self.sources.iter().find(|source| source.earnest && source.pubkey.is_none()) {
            return Err(ConfigError::NoRelayKey(source.url.host_str().unwrap_or_default().to_owned()));
        }
        let mut urls = BTreeSet::new();
        if let Some(twice) = self.sources.iter().find(|source| !urls.insert(source.place())) {
            return Err(ConfigError::SourceTwice(twice.url.clone()));
        }
        if let Some(registry) = &self.registry {
            registry.check().map_err(|error| ConfigError::Registry(error.to_string()))?;
        }
        self.check_validators()?;
        if let Some(market) = &self.market {
            market.check()?;
            let followed = self.registry.as_ref().and_then(|registry| registry.market);
            if followed.is_some_and(|followed| followed != market.contract) {
                return Err(MarketError::TwoContracts.into());
            }
            if self.gateway.is_none() {
                return Err(MarketError::NoGateway.into());
            }
        }
        let Some(gateway) = &self.gateway else { return Ok(()) };
        if !self.sources.iter().any(|source| source.earnest) {
            return Err(ConfigError::NoEarnestRelay);
        }
        if let Some(market) = &self.market {
            let is_there = |source: &SourceConfig| source.earnest && source.name() == market.relay;
            if !self.sources.iter().any(is_there) {
                return Err(MarketError::UnknownRelay(market.relay.clone()).into());
            }
        }
        if gateway.url.len() > 256 {
            return Err(ConfigError::LongUrl);
        }
        let mut seen = BTreeSet::new();
        match gateway.rollups.iter().find(|rollup| !seen.insert(**rollup)) {
            Some(rollup) => Err(ConfigError::RollupTwice(*rollup)),
            None => Ok(()),
        }
    }

    fn check_validators(&self) -> Result<(), ConfigError> {
        let names: Vec<String> = self.sources.iter().map(SourceConfig::name).collect();
        for relay in self.validators.iter().flat_map(|validator| &validator.relays) {
            match names.iter().filter(|name| *name == relay).count() {
                0 => return Err(ConfigError::UnknownRelay(relay.clone())),
                1 => {}
                _ => return Err(ConfigError::NameTwice(relay.clone())),
            }
        }
        let mut seen = BTreeSet::new();
        let mut keys = self.validators.iter().flat_map(|validator| &validator.pubkeys);
        keys.find(|key| !seen.insert(**key)).map_or(Ok(()), |key| Err(ConfigError::ValidatorTwice(*key)))
    }

    /// Our own limit for a header.
    #[must_use]
    pub const fn header_limit(&self) -> Duration {
        Duration::from_millis(self.header_limit_ms)
    }

    /// Limit for a payload.
    #[must_use]
    pub const fn payload_limit(&self) -> Duration {
        Duration::from_millis(self.payload_limit_ms)
    }
}

impl SourceConfig {
    /// Where it is reached, whatever else stands in the URL.
    fn place(&self) -> (String, Option<u16>, String) {
        let host = self.url.host_str().unwrap_or_default().to_owned();
        (host, self.url.port_or_known_default(), self.url.path().trim_end_matches('/').to_owned())
    }

    /// What this source is called.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let host = self.url.host_str().unwrap_or_default();
            self.url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
        })
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 18550))
}
const fn default_seal() -> Fraction {
    Fraction(1, 2)
}
const fn default_header_limit_ms() -> u64 {
    900
}
const fn default_header_latest() -> Fraction {
    Fraction(1, 4)
}
const fn default_payload_limit_ms() -> u64 {
    4_000
}
const fn default_max_body() -> usize {
    32 << 20
}
const fn default_free_space() -> u64 {
    64 << 20
}
const fn default_layout() -> Layout {
    Layout::Lighthouse
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../config/proposer.toml");

    #[test]
    fn the_shipped_file_works_and_shows_every_key_with_its_default() {
        let config: Config = toml::from_str(SHIPPED).unwrap();
        config.check().unwrap();
        let mut table: toml::Table = SHIPPED.parse().unwrap();
        let all = toml::Table::try_from(&config).unwrap();
        for key in all.keys() {
            assert!(table.contains_key(key), "{key} is not shown");
        }
        // Without what has a default, the same comes out: the file states the true defaults.
        for key in [
            "listen",
            "seal",
            "header_limit_ms",
            "header_latest",
            "payload_limit_ms",
            "max_body",
            "free_space_floor",
            "opted_in",
            "min_bid_wei",
            "breaker",
        ] {
            table.remove(key).unwrap();
        }
        for (section, key) in [
            ("gateway", "account"),
            ("keys", "layout"),
            ("registry", "from_block"),
            ("registry", "optin_delay"),
            ("registry", "poll_ms"),
            ("registry", "logs_range"),
            ("market", "dry_run"),
            ("market", "slots"),
            ("market", "first_refusal"),
            ("commit_boost", "timeout_ms"),
            ("web3signer", "timeout_ms"),
        ] {
            table[section].as_table_mut().unwrap().remove(key).unwrap();
        }
        let defaults: Config = table.try_into().unwrap();
        assert_eq!(toml::Table::try_from(&defaults).unwrap(), all);
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for (find, with) in [
            ("listen =", "listens = 1\nlisten ="),
            ("[network]", "[network]\nname = \"x\""),
            ("earnest = true", "earnest = true\nweight = 1"),
            ("lost_blocks =", "lost = 1\nlost_blocks ="),
            ("rollups =", "rolups = []\nrollups ="),
            ("[[validators]]", "[[validators]]\nrelay = \"x\""),
            ("layout =", "format = \"x\"\nlayout ="),
        ] {
            let text = SHIPPED.replacen(find, with, 1);
            assert_ne!(text, SHIPPED);
            assert!(toml::from_str::<Config>(&text).is_err(), "{with}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        let whole: Config = toml::from_str(SHIPPED).unwrap();
        let with = |change: fn(&mut Config)| {
            let mut config = whole.clone();
            change(&mut config);
            config.check()
        };
        assert_eq!(with(|config| config.sources.clear()), Err(ConfigError::NoSources));
        assert_eq!(with(|config| config.beacon.clear()), Err(ConfigError::NoBeacon));
        let keyless = with(|config| config.sources[0].pubkey = None);
        assert_eq!(keyless, Err(ConfigError::NoRelayKey("127.0.0.1".into())));
        assert_eq!(with(|config| config.sources[0].earnest = false), Err(ConfigError::NoEarnestRelay));
        let gateway =
            |config: &mut Config, change: fn(&mut GatewayConfig)| change(config.gateway.as_mut().unwrap());
        let mut long = whole.clone();
        gateway(&mut long, |gateway| gateway.url = "x".repeat(257));
        assert_eq!(long.check(), Err(ConfigError::LongUrl));
        let mut twice = whole.clone();
        gateway(&mut twice, |gateway| gateway.rollups = vec![RollupId(1), RollupId(1)]);
        assert_eq!(twice.check(), Err(ConfigError::RollupTwice(RollupId(1))));
        let mut at_once = whole.clone();
        at_once.registry.as_mut().unwrap().optin_delay = 0;
        assert!(matches!(at_once.check(), Err(ConfigError::Registry(_))));
        let mut unknown = whole.clone();
        unknown.validators[0].relays = vec!["nobody".to_owned()];
        assert_eq!(unknown.check(), Err(ConfigError::UnknownRelay("nobody".to_owned())));
        let mut same = whole.clone();
        same.sources[1].name = same.sources[0].name.clone();
        assert_eq!(same.check(), Err(ConfigError::NameTwice("earnest".to_owned())));
        let mut again = whole.clone();
        again.validators.push(again.validators[0].clone());
        assert!(matches!(again.check(), Err(ConfigError::ValidatorTwice(_))));
        let market = |change: fn(&mut MarketConfig)| {
            let mut config = whole.clone();
            change(config.market.as_mut().unwrap());
            config.check()
        };
        let refused = market(|market| market.relay = "mev-boost".to_owned());
        assert_eq!(refused, Err(MarketError::UnknownRelay("mev-boost".to_owned()).into()));
        let refused = market(|market| market.values.push(market.values[0].clone()));
        assert_eq!(refused, Err(MarketError::ValueTwice(RollupId(42069)).into()));
        let refused = market(|market| market.bonuses[0].rollups.push(RollupId(42069)));
        assert_eq!(refused, Err(MarketError::BadSet.into()));
        let mut alone = whole.clone();
        alone.gateway = None;
        assert_eq!(alone.check(), Err(MarketError::NoGateway.into()));
        let mut none = whole.clone();
        none.market = None;
        none.validators.clear();
        none.gateway = None;
        none.sources[0].earnest = false;
        assert_eq!(none.check(), Ok(()));
    }
}

//! The keys and configurations of a devnet's roles.

use std::{net::SocketAddr, path::Path};

use alloy_primitives::hex;
use earnest_bindings::deploy::Addresses;
use earnest_builder_types::{BlsPublicKey, bls};
use earnest_protocol::signing::{EcdsaSecret, Network as Signing};
use earnest_signer::KeyFile;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

use super::{NetworkError, NetworkOptions, io_error};
use crate::{anvil::AnvilNode, validator::interop_key};

/// Epochs from the reference block's to the one before the proposers' own: the least that there may be.
pub(super) const OPTIN_DELAY: u64 = 1;
/// Accounts for whoever uses the devnet.
const USERS: u8 = 4;

/// The secrets of a devnet's roles, made anew for each.
pub(super) struct Keys {
    pub(super) relay: EcdsaSecret,
    pub(super) relay_bls: bls::SecretKey,
    pub(super) builder: bls::SecretKey,
    pub(super) committer: EcdsaSecret,
    pub(super) delegate: bls::SecretKey,
    pub(super) batch: EcdsaSecret,
    pub(super) deployer: EcdsaSecret,
    pub(super) operator: EcdsaSecret,
    pub(super) validators: Vec<bls::SecretKey>,
}

impl Keys {
    pub(super) fn new(validators: u64) -> Result<Self, NetworkError> {
        let random = || bls::SecretKey::random().map_err(|error| NetworkError::Key(error.to_string()));
        let interop = |index| interop_key(index).map_err(|error| NetworkError::Key(error.to_string()));
        Ok(Self {
            relay: EcdsaSecret::random(),
            relay_bls: random()?,
            builder: random()?,
            committer: EcdsaSecret::random(),
            delegate: random()?,
            batch: EcdsaSecret::random(),
            deployer: EcdsaSecret::random(),
            operator: EcdsaSecret::random(),
            validators: (0..validators).map(interop).collect::<Result<_, _>>()?,
        })
    }

    /// The keys of the validators that are opted in.
    pub(super) fn opted_in<'a>(
        &'a self,
        opted_in: &'a [BlsPublicKey],
    ) -> impl Iterator<Item = bls::SecretKey> + 'a {
        self.validators.iter().filter(|key| opted_in.contains(&key.public_key())).cloned()
    }
}

/// The same accounts in every devnet, so that a wallet needs them once.
pub(super) fn users() -> Result<Vec<EcdsaSecret>, NetworkError> {
    (1..=USERS)
        .map(|user| {
            let key = alloy_primitives::keccak256([b"earnest devnet user".as_slice(), &[user]].concat());
            EcdsaSecret::from_bytes(&key.0).map_err(|error| NetworkError::Key(error.to_string()))
        })
        .collect()
}

/// What the roles' configurations are made from.
pub(super) struct Plan<'a> {
    pub(super) folder: &'a Path,
    pub(super) options: &'a NetworkOptions,
    pub(super) keys: &'a Keys,
    pub(super) beacon: Url,
    pub(super) execution: Url,
    pub(super) network: Signing,
    pub(super) contracts: &'a Addresses,
    pub(super) opted_in: &'a [BlsPublicKey],
}

impl Plan<'_> {
    pub(super) fn relay(&self) -> Result<earnest_relay::Config, NetworkError> {
        self.config(
            "relay",
            json!({
                "listen": loopback(),
                "data_dir": self.folder.join("relay"),
                "beacon": [&self.beacon],
                "execution": [&self.execution],
                "network": self.network,
                "bls_key": self.key_file("relay-bls", self.keys.relay_bls.to_bytes().as_ref())?,
                "ecdsa_key": self.key_file("relay-ecdsa", self.keys.relay.to_bytes().as_ref())?,
                "inbox": self.contracts.inbox,
                "opted_in": self.opted_in,
                "registry": self.registry(),
                "clients": { "per_second": 0 },
                "free_space_floor": 0,
            }),
        )
    }

    pub(super) fn gateway(
        &self,
        relay: &Url,
        anvils: &[AnvilNode],
    ) -> Result<earnest_gateway::Config, NetworkError> {
        let rollups: Vec<Value> = self
            .options
            .all_rollups()
            .into_iter()
            .map(|id| match anvils.iter().find(|anvil| anvil.chain_id() == id) {
                Some(anvil) => json!({ "id": id, "rpc": anvil.rpc_url() }),
                None => json!({ "id": id }),
            })
            .collect();
        self.config(
            "gateway",
            json!({
                "listen": loopback(),
                "data_dir": self.folder.join("gateway"),
                "relay": relay,
                "relay_address": self.keys.relay.address(),
                "beacon": [&self.beacon],
                "execution": self.execution,
                "inbox": self.contracts.inbox,
                "slasher": self.contracts.ordering_slasher,
                "committer_key": self.key_file("committer", self.keys.committer.to_bytes().as_ref())?,
                "delegate_key": self.key_file("delegate", self.keys.delegate.to_bytes().as_ref())?,
                "batch_key": self.key_file("batch", self.keys.batch.to_bytes().as_ref())?,
                "rollups": rollups,
                "clients": { "per_second": self.options.gateway_rate },
                "free_space_floor": 0,
            }),
        )
    }

    pub(super) fn proposer(
        &self,
        relay: &Url,
        gateway: &Url,
    ) -> Result<earnest_proposer::Config, NetworkError> {
        self.config(
            "proposer",
            json!({
                "listen": loopback(),
                "data_dir": self.folder.join("proposer"),
                "beacon": [&self.beacon],
                "network": self.network,
                "relays": [{
                    "url": relay,
                    "pubkey": self.keys.relay_bls.public_key(),
                    "earnest": true,
                }],
                "gateway": {
                    "committer": self.keys.committer.address(),
                    "delegate": self.keys.delegate.public_key(),
                    "url": gateway,
                    "rollups": self.options.all_rollups(),
                    "relay_address": self.keys.relay.address(),
                    "account": self.keys.operator.address(),
                },
                "opted_in": self.opted_in,
                "registry": self.registry(),
                "free_space_floor": 0,
            }),
        )
    }

    /// The Registry as all roles follow it. Of the first epochs the list says who is opted in: epochs are short, and nobody
    /// should have to wait for two of them.
    fn registry(&self) -> Value {
        json!({
            "execution": self.execution,
            "registry": self.contracts.registry,
            "slasher": self.contracts.ordering_slasher,
            "market": self.contracts.ordering_market,
            "rollups": self.contracts.rollup_registry,
            "optin_delay": OPTIN_DELAY,
            "poll_ms": (self.options.slot_ms / 4).clamp(50, 1_000),
        })
    }

    /// A role's configuration from what differs from its defaults; also written as `<role>.toml`, so that the
    /// role can be run by itself.
    fn config<T: Serialize + DeserializeOwned>(&self, role: &str, keys: Value) -> Result<T, NetworkError> {
        let wrong = |error: String| NetworkError::Config { role: role.to_owned(), error };
        let config: T = serde_json::from_value(keys).map_err(|error| wrong(error.to_string()))?;
        let text = toml::to_string(&config).map_err(|error| wrong(error.to_string()))?;
        std::fs::write(self.folder.join(format!("{role}.toml")), text)
            .map_err(io_error("write a configuration"))?;
        Ok(config)
    }

    fn key_file(&self, name: &str, secret: &[u8]) -> Result<KeyFile, NetworkError> {
        let path = self.folder.join(name);
        std::fs::write(&path, hex::encode(secret)).map_err(io_error("write a key"))?;
        Ok(KeyFile::bare(path))
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

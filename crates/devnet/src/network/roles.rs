//! The keys and configurations of a devnet's roles.

use std::{net::SocketAddr, path::Path, sync::Arc};

use alloy_primitives::hex;
use earnest_bindings::deploy::Addresses;
use earnest_builder_types::{BlsPublicKey, bls};
use earnest_protocol::{
    registry::RegistrationTree,
    signing::{EcdsaSecret, Network as Signing},
};
use earnest_signer::KeyFile;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

use super::{NetworkError, NetworkOptions, io_error};
use crate::{
    anvil::AnvilNode,
    contracts::{HORIZON_SECONDS, registrations},
    validator::interop_key,
};

/// Epochs from the reference block's to the one before the proposers' own: the least that there may be.
pub(super) const OPTIN_DELAY: u64 = 1;
/// Accounts for whoever uses the devnet.
const USERS: u8 = 4;
/// What operators call the relay.
const RELAY: &str = "earnest";
/// Most wei that an operator has at stake in one epoch: two ether.
const BUDGET: u128 = 2_000_000_000_000_000_000;
/// What a window is worth, wei: 0.02 ether.
const VALUE: u128 = 20_000_000_000_000_000;
/// What the first rollup's is worth to the first operator: 0.03 ether.
const FAVOURITE: u128 = 30_000_000_000_000_000;

/// The secrets of a devnet's roles, made anew for each.
pub(super) struct Keys {
    pub(super) relay: EcdsaSecret,
    pub(super) relay_bls: bls::SecretKey,
    pub(super) builder: bls::SecretKey,
    pub(super) deployer: EcdsaSecret,
    /// By index.
    pub(super) validators: Vec<bls::SecretKey>,
    /// One at least, though it may have no validator that is opted in.
    pub(super) operators: Vec<Operator>,
}

/// One operator: validators behind a sidecar, and a gateway.
pub(super) struct Operator {
    /// Its place among the operators, from 0.
    pub(super) place: usize,
    pub(super) owner: EcdsaSecret,
    pub(super) committer: EcdsaSecret,
    pub(super) delegate: bls::SecretKey,
    pub(super) batch: EcdsaSecret,
    /// Its opted-in validators.
    pub(super) opted_in: Vec<bls::SecretKey>,
    /// All validators behind its sidecar.
    pub(super) validators: Vec<bls::SecretKey>,
    /// The consent of those that are opted in; none if nobody is.
    pub(super) registrations: Option<Arc<RegistrationTree>>,
}

impl Keys {
    pub(super) fn new(options: &NetworkOptions, network: &Signing) -> Result<Self, NetworkError> {
        let random = || bls::SecretKey::random().map_err(|error| NetworkError::Key(error.to_string()));
        let interop = |index| interop_key(index).map_err(|error| NetworkError::Key(error.to_string()));
        let validators: Vec<bls::SecretKey> =
            (0..options.validators).map(interop).collect::<Result<_, _>>()?;
        let operators = (0..options.operators)
            .map(|place| Operator::new(place, options, network, &validators))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            relay: EcdsaSecret::random(),
            relay_bls: random()?,
            builder: random()?,
            deployer: EcdsaSecret::random(),
            validators,
            operators,
        })
    }

    /// The accounts that pay for something on L1.
    pub(super) fn payers(&self) -> impl Iterator<Item = &EcdsaSecret> {
        let of_operators = self.operators.iter().flat_map(|operator| [&operator.owner, &operator.batch]);
        of_operators.chain([&self.deployer])
    }

    /// The validators that are opted in.
    pub(super) fn opted_in(&self) -> Vec<BlsPublicKey> {
        let opted_in = self.operators.iter().flat_map(|operator| &operator.opted_in);
        opted_in.map(bls::SecretKey::public_key).collect()
    }
}

impl Operator {
    /// The opted-in validators are dealt out in turn; the others are the first one's.
    fn new(
        place: u64,
        options: &NetworkOptions,
        network: &Signing,
        validators: &[bls::SecretKey],
    ) -> Result<Self, NetworkError> {
        let wrong = |error: &dyn std::fmt::Display| NetworkError::Key(error.to_string());
        let own = |index: u64| {
            let dealt = index.checked_rem(options.operators) == Some(place);
            if index < options.opted_in { dealt } else { place == 0 }
        };
        let owned = || (0_u64..).zip(validators).filter(|(index, _)| own(*index));
        let keys = |owned: &mut dyn Iterator<Item = (u64, &bls::SecretKey)>| {
            owned.map(|(_, key)| key.clone()).collect::<Vec<_>>()
        };
        let opted_in = keys(&mut owned().filter(|(index, _)| *index < options.opted_in));
        let owner = EcdsaSecret::random();
        let registrations =
            registrations(owner.address(), &opted_in, network).map_err(|error| wrong(&error))?;
        Ok(Self {
            place: usize::try_from(place).map_err(|error| wrong(&error))?,
            committer: EcdsaSecret::random(),
            delegate: bls::SecretKey::random().map_err(|error| wrong(&error))?,
            batch: EcdsaSecret::random(),
            validators: keys(&mut owned()),
            owner,
            opted_in,
            registrations,
        })
    }

    /// What its files are called.
    fn named(&self, name: &str) -> String {
        match self.place {
            0 => name.to_owned(),
            place => format!("{name}-{}", place.saturating_add(1)),
        }
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
}

impl Plan<'_> {
    pub(super) fn relay(&self) -> Result<earnest_relay::Config, NetworkError> {
        let market = if self.options.market {
            json!({ "contract": self.contracts.ordering_market, "horizon_secs": HORIZON_SECONDS })
        } else {
            json!({})
        };
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
                "opted_in": self.keys.opted_in(),
                "registry": self.registry(),
                "market": market,
                "clients": { "per_second": 0 },
                "free_space_floor": 0,
            }),
        )
    }

    pub(super) fn gateway(
        &self,
        operator: &Operator,
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
            &operator.named("gateway"),
            json!({
                "listen": loopback(),
                "data_dir": self.folder.join(operator.named("gateway")),
                "relay": relay,
                "relay_address": self.keys.relay.address(),
                "beacon": [&self.beacon],
                "execution": self.execution,
                "inbox": self.contracts.inbox,
                "slasher": self.contracts.ordering_slasher,
                "committer_key":
                    self.key_file(&operator.named("committer"), operator.committer.to_bytes().as_ref())?,
                "delegate_key":
                    self.key_file(&operator.named("delegate"), operator.delegate.to_bytes().as_ref())?,
                "batch_key": self.key_file(&operator.named("batch"), operator.batch.to_bytes().as_ref())?,
                "rollups": rollups,
                "clients": { "per_second": self.options.gateway_rate },
                "free_space_floor": 0,
            }),
        )
    }

    pub(super) fn proposer(
        &self,
        operator: &Operator,
        relay: &Url,
        gateway: &Url,
    ) -> Result<earnest_proposer::Config, NetworkError> {
        let mut keys = json!({
                "listen": loopback(),
                "data_dir": self.folder.join(operator.named("proposer")),
                "beacon": [&self.beacon],
                "network": self.network,
                "relays": [{
                    "url": relay,
                    "name": RELAY,
                    "pubkey": self.keys.relay_bls.public_key(),
                    "earnest": true,
                }],
                "gateway": {
                    "committer": operator.committer.address(),
                    "delegate": operator.delegate.public_key(),
                    "url": gateway,
                    "rollups": self.options.all_rollups(),
                    "relay_address": self.keys.relay.address(),
                    "account": operator.owner.address(),
                },
                "opted_in": self.keys.opted_in(),
                "registry": self.registry(),
                "free_space_floor": 0,
        });
        if let (Some(market), Some(keys)) = (self.bidding(operator)?, keys.as_object_mut()) {
            keys.insert("market".to_owned(), market);
        }
        self.config(&operator.named("proposer"), keys)
    }

    /// What an operator bids: each rollup's window is worth the same to all, but for the first one's, which is worth more to
    /// the first operator. So that one wins in the slots of others too, and of equal bids a slot's own proposer has first
    /// refusal. None without a market, or without a validator that is opted in.
    fn bidding(&self, operator: &Operator) -> Result<Option<Value>, NetworkError> {
        let Some(registrations) = operator.registrations.as_ref().filter(|_| self.options.market) else {
            return Ok(None);
        };
        let rollups = self.options.all_rollups();
        let favourite = rollups.first().copied().filter(|_| operator.place == 0);
        let values: Vec<Value> = rollups
            .iter()
            .map(|id| {
                let wei = if favourite == Some(*id) { FAVOURITE } else { VALUE };
                json!({ "rollup": id.to_string(), "value_wei": wei.to_string() })
            })
            .collect();
        Ok(Some(json!({
            "contract": self.contracts.ordering_market,
            "relay": RELAY,
            "registration_root": registrations.root(),
            "account_key": self.key_file(&operator.named("account"), operator.owner.to_bytes().as_ref())?,
            "slots": "all",
            "budget_wei": BUDGET.to_string(),
            "values": values,
        })))
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

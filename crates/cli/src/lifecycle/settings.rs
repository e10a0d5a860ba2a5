//! What the commands need of the sidecar's configuration, with what options put in its place.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256, U256};
use clap::Args;
use earnest_bindings::deploy::Addresses;
use earnest_chain::registry::RegistryConfig;
use earnest_chain::{ExecutionClient, SlotClock};
use earnest_client::operator::standing::Reader;
use earnest_client::operator::{Contracts, Record};
use earnest_proposer::Config;
use earnest_protocol::signing::EcdsaSecret;
use earnest_signer::{KeyFile, Password, keyring};
use url::Url;

use crate::failure::Failure;
use crate::role::{self, RoleArgs, cause};

/// Largest addresses or registration file, in bytes: a registration of as many keys as there can be is smaller.
const MAX_FILE: u64 = 32 << 20;
/// Most registration files that are read of a folder.
const MAX_RECORDS: usize = 10_000;

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Common {
    #[command(flatten)]
    role: RoleArgs,
    /// Addresses file of `earnest contracts deploy`, in place of `[registry]`'s.
    #[arg(long)]
    addresses: Option<PathBuf>,
    /// Execution client of L1, in place of `[registry]`'s.
    #[arg(long)]
    rpc: Option<Url>,
    /// Folder of registration files, and of what was sent and is not in a block yet. Default: `operator` in `data_dir`.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Options of commands that send transactions.
#[derive(Debug, Args)]
pub(crate) struct Sending {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Key of the operator's owner, which pays: a keystore, or a file with 32 bytes in hexadecimal. Default: `[market]`'s
    /// `account_key`.
    #[arg(long)]
    owner_key_file: Option<PathBuf>,
    /// The keystore's password file.
    #[arg(long, requires = "owner_key_file", conflicts_with = "owner_password_env")]
    owner_password_file: Option<PathBuf>,
    /// Environment variable that holds the keystore's password.
    #[arg(long, requires = "owner_key_file")]
    owner_password_env: Option<String>,
    /// Send nothing: show what would be done, and what it would cost.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Seconds for each transaction to get into a block.
    #[arg(long, default_value_t = 300)]
    pub(crate) limit: u64,
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    pub(crate) client: ExecutionClient,
    pub(crate) contracts: Contracts,
    pub(crate) registry: RegistryConfig,
    pub(crate) folder: PathBuf,
}

impl Settings {
    /// Reads them. Nothing is asked of anybody yet.
    pub(crate) fn read(common: &Common) -> Result<Self, Failure> {
        let config: Config = role::read(&common.role)?;
        config.check().map_err(cause)?;
        let addresses = common.addresses.as_deref().map(read_addresses).transpose()?;
        let registry = registry(&config, addresses.as_ref(), common.rpc.as_ref())?;
        let contracts =
            Contracts { registry: registry.registry, slasher: registry.slasher, market: registry.market };
        let client = ExecutionClient::new(registry.execution.clone()).map_err(cause)?;
        let folder = common.dir.clone().unwrap_or_else(|| config.data_dir.join("operator"));
        Ok(Self { config, client, contracts, registry, folder })
    }

    /// A reader of the newest block of L1, whose Registry is of our network.
    pub(crate) async fn reader(&self) -> Result<Reader<'_>, Failure> {
        let network = &self.config.network;
        let found = self.client.chain_id().await.map_err(cause)?;
        if found != network.chain_id {
            let expected = network.chain_id;
            return Err(Failure::new(format!(
                "the execution client has chain id {found}, and [network] says {expected}"
            )));
        }
        let reader = Reader::latest(&self.client, self.contracts).await.map_err(cause)?;
        let terms = reader.terms().await.map_err(cause)?;
        if terms.signing_domain != network.domain() || terms.chain_id != U256::from(network.chain_id) {
            return Err(Failure::new(format!(
                "the Registry at {} is of another network than [network] says: its chain id is {}, its signing domain {}",
                self.contracts.registry, terms.chain_id, terms.signing_domain
            )));
        }
        Ok(reader)
    }

    /// The beacon chain's clock; none, with the reason, if no beacon node answers.
    pub(crate) async fn clock(&self) -> Result<SlotClock, String> {
        let beacon = earnest_chain::BeaconClient::new(self.config.beacon.clone());
        let beacon = beacon.map_err(|error| error.to_string())?;
        beacon.slot_clock().await.map_err(|error| error.to_string())
    }

    /// The market relay: the option's, else the gateway's where there is a market.
    pub(crate) fn relay(&self, option: Option<Address>) -> Option<Address> {
        let gateway = self.config.gateway.as_ref().filter(|_| self.config.market.is_some());
        option.or_else(|| gateway.map(|gateway| gateway.relay_address))
    }

    /// Loads the owner's key.
    pub(crate) async fn owner_key(&self, sending: &Sending) -> Result<EcdsaSecret, Failure> {
        let market = self.config.market.as_ref().map(|market| market.account_key.clone());
        let password_file = sending.owner_password_file.clone();
        let option = sending.owner_key_file.clone().map(|file| KeyFile { file, password_file });
        let key = option.or(market).ok_or_else(|| {
            Failure::new("the owner's key is missing: give --owner-key-file, or [market] account_key")
        })?;
        let variable = sending.owner_password_env.clone();
        // Keystores are slow on purpose.
        let loading = tokio::task::spawn_blocking(move || match variable {
            Some(variable) => {
                let password = Password::from_env(&variable).map_err(cause)?;
                keyring::load_ecdsa(&key.file, &password).map_err(|error| of_file(&key.file, error))
            }
            None => key.ecdsa().map_err(cause),
        });
        loading.await.map_err(cause)?
    }

    /// The registrations whose files are in the folder, of this network and Registry.
    pub(crate) fn records(&self) -> Result<Vec<Record>, Failure> {
        let mut found = Vec::new();
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(of_file(&self.folder, error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| of_file(&self.folder, error))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !(name.starts_with("registration-") && name.ends_with(".json")) {
                continue;
            }
            if found.len() >= MAX_RECORDS {
                return Err(of_file(&self.folder, format!("more than {MAX_RECORDS} registrations")));
            }
            let record = Record::read(&read_file(&path)?).map_err(|error| of_file(&path, error))?;
            if record.network == self.config.network && record.registry == self.contracts.registry {
                found.push(record);
            }
        }
        found.sort_by_key(|record| record.registration_root);
        Ok(found)
    }

    /// The root that `[market]` names.
    pub(crate) fn configured_root(&self) -> Option<B256> {
        let market = self.config.market.as_ref()?;
        Some(market.registration_root).filter(|root| !root.is_zero())
    }

    /// The one operator that a command is about: the option's, `[market]`'s, or the only registration in the folder.
    pub(crate) fn root(&self, option: Option<B256>) -> Result<B256, Failure> {
        if let Some(root) = option.or_else(|| self.configured_root()) {
            return Ok(root);
        }
        let records = self.records()?;
        match records.as_slice() {
            [record] => Ok(record.registration_root),
            [] => Err(Failure::new(format!(
                "which operator? There is no registration in {}: register first, or give --root",
                self.folder.display()
            ))),
            several => {
                let roots: Vec<_> =
                    several.iter().map(|record| format!("\n  {}", record.registration_root)).collect();
                Err(Failure::new(format!("which operator? Give --root, one of:{}", roots.concat())))
            }
        }
    }
}

/// The Registry's section, with what options put in its place.
fn registry(
    config: &Config,
    addresses: Option<&Addresses>,
    rpc: Option<&Url>,
) -> Result<RegistryConfig, Failure> {
    let missing =
        |what: &str| Failure::new(format!("{what} is missing: give [registry] in the configuration"));
    let mut registry = match (&config.registry, addresses, rpc) {
        (Some(registry), ..) => registry.clone(),
        (None, Some(addresses), Some(rpc)) => toml::from_str(&format!(
            "execution = {:?}\nregistry = \"{}\"\nslasher = \"{}\"\n",
            rpc.as_str(),
            addresses.registry,
            addresses.ordering_slasher
        ))
        .map_err(cause)?,
        (None, None, _) => return Err(missing("the Registry's address, or --addresses,")),
        (None, _, None) => return Err(missing("the execution client, or --rpc,")),
    };
    if let Some(rpc) = rpc {
        registry.execution = rpc.clone();
    }
    if let Some(addresses) = addresses {
        registry.registry = addresses.registry;
        registry.slasher = addresses.ordering_slasher;
        registry.market = Some(addresses.ordering_market);
        registry.rollups = Some(addresses.rollup_registry);
    }
    let bids_at = config.market.as_ref().map(|market| market.contract);
    match (registry.market, bids_at) {
        (Some(followed), Some(bids_at)) if followed != bids_at && addresses.is_none() => {
            return Err(Failure::new(format!(
                "[registry] market is {followed}, and [market] contract is {bids_at}: one of them is wrong"
            )));
        }
        (None, bids_at) => registry.market = bids_at,
        _ => {}
    }
    registry.check().map_err(cause)?;
    Ok(registry)
}

fn read_addresses(path: &Path) -> Result<Addresses, Failure> {
    serde_json::from_slice(&read_file(path)?).map_err(|error| of_file(path, error))
}

pub(crate) fn of_file(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

/// A file, if it is not too large.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| of_file(path, error))?;
    file.take(MAX_FILE.saturating_add(1)).read_to_end(&mut bytes).map_err(|error| of_file(path, error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(of_file(path, format!("larger than {MAX_FILE} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: impl FnOnce(&mut Config)) -> Config {
        let mut config: Config = toml::from_str(include_str!("../../../../config/proposer.toml")).unwrap();
        config.market.as_mut().unwrap().contract = config.registry.as_ref().unwrap().market.unwrap();
        change(&mut config);
        config
    }

    fn addresses() -> Addresses {
        let [inbox, registry, rollup_registry, ordering_slasher, ordering_market] =
            [1, 2, 3, 4, 5].map(Address::repeat_byte);
        Addresses { inbox, registry, rollup_registry, ordering_slasher, ordering_market }
    }

    #[test]
    fn options_stand_in_for_the_section_or_over_it() {
        let rpc: Url = "http://127.0.0.1:9/".parse().unwrap();
        let as_it_is = config(|_| {});
        assert_eq!(registry(&as_it_is, None, None).unwrap(), *as_it_is.registry.as_ref().unwrap());
        let over = registry(&as_it_is, Some(&addresses()), Some(&rpc)).unwrap();
        assert_eq!((over.execution.clone(), over.registry), (rpc.clone(), Address::repeat_byte(2)));
        assert_eq!((over.slasher, over.market), (Address::repeat_byte(4), Some(Address::repeat_byte(5))));
        let without = config(|config| config.registry = None);
        let given = registry(&without, Some(&addresses()), Some(&rpc)).unwrap();
        assert_eq!((given.registry, given.optin_delay), (Address::repeat_byte(2), 2));
        for (addresses, rpc, said) in [(None, Some(&rpc), "--addresses"), (Some(addresses()), None, "--rpc")]
        {
            let refused = registry(&without, addresses.as_ref(), rpc).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }

    #[test]
    fn two_markets_are_one_too_many_and_none_is_filled_in() {
        let two = config(|config| config.market.as_mut().unwrap().contract = Address::repeat_byte(9));
        assert!(registry(&two, None, None).unwrap_err().to_string().contains("one of them is wrong"));
        let one = config(|config| config.registry.as_mut().unwrap().market = None);
        assert_eq!(registry(&one, None, None).unwrap().market, Some(one.market.unwrap().contract));
    }
}

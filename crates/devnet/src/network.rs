//! The whole system in one process, over a real execution client: L1, validators behind a sidecar, a relay, a
//! builder, a gateway and what it takes to use them.

mod contracts;
mod roles;

use std::{collections::BTreeMap, io, net::SocketAddr, path::PathBuf, sync::Arc};

use alloy_primitives::{Address, B256, U256};
use earnest_bindings::deploy::{self, ParameterError};
use earnest_builder_types::{BlsPublicKey, bls};
use earnest_chain::ChainError;
use earnest_client::L1Error;
use earnest_protocol::{
    RollupId,
    delegation::TrustRoots,
    signing::{EcdsaSecret, Network as Signing},
    window::Timing,
};
use earnest_signer::LocalBls;
use serde::Serialize;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    anvil::{AnvilError, AnvilNode, AnvilOptions},
    beacon::{BeaconNode, BeaconOptions},
    builder::{Builder, BuilderOptions},
    execution::{ExecutionError, ExecutionNode, ExecutionOptions, GenesisOptions},
    validator::{ValidatorOptions, Validators},
};
use contracts::{Deployment, parameters};
use roles::{Keys, OPTIN_DELAY, Plan, users};

pub use contracts::{MAX_OPTED_IN, ReadyOperator};

/// Wei of each funded account: 10,000 ether.
const FUNDS: U256 = U256::from_limbs([0x3cb2_6b9b_3ca4_0000, 0x21e, 0, 0]);
/// Seconds from the start of the processes to slot 0.
const GENESIS_DELAY: u64 = 3;

/// What kind of devnet.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Length of a slot, milliseconds. At least 1,000: the execution layer counts seconds.
    pub slot_ms: u64,
    /// Validators, all behind one sidecar.
    pub validators: u64,
    /// How many of them, the first ones, are opted in; 256 at most.
    pub opted_in: u64,
    /// Chain ids of rollups with an execution client (anvil) that executes the signed order; the gateway checks nonces
    /// and balances against it.
    pub rollups: Vec<u64>,
    /// Chain ids of rollups without one, whose nonces and balances nobody checks.
    pub bare_rollups: Vec<u64>,
    /// Where everything is kept; a temporary folder, gone at the end, if `None`.
    pub data_dir: Option<PathBuf>,
    /// Requests a client of the gateway may make a second; 0 for no limit.
    pub gateway_rate: u32,
}

impl NetworkOptions {
    /// Every rollup that the gateway orders.
    fn all_rollups(&self) -> Vec<u64> {
        self.rollups.iter().chain(&self.bare_rollups).copied().collect()
    }
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            slot_ms: 2_000,
            validators: 4,
            opted_in: 4,
            rollups: vec![42_069],
            bare_rollups: vec![42_070],
            data_dir: None,
            gateway_rate: 0,
        }
    }
}

/// Why a devnet did not start.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A folder or file.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The options make no network.
    #[error("options: {0}")]
    Options(&'static str),
    /// The execution client.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// A rollup's execution client.
    #[error("a rollup's execution client: {0}")]
    Anvil(#[from] AnvilError),
    /// An RPC.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The beacon node.
    #[error("beacon node: {0}")]
    Beacon(#[from] crate::beacon::StartError),
    /// The relay.
    #[error("relay: {0}")]
    Relay(#[from] earnest_relay::StartError),
    /// The sidecar.
    #[error("sidecar: {0}")]
    Proposer(#[from] earnest_proposer::StartError),
    /// The gateway.
    #[error("gateway: {0}")]
    Gateway(#[from] earnest_gateway::StartError),
    /// The validators.
    #[error("validators: {0}")]
    Validators(#[from] crate::validator::StartError),
    /// The builder.
    #[error("builder: {0}")]
    Builder(#[from] crate::builder::StartError),
    /// A role's configuration.
    #[error("configuration of the {role}: {error}")]
    Config {
        /// The role.
        role: String,
        /// What is wrong with it.
        error: String,
    },
    /// A key.
    #[error("keys: {0}")]
    Key(String),
    /// The contracts, or what the operator does with them, did not get onto L1.
    #[error("contracts: {0}")]
    L1(#[from] L1Error),
    /// The contracts cannot be had with these options.
    #[error("contracts: {0}")]
    Parameters(#[from] ParameterError),
}

/// What a user of the devnet needs, as the ready file has it.
#[derive(Debug, Clone, Serialize)]
pub struct Ready {
    /// Unix seconds of slot 0.
    pub genesis_time: u64,
    /// Length of a slot.
    pub seconds_per_slot: f64,
    /// Beacon API.
    pub beacon: Url,
    /// L1's JSON-RPC.
    pub execution: Url,
    /// Relay.
    pub relay: Url,
    /// The relay's BLS key.
    pub relay_pubkey: BlsPublicKey,
    /// The relay's ECDSA address, whose receipts make delegations valid.
    pub relay_address: Address,
    /// Gateway.
    pub gateway: Url,
    /// Who signs the gateway's commitments.
    pub committer: Address,
    /// What signatures are for.
    pub network: Signing,
    /// Validators, with the sidecar each is behind.
    pub proposers: Vec<ReadyProposer>,
    /// Rollups, with their execution RPC where there is one.
    pub rollups: Vec<ReadyRollup>,
    /// Contracts on L1 by name.
    pub contracts: BTreeMap<&'static str, Address>,
    /// The operator that registered the opted-in validators, if there are any.
    pub operator: Option<ReadyOperator>,
    /// Epochs from the reference block's, at whose end the Registry is read, to the one before the proposers' own.
    pub optin_delay: u64,
    /// Funded accounts, on L1 and on the rollups. Worthless keys.
    pub accounts: Vec<ReadyAccount>,
}

/// A validator.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyProposer {
    /// Its sidecar's Builder API.
    pub url: Url,
    /// Its key.
    pub pubkey: BlsPublicKey,
    /// Whether it is opted in.
    pub opted_in: bool,
}

/// A rollup.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyRollup {
    /// Chain id.
    pub id: RollupId,
    /// Execution RPC.
    pub rpc: Option<Url>,
}

/// An account with funds.
#[derive(Debug, Clone, Serialize)]
pub struct ReadyAccount {
    /// Address.
    pub address: Address,
    /// Its key.
    pub private_key: B256,
}

/// A running devnet. Ends when dropped; [`Network::stop`] ends it in order.
pub struct Network {
    ready: Ready,
    timing: Timing,
    /// L1's consensus, with its faults.
    pub beacon: BeaconNode,
    /// L1's execution client.
    pub execution: ExecutionNode,
    /// The validators.
    pub validators: Validators,
    /// The builder.
    pub builder: Builder,
    /// The rollups' execution clients.
    pub anvils: Vec<AnvilNode>,
    gateway: Option<(earnest_gateway::Running, CancellationToken)>,
    gateway_config: earnest_gateway::Config,
    relay: Option<(earnest_relay::Running, CancellationToken)>,
    proposer: Option<(earnest_proposer::Running, CancellationToken)>,
    _temporary: Option<TempDir>,
}

impl Network {
    /// Starts everything. Returns when the contracts are on L1, the validators opted in, and all parts answer.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub async fn start(options: &NetworkOptions) -> Result<Self, NetworkError> {
        if options.slot_ms < 1_000
            || options.validators == 0
            || options.opted_in > options.validators.min(MAX_OPTED_IN)
        {
            return Err(NetworkError::Options(
                "slots of a second or more, and validators to opt in, 256 at most",
            ));
        }
        let temporary = match &options.data_dir {
            Some(_) => None,
            None => Some(TempDir::with_prefix("earnest-devnet-").map_err(io_error("make a folder"))?),
        };
        let folder = match (&options.data_dir, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => return Err(NetworkError::Options("no folder")),
        };
        std::fs::create_dir_all(&folder).map_err(io_error("make the data folder"))?;
        let keys = Keys::new(options.validators)?;

        // L1.
        let users = users()?;
        let mut genesis = GenesisOptions::default();
        let funded = users.iter().map(EcdsaSecret::address);
        let genesis_accounts =
            funded.chain([&keys.batch, &keys.deployer, &keys.operator].map(EcdsaSecret::address));
        genesis.accounts = genesis_accounts.map(|it| (it, FUNDS)).collect();
        let chain_id = genesis.chain_id;
        let execution = ExecutionNode::start(&ExecutionOptions {
            genesis,
            data_dir: Some(folder.join("l1")),
            ..ExecutionOptions::default()
        })
        .await?;
        let pubkeys: Vec<BlsPublicKey> = keys.validators.iter().map(bls::SecretKey::public_key).collect();
        let engine: Arc<dyn crate::beacon::Engine> = Arc::new(execution.engine().clone());
        let mut beacon_options = BeaconOptions::new(Arc::clone(&engine), pubkeys.clone());
        beacon_options.slot_ms = options.slot_ms;
        beacon_options.chain_id = chain_id;
        beacon_options.genesis_time = beacon_options.genesis_time.saturating_add(GENESIS_DELAY);
        let network = Signing { genesis_fork_version: beacon_options.genesis_fork_version, chain_id };
        let genesis_time = beacon_options.genesis_time;
        let beacon = BeaconNode::start(beacon_options).await?;
        let clock = beacon.clock();
        let timing = Timing::new(clock.genesis_time_ms(), clock.slot_ms(), clock.slots_per_epoch());
        let times = (clock.genesis_time_ms(), clock.slot_ms());
        let contracts = deploy::plan(&parameters(network, times, keys.deployer.address()))?;

        // Relay.
        let opted_in: Vec<BlsPublicKey> =
            pubkeys.iter().take(usize::try_from(options.opted_in).unwrap_or(usize::MAX)).copied().collect();
        let relay_stop = CancellationToken::new();
        let plan = Plan {
            folder: &folder,
            options,
            keys: &keys,
            beacon: beacon.url().clone(),
            execution: execution.rpc_url().clone(),
            network,
            contracts: &contracts.addresses,
            opted_in: &opted_in,
        };
        let relay = earnest_relay::start(plan.relay()?, relay_stop.clone()).await?;
        let relay_url = relay.url.clone();

        // The gateway's address must be known before the sidecar signs for it.
        let mut anvils = Vec::new();
        for id in &options.rollups {
            let anvil = AnvilNode::start(&AnvilOptions::new(*id)).await?;
            for user in &users {
                anvil.fund(user.address(), FUNDS).await?;
            }
            anvils.push(anvil);
        }
        let gateway_config = plan.gateway(&relay_url, &anvils)?;
        let gateway_stop = CancellationToken::new();
        let gateway = earnest_gateway::start(gateway_config.clone(), gateway_stop.clone()).await?;
        let gateway_url = url_of(gateway.address)?;
        // A restart must come back where searchers look for it.
        let gateway_config = earnest_gateway::Config { listen: gateway.address, ..gateway_config };

        // Sidecar and validators.
        let proposer_stop = CancellationToken::new();
        let proposer = earnest_proposer::start_with_signer(
            plan.proposer(&relay_url, &gateway_url)?,
            Arc::new(LocalBls::new(keys.opted_in(&opted_in))),
            proposer_stop.clone(),
        )
        .await?;
        let sidecar = url_of(proposer.local_addr())?;
        let validators = Validators::start(ValidatorOptions::new(
            keys.validators.clone(),
            beacon.url().clone(),
            Some(sidecar.clone()),
        ))
        .await?;
        let builder = Builder::start(BuilderOptions::new(
            keys.builder.clone(),
            engine,
            beacon.url().clone(),
            vec![relay_url.clone()],
        ))
        .await?;

        let deployment = Deployment {
            execution: &execution,
            keys: &keys,
            network,
            clock,
            contracts: &contracts,
            validators: keys.opted_in(&opted_in).collect(),
            rollups: options.all_rollups(),
        };
        let operator = deployment.run().await?;

        let proposers = pubkeys
            .iter()
            .map(|pubkey| ReadyProposer {
                url: sidecar.clone(),
                pubkey: *pubkey,
                opted_in: opted_in.contains(pubkey),
            })
            .collect();
        let rollups = options
            .all_rollups()
            .into_iter()
            .map(|id| ReadyRollup {
                id: RollupId(id),
                rpc: anvils.iter().find(|anvil| anvil.chain_id() == id).map(|anvil| anvil.rpc_url().clone()),
            })
            .collect();
        let ready = Ready {
            genesis_time,
            seconds_per_slot: clock.slot_duration().as_secs_f64(),
            beacon: beacon.url().clone(),
            execution: execution.rpc_url().clone(),
            relay: relay_url,
            relay_pubkey: keys.relay_bls.public_key(),
            relay_address: keys.relay.address(),
            gateway: gateway_url,
            committer: keys.committer.address(),
            network,
            proposers,
            rollups,
            contracts: contracts.addresses.named().into(),
            operator,
            optin_delay: OPTIN_DELAY,
            accounts: users
                .iter()
                .map(|user| ReadyAccount {
                    address: user.address(),
                    private_key: B256::from(*user.to_bytes()),
                })
                .collect(),
        };
        Ok(Self {
            ready,
            timing,
            beacon,
            execution,
            validators,
            builder,
            anvils,
            gateway: Some((gateway, gateway_stop)),
            gateway_config,
            relay: Some((relay, relay_stop)),
            proposer: Some((proposer, proposer_stop)),
            _temporary: temporary,
        })
    }

    /// Where everything is.
    #[must_use]
    pub const fn ready(&self) -> &Ready {
        &self.ready
    }

    /// The clock's fractions.
    #[must_use]
    pub const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Whose word a receipt of this devnet is checked against.
    #[must_use]
    pub fn trust(&self) -> TrustRoots {
        let slasher = self.ready.contracts.get("OrderingSlasher").copied();
        TrustRoots { network: self.ready.network, relay: self.ready.relay_address, proposer: None, slasher }
    }

    /// Ends the gateway, keeping its journal, and starts it again on the same address.
    ///
    /// # Errors
    /// [`NetworkError::Gateway`].
    pub async fn restart_gateway(&mut self) -> Result<(), NetworkError> {
        self.stop_gateway().await;
        let stop = CancellationToken::new();
        let gateway = earnest_gateway::start(self.gateway_config.clone(), stop.clone()).await?;
        self.gateway = Some((gateway, stop));
        Ok(())
    }

    /// Ends the gateway.
    pub async fn stop_gateway(&mut self) {
        if let Some((gateway, stop)) = self.gateway.take() {
            stop.cancel();
            log_end("gateway", gateway.join().await);
        }
    }

    /// Ends everything in order, so that no part sees another vanish.
    pub async fn stop(mut self) {
        self.stop_gateway().await;
        self.builder.shutdown().await;
        self.validators.shutdown().await;
        if let Some((proposer, stop)) = self.proposer.take() {
            stop.cancel();
            log_end("sidecar", proposer.join().await);
        }
        if let Some((relay, stop)) = self.relay.take() {
            stop.cancel();
            log_end("relay", relay.join().await);
        }
        self.beacon.shutdown().await;
    }
}

fn log_end<E: std::fmt::Display>(role: &str, ended: Result<(), E>) {
    if let Err(error) = ended {
        tracing::error!(role, %error, "ended by a fault");
    }
}

fn url_of(address: SocketAddr) -> Result<Url, NetworkError> {
    Url::parse(&format!("http://{address}")).map_err(|_| NetworkError::Options("an address that is no URL"))
}

fn io_error(what: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Io { what, source }
}

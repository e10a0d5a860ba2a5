//! The whole system in one process, over a real execution client: L1, validators behind a sidecar, a relay, a
//! builder, a gateway and what it takes to use them.

mod deployment;
mod ready;
mod roles;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use alloy_primitives::{B256, U256};
use earnest_bindings::deploy::{self, ParameterError};
use earnest_builder_types::{BlsPublicKey, bls};
use earnest_chain::ChainError;
use earnest_client::{
    L1Account, L1Error,
    operator::{ActError, plan::MAX_BATCH},
};
use earnest_protocol::{
    RollupId, Slot,
    delegation::TrustRoots,
    signing::{EcdsaSecret, Network as Signing},
    window::Timing,
};
use earnest_signer::LocalBls;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    anvil::{AnvilError, AnvilNode, AnvilOptions},
    beacon::{BeaconNode, BeaconOptions, HistoryError},
    builder::{Builder, BuilderOptions},
    contracts::parameters,
    execution::{ExecutionError, ExecutionNode, ExecutionOptions, GenesisOptions},
    validator::{ValidatorOptions, Validators},
};
use deployment::Deployment;
use ready::{ready_operator, ready_proposers};
use roles::{Keys, OPTIN_DELAY, Plan, users};

pub use ready::{Ready, ReadyAccount, ReadyOperator, ReadyProposer, ReadyRollup};

/// Most validators of an operator: those that one transaction can register.
pub const MAX_OPTED_IN: u64 = MAX_BATCH as u64;
/// Of the beacon chain, and so in every signature.
const GENESIS_FORK_VERSION: [u8; 4] = [0x10, 0, 0, 0x38];
/// Wei of each funded account: 10,000 ether.
const FUNDS: U256 = U256::from_limbs([0x3cb2_6b9b_3ca4_0000, 0x21e, 0, 0]);
/// Seconds from the start of the processes to slot 0, where the chain begins with it.
const GENESIS_DELAY: u64 = 3;
/// Slots, beside the notice of rollups' terms, that lie behind a chain with a market: what it takes to put them onto L1.
const DEPLOYMENT_SLOTS: u64 = 4;

/// What kind of devnet.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Length of a slot, milliseconds. At least 1,000: the execution layer counts seconds.
    pub slot_ms: u64,
    /// Validators.
    pub validators: u64,
    /// How many of them, the first ones, are opted in; 256 at most.
    pub opted_in: u64,
    /// Operators, to whom the opted-in validators are dealt out in turn, each with a sidecar and a gateway of its own. The
    /// other validators are behind the first one's sidecar.
    pub operators: u64,
    /// Whether the rollups' rights are sold: the relay holds auctions and the operators bid. The chain then begins with
    /// slots behind it, so that the rollups' terms are in force. Otherwise the rights go to the proposer's own gateway unbought.
    pub market: bool,
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
            operators: 1,
            market: false,
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
    /// A block for a slot that is past.
    #[error("the chain's past: {0}")]
    History(#[from] HistoryError),
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
    /// A call of the contracts cannot be made.
    #[error("contracts: {0}")]
    Act(#[from] ActError),
    /// The contracts cannot be had with these options.
    #[error("contracts: {0}")]
    Parameters(#[from] ParameterError),
}

/// A running devnet. Ends when dropped; [`Network::stop`] ends it in order.
pub struct Network {
    ready: Ready,
    timing: Timing,
    /// L1's consensus, with its faults.
    pub beacon: BeaconNode,
    /// L1's execution client.
    pub execution: ExecutionNode,
    /// The validators, by operator.
    pub validators: Vec<Validators>,
    /// The builder.
    pub builder: Builder,
    /// The rollups' execution clients.
    pub anvils: Vec<AnvilNode>,
    gateways: Vec<Gateway>,
    relay: Option<(earnest_relay::Running, CancellationToken)>,
    proposers: Vec<(earnest_proposer::Running, CancellationToken)>,
    rollups_owner: EcdsaSecret,
    _temporary: Option<TempDir>,
}

/// A gateway, and how to start it again.
struct Gateway {
    config: earnest_gateway::Config,
    url: Url,
    running: Option<(earnest_gateway::Running, CancellationToken)>,
}

impl Gateway {
    async fn start(config: earnest_gateway::Config) -> Result<Self, NetworkError> {
        let stop = CancellationToken::new();
        let running = earnest_gateway::start(config.clone(), stop.clone()).await?;
        // A restart must come back where searchers look for it.
        let config = earnest_gateway::Config { listen: running.address, ..config };
        Ok(Self { url: url_of(running.address)?, config, running: Some((running, stop)) })
    }

    async fn stop(&mut self) {
        if let Some((gateway, stop)) = self.running.take() {
            stop.cancel();
            log_end("gateway", gateway.join().await);
        }
    }
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
        if options.operators == 0 || options.operators > options.opted_in.max(1) {
            return Err(NetworkError::Options(
                "an operator, and a validator that is opted in for each further one",
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

        // L1.
        let users = users()?;
        let mut genesis = GenesisOptions::default();
        let chain_id = genesis.chain_id;
        let network = Signing { genesis_fork_version: GENESIS_FORK_VERSION, chain_id };
        let keys = Keys::new(options, &network)?;
        let funded = users.iter().chain(keys.payers()).map(EcdsaSecret::address);
        genesis.accounts = funded.map(|it| (it, FUNDS)).collect();
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
        beacon_options.genesis_fork_version = GENESIS_FORK_VERSION;
        beacon_options.genesis_time = if options.market {
            let slots =
                deploy::shortest_notice(beacon_options.slots_per_epoch).saturating_add(DEPLOYMENT_SLOTS);
            let behind_ms = options.slot_ms.saturating_mul(slots);
            beacon_options.genesis_time.saturating_sub(behind_ms.div_ceil(1_000))
        } else {
            beacon_options.genesis_time.saturating_add(GENESIS_DELAY)
        };
        let genesis_time = beacon_options.genesis_time;
        let beacon = BeaconNode::start(beacon_options).await?;
        let clock = beacon.clock();
        let timing = Timing::new(clock.genesis_time_ms(), clock.slot_ms(), clock.slots_per_epoch());
        let contracts = deploy::plan(&parameters(network, clock, keys.deployer.address()))?;
        let deployment = Deployment {
            execution: &execution,
            keys: &keys,
            network,
            clock,
            contracts: &contracts,
            rollups: options.all_rollups(),
            history: options.market.then_some(&beacon),
        };
        let terms_from = if options.market { Some(deployment.run().await?) } else { None };
        // All of the past is there before anyone looks: a block that came to it later would change whose slots come next.
        while options.market && beacon.grow(&keys.validators, Duration::ZERO).await?.is_some() {}

        // Relay.
        let relay_stop = CancellationToken::new();
        let plan = Plan {
            folder: &folder,
            options,
            keys: &keys,
            beacon: beacon.url().clone(),
            execution: execution.rpc_url().clone(),
            network,
            contracts: &contracts.addresses,
        };
        let relay = earnest_relay::start(plan.relay()?, relay_stop.clone()).await?;
        let relay_url = relay.url.clone();

        // The gateways' addresses must be known before the sidecars sign for them.
        let mut anvils = Vec::new();
        for id in &options.rollups {
            let anvil = AnvilNode::start(&AnvilOptions::new(*id)).await?;
            for user in &users {
                anvil.fund(user.address(), FUNDS).await?;
            }
            anvils.push(anvil);
        }
        let mut gateways = Vec::new();
        let mut proposers = Vec::new();
        let mut sidecars = Vec::new();
        for operator in &keys.operators {
            let gateway = Gateway::start(plan.gateway(operator, &relay_url, &anvils)?).await?;
            let stop = CancellationToken::new();
            let proposer = earnest_proposer::start_with_signer(
                plan.proposer(operator, &relay_url, &gateway.url)?,
                Arc::new(LocalBls::new(operator.opted_in.clone())),
                stop.clone(),
            )
            .await?;
            sidecars.push(url_of(proposer.local_addr())?);
            proposers.push((proposer, stop));
            gateways.push(gateway);
        }

        let mut validators = Vec::new();
        for (operator, sidecar) in keys.operators.iter().zip(&sidecars) {
            let (own, beacon) = (operator.validators.clone(), beacon.url().clone());
            let options = ValidatorOptions::new(own, beacon, Some(sidecar.clone()));
            validators.push(Validators::start(options).await?);
        }
        let builder = Builder::start(BuilderOptions::new(
            keys.builder.clone(),
            engine,
            beacon.url().clone(),
            vec![relay_url.clone()],
        ))
        .await?;

        let terms_from = match terms_from {
            Some(slot) => slot,
            None => deployment.run().await?,
        };

        let first = gateways.first().zip(keys.operators.first());
        let (first, first_operator) = first.ok_or(NetworkError::Options("no operator"))?;
        let places = || keys.operators.iter().zip(gateways.iter().zip(&sidecars));
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
            gateway: first.url.clone(),
            committer: first_operator.committer.address(),
            network,
            proposers: places()
                .flat_map(|(operator, (_, sidecar))| ready_proposers(operator, sidecar))
                .collect(),
            rollups,
            contracts: contracts.addresses.named().into(),
            operators: places()
                .filter_map(|(operator, (gateway, sidecar))| ready_operator(operator, gateway, sidecar))
                .collect(),
            first_slot: Slot(clock.slot_at(now_ms()).unwrap_or_default()),
            terms_from,
            market: options.market,
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
            gateways,
            relay: Some((relay, relay_stop)),
            proposers,
            rollups_owner: keys.deployer,
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

    /// The account that owns the rollups, on L1: theirs is the interest in being paid.
    ///
    /// # Errors
    /// [`NetworkError::Key`].
    pub fn rollups_owner(&self) -> Result<L1Account, NetworkError> {
        deployment::account(&self.execution, &self.rollups_owner, &self.ready.network)
    }

    /// Ends the first operator's gateway, keeping its journal, and starts it again on the same address.
    ///
    /// # Errors
    /// [`NetworkError::Gateway`].
    pub async fn restart_gateway(&mut self) -> Result<(), NetworkError> {
        if let Some(gateway) = self.gateways.first_mut() {
            gateway.stop().await;
            *gateway = Gateway::start(gateway.config.clone()).await?;
        }
        Ok(())
    }

    /// Ends the first operator's gateway.
    pub async fn stop_gateway(&mut self) {
        if let Some(gateway) = self.gateways.first_mut() {
            gateway.stop().await;
        }
    }

    /// Ends everything in order, so that no part sees another vanish.
    pub async fn stop(mut self) {
        for gateway in &mut self.gateways {
            gateway.stop().await;
        }
        self.builder.shutdown().await;
        for validators in self.validators {
            validators.shutdown().await;
        }
        for (proposer, stop) in self.proposers {
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

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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

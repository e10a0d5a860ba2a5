//! Starting and stopping the sidecar.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use earnest_chain::registry::Follower;
use earnest_chain::{BeaconClient, ChainError};
use earnest_client::ClientError;
use earnest_http::telemetry::{TelemetryError, metrics_handle};
use earnest_http::{Health, ServerLimits, Supervisor, TaskEnded, operation_router, serve};
use earnest_journal::{Journal, Log, OpenError, Options};
use earnest_protocol::objects::MarketDomain;
use earnest_protocol::signing::EcdsaSecret;
use earnest_signer::{BlsSigner, KeyFileError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::breaker_task::BreakerTask;
use crate::config::{Config, ConfigError};
use crate::delegation_record::{self, RecordError};
use crate::delegation_task::DelegationTask;
use crate::keys_task::KeysTask;
use crate::lookahead_task::LookaheadTask;
use crate::market::allotment::{MAX_AUCTION, Market};
use crate::market::book::MarketBook;
use crate::market::l1::L1View;
use crate::market::policy::{BiddingPolicy, ConfiguredPolicy};
use crate::market::task::MarketTask;
use crate::opt_in::OptIn;
use crate::protected_signer::ProtectedSigner;
use crate::router::router;
use crate::sidecar::Sidecar;
use crate::sources::Sources;
use crate::validator_keys::{self, KeysError, OwnKeys};

/// Memory for the record's database; it is small.
const CACHE_BYTES: usize = 4 << 20;

/// Why the sidecar did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A source's URL cannot be used.
    #[error("relays: {0}")]
    Source(ClientError),
    /// The beacon nodes' URLs cannot be used.
    #[error("beacon: {0}")]
    Beacon(ChainError),
    /// The Registry's execution client cannot be used.
    #[error("registry: {0}")]
    Registry(ChainError),
    /// The protection record does not open.
    #[error("protection record: {0}")]
    Open(#[from] OpenError),
    /// The protection record cannot be read.
    #[error("protection record: {0}")]
    Record(#[from] RecordError),
    /// The account that bids cannot be had.
    #[error("market: {0}")]
    Account(#[from] KeyFileError),
    /// The validator keys cannot be read.
    #[error("keys: {0}")]
    Keys(#[from] KeysError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        cause: io::Error,
    },
    /// Metrics cannot be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The runtime is shutting down.
    #[error("stopped while starting")]
    Stopped,
}

/// A running sidecar.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    health: Health,
    supervisor: Supervisor,
    journal: Journal,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Base URL of its Builder API.
    #[must_use]
    pub fn url(&self) -> Option<Url> {
        Url::parse(&format!("http://{}/", self.address)).ok()
    }

    /// Whether it can do its work, as `/readyz` says it.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Waits until it was told to stop and every task has ended; then the record is free for another process.
    ///
    /// # Errors
    /// The first task that ended on its own.
    pub async fn join(self) -> Result<(), TaskEnded> {
        let ended = self.supervisor.join().await;
        self.journal.close();
        ended
    }
}

/// Starts the sidecar with the keys of its configuration. Returns once it listens; the beacon node need not be up yet.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    config.check()?;
    let named = config.clone();
    let signer = tokio::task::spawn_blocking(move || validator_keys::load(&named))
        .await
        .map_err(|_| StartError::Stopped)??;
    start_with_signer(config, Arc::new(signer), shutdown).await
}

/// Starts the sidecar with a signer of the caller's; `keys` of the configuration is not read.
///
/// # Errors
/// [`StartError`].
pub async fn start_with_signer(
    config: Config,
    signer: Arc<dyn BlsSigner>,
    shutdown: CancellationToken,
) -> Result<Running, StartError> {
    start_with(config, signer, None, shutdown).await
}

/// Starts the sidecar with a signer and a bidding policy of the caller's. Without the latter the configuration's decides.
///
/// # Errors
/// [`StartError`].
pub async fn start_with(
    config: Config,
    signer: Arc<dyn BlsSigner>,
    policy: Option<Arc<dyn BiddingPolicy>>,
    shutdown: CancellationToken,
) -> Result<Running, StartError> {
    config.check()?;
    let sources = Sources::new(&config).map_err(StartError::Source)?;
    let beacon = BeaconClient::new(config.beacon.clone()).map_err(StartError::Beacon)?;
    let metrics = metrics_handle()?;

    let relays: Vec<_> = sources
        .iter()
        .filter(|(_, source)| source.earnest)
        .filter_map(|(index, source)| Some((index, source.pubkey?.bytes())))
        .collect();
    let options =
        Options { free_space_floor: config.free_space_floor, cache_bytes: CACHE_BYTES, ..Options::default() };
    let directory = config.data_dir.clone();
    let (market, chain_id) = (config.market.clone(), config.network.chain_id);
    let (journal, plan, bidder) = tokio::task::spawn_blocking(move || -> Result<_, StartError> {
        let journal = Journal::open(&directory, options)?;
        let plan = delegation_record::restore(&journal, &relays)?;
        let Some(market) = market else { return Ok((journal, plan, None)) };
        let account = market.account_key.ecdsa()?;
        let domain = MarketDomain { chain_id, market: market.contract };
        let book = delegation_record::restore_market(&journal, domain)?;
        Ok((journal, plan.after_first_refusal(), Some((account, book))))
    })
    .await
    .map_err(|_| StartError::Stopped)??;
    tracing::info!(records = journal.head(), digest = %delegation_record::digest(&plan), "protection record read");

    let address = config.listen;
    let listen_error = |cause| StartError::Listen { address, cause };
    let listener = TcpListener::bind(address).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;

    let keys = OwnKeys::new(signer, Arc::new(journal.clone()));
    let listed = config.opted_in.iter().copied().collect();
    let mut figures = None;
    let (registry, view) = match &config.registry {
        Some(registry) => {
            let checkpoint = config.data_dir.join("registry.json");
            let (follower, view) = Follower::new(registry.clone(), config.network, Some(checkpoint))
                .map_err(StartError::Registry)?;
            figures = Some(view.clone());
            (Some(follower), Some(view))
        }
        None => (None, None),
    };
    let l1 = config.registry.as_ref().zip(view.clone());
    let l1 = l1.map(|(registry, view)| L1View { view, has_rollups: registry.rollups.is_some() });
    let gateway = config.gateway.clone();
    let network = config.network;
    let sidecar = Sidecar::new(config, sources, plan);
    let health = Health::new();
    let supervisor = Supervisor::new(&shutdown);
    let (to_delegate, duties) = watch::channel(Vec::new());
    let (changed, keys_changed) = watch::channel(());
    let (to_bid, sequencing) = watch::channel(Vec::new());

    let known = KeysTask { keys: keys.clone(), changed, health: health.part("keys") };
    supervisor.spawn("keys", known.run(supervisor.token()));
    if let Some(view) = figures {
        supervisor.spawn("registry-figures", view.show("proposer", supervisor.token()));
    }

    let breaker = BreakerTask {
        sidecar: Arc::clone(&sidecar),
        beacon: beacon.clone(),
        health: health.part("circuit breaker"),
    };
    supervisor.spawn("breaker", breaker.run(supervisor.token()));
    let lookahead = LookaheadTask {
        sidecar: Arc::clone(&sidecar),
        beacon,
        keys: keys.clone(),
        opt_in: OptIn::new(listed, view),
        registry,
        duties: to_delegate,
        sequencing: to_bid,
        keys_changed,
        health: health.part("beacon"),
    };
    supervisor.spawn("lookahead", lookahead.run(supervisor.token()));
    match gateway {
        Some(gateway) => {
            let signer = ProtectedSigner::new(Arc::new(journal.clone()), keys, network);
            let market = bidder.and_then(|(account, book)| {
                market_of(&sidecar, account, book, policy.as_ref(), (signer.clone(), l1)).map(Arc::new)
            });
            if let Some(market) = &market {
                let task = MarketTask {
                    sidecar: Arc::clone(&sidecar),
                    market: Arc::clone(market),
                    duties: duties.clone(),
                    sequencing,
                };
                supervisor.spawn("market", task.run(supervisor.token()));
            }
            let task = DelegationTask {
                sidecar: Arc::clone(&sidecar),
                gateway,
                signer,
                market,
                duties,
                health: health.part("protection record"),
            };
            supervisor.spawn("delegation", task.run(supervisor.token()));
        }
        None => tracing::info!("no gateway: nothing is delegated, headers are passed through"),
    }
    let routes = router(sidecar).merge(operation_router(health.clone(), metrics));
    supervisor.spawn("server", serve(listener, routes, ServerLimits::default(), supervisor.token()));
    tracing::info!(%address, "proposer sidecar listens");
    Ok(Running { address, health, supervisor, journal })
}

/// The market of the configuration, if there is one and its relay is configured, which [`Config::check`] sees to.
fn market_of(
    sidecar: &Sidecar,
    account: EcdsaSecret,
    book: MarketBook,
    policy: Option<&Arc<dyn BiddingPolicy>>,
    (record, l1): (ProtectedSigner, Option<L1View>),
) -> Option<Market> {
    let config = sidecar.config.market.clone()?;
    let (_, relay) = sidecar.sources.iter().find(|(_, source)| source.name == config.relay)?;
    let configured = || Arc::new(ConfiguredPolicy::new(&config)) as Arc<dyn BiddingPolicy>;
    Some(Market {
        gateway: sidecar.config.gateway.clone()?,
        network: sidecar.config.network,
        relay: relay.client.limited(MAX_AUCTION),
        account,
        policy: policy.map_or_else(configured, Arc::clone),
        record,
        book: parking_lot::Mutex::new(book),
        data_dir: sidecar.config.data_dir.clone(),
        accused: parking_lot::Mutex::default(),
        l1,
        config,
    })
}

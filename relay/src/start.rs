//! From a configuration to a running relay.

use crate::{
    api,
    bids::{Book, Limits, Sealer},
    builders::Builders,
    config::{Bounds, Config},
    cutoff_task, delivery,
    duties::Duties,
    feed::Feed,
    l1::{L1, Listed, Registered},
    ledger::{Ledger, LedgerError},
    market, meters,
    received::{Received, Recorder, Room},
    relay::{Relay, now_ms},
    simulation::Simulator,
    spool::Spool,
    streams::Streams,
    turns::Turns,
    upkeep,
};
use alloy_primitives::Address;
use earnest_builder_types::{BlsPublicKey, bls::SecretKey, domain::builder_domain};
use earnest_chain::{
    BeaconClient, ChainError, ExecutionClient, ExecutionOptions, SlotClock, Spec,
    beacon::Genesis,
    registry::{Follower, Standing},
};
use earnest_http::{
    BodyBudget, ClientLimiter, Health, ServerLimits, Supervisor, TaskEnded, affordable, operation_router,
    serve, telemetry,
};
use earnest_journal::Options;
use earnest_protocol::{signing::EcdsaSecret, window::Timing};
use earnest_signer::KeyFileError;
use parking_lot::{Mutex, RwLock};
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Pause between questions to beacon nodes that are not up yet.
const BEACON_RETRY: Duration = Duration::from_millis(250);

/// Time for one call of an execution client.
const EXECUTION_TIMEOUT: Duration = Duration::from_millis(400);

/// Lists of registrations that are read or verified at once, and whose unknown keys beacon nodes are asked for at once.
const REGISTERING: usize = 2;
const ASKING: usize = 4;
/// The part of the blinded blocks' budget that is one client's.
const BLINDED_SHARES: usize = 8;

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The journal cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No beacon node told what its network is.
    #[error("no beacon node answered: {0}")]
    Beacon(#[from] ChainError),
    /// The beacon nodes are of another network than configured.
    #[error("the beacon node's {what} is {found}, configured is {configured}")]
    Network {
        /// What differs.
        what: &'static str,
        /// As the node has it.
        found: String,
        /// As configured.
        configured: String,
    },
    /// The data directory or the address cannot be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// The metrics recorder cannot be installed.
    #[error(transparent)]
    Telemetry(#[from] telemetry::TelemetryError),
    /// Shutdown began before the relay was up.
    #[error("stopped before it was up")]
    Stopped,
}

/// A relay that serves.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub local_addr: SocketAddr,
    /// The base of its API.
    pub url: Url,
    /// The key that signs bids.
    pub pubkey: BlsPublicKey,
    /// The address that signs receipts.
    pub address: Address,
    tasks: Supervisor,
    ledger: Ledger,
}

impl Running {
    /// Waits until the relay has ended and its journal is closed.
    ///
    /// # Errors
    /// The task that ended on its own, if the end was not asked for.
    pub async fn join(self) -> Result<(), TaskEnded> {
        let ended = self.tasks.join().await;
        self.ledger.close();
        ended
    }
}

/// Starts a relay and returns once it listens. Cancelling `shutdown` ends it.
///
/// # Errors
/// [`StartError`] if a key, the journal, the beacon nodes or the address cannot be used.
pub async fn start(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    let stopped = shutdown.clone();
    tokio::select! {
        started = start_up(config, shutdown) => started,
        () = stopped.cancelled() => Err(StartError::Stopped),
    }
}

async fn start_up(config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    let metrics = telemetry::metrics_handle()?;
    meters::declare();
    let beacon = BeaconClient::new(config.beacon.clone())?;
    let (genesis, spec) = network(&beacon, Duration::from_secs(config.beacon_wait_secs)).await?;
    same_network(&config, &genesis, &spec)?;
    let clock = spec.slot_clock(&genesis).map_err(|error| ChainError::Config(error.to_string()))?;
    let mut timing = Timing::new(clock.genesis_time_ms(), clock.slot_ms(), clock.slots_per_epoch());
    timing.seal = config.timing.seal;
    timing.constraint_cutoff = config.timing.constraint_cutoff;
    timing.first_refusal = config.timing.first_refusal;

    let blocking = config.clone();
    let Opened { bls, ecdsa, ledger, spool, received, recorder } =
        tokio::task::spawn_blocking(move || open(&blocking)).await.map_err(|_| StartError::Stopped)??;
    let builder_domain = builder_domain(config.network.genesis_fork_version);
    let limits = Limits {
        bids: config.bounds.bids_per_slot,
        offered: config.bounds.offered_per_slot,
        given: config.bounds.given_per_slot,
        bytes: config.bounds.bytes_per_slot,
    };
    let book = Book::new(Sealer::new(bls, builder_domain), spool, limits);
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| StartError::Io { what: format!("cannot listen on {}", config.listen), source })?;
    let local_addr = listener
        .local_addr()
        .map_err(|source| StartError::Io { what: "cannot tell the address".to_owned(), source })?;

    let health = Health::new();
    let (beacon_part, journal_part) = (health.part("beacon"), health.part("journal"));
    let tasks = Supervisor::new(&shutdown);
    tasks.spawn("writable", ledger.clone().watch(journal_part, tasks.token()));
    let bounds = config.bounds;
    let (streams, per_client) = (streams_of(&bounds), bounds.streams_per_client);
    let l1 = l1(&config, ecdsa.address(), clock, timing, &tasks, &health)?;
    let relay = Arc::new(Relay {
        l1,
        clock,
        timing,
        spec,
        genesis_validators_root: genesis.genesis_validators_root,
        builder_domain,
        ecdsa,
        beacon,
        ledger: ledger.clone(),
        book,
        received,
        streams: Streams::new(streams, per_client, config.clients.clone()),
        status_page: api::StatusPage::default(),
        duties: RwLock::new(Duties::new(clock.slots_per_epoch())),
        health: health.clone(),
        tasks: tasks.clone(),
        registering: Semaphore::new(REGISTERING),
        asking: Semaphore::new(ASKING),
        submitting: Turns::new(bounds.submissions_at_once),
        blinded_bodies: BodyBudget::new(
            bounds.blinded_budget_bytes,
            bounds.blinded_budget_bytes / BLINDED_SHARES,
        ),
        bodies: BodyBudget::new(bounds.body_budget_bytes, bounds.body_budget_per_client),
        execution: execution_clients(&config)?,
        judged: Mutex::default(),
        ask_proposers: Notify::new(),
        lookahead_changed: Notify::new(),
        feed: Feed::new(),
        news: market::MarketNews::new(),
        builders: Builders::from(&config.builders),
        simulator: Simulator::new(&config.simulation)?,
        config,
    });
    restore(&relay).await?;
    upkeep::survey(&relay, relay.current_slot()).await;
    delivery::resume(&relay);
    upkeep::refresh(&relay, &beacon_part).await;

    let limiter = ClientLimiter::new(&relay.config.clients);
    let router = limiter
        .guard(api::router(Arc::clone(&relay)))
        .merge(api::unlimited(Arc::clone(&relay)))
        .merge(operation_router(health.clone(), metrics));
    let limits = ServerLimits {
        max_connections: bounds.connections,
        exempt: relay.config.clients.trusted_proxies.clone(),
        ..ServerLimits::default()
    };
    tasks.spawn("server", serve(listener, router, limits, tasks.token()));
    tasks.spawn("beacon-events", upkeep::follow(Arc::clone(&relay)));
    tasks.spawn("proposers", upkeep::proposers(Arc::clone(&relay), beacon_part.clone()));
    tasks.spawn("auctions", market::run(Arc::clone(&relay)));
    tasks.spawn("cutoffs", cutoff_task::run(Arc::clone(&relay)));
    tasks.spawn("slots", upkeep::tick(Arc::clone(&relay), beacon_part));
    tasks.spawn("received", recorder.run(Arc::clone(&relay)));
    tasks.spawn("meters", meters::run(Arc::clone(&relay)));
    let (watched, token) = (ledger.clone(), tasks.token());
    tasks.spawn("journal", async move {
        tokio::select! {
            () = token.cancelled() => Ok(()),
            broken = watched.broken() => broken,
        }
    });
    let (pubkey, address) = (relay.book.pubkey(), relay.ecdsa.address());
    let url = Url::parse(&format!("http://{local_addr}")).map_err(|error| StartError::Io {
        what: error.to_string(),
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    if relay.simulator.is_none() && relay.config.builders.allowed.is_empty() {
        tracing::warn!(
            "any builder's block is offered, and none is executed before: set builders.allowed or simulation.endpoints"
        );
    }
    tracing::info!(%url, %pubkey, %address, "the relay is up");
    Ok(Running { local_addr, url, pubkey, address, tasks, ledger })
}

/// Streams at once: half of the connections are left to those who ask and go.
fn streams_of(bounds: &Bounds) -> usize {
    let most = affordable(bounds.connections) / 2;
    if bounds.streams > most {
        tracing::warn!(bounds.streams, most, "streams may take half of the connections at most");
    }
    bounds.streams.min(most)
}

/// Who says what stands on L1: the contracts if a Registry is configured, else the lists.
fn l1(
    config: &Config,
    relay: Address,
    clock: SlotClock,
    timing: Timing,
    tasks: &Supervisor,
    health: &Health,
) -> Result<Box<dyn L1>, StartError> {
    let listed = Listed::new(config, relay);
    let Some(registry) = &config.registry else { return Ok(Box::new(listed)) };
    let checkpoint = config.data_dir.join("registry.json");
    let (follower, view) = Follower::new(registry.clone(), config.network, Some(checkpoint))?;
    tasks.spawn("registry", follower.run(clock, tasks.token()));
    let (mut seen, part, token) = (view.clone(), health.part("registry"), tasks.token());
    tasks.spawn("registry-health", async move {
        // Once it has caught up, a fault of its execution client is no reason to keep proposers away.
        let caught_up = async {
            while seen.standing() != Standing::Current {
                if let Standing::Faulty(reason) = seen.standing() {
                    part.not_ready(reason);
                }
                if !seen.changed().await {
                    return;
                }
            }
            part.ready();
        };
        tokio::select! {
            () = token.cancelled() => {}
            () = caught_up => token.cancelled().await,
        }
        Ok::<_, Infallible>(())
    });
    Ok(Box::new(Registered {
        view,
        timing,
        listed,
        has_market: registry.market.is_some(),
        has_rollups: registry.rollups.is_some(),
    }))
}

/// Clients of the execution clients, with as long for a call as the judgement at the cut-off leaves to several.
fn execution_clients(config: &Config) -> Result<Vec<ExecutionClient>, ChainError> {
    let options = ExecutionOptions { timeout: EXECUTION_TIMEOUT, ..ExecutionOptions::default() };
    config.execution.iter().map(|url| ExecutionClient::with_options(url.clone(), &options)).collect()
}

/// What the disk has.
struct Opened {
    bls: SecretKey,
    ecdsa: EcdsaSecret,
    ledger: Ledger,
    spool: Spool,
    received: Received,
    recorder: Recorder,
}

/// Everything on the disk.
fn open(config: &Config) -> Result<Opened, StartError> {
    let (bls, ecdsa) = (config.bls_key.bls()?, config.ecdsa_key.ecdsa()?);
    let options = Options { free_space_floor: config.free_space_floor, ..Options::default() };
    let ledger = Ledger::open(&config.data_dir.join("journal"), options)?;
    let payloads = config.data_dir.join("payloads");
    // Headers are given out while the journal takes writes: payloads may not use up the room for them.
    let spool = Spool::open(&payloads, config.free_space_floor.saturating_mul(2))
        .map_err(|source| StartError::Io { what: format!("cannot use {}", payloads.display()), source })?;
    let bids = config.data_dir.join("received");
    let room = Room { bids: config.bounds.received_bids, per_slot: config.bounds.received_per_slot };
    let (received, recorder) = Received::open(&bids, config.free_space_floor, room)
        .map_err(|source| StartError::Io { what: format!("cannot use {}", bids.display()), source })?;
    Ok(Opened { bls, ecdsa, ledger, spool, received, recorder })
}

/// Offers again what was on offer before a restart.
async fn restore(relay: &Arc<Relay>) -> Result<(), StartError> {
    let relay = Arc::clone(relay);
    let restored = tokio::task::spawn_blocking(move || {
        let current = relay.clock.slot_at(now_ms()).unwrap_or(0);
        relay.book.restore(current, |key| relay.required(key))
    });
    restored
        .await
        .map_err(|_| StartError::Stopped)?
        .map_err(|source| StartError::Io { what: "cannot read the payloads on offer".to_owned(), source })
}

/// Genesis and specification, waiting for nodes that start beside the relay.
async fn network(beacon: &BeaconClient, wait: Duration) -> Result<(Genesis, Spec), ChainError> {
    let ask = async || Ok((beacon.genesis().await?, beacon.spec().await?));
    let deadline = tokio::time::Instant::now().checked_add(wait);
    loop {
        match ask().await {
            Err(error) if deadline.is_some_and(|deadline| tokio::time::Instant::now() < deadline) => {
                tracing::info!(%error, "waiting for a beacon node");
                tokio::time::sleep(BEACON_RETRY).await;
            }
            answer => return answer,
        }
    }
}

fn same_network(config: &Config, genesis: &Genesis, spec: &Spec) -> Result<(), StartError> {
    let configured = alloy_primitives::FixedBytes(config.network.genesis_fork_version).to_string();
    let found = alloy_primitives::hex::encode_prefixed(genesis.genesis_fork_version);
    if found != configured {
        return Err(StartError::Network { what: "genesis fork version", found, configured });
    }
    match spec.chain_id() {
        Some(found) if found != config.network.chain_id => Err(StartError::Network {
            what: "chain id",
            found: found.to_string(),
            configured: config.network.chain_id.to_string(),
        }),
        _ => Ok(()),
    }
}

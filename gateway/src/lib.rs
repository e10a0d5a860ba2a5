//! The gateway: takes transactions, orders them, signs, streams, and posts batches to L1 (design §4).
//!
//! | task | reads | writes |
//! |---|---|---|
//! | API (one task a connection) | board, stream feed | queue of commands, bounded by `queue` |
//! | sequencer (one thread) | queue of commands | journal, then board, answers, feed, sealed segments |
//! | rights | relay, beacon node, Inbox | queue of commands: windows to take up; board: holders |
//! | poster | sealed segments, at most 8 a window | L1, relay; queue of commands: events to make durable |
//!
//! A transaction: validated by its request, queued, drafted by the ordering engine, durable in the journal, signed,
//! answered. A window: learnt from the relay and checked, waiting, open, sealed, its batches on their way, recorded on L1.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod api;
mod batch;
mod board;
mod clock;
mod config;
mod queue;
mod readiness;
mod records;
mod recovery;
mod rights;
mod rollup_state;
mod sequencer;
mod stream;

#[cfg(test)]
mod sequencer_tests;

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::Address;
use earnest_chain::{BeaconClient, ChainError, ExecutionClient};
use earnest_client::{ClientError, RelayClient};
use earnest_http::{
    ClientLimiter, ClientStreams, Health, ServerLimits, Supervisor, TaskEnded, operation_router, serve,
    telemetry::{TelemetryError, metrics_handle},
};
use earnest_journal::{Journal, Log, OpenError, Options};
use earnest_protocol::{inbox, signing::Network, tx::TxRules, window::Timing};
use earnest_signer::KeyFileError;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

pub use config::{Config, ConfigError, RollupConfig};
pub use recovery::RecoveryError;
pub use sequencer::SequencerError;

use crate::{
    api::ApiState,
    batch::Poster,
    board::Board,
    queue::Queue,
    readiness::Readiness,
    rights::Rights,
    rollup_state::RollupState,
    sequencer::{Committer, Sequencer},
    stream::Feed,
};

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has values that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key file is missing or wrong.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The journal does not open.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// The journal does not make a gateway.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The beacon node or the execution client does not answer.
    #[error("{0}")]
    Chain(#[from] ChainError),
    /// L1's execution client has no block.
    #[error("the execution client has no latest block: is it in sync?")]
    NoBlock,
    /// The beacon node's specification lacks something.
    #[error("the beacon node's specification lacks {0}")]
    Spec(&'static str),
    /// The relay's URL is of no use.
    #[error(transparent)]
    Relay(#[from] ClientError),
    /// The metrics recorder is taken.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The runtime is shutting down.
    #[error("stopped while starting")]
    Stopped,
    /// The address cannot be listened on, or the thread not started.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A gateway that runs.
#[derive(Debug)]
pub struct Running {
    /// Where its API listens.
    pub address: SocketAddr,
    /// Who signs its commitments.
    pub committer: Address,
    supervisor: Supervisor,
    journal: Journal,
}

impl Running {
    /// Waits for the end, after shutdown or when a task fails; then the journal is free for another process.
    ///
    /// # Errors
    /// The task that ended on its own.
    pub async fn join(self) -> Result<(), TaskEnded> {
        let ended = self.supervisor.join().await;
        self.journal.close();
        ended
    }
}

/// Starts a gateway. Returns once it listens.
///
/// # Errors
/// [`StartError`].
pub async fn start(mut config: Config, shutdown: CancellationToken) -> Result<Running, StartError> {
    config.check()?;
    let beacon = BeaconClient::new(config.beacon.clone())?;
    let execution = ExecutionClient::new(config.execution.clone())?;
    let relay = RelayClient::new(&config.relay, earnest_client::Limits::default())?;
    let clock = beacon.slot_clock().await?;
    let spec = beacon.spec().await?;
    let network = Network {
        genesis_fork_version: spec.genesis_fork_version().ok_or(StartError::Spec("GENESIS_FORK_VERSION"))?,
        chain_id: execution.chain_id().await?,
    };
    bound_segments(&mut config, &execution).await?;
    let timing = Timing {
        seal: config.seal,
        constraint_cutoff: config.constraint_cutoff,
        ..Timing::new(clock.genesis_time_ms(), clock.slot_ms(), clock.slots_per_epoch())
    };

    let committer =
        Arc::new(Committer { secret: config.committer_key.ecdsa()?, network, slasher: config.slasher });
    let account = config.batch_key.ecdsa()?;
    let delegate = config.delegate_key.bls()?;
    let address = committer.secret.address();

    let options = Options { free_space_floor: config.free_space_floor, ..Options::default() };
    let journal = Journal::open(&config.data_dir, options)?;
    let board = Arc::new(Board::new(config.rollups.iter().map(|rollup| rollup.id.into())));
    let recovered = {
        let (journal, committer, board) = (journal.clone(), Arc::clone(&committer), Arc::clone(&board));
        let (rollups, microblock, batch_account) =
            (config.rollups.clone(), config.microblock_transactions, account.address());
        let restored = config.restored_from_backup;
        tokio::task::spawn_blocking(move || {
            recovery::sit_out_if_unsure(&journal, restored, clock::now_ms())?;
            recovery::recover(&journal, &committer, batch_account, &board, &rollups, microblock)
        })
        .await
        .map_err(|_| StartError::Stopped)??
    };
    tracing::info!(
        records = journal.head(),
        batches = recovered.on_their_way.len(),
        unfinished = recovered.unfinished.len(),
        "journal read"
    );

    let rules: BTreeMap<_, _> =
        config.rollups.iter().map(|rollup| (rollup.id.into(), rules(rollup))).collect();
    let states = rollup_states(&config.rollups)?;
    let states = {
        let (journal, board, rules) = (journal.clone(), Arc::clone(&board), rules.clone());
        tokio::task::spawn_blocking(move || {
            rollup_state::restore(&journal, &board, &states, &rules, clock::now_ms())?;
            Ok::<_, RecoveryError>(states)
        })
        .await
        .map_err(|_| StartError::Stopped)??
    };

    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|source| StartError::Io { what: format!("listen on {}", config.listen), source })?;
    let local = listener
        .local_addr()
        .map_err(|source| StartError::Io { what: "read the listening address".to_owned(), source })?;

    let supervisor = Supervisor::new(&shutdown);
    let feed = Feed::new(journal.clone(), Arc::clone(&committer));
    let (commands, received) = mpsc::sync_channel(config.queue);
    let (sealed, sealed_segments) = tokio::sync::mpsc::unbounded_channel();
    for segment in recovered.unfinished {
        let _ = sealed.send(segment);
    }
    let queue = Queue::new(commands);

    let sequencer = Sequencer {
        journal: journal.clone(),
        committer,
        board: Arc::clone(&board),
        feed: feed.clone(),
        sealed,
        rollups: recovered.rollups,
        microblock_transactions: config.microblock_transactions,
        answers: HashMap::new(),
        space: Default::default(),
    };
    let stop = supervisor.token();
    let (ended, has_ended) = tokio::sync::oneshot::channel();
    thread::Builder::new()
        .name("sequencer".to_owned())
        .spawn(move || {
            let _ = ended.send(sequencer.run(&received, &stop));
        })
        .map_err(|source| StartError::Io { what: "start the sequencer's thread".to_owned(), source })?;
    supervisor.spawn("sequencer", async move {
        match has_ended.await {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(_) => Err("panicked".to_owned()),
        }
    });

    let health = Health::new();
    let readiness = Readiness {
        health: health.clone(),
        journal: journal.clone(),
        execution: execution.clone(),
        relay: relay.clone(),
        beacon: beacon.clone(),
    };
    supervisor.spawn("readiness", readiness.run(supervisor.token()));

    let rights = Rights {
        relay: relay.clone(),
        beacon,
        execution: execution.clone(),
        inbox: config.inbox,
        clock,
        timing,
        network,
        relay_address: config.relay_address,
        committer: address,
        rollups: config.rollups.iter().map(|rollup| rollup.id.into()).collect(),
        board: Arc::clone(&board),
        queue: queue.clone(),
        sit_out_before_ms: recovered.sit_out_before_ms,
        poll: config.delegation_poll(),
    };
    supervisor.spawn("rights", rights.run(supervisor.token()));

    let poster = Poster {
        execution,
        inbox: config.inbox,
        chain_id: network.chain_id,
        timing,
        account,
        committer: address,
        tip: config.batch_tip_wei,
        queue: queue.clone(),
        sealed: sealed_segments,
        on_their_way: recovered.on_their_way,
        next_nonce: recovered.next_nonce,
        constrainer: Arc::new(batch::Constrainer {
            relay,
            relay_address: config.relay_address,
            delegate,
            network,
            timing,
            queue: queue.clone(),
        }),
        constraining: tokio::task::JoinSet::new(),
    };
    supervisor.spawn("poster", poster.run(supervisor.token()));

    let limiter = ClientLimiter::new(&config.clients);
    let state = Arc::new(ApiState {
        board,
        queue,
        rules,
        states,
        policies: config.rollups.iter().map(|rollup| (rollup.id.into(), rollup.policy)).collect(),
        feed,
        committer: address,
        relay_address: config.relay_address,
        network,
        streams: Arc::new(Semaphore::new(config.streams)),
        client_streams: ClientStreams::new(config.streams_per_client, config.clients.clone()),
        catch_ups: Arc::new(Semaphore::new(stream::CATCH_UPS)),
        shutdown: supervisor.token(),
    });
    let router = api::router(state, &limiter).merge(operation_router(health, metrics_handle()?));
    let limits = ServerLimits { exempt: config.clients.trusted_proxies.clone(), ..ServerLimits::default() };
    supervisor.spawn("api", serve(listener, router, limits, supervisor.token()));
    tracing::info!(address = %local, committer = %address, "gateway listens");
    Ok(Running { address: local, committer: address, supervisor, journal })
}

/// Lowers each rollup's segments to what L1's blocks hold of all rollups' full windows.
async fn bound_segments(config: &mut Config, execution: &ExecutionClient) -> Result<(), StartError> {
    let head = execution.block(BlockNumberOrTag::Latest).await?.ok_or(StartError::NoBlock)?;
    let rollups = config.rollups.len();
    for rollup in &mut config.rollups {
        let held = batch::segments_per_block(head.header.gas_limit, rollups, rollup.max_batch_bytes);
        if held < rollup.max_segments {
            tracing::info!(
                rollup = rollup.id,
                segments = held,
                "a window has fewer segments: L1's blocks hold no more"
            );
            rollup.max_segments = held;
        }
    }
    Ok(())
}

fn rules(rollup: &RollupConfig) -> TxRules {
    TxRules {
        chain_id: rollup.id,
        max_bytes: inbox::max_tx_bytes(rollup.max_batch_bytes),
        max_gas: rollup.max_tx_gas,
        opaque: rollup.opaque,
    }
}

fn rollup_states(
    rollups: &[RollupConfig],
) -> Result<BTreeMap<earnest_protocol::RollupId, RollupState>, ChainError> {
    let with_rpc = rollups.iter().filter_map(|rollup| Some((rollup.id, rollup.rpc.clone()?)));
    with_rpc.map(|(id, rpc)| Ok((id.into(), RollupState::new(ExecutionClient::new(rpc)?)))).collect()
}

//! A builder: takes payloads for the coming slot from the execution client, and offers them to relays.
//!
//! It begins when the beacon node announces what the next payload stands on. The fees of a payload go where
//! its `fee_recipient` says, and the execution client keeps one payload in the making for each set of
//! attributes, which it ends when the payload is taken. So every attempt has a fee recipient of its own: the
//! early ones pay the builder and bid nothing, so that the proposer has a block at all; the last one pays the
//! proposer and bids what it pays. It pays nothing besides, simulates nothing, and keeps no pool of its own:
//! what is in the execution client's pool gets in.
//!
//! | task | what it does | ends |
//! |---|---|---|
//! | attributes | hears of the next slot, ends what was built on an older parent | with the builder |
//! | building | the attempts for one slot and parent | at the slot's start, or when the parent changes |

mod attempt;

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use earnest_builder_types::{BlsPublicKey, bls::SecretKey, domain::builder_domain};
use earnest_chain::{BeaconClient, BeaconEvent, ChainError, EventTopic, SlotClock};
use earnest_client::{ClientError, Limits, RelayClient};
use futures::StreamExt;
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::beacon::Engine;

/// Reports kept for a slow reader.
const REPORT_BUFFER: usize = 256;

/// How to start a [`Builder`]. Make one with [`BuilderOptions::new`] and change what should differ.
#[derive(Clone)]
pub struct BuilderOptions {
    /// The builder's key.
    pub key: SecretKey,
    /// The execution client payloads are taken from.
    pub engine: Arc<dyn Engine>,
    /// Base URL of the beacon node whose events start the building.
    pub beacon: Url,
    /// Base URLs of the relays that get every block.
    pub relays: Vec<Url>,
    /// Who gets the fees of the early attempts.
    pub coinbase: Address,
    /// When attempts begin, as fractions (numerator, denominator) of a slot before the slot starts, earliest
    /// first. One whose time has passed begins at once. Default: at once, and at ¼, which is after the
    /// relay's cut-off for constraints.
    pub attempts: Vec<(u64, u64)>,
    /// How long the execution client gets for an attempt, as a fraction of a slot. Default 1/12.
    pub build_time: (u64, u64),
}

impl BuilderOptions {
    /// The defaults.
    #[must_use]
    pub fn new(key: SecretKey, engine: Arc<dyn Engine>, beacon: Url, relays: Vec<Url>) -> Self {
        Self {
            key,
            engine,
            beacon,
            relays,
            coinbase: Address::repeat_byte(0xbb),
            attempts: vec![(1, 1), (1, 4)],
            build_time: (1, 12),
        }
    }
}

/// Why the builder did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The beacon node does not tell what signing needs.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// An address that is no HTTP URL.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What the builder did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A block was offered to a relay.
    Submitted {
        /// The slot.
        slot: u64,
        /// Hash of the execution block.
        block_hash: B256,
        /// The bid, wei.
        value: U256,
        /// Transactions in it.
        transactions: usize,
        /// The relay, host and port.
        relay: String,
        /// Whether the relay took it, or what it said.
        taken: Result<(), String>,
    },
    /// An attempt came to nothing.
    Failed {
        /// The slot.
        slot: u64,
        /// Why.
        reason: String,
    },
}

/// A running builder. It stops when it is dropped.
pub struct Builder {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// What all tasks read.
struct Shared {
    options: BuilderOptions,
    pubkey: BlsPublicKey,
    domain: B256,
    clock: SlotClock,
    relays: Vec<RelayClient>,
    reports: broadcast::Sender<Report>,
    stop: CancellationToken,
}

impl Builder {
    /// Starts a builder; returns once the beacon node has told its chain.
    ///
    /// # Errors
    /// [`StartError`] if the beacon node does not answer or an address is wrong.
    pub async fn start(options: BuilderOptions) -> Result<Self, StartError> {
        let beacon = BeaconClient::new([options.beacon.clone()])?;
        let genesis = beacon.genesis().await?;
        let clock = beacon.slot_clock().await?;
        let relays = options.relays.iter().map(|url| RelayClient::new(url, Limits::default()));
        let shared = Arc::new(Shared {
            relays: relays.collect::<Result<_, _>>()?,
            pubkey: options.key.public_key(),
            domain: builder_domain(genesis.genesis_fork_version.0),
            options,
            clock,
            reports: broadcast::Sender::new(REPORT_BUFFER),
            stop: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        let (listening, stop) = (listen(shared.clone(), beacon, tasks.clone()), shared.stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = listening => {}
                () = stop.cancelled() => {}
            }
        });
        tasks.close();
        Ok(Self { shared, tasks })
    }

    /// The builder's public key.
    #[must_use]
    pub fn pubkey(&self) -> BlsPublicKey {
        self.shared.pubkey
    }

    /// What the builder does from now on.
    #[must_use]
    pub fn reports(&self) -> broadcast::Receiver<Report> {
        self.shared.reports.subscribe()
    }

    /// Stops and waits until all is down.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Builder {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Builds upon what was announced last, and on nothing else.
async fn listen(shared: Arc<Shared>, beacon: BeaconClient, tasks: TaskTracker) {
    let mut events = beacon.events(&[EventTopic::PayloadAttributes]);
    let mut building = CancellationToken::new();
    while let Some(event) = events.next().await {
        let BeaconEvent::PayloadAttributes(event) = event else { continue };
        building.cancel();
        building = shared.stop.child_token();
        let (shared, superseded) = (shared.clone(), building.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = attempt::run(&shared, event) => {}
                () = superseded.cancelled() => {}
            }
        });
    }
}

impl Shared {
    fn report(&self, report: Report) {
        match &report {
            Report::Submitted { slot, block_hash, value, transactions, relay, taken } => match taken {
                Ok(()) => tracing::info!(slot, %block_hash, %value, transactions, relay, "block offered"),
                Err(reason) => tracing::info!(slot, %block_hash, relay, reason, "relay refused a block"),
            },
            Report::Failed { slot, reason } => tracing::warn!(slot, reason, "no block built"),
        }
        // Nobody listening is no fault.
        let _ = self.reports.send(report);
    }
}

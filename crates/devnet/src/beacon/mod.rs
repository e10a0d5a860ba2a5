//! A beacon node in this process, served over real HTTP, for a real L1 whose execution client it drives.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use earnest_devnet::beacon::{BeaconNode, BeaconOptions, MemoryEngine};
//! # async fn example(keys: Vec<earnest_builder_types::BlsPublicKey>) -> Result<(), Box<dyn std::error::Error>> {
//! let node = BeaconNode::start(BeaconOptions::new(Arc::new(MemoryEngine::new()), keys)).await?;
//! println!("beacon node at {}", node.url());
//! node.faults().miss_slot(3);
//! # Ok(()) }
//! ```
//!
//! What is real: the HTTP API and its encodings, the clock, blocks and their signatures (proposer and RANDAO),
//! who proposes when, the randomness, parent roots, equivocation, head, reorgs and finality as far as they
//! follow from blocks, and everything between beacon block and execution payload.
//!
//! What is not simulated: attestations and fork choice by votes (the highest slot wins, the first of a slot
//! stays), the state transition (balances, withdrawals, deposits, exits, slashings, sync committees; a block's
//! operations are carried and ignored), gossip, KZG proofs of blobs, optimistic sync. The state is the RANDAO
//! mix; its root is a hash, [`state_root_after`]. Duties are drawn as EIP-7917 has it (decided one epoch ahead)
//! under every fork name, by a draw of our own; every validator is active from genesis with the same stake.
//!
//! | task | what it does | ends |
//! |---|---|---|
//! | clock | payload attributes for the next slot when the running one has no block by its half | with the node |
//! | server | the routes | with the node, after requests in flight |
//!
//! | channel | from | to | capacity |
//! |---|---|---|---|
//! | events (broadcast) | publishing, clock, reorgs | event streams, [`BeaconNode::events`] | 1,024; a reader further behind is dropped |
//! | head (watch) | publishing, reorgs | [`BeaconNode::wait_for_head`] | 1 |

pub mod block;
mod block_error;
pub mod chain_state;
mod constant_blob;
pub mod duties;
pub mod engine;
mod faults;
mod history;
mod memory_engine;
mod node;
mod outcome;
mod routes;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use alloy_primitives::{Address, B256, FixedBytes};
use earnest_builder_types::{
    BlsPublicKey, ForkName, SignedBlockContents,
    domain::{beacon_proposer_domain, builder_domain, randao_domain},
};
use earnest_chain::{BeaconEvent, ClockError, Genesis, SlotClock};
use earnest_http::ServerLimits;
use sha2::{Digest, Sha256};
use tokio::{net::TcpListener, sync::broadcast};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

pub use block::{ProposerDomains, randao_signing_root};
pub use block_error::BlockError;
pub use chain_state::{Block, ChainState, Checkpoint, HeadChange, mix_randao, state_root_after};
pub use constant_blob::ConstantBlob;
pub use engine::{BuiltPayload, Engine, EngineError, ExecutionBlock, NewPayload};
pub use faults::{Endpoints, Fault, Faults};
pub use history::HistoryError;
pub use memory_engine::MemoryEngine;
pub use outcome::{ProduceError, ProducedBlock, PublishError, ReorgError};

use node::{Node, Settings};

/// How to start a [`BeaconNode`]. Make one with [`BeaconOptions::new`] and change what should differ.
#[derive(Clone)]
pub struct BeaconOptions {
    /// The execution client to drive.
    pub engine: Arc<dyn Engine>,
    /// The validators; the place in this list is the index.
    pub validators: Vec<BlsPublicKey>,
    /// When slot 0 begins, Unix seconds. Default: the next full second but one.
    pub genesis_time: u64,
    /// Length of a slot in milliseconds, any. Default 2,000.
    pub slot_ms: u64,
    /// Slots in an epoch. Default 8.
    pub slots_per_epoch: u64,
    /// The fork the whole chain is in, Capella to Fulu. Default Electra.
    pub fork: ForkName,
    /// The genesis fork version; the builder domain follows from it. Default 0x10000038. The other forks'
    /// versions have another first byte.
    pub genesis_fork_version: [u8; 4],
    /// Chain id of the execution chain. Default 1337.
    pub chain_id: u64,
    /// Address that the specification names as deposit contract. Default zero.
    pub deposit_contract: Address,
    /// Fee recipient of local payloads whose proposer named none. Default zero.
    pub fee_recipient: Address,
    /// Where to listen. Default 127.0.0.1, a port of the system's choice.
    pub listen: SocketAddr,
}

impl BeaconOptions {
    /// The defaults, for these validators upon this execution client.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, validators: Vec<BlsPublicKey>) -> Self {
        Self {
            engine,
            validators,
            genesis_time: (node::now_ms() / 1000).saturating_add(2),
            slot_ms: 2_000,
            slots_per_epoch: 8,
            fork: ForkName::Electra,
            genesis_fork_version: [0x10, 0, 0, 0x38],
            chain_id: 1337,
            deposit_contract: Address::ZERO,
            fee_recipient: Address::ZERO,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The options make no chain.
    #[error("options: {0}")]
    Options(String),
    /// The execution client could not be asked for the block to begin with.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The address cannot be listened on.
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

impl From<ClockError> for StartError {
    fn from(error: ClockError) -> Self {
        Self::Options(error.to_string())
    }
}

/// A running beacon node. It stops when it is dropped.
pub struct BeaconNode {
    node: Arc<Node>,
    url: Url,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl BeaconNode {
    /// Starts a chain upon the execution client's latest block; returns once requests are answered.
    ///
    /// # Errors
    /// [`StartError`] if the options make no chain, or the execution client or the address is not there.
    pub async fn start(options: BeaconOptions) -> Result<Self, StartError> {
        let genesis_execution = options.engine.latest_block().await?;
        let settings = settings(&options)?;
        let validators = u64::try_from(settings.validators.len()).unwrap_or(u64::MAX);
        let chain =
            ChainState::new(settings.clock, validators, settings.genesis_validators_root, genesis_execution);
        let node = Arc::new(Node::new(settings, chain, options.engine));

        let listener = TcpListener::bind(options.listen).await?;
        let url = Url::parse(&format!("http://{}", listener.local_addr()?))
            .map_err(|error| StartError::Options(error.to_string()))?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let router = routes::router(node.clone(), stop.clone());
        let server = earnest_http::serve(listener, router, ServerLimits::default(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the beacon node's server ended");
            }
        });
        let (clock, stopped) = (node.clone(), stop.clone());
        tasks.spawn(async move {
            clock.prepare_for_now().await;
            tokio::select! {
                () = clock.run_clock() => {}
                () = stopped.cancelled() => {}
            }
        });
        tasks.close();
        Ok(Self { node, url, stop, tasks })
    }

    /// Where the node answers.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The clock of the chain.
    #[must_use]
    pub fn clock(&self) -> SlotClock {
        self.node.settings.clock
    }

    /// Genesis as the API tells it.
    #[must_use]
    pub fn genesis(&self) -> Genesis {
        routes::genesis_of(&self.node)
    }

    /// The domains proposers sign in.
    #[must_use]
    pub fn proposer_domains(&self) -> ProposerDomains {
        self.node.settings.domains
    }

    /// The domain of the Builder API on this chain.
    #[must_use]
    pub fn builder_domain(&self) -> B256 {
        builder_domain(self.node.settings.genesis_fork_version)
    }

    /// The handle for faults.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.node.faults
    }

    /// Reads the chain; it does not move meanwhile, so be short.
    pub fn chain<T>(&self, read: impl FnOnce(&ChainState) -> T) -> T {
        read(&self.node.chain.read())
    }

    /// The head.
    #[must_use]
    pub fn head(&self) -> Block {
        self.chain(|chain| chain.head().clone())
    }

    /// A whole block, if it is among the newest 256.
    #[must_use]
    pub fn block(&self, root: B256) -> Option<Arc<SignedBlockContents>> {
        self.node.contents(root)
    }

    /// The events from now on, as the event stream has them.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<BeaconEvent> {
        self.node.events.subscribe()
    }

    /// Waits until the head meets a condition; looks at the present one first.
    pub async fn wait_for_head(&self, mut condition: impl FnMut(&Block) -> bool) -> Block {
        let mut changes = self.node.head.subscribe();
        loop {
            changes.borrow_and_update();
            let head = self.head();
            if condition(&head) || changes.changed().await.is_err() {
                return head;
            }
        }
    }

    /// Waits until a slot begins.
    pub async fn wait_for_slot(&self, slot: u64) {
        let start = self.clock().start_of(slot);
        loop {
            let left = SlotClock::until(node::now_ms(), start);
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Takes the last `depth` blocks off the chain; the next proposer builds around them.
    ///
    /// An execution client that does not go back to an ancestor leaves the chain as it was.
    ///
    /// # Errors
    /// [`ReorgError`] if that would undo what is final, or the execution client does not follow.
    pub async fn reorg(&self, depth: u64) -> Result<HeadChange, ReorgError> {
        self.node.reorg(depth).await
    }

    /// Changes the duties of the epoch after the head's by a reorg that takes off the block which decided
    /// them: as deep as it takes, which is at most the head's epoch and the block before it.
    ///
    /// # Errors
    /// As [`Self::reorg`]; [`ReorgError::Depth`] also in epoch 0, whose duties and successor's genesis decides.
    pub async fn change_lookahead(&self) -> Result<HeadChange, ReorgError> {
        let depth = self.chain(|chain| {
            let epoch = self.clock().epoch_of(chain.head().header.slot);
            chain.depth_to_change_duties(epoch)
        });
        self.reorg(depth.ok_or(ReorgError::Depth)?).await
    }

    /// Stops serving, ends every stream and waits until all is down.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for BeaconNode {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn settings(options: &BeaconOptions) -> Result<Settings, StartError> {
    let refused = |reason: &str| Err(StartError::Options(reason.to_owned()));
    if options.validators.is_empty() {
        return refused("a chain needs validators");
    }
    if !(ForkName::Capella..=ForkName::Fulu).contains(&options.fork) {
        return refused("the fork must be capella, deneb, electra or fulu");
    }
    let clock =
        SlotClock::new(options.genesis_time.saturating_mul(1000), options.slot_ms, options.slots_per_epoch)?;
    let mut keys = Sha256::new();
    for key in &options.validators {
        keys.update(key);
    }
    let genesis_validators_root = B256::from_slice(&keys.finalize());
    let fork_version = version_of(options.genesis_fork_version, options.fork);
    Ok(Settings {
        fork: options.fork,
        genesis_fork_version: options.genesis_fork_version,
        genesis_validators_root,
        chain_id: options.chain_id,
        deposit_contract: options.deposit_contract,
        domains: ProposerDomains {
            block: beacon_proposer_domain(fork_version, genesis_validators_root),
            randao: randao_domain(fork_version, genesis_validators_root),
        },
        clock,
        validators: options.validators.clone(),
        // A key that is there twice is found at its first place.
        indices: options.validators.iter().copied().zip(0..).collect::<Vec<_>>().into_iter().rev().collect(),
        fee_recipient: options.fee_recipient,
    })
}

/// The version of a fork: the genesis version with another first byte, as test networks number them.
fn version_of(genesis: [u8; 4], fork: ForkName) -> [u8; 4] {
    let step = match fork {
        ForkName::Bellatrix => 0x20,
        ForkName::Capella => 0x30,
        ForkName::Deneb => 0x40,
        ForkName::Electra => 0x50,
        ForkName::Fulu => 0x60,
        ForkName::Gloas => 0x70,
    };
    let [first, rest @ ..] = genesis;
    let [second, third, fourth] = rest;
    [first.wrapping_add(step), second, third, fourth]
}

/// A fork version as the API's types have it.
fn fixed(version: [u8; 4]) -> FixedBytes<4> {
    FixedBytes(version)
}

//! Validators that register with and propose through the Builder API, as a validator client and its beacon
//! node do together.
//!
//! Each epoch the validators send their signed registrations to the builder endpoint (a proposer sidecar,
//! mev-boost or a relay) and tell the beacon node where local fees go. For each slot of theirs they ask the
//! builder endpoint for a header until ¼ of the slot is over, sign a blinded block around it and hand it in.
//! No header, or one that does not fit the chain: they sign the beacon node's own block.
//! A builder's bid is preferred to a local block whatever it is worth.
//!
//! Of a slot they sign one block, never a second: if a signed blinded block is not taken, the slot is lost.
//!
//! | task | what it does | ends |
//! |---|---|---|
//! | registration | registers each epoch, again each slot until it was taken | with the validators |
//! | attributes | keeps what the next payload stands on, from the beacon node's events | with the validators |
//! | duties | at ¼ slot before each slot looks up its proposer, proposes at its start | with the validators |
//! | proposal | one for each slot of ours | when its slot is decided |

mod bid_check;
mod duties;
mod keys;
mod proposal;
mod registration;

use std::{collections::HashMap, sync::Arc};

use alloy_primitives::{Address, B256};
use earnest_builder_types::{
    BlsPublicKey, ForkName,
    bls::SecretKey,
    domain::{beacon_proposer_domain, builder_domain, randao_domain},
};
use earnest_chain::{BeaconClient, ChainError, Genesis, PayloadAttributesEvent, SlotClock, Spec};
use earnest_client::{ClientError, Limits, RelayClient, Transport};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use url::Url;

use crate::beacon::ProposerDomains;

pub use keys::interop_key;
pub use proposal::{Outcome, Proposal};

/// Reports kept for a slow reader.
const REPORT_BUFFER: usize = 256;

/// Which way a signed blinded block goes to the builder endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Submission {
    /// `POST /eth/v1/builder/blinded_blocks`: the payload comes back, and the proposer publishes the block too.
    #[default]
    V1,
    /// `POST /eth/v2/builder/blinded_blocks`: the relay publishes the block.
    V2,
}

/// How to start [`Validators`]. Make one with [`ValidatorOptions::new`] and change what should differ.
#[derive(Debug, Clone)]
pub struct ValidatorOptions {
    /// Keys of the validators. All must be known to the beacon node.
    pub keys: Vec<SecretKey>,
    /// Base URL of the beacon node.
    pub beacon: Url,
    /// Base URL of the builder endpoint; without it every block is local.
    pub builder: Option<Url>,
    /// Which way signed blinded blocks go.
    pub submission: Submission,
    /// Who gets the fees of builders' blocks.
    pub fee_recipient: Address,
    /// Who gets the fees of local blocks. Apart from `fee_recipient`, as execution clients tell payloads in
    /// the making apart by it: what a builder takes out of the same client must not end the local one.
    pub local_fee_recipient: Address,
    /// Gas limit registered.
    pub gas_limit: u64,
    /// Graffiti of every block.
    pub graffiti: B256,
}

impl ValidatorOptions {
    /// The defaults (v1, 30 million gas), for these keys.
    #[must_use]
    pub fn new(keys: Vec<SecretKey>, beacon: Url, builder: Option<Url>) -> Self {
        Self {
            keys,
            beacon,
            builder,
            submission: Submission::V1,
            fee_recipient: Address::repeat_byte(0xfe),
            local_fee_recipient: Address::repeat_byte(0x10),
            gas_limit: 30_000_000,
            graffiti: B256::ZERO,
        }
    }
}

/// Why the validators did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The beacon node does not tell what signing and proposing need.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The specification of the network lacks an entry.
    #[error("the beacon node's specification has no {0}")]
    Spec(&'static str),
    /// An address that is no HTTP URL.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A key is not that of a validator.
    #[error("the beacon node knows no validator {0}")]
    Unknown(BlsPublicKey),
}

/// What validators did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// The builder endpoint took the registrations for an epoch.
    Registered {
        /// The epoch.
        epoch: u64,
        /// How many.
        validators: usize,
    },
    /// The builder endpoint did not take the registrations; they are sent again next slot.
    NotRegistered {
        /// The epoch.
        epoch: u64,
        /// What it said.
        reason: String,
    },
    /// A slot of ours is decided.
    Proposed(Proposal),
}

/// The validators of one process. They stop when this is dropped.
pub struct Validators {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// What all tasks read.
struct Shared {
    options: ValidatorOptions,
    indices: HashMap<u64, SecretKey>,
    beacon: BeaconClient,
    beacon_http: Transport,
    builder: Option<RelayClient>,
    clock: SlotClock,
    spec: Spec,
    genesis: Genesis,
    attributes: watch::Sender<Option<PayloadAttributesEvent>>,
    signed: Mutex<HashMap<u64, u64>>,
    reports: broadcast::Sender<Report>,
    stop: CancellationToken,
}

impl Validators {
    /// Starts the validators; returns once the beacon node has told who they are.
    ///
    /// # Errors
    /// [`StartError`] if the beacon node does not answer or does not know them.
    pub async fn start(options: ValidatorOptions) -> Result<Self, StartError> {
        let beacon = BeaconClient::new([options.beacon.clone()])?;
        let (genesis, spec) = (beacon.genesis().await?, beacon.spec().await?);
        let clock = spec.slot_clock(&genesis).map_err(|_| StartError::Spec("slot and epoch lengths"))?;
        let builder =
            options.builder.as_ref().map(|url| RelayClient::new(url, Limits::default())).transpose()?;
        let indices = indices(&beacon, &options.keys).await?;
        let shared = Arc::new(Shared {
            beacon_http: Transport::new(&options.beacon, Limits::default())?,
            options,
            indices,
            beacon,
            builder,
            clock,
            spec,
            genesis,
            attributes: watch::Sender::new(None),
            signed: Mutex::default(),
            reports: broadcast::Sender::new(REPORT_BUFFER),
            stop: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(stopping(&shared, registration::run(shared.clone())));
        tasks.spawn(stopping(&shared, duties::follow_attributes(shared.clone())));
        tasks.spawn(stopping(&shared, duties::run(shared.clone(), tasks.clone())));
        tasks.close();
        Ok(Self { shared, tasks })
    }

    /// What the validators do from now on.
    #[must_use]
    pub fn reports(&self) -> broadcast::Receiver<Report> {
        self.shared.reports.subscribe()
    }

    /// Waits for the decision on the first slot of ours from `slot` on; `None` if too many reports were
    /// missed or the validators stopped.
    pub async fn proposal_from(reports: &mut broadcast::Receiver<Report>, slot: u64) -> Option<Proposal> {
        loop {
            match reports.recv().await {
                Ok(Report::Proposed(proposal)) if proposal.slot >= slot => return Some(proposal),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }

    /// Stops and waits until all is down.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Validators {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// A task that ends with the validators.
fn stopping(
    shared: &Shared,
    task: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let stop = shared.stop.clone();
    async move {
        tokio::select! {
            () = task => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn indices(beacon: &BeaconClient, keys: &[SecretKey]) -> Result<HashMap<u64, SecretKey>, StartError> {
    let public: Vec<BlsPublicKey> = keys.iter().map(SecretKey::public_key).collect();
    let known: HashMap<BlsPublicKey, u64> = beacon
        .validators_by_pubkey(&public)
        .await?
        .into_iter()
        .map(|record| (record.pubkey, record.index))
        .collect();
    let indexed = public.iter().zip(keys).map(|(public, key)| {
        let index = known.get(public).ok_or(StartError::Unknown(*public))?;
        Ok((*index, key.clone()))
    });
    indexed.collect()
}

impl Shared {
    /// The domains of blocks and RANDAO reveals at `epoch`, with its fork.
    fn domains(&self, epoch: u64) -> Result<(ForkName, ProposerDomains), StartError> {
        let fork = self.spec.fork_at(epoch).ok_or(StartError::Spec("fork in force"))?;
        let version = self.spec.fork_version(fork).ok_or(StartError::Spec("version of the fork in force"))?;
        let root = self.genesis.genesis_validators_root;
        let block = beacon_proposer_domain(version, root);
        Ok((fork, ProposerDomains { block, randao: randao_domain(version, root) }))
    }

    fn builder_domain(&self) -> B256 {
        builder_domain(self.genesis.genesis_fork_version.0)
    }

    /// Takes the right to sign the one block of this validator for `slot`; false if it was taken, or a later
    /// slot's.
    fn claim(&self, validator: u64, slot: u64) -> bool {
        let mut signed = self.signed.lock();
        let free = signed.get(&validator).is_none_or(|last| *last < slot);
        if free {
            signed.insert(validator, slot);
        }
        free
    }

    fn report(&self, report: Report) {
        // Nobody listening is no fault.
        let _ = self.reports.send(report);
    }

    /// Sleeps until `at_ms`, Unix time in milliseconds.
    async fn sleep_until(&self, at_ms: u64) {
        tokio::time::sleep(SlotClock::until(now_ms(), at_ms)).await;
    }
}

/// Unix time in milliseconds.
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

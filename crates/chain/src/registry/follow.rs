//! Asks an execution client, and feeds the fold.

use std::{
    convert::Infallible,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rpc_types_eth::{Block, Filter, TransactionInput, TransactionRequest};
use alloy_sol_types::SolCall;
use earnest_bindings::Registry;
use earnest_protocol::{BlsPublicKey, signing::Network};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{ChainError, ExecutionClient, SlotClock};

use super::{
    checkpoint::{self, Identity},
    event::{self, Contracts, Event, Item},
    history::{BlockEvents, History, Misfit, Rules},
    keys,
    state::{BlockRef, State, Terms},
    view::{Published, RegistryView, Standing},
};

/// Slots that a window reaches back at most: so far back a schedule needs to know who is opted in.
const MAX_WINDOW_SLOTS: u64 = 32;
/// Seconds that a block's timestamp may lie ahead of our clock.
const MAX_AHEAD: u64 = 600;
/// Blocks from one checkpoint to the next.
const CHECKPOINT_BLOCKS: u64 = 32;
/// Pause after a fault, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Where the Registry is and how it is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Execution client of L1.
    pub execution: Url,
    /// The Registry.
    pub registry: Address,
    /// The slasher whose opt-ins count.
    pub slasher: Address,
    /// The OrderingMarket: escrows, and the relays that operators name. Not followed if left out.
    #[serde(default)]
    pub market: Option<Address>,
    /// The RollupRegistry. Not followed if left out.
    #[serde(default)]
    pub rollups: Option<Address>,
    /// The block in which the first of them was deployed, or an earlier one. Default 0.
    #[serde(default)]
    pub from_block: u64,
    /// Epochs from the reference block to the epoch before the proposers' own, at least 1. All parts of a network must agree
    /// on it. Default 2.
    #[serde(default = "default_optin_delay")]
    pub optin_delay: u64,
    /// How often the execution client is asked for a new block, milliseconds. Default 1,000.
    #[serde(default = "default_poll_ms")]
    pub poll_ms: u64,
    /// Blocks that one question for logs spans at most. Default 2,000.
    #[serde(default = "default_logs_range")]
    pub logs_range: u64,
}

impl RegistryConfig {
    /// The contracts.
    #[must_use]
    pub const fn contracts(&self) -> Contracts {
        let Self { registry, slasher, market, rollups, .. } = self;
        Contracts { registry: *registry, slasher: *slasher, market: *market, rollups: *rollups }
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// [`ChainError::Config`] if `optin_delay` or `logs_range` is zero.
    pub fn check(&self) -> Result<(), ChainError> {
        if self.optin_delay == 0 || self.logs_range == 0 {
            return Err(ChainError::Config("registry: optin_delay and logs_range are at least 1".to_owned()));
        }
        Ok(())
    }
}

const fn default_optin_delay() -> u64 {
    2
}
const fn default_poll_ms() -> u64 {
    1_000
}
const fn default_logs_range() -> u64 {
    2_000
}

/// Why the Registry cannot be followed, now or at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The execution client.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// What the execution client says does not fit together.
    #[error("the execution client contradicts itself or the contracts: {0}")]
    Inconsistent(String),
    /// It does not have a block or a transaction that it named, or has not heard of yet.
    #[error("the execution client does not have {0}")]
    Missing(String),
    /// What is at the address is no Registry, or one of another network.
    #[error("the Registry: {0}")]
    Registry(String),
    /// There is nothing at the Registry's address.
    #[error("there is no contract at {0}")]
    NotDeployed(Address),
}

/// The task that follows the contracts.
#[derive(Debug)]
pub struct Follower {
    client: ExecutionClient,
    config: RegistryConfig,
    contracts: Contracts,
    network: Network,
    checkpoint: Option<PathBuf>,
    range: u64,
    fold: Option<(Identity, History)>,
    /// The block that the checkpoint on the disk is of.
    written: Option<u64>,
    published: watch::Sender<Published>,
}

impl Follower {
    /// A follower of the configured contracts, and the view of what it learns. `checkpoint` is a file of its own to go on from
    /// after a restart.
    ///
    /// # Errors
    /// [`ChainError::Config`] if the execution client cannot be asked; as [`RegistryConfig::check`].
    pub fn new(
        config: RegistryConfig,
        network: Network,
        checkpoint: Option<PathBuf>,
    ) -> Result<(Self, RegistryView), ChainError> {
        config.check()?;
        let client = ExecutionClient::new(config.execution.clone())?;
        let (published, receiver) = watch::channel(Published::nothing(Standing::CatchingUp));
        let view = RegistryView { optin_delay: config.optin_delay, published: receiver };
        let (contracts, range) = (config.contracts(), config.logs_range);
        let follower = Self {
            client,
            config,
            contracts,
            network,
            checkpoint,
            range,
            fold: None,
            written: None,
            published,
        };
        Ok((follower, view))
    }

    /// Runs until `shutdown`, on the network's clock.
    ///
    /// # Errors
    /// Never; faults of the execution client are waited out.
    pub async fn run(mut self, clock: SlotClock, shutdown: CancellationToken) -> Result<(), Infallible> {
        let poll = Duration::from_millis(self.config.poll_ms.max(10));
        let mut longer = FIRST_PAUSE;
        while !shutdown.is_cancelled() {
            let stepped = tokio::select! {
                () = shutdown.cancelled() => break,
                stepped = self.step(&clock) => stepped,
            };
            let pause = match stepped {
                Ok(Step::Onward) => {
                    longer = FIRST_PAUSE;
                    Duration::ZERO
                }
                Ok(Step::AtHead) => {
                    longer = FIRST_PAUSE;
                    poll
                }
                Err(RegistryError::NotDeployed(registry)) => {
                    tracing::info!(%registry, "no Registry there yet");
                    poll
                }
                Err(error) => {
                    tracing::warn!(%error, "the Registry cannot be followed; trying again");
                    self.published.send_modify(|it| {
                        it.standing = Standing::Faulty(error.to_string());
                        it.faults = it.faults.saturating_add(1);
                    });
                    let pause = longer;
                    longer = longer.saturating_mul(2).min(LONGEST_PAUSE);
                    pause
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    /// One question after the other until one block, or one range of old ones, is taken.
    async fn step(&mut self, clock: &SlotClock) -> Result<Step, RegistryError> {
        let head = self.header(BlockNumberOrTag::Latest).await?;
        self.published.send_if_modified(|it| std::mem::replace(&mut it.head, head.number) != head.number);
        let Some((_, history)) = &self.fold else {
            self.fold = Some(self.begin(clock).await?);
            return Ok(Step::Onward);
        };
        let tip = history.tip();
        if head.hash == tip.hash {
            self.publish(Standing::Current);
            self.save().await;
            return Ok(Step::AtHead);
        }
        if head.number <= tip.number {
            return match history.block(head.number) {
                // A node behind the one that was asked before: no reason to go back.
                Some(known) if known.hash == head.hash => Ok(Step::AtHead),
                Some(_) => self.go_back(head.number).await,
                None => Err(RegistryError::Missing(format!("block {}, which it had", tip.number))),
            };
        }
        let settled = head.number.saturating_sub(self.depth(clock));
        if settled > tip.number {
            if self.header(tip.number.into()).await?.hash != tip.hash {
                return self.go_back(tip.number).await;
            }
            return self.skip(tip.number, settled).await;
        }
        let next = self.header(tip.number.saturating_add(1).into()).await?;
        if next.parent != tip.hash {
            return self.go_back(tip.number).await;
        }
        let filter = self.filter().at_block_hash(next.hash);
        let logs = self.client.logs(&filter).await?;
        let mut blocks =
            event::read(&logs, &self.contracts, next.number, next.number).map_err(inconsistent)?;
        let events = match blocks.pop() {
            Some(items) if items.hash == next.hash => self.events(items.items).await?,
            Some(items) => return Err(inconsistent(format!("logs of {}, not of {}", items.hash, next.hash))),
            None => Vec::new(),
        };
        self.history()?.apply(BlockEvents { block: next, events }).map_err(misfit)?;
        self.publish(if next.hash == head.hash { Standing::Current } else { Standing::CatchingUp });
        Ok(Step::Onward)
    }

    /// The fold to begin with: from the checkpoint if it is of this chain, else from before the contracts.
    async fn begin(&self, clock: &SlotClock) -> Result<(Identity, History), RegistryError> {
        let terms = self.terms().await?;
        let from = self.config.from_block;
        let identity = Identity::new(self.network.chain_id, &self.contracts, from, terms);
        let rules = Rules {
            clock: *clock,
            terms,
            depth: usize::try_from(self.depth(clock)).unwrap_or(usize::MAX),
            epochs: usize::try_from(self.epochs(clock)).unwrap_or(usize::MAX),
        };
        let stored = match self.checkpoint.clone() {
            Some(path) => {
                let identity = identity.clone();
                tokio::task::spawn_blocking(move || checkpoint::read(&path, &identity))
                    .await
                    .unwrap_or_default()
            }
            None => None,
        };
        if let Some((block, state)) = stored {
            if self.header(block.number.into()).await.is_ok_and(|found| found.hash == block.hash) {
                tracing::info!(block = block.number, "following the Registry from its checkpoint");
                return Ok((identity, History::new(rules, block, state)));
            }
            tracing::warn!(block = block.number, "the checkpoint's block is not on the chain");
        }
        let base = self.header(from.saturating_sub(1).into()).await?;
        tracing::info!(block = base.number, "following the Registry from its beginning");
        Ok((identity, History::new(rules, base, State::default())))
    }

    /// The Registry's terms; it must be of this network.
    async fn terms(&self) -> Result<Terms, RegistryError> {
        let request = TransactionRequest {
            to: Some(self.contracts.registry.into()),
            input: TransactionInput::both(Registry::getConfigCall {}.abi_encode().into()),
            ..TransactionRequest::default()
        };
        let answer = self.client.call(&request, BlockId::latest()).await?;
        if answer.is_empty() {
            return Err(RegistryError::NotDeployed(self.contracts.registry));
        }
        let config = Registry::getConfigCall::abi_decode_returns(&answer)
            .map_err(|error| RegistryError::Registry(error.to_string()))?;
        let chain_id = U256::from_le_bytes(config.chainId.0);
        if config.signingDomain != self.network.domain() || chain_id != U256::from(self.network.chain_id) {
            return Err(RegistryError::Registry(format!(
                "it is of another network: chain id {chain_id}, signing domain {}",
                config.signingDomain
            )));
        }
        Ok(Terms {
            min_collateral: U256::from(config.minCollateralWei),
            fraud_window: config.fraudProofWindow.into(),
        })
    }

    /// Takes back what is no longer on the chain, which is known to differ at `number` or before.
    async fn go_back(&mut self, number: u64) -> Result<Step, RegistryError> {
        let (_, history) = self.fold.as_ref().ok_or_else(|| inconsistent("nothing to take back"))?;
        let (base, _) = history.base();
        for number in (base.number..=number).rev() {
            let Some(kept) = history.block(number) else { continue };
            if self.header(number.into()).await?.hash == kept.hash {
                let undone = self.history()?.undo_to(number).map_err(misfit)?;
                tracing::warn!(
                    block = number,
                    undone,
                    "L1 was reorganised: the Registry is followed from there"
                );
                self.published.send_modify(|it| it.reorgs = it.reorgs.saturating_add(1));
                self.publish(Standing::CatchingUp);
                return Ok(Step::Onward);
            }
        }
        // The checkpoint, if it is older, may still be on the chain.
        self.fold = None;
        self.written = None;
        let standing = Standing::Faulty(Misfit::TooDeep.to_string());
        self.published.send_modify(|it| {
            let Published { head, reorgs, faults, .. } = *it;
            let reorgs = reorgs.saturating_add(1);
            *it = Published { head, reorgs, faults, ..Published::nothing(standing) };
        });
        Err(misfit(Misfit::TooDeep))
    }

    /// Takes a range of blocks that are too old to be taken back: after the block `tip`, up to `settled` at most.
    async fn skip(&mut self, tip: u64, settled: u64) -> Result<Step, RegistryError> {
        let from = tip.saturating_add(1);
        let to = tip.saturating_add(self.range).min(settled);
        let logs = match self.client.logs(&self.filter().from_block(from).to_block(to)).await {
            Ok(logs) => logs,
            // Nodes bound ranges and answers, each in its own way.
            Err(ChainError::Rpc { .. } | ChainError::TooLarge { .. } | ChainError::Timeout { .. })
                if to > from =>
            {
                self.range = to.saturating_sub(from).div_ceil(2).max(1);
                return Ok(Step::Onward);
            }
            Err(error) => return Err(error.into()),
        };
        let mut blocks = Vec::new();
        for items in event::read(&logs, &self.contracts, from, to).map_err(inconsistent)? {
            let block = self.header(items.number.into()).await?;
            if block.hash != items.hash {
                return Err(inconsistent(format!(
                    "logs of {}, which is not block {}",
                    items.hash, items.number
                )));
            }
            blocks.push(BlockEvents { block, events: self.events(items.items).await? });
        }
        let to = self.header(to.into()).await?;
        self.history()?.skip(&blocks, to).map_err(misfit)?;
        self.range = self.range.saturating_mul(2).min(self.config.logs_range);
        self.publish(Standing::CatchingUp);
        self.save().await;
        Ok(Step::Onward)
    }

    /// The events of a block, with the keys of its registrations.
    async fn events(&self, items: Vec<Item>) -> Result<Vec<Event>, RegistryError> {
        let mut events = Vec::with_capacity(items.len());
        for item in items {
            events.push(match item {
                Item::Event(event) => event,
                Item::Registration { root, owner, collateral, transaction, call } => {
                    let call = match call {
                        Some(call) => call,
                        None => self.input(transaction).await?,
                    };
                    let keys = self.keys(call, root, owner).await?;
                    Event::Registered { root, owner, collateral, keys }
                }
            });
        }
        Ok(events)
    }

    /// The input of a transaction, which its hash vouches for.
    async fn input(&self, hash: B256) -> Result<Bytes, RegistryError> {
        use alloy_consensus::Transaction as _;
        let missing = || RegistryError::Missing(format!("transaction {hash}"));
        let transaction = self.client.transaction(hash).await?.ok_or_else(missing)?;
        let envelope = transaction.inner.inner();
        if keccak256(envelope.encoded_2718()) != hash {
            return Err(inconsistent(format!("another transaction than {hash}")));
        }
        Ok(envelope.input().clone())
    }

    async fn keys(
        &self,
        call: Bytes,
        root: B256,
        owner: Address,
    ) -> Result<Arc<[BlsPublicKey]>, RegistryError> {
        let network = self.network;
        let signed = tokio::task::spawn_blocking(move || keys::signed_keys(&call, root, owner, &network));
        Ok(match signed.await {
            Ok(Ok(keys)) => keys.into(),
            // The call is the operator's own: what cannot be read of it counts for nobody.
            Ok(Err(error)) => {
                tracing::warn!(operator = %root, %error, "the keys of a registration cannot be read: none counts");
                Arc::default()
            }
            Err(_) => return Err(inconsistent("stopped while verifying keys")),
        })
    }

    async fn header(&self, at: BlockNumberOrTag) -> Result<BlockRef, RegistryError> {
        let missing = || RegistryError::Missing(format!("block {at}"));
        let Block { header, .. } = self.client.block(at).await?.ok_or_else(missing)?;
        let found = BlockRef {
            number: header.number,
            hash: header.hash,
            parent: header.parent_hash,
            time: header.timestamp,
        };
        if at.as_number().is_some_and(|asked| asked != found.number) {
            return Err(inconsistent(format!("block {} for block {at}", found.number)));
        }
        if found.time > now_s().saturating_add(MAX_AHEAD) {
            return Err(inconsistent(format!("block {} is of the future", found.number)));
        }
        Ok(found)
    }

    fn filter(&self) -> Filter {
        Filter::new().address(self.contracts.emitters())
    }

    fn history(&mut self) -> Result<&mut History, RegistryError> {
        self.fold.as_mut().map(|(_, history)| history).ok_or_else(|| inconsistent("nothing to go on from"))
    }

    /// Blocks that can be taken back: so many that all epochs that are asked for are among them after a restart.
    fn depth(&self, clock: &SlotClock) -> u64 {
        let epochs = self.config.optin_delay.saturating_add(4);
        epochs.saturating_mul(clock.slots_per_epoch()).saturating_add(MAX_WINDOW_SLOTS)
    }

    /// Epochs whose opted-in set is kept: as far back as a schedule asks, from the oldest block that can become the tip.
    fn epochs(&self, clock: &SlotClock) -> u64 {
        self.depth(clock).div_ceil(clock.slots_per_epoch().max(1)).saturating_mul(2)
    }

    fn publish(&self, standing: Standing) {
        let Some((_, history)) = &self.fold else { return };
        let tip = Some(history.tip());
        self.published.send_if_modified(|published| {
            if published.tip == tip && published.standing == standing {
                return false;
            }
            *published = Published {
                standing,
                tip,
                state: Arc::clone(history.state()),
                decided: Arc::new(history.decided()),
                ..*published
            };
            true
        });
    }

    /// Writes the checkpoint if the base moved on by enough blocks. A failure costs the next start some time, no more.
    async fn save(&mut self) {
        let (Some(path), Some((identity, history))) = (self.checkpoint.clone(), &self.fold) else { return };
        let (base, state) = history.base();
        if self.written.is_some_and(|written| base.number < written.saturating_add(CHECKPOINT_BLOCKS)) {
            return;
        }
        self.written = Some(base.number);
        let (identity, state) = (identity.clone(), state.clone());
        let writing = tokio::task::spawn_blocking(move || checkpoint::write(&path, &identity, &base, &state));
        if let Ok(Err(error)) = writing.await {
            tracing::warn!(%error, "the registry's checkpoint cannot be written");
        }
    }
}

/// What to do after a step.
enum Step {
    /// Take the next one.
    Onward,
    /// Nothing new: wait.
    AtHead,
}

fn inconsistent(reason: impl Into<String>) -> RegistryError {
    RegistryError::Inconsistent(reason.into())
}

fn misfit(misfit: Misfit) -> RegistryError {
    inconsistent(misfit.to_string())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

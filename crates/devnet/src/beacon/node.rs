//! The shell around the chain state: the clock that drives it, the execution client it drives, the events it
//! makes. Everything that changes the chain goes through one lock, `driving`, in the order it came.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use alloy_primitives::{Address, B256};
use alloy_rpc_types_beacon::events::{BlockEvent, ChainReorgEvent, FinalizedCheckpointEvent, HeadEvent};
use alloy_rpc_types_engine::{ForkchoiceState, PayloadAttributes, PayloadId, PayloadStatusEnum};
use earnest_builder_types::{
    BeaconBlock, BlobsBundle, BlockContents, BlsPublicKey, BlsSignature, Eth1Data, ForkName, PayloadAndBlobs,
    ProposalContext, SignedBlindedBeaconBlock, SignedBlockContents, SyncAggregate, unblind,
};
use earnest_chain::{
    BeaconEvent, BroadcastValidation, PayloadAttributesData, PayloadAttributesEvent, Published, SlotClock,
};
use parking_lot::RwLock;
use tokio::sync::{Mutex, broadcast, watch};

use super::{
    block::{self, ProposerDomains},
    block_error::BlockError,
    chain_state::{ChainState, HeadChange, ProposalFacts, state_root_after},
    engine::{BuiltPayload, Engine, EngineError},
    faults::Faults,
    outcome::{ProduceError, ProducedBlock, PublishError, ReorgError},
};

/// Events kept for a slow reader; one that falls behind further is dropped.
pub(super) const EVENT_BUFFER: usize = 1024;
/// Whole blocks kept, the newest.
const CONTENTS_KEPT: usize = 256;
/// Payloads of local blocks kept for blinded publishing, the newest.
const LOCAL_KEPT: usize = 8;

/// What never changes while the node runs.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) fork: ForkName,
    pub(super) genesis_fork_version: [u8; 4],
    pub(super) genesis_validators_root: B256,
    pub(super) chain_id: u64,
    pub(super) deposit_contract: Address,
    pub(super) domains: ProposerDomains,
    pub(super) clock: SlotClock,
    pub(super) validators: Vec<BlsPublicKey>,
    /// The validators' indices: tens of thousands are asked for at once.
    pub(super) indices: HashMap<BlsPublicKey, u64>,
    pub(super) fee_recipient: Address,
}

#[derive(Debug, Default)]
struct Driving {
    prepared: Option<Prepared>,
    local: VecDeque<(B256, PayloadAndBlobs)>,
}

/// A payload that the execution client is building for us.
#[derive(Debug)]
struct Prepared {
    slot: u64,
    parent: B256,
    id: PayloadId,
    built: Option<BuiltPayload>,
}

/// The newest whole blocks, and the order they came in.
#[derive(Debug, Default)]
struct Kept {
    blocks: HashMap<B256, Arc<SignedBlockContents>>,
    order: VecDeque<B256>,
}

pub(super) struct Node {
    pub(super) settings: Settings,
    pub(super) chain: RwLock<ChainState>,
    pub(super) faults: Faults,
    pub(super) events: broadcast::Sender<BeaconEvent>,
    pub(super) head: watch::Sender<B256>,
    pub(super) fee_recipients: RwLock<HashMap<u64, Address>>,
    engine: Arc<dyn Engine>,
    contents: RwLock<Kept>,
    engine_offline: RwLock<bool>,
    driving: Mutex<Driving>,
}

impl Node {
    pub(super) fn new(settings: Settings, chain: ChainState, engine: Arc<dyn Engine>) -> Self {
        let (events, _) = broadcast::channel(EVENT_BUFFER);
        let (head, _) = watch::channel(chain.head().root);
        Self {
            settings,
            chain: RwLock::new(chain),
            faults: Faults::default(),
            events,
            head,
            fee_recipients: RwLock::default(),
            engine,
            contents: RwLock::default(),
            engine_offline: RwLock::new(false),
            driving: Mutex::default(),
        }
    }

    /// The slot that runs; 0 before genesis.
    pub(super) fn current_slot(&self) -> u64 {
        self.settings.clock.slot_at(now_ms()).unwrap_or(0)
    }

    pub(super) fn engine_offline(&self) -> bool {
        *self.engine_offline.read()
    }

    /// The whole block of this root, if it is among the newest.
    pub(super) fn contents(&self, root: B256) -> Option<Arc<SignedBlockContents>> {
        self.contents.read().blocks.get(&root).cloned()
    }

    /// Runs the clock: payload attributes at the half of a slot that has no block yet, and at the start of
    /// the next if they were not given before.
    pub(super) async fn run_clock(&self) {
        let clock = self.settings.clock;
        loop {
            let now = now_ms();
            let slot = clock.slot_at(now);
            let half = slot.map(|slot| clock.after(slot, 1, 2)).filter(|half| *half > now);
            let next = half.unwrap_or_else(|| clock.start_of(slot.map_or(0, |slot| slot.saturating_add(1))));
            tokio::time::sleep(Duration::from_millis(next.saturating_sub(now).max(1))).await;
            self.prepare_for_now().await;
        }
    }

    /// Begins a payload for the slot that a builder should now build for, unless that was done.
    pub(super) async fn prepare_for_now(&self) {
        self.prepare_for(self.target_slot()).await;
    }

    /// Begins a payload for a slot, unless that was done.
    pub(super) async fn prepare_for(&self, slot: u64) {
        let mut driving = self.driving.lock().await;
        if let Err(error) = self.prepare(&mut driving, slot).await {
            tracing::warn!(%error, "no payload can be prepared");
        }
    }

    /// Judges, imports and spreads a block.
    pub(super) async fn publish(
        &self,
        contents: SignedBlockContents,
        validation: BroadcastValidation,
    ) -> Result<Published, PublishError> {
        let fork = earnest_builder_types::ForkCodec::fork(&contents);
        if fork != self.settings.fork {
            return Err(PublishError::Fork { due: self.settings.fork, got: fork });
        }
        let candidate = block::candidate(&contents);
        let (slot, root) = (candidate.header.slot, candidate.root());
        let mut driving = self.driving.lock().await;
        if self.chain.read().block(root).is_some() {
            return Ok(Published::Imported);
        }
        if self.faults.misses(slot) {
            return Err(PublishError::Missed(slot));
        }
        self.chain.read().check_gossip(&candidate, self.current_slot())?;
        let unknown = || BlockError::Proposer { slot, got: candidate.header.proposer_index, due: 0 };
        let proposer = self.validator(candidate.header.proposer_index).ok_or_else(unknown)?;
        let epoch = self.settings.clock.epoch_of(slot);
        block::verify_signatures(&candidate, &proposer, epoch, &self.settings.domains)?;
        self.chain.write().claim(&candidate)?;

        let judged = self.chain.read().check_contents(&candidate).map_err(PublishError::from);
        let judged = match judged {
            Ok(()) => self.execute(&contents).await,
            refused => refused,
        };
        if let Err(error) = judged {
            if validation == BroadcastValidation::Gossip {
                tracing::warn!(slot, %error, "a block was spread, but not imported");
                return Ok(Published::BroadcastNotImported);
            }
            return Err(error);
        }
        let change = self.chain.write().import(candidate)?;
        self.keep(root, contents);
        tracing::info!(slot, %root, "block imported");
        self.emit(BeaconEvent::Block(BlockEvent { slot, block: root, execution_optimistic: false }));
        if let Some(change) = change {
            // The block is valid whatever becomes of this call; the next head repeats it.
            if let Err(error) = self.follow(&mut driving, &change).await {
                tracing::error!(slot, %error, "the execution client did not take the new head");
                self.announce(&change);
            }
        }
        Ok(Published::Imported)
    }

    /// Publishes a block of which the proposer saw only the payload's header.
    pub(super) async fn publish_blinded(
        &self,
        blinded: SignedBlindedBeaconBlock,
        validation: BroadcastValidation,
    ) -> Result<Published, PublishError> {
        let hash = blinded.message().body().execution_payload_header().block_hash();
        let payload = {
            let driving = self.driving.lock().await;
            driving.local.iter().find(|(known, _)| *known == hash).map(|(_, payload)| payload.clone())
        };
        let contents = unblind(blinded, payload.ok_or(PublishError::NotOurs)?)
            .map_err(|error| PublishError::Unblind(error.to_string()))?;
        self.publish(contents, validation).await
    }

    /// A block of our own for `slot`, from the execution client's payload.
    pub(super) async fn produce(
        &self,
        slot: u64,
        randao_reveal: BlsSignature,
        graffiti: B256,
    ) -> Result<ProducedBlock, ProduceError> {
        if self.faults.misses(slot) {
            return Err(ProduceError::Missed(slot));
        }
        let mut driving = self.driving.lock().await;
        let current = self.current_slot();
        let facts = self.chain.read().facts_for(slot).filter(|_| slot <= current.saturating_add(1));
        let Some(facts) = facts else {
            let head = self.chain.read().head().header.slot;
            return Err(ProduceError::Slot { slot, head, current });
        };
        self.prepare(&mut driving, slot).await?;
        let built = self.take_built(&mut driving).await?;
        let refused =
            |error: &dyn std::fmt::Display| ProduceError::Engine(EngineError::Refused(error.to_string()));
        let contents =
            self.assemble(&facts, &built, randao_reveal, graffiti).map_err(|error| refused(&error))?;
        let payload = PayloadAndBlobs::new(built.payload.clone(), built.blobs_bundle)
            .map_err(|error| refused(&error))?;
        driving.local.push_front((built.payload.block_hash(), payload));
        driving.local.truncate(LOCAL_KEPT);
        Ok(ProducedBlock { contents, value: built.value })
    }

    /// Takes the last `depth` blocks off the chain and tells the execution client.
    pub(super) async fn reorg(&self, depth: u64) -> Result<HeadChange, ReorgError> {
        let mut driving = self.driving.lock().await;
        let change = self.chain.write().reorg(depth).ok_or(ReorgError::Depth)?;
        if let Err(error) = self.go_back().await {
            self.chain.write().adopt(change.old);
            if let Err(error) = self.call_forkchoice(None).await {
                tracing::warn!(%error, "the execution client was not told that the head stays");
            }
            return Err(ReorgError::Engine(error));
        }
        self.follow(&mut driving, &change).await.map_err(ReorgError::Engine)?;
        Ok(change)
    }

    /// Takes the execution client to a head that is an ancestor of its own, and sees that it builds upon it.
    async fn go_back(&self) -> Result<(), EngineError> {
        let facts = self.chain.read().facts_for(self.target_slot());
        let facts = facts.ok_or_else(|| EngineError::Refused("no slot to build for".to_owned()))?;
        let attributes = self.attributes(&facts);
        if self.call_forkchoice(Some(attributes.clone())).await?.is_some() {
            return Ok(());
        }
        self.engine.rewind(facts.parent.execution).await?;
        let built = self.call_forkchoice(Some(attributes)).await?;
        built.map(drop).ok_or_else(|| EngineError::Refused("it builds nothing upon an ancestor".to_owned()))
    }

    fn assemble(
        &self,
        facts: &ProposalFacts,
        built: &BuiltPayload,
        randao_reveal: BlsSignature,
        graffiti: B256,
    ) -> Result<BlockContents, earnest_builder_types::ForkError> {
        let parent = &facts.parent;
        let hash = built.payload.block_hash();
        let context = ProposalContext {
            slot: facts.slot,
            proposer_index: facts.proposer_index,
            parent_root: parent.root,
            state_root: state_root_after(
                parent.header.state_root,
                facts.slot,
                facts.proposer_index,
                &randao_reveal,
                hash,
            ),
            randao_reveal,
            eth1_data: Eth1Data::default(),
            graffiti,
            sync_aggregate: SyncAggregate::empty(),
        };
        let commitments = match &built.blobs_bundle {
            None => Default::default(),
            Some(BlobsBundle::Deneb(bundle)) => bundle.commitments.clone(),
            Some(BlobsBundle::Electra(bundle)) => bundle.commitments.clone(),
            Some(BlobsBundle::Fulu(bundle)) => bundle.commitments.clone(),
        };
        let requests = built.execution_requests.clone();
        let block = BeaconBlock::new_for_proposal(context, built.payload.clone(), commitments, requests)?;
        BlockContents::new(block, built.blobs_bundle.clone())
    }

    /// The payload prepared last; fetched once, so that what is signed twice is the same.
    async fn take_built(&self, driving: &mut Driving) -> Result<BuiltPayload, EngineError> {
        let nothing = || EngineError::Refused("nothing was prepared".to_owned());
        let prepared = driving.prepared.as_mut().ok_or_else(nothing)?;
        if let Some(built) = &prepared.built {
            return Ok(built.clone());
        }
        let built = self.engine.get_payload(self.settings.fork, prepared.id).await?;
        prepared.built = Some(built.clone());
        Ok(built)
    }

    async fn execute(&self, contents: &SignedBlockContents) -> Result<(), PublishError> {
        let status = self.engine.new_payload(block::new_payload(contents)).await;
        *self.engine_offline.write() = status.is_err();
        match status?.status {
            PayloadStatusEnum::Valid | PayloadStatusEnum::Accepted => Ok(()),
            PayloadStatusEnum::Invalid { validation_error } => Err(PublishError::Payload(validation_error)),
            PayloadStatusEnum::Syncing => {
                Err(EngineError::Refused("it does not know the payload's parent".to_owned()).into())
            }
        }
    }

    /// Makes the execution client follow a new head, tells everybody, and begins the next payload.
    async fn follow(&self, driving: &mut Driving, change: &HeadChange) -> Result<(), EngineError> {
        self.call_forkchoice(None).await?;
        self.announce(change);
        self.prepare(driving, self.target_slot()).await
    }

    /// The slot that a builder should now build for: the next one, or the one that runs if the head came so
    /// late that its own slot is over but the running one is still young.
    fn target_slot(&self) -> u64 {
        let clock = self.settings.clock;
        let now = now_ms();
        let Some(current) = clock.slot_at(now) else { return 1 };
        let head = self.chain.read().head().header.slot;
        let young = now < clock.after(current, 1, 2);
        if head < current && young { current } else { current.saturating_add(1) }
    }

    /// Asks for a payload for `slot` upon the head and announces its attributes, once for each pair of these.
    async fn prepare(&self, driving: &mut Driving, slot: u64) -> Result<(), EngineError> {
        let Some(facts) = self.chain.read().facts_for(slot) else { return Ok(()) };
        let parent = facts.parent.root;
        if driving.prepared.as_ref().is_some_and(|known| known.slot == slot && known.parent == parent) {
            return Ok(());
        }
        let attributes = self.attributes(&facts);
        self.emit(BeaconEvent::PayloadAttributes(PayloadAttributesEvent {
            version: self.settings.fork,
            data: PayloadAttributesData {
                proposer_index: facts.proposer_index,
                proposal_slot: slot,
                parent_block_number: Some(facts.parent.execution.number),
                parent_block_root: parent,
                parent_block_hash: facts.parent.execution.hash,
                payload_attributes: attributes.clone(),
            },
        }));
        let id = self.call_forkchoice(Some(attributes)).await?;
        let id = id.ok_or_else(|| EngineError::Refused("it builds nothing upon this head".to_owned()))?;
        driving.prepared = Some(Prepared { slot, parent, id, built: None });
        Ok(())
    }

    fn attributes(&self, facts: &ProposalFacts) -> PayloadAttributes {
        let fork = self.settings.fork;
        let chosen = self.fee_recipients.read().get(&facts.proposer_index).copied();
        PayloadAttributes {
            timestamp: facts.timestamp,
            prev_randao: facts.prev_randao,
            suggested_fee_recipient: chosen.unwrap_or(self.settings.fee_recipient),
            withdrawals: (fork >= ForkName::Capella).then(Vec::new),
            parent_beacon_block_root: fork.has_blobs().then_some(facts.parent.root),
            slot_number: None,
            target_gas_limit: None,
        }
    }

    async fn call_forkchoice(
        &self,
        attributes: Option<PayloadAttributes>,
    ) -> Result<Option<PayloadId>, EngineError> {
        let state = {
            let chain = self.chain.read();
            let hash = |root: B256| chain.block(root).map_or(B256::ZERO, |block| block.execution.hash);
            ForkchoiceState {
                head_block_hash: chain.head().execution.hash,
                safe_block_hash: hash(chain.justified().root),
                finalized_block_hash: hash(chain.finalized().root),
            }
        };
        let answer = self.engine.forkchoice_updated(self.settings.fork, state, attributes).await;
        *self.engine_offline.write() = answer.is_err();
        let answer = answer?;
        match answer.payload_status.status {
            PayloadStatusEnum::Valid => Ok(answer.payload_id),
            other => Err(EngineError::Refused(format!("the head is {other}"))),
        }
    }

    fn announce(&self, change: &HeadChange) {
        for event in self.events_of(change) {
            self.emit(event);
        }
        self.head.send_replace(change.new);
    }

    fn events_of(&self, change: &HeadChange) -> Vec<BeaconEvent> {
        let chain = self.chain.read();
        let mut events = Vec::new();
        let (Some(old), Some(new)) = (chain.block(change.old), chain.block(change.new)) else {
            return events;
        };
        let epoch = self.settings.clock.epoch_of(new.header.slot);
        if change.orphaned > 0 {
            events.push(BeaconEvent::ChainReorg(ChainReorgEvent {
                slot: old.header.slot.max(new.header.slot),
                depth: change.orphaned,
                old_head_block: old.root,
                new_head_block: new.root,
                old_head_state: old.header.state_root,
                new_head_state: new.header.state_root,
                epoch,
                execution_optimistic: false,
            }));
        }
        events.push(BeaconEvent::Head(HeadEvent {
            slot: new.header.slot,
            block: new.root,
            state: new.header.state_root,
            epoch_transition: change.epoch_transition,
            previous_duty_dependent_root: chain.decided_by(new, epoch),
            current_duty_dependent_root: chain.decided_by(new, epoch.saturating_add(1)),
            execution_optimistic: false,
        }));
        if let Some((checkpoint, block)) =
            change.finalized.and_then(|one| Some((one, chain.block(one.root)?)))
        {
            events.push(BeaconEvent::FinalizedCheckpoint(FinalizedCheckpointEvent {
                block: block.root,
                state: block.header.state_root,
                epoch: checkpoint.epoch,
                execution_optimistic: false,
            }));
        }
        events
    }

    /// The key of a validator.
    pub(super) fn validator(&self, index: u64) -> Option<BlsPublicKey> {
        self.settings.validators.get(usize::try_from(index).ok()?).copied()
    }

    fn emit(&self, event: BeaconEvent) {
        // Nobody listening is no fault.
        let _ = self.events.send(event);
    }

    fn keep(&self, root: B256, contents: SignedBlockContents) {
        let mut kept = self.contents.write();
        let Kept { blocks, order } = &mut *kept;
        blocks.insert(root, Arc::new(contents));
        order.push_back(root);
        while order.len() > CONTENTS_KEPT {
            if let Some(oldest) = order.pop_front() {
                blocks.remove(&oldest);
            }
        }
    }
}

/// Unix time in milliseconds.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

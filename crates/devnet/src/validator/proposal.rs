//! One proposal: a builder's header if there is one, else the beacon node's own block.

use std::{pin::pin, sync::Arc, time::Duration};

use alloy_primitives::{B256, U256};
use earnest_builder_types::{
    BlindedBeaconBlock, BlockContents, BlsPublicKey, BlsSignature, Eth1Data, ForkCodec, ForkName,
    ProposalContext, SignedBlindedBeaconBlock, SignedBlockContents, SignedBuilderBid, SyncAggregate,
    TreeHash, bls::SecretKey, unblind,
};
use earnest_chain::{BroadcastValidation, Proposer, SlotClock};
use earnest_client::{HeaderRequest, RelayClient, read_header};
use futures::{
    FutureExt,
    future::{BoxFuture, Either, select},
};
use reqwest::{
    Method,
    header::{ACCEPT, HeaderValue},
};

use super::{
    Report, Shared, Submission,
    bid_check::{Expected, check_bid},
    now_ms,
};
use crate::beacon::{ProposerDomains, block::randao_signing_root, state_root_after};

/// Time between two attempts to hand in the same signed block.
const RETRY: Duration = Duration::from_millis(50);

/// How a slot of ours was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The slot.
    pub slot: u64,
    /// Index of the proposer.
    pub validator_index: u64,
    /// Key of the proposer.
    pub pubkey: BlsPublicKey,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a slot of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A builder's payload was proposed; the relay, and with v1 the beacon node, took the block.
    Builder {
        /// Root of the beacon block.
        block_root: B256,
        /// Hash of the execution block.
        block_hash: B256,
        /// The bid, wei.
        value: U256,
    },
    /// The beacon node's own block was proposed.
    Local {
        /// Root of the beacon block.
        block_root: B256,
        /// Hash of the execution block.
        block_hash: B256,
        /// Why there was no builder's.
        reason: String,
    },
    /// Nothing was proposed.
    Missed {
        /// Why.
        reason: String,
    },
}

/// What a proposal stands on.
#[derive(Debug, Clone, Copy)]
struct Parent {
    root: B256,
    block_hash: B256,
}

struct Proposing {
    shared: Arc<Shared>,
    proposer: Proposer,
    key: SecretKey,
    fork: ForkName,
    domains: ProposerDomains,
    randao_reveal: BlsSignature,
}

/// Proposes at the start of the slot and reports what became of it.
pub(super) async fn run(shared: Arc<Shared>, proposer: Proposer, key: SecretKey) {
    let Proposer { slot, validator_index, pubkey } = proposer;
    shared.sleep_until(shared.clock.start_of(slot)).await;
    let epoch = shared.clock.epoch_of(slot);
    let outcome = match shared.domains(epoch) {
        Ok((fork, domains)) => {
            let randao_reveal = key.sign(randao_signing_root(epoch, domains.randao));
            let proposing = Proposing { shared: shared.clone(), proposer, key, fork, domains, randao_reveal };
            proposing.run().await
        }
        Err(error) => Outcome::Missed { reason: error.to_string() },
    };
    match &outcome {
        Outcome::Builder { value, .. } => {
            tracing::info!(slot, validator_index, %value, "proposed a builder's block");
        }
        Outcome::Local { reason, .. } => {
            tracing::info!(slot, validator_index, reason, "proposed a local block");
        }
        Outcome::Missed { reason } => tracing::warn!(slot, validator_index, reason, "slot missed"),
    }
    shared.report(Report::Proposed(Proposal { slot, validator_index, pubkey, outcome }));
}

impl Proposing {
    async fn run(self) -> Outcome {
        // Both are asked at once; the local block waits for the case that it is needed.
        let local = self.local_block().shared();
        let chosen = match select(pin!(self.blinded_block(local.clone())), local.clone()).await {
            Either::Left((chosen, _)) => chosen,
            Either::Right((_, blinded)) => blinded.await,
        };
        let reason = match chosen {
            Ok((block, value)) => return self.hand_in(block, value).await,
            Err(reason) => reason,
        };
        match local.await {
            Ok(block) => self.propose_locally(block, reason).await,
            Err(local) => Outcome::Missed { reason: format!("{reason}; no local block: {local}") },
        }
    }

    /// A builder's header in an unsigned block, and the bid; or why there is none.
    async fn blinded_block(
        &self,
        local: impl Future<Output = Result<Arc<BlockContents>, String>>,
    ) -> Result<(BlindedBeaconBlock, U256), String> {
        let Some(builder) = &self.shared.builder else { return Err("no builder endpoint".to_owned()) };
        let parent = match self.announced_parent() {
            Some(parent) => parent,
            None => parent_of(&*local.await?),
        };
        let bid = self.ask(builder, parent).await?;
        let expected = Expected {
            fork: self.fork,
            parent_hash: parent.block_hash,
            slot_start: self.shared.clock.start_of(self.proposer.slot) / 1000,
            builder_domain: self.shared.builder_domain(),
        };
        check_bid(&bid, &expected).map_err(|error| error.to_string())?;
        let parent_state = self.shared.beacon.header(&parent.root.to_string()).await;
        let parent_state = parent_state.map_err(|error| error.to_string())?.state_root;
        let header = bid.header().to_owned();
        let Proposer { slot, validator_index, .. } = self.proposer;
        let hash = header.block_hash();
        let context = ProposalContext {
            slot,
            proposer_index: validator_index,
            parent_root: parent.root,
            state_root: state_root_after(parent_state, slot, validator_index, &self.randao_reveal, hash),
            randao_reveal: self.randao_reveal,
            eth1_data: Eth1Data::default(),
            graffiti: self.shared.options.graffiti,
            sync_aggregate: SyncAggregate::empty(),
        };
        let block = BlindedBeaconBlock::new_for_proposal(
            context,
            header,
            bid.blob_kzg_commitments(),
            bid.execution_requests(),
        );
        Ok((block.map_err(|error| error.to_string())?, bid.value()))
    }

    /// What the beacon node last said that the slot stands on.
    fn announced_parent(&self) -> Option<Parent> {
        let attributes = self.shared.attributes.borrow();
        let data = &attributes.as_ref()?.data;
        (data.proposal_slot == self.proposer.slot)
            .then_some(Parent { root: data.parent_block_root, block_hash: data.parent_block_hash })
    }

    async fn ask(&self, builder: &RelayClient, parent: Parent) -> Result<SignedBuilderBid, String> {
        let Proposer { slot, pubkey, .. } = self.proposer;
        let wanted = HeaderRequest { slot, parent_hash: parent.block_hash, pubkey };
        let timeout = self.until(1, 4);
        let media = HeaderValue::from_static("application/octet-stream;q=1,application/json;q=0.9");
        let answer = builder.header_answer(&wanted, media, timeout).await;
        let bid = answer.and_then(|answer| read_header(&answer));
        bid.map_err(|error| format!("no header: {error}"))?.ok_or_else(|| "no header on offer".to_owned())
    }

    /// Signs the blinded block and hands it in, again until the slot is over: from the signature on no other
    /// block can be proposed, so there is nothing to save time for.
    async fn hand_in(&self, block: BlindedBeaconBlock, value: U256) -> Outcome {
        if !self.shared.claim(self.proposer.validator_index, self.proposer.slot) {
            return already_signed();
        }
        let block_root = block.tree_hash_root();
        let block_hash = block.body().execution_payload_header().block_hash();
        let block = block.sign(&self.key, self.domains.block);
        let Some(builder) = &self.shared.builder else {
            return Outcome::Missed { reason: "no builder endpoint".to_owned() };
        };
        let mut reason = "the slot is over".to_owned();
        while !self.until(1, 1).is_zero() {
            let answer = tokio::time::timeout(self.until(1, 1), self.submit(builder, &block)).await;
            reason = match answer {
                Ok(Ok(())) => return Outcome::Builder { block_root, block_hash, value },
                Ok(Err(error)) => error,
                Err(_) => break,
            };
            tracing::debug!(slot = self.proposer.slot, reason, "blinded block not taken, trying again");
            tokio::time::sleep(RETRY).await;
        }
        Outcome::Missed { reason: format!("the signed blinded block was not taken: {reason}") }
    }

    async fn submit(&self, builder: &RelayClient, block: &SignedBlindedBeaconBlock) -> Result<(), String> {
        match self.shared.options.submission {
            Submission::V2 => builder.submit_blinded_v2(block).await.map_err(|error| error.to_string()),
            Submission::V1 => {
                let payload = builder.submit_blinded_v1(block).await.map_err(|error| error.to_string())?;
                let contents = unblind(block.clone(), payload).map_err(|error| error.to_string())?;
                self.publish(&contents).await
            }
        }
    }

    async fn propose_locally(&self, block: Arc<BlockContents>, reason: String) -> Outcome {
        if !self.shared.claim(self.proposer.validator_index, self.proposer.slot) {
            return already_signed();
        }
        let block_root = block.block().tree_hash_root();
        let block_hash = block.block().body().execution_payload().block_hash();
        let signed = Arc::unwrap_or_clone(block).sign(&self.key, self.domains.block);
        match self.publish(&signed).await {
            Ok(()) => Outcome::Local { block_root, block_hash, reason },
            Err(error) => {
                Outcome::Missed { reason: format!("{reason}; the local block was not taken: {error}") }
            }
        }
    }

    async fn publish(&self, block: &SignedBlockContents) -> Result<(), String> {
        let validation = BroadcastValidation::ConsensusAndEquivocation;
        let report = self.shared.beacon.publish_block(block, validation).await;
        if report.broadcast() {
            return Ok(());
        }
        let refused = report.nodes.into_iter().filter_map(|node| node.outcome.err());
        Err(refused.map(|error| error.to_string()).collect::<Vec<_>>().join("; "))
    }

    /// The beacon node's own block: `GET /eth/v3/validator/blocks/{slot}`. Owns what it needs, so that it
    /// can be waited for in two places.
    fn local_block(&self) -> BoxFuture<'static, Result<Arc<BlockContents>, String>> {
        let shared = self.shared.clone();
        let path = format!(
            "eth/v3/validator/blocks/{}?randao_reveal={}&graffiti={}",
            self.proposer.slot, self.randao_reveal, shared.options.graffiti
        );
        let fork = self.fork;
        let timeout = self.until(1, 1);
        async move {
            let http = &shared.beacon_http;
            let request = http.request(Method::GET, &path).map_err(|error| error.to_string())?;
            let request = request.header(ACCEPT, HeaderValue::from_static("application/octet-stream"));
            let answer = http.send_within(request, timeout).await.and_then(earnest_client::Answer::ok);
            let answer = answer.map_err(|error| error.to_string())?;
            let blinded = answer.headers.get("eth-execution-payload-blinded");
            if blinded.is_some_and(|value| value == "true") {
                return Err("the beacon node gave a blinded block".to_owned());
            }
            BlockContents::from_ssz(fork, &answer.body).map(Arc::new).map_err(|error| error.to_string())
        }
        .boxed()
    }

    /// Time left until a fraction of the slot is over.
    fn until(&self, numerator: u64, denominator: u64) -> Duration {
        SlotClock::until(now_ms(), self.shared.clock.after(self.proposer.slot, numerator, denominator))
    }
}

fn parent_of(block: &BlockContents) -> Parent {
    let block = block.block();
    Parent { root: block.parent_root(), block_hash: block.body().execution_payload().parent_hash() }
}

fn already_signed() -> Outcome {
    Outcome::Missed { reason: "a block was signed for this slot or a later one".to_owned() }
}

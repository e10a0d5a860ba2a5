//! An execution chain in memory that executes nothing: for tests of the consensus side.
//!
//! It follows the Engine API in what a beacon node can see: payloads chain by parent hash, block hashes are
//! the real ones of their contents, unknown parents are `SYNCING`, and payloads are built from what was
//! submitted. It knows no accounts: state and receipts roots are made up.

use std::collections::{HashMap, HashSet};

use alloy_eips::eip4844::DATA_GAS_PER_BLOB;
use alloy_primitives::{B64, B256, Bytes, U256, keccak256};
use alloy_rpc_types_engine::{
    ExecutionPayload as EnginePayload, ExecutionPayloadV1, ExecutionPayloadV2, ExecutionPayloadV3,
    ForkchoiceState, ForkchoiceUpdated, PayloadAttributes, PayloadId, PayloadStatus, PayloadStatusEnum,
};
use earnest_builder_types::{ExecutionPayload, ExecutionRequests, ForkName};
use futures::{FutureExt, future::BoxFuture};
use parking_lot::Mutex;

use super::{
    constant_blob::{self, ConstantBlob},
    engine::{BuiltPayload, Engine, EngineError, ExecutionBlock, NewPayload},
};

/// An execution chain in memory that executes nothing.
#[derive(Debug)]
pub struct MemoryEngine {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    blocks: HashMap<B256, ExecutionBlock>,
    head: ExecutionBlock,
    forkchoice: ForkchoiceState,
    building: HashMap<PayloadId, (ForkName, ExecutionBlock, PayloadAttributes)>,
    pool: Vec<Bytes>,
    blobs: Vec<ConstantBlob>,
    requests: ExecutionRequests,
    invalid: HashSet<B256>,
    offline: bool,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryEngine {
    /// A chain of one block, number 0.
    #[must_use]
    pub fn new() -> Self {
        let genesis = ExecutionBlock { hash: keccak256("earnest memory engine"), number: 0, timestamp: 0 };
        Self {
            state: Mutex::new(State {
                blocks: HashMap::from([(genesis.hash, genesis)]),
                head: genesis,
                forkchoice: ForkchoiceState::same_hash(genesis.hash),
                building: HashMap::new(),
                pool: Vec::new(),
                blobs: Vec::new(),
                requests: ExecutionRequests::default(),
                invalid: HashSet::new(),
                offline: false,
            }),
        }
    }

    /// Puts a raw transaction into every payload built from now on.
    pub fn submit(&self, raw: Bytes) {
        self.state.lock().pool.push(raw);
    }

    /// Puts a raw blob transaction and its blobs into every payload built from now on, which must be of Deneb or
    /// later.
    pub fn submit_with_blobs(&self, raw: Bytes, blobs: Vec<ConstantBlob>) {
        let mut state = self.state.lock();
        state.pool.push(raw);
        state.blobs.extend(blobs);
    }

    /// Gives these execution requests to every payload built from now on, which must be of Electra or later.
    pub fn set_requests(&self, requests: ExecutionRequests) {
        self.state.lock().requests = requests;
    }

    /// The head and the safe and final blocks it was told last.
    #[must_use]
    pub fn forkchoice(&self) -> ForkchoiceState {
        self.state.lock().forkchoice
    }

    /// Makes the payload of this hash invalid.
    pub fn invalidate(&self, hash: B256) {
        self.state.lock().invalid.insert(hash);
    }

    /// Stops answering, or begins again.
    pub fn set_offline(&self, offline: bool) {
        self.state.lock().offline = offline;
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&mut State) -> Result<T, EngineError> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, EngineError>> {
        async move {
            let mut state = self.state.lock();
            if state.offline {
                return Err(EngineError::Unreachable("switched off".to_owned()));
            }
            call(&mut state)
        }
        .boxed()
    }
}

impl Engine for MemoryEngine {
    fn latest_block(&self) -> BoxFuture<'_, Result<ExecutionBlock, EngineError>> {
        self.answer(|state| Ok(state.head))
    }

    fn new_payload(&self, new: NewPayload) -> BoxFuture<'_, Result<PayloadStatus, EngineError>> {
        self.answer(move |state| Ok(state.judge(&new)))
    }

    fn forkchoice_updated(
        &self,
        fork: ForkName,
        forkchoice: ForkchoiceState,
        attributes: Option<PayloadAttributes>,
    ) -> BoxFuture<'_, Result<ForkchoiceUpdated, EngineError>> {
        self.answer(move |state| {
            let Some(head) = state.blocks.get(&forkchoice.head_block_hash).copied() else {
                return Ok(ForkchoiceUpdated::new(PayloadStatus::from_status(PayloadStatusEnum::Syncing)));
            };
            state.head = head;
            state.forkchoice = forkchoice;
            let valid = PayloadStatus::new(PayloadStatusEnum::Valid, Some(head.hash));
            let mut answer = ForkchoiceUpdated::new(valid);
            if let Some(attributes) = attributes {
                let id = keccak256(format!("{head:?}{attributes:?}"));
                let id = PayloadId(B64::from_slice(id.get(..8).unwrap_or_default()));
                state.building.insert(id, (fork, head, attributes));
                answer.payload_id = Some(id);
            }
            Ok(answer)
        })
    }

    fn get_payload(
        &self,
        _fork: ForkName,
        id: PayloadId,
    ) -> BoxFuture<'_, Result<BuiltPayload, EngineError>> {
        self.answer(move |state| state.build(id))
    }
}

impl State {
    fn judge(&mut self, new: &NewPayload) -> PayloadStatus {
        let first = new.payload.as_v1();
        let block =
            ExecutionBlock { hash: first.block_hash, number: first.block_number, timestamp: first.timestamp };
        let Some(parent) = self.blocks.get(&first.parent_hash).copied() else {
            return PayloadStatus::from_status(PayloadStatusEnum::Syncing);
        };
        let invalid = |reason: &str| {
            let validation_error = reason.to_owned();
            PayloadStatus::new(PayloadStatusEnum::Invalid { validation_error }, Some(parent.hash))
        };
        let computed = ExecutionPayload::from_engine(new.fork, new.payload.clone()).and_then(|payload| {
            payload.computed_block_hash(Some(new.parent_beacon_block_root), Some(&new.execution_requests))
        });
        match computed {
            _ if self.invalid.contains(&block.hash) => invalid("made invalid"),
            Ok(hash) if hash == block.hash && block.timestamp > parent.timestamp => {
                self.blocks.insert(hash, block);
                PayloadStatus::new(PayloadStatusEnum::Valid, Some(hash))
            }
            Ok(hash) if hash == block.hash => invalid("timestamp not after the parent's"),
            Ok(_) => invalid("block hash mismatch"),
            Err(error) => invalid(&error.to_string()),
        }
    }

    fn build(&mut self, id: PayloadId) -> Result<BuiltPayload, EngineError> {
        let refused = |reason: &dyn std::fmt::Display| EngineError::Refused(reason.to_string());
        let (fork, parent, attributes) = self.building.get(&id).ok_or_else(|| refused(&"unknown payload"))?;
        let transactions = self.pool.clone();
        let second = ExecutionPayloadV2 {
            payload_inner: ExecutionPayloadV1 {
                parent_hash: parent.hash,
                fee_recipient: attributes.suggested_fee_recipient,
                state_root: keccak256([parent.hash.as_slice(), &transactions.concat()].concat()),
                receipts_root: keccak256(transactions.concat()),
                logs_bloom: Default::default(),
                prev_randao: attributes.prev_randao,
                block_number: parent.number.saturating_add(1),
                gas_limit: 36_000_000,
                gas_used: 0,
                timestamp: attributes.timestamp,
                extra_data: Bytes::from_static(b"earnest"),
                base_fee_per_gas: U256::from(7),
                block_hash: B256::ZERO,
                transactions,
            },
            withdrawals: attributes.withdrawals.clone().unwrap_or_default(),
        };
        let mut payload = if fork.has_blobs() {
            EnginePayload::V3(ExecutionPayloadV3 {
                payload_inner: second,
                blob_gas_used: DATA_GAS_PER_BLOB.saturating_mul(self.blobs.len() as u64),
                excess_blob_gas: 0,
            })
        } else {
            EnginePayload::V2(second)
        };
        let requests = self.requests.clone();
        let blobs_bundle = constant_blob::bundle(*fork, &self.blobs).map_err(|error| refused(&error))?;
        let hash = ExecutionPayload::from_engine(*fork, payload.clone())
            .and_then(|built| built.computed_block_hash(attributes.parent_beacon_block_root, Some(&requests)))
            .map_err(|error| refused(&error))?;
        payload.as_v1_mut().block_hash = hash;
        Ok(BuiltPayload {
            payload: ExecutionPayload::from_engine(*fork, payload).map_err(|error| refused(&error))?,
            blobs_bundle,
            execution_requests: requests,
            value: U256::from(1),
        })
    }
}

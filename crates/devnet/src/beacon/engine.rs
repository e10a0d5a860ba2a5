//! What the beacon node needs of an execution client: the Engine API, and nothing of its transport.

use alloy_primitives::{B256, U256};
use alloy_rpc_types_engine::{
    ExecutionPayload as EnginePayload, ForkchoiceState, ForkchoiceUpdated, PayloadAttributes, PayloadId,
    PayloadStatus,
};
use earnest_builder_types::{BlobsBundle, ExecutionPayload, ExecutionRequests, ForkName};
use futures::{FutureExt, future::BoxFuture};

/// Why an execution client gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It cannot be reached, or did not answer in time.
    #[error("the execution client does not answer: {0}")]
    Unreachable(String),
    /// It refused the call, or answered what the Engine API does not allow.
    #[error("the execution client refused: {0}")]
    Refused(String),
}

/// An execution block, as far as the beacon chain cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecutionBlock {
    /// Hash of the block.
    pub hash: B256,
    /// Number of the block.
    pub number: u64,
    /// Unix seconds.
    pub timestamp: u64,
}

/// A payload to judge, with what its block hash covers besides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayload {
    /// The fork, which decides the version of `engine_newPayload`.
    pub fork: ForkName,
    /// The payload.
    pub payload: EnginePayload,
    /// Versioned hashes of its blobs, in order (from Deneb on).
    pub versioned_hashes: Vec<B256>,
    /// Root of the parent beacon block (from Deneb on).
    pub parent_beacon_block_root: B256,
    /// Execution requests (from Electra on).
    pub execution_requests: ExecutionRequests,
}

/// A payload the execution client built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltPayload {
    /// The payload.
    pub payload: ExecutionPayload,
    /// Its blobs, from Deneb on.
    pub blobs_bundle: Option<BlobsBundle>,
    /// Its execution requests, from Electra on.
    pub execution_requests: ExecutionRequests,
    /// What it pays the fee recipient, in wei.
    pub value: U256,
}

/// An execution client driven by a beacon node.
///
/// Methods are named after those of the Engine API; `fork` decides their version.
pub trait Engine: Send + Sync + 'static {
    /// The block the chain stands on before the beacon chain begins: `eth_getBlockByNumber("latest")`.
    fn latest_block(&self) -> BoxFuture<'_, Result<ExecutionBlock, EngineError>>;

    /// `engine_newPayload`: judges a payload and keeps it if valid.
    fn new_payload(&self, payload: NewPayload) -> BoxFuture<'_, Result<PayloadStatus, EngineError>>;

    /// `engine_forkchoiceUpdated`: sets the head and, with attributes, begins to build upon it.
    fn forkchoice_updated(
        &self,
        fork: ForkName,
        state: ForkchoiceState,
        attributes: Option<PayloadAttributes>,
    ) -> BoxFuture<'_, Result<ForkchoiceUpdated, EngineError>>;

    /// Makes `to`, an ancestor, the head of a client that takes such a head by `engine_forkchoiceUpdated` but
    /// builds nothing upon it. The Engine API allows that (it has no word for this), so it goes by a means of
    /// the client's own. Nothing by default.
    fn rewind(&self, _to: ExecutionBlock) -> BoxFuture<'_, Result<(), EngineError>> {
        async { Ok(()) }.boxed()
    }

    /// `engine_getPayload`: what was built.
    fn get_payload(&self, fork: ForkName, id: PayloadId) -> BoxFuture<'_, Result<BuiltPayload, EngineError>>;
}

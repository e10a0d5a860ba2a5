//! The head of the chain, block roots, and whether a node is in sync.

use alloy_primitives::B256;
use alloy_rpc_types_beacon::header::HeaderResponse;
pub use alloy_rpc_types_beacon::node::SyncStatus;
use reqwest::StatusCode;
use serde::Deserialize;

use super::BeaconClient;
use crate::{error::ChainError, transport::Endpoint};

/// A block as its header shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The block's slot.
    pub slot: u64,
    /// The block's root.
    pub root: B256,
    /// The root of its parent.
    pub parent_root: B256,
    /// The root of the state after it.
    pub state_root: B256,
    /// Index of the validator that proposed it.
    pub proposer_index: u64,
}

impl BeaconClient {
    /// The head of the chain.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn head(&self) -> Result<Head, ChainError> {
        self.ask(|node| async move { header(&node, "head").await }).await
    }

    /// A block's header; `block_id` is `head`, `genesis`, `finalized`, a slot or a root.
    ///
    /// # Errors
    /// [`ChainError::Status`] with 404 if there is no such block; [`ChainError`] if no node gives an answer.
    pub async fn header(&self, block_id: &str) -> Result<Head, ChainError> {
        self.ask(|node| async move { header(&node, block_id).await }).await
    }

    /// Whether a node is in sync, by the first that answers. [`BeaconClient::survey`] asks all.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn sync_status(&self) -> Result<SyncStatus, ChainError> {
        self.ask(|node| async move { syncing(&node).await }).await
    }

    /// The root of the last block at `slot` or before it, looking back at most `reach` slots.
    ///
    /// # Errors
    /// [`ChainError::Status`] with 404 if there is none in reach; [`ChainError`] if no node gives an answer.
    pub async fn root_at_or_before(&self, slot: u64, reach: u64) -> Result<B256, ChainError> {
        self.ask(|node| async move { root_at_or_before(&node, slot, reach).await }).await
    }
}

pub(super) async fn syncing(node: &Endpoint) -> Result<SyncStatus, ChainError> {
    #[derive(Deserialize)]
    struct SyncResponse {
        data: SyncStatus,
    }
    let answer: SyncResponse = node.get_json("/eth/v1/node/syncing").await?;
    Ok(answer.data)
}

pub(super) async fn header(node: &Endpoint, block_id: &str) -> Result<Head, ChainError> {
    found(node, block_id).await.map(|(head, _)| head)
}

/// A block's header, and whether it is on the chain of the node's head.
async fn found(node: &Endpoint, block_id: &str) -> Result<(Head, bool), ChainError> {
    let answer: HeaderResponse = node.get_json(&format!("/eth/v1/beacon/headers/{block_id}")).await?;
    let message = answer.data.header.message;
    let head = Head {
        slot: message.slot,
        root: answer.data.root,
        parent_root: message.parent_root,
        state_root: message.state_root,
        proposer_index: message.proposer_index,
    };
    Ok((head, answer.data.canonical))
}

/// Slots without a block answer 404; the block before them stands. Some nodes show a slot's only block though it is
/// not on their chain, and say so: that slot is without a block too.
pub(super) async fn root_at_or_before(node: &Endpoint, slot: u64, reach: u64) -> Result<B256, ChainError> {
    let mut at = slot;
    loop {
        let missing = match found(node, &at.to_string()).await {
            Ok((head, true)) => return Ok(head.root),
            Ok((_, false)) => node.refused(StatusCode::NOT_FOUND, b"the slot's block is on another branch"),
            Err(error) if error.status() == Some(404) => error,
            Err(error) => return Err(error),
        };
        match at.checked_sub(1) {
            Some(before) if slot.saturating_sub(at) < reach => at = before,
            _ => return Err(missing),
        }
    }
}

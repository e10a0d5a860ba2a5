//! The head of the chain, block roots, and whether a node is in sync.

use alloy_primitives::B256;
use alloy_rpc_types_beacon::header::HeaderResponse;
pub use alloy_rpc_types_beacon::node::SyncStatus;
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

#[derive(Deserialize)]
struct RootResponse {
    data: RootData,
}

#[derive(Deserialize)]
struct RootData {
    root: B256,
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

    /// Whether the nodes are in sync, by the first that answers.
    ///
    /// # Errors
    /// [`ChainError`] if no node gives an answer.
    pub async fn sync_status(&self) -> Result<SyncStatus, ChainError> {
        #[derive(Deserialize)]
        struct SyncResponse {
            data: SyncStatus,
        }
        let answer: SyncResponse =
            self.ask(|node| async move { node.get_json("/eth/v1/node/syncing").await }).await?;
        Ok(answer.data)
    }

    /// The root of the last block at `slot` or before it, looking back at most `reach` slots.
    ///
    /// # Errors
    /// [`ChainError::Status`] with 404 if there is none in reach; [`ChainError`] if no node gives an answer.
    pub async fn root_at_or_before(&self, slot: u64, reach: u64) -> Result<B256, ChainError> {
        self.ask(|node| async move { root_at_or_before(&node, slot, reach).await }).await
    }
}

pub(super) async fn header(node: &Endpoint, block_id: &str) -> Result<Head, ChainError> {
    let answer: HeaderResponse = node.get_json(&format!("/eth/v1/beacon/headers/{block_id}")).await?;
    let message = answer.data.header.message;
    Ok(Head {
        slot: message.slot,
        root: answer.data.root,
        parent_root: message.parent_root,
        state_root: message.state_root,
        proposer_index: message.proposer_index,
    })
}

/// Slots without a block answer 404; the block before them stands.
pub(super) async fn root_at_or_before(node: &Endpoint, slot: u64, reach: u64) -> Result<B256, ChainError> {
    let mut at = slot;
    loop {
        match node.get_json::<RootResponse>(&format!("/eth/v1/beacon/blocks/{at}/root")).await {
            Ok(answer) => return Ok(answer.data.root),
            Err(error) if error.status() == Some(404) && slot.saturating_sub(at) < reach => {
                match at.checked_sub(1) {
                    Some(before) => at = before,
                    None => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

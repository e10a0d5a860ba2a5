//! Publishing a signed block to every node.

use earnest_builder_types::{ForkCodec, SignedBlockContents};
use futures::future::join_all;
use reqwest::{Method, StatusCode, header};

use super::BeaconClient;
use crate::{error::ChainError, transport::Endpoint};

/// What a node checks before it spreads a block, as the beacon API names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BroadcastValidation {
    /// Only what gossip asks for.
    Gossip,
    /// The whole state transition.
    Consensus,
    /// The whole state transition, and that it has seen no other block of the proposer for the slot.
    ConsensusAndEquivocation,
}

impl BroadcastValidation {
    /// The value of the query parameter.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gossip => "gossip",
            Self::Consensus => "consensus",
            Self::ConsensusAndEquivocation => "consensus_and_equivocation",
        }
    }
}

/// What a node did with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// 200: broadcast and imported.
    Imported,
    /// 202: broadcast, but not imported; the node found it invalid after its first checks.
    BroadcastNotImported,
}

/// One node's word on a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeOutcome {
    /// The node, without credentials.
    pub node: String,
    /// What it did, or why it did nothing.
    pub outcome: Result<Published, ChainError>,
}

/// Every node's word on a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishReport {
    /// One entry for each node, in the order of the configuration.
    pub nodes: Vec<NodeOutcome>,
}

impl PublishReport {
    /// Whether a node imported the block.
    #[must_use]
    pub fn imported(&self) -> bool {
        self.nodes.iter().any(|node| node.outcome == Ok(Published::Imported))
    }

    /// Whether a node spread the block, imported or not.
    #[must_use]
    pub fn broadcast(&self) -> bool {
        self.nodes.iter().any(|node| node.outcome.is_ok())
    }
}

impl BeaconClient {
    /// Publishes a block to all nodes at once and waits for all: `POST /eth/v2/beacon/blocks`.
    ///
    /// SSZ is sent; a node that refuses it by 415 gets JSON.
    pub async fn publish_block(
        &self,
        block: &SignedBlockContents,
        validation: BroadcastValidation,
    ) -> PublishReport {
        let ssz = bytes::Bytes::from(block.to_ssz());
        let calls = self.publishing.iter().map(|node| {
            let ssz = ssz.clone();
            async move {
                let outcome = publish_to(node, block, ssz, validation).await;
                if let Err(error) = &outcome {
                    tracing::warn!(node = node.name(), %error, "a beacon node did not take the block");
                }
                NodeOutcome { node: node.name().to_owned(), outcome }
            }
        });
        PublishReport { nodes: join_all(calls).await }
    }
}

async fn publish_to(
    node: &Endpoint,
    block: &SignedBlockContents,
    ssz: bytes::Bytes,
    validation: BroadcastValidation,
) -> Result<Published, ChainError> {
    let request = || {
        node.request(
            Method::POST,
            &format!("/eth/v2/beacon/blocks?broadcast_validation={}", validation.as_str()),
        )
        .header("Eth-Consensus-Version", block.fork().to_string())
        .header(header::ACCEPT, "application/json")
    };
    let in_ssz = request().header(header::CONTENT_TYPE, "application/octet-stream").body(ssz);
    let (mut status, mut body) = node.send(in_ssz).await?;
    if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        (status, body) = node.send(request().json(block)).await?;
    }
    match status {
        StatusCode::ACCEPTED => Ok(Published::BroadcastNotImported),
        status if status.is_success() => Ok(Published::Imported),
        status => Err(node.refused(status, &body)),
    }
}

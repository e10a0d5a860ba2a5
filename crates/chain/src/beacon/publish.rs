//! Publishing a signed block to every node, each by itself: none waits for another.

use earnest_builder_types::{ForkCodec, SignedBlockContents, TreeHash};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use reqwest::{Method, StatusCode, header};

use super::{BeaconClient, head};
use crate::{agreement::Standing, error::ChainError, transport::Endpoint};

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
    /// 200: broadcast and imported. Or the block was there already: some nodes refuse it then.
    Imported,
    /// 202: broadcast, but not imported; the node found it invalid after its first checks.
    BroadcastNotImported,
}

/// One node's last word on a block.
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

/// What one attempt to publish at one node came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeWord {
    /// The node's place in the configuration.
    pub place: usize,
    /// The node, without credentials.
    pub node: String,
    /// What was to be thought of the node when it spoke.
    pub standing: Standing,
    /// What it did, or why it did nothing.
    pub outcome: Result<Published, ChainError>,
}

/// A block on its way to every node. Each node's word is told as it comes, and a node can be sent the block again.
/// Dropping this ends all attempts.
#[derive(Debug)]
pub struct Publication<'a> {
    client: &'a BeaconClient,
    block: &'a SignedBlockContents,
    ssz: bytes::Bytes,
    validation: BroadcastValidation,
    ranking: Vec<usize>,
    attempts: FuturesUnordered<BoxFuture<'a, NodeWord>>,
}

impl BeaconClient {
    /// Sends a block to all nodes at once: `POST /eth/v2/beacon/blocks`.
    ///
    /// SSZ is sent; a node that refuses it by 415 gets JSON. One that refuses a block that it shows by
    /// `GET /eth/v1/beacon/headers/{root}` has imported it before.
    #[must_use]
    pub fn publication<'a>(
        &'a self,
        block: &'a SignedBlockContents,
        validation: BroadcastValidation,
    ) -> Publication<'a> {
        let ranking = self.shared.agreement.lock().ranking();
        let ssz = bytes::Bytes::from(block.to_ssz());
        let attempts = FuturesUnordered::new();
        let mut publication = Publication { client: self, block, ssz, validation, ranking, attempts };
        for place in 0..self.publishing.len() {
            publication.ask(place);
        }
        publication
    }

    /// Publishes a block to all nodes at once and waits for all, each asked once. See
    /// [`BeaconClient::publication`], which tells of each node as it speaks.
    pub async fn publish_block(
        &self,
        block: &SignedBlockContents,
        validation: BroadcastValidation,
    ) -> PublishReport {
        let mut publication = self.publication(block, validation);
        let mut words = Vec::with_capacity(self.publishing.len());
        while let Some(word) = publication.next().await {
            if let Err(error) = &word.outcome {
                tracing::warn!(node = word.node, %error, "a beacon node did not take the block");
            }
            words.push(word);
        }
        words.sort_by_key(|word| word.place);
        let nodes = words.into_iter().map(|NodeWord { node, outcome, .. }| NodeOutcome { node, outcome });
        PublishReport { nodes: nodes.collect() }
    }

    /// Whether a node has a block. It is given as long as in a survey.
    async fn holds(&self, place: usize, block: &SignedBlockContents) -> bool {
        let Some(node) = self.nodes.get(place) else { return false };
        let root = block.message().tree_hash_root().to_string();
        let shown = tokio::time::timeout(self.options.survey_timeout, head::header(node, &root));
        shown.await.is_ok_and(|header| header.is_ok())
    }
}

impl Publication<'_> {
    /// Places of all nodes in the configuration, those that stood best when the block was sent first.
    #[must_use]
    pub fn ranking(&self) -> &[usize] {
        &self.ranking
    }

    /// The word of the next node to speak; none while no node is at work.
    pub async fn next(&mut self) -> Option<NodeWord> {
        self.attempts.next().await
    }

    /// Sends the block to a node again that has spoken.
    pub fn ask(&mut self, place: usize) {
        let Some(node) = self.client.publishing.get(place) else { return };
        let (client, block, validation) = (self.client, self.block, self.validation);
        let ssz = self.ssz.clone();
        self.attempts.push(Box::pin(async move {
            let mut outcome = publish_to(node, block, ssz, validation).await;
            if outcome.as_ref().is_err_and(is_refusal) && client.holds(place, block).await {
                outcome = Ok(Published::Imported);
            }
            let standing = client.shared.agreement.lock().standing(place);
            NodeWord { place, node: node.name().to_owned(), standing, outcome }
        }));
    }
}

/// Whether a node says no to the block, rather than that it has no time for it or cannot be reached.
fn is_refusal(error: &ChainError) -> bool {
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
    error.status().is_some_and(|status| busy.iter().all(|busy| busy.as_u16() != status))
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

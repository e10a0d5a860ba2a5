//! All nodes at once: are they in sync, and what is their head?

use alloy_primitives::B256;
use futures::future::join_all;

use super::{
    BeaconClient,
    head::{header, syncing},
};
use crate::{
    agreement::{AgreedHead, HeadView, Observation, Standing, View},
    error::ChainError,
    transport::Endpoint,
};

/// What is to be thought of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSurvey {
    /// The node, without credentials.
    pub node: String,
    /// What to think of it.
    pub standing: Standing,
    /// Why; empty if it is well.
    pub reason: String,
    /// Slot and root of its head, if it answered.
    pub head: Option<(u64, B256)>,
}

/// What is to be thought of every node in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The slot that ran.
    pub slot: u64,
    /// One entry for each node, in the order of the configuration.
    pub nodes: Vec<NodeSurvey>,
    /// The head that the nodes agree on. An older round's, if none of them is in order now.
    pub head: Option<AgreedHead>,
}

impl Survey {
    /// Whether at least one node may be relied on.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.nodes.iter().any(|node| node.standing.is_usable())
    }

    /// Slots since the head's, the running one included. One is usual until the slot's block is there; more means
    /// that slots were missed, whether or not an event told of it.
    #[must_use]
    pub fn slots_without_block(&self) -> u64 {
        self.head.map_or(self.slot, |head| self.slot.saturating_sub(head.slot))
    }
}

impl BeaconClient {
    /// Asks every node at once for its state and its head, each for at most `survey_timeout`, and judges them. From
    /// then on questions go to the nodes that stand best. What changed is logged, a line for each node.
    ///
    /// To be called once in every slot, with the slot that runs.
    pub async fn survey(&self, current_slot: u64) -> Survey {
        let observations = join_all(self.nodes.iter().map(|node| self.observe(node))).await;
        let (news, survey) = {
            let mut agreement = self.shared.agreement.lock();
            let news = agreement.observe(current_slot, &observations);
            let nodes = self
                .nodes
                .iter()
                .enumerate()
                .map(|(place, node)| NodeSurvey {
                    node: node.name().to_owned(),
                    standing: agreement.standing(place),
                    reason: agreement.reason(place).to_owned(),
                    head: agreement.head_of(place).map(|head| (head.slot, head.root)),
                })
                .collect();
            (news, Survey { slot: current_slot, nodes, head: agreement.head() })
        };
        self.tell(news);
        survey
    }

    async fn observe(&self, node: &Endpoint) -> Observation {
        let limit = self.options.survey_timeout;
        match tokio::time::timeout(limit, view(node)).await {
            Ok(view) => view.map_err(|error| error.to_string()),
            Err(_) => Err(ChainError::Timeout { endpoint: node.name().to_owned(), limit }.to_string()),
        }
    }
}

async fn view(node: &Endpoint) -> Result<View, ChainError> {
    let (sync, head) = futures::future::try_join(syncing(node), header(node, "head")).await?;
    Ok(View {
        head: HeadView { slot: head.slot, root: head.root, parent_root: head.parent_root },
        sync_distance: u64::try_from(sync.sync_distance).unwrap_or(u64::MAX),
        is_syncing: sync.is_syncing,
        is_optimistic: sync.is_optimistic,
        el_offline: sync.el_offline,
    })
}

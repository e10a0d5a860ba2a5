//! One stream of events out of several nodes'. Pure; the rules are told at [`super::BeaconClient::events`].

use std::collections::VecDeque;

use alloy_primitives::{B256, keccak256};
use alloy_rpc_types_beacon::events::HeadEvent;

use super::BeaconEvent;
use crate::agreement::Standing;

/// Events of which it is remembered who told them, for each kind.
const REMEMBERED: usize = 128;
/// Slots before the head whose blocks are still told of.
const BLOCK_REACH: u64 = 32;

/// What makes two nodes' events the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Block(B256),
    /// The hash of everything they say.
    Attributes(B256),
    /// Old and new head. How deep it was nodes count in their own ways.
    Reorg(B256, B256),
    Finalized(u64, B256),
}

/// How often each node told an event.
#[derive(Debug)]
struct Told {
    key: Key,
    times: Vec<u32>,
}

/// The last events of one kind. An event is news if its node told it more often than any other has: a second
/// node's word is none, that a node says something again is.
#[derive(Debug, Default)]
struct Memory {
    events: VecDeque<Told>,
}

impl Memory {
    fn is_news(&mut self, nodes: usize, node: usize, key: Key) -> bool {
        let place = self.events.iter().position(|told| told.key == key);
        let mut told = match place.and_then(|place| self.events.remove(place)) {
            Some(told) => told,
            None => Told { key, times: vec![0; nodes] },
        };
        let most = told.times.iter().copied().max().unwrap_or(0);
        let mut times = u32::MAX;
        if let Some(count) = told.times.get_mut(node) {
            *count = count.saturating_add(1);
            times = *count;
        }
        self.events.push_back(told);
        while self.events.len() > REMEMBERED {
            self.events.pop_front();
        }
        times > most
    }
}

/// A node's head, as its events tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HeadAt {
    slot: u64,
    root: B256,
}

/// Decides which events of several nodes are told. What it remembers is bounded by the number of nodes.
#[derive(Debug)]
pub(super) struct Merger {
    /// The head of each node whose stream is open, once it told one.
    heads: Vec<Option<HeadAt>>,
    /// The head that was told last.
    told: Option<HeadAt>,
    /// Heads that were told before.
    earlier: VecDeque<B256>,
    finalized_epoch: u64,
    blocks: Memory,
    attributes: Memory,
    reorgs: Memory,
    checkpoints: Memory,
}

impl Merger {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            heads: vec![None; nodes],
            told: None,
            earlier: VecDeque::new(),
            finalized_epoch: 0,
            blocks: Memory::default(),
            attributes: Memory::default(),
            reorgs: Memory::default(),
            checkpoints: Memory::default(),
        }
    }

    /// The event, if it is to be told. `node` is the place of the node that told it, `standing` what is thought of
    /// each.
    pub(super) fn admit(
        &mut self,
        node: usize,
        event: BeaconEvent,
        standing: impl Fn(usize) -> Standing,
    ) -> Option<BeaconEvent> {
        let nodes = self.heads.len();
        let is_news = match &event {
            BeaconEvent::Connected { .. } => true,
            BeaconEvent::Disconnected { .. } => {
                self.set_head(node, None);
                true
            }
            BeaconEvent::Head(head) => self.head_is_news(node, head, standing),
            BeaconEvent::Block(block) => {
                let news = self.blocks.is_news(nodes, node, Key::Block(block.block));
                news && !self.is_of_the_past(node, block.slot, standing)
            }
            BeaconEvent::PayloadAttributes(attributes) => match serde_json::to_vec(attributes) {
                Ok(written) => self.attributes.is_news(nodes, node, Key::Attributes(keccak256(written))),
                Err(_) => true,
            },
            BeaconEvent::ChainReorg(reorg) => {
                let key = Key::Reorg(reorg.old_head_block, reorg.new_head_block);
                self.reorgs.is_news(nodes, node, key)
            }
            BeaconEvent::FinalizedCheckpoint(checkpoint) => {
                let key = Key::Finalized(checkpoint.epoch, checkpoint.block);
                let news = self.checkpoints.is_news(nodes, node, key);
                let later = checkpoint.epoch >= self.finalized_epoch;
                if !standing(node).misleads() {
                    self.finalized_epoch = self.finalized_epoch.max(checkpoint.epoch);
                }
                news && later
            }
        };
        is_news.then_some(event)
    }

    fn head_is_news(&mut self, node: usize, event: &HeadEvent, standing: impl Fn(usize) -> Standing) -> bool {
        let head = HeadAt { slot: event.slot, root: event.block };
        let before = self.set_head(node, Some(head));
        let Some(told) = self.told else { return self.tell(head) };
        let misleads = standing(node).misleads();
        let better_known = self.others(node).any(|(other, _)| misleads && !standing(other).misleads());
        if better_known || head.root == told.root {
            return false;
        }
        // Whoever misleads holds nobody back but its like.
        let held_by_another =
            self.others(node).any(|(other, at)| at == told && (misleads || !standing(other).misleads()));
        let leaves_it = before == Some(told);
        let goes_on = head.slot > told.slot && !self.earlier.contains(&head.root);
        if leaves_it || goes_on || !held_by_another { self.tell(head) } else { false }
    }

    fn tell(&mut self, head: HeadAt) -> bool {
        if let Some(told) = self.told.replace(head) {
            self.earlier.push_back(told.root);
        }
        while self.earlier.len() > REMEMBERED {
            self.earlier.pop_front();
        }
        true
    }

    /// Whether a block is so old that its node must be catching up, while another stands on the head.
    fn is_of_the_past(&self, node: usize, slot: u64, standing: impl Fn(usize) -> Standing) -> bool {
        self.told.is_some_and(|told| {
            slot.saturating_add(BLOCK_REACH) < told.slot
                && self.others(node).any(|(other, at)| at == told && !standing(other).misleads())
        })
    }

    /// The other nodes that told of a head since their streams were opened.
    fn others(&self, node: usize) -> impl Iterator<Item = (usize, HeadAt)> {
        let heads = self.heads.iter().enumerate();
        heads.filter(move |(other, _)| *other != node).filter_map(|(other, head)| Some((other, (*head)?)))
    }

    fn set_head(&mut self, node: usize, head: Option<HeadAt>) -> Option<HeadAt> {
        self.heads.get_mut(node).and_then(|held| std::mem::replace(held, head))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

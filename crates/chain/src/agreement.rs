//! Which of several beacon nodes to believe. Pure: it is told what each node says of itself and the running slot.
//!
//! Once a slot every node is asked whether it is in sync and what its head is ([`Agreement::observe`]). Each node
//! then has a [`Standing`], and the standings give an order in which to ask. Between two rounds a question that a
//! node failed, or was outrun in, counts too ([`Agreement::failed`], [`Agreement::outrun`]): the node is then asked
//! after the others until it has been well for [`PROBATION`] rounds. Only changes of standing are reported
//! ([`News`]): a node that stays down is worth one line in the log, and one when it is well again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    fmt,
};

use alloy_primitives::B256;

/// Slots by which a head may be older than the newest one before its node counts as behind.
pub const BEHIND_SLOTS: u64 = 2;
/// Slots by which a head may be newer than the running slot: what a node's clock may be ahead of ours.
pub const AHEAD_SLOTS: u64 = 1;
/// Rounds in which a node must be well after it faltered before it is asked first again.
pub const PROBATION: u32 = 8;

/// Agreed heads that are remembered, so that a node that stands on another branch is known by an older slot too.
const RECENT_HEADS: usize = 8;

/// What to think of a node. In the order in which nodes are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// In sync, verified by its execution client, and on the head that the others have or close to it.
    Well,
    /// Not looked at yet.
    Unknown,
    /// Well as far as it says, but it lately failed a question or was outrun by another node.
    Faltering,
    /// It does not answer.
    Down,
    /// It follows the chain without its execution client's word: optimistic, or the client is offline.
    Unverified,
    /// Its head is on another branch than that of most nodes.
    Disagreeing,
    /// It is syncing, or its head is older than the others' by more than [`BEHIND_SLOTS`].
    Behind,
    /// Its head lies in the future by more than [`AHEAD_SLOTS`]: its clock or ours is wrong, or its network.
    Ahead,
}

impl Standing {
    /// Whether the node may be relied on.
    #[must_use]
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Well | Self::Faltering)
    }

    /// Whether the node is known to tell of another chain than the one to follow, or of an unverified one. Its
    /// answers are worth less than late ones.
    #[must_use]
    pub fn misleads(self) -> bool {
        matches!(self, Self::Unverified | Self::Disagreeing | Self::Behind | Self::Ahead)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Well => "well",
            Self::Unknown => "unknown",
            Self::Faltering => "faltering",
            Self::Down => "down",
            Self::Unverified => "unverified",
            Self::Disagreeing => "disagreeing",
            Self::Behind => "behind",
            Self::Ahead => "ahead",
        })
    }
}

/// A node's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadView {
    /// The block's slot.
    pub slot: u64,
    /// The block's root.
    pub root: B256,
    /// The root of its parent.
    pub parent_root: B256,
}

/// What a node says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Its head.
    pub head: HeadView,
    /// Slots it has still to process, as it says.
    pub sync_distance: u64,
    /// Whether it says that it is syncing.
    pub is_syncing: bool,
    /// Whether its head is not verified by an execution client yet.
    pub is_optimistic: bool,
    /// Whether its execution client does not answer.
    pub el_offline: bool,
}

/// A node's answer in one round, or why there is none.
pub type Observation = Result<View, String>;

/// A node's standing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Place of the node in the configuration.
    pub node: usize,
    /// What it was.
    pub from: Standing,
    /// What it is now.
    pub to: Standing,
    /// Why; empty if it is well.
    pub reason: String,
}

/// The head that the nodes agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreedHead {
    /// The block's slot.
    pub slot: u64,
    /// The block's root.
    pub root: B256,
    /// Nodes whose head it is.
    pub nodes: usize,
}

#[derive(Debug, Clone)]
struct Node {
    /// What it said of itself in the last round, if it answered.
    view: Option<View>,
    /// The last round's judgement.
    judged: Standing,
    /// Why, if it is not well.
    reason: String,
    /// Rounds in which it must still be well.
    probation: u32,
    /// Why it is on probation.
    lapse: String,
}

impl Node {
    fn standing(&self) -> Standing {
        match self.judged {
            Standing::Well | Standing::Unknown if self.probation > 0 => Standing::Faltering,
            judged => judged,
        }
    }

    fn reason(&self) -> &str {
        match self.standing() {
            Standing::Well | Standing::Unknown => "",
            Standing::Faltering => &self.lapse,
            _ => &self.reason,
        }
    }
}

/// What is known of each node, and what follows from it.
#[derive(Debug, Clone)]
pub struct Agreement {
    nodes: Vec<Node>,
    head: Option<AgreedHead>,
    /// Heads that were agreed on, slots rising.
    recent: VecDeque<(u64, B256)>,
}

impl Agreement {
    /// Nothing known yet of `nodes` nodes.
    #[must_use]
    pub fn new(nodes: usize) -> Self {
        let unknown = Node {
            view: None,
            judged: Standing::Unknown,
            reason: String::new(),
            probation: 0,
            lapse: String::new(),
        };
        Self { nodes: vec![unknown; nodes], head: None, recent: VecDeque::new() }
    }

    /// One round: what each node says, in the order of the configuration, while `current_slot` runs. A node without
    /// an observation counts as one that did not answer.
    ///
    /// The head to follow is the newest among nodes that are in sync, verified and not ahead of time; among several
    /// at that slot the one of most nodes, then the one agreed on before or its child, then the one of the node
    /// configured first. An old head makes nobody bad if no node has a newer one: slots may go without blocks, and
    /// whether that is to be borne is the caller's judgement.
    pub fn observe(&mut self, current_slot: u64, observations: &[Observation]) -> Vec<News> {
        let newest_allowed = current_slot.saturating_add(AHEAD_SLOTS);
        let views: Vec<Option<View>> =
            (0..self.nodes.len()).map(|place| observations.get(place)?.as_ref().ok().copied()).collect();
        let sound: Vec<HeadView> = views
            .iter()
            .flatten()
            .filter(|view| !view.is_syncing && !view.is_optimistic && !view.el_offline)
            .map(|view| view.head)
            .filter(|head| head.slot <= newest_allowed)
            .collect();
        if let Some(agreed) = self.elect(&sound) {
            self.remember(agreed);
        }

        let mut news = Vec::new();
        for place in 0..self.nodes.len() {
            let silence = match observations.get(place) {
                Some(Err(reason)) => reason.as_str(),
                _ => "it was not asked",
            };
            let view = views.get(place).copied().flatten();
            let (judged, reason) = match view {
                None => (Standing::Down, silence.to_owned()),
                Some(view) => self.judge(&view, newest_allowed, &sound),
            };
            news.extend(self.change(place, |node| {
                node.view = view;
                node.judged = judged;
                node.reason = reason;
                if judged == Standing::Well {
                    node.probation = node.probation.saturating_sub(1);
                }
            }));
        }
        news
    }

    /// A question that `node` answered with a fault of its own, or not at all.
    pub fn failed(&mut self, node: usize, reason: &str) -> Option<News> {
        self.change(node, |node| {
            node.probation = PROBATION;
            reason.clone_into(&mut node.lapse);
        })
    }

    /// A question that another node, asked later, answered while `node` still kept us waiting.
    pub fn outrun(&mut self, node: usize) -> Option<News> {
        self.failed(node, "another node, asked later, answered before it")
    }

    /// A question that `node` answered in good time: what it failed before is forgiven.
    pub fn answered(&mut self, node: usize) -> Option<News> {
        self.change(node, |node| node.probation = 0)
    }

    /// The standing of a node; [`Standing::Unknown`] for one that is not configured.
    #[must_use]
    pub fn standing(&self, node: usize) -> Standing {
        self.nodes.get(node).map_or(Standing::Unknown, Node::standing)
    }

    /// Why a node is not well; empty if it is.
    #[must_use]
    pub fn reason(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("", Node::reason)
    }

    /// A node's head in the last round, if it answered.
    #[must_use]
    pub fn head_of(&self, node: usize) -> Option<HeadView> {
        self.nodes.get(node)?.view.map(|view| view.head)
    }

    /// The head that was agreed on last.
    #[must_use]
    pub fn head(&self) -> Option<AgreedHead> {
        self.head
    }

    /// All nodes in the order in which they are to be asked: by standing, then the newest head, then the head of
    /// most nodes, then as configured.
    #[must_use]
    pub fn ranking(&self) -> Vec<usize> {
        let mut votes: BTreeMap<B256, usize> = BTreeMap::new();
        for view in self.nodes.iter().filter_map(|node| node.view) {
            let count = votes.entry(view.head.root).or_default();
            *count = count.saturating_add(1);
        }
        let mut places: Vec<usize> = (0..self.nodes.len()).collect();
        places.sort_by_key(|place| {
            let head = self.head_of(*place);
            let agreeing = head.and_then(|head| votes.get(&head.root)).copied().unwrap_or(0);
            (self.standing(*place), Reverse(head.map(|head| head.slot)), Reverse(agreeing), *place)
        });
        places
    }

    fn change(&mut self, place: usize, by: impl FnOnce(&mut Node)) -> Option<News> {
        let node = self.nodes.get_mut(place)?;
        let from = node.standing();
        by(node);
        let to = node.standing();
        (from != to).then(|| News { node: place, from, to, reason: node.reason().to_owned() })
    }

    /// The head to follow among those of nodes that are in order, given in the order of the configuration.
    fn elect(&self, sound: &[HeadView]) -> Option<AgreedHead> {
        let slot = sound.iter().map(|head| head.slot).max()?;
        let before = self.head.map(|head| head.root);
        let at_slot = || sound.iter().filter(|head| head.slot == slot);
        let votes = |root: B256| at_slot().filter(|head| head.root == root).count();
        let continues =
            |head: &HeadView| before.is_some_and(|root| head.root == root || head.parent_root == root);
        // Of equals `max_by_key` takes the last: turned round, that is the first of the configuration.
        let chosen = at_slot().rev().max_by_key(|head| (votes(head.root), continues(head)))?;
        Some(AgreedHead { slot, root: chosen.root, nodes: votes(chosen.root) })
    }

    fn remember(&mut self, agreed: AgreedHead) {
        self.head = Some(agreed);
        self.recent.retain(|(slot, _)| *slot < agreed.slot);
        self.recent.push_back((agreed.slot, agreed.root));
        while self.recent.len() > RECENT_HEADS {
            self.recent.pop_front();
        }
    }

    fn judge(&self, view: &View, newest_allowed: u64, sound: &[HeadView]) -> (Standing, String) {
        let head = view.head;
        if head.slot > newest_allowed {
            let reason =
                format!("its head's slot {} has not begun, {newest_allowed} may be the newest", head.slot);
            return (Standing::Ahead, reason);
        }
        if view.is_syncing {
            return (Standing::Behind, format!("it is syncing, {} slots to go", view.sync_distance));
        }
        let newest = sound.iter().map(|head| head.slot).max().unwrap_or(0);
        if newest.saturating_sub(head.slot) > BEHIND_SLOTS {
            return (
                Standing::Behind,
                format!("its head is of slot {}, that of others of slot {newest}", head.slot),
            );
        }
        if view.el_offline {
            return (Standing::Unverified, "its execution client is offline".to_owned());
        }
        if view.is_optimistic {
            return (Standing::Unverified, "its head is not verified by its execution client".to_owned());
        }
        match self.contradiction(&head, sound) {
            Some(root) => (
                Standing::Disagreeing,
                format!("its head of slot {} is {}, that of others {root}", head.slot, head.root),
            ),
            None => (Standing::Well, String::new()),
        }
    }

    /// The agreed root at the slot of `head`, if that is another one. The parent of the agreed head never
    /// contradicts it, though another block of that slot may have been agreed on before it was replaced.
    fn contradiction(&self, head: &HeadView, sound: &[HeadView]) -> Option<B256> {
        let agreed = self.head?.root;
        let (_, known) = self.recent.iter().find(|(slot, _)| *slot == head.slot)?;
        let is_parent = sound.iter().any(|one| one.root == agreed && one.parent_root == head.root);
        (*known != head.root && !is_parent).then_some(*known)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests;

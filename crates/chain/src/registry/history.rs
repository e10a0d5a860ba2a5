//! The fold over the chain's blocks: what was decided for each epoch, and the way back when blocks are taken back. Pure.
//!
//! ```text
//! base ──b₁──b₂── … ──tip        base: deep enough that no reorganisation reaches it; kept as a state
//!                                b₁ … tip: kept as events, so that any of them can be undone
//! ```
//!
//! Epoch X is over once a block of a later epoch is there: the state before that block is the one after the last block
//! of X, and says who is opted in for the proposers of epoch X + 1 + `optin_delay` (design §2). If that block is taken back,
//! so is what it decided.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use earnest_protocol::Epoch;

use crate::SlotClock;

use super::{
    event::Event,
    state::{BlockRef, OptedIn, State, Terms},
};

/// A block with what the contracts did in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockEvents {
    /// The block.
    pub block: BlockRef,
    /// Its events, in order.
    pub events: Vec<Event>,
}

/// Why the fold does not take a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It does not stand on the tip: the tip was taken back, or blocks were left out.
    #[error("the block does not stand on the one before")]
    NotNext,
    /// A block that old is not kept any more.
    #[error("the chain was reorganised deeper than the fold can go back")]
    TooDeep,
}

/// What a block is to the fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// When slots and epochs are.
    pub clock: SlotClock,
    /// Which operators count.
    pub terms: Terms,
    /// Blocks that can be taken back.
    pub depth: usize,
    /// Epochs whose opted-in set is kept.
    pub epochs: usize,
}

/// Who was opted in at the end of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decided {
    opted_in: Arc<OptedIn>,
    /// Number of the block that showed the epoch to be over.
    by: u64,
}

/// The fold.
#[derive(Debug, Clone)]
pub struct History {
    rules: Rules,
    base: BlockRef,
    base_state: Arc<State>,
    recent: VecDeque<BlockEvents>,
    tip_state: Arc<State>,
    /// By the epoch at whose end it was so.
    decided: BTreeMap<Epoch, Decided>,
}

impl History {
    /// A fold that begins after the block `base`, whose state is known.
    #[must_use]
    pub fn new(rules: Rules, base: BlockRef, state: State) -> Self {
        let state = Arc::new(state);
        Self {
            rules,
            base,
            base_state: Arc::clone(&state),
            recent: VecDeque::new(),
            tip_state: state,
            decided: BTreeMap::new(),
        }
    }

    /// The block that cannot be undone, with the state after it.
    #[must_use]
    pub fn base(&self) -> (BlockRef, &State) {
        (self.base, &self.base_state)
    }

    /// The newest block.
    #[must_use]
    pub fn tip(&self) -> BlockRef {
        self.recent.back().map_or(self.base, |last| last.block)
    }

    /// The state after the newest block.
    #[must_use]
    pub fn state(&self) -> &Arc<State> {
        &self.tip_state
    }

    /// Who was opted in after the last block of `epoch`; none while that is not known, and no longer.
    #[must_use]
    pub fn at_end_of(&self, epoch: Epoch) -> Option<Arc<OptedIn>> {
        self.decided.get(&epoch).map(|decided| Arc::clone(&decided.opted_in))
    }

    /// All that is known of the ends of epochs.
    #[must_use]
    pub fn decided(&self) -> BTreeMap<Epoch, Arc<OptedIn>> {
        self.decided.iter().map(|(epoch, decided)| (*epoch, Arc::clone(&decided.opted_in))).collect()
    }

    /// The block of this number, if it is kept.
    #[must_use]
    pub fn block(&self, number: u64) -> Option<BlockRef> {
        let first = self.base.number;
        let place = number.checked_sub(first)?;
        match place.checked_sub(1) {
            None => Some(self.base),
            Some(place) => self.recent.get(usize::try_from(place).ok()?).map(|kept| kept.block),
        }
    }

    /// Takes the block after the tip.
    ///
    /// # Errors
    /// [`Misfit::NotNext`] if its parent is another block; nothing is changed then.
    pub fn apply(&mut self, next: BlockEvents) -> Result<(), Misfit> {
        let tip = self.tip();
        let block = next.block;
        if block.parent != tip.hash || Some(block.number) != tip.number.checked_add(1) {
            return Err(Misfit::NotNext);
        }
        self.decide(tip, block);
        fold(&mut self.tip_state, &next);
        self.recent.push_back(next);
        while self.recent.len() > self.rules.depth {
            self.settle_first();
        }
        Ok(())
    }

    /// Takes everything up to `to` at once: blocks too old to be taken back. `blocks` are those with events, ascending.
    /// What epochs ended in between is not looked at.
    ///
    /// # Errors
    /// [`Misfit::NotNext`] unless they lie between the tip and `to`; nothing is changed then.
    pub fn skip(&mut self, blocks: &[BlockEvents], to: BlockRef) -> Result<(), Misfit> {
        let mut last = self.tip().number;
        for kept in blocks {
            if kept.block.number <= last || kept.block.number > to.number {
                return Err(Misfit::NotNext);
            }
            last = kept.block.number;
        }
        if to.number < last {
            return Err(Misfit::NotNext);
        }
        while !self.recent.is_empty() {
            self.settle_first();
        }
        for kept in blocks {
            fold(&mut self.base_state, kept);
        }
        self.base = to;
        self.tip_state = Arc::clone(&self.base_state);
        self.decided.clear();
        Ok(())
    }

    /// Takes back the blocks after the one of this number.
    ///
    /// # Errors
    /// [`Misfit::TooDeep`] if it is older than the base; nothing is changed then.
    pub fn undo_to(&mut self, number: u64) -> Result<usize, Misfit> {
        let kept = number.checked_sub(self.base.number).ok_or(Misfit::TooDeep)?;
        let kept = usize::try_from(kept).map_err(|_| Misfit::TooDeep)?;
        let undone = self.recent.len().saturating_sub(kept);
        if undone == 0 {
            return Ok(0);
        }
        self.recent.truncate(kept);
        let mut state = Arc::clone(&self.base_state);
        for block in &self.recent {
            fold(&mut state, block);
        }
        self.tip_state = state;
        self.decided.retain(|_, decided| decided.by <= number);
        Ok(undone)
    }

    /// Notes who was opted in at the end of each epoch that lies between two blocks.
    fn decide(&mut self, tip: BlockRef, next: BlockRef) {
        let Some(until) = self.epoch_of(next) else { return };
        let from = self.epoch_of(tip).unwrap_or_default();
        if from >= until {
            return;
        }
        let mut opted_in = self.tip_state.opted_in(tip, &self.rules.terms);
        if let Some((_, last)) = self.decided.last_key_value() {
            opted_in.share(&last.opted_in);
        }
        let opted_in = Arc::new(opted_in);
        // No more than are kept: a timestamp far ahead must not make work without end.
        let keep = u64::try_from(self.rules.epochs).unwrap_or(u64::MAX);
        for epoch in from.0.max(until.0.saturating_sub(keep))..until.0 {
            let decided = Decided { opted_in: Arc::clone(&opted_in), by: next.number };
            self.decided.insert(Epoch(epoch), decided);
        }
        while self.decided.len() > self.rules.epochs {
            self.decided.pop_first();
        }
    }

    /// The epoch of a block; none for one from before slot 0, as the genesis block is.
    fn epoch_of(&self, block: BlockRef) -> Option<Epoch> {
        let clock = &self.rules.clock;
        clock.slot_at(block.time.saturating_mul(1_000)).map(|slot| Epoch(clock.epoch_of(slot)))
    }

    fn settle_first(&mut self) {
        if let Some(first) = self.recent.pop_front() {
            fold(&mut self.base_state, &first);
            self.base = first.block;
        }
    }
}

fn fold(state: &mut Arc<State>, block: &BlockEvents) {
    if block.events.is_empty() {
        return;
    }
    let state = Arc::make_mut(state);
    for event in &block.events {
        state.apply(event, block.block.time);
    }
}

#[cfg(test)]
mod tests;

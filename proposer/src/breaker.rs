//! When to take no blocks from relays for a while, and why (design §6). Pure: no clock, no socket.
//!
//! Two things open it:
//!
//! | cause | counts | closes |
//! |---|---|---|
//! | blocks of ours were lost | signed blocks in a row that no source delivered, or that a source took and the chain does not have | after `open_slots`, twice as many each time it opens again, 16 times at most; at once when a later block of ours is on the chain |
//! | the chain misses blocks | slots in a row, and slots of the last epoch, without a block on the chain, whoever proposed them | when fewer are missed |
//!
//! While it is open every request for a header is answered 204, constrained or not, and the beacon node builds its own block.
//! Passing through would hand the next block to those that lost the last one; a constrained slot's local block keeps its promise
//! from the pool. The chain's misses are what beacon nodes count too (Lighthouse has the same defaults); the lost blocks only we see.
//!
//! It never opens on what is not known: without a beacon node, or after its event stream broke and before the next head, the
//! chain's misses are not counted. It is not durable: a restart closes it.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

/// Blocks of ours whose place on the chain is not known yet, at most.
const MAX_TAKEN: usize = 64;
/// How often the time it stays open is doubled.
const MAX_DOUBLINGS: u32 = 4;

/// What opens it. A limit of 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Blocks of ours lost in a row.
    pub lost_blocks: u32,
    /// Slots that lost blocks keep it open.
    pub open_slots: u64,
    /// Slots in a row without a block on the chain.
    pub missed_slots: u64,
    /// Slots of the last epoch without a block on the chain.
    pub missed_per_epoch: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self { lost_blocks: 1, open_slots: 96, missed_slots: 3, missed_per_epoch: 8 }
    }
}

/// How a block of ours was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// No source delivered it.
    #[error("no relay delivered the block of slot {0} that we signed")]
    Undelivered(u64),
    /// A source took it, and it is not on the chain.
    #[error("a relay took the block of slot {0}, and it is not on the chain")]
    NotOnChain(u64),
}

/// Why it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Blocks of ours were lost.
    #[error("{in_a_row} of our blocks in a row were lost: {loss}; open until slot {until}")]
    Lost {
        /// How many in a row.
        in_a_row: u32,
        /// How the last one was.
        loss: Loss,
        /// First slot in which headers are asked for again.
        until: u64,
    },
    /// The chain misses blocks in a row.
    #[error("the chain has no block in the {0} slots before this one")]
    MissedInARow(u64),
    /// The chain misses many blocks.
    #[error("the chain has no block in {0} of the last epoch's slots")]
    MissedInEpoch(u64),
}

impl Cause {
    /// Its name in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost_blocks",
            Self::MissedInARow(_) => "missed_slots",
            Self::MissedInEpoch(_) => "missed_per_epoch",
        }
    }

    /// All names.
    pub const NAMES: [&'static str; 3] = ["lost_blocks", "missed_slots", "missed_per_epoch"];
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Streak {
    in_a_row: u32,
    openings: u32,
    open: Option<(Loss, u64)>,
}

/// The circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    streak: Streak,
    /// The slot of the last loss, and the streak before it: the beacon node may send the same block again.
    last_loss: Option<(u64, Streak)>,
    taken: Vec<(u64, B256)>,
    seen: BTreeSet<u64>,
    seen_from: Option<u64>,
    slots_per_epoch: u64,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub const fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            streak: Streak { in_a_row: 0, openings: 0, open: None },
            last_loss: None,
            taken: Vec::new(),
            seen: BTreeSet::new(),
            seen_from: None,
            slots_per_epoch: 0,
        }
    }

    /// Why it is open in `slot`, if it is.
    #[must_use]
    pub fn cause(&self, slot: u64) -> Option<Cause> {
        if let Some((loss, until)) = self.streak.open
            && slot < until
        {
            return Some(Cause::Lost { in_a_row: self.streak.in_a_row, loss, until });
        }
        let from = self.seen_from?;
        let last = *self.seen.last()?;
        let in_a_row = slot.saturating_sub(last).saturating_sub(1);
        if self.config.missed_slots > 0 && in_a_row >= self.config.missed_slots {
            return Some(Cause::MissedInARow(in_a_row));
        }
        let begin = slot.saturating_sub(self.slots_per_epoch).max(from);
        if self.config.missed_per_epoch == 0 || begin >= slot {
            return None;
        }
        let there = u64::try_from(self.seen.range(begin..slot).count()).unwrap_or(u64::MAX);
        let missed = slot.saturating_sub(begin).saturating_sub(there);
        (missed >= self.config.missed_per_epoch).then_some(Cause::MissedInEpoch(missed))
    }

    /// A block we signed in `slot` was delivered by no source.
    pub fn undelivered(&mut self, slot: u64) {
        if !self.taken.iter().any(|(taken, _)| *taken == slot) {
            self.lose(slot, Loss::Undelivered(slot));
        }
    }

    /// A source took the block of `slot` with this root, perhaps after another attempt failed.
    pub fn taken(&mut self, slot: u64, root: B256) {
        if let Some((lost, before)) = self.last_loss
            && lost == slot
        {
            self.streak = before;
            self.last_loss = None;
        }
        if self.taken.len() >= MAX_TAKEN {
            self.taken.remove(0);
        }
        self.taken.retain(|(taken, _)| *taken != slot);
        self.taken.push((slot, root));
    }

    /// The blocks taken in slots before `slot` whose place on the chain is to be looked up.
    #[must_use]
    pub fn to_look_up(&self, slot: u64) -> Vec<(u64, B256)> {
        self.taken.iter().copied().filter(|(taken, _)| *taken < slot).collect()
    }

    /// Whether the block taken in `slot` is on the chain.
    pub fn looked_up(&mut self, slot: u64, on_chain: bool) {
        let before = self.taken.len();
        self.taken.retain(|(taken, _)| *taken != slot);
        if self.taken.len() == before {
            return;
        }
        if !on_chain {
            self.lose(slot, Loss::NotOnChain(slot));
        } else if self.last_loss.is_none_or(|(lost, _)| lost < slot) {
            // One from before the loss says nothing: it is looked up with the next head, which a lost block delays.
            self.streak = Streak::default();
            self.last_loss = None;
        }
    }

    /// The chain has a block in `slot`.
    pub fn head(&mut self, slot: u64, slots_per_epoch: u64) {
        self.slots_per_epoch = slots_per_epoch;
        self.seen_from.get_or_insert(slot);
        self.seen.insert(slot);
        let last = self.seen.last().copied().unwrap_or(slot);
        self.seen = self.seen.split_off(&last.saturating_sub(slots_per_epoch.saturating_mul(2)));
    }

    /// What the chain has from now on may be missed, until the next head.
    pub fn blind(&mut self) {
        self.seen.clear();
        self.seen_from = None;
    }

    fn lose(&mut self, slot: u64, loss: Loss) {
        if self.last_loss.is_some_and(|(lost, _)| lost == slot) {
            return;
        }
        self.last_loss = Some((slot, self.streak));
        self.streak.in_a_row = self.streak.in_a_row.saturating_add(1);
        if self.config.lost_blocks > 0 && self.streak.in_a_row >= self.config.lost_blocks {
            let doublings = self.streak.openings.min(MAX_DOUBLINGS);
            let slots = self.config.open_slots.saturating_mul(1 << doublings);
            self.streak.openings = self.streak.openings.saturating_add(1);
            self.streak.open = Some((loss, slot.saturating_add(1).saturating_add(slots)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EPOCH: u64 = 32;

    fn breaker() -> Breaker {
        Breaker::new(BreakerConfig { lost_blocks: 2, open_slots: 10, missed_slots: 3, missed_per_epoch: 8 })
    }

    fn root(slot: u64) -> B256 {
        B256::from(alloy_primitives::U256::from(slot))
    }

    #[test]
    fn lost_blocks_in_a_row_open_it_and_it_says_which() {
        let mut breaker = breaker();
        breaker.undelivered(100);
        assert_eq!(breaker.cause(101), None);
        breaker.taken(120, root(120));
        assert_eq!(breaker.to_look_up(120), []);
        assert_eq!(breaker.to_look_up(121), [(120, root(120))]);
        breaker.looked_up(120, false);
        let cause = breaker.cause(121).unwrap();
        assert_eq!(cause, Cause::Lost { in_a_row: 2, loss: Loss::NotOnChain(120), until: 131 });
        assert!(cause.to_string().contains("block of slot 120"), "{cause}");
        assert_eq!(breaker.cause(130).unwrap().name(), "lost_blocks");
        assert_eq!(breaker.cause(131), None, "half open");
        breaker.undelivered(140);
        assert_eq!(breaker.cause(160).map(|cause| cause.name()), Some("lost_blocks"), "twice as long");
        assert_eq!(breaker.cause(161), None);
    }

    #[test]
    fn a_block_of_ours_on_the_chain_closes_it_and_begins_anew() {
        let mut breaker = breaker();
        breaker.undelivered(1);
        breaker.undelivered(2);
        assert!(breaker.cause(3).is_some());
        breaker.taken(3, root(3));
        assert!(breaker.cause(4).is_some());
        breaker.looked_up(3, true);
        assert_eq!(breaker.cause(4), None);
        breaker.undelivered(5);
        assert_eq!(breaker.cause(6), None);
    }

    #[test]
    fn a_block_from_before_the_loss_does_not_close_it() {
        let mut breaker = breaker();
        breaker.taken(3, root(3));
        breaker.undelivered(4);
        breaker.undelivered(5);
        breaker.looked_up(3, true);
        assert!(breaker.cause(6).is_some());
        breaker.taken(7, root(7));
        breaker.looked_up(7, true);
        assert_eq!(breaker.cause(8), None);
    }

    #[test]
    fn a_second_attempt_that_succeeds_takes_the_first_ones_failure_back() {
        let mut breaker = breaker();
        breaker.undelivered(1);
        breaker.undelivered(2);
        breaker.undelivered(2);
        assert!(breaker.cause(3).is_some());
        breaker.taken(2, root(2));
        assert_eq!(breaker.cause(3), None);
        breaker.undelivered(2);
        assert_eq!(breaker.cause(3), None, "sent once more, after it was taken");
        breaker.undelivered(3);
        assert!(breaker.cause(4).is_some(), "the loss before still counts");
    }

    #[test]
    fn missed_slots_open_it_until_the_next_head() {
        let mut breaker = breaker();
        assert_eq!(breaker.cause(1_000_000), None, "nothing is known yet");
        breaker.head(10, EPOCH);
        assert_eq!(breaker.cause(13), None);
        assert_eq!(breaker.cause(14), Some(Cause::MissedInARow(3)));
        breaker.head(14, EPOCH);
        assert_eq!(breaker.cause(15), None);
        breaker.blind();
        assert_eq!(breaker.cause(100), None, "not known is not missed");
        breaker.head(200, EPOCH);
        assert_eq!(breaker.cause(201), None);
    }

    #[test]
    fn many_missed_in_an_epoch_open_it_until_fewer_are() {
        let mut breaker = breaker();
        for slot in (0..=16).step_by(2) {
            breaker.head(slot, EPOCH);
        }
        assert_eq!(breaker.cause(17), Some(Cause::MissedInEpoch(8)));
        for slot in 17..34 {
            breaker.head(slot, EPOCH);
        }
        assert_eq!(breaker.cause(33), Some(Cause::MissedInEpoch(8)), "slots 1 to 32");
        assert_eq!(breaker.cause(34), None, "slots 2 to 33");
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let config = BreakerConfig { lost_blocks: 0, missed_slots: 0, missed_per_epoch: 0, open_slots: 9 };
        let mut breaker = Breaker::new(config);
        breaker.head(1, EPOCH);
        for slot in 2..50 {
            breaker.undelivered(slot);
            assert_eq!(breaker.cause(slot + 1), None);
        }
    }

    proptest! {
        /// Whatever happens, it is open only for a cause that holds, and closed again in bounded time.
        #[test]
        fn it_never_stays_open_without_new_losses(
            events in proptest::collection::vec((0u8..5, 0u64..200), 0..60),
        ) {
            let mut breaker = breaker();
            for (kind, slot) in events {
                match kind {
                    0 => breaker.undelivered(slot),
                    1 => breaker.taken(slot, root(slot)),
                    2 => breaker.looked_up(slot, slot % 2 == 0),
                    3 => breaker.head(slot, EPOCH),
                    _ => breaker.blind(),
                }
                prop_assert!(breaker.taken.len() <= MAX_TAKEN);
                prop_assert!(breaker.seen.len() <= 66);
            }
            let longest = 201 + 10 * 16;
            for slot in 400..440 {
                breaker.head(slot, EPOCH);
            }
            prop_assert_eq!(breaker.cause(longest.max(440)), None);
        }
    }
}

//! When to take no blocks from relays for a while, and why (design §6). Pure: no clock, no socket.
//!
//! Two things open it:
//!
//! | cause | counts | shuts out | until |
//! |---|---|---|---|
//! | a source lost blocks of ours | signed blocks in a row that it offered and nobody delivered, or that it took and the chain does not have | that source | after `open_slots`, twice as many each time it happens again, 16 times at most; at once when it brings a later block of ours on the chain |
//! | the chain misses blocks | slots in a row, and slots of the last epoch, without a block on the chain, whoever proposed them | all | fewer are missed |
//!
//! One source that takes blocks and does not deliver costs a block each time it is let in again, and no more: the others' headers go on.
//! Where all are shut out every request for a header is answered 204, and the beacon node builds its own block. So is one for a constrained
//! slot with a relay shut out that holds constraints: the local block keeps its promise from the pool. The chain's misses are what beacon
//! nodes count too (Lighthouse has the same defaults); the lost blocks only we see.
//!
//! Only blocks count whose header was served here and that the proposer signed: whoever else can reach the port cannot shut a source out.
//! It never opens on what is not known: without a beacon node, or after its event stream broke and before the next head, the
//! chain's misses are not counted. It is not durable: a restart closes it.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::slot_state::SourceIndex;

/// Blocks of ours whose place on the chain is not known yet, at most.
const MAX_TAKEN: usize = 64;
/// How often the time it stays open is doubled.
const MAX_DOUBLINGS: u32 = 4;

/// What opens it. A limit of 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// Blocks of ours that a source lost in a row.
    pub lost_blocks: u32,
    /// Slots that a source is shut out for lost blocks.
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
    /// Every source lost blocks of ours; or one did, of which the others cannot take the place. What was the last says the rest.
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

/// What is known of one source.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    streak: Streak,
    /// The slot of the last loss, and the streak before it: the beacon node may send the same block again.
    last_loss: Option<(u64, Streak)>,
}

/// A block that a source took, and whose place on the chain is not known yet.
#[derive(Debug, Clone, Copy)]
struct Taken {
    slot: u64,
    root: B256,
    by: SourceIndex,
}

/// The circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    sources: BTreeMap<SourceIndex, Record>,
    taken: Vec<Taken>,
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
            sources: BTreeMap::new(),
            taken: Vec::new(),
            seen: BTreeSet::new(),
            seen_from: None,
            slots_per_epoch: 0,
        }
    }

    /// Why `source` is shut out in `slot`, if it is.
    #[must_use]
    pub fn shut_out(&self, source: SourceIndex, slot: u64) -> Option<Cause> {
        let Streak { in_a_row, open, .. } = self.sources.get(&source)?.streak;
        let (loss, until) = open.filter(|(_, until)| slot < *until)?;
        Some(Cause::Lost { in_a_row, loss, until })
    }

    /// Why none of `sources` may be asked in `slot`, if that is so.
    #[must_use]
    pub fn cause(&self, slot: u64, sources: &[SourceIndex]) -> Option<Cause> {
        let all = || {
            let causes: Option<Vec<Cause>> =
                sources.iter().map(|source| self.shut_out(*source, slot)).collect();
            causes?.into_iter().last()
        };
        self.chain_misses(slot).or_else(all)
    }

    /// Why nobody may be asked in `slot`, because of what the chain misses.
    fn chain_misses(&self, slot: u64) -> Option<Cause> {
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

    /// The block of `slot` that we signed and `by` offered was delivered by no source.
    pub fn undelivered(&mut self, slot: u64, by: &[SourceIndex]) {
        if !self.taken.iter().any(|taken| taken.slot == slot) {
            by.iter().for_each(|source| self.lose(*source, slot, Loss::Undelivered(slot)));
        }
    }

    /// A source took the block of `slot` with this root, perhaps after another attempt failed.
    pub fn taken(&mut self, slot: u64, root: B256, by: SourceIndex) {
        for record in self.sources.values_mut() {
            if let Some((lost, before)) = record.last_loss
                && lost == slot
            {
                record.streak = before;
                record.last_loss = None;
            }
        }
        if self.taken.len() >= MAX_TAKEN {
            self.taken.remove(0);
        }
        self.taken.retain(|taken| taken.slot != slot);
        self.taken.push(Taken { slot, root, by });
    }

    /// The blocks taken in slots before `slot` whose place on the chain is to be looked up.
    #[must_use]
    pub fn to_look_up(&self, slot: u64) -> Vec<(u64, B256)> {
        let before = self.taken.iter().filter(|taken| taken.slot < slot);
        before.map(|taken| (taken.slot, taken.root)).collect()
    }

    /// Whether the block taken in `slot` is on the chain.
    pub fn looked_up(&mut self, slot: u64, on_chain: bool) {
        let Some(place) = self.taken.iter().position(|taken| taken.slot == slot) else { return };
        let taken = self.taken.remove(place);
        if !on_chain {
            self.lose(taken.by, slot, Loss::NotOnChain(slot));
            return;
        }
        // One from before the loss says nothing: it is looked up with the next head, which a lost block delays.
        let last_loss = self.sources.get(&taken.by).and_then(|record| record.last_loss);
        if last_loss.is_none_or(|(lost, _)| lost < slot) {
            self.sources.remove(&taken.by);
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

    fn lose(&mut self, source: SourceIndex, slot: u64, loss: Loss) {
        let record = self.sources.entry(source).or_default();
        if record.last_loss.is_some_and(|(lost, _)| lost == slot) {
            return;
        }
        let streak = &mut record.streak;
        record.last_loss = Some((slot, *streak));
        streak.in_a_row = streak.in_a_row.saturating_add(1);
        if self.config.lost_blocks > 0 && streak.in_a_row >= self.config.lost_blocks {
            let doublings = streak.openings.min(MAX_DOUBLINGS);
            let slots = self.config.open_slots.saturating_mul(1 << doublings);
            streak.openings = streak.openings.saturating_add(1);
            streak.open = Some((loss, slot.saturating_add(1).saturating_add(slots)));
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
        breaker.undelivered(100, &[0]);
        assert_eq!(breaker.cause(101, &[0]), None);
        breaker.taken(120, root(120), 0);
        assert_eq!(breaker.to_look_up(120), []);
        assert_eq!(breaker.to_look_up(121), [(120, root(120))]);
        breaker.looked_up(120, false);
        let cause = breaker.cause(121, &[0]).unwrap();
        assert_eq!(cause, Cause::Lost { in_a_row: 2, loss: Loss::NotOnChain(120), until: 131 });
        assert!(cause.to_string().contains("block of slot 120"), "{cause}");
        assert_eq!(breaker.cause(130, &[0]).unwrap().name(), "lost_blocks");
        assert_eq!(breaker.cause(131, &[0]), None, "half open");
        breaker.undelivered(140, &[0]);
        assert_eq!(breaker.cause(160, &[0]).map(|cause| cause.name()), Some("lost_blocks"), "twice as long");
        assert_eq!(breaker.cause(161, &[0]), None);
    }

    #[test]
    fn a_block_of_ours_on_the_chain_closes_it_and_begins_anew() {
        let mut breaker = breaker();
        breaker.undelivered(1, &[0]);
        breaker.undelivered(2, &[0]);
        assert!(breaker.cause(3, &[0]).is_some());
        breaker.taken(3, root(3), 0);
        assert!(breaker.cause(4, &[0]).is_some());
        breaker.looked_up(3, true);
        assert_eq!(breaker.cause(4, &[0]), None);
        breaker.undelivered(5, &[0]);
        assert_eq!(breaker.cause(6, &[0]), None);
    }

    #[test]
    fn a_block_from_before_the_loss_does_not_close_it() {
        let mut breaker = breaker();
        breaker.taken(3, root(3), 0);
        breaker.undelivered(4, &[0]);
        breaker.undelivered(5, &[0]);
        breaker.looked_up(3, true);
        assert!(breaker.shut_out(0, 6).is_some());
        breaker.taken(7, root(7), 0);
        breaker.looked_up(7, true);
        assert_eq!(breaker.shut_out(0, 8), None);
    }

    #[test]
    fn a_second_attempt_that_succeeds_takes_the_first_ones_failure_back() {
        let mut breaker = breaker();
        breaker.undelivered(1, &[0]);
        breaker.undelivered(2, &[0]);
        breaker.undelivered(2, &[0]);
        assert!(breaker.cause(3, &[0]).is_some());
        breaker.taken(2, root(2), 0);
        assert_eq!(breaker.cause(3, &[0]), None);
        breaker.undelivered(2, &[0]);
        assert_eq!(breaker.cause(3, &[0]), None, "sent once more, after it was taken");
        breaker.undelivered(3, &[0]);
        assert!(breaker.cause(4, &[0]).is_some(), "the loss before still counts");
    }

    #[test]
    fn a_source_that_loses_blocks_is_shut_out_alone() {
        let mut breaker = breaker();
        for slot in [1, 2] {
            breaker.taken(slot, root(slot), 1);
            breaker.looked_up(slot, false);
        }
        assert_eq!(breaker.shut_out(1, 3).map(|cause| cause.name()), Some("lost_blocks"));
        assert_eq!(breaker.shut_out(0, 3), None);
        assert_eq!(breaker.cause(3, &[0, 1]), None, "the other is there");
        assert!(breaker.cause(3, &[1]).is_some());
        // A block that another brings on the chain lets nobody in again.
        breaker.taken(3, root(3), 0);
        breaker.looked_up(3, true);
        assert!(breaker.shut_out(1, 4).is_some());
        // What two offered and neither delivered counts for both.
        breaker.undelivered(4, &[0, 1]);
        breaker.undelivered(5, &[0, 1]);
        assert!(breaker.cause(6, &[0, 1]).is_some());
        breaker.undelivered(7, &[]);
        assert_eq!(breaker.shut_out(2, 8), None);
    }

    #[test]
    fn missed_slots_open_it_until_the_next_head() {
        let mut breaker = breaker();
        assert_eq!(breaker.cause(1_000_000, &[0]), None, "nothing is known yet");
        breaker.head(10, EPOCH);
        assert_eq!(breaker.cause(13, &[0]), None);
        assert_eq!(breaker.cause(14, &[0]), Some(Cause::MissedInARow(3)));
        breaker.head(14, EPOCH);
        assert_eq!(breaker.cause(15, &[0]), None);
        breaker.blind();
        assert_eq!(breaker.cause(100, &[0]), None, "not known is not missed");
        breaker.head(200, EPOCH);
        assert_eq!(breaker.cause(201, &[0]), None);
    }

    #[test]
    fn many_missed_in_an_epoch_open_it_until_fewer_are() {
        let mut breaker = breaker();
        for slot in (0..=16).step_by(2) {
            breaker.head(slot, EPOCH);
        }
        assert_eq!(breaker.cause(17, &[0]), Some(Cause::MissedInEpoch(8)));
        for slot in 17..34 {
            breaker.head(slot, EPOCH);
        }
        assert_eq!(breaker.cause(33, &[0]), Some(Cause::MissedInEpoch(8)), "slots 1 to 32");
        assert_eq!(breaker.cause(34, &[0]), None, "slots 2 to 33");
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        let config = BreakerConfig { lost_blocks: 0, missed_slots: 0, missed_per_epoch: 0, open_slots: 9 };
        let mut breaker = Breaker::new(config);
        breaker.head(1, EPOCH);
        for slot in 2..50 {
            breaker.undelivered(slot, &[0]);
            assert_eq!(breaker.cause(slot + 1, &[0]), None);
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
                    0 => breaker.undelivered(slot, &[0]),
                    1 => breaker.taken(slot, root(slot), 0),
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
            prop_assert_eq!(breaker.cause(longest.max(440), &[0]), None);
        }
    }
}

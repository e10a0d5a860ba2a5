//! Who proposes the slots ahead, and on what block that knowledge rests. Pure.
//!
//! Duties of an epoch are decided by the chain up to a *dependent root*. If that root changes (a reorg, or a
//! node that followed another branch) the duties may change; [`Lookahead::apply`] then takes the new ones and
//! tells which slots lost their proposer, so that whatever was built on them can be dropped.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use alloy_rpc_types_beacon::{BlsPublicKey, events::HeadEvent};

/// Epochs held at most; the oldest go first. The chain shows two, the rest is the recent past.
const MAX_EPOCHS: usize = 8;

/// The proposer of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposer {
    /// The slot.
    pub slot: u64,
    /// Index of the validator in the beacon state.
    pub validator_index: u64,
    /// The validator's BLS public key.
    pub pubkey: BlsPublicKey,
}

/// The proposers of one epoch, as a node gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochDuties {
    /// The epoch.
    pub epoch: u64,
    /// Root of the block that decided these duties.
    pub dependent_root: B256,
    /// One proposer for each slot of the epoch, in the order of the slots.
    pub proposers: Vec<Proposer>,
}

/// Why duties were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookaheadError {
    /// The duties do not name exactly one proposer for each slot of their epoch.
    #[error("duties of epoch {epoch} do not cover its slots one by one")]
    Incomplete {
        /// The epoch the duties claim to be of.
        epoch: u64,
    },
}

/// The blocks on which the proposers of two epochs rest, as a node or a head event names them.
///
/// With a deterministic lookahead (EIP-7917) the proposers of an epoch are decided by the last block before the
/// epoch preceding it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependentRoots {
    /// The first epoch.
    pub epoch: u64,
    /// What the proposers of `epoch` rest on.
    pub current: B256,
    /// What the proposers of the epoch after it rest on.
    pub next: B256,
}

/// What new duties changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookaheadChange {
    /// The epoch.
    pub epoch: u64,
    /// The dependent root held before, if the epoch was known.
    pub old_root: Option<B256>,
    /// The dependent root now.
    pub new_root: B256,
    /// Proposers that are no longer those of their slots.
    pub dropped: Vec<Proposer>,
    /// Proposers that are new for their slots.
    pub added: Vec<Proposer>,
}

impl LookaheadChange {
    /// Whether knowledge that others may have built on was taken back.
    #[must_use]
    pub fn takes_back(&self) -> bool {
        !self.dropped.is_empty()
    }
}

/// The epochs whose proposers are known.
#[derive(Debug, Clone)]
pub struct Lookahead {
    slots_per_epoch: u64,
    epochs: BTreeMap<u64, EpochDuties>,
    /// The epoch that ran when the duties were last asked for.
    checked: Option<u64>,
}

impl Lookahead {
    /// An empty lookahead of epochs of `slots_per_epoch` slots.
    #[must_use]
    pub fn new(slots_per_epoch: u64) -> Self {
        Self { slots_per_epoch, epochs: BTreeMap::new(), checked: None }
    }

    /// Takes the duties of an epoch. `None` if nothing is new.
    ///
    /// # Errors
    /// [`LookaheadError::Incomplete`] if they do not name one proposer for each slot; nothing is changed then.
    /// Slot 0, the genesis block's, may be left out.
    pub fn apply(&mut self, duties: EpochDuties) -> Result<Option<LookaheadChange>, LookaheadError> {
        if !self.is_complete(&duties) {
            return Err(LookaheadError::Incomplete { epoch: duties.epoch });
        }
        let old = self.epochs.get(&duties.epoch);
        if old == Some(&duties) {
            return Ok(None);
        }
        let empty = Vec::new();
        let held = old.map_or(&empty, |old| &old.proposers);
        let change = LookaheadChange {
            epoch: duties.epoch,
            old_root: old.map(|old| old.dependent_root),
            new_root: duties.dependent_root,
            dropped: held.iter().filter(|one| !duties.proposers.contains(one)).copied().collect(),
            added: duties.proposers.iter().filter(|one| !held.contains(one)).copied().collect(),
        };
        self.epochs.insert(duties.epoch, duties);
        while self.epochs.len() > MAX_EPOCHS {
            self.epochs.pop_first();
        }
        Ok(Some(change))
    }

    /// The epochs that a head shows to rest on another block than we think, or that it shows and we do not
    /// hold: their duties are to be asked for again.
    ///
    /// The duties of the head's epoch rest on `previous_duty_dependent_root`, those of the next on
    /// `current_duty_dependent_root`.
    #[must_use]
    pub fn stale_epochs(&self, head: &HeadEvent) -> Vec<u64> {
        self.stale_under(&DependentRoots {
            epoch: head.slot.checked_div(self.slots_per_epoch).unwrap_or(0),
            current: head.previous_duty_dependent_root,
            next: head.current_duty_dependent_root,
        })
    }

    /// The epochs that rest on another block than we think by these roots, or that we do not hold. A root of zero,
    /// which some nodes send while they do not know it, says nothing.
    #[must_use]
    pub fn stale_under(&self, roots: &DependentRoots) -> Vec<u64> {
        [(roots.epoch, roots.current), (roots.epoch.saturating_add(1), roots.next)]
            .into_iter()
            .filter(|(epoch, root)| {
                self.dependent_root(*epoch).is_none_or(|held| held != *root && !root.is_zero())
            })
            .map(|(epoch, _)| epoch)
            .collect()
    }

    /// Notes that the duties were asked for, and applied, while `current_epoch` ran.
    pub fn checked(&mut self, current_epoch: u64) {
        self.checked = Some(current_epoch);
    }

    /// Whether the duties are to be asked for again though no event says so: nobody did since `current_epoch`
    /// began, or this epoch or the next is not known. For a clock to ask in every slot, beside the events.
    #[must_use]
    pub fn needs_recheck(&self, current_epoch: u64) -> bool {
        self.checked != Some(current_epoch)
            || !self.epochs.contains_key(&current_epoch)
            || !self.epochs.contains_key(&current_epoch.saturating_add(1))
    }

    /// The proposer of `slot`, if known.
    #[must_use]
    pub fn proposer(&self, slot: u64) -> Option<&Proposer> {
        let epoch = slot.checked_div(self.slots_per_epoch)?;
        self.epochs.get(&epoch)?.proposers.iter().find(|proposer| proposer.slot == slot)
    }

    /// The dependent root of an epoch, if it is known.
    #[must_use]
    pub fn dependent_root(&self, epoch: u64) -> Option<B256> {
        self.epochs.get(&epoch).map(|duties| duties.dependent_root)
    }

    /// All proposers known, from `slot` on, in the order of the slots.
    pub fn from_slot(&self, slot: u64) -> impl Iterator<Item = &Proposer> {
        self.epochs
            .values()
            .flat_map(|duties| &duties.proposers)
            .filter(move |proposer| proposer.slot >= slot)
    }

    /// The last epoch known.
    #[must_use]
    pub fn last_epoch(&self) -> Option<u64> {
        self.epochs.last_key_value().map(|(epoch, _)| *epoch)
    }

    /// Forgets epochs before `epoch`.
    pub fn prune_before(&mut self, epoch: u64) {
        self.epochs = self.epochs.split_off(&epoch);
    }

    fn is_complete(&self, duties: &EpochDuties) -> bool {
        let mut slots = duties.proposers.iter().map(|proposer| proposer.slot).peekable();
        let mut first = duties.epoch.saturating_mul(self.slots_per_epoch);
        let end = first.saturating_add(self.slots_per_epoch);
        if first == 0 && slots.peek() == Some(&1) {
            first = 1;
        }
        slots.eq(first..end)
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn duties(epoch: u64, root: u8, indices: [u64; 4]) -> EpochDuties {
        let proposers = indices
            .into_iter()
            .enumerate()
            .map(|(offset, validator_index)| Proposer {
                slot: epoch * 4 + offset as u64,
                validator_index,
                pubkey: BlsPublicKey::with_last_byte(validator_index as u8),
            })
            .collect();
        EpochDuties { epoch, dependent_root: B256::repeat_byte(root), proposers }
    }

    fn head(slot: u64, previous: u8, current: u8) -> HeadEvent {
        HeadEvent {
            slot,
            block: B256::ZERO,
            state: B256::ZERO,
            epoch_transition: false,
            previous_duty_dependent_root: B256::repeat_byte(previous),
            current_duty_dependent_root: B256::repeat_byte(current),
            execution_optimistic: false,
        }
    }

    #[test]
    fn the_same_duties_change_nothing() {
        let mut lookahead = Lookahead::new(4);
        let change = lookahead.apply(duties(1, 1, [1, 2, 3, 4])).unwrap().unwrap();
        assert_eq!(change.added.len(), 4);
        assert!(!change.takes_back());
        assert_eq!(lookahead.apply(duties(1, 1, [1, 2, 3, 4])), Ok(None));
    }

    #[test]
    fn a_new_root_drops_only_what_it_no_longer_supports() {
        let mut lookahead = Lookahead::new(4);
        lookahead.apply(duties(1, 1, [1, 2, 3, 4])).unwrap();
        let change = lookahead.apply(duties(1, 2, [1, 9, 3, 8])).unwrap().unwrap();
        assert_eq!(change.old_root, Some(B256::repeat_byte(1)));
        assert_eq!(
            change.dropped.iter().map(|one| (one.slot, one.validator_index)).collect::<Vec<_>>(),
            [(5, 2), (7, 4)]
        );
        assert_eq!(
            change.added.iter().map(|one| (one.slot, one.validator_index)).collect::<Vec<_>>(),
            [(5, 9), (7, 8)]
        );
        assert_eq!(lookahead.proposer(5).unwrap().validator_index, 9);
        assert_eq!(lookahead.proposer(4).unwrap().validator_index, 1);
    }

    #[test]
    fn a_root_that_keeps_every_proposer_takes_nothing_back() {
        let mut lookahead = Lookahead::new(4);
        lookahead.apply(duties(1, 1, [1, 2, 3, 4])).unwrap();
        let change = lookahead.apply(duties(1, 2, [1, 2, 3, 4])).unwrap().unwrap();
        assert!(!change.takes_back());
        assert_eq!(lookahead.dependent_root(1), Some(B256::repeat_byte(2)));
    }

    #[test]
    fn duties_that_do_not_cover_their_epoch_are_refused() {
        let mut lookahead = Lookahead::new(4);
        let mut short = duties(1, 1, [1, 2, 3, 4]);
        short.proposers.pop();
        assert_eq!(lookahead.apply(short), Err(LookaheadError::Incomplete { epoch: 1 }));
        let mut other = duties(1, 1, [1, 2, 3, 4]);
        other.epoch = 2;
        assert_eq!(lookahead.apply(other), Err(LookaheadError::Incomplete { epoch: 2 }));
        assert_eq!(lookahead.proposer(4), None);
    }

    #[test]
    fn a_head_tells_which_epochs_to_ask_again() {
        let mut lookahead = Lookahead::new(4);
        assert_eq!(lookahead.stale_epochs(&head(5, 1, 2)), [1, 2]);
        lookahead.apply(duties(1, 1, [1, 2, 3, 4])).unwrap();
        lookahead.apply(duties(2, 2, [1, 2, 3, 4])).unwrap();
        assert!(lookahead.stale_epochs(&head(5, 1, 2)).is_empty());
        assert_eq!(lookahead.stale_epochs(&head(6, 1, 3)), [2]);
        assert_eq!(lookahead.stale_epochs(&head(8, 2, 4)), [3]);
    }

    #[test]
    fn a_root_of_zero_says_nothing_of_an_epoch_that_is_held() {
        let mut lookahead = Lookahead::new(4);
        lookahead.apply(duties(1, 1, [1, 2, 3, 4])).unwrap();
        let unknown = DependentRoots { epoch: 1, current: B256::ZERO, next: B256::ZERO };
        assert_eq!(lookahead.stale_under(&unknown), [2], "epoch 2 is not held");
        let other = DependentRoots { current: B256::repeat_byte(9), ..unknown };
        assert_eq!(lookahead.stale_under(&other), [1, 2]);
    }

    #[test]
    fn every_epoch_asks_for_one_more_look_though_no_event_came() {
        let mut lookahead = Lookahead::new(4);
        assert!(lookahead.needs_recheck(1));
        lookahead.apply(duties(1, 1, [1, 2, 3, 4])).unwrap();
        lookahead.checked(1);
        assert!(lookahead.needs_recheck(1), "the next epoch is not known yet");
        lookahead.apply(duties(2, 2, [1, 2, 3, 4])).unwrap();
        assert!(!lookahead.needs_recheck(1));
        assert!(lookahead.needs_recheck(2), "a new epoch");
        lookahead.apply(duties(3, 3, [1, 2, 3, 4])).unwrap();
        assert!(lookahead.needs_recheck(2), "nobody said that all was looked at");
        lookahead.checked(2);
        assert!(!lookahead.needs_recheck(2));
    }

    #[test]
    fn the_genesis_slot_may_be_left_out() {
        let mut lookahead = Lookahead::new(4);
        let mut first = duties(0, 1, [1, 2, 3, 4]);
        first.proposers.remove(0);
        assert!(lookahead.apply(first.clone()).is_ok());
        assert_eq!(
            (lookahead.proposer(0), lookahead.proposer(1).map(|one| one.validator_index)),
            (None, Some(2))
        );
        first.proposers.remove(0);
        assert!(lookahead.apply(first).is_err());
        let mut later = duties(1, 1, [1, 2, 3, 4]);
        later.proposers.remove(0);
        assert!(lookahead.apply(later).is_err());
    }

    #[test]
    fn the_future_is_listed_in_order_and_the_past_forgotten() {
        let mut lookahead = Lookahead::new(4);
        lookahead.apply(duties(2, 2, [5, 6, 7, 8])).unwrap();
        lookahead.apply(duties(1, 1, [1, 2, 3, 4])).unwrap();
        assert_eq!(lookahead.from_slot(6).map(|one| one.slot).collect::<Vec<_>>(), [6, 7, 8, 9, 10, 11]);
        lookahead.prune_before(2);
        assert_eq!(lookahead.proposer(7), None);
        assert_eq!(lookahead.last_epoch(), Some(2));
        for epoch in 3..40 {
            lookahead.apply(duties(epoch, 1, [1, 2, 3, 4])).unwrap();
        }
        assert_eq!(lookahead.from_slot(0).count(), 4 * MAX_EPOCHS);
    }

    proptest! {
        #[test]
        fn what_is_held_is_always_the_last_word_on_each_epoch(
            words in proptest::collection::vec((0u64..4, 0u8..3, proptest::array::uniform4(0u64..5)), 1..40)
        ) {
            let mut lookahead = Lookahead::new(4);
            let mut model: BTreeMap<u64, EpochDuties> = BTreeMap::new();
            for (epoch, root, indices) in words {
                let word = duties(epoch, root, indices);
                let before = model.insert(epoch, word.clone());
                let change = lookahead.apply(word.clone()).unwrap();
                prop_assert_eq!(change.is_none(), before.as_ref() == Some(&word));
                if let Some(change) = change {
                    prop_assert_eq!(change.takes_back(), before.is_some_and(|before| before.proposers != word.proposers));
                }
                for duties in model.values() {
                    prop_assert_eq!(lookahead.dependent_root(duties.epoch), Some(duties.dependent_root));
                    for proposer in &duties.proposers {
                        prop_assert_eq!(lookahead.proposer(proposer.slot), Some(proposer));
                    }
                }
            }
        }
    }
}

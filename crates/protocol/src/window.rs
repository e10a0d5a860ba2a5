//! Slots, and the windows that end with them (design §2). All times are Unix milliseconds.

use crate::{Epoch, Slot};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU64;

/// A part of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fraction(pub u16, pub u16);

impl Fraction {
    /// This part of `ms`, rounded down; all of it if the denominator is zero.
    #[must_use]
    pub fn of(self, ms: u64) -> u64 {
        let part = u128::from(ms).saturating_mul(u128::from(self.0)).checked_div(u128::from(self.1));
        part.and_then(|part| u64::try_from(part).ok()).unwrap_or(ms)
    }
}

/// The network's clock and the protocol's cut-offs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// When slot 0 starts.
    pub genesis_ms: u64,
    /// Length of a slot.
    pub slot_ms: u64,
    /// Slots of an epoch.
    pub slots_per_epoch: u64,
    /// Longest a window reaches back from its slot, in slots.
    pub max_window_slots: u64,
    /// How long before its slot a window is sealed.
    pub seal: Fraction,
    /// How long before its slot a relay takes no more constraints.
    pub constraint_cutoff: Fraction,
    /// How long after close the slot's proposer may match a winning bid.
    pub first_refusal: Fraction,
}

/// Slots between visibility of a proposer and close of its auction, and between close and start.
const SETTLE_SLOTS: u64 = 2;
/// Slots that an auction closes before the window could start, where visibility allows.
const CLOSE_AHEAD_SLOTS: u64 = 4;

impl Timing {
    /// The protocol's cut-offs on a network with this clock.
    #[must_use]
    pub const fn new(genesis_ms: u64, slot_ms: u64, slots_per_epoch: u64) -> Self {
        Self {
            genesis_ms,
            slot_ms,
            slots_per_epoch,
            max_window_slots: 32,
            seal: Fraction(1, 2),
            constraint_cutoff: Fraction(1, 3),
            first_refusal: Fraction(1, 8),
        }
    }

    /// When `slot` starts.
    #[must_use]
    pub const fn slot_start(&self, slot: Slot) -> u64 {
        self.genesis_ms.saturating_add(self.slots(slot.0))
    }

    /// The epoch of `slot`.
    #[must_use]
    pub fn epoch_of(&self, slot: Slot) -> Epoch {
        Epoch(slot.0.checked_div(self.slots_per_epoch).unwrap_or_default())
    }

    /// The first slot of `epoch`.
    #[must_use]
    pub const fn first_slot(&self, epoch: Epoch) -> Slot {
        Slot(epoch.0.saturating_mul(self.slots_per_epoch))
    }

    /// When the proposer of `slot` is known: the start of the epoch before its own.
    #[must_use]
    pub fn visible(&self, slot: Slot) -> u64 {
        self.slot_start(self.first_slot(Epoch(self.epoch_of(slot).0.saturating_sub(1))))
    }

    /// When the window of `slot` is sealed.
    #[must_use]
    pub fn seal_at(&self, slot: Slot) -> u64 {
        self.slot_start(slot).saturating_sub(self.seal.of(self.slot_ms))
    }

    /// The slot whose registry state says who is opted in for `slot`, and by which committers: the last of the epoch
    /// `optin_delay` before the one in which the slot becomes visible. The last block at or before it is read. `None` where
    /// the chain is too young: then nobody is opted in.
    ///
    /// It lies before the slot is visible, so what happens later alters no window.
    #[must_use]
    pub fn reference_slot(&self, slot: Slot, optin_delay: NonZeroU64) -> Option<Slot> {
        let epoch = self.epoch_of(slot).0.checked_sub(optin_delay.get())?;
        self.first_slot(Epoch(epoch)).0.checked_sub(1).map(Slot)
    }

    /// The first slot that bears on the window of `slot`, by being a sequencing slot or not. All of them are visible when the
    /// slot is: a sequencing slot before them is sealed before the window could start.
    #[must_use]
    pub fn bears_on(&self, slot: Slot) -> Slot {
        self.first_slot(Epoch(self.epoch_of(slot).0.saturating_sub(1)))
    }

    /// The window of sequencing slot `slot`, given the sequencing slot before it, if there is one. One before
    /// [`Self::bears_on`] may be left out.
    ///
    /// `None` if no time is left between the earliest start and the seal, as in a network's first slots.
    #[must_use]
    pub fn window(&self, slot: Slot, previous: Option<Slot>) -> Option<Window> {
        let reach = self.slot_start(Slot(slot.0.saturating_sub(self.max_window_slots)));
        let earliest = previous.map_or(reach, |previous| reach.max(self.seal_at(previous)));
        let close_ms = self
            .visible(slot)
            .saturating_add(self.slots(SETTLE_SLOTS))
            .max(earliest.saturating_sub(self.slots(CLOSE_AHEAD_SLOTS)));
        let start_ms = earliest.max(close_ms.saturating_add(self.slots(SETTLE_SLOTS)));
        let seal_ms = self.seal_at(slot);
        let slot_ms = self.slot_start(slot);
        (start_ms < seal_ms).then(|| Window {
            slot,
            close_ms,
            first_refusal_ms: close_ms.saturating_add(self.first_refusal.of(self.slot_ms)),
            start_ms,
            seal_ms,
            constraint_cutoff_ms: slot_ms.saturating_sub(self.constraint_cutoff.of(self.slot_ms)),
            slot_ms,
        })
    }

    /// The windows of ascending sequencing slots, `before` being the one before the first of them.
    pub fn windows(
        &self,
        before: Option<Slot>,
        slots: impl IntoIterator<Item = Slot>,
    ) -> impl Iterator<Item = Window> {
        let mut previous = before;
        slots.into_iter().filter_map(move |slot| self.window(slot, previous.replace(slot)))
    }

    const fn slots(&self, count: u64) -> u64 {
        self.slot_ms.saturating_mul(count)
    }
}

/// The times of one sequencing slot, the same for every rollup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The sequencing slot.
    pub slot: Slot,
    /// When the auction closes: delegations are signed after this.
    #[serde(with = "crate::integer")]
    pub close_ms: u64,
    /// Until when the slot's proposer may match a winning bid.
    #[serde(with = "crate::integer")]
    pub first_refusal_ms: u64,
    /// When ordering starts.
    #[serde(with = "crate::integer")]
    pub start_ms: u64,
    /// When ordering ends.
    #[serde(with = "crate::integer")]
    pub seal_ms: u64,
    /// When the relay takes no more constraints for the slot.
    #[serde(with = "crate::integer")]
    pub constraint_cutoff_ms: u64,
    /// When the slot starts.
    #[serde(with = "crate::integer")]
    pub slot_ms: u64,
}

impl Window {
    /// Whether `at_ms` is within the window: from its start until its seal.
    #[must_use]
    pub const fn contains(&self, at_ms: u64) -> bool {
        self.start_ms <= at_ms && at_ms < self.seal_ms
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAINNET: Timing = Timing::new(1_606_824_023_000, 12_000, 32);

    fn slots_before(timing: &Timing, slot: u64, at_ms: u64) -> f64 {
        (timing.slot_start(Slot(slot)) as f64 - at_ms as f64) / timing.slot_ms as f64
    }

    #[test]
    fn dense_opt_in_leaves_no_gap() {
        let window = MAINNET.window(Slot(1_000), Some(Slot(999))).unwrap();
        assert_eq!(slots_before(&MAINNET, 1_000, window.start_ms), 1.5);
        assert_eq!(slots_before(&MAINNET, 1_000, window.seal_ms), 0.5);
        assert_eq!(slots_before(&MAINNET, 1_000, window.close_ms), 5.5);
        assert_eq!(window.start_ms, MAINNET.seal_at(Slot(999)));
        assert_eq!(window.slot_ms - window.constraint_cutoff_ms, 4_000);
        assert_eq!(window.first_refusal_ms - window.close_ms, 1_500);
    }

    #[test]
    fn one_in_ten_starts_with_the_seal_before() {
        let window = MAINNET.window(Slot(1_000), Some(Slot(990))).unwrap();
        assert_eq!(slots_before(&MAINNET, 1_000, window.start_ms), 10.5);
    }

    #[test]
    fn alone_it_waits_for_visibility() {
        // First slot of an epoch: visible 32 slots before, closed two later, started two after that.
        let window = MAINNET.window(Slot(32 * 40), None).unwrap();
        assert_eq!(slots_before(&MAINNET, 32 * 40, window.close_ms), 30.0);
        assert_eq!(slots_before(&MAINNET, 32 * 40, window.start_ms), 28.0);
        // Last slot of an epoch: visible 63 slots before, so max_window binds.
        let window = MAINNET.window(Slot(32 * 40 + 31), None).unwrap();
        assert_eq!(slots_before(&MAINNET, 32 * 40 + 31, window.start_ms), 32.0);
    }

    #[test]
    fn windows_of_a_schedule_follow_one_another() {
        let windows: Vec<_> = MAINNET.windows(Some(Slot(990)), [Slot(1_000), Slot(1_001)]).collect();
        assert_eq!(windows[0], MAINNET.window(Slot(1_000), Some(Slot(990))).unwrap());
        assert_eq!(windows[1], MAINNET.window(Slot(1_001), Some(Slot(1_000))).unwrap());
        assert_eq!(windows[0].seal_ms, windows[1].start_ms);
        assert!(windows[0].contains(windows[0].start_ms) && !windows[0].contains(windows[0].seal_ms));
    }

    #[test]
    fn first_slots_have_no_window() {
        let devnet = Timing::new(1_000_000, 1_000, 8);
        assert_eq!(devnet.window(Slot(4), None), None);
        assert_eq!(devnet.window(Slot(5), None).unwrap().start_ms, 1_004_000);
    }

    const DELAY: NonZeroU64 = NonZeroU64::new(2).unwrap();

    #[test]
    fn opt_ins_are_read_two_epochs_before_the_slot_is_visible() {
        // Proposers of epoch 40 are visible from epoch 39 on; read is the end of epoch 37.
        for slot in [32 * 40, 32 * 40 + 31] {
            assert_eq!(MAINNET.reference_slot(Slot(slot), DELAY), Some(Slot(32 * 38 - 1)));
        }
        assert_eq!(MAINNET.reference_slot(Slot(32 * 41), DELAY), Some(Slot(32 * 39 - 1)));
        // The first epochs have nothing to read.
        assert_eq!(MAINNET.reference_slot(Slot(32 * 3), DELAY), Some(Slot(31)));
        assert_eq!(MAINNET.reference_slot(Slot(32 * 3 - 1), DELAY), None);
        assert_eq!(MAINNET.reference_slot(Slot(0), DELAY), None);
        let devnet = Timing::new(0, 1_000, 8);
        assert_eq!(devnet.reference_slot(Slot(16), NonZeroU64::MIN), Some(Slot(7)));
    }

    /// The sequencing slots among `0..opted_in.len()`, each with the one before it and its window.
    fn schedule(timing: &Timing, opted_in: &[bool]) -> Vec<(Slot, Option<Slot>, Option<Window>)> {
        let mut previous = None;
        let slots = (0..).zip(opted_in).filter(|(_, opted_in)| **opted_in).map(|(slot, _)| Slot(slot));
        slots
            .map(|slot| {
                let before = previous.replace(slot);
                (slot, before, timing.window(slot, before))
            })
            .collect()
    }

    /// Slots of some epochs, of which few to all are opted in.
    fn opt_ins() -> impl Strategy<Value = Vec<bool>> {
        (1_u8..=10, 1_usize..200).prop_flat_map(|(tenths, slots)| {
            proptest::collection::vec((0_u8..10).prop_map(move |roll| roll < tenths), slots)
        })
    }

    proptest! {
        #[test]
        fn windows_never_overlap_nor_start_before_visibility(
            slot_ms in 2u64..20_000,
            slots_per_epoch in 4u64..40,
            opted_in in opt_ins(),
        ) {
            let timing = Timing::new(1_700_000_000_000, slot_ms, slots_per_epoch);
            let mut sealed_ms = 0;
            for (slot, before, window) in schedule(&timing, &opted_in) {
                let Some(window) = window else { continue };
                prop_assert!(window.start_ms < window.seal_ms && window.seal_ms <= window.slot_ms);
                prop_assert!(window.seal_ms <= window.constraint_cutoff_ms);
                prop_assert!(window.close_ms >= timing.visible(slot) + 2 * slot_ms);
                prop_assert!(window.start_ms >= window.close_ms + 2 * slot_ms);
                prop_assert!(window.first_refusal_ms <= window.start_ms);
                prop_assert!(window.seal_ms - window.start_ms <= 32 * slot_ms);
                prop_assert!(window.start_ms >= sealed_ms, "overlaps the window before");
                // A bid that lives at close lives when it can be settled.
                prop_assert!(window.close_ms + 4 * slot_ms >= window.start_ms);
                if before.is_some_and(|before| before.0 + 1 == slot.0) && slot.0 % slots_per_epoch > 5 {
                    prop_assert_eq!(window.start_ms, sealed_ms, "dense opt-in leaves a gap");
                }
                sealed_ms = window.seal_ms;
            }
        }

        /// A window is decided when its slot becomes visible: neither what comes behind the slot, nor what lay before the
        /// epochs visible then, bears on it; and opt-ins are read before that.
        #[test]
        fn windows_depend_on_nothing_that_can_change_later(
            slot_ms in 2u64..20_000,
            slots_per_epoch in 4u64..40,
            opted_in in opt_ins(),
            other in opt_ins(),
            delay in 1u64..4,
        ) {
            let timing = Timing::new(1_700_000_000_000, slot_ms, slots_per_epoch);
            let delay = NonZeroU64::new(delay).unwrap();
            for (slot, _, window) in schedule(&timing, &opted_in) {
                let (at, from) = (usize::try_from(slot.0).unwrap(), timing.bears_on(slot));
                let from = usize::try_from(from.0).unwrap();
                prop_assert!(timing.slot_start(timing.bears_on(slot)) <= timing.visible(slot));
                prop_assert!(timing.first_slot(Epoch(timing.epoch_of(Slot(from as u64)).0 + 2)) > slot);
                let mut changed = opted_in.clone();
                for (place, value) in changed.iter_mut().zip(other.iter().cycle()).enumerate().filter_map(
                    |(index, pair)| (index < from || index > at).then_some(pair),
                ) {
                    *place = *value;
                }
                let again = schedule(&timing, &changed);
                let again = again.iter().find(|(of, ..)| *of == slot).unwrap();
                prop_assert_eq!(again.2, window);
                if let Some(reference) = timing.reference_slot(slot, delay) {
                    prop_assert!(timing.slot_start(Slot(reference.0 + 1)) <= timing.visible(slot));
                }
            }
        }

        #[test]
        fn every_slot_of_an_epoch_has_one_reference(epoch in 0u64..1_000, slots in 1u64..40, at in 0u64..40, delay in 1u64..4) {
            let timing = Timing::new(0, 1_000, slots);
            let delay = NonZeroU64::new(delay).unwrap();
            let first = timing.first_slot(Epoch(epoch));
            let reference = timing.reference_slot(first, delay);
            prop_assert_eq!(timing.reference_slot(Slot(first.0 + at % slots), delay), reference);
            prop_assert_eq!(reference.is_some(), epoch > delay.get());
            if let Some(reference) = reference {
                prop_assert_eq!(timing.epoch_of(reference), Epoch(epoch - 1 - delay.get()));
                prop_assert_eq!(timing.epoch_of(Slot(reference.0 + 1)), Epoch(epoch - delay.get()));
            }
        }

        #[test]
        fn no_time_overflows(genesis: u64, slot_ms: u64, epoch: u64, slot: u64, previous: Option<u64>) {
            let timing = Timing::new(genesis, slot_ms, epoch);
            let _ = (timing.window(Slot(slot), previous.map(Slot)), timing.reference_slot(Slot(slot), DELAY));
            let _ = timing.bears_on(Slot(slot));
        }
    }
}

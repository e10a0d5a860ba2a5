//! Slots and epochs in milliseconds. Pure: whoever asks brings the time.

use std::{num::NonZeroU64, time::Duration};

/// Why no clock could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// A slot or an epoch of length zero.
    #[error("a slot and an epoch must be longer than zero")]
    Zero,
}

/// Converts between Unix time in milliseconds, slots and epochs.
///
/// Slots may be of any length in milliseconds. Arithmetic saturates: a slot too far away for a `u64` of
/// milliseconds starts at `u64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotClock {
    genesis_time_ms: u64,
    slot_ms: NonZeroU64,
    slots_per_epoch: NonZeroU64,
}

impl SlotClock {
    /// A clock whose slot 0 starts at `genesis_time_ms` (Unix time).
    ///
    /// # Errors
    /// [`ClockError::Zero`] if `slot_ms` or `slots_per_epoch` is zero.
    pub fn new(genesis_time_ms: u64, slot_ms: u64, slots_per_epoch: u64) -> Result<Self, ClockError> {
        Ok(Self {
            genesis_time_ms,
            slot_ms: NonZeroU64::new(slot_ms).ok_or(ClockError::Zero)?,
            slots_per_epoch: NonZeroU64::new(slots_per_epoch).ok_or(ClockError::Zero)?,
        })
    }

    /// When slot 0 starts, Unix time in milliseconds.
    #[must_use]
    pub fn genesis_time_ms(&self) -> u64 {
        self.genesis_time_ms
    }

    /// The length of a slot in milliseconds.
    #[must_use]
    pub fn slot_ms(&self) -> u64 {
        self.slot_ms.get()
    }

    /// The length of a slot.
    #[must_use]
    pub fn slot_duration(&self) -> Duration {
        Duration::from_millis(self.slot_ms.get())
    }

    /// Slots in an epoch.
    #[must_use]
    pub fn slots_per_epoch(&self) -> u64 {
        self.slots_per_epoch.get()
    }

    /// The slot that runs at `now_ms`; none before genesis.
    #[must_use]
    pub fn slot_at(&self, now_ms: u64) -> Option<u64> {
        now_ms.checked_sub(self.genesis_time_ms).map(|since| since / self.slot_ms)
    }

    /// When `slot` starts, `t(n)` in the design: Unix time in milliseconds.
    #[must_use]
    pub fn start_of(&self, slot: u64) -> u64 {
        self.genesis_time_ms.saturating_add(slot.saturating_mul(self.slot_ms.get()))
    }

    /// The first slot that starts at `now_ms` or later.
    #[must_use]
    pub fn next_slot(&self, now_ms: u64) -> u64 {
        match self.slot_at(now_ms) {
            None => 0,
            Some(slot) if self.start_of(slot) == now_ms => slot,
            Some(slot) => slot.saturating_add(1),
        }
    }

    /// `numerator / denominator` of a slot in milliseconds, rounded down; a zero denominator counts as one.
    #[must_use]
    pub fn fraction_ms(&self, numerator: u64, denominator: u64) -> u64 {
        let parts = u128::from(self.slot_ms.get()).saturating_mul(u128::from(numerator));
        let whole = parts.checked_div(u128::from(denominator)).unwrap_or(parts);
        u64::try_from(whole).unwrap_or(u64::MAX)
    }

    /// The moment a fraction of a slot before `slot` starts.
    #[must_use]
    pub fn before(&self, slot: u64, numerator: u64, denominator: u64) -> u64 {
        self.start_of(slot).saturating_sub(self.fraction_ms(numerator, denominator))
    }

    /// The moment a fraction of a slot after `slot` starts.
    #[must_use]
    pub fn after(&self, slot: u64, numerator: u64, denominator: u64) -> u64 {
        self.start_of(slot).saturating_add(self.fraction_ms(numerator, denominator))
    }

    /// How long until `at_ms`; zero if that has passed.
    #[must_use]
    pub fn until(now_ms: u64, at_ms: u64) -> Duration {
        Duration::from_millis(at_ms.saturating_sub(now_ms))
    }

    /// Milliseconds from the start of `slot` to `now_ms`, negative before it.
    #[must_use]
    pub fn offset_ms(&self, slot: u64, now_ms: u64) -> i64 {
        let offset = i128::from(now_ms).saturating_sub(i128::from(self.start_of(slot)));
        i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX })
    }

    /// The epoch `slot` lies in.
    #[must_use]
    pub fn epoch_of(&self, slot: u64) -> u64 {
        slot / self.slots_per_epoch
    }

    /// The first slot of `epoch`.
    #[must_use]
    pub fn first_slot(&self, epoch: u64) -> u64 {
        epoch.saturating_mul(self.slots_per_epoch.get())
    }

    /// The slots of `epoch`.
    #[must_use]
    pub fn slots_of(&self, epoch: u64) -> std::ops::Range<u64> {
        let first = self.first_slot(epoch);
        first..first.saturating_add(self.slots_per_epoch.get())
    }

    /// The `timestamp` an execution payload of `slot` carries, Unix seconds.
    ///
    /// It is `genesis_time + slot · slot_ms / 1000`, as the consensus specification has it. Payload timestamps
    /// must rise from block to block, so where slots are shorter than a second (devnets only) each slot counts
    /// as one second there.
    #[must_use]
    pub fn payload_timestamp(&self, slot: u64) -> u64 {
        if self.slot_ms.get() < 1000 {
            (self.genesis_time_ms / 1000).saturating_add(slot)
        } else {
            self.start_of(slot) / 1000
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(slot_ms: u64) -> SlotClock {
        SlotClock::new(1_700_000_000_000, slot_ms, 8).unwrap()
    }

    #[test]
    fn zero_lengths_are_refused() {
        assert_eq!(SlotClock::new(0, 0, 32), Err(ClockError::Zero));
        assert_eq!(SlotClock::new(0, 12_000, 0), Err(ClockError::Zero));
    }

    #[test]
    fn there_is_no_slot_before_genesis() {
        let clock = clock(12_000);
        assert_eq!(clock.slot_at(1_699_999_999_999), None);
        assert_eq!(clock.slot_at(1_700_000_000_000), Some(0));
        assert_eq!(clock.slot_at(1_700_000_011_999), Some(0));
        assert_eq!(clock.slot_at(1_700_000_012_000), Some(1));
        assert_eq!(clock.next_slot(0), 0);
        assert_eq!(clock.next_slot(1_700_000_012_000), 1);
        assert_eq!(clock.next_slot(1_700_000_012_001), 2);
    }

    #[test]
    fn cut_offs_are_fractions_of_the_slot() {
        let clock = clock(12_000);
        assert_eq!(clock.before(10, 1, 2), clock.start_of(10) - 6_000);
        assert_eq!(clock.before(10, 1, 3), clock.start_of(10) - 4_000);
        assert_eq!(clock.after(10, 1, 4), clock.start_of(10) + 3_000);
        assert_eq!(clock.fraction_ms(1, 0), 12_000);
        assert_eq!(clock.offset_ms(10, clock.start_of(10) - 5), -5);
    }

    #[test]
    fn epochs_cover_their_slots() {
        let clock = clock(2_000);
        assert_eq!(clock.epoch_of(7), 0);
        assert_eq!(clock.epoch_of(8), 1);
        assert_eq!(clock.slots_of(3), 24..32);
    }

    #[test]
    fn a_payload_of_a_mainnet_like_slot_has_the_time_of_its_slot() {
        assert_eq!(clock(12_000).payload_timestamp(5), 1_700_000_060);
        assert_eq!(clock(1_500).payload_timestamp(3), 1_700_000_004);
        assert_eq!(clock(250).payload_timestamp(3), 1_700_000_003);
    }

    proptest! {
        #[test]
        fn a_slot_runs_from_its_start_to_the_next(slot_ms in 1u64..100_000, slot in 0u64..1 << 32) {
            let clock = clock(slot_ms);
            let start = clock.start_of(slot);
            prop_assert_eq!(clock.slot_at(start), Some(slot));
            prop_assert_eq!(clock.slot_at(start + slot_ms - 1), Some(slot));
            prop_assert_eq!(clock.slot_at(start + slot_ms), Some(slot + 1));
            prop_assert!(clock.payload_timestamp(slot + 1) > clock.payload_timestamp(slot));
        }

        #[test]
        fn nothing_panics_at_the_edges(genesis: u64, slot_ms in 1u64.., per_epoch in 1u64.., slot: u64, now: u64, n: u64, d: u64) {
            let clock = SlotClock::new(genesis, slot_ms, per_epoch).unwrap();
            prop_assert!(clock.slot_at(now).is_none() == (now < genesis));
            prop_assert!(clock.next_slot(now) >= clock.slot_at(now).unwrap_or(0));
            prop_assert!(clock.before(slot, n, d) <= clock.after(slot, n, d));
            prop_assert!(clock.slots_of(slot).start <= clock.slots_of(slot).end);
            prop_assert!(clock.offset_ms(slot, now) >= 0 || now < clock.start_of(slot));
            let _ = clock.payload_timestamp(slot);
        }
    }
}

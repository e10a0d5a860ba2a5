//! Who proposes: a deterministic draw from the block that decides an epoch's duties. Pure.

use alloy_primitives::B256;
use sha2::{Digest, Sha256};

/// The validator that proposes `slot`, out of `validators`, where `decided_by` is the root of the block that
/// decides the duties of the slot's epoch. Every validator is drawn with the same chance. 0 without validators.
#[must_use]
pub fn proposer_index(decided_by: B256, slot: u64, validators: u64) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"proposer");
    hash.update(decided_by);
    hash.update(slot.to_le_bytes());
    let draw = hash.finalize();
    let draw = draw.first_chunk::<8>().copied().unwrap_or_default();
    u64::from_le_bytes(draw).checked_rem(validators).unwrap_or(0)
}

/// The slot whose block (or the last before it) decides the duties of `epoch`: the one before the epoch that
/// precedes it (EIP-7917). Genesis where that underflows.
#[must_use]
pub fn decisive_slot(epoch: u64, slots_per_epoch: u64) -> u64 {
    epoch.saturating_sub(1).saturating_mul(slots_per_epoch).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duties_are_decided_before_the_preceding_epoch_begins() {
        assert_eq!(decisive_slot(0, 8), 0);
        assert_eq!(decisive_slot(1, 8), 0);
        assert_eq!(decisive_slot(2, 8), 7);
        assert_eq!(decisive_slot(3, 8), 15);
    }

    #[test]
    fn the_draw_follows_the_block_that_decides_and_reaches_everybody() {
        let draw = |root: u8| {
            (0..200).map(|slot| proposer_index(B256::repeat_byte(root), slot, 8)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        for validator in 0..8 {
            assert!(draw(1).contains(&validator), "{validator}");
        }
        assert_eq!(proposer_index(B256::ZERO, 1, 0), 0);
    }
}

//! Which builders are taken, and whose blocks come first. Pure.
//!
//! A builder is demoted by a block that failed its simulation. A block that beacon nodes refuse demotes nobody: its
//! proposer may be at fault, who signs the rest of it.

use crate::events::Demoted;
use earnest_builder_types::BlsPublicKey;
use earnest_http::ApiError;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Builders that are remembered as demoted; the earliest are forgotten first.
const MAX_DEMOTED: usize = 10_000;

/// Failures of one slot that are remembered, of builders that the operator did not name. Whoever makes keys by the
/// hundred is not held by the demotion of one; those that are named always are.
const MAX_DEMOTED_OF_SLOT: usize = 64;

/// What an operator says of builders.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildersConfig {
    /// Builders whose blocks are taken. Default empty: any builder's.
    pub allowed: Vec<BlsPublicKey>,
    /// Builders whose blocks are simulated before all others, while none of theirs failed. Default none.
    pub first: Vec<BlsPublicKey>,
    /// Slots for which a builder stays demoted after a block of its failed. Default 7,200, a day.
    pub demotion_slots: u64,
}

impl Default for BuildersConfig {
    fn default() -> Self {
        Self { allowed: Vec::new(), first: Vec::new(), demotion_slots: 7_200 }
    }
}

/// In what order blocks are simulated: the greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rank {
    /// A block of its failed lately: taken only if it can be simulated, after all others.
    Demoted,
    /// Any other builder.
    Usual,
    /// Named by the operator.
    First,
}

/// A builder whose block is not looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Turned {
    #[error("this relay takes no blocks of builder {0}: ask its operator")]
    NotAllowed(BlsPublicKey),
    #[error(
        "a block of builder {0} failed, and this relay cannot simulate another: taken again from slot {1} on"
    )]
    Demoted(BlsPublicKey, u64),
}

impl From<Turned> for ApiError {
    fn from(turned: Turned) -> Self {
        let code = match turned {
            Turned::NotAllowed(_) => "builder_not_allowed",
            Turned::Demoted(..) => "builder_demoted",
        };
        Self::named(StatusCode::FORBIDDEN, code, turned.to_string())
    }
}

/// The builders that the operator named.
#[derive(Debug, Clone)]
pub(crate) struct Builders {
    allowed: HashSet<BlsPublicKey>,
    first: HashSet<BlsPublicKey>,
    demotion_slots: u64,
}

impl From<&BuildersConfig> for Builders {
    fn from(config: &BuildersConfig) -> Self {
        Self {
            allowed: config.allowed.iter().copied().collect(),
            first: config.first.iter().copied().collect(),
            demotion_slots: config.demotion_slots,
        }
    }
}

impl Builders {
    /// Whether a builder's failure in `slot` is to be remembered: it is newer than what is known of it, and the slot has
    /// few failures yet or the operator named the builder.
    pub(crate) fn demotes(&self, builder: &BlsPublicKey, slot: u64, demotions: &Demotions) -> bool {
        let newer = demotions.last(builder).is_none_or(|last| last < slot);
        let named = self.allowed.contains(builder) || self.first.contains(builder);
        newer && (named || demotions.of_slot(slot) < MAX_DEMOTED_OF_SLOT)
    }

    /// The rank of a builder's block in `slot`; `simulates` says whether blocks are simulated at all.
    ///
    /// # Errors
    /// [`Turned`] if its blocks are not taken.
    pub(crate) fn rank(
        &self,
        builder: &BlsPublicKey,
        slot: u64,
        demotions: &Demotions,
        simulates: bool,
    ) -> Result<Rank, Turned> {
        if !self.allowed.is_empty() && !self.allowed.contains(builder) {
            return Err(Turned::NotAllowed(*builder));
        }
        let until = demotions.last(builder).map(|failed| failed.saturating_add(self.demotion_slots));
        match until {
            Some(until) if slot <= until && !simulates => {
                Err(Turned::Demoted(*builder, until.saturating_add(1)))
            }
            Some(until) if slot <= until => Ok(Rank::Demoted),
            _ if self.first.contains(builder) => Ok(Rank::First),
            _ => Ok(Rank::Usual),
        }
    }
}

/// The last failure of each builder, folded from the journal.
#[derive(Debug, Default)]
pub(crate) struct Demotions {
    by_builder: HashMap<BlsPublicKey, Demoted>,
}

impl Demotions {
    /// Takes a failure in.
    pub(crate) fn apply(&mut self, demoted: Demoted) {
        let newer = self.last(&demoted.builder).is_none_or(|slot| slot <= demoted.slot);
        if newer {
            self.by_builder.insert(demoted.builder, demoted);
        }
        if self.by_builder.len() > MAX_DEMOTED {
            let earliest = self.by_builder.values().min_by_key(|demoted| demoted.slot);
            if let Some(builder) = earliest.map(|demoted| demoted.builder) {
                self.by_builder.remove(&builder);
            }
        }
    }

    /// The slot of a builder's last failure.
    pub(crate) fn last(&self, builder: &BlsPublicKey) -> Option<u64> {
        self.by_builder.get(builder).map(|demoted| demoted.slot)
    }

    /// Builders whose last failure was in `slot`.
    fn of_slot(&self, slot: u64) -> usize {
        self.by_builder.values().filter(|demoted| demoted.slot == slot).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    fn key(byte: u8) -> BlsPublicKey {
        BlsPublicKey::repeat_byte(byte)
    }

    fn demoted(builder: u8, slot: u64) -> Demoted {
        Demoted { builder: key(builder), slot, block_hash: B256::ZERO, reason: String::new() }
    }

    #[test]
    fn ranks_by_table() {
        let config = BuildersConfig { allowed: vec![], first: vec![key(1), key(2)], demotion_slots: 10 };
        let open = Builders::from(&config);
        let closed = Builders::from(&BuildersConfig { allowed: vec![key(1), key(4)], ..config });
        let mut demotions = Demotions::default();
        demotions.apply(demoted(2, 100));
        demotions.apply(demoted(4, 100));
        demotions.apply(demoted(4, 50));
        let turned = |builder| Err(Turned::Demoted(key(builder), 111));
        let cases = [
            (&open, 1, 105, false, Ok(Rank::First)),
            (&open, 3, 105, false, Ok(Rank::Usual)),
            (&open, 2, 105, true, Ok(Rank::Demoted)),
            (&open, 2, 110, true, Ok(Rank::Demoted)),
            (&open, 2, 111, true, Ok(Rank::First)),
            (&open, 2, 110, false, turned(2)),
            (&open, 4, 110, false, turned(4)),
            (&open, 4, 111, false, Ok(Rank::Usual)),
            (&closed, 1, 105, true, Ok(Rank::First)),
            (&closed, 3, 105, true, Err(Turned::NotAllowed(key(3)))),
            (&closed, 4, 105, true, Ok(Rank::Demoted)),
        ];
        for (index, (builders, builder, slot, simulates, expected)) in cases.into_iter().enumerate() {
            let rank = builders.rank(&key(builder), slot, &demotions, simulates);
            assert_eq!(rank, expected, "case {index}");
        }
        assert!(Rank::First > Rank::Usual && Rank::Usual > Rank::Demoted);
    }

    #[test]
    fn a_failure_is_remembered_if_it_is_newer_and_its_slot_has_few() {
        let config = BuildersConfig { first: vec![key(250)], allowed: vec![], demotion_slots: 10 };
        let builders = Builders::from(&config);
        let mut demotions = Demotions::default();
        demotions.apply(demoted(1, 100));
        for (slot, expected) in [(99, false), (100, false), (101, true)] {
            assert_eq!(builders.demotes(&key(1), slot, &demotions), expected, "slot {slot}");
        }
        for builder in 2..200 {
            if builders.demotes(&key(builder), 100, &demotions) {
                demotions.apply(demoted(builder, 100));
            }
        }
        assert_eq!(demotions.of_slot(100), MAX_DEMOTED_OF_SLOT);
        assert!(builders.demotes(&key(250), 100, &demotions), "named by the operator");
        assert!(builders.demotes(&key(199), 101, &demotions), "another slot");
    }

    #[test]
    fn the_earliest_failures_are_forgotten_first() {
        let mut demotions = Demotions::default();
        for number in 0..=MAX_DEMOTED as u64 {
            let mut builder = BlsPublicKey::ZERO;
            builder[..8].copy_from_slice(&number.to_be_bytes());
            demotions.apply(Demoted { builder, ..demoted(0, number) });
        }
        assert_eq!(demotions.by_builder.len(), MAX_DEMOTED);
        assert_eq!(demotions.last(&BlsPublicKey::ZERO), None);
    }
}

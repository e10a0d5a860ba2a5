//! What is for sale.

use super::{MAX_ROLLUPS, MAX_WEI};
use crate::{RollupId, objects::RollupRegistration};
use alloy_primitives::Address;

/// A rollup's right to be ordered in the slot's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    /// The rollup.
    pub rollup_id: RollupId,
    /// Least price, wei; at most [`MAX_WEI`].
    pub reserve_wei: u128,
}

/// The rollups that sell one slot at one relay, by ascending id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sale {
    lots: Vec<Lot>,
}

impl Sale {
    /// Of these registrations, as they are in force at the slot, the active ones that name `relay` and whose reserve
    /// somebody could pay. If they are more than [`MAX_ROLLUPS`], the lowest ids: ids are granted, so nobody takes a low
    /// one to push out another.
    #[must_use]
    pub fn of(registrations: &[RollupRegistration], relay: Address) -> Self {
        let sells = |registration: &RollupRegistration| {
            let reserve_wei =
                u128::try_from(registration.reserve_wei.0).ok().filter(|wei| *wei <= MAX_WEI)?;
            let sells = registration.active && registration.relay == relay;
            sells.then_some(Lot { rollup_id: registration.rollup_id, reserve_wei })
        };
        let mut lots: Vec<Lot> = registrations.iter().filter_map(sells).collect();
        lots.sort_by_key(|lot| lot.rollup_id);
        lots.dedup_by_key(|lot| lot.rollup_id);
        lots.truncate(MAX_ROLLUPS);
        Self { lots }
    }

    /// What is sold.
    #[must_use]
    pub fn lots(&self) -> &[Lot] {
        &self.lots
    }

    /// Whether nothing is sold.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }

    /// The lot of `rollup`.
    #[must_use]
    pub fn lot(&self, rollup: RollupId) -> Option<&Lot> {
        self.position(rollup).and_then(|position| self.lots.get(position))
    }

    /// The reserves of `rollups` together, wei; none if one is not for sale.
    #[must_use]
    pub fn reserve_of(&self, rollups: &[RollupId]) -> Option<u128> {
        rollups.iter().try_fold(0_u128, |sum, id| Some(sum.saturating_add(self.lot(*id)?.reserve_wei)))
    }

    /// The rollups as a set, bit i being lot i; none if one is not for sale.
    pub(super) fn mask(&self, rollups: &[RollupId]) -> Option<usize> {
        rollups.iter().try_fold(0, |mask, id| Some(mask | 1 << self.position(*id)?))
    }

    fn position(&self, rollup: RollupId) -> Option<usize> {
        self.lots.binary_search_by_key(&rollup, |lot| lot.rollup_id).ok()
    }
}

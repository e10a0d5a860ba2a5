//! The relay's durable state, folded from its journal. Pure.

use crate::{
    builders::Demotions,
    events::{ConstraintsTaken, DelegationTaken, Dropped, Event, Published, Unblinded},
    held::Required,
    registrations::Registrations,
};
use alloy_primitives::B256;
use earnest_builder_types::BlsPublicKey;
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// Slots that stay in memory behind the newest event's.
const KEPT_SLOTS: u64 = 1024;
/// Delivered payloads that the data API can show.
const KEPT_DELIVERED: usize = 10_000;

/// Slots whose signed blocks stay in memory until they are published.
const KEPT_OWED: usize = 4;

/// Constraints, and what a block must hold to keep them.
#[derive(Debug)]
pub(crate) struct HeldConstraints {
    pub(crate) taken: ConstraintsTaken,
    required: OnceLock<Vec<Required>>,
    /// What keeps them out of every block: then they bind nobody.
    dropped: OnceLock<String>,
}

impl HeldConstraints {
    fn new(taken: ConstraintsTaken) -> Self {
        let (required, dropped) = Default::default();
        Self { taken, required, dropped }
    }

    /// Why they bind nobody, if they do not.
    pub(crate) fn dropped(&self) -> Option<&str> {
        self.dropped.get().map(String::as_str)
    }

    /// What a block must hold. Senders are recovered once.
    pub(crate) fn required(&self, chain_id: u64) -> &[Required] {
        self.required.get_or_init(|| {
            let constraints = self.taken.constraints.message.constraints.iter();
            let inclusions = constraints.filter_map(|constraint| constraint.as_inclusion().ok());
            inclusions.filter_map(|inclusion| Required::new(inclusion.signed_tx, chain_id).ok()).collect()
        })
    }
}

/// Everything that outlives a crash.
#[derive(Debug, Default)]
pub(crate) struct Views {
    registrations: Registrations,
    delegations: BTreeMap<u64, Vec<Arc<DelegationTaken>>>,
    constraints: BTreeMap<u64, Vec<Arc<HeldConstraints>>>,
    unblinded: BTreeMap<u64, Vec<Arc<Unblinded>>>,
    /// Those that no beacon node took yet, with the block that the proposer signed.
    owed: BTreeMap<u64, Vec<Arc<Unblinded>>>,
    published: BTreeMap<u64, Vec<Published>>,
    demotions: Demotions,
}

impl Views {
    /// Folds one event in. Folding an event twice changes nothing.
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Registrations(registrations) => {
                for registration in &registrations {
                    self.registrations.insert(registration);
                }
            }
            Event::Delegation(taken) => {
                let held = self.delegations.entry(taken.delegation.message.slot.0).or_default();
                let proposer = taken.delegation.message.proposer;
                if held.iter().all(|other| other.delegation.message.proposer != proposer) {
                    held.push(Arc::new(taken));
                }
                keep(&mut self.delegations);
            }
            Event::Constraints(taken) => {
                let held = self.constraints.entry(taken.constraints.message.slot.0).or_default();
                if held.iter().all(|other| other.taken.constraints.message != taken.constraints.message) {
                    held.push(Arc::new(HeldConstraints::new(taken)));
                }
                keep(&mut self.constraints);
            }
            Event::Dropped(Dropped { slot, messages, .. }) => {
                let held = self.constraints.get(&slot).into_iter().flatten();
                for constraints in held {
                    let Ok(hash) = constraints.taken.constraints.message.hash() else { continue };
                    if let Some((_, cause)) = messages.iter().find(|(dropped, _)| *dropped == hash) {
                        // What was dropped once stays so; the first cause counts.
                        let _ = constraints.dropped.set(cause.clone());
                    }
                }
            }
            Event::Demoted(demoted) => self.demotions.apply(demoted),
            Event::Unblinded(mut unblinded) => {
                self.owe(&unblinded);
                unblinded.block = None;
                let held = self.unblinded.entry(unblinded.trace.slot).or_default();
                if held.iter().all(|other| other.block_root != unblinded.block_root) {
                    held.push(Arc::new(unblinded));
                }
                while self.unblinded.len() > KEPT_DELIVERED {
                    self.unblinded.pop_first();
                }
            }
            Event::Published(published) => {
                if let Some(owed) = self.owed.get_mut(&published.slot) {
                    owed.retain(|one| one.block_root != published.block_root);
                }
                let held = self.published.entry(published.slot).or_default();
                match held.iter_mut().find(|other| other.block_root == published.block_root) {
                    Some(other) => other.imported |= published.imported,
                    None => held.push(published),
                }
                while self.published.len() > KEPT_DELIVERED {
                    self.published.pop_first();
                }
            }
        }
    }

    /// Every registration.
    pub(crate) const fn registrations(&self) -> &Registrations {
        &self.registrations
    }

    /// Delegations for a slot, in the order they came.
    pub(crate) fn delegations(&self, slot: u64) -> Vec<Arc<DelegationTaken>> {
        self.delegations.get(&slot).cloned().unwrap_or_default()
    }

    /// The delegation of one proposer for a slot.
    pub(crate) fn delegation(&self, slot: u64, proposer: &BlsPublicKey) -> Option<Arc<DelegationTaken>> {
        let mut held = self.delegations.get(&slot)?.iter();
        held.find(|taken| taken.delegation.message.proposer == *proposer).cloned()
    }

    /// Builders whose blocks failed.
    pub(crate) const fn demotions(&self) -> &Demotions {
        &self.demotions
    }

    /// Constraints of a slot, in the order they came, those that were dropped among them.
    pub(crate) fn constraints(&self, slot: u64) -> Vec<Arc<HeldConstraints>> {
        self.constraints.get(&slot).cloned().unwrap_or_default()
    }

    /// Constraints of `slot` and later, by slot and then in the order they came.
    pub(crate) fn constraints_from(&self, slot: u64) -> Vec<Arc<HeldConstraints>> {
        self.constraints.range(slot..).flat_map(|(_, held)| held).cloned().collect()
    }

    /// What every block of a slot must hold that `proposer` is to sign. Constraints for another validator, which may have
    /// proposed the slot before a reorg, do not bind it.
    pub(crate) fn required(&self, slot: u64, proposer: &BlsPublicKey, chain_id: u64) -> Vec<Required> {
        let held = self.constraints.get(&slot).into_iter().flatten();
        held.filter(|held| held.dropped().is_none() && held.taken.constraints.message.proposer == *proposer)
            .flat_map(|held| held.required(chain_id))
            .cloned()
            .collect()
    }

    fn owe(&mut self, unblinded: &Unblinded) {
        let (slot, root) = (unblinded.trace.slot, unblinded.block_root);
        if unblinded.block.is_none() || self.is_published(slot, root) {
            return;
        }
        let owed = self.owed.entry(slot).or_default();
        if owed.iter().all(|other| other.block_root != root) {
            owed.push(Arc::new(unblinded.clone()));
        }
        while self.owed.len() > KEPT_OWED {
            self.owed.pop_first();
        }
    }

    /// Blocks of the last slots that were unblinded and that no beacon node took, with what the proposer signed.
    pub(crate) fn owed(&self) -> Vec<Arc<Unblinded>> {
        self.owed.values().flatten().cloned().collect()
    }

    /// Whether this block is recorded as its slot's.
    pub(crate) fn is_unblinded(&self, slot: u64, block_root: B256) -> bool {
        self.unblinded.get(&slot).is_some_and(|held| held.iter().any(|one| one.block_root == block_root))
    }

    /// Whether a beacon node took this block before.
    pub(crate) fn is_published(&self, slot: u64, block_root: B256) -> bool {
        self.published.get(&slot).is_some_and(|held| held.iter().any(|one| one.block_root == block_root))
    }

    /// Whether a beacon node imported this block.
    pub(crate) fn is_imported(&self, slot: u64, block_root: B256) -> bool {
        let held = self.published.get(&slot).into_iter().flatten();
        held.into_iter().any(|one| one.block_root == block_root && one.imported)
    }

    /// Payloads delivered and spread, newest slot first, from `from_slot` down.
    pub(crate) fn delivered(&self, from_slot: u64) -> impl Iterator<Item = &Arc<Unblinded>> {
        self.unblinded
            .range(..=from_slot)
            .rev()
            .flat_map(|(_, held)| held)
            .filter(|unblinded| self.is_published(unblinded.trace.slot, unblinded.block_root))
    }
}

fn keep<T>(by_slot: &mut BTreeMap<u64, T>) {
    if let Some((&newest, _)) = by_slot.last_key_value() {
        let first = newest.saturating_sub(KEPT_SLOTS);
        while by_slot.first_key_value().is_some_and(|(slot, _)| *slot < first) {
            by_slot.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::BlindedSsz;
    use crate::testing::{FORK_VERSION, bls, tx};
    use earnest_builder_types::{BidTrace, ForkName};
    use earnest_protocol::{
        Slot,
        objects::{Constraint, ConstraintsMessage, SignedConstraints},
        signing::Network,
    };

    #[test]
    fn a_block_is_owed_until_a_node_took_it() {
        let mut views = Views::default();
        let root = |slot: u64| B256::from(alloy_primitives::U256::from(slot));
        let unblinded = |slot: u64, with_block: bool| {
            let block = BlindedSsz { fork: ForkName::Fulu, ssz: vec![1].into() };
            let trace = BidTrace { slot, ..BidTrace::default() };
            let block = with_block.then_some(block);
            Event::Unblinded(Unblinded {
                trace,
                block_root: root(slot),
                block_number: 1,
                transactions: 0,
                block,
            })
        };
        let owed = |views: &Views| views.owed().iter().map(|one| one.trace.slot).collect::<Vec<_>>();
        for (slot, with_block) in [(1, true), (2, true), (2, true), (3, false), (4, true)] {
            views.apply(unblinded(slot, with_block));
        }
        assert_eq!(owed(&views), [1, 2, 4], "without the signed block it cannot be published");
        views.apply(Event::Published(Published { slot: 2, block_root: root(2), imported: false }));
        views.apply(Event::Published(Published { slot: 4, block_root: root(5), imported: false }));
        views.apply(unblinded(2, true));
        assert_eq!(owed(&views), [1, 4]);
        assert_eq!(views.delivered(u64::MAX).map(|one| one.block.clone()).collect::<Vec<_>>(), [None]);
        (5..100).for_each(|slot| views.apply(unblinded(slot, true)));
        assert_eq!(owed(&views), [96, 97, 98, 99], "only what may yet be published is held");
    }

    #[test]
    fn constraints_bind_the_proposer_that_they_name() {
        let mut views = Views::default();
        for (proposer, sender) in [(1, 11), (2, 12), (1, 13)] {
            let message = ConstraintsMessage {
                proposer: bls(proposer).public_key(),
                delegate: bls(9).public_key(),
                slot: Slot(10),
                constraints: vec![Constraint::inclusion(Slot(10), tx(sender, 0, 1))],
                receivers: vec![],
            };
            let network = Network { genesis_fork_version: FORK_VERSION, chain_id: 1337 };
            let constraints = SignedConstraints::sign(message, &bls(9), &network).unwrap();
            views.apply(Event::Constraints(ConstraintsTaken { received_at_ms: 0, constraints }));
        }
        let required = |proposer: u8, slot| views.required(slot, &bls(proposer).public_key(), 1337);
        let wanted = |senders: &[u8]| -> Vec<Required> {
            senders.iter().map(|sender| Required::new(tx(*sender, 0, 1), 1337).unwrap()).collect()
        };
        assert_eq!(required(1, 10), wanted(&[11, 13]));
        assert_eq!(required(2, 10), wanted(&[12]));
        assert_eq!(required(3, 10), []);
        assert_eq!(required(1, 11), []);
    }
}

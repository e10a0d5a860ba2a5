//! The relay's durable state, folded from its journal. Pure.

use crate::{
    builders::Demotions,
    events::{ConstraintsTaken, DelegationTaken, Event, Judged, Published, Unblinded, Undone},
    held::Required,
    market::MarketView,
    registrations::Registrations,
};
use alloy_primitives::{B256, Bytes};
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::objects::{Object, SignedConstraintReceipt};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
};

/// Slots that stay in memory behind the newest event's.
const KEPT_SLOTS: u64 = 1024;
/// Parents on which the constraints of one slot are known to be judged.
const KEPT_JUDGEMENTS: usize = 16;
/// Delivered payloads that the data API can show.
const KEPT_DELIVERED: usize = 10_000;

/// Slots whose signed blocks stay in memory until they are published.
const KEPT_OWED: usize = 4;

/// What is said of constraints that their own sender kept out of the block.
const UNDONE: &str =
    "another transaction of its sender and nonce, which does something else, took its place in the block";

/// Constraints, and what a block must hold to keep them.
#[derive(Debug)]
pub(crate) struct HeldConstraints {
    pub(crate) taken: ConstraintsTaken,
    /// What receipts and judgements name them by; zero for a message with a bad point, which is never taken.
    pub(crate) hash: B256,
    required: OnceLock<Vec<Required>>,
    /// The receipt that says held, and the one that says dropped, once they were signed.
    pub(crate) receipts: [OnceLock<SignedConstraintReceipt>; 2],
}

impl HeldConstraints {
    fn new(taken: ConstraintsTaken) -> Self {
        let hash = taken.constraints.message.hash().unwrap_or_default();
        Self { taken, hash, required: OnceLock::new(), receipts: Default::default() }
    }

    /// What a block must hold. Senders are recovered once.
    pub(crate) fn required(&self, chain_id: u64) -> &[Required] {
        self.required.get_or_init(|| {
            let constraints = self.taken.constraints.message.constraints.iter();
            let inclusions = constraints.filter_map(|constraint| constraint.as_inclusion().ok());
            let closed = !self.taken.constraints.message.receivers.is_empty();
            let required =
                inclusions.filter_map(|inclusion| Required::new(inclusion.signed_tx, chain_id).ok());
            required.map(|required| Required { closed, ..required }).collect()
        })
    }
}

/// Everything that outlives a crash.
#[derive(Debug, Default)]
pub(crate) struct Views {
    registrations: Registrations,
    delegations: BTreeMap<u64, Vec<Arc<DelegationTaken>>>,
    constraints: BTreeMap<u64, Vec<Arc<HeldConstraints>>>,
    judgements: BTreeMap<u64, Vec<Judged>>,
    /// Hashes of messages that their own senders kept out of a block, by slot.
    undone: BTreeMap<u64, BTreeSet<B256>>,
    unblinded: BTreeMap<u64, Vec<Arc<Unblinded>>>,
    /// Those that no beacon node took yet, with the block that the proposer signed.
    owed: BTreeMap<u64, Vec<Arc<Unblinded>>>,
    published: BTreeMap<u64, Vec<Published>>,
    demotions: Demotions,
    market: MarketView,
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
                    let message = &taken.delegation.message;
                    if let Ok(allocation) = message.allocation() {
                        self.market.delegate(message.slot, taken.received_at_ms, allocation.abi_hash());
                    }
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
            Event::Judged(judged) => {
                let judgements = self.judgements.entry(judged.slot).or_default();
                judgements.retain(|before| before.parent_hash != judged.parent_hash);
                judgements.push(judged);
                if judgements.len() > KEPT_JUDGEMENTS {
                    judgements.remove(0);
                }
                keep(&mut self.judgements);
            }
            Event::Undone(Undone { slot, messages, .. }) => {
                self.undone.entry(slot).or_default().extend(messages);
                keep(&mut self.undone);
            }
            Event::Demoted(demoted) => self.demotions.apply(demoted),
            Event::Bid(taken) => self.market.take(taken),
            Event::AuctionClosed(closed) => self.market.close(closed),
            Event::AuctionDecided(decided) => self.market.decide(decided),
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

    /// Bids and auctions.
    pub(crate) const fn market(&self) -> &MarketView {
        &self.market
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

    /// How a slot's constraints were judged last.
    pub(crate) fn last_judgement(&self, slot: u64) -> Option<&Judged> {
        self.judgements.get(&slot)?.last()
    }

    /// Why constraints bind nobody, by the judgement on the parent that was looked at last, or because their own sender kept
    /// them out of a block, which no parent changes; none if they bind.
    pub(crate) fn dropped(&self, held: &HeldConstraints) -> Option<String> {
        let slot = held.taken.constraints.message.slot.0;
        if self.undone.get(&slot).is_some_and(|undone| undone.contains(&held.hash)) {
            return Some(UNDONE.to_owned());
        }
        cause(self.last_judgement(slot)?, held)
    }

    /// Constraints of a slot that no block is known to have undone, for `proposer` if one is named.
    pub(crate) fn not_undone(&self, slot: u64, proposer: Option<&BlsPublicKey>) -> Vec<Arc<HeldConstraints>> {
        let undone = self.undone.get(&slot);
        let mut held = self.constraints(slot);
        held.retain(|held| {
            proposer.is_none_or(|proposer| held.taken.constraints.message.proposer == *proposer)
                && undone.is_none_or(|undone| !undone.contains(&held.hash))
        });
        held
    }

    /// What every block of a slot upon `parent` must hold that `proposer` is to sign, each transaction once. Constraints for
    /// another validator, which may have proposed the slot before a reorg, do not bind it.
    pub(crate) fn required(
        &self,
        slot: u64,
        proposer: &BlsPublicKey,
        parent: &B256,
        chain_id: u64,
    ) -> Vec<Required> {
        let judgements = self.judgements.get(&slot).into_iter().flatten();
        let judgement = judgements.into_iter().find(|judged| judged.parent_hash == *parent);
        let held = self.constraints.get(&slot).into_iter().flatten();
        let bind = held.filter(|held| {
            held.taken.constraints.message.proposer == *proposer
                && judgement.is_none_or(|judged| cause(judged, held).is_none())
        });
        let mut all: Vec<Required> = Vec::new();
        let mut places: HashMap<Bytes, usize> = HashMap::new();
        for required in bind.flat_map(|held| held.required(chain_id)) {
            let place = *places.entry(required.raw.clone()).or_insert(all.len());
            match all.get_mut(place) {
                // What one message shows to all is no secret of another's.
                Some(same) => same.closed &= required.closed,
                None => all.push(required.clone()),
            }
        }
        all
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

fn cause(judged: &Judged, held: &HeldConstraints) -> Option<String> {
    judged.dropped.iter().find(|(hash, _)| *hash == held.hash).map(|(_, cause)| cause.clone())
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
        let required =
            |proposer: u8, slot| views.required(slot, &bls(proposer).public_key(), &B256::ZERO, 1337);
        let wanted = |senders: &[u8]| -> Vec<Required> {
            senders.iter().map(|sender| Required::new(tx(*sender, 0, 1), 1337).unwrap()).collect()
        };
        assert_eq!(required(1, 10), wanted(&[11, 13]));
        assert_eq!(required(2, 10), wanted(&[12]));
        assert_eq!(required(3, 10), []);
        assert_eq!(required(1, 11), []);
    }

    fn taken(delegate: u8, transactions: &[Bytes], receivers: &[u8]) -> Event {
        let message = ConstraintsMessage {
            proposer: bls(1).public_key(),
            delegate: bls(delegate).public_key(),
            slot: Slot(10),
            constraints: transactions.iter().map(|tx| Constraint::inclusion(Slot(10), tx.clone())).collect(),
            receivers: receivers.iter().map(|receiver| bls(*receiver).public_key()).collect(),
        };
        let network = Network { genesis_fork_version: FORK_VERSION, chain_id: 1337 };
        let constraints = SignedConstraints::sign(message, &bls(delegate), &network).unwrap();
        Event::Constraints(ConstraintsTaken { received_at_ms: 0, constraints })
    }

    #[test]
    fn constraints_are_dropped_upon_the_parent_that_they_were_judged_on() {
        let mut views = Views::default();
        views.apply(taken(9, &[tx(11, 0, 1)], &[]));
        views.apply(taken(9, &[tx(12, 0, 1)], &[]));
        let [first, second] = views.constraints(10).try_into().unwrap();
        let [here, there] = [1, 2].map(B256::repeat_byte);
        let required =
            |views: &Views, parent: &B256| views.required(10, &bls(1).public_key(), parent, 1337).len();
        assert_eq!((required(&views, &here), required(&views, &there)), (2, 2));
        let dropped = vec![(first.hash, "its nonce is used".to_owned())];
        views.apply(Event::Judged(Judged { slot: 10, parent_hash: here, dropped }));
        assert_eq!((required(&views, &here), required(&views, &there)), (1, 2));
        assert_eq!(views.dropped(&first).as_deref(), Some("its nonce is used"));
        assert_eq!(views.dropped(&second), None);
        views.apply(Event::Judged(Judged { slot: 10, parent_hash: there, dropped: vec![] }));
        assert_eq!((required(&views, &here), required(&views, &there)), (1, 2));
        assert_eq!(views.dropped(&first), None, "by the parent that was looked at last");
    }

    #[test]
    fn a_transaction_is_required_once_and_open_if_one_message_shows_it() {
        let mut views = Views::default();
        views.apply(taken(9, &[tx(11, 0, 1), tx(12, 0, 1)], &[5]));
        views.apply(taken(8, &[tx(12, 0, 1), tx(13, 0, 1)], &[]));
        let required = views.required(10, &bls(1).public_key(), &B256::ZERO, 1337);
        let expected = [(tx(11, 0, 1), true), (tx(12, 0, 1), false), (tx(13, 0, 1), false)];
        let found: Vec<(Bytes, bool)> =
            required.into_iter().map(|required| (required.raw, required.closed)).collect();
        assert_eq!(found, expected);
    }
}

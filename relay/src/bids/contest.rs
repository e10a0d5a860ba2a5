//! What competes for one slot. Pure.

use super::candidate::{BidKey, Candidate};
use crate::held::Required;
use alloy_primitives::{B256, U256};
use earnest_builder_types::BlsPublicKey;
use earnest_protocol::objects::InclusionProof;
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// What is held for one slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bids that stand.
    pub(crate) bids: usize,
    /// Blocks in memory that are or were on offer.
    pub(crate) offered: usize,
    /// Blocks that are or were on offer and must stay, in memory or in files.
    pub(crate) given: usize,
    /// Bytes of blocks, of those that stand and of those in memory that are or were on offer.
    pub(crate) bytes: usize,
}

/// Whose bid it is, and of which kind. A builder has one of each at most: the firm one is its floor, which no cancellation
/// takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    builder: BlsPublicKey,
    cancellable: bool,
}

/// One builder's bid, and whether the block holds what the slot requires.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) candidate: Arc<Candidate>,
    /// Whether the builder's next cancellable bid replaces it, whatever that is worth.
    pub(super) cancellable: bool,
    pub(super) arrival: u64,
    pub(super) proofs: Option<Arc<[InclusionProof]>>,
}

impl Standing {
    fn owner(&self) -> Owner {
        Owner { builder: self.candidate.trace.builder_pubkey, cancellable: self.cancellable }
    }

    /// Of how much use it is: it holds what is required, then it is worth more, then it came earlier.
    fn rank(&self) -> (bool, U256, Reverse<u64>) {
        (self.proofs.is_some(), self.candidate.trace.value, Reverse(self.arrival))
    }
}

/// The bids that compete for one key.
#[derive(Debug, Default)]
pub(super) struct Contest {
    standing: BTreeMap<Owner, Standing>,
    judged_by: Option<Arc<[Required]>>,
}

impl Contest {
    /// The bid of most worth whose block holds what is required; the earlier of equals.
    pub(super) fn best(&self) -> Option<&Standing> {
        self.standing
            .values()
            .filter(|standing| standing.proofs.is_some())
            .max_by_key(|standing| standing.rank())
    }

    /// Whether this is what all bids were judged by: bids that came since were judged by what was required when they came, and
    /// whenever that changes all are judged anew.
    pub(super) fn is_judged_by(&self, required: &[Required]) -> bool {
        self.judged_by.as_deref() == Some(required)
    }

    /// Judges every bid anew.
    pub(super) fn require(&mut self, required: Arc<[Required]>) {
        for standing in self.standing.values_mut() {
            standing.proofs = standing.candidate.prove(&required).map(Arc::from);
        }
        self.judged_by = Some(required);
    }

    pub(super) fn candidates(&self) -> impl Iterator<Item = &Arc<Candidate>> {
        self.standing.values().map(|standing| &standing.candidate)
    }
}

/// Every contest.
#[derive(Debug, Default)]
pub(super) struct Contests {
    by_key: BTreeMap<BidKey, Contest>,
    arrivals: u64,
}

impl Contests {
    /// The number of the next bid.
    pub(super) fn arrival(&mut self) -> u64 {
        self.arrivals = self.arrivals.saturating_add(1);
        self.arrivals
    }

    pub(super) fn of(&self, key: &BidKey) -> Option<&Contest> {
        self.by_key.get(key)
    }

    pub(super) fn of_slot(&self, slot: u64) -> impl Iterator<Item = (&BidKey, &Contest)> {
        self.by_key.range(first_key(slot)..).take_while(move |(key, _)| key.slot == slot)
    }

    pub(super) fn of_slot_mut(&mut self, slot: u64) -> impl Iterator<Item = (&BidKey, &mut Contest)> {
        self.by_key.range_mut(first_key(slot)..).take_while(move |(key, _)| key.slot == slot)
    }

    pub(super) fn prune(&mut self, slot: u64) {
        self.by_key.retain(|key, _| key.slot >= slot);
    }

    /// Whether the builder's next bid takes the place of the one before of its kind: a cancellable one always does, a firm
    /// one if it is of more use.
    pub(super) fn is_news(&self, key: &BidKey, next: &Standing) -> bool {
        let held = self.of(key).and_then(|contest| contest.standing.get(&next.owner()));
        next.cancellable
            || held.is_none_or(|held| held.rank() < Standing { arrival: held.arrival, ..next.clone() }.rank())
    }

    /// Whether the bid would be the contest's best.
    pub(super) fn would_lead(&self, key: &BidKey, next: &Standing) -> bool {
        next.proofs.is_some()
            && self.of(key).and_then(Contest::best).is_none_or(|best| best.rank() < next.rank())
    }

    /// Takes the bid in, and lets the slot's bids of least use go for it. Never goes what leads its contest, unless this
    /// bid is to lead it. Whether there was room.
    pub(super) fn place(&mut self, key: BidKey, next: Standing, limits: &Limits) -> bool {
        let owner_of_next = next.owner();
        let (mut count, mut bytes) = (1_usize, next.candidate.bytes);
        let mut worse = Vec::new();
        for (other, contest) in self.of_slot(key.slot) {
            let leader = contest.best().map(Standing::owner);
            for (owner, standing) in &contest.standing {
                if (*other, *owner) == (key, owner_of_next) {
                    continue;
                }
                count = count.saturating_add(1);
                bytes = bytes.saturating_add(standing.candidate.bytes);
                if standing.rank() < next.rank() && (*other == key || leader != Some(*owner)) {
                    worse.push((standing.rank(), *other, *owner, standing.candidate.bytes));
                }
            }
        }
        worse.sort_unstable();
        let mut worse = worse.into_iter();
        let mut leaving = Vec::new();
        while count > limits.bids || bytes > limits.bytes {
            let Some((_, other, owner, freed)) = worse.next() else { return false };
            count = count.saturating_sub(1);
            bytes = bytes.saturating_sub(freed);
            leaving.push((other, owner));
        }
        for (other, owner) in leaving {
            if let Some(contest) = self.by_key.get_mut(&other) {
                contest.standing.remove(&owner);
            }
        }
        self.by_key.entry(key).or_default().standing.insert(owner_of_next, next);
        true
    }
}

/// The least key of a slot.
const fn first_key(slot: u64) -> BidKey {
    BidKey { slot, parent_hash: B256::ZERO, proposer: BlsPublicKey::ZERO }
}

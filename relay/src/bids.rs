//! Which of the builders' blocks is on offer. The choice is pure; [`Book`] adds locks, signatures and encodings.

mod candidate;
mod contest;

pub(crate) use candidate::{BidKey, Candidate, SealError, Sealer, Served};
pub(crate) use contest::Limits;

use crate::{
    held::Required,
    spool::Spool,
    top_bids::{self, TopBids},
};
use alloy_primitives::{B256, U256};
use bytes::Bytes;
use contest::{Contest, Contests, Standing};
use earnest_builder_types::BlsPublicKey;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::broadcast;

/// What came of a bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is on offer now.
    Best,
    /// It is held.
    Held,
    /// The builder has a bid of more use.
    Worse,
    /// The slot has as many bids as are held, none of less use; or as many were on offer as must stay.
    Full,
}

/// All bids of the slots ahead.
#[derive(Debug)]
pub(crate) struct Book {
    sealer: Sealer,
    spool: Spool,
    limits: Limits,
    contests: Mutex<Contests>,
    served: RwLock<HashMap<BidKey, Arc<Served>>>,
    /// Blocks on offer, and those that proposers may have headers of.
    known: RwLock<HashMap<(u64, B256), Arc<Candidate>>>,
    top_bids: TopBids,
}

impl Book {
    /// No bids. Those that are offered are written to the spool.
    pub(crate) fn new(sealer: Sealer, spool: Spool, limits: Limits) -> Self {
        let (contests, served, known, top_bids) = Default::default();
        Self { sealer, spool, limits, contests, served, known, top_bids }
    }

    /// Takes the blocks for `slot` and later that were on offer before a restart: each is known again, for a proposer may
    /// have its header, and the newest of each builder is on offer again.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(crate) fn restore(&self, slot: u64, required: impl Fn(&BidKey) -> Arc<[Required]>) -> io::Result<()> {
        let mut newest = HashMap::new();
        for submission in self.spool.read(slot)? {
            let candidate = Arc::new(Candidate::new(submission));
            self.known.write().entry(candidate.id()).or_insert_with(|| Arc::clone(&candidate));
            newest.insert((BidKey::of(&candidate.trace), candidate.trace.builder_pubkey), candidate);
        }
        for ((key, _), candidate) in newest {
            let placed = self.place_shared(candidate, false, || required(&key));
            if let Err(error) = placed {
                tracing::warn!(slot = key.slot, %error, "a payload that cannot be offered again");
            }
        }
        Ok(())
    }

    /// The relay's public key.
    pub(crate) fn pubkey(&self) -> BlsPublicKey {
        self.sealer.key.public_key()
    }

    /// Takes a bid; a cancellable one replaces the builder's last such bid, even if it is worth less. What it must hold is
    /// proven before the lock is taken and read again under it, so that no constraint slips between them.
    pub(crate) fn place(
        &self,
        candidate: Candidate,
        cancellable: bool,
        required: impl Fn() -> Arc<[Required]>,
    ) -> Result<Placed, SealError> {
        self.place_shared(Arc::new(candidate), cancellable, required)
    }

    fn place_shared(
        &self,
        candidate: Arc<Candidate>,
        cancellable: bool,
        required: impl Fn() -> Arc<[Required]>,
    ) -> Result<Placed, SealError> {
        let mut wanted = required();
        loop {
            let proofs = candidate.prove(&wanted).map(Arc::from);
            let mut contests = self.contests.lock();
            let now = required();
            if now == wanted {
                let arrival = contests.arrival();
                let next = Standing { candidate, cancellable, arrival, proofs };
                return self.place_judged(&mut contests, next);
            }
            wanted = now;
        }
    }

    fn place_judged(&self, contests: &mut Contests, next: Standing) -> Result<Placed, SealError> {
        let key = BidKey::of(&next.candidate.trace);
        let candidate = Arc::clone(&next.candidate);
        if !contests.is_news(&key, &next) {
            return Ok(Placed::Worse);
        }
        if (next.cancellable || contests.would_lead(&key, &next)) && !self.may_offer(&key, &candidate) {
            return Ok(Placed::Full);
        }
        if !contests.place(key, next, &self.limits) {
            return Ok(Placed::Full);
        }
        let Some(contest) = contests.of(&key) else { return Ok(Placed::Full) };
        self.offer(key, contest)?;
        let best = contest.best().is_some_and(|best| Arc::ptr_eq(&best.candidate, &candidate));
        Ok(if best { Placed::Best } else { Placed::Held })
    }

    /// Judges all bids of a slot anew, after its constraints changed.
    pub(crate) fn require(
        &self,
        slot: u64,
        required: impl Fn(&BidKey) -> Arc<[Required]>,
    ) -> Result<(), SealError> {
        // What costs is done before the lock is taken, and kept in the candidates.
        let standing: Vec<(Arc<[Required]>, Arc<Candidate>)> = {
            let contests = self.contests.lock();
            let mut standing = Vec::new();
            for (key, contest) in contests.of_slot(slot) {
                let required = required(key);
                if !contest.is_judged_by(&required) {
                    standing.extend(contest.candidates().map(|one| (Arc::clone(&required), Arc::clone(one))));
                }
            }
            standing
        };
        for (required, candidate) in standing {
            candidate.prove(&required);
        }
        let mut contests = self.contests.lock();
        let mut judged = Ok(());
        for (key, contest) in contests.of_slot_mut(slot) {
            let required = required(key);
            if !contest.is_judged_by(&required) {
                contest.require(required);
                judged = judged.and(self.offer(*key, contest));
            }
        }
        judged
    }

    /// Offers the contest's best bid, or nothing. A bid already on offer is sealed again only if its proofs changed.
    fn offer(&self, key: BidKey, contest: &Contest) -> Result<(), SealError> {
        let best = contest.best().and_then(|best| Some((&best.candidate, best.proofs.as_ref()?)));
        let Some((candidate, proofs)) = best else {
            self.change(key, None);
            return Ok(());
        };
        let on_offer = self.served.read().get(&key).cloned();
        if on_offer.is_some_and(|on| Arc::ptr_eq(&on.candidate, candidate) && on.proofs == *proofs) {
            return Ok(());
        }
        let served = match self.sealer.seal(candidate, proofs) {
            Ok(served) => served,
            Err(error) => {
                self.change(key, None);
                return Err(error);
            }
        };
        let id = candidate.id();
        // The first block under a hash stays: a proposer may have signed for just that.
        if self.known.read().contains_key(&id) {
            served.given.store(true, Ordering::SeqCst);
        } else {
            if let Err(error) = self.spool.put(&candidate.to_submission()?) {
                tracing::warn!(slot = key.slot, %error, "a block on offer would not outlive a crash");
            }
            self.known.write().insert(id, Arc::clone(candidate));
        }
        self.change(key, Some(served));
        Ok(())
    }

    /// Changes what is on offer. The block that was, and that no proposer can have a header of, is forgotten.
    fn change(&self, key: BidKey, served: Option<Served>) {
        let mut all = self.served.write();
        let before = match served {
            Some(served) => all.insert(key, Arc::new(served)),
            None => all.remove(&key),
        };
        self.top_bids.changed(&key, before.as_deref(), all.get(&key).map(Arc::as_ref));
        let Some(before) = before.filter(|before| !before.given.load(Ordering::SeqCst)) else { return };
        let id = before.candidate.id();
        if all.values().any(|served| served.candidate.id() == id) {
            return;
        }
        drop(all);
        self.known.write().remove(&id);
        if let Err(error) = self.spool.remove(id.0, before.fork, id.1) {
            tracing::warn!(slot = id.0, %error, "cannot remove a payload");
        }
    }

    /// Whether one more block of the slot may be offered, beside those that must stay.
    fn may_offer(&self, key: &BidKey, candidate: &Candidate) -> bool {
        let leaving = self
            .served
            .read()
            .get(key)
            .filter(|on| !on.given.load(Ordering::SeqCst))
            .map(|on| on.candidate.id());
        let known = self.known.read();
        let (mut count, mut bytes) = (1_usize, candidate.bytes);
        for other in known.values() {
            let id = other.id();
            if id.0 == key.slot && id != candidate.id() && Some(id) != leaving {
                count = count.saturating_add(1);
                bytes = bytes.saturating_add(other.bytes);
            }
        }
        count <= self.limits.offered && bytes <= self.limits.bytes
    }

    /// The bid on offer, for a proposer: from here on its block stays.
    pub(crate) fn give(&self, key: &BidKey) -> Option<Arc<Served>> {
        let served = self.served.read();
        let on_offer = served.get(key)?;
        on_offer.given.store(true, Ordering::SeqCst);
        Some(Arc::clone(on_offer))
    }

    /// A block that is on offer, or was and a proposer may have its header.
    pub(crate) fn known(&self, slot: u64, block_hash: B256) -> Option<Arc<Candidate>> {
        self.known.read().get(&(slot, block_hash)).cloned()
    }

    /// What is on offer for `slot` and later, and every change from then on, as the top-bid stream sends them.
    pub(crate) fn top_bids(&self, slot: u64) -> (Vec<Bytes>, broadcast::Receiver<Bytes>) {
        // Changes are told under the same lock: none is missed, none is told twice.
        let served = self.served.read();
        let live = self.top_bids.subscribe();
        let ahead = served.iter().filter(|(key, _)| key.slot >= slot);
        (ahead.map(|(key, served)| top_bids::update(key, Some(served))).collect(), live)
    }

    /// Value and builder of the bid on offer that is worth most to a proposer, on whatever parent.
    pub(crate) fn leading(&self, slot: u64, proposer: &BlsPublicKey) -> Option<(U256, BlsPublicKey)> {
        let served = self.served.read();
        let wanted = served.iter().filter(|(key, _)| key.slot == slot && key.proposer == *proposer);
        wanted.map(|(_, on)| (on.candidate.trace.value, on.candidate.trace.builder_pubkey)).max()
    }

    /// Forgets what lies before `slot`.
    pub(crate) fn prune(&self, slot: u64) {
        self.contests.lock().prune(slot);
        self.served.write().retain(|key, _| key.slot >= slot);
        self.known.write().retain(|(known, _), _| *known >= slot);
        if let Err(error) = self.spool.prune(slot) {
            tracing::warn!(%error, "cannot remove old payloads");
        }
    }
}

#[cfg(test)]
mod tests;

//! Which of the builders' blocks is on offer. The choice is pure; [`Book`] adds locks, signatures and encodings.

mod candidate;
mod contest;
mod known;

pub(crate) use candidate::{BidKey, Candidate, SealError, Sealer, Served};
pub(crate) use contest::Limits;
pub(crate) use known::Known;

use crate::{
    held::Required,
    spool::{Filed, Spool, Written},
    top_bids::{self, TopBids},
};
use alloy_primitives::{B256, U256};
use bytes::Bytes;
use contest::{Contest, Contests, Standing};
use earnest_builder_types::BlsPublicKey;
use known::KnownBlocks;
use parking_lot::{Mutex, RwLock};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
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
    /// The slot has as many bids as are held, none of less use; or proposers have as many headers as can be kept.
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
    known: RwLock<KnownBlocks>,
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
        let mut seen = HashSet::new();
        for file in self.spool.files(slot)? {
            let submission = match self.spool.get(&file) {
                Ok(submission) => submission,
                Err(error) => {
                    tracing::warn!(?file, %error, "a payload that cannot be read back");
                    continue;
                }
            };
            let trace = submission.message();
            let (key, builder) = (BidKey::of(trace), trace.builder_pubkey);
            self.known.write().insert_filed((trace.slot, trace.block_hash), file, trace.proposer_pubkey);
            if !seen.insert((key, builder)) {
                continue;
            }
            let candidate = Candidate::new(submission);
            if let Err(error) = self.place(candidate, None, false, || required(&key)) {
                tracing::warn!(slot = key.slot, %error, "a payload that cannot be offered again");
            }
        }
        Ok(())
    }

    /// The relay's public key.
    pub(crate) fn pubkey(&self) -> BlsPublicKey {
        self.sealer.pubkey
    }

    /// Takes a bid; a cancellable one replaces the builder's last such bid, even if it is worth less. What it must hold is
    /// proven before the lock is taken and read again under it, so that no constraint slips between them. `ssz` is what
    /// the candidate was read from, if that was SSZ: it goes to the spool as it came.
    pub(crate) fn place(
        &self,
        candidate: Candidate,
        ssz: Option<&[u8]>,
        cancellable: bool,
        required: impl Fn() -> Arc<[Required]>,
    ) -> Result<Placed, SealError> {
        let candidate = Arc::new(candidate);
        let key = BidKey::of(&candidate.trace);
        let mut wanted = required();
        let mut written = None;
        let arrival = self.contests.lock().arrival();
        loop {
            let proofs: Option<Arc<[_]>> = candidate.prove(&wanted).map(Arc::from);
            let next = Standing { candidate: Arc::clone(&candidate), cancellable, arrival, proofs };
            // What takes long is done before the lock is taken; what is not needed then is removed.
            if written.is_none() && self.contests.lock().would_lead(&key, &next) {
                written = self.write(&candidate, ssz)?;
            }
            let mut contests = self.contests.lock();
            let now = required();
            if now == wanted {
                return self.place_judged(&mut contests, next, written);
            }
            wanted = now;
        }
    }

    fn place_judged(
        &self,
        contests: &mut Contests,
        next: Standing,
        written: Option<Written>,
    ) -> Result<Placed, SealError> {
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
        let best = contest.best().is_some_and(|best| Arc::ptr_eq(&best.candidate, &candidate));
        self.offer(key, contest, written.filter(|_| best))?;
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
                judged = judged.and(self.offer(*key, contest, None));
            }
        }
        judged
    }

    /// Writes a block that is not known yet to the spool, not yet under its name; none if the spool does not take it.
    fn write(&self, candidate: &Candidate, ssz: Option<&[u8]>) -> Result<Option<Written>, SealError> {
        if self.known.read().contains(&candidate.id()) {
            return Ok(None);
        }
        let ssz = ssz.map_or_else(|| candidate.to_ssz().map(Cow::Owned), |ssz| Ok(Cow::Borrowed(ssz)))?;
        let written = self.spool.write(candidate.file(), &ssz);
        let warn = |error| tracing::warn!(slot = candidate.trace.slot, %error, "cannot write a payload");
        Ok(written.map_err(warn).ok())
    }

    /// Offers the contest's best bid, or nothing. A bid already on offer is sealed again only if its proofs changed.
    /// `written` is the best bid's block, if it was written before.
    fn offer(&self, key: BidKey, contest: &Contest, written: Option<Written>) -> Result<(), SealError> {
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
        if self.known.read().contains(&id) {
            served.given.store(true, Ordering::SeqCst);
        } else {
            let written = if written.is_some() { written } else { self.write(candidate, None)? };
            let filed = written.and_then(|written| {
                let warn =
                    |error| tracing::warn!(slot = key.slot, %error, "a block would not outlive a crash");
                written.put().map_err(warn).ok()
            });
            self.known.write().insert(candidate, filed);
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
        let file = Filed { slot: id.0, fork: before.fork, block_hash: id.1 };
        if let Err(error) = self.spool.remove(&file) {
            tracing::warn!(slot = id.0, %error, "cannot remove a payload");
        }
    }

    /// Whether one more block of the slot may be offered, beside those that must stay. Some leave memory for it.
    fn may_offer(&self, key: &BidKey, candidate: &Candidate) -> bool {
        let (mut leaving, mut on_offer) = (None, HashSet::new());
        for (other, on) in self.served.read().iter().filter(|(other, _)| other.slot == key.slot) {
            if other != key {
                on_offer.insert(on.candidate.id());
            } else if !on.given.load(Ordering::SeqCst) {
                leaving = Some(on.candidate.id());
            }
        }
        self.known.write().make_room(candidate, leaving, &on_offer, &self.limits)
    }

    /// The bid on offer, for a proposer: from here on its block stays.
    pub(crate) fn give(&self, key: &BidKey) -> Option<Arc<Served>> {
        let served = self.served.read();
        let on_offer = served.get(key)?;
        on_offer.given.store(true, Ordering::SeqCst);
        Some(Arc::clone(on_offer))
    }

    /// A block that is on offer, or was and a proposer may have its header. Touches no disk.
    pub(crate) fn known(&self, slot: u64, block_hash: B256) -> Option<Known> {
        self.known.read().get(&(slot, block_hash))
    }

    /// A block that is known, read back if it is in its file alone. Blocks.
    ///
    /// # Errors
    /// The file cannot be read back.
    pub(crate) fn recall(&self, slot: u64, block_hash: B256) -> io::Result<Option<Arc<Candidate>>> {
        let id = (slot, block_hash);
        let file = {
            let known = self.known.read();
            match known.get(&id) {
                Some(Known::Here(candidate)) => return Ok(Some(candidate)),
                Some(Known::Filed { .. }) => known.file(&id),
                None => None,
            }
        };
        let submission = file.map(|file| self.spool.get(&file)).transpose()?;
        Ok(submission.map(|submission| Arc::new(Candidate::new(submission))))
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
        self.known.write().prune(slot);
        if let Err(error) = self.spool.prune(slot) {
            tracing::warn!(%error, "cannot remove old payloads");
        }
    }
}

#[cfg(test)]
mod tests;

//! Which of the builders' blocks is on offer. The choice is pure; [`Book`] adds locks, signatures and encodings.

use crate::{
    held::{Required, prove},
    spool::Spool,
};
use alloy_primitives::B256;
use bytes::Bytes;
use earnest_builder_types::{
    BidSubmission, BidTrace, BlsPublicKey, BlsSignature, BuilderBid, CodecError, ExecutionPayloadHeader,
    ExecutionRequests, ForkCodec, ForkError, ForkName, KzgCommitments, PayloadAndBlobs, Versioned,
    bls::SecretKey,
};
use earnest_client::{HeaderWithProofs, HeaderWithProofsError};
use earnest_protocol::objects::InclusionProof;
use parking_lot::{Mutex, RwLock};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

/// What a proposer asks for, and what bids compete for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BidKey {
    pub(crate) slot: u64,
    pub(crate) parent_hash: B256,
    pub(crate) proposer: BlsPublicKey,
}

impl BidKey {
    /// What a trace competes for.
    pub(crate) const fn of(trace: &BidTrace) -> Self {
        Self { slot: trace.slot, parent_hash: trace.parent_hash, proposer: trace.proposer_pubkey }
    }
}

/// A builder's block that passed every check.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) trace: BidTrace,
    pub(crate) signature: BlsSignature,
    pub(crate) header: ExecutionPayloadHeader,
    pub(crate) commitments: KzgCommitments,
    pub(crate) requests: ExecutionRequests,
    pub(crate) payload: Arc<PayloadAndBlobs>,
}

impl Candidate {
    /// Hashes the payload's lists and takes the submission apart.
    pub(crate) fn new(submission: BidSubmission) -> Self {
        Self {
            trace: submission.message().clone(),
            signature: *submission.signature(),
            header: submission.payload().to_header(),
            commitments: submission.blob_kzg_commitments(),
            requests: submission.execution_requests().cloned().unwrap_or_default(),
            payload: Arc::new(submission.into_payload_and_blobs()),
        }
    }

    /// The submission that it was made of.
    fn to_submission(&self) -> Result<BidSubmission, ForkError> {
        let payload = PayloadAndBlobs::clone(&self.payload);
        BidSubmission::new(self.trace.clone(), self.signature, payload, self.requests.clone())
    }
}

/// A bid that proposers get, in every form that they may ask for.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) fork: ForkName,
    pub(crate) candidate: Arc<Candidate>,
    pub(crate) json: Bytes,
    pub(crate) ssz: Bytes,
    pub(crate) with_proofs: Bytes,
}

/// Why a bid cannot be put into the form that proposers get.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error(transparent)]
    Fork(#[from] ForkError),
    #[error(transparent)]
    Codec(#[from] CodecError),
    #[error(transparent)]
    Proofs(#[from] HeaderWithProofsError),
}

/// Signs bids.
#[derive(Debug)]
pub(crate) struct Sealer {
    pub(crate) key: SecretKey,
    pub(crate) builder_domain: B256,
}

impl Sealer {
    fn seal(&self, candidate: &Arc<Candidate>, proofs: &[InclusionProof]) -> Result<Served, SealError> {
        let bid = BuilderBid::new(
            candidate.header.clone(),
            candidate.commitments.clone(),
            candidate.requests.clone(),
            candidate.trace.value,
            self.key.public_key(),
        )?;
        let signed = bid.sign(&self.key, self.builder_domain);
        let fork = signed.fork();
        let ssz = signed.to_ssz().into();
        let with_proofs = HeaderWithProofs::new(signed.clone(), proofs).to_json()?.into();
        let json = Versioned::new(signed).to_json()?.into();
        Ok(Served { fork, candidate: Arc::clone(candidate), json, ssz, with_proofs })
    }
}

/// One builder's bid, and whether the block holds what the slot requires.
#[derive(Debug, Clone)]
struct Standing {
    candidate: Arc<Candidate>,
    arrival: u64,
    proofs: Option<Vec<InclusionProof>>,
}

/// The bids that compete for one key.
#[derive(Debug, Default)]
struct Contest {
    standing: BTreeMap<BlsPublicKey, Standing>,
}

impl Contest {
    /// Takes a builder's next bid. It replaces the one before if it is of more use (holds what is required, then is
    /// worth more), or in any case if the builder cancels what it bid before. Whether it was taken.
    fn place(&mut self, next: Standing, cancels: bool) -> bool {
        let rank = |standing: &Standing| (standing.proofs.is_some(), standing.candidate.trace.value);
        let builder = next.candidate.trace.builder_pubkey;
        let taken = cancels || self.standing.get(&builder).is_none_or(|held| rank(held) < rank(&next));
        if taken {
            self.standing.insert(builder, next);
        }
        taken
    }

    /// The bid of most worth whose block holds what is required; the earlier of equals.
    fn best(&self) -> Option<&Standing> {
        self.standing
            .values()
            .filter(|standing| standing.proofs.is_some())
            .max_by_key(|standing| (standing.candidate.trace.value, std::cmp::Reverse(standing.arrival)))
    }

    /// Judges every bid anew.
    fn require(&mut self, required: &[Required]) {
        for standing in self.standing.values_mut() {
            standing.proofs = prove(standing.candidate.payload.payload().transactions(), required);
        }
    }
}

/// What came of a bid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is on offer now.
    Best,
    /// It is held.
    Held,
    /// The builder has a bid of more use.
    Worse,
    /// The slot has as many bids as are held.
    Full,
}

/// All bids of the slots ahead.
#[derive(Debug)]
pub(crate) struct Book {
    sealer: Sealer,
    spool: Spool,
    max_per_slot: usize,
    contests: Mutex<Contests>,
    served: RwLock<HashMap<BidKey, Arc<Served>>>,
    known: RwLock<HashMap<(u64, B256), Arc<Candidate>>>,
}

#[derive(Debug, Default)]
struct Contests {
    by_key: BTreeMap<BidKey, Contest>,
    arrivals: u64,
}

impl Book {
    /// No bids. Those that are offered are written to the spool.
    pub(crate) fn new(sealer: Sealer, spool: Spool, max_per_slot: usize) -> Self {
        let (contests, served, known) = Default::default();
        Self { sealer, spool, max_per_slot, contests, served, known }
    }

    /// Blocks for `slot` and later that were on offer before a restart.
    pub(crate) fn spooled(&self, slot: u64) -> io::Result<Vec<BidSubmission>> {
        self.spool.read(slot)
    }

    /// The relay's public key.
    pub(crate) fn pubkey(&self) -> BlsPublicKey {
        self.sealer.key.public_key()
    }

    /// Takes a bid. `required` is read under the lock, so that no constraint slips between it and the judgement.
    pub(crate) fn place(
        &self,
        candidate: Candidate,
        cancels: bool,
        required: impl FnOnce() -> Arc<[Required]>,
    ) -> Result<Placed, SealError> {
        let candidate = Arc::new(candidate);
        let key = BidKey::of(&candidate.trace);
        let mut contests = self.contests.lock();
        let of_slot =
            contests.by_key.range(first_key(key.slot)..).take_while(|(other, _)| other.slot == key.slot);
        if of_slot.map(|(_, contest)| contest.standing.len()).sum::<usize>() >= self.max_per_slot {
            let held = contests.by_key.get(&key).map(|contest| &contest.standing);
            if held.is_none_or(|standing| !standing.contains_key(&candidate.trace.builder_pubkey)) {
                return Ok(Placed::Full);
            }
        }
        contests.arrivals = contests.arrivals.saturating_add(1);
        let arrival = contests.arrivals;
        let proofs = prove(candidate.payload.payload().transactions(), &required());
        let contest = contests.by_key.entry(key).or_default();
        if !contest.place(Standing { candidate: Arc::clone(&candidate), arrival, proofs }, cancels) {
            return Ok(Placed::Worse);
        }
        self.offer(key, contest, false)?;
        let best = contest.best().is_some_and(|best| Arc::ptr_eq(&best.candidate, &candidate));
        Ok(if best { Placed::Best } else { Placed::Held })
    }

    /// Judges all bids of a slot anew, after its constraints changed.
    pub(crate) fn require(
        &self,
        slot: u64,
        required: impl FnOnce() -> Arc<[Required]>,
    ) -> Result<(), SealError> {
        let mut contests = self.contests.lock();
        let required = required();
        let of_slot = contests.by_key.range_mut(first_key(slot)..).take_while(|(key, _)| key.slot == slot);
        for (key, contest) in of_slot {
            contest.require(&required);
            self.offer(*key, contest, true)?;
        }
        Ok(())
    }

    /// Offers the contest's best bid, or nothing. A bid already on offer is sealed again only if its proofs changed.
    fn offer(&self, key: BidKey, contest: &Contest, anew: bool) -> Result<(), SealError> {
        let Some(best) = contest.best() else {
            self.served.write().remove(&key);
            return Ok(());
        };
        let on_offer =
            self.served.read().get(&key).is_some_and(|on| Arc::ptr_eq(&on.candidate, &best.candidate));
        if on_offer && !anew {
            return Ok(());
        }
        let served = match self.sealer.seal(&best.candidate, best.proofs.as_deref().unwrap_or_default()) {
            Ok(served) => served,
            Err(error) => {
                self.served.write().remove(&key);
                return Err(error);
            }
        };
        if self.known(key.slot, best.candidate.trace.block_hash).is_none()
            && let Err(error) = self.spool.put(&best.candidate.to_submission()?)
        {
            tracing::warn!(slot = key.slot, %error, "a block on offer would not outlive a crash");
        }
        self.known.write().insert((key.slot, best.candidate.trace.block_hash), Arc::clone(&best.candidate));
        self.served.write().insert(key, Arc::new(served));
        Ok(())
    }

    /// The bid on offer.
    pub(crate) fn served(&self, key: &BidKey) -> Option<Arc<Served>> {
        self.served.read().get(key).cloned()
    }

    /// A block that was on offer at some time.
    pub(crate) fn known(&self, slot: u64, block_hash: B256) -> Option<Arc<Candidate>> {
        self.known.read().get(&(slot, block_hash)).cloned()
    }

    /// Forgets what lies before `slot`.
    pub(crate) fn prune(&self, slot: u64) {
        self.contests.lock().by_key.retain(|key, _| key.slot >= slot);
        self.served.write().retain(|key, _| key.slot >= slot);
        self.known.write().retain(|(known, _), _| *known >= slot);
        if let Err(error) = self.spool.prune(slot) {
            tracing::warn!(%error, "cannot remove old payloads");
        }
    }
}

/// The least key of a slot.
const fn first_key(slot: u64) -> BidKey {
    BidKey { slot, parent_hash: B256::ZERO, proposer: BlsPublicKey::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Block, tx};
    use alloy_primitives::Bytes;
    use earnest_builder_types::{SignedBuilderBid, domain::builder_domain, proofs::verify_transaction};

    const CHAIN: u64 = 1337;

    struct Table {
        book: Book,
        _directory: tempfile::TempDir,
    }

    fn table(max: usize) -> Table {
        let directory = tempfile::tempdir().unwrap();
        let key = SecretKey::from_bytes(&[7; 32]).unwrap();
        let sealer = Sealer { key, builder_domain: builder_domain([0x10, 0, 0, 0x38]) };
        let book = Book::new(sealer, Spool::open(directory.path()).unwrap(), max);
        Table { book, _directory: directory }
    }

    fn required(transactions: &[Bytes]) -> Arc<[Required]> {
        transactions.iter().map(|raw| Required::new(raw.clone(), CHAIN).unwrap()).collect()
    }

    fn block(value: u64, transactions: Vec<Bytes>) -> Block {
        Block { value, transactions, ..Block::default() }
    }

    fn place(book: &Book, builder: u8, block: &Block, cancels: bool, held: &[Bytes]) -> Placed {
        book.place(Candidate::new(block.submit(builder)), cancels, || required(held)).unwrap()
    }

    fn on_offer(book: &Book) -> Option<u64> {
        let key = BidKey::of(Block::default().submit(1).message());
        book.served(&key).map(|served| u64::try_from(served.candidate.trace.value).unwrap())
    }

    #[test]
    fn the_best_bid_is_on_offer() {
        let Table { book, .. } = &table(10);
        let steps: [(u8, u64, bool, Placed, u64); 9] = [
            (1, 10, false, Placed::Best, 10),
            (2, 9, false, Placed::Held, 10),
            (2, 11, false, Placed::Best, 11),
            (1, 5, false, Placed::Worse, 11),
            (2, 11, false, Placed::Worse, 11),
            (1, 11, false, Placed::Held, 11),
            (2, 3, true, Placed::Held, 11),
            (1, 2, true, Placed::Held, 3),
            (2, 1, true, Placed::Held, 2),
        ];
        for (step, (builder, value, cancels, placed, best)) in steps.into_iter().enumerate() {
            assert_eq!(place(book, builder, &block(value, vec![]), cancels, &[]), placed, "step {step}");
            assert_eq!(on_offer(book), Some(best), "step {step}");
        }
    }

    #[test]
    fn a_constrained_slot_offers_only_what_holds_the_constraints() {
        let Table { book, .. } = &table(10);
        let wanted = tx(1, 0, 1);
        place(book, 1, &block(100, vec![tx(2, 0, 1)]), false, &[]);
        place(book, 2, &block(5, vec![tx(3, 0, 1), wanted.clone()]), false, &[]);
        assert_eq!(on_offer(book), Some(100));
        let slot = Block::default().slot;
        book.require(slot, || required(std::slice::from_ref(&wanted))).unwrap();
        assert_eq!(on_offer(book), Some(5));
        // Worth more, but without it.
        assert_eq!(place(book, 3, &block(200, vec![]), false, std::slice::from_ref(&wanted)), Placed::Held);
        assert_eq!(on_offer(book), Some(5));
        // Worth less than the same builder's bid without it.
        let kept = block(7, vec![tx(1, 0, 99)]);
        assert_eq!(place(book, 3, &kept, false, std::slice::from_ref(&wanted)), Placed::Best);
        assert_eq!(on_offer(book), Some(7));
        book.require(slot, || required(&[wanted, tx(9, 9, 9)])).unwrap();
        assert_eq!(on_offer(book), None);
    }

    #[test]
    fn what_is_served_is_signed_and_proven() {
        let Table { book, .. } = &table(10);
        let wanted = tx(1, 0, 1);
        place(book, 1, &block(5, vec![tx(2, 0, 1), wanted.clone()]), false, std::slice::from_ref(&wanted));
        let served = book.served(&BidKey::of(Block::default().submit(1).message())).unwrap();
        let bid: Versioned<SignedBuilderBid> = Versioned::from_json(&served.json).unwrap();
        assert_eq!(SignedBuilderBid::from_ssz(served.fork, &served.ssz).unwrap(), bid.data);
        bid.data.verify(builder_domain([0x10, 0, 0, 0x38])).unwrap();
        assert_eq!(bid.data.pubkey(), book.pubkey());
        let with = HeaderWithProofs::from_json(&served.with_proofs).unwrap();
        assert_eq!(with.bid, bid.data);
        let [proof] = with.inclusions().unwrap().try_into().unwrap();
        assert_eq!((proof.index, &proof.signed_tx), (1, &wanted));
        let root = bid.data.header().transactions_root();
        assert!(verify_transaction(&proof.signed_tx, proof.index, &proof.branch, root));
    }

    #[test]
    fn offered_blocks_are_known_and_outlive_a_restart() {
        let Table { book, _directory } = &table(10);
        let submission = block(5, vec![]).submit(1);
        let (slot, hash) = (submission.message().slot, submission.message().block_hash);
        assert!(book.known(slot, hash).is_none());
        book.place(Candidate::new(submission.clone()), false, || required(&[])).unwrap();
        assert!(book.known(slot, hash).is_some());
        assert_eq!(book.spooled(slot).unwrap(), [submission]);
        book.prune(slot + 1);
        assert!(book.known(slot, hash).is_none());
        assert_eq!(on_offer(book), None);
        assert!(book.spooled(0).unwrap().is_empty());
    }

    #[test]
    fn a_slot_takes_so_many_bids_and_no_more() {
        let Table { book, .. } = &table(2);
        assert_eq!(place(book, 1, &block(1, vec![]), false, &[]), Placed::Best);
        assert_eq!(place(book, 2, &block(2, vec![]), false, &[]), Placed::Best);
        assert_eq!(place(book, 3, &block(3, vec![]), false, &[]), Placed::Full);
        assert_eq!(place(book, 2, &block(4, vec![]), false, &[]), Placed::Best);
        let other = Block { slot: 99, ..Block::default() };
        assert_eq!(place(book, 3, &other, false, &[]), Placed::Best);
    }
}

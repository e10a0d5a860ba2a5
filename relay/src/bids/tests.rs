use super::*;
use crate::testing::{Block, tx};
use alloy_primitives::Bytes;
use earnest_builder_types::{
    BidSubmission, ForkCodec, SignedBuilderBid, Versioned, bls::SecretKey, domain::builder_domain,
    proofs::verify_transaction,
};
use earnest_client::HeaderWithProofs;
use std::{cell::Cell, path::Path};

const CHAIN: u64 = 1337;

struct Table {
    book: Book,
    _directory: tempfile::TempDir,
}

fn book(directory: &Path, limits: Limits) -> Book {
    let key = SecretKey::from_bytes(&[7; 32]).unwrap();
    let sealer = Sealer::new(key, builder_domain([0x10, 0, 0, 0x38]));
    Book::new(sealer, Spool::open(directory, 0).unwrap(), limits)
}

fn table(bids: usize) -> Table {
    let directory = tempfile::tempdir().unwrap();
    let book = book(directory.path(), Limits { bids, offered: 3, given: 5, bytes: usize::MAX });
    Table { book, _directory: directory }
}

fn required(transactions: &[Bytes]) -> Arc<[Required]> {
    transactions.iter().map(|raw| Required::new(raw.clone(), CHAIN).unwrap()).collect()
}

fn block(value: u64, transactions: Vec<Bytes>) -> Block {
    Block { value, transactions, ..Block::default() }
}

fn place(book: &Book, builder: u8, block: &Block, cancels: bool, held: &[Bytes]) -> Placed {
    book.place(Candidate::new(block.submit(builder)), None, cancels, || required(held)).unwrap()
}

fn key() -> BidKey {
    BidKey::of(Block::default().submit(1).message())
}

/// The block under a hash, wherever it is.
fn known(book: &Book, submission: &BidSubmission) -> Option<Arc<Candidate>> {
    let (slot, hash) = (submission.message().slot, submission.message().block_hash);
    let known = book.recall(slot, hash).unwrap();
    assert_eq!(known.is_some(), book.known(slot, hash).is_some());
    if let Some(candidate) = &known {
        assert_eq!(candidate.id(), (slot, hash));
    }
    known
}

fn files(book: &Book) -> usize {
    book.spool.files(0).unwrap().len()
}

fn on_offer(book: &Book) -> Option<u64> {
    let served = book.served.read().get(&key()).cloned();
    served.map(|served| u64::try_from(served.candidate.trace.value).unwrap())
}

#[test]
fn the_best_bid_is_on_offer() {
    let Table { book, .. } = &table(10);
    let steps: [(u8, u64, bool, Placed, u64); 6] = [
        (1, 10, false, Placed::Best, 10),
        (2, 9, false, Placed::Held, 10),
        (2, 11, false, Placed::Best, 11),
        (1, 5, false, Placed::Worse, 11),
        (2, 11, false, Placed::Worse, 11),
        (1, 11, false, Placed::Held, 11),
    ];
    run(book, &steps);
}

fn run(book: &Book, steps: &[(u8, u64, bool, Placed, u64)]) {
    for (step, (builder, value, cancellable, placed, best)) in steps.iter().enumerate() {
        assert_eq!(place(book, *builder, &block(*value, vec![]), *cancellable, &[]), *placed, "step {step}");
        assert_eq!(on_offer(book), Some(*best), "step {step}");
    }
}

#[test]
fn a_builder_takes_back_what_is_cancellable_down_to_the_floor() {
    let Table { book, .. } = &table(10);
    let steps = [
        (1, 5, false, Placed::Best, 5),
        (1, 9, true, Placed::Best, 9),
        (2, 7, true, Placed::Held, 9),
        (1, 3, true, Placed::Held, 7),
        (2, 1, true, Placed::Held, 5),
        // The floor rises with firm bids, and falls with none.
        (2, 6, false, Placed::Best, 6),
        (2, 2, false, Placed::Worse, 6),
        (2, 8, true, Placed::Best, 8),
        (2, 0, true, Placed::Held, 6),
        (1, 4, false, Placed::Worse, 6),
    ];
    run(book, &steps);
}

#[test]
fn a_constrained_slot_offers_only_what_holds_the_constraints() {
    let Table { book, .. } = &table(10);
    let wanted = tx(1, 0, 1);
    place(book, 1, &block(100, vec![tx(2, 0, 1)]), false, &[]);
    place(book, 2, &block(5, vec![tx(3, 0, 1), wanted.clone()]), false, &[]);
    assert_eq!(on_offer(book), Some(100));
    let slot = Block::default().slot;
    book.require(slot, |_| required(std::slice::from_ref(&wanted))).unwrap();
    assert_eq!(on_offer(book), Some(5));
    // Worth more, but without it.
    assert_eq!(place(book, 3, &block(200, vec![]), false, std::slice::from_ref(&wanted)), Placed::Held);
    assert_eq!(on_offer(book), Some(5));
    // Worth less than the same builder's bid without it.
    let kept = block(7, vec![tx(1, 0, 99)]);
    assert_eq!(place(book, 3, &kept, false, std::slice::from_ref(&wanted)), Placed::Best);
    assert_eq!(on_offer(book), Some(7));
    book.require(slot, |_| required(&[wanted.clone(), tx(9, 9, 9)])).unwrap();
    assert_eq!(on_offer(book), None);
}

#[test]
fn what_is_served_is_signed_and_proven() {
    let Table { book, .. } = &table(10);
    let wanted = tx(1, 0, 1);
    place(book, 1, &block(5, vec![tx(2, 0, 1), wanted.clone()]), false, std::slice::from_ref(&wanted));
    let served = book.give(&key()).unwrap();
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
    assert!(known(book, &submission).is_none());
    book.place(Candidate::new(submission.clone()), None, false, || required(&[])).unwrap();
    assert!(known(book, &submission).is_some());
    let slot = submission.message().slot;
    let file = book.spool.files(slot).unwrap()[0];
    assert_eq!(book.spool.get(&file).unwrap(), submission);
    book.prune(slot + 1);
    assert!(known(book, &submission).is_none());
    assert_eq!(on_offer(book), None);
    assert_eq!(files(book), 0);
}

#[test]
fn a_full_slot_lets_the_bid_of_least_use_go() {
    let Table { book, .. } = &table(2);
    assert_eq!(place(book, 1, &block(1, vec![]), false, &[]), Placed::Best);
    assert_eq!(place(book, 2, &block(3, vec![]), false, &[]), Placed::Best);
    assert_eq!(place(book, 3, &block(1, vec![]), false, &[]), Placed::Full);
    assert_eq!(place(book, 3, &block(2, vec![]), false, &[]), Placed::Held);
    assert_eq!(place(book, 1, &block(2, vec![]), false, &[]), Placed::Full);
    assert_eq!(place(book, 4, &block(5, vec![]), false, &[]), Placed::Best);
    let other = Block { slot: 99, ..Block::default() };
    assert_eq!(place(book, 3, &other, false, &[]), Placed::Best);
    assert_eq!(on_offer(book), Some(5));
}

#[test]
fn the_bytes_of_a_slot_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let book =
        &book(directory.path(), Limits { bids: 10, offered: 10, given: 10, bytes: 3 * tx(1, 0, 1).len() });
    let two = vec![tx(1, 0, 1), tx(1, 1, 1)];
    assert_eq!(place(book, 1, &block(5, two.clone()), false, &[]), Placed::Best);
    assert_eq!(place(book, 2, &block(4, two.clone()), false, &[]), Placed::Full);
    assert_eq!(place(book, 2, &block(4, vec![tx(2, 0, 1)]), false, &[]), Placed::Held);
    assert_eq!(place(book, 3, &block(6, two), false, &[]), Placed::Best);
    assert_eq!(on_offer(book), Some(6));
}

#[test]
fn only_blocks_that_a_proposer_may_have_stay() {
    let Table { book, .. } = &table(10);
    let blocks: Vec<BidSubmission> = (1..=8_u8).map(|one| block(one.into(), vec![]).submit(one)).collect();
    let place =
        |one: usize| book.place(Candidate::new(blocks[one].clone()), None, false, || required(&[])).unwrap();
    let all_known = |range: std::ops::RangeInclusive<usize>| {
        blocks[range].iter().all(|submission| known(book, submission).is_some())
    };
    assert_eq!(place(0), Placed::Best);
    assert_eq!(place(1), Placed::Best);
    assert!(known(book, &blocks[0]).is_none() && all_known(1..=1), "nobody saw the first");
    assert_eq!(files(book), 1);
    for next in 2..=5 {
        book.give(&key()).unwrap();
        assert_eq!(place(next), Placed::Best);
    }
    book.give(&key()).unwrap();
    assert!(all_known(1..=5));
    // As many as must stay: what is on offer remains, and so do the others.
    assert_eq!(place(6), Placed::Full);
    assert_eq!(on_offer(book), Some(6));
    assert!(all_known(1..=5));
    assert_eq!(files(book), 5);
}

#[test]
fn headers_that_were_given_stop_no_better_bid_and_fill_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { bids: 200, offered: 4, given: 4096, bytes: usize::MAX };
    let book = &book(directory.path(), limits);
    let blocks: Vec<BidSubmission> =
        (1..=100_u8).map(|one| block(one.into(), vec![tx(one, 0, 1)]).submit(one)).collect();
    for submission in &blocks {
        let placed = book.place(Candidate::new(submission.clone()), None, false, || required(&[])).unwrap();
        assert_eq!(placed, Placed::Best);
        book.give(&key()).unwrap();
        assert!(book.known.read().in_memory() <= 4);
    }
    assert_eq!(place(book, 101, &block(101, vec![]), false, &[]), Placed::Best);
    assert_eq!(on_offer(book), Some(101));
    for submission in &blocks {
        let candidate = known(book, submission).unwrap();
        assert_eq!(candidate.trace, *submission.message());
        assert_eq!(candidate.payload.payload(), submission.payload());
    }
    let first = blocks[0].message();
    assert!(matches!(book.known(first.slot, first.block_hash), Some(Known::Filed { proposer })
        if proposer == first.proposer_pubkey));
    assert_eq!(files(book), 101);
}

#[test]
fn a_block_that_could_not_be_written_stays_in_memory_and_counts() {
    let directory = tempfile::tempdir().unwrap();
    let key_of_bids = SecretKey::from_bytes(&[7; 32]).unwrap();
    let sealer = Sealer::new(key_of_bids, B256::ZERO);
    let limits = Limits { bids: 10, offered: 3, given: 4096, bytes: usize::MAX };
    let book = &Book::new(sealer, Spool::open(directory.path(), u64::MAX).unwrap(), limits);
    let blocks: Vec<BidSubmission> = (1..=4_u8).map(|one| block(one.into(), vec![]).submit(one)).collect();
    for submission in &blocks[..3] {
        let placed = book.place(Candidate::new(submission.clone()), None, false, || required(&[])).unwrap();
        assert_eq!(placed, Placed::Best);
        book.give(&key()).unwrap();
    }
    let placed = book.place(Candidate::new(blocks[3].clone()), None, false, || required(&[])).unwrap();
    assert_eq!((placed, on_offer(book)), (Placed::Full, Some(3)));
    assert!(blocks[..3].iter().all(|submission| known(book, submission).is_some()));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn every_header_given_before_a_restart_is_known_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { bids: 10, offered: 10, given: 10, bytes: usize::MAX };
    let before = book(directory.path(), limits);
    let given: Vec<BidSubmission> = [(1, 5), (1, 6), (2, 7), (1, 8), (2, 2)]
        .into_iter()
        .map(|(builder, value)| {
            let submission = block(value, vec![tx(builder, 0, value)]).submit(builder);
            before.place(Candidate::new(submission.clone()), None, value == 2, || required(&[])).unwrap();
            before.give(&key()).unwrap();
            submission
        })
        .take(4)
        .collect();
    drop(before);
    let after = book(directory.path(), limits);
    after.restore(0, |_| required(&[])).unwrap();
    assert_eq!(on_offer(&after), Some(8));
    place(&after, 3, &block(9, vec![]), false, &[]);
    for submission in given {
        assert!(known(&after, &submission).is_some(), "worth {}", submission.message().value);
    }
}

#[test]
fn the_first_block_under_a_hash_stays() {
    let Table { book, .. } = &table(10);
    let first = block(5, vec![]).submit(1);
    let BidSubmission::Electra(mut other) = first.clone() else { unreachable!() };
    other.message.builder_pubkey = SecretKey::from_bytes(&[2; 32]).unwrap().public_key();
    other.message.value = alloy_primitives::U256::from(6);
    book.place(Candidate::new(first.clone()), None, false, || required(&[])).unwrap();
    let held = known(book, &first).unwrap();
    book.place(Candidate::new(BidSubmission::Electra(other)), None, false, || required(&[])).unwrap();
    assert_eq!(on_offer(book), Some(6));
    assert!(Arc::ptr_eq(&held, &known(book, &first).unwrap()));
    // Also once it has left memory.
    for value in 7..=10_u8 {
        place(book, value, &block(value.into(), vec![]), false, &[]);
        book.give(&key()).unwrap();
    }
    assert_eq!(known(book, &first).unwrap().trace, *first.message());
}

#[test]
fn a_constraint_that_comes_while_a_bid_is_judged_binds_it() {
    let Table { book, .. } = &table(10);
    let wanted = [tx(1, 0, 1)];
    let asked = Cell::new(0);
    let late = || {
        asked.set(asked.get() + 1);
        required(if asked.get() == 1 { &[] } else { &wanted })
    };
    let placed = book.place(Candidate::new(block(5, vec![]).submit(1)), None, false, late).unwrap();
    assert_eq!((placed, on_offer(book)), (Placed::Held, None));
}

#[test]
fn what_came_as_ssz_is_filed_as_it_came() {
    for came in [None, Some(&b"as it came"[..])] {
        let Table { book, _directory: directory } = table(3);
        let submission = block(5, vec![tx(1, 0, 1)]).submit(1);
        book.place(Candidate::new(submission.clone()), came, false, || required(&[])).unwrap();
        let files: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap()).collect();
        let written = submission.to_ssz();
        assert_eq!(files.len(), 1);
        assert_eq!(std::fs::read(files[0].path()).unwrap(), came.unwrap_or(&written));
    }
}

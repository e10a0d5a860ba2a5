//! The sequencer over a real journal: what it promises, and what it knows after a restart.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256};
use earnest_builder_types::bls;
use earnest_journal::{Journal, Log, Options};
use earnest_protocol::{
    RollupId, Slot, Wei,
    delegation::TrustRoots,
    objects::{
        AllocationEntry, Authority, CommitmentKind, Delegation, DelegationReceipt, Policy, SignedDelegation,
        SignedDelegationReceipt, SlotAllocation,
    },
    signing::{EcdsaSecret, Network},
    tx::{TxRules, ValidatedTx, validate},
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::{
    batch::Sealed,
    board::{Board, Place},
    clock::now_ms,
    config::RollupConfig,
    queue::Queue,
    records::WindowOpened,
    recovery::{Recovered, recover, sit_out_if_unsure},
    sequencer::{Committer, Refusal, Sequencer, SequencerError},
    stream::Feed,
};

const ROLLUP: RollupId = RollupId(42_069);
const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 0, 0x38], chain_id: 1337 };
const FAR: u64 = 3_600_000;

/// Keys of one little world, the same in every run of a gateway in it.
struct World {
    committer: EcdsaSecret,
    relay: EcdsaSecret,
    proposer: bls::SecretKey,
    searcher: EcdsaSecret,
    slasher: Address,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            committer: EcdsaSecret::random(),
            relay: EcdsaSecret::random(),
            proposer: bls::SecretKey::random().unwrap(),
            searcher: EcdsaSecret::random(),
            slasher: Address::ZERO,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn window(&self, slot: u64, start_ms: u64, seal_ms: u64) -> WindowOpened {
        let entry = AllocationEntry {
            rollup_id: ROLLUP,
            bid_hash: Default::default(),
            account: Address::ZERO,
            committer: self.committer.address(),
            delegate: self.proposer.public_key(),
            price_wei: Wei(U256::ZERO),
            url: String::new(),
        };
        let allocation = SlotAllocation {
            slot: Slot(slot),
            start_ms,
            auction_root: Default::default(),
            entries: vec![entry],
        };
        let message = Delegation {
            proposer: self.proposer.public_key(),
            delegate: self.proposer.public_key(),
            committer: self.committer.address(),
            slot: Slot(slot),
            metadata: allocation.to_metadata(),
        };
        let receipt = DelegationReceipt::of(&message, start_ms - 1).unwrap();
        let authority = Authority {
            delegation: SignedDelegation::sign(message, &self.proposer, &NETWORK).unwrap(),
            receipt: SignedDelegationReceipt::sign(receipt, &self.relay, &NETWORK).unwrap(),
        };
        WindowOpened {
            rollup_id: ROLLUP.0,
            slot,
            start_ms,
            seal_ms,
            network: NETWORK,
            forced_inclusion_head: 3,
            authority,
        }
    }

    fn transaction(&self, nonce: u64) -> ValidatedTx {
        let transaction = TxEip1559 {
            chain_id: ROLLUP.0,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 10,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(Address::ZERO),
            ..TxEip1559::default()
        };
        let signature = self.searcher.sign(transaction.signature_hash()).unwrap();
        let signature = Signature::from_raw_array(signature.as_ref()).unwrap();
        let raw: Bytes = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into();
        let rules = TxRules { chain_id: ROLLUP.0, max_bytes: 100_000, max_gas: 30_000_000, opaque: false };
        validate(raw, &rules).unwrap()
    }

    fn trust(&self) -> TrustRoots {
        let proposer = Some(self.proposer.public_key());
        TrustRoots { network: NETWORK, relay: self.relay.address(), proposer, slasher: None }
    }

    fn run(&self) -> Gateway {
        Gateway::start(self, self.folder.path(), 0)
    }
}

struct Gateway {
    queue: Queue,
    sealed: UnboundedReceiver<Sealed>,
    unfinished: Vec<Sealed>,
    journal: Journal,
    stop: CancellationToken,
    thread: JoinHandle<Result<(), SequencerError>>,
}

impl Gateway {
    fn start(world: &World, folder: &Path, free_space_floor: u64) -> Self {
        let options = Options { free_space_floor, ..Options::default() };
        let journal = Journal::open(&folder.join("journal"), options).unwrap();
        let secret = EcdsaSecret::from_bytes(&world.committer.to_bytes()).unwrap();
        let committer = Arc::new(Committer { secret, network: NETWORK, slasher: world.slasher });
        let board = Arc::new(Board::new([ROLLUP]));
        let config = RollupConfig {
            id: ROLLUP.0,
            rpc: None,
            max_batch_bytes: 120 * 1024,
            max_segments: 8,
            max_tx_gas: 30_000_000,
            policy: Policy::Fcfs,
            opaque: false,
        };
        let Recovered { rollups, unfinished, .. } =
            recover(&journal, &committer, Address::ZERO, &board, &[config], 64).unwrap();
        let feed = Feed::new(journal.clone(), Arc::clone(&committer));
        let (commands, received) = mpsc::sync_channel(1024);
        let (sealed_sender, sealed) = tokio::sync::mpsc::unbounded_channel();
        let sequencer = Sequencer {
            journal: journal.clone(),
            committer,
            board,
            feed,
            sealed: sealed_sender,
            rollups,
            microblock_transactions: 64,
            answers: HashMap::new(),
            space: Default::default(),
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || sequencer.run(&received, &stopped));
        Self { queue: Queue::new(commands), sealed, unfinished, journal, stop, thread }
    }

    async fn submit(&self, transaction: ValidatedTx) -> Result<Place, Refusal> {
        self.queue.submit(ROLLUP, transaction).await.unwrap()
    }

    /// Submits until the window that was just handed over is open.
    async fn first(&self, transaction: &ValidatedTx) -> Place {
        loop {
            match self.submit(transaction.clone()).await {
                Ok(place) => return place,
                Err(Refusal::NotOpen) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn end(self) {
        self.stop.cancel();
        self.thread.join().unwrap().unwrap();
        self.journal.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_receipt_verifies_and_places_never_repeat() {
    let world = World::new();
    let gateway = world.run();
    let now = now_ms();
    gateway.queue.take(world.window(9, now, now + FAR)).unwrap();
    gateway.first(&world.transaction(0)).await;

    let submitted = (1..200).map(|nonce| gateway.submit(world.transaction(nonce)));
    let placed = futures::future::join_all(submitted).await;
    let mut indices = Vec::new();
    for place in placed {
        let place = place.unwrap();
        let receipt = place.signed.receipt(place.offset).unwrap();
        let verified = receipt.verify(&world.trust()).unwrap();
        assert_eq!(verified.committer, world.committer.address());
        assert_eq!(verified.commitment.forced_inclusion_head, 3);
        indices.push(receipt.index);
    }
    indices.sort_unstable();
    assert_eq!(indices, (1..200).collect::<Vec<u32>>());
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_again_it_gives_the_first_receipt_also_after_a_restart() {
    let world = World::new();
    let now = now_ms();
    let gateway = world.run();
    gateway.queue.take(world.window(9, now, now + FAR)).unwrap();
    let first = gateway.first(&world.transaction(0)).await;
    let again = gateway.submit(world.transaction(0)).await.unwrap();
    assert_eq!(again.signed.commitment, first.signed.commitment);
    gateway.end();

    let gateway = world.run();
    let again = gateway.submit(world.transaction(0)).await.unwrap();
    assert_eq!(again.signed.commitment, first.signed.commitment);
    assert_eq!(again.signed.receipt(0), first.signed.receipt(0));
    // The window goes on where it stood: one chain, no fork.
    let next = gateway.submit(world.transaction(1)).await.unwrap();
    assert_eq!(next.signed.ordering.number, first.signed.ordering.number + 1);
    assert_eq!(next.signed.ordering.parent, first.signed.ordering.hash());
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_ends_with_its_seal_and_the_next_one_follows() {
    let world = World::new();
    let mut gateway = world.run();
    let now = now_ms();
    gateway.queue.take(world.window(9, now, now + 700)).unwrap();
    gateway.queue.take(world.window(10, now + 700, now + FAR)).unwrap();
    let first = gateway.first(&world.transaction(0)).await;
    let sealed = gateway.sealed.recv().await.unwrap();
    assert_eq!(sealed.seal.ordering.kind, CommitmentKind::WindowSeal);
    assert_eq!(sealed.seal.ordering.slot, Slot(9));
    assert_eq!(sealed.transactions, [world.transaction(0).raw]);
    // A transaction of the last window keeps its place; a new one goes to the new window.
    let again = gateway.first(&world.transaction(0)).await;
    assert_eq!(again.signed.commitment, first.signed.commitment);
    let next = gateway.first(&world.transaction(1)).await;
    assert_eq!((next.signed.ordering.slot, next.signed.ordering.number), (Slot(10), 0));
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_whose_batch_was_not_signed_is_found_after_a_restart() {
    let world = World::new();
    let mut gateway = world.run();
    let now = now_ms();
    gateway.queue.take(world.window(9, now, now + 400)).unwrap();
    gateway.first(&world.transaction(0)).await;
    let sealed = gateway.sealed.recv().await.unwrap();
    gateway.end();

    let gateway = world.run();
    let [found] = gateway.unfinished.as_slice() else { panic!("{:?}", gateway.unfinished) };
    assert_eq!(found.seal.commitment, sealed.seal.commitment);
    assert_eq!(found.transactions, sealed.transactions);
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_cut_short_by_a_crash_is_sealed_at_the_next_start() {
    let world = World::new();
    let now = now_ms();
    let gateway = world.run();
    gateway.queue.take(world.window(9, now, now + 400)).unwrap();
    let first = gateway.first(&world.transaction(0)).await;
    gateway.end();

    // The window's time may be over by now; the seal is owed all the same.
    let mut gateway = world.run();
    let sealed = gateway.sealed.recv().await.unwrap();
    assert_eq!(sealed.seal.ordering.kind, CommitmentKind::WindowSeal);
    assert_eq!(sealed.seal.ordering.parent, first.signed.ordering.hash());
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_space_nothing_is_promised_and_nothing_is_lost() {
    let world = World::new();
    let now = now_ms();
    let gateway = world.run();
    gateway.queue.take(world.window(9, now, now + FAR)).unwrap();
    let first = gateway.first(&world.transaction(0)).await;
    gateway.end();

    let gateway = Gateway::start(&world, world.folder.path(), u64::MAX);
    assert_eq!(gateway.submit(world.transaction(1)).await.unwrap_err(), Refusal::NoSpace);
    let head = gateway.journal.head();
    gateway.end();

    let gateway = world.run();
    assert_eq!(gateway.journal.head(), head);
    let again = gateway.submit(world.transaction(0)).await.unwrap();
    assert_eq!(again.signed.commitment, first.signed.commitment);
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_served_outside_a_window() {
    let world = World::new();
    let gateway = world.run();
    assert_eq!(gateway.submit(world.transaction(0)).await.unwrap_err(), Refusal::NotOpen);
    let now = now_ms();
    gateway.queue.take(world.window(9, now + FAR, now + 2 * FAR)).unwrap();
    assert_eq!(gateway.submit(world.transaction(0)).await.unwrap_err(), Refusal::NotOpen);
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_flow_from_one_window_into_the_next() {
    let world = World::new();
    let gateway = world.run();
    let now = now_ms();
    gateway.queue.take(world.window(9, now, now + 500)).unwrap();
    gateway.queue.take(world.window(10, now + 500, now + FAR)).unwrap();
    let mut slot = gateway.first(&world.transaction(0)).await.signed.ordering.slot;
    let mut nonce = 1;
    // Never a refusal, while one window ends and the next begins.
    while slot == Slot(9) {
        slot = gateway.submit(world.transaction(nonce)).await.unwrap().signed.ordering.slot;
        nonce += 1;
    }
    assert_eq!(slot, Slot(10));
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_another_committer_is_refused() {
    let world = World::new();
    let gateway = world.run();
    let now = now_ms();
    gateway.queue.take(world.window(9, now, now + FAR)).unwrap();
    gateway.first(&world.transaction(0)).await;
    gateway.end();

    let journal = Journal::open(&world.folder.path().join("journal"), Options::default()).unwrap();
    let committer = Committer { secret: EcdsaSecret::random(), network: NETWORK, slasher: Address::ZERO };
    let error = recover(&journal, &committer, Address::ZERO, &Board::new([ROLLUP]), &[], 64).unwrap_err();
    assert!(matches!(error, crate::RecoveryError::Foreign { slot: 9, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_slasher_changes_no_commitment_that_was_made() {
    let mut world = World::new();
    let gateway = world.run();
    let now = now_ms();
    gateway.queue.take(world.window(9, now, now + FAR)).unwrap();
    let first = gateway.first(&world.transaction(0)).await;
    gateway.end();

    world.slasher = Address::repeat_byte(7);
    let gateway = world.run();
    let again = gateway.submit(world.transaction(0)).await.unwrap();
    assert_eq!(again.signed.commitment, first.signed.commitment);
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_floor_the_seal_still_goes_through() {
    let world = World::new();
    let now = now_ms();
    let gateway = world.run();
    gateway.queue.take(world.window(9, now, now + 500)).unwrap();
    let first = gateway.first(&world.transaction(0)).await;
    gateway.end();

    let mut gateway = Gateway::start(&world, world.folder.path(), u64::MAX);
    let sealed = gateway.sealed.recv().await.unwrap();
    assert_eq!(sealed.seal.ordering.kind, CommitmentKind::WindowSeal);
    assert_eq!(sealed.seal.ordering.parent, first.signed.ordering.hash());
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_open_in_a_restored_backup_gets_no_further_link() {
    let world = World::new();
    let now = now_ms();
    let gateway = world.run();
    gateway.queue.take(world.window(9, now, now + 700)).unwrap();
    gateway.first(&world.transaction(0)).await;
    gateway.end();

    let journal = Journal::open(&world.folder.path().join("journal"), Options::default()).unwrap();
    sit_out_if_unsure(&journal, true, now_ms()).unwrap();
    journal.close();
    let mut gateway = world.run();
    gateway.queue.take(world.window(9, now, now + 700)).unwrap();
    assert_eq!(gateway.submit(world.transaction(1)).await.unwrap_err(), Refusal::NotOpen);
    // The next window is ordered as ever; of the one sat out there is not even a seal.
    gateway.queue.take(world.window(10, now_ms(), now_ms() + 100)).unwrap();
    let sealed = gateway.sealed.recv().await.unwrap();
    assert_eq!(sealed.seal.ordering.slot, Slot(10));
    gateway.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_over_before_it_could_be_opened_is_sealed_empty() {
    let world = World::new();
    let mut gateway = world.run();
    let now = now_ms();
    gateway.queue.take(world.window(9, now - 900, now - 100)).unwrap();
    let sealed = gateway.sealed.recv().await.unwrap();
    assert_eq!(sealed.seal.ordering.kind, CommitmentKind::WindowSeal);
    assert_eq!((sealed.seal.ordering.first_index, sealed.transactions.len()), (0, 0));
    gateway.end();
}

#[test]
fn a_new_journal_sits_out_what_began_before_it() {
    let world = World::new();
    let journal = Journal::open(&world.folder.path().join("journal"), Options::default()).unwrap();
    sit_out_if_unsure(&journal, false, 77).unwrap();
    sit_out_if_unsure(&journal, false, 99).unwrap();
    let secret = EcdsaSecret::random();
    let committer = Committer { secret, network: NETWORK, slasher: Address::ZERO };
    let recovered = recover(&journal, &committer, Address::ZERO, &Board::new([ROLLUP]), &[], 64).unwrap();
    assert_eq!(recovered.sit_out_before_ms, 77);
}

//! The protection record as a state machine: whatever is done to it, in whatever order, and wherever the process dies, no key ever
//! signs two different delegations for one slot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use earnest_builder_types::bls::SecretKey;
use earnest_builder_types::{BlsPublicKey, BlsSignature};
use earnest_journal::{
    AppendError, Batch, Claim, Entry, Journal, Log, OpenError, Options, ReadError, Subscription,
};
use earnest_proposer::delegation_record::{self, RecordError};
use earnest_proposer::protected_signer::{ProtectedSigner, SignError};
use earnest_proposer::protection::{self, ImportError, Interchange, horizon};
use earnest_proposer::validator_keys::OwnKeys;
use earnest_protocol::Slot;
use earnest_protocol::objects::{Delegation, SlotAllocation};
use earnest_protocol::signing::Network;
use earnest_signer::{BlsSigner, LocalBls, SignerError, Signing, SigningRequest};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tempfile::TempDir;

const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 0, 0], chain_id: 1337 };
const EPOCH: u64 = 4;

fn secrets() -> [SecretKey; 2] {
    [1u8, 2].map(|byte| SecretKey::from_bytes(&[byte; 32]).unwrap())
}

fn delegation(key: usize, slot: u64, variant: u8) -> Delegation {
    let proposer = secrets()[key].public_key();
    let allocation =
        SlotAllocation { slot: Slot(slot), start_ms: 1, auction_root: B256::ZERO, entries: Vec::new() };
    Delegation {
        proposer,
        delegate: proposer,
        committer: Address::repeat_byte(variant),
        slot: Slot(slot),
        metadata: allocation.to_metadata(),
    }
}

/// Keys that remember every root they ever signed, whatever became of the signature.
#[derive(Clone, Default)]
struct Witness(Arc<Mutex<BTreeSet<(BlsPublicKey, B256)>>>);

struct Watched(LocalBls, Witness);

impl BlsSigner for Watched {
    fn public_keys(&self) -> Vec<BlsPublicKey> {
        self.0.public_keys()
    }

    fn sign<'a>(&'a self, key: &'a BlsPublicKey, request: SigningRequest) -> Signing<'a, BlsSignature> {
        self.1.0.lock().insert((*key, request.signing_root()));
        self.0.sign(key, request)
    }
}

/// Where the process dies while it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    /// Before the write of this number, from 0.
    Before(u32),
    /// After the write of this number, unacknowledged.
    After(u32),
}

/// A journal whose process dies at a write; from then on nothing works.
#[derive(Debug)]
struct Mortal {
    journal: Journal,
    crash: Option<Crash>,
    writes: Mutex<u32>,
    dead: Mutex<bool>,
}

impl Mortal {
    fn write(&self, batch: Batch) -> Result<u64, AppendError> {
        if *self.dead.lock() {
            return Err(AppendError::Closed);
        }
        let mut writes = self.writes.lock();
        let number = *writes;
        *writes += 1;
        if self.crash == Some(Crash::Before(number)) {
            *self.dead.lock() = true;
            return Err(AppendError::Closed);
        }
        let written = self.journal.append_next(batch);
        if self.crash == Some(Crash::After(number)) {
            *self.dead.lock() = true;
            return Err(AppendError::Closed);
        }
        written
    }
}

impl Log for Mortal {
    fn head(&self) -> u64 {
        self.journal.head()
    }
    fn head_hash(&self) -> B256 {
        self.journal.head_hash()
    }
    fn append(&self, _: u64, batch: Batch) -> Result<u64, AppendError> {
        self.write(batch)
    }
    fn append_next(&self, batch: Batch) -> Result<u64, AppendError> {
        self.write(batch)
    }
    fn append_owed(&self, _: Option<u64>, batch: Batch) -> Result<u64, AppendError> {
        self.write(batch)
    }
    fn read(&self, from: u64, records: usize, bytes: usize) -> Result<Vec<Entry>, ReadError> {
        self.journal.read(from, records, bytes)
    }
    fn read_recent(&self, from: u64, records: usize) -> Option<Vec<Entry>> {
        self.journal.read_recent(from, records)
    }
    fn claimed(&self, key: &[u8]) -> Result<Option<B256>, ReadError> {
        self.journal.claimed(key)
    }
    fn claims(&self, prefix: &[u8]) -> Result<Vec<Claim>, ReadError> {
        self.journal.claims(prefix)
    }
    fn subscribe(&self, from: u64) -> Subscription {
        self.journal.subscribe(from)
    }
}

/// What an operator, a crash or the clock may do.
#[derive(Debug, Clone)]
enum Step {
    /// Signs one of several delegations for a slot of the lookahead.
    Sign { key: usize, slot: u64, variant: u8, crash: Option<Crash> },
    /// The process is killed and starts again.
    Restart,
    /// A second process is started beside it.
    SecondProcess,
    /// The record is written to a file that is kept.
    Export,
    /// The disk is lost; the kept file is imported into a new record with the floor that is safe now. The import may die at a
    /// write, and is then done again.
    Restore { crash: Option<u32> },
    /// An old copy of the folder comes back, and the operator gives the floor.
    OldFolder,
    /// A copy of the folder is kept.
    CopyFolder,
    /// Time passes.
    Pass(u64),
    /// This machine's clock is set to something else.
    ClockJump(i64),
}

/// What must hold: which variant each place has been claimed for, as far as anybody can know.
#[derive(Debug, Clone, Default)]
struct Model {
    /// The slot it truly is, as the beacon chain has it.
    now: u64,
    /// What this machine's clock says.
    clock: u64,
    exported: bool,
    copied: bool,
}

struct Machine;

impl ReferenceStateMachine for Machine {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::default()).boxed()
    }

    fn transitions(state: &Model) -> BoxedStrategy<Step> {
        let visible = horizon(state.now, EPOCH);
        let crash = prop_oneof![
            3 => Just(None),
            2 => (0u32..2).prop_map(|write| Some(Crash::Before(write))),
            2 => (0u32..2).prop_map(|write| Some(Crash::After(write))),
        ];
        let sign = (0usize..2, state.now..=visible, 0u8..3, crash)
            .prop_map(|(key, slot, variant, crash)| Step::Sign { key, slot, variant, crash });
        let restore = proptest::option::of(0u32..4).prop_map(|crash| Step::Restore { crash });
        prop_oneof![
            10 => sign,
            2 => Just(Step::Restart),
            1 => Just(Step::SecondProcess),
            2 => Just(Step::Export),
            2 => restore,
            1 => Just(Step::CopyFolder),
            1 => Just(Step::OldFolder),
            2 => (1u64..6).prop_map(Step::Pass),
            1 => (-50i64..50).prop_map(Step::ClockJump),
        ]
        .boxed()
    }

    fn preconditions(state: &Model, step: &Step) -> bool {
        match step {
            // The lookahead is the beacon node's, whatever this machine's clock says.
            Step::Sign { slot, .. } => (state.now..=horizon(state.now, EPOCH)).contains(slot),
            Step::Restore { .. } => state.exported,
            Step::OldFolder => state.copied,
            _ => true,
        }
    }

    fn apply(mut state: Model, step: &Step) -> Model {
        match step {
            Step::Pass(slots) => {
                state.now += slots;
                state.clock += slots;
            }
            Step::ClockJump(by) => state.clock = state.clock.saturating_add_signed(*by),
            Step::Export => state.exported = true,
            Step::CopyFolder => state.copied = true,
            _ => {}
        }
        state
    }
}

struct Host {
    folder: TempDir,
    journal: Journal,
    witness: Witness,
    file: Option<Interchange>,
    copy: Option<TempDir>,
    /// What each place was signed or claimed for by any host ever.
    first: BTreeMap<(usize, u64), u8>,
    /// What each root that was ever asked for is of.
    asked: BTreeMap<B256, (usize, u64, u8)>,
    runtime: tokio::runtime::Runtime,
}

fn options() -> Options {
    Options { free_space_floor: 0, cache_bytes: 1 << 20, recent_bytes: 1 << 16 }
}

impl Host {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let journal = Journal::open(folder.path(), options()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (witness, file, copy, first, asked) = Default::default();
        Self { folder, journal, witness, file, copy, first, asked, runtime }
    }

    fn open(&mut self) {
        self.journal = Journal::open(self.folder.path(), options()).unwrap();
        delegation_record::restore(&self.journal, &[]).unwrap();
    }

    fn restart(&mut self) {
        self.journal.close();
        self.open();
    }

    fn sign(&mut self, key: usize, slot: u64, variant: u8, crash: Option<Crash>) {
        let mortal =
            Mortal { journal: self.journal.clone(), crash, writes: Mutex::default(), dead: Mutex::default() };
        let log: Arc<dyn Log> = Arc::new(mortal);
        let watched = Watched(LocalBls::new(secrets()), self.witness.clone());
        let keys = OwnKeys::new(Arc::new(watched), Arc::clone(&log));
        let signer = ProtectedSigner::new(log, keys, NETWORK);
        let message = delegation(key, slot, variant);
        self.asked.insert(NETWORK.message_root(&message).unwrap(), (key, slot, variant));
        let outcome = self.runtime.block_on(async {
            signer.claim(&message).await?;
            signer.sign(message.clone()).await
        });
        let before = self.first.get(&(key, slot)).copied();
        match &outcome {
            Ok(signed) => {
                signed.verify(&NETWORK, &secrets()[key].public_key()).unwrap();
                assert!(before.is_none_or(|before| before == variant), "a second delegation of {slot}");
                self.first.insert((key, slot), variant);
            }
            Err(SignError::Record(RecordError::AlreadyDelegated(_))) => {
                assert!(before.is_some_and(|before| before != variant), "refused though it is the first");
            }
            Err(SignError::Record(RecordError::Refused(SignerError::BelowFloor { .. }))) => {}
            Err(error) => {
                assert!(crash.is_some(), "{error}");
                // What is in the record may count from now on, what is not does not.
                let place = (Slot(slot), secrets()[key].public_key());
                let claimed =
                    self.journal.claimed(&earnest_proposer::validator_keys::claim_key(place).to_bytes());
                if claimed.unwrap().is_some() {
                    self.first.entry((key, slot)).or_insert(variant);
                }
            }
        }
        if crash.is_some() {
            self.restart();
        }
    }

    fn import(&mut self, file: &Interchange, floor: u64, crash: Option<u32>) {
        if let Some(write) = crash {
            let mortal = Mortal {
                journal: self.journal.clone(),
                crash: Some(if write % 2 == 0 { Crash::Before(write / 2) } else { Crash::After(write / 2) }),
                writes: Mutex::default(),
                dead: Mutex::default(),
            };
            let _ = protection::import(&mortal, file, &NETWORK, Some(floor));
            self.restart();
        }
        protection::import(&self.journal, file, &NETWORK, Some(floor)).unwrap();
        delegation_record::restore(&self.journal, &[]).unwrap();
    }

    /// The one thing that must hold.
    fn nothing_was_signed_twice(&self) {
        let mut signed: BTreeMap<(usize, u64), BTreeSet<u8>> = BTreeMap::new();
        for (_, root) in self.witness.0.lock().iter() {
            let (key, slot, variant) = self.asked[root];
            signed.entry((key, slot)).or_default().insert(variant);
        }
        for (place, variants) in signed {
            assert_eq!(variants.len(), 1, "{place:?} was signed for {variants:?}");
        }
    }
}

fn copy(from: &std::path::Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

impl StateMachineTest for Host {
    type SystemUnderTest = Self;
    type Reference = Machine;

    fn init_test(_: &Model) -> Self {
        Self::start()
    }

    fn apply(mut host: Self, state: &Model, step: Step) -> Self {
        // Whoever restores asks the beacon node and the clock, and takes the later.
        let floor = horizon(state.now.max(state.clock), EPOCH);
        match step {
            Step::Sign { key, slot, variant, crash } => host.sign(key, slot, variant, crash),
            Step::Restart => host.restart(),
            Step::SecondProcess => {
                let second = Journal::open(host.folder.path(), options());
                assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
            }
            Step::Export => host.file = Some(protection::export(&host.journal, &NETWORK).unwrap()),
            Step::Restore { crash } => {
                host.journal.close();
                host.folder = TempDir::new().unwrap();
                host.open();
                let file = serde_json::to_string(host.file.as_ref().unwrap()).unwrap();
                host.import(&serde_json::from_str(&file).unwrap(), floor, crash);
            }
            Step::CopyFolder => {
                host.journal.close();
                host.copy = Some(copy(host.folder.path()));
                host.open();
            }
            Step::OldFolder => {
                host.journal.close();
                host.folder = copy(host.copy.as_ref().unwrap().path());
                host.open();
                let mut nothing = protection::export(&host.journal, &NETWORK).unwrap();
                nothing.data.clear();
                host.import(&nothing, floor, None);
            }
            Step::Pass(_) | Step::ClockJump(_) => {}
        }
        host
    }

    fn check_invariants(host: &Self, _: &Model) {
        host.nothing_was_signed_twice();
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_key_signs_two_delegations_for_a_slot(sequential 1..30 => Host);
}

fn recorded(places: &[(usize, u64, u8)]) -> (TempDir, Journal) {
    let folder = TempDir::new().unwrap();
    let journal = Journal::open(folder.path(), options()).unwrap();
    for (key, slot, variant) in places {
        delegation_record::claim(&journal, &delegation(*key, *slot, *variant), &NETWORK).unwrap();
    }
    (folder, journal)
}

#[test]
fn a_record_moves_to_another_host_and_back_as_the_same_file() {
    let (_old, journal) = recorded(&[(0, 10, 0), (0, 12, 1), (1, 12, 2)]);
    let file = protection::export(&journal, &NETWORK).unwrap();
    let (_new, other) = recorded(&[]);
    let imported = protection::import(&other, &file, &NETWORK, None).unwrap();
    assert_eq!((imported.added, imported.known), (3, 0));
    let again = protection::import(&other, &file, &NETWORK, None).unwrap();
    assert_eq!((again.added, again.known), (0, 3));

    let mut expected = file;
    for key in &mut expected.data {
        key.floor = key.signed_delegations.iter().map(|signed| signed.slot).max();
    }
    assert_eq!(protection::export(&other, &NETWORK).unwrap(), expected);
    // The slots are as constrained on the new host as they were on the old one.
    let plan = delegation_record::restore(&other, &[]).unwrap();
    for (key, slot, variant) in [(0, 10, 0), (0, 12, 1), (1, 12, 2)] {
        let message = delegation(key, slot, variant);
        assert_eq!(plan.delegation(message.slot, message.proposer), Some(&message));
        assert!(!plan.is_elsewhere((message.slot, message.proposer)));
    }
    let between = delegation(0, 11, 0);
    assert!(plan.is_elsewhere((between.slot, between.proposer)), "it may be that it was signed");
}

#[test]
fn a_place_of_which_only_the_root_is_known_is_closed() {
    let (_old, journal) = recorded(&[(0, 10, 0)]);
    let mut file = protection::export(&journal, &NETWORK).unwrap();
    file.data[0].signed_delegations[0].delegation = None;
    let (folder, other) = recorded(&[]);
    protection::import(&other, &file, &NETWORK, None).unwrap();
    other.close();
    let other = Journal::open(folder.path(), options()).unwrap();
    let message = delegation(0, 10, 0);
    let plan = delegation_record::restore(&other, &[]).unwrap();
    assert!(plan.is_elsewhere((message.slot, message.proposer)));
    let refused = delegation_record::claim(&other, &delegation(0, 10, 1), &NETWORK);
    assert!(matches!(refused, Err(RecordError::AlreadyDelegated(_))), "{refused:?}");
}

#[test]
fn a_file_that_contradicts_itself_or_the_record_is_refused_whole() {
    let (_old, journal) = recorded(&[(0, 10, 0), (1, 30, 0)]);
    let good = protection::export(&journal, &NETWORK).unwrap();
    let (_other, other) = recorded(&[(0, 10, 1)]);
    let elsewhere = Network { chain_id: 1, ..NETWORK };
    let changed = |change: fn(&mut Interchange)| {
        let mut file = good.clone();
        change(&mut file);
        file
    };
    let twice = changed(|file| {
        let mut second = file.data[0].signed_delegations[0].clone();
        second.delegation = None;
        second.signing_root = B256::ZERO;
        file.data[0].signed_delegations.push(second);
    });
    let other_root = changed(|file| file.data[0].signed_delegations[0].signing_root = B256::ZERO);
    let other_slot = changed(|file| file.data[0].signed_delegations[0].slot = Slot(11));
    let version = changed(|file| file.metadata.interchange_format_version = "2".to_owned());
    let (_fresh, fresh) = recorded(&[]);
    let import = |log: &Journal, file: &Interchange| protection::import(log, file, &NETWORK, Some(500));
    assert!(matches!(import(&other, &good), Err(ImportError::Conflict { .. })));
    assert!(matches!(import(&fresh, &twice), Err(ImportError::Conflict { .. })));
    assert!(matches!(import(&fresh, &other_root), Err(ImportError::OtherRoot(_))));
    assert!(matches!(import(&fresh, &other_slot), Err(ImportError::OtherRoot(_))));
    assert!(matches!(import(&fresh, &version), Err(ImportError::Format)));
    let refused = protection::import(&fresh, &good, &elsewhere, None);
    assert!(matches!(refused, Err(ImportError::Network(_))));
    assert_eq!((fresh.head(), other.head()), (0, 1), "nothing was written");
    assert!(serde_json::from_str::<Interchange>(r#"{"metadata":{},"data":[]}"#).is_err());
}

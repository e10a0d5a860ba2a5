//! What the ordering engine signs never convicts; what a forked or cheating one signs always does.

use super::*;
use crate::{
    fixtures::{NETWORK, ROLLUP, SLOT, committer, config, opaque_tx, signed},
    merkle::MerkleTree,
    objects::{BundleCommitment, Commitment, CommitmentKind, Leg, OrderingCommitment, SignedCommitment},
    ordering::{Draft, Limits, State, WindowEngine},
    sol,
};
use alloy_primitives::{Address, B256, keccak256};
use proptest::prelude::*;
use std::sync::Arc;

const CLOCK: Clock = Clock { genesis_ms: 1_700_000_000_000, slot_ms: 12_000 };

/// The slasher is the one that [`signed`] names.
fn judge() -> Judge {
    Judge {
        network: NETWORK,
        clock: CLOCK,
        slasher: Address::repeat_byte(0x51),
        inbox: Address::repeat_byte(0x1b),
        times: Times::of_design(CLOCK.slot_ms),
    }
}

fn facts() -> Facts {
    // The head that the engine fixes is 3.
    Facts { now: CLOCK.start_seconds(SLOT) + 60, forced_head: 3, ..Facts::default() }
}

fn file(evidence: Evidence) -> EvidenceFile {
    let Judge { network, clock, slasher, inbox, .. } = judge();
    EvidenceFile { network, clock, slasher, inbox, committer: Some(committer().address()), evidence }
}

fn verdict(evidence: Evidence) -> Verdict {
    judge().judge(&file(evidence).charge().unwrap(), &facts())
}

fn reason(evidence: Evidence) -> Reason {
    match verdict(evidence) {
        Verdict::Innocent(reason) => reason,
        Verdict::Guilty(conviction) => panic!("{conviction:?}"),
    }
}

fn convicted(evidence: Evidence) -> Conviction {
    match verdict(evidence) {
        Verdict::Guilty(conviction) => conviction,
        Verdict::Innocent(reason) => panic!("{reason}"),
    }
}

type SignedOrdering = SignedPayload<OrderingCommitment>;

/// A link of the log: as signed, and the transactions that it stands for (a seal's, all of its segment).
#[derive(Debug, Clone)]
struct Link {
    signed: SignedOrdering,
    first: u32,
    hashes: Vec<B256>,
}

impl Link {
    fn of(draft: &Draft) -> Self {
        let ordering = &draft.commitment;
        let hashes = match &draft.batch {
            Some(batch) => batch.iter().map(keccak256).collect(),
            None => draft.txs.iter().map(|tx| tx.hash).collect(),
        };
        let first = if ordering.kind.is_seal() { 0 } else { ordering.first_index };
        Self { signed: readable(&signed(draft)), first, hashes }
    }

    fn ordering(&self) -> &OrderingCommitment {
        &self.signed.payload
    }

    /// The transaction at `index` of the segment and its path; nothing and none if there is none.
    fn at(&self, index: u32) -> (B256, Vec<B256>) {
        let position = index.checked_sub(self.first).and_then(|position| usize::try_from(position).ok());
        let tree = MerkleTree::over(self.first.into(), &self.hashes);
        position
            .and_then(|position| Some((*self.hashes.get(position)?, tree.path(position)?)))
            .unwrap_or_default()
    }
}

fn readable(signed: &SignedCommitment) -> SignedOrdering {
    sol::SignedCommitment::from(signed).try_into().unwrap()
}

fn sign(ordering: &OrderingCommitment) -> SignedOrdering {
    let commitment = Commitment::of_ordering(ordering, judge().slasher);
    readable(&SignedCommitment::sign(commitment, &committer(), &NETWORK).unwrap())
}

fn sign_bundle(legs: Vec<Leg>) -> SignedPayload<BundleCommitment> {
    let bundle = BundleCommitment { bundle_hash: B256::repeat_byte(1), legs };
    let commitment = Commitment {
        commitment_type: 0x12,
        payload: crate::objects::Object::abi_encode(&bundle).into(),
        request_hash: B256::ZERO,
        slasher: judge().slasher,
    };
    let signed = SignedCommitment::sign(commitment, &committer(), &NETWORK).unwrap();
    sol::SignedCommitment::from(&signed).try_into().unwrap()
}

/// Small segments, so that a short life has several.
const LIMITS: Limits = Limits {
    max_batch_bytes: 17 * 1024,
    max_segments: 3,
    max_microblock_txs: 3,
    max_microblock_bytes: 8 << 20,
};

#[derive(Debug, Clone)]
enum Step {
    Push { id: u32, size: usize },
    Write,
    Close,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u32..1_000, 4usize..1_500).prop_map(|(id, size)| Step::Push { id, size }),
        4 => Just(Step::Write),
        1 => Just(Step::Close),
    ];
    prop::collection::vec(step, 1..25)
}

fn open() -> WindowEngine {
    WindowEngine::open(config(LIMITS), Arc::default())
}

/// Lives through the steps; the links that are signed.
fn live(engine: &mut WindowEngine, steps: &[Step]) -> Vec<Link> {
    let mut links = Vec::new();
    let mut write = |engine: &mut WindowEngine| {
        if engine.draft(1_000).is_none() {
            return false;
        }
        links.push(Link::of(&engine.committed().unwrap()));
        true
    };
    for step in steps {
        match step {
            Step::Push { id, size } => drop(engine.push(opaque_tx(*id, *size))),
            Step::Write => drop(write(engine)),
            Step::Close => drop(engine.close()),
        }
    }
    // What waits is written, as a gateway does; so a window that closes is sealed.
    while write(engine) {}
    links
}

/// Every charge that two links, or one, can be brought under, with whatever evidence is at hand.
fn charges(one: &Link, other: &Link) -> Vec<Evidence> {
    let (commitment, second) = (one.signed.clone(), other.signed.clone());
    let mut charges = vec![
        Evidence::Equivocation(Equivocation { commitment: commitment.clone(), other: second.clone() }),
        Evidence::BrokenChain(BrokenChain { commitment: commitment.clone(), previous: None }),
        Evidence::BrokenChain(BrokenChain { commitment: commitment.clone(), previous: Some(second.clone()) }),
        Evidence::PostSeal(PostSeal { commitment: commitment.clone(), seal: second.clone() }),
        Evidence::ForcedInclusionSkipped(ForcedInclusionSkipped { commitment: commitment.clone() }),
    ];
    let past = one.first + u32::try_from(one.hashes.len()).unwrap();
    for index in one.first..=past {
        let (tx_hash, path) = one.at(index);
        let (sealed_tx_hash, sealed_path) = other.at(index);
        charges.push(Evidence::Omission(Omission {
            commitment: commitment.clone(),
            index,
            tx_hash,
            path: path.clone(),
            seal: second.clone(),
            sealed_tx_hash,
            sealed_path: sealed_path.clone(),
        }));
        // A bundle that promises what the link holds, as a gateway would.
        let OrderingCommitment { rollup_id, slot, segment, .. } = *one.ordering();
        if index < past {
            charges.push(Evidence::AtomicityBreak(AtomicityBreak {
                commitment: sign_bundle(vec![Leg { rollup_id, slot, segment, index, tx_hash }]),
                leg: 0,
                shown: second.clone(),
                shown_tx_hash: sealed_tx_hash,
                path: sealed_path,
            }));
        }
    }
    charges
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_honest_window_convicts_nobody(steps in steps()) {
        let links = live(&mut open(), &steps);
        for one in &links {
            for other in &links {
                for evidence in charges(one, other) {
                    let fault = evidence.fault();
                    let file = file(evidence);
                    let found = judge().judge(&file.charge().unwrap(), &facts());
                    prop_assert!(matches!(found, Verdict::Innocent(_)), "{}: {:?}", fault.name(), file);
                }
            }
        }
    }

    #[test]
    fn a_window_on_l1_in_time_is_not_missed(steps in steps()) {
        let start = CLOCK.start_seconds(SLOT);
        let in_time = Facts { record_time: start, ..facts() };
        for link in live(&mut open(), &steps) {
            let commitment = Promise::Ordering(link.signed);
            let charge = file(Evidence::MissedWindow(MissedWindow { commitment, leg: 0 })).charge().unwrap();
            prop_assert_eq!(judge().accuse(&charge, &in_time), Err(Reason::RecordedInTime));
            prop_assert_eq!(judge().judge(&charge, &in_time), Verdict::Innocent(Reason::NotAccused));
        }
    }

    /// One log, restored from a backup and written on, or one key in two processes.
    #[test]
    fn a_forked_engine_is_guilty_of_equivocation(before in steps(), one in steps(), other in steps()) {
        let mut engine = open();
        live(&mut engine, &before);
        let mut twin = engine.clone();
        let (one, other) = (live(&mut engine, &one), live(&mut twin, &other));
        // From where the two part, both have signed for the same places, as far as both go.
        let parted = one.iter().zip(&other).find(|(a, b)| a.ordering() != b.ordering());
        if let Some((a, b)) = parted {
            prop_assert_eq!(a.ordering().number, b.ordering().number);
            for (a, b) in [(a, b), (b, a)] {
                let evidence = Equivocation { commitment: a.signed.clone(), other: b.signed.clone() };
                let expected = Conviction {
                    fault: Fault::Equivocation,
                    signer: committer().address(),
                    rollup_id: ROLLUP,
                    slot: SLOT,
                    penalty: Penalty::Safety,
                };
                prop_assert_eq!(verdict(Evidence::Equivocation(evidence)), Verdict::Guilty(expected));
            }
        }
    }

    #[test]
    fn a_seal_that_is_not_the_segment_is_guilty_of_omission(
        steps in steps(),
        swap in any::<(prop::sample::Index, prop::sample::Index)>(),
        drop_last: bool,
    ) {
        let mut engine = open();
        let mut links = live(&mut engine, &steps);
        engine.close();
        links.extend(live(&mut engine, &[]));
        prop_assert_eq!(engine.state(), State::Sealed);
        let Some(seal) = links.iter().rfind(|link| !link.hashes.is_empty() && link.ordering().kind.is_seal())
        else {
            return Ok(());
        };
        let mut hashes = seal.hashes.clone();
        let (a, b) = (swap.0.index(hashes.len()), swap.1.index(hashes.len()));
        hashes.swap(a, b);
        if drop_last {
            hashes.pop();
        }
        let cheat = OrderingCommitment {
            first_index: u32::try_from(hashes.len()).unwrap(),
            tx_root: MerkleTree::over(0, &hashes).root(),
            ..seal.ordering().clone()
        };
        let cheat = Link { signed: sign(&cheat), first: 0, hashes };
        for index in 0..u32::try_from(seal.hashes.len()).unwrap() {
            let holds = |link: &&Link| {
                let ordering = link.ordering();
                ordering.segment == cheat.ordering().segment && !ordering.kind.is_seal() && !link.at(index).0.is_zero()
            };
            let microblock = links.iter().find(holds).unwrap();
            let (tx_hash, path) = microblock.at(index);
            let (sealed_tx_hash, sealed_path) = cheat.at(index);
            let found = verdict(Evidence::Omission(Omission {
                commitment: microblock.signed.clone(),
                index,
                tx_hash,
                path,
                seal: cheat.signed.clone(),
                sealed_tx_hash,
                sealed_path,
            }));
            if sealed_tx_hash == tx_hash {
                prop_assert_eq!(found, Verdict::Innocent(Reason::SameTransaction));
            } else {
                prop_assert!(matches!(found, Verdict::Guilty(_)), "{:?}", found);
            }
        }
    }

    /// Nothing that is changed in a file leaves it guilty, but for what says nothing of the fault.
    #[test]
    fn no_byte_of_the_evidence_can_be_changed(at: prop::sample::Index, to in b'0'..=b'f') {
        let (a, b) = two_starts();
        let file = file(Evidence::Equivocation(Equivocation { commitment: a, other: b }));
        let mut json = serde_json::to_vec(&file).unwrap();
        let at = at.index(json.len());
        json[at] = to;
        let Ok(changed) = serde_json::from_slice::<EvidenceFile>(&json) else { return Ok(()) };
        // When slots start, and which Inbox it is, an equivocation does not ask.
        if changed.evidence == file.evidence && changed.committer == file.committer && changed.network == file.network {
            return Ok(());
        }
        let found = changed.charge().map(|charge| changed.judge(judge().times).judge(&charge, &facts()));
        prop_assert!(!matches!(found, Ok(Verdict::Guilty(_))), "{:?}", changed);
    }
}

/// Two starts of one window.
fn two_starts() -> (SignedOrdering, SignedOrdering) {
    let start = |id| {
        let mut engine = open();
        live(&mut engine, &[Step::Push { id, size: 40 }]).swap_remove(0).signed
    };
    (start(1), start(2))
}

#[test]
fn a_file_says_what_it_is_and_for_whom() {
    let (commitment, other) = two_starts();
    let file = file(Evidence::Equivocation(Equivocation { commitment, other }));
    let json = serde_json::to_value(&file).unwrap();
    assert_eq!(json["evidence"]["fault"], "equivocation");
    assert_eq!(json["evidence"]["commitment"]["payload"]["rollup_id"], ROLLUP.to_string());
    assert_eq!(json["clock"]["slot_ms"], "12000");
    assert_eq!(serde_json::from_value::<EvidenceFile>(json.clone()).unwrap(), file);

    let mut unknown = json;
    unknown["evidence"]["more"] = "1".into();
    assert!(serde_json::from_value::<EvidenceFile>(unknown).is_err());
    let mut no_committer = file;
    no_committer.committer = None;
    assert!(no_committer.charge().is_err());
}

#[test]
fn calldata_and_file_are_two_forms_of_one_charge() {
    let (commitment, other) = two_starts();
    let charge = file(Evidence::Equivocation(Equivocation { commitment, other })).charge().unwrap();
    let Charge::Commitment { committer, .. } = charge else { panic!("not against a committer") };
    let (judged, evidence) = (charge.judged_bytes(), charge.evidence_bytes());
    assert_eq!(Charge::against_committer(committer, &judged, evidence.clone()), Ok(charge.clone()));
    let long = [&judged[..], &[0; 32]].concat();
    assert!(Charge::against_committer(committer, &long, evidence.clone()).is_err());
    // Evidence that is no evidence is a charge, and the judge says so; there is no file of it.
    let bad = Charge::against_committer(committer, &judged, evidence.slice(32..)).unwrap();
    assert_eq!(judge().judge(&bad, &facts()), Verdict::Innocent(Reason::MalformedEvidence));
    assert!(EvidenceFile::of(&judge(), bad).is_err());
    assert_eq!(EvidenceFile::of(&judge(), charge.clone()).unwrap().charge(), Ok(charge));
}

#[test]
fn each_place_is_counted_for_the_rollup_that_was_harmed() {
    let (commitment, other) = two_starts();
    let leg = |rollup: u64, slot: u64| Leg {
        rollup_id: RollupId(rollup),
        slot: Slot(slot),
        segment: 0,
        index: 0,
        tx_hash: B256::repeat_byte(9),
    };
    let bundle = sign_bundle(vec![leg(1, 99), leg(ROLLUP.0, SLOT.0)]);
    let sealed = OrderingCommitment {
        first_index: 0,
        tx_count: 0,
        tx_root: B256::ZERO,
        kind: CommitmentKind::WindowSeal,
        ..commitment.payload
    };
    let broken = AtomicityBreak {
        commitment: bundle,
        leg: 1,
        shown: sign(&sealed),
        shown_tx_hash: B256::ZERO,
        path: Vec::new(),
    };
    let found = convicted(Evidence::AtomicityBreak(broken.clone()));
    assert_eq!((found.rollup_id, found.slot), (ROLLUP, SLOT));
    let other_leg = AtomicityBreak { leg: 0, ..broken };
    assert_eq!(reason(Evidence::AtomicityBreak(other_leg)), Reason::OtherPlace);
    let found = convicted(Evidence::Equivocation(Equivocation { commitment, other }));
    assert_eq!((found.fault, found.penalty), (Fault::Equivocation, Penalty::Safety));
}

#[test]
fn times_do_not_overflow() {
    let clock = Clock { genesis_ms: u64::MAX, slot_ms: u64::MAX };
    assert_eq!(clock.start_ms(Slot(u64::MAX)), u128::MAX - u128::from(u64::MAX));
    assert_eq!(clock.start_seconds(Slot(u64::MAX)), u64::MAX);
    assert_eq!(CLOCK.forced_due_seconds(Slot(95)), None);
    assert_eq!(CLOCK.forced_due_seconds(SLOT), Some(1_700_000_048));
    // Slots that do not start at a whole second: a block is later if its second is.
    let clock = Clock { genesis_ms: 500, slot_ms: 1_500 };
    assert_eq!(clock.start_seconds(Slot(1)), 2);
    assert_eq!(clock.start_seconds(Slot(2)), 3);
}

#[test]
fn every_fault_has_its_number_and_name() {
    for (number, fault) in (1u8..).zip(Fault::ALL) {
        assert_eq!(u8::from(fault), number);
        assert_eq!(Fault::try_from(number), Ok(fault));
    }
    assert!(Fault::try_from(0).is_err() && Fault::try_from(11).is_err());
}

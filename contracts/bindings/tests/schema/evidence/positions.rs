//! Omission, AtomicityBreak, ForcedInclusionSkipped: what stands at a place, against what was promised there.

use super::{
    CLOCK, Case, NOW, Pen, ROLLUP, SLOT, START,
    cases::{ORDERING, charge_of, write},
    judge,
    orderings::{Base, Microblock, SegmentSeal, WindowSeal, ordering},
    pen::envelope,
};
use crate::examples::hash;
use alloy_primitives::{B256, Bytes};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    RollupId, Slot,
    evidence::{Charge, Fault},
    merkle::MerkleTree,
    objects::{BundleCommitment, CommitmentKind, CommitmentType, Leg, Object, OrderingCommitment},
    sol,
};

/// The transaction promised at `index` of the segment.
fn tx(index: u32) -> B256 {
    hash(&format!("transaction {index}"))
}

fn txs(range: std::ops::Range<u32>) -> Vec<B256> {
    range.map(tx).collect()
}

/// A microblock that holds `hashes` from `first` on, and its tree.
fn microblock(first: u32, hashes: &[B256]) -> (OrderingCommitment, MerkleTree) {
    let tree = MerkleTree::over(first.into(), hashes);
    let tx_count = u32::try_from(hashes.len()).unwrap();
    (OrderingCommitment { first_index: first, tx_count, tx_root: tree.root(), ..ordering() }, tree)
}

/// The segment's seal over `hashes`, and its tree.
fn seal(kind: CommitmentKind, hashes: &[B256]) -> (OrderingCommitment, MerkleTree) {
    let tree = MerkleTree::over(0, hashes);
    let first_index = u32::try_from(hashes.len()).unwrap();
    let link = OrderingCommitment { number: 9, tx_count: 0, kind, ..ordering() };
    (OrderingCommitment { first_index, tx_root: tree.root(), ..link }, tree)
}

fn path(tree: &MerkleTree, position: u32) -> Vec<B256> {
    tree.path(usize::try_from(position).unwrap()).unwrap()
}

/// The segment with another order: transactions 17 and 18 changed places.
fn reordered() -> Vec<B256> {
    let mut hashes = txs(0..20);
    hashes.swap(17, 18);
    hashes
}

/// The parts of an Omission.
#[derive(Clone)]
struct Omitted {
    judged: OrderingCommitment,
    seal: OrderingCommitment,
    index: u32,
    tx_hash: B256,
    path: Vec<B256>,
    sealed: B256,
    sealed_path: Vec<B256>,
}

impl Omitted {
    /// What `judged` promised at `index`, against what the seal over `hashes` has there.
    fn of(first: u32, promised: &[B256], index: u32, kind: CommitmentKind, hashes: &[B256]) -> Self {
        let (judged, tree) = microblock(first, promised);
        let (seal, sealed_tree) = seal(kind, hashes);
        let sealed = hashes.get(usize::try_from(index).unwrap()).copied();
        Self {
            path: path(&tree, index - first),
            tx_hash: promised[usize::try_from(index - first).unwrap()],
            index,
            sealed: sealed.unwrap_or_default(),
            sealed_path: sealed.map(|_| path(&sealed_tree, index)).unwrap_or_default(),
            judged,
            seal,
        }
    }

    /// Transactions 17 to 19, of which the seal has 18 and 17 the other way round.
    fn swapped() -> Self {
        Self::of(17, &txs(17..20), 17, SegmentSeal, &reordered())
    }

    fn changed(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    fn detail(&self, seal: sol::SignedCommitment) -> Vec<u8> {
        sol::OmissionEvidence {
            index: self.index,
            txHash: self.tx_hash,
            path: self.path.clone(),
            seal,
            sealedTxHash: self.sealed,
            sealedPath: self.sealed_path.clone(),
        }
        .abi_encode()
    }

    fn charge(&self) -> Charge {
        let pen = Pen::default();
        let evidence = envelope(Fault::Omission.into(), &self.detail(pen.sign(&self.seal)));
        charge_of(pen.sign(&self.judged), evidence)
    }

    fn guilty(&self, name: &str) -> Case {
        Case::guilty(name, self.charge())
    }

    fn innocent(&self, name: &str, reason: &'static str) -> Case {
        Case::innocent(name, self.charge(), reason)
    }
}

#[test]
fn omission() {
    let swapped = Omitted::swapped();
    let honest = Omitted::of(17, &txs(17..20), 17, SegmentSeal, &txs(0..20));
    let short = |count| Omitted::of(17, &txs(17..20), 19, WindowSeal, &txs(0..count));
    let mut replaced = txs(0..20);
    replaced[19] = hash("another transaction");
    let mut blank = txs(0..20);
    blank[18] = B256::ZERO;
    let innocent =
        |name: &str, change: &dyn Fn(&mut Omitted), reason| swapped.changed(change).innocent(name, reason);
    let (_, by_position) = microblock(0, &txs(17..20));
    let neighbour = Omitted::of(17, &txs(17..20), 18, SegmentSeal, &reordered());
    let mut cases = vec![
        swapped.guilty("two transactions change places"),
        neighbour.guilty("two transactions change places, the other one"),
        Omitted::of(17, &txs(17..20), 19, SegmentSeal, &replaced)
            .guilty("another transaction at the last index"),
        Omitted::of(17, &txs(17..20), 18, WindowSeal, &blank)
            .guilty("a transaction of hash zero in the seal"),
        short(19).guilty("a seal that counts one too few"),
        short(17).guilty("a seal that counts none of the microblock's"),
        short(0).guilty("an empty seal"),
        Omitted::of(0, &txs(0..1), 0, WindowSeal, &txs(1..2))
            .guilty("one transaction alone, and another in its place"),
        Omitted::of(0, &txs(0..1), 0, SegmentSeal, &[]).guilty("one transaction alone, left out"),
        Omitted::of(16, &txs(16..24), 23, SegmentSeal, &txs(1..33)).guilty("full trees, moved by one"),
        Omitted::of(3, &txs(3..8), 7, SegmentSeal, &txs(1..18)).guilty("trees just above a power of two"),
        Omitted::of(0, &txs(0..20), 19, SegmentSeal, &txs(1..21))
            .guilty("a microblock as large as the segment"),
        swapped.changed(|case| case.judged.number = 11).guilty("a microblock after the seal"),
        swapped.changed(|case| case.seal.kind = WindowSeal).guilty("the window's seal"),
        honest.innocent("an honest seal", "SameTransaction"),
        Omitted::of(16, &txs(16..24), 23, WindowSeal, &txs(0..24))
            .innocent("an honest seal of full trees", "SameTransaction"),
        innocent("an index below the microblock's", &|case| case.index = 16, "IndexOutside"),
        innocent("an index above the microblock's", &|case| case.index = 20, "IndexOutside"),
        innocent(
            "an index far above, at the same position of a tree",
            &|case| case.index = 17 + 4,
            "IndexOutside",
        ),
        innocent("a microblock without transactions", &|case| case.judged.tx_count = 0, "IndexOutside"),
        innocent("the seal itself is judged", &|case| case.judged = case.seal.clone(), "IndexOutside"),
        innocent(
            "a seal that counts transactions of its own is judged",
            &|case| case.judged.kind = SegmentSeal,
            "IndexOutside",
        ),
        innocent("the path of the next position", &|case| case.path = neighbour.path.clone(), "BadPath"),
        innocent(
            "a leaf that counts positions, not indices",
            &|case| {
                case.judged.tx_root = by_position.root();
                case.path = path(&by_position, 0);
            },
            "BadPath",
        ),
        innocent("a path that is too short", &|case| case.path.truncate(1), "BadPath"),
        innocent("a path that is padded", &|case| case.path.push(B256::ZERO), "BadPath"),
        innocent("no path", &|case| case.path.clear(), "BadPath"),
        innocent("a path in the wrong order", &|case| case.path.reverse(), "BadPath"),
        innocent("a transaction that was not promised", &|case| case.tx_hash = tx(18), "BadPath"),
        innocent("a count that makes the tree deeper", &|case| case.judged.tx_count = 5, "BadPath"),
        innocent(
            "the seal's path of the next position",
            &|case| {
                case.sealed_path = neighbour.sealed_path.clone();
            },
            "BadPath",
        ),
        innocent("a seal's path that is too short", &|case| case.sealed_path.truncate(4), "BadPath"),
        innocent("a seal's path that is padded", &|case| case.sealed_path.push(B256::ZERO), "BadPath"),
        innocent("no seal's path", &|case| case.sealed_path.clear(), "BadPath"),
        innocent(
            "nothing, where the seal has something",
            &|case| {
                (case.sealed, case.sealed_path) = (B256::ZERO, Vec::new());
            },
            "BadPath",
        ),
        innocent("a transaction that the seal has elsewhere", &|case| case.sealed = tx(19), "BadPath"),
        short(19)
            .changed(|case| case.sealed = tx(18))
            .innocent("a transaction, where the seal counts none", "BadPath"),
        short(19)
            .changed(|case| case.sealed_path.push(B256::ZERO))
            .innocent("a path, where the seal counts none", "BadPath"),
        innocent("a microblock for the seal", &|case| case.seal.kind = Microblock, "NotASeal"),
        innocent("the seal of another segment", &|case| case.seal.segment += 1, "OtherPlace"),
        innocent("the seal of another slot", &|case| case.seal.slot.0 += 1, "OtherPlace"),
        innocent("the seal of another rollup", &|case| case.seal.rollup_id.0 += 1, "OtherPlace"),
    ];
    let base = Base {
        fault: Fault::Omission,
        judged: (ORDERING.into(), swapped.judged.abi_encode()),
        not_taken: "NotAnOrdering",
        other: Some(swapped.seal.clone()),
        detail: &|seal| swapped.detail(seal.unwrap()),
    };
    cases.extend(base.at_once());
    write(Fault::Omission, &judge(), &cases);
}

/// The parts of an AtomicityBreak.
#[derive(Clone)]
struct Broken {
    bundle: BundleCommitment,
    leg: u16,
    shown: OrderingCommitment,
    shown_tx: B256,
    path: Vec<B256>,
}

/// A bundle of three legs; the second is transaction 18 of the segment.
fn bundle() -> BundleCommitment {
    let leg = Leg { rollup_id: ROLLUP, slot: SLOT, segment: 2, index: 18, tx_hash: tx(18) };
    let legs = vec![
        Leg { rollup_id: RollupId(7), index: 3, ..leg.clone() },
        leg.clone(),
        Leg { rollup_id: RollupId(9), segment: 0, index: 0, ..leg },
    ];
    BundleCommitment { bundle_hash: hash("bundle"), legs }
}

impl Broken {
    fn of((shown, tree): (OrderingCommitment, MerkleTree), position: u32, shown_tx: B256) -> Self {
        Self { bundle: bundle(), leg: 1, path: path(&tree, position), shown, shown_tx }
    }

    fn left_out(shown: OrderingCommitment) -> Self {
        Self { bundle: bundle(), leg: 1, shown, shown_tx: B256::ZERO, path: Vec::new() }
    }

    /// The microblock holds another transaction in the leg's place.
    fn in_microblock() -> Self {
        Self::of(microblock(17, &[tx(18), tx(17), tx(19)]), 1, tx(17))
    }

    fn changed(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut changed = self.clone();
        change(&mut changed);
        changed
    }

    fn detail(&self, shown: sol::SignedCommitment) -> Vec<u8> {
        let (leg, path) = (self.leg, self.path.clone());
        sol::AtomicityEvidence { leg, shown, shownTxHash: self.shown_tx, path }.abi_encode()
    }

    fn charge(&self) -> Charge {
        let pen = Pen::default();
        let evidence = envelope(Fault::AtomicityBreak.into(), &self.detail(pen.sign(&self.shown)));
        charge_of(pen.sign(&self.bundle), evidence)
    }

    fn guilty(&self, name: &str) -> Case {
        Case::guilty(name, self.charge())
    }

    fn innocent(&self, name: &str, reason: &'static str) -> Case {
        Case::innocent(name, self.charge(), reason)
    }
}

#[test]
fn atomicity_break() {
    let broken = Broken::in_microblock();
    let in_seal = Broken::of(seal(SegmentSeal, &reordered()), 18, tx(17));
    let short = |count| Broken::left_out(seal(WindowSeal, &txs(0..count)).0);
    let innocent =
        |name: &str, change: &dyn Fn(&mut Broken), reason| broken.changed(change).innocent(name, reason);
    let sealed =
        |name: &str, change: &dyn Fn(&mut Broken), reason| in_seal.changed(change).innocent(name, reason);
    let raw = |name: &str, payload: Vec<u8>| {
        let pen = Pen::default();
        let evidence = envelope(Fault::AtomicityBreak.into(), &broken.detail(pen.sign(&broken.shown)));
        Case::innocent(name, charge_of(pen.sign_payload(0x12, payload.into()), evidence), "NotABundle")
    };
    let first_leg = Broken::of(microblock(2, &[tx(2), tx(4)]), 1, tx(4)).changed(|case| {
        case.leg = 0;
        case.shown.rollup_id = RollupId(7);
    });
    let payload = bundle().abi_encode();
    let mut one_more = payload.clone();
    one_more[32 * 3 + 31] += 1;
    let mut wide = payload.clone();
    // The second leg's segment, as a uint16 has it not.
    wide[32 * (4 + 5 + 2) + 29] = 1;
    let mut cases = vec![
        broken.guilty("another transaction in a microblock"),
        in_seal.guilty("another transaction in the segment's seal"),
        in_seal
            .changed(|case| case.shown.kind = WindowSeal)
            .guilty("another transaction in the window's seal"),
        short(18).guilty("a seal that counts one too few"),
        short(3).guilty("a seal that counts far too few"),
        short(0).guilty("an empty seal"),
        Broken::of(microblock(18, &[tx(40)]), 0, tx(40)).guilty("a microblock of one transaction"),
        Broken::of(microblock(18, &txs(30..34)), 0, tx(30)).guilty("a microblock's first transaction"),
        Broken::of(microblock(11, &txs(30..38)), 7, tx(37)).guilty("a full microblock's last transaction"),
        Broken::of(seal(WindowSeal, &[tx(50), tx(51)]), 0, tx(50))
            .changed(|case| {
                case.leg = 2;
                case.shown.rollup_id = RollupId(9);
                case.shown.segment = 0;
            })
            .guilty("the last leg, against a seal"),
        first_leg.guilty("the first leg"),
        Broken::of(microblock(17, &[tx(18), B256::ZERO, tx(19)]), 1, B256::ZERO)
            .guilty("a transaction of hash zero"),
        broken
            .changed(|case| case.bundle.legs = vec![bundle().legs[1].clone(); 2])
            .guilty("a bundle of a leg twice"),
        Broken::of(microblock(17, &txs(17..20)), 1, tx(18))
            .innocent("a microblock that keeps it", "SameTransaction"),
        Broken::of(seal(SegmentSeal, &txs(0..20)), 18, tx(18))
            .innocent("a seal that keeps it", "SameTransaction"),
        Broken::of(seal(WindowSeal, &txs(0..19)), 18, tx(18))
            .innocent("a seal that keeps it as its last", "SameTransaction"),
        innocent("no such leg", &|case| case.leg = 3, "NoSuchLeg"),
        innocent("a leg far outside", &|case| case.leg = u16::MAX, "NoSuchLeg"),
        innocent("a bundle without legs", &|case| case.bundle.legs.clear(), "NoSuchLeg"),
        innocent("another leg's place", &|case| case.leg = 0, "OtherPlace"),
        innocent("of another segment", &|case| case.shown.segment += 1, "OtherPlace"),
        innocent("of another slot", &|case| case.shown.slot.0 += 1, "OtherPlace"),
        innocent("of another rollup", &|case| case.shown.rollup_id.0 += 1, "OtherPlace"),
        innocent("a microblock before the leg", &|case| case.shown.first_index = 15, "IndexOutside"),
        innocent("a microblock after the leg", &|case| case.shown.first_index = 19, "IndexOutside"),
        innocent("a microblock without transactions", &|case| case.shown.tx_count = 0, "IndexOutside"),
        innocent(
            "the path of the next position",
            &|case| {
                case.path = path(&microblock(17, &[tx(18), tx(17), tx(19)]).1, 2);
            },
            "BadPath",
        ),
        innocent("a path that is too short", &|case| case.path.truncate(1), "BadPath"),
        innocent("a path that is padded", &|case| case.path.push(B256::ZERO), "BadPath"),
        innocent("no path", &|case| case.path.clear(), "BadPath"),
        innocent("a transaction that stands elsewhere", &|case| case.shown_tx = tx(19), "BadPath"),
        innocent(
            "nothing, where the microblock has something",
            &|case| {
                (case.shown_tx, case.path) = (B256::ZERO, Vec::new());
            },
            "BadPath",
        ),
        sealed("a seal's path that is too short", &|case| case.path.truncate(4), "BadPath"),
        sealed("a seal's path that is padded", &|case| case.path.push(B256::ZERO), "BadPath"),
        sealed(
            "nothing, where the seal has something",
            &|case| {
                (case.shown_tx, case.path) = (B256::ZERO, Vec::new());
            },
            "BadPath",
        ),
        short(18)
            .changed(|case| case.shown_tx = tx(17))
            .innocent("a transaction, where the seal counts none", "BadPath"),
        short(18)
            .changed(|case| case.path.push(B256::ZERO))
            .innocent("a path, where the seal counts none", "BadPath"),
        raw("a bundle that counts a leg too many", one_more),
        raw("a bundle whose segment overflows", wide),
        raw("an ordering in a bundle's type", ordering().abi_encode()),
        Case::innocent(
            "a bundle in an ordering's type",
            charge_of(
                Pen::default().sign_payload(ORDERING.into(), payload.clone().into()),
                envelope(Fault::AtomicityBreak.into(), &broken.detail(Pen::default().sign(&broken.shown))),
            ),
            "NotABundle",
        ),
        broken
            .changed(|case| {
                case.bundle.legs[1].slot.0 += 220_000;
                case.shown.slot.0 += 220_000;
            })
            .guilty("a leg of a later slot")
            .at(START + 30 * super::DAY),
        broken
            .changed(|case| case.leg = 0)
            .innocent("the first leg's time is over", "TooLate")
            .at(START + 30 * super::DAY),
    ];
    let base = Base {
        fault: Fault::AtomicityBreak,
        judged: (CommitmentType::Bundle.into(), payload),
        not_taken: "NotABundle",
        other: Some(broken.shown.clone()),
        detail: &|shown| broken.detail(shown.unwrap()),
    };
    cases.extend(base.at_once());
    write(Fault::AtomicityBreak, &judge(), &cases);
}

#[test]
fn forced_inclusion_skipped() {
    let start =
        OrderingCommitment { segment: 0, number: 0, parent: B256::ZERO, first_index: 0, ..ordering() };
    let charge = |change: &dyn Fn(&mut OrderingCommitment)| {
        let mut judged = start.clone();
        change(&mut judged);
        charge_of(Pen::default().sign(&judged), envelope(Fault::ForcedInclusionSkipped.into(), &[]))
    };
    // The window's head is 6.
    let guilty = |name: &str, due: u64, change: &dyn Fn(&mut OrderingCommitment)| {
        Case::guilty(name, charge(change)).with(|facts| facts.forced_head = due)
    };
    let innocent = |name: &str, due: u64, change: &dyn Fn(&mut OrderingCommitment), reason| {
        Case::innocent(name, charge(change), reason).with(|facts| facts.forced_head = due)
    };
    let early = |slot: u64| CLOCK.start_seconds(Slot(slot)) + 60;
    let mut cases = vec![
        guilty("one item passed over", 7, &|_| {}),
        guilty("two items passed over", 8, &|_| {}),
        guilty("a head of zero", 1, &|judged| judged.forced_inclusion_head = 0),
        guilty("as many as there can be", u64::MAX, &|_| {}),
        guilty("the highest head but one", u64::MAX, &|judged| judged.forced_inclusion_head = u64::MAX - 1),
        guilty("an empty window's seal", 7, &|judged| (judged.tx_count, judged.kind) = (0, WindowSeal)),
        guilty("an empty first segment's seal", 7, &|judged| {
            (judged.tx_count, judged.kind) = (0, SegmentSeal);
        }),
        guilty("a start that has a parent", 7, &|judged| judged.parent = hash("parent")),
        guilty("another rollup", 7, &|judged| judged.rollup_id = RollupId(1)),
        guilty("before the slot", 7, &|_| {}).at(START - 100),
        guilty("the first slot for which any item can be due", 7, &|judged| judged.slot = Slot(96))
            .at(early(96)),
        innocent("all due items taken", 6, &|_| {}, "NothingSkipped"),
        innocent("more than the due items taken", 5, &|_| {}, "NothingSkipped"),
        innocent("no item due", 0, &|_| {}, "NothingSkipped"),
        innocent(
            "no item due, and a head of zero",
            0,
            &|judged| judged.forced_inclusion_head = 0,
            "NothingSkipped",
        ),
        innocent(
            "the highest head",
            u64::MAX,
            &|judged| judged.forced_inclusion_head = u64::MAX,
            "NothingSkipped",
        ),
        innocent(
            "a slot for which no item can be due",
            0,
            &|judged| judged.slot = Slot(95),
            "NothingSkipped",
        )
        .at(early(95)),
        innocent("slot 0", 0, &|judged| judged.slot = Slot(0), "NothingSkipped").at(early(0)),
        guilty("the first segment's number 1", 7, &|judged| judged.number = 1),
        guilty("the second segment's number 0", 7, &|judged| judged.segment = 1),
        guilty("a later segment's later number", 7, &|judged| (judged.segment, judged.number) = (2, 5)),
        guilty("a later segment's seal", 7, &|judged| {
            (judged.segment, judged.number, judged.tx_count, judged.kind) = (2, 5, 0, WindowSeal);
        }),
        Case::innocent(
            "with a detail",
            charge_of(Pen::default().sign(&start), envelope(Fault::ForcedInclusionSkipped.into(), &[1])),
            "MalformedEvidence",
        )
        .at(NOW),
    ];
    let base = Base {
        fault: Fault::ForcedInclusionSkipped,
        judged: (ORDERING.into(), start.abi_encode()),
        not_taken: "NotAnOrdering",
        other: None,
        detail: &|_| Vec::new(),
    };
    cases.extend(base.at_once().into_iter().map(|case| case.with(|facts| facts.forced_head = 7)));
    let bundle = Pen::default().sign_payload(0x12, Bytes::from(bundle().abi_encode()));
    let charge = charge_of(bundle, envelope(Fault::ForcedInclusionSkipped.into(), &[]));
    cases.push(Case::innocent("a bundle", charge, "NotAnOrdering"));
    write(Fault::ForcedInclusionSkipped, &judge(), &cases);
}

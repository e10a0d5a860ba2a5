//! Equivocation, BrokenChain, PostSeal: two commitments of one signer.

use super::{
    Case, DAY, Pen, ROLLUP, SLOT, START,
    cases::{ORDERING, charge, charge_of, write},
    judge,
    pen::{envelope, foreign_pens, other_form},
};
use crate::examples::hash;
use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    RollupId, Slot,
    evidence::{Charge, Fault},
    objects::{CommitmentKind, Object, OrderingCommitment},
    sol,
};

pub(super) use CommitmentKind::{Microblock, SegmentSeal, WindowSeal};

/// The microblock number 5 of segment 2.
pub(super) fn ordering() -> OrderingCommitment {
    OrderingCommitment {
        rollup_id: ROLLUP,
        slot: SLOT,
        segment: 2,
        number: 5,
        parent: hash("parent"),
        first_index: 17,
        tx_count: 3,
        tx_root: hash("root"),
        timestamp_ms: START * 1_000 - 20_000,
        forced_inclusion_head: 6,
        kind: Microblock,
    }
}

/// The link that follows `link`.
pub(super) fn next(link: &OrderingCommitment) -> OrderingCommitment {
    OrderingCommitment {
        number: link.number + 1,
        parent: link.hash(),
        first_index: link.first_index + link.tx_count,
        tx_root: hash("next root"),
        timestamp_ms: link.timestamp_ms + 4,
        ..link.clone()
    }
}

/// The seal that follows `link`.
pub(super) fn seal(link: &OrderingCommitment, kind: CommitmentKind) -> OrderingCommitment {
    OrderingCommitment { tx_count: 0, kind, ..next(link) }
}

/// A charge in which everything is right, to be spoilt one by one.
pub(super) struct Base<'a> {
    pub(super) fault: Fault,
    /// Type and payload of the judged commitment, and the error if they are not what the fault takes.
    pub(super) judged: (u64, Vec<u8>),
    pub(super) not_taken: &'static str,
    /// The commitment in the evidence, if the fault has one, and `detail` with it.
    pub(super) other: Option<OrderingCommitment>,
    pub(super) detail: &'a dyn Fn(Option<sol::SignedCommitment>) -> Vec<u8>,
}

impl Base<'_> {
    pub(super) fn charge(&self, judged: &Pen, other: &Pen) -> Charge {
        let other = self.other.as_ref().map(|ordering| other.sign(ordering));
        self.with_detail(judged, &(self.detail)(other))
    }

    fn with_detail(&self, pen: &Pen, detail: &[u8]) -> Charge {
        self.with_evidence(pen, envelope(self.fault.into(), detail))
    }

    fn with_evidence(&self, pen: &Pen, evidence: Bytes) -> Charge {
        let (commitment_type, payload) = self.judged.clone();
        charge_of(pen.sign_payload(commitment_type, payload.into()), evidence)
    }

    fn good_detail(&self) -> Vec<u8> {
        (self.detail)(self.other.as_ref().map(|ordering| Pen::default().sign(ordering)))
    }

    /// What holds for whatever is judged at once.
    pub(super) fn at_once(&self) -> Vec<Case> {
        let pen = Pen::default();
        let until = START + 3 * DAY;
        let good = || self.charge(&pen, &pen);
        let mut cases = vec![
            Case::guilty("in the last second in which evidence counts", good()).at(until),
            Case::innocent("a second too late", good(), "TooLate").at(until + 1),
        ];
        cases.extend(self.any_stage("UnauthorizedCommitment"));
        cases
    }

    /// What holds for a commitment and its evidence, whether it is judged or accused.
    pub(super) fn any_stage(&self, not_signed: &'static str) -> Vec<Case> {
        let pen = Pen::default();
        let good = self.good_detail();
        let evidence = envelope(self.fault.into(), &good);
        let mut cases = vec![
            Case::guilty(
                "in another form of signing, which the commitments carry",
                self.charge(&other_form(), &other_form()),
            ),
            Case::innocent(
                "the judged one names another slasher",
                self.charge(&Pen { slasher: Address::repeat_byte(0x51), ..pen.clone() }, &pen),
                "OtherSlasher",
            ),
        ];
        for (how, foreign) in foreign_pens() {
            let name = format!("the judged one is {how}");
            cases.push(Case::innocent(&name, self.charge(&foreign, &pen), not_signed));
        }

        let payload = |name: &str, commitment_type: u64, payload: Vec<u8>| {
            let charge = charge_of(pen.sign_payload(commitment_type, payload.into()), evidence.clone());
            Case::innocent(name, charge, self.not_taken)
        };
        let (judged_type, judged) = &self.judged;
        cases.extend([
            payload("the judged one is of type 1", 1, judged.clone()),
            payload(
                "the judged one's payload is a word too long",
                *judged_type,
                [&judged[..], &[0; 32]].concat(),
            ),
            payload(
                "the judged one's payload is a byte too short",
                *judged_type,
                judged[..judged.len() - 1].to_vec(),
            ),
            payload("the judged one has no payload", *judged_type, Vec::new()),
        ]);

        let of = |name: &str, evidence: Bytes, reason| {
            Case::innocent(name, self.with_evidence(&pen, evidence), reason)
        };
        cases.extend([
            of("no evidence", Bytes::new(), "MalformedEvidence"),
            of(
                "evidence with a word too many",
                [&evidence[..], &[0; 32]].concat().into(),
                "MalformedEvidence",
            ),
            of("evidence a byte short", evidence.slice(..evidence.len() - 1), "MalformedEvidence"),
            of(
                "detail with a word too many",
                envelope(self.fault.into(), &[&good[..], &[0; 32]].concat()),
                "MalformedEvidence",
            ),
        ]);
        if self.not_taken == "NotAnOrdering" {
            cases.extend([
                of("fault 0", envelope(0, &good), "UnknownFault"),
                of("fault 9, which the registry judges", envelope(9, &good), "UnknownFault"),
                of("fault 10, which takes a delegation", envelope(10, &[]), "UnknownFault"),
                of("fault 11", envelope(11, &good), "UnknownFault"),
            ]);
        }
        if !good.is_empty() {
            cases.push(of("no detail", envelope(self.fault.into(), &[]), "MalformedEvidence"));
            let short = envelope(self.fault.into(), &good[..good.len() - 32]);
            cases.push(of("detail a word short", short, "MalformedEvidence"));
        }
        if self.other.is_some() {
            cases.extend(self.other_commitment());
        }
        cases
    }

    fn other_commitment(&self) -> Vec<Case> {
        let pen = Pen::default();
        let payload = self.other.as_ref().unwrap().abi_encode();
        let mut cases = vec![Case::guilty(
            "the other one names another slasher",
            self.charge(&pen, &Pen { slasher: Address::ZERO, ..pen.clone() }),
        )];
        for (how, foreign) in foreign_pens() {
            let name = format!("the other one is {how}");
            cases.push(Case::innocent(&name, self.charge(&pen, &foreign), "OtherSigner"));
        }
        let of = |name: &str, commitment_type: u64, payload: Vec<u8>| {
            let other = pen.sign_payload(commitment_type, payload.into());
            let charge = self.with_detail(&pen, &(self.detail)(Some(other)));
            Case::innocent(name, charge, "NotAnOrdering")
        };
        let mut odd_kind = payload.clone();
        *odd_kind.last_mut().unwrap() = 3;
        let mut wide = payload.clone();
        // The number, as a uint32 has it not.
        wide[32 * 3] = 1;
        cases.extend([
            of("the other one is of type 1", 1, payload.clone()),
            of("the other one is of the bundles' type", 0x12, payload.clone()),
            of(
                "the other one's payload is a word too long",
                ORDERING.into(),
                [&payload[..], &[0; 32]].concat(),
            ),
            of("the other one's payload is a word short", ORDERING.into(), payload[32..].to_vec()),
            of("the other one is of kind 3", ORDERING.into(), odd_kind),
            of("the other one's number overflows", ORDERING.into(), wide),
        ]);
        cases
    }
}

/// Cases of two orderings, the judged one first.
pub(super) struct Pairs {
    fault: Fault,
    detail: fn(Vec<sol::SignedCommitment>) -> Vec<u8>,
}

impl Pairs {
    fn charge(&self, judged: &OrderingCommitment, others: &[&OrderingCommitment]) -> Charge {
        let pen = Pen::default();
        let others = others.iter().map(|other| pen.sign(*other)).collect();
        charge_of(pen.sign(judged), envelope(self.fault.into(), &(self.detail)(others)))
    }

    fn guilty(&self, name: &str, judged: &OrderingCommitment, others: &[&OrderingCommitment]) -> Case {
        Case::guilty(name, self.charge(judged, others))
    }

    fn innocent(
        &self,
        name: &str,
        judged: &OrderingCommitment,
        others: &[&OrderingCommitment],
        reason: &'static str,
    ) -> Case {
        Case::innocent(name, self.charge(judged, others), reason)
    }
}

#[test]
fn equivocation() {
    fn detail(others: Vec<sol::SignedCommitment>) -> Vec<u8> {
        sol::EquivocationEvidence { other: others.into_iter().next().unwrap() }.abi_encode()
    }
    let pairs = Pairs { fault: Fault::Equivocation, detail };
    let judged = ordering();
    let other = |change: &dyn Fn(&mut OrderingCommitment)| {
        let mut other = ordering();
        change(&mut other);
        other
    };
    let guilty =
        |name: &str, change: &dyn Fn(&mut OrderingCommitment)| pairs.guilty(name, &judged, &[&other(change)]);
    let innocent = |name: &str, change: &dyn Fn(&mut OrderingCommitment), reason| {
        pairs.innocent(name, &judged, &[&other(change)], reason)
    };
    let root = other(&|other| other.tx_root = hash("another root"));
    let far = OrderingCommitment {
        rollup_id: RollupId(u64::MAX),
        slot: Slot(u64::MAX),
        segment: u16::MAX,
        number: u32::MAX,
        ..ordering()
    };
    let far_other = OrderingCommitment { timestamp_ms: u64::MAX, ..far };
    let mut cases = vec![
        pairs.guilty("another root", &judged, &[&root]),
        pairs.guilty("another root, the other way round", &root, &[&judged]),
        guilty("another parent", &|other| other.parent = hash("another parent")),
        guilty("another first index", &|other| other.first_index += 1),
        guilty("another count", &|other| other.tx_count += 1),
        guilty("a millisecond later", &|other| other.timestamp_ms += 1),
        guilty("another forced-inclusion head", &|other| other.forced_inclusion_head += 1),
        guilty("a microblock and a seal", &|other| (other.tx_count, other.kind) = (0, SegmentSeal)),
        pairs.guilty(
            "two seals, of which one ends the window",
            &other(&|other| (other.tx_count, other.kind) = (0, SegmentSeal)),
            &[&other(&|other| (other.tx_count, other.kind) = (0, WindowSeal))],
        ),
        pairs.guilty(
            "two window starts",
            &other(&|other| (other.segment, other.number) = (0, 0)),
            &[&other(&|other| (other.segment, other.number, other.parent) = (0, 0, B256::ZERO))],
        ),
        guilty("all but the place differs", &|other| {
            *other = OrderingCommitment { number: 5, segment: 2, ..next(&seal(&ordering(), WindowSeal)) };
        }),
        pairs.guilty("at the last place that there is", &far, &[&far_other]),
        pairs.guilty("before the slot", &judged, &[&root]).at(START - 600),
        innocent("the same twice", &|_| {}, "SameCommitment"),
        Case::innocent(
            "the same, signed in another form",
            charge(
                Pen::default().sign(&judged),
                Fault::Equivocation,
                &sol::EquivocationEvidence { other: other_form().sign(&judged) },
            ),
            "SameCommitment",
        ),
        innocent("of another number", &|other| other.number += 1, "OtherPlace"),
        innocent("of another segment", &|other| other.segment += 1, "OtherPlace"),
        innocent("of another slot", &|other| other.slot.0 += 1, "OtherPlace"),
        innocent("of another rollup", &|other| other.rollup_id.0 += 1, "OtherPlace"),
        pairs.innocent("an honest chain", &next(&judged), &[&judged], "OtherPlace"),
    ];
    let base = Base {
        fault: Fault::Equivocation,
        judged: (ORDERING.into(), judged.abi_encode()),
        not_taken: "NotAnOrdering",
        other: Some(root),
        detail: &|other| detail(other.into_iter().collect()),
    };
    cases.extend(base.at_once());
    write(Fault::Equivocation, &judge(), &cases);
}

#[test]
fn broken_chain() {
    fn detail(previous: Vec<sol::SignedCommitment>) -> Vec<u8> {
        sol::BrokenChainEvidence { previous }.abi_encode()
    }
    let pairs = Pairs { fault: Fault::BrokenChain, detail };
    let previous = ordering();
    let start = OrderingCommitment { number: 0, parent: B256::ZERO, first_index: 0, ..ordering() };
    let changed = |link: OrderingCommitment, change: &dyn Fn(&mut OrderingCommitment)| {
        let mut link = link;
        change(&mut link);
        link
    };
    let alone = |name: &str, link: OrderingCommitment, change: &dyn Fn(&mut OrderingCommitment)| {
        pairs.guilty(name, &changed(link, change), &[])
    };
    let linked = |name: &str, change: &dyn Fn(&mut OrderingCommitment)| {
        pairs.guilty(name, &changed(next(&previous), change), &[&previous])
    };
    let parent = hash("no such link");
    let broken = changed(next(&previous), &|link| link.parent = parent);
    let full = OrderingCommitment { first_index: u32::MAX, tx_count: 2, ..ordering() };
    let mut wrapped = next(&ordering());
    (wrapped.parent, wrapped.first_index) = (full.hash(), 1);
    let mut cases = vec![
        alone("a number 0 with a parent", start.clone(), &|link| link.parent = parent),
        alone("a number 0 with a first index", start.clone(), &|link| link.first_index = 1),
        alone("a number 0 with both", start.clone(), &|link| (link.parent, link.first_index) = (parent, 9)),
        alone("a seal of number 0 that counts transactions", start.clone(), &|link| {
            (link.kind, link.tx_count, link.first_index) = (SegmentSeal, 0, 3);
        }),
        alone("a segment's seal with transactions", seal(&previous, SegmentSeal), &|link| link.tx_count = 1),
        alone("a window's seal with transactions", seal(&previous, WindowSeal), &|link| {
            link.tx_count = u32::MAX;
        }),
        pairs.guilty("another parent", &broken, &[&previous]),
        linked("no parent", &|link| link.parent = B256::ZERO),
        linked("the parent's parent", &|link| link.parent = previous.parent),
        linked("itself in another version as parent", &|link| link.parent = next(&previous).hash()),
        linked("a first index too low", &|link| link.first_index -= 1),
        linked("a first index too high", &|link| link.first_index += 1),
        linked("the first index of the one before", &|link| link.first_index = previous.first_index),
        pairs.guilty(
            "a seal that counts too few",
            &changed(seal(&previous, WindowSeal), &|link| link.first_index -= 1),
            &[&previous],
        ),
        pairs.guilty(
            "a seal that counts too many",
            &changed(seal(&previous, SegmentSeal), &|link| link.first_index += 1),
            &[&previous],
        ),
        pairs.guilty("an index that wraps around", &wrapped, &[&full]),
        pairs.guilty(
            "number 1 on a number 0",
            &changed(next(&start), &|link| link.parent = B256::ZERO),
            &[&start],
        ),
        pairs.innocent("a good number 0", &start, &[], "ChainHolds"),
        pairs.innocent(
            "an empty segment's seal",
            &changed(start.clone(), &|link| (link.kind, link.tx_count) = (WindowSeal, 0)),
            &[],
            "ChainHolds",
        ),
        pairs.innocent("a later microblock alone", &broken, &[], "ChainHolds"),
        pairs.innocent("a seal alone", &seal(&previous, SegmentSeal), &[], "ChainHolds"),
        pairs.innocent("a microblock that follows", &next(&previous), &[&previous], "ChainHolds"),
        pairs.innocent("number 1 that follows", &next(&start), &[&start], "ChainHolds"),
        pairs.innocent("a seal that follows", &seal(&previous, WindowSeal), &[&previous], "ChainHolds"),
        pairs.innocent(
            "a seal with transactions that follows, with the one before it",
            &changed(seal(&previous, SegmentSeal), &|link| link.tx_count = 1),
            &[&previous],
            "ChainHolds",
        ),
        pairs.innocent(
            "a microblock without transactions that follows",
            &changed(next(&previous), &|link| link.tx_count = 0),
            &[&previous],
            "ChainHolds",
        ),
        pairs.innocent(
            "two numbers on",
            &changed(broken.clone(), &|link| link.number += 1),
            &[&previous],
            "OtherPlace",
        ),
        pairs.innocent("the other way round", &previous, &[&broken], "OtherPlace"),
        pairs.innocent("the same number", &broken, &[&next(&previous)], "OtherPlace"),
        pairs.innocent(
            "number 0, and the number before none",
            &start,
            &[&changed(ordering(), &|link| link.number = u32::MAX)],
            "OtherPlace",
        ),
        pairs.innocent(
            "the next segment's number 0 after a seal",
            &changed(start.clone(), &|link| link.segment = 3),
            &[&seal(&previous, SegmentSeal)],
            "OtherPlace",
        ),
        pairs.innocent(
            "of another segment",
            &changed(broken.clone(), &|link| link.segment += 1),
            &[&previous],
            "OtherPlace",
        ),
        pairs.innocent(
            "of another slot",
            &changed(broken.clone(), &|link| link.slot.0 += 1),
            &[&previous],
            "OtherPlace",
        ),
        pairs.innocent(
            "of another rollup",
            &changed(broken.clone(), &|link| link.rollup_id.0 += 1),
            &[&previous],
            "OtherPlace",
        ),
        pairs.innocent("two before it", &broken, &[&previous, &previous], "MalformedEvidence"),
    ];
    let base = Base {
        fault: Fault::BrokenChain,
        judged: (ORDERING.into(), broken.abi_encode()),
        not_taken: "NotAnOrdering",
        other: Some(previous),
        detail: &|other| detail(other.into_iter().collect()),
    };
    cases.extend(base.at_once());
    write(Fault::BrokenChain, &judge(), &cases);
}

#[test]
fn post_seal() {
    fn detail(others: Vec<sol::SignedCommitment>) -> Vec<u8> {
        sol::PostSealEvidence { seal: others.into_iter().next().unwrap() }.abi_encode()
    }
    let pairs = Pairs { fault: Fault::PostSeal, detail };
    let segment_seal = seal(&ordering(), SegmentSeal);
    let window_seal = seal(&ordering(), WindowSeal);
    let at = |segment: u16, number: u32, kind| {
        let tx_count = if kind == Microblock { 3 } else { 0 };
        OrderingCommitment { segment, number, kind, tx_count, ..ordering() }
    };
    let after = at(2, 7, Microblock);
    let mut cases = vec![
        pairs.guilty("a microblock after a segment's seal", &after, &[&segment_seal]),
        pairs.guilty("a microblock after the window's seal", &after, &[&window_seal]),
        pairs.guilty("a microblock that follows from the seal", &next(&segment_seal), &[&segment_seal]),
        pairs.guilty("far after the seal", &at(2, u32::MAX, Microblock), &[&segment_seal]),
        pairs.guilty("a segment's second seal", &at(2, 7, SegmentSeal), &[&segment_seal]),
        pairs.guilty("a window's second seal", &at(2, 8, WindowSeal), &[&window_seal]),
        pairs.guilty("the window's seal after the segment's", &at(2, 7, WindowSeal), &[&segment_seal]),
        pairs.guilty("a segment after the window's last", &at(3, 0, Microblock), &[&window_seal]),
        pairs.guilty("a higher number in a segment after the last", &at(3, 9, Microblock), &[&window_seal]),
        pairs.guilty("the last segment that there is", &at(u16::MAX, 0, Microblock), &[&window_seal]),
        pairs.guilty("a seal in a segment after the window's last", &at(3, 1, SegmentSeal), &[&window_seal]),
        pairs.guilty("a window sealed twice, in two segments", &at(4, 0, WindowSeal), &[&window_seal]),
        pairs.guilty(
            "after an empty window's seal",
            &at(1, 0, Microblock),
            &[&OrderingCommitment { first_index: 0, parent: B256::ZERO, ..at(0, 0, WindowSeal) }],
        ),
        pairs.innocent("before the seal", &at(2, 5, Microblock), &[&segment_seal], "OtherPlace"),
        pairs.innocent("of the seal's number", &at(2, 6, Microblock), &[&segment_seal], "OtherPlace"),
        pairs.innocent("the seal itself", &window_seal, &[&window_seal], "OtherPlace"),
        pairs.innocent(
            "the next segment after a segment's seal",
            &at(3, 0, Microblock),
            &[&segment_seal],
            "OtherPlace",
        ),
        pairs.innocent(
            "a higher number in the next segment after a segment's seal",
            &at(3, 9, Microblock),
            &[&segment_seal],
            "OtherPlace",
        ),
        pairs.innocent(
            "a higher number in the segment before",
            &at(1, 9, Microblock),
            &[&segment_seal],
            "OtherPlace",
        ),
        pairs.innocent(
            "a higher number in a segment before the window's last",
            &at(1, 9, Microblock),
            &[&window_seal],
            "OtherPlace",
        ),
        pairs.innocent(
            "the other way round",
            &segment_seal,
            &[&OrderingCommitment { kind: SegmentSeal, ..after.clone() }],
            "OtherPlace",
        ),
        pairs.innocent("after a microblock", &after, &[&at(2, 6, Microblock)], "NotASeal"),
        pairs.innocent(
            "of another slot",
            &OrderingCommitment { slot: Slot(SLOT.0 + 1), ..after.clone() },
            &[&segment_seal],
            "OtherPlace",
        ),
        pairs.innocent(
            "of another rollup",
            &OrderingCommitment { rollup_id: RollupId(ROLLUP.0 + 1), ..after.clone() },
            &[&window_seal],
            "OtherPlace",
        ),
    ];
    let base = Base {
        fault: Fault::PostSeal,
        judged: (ORDERING.into(), after.abi_encode()),
        not_taken: "NotAnOrdering",
        other: Some(segment_seal),
        detail: &|other| detail(other.into_iter().collect()),
    };
    cases.extend(base.at_once());
    write(Fault::PostSeal, &judge(), &cases);
}

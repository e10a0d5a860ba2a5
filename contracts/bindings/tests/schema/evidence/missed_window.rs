//! MissedWindow: accusations, answers by what the relay held, rebuttals, and the end.

mod answer;

use super::{
    CLOCK, Case, Pen, ROLLUP, SLOT, START,
    cases::{ORDERING, charge, charge_of, write},
    orderings::{Base, Microblock, SegmentSeal, WindowSeal, ordering},
    pen::{envelope, foreign_pens, relay_pen},
};
use crate::examples::{self, hash};
use alloy_consensus::{TxEip2930, TxLegacy};
use alloy_eips::eip2930::AccessListItem;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolValue;
use answer::{Answer, dropped, raw};
use earnest_protocol::{
    RollupId, Slot,
    evidence::{AnswerFault, Charge, Facts, Fault, Judge, Penalty, Reason, Status, Times},
    inbox,
    objects::{
        BundleCommitment, CommitmentKind, Constraint, ConstraintStatus, Leg, Object, OrderingCommitment,
        SignedCommitment,
    },
    signing::EARNEST_SIGNING_ID,
    sol,
};

/// Ten minutes to answer: less than the late slots take.
fn judge() -> Judge {
    let times = Times { answer_seconds: 600, conclude_seconds: 1_200, ..super::judge().times };
    Judge { times, ..super::judge() }
}

/// When most accusations here are brought, and until when they can be answered.
const ACCUSED: u64 = START + 100;
const DEADLINE: u64 = ACCUSED + 600;
/// The start of slot n + 64.
const LAST: u64 = START + 64 * 12;

fn bundle() -> BundleCommitment {
    let leg = |rollup: u64, segment| Leg {
        rollup_id: RollupId(rollup),
        slot: SLOT,
        segment,
        index: 3,
        tx_hash: hash("leg"),
    };
    BundleCommitment { bundle_hash: hash("bundle"), legs: vec![leg(7, 0), leg(ROLLUP.0, 2)] }
}

fn on(judged: sol::SignedCommitment, leg: u16) -> Charge {
    charge(judged, Fault::MissedWindow, &sol::MissedWindowEvidence { leg })
}

/// Against the committer of segment 2, shown by its microblock 5.
fn accusation() -> Charge {
    on(Pen::default().sign(&ordering()), 0)
}

fn txs() -> Vec<Bytes> {
    [40usize, 120, 33].iter().zip(1u8..).map(|(size, fill)| vec![fill; *size].into()).collect()
}

fn accusations() -> Vec<Case> {
    let pen = Pen::default();
    let of = |change: &dyn Fn(&mut OrderingCommitment)| {
        let mut judged = ordering();
        change(&mut judged);
        on(pen.sign(&judged), 0)
    };
    let guilty = |name: &str, charge: Charge| Case::guilty(name, charge).accused().at(ACCUSED);
    let innocent =
        |name: &str, charge: Charge, reason| Case::innocent(name, charge, reason).accused().at(ACCUSED);
    let until = START + judge().times.evidence_seconds;
    let recorded = |case: Case, time: u64| case.with(|facts| facts.record_time = time);
    let mut cases = vec![
        guilty("a microblock, and no record", accusation()),
        guilty(
            "a segment's seal, and no record",
            of(&|judged| (judged.tx_count, judged.kind) = (0, SegmentSeal)),
        ),
        guilty(
            "a window's seal, and no record",
            of(&|judged| (judged.tx_count, judged.kind) = (0, WindowSeal)),
        ),
        guilty("segment 0, number 0", of(&|judged| (judged.segment, judged.number) = (0, 0))),
        guilty("a bundle's first leg", on(pen.sign(&bundle()), 0)),
        guilty("a bundle's last leg", on(pen.sign(&bundle()), 1)),
        guilty("a second after the slot's start", accusation()).at(START + 1),
        guilty("in the last second in which evidence counts", accusation()).at(until),
        recorded(guilty("recorded a second late", accusation()), START + 1),
        recorded(guilty("recorded in the last late slot", accusation()), LAST),
        innocent("at the slot's start", accusation(), "TooEarly").at(START),
        innocent("before the slot", accusation(), "TooEarly").at(START - 1_000),
        innocent("a second too late", accusation(), "TooLate").at(until + 1),
        recorded(innocent("recorded at the slot's start", accusation(), "RecordedInTime"), START),
        recorded(innocent("recorded long before", accusation(), "RecordedInTime"), START - 300),
        recorded(
            innocent("a bundle's leg, recorded in time", on(pen.sign(&bundle()), 1), "RecordedInTime"),
            START,
        ),
        innocent("a leg of an ordering", on(pen.sign(&ordering()), 1), "NoSuchLeg"),
        innocent("no such leg", on(pen.sign(&bundle()), 2), "NoSuchLeg"),
        innocent(
            "a bundle's payload with a word too many",
            {
                let payload = [bundle().abi_encode(), vec![0; 32]].concat();
                let evidence = envelope(6, &sol::MissedWindowEvidence { leg: 0 }.abi_encode());
                charge_of(pen.sign_payload(0x12, payload.into()), evidence)
            },
            "NotABundle",
        ),
        innocent(
            "a fault that is shown at once",
            {
                let other = pen.sign(&OrderingCommitment { timestamp_ms: 1, ..ordering() });
                charge(pen.sign(&ordering()), Fault::Equivocation, &sol::EquivocationEvidence { other })
            },
            "UnknownFault",
        ),
    ];
    let detail = sol::MissedWindowEvidence { leg: 0 }.abi_encode();
    let base = Base {
        fault: Fault::MissedWindow,
        judged: (ORDERING.into(), ordering().abi_encode()),
        not_taken: "NotAnOrdering",
        other: None,
        detail: &|_| detail.clone(),
    };
    cases.extend(base.any_stage("NotOperator").into_iter().map(Case::accused));
    cases
}

fn answers() -> Vec<Case> {
    let case = |name: &str, change: &dyn Fn(&mut Answer), bad: Option<&'static str>| {
        let answer = Answer::changed(|answer| change(answer)).encoded();
        let refused = bad.map(|bad| ("BadAnswer", bad));
        Case::answer(name, accusation(), ACCUSED, answer, refused)
            .at(ACCUSED + 60)
            .with(|facts| facts.relay = examples::relay().address())
    };
    let good = |name: &str, change: &dyn Fn(&mut Answer)| case(name, change, None);
    let bad = |name: &str, bad, change: &dyn Fn(&mut Answer)| case(name, change, Some(bad));
    let whole = |name: &str, refused| {
        Case::answer(name, accusation(), ACCUSED, Answer::good().encoded(), refused)
            .at(ACCUSED + 60)
            .with(|facts| facts.relay = examples::relay().address())
    };
    let sealed = |kind: CommitmentKind| move |answer: &mut Answer| answer.seal.kind = kind;
    let empty = |answer: &mut Answer| {
        answer.txs.clear();
        (answer.seal.first_index, answer.seal.tx_root) = (0, B256::ZERO);
    };
    let cutoff = START * 1_000 - judge().times.constraint_cutoff_ms;
    let encoded = Answer::good().encoded();
    let least = inbox::least_gas(
        inbox::encode_submit(
            &txs(),
            &SignedCommitment::try_from(Pen::default().sign(&Answer::good().seal)).unwrap(),
            None,
        )
        .unwrap()
        .len(),
    );
    let mut cases = vec![
        good("the batch was held", &|_| {}),
        good("the window's last batch was held", &sealed(WindowSeal)),
        good("an empty batch was held", &empty),
        good("a batch with its authority was held", &|answer| answer.with_authority = true),
        good("the third constraint", &|answer| (answer.before, answer.index) = (2, 2)),
        good("constraints for some to read", &|answer| answer.receivers = 2),
        good("received in the last millisecond", &|answer| answer.receipt.received_at_ms = cutoff - 1),
        good("the relay signs in another form", &|answer| {
            answer.relay = Pen { signing_id: hash("module"), nonce: 4, ..relay_pen() };
        }),
        good("the seal is signed in another form", &|answer| {
            answer.seal_pen = Pen { signing_id: hash("module"), nonce: 4, ..Pen::default() };
        }),
        good("the least gas that is enough", &|answer| answer.tx.gas_limit = least),
        whole("in the last second in which it can be answered", None).at(DEADLINE),
        whole("the rollup's relay is another than the others'", None).with(|facts| {
            facts.other_relays = vec![(ROLLUP, facts.relay)];
            facts.relay = Address::repeat_byte(1);
        }),
        Case::answer(
            "of a bundle's leg",
            on(Pen::default().sign(&bundle()), 1),
            ACCUSED,
            encoded.clone(),
            None,
        )
        .at(ACCUSED + 60)
        .with(|facts| facts.relay = examples::relay().address()),
        bad("constraints for another slot", "slot", &|answer| {
            answer.message = |message| message.slot = Slot(SLOT.0 + 1);
        }),
        bad("the constraint is for another slot", "slot", &|answer| answer.slot = Slot(SLOT.0 + 1)),
        bad("the receipt is for another slot", "slot", &|answer| answer.receipt.slot = Slot(SLOT.0 - 1)),
        bad("no such constraint", "index", &|answer| answer.index = 1),
        bad("another constraint of the message", "constraint", &|answer| {
            (answer.before, answer.index) = (1, 0);
        }),
        bad("a constraint of another type", "constraint", &|answer| {
            answer.constraint = |constraint| Constraint { constraint_type: 2, ..constraint };
        }),
        bad("a constraint's payload with a word too many", "constraint", &|answer| {
            answer.constraint = |constraint| Constraint {
                payload: [&constraint.payload[..], &[0; 32]].concat().into(),
                ..constraint
            };
        }),
        bad("a constraint without payload", "constraint", &|answer| {
            answer.constraint = |constraint| Constraint { payload: Bytes::new(), ..constraint };
        }),
        bad("a transaction for another chain", "transaction", &|answer| answer.tx.chain_id = 1),
        bad("a transaction to another", "transaction", &|answer| {
            answer.tx.to = TxKind::Call(Address::repeat_byte(7));
        }),
        bad("a transaction that makes a contract", "transaction", &|answer| answer.tx.to = TxKind::Create),
        bad("a transaction with ether", "transaction", &|answer| answer.tx.value = U256::from(1)),
        bad("a transaction with an access list", "transaction", &|answer| {
            let item = AccessListItem { address: Address::repeat_byte(7), storage_keys: Vec::new() };
            answer.tx.access_list = vec![item].into();
        }),
        bad("a legacy transaction", "transaction", &|answer| {
            answer.raw = |tx| {
                raw(TxLegacy {
                    chain_id: Some(tx.chain_id),
                    nonce: tx.nonce,
                    gas_price: tx.max_fee_per_gas,
                    gas_limit: tx.gas_limit,
                    to: tx.to,
                    value: tx.value,
                    input: tx.input,
                })
            };
        }),
        bad("a transaction of type 1", "transaction", &|answer| {
            answer.raw = |tx| {
                raw(TxEip2930 {
                    chain_id: tx.chain_id,
                    nonce: tx.nonce,
                    gas_price: tx.max_fee_per_gas,
                    gas_limit: tx.gas_limit,
                    to: tx.to,
                    value: tx.value,
                    input: tx.input,
                    access_list: Default::default(),
                })
            };
        }),
        bad("a transaction cut short", "transaction", &|answer| {
            answer.raw = |tx| {
                let raw = raw(tx);
                raw.slice(..raw.len() - 1)
            };
        }),
        bad("a transaction with a byte too many", "transaction", &|answer| {
            answer.raw = |tx| [&raw(tx)[..], &[0]].concat().into();
        }),
        bad("no transaction", "transaction", &|answer| answer.raw = |_| Bytes::new()),
        bad("a unit of gas too little", "gas", &|answer| answer.tx.gas_limit = least - 1),
        bad("another call", "batch", &|answer| {
            answer.input = |input| [&[1, 2, 3, 4], &input[4..]].concat().into();
        }),
        bad("no call", "batch", &|answer| answer.input = |_| Bytes::new()),
        bad("a call with a word too many", "batch", &|answer| {
            answer.input = |input| [&input[..], &[0; 32]].concat().into();
        }),
        bad("other transactions than the seal's", "batch", &|answer| answer.txs.swap(0, 1)),
        bad("a transaction less than the seal's", "batch", &|answer| {
            answer.txs.pop();
        }),
        bad("a microblock for the seal", "batch", &sealed(Microblock)),
        bad("a seal with transactions", "batch", &|answer| answer.seal.tx_count = 3),
        bad("a seal that nobody signed", "batch", &|answer| {
            answer.seal_pen.spoil = super::pen::Spoil::SmallV;
        }),
        bad("the seal names another slasher", "slasher", &|answer| {
            answer.seal_pen.slasher = Address::repeat_byte(0x51);
        }),
        bad("the seal of another rollup", "place", &|answer| answer.seal.rollup_id.0 += 1),
        bad("the seal of another slot", "place", &|answer| answer.seal.slot.0 += 1),
        bad("the seal of another segment", "place", &|answer| answer.seal.segment += 1),
        bad("another committer's seal", "committer", &|answer| answer.seal_pen.key = 0x55),
        bad("a seal for another chain", "committer", &|answer| answer.seal_pen.network.chain_id = 1),
        bad("a receipt of other constraints", "hash", &|answer| answer.receipt_hash = Some(hash("others"))),
        bad("a receipt of the same batch in other constraints", "hash", &|answer| {
            answer.receipt_hash = Some(Answer::changed(|other| other.receivers = 1).hash());
        }),
        bad("dropped", "status", &|answer| answer.receipt.status = ConstraintStatus::Dropped),
        bad("a status that there is not", "status", &|answer| answer.receipt_status = Some(2)),
        bad("received at the cut-off", "late", &|answer| answer.receipt.received_at_ms = cutoff),
        bad("received after the slot's start", "late", &|answer| {
            answer.receipt.received_at_ms = START * 1_000 + 1;
        }),
        whole("another relay than the rollup's", Some(("BadAnswer", "relay"))).with(|facts| {
            facts.other_relays = vec![(ROLLUP, Address::repeat_byte(1))];
        }),
        whole("a rollup without terms", Some(("BadAnswer", "relay")))
            .with(|facts| facts.relay = Address::ZERO),
        whole("a second after the time to answer", Some(("TooLate", ""))).at(DEADLINE + 1),
        whole("answered twice", Some(("WrongStatus", ""))).answered(ACCUSED + 5, &encoded),
        whole("with what was rebutted", Some(("BadAnswer", "dropped")))
            .answered(ACCUSED + 5, &encoded)
            .rebutted(ACCUSED + 9, &dropped(&Answer::good(), |_| {}, &relay_pen())),
        bad("no terms, and nobody's signature", "relay", &|answer| {
            answer.relay.spoil = super::pen::Spoil::Empty;
        })
        .with(|facts| facts.relay = Address::ZERO),
    ];
    for (how, foreign) in foreign_pens() {
        let key = if foreign.key == 0x55 { 0x55 } else { 0x44 };
        let name = format!("a receipt {how}");
        cases.push(bad(&name, "relay", &|answer| answer.relay = Pen { key, ..foreign.clone() }));
    }
    cases
}

fn rebuttals() -> Vec<Case> {
    let answer = Answer::good();
    let encoded = answer.encoded();
    let of = |name: &str, rebuttal: Bytes, refused| {
        Case::rebuttal(name, accusation(), ACCUSED, rebuttal, refused)
            .answered(ACCUSED + 60, &encoded)
            .at(ACCUSED + 120)
            .with(|facts| facts.relay = examples::relay().address())
    };
    let bad = |bad| Some(("BadAnswer", bad));
    let relay = relay_pen();
    let word = || dropped(&answer, |_| {}, &relay);
    let mut cases = vec![
        of("the relay dropped the constraints", word(), None),
        of(
            "the relay dropped them, it says in another form",
            dropped(&answer, |_| {}, &Pen { signing_id: hash("module"), nonce: 4, ..relay_pen() }),
            None,
        ),
        of(
            "the relay dropped them, and had them late",
            dropped(&answer, |receipt| receipt.receivedAtMs = u64::MAX, &relay),
            None,
        ),
        of("the relay dropped them, in the last second", word(), None).at(ACCUSED + 660),
        of("a second too late for a rebuttal", word(), Some(("TooLate", ""))).at(ACCUSED + 661),
        of("held after all", dropped(&answer, |receipt| receipt.status = 0, &relay), bad("status")),
        of("neither held nor dropped", dropped(&answer, |receipt| receipt.status = 2, &relay), bad("status")),
        of(
            "dropped others",
            dropped(&answer, |receipt| receipt.constraintsHash = hash("others"), &relay),
            bad("hash"),
        ),
        of("dropped for another slot", dropped(&answer, |receipt| receipt.slot += 1, &relay), bad("slot")),
        of("rebutted twice", word(), Some(("WrongStatus", ""))).rebutted(ACCUSED + 100, &word()),
        of("rebutted before there is an answer", word(), Some(("WrongStatus", "")))
            .answered(0, &Bytes::new()),
    ];
    for (how, foreign) in foreign_pens() {
        let key = if foreign.key == 0x55 { 0x55 } else { 0x44 };
        let name = format!("a rebuttal {how}");
        cases.push(of(&name, dropped(&answer, |_| {}, &Pen { key, ..foreign }), bad("relay")));
    }
    cases
}

fn conclusions() -> Vec<Case> {
    let answer = Answer::good();
    let encoded = answer.encoded();
    let word = dropped(&answer, |_| {}, &relay_pen());
    // Answer and late slots are over; `ripe` is the later of the two ends.
    let ripe = LAST;
    let guilty = |name: &str, penalty| {
        Case::guilty(name, accusation())
            .concluded(ACCUSED, penalty)
            .at(ripe + 60)
            .with(|facts| facts.relay = examples::relay().address())
    };
    let innocent = |name: &str, reason| {
        Case::innocent(name, accusation(), reason)
            .concluded(ACCUSED, Penalty::Safety)
            .at(ripe + 60)
            .with(|facts| facts.relay = examples::relay().address())
    };
    let recorded = |case: Case, time: u64| case.with(|facts| facts.record_time = time);
    let late = ripe + 300;
    vec![
        guilty("never recorded", Penalty::Safety),
        guilty("as soon as it can be", Penalty::Safety).at(ripe + 1),
        guilty("as late as it can be", Penalty::Safety).at(ripe + 1_200),
        recorded(guilty("recorded a second late, in the end", Penalty::Liveness), START + 1),
        recorded(guilty("recorded in the last late slot, in the end", Penalty::Liveness), LAST),
        recorded(guilty("recorded a second after the last late slot", Penalty::Safety), LAST + 1),
        recorded(guilty("recorded much later", Penalty::Safety), LAST + 12),
        guilty("its answer was rebutted", Penalty::Safety)
            .answered(ACCUSED + 60, &encoded)
            .rebutted(ACCUSED + 70, &word),
        guilty("its answer was rebutted in the last second", Penalty::Safety)
            .answered(DEADLINE, &encoded)
            .rebutted(DEADLINE + 600, &word)
            .at(DEADLINE + 600),
        guilty("as late as it can be after a late rebuttal", Penalty::Safety)
            .answered(DEADLINE, &encoded)
            .rebutted(DEADLINE + 600, &word)
            .at(DEADLINE + 599 + 1_200),
        Case::guilty("a bundle's leg, in the end", on(Pen::default().sign(&bundle()), 1))
            .concluded(ACCUSED, Penalty::Safety)
            .at(ripe + 60),
        guilty("accused late", Penalty::Safety).concluded(late, Penalty::Safety).at(late + 601),
        innocent("never accused", "NotAccused").concluded(0, Penalty::Safety),
        innocent("in the last second in which it can still be answered", "NotAccused").at(DEADLINE),
        innocent("in the last late slot", "TooEarly").at(LAST),
        innocent("between deadline and last late slot", "TooEarly").at(DEADLINE + 1),
        innocent("a second too late to conclude", "TooLate").at(ripe + 1_201),
        innocent("a second too late after a late rebuttal", "TooLate")
            .answered(DEADLINE, &encoded)
            .rebutted(DEADLINE + 600, &word)
            .at(DEADLINE + 599 + 1_201),
        innocent("answered, and it can be rebutted", "NotAccused").answered(DEADLINE, &encoded),
        innocent("answered, and was not rebutted", "NotAccused")
            .answered(ACCUSED + 60, &encoded)
            .at(ripe + 900),
        innocent("accused late, in the last second to answer", "NotAccused")
            .concluded(late, Penalty::Safety)
            .at(late + 600),
    ]
}

#[test]
fn missed_window() {
    assert_eq!(CLOCK.start_seconds(Slot(SLOT.0 + 64)), LAST);
    assert_eq!(relay_pen().signing_id, EARNEST_SIGNING_ID);
    let cases = [accusations(), answers(), rebuttals(), conclusions()].concat();
    write(Fault::MissedWindow, &judge(), &cases);
}

/// A stranger answers with what the relay dropped, before or after the accused: the better answer stands.
#[test]
fn an_answer_that_falls_leaves_the_others() {
    let judge = judge();
    let facts = |now| Facts { now, relay: examples::relay().address(), ..Facts::default() };
    let good = Answer::changed(|answer| answer.receivers = 1);
    let fallen = Answer::good();
    let word = dropped(&fallen, |_| {}, &relay_pen());
    let accused = judge.accuse(&accusation(), &facts(ACCUSED)).unwrap();
    let answered = |first: &Answer, second: &Answer| {
        let once = judge.answer(&accused, &first.encoded(), &facts(ACCUSED + 1)).unwrap();
        for again in [first, second] {
            let twice = judge.answer(&once, &again.encoded(), &facts(DEADLINE));
            assert_eq!(twice.is_ok(), again.hash() == second.hash());
        }
        judge.answer(&once, &second.encoded(), &facts(DEADLINE)).unwrap()
    };
    let after = answered(&fallen, &good);
    assert_eq!((after.status, after.rebuttable_until), (Status::Answered, DEADLINE + 600));
    assert_eq!(judge.rebut(&after, &word, &facts(DEADLINE + 600)), Err(Reason::BadAnswer(AnswerFault::Hash)));

    let before = answered(&good, &fallen);
    let one = judge.rebut(&before, &word, &facts(DEADLINE + 600)).unwrap();
    assert_eq!((one.status, one.standing.as_slice()), (Status::Answered, [good.hash()].as_slice()));
    let none = dropped(&good, |_| {}, &relay_pen());
    let none = judge.rebut(&one, &none, &facts(DEADLINE + 600)).unwrap();
    assert_eq!((none.status, none.answerable_until), (Status::Open, DEADLINE + 599));
}

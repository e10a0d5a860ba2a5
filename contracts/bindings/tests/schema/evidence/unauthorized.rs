//! UnauthorizedSequencing: accusations, and answers by the valid delegation.

use super::{
    Case, DAY, NETWORK, NOW, Pen, ROLLUP, SLOT, START,
    cases::{ORDERING, charge_of, write},
    committer_address, judge,
    orderings::{Base, SegmentSeal, WindowSeal, ordering},
    pen::{envelope, foreign_pens, other_form, relay_pen},
};
use crate::examples::{self, hash};
use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    BlsSignature, RollupId, Slot,
    evidence::{Charge, Fault, Payload, Penalty},
    objects::{Authority, Delegation, DelegationReceipt, Object, SlotAllocation},
    signing::{MessageType, Network, Signed, sol_root},
    sol,
};

const FAULT: Fault = Fault::UnauthorizedSequencing;

fn accusation<P: Payload>(pen: &Pen, judged: &P) -> Charge {
    charge_of(pen.sign(judged), envelope(FAULT.into(), &[]))
}

/// The parts of an answer.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) allocation: SlotAllocation,
    pub(super) delegation: Delegation,
    metadata: Option<Bytes>,
    /// The byte that the proposer's secret is made of.
    proposer: u8,
    /// Whether the proposer's signature is a point of the curve.
    is_point: bool,
    network: Network,
    delegation_nonce: Option<u64>,
    receipt: fn(&mut DelegationReceipt),
    relay: Pen,
}

impl Answer {
    pub(super) fn good() -> Self {
        let mut allocation = examples::allocation();
        allocation.slot = SLOT;
        allocation.start_ms = START * 1_000 - 18_000;
        for (entry, rollup) in allocation.entries.iter_mut().zip([ROLLUP, RollupId(4243)]) {
            (entry.rollup_id, entry.committer) = (rollup, committer_address());
        }
        let delegation = Delegation { slot: SLOT, ..examples::delegation() };
        Self {
            allocation,
            delegation,
            metadata: None,
            proposer: 0x11,
            is_point: true,
            network: NETWORK,
            delegation_nonce: None,
            receipt: |_| {},
            relay: relay_pen(),
        }
    }

    fn changed(change: impl FnOnce(&mut Self)) -> Self {
        let mut answer = Self::good();
        change(&mut answer);
        answer
    }

    fn encoded(&self) -> Bytes {
        let metadata = self.metadata.clone().unwrap_or_else(|| self.allocation.to_metadata());
        let message = Delegation { metadata, ..self.delegation.clone() };
        let mut receipt = DelegationReceipt::of(&message, START * 1_000 - 20_000).unwrap();
        (self.receipt)(&mut receipt);
        let proposer = earnest_builder_types::bls::SecretKey::from_bytes(&[self.proposer; 32]).unwrap();
        let mut delegation = Signed::<_, BlsSignature>::sign(message, &proposer, &self.network).unwrap();
        if let Some(nonce) = self.delegation_nonce {
            delegation.nonce = nonce;
        }
        let authority = Authority { delegation, receipt: Signed::new(receipt, Default::default()) };
        // The relay's signature may be of any length, which an `Authority` has not.
        let (mut delegation, mut receipt) =
            <(sol::SignedDelegation, sol::SignedDelegationReceipt)>::abi_decode_params(
                &authority.abi_encode().unwrap(),
            )
            .unwrap();
        if !self.is_point {
            delegation.signature.x_c0_b = B256::repeat_byte(1);
        }
        receipt.signature = self.relay.signature(sol_root(MessageType::DelegationReceipt, &receipt.receipt));
        (receipt.signingId, receipt.nonce) = self.relay.form();
        (delegation, receipt).abi_encode_params().into()
    }
}

fn accusations() -> Vec<Case> {
    let pen = Pen::default();
    let of = |change: &dyn Fn(&mut earnest_protocol::objects::OrderingCommitment)| {
        let mut judged = ordering();
        change(&mut judged);
        accusation(&pen, &judged)
    };
    let guilty = |name: &str, charge: Charge| Case::guilty(name, charge).accused();
    let until = START + 3 * DAY;
    let reserve = |case: Case, reserve: Address| case.with(|facts| facts.reserve_committer = reserve);
    let mut cases = vec![
        guilty("a microblock", accusation(&pen, &ordering())),
        guilty("a segment's seal", of(&|judged| (judged.tx_count, judged.kind) = (0, SegmentSeal))),
        guilty("a window's seal", of(&|judged| (judged.tx_count, judged.kind) = (0, WindowSeal))),
        guilty("a window's start", of(&|judged| (judged.segment, judged.number) = (0, 0))),
        guilty("before the slot", accusation(&pen, &ordering())).at(START - 5_000),
        guilty("for a slot far ahead", of(&|judged| judged.slot = Slot(u64::MAX))),
        guilty("for a rollup that nobody knows", of(&|judged| judged.rollup_id = RollupId(0))),
        guilty("in the last second in which evidence counts", accusation(&pen, &ordering())).at(until),
        reserve(
            guilty("another is the reserve committer", accusation(&pen, &ordering())),
            Address::repeat_byte(9),
        ),
        reserve(
            Case::innocent("the reserve committer", accusation(&pen, &ordering()), "ReserveCommitter")
                .accused(),
            committer_address(),
        ),
        Case::innocent("a second too late", accusation(&pen, &ordering()), "TooLate").accused().at(until + 1),
        Case::innocent(
            "a bundle",
            {
                let bundle = examples::bundle();
                accusation(&pen, &bundle)
            },
            "NotAnOrdering",
        )
        .accused(),
        Case::innocent(
            "with a detail",
            charge_of(pen.sign(&ordering()), envelope(FAULT.into(), &[1])),
            "MalformedEvidence",
        )
        .accused(),
    ];
    let base = Base {
        fault: FAULT,
        judged: (ORDERING.into(), ordering().abi_encode()),
        not_taken: "NotAnOrdering",
        other: None,
        detail: &|_| Vec::new(),
    };
    cases.extend(base.any_stage("NotOperator").into_iter().map(Case::accused));
    cases
}

fn answers() -> Vec<Case> {
    let pen = Pen::default();
    let relayed = |case: Case| case.with(|facts| facts.relay = examples::relay().address());
    let case = |name: &str, change: &dyn Fn(&mut Answer), bad: Option<&'static str>| {
        let answer = Answer::changed(|answer| change(answer)).encoded();
        let refused = bad.map(|bad| ("BadAnswer", bad));
        relayed(Case::answer(name, accusation(&pen, &ordering()), NOW, answer, refused).at(NOW + 600))
    };
    let good = |name: &str, change: &dyn Fn(&mut Answer)| case(name, change, None);
    let bad = |name: &str, bad, change: &dyn Fn(&mut Answer)| case(name, change, Some(bad));
    let whole = |name: &str, refused| {
        relayed(
            Case::answer(name, accusation(&pen, &ordering()), NOW, Answer::good().encoded(), refused)
                .at(NOW + 600),
        )
    };
    let metadata = |name: &str, change: fn(Vec<u8>) -> Vec<u8>| {
        bad(name, "metadata", &move |answer| {
            answer.metadata = Some(change(answer.allocation.to_metadata().to_vec()).into());
        })
    };
    let mut cases = vec![
        good("a valid delegation", &|_| {}),
        good("received in the last millisecond", &|answer| {
            answer.receipt = |receipt| receipt.received_at_ms = START * 1_000 - 18_001;
        }),
        good("received long before", &|answer| answer.receipt = |receipt| receipt.received_at_ms = 0),
        good("the relay signs in another form", &|answer| {
            answer.relay = Pen { signing_id: hash("module"), nonce: 4, ..relay_pen() };
        }),
        good("the entry alone", &|answer| answer.allocation.entries.truncate(1)),
        good("the last of sixteen entries", &|answer| {
            let entry = answer.allocation.entries[0].clone();
            answer.allocation.entries = (1u64..16)
                .map(RollupId)
                .chain([ROLLUP])
                .map(|rollup_id| earnest_protocol::objects::AllocationEntry { rollup_id, ..entry.clone() })
                .collect();
        }),
        good("another committer for L1 inclusion", &|answer| {
            answer.delegation.committer = Address::repeat_byte(5);
        }),
        good("another proposer, which the relay says is the slot's", &|answer| {
            answer.proposer = 0x12;
            let secret = earnest_builder_types::bls::SecretKey::from_bytes(&[0x12; 32]).unwrap();
            answer.delegation.proposer = secret.public_key();
        }),
        whole("in the last second in which it can be answered", None).at(NOW + DAY),
        whole("the rollup's relay is another than the others'", None).with(|facts| {
            facts.other_relays = vec![(ROLLUP, facts.relay)];
            facts.relay = Address::repeat_byte(1);
        }),
        bad("a delegation for another slot", "delegation's slot", &|answer| answer.delegation.slot.0 += 1),
        bad("no metadata", "metadata", &|answer| answer.metadata = Some(Bytes::new())),
        metadata("metadata of another version", |mut metadata| {
            metadata[31] = 2;
            metadata
        }),
        metadata("metadata with a word too many", |metadata| [metadata, vec![0; 32]].concat()),
        metadata("metadata cut short", |mut metadata| {
            metadata.truncate(metadata.len() - 32);
            metadata
        }),
        bad("a rollup twice", "metadata", &|answer| {
            let twice = answer.allocation.entries[0].clone();
            answer.allocation.entries.push(twice);
        }),
        bad("a URL that is too long", "metadata", &|answer| {
            answer.allocation.entries[1].url = "u".repeat(257);
        }),
        bad("an allocation for another slot", "allocation's slot", &|answer| answer.allocation.slot.0 += 1),
        bad("no entries", "entry", &|answer| answer.allocation.entries.clear()),
        bad("no entry for the rollup", "entry", &|answer| {
            answer.allocation.entries[0].rollup_id = RollupId(1);
        }),
        bad("an entry that names another committer", "entry", &|answer| {
            answer.allocation.entries[0].committer = Address::repeat_byte(5);
        }),
        bad("a receipt for another slot", "receipt's slot", &|answer| {
            answer.receipt = |receipt| receipt.slot.0 += 1;
        }),
        bad("a receipt of another delegation", "receipt's hash", &|answer| {
            answer.receipt = |receipt| receipt.delegation_hash = hash("another");
        }),
        bad("received at the window's start", "received late", &|answer| {
            answer.receipt = |receipt| receipt.received_at_ms = START * 1_000 - 18_000;
        }),
        bad("received after the window's start", "received late", &|answer| {
            answer.receipt = |receipt| receipt.received_at_ms = START * 1_000;
        }),
        bad("signed by another than the proposer it names", "proposer's signature", &|answer| {
            answer.proposer = 0x12;
        }),
        bad("a delegation for another chain", "proposer's signature", &|answer| answer.network.chain_id = 1),
        bad("a delegation of another nonce than it says", "proposer's signature", &|answer| {
            answer.delegation_nonce = Some(1);
        }),
        bad("a delegation whose signature is no point", "proposer's signature", &|answer| {
            answer.is_point = false;
        }),
        whole("another relay than the rollup's", Some(("BadAnswer", "relay's signature"))).with(|facts| {
            facts.other_relays = vec![(ROLLUP, Address::repeat_byte(1))];
        }),
        whole("a rollup without terms", Some(("BadAnswer", "relay's signature")))
            .with(|facts| facts.relay = Address::ZERO),
        whole("a second after the time to answer", Some(("TooLate", ""))).at(NOW + DAY + 1),
        whole("answered twice", Some(("WrongStatus", ""))).answered(NOW + 60, &Answer::good().encoded()),
    ];
    for (how, foreign) in foreign_pens() {
        let key = if foreign.key == 0x55 { 0x55 } else { 0x44 };
        let name = format!("a receipt {how}");
        cases.push(bad(&name, "relay's signature", &|answer| answer.relay = Pen { key, ..foreign.clone() }));
    }
    cases
}

fn conclusions() -> Vec<Case> {
    let pen = Pen::default();
    let ripe = NOW + DAY;
    let guilty = |name: &str| {
        Case::guilty(name, accusation(&pen, &ordering())).concluded(NOW, Penalty::Safety).at(ripe + 60)
    };
    let innocent = |name: &str, reason| {
        Case::innocent(name, accusation(&pen, &ordering()), reason)
            .concluded(NOW, Penalty::Safety)
            .at(ripe + 60)
    };
    vec![
        guilty("unanswered"),
        guilty("as soon as it can be concluded").at(ripe + 1),
        guilty("as late as it can be concluded").at(ripe + 2 * DAY),
        guilty("accused before the slot").concluded(START - 5_000, Penalty::Safety),
        guilty("accused in the last second, and evidence counts no more")
            .concluded(START + 3 * DAY, Penalty::Safety)
            .at(START + 4 * DAY + 1),
        Case::guilty("concluded in another form of signing", accusation(&other_form(), &ordering()))
            .concluded(NOW, Penalty::Safety)
            .at(ripe + 60),
        innocent("never accused", "NotAccused").concluded(0, Penalty::Safety),
        innocent("in the last second in which it can still be answered", "NotAccused").at(ripe),
        innocent("a second too late to conclude", "TooLate").at(ripe + 2 * DAY + 1),
        innocent("answered, in the end", "NotAccused")
            .answered(NOW + 60, &Answer::good().encoded())
            .with(|facts| facts.relay = examples::relay().address()),
        innocent("the reserve committer, in the end", "ReserveCommitter")
            .concluded(0, Penalty::Safety)
            .with(|facts| facts.reserve_committer = committer_address()),
        Case::innocent(
            "another's commitment, in the end",
            accusation(&Pen { key: 0x55, ..Pen::default() }, &ordering()),
            "UnauthorizedCommitment",
        )
        .concluded(0, Penalty::Safety),
    ]
}

#[test]
fn unauthorized_sequencing() {
    let cases = [accusations(), answers(), conclusions()].concat();
    write(FAULT, &judge(), &cases);
}

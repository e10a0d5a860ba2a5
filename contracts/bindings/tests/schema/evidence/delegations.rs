//! AllocationEquivocation and Misallocation: faults of proposers.

use super::{
    Case, DAY, NETWORK, NOW, Pen, ROLLUP, SLOT, START,
    cases::write,
    judge,
    pen::{envelope, foreign_pens, relay_pen},
    unauthorized::Answer,
};
use crate::examples::{self, hash};
use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolValue;
use earnest_builder_types::bls::SecretKey;
use earnest_protocol::{
    BlsSignature, RollupId, Slot, Wei,
    evidence::{Charge, Fault, Penalty},
    objects::{AuctionResult, Authority, Delegation, DelegationReceipt, Object, SlotAllocation},
    signing::{MessageType, Network, Signed, sol_root},
    sol,
};

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

fn allocation() -> SlotAllocation {
    Answer::good().allocation
}

/// The delegation of the slot's proposer.
fn delegation() -> Delegation {
    Delegation { metadata: allocation().to_metadata(), ..Answer::good().delegation }
}

fn changed(change: impl FnOnce(&mut Delegation)) -> Delegation {
    let mut message = delegation();
    change(&mut message);
    message
}

fn allocating(change: impl FnOnce(&mut SlotAllocation)) -> Delegation {
    let mut allocation = allocation();
    change(&mut allocation);
    Delegation { metadata: allocation.to_metadata(), ..delegation() }
}

/// How a delegation is signed.
#[derive(Clone, Copy)]
struct Hand {
    key: u8,
    network: Network,
    /// What the signature is over, and what the delegation says.
    nonce: u64,
    claimed: u64,
}

const HAND: Hand = Hand { key: 0x11, network: NETWORK, nonce: 0, claimed: 0 };

fn sign(message: Delegation, hand: Hand) -> sol::SignedDelegation {
    let mut signed = Signed::new(message, BlsSignature::default());
    signed.nonce = hand.nonce;
    signed.signature = key(hand.key).sign(signed.signing_root(&hand.network).unwrap());
    signed.nonce = hand.claimed;
    // A receipt beside it, for the sake of its encoding.
    let receipt = DelegationReceipt::of(&signed.message, 0).unwrap();
    let authority = Authority { delegation: signed, receipt: Signed::new(receipt, Default::default()) };
    <(sol::SignedDelegation, sol::SignedDelegationReceipt)>::abi_decode_params(
        &authority.abi_encode().unwrap(),
    )
    .unwrap()
    .0
}

#[test]
fn allocation_equivocation() {
    let pair = |one: sol::SignedDelegation, other: sol::SignedDelegation| Charge::Delegations { one, other };
    let good = || sign(delegation(), HAND);
    let guilty = |name: &str, other: Delegation| Case::guilty(name, pair(good(), sign(other, HAND)));
    let innocent =
        |name: &str, other: sol::SignedDelegation, reason| Case::innocent(name, pair(good(), other), reason);
    let other = || changed(|message| message.committer = Address::repeat_byte(1));
    let bare = || changed(|message| message.metadata = Bytes::new());
    let mut swapped_points = good();
    std::mem::swap(&mut swapped_points.delegation.delegate, &mut swapped_points.delegation.proposer);
    let cases = vec![
        guilty("another committer", other()),
        guilty("another delegate", changed(|message| message.delegate = key(0x17).public_key())),
        guilty("with and without an allocation", bare()),
        guilty("another start", allocating(|allocation| allocation.start_ms += 1)),
        guilty("another auction", allocating(|allocation| allocation.auction_root = hash("another"))),
        guilty(
            "another price",
            allocating(|allocation| allocation.entries[0].price_wei = Wei(U256::from(1))),
        ),
        guilty("another holder", allocating(|allocation| allocation.entries[1].committer = Address::ZERO)),
        guilty("another URL", allocating(|allocation| allocation.entries[1].url = "http://b/".into())),
        guilty("an entry less", allocating(|allocation| allocation.entries.truncate(1))),
        guilty("entries in another order", allocating(|allocation| allocation.entries.reverse())),
        guilty(
            "another version of the metadata",
            changed(|message| {
                let mut metadata = message.metadata.to_vec();
                metadata[31] = 2;
                message.metadata = metadata.into();
            }),
        ),
        Case::guilty("the other way round", pair(sign(other(), HAND), good())),
        Case::guilty(
            "signed in two forms",
            pair(good(), sign(other(), Hand { nonce: 9, claimed: 9, ..HAND })),
        ),
        Case::guilty("long after", pair(good(), sign(other(), HAND))).at(START + 30 * DAY),
        Case::guilty("before the slot", pair(good(), sign(other(), HAND))).at(START - 5_000),
        innocent("the same twice", good(), "DelegationsAreSame"),
        innocent(
            "the same, signed in another form",
            sign(delegation(), Hand { nonce: 9, claimed: 9, ..HAND }),
            "DelegationsAreSame",
        ),
        innocent(
            "the same, not signed",
            sign(delegation(), Hand { key: 0x12, ..HAND }),
            "DelegationsAreSame",
        ),
        innocent(
            "for another slot",
            sign(changed(|message| message.slot = Slot(SLOT.0 + 1)), HAND),
            "DifferentSlots",
        ),
        innocent(
            "for the slot before, with another committer",
            sign(Delegation { slot: Slot(SLOT.0 - 1), ..other() }, HAND),
            "DifferentSlots",
        ),
        innocent(
            "another proposer's",
            sign(changed(|message| message.proposer = key(0x12).public_key()), Hand { key: 0x12, ..HAND }),
            "InvalidProof",
        ),
        innocent(
            "another proposer's, with another committer",
            sign(Delegation { proposer: key(0x12).public_key(), ..other() }, Hand { key: 0x12, ..HAND }),
            "InvalidProof",
        ),
        innocent("proposer and delegate changed places", swapped_points, "InvalidProof"),
        innocent(
            "signed by another",
            sign(other(), Hand { key: 0x12, ..HAND }),
            "DelegationSignatureInvalid",
        ),
        innocent(
            "signed by its delegate",
            sign(other(), Hand { key: 0x22, ..HAND }),
            "DelegationSignatureInvalid",
        ),
        innocent(
            "signed for another chain",
            sign(other(), Hand { network: Network { chain_id: 1, ..NETWORK }, ..HAND }),
            "DelegationSignatureInvalid",
        ),
        innocent(
            "signed for another fork version",
            sign(other(), Hand { network: Network { genesis_fork_version: [0; 4], ..NETWORK }, ..HAND }),
            "DelegationSignatureInvalid",
        ),
        innocent(
            "of another nonce than it says",
            sign(other(), Hand { claimed: 1, ..HAND }),
            "DelegationSignatureInvalid",
        ),
        innocent(
            "of another signing id than it says",
            sol::SignedDelegation { signingId: hash("module"), ..sign(other(), HAND) },
            "DelegationSignatureInvalid",
        ),
        innocent(
            "with the signature of the first",
            sol::SignedDelegation { signature: good().signature, ..sign(other(), HAND) },
            "DelegationSignatureInvalid",
        ),
        Case::innocent(
            "the first is signed by another",
            pair(sign(delegation(), Hand { key: 0x12, ..HAND }), sign(other(), HAND)),
            "DelegationSignatureInvalid",
        ),
        Case::innocent(
            "the first is signed for another chain",
            pair(
                sign(delegation(), Hand { network: Network { chain_id: 1, ..NETWORK }, ..HAND }),
                sign(bare(), HAND),
            ),
            "DelegationSignatureInvalid",
        ),
    ];
    write(Fault::AllocationEquivocation, &judge(), &cases);
}

fn charge(delegation: sol::SignedDelegation) -> Charge {
    Charge::Delegation { delegation, evidence: envelope(Fault::Misallocation.into(), &[]) }
}

fn result() -> AuctionResult {
    AuctionResult {
        slot: SLOT,
        auction_root: allocation().auction_root,
        winners: vec![hash("winner")],
        allocation_hash: allocation().abi_hash(),
        closed_at_ms: START * 1_000 - 60_000,
    }
}

fn answer(delegation: sol::SignedDelegation, result: &AuctionResult, pen: &Pen) -> Bytes {
    let result = sol::AuctionResult::from(result);
    let signature = pen.signature(sol_root(MessageType::AuctionResult, &result));
    let (signing_id, nonce) = pen.form();
    let signed = sol::SignedAuctionResult { result, nonce, signingId: signing_id, signature };
    (delegation, signed).abi_encode_params().into()
}

#[test]
fn misallocation() {
    let fault = Fault::Misallocation;
    let good = || sign(delegation(), HAND);
    let relayed = |case: Case| case.with(|facts| facts.relay = examples::relay().address());
    let accused = |name: &str, message: Delegation| Case::guilty(name, charge(sign(message, HAND))).accused();
    let refused = |name: &str, signed: sol::SignedDelegation, reason| {
        Case::innocent(name, charge(signed), reason).accused()
    };
    let metadata = |name: &str, change: fn(Vec<u8>) -> Vec<u8>| {
        let message = changed(|message| message.metadata = change(message.metadata.to_vec()).into());
        refused(name, sign(message, HAND), "NoEntries")
    };
    let until = START + 3 * DAY;
    let mut cases = vec![
        accused("two entries", delegation()),
        accused("one entry", allocating(|allocation| allocation.entries.truncate(1))),
        accused(
            "an entry at no price",
            allocating(|allocation| allocation.entries[0].price_wei = Wei::default()),
        ),
        accused(
            "for a rollup that nobody knows",
            allocating(|allocation| allocation.entries[0].rollup_id = RollupId(0)),
        ),
        accused("before the slot", delegation()).at(START - 5_000),
        accused("in the last second in which evidence counts", delegation()).at(until),
        Case::guilty(
            "signed in another form",
            charge(sign(delegation(), Hand { nonce: 9, claimed: 9, ..HAND })),
        )
        .accused(),
        refused("a second too late", good(), "TooLate").at(until + 1),
        refused("no metadata", sign(changed(|message| message.metadata = Bytes::new()), HAND), "NoEntries"),
        refused("no entries", sign(allocating(|allocation| allocation.entries.clear()), HAND), "NoEntries"),
        refused(
            "an allocation for another slot",
            sign(allocating(|allocation| allocation.slot.0 += 1), HAND),
            "NoEntries",
        ),
        metadata("metadata of another version", |mut metadata| {
            metadata[31] = 2;
            metadata
        }),
        metadata("metadata with a word too many", |metadata| [metadata, vec![0; 32]].concat()),
        metadata("metadata cut short", |mut metadata| {
            metadata.truncate(metadata.len() - 32);
            metadata
        }),
        refused(
            "signed by another",
            sign(delegation(), Hand { key: 0x12, ..HAND }),
            "DelegationSignatureInvalid",
        ),
        refused(
            "signed for another chain",
            sign(delegation(), Hand { network: Network { chain_id: 1, ..NETWORK }, ..HAND }),
            "DelegationSignatureInvalid",
        ),
        refused(
            "of another nonce than it says",
            sign(delegation(), Hand { claimed: 1, ..HAND }),
            "DelegationSignatureInvalid",
        ),
    ];

    let case = |name: &str, answer: Bytes, bad: Option<&'static str>| {
        let refused = bad.map(|bad| ("BadAnswer", bad));
        relayed(Case::answer(name, charge(good()), NOW, answer, refused).at(NOW + 600))
    };
    let of = |change: &dyn Fn(&mut AuctionResult)| {
        let mut result = result();
        change(&mut result);
        answer(good(), &result, &relay_pen())
    };
    let whole = || of(&|_| {});
    cases.extend([
        case("the market's result", whole(), None),
        case(
            "the market's result, of another auction",
            of(&|result| result.auction_root = hash("auction of another")),
            None,
        ),
        case("the market's result, without winners", of(&|result| result.winners.clear()), None),
        case(
            "the market's result, in another form",
            answer(good(), &result(), &Pen { signing_id: hash("module"), nonce: 4, ..relay_pen() }),
            None,
        ),
        case(
            "the delegation in another form of signing",
            answer(sign(delegation(), Hand { nonce: 9, claimed: 9, ..HAND }), &result(), &relay_pen()),
            None,
        ),
        case("in the last second in which it can be answered", whole(), None).at(NOW + DAY),
        case("the entries' relay is another than the others'", whole(), None).with(|facts| {
            facts.other_relays = vec![(ROLLUP, facts.relay), (RollupId(4243), facts.relay)];
            facts.relay = Address::repeat_byte(1);
        }),
        case(
            "another delegation",
            answer(sign(changed(|message| message.committer = Address::ZERO), HAND), &result(), &relay_pen()),
            Some("delegation"),
        ),
        case("a result for another slot", of(&|result| result.slot.0 += 1), Some("slot")),
        case(
            "a result of another allocation",
            of(&|result| result.allocation_hash = hash("another")),
            Some("hash"),
        ),
        case(
            "a result of the allocation a millisecond later",
            {
                of(&|result| {
                    let mut later = allocation();
                    later.start_ms += 1;
                    result.allocation_hash = later.abi_hash();
                })
            },
            Some("hash"),
        ),
        case("another relay's result", whole(), Some("relay"))
            .with(|facts| facts.relay = Address::repeat_byte(1)),
        case("the first rollup has another relay", whole(), Some("relay"))
            .with(|facts| facts.other_relays = vec![(ROLLUP, Address::repeat_byte(1))]),
        case("the last rollup has another relay", whole(), Some("relay"))
            .with(|facts| facts.other_relays = vec![(RollupId(4243), Address::repeat_byte(1))]),
        case("rollups without terms", whole(), Some("relay")).with(|facts| facts.relay = Address::ZERO),
        relayed(
            Case::answer(
                "a second after the time to answer",
                charge(good()),
                NOW,
                whole(),
                Some(("TooLate", "")),
            )
            .at(NOW + DAY + 1),
        ),
        relayed(
            Case::answer("answered twice", charge(good()), NOW, whole(), Some(("WrongStatus", "")))
                .answered(NOW + 60, &whole())
                .at(NOW + 600),
        ),
    ]);
    for (how, foreign) in foreign_pens() {
        let key = if foreign.key == 0x55 { 0x55 } else { 0x44 };
        let name = format!("a result {how}");
        cases.push(case(&name, answer(good(), &result(), &Pen { key, ..foreign }), Some("relay")));
    }

    let ripe = NOW + DAY;
    let end = |name: &str| Case::guilty(name, charge(good())).concluded(NOW, Penalty::Safety).at(ripe + 60);
    let no_end = |name: &str, reason| {
        Case::innocent(name, charge(good()), reason).concluded(NOW, Penalty::Safety).at(ripe + 60)
    };
    cases.extend([
        end("unanswered"),
        end("as soon as it can be concluded").at(ripe + 1),
        end("as late as it can be concluded").at(ripe + 2 * DAY),
        end("accused in the last second, and evidence counts no more")
            .concluded(until, Penalty::Safety)
            .at(until + DAY + 1),
        no_end("never accused", "NotAccused").concluded(0, Penalty::Safety),
        no_end("in the last second in which it can still be answered, not yet", "NotAccused").at(ripe),
        no_end("a second too late to conclude", "TooLate").at(ripe + 2 * DAY + 1),
        relayed(no_end("answered, in the end", "NotAccused").answered(NOW + 60, &whole())),
    ]);
    let with_evidence = |name: &str, evidence: Bytes, reason| {
        let charge = Charge::Delegation { delegation: good(), evidence };
        Case::innocent(name, charge, reason).concluded(0, Penalty::Safety)
    };
    let evidence = envelope(fault.into(), &[]);
    cases.extend([
        with_evidence("no evidence", Bytes::new(), "MalformedEvidence"),
        with_evidence(
            "evidence with a word too many",
            [&evidence[..], &[0; 32]].concat().into(),
            "MalformedEvidence",
        ),
        with_evidence("evidence with a detail", envelope(fault.into(), &[1]), "MalformedEvidence"),
        with_evidence("the evidence of another fault", envelope(8, &[]), "UnknownFault"),
        with_evidence("fault 11", envelope(11, &[]), "UnknownFault"),
    ]);
    write(fault, &judge(), &cases);
}

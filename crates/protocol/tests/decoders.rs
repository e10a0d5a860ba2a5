//! Every decoder under bytes of any kind: no panic, and what is read is written back the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    RollupId, Slot,
    evidence::{Accusation, Charge, Clock, EvidenceFile, Facts, Fault, Judge, Status, Times, Verdict},
    inbox,
    messages::{ConstraintsBody, GatewayInfo, NotHolder, StreamEvent, SubmitTransaction},
    objects::{
        AllocationEntry, AuctionResult, Authority, BidAck, BundleCommitment, Commitment, CommitmentRequest,
        Constraint, ConstraintReceipt, DelegationReceipt, InclusionPayload, InclusionProof, Leg, Object,
        OrderingBid, OrderingCommitment, Registration, RollupRegistration, SignedCommitment, SlotAllocation,
    },
    receipt::PreconfReceipt,
    signing::{Network, recover},
    sol,
    tx::{TxRules, validate},
};

const ITERATIONS: usize = 3_000;
const NETWORK: Network = Network { genesis_fork_version: [0; 4], chain_id: 1 };

fn round<T: Object>(bytes: &[u8]) {
    if let Ok(object) = T::abi_decode(bytes) {
        assert_eq!(object.abi_encode(), bytes);
    }
}

/// Bytes as ABI has them: words that are mostly small, so that offsets and lengths often make sense.
fn words(seed: &[u8]) -> Vec<u8> {
    let word = |(at, byte): (usize, &u8)| {
        let mut word = [0; 32];
        let low = match byte % 4 {
            0 => u16::from(*byte) * 32 % 1_024,
            1 => u16::from(*byte) % 3,
            2 => u16::try_from(at).unwrap_or(0) * 32,
            _ => u16::from(*byte),
        };
        word[30..].copy_from_slice(&low.to_be_bytes());
        word
    };
    seed.iter().enumerate().take(200).flat_map(word).collect()
}

#[test]
fn abi() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|seed: &[u8]| {
        for bytes in [seed.to_vec(), words(seed)] {
            round::<Registration>(&bytes);
            round::<Commitment>(&bytes);
            round::<CommitmentRequest>(&bytes);
            round::<SignedCommitment>(&bytes);
            round::<OrderingCommitment>(&bytes);
            round::<Leg>(&bytes);
            round::<BundleCommitment>(&bytes);
            round::<InclusionPayload>(&bytes);
            round::<InclusionProof>(&bytes);
            round::<Constraint>(&bytes);
            round::<ConstraintReceipt>(&bytes);
            round::<DelegationReceipt>(&bytes);
            round::<OrderingBid>(&bytes);
            round::<BidAck>(&bytes);
            round::<AuctionResult>(&bytes);
            round::<RollupRegistration>(&bytes);
            round::<SlotAllocation>(&bytes);
            if let Ok(allocation) = SlotAllocation::from_metadata(&bytes) {
                assert_eq!(allocation.to_metadata(), bytes);
            }
            if let Ok(authority) = Authority::abi_decode(&bytes) {
                assert_eq!(authority.abi_encode().unwrap(), bytes);
            }
        }
    });
}

#[test]
fn calldata() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|seed: &[u8]| {
        let selector = inbox::encode_submit(&[], &empty_seal(), None).unwrap();
        for body in [seed.to_vec(), words(seed)] {
            let _ = inbox::decode_submit(&body, &NETWORK);
            let calldata = [&selector[..4], &body].concat();
            if let Ok(batch) = inbox::decode_submit(&calldata, &NETWORK) {
                assert_eq!(batch.txs.len(), usize::try_from(batch.seal.first_index).unwrap());
            }
        }
    });
}

fn empty_seal() -> SignedCommitment {
    SignedCommitment::new(
        Commitment {
            commitment_type: 0x11,
            payload: Bytes::new(),
            request_hash: Default::default(),
            slasher: Default::default(),
        },
        Default::default(),
    )
}

#[test]
fn transactions() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|seed: &[u8]| {
        for opaque in [false, true] {
            let rules = TxRules { chain_id: 1, max_bytes: 256, max_gas: 1_000, opaque };
            for kind in [None, Some(1), Some(2), Some(3), Some(4)] {
                let raw: Vec<u8> = kind.into_iter().chain(seed.iter().copied()).collect();
                if let Ok(tx) = validate(raw.clone().into(), &rules) {
                    assert_eq!(tx.raw, raw);
                }
            }
        }
    });
}

#[test]
fn signatures() {
    bolero::check!()
        .with_iterations(ITERATIONS)
        .with_type::<([u8; 32], [u8; 32], [u8; 32], bool)>()
        .for_each(|(root, r, s, odd)| {
            let signature: Vec<u8> = [&r[..], &s[..], &[27 + u8::from(*odd)]].concat();
            let signature = signature.as_slice().try_into().unwrap();
            let _ = recover((*root).into(), &signature);
        });
}

#[test]
fn evidence() {
    let judge = Judge {
        network: NETWORK,
        clock: Clock { genesis_ms: 0, slot_ms: 12_000 },
        slasher: Address::ZERO,
        inbox: Address::ZERO,
        times: Times::of_design(12_000),
    };
    let signed = sol::SignedCommitment::from(&empty_seal()).abi_encode();
    let facts = Facts::default();
    let decide = |charge: &Charge| {
        // Nothing that is made up is signed by the accused.
        assert!(matches!(judge.judge(charge, &facts), Verdict::Innocent(_)));
        assert!(judge.accuse(charge, &facts).is_err());
        if let Ok(file) = EvidenceFile::of(&judge, charge.clone()) {
            assert_eq!(file.charge().as_ref(), Ok(charge));
            let json = serde_json::to_vec(&file).unwrap();
            assert_eq!(serde_json::from_slice::<EvidenceFile>(&json).unwrap(), file);
        }
    };
    let accusation = Accusation {
        fault: Fault::MissedWindow,
        signer: Address::ZERO,
        rollup_id: RollupId(0),
        slot: Slot(0),
        segment: 0,
        judged: B256::ZERO,
        status: Status::Open,
        answerable_until: 0,
        rebuttable_until: 0,
        standing: Vec::new(),
        dropped: Vec::new(),
    };
    bolero::check!().with_iterations(ITERATIONS).for_each(|seed: &[u8]| {
        for bytes in [seed.to_vec(), words(seed)] {
            for judged in [&signed, &bytes] {
                // The bytes as evidence, and as the detail of each fault.
                let details = (0u16..12).map(|fault| (fault, Bytes::from(bytes.clone())).abi_encode_params());
                for evidence in details.chain([bytes.clone()]) {
                    if let Ok(charge) = Charge::against_committer(Address::ZERO, judged, evidence.into()) {
                        assert_eq!(charge.judged_bytes(), *judged);
                        decide(&charge);
                    }
                }
            }
            if let Ok(charge) = Charge::against_proposer(&bytes, bytes.clone().into()) {
                decide(&charge);
            }
            if let Ok(charge) = Charge::of_two_delegations(&bytes, &bytes) {
                decide(&charge);
            }
            for fault in [Fault::MissedWindow, Fault::UnauthorizedSequencing, Fault::Misallocation] {
                let accusation = Accusation { fault, ..accusation.clone() };
                assert!(judge.answer(&accusation, &bytes, &facts).is_err());
                let standing = vec![B256::ZERO];
                let answered = Accusation { status: Status::Answered, standing, ..accusation };
                assert!(judge.rebut(&answered, &bytes, &facts).is_err());
            }
        }
        let _ = serde_json::from_slice::<EvidenceFile>(seed);
    });
}

#[test]
fn json() {
    bolero::check!().with_iterations(ITERATIONS).for_each(|seed: &[u8]| {
        let _ = serde_json::from_slice::<PreconfReceipt>(seed);
        let _ = serde_json::from_slice::<ConstraintsBody>(seed);
        let _ = serde_json::from_slice::<GatewayInfo>(seed);
        let _ = serde_json::from_slice::<NotHolder>(seed);
        let _ = serde_json::from_slice::<SubmitTransaction>(seed);
        let _ = serde_json::from_slice::<AllocationEntry>(seed);
        let _ = serde_json::from_slice::<OrderingBid>(seed);
        let text = String::from_utf8_lossy(seed);
        for name in ["window", "microblock", "seal"] {
            let _ = StreamEvent::parse(name, &text);
        }
    });
}

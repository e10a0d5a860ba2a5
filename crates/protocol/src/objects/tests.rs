use super::*;
use crate::{
    BlsSignature, RollupId, Slot, Wei,
    fixtures::*,
    signing::{EcdsaSignature, Signed, SigningError},
};
use alloy_primitives::{Address, Bytes, U256};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::fmt::Debug;

fn bid() -> OrderingBid {
    OrderingBid {
        slot: SLOT,
        rollup_ids: vec![RollupId(1), RollupId(5)],
        amount_wei: Wei(U256::MAX),
        account: committer().address(),
        registration_root: B256::repeat_byte(1),
        committer: Address::repeat_byte(2),
        relay: relay().address(),
        delegate: bls_secret(4).public_key(),
        url: "https://gateway.example".into(),
        matches: B256::ZERO,
        nonce: 7,
        expiry: 1_800_000_000,
    }
}

const MARKET: MarketDomain = MarketDomain { chain_id: 3_151_908, market: Address::repeat_byte(0x42) };

fn ordering() -> OrderingCommitment {
    OrderingCommitment {
        rollup_id: ROLLUP,
        slot: SLOT,
        segment: 1,
        number: 2,
        parent: B256::repeat_byte(3),
        first_index: 4,
        tx_count: 5,
        tx_root: B256::repeat_byte(6),
        timestamp_ms: 7,
        forced_inclusion_head: 8,
        kind: CommitmentKind::Microblock,
    }
}

fn registration() -> RollupRegistration {
    RollupRegistration {
        rollup_id: ROLLUP,
        reserve_wei: Wei(U256::from(1)),
        reserve_committer: Address::repeat_byte(1),
        revenue_recipient: Address::repeat_byte(2),
        inclusion_share_bps: 500,
        max_batch_bytes: 122_880,
        max_tx_gas: 30_000_000,
        policy: Policy::PriorityFee,
        required_level: 1,
        opaque: false,
        active: true,
        relay: relay().address(),
        uri: "ipfs://x".into(),
    }
}

fn constraints() -> ConstraintsMessage {
    ConstraintsMessage {
        proposer: proposer().public_key(),
        delegate: bls_secret(4).public_key(),
        slot: SLOT,
        constraints: vec![Constraint::inclusion(SLOT, Bytes::from_static(&[2, 0xc0]))],
        receivers: vec![bls_secret(5).public_key()],
    }
}

/// An object survives its JSON and its ABI form.
fn whole<T: Object + Serialize + DeserializeOwned + PartialEq + Debug>(object: &T) {
    assert_eq!(&T::abi_decode(&object.abi_encode()).unwrap(), object);
    json_whole(object);
}

fn json_whole<T: Serialize + DeserializeOwned + PartialEq + Debug>(object: &T) {
    assert_eq!(&serde_json::from_value::<T>(serde_json::to_value(object).unwrap()).unwrap(), object);
}

#[test]
fn every_object_survives_json_and_abi() {
    let leg = Leg { rollup_id: ROLLUP, slot: SLOT, segment: 1, index: 2, tx_hash: B256::repeat_byte(1) };
    whole(&ordering());
    whole(&Commitment::of_ordering(&ordering(), Address::repeat_byte(1)));
    whole(&leg);
    whole(&BundleCommitment { bundle_hash: B256::repeat_byte(2), legs: vec![leg.clone(), leg] });
    whole(&InclusionPayload { slot: SLOT, signed_tx: Bytes::from_static(&[1, 2]) });
    whole(&InclusionProof { signed_tx: Bytes::new(), index: 3, branch: vec![B256::repeat_byte(1)] });
    whole(&bid());
    whole(&BidAck { bid_hash: B256::repeat_byte(1), received_at_ms: u64::MAX });
    whole(&AuctionResult {
        slot: SLOT,
        auction_root: B256::repeat_byte(1),
        winners: vec![B256::repeat_byte(2)],
        allocation_hash: allocation().abi_hash(),
        closed_at_ms: 4,
    });
    whole(&allocation());
    whole(&registration());
    whole(&Registration { owner: Address::repeat_byte(1) });
    whole(&authority().receipt.message);
    for status in [ConstraintStatus::Held, ConstraintStatus::Dropped] {
        let constraints_hash = constraints().hash().unwrap();
        whole(&ConstraintReceipt { slot: SLOT, constraints_hash, received_at_ms: 1, status });
    }
    json_whole(&authority());
    json_whole(&constraints());
    let authority = authority();
    assert_eq!(Authority::abi_decode(&authority.abi_encode().unwrap()), Ok(authority));
    let sol = constraints().to_sol().unwrap();
    assert_eq!(ConstraintsMessage::try_from(sol), Ok(constraints()));
}

#[test]
fn json_has_the_casing_of_its_spec() {
    let commitment = Commitment::of_ordering(&ordering(), Address::ZERO);
    let signed = SignedCommitment::sign(commitment, &committer(), &NETWORK).unwrap();
    let value = serde_json::to_value(&signed).unwrap();
    assert_eq!(value["commitment"]["commitmentType"], json!("17"));
    assert!(value["commitment"]["requestHash"].is_string());
    assert_eq!(value["nonce"], json!("0"));
    assert_eq!(value["signing_id"], json!(crate::signing::EARNEST_SIGNING_ID));

    let value = serde_json::to_value(constraints()).unwrap();
    assert_eq!(value["slot"], json!("100"));
    assert_eq!(value["constraints"][0]["constraintType"], json!("0x01"));
    let value = serde_json::to_value(ordering()).unwrap();
    assert_eq!((&value["rollup_id"], &value["kind"]), (&json!("7001"), &json!("0")));
    assert_eq!(serde_json::to_value(registration()).unwrap()["policy"], json!("priority_fee"));
}

#[test]
fn json_is_read_in_either_casing_with_bare_integers() {
    let loose = json!({
        "commitment": {"commitment_type": 17, "payload": "0x", "request_hash": B256::ZERO, "slasher": Address::ZERO},
        "nonce": 3, "signingId": B256::ZERO, "signature": EcdsaSignature::ZERO,
    });
    let read: SignedCommitment = serde_json::from_value(loose).unwrap();
    assert_eq!((read.commitment.commitment_type, read.nonce), (17, 3));
    for number in [json!(1), json!("1"), json!("0x01"), json!("0x1")] {
        for name in ["constraintType", "constraint_type"] {
            let mut value = json!({"payload": "0x"});
            value[name] = number.clone();
            assert_eq!(serde_json::from_value::<Constraint>(value).unwrap().constraint_type, 1);
        }
    }
}

#[test]
fn json_out_of_range_is_refused() {
    let refuse = |key: &str, wrong: Value| {
        let mut value = serde_json::to_value(ordering()).unwrap();
        value[key] = wrong;
        assert!(serde_json::from_value::<OrderingCommitment>(value).is_err(), "{key}");
    };
    refuse("segment", json!("65536"));
    refuse("number", json!(-1));
    refuse("kind", json!("3"));
    refuse("slot", json!("18446744073709551616"));
    refuse("parent", json!("0x00"));
    refuse("tx_root", Value::Null);
}

#[test]
fn only_canonical_abi_of_allowed_values_is_read() {
    let encoded = ordering().abi_encode();
    assert_eq!(encoded.len(), 11 * 32);
    assert_eq!(
        OrderingCommitment::abi_decode(&[&encoded[..], &[0; 32]].concat()),
        Err(ObjectError::NotCanonical)
    );
    assert!(matches!(OrderingCommitment::abi_decode(&encoded[1..]), Err(ObjectError::Abi(_))));
    let mut kind = encoded.clone();
    kind[11 * 32 - 1] = 3;
    assert_eq!(OrderingCommitment::abi_decode(&kind), Err(ObjectError::Field("kind")));
    let mut wide = encoded;
    wide[0] = 1;
    assert!(OrderingCommitment::abi_decode(&wide).is_err());

    let mut twice = allocation();
    twice.entries.push(twice.entries[0].clone());
    assert_eq!(SlotAllocation::from_metadata(&twice.to_metadata()), Err(ObjectError::Field("rollupId")));
    let mut version = allocation().to_metadata().to_vec();
    version[31] = 2;
    assert_eq!(SlotAllocation::from_metadata(&version), Err(ObjectError::Version(2)));
    let mut long = allocation();
    long.entries[0].url = "u".repeat(257);
    assert_eq!(SlotAllocation::from_metadata(&long.to_metadata()), Err(ObjectError::Field("url")));
    long.entries[0].url = "https://gäteway.example".into();
    assert_eq!(SlotAllocation::from_metadata(&long.to_metadata()), Err(ObjectError::Field("url")));
    let foreign = OrderingBid { url: long.entries[0].url.clone(), ..bid() };
    assert_eq!(foreign.check(), Err(ObjectError::Field("url")));
}

#[test]
fn points_off_the_curve_are_refused() {
    let mut point = pubkey_to_sol(&proposer().public_key()).unwrap();
    assert_eq!(pubkey_from_sol(&point), Ok(proposer().public_key()));
    point.y_b.0[31] ^= 1;
    assert_eq!(pubkey_from_sol(&point), Err(PointError::PublicKey));
    let mut delegation = delegation(&allocation());
    delegation.delegate = crate::BlsPublicKey::ZERO;
    assert_eq!(delegation.hash(), Err(PointError::PublicKey.into()));
    assert_eq!(delegation.allocation(), Ok(allocation()));
}

#[test]
fn every_signed_type_verifies_for_its_signer_alone() {
    let signed = Signed::<_, BlsSignature>::sign(constraints(), &bls_secret(4), &NETWORK).unwrap();
    assert_eq!(signed.verify(&NETWORK, &signed.message.delegate), Ok(()));
    assert_eq!(signed.verify(&NETWORK, &signed.message.proposer), Err(SigningError::WrongSigner));
    let mut other = signed.clone();
    other.nonce = 1;
    assert_eq!(other.verify(&NETWORK, &signed.message.delegate), Err(SigningError::WrongSigner));
    other = signed.clone();
    other.signing_id = B256::ZERO;
    assert_eq!(other.verify(&NETWORK, &signed.message.delegate), Err(SigningError::WrongSigner));

    let ack = BidAck { bid_hash: bid().hash(&MARKET), received_at_ms: 5 };
    let signed = Signed::<_, EcdsaSignature>::sign(ack, &relay(), &NETWORK).unwrap();
    assert_eq!(signed.signer(&NETWORK), Ok(relay().address()));
    assert_eq!(signed.verify(&NETWORK, committer().address()), Err(SigningError::WrongSigner));
}

#[test]
fn the_same_content_under_another_type_has_another_root() {
    use crate::signing::{MessageType, sol_root};
    let ack = crate::sol::BidAck { bidHash: B256::ZERO, receivedAtMs: 1 };
    assert_ne!(sol_root(MessageType::BidAck, &ack), sol_root(MessageType::AuctionResult, &ack));
}

#[test]
fn bids_are_signed_for_one_market() {
    let signed = SignedBid::sign(bid(), &committer(), &MARKET).unwrap();
    assert_eq!(signed.verify(&MARKET), Ok(()));
    let elsewhere = MarketDomain { chain_id: 1, ..MARKET };
    assert_eq!(signed.verify(&elsewhere), Err(SigningError::WrongSigner));
    json_whole(&signed);
    for rollup_ids in [vec![], vec![RollupId(5), RollupId(1)], vec![RollupId(1), RollupId(1)]] {
        let bid = OrderingBid { rollup_ids, ..bid() };
        let signed = SignedBid::sign(bid, &committer(), &MARKET).unwrap();
        assert_eq!(signed.verify(&MARKET), Err(ObjectError::Field("rollupIds").into()));
    }
}

#[test]
fn the_bid_type_is_the_designs() {
    use alloy_sol_types::SolStruct;
    assert_eq!(
        crate::sol::OrderingBid::eip712_encode_type(),
        "OrderingBid(uint64 slot,uint64[] rollupIds,uint256 amountWei,address account,bytes32 registrationRoot,\
         address committer,address relay,bytes delegate,string url,bytes32 matches,uint64 nonce,uint64 expiry)"
    );
}

#[test]
fn the_auction_root_does_not_hang_on_the_order_of_bids() {
    let [a, b, c] = [B256::repeat_byte(1), B256::repeat_byte(2), B256::repeat_byte(3)];
    assert_eq!(auction_root(&[c, a, b]), auction_root(&[a, b, c]));
    assert_eq!(auction_root(&[a, b, c]), crate::merkle::root(0, &[a, b, c]));
    assert_ne!(auction_root(&[a, b]), auction_root(&[a, b, c]));
    assert_eq!(auction_root(&[]), B256::ZERO);
}

#[test]
fn ids_print_and_parse_as_decimals() {
    assert_eq!("12".parse(), Ok(Slot(12)));
    for text in ["", "+1", "-1", "0x1", "18446744073709551616"] {
        assert!(text.parse::<Slot>().is_err(), "{text}");
    }
    assert_eq!(RollupId(5).to_string(), "5");
}

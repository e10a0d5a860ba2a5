//! Every signed type: encoding, object root, info root, signing root, ECDSA signature. Every payload: encoding and hash.

use crate::{assert_vectors, examples};
use alloy_primitives::{B256, Bytes, U256, hex, keccak256};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    objects::{CommitmentKind, Object},
    signing::{EARNEST_SIGNING_ID, EcdsaSecret, Message, Network, info_root},
    sol,
};
use serde_json::{Value, json};

/// `encoded` is `abi.encode(uint256 messageType, Struct)`, made from the schema struct.
fn signed<M: Message>(
    name: &str,
    message: &M,
    encoded: Vec<u8>,
    network: &Network,
    form: (B256, u64),
    signer: Option<EcdsaSecret>,
) -> Value {
    let (signing_id, nonce) = form;
    let object_root = message.object_root().unwrap();
    assert_eq!(object_root, keccak256(&encoded), "{name}");
    let signing_root = network.signing_root(object_root, signing_id, nonce);
    let mut value = json!({
        "name": name,
        "messageType": M::TYPE as u16,
        "encoded": Bytes::from(encoded),
        "objectRoot": object_root,
        "genesisForkVersion": hex::encode_prefixed(network.genesis_fork_version),
        "domain": network.domain(),
        "chainId": network.chain_id.to_string(),
        "signingId": signing_id,
        "nonce": nonce.to_string(),
        "infoRoot": info_root(object_root, signing_id, nonce, network.chain_id),
        "signingRoot": signing_root,
    });
    if let Some(secret) = signer {
        value["signer"] = json!(secret.address());
        value["signature"] = json!(secret.sign(signing_root).unwrap());
    }
    value
}

/// `abi.encode(uint256 messageType, Struct)`.
macro_rules! typed {
    ($message_type:expr, $object:expr) => {
        (U256::from($message_type), $object).abi_encode_params()
    };
}

fn all_signed(network: &Network, form: (B256, u64)) -> Vec<Value> {
    let orderings = [CommitmentKind::Microblock, CommitmentKind::SegmentSeal, CommitmentKind::WindowSeal]
        .map(|kind| examples::commitment(0x11, examples::ordering(kind).abi_encode()));
    let commitments = [
        examples::commitment(1, examples::inclusion().abi_encode()),
        examples::commitment(0x12, examples::bundle().abi_encode()),
        examples::commitment(1, Vec::new()),
    ];
    let mut all: Vec<Value> = orderings
        .iter()
        .chain(&commitments)
        .map(|object| {
            let encoded = typed!(3, sol::Commitment::from(object));
            signed("Commitment", object, encoded, network, form, Some(examples::committer()))
        })
        .collect();

    let object = examples::registration();
    all.push(signed(
        "Registration",
        &object,
        typed!(1, sol::Registration::from(&object)),
        network,
        form,
        None,
    ));
    let object = examples::delegation();
    all.push(signed("Delegation", &object, typed!(2, object.to_sol().unwrap()), network, form, None));
    let object = examples::constraints();
    all.push(signed("ConstraintsMessage", &object, typed!(4, object.to_sol().unwrap()), network, form, None));

    let relay = || Some(examples::relay());
    let object = examples::bid_ack();
    all.push(signed("BidAck", &object, typed!(0x101, sol::BidAck::from(&object)), network, form, relay()));
    let object = examples::auction_result();
    let encoded = typed!(0x102, sol::AuctionResult::from(&object));
    all.push(signed("AuctionResult", &object, encoded, network, form, relay()));
    let object = examples::delegation_receipt();
    let encoded = typed!(0x103, sol::DelegationReceipt::from(&object));
    all.push(signed("DelegationReceipt", &object, encoded, network, form, relay()));
    let object = examples::constraint_receipt();
    let encoded = typed!(0x104, sol::ConstraintReceipt::from(&object));
    all.push(signed("ConstraintReceipt", &object, encoded, network, form, relay()));
    all
}

#[test]
fn signed_objects() {
    let [hoodi, devnet] = examples::NETWORKS;
    let mut all = all_signed(&devnet, (EARNEST_SIGNING_ID, 0));
    all.extend(all_signed(&hoodi, (examples::hash("another module"), 0x0102_0304_0506_0708)));
    assert_vectors("schema/signed.json", &json!({ "objects": all }));
}

#[test]
fn encoded_objects() {
    let entry = |name: &str, encoded: Vec<u8>, hash: B256| {
        assert_eq!(keccak256(&encoded), hash, "{name}");
        json!({ "name": name, "encoded": Bytes::from(encoded), "hash": hash })
    };
    let [_, devnet] = examples::NETWORKS;
    let ordering = examples::ordering(CommitmentKind::Microblock);
    let seal = examples::ordering(CommitmentKind::WindowSeal);
    let delegation = examples::delegation();
    let constraints = examples::constraints();
    let authority = examples::authority(&devnet).abi_encode().unwrap();
    let bid = sol::OrderingBid::from(&examples::bid()).abi_encode();
    let metadata = examples::allocation().to_metadata();
    let all = [
        entry("OrderingCommitment", ordering.abi_encode(), ordering.hash()),
        entry("OrderingCommitment", seal.abi_encode(), seal.hash()),
        entry("BundleCommitment", examples::bundle().abi_encode(), examples::bundle().abi_hash()),
        entry("InclusionPayload", examples::inclusion().abi_encode(), examples::inclusion().abi_hash()),
        entry("SlotAllocation", examples::allocation().abi_encode(), examples::allocation().abi_hash()),
        entry("Metadata", metadata.to_vec(), keccak256(&metadata)),
        entry("Delegation", delegation.to_sol().unwrap().abi_encode(), delegation.hash().unwrap()),
        entry(
            "DelegationReceipt",
            examples::delegation_receipt().abi_encode(),
            examples::delegation_receipt().abi_hash(),
        ),
        entry("ConstraintsMessage", constraints.to_sol().unwrap().abi_encode(), constraints.hash().unwrap()),
        entry("OrderingBid", bid.clone(), keccak256(bid)),
        entry(
            "RollupRegistration",
            examples::rollup_registration().abi_encode(),
            examples::rollup_registration().abi_hash(),
        ),
        entry("Authority", authority.clone(), keccak256(authority)),
    ];
    assert_vectors("schema/encoded.json", &json!({ "objects": all }));
}

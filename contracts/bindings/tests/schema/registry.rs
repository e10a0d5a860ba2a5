//! What the Registry must take and refuse: operators with their roots and proofs, delegations, forged points.
//! Asserted in Solidity by `contracts/tests/Registry*.t.sol`.

use crate::{assert_vectors_in, examples};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::SolValue;
use earnest_builder_types::{BlsPublicKey, BlsSignature, bls::SecretKey};
use earnest_protocol::{
    Slot,
    objects::{
        Delegation, Registration, SignedDelegation, pubkey_from_sol, signature_from_sol, signature_to_sol,
    },
    registry::{RegistrationTree, SignedRegistration, is_signed, verify_proof},
    signing::{EARNEST_SIGNING_ID, Message, Network, Signed},
    sol,
};
use serde_json::{Value, json};

const NETWORK: Network = examples::NETWORKS[0];

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

fn owner() -> Address {
    examples::address("owner")
}

fn registration(byte: u8) -> sol::SignedRegistration {
    SignedRegistration::sign(owner(), &secret(byte), &NETWORK).unwrap().to_sol().unwrap()
}

/// A field element: a number below 2³⁸⁴ in two words.
fn field(hexadecimal: &str) -> [B256; 2] {
    let bytes = hex::decode(format!("{hexadecimal:0>128}")).unwrap();
    [B256::from_slice(&bytes[..32]), B256::from_slice(&bytes[32..])]
}

/// On the curve, not in the subgroup: the least such x.
pub(crate) fn off_subgroup_key() -> sol::G1Point {
    let [x_a, x_b] = field("4");
    let [y_a, y_b] = field(
        "0a989badd40d6212b33cffc3f3763e9bc760f988c9926b26da9dd85e928483446346b8ed00e1de5d5ea93e354abe706c",
    );
    sol::G1Point { x_a, x_b, y_a, y_b }
}

fn off_subgroup_signature() -> sol::G2Point {
    let [x_c0_a, x_c0_b] = field("2");
    let [x_c1_a, x_c1_b] = field("0");
    let [y_c0_a, y_c0_b] = field(
        "18c6b864ae17dc9da64203ffefb966306425a7bc6aeb7c75247438372716284a4173830420cd476ba1a365b95bfcec38",
    );
    let [y_c1_a, y_c1_b] = field(
        "172e93db764a8400a7d5071b6b6f5de0da2f0f4a063119abca014006b7c40a2cfe291a1924e65db0d6d0fcfbf3bf3d5c",
    );
    sol::G2Point { x_c0_a, x_c0_b, x_c1_a, x_c1_b, y_c0_a, y_c0_b, y_c1_a, y_c1_b }
}

fn infinite_key() -> sol::G1Point {
    sol::G1Point { x_a: B256::ZERO, x_b: B256::ZERO, y_a: B256::ZERO, y_b: B256::ZERO }
}

fn infinite_signature() -> sol::G2Point {
    let zero = B256::ZERO;
    sol::G2Point {
        x_c0_a: zero,
        x_c0_b: zero,
        x_c1_a: zero,
        x_c1_b: zero,
        y_c0_a: zero,
        y_c0_b: zero,
        y_c1_a: zero,
        y_c1_b: zero,
    }
}

/// The same point with the modulus added to its x: no encoding of it.
fn above_modulus(point: &sol::G1Point) -> sol::G1Point {
    let modulus = hex!(
        "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab"
    );
    let number = |words: &[u8]| U256::from_be_slice(words);
    let (low, carry) = number(point.x_b.as_slice()).overflowing_add(number(&modulus[16..]));
    let high = number(point.x_a.as_slice()) + number(&modulus[..16]) + U256::from(u8::from(carry));
    sol::G1Point { x_a: high.into(), x_b: low.into(), ..point.clone() }
}

fn operator(
    name: &str,
    owner: Address,
    signing_id: B256,
    keys: Vec<(&str, sol::SignedRegistration)>,
) -> Value {
    let (names, registrations): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
    let tree = RegistrationTree::new(registrations, owner, signing_id).unwrap();
    let keys: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let proof = tree.proof(index).unwrap();
            assert!(verify_proof(&proof, owner));
            json!({
                "name": name,
                "proof": Bytes::from(proof.abi_encode()),
                "signed": is_signed(&proof.registration, owner, signing_id, &NETWORK),
            })
        })
        .collect();
    json!({
        "name": name,
        "owner": owner,
        "signingId": signing_id,
        "registrations": Bytes::from(tree.registrations().to_vec().abi_encode()),
        "root": tree.root(),
        "keys": keys,
    })
}

fn forged() -> Vec<(&'static str, sol::SignedRegistration)> {
    let good = registration(1);
    let other_owner = SignedRegistration::sign(examples::address("other"), &secret(1), &NETWORK).unwrap();
    let other_network = SignedRegistration::sign(owner(), &secret(1), &examples::NETWORKS[1]).unwrap();
    let with_key = |pubkey| sol::SignedRegistration { pubkey, ..good.clone() };
    let with_signature = |signature| sol::SignedRegistration { signature, ..good.clone() };
    let mut flipped = good.pubkey.clone();
    flipped.y_b.0[31] ^= 1;
    let mut padded = good.pubkey.clone();
    padded.x_a.0[0] = 1;
    let mut swapped = good.signature.clone();
    std::mem::swap(&mut swapped.x_c0_a, &mut swapped.x_c1_a);
    std::mem::swap(&mut swapped.x_c0_b, &mut swapped.x_c1_b);
    vec![
        ("good", good.clone()),
        ("for another owner", other_owner.to_sol().unwrap()),
        ("for another network", other_network.to_sol().unwrap()),
        ("another nonce", sol::SignedRegistration { nonce: 1, ..good.clone() }),
        ("another key", with_key(registration(2).pubkey)),
        ("key at infinity", with_key(infinite_key())),
        (
            "all at infinity",
            sol::SignedRegistration { pubkey: infinite_key(), signature: infinite_signature(), nonce: 0 },
        ),
        ("signature at infinity", with_signature(infinite_signature())),
        ("key off the subgroup", with_key(off_subgroup_key())),
        ("signature off the subgroup", with_signature(off_subgroup_signature())),
        ("key off the curve", with_key(flipped)),
        ("key with padding set", with_key(padded)),
        ("key above the modulus", with_key(above_modulus(&good.pubkey))),
        ("signature with its halves swapped", with_signature(swapped)),
    ]
}

#[test]
fn forged_points_are_none() {
    assert!(pubkey_from_sol(&off_subgroup_key()).is_err());
    assert!(signature_from_sol(&off_subgroup_signature()).is_err());
    let [(_, good), rest @ ..] = &forged()[..] else { panic!() };
    assert!(is_signed(good, owner(), EARNEST_SIGNING_ID, &NETWORK));
    for (name, registration) in rest {
        assert!(!is_signed(registration, owner(), EARNEST_SIGNING_ID, &NETWORK), "{name}");
    }
}

/// The registration whose signature the Universal Registry Contract's own bytecode took.
fn upstream() -> Value {
    let vector: Value =
        serde_json::from_str(include_str!("../../../../tests/vectors/signing/urc_signing_domain_bls.json"))
            .unwrap();
    let text = |key: &str| vector[key].as_str().unwrap();
    let registration = SignedRegistration {
        pubkey: text("pk").parse::<BlsPublicKey>().unwrap(),
        signature: text("signature").parse::<BlsSignature>().unwrap(),
        nonce: vector["nonce"].as_u64().unwrap(),
    };
    let owner: Address = text("owner").parse().unwrap();
    let signing_id: B256 = text("signing_id").parse().unwrap();
    assert_eq!(registration.verify(owner, signing_id, &NETWORK), Ok(()));
    operator("upstream", owner, signing_id, vec![("good", registration.to_sol().unwrap())])
}

#[test]
fn operators() {
    let good = |byte| ("good", registration(byte));
    let other = |byte| {
        let signed = SignedRegistration::sign(examples::address("other"), &secret(byte), &NETWORK).unwrap();
        ("good", signed.to_sol().unwrap())
    };
    let operators = [
        upstream(),
        operator("one", owner(), EARNEST_SIGNING_ID, vec![good(1)]),
        operator("three", owner(), EARNEST_SIGNING_ID, vec![good(1), good(2), good(3)]),
        operator("five", owner(), EARNEST_SIGNING_ID, (4..9).map(good).collect()),
        operator("other", examples::address("other"), EARNEST_SIGNING_ID, vec![other(1), other(9)]),
        operator("forged", owner(), EARNEST_SIGNING_ID, forged()),
    ];
    assert_vectors_in(
        "registry",
        "operators.json",
        &json!({
            "genesisForkVersion": hex::encode_prefixed(NETWORK.genesis_fork_version),
            "domain": NETWORK.domain(),
            "chainId": NETWORK.chain_id.to_string(),
            "operators": operators,
        }),
    );
}

fn delegation(slot: u64, metadata: Bytes) -> Delegation {
    Delegation {
        proposer: secret(1).public_key(),
        delegate: examples::delegate().public_key(),
        committer: examples::committer().address(),
        slot: Slot(slot),
        metadata,
    }
}

/// As `object` is signed with this signing id and nonce.
fn sign_as(object: &Delegation, secret: &SecretKey, signing_id: B256, nonce: u64) -> SignedDelegation {
    let root = NETWORK.signing_root(object.object_root().unwrap(), signing_id, nonce);
    Signed { message: object.clone(), nonce, signing_id, signature: secret.sign(root) }
}

#[test]
fn delegations() {
    let allocated = delegation(9_000_001, examples::allocation().to_metadata());
    let plain = delegation(9_000_001, Bytes::new());
    let with = |change: &dyn Fn(&mut Delegation)| {
        let mut object = plain.clone();
        change(&mut object);
        object
    };
    let ours = |object: &Delegation| sign_as(object, &secret(1), EARNEST_SIGNING_ID, 0);
    let cases = [
        ("allocated", ours(&allocated)),
        ("plain", ours(&plain)),
        ("another signing id", sign_as(&plain, &secret(1), examples::hash("another module"), 77)),
        ("another committer", ours(&with(&|object| object.committer = examples::address("rival")))),
        ("another delegate", ours(&with(&|object| object.delegate = secret(40).public_key()))),
        ("another slot", ours(&with(&|object| object.slot = Slot(9_000_002)))),
        ("no committer", ours(&with(&|object| object.committer = Address::ZERO))),
        ("second key", {
            let object = with(&|object| object.proposer = secret(2).public_key());
            sign_as(&object, &secret(2), EARNEST_SIGNING_ID, 0)
        }),
        ("unregistered key", {
            let object = with(&|object| object.proposer = secret(30).public_key());
            sign_as(&object, &secret(30), EARNEST_SIGNING_ID, 0)
        }),
        ("signed by another key", sign_as(&plain, &secret(2), EARNEST_SIGNING_ID, 0)),
        ("another nonce", Signed { nonce: 1, ..ours(&plain) }),
        ("another network", {
            Signed::<_, BlsSignature>::sign(plain.clone(), &secret(1), &examples::NETWORKS[1]).unwrap()
        }),
        ("signature of the other", Signed { message: plain.clone(), ..ours(&allocated) }),
        ("signed as a registration", {
            let registration = Registration { owner: owner() };
            let root = NETWORK.message_root(&registration).unwrap();
            Signed { signature: secret(1).sign(root), ..ours(&plain) }
        }),
    ];
    let cases: Vec<Value> = cases
        .iter()
        .map(|(name, signed)| {
            let object_root = signed.message.object_root().unwrap();
            let encoded = sol::SignedDelegation {
                delegation: signed.message.to_sol().unwrap(),
                nonce: signed.nonce,
                signingId: signed.signing_id,
                signature: signature_to_sol(&signed.signature).unwrap(),
            };
            json!({
                "name": name,
                "encoded": Bytes::from(encoded.abi_encode()),
                "objectRoot": object_root,
                "signingRoot": NETWORK.signing_root(object_root, signed.signing_id, signed.nonce),
                "signed": signed.verify(&NETWORK, &signed.message.proposer).is_ok(),
            })
        })
        .collect();
    assert_vectors_in("registry", "delegations.json", &json!({ "delegations": cases }));
}

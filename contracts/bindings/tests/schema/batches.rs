//! Calldata of `Inbox.submit`, as a gateway makes it and the Inbox must record it.

use crate::{assert_vectors, examples};
use alloy_primitives::{B256, Bytes, hex, keccak256};
use alloy_sol_types::{SolCall, SolInterface};
use earnest_bindings::Inbox;
use earnest_protocol::{
    inbox, merkle,
    objects::{Commitment, CommitmentKind, SignedCommitment},
    sol,
};
use serde_json::{Value, json};

#[test]
fn batches() {
    let [hoodi, devnet] = examples::NETWORKS;
    let case = |name: &str, network, sizes: &[usize], kind, with_authority: bool| -> Value {
        let txs: Vec<Bytes> =
            sizes.iter().zip(1u8..).map(|(size, fill)| Bytes::from(vec![fill; *size])).collect();
        let hashes: Vec<B256> = txs.iter().map(keccak256).collect();
        let mut seal = examples::ordering(kind);
        seal.first_index = u32::try_from(txs.len()).unwrap();
        seal.tx_root = merkle::root(0, &hashes);
        let signed = SignedCommitment::sign(
            Commitment::of_ordering(&seal, examples::address("slasher")),
            &examples::committer(),
            network,
        )
        .unwrap();
        let authority = with_authority.then(|| examples::authority(network));
        let calldata = inbox::encode_submit(&txs, &signed, authority.as_ref()).unwrap();

        let read = inbox::decode_submit(&calldata, network).unwrap();
        assert_eq!((read.committer, &read.seal), (examples::committer().address(), &seal));
        let bound = Inbox::submitCall::abi_decode_validate(&calldata).unwrap();
        assert_eq!(Inbox::InboxCalls::submit(bound).abi_encode(), calldata.to_vec());

        json!({
            "name": name,
            "genesisForkVersion": hex::encode_prefixed(network.genesis_fork_version),
            "chainId": network.chain_id.to_string(),
            "calldata": calldata,
            "rollupId": seal.rollup_id,
            "slot": seal.slot,
            "segment": seal.segment,
            "committer": examples::committer().address(),
            "txRoot": seal.tx_root,
            "count": seal.first_index,
            "kind": u8::from(kind),
            "authority": with_authority,
        })
    };
    let cases = [
        case("an empty window", &devnet, &[], CommitmentKind::WindowSeal, false),
        case("a window's first batch", &devnet, &[120, 31, 32, 33], CommitmentKind::SegmentSeal, true),
        case("a later batch", &hoodi, &[0, 1, 4000, 120, 5], CommitmentKind::WindowSeal, false),
    ];
    assert_vectors("schema/submit.json", &json!({ "calls": cases }));
}

#[test]
fn the_bindings_and_the_protocol_name_the_same_call() {
    assert_eq!(Inbox::submitCall::SIGNATURE, sol::submitCall::SIGNATURE);
}

#[test]
fn creation_code_ends_with_its_argument() {
    let code = earnest_bindings::inbox_creation_code([0x20, 0, 0, 0x89]);
    assert!(code.starts_with(&Inbox::BYTECODE));
    assert_eq!(code[Inbox::BYTECODE.len()..], [&[0x20, 0, 0, 0x89][..], &[0; 28]].concat());
}

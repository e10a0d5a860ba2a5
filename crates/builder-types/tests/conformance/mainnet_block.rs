use alloy_primitives::{B256, Bytes};
use earnest_builder_types::{
    ExecutionPayload, ForkCodec, ForkName, PayloadAndBlobs, SignedBeaconBlock, SignedBlindedBeaconBlock,
    TreeHash, UnblindError, VariableList,
    proofs::{
        TransactionProof, TransactionTree, TransactionsMultiproof, generalized_index, prove_transactions,
        transaction_leaf, transactions_root, verify_multiproof, verify_transaction,
    },
    unblind,
};
use serde::Deserialize;
use serde_json::Value;
use ssz_types::typenum::{U1048576, U1073741824};

use crate::vectors::{bytes, json};

fn block() -> SignedBeaconBlock {
    let ssz = bytes("proofs/mainnet_signed_beacon_block_9877287.ssz");
    let block = SignedBeaconBlock::from_ssz(ForkName::Deneb, &ssz).unwrap();
    assert_eq!(block.to_ssz(), ssz);
    block
}

fn facts() -> Value {
    json("proofs/ssz_tx_proofs.json")
}

fn get<T: for<'a> Deserialize<'a>>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn transactions() -> Vec<Bytes> {
    block().message().body().execution_payload().transactions().to_vec()
}

#[test]
fn decodes_and_hashes() {
    let block = block();
    let facts = facts();
    let message = block.message();
    assert_eq!(message.slot(), facts["slot"].as_u64().unwrap());
    let payload = message.body().execution_payload();
    assert_eq!(payload.block_number(), facts["block_number"].as_u64().unwrap());
    assert_eq!(payload.block_hash(), get::<B256>(&facts["block_hash"]));
    assert_eq!(payload.transactions().len(), 129);
    let root: B256 = get(&facts["transactions_root_ssz"]);
    assert_eq!(payload.transactions().tree_hash_root(), root);
    assert_eq!(payload.to_header().transactions_root(), root);
    assert_eq!(payload.to_header().tree_hash_root(), payload.tree_hash_root());

    let payload = payload.to_owned();
    assert_eq!(payload.computed_block_hash(Some(message.parent_root()), None).unwrap(), payload.block_hash());
    assert_ne!(payload.computed_block_hash(Some(B256::ZERO), None).unwrap(), payload.block_hash());
    assert!(payload.computed_block_hash(None, None).is_err());
}

#[test]
fn blinding_keeps_the_root_and_unblinding_gives_the_block_back() {
    let SignedBeaconBlock::Deneb(signed) = block() else { unreachable!() };
    let root = signed.message.tree_hash_root();
    let payload = ExecutionPayload::Deneb(signed.message.body.execution_payload.clone());
    let full = earnest_builder_types::BeaconBlock::Deneb(signed.message.clone());
    let blinded = full.into_blinded().with_signature(signed.signature);
    assert_eq!(blinded.message().tree_hash_root(), root);
    let ssz = blinded.to_ssz();
    assert_eq!(SignedBlindedBeaconBlock::from_ssz(ForkName::Deneb, &ssz).unwrap(), blinded);

    let bundle = earnest_builder_types::BlobsBundleDeneb {
        commitments: signed.message.body.blob_kzg_commitments.clone(),
        ..Default::default()
    };
    let both = PayloadAndBlobs::new(payload, Some(bundle.into())).unwrap();
    let contents = unblind(blinded.clone(), both.clone()).unwrap();
    assert_eq!(contents.message().tree_hash_root(), root);
    assert_eq!(contents.into_signed_block(), SignedBeaconBlock::Deneb(signed));

    let PayloadAndBlobs::Deneb(mut other) = both.clone() else { unreachable!() };
    other.execution_payload.gas_used += 1;
    assert_eq!(unblind(blinded.clone(), PayloadAndBlobs::Deneb(other)), Err(UnblindError::Header));
    let PayloadAndBlobs::Deneb(mut other) = both else { unreachable!() };
    let mut commitments = other.blobs_bundle.commitments.to_vec();
    commitments.push(Default::default());
    other.blobs_bundle.commitments = commitments.try_into().unwrap();
    assert_eq!(unblind(blinded.clone(), PayloadAndBlobs::Deneb(other)), Err(UnblindError::Blobs));

    let capella = bytes("builder-specs/capella/execution_payload.ssz");
    let capella = ExecutionPayload::from_ssz(ForkName::Capella, &capella).unwrap();
    let capella = PayloadAndBlobs::new(capella, None).unwrap();
    assert_eq!(unblind(blinded, capella), Err(UnblindError::Fork));
}

#[test]
fn single_proof() {
    let facts = facts();
    let expected = &facts["single_proof_index_26"];
    let txs = transactions();
    let root = transactions_root(&txs);
    assert_eq!(generalized_index(26), expected["gindex"].as_u64());
    assert_eq!(transaction_leaf(&txs[26]), get::<B256>(&expected["tx_leaf"]));
    let proofs = prove_transactions(&txs, &[26]).unwrap();
    let branch: Vec<B256> = get(&expected["branch"]);
    assert_eq!(proofs, [TransactionProof { index: 26, proof: branch.clone() }]);
    assert!(verify_transaction(&txs[26], 26, &branch, root));

    assert!(!verify_transaction(&txs[26], 27, &branch, root));
    assert!(!verify_transaction(&txs[25], 26, &branch, root));
    assert!(!verify_transaction(&txs[26], 26, &branch, B256::ZERO));
    assert!(!verify_transaction(&txs[26], 26, &branch[1..], root));
    assert!(!verify_transaction(&txs[26], 26 + (1 << 20), &branch, root));
    assert!(!verify_transaction(&txs[26], 26 + (1 << 21), &branch, root));
    for at in 0..branch.len() {
        let mut broken = branch.clone();
        broken[at][0] ^= 1;
        assert!(!verify_transaction(&txs[26], 26, &broken, root));
    }
    for (index, tx) in txs.iter().enumerate() {
        let proof = TransactionTree::new(&txs).unwrap().prove(index).unwrap();
        assert!(verify_transaction(tx, proof.index, &proof.proof, root));
    }
    assert!(prove_transactions(&txs, &[129]).is_err());
}

#[test]
fn multiproof() {
    let facts = facts();
    let expected = &facts["multi_proof"];
    let txs = transactions();
    let tree = TransactionTree::new(&txs).unwrap();
    let root = tree.root();
    assert_eq!(root, get::<B256>(&facts["transactions_root_ssz"]));
    let proof = tree.prove_many(&get::<Vec<usize>>(&expected["tx_indexes"])).unwrap();
    assert_eq!(
        proof,
        TransactionsMultiproof {
            generalized_indexes: get(&expected["generalized_indexes"]),
            transaction_hashes: get(&expected["leaves"]),
            merkle_hashes: get(&expected["merkle_hashes"]),
        }
    );
    assert!(proof.verify(root));
    let proven = [&txs[0], &txs[26], &txs[128]].map(AsRef::as_ref);
    assert!(proof.verify_transactions(proven, root));
    assert!(!proof.verify_transactions([proven[1], proven[0], proven[2]], root));
    assert!(!proof.verify_transactions(proven[..2].iter().copied(), root));

    let all: Vec<usize> = (0..txs.len()).collect();
    assert!(tree.prove_many(&all).unwrap().verify(root));

    let broken: [fn(&mut TransactionsMultiproof); 6] = [
        |proof| proof.merkle_hashes[4][1] ^= 1,
        |proof| proof.transaction_hashes[1][31] ^= 1,
        |proof| proof.merkle_hashes.truncate(29),
        |proof| proof.merkle_hashes.push(B256::ZERO),
        |proof| proof.generalized_indexes[1] += 1,
        |proof| proof.generalized_indexes[1] = proof.generalized_indexes[0],
    ];
    for change in broken {
        let mut proof = proof.clone();
        change(&mut proof);
        assert!(!proof.verify(root));
    }
}

#[test]
fn leaf_and_general_multiproof_of_other_libraries() {
    let facts = facts();
    let vector = &facts["bolt_tx_leaf_vector"];
    assert_eq!(transaction_leaf(&get::<Bytes>(&vector["tx"])), get::<B256>(&vector["hash_tree_root"]));

    let vector = &facts["fastssz_multiproof_vector"];
    let hash = |value: &Value| value.as_str().unwrap().parse::<B256>().unwrap();
    let hashes = |value: &Value| value.as_array().unwrap().iter().map(hash).collect::<Vec<_>>();
    let indexes: Vec<u64> = get(&vector["indices"]);
    let (leaves, proof) = (hashes(&vector["leaves"]), hashes(&vector["proof"]));
    let root = hash(&vector["root"]);
    assert!(verify_multiproof(&indexes, &leaves, &proof, root));
    assert!(!verify_multiproof(&[10, 48], &leaves, &proof, root));
    assert!(!verify_multiproof(&[10, 5], &leaves, &proof, root));
    assert!(!verify_multiproof(&[], &[], &[], root));
    assert!(!verify_multiproof(&[0], &[root], &[], root));
    assert!(verify_multiproof(&[1], &[root], &[], root));
}

#[test]
fn leaves_and_lists_of_every_shape_are_those_of_the_specification() {
    for length in (0..=260).chain([1023, 1024, 1025, 100_000]) {
        let raw: Vec<u8> = (1..=u8::MAX).cycle().take(length).collect();
        let list = VariableList::<u8, U1073741824>::try_from(raw.clone()).unwrap();
        assert_eq!(transaction_leaf(&raw), list.tree_hash_root(), "{length} bytes");
    }
    for count in (0..=33).chain([100]) {
        let all: Vec<Bytes> = (0..count).map(|number| vec![number; usize::from(number)].into()).collect();
        let lists = all.iter().map(|raw| VariableList::<u8, U1073741824>::try_from(raw.to_vec()).unwrap());
        let lists = VariableList::<_, U1048576>::try_from(lists.collect::<Vec<_>>()).unwrap();
        assert_eq!(transactions_root(&all), lists.tree_hash_root(), "{count} transactions");
        assert_eq!(
            TransactionTree::new(&all).unwrap().root(),
            lists.tree_hash_root(),
            "{count} transactions"
        );
    }
}

//! Objects made here, through a whole slot: submission, bid, blinded block, unblinding; and that
//! none can be made that its fork lacks.

use alloy_primitives::{Address, B256, Bytes, U256};
use earnest_builder_types::{
    BeaconBlock, BidSubmission, BidTrace, BlindedBeaconBlock, BlobsBundle, BlobsBundleDeneb, BlobsBundleFulu,
    BlockContents, BlsSignature, BuilderBid, DepositRequest, Eth1Data, ExecutionPayload, ExecutionRequests,
    ForkCodec, ForkName, KzgCommitments, PayloadAndBlobs, ProposalContext, RequestsError,
    SignedBlockContents, SyncAggregate, TreeHash, UnblindError, ValidatorRegistration, Versioned,
    bls::{BlsError, SecretKey},
    domain, sign_bid_trace, unblind, versioned_hash,
};
use serde_json::Value;

use crate::vectors::{assert_same, bytes};

const FORKS: [ForkName; 4] = [ForkName::Capella, ForkName::Deneb, ForkName::Electra, ForkName::Fulu];

fn payload_and_blobs(fork: ForkName) -> PayloadAndBlobs {
    let file = if fork.has_blobs() { "execution_payload_and_blobs_bundle" } else { "execution_payload" };
    PayloadAndBlobs::from_ssz(fork, &bytes(&format!("builder-specs/{fork}/{file}.ssz"))).unwrap()
}

fn requests(fork: ForkName) -> ExecutionRequests {
    let mut requests = ExecutionRequests::default();
    if fork.has_requests() {
        let deposit = DepositRequest {
            pubkey: Default::default(),
            withdrawal_credentials: B256::ZERO,
            amount: 32,
            signature: BlsSignature::ZERO,
            index: 7,
        };
        requests.deposits = vec![deposit].try_into().unwrap();
    }
    requests
}

fn context() -> ProposalContext {
    ProposalContext {
        slot: 12,
        proposer_index: 3,
        parent_root: B256::repeat_byte(1),
        state_root: B256::repeat_byte(2),
        randao_reveal: BlsSignature::repeat_byte(3),
        eth1_data: Eth1Data::default(),
        graffiti: B256::repeat_byte(4),
        sync_aggregate: SyncAggregate::empty(),
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn submission(fork: ForkName) -> BidSubmission {
    let both = payload_and_blobs(fork);
    let trace = BidTrace {
        slot: 12,
        block_hash: both.payload().block_hash(),
        builder_pubkey: key(1).public_key(),
        value: U256::from(5),
        ..Default::default()
    };
    let signed = sign_bid_trace(trace, &key(1), domain::builder_domain([1; 4]));
    BidSubmission::new(signed.message, signed.signature, both, requests(fork)).unwrap()
}

#[test]
fn a_slot_of_every_fork() {
    let builder_domain = domain::builder_domain([1; 4]);
    let proposer_domain = domain::beacon_proposer_domain([2; 4], B256::ZERO);
    for fork in FORKS {
        let submission = submission(fork);
        assert_eq!(submission.verify(builder_domain), Ok(()));
        assert_eq!(submission.verify(domain::builder_domain([2; 4])), Err(BlsError::Signature));

        let commitments = submission.blob_kzg_commitments();
        let header = submission.payload().to_header();
        let relay = key(2);
        let bid =
            BuilderBid::new(header, commitments, requests(fork), U256::from(5), relay.public_key()).unwrap();
        let bid = bid.sign(&relay, builder_domain);
        assert_eq!(bid.fork(), fork);
        assert_eq!(bid.verify(builder_domain), Ok(()));
        assert_eq!(bid.verify(proposer_domain), Err(BlsError::Signature));

        let proposer = key(3);
        let blinded = BlindedBeaconBlock::new_for_proposal(
            context(),
            bid.header().to_owned(),
            bid.blob_kzg_commitments(),
            bid.execution_requests(),
        )
        .unwrap()
        .sign(&proposer, proposer_domain);
        assert_eq!(blinded.verify(&proposer.public_key(), proposer_domain), Ok(()));
        assert_eq!(blinded.verify(&relay.public_key(), proposer_domain), Err(BlsError::Signature));

        let root = blinded.message().tree_hash_root();
        let contents = unblind(blinded.clone(), submission.into_payload_and_blobs()).unwrap();
        assert_eq!(contents.message().tree_hash_root(), root);
        assert_eq!(contents.verify(&proposer.public_key(), proposer_domain), Ok(()));
        let json: Value = serde_json::from_slice(&contents.to_json().unwrap()).unwrap();
        assert_same::<SignedBlockContents>(fork, &json, &contents.to_ssz());

        let other = FORKS.into_iter().find(|other| *other != fork).unwrap();
        assert_eq!(unblind(blinded, payload_and_blobs(other)), Err(UnblindError::Fork));
    }
}

#[test]
fn a_block_built_locally_is_the_block_built_blinded() {
    let proposer_domain = domain::beacon_proposer_domain([2; 4], B256::ZERO);
    for fork in FORKS {
        let both = payload_and_blobs(fork);
        let payload = both.payload().to_owned();
        let full = BeaconBlock::new_for_proposal(
            context(),
            payload.clone(),
            KzgCommitments::default(),
            requests(fork),
        )
        .unwrap();
        let blinded = BlindedBeaconBlock::new_for_proposal(
            context(),
            payload.to_header(),
            KzgCommitments::default(),
            requests(fork),
        )
        .unwrap();
        assert_eq!(full.clone().into_blinded(), blinded);

        let contents = BlockContents::new(full, None).unwrap();
        let json: Value = serde_json::from_slice(&contents.to_json().unwrap()).unwrap();
        assert_same::<BlockContents>(fork, &json, &contents.to_ssz());
        let signed = contents.sign(&key(4), proposer_domain);
        assert_eq!(*signed.signature(), *blinded.sign(&key(4), proposer_domain).signature());
        assert_eq!(signed.verify(&key(4).public_key(), proposer_domain), Ok(()));
    }
}

#[test]
fn submissions_are_what_alloy_has() {
    use earnest_builder_types::beacon::relay::{
        SignedBidSubmissionV2, SignedBidSubmissionV3, SignedBidSubmissionV4, SignedBidSubmissionV5,
    };

    fn json_by_alloy<T: ssz::Decode + serde::Serialize>(ssz: &[u8]) -> Value {
        serde_json::to_value(T::from_ssz_bytes(ssz).unwrap()).unwrap()
    }

    // alloy moves blobs over the stack.
    let judge = || {
        for fork in FORKS {
            let submission = submission(fork);
            let json: Value = serde_json::from_slice(&submission.to_json().unwrap()).unwrap();
            let ssz = submission.to_ssz();
            assert_same::<BidSubmission>(fork, &json, &ssz);
            let by_alloy = match fork {
                ForkName::Capella => json_by_alloy::<SignedBidSubmissionV2>(&ssz),
                ForkName::Deneb => json_by_alloy::<SignedBidSubmissionV3>(&ssz),
                ForkName::Electra => json_by_alloy::<SignedBidSubmissionV4>(&ssz),
                _ => json_by_alloy::<SignedBidSubmissionV5>(&ssz),
            };
            assert_eq!(by_alloy, json);
            let enveloped = Versioned::new(submission).to_json().unwrap();
            assert_eq!(Versioned::<BidSubmission>::from_json(&enveloped).unwrap().version, fork);
        }
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(judge).unwrap().join().unwrap();
}

#[test]
fn nothing_is_made_that_the_fork_lacks() {
    let header = |fork| payload_and_blobs(fork).payload().to_header();
    let commitments: KzgCommitments = vec![Default::default()].try_into().unwrap();
    let none = ExecutionRequests::default;
    let bid = |fork, commitments, requests| {
        BuilderBid::new(header(fork), commitments, requests, U256::ZERO, Default::default())
    };
    assert!(bid(ForkName::Capella, commitments.clone(), none()).is_err());
    assert!(bid(ForkName::Deneb, commitments.clone(), none()).is_ok());
    assert!(bid(ForkName::Deneb, commitments.clone(), requests(ForkName::Electra)).is_err());
    assert!(bid(ForkName::Electra, commitments.clone(), requests(ForkName::Electra)).is_ok());

    let block = |fork, commitments, requests| {
        BlindedBeaconBlock::new_for_proposal(context(), header(fork), commitments, requests)
    };
    assert!(block(ForkName::Capella, commitments.clone(), none()).is_err());
    assert!(block(ForkName::Deneb, commitments, requests(ForkName::Electra)).is_err());

    let payload = |fork| payload_and_blobs(fork).payload().to_owned();
    let deneb = || Some(BlobsBundle::Deneb(BlobsBundleDeneb::default()));
    assert!(PayloadAndBlobs::new(payload(ForkName::Capella), deneb()).is_err());
    assert!(PayloadAndBlobs::new(payload(ForkName::Electra), deneb()).is_err());
    let fulu = BlobsBundle::Fulu(BlobsBundleFulu::default());
    assert!(PayloadAndBlobs::new(payload(ForkName::Fulu), Some(fulu)).is_ok());

    let engine = payload(ForkName::Capella).to_engine();
    assert!(ExecutionPayload::from_engine(ForkName::Deneb, engine).is_err());
    let mut engine = payload(ForkName::Capella).to_engine();
    engine.set_extra_data(vec![0; 33].into());
    assert!(ExecutionPayload::from_engine(ForkName::Capella, engine).is_err());
}

#[test]
fn execution_requests_of_the_engine_api() {
    let made = requests(ForkName::Fulu);
    let listed = made.to_engine();
    assert_eq!(listed.len(), 1);
    assert_eq!(ExecutionRequests::from_engine(&listed).unwrap(), made);
    assert!(ExecutionRequests::default().to_engine().is_empty());
    // sha256 of nothing: the hash of a block without requests (EIP-7685).
    assert_eq!(
        ExecutionRequests::default().hash(),
        "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse::<B256>().unwrap()
    );

    let deposit = listed[0].clone();
    let read = |list: &[&[u8]]| {
        let list: Vec<_> = list.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect();
        ExecutionRequests::from_engine(&list).unwrap_err()
    };
    assert!(matches!(read(&[&[]]), RequestsError::Empty));
    assert!(matches!(read(&[&[0]]), RequestsError::Empty));
    assert!(matches!(read(&[&deposit, &deposit]), RequestsError::Type(0)));
    assert!(matches!(read(&[&[3, 0]]), RequestsError::Type(3)));
    assert!(matches!(read(&[&deposit[..50]]), RequestsError::Ssz(0, _)));
    assert!(matches!(read(&[&[&[2][..], &[0; 116 * 3]].concat()]), RequestsError::Ssz(2, _)));
}

#[test]
fn registrations_are_signed() {
    let domain = domain::builder_domain([1; 4]);
    let registration = ValidatorRegistration {
        fee_recipient: Address::repeat_byte(9),
        gas_limit: 30_000_000,
        timestamp: 5,
        pubkey: key(6).public_key(),
    };
    let signed = registration.sign(&key(6), domain);
    assert_eq!(signed.verify(domain), Ok(()));
    let alloy: earnest_builder_types::beacon::relay::ValidatorRegistration = signed.clone().into();
    assert_eq!(serde_json::to_value(&alloy).unwrap(), serde_json::to_value(&signed).unwrap());
}

#[test]
fn versioned_hashes_begin_with_one() {
    let both = payload_and_blobs(ForkName::Deneb);
    let hash = versioned_hash(&both.commitments()[0]);
    assert_eq!(hash[0], 1);
    assert_ne!(hash, versioned_hash(&Default::default()));
}

//! What a builder's block must be before it can be offered (design §5). Pure.

use crate::held::BlockTx;
use alloy_consensus::Transaction;
use alloy_eips::eip2718::{Decodable2718, EIP4844_TX_TYPE_ID};
use alloy_primitives::{Address, B256};
use earnest_builder_types::{
    BidSubmission, BlsPublicKey, ExecutionPayloadHeader, ForkCodec, ForkName, bls::BlsError,
    engine::PayloadAttributes, versioned_hash,
};
use earnest_http::ApiError;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::LazyLock;

/// What is known of the slot that a submission is for.
#[derive(Debug, Clone)]
pub(crate) struct Expected<'a> {
    /// The fork in force.
    pub(crate) fork: Option<ForkName>,
    /// Whether bids for the slot are still of use.
    pub(crate) open: bool,
    /// The slot's proposer.
    pub(crate) proposer: Option<BlsPublicKey>,
    /// Where its registration sends the fees.
    pub(crate) fee_recipient: Option<Address>,
    /// What the payload must be built with.
    pub(crate) attributes: Option<&'a PayloadAttributes>,
    /// Number of the parent, where a beacon node told it.
    pub(crate) parent_number: Option<u64>,
    /// Domain of the builder's signature.
    pub(crate) builder_domain: B256,
}

/// Why a submission is refused: always 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubmissionError {
    #[error("slot {0} is past")]
    Past(u64),
    #[error("slot {slot} is {}, not {found}", .expected.map_or("of no known fork", |fork| fork.as_str()))]
    Fork { slot: u64, found: ForkName, expected: Option<ForkName> },
    #[error("the proposer of slot {0} is not known")]
    UnknownProposer(u64),
    #[error("{0} does not propose this slot")]
    WrongProposer(BlsPublicKey),
    #[error("the slot's proposer is not registered")]
    NotRegistered,
    #[error("fee recipient {found}, the proposer registered {expected}")]
    FeeRecipient { found: Address, expected: Address },
    #[error("{0} of the message is not that of the payload")]
    Mismatch(&'static str),
    #[error("payload attributes for this slot and parent are not known")]
    UnknownParent,
    #[error("{0} of the payload is not that of the slot's payload attributes")]
    Attributes(&'static str),
    #[error("block number {found}, that of the parent is {parent}")]
    Number { found: u64, parent: u64 },
    #[error("blob commitments, proofs and blobs differ in number")]
    Blobs,
    #[error("the blob commitments are not those of the payload's transactions")]
    VersionedHashes,
    #[error("block hash {found}, computed {computed}")]
    BlockHash { found: B256, computed: B256 },
    #[error("no block can be made of the payload: {0}")]
    Payload(String),
    #[error("builder's signature: {0}")]
    Signature(BlsError),
}

impl From<SubmissionError> for ApiError {
    fn from(error: SubmissionError) -> Self {
        Self::bad_request(error.to_string())
    }
}

/// Checks everything that needs no execution of the block, cheapest first, and gives the payload's header, whose hashing
/// takes as long as that of the block and is done beside it.
pub(crate) fn check(
    submission: &BidSubmission,
    expected: &Expected<'_>,
) -> Result<ExecutionPayloadHeader, SubmissionError> {
    let trace = submission.message();
    if !expected.open {
        return Err(SubmissionError::Past(trace.slot));
    }
    if expected.fork != Some(submission.fork()) {
        let (slot, found) = (trace.slot, submission.fork());
        return Err(SubmissionError::Fork { slot, found, expected: expected.fork });
    }
    let proposer = expected.proposer.ok_or(SubmissionError::UnknownProposer(trace.slot))?;
    if trace.proposer_pubkey != proposer {
        return Err(SubmissionError::WrongProposer(trace.proposer_pubkey));
    }
    let recipient = expected.fee_recipient.ok_or(SubmissionError::NotRegistered)?;
    if trace.proposer_fee_recipient != recipient {
        let found = trace.proposer_fee_recipient;
        return Err(SubmissionError::FeeRecipient { found, expected: recipient });
    }
    check_message(submission)?;
    let attributes = expected.attributes.ok_or(SubmissionError::UnknownParent)?;
    check_attributes(submission, attributes)?;
    check_blobs(submission)?;
    let payload = submission.payload();
    if let Some(parent) = expected.parent_number
        && parent.checked_add(1) != Some(payload.block_number())
    {
        return Err(SubmissionError::Number { found: payload.block_number(), parent });
    }
    check_versioned_hashes(submission)?;
    let (checked, header) = at_once(
        || {
            check_block_hash(submission, attributes)?;
            submission.verify(expected.builder_domain).map_err(SubmissionError::Signature)
        },
        || payload.to_header(),
    );
    checked.map(|()| header)
}

fn check_block_hash(
    submission: &BidSubmission,
    attributes: &PayloadAttributes,
) -> Result<(), SubmissionError> {
    let (payload, requests) = (submission.payload(), submission.execution_requests().ok());
    let computed = payload
        .to_owned()
        .computed_block_hash(attributes.parent_beacon_block_root, requests)
        .map_err(|error| SubmissionError::Payload(error.to_string()))?;
    if computed != payload.block_hash() {
        return Err(SubmissionError::BlockHash { found: payload.block_hash(), computed });
    }
    Ok(())
}

/// Threads that hash blocks. Not those that verify lists of registrations: a block would wait there until a list is
/// through.
static HASHING: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let pool = ThreadPoolBuilder::new().thread_name(|number| format!("hashing-{number}")).build();
    pool.inspect_err(|error| tracing::warn!(%error, "blocks are hashed by one thread each")).ok()
});

/// Does both, by as many threads as there are cores.
fn at_once<A: Send, B: Send>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B + Send) -> (A, B) {
    match &*HASHING {
        Some(pool) => pool.join(first, second),
        None => (first(), second()),
    }
}

fn check_message(submission: &BidSubmission) -> Result<(), SubmissionError> {
    let (trace, payload) = (submission.message(), submission.payload());
    let same = [
        ("parent_hash", trace.parent_hash == payload.parent_hash()),
        ("block_hash", trace.block_hash == payload.block_hash()),
        ("gas_limit", trace.gas_limit == payload.gas_limit()),
        ("gas_used", trace.gas_used == payload.gas_used()),
    ];
    same.into_iter()
        .find(|(_, same)| !same)
        .map_or(Ok(()), |(field, _)| Err(SubmissionError::Mismatch(field)))
}

fn check_attributes(
    submission: &BidSubmission,
    attributes: &PayloadAttributes,
) -> Result<(), SubmissionError> {
    let payload = submission.payload();
    let withdrawals_match = payload.withdrawals().is_ok_and(|withdrawals| {
        let wanted = attributes.withdrawals.as_deref().unwrap_or_default();
        withdrawals.iter().cloned().map(alloy_eips::eip4895::Withdrawal::from).eq(wanted.iter().copied())
    });
    let same = [
        ("timestamp", payload.timestamp() == attributes.timestamp),
        ("prev_randao", payload.prev_randao() == attributes.prev_randao),
        ("withdrawals", withdrawals_match),
    ];
    same.into_iter()
        .find(|(_, same)| !same)
        .map_or(Ok(()), |(field, _)| Err(SubmissionError::Attributes(field)))
}

/// From Fulu on every blob has 128 cell proofs, before one.
fn check_blobs(submission: &BidSubmission) -> Result<(), SubmissionError> {
    let (commitments, proofs, blobs, each) = match submission {
        BidSubmission::Capella(_) => return Ok(()),
        BidSubmission::Deneb(bid) => {
            let bundle = &bid.blobs_bundle;
            (bundle.commitments.len(), bundle.proofs.len(), bundle.blobs.len(), 1)
        }
        BidSubmission::Electra(bid) => {
            let bundle = &bid.blobs_bundle;
            (bundle.commitments.len(), bundle.proofs.len(), bundle.blobs.len(), 1)
        }
        BidSubmission::Fulu(bid) => {
            let bundle = &bid.blobs_bundle;
            (bundle.commitments.len(), bundle.proofs.len(), bundle.blobs.len(), 128)
        }
    };
    let even = commitments == blobs && blobs.checked_mul(each) == Some(proofs);
    if even { Ok(()) } else { Err(SubmissionError::Blobs) }
}

/// The commitments are those of the blob transactions, in their order: so the block hash fixes them too.
fn check_versioned_hashes(submission: &BidSubmission) -> Result<(), SubmissionError> {
    let mut wanted = Vec::new();
    for raw in submission.payload().transactions().iter() {
        if raw.first() == Some(&EIP4844_TX_TYPE_ID) {
            let tx = BlockTx::decode_2718_exact(raw)
                .map_err(|error| SubmissionError::Payload(error.to_string()))?;
            wanted.extend_from_slice(tx.blob_versioned_hashes().unwrap_or_default());
        }
    }
    let same = submission.blob_kzg_commitments().iter().map(versioned_hash).eq(wanted);
    if same { Ok(()) } else { Err(SubmissionError::VersionedHashes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Block, FORK_VERSION, PROPOSER, bls, damaged, tx};
    use alloy_consensus::{SignableTransaction, TxEip4844};
    use alloy_eips::eip2718::Encodable2718;
    use alloy_primitives::{Signature, U256};
    use earnest_builder_types::{BidSubmissionElectra, Transactions, domain::builder_domain, sign_bid_trace};

    fn expected(attributes: &PayloadAttributes) -> Expected<'_> {
        Expected {
            fork: Some(ForkName::Electra),
            open: true,
            proposer: Some(bls(PROPOSER).public_key()),
            fee_recipient: Some(Address::repeat_byte(PROPOSER)),
            attributes: Some(attributes),
            parent_number: Some(4),
            builder_domain: builder_domain(FORK_VERSION),
        }
    }

    fn good() -> BidSubmissionElectra {
        let block = Block { transactions: vec![tx(1, 0, 1)], ..Block::default() };
        let BidSubmission::Electra(submission) = block.submit(1) else { unreachable!() };
        submission
    }

    fn blob() -> earnest_builder_types::Blob {
        earnest_builder_types::Blob::new(vec![0; 131_072].into()).unwrap()
    }

    /// A transaction with one blob.
    fn blob_tx(blob: B256) -> alloy_primitives::Bytes {
        let tx = TxEip4844 { chain_id: 1337, blob_versioned_hashes: vec![blob], ..TxEip4844::default() };
        let signature = Signature::test_signature();
        tx.into_signed(signature).encoded_2718().into()
    }

    #[test]
    fn commitments_of_the_blob_transactions_pass() {
        let mut submission = good();
        let commitment = earnest_builder_types::KzgCommitment::default();
        let transactions = vec![tx(1, 0, 1), blob_tx(versioned_hash(&commitment))];
        submission.execution_payload.transactions = Transactions::new(transactions).unwrap();
        submission.blobs_bundle.commitments = vec![commitment].try_into().unwrap();
        assert_eq!(check_versioned_hashes(&BidSubmission::Electra(submission)), Ok(()));
    }

    /// Signs again after a change.
    fn signed(mut submission: BidSubmissionElectra) -> BidSubmissionElectra {
        let trace = submission.message.clone();
        submission.signature = sign_bid_trace(trace, &bls(1), builder_domain(FORK_VERSION)).signature;
        submission
    }

    #[test]
    fn an_honest_block_passes() {
        let attributes = Block::default().attributes();
        let submission = BidSubmission::Electra(good());
        let header = submission.payload().to_header();
        assert_eq!(check(&submission, &expected(&attributes)), Ok(header));
    }

    #[test]
    fn each_lie_in_the_block_is_named() {
        type Lie = fn(&mut BidSubmissionElectra);
        let cases: [(&str, Lie); 17] = [
            ("does not propose this slot", |bid| bid.message.proposer_pubkey = bls(1).public_key()),
            ("the proposer registered", |bid| bid.message.proposer_fee_recipient = Address::ZERO),
            ("parent_hash of the message", |bid| bid.execution_payload.parent_hash = B256::ZERO),
            ("block_hash of the message", |bid| bid.message.block_hash = B256::ZERO),
            ("gas_limit of the message", |bid| bid.message.gas_limit = 1),
            ("gas_used of the message", |bid| bid.message.gas_used = 1),
            ("timestamp of the payload", |bid| bid.execution_payload.timestamp += 1),
            ("prev_randao of the payload", |bid| bid.execution_payload.prev_randao = B256::ZERO),
            ("withdrawals of the payload", |bid| {
                let withdrawal = alloy_eips::eip4895::Withdrawal::default();
                bid.execution_payload.withdrawals = vec![withdrawal.into()].try_into().unwrap();
            }),
            ("differ in number", |bid| {
                bid.blobs_bundle.commitments = vec![Default::default()].try_into().unwrap();
            }),
            ("block number 6, that of the parent is 4", |bid| bid.execution_payload.block_number = 6),
            ("not those of the payload's transactions", |bid| {
                bid.blobs_bundle.commitments = vec![Default::default()].try_into().unwrap();
                bid.blobs_bundle.proofs = vec![Default::default()].try_into().unwrap();
                bid.blobs_bundle.blobs = vec![blob()].try_into().unwrap();
            }),
            ("not those of the payload's transactions", |bid| {
                bid.execution_payload.transactions = Transactions::new(vec![blob_tx(B256::ZERO)]).unwrap();
            }),
            ("block hash", |bid| bid.execution_payload.state_root = B256::ZERO),
            ("block hash", |bid| bid.execution_payload.transactions = Default::default()),
            ("block hash", |bid| {
                bid.execution_requests.withdrawals = vec![earnest_builder_types::WithdrawalRequest {
                    source_address: Address::ZERO,
                    validator_pubkey: bls(1).public_key(),
                    amount: 1,
                }]
                .try_into()
                .unwrap();
            }),
            ("signature of another", |_| {}),
        ];
        let attributes = Block::default().attributes();
        for (says, lie) in cases {
            let mut submission = good();
            lie(&mut submission);
            let mut submission = signed(submission);
            if says == "signature of another" {
                submission.message.value = U256::from(2);
            }
            let error = check(&BidSubmission::Electra(submission), &expected(&attributes)).unwrap_err();
            let says = if says == "signature of another" { "builder's signature" } else { says };
            assert!(error.to_string().contains(says), "{says}: {error}");
            let error = ApiError::from(error);
            assert_eq!((error.status.as_u16(), &error.body()["code"]), (400, &400.into()));
        }
    }

    #[test]
    fn what_is_not_known_of_the_slot_is_named() {
        let attributes = Block::default().attributes();
        let trace = good().message;
        let cases = [
            (Expected { open: false, ..expected(&attributes) }, SubmissionError::Past(trace.slot)),
            (
                Expected { fork: Some(ForkName::Fulu), ..expected(&attributes) },
                SubmissionError::Fork {
                    slot: trace.slot,
                    found: ForkName::Electra,
                    expected: Some(ForkName::Fulu),
                },
            ),
            (
                Expected { proposer: None, ..expected(&attributes) },
                SubmissionError::UnknownProposer(trace.slot),
            ),
            (Expected { fee_recipient: None, ..expected(&attributes) }, SubmissionError::NotRegistered),
            (Expected { attributes: None, ..expected(&attributes) }, SubmissionError::UnknownParent),
        ];
        for (expected, error) in cases {
            assert_eq!(check(&BidSubmission::Electra(good()), &expected), Err(error));
        }
    }

    /// Whatever can be read is judged, and what differs from what was signed is refused.
    #[test]
    fn any_bytes_are_a_good_block_or_an_error() {
        let good = BidSubmission::Electra(good());
        let attributes = Block::default().attributes();
        let (ssz, json) = (good.to_ssz(), good.to_json().unwrap());
        bolero::check!().with_iterations(500).with_type::<(Vec<(u16, u8)>, u16)>().for_each(
            |(changes, length)| {
                let of_ssz = BidSubmission::from_ssz(ForkName::Electra, &damaged(&ssz, changes, *length));
                let of_json = BidSubmission::from_json(ForkName::Electra, &damaged(&json, changes, *length));
                for submission in [of_ssz, of_json].into_iter().flatten() {
                    let checked = check(&submission, &expected(&attributes));
                    assert_eq!(checked.is_ok(), submission == good, "{checked:?}");
                }
            },
        );
    }
}

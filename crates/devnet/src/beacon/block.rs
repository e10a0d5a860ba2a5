//! From the wire's blocks to what the rules and the execution client read of them, and signatures. Pure.

use alloy_primitives::B256;
use earnest_builder_types::{
    BlsPublicKey, ForkCodec, SignedBlockContents, TreeHash, VariableList,
    bls::{self, BlsError},
    domain::signing_root,
    versioned_hash,
};

use super::{
    block_error::BlockError,
    chain_state::Candidate,
    engine::{ExecutionBlock, NewPayload},
};

/// The domains a proposer signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposerDomains {
    /// Of beacon blocks.
    pub block: B256,
    /// Of RANDAO reveals.
    pub randao: B256,
}

/// What the rules read of a block.
#[must_use]
pub fn candidate(contents: &SignedBlockContents) -> Candidate {
    let block = contents.message();
    let body = block.body();
    let payload = body.execution_payload();
    Candidate {
        header: block.block_header(),
        signature: *contents.signature(),
        randao_reveal: *body.randao_reveal(),
        execution: ExecutionBlock {
            hash: payload.block_hash(),
            number: payload.block_number(),
            timestamp: payload.timestamp(),
        },
        parent_hash: payload.parent_hash(),
        prev_randao: payload.prev_randao(),
        withdrawals: payload.withdrawals().map_or(0, VariableList::len),
    }
}

/// What the execution client judges of a block.
#[must_use]
pub fn new_payload(contents: &SignedBlockContents) -> NewPayload {
    let block = contents.message();
    let body = block.body();
    let commitments = body.blob_kzg_commitments();
    NewPayload {
        fork: contents.fork(),
        payload: body.execution_payload().to_engine(),
        versioned_hashes: commitments.map_or_else(|_| vec![], |all| all.iter().map(versioned_hash).collect()),
        parent_beacon_block_root: block.parent_root(),
        execution_requests: body.execution_requests().cloned().unwrap_or_default(),
    }
}

/// What a proposer signs as its RANDAO reveal for `epoch`.
#[must_use]
pub fn randao_signing_root(epoch: u64, domain: B256) -> B256 {
    signing_root(epoch.tree_hash_root(), domain)
}

/// Verifies the proposer's signatures over the block and over the epoch.
///
/// # Errors
/// [`BlockError::Signature`] naming the one that fails.
pub fn verify_signatures(
    candidate: &Candidate,
    proposer: &BlsPublicKey,
    epoch: u64,
    domains: &ProposerDomains,
) -> Result<(), BlockError> {
    let failed = |what| move |error: BlsError| BlockError::Signature { what, reason: error.to_string() };
    let block_root = signing_root(candidate.root(), domains.block);
    bls::verify(proposer, block_root, &candidate.signature).map_err(failed("block signature"))?;
    let reveal_root = randao_signing_root(epoch, domains.randao);
    bls::verify(proposer, reveal_root, &candidate.randao_reveal).map_err(failed("randao reveal"))
}

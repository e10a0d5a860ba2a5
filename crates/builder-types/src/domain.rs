//! Signing domains and roots of the consensus specification.

use alloy_primitives::B256;
use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

/// `DOMAIN_BEACON_PROPOSER`: beacon blocks.
pub const DOMAIN_BEACON_PROPOSER: [u8; 4] = [0, 0, 0, 0];
/// `DOMAIN_RANDAO`: RANDAO reveals.
pub const DOMAIN_RANDAO: [u8; 4] = [2, 0, 0, 0];
/// `DOMAIN_APPLICATION_BUILDER`: registrations, bids and bid traces of the Builder API.
pub const DOMAIN_APPLICATION_BUILDER: [u8; 4] = [0, 0, 0, 1];
/// Commit-Boost's domain for commitments ("mmoC"), design §3.
pub const DOMAIN_COMMIT_BOOST: [u8; 4] = [0x6d, 0x6d, 0x6f, 0x43];

/// Genesis fork version of mainnet.
pub const MAINNET_GENESIS_FORK_VERSION: [u8; 4] = [0, 0, 0, 0];

#[derive(TreeHash)]
struct ForkData {
    current_version: [u8; 4],
    genesis_validators_root: B256,
}

#[derive(TreeHash)]
struct SigningData {
    object_root: B256,
    domain: B256,
}

/// `compute_domain`: the type, then the first 28 bytes of the fork data's root.
pub fn compute_domain(domain_type: [u8; 4], fork_version: [u8; 4], genesis_validators_root: B256) -> B256 {
    let fork_data = ForkData { current_version: fork_version, genesis_validators_root }.tree_hash_root();
    let mut domain = B256::ZERO;
    for (to, from) in domain.iter_mut().zip(domain_type.iter().chain(fork_data.iter())) {
        *to = *from;
    }
    domain
}

/// The domain of everything signed in the Builder API: genesis fork version, no validators root.
pub fn builder_domain(genesis_fork_version: [u8; 4]) -> B256 {
    compute_domain(DOMAIN_APPLICATION_BUILDER, genesis_fork_version, B256::ZERO)
}

/// The domain of beacon blocks, blinded or full, in the fork with this version.
pub fn beacon_proposer_domain(fork_version: [u8; 4], genesis_validators_root: B256) -> B256 {
    compute_domain(DOMAIN_BEACON_PROPOSER, fork_version, genesis_validators_root)
}

/// The domain of RANDAO reveals in the fork with this version.
pub fn randao_domain(fork_version: [u8; 4], genesis_validators_root: B256) -> B256 {
    compute_domain(DOMAIN_RANDAO, fork_version, genesis_validators_root)
}

/// The domain of our own messages, design §3.
pub fn commit_boost_domain(genesis_fork_version: [u8; 4]) -> B256 {
    compute_domain(DOMAIN_COMMIT_BOOST, genesis_fork_version, B256::ZERO)
}

/// `compute_signing_root`: what is signed for an object of this root in this domain.
pub fn signing_root(object_root: B256, domain: B256) -> B256 {
    SigningData { object_root, domain }.tree_hash_root()
}

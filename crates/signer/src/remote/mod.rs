//! Signers elsewhere: Commit-Boost's signer and Web3Signer. They hold the keys and see 32-byte roots; each of their signatures is
//! verified here before anybody else sees it.

mod channel;
mod commit_boost;
mod joined;
mod jwt;
mod web3signer;

pub use commit_boost::{CommitBoost, CommitBoostConfig, ProxyKeys};
pub use joined::JoinedBls;
pub use web3signer::{Web3Signer, Web3SignerConfig};

use alloy_primitives::B256;
use serde::Deserialize;

/// Why a signer elsewhere gave no signature that counts.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The configuration cannot work.
    #[error("{0}")]
    Setup(String),
    /// It cannot be reached, or broke off.
    #[error("cannot reach it: {0}")]
    Unreachable(String),
    /// No whole answer in time.
    #[error("no answer within {0} ms")]
    TimedOut(u64),
    /// It said no.
    #[error("it refused with status {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The first of its words.
        message: String,
    },
    /// It is not asked for a while: it refused our credentials, and more attempts would lock us out for longer.
    #[error("not asked for {0} s, because it refused our credentials: check `module` and the secret")]
    LockedOut(u64),
    /// Its answer is not what the API promises.
    #[error("its answer is not what the API promises: {0}")]
    Malformed(String),
    /// The signature is not by the key that was asked for, or not of what was asked to be signed.
    #[error("its signature is not that of {0} on what was to be signed: nothing is done with it")]
    Foreign(String),
    /// It signs under another signing id than the one that was asked for.
    #[error(
        "it signs for module id {theirs}: set the module's `signing_id` to {ours} in the signer's configuration"
    )]
    SigningId {
        /// The id it has.
        theirs: B256,
        /// The id it needs.
        ours: B256,
    },
    /// It signs for another chain.
    #[error("it signs for chain {theirs}, and we are on {ours}")]
    Chain {
        /// Its chain.
        theirs: String,
        /// Ours.
        ours: u64,
    },
    /// This kind of message is not one that it can sign.
    #[error("it signs commitments only, not {0}")]
    Unsupported(&'static str),
}

/// `{"keys": […]}` of `GET /signer/v1/get_pubkeys`, alike in both.
#[derive(Debug, Deserialize)]
struct KeysAnswer<K> {
    keys: Vec<K>,
}

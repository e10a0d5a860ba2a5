//! Web3Signer's commit-boost API (`--commit-boost-api-enabled`): it signs an object root in the domain of commitments and knows
//! neither signing ids nor nonces, so it is given the info root of design §3 as object root.

use super::channel::Channel;
use super::commit_boost::verified_bls;
use super::{KeysAnswer, RemoteError};
use crate::{BlsSigner, SignerError, Signing, SigningRequest};
use alloy_primitives::B256;
use earnest_builder_types::{BlsPublicKey, BlsSignature};
use earnest_protocol::signing::info_root;
use parking_lot::RwLock;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

const KEYS: &str = "/signer/v1/get_pubkeys";
const SIGN: &str = "/signer/v1/request_signature";

/// Where a Web3Signer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Web3SignerConfig {
    /// Base URL.
    pub url: Url,
    /// Certificate to trust, PEM, if it is not one that the system trusts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Time for one answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

const fn default_timeout_ms() -> u64 {
    2_000
}

/// A Web3Signer. Its keys are those that [`BlsSigner::refresh`] found last.
#[derive(Debug)]
pub struct Web3Signer {
    channel: Channel,
    keys: RwLock<Vec<BlsPublicKey>>,
}

#[derive(Deserialize)]
struct Key {
    consensus: BlsPublicKey,
}

#[derive(Serialize)]
struct Sign<'a> {
    r#type: &'static str,
    pubkey: &'a BlsPublicKey,
    object_root: B256,
}

impl Web3Signer {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// [`RemoteError::Setup`].
    pub fn new(config: &Web3SignerConfig) -> Result<Self, RemoteError> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let channel = Channel::new(&config.url, config.ca_file.as_deref(), timeout)?;
        Ok(Self { channel, keys: RwLock::default() })
    }

    async fn load_keys(&self) -> Result<(), RemoteError> {
        let request = self.channel.request(Method::GET, KEYS).header(ACCEPT, "application/json");
        let body = self.channel.send(request).await?;
        let answer: KeysAnswer<Key> =
            serde_json::from_slice(&body).map_err(|cause| RemoteError::Malformed(cause.to_string()))?;
        *self.keys.write() = answer.keys.into_iter().map(|key| key.consensus).collect();
        Ok(())
    }

    async fn sign_bls(
        &self,
        key: &BlsPublicKey,
        request: SigningRequest,
    ) -> Result<BlsSignature, RemoteError> {
        let object_root = match request {
            SigningRequest::Module { object_root, signing_id, nonce, network } => {
                info_root(object_root, signing_id, nonce, network.chain_id)
            }
            SigningRequest::Domain { .. } => {
                return Err(RemoteError::Unsupported("messages of other domains"));
            }
            SigningRequest::Digest(_) => return Err(RemoteError::Unsupported("bare digests")),
        };
        let asked = Sign { r#type: "CONSENSUS", pubkey: key, object_root };
        let body = serde_json::to_vec(&asked).map_err(|cause| RemoteError::Setup(cause.to_string()))?;
        let request_out = self.channel.request(Method::POST, SIGN).header(CONTENT_TYPE, "application/json");
        let body = self.channel.send(request_out.body(body)).await?;
        let signature: BlsSignature =
            serde_json::from_slice(&body).map_err(|cause| RemoteError::Malformed(cause.to_string()))?;
        verified_bls(key, &request, signature).await
    }

    fn failed(&self, cause: RemoteError) -> SignerError {
        SignerError::Remote { signer: format!("Web3Signer at {}", self.channel.name()), cause }
    }
}

impl BlsSigner for Web3Signer {
    fn public_keys(&self) -> Vec<BlsPublicKey> {
        self.keys.read().clone()
    }

    fn sign<'a>(&'a self, key: &'a BlsPublicKey, request: SigningRequest) -> Signing<'a, BlsSignature> {
        Box::pin(async move { self.sign_bls(key, request).await.map_err(|cause| self.failed(cause)) })
    }

    fn refresh(&self) -> Signing<'_, ()> {
        Box::pin(async move { self.load_keys().await.map_err(|cause| self.failed(cause)) })
    }
}

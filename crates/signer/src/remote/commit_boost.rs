//! Commit-Boost's signer, API 0.2 (`api/signer-api.yml` of Commit-Boost/commit-boost-client): consensus keys and ECDSA proxies.

use super::channel::Channel;
use super::jwt::Credentials;
use super::{KeysAnswer, RemoteError};
use crate::file::read_limited;
use crate::{BlsSigner, EcdsaSigner, SignerError, Signing, SigningRequest};
use alloy_primitives::{Address, B256};
use bytes::Bytes;
use earnest_builder_types::{BlsPublicKey, BlsSignature, bls};
use earnest_protocol::integer;
use earnest_protocol::signing::{EcdsaSignature, Network, recover};
use parking_lot::RwLock;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use url::Url;
use zeroize::Zeroizing;

const KEYS: &str = "/signer/v1/get_pubkeys";
const SIGN_BLS: &str = "/signer/v1/request_signature/bls";
const SIGN_ECDSA: &str = "/signer/v1/request_signature/proxy-ecdsa";

/// How long the signer is left alone after it refused our credentials: it locks out whoever is refused three times.
const LOCKED_OUT: Duration = Duration::from_secs(60);
/// Longest secret, in bytes.
const MAX_SECRET: u64 = 4096;

/// Where a Commit-Boost signer is, and who we are to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitBoostConfig {
    /// Base URL.
    pub url: Url,
    /// Our module's id in its configuration.
    pub module: String,
    /// File with the secret that it shares with our module.
    pub jwt_secret_file: PathBuf,
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

/// A consensus key with the proxies that may sign in its name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ProxyKeys {
    /// The validator's key.
    pub consensus: BlsPublicKey,
    /// BLS proxies.
    #[serde(default)]
    pub proxy_bls: Vec<BlsPublicKey>,
    /// ECDSA proxies.
    #[serde(default)]
    pub proxy_ecdsa: Vec<Address>,
}

/// A Commit-Boost signer. Its keys are those that [`BlsSigner::refresh`] found last.
pub struct CommitBoost {
    channel: Channel,
    credentials: Credentials,
    keys: RwLock<Vec<ProxyKeys>>,
    refused_at: RwLock<Option<Instant>>,
}

impl fmt::Debug for CommitBoost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let module = &self.credentials.module;
        f.debug_struct("CommitBoost").field("channel", &self.channel).field("module", module).finish()
    }
}

#[derive(Serialize)]
struct SignBls<'a> {
    pubkey: &'a BlsPublicKey,
    object_root: B256,
    nonce: u64,
}

#[derive(Serialize)]
struct SignEcdsa {
    proxy: Address,
    object_root: B256,
    nonce: u64,
}

/// What a signature's answer says of itself. Bound into the signature, so that it is verified with it.
#[derive(Deserialize)]
struct Signed<S> {
    object_root: B256,
    module_signing_id: B256,
    #[serde(with = "integer")]
    nonce: u64,
    #[serde(with = "integer")]
    chain_id: alloy_primitives::U256,
    signature: S,
}

/// A message in the form of design §3, which is the only one it signs.
struct Commitment {
    object_root: B256,
    signing_id: B256,
    nonce: u64,
    network: Network,
}

impl Commitment {
    const fn of(request: SigningRequest) -> Result<Self, RemoteError> {
        match request {
            SigningRequest::Module { object_root, signing_id, nonce, network } => {
                Ok(Self { object_root, signing_id, nonce, network })
            }
            SigningRequest::Domain { .. } => Err(RemoteError::Unsupported("messages of other domains")),
            SigningRequest::Digest(_) => Err(RemoteError::Unsupported("bare digests")),
        }
    }

    /// Says what is wrong with an answer where it says so itself, which helps more than that a signature does not verify.
    fn check<S>(&self, answer: &Signed<S>) -> Result<(), RemoteError> {
        if answer.module_signing_id != self.signing_id {
            return Err(RemoteError::SigningId { theirs: answer.module_signing_id, ours: self.signing_id });
        }
        if answer.chain_id != alloy_primitives::U256::from(self.network.chain_id) {
            let theirs = answer.chain_id.to_string();
            return Err(RemoteError::Chain { theirs, ours: self.network.chain_id });
        }
        if answer.object_root != self.object_root || answer.nonce != self.nonce {
            return Err(RemoteError::Malformed("a signature of something else".to_owned()));
        }
        Ok(())
    }
}

impl CommitBoost {
    /// A client; nothing is asked yet. Reads the secret.
    ///
    /// # Errors
    /// [`RemoteError::Setup`].
    pub fn new(config: &CommitBoostConfig) -> Result<Self, RemoteError> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let channel = Channel::new(&config.url, config.ca_file.as_deref(), timeout)?;
        let path = config.jwt_secret_file.display();
        let secret = read_limited(&config.jwt_secret_file, MAX_SECRET)
            .map_err(|cause| RemoteError::Setup(format!("{path}: {cause}")))?;
        let secret = std::str::from_utf8(&secret)
            .map_err(|_| RemoteError::Setup(format!("{path}: the secret is not UTF-8")))?;
        let secret = Zeroizing::new(secret.trim().to_owned());
        if secret.is_empty() {
            return Err(RemoteError::Setup(format!("{path}: no secret")));
        }
        let credentials = Credentials { module: config.module.clone(), secret };
        Ok(Self { channel, credentials, keys: RwLock::default(), refused_at: RwLock::default() })
    }

    /// Asks for the keys.
    ///
    /// # Errors
    /// Any [`RemoteError`]; the keys stay those that were known.
    pub async fn load_keys(&self) -> Result<Vec<ProxyKeys>, RemoteError> {
        let body = self.call(Method::GET, KEYS, None).await?;
        let answer: KeysAnswer<ProxyKeys> = read(&body)?;
        self.keys.write().clone_from(&answer.keys);
        Ok(answer.keys)
    }

    async fn call(&self, method: Method, route: &str, body: Option<Vec<u8>>) -> Result<Bytes, RemoteError> {
        self.check_lock()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let token = self.credentials.token(route, body.as_deref(), now);
        let mut request = self.channel.request(method, route).bearer_auth(token);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let answer = self.channel.send(request).await;
        if let Err(RemoteError::Refused { status: 401 | 403 | 429, .. }) = &answer {
            *self.refused_at.write() = Some(Instant::now());
        }
        answer
    }

    fn check_lock(&self) -> Result<(), RemoteError> {
        let Some(refused_at) = *self.refused_at.read() else { return Ok(()) };
        let left = LOCKED_OUT.saturating_sub(refused_at.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        Err(RemoteError::LockedOut(left.as_secs().saturating_add(1)))
    }

    async fn sign_bls(
        &self,
        key: &BlsPublicKey,
        request: SigningRequest,
    ) -> Result<BlsSignature, RemoteError> {
        let commitment = Commitment::of(request)?;
        let asked = SignBls { pubkey: key, object_root: commitment.object_root, nonce: commitment.nonce };
        let body = self.call(Method::POST, SIGN_BLS, Some(write(&asked)?)).await?;
        let answer: Signed<BlsSignature> = read(&body)?;
        commitment.check(&answer)?;
        verified_bls(key, &request, answer.signature).await
    }

    async fn sign_ecdsa(
        &self,
        proxy: Address,
        request: SigningRequest,
    ) -> Result<EcdsaSignature, RemoteError> {
        let commitment = Commitment::of(request)?;
        let asked = SignEcdsa { proxy, object_root: commitment.object_root, nonce: commitment.nonce };
        let body = self.call(Method::POST, SIGN_ECDSA, Some(write(&asked)?)).await?;
        let answer: Signed<EcdsaSignature> = read(&body)?;
        commitment.check(&answer)?;
        match recover(request.signing_root(), &answer.signature) {
            Ok(signer) if signer == proxy => Ok(answer.signature),
            Ok(_) | Err(_) => Err(RemoteError::Foreign(proxy.to_string())),
        }
    }

    fn failed(&self, cause: RemoteError) -> SignerError {
        SignerError::Remote { signer: format!("Commit-Boost at {}", self.channel.name()), cause }
    }
}

/// A signature that was verified, where that holds up nobody.
pub(super) async fn verified_bls(
    key: &BlsPublicKey,
    request: &SigningRequest,
    signature: BlsSignature,
) -> Result<BlsSignature, RemoteError> {
    let (key, root) = (*key, request.signing_root());
    let verified = tokio::task::spawn_blocking(move || bls::verify(&key, root, &signature)).await;
    match verified {
        Ok(Ok(())) => Ok(signature),
        Ok(Err(_)) | Err(_) => Err(RemoteError::Foreign(key.to_string())),
    }
}

fn write(body: &impl Serialize) -> Result<Vec<u8>, RemoteError> {
    serde_json::to_vec(body).map_err(|cause| RemoteError::Setup(cause.to_string()))
}

fn read<T: for<'de> Deserialize<'de>>(body: &[u8]) -> Result<T, RemoteError> {
    serde_json::from_slice(body).map_err(|cause| RemoteError::Malformed(cause.to_string()))
}

impl BlsSigner for CommitBoost {
    fn public_keys(&self) -> Vec<BlsPublicKey> {
        self.keys.read().iter().map(|keys| keys.consensus).collect()
    }

    fn sign<'a>(&'a self, key: &'a BlsPublicKey, request: SigningRequest) -> Signing<'a, BlsSignature> {
        Box::pin(async move { self.sign_bls(key, request).await.map_err(|cause| self.failed(cause)) })
    }

    fn refresh(&self) -> Signing<'_, ()> {
        Box::pin(async move { self.load_keys().await.map(drop).map_err(|cause| self.failed(cause)) })
    }
}

impl EcdsaSigner for CommitBoost {
    fn addresses(&self) -> Vec<Address> {
        self.keys.read().iter().flat_map(|keys| keys.proxy_ecdsa.iter().copied()).collect()
    }

    fn sign(&self, address: Address, request: SigningRequest) -> Signing<'_, EcdsaSignature> {
        Box::pin(async move { self.sign_ecdsa(address, request).await.map_err(|cause| self.failed(cause)) })
    }
}

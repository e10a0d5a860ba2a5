//! Stand-ins for signers that follow their published APIs: Commit-Boost's `api/signer-api.yml` 0.2.0 with the checks of its
//! `crates/signer/src/service.rs`, and the commit-boost routes of Web3Signer. They share nothing with the clients they test: tokens
//! are checked, roots computed and signatures made from the keys' bytes by other code where there is any.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use earnest_builder_types::BlsPublicKey;
use earnest_builder_types::bls::SecretKey;
use earnest_protocol::signing::EcdsaSecret;
use hmac::{Hmac, Mac};
use http::{HeaderMap, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use url::Url;

/// `keccak256("earnest.v1")`, as an operator writes it into the signer's configuration.
pub(crate) const SIGNING_ID: B256 =
    alloy_primitives::b256!("5fe88909aef8d96581bd9fcd099f1411adcbfe58f8f5687345f07935cac815c4");

/// What a stand-in does wrong, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It never answers.
    Silence,
    /// It answers with these status and body.
    Says(u16, Vec<u8>),
    /// It signs with a key that was not asked for.
    OtherKey,
    /// It signs another root than it was asked to.
    OtherRoot,
}

/// Keys of one signer, and what came to it.
pub(crate) struct Held {
    bls: Mutex<Vec<SecretKey>>,
    ecdsa: Mutex<Vec<EcdsaSecret>>,
    fault: Mutex<Option<Fault>>,
    /// Bodies of requests for signatures.
    requests: Mutex<Vec<Bytes>>,
    refused: Mutex<u32>,
    pub(crate) module: String,
    pub(crate) secret: String,
    pub(crate) signing_id: Mutex<B256>,
    pub(crate) chain_id: u64,
    pub(crate) genesis_fork_version: [u8; 4],
}

/// A running stand-in.
#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) url: Url,
    pub(crate) held: Arc<Held>,
}

impl StandIn {
    /// A Commit-Boost signer whose configuration has one module.
    pub(crate) async fn commit_boost(chain_id: u64, genesis_fork_version: [u8; 4]) -> Self {
        let routes = Router::new()
            .route("/signer/v1/get_pubkeys", get(cb_keys))
            .route("/signer/v1/request_signature/bls", post(cb_sign_bls))
            .route("/signer/v1/request_signature/proxy-ecdsa", post(cb_sign_ecdsa));
        Self::start(routes, chain_id, genesis_fork_version).await
    }

    /// A Web3Signer with its commit-boost API enabled.
    pub(crate) async fn web3signer(chain_id: u64, genesis_fork_version: [u8; 4]) -> Self {
        let routes = Router::new()
            .route("/signer/v1/get_pubkeys", get(w3s_keys))
            .route("/signer/v1/request_signature", post(w3s_sign));
        Self::start(routes, chain_id, genesis_fork_version).await
    }

    async fn start(routes: Router<Arc<Held>>, chain_id: u64, genesis_fork_version: [u8; 4]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let held = Arc::new(Held {
            bls: Mutex::default(),
            ecdsa: Mutex::default(),
            fault: Mutex::default(),
            requests: Mutex::default(),
            refused: Mutex::default(),
            module: "EARNEST".to_owned(),
            secret: "a secret for this test alone".to_owned(),
            signing_id: Mutex::new(SIGNING_ID),
            chain_id,
            genesis_fork_version,
        });
        let app = routes.with_state(Arc::clone(&held));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, held }
    }

    pub(crate) fn holds(&self, key: SecretKey) -> &Self {
        self.held.bls.lock().push(key);
        self
    }

    pub(crate) fn holds_proxy(&self, key: EcdsaSecret) -> &Self {
        self.held.ecdsa.lock().push(key);
        self
    }

    pub(crate) fn fails(&self, fault: Option<Fault>) -> &Self {
        *self.held.fault.lock() = fault;
        self
    }

    /// Bodies of the requests for signatures so far.
    pub(crate) fn requests(&self) -> Vec<Bytes> {
        self.held.requests.lock().clone()
    }

    /// How many requests were refused for their token.
    pub(crate) fn refused(&self) -> u32 {
        *self.held.refused.lock()
    }
}

/// `hash_tree_root` of two chunks.
fn pair(left: B256, right: B256) -> B256 {
    B256::from_slice(&Sha256::digest([left.0, right.0].concat()))
}

fn little_endian(number: u64) -> B256 {
    B256::from(U256::from(number).to_le_bytes::<32>())
}

impl Held {
    /// The signing root of an object root in the domain of commitments.
    fn domain_root(&self, object_root: B256) -> B256 {
        let mut version = [0; 32];
        version[..4].copy_from_slice(&self.genesis_fork_version);
        let fork_data = pair(B256::from(version), B256::ZERO);
        let mut domain = [0; 32];
        domain[..4].copy_from_slice(&[0x6d, 0x6d, 0x6f, 0x43]);
        domain[4..].copy_from_slice(&fork_data[..28]);
        pair(object_root, B256::from(domain))
    }

    fn module_root(&self, object_root: B256, nonce: u64) -> B256 {
        let left = pair(object_root, *self.signing_id.lock());
        let right = pair(little_endian(nonce), little_endian(self.chain_id));
        self.domain_root(pair(left, right))
    }

    fn sign_bls(&self, key: BlsPublicKey, root: B256) -> Option<Value> {
        let fault = self.fault.lock().clone();
        let root = if fault == Some(Fault::OtherRoot) { B256::repeat_byte(1) } else { root };
        let keys = self.bls.lock();
        let secret = keys.iter().find(|secret| secret.public_key() == key)?;
        let other = SecretKey::random().unwrap();
        let secret = if fault == Some(Fault::OtherKey) { &other } else { secret };
        Some(json!(secret.sign(root)))
    }

    fn sign_ecdsa(&self, address: Address, root: B256) -> Option<Value> {
        let fault = self.fault.lock().clone();
        let root = if fault == Some(Fault::OtherRoot) { B256::repeat_byte(1) } else { root };
        let keys = self.ecdsa.lock();
        let secret = keys.iter().find(|secret| secret.address() == address)?;
        let other = EcdsaSecret::random();
        let secret = if fault == Some(Fault::OtherKey) { &other } else { secret };
        Some(json!(secret.sign(root).unwrap()))
    }

    /// As `validate_jwt` of the reference implementation.
    fn check_token(&self, headers: &HeaderMap, path: &str, body: &[u8]) -> Option<()> {
        let token = headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")?;
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        let claims: BTreeMap<String, Value> =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let good = header["alg"] == "HS256"
            && claims["module"] == *self.module
            && claims["route"] == path
            && claims["exp"].as_u64()? > now;
        let hash = claims["payload_hash"].as_str();
        let bound = match (body.is_empty(), hash) {
            (true, None) => true,
            (false, Some(hash)) => hash.trim_start_matches("0x") == hex::encode(keccak256(body)),
            _ => false,
        };
        (good && bound).then_some(())
    }

    /// The checks before every handler, and what a fault says in its place.
    async fn admit(&self, headers: &HeaderMap, uri: &Uri, body: &Bytes) -> Option<Response> {
        if self.check_token(headers, uri.path(), body).is_none() {
            *self.refused.lock() += 1;
            return Some((StatusCode::UNAUTHORIZED, "unauthorized").into_response());
        }
        self.misbehave().await
    }

    async fn misbehave(&self) -> Option<Response> {
        let fault = self.fault.lock().clone();
        match fault {
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Says(status, body)) => {
                Some((StatusCode::from_u16(status).unwrap(), body).into_response())
            }
            _ => None,
        }
    }
}

fn hexed(key: &Value) -> Option<Vec<u8>> {
    hex::decode(key.as_str()?).ok()
}

async fn cb_keys(State(held): State<Arc<Held>>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    if let Some(refusal) = held.admit(&headers, &uri, &body).await {
        return refusal;
    }
    let proxies: Vec<Address> = held.ecdsa.lock().iter().map(EcdsaSecret::address).collect();
    let keys: Vec<Value> = held
        .bls
        .lock()
        .iter()
        .enumerate()
        .map(|(at, key)| {
            let proxies = if at == 0 { proxies.clone() } else { Vec::new() };
            json!({"consensus": key.public_key(), "proxy_bls": [], "proxy_ecdsa": proxies})
        })
        .collect();
    Json(json!({"keys": keys})).into_response()
}

/// What a request for a signature must have, and no more.
fn fields(body: &Bytes, who: &str) -> Option<(Vec<u8>, B256, u64)> {
    let body: BTreeMap<String, Value> = serde_json::from_slice(body).ok()?;
    let nonce = body.get("nonce")?.as_u64()?;
    let root = hexed(body.get("object_root")?)?;
    (body.len() == 3).then_some((hexed(body.get(who)?)?, B256::try_from(root.as_slice()).ok()?, nonce))
}

async fn cb_sign_bls(State(held): State<Arc<Held>>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    if let Some(refusal) = held.admit(&headers, &uri, &body).await {
        return refusal;
    }
    held.requests.lock().push(body.clone());
    let Some((key, object_root, nonce)) = fields(&body, "pubkey") else {
        return (StatusCode::UNPROCESSABLE_ENTITY, "not a request").into_response();
    };
    let Ok(pubkey) = BlsPublicKey::try_from(key.as_slice()) else {
        return (StatusCode::UNPROCESSABLE_ENTITY, "not a key").into_response();
    };
    let Some(signature) = held.sign_bls(pubkey, held.module_root(object_root, nonce)) else {
        return (StatusCode::NOT_FOUND, format!("unknown consensus signer: {pubkey}")).into_response();
    };
    // The chain id as alloy writes a U256.
    Json(json!({
        "pubkey": pubkey, "object_root": object_root, "module_signing_id": *held.signing_id.lock(),
        "nonce": nonce, "chain_id": U256::from(held.chain_id), "signature": signature,
    }))
    .into_response()
}

async fn cb_sign_ecdsa(State(held): State<Arc<Held>>, headers: HeaderMap, uri: Uri, body: Bytes) -> Response {
    if let Some(refusal) = held.admit(&headers, &uri, &body).await {
        return refusal;
    }
    held.requests.lock().push(body.clone());
    let Some((key, object_root, nonce)) = fields(&body, "proxy") else {
        return (StatusCode::UNPROCESSABLE_ENTITY, "not a request").into_response();
    };
    let Ok(address) = Address::try_from(key.as_slice()) else {
        return (StatusCode::UNPROCESSABLE_ENTITY, "not an address").into_response();
    };
    let Some(signature) = held.sign_ecdsa(address, held.module_root(object_root, nonce)) else {
        return (StatusCode::NOT_FOUND, format!("unknown proxy signer: {address}")).into_response();
    };
    Json(json!({
        "address": address, "object_root": object_root, "module_signing_id": *held.signing_id.lock(),
        "nonce": nonce, "chain_id": U256::from(held.chain_id), "signature": signature,
    }))
    .into_response()
}

async fn w3s_keys(State(held): State<Arc<Held>>) -> Response {
    if let Some(refusal) = held.misbehave().await {
        return refusal;
    }
    let keys: Vec<Value> = held
        .bls
        .lock()
        .iter()
        .map(|key| json!({"consensus": key.public_key(), "proxy_bls": [], "proxy_ecdsa": []}))
        .collect();
    Json(json!({"keys": keys})).into_response()
}

async fn w3s_sign(State(held): State<Arc<Held>>, body: Bytes) -> Response {
    if let Some(refusal) = held.misbehave().await {
        return refusal;
    }
    held.requests.lock().push(body.clone());
    let refuse = |code: u16, message: &str| {
        let status = StatusCode::from_u16(code).unwrap();
        (status, Json(json!({"code": code, "message": message}))).into_response()
    };
    let read = || {
        let body: BTreeMap<String, Value> = serde_json::from_slice(&body).ok()?;
        let known = body.len() == 3 && body.get("type")? == "CONSENSUS";
        let root = hexed(body.get("object_root")?)?;
        known.then_some((hexed(body.get("pubkey")?)?, B256::try_from(root.as_slice()).ok()?))
    };
    let Some((key, object_root)) = read() else { return refuse(400, "Bad Request") };
    let Ok(key) = BlsPublicKey::try_from(key.as_slice()) else { return refuse(400, "Bad Request") };
    match held.sign_bls(key, held.domain_root(object_root)) {
        Some(signature) => Json(signature).into_response(),
        None => refuse(404, "Unknown pubkey"),
    }
}

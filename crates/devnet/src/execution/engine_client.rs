//! The Engine API over HTTP, authenticated: what a beacon node says to its execution client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Bytes, U64, U256};
use alloy_rpc_types_engine::{
    ExecutionPayload as EnginePayload, ForkchoiceState, ForkchoiceUpdated, PayloadAttributes, PayloadId,
    PayloadStatus,
};
use earnest_builder_types::{BlobsBundle, ExecutionPayload, ExecutionRequests, ForkCodec as _, ForkName};
use earnest_chain::{ChainError, ExecutionClient};
use futures::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json, value::RawValue};
use url::Url;

use super::jwt::JwtSecret;
use crate::beacon::{BuiltPayload, Engine, EngineError, ExecutionBlock, NewPayload};

/// Time for one call: as the Engine API has it for `engine_newPayload`.
const LIMIT: Duration = Duration::from_secs(8);
/// What the beacon side of the devnet can say.
const CAPABILITIES: [&str; 10] = [
    "engine_newPayloadV2",
    "engine_newPayloadV3",
    "engine_newPayloadV4",
    "engine_forkchoiceUpdatedV2",
    "engine_forkchoiceUpdatedV3",
    "engine_getPayloadV2",
    "engine_getPayloadV3",
    "engine_getPayloadV4",
    "engine_getPayloadV5",
    "engine_exchangeCapabilities",
];

/// What EthereumJS says in a payload and the Engine API elsewhere.
const FOREIGN_FIELDS: [&str; 2] = ["parentBeaconBlockRoot", "requestsHash"];

/// A handle on a client's Engine API. Clones share connections.
#[derive(Debug, Clone)]
pub struct EngineClient {
    http: reqwest::Client,
    url: Url,
    rpc: ExecutionClient,
    secret: JwtSecret,
    next_id: Arc<AtomicU64>,
}

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: P,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: i64,
    message: String,
    data: Option<Box<RawValue>>,
}

/// What `engine_getPayload` answers from V2 on; later versions have more fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    execution_payload: Map<String, Value>,
    block_value: U256,
    blobs_bundle: Option<Box<RawValue>>,
    execution_requests: Option<Vec<Bytes>>,
}

impl EngineClient {
    /// A handle on the Engine API at `url` of a client whose public JSON-RPC is `rpc`. Several drivers may share a secret:
    /// a beacon node, and a builder that takes payloads from the same client.
    ///
    /// # Errors
    /// [`ChainError::Config`] if TLS cannot be set up.
    pub fn new(url: Url, rpc: ExecutionClient, secret: JwtSecret) -> Result<Self, ChainError> {
        let http = reqwest::Client::builder()
            .timeout(LIMIT)
            .build()
            .map_err(|error| ChainError::Config(error.to_string()))?;
        Ok(Self { http, url, rpc, secret, next_id: Arc::new(AtomicU64::new(1)) })
    }

    /// `engine_exchangeCapabilities`: the methods that the client has.
    ///
    /// # Errors
    /// As any call of [`Engine`].
    pub async fn capabilities(&self) -> Result<Vec<String>, EngineError> {
        self.call("engine_exchangeCapabilities", (CAPABILITIES,)).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, EngineError> {
        let unreachable = |error: reqwest::Error| EngineError::Unreachable(error.without_url().to_string());
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let response = self
            .http
            .post(self.url.clone())
            .bearer_auth(self.secret.token())
            .json(&Request { jsonrpc: "2.0", id, method, params })
            .send()
            .await
            .map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        let refused = |reason: String| EngineError::Refused(format!("{method}: {reason}"));
        let answer: Answer<'_> =
            serde_json::from_slice(&body).map_err(|error| refused(format!("status {status}, {error}")))?;
        match answer {
            Answer { error: Some(failure), .. } => {
                let more = failure.data.as_deref().map_or("", RawValue::get);
                Err(refused(format!("{} (code {}) {more}", failure.message, failure.code)))
            }
            Answer { result: Some(result), .. } => {
                serde_json::from_str(result.get()).map_err(|error| refused(error.to_string()))
            }
            Answer { .. } => Err(refused("neither result nor error".into())),
        }
    }

    async fn judge(&self, new: NewPayload) -> Result<PayloadStatus, EngineError> {
        let NewPayload { fork, payload, versioned_hashes, parent_beacon_block_root, execution_requests } =
            new;
        match fork {
            ForkName::Bellatrix => self.call("engine_newPayloadV1", (payload,)).await,
            ForkName::Capella => self.call("engine_newPayloadV2", (payload,)).await,
            ForkName::Deneb => {
                let params = (payload, versioned_hashes, parent_beacon_block_root);
                self.call("engine_newPayloadV3", params).await
            }
            ForkName::Electra | ForkName::Fulu | ForkName::Gloas => {
                let requests = execution_requests.to_engine();
                let params = (payload, versioned_hashes, parent_beacon_block_root, requests);
                self.call("engine_newPayloadV4", params).await
            }
        }
    }

    async fn built(&self, fork: ForkName, id: PayloadId) -> Result<BuiltPayload, EngineError> {
        let method = match fork {
            ForkName::Bellatrix | ForkName::Capella => "engine_getPayloadV2",
            ForkName::Deneb => "engine_getPayloadV3",
            ForkName::Electra => "engine_getPayloadV4",
            ForkName::Fulu | ForkName::Gloas => "engine_getPayloadV5",
        };
        let envelope: Envelope = self.call(method, (id,)).await?;
        let malformed = |error: &dyn std::fmt::Display| EngineError::Refused(format!("{method}: {error}"));
        let mut fields = envelope.execution_payload;
        for field in FOREIGN_FIELDS {
            fields.remove(field);
        }
        let payload: EnginePayload =
            serde_json::from_value(fields.into()).map_err(|error| malformed(&error))?;
        let payload = ExecutionPayload::from_engine(fork, payload).map_err(|error| malformed(&error))?;
        let blobs_bundle = envelope
            .blobs_bundle
            .filter(|_| fork.has_blobs())
            .map(|bundle| BlobsBundle::from_json(fork, bundle.get().as_bytes()))
            .transpose()
            .map_err(|error| malformed(&error))?;
        let execution_requests =
            ExecutionRequests::from_engine(&envelope.execution_requests.unwrap_or_default())
                .map_err(|error| malformed(&error))?;
        Ok(BuiltPayload { payload, blobs_bundle, execution_requests, value: envelope.block_value })
    }
}

impl Engine for EngineClient {
    fn latest_block(&self) -> BoxFuture<'_, Result<ExecutionBlock, EngineError>> {
        async {
            let block = self
                .rpc
                .block(BlockNumberOrTag::Latest)
                .await
                .map_err(|error| EngineError::Unreachable(error.to_string()))?
                .ok_or_else(|| EngineError::Refused("no latest block".into()))?;
            let header = block.header;
            Ok(ExecutionBlock { hash: header.hash, number: header.number, timestamp: header.timestamp })
        }
        .boxed()
    }

    fn new_payload(&self, payload: NewPayload) -> BoxFuture<'_, Result<PayloadStatus, EngineError>> {
        self.judge(payload).boxed()
    }

    fn forkchoice_updated(
        &self,
        fork: ForkName,
        state: ForkchoiceState,
        attributes: Option<PayloadAttributes>,
    ) -> BoxFuture<'_, Result<ForkchoiceUpdated, EngineError>> {
        let method = match fork {
            ForkName::Bellatrix => "engine_forkchoiceUpdatedV1",
            ForkName::Capella => "engine_forkchoiceUpdatedV2",
            ForkName::Deneb | ForkName::Electra | ForkName::Fulu | ForkName::Gloas => {
                "engine_forkchoiceUpdatedV3"
            }
        };
        async move { self.call(method, json!([state, attributes])).await }.boxed()
    }

    /// By `debug_setHead`, which geth has. It forgets the blocks after `to`.
    fn rewind(&self, to: ExecutionBlock) -> BoxFuture<'_, Result<(), EngineError>> {
        async move {
            let answer: Result<Option<()>, _> =
                self.rpc.call_method("debug_setHead", (U64::from(to.number),)).await;
            answer.map(drop).map_err(|error| EngineError::Refused(error.to_string()))
        }
        .boxed()
    }

    fn get_payload(&self, fork: ForkName, id: PayloadId) -> BoxFuture<'_, Result<BuiltPayload, EngineError>> {
        self.built(fork, id).boxed()
    }
}

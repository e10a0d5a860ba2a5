//! The builder: the devnet's, over an execution client of its own, which no beacon node drives. So it has a pool of its own
//! too, with transactions that nobody else has, and its payloads are worth more than the beacon node's.

use std::{fs::File, io::Write, path::Path, sync::Arc};

use alloy_rpc_types_engine::{
    ForkchoiceState, ForkchoiceUpdated, PayloadAttributes, PayloadId, PayloadStatus,
};
use earnest_builder_types::{ForkCodec, ForkName, SignedBeaconBlock, bls::SecretKey, versioned_hash};
use earnest_devnet::{
    beacon::{BuiltPayload, Engine, EngineError, ExecutionBlock, NewPayload},
    builder::{Builder, BuilderOptions},
    execution::EngineClient,
};
use futures::{FutureExt, future::BoxFuture};
use http::header;
use url::Url;

use super::{geth::Geth, http_client, relay::Relay};
use crate::patience::now_ms;

/// Blocks that the builder's client may be behind.
const MAX_BEHIND: usize = 64;

/// Starts a builder for the relay. What it does is written to `log`.
///
/// # Panics
/// If it does not come up.
pub async fn start(geth: &Geth, beacon: &Url, relay: &Relay, log: &Path) -> Builder {
    let engine = FollowingEngine { engine: geth.engine.clone(), beacon: beacon.clone(), http: http_client() };
    let key = SecretKey::random().unwrap();
    let options = BuilderOptions::new(key, Arc::new(engine), beacon.clone(), vec![relay.url.clone()]);
    let builder = Builder::start(options).await.unwrap();
    let mut reports = builder.reports();
    let mut log = File::create(log).unwrap();
    tokio::spawn(async move {
        while let Ok(report) = reports.recv().await {
            writeln!(log, "{} {report:?}", now_ms()).unwrap();
        }
    });
    builder
}

/// An execution client that is given the blocks it lacks when it is asked to build upon one it does not know.
struct FollowingEngine {
    engine: EngineClient,
    beacon: Url,
    http: reqwest::Client,
}

impl FollowingEngine {
    /// Back from the head to a block whose parent the client knows, and forward again.
    async fn catch_up(&self) -> Result<(), EngineError> {
        let mut id = "head".to_owned();
        let mut unknown = Vec::new();
        while unknown.len() < MAX_BEHIND {
            let payload = self.block(&id).await?;
            if self.engine.new_payload(payload.clone()).await?.is_valid() {
                break;
            }
            id = payload.parent_beacon_block_root.to_string();
            unknown.push(payload);
        }
        for payload in unknown.into_iter().rev() {
            self.engine.new_payload(payload).await?;
        }
        Ok(())
    }

    async fn block(&self, id: &str) -> Result<NewPayload, EngineError> {
        let unreachable = |error: reqwest::Error| EngineError::Unreachable(error.to_string());
        let url = self.beacon.join(&format!("eth/v2/beacon/blocks/{id}")).unwrap();
        let request = self.http.get(url).header(header::ACCEPT, "application/octet-stream");
        let answer =
            request.send().await.and_then(reqwest::Response::error_for_status).map_err(unreachable)?;
        let bytes = answer.bytes().await.map_err(unreachable)?;
        let block = SignedBeaconBlock::from_ssz(ForkName::Fulu, &bytes)
            .map_err(|error| EngineError::Refused(error.to_string()))?;
        let (message, fork) = (block.message(), block.fork());
        let body = message.body();
        let commitments = body.blob_kzg_commitments();
        Ok(NewPayload {
            fork,
            payload: body.execution_payload().to_engine(),
            versioned_hashes: commitments
                .map_or_else(|_| vec![], |all| all.iter().map(versioned_hash).collect()),
            parent_beacon_block_root: message.parent_root(),
            execution_requests: body.execution_requests().cloned().unwrap_or_default(),
        })
    }
}

impl Engine for FollowingEngine {
    fn latest_block(&self) -> BoxFuture<'_, Result<ExecutionBlock, EngineError>> {
        self.engine.latest_block()
    }

    fn new_payload(&self, payload: NewPayload) -> BoxFuture<'_, Result<PayloadStatus, EngineError>> {
        self.engine.new_payload(payload)
    }

    fn forkchoice_updated(
        &self,
        fork: ForkName,
        state: ForkchoiceState,
        attributes: Option<PayloadAttributes>,
    ) -> BoxFuture<'_, Result<ForkchoiceUpdated, EngineError>> {
        async move {
            let answer = self.engine.forkchoice_updated(fork, state, attributes.clone()).await?;
            if !answer.is_syncing() {
                return Ok(answer);
            }
            self.catch_up().await?;
            self.engine.forkchoice_updated(fork, state, attributes).await
        }
        .boxed()
    }

    fn get_payload(&self, fork: ForkName, id: PayloadId) -> BoxFuture<'_, Result<BuiltPayload, EngineError>> {
        self.engine.get_payload(fork, id)
    }
}

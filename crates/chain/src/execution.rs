//! A small JSON-RPC client of an execution client: the calls that our roles make, on alloy's types.

mod account_states;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use account_states::AccountState;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::{
    Block, FeeHistory, Filter, Log, Transaction, TransactionReceipt, TransactionRequest,
};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};
use url::Url;

use crate::{
    error::ChainError,
    transport::{Endpoint, http_client},
};

/// Most hexadecimal digits that are kept of what a contract said when it reverted.
const MAX_REVERT_DIGITS: usize = 8_192;

/// Limits of an [`ExecutionClient`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionOptions {
    /// Time for one call, body included.
    pub timeout: Duration,
    /// Longest answer that is read, in bytes.
    pub max_answer_bytes: usize,
}

impl Default for ExecutionOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), max_answer_bytes: 32 << 20 }
    }
}

/// A JSON-RPC client of one execution client. Clones share the connection pool.
#[derive(Debug, Clone)]
pub struct ExecutionClient {
    endpoint: Endpoint,
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
    #[serde(default)]
    id: Value,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<RpcFailure>,
}

#[derive(Deserialize)]
struct RpcFailure {
    code: i64,
    message: String,
    #[serde(default)]
    data: Value,
}

impl RpcFailure {
    /// What a contract said: nodes write it as hexadecimal digits, some within an object.
    fn revert_data(&self) -> Option<Bytes> {
        let text = self.data.as_str().or_else(|| self.data.get("data")?.as_str())?;
        (text.len() <= MAX_REVERT_DIGITS && text.starts_with("0x")).then(|| text.parse().ok())?
    }
}

impl ExecutionClient {
    /// A client of the JSON-RPC endpoint at `url`, with the default limits.
    ///
    /// # Errors
    /// [`ChainError::Config`] if TLS cannot be set up.
    pub fn new(url: Url) -> Result<Self, ChainError> {
        Self::with_options(url, &ExecutionOptions::default())
    }

    /// A client of the JSON-RPC endpoint at `url`, with limits of one's own.
    ///
    /// # Errors
    /// [`ChainError::Config`] if TLS cannot be set up.
    pub fn with_options(url: Url, options: &ExecutionOptions) -> Result<Self, ChainError> {
        let http = http_client(options.timeout)?;
        let endpoint = Endpoint::new(url, http, options.timeout, options.max_answer_bytes);
        Ok(Self { endpoint, next_id: Arc::new(AtomicU64::new(1)) })
    }

    /// Any call. `params` is an array or a tuple.
    ///
    /// # Errors
    /// [`ChainError::Rpc`] if the node answers with an error object, any other kind if it does not answer.
    pub async fn call_method<T: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<T, ChainError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let request =
            self.endpoint.request(Method::POST, "").json(&Request { jsonrpc: "2.0", id, method, params });
        let (status, body) = self.endpoint.send(request).await?;
        match read_answer(&body, id) {
            Ok(result) => serde_json::from_str(result).map_err(|error| self.endpoint.malformed(&error)),
            Err(unusable) => Err(self.unusable(unusable, status, &body)),
        }
    }

    /// Some nodes send their error object with a status of failure; without one the status says more.
    fn unusable(&self, unusable: Unusable, status: StatusCode, body: &[u8]) -> ChainError {
        match unusable {
            Unusable::Failure(failure) => {
                let data = failure.revert_data();
                ChainError::Rpc { code: failure.code, message: failure.message, data }
            }
            Unusable::NotRpc(_) if !status.is_success() => self.endpoint.refused(status, body),
            Unusable::NotRpc(reason) => self.endpoint.malformed(&reason),
        }
    }

    /// `eth_chainId`.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn chain_id(&self) -> Result<u64, ChainError> {
        self.call_method::<U64>("eth_chainId", [(); 0]).await.map(|id| id.to())
    }

    /// `eth_blockNumber`.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn block_number(&self) -> Result<u64, ChainError> {
        self.call_method::<U64>("eth_blockNumber", [(); 0]).await.map(|number| number.to())
    }

    /// `eth_sendRawTransaction`: the hash of the transaction the node took.
    ///
    /// # Errors
    /// As [`Self::call_method`]; what a pool refuses comes as [`ChainError::Rpc`].
    pub async fn send_raw_transaction(&self, raw: &[u8]) -> Result<B256, ChainError> {
        self.call_method("eth_sendRawTransaction", (Bytes::copy_from_slice(raw),)).await
    }

    /// `eth_getTransactionCount`: the account's next nonce; [`BlockNumberOrTag::Pending`] counts the pool too.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn nonce(&self, account: Address, at: BlockNumberOrTag) -> Result<u64, ChainError> {
        self.call_method::<U64>("eth_getTransactionCount", (account, at)).await.map(|nonce| nonce.to())
    }

    /// `eth_getBalance`, in wei.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn balance(&self, account: Address, at: BlockNumberOrTag) -> Result<U256, ChainError> {
        self.call_method("eth_getBalance", (account, at)).await
    }

    /// `eth_getCode`.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn code(&self, account: Address, at: BlockNumberOrTag) -> Result<Bytes, ChainError> {
        self.call_method("eth_getCode", (account, at)).await
    }

    /// `eth_feeHistory` of `blocks` blocks up to `newest`, with rewards at `percentiles`.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn fee_history(
        &self,
        blocks: u64,
        newest: BlockNumberOrTag,
        percentiles: &[f64],
    ) -> Result<FeeHistory, ChainError> {
        self.call_method("eth_feeHistory", (U64::from(blocks), newest, percentiles)).await
    }

    /// `eth_call`.
    ///
    /// # Errors
    /// As [`Self::call_method`]; a revert comes as [`ChainError::Rpc`].
    pub async fn call(&self, request: &TransactionRequest, at: BlockId) -> Result<Bytes, ChainError> {
        self.call_method("eth_call", (request, at)).await
    }

    /// `eth_estimateGas`.
    ///
    /// # Errors
    /// As [`Self::call_method`]; a revert comes as [`ChainError::Rpc`].
    pub async fn estimate_gas(&self, request: &TransactionRequest) -> Result<u64, ChainError> {
        self.call_method::<U64>("eth_estimateGas", (request,)).await.map(|gas| gas.to())
    }

    /// `eth_getLogs`, without the logs of topics that were not asked for: `EthereumJS` heeds only the first topic.
    /// Whether contracts and blocks are those that were asked for is the caller's to judge.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, ChainError> {
        let mut logs: Vec<Log> = self.call_method("eth_getLogs", (filter,)).await?;
        logs.retain(|log| filter.matches_topics(log.topics()));
        Ok(logs)
    }

    /// `eth_getBlockByNumber` with the hashes of its transactions; `None` if there is no such block.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn block(&self, at: BlockNumberOrTag) -> Result<Option<Block>, ChainError> {
        self.call_method("eth_getBlockByNumber", (at, false)).await
    }

    /// `eth_getBlockByNumber` with whole transactions; `None` if there is no such block.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn full_block(&self, at: BlockNumberOrTag) -> Result<Option<Block>, ChainError> {
        self.call_method("eth_getBlockByNumber", (at, true)).await
    }

    /// `eth_getBlockByHash` with the hashes of its transactions; `None` if there is no such block.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn block_by_hash(&self, hash: B256) -> Result<Option<Block>, ChainError> {
        self.call_method("eth_getBlockByHash", (hash, false)).await
    }

    /// `eth_getTransactionByHash`; `None` if the node does not know it.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn transaction(&self, hash: B256) -> Result<Option<Transaction>, ChainError> {
        self.call_method("eth_getTransactionByHash", (hash,)).await
    }

    /// `eth_getTransactionReceipt`; `None` if it is in no block.
    ///
    /// # Errors
    /// As [`Self::call_method`].
    pub async fn receipt(&self, hash: B256) -> Result<Option<TransactionReceipt>, ChainError> {
        self.call_method("eth_getTransactionReceipt", (hash,)).await
    }
}

enum Unusable {
    Failure(RpcFailure),
    NotRpc(String),
}

/// The result in an answer to the request `id`, as JSON text.
fn read_answer(body: &[u8], id: u64) -> Result<&str, Unusable> {
    let answer: Answer<'_> =
        serde_json::from_slice(body).map_err(|error| Unusable::NotRpc(error.to_string()))?;
    if let Some(failure) = answer.error {
        return Err(Unusable::Failure(failure));
    }
    if answer.id != json!(id) {
        return Err(Unusable::NotRpc("an answer to another request".to_owned()));
    }
    // An absent result and a null one are the same to callers: nothing was found.
    Ok(answer.result.map_or("null", RawValue::get))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<&str, String> {
        read_answer(body.as_bytes(), 7).map_err(|unusable| match unusable {
            Unusable::Failure(failure) => format!("{}: {}", failure.code, failure.message),
            Unusable::NotRpc(_) => "not an answer".to_owned(),
        })
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":7,"result":"0x1"}"#), Ok(r#""0x1""#));
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":7,"result":null}"#), Ok("null"));
        let refused =
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"nonce too low","data":"0x"}}"#;
        assert_eq!(read(refused), Err("-32000: nonce too low".to_owned()));
        assert_eq!(read(r#"{"jsonrpc":"2.0","id":8,"result":"0x1"}"#), Err("not an answer".to_owned()));
        assert_eq!(read("<html>"), Err("not an answer".to_owned()));
        assert_eq!(read("[]"), Err("not an answer".to_owned()));
    }

    #[test]
    fn what_a_contract_said_is_kept_however_the_node_wraps_it() {
        let data = |data: &str| {
            let body = format!(r#"{{"id":7,"error":{{"code":3,"message":"reverted"{data}}}}}"#);
            let Err(Unusable::Failure(failure)) = read_answer(body.as_bytes(), 7) else { panic!("{body}") };
            failure.revert_data()
        };
        let said = Some(Bytes::from_static(&[0x12, 0x34]));
        assert_eq!(data(r#","data":"0x1234""#), said);
        assert_eq!(data(r#","data":{"data":"0x1234","message":"revert"}"#), said);
        let long = format!(r#","data":"0x{}""#, "00".repeat(MAX_REVERT_DIGITS));
        for none in
            ["", r#","data":null"#, r#","data":"Reverted""#, r#","data":"0x123""#, r#","data":7"#, &long]
        {
            assert_eq!(data(none), None, "{none}");
        }
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error() {
        bolero::check!().with_iterations(1000).for_each(|bytes: &[u8]| {
            let _ = read_answer(bytes, 1);
        });
    }
}

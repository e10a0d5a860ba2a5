//! The execution client against a small JSON-RPC server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, U256};
use alloy_rpc_types_eth::Filter;
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::post};
use earnest_chain::{AccountState, ChainError, ExecutionClient};
use serde_json::{Value, json};
use tokio::net::TcpListener;

async fn node() -> ExecutionClient {
    let answer = async |Json(request): Json<Value>| {
        let id = &request["id"];
        let ok = |result: Value| Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response();
        match request["method"].as_str().unwrap() {
            "eth_chainId" => ok(json!("0x539")),
            "eth_getTransactionCount" => {
                assert_eq!(request["params"], json!([Address::repeat_byte(1), "pending"]));
                ok(json!("0x7"))
            }
            "eth_getBalance" => ok(json!("0xde0b6b3a7640000")),
            "eth_getTransactionReceipt" => ok(Value::Null),
            "eth_sendRawTransaction" => Json(
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": "nonce too low"}}),
            )
            .into_response(),
            "eth_blockNumber" => (StatusCode::BAD_GATEWAY, "upstream is down").into_response(),
            "eth_getLogs" => ok(json!([])),
            "eth_feeHistory" => {
                assert_eq!(request["params"], json!(["0x4", "latest", [50.0]]));
                ok(
                    json!({"oldestBlock": "0x1", "baseFeePerGas": ["0x7", "0x8"], "gasUsedRatio": [0.5], "reward": [["0x1"]]}),
                )
            }
            _ => ok(json!(["unexpected"])),
        }
    };
    serve(Router::new().route("/rpc", post(answer))).await
}

async fn serve(router: Router) -> ExecutionClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    ExecutionClient::new(url).unwrap()
}

#[tokio::test]
async fn answers_come_as_types() {
    let node = node().await;
    let account = Address::repeat_byte(1);
    assert_eq!(node.chain_id().await, Ok(1337));
    assert_eq!(node.nonce(account, BlockNumberOrTag::Pending).await, Ok(7));
    assert_eq!(node.balance(account, BlockNumberOrTag::Latest).await, Ok(U256::from(10u64.pow(18))));
    assert_eq!(node.receipt(B256::ZERO).await, Ok(None));
    assert_eq!(node.logs(&Default::default()).await, Ok(vec![]));
    let fees = node.fee_history(4, BlockNumberOrTag::Latest, &[50.0]).await.unwrap();
    assert_eq!(fees.base_fee_per_gas, [7, 8]);
}

/// Some nodes heed only the first topic of a filter.
#[tokio::test]
async fn logs_that_were_not_asked_for_are_left_out() {
    let [event, one, two] = [1, 2, 3].map(B256::repeat_byte);
    let log = |topics: &[B256]| {
        json!({"address": Address::repeat_byte(9), "topics": topics, "data": "0x", "blockNumber": "0x6", "blockHash": BLOCK,
            "transactionHash": BLOCK, "transactionIndex": "0x0", "logIndex": "0x0", "removed": false})
    };
    let asked = log(&[event, one, two]);
    let held = json!([log(&[event, two, two]), log(&[two, one, two]), asked, log(&[event])]);
    let answer = async move |Json(request): Json<Value>| {
        Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": held}))
    };
    let node = serve(Router::new().route("/rpc", post(answer))).await;
    let filter = Filter::new().event_signature(event).topic1(one);
    let logs = node.logs(&filter).await.unwrap();
    assert_eq!(logs, [serde_json::from_value(asked).unwrap()]);
}

#[tokio::test]
async fn refusals_and_faults_are_told_apart() {
    let node = node().await;
    let refused = node.send_raw_transaction(&[1, 2, 3]).await.unwrap_err();
    assert_eq!(refused, ChainError::Rpc { code: -32000, message: "nonce too low".to_owned(), data: None });
    assert!(matches!(node.block_number().await, Err(ChainError::Status { status: 502, .. })));
    assert!(matches!(node.transaction(B256::ZERO).await, Err(ChainError::Malformed { .. })));
}

/// The block that account states are asked on: number 6 of the chain.
const BLOCK: B256 = B256::repeat_byte(0xbb);

fn block(hash: B256) -> Value {
    let zero = |bytes: usize| format!("0x{}", "00".repeat(bytes));
    json!({
        "hash": hash, "parentHash": zero(32), "sha3Uncles": zero(32), "miner": zero(20), "stateRoot": zero(32),
        "transactionsRoot": zero(32), "receiptsRoot": zero(32), "logsBloom": zero(256), "difficulty": "0x0",
        "number": "0x6", "gasLimit": "0x1", "gasUsed": "0x0", "timestamp": "0x1", "extraData": "0x",
        "mixHash": zero(32), "nonce": zero(8), "baseFeePerGas": "0x7", "size": "0x1", "uncles": [],
        "transactions": [], "withdrawals": []
    })
}

/// A client in which an account's nonce is its first byte, and its balance its second. It answers batches, the last
/// call first.
struct Accounts {
    /// Whether it takes a block's hash (EIP-1898).
    takes_hashes: bool,
    /// The block that is number 6 on its chain.
    on_chain: B256,
    batches: Arc<AtomicUsize>,
}

impl Accounts {
    fn answer(&self, request: &Value) -> Value {
        let (id, params) = (&request["id"], &request["params"]);
        let ok = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
        let refused = |code: i64, message: &str| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
        let byte = |place: usize| {
            let account: Address = params[0].as_str().unwrap().parse().unwrap();
            json!(format!("0x{:x}", account[place]))
        };
        match request["method"].as_str().unwrap() {
            "eth_getBlockByHash" => ok(block(params[0].as_str().unwrap().parse().unwrap())),
            "eth_getBlockByNumber" => ok(block(self.on_chain)),
            method => match &params[1] {
                Value::String(number) => {
                    assert_eq!(number, "0x6");
                    ok(byte(usize::from(method == "eth_getBalance")))
                }
                _ if !self.takes_hashes => refused(-32602, "invalid argument 1: block must be a string"),
                at if *at == json!({"blockHash": BLOCK}) => ok(byte(usize::from(method == "eth_getBalance"))),
                _ => refused(-32000, "header not found"),
            },
        }
    }

    async fn serve(self) -> ExecutionClient {
        let answer = async move |Json(request): Json<Value>| match request.as_array() {
            Some(calls) => {
                self.batches.fetch_add(1, Ordering::SeqCst);
                assert!(calls.len() <= 100);
                Json(calls.iter().rev().map(|call| self.answer(call)).collect::<Value>())
            }
            None => Json(self.answer(&request)),
        };
        let answer = Arc::new(answer);
        serve(Router::new().route("/rpc", post(async move |request: Json<Value>| answer(request).await)))
            .await
    }
}

fn account(nonce: u8, balance: u8) -> Address {
    let mut bytes = [0; 20];
    (bytes[0], bytes[1]) = (nonce, balance);
    bytes.into()
}

fn state(nonce: u64, balance: u64) -> AccountState {
    AccountState { nonce, balance: U256::from(balance) }
}

#[tokio::test]
async fn account_states_come_in_one_batch() {
    let batches = Arc::new(AtomicUsize::new(0));
    let node = Accounts { takes_hashes: true, on_chain: BLOCK, batches: batches.clone() }.serve().await;
    let accounts = [account(1, 2), account(3, 4), account(1, 2)];
    let states = node.account_states(&accounts, BLOCK.into()).await.unwrap();
    assert_eq!(states, [state(1, 2), state(3, 4), state(1, 2)]);
    assert_eq!(batches.load(Ordering::SeqCst), 1);

    let many: Vec<Address> = (0..120).map(|nonce| account(nonce, 9)).collect();
    let states = node.account_states(&many, BlockId::number(6)).await.unwrap();
    assert_eq!(states, (0..120).map(|nonce| state(nonce, 9)).collect::<Vec<_>>());
    assert_eq!(batches.load(Ordering::SeqCst), 4, "50 accounts at once");
    assert_eq!(node.account_states(&[], BLOCK.into()).await, Ok(vec![]));
    assert_eq!(batches.load(Ordering::SeqCst), 4);

    let unknown = node.account_states(&accounts, B256::ZERO.into()).await;
    assert_eq!(
        unknown,
        Err(ChainError::Rpc { code: -32000, message: "header not found".to_owned(), data: None })
    );
}

#[tokio::test]
async fn a_client_that_takes_no_hashes_is_asked_by_number_if_the_block_is_on_its_chain() {
    let node = Accounts { takes_hashes: false, on_chain: BLOCK, batches: Arc::default() }.serve().await;
    let states = node.account_states(&[account(1, 2)], BLOCK.into()).await.unwrap();
    assert_eq!(states, [state(1, 2)]);
    let orphan = node.account_states(&[account(1, 2)], B256::repeat_byte(0xaa).into()).await;
    assert!(matches!(orphan, Err(ChainError::Malformed { .. })), "{orphan:?}");
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_is_an_error() {
    let refuse = async || {
        Json(json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "no batches"}}))
    };
    let node = serve(Router::new().route("/rpc", post(refuse))).await;
    let refused = node.account_states(&[account(1, 2)], BLOCK.into()).await;
    assert_eq!(refused, Err(ChainError::Rpc { code: -32600, message: "no batches".to_owned(), data: None }));
}

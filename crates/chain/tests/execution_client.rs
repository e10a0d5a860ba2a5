//! The execution client against a small JSON-RPC server.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, U256};
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::post};
use earnest_chain::{ChainError, ExecutionClient};
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc", listener.local_addr().unwrap()).parse().unwrap();
    let router = Router::new().route("/rpc", post(answer));
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

#[tokio::test]
async fn refusals_and_faults_are_told_apart() {
    let node = node().await;
    let refused = node.send_raw_transaction(&[1, 2, 3]).await.unwrap_err();
    assert_eq!(refused, ChainError::Rpc { code: -32000, message: "nonce too low".to_owned() });
    assert!(matches!(node.block_number().await, Err(ChainError::Status { status: 502, .. })));
    assert!(matches!(node.transaction(B256::ZERO).await, Err(ChainError::Malformed { .. })));
}

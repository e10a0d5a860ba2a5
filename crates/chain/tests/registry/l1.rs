//! A chain with a Registry's events, behind a small JSON-RPC server.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, LogData, Signature, TxKind, U256, keccak256};
use alloy_sol_types::{SolCall, SolEvent, SolValue};
use axum::{Json, Router, response::IntoResponse, routing::post};
use earnest_bindings::Registry;
use earnest_builder_types::bls;
use earnest_protocol::{
    BlsPublicKey,
    registry::{RegistrationTree, SignedRegistration},
    signing::{EARNEST_SIGNING_ID, Network},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};
use url::Url;

pub(crate) const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 9, 0x10], chain_id: 560_048 };
pub(crate) const OWNER: Address = Address::repeat_byte(0x11);
pub(crate) const REGISTRY: Address = Address::repeat_byte(0x22);
pub(crate) const SLASHER: Address = Address::repeat_byte(0x33);
pub(crate) const MARKET: Address = Address::repeat_byte(0x44);
/// Unix seconds of slot 0.
pub(crate) const GENESIS: u64 = 1_700_000_000;
/// Seconds of a slot, and slots of an epoch.
pub(crate) const SLOT: u64 = 2;
pub(crate) const SLOTS: u64 = 4;

/// What the node does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Logs of more blocks than this at once are refused.
    RangeLimit(u64),
    /// The head is this many blocks behind.
    Lag(u64),
    NoTransaction,
    OtherTransaction,
    LogsOfAnotherBlock,
    LogsOfAnotherContract,
    LogsOutOfOrder,
    LogsTakenBack,
    HalfLogs,
    EndlessAnswer,
    OtherNumber,
    FutureBlock,
    Garbage,
    NotDeployed,
    OtherNetwork,
}

#[derive(Debug, Clone)]
struct FakeBlock {
    hash: B256,
    parent: B256,
    time: u64,
    logs: Vec<(B256, (Address, LogData))>,
}

#[derive(Debug)]
struct Inner {
    blocks: Vec<FakeBlock>,
    transactions: HashMap<B256, Value>,
    fault: Fault,
    salt: u64,
    asked: u64,
    transactions_asked: u64,
}

/// The chain, and where it is served.
#[derive(Debug, Clone)]
pub(crate) struct L1 {
    inner: Arc<Mutex<Inner>>,
    questions: Arc<Mutex<HashMap<String, Arc<Notify>>>>,
    url: Url,
}

impl L1 {
    /// A chain of the genesis block alone.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let genesis =
            FakeBlock { hash: B256::repeat_byte(0xee), parent: B256::ZERO, time: 1_000, logs: vec![] };
        let inner = Inner {
            blocks: vec![genesis],
            transactions: HashMap::new(),
            fault: Fault::None,
            salt: 0,
            asked: 0,
            transactions_asked: 0,
        };
        let l1 = Self { inner: Arc::new(Mutex::new(inner)), questions: Arc::default(), url };
        let serving = l1.clone();
        let answer = async move |Json(request): Json<Value>| serving.answer(&request);
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
        l1
    }

    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(crate) fn set(&self, fault: Fault) {
        self.inner.lock().unwrap().fault = fault;
    }

    pub(crate) fn head(&self) -> B256 {
        self.inner.lock().unwrap().blocks.last().unwrap().hash
    }

    /// Questions so far, and those for transactions.
    pub(crate) fn asked(&self) -> u64 {
        self.inner.lock().unwrap().asked
    }

    pub(crate) fn transactions_asked(&self) -> u64 {
        self.inner.lock().unwrap().transactions_asked
    }

    /// Waits for the next question of this method.
    pub(crate) async fn until_asked(&self, method: &str) {
        let notify = self.questions.lock().unwrap().entry(method.to_owned()).or_default().clone();
        notify.notified().await;
    }

    /// A signed transaction that the node knows; its hash.
    pub(crate) fn transaction(&self, to: Address, input: Bytes) -> B256 {
        let unsigned = TxEip1559 { to: TxKind::Call(to), input, ..TxEip1559::default() };
        let signed = unsigned.into_signed(Signature::test_signature());
        let envelope = TxEnvelope::from(signed);
        let hash = keccak256(envelope.encoded_2718());
        let mut json = serde_json::to_value(&envelope).unwrap();
        json["from"] = json!(Address::repeat_byte(0xaa));
        self.inner.lock().unwrap().transactions.insert(hash, json);
        hash
    }

    /// Adds a block, `skipped` slots after the earliest that it can be in.
    pub(crate) fn block(&self, skipped: u64, logs: Vec<(B256, (Address, LogData))>) {
        let mut inner = self.inner.lock().unwrap();
        inner.salt += 1;
        let parent = inner.blocks.last().unwrap().clone();
        let hash = keccak256([parent.hash.0, B256::from(U256::from(inner.salt)).0].concat());
        let time = (parent.time + SLOT).max(GENESIS) + skipped * SLOT;
        inner.blocks.push(FakeBlock { hash, parent: parent.hash, time, logs });
    }

    /// Takes back the newest blocks.
    pub(crate) fn reorganise(&self, blocks: usize) {
        let mut inner = self.inner.lock().unwrap();
        let left = inner.blocks.len() - blocks;
        inner.blocks.truncate(left);
    }

    fn answer(&self, request: &Value) -> axum::response::Response {
        let method = request["method"].as_str().unwrap();
        let answer = self.inner.lock().unwrap().answer(method, &request["params"]);
        if let Some(notify) = self.questions.lock().unwrap().get(method) {
            notify.notify_waiters();
            notify.notify_one();
        }
        match answer {
            Answer::Result(result) => {
                Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).into_response()
            }
            Answer::Refused(message) => Json(
                json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": message}}),
            )
            .into_response(),
            Answer::Endless => vec![b' '; 33 << 20].into_response(),
        }
    }
}

enum Answer {
    Result(Value),
    Refused(String),
    Endless,
}

impl Inner {
    fn answer(&mut self, method: &str, params: &Value) -> Answer {
        self.asked += 1;
        match method {
            "eth_getBlockByNumber" => Answer::Result(self.block(params[0].as_str().unwrap())),
            "eth_getLogs" => self.logs(&params[0]),
            "eth_getTransactionByHash" => {
                self.transactions_asked += 1;
                let hash: B256 = params[0].as_str().unwrap().parse().unwrap();
                Answer::Result(match self.fault {
                    Fault::NoTransaction => Value::Null,
                    Fault::OtherTransaction => {
                        let mut other = self.transactions[&hash].clone();
                        other["nonce"] = json!("0x7");
                        other
                    }
                    _ => self.transactions[&hash].clone(),
                })
            }
            "eth_call" => Answer::Result(match self.fault {
                Fault::NotDeployed => json!("0x"),
                Fault::OtherNetwork => json!(config(1)),
                _ => json!(config(NETWORK.chain_id)),
            }),
            other => panic!("{other} was not expected"),
        }
    }

    fn block(&self, at: &str) -> Value {
        let newest = self.blocks.len() - 1;
        let number = match (at, self.fault) {
            ("latest", Fault::Lag(blocks)) => newest - usize::try_from(blocks).unwrap(),
            ("latest", _) => newest,
            (number, _) => usize::from_str_radix(number.trim_start_matches("0x"), 16).unwrap(),
        };
        let Some(block) = self.blocks.get(number) else { return Value::Null };
        let by_number = at != "latest";
        let told = if by_number && self.fault == Fault::OtherNumber { number + 1 } else { number };
        let time = if by_number && self.fault == Fault::FutureBlock { u64::MAX } else { block.time };
        let zero = |bytes: usize| format!("0x{}", "00".repeat(bytes));
        json!({
            "hash": block.hash, "parentHash": block.parent, "sha3Uncles": zero(32), "miner": zero(20),
            "stateRoot": zero(32), "transactionsRoot": zero(32), "receiptsRoot": zero(32), "logsBloom": zero(256),
            "difficulty": "0x0", "number": format!("{told:#x}"), "gasLimit": "0x1", "gasUsed": "0x0",
            "timestamp": format!("{time:#x}"), "extraData": "0x", "mixHash": zero(32), "nonce": zero(8),
            "baseFeePerGas": "0x7", "size": "0x1", "uncles": [], "transactions": [], "withdrawals": []
        })
    }

    fn logs(&self, filter: &Value) -> Answer {
        let addresses: Vec<Address> = serde_json::from_value(filter["address"].clone()).unwrap();
        let number = |key: &str| {
            usize::from_str_radix(filter[key].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
        };
        let range = match filter.get("blockHash").and_then(Value::as_str) {
            Some(hash) => {
                let hash: B256 = hash.parse().unwrap();
                let found = self.blocks.iter().position(|block| block.hash == hash);
                let Some(found) = found else { return Answer::Refused("unknown block".into()) };
                found..=found
            }
            None => number("fromBlock")..=number("toBlock"),
        };
        match self.fault {
            Fault::RangeLimit(limit) if range.clone().count() as u64 > limit => {
                return Answer::Refused(format!("no more than {limit} blocks"));
            }
            Fault::EndlessAnswer => return Answer::Endless,
            Fault::Garbage => return Answer::Result(json!({"logs": "none"})),
            _ => {}
        }
        let mut logs: Vec<Value> = Vec::new();
        for number in range {
            let block = &self.blocks[number];
            for (index, (transaction, (address, data))) in block.logs.iter().enumerate() {
                if !addresses.contains(address) {
                    continue;
                }
                logs.push(json!({
                    "address": address, "topics": data.topics(), "data": data.data, "blockHash": block.hash,
                    "blockNumber": format!("{number:#x}"), "transactionHash": transaction, "transactionIndex": "0x0",
                    "logIndex": format!("{index:#x}"), "removed": false
                }));
            }
        }
        for log in &mut logs {
            match self.fault {
                Fault::LogsOfAnotherBlock => log["blockHash"] = json!(B256::repeat_byte(0xdd)),
                Fault::LogsOfAnotherContract => log["address"] = json!(Address::repeat_byte(0xdd)),
                Fault::LogsTakenBack => log["removed"] = json!(true),
                Fault::HalfLogs => log["data"] = json!("0x01"),
                _ => {}
            }
        }
        if self.fault == Fault::LogsOutOfOrder {
            logs.reverse();
        }
        Answer::Result(logs.into())
    }
}

/// What `getConfig` answers.
fn config(chain_id: u64) -> Bytes {
    let config = Registry::Config {
        minCollateralWei: alloy_primitives::aliases::U80::from(100),
        fraudProofWindow: 0,
        unregistrationDelay: 1,
        slashWindow: 1,
        optInDelay: 1,
        signingDomain: NETWORK.domain(),
        chainId: U256::from(chain_id).to_le_bytes().into(),
    };
    config.abi_encode().into()
}

fn secret(number: u8) -> bls::SecretKey {
    bls::SecretKey::from_bytes(&[number; 32]).unwrap()
}

pub(crate) fn key(number: u8) -> BlsPublicKey {
    secret(number).public_key()
}

/// A call of `register` for [`OWNER`] with keys, each signed for somebody; and its root.
pub(crate) fn register(keys: &[(u8, Address)]) -> (Bytes, B256) {
    let registrations: Vec<_> = keys
        .iter()
        .map(|(key, owner)| {
            SignedRegistration::sign(*owner, &secret(*key), &NETWORK).unwrap().to_sol().unwrap()
        })
        .collect();
    let call = Registry::registerCall {
        registrations: registrations
            .iter()
            .map(|one| Registry::SignedRegistration::abi_decode(&one.abi_encode()).unwrap())
            .collect(),
        owner: OWNER,
        signingId: EARNEST_SIGNING_ID,
    };
    let tree = RegistrationTree::new(registrations, OWNER, EARNEST_SIGNING_ID).unwrap();
    (call.abi_encode().into(), tree.root())
}

/// Logs, with their contract.
pub(crate) mod log {
    use super::*;
    use earnest_bindings::OrderingMarket;

    pub(crate) fn registered(root: B256, collateral: u64, owner: Address) -> (Address, LogData) {
        let event = Registry::OperatorRegistered {
            registrationRoot: root,
            collateralWei: U256::from(collateral),
            owner,
        };
        (REGISTRY, event.encode_log_data())
    }

    pub(crate) fn call_data(root: B256, data: Bytes) -> (Address, LogData) {
        (REGISTRY, Registry::CallData { registrationRoot: root, data }.encode_log_data())
    }

    pub(crate) fn opted_in(root: B256, slasher: Address, committer: Address) -> (Address, LogData) {
        let event = Registry::OperatorOptedIn { registrationRoot: root, slasher, committer };
        (REGISTRY, event.encode_log_data())
    }

    pub(crate) fn relay_named(root: B256, relay: Address) -> (Address, LogData) {
        (MARKET, OrderingMarket::RelayNamed { registrationRoot: root, relay }.encode_log_data())
    }
}

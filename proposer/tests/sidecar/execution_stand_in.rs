//! An execution client whose chain has no contracts' events after the checkpoint that a test writes.

use std::path::Path;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256, hex, keccak256};
use axum::extract::State as Shared;
use axum::routing::post;
use axum::{Json, Router};
use earnest_chain::RegistryConfig;
use earnest_chain::registry::{BlockRef, Event, State};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use crate::network::NETWORK;

/// The Registry, the slasher and the RollupRegistry.
const CONTRACTS: [Address; 3] =
    [Address::repeat_byte(0x41), Address::repeat_byte(0x42), Address::repeat_byte(0x43)];

#[derive(Clone)]
pub(crate) struct ExecutionStandIn {
    url: Url,
    /// Their times, Unix seconds, by number.
    blocks: Arc<Mutex<Vec<u64>>>,
}

fn hash(number: usize) -> B256 {
    keccak256([7, u8::try_from(number).unwrap()])
}

impl ExecutionStandIn {
    /// A chain of one block.
    pub(crate) async fn start(first_s: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let stand_in = Self { url, blocks: Arc::new(Mutex::new(vec![first_s])) };
        let app = Router::new().route("/", post(answer)).with_state(stand_in.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        stand_in
    }

    /// The chain has one more block.
    pub(crate) fn block(&self, time_s: u64) -> &Self {
        self.blocks.lock().push(time_s);
        self
    }

    /// How it is followed, with this OrderingMarket.
    pub(crate) fn config(&self, market: Address) -> RegistryConfig {
        let [registry, slasher, rollups] = CONTRACTS;
        RegistryConfig {
            execution: self.url.clone(),
            registry,
            slasher,
            market: Some(market),
            rollups: Some(rollups),
            from_block: 0,
            optin_delay: 1,
            poll_ms: 10,
            logs_range: 100,
        }
    }

    /// Writes a checkpoint of the first block into a data folder, with these events before it.
    pub(crate) fn checkpoint(&self, data_dir: &Path, market: Address, events: &[Event]) {
        let time = self.blocks.lock()[0];
        let mut state = State::default();
        events.iter().for_each(|event| state.apply(event, time));
        let [registry, slasher, rollups] = CONTRACTS;
        let body = serde_json::to_vec(&json!({
            "identity": {
                "version": 1, "chain_id": NETWORK.chain_id, "registry": registry, "slasher": slasher,
                "market": market, "rollups": rollups, "from_block": 0,
                "terms": { "min_collateral": U256::from(1), "fraud_window": 0 },
            },
            "block": BlockRef { number: 0, hash: hash(0), parent: B256::ZERO, time },
            "state": state,
        }))
        .unwrap();
        let text = [keccak256(&body).to_string().as_bytes(), b"\n", &body].concat();
        std::fs::write(data_dir.join("registry.json"), text).unwrap();
    }
}

async fn answer(Shared(chain): Shared<ExecutionStandIn>, Json(request): Json<Value>) -> Json<Value> {
    let result = match request["method"].as_str().unwrap() {
        "eth_getBlockByNumber" => chain.header(request["params"][0].as_str().unwrap()),
        "eth_getLogs" => json!([]),
        // `getConfig` of the Registry.
        "eth_call" => {
            let word = |value: u64| U256::from(value).to_be_bytes::<32>();
            let chain_id = U256::from(NETWORK.chain_id).to_le_bytes::<32>();
            let words = [word(1), word(0), word(0), word(0), word(0), NETWORK.domain().0, chain_id];
            json!(hex::encode_prefixed(words.concat()))
        }
        other => panic!("{other}"),
    };
    Json(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
}

impl ExecutionStandIn {
    fn header(&self, at: &str) -> Value {
        let blocks = self.blocks.lock();
        let number = match at {
            "latest" => blocks.len() - 1,
            number => usize::from_str_radix(number.trim_start_matches("0x"), 16).unwrap(),
        };
        let Some(time) = blocks.get(number) else { return Value::Null };
        let parent = number.checked_sub(1).map_or(B256::ZERO, hash);
        let zero = |bytes: usize| format!("0x{}", "00".repeat(bytes));
        json!({
            "hash": hash(number), "parentHash": parent, "sha3Uncles": zero(32), "miner": zero(20),
            "stateRoot": zero(32), "transactionsRoot": zero(32), "receiptsRoot": zero(32), "logsBloom": zero(256),
            "difficulty": "0x0", "number": format!("{number:#x}"), "gasLimit": "0x1", "gasUsed": "0x0",
            "timestamp": format!("{time:#x}"), "extraData": "0x", "mixHash": zero(32), "nonce": zero(8),
            "baseFeePerGas": "0x7", "size": "0x1", "uncles": [], "transactions": [], "withdrawals": []
        })
    }
}

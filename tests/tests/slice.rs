//! The narrow path through the whole system: a searcher's transaction, its receipt, the follower, the batch on L1 in a
//! block that the proposer took from the relay; and each refusal by its own code.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::{path::Path, time::Duration};

use alloy_consensus::{Transaction as _, TxEip4844};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent;
use earnest_bindings::Inbox::BatchRecorded;
use earnest_client::{GatewayClient, Limits};
use earnest_devnet::{Network, NetworkOptions};
use earnest_protocol::{RollupId, inbox, receipt::PreconfReceipt};
use earnest_tests::{
    account::Account,
    binary::run,
    patience::{now_ms, until},
};
use serde_json::Value;

const ROLLUP: RollupId = RollupId(42_069);

struct Slice {
    network: Network,
    gateway: GatewayClient,
    account: Account,
}

impl Slice {
    /// Waits for a window that stays open long enough to be used.
    async fn window(&self) {
        until("an open window", Duration::from_secs(40), async || {
            let info = self.gateway.info().await.ok()?;
            let window = info.rollups.iter().find(|rollup| rollup.id == ROLLUP)?.window?;
            (window.seal_ms > now_ms() + 500).then_some(())
        })
        .await;
    }

    /// Posts a transaction raw: status, and code of the refusal.
    async fn refused(&self, rollup: &str, raw: Bytes) -> (u16, String) {
        let path = format!("ordering/v1/rollups/{rollup}/transactions");
        let url = self.network.ready().gateway.join(&path).unwrap();
        let request = reqwest::Client::new().post(url).header("content-type", "application/octet-stream");
        let answer = request.body(raw.0).send().await.unwrap();
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.unwrap();
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        (status, body["code"].as_str().map_or_else(|| body["code"].to_string(), str::to_owned))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_searchers_transaction_to_a_block_of_the_relay() {
    let options = NetworkOptions { bare_rollups: vec![], ..NetworkOptions::default() };
    let network = Network::start(&options).await.unwrap();
    let gateway = GatewayClient::new(&network.ready().gateway, Limits::default()).unwrap();
    let account = Account::of(&network.ready().accounts[0].private_key.0, ROLLUP);
    let slice = Slice { network, gateway, account };
    let folder = tempfile::tempdir().unwrap();

    slice.window().await;
    refusals(&slice).await;

    slice.window().await;
    let raw = slice.account.transfer(0);
    let receipt = slice.gateway.submit(ROLLUP, &raw).await.unwrap();
    let again = slice.gateway.submit_raw(ROLLUP, raw.0.clone()).await.unwrap();
    assert_eq!(again, receipt, "sent again, it gets its first receipt");
    assert_eq!(slice.refused("42069", slice.account.transfer(0).slice(1..)).await.1, "bad_encoding");
    assert_eq!(slice.refused("42069", slice.account.transfer(7)).await, (400, "nonce".to_owned()));

    verified_by_the_binary(&slice, &receipt, folder.path()).await;
    followed_by_the_binary(&slice, folder.path()).await;
    on_l1_through_the_relay(&slice, &receipt, &raw).await;
    slice.network.stop().await;
}

/// Each refusal of design §4 by its own code.
async fn refusals(slice: &Slice) {
    let account = &slice.account;
    let code = |status: u16, code: &str| (status, code.to_owned());
    let large = Bytes::from(vec![1; 104 * 1024 + 1]);
    let refused = slice.gateway.submit(ROLLUP, &large).await.unwrap_err();
    let refused = refused.refusal().unwrap();
    assert_eq!((refused.status, refused.code.as_str()), (413, "too_large"));
    assert_eq!(slice.refused("42069", large).await, code(413, "too_large"));
    assert_eq!(slice.refused("42069", vec![1; 100].into()).await, code(400, "bad_encoding"));
    assert_eq!(slice.refused("42069", Bytes::new()).await, code(400, "bad_encoding"));
    let foreign = Account::random(RollupId(1)).transfer(0);
    assert_eq!(slice.refused("42069", foreign).await, code(400, "wrong_chain"));
    let gas = account.sign(alloy_consensus::TxEip1559 { gas_limit: 30_000_001, ..account.unsigned(0) });
    assert_eq!(slice.refused("42069", gas).await, code(400, "gas_too_high"));
    let blob = TxEip4844 {
        chain_id: ROLLUP.0,
        gas_limit: 21_000,
        to: Address::ZERO,
        blob_versioned_hashes: vec![B256::with_last_byte(1)],
        ..TxEip4844::default()
    };
    assert_eq!(slice.refused("42069", account.sign(blob)).await, code(400, "blob_refused"));
    let mut forged = account.transfer(0).to_vec();
    let last = forged.len() - 1;
    // The end of s: beyond the order of the curve's half, or of nobody.
    forged[last - 31..].fill(0xff);
    assert_eq!(slice.refused("42069", forged.into()).await, code(400, "bad_signature"));
    let poor = Account::random(ROLLUP).transfer(0);
    assert_eq!(slice.refused("42069", poor).await, code(400, "balance"));
    assert_eq!(slice.refused("1", account.transfer(0)).await, code(404, "unknown_rollup"));
}

fn network_argument(slice: &Slice) -> String {
    let network = slice.network.ready().network;
    format!("{}:{}", alloy_primitives::hex::encode_prefixed(network.genesis_fork_version), network.chain_id)
}

/// `earnest verify`: the receipt holds, and none that was changed does.
async fn verified_by_the_binary(slice: &Slice, receipt: &PreconfReceipt, folder: &Path) {
    let honest = serde_json::to_value(receipt).unwrap();
    let mut place = honest.clone();
    place["index"] = "77".into();
    let mut hash = honest.clone();
    hash["tx_hash"] = B256::repeat_byte(7).to_string().into();
    let network = network_argument(slice);
    let relay = slice.network.ready().relay_address.to_string();
    for (name, json, said, status) in [
        ("honest", &honest, "the receipt holds", 0),
        ("place", &place, "place        NO", 3),
        ("hash", &hash, "path         NO", 3),
    ] {
        let file = format!("{name}.json");
        std::fs::write(folder.join(&file), json.to_string()).unwrap();
        let outcome = run(["verify", &file, "--network", &network, "--relay", &relay], folder).await;
        let text = String::from_utf8(outcome.stdout).unwrap();
        assert!(text.contains(said), "{name}: {text}");
        assert_eq!(outcome.status.code(), Some(status), "{name}: {text}");
    }
    // Another relay's word does not count.
    let other = Address::repeat_byte(9).to_string();
    let outcome = run(["verify", "honest.json", "--network", &network, "--relay", &other], folder).await;
    assert_eq!(outcome.status.code(), Some(3));
}

/// `earnest follow --json` accepts a window from its first commitment to L1.
async fn followed_by_the_binary(slice: &Slice, folder: &Path) {
    let ready = slice.network.ready();
    let inbox = ready.contracts["Inbox"].to_string();
    let (gateway, relay) = (ready.gateway.to_string(), ready.relay_address.to_string());
    let (l1, beacon) = (ready.execution.to_string(), ready.beacon.to_string());
    let arguments = [
        ["follow", "--json", "--windows", "1"].as_slice(),
        &["--gateway", &gateway, "--relay-address", &relay],
        &["--l1", &l1, "--inbox", &inbox, "--beacon", &beacon],
    ]
    .concat();
    let outcome = run(arguments, folder).await;
    let text = String::from_utf8(outcome.stdout).unwrap();
    assert!(outcome.status.success(), "{text}\n{}", String::from_utf8_lossy(&outcome.stderr));
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for event in ["following", "window", "seal", "included"] {
        assert!(events.iter().any(|line| line["event"] == event), "no {event}: {text}");
    }
}

/// The batch holds the transaction at its place, in the block of the slot, and the relay delivered that block.
async fn on_l1_through_the_relay(slice: &Slice, receipt: &PreconfReceipt, raw: &Bytes) {
    let ready = slice.network.ready();
    let rpc = slice.network.execution.rpc();
    let filter = Filter::new()
        .address(ready.contracts["Inbox"])
        .event_signature(BatchRecorded::SIGNATURE_HASH)
        .topic1(U256::from(ROLLUP.0))
        .topic2(U256::from(receipt.slot.0))
        .from_block(0_u64);
    let (event, log) = until("the batch on L1", Duration::from_secs(20), async || {
        let log = rpc.logs(&filter).await.ok()?.into_iter().next()?;
        Some((BatchRecorded::decode_log(&log.inner).unwrap().data, log))
    })
    .await;
    assert_eq!((event.committer, event.segment), (ready.committer, receipt.segment));
    assert!(event.time * 1000 <= slice.network.timing().slot_start(receipt.slot), "late");
    let transaction = rpc.transaction(log.transaction_hash.unwrap()).await.unwrap().unwrap();
    let batch = inbox::decode_submit(transaction.inner.inner().input(), &ready.network).unwrap();
    let placed = batch.txs.get(usize::try_from(receipt.index).unwrap());
    assert_eq!(placed, Some(raw), "in {:?}", batch.seal);
    assert_eq!(batch.committer, ready.committer);

    let delivered = ready.relay.join("relay/v1/data/bidtraces/proposer_payload_delivered").unwrap();
    let block = log.block_hash.unwrap().to_string();
    until("the relay to say that it delivered the block", Duration::from_secs(10), async || {
        let traces: Value = reqwest::get(delivered.clone()).await.ok()?.json().await.ok()?;
        traces.as_array()?.iter().any(|trace| trace["block_hash"] == block.as_str()).then_some(())
    })
    .await;
}

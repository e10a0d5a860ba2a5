//! Lodestar's own builder client proposes through the relay, at every fork that it can: registrations, headers and
//! payloads in SSZ and JSON, read and signed by its types, until the beacon node has the blocks.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use std::{collections::HashMap, fs, path::Path, sync::Arc};

use alloy_consensus::TxEip4844;
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use earnest_builder_types::{
    ConsolidationRequest, DepositRequest, ExecutionRequests, ForkName, VariableList, WithdrawalRequest,
    bls::SecretKey, versioned_hash,
};
use earnest_devnet::{
    beacon::{BeaconNode, BeaconOptions, ConstantBlob, MemoryEngine},
    builder::{Builder, BuilderOptions, Report},
};
use earnest_protocol::RollupId;
use earnest_tests::{account::Account, lodestar};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use url::Url;

const VALIDATORS: u8 = 64;
const BLOBS: u8 = 2;
const CHAIN_ID: u64 = 1337;

/// A relay with a builder and a beacon node upon a chain in memory.
struct World {
    node: BeaconNode,
    relay: earnest_relay::Running,
    builder: Builder,
    keys: Vec<SecretKey>,
    relay_key: SecretKey,
    stop: CancellationToken,
    _folder: TempDir,
}

impl World {
    async fn start(fork: ForkName) -> Self {
        let keys: Vec<SecretKey> = (1..=VALIDATORS).map(secret).collect();
        let engine = Arc::new(MemoryEngine::new());
        fill(&engine, fork);
        let mut options =
            BeaconOptions::new(engine.clone(), keys.iter().map(SecretKey::public_key).collect());
        options.fork = fork;
        options.slot_ms = 3_000;
        options.slots_per_epoch = 32;
        options.chain_id = CHAIN_ID;
        let version = options.genesis_fork_version;
        let node = BeaconNode::start(options).await.unwrap();

        let (folder, stop) = (TempDir::new().unwrap(), CancellationToken::new());
        let relay_key = secret(77);
        let config = json!({
            "listen": "127.0.0.1:0",
            "data_dir": folder.path().join("relay"),
            "beacon": [node.url()],
            "network": {"genesis_fork_version": hex::encode_prefixed(version), "chain_id": CHAIN_ID},
            "bls_key": key_file(folder.path(), "bls", relay_key.to_bytes().as_slice()),
            "ecdsa_key": key_file(folder.path(), "ecdsa", &[78; 32]),
            "inbox": Address::repeat_byte(0xaa),
            // A slow machine is given time.
            "timing": {"header": [1, 2], "payload": [1, 1]},
            "free_space_floor": 0,
        });
        let config = serde_json::from_value(config).unwrap();
        let relay = earnest_relay::start(config, stop.clone()).await.unwrap();
        let relays = vec![relay.url.clone()];
        let options = BuilderOptions::new(secret(99), engine, node.url().clone(), relays);
        let builder = Builder::start(options).await.unwrap();
        Self { node, relay, builder, keys, relay_key, stop, _folder: folder }
    }

    async fn get(&self, base: &Url, path: &str) -> Value {
        let answer = reqwest::get(base.join(path).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn stop(self) {
        self.builder.shutdown().await;
        self.stop.cancel();
        self.relay.join().await.unwrap();
        self.node.shutdown().await;
    }
}

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

fn key_file(folder: &Path, name: &str, bytes: &[u8]) -> Value {
    let file = folder.join(name);
    fs::write(&file, hex::encode_prefixed(bytes)).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    json!({"file": file})
}

/// Every payload has a transaction, and of what its fork knows blobs and execution requests.
fn fill(engine: &MemoryEngine, fork: ForkName) {
    let account = Account::of(&[5; 32], RollupId(CHAIN_ID));
    engine.submit(account.transfer(0));
    if fork >= ForkName::Deneb {
        let blobs: Vec<ConstantBlob> = (1..=BLOBS).map(|byte| ConstantBlob::new(&secret(byte))).collect();
        engine.submit_with_blobs(blob_transaction(&account, &blobs), blobs);
    }
    if fork >= ForkName::Electra {
        engine.set_requests(requests());
    }
}

fn blob_transaction(account: &Account, blobs: &[ConstantBlob]) -> Bytes {
    account.sign(TxEip4844 {
        chain_id: CHAIN_ID,
        nonce: 1,
        gas_limit: 21_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        max_fee_per_blob_gas: 1_000_000_000,
        to: Address::repeat_byte(9),
        blob_versioned_hashes: blobs.iter().map(|blob| versioned_hash(&blob.commitment())).collect(),
        ..TxEip4844::default()
    })
}

fn requests() -> ExecutionRequests {
    let (address, key) = (Address::repeat_byte(3), secret(1).public_key());
    let deposit = DepositRequest {
        pubkey: key,
        withdrawal_credentials: B256::repeat_byte(1),
        amount: 32_000_000_000,
        signature: secret(1).sign(B256::ZERO),
        index: 7,
    };
    let withdrawal = WithdrawalRequest { source_address: address, validator_pubkey: key, amount: 1 };
    let consolidation = ConsolidationRequest {
        source_address: address,
        source_pubkey: key,
        target_pubkey: secret(2).public_key(),
    };
    ExecutionRequests {
        deposits: vec![deposit.clone(), deposit].try_into().unwrap(),
        withdrawals: vec![withdrawal].try_into().unwrap(),
        consolidations: vec![consolidation].try_into().unwrap(),
    }
}

/// What the relay took of the builder: hashes and values.
fn offered(reports: &mut broadcast::Receiver<Report>) -> HashMap<B256, U256> {
    let mut taken = HashMap::new();
    while let Ok(report) = reports.try_recv() {
        if let Report::Submitted { block_hash, value, taken: Ok(()), .. } = report {
            taken.insert(block_hash, value);
        }
    }
    taken
}

fn steps<'a>(told: &'a [Value], step: &str) -> Vec<&'a Value> {
    told.iter().filter(|one| one["step"] == step).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

async fn lodestar_proposes_at(fork: ForkName) {
    let world = World::start(fork).await;
    let mut reports = world.builder.reports();
    let secrets: Vec<String> = world.keys.iter().map(|key| hex::encode_prefixed(*key.to_bytes())).collect();
    let told = lodestar::drive(&json!({
        "relay": world.relay.url,
        "beacon": world.node.url(),
        "relayPubkey": world.relay_key.public_key(),
        "secrets": secrets,
    }))
    .await;
    assert_eq!(steps(&told, "chain"), [&json!({"step": "chain", "fork": fork})]);
    assert_eq!(told.last().unwrap(), &json!({"step": "done"}), "{told:?}");
    assert!(steps(&told, "refused").len() > 100, "{told:?}");
    registered(&world, &told).await;

    let taken = offered(&mut reports);
    let proposed = steps(&told, "proposed");
    let ways: Vec<(&str, &str)> =
        proposed.iter().map(|one| (text(&one["version"]), text(&one["form"]))).collect();
    assert_eq!(ways, [("v1", "ssz"), ("v1", "json"), ("v2", "ssz"), ("v2", "json")]);
    for proposal in proposed {
        proposed_block(&world, proposal, &taken, fork).await;
    }
    world.stop().await;
}

/// The relay holds the newest registrations that Lodestar sent.
async fn registered(world: &World, told: &[Value]) {
    let sent = steps(told, "registered");
    assert_eq!(sent.iter().map(|one| text(&one["form"])).collect::<Vec<_>>(), ["ssz", "json"]);
    let newest = sent[1]["registrations"].as_array().unwrap();
    assert_eq!(newest.len(), usize::from(VALIDATORS));
    let duties = world.get(&world.relay.url, "relay/v1/builder/validators").await;
    let duties = duties.as_array().unwrap();
    assert!(!duties.is_empty());
    for duty in duties {
        assert!(newest.contains(&duty["entry"]), "{duty}");
    }
}

/// A block that Lodestar proposed is in the beacon node, holds what the builder offered, and is in the relay's records.
async fn proposed_block(world: &World, proposal: &Value, taken: &HashMap<B256, U256>, fork: ForkName) {
    let (root, hash) = (text(&proposal["root"]), text(&proposal["hash"]));
    let block = world.get(world.node.url(), &format!("eth/v2/beacon/blocks/{root}")).await;
    let body = &block["data"]["message"]["body"];
    assert_eq!(block["data"]["message"]["slot"], proposal["slot"].to_string());
    assert_eq!(body["execution_payload"]["block_hash"], hash);
    assert_eq!(
        body["execution_payload"]["transactions"].as_array().unwrap().len(),
        1 + usize::from(fork.has_blobs())
    );
    let canonical = world.get(world.node.url(), &format!("eth/v1/beacon/headers/{root}")).await;
    assert_eq!(canonical["data"]["canonical"], true);

    let value = taken.get(&hash.parse::<B256>().unwrap()).expect("a block of the builder");
    assert_eq!(proposal["value"], value.to_string());
    let blobs = if fork.has_blobs() { u64::from(BLOBS) } else { 0 };
    assert_eq!(proposal["commitments"], blobs);
    assert_eq!(proposal["blobs"], if proposal["version"] == "v1" { blobs } else { 0 });
    let contents = world.node.block(root.parse().unwrap()).unwrap();
    let commitments = contents.message().body().blob_kzg_commitments().map_or(0, VariableList::len);
    assert_eq!(commitments as u64, blobs);
    if fork.has_requests() {
        assert_eq!(contents.message().body().execution_requests().unwrap(), &requests());
    }

    let path = format!("relay/v1/data/bidtraces/proposer_payload_delivered?block_hash={hash}");
    let rows = world.get(&world.relay.url, &path).await;
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    assert_eq!(rows[0]["slot"], proposal["slot"].to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lodestar_proposes_at_fulu() {
    lodestar_proposes_at(ForkName::Fulu).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lodestar_proposes_at_electra() {
    lodestar_proposes_at(ForkName::Electra).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lodestar_proposes_at_deneb() {
    lodestar_proposes_at(ForkName::Deneb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lodestar_proposes_at_capella() {
    lodestar_proposes_at(ForkName::Capella).await;
}

//! An operator's life on L1 through the binary, on the contracts as they are deployed: registers with keys of every kind of
//! signer, opts in, pays in, is asked how it stands, leaves, and takes its ether out. Refusals, dry runs, and kills in the middle.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

#[path = "../../crates/signer/tests/stand_ins/mod.rs"]
mod stand_ins;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy_rpc_types_eth::{TransactionInput, TransactionRequest};
use alloy_sol_types::{SolCall, SolValue};
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::{get, post},
};
use earnest_bindings::{OrderingMarket, Registry, deploy::Addresses};
use earnest_builder_types::{BlsPublicKey, bls::SecretKey};
use earnest_devnet::anvil::{AnvilNode, AnvilOptions};
use earnest_protocol::{objects::pubkey_to_sol, signing::EcdsaSecret};
use earnest_tests::{
    binary::{earnest, run},
    patience::{now_ms, until},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use stand_ins::{Fault, StandIn};
use tempfile::TempDir;
use tokio::net::TcpListener;
use url::Url;

const CHAIN: u64 = 7_014_190;
const FORK: [u8; 4] = [0x10, 0, 0, 0x38];
/// The first account of the common development mnemonic deploys; the second owns.
const DEPLOYER: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const OWNER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
const OWNER: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
/// The third, for another operator.
const OTHER_KEY: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
const COMMITTER: Address = address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC");
const RELAY: Address = address!("15d34AAf54267DB7D7c367839AAf71A00a2C6A65");
const LIMIT: Duration = Duration::from_secs(30);

/// Periods of the contracts, seconds. Their sum stays below the ten minutes that an indexer lets a chain's time run ahead.
const FRAUD_WINDOW: u64 = 40;
const OPT_IN_DELAY: u64 = 30;
const LEAVING: u64 = 80;
const WITHDRAWAL: u64 = 100;

fn ether(whole: u64) -> U256 {
    U256::from(whole) * U256::from(10).pow(U256::from(18))
}

/// A beacon node that knows a network and some validators.
struct Beacon {
    url: Url,
    known: Arc<Mutex<Vec<BlsPublicKey>>>,
}

impl Beacon {
    async fn start() -> Self {
        let known: Arc<Mutex<Vec<BlsPublicKey>>> = Arc::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let genesis = (now_ms() / 1000 - 100_000).to_string();
        let genesis = json!({"data": {
            "genesis_time": genesis, "genesis_validators_root": B256::ZERO, "genesis_fork_version": "0x10000038",
        }});
        let spec = json!({"data": {"SECONDS_PER_SLOT": "12", "SLOTS_PER_EPOCH": "8", "DEPOSIT_CHAIN_ID": CHAIN.to_string()}});
        let validator = |key: &BlsPublicKey| {
            json!({"index": "1", "balance": "32000000000", "status": "active_ongoing", "validator": {
                "pubkey": key, "withdrawal_credentials": B256::ZERO, "effective_balance": "32000000000",
                "slashed": false, "activation_eligibility_epoch": "0", "activation_epoch": "0",
                "exit_epoch": "18446744073709551615", "withdrawable_epoch": "18446744073709551615",
            }})
        };
        let answer = move |known: &Mutex<Vec<BlsPublicKey>>, asked: Vec<String>| {
            let known = known.lock();
            let found: Vec<Value> =
                known.iter().filter(|key| asked.contains(&key.to_string())).map(validator).collect();
            Json(json!({"execution_optimistic": false, "finalized": true, "data": found}))
        };
        type Known = State<Arc<Mutex<Vec<BlsPublicKey>>>>;
        let by_query = async move |State(known): Known, Query(ids): Query<Vec<(String, String)>>| {
            answer(&known, ids.iter().flat_map(|(_, ids)| ids.split(',').map(str::to_owned)).collect())
        };
        let by_body = async move |State(known): Known, Json(body): Json<Value>| {
            let ids = body["ids"].as_array().unwrap();
            answer(&known, ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect())
        };
        let routes = Router::new()
            .route("/eth/v1/beacon/genesis", get(async || Json(genesis)))
            .route("/eth/v1/config/spec", get(async || Json(spec)))
            .route("/eth/v1/beacon/states/head/validators", get(by_query).post(by_body))
            .with_state(Arc::clone(&known));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, known }
    }
}

struct Rig {
    folder: TempDir,
    anvil: AnvilNode,
    beacon: Beacon,
    addresses: Addresses,
    commit_boost: StandIn,
    web3signer: StandIn,
}

/// What a command said, and how it ended.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn all(&self) -> String {
        format!("exit {}\n{}{}", self.code, self.out, self.err)
    }

    #[track_caller]
    fn well(self) -> String {
        assert_eq!(self.code, 0, "{}", self.all());
        self.out
    }

    #[track_caller]
    fn refused(self, why: &str) {
        assert_eq!(self.code, 1, "{}", self.all());
        assert!(self.err.contains(why), "{why}: {}", self.all());
    }
}

impl Rig {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let anvil = AnvilNode::start(&AnvilOptions::new(CHAIN)).await.unwrap();
        let beacon = Beacon::start().await;
        let parameters = json!({
            "genesis_fork_version": "0x10000038", "chain_id": CHAIN, "genesis_ms": 0, "slot_ms": 1000,
            "slots_per_epoch": 32, "registrar": OWNER, "notice_slots": 96,
            "registry": {
                "min_collateral_wei": "2000000000000000000", "fraud_proof_window": FRAUD_WINDOW,
                "unregistration_delay": LEAVING, "slash_window": LEAVING, "opt_in_delay": OPT_IN_DELAY,
            },
            "slasher": {
                "safety_wei": "1000000000000000000", "liveness_wei": "10000000000000000", "bond_wei": "1",
                "answer_seconds": 10, "conclude_seconds": 10, "evidence_seconds": LEAVING, "constraint_cutoff_ms": 333,
            },
            "market": {"horizon_seconds": 10, "withdrawal_delay_seconds": WITHDRAWAL},
        });
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("parameters.json", &parameters.to_string());
        write("deployer", DEPLOYER);
        write("owner", OWNER_KEY);
        write("other", OTHER_KEY);
        write("password", "for this test alone");
        let rpc = anvil.rpc_url().as_str();
        let mut deploy = vec!["contracts", "deploy", "--rpc", rpc, "--parameters", "parameters.json"];
        deploy.extend(["--key-file", "deployer", "--out", "addresses.json"]);
        let deployed = run(deploy, folder.path()).await;
        assert!(deployed.status.success(), "{}", String::from_utf8_lossy(&deployed.stderr));
        let addresses = std::fs::read_to_string(folder.path().join("addresses.json")).unwrap();
        let addresses = serde_json::from_str(&addresses).unwrap();
        let commit_boost = StandIn::commit_boost(CHAIN, FORK).await;
        let web3signer = StandIn::web3signer(CHAIN, FORK).await;
        write("jwt", &commit_boost.held.secret);
        let rig = Self { folder, anvil, beacon, addresses, commit_boost, web3signer };
        let new = [
            "keys",
            "new",
            "bls",
            "--count",
            "2",
            "--dir",
            "keys",
            "--password-file",
            "password",
            "--kdf",
            "light",
        ];
        let made = run([&["keys", "--json"], &new[1..]].concat(), rig.folder.path()).await;
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        for key in made["keys"].as_array().unwrap() {
            let digits = key["public"].as_str().unwrap().trim_start_matches("0x").to_owned();
            rig.beacon.known.lock().push(format!("0x{digits}").parse().unwrap());
        }
        rig.configure("p.toml", &rig.beacon.url, "owner", COMMITTER);
        rig
    }

    /// Gives a signer elsewhere a key of a validator.
    fn hold(&self, signer: &StandIn) -> BlsPublicKey {
        let secret = SecretKey::random().unwrap();
        let key = secret.public_key();
        signer.holds(secret);
        self.beacon.known.lock().push(key);
        key
    }

    fn configure(&self, name: &str, beacon: &Url, owner: &str, committer: Address) {
        let Addresses { registry, ordering_slasher, ordering_market, .. } = self.addresses;
        let key = SecretKey::from_bytes(&[7; 32]).unwrap().public_key();
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let text = format!(
            "data_dir = {data:?}\nbeacon = [\"{beacon}\"]\n\
             [network]\ngenesis_fork_version = \"0x10000038\"\nchain_id = {CHAIN}\n\
             [registry]\nexecution = \"{rpc}\"\nregistry = \"{registry}\"\nslasher = \"{ordering_slasher}\"\n\
             market = \"{ordering_market}\"\noptin_delay = 1\n\
             [[relays]]\nurl = \"http://127.0.0.1:9\"\nname = \"earnest\"\npubkey = \"{key}\"\nearnest = true\n\
             [gateway]\ncommitter = \"{committer}\"\ndelegate = \"{key}\"\nurl = \"http://127.0.0.1:9\"\nrollups = [1]\n\
             relay_address = \"{RELAY}\"\n\
             [market]\ncontract = \"{ordering_market}\"\nrelay = \"earnest\"\naccount_key = {{ file = {owner:?} }}\n\
             registration_root = \"{zero}\"\nbudget_wei = \"1\"\nvalues = []\n\
             [keys]\ndir = {keys:?}\npasswords = {password:?}\nlayout = \"lodestar\"\n\
             [commit_boost]\nurl = \"{commit_boost}\"\nmodule = \"EARNEST\"\njwt_secret_file = {jwt:?}\n\
             [web3signer]\nurl = \"{web3signer}\"\n",
            data = file(&format!("data-{owner}")),
            rpc = self.anvil.rpc_url(),
            owner = file(owner),
            zero = B256::ZERO,
            keys = file("keys"),
            password = file("password"),
            commit_boost = self.commit_boost.url,
            jwt = file("jwt"),
            web3signer = self.web3signer.url,
        );
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn with(&self, config: &str, words: &[&str]) -> Said {
        let words = [&["proposer", words[0], "--config", config], &words[1..]].concat();
        let output = run(words, self.folder.path()).await;
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    async fn proposer(&self, words: &[&str]) -> Said {
        self.with("p.toml", words).await
    }

    async fn status(&self) -> (i32, Value) {
        let said = self.proposer(&["status", "--json"]).await;
        (said.code, serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.all())))
    }

    async fn ask<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let request = TransactionRequest {
            to: Some(to.into()),
            input: TransactionInput::both(call.abi_encode().into()),
            ..TransactionRequest::default()
        };
        C::abi_decode_returns(&self.anvil.rpc().call(&request, BlockId::latest()).await.unwrap()).unwrap()
    }

    async fn operator(&self, root: B256) -> Registry::OperatorData {
        self.ask(self.addresses.registry, &Registry::getOperatorDataCall { registrationRoot: root }).await
    }

    async fn escrow(&self) -> U256 {
        let call = OrderingMarket::escrowCall { account: OWNER, relay: RELAY };
        self.ask(self.addresses.ordering_market, &call).await
    }

    async fn balance(&self) -> U256 {
        self.anvil.rpc().balance(OWNER, BlockNumberOrTag::Latest).await.unwrap()
    }

    async fn blocks(&self) -> u64 {
        self.anvil.rpc().block_number().await.unwrap()
    }

    async fn rpc(&self, method: &str, params: Value) {
        self.anvil.rpc().call_method::<Value>(method, params).await.unwrap();
    }

    async fn wait(&self, seconds: u64) {
        self.rpc("evm_increaseTime", json!([seconds])).await;
        self.rpc("evm_mine", json!([])).await;
    }

    /// Credits a proposer key, as settling a bid does.
    async fn give_share(&self, key: &BlsPublicKey, wei: U256) {
        let market = self.addresses.ordering_market;
        let hash = keccak256(pubkey_to_sol(key).unwrap().abi_encode());
        let rpc = self.anvil.rpc();
        let value = B256::from(wei);
        for slot in 0..16_u64 {
            let place = keccak256([hash.0, B256::from(U256::from(slot)).0].concat());
            let before: B256 = rpc.call_method("eth_getStorageAt", (market, place, "latest")).await.unwrap();
            self.rpc("anvil_setStorageAt", json!([market, place, value])).await;
            let call = OrderingMarket::proposerCreditCall { proposerKeyHash: hash };
            if self.ask(market, &call).await == wei {
                let held = rpc.balance(market, BlockNumberOrTag::Latest).await.unwrap();
                return self.anvil.fund(market, held + wei).await.unwrap();
            }
            self.rpc("anvil_setStorageAt", json!([market, place, before])).await;
        }
        panic!("the market keeps its credits elsewhere");
    }

    /// A call of the slasher, done when this returns.
    async fn as_slasher(&self, input: Vec<u8>) {
        let Addresses { registry, ordering_slasher, .. } = self.addresses;
        self.anvil.fund(ordering_slasher, ether(1)).await.unwrap();
        self.rpc("anvil_impersonateAccount", json!([ordering_slasher])).await;
        let input = Bytes::from(input);
        self.transact(json!({"from": ordering_slasher, "to": registry, "input": input})).await;
    }

    /// A transaction by an account that the node holds. The node mines it after it answered, so its receipt is waited for:
    /// a clock set forward in between would make it a later one.
    async fn transact(&self, transaction: Value) {
        let rpc = self.anvil.rpc();
        let hash: B256 = rpc.call_method("eth_sendTransaction", (transaction,)).await.unwrap();
        until("the transaction to be in a block", LIMIT, async || {
            let receipt = rpc.receipt(hash).await.unwrap();
            receipt.map(|receipt| assert!(receipt.status(), "the transaction failed"))
        })
        .await;
    }

    /// The roots of the registration files.
    fn roots(&self) -> Vec<B256> {
        let Ok(folder) = std::fs::read_dir(self.operator_folder()) else { return Vec::new() };
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let roots = names.filter_map(|name| {
            Some(name.strip_prefix("registration-")?.strip_suffix(".json")?.parse().unwrap())
        });
        roots.collect()
    }

    fn operator_folder(&self) -> PathBuf {
        self.folder.path().join("data-owner/operator")
    }

    /// Starts a command, waits for something to be there, and kills it.
    async fn killed(&self, words: &[&str], there: impl AsyncFn() -> bool) {
        let words = [&["proposer", words[0], "--config", "p.toml"], &words[1..]].concat();
        let mut child = tokio::process::Command::new(earnest())
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        until("the moment to kill it", LIMIT, async || there().await.then_some(())).await;
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        child.kill().await.unwrap();
    }

    async fn in_pool(&self) -> bool {
        let rpc = self.anvil.rpc();
        let pending = rpc.nonce(OWNER, BlockNumberOrTag::Pending).await.unwrap();
        pending > rpc.nonce(OWNER, BlockNumberOrTag::Latest).await.unwrap()
    }
}

#[tokio::test]
async fn an_operator_comes_counts_and_goes() {
    let rig = Rig::start().await;
    let (boosted, elsewhere) = (rig.hold(&rig.commit_boost), rig.hold(&rig.web3signer));
    rig.proposer(&["status"]).await.refused("no operator is known");

    // Dry: shown, not sent, not written.
    let before = rig.blocks().await;
    let said = rig.proposer(&["register", "--dry-run"]).await.well();
    for part in
        ["register 4 keys", "with 2 ether", " gas, ", "gwei now", "would be written", "nothing was sent"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!((rig.blocks().await, rig.roots().len()), (before, 0));
    assert!(!rig.operator_folder().exists());

    // With keystores, Commit-Boost and Web3Signer: every consent holds, or the indexer would leave the key out.
    let said = rig.proposer(&["register", "--collateral", "2.5ether"]).await.well();
    let [root] = rig.roots()[..] else { panic!("{said}") };
    assert!(said.contains(&format!("registration root {root}")) && said.contains("   in block "), "{said}");
    let operator = rig.operator(root).await;
    assert_eq!((operator.owner, operator.numKeys), (OWNER, 4));
    assert_eq!(operator.collateralWei.to::<u128>(), 2_500_000_000_000_000_000);
    let file = rig.operator_folder().join(format!("registration-{root}.json"));
    let record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let keys: Vec<&str> = record["registrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["pubkey"].as_str().unwrap())
        .collect();
    assert!(keys.contains(&boosted.to_string().as_str()) && keys.contains(&elsewhere.to_string().as_str()));
    assert_eq!((rig.commit_boost.requests().len(), rig.web3signer.requests().len()), (2, 2));

    // Again: nothing is left to do.
    let before = rig.blocks().await;
    let said = rig.proposer(&["register"]).await.well();
    assert!(said.contains(&format!("4 keys are registered in {root}")), "{said}");
    assert_eq!(rig.blocks().await, before);

    // Not before the time for showing forged consents is over.
    rig.proposer(&["opt-in"]).await.refused("fraud proof window");
    let (code, status) = rig.status().await;
    assert_eq!((code, &status["operators"][0]["keys_signed"]), (3, &json!(4)));
    assert!(
        status["operators"][0]["problems"][0].as_str().unwrap().contains("it can opt in from"),
        "{status}"
    );
    rig.wait(FRAUD_WINDOW).await;
    let said = rig.proposer(&["opt-in", "--dry-run"]).await.well();
    assert!(said.contains("1. opt in") && said.contains("2. name"), "{said}");
    let said = rig.proposer(&["opt-in"]).await.well();
    assert!(said.contains("count from epoch"), "{said}");
    let slasher = rig.addresses.ordering_slasher;
    let call = Registry::getSlasherCommitmentCall { registrationRoot: root, slasher };
    assert_eq!(rig.ask(rig.addresses.registry, &call).await.committer, COMMITTER);
    let call = OrderingMarket::relayOfCall { registrationRoot: root };
    assert_eq!(rig.ask(rig.addresses.ordering_market, &call).await, RELAY);
    let said = rig.proposer(&["opt-in"]).await.well();
    assert!(said.contains("nothing is left to do"), "{said}");
    rig.proposer(&["opt-in", "--committer", &RELAY.to_string()]).await.refused("opt out, wait");

    let said = rig.proposer(&["deposit", "--escrow", "1ether", "--collateral", "0.5ether"]).await.well();
    assert!(said.contains("now: 1 ether") && said.contains("now: 3 ether"), "{said}");
    assert_eq!(rig.escrow().await, ether(1));

    // By the beacon node it does not count yet; without one nothing is known that is wrong.
    let (code, status) = rig.status().await;
    assert_eq!(code, 3);
    assert!(
        status["operators"][0]["problems"][0].as_str().unwrap().contains("counts from epoch"),
        "{status}"
    );
    rig.configure("no-beacon.toml", &"http://127.0.0.1:9".parse().unwrap(), "owner", COMMITTER);
    let said = rig.with("no-beacon.toml", &["status"]).await;
    assert!(said.err.contains("no beacon node answers"), "{}", said.all());
    let said = said.well();
    let committer = COMMITTER.to_string();
    for part in [
        "operational       yes",
        "3 ether, at least 2 ether",
        "4, 4 signed",
        &committer,
        "escrow          1 ether",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    // Proposer shares go to the owner: L1 itself checks the consents of the keys with signers elsewhere.
    for key in [boosted, elsewhere] {
        rig.give_share(&key, ether(1)).await;
    }
    assert!(rig.with("no-beacon.toml", &["status"]).await.well().contains("2 ether to claim"));
    let before = rig.balance().await;
    let said = rig.proposer(&["claim"]).await.well();
    assert!(
        said.contains("2. claim 1 ether of proposer shares") && said.contains("the collateral stays"),
        "{said}"
    );
    assert!(rig.balance().await > before + ether(1));

    // Out again.
    rig.proposer(&["claim"]).await.refused("unregister it");
    let said = rig.proposer(&["unregister", "--dry-run"]).await.well();
    assert!(said.contains("1 min 20 s after that"), "{said}");
    let said = rig.proposer(&["unregister"]).await.well();
    for part in ["can be claimed from", "is liable for what", "keep the sidecar running"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(rig.proposer(&["unregister"]).await.well().contains("done: unregistered at"));
    rig.proposer(&["claim"]).await.refused("the collateral can be claimed from");
    let (code, status) = rig.status().await;
    assert_eq!((code, &status["operators"][0]["liable"]), (3, &json!(true)));
    // An accusation keeps the collateral beyond that.
    let call = Registry::lockCollateralCall { registrationRoot: root }.abi_encode();
    rig.as_slasher(call).await;
    rig.wait(LEAVING).await;
    rig.proposer(&["claim"]).await.refused("an accusation is open");
    let (_, status) = rig.status().await;
    assert!(
        status["operators"][0]["locked_until"].is_u64() && status["operators"][0]["liable"] == true,
        "{status}"
    );
    let call = Registry::freeCollateralCall { registrationRoot: root }.abi_encode();
    rig.as_slasher(call).await;
    let before = rig.balance().await;
    rig.proposer(&["claim"]).await.well();
    let after = rig.balance().await;
    assert!(after > before + ether(2) && after < before + ether(3), "collateral less gas: {before} {after}");
    assert!(rig.operator(root).await.deleted);
    assert!(rig.proposer(&["claim"]).await.well().contains("done: the collateral was claimed"));

    rig.proposer(&["withdraw", "--amount", "2ether"]).await.refused("holds 1 ether");
    assert!(rig.proposer(&["withdraw"]).await.well().contains("1 min 40 s after it was asked for"));
    assert!(rig.proposer(&["withdraw"]).await.well().contains("done: 1 ether were asked for"));
    rig.wait(WITHDRAWAL).await;
    rig.proposer(&["withdraw"]).await.well();
    assert_eq!(rig.escrow().await, U256::ZERO);
    assert!(rig.proposer(&["withdraw"]).await.well().contains("nothing in escrow"));

    // The very same keys come back, under another root.
    rig.proposer(&["register"]).await.well();
    let roots = rig.roots();
    assert_eq!(roots.len(), 2);
    let back = roots.into_iter().find(|other| *other != root).unwrap();
    assert_eq!(rig.operator(back).await.numKeys, 4);
    let (_, status) = rig.status().await;
    let came_back = status["operators"].as_array().unwrap().iter();
    let keys: Vec<_> = came_back.map(|it| (it["claimed"].clone(), it["keys_signed"].clone())).collect();
    assert!(keys.contains(&(json!(false), json!(4))) && keys.contains(&(json!(true), json!(4))), "{status}");
}

#[tokio::test]
async fn an_operator_changes_its_committer() {
    let rig = Rig::start().await;
    rig.proposer(&["register"]).await.well();
    rig.wait(FRAUD_WINDOW).await;
    rig.proposer(&["opt-in"]).await.well();
    rig.proposer(&["opt-out"]).await.refused("the operator can opt out from");
    rig.wait(OPT_IN_DELAY).await;
    let said = rig.proposer(&["opt-out"]).await.well();
    assert!(said.contains("is liable for what its committer signed"), "{said}");
    assert!(rig.proposer(&["opt-out"]).await.well().contains("done: opted out"));
    let fresh = EcdsaSecret::random().address().to_string();
    rig.proposer(&["opt-in", "--committer", &fresh]).await.refused("can opt in again from");
    rig.wait(OPT_IN_DELAY).await;
    rig.proposer(&["opt-in", "--committer", &fresh]).await.well();
    let (code, status) = rig.status().await;
    assert_eq!(
        (code, status["operators"][0]["committer"].as_str().unwrap().to_lowercase()),
        (3, fresh.to_lowercase())
    );
    let problems = status["operators"][0]["problems"].to_string();
    assert!(problems.contains("the gateway's is"), "{problems}");
}

#[tokio::test]
async fn what_the_contracts_would_refuse_is_said_before_anything_is_sent() {
    let rig = Rig::start().await;
    let before = rig.blocks().await;
    rig.proposer(&["register", "--collateral", "1ether"])
        .await
        .refused("less collateral than the Registry takes");
    rig.proposer(&["register", "--collateral", "20000ether"]).await.refused("fund it first");
    rig.proposer(&["opt-in"]).await.refused("register first");
    rig.proposer(&["opt-in", "--root", &B256::repeat_byte(5).to_string()]).await.refused("nobody registered");
    rig.proposer(&["deposit", "--escrow", "0ether"]).await.refused("the amount is zero");
    rig.proposer(&["register", "--owner-key-file", "nothing"]).await.refused("nothing");

    // The owner's key in a keystore.
    let import = [
        "keys",
        "import",
        "ecdsa",
        "owner",
        "--dir",
        "safe",
        "--password-file",
        "password",
        "--kdf",
        "light",
    ];
    assert!(run(import, rig.folder.path()).await.status.success());
    let safe = std::fs::read_dir(rig.folder.path().join("safe")).unwrap().next().unwrap().unwrap().path();
    let by_keystore =
        ["deposit", "--escrow", "1ether", "--dry-run", "--owner-key-file", safe.to_str().unwrap()];
    let with = |more: [&'static str; 2]| [&by_keystore[..], &more].concat();
    rig.proposer(&by_keystore).await.refused("for a keystore, name its password_file too");
    rig.proposer(&with(["--owner-password-file", "owner"])).await.refused("wrong password");
    rig.proposer(&with(["--owner-password-env", "EARNEST_NO_SUCH"])).await.refused("is not set");
    let said = rig.proposer(&with(["--owner-password-file", "password"])).await.well();
    assert!(said.contains(&OWNER.to_string()), "{said}");

    // A signer that signs with another key, or that is not there.
    let strange = rig.hold(&rig.web3signer);
    rig.web3signer.fails(Some(Fault::OtherKey));
    rig.proposer(&["register"]).await.refused("its signature is not that of");
    rig.web3signer.fails(Some(Fault::OtherRoot));
    rig.proposer(&["register"]).await.refused("its signature is not that of");
    rig.web3signer.fails(Some(Fault::Says(503, b"down".to_vec())));
    rig.proposer(&["register"]).await.refused("503");
    rig.web3signer.fails(None);

    // A key that the beacon chain does not know.
    rig.beacon.known.lock().retain(|key| *key != strange);
    rig.proposer(&["register"]).await.refused(&format!("{strange} is no validator"));
    let unknown = SecretKey::random().unwrap().public_key().to_string();
    rig.proposer(&["register", "--pubkeys", &unknown]).await.refused("no signer of ours holds");
    assert_eq!((rig.blocks().await, rig.roots().len()), (before, 0), "nothing was sent, nothing written");

    let some: Vec<String> = rig.beacon.known.lock().iter().map(ToString::to_string).collect();
    rig.proposer(&["register", "--pubkeys", &some[0]]).await.well();
    let said = rig.proposer(&["register", "--force"]).await;
    assert!(said.err.contains("registered all the same"), "{}", said.all());
    assert!(said.well().contains("register 2 keys"));
    let roots = rig.roots();
    rig.proposer(&["opt-in"]).await.refused("which operator? Give --root");
    rig.wait(FRAUD_WINDOW).await;
    let (one, two) = (roots[0].to_string(), roots[1].to_string());
    rig.proposer(&["opt-in", "--root", &one]).await.well();
    rig.proposer(&["opt-in", "--root", &two]).await.refused("take a fresh key");

    // Another owner with the same keys.
    rig.configure("other.toml", &rig.beacon.url, "other", RELAY);
    rig.with("other.toml", &["register"]).await.refused("keys are registered with another owner");
    rig.with("other.toml", &["unregister", "--root", &one]).await.refused("give the owner's key");

    // Other networks.
    let text = std::fs::read_to_string(rig.folder.path().join("p.toml")).unwrap();
    for (from, to, said) in [
        ("chain_id = 7014190", "chain_id = 1", "has chain id 7014190"),
        (
            "genesis_fork_version = \"0x10000038\"",
            "genesis_fork_version = \"0x10000910\"",
            "is of another network",
        ),
        (
            &*format!("registry = \"{}\"", rig.addresses.registry),
            &*format!("registry = \"{RELAY}\""),
            "no contract at",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(rig.folder.path().join("wrong.toml"), text.replace(from, to)).unwrap();
        rig.with("wrong.toml", &["opt-in", "--root", &one]).await.refused(said);
    }
}

#[tokio::test]
async fn what_a_killed_command_sent_is_not_sent_again() {
    let rig = Rig::start().await;
    rig.rpc("evm_setAutomine", json!([false])).await;
    rig.killed(&["register"], async || rig.in_pool().await).await;
    let [root] = rig.roots()[..] else { panic!("the file is there before anything is sent") };
    let said = rig.proposer(&["register", "--dry-run"]).await.well();
    assert!(said.contains("would be sent again") && said.contains("on its way: register"), "{said}");
    rig.rpc("evm_setAutomine", json!([true])).await;
    rig.rpc("evm_mine", json!([])).await;
    let before = rig.blocks().await;
    let said = rig.proposer(&["register"]).await.well();
    assert!(said.contains("cut off") && said.contains(&format!("2 keys are registered in {root}")), "{said}");
    assert_eq!((rig.blocks().await, rig.roots().len()), (before, 1));

    // Of two steps the first was sent: it counts, and the second is done.
    let deposit = ["deposit", "--escrow", "1ether", "--collateral", "1ether"];
    rig.rpc("evm_setAutomine", json!([false])).await;
    rig.killed(&deposit, async || rig.in_pool().await).await;
    rig.rpc("evm_setAutomine", json!([true])).await;
    rig.rpc("evm_mine", json!([])).await;
    let said = rig.proposer(&deposit).await.well();
    assert!(said.contains("by the run that was cut off") && said.contains("1. add 1 ether"), "{said}");
    assert_eq!(rig.escrow().await, ether(1));
    assert_eq!(rig.operator(root).await.collateralWei.to::<U256>(), ether(3));
    // Asked for once more, it is done once more.
    rig.proposer(&deposit).await.well();
    assert_eq!(
        (rig.escrow().await, rig.operator(root).await.collateralWei.to::<U256>()),
        (ether(2), ether(4))
    );
}

#[tokio::test]
async fn a_transaction_whose_fee_became_too_low_is_replaced_and_done_once() {
    let rig = Rig::start().await;
    rig.rpc("evm_setAutomine", json!([false])).await;
    let deposit = ["deposit", "--escrow", "1ether"];
    rig.killed(&deposit, async || rig.in_pool().await).await;
    rig.rpc("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be4000"])).await;
    rig.rpc("evm_mine", json!([])).await;
    assert!(rig.escrow().await.is_zero(), "the block takes no offer that low");
    rig.rpc("evm_setAutomine", json!([true])).await;
    let said = rig.proposer(&deposit).await.well();
    assert!(
        said.contains("the base fee is 160 gwei by now") && said.contains("cut off (transaction"),
        "{said}"
    );
    assert_eq!(rig.escrow().await, ether(1));
    let folder = std::fs::read_dir(rig.operator_folder()).unwrap();
    assert!(
        folder.into_iter().all(|entry| !entry.unwrap().file_name().to_str().unwrap().starts_with("sent-"))
    );
}

/// Stands before the execution client, and keeps what is sent to itself.
async fn swallower(rpc: Url, sent: Arc<Mutex<u32>>) -> Url {
    let client = reqwest::Client::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let pass = async move |body: String| -> String {
        if body.contains("eth_sendRawTransaction") {
            *sent.lock() += 1;
            std::future::pending::<()>().await;
        }
        let request = client.post(rpc).header("content-type", "application/json").body(body);
        request.send().await.unwrap().text().await.unwrap()
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(pass))).await.unwrap() });
    url
}

#[tokio::test]
async fn what_was_signed_and_never_arrived_is_sent_as_it_was() {
    let rig = Rig::start().await;
    let sent = Arc::new(Mutex::new(0));
    let proxy = swallower(rig.anvil.rpc_url().clone(), Arc::clone(&sent)).await;
    let nonce = async || rig.anvil.rpc().nonce(OWNER, BlockNumberOrTag::Pending).await.unwrap();
    let first = nonce().await;
    let through = ["deposit", "--escrow", "1ether", "--rpc", proxy.as_str()];
    rig.killed(&through, async || *sent.lock() == 1).await;
    assert_eq!(nonce().await, first, "the node has not got it");
    let written = sent_file(&rig.operator_folder());
    let said = rig.proposer(&["deposit", "--escrow", "1ether"]).await.well();
    assert!(said.contains(written[0]["hash"].as_str().unwrap()), "{said}");
    assert_eq!((rig.escrow().await, nonce().await), (ether(1), first + 1));

    // A node that does not answer: it is said that the transaction may be on its way.
    let said = rig.proposer(&through).await;
    said.refused("nothing is sent twice");
    assert_eq!(*sent.lock(), 2);
    // Meanwhile the account did something else.
    rig.transact(json!({"from": OWNER, "to": RELAY, "value": "0x1"})).await;
    let said = rig.proposer(&["deposit", "--escrow", "1ether"]).await.well();
    assert!(said.contains("came to nothing"), "{said}");
    assert_eq!((rig.escrow().await, nonce().await), (ether(2), first + 3));
}

fn sent_file(folder: &Path) -> Value {
    let mut names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = names.find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("sent-")).unwrap();
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

#[tokio::test]
async fn more_keys_than_a_transaction_holds_are_several_operators() {
    let rig = Rig::start().await;
    for _ in 0..255 {
        rig.hold(&rig.web3signer);
    }
    let said = rig.proposer(&["register"]).await.well();
    assert_eq!(said.matches("registration root").count(), 2, "{said}");
    let mut keys = Vec::new();
    for root in rig.roots() {
        keys.push(rig.operator(root).await.numKeys);
    }
    keys.sort_unstable();
    assert_eq!(keys, [1, 256]);
    let said = rig.proposer(&["register"]).await.well();
    assert!(said.contains("256 keys are registered in") && said.contains("nothing is left to do"), "{said}");
}

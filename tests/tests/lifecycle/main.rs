//! An operator's life on L1 through the binary, on the contracts as they are deployed: registers with keys of every kind of
//! signer, opts in, pays in, is asked how it stands, leaves, and takes its ether out. Refusals, dry runs, and kills in the middle.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

#[path = "../../../crates/signer/tests/stand_ins/mod.rs"]
mod stand_ins;

mod coming_and_going;
mod interruptions;
mod refusals;

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy_rpc_types_eth::{TransactionInput, TransactionRequest};
use alloy_sol_types::{SolCall, SolValue};
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use earnest_bindings::{OrderingMarket, Registry, deploy::Addresses};
use earnest_builder_types::{BlsPublicKey, bls::SecretKey};
use earnest_devnet::anvil::{AnvilNode, AnvilOptions};
use earnest_protocol::objects::pubkey_to_sol;
use earnest_tests::{
    binary::{earnest, run},
    patience::{now_ms, until},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use stand_ins::StandIn;
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

//! A relay beside a beacon node, a builder and an execution chain in memory, spoken to over HTTP alone.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod auction;
pub(crate) mod document;
pub(crate) mod front;
pub(crate) mod proxy;
pub(crate) mod refusal;
pub(crate) mod rpc;
pub(crate) mod workshop;

use alloy_primitives::{Address, B256, Bytes, hex};
use earnest_builder_types::{
    BlindedBeaconBlock, BlsPublicKey, Eth1Data, ProposalContext, SignedBlindedBeaconBlock, SignedBuilderBid,
    SyncAggregate, ValidatorRegistration, Versioned, bls::SecretKey,
};
use earnest_devnet::{
    beacon::{BeaconNode, BeaconOptions, MemoryEngine, randao_signing_root, state_root_after},
    builder::{Builder, BuilderOptions, Report},
};
use earnest_http::LimitConfig;
use earnest_protocol::{
    signing::{EcdsaSecret, Network},
    window::Fraction,
};
use earnest_relay::{
    Bounds, BuildersConfig, Config, KeyFile, MarketConfig, Running, SimulationConfig, TimingConfig,
};
use serde_json::Value;
use std::{fs, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use url::Url;

/// Longest that any one thing may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One relay and what it stands on.
pub(crate) struct World {
    pub(crate) node: BeaconNode,
    pub(crate) engine: Arc<MemoryEngine>,
    pub(crate) keys: Vec<SecretKey>,
    pub(crate) network: Network,
    pub(crate) relay: Running,
    pub(crate) http: reqwest::Client,
    pub(crate) config: Config,
    stop: CancellationToken,
    _directory: TempDir,
}

/// What the world should look like.
pub(crate) struct Setting {
    pub(crate) slot_ms: u64,
    pub(crate) opted_in: bool,
    pub(crate) timing: TimingConfig,
    pub(crate) bounds: Bounds,
    pub(crate) clients: LimitConfig,
    pub(crate) execution: Vec<Url>,
    pub(crate) builders: BuildersConfig,
    pub(crate) simulation: SimulationConfig,
    pub(crate) market: MarketConfig,
    /// Validators beside the usual four.
    pub(crate) more_keys: Vec<SecretKey>,
}

impl Default for Setting {
    fn default() -> Self {
        let (timing, bounds, clients, execution, builders, simulation, market) = Default::default();
        Self {
            slot_ms: 2_000,
            opted_in: true,
            timing,
            bounds,
            clients,
            execution,
            builders,
            simulation,
            market,
            more_keys: vec![],
        }
    }
}

/// Cut-offs that leave a slow machine time: payloads until the slot's end.
pub(crate) fn unhurried() -> TimingConfig {
    TimingConfig { header: Fraction(1, 2), payload: Fraction(1, 1), ..TimingConfig::default() }
}

fn write_key(directory: &Path, name: &str, bytes: &[u8]) -> KeyFile {
    let file = directory.join(name);
    fs::write(&file, hex::encode_prefixed(bytes)).unwrap();
    KeyFile { file, password_file: None }
}

impl World {
    pub(crate) async fn start(setting: Setting) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut keys: Vec<SecretKey> =
            (1..=4).map(|key| SecretKey::from_bytes(&[key; 32]).unwrap()).collect();
        keys.extend(setting.more_keys.iter().cloned());
        let public: Vec<BlsPublicKey> = keys.iter().map(SecretKey::public_key).collect();
        let engine = Arc::new(MemoryEngine::new());
        let mut options = BeaconOptions::new(engine.clone(), public.clone());
        options.slot_ms = setting.slot_ms;
        let network =
            Network { genesis_fork_version: options.genesis_fork_version, chain_id: options.chain_id };
        let node = BeaconNode::start(options).await.unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: directory.path().join("data"),
            beacon: vec![node.url().clone()],
            network,
            bls_key: write_key(directory.path(), "bls.hex", &[77; 32]),
            ecdsa_key: write_key(directory.path(), "ecdsa.hex", &[78; 32]),
            inbox: Address::repeat_byte(0xaa),
            execution: setting.execution.clone(),
            builders: setting.builders.clone(),
            simulation: setting.simulation.clone(),
            market: setting.market.clone(),
            opted_in: if setting.opted_in { public } else { vec![] },
            registry: None,
            timing: setting.timing,
            bounds: setting.bounds,
            clients: setting.clients,
            beacon_wait_secs: 10,
            free_space_floor: 0,
        };
        let stop = CancellationToken::new();
        let relay = earnest_relay::start(config.clone(), stop.clone()).await.unwrap();
        // Starting the relay installed the process's TLS provider.
        // No connection twice: after a body that was refused unread the relay closes it.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { node, engine, keys, network, relay, http, config, stop, _directory: directory }
    }

    /// Stops the relay and waits until it is down.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.relay.join().await.unwrap();
    }

    /// Stops the relay and starts it again on the same data, elsewhere.
    pub(crate) async fn restart(self) -> Self {
        self.restart_at(0).await
    }

    /// The same, but it starts at this time, Unix milliseconds, at the earliest.
    pub(crate) async fn restart_at(mut self, at_ms: u64) -> Self {
        self.stop.cancel();
        let stop = CancellationToken::new();
        self.relay.join().await.unwrap();
        while now_ms() < at_ms {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.relay = earnest_relay::start(self.config.clone(), stop.clone()).await.unwrap();
        self.stop = stop;
        self
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.relay.local_addr)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.http.get(self.url(path)).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &impl serde::Serialize) -> (u16, Value) {
        answer(self.http.post(self.url(path)).json(body).send().await.unwrap()).await
    }

    /// Registers every validator.
    pub(crate) async fn register(&self) {
        let registrations: Vec<_> = self
            .keys
            .iter()
            .map(|key| {
                let registration = ValidatorRegistration {
                    fee_recipient: Address::repeat_byte(0xfe),
                    gas_limit: 30_000_000,
                    timestamp: 1_700_000_000,
                    pubkey: key.public_key(),
                };
                registration.sign(key, self.node.builder_domain())
            })
            .collect();
        assert_eq!(self.post("/eth/v1/builder/validators", &registrations).await, (200, Value::Null));
    }

    /// A builder that bids at this relay.
    pub(crate) async fn builder(&self) -> Builder {
        let key = SecretKey::from_bytes(&[99; 32]).unwrap();
        let relays = vec![self.relay.url.clone()];
        let options = BuilderOptions::new(key, self.engine.clone(), self.node.url().clone(), relays);
        Builder::start(options).await.unwrap()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        now_ms()
    }

    /// A slot at least `ahead` slots ahead that the lookahead shows.
    pub(crate) fn slot_ahead(&self, ahead: u64) -> u64 {
        self.node.clock().next_slot(self.now_ms()) + ahead
    }

    /// The proposer of a slot, and its index.
    pub(crate) async fn proposer(&self, slot: u64) -> (u64, SecretKey) {
        let (status, schedule) = self.get("/ordering/v1/schedule").await;
        assert_eq!(status, 200);
        let slots = schedule["slots"].as_array().unwrap();
        let row = slots.iter().find(|row| row["slot"] == slot.to_string().as_str());
        let index = row.unwrap()["validator_index"].as_str().unwrap().parse::<u64>().unwrap();
        (index, self.keys[usize::try_from(index).unwrap()].clone())
    }

    /// Waits until the relay took a block for `slot` or a later one; gives the slot.
    pub(crate) async fn bid(&self, reports: &mut broadcast::Receiver<Report>, from: u64) -> u64 {
        let bid = async {
            loop {
                let report = reports.recv().await.unwrap();
                if let Report::Submitted { slot, taken, .. } = report
                    && slot >= from
                {
                    taken.unwrap();
                    return slot;
                }
            }
        };
        tokio::time::timeout(PATIENCE, bid).await.unwrap()
    }

    /// Path of what the proposer of `slot` asks for, on the present head.
    pub(crate) fn header_path(&self, route: &str, slot: u64, proposer: &SecretKey) -> String {
        format!("{route}/{slot}/{}/{}", self.node.head().execution.hash, proposer.public_key())
    }

    /// Asks until there is a header or the time for one is over.
    pub(crate) async fn header(&self, slot: u64, proposer: &SecretKey) -> SignedBuilderBid {
        self.node.wait_for_slot(slot).await;
        let path = self.header_path("/eth/v1/builder/header", slot, proposer);
        let response = self.http.get(self.url(&path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "no header for slot {slot}");
        let body = response.bytes().await.unwrap();
        Versioned::<SignedBuilderBid>::from_json(&body).unwrap().data
    }

    /// A blinded block around a header, signed.
    pub(crate) fn blinded(
        &self,
        slot: u64,
        bid: &SignedBuilderBid,
        index: u64,
        key: &SecretKey,
        graffiti: u8,
    ) -> SignedBlindedBeaconBlock {
        let domains = self.node.proposer_domains();
        let head = self.node.head();
        let randao_reveal = key.sign(randao_signing_root(self.node.clock().epoch_of(slot), domains.randao));
        let header = bid.header().to_owned();
        let hash = header.block_hash();
        let context = ProposalContext {
            slot,
            proposer_index: index,
            parent_root: head.root,
            state_root: state_root_after(head.header.state_root, slot, index, &randao_reveal, hash),
            randao_reveal,
            eth1_data: Eth1Data::default(),
            graffiti: B256::repeat_byte(graffiti),
            sync_aggregate: SyncAggregate::empty(),
        };
        let (commitments, requests) = (bid.blob_kzg_commitments(), bid.execution_requests());
        let block = BlindedBeaconBlock::new_for_proposal(context, header, commitments, requests).unwrap();
        block.sign(key, domains.block)
    }
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The address of the sender of this number.
pub(crate) fn sender(number: u8) -> Address {
    EcdsaSecret::from_bytes(&[number; 32]).unwrap().address()
}

/// Status, and body as JSON; null if it is empty.
pub(crate) async fn answer(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    let json = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    (status, json)
}

/// A signed transfer on the network's chain by the sender of this number.
pub(crate) fn transfer(sender: u8, nonce: u64, value: u64) -> Bytes {
    use alloy_consensus::{SignableTransaction, TxEip1559};
    use alloy_eips::eip2718::Encodable2718;
    let tx = TxEip1559 {
        chain_id: 1337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: alloy_primitives::TxKind::Call(Address::repeat_byte(9)),
        value: alloy_primitives::U256::from(value),
        access_list: vec![].into(),
        input: Bytes::new(),
    };
    let secret = EcdsaSecret::from_bytes(&[sender; 32]).unwrap();
    let signature = secret.sign(tx.signature_hash()).unwrap();
    let signature = alloy_primitives::Signature::from_raw(signature.as_slice()).unwrap();
    tx.into_signed(signature).encoded_2718().into()
}

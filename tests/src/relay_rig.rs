//! A relay in a process of its own, beside a beacon node and an execution chain in memory: what is killed is the relay.

use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use alloy_primitives::{Address, B256, Bytes, hex};
use earnest_builder_types::{
    BlindedBeaconBlock, BlsPublicKey, Eth1Data, ForkCodec, ProposalContext, SignedBlindedBeaconBlock,
    SignedBuilderBid, SignedValidatorRegistration, SyncAggregate, ValidatorRegistration, Versioned,
    bls::SecretKey,
};
use earnest_devnet::{
    beacon::{BeaconNode, BeaconOptions, MemoryEngine, randao_signing_root, state_root_after},
    builder::{Builder, BuilderOptions, Report},
};
use earnest_http::LimitConfig;
use earnest_protocol::{signing::Network, window::Fraction};
use earnest_relay::{Bounds, Config, KeyFile, MarketConfig, TimingConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::broadcast;
use url::Url;

use crate::{
    binary::{RoleProcess, earnest},
    disk::Disk,
    patience::{now_ms, until},
};

/// Longest that any one thing may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Starts before giving up: while the relay is down another process may take its port.
const STARTS: u32 = 5;
/// Where the validators want their fees.
const FEES: Address = Address::repeat_byte(0xfe);

/// What was answered, or that there was no answer.
pub type Answer = Option<(u16, Bytes)>;

/// The relay and what it stands on.
pub struct Rig {
    /// The only beacon node.
    pub node: BeaconNode,
    /// The execution client of the node and of builders.
    pub engine: Arc<MemoryEngine>,
    /// The validators; the place is the index.
    pub keys: Vec<SecretKey>,
    /// The L1 network.
    pub network: Network,
    /// Where the relay is, again and again.
    pub url: Url,
    /// A client without anything of the project's own.
    pub http: reqwest::Client,
    /// The disk of the relay's data, if it has one of its own.
    pub disk: Option<Disk>,
    config: PathBuf,
    folder: TempDir,
}

impl Rig {
    /// A chain of so many validators, and the configuration of a relay that is not up yet.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn new(slot_ms: u64, validators: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<SecretKey> =
            (1..=validators).map(|key| SecretKey::from_bytes(&[key; 32]).unwrap()).collect();
        let public: Vec<BlsPublicKey> = keys.iter().map(SecretKey::public_key).collect();
        let engine = Arc::new(MemoryEngine::new());
        let mut options = BeaconOptions::new(engine.clone(), public.clone());
        options.slot_ms = slot_ms;
        let network =
            Network { genesis_fork_version: options.genesis_fork_version, chain_id: options.chain_id };
        let node = BeaconNode::start(options).await.unwrap();
        let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let key = |name: &str, byte: u8| {
            let file = folder.path().join(name);
            std::fs::write(&file, hex::encode_prefixed([byte; 32])).unwrap();
            KeyFile { file, password_file: None }
        };
        // Headers until half of the slot and payloads until its end: a slow machine has time.
        let timing =
            TimingConfig { header: Fraction(1, 2), payload: Fraction(1, 1), ..TimingConfig::default() };
        let config = Config {
            listen,
            data_dir: folder.path().join("data"),
            beacon: vec![node.url().clone()],
            network,
            bls_key: key("bls.hex", 77),
            ecdsa_key: key("ecdsa.hex", 78),
            inbox: Address::repeat_byte(0xaa),
            execution: vec![],
            builders: Default::default(),
            simulation: Default::default(),
            opted_in: public,
            registry: None,
            market: Default::default(),
            timing,
            bounds: Bounds::default(),
            clients: LimitConfig { per_second: 0, ..LimitConfig::default() },
            beacon_wait_secs: 10,
            free_space_floor: 0,
        };
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
        let url = Url::parse(&format!("http://{listen}")).unwrap();
        earnest_client::install_tls_provider();
        let http = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
        Self { node, engine, keys, network, url, http, disk: None, config: file, folder }
    }

    /// The same, whose relay holds auctions.
    ///
    /// # Panics
    /// If the configuration cannot be written.
    #[must_use]
    pub fn with_market(self, market: MarketConfig) -> Self {
        self.configure(|config| config.market = market);
        self
    }

    /// The same, whose relay has a disk of its own, of so many bytes, and keeps so many free. There is no `disk` where the
    /// system lets nobody mount one.
    ///
    /// # Panics
    /// If the configuration cannot be written.
    #[must_use]
    pub async fn with_disk(mut self, bytes: u64, floor: u64) -> Self {
        let data = self.folder.path().join("data");
        self.configure(|config| config.free_space_floor = floor);
        self.disk = Disk::mount(data, bytes).await;
        self
    }

    /// Changes the configuration that the relay starts with next.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, change: impl FnOnce(&mut Config)) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        let mut config: Config = toml::from_str(&text).unwrap();
        change(&mut config);
        std::fs::write(&self.config, toml::to_string(&config).unwrap()).unwrap();
    }

    /// A file in the rig's folder.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the relay, on the folder that it has always had; `name` names its log.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn relay(&self, name: &str) -> RoleProcess {
        for attempt in 0..STARTS {
            let log = self.folder.path().join(format!("relay-{name}-{attempt}.log"));
            let command = match &self.disk {
                Some(disk) => disk.command(&earnest()),
                // Whose writes may be made to fail: it does not die of that by a signal.
                None => crate::disk::patient(&earnest()),
            };
            if let Some(process) = RoleProcess::start_by(command, "relay", &self.config, &self.url, log).await
            {
                return process;
            }
        }
        let log = self.folder.path().join(format!("relay-{name}-{}.log", STARTS - 1));
        panic!("the relay does not start:\n{}", std::fs::read_to_string(log).unwrap_or_default());
    }

    /// A builder that bids at the relay, whether that is up or not.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn builder(&self) -> Builder {
        let key = SecretKey::from_bytes(&[99; 32]).unwrap();
        let beacon = self.node.url().clone();
        let options = BuilderOptions::new(key, self.engine.clone(), beacon, vec![self.url.clone()]);
        Builder::start(options).await.unwrap()
    }

    /// `GET`, if the relay answers.
    ///
    /// # Panics
    /// If the path makes no URL.
    pub async fn get(&self, path: &str) -> Answer {
        let answer = self.http.get(self.url.join(path).unwrap()).send().await.ok()?;
        Some((answer.status().as_u16(), Bytes(answer.bytes().await.ok()?)))
    }

    /// `POST` of JSON, if the relay answers.
    ///
    /// # Panics
    /// If the path makes no URL.
    pub async fn post(&self, path: &str, body: &(impl serde::Serialize + Sync)) -> Answer {
        let answer = self.http.post(self.url.join(path).unwrap()).json(body).send().await.ok()?;
        Some((answer.status().as_u16(), Bytes(answer.bytes().await.ok()?)))
    }

    /// Posts a signed blinded block, by version 1 in JSON or version 2 in SSZ.
    ///
    /// # Panics
    /// If the path makes no URL.
    pub async fn propose(&self, version: u8, block: &SignedBlindedBeaconBlock) -> Answer {
        let path = format!("/eth/v{version}/builder/blinded_blocks");
        if version == 1 {
            return self.post(&path, block).await;
        }
        let request = self.http.post(self.url.join(&path).unwrap());
        let request = request.header("content-type", "application/octet-stream");
        let request = request.header("eth-consensus-version", block.fork().as_str());
        let answer = request.body(block.to_ssz()).send().await.ok()?;
        Some((answer.status().as_u16(), Bytes(answer.bytes().await.ok()?)))
    }

    /// The registration of a validator at a time.
    #[must_use]
    pub fn registration(&self, key: &SecretKey, timestamp: u64) -> SignedValidatorRegistration {
        let pubkey = key.public_key();
        let message = ValidatorRegistration { fee_recipient: FEES, gas_limit: 30_000_000, timestamp, pubkey };
        message.sign(key, self.node.builder_domain())
    }

    /// Registers every validator.
    ///
    /// # Panics
    /// If they are not taken.
    pub async fn register(&self) {
        let all: Vec<_> = self.keys.iter().map(|key| self.registration(key, 1_700_000_000)).collect();
        let (status, body) = self.post("/eth/v1/builder/validators", &all).await.unwrap();
        assert_eq!(status, 200, "{}", text(&body));
    }

    /// Index and key of who proposes a slot of this epoch or the next.
    ///
    /// # Panics
    /// If there is no such validator.
    #[must_use]
    pub fn proposer(&self, slot: u64) -> (u64, SecretKey) {
        let index = self.node.chain(|chain| chain.proposer(chain.head(), slot));
        (index, self.keys[usize::try_from(index).unwrap()].clone())
    }

    /// The slot after the one that runs.
    #[must_use]
    pub fn next_slot(&self) -> u64 {
        self.node.clock().next_slot(now_ms())
    }

    /// Waits until the relay took a block for `from` or a later slot; gives the slot.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn bid(&self, reports: &mut broadcast::Receiver<Report>, from: u64) -> u64 {
        let bid = async {
            loop {
                match reports.recv().await.unwrap() {
                    Report::Submitted { slot, taken: Ok(()), .. } if slot >= from => return slot,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, bid).await.unwrap()
    }

    /// The header on offer on the present head, if there is one.
    ///
    /// # Panics
    /// If it is no bid.
    pub async fn header(&self, slot: u64, key: &SecretKey) -> Option<SignedBuilderBid> {
        let parent = self.node.head().execution.hash;
        let path = format!("/eth/v1/builder/header/{slot}/{parent}/{}", key.public_key());
        let (status, body) = self.get(&path).await?;
        (status == 200).then(|| Versioned::<SignedBuilderBid>::from_json(&body).unwrap().data)
    }

    /// Waits for the slot and asks until there is a header.
    ///
    /// # Panics
    /// If there is none in time.
    pub async fn header_in_slot(&self, slot: u64, key: &SecretKey) -> SignedBuilderBid {
        self.node.wait_for_slot(slot).await;
        until("a header", PATIENCE, async || self.header(slot, key).await).await
    }

    /// A blinded block around a header, signed; the graffiti makes it another one.
    ///
    /// # Panics
    /// If no block can be made of it.
    #[must_use]
    pub fn blinded(&self, slot: u64, bid: &SignedBuilderBid, graffiti: u8) -> SignedBlindedBeaconBlock {
        let (proposer_index, key) = self.proposer(slot);
        let domains = self.node.proposer_domains();
        let head = self.node.head();
        let randao_reveal = key.sign(randao_signing_root(self.node.clock().epoch_of(slot), domains.randao));
        let header = bid.header().to_owned();
        let hash = header.block_hash();
        let before = head.header.state_root;
        let context = ProposalContext {
            slot,
            proposer_index,
            parent_root: head.root,
            state_root: state_root_after(before, slot, proposer_index, &randao_reveal, hash),
            randao_reveal,
            eth1_data: Eth1Data::default(),
            graffiti: B256::repeat_byte(graffiti),
            sync_aggregate: SyncAggregate::empty(),
        };
        let (commitments, requests) = (bid.blob_kzg_commitments(), bid.execution_requests());
        let block = BlindedBeaconBlock::new_for_proposal(context, header, commitments, requests).unwrap();
        block.sign(&key, domains.block)
    }

    /// Payloads that the relay says it delivered, by slot; `None` if it does not answer.
    ///
    /// # Panics
    /// If the answer is no list.
    pub async fn delivered(&self) -> Option<Vec<Value>> {
        let (status, body) = self.get("/relay/v1/data/bidtraces/proposer_payload_delivered").await?;
        assert_eq!(status, 200, "{}", text(&body));
        serde_json::from_slice(&body).unwrap()
    }
}

/// A body to show.
#[must_use]
pub fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

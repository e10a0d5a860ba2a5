//! `earnest relay` as an operator runs it: the binary, a TOML file, a data folder, and a process that may die.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use alloy_primitives::{Address, U256, hex};
use earnest_builder_types::{
    BlsPublicKey,
    beacon::relay::{BuilderBlockReceived, ProposerPayloadDelivered},
    bls::SecretKey,
};
use earnest_client::{Limits, RelayClient};
use earnest_devnet::{process::free_ports, validator::interop_key};
use earnest_protocol::{auction::AuctionRecord, signing::EcdsaSecret};
use earnest_relay::MarketConfig;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    contracts::RegistrySection,
    genesis::{NETWORK, VALIDATORS},
    http_client,
};
use crate::{binary::RoleProcess, patience::until};

const LIMIT: Duration = Duration::from_secs(20);
/// Time between two looks at how many headers were served, where the next one is waited for.
const LOOK: Duration = Duration::from_millis(2);

/// A relay that can be killed and started again.
#[derive(Debug)]
pub struct Relay {
    process: Option<RoleProcess>,
    name: &'static str,
    folder: PathBuf,
    logs: PathBuf,
    starts: u32,
    /// Base of its APIs.
    pub url: Url,
    /// A client of its APIs.
    pub client: RelayClient,
    /// Who signs its receipts.
    pub address: Address,
    /// Who signs its bids.
    pub pubkey: BlsPublicKey,
    /// The execution client that it judges constraints by.
    pub execution: Option<Url>,
    /// The Registry that decides who is opted in. In its first epochs, and without one, all validators are.
    pub registry: Option<RegistrySection>,
    /// The market that it holds, and what of it L1 is not read for.
    pub market: Option<MarketConfig>,
    http: reqwest::Client,
}

/// One slot of `/ordering/v1/schedule`, as far as it matters here.
#[derive(Debug, Clone, Deserialize)]
pub struct ScheduledSlot {
    /// The slot.
    pub slot: earnest_protocol::Slot,
    /// Key of its proposer.
    pub proposer: BlsPublicKey,
    /// Index of its proposer.
    #[serde(with = "earnest_protocol::integer")]
    pub validator_index: u64,
    /// Whether the proposer's delegations are taken.
    pub opted_in: bool,
}

impl Relay {
    /// Makes keys and a folder of this name below `data`; starts nothing.
    ///
    /// # Panics
    /// If the disk or the system's ports cannot be used.
    #[must_use]
    pub fn prepare(name: &'static str, data: &Path, logs: &Path) -> Self {
        let folder = data.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (bls, ecdsa) = (SecretKey::random().unwrap(), EcdsaSecret::random());
        std::fs::write(folder.join("bls.hex"), hex::encode(bls.to_bytes())).unwrap();
        std::fs::write(folder.join("ecdsa.hex"), hex::encode(ecdsa.to_bytes())).unwrap();
        let [port] = free_ports::<1>().unwrap();
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        Self {
            process: None,
            name,
            folder,
            logs: logs.to_owned(),
            starts: 0,
            client: RelayClient::new(&url, Limits::default()).unwrap(),
            url,
            address: ecdsa.address(),
            pubkey: bls.public_key(),
            execution: None,
            registry: None,
            market: None,
            http: http_client(),
        }
    }

    /// Starts it over the beacon node at `beacon`, on the folder that it had before. Returns once it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(&mut self, beacon: &Url) -> Duration {
        let from = Instant::now();
        let config = self.folder.join("relay.toml");
        std::fs::write(&config, self.config(beacon)).unwrap();
        self.starts += 1;
        let log = self.logs.join(format!("{}-{}.log", self.name, self.starts));
        let started = RoleProcess::start("relay", &config, &self.url, log.clone()).await;
        self.process = Some(started.unwrap_or_else(|| panic!("the relay ended; see {}", log.display())));
        from.elapsed()
    }

    /// Whether it runs, as far as we let it.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn kill(&mut self) {
        self.process.take().expect("the relay runs").kill().await;
    }

    /// Ends it as an operator does.
    ///
    /// # Panics
    /// If it does not run or end well.
    pub async fn stop(&mut self) {
        let status = self.process.take().expect("the relay runs").terminate().await;
        assert!(status.success(), "the relay ended with {status}");
    }

    fn config(&self, beacon: &Url) -> String {
        let opted_in: Vec<String> = (0..VALIDATORS)
            .map(|index| format!("\"{}\"", interop_key(index).unwrap().public_key()))
            .collect();
        // A payload may come late where the proposer's slot includes a restart of the relay.
        format!(
            "listen = \"127.0.0.1:{port}\"
data_dir = \"{folder}/data\"
beacon = [\"{beacon}\"]
execution = [{execution}]
network = {{ genesis_fork_version = \"{version}\", chain_id = {chain_id} }}
bls_key = {{ file = \"{folder}/bls.hex\" }}
ecdsa_key = {{ file = \"{folder}/ecdsa.hex\" }}
inbox = \"{inbox}\"
opted_in = [{opted_in}]

[timing]
payload = [3, 4]

{registry}
{market}",
            execution = self.execution.as_ref().map_or_else(String::new, |url| format!("\"{url}\"")),
            port = self.url.port().unwrap(),
            folder = self.folder.display(),
            version = hex::encode_prefixed(NETWORK.genesis_fork_version),
            chain_id = NETWORK.chain_id,
            inbox =
                self.registry.as_ref().map_or(Address::repeat_byte(0x1b), |section| section.addresses.inbox),
            registry = self.registry.as_ref().map(RegistrySection::to_toml).unwrap_or_default(),
            market = self.market.as_ref().map(market_section).unwrap_or_default(),
            opted_in = opted_in.join(", "),
        )
    }

    /// Payloads delivered for a slot, as the data API tells them.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn delivered(&self, slot: u64) -> Vec<ProposerPayloadDelivered> {
        let path = format!("relay/v1/data/bidtraces/proposer_payload_delivered?slot={slot}");
        self.get(&path).await
    }

    /// The highest bid that it had for a slot, wei, as the data API tells it.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn best_bid(&self, slot: u64) -> Option<U256> {
        let path = format!("relay/v1/data/bidtraces/builder_blocks_received?slot={slot}");
        let bids: Vec<BuilderBlockReceived> = self.get(&path).await;
        bids.into_iter().map(|bid| bid.value).max()
    }

    /// Slots from the current one on.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn schedule(&self) -> Vec<ScheduledSlot> {
        #[derive(Deserialize)]
        struct Schedule {
            slots: Vec<ScheduledSlot>,
        }
        self.get::<Schedule>("ordering/v1/schedule").await.slots
    }

    /// The auction of a slot as it shows it, if it held one.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn auction(&self, slot: u64) -> Option<AuctionRecord> {
        match self.client.auction(slot).await {
            Ok(record) => Some(record),
            Err(error) if error.refusal().is_some() => None,
            Err(error) => panic!("the auction of slot {slot}: {error}"),
        }
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        until(path, LIMIT, async || {
            let answer = self.http.get(self.url.join(path).unwrap()).send().await.ok()?;
            Some(answer.error_for_status().unwrap().json().await.unwrap())
        })
        .await
    }

    /// Waits for the next header that is given to a proposer; false if there is none within `limit`.
    ///
    /// # Panics
    /// If it does not answer.
    pub async fn next_header(&self, limit: Duration) -> bool {
        let before = self.headers_given().await;
        let next = async {
            while self.headers_given().await == before {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(limit, next).await.is_ok()
    }

    async fn headers_given(&self) -> u64 {
        self.counter("earnest_relay_headers_total{served=\"yes\"}").await
    }

    /// A counter of `/metrics`, with its labels; 0 if it was never counted up.
    ///
    /// # Panics
    /// If the relay does not answer.
    pub async fn counter(&self, name: &str) -> u64 {
        let metrics = self.http.get(self.url.join("metrics").unwrap()).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |count| count.parse().unwrap())
    }
}

fn market_section(market: &MarketConfig) -> String {
    #[derive(Serialize)]
    struct Section<'a> {
        market: &'a MarketConfig,
    }
    toml::to_string(&Section { market }).unwrap()
}

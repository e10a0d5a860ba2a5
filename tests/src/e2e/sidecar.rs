//! `earnest proposer` as an operator runs it: the binary, a TOML file, keystores, and a process that may die.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::{Address, hex};
use earnest_builder_types::BlsPublicKey;
use earnest_devnet::{process::free_ports, validator::interop_key};
use earnest_signer::{Password, bls_keystore::BlsKeystore, kdf::Strength};
use url::Url;

use super::{
    contracts::RegistrySection,
    earnest_gateway::ROLLUPS,
    genesis::{NETWORK, VALIDATORS},
    http_client,
    operators::Operator,
};
use crate::binary::RoleProcess;

/// Time between two looks at how many headers were served, where the next one is waited for.
const LOOK: Duration = Duration::from_millis(2);
/// Slots that a lost block keeps the circuit breaker open.
pub const BREAKER_SLOTS: u64 = 3;

/// What the sidecar is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// The beacon node.
    pub beacon: Url,
    /// Where the Earnest relay is reached, its BLS key and its ECDSA address.
    pub relay: (Url, BlsPublicKey, Address),
    /// Where mev-boost is reached.
    pub mev_boost: Url,
    /// The gateway: who signs orderings, who signs constraints, and where it is.
    pub gateway: (Address, BlsPublicKey, Url),
    /// The Registry.
    pub registry: RegistrySection,
}

/// Most that the operator has at stake in an epoch, and what each rollup's window is worth to it, wei.
const BUDGET: u128 = 2_000_000_000_000_000_000;
const VALUES: [u128; 2] = [3_000_000_000_000_000, 2_000_000_000_000_000];

/// A sidecar that can be killed and started again.
#[derive(Debug)]
pub struct Sidecar {
    process: Option<RoleProcess>,
    folder: PathBuf,
    logs: PathBuf,
    starts: u32,
    /// Where the beacon node asks it.
    pub url: Url,
    http: reqwest::Client,
}

impl Sidecar {
    /// Whether the sidecar has the key of a validator.
    #[must_use]
    pub const fn has_key(validator: u64) -> bool {
        validator % 4 != 3
    }

    /// Makes the keystores; starts nothing.
    ///
    /// # Panics
    /// If the disk or the system's ports cannot be used.
    #[must_use]
    pub fn prepare(data: &Path, logs: &Path) -> Self {
        let folder = data.join("sidecar");
        std::fs::create_dir_all(folder.join("keys")).unwrap();
        let secret = "worth nothing";
        std::fs::write(folder.join("password"), secret).unwrap();
        std::fs::write(folder.join("account.hex"), hex::encode(Operator::ours(Address::ZERO).key)).unwrap();
        for validator in (0..VALIDATORS).filter(|validator| Self::has_key(*validator)) {
            let (key, password) = (interop_key(validator).unwrap(), Password::new(secret));
            let keystore = BlsKeystore::encrypt(&key, &password, Strength::Light, "").unwrap();
            let file = folder.join(format!("keys/keystore-{validator}.json"));
            std::fs::write(file, keystore.to_json().unwrap()).unwrap();
        }
        let [port] = free_ports::<1>().unwrap();
        let url = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        Self { process: None, folder, logs: logs.to_owned(), starts: 0, url, http: http_client() }
    }

    /// Writes its configuration.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, told: &Told) {
        std::fs::write(self.folder.join("proposer.toml"), self.config(told)).unwrap();
    }

    /// Starts it on the folder that it had before. Returns once it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(&mut self) {
        self.starts += 1;
        let log = self.logs.join(format!("sidecar-{}.log", self.starts));
        let config = self.folder.join("proposer.toml");
        let started = RoleProcess::start("proposer", &config, &self.url, log.clone()).await;
        self.process = Some(started.unwrap_or_else(|| panic!("the sidecar ended; see {}", log.display())));
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn kill(&mut self) {
        self.process.take().expect("the sidecar runs").kill().await;
    }

    fn config(&self, told: &Told) -> String {
        let opted_in: Vec<String> = (0..VALIDATORS)
            .map(|index| format!("\"{}\"", interop_key(index).unwrap().public_key()))
            .collect();
        let ((relay, pubkey, address), (committer, delegate, gateway)) = (&told.relay, &told.gateway);
        let operator = Operator::ours(*committer);
        let ([first, second], [of_first, of_second]) = (ROLLUPS, VALUES);
        format!(
            "listen = \"127.0.0.1:{port}\"
data_dir = \"{folder}/data\"
beacon = [\"{beacon}\"]
opted_in = [{opted_in}]
# The beacon node waits for a second, and its block should be out after a third of a slot.
header_limit_ms = 600

[network]
genesis_fork_version = \"{version}\"
chain_id = {chain_id}

{registry}
[[relays]]
url = \"{relay}\"
name = \"earnest\"
pubkey = \"{pubkey}\"
earnest = true

[[relays]]
url = \"{mev_boost}\"
name = \"mev-boost\"

[breaker]
open_slots = {BREAKER_SLOTS}

[gateway]
committer = \"{committer}\"
delegate = \"{delegate}\"
url = \"{gateway}\"
rollups = [{first}, {second}]
relay_address = \"{address}\"
account = \"{owner}\"

[market]
contract = \"{market}\"
relay = \"earnest\"
registration_root = \"{root}\"
account_key = {{ file = \"{folder}/account.hex\" }}
budget_wei = \"{BUDGET}\"
values = [
    {{ rollup = \"{first}\", value_wei = \"{of_first}\" }},
    {{ rollup = \"{second}\", value_wei = \"{of_second}\" }},
]

[keys]
dir = \"{folder}/keys\"
passwords = \"{folder}/password\"
layout = \"lodestar\"
",
            port = self.url.port().unwrap(),
            folder = self.folder.display(),
            beacon = told.beacon,
            opted_in = opted_in.join(", "),
            version = hex::encode_prefixed(NETWORK.genesis_fork_version),
            chain_id = NETWORK.chain_id,
            registry = told.registry.to_toml(),
            market = told.registry.addresses.ordering_market,
            owner = operator.owner(),
            root = operator.root(),
            mev_boost = told.mev_boost,
        )
    }

    /// Waits for the next header that is given to the beacon node; false if there is none within `limit`.
    ///
    /// # Panics
    /// If the sidecar does not answer.
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
        let metrics = self.http.get(self.url.join("metrics").unwrap()).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        let name = "earnest_proposer_headers_total{answer=\"served\"} ";
        metrics.lines().find_map(|line| line.strip_prefix(name)).map_or(0, |count| count.parse().unwrap())
    }

    /// Everything it wrote, in the order of its starts, without colours.
    #[must_use]
    pub fn log(&self) -> String {
        let logs = (1..=self.starts).map(|start| self.logs.join(format!("sidecar-{start}.log")));
        logs.map(|log| without_colours(&std::fs::read_to_string(log).unwrap_or_default())).collect()
    }

    /// The slots whose header it gave, with the source's name and how many constraints were proven.
    #[must_use]
    pub fn served(&self) -> BTreeMap<u64, (String, u64)> {
        served(&self.log())
    }
}

fn served(log: &str) -> BTreeMap<u64, (String, u64)> {
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
    };
    let headers = log.lines().filter(|line| line.contains(" header served "));
    let read = |line: &str| {
        let (slot, kept) = (field(line, "slot")?.parse().ok()?, field(line, "kept")?.parse().ok()?);
        Some((slot, (field(line, "source")?, kept)))
    };
    headers.filter_map(read).collect()
}

/// Text without the sequences that colour it.
pub(super) fn without_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_from_a_log_with_colours() {
        let log = "\u{1b}[2m2026\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m header served \u{1b}[3mslot\u{1b}[0m\u{1b}[2m=\u{1b}[0m12 \
                   source=\"earnest\" kept=2 took=3ms\nother slot=13\nx header served slot=14 source=\"mev-boost\" kept=0 took=1ms\n";
        let served = served(&without_colours(log));
        let expected = [(12, ("earnest".to_owned(), 2)), (14, ("mev-boost".to_owned(), 0))];
        assert_eq!(served, BTreeMap::from(expected));
    }
}

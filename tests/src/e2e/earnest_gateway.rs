//! `earnest gateway` as an operator runs it: the binary, a TOML file, keys, a journal, and a process that may die or stand still.

use std::path::{Path, PathBuf};

use alloy_primitives::{Address, hex};
use earnest_bindings::deploy::Addresses;
use earnest_devnet::process::free_ports;
use earnest_protocol::{RollupId, signing::EcdsaSecret};
use url::Url;

use super::{gateway::Gateway, loopback, sidecar::without_colours};
use crate::binary::RoleProcess;

/// The rollups that it orders. The first has an execution client, by which nonces and balances are checked.
pub const ROLLUPS: [RollupId; 2] = [RollupId(42_069), RollupId(42_070)];

/// What the gateway is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// The beacon node.
    pub beacon: Url,
    /// The execution client of L1.
    pub execution: Url,
    /// Where the relay is reached, and its ECDSA address.
    pub relay: (Url, Address),
    /// The contracts on L1.
    pub contracts: Addresses,
    /// The execution client of the first rollup.
    pub rollup: Url,
}

/// A gateway that can be killed, started again, and made to stand still.
#[derive(Debug)]
pub struct EarnestGateway {
    process: Option<RoleProcess>,
    folder: PathBuf,
    logs: PathBuf,
    starts: u32,
    /// Where searchers reach it.
    pub url: Url,
}

/// Who pays for its batches on L1.
///
/// # Panics
/// Never.
#[must_use]
pub fn batch_account() -> Address {
    batch_key().address()
}

fn batch_key() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x59; 32]).unwrap()
}

impl EarnestGateway {
    /// Makes a folder with the keys of `identity`; starts nothing.
    ///
    /// # Panics
    /// If the disk or the system's ports cannot be used.
    #[must_use]
    pub fn prepare(data: &Path, logs: &Path, identity: &Gateway) -> Self {
        let folder = data.join("gateway");
        std::fs::create_dir_all(&folder).unwrap();
        let key = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), hex::encode(bytes)).unwrap();
        key("committer.hex", identity.committer.to_bytes().as_ref());
        key("delegate.hex", identity.delegate.to_bytes().as_ref());
        key("batch.hex", batch_key().to_bytes().as_ref());
        let [port] = free_ports::<1>().unwrap();
        Self { process: None, folder, logs: logs.to_owned(), starts: 0, url: loopback(port) }
    }

    /// Writes its configuration.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn configure(&self, told: &Told) {
        std::fs::write(self.folder.join("gateway.toml"), self.config(told)).unwrap();
    }

    /// Starts it on the journal that it had before. Returns once it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(&mut self) {
        self.starts += 1;
        let log = self.logs.join(format!("gateway-{}.log", self.starts));
        let config = self.folder.join("gateway.toml");
        let started = RoleProcess::start("gateway", &config, &self.url, log.clone()).await;
        self.process = Some(started.unwrap_or_else(|| panic!("the gateway ended; see {}", log.display())));
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn kill(&mut self) {
        self.process.take().expect("the gateway runs").kill().await;
    }

    /// `kill -STOP`: it keeps its connections, and does nothing any more.
    ///
    /// # Panics
    /// If it does not run.
    pub fn hang(&self) {
        self.process.as_ref().expect("the gateway runs").signal("STOP");
    }

    /// `kill -CONT`: it goes on where it stood.
    ///
    /// # Panics
    /// If it does not run.
    pub fn go_on(&self) {
        self.process.as_ref().expect("the gateway runs").signal("CONT");
    }

    /// Everything it wrote, in the order of its starts, without colours.
    #[must_use]
    pub fn log(&self) -> String {
        let logs = (1..=self.starts).map(|start| self.logs.join(format!("gateway-{start}.log")));
        logs.map(|log| without_colours(&std::fs::read_to_string(log).unwrap_or_default())).collect()
    }

    fn config(&self, told: &Told) -> String {
        let [first, second] = ROLLUPS;
        let (relay, relay_address) = &told.relay;
        format!(
            "listen = \"127.0.0.1:{port}\"
data_dir = \"{folder}/data\"
relay = \"{relay}\"
relay_address = \"{relay_address}\"
beacon = [\"{beacon}\"]
execution = \"{execution}\"
inbox = \"{inbox}\"
slasher = \"{slasher}\"
committer_key = {{ file = \"{folder}/committer.hex\" }}
delegate_key = {{ file = \"{folder}/delegate.hex\" }}
batch_key = {{ file = \"{folder}/batch.hex\" }}

[[rollups]]
id = {first}
rpc = \"{rollup}\"

[[rollups]]
id = {second}
",
            port = self.url.port().unwrap(),
            folder = self.folder.display(),
            beacon = told.beacon,
            execution = told.execution,
            inbox = told.contracts.inbox,
            slasher = told.contracts.ordering_slasher,
            rollup = told.rollup,
        )
    }
}

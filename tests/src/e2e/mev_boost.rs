//! mev-boost, between the sidecar and another relay.

use std::{path::PathBuf, time::Duration};

use alloy_primitives::hex;
use earnest_builder_types::BlsPublicKey;
use earnest_devnet::process::{Process, free_ports};
use tokio::process::Command;
use url::Url;

use super::{
    genesis::{Genesis, NETWORK},
    http_client, loopback,
    settings::Settings,
};

const LIMIT: Duration = Duration::from_secs(20);

/// mev-boost, which can be killed and started again.
#[derive(Debug)]
pub struct MevBoost {
    process: Option<Process>,
    program: PathBuf,
    log: PathBuf,
    slot_seconds: u64,
    genesis_time: u64,
    relay: String,
    /// Port that it listens on.
    pub port: u16,
}

impl MevBoost {
    /// What will stand before the relay at `relay`, which signs with `pubkey`. Starts nothing.
    ///
    /// # Panics
    /// If the system has no ports.
    #[must_use]
    pub fn prepare(settings: &Settings, genesis: &Genesis, relay: &Url, pubkey: BlsPublicKey) -> Self {
        let [port] = free_ports::<1>().unwrap();
        Self {
            process: None,
            program: settings.programs.mev_boost.clone(),
            log: settings.logs.join("mev-boost.log"),
            slot_seconds: settings.slot_seconds,
            genesis_time: genesis.time,
            relay: format!("http://{pubkey}@127.0.0.1:{}", relay.port().unwrap()),
            port,
        }
    }

    /// Starts it. Returns once it answers.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["-addr", &format!("127.0.0.1:{}", self.port), "-relays", &self.relay]);
        command.args(["-genesis-fork-version", &hex::encode_prefixed(NETWORK.genesis_fork_version)]);
        command.args(["-genesis-timestamp", &self.genesis_time.to_string(), "-debug"]);
        // Counted from the genesis time, and read from here alone.
        command.env("SLOT_SEC", self.slot_seconds.to_string());
        let mut process = Process::spawn("mev-boost", command, self.log.clone()).unwrap();
        let (http, status) = (http_client(), loopback(self.port).join("eth/v1/builder/status").unwrap());
        let answers =
            async || http.get(status.clone()).send().await.and_then(reqwest::Response::error_for_status);
        process.until(LIMIT, answers).await.unwrap_or_else(|error| panic!("{error}"));
        self.process = Some(process);
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// If it does not run.
    pub async fn kill(&mut self) {
        self.process.take().expect("mev-boost runs").kill().await.unwrap();
    }
}

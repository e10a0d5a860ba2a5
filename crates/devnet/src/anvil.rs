//! A rollup's execution: anvil, in a process of its own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::{Address, U256};
use earnest_chain::{ChainError, ExecutionClient};
use tempfile::TempDir;
use tokio::process::Command;
use url::Url;

use crate::process::{Process, ProcessError, find_in_path, find_in_repository, free_ports};

/// Names anvil's binary, where it is neither in `contracts/node_modules` nor on the `PATH`.
const ANVIL: &str = "EARNEST_ANVIL";
const INSTALLED: &str = "contracts/node_modules/.bin/anvil";
const ADVICE: &str = "run contracts/install (needs Node 20 or later), or put anvil 1.7.1 on the PATH";
/// How often it is started before giving up: another process may take the port in between.
const ATTEMPTS: u8 = 3;

/// How an [`AnvilNode`] is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnvilOptions {
    /// Chain id: the rollup's id.
    pub chain_id: u64,
    /// Seconds between blocks; a block for every transaction if `None`.
    pub block_time: Option<u64>,
    /// How long it may take to answer.
    pub start_limit: Duration,
}

impl AnvilOptions {
    /// A chain that makes a block for every transaction.
    #[must_use]
    pub const fn new(chain_id: u64) -> Self {
        Self { chain_id, block_time: None, start_limit: Duration::from_secs(30) }
    }
}

/// Why there is no anvil.
#[derive(Debug, thiserror::Error)]
pub enum AnvilError {
    /// The program did not come up.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its RPC fails.
    #[error(transparent)]
    Rpc(#[from] ChainError),
    /// Another program answers on its port.
    #[error("chain id {found}, not {expected}")]
    Chain {
        /// As configured.
        expected: u64,
        /// As it says.
        found: u64,
    },
}

/// A running anvil. Killed when dropped.
///
/// It funds the ten accounts of the common development mnemonic with 10,000 ether each.
#[derive(Debug)]
pub struct AnvilNode {
    process: Process,
    rpc: ExecutionClient,
    rpc_url: Url,
    chain_id: u64,
    // After the process, so that it outlives it.
    _folder: TempDir,
}

impl AnvilNode {
    /// Starts anvil and waits until it answers.
    ///
    /// # Errors
    /// [`AnvilError`]: not installed, it ended (with the end of its log), or it was silent for too long.
    pub async fn start(options: &AnvilOptions) -> Result<Self, AnvilError> {
        let anvil = find_anvil()?;
        for _ in 1..ATTEMPTS {
            match Self::try_start(&anvil, options).await {
                Err(AnvilError::Process(ProcessError::Ended { .. })) => {}
                outcome => return outcome,
            }
        }
        Self::try_start(&anvil, options).await
    }

    async fn try_start(anvil: &Path, options: &AnvilOptions) -> Result<Self, AnvilError> {
        let folder = TempDir::with_prefix("earnest-rollup-").map_err(ProcessError::io("make a folder"))?;
        let [port] = free_ports::<1>()?;
        let mut command = Command::new(anvil);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string(), "--hardfork", "prague"]);
        command.args(["--chain-id", &options.chain_id.to_string()]);
        // Anvil keeps a cache of state in its home otherwise.
        command.env("HOME", folder.path()).current_dir(folder.path());
        if let Some(seconds) = options.block_time {
            command.args(["--block-time", &seconds.to_string()]);
        }
        let mut process = Process::spawn("anvil", command, folder.path().join("anvil.log"))?;

        let rpc_url = Url::parse(&format!("http://127.0.0.1:{port}"))
            .map_err(|error| ChainError::Config(error.to_string()))?;
        let rpc = ExecutionClient::new(rpc_url.clone())?;
        let found = process.until(options.start_limit, async || rpc.chain_id().await).await?;
        if found != options.chain_id {
            return Err(AnvilError::Chain { expected: options.chain_id, found });
        }
        tracing::info!(rpc = %rpc_url, chain_id = found, "anvil is up");
        Ok(Self { process, rpc, rpc_url, chain_id: found, _folder: folder })
    }

    /// Where its JSON-RPC answers.
    #[must_use]
    pub const fn rpc_url(&self) -> &Url {
        &self.rpc_url
    }

    /// A client of its JSON-RPC.
    #[must_use]
    pub const fn rpc(&self) -> &ExecutionClient {
        &self.rpc
    }

    /// Its chain id.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Sets an account's balance, in wei.
    ///
    /// # Errors
    /// [`AnvilError::Rpc`] if it does not answer.
    pub async fn fund(&self, account: Address, wei: U256) -> Result<(), AnvilError> {
        self.rpc.call_method::<serde_json::Value>("anvil_setBalance", (account, wei)).await?;
        Ok(())
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// [`AnvilError::Process`] if it cannot be killed.
    pub async fn stop(mut self) -> Result<(), AnvilError> {
        Ok(self.process.kill().await?)
    }
}

fn find_anvil() -> Result<PathBuf, ProcessError> {
    let named = std::env::var_os(ANVIL).map(PathBuf::from).filter(|file| file.is_file());
    named
        .or_else(|| find_in_repository(INSTALLED))
        .or_else(|| find_in_path("anvil", std::env::var_os("PATH").as_deref()))
        .ok_or_else(|| ProcessError::Missing { program: "anvil", advice: ADVICE.into() })
}

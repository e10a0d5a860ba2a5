//! The devnet's L1 execution layer: a real execution client in a process of its own, driven through the Engine API.
//!
//! geth if there is one, else EthereumJS from npm (`crates/devnet/peers/install`). Either way Prague from genesis on, with what the
//! consensus layer's contracts need, and with funded accounts.
//!
//! What was seen of them (geth 1.16.9, EthereumJS 0.10.5), and what a builder on top must know:
//!
//! | | geth | EthereumJS |
//! |---|---|---|
//! | up after | 0.5 to 2 s | 2 s |
//! | `forkchoiceUpdated` with attributes; `getPayload` | 1 to 10 ms; 1 to 10 ms | 40 to 80 ms; 15 to 35 ms |
//! | transactions in the pool before it | in the payload, even if that is fetched at once | the same |
//! | transactions that come after it | in after at most 100 ms (refill interval that we set) | in until `getPayload` |
//! | after the first `getPayload` | the payload stays as it is, also for the same attributes again; other attributes (a later timestamp, another fee recipient) begin anew | the same |
//! | timestamps | greater than the parent's, any distance from the clock | the same |
//! | least tip | 1 wei (as we set it) | 0 |
//! | largest transaction taken by the pool | 128 KiB | at least 128 KiB |

mod binary;
mod engine_client;
mod genesis;
mod jwt;

pub use binary::ExecutionBinary;
pub use engine_client::EngineClient;
pub use genesis::{GenesisError, GenesisOptions};
pub use jwt::JwtSecret;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use alloy_primitives::B256;
use earnest_chain::{ChainError, ExecutionClient};
use tempfile::TempDir;
use url::Url;

use crate::{
    beacon::{Engine, EngineError},
    process::{Process, ProcessError, free_ports},
};

/// How often a client is started before giving up: another process may take a port in between.
const ATTEMPTS: u8 = 3;

/// How an [`ExecutionNode`] is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionOptions {
    /// The chain.
    pub genesis: GenesisOptions,
    /// The client; looked for if `None` ([`ExecutionBinary::find`]).
    pub binary: Option<ExecutionBinary>,
    /// Where the chain, the log and the Engine API's secret are kept. A temporary folder if `None`, gone with the node.
    pub data_dir: Option<PathBuf>,
    /// How long it may take to answer.
    pub start_limit: Duration,
}

impl Default for ExecutionOptions {
    fn default() -> Self {
        Self {
            genesis: GenesisOptions::default(),
            binary: None,
            data_dir: None,
            start_limit: Duration::from_secs(60),
        }
    }
}

/// Why there is no execution client.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The program did not come up.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The genesis cannot be made.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// The client's RPC fails.
    #[error(transparent)]
    Rpc(#[from] ChainError),
    /// It runs another chain.
    #[error("the execution client has chain id {found}, not {expected}")]
    Chain {
        /// As configured.
        expected: u64,
        /// As it says.
        found: u64,
    },
    /// It answers neither block 0 nor its hash.
    #[error("the execution client has no genesis block")]
    NoGenesis,
}

/// A running execution client. Killed when dropped.
#[derive(Debug)]
pub struct ExecutionNode {
    process: Process,
    rpc: ExecutionClient,
    rpc_url: Url,
    engine: EngineClient,
    genesis_hash: B256,
    name: &'static str,
    // After the process, so that it outlives it.
    _temporary: Option<TempDir>,
}

impl ExecutionNode {
    /// Starts a client and waits until both of its APIs answer.
    ///
    /// # Errors
    /// [`ExecutionError`]: none found, it ended (with the end of its log), or it was silent for too long.
    pub async fn start(options: &ExecutionOptions) -> Result<Self, ExecutionError> {
        for _ in 1..ATTEMPTS {
            match Self::try_start(options).await {
                Err(ExecutionError::Process(ProcessError::Ended { .. })) => {}
                outcome => return outcome,
            }
        }
        Self::try_start(options).await
    }

    async fn try_start(options: &ExecutionOptions) -> Result<Self, ExecutionError> {
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => ExecutionBinary::find()?,
        };
        let temporary = match options.data_dir {
            Some(_) => None,
            None => Some(TempDir::with_prefix("earnest-l1-").map_err(ProcessError::io("make a folder"))?),
        };
        let folder = match (&options.data_dir, &temporary) {
            (Some(folder), _) => folder.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => PathBuf::new(),
        };
        std::fs::create_dir_all(&folder).map_err(ProcessError::io("make the data folder"))?;
        let files = Files { genesis: folder.join("genesis.json"), secret: folder.join("jwt.hex"), folder };
        let secret = JwtSecret::random();
        write(&files.genesis, &options.genesis.to_json()?)?;
        write(&files.secret, &secret.to_hex())?;

        let ports = free_ports::<3>()?;
        let [rpc_port, engine_port, _] = ports;
        let name = binary.name();
        let log = files.folder.join("execution.log");
        let command = binary.command(&files, ports, options.genesis.chain_id, &log).await?;
        let mut process = Process::spawn(name, command, log)?;

        let rpc_url = loopback(rpc_port)?;
        let rpc = ExecutionClient::new(rpc_url.clone())?;
        let engine = EngineClient::new(loopback(engine_port)?, rpc.clone(), secret)?;
        let found = process
            .until(options.start_limit, async || {
                engine.capabilities().await?;
                engine.latest_block().await?;
                rpc.chain_id().await.map_err(|error| EngineError::Unreachable(error.to_string()))
            })
            .await?;
        let expected = options.genesis.chain_id;
        if found != expected {
            return Err(ExecutionError::Chain { expected, found });
        }
        let genesis = rpc.block(0.into()).await?.ok_or(ExecutionError::NoGenesis)?;
        tracing::info!(client = name, rpc = %rpc_url, genesis = %genesis.header.hash, "execution client is up");
        Ok(Self {
            process,
            rpc,
            rpc_url,
            engine,
            genesis_hash: genesis.header.hash,
            name,
            _temporary: temporary,
        })
    }

    /// Where its public JSON-RPC answers.
    #[must_use]
    pub const fn rpc_url(&self) -> &Url {
        &self.rpc_url
    }

    /// A client of its public JSON-RPC.
    #[must_use]
    pub const fn rpc(&self) -> &ExecutionClient {
        &self.rpc
    }

    /// A handle on its Engine API.
    #[must_use]
    pub const fn engine(&self) -> &EngineClient {
        &self.engine
    }

    /// Hash of block 0.
    #[must_use]
    pub const fn genesis_block_hash(&self) -> B256 {
        self.genesis_hash
    }

    /// Which client it is: `geth` or `ethereumjs`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Waits until it ends by itself, which is a fault; gives its exit status.
    ///
    /// # Errors
    /// [`ExecutionError::Process`] if it cannot be waited for.
    pub async fn ended(&mut self) -> Result<String, ExecutionError> {
        Ok(self.process.ended().await?)
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// [`ExecutionError::Process`] if it cannot be killed.
    pub async fn stop(mut self) -> Result<(), ExecutionError> {
        Ok(self.process.kill().await?)
    }
}

/// What a client is given on disk.
#[derive(Debug)]
struct Files {
    folder: PathBuf,
    genesis: PathBuf,
    secret: PathBuf,
}

fn write(path: &Path, text: &str) -> Result<(), ProcessError> {
    std::fs::write(path, text).map_err(ProcessError::io("write a file of the execution client"))
}

fn loopback(port: u16) -> Result<Url, ChainError> {
    Url::parse(&format!("http://127.0.0.1:{port}")).map_err(|error| ChainError::Config(error.to_string()))
}

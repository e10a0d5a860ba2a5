//! Which execution client there is, and how it is started.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::Files;
use crate::process::{ProcessError, end_of, find_in_path, find_in_repository};

/// Chooses the client: `geth` or `ethereumjs`.
const CHOICE: &str = "EARNEST_EXECUTION_CLIENT";
/// EthereumJS's `cli.js`, where it is not in `crates/devnet/peers`.
const ETHEREUMJS: &str = "EARNEST_ETHEREUMJS";
const ETHEREUMJS_INSTALLED: &str = "crates/devnet/peers/node_modules/@ethereumjs/client/dist/esm/bin/cli.js";
const ADVICE: &str = "put geth on the PATH, or run crates/devnet/peers/install (needs Node 20 or later), \
    or set EARNEST_ETHEREUMJS to the dist/esm/bin/cli.js of @ethereumjs/client 0.10.5";

/// An execution client that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecutionBinary {
    /// geth.
    Geth {
        /// Its binary.
        geth: PathBuf,
    },
    /// EthereumJS.
    EthereumJs {
        /// Node's binary.
        node: PathBuf,
        /// `dist/esm/bin/cli.js` of `@ethereumjs/client`.
        script: PathBuf,
    },
}

impl ExecutionBinary {
    /// Looks for one: geth on the `PATH`, else EthereumJS where `EARNEST_ETHEREUMJS` says or
    /// `crates/devnet/peers/install` puts it. `EARNEST_EXECUTION_CLIENT` (`geth`, `ethereumjs`) allows only one.
    ///
    /// # Errors
    /// [`ProcessError::Missing`], which says how to get one.
    pub fn find() -> Result<Self, ProcessError> {
        let found = match std::env::var(CHOICE).as_deref() {
            Ok("geth") => Self::find_geth(),
            Ok("ethereumjs") => Self::find_ethereumjs(),
            Ok(other) => {
                let advice = format!("{CHOICE} is {other}; it may be geth or ethereumjs");
                return Err(ProcessError::Missing { program: "execution client", advice });
            }
            Err(_) => Self::find_geth().or_else(Self::find_ethereumjs),
        };
        found.ok_or_else(|| ProcessError::Missing { program: "execution client", advice: ADVICE.into() })
    }

    /// geth on the `PATH`.
    #[must_use]
    pub fn find_geth() -> Option<Self> {
        let geth = find_in_path("geth", std::env::var_os("PATH").as_deref())?;
        Some(Self::Geth { geth })
    }

    /// EthereumJS, and Node on the `PATH`.
    #[must_use]
    pub fn find_ethereumjs() -> Option<Self> {
        let node = find_in_path("node", std::env::var_os("PATH").as_deref())?;
        let script = match std::env::var_os(ETHEREUMJS) {
            Some(script) => Some(PathBuf::from(script)).filter(|script| script.is_file()),
            None => find_in_repository(ETHEREUMJS_INSTALLED),
        };
        Some(Self::EthereumJs { node, script: script? })
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Geth { .. } => "geth",
            Self::EthereumJs { .. } => "ethereumjs",
        }
    }

    /// The command that runs it, prepared: geth writes its genesis first. `ports` are RPC, engine and peers.
    pub(super) async fn command(
        &self,
        files: &Files,
        ports: [u16; 3],
        chain_id: u64,
        log: &Path,
    ) -> Result<Command, ProcessError> {
        let [rpc, engine, peers] = ports.map(|port| port.to_string());
        match self {
            Self::Geth { geth } => {
                init_geth(geth, files, log).await?;
                let mut command = Command::new(geth);
                command.arg("--datadir").arg(&files.folder).arg("--authrpc.jwtsecret").arg(&files.secret);
                command.args(["--networkid", &chain_id.to_string()]);
                command.args(["--http", "--http.addr", "127.0.0.1", "--http.port", &rpc]);
                command.args(["--http.api", "eth,net,web3,txpool,debug", "--http.vhosts", "*"]);
                command.args(["--authrpc.addr", "127.0.0.1", "--authrpc.port", &engine]);
                command.args([
                    "--nodiscover",
                    "--maxpeers",
                    "0",
                    "--port",
                    "0",
                    "--nat",
                    "none",
                    "--ipcdisable",
                ]);
                command.args(["--syncmode", "full", "--gcmode", "archive", "--cache", "64"]);
                command.args([
                    "--miner.recommit",
                    "100ms",
                    "--miner.gasprice",
                    "1",
                    "--txpool.pricelimit",
                    "1",
                ]);
                Ok(command)
            }
            Self::EthereumJs { node, script } => {
                let mut command = Command::new(node);
                command
                    .arg(script)
                    .arg("--gethGenesis")
                    .arg(&files.genesis)
                    .arg("--dataDir")
                    .arg(&files.folder);
                command.arg("--jwtSecret").arg(&files.secret);
                command.args(["--rpc", "--rpcAddr", "127.0.0.1", "--rpcPort", &rpc]);
                command.args(["--rpcEngine", "--rpcEngineAddr", "127.0.0.1", "--rpcEnginePort", &engine]);
                command.args(["--rpcEngineAuth", "true", "--saveReceipts", "true", "--logRotate", "false"]);
                command.args([
                    "--isSingleNode",
                    "--maxPeers",
                    "0",
                    "--discDns",
                    "false",
                    "--discV4",
                    "false",
                ]);
                command.args(["--sync", "none", "--port", &peers, "--extIP", "127.0.0.1"]);
                Ok(command)
            }
        }
    }
}

async fn init_geth(geth: &Path, files: &Files, log: &Path) -> Result<(), ProcessError> {
    let output =
        File::options().create(true).append(true).open(log).map_err(ProcessError::io("open geth's log"))?;
    let errors = output.try_clone().map_err(ProcessError::io("open geth's log"))?;
    let mut init = Command::new(geth);
    init.arg("init").arg("--datadir").arg(&files.folder).arg(&files.genesis);
    init.stdin(Stdio::null()).stdout(output).stderr(errors).kill_on_drop(true);
    let status = init.status().await.map_err(ProcessError::io("start geth init"))?;
    if status.success() {
        return Ok(());
    }
    Err(ProcessError::Ended { program: "geth init", status: status.to_string(), log: end_of(log) })
}

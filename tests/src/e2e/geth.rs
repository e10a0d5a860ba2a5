//! geth, as the beacon node's execution client and as the builder's.

use std::{path::Path, time::Duration};

use earnest_chain::ExecutionClient;
use earnest_devnet::{
    execution::{EngineClient, JwtSecret},
    process::{Process, free_ports},
};
use tokio::process::Command;
use url::Url;

use super::{
    genesis::{GAS_LIMIT, Genesis, NETWORK},
    loopback,
    settings::Settings,
};

/// How long it may take to answer.
const LIMIT: Duration = Duration::from_secs(60);

/// A running geth. Killed when dropped.
#[derive(Debug)]
pub struct Geth {
    /// The process.
    pub process: Process,
    /// Its public JSON-RPC.
    pub rpc: ExecutionClient,
    /// Where its public JSON-RPC answers.
    pub rpc_url: Url,
    /// Its Engine API.
    pub engine: EngineClient,
    /// Where its Engine API answers.
    pub engine_url: Url,
}

impl Geth {
    /// Starts one from the genesis block, in a folder of its own in `data`. The secret of its Engine API is the file
    /// `jwt.hex` there.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn start(settings: &Settings, data: &Path, genesis: &Genesis, name: &str) -> Self {
        let folder = data.join(name);
        std::fs::create_dir(&folder).unwrap();
        let log = settings.logs.join(format!("{name}.log"));
        let program = &settings.programs.geth;
        let mut init = Command::new(program);
        init.arg("init").arg("--datadir").arg(&folder).arg(&genesis.execution);
        let mut init = Process::spawn("geth init", init, log.clone()).unwrap();
        let made = tokio::time::timeout(LIMIT, init.ended()).await.expect("geth init does not end").unwrap();

        // Unless told that there is no address, geth listens for peers on all interfaces, also where it may have none.
        std::fs::write(folder.join("geth.toml"), "[Node.P2P]\nListenAddr = \"\"\n").unwrap();
        let secret = JwtSecret::random();
        std::fs::write(folder.join("jwt.hex"), secret.to_hex()).unwrap();
        let [rpc_port, engine_port] = free_ports::<2>().unwrap();
        let mut command = Command::new(program);
        command.arg("--datadir").arg(&folder).arg("--config").arg(folder.join("geth.toml"));
        command.arg("--authrpc.jwtsecret").arg(folder.join("jwt.hex"));
        let chain_id = NETWORK.chain_id;
        let flags = format!(
            "--networkid {chain_id} --syncmode full --nodiscover --maxpeers 0 --nat none --ipcdisable \
             --http --http.addr 127.0.0.1 --http.port {rpc_port} --http.api eth,net,web3,txpool,debug \
             --authrpc.addr 127.0.0.1 --authrpc.port {engine_port} --cache 64 --miner.gaslimit {GAS_LIMIT}"
        );
        command.args(flags.split_ascii_whitespace());
        let mut process = Process::spawn("geth", command, log).unwrap();
        let rpc_url = loopback(rpc_port);
        let rpc = ExecutionClient::new(rpc_url.clone()).unwrap();
        let engine_url = loopback(engine_port);
        let engine = EngineClient::new(engine_url.clone(), rpc.clone(), secret).unwrap();
        let found = process.until(LIMIT, async || rpc.chain_id().await).await;
        let found = found.unwrap_or_else(|error| panic!("geth init ended ({made}), and then: {error}"));
        assert_eq!(found, chain_id);
        Self { process, rpc, rpc_url, engine, engine_url }
    }
}

//! `earnest`: every role of a based-sequencing preconfirmation gateway in one binary.

mod contracts;
mod devnet;
mod failure;
mod follow;
mod keys;
mod lifecycle;
mod load;
mod market;
mod proposer;
mod role;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Based-sequencing preconfirmations: signed, slashable places in a rollup's order, carried by Ethereum's validators.
#[derive(Debug, Parser)]
#[command(name = "earnest", version, propagate_version = true)]
struct Arguments {
    /// Logs as JSON lines.
    #[arg(long, global = true, env = "EARNEST_LOG_JSON")]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a relay: Builder API, constraints, delegations.
    Relay(role::RoleArgs),
    /// Run a gateway: takes transactions, orders and signs them, posts batches to L1.
    Gateway(role::RoleArgs),
    /// Run a validator's sidecar, where its beacon node expects mev-boost; its other commands are about its protection record and its operator on L1.
    Proposer(proposer::ProposerArgs),
    /// Run the whole system in one process, over a real execution client.
    Devnet(devnet::DevnetArgs),
    /// Follow a gateway's stream and check all of it.
    Follow(Box<follow::FollowArgs>),
    /// Check a receipt offline.
    Verify(verify::VerifyArgs),
    /// Show a slot's auction, or compute it again and say what is wrong with it.
    #[command(subcommand)]
    Market(market::MarketCommand),
    /// Load a server and measure it.
    #[command(subcommand)]
    Load(load::LoadCommand),
    /// Put the contracts onto L1.
    #[command(subcommand)]
    Contracts(contracts::ContractsCommand),
    /// Make, import and list keys.
    Keys(keys::KeysArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let default_level = match &arguments.command {
        Command::Relay(_) | Command::Gateway(_) => "info",
        Command::Proposer(proposer) if proposer.is_the_role() => "info",
        Command::Devnet(devnet) => devnet.log_level(),
        Command::Load(load) => load.log_level(),
        _ => "warn",
    };
    start_logs(arguments.log_json, default_level);
    earnest_client::install_tls_provider();
    match run(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("earnest: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Relay(args) => role::relay(args).await,
            Command::Gateway(args) => role::gateway(args).await,
            Command::Proposer(args) => proposer::run(args).await,
            Command::Devnet(args) => devnet::run(args).await,
            Command::Follow(args) => follow::run(*args).await,
            Command::Verify(args) => verify::run(&args),
            Command::Market(command) => market::run(command).await,
            Command::Load(command) => load::run(command).await.map(|()| ExitCode::SUCCESS),
            Command::Contracts(command) => contracts::run(command).await,
            Command::Keys(args) => keys::run(args).map(|()| ExitCode::SUCCESS),
        }
    })
}

fn start_logs(json: bool, default_level: &str) {
    let filter = EnvFilter::try_from_env("EARNEST_LOG").unwrap_or_else(|_| EnvFilter::new(default_level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_target(false).init();
    }
}

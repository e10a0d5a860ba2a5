//! `earnest load`: open-loop load, so that a slow server cannot hide its delay by slowing the generator down.

mod gateway;
mod open_loop;
mod relay;
mod sidecar;

use clap::Subcommand;
use url::Url;

use crate::failure::Failure;

/// What to load.
#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// Submit signed transactions to a gateway at a fixed rate.
    Gateway(gateway::GatewayLoad),
    /// Ask a relay for headers and the like, or post blocks and registrations, and measure it.
    Relay(Box<relay::RelayLoad>),
    /// Ask a proposer sidecar that runs in this process for headers, and measure what it adds.
    Sidecar(sidecar::SidecarLoad),
}

impl LoadCommand {
    /// What is logged unless said otherwise.
    pub(crate) fn log_level(&self) -> &'static str {
        match self {
            Self::Gateway(_) => "warn",
            // The sidecar's logs are part of what it costs; a beacon node is missing on purpose.
            Self::Sidecar(_) => "error,earnest_proposer::get_header=info",
            Self::Relay(options) => options.log_level(),
        }
    }
}

/// Runs the load and prints the report.
///
/// # Errors
/// When the server does not answer at all, or not once as it should.
pub(crate) async fn run(command: LoadCommand) -> Result<(), Failure> {
    match command {
        LoadCommand::Gateway(options) => gateway::run(&options).await,
        LoadCommand::Relay(options) => relay::run(&options).await,
        LoadCommand::Sidecar(options) => sidecar::run(&options).await,
    }
}

/// `path` below the base URL.
pub(crate) fn join(base: &Url, path: &str) -> Result<Url, Failure> {
    let mut base = base.clone();
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    base.join(path).map_err(|e| Failure::new(format!("{base}{path}: {e}")))
}

//! `earnest contracts`: the contracts onto L1.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use earnest_bindings::deploy::{Parameters, plan};
use earnest_chain::ExecutionClient;
use earnest_client::L1Account;
use earnest_signer::KeyFile;
use url::Url;

use crate::failure::Failure;

/// What can be done with the contracts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContractsCommand {
    /// Deploy what is not there yet, to addresses that the parameters alone decide, and write the addresses file.
    Deploy(DeployArgs),
}

/// Options of `earnest contracts deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// Execution client of L1.
    #[arg(long)]
    rpc: Url,
    /// Parameters of the deployment (JSON), as contracts/script/parameters.json.
    #[arg(long)]
    parameters: PathBuf,
    /// Key of the account that pays: a keystore, or a file with 32 bytes in hexadecimal.
    #[arg(long)]
    key_file: PathBuf,
    /// The keystore's password file.
    #[arg(long)]
    password_file: Option<PathBuf>,
    /// Where the addresses are written (JSON).
    #[arg(long)]
    out: PathBuf,
    /// Send nothing: say what would be done, and write the addresses that come of it.
    #[arg(long)]
    dry_run: bool,
    /// Seconds for each contract to get into a block.
    #[arg(long, default_value_t = 300)]
    limit: u64,
}

pub(crate) async fn run(command: ContractsCommand) -> Result<ExitCode, Failure> {
    match command {
        ContractsCommand::Deploy(args) => deploy(args).await,
    }
}

async fn deploy(args: DeployArgs) -> Result<ExitCode, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    let path = args.parameters.display();
    let text = std::fs::read_to_string(&args.parameters)
        .map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let parameters: Parameters =
        serde_json::from_str(&text).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let plan = plan(&parameters).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let key = KeyFile { file: args.key_file, password_file: args.password_file };
    let secret = key.ecdsa().map_err(|error| failed(&error))?;
    let client = ExecutionClient::new(args.rpc).map_err(|error| failed(&error))?;
    let account = L1Account::new(client, secret, parameters.chain_id);

    let made = if args.dry_run {
        account.survey(&plan).await
    } else {
        account.deploy(&plan, Duration::from_secs(args.limit)).await
    };
    for contract in made.map_err(|error| failed(&error))? {
        let what = match (contract.gas, args.dry_run) {
            (None, _) => "is there".to_owned(),
            (Some(gas), true) => format!("would be deployed, with at most {gas} gas"),
            (Some(gas), false) => format!("deployed with {gas} gas"),
        };
        println!("{:<16} {} {what}", contract.name, contract.address);
    }
    let addresses = serde_json::to_string_pretty(&plan.addresses).map_err(|error| failed(&error))?;
    std::fs::write(&args.out, addresses + "\n")
        .map_err(|error| Failure::new(format!("{}: {error}", args.out.display())))?;
    Ok(ExitCode::SUCCESS)
}

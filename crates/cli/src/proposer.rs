//! `earnest proposer`: the sidecar itself, `protection export | import` of its record, and what its operator does on L1.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use earnest_chain::BeaconClient;
use earnest_journal::{Journal, Options};
use earnest_proposer::Config;
use earnest_proposer::protection::{self, Interchange, horizon};

use crate::failure::Failure;
use crate::lifecycle::{self, LifecycleCommand};
use crate::role::{self, RoleArgs, cause};

/// Largest interchange file, in bytes.
const MAX_FILE: u64 = 256 << 20;

/// Options of `earnest proposer`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ProposerArgs {
    #[command(flatten)]
    role: Option<RoleArgs>,
    #[command(subcommand)]
    command: Option<ProposerCommand>,
}

#[derive(Debug, Subcommand)]
enum ProposerCommand {
    /// The record of every delegation ever signed. The sidecar must be stopped.
    #[command(subcommand)]
    Protection(ProtectionCommand),
    #[command(flatten)]
    Lifecycle(Box<LifecycleCommand>),
}

impl ProposerArgs {
    /// Whether it is the sidecar, which runs on and logs, and none of its commands.
    pub(crate) const fn is_the_role(&self) -> bool {
        self.command.is_none()
    }
}

#[derive(Debug, Subcommand)]
enum ProtectionCommand {
    /// Write the record to a file, for a move to another host or as a backup.
    Export {
        #[command(flatten)]
        role: RoleArgs,
        /// The new file; `-` is the standard output.
        file: PathBuf,
    },
    /// Take a file into the record of this host. Nothing is signed afterwards for slots up to a floor that the file does not hold.
    Import {
        #[command(flatten)]
        role: RoleArgs,
        /// The file; `-` is the standard input.
        file: PathBuf,
        /// The last slot that may have been signed for since the file was written. Without it: the end of the next epoch, asked
        /// of the beacon node, which is always safe. 0, only if the old host was stopped before the file was written.
        #[arg(long)]
        floor: Option<u64>,
    },
}

pub(crate) async fn run(args: ProposerArgs) -> Result<ExitCode, Failure> {
    match (args.command, args.role) {
        (Some(ProposerCommand::Protection(command)), _) => protect(command).await.map(|()| ExitCode::SUCCESS),
        (Some(ProposerCommand::Lifecycle(command)), _) => lifecycle::run(*command).await,
        (None, Some(role)) => role::proposer(role).await,
        (None, None) => Err(Failure::new("--config is missing: the sidecar's TOML file".to_owned())),
    }
}

async fn protect(command: ProtectionCommand) -> Result<(), Failure> {
    match command {
        ProtectionCommand::Export { role, file } => {
            let config: Config = role::read(&role)?;
            let journal = open(&config)?;
            let record = protection::export(&journal, &config.network).map_err(cause)?;
            journal.close();
            let text = serde_json::to_vec_pretty(&record).map_err(cause)?;
            write(&file, &text)?;
            let places: usize = record.data.iter().map(|key| key.signed_delegations.len()).sum();
            eprintln!("{places} delegations of {} keys written", record.data.len());
        }
        ProtectionCommand::Import { role, file, floor } => {
            let config: Config = role::read(&role)?;
            let record: Interchange = serde_json::from_slice(&read(&file)?)
                .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?;
            let floor = match floor {
                Some(floor) => floor,
                None => safe_floor(&config).await?,
            };
            let journal = open(&config)?;
            let floor_of_all = (floor > 0).then_some(floor);
            let imported =
                protection::import(&journal, &record, &config.network, floor_of_all).map_err(cause);
            journal.close();
            let imported = imported?;
            eprintln!("{} delegations added, {} were known; floor {floor}", imported.added, imported.known);
        }
    }
    Ok(())
}

/// The end of the next epoch, by the clock and by the beacon node's head, whichever is later: a clock that runs behind must not
/// lower the floor.
async fn safe_floor(config: &Config) -> Result<u64, Failure> {
    let failed = |error: String| {
        Failure::new(format!(
            "{error}; without a beacon node, give --floor: the last slot that may have been signed for"
        ))
    };
    let beacon = BeaconClient::new(config.beacon.clone()).map_err(|error| failed(error.to_string()))?;
    let spec = beacon.spec().await.map_err(|error| failed(error.to_string()))?;
    let genesis = beacon.genesis().await.map_err(|error| failed(error.to_string()))?;
    let clock = spec.slot_clock(&genesis).map_err(|error| failed(error.to_string()))?;
    let head = beacon.head().await.map_err(|error| failed(error.to_string()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let slot = clock.slot_at(now_ms).unwrap_or(0).max(head.slot);
    Ok(horizon(slot, clock.slots_per_epoch()))
}

fn open(config: &Config) -> Result<Journal, Failure> {
    let options = Options { free_space_floor: config.free_space_floor, ..Options::default() };
    Journal::open(&config.data_dir, options).map_err(cause)
}

/// Never over a file that is there: it may be the only backup.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("{}: {error}", path.display()));
    if path == Path::new("-") {
        return io::stdout().write_all(bytes).map_err(failed);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: io::Error| Failure::new(format!("{}: {error}", path.display()));
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut bytes = Vec::new();
    source.take(MAX_FILE.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_FILE {
        return Err(Failure::new(format!("{}: larger than {MAX_FILE} bytes", path.display())));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Whole {
        #[command(flatten)]
        proposer: ProposerArgs,
    }

    fn parse(arguments: &[&str]) -> Result<ProposerArgs, clap::Error> {
        Whole::try_parse_from([&["proposer"], arguments].concat()).map(|whole| whole.proposer)
    }

    async fn call(arguments: &[&str]) -> Result<ExitCode, String> {
        run(parse(arguments).unwrap()).await.map_err(|failure| failure.to_string())
    }

    #[tokio::test]
    async fn a_record_goes_out_and_comes_in_with_a_floor() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            "data_dir = {:?}\nbeacon = [\"http://127.0.0.1:9\"]\nfree_space_floor = 0\n\
             [network]\ngenesis_fork_version = \"0x10000910\"\nchain_id = 560048\n\
             [[relays]]\nurl = \"http://127.0.0.1:9\"\n",
            path("record")
        );
        std::fs::write(path("p.toml"), text).unwrap();
        let (config, file, again) = (path("p.toml"), path("out.json"), path("again.json"));
        let protection = |command: &'static str| vec!["protection", command, "--config", &config];
        call(&[protection("export"), vec![&file]].concat()).await.unwrap();
        let refused = call(&[protection("export"), vec![&file]].concat()).await.unwrap_err();
        assert!(refused.contains("out.json"), "never over a backup: {refused}");
        let refused = call(&[protection("import"), vec![&file]].concat()).await.unwrap_err();
        assert!(refused.contains("give --floor"), "without a beacon node the floor is not known: {refused}");
        call(&[protection("import"), vec![&file, "--floor", "900"]].concat()).await.unwrap();
        call(&[protection("export"), vec![&again]].concat()).await.unwrap();
        let record: Interchange = serde_json::from_slice(&std::fs::read(&again).unwrap()).unwrap();
        assert_eq!(record.metadata.floor.map(|slot| slot.0), Some(900));
        std::fs::write(&file, "{}").unwrap();
        assert!(call(&[protection("import"), vec![&file, "--floor", "1"]].concat()).await.is_err());
    }

    #[tokio::test]
    async fn without_a_command_it_is_the_sidecar_and_needs_its_file() {
        assert!(parse(&[]).unwrap_err().to_string().contains("--config"));
        assert!(parse(&["--config", "x", "protection", "export", "y"]).is_err());
        assert!(call(&["--config", "/no/such/file"]).await.unwrap_err().contains("/no/such/file"));
    }
}

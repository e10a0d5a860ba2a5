//! `earnest relay | gateway | proposer`: a role from its configuration file, until a signal ends it.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Prefix of environment variables that override keys: `EARNEST_LISTEN` overrides `listen`.
const PREFIX: &str = "EARNEST_";
/// Variables with the prefix that are not keys of a configuration.
const NOT_KEYS: [&str; 4] = ["EARNEST_LOG", "EARNEST_LOG_JSON", "EARNEST_ETHEREUMJS", "EARNEST_ANVIL"];

/// Options of every role.
#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// The role's TOML file; `config/` has one for each role that explains every key.
    #[arg(long)]
    pub(crate) config: PathBuf,
}

pub(crate) async fn relay(args: RoleArgs) -> Result<ExitCode, Failure> {
    let stop = on_signal()?;
    let running = earnest_relay::start(read(&args)?, stop).await.map_err(cause)?;
    running.join().await.map_err(cause)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn gateway(args: RoleArgs) -> Result<ExitCode, Failure> {
    let stop = on_signal()?;
    let running = earnest_gateway::start(read(&args)?, stop).await.map_err(cause)?;
    running.join().await.map_err(cause)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn proposer(args: RoleArgs) -> Result<ExitCode, Failure> {
    let stop = on_signal()?;
    let running = earnest_proposer::start(read(&args)?, stop).await.map_err(cause)?;
    running.join().await.map_err(cause)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn cause(error: impl std::fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// A token that SIGINT and SIGTERM cancel.
pub(crate) fn on_signal() -> Result<CancellationToken, Failure> {
    let failed = |error| Failure::new(format!("signals cannot be watched: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: no new work, what is in flight ends");
        cancel.cancel();
    });
    Ok(token)
}

pub(crate) fn read<T: DeserializeOwned>(args: &RoleArgs) -> Result<T, Failure> {
    let path = args.config.display();
    let text =
        std::fs::read_to_string(&args.config).map_err(|error| Failure::new(format!("{path}: {error}")))?;
    let variables = std::env::vars().filter(|(name, _)| !NOT_KEYS.contains(&name.as_str()));
    parse(&text, variables).map_err(|error| Failure::new(format!("{path}: {error}")))
}

/// The configuration of a TOML text, with top-level keys overridden by variables.
///
/// # Errors
/// A sentence that names the key.
pub(crate) fn parse<T: DeserializeOwned>(
    text: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<T, String> {
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    for (name, value) in variables {
        let Some(key) = name.strip_prefix(PREFIX) else { continue };
        table.insert(key.to_ascii_lowercase(), value_of(&value));
    }
    table.try_into().map_err(|error: toml::de::Error| error.to_string())
}

/// A variable's value as TOML where it is TOML (numbers, lists, booleans), else as a string.
fn value_of(text: &str) -> toml::Value {
    let parsed: Option<toml::Value> =
        format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        listen: String,
        #[serde(default)]
        queue: usize,
    }

    #[test]
    fn variables_override_keys() {
        let set = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            parse::<Sample>("listen = \"a\"\nqueue = 1", pairs.into_iter())
        };
        assert_eq!(set(&[]), Ok(Sample { listen: "a".into(), queue: 1 }));
        assert_eq!(
            set(&[("EARNEST_QUEUE", "7"), ("HOME", "x")]),
            Ok(Sample { listen: "a".into(), queue: 7 })
        );
        assert_eq!(set(&[("EARNEST_LISTEN", "b:1")]), Ok(Sample { listen: "b:1".into(), queue: 1 }));
        assert!(set(&[("EARNEST_QUEUES", "7")]).unwrap_err().contains("queues"));
    }
}

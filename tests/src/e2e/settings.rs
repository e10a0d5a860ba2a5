//! What can be set from outside, and where things are.

use std::path::{Path, PathBuf};

/// Seconds of a slot. On a busy machine 6 leave the peers more room.
const SLOT_SECONDS: &str = "E2E_SLOT_SECONDS";
/// Folder of the peers' programs.
const PROGRAMS: &str = "E2E_PEERS";
/// The one network to run.
const ONLY: &str = "E2E_NETWORK";

/// The peers' programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// geth.
    pub geth: PathBuf,
    /// Prysm's beacon node.
    pub beacon_chain: PathBuf,
    /// Prysm's validator client.
    pub validator: PathBuf,
    /// Prysm's tool that makes genesis states.
    pub prysmctl: PathBuf,
    /// mev-boost.
    pub mev_boost: PathBuf,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seconds of a slot: 4, or what `E2E_SLOT_SECONDS` says.
    pub slot_seconds: u64,
    /// The peers' programs: in `target/peers/bin`, or where `E2E_PEERS` says.
    pub programs: Programs,
    /// Folder of the run's logs, which stays.
    pub logs: PathBuf,
    /// The one network to run, of all: what `E2E_NETWORK` says.
    pub only: Option<String>,
}

impl Settings {
    /// From the environment; makes the folder for the logs.
    ///
    /// # Panics
    /// If a program is missing or a value makes no sense.
    #[must_use]
    pub fn from_environment() -> Self {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let slot_seconds = std::env::var(SLOT_SECONDS).map_or(4, |text| {
            let seconds = text.parse().ok().filter(|seconds| (3..=12).contains(seconds));
            seconds.unwrap_or_else(|| panic!("{SLOT_SECONDS} is {text}; it may be 3 to 12"))
        });
        let bin = std::env::var_os(PROGRAMS).map_or_else(|| target.join("peers/bin"), PathBuf::from);
        let program = |name: &str| {
            let path = bin.join(name);
            assert!(path.is_file(), "{} is not there: `make e2e-peers` builds it", path.display());
            path
        };
        let programs = Programs {
            geth: program("geth"),
            beacon_chain: program("beacon-chain"),
            validator: program("validator"),
            prysmctl: program("prysmctl"),
            mev_boost: program("mev-boost"),
        };
        let logs = target.join("e2e-logs").join(format!("{}", crate::patience::now_ms() / 1000));
        std::fs::create_dir_all(&logs).unwrap();
        let logs = logs.canonicalize().unwrap();
        Self { slot_seconds, programs, logs, only: std::env::var(ONLY).ok() }
    }

    /// The same with a folder of its own for logs.
    ///
    /// # Panics
    /// If it cannot be made.
    #[must_use]
    pub fn with_logs_in(&self, folder: &str) -> Self {
        let logs = self.logs.join(folder);
        std::fs::create_dir_all(&logs).unwrap();
        Self { logs, ..self.clone() }
    }
}

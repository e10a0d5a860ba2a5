//! The `earnest` binary, and roles as processes of their own.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};
use url::Url;

/// How long a role may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a command that ends by itself may take.
const RUN_LIMIT: Duration = Duration::from_secs(60);

/// The binary that stands beside the test's own, in the target folder.
///
/// # Panics
/// If it is not there; says how to build it.
#[must_use]
pub fn earnest() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().and_then(Path::parent).unwrap();
    let binary = profile.join("earnest");
    assert!(
        binary.is_file(),
        "{} is not there: build it with `cargo build -p earnest-cli` (as `make unit` does)",
        binary.display()
    );
    binary
}

/// Runs the binary to its end, in a folder.
///
/// # Panics
/// If it does not end in time.
pub async fn run<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>, folder: &Path) -> Output {
    let mut command = Command::new(earnest());
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(RUN_LIMIT, command.output()).await.expect("the command does not end").unwrap()
}

/// A role that runs as a process of its own. Killed when dropped.
#[derive(Debug)]
pub struct RoleProcess {
    child: Child,
    log: PathBuf,
}

impl RoleProcess {
    /// Starts `earnest <role> --config <config>` and waits until it answers at `url`. `None` if it ended instead, as
    /// it does if another process took its port in between.
    ///
    /// # Panics
    /// If it is silent for too long.
    pub async fn start(role: &str, config: &Path, url: &Url, log: PathBuf) -> Option<Self> {
        Self::start_by(Command::new(earnest()), role, config, url, log).await
    }

    /// The same, by a command that becomes the binary, such as one that changes what the process may do.
    ///
    /// # Panics
    /// If it is silent for too long.
    pub async fn start_by(
        mut command: Command,
        role: &str,
        config: &Path,
        url: &Url,
        log: PathBuf,
    ) -> Option<Self> {
        let child = command
            .arg(role)
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut process = Self { child, log };
        let (from, ready) = (Instant::now(), url.join("livez").unwrap());
        loop {
            if process.child.try_wait().unwrap().is_some() {
                return None;
            }
            if reqwest::get(ready.clone()).await.is_ok_and(|answer| answer.status().is_success()) {
                return Some(process);
            }
            assert!(from.elapsed() < START_LIMIT, "{role} does not answer:\n{}", process.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(RUN_LIMIT, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the role does not end:\n{}", self.log())).unwrap()
    }

    /// `kill -9`. Returns when the process is gone.
    ///
    /// # Panics
    /// If it had ended before.
    pub async fn kill(mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("ended by itself, {status}:\n{}", self.log());
        }
        self.child.kill().await.unwrap();
    }

    /// Sends it a signal, by name.
    ///
    /// # Panics
    /// If it has ended.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Asks it to end, and waits.
    ///
    /// # Panics
    /// If it does not end.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        tokio::time::timeout(RUN_LIMIT, self.child.wait()).await.expect("the role does not end").unwrap()
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

//! Programs that the devnet runs beside itself: found, started on ports of the system's choice, killed with it.

use std::{
    ffi::OsStr,
    fmt::Display,
    fs::File,
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};

/// How often a program is asked whether it is ready.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of a log's end that an error quotes.
const QUOTED: usize = 2_000;

/// Why a program did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not installed.
    #[error("{program} not found: {advice}")]
    Missing {
        /// What was looked for.
        program: &'static str,
        /// How to get it.
        advice: String,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// It ended instead of answering.
    #[error("{program} ended ({status}); its log ends with:\n{log}")]
    Ended {
        /// The program.
        program: &'static str,
        /// Its exit status.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// It did not answer in time.
    #[error("{program} does not answer after {seconds} s ({reason}); its log ends with:\n{log}")]
    Silent {
        /// The program.
        program: &'static str,
        /// How long was waited.
        seconds: u64,
        /// What was wrong with it when last asked.
        reason: String,
        /// The end of its log.
        log: String,
    },
}

impl ProcessError {
    pub(crate) const fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// A running program. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    program: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs appended to `log`, apart from the terminal's signals.
    ///
    /// # Errors
    /// [`ProcessError::Io`] if the log cannot be opened or the program not started.
    pub fn spawn(program: &'static str, mut command: Command, log: PathBuf) -> Result<Self, ProcessError> {
        let open = || File::options().create(true).append(true).open(&log);
        let output = open().map_err(ProcessError::io("open the log of a program"))?;
        let errors = output.try_clone().map_err(ProcessError::io("open the log of a program"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(ProcessError::io("start a program"))?;
        Ok(Self { program, child, log })
    }

    /// Waits until `ready` gives no error, the program ends, or `limit` is over.
    ///
    /// # Errors
    /// [`ProcessError::Ended`] or [`ProcessError::Silent`], with the end of its log.
    pub async fn until<T, E: Display>(
        &mut self,
        limit: Duration,
        mut ready: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, ProcessError> {
        let program = self.program;
        let mut reason = "no answer".to_owned();
        let waiting = async {
            loop {
                match ready().await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => reason = error.to_string(),
                }
                if let Some(status) = self.child.try_wait().map_err(ProcessError::io("wait for a program"))? {
                    let log = end_of(&self.log);
                    return Err(ProcessError::Ended { program, status: status.to_string(), log });
                }
                tokio::time::sleep(POLL).await;
            }
        };
        match tokio::time::timeout(limit, waiting).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let log = end_of(&self.log);
                Err(ProcessError::Silent { program, seconds: limit.as_secs(), reason, log })
            }
        }
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// [`ProcessError::Io`] if it cannot be asked.
    pub fn has_ended(&mut self) -> Result<Option<String>, ProcessError> {
        let status = self.child.try_wait().map_err(ProcessError::io("wait for a program"))?;
        Ok(status.map(|status| status.to_string()))
    }

    /// Waits for it to end; gives its exit status.
    ///
    /// # Errors
    /// [`ProcessError::Io`] if it cannot be waited for.
    pub async fn ended(&mut self) -> Result<String, ProcessError> {
        let status = self.child.wait().await.map_err(ProcessError::io("wait for a program"))?;
        Ok(status.to_string())
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// [`ProcessError::Io`] if it cannot be killed.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        self.child.kill().await.map_err(ProcessError::io("kill a program"))
    }
}

pub(crate) fn end_of(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let end = bytes.get(bytes.len().saturating_sub(QUOTED)..).unwrap_or_default();
    String::from_utf8_lossy(end).into_owned()
}

/// `count` free ports of the loopback interface, all different.
///
/// Nothing holds them between this and their use; a program that finds one taken ends, and is started anew.
///
/// # Errors
/// [`ProcessError::Io`] if the system has none.
pub fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT], ProcessError> {
    let mut held = Vec::with_capacity(COUNT);
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(ProcessError::io("find a free port"))?;
        *port = listener.local_addr().map_err(ProcessError::io("find a free port"))?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// The first file named `program` in the folders of `path`.
pub(crate) fn find_in_path(program: &str, path: Option<&OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// `relative` below the repository's root, if it is there: below the working directory or one above it, or where
/// this crate was built.
pub(crate) fn find_in_repository(relative: &str) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let working = std::env::current_dir().unwrap_or_default();
    working
        .ancestors()
        .map(Path::to_owned)
        .chain([built])
        .map(|root| root.join(relative))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::spawn("sh", command, folder.join("log")).unwrap()
    }

    #[tokio::test]
    async fn a_program_that_ends_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo no luck; exit 3", folder.path());
        let error =
            process.until(Duration::from_secs(10), async || Err::<(), _>("not yet")).await.unwrap_err();
        assert!(matches!(&error, ProcessError::Ended { log, .. } if log == "no luck\n"), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_is_silent_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo still at it; exec sleep 100", folder.path());
        process
            .until(Duration::from_secs(10), async || {
                if end_of(&folder.path().join("log")).is_empty() { Err("no log") } else { Ok(()) }
            })
            .await
            .unwrap();
        let error =
            process.until(Duration::from_millis(100), async || Err::<(), _>("not yet")).await.unwrap_err();
        assert!(
            matches!(&error, ProcessError::Silent { log, reason, .. } if log == "still at it\n" && reason == "not yet"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_dropped_program_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let process = shell("exec sleep 100", folder.path());
        let id = process.child.id().unwrap();
        assert!(Path::new(&format!("/proc/{id}/status")).exists());
        drop(process);
        let gone = async {
            // A killed child is a zombie until it is reaped.
            while std::fs::read_to_string(format!("/proc/{id}/status"))
                .is_ok_and(|status| !status.contains("State:\tZ"))
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    #[test]
    fn free_ports_differ() {
        let [first, second, third] = free_ports::<3>().unwrap();
        assert!(first != second && second != third && first != third);
    }
}

//! A small disk of its own for one role, and writes that fail: without leave of anybody.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A file system in memory, in a mount namespace that lives as long as this does. Only what is started in it sees it.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    holder: Child,
}

impl Disk {
    /// Mounts one at a path, which is made. `None` where the system lets nobody mount in a namespace of its own.
    ///
    /// # Panics
    /// If the path cannot be made.
    pub async fn mount(path: PathBuf, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let script = format!("mount -t tmpfs -o size={bytes},mode=700 none \"$0\" && echo ready && exec cat");
        let mut holder = Command::new("unshare")
            .args(["-Urm", "sh", "-c", &script])
            .arg(&path)
            // Ends with this process, whatever becomes of it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let mounted = lines.next_line().await.unwrap().as_deref() == Some("ready");
        mounted.then_some(Self { path, holder })
    }

    /// A command that becomes `program`, which sees the disk.
    ///
    /// # Panics
    /// If the disk is gone.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let holder = self.holder.id().unwrap().to_string();
        command.args(["-t", &holder, "-U", "-m", "--preserve-credentials", "--"]).arg(program);
        command
    }

    /// Takes all room but so many bytes; none is taken with `None`.
    ///
    /// # Panics
    /// If that cannot be done.
    pub async fn leave(&self, bytes: Option<u64>) {
        let mut command = self.command(Path::new("sh"));
        let script = "cd \"$0\" && rm -f filler && [ \"$1\" = all ] || \
            { free=$(df -B1 --output=avail . | tail -1) && head -c $((free - $1)) /dev/zero > filler; }";
        let left = bytes.map_or_else(|| "all".to_owned(), |bytes| bytes.to_string());
        let done = command.args(["-c", script]).arg(&self.path).arg(left).status().await.unwrap();
        assert!(done.success());
    }
}

/// A command that becomes `program`, which is told of writes beyond its limit, and not ended.
#[must_use]
pub fn patient(program: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program);
    command
}

/// From here on the process cannot write beyond so many bytes of any file.
///
/// # Panics
/// If that cannot be done.
pub async fn limit_files(process: u32, bytes: u64) {
    let limit = format!("--fsize={bytes}:");
    let done = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status().await.unwrap();
    assert!(done.success());
}

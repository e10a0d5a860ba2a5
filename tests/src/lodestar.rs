//! Lodestar's builder client as a process of its own: the script in `peers/lodestar`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

/// How long the script may take.
const RUN_LIMIT: Duration = Duration::from_secs(240);

/// The script's folder.
///
/// # Panics
/// If its packages are not installed; says how to install them.
fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/lodestar");
    assert!(
        folder.join("node_modules/.package-lock.json").is_file(),
        "Lodestar's packages are not there: run `make peers`, or `npm ci` in {} (needs Node 20 or later)",
        folder.display()
    );
    folder
}

/// Runs the script to its end; gives what it told, step by step.
///
/// # Panics
/// If it found a fault or did not end; shows what it wrote.
pub async fn drive(settings: &Value) -> Vec<Value> {
    let mut script = Command::new("node")
        .arg("drive.mjs")
        .current_dir(folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("Node 20 or later is not on the PATH");
    instruct(&mut script, settings).await;
    let output = tokio::time::timeout(RUN_LIMIT, script.wait_with_output()).await;
    let output = output.expect("the script does not end").unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{told}\n{complained}", output.status);
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn instruct(script: &mut Child, settings: &Value) {
    let mut input = script.stdin.take().unwrap();
    input.write_all(settings.to_string().as_bytes()).await.unwrap();
    input.shutdown().await.unwrap();
}

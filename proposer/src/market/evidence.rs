//! Writes down what a relay did wrong, in files that `earnest market verify` reads and that anyone can check without us.
//!
//! ```text
//! DATA_DIR/evidence/slot-N/record-H.json   what the relay published, if it has the auction at all
//!                          findings-H.txt  what is wrong with it
//!                          ack-H.json      {bid, ack}: --ack of `earnest market verify`
//!                          result-H.json   a signed result: --result of `earnest market verify`
//!                          delegation-H.json  one that a key of ours signed and our record does not have
//! ```

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use alloy_primitives::keccak256;
use earnest_protocol::Slot;
use earnest_protocol::auction::{AuctionRecord, Finding, HeldAck};
use earnest_protocol::objects::{SignedAuctionResult, SignedDelegation};
use serde::Serialize;

/// Writes the evidence of one finding and returns its folder. What is there already stays. Blocks.
///
/// # Errors
/// The system's.
pub fn write(
    data_dir: &Path,
    slot: Slot,
    record: Option<&AuctionRecord>,
    findings: &[Finding],
    held: &[HeldAck],
    results: &[SignedAuctionResult],
) -> io::Result<PathBuf> {
    let folder = data_dir.join("evidence").join(format!("slot-{slot}"));
    DirBuilder::new().recursive(true).create(&folder)?;
    let words = findings.iter().map(|finding| format!("{finding}\n")).collect::<Vec<_>>().concat();
    let name = match record {
        Some(record) => {
            let record = json(record)?;
            let name = name(&record);
            put(&folder.join(format!("record-{name}.json")), &record)?;
            name
        }
        None => name(words.as_bytes()),
    };
    put(&folder.join(format!("findings-{name}.txt")), words.as_bytes())?;
    for ack in held {
        put_named(&folder, "ack", ack)?;
    }
    for result in results {
        put_named(&folder, "result", result)?;
    }
    File::open(&folder)?.sync_all()?;
    Ok(folder)
}

/// Writes delegations that a key of ours signed and the record does not have, and returns their folder. Blocks.
///
/// # Errors
/// The system's.
pub fn write_delegations(data_dir: &Path, slot: Slot, found: &[SignedDelegation]) -> io::Result<PathBuf> {
    let folder = data_dir.join("evidence").join(format!("slot-{slot}"));
    DirBuilder::new().recursive(true).create(&folder)?;
    for delegation in found {
        put_named(&folder, "delegation", delegation)?;
    }
    File::open(&folder)?.sync_all()?;
    Ok(folder)
}

fn put_named(folder: &Path, kind: &str, value: &impl Serialize) -> io::Result<()> {
    let bytes = json(value)?;
    put(&folder.join(format!("{kind}-{}.json", name(&bytes))), &bytes)
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(io::Error::other)
}

/// The first digits of a hash of the content: the same content has one file.
fn name(bytes: &[u8]) -> String {
    alloy_primitives::hex::encode(keccak256(bytes).get(..8).unwrap_or_default())
}

/// A file of the same name has the same content, unless a crash cut it short.
fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes).and_then(|()| file.sync_all())
}

//! What a command sends, on disk before it is sent: a command that is killed and run again sends nothing twice.
//!
//! The file is there from the first transaction of a command to its end. What it holds when a command starts was sent, or was
//! about to be, by one that was cut off.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use alloy_primitives::{Address, B256, Bytes, U256};
use earnest_client::{Call, Fees, L1Account, L1Error, SignedCall};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

use super::settings::{of_file, read_file};

/// A transaction that was sent, or was about to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sent {
    /// What it does.
    pub(super) what: String,
    to: Address,
    value: U256,
    input: Bytes,
    /// The account's nonce.
    pub(super) nonce: u64,
    gas_limit: u64,
    /// What it offers for gas, wei per gas.
    pub(super) tip: u64,
    pub(super) most: u64,
    /// Its hash.
    pub(super) hash: B256,
    /// As it is sent.
    pub(super) raw: Bytes,
    /// Hashes of those that offered less for the same.
    older: Vec<B256>,
}

impl Sent {
    /// A call's transaction with this gas limit and offer.
    pub(super) fn new(what: String, call: &Call, signed: &SignedCall, gas_limit: u64, fees: Fees) -> Self {
        let Call { to, value, input } = call.clone();
        let wei = |fee: u128| u64::try_from(fee).unwrap_or(u64::MAX);
        let (nonce, hash, raw) = (signed.nonce, signed.hash, signed.raw.clone());
        let (tip, most, older) = (wei(fees.tip), wei(fees.most), Vec::new());
        Self { what, to, value, input, nonce, gas_limit, tip, most, hash, raw, older }
    }

    /// Whether no block takes it at this base fee.
    pub(super) fn is_too_cheap(&self, fees: Fees) -> bool {
        fees.base > self.most.into()
    }

    /// The same with a better offer.
    pub(super) fn dearer(&self, account: &L1Account, fees: Fees) -> Result<Self, L1Error> {
        let fees = fees.beating(self.tip.into(), self.most.into());
        let call = Call { to: self.to, value: self.value, input: self.input.clone() };
        let signed = account.sign(&call, self.nonce, self.gas_limit, fees)?;
        let older = self.hashes();
        Ok(Self { older, ..Self::new(self.what.clone(), &call, &signed, self.gas_limit, fees) })
    }

    /// Its hash, then those of the ones that offered less: one of them gets into a block.
    pub(super) fn hashes(&self) -> Vec<B256> {
        [&[self.hash], self.older.as_slice()].concat()
    }

    /// Whether it is this call's.
    pub(super) fn does(&self, call: &Call) -> bool {
        (self.to, self.value, &self.input) == (call.to, call.value, &call.input)
    }
}

/// The transactions of one account's command.
#[derive(Debug)]
pub(super) struct Outbox {
    path: PathBuf,
    sent: Vec<Sent>,
    /// None: nothing is sent, and nothing written.
    lock: Option<File>,
}

impl Outbox {
    /// The account's outbox, if no other command has it.
    pub(super) fn open(folder: &Path, chain_id: u64, account: Address) -> Result<Self, Failure> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| of_file(folder, error))?;
        let path = folder.join(format!("lock-{chain_id}-{account}"));
        let lock = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let lock = lock.map_err(|error| of_file(&path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(of_file(
                    &path,
                    "another command sends transactions of this account: wait for its end",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(of_file(&path, error)),
        }
        Ok(Self { lock: Some(lock), ..Self::peek(folder, chain_id, account)? })
    }

    /// The account's outbox, only to look at.
    pub(super) fn peek(folder: &Path, chain_id: u64, account: Address) -> Result<Self, Failure> {
        let path = folder.join(format!("sent-{chain_id}-{account}.json"));
        let sent = if path.try_exists().map_err(|error| of_file(&path, error))? {
            serde_json::from_slice(&read_file(&path)?).map_err(|error| of_file(&path, error))?
        } else {
            Vec::new()
        };
        Ok(Self { path, sent, lock: None })
    }

    /// What it holds, in order.
    pub(super) fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// Adds a transaction, durably.
    pub(super) fn add(&mut self, sent: Sent) -> Result<(), Failure> {
        self.sent.push(sent);
        self.write()
    }

    /// Puts a transaction in the place of one with the same nonce, durably.
    pub(super) fn replace(&mut self, sent: Sent) -> Result<(), Failure> {
        self.sent.retain(|other| other.nonce != sent.nonce);
        self.add(sent)
    }

    /// Takes out a transaction that came to nothing.
    pub(super) fn remove(&mut self, hash: B256) -> Result<(), Failure> {
        self.sent.retain(|sent| sent.hash != hash);
        self.write()
    }

    /// The command is at its end.
    pub(super) fn clear(&mut self) -> Result<(), Failure> {
        self.sent.clear();
        self.write()
    }

    fn write(&self) -> Result<(), Failure> {
        if self.lock.is_none() {
            return Ok(());
        }
        let failed = |error: &dyn std::fmt::Display| of_file(&self.path, error);
        if self.sent.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&error)),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_vec(&self.sent).map_err(|error| failed(&error))?;
        write_durably(&self.path, &text, true)
    }
}

/// Writes a file whole or not at all; over one that is there only if that is asked for.
pub(super) fn write_durably(path: &Path, bytes: &[u8], over: bool) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| of_file(path, error);
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| failed(&error))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(|error| failed(&error))?;
    let placed = if over { file.persist(path) } else { file.persist_noclobber(path) };
    placed.map_err(|error| failed(&error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use earnest_protocol::signing::EcdsaSecret;

    const ACCOUNT: Address = Address::repeat_byte(1);

    fn call(byte: u8) -> Call {
        Call { to: Address::repeat_byte(2), value: U256::from(byte), input: vec![byte].into() }
    }

    fn sent(byte: u8) -> Sent {
        let signed =
            SignedCall { hash: B256::repeat_byte(byte), nonce: byte.into(), raw: vec![byte; 3].into() };
        Sent::new("something".to_owned(), &call(byte), &signed, 21_000, Fees::at(7))
    }

    #[test]
    fn what_was_sent_is_there_again_until_the_command_ends() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Outbox::open(folder.path(), 5, ACCOUNT);
        let mut outbox = open().unwrap();
        assert!(outbox.sent().is_empty());
        outbox.add(sent(1)).unwrap();
        outbox.add(sent(2)).unwrap();
        assert!(open().unwrap_err().to_string().contains("another command"));
        let peeked = Outbox::peek(folder.path(), 5, ACCOUNT).unwrap();
        assert_eq!(peeked.sent(), [sent(1), sent(2)]);
        assert!(peeked.sent()[0].does(&call(1)) && !peeked.sent()[0].does(&call(2)));
        assert!(Outbox::peek(folder.path(), 6, ACCOUNT).unwrap().sent().is_empty(), "of another chain");
        drop(outbox);

        let mut again = open().unwrap();
        assert_eq!(again.sent(), [sent(1), sent(2)]);
        again.remove(sent(1).hash).unwrap();
        drop(again);
        let mut again = open().unwrap();
        assert_eq!(again.sent(), [sent(2)]);
        again.clear().unwrap();
        again.clear().unwrap();
        drop(again);
        assert!(open().unwrap().sent().is_empty());
    }

    #[test]
    fn a_better_offer_takes_the_place_and_both_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let client = earnest_chain::ExecutionClient::new("http://127.0.0.1:9".parse().unwrap()).unwrap();
        let account = L1Account::new(client, EcdsaSecret::random(), 5);
        let first = sent(1);
        let [near, far] = [first.most.into(), u128::from(first.most) + 1].map(Fees::at);
        assert!(!first.is_too_cheap(near) && first.is_too_cheap(far));
        let second = first.dearer(&account, far).unwrap();
        let third = second.dearer(&account, far).unwrap();
        assert_eq!(third.hashes(), [third.hash, second.hash, first.hash]);
        assert!(second.does(&call(1)) && second.nonce == first.nonce && second.tip > first.tip);
        assert!(!second.is_too_cheap(far));
        let mut outbox = Outbox::open(folder.path(), 5, ACCOUNT).unwrap();
        outbox.add(first).unwrap();
        outbox.add(sent(2)).unwrap();
        outbox.replace(third.clone()).unwrap();
        drop(outbox);
        assert_eq!(Outbox::open(folder.path(), 5, ACCOUNT).unwrap().sent(), [sent(2), third]);
    }

    #[test]
    fn what_is_only_looked_at_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        Outbox::open(folder.path(), 5, ACCOUNT).unwrap().add(sent(1)).unwrap();
        Outbox::peek(folder.path(), 5, ACCOUNT).unwrap().clear().unwrap();
        assert_eq!(Outbox::peek(folder.path(), 5, ACCOUNT).unwrap().sent(), [sent(1)]);
        assert!(Outbox::peek(&folder.path().join("none"), 5, ACCOUNT).unwrap().sent().is_empty());
        assert!(!folder.path().join("none").exists());
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        write_durably(&path, b"first", false).unwrap();
        assert!(write_durably(&path, b"second", false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        write_durably(&path, b"second", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing temporary stays");
    }
}

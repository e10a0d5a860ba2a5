//! Directories of validator keys as the common clients keep them; Commit-Boost reads the same ones.
//!
//! | layout | keys | secrets |
//! |---|---|---|
//! | lighthouse | `KEYS/0x<pubkey>/voting-keystore.json` | `SECRETS/0x<pubkey>` |
//! | nimbus | `KEYS/0x<pubkey>/keystore.json` | `SECRETS/0x<pubkey>` |
//! | teku | `KEYS/<name>.json` | `SECRETS/<name>.txt` |
//! | lodestar | `KEYS/<name>.json` | the file `SECRETS`, one password for all |
//! | prysm | the file `KEYS`, or `direct/accounts/all-accounts.keystore.json` in that wallet | the file `SECRETS` |

use crate::bls_keystore::{BlsKeystore, Crypto};
use crate::{KeystoreError, Password, PasswordError, file};
use base64::{Engine, engine::general_purpose::STANDARD};
use earnest_builder_types::bls::SecretKey;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Largest file of all accounts, in bytes.
const MAX_ACCOUNTS_BYTES: u64 = 16 * 1024 * 1024;
/// How many keystores are decrypted at once.
const AT_ONCE: usize = 4;
const PRYSM_ACCOUNTS: &str = "direct/accounts/all-accounts.keystore.json";

/// How a client lays out its keys and their passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A directory for each key, a password file for each.
    Lighthouse,
    /// As Lighthouse, with another file name.
    Nimbus,
    /// A file for each key, a password file for each.
    Teku,
    /// A file for each key, one password for all.
    Lodestar,
    /// One file of all keys, one password.
    Prysm,
}

impl Layout {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Lighthouse, "lighthouse"),
        (Self::Nimbus, "nimbus"),
        (Self::Teku, "teku"),
        (Self::Lodestar, "lodestar"),
        (Self::Prysm, "prysm"),
    ];
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(layout, _)| layout == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// Not the name of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the layout is one of lighthouse, nimbus, teku, lodestar, prysm")]
pub struct UnknownLayout;

impl FromStr for Layout {
    type Err = UnknownLayout;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(layout, _)| *layout).ok_or(UnknownLayout)
    }
}

/// What a directory held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Its keys, in the order of their files' names.
    pub keys: Vec<SecretKey>,
    /// Keystores that gave no key, and why. Whoever starts without them must say so.
    pub failures: Vec<(PathBuf, KeystoreError)>,
}

/// Loads every key of a directory. What is not a keystore by its name is passed over.
///
/// # Errors
/// If the directory itself, or the one file of a layout that has one, cannot be read.
pub fn load(layout: Layout, keys: &Path, secrets: &Path) -> Result<Loaded, KeystoreError> {
    let pairs = match layout {
        Layout::Lighthouse => by_directory(keys, secrets, "voting-keystore.json")?,
        Layout::Nimbus => by_directory(keys, secrets, "keystore.json")?,
        Layout::Teku => by_file(keys, |name| secrets.join(name).with_extension("txt"))?,
        Layout::Lodestar => {
            let password = Password::from_file(secrets)?;
            let files = by_file(keys, |_| PathBuf::new())?;
            return Ok(load_all(files, |_| Ok(password.clone())));
        }
        Layout::Prysm => return load_prysm(keys, secrets),
    };
    Ok(load_all(pairs, Password::from_file))
}

/// A keystore file, its password file, and the key its place says it holds.
struct Found {
    keystore: PathBuf,
    password: PathBuf,
    named: Option<String>,
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>, KeystoreError> {
    let failed = |source| KeystoreError::Io { path: directory.to_path_buf(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn by_directory(keys: &Path, secrets: &Path, file_name: &str) -> Result<Vec<Found>, KeystoreError> {
    let mut found = Vec::new();
    for path in entries(keys)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let digits = name.strip_prefix("0x").unwrap_or(name).to_lowercase();
        if digits.len() != 96 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) || !path.is_dir() {
            continue;
        }
        let candidates = [secrets.join(name), secrets.join(format!("0x{digits}")), secrets.join(&digits)];
        let [first, ..] = &candidates;
        let password = candidates.iter().find(|candidate| candidate.is_file()).unwrap_or(first).clone();
        found.push(Found { keystore: path.join(file_name), password, named: Some(format!("0x{digits}")) });
    }
    Ok(found)
}

fn by_file(keys: &Path, password: impl Fn(&Path) -> PathBuf) -> Result<Vec<Found>, KeystoreError> {
    let keystores = entries(keys)?.into_iter().filter(|path| {
        path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
    });
    Ok(keystores
        .map(|keystore| Found {
            password: password(Path::new(keystore.file_name().unwrap_or_default())),
            keystore,
            named: None,
        })
        .collect())
}

fn load_all(found: Vec<Found>, password: impl Fn(&Path) -> Result<Password, PasswordError> + Sync) -> Loaded {
    let decrypt = |Found { keystore, password: password_file, named }: Found| {
        let loaded = password(&password_file).map_err(KeystoreError::from).and_then(|password| {
            let secret = BlsKeystore::from_file(&keystore)?.decrypt(&password)?;
            let held = secret.public_key().to_string();
            match named {
                Some(named) if named != held => Err(KeystoreError::WrongKey { named, held }),
                Some(_) | None => Ok(secret),
            }
        });
        (keystore, loaded)
    };
    // Each takes 256 MiB with the common setting, so that the number at once must not grow with the machine.
    let results: Vec<_> = match rayon::ThreadPoolBuilder::new().num_threads(AT_ONCE).build() {
        Ok(threads) => threads.install(|| found.into_par_iter().map(decrypt).collect()),
        Err(_) => found.into_iter().map(decrypt).collect(),
    };
    let mut all = Loaded::default();
    for (path, result) in results {
        match result {
            Ok(secret) => all.keys.push(secret),
            Err(error) => all.failures.push((path, error)),
        }
    }
    all
}

#[derive(Deserialize)]
struct PrysmFile {
    crypto: Crypto,
}

#[derive(Deserialize, Zeroize, ZeroizeOnDrop)]
struct PrysmAccounts {
    private_keys: Vec<String>,
    #[serde(default)]
    public_keys: Vec<String>,
}

fn load_prysm(keys: &Path, secrets: &Path) -> Result<Loaded, KeystoreError> {
    let path = if keys.is_dir() { keys.join(PRYSM_ACCOUNTS) } else { keys.to_path_buf() };
    let password = Password::from_file(secrets)?;
    let json = file::read_keystore(&path, MAX_ACCOUNTS_BYTES)?;
    let PrysmFile { crypto } =
        serde_json::from_slice(&json).map_err(|error| KeystoreError::Malformed(error.to_string()))?;
    let accounts = crypto.decrypt(&password)?;
    // The parser's own words could quote a secret.
    let accounts: PrysmAccounts = serde_json::from_slice(&accounts).map_err(|_| KeystoreError::BadKey)?;
    let mut loaded = Loaded::default();
    for (number, encoded) in accounts.private_keys.iter().enumerate() {
        let key = STANDARD
            .decode(encoded)
            .map(Zeroizing::new)
            .ok()
            .and_then(|bytes| SecretKey::from_bytes(&bytes).ok())
            .ok_or(KeystoreError::BadKey)
            .and_then(|secret| match accounts.public_keys.get(number) {
                Some(named) if *named != STANDARD.encode(secret.public_key()) => {
                    Err(KeystoreError::WrongKey {
                        named: named.clone(),
                        held: secret.public_key().to_string(),
                    })
                }
                Some(_) | None => Ok(secret),
            });
        match key {
            Ok(secret) => loaded.keys.push(secret),
            Err(error) => loaded.failures.push((path.join(number.to_string()), error)),
        }
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kdf::Strength;

    /// A Prysm wallet with these accounts.
    fn wallet(directory: &Path, accounts: &serde_json::Value) {
        let crypto =
            Crypto::encrypt(accounts.to_string().as_bytes(), &Password::new("wallet"), Strength::Light)
                .unwrap();
        let file = serde_json::json!({ "crypto": crypto, "uuid": "", "version": 4, "name": "keystore" });
        std::fs::create_dir_all(directory.join("direct/accounts")).unwrap();
        std::fs::write(directory.join(PRYSM_ACCOUNTS), file.to_string()).unwrap();
        std::fs::write(directory.join("password"), "wallet\n").unwrap();
    }

    #[test]
    fn all_accounts_of_a_prysm_wallet_load() {
        let directory = tempfile::tempdir().unwrap();
        let (path, password) = (directory.path(), directory.path().join("password"));
        let keys = [SecretKey::random().unwrap(), SecretKey::random().unwrap()];
        let public = keys.each_ref().map(|key| STANDARD.encode(key.public_key()));
        let private = keys.each_ref().map(|key| STANDARD.encode(key.to_bytes().as_slice()));
        wallet(path, &serde_json::json!({ "private_keys": private, "public_keys": public }));
        for keys_path in [path.to_path_buf(), path.join(PRYSM_ACCOUNTS)] {
            let loaded = load(Layout::Prysm, &keys_path, &password).unwrap();
            let names: Vec<_> = loaded.keys.iter().map(SecretKey::public_key).collect();
            assert_eq!(names, keys.each_ref().map(SecretKey::public_key));
        }

        wallet(path, &serde_json::json!({ "private_keys": private, "public_keys": [public[1], "x"] }));
        let loaded = load(Layout::Prysm, path, &password).unwrap();
        assert!(loaded.keys.is_empty());
        assert!(loaded.failures.iter().all(|(_, error)| matches!(error, KeystoreError::WrongKey { .. })));

        wallet(path, &serde_json::json!({ "private_keys": ["c2VjcmV0", 7] }));
        let error = load(Layout::Prysm, path, &password).unwrap_err();
        assert!(!error.to_string().contains("c2VjcmV0"), "an error never quotes a secret");
    }
}

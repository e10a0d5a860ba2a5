//! `earnest keys`: make, import and list the keys that the roles sign with.

use crate::failure::Failure;
use clap::{Args, Subcommand, ValueEnum};
use earnest_signer::kdf::Strength;
use earnest_signer::keyring::{self, KeyInfo, Listing, Scheme};
use earnest_signer::{Password, PasswordSource};
use serde_json::json;
use std::io::{self, Write};
use std::path::PathBuf;

/// Options of `earnest keys`.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
    /// Print one JSON object instead of lines.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Make keys and store them encrypted.
    New {
        /// What the key is for.
        scheme: SchemeName,
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
        #[command(flatten)]
        target: Target,
    },
    /// Take a key from a keystore, or from a file that holds the bare secret in hex.
    Import {
        /// What the key is for.
        scheme: SchemeName,
        /// The keystore or file.
        source: PathBuf,
        /// File that holds the source's password; without one the new password is tried.
        #[arg(long, conflicts_with = "source_password_env")]
        source_password_file: Option<PathBuf>,
        /// Environment variable that holds the source's password.
        #[arg(long)]
        source_password_env: Option<String>,
        #[command(flatten)]
        target: Target,
    },
    /// List the keys of a directory by their public names. Nothing is decrypted.
    List {
        /// Directory of keystores.
        #[arg(long)]
        dir: PathBuf,
    },
}

/// Where a key goes, and under which password. A password is never an argument: others could see it.
#[derive(Debug, Args)]
struct Target {
    /// Directory of keystores; made if it is not there.
    #[arg(long)]
    dir: PathBuf,
    /// File that holds the password.
    #[arg(long, required_unless_present = "password_env", conflicts_with = "password_env")]
    password_file: Option<PathBuf>,
    /// Environment variable that holds the password.
    #[arg(long)]
    password_env: Option<String>,
    /// How hard the password is to guess from the file.
    #[arg(long, value_enum, default_value_t = StrengthName::Scrypt)]
    kdf: StrengthName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemeName {
    /// BLS12-381: validators, delegates, the relay's bids.
    Bls,
    /// secp256k1: committers, the relay's receipts, L1 accounts.
    Ecdsa,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StrengthName {
    /// scrypt as all clients set it: 256 MiB and about half a second.
    Scrypt,
    /// PBKDF2 with 262,144 iterations.
    Pbkdf2,
    /// A weak scrypt, for test networks.
    Light,
}

impl From<SchemeName> for Scheme {
    fn from(name: SchemeName) -> Self {
        match name {
            SchemeName::Bls => Self::Bls,
            SchemeName::Ecdsa => Self::Ecdsa,
        }
    }
}

impl From<StrengthName> for Strength {
    fn from(name: StrengthName) -> Self {
        match name {
            StrengthName::Scrypt => Self::Scrypt,
            StrengthName::Pbkdf2 => Self::Pbkdf2,
            StrengthName::Light => Self::Light,
        }
    }
}

/// Runs `earnest keys`.
pub(crate) fn run(args: KeysArgs) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    print(&mut out, args.json, &perform(args.command)?)
        .map_err(|error| Failure::new(format!("cannot print: {error}")))
}

fn perform(command: KeysCommand) -> Result<Listing, Failure> {
    match command {
        KeysCommand::New { scheme, count, target } => {
            let password = target.password()?;
            let mut made = Listing::default();
            for _ in 0..count {
                let key = keyring::create(scheme.into(), &target.dir, &password, target.kdf.into());
                made.keys.push(key.map_err(|error| Failure::from_keystore(&error))?);
            }
            Ok(made)
        }
        KeysCommand::Import { scheme, source, source_password_file, source_password_env, target } => {
            let password = target.password()?;
            let source_password =
                read_password(source_password_file, source_password_env)?.unwrap_or_else(|| password.clone());
            let (dir, strength) = (&target.dir, target.kdf.into());
            let key = keyring::import(scheme.into(), &source, &source_password, dir, &password, strength);
            let key = key.map_err(|error| Failure::new(format!("{}: {error}", source.display())))?;
            Ok(Listing { keys: vec![key], failures: Vec::new() })
        }
        KeysCommand::List { dir } => keyring::list(&dir).map_err(|error| Failure::from_keystore(&error)),
    }
}

impl Target {
    fn password(&self) -> Result<Password, Failure> {
        read_password(self.password_file.clone(), self.password_env.clone())?
            .ok_or_else(|| Failure::new("give the password by --password-file or --password-env"))
    }
}

impl Failure {
    fn from_keystore(error: &earnest_signer::KeystoreError) -> Self {
        Self::new(error.to_string())
    }
}

fn read_password(file: Option<PathBuf>, env: Option<String>) -> Result<Option<Password>, Failure> {
    let source = file.map(PasswordSource::File).or_else(|| env.map(PasswordSource::Env));
    let password = source.map(|source| source.read()).transpose();
    password.map_err(|error| Failure::new(error.to_string()))
}

fn print(out: &mut impl Write, json: bool, listing: &Listing) -> io::Result<()> {
    let mut failures = listing.failures.iter().map(|(file, error)| (file.as_path(), error.to_string()));
    if json {
        let failures: Vec<_> =
            failures.map(|(file, error)| json!({ "file": file, "error": error })).collect();
        return writeln!(out, "{}", json!({ "keys": listing.keys, "failures": failures }));
    }
    for KeyInfo { scheme, public, file } in &listing.keys {
        writeln!(out, "{scheme:<5}  {public}  {}", file.display())?;
    }
    failures.try_for_each(|(file, error)| writeln!(out, "not a key  {}  {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        keys: KeysArgs,
    }

    fn listing(words: &[&str]) -> Result<Listing, String> {
        let line = Line::try_parse_from([&["keys"], words].concat()).map_err(|error| error.to_string())?;
        perform(line.keys.command).map_err(|failure| failure.to_string())
    }

    #[test]
    fn makes_imports_and_lists() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(path("password"), "p\n").unwrap();
        let (keys, password) = (path("keys"), path("password"));
        let target = ["--dir", &keys, "--password-file", &password, "--kdf", "light"];
        let made = listing(&[&["new", "bls", "--count", "2"], &target[..]].concat()).unwrap();
        assert_eq!(made.keys.len(), 2);
        std::fs::write(path("secret"), "01".repeat(32)).unwrap();
        let imported = listing(&[&["import", "ecdsa", &path("secret")], &target[..]].concat()).unwrap();
        assert_eq!(imported.keys[0].public, "0x1a642f0e3c3af545e7acbd38b07251b3990914f1");
        let again = listing(&[&["import", "ecdsa", &path("secret")], &target[..]].concat()).unwrap_err();
        assert!(again.contains("already there"), "{again}");

        let listed = listing(&["list", "--dir", &keys]).unwrap();
        assert_eq!(listed.keys.len(), 3);
        for (json, expected) in [(false, &imported.keys[0].public), (true, &made.keys[0].public)] {
            let mut out = Vec::new();
            print(&mut out, json, &listed).unwrap();
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains(expected), "{out}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), json);
        }
    }

    #[test]
    fn a_password_comes_from_a_file_or_the_environment_only() {
        for words in [
            &["new", "bls", "--dir", "d"][..],
            &["new", "bls", "--dir", "d", "--password", "p"],
            &["new", "bls", "--dir", "d", "--password-file", "f", "--password-env", "E"],
            &["new", "rsa", "--dir", "d", "--password-file", "f"],
            &["new", "bls", "--dir", "d", "--password-env", "EARNEST_NO_SUCH_VARIABLE"],
            &["list", "--dir", "/nonexistent"],
        ] {
            assert!(listing(words).is_err(), "{words:?}");
        }
    }
}

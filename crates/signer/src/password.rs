use crate::file;
use std::fmt;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// Longest password file, in bytes.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The file cannot be read.
    #[error("password file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file or variable is not UTF-8.
    #[error("the password in {0} is not UTF-8")]
    Encoding(String),
    /// The environment variable is not set.
    #[error("environment variable {0} is not set")]
    Unset(String),
}

/// A password. Its memory is wiped on drop; it is never shown.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// A password as it was typed.
    #[must_use]
    pub fn new(password: impl Into<String>) -> Self {
        Self(Zeroizing::new(password.into()))
    }

    /// Reads a password file. The line break at its end is not part of the password.
    ///
    /// # Errors
    /// If it cannot be read, is longer than 4 KiB, or is not UTF-8.
    pub fn from_file(path: &Path) -> Result<Self, PasswordError> {
        let bytes = file::read_limited(path, MAX_PASSWORD_BYTES)
            .map_err(|source| PasswordError::File { path: path.to_path_buf(), source })?;
        let text =
            std::str::from_utf8(&bytes).map_err(|_| PasswordError::Encoding(path.display().to_string()))?;
        Ok(Self::new(text.trim_end_matches(['\r', '\n'])))
    }

    /// Reads an environment variable.
    ///
    /// # Errors
    /// If it is not set, or not UTF-8.
    pub fn from_env(name: &str) -> Result<Self, PasswordError> {
        match std::env::var(name) {
            Ok(password) => Ok(Self::new(password)),
            Err(std::env::VarError::NotPresent) => Err(PasswordError::Unset(name.to_owned())),
            Err(std::env::VarError::NotUnicode(_)) => Err(PasswordError::Encoding(name.to_owned())),
        }
    }

    /// The bytes as they are, which Web3 secret storage takes.
    pub(crate) fn plain(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The bytes that ERC-2335 takes: compatibility decomposition (NFKD), without control codes.
    pub(crate) fn normalised(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(String::with_capacity(self.0.len().saturating_mul(4)));
        text.extend(self.0.nfkd().filter(|character| !character.is_control()));
        Zeroizing::new(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// Where a password is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordSource {
    /// A file that holds it.
    File(PathBuf),
    /// An environment variable of this name.
    Env(String),
}

impl PasswordSource {
    /// Reads the password.
    ///
    /// # Errors
    /// As [`Password::from_file`] and [`Password::from_env`].
    pub fn read(&self) -> Result<Password, PasswordError> {
        match self {
            Self::File(path) => Password::from_file(path),
            Self::Env(name) => Password::from_env(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_the_standard_says() {
        for (typed, bytes) in [
            ("𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑", "7465737470617373776f7264f09f9491"),
            ("a\u{0}b\u{1f}c\u{7f}d\u{80}e\u{9f}f\r\n", "616263646566"),
            ("é ß\u{a0}x", "65cc8120c39f2078"),
            ("", ""),
        ] {
            assert_eq!(hex::encode(&*Password::new(typed).normalised()), bytes, "{typed:?}");
        }
    }

    #[test]
    fn a_file_gives_its_line_without_the_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        for (content, password) in [("p w\n", "p w"), ("p w\r\n", "p w"), (" p ", " p "), ("", "")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(Password::from_file(&path).unwrap().plain(), password.as_bytes());
        }
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(Password::from_file(&path), Err(PasswordError::Encoding(_))));
        std::fs::write(&path, vec![b'a'; 5000]).unwrap();
        assert!(matches!(Password::from_file(&path), Err(PasswordError::File { .. })));
        assert!(matches!(Password::from_env("EARNEST_NO_SUCH_VARIABLE"), Err(PasswordError::Unset(_))));
    }

    #[test]
    fn is_never_shown() {
        let shown = format!("{:?}", Password::new("hunter2"));
        assert!(!shown.contains("hunter2"));
    }
}

//! Key derivation of both kinds of keystores, within bounds that a hostile file cannot exceed.

use crate::KeystoreError;
use rand::TryRngCore;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Most memory that scrypt may take for one file, in bytes. The common setting takes half of it.
pub const MAX_SCRYPT_MEMORY: u64 = 512 * 1024 * 1024;
/// Most work of scrypt, as `n · r · p`; the common setting is an eighth of it, about half a second.
pub const MAX_SCRYPT_WORK: u64 = 1 << 24;
/// Most iterations of PBKDF2; the common setting is 262,144.
pub const MAX_PBKDF2_ITERATIONS: u32 = 1 << 22;
/// Longest salt, in bytes.
pub const MAX_SALT_BYTES: usize = 256;
/// Length of a derived key, in bytes: the first half is the cipher's key, the second the checksum's.
pub const DERIVED_BYTES: usize = 32;

/// Parameters of scrypt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scrypt {
    /// Bytes to derive, always 32.
    pub dklen: u32,
    /// Cost, a power of two.
    pub n: u64,
    /// Parallelisation.
    pub p: u32,
    /// Block size.
    pub r: u32,
    /// Salt in hex.
    pub salt: String,
}

/// Parameters of PBKDF2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pbkdf2 {
    /// Bytes to derive, always 32.
    pub dklen: u32,
    /// Iterations.
    pub c: u32,
    /// Pseudo-random function, always `hmac-sha256`.
    pub prf: String,
    /// Salt in hex.
    pub salt: String,
}

/// How hard a new keystore is to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strength {
    /// scrypt with the setting of all clients (n 262144, r 8): 256 MiB and about half a second.
    #[default]
    Scrypt,
    /// PBKDF2 with 262,144 iterations: little memory.
    Pbkdf2,
    /// scrypt with n 4096: for keys that are worth nothing, such as those of a devnet.
    Light,
}

/// A key derivation with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// scrypt.
    Scrypt(Scrypt),
    /// PBKDF2 with HMAC-SHA-256.
    Pbkdf2(Pbkdf2),
}

impl Kdf {
    /// A new derivation with a salt of its own.
    ///
    /// # Errors
    /// [`KeystoreError::Io`] if the system has no randomness.
    pub fn new(strength: Strength) -> Result<Self, KeystoreError> {
        let salt = hex::encode(random::<32>()?);
        let dklen = 32;
        Ok(match strength {
            Strength::Scrypt => Self::Scrypt(Scrypt { dklen, n: 262_144, r: 8, p: 1, salt }),
            Strength::Light => Self::Scrypt(Scrypt { dklen, n: 4_096, r: 8, p: 1, salt }),
            Strength::Pbkdf2 => {
                Self::Pbkdf2(Pbkdf2 { dklen, c: 262_144, prf: "hmac-sha256".to_owned(), salt })
            }
        })
    }

    /// Derives the key of a password.
    ///
    /// # Errors
    /// [`KeystoreError::OutOfBounds`] before any memory or time is spent if the parameters ask for too
    /// much; [`KeystoreError::Unsupported`] or [`KeystoreError::Malformed`] if they make no sense.
    pub fn derive(&self, password: &[u8]) -> Result<Zeroizing<[u8; DERIVED_BYTES]>, KeystoreError> {
        let mut key = Zeroizing::new([0u8; DERIVED_BYTES]);
        match self {
            Self::Scrypt(parameters) => {
                let salt = check_common(parameters.dklen, &parameters.salt)?;
                let checked = parameters.check()?;
                scrypt::scrypt(password, &salt, &checked, key.as_mut_slice())
                    .map_err(|error| KeystoreError::Malformed(error.to_string()))?;
            }
            Self::Pbkdf2(Pbkdf2 { dklen, c, prf, salt }) => {
                let salt = check_common(*dklen, salt)?;
                if prf != "hmac-sha256" {
                    return Err(KeystoreError::Unsupported(format!("pseudo-random function {prf:.32}")));
                }
                if *c == 0 || *c > MAX_PBKDF2_ITERATIONS {
                    return Err(KeystoreError::OutOfBounds(format!("{c} iterations")));
                }
                pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, *c, key.as_mut_slice());
            }
        }
        Ok(key)
    }
}

impl Scrypt {
    fn check(&self) -> Result<scrypt::Params, KeystoreError> {
        let Self { n, r, p, .. } = self;
        if *n < 2 || !n.is_power_of_two() || *r == 0 || *p == 0 {
            return Err(KeystoreError::Malformed(format!("scrypt with n {n}, r {r}, p {p}")));
        }
        let (r_wide, p_wide) = (u64::from(*r), u64::from(*p));
        let lanes = n.saturating_mul(r_wide);
        let memory = lanes.saturating_add(r_wide.saturating_mul(p_wide)).saturating_mul(128);
        if memory > MAX_SCRYPT_MEMORY || lanes.saturating_mul(p_wide) > MAX_SCRYPT_WORK {
            return Err(KeystoreError::OutOfBounds(format!("scrypt with n {n}, r {r}, p {p}")));
        }
        let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
        scrypt::Params::new(log_n, *r, *p, DERIVED_BYTES).map_err(|_| {
            KeystoreError::Unsupported(format!("scrypt with n {n}, r {r}, p {p}: n is too large for r"))
        })
    }
}

fn check_common(dklen: u32, salt: &str) -> Result<Vec<u8>, KeystoreError> {
    if usize::try_from(dklen) != Ok(DERIVED_BYTES) {
        return Err(KeystoreError::Unsupported(format!("derived key of {dklen} bytes")));
    }
    if salt.len() > MAX_SALT_BYTES.saturating_mul(2).saturating_add(2) {
        return Err(KeystoreError::OutOfBounds("salt".to_owned()));
    }
    decode_hex("salt", salt)
}

/// Hex with or without `0x`.
pub(crate) fn decode_hex(field: &str, text: &str) -> Result<Vec<u8>, KeystoreError> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text))
        .map_err(|_| KeystoreError::Malformed(format!("{field} is not hex")))
}

/// Bytes from the system's randomness.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], KeystoreError> {
    let mut bytes = [0u8; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| KeystoreError::Io {
        path: "system randomness".into(),
        source: std::io::Error::other(error),
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn scrypt(n: u64, r: u32, p: u32) -> Kdf {
        Kdf::Scrypt(Scrypt { dklen: 32, n, r, p, salt: "aa".repeat(32) })
    }

    fn pbkdf2(c: u32) -> Kdf {
        Kdf::Pbkdf2(Pbkdf2 { dklen: 32, c, prf: "hmac-sha256".into(), salt: String::new() })
    }

    #[test]
    fn hostile_parameters_cost_nothing() {
        let started = Instant::now();
        let huge = [
            scrypt(1 << 40, 8, 1),
            scrypt(1 << 63, u32::MAX, u32::MAX),
            scrypt(2, u32::MAX, u32::MAX),
            scrypt(1 << 18, 8, 1 << 20),
            scrypt(1 << 20, 8, 1),
            pbkdf2(u32::MAX),
            pbkdf2(MAX_PBKDF2_ITERATIONS + 1),
        ];
        for kdf in huge {
            assert!(matches!(kdf.derive(b""), Err(KeystoreError::OutOfBounds(_))), "{kdf:?}");
        }
        let senseless = [scrypt(0, 8, 1), scrypt(3, 8, 1), scrypt(16, 0, 1), scrypt(16, 8, 0)];
        for kdf in senseless {
            assert!(matches!(kdf.derive(b""), Err(KeystoreError::Malformed(_))), "{kdf:?}");
        }
        assert!(matches!(pbkdf2(0).derive(b""), Err(KeystoreError::OutOfBounds(_))));
        let long = Kdf::Scrypt(Scrypt { dklen: 32, n: 2, r: 8, p: 1, salt: "a".repeat(1 << 16) });
        assert!(matches!(long.derive(b""), Err(KeystoreError::OutOfBounds(_))));
        for dklen in [0, 16, 33, u32::MAX] {
            let kdf = Kdf::Scrypt(Scrypt { dklen, n: 2, r: 8, p: 1, salt: String::new() });
            assert!(matches!(kdf.derive(b""), Err(KeystoreError::Unsupported(_))), "{dklen}");
        }
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn salts_differ() {
        assert_ne!(Kdf::new(Strength::Light).unwrap(), Kdf::new(Strength::Light).unwrap());
    }
}

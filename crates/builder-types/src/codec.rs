//! Reading and writing values that come in several forks.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::{ForkName, UnknownFork};

/// Why bytes are not a value of the fork asked for.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The type does not exist in this fork.
    #[error("not defined for {0}")]
    ForkNotSupported(ForkName),
    /// The envelope names no known fork.
    #[error(transparent)]
    UnknownFork(#[from] UnknownFork),
    /// Not the JSON of this type in this fork.
    #[error("invalid JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Not the SSZ of this type in this fork.
    #[error("invalid SSZ: {0:?}")]
    Ssz(ssz::DecodeError),
}

impl From<ssz::DecodeError> for CodecError {
    fn from(error: ssz::DecodeError) -> Self {
        Self::Ssz(error)
    }
}

/// A value that exists in several forks and knows its own.
///
/// Reading is strict: exactly the fields of the fork, within the bounds of the consensus
/// specification, and nothing after the end. Callers bound the size of what they pass in.
pub trait ForkCodec: Sized + Serialize {
    /// The fork this value belongs to.
    fn fork(&self) -> ForkName;

    /// Reads the SSZ form.
    ///
    /// # Errors
    /// If the type does not exist in `fork`, or the bytes are not its exact encoding.
    fn from_ssz(fork: ForkName, bytes: &[u8]) -> Result<Self, CodecError>;

    /// Writes the SSZ form.
    fn to_ssz(&self) -> Vec<u8>;

    /// Reads the JSON form, without a `{version, data}` envelope.
    ///
    /// # Errors
    /// If the type does not exist in `fork`, or a field is missing, foreign, or out of bounds.
    fn from_json(fork: ForkName, bytes: &[u8]) -> Result<Self, CodecError>;

    /// Writes the JSON form, without an envelope.
    ///
    /// # Errors
    /// Never in practice: no type here has a map key or a number that JSON lacks.
    fn to_json(&self) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(self)?)
    }
}

/// Implements [`ForkCodec`] for an enum with one variant per fork.
macro_rules! fork_codec {
    ($name:ident { $($fork:ident),+ $(,)? }) => {
        impl $crate::ForkCodec for $name {
            fn fork(&self) -> $crate::ForkName {
                match self {
                    $(Self::$fork(_) => $crate::ForkName::$fork,)+
                }
            }

            fn from_ssz(
                fork: $crate::ForkName,
                bytes: &[u8],
            ) -> Result<Self, $crate::CodecError> {
                match fork {
                    $($crate::ForkName::$fork => {
                        Ok(Self::$fork(ssz::Decode::from_ssz_bytes(bytes)?))
                    })+
                    #[allow(unreachable_patterns)]
                    other => Err($crate::CodecError::ForkNotSupported(other)),
                }
            }

            fn to_ssz(&self) -> Vec<u8> {
                match self {
                    $(Self::$fork(inner) => ssz::Encode::as_ssz_bytes(inner),)+
                }
            }

            fn from_json(
                fork: $crate::ForkName,
                bytes: &[u8],
            ) -> Result<Self, $crate::CodecError> {
                match fork {
                    $($crate::ForkName::$fork => {
                        Ok(Self::$fork(serde_json::from_slice(bytes)?))
                    })+
                    #[allow(unreachable_patterns)]
                    other => Err($crate::CodecError::ForkNotSupported(other)),
                }
            }
        }
    };
}
pub(crate) use fork_codec;

/// Maps each of the five forks of one enum to the same fork of another.
macro_rules! map_forks {
    ($value:expr, $from:ident => $to:ident, |$inner:ident| $mapped:expr) => {
        match $value {
            $from::Bellatrix($inner) => $to::Bellatrix($mapped),
            $from::Capella($inner) => $to::Capella($mapped),
            $from::Deneb($inner) => $to::Deneb($mapped),
            $from::Electra($inner) => $to::Electra($mapped),
            $from::Fulu($inner) => $to::Fulu($mapped),
        }
    };
}
pub(crate) use map_forks;

/// The `{"version": …, "data": …}` envelope of the Builder and beacon APIs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Versioned<T> {
    /// The fork of `data`.
    pub version: ForkName,
    /// The value.
    pub data: T,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    version: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<T: ForkCodec> Versioned<T> {
    /// Wraps a value under its own fork.
    pub fn new(data: T) -> Self {
        Self { version: data.fork(), data }
    }

    /// Reads an enveloped value. Fields of the envelope beside `version` and `data` (such as
    /// `execution_optimistic`) are passed over.
    ///
    /// # Errors
    /// If the envelope or the value in it is malformed, or names an unknown fork.
    pub fn from_json(bytes: &[u8]) -> Result<Self, CodecError> {
        let envelope: Envelope<'_> = serde_json::from_slice(bytes)?;
        let version = envelope.version.parse()?;
        let data = T::from_json(version, envelope.data.get().as_bytes())?;
        Ok(Self { version, data })
    }

    /// Writes the enveloped value.
    ///
    /// # Errors
    /// Never in practice, as [`ForkCodec::to_json`].
    pub fn to_json(&self) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(self)?)
    }
}

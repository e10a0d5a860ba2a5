//! Names of the consensus forks.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A consensus fork, in the order of activation. Written in lower case, as in
/// `Eth-Consensus-Version`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForkName {
    /// The merge: execution payloads.
    Bellatrix,
    /// Withdrawals.
    Capella,
    /// Blobs.
    Deneb,
    /// Execution requests, committee bits.
    Electra,
    /// Cell proofs.
    Fulu,
    /// Builders in the protocol. Only its request authorisation and preferences are known here.
    Gloas,
}

impl ForkName {
    /// Every fork, oldest first.
    pub const ALL: [Self; 6] =
        [Self::Bellatrix, Self::Capella, Self::Deneb, Self::Electra, Self::Fulu, Self::Gloas];

    /// The name as it stands in headers and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bellatrix => "bellatrix",
            Self::Capella => "capella",
            Self::Deneb => "deneb",
            Self::Electra => "electra",
            Self::Fulu => "fulu",
            Self::Gloas => "gloas",
        }
    }

    /// Whether payloads of this fork come with blobs.
    pub const fn has_blobs(self) -> bool {
        matches!(self, Self::Deneb | Self::Electra | Self::Fulu | Self::Gloas)
    }

    /// Whether blocks of this fork carry execution requests (EIP-7685).
    pub const fn has_requests(self) -> bool {
        matches!(self, Self::Electra | Self::Fulu | Self::Gloas)
    }
}

impl fmt::Display for ForkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fork name that is not one of [`ForkName::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown fork name {0:?}")]
pub struct UnknownFork(pub String);

impl FromStr for ForkName {
    type Err = UnknownFork;

    /// Reads a fork name in any case, as peers write it in any.
    fn from_str(name: &str) -> Result<Self, UnknownFork> {
        Self::ALL
            .into_iter()
            .find(|fork| fork.as_str().eq_ignore_ascii_case(name))
            .ok_or_else(|| UnknownFork(name.chars().take(32).collect()))
    }
}

/// A value, or one of its fields, does not exist in the fork at hand; or two parts are of
/// different forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not of this fork")]
pub struct ForkError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_are_ordered() {
        for fork in ForkName::ALL {
            assert_eq!(fork.to_string().parse(), Ok(fork));
            assert_eq!(fork.as_str().to_uppercase().parse(), Ok(fork));
            assert_eq!(serde_json::to_value(fork).unwrap(), fork.as_str());
        }
        assert!(ForkName::ALL.is_sorted());
        assert_eq!("altair".parse::<ForkName>(), Err(UnknownFork("altair".into())));
        let long = "x".repeat(1000);
        assert_eq!(long.parse::<ForkName>().unwrap_err().0.len(), 32);
    }
}

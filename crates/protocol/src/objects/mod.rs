//! The protocol's objects (design §2, §4) as native types with their JSON, and their ABI form on both ways.
//!
//! JSON: snake_case, integers as quoted decimals, bytes as `0x` hexadecimal, BLS keys compressed; objects of
//! constraints-specs and commitments-specs keep those specs' casing. Reading is tolerant: bare integers,
//! and either casing where two are in use.

mod allocation;
mod commitment;
mod constraints;
mod delegation;
mod market;
mod points;
mod registration;

pub use allocation::{ALLOCATION_VERSION, AllocationEntry, SlotAllocation};
pub use commitment::{
    BundleCommitment, Commitment, CommitmentKind, CommitmentRequest, CommitmentType, InclusionPayload, Leg,
    OrderingCommitment, SignedCommitment,
};
pub use constraints::{
    Constraint, ConstraintReceipt, ConstraintStatus, ConstraintsMessage, InclusionProof,
    SignedConstraintReceipt, SignedConstraints,
};
pub use delegation::{Authority, Delegation, DelegationReceipt, SignedDelegation, SignedDelegationReceipt};
pub use market::{
    AuctionResult, BidAck, MarketDomain, OrderingBid, SignedAuctionResult, SignedBid, SignedBidAck,
    auction_root,
};
pub use points::{PointError, pubkey_from_sol, pubkey_to_sol, signature_from_sol, signature_to_sol};
pub use registration::{Policy, Registration, RollupRegistration, SignedRegistration};

use alloy_primitives::{B256, keccak256};
use alloy_sol_types::{SolType, SolValue};

/// Why bytes or an ABI value are not the object they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The bytes do not decode.
    #[error("bad ABI encoding: {0}")]
    Abi(String),
    /// The bytes decode, but are not the one encoding of what they hold.
    #[error("not the canonical ABI encoding")]
    NotCanonical,
    /// A field holds a value that the object does not allow.
    #[error("field {0} out of range")]
    Field(&'static str),
    /// A BLS point is not one.
    #[error(transparent)]
    Point(#[from] PointError),
    /// The object's version is unknown.
    #[error("unknown version {0}")]
    Version(u8),
}

impl From<alloy_sol_types::Error> for ObjectError {
    fn from(error: alloy_sol_types::Error) -> Self {
        Self::Abi(error.to_string())
    }
}

/// An object with one ABI encoding, `abi.encode(object)`, and a hash of it.
pub trait Object: Sized {
    /// The struct of the schema.
    type Sol: SolValue<SolType = Self::Sol>
        + SolType<RustType = Self::Sol>
        + for<'a> From<&'a Self>
        + TryInto<Self, Error = ObjectError>;

    /// `abi.encode(object)`.
    fn abi_encode(&self) -> Vec<u8> {
        SolValue::abi_encode(&Self::Sol::from(self))
    }

    /// Reads `abi.encode(object)`.
    ///
    /// # Errors
    /// [`ObjectError`] unless the bytes are the canonical encoding of an allowed value.
    fn abi_decode(bytes: &[u8]) -> Result<Self, ObjectError> {
        let sol = <Self::Sol as SolValue>::abi_decode_validate(bytes)?;
        if SolValue::abi_encode(&sol) != bytes {
            return Err(ObjectError::NotCanonical);
        }
        sol.try_into()
    }

    /// `keccak256(abi.encode(object))`.
    fn abi_hash(&self) -> B256 {
        keccak256(self.abi_encode())
    }
}

/// Implements [`Object`] for a native type whose fields convert one by one into those of its schema struct.
macro_rules! mirror {
    ($native:ident { $($field:ident = $abi:ident),* $(,)? }) => {
        impl From<&$native> for crate::sol::$native {
            fn from(value: &$native) -> Self {
                let value = value.clone();
                Self { $($abi: value.$field.into()),* }
            }
        }

        impl TryFrom<crate::sol::$native> for $native {
            type Error = crate::objects::ObjectError;

            fn try_from(value: crate::sol::$native) -> Result<Self, Self::Error> {
                Ok(Self {
                    $($field: value.$abi.try_into()
                        .map_err(|_| crate::objects::ObjectError::Field(stringify!($abi)))?),*
                })
            }
        }

        impl crate::objects::Object for $native {
            type Sol = crate::sol::$native;
        }
    };
}
pub(crate) use mirror;

/// A number of a small closed set: conversions, and JSON as its number.
macro_rules! closed_set {
    ($(#[$doc:meta])* $name:ident: $repr:ty { $($(#[$vdoc:meta])* $variant:ident = $value:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl From<$name> for $repr {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => $value,)*
                }
            }
        }

        impl TryFrom<$repr> for $name {
            type Error = crate::objects::ObjectError;

            fn try_from(value: $repr) -> Result<Self, Self::Error> {
                match value {
                    $($value => Ok(Self::$variant),)*
                    _ => Err(crate::objects::ObjectError::Field(stringify!($name))),
                }
            }
        }
    };
}
pub(crate) use closed_set;

/// In JSON one of these names, and nothing else.
macro_rules! named_in_json {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(match self {
                    $(Self::$variant => $text,)*
                })
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match <String as serde::Deserialize>::deserialize(deserializer)?.as_str() {
                    $($text => Ok(Self::$variant),)*
                    other => Err(serde::de::Error::unknown_variant(other, &[$($text),*])),
                }
            }
        }
    };
}
pub(crate) use named_in_json;

#[cfg(test)]
mod tests;

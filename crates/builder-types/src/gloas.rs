//! What of Gloas is known here: request authorisation and builder preferences.

use serde::{Deserialize, Serialize};
use serde_with::As;
use ssz_derive::{Decode, Encode};
use ssz_types::{VariableList, serde_utils::hex_var_list, typenum::U4096};
use tree_hash_derive::TreeHash;

use crate::{BlsSignature, decimal::Decimal};

/// What a proposer signs to show that a request is its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct RequestAuth {
    /// Whom the request is for: the builder's URL.
    #[serde(with = "hex_var_list")]
    pub data: VariableList<u8, U4096>,
    /// The slot that it is for.
    #[serde(with = "As::<Decimal>")]
    pub slot: u64,
}

/// A signed request authorisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct SignedRequestAuth {
    /// The authorisation.
    pub message: RequestAuth,
    /// By the proposer.
    pub signature: BlsSignature,
}

/// What a proposer accepts of a builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct BuilderPreferences {
    /// The greatest payment taken in the execution layer, in gwei.
    #[serde(with = "As::<Decimal>")]
    pub max_execution_payment: u64,
}

/// Preferences with their authorisation, as they are posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode, TreeHash)]
#[serde(deny_unknown_fields)]
pub struct BuilderPreferencesRequest {
    /// The preferences.
    pub preferences: BuilderPreferences,
    /// Whose they are.
    pub auth: SignedRequestAuth,
}

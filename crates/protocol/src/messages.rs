//! JSON bodies of `/constraints/v0` and `/ordering/v1` that are not objects themselves (design §4, §5).

use crate::{
    RollupId, Slot, integer,
    objects::{Authority, Policy, SignedCommitment, SignedConstraintReceipt, SignedConstraints},
    signing::Network,
};
use alloy_primitives::{Address, Bytes};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `POST /ordering/v1/rollups/{rollup_id}/transactions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitTransaction {
    /// The raw transaction.
    pub transaction: Bytes,
}

/// `POST /constraints/v0/builder/constraints`: one signed message, or a list as constraints-specs has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ConstraintsBody {
    /// A list.
    Many(Vec<SignedConstraints>),
    /// One.
    One(Box<SignedConstraints>),
}

impl From<ConstraintsBody> for Vec<SignedConstraints> {
    fn from(body: ConstraintsBody) -> Self {
        match body {
            ConstraintsBody::Many(many) => many,
            ConstraintsBody::One(one) => vec![*one],
        }
    }
}

/// One entry of `GET /ordering/v1/constraints/{slot}`: constraints with the relay's word on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptedConstraints {
    /// The constraints.
    pub constraints: SignedConstraints,
    /// Held, or dropped.
    pub receipt: SignedConstraintReceipt,
    /// What keeps them out of every block of the slot, if they were dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
}

/// `GET /constraints/v0/builder/capabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConstraintCapabilities {
    /// The types that the relay knows.
    #[serde(with = "integer::list", alias = "constraint_types")]
    pub constraint_types: Vec<u64>,
}

/// Proofs that a block keeps its constraints, one payload for each type, in the order of the constraints.
/// The payload of type 1 is an [`InclusionProof`](crate::objects::InclusionProof).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConstraintProofs {
    /// The constraints' types.
    #[serde(with = "integer::list", alias = "constraint_types")]
    pub constraint_types: Vec<u64>,
    /// The proofs.
    pub payloads: Vec<Bytes>,
}

/// `GET /ordering/v1/delegations/{slot}`.
pub type Delegations = Vec<Authority>;

/// The error body of 409 `not_holder`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotHolder {
    /// Always `not_holder`.
    pub code: String,
    /// What is said to a human.
    pub message: String,
    /// Who holds the window, if that is known.
    pub holder: Option<Address>,
    /// Where the holder is reached.
    pub url: Option<String>,
    /// From when this gateway holds the rollup, Unix milliseconds, if that is known.
    #[serde(with = "optional_integer", default)]
    pub from_ms: Option<u64>,
}

/// `GET /ordering/v1/info` of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayInfo {
    /// The address that signs.
    pub committer: Address,
    /// The market relay whose receipts it relies on.
    pub relay: Address,
    /// The L1 network.
    pub network: Network,
    /// What it orders.
    pub rollups: Vec<RollupInfo>,
}

/// A rollup at a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupInfo {
    /// The rollup.
    pub id: RollupId,
    /// Order within a microblock.
    pub policy: Policy,
    /// The window that is open, if one is.
    pub window: Option<WindowInfo>,
}

/// A window held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowInfo {
    /// The sequencing slot.
    pub slot: Slot,
    /// When it starts, Unix milliseconds.
    #[serde(with = "integer")]
    pub start_ms: u64,
    /// When it is sealed, Unix milliseconds.
    #[serde(with = "integer")]
    pub seal_ms: u64,
}

/// One event of `GET /ordering/v1/rollups/{rollup_id}/stream`; the variant is the event's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamEvent {
    /// A window opens.
    Window(Arc<Authority>),
    /// Transactions are ordered.
    Microblock(Microblock),
    /// A segment, or the window, is sealed.
    Seal(SignedCommitment),
}

impl StreamEvent {
    /// The event's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Window(_) => "window",
            Self::Microblock(_) => "microblock",
            Self::Seal(_) => "seal",
        }
    }

    /// The event's data.
    ///
    /// # Errors
    /// None that can come up: the objects have string keys alone.
    pub fn data(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Window(authority) => serde_json::to_string(authority),
            Self::Microblock(microblock) => serde_json::to_string(microblock),
            Self::Seal(commitment) => serde_json::to_string(commitment),
        }
    }

    /// Reads an event; `None` if its name is unknown, which a reader passes over.
    ///
    /// # Errors
    /// If the data is not what the name says.
    pub fn parse(name: &str, data: &str) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match name {
            "window" => Self::Window(serde_json::from_str(data)?),
            "microblock" => Self::Microblock(serde_json::from_str(data)?),
            "seal" => Self::Seal(serde_json::from_str(data)?),
            _ => return Ok(None),
        }))
    }
}

/// A signed microblock with its transactions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Microblock {
    /// The committer's word.
    pub commitment: SignedCommitment,
    /// The raw transactions, in order.
    pub transactions: Vec<Bytes>,
}

mod optional_integer {
    use super::integer;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Number(#[serde(with = "integer")] u64);

    pub(super) fn serialize<S: Serializer>(value: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Number).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Ok(Option::<Number>::deserialize(deserializer)?.map(|number| number.0))
    }
}

//! JSON bodies of `/constraints/v0` and `/ordering/v1` that are not objects themselves (design §4, §5).

use crate::{
    BlsPublicKey, RollupId, Slot, integer,
    objects::{
        Authority, Policy, SignedAuctionResult, SignedCommitment, SignedConstraintReceipt, SignedConstraints,
    },
    signing::Network,
    window::Window,
};
use alloy_primitives::{Address, B256, Bytes};
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

/// One event of a relay's `GET /ordering/v1/events`; the variant is the event's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderingEvent {
    /// The sequencing slots from the current one on, when they change.
    Lookahead(Vec<SequencingWindow>),
    /// Bids are taken.
    AuctionOpened {
        /// The sequencing slot.
        slot: Slot,
        /// Its times.
        window: Window,
        /// What is for sale.
        rollups: Vec<RollupId>,
    },
    /// Bids are public.
    AuctionClosed {
        /// The sequencing slot.
        slot: Slot,
        /// Root over the bids.
        auction_root: B256,
        /// The winners, ascending.
        winners: Vec<B256>,
        /// Bids taken.
        #[serde(with = "integer")]
        bid_count: u64,
        /// Until when the slot's proposer may match a winner, Unix milliseconds.
        #[serde(with = "integer")]
        first_refusal_ms: u64,
    },
    /// The result is signed.
    AuctionResult(SignedAuctionResult),
    /// A delegation was taken.
    Delegation(Box<Authority>),
    /// Constraints are held; what they are is told to those who may read them.
    Constraints {
        /// The slot.
        slot: Slot,
        /// Transactions of the message.
        #[serde(with = "integer")]
        count: u64,
    },
    /// A window has ended.
    Sealed {
        /// The sequencing slot.
        slot: Slot,
        /// When, Unix milliseconds.
        #[serde(with = "integer")]
        seal_ms: u64,
    },
}

/// A sequencing slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequencingWindow {
    /// The slot.
    pub slot: Slot,
    /// Its proposer.
    pub proposer: BlsPublicKey,
    /// Its times; none if there is no time for a window.
    pub window: Option<Window>,
}

impl OrderingEvent {
    /// The event's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Lookahead(_) => "lookahead",
            Self::AuctionOpened { .. } => "auction_opened",
            Self::AuctionClosed { .. } => "auction_closed",
            Self::AuctionResult(_) => "auction_result",
            Self::Delegation(_) => "delegation",
            Self::Constraints { .. } => "constraints",
            Self::Sealed { .. } => "sealed",
        }
    }

    /// The event's data.
    ///
    /// # Errors
    /// None that can come up: the objects have string keys alone.
    pub fn data(&self) -> Result<String, serde_json::Error> {
        let mut named = serde_json::to_value(self)?;
        serde_json::to_string(&named.get_mut(self.name()).map(serde_json::Value::take))
    }

    /// Reads an event; `None` if its name is unknown, which a reader passes over.
    ///
    /// # Errors
    /// If the data is not what the name says.
    pub fn parse(name: &str, data: &str) -> Result<Option<Self>, serde_json::Error> {
        const NAMES: [&str; 7] = [
            "lookahead",
            "auction_opened",
            "auction_closed",
            "auction_result",
            "delegation",
            "constraints",
            "sealed",
        ];
        if !NAMES.contains(&name) {
            return Ok(None);
        }
        let data: serde_json::Value = serde_json::from_str(data)?;
        serde_json::from_value(serde_json::json!({ name: data })).map(Some)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixtures, window::Timing};

    #[test]
    fn events_of_a_relay_read_back_by_their_names() {
        let (slot, window) = (fixtures::SLOT, Timing::new(0, 12_000, 32).window(fixtures::SLOT, None));
        let proposer = fixtures::proposer().public_key();
        let events = [
            OrderingEvent::Lookahead(vec![SequencingWindow { slot, proposer, window }]),
            OrderingEvent::AuctionOpened { slot, window: window.unwrap(), rollups: vec![RollupId(7)] },
            OrderingEvent::AuctionClosed {
                slot,
                auction_root: B256::repeat_byte(1),
                winners: vec![B256::repeat_byte(2)],
                bid_count: 3,
                first_refusal_ms: 4,
            },
            OrderingEvent::Delegation(Box::new(fixtures::authority())),
            OrderingEvent::Constraints { slot, count: 2 },
            OrderingEvent::Sealed { slot, seal_ms: 5 },
        ];
        for event in events {
            let data = event.data().unwrap();
            assert!(data.starts_with(['{', '[']), "{data}");
            assert_eq!(OrderingEvent::parse(event.name(), &data).unwrap(), Some(event));
        }
        assert_eq!(OrderingEvent::parse("later", "{}").unwrap(), None);
        assert!(OrderingEvent::parse("sealed", "{}").is_err());
    }
}

//! What beacon nodes tell as it happens.

use alloy_primitives::B256;
use alloy_rpc_types_beacon::events::{BlockEvent, ChainReorgEvent, FinalizedCheckpointEvent, HeadEvent};
use alloy_rpc_types_engine::PayloadAttributes;
use earnest_builder_types::ForkName;
use serde::{Deserialize, Serialize};
use serde_with::{DisplayFromStr, serde_as};

use crate::error::ChainError;

/// What can be listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventTopic {
    /// A new head.
    Head,
    /// A block was imported.
    Block,
    /// What the next payload must be built with.
    PayloadAttributes,
    /// The head is no descendant of the one before.
    ChainReorg,
    /// A later epoch is final.
    FinalizedCheckpoint,
}

impl EventTopic {
    /// The topic's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Block => "block",
            Self::PayloadAttributes => "payload_attributes",
            Self::ChainReorg => "chain_reorg",
            Self::FinalizedCheckpoint => "finalized_checkpoint",
        }
    }

    /// The topic of that name, if we know it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let all =
            [Self::Head, Self::Block, Self::PayloadAttributes, Self::ChainReorg, Self::FinalizedCheckpoint];
        all.into_iter().find(|topic| topic.as_str() == name)
    }
}

/// What the next payload must be built with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadAttributesEvent {
    /// The fork in force at the proposal's slot.
    pub version: ForkName,
    /// The attributes, and what they apply to.
    pub data: PayloadAttributesData,
}

/// The attributes of a payload, and what they apply to.
#[serde_as]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadAttributesData {
    /// Index of the validator that proposes.
    #[serde_as(as = "DisplayFromStr")]
    pub proposer_index: u64,
    /// The slot of the proposal.
    #[serde_as(as = "DisplayFromStr")]
    pub proposal_slot: u64,
    /// Number of the execution block to build upon; absent from Gloas on.
    #[serde_as(as = "Option<DisplayFromStr>")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_block_number: Option<u64>,
    /// Root of the beacon block to build upon.
    pub parent_block_root: B256,
    /// Hash of the execution block to build upon.
    pub parent_block_hash: B256,
    /// Timestamp, randomness, fee recipient, withdrawals and parent root of the payload.
    #[serde(with = "alloy_rpc_types_beacon::payload::beacon_api_payload_attributes")]
    pub payload_attributes: PayloadAttributes,
}

/// One thing that a beacon node told, or that happened to the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeaconEvent {
    /// A node's stream was opened. Whatever it alone told since the last one broke was missed: ask for the head.
    Connected {
        /// The node, without credentials.
        node: String,
    },
    /// A node's stream broke or cannot be opened. It is tried again; nothing more is said until that succeeds.
    Disconnected {
        /// The node, without credentials.
        node: String,
        /// Why.
        reason: ChainError,
    },
    /// A new head.
    Head(HeadEvent),
    /// A block was imported.
    Block(BlockEvent),
    /// What the next payload must be built with.
    PayloadAttributes(PayloadAttributesEvent),
    /// The head is no descendant of the one before.
    ChainReorg(ChainReorgEvent),
    /// A later epoch is final.
    FinalizedCheckpoint(FinalizedCheckpointEvent),
}

impl BeaconEvent {
    /// Reads an event by its name; `None` if the name is not one of [`EventTopic`].
    ///
    /// # Errors
    /// [`serde_json::Error`] if the data is not what that event holds.
    pub fn decode(name: &str, data: &str) -> Result<Option<Self>, serde_json::Error> {
        let Some(topic) = EventTopic::from_name(name) else { return Ok(None) };
        Ok(Some(match topic {
            EventTopic::Head => Self::Head(serde_json::from_str(data)?),
            EventTopic::Block => Self::Block(serde_json::from_str(data)?),
            EventTopic::PayloadAttributes => Self::PayloadAttributes(serde_json::from_str(data)?),
            EventTopic::ChainReorg => Self::ChainReorg(serde_json::from_str(data)?),
            EventTopic::FinalizedCheckpoint => Self::FinalizedCheckpoint(serde_json::from_str(data)?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of the beacon API's own specification; see `tests/vectors/README.md`.
    const EXAMPLES: &str = include_str!("../../tests/vectors/events.sse");

    fn examples() -> Vec<(String, String)> {
        let block = |text: &str| {
            let mut lines = text.lines();
            let name = lines.next()?.strip_prefix("event: ")?;
            let data = lines.next()?.strip_prefix("data: ")?;
            Some((name.to_owned(), data.to_owned()))
        };
        EXAMPLES.split("\n\n").filter_map(block).collect()
    }

    #[test]
    fn the_examples_of_every_topic_are_read() {
        let examples = examples();
        for topic in ["head", "block", "payload_attributes", "chain_reorg", "finalized_checkpoint"] {
            let (_, data) = examples.iter().find(|(name, _)| name == topic).unwrap();
            assert!(BeaconEvent::decode(topic, data).unwrap().is_some(), "{topic}");
        }
        assert!(examples.len() > 20);
    }

    #[test]
    fn payload_attributes_are_written_as_they_were_read() {
        let examples = examples();
        let (_, data) = examples.iter().find(|(name, _)| name == "payload_attributes").unwrap();
        let event: PayloadAttributesEvent = serde_json::from_str(data).unwrap();
        assert_eq!(event.version, ForkName::Gloas);
        assert_eq!(event.data.proposal_slot, 10);
        let written: serde_json::Value = serde_json::to_value(&event).unwrap();
        assert_eq!(written, serde_json::from_str::<serde_json::Value>(data).unwrap());
    }

    #[test]
    fn topics_we_do_not_know_are_left_out_and_bad_data_is_an_error() {
        assert_eq!(BeaconEvent::decode("attestation", "{}").unwrap(), None);
        assert!(BeaconEvent::decode("head", "{}").is_err());
        assert!(BeaconEvent::decode("head", "").is_err());
    }

    #[test]
    fn any_bytes_are_an_event_or_an_error() {
        bolero::check!().with_iterations(1000).for_each(|bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            for topic in ["head", "block", "payload_attributes", "chain_reorg", "finalized_checkpoint"] {
                let _ = BeaconEvent::decode(topic, &text);
            }
        });
    }
}

use std::collections::BTreeMap;

use earnest_builder_types::beacon::events::{
    AttestationEvent, BlockEvent, BlsToExecutionChangeEvent, ChainReorgEvent, ContributionAndProofEvent,
    FinalizedCheckpointEvent, HeadEvent, LightClientFinalityUpdateEvent, LightClientOptimisticUpdateEvent,
    PayloadAttributesEvent, VoluntaryExitEvent,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::vectors::bytes;

fn events() -> BTreeMap<String, Value> {
    let text = String::from_utf8(bytes("beacon-apis/events.sse")).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim().to_owned()
            };
            (field("event:"), serde_json::from_str(&field("data:")).unwrap())
        })
        .collect()
}

fn read<T: Serialize + DeserializeOwned>(events: &BTreeMap<String, Value>, topic: &str) -> T {
    serde_json::from_value(events[topic].clone()).unwrap_or_else(|error| panic!("{topic}: {error}"))
}

#[test]
fn every_event_is_json() {
    assert_eq!(events().len(), 24);
}

#[test]
fn known_events_are_read() {
    let events = events();
    assert_eq!(read::<HeadEvent>(&events, "head").slot, 10);
    assert_eq!(read::<BlockEvent>(&events, "block").slot, 10);
    let reorg = read::<ChainReorgEvent>(&events, "chain_reorg");
    assert_eq!((reorg.slot, reorg.depth), (200, 50));
    assert_eq!(read::<FinalizedCheckpointEvent>(&events, "finalized_checkpoint").epoch, 2);
    assert_eq!(read::<VoluntaryExitEvent>(&events, "voluntary_exit").message.validator_index, 1);
    read::<AttestationEvent>(&events, "attestation");
    read::<BlsToExecutionChangeEvent>(&events, "bls_to_execution_change");
    read::<ContributionAndProofEvent>(&events, "contribution_and_proof");
    read::<LightClientFinalityUpdateEvent>(&events, "light_client_finality_update");
    read::<LightClientOptimisticUpdateEvent>(&events, "light_client_optimistic_update");
}

/// The example is of Gloas, which leaves `parent_block_number` out; nodes of the forks served
/// here send it.
#[test]
fn payload_attributes_up_to_fulu_have_a_block_number() {
    let mut event = events()["payload_attributes"].clone();
    assert!(serde_json::from_value::<PayloadAttributesEvent>(event.clone()).is_err());
    event["version"] = json!("fulu");
    event["data"]["parent_block_number"] = json!("9");
    let event: PayloadAttributesEvent = serde_json::from_value(event).unwrap();
    assert_eq!(event.data.proposal_slot, 10);
    assert_eq!(event.attributes().withdrawals.as_ref().unwrap().len(), 1);
}

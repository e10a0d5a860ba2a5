//! The events of all nodes as one stream.

use alloy_primitives::{Address, B256};
use alloy_rpc_types_beacon::events::{ChainReorgEvent, HeadEvent};
use earnest_chain::{BeaconEvent, EventTopic, PayloadAttributesEvent};
use futures::{Stream, StreamExt};

use super::{client, node::Node, patient};

const TOPICS: [EventTopic; 3] = [EventTopic::Head, EventTopic::PayloadAttributes, EventTopic::ChainReorg];

fn head(slot: u64, byte: u8) -> BeaconEvent {
    BeaconEvent::Head(HeadEvent {
        slot,
        block: B256::repeat_byte(byte),
        state: B256::ZERO,
        epoch_transition: false,
        previous_duty_dependent_root: B256::ZERO,
        current_duty_dependent_root: B256::ZERO,
        execution_optimistic: false,
    })
}

fn attributes(slot: u64, fee_recipient: u8) -> BeaconEvent {
    let examples = include_str!("../vectors/events.sse");
    let (_, from) = examples.split_once("event: payload_attributes\ndata: ").unwrap();
    let mut event: PayloadAttributesEvent = serde_json::from_str(from.lines().next().unwrap()).unwrap();
    event.data.proposal_slot = slot;
    event.data.payload_attributes.suggested_fee_recipient = Address::repeat_byte(fee_recipient);
    BeaconEvent::PayloadAttributes(event)
}

fn reorg(depth: u64) -> BeaconEvent {
    BeaconEvent::ChainReorg(ChainReorgEvent {
        slot: 5,
        depth,
        old_head_block: B256::repeat_byte(5),
        new_head_block: B256::repeat_byte(6),
        old_head_state: B256::ZERO,
        new_head_state: B256::ZERO,
        epoch: 0,
        execution_optimistic: false,
    })
}

async fn next(events: &mut (impl Stream<Item = BeaconEvent> + Unpin)) -> BeaconEvent {
    events.next().await.unwrap()
}

/// The names of the nodes that connect next.
async fn connected(events: &mut (impl Stream<Item = BeaconEvent> + Unpin), count: usize) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < count {
        match next(events).await {
            BeaconEvent::Connected { node } => names.push(node),
            other => panic!("{other:?}"),
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn what_two_nodes_tell_comes_once() {
    let (one, other) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    let mut events = client(&[&one, &other], patient()).events(&TOPICS);
    let mut names = [one.name(), other.name()];
    names.sort();
    assert_eq!(connected(&mut events, 2).await, names);

    for node in [&one, &other] {
        node.tell(&head(4, 4));
        node.tell(&reorg(node.url().port().unwrap().into()));
        node.tell(&attributes(5, 1));
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(next(&mut events).await);
    }
    assert_eq!((&seen[0], &seen[2]), (&head(4, 4), &attributes(5, 1)));
    assert!(matches!(seen[1], BeaconEvent::ChainReorg(_)));

    // The nodes differ about what a proposal pays to: both are heard. Only one has the next head.
    one.tell(&attributes(6, 1));
    assert_eq!(next(&mut events).await, attributes(6, 1));
    other.tell(&attributes(6, 2));
    assert_eq!(next(&mut events).await, attributes(6, 2));
    other.tell(&head(5, 5));
    assert_eq!(next(&mut events).await, head(5, 5));
}

#[tokio::test]
async fn a_node_that_is_killed_and_comes_back_behind_displaces_nothing() {
    let (mut one, other) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    let mut events = client(&[&one, &other], patient()).events(&TOPICS);
    connected(&mut events, 2).await;
    one.tell(&head(4, 4));
    assert_eq!(next(&mut events).await, head(4, 4));
    other.tell(&head(4, 4));

    one.kill().await;
    let gone = one.name();
    assert!(matches!(next(&mut events).await, BeaconEvent::Disconnected { node, .. } if node == gone));
    for slot in 5..9 {
        other.tell(&head(slot, u8::try_from(slot).unwrap()));
        assert_eq!(
            next(&mut events).await,
            head(slot, u8::try_from(slot).unwrap()),
            "and nothing of the retries"
        );
    }

    one.revive().await;
    assert_eq!(connected(&mut events, 1).await, [gone]);
    // It catches up, and then it is the first to tell what is new.
    for slot in 5..=9 {
        one.tell(&head(slot, u8::try_from(slot).unwrap()));
    }
    assert_eq!(next(&mut events).await, head(9, 9));
    // A reorganisation is told by a node that stood on the head.
    one.tell(&head(8, 88));
    assert_eq!(next(&mut events).await, head(8, 88));
}

#[tokio::test]
async fn a_node_that_is_down_is_reported_once() {
    let (mut down, well) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    down.kill().await;
    let mut events = client(&[&down, &well], patient()).events(&TOPICS);
    let mut first = [next(&mut events).await, next(&mut events).await];
    first.sort_by_key(|event| matches!(event, BeaconEvent::Connected { .. }));
    assert!(matches!(&first[0], BeaconEvent::Disconnected { node, .. } if *node == down.name()));
    assert!(matches!(&first[1], BeaconEvent::Connected { node } if *node == well.name()));
    for slot in 1..20 {
        well.tell(&head(slot, u8::try_from(slot).unwrap()));
        assert_eq!(next(&mut events).await, head(slot, u8::try_from(slot).unwrap()));
    }
    down.revive().await;
    assert_eq!(connected(&mut events, 1).await, [down.name()]);
}

#[tokio::test]
async fn heads_of_a_node_ahead_of_time_are_left_out_once_it_is_known() {
    let (liar, well) = (Node::at(1, 1_000_000, 1).await, Node::at(2, 100, 7).await);
    let beacon = client(&[&liar, &well], patient());
    beacon.survey(100).await;
    let mut events = beacon.events(&TOPICS);
    connected(&mut events, 2).await;
    well.tell(&head(100, 7));
    assert_eq!(next(&mut events).await, head(100, 7));
    liar.tell(&head(1_000_001, 2));
    liar.tell(&attributes(1_000_002, 1));
    assert_eq!(next(&mut events).await, attributes(1_000_002, 1), "attributes are for whoever can use them");
    well.tell(&head(101, 8));
    assert_eq!(next(&mut events).await, head(101, 8));
}

use alloy_primitives::Address;
use alloy_rpc_types_beacon::events::{BlockEvent, ChainReorgEvent, FinalizedCheckpointEvent};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{ChainError, PayloadAttributesEvent};

fn root(number: u64) -> B256 {
    B256::left_padding_from(&number.to_be_bytes())
}

fn head(slot: u64, block: u64) -> BeaconEvent {
    BeaconEvent::Head(HeadEvent {
        slot,
        block: root(block),
        state: B256::ZERO,
        epoch_transition: false,
        previous_duty_dependent_root: B256::ZERO,
        current_duty_dependent_root: B256::ZERO,
        execution_optimistic: false,
    })
}

fn block(slot: u64) -> BeaconEvent {
    BeaconEvent::Block(BlockEvent { slot, block: root(slot), execution_optimistic: false })
}

fn checkpoint(epoch: u64) -> BeaconEvent {
    BeaconEvent::FinalizedCheckpoint(FinalizedCheckpointEvent {
        block: root(epoch),
        state: B256::ZERO,
        epoch,
        execution_optimistic: false,
    })
}

fn reorg(old: u64, new: u64, depth: u64) -> BeaconEvent {
    BeaconEvent::ChainReorg(ChainReorgEvent {
        slot: 1,
        depth,
        old_head_block: root(old),
        new_head_block: root(new),
        old_head_state: B256::ZERO,
        new_head_state: B256::ZERO,
        epoch: 0,
        execution_optimistic: false,
    })
}

fn attributes(slot: u64, fee_recipient: u8) -> BeaconEvent {
    let examples = include_str!("../../../tests/vectors/events.sse");
    let (_, from) = examples.split_once("event: payload_attributes\ndata: ").unwrap();
    let mut event: PayloadAttributesEvent = serde_json::from_str(from.lines().next().unwrap()).unwrap();
    event.data.proposal_slot = slot;
    event.data.payload_attributes.suggested_fee_recipient = Address::repeat_byte(fee_recipient);
    BeaconEvent::PayloadAttributes(event)
}

fn disconnected() -> BeaconEvent {
    let reason = ChainError::Unreachable { endpoint: "n".to_owned(), reason: "gone".to_owned() };
    BeaconEvent::Disconnected { node: "n".to_owned(), reason }
}

/// Whether each event is told, with every node well.
fn told(merger: &mut Merger, events: impl IntoIterator<Item = (usize, BeaconEvent)>) -> Vec<bool> {
    let all = events.into_iter();
    all.map(|(node, event)| merger.admit(node, event, |_| Standing::Well).is_some()).collect()
}

#[test]
fn the_first_to_tell_a_head_is_heard() {
    let mut merger = Merger::new(2);
    let events = [(0, head(1, 1)), (1, head(1, 1)), (1, head(2, 2)), (0, head(2, 2)), (0, head(3, 3))];
    assert_eq!(told(&mut merger, events), [true, false, true, false, true]);
}

#[test]
fn a_node_that_is_late_displaces_nothing() {
    let mut merger = Merger::new(2);
    let events = [(1, head(1, 1)), (0, head(9, 9)), (0, head(10, 10)), (1, head(2, 2)), (1, head(10, 99))];
    assert_eq!(told(&mut merger, events), [true, true, true, false, false]);
}

#[test]
fn a_reorg_is_told_once_and_back_again() {
    let mut merger = Merger::new(3);
    let events = [
        (0, head(5, 5)),
        (1, head(5, 5)),
        (0, head(5, 55)),
        (1, head(5, 55)),
        (2, head(5, 5)),
        (0, head(4, 44)),
        (1, head(5, 5)),
        (0, head(5, 5)),
    ];
    // Node 2 comes late with what the others have left; node 1 goes back before node 0 does, to what was told before
    // and is not what node 0 stands on.
    assert_eq!(told(&mut merger, events), [true, false, true, false, false, true, false, true]);
}

#[test]
fn the_head_of_a_node_that_is_gone_holds_nobody_back() {
    let mut merger = Merger::new(2);
    let events = [(0, head(5, 5)), (1, head(4, 4)), (0, disconnected()), (1, head(4, 44)), (1, head(5, 5))];
    assert_eq!(told(&mut merger, events), [true, false, true, true, true]);
    // And it comes back behind: what it told before it went does not count.
    assert_eq!(told(&mut merger, [(0, head(3, 3)), (1, head(6, 6)), (0, head(4, 4))]), [false, true, false]);
}

#[test]
fn nodes_that_mislead_are_not_heard_while_others_tell_of_heads() {
    let ahead = |node: usize| if node == 0 { Standing::Ahead } else { Standing::Well };
    let mut merger = Merger::new(3);
    assert!(merger.admit(0, head(1_000_000, 1), ahead).is_some(), "nobody else told anything");
    assert!(merger.admit(1, head(5, 5), ahead).is_some(), "it holds nobody back");
    assert!(merger.admit(0, head(1_000_001, 2), ahead).is_none());
    assert!(merger.admit(2, head(5, 5), ahead).is_none());
    assert!(merger.admit(2, head(6, 6), ahead).is_some());
    assert!(merger.admit(0, checkpoint(70_000), ahead).is_some());
    assert!(merger.admit(1, checkpoint(3), |_| Standing::Well).is_some());
}

#[test]
fn blocks_reorgs_and_checkpoints_come_once() {
    let mut merger = Merger::new(2);
    let events = [
        (0, block(7)),
        (1, block(7)),
        (1, reorg(1, 2, 3)),
        (0, reorg(1, 2, 4)),
        (0, reorg(2, 1, 1)),
        (1, checkpoint(4)),
        (0, checkpoint(3)),
        (0, checkpoint(4)),
        (0, checkpoint(5)),
    ];
    assert_eq!(told(&mut merger, events), [true, false, true, false, true, true, false, false, true]);
    let late = [(0, head(100, 100)), (1, block(67)), (1, block(68)), (0, block(67))];
    assert_eq!(told(&mut merger, late), [true, false, true, false], "node 0 told block 67 second");
}

#[test]
fn attributes_that_differ_in_anything_are_all_told() {
    let mut merger = Merger::new(2);
    let events = [
        (0, attributes(5, 1)),
        (1, attributes(5, 2)),
        (1, attributes(5, 1)),
        (0, attributes(5, 2)),
        (0, attributes(5, 1)),
        (1, attributes(6, 1)),
    ];
    // What a node says a second time is told again: it may have changed its mind in between.
    assert_eq!(told(&mut merger, events), [true, true, false, false, true, true]);
}

#[test]
fn memory_is_bounded() {
    let mut merger = Merger::new(2);
    for slot in 0..1_000 {
        told(
            &mut merger,
            [(0, head(slot, slot)), (0, block(slot)), (1, attributes(slot, 1)), (1, checkpoint(slot))],
        );
        told(&mut merger, [(1, reorg(slot, 0, 1))]);
    }
    let memories = [&merger.blocks, &merger.attributes, &merger.reorgs, &merger.checkpoints];
    assert!(memories.iter().all(|memory| memory.events.len() == REMEMBERED));
    assert_eq!(merger.earlier.len(), REMEMBERED);
}

#[test]
fn places_that_no_node_has_do_no_harm() {
    let mut merger = Merger::new(0);
    told(&mut merger, [(3, head(1, 1)), (3, block(1)), (3, disconnected())]);
}

const NODES: usize = 3;

proptest! {
    /// However the nodes' streams of one and the same chain come together, the chain is told once, in order.
    #[test]
    fn one_chain_told_by_several_is_told_once(turns in vec(0..NODES, 1..200), reorgs in vec(any::<bool>(), 30)) {
        // Slots rise by one; sometimes the block of a slot is replaced by another of that slot.
        let mut chain = Vec::new();
        for (slot, reorg) in (1u64..).zip(reorgs) {
            chain.push((slot, slot * 2));
            if reorg {
                chain.push((slot, slot * 2 + 1));
            }
        }
        let mut merger = Merger::new(NODES);
        let mut next = [0usize; NODES];
        let mut heads = Vec::new();
        for node in turns {
            let Some((slot, number)) = chain.get(next[node]) else { continue };
            next[node] += 1;
            if let Some(BeaconEvent::Head(head)) = merger.admit(node, self::head(*slot, *number), |_| Standing::Well) {
                heads.push((head.slot, head.block));
            }
        }
        let farthest = next.into_iter().max().unwrap();
        let expected: Vec<_> = chain[..farthest].iter().map(|(slot, number)| (*slot, root(*number))).collect();
        prop_assert_eq!(heads, expected);
    }

    /// A single node is told of as it speaks, but for heads it repeats.
    #[test]
    fn a_node_alone_is_heard(said in vec((0u64..5, 0u64..3), 1..40)) {
        let mut merger = Merger::new(1);
        let mut last = None;
        for (slot, number) in said {
            let news = merger.admit(0, head(slot, number), |_| Standing::Unknown).is_some();
            prop_assert_eq!(news, last != Some(number));
            last = Some(number);
        }
    }

    /// Nothing that a node tells is lost for good: the union of attributes comes through, each at most as often as
    /// the node that said it most often.
    #[test]
    fn attributes_are_told_as_often_as_by_the_node_that_says_them_most(said in vec((0..NODES, 0u64..2, 0u8..3), 1..40)) {
        let mut merger = Merger::new(NODES);
        let mut by_node = std::collections::HashMap::<(u64, u8), [usize; NODES]>::new();
        let mut all = std::collections::HashMap::<(u64, u8), usize>::new();
        for (node, slot, fee) in said {
            by_node.entry((slot, fee)).or_default()[node] += 1;
            if merger.admit(node, attributes(slot, fee), |_| Standing::Well).is_some() {
                *all.entry((slot, fee)).or_default() += 1;
            }
        }
        for (key, counts) in by_node {
            prop_assert_eq!(all.get(&key).copied(), counts.into_iter().max());
        }
    }

    /// Any stories of any nodes, with any standings: no panic, and the head told never is one that its node does
    /// not stand on.
    #[test]
    fn any_stories_are_merged(said in vec((0..NODES, 0u64..20, 0u64..20, 0u8..8, any::<bool>()), 0..100)) {
        let all = [
            Standing::Well, Standing::Unknown, Standing::Faltering, Standing::Down,
            Standing::Unverified, Standing::Disagreeing, Standing::Behind, Standing::Ahead,
        ];
        let mut merger = Merger::new(NODES);
        for (node, slot, number, standing, gone) in said {
            let event = if gone { disconnected() } else { head(slot, number) };
            let news = merger.admit(node, event, |place| all[(usize::from(standing) + place) % all.len()]);
            if let Some(BeaconEvent::Head(head)) = news {
                prop_assert_eq!(merger.heads[node].map(|at| at.root), Some(head.block));
                prop_assert_eq!(merger.told.map(|at| at.root), Some(head.block));
            }
        }
    }
}

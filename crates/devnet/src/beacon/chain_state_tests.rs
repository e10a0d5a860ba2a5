#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;

use super::*;

const VALIDATORS: u64 = 16;

fn chain() -> ChainState {
    let clock = SlotClock::new(1_700_000_000_000, 2_000, 4).unwrap();
    let execution = ExecutionBlock { hash: B256::repeat_byte(0xee), number: 3, timestamp: 1_600_000_000 };
    ChainState::new(clock, VALIDATORS, B256::repeat_byte(1), execution)
}

/// An honest block for `slot` upon `parent`; `salt` tells apart two that are otherwise alike.
fn candidate_on(chain: &ChainState, parent: &Block, slot: u64, salt: u8) -> Candidate {
    let proposer_index = chain.proposer(parent, slot);
    let randao_reveal = BlsSignature::repeat_byte(salt);
    let hash = keccak256([&slot.to_le_bytes()[..], parent.root.as_slice(), &[salt]].concat());
    let state_root = state_root_after(parent.header.state_root, slot, proposer_index, &randao_reveal, hash);
    Candidate {
        header: BeaconBlockHeader {
            slot,
            proposer_index,
            parent_root: parent.root,
            state_root,
            body_root: B256::repeat_byte(salt),
        },
        signature: BlsSignature::ZERO,
        randao_reveal,
        execution: ExecutionBlock {
            hash,
            number: parent.execution.number + 1,
            timestamp: chain.timestamp(slot, parent),
        },
        parent_hash: parent.execution.hash,
        prev_randao: parent.randao_mix,
        withdrawals: 0,
    }
}

fn candidate(chain: &ChainState, slot: u64) -> Candidate {
    candidate_on(chain, &chain.head().clone(), slot, 0)
}

fn grow(chain: &mut ChainState, slots: impl IntoIterator<Item = u64>) -> Vec<Checkpoint> {
    let mut finalized = Vec::new();
    for slot in slots {
        let next = candidate(chain, slot);
        chain.check_gossip(&next, slot).unwrap();
        chain.check_contents(&next).unwrap();
        chain.claim(&next).unwrap();
        finalized.extend(chain.import(next).unwrap().unwrap().finalized);
    }
    finalized
}

#[test]
fn honest_blocks_make_a_chain() {
    let mut chain = chain();
    grow(&mut chain, [1, 2, 4]);
    assert_eq!(chain.chain().map(|block| block.header.slot).collect::<Vec<_>>(), [0, 1, 2, 4]);
    assert_eq!(chain.head().execution.number, 6);
    assert_eq!(chain.block_at(3), None);
    assert_eq!(chain.block_at_or_before(3).unwrap().header.slot, 2);
    assert_eq!(chain.block_with_state(chain.head().header.state_root), Some(chain.head()));
}

#[test]
fn the_randomness_is_mixed_from_block_to_block() {
    let mut chain = chain();
    grow(&mut chain, [1]);
    let reveal = Sha256::digest(BlsSignature::repeat_byte(0));
    assert_eq!(chain.head().randao_mix, B256::repeat_byte(0xee) ^ B256::from_slice(&reveal));
}

#[test]
fn each_rule_refuses_what_breaks_it() {
    let mut chain = chain();
    grow(&mut chain, [1]);
    let good = candidate(&chain, 2);
    assert_eq!(chain.check_gossip(&good, 2), Ok(()));
    assert_eq!(chain.check_gossip(&good, 1), Err(BlockError::Early { slot: 2, current: 1 }));

    let mut orphan = good.clone();
    orphan.header.parent_root = B256::repeat_byte(9);
    assert_eq!(chain.check_gossip(&orphan, 2), Err(BlockError::UnknownParent(B256::repeat_byte(9))));

    let mut same_slot = good.clone();
    same_slot.header.slot = 1;
    assert_eq!(chain.check_gossip(&same_slot, 2), Err(BlockError::NotAfterParent { slot: 1, parent: 1 }));

    let mut usurper = good.clone();
    usurper.header.proposer_index += 1;
    assert!(matches!(chain.check_gossip(&usurper, 2), Err(BlockError::Proposer { slot: 2, .. })));

    type Spoil = fn(&mut Candidate);
    let spoilt: [(&str, Spoil); 5] = [
        ("parent_hash", |block| block.parent_hash = B256::ZERO),
        ("block_number", |block| block.execution.number += 1),
        ("timestamp", |block| block.execution.timestamp += 1),
        ("prev_randao", |block| block.prev_randao = B256::ZERO),
        ("withdrawals", |block| block.withdrawals = 1),
    ];
    for (name, spoil) in spoilt {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(
            matches!(chain.check_contents(&bad), Err(BlockError::Payload { field, .. }) if field == name),
            "{name}"
        );
    }
    let mut bad = good.clone();
    bad.header.state_root = B256::ZERO;
    assert!(matches!(chain.check_contents(&bad), Err(BlockError::StateRoot { .. })));
    assert_eq!(chain.check_contents(&good), Ok(()));
}

#[test]
fn a_second_block_of_the_same_proposer_for_a_slot_is_equivocation() {
    let mut chain = chain();
    let head = chain.head().clone();
    let (one, two) = (candidate_on(&chain, &head, 1, 1), candidate_on(&chain, &head, 1, 2));
    assert_eq!(chain.claim(&one), Ok(()));
    assert_eq!(chain.claim(&one), Ok(()), "the same block again is no fault");
    assert_eq!(chain.claim(&two), Err(BlockError::Equivocation { slot: 1, known: one.root() }));
}

#[test]
fn an_epoch_is_final_two_epochs_later() {
    let mut chain = chain();
    assert!(grow(&mut chain, 1..12).is_empty());
    let finalized = grow(&mut chain, 12..17);
    assert_eq!(finalized.iter().map(|one| one.epoch).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(chain.finalized().root, chain.block_at(8).unwrap().root);
    assert_eq!(chain.justified().root, chain.block_at(12).unwrap().root);
    let late = candidate_on(&chain, &chain.block_at(6).unwrap().clone(), 7, 5);
    assert_eq!(chain.check_gossip(&late, 17), Err(BlockError::Final(7)));
}

#[test]
fn a_missed_first_slot_leaves_the_block_before_as_checkpoint() {
    let mut chain = chain();
    let finalized = grow(&mut chain, [1, 2, 3, 5, 9, 13]);
    assert_eq!(finalized, [Checkpoint { epoch: 1, root: chain.block_at(3).unwrap().root }]);
}

#[test]
fn a_block_taken_off_leaves_its_slot_empty_and_the_next_builds_around_it() {
    let mut chain = chain();
    grow(&mut chain, [1, 2, 3]);
    let old = chain.head().clone();
    let change = chain.reorg(1).unwrap();
    assert_eq!((change.old, change.orphaned), (old.root, 1));
    assert_eq!(chain.head().header.slot, 2);
    assert_eq!(chain.block_at(3), None);
    assert_eq!(chain.block(old.root), Some(&old), "off the chain, but known");
    grow(&mut chain, [4]);
    assert_eq!(chain.chain().map(|block| block.header.slot).collect::<Vec<_>>(), [0, 1, 2, 4]);
    assert_eq!(chain.adopt(old.root).unwrap().orphaned, 1);
    assert_eq!(chain.chain().map(|block| block.header.slot).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn a_branch_that_reaches_a_higher_slot_wins() {
    let mut chain = chain();
    grow(&mut chain, [1, 2]);
    let fork_point = chain.block_at(1).unwrap().clone();
    let late = candidate_on(&chain, &fork_point, 2, 7);
    assert_eq!(chain.import(late.clone()), Ok(None), "the first of a slot stays the head");
    let late = chain.block(late.root()).unwrap().clone();
    let next = candidate_on(&chain, &late, 3, 0);
    let change = chain.import(next.clone()).unwrap().unwrap();
    assert_eq!((change.orphaned, change.new), (1, next.root()));
    assert_eq!(chain.block_at(2).unwrap().root, late.root);
    assert_eq!(chain.import(next), Ok(None), "known already");
}

#[test]
fn what_is_final_is_never_taken_off() {
    let mut chain = chain();
    grow(&mut chain, 1..=16);
    assert!(chain.reorg(0).is_none());
    assert_eq!(chain.finalized().root, chain.block_at(8).unwrap().root);
    assert!(chain.reorg(9).is_none());
    assert_eq!(chain.head().header.slot, 16);
    assert!(chain.reorg(8).is_some());
    assert_eq!(chain.head().header.slot, 8);
}

#[test]
fn duties_change_with_the_block_that_decides_them_and_not_before() {
    let mut chain = chain();
    grow(&mut chain, 1..=9);
    let (now, next) = (chain.proposers(chain.head(), 2), chain.proposers(chain.head(), 3));
    let decided = chain.decided_by(chain.head(), 3);
    assert_eq!(decided, chain.block_at(7).unwrap().root);
    assert_eq!(chain.reorg(1).map(|change| change.orphaned), Some(1));
    assert_eq!(chain.proposers(chain.head(), 3), next, "one block off does not reach the decisive one");
    grow(&mut chain, [10]);

    assert_eq!(chain.depth_to_change_duties(2), Some(3));
    chain.reorg(3).unwrap();
    assert_ne!(chain.decided_by(chain.head(), 3), decided);
    assert_ne!(chain.proposers(chain.head(), 3), next);
    assert_eq!(chain.proposers(chain.head(), 2), now, "the running epoch was decided earlier");
}

#[test]
fn facts_for_a_slot_are_those_an_honest_block_meets() {
    let mut chain = chain();
    grow(&mut chain, [1, 2]);
    assert_eq!(chain.facts_for(2), None);
    let facts = chain.facts_for(5).unwrap();
    let block = candidate(&chain, 5);
    assert_eq!(facts.proposer_index, block.header.proposer_index);
    assert_eq!(facts.timestamp, block.execution.timestamp);
    assert_eq!(facts.prev_randao, block.prev_randao);
    assert_eq!(facts.timestamp, 1_700_000_010);
}

/// What happens in a slot of a random life.
#[derive(Debug, Clone)]
enum Slot {
    Missed,
    Block,
    /// A block upon the head's parent, which competes with the head.
    Rival,
    Reorg(u64),
    /// A reorg that reaches the block which decided the next epoch's duties.
    NewDuties,
}

fn slot() -> impl Strategy<Value = Slot> {
    prop_oneof![
        2 => Just(Slot::Missed),
        12 => Just(Slot::Block),
        2 => Just(Slot::Rival),
        1 => (0u64..6).prop_map(Slot::Reorg),
        1 => Just(Slot::NewDuties),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_chain_holds_together(life in proptest::collection::vec(slot(), 1..80)) {
        let mut chain = chain();
        let mut final_chain: Vec<B256> = Vec::new();
        for (now, event) in (1u64..).zip(life) {
            let change = match event {
                Slot::Missed => None,
                Slot::Block | Slot::Rival => {
                    let head = chain.head().clone();
                    let parent = match event {
                        Slot::Rival if head.root != chain.finalized().root => chain.block(head.header.parent_root).cloned(),
                        _ => None,
                    };
                    let block = candidate_on(&chain, parent.as_ref().unwrap_or(&head), now, 0);
                    prop_assert_eq!(chain.check_gossip(&block, now), Ok(()));
                    prop_assert_eq!(chain.check_contents(&block), Ok(()));
                    prop_assert_eq!(chain.claim(&block), Ok(()));
                    let change = chain.import(block).unwrap();
                    prop_assert_eq!(change.as_ref().map(|change| change.orphaned), Some(u64::from(parent.is_some())));
                    change
                }
                Slot::Reorg(depth) => chain.reorg(depth),
                Slot::NewDuties => {
                    let epoch = chain.clock.epoch_of(chain.head().header.slot);
                    let before = chain.decided_by(chain.head(), epoch + 1);
                    let change = chain.depth_to_change_duties(epoch).and_then(|depth| chain.reorg(depth));
                    if change.is_some() {
                        prop_assert_ne!(chain.decided_by(chain.head(), epoch + 1), before);
                    }
                    change
                }
            };
            if let Some(change) = change {
                prop_assert_eq!(change.new, chain.head().root);
                prop_assert_ne!(change.old, change.new);
            }

            let blocks: Vec<&Block> = chain.chain().collect();
            prop_assert_eq!(blocks.last().map(|block| block.root), Some(chain.head().root));
            for pair in blocks.windows(2) {
                prop_assert_eq!(pair[1].header.parent_root, pair[0].root);
                prop_assert_eq!(pair[1].execution.number, pair[0].execution.number + 1);
                prop_assert!(pair[1].header.slot > pair[0].header.slot);
                prop_assert!(pair[1].execution.timestamp > pair[0].execution.timestamp);
                prop_assert_eq!(pair[1].header.proposer_index, chain.proposer(pair[0], pair[1].header.slot));
            }
            let roots: Vec<B256> = blocks.iter().map(|block| block.root).collect();
            let until_final = roots.iter().position(|root| *root == chain.finalized().root);
            let until_final = &roots[..=until_final.unwrap()];
            prop_assert!(until_final.starts_with(&final_chain), "what is final stays");
            final_chain = until_final.to_vec();
        }
    }
}

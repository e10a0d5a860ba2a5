use super::*;
use crate::{
    fixtures::*,
    objects::Commitment,
    ordering::{Limits, WindowEngine},
    signing::EcdsaSecret,
};

fn resign(ordering: &OrderingCommitment, secret: &EcdsaSecret) -> SignedCommitment {
    let commitment = Commitment::of_ordering(ordering, Address::ZERO);
    SignedCommitment::sign(commitment, secret, &NETWORK).unwrap()
}

/// A window of two segments: (0: two microblocks, seal), (1: one microblock, window's seal).
fn stream() -> Vec<StreamEvent> {
    let limits = Limits { max_batch_bytes: 20_000, ..Limits::default() };
    let mut engine = WindowEngine::open(config(limits), Arc::default());
    let mut events = vec![StreamEvent::Window(Arc::new(authority()))];
    let mut next = |engine: &mut WindowEngine, now| {
        let draft = engine.draft(now).unwrap();
        engine.committed().unwrap();
        let commitment = signed(&draft);
        let transactions = draft.txs.iter().map(|tx| tx.raw.clone()).collect();
        events.push(match draft.commitment.kind {
            CommitmentKind::Microblock => StreamEvent::Microblock(Microblock { commitment, transactions }),
            _ => StreamEvent::Seal(commitment),
        });
    };
    for id in 0..2 {
        engine.push(opaque_tx(id, 100)).unwrap();
        next(&mut engine, START_MS + u64::from(id));
    }
    engine.push(opaque_tx(9, 7_000)).unwrap();
    next(&mut engine, START_MS + 3);
    next(&mut engine, START_MS + 4);
    engine.close();
    next(&mut engine, START_MS + 5);
    events
}

fn ordering(event: &StreamEvent) -> OrderingCommitment {
    match event {
        StreamEvent::Microblock(Microblock { commitment, .. }) | StreamEvent::Seal(commitment) => {
            commitment.commitment.ordering().unwrap()
        }
        StreamEvent::Window(_) => panic!("a window"),
    }
}

/// The same event under a changed ordering.
fn changed(
    event: &StreamEvent,
    secret: &EcdsaSecret,
    change: impl FnOnce(&mut OrderingCommitment),
) -> StreamEvent {
    let mut ordering = ordering(event);
    change(&mut ordering);
    let commitment = resign(&ordering, secret);
    match event {
        StreamEvent::Microblock(Microblock { transactions, .. }) => {
            StreamEvent::Microblock(Microblock { commitment, transactions: transactions.clone() })
        }
        _ => StreamEvent::Seal(commitment),
    }
}

fn checker() -> StreamChecker {
    StreamChecker::new(ROLLUP, roots(), Some(PolicyRules { policy: Policy::PriorityFee, rules: OPAQUE }))
}

/// A checker that has taken `events`.
fn after(events: &[StreamEvent]) -> StreamChecker {
    let mut checker = checker();
    for event in events {
        checker.on(event).unwrap();
    }
    checker
}

#[test]
fn a_sound_stream_is_taken_and_repetitions_do_no_harm() {
    let events = stream();
    let mut checker = after(&events);
    let window = checker.window(SLOT).unwrap();
    assert!(window.ended());
    assert_eq!((window.segment(), window.places().len()), (1, 3));
    for event in &events {
        assert_eq!(checker.on(event), Ok(Accepted::Repeated));
    }
}

#[test]
fn events_survive_json() {
    for event in stream() {
        assert_eq!(StreamEvent::parse(event.name(), &event.data().unwrap()).unwrap(), Some(event));
    }
    assert_eq!(StreamEvent::parse("other", "{}").unwrap(), None);
    assert!(StreamEvent::parse("seal", "{}").is_err());
}

#[test]
fn equivocation_is_told_with_both_words() {
    let events = stream();
    for (at, event) in events.iter().enumerate().skip(1) {
        let other = changed(event, &committer(), |ordering| ordering.timestamp_ms += 1);
        let violation = after(&events).on(&other).unwrap_err();
        let Violation::Equivocation { segment, number, first, second } = violation else {
            panic!("{at}: {violation}")
        };
        for signed in [&first, &second] {
            let ordering = signed.commitment.ordering().unwrap();
            assert_eq!((ordering.segment, ordering.number), (segment, number));
            assert_eq!(signed.verify(&NETWORK, committer().address()), Ok(()));
        }
        assert_ne!(first, second);
    }
}

#[test]
fn a_chain_that_breaks_is_told_with_the_link_before() {
    let events = stream();
    let broken = |change: fn(&mut OrderingCommitment)| {
        let event = changed(&events[2], &committer(), change);
        let Violation::BrokenChain { error, before, .. } = after(&events[..2]).on(&event).unwrap_err() else {
            panic!("another violation")
        };
        assert_eq!(before.unwrap().commitment.ordering().unwrap(), ordering(&events[1]));
        error
    };
    assert_eq!(broken(|ordering| ordering.parent.0[0] ^= 1), ChainError::Parent);
    assert_eq!(
        broken(|ordering| ordering.first_index += 1),
        ChainError::FirstIndex { expected: 1, found: 2 }
    );

    let unsound = |change: fn(&mut OrderingCommitment)| {
        after(&events[..2]).on(&changed(&events[2], &committer(), change)).unwrap_err()
    };
    let earlier = unsound(|ordering| ordering.timestamp_ms -= 2);
    assert_eq!(earlier, Violation::Unsound(ChainError::Time));
    let other_head = unsound(|ordering| ordering.forced_inclusion_head += 1);
    assert_eq!(other_head, Violation::Unsound(ChainError::ForcedHead));

    let first = changed(&events[1], &committer(), |ordering| ordering.parent = B256::repeat_byte(1));
    let violation = after(&events[..1]).on(&first).unwrap_err();
    assert!(matches!(violation, Violation::BrokenChain { before: None, error: ChainError::Parent, .. }));
    let seal = changed(&events[3], &committer(), |ordering| ordering.tx_count = 2);
    let violation = after(&events[..3]).on(&seal).unwrap_err();
    assert!(matches!(violation, Violation::BrokenChain { error: ChainError::SealWithTxs, .. }));
}

#[test]
fn what_comes_after_a_seal_is_told_with_the_seal() {
    let events = stream();
    let in_segment = changed(&events[2], &committer(), |ordering| ordering.number = 7);
    let higher_segment = changed(&events[4], &committer(), |ordering| ordering.segment = 2);
    let in_last = changed(&events[4], &committer(), |ordering| ordering.number = 9);
    for (event, kind) in [
        (in_segment, CommitmentKind::SegmentSeal),
        (higher_segment, CommitmentKind::WindowSeal),
        (in_last, CommitmentKind::WindowSeal),
    ] {
        let Violation::PostSeal { seal, .. } = after(&events).on(&event).unwrap_err() else {
            panic!("another violation")
        };
        assert_eq!(seal.commitment.ordering().unwrap().kind, kind);
    }
}

#[test]
fn a_stream_that_is_not_what_is_signed_is_told() {
    let events = stream();
    let StreamEvent::Microblock(microblock) = &events[2] else { panic!("a microblock") };
    let told = |transactions: Vec<Bytes>| {
        let commitment = microblock.commitment.clone();
        let event = StreamEvent::Microblock(Microblock { commitment, transactions });
        after(&events[..2]).on(&event).unwrap_err()
    };
    assert_eq!(told(vec![Bytes::from_static(b"other")]), Violation::Unsound(ChainError::Root));
    assert_eq!(told(vec![]), Violation::Unsound(ChainError::Count { stated: 1, found: 0 }));
    let gap = after(&events[..2]).on(&events[3]).unwrap_err();
    assert_eq!(gap, Violation::Unsound(ChainError::Gap { segment: 0, number: 2 }));
    let as_seal = StreamEvent::Seal(microblock.commitment.clone());
    assert_eq!(after(&events[..2]).on(&as_seal), Err(Violation::WrongEvent));
}

#[test]
fn who_may_not_order_is_told() {
    let events = stream();
    assert_eq!(checker().on(&events[1]), Err(Violation::NoWindow(SLOT)));
    let stranger = ecdsa_secret(9);
    let violation = after(&events[..1]).on(&changed(&events[1], &stranger, |_| ())).unwrap_err();
    assert!(matches!(violation, Violation::Unauthorized { found, .. } if found == stranger.address()));

    let late = Arc::new(authority_of(delegation(&allocation()), START_MS));
    let violation = checker().on(&StreamEvent::Window(late)).unwrap_err();
    assert!(matches!(violation, Violation::Authority { error: DelegationError::TooLate { .. }, .. }));

    let mut other = allocation();
    other.start_ms += 1;
    let second = Arc::new(authority_of(delegation(&other), START_MS - 1));
    let violation = after(&events).on(&StreamEvent::Window(second)).unwrap_err();
    assert!(matches!(violation, Violation::AllocationEquivocation { slot: SLOT, .. }));

    let elsewhere = changed(&events[1], &committer(), |ordering| ordering.rollup_id = RollupId(1));
    assert!(matches!(after(&events[..1]).on(&elsewhere), Err(Violation::Malformed(_))));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever a connection drops, repeats or mixes up, an honest gateway is accused of nothing.
    #[test]
    fn an_honest_gateway_is_never_accused(order in proptest::collection::vec(0usize..6, 0..40)) {
        let events = stream();
        let mut checker = checker();
        let mut taken = 0;
        for at in order {
            let result = checker.on(&events[at]);
            if at == taken {
                proptest::prop_assert!(matches!(result, Ok(ref accepted) if *accepted != Accepted::Repeated));
                taken += 1;
            } else if at < taken {
                proptest::prop_assert_eq!(result, Ok(Accepted::Repeated));
            } else {
                let harmless = matches!(
                    result,
                    Err(Violation::NoWindow(SLOT) | Violation::Unsound(ChainError::Gap { .. }))
                );
                proptest::prop_assert!(harmless, "{:?}", result);
            }
        }
    }
}

#[test]
fn what_names_another_slasher_is_not_believed() {
    let events = stream();
    let here = Address::repeat_byte(0x52);
    let checker =
        |slasher| StreamChecker::new(ROLLUP, TrustRoots { slasher: Some(slasher), ..roots() }, None);
    let StreamEvent::Microblock(first) = &events[1] else { panic!("no microblock") };
    let named = first.commitment.commitment.slasher;
    let mut right = checker(named);
    for event in &events {
        assert!(right.on(event).is_ok());
    }
    let mut wrong = checker(here);
    wrong.on(&events[0]).unwrap();
    for event in &events[1..] {
        let violation = wrong.on(event).unwrap_err();
        assert!(
            matches!(&violation, Violation::Slasher { expected, found, .. } if (*expected, *found) == (here, named)),
            "{violation}"
        );
    }
    // A second commitment for a place is evidence, whatever it names.
    let other = changed(&events[1], &committer(), |ordering| ordering.timestamp_ms += 1);
    let StreamEvent::Microblock(mut other) = other else { panic!("no microblock") };
    let commitment = Commitment::of_ordering(&other.commitment.commitment.ordering().unwrap(), here);
    other.commitment = SignedCommitment::sign(commitment, &committer(), &NETWORK).unwrap();
    let mut right = checker(named);
    right.on(&events[0]).unwrap();
    right.on(&events[1]).unwrap();
    let violation = right.on(&StreamEvent::Microblock(other)).unwrap_err();
    assert!(matches!(violation, Violation::Equivocation { .. }), "{violation}");
}

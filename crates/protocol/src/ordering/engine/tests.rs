use super::*;
use crate::{
    fixtures::{SLOT, config, opaque_tx},
    objects::CommitmentKind,
};
use alloy_primitives::Address;

fn engine(limits: Limits) -> WindowEngine {
    WindowEngine::open(config(limits), Arc::default())
}

fn default_engine() -> WindowEngine {
    engine(Limits::default())
}

fn hashes(draft: &Draft) -> Vec<B256> {
    draft.txs.iter().map(|tx| tx.hash).collect()
}

/// Makes links until there is none to make.
fn drain(engine: &mut WindowEngine) -> Vec<Arc<Draft>> {
    std::iter::from_fn(|| {
        engine.draft(0)?;
        Some(engine.committed().unwrap())
    })
    .collect()
}

#[test]
fn while_one_link_is_made_durable_the_next_collects() {
    let mut engine = default_engine();
    let txs: Vec<_> = (0..4).map(|id| opaque_tx(id, 100)).collect();
    assert_eq!(engine.draft(5), None, "nothing to promise");
    assert_eq!(engine.push(txs[0].clone()), Ok(Pushed::Queued));
    let first = engine.draft(5).unwrap();
    assert_eq!(hashes(&first), [txs[0].hash]);
    for tx in &txs[1..] {
        assert_eq!(engine.push(tx.clone()), Ok(Pushed::Queued));
    }
    assert_eq!(engine.draft(6), None, "one in flight");
    assert_eq!(engine.push(txs[0].clone()), Ok(Pushed::Waiting));
    engine.committed().unwrap();
    let place = Place { slot: SLOT, segment: 0, number: 0, index: 0 };
    assert_eq!(engine.push(txs[0].clone()), Ok(Pushed::Placed(place)));
    let second = engine.draft(4).unwrap();
    assert_eq!(hashes(&second), [txs[1].hash, txs[2].hash, txs[3].hash]);
    assert_eq!(second.commitment.parent, first.hash);
    assert_eq!((second.commitment.number, second.commitment.first_index), (1, 1));
    assert_eq!(second.commitment.timestamp_ms, 5, "time does not go back");
    assert_eq!(second.place(2), Some(Place { slot: SLOT, segment: 0, number: 1, index: 3 }));
    assert_eq!(second.place(3), None);
}

#[test]
fn the_last_windows_transactions_are_known() {
    let mut last = default_engine();
    last.push(opaque_tx(1, 100)).unwrap();
    drain(&mut last);
    last.close();
    drain(&mut last);
    assert_eq!(last.state(), State::Sealed);
    let next = WindowConfig { slot: Slot(101), ..config(Limits::default()) };
    let mut next = WindowEngine::open(next, last.into_places());
    let place = Place { slot: SLOT, segment: 0, number: 0, index: 0 };
    assert_eq!(next.push(opaque_tx(1, 100)), Ok(Pushed::Placed(place)));
    next.close();
    assert_eq!(next.push(opaque_tx(1, 100)), Ok(Pushed::Placed(place)), "even when closed");
    assert_eq!(next.push(opaque_tx(2, 100)), Err(Refusal::Closed.into()));
}

#[test]
fn full_segments_are_sealed_until_the_window_is_full() {
    let mut engine = engine(Limits { max_batch_bytes: 40_000, max_segments: 2, ..Limits::default() });
    assert_eq!(engine.push(opaque_tx(0, 40_000)), Err(PushError::TooLarge));
    for id in 1..=3 {
        assert_eq!(engine.push(opaque_tx(id, 15_000)), Ok(Pushed::Queued), "{id}");
    }
    assert_eq!(engine.push(opaque_tx(5, 15_000)), Err(PushError::WindowFull));
    assert_eq!(engine.push(opaque_tx(6, 5_000)), Ok(Pushed::Queued), "a smaller one still fits");
    let kinds: Vec<_> = drain(&mut engine).iter().map(|draft| draft.commitment.kind).collect();
    use CommitmentKind::{Microblock, SegmentSeal, WindowSeal};
    assert_eq!(kinds, [Microblock, SegmentSeal, Microblock]);
    engine.close();
    let end = drain(&mut engine);
    assert_eq!(end.len(), 1);
    assert_eq!((end[0].commitment.kind, end[0].commitment.segment), (WindowSeal, 1));
    assert_eq!(end[0].batch.as_ref().map(Vec::len), Some(3));
    assert_eq!(end[0].commitment.first_index, 3);
}

#[test]
fn an_empty_window_is_sealed_too() {
    let mut engine = default_engine();
    assert!(engine.close().is_empty());
    let [seal] = &drain(&mut engine)[..] else { panic!("one link") };
    assert_eq!(seal.commitment.kind, CommitmentKind::WindowSeal);
    assert_eq!((seal.commitment.first_index, seal.commitment.tx_root), (0, B256::ZERO));
    assert_eq!(seal.batch, Some(vec![]));
    assert_eq!(engine.draft(9), None);
}

#[test]
fn what_was_rejected_waits_first_in_its_own_order() {
    let mut engine = default_engine();
    let txs: Vec<_> = (0..3).map(|id| opaque_tx(id, 100)).collect();
    engine.push(txs[0].clone()).unwrap();
    engine.push(txs[1].clone()).unwrap();
    engine.draft(1).unwrap();
    engine.push(txs[2].clone()).unwrap();
    assert_eq!(engine.rejected(), Ok(vec![]));
    assert_eq!(engine.rejected(), Err(Refusal::NothingInFlight));
    assert_eq!(hashes(&engine.draft(2).unwrap()), [txs[0].hash, txs[1].hash, txs[2].hash]);
    let [given_back @ .., _, _] = &engine.fail()[..] else { panic!("three waited") };
    assert_eq!(given_back.len(), 1);
    assert_eq!(engine.push(txs[0].clone()), Err(Refusal::Failed.into()));
}

#[test]
fn fees_order_within_a_microblock_alone() {
    let with_fee = |id: u32, fee| {
        let mut tx = (*opaque_tx(id, 100)).clone();
        tx.sender = Address::with_last_byte(u8::try_from(id).unwrap());
        tx.max_priority_fee = fee;
        Arc::new(tx)
    };
    let limits = Limits { max_microblock_txs: 2, ..Limits::default() };
    let config = WindowConfig { policy: Policy::PriorityFee, ..config(limits) };
    let mut engine = WindowEngine::open(config, Arc::default());
    let txs = [with_fee(1, 1), with_fee(2, 5), with_fee(3, 9)];
    for tx in &txs {
        engine.push(Arc::clone(tx)).unwrap();
    }
    let ordered: Vec<_> = drain(&mut engine).iter().map(|draft| hashes(draft)).collect();
    assert_eq!(ordered, [vec![txs[1].hash, txs[0].hash], vec![txs[2].hash]]);
}

#[test]
fn without_the_right_only_what_was_begun_is_sealed() {
    let mut begun = default_engine();
    begun.push(opaque_tx(0, 100)).unwrap();
    drain(&mut begun);
    begun.push(opaque_tx(1, 100)).unwrap();
    assert_eq!(begun.lose_right().len(), 1);
    assert_eq!(drain(&mut begun).len(), 1);
    assert_eq!(begun.state(), State::Sealed);

    let mut leaving = default_engine();
    leaving.push(opaque_tx(0, 100)).unwrap();
    leaving.draft(0).unwrap();
    leaving.lose_right();
    assert_eq!(leaving.state(), State::Leaving);
    let mut rejected = leaving.clone();
    assert_eq!(rejected.rejected().unwrap().len(), 1);
    assert_eq!(rejected.state(), State::Abandoned);
    leaving.committed().unwrap();
    assert_eq!(drain(&mut leaving).len(), 1);
    assert_eq!(leaving.state(), State::Sealed);
}

#[test]
fn a_microblock_is_bounded_in_bytes_but_never_empty() {
    let limits = Limits { max_microblock_bytes: 250, ..Limits::default() };
    let mut engine = WindowEngine::open(config(limits), Arc::default());
    for (id, bytes) in [(0, 100), (1, 100), (2, 100), (3, 400), (4, 100)] {
        engine.push(opaque_tx(id, bytes)).unwrap();
    }
    let counts: Vec<_> = drain(&mut engine).iter().map(|draft| draft.txs.len()).collect();
    assert_eq!(counts, [2, 1, 1, 1]);
}

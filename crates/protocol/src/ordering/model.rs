//! Random lives of a window: arrivals, crashes around the durable write, seals, loss of the right. After each step
//! the log is judged by rules written anew here, not by the chain's own.

use super::{Limits, Place, Places, Pushed, State, WindowEngine};
use crate::{
    fixtures::{SLOT, config, opaque_tx},
    inbox, merkle,
    objects::{CommitmentKind, OrderingCommitment},
    tx::ValidatedTx,
};
use alloy_primitives::{B256, Bytes, keccak256};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

const LIMITS: Limits = Limits {
    max_batch_bytes: 24 * 1024,
    max_segments: 3,
    max_microblock_txs: 5,
    max_microblock_bytes: 8 << 20,
};

#[derive(Debug, Clone)]
enum Step {
    Push { id: u32, size: usize },
    Draft { now_ms: u64 },
    Commit,
    Reject,
    CrashBeforeDurable,
    CrashAfterDurable,
    FailAfterDurable,
    Close,
    LoseRight,
}

/// The generator of steps; what must hold is judged on the real log.
struct Steps;

impl ReferenceStateMachine for Steps {
    type State = ();
    type Transition = Step;

    fn init_state() -> BoxedStrategy<()> {
        Just(()).boxed()
    }

    fn transitions((): &()) -> BoxedStrategy<Step> {
        prop_oneof![
            30 => (0u32..200, prop_oneof![4usize..300, 1_500usize..8 * 1024])
                .prop_map(|(id, size)| Step::Push { id, size }),
            1 => Just(Step::Push { id: 1_000, size: 30_000 }),
            20 => (0u64..1_000).prop_map(|now_ms| Step::Draft { now_ms }),
            20 => Just(Step::Commit),
            2 => Just(Step::Reject),
            2 => Just(Step::CrashBeforeDurable),
            2 => Just(Step::CrashAfterDurable),
            1 => Just(Step::FailAfterDurable),
            1 => Just(Step::Close),
            1 => Just(Step::LoseRight),
        ]
        .boxed()
    }

    fn apply((): (), _: &Step) {}
}

/// A shell around the engine: a log, and what was signed and answered on the strength of it.
struct Shell {
    engine: WindowEngine,
    log: Vec<(OrderingCommitment, Vec<Bytes>)>,
    signed: HashMap<(u16, u32), B256>,
    answered: HashMap<B256, Place>,
    queued: HashSet<B256>,
    /// How long the log was when it was last judged.
    judged: Cell<usize>,
}

impl Shell {
    fn make_durable(&mut self, draft: &super::Draft) {
        let raw = draft.txs.iter().map(|tx| tx.raw.clone()).collect();
        self.log.push((draft.commitment.clone(), raw));
    }

    fn sign_and_answer(&mut self, link: &OrderingCommitment, txs: &[Bytes]) {
        let hash = *self.signed.entry((link.segment, link.number)).or_insert_with(|| link.hash());
        assert_eq!(hash, link.hash(), "two commitments signed for one position");
        for (index, tx) in (link.first_index..).zip(txs) {
            let place = Place { slot: SLOT, segment: link.segment, number: link.number, index };
            let known = *self.answered.entry(keccak256(tx)).or_insert(place);
            assert_eq!(known, place, "an acknowledged transaction moved");
            self.queued.remove(&keccak256(tx));
        }
    }

    /// What a restart does: replay the log, sign the same bytes again.
    fn restart(&mut self) {
        let links = self.log.iter().map(|(link, txs)| (link, txs.as_slice()));
        self.engine = WindowEngine::replay(config(LIMITS), Arc::default(), links).unwrap();
        self.queued.clear();
        for (link, txs) in self.log.clone() {
            self.sign_and_answer(&link, &txs);
        }
    }

    fn drop_queued(&mut self, txs: &[Arc<ValidatedTx>]) {
        for tx in txs {
            assert!(self.queued.remove(&tx.hash), "given back, but was not queued");
        }
    }
}

struct Window;

impl StateMachineTest for Window {
    type SystemUnderTest = Shell;
    type Reference = Steps;

    fn init_test((): &()) -> Shell {
        Shell {
            engine: WindowEngine::open(config(LIMITS), Arc::<Places>::default()),
            log: Vec::new(),
            signed: HashMap::new(),
            answered: HashMap::new(),
            queued: HashSet::new(),
            judged: Cell::new(0),
        }
    }

    fn apply(mut shell: Shell, (): &(), step: Step) -> Shell {
        match step {
            Step::Push { id, size } => {
                let tx = opaque_tx(id, size);
                match shell.engine.push(Arc::clone(&tx)) {
                    Ok(Pushed::Queued) => assert!(shell.queued.insert(tx.hash)),
                    Ok(Pushed::Waiting) => assert!(shell.queued.contains(&tx.hash)),
                    Ok(Pushed::Placed(place)) => assert_eq!(shell.answered[&tx.hash], place),
                    Err(_) => {
                        assert!(!shell.queued.contains(&tx.hash) && !shell.answered.contains_key(&tx.hash));
                    }
                }
            }
            Step::Draft { now_ms } => {
                let state = shell.engine.state();
                let draft = shell.engine.draft(now_ms);
                let expected = match state {
                    State::Idle => !shell.queued.is_empty(),
                    State::Closing => true,
                    _ => false,
                };
                assert_eq!(draft.is_some(), expected);
            }
            Step::Commit => {
                if let Some(draft) = shell.engine.in_flight().cloned() {
                    shell.make_durable(&draft);
                    let raw: Vec<_> = draft.txs.iter().map(|tx| tx.raw.clone()).collect();
                    shell.sign_and_answer(&draft.commitment, &raw);
                    assert_eq!(shell.engine.committed().unwrap(), draft);
                } else {
                    assert!(shell.engine.committed().is_err());
                }
            }
            Step::Reject => {
                if let Ok(dropped) = shell.engine.rejected() {
                    shell.drop_queued(&dropped);
                }
            }
            Step::CrashBeforeDurable => shell.restart(),
            Step::CrashAfterDurable => {
                if let Some(draft) = shell.engine.in_flight().cloned() {
                    shell.make_durable(&draft);
                }
                shell.restart();
            }
            Step::FailAfterDurable => {
                if let Some(draft) = shell.engine.in_flight().cloned() {
                    shell.make_durable(&draft);
                }
                let dropped = shell.engine.fail();
                shell.drop_queued(&dropped);
                assert!(shell.queued.is_empty());
                assert!(shell.engine.state().is_ended() && shell.engine.draft(0).is_none());
                shell.restart();
            }
            Step::Close => {
                let dropped = shell.engine.close();
                shell.drop_queued(&dropped);
            }
            Step::LoseRight => {
                let unbound = shell.log.is_empty() && shell.engine.in_flight().is_none();
                let dropped = shell.engine.lose_right();
                shell.drop_queued(&dropped);
                assert!(!shell.engine.state().is_open());
                assert!(!unbound || shell.engine.state() == State::Abandoned, "would sign without the right");
            }
        }
        shell
    }

    fn check_invariants(shell: &Shell, (): &()) {
        assert_eq!(shell.engine.waiting(), shell.queued.len());
        if shell.judged.replace(shell.log.len()) == shell.log.len() {
            return;
        }
        judge(&shell.log);
        let links = shell.log.iter().map(|(link, txs)| (link, txs.as_slice()));
        let replayed = WindowEngine::replay(config(LIMITS), Arc::default(), links).unwrap();
        assert_eq!(replayed.chain(), shell.engine.chain());
        for (hash, place) in &shell.answered {
            assert_eq!(shell.engine.place_of(hash), Some(*place));
        }
    }

    fn teardown(mut shell: Shell, (): ()) {
        // However it went, a window that began can be ended, by one more link at most.
        let abandoned = shell.engine.state() == State::Abandoned;
        if let Some(draft) = shell.engine.in_flight().cloned() {
            shell.make_durable(&draft);
            shell.engine.committed().unwrap();
        }
        shell.engine.close();
        if let Some(draft) = shell.engine.draft(0) {
            shell.make_durable(&draft);
            shell.engine.committed().unwrap();
        }
        assert_eq!(shell.engine.state(), if abandoned { State::Abandoned } else { State::Sealed });
        assert!(abandoned || shell.log.last().unwrap().0.kind == CommitmentKind::WindowSeal);
        judge(&shell.log);
    }
}

/// The rules of design §4, over a whole log.
fn judge(log: &[(OrderingCommitment, Vec<Bytes>)]) {
    let mut segments: BTreeMap<u16, Vec<&(OrderingCommitment, Vec<Bytes>)>> = BTreeMap::new();
    for link in log {
        segments.entry(link.0.segment).or_default().push(link);
    }
    assert!(segments.keys().copied().eq(0..u16::try_from(segments.len()).unwrap()));
    assert!(segments.len() <= usize::from(LIMITS.max_segments));
    assert!(log.iter().map(|(link, _)| link.timestamp_ms).is_sorted());
    assert!(log.iter().all(|(link, _)| link.forced_inclusion_head == 3));
    let last = segments.len().checked_sub(1);
    let mut hashes_of_window = HashSet::new();
    for (segment, links) in &segments {
        let mut parent = B256::ZERO;
        let mut hashes: Vec<B256> = Vec::new();
        let mut lens = Vec::new();
        for (number, (link, txs)) in links.iter().enumerate() {
            assert_eq!(usize::try_from(link.number).unwrap(), number);
            assert_eq!(link.parent, parent);
            assert_eq!(usize::try_from(link.first_index).unwrap(), hashes.len());
            assert_eq!(usize::try_from(link.tx_count).unwrap(), txs.len());
            let is_last_link = number + 1 == links.len();
            let ends_window = Some(usize::from(*segment)) == last;
            match link.kind {
                CommitmentKind::Microblock => {
                    assert!(!txs.is_empty() && txs.len() <= LIMITS.max_microblock_txs);
                    assert!(!is_last_link || ends_window);
                    let own: Vec<B256> = txs.iter().map(keccak256).collect();
                    assert_eq!(link.tx_root, naive_root(u64::from(link.first_index), &own));
                    lens.extend(txs.iter().map(|tx| tx.len()));
                    hashes.extend(own);
                }
                CommitmentKind::SegmentSeal => {
                    assert!(is_last_link && !ends_window || links.len() == number + 1);
                    assert!(txs.is_empty());
                    assert_eq!(link.tx_root, naive_root(0, &hashes));
                }
                CommitmentKind::WindowSeal => {
                    assert!(is_last_link && ends_window && txs.is_empty());
                    assert_eq!(link.tx_root, naive_root(0, &hashes));
                }
            }
            parent = link.hash();
        }
        let authority = if *segment == 0 { 12 * 1024 } else { 0 };
        let size = inbox::calldata_bytes(lens, authority) + 256;
        assert!(size <= u64::from(LIMITS.max_batch_bytes), "{size}");
        assert!(hashes.iter().all(|hash| hashes_of_window.insert(*hash)), "ordered twice");
    }
}

fn naive_root(first: u64, hashes: &[B256]) -> B256 {
    let mut row: Vec<B256> = (first..).zip(hashes).map(|(index, hash)| merkle::leaf(index, hash)).collect();
    if row.is_empty() {
        return B256::ZERO;
    }
    while !row.len().is_power_of_two() {
        row.push(B256::ZERO);
    }
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| merkle::node(&pair[0], &pair[1])).collect();
    }
    row[0]
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_life_breaks_a_promise(sequential 1..120 => Window);
}

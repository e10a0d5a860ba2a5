use proptest::{collection::vec, prelude::*};

use super::*;

fn root(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

/// A node in order whose head is block `byte` at `slot`.
fn at(slot: u64, byte: u8) -> View {
    let head = HeadView { slot, root: root(byte), parent_root: root(byte.wrapping_sub(1)) };
    View { head, sync_distance: 0, is_syncing: false, is_optimistic: false, el_offline: false }
}

fn down() -> Observation {
    Err("connection refused".to_owned())
}

fn standings(agreement: &Agreement) -> Vec<Standing> {
    (0..agreement.nodes.len()).map(|node| agreement.standing(node)).collect()
}

/// The standings after one round at slot 100.
fn after(observations: &[Observation]) -> (Agreement, Vec<Standing>) {
    let mut agreement = Agreement::new(observations.len());
    agreement.observe(100, observations);
    let all = standings(&agreement);
    (agreement, all)
}

#[test]
fn each_fault_has_its_standing() {
    use Standing::{Ahead, Behind, Disagreeing, Down, Unverified, Well};
    let syncing = View { is_syncing: true, sync_distance: 40, ..at(60, 9) };
    let cases: [(&str, Observation, Standing); 9] = [
        ("on the head", Ok(at(100, 7)), Well),
        ("a block late", Ok(at(99, 6)), Well),
        ("as late as is allowed", Ok(at(98, 5)), Well),
        ("behind", Ok(at(97, 4)), Behind),
        ("syncing", Ok(syncing), Behind),
        ("on another branch", Ok(at(100, 9)), Disagreeing),
        ("optimistic", Ok(View { is_optimistic: true, ..at(100, 7) }), Unverified),
        ("without execution client", Ok(View { el_offline: true, ..at(100, 7) }), Unverified),
        ("in the future", Ok(at(102, 8)), Ahead),
    ];
    for (what, observation, expected) in cases {
        let (agreement, found) = after(&[observation, Ok(at(100, 7)), Ok(at(100, 7)), down()]);
        assert_eq!(found, [expected, Well, Well, Down], "{what}");
        assert_eq!(agreement.head().unwrap().root, root(7), "{what}");
        assert_eq!(agreement.reason(0).is_empty(), expected == Well, "{what}");
        assert_eq!(agreement.ranking().first() == Some(&0), expected == Well && what == "on the head");
    }
}

#[test]
fn a_lone_node_is_believed_and_an_old_head_alone_is_no_fault() {
    let (agreement, found) = after(&[Ok(at(3, 1))]);
    assert_eq!(found, [Standing::Well]);
    assert_eq!(agreement.head(), Some(AgreedHead { slot: 3, root: root(1), nodes: 1 }));
    let (agreement, found) = after(&[down()]);
    assert_eq!((agreement.head(), found.as_slice()), (None, &[Standing::Down][..]));
}

#[test]
fn among_two_the_one_that_goes_on_from_before_is_followed() {
    let mut agreement = Agreement::new(2);
    agreement.observe(99, &[Ok(at(99, 1)), Ok(at(99, 1))]);
    agreement.observe(100, &[Ok(at(100, 9)), Ok(at(100, 2))]);
    assert_eq!(agreement.head().unwrap().root, root(2), "block 2 is block 1's child");
    assert_eq!(standings(&agreement), [Standing::Disagreeing, Standing::Well]);
    let (agreement, _) = after(&[Ok(at(100, 9)), Ok(at(100, 2))]);
    assert_eq!(agreement.head().unwrap().root, root(9), "without a past the first configured is followed");
}

#[test]
fn another_branch_is_known_by_an_older_slot_too() {
    let mut agreement = Agreement::new(3);
    agreement.observe(99, &[Ok(at(99, 1)), Ok(at(99, 1)), Ok(at(98, 0))]);
    let stray = at(99, 0x55);
    agreement.observe(100, &[Ok(at(100, 2)), Ok(at(100, 2)), Ok(stray)]);
    assert_eq!(agreement.standing(2), Standing::Disagreeing);
    // Unless the chain was reorganised to it: then the others' head is its child.
    let child = HeadView { slot: 100, root: root(3), parent_root: stray.head.root };
    let child = View { head: child, ..stray };
    agreement.observe(100, &[Ok(child), Ok(child), Ok(stray)]);
    assert_eq!(agreement.standing(2), Standing::Well);
}

#[test]
fn a_node_that_stays_down_is_news_once_and_once_when_it_is_back() {
    let mut agreement = Agreement::new(2);
    assert_eq!(agreement.observe(99, &[Ok(at(99, 1)), Ok(at(99, 1))]).len(), 2);
    let news = agreement.observe(100, &[Ok(at(100, 2)), down()]);
    let expected =
        News { node: 1, from: Standing::Well, to: Standing::Down, reason: "connection refused".to_owned() };
    assert_eq!(news, [expected]);
    for slot in 101..120 {
        assert_eq!(agreement.observe(slot, &[Ok(at(100, 2)), down()]), []);
    }
    let news = agreement.observe(120, &[Ok(at(120, 3)), Ok(at(120, 3))]);
    assert_eq!(news.iter().map(|one| (one.node, one.to)).collect::<Vec<_>>(), [(1, Standing::Well)]);
}

#[test]
fn a_node_that_falters_is_asked_after_the_others_until_it_proved_itself() {
    let mut agreement = Agreement::new(2);
    let both = [Ok(at(100, 1)), Ok(at(100, 1))];
    agreement.observe(100, &both);
    assert_eq!(agreement.failed(0, "500").map(|news| news.to), Some(Standing::Faltering));
    assert_eq!(agreement.outrun(0), None, "it is known");
    assert_eq!(agreement.ranking(), [1, 0]);
    for round in 1..PROBATION {
        assert_eq!(agreement.observe(100, &both), [], "round {round}");
    }
    assert!(agreement.standing(0).is_usable());
    assert_eq!(agreement.observe(100, &both).len(), 1);
    assert_eq!(agreement.ranking(), [0, 1]);

    agreement.outrun(0);
    assert_eq!(agreement.answered(0).map(|news| news.to), Some(Standing::Well), "an answer forgives");
    agreement.observe(101, &[down(), Ok(at(100, 1))]);
    assert_eq!((agreement.failed(0, "500"), agreement.answered(0)), (None, None), "down stays down");
}

#[test]
fn the_newest_head_is_asked_first_then_the_one_of_most() {
    let (agreement, _) = after(&[Ok(at(99, 6)), Ok(at(100, 9)), Ok(at(100, 7)), Ok(at(100, 7)), down()]);
    assert_eq!(agreement.ranking(), [2, 3, 0, 4, 1]);
}

#[test]
fn nodes_that_are_not_configured_do_no_harm() {
    let mut agreement = Agreement::new(1);
    assert_eq!(agreement.failed(7, "x"), None);
    assert_eq!(agreement.standing(7), Standing::Unknown);
    assert_eq!(agreement.head_of(7), None);
    let news = agreement.observe(100, &[]);
    assert_eq!(news[0].to, Standing::Down);
    agreement.observe(100, &[Ok(at(100, 1)), Ok(at(100, 1))]);
    assert_eq!(agreement.ranking(), [0]);
}

fn any_view() -> impl Strategy<Value = View> {
    let flag = || prop_oneof![4 => Just(false), 1 => Just(true)];
    (94u64..104, 0u8..3, 0u8..3, flag(), flag(), flag()).prop_map(
        |(slot, byte, parent, is_syncing, is_optimistic, el_offline)| View {
            head: HeadView { slot, root: root(byte), parent_root: root(parent) },
            sync_distance: 100u64.saturating_sub(slot),
            is_syncing,
            is_optimistic,
            el_offline,
        },
    )
}

fn any_observation() -> impl Strategy<Value = Observation> {
    prop_oneof![1 => Just(down()), 5 => any_view().prop_map(Ok)]
}

const NODES: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Round(u64, Vec<Observation>),
    Failed(usize),
    Outrun(usize),
    Answered(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (98u64..102, vec(any_observation(), NODES)).prop_map(|(slot, all)| Step::Round(slot, all)),
        1 => (0..NODES).prop_map(Step::Failed),
        1 => (0..NODES).prop_map(Step::Outrun),
        1 => (0..NODES).prop_map(Step::Answered),
    ]
}

fn take(agreement: &mut Agreement, step: &Step) -> Vec<News> {
    match step {
        Step::Round(slot, all) => agreement.observe(*slot, all),
        Step::Failed(node) => agreement.failed(*node, "no").into_iter().collect(),
        Step::Outrun(node) => agreement.outrun(*node).into_iter().collect(),
        Step::Answered(node) => agreement.answered(*node).into_iter().collect(),
    }
}

/// Whether a node says of itself that it is in order at `slot`.
fn in_order(observation: &Observation, slot: u64) -> bool {
    observation.as_ref().is_ok_and(|view| {
        !view.is_syncing && !view.is_optimistic && !view.el_offline && view.head.slot <= slot + AHEAD_SLOTS
    })
}

proptest! {
    #[test]
    fn news_are_exactly_the_changes_of_standing(steps in vec(any_step(), 1..30)) {
        let mut agreement = Agreement::new(NODES);
        let mut told = standings(&agreement);
        for step in &steps {
            for news in take(&mut agreement, step) {
                prop_assert_ne!(news.from, news.to);
                prop_assert_eq!(told[news.node], news.from);
                prop_assert_eq!(news.reason.is_empty(), matches!(news.to, Standing::Well | Standing::Unknown));
                told[news.node] = news.to;
            }
            prop_assert_eq!(&told, &standings(&agreement));
        }
    }

    #[test]
    fn the_ranking_holds_every_node_once_by_standing(steps in vec(any_step(), 1..30)) {
        let mut agreement = Agreement::new(NODES);
        for step in &steps {
            take(&mut agreement, step);
            let ranking = agreement.ranking();
            let mut sorted = ranking.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..NODES).collect::<Vec<_>>());
            let by_rank: Vec<Standing> = ranking.iter().map(|node| agreement.standing(*node)).collect();
            prop_assert!(by_rank.is_sorted());
        }
    }

    #[test]
    fn one_node_in_order_is_enough(steps in vec(any_step(), 0..10), slot in 98u64..102, all in vec(any_observation(), NODES)) {
        let mut agreement = Agreement::new(NODES);
        for step in &steps {
            take(&mut agreement, step);
        }
        agreement.observe(slot, &all);
        let usable = standings(&agreement).iter().any(|standing| standing.is_usable());
        prop_assert_eq!(usable, all.iter().any(|one| in_order(one, slot)));
        if usable {
            let head = agreement.head().unwrap();
            let newest = all.iter().filter(|one| in_order(one, slot)).flatten().map(|view| view.head.slot).max();
            prop_assert_eq!(Some(head.slot), newest);
        }
    }

    #[test]
    fn most_of_the_newest_heads_decide(all in vec(any_observation(), NODES), slot in 98u64..102) {
        let mut agreement = Agreement::new(NODES);
        agreement.observe(slot, &all);
        let Some(head) = agreement.head() else { return Ok(()) };
        let count = |root: B256| {
            let same = |view: &&View| view.head.slot == head.slot && view.head.root == root;
            all.iter().filter(|one| in_order(one, slot)).flatten().filter(same).count()
        };
        prop_assert_eq!(head.nodes, count(head.root));
        prop_assert!((0..3).all(|byte| count(root(byte)) <= head.nodes));
    }

    /// A node that is wrong about the time cannot make the others look bad.
    #[test]
    fn a_head_in_the_future_changes_nothing_for_others(all in vec(any_observation(), NODES), slot in 98u64..102, ahead: u64) {
        let mut alone = Agreement::new(NODES);
        alone.observe(slot, &all);
        let mut with_liar = Agreement::new(NODES + 1);
        let liar = at((slot + AHEAD_SLOTS).saturating_add(ahead).saturating_add(1), 1);
        let mut observations = all.clone();
        observations.push(Ok(liar));
        with_liar.observe(slot, &observations);
        prop_assert_eq!(&standings(&with_liar)[..NODES], &standings(&alone)[..]);
        prop_assert_eq!(with_liar.standing(NODES), Standing::Ahead);
        prop_assert_eq!(with_liar.head(), alone.head());
    }

    #[test]
    fn the_same_round_again_is_no_news(steps in vec(any_step(), 0..10), slot in 98u64..102, all in vec(any_observation(), NODES)) {
        let mut agreement = Agreement::new(NODES);
        for step in &steps {
            take(&mut agreement, step);
        }
        for _ in 0..=PROBATION {
            agreement.observe(slot, &all);
        }
        prop_assert_eq!(agreement.observe(slot, &all), []);
    }

    #[test]
    fn nothing_panics_at_the_edges(slot: u64, heads in vec((any::<u64>(), any::<u64>()), 0..6)) {
        let mut agreement = Agreement::new(5);
        let all: Vec<Observation> =
            heads.into_iter().map(|(slot, sync_distance)| Ok(View { sync_distance, ..at(slot, 1) })).collect();
        agreement.observe(slot, &all);
        agreement.observe(u64::MAX, &all);
        prop_assert_eq!(agreement.ranking().len(), 5);
    }
}

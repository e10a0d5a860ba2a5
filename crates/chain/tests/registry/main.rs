//! The registry follower against an execution client that reorganises, bounds ranges, lags, or lies.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod l1;

use std::time::Duration;

use alloy_primitives::{Address, U256};
use earnest_chain::{
    RegistryConfig, RegistryView, SlotClock,
    registry::{Follower, Standing},
};
use earnest_protocol::{BlsPublicKey, Epoch};
use tokio_util::sync::CancellationToken;

use l1::{Fault, GENESIS, L1, MARKET, NETWORK, OWNER, REGISTRY, SLASHER, SLOT, SLOTS, key, log, register};

const COMMITTER: Address = Address::repeat_byte(0xc0);

struct Following {
    view: RegistryView,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), std::convert::Infallible>>,
}

fn config(l1: &L1) -> RegistryConfig {
    RegistryConfig {
        execution: l1.url(),
        registry: REGISTRY,
        slasher: SLASHER,
        market: Some(MARKET),
        rollups: None,
        from_block: 0,
        optin_delay: 1,
        poll_ms: 10,
        logs_range: 64,
    }
}

impl Following {
    fn start(l1: &L1, checkpoint: Option<std::path::PathBuf>) -> Self {
        let clock = SlotClock::new(GENESIS * 1_000, SLOT * 1_000, SLOTS).unwrap();
        let (follower, view) = Follower::new(config(l1), NETWORK, checkpoint).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(follower.run(clock, stop.clone()));
        Self { view, stop, task }
    }

    /// Waits until what is known satisfies `is`.
    async fn until(&mut self, what: &str, is: impl Fn(&RegistryView) -> bool) {
        let wait = async {
            while !is(&self.view) {
                assert!(self.view.changed().await, "the follower ended");
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("never {what}"));
    }

    /// Waits until the follower is at the chain's head.
    async fn caught_up(&mut self, l1: &L1) {
        let head = l1.head();
        self.until("at the head", |view| {
            view.tip().is_some_and(|tip| tip.hash == head) && view.standing() == Standing::Current
        })
        .await;
    }

    async fn faulty(&mut self, with: &str) {
        self.until(with, |view| matches!(view.standing(), Standing::Faulty(why) if why.contains(with))).await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Whether a key is opted in for the proposers of an epoch.
fn opted_in(view: &RegistryView, epoch: u64, key: &BlsPublicKey) -> Option<bool> {
    view.opted_in(Epoch(epoch)).map(|set| set.contains(key))
}

#[tokio::test]
async fn keys_come_from_the_transaction_or_from_the_log_and_forged_ones_do_not_count() {
    let l1 = L1::start().await;
    let (call, root) = register(&[(1, OWNER), (2, Address::ZERO)]);
    let transaction = l1.transaction(REGISTRY, call.clone());
    l1.block(0, vec![(transaction, log::registered(root, 100, OWNER))]);
    l1.block(0, vec![(transaction, log::opted_in(root, SLASHER, COMMITTER))]);
    let (other_call, other) = register(&[(3, OWNER)]);
    let through_code = l1.transaction(Address::repeat_byte(9), vec![1, 2, 3].into());
    l1.block(
        0,
        vec![
            (through_code, log::call_data(root, call)),
            (through_code, log::call_data(other, other_call)),
            (through_code, log::registered(other, 100, OWNER)),
            (through_code, log::opted_in(other, SLASHER, Address::repeat_byte(0xc1))),
            (through_code, log::opted_in(other, Address::repeat_byte(0x55), COMMITTER)),
            (through_code, log::relay_named(other, Address::repeat_byte(0x77))),
        ],
    );
    // The first slot of the next epoch ends the first one.
    l1.block(SLOTS, vec![]);
    let mut following = Following::start(&l1, None);
    following.caught_up(&l1).await;
    let view = &following.view;
    assert_eq!(opted_in(view, 2, &key(1)), Some(true));
    assert_eq!(opted_in(view, 2, &key(2)), Some(false), "the key did not sign");
    assert_eq!(opted_in(view, 2, &key(3)), Some(true));
    assert_eq!(opted_in(view, 3, &key(1)), None, "epoch 1 runs");
    assert_eq!(opted_in(view, 1, &key(1)), None);
    assert!(view.is_before_reference(Epoch(1)) && !view.is_before_reference(Epoch(2)));
    let set = view.opted_in(Epoch(2)).unwrap();
    let operator = set.operator_of(&key(3)).unwrap();
    assert_eq!((operator.root, operator.owner), (other, OWNER));
    assert_eq!(operator.committer, Address::repeat_byte(0xc1));
    assert_eq!((operator.relay, operator.collateral), (Some(Address::repeat_byte(0x77)), U256::from(100)));
    assert_eq!(view.state().operator_of(&COMMITTER), Some(root), "another slasher's opt-in is nothing to us");
    following.end().await;
}

#[tokio::test]
async fn a_reorganisation_takes_back_what_it_held() {
    let l1 = L1::start().await;
    let (call, root) = register(&[(1, OWNER)]);
    let transaction = l1.transaction(REGISTRY, call);
    l1.block(0, vec![(transaction, log::registered(root, 100, OWNER))]);
    l1.block(0, vec![(transaction, log::opted_in(root, SLASHER, COMMITTER))]);
    l1.block(SLOTS, vec![]);
    let mut following = Following::start(&l1, None);
    following.caught_up(&l1).await;
    assert_eq!(opted_in(&following.view, 2, &key(1)), Some(true));

    // Back to the registration: the opt-in comes an epoch later.
    l1.reorganise(2);
    l1.block(SLOTS, vec![(transaction, log::opted_in(root, SLASHER, COMMITTER))]);
    l1.block(SLOTS, vec![]);
    following.caught_up(&l1).await;
    assert_eq!(opted_in(&following.view, 2, &key(1)), Some(false));
    assert_eq!(opted_in(&following.view, 3, &key(1)), Some(true));

    // A shorter chain, and one without any of it.
    l1.reorganise(3);
    l1.block(0, vec![]);
    following.caught_up(&l1).await;
    assert!(following.view.state().operator(&root).is_none());
    following.end().await;
}

#[tokio::test]
async fn an_old_chain_is_read_in_ranges_that_the_node_allows_and_a_restart_goes_on() {
    let l1 = L1::start().await;
    let (call, root) = register(&[(1, OWNER)]);
    let transaction = l1.transaction(REGISTRY, call);
    for number in 0..300 {
        let logs = match number {
            40 => vec![(transaction, log::registered(root, 100, OWNER))],
            41 => vec![(transaction, log::opted_in(root, SLASHER, COMMITTER))],
            _ => vec![],
        };
        l1.block(0, logs);
    }
    l1.set(Fault::RangeLimit(20));
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("registry.json");
    let mut following = Following::start(&l1, Some(checkpoint.clone()));
    following.caught_up(&l1).await;
    // The last epoch that is over is the one before the head's, 74.
    let epoch = 75;
    assert_eq!(opted_in(&following.view, epoch, &key(1)), Some(true));
    assert_eq!(opted_in(&following.view, epoch - 5, &key(1)), Some(true), "as far back as schedules ask");
    following.end().await;
    let first = l1.asked();

    let mut following = Following::start(&l1, Some(checkpoint.clone()));
    following.caught_up(&l1).await;
    assert_eq!(opted_in(&following.view, epoch, &key(1)), Some(true));
    following.end().await;
    assert_eq!(l1.transactions_asked(), 1, "the registration is read once");

    // A checkpoint of a chain that is gone is left aside.
    l1.reorganise(290);
    for _ in 0..295 {
        l1.block(0, vec![]);
    }
    let before = l1.asked();
    let mut following = Following::start(&l1, Some(checkpoint));
    following.caught_up(&l1).await;
    assert!(following.view.state().operator(&root).is_none());
    following.end().await;
    assert!(l1.asked() - before > 0 && first > 0);
}

#[tokio::test]
async fn a_chain_that_changes_deeper_than_can_be_undone_is_read_again_from_its_beginning() {
    let l1 = L1::start().await;
    let (call, root) = register(&[(1, OWNER)]);
    let transaction = l1.transaction(REGISTRY, call);
    l1.block(0, vec![(transaction, log::registered(root, 100, OWNER))]);
    for _ in 0..200 {
        l1.block(0, vec![]);
    }
    let mut following = Following::start(&l1, None);
    following.caught_up(&l1).await;
    assert!(following.view.state().operator(&root).is_some());
    l1.reorganise(201);
    for _ in 0..190 {
        l1.block(0, vec![]);
    }
    following.caught_up(&l1).await;
    assert!(following.view.state().operator(&root).is_none());
    assert_eq!(following.view.tip().unwrap().number, 190);
    following.end().await;
}

#[tokio::test]
async fn what_does_not_fit_together_is_not_taken_and_asked_again() {
    let l1 = L1::start().await;
    let (call, root) = register(&[(1, OWNER)]);
    let transaction = l1.transaction(REGISTRY, call);
    let mut following = Following::start(&l1, None);
    following.caught_up(&l1).await;

    for (fault, said) in [
        (Fault::NoTransaction, "does not have transaction"),
        (Fault::OtherTransaction, "another transaction"),
        (Fault::LogsOfAnotherBlock, "not of"),
        (Fault::LogsOfAnotherContract, "a log of"),
        (Fault::LogsOutOfOrder, "out of order"),
        (Fault::LogsTakenBack, "not asked for"),
        (Fault::HalfLogs, "not as the contracts write it"),
        (Fault::EndlessAnswer, "more than"),
        (Fault::OtherNumber, "for block"),
        (Fault::FutureBlock, "of the future"),
        (Fault::Garbage, "else than the API promises"),
    ] {
        l1.set(fault);
        l1.block(
            0,
            vec![
                (transaction, log::registered(root, 100, OWNER)),
                (transaction, log::opted_in(root, SLASHER, COMMITTER)),
            ],
        );
        following.faulty(said).await;
        assert!(following.view.state().operator(&root).is_none(), "{said}");
        l1.set(Fault::None);
        following.caught_up(&l1).await;
        assert!(following.view.state().operator(&root).is_some(), "{said}");
        l1.reorganise(1);
        l1.block(0, vec![]);
        following.caught_up(&l1).await;
    }
    following.end().await;
}

#[tokio::test]
async fn a_registration_that_cannot_be_read_holds_nothing_up() {
    let l1 = L1::start().await;
    let (call, root) = register(&[(1, OWNER)]);
    // The operator's own transaction, but no call that can be read.
    let odd = l1.transaction(REGISTRY, call.slice(..call.len() - 64));
    l1.block(
        0,
        vec![(odd, log::registered(root, 100, OWNER)), (odd, log::opted_in(root, SLASHER, COMMITTER))],
    );
    l1.block(SLOTS, vec![]);
    let mut following = Following::start(&l1, None);
    following.caught_up(&l1).await;
    assert_eq!(opted_in(&following.view, 2, &key(1)), Some(false));
    assert_eq!(following.view.state().operator_of(&COMMITTER), Some(root));
    following.end().await;
}

#[tokio::test]
async fn a_registry_that_is_not_there_yet_is_waited_for_and_a_foreign_one_refused() {
    let l1 = L1::start().await;
    l1.set(Fault::NotDeployed);
    let mut following = Following::start(&l1, None);
    l1.until_asked("eth_call").await;
    assert_eq!((following.view.standing(), following.view.tip()), (Standing::CatchingUp, None));
    l1.set(Fault::OtherNetwork);
    following.faulty("of another network").await;
    l1.set(Fault::None);
    following.caught_up(&l1).await;
    following.end().await;
}

#[tokio::test]
async fn a_node_that_lags_changes_nothing() {
    let l1 = L1::start().await;
    for _ in 0..5 {
        l1.block(0, vec![]);
    }
    let mut following = Following::start(&l1, None);
    following.caught_up(&l1).await;
    let tip = following.view.tip();
    l1.set(Fault::Lag(2));
    l1.until_asked("eth_getBlockByNumber").await;
    l1.until_asked("eth_getBlockByNumber").await;
    assert_eq!(following.view.tip(), tip);
    l1.set(Fault::None);
    l1.block(0, vec![]);
    following.caught_up(&l1).await;
    assert_eq!(following.view.tip().unwrap().number, 6);
    following.end().await;
}

#[tokio::test]
async fn a_delay_of_zero_is_refused() {
    let l1 = L1::start().await;
    for wrong in
        [RegistryConfig { optin_delay: 0, ..config(&l1) }, RegistryConfig { logs_range: 0, ..config(&l1) }]
    {
        Follower::new(wrong, NETWORK, None).unwrap_err();
    }
}

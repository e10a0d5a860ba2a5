//! A question goes to the best node, and to the next one too when that one fails or takes long.

use std::{sync::Arc, time::Duration};

use earnest_chain::{BeaconOptions, ChainError};
use tokio::sync::Semaphore;

use super::{
    client, lines,
    node::{Answer, Node},
    patient,
};

/// Whoever does not answer at once is not waited for alone.
fn hasty() -> BeaconOptions {
    BeaconOptions { hedge_delay: Duration::from_millis(1), ..patient() }
}

#[tokio::test]
async fn a_slow_node_is_overtaken_and_costs_one_line() {
    let (slow, quick) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    slow.says(|says| says.question = Answer::Never);
    let beacon = client(&[&slow, &quick], hasty());
    for _ in 0..5 {
        assert_eq!(beacon.genesis().await.unwrap().genesis_time, 2);
    }
    let told = lines::take();
    let of_slow: Vec<_> = told.iter().filter(|line| line.contains(&slow.name())).collect();
    assert_eq!(of_slow.len(), 1, "{told:?}");
    assert!(of_slow[0].contains("faltering") && of_slow[0].contains("answered before it"), "{told:?}");
}

#[tokio::test]
async fn a_node_that_answers_is_the_only_one_asked() {
    let (one, other) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    let beacon = client(&[&one, &other], patient());
    for _ in 0..5 {
        assert_eq!(beacon.genesis().await.unwrap().genesis_time, 1);
    }
    assert_eq!((one.asked(), other.asked()), (5, 0));
}

#[tokio::test]
async fn a_node_that_fails_is_asked_after_the_others() {
    let (broken, good) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    broken.says(|says| says.question = Answer::Status(500));
    let beacon = client(&[&broken, &good], patient());
    for _ in 0..5 {
        assert_eq!(beacon.genesis().await.unwrap().genesis_time, 2);
    }
    assert_eq!((broken.asked(), good.asked()), (1, 5));

    good.says(|says| says.question = Answer::Status(503));
    broken.says(|says| says.question = Answer::Good);
    assert_eq!(beacon.genesis().await.unwrap().genesis_time, 1);
    assert_eq!(beacon.genesis().await.unwrap().genesis_time, 1, "an answer in good time forgives");
    assert_eq!((broken.asked(), good.asked()), (3, 6));
}

#[tokio::test]
async fn the_first_good_answer_counts_and_a_refusal_waits_for_better_nodes() {
    let gate = Arc::new(Semaphore::new(0));
    let (best, worse) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    best.says(|says| says.question = Answer::Gate(gate.clone()));
    worse.says(|says| says.question = Answer::Status(404));
    let beacon = client(&[&best, &worse], hasty());
    let asked = tokio::spawn(async move { beacon.genesis().await });
    worse.until_asked(1).await;
    gate.add_permits(1);
    assert_eq!(asked.await.unwrap().unwrap().genesis_time, 1);
}

#[tokio::test]
async fn a_refusal_of_the_best_node_is_the_answer() {
    let (best, worse) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    best.says(|says| says.question = Answer::Status(404));
    let beacon = client(&[&best, &worse], patient());
    assert!(matches!(beacon.genesis().await, Err(ChainError::Status { status: 404, .. })));
    assert_eq!(worse.asked(), 0);
}

#[tokio::test]
async fn a_question_ends_though_no_node_answers() {
    let (one, other) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    for node in [&one, &other] {
        node.says(|says| says.question = Answer::Never);
    }
    let limit = Duration::from_millis(300);
    let beacon = client(&[&one, &other], BeaconOptions { ask_timeout: limit, ..hasty() });
    let error = beacon.genesis().await.unwrap_err();
    assert_eq!(error, ChainError::Timeout { endpoint: one.name(), limit }, "the best node is named");
}

#[tokio::test]
async fn every_node_s_failure_is_a_failure() {
    let (mut one, other) = (Node::at(1, 100, 7).await, Node::at(2, 100, 7).await);
    one.kill().await;
    other.says(|says| says.question = Answer::Status(502));
    let beacon = client(&[&one, &other], patient());
    assert!(matches!(beacon.genesis().await, Err(ChainError::Unreachable { .. })), "the best node's");
    assert_eq!(other.asked(), 1);
}

//! Keys that others hold: delegations are signed through them, and their faults cost no block.

use earnest_proposer::{Running, start};
use earnest_protocol::objects::SignedDelegation;
use earnest_signer::remote::{CommitBoostConfig, Web3SignerConfig};
use tokio_util::sync::CancellationToken;

use crate::delegations::{ROUTE, Stage, receipts, stop};
use crate::network::{NETWORK, config, earnest};
use crate::relay_stand_in::Says;
use crate::signer_stand_ins::{Fault, StandIn};

async fn run(stage: &Stage, signer: &StandIn, commit_boost: bool) -> (Running, CancellationToken) {
    let sources = vec![earnest(&stage.relay.url, stage.cast.relay.public_key())];
    let mut config = config(stage.directory.path(), stage.beacon.url.clone(), sources);
    config.gateway = Some(stage.cast.gateway());
    let jwt_secret_file = stage.directory.path().join("jwt");
    std::fs::write(&jwt_secret_file, &signer.held.secret).unwrap();
    if commit_boost {
        let (url, module) = (signer.url.clone(), signer.held.module.clone());
        let timeout_ms = 1_000;
        config.commit_boost =
            Some(CommitBoostConfig { url, module, jwt_secret_file, ca_file: None, timeout_ms });
    } else {
        config.web3signer =
            Some(Web3SignerConfig { url: signer.url.clone(), ca_file: None, timeout_ms: 1_000 });
    }
    let token = CancellationToken::new();
    (start(config, token.clone()).await.unwrap(), token)
}

async fn stand_in(commit_boost: bool) -> StandIn {
    if commit_boost {
        StandIn::commit_boost(NETWORK.chain_id, NETWORK.genesis_fork_version).await
    } else {
        StandIn::web3signer(NETWORK.chain_id, NETWORK.genesis_fork_version).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delegations_are_signed_through_either_signer() {
    for commit_boost in [true, false] {
        let stage = Stage::set().await;
        stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
        let signer = stand_in(commit_boost).await;
        signer.holds(stage.cast.proposer.clone());
        let running = run(&stage, &signer, commit_boost).await;
        let posts = stage.relay.wait_for(ROUTE, 1).await;
        let signed: SignedDelegation = serde_json::from_slice(&posts[0].body).unwrap();
        signed.verify(&NETWORK, &stage.cast.proposer.public_key()).unwrap();
        stop(running).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_of_another_key_goes_nowhere_and_the_right_one_does_later() {
    for commit_boost in [true, false] {
        let stage = Stage::set().await;
        stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
        let signer = stand_in(commit_boost).await;
        signer.holds(stage.cast.proposer.clone()).fails(Some(Fault::OtherKey));
        let running = run(&stage, &signer, commit_boost).await;
        // It is asked again and again, and nothing it said went on to the relay.
        while signer.requests().len() < 3 {
            tokio::task::yield_now().await;
        }
        assert!(stage.relay.heard(ROUTE).is_empty());
        signer.fails(None);
        let posts = stage.relay.wait_for(ROUTE, 1).await;
        let signed: SignedDelegation = serde_json::from_slice(&posts[0].body).unwrap();
        signed.verify(&NETWORK, &stage.cast.proposer.public_key()).unwrap();
        stop(running).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_is_down_at_the_start_keeps_nothing_from_passing_through() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    stage.relay.says("builder/status", Says::Json(200, Vec::new()));
    let signer = stand_in(true).await;
    signer.holds(stage.cast.proposer.clone()).fails(Some(Fault::Says(500, Vec::new())));
    let running = run(&stage, &signer, true).await;
    let url = running.0.url().unwrap();
    let status = reqwest::get(url.join("eth/v1/builder/status").unwrap()).await.unwrap();
    assert_eq!(status.status(), 200);
    let says_why = || async {
        let readyz = reqwest::get(url.join("readyz").unwrap()).await.unwrap();
        readyz.text().await.unwrap().contains("keys: Commit-Boost at 127.0.0.1")
    };
    while !says_why().await {}
    signer.fails(None);
    stage.relay.wait_for(ROUTE, 1).await;
    stop(running).await;
}

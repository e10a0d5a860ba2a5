//! Validators and a builder on a real beacon API, relay and sidecar, with an execution chain in memory.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // Tests fail by panic.

use std::{sync::Arc, time::Duration};

use alloy_primitives::{B256, U256};
use earnest_builder_types::{ForkName, bls::SecretKey};
use earnest_devnet::{
    beacon::{BeaconNode, BeaconOptions, Endpoints, Fault, MemoryEngine},
    builder::{self, Builder, BuilderOptions},
    validator::{self, Outcome, Proposal, Submission, ValidatorOptions, Validators, interop_key},
};
use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::{sync::broadcast, time::timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

/// Longer than anything here takes, short enough to end a test that hangs.
const PATIENCE: Duration = Duration::from_secs(90);

fn keys() -> Vec<SecretKey> {
    (0..4).map(|index| interop_key(index).unwrap()).collect()
}

struct Chain {
    engine: Arc<MemoryEngine>,
    beacon: BeaconNode,
    folder: TempDir,
    stop: CancellationToken,
}

impl Chain {
    async fn start(fork: ForkName) -> Self {
        let engine = Arc::new(MemoryEngine::new());
        let public = keys().iter().map(SecretKey::public_key).collect();
        let mut options = BeaconOptions::new(engine.clone(), public);
        options.fork = fork;
        let beacon = BeaconNode::start(options).await.unwrap();
        Self { engine, beacon, folder: TempDir::new().unwrap(), stop: CancellationToken::new() }
    }

    fn network(&self) -> serde_json::Value {
        let genesis = self.beacon.genesis();
        json!({"genesis_fork_version": genesis.genesis_fork_version, "chain_id": 1337})
    }

    async fn relay(&self) -> earnest_relay::Running {
        let key_file = |name: &str, byte: u8| {
            let file = self.folder.path().join(name);
            std::fs::write(&file, B256::repeat_byte(byte).to_string()).unwrap();
            #[cfg(unix)]
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            json!({"file": file})
        };
        let config = json!({
            "listen": "127.0.0.1:0",
            "data_dir": self.folder.path().join("relay"),
            "beacon": [self.beacon.url()],
            "network": self.network(),
            "bls_key": key_file("relay.bls", 7),
            "ecdsa_key": key_file("relay.ecdsa", 8),
            "inbox": "0x0000000000000000000000000000000000000001",
            "free_space_floor": 1,
        });
        let config = serde_json::from_value(config).unwrap();
        earnest_relay::start(config, self.stop.clone()).await.unwrap()
    }

    async fn builder(&self, relay: &Url) -> Builder {
        let key = SecretKey::from_bytes(&[9; 32]).unwrap();
        let options =
            BuilderOptions::new(key, self.engine.clone(), self.beacon.url().clone(), vec![relay.clone()]);
        Builder::start(options).await.unwrap()
    }

    async fn validators(&self, builder: Option<Url>, submission: Submission) -> Validators {
        let mut options = ValidatorOptions::new(keys(), self.beacon.url().clone(), builder);
        options.submission = submission;
        Validators::start(options).await.unwrap()
    }

    /// Whether the chain has a block at the proposal's slot, and the hash of its payload.
    fn execution_hash_at(&self, slot: u64) -> Option<B256> {
        self.beacon.chain(|chain| chain.block_at(slot).map(|block| block.execution.hash))
    }
}

async fn until(
    reports: &mut broadcast::Receiver<validator::Report>,
    mut wanted: impl FnMut(&Proposal) -> bool,
) -> Proposal {
    let searching = async {
        loop {
            let proposal = Validators::proposal_from(reports, 0).await.expect("validators ended");
            if wanted(&proposal) {
                return proposal;
            }
        }
    };
    timeout(PATIENCE, searching).await.expect("no such proposal")
}

fn is_builders(proposal: &Proposal) -> bool {
    matches!(proposal.outcome, Outcome::Builder { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_builders_block_gets_into_the_chain_both_ways() {
    for (fork, submission) in [(ForkName::Electra, Submission::V1), (ForkName::Fulu, Submission::V2)] {
        let chain = Chain::start(fork).await;
        let relay = chain.relay().await;
        chain.engine.submit(vec![2, 1].into());
        let builder = chain.builder(&relay.url).await;
        let mut offers = builder.reports();
        let validators = chain.validators(Some(relay.url.clone()), submission).await;
        let mut reports = validators.reports();

        let proposal = until(&mut reports, is_builders).await;
        let Outcome::Builder { block_hash, value, .. } = proposal.outcome else { unreachable!() };
        timeout(PATIENCE, chain.beacon.wait_for_head(|head| head.header.slot >= proposal.slot))
            .await
            .unwrap();
        assert_eq!(chain.execution_hash_at(proposal.slot), Some(block_hash));

        let mut offered = None;
        while let Ok(report) = offers.try_recv() {
            match report {
                builder::Report::Submitted { block_hash: hash, value, transactions, taken, .. }
                    if hash == block_hash =>
                {
                    assert_eq!(taken, Ok(()));
                    assert_eq!(transactions, 1);
                    offered = Some(value);
                }
                _ => {}
            }
        }
        assert_eq!(offered, Some(value));
        validators.shutdown().await;
        builder.shutdown().await;
        chain.stop.cancel();
        relay.join().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn through_the_sidecar() {
    let chain = Chain::start(ForkName::Electra).await;
    let relay = chain.relay().await;
    let config = json!({
        "listen": "127.0.0.1:0",
        "data_dir": chain.folder.path().join("proposer"),
        "beacon": [chain.beacon.url()],
        "network": chain.network(),
        "relays": [{"url": relay.url, "pubkey": relay.pubkey, "earnest": true}],
        "free_space_floor": 1,
    });
    let config = serde_json::from_value(config).unwrap();
    let sidecar = earnest_proposer::start(config, chain.stop.clone()).await.unwrap();
    let url = Url::parse(&format!("http://{}", sidecar.local_addr())).unwrap();
    let builder = chain.builder(&relay.url).await;
    let validators = chain.validators(Some(url), Submission::V1).await;

    let proposal = until(&mut validators.reports(), is_builders).await;
    let Outcome::Builder { block_hash, value, .. } = proposal.outcome else { unreachable!() };
    assert!(value <= U256::from(1));
    timeout(PATIENCE, chain.beacon.wait_for_head(|head| head.header.slot >= proposal.slot)).await.unwrap();
    assert_eq!(chain.execution_hash_at(proposal.slot), Some(block_hash));
    validators.shutdown().await;
    builder.shutdown().await;
    chain.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_header_the_block_is_local() {
    let chain = Chain::start(ForkName::Electra).await;
    let nobody = Url::parse("http://127.0.0.1:1").unwrap();
    let unreachable = chain.validators(Some(nobody), Submission::V1).await;
    let mut reports = unreachable.reports();
    let local = until(&mut reports, |proposal| matches!(proposal.outcome, Outcome::Local { .. })).await;
    let Outcome::Local { block_hash, reason, .. } = local.outcome else { unreachable!() };
    assert!(reason.starts_with("no header"), "{reason}");
    assert_eq!(chain.execution_hash_at(local.slot), Some(block_hash));
    unreachable.shutdown().await;

    // A relay that nobody builds for answers 204.
    let relay = chain.relay().await;
    let validators = chain.validators(Some(relay.url.clone()), Submission::V1).await;
    let mut reports = validators.reports();
    let local = until(&mut reports, |proposal| {
        matches!(&proposal.outcome, Outcome::Local { reason, .. } if reason == "no header on offer")
    })
    .await;
    assert!(chain.execution_hash_at(local.slot).is_some());
    validators.shutdown().await;
    chain.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_signed_blinded_block_no_other_is_signed() {
    let chain = Chain::start(ForkName::Electra).await;
    let relay = chain.relay().await;
    let builder = chain.builder(&relay.url).await;
    let validators = chain.validators(Some(relay.url.clone()), Submission::V1).await;
    let mut reports = validators.reports();
    until(&mut reports, is_builders).await;

    chain.beacon.faults().set(Endpoints::Publish, Fault::fail(StatusCode::INTERNAL_SERVER_ERROR));
    let missed = until(&mut reports, |proposal| {
        matches!(&proposal.outcome, Outcome::Missed { reason } if reason.contains("signed blinded block"))
    })
    .await;
    assert_eq!(chain.execution_hash_at(missed.slot), None);

    chain.beacon.faults().clear();
    until(&mut reports, is_builders).await;
    validators.shutdown().await;
    builder.shutdown().await;
    chain.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_keys_do_not_start() {
    let chain = Chain::start(ForkName::Electra).await;
    let stranger = interop_key(99).unwrap();
    let public = stranger.public_key();
    let options = ValidatorOptions::new(vec![stranger], chain.beacon.url().clone(), None);
    let refused = Validators::start(options).await.err().unwrap();
    assert!(matches!(refused, validator::StartError::Unknown(key) if key == public));
}

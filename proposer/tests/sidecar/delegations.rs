//! One delegation for each of our slots, whatever happens in between.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use earnest_builder_types::bls::SecretKey;
use earnest_journal::{Journal, Log, Options};
use earnest_proposer::delegation_record::{self, RecordError};
use earnest_proposer::validator_keys::OwnKeys;
use earnest_proposer::{GatewayConfig, Running, start_with_signer};
use earnest_protocol::Slot;
use earnest_protocol::objects::{DelegationReceipt, SignedDelegation};
use earnest_protocol::signing::{EcdsaSecret, EcdsaSignature, Signed};
use earnest_protocol::window::Timing;
use earnest_signer::SignerError;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::beacon_stand_in::{BeaconStandIn, SECONDS_PER_SLOT, SLOTS_PER_EPOCH};
use crate::network::{Cast, NETWORK, PARENT, config, earnest, json, mev_boost};
use crate::relay_stand_in::{RelayStandIn, Says};

pub(crate) const ROUTE: &str = "builder/delegate";
/// A slot of the epoch after the one that runs.
pub(crate) const OURS: u64 = 3 * SLOTS_PER_EPOCH + 5;

/// Three slots into epoch 2: a slot of epoch 3 closed a slot ago and starts in another.
const NOW: u64 = 2 * SLOTS_PER_EPOCH + 3;

pub(crate) struct Stage {
    pub(crate) cast: Cast,
    pub(crate) relay: RelayStandIn,
    pub(crate) beacon: BeaconStandIn,
    pub(crate) directory: TempDir,
    pub(crate) genesis_s: u64,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::set_at(NOW).await
    }

    /// A stage on which `slot` has just begun.
    pub(crate) async fn set_at(slot: u64) -> Self {
        let cast = Cast::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let genesis_s = now - slot * SECONDS_PER_SLOT;
        let beacon = BeaconStandIn::start(genesis_s).await;
        beacon.proposes(OURS, cast.proposer.public_key());
        let relay = RelayStandIn::start().await;
        Self { cast, relay, beacon, directory: TempDir::new().unwrap(), genesis_s }
    }

    async fn start(&self, gateway: GatewayConfig) -> (Running, CancellationToken) {
        self.start_with(gateway, &[&self.relay]).await
    }

    async fn start_with(
        &self,
        gateway: GatewayConfig,
        relays: &[&RelayStandIn],
    ) -> (Running, CancellationToken) {
        let sources = relays.iter().map(|relay| earnest(&relay.url, self.cast.relay.public_key())).collect();
        let mut config = config(self.directory.path(), self.beacon.url.clone(), sources);
        config.gateway = Some(gateway);
        let token = CancellationToken::new();
        let running = start_with_signer(config, self.cast.signer(), token.clone()).await.unwrap();
        (running, token)
    }
}

pub(crate) async fn stop((running, token): (Running, CancellationToken)) {
    token.cancel();
    running.join().await.unwrap();
}

pub(crate) fn receipts(relay: &EcdsaSecret, received_at_ms: u64) -> Says {
    let relay = EcdsaSecret::from_bytes(&relay.to_bytes()).unwrap();
    Says::Answer(Arc::new(move |body| {
        let delegation: SignedDelegation = serde_json::from_slice(body).unwrap();
        let receipt = DelegationReceipt::of(&delegation.message, received_at_ms).unwrap();
        let signed = Signed::<_, EcdsaSignature>::sign(receipt, &relay, &NETWORK).unwrap();
        (200, serde_json::to_vec(&signed).unwrap())
    }))
}

/// A relay whose lookahead is behind ours.
fn behind() -> Says {
    Says::Json(400, br#"{"code":"unknown_slot","message":"later"}"#.to_vec())
}

pub(crate) fn open(directory: &Path) -> Journal {
    Journal::open(directory, Options { free_space_floor: 0, ..Options::default() }).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_delegation_is_signed_and_posted_again_with_the_same_bytes_after_a_restart() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, behind());
    let first = stage.start(stage.cast.gateway()).await;
    let posts = stage.relay.wait_for(ROUTE, 2).await;
    stop(first).await;
    let bytes = posts[0].body.clone();
    assert!(posts.iter().all(|post| post.body == bytes));

    let signed: SignedDelegation = serde_json::from_slice(&bytes).unwrap();
    signed.verify(&NETWORK, &stage.cast.proposer.public_key()).unwrap();
    let allocation = signed.message.allocation().unwrap();
    let timing = Timing::new(stage.genesis_s * 1000, SECONDS_PER_SLOT * 1000, SLOTS_PER_EPOCH);
    assert_eq!(signed.message.slot, Slot(OURS));
    assert_eq!(allocation.start_ms, timing.window(Slot(OURS), None).unwrap().start_ms);
    assert_eq!(allocation.entries.len(), 1);
    assert_eq!(allocation.entries[0].committer, stage.cast.committer);

    // Another gateway in the configuration, and a beacon node that no longer knows the slot as ours: still the same bytes.
    let before = stage.relay.heard(ROUTE).len();
    stage.beacon.forget();
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let other = GatewayConfig { committer: Address::repeat_byte(0xdd), ..stage.cast.gateway() };
    let second = stage.start(other).await;
    let posts = stage.relay.wait_for(ROUTE, before + 1).await;
    assert!(posts.iter().all(|post| post.body == bytes));
    stop(second).await;

    // The receipt may still have been on its way into the record when the sidecar was told to stop.
    let journal = open(stage.directory.path());
    let signatures = journal.read(0, 100, 1 << 20).unwrap().iter().filter(|entry| entry.kind == 2).count();
    assert_eq!(signatures, 1);
    journal.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_we_delegated_stays_constrained_though_the_lookahead_drops_it() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let first = stage.start(stage.cast.gateway()).await;
    stage.relay.wait_for(ROUTE, 1).await;
    stop(first).await;
    stage.beacon.forget();
    let second = stage.start(stage.cast.gateway()).await;
    let key = stage.cast.proposer.public_key();
    let path = format!("eth/v1/builder/header/{OURS}/{PARENT}/{key}");
    let answer = reqwest::get(second.0.url().unwrap().join(&path).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(stage.relay.heard("relay/constraints").len(), 1, "asked what is held");
    stop(second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_whose_relay_is_no_longer_configured_gets_nothing() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let running = stage.start(stage.cast.gateway()).await;
    stage.relay.wait_for(ROUTE, 1).await;
    stop(running).await;

    let other = RelayStandIn::start().await;
    other.says("builder/header", Says::Json(200, json(&stage.cast.bid(5, &[]))));
    other.says("relay/constraints", Says::Json(200, b"[]".to_vec()));
    let sources = vec![earnest(&other.url, SecretKey::random().unwrap().public_key()), mev_boost(&other.url)];
    let config = config(stage.directory.path(), stage.beacon.url.clone(), sources);
    let token = CancellationToken::new();
    let running = start_with_signer(config, stage.cast.signer(), token.clone()).await.unwrap();
    let header = |slot: u64| {
        let key = stage.cast.proposer.public_key();
        let path = format!("eth/v1/builder/header/{slot}/{PARENT}/{key}");
        reqwest::get(running.url().unwrap().join(&path).unwrap())
    };
    assert_eq!(header(OURS).await.unwrap().status(), 204);
    assert!(other.heard("builder/header").is_empty(), "nobody was asked");
    stop((running, token)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_refuses_or_signs_with_a_strange_key_is_not_asked_again() {
    let strange = EcdsaSecret::random();
    let refusal = br#"{"code":"already_delegated","message":"no"}"#.to_vec();
    for says in [Says::Json(409, refusal), receipts(&strange, 1)] {
        let stage = Stage::set().await;
        let behind_us = RelayStandIn::start().await;
        stage.relay.says(ROUTE, says);
        behind_us.says(ROUTE, behind());
        let running = stage.start_with(stage.cast.gateway(), &[&stage.relay, &behind_us]).await;
        // The one that is only behind shows that the task went round.
        behind_us.wait_for(ROUTE, 3).await;
        assert_eq!(stage.relay.heard(ROUTE).len(), 1);
        stop(running).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_different_delegation_is_refused_by_the_record_and_by_the_signer() {
    let cast = Cast::new();
    let directory = TempDir::new().unwrap();
    let first = cast.delegation();
    let mut second = first.clone();
    second.committer = Address::repeat_byte(0xdd);

    let journal = open(directory.path());
    delegation_record::claim(&journal, &first, &NETWORK).unwrap();
    delegation_record::claim(&journal, &first, &NETWORK).unwrap();
    assert_eq!(journal.head(), 1);
    let refused = delegation_record::claim(&journal, &second, &NETWORK);
    assert!(matches!(refused, Err(RecordError::AlreadyDelegated(_))), "{refused:?}");
    journal.close();

    // Another process, with nothing in memory.
    let journal = open(directory.path());
    let refused = delegation_record::claim(&journal, &second, &NETWORK);
    assert!(matches!(refused, Err(RecordError::AlreadyDelegated(_))), "{refused:?}");
    let keys = OwnKeys::new(cast.signer(), Arc::new(journal.clone()));
    let signature = keys.sign(&first, &NETWORK).await.unwrap();
    assert_eq!(keys.sign(&first, &NETWORK).await.unwrap(), signature);
    assert!(matches!(keys.sign(&second, &NETWORK).await, Err(SignerError::SignedBefore { .. })));

    let plan = delegation_record::restore(&journal, &[]).unwrap();
    assert_eq!(plan.delegation(first.slot, first.proposer), Some(&first));
    journal.close();
}

#[tokio::test]
async fn a_record_of_a_later_version_is_not_signed_over() {
    let directory = TempDir::new().unwrap();
    let journal = open(directory.path());
    journal.append_next(earnest_journal::Batch::record(900, "from the future")).unwrap();
    let refused = delegation_record::restore(&journal, &[]);
    assert!(matches!(refused, Err(RecordError::UnknownKind { position: 0, kind: 900 })), "{refused:?}");
    journal.append_next(earnest_journal::Batch::record(1, "{}")).unwrap();
    journal.close();
}

//! One delegation for each of our slots, whatever happens in between.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use alloy_primitives::Address;
use earnest_builder_types::bls::SecretKey;
use earnest_builder_types::{BlsSignature, SignedBuilderBid};
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
use crate::network::{Cast, NETWORK, PARENT, bid_at, config, earnest, json, mev_boost};
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
    /// The sequencing slot before ours, if there is one.
    pub(crate) previous: Option<Slot>,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::set_at(NOW).await
    }

    /// A stage on which `slot` has just begun.
    pub(crate) async fn set_at(slot: u64) -> Self {
        Self::set_before(slot, 0).await
    }

    /// A stage on which `slot` begins after so many seconds, or up to one less.
    pub(crate) async fn set_before(slot: u64, seconds: u64) -> Self {
        let cast = Cast::new();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let genesis_s = now + seconds - slot * SECONDS_PER_SLOT;
        let beacon = BeaconStandIn::start(genesis_s).await;
        beacon.proposes(OURS, cast.proposer.public_key());
        let relay = RelayStandIn::start().await;
        Self { cast, relay, beacon, directory: TempDir::new().unwrap(), genesis_s, previous: None }
    }

    /// A bid that fits our slot.
    fn header_bid(&self) -> SignedBuilderBid {
        bid_at(&self.cast.relay, 5, PARENT, &[], self.genesis_s + OURS * SECONDS_PER_SLOT)
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
    let boost = RelayStandIn::start().await;
    boost.says("builder/header", Says::Json(200, json(&stage.cast.bid(5, &[]))));
    let sources = vec![earnest(&other.url, SecretKey::random().unwrap().public_key()), mev_boost(&boost.url)];
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
    assert!(boost.heard("builder/header").is_empty(), "nobody was asked");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sidecar_on_one_record_does_not_start() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let first = stage.start(stage.cast.gateway()).await;
    let mut config = config(
        stage.directory.path(),
        stage.beacon.url.clone(),
        vec![earnest(&stage.relay.url, stage.cast.relay.public_key())],
    );
    config.gateway = Some(stage.cast.gateway());
    let second = start_with_signer(config, stage.cast.signer(), CancellationToken::new()).await;
    assert!(matches!(second, Err(earnest_proposer::StartError::Open(_))), "{second:?}");
    stage.relay.wait_for(ROUTE, 1).await;
    stop(first).await;
    assert_eq!(stage.relay.heard(ROUTE).len(), 1);
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

/// A delegation of our slot that our key signed before the record was lost, with another committer.
fn signed_before(stage: &Stage, committer: u8) -> SignedDelegation {
    let timing = Timing::new(stage.genesis_s * 1000, SECONDS_PER_SLOT * 1000, SLOTS_PER_EPOCH);
    let allocation = earnest_protocol::objects::SlotAllocation {
        slot: Slot(OURS),
        start_ms: timing.window(Slot(OURS), None).unwrap().start_ms,
        auction_root: Default::default(),
        entries: Vec::new(),
    };
    let message = earnest_protocol::objects::Delegation {
        committer: Address::repeat_byte(committer),
        slot: Slot(OURS),
        metadata: allocation.to_metadata(),
        ..stage.cast.delegation()
    };
    Signed::<_, BlsSignature>::sign(message, &stage.cast.proposer, &NETWORK).unwrap()
}

fn shows(delegations: &[SignedDelegation]) -> Says {
    Says::Json(200, serde_json::to_vec(delegations).unwrap())
}

const SHOWN: &str = "relay/delegations";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_our_key_signed_before_the_record_was_lost_counts_and_nothing_else_is_signed() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let before = signed_before(&stage, 0xab);
    stage.relay.says(SHOWN, shows(std::slice::from_ref(&before)));
    let running = stage.start(stage.cast.gateway()).await;
    let posts = stage.relay.wait_for(ROUTE, 1).await;
    assert_eq!(serde_json::from_slice::<SignedDelegation>(&posts[0].body).unwrap(), before);
    // The slot is constrained by it.
    let path = format!("eth/v1/builder/header/{OURS}/{PARENT}/{}", stage.cast.proposer.public_key());
    let answer = reqwest::get(running.0.url().unwrap().join(&path).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(stage.relay.heard("relay/constraints").len(), 1);
    stop(running).await;
    let folder = stage.directory.path().join(format!("evidence/slot-{OURS}"));
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let kept: SignedDelegation = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
    assert_eq!(kept, before);

    // It is in the record now, whatever relays say.
    stage.relay.says(SHOWN, shows(&[]));
    let posted = stage.relay.heard(ROUTE).len();
    let journal = open(stage.directory.path());
    let plan = delegation_record::restore(&journal, &[]).unwrap();
    assert_eq!(plan.delegation(Slot(OURS), before.message.proposer), Some(&before.message));
    journal.close();
    let again = stage.start(stage.cast.gateway()).await;
    let header = reqwest::get(again.0.url().unwrap().join(&path).unwrap()).await.unwrap();
    assert_eq!(header.status(), 204);
    stop(again).await;
    let posts = stage.relay.heard(ROUTE);
    assert!(
        posts[posted..]
            .iter()
            .all(|post| serde_json::from_slice::<SignedDelegation>(&post.body).unwrap() == before)
    );
}

/// A relay can show whatever it likes: only our key's own signature counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delegations_that_our_key_did_not_sign_keep_nothing_from_being_signed() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let mut forged = signed_before(&stage, 0xab);
    forged.message.committer = Address::repeat_byte(0xcd);
    let mut of_another_slot = signed_before(&stage, 0xab);
    of_another_slot.message.slot = Slot(OURS + 1);
    let stranger = SecretKey::random().unwrap();
    let mut message = signed_before(&stage, 0xab).message;
    message.proposer = stranger.public_key();
    let strangers = Signed::<_, BlsSignature>::sign(message, &stranger, &NETWORK).unwrap();
    stage.relay.says(SHOWN, shows(&[forged, of_another_slot, strangers]));
    let running = stage.start(stage.cast.gateway()).await;
    let posts = stage.relay.wait_for(ROUTE, 1).await;
    let signed: SignedDelegation = serde_json::from_slice(&posts[0].body).unwrap();
    assert_eq!(signed.message.committer, stage.cast.committer);
    stop(running).await;
    assert!(!stage.directory.path().join("evidence").exists());
}

/// Nothing is signed while no relay says what there is, and headers do not wait for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_does_not_say_what_it_has_gets_no_delegation_and_holds_up_no_header() {
    let stage = Stage::set().await;
    stage.relay.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    stage.relay.says("builder/header", Says::Json(200, json(&stage.header_bid())));
    let path = format!("eth/v1/builder/header/{OURS}/{PARENT}/{}", stage.cast.proposer.public_key());
    for says in [Says::Silence, Says::Json(500, Vec::new()), Says::Json(200, b"{}".to_vec()), Says::Breaks] {
        stage.relay.says(SHOWN, says);
        let before = stage.relay.heard(SHOWN).len();
        let running = stage.start(stage.cast.gateway()).await;
        stage.relay.wait_for(SHOWN, before + 1).await;
        let started = std::time::Instant::now();
        let answer = reqwest::get(running.0.url().unwrap().join(&path).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
        stop(running).await;
        assert!(stage.relay.heard(ROUTE).is_empty());
    }
    // Another relay's word is enough: delegations are posted to all.
    let other = RelayStandIn::start().await;
    other.says(ROUTE, receipts(&stage.cast.relay_account, 1));
    let running = stage.start_with(stage.cast.gateway(), &[&stage.relay, &other]).await;
    other.wait_for(ROUTE, 1).await;
    stop(running).await;
}

/// Two hosts without a shared record: the relay has the other's, ours is refused, and both are slashable together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delegation_of_ours_that_is_refused_for_another_of_ours_leaves_evidence() {
    let stage = Stage::set().await;
    // Shown only once ours was signed.
    stage.relay.says(ROUTE, behind());
    let running = stage.start(stage.cast.gateway()).await;
    stage.relay.wait_for(ROUTE, 1).await;
    let other = signed_before(&stage, 0xab);
    stage.relay.says(SHOWN, shows(std::slice::from_ref(&other)));
    stage.relay.says(ROUTE, Says::Json(409, br#"{"code":"already_delegated","message":"no"}"#.to_vec()));
    let folder = stage.directory.path().join(format!("evidence/slot-{OURS}"));
    let looking = async {
        while std::fs::read_dir(&folder).is_err() || std::fs::read_dir(&folder).unwrap().count() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), looking).await.unwrap();
    stop(running).await;
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let kept: SignedDelegation = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(kept, other);
    let journal = open(stage.directory.path());
    let plan = delegation_record::restore(&journal, &[]).unwrap();
    let ours = plan.delegation(Slot(OURS), other.message.proposer).unwrap();
    assert_eq!(
        ours.committer, stage.cast.committer,
        "what we signed first stays what the slot is held to here"
    );
    journal.close();
}

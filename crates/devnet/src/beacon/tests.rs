//! The node over real HTTP, asked by the client that our roles use.
//!
//! Most tests run a chain whose slots are long and whose genesis lies far back: the slots up to the running
//! one may get their blocks at once, and nothing depends on how fast the test runs.

#![allow(clippy::arithmetic_side_effects)]

use std::time::Duration;

use alloy_primitives::Bytes;
use earnest_builder_types::{BlockContents, ForkCodec, TreeHash, bls::SecretKey, domain::signing_root};
use earnest_chain::{
    BeaconClient, BroadcastValidation, ChainError, EventTopic, Lookahead, Published, SlotClock, Standing,
};
use futures::{Stream, StreamExt};
use http::StatusCode;
use tokio::sync::broadcast;

use super::*;

const VALIDATORS: u8 = 8;
/// The slot that runs in tests whose genesis lies far back.
const RUNNING: u64 = 60;

struct Devnet {
    node: BeaconNode,
    client: BeaconClient,
    engine: Arc<MemoryEngine>,
    keys: Vec<SecretKey>,
}

async fn start(change: impl FnOnce(&mut BeaconOptions)) -> Devnet {
    let keys: Vec<SecretKey> =
        (1..=VALIDATORS).map(|one| SecretKey::from_bytes(&[one; 32]).unwrap()).collect();
    let engine = Arc::new(MemoryEngine::new());
    let mut options = BeaconOptions::new(engine.clone(), keys.iter().map(SecretKey::public_key).collect());
    options.slot_ms = 1_000_000;
    options.genesis_time = node::now_ms() / 1000 - RUNNING * 1000 - 100;
    change(&mut options);
    let node = BeaconNode::start(options).await.unwrap();
    let client = BeaconClient::new([node.url().clone()]).unwrap();
    Devnet { node, client, engine, keys }
}

impl Devnet {
    fn reveal(&self, proposer: u64, slot: u64) -> earnest_builder_types::BlsSignature {
        let epoch = self.node.clock().epoch_of(slot);
        self.key(proposer).sign(randao_signing_root(epoch, self.node.proposer_domains().randao))
    }

    fn key(&self, proposer: u64) -> &SecretKey {
        &self.keys[usize::try_from(proposer).unwrap()]
    }

    async fn produce(&self, slot: u64) -> BlockContents {
        let proposer = self.node.chain(|chain| chain.facts_for(slot).unwrap().proposer_index);
        let reveal = self.reveal(proposer, slot);
        self.client.produce_block(slot, &reveal, B256::ZERO).await.unwrap().contents
    }

    async fn propose(&self, slot: u64) -> SignedBlockContents {
        let block = self.produce(slot).await;
        let proposer = block.block().proposer_index();
        block.sign(self.key(proposer), self.node.proposer_domains().block)
    }

    async fn publish(&self, block: &SignedBlockContents) -> Result<Published, ChainError> {
        self.publish_with(block, BroadcastValidation::ConsensusAndEquivocation).await
    }

    async fn publish_with(
        &self,
        block: &SignedBlockContents,
        validation: BroadcastValidation,
    ) -> Result<Published, ChainError> {
        self.client.publish_block(block, validation).await.nodes.remove(0).outcome
    }

    async fn grow(&self, slots: impl IntoIterator<Item = u64>) {
        for slot in slots {
            let block = self.propose(slot).await;
            assert_eq!(self.publish(&block).await, Ok(Published::Imported), "slot {slot}");
        }
    }

    async fn post(&self, path: &str, media: &str, body: Vec<u8>) -> (StatusCode, String) {
        let request = reqwest::Client::new()
            .post(self.node.url().join(path).unwrap())
            .header("eth-consensus-version", "electra")
            .header("content-type", media)
            .body(body);
        let answer = request.send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

fn status_of(outcome: &Result<Published, ChainError>) -> (u16, String) {
    match outcome {
        Err(ChainError::Status { status, message, .. }) => (*status, message.clone()),
        other => panic!("{other:?}"),
    }
}

async fn next(events: &mut (impl Stream<Item = BeaconEvent> + Unpin)) -> BeaconEvent {
    tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap()
}

async fn next_of<T>(
    events: &mut broadcast::Receiver<BeaconEvent>,
    mut pick: impl FnMut(BeaconEvent) -> Option<T>,
) -> T {
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Some(found) = pick(events.recv().await.unwrap()) {
                return found;
            }
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn every_fork_takes_a_block_of_its_own() {
    for fork in [ForkName::Capella, ForkName::Deneb, ForkName::Electra, ForkName::Fulu] {
        let devnet = start(|options| options.fork = fork).await;
        devnet.grow([1, 3]).await;
        let head = devnet.client.head().await.unwrap();
        assert_eq!((head.slot, head.root), (3, devnet.node.head().root), "{fork}");
        assert_eq!(devnet.engine.forkchoice().head_block_hash, devnet.node.head().execution.hash, "{fork}");
        assert_eq!(devnet.client.spec().await.unwrap().fork_at(0), Some(fork));
        assert!(devnet.client.root_at_or_before(2, 0).await.is_err(), "slot 2 was missed");
        assert_eq!(devnet.client.root_at_or_before(2, 1).await.unwrap(), head.parent_root);
    }
}

#[tokio::test]
async fn the_clock_and_the_domains_are_those_the_api_tells() {
    let devnet = start(|options| options.slot_ms = 250).await;
    let spec = devnet.client.spec().await.unwrap();
    let genesis = devnet.client.genesis().await.unwrap();
    assert_eq!(devnet.client.slot_clock().await.unwrap(), devnet.node.clock());
    assert_eq!(genesis, devnet.node.genesis());
    let version = spec.fork_version(ForkName::Electra).unwrap();
    let domain = beacon_proposer_domain(version, genesis.genesis_validators_root);
    assert_eq!(domain, devnet.node.proposer_domains().block);
    assert_eq!(builder_domain(spec.genesis_fork_version().unwrap()), devnet.node.builder_domain());
    assert_eq!(spec.chain_id(), Some(1337));
    assert!(!devnet.client.sync_status().await.unwrap().is_syncing);
}

#[tokio::test]
async fn events_tell_the_head_and_what_to_build_next() {
    let devnet = start(|_| ()).await;
    let mut events =
        devnet.client.events(&[EventTopic::Block, EventTopic::Head, EventTopic::PayloadAttributes]);
    assert!(matches!(next(&mut events).await, BeaconEvent::Connected { .. }));
    devnet.grow([RUNNING]).await;
    let mut seen = Vec::new();
    loop {
        match next(&mut events).await {
            BeaconEvent::PayloadAttributes(event) => {
                let attributes = &event.data.payload_attributes;
                assert_eq!(event.data.parent_block_root, attributes.parent_beacon_block_root.unwrap());
                assert_eq!(attributes.withdrawals, Some(vec![]));
                assert_eq!(
                    attributes.timestamp,
                    devnet.node.clock().payload_timestamp(event.data.proposal_slot)
                );
                if event.data.proposal_slot == RUNNING + 1 {
                    assert_eq!(event.data.parent_block_hash, devnet.node.head().execution.hash);
                    break;
                }
            }
            BeaconEvent::Block(block) => seen.push(format!("block {}", block.slot)),
            BeaconEvent::Head(head) => seen.push(format!("head {}", head.slot)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, [format!("block {RUNNING}"), format!("head {RUNNING}")]);
}

#[tokio::test]
async fn what_the_proposer_did_not_sign_is_refused() {
    let devnet = start(|_| ()).await;
    devnet.grow([1]).await;
    let block = devnet.produce(2).await;
    let proposer = block.block().proposer_index();
    let domain = devnet.node.proposer_domains().block;
    let other = devnet.key((proposer + 1) % u64::from(VALIDATORS));

    let forged = block.clone().sign(other, domain);
    let (status, message) = status_of(&devnet.publish(&forged).await);
    assert_eq!(status, 400);
    assert!(message.contains("block signature"), "{message}");

    let wrong_domain = block.clone().sign(devnet.key(proposer), B256::ZERO);
    assert_eq!(status_of(&devnet.publish(&wrong_domain).await).0, 400);

    let reveal = devnet.reveal(proposer, 2 + 8);
    let wrong_reveal = devnet.client.produce_block(2, &reveal, B256::ZERO).await.unwrap().contents;
    let wrong_reveal = wrong_reveal.sign(devnet.key(proposer), domain);
    let (status, message) = status_of(&devnet.publish(&wrong_reveal).await);
    assert!(status == 400 && message.contains("randao"), "{message}");

    let good = block.sign(devnet.key(proposer), domain);
    assert_eq!(devnet.publish(&good).await, Ok(Published::Imported), "what was refused left no trace");
    assert_eq!(devnet.publish(&good).await, Ok(Published::Imported), "the same again is no fault");
}

#[tokio::test]
async fn a_second_block_for_the_slot_is_equivocation_whatever_validation_is_asked() {
    let devnet = start(|_| ()).await;
    let one = devnet.propose(1).await;
    let proposer = one.message().proposer_index();
    let reveal = devnet.reveal(proposer, 1);
    let two = devnet.client.produce_block(1, &reveal, B256::repeat_byte(7)).await.unwrap().contents;
    let two = two.sign(devnet.key(proposer), devnet.node.proposer_domains().block);
    assert_eq!(devnet.publish(&one).await, Ok(Published::Imported));
    for validation in [BroadcastValidation::Gossip, BroadcastValidation::ConsensusAndEquivocation] {
        let (status, message) = status_of(&devnet.publish_with(&two, validation).await);
        assert!(status == 400 && message.contains("equivocation"), "{message}");
    }
    assert_eq!(devnet.node.head().root, one.message().tree_hash_root());
}

#[tokio::test]
async fn an_invalid_payload_is_refused_or_spread_and_not_imported_as_was_asked() {
    let devnet = start(|_| ()).await;
    let block = devnet.propose(1).await;
    devnet.engine.invalidate(block.message().body().execution_payload().block_hash());
    let (status, message) = status_of(&devnet.publish(&block).await);
    assert!(status == 400 && message.contains("invalid payload"), "{message}");
    let outcome = devnet.publish_with(&block, BroadcastValidation::Gossip).await;
    assert_eq!(outcome, Ok(Published::BroadcastNotImported));
    assert_eq!(devnet.node.head().header.slot, 0);
}

#[tokio::test]
async fn blocks_out_of_their_time_or_place_are_refused() {
    let devnet = start(|_| ()).await;
    let early = devnet.propose(RUNNING + 1).await;
    let (status, message) = status_of(&devnet.publish(&early).await);
    assert!(status == 400 && message.contains("has not begun"), "{message}");
    let stale = devnet.propose(1).await;
    devnet.grow([2]).await;
    assert_eq!(devnet.publish(&stale).await, Ok(Published::Imported), "valid, though it is no head");
    assert_eq!(devnet.node.head().header.slot, 2);
    assert!(devnet.client.produce_block(2, &Default::default(), B256::ZERO).await.is_err());
}

#[tokio::test]
async fn blocks_are_read_as_json_and_ssz_and_nothing_else() {
    let devnet = start(|_| ()).await;
    let one = devnet.propose(1).await;
    let (status, _) = devnet.post("/eth/v2/beacon/blocks", "application/json", one.to_json().unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let two = devnet.propose(2).await;
    let (status, _) = devnet.post("/eth/v1/beacon/blocks", "application/octet-stream", two.to_ssz()).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = devnet.post("/eth/v2/beacon/blocks", "text/plain", two.to_ssz()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{body}");
    for (media, body) in [("application/json", b"{}".to_vec()), ("application/octet-stream", vec![1, 2, 3])] {
        let (status, body) = devnet.post("/eth/v2/beacon/blocks", media, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(body.contains("\"code\":400"), "{body}");
    }
}

#[tokio::test]
async fn a_blinded_block_of_our_own_payload_is_unblinded_and_published() {
    let devnet = start(|_| ()).await;
    devnet.engine.submit(Bytes::from_static(&[2, 0xc0]));
    let full = devnet.produce(1).await;
    let BlockContents::Electra(contents) = full else { panic!("another fork") };
    let proposer = contents.block.proposer_index;
    let blinded = earnest_builder_types::BeaconBlock::Electra(contents.block).into_blinded();
    let domain = devnet.node.proposer_domains().block;
    let signed = blinded.clone().sign(devnet.key(proposer), domain);
    let path = "/eth/v2/beacon/blinded_blocks?broadcast_validation=consensus_and_equivocation";
    let (status, body) = devnet.post(path, "application/octet-stream", signed.to_ssz()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let kept = devnet.node.block(devnet.node.head().root).unwrap();
    assert_eq!(kept.message().body().execution_payload().transactions().len(), 1);
    assert_eq!(kept.message().tree_hash_root(), blinded.tree_hash_root());

    let earnest_builder_types::BlindedBeaconBlock::Electra(mut foreign) = blinded else {
        panic!("another fork")
    };
    foreign.body.execution_payload_header.block_hash = B256::repeat_byte(1);
    let foreign =
        earnest_builder_types::BlindedBeaconBlock::Electra(foreign).sign(devnet.key(proposer), domain);
    let (status, body) = devnet.post(path, "application/json", foreign.to_json().unwrap()).await;
    assert!(status == StatusCode::BAD_REQUEST && body.contains("not built here"), "{body}");
}

#[tokio::test]
async fn the_lookahead_is_the_duties_and_rests_on_what_heads_name() {
    let devnet = start(|_| ()).await;
    devnet.grow([5, 7, 9, 17, 18]).await;
    let mut lookahead = Lookahead::new(8);
    for duties in devnet.client.proposer_lookahead(2, 8).await.unwrap() {
        assert_eq!(devnet.client.proposer_duties(duties.epoch).await.unwrap(), duties);
        lookahead.apply(duties).unwrap();
    }
    assert_eq!(lookahead.last_epoch(), Some(3));
    let due = lookahead.proposer(19).unwrap();
    assert_eq!(due.pubkey, devnet.key(due.validator_index).public_key());

    let mut events = devnet.node.events();
    devnet.grow([19]).await;
    assert_eq!(devnet.node.head().header.proposer_index, due.validator_index);
    let head = next_of(&mut events, |event| match event {
        BeaconEvent::Head(head) => Some(head),
        _ => None,
    });
    assert!(lookahead.stale_epochs(&head.await).is_empty());
    assert!(devnet.client.proposer_duties(9).await.is_err(), "two epochs ahead nothing is known");
}

#[tokio::test]
async fn a_changed_lookahead_is_noticed_and_takes_back_what_it_no_longer_supports() {
    let devnet = start(|_| ()).await;
    devnet.grow([5, 7, 9, 15, 16, 17]).await;
    let mut lookahead = Lookahead::new(8);
    for duties in devnet.client.proposer_lookahead(2, 8).await.unwrap() {
        lookahead.apply(duties).unwrap();
    }
    let mut events = devnet.node.events();
    let change = devnet.node.change_lookahead().await.unwrap();
    assert_eq!(change.orphaned, 3, "slots 15, 16 and 17");
    let depth = next_of(&mut events, |event| match event {
        BeaconEvent::ChainReorg(reorg) => Some(reorg.depth),
        _ => None,
    });
    assert_eq!(depth.await, 3);
    devnet.grow([18]).await;
    let head = next_of(&mut events, |event| match event {
        BeaconEvent::Head(head) if head.slot == 18 => Some(head),
        _ => None,
    });
    assert_eq!(lookahead.stale_epochs(&head.await), [3]);
    let mut taken_back = Vec::new();
    for duties in devnet.client.proposer_lookahead(2, 8).await.unwrap() {
        taken_back
            .extend(lookahead.apply(duties).unwrap().filter(earnest_chain::LookaheadChange::takes_back));
    }
    assert_eq!(taken_back.iter().map(|change| change.epoch).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn after_a_reorg_the_next_block_builds_around_the_orphan() {
    let devnet = start(|_| ()).await;
    devnet.grow([1, 2, 3]).await;
    let orphan = devnet.node.head();
    let change = devnet.node.reorg(1).await.unwrap();
    assert_eq!((change.old, change.orphaned), (orphan.root, 1));
    assert_eq!(devnet.engine.forkchoice().head_block_hash, devnet.node.head().execution.hash);
    devnet.grow([4]).await;
    let slots = devnet.node.chain(|chain| chain.chain().map(|block| block.header.slot).collect::<Vec<_>>());
    assert_eq!(slots, [0, 1, 2, 4]);
    assert_eq!(devnet.node.reorg(9).await, Err(ReorgError::Depth));
    devnet.engine.set_offline(true);
    assert!(matches!(devnet.node.reorg(1).await, Err(ReorgError::Engine(_))));
    assert_eq!(devnet.node.head().header.slot, 4, "the chain stays where the execution client is");
}

#[tokio::test]
async fn what_is_final_reaches_the_execution_client() {
    let devnet = start(|_| ()).await;
    let mut events = devnet.node.events();
    devnet.grow((1..=25).filter(|slot| slot % 3 != 0)).await;
    let finalized = next_of(&mut events, |event| match event {
        BeaconEvent::FinalizedCheckpoint(checkpoint) => Some(checkpoint),
        _ => None,
    });
    assert_eq!(finalized.await.epoch, 1);
    let hash_at = |slot| devnet.node.chain(|chain| chain.block_at(slot).unwrap().execution.hash);
    let told = devnet.engine.forkchoice();
    assert_eq!(told.finalized_block_hash, hash_at(8));
    assert_eq!(told.safe_block_hash, hash_at(16));
    assert_eq!(devnet.client.header("finalized").await.unwrap().slot, 8);
}

#[tokio::test]
async fn without_an_execution_client_blocks_are_refused_as_unavailable() {
    let devnet = start(|_| ()).await;
    let block = devnet.propose(1).await;
    devnet.engine.set_offline(true);
    assert_eq!(status_of(&devnet.publish(&block).await).0, 503);
    assert!(devnet.client.sync_status().await.unwrap().el_offline);
    devnet.engine.set_offline(false);
    assert_eq!(devnet.publish(&block).await, Ok(Published::Imported));
}

#[tokio::test]
async fn faults_on_demand_strike_where_they_were_put() {
    let devnet = start(|_| ()).await;
    let faults = devnet.node.faults();
    devnet.grow([1]).await;

    faults.set(Endpoints::Lookahead, Fault::fail(StatusCode::NOT_FOUND));
    let by_duties = devnet.client.proposer_lookahead(7, 8).await.unwrap();
    assert_eq!(by_duties.len(), 2, "a node without EIP-7917 is asked for duties");
    faults.clear();
    assert_eq!(devnet.client.proposer_lookahead(7, 8).await.unwrap(), by_duties);

    faults.set(Endpoints::Config, Fault::fail(StatusCode::BAD_GATEWAY).times(1));
    assert!(matches!(devnet.client.genesis().await, Err(ChainError::Status { status: 502, .. })));
    assert!(devnet.client.genesis().await.is_ok());

    let hasty = earnest_chain::BeaconOptions { timeout: Duration::from_millis(100), ..Default::default() };
    let hasty = BeaconClient::with_options([devnet.node.url().clone()], hasty).unwrap();
    faults.set(Endpoints::Node, Fault::slow(Duration::from_secs(600)));
    assert!(matches!(hasty.sync_status().await, Err(ChainError::Timeout { .. })));

    let block = devnet.propose(2).await;
    faults.miss_slot(2);
    assert_eq!(status_of(&devnet.publish(&block).await).0, 400);
    assert!(devnet.client.produce_block(2, &Default::default(), B256::ZERO).await.is_err());
    devnet.grow([3]).await;
}

#[tokio::test]
async fn a_broken_event_stream_is_opened_again() {
    let devnet = start(|_| ()).await;
    let mut events = devnet.client.events(&[EventTopic::Head]);
    assert!(matches!(next(&mut events).await, BeaconEvent::Connected { .. }));
    devnet.node.faults().break_event_streams();
    assert!(matches!(next(&mut events).await, BeaconEvent::Disconnected { .. }));
    assert!(matches!(next(&mut events).await, BeaconEvent::Connected { .. }));
    devnet.grow([1]).await;
    assert!(matches!(next(&mut events).await, BeaconEvent::Head(head) if head.slot == 1));
}

#[tokio::test]
async fn nodes_are_surveyed_and_the_one_without_its_execution_client_is_not_relied_on() {
    let (well, offline) = (start(|_| ()).await, start(|_| ()).await);
    let block = offline.propose(1).await;
    offline.engine.set_offline(true);
    assert_eq!(status_of(&offline.publish(&block).await).0, 503);
    let urls = [offline.node.url().clone(), well.node.url().clone()];
    let client = BeaconClient::new(urls).unwrap();
    let survey = client.survey(RUNNING).await;
    let standings: Vec<_> = survey.nodes.iter().map(|node| node.standing).collect();
    assert_eq!(standings, [Standing::Unverified, Standing::Well]);
    assert_eq!(survey.slots_without_block(), RUNNING);
}

#[tokio::test]
async fn validators_are_found_by_index_and_key() {
    let devnet = start(|_| ()).await;
    let found = devnet.client.validators(&[3, 99, 1]).await.unwrap();
    assert_eq!(found.iter().map(|one| one.index).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(found[0].pubkey, devnet.key(3).public_key());
    assert!(found[0].is_active());
    let by_key = devnet.client.validators_by_pubkey(&[devnet.key(5).public_key()]).await.unwrap();
    assert_eq!(by_key[0].index, 5);

    // More than fit into a query: by POST, though most of the keys are nobody's.
    let mut keys: Vec<_> = devnet.keys.iter().map(SecretKey::public_key).collect();
    keys.extend((0..3_000u64).map(|number| {
        let mut bytes = [0xee; 48];
        bytes[40..].copy_from_slice(&number.to_be_bytes());
        earnest_builder_types::BlsPublicKey::from(bytes)
    }));
    let by_key = devnet.client.validators_by_pubkey(&keys).await.unwrap();
    assert_eq!(by_key.len(), devnet.keys.len());
    assert!(by_key.iter().all(earnest_chain::ValidatorRecord::may_register));
    let body = br#"{"ids":["2"],"statuses":["active"]}"#.to_vec();
    let (status, body) = devnet.post("/eth/v1/beacon/states/head/validators", "application/json", body).await;
    assert!(status == StatusCode::OK && body.contains(r#""index":"2""#), "{body}");
}

#[tokio::test]
async fn a_fee_recipient_named_in_time_is_used() {
    let devnet = start(|_| ()).await;
    let facts = devnet.node.chain(|chain| chain.facts_for(3).unwrap());
    let chosen = Address::repeat_byte(0xaa);
    let body = format!(r#"[{{"validator_index":"{}","fee_recipient":"{chosen}"}}]"#, facts.proposer_index);
    let path = "/eth/v1/validator/prepare_beacon_proposer";
    let (status, body) = devnet.post(path, "application/json", body.into_bytes()).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let block = devnet.produce(3).await;
    assert_eq!(block.block().body().execution_payload().fee_recipient(), chosen);
}

#[tokio::test]
async fn a_slot_without_a_block_does_not_stop_the_next_payload() {
    let devnet = start(|options| {
        options.slot_ms = 800;
        options.genesis_time = node::now_ms() / 1000 + 1;
    })
    .await;
    let mut events = devnet.node.events();
    for expected in 2..=3 {
        let event = next_of(&mut events, |event| match event {
            BeaconEvent::PayloadAttributes(event) if event.data.proposal_slot >= expected => Some(event),
            _ => None,
        })
        .await;
        let slot = event.data.proposal_slot;
        assert_eq!(slot, expected, "no slot is left out");
        assert!(node::now_ms() < devnet.node.clock().start_of(slot), "in time for slot {slot}");
        assert_eq!(event.data.parent_block_root, devnet.node.head().root);
    }
    devnet.node.wait_for_slot(4).await;
    devnet.grow([3]).await;
    let head = devnet.node.wait_for_head(|head| head.header.slot == 3).await;
    assert_eq!(head.header.parent_root, devnet.node.chain(ChainState::genesis_root));
    devnet.node.shutdown().await;
}

#[test]
fn proposers_sign_what_the_specification_says() {
    let key = SecretKey::from_bytes(&[9; 32]).unwrap();
    let domain = randao_domain([5, 0, 0, 0], B256::repeat_byte(3));
    let mut epoch_root = B256::ZERO;
    epoch_root[0] = 77;
    assert_eq!(key.sign(randao_signing_root(77, domain)), key.sign(signing_root(epoch_root, domain)));
}

#[test]
fn options_that_make_no_chain_are_refused() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let keys = vec![BlsPublicKey::ZERO];
    let refused = |change: fn(&mut BeaconOptions)| {
        let mut options = BeaconOptions::new(engine.clone(), keys.clone());
        change(&mut options);
        matches!(settings(&options), Err(StartError::Options(_)))
    };
    assert!(!refused(|_| ()));
    assert!(refused(|options| options.validators.clear()));
    assert!(refused(|options| options.fork = ForkName::Bellatrix));
    assert!(refused(|options| options.fork = ForkName::Gloas));
    assert!(refused(|options| options.slot_ms = 0));
    assert!(refused(|options| options.slots_per_epoch = 0));
    assert_eq!(SlotClock::new(0, 1, 1).map(|clock| clock.slot_ms()), Ok(1));
}

#[tokio::test]
async fn past_slots_get_blocks_of_their_proposers_and_the_running_one_is_left_to_its_own() {
    let devnet = start(|_| ()).await;
    let transaction = Bytes::from_static(&[2, 1, 2, 3]);
    devnet.engine.submit(transaction.clone());
    let mut grown = Vec::new();
    while let Some(slot) = devnet.node.grow(&devnet.keys, Duration::ZERO).await.unwrap() {
        grown.push(slot);
    }
    assert_eq!(grown, (1..RUNNING).collect::<Vec<_>>());
    assert_eq!(devnet.client.head().await.unwrap().slot, RUNNING - 1);
    let first = devnet.client.root_at_or_before(1, 0).await.unwrap();
    let block = devnet.node.block(first).unwrap();
    assert_eq!(block.message().body().execution_payload().transactions().to_vec().len(), 1);

    let stranger = start(|_| ()).await;
    let refused = stranger.node.grow(&[], Duration::ZERO).await.unwrap_err();
    assert!(matches!(refused, HistoryError::NoKey(_)), "{refused}");
    assert_eq!(stranger.node.head().header.slot, 0);
}

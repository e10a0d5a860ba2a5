//! Bidding, and auctions whose results are signed only if they hold.

mod bids;
mod by_l1;
mod first_refusal;
mod results;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use earnest_chain::RegistryConfig;
use earnest_proposer::market::{FirstRefusal, MarketConfig, RollupValue, SetBonus, Slots};
use earnest_proposer::{Running, delegation_record, start_with_signer};
use earnest_protocol::auction::{
    AuctionOutcome, AuctionRecord, AuctionStatus, MarketRollups, NamedBid, Operator, PublishedBid, Sale,
    clear,
};
use earnest_protocol::objects::{
    BidAck, MarketDomain, OrderingBid, Policy, RollupRegistration, SignedBid, SignedBidAck, auction_root,
};
use earnest_protocol::signing::{EcdsaSecret, EcdsaSignature, Signed};
use earnest_protocol::window::{Timing, Window};
use earnest_protocol::{RollupId, Slot, Wei};
use earnest_signer::KeyFile;
use tokio_util::sync::CancellationToken;

use crate::beacon_stand_in::{SECONDS_PER_SLOT, SLOTS_PER_EPOCH};
use crate::delegations::{OURS, Stage, open};
use crate::network::{NETWORK, config, earnest};
use crate::relay_stand_in::{RelayStandIn, Says};

const BIDS: &str = "market/bids";
const AUCTIONS: &str = "market/auctions";
const MATCH: &str = "/match";
const ROLLUPS: &str = "ordering/v1/rollups";
const DOMAIN: MarketDomain = MarketDomain { chain_id: NETWORK.chain_id, market: Address::repeat_byte(0x3a) };
const ROOT: B256 = B256::repeat_byte(0x11);

fn account() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[7; 32]).unwrap()
}

fn rival() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[8; 32]).unwrap()
}

fn registrations(stage: &Stage) -> Vec<RollupRegistration> {
    [(42, 10), (43, 20)]
        .map(|(rollup, reserve)| RollupRegistration {
            rollup_id: RollupId(rollup),
            reserve_wei: Wei(U256::from(reserve)),
            reserve_committer: Address::ZERO,
            revenue_recipient: Address::repeat_byte(1),
            inclusion_share_bps: 1_000,
            max_batch_bytes: 120 << 10,
            max_tx_gas: 30_000_000,
            policy: Policy::Fcfs,
            required_level: 1,
            opaque: false,
            active: true,
            relay: stage.cast.relay_account.address(),
            uri: String::new(),
        })
        .into()
}

fn window(stage: &Stage) -> Window {
    Timing::new(stage.genesis_s * 1000, SECONDS_PER_SLOT * 1000, SLOTS_PER_EPOCH)
        .window(Slot(OURS), stage.previous)
        .unwrap()
}

fn bid(stage: &Stage, who: &EcdsaSecret, rollups: &[u64], wei: u64, nonce: u64) -> SignedBid {
    let window = window(stage);
    let bid = OrderingBid {
        slot: Slot(OURS),
        rollup_ids: rollups.iter().copied().map(RollupId).collect(),
        amount_wei: Wei(U256::from(wei)),
        account: who.address(),
        registration_root: if who.address() == account().address() { ROOT } else { B256::repeat_byte(0x22) },
        committer: stage.cast.committer,
        relay: stage.cast.relay_account.address(),
        delegate: stage.cast.delegate.public_key(),
        url: "http://127.0.0.1:1/".to_owned(),
        matches: B256::ZERO,
        nonce,
        expiry: window.slot_ms / 1000,
    };
    SignedBid::sign(bid, who, &DOMAIN).unwrap()
}

fn ack(relay: &EcdsaSecret, bid: &SignedBid, received_at_ms: u64) -> SignedBidAck {
    let ack = BidAck { bid_hash: bid.message.hash(&DOMAIN), received_at_ms };
    Signed::<_, EcdsaSignature>::sign(ack, relay, &NETWORK).unwrap()
}

/// The auction of an honest relay over these bids.
fn auction(stage: &Stage, bids: &[SignedBid]) -> AuctionRecord {
    let (window, relay) = (window(stage), &stage.cast.relay_account);
    let rollups = registrations(stage);
    let sale = Sale::of(&rollups, relay.address());
    let hashes: Vec<B256> = bids.iter().map(|bid| bid.message.hash(&DOMAIN)).collect();
    let named: Vec<NamedBid<'_>> =
        hashes.iter().zip(bids).map(|(hash, bid)| NamedBid { hash: *hash, bid: &bid.message }).collect();
    let clearing = clear(&sale, &named);
    let root = auction_root(&hashes);
    let allocation = clearing.allocation(&window, root);
    let result = clearing.result(Slot(OURS), window.close_ms, &allocation);
    let mut published: Vec<PublishedBid> = bids
        .iter()
        .map(|bid| PublishedBid {
            hash: bid.message.hash(&DOMAIN),
            bid: bid.clone(),
            ack: ack(relay, bid, window.close_ms - 1_000),
            excluded: None,
        })
        .collect();
    published.sort_by_key(|bid| bid.hash);
    let mut seen = BTreeSet::new();
    let operators: Vec<Operator> = bids
        .iter()
        .filter(|bid| seen.insert(bid.message.registration_root))
        .map(|bid| Operator {
            registration_root: bid.message.registration_root,
            owner: bid.message.account,
            committer: bid.message.committer,
        })
        .collect();
    AuctionRecord {
        slot: Slot(OURS),
        relay: relay.address(),
        network: NETWORK,
        market: DOMAIN.market,
        proposer: stage.cast.proposer.public_key(),
        previous: None,
        window,
        status: AuctionStatus::Final,
        bid_count: published.len() as u64,
        outcome: Some(AuctionOutcome {
            rollups,
            operators,
            proposer_operator: None,
            bids: published,
            auction_root: root,
            winners: clearing.hashes(),
            matches: Vec::new(),
            allocation: Some(allocation),
            result: Some(Signed::<_, EcdsaSignature>::sign(result, relay, &NETWORK).unwrap()),
        }),
    }
}

fn says<T: serde::Serialize>(value: &T) -> Says {
    Says::Json(200, serde_json::to_vec(value).unwrap())
}

async fn run(stage: &Stage, change: impl FnOnce(&mut MarketConfig)) -> (Running, CancellationToken) {
    run_on(stage, None, change).await
}

async fn run_on(
    stage: &Stage,
    registry: Option<RegistryConfig>,
    change: impl FnOnce(&mut MarketConfig),
) -> (Running, CancellationToken) {
    let source = earnest(&stage.relay.url, stage.cast.relay.public_key());
    let mut config = config(stage.directory.path(), stage.beacon.url.clone(), vec![source.clone()]);
    config.gateway = Some(stage.cast.gateway());
    let key = stage.directory.path().join("account");
    std::fs::write(&key, alloy_primitives::hex::encode(*account().to_bytes())).unwrap();
    let wei = |wei: u64| Wei(U256::from(wei));
    let mut market = MarketConfig {
        contract: DOMAIN.market,
        relay: source.name(),
        registration_root: ROOT,
        account_key: KeyFile::bare(key),
        dry_run: false,
        slots: Slots::Own,
        first_refusal: FirstRefusal::Never,
        budget_wei: wei(1_000),
        values: vec![
            RollupValue { rollup: RollupId(42), value_wei: wei(50) },
            RollupValue { rollup: RollupId(43), value_wei: wei(5) },
        ],
        bonuses: vec![SetBonus { rollups: vec![RollupId(42), RollupId(43)], bonus_wei: wei(30) }],
    };
    change(&mut market);
    config.market = Some(market);
    config.registry = registry;
    let token = CancellationToken::new();
    (start_with_signer(config, stage.cast.signer(), token.clone()).await.unwrap(), token)
}

/// What the relay acknowledged of ours in an earlier run.
fn acknowledged(stage: &Stage, bid: &SignedBid) {
    let journal = open(stage.directory.path());
    delegation_record::keep_bids(&journal, std::slice::from_ref(bid)).unwrap();
    let ack = ack(&stage.cast.relay_account, bid, window(stage).close_ms - 1_000);
    delegation_record::keep_ack(&journal, Slot(OURS), &ack).unwrap();
    journal.close();
}

/// The files of the evidence, by the part of their names before the first dash.
async fn evidence(stage: &Stage) -> Vec<(String, PathBuf)> {
    let folder = stage.directory.path().join(format!("evidence/slot-{OURS}"));
    let complete = |files: &[(String, PathBuf)]| {
        ["record", "findings", "ack"].iter().all(|kind| files.iter().any(|(known, _)| known == kind))
    };
    let look = || {
        let read = std::fs::read_dir(&folder).into_iter().flatten().map(|file| file.unwrap().path());
        let kind = |path: &PathBuf| {
            path.file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned()
        };
        read.map(|path| (kind(&path), path)).collect::<Vec<_>>()
    };
    let waiting = async {
        loop {
            let files = look();
            if complete(&files) {
                return files;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.unwrap()
}

fn acknowledges(stage: &Stage) -> Says {
    let relay = EcdsaSecret::from_bytes(&stage.cast.relay_account.to_bytes()).unwrap();
    Says::Answer(Arc::new(move |body| {
        let bid: SignedBid = serde_json::from_slice(body).unwrap();
        bid.verify(&DOMAIN).unwrap();
        (200, serde_json::to_vec(&ack(&relay, &bid, 1)).unwrap())
    }))
}

fn sells(relay: &RelayStandIn, stage: &Stage) {
    let rollups = MarketRollups {
        slot: Slot(OURS),
        relay: stage.cast.relay_account.address(),
        network: NETWORK,
        market: DOMAIN.market,
        rollups: registrations(stage),
    };
    relay.says(ROLLUPS, says(&rollups));
}

/// The same auction at its close, before first refusal.
fn closed(record: &AuctionRecord) -> AuctionRecord {
    let mut closed = record.clone();
    closed.status = AuctionStatus::Closed;
    let outcome = closed.outcome.as_mut().unwrap();
    (outcome.allocation, outcome.result) = (None, None);
    closed
}

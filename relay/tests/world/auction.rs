//! The market's own: operators, rollups and bids for a slot.

use super::{PATIENCE, Setting, World};
use alloy_primitives::{Address, B256, U256};
use earnest_builder_types::{BlsPublicKey, bls::SecretKey};
use earnest_protocol::{
    RollupId, Slot, Wei,
    auction::{AuctionRecord, AuctionStatus, HeldAck},
    objects::{MarketDomain, OrderingBid, Policy, RollupRegistration, SignedBid, SignedBidAck},
    signing::EcdsaSecret,
    window::{Fraction, Window},
};
use earnest_relay::{ListedEscrow, ListedOperator, MarketConfig, TimingConfig};

pub(crate) const BIDS: &str = "/ordering/v1/market/bids";
pub(crate) const CONTRACT: Address = Address::repeat_byte(0x3a);
/// Operators 1 to 4 have the validator of the same number, 5 and 6 have none.
pub(crate) const OPERATORS: u8 = 6;
/// What each of their accounts deposited.
pub(crate) const ESCROW: u64 = 1_000;

pub(crate) fn ecdsa(byte: u8) -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[byte; 32]).unwrap()
}

pub(crate) fn bls(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

pub(crate) fn relay_address() -> Address {
    ecdsa(78).address()
}

pub(crate) fn owner(operator: u8) -> EcdsaSecret {
    ecdsa(100 + operator)
}

pub(crate) fn listed(operator: u8) -> ListedOperator {
    ListedOperator {
        registration_root: B256::repeat_byte(operator),
        owner: owner(operator).address(),
        committer: ecdsa(150 + operator).address(),
        validators: if operator <= 4 { vec![bls(operator).public_key()] } else { vec![] },
    }
}

pub(crate) fn rollup(id: u64, reserve_wei: u64) -> RollupRegistration {
    RollupRegistration {
        rollup_id: RollupId(id),
        reserve_wei: Wei(U256::from(reserve_wei)),
        reserve_committer: Address::ZERO,
        revenue_recipient: Address::repeat_byte(1),
        inclusion_share_bps: 1_000,
        max_batch_bytes: 120 << 10,
        max_tx_gas: 30_000_000,
        policy: Policy::Fcfs,
        required_level: 1,
        opaque: false,
        active: true,
        relay: relay_address(),
        uri: String::new(),
    }
}

pub(crate) fn market() -> MarketConfig {
    let elsewhere = RollupRegistration { relay: Address::repeat_byte(9), ..rollup(8, 1) };
    let inactive = RollupRegistration { active: false, ..rollup(9, 1) };
    let escrow = |operator| ListedEscrow { account: owner(operator).address(), wei: Wei(U256::from(ESCROW)) };
    MarketConfig {
        contract: CONTRACT,
        bids_per_account: 8,
        rollups: vec![rollup(7, 10), rollup(5, 20), rollup(6, 0), elsewhere, inactive],
        operators: (1..=OPERATORS).map(listed).collect(),
        escrow: (1..=OPERATORS).map(escrow).collect(),
        ..MarketConfig::default()
    }
}

pub(crate) fn setting(slot_ms: u64) -> Setting {
    // First refusal of a whole slot leaves a slow machine time.
    let timing = TimingConfig { first_refusal: Fraction(1, 1), ..TimingConfig::default() };
    Setting { slot_ms, timing, market: market(), ..Setting::default() }
}

pub(crate) fn domain(world: &World) -> MarketDomain {
    MarketDomain { chain_id: world.network.chain_id, market: CONTRACT }
}

pub(crate) fn bid(slot: u64, by: u8, rollups: &[u64], wei: u64) -> OrderingBid {
    let operator = listed(by);
    OrderingBid {
        slot: Slot(slot),
        rollup_ids: rollups.iter().copied().map(RollupId).collect(),
        amount_wei: Wei(U256::from(wei)),
        account: operator.owner,
        registration_root: operator.registration_root,
        committer: operator.committer,
        relay: relay_address(),
        delegate: bls(40 + by).public_key(),
        url: format!("http://gateway-{by}.example"),
        matches: B256::ZERO,
        nonce: wei,
        expiry: 4_000_000_000,
    }
}

pub(crate) fn sign(world: &World, by: u8, bid: OrderingBid) -> SignedBid {
    SignedBid::sign(bid, &owner(by), &domain(world)).unwrap()
}

/// Posts a bid that must be taken; gives it with its acknowledgement, which is checked.
pub(crate) async fn place(world: &World, by: u8, bid: OrderingBid) -> HeldAck {
    let bid = sign(world, by, bid);
    let (status, ack) = world.post(BIDS, &bid).await;
    assert_eq!(status, 200, "{ack}");
    let ack: SignedBidAck = serde_json::from_value(ack).unwrap();
    ack.verify(&world.network, relay_address()).unwrap();
    assert_eq!(ack.message.bid_hash, bid.message.hash(&domain(world)));
    HeldAck { bid, ack }
}

pub(crate) async fn refused(world: &World, path: &str, bid: &SignedBid) -> (u16, String) {
    let (status, body) = world.post(path, bid).await;
    assert!(status >= 400, "{body}");
    (status, body["code"].as_str().map_or_else(|| body["code"].to_string(), str::to_owned))
}

pub(crate) fn auction_path(slot: u64) -> String {
    format!("/ordering/v1/market/auctions/{slot}")
}

pub(crate) async fn record(world: &World, slot: u64) -> AuctionRecord {
    let (status, body) = world.get(&auction_path(slot)).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_value(body).unwrap()
}

/// Asks until the auction of `slot` is as far as this.
pub(crate) async fn until(world: &World, slot: u64, wanted: AuctionStatus) -> AuctionRecord {
    let asking = async {
        loop {
            let record = record(world, slot).await;
            if record.status == wanted {
                return record;
            }
            assert_ne!(record.status, AuctionStatus::Lapsed, "{record:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

/// The first slot whose auction is open for `slots` slots at least.
pub(crate) async fn open_slot(world: &World, slots: u64) -> (u64, BlsPublicKey, Window) {
    let (_, schedule) = world.get("/ordering/v1/schedule").await;
    let rows = schedule["slots"].as_array().unwrap().iter();
    let after = world.now_ms() + slots * world.node.clock().slot_ms();
    let mut open = rows.filter_map(|row| {
        let window: Window = serde_json::from_value(row["window"].clone()).ok()?;
        let proposer: BlsPublicKey = serde_json::from_value(row["proposer"].clone()).unwrap();
        (window.close_ms > after).then_some((window.slot.0, proposer, window))
    });
    open.next().unwrap_or_else(|| panic!("no auction is open: {schedule}"))
}

/// The operator of a validator.
pub(crate) fn operator_of(validator: &BlsPublicKey) -> u8 {
    (1..=4).find(|operator| bls(*operator).public_key() == *validator).unwrap()
}

/// Another operator than these.
pub(crate) fn another(than: &[u8]) -> u8 {
    (1..=OPERATORS).find(|operator| !than.contains(operator)).unwrap()
}

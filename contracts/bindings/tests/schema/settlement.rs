//! Bids that settle and bids that do not, for one change each: what Rust judges of them, the OrderingMarket must do.
//! Asserted in Solidity by `contracts/tests/SettlementVectors.t.sol`.

use crate::{assert_vectors_in, examples};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::{SolError, SolStruct, SolValue};
use earnest_builder_types::bls::SecretKey;
use earnest_protocol::{
    RollupId, Slot, Wei,
    objects::{
        AllocationEntry, Authority, CommitmentKind, Delegation, DelegationReceipt, MarketDomain,
        SlotAllocation,
    },
    settlement::{Batch, BatchPlace, ChainState, MAX_SEGMENTS, Market, SettlementError, Terms},
    signing::{EcdsaSecret, EcdsaSignature, Network, Signed},
    sol,
};
use serde_json::{Value, json};

mod errors {
    alloy_sol_types::sol! {
        error TooEarly(uint256 notBefore);
        error TooLate(uint256 until);
        error AlreadySettled(uint64 rollupId, uint64 slot);
        error BadBidSignature();
        error BidExpired();
        error InvalidDelegation(string reason);
        error NotAllocated(string reason);
        error EscrowTooLow(uint256 escrowWei);
        error NotForSale(uint64 rollupId, string reason);
    }
}

const SLOT: Slot = Slot(1_000);
/// Mainnet's slots.
const SECONDS: Market = Market {
    address: Address::repeat_byte(0x4d),
    network: examples::NETWORKS[0],
    genesis_ms: 1_764_000_000_000,
    slot_ms: 12_000,
    horizon_seconds: 259_200,
};
/// A devnet's, which begin between two seconds.
const MILLISECONDS: Market = Market {
    address: Address::repeat_byte(0x6d),
    network: examples::NETWORKS[1],
    genesis_ms: 1_764_000_000_250,
    slot_ms: 1_500,
    horizon_seconds: 600,
};

fn account() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x55; 32]).unwrap()
}

fn stranger() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x66; 32]).unwrap()
}

/// All that a settlement hangs on, each part to be changed by itself.
struct Scene {
    market: Market,
    bid: sol::OrderingBid,
    /// What the account signs for.
    bid_domain: MarketDomain,
    bidder: EcdsaSecret,
    /// Entries of the bid, whose hash is filled in when all is signed.
    won: Vec<AllocationEntry>,
    /// Entries of others.
    others: Vec<AllocationEntry>,
    /// Whether the allocation has its entries in descending order.
    descending: bool,
    allocation_slot: Slot,
    start_ms: u64,
    delegation_slot: Slot,
    /// Changes the metadata before it is signed.
    metadata: fn(Vec<u8>) -> Vec<u8>,
    proposer: SecretKey,
    proposer_network: Network,
    receipt_slot: Slot,
    received_at_ms: u64,
    receipt_hash: Option<B256>,
    relay: EcdsaSecret,
    relay_network: Network,
    /// Signing id and nonce of delegation and receipt.
    form: Option<(B256, u64)>,
    chain: ChainState,
    /// A bid that was settled before.
    earlier: Option<sol::settleCall>,
}

fn entry(rollup: u64, price: u64) -> AllocationEntry {
    AllocationEntry {
        rollup_id: RollupId(rollup),
        bid_hash: B256::ZERO,
        account: account().address(),
        committer: examples::committer().address(),
        delegate: examples::delegate().public_key(),
        price_wei: Wei(U256::from(price)),
        url: "https://gateway.example/".into(),
    }
}

fn terms(reserve: u64, share: u16) -> Terms {
    Terms {
        reserve_wei: Wei(U256::from(reserve)),
        revenue_recipient: examples::address("revenue"),
        relay: examples::relay().address(),
        inclusion_share_bps: share,
        active: true,
    }
}

impl Scene {
    /// A bid for these (rollup, price, share), all in time, settled as early as may be.
    fn new(market: Market, rights: &[(u64, u64, u16)]) -> Self {
        let slot_ms = market.genesis_ms + SLOT.0 * market.slot_ms;
        let slot_seconds = slot_ms / 1_000;
        let amount = rights.iter().map(|(_, price, _)| U256::from(*price)).sum();
        let mut scene = Self {
            market,
            bid: sol::OrderingBid {
                slot: SLOT.0,
                rollupIds: rights.iter().map(|(rollup, ..)| *rollup).collect(),
                amountWei: amount,
                account: account().address(),
                registrationRoot: examples::hash("registration"),
                committer: examples::committer().address(),
                relay: examples::relay().address(),
                delegate: examples::delegate().public_key().into(),
                url: "https://gateway.example/".into(),
                matches: B256::ZERO,
                nonce: 8,
                expiry: slot_seconds,
            },
            bid_domain: market.domain(),
            bidder: account(),
            won: rights.iter().map(|(rollup, price, _)| entry(*rollup, *price)).collect(),
            others: vec![AllocationEntry { bid_hash: examples::hash("another"), ..entry(9_999, 5) }],
            descending: false,
            allocation_slot: SLOT,
            start_ms: slot_ms - 5 * market.slot_ms,
            delegation_slot: SLOT,
            metadata: |bytes| bytes,
            proposer: examples::proposer(),
            proposer_network: market.network,
            receipt_slot: SLOT,
            received_at_ms: slot_ms - 6 * market.slot_ms,
            receipt_hash: None,
            relay: examples::relay(),
            relay_network: market.network,
            form: None,
            chain: ChainState { now: slot_seconds + 1, escrow_wei: amount, ..ChainState::default() },
            earlier: None,
        };
        for (rollup, _, share) in rights {
            scene.chain.terms.insert(RollupId(*rollup), terms(0, *share));
            scene.record(*rollup, 0, slot_seconds, CommitmentKind::WindowSeal);
        }
        scene
    }

    fn slot_ms(&self) -> u64 {
        self.market.genesis_ms + SLOT.0 * self.market.slot_ms
    }

    /// The last second at which a batch is in time.
    fn slot_seconds(&self) -> u64 {
        self.slot_ms() / 1_000
    }

    fn record(&mut self, rollup: u64, segment: u16, time: u64, kind: CommitmentKind) {
        let committer = examples::committer().address();
        let place = BatchPlace { rollup_id: RollupId(rollup), segment, committer };
        self.chain.batches.insert(place, Batch { time, kind });
    }

    fn terms(&mut self, rollup: u64) -> &mut Terms {
        self.chain.terms.get_mut(&RollupId(rollup)).unwrap()
    }

    /// Signs it all.
    fn call(&self) -> sol::settleCall {
        let hash = self.bid.eip712_signing_hash(&self.market.domain().eip712());
        let to_sign = self.bid.eip712_signing_hash(&self.bid_domain.eip712());
        let won = self.won.iter().map(|entry| AllocationEntry { bid_hash: hash, ..entry.clone() });
        let mut entries: Vec<_> = won.chain(self.others.iter().cloned()).collect();
        if self.descending {
            entries.reverse();
        }
        let allocation = SlotAllocation {
            slot: self.allocation_slot,
            start_ms: self.start_ms,
            auction_root: examples::hash("auction"),
            entries,
        };
        let message = Delegation {
            proposer: self.proposer.public_key(),
            delegate: examples::delegate().public_key(),
            committer: examples::address("gateway"),
            slot: self.delegation_slot,
            metadata: (self.metadata)(allocation.to_metadata().to_vec()).into(),
        };
        let mut receipt = DelegationReceipt::of(&message, self.received_at_ms).unwrap();
        receipt.slot = self.receipt_slot;
        receipt.delegation_hash = self.receipt_hash.unwrap_or(receipt.delegation_hash);
        let mut delegation = Signed::<_, earnest_protocol::BlsSignature>::sign(
            message,
            &self.proposer,
            &self.proposer_network,
        )
        .unwrap();
        let mut receipt =
            Signed::<_, EcdsaSignature>::sign(receipt, &self.relay, &self.relay_network).unwrap();
        if let Some((signing_id, nonce)) = self.form {
            (delegation.signing_id, delegation.nonce) = (signing_id, nonce);
            delegation.signature =
                self.proposer.sign(delegation.signing_root(&self.proposer_network).unwrap());
            (receipt.signing_id, receipt.nonce) = (signing_id, nonce);
            receipt.signature = self.relay.sign(receipt.signing_root(&self.relay_network).unwrap()).unwrap();
        }
        let (delegation, receipt) = Authority { delegation, receipt }.to_sol().unwrap();
        let bid_signature = self.bidder.sign(to_sign).unwrap().into();
        sol::settleCall { bid: self.bid.clone(), bidSignature: bid_signature, delegation, receipt }
    }
}

fn refusal(error: &SettlementError) -> Vec<u8> {
    match *error {
        SettlementError::TooEarly(at) => errors::TooEarly { notBefore: U256::from(at) }.abi_encode(),
        SettlementError::TooLate(at) => errors::TooLate { until: U256::from(at) }.abi_encode(),
        SettlementError::AlreadySettled(id) => {
            errors::AlreadySettled { rollupId: id.0, slot: SLOT.0 }.abi_encode()
        }
        SettlementError::BadBidSignature => errors::BadBidSignature {}.abi_encode(),
        SettlementError::InvalidDelegation(reason) => {
            errors::InvalidDelegation { reason: reason.into() }.abi_encode()
        }
        SettlementError::BidExpired => errors::BidExpired {}.abi_encode(),
        SettlementError::NotAllocated(reason) => errors::NotAllocated { reason: reason.into() }.abi_encode(),
        SettlementError::EscrowTooLow(wei) => errors::EscrowTooLow { escrowWei: wei }.abi_encode(),
        SettlementError::NotForSale(id, reason) => {
            errors::NotForSale { rollupId: id.0, reason: reason.into() }.abi_encode()
        }
    }
}

fn arguments(call: &sol::settleCall) -> Value {
    json!({
        "bid": Bytes::from(call.bid.abi_encode()),
        "bidSignature": call.bidSignature,
        "delegation": Bytes::from(call.delegation.abi_encode()),
        "receipt": Bytes::from(call.receipt.abi_encode()),
    })
}

/// The vectors of one market.
struct Cases {
    market: Market,
    made: Vec<Value>,
}

/// Two rollups, the second one's batch late.
const RIGHTS: [(u64, u64, u16); 2] = [(4_242, 1_000_003, 2_500), (4_243, 777, 1_000)];

impl Cases {
    fn add(&mut self, name: &str, scene: &Scene, call: &sol::settleCall, expected: Result<(), &str>) {
        let mut chain = scene.chain.clone();
        if let Some(earlier) = &scene.earlier {
            let funded = ChainState { escrow_wei: earlier.bid.amountWei, ..chain.clone() };
            let outcome = self.market.settle(earlier, &funded).unwrap();
            chain.settled.extend(outcome.rights.iter().map(|right| right.rollup_id));
        }
        let judged = self.market.settle(call, &chain);
        assert_eq!(judged.as_ref().map(|_| ()).map_err(SettlementError::name), expected, "{name}");
        let outcome = judged.as_ref().ok();
        let rights: Vec<Value> = outcome
            .iter()
            .flat_map(|outcome| &outcome.rights)
            .map(|right| {
                json!({
                    "rollupId": right.rollup_id,
                    "revenueRecipient": right.revenue_recipient,
                    "revenueWei": right.revenue_wei.to_string(),
                    "proposerWei": right.proposer_wei.to_string(),
                    "inTime": right.in_time,
                })
            })
            .collect();
        let outcome = json!({
            "bidHash": outcome.map_or(B256::ZERO, |outcome| outcome.bid_hash),
            "chargedWei": outcome.map_or(U256::ZERO, |outcome| outcome.charged_wei).to_string(),
            "rights": rights,
        });
        let mut case = arguments(call);
        let fields = json!({
            "name": name,
            "settles": judged.is_ok(),
            "reason": judged.as_ref().err().map_or("", SettlementError::name),
            "revertData": Bytes::from(judged.as_ref().err().map(refusal).unwrap_or_default()),
            "now": chain.now.to_string(),
            "terms": chain.terms.iter().map(|(rollup, terms)| json!({
                "rollupId": rollup,
                "reserveWei": terms.reserve_wei,
                "revenueRecipient": terms.revenue_recipient,
                "relay": terms.relay,
                "inclusionShareBps": terms.inclusion_share_bps,
                "active": terms.active,
            })).collect::<Vec<_>>(),
            "records": chain.batches.iter().map(|(place, batch)| json!({
                "rollupId": place.rollup_id,
                "segment": place.segment,
                "committer": place.committer,
                "time": batch.time.to_string(),
                "kind": u8::from(batch.kind),
            })).collect::<Vec<_>>(),
            "escrowWei": chain.escrow_wei.to_string(),
            "earlier": scene.earlier.iter().map(arguments).collect::<Vec<_>>(),
            "outcome": outcome,
        });
        case.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.made.push(case);
    }

    fn settles(&mut self, name: &str, rights: &[(u64, u64, u16)], change: impl FnOnce(&mut Scene)) {
        let mut scene = Scene::new(self.market, rights);
        change(&mut scene);
        self.add(name, &scene, &scene.call(), Ok(()));
    }

    fn refuses(&mut self, name: &str, reason: &str, change: impl FnOnce(&mut Scene)) {
        let mut scene = Scene::new(self.market, &RIGHTS);
        change(&mut scene);
        self.add(name, &scene, &scene.call(), Err(reason));
    }

    /// Of a call that was changed after all was signed.
    fn refuses_changed(&mut self, name: &str, reason: &str, change: impl FnOnce(&mut sol::settleCall)) {
        let scene = Scene::new(self.market, &RIGHTS);
        let mut call = scene.call();
        change(&mut call);
        self.add(name, &scene, &call, Err(reason));
    }

    fn write(self, name: &str) {
        let Market { address, network, genesis_ms, slot_ms, horizon_seconds } = self.market;
        let made = json!({
            "market": address,
            "chainId": network.chain_id.to_string(),
            "genesisForkVersion": hex::encode_prefixed(network.genesis_fork_version),
            "clock": { "genesisMs": genesis_ms.to_string(), "slotMs": slot_ms.to_string() },
            "horizonSeconds": horizon_seconds,
            "slot": SLOT,
            "cases": self.made,
        });
        assert_vectors_in("settlement", name, &made);
    }
}

#[test]
fn seconds() {
    let mut cases = Cases { market: SECONDS, made: Vec::new() };
    settling(&mut cases);
    refused_times(&mut cases);
    refused_bids(&mut cases);
    refused_delegations(&mut cases);
    refused_receipts(&mut cases);
    refused_allocations(&mut cases);
    refused_terms(&mut cases);
    cases.write("seconds.json");
}

/// Where a slot begins between two seconds, the block at its first whole second is after it.
#[test]
fn milliseconds() {
    let mut cases = Cases { market: MILLISECONDS, made: Vec::new() };
    cases.settles("in time, in the second before the slot", &RIGHTS, |_| {});
    cases.settles("late, in the slot's first whole second", &RIGHTS, |scene| {
        scene.record(4_242, 0, scene.slot_seconds() + 1, CommitmentKind::WindowSeal);
    });
    cases.settles("in the horizon's last second", &RIGHTS, |scene| {
        scene.chain.now = scene.slot_seconds() + 600;
    });
    cases.settles("received a millisecond before the start", &RIGHTS, |scene| {
        scene.received_at_ms = scene.start_ms - 1;
    });
    cases.settles("start a millisecond before the slot", &RIGHTS, |scene| {
        scene.start_ms = scene.slot_ms() - 1;
    });
    cases.refuses("in the second before the slot", "TooEarly", |scene| {
        scene.chain.now = scene.slot_seconds();
    });
    cases.refuses("after the horizon", "TooLate", |scene| scene.chain.now = scene.slot_seconds() + 601);
    cases.refuses("received at the start", "InvalidDelegation", |scene| {
        scene.received_at_ms = scene.start_ms;
    });
    cases.refuses("lapsed before any close", "BidExpired", |scene| {
        // The start is at a quarter past a second; four slots before is as well.
        scene.bid.expiry = (scene.start_ms - 4 * MILLISECONDS.slot_ms) / 1_000;
    });
    cases.write("milliseconds.json");
}

fn settling(cases: &mut Cases) {
    cases.settles("one rollup", &RIGHTS[..1], |_| {});
    cases.settles("two rollups", &RIGHTS, |_| {});
    cases.settles("one of two late", &RIGHTS, |scene| {
        scene.record(4_243, 0, scene.slot_seconds() + 1, CommitmentKind::WindowSeal);
    });
    cases.settles("one of two without a batch", &RIGHTS, |scene| {
        scene.chain.batches.retain(|place, _| place.rollup_id == RollupId(4_242));
    });
    cases.settles("descending entries, among others", &RIGHTS, |scene| scene.descending = true);
    cases.settles("nobody else's entry", &RIGHTS, |scene| scene.others.clear());
    cases.settles("beside an unsold right", &RIGHTS, |scene| {
        scene.others.push(AllocationEntry { bid_hash: B256::ZERO, ..entry(1, 0) });
    });
    let sixteen: Vec<(u64, u64, u16)> = (1..=16).map(|n| (n * 1_000, n * 999 + 7, 625)).collect();
    cases.settles("sixteen rollups", &sixteen, |_| {});
    cases.settles("three segments, all in time", &RIGHTS, |scene| {
        let at = scene.slot_seconds();
        scene.record(4_242, 0, at - 24, CommitmentKind::SegmentSeal);
        scene.record(4_242, 1, at - 12, CommitmentKind::SegmentSeal);
        scene.record(4_242, 2, at, CommitmentKind::WindowSeal);
    });
    cases.settles("the last of three segments late", &RIGHTS, |scene| {
        let at = scene.slot_seconds();
        scene.record(4_242, 0, at - 24, CommitmentKind::SegmentSeal);
        scene.record(4_242, 1, at - 12, CommitmentKind::SegmentSeal);
        scene.record(4_242, 2, at + 12, CommitmentKind::WindowSeal);
    });
    cases.settles("the first of two segments late", &RIGHTS, |scene| {
        let at = scene.slot_seconds();
        scene.record(4_242, 0, at + 12, CommitmentKind::SegmentSeal);
        scene.record(4_242, 1, at, CommitmentKind::WindowSeal);
    });
    cases.settles("a segment missing", &RIGHTS, |scene| {
        let at = scene.slot_seconds();
        scene.record(4_242, 0, at, CommitmentKind::SegmentSeal);
        scene.record(4_242, 2, at, CommitmentKind::WindowSeal);
    });
    cases.settles("no seal of the window", &RIGHTS, |scene| {
        scene.record(4_242, 0, scene.slot_seconds(), CommitmentKind::SegmentSeal);
    });
    for (name, seals) in
        [("as many segments as are looked at", MAX_SEGMENTS - 1), ("one segment too many", MAX_SEGMENTS)]
    {
        cases.settles(name, &RIGHTS[..1], |scene| {
            for segment in 0..seals {
                scene.record(4_242, segment, scene.slot_seconds(), CommitmentKind::SegmentSeal);
            }
            scene.record(4_242, seals, scene.slot_seconds(), CommitmentKind::WindowSeal);
        });
    }
    cases.settles("another committer's batch", &RIGHTS[..1], |scene| {
        let batch = *scene.chain.batches.first_key_value().unwrap().1;
        let place = BatchPlace { rollup_id: RollupId(4_242), segment: 0, committer: stranger().address() };
        scene.chain.batches = [(place, batch)].into();
    });
    cases.settles("all to the proposer", &[(4_242, 1_003, 10_000)], |_| {});
    cases.settles("nothing to the proposer", &[(4_242, 1_003, 0)], |_| {});
    cases.settles("less than a wei to the proposer", &[(4_242, 9_999, 1)], |_| {});
    cases.settles("one wei to the proposer", &[(4_242, 10_000, 1)], |_| {});
    cases.settles("for nothing", &[(4_242, 0, 2_500)], |_| {});
    cases.settles("one of two for nothing", &[(4_242, 0, 2_500), (4_243, 5, 5_000)], |_| {});
    cases.settles("at the reserve", &RIGHTS, |scene| {
        scene.terms(4_242).reserve_wei = Wei(U256::from(1_000_003));
    });
    cases.settles("a great deal", &RIGHTS, |scene| {
        let great = U256::from(10).pow(U256::from(26)) + U256::from(7);
        scene.won[0].price_wei = Wei(great);
        scene.bid.amountWei = great + U256::from(777);
        scene.chain.escrow_wei = scene.bid.amountWei;
    });
    cases.settles("more in escrow", &RIGHTS, |scene| scene.chain.escrow_wei += U256::from(1));
    cases.settles("by first refusal", &RIGHTS, |scene| scene.bid.matches = examples::hash("matched"));
    cases.settles("in the horizon's last second", &RIGHTS, |scene| {
        scene.chain.now = scene.slot_seconds() + u64::from(SECONDS.horizon_seconds);
    });
    cases.settles("received a millisecond before the start", &RIGHTS, |scene| {
        scene.received_at_ms = scene.start_ms - 1;
    });
    cases.settles("start a millisecond before the slot", &RIGHTS, |scene| {
        scene.start_ms = scene.slot_ms() - 1;
    });
    cases.settles("lapsed at the earliest close", &RIGHTS, |scene| {
        scene.bid.expiry = scene.start_ms / 1_000 - 48;
    });
    cases.settles("another signing id and nonce", &RIGHTS, |scene| {
        scene.form = Some((examples::hash("another module"), u64::MAX));
    });
    cases.settles("no URL", &RIGHTS, |scene| {
        scene.bid.url.clear();
        scene.won.iter_mut().for_each(|entry| entry.url.clear());
    });
    cases.settles("the longest URL", &RIGHTS, |scene| {
        scene.bid.url = "u".repeat(256);
        scene.won.iter_mut().for_each(|entry| entry.url = "u".repeat(256));
    });
    cases.settles("after another bid of the slot", &RIGHTS, |scene| {
        let mut earlier = Scene::new(scene.market, &[(4_244, 50, 100)]);
        earlier.bid.nonce = 1;
        scene.chain.terms.insert(RollupId(4_244), terms(0, 100));
        scene.earlier = Some(earlier.call());
    });
}

fn refused_times(cases: &mut Cases) {
    cases.refuses("at the slot's start", "TooEarly", |scene| scene.chain.now = scene.slot_seconds());
    cases.refuses("long before the slot", "TooEarly", |scene| {
        scene.chain.now = scene.slot_seconds() - 96 * 12;
    });
    cases.refuses("a second after the horizon", "TooLate", |scene| {
        scene.chain.now = scene.slot_seconds() + u64::from(SECONDS.horizon_seconds) + 1;
    });
    cases.refuses("a second time", "AlreadySettled", |scene| {
        scene.earlier = Some(scene.call());
    });
    cases.refuses("one of its rollups settled", "AlreadySettled", |scene| {
        let mut earlier = Scene::new(scene.market, &RIGHTS[1..]);
        earlier.bid.nonce = 1;
        scene.earlier = Some(earlier.call());
    });
    cases.refuses("the same rights under another bid", "AlreadySettled", |scene| {
        scene.earlier = Some(scene.call());
        scene.bid.nonce = 9;
    });
}

fn refused_bids(cases: &mut Cases) {
    let refused = "BadBidSignature";
    cases.refuses("signed by another account", refused, |scene| scene.bidder = stranger());
    cases.refuses("signed for another market", refused, |scene| scene.bid_domain.market = Address::ZERO);
    cases.refuses("signed for another chain", refused, |scene| scene.bid_domain.chain_id = 1);
    cases.refuses_changed("account of zero", refused, |call| {
        (call.bid.account, call.bidSignature) = (Address::ZERO, Bytes::from(vec![0; 65]));
    });
    cases.refuses_changed("another amount than signed", refused, |call| call.bid.amountWei += U256::from(1));
    cases.refuses_changed("another nonce than signed", refused, |call| call.bid.nonce += 1);
    cases.refuses_changed("another operator than signed", refused, |call| {
        call.bid.registrationRoot = B256::ZERO;
    });
    cases.refuses_changed("v of zero or one", refused, |call| {
        let mut signature = call.bidSignature.to_vec();
        signature[64] -= 27;
        call.bidSignature = signature.into();
    });
    cases.refuses_changed("high s", refused, |call| {
        let order =
            U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
        let mut signature = call.bidSignature.to_vec();
        let s = U256::from_be_slice(&signature[32..64]);
        signature[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
        signature[64] = 55 - signature[64];
        call.bidSignature = signature.into();
    });
    cases.refuses_changed("compact signature", refused, |call| {
        call.bidSignature = call.bidSignature.slice(..64);
    });
    cases.refuses_changed("a byte after the signature", refused, |call| {
        call.bidSignature = [&call.bidSignature[..], &[0]].concat().into();
    });
    cases.refuses("lapsed before any close", "BidExpired", |scene| {
        scene.bid.expiry = scene.start_ms / 1_000 - 49;
    });
    cases.refuses("lapsed in 1970", "BidExpired", |scene| scene.bid.expiry = 0);
}

fn refused_delegations(cases: &mut Cases) {
    let refused = "InvalidDelegation";
    cases.refuses("delegation of another slot", refused, |scene| scene.delegation_slot = Slot(SLOT.0 + 1));
    cases.refuses("no metadata", refused, |scene| scene.metadata = |_| Vec::new());
    cases.refuses("metadata cut short", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes.truncate(bytes.len() - 32);
            bytes
        };
    });
    cases.refuses("a word after the metadata", refused, |scene| {
        scene.metadata = |bytes| [bytes, vec![0; 32]].concat();
    });
    cases.refuses("metadata with a longer way to the same entries", refused, |scene| {
        scene.metadata = |mut bytes| {
            // The allocation one word later, an empty word before it.
            bytes[63] = 0x60;
            bytes.splice(64..64, [0; 32]);
            bytes
        };
    });
    cases.refuses("metadata with a dirty padding", refused, |scene| {
        scene.metadata = |mut bytes| {
            *bytes.last_mut().unwrap() = 1;
            bytes
        };
    });
    cases.refuses("metadata with a slot out of range", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes[64] = 1;
            bytes
        };
    });
    cases.refuses("metadata with entries without end", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes[192..224].fill(0xff);
            bytes
        };
    });
    cases.refuses("metadata of version 0", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes[31] = 0;
            bytes
        };
    });
    cases.refuses("metadata of version 2", refused, |scene| {
        scene.metadata = |mut bytes| {
            bytes[31] = 2;
            bytes
        };
    });
    cases.refuses("an entry's URL that is no text", refused, |scene| {
        scene.metadata = |mut bytes| {
            let at = bytes.windows(8).rposition(|window| window == b"https://").unwrap();
            bytes[at] = 0xff;
            bytes
        };
    });
    cases.refuses("another's entry with a URL beyond ASCII", refused, |scene| {
        scene.others[0].url = "https://gäteway.example/".into();
    });
    cases.refuses("another's entry with too long a URL", refused, |scene| {
        scene.others[0].url = "u".repeat(257);
    });
    cases.refuses("an entry with a delegate of 47 bytes", refused, |scene| {
        scene.metadata = |mut bytes| {
            // The length is the only word of 48.
            let word = U256::from(48).to_be_bytes::<32>();
            let at = bytes.chunks(32).position(|chunk| chunk == word).unwrap();
            bytes[at * 32 + 31] = 47;
            bytes[at * 32 + 32 + 47] = 0;
            bytes
        };
    });
    cases.refuses("a rollup with two entries", refused, |scene| {
        scene.others.push(AllocationEntry { bid_hash: examples::hash("another"), ..entry(4_242, 5) });
    });
    cases.refuses("a rollup with two entries side by side", refused, |scene| {
        scene.others.push(scene.others[0].clone());
    });
    cases.refuses("allocation of another slot", refused, |scene| scene.allocation_slot = Slot(SLOT.0 - 1));
    cases.refuses("start at the slot", refused, |scene| {
        scene.start_ms = scene.slot_ms();
        scene.bid.expiry = u64::MAX;
    });
    cases.refuses("start after all time", refused, |scene| {
        scene.start_ms = u64::MAX;
        scene.bid.expiry = u64::MAX;
    });
    cases.refuses("signed by the proposer of another chain", refused, |scene| {
        scene.proposer_network.chain_id += 1;
    });
    cases.refuses("signed under another fork version", refused, |scene| {
        scene.proposer_network.genesis_fork_version = [0; 4];
    });
    cases.refuses_changed("another nonce than the proposer's", refused, |call| call.delegation.nonce += 1);
    cases.refuses_changed("another signing id than the proposer's", refused, |call| {
        call.delegation.signingId = B256::ZERO;
    });
    cases.refuses_changed("signature of nothing by nobody", refused, |call| {
        let zero = B256::ZERO;
        call.delegation.signature = sol::G2Point {
            x_c0_a: zero,
            x_c0_b: zero,
            x_c1_a: zero,
            x_c1_b: zero,
            y_c0_a: zero,
            y_c0_b: zero,
            y_c1_a: zero,
            y_c1_b: zero,
        };
    });
    cases.refuses_changed("signature off the curve", refused, |call| {
        call.delegation.signature.y_c1_b.0[31] ^= 1;
    });
}

/// A delegation that is no delegation, and yet receipted: its keys are changed before the relay signs.
fn receipted(cases: &mut Cases, name: &str, change: impl FnOnce(&mut sol::SignedDelegation)) {
    let scene = Scene::new(cases.market, &RIGHTS);
    let mut call = scene.call();
    change(&mut call.delegation);
    let message = DelegationReceipt {
        slot: SLOT,
        delegation_hash: alloy_primitives::keccak256(call.delegation.delegation.abi_encode()),
        received_at_ms: scene.received_at_ms,
    };
    let receipt = Signed::<_, EcdsaSignature>::sign(message, &scene.relay, &scene.relay_network).unwrap();
    call.receipt.receipt.delegationHash = receipt.message.delegation_hash;
    call.receipt.signature = receipt.signature.into();
    cases.add(name, &scene, &call, Err("InvalidDelegation"));
}

fn refused_receipts(cases: &mut Cases) {
    let refused = "InvalidDelegation";
    cases.refuses("receipt of another slot", refused, |scene| scene.receipt_slot = Slot(SLOT.0 + 1));
    cases.refuses("receipt of another delegation", refused, |scene| {
        scene.receipt_hash = Some(examples::hash("another"));
    });
    cases.refuses("received at the start", refused, |scene| scene.received_at_ms = scene.start_ms);
    cases.refuses("received long after", refused, |scene| scene.received_at_ms = u64::MAX);
    cases.refuses("another relay's receipt", refused, |scene| scene.relay = stranger());
    cases.refuses("receipt for another chain", refused, |scene| scene.relay_network.chain_id += 1);
    cases.refuses("bid for another relay", refused, |scene| {
        scene.bid.relay = stranger().address();
    });
    cases.refuses_changed("a time that the relay did not sign", refused, |call| {
        call.receipt.receipt.receivedAtMs -= 1;
    });
    cases.refuses_changed("receipt without a signature", refused, |call| {
        call.receipt.signature = Bytes::new();
    });
    let mut scene = Scene::new(cases.market, &RIGHTS);
    scene.bid.relay = Address::ZERO;
    let mut call = scene.call();
    call.receipt.signature = Bytes::new();
    cases.add("a relay of zero, which every bad signature recovers to", &scene, &call, Err(refused));
    let zero = sol::G1Point { x_a: B256::ZERO, x_b: B256::ZERO, y_a: B256::ZERO, y_b: B256::ZERO };
    receipted(cases, "receipted, of a delegate at infinity", |signed| {
        signed.delegation.delegate = zero.clone();
    });
    receipted(cases, "receipted, of a delegate off the curve", |signed| {
        signed.delegation.delegate.y_b.0[31] ^= 1;
    });
    receipted(cases, "receipted, of a delegate in another encoding", |signed| {
        signed.delegation.delegate.x_a.0[0] = 1;
    });
    receipted(cases, "receipted, of a delegate outside the subgroup", |signed| {
        signed.delegation.delegate = crate::registry::off_subgroup_key();
    });
    receipted(cases, "receipted, of another delegate than signed", |signed| {
        signed.delegation.delegate = signed.delegation.proposer.clone();
    });
    receipted(cases, "receipted, of another proposer than signed", |signed| {
        signed.delegation.proposer = signed.delegation.delegate.clone();
    });
    receipted(cases, "receipted, of a proposer at infinity, who signs everything", |signed| {
        let word = B256::ZERO;
        signed.delegation.proposer = zero.clone();
        signed.signature = sol::G2Point {
            x_c0_a: word,
            x_c0_b: word,
            x_c1_a: word,
            x_c1_b: word,
            y_c0_a: word,
            y_c0_b: word,
            y_c1_a: word,
            y_c1_b: word,
        };
    });
}

fn refused_allocations(cases: &mut Cases) {
    let refused = "NotAllocated";
    cases.refuses("a bid that won nothing", refused, |scene| scene.won.clear());
    cases.refuses("a bid that won half of what it wants", refused, |scene| {
        scene.won.pop();
    });
    cases.refuses("half for the price of all", refused, |scene| {
        scene.won.pop();
        scene.won[0].price_wei = Wei(scene.bid.amountWei);
    });
    cases.refuses("more rollups than it bid for", refused, |scene| {
        scene.won.push(entry(4_244, 0));
        scene.chain.terms.insert(RollupId(4_244), terms(0, 0));
    });
    cases.refuses("another rollup than it bid for", refused, |scene| {
        scene.won[1].rollup_id = RollupId(4_244);
        scene.chain.terms.insert(RollupId(4_244), terms(0, 0));
    });
    cases.refuses("a bid for no rollup", refused, |scene| {
        scene.bid.rollupIds.clear();
        scene.won.clear();
        scene.bid.amountWei = U256::ZERO;
    });
    cases.refuses("a bid for descending rollups", refused, |scene| scene.bid.rollupIds.reverse());
    cases.refuses("a bid for a rollup twice", refused, |scene| {
        scene.bid.rollupIds = vec![4_242, 4_242, 4_243];
    });
    cases.refuses("another account's entry", refused, |scene| {
        scene.won[1].account = stranger().address();
    });
    cases.refuses("another committer than bid", refused, |scene| {
        scene.won[1].committer = stranger().address();
    });
    cases.refuses("another delegate than bid", refused, |scene| {
        scene.won[1].delegate = examples::proposer().public_key();
    });
    cases.refuses("a bid with a delegate of 47 bytes", refused, |scene| {
        scene.bid.delegate = scene.bid.delegate.slice(..47);
    });
    cases.refuses("another URL than bid", refused, |scene| scene.won[1].url.push('?'));
    cases.refuses("a bid with a URL beyond ASCII", refused, |scene| {
        scene.bid.url = "https://gäteway.example/".into();
    });
    cases.refuses("a wei less than bid", refused, |scene| {
        scene.won[1].price_wei = Wei(U256::from(776));
    });
    cases.refuses("a wei more than bid", refused, |scene| {
        scene.won[1].price_wei = Wei(U256::from(778));
    });
    cases.refuses("prices that overflow to the bid", refused, |scene| {
        scene.won[0].price_wei = Wei(U256::MAX);
        scene.won[1].price_wei = Wei(U256::from(1_000_781));
    });
}

fn refused_terms(cases: &mut Cases) {
    cases.refuses("a wei short in escrow", "EscrowTooLow", |scene| scene.chain.escrow_wei -= U256::from(1));
    cases.refuses("nothing in escrow", "EscrowTooLow", |scene| scene.chain.escrow_wei = U256::ZERO);
    let refused = "NotForSale";
    cases.refuses("a rollup that does not sell", refused, |scene| scene.terms(4_243).active = false);
    cases.refuses("a rollup without terms", refused, |scene| {
        scene.chain.terms.remove(&RollupId(4_243));
    });
    cases.refuses("a rollup of another relay", refused, |scene| {
        scene.terms(4_243).relay = stranger().address();
    });
    cases.refuses("a wei below a reserve", refused, |scene| {
        scene.terms(4_243).reserve_wei = Wei(U256::from(778));
    });
}

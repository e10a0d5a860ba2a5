//! Bids that settle and bids that do not, for one change each: what Rust judges of them, the OrderingMarket must do.
//! Asserted in Solidity by `contracts/tests/SettlementVectors.t.sol`.

mod refused;

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
use refused::{
    refused_allocations, refused_bids, refused_delegations, refused_receipts, refused_terms, refused_times,
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

//! The market's rules against brute force, and by table.

mod admission;
mod deviations;
mod first_refusal;
mod published;
mod verification;
mod winners;

use super::{NamedBid, Operator, Sale};
use crate::{
    RollupId, Slot, Wei,
    fixtures::{NETWORK, SLOT, bls_secret, ecdsa_secret},
    objects::{MarketDomain, OrderingBid, Policy, RollupRegistration},
    window::{Timing, Window},
};
use alloy_primitives::{Address, B256, U256};

const DOMAIN: MarketDomain = MarketDomain { chain_id: NETWORK.chain_id, market: Address::repeat_byte(0x3a) };
const RELAY: u8 = 2;

fn relay() -> Address {
    ecdsa_secret(RELAY).address()
}

fn registration(id: u64, reserve_wei: u128) -> RollupRegistration {
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
        relay: relay(),
        uri: String::new(),
    }
}

/// Rollups 1, 2, … with these reserves.
fn sale(reserves: &[u128]) -> Sale {
    let registrations: Vec<_> = (1..).zip(reserves).map(|(id, wei)| registration(id, *wei)).collect();
    Sale::of(&registrations, relay())
}

fn operator(number: u8) -> Operator {
    Operator {
        registration_root: B256::repeat_byte(number),
        owner: ecdsa_secret(number).address(),
        committer: ecdsa_secret(number + 100).address(),
    }
}

/// A bid of an operator.
fn bid(by: u8, rollups: &[u64], wei: u128) -> OrderingBid {
    let operator = operator(by);
    OrderingBid {
        slot: SLOT,
        rollup_ids: rollups.iter().copied().map(RollupId).collect(),
        amount_wei: Wei(U256::from(wei)),
        account: operator.owner,
        registration_root: operator.registration_root,
        committer: operator.committer,
        relay: relay(),
        delegate: bls_secret(by).public_key(),
        url: format!("http://gateway-{by}.example"),
        matches: B256::ZERO,
        nonce: 0,
        expiry: 2_000_000_000,
    }
}

fn named(bids: &[(B256, OrderingBid)]) -> Vec<NamedBid<'_>> {
    bids.iter().map(|(hash, bid)| NamedBid { hash: *hash, bid }).collect()
}

/// Bids with small hashes that say which they are.
fn with_hashes(bids: &[(&[u64], u128)]) -> Vec<(B256, OrderingBid)> {
    let hashed = |(number, (rollups, wei)): (u8, &(&[u64], u128))| {
        (B256::with_last_byte(number), bid(10, rollups, *wei))
    };
    (1..).zip(bids).map(hashed).collect()
}

fn window() -> Window {
    Timing::new(1_700_000_000_000, 12_000, 32).window(SLOT, Some(Slot(SLOT.0 - 10))).unwrap()
}

//! Winner determination and prices of one slot: 16 rollups, 1,000 bids on 1,000 different sets (design §11: ≤ 30 ms).
//!
//! - `random`: sets and amounts at random, as a busy market could look.
//! - `worst`: the sets that ask for most additions (few rollups, low ones), each bringing more than any way to divide it, so
//!   that none is passed over.
//! - `ties`: the same sets, every way to sell all rollups bringing the same.
//!
//! Not measured: hashes, signatures and admission of the bids, which are checked as they come, and the result's signature.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use alloy_primitives::{Address, B256, U256, keccak256};
use criterion::Criterion;
use earnest_protocol::{
    RollupId, Slot, Wei,
    auction::{NamedBid, Sale, clear},
    objects::{OrderingBid, Policy, RollupRegistration},
};
use std::hint::black_box;

const ROLLUPS: u32 = 16;
const BIDS: u64 = 1_000;

fn registration(id: u32) -> RollupRegistration {
    RollupRegistration {
        rollup_id: RollupId(id.into()),
        reserve_wei: Wei(U256::from(1)),
        reserve_committer: Address::ZERO,
        revenue_recipient: Address::ZERO,
        inclusion_share_bps: 0,
        max_batch_bytes: 0,
        max_tx_gas: 0,
        policy: Policy::Fcfs,
        required_level: 0,
        opaque: false,
        active: true,
        relay: Address::ZERO,
        uri: String::new(),
    }
}

fn bid(mask: u32, wei: u64) -> OrderingBid {
    OrderingBid {
        slot: Slot(1),
        rollup_ids: (0..ROLLUPS).filter(|id| mask >> id & 1 == 1).map(|id| RollupId(id.into())).collect(),
        amount_wei: Wei(U256::from(wei)),
        account: Address::ZERO,
        registration_root: B256::ZERO,
        committer: Address::ZERO,
        relay: Address::ZERO,
        delegate: Default::default(),
        url: String::new(),
        matches: B256::ZERO,
        nonce: 0,
        expiry: 0,
    }
}

fn random() -> Vec<OrderingBid> {
    let number = |seed: u64| u64::from_be_bytes(keccak256(seed.to_be_bytes())[..8].try_into().unwrap());
    let mask = |seed: u64| (number(seed) & 0xffff).max(1) as u32;
    (0..BIDS)
        .map(|at| bid(mask(at), u64::from(mask(at).count_ones()) * (50 + number(at + BIDS) % 50)))
        .collect()
}

/// The sets that ask for most additions.
fn hardest_sets() -> Vec<u32> {
    let mut sets: Vec<u32> = (1..1 << ROLLUPS).collect();
    sets.sort_by_key(|mask| mask.trailing_zeros() + mask.count_ones());
    sets.into_iter().zip(0..BIDS).map(|(mask, _)| mask).collect()
}

fn worst() -> Vec<OrderingBid> {
    let wei = |mask: u32| u64::from(mask.count_ones()).pow(4) * 1_000_000 + u64::from(mask);
    hardest_sets().into_iter().map(|mask| bid(mask, wei(mask))).collect()
}

fn ties() -> Vec<OrderingBid> {
    hardest_sets().into_iter().map(|mask| bid(mask, 2 * u64::from(mask.count_ones()))).collect()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let registrations: Vec<_> = (0..ROLLUPS).map(registration).collect();
    let sale = Sale::of(&registrations, Address::ZERO);
    let mut group = criterion.benchmark_group("auction, 16 rollups, 1,000 bids");
    for (name, bids) in [("random", random()), ("worst", worst()), ("ties", ties())] {
        let hashes: Vec<B256> = (0..BIDS).map(|at| keccak256(at.to_be_bytes())).collect();
        let named: Vec<_> = bids.iter().zip(hashes).map(|(bid, hash)| NamedBid { hash, bid }).collect();
        group.bench_function(name, |bencher| bencher.iter(|| clear(black_box(&sale), black_box(&named))));
    }
    group.finish();
    criterion.final_summary();
}

//! What a relay hashes: lists of transactions, headers and bids (SHA-256, tree hash), execution blocks (Keccak).
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod sample;

use alloy_primitives::B256;
use criterion::Criterion;
use earnest_builder_types::{
    ExecutionRequests, TreeHash,
    proofs::{TransactionTree, transactions_root},
};
use std::hint::black_box;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let transactions = sample::transactions();
    let payload = sample::payload();
    let bid = sample::bid();
    let block = sample::blinded_block();
    let mut group = criterion.benchmark_group("block of 1 MB");
    group.bench_function("transactions_root", |bencher| {
        bencher.iter(|| transactions_root(black_box(&transactions)));
    });
    group.bench_function("tree with every proof's nodes", |bencher| {
        bencher.iter_with_large_drop(|| TransactionTree::new(black_box(&transactions)).unwrap());
    });
    group.bench_function("payload to header", |bencher| bencher.iter(|| black_box(&payload).to_header()));
    group.bench_function("block hash", |bencher| {
        let (parent, requests) = (B256::repeat_byte(4), ExecutionRequests::default());
        bencher.iter(|| black_box(&payload).computed_block_hash(Some(parent), Some(&requests)).unwrap());
    });
    group.finish();
    let mut group = criterion.benchmark_group("tree hash");
    group.bench_function("bid", |bencher| bencher.iter(|| black_box(&bid).tree_hash_root()));
    group.bench_function("blinded block", |bencher| {
        bencher.iter(|| black_box(&block).message().tree_hash_root());
    });
    group.finish();
    criterion.final_summary();
}

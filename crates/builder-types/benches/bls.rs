//! BLS signatures: one, and many at once on all cores.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod sample;

use alloy_primitives::{B256, keccak256};
use criterion::{BatchSize, Criterion, Throughput};
use earnest_builder_types::{
    BlsPublicKey, BlsSignature,
    bls::{SecretKey, aggregate, verify, verify_aggregate, verify_batch},
};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let signed: Vec<(BlsPublicKey, B256, BlsSignature)> = (0..1024_u64).map(signed).collect();
    one(&mut criterion, &signed[0]);
    many(&mut criterion, &signed);
    criterion.final_summary();
}

/// A key, what it signed, and the signature; another for every number.
fn signed(number: u64) -> (BlsPublicKey, B256, BlsSignature) {
    let mut scalar = keccak256(number.to_le_bytes());
    scalar[0] = 0;
    let key = SecretKey::from_bytes(scalar.as_slice()).unwrap();
    let root = keccak256(scalar);
    (key.public_key(), root, key.sign(root))
}

fn one(criterion: &mut Criterion, (key, root, signature): &(BlsPublicKey, B256, BlsSignature)) {
    let mut group = criterion.benchmark_group("BLS, one");
    group.bench_function("sign", |bencher| bencher.iter(|| sample::key(1).sign(*root)));
    group.bench_function("verify", |bencher| bencher.iter(|| verify(key, *root, signature).unwrap()));
    group.finish();
}

fn many(criterion: &mut Criterion, signed: &[(BlsPublicKey, B256, BlsSignature)]) {
    let mut group = criterion.benchmark_group("BLS, many");
    group.sample_size(20);
    for count in [64, 500, 1024] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("verify_batch of {count}"), |bencher| {
            bencher.iter(|| assert!(verify_batch(&signed[..count]).is_empty()));
        });
    }
    group.throughput(Throughput::Elements(512));
    group.bench_function("verify_batch of 512, one bad", |bencher| {
        let bad = || {
            let mut list = signed[..512].to_vec();
            list[300].1 = B256::ZERO;
            list
        };
        bencher.iter_batched(bad, |list| assert_eq!(verify_batch(&list), [300]), BatchSize::LargeInput);
    });
    let root = signed[0].1;
    let keys: Vec<SecretKey> = (1..=100).map(sample::key).collect();
    let public: Vec<BlsPublicKey> = keys.iter().map(SecretKey::public_key).collect();
    let sum = aggregate(&keys.iter().map(|key| key.sign(root)).collect::<Vec<_>>()).unwrap();
    group.throughput(Throughput::Elements(public.len() as u64));
    group.bench_function("verify_aggregate of 100 over one root", |bencher| {
        bencher.iter(|| verify_aggregate(&public, root, &sum).unwrap());
    });
    group.finish();
}

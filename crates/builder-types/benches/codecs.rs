//! SSZ and JSON, there and back, of what passes through a relay.
//!
//! It does not measure the reading of a body off a connection, gzip, or blobs.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod sample;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use earnest_builder_types::{
    BidSubmission, ForkCodec, SignedBlindedBeaconBlock, SignedBuilderBid, SignedValidatorRegistration,
    ValidatorRegistration, registrations_from_ssz, registrations_to_ssz,
};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    forked::<BidSubmission>(&mut criterion, "submission of 1 MB", &sample::submission());
    forked::<SignedBuilderBid>(&mut criterion, "signed bid", &sample::signed_bid());
    forked::<SignedBlindedBeaconBlock>(&mut criterion, "signed blinded block", &sample::blinded_block());
    registrations(&mut criterion);
    criterion.final_summary();
}

/// All four ways of a type that comes in forks.
fn forked<T: ForkCodec>(criterion: &mut Criterion, name: &str, value: &T) {
    let (fork, ssz, json) = (value.fork(), value.to_ssz(), value.to_json().unwrap());
    let mut group = criterion.benchmark_group(name);
    of(&mut group, &ssz, "SSZ, read", || T::from_ssz(fork, &ssz).unwrap());
    of(&mut group, &ssz, "SSZ, write", || value.to_ssz());
    of(&mut group, &json, "JSON, read", || T::from_json(fork, &json).unwrap());
    of(&mut group, &json, "JSON, write", || value.to_json().unwrap());
    group.finish();
}

fn registrations(criterion: &mut Criterion) {
    let one = ValidatorRegistration {
        fee_recipient: Default::default(),
        gas_limit: 36_000_000,
        timestamp: 1_700_000_000,
        pubkey: sample::key(1).public_key(),
    };
    let list = vec![one.sign(&sample::key(1), sample::domain()); 500];
    let (ssz, json) = (registrations_to_ssz(&list), serde_json::to_vec(&list).unwrap());
    let mut group = criterion.benchmark_group("500 registrations");
    of(&mut group, &ssz, "SSZ, read", || registrations_from_ssz(&ssz).unwrap());
    of(&mut group, &ssz, "SSZ, write", || registrations_to_ssz(&list));
    of(&mut group, &json, "JSON, read", || {
        serde_json::from_slice::<Vec<SignedValidatorRegistration>>(&json).unwrap()
    });
    of(&mut group, &json, "JSON, write", || serde_json::to_vec(&list).unwrap());
    group.finish();
}

/// One way, with the bytes a second.
fn of<T>(group: &mut BenchmarkGroup<'_, WallTime>, bytes: &[u8], name: &str, mut work: impl FnMut() -> T) {
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function(name, |bencher| bencher.iter_with_large_drop(&mut work));
}

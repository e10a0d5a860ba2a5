use earnest_builder_types::{
    BidSubmission, BlockContents, CodecError, ExecutionPayload, ForkCodec, ForkName, PayloadAndBlobs,
    SignedBlindedBeaconBlock, SignedBlockContents, SignedBuilderBid, Versioned, registrations_from_ssz,
};
use serde_json::{Value, json};

use crate::vectors::{bytes, example};

fn assert_canonical<T: ForkCodec>(fork: ForkName, bytes: &[u8]) {
    if let Ok(value) = T::from_ssz(fork, bytes) {
        assert_eq!(value.to_ssz(), bytes, "read as something else than was written");
    }
}

/// Every prefix, trailing bytes, and every byte of the offsets and lengths changed: refused, or
/// the exact encoding of what was read.
fn assert_strict_ssz<T: ForkCodec>(fork: ForkName, ssz: &[u8]) {
    assert!(T::from_ssz(fork, &[]).is_err());
    // Before Deneb the last field is a byte list, `extra_data`, which may be shorter but is full.
    assert!(fork < ForkName::Deneb || T::from_ssz(fork, &ssz[..ssz.len() - 1]).is_err(), "one byte short");
    let mut longer = ssz.to_vec();
    longer.push(0);
    assert!(T::from_ssz(fork, &longer).is_err(), "one byte over");
    for length in 0..ssz.len() {
        assert_canonical::<T>(fork, &ssz[..length]);
    }
    for at in 0..ssz.len().min(1024) {
        for change in [1, 0x80] {
            let mut changed = ssz.to_vec();
            changed[at] ^= change;
            assert_canonical::<T>(fork, &changed);
        }
    }
}

#[test]
fn ssz_is_read_strictly() {
    for fork in [ForkName::Bellatrix, ForkName::Capella, ForkName::Deneb, ForkName::Electra, ForkName::Fulu] {
        let path = format!("builder-specs/{fork}");
        assert_strict_ssz::<SignedBuilderBid>(fork, &bytes(&format!("{path}/signed_builder_bid.ssz")));
        assert_strict_ssz::<SignedBlindedBeaconBlock>(
            fork,
            &bytes(&format!("{path}/signed_blinded_beacon_block.ssz")),
        );
    }
    assert_strict_ssz::<ExecutionPayload>(
        ForkName::Capella,
        &bytes("builder-specs/capella/execution_payload.ssz"),
    );
}

#[test]
fn offsets_must_be_exact() {
    let ssz = bytes("builder-specs/electra/signed_builder_bid.ssz");
    // The first field of a signed bid is the offset of the message: 4 + 96.
    assert_eq!(&ssz[..4], &100_u32.to_le_bytes());
    for offset in [0, 4, 99, 101, 0xffff_ffff, u32::try_from(ssz.len()).unwrap() + 1] {
        let mut changed = ssz.clone();
        changed[..4].copy_from_slice(&offset.to_le_bytes());
        assert!(
            matches!(SignedBuilderBid::from_ssz(ForkName::Electra, &changed), Err(CodecError::Ssz(_))),
            "offset {offset}"
        );
    }
}

#[test]
fn another_fork_is_refused() {
    let forks = [ForkName::Capella, ForkName::Deneb, ForkName::Electra];
    for written in forks {
        let path = format!("builder-specs/{written}/signed_builder_bid");
        let (json, ssz) = (example(&format!("{path}.json")), bytes(&format!("{path}.ssz")));
        let json = json["data"].to_string();
        for read in forks.into_iter().filter(|read| *read != written) {
            assert!(SignedBuilderBid::from_ssz(read, &ssz).is_err(), "{written} as {read}");
            assert!(SignedBuilderBid::from_json(read, json.as_bytes()).is_err(), "{written} as {read}");
        }
    }
}

#[test]
fn types_that_a_fork_lacks_are_refused_by_name() {
    fn refused<T: ForkCodec>(fork: ForkName) {
        for result in [T::from_ssz(fork, &[]), T::from_json(fork, b"{}")] {
            assert!(matches!(result, Err(CodecError::ForkNotSupported(named)) if named == fork));
        }
    }
    refused::<SignedBuilderBid>(ForkName::Gloas);
    refused::<SignedBlindedBeaconBlock>(ForkName::Gloas);
    refused::<ExecutionPayload>(ForkName::Gloas);
    for fork in [ForkName::Bellatrix, ForkName::Gloas] {
        refused::<PayloadAndBlobs>(fork);
        refused::<SignedBlockContents>(fork);
        refused::<BlockContents>(fork);
        refused::<BidSubmission>(fork);
    }
    assert!(matches!(
        Versioned::<SignedBuilderBid>::from_json(br#"{"version":"altair","data":{}}"#),
        Err(CodecError::UnknownFork(_))
    ));
}

/// Every way to take one field away from, or put a foreign one into, any object of `value`.
fn mutations(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(fields) => {
            let mut changed = Vec::new();
            for (name, inner) in fields {
                let mut without = fields.clone();
                without.remove(name);
                changed.push(Value::Object(without));
                for inner in mutations(inner) {
                    let mut with = fields.clone();
                    with.insert(name.clone(), inner);
                    changed.push(Value::Object(with));
                }
            }
            let mut more = fields.clone();
            more.insert("foreign".into(), json!("0"));
            changed.push(Value::Object(more));
            changed
        }
        Value::Array(items) => {
            let mut changed = Vec::new();
            for (at, item) in items.iter().enumerate() {
                for item in mutations(item) {
                    let mut items = items.clone();
                    items[at] = item;
                    changed.push(Value::Array(items));
                }
            }
            changed
        }
        _ => Vec::new(),
    }
}

#[test]
fn json_fields_missing_or_foreign_are_refused_at_any_depth() {
    for fork in [ForkName::Capella, ForkName::Electra] {
        let block = example(&format!("builder-specs/{fork}/signed_blinded_beacon_block.json"));
        let changed = mutations(&block);
        assert!(changed.len() > 100);
        for changed in changed {
            let text = changed.to_string();
            assert!(SignedBlindedBeaconBlock::from_json(fork, text.as_bytes()).is_err(), "{text}");
        }
    }
}

#[test]
fn json_values_out_of_form_are_refused() {
    let bid = example("builder-specs/electra/signed_builder_bid.json")["data"].clone();
    let commitment = bid["message"]["blob_kzg_commitments"][0].clone();
    let consolidation = bid["message"]["execution_requests"]["consolidations"][0].clone();
    let table: [(&str, Value); 10] = [
        ("/message/value", json!(1)),
        ("/message/value", json!("-1")),
        ("/message/value", json!(format!("1{}", "0".repeat(80)))),
        ("/message/header/gas_limit", json!("18446744073709551616")),
        ("/message/header/gas_limit", json!("0x10")),
        ("/message/header/block_hash", json!("0x00")),
        ("/message/header/extra_data", json!(format!("0x{}", "00".repeat(33)))),
        ("/message/blob_kzg_commitments", json!(vec![commitment; 4097])),
        ("/message/execution_requests/consolidations", json!(vec![consolidation; 3])),
        ("/signature", json!("0xzz")),
    ];
    for (pointer, wrong) in table {
        let mut changed = bid.clone();
        *changed.pointer_mut(pointer).unwrap() = wrong;
        let read = SignedBuilderBid::from_json(ForkName::Electra, changed.to_string().as_bytes());
        assert!(matches!(read, Err(CodecError::Json(_))), "{pointer}");
    }
    let text = format!("{bid} x");
    assert!(SignedBuilderBid::from_json(ForkName::Electra, text.as_bytes()).is_err(), "trailing text");
    let deep = "[".repeat(100_000);
    assert!(SignedBuilderBid::from_json(ForkName::Electra, deep.as_bytes()).is_err(), "deep nesting");
}

#[test]
fn registrations_come_in_whole_numbers() {
    let ssz = bytes("builder-specs/bellatrix/signed_validator_registrations.ssz");
    assert_eq!(registrations_from_ssz(&[]).unwrap(), []);
    for length in 1..ssz.len() {
        assert!(registrations_from_ssz(&ssz[..length]).is_err());
    }
    assert_eq!(registrations_from_ssz(&[&ssz[..], &ssz[..]].concat()).unwrap().len(), 2);
}

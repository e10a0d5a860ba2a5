use earnest_builder_types::{SignedValidatorRegistration, beacon::relay::Validator, bls::BlsError, domain};

use crate::vectors::bytes;

fn mainnet() -> Vec<SignedValidatorRegistration> {
    let rows: Vec<Validator> = serde_json::from_slice(&bytes("alloy/mainnet_relay_validators.json")).unwrap();
    rows.into_iter().map(|row| row.entry.into()).collect()
}

#[test]
fn all_of_mainnet_verify() {
    let domain = domain::builder_domain(domain::MAINNET_GENESIS_FORK_VERSION);
    let registrations = mainnet();
    assert_eq!(registrations.len(), 28);
    for registration in &registrations {
        assert_eq!(registration.verify(domain), Ok(()));
    }
    assert!(SignedValidatorRegistration::verify_all(&registrations, domain).is_empty());
    let elsewhere = domain::builder_domain([1, 0, 0, 0]);
    assert_eq!(registrations[0].verify(elsewhere), Err(BlsError::Signature));
}

#[test]
fn bad_ones_are_named() {
    let domain = domain::builder_domain(domain::MAINNET_GENESIS_FORK_VERSION);
    let mut registrations = mainnet();
    registrations[17].message.gas_limit += 1;
    assert_eq!(SignedValidatorRegistration::verify_all(&registrations, domain), [17]);
    registrations[3].signature[5] ^= 1;
    registrations[27].message.pubkey = registrations[26].message.pubkey;
    assert_eq!(SignedValidatorRegistration::verify_all(&registrations, domain), [3, 17, 27]);

    // Two wrong signatures whose sum is right do not cancel out.
    let mut swapped = mainnet();
    let first = swapped[0].signature;
    swapped[0].signature = swapped[1].signature;
    swapped[1].signature = first;
    assert_eq!(SignedValidatorRegistration::verify_all(&swapped, domain), [0, 1]);
}

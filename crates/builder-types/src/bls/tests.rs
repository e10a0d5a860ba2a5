use alloy_primitives::keccak256;

use super::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn root(seed: u8) -> B256 {
    keccak256([seed])
}

/// A point on the curve that is not in the subgroup: the first x from 1 on that has one.
fn off_subgroup<const N: usize>(is_on_curve: impl Fn(&[u8]) -> bool) -> FixedBytes<N> {
    (1..=u8::MAX)
        .map(|x| {
            let mut point = FixedBytes::<N>::ZERO;
            point[0] = 0x80;
            *point.last_mut().unwrap() = x;
            point
        })
        .find(|point| is_on_curve(point.as_slice()))
        .unwrap()
}

fn infinity<const N: usize>() -> FixedBytes<N> {
    let mut point = FixedBytes::<N>::ZERO;
    point[0] = 0xc0;
    point
}

#[test]
fn signs_and_verifies() {
    let signature = key(1).sign(root(1));
    assert_eq!(signature, key(1).sign(root(1)));
    assert_eq!(verify(&key(1).public_key(), root(1), &signature), Ok(()));
    assert_eq!(verify(&key(2).public_key(), root(1), &signature), Err(BlsError::Signature));
    assert_eq!(verify(&key(1).public_key(), root(2), &signature), Err(BlsError::Signature));
}

#[test]
fn secret_keys_are_scalars_and_stay_secret() {
    for wrong in [&[0; 32][..], &[0xff; 32], &[1; 31], &[]] {
        assert_eq!(SecretKey::from_bytes(wrong).unwrap_err(), BlsError::SecretKey);
    }
    assert_eq!(format!("{:?}", key(7)), "SecretKey(redacted)");
    assert_eq!(*key(7).to_bytes(), [7; 32]);
    let (one, other) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
    assert_ne!(one.public_key(), other.public_key());
    assert_eq!(SecretKey::from_bytes(one.to_bytes().as_slice()).unwrap().public_key(), one.public_key());
}

#[test]
fn keys_from_outside_are_checked() {
    let signature = key(1).sign(root(1));
    let off: BlsPublicKey = off_subgroup(|point| min_pk::PublicKey::uncompress(point).is_ok());
    for wrong in [BlsPublicKey::ZERO, infinity(), BlsPublicKey::repeat_byte(0xff), off] {
        assert_eq!(validate_public_key(&wrong), Err(BlsError::PublicKey));
        assert_eq!(verify(&wrong, root(1), &signature), Err(BlsError::PublicKey));
        assert_eq!(pubkey_to_g1_words(&wrong), Err(BlsError::PublicKey));
        assert_eq!(verify_batch(&[(wrong, root(1), signature)]), [0]);
        assert_eq!(verify_aggregate(&[wrong], root(1), &signature), Err(BlsError::PublicKey));
    }
    assert_eq!(validate_public_key(&key(1).public_key()), Ok(()));
}

#[test]
fn signatures_from_outside_are_checked() {
    let public = key(1).public_key();
    let off: BlsSignature = off_subgroup(|point| min_pk::Signature::uncompress(point).is_ok());
    for wrong in [BlsSignature::ZERO, infinity(), BlsSignature::repeat_byte(0xff), off] {
        assert_eq!(verify(&public, root(1), &wrong), Err(BlsError::SignatureEncoding));
        assert_eq!(aggregate(&[wrong]), Err(BlsError::SignatureEncoding));
        assert_eq!(signature_to_g2_words(&wrong), Err(BlsError::SignatureEncoding));
        assert_eq!(verify_batch(&[(public, root(1), wrong)]), [0]);
    }
}

#[test]
fn aggregates() {
    let keys = [key(1), key(2), key(3)];
    let public: Vec<_> = keys.iter().map(SecretKey::public_key).collect();
    let signatures: Vec<_> = keys.iter().map(|key| key.sign(root(9))).collect();
    let sum = aggregate(&signatures).unwrap();
    assert_eq!(verify_aggregate(&public, root(9), &sum), Ok(()));
    assert_eq!(verify_aggregate(&public[..2], root(9), &sum), Err(BlsError::Signature));
    assert_eq!(verify_aggregate(&public, root(8), &sum), Err(BlsError::Signature));
    assert_eq!(aggregate(&[]), Err(BlsError::Empty));
    assert_eq!(verify_aggregate(&[], root(9), &sum), Err(BlsError::Empty));
}

#[test]
fn batches_larger_than_a_chunk_name_the_bad_ones() {
    let mut signed: Vec<_> = (0..150_u8)
        .map(|seed| {
            let key = key(seed % 100 + 1);
            (key.public_key(), root(seed), key.sign(root(seed)))
        })
        .collect();
    assert!(verify_batch(&signed).is_empty());
    assert!(verify_batch(&[]).is_empty());
    signed[0].1 = root(200);
    signed[64].2 = signed[65].2;
    signed[149].0 = signed[148].0;
    assert_eq!(verify_batch(&signed), [0, 64, 149]);
}

#[test]
fn a_chunk_with_many_bad_ones_is_given_up_and_harms_no_other() {
    let mut signed: Vec<_> = (0..128_u8)
        .map(|seed| {
            let key = key(seed % 100 + 1);
            (key.public_key(), root(seed), key.sign(root(seed)))
        })
        .collect();
    for bad in signed.iter_mut().skip(64).step_by(8) {
        bad.1 = root(200);
    }
    let bad = verify_batch(&signed);
    let given_up: Vec<usize> = [64, 72, 80].into_iter().chain(88..128).collect();
    assert_eq!(bad, given_up);
}

#[test]
fn words_are_padded_coordinates() {
    // The generator, as EIP-2537 gives it.
    let mut one = [0; 32];
    one[31] = 1;
    let generator = SecretKey::from_bytes(&one).unwrap().public_key();
    let words = pubkey_to_g1_words(&generator).unwrap();
    let expected = [
        "0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0f",
        "c3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb",
        "0000000000000000000000000000000008b3f481e3aaa0f1a09e30ed741d8ae4",
        "fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1",
    ]
    .map(|word| word.parse::<B256>().unwrap());
    assert_eq!(words, expected);

    let mut padded = words;
    padded[0][0] = 1;
    assert_eq!(pubkey_from_g1_words(&padded), Err(BlsError::PublicKey));
    assert_eq!(pubkey_from_g1_words(&[B256::ZERO; 4]), Err(BlsError::PublicKey));

    let signature = key(5).sign(root(5));
    let mut words = signature_to_g2_words(&signature).unwrap();
    assert_eq!(signature_from_g2_words(&words), Ok(signature));
    words.swap(0, 2);
    assert_eq!(signature_from_g2_words(&words), Err(BlsError::SignatureEncoding));
    assert_eq!(signature_from_g2_words(&[B256::ZERO; 8]), Err(BlsError::SignatureEncoding));
}

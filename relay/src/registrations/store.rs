//! Every registration, each in the 180 bytes of its SSZ form. Pure.

use earnest_builder_types::{
    BlsPublicKey, REGISTRATION_SSZ_BYTES, SignedValidatorRegistration, registrations_from_ssz,
    registrations_to_ssz,
};
use hashbrown::HashTable;
use std::{
    hash::{BuildHasher, RandomState},
    mem::size_of,
    ops::Range,
};

/// Registrations to one piece of memory: growing moves none of them.
const CHUNK: usize = 4096;
/// Where the SSZ form has the time and the key.
const TIMESTAMP: Range<usize> = 28..36;
const PUBKEY: Range<usize> = 36..84;

type Encoded = [u8; REGISTRATION_SSZ_BYTES];

/// The newest registration of each validator.
#[derive(Debug, Default)]
pub(crate) struct Registrations {
    chunks: Vec<Vec<Encoded>>,
    /// Places in `chunks`, found by key.
    index: HashTable<u32>,
    hasher: RandomState,
}

impl Registrations {
    /// A validator's registration.
    pub(crate) fn get(&self, key: &BlsPublicKey) -> Option<SignedValidatorRegistration> {
        registrations_from_ssz(self.encoded(key)?).ok()?.pop()
    }

    /// When a validator's registration was signed, Unix seconds.
    pub(crate) fn timestamp(&self, key: &BlsPublicKey) -> Option<u64> {
        let bytes = self.encoded(key)?.get(TIMESTAMP)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// How many validators are registered.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// Takes a registration that is newer than the one held, and says whether it was.
    pub(crate) fn insert(&mut self, registration: &SignedValidatorRegistration) -> bool {
        let message = &registration.message;
        if self.timestamp(&message.pubkey).is_some_and(|held| held >= message.timestamp) {
            return false;
        }
        let Ok(encoded) = Encoded::try_from(registrations_to_ssz(std::slice::from_ref(registration))) else {
            return false;
        };
        match self.place(&message.pubkey) {
            Some(place) => {
                if let Some(held) = at_mut(&mut self.chunks, place) {
                    *held = encoded;
                }
            }
            None => self.push(&message.pubkey, encoded),
        }
        true
    }

    /// Bytes of memory in use.
    pub(crate) fn bytes(&self) -> usize {
        let chunks = self.chunks.len().saturating_mul(CHUNK.saturating_mul(REGISTRATION_SSZ_BYTES));
        chunks.saturating_add(self.index.allocation_size()).saturating_add(size_of::<Self>())
    }

    fn push(&mut self, key: &BlsPublicKey, encoded: Encoded) {
        let Ok(place) = u32::try_from(self.index.len()) else { return };
        if self.chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let Some(chunk) = self.chunks.last_mut() else { return };
        chunk.push(encoded);
        let (hasher, chunks) = (&self.hasher, &self.chunks);
        let hash_of = |place: &u32| hasher.hash_one(at(chunks, *place).and_then(|held| held.get(PUBKEY)));
        self.index.insert_unique(hasher.hash_one(Some(key.as_slice())), place, hash_of);
    }

    fn place(&self, key: &BlsPublicKey) -> Option<u32> {
        let same =
            |place: &u32| at(&self.chunks, *place).and_then(|held| held.get(PUBKEY)) == Some(key.as_slice());
        self.index.find(self.hasher.hash_one(Some(key.as_slice())), same).copied()
    }

    fn encoded(&self, key: &BlsPublicKey) -> Option<&Encoded> {
        at(&self.chunks, self.place(key)?)
    }
}

fn split(place: u32) -> Option<(usize, usize)> {
    let place = usize::try_from(place).ok()?;
    Some((place / CHUNK, place % CHUNK))
}

fn at(chunks: &[Vec<Encoded>], place: u32) -> Option<&Encoded> {
    let (chunk, offset) = split(place)?;
    chunks.get(chunk)?.get(offset)
}

fn at_mut(chunks: &mut [Vec<Encoded>], place: u32) -> Option<&mut Encoded> {
    let (chunk, offset) = split(place)?;
    chunks.get_mut(chunk)?.get_mut(offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;
    use earnest_builder_types::{BlsSignature, ValidatorRegistration};
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn registration(key: u32, timestamp: u64) -> SignedValidatorRegistration {
        let mut pubkey = BlsPublicKey::ZERO;
        pubkey[..4].copy_from_slice(&key.to_be_bytes());
        SignedValidatorRegistration {
            message: ValidatorRegistration {
                fee_recipient: Address::repeat_byte(timestamp.to_le_bytes()[0]),
                gas_limit: 30_000_000,
                timestamp,
                pubkey,
            },
            signature: BlsSignature::repeat_byte(key.to_le_bytes()[0]),
        }
    }

    #[test]
    fn a_million_take_under_two_hundred_bytes_each() {
        let mut store = Registrations::default();
        for key in 0..1_000_000 {
            assert!(store.insert(&registration(key, 5)));
        }
        assert_eq!(store.len(), 1_000_000);
        assert!(store.bytes() < 200_000_000, "{} bytes", store.bytes());
        let last = registration(999_999, 5);
        assert_eq!(store.get(&last.message.pubkey), Some(last));
    }

    proptest! {
        #[test]
        fn it_holds_the_newest_of_each(all in proptest::collection::vec((0_u32..40, 0_u64..9), 0..200)) {
            let mut store = Registrations::default();
            let mut model: HashMap<u32, u64> = HashMap::new();
            for (key, timestamp) in all {
                let newer = model.get(&key).is_none_or(|held| *held < timestamp);
                prop_assert_eq!(store.insert(&registration(key, timestamp)), newer);
                if newer {
                    model.insert(key, timestamp);
                }
            }
            prop_assert_eq!(store.len(), model.len());
            for key in 0..40 {
                let expected = model.get(&key).map(|timestamp| registration(key, *timestamp));
                let pubkey = registration(key, 0).message.pubkey;
                prop_assert_eq!(store.timestamp(&pubkey), model.get(&key).copied());
                prop_assert_eq!(store.get(&pubkey), expected);
            }
        }
    }
}

//! Which registrations are new, and which are good. Pure.

mod store;

pub(crate) use store::Registrations;

use alloy_primitives::B256;
use earnest_builder_types::{BlsPublicKey, SignedValidatorRegistration};
use earnest_http::ApiError;
use std::collections::HashMap;

/// How far a registration's time may be ahead, in seconds.
const MAX_AHEAD_SECS: u64 = 10;
/// How many bad keys an answer names.
const NAMED: usize = 8;

/// Signatures verified between two looks at how many were bad.
const ROUND: usize = 1024;
/// Bad signatures in one list after which the rest of it is not verified.
const MAX_BAD: usize = 64;

/// Registrations after their signatures were verified.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Those that hold.
    pub(crate) good: Vec<SignedValidatorRegistration>,
    /// Keys of those that do not, and of those that too many bad ones stand beside or before.
    pub(crate) bad: Vec<BlsPublicKey>,
}

/// What is worth more than a look.
#[derive(Debug, Default)]
pub(crate) struct Fresh {
    /// Newer ones of validators that are registered: to be verified.
    pub(crate) updates: Vec<SignedValidatorRegistration>,
    /// Those of keys that are not registered: to be verified if they are validators'.
    pub(crate) strangers: Vec<SignedValidatorRegistration>,
    /// Keys of those that are signed for a time that has not come.
    pub(crate) early: Vec<BlsPublicKey>,
}

/// What may have to be verified: for each validator the newest, if it is newer than the one held, whose time `held` tells. Those
/// that are no newer cost no cryptography and are passed over without an error, as validators send the same ones every epoch.
pub(crate) fn fresh(
    all: Vec<SignedValidatorRegistration>,
    now_secs: u64,
    held: impl Fn(&BlsPublicKey) -> Option<u64>,
) -> Fresh {
    let mut early = Vec::new();
    let mut newest: HashMap<BlsPublicKey, (bool, SignedValidatorRegistration)> = HashMap::new();
    for registration in all {
        let (key, timestamp) = (registration.message.pubkey, registration.message.timestamp);
        if timestamp > now_secs.saturating_add(MAX_AHEAD_SECS) {
            early.push(key);
            continue;
        }
        let known = held(&key);
        let seen = newest.get(&key).map(|(_, seen)| seen.message.timestamp);
        if known.max(seen).is_none_or(|known| timestamp > known) {
            newest.insert(key, (known.is_some(), registration));
        }
    }
    let mut fresh = Fresh { early, ..Fresh::default() };
    for (is_known, registration) in newest.into_values() {
        let of = if is_known { &mut fresh.updates } else { &mut fresh.strangers };
        of.push(registration);
    }
    fresh
}

/// Takes out the new validators for which there is no room beside those held, and returns their keys. Updates need none.
pub(crate) fn fit(
    good: &mut Vec<SignedValidatorRegistration>,
    most: usize,
    held: &Registrations,
) -> Vec<BlsPublicKey> {
    let mut room = most.saturating_sub(held.len());
    let mut full = Vec::new();
    good.retain(|one| {
        let key = &one.message.pubkey;
        if held.timestamp(key).is_some() {
            return true;
        }
        let fits = room > 0;
        room = room.saturating_sub(1);
        if !fits {
            full.push(*key);
        }
        fits
    });
    full
}

/// Verifies signatures, many at once; one that is bad harms no other, but many bad ones end it.
pub(crate) fn verify(all: Vec<SignedValidatorRegistration>, builder_domain: B256) -> Judged {
    let mut judged = Judged::default();
    let mut all = all.into_iter();
    loop {
        let round: Vec<_> = all.by_ref().take(ROUND).collect();
        if round.is_empty() {
            return judged;
        }
        if judged.bad.len() >= MAX_BAD {
            judged.bad.extend(round.into_iter().chain(all).map(|one| one.message.pubkey));
            return judged;
        }
        let bad = SignedValidatorRegistration::verify_all(&round, builder_domain);
        for (index, registration) in round.into_iter().enumerate() {
            if bad.binary_search(&index).is_ok() {
                judged.bad.push(registration.message.pubkey);
            } else {
                judged.good.push(registration);
            }
        }
    }
}

/// Registrations that were not taken, by cause.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Untaken {
    /// Their signature does not verify.
    pub(crate) bad: Vec<BlsPublicKey>,
    /// They are signed for a time that has not come.
    pub(crate) early: Vec<BlsPublicKey>,
    /// No beacon node knows the key as that of a validator that is active or about to be.
    pub(crate) unknown: Vec<BlsPublicKey>,
    /// They are new, and there is no room for more.
    pub(crate) full: Vec<BlsPublicKey>,
}

impl Untaken {
    /// Whether every one was taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_right() && self.full.is_empty()
    }
}

impl Untaken {
    /// Whether nothing is wrong with any.
    fn is_right(&self) -> bool {
        self.bad.is_empty() && self.early.is_empty() && self.unknown.is_empty()
    }
}

/// The answer to a list of which some were not taken; the others are registered. 503 if the relay has no room for them, 400
/// if anything is wrong with them.
pub(crate) fn refusal(untaken: &Untaken) -> ApiError {
    let causes = [
        ("signature does not verify", &untaken.bad),
        ("timestamp is in the future", &untaken.early),
        ("not an active or pending validator", &untaken.unknown),
        ("the relay holds as many registrations as it can, and not that of", &untaken.full),
    ];
    let told = causes.iter().filter(|(_, keys)| !keys.is_empty()).map(|(cause, keys)| {
        let names: Vec<String> = keys.iter().take(NAMED).map(ToString::to_string).collect();
        let more = keys.len().saturating_sub(NAMED);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        format!("{cause}: {}{more}", names.join(", "))
    });
    let told = told.collect::<Vec<String>>().join("; ");
    if untaken.is_right() { ApiError::unavailable(told) } else { ApiError::bad_request(told) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;
    use earnest_builder_types::{ValidatorRegistration, bls::SecretKey, domain::builder_domain};

    const NOW: u64 = 1_000_000;

    fn registration(key: u8, timestamp: u64) -> SignedValidatorRegistration {
        let secret = SecretKey::from_bytes(&[key; 32]).unwrap();
        let message = ValidatorRegistration {
            fee_recipient: Address::repeat_byte(key),
            gas_limit: 30_000_000,
            timestamp,
            pubkey: secret.public_key(),
        };
        message.sign(&secret, builder_domain([0; 4]))
    }

    #[test]
    fn only_newer_ones_are_fresh() {
        let held = registration(1, 500);
        let lookup = |key: &BlsPublicKey| (*key == held.message.pubkey).then_some(500);
        let times = |list: Vec<SignedValidatorRegistration>| {
            let mut times: Vec<_> = list.iter().map(|one| one.message.timestamp).collect();
            times.sort_unstable();
            times
        };
        type Case = (&'static [(u8, u64)], &'static [u64]);
        let cases: [Case; 6] = [
            (&[(1, 500)], &[]),
            (&[(1, 499)], &[]),
            (&[(1, 501)], &[501]),
            (&[(2, 1)], &[1]),
            (&[(2, 5), (2, 7), (2, 6)], &[7]),
            (&[(1, 400), (2, NOW + 10)], &[NOW + 10]),
        ];
        for (given, expected) in cases {
            let all = given.iter().map(|(key, time)| registration(*key, *time)).collect();
            let Fresh { updates, strangers, early } = fresh(all, NOW, lookup);
            assert!(updates.iter().all(|one| one.message.pubkey == held.message.pubkey), "{given:?}");
            assert!(strangers.iter().all(|one| one.message.pubkey != held.message.pubkey), "{given:?}");
            assert!(early.is_empty(), "{given:?}");
            assert_eq!(times([updates, strangers].concat()), expected, "{given:?}");
        }
    }

    #[test]
    fn one_of_the_future_names_itself_and_harms_no_other() {
        let early = registration(2, NOW + 11);
        let judged = fresh(vec![registration(1, 5), early.clone(), registration(3, 5)], NOW, |_| None);
        assert_eq!(judged.strangers.len(), 2);
        assert_eq!(judged.early, [early.message.pubkey]);
        let error = refusal(&Untaken { early: judged.early, ..Untaken::default() });
        assert_eq!(error.body()["code"], 400);
        assert_eq!(error.message, format!("timestamp is in the future: {}", early.message.pubkey));
        let both = Untaken {
            bad: vec![early.message.pubkey],
            unknown: vec![BlsPublicKey::ZERO],
            ..Untaken::default()
        };
        assert!(
            refusal(&both)
                .message
                .ends_with(&format!("; not an active or pending validator: {}", BlsPublicKey::ZERO))
        );
    }

    #[test]
    fn updates_need_no_room() {
        let mut held = Registrations::default();
        held.insert(&registration(1, 5));
        let cases: [(usize, &[u8], &[u8]); 4] =
            [(1, &[1], &[2, 3]), (2, &[2, 1], &[3]), (3, &[2, 1, 3], &[]), (0, &[1], &[2, 3])];
        for (most, expected, refused) in cases {
            let mut good = vec![registration(2, 6), registration(1, 6), registration(3, 6)];
            let full = fit(&mut good, most, &held);
            let of = |keys: &[u8]| keys.iter().map(|key| registration(*key, 6)).collect::<Vec<_>>();
            assert_eq!(good, of(expected), "{most}");
            let keys: Vec<_> = of(refused).iter().map(|one| one.message.pubkey).collect();
            assert_eq!(full, keys, "{most}");
        }
        let key = BlsPublicKey::ZERO;
        let full = Untaken { full: vec![key], ..Untaken::default() };
        let error = refusal(&full);
        assert_eq!(error.status.as_u16(), 503);
        assert!(error.message.ends_with(&format!("not that of: {key}")), "{}", error.message);
        assert_eq!(refusal(&Untaken { bad: vec![key], ..full }).status.as_u16(), 400);
    }

    #[test]
    fn many_bad_ones_end_it() {
        let forged = |count: usize| {
            let mut one = registration(1, 5);
            one.message.gas_limit = 1;
            vec![one; count]
        };
        let mut all = forged(ROUND);
        all.push(registration(2, 5));
        let judged = verify(all, builder_domain([0; 4]));
        assert_eq!((judged.good.len(), judged.bad.len()), (0, ROUND + 1));
    }

    #[test]
    fn a_bad_one_names_itself_and_harms_no_other() {
        let mut bad = registration(2, 5);
        bad.message.gas_limit = 1;
        let key = bad.message.pubkey;
        let judged = verify(vec![registration(1, 5), bad, registration(3, 5)], builder_domain([0; 4]));
        assert_eq!(judged.good, [registration(1, 5), registration(3, 5)]);
        assert_eq!(judged.bad, [key]);
        let refused = |bad: Vec<BlsPublicKey>| refusal(&Untaken { bad, ..Untaken::default() }).message;
        assert_eq!(refused(judged.bad), format!("signature does not verify: {key}"));
        assert!(refused(vec![key; 10]).ends_with("and 2 more"));
    }
}

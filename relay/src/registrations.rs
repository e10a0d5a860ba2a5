//! Which registrations are new, and which are good. Pure.

use alloy_primitives::B256;
use earnest_builder_types::{BlsPublicKey, SignedValidatorRegistration};
use earnest_http::ApiError;
use std::{collections::HashMap, sync::Arc};

/// How far a registration's time may be ahead, in seconds.
const MAX_AHEAD_SECS: u64 = 10;
/// How many bad keys an answer names.
const NAMED: usize = 8;

/// Registrations after their signatures were verified.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Those that hold.
    pub(crate) good: Vec<SignedValidatorRegistration>,
    /// Keys of those that do not.
    pub(crate) bad: Vec<BlsPublicKey>,
}

/// What has to be verified: for each validator the newest, if it is newer than the one held. Those that are no newer
/// cost no cryptography and are passed over without an error, as validators send the same ones every epoch.
///
/// # Errors
/// 400 if one is signed for a time that has not come.
pub(crate) fn fresh(
    all: Vec<SignedValidatorRegistration>,
    now_secs: u64,
    held: impl Fn(&BlsPublicKey) -> Option<Arc<SignedValidatorRegistration>>,
) -> Result<Vec<SignedValidatorRegistration>, ApiError> {
    let mut newest: HashMap<BlsPublicKey, SignedValidatorRegistration> = HashMap::new();
    for registration in all {
        let (key, timestamp) = (registration.message.pubkey, registration.message.timestamp);
        if timestamp > now_secs.saturating_add(MAX_AHEAD_SECS) {
            return Err(ApiError::bad_request(format!("registration of {key}: timestamp is in the future")));
        }
        let known = held(&key).map(|held| held.message.timestamp);
        let seen = newest.get(&key).map(|seen| seen.message.timestamp);
        if known.max(seen).is_none_or(|known| timestamp > known) {
            newest.insert(key, registration);
        }
    }
    Ok(newest.into_values().collect())
}

/// Verifies all signatures at once; one that is bad harms no other.
pub(crate) fn verify(all: Vec<SignedValidatorRegistration>, builder_domain: B256) -> Judged {
    let bad = SignedValidatorRegistration::verify_all(&all, builder_domain);
    let mut judged = Judged::default();
    for (index, registration) in all.into_iter().enumerate() {
        if bad.binary_search(&index).is_ok() {
            judged.bad.push(registration.message.pubkey);
        } else {
            judged.good.push(registration);
        }
    }
    judged
}

/// The answer to a list of which some were bad; the others are registered.
pub(crate) fn refusal(bad: &[BlsPublicKey]) -> ApiError {
    let names: Vec<String> = bad.iter().take(NAMED).map(ToString::to_string).collect();
    let more = bad.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    ApiError::bad_request(format!("signature does not verify: {}{more}", names.join(", ")))
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
        let held = Arc::new(registration(1, 500));
        let lookup = |key: &BlsPublicKey| (*key == held.message.pubkey).then(|| Arc::clone(&held));
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
            assert_eq!(times(fresh(all, NOW, lookup).unwrap()), expected, "{given:?}");
        }
        let error = fresh(vec![registration(2, NOW + 11)], NOW, lookup).unwrap_err();
        assert_eq!(error.body()["code"], 400);
        assert!(error.message.ends_with("timestamp is in the future"), "{}", error.message);
    }

    #[test]
    fn a_bad_one_names_itself_and_harms_no_other() {
        let mut bad = registration(2, 5);
        bad.message.gas_limit = 1;
        let key = bad.message.pubkey;
        let judged = verify(vec![registration(1, 5), bad, registration(3, 5)], builder_domain([0; 4]));
        assert_eq!(judged.good, [registration(1, 5), registration(3, 5)]);
        assert_eq!(judged.bad, [key]);
        assert_eq!(refusal(&judged.bad).message, format!("signature does not verify: {key}"));
        assert!(refusal(&[key; 10]).message.ends_with("and 2 more"));
    }
}

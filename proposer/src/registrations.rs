//! Which registrations go to which source. Pure. Bytes are passed on as they came, whole or in parts.

use bytes::Bytes;
use earnest_builder_types::{
    BlsPublicKey, REGISTRATION_SSZ_BYTES, SignedValidatorRegistration, registrations_from_ssz,
};
use earnest_http::Media;
use serde_json::value::RawValue;

use crate::slot_state::SourceIndex;
use crate::wishes::Wishes;

/// Why a body is not registrations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRegistrations {
    /// Not SSZ of signed registrations.
    #[error("body is not SSZ of signed registrations")]
    Ssz,
    /// Not JSON of signed registrations.
    #[error("body is not JSON of signed registrations: {0}")]
    Json(String),
}

/// A batch of registrations on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted {
    /// The body for each source that gets any.
    pub bodies: Vec<(SourceIndex, Bytes)>,
    /// Validators whose registration names another fee recipient than they want. It goes nowhere.
    pub misdirected: Vec<BlsPublicKey>,
}

/// Sorts a batch in one of the forms JSON and SSZ by what its validators want, for sources `0..sources`.
///
/// # Errors
/// [`BadRegistrations`]. JSON is read only where validators want different things.
pub fn sort(media: Media, body: &Bytes, wishes: &Wishes, sources: usize) -> Result<Sorted, BadRegistrations> {
    let to_all = || Sorted {
        bodies: (0..sources).map(|source| (source, body.clone())).collect(),
        misdirected: Vec::new(),
    };
    let registrations = match media {
        Media::Ssz => {
            let read = registrations_from_ssz(body).map_err(|_| BadRegistrations::Ssz)?;
            if wishes.are_all_alike() {
                return Ok(to_all());
            }
            read.into_iter().zip(body.chunks(REGISTRATION_SSZ_BYTES)).collect()
        }
        _ if wishes.are_all_alike() => return Ok(to_all()),
        _ => read_json(body)?,
    };
    let mut parts: Vec<Vec<&[u8]>> = vec![Vec::new(); sources];
    let mut misdirected = Vec::new();
    for (registration, bytes) in registrations {
        let message = registration.message;
        let wish = wishes.of(&message.pubkey);
        if wish.fee_recipient.is_some_and(|wanted| wanted != message.fee_recipient) {
            misdirected.push(message.pubkey);
            continue;
        }
        for source in &wish.sources {
            if let Some(part) = parts.get_mut(*source) {
                part.push(bytes);
            }
        }
    }
    let join = |parts: Vec<&[u8]>| match media {
        Media::Ssz => parts.concat(),
        _ => [b"[".as_slice(), &parts.join(b",".as_slice()), b"]"].concat(),
    };
    let some = parts.into_iter().enumerate().filter(|(_, parts)| !parts.is_empty());
    Ok(Sorted { bodies: some.map(|(source, parts)| (source, join(parts).into())).collect(), misdirected })
}

fn read_json(body: &[u8]) -> Result<Vec<(SignedValidatorRegistration, &[u8])>, BadRegistrations> {
    let bad = |error: serde_json::Error| BadRegistrations::Json(error.to_string());
    let raw: Vec<&RawValue> = serde_json::from_slice(body).map_err(bad)?;
    let read = |raw: &'_ RawValue| serde_json::from_str(raw.get()).map_err(bad);
    raw.into_iter().map(|raw| Ok((read(raw)?, raw.get().as_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, FixedBytes};
    use earnest_builder_types::{ValidatorRegistration, registrations_to_ssz};

    use super::*;
    use crate::config::Config;

    fn registration(key: u8, fee_recipient: u8) -> SignedValidatorRegistration {
        let message = ValidatorRegistration {
            fee_recipient: Address::repeat_byte(fee_recipient),
            gas_limit: 36_000_000,
            timestamp: 1,
            pubkey: FixedBytes::repeat_byte(key),
        };
        SignedValidatorRegistration { message, signature: FixedBytes::ZERO }
    }

    /// Validator 1 wants recipient 9 and only the first relay; the others want nothing special.
    fn wishes() -> Wishes {
        let mut config: Config = toml::from_str(include_str!("../../config/proposer.toml")).unwrap();
        config.validators[0].pubkeys = vec![FixedBytes::repeat_byte(1)];
        config.validators[0].fee_recipient = Some(Address::repeat_byte(9));
        Wishes::new(&config)
    }

    #[test]
    fn each_source_gets_the_registrations_meant_for_it_as_they_came() {
        let all = [registration(1, 9), registration(2, 8), registration(1, 7)];
        let ssz: Bytes = registrations_to_ssz(&all).into();
        let sorted = sort(Media::Ssz, &ssz, &wishes(), 2).unwrap();
        let of = |few: &[SignedValidatorRegistration]| Bytes::from(registrations_to_ssz(few));
        assert_eq!(sorted.bodies, [(0, of(&all[..2])), (1, of(&all[1..2]))]);
        assert_eq!(sorted.misdirected, [all[2].message.pubkey]);

        let texts = all.each_ref().map(|one| serde_json::to_string(one).unwrap().replace(':', " : "));
        let json: Bytes = format!(" [ {} ]", texts.join(" , ")).into();
        let sorted = sort(Media::Json, &json, &wishes(), 2).unwrap();
        let of = |few: &[String]| Bytes::from(format!("[{}]", few.join(",")));
        assert_eq!(sorted.bodies, [(0, of(&texts[..2])), (1, of(&texts[1..2]))]);
        assert_eq!(sorted.misdirected, [all[2].message.pubkey]);
    }

    #[test]
    fn a_source_that_is_meant_for_none_is_not_asked() {
        let only = [registration(1, 9)];
        let sorted = sort(Media::Ssz, &registrations_to_ssz(&only).into(), &wishes(), 2).unwrap();
        assert_eq!(sorted.bodies.iter().map(|(source, _)| *source).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn without_wishes_json_is_not_even_read() {
        let mut config: Config = toml::from_str(include_str!("../../config/proposer.toml")).unwrap();
        config.validators.clear();
        let body = Bytes::from_static(b"not for us to judge");
        let sorted = sort(Media::Json, &body, &Wishes::new(&config), 2).unwrap();
        assert_eq!(sorted.bodies, [(0, body.clone()), (1, body)]);
    }

    #[test]
    fn what_is_no_registration_is_refused() {
        for (media, body) in
            [(Media::Ssz, "x"), (Media::Json, "[{}]"), (Media::Json, "{}"), (Media::Json, "[")]
        {
            assert!(sort(media, &Bytes::from_static(body.as_bytes()), &wishes(), 2).is_err(), "{body}");
        }
    }
}

//! Who may read constraints that name their receivers (constraints-specs, `GET /constraints/{slot}`; design §5).
//!
//! A reader signs the slot it asks for: BLS, in the form of [`signing`](crate::signing), over the object root
//! `keccak256(abi.encode(uint64 slot))`. It travels in four headers, bytes as hexadecimal in any case, with or without `0x`.

use crate::{
    Slot,
    objects::ConstraintsMessage,
    signing::{EARNEST_SIGNING_ID, Network},
};
use alloy_primitives::{B256, U256, keccak256};
use earnest_builder_types::{BlsPublicKey, BlsSignature, bls};

/// Header with the reader's public key.
pub const PUBLIC_KEY_HEADER: &str = "x-receiver-publickey";
/// Header with the reader's signature.
pub const SIGNATURE_HEADER: &str = "x-receiver-signature";
/// Header with the nonce of the signing form; 0 if absent.
pub const NONCE_HEADER: &str = "x-receiver-nonce";
/// Header with the module signing id of the signing form; `earnest.v1` if absent.
pub const SIGNING_ID_HEADER: &str = "x-receiver-signingid";

/// Why a request for constraints is not authorised.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverError {
    /// One of key and signature is given without the other.
    #[error("give both of {PUBLIC_KEY_HEADER} and {SIGNATURE_HEADER}, or none of the X-Receiver headers")]
    Incomplete,
    /// A header is not what it should be.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// The signature is not the key's over this slot.
    #[error("the receiver's signature does not verify for this slot")]
    BadSignature,
}

/// A reader's proof that it holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver {
    /// The reader's key.
    pub public_key: BlsPublicKey,
    /// Over the slot.
    pub signature: BlsSignature,
    /// Nonce of the signing form.
    pub nonce: u64,
    /// Module signing id of the signing form.
    pub signing_id: B256,
}

fn object_root(slot: Slot) -> B256 {
    keccak256(B256::from(U256::from(slot.0)))
}

impl Receiver {
    /// Signs for the constraints of `slot`.
    #[must_use]
    pub fn sign(slot: Slot, secret: &bls::SecretKey, network: &Network) -> Self {
        let root = network.signing_root(object_root(slot), EARNEST_SIGNING_ID, 0);
        let (public_key, signature) = (secret.public_key(), secret.sign(root));
        Self { public_key, signature, nonce: 0, signing_id: EARNEST_SIGNING_ID }
    }

    /// Reads the headers, which `header` looks up by name; none if there are none.
    ///
    /// # Errors
    /// [`ReceiverError`] if some are missing or malformed.
    pub fn from_headers<'a>(
        header: impl Fn(&'static str) -> Option<&'a str>,
    ) -> Result<Option<Self>, ReceiverError> {
        let malformed = |name| move || ReceiverError::Malformed(name);
        let (public_key, signature) = match (header(PUBLIC_KEY_HEADER), header(SIGNATURE_HEADER)) {
            (None, None) => return Ok(None),
            (Some(key), Some(signature)) => (key, signature),
            _ => return Err(ReceiverError::Incomplete),
        };
        let nonce = header(NONCE_HEADER).map_or(Some(0), |text| text.trim().parse().ok());
        let signing_id =
            header(SIGNING_ID_HEADER).map_or(Some(EARNEST_SIGNING_ID), |text| text.trim().parse().ok());
        Ok(Some(Self {
            public_key: public_key.trim().parse().map_err(|_| ReceiverError::Malformed(PUBLIC_KEY_HEADER))?,
            signature: signature.trim().parse().map_err(|_| ReceiverError::Malformed(SIGNATURE_HEADER))?,
            nonce: nonce.ok_or_else(malformed(NONCE_HEADER))?,
            signing_id: signing_id.ok_or_else(malformed(SIGNING_ID_HEADER))?,
        }))
    }

    /// The headers, as they are sent.
    #[must_use]
    pub fn to_headers(&self) -> [(&'static str, String); 4] {
        [
            (PUBLIC_KEY_HEADER, self.public_key.to_string()),
            (SIGNATURE_HEADER, self.signature.to_string()),
            (NONCE_HEADER, self.nonce.to_string()),
            (SIGNING_ID_HEADER, self.signing_id.to_string()),
        ]
    }

    /// Checks that the key signed for `slot`.
    ///
    /// # Errors
    /// [`ReceiverError::BadSignature`] if it did not.
    pub fn verify(&self, slot: Slot, network: &Network) -> Result<(), ReceiverError> {
        let root = network.signing_root(object_root(slot), self.signing_id, self.nonce);
        bls::verify(&self.public_key, root, &self.signature).map_err(|_| ReceiverError::BadSignature)
    }
}

/// Whether `reader`, whose key was checked, may read a message: anyone may if it names no receivers, else those that it
/// names, the proposer and the delegate.
#[must_use]
pub fn may_read(message: &ConstraintsMessage, reader: Option<&BlsPublicKey>) -> bool {
    message.receivers.is_empty()
        || reader.is_some_and(|reader| {
            message.receivers.contains(reader) || *reader == message.proposer || *reader == message.delegate
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const NETWORK: Network = Network { genesis_fork_version: [1, 2, 3, 4], chain_id: 5 };

    fn key(byte: u8) -> bls::SecretKey {
        bls::SecretKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn read(headers: &[(&'static str, String)]) -> Result<Option<Receiver>, ReceiverError> {
        let headers: HashMap<&str, &str> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Receiver::from_headers(|name| headers.get(name).copied())
    }

    #[test]
    fn headers_read_back_in_any_hex() {
        let receiver = Receiver::sign(Slot(7), &key(1), &NETWORK);
        let headers = receiver.to_headers();
        assert_eq!(read(&headers), Ok(Some(receiver)));
        assert_eq!(read(&headers[..2]), Ok(Some(receiver)), "nonce and signing id have defaults");
        let bare = headers.clone().map(|(name, value)| (name, value.trim_start_matches("0x").to_uppercase()));
        assert_eq!(read(&bare), Ok(Some(receiver)));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&headers[..1]), Err(ReceiverError::Incomplete));
        assert_eq!(read(&headers[1..]), Err(ReceiverError::Incomplete));
        for (index, (name, _)) in headers.iter().enumerate() {
            for bad in ["", "zz", "0x00", "-1", "é"] {
                let mut headers = headers.clone();
                headers[index].1 = bad.to_owned();
                assert_eq!(read(&headers), Err(ReceiverError::Malformed(name)), "{name}: {bad}");
            }
        }
    }

    #[test]
    fn a_signature_is_for_one_slot_network_and_key() {
        let receiver = Receiver::sign(Slot(7), &key(1), &NETWORK);
        assert_eq!(receiver.verify(Slot(7), &NETWORK), Ok(()));
        let elsewhere = Network { chain_id: 6, ..NETWORK };
        let cases = [
            receiver.verify(Slot(8), &NETWORK),
            receiver.verify(Slot(7), &elsewhere),
            Receiver { public_key: key(2).public_key(), ..receiver }.verify(Slot(7), &NETWORK),
            Receiver { nonce: 1, ..receiver }.verify(Slot(7), &NETWORK),
            Receiver { signing_id: B256::ZERO, ..receiver }.verify(Slot(7), &NETWORK),
            Receiver { public_key: BlsPublicKey::ZERO, ..receiver }.verify(Slot(7), &NETWORK),
        ];
        for case in cases {
            assert_eq!(case, Err(ReceiverError::BadSignature));
        }
    }

    #[test]
    fn readers_by_table() {
        let [proposer, delegate, named, other] = [1, 2, 3, 4].map(|byte| key(byte).public_key());
        let open =
            ConstraintsMessage { proposer, delegate, slot: Slot(7), constraints: vec![], receivers: vec![] };
        let closed = ConstraintsMessage { receivers: vec![named], ..open.clone() };
        assert!(may_read(&open, None) && may_read(&open, Some(&other)));
        assert!(!may_read(&closed, None) && !may_read(&closed, Some(&other)));
        assert!([named, proposer, delegate].iter().all(|reader| may_read(&closed, Some(reader))));
    }

    #[test]
    fn any_headers_are_a_reader_or_an_error() {
        let signed = Receiver::sign(Slot(7), &key(1), &NETWORK);
        bolero::check!().with_iterations(500).with_type::<([Option<String>; 4], u16, char)>().for_each(
            |(texts, at, by)| {
                let names = [PUBLIC_KEY_HEADER, SIGNATURE_HEADER, NONCE_HEADER, SIGNING_ID_HEADER];
                let given = names.into_iter().zip(texts.iter().cloned());
                let given: Vec<_> = given.filter_map(|(name, text)| Some((name, text?))).collect();
                let _ = read(&given).map(|receiver| receiver.map(|one| one.verify(Slot(7), &NETWORK)));
                // One character of one header is another.
                let mut changed = signed.to_headers();
                let (_, text) = &mut changed[usize::from(*at) % 4];
                let mut characters: Vec<char> = text.chars().collect();
                let place = usize::from(*at).checked_rem(characters.len()).unwrap();
                characters[place] = *by;
                *text = characters.into_iter().collect();
                if let Ok(Some(receiver)) = read(&changed) {
                    let holds = receiver.verify(Slot(7), &NETWORK).is_ok();
                    assert_eq!(holds, receiver == signed, "{changed:?}");
                }
            },
        );
    }
}

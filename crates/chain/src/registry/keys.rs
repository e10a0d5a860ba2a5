//! The keys of a registration, out of the call that made it (design §9). Pure, and heavy: a pairing for each key.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use alloy_sol_types::{SolCall, SolValue};
use earnest_bindings::Registry::registerCall;
use earnest_builder_types::bls;
use earnest_protocol::{
    BlsPublicKey, BlsSignature,
    registry::{RegistrationTree, SignedRegistration},
    signing::Network,
    sol,
};

/// Why a call is not the one that made a registration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error("it is no call of `register`")]
    NotRegister,
    #[error("it registers for {0}")]
    OtherOwner(Address),
    #[error("its keys do not have that root")]
    OtherRoot,
}

/// The keys that signed their registration for `owner`, in the order of the call; each once. A key whose signature does
/// not hold is left out: anybody can name any key, and only the one who named it has collateral to lose by that.
///
/// # Errors
/// [`CallError`] if the call does not register `root` for `owner`.
pub(super) fn signed_keys(
    call: &[u8],
    root: B256,
    owner: Address,
    network: &Network,
) -> Result<Vec<BlsPublicKey>, CallError> {
    let call = registerCall::abi_decode(call).map_err(|_| CallError::NotRegister)?;
    if call.owner != owner {
        return Err(CallError::OtherOwner(call.owner));
    }
    let registrations: Result<Vec<_>, _> = call
        .registrations
        .iter()
        .map(|registration| sol::SignedRegistration::abi_decode(&registration.abi_encode()))
        .collect();
    let registrations = registrations.map_err(|_| CallError::NotRegister)?;
    let tree = RegistrationTree::new(registrations, owner, call.signingId).ok_or(CallError::OtherRoot)?;
    if tree.root() != root {
        return Err(CallError::OtherRoot);
    }
    let signed: Vec<(BlsPublicKey, B256, BlsSignature)> = tree
        .registrations()
        .iter()
        .filter_map(|registration| {
            let signed = SignedRegistration::try_from(registration).ok()?;
            let root = signed.signing_root(owner, call.signingId, network).ok()?;
            Some((signed.pubkey, root, signed.signature))
        })
        .collect();
    let forged: BTreeSet<usize> = bls::verify_batch(&signed).into_iter().collect();
    let mut seen = BTreeSet::new();
    let keys = signed.iter().enumerate().filter(|(at, _)| !forged.contains(at)).map(|(_, (key, ..))| *key);
    Ok(keys.filter(|key| seen.insert(*key)).collect())
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use alloy_primitives::Bytes;
    use earnest_bindings::Registry;
    use earnest_protocol::signing::EARNEST_SIGNING_ID;

    use super::*;

    const NETWORK: Network = Network { genesis_fork_version: [0x10, 0, 9, 0x10], chain_id: 560_048 };
    const OWNER: Address = Address::repeat_byte(0x11);

    fn secret(byte: u8) -> bls::SecretKey {
        bls::SecretKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn signed(byte: u8, owner: Address) -> sol::SignedRegistration {
        SignedRegistration::sign(owner, &secret(byte), &NETWORK).unwrap().to_sol().unwrap()
    }

    fn register(registrations: &[sol::SignedRegistration]) -> (Bytes, B256) {
        let tree = RegistrationTree::new(registrations.to_vec(), OWNER, EARNEST_SIGNING_ID).unwrap();
        let call = registerCall {
            registrations: registrations
                .iter()
                .map(|one| Registry::SignedRegistration::abi_decode(&one.abi_encode()).unwrap())
                .collect(),
            owner: OWNER,
            signingId: EARNEST_SIGNING_ID,
        };
        (call.abi_encode().into(), tree.root())
    }

    fn key(byte: u8) -> BlsPublicKey {
        secret(byte).public_key()
    }

    #[test]
    fn keys_that_signed_count_and_forged_ones_do_not() {
        let mut swapped = signed(4, OWNER);
        swapped.pubkey = signed(5, OWNER).pubkey;
        let mut no_point = signed(6, OWNER);
        no_point.pubkey.x_b.0[31] ^= 1;
        let all = [
            signed(1, OWNER),
            signed(2, Address::ZERO),
            swapped,
            no_point,
            signed(3, OWNER),
            signed(1, OWNER),
        ];
        let (call, root) = register(&all);
        assert_eq!(signed_keys(&call, root, OWNER, &NETWORK), Ok(vec![key(1), key(3)]));
        let elsewhere = Network { chain_id: 1, ..NETWORK };
        assert_eq!(signed_keys(&call, root, OWNER, &elsewhere), Ok(vec![]));
    }

    #[test]
    fn a_call_of_another_registration_is_refused() {
        let (call, root) = register(&[signed(1, OWNER)]);
        let (_, other) = register(&[signed(2, OWNER)]);
        assert_eq!(signed_keys(&call, other, OWNER, &NETWORK), Err(CallError::OtherRoot));
        assert_eq!(signed_keys(&call, root, Address::ZERO, &NETWORK), Err(CallError::OtherOwner(OWNER)));
        assert_eq!(signed_keys(&call[..100], root, OWNER, &NETWORK), Err(CallError::NotRegister));
        assert_eq!(signed_keys(&[], root, OWNER, &NETWORK), Err(CallError::NotRegister));
    }

    #[test]
    fn any_bytes_are_keys_or_an_error() {
        let (call, root) = register(&[signed(1, OWNER)]);
        bolero::check!().with_iterations(500).with_type::<(Vec<u8>, Vec<(u16, u8)>)>().for_each(
            |(bytes, changes)| {
                let _ = signed_keys(bytes, root, OWNER, &NETWORK);
                let mut damaged = call.to_vec();
                for (at, byte) in changes {
                    let at = usize::from(*at) % damaged.len();
                    damaged[at] = *byte;
                }
                let _ = signed_keys(&damaged, root, OWNER, &NETWORK);
            },
        );
    }
}

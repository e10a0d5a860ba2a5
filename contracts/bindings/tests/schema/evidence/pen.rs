//! Signs commitments, in the right form or in one that is a little wrong.

use super::{NETWORK, judge};
use alloy_primitives::{Address, B256, Bytes, U256, hex};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    evidence::Payload,
    signing::{EARNEST_SIGNING_ID, EcdsaSecret, MessageType, Network, sol_root},
    sol,
};

/// Order of the group that signatures live in.
const ORDER: U256 =
    U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));

/// How a commitment is signed.
#[derive(Debug, Clone)]
pub(crate) struct Pen {
    pub(crate) network: Network,
    pub(crate) slasher: Address,
    pub(crate) request_hash: B256,
    /// What the signature is over.
    pub(crate) signing_id: B256,
    pub(crate) nonce: u64,
    /// What the commitment says that it is over, where that is something else.
    pub(crate) claimed: Option<(B256, u64)>,
    /// The key's 32 bytes, all alike.
    pub(crate) key: u8,
    /// What becomes of the signature.
    pub(crate) spoil: Spoil,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoil {
    No,
    /// The other s, with the other v: `ecrecover` would take it.
    HighS,
    /// v as 0 or 1.
    SmallV,
    /// Without v: 64 bytes, r and s.
    WithoutV,
    /// A byte after it.
    TooLong,
    Empty,
}

impl Default for Pen {
    fn default() -> Self {
        Self {
            network: NETWORK,
            slasher: judge().slasher,
            request_hash: B256::ZERO,
            signing_id: EARNEST_SIGNING_ID,
            nonce: 0,
            claimed: None,
            key: 0x33,
            spoil: Spoil::No,
        }
    }
}

impl Pen {
    /// Signs an object root, in this form.
    pub(crate) fn signature(&self, object_root: B256) -> Bytes {
        let root = self.network.signing_root(object_root, self.signing_id, self.nonce);
        let mut signature = EcdsaSecret::from_bytes(&[self.key; 32]).unwrap().sign(root).unwrap().to_vec();
        match self.spoil {
            Spoil::No => {}
            Spoil::HighS => {
                let s = ORDER - U256::from_be_slice(&signature[32..64]);
                signature[32..64].copy_from_slice(&s.to_be_bytes::<32>());
                signature[64] = 55 - signature[64];
            }
            Spoil::SmallV => signature[64] -= 27,
            Spoil::WithoutV => signature.truncate(64),
            Spoil::TooLong => signature.push(0),
            Spoil::Empty => signature.clear(),
        }
        signature.into()
    }

    /// The signing id and nonce that the object says.
    pub(crate) fn form(&self) -> (B256, u64) {
        self.claimed.unwrap_or((self.signing_id, self.nonce))
    }

    pub(crate) fn sign_payload(&self, commitment_type: u64, payload: Bytes) -> sol::SignedCommitment {
        let commitment = sol::Commitment {
            commitmentType: commitment_type,
            payload,
            requestHash: self.request_hash,
            slasher: self.slasher,
        };
        let signature = self.signature(sol_root(MessageType::Commitment, &commitment));
        let (signing_id, nonce) = self.form();
        sol::SignedCommitment { commitment, nonce, signingId: signing_id, signature }
    }

    pub(crate) fn sign<P: Payload>(&self, payload: &P) -> sol::SignedCommitment {
        self.sign_payload(P::TYPE.into(), payload.abi_encode().into())
    }
}

/// Every way in which a signature is not the signer's, by name.
pub(crate) fn foreign_pens() -> Vec<(&'static str, Pen)> {
    let pen = Pen::default;
    vec![
        ("signed for another chain", Pen { network: Network { chain_id: 1, ..NETWORK }, ..pen() }),
        (
            "signed for another fork version",
            Pen { network: Network { genesis_fork_version: [0; 4], ..NETWORK }, ..pen() },
        ),
        ("signed by another", Pen { key: 0x55, ..pen() }),
        ("of another signing id than it says", Pen { claimed: Some((B256::repeat_byte(7), 0)), ..pen() }),
        ("of another nonce than it says", Pen { claimed: Some((EARNEST_SIGNING_ID, 1)), ..pen() }),
        ("signed with high s", Pen { spoil: Spoil::HighS, ..pen() }),
        ("signed with v 0 or 1", Pen { spoil: Spoil::SmallV, ..pen() }),
        ("signed without v", Pen { spoil: Spoil::WithoutV, ..pen() }),
        ("signed with a byte too many", Pen { spoil: Spoil::TooLong, ..pen() }),
        ("not signed", Pen { spoil: Spoil::Empty, ..pen() }),
    ]
}

/// A form that is not ours, but that the commitment carries: as good as ours.
pub(crate) fn other_form() -> Pen {
    Pen { signing_id: B256::repeat_byte(9), nonce: 77, request_hash: B256::repeat_byte(3), ..Pen::default() }
}

/// The relay's, for receipts and results.
pub(crate) fn relay_pen() -> Pen {
    Pen { key: 0x44, ..Pen::default() }
}

/// `abi.encode(uint8 fault, bytes detail)`.
pub(crate) fn envelope(fault: u8, detail: &[u8]) -> Bytes {
    (u16::from(fault), Bytes::copy_from_slice(detail)).abi_encode_params().into()
}

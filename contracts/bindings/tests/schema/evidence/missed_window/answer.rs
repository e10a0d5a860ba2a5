//! What the accused answers with: a constraint with its receipt, and the block that kept it.

use super::super::{
    Pen, SLOT, START,
    orderings::{SegmentSeal, ordering},
    pen::relay_pen,
};
use super::{judge, txs};
use crate::examples;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope, transaction::RlpEcdsaEncodableTx};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{B256, Bytes, Signature, TxKind, U256, keccak256};
use alloy_sol_types::SolValue;
use earnest_protocol::{
    Slot, inbox, merkle,
    objects::{
        Constraint, ConstraintReceipt, ConstraintStatus, ConstraintsMessage, OrderingCommitment,
        SignedCommitment,
    },
    signing::{EcdsaSecret, MessageType, sol_root},
    sol,
};

/// Signs an L1 transaction as the gateway's account.
pub(super) fn raw<T: SignableTransaction<Signature> + RlpEcdsaEncodableTx>(tx: T) -> Bytes
where
    TxEnvelope: From<alloy_consensus::Signed<T>>,
{
    let account = EcdsaSecret::from_bytes(&[0x66; 32]).unwrap();
    let signature = account.sign(tx.signature_hash()).unwrap();
    let signature = Signature::from_raw(signature.as_slice()).unwrap();
    TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
}

/// The parts of an answer: each right, to be changed one by one.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) txs: Vec<Bytes>,
    pub(super) seal: OrderingCommitment,
    pub(super) seal_pen: Pen,
    pub(super) with_authority: bool,
    /// What becomes of the call's input.
    pub(super) input: fn(Bytes) -> Bytes,
    pub(super) tx: TxEip1559,
    /// What becomes of the L1 transaction.
    pub(super) raw: fn(TxEip1559) -> Bytes,
    pub(super) constraint: fn(Constraint) -> Constraint,
    pub(super) slot: Slot,
    pub(super) before: usize,
    pub(super) index: u64,
    pub(super) receivers: usize,
    pub(super) message: fn(&mut ConstraintsMessage),
    pub(super) receipt: ConstraintReceipt,
    pub(super) receipt_status: Option<u8>,
    pub(super) receipt_hash: Option<B256>,
    pub(super) relay: Pen,
}

impl Answer {
    pub(super) fn good() -> Self {
        let txs = txs();
        let hashes: Vec<B256> = txs.iter().map(keccak256).collect();
        Self {
            seal: OrderingCommitment {
                number: 6,
                first_index: u32::try_from(txs.len()).unwrap(),
                tx_count: 0,
                tx_root: merkle::root(0, &hashes),
                kind: SegmentSeal,
                ..ordering()
            },
            txs,
            seal_pen: Pen::default(),
            with_authority: false,
            input: |input| input,
            tx: TxEip1559 {
                chain_id: super::super::NETWORK.chain_id,
                nonce: 3,
                gas_limit: 1_000_000,
                max_fee_per_gas: 30_000_000_000,
                max_priority_fee_per_gas: 1_000_000_000,
                to: TxKind::Call(judge().inbox),
                ..TxEip1559::default()
            },
            raw,
            constraint: |constraint| constraint,
            slot: SLOT,
            before: 0,
            index: 0,
            receivers: 0,
            message: |_| {},
            receipt: ConstraintReceipt {
                slot: SLOT,
                constraints_hash: B256::ZERO,
                received_at_ms: START * 1_000 - 5_000,
                status: ConstraintStatus::Held,
            },
            receipt_status: None,
            receipt_hash: None,
            relay: relay_pen(),
        }
    }

    pub(super) fn changed(change: impl FnOnce(&mut Self)) -> Self {
        let mut answer = Self::good();
        change(&mut answer);
        answer
    }

    pub(super) fn message(&self) -> ConstraintsMessage {
        let signed = SignedCommitment::try_from(self.seal_pen.sign(&self.seal)).unwrap();
        let authority = self.with_authority.then(|| examples::authority(&super::super::NETWORK));
        let input = inbox::encode_submit(&self.txs, &signed, authority.as_ref()).unwrap();
        let tx = TxEip1559 { input: (self.input)(input), ..self.tx.clone() };
        let constraint = (self.constraint)(Constraint::inclusion(self.slot, (self.raw)(tx)));
        let filler = Constraint { constraint_type: 0x77, payload: Bytes::from_static(b"other") };
        let mut constraints = vec![filler; self.before];
        constraints.push(constraint);
        let mut message = ConstraintsMessage {
            proposer: examples::proposer().public_key(),
            delegate: examples::delegate().public_key(),
            slot: SLOT,
            constraints,
            receivers: vec![examples::proposer().public_key(); self.receivers],
        };
        (self.message)(&mut message);
        message
    }

    pub(super) fn hash(&self) -> B256 {
        self.message().hash().unwrap()
    }

    pub(super) fn receipt(&self) -> sol::SignedConstraintReceipt {
        let constraints_hash = self.receipt_hash.unwrap_or_else(|| self.hash());
        let mut receipt =
            sol::ConstraintReceipt::from(&ConstraintReceipt { constraints_hash, ..self.receipt.clone() });
        if let Some(status) = self.receipt_status {
            receipt.status = status;
        }
        sign_receipt(receipt, &self.relay)
    }

    pub(super) fn encoded(&self) -> Bytes {
        let message = self.message().to_sol().unwrap();
        sol::ConstraintAnswer { message, index: U256::from(self.index), receipt: self.receipt() }
            .abi_encode()
            .into()
    }
}

pub(super) fn sign_receipt(receipt: sol::ConstraintReceipt, pen: &Pen) -> sol::SignedConstraintReceipt {
    let signature = pen.signature(sol_root(MessageType::ConstraintReceipt, &receipt));
    let (signing_id, nonce) = pen.form();
    sol::SignedConstraintReceipt { receipt, nonce, signingId: signing_id, signature }
}

/// The relay's word that it dropped what `answer` stands on, changed and signed as given.
pub(super) fn dropped(answer: &Answer, change: impl FnOnce(&mut sol::ConstraintReceipt), pen: &Pen) -> Bytes {
    let mut receipt = sol::ConstraintReceipt {
        slot: SLOT.0,
        constraintsHash: answer.hash(),
        receivedAtMs: START * 1_000 - 5_000,
        status: 1,
    };
    change(&mut receipt);
    sign_receipt(receipt, pen).abi_encode().into()
}

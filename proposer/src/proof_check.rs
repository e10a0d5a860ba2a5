//! Whether a relay's proofs show every held constraint in the block of a header (design §5, §6). Pure.

use std::collections::HashMap;

use alloy_consensus::{Transaction, TxEnvelope, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, keccak256};
use earnest_builder_types::proofs::{TransactionProof, verify_transaction};

/// A transaction that the block of a slot must hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Held {
    transaction: Bytes,
}

impl Held {
    /// The constraint that `transaction` (EIP-2718 bytes) be in the block.
    #[must_use]
    pub const fn new(transaction: Bytes) -> Self {
        Self { transaction }
    }

    /// The transaction's hash.
    #[must_use]
    pub fn hash(&self) -> B256 {
        keccak256(&self.transaction)
    }
}

/// A transaction, and the branch that is said to lead from it to the header's `transactions_root`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenTransaction {
    /// The transaction as it stands in the block, EIP-2718 bytes without a blob sidecar.
    pub transaction: Bytes,
    /// Its position and branch.
    pub proof: TransactionProof,
}

/// What is wrong with the proofs of a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// A held transaction is neither proven nor replaced by a proven one of the same sender and nonce.
    #[error("no proof of transaction {0}")]
    Missing(B256),
    /// A branch does not lead to the header's root.
    #[error("the proof of transaction {0} does not lead to the header's transactions root")]
    Broken(B256),
}

/// Whose transactions are which: sender and nonce of every transaction that was looked at, recovered once. Recovering a sender
/// is by far the dearest step here.
#[derive(Debug, Default)]
pub struct Accounts {
    known: HashMap<Bytes, Option<(Address, u64)>>,
}

impl Accounts {
    /// How many senders were recovered so far.
    #[must_use]
    pub fn recovered(&self) -> usize {
        self.known.len()
    }

    /// None for what is no signed transaction.
    fn of(&mut self, transaction: &Bytes) -> Option<(Address, u64)> {
        *self.known.entry(transaction.clone()).or_insert_with(|| sender_and_nonce(transaction))
    }
}

/// Checks that every held transaction is in the block with this `transactions_root`. A constraint is kept also by another
/// transaction of the same sender and nonce, since then the held one can no longer be included anywhere. Of several proofs of
/// one transaction the first counts.
///
/// # Errors
/// [`ProofFault`] names the first held transaction that is not shown to be there.
pub fn all_held(
    held: &[Held],
    proven: &[ProvenTransaction],
    transactions_root: B256,
    accounts: &mut Accounts,
) -> Result<(), ProofFault> {
    let mut by_bytes: HashMap<&Bytes, &ProvenTransaction> = HashMap::new();
    for proven in proven {
        by_bytes.entry(&proven.transaction).or_insert(proven);
    }
    let mut by_account: Option<HashMap<(Address, u64), &ProvenTransaction>> = None;
    for constraint in held {
        let missing = || ProofFault::Missing(constraint.hash());
        let shown = match by_bytes.get(&constraint.transaction) {
            Some(same) => *same,
            None => {
                let wanted = accounts.of(&constraint.transaction).ok_or_else(missing)?;
                let replacements = by_account.get_or_insert_with(|| {
                    let mut replacements = HashMap::new();
                    for proven in proven {
                        if let Some(account) = accounts.of(&proven.transaction) {
                            replacements.entry(account).or_insert(proven);
                        }
                    }
                    replacements
                });
                *replacements.get(&wanted).ok_or_else(missing)?
            }
        };
        if !verify_transaction(&shown.transaction, shown.proof.index, &shown.proof.proof, transactions_root) {
            return Err(ProofFault::Broken(constraint.hash()));
        }
    }
    Ok(())
}

fn sender_and_nonce(transaction: &[u8]) -> Option<(Address, u64)> {
    let transaction = TxEnvelope::decode_2718_exact(transaction).ok()?;
    Some((transaction.recover_signer().ok()?, transaction.nonce()))
}

#[cfg(test)]
mod tests {
    use alloy_consensus::{SignableTransaction, TxLegacy};
    use alloy_eips::eip2718::Encodable2718;
    use alloy_primitives::{Signature, TxKind, U256};
    use earnest_builder_types::proofs::{TransactionTree, transactions_root};
    use earnest_protocol::signing::EcdsaSecret;

    use super::*;

    fn signed(secret: &EcdsaSecret, nonce: u64, value: u64) -> Bytes {
        let tx = TxLegacy {
            chain_id: Some(1),
            nonce,
            gas_price: 1,
            gas_limit: 21_000,
            to: TxKind::Call(Address::ZERO),
            value: U256::from(value),
            input: Bytes::new(),
        };
        let signature = secret.sign(tx.signature_hash()).unwrap();
        let signature = Signature::from_raw(signature.as_ref()).unwrap();
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718().into()
    }

    #[test]
    fn a_replacement_counts_only_with_the_same_sender_and_nonce() {
        let (alice, bob) = (EcdsaSecret::random(), EcdsaSecret::random());
        let held = [Held::new(signed(&alice, 5, 1))];
        for (transaction, kept) in [
            (signed(&alice, 5, 1), true),
            (signed(&alice, 5, 2), true),
            (signed(&alice, 6, 1), false),
            (signed(&bob, 5, 1), false),
        ] {
            let block = vec![Bytes::from_static(&[2, 1]), transaction.clone()];
            let proof = TransactionTree::new(&block).unwrap().prove(1).unwrap();
            let proven = [ProvenTransaction { transaction, proof }];
            let mut accounts = Accounts::default();
            assert_eq!(all_held(&held, &proven, transactions_root(&block), &mut accounts).is_ok(), kept);
        }
    }

    #[test]
    fn a_sender_is_recovered_once_however_many_offers_there_are() {
        let alice = EcdsaSecret::random();
        let held: Vec<Held> = (0..16).map(|nonce| Held::new(signed(&alice, nonce, 1))).collect();
        let block: Vec<Bytes> = (0..16).map(|nonce| signed(&alice, nonce, 2)).collect();
        let tree = TransactionTree::new(&block).unwrap();
        let prove = |(position, transaction): (usize, &Bytes)| ProvenTransaction {
            transaction: transaction.clone(),
            proof: tree.prove(position).unwrap(),
        };
        let proven: Vec<_> = block.iter().enumerate().map(prove).collect();
        let mut accounts = Accounts::default();
        for _ in 0..3 {
            assert_eq!(all_held(&held, &proven, transactions_root(&block), &mut accounts), Ok(()));
        }
        assert_eq!(accounts.recovered(), 32);
        // Proven as they are held, nothing need be recovered at all.
        let held: Vec<Held> = block.iter().cloned().map(Held::new).collect();
        let mut accounts = Accounts::default();
        assert_eq!(all_held(&held, &proven, transactions_root(&block), &mut accounts), Ok(()));
        assert_eq!(accounts.recovered(), 0);
    }
}

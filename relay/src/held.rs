//! Whether a block holds what was promised, and the proof of it (design §5). Pure.

use alloy_consensus::{EthereumTxEnvelope, Transaction, TxEip4844, transaction::SignerRecoverable};
use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use earnest_builder_types::proofs::TransactionTree;
use earnest_protocol::objects::InclusionProof;
use std::sync::OnceLock;

/// A transaction as a block carries it: a blob transaction is without its sidecar.
pub(crate) type BlockTx = EthereumTxEnvelope<TxEip4844>;

/// A transaction that a block must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Required {
    pub(crate) raw: Bytes,
    pub(crate) sender: Address,
    pub(crate) nonce: u64,
    /// Gas that it may use.
    pub(crate) gas_limit: u64,
    /// Most that it pays for a unit of gas, wei.
    pub(crate) max_fee_per_gas: u128,
    /// What it sends, wei.
    pub(crate) value: U256,
    /// What it does, whatever it pays for it: transactions of one sender and nonce that are alike in this bring about the
    /// same, so that a fee can be raised.
    pub(crate) call: B256,
    /// Whether only certain receivers may see it before the block: then it is kept, and proven to nobody.
    pub(crate) closed: bool,
}

/// A constraint's transaction that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TxError {
    #[error("not one whole EIP-2718 transaction")]
    Encoding,
    #[error("blob transactions cannot be constrained")]
    Blob,
    #[error("transaction for another chain")]
    Chain,
    #[error("bad transaction signature")]
    Signature,
    #[error("a transaction that no block can hold: {0}")]
    Never(&'static str),
}

/// Reads the transaction of a constraint.
pub(crate) fn read(raw: &[u8], chain_id: u64) -> Result<BlockTx, TxError> {
    let tx = BlockTx::decode_2718_exact(raw).map_err(|_| TxError::Encoding)?;
    if tx.is_eip4844() {
        return Err(TxError::Blob);
    }
    if tx.chain_id() != Some(chain_id) {
        return Err(TxError::Chain);
    }
    never(&tx).map_or(Ok(tx), |reason| Err(TxError::Never(reason)))
}

/// Most gas of a transaction (EIP-7825).
const MAX_TX_GAS: u64 = 1 << 24;
/// Longest init code (EIP-3860).
const MAX_INIT_CODE: usize = 49_152;

/// What makes a transaction invalid on every state.
fn never(tx: &BlockTx) -> Option<&'static str> {
    let gas_limit = tx.gas_limit();
    let faults = [
        (gas_limit < least_gas(tx), "its gas limit is below its intrinsic gas or the floor of its data"),
        (gas_limit > MAX_TX_GAS, "its gas limit is above 16,777,216"),
        (
            tx.max_priority_fee_per_gas() > Some(tx.max_fee_per_gas()),
            "its priority fee is above its whole fee",
        ),
        (tx.nonce() == u64::MAX, "its nonce is the last there is"),
        (tx.is_create() && tx.input().len() > MAX_INIT_CODE, "its init code is too long"),
        (tx.authorization_list().is_some_and(<[_]>::is_empty), "it has no authorisation"),
    ];
    faults.into_iter().find(|(at_fault, _)| *at_fault).map(|(_, reason)| reason)
}

/// The least gas limit: intrinsic gas (EIP-2028, 2930, 3860, 7702), or the floor of the calldata (EIP-7623).
fn least_gas(tx: &BlockTx) -> u64 {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let (input, zeros) = (tx.input(), tx.input().iter().filter(|byte| **byte == 0).count());
    let tokens = count(zeros).saturating_add(count(input.len().saturating_sub(zeros)).saturating_mul(4));
    let (mut addresses, mut keys) = (0_usize, 0_usize);
    for item in tx.access_list().iter().flat_map(|list| list.iter()) {
        addresses = addresses.saturating_add(1);
        keys = keys.saturating_add(item.storage_keys.len());
    }
    let authorizations = tx.authorization_list().map_or(0, <[_]>::len);
    let creation = if tx.is_create() {
        count(input.len().div_ceil(32)).saturating_mul(2).saturating_add(32_000)
    } else {
        0
    };
    let parts = [
        tokens.saturating_mul(4),
        creation,
        count(addresses).saturating_mul(2_400),
        count(keys).saturating_mul(1_900),
        count(authorizations).saturating_mul(25_000),
    ];
    let intrinsic = parts.into_iter().fold(21_000_u64, u64::saturating_add);
    intrinsic.max(tokens.saturating_mul(10).saturating_add(21_000))
}

/// What a transaction does: receiver, value, input and gas limit. One that names more than these (an access list costs gas,
/// an authorisation changes the sender) is like no other.
fn call_of(tx: &BlockTx, raw: &[u8]) -> B256 {
    let listed = tx.access_list().is_some_and(|list| !list.is_empty()) || tx.authorization_list().is_some();
    if listed {
        return keccak256(raw);
    }
    // None creates a contract, which no address is the hash of.
    let to = tx.to().map_or_else(|| keccak256([]), |to| to.into_word());
    let value = tx.value().to_be_bytes::<32>();
    keccak256([to.as_slice(), &value, &tx.gas_limit().to_be_bytes(), tx.input()].concat())
}

impl Required {
    /// What a block must hold to keep a constraint of this transaction.
    pub(crate) fn new(raw: Bytes, chain_id: u64) -> Result<Self, TxError> {
        let tx = read(&raw, chain_id)?;
        let sender = tx.recover_signer().map_err(|_| TxError::Signature)?;
        let (nonce, gas_limit) = (tx.nonce(), tx.gas_limit());
        let (max_fee_per_gas, value) = (tx.max_fee_per_gas(), tx.value());
        let call = call_of(&tx, &raw);
        Ok(Self { raw, sender, nonce, gas_limit, max_fee_per_gas, value, call, closed: false })
    }

    /// Whose transaction it is: an account has one of each nonce.
    pub(crate) const fn place(&self) -> (Address, u64) {
        (self.sender, self.nonce)
    }

    /// Whether the sender had a transaction that does something else in this one's place.
    fn is_undone_by(&self, raw: &Bytes) -> bool {
        *raw != self.raw && BlockTx::decode_2718_exact(raw).is_ok_and(|tx| call_of(&tx, raw) != self.call)
    }

    /// Whether it, or another of its sender and nonce, is one of these.
    pub(crate) fn is_among(&self, transactions: &[Bytes]) -> bool {
        let same = transactions.contains(&self.raw);
        same || transactions
            .iter()
            .map(|raw| (raw, Place::of(raw)))
            .any(|(raw, place)| place.nonce == Some(self.nonce) && place.sender(raw) == Some(self.sender))
    }

    /// The most that it can cost its sender, wei.
    pub(crate) fn most_wei(&self) -> U256 {
        let fees = U256::from(self.gas_limit).saturating_mul(U256::from(self.max_fee_per_gas));
        fees.saturating_add(self.value)
    }
}

/// What proofs of a block's transactions need, worked out when first asked for and then kept: a sender is recovered at
/// most once, whatever is required of the block and however often.
#[derive(Debug, Default)]
pub(crate) struct BlockIndex {
    places: OnceLock<Vec<Place>>,
    tree: OnceLock<Option<TransactionTree>>,
}

/// One transaction of the block.
#[derive(Debug)]
struct Place {
    nonce: Option<u64>,
    sender: OnceLock<Option<Address>>,
}

impl BlockIndex {
    /// Proofs that the block holds every required transaction, in their order, but of closed ones; none if it does not hold
    /// all. `transactions` are the same at every call.
    pub(crate) fn prove(&self, transactions: &[Bytes], required: &[Required]) -> Option<Vec<InclusionProof>> {
        if required.is_empty() {
            return Some(Vec::new());
        }
        let mut positions = Vec::with_capacity(required.len());
        for required in required {
            let position = self.position(transactions, required)?;
            if !required.closed {
                positions.push(position);
            }
        }
        let tree = self.tree.get_or_init(|| TransactionTree::new(transactions).ok()).as_ref()?;
        let prove = |position: usize| {
            let proof = tree.prove(position).ok()?;
            let signed_tx = transactions.get(position)?.clone();
            Some(InclusionProof { signed_tx, index: proof.index, branch: proof.proof })
        };
        positions.into_iter().map(prove).collect()
    }

    /// Whether the sender of one of these took its place in the block with a transaction that does something else. Then no
    /// block upon this parent or a later one can hold what was required, and that is nobody's doing but the sender's.
    pub(crate) fn undoes(&self, transactions: &[Bytes], required: &[Required]) -> bool {
        let undone = |required: &Required| {
            let at = self.position(transactions, required)?;
            Some(required.is_undone_by(transactions.get(at)?))
        };
        required.iter().any(|required| undone(required).unwrap_or(false))
    }

    /// Where the block keeps it: the transaction itself, or another of the same sender and nonce.
    fn position(&self, transactions: &[Bytes], required: &Required) -> Option<usize> {
        let same = transactions.iter().position(|tx| *tx == required.raw);
        same.or_else(|| {
            let places = self.places.get_or_init(|| transactions.iter().map(|raw| Place::of(raw)).collect());
            let mut pairs = places.iter().zip(transactions);
            pairs.position(|(place, raw)| {
                place.nonce == Some(required.nonce) && place.sender(raw) == Some(required.sender)
            })
        })
    }
}

impl Place {
    fn of(raw: &[u8]) -> Self {
        let nonce = BlockTx::decode_2718_exact(raw).ok().map(|tx| tx.nonce());
        Self { nonce, sender: OnceLock::new() }
    }

    fn sender(&self, raw: &[u8]) -> Option<Address> {
        *self.sender.get_or_init(|| BlockTx::decode_2718_exact(raw).ok()?.recover_signer().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tx;
    use earnest_builder_types::proofs::{transactions_root, verify_transaction};
    use proptest::prelude::*;

    fn prove(transactions: &[Bytes], required: &[Required]) -> Option<Vec<InclusionProof>> {
        BlockIndex::default().prove(transactions, required)
    }

    const CHAIN: u64 = 1337;

    #[test]
    fn a_block_keeps_a_constraint_by_the_transaction_or_its_replacement() {
        let wanted = tx(1, 7, 10);
        let required = [Required::new(wanted.clone(), CHAIN).unwrap()];
        let cases: [(&str, Vec<Bytes>, Option<u64>); 7] = [
            ("itself", vec![wanted.clone()], Some(0)),
            ("itself, later", vec![tx(2, 0, 1), tx(2, 1, 1), wanted.clone()], Some(2)),
            ("replaced", vec![tx(2, 7, 1), tx(1, 7, 99)], Some(1)),
            ("itself before a replacement", vec![tx(1, 7, 99), wanted], Some(1)),
            ("another nonce", vec![tx(1, 8, 10)], None),
            ("another sender", vec![tx(2, 7, 10)], None),
            ("nothing", vec![], None),
        ];
        for (name, block, index) in cases {
            let proofs = prove(&block, &required);
            assert_eq!(proofs.as_ref().map(|proofs| proofs[0].index), index, "{name}");
            for proof in proofs.unwrap_or_default() {
                let root = transactions_root(&block);
                assert!(verify_transaction(&proof.signed_tx, proof.index, &proof.branch, root), "{name}");
            }
        }
    }

    #[test]
    fn a_raised_fee_undoes_nothing_and_another_call_does() {
        type Change = fn(&mut alloy_consensus::TxEip1559);
        let wanted = crate::testing::changed_tx(|_| {});
        let required = [Required::new(wanted.clone(), CHAIN).unwrap()];
        let list = alloy_eips::eip2930::AccessListItem { address: Address::ZERO, storage_keys: vec![] };
        let listed = crate::testing::changed_tx(|tx| tx.access_list = vec![list].into());
        let cases: [(&str, Change, bool); 7] = [
            ("itself", |_| {}, false),
            (
                "a higher fee",
                |tx| (tx.max_fee_per_gas, tx.max_priority_fee_per_gas) = (9 << 40, 9 << 30),
                false,
            ),
            ("another nonce", |tx| (tx.nonce, tx.value) = (1, U256::from(1)), false),
            ("another value", |tx| tx.value = U256::from(1), true),
            ("another receiver", |tx| tx.to = alloy_primitives::TxKind::Call(Address::ZERO), true),
            ("another input", |tx| tx.input = Bytes::from_static(&[1]), true),
            ("less gas", |tx| tx.gas_limit -= 1, true),
        ];
        for (name, change, undone) in cases {
            let block = [tx(2, 0, 1), crate::testing::changed_tx(change)];
            assert_eq!(BlockIndex::default().undoes(&block, &required), undone, "{name}");
        }
        assert!(
            BlockIndex::default().undoes(std::slice::from_ref(&listed), &required),
            "an access list costs gas"
        );
        // Where the block holds the transaction itself, nothing undoes it.
        assert!(!BlockIndex::default().undoes(&[listed, wanted], &required));
    }

    #[test]
    fn a_sender_is_recovered_at_most_once() {
        let block = [tx(1, 7, 10), tx(2, 7, 1), tx(3, 8, 1)];
        let index = BlockIndex::default();
        let required = [Required::new(tx(2, 7, 5), CHAIN).unwrap()];
        let recovered = || -> Vec<bool> {
            index.places.get().unwrap().iter().map(|place| place.sender.get().is_some()).collect()
        };
        assert_eq!(index.prove(&block, &required).unwrap()[0].index, 1);
        assert_eq!(recovered(), [true, true, false]);
        // Kept: what comes under the same index is not looked at again.
        let other = [block[0].clone(), tx(9, 9, 9), block[2].clone()];
        assert_eq!(index.prove(&other, &required).unwrap()[0].index, 1);
        let required = [Required::new(tx(3, 8, 5), CHAIN).unwrap()];
        assert_eq!(index.prove(&block, &required).unwrap()[0].index, 2);
        assert_eq!(recovered(), [true; 3]);
    }

    #[test]
    fn all_are_required() {
        let required: Vec<_> =
            [tx(1, 0, 1), tx(2, 0, 1)].into_iter().map(|raw| Required::new(raw, CHAIN).unwrap()).collect();
        assert!(prove(&[tx(1, 0, 1)], &required).is_none());
        assert_eq!(prove(&[tx(2, 0, 1), tx(1, 0, 1)], &required).unwrap().len(), 2);
        assert_eq!(prove(&[], &[]), Some(vec![]));
    }

    #[test]
    fn what_is_no_transaction_is_refused() {
        assert_eq!(read(&[], CHAIN), Err(TxError::Encoding));
        assert_eq!(read(&tx(1, 0, 1), CHAIN + 1).unwrap_err(), TxError::Chain);
        let mut longer = tx(1, 0, 1).to_vec();
        longer.push(0);
        assert_eq!(read(&longer, CHAIN).unwrap_err(), TxError::Encoding);
    }

    #[test]
    fn a_closed_one_is_required_but_not_proven() {
        let [open, closed] = [tx(1, 0, 1), tx(2, 0, 1)].map(|raw| Required::new(raw, CHAIN).unwrap());
        let required = [open, Required { closed: true, ..closed }];
        assert!(prove(&[tx(1, 0, 1)], &required).is_none());
        let proofs = prove(&[tx(2, 0, 1), tx(1, 0, 1)], &required).unwrap();
        assert_eq!(proofs.iter().map(|proof| proof.index).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn what_no_block_can_hold_is_refused() {
        type Change = fn(&mut alloy_consensus::TxEip1559);
        let data = |zeros: usize, others: usize| Bytes::from([vec![0; zeros], vec![1; others]].concat());
        let cases: [(Change, bool); 13] = [
            (|_| {}, true),
            (|tx| tx.gas_limit = 20_999, false),
            (|tx| tx.gas_limit = 21_000, true),
            (|tx| tx.gas_limit = MAX_TX_GAS, true),
            (|tx| tx.gas_limit = MAX_TX_GAS + 1, false),
            (|tx| tx.max_priority_fee_per_gas = tx.max_fee_per_gas, true),
            (|tx| tx.max_priority_fee_per_gas = tx.max_fee_per_gas + 1, false),
            (|tx| tx.nonce = u64::MAX, false),
            (|tx| tx.to = alloy_primitives::TxKind::Create, true),
            (
                |tx| {
                    tx.to = alloy_primitives::TxKind::Create;
                    tx.gas_limit = 52_999;
                },
                false,
            ),
            (
                |tx| {
                    tx.to = alloy_primitives::TxKind::Create;
                    tx.gas_limit = MAX_TX_GAS;
                    tx.input = vec![0; MAX_INIT_CODE + 1].into();
                },
                false,
            ),
            (
                |tx| {
                    tx.access_list = vec![alloy_eips::eip2930::AccessListItem {
                        address: Address::ZERO,
                        storage_keys: vec![alloy_primitives::B256::ZERO; 2],
                    }]
                    .into();
                    tx.gas_limit = 21_000 + 2_400 + 2 * 1_900 - 1;
                },
                false,
            ),
            (
                |tx| {
                    // 10 gas a token are more than 4.
                    tx.input = vec![1; 100].into();
                    tx.gas_limit = 21_000 + 100 * 4 * 10 - 1;
                },
                false,
            ),
        ];
        for (index, (change, possible)) in cases.into_iter().enumerate() {
            let raw = crate::testing::changed_tx(change);
            let read = read(&raw, CHAIN);
            assert_eq!(read.is_ok(), possible, "case {index}: {read:?}");
            assert!(possible || matches!(read, Err(TxError::Never(_))), "case {index}");
        }
        let floor = |zeros, others, gas_limit| {
            let input = data(zeros, others);
            let raw = crate::testing::changed_tx(|tx| (tx.input, tx.gas_limit) = (input.clone(), gas_limit));
            read(&raw, CHAIN).is_ok()
        };
        assert!(floor(7, 3, 21_000 + 10 * (7 + 12)) && !floor(7, 3, 21_000 + 10 * (7 + 12) - 1));
    }

    #[test]
    fn any_bytes_are_a_transaction_or_an_error() {
        bolero::check!().with_iterations(1000).for_each(|bytes| {
            let _ = Required::new(Bytes::copy_from_slice(bytes), CHAIN);
        });
    }

    proptest! {
        #[test]
        fn a_proof_is_made_exactly_if_the_block_holds_it(
            block in proptest::collection::vec((1u8..4, 0u64..4), 0..12),
            wanted in (1u8..4, 0u64..4),
        ) {
            let transactions: Vec<Bytes> = block.iter().map(|(sender, nonce)| tx(*sender, *nonce, 5)).collect();
            let required = [Required::new(tx(wanted.0, wanted.1, 6), CHAIN).unwrap()];
            let proofs = prove(&transactions, &required);
            prop_assert_eq!(proofs.is_some(), block.contains(&wanted));
            if let Some(proofs) = proofs {
                let proof = &proofs[0];
                let root = transactions_root(&transactions);
                prop_assert!(verify_transaction(&proof.signed_tx, proof.index, &proof.branch, root));
            }
        }
    }
}

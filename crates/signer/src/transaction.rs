//! Signed transactions, of L1 and of rollups alike.

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, Signature};
use earnest_protocol::signing::{EcdsaSecret, SigningError};

/// Signs an EIP-1559 transaction: its EIP-2718 bytes.
///
/// # Errors
/// As [`EcdsaSecret::sign`].
pub fn sign_transaction(transaction: TxEip1559, key: &EcdsaSecret) -> Result<Bytes, SigningError> {
    let bytes = key.sign(transaction.signature_hash())?;
    let signature = Signature::from_raw_array(bytes.as_ref()).map_err(|_| SigningError::WrongSigner)?;
    Ok(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::transaction::SignerRecoverable;
    use alloy_eips::eip2718::Decodable2718;

    #[test]
    fn the_signer_is_recovered_and_the_bytes_are_the_same_again() {
        let key = EcdsaSecret::random();
        let transaction = TxEip1559 { chain_id: 5, nonce: 7, ..TxEip1559::default() };
        let raw = sign_transaction(transaction.clone(), &key).unwrap();
        let read = TxEnvelope::decode_2718_exact(&raw).unwrap();
        assert_eq!(read.recover_signer().unwrap(), key.address());
        assert_eq!(sign_transaction(transaction, &key).unwrap(), raw);
    }
}

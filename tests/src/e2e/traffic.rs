//! Transactions in the middle of every slot, so that payloads hold something. Some of them only the builder has, so that its
//! payload is worth more than the beacon node's own.

use alloy_consensus::{BlobTransactionSidecar, SignableTransaction, TxEip4844, TxEip4844WithSidecar};
use alloy_eips::{
    BlockNumberOrTag,
    eip2718::Encodable2718,
    eip4844::{Blob, Bytes48},
};
use alloy_primitives::{Address, Bytes, Signature};
use earnest_chain::{ChainError, ExecutionClient, SlotClock};
use earnest_protocol::{RollupId, signing::EcdsaSecret};
use tokio::task::AbortHandle;

use super::genesis::NETWORK;
use crate::{account::Account, patience::now_ms};

/// Transfers in a slot that everybody has, and those that only the builder has. The latter are worth more than a public
/// transaction that comes too late for the builder's payload but not for the beacon node's.
const TRANSFERS: (u64, u64) = (3, 2);
/// Slots from one blob transaction to the next.
const BLOB_EVERY: u64 = 4;
/// The compressed point at infinity: commitment to a blob of zeros, and proof of it.
const INFINITY: Bytes48 = {
    let mut point = [0; 48];
    point[0] = 0xc0;
    Bytes48::new(point)
};

/// Sends until it is dropped.
#[derive(Debug)]
pub struct Traffic(AbortHandle);

/// Who pays for the traffic.
#[must_use]
pub fn accounts() -> [Address; 3] {
    [public().address(), private().address(), blobs().address()]
}

fn public() -> Account {
    Account::of(&[0x50; 32], RollupId(NETWORK.chain_id))
}

fn private() -> Account {
    Account::of(&[0x51; 32], RollupId(NETWORK.chain_id))
}

/// Pools take blob transactions only of accounts that send nothing else.
fn blobs() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x52; 32]).unwrap()
}

impl Traffic {
    /// Begins with the next slot. `rpc` and `builder` are the execution clients of the beacon node and of the builder.
    #[must_use]
    pub fn start(rpc: ExecutionClient, builder: ExecutionClient, clock: SlotClock) -> Self {
        let sending = async move {
            let mut slot = clock.next_slot(now_ms());
            loop {
                tokio::time::sleep(SlotClock::until(now_ms(), clock.after(slot, 1, 2))).await;
                if let Err(error) = send(&rpc, &builder, slot).await {
                    println!("slot {slot}: no transactions sent: {error}");
                }
                slot = clock.next_slot(now_ms());
            }
        };
        Self(tokio::spawn(sending).abort_handle())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send(rpc: &ExecutionClient, builder: &ExecutionClient, slot: u64) -> Result<(), ChainError> {
    let (account, known) = (private(), BlockNumberOrTag::Pending);
    let next = builder.nonce(account.address(), known).await?;
    for nonce in next..next + TRANSFERS.1 {
        builder.send_raw_transaction(&account.transfer(nonce)).await?;
    }
    let account = public();
    let next = rpc.nonce(account.address(), known).await?;
    for nonce in next..next + TRANSFERS.0 {
        let transfer = account.transfer(nonce);
        builder.send_raw_transaction(&transfer).await?;
        rpc.send_raw_transaction(&transfer).await?;
    }
    if slot.is_multiple_of(BLOB_EVERY) {
        let secret = blobs();
        let nonce = rpc.nonce(secret.address(), known).await?;
        let transaction = blob_transaction(&secret, nonce);
        builder.send_raw_transaction(&transaction).await?;
        rpc.send_raw_transaction(&transaction).await?;
    }
    Ok(())
}

/// A transaction with one blob of zeros.
fn blob_transaction(secret: &EcdsaSecret, nonce: u64) -> Bytes {
    let sidecar = BlobTransactionSidecar {
        blobs: vec![Blob::ZERO],
        commitments: vec![INFINITY],
        proofs: vec![INFINITY],
    };
    let tx = TxEip4844 {
        chain_id: NETWORK.chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 4_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: Address::repeat_byte(0xb1),
        max_fee_per_blob_gas: 1_000_000_000,
        blob_versioned_hashes: sidecar.versioned_hashes().collect(),
        ..TxEip4844::default()
    };
    let tx = TxEip4844WithSidecar::from_tx_and_sidecar(tx, sidecar);
    let signature = secret.sign(tx.signature_hash()).unwrap();
    let signature = Signature::from_raw_array(signature.as_ref()).unwrap();
    tx.into_signed(signature).encoded_2718().into()
}

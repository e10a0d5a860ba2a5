//! Transactions in the middle of every slot, so that payloads hold something. Some of them only the builder has, so that its
//! payload is worth more than the beacon node's own.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

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
/// Transfers in a slot that only the other builder has, where there is one: as many, so that now one, now the other bids more.
const OF_THE_OTHER: u64 = TRANSFERS.1;
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
pub struct Traffic {
    sending: AbortHandle,
    of_the_other: Arc<AtomicU64>,
}

/// The execution clients whose pools transactions go to.
#[derive(Debug, Clone)]
pub struct Pools {
    /// The beacon node's.
    pub public: ExecutionClient,
    /// The builder's.
    pub builder: ExecutionClient,
    /// The other builder's, if there is one.
    pub other: Option<ExecutionClient>,
}

impl Pools {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<ExecutionClient> {
        [&self.public, &self.builder].into_iter().chain(&self.other).cloned().collect()
    }
}

/// Who pays for the traffic.
#[must_use]
pub fn accounts() -> [Address; 4] {
    [public().address(), private().address(), blobs().address(), of_the_other().address()]
}

fn public() -> Account {
    Account::of(&[0x50; 32], RollupId(NETWORK.chain_id))
}

fn private() -> Account {
    Account::of(&[0x51; 32], RollupId(NETWORK.chain_id))
}

fn of_the_other() -> Account {
    Account::of(&[0x56; 32], RollupId(NETWORK.chain_id))
}

/// Pools take blob transactions only of accounts that send nothing else.
fn blobs() -> EcdsaSecret {
    EcdsaSecret::from_bytes(&[0x52; 32]).unwrap()
}

impl Traffic {
    /// Begins with the next slot.
    #[must_use]
    pub fn start(pools: Pools, clock: SlotClock) -> Self {
        let of_the_other = Arc::new(AtomicU64::new(OF_THE_OTHER));
        let count = of_the_other.clone();
        let sending = async move {
            let mut slot = clock.next_slot(now_ms());
            loop {
                tokio::time::sleep(SlotClock::until(now_ms(), clock.after(slot, 1, 2))).await;
                if let Err(error) = send(&pools, count.load(Ordering::Relaxed), slot).await {
                    println!("slot {slot}: no transactions sent: {error}");
                }
                slot = clock.next_slot(now_ms());
            }
        };
        Self { sending: tokio::spawn(sending).abort_handle(), of_the_other }
    }

    /// Has the other builder bid more than the first one, or no longer.
    pub fn outbid(&self, on: bool) {
        self.of_the_other.store(if on { 12 * OF_THE_OTHER } else { OF_THE_OTHER }, Ordering::Relaxed);
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

async fn send(pools: &Pools, of_the_other_count: u64, slot: u64) -> Result<(), ChainError> {
    let Pools { public: rpc, builder, other } = pools;
    let (account, known) = (private(), BlockNumberOrTag::Pending);
    let next = builder.nonce(account.address(), known).await?;
    for nonce in next..next + TRANSFERS.1 {
        builder.send_raw_transaction(&account.transfer(nonce)).await?;
    }
    if let Some(other) = other {
        let account = of_the_other();
        let next = other.nonce(account.address(), known).await?;
        for nonce in next..next + of_the_other_count {
            other.send_raw_transaction(&account.transfer(nonce)).await?;
        }
    }
    let (account, everybody) = (public(), pools.all());
    let next = rpc.nonce(account.address(), known).await?;
    for nonce in next..next + TRANSFERS.0 {
        let transfer = account.transfer(nonce);
        for pool in &everybody {
            pool.send_raw_transaction(&transfer).await?;
        }
    }
    if slot.is_multiple_of(BLOB_EVERY) {
        let secret = blobs();
        let nonce = rpc.nonce(secret.address(), known).await?;
        let transaction = blob_transaction(&secret, nonce);
        for pool in &everybody {
            pool.send_raw_transaction(&transaction).await?;
        }
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

//! Contracts onto L1.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_consensus::TxEip1559;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, TxKind};
use earnest_bindings::inbox_creation_code;
use earnest_chain::SlotClock;
use earnest_protocol::signing::{EcdsaSecret, Network as Signing, SigningError};
use earnest_signer::sign_transaction;

use super::NetworkError;
use crate::execution::ExecutionNode;

/// Gas that deploying the Inbox may take.
const DEPLOY_GAS: u64 = 6_000_000;

/// Puts the Inbox on L1: its transaction gets into one of the first blocks.
pub(super) async fn deploy_inbox(
    execution: &ExecutionNode,
    deployer: &EcdsaSecret,
    network: Signing,
    inbox: Address,
    clock: &SlotClock,
) -> Result<(), NetworkError> {
    let not_deployed = |error: SigningError| NetworkError::NotDeployed(error.to_string());
    let transaction = TxEip1559 {
        chain_id: network.chain_id,
        gas_limit: DEPLOY_GAS,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Create,
        input: inbox_creation_code(network.genesis_fork_version),
        ..TxEip1559::default()
    };
    let raw = sign_transaction(transaction, deployer).map_err(not_deployed)?;
    execution.rpc().send_raw_transaction(&raw).await?;
    // Slot 1 has the first block; a few more may pass on a busy machine.
    let last = clock.start_of(1).saturating_add(clock.slot_ms().saturating_mul(8));
    while execution.rpc().code(inbox, BlockNumberOrTag::Latest).await?.is_empty() {
        if SlotClock::until(now_ms(), last).is_zero() {
            return Err(NetworkError::NotDeployed("the first slots passed without it".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

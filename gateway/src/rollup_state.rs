//! Nonce and balance of senders on a rollup, and what is pending on top.
//!
//! The rollup's state lags the order that this gateway signs. So an account is read when it is first seen in a while,
//! and what was accepted since is counted on top of the reading, until the rollup's nonce passes it.

mod accounts;
mod restore;

use std::{sync::Arc, time::Instant};

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{Address, B256, U256};
use earnest_chain::ExecutionClient;
use earnest_protocol::tx::ValidatedTx;
use parking_lot::Mutex;

use accounts::{Accounts, Reading};
pub(crate) use restore::restore;

/// Why a transaction does not fit the sender's account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error("the sender's next nonce is {next}, the transaction has {found}")]
    Nonce { next: u64, found: u64 },
    /// Its receipt is on the board, if its window is recent.
    #[error("this transaction, of nonce {nonce}, has its place already")]
    Placed { nonce: u64 },
    #[error("the sender has {has} wei beyond what is pending, the transaction may cost {cost}")]
    Balance { has: U256, cost: U256 },
    #[error("too much is pending that the rollup has not executed")]
    Crowded,
    #[error("the rollup's execution client does not answer")]
    Unavailable,
}

/// The accounts of one rollup.
#[derive(Debug)]
pub(crate) struct RollupState {
    rpc: ExecutionClient,
    accounts: Arc<Mutex<Accounts>>,
}

/// A nonce that one request holds for its transaction. Dropped, it is free again, unless another request holds it for
/// the same transaction or the transaction got its place.
#[derive(Debug)]
#[must_use]
pub(crate) struct Reservation {
    accounts: Arc<Mutex<Accounts>>,
    sender: Address,
    nonce: u64,
    hash: B256,
    placed: bool,
}

impl Reservation {
    /// The transaction got its place: the nonce stays taken until the rollup has executed it.
    pub(crate) fn keep(mut self) {
        self.placed = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.accounts.lock().end(&self.sender, self.nonce, &self.hash, self.placed, Instant::now());
    }
}

impl RollupState {
    pub(crate) fn new(rpc: ExecutionClient) -> Self {
        Self { rpc, accounts: Arc::default() }
    }

    /// Checks a transaction against its sender's account, and counts it as pending if it fits.
    ///
    /// # Errors
    /// [`StateError`].
    pub(crate) async fn reserve(&self, tx: &ValidatedTx) -> Result<Reservation, StateError> {
        let known = self.accounts.lock().reserve(tx, Instant::now());
        if let Some(outcome) = known {
            return outcome.map(|()| self.reservation(tx));
        }
        let reading = self.read(tx.sender).await?;
        let outcome = {
            let mut accounts = self.accounts.lock();
            accounts.merge(tx.sender, reading, Instant::now())?;
            // As of the reading, so that a slow answer still serves the request that waited for it.
            accounts.reserve(tx, reading.at)
        };
        outcome.unwrap_or(Err(StateError::Unavailable)).map(|()| self.reservation(tx))
    }

    /// Counts transactions that got their places before a restart.
    fn restore<'a>(&self, placed: impl Iterator<Item = &'a ValidatedTx>) {
        let mut accounts = self.accounts.lock();
        let now = Instant::now();
        for tx in placed {
            accounts.restore(tx, now);
        }
    }

    fn reservation(&self, tx: &ValidatedTx) -> Reservation {
        let accounts = Arc::clone(&self.accounts);
        Reservation { accounts, sender: tx.sender, nonce: tx.nonce, hash: tx.hash, placed: false }
    }

    async fn read(&self, sender: Address) -> Result<Reading, StateError> {
        let at = Instant::now();
        let reading = tokio::try_join!(
            self.rpc.nonce(sender, BlockNumberOrTag::Latest),
            self.rpc.balance(sender, BlockNumberOrTag::Latest)
        );
        let (nonce, balance) = reading.map_err(|error| {
            tracing::warn!(%error, "the rollup's execution client does not answer");
            StateError::Unavailable
        })?;
        Ok(Reading { nonce, balance, at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::{Bytes, keccak256};

    pub(super) fn tx(nonce: u64, value: u64) -> ValidatedTx {
        ValidatedTx {
            hash: keccak256([nonce.to_be_bytes(), value.to_be_bytes()].concat()),
            sender: Address::ZERO,
            nonce,
            gas_limit: 10,
            max_fee: 2,
            max_priority_fee: 1,
            value: U256::from(value),
            raw: Bytes::new(),
        }
    }

    fn state() -> RollupState {
        let state = RollupState::new(ExecutionClient::new("http://127.0.0.1:1".parse().unwrap()).unwrap());
        let now = Instant::now();
        let reading = Reading { nonce: 0, balance: U256::from(1000), at: now };
        state.accounts.lock().merge(Address::ZERO, reading, now).unwrap();
        state
    }

    #[tokio::test]
    async fn a_dropped_request_frees_its_nonce_and_a_placed_one_keeps_it() {
        let state = state();
        let first = state.reserve(&tx(0, 1)).await.unwrap();
        let second = state.reserve(&tx(1, 1)).await.unwrap();
        drop(second);
        first.keep();
        state.reserve(&tx(1, 2)).await.unwrap().keep();
        assert_eq!(state.reserve(&tx(0, 2)).await.unwrap_err(), StateError::Nonce { next: 2, found: 0 });
        assert_eq!(state.reserve(&tx(1, 2)).await.unwrap_err(), StateError::Placed { nonce: 1 });
    }

    #[tokio::test]
    async fn a_rollup_that_does_not_answer_is_said() {
        let state = RollupState::new(ExecutionClient::new("http://127.0.0.1:1".parse().unwrap()).unwrap());
        assert_eq!(state.reserve(&tx(0, 1)).await.unwrap_err(), StateError::Unavailable);
    }
}
